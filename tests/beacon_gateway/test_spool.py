from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from beacon_gateway import spool as spools
from beacon_gateway.model import Beacon, GatewayError
from beacon_gateway.scanner import Clock
from beacon_gateway.spool import Spool
from beacon_gateway.spoolfile import Limits, Record, SpoolError
from beacon_gateway.thinning import Level

BEACON = Beacon(
    format="ibeacon", uuid="f7826da6-4fa2-4e98-8024-bc5b71e0893e", major=1, minor=7, power_dbm=-59
)
Open = Callable[..., Coroutine[Any, Any, Spool]]


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[Open]:
    made = []

    async def make(boot: str = "boot") -> Spool:
        spool = await Spool.open(
            tmp_path / "spool.sqlite", Limits(10_000_000, 1e6),
            gateway="gw-1", boot=boot, clock=Clock(),
        )  # fmt: skip
        made.append(spool)
        return spool

    yield make
    for spool in made:
        if not spool._closing.is_set():
            await spool.close()


def add(spool: Spool, count: int) -> None:
    for _ in range(count):
        spool.append(Level(BEACON, -60, time.time(), time.monotonic()))


def seqs(records: list[Record]) -> list[int]:
    return [record.seq for record in records]


async def test_what_is_told_at_once_never_touches_the_disk(opened: Open) -> None:
    spool = await opened()
    add(spool, 10)
    assert spool.news.is_set()
    live = spool.live(500)
    assert seqs(live) == list(range(10))
    assert {(record.gateway, record.boot) for record in live} == {("gw-1", "boot")}
    spool.settle(live)
    await spool.commit()
    assert spool.waiting == 0
    assert spool._file.last_n == 0, "no row was ever written"
    assert await spool.backlog(500) == []


async def test_what_is_not_told_within_a_second_is_on_disk_by_itself(opened: Open) -> None:
    spool = await opened()
    add(spool, 10)
    live = spool.live(500)
    spool.release(live)
    await asyncio.wait_for(spool.stored.wait(), 5)  # released: there may be something
    spool.stored.clear()
    await asyncio.wait_for(spool.stored.wait(), 5)  # written
    assert spool._file.rows == 10
    assert seqs(await spool.backlog(500)) == list(range(10))


async def test_the_newest_go_ahead_and_the_rest_waits_its_turn(opened: Open) -> None:
    spool = await opened()
    add(spool, 30)
    live = spool.live(10)
    assert seqs(live) == list(range(20, 30))
    assert spool.stored.is_set()
    await spool.commit()
    assert seqs(await spool.backlog(500)) == list(range(20)), "what is being told is left alone"
    spool.release(live)
    assert seqs(await spool.backlog(500)) == list(range(30))


async def test_what_was_taken_while_it_was_written_is_not_told_again(opened: Open) -> None:
    spool = await opened()
    add(spool, 10)
    live = spool.live(500)
    committing = asyncio.create_task(spool.commit())
    await asyncio.sleep(0)
    spool.settle(live)
    await committing
    assert spool.waiting == 0
    assert await spool.backlog(500) == []
    assert spool._file.rows == 0


async def test_the_backlog_comes_in_order_and_each_once(opened: Open) -> None:
    spool = await opened()
    add(spool, 25)
    spool.live(0)
    await spool.commit()
    told = []
    while records := await spool.backlog(10):
        told += seqs(records)
        spool.settle(records)
    assert told == list(range(25))
    assert spool.waiting == 0


async def test_another_start_goes_on_where_the_last_one_ended(opened: Open) -> None:
    first = await opened("first")
    add(first, 3)
    first.give_up(first.live(1), "poison")
    await first.close()
    second = await opened("second")
    assert second.stored.is_set()
    add(second, 2)
    await second.commit()
    second.live(0)
    assert [(each.boot, each.seq) for each in await second.backlog(9)] == [
        ("first", 0), ("first", 1), ("second", 0), ("second", 1),
    ]  # fmt: skip
    assert second.dropped == {"poison": 1}
    assert second.waiting == 4


async def test_counts_are_never_missed_by_who_asks(opened: Open) -> None:
    spool = await opened()
    spool.count("late", 2)
    assert spool.dropped == {"late": 2}
    committing = asyncio.create_task(spool.commit())
    while not committing.done():
        assert spool.dropped == {"late": 2}
        await asyncio.sleep(0)
    assert spool.dropped == {"late": 2}


async def test_a_disk_that_takes_nothing_leaves_all_in_memory_up_to_a_bound(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = await opened()
    commit = spool._file.commit

    def refuse(*_: object) -> None:
        raise SpoolError(spool._file.path, "no room")

    monkeypatch.setattr(spool._file, "commit", refuse)
    monkeypatch.setattr(spools, "MOST_FRESH", 100)
    add(spool, 150)
    with pytest.raises(SpoolError):
        await spool.commit()
    assert spool.waiting == 100
    assert spool.dropped == {"disk": 50}
    assert seqs(spool.live(10)) == list(range(140, 150)), "hearing and telling go on"
    monkeypatch.setattr(spool._file, "commit", commit)
    await spool.commit()
    assert spool._file.rows == 100
    assert spool._file.dropped == {"disk": 50}


async def test_trouble_with_the_disk_is_told_and_ends(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = await opened()
    commit = spool._file.commit

    def refuse(*_: object) -> None:
        raise SpoolError(spool._file.path, "no room")

    monkeypatch.setattr(spools, "PAUSE_S", 0.1)
    monkeypatch.setattr(spool._file, "commit", refuse)
    add(spool, 1)
    for _ in range(100):
        await asyncio.sleep(0.05)
        if spool.snapshot()["trouble"] is not None:
            break
    monkeypatch.setattr(spool._file, "commit", commit)
    for _ in range(100):
        await asyncio.sleep(0.05)
        if spool.snapshot()["trouble"] is None:
            break
    assert spool._file.rows == 1


async def test_a_folder_that_cannot_hold_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "spool.sqlite").mkdir()
    with pytest.raises(GatewayError, match=r"spool\.sqlite: cannot be used"):
        await Spool.open(
            tmp_path / "spool.sqlite", Limits(10_000_000, 1e6),
            gateway="gw-1", boot="b", clock=Clock(),
        )  # fmt: skip
