"""A PostgreSQL of a test's own, on a socket; stopped and started as often as the test likes."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

import sqlalchemy as sa

from tests.servers import find


class PostgreSql:
    """One server with one empty database, ``url``; it syncs what it commits where ``syncs``."""

    def __init__(self, *, syncs: bool = False) -> None:
        # It refuses to run as root; any other user will do.
        self._user = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
        self._initdb, self._control = find("initdb"), find("pg_ctl")
        self._folder = Path(tempfile.mkdtemp(prefix="pg-"))  # short: a socket's path has 107
        shutil.chown(self._folder, self._user)
        self._options = (
            f"-k {self._folder} -c listen_addresses= -c fsync={'on' if syncs else 'off'}"
        )
        self.url = f"postgresql://engine@/postgres?host={self._folder}"
        self._run(self._initdb, "-D", self._folder / "d", "-A", "trust", "-U", "engine", "-N")

    def start(self) -> None:
        self._run(
            self._control, "-D", self._folder / "d", "-o", self._options, "-l",
            self._folder / "log", "-w", "start",
        )  # fmt: skip

    def stop(self, mode: str = "immediate") -> None:
        """Stop it: ``fast`` as an upgrade does, ``immediate`` as a crash does."""
        self._run(self._control, "-D", self._folder / "d", "-m", mode, "stop")

    def remove(self) -> None:
        shutil.rmtree(self._folder)

    def clear(self) -> None:
        """Drop everything in the database."""
        admin = sa.create_engine(
            sa.make_url(self.url).set(drivername="postgresql+psycopg"),
            isolation_level="AUTOCOMMIT",
        )
        with admin.connect() as connection:
            connection.exec_driver_sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        admin.dispose()

    def _run(self, *command: object) -> None:
        subprocess.run(
            [str(word) for word in command],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=self._folder,
            user=self._user if os.geteuid() == 0 else None,
        )
