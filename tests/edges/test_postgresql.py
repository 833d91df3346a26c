"""A whole server whose state is in a PostgreSQL: killed, restarted under it, moved there and back."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from proximity.store import Store
from proximity.store.folder import ADDRESS
from tests.edges.shop import (
    PROXIMITY,
    Books,
    Senders,
    Shop,
    in_ci,
    nothing_lost,
    one_effect_each,
    until,
)
from tests.servers.postgresql import PostgreSql

pytestmark = pytest.mark.slow

KILLS = in_ci(4, 20)


@pytest.fixture
def database() -> Iterator[PostgreSql]:
    server = PostgreSql(syncs=True)
    server.start()
    try:
        yield server
    finally:
        server.stop()
        server.remove()


class Ledger(Books):
    """What the database holds, read beside the engine."""

    def __init__(self, url: str) -> None:
        self._url = sa.make_url(url).set(drivername="postgresql+psycopg")

    def ask(self, statement: str) -> list[tuple[Any, ...]]:
        engine = sa.create_engine(self._url, poolclass=sa.NullPool)
        with engine.connect() as connection:
            return [tuple(row) for row in connection.exec_driver_sql(statement)]

    def whole(self) -> None:
        """Nothing to check: a PostgreSQL looks after its own pages."""


class Elsewhere(Shop):
    """A shop whose folder names a database."""

    def __init__(self, folder: Path, database: PostgreSql) -> None:
        name(folder / "data", database)
        self.database = database
        super().__init__(folder)

    @property
    def books(self) -> Books:
        return Ledger(self.database.url)


def name(data: Path, database: PostgreSql) -> None:
    data.mkdir(parents=True)
    (data / ADDRESS).write_text(f"{database.url}\n")


def proximity(*words: object) -> subprocess.CompletedProcess[str]:
    command = [str(word) for word in (*PROXIMITY, *words)]
    return subprocess.run(command, check=False, capture_output=True, text=True)


async def test_killed_again_and_again(tmp_path: Path, database: PostgreSql) -> None:
    shop = Elsewhere(tmp_path, database)
    assert await shop.open()
    assert not (shop.data / "engine.db").exists()
    senders = Senders(shop, 300.0)
    try:
        for number in range(KILLS):
            least = len(senders.taken) + 100
            await until(lambda least=least: len(senders.taken) >= least)
            if number == 0:
                other = await asyncio.to_thread(
                    proximity, "serve", "--data", shop.data, "--port", "0"
                )
                assert other.returncode == 2
                assert "another server works on it" in other.stderr
            assert await shop.end(signal.SIGKILL) == -signal.SIGKILL
            assert await shop.open(), shop.server.told()
        await senders.stop()
        nothing_lost(shop, senders.taken)
        await one_effect_each(shop, senders.subjects)
        assert await shop.end(signal.SIGTERM) == 0
    finally:
        await senders.close()
        await shop.server.gone()


@pytest.mark.parametrize("mode", ["fast", "immediate"])
async def test_the_database_goes_and_comes_back(
    tmp_path: Path, database: PostgreSql, mode: str
) -> None:
    shop = Elsewhere(tmp_path, database)
    assert await shop.open()
    senders = Senders(shop, 300.0)
    ended = 0
    try:
        for _ in range(KILLS):
            least = len(senders.taken) + 100
            await until(lambda least=least: len(senders.taken) >= least)
            await asyncio.to_thread(database.stop, mode)
            await asyncio.sleep(0.5)
            await asyncio.to_thread(database.start)
            least = len(senders.taken) + 1
            await until(lambda least=least: len(senders.taken) >= least or not shop.server.running)
            if not shop.server.running:
                # A commit was under way, and nobody knows whether it was kept: only a start does.
                assert await shop.server.ended() == 1
                ended += 1
                shop.up.clear()
                assert await shop.open(), shop.server.told()
        await senders.stop()
        nothing_lost(shop, senders.taken)
        assert senders.refused.keys() <= {503}, senders.refused
        await one_effect_each(shop, senders.subjects)
        assert await shop.end(signal.SIGTERM) == 0
        print(f"{mode}: {KILLS} stops of the database, of which {ended} ended the server")  # noqa: T201
    finally:
        await senders.close()
        await shop.server.gone()


@pytest.mark.parametrize("command", ["serve", "worker"])
async def test_a_database_that_is_not_up_yet_is_no_wrong_file(tmp_path: Path, command: str) -> None:
    """Status 2 says that another start would not help; here one does, once the database is up."""
    (tmp_path / ADDRESS).write_text(f"postgresql://engine@/engine?host={tmp_path}")
    done = await asyncio.to_thread(proximity, command, "--data", tmp_path)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "cannot be opened" in line


async def test_state_moves_to_a_database_and_back(tmp_path: Path, database: PostgreSql) -> None:
    """By a backup and its restoration, whole, and no number is given twice."""
    shop = Shop(tmp_path / "shop")
    assert await shop.open()
    senders = Senders(shop, 300.0)
    try:
        await until(lambda: len(senders.taken) >= 200)
        await senders.stop()
        await until(lambda: bool(shop.books.ledger("delivery")))
        assert await shop.end(signal.SIGTERM) == 0
    finally:
        await senders.close()
        await shop.server.gone()
    last = shop.books.ask("SELECT max(seq) FROM ledger")[0][0]
    with closing(Store.open(shop.data / "engine.db")) as store:
        store.write(
            lambda c: c.exec_driver_sql(f"DELETE FROM ledger WHERE seq > {last - 3}")
        ).result()
    moved = tmp_path / "moved"
    name(moved, database)
    copy, again = tmp_path / "copy.db", tmp_path / "again.db"
    assert proximity("backup", "--data", shop.data, copy).returncode == 0
    empty = proximity("token", "list", "--data", moved)
    assert empty.returncode == 2
    assert "no engine's state" in empty.stderr
    told = proximity("restore", "--data", moved, copy)
    assert told.returncode == 0, told.stderr
    refused = proximity("restore", "--data", moved, copy)
    assert refused.returncode == 2
    assert "holds state already" in refused.stderr
    for data in (shop.data, moved):
        assert proximity("consent", "verify", "--data", data).returncode == 0
    made = proximity("backup", "--data", moved, again, "--json")
    assert made.returncode == 0, made.stderr
    assert (again.stat().st_mode & 0o777, json.loads(made.stdout)["file"]) == (0o600, str(again))
    assert beside(again) == ["again.db"]
    before, after = contents(copy), contents(again)
    assert before.keys() == after.keys()
    for table, rows in before.items():
        assert rows == after[table], table

    server = Elsewhere.__new__(Elsewhere)
    server.__dict__.update(shop.__dict__, data=moved, database=database)
    try:
        assert await server.open(), server.server.told()
        senders = Senders(server, 100.0, name="later")
        await until(lambda: bool(server.books.ask(f"SELECT 1 FROM ledger WHERE seq > {last}")))
        await senders.stop()
        assert not server.books.ask(
            f"SELECT 1 FROM ledger WHERE seq > {last - 3} AND seq <= {last}"
        )
        assert await server.end(signal.SIGTERM) == 0
    finally:
        await senders.close()
        await server.server.gone()


def beside(file: Path) -> list[str]:
    """Name what lies beside a file and begins as it does."""
    return [one.name for one in file.parent.iterdir() if one.name.startswith(file.stem)]


def contents(file: Path) -> dict[str, list[Any]]:
    books = Books(file)
    tables = books.ask("SELECT name FROM sqlite_master WHERE type = 'table'")
    return {one: sorted(map(repr, books.ask(f'SELECT * FROM "{one}"'))) for (one,) in tables}
