"""Rows on their way to the disk and to the engine: which share a sync, which share a turn."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection

from proximity.ingest import backlog as backlogs
from proximity.ingest.backlog import MOST_TOGETHER, Backlog, Pending
from proximity.model import Fix, Record
from proximity.store import Store, journal


def fixes(count: int, subject: str = "s") -> list[Record]:
    return [Fix(subject=subject, at=float(n), lon=1.0, lat=2.0) for n in range(count)]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path / "engine.db")
    yield opened
    opened.close()


def told(store: Store) -> list[tuple[int, int]]:
    """Give position and number of records of each row on the disk."""
    rows = store.read(lambda c: list(journal.rows_after(c, 0)))
    return [(row.position, len(journal.decode_records(row.payload))) for row in rows]


async def send(backlog: Backlog, subject: str, turns: int) -> Pending:
    """Come with a record some turns of the loop from now, and wait until it is on the disk."""
    for _ in range(turns):
        await asyncio.sleep(0)
    pending = backlog.gather(fixes(1, subject), now=1.0, version="v")
    await backlog.settled(pending, repeats=False)
    return pending


class TestGathering:
    async def test_who_comes_in_turns_shares_a_row(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # By the turns alone: on a busy machine some of them take longer than a row is open.
        monkeypatch.setattr(backlogs, "_OPEN_S", 60.0)
        backlog = Backlog(store, lambda _: None)
        await asyncio.gather(*(send(backlog, f"s{n}", turns=n) for n in range(20)))
        assert told(store) == [(1, 20)]

    async def test_who_comes_while_one_is_written_is_in_the_next(self, store: Store) -> None:
        backlog = Backlog(store, lambda _: None)
        gate = threading.Event()

        def wait(_: Connection) -> None:
            gate.wait()

        first = backlog.append("tick", b"\x90", now=1.0, version="v", also=wait)
        sent = [asyncio.create_task(send(backlog, f"s{n}", turns=3 * n)) for n in range(5)]
        await asyncio.sleep(0.05)
        assert not any(task.done() for task in sent)
        gate.set()
        await asyncio.gather(first.landed.wait(), *sent)
        assert told(store) == [(1, 0), (2, 5)]

    async def test_a_row_has_an_end(self, store: Store) -> None:
        backlog = Backlog(store, lambda _: None)
        half = MOST_TOGETHER // 2 + 1
        rows = [backlog.gather(fixes(half), now=1.0, version="v") for _ in range(3)]
        await asyncio.gather(*(backlog.settled(row, repeats=False) for row in rows))
        assert told(store) == [(1, half), (2, half), (3, half)]

    async def test_an_edit_comes_between_what_was_before_and_after(self, store: Store) -> None:
        backlog = Backlog(store, lambda _: None)
        before = backlog.gather(fixes(1), now=1.0, version="v")
        edit = backlog.append("tick", b"", now=1.0, version="v")
        after = backlog.gather(fixes(1), now=1.0, version="v")
        await asyncio.gather(*(row.landed.wait() for row in (before, edit, after)))
        rows = store.read(lambda c: list(journal.rows_after(c, 0)))
        assert [row.kind for row in rows] == ["records", "tick", "records"]


class TestRipe:
    def row(self, position: int, kind: journal.Kind = "records") -> journal.Row:
        return journal.Row(position=position, kind=kind, now=1.0, version="v", payload=b"")

    async def test_rows_of_records_go_together(self, store: Store) -> None:
        backlog = Backlog(store, lambda _: None)
        for position in (1, 2, 3):
            backlog.take(self.row(position), fixes(10))
        assert [pending.row.position for pending in backlog.ripe()] == [1, 2, 3]

    async def test_once_the_engine_has_failed_each_comes_alone(self, store: Store) -> None:
        backlog = Backlog(store, lambda _: None)
        for n in range(3):
            await send(backlog, f"s{n}", turns=0)
        backlog.alone = True
        assert [pending.row.position for pending in backlog.ripe()] == [1]

    async def test_other_rows_come_alone_and_in_their_place(self, store: Store) -> None:
        backlog = Backlog(store, lambda _: None)
        kinds: list[journal.Kind] = ["records", "records", "fences", "tick", "records"]
        for position, kind in enumerate(kinds, 1):
            backlog.take(self.row(position, kind), fixes(1) if kind == "records" else [])
        turns = []
        while backlog.first is not None:
            rows = backlog.ripe()
            turns.append([pending.row.position for pending in rows])
            for pending in rows:
                backlog.applied(pending)
        assert turns == [[1, 2], [3], [4], [5]]

    async def test_a_row_that_cannot_be_read_comes_alone(self, store: Store) -> None:
        backlog = Backlog(store, lambda _: None)
        for position, records in enumerate((fixes(1), [], fixes(1)), 1):
            backlog.take(self.row(position), records)
        assert [pending.row.position for pending in backlog.ripe()] == [1]
        backlog.applied(backlog.ripe()[0])
        assert [pending.row.position for pending in backlog.ripe()] == [2]

    async def test_only_what_is_on_the_disk(self, store: Store) -> None:
        backlog = Backlog(store, lambda _: None)
        backlog.take(self.row(1), fixes(1))
        backlog.gather(fixes(1), now=1.0, version="v")
        assert len(backlog.ripe()) == 1

    async def test_a_turn_has_an_end(self, store: Store) -> None:
        backlog = Backlog(store, lambda _: None)
        for position in range(1, 6):
            backlog.take(self.row(position), fixes(MOST_TOGETHER // 2))
        assert len(backlog.ripe()) == 2
