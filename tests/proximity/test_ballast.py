"""A full disk: what frees room goes on, what takes room is refused, and the room is kept again."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from proximity.store import Store, StoreFull, ballast, journal, schema
from tests.proximity.test_store import occupy

PAGES = 400


class Usage(NamedTuple):
    total: int
    used: int
    free: int


@pytest.fixture
def plenty(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Say how much room the disk has, whatever the machine's own has."""
    room = {"free": 10 * ballast.BALLAST_BYTES}
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, room["free"]))
    return room


@pytest.fixture
def store(tmp_path: Path, plenty: dict[str, int]) -> Iterator[Store]:
    opened = Store.open(tmp_path / "engine.db")
    opened.hold()
    yield opened
    opened.close()


def limit(store: Store, pages: int) -> None:
    """Let SQLite say that the disk is full beyond so many pages of 4 KiB."""

    def work(connection: Connection) -> None:
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}").close()

    store.write(work, freeing=True).result()


def put(key: str, size: int = 100) -> Any:
    return lambda c: journal.write_meta(c, key, "x" * size)


def remove(key: str) -> Any:
    return lambda c: c.execute(schema.meta.delete().where(schema.meta.c.key == key))


def keys(store: Store) -> list[str]:
    return store.read(lambda c: list(c.scalars(sa.select(schema.meta.c.key).order_by("key"))))


def laid(store: Store) -> bool:
    assert store.path is not None
    return store.path.with_suffix(".ballast").exists()


def test_room_is_set_aside_by_the_server_alone_for_its_owners_eyes(
    tmp_path: Path, plenty: dict[str, int]
) -> None:
    opened = Store.open(tmp_path / "engine.db")
    assert not laid(opened), "a command beside a server sets nothing aside"
    opened.hold()
    file = tmp_path / "engine.ballast"
    assert file.stat().st_size == ballast.BALLAST_BYTES
    assert file.stat().st_blocks * 512 >= ballast.BALLAST_BYTES, "room, not a hole"
    assert file.stat().st_mode & 0o777 == 0o600
    opened.close()


def test_a_small_disk_is_not_filled_by_it(tmp_path: Path, plenty: dict[str, int]) -> None:
    plenty["free"] = 2 * ballast.BALLAST_BYTES
    opened = Store.open(tmp_path / "engine.db")
    opened.hold()
    assert not laid(opened)
    opened.write(put("a")).result()
    opened.close()


def test_what_frees_room_has_the_ballast_and_nothing_else_does(
    store: Store, plenty: dict[str, int]
) -> None:
    store.write(put("old", 1_500_000)).result()
    limit(store, PAGES + 30)
    plenty["free"] = 0
    with pytest.raises(StoreFull):
        store.write(put("new", 1_500_000)).result()
    assert laid(store), "it is not for what takes room"
    # A deletion that needs more room than there is, before it is done.
    limit(store, 1)

    def swap(connection: Connection) -> None:
        if laid(store):
            journal.write_meta(connection, "log", "x" * 2_000_000)
        remove("old")(connection)

    store.write(swap, freeing=True).result()
    assert not laid(store)
    assert keys(store) == []

    # Now there are free pages: what fits into them is written, and no more than that.
    store.write(put("new", 100_000)).result()
    assert keys(store) == ["new"]
    assert store.refusing is None
    store.write(put("large", 1_000_000)).result()
    with pytest.raises(StoreFull):
        store.write(put("more")).result()
    assert isinstance(store.refusing, StoreFull)
    store.write(remove("large"), freeing=True).result()
    assert isinstance(store.refusing, StoreFull), "until an ordinary write has succeeded"
    store.write(put("more")).result()
    assert store.refusing is None

    plenty["free"] = 10 * ballast.BALLAST_BYTES
    store.write(put("again")).result()
    assert laid(store)


def test_ordinary_works_of_the_same_group_are_refused_alone(
    store: Store, plenty: dict[str, int]
) -> None:
    store.write(put("old", 1_500_000)).result()
    limit(store, 1)
    plenty["free"] = 0
    gate, first = occupy(store)
    takes = store.write(put("new", 1_500_000))
    frees = store.write(remove("old"), freeing=True)
    gate.set()
    first.result()
    with pytest.raises(StoreFull):
        takes.result()
    frees.result()
    assert keys(store) == []
