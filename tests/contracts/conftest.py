"""Every kind of store that there is here: SQLite in a file and in memory, and PostgreSQL."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from proximity.store import Store
from tests.servers.postgresql import PostgreSql

TARGETS = ["file", "memory", *(["postgresql"] if shutil.which("initdb") else [])]


@pytest.fixture(scope="session")
def database() -> Iterator[PostgreSql]:
    """Start a PostgreSQL server of our own."""
    server = PostgreSql()
    try:
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        server.remove()


@pytest.fixture(scope="session")
def postgresql(database: PostgreSql) -> str:
    """Give its URL."""
    return database.url


@pytest.fixture(params=TARGETS)
def target(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Give what to open: an empty database of each kind."""
    if request.param == "memory":
        return ":memory:"
    if request.param == "file":
        return str(tmp_path / "engine.db")
    server: PostgreSql = request.getfixturevalue("database")
    server.clear()
    return server.url


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
