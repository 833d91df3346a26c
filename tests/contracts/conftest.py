"""Every kind of store that there is here: SQLite in a file and in memory, and PostgreSQL."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from proximity.store import Store

_INITDB = shutil.which("initdb")
TARGETS = ["file", "memory", *(["postgresql"] if _INITDB else [])]


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """Start a PostgreSQL server of our own on a socket; give its URL."""
    # It refuses to run as root; any other user will do.
    user = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    folder = Path(tempfile.mkdtemp(prefix="pg-"))  # short: a socket's path has 107 characters
    shutil.chown(folder, user)
    control = shutil.which("pg_ctl")
    assert _INITDB is not None
    assert control is not None

    def run(*command: object) -> None:
        subprocess.run(
            [str(word) for word in command],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=folder,
            user=user if os.geteuid() == 0 else None,
        )

    try:
        run(_INITDB, "-D", folder / "d", "-A", "trust", "-U", "engine", "-N")
        options = f"-k {folder} -c listen_addresses= -c fsync=off"
        log = folder / "log"
        run(control, "-D", folder / "d", "-o", options, "-l", log, "-w", "start")
        try:
            yield f"postgresql://engine@/postgres?host={folder}"
        finally:
            run(control, "-D", folder / "d", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder)


@pytest.fixture(params=TARGETS)
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Give what to open: an empty database of each kind."""
    if request.param == "memory":
        yield ":memory:"
    elif request.param == "file":
        yield str(tmp_path / "engine.db")
    else:
        url = request.getfixturevalue("postgresql")
        admin = sa.create_engine(
            sa.make_url(url).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT"
        )
        with admin.connect() as connection:
            connection.exec_driver_sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        admin.dispose()
        yield url


@pytest.fixture
def store(target: str) -> Iterator[Store]:
    opened = Store.open(target)
    yield opened
    opened.close()


@pytest.fixture
def reopen(target: str, store: Store) -> Callable[[], Store]:
    """Close the store and open it again; in memory it stays, there being nothing to come back to."""

    def again() -> Store:
        if target == ":memory:":
            return store
        store.close()
        return Store.open(target)

    return again
