"""The disk is full, or fails: what is acknowledged then, what is still read, and how it goes on."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import aiohttp
import pytest

from proximity.store.ballast import BALLAST_BYTES
from tests.edges.shop import (
    Senders,
    Shop,
    attach,
    needs_root,
    nothing_lost,
    one_effect_each,
    own_mounts,
    run,
    until,
)
from tests.servers import find

pytestmark = pytest.mark.slow

DAY_S = 86_400.0


@pytest.fixture
def small_disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """Mount a disk of so many megabytes, which ends with this process."""
    needs_root("a small disk")
    own_mounts()
    folder = tmp_path / "disk"
    folder.mkdir()
    run("mount", "-t", "tmpfs", "-o", f"size={request.param}m", "tmpfs", folder)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False, capture_output=True)


def fill(disk: Path) -> Path:
    """Let somebody else take all the room there is, to the last byte."""
    other = disk / "other"
    with other.open("wb", buffering=0) as file:
        for size in (2**20, 4096, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                pass
    assert os.statvfs(disk).f_bavail == 0
    return other


async def status(shop: Shop, path: str) -> int:
    headers = {"Authorization": f"Bearer {shop.token}"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.get(shop.url + path) as answer,
    ):
        await answer.read()
        return answer.status


async def more(senders: Senders, count: int, within_s: float) -> float:
    """Wait until so many more records are acknowledged; how long that took, in seconds."""
    before, began = len(senders.taken), time.monotonic()
    await until(lambda: len(senders.taken) >= before + count, within_s, why="it takes nothing")
    return time.monotonic() - began


@pytest.mark.parametrize("small_disk", [16], indirect=True)
async def test_a_full_disk_is_told_and_survived(tmp_path: Path, small_disk: Path) -> None:
    shop = Shop(tmp_path / "shop", data=small_disk / "data")
    assert await shop.open()
    senders = Senders(shop, 200.0)
    try:
        await more(senders, 100, 60.0)
        other = fill(small_disk)
        await until(lambda: senders.refused.total() >= 20, why="a full disk acknowledges")
        assert await status(shop, "/v1/transitions?limit=1000") == 200
        assert await status(shop, "/v1/deliveries") == 200
        assert await status(shop, "/readyz") == 503
        before = len(senders.taken)
        await asyncio.sleep(2.0)
        assert len(senders.taken) == before, "nothing is acknowledged that is on no disk"
        assert set(senders.refused) <= {507, 503}
        assert senders.refused[507]
        nothing_lost(shop, senders.taken)

        other.unlink()
        took_s = await more(senders, 20, 60.0)
        assert await status(shop, "/readyz") == 200
        await senders.stop()
        nothing_lost(shop, senders.taken)
        await one_effect_each(shop, senders.subjects)
        assert await shop.end(signal.SIGTERM) == 0
    finally:
        await senders.close()
        await shop.server.gone()
    print(f"{senders.refused} while full; took records {took_s:.1f} s after there was room")  # noqa: T201
    assert took_s < 10.0


@pytest.mark.parametrize("small_disk", [200], indirect=True)
async def test_what_is_past_its_time_makes_room_on_a_full_disk(
    tmp_path: Path, small_disk: Path
) -> None:
    """A full disk cannot be emptied by deleting, which writes too: the ballast is there for that."""
    shop = Shop(tmp_path / "shop", data=small_disk / "data")
    assert await shop.open()
    ballast = shop.data / "engine.ballast"
    assert ballast.stat().st_size == BALLAST_BYTES
    senders = Senders(shop, 200.0)
    try:
        await more(senders, 100, 60.0)
        with closing(sqlite3.connect(shop.data / "engine.db", timeout=30)) as db:
            with db:
                db.executemany(
                    "INSERT INTO visits VALUES (?, ?, ?, ?, ?, ?)",
                    (
                        (f"v{n}", f"p{n}", "x" * 1000, "cafe", 0.0, time.time() - 40 * DAY_S)
                        for n in range(20_000)
                    ),
                )
            # Else the log has room in its own file for a minute of records.
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        fill(small_disk)
        await until(lambda: senders.refused[507] >= 1, 180.0, why="the disk never was full")
        await until(
            lambda: shop.books.ask("SELECT count(*) FROM visits WHERE enter_at = 0.0") == [(0,)]
        )
        assert not ballast.exists()
        await more(senders, 200, 30.0)
        assert await status(shop, "/readyz") == 200
        (small_disk / "other").unlink()
        await senders.stop()
        await until(ballast.exists, why="room is not set aside again")
        nothing_lost(shop, senders.taken)
        await one_effect_each(shop, senders.subjects)
        assert await shop.end(signal.SIGTERM) == 0
    finally:
        await senders.close()
        await shop.server.gone()


@pytest.mark.parametrize(("call", "when"), [("fdatasync", "20"), ("pwrite64", "20+")])
async def test_after_an_io_error_nothing_is_acknowledged(
    tmp_path: Path, call: str, when: str
) -> None:
    """A sync that failed is never tried again: the next might succeed, and the pages be gone."""
    shop = Shop(tmp_path / "shop")
    assert await shop.open()
    senders = Senders(shop, 500.0)
    try:
        await more(senders, 100, 60.0)
        tracer = await attach(
            shop, find("strace"), "-f", "-qq", "-o", str(tmp_path / "trace"),
            "-e", f"trace={call}", "-e", f"inject={call}:error=EIO:when={when}",
        )  # fmt: skip
        assert await shop.server.ended() == 1, shop.server.told()
        shop.up.clear()
        await tracer.wait()
        assert (tmp_path / "trace").read_text().count("EIO")
        nothing_lost(shop, senders.taken)
        taken = len(senders.taken)

        assert await shop.open()
        await more(senders, 100, 60.0)
        await senders.stop()
        nothing_lost(shop, senders.taken)
        await one_effect_each(shop, senders.subjects)
        assert await shop.end(signal.SIGTERM) == 0
    finally:
        await senders.close()
        await shop.server.gone()
    assert len(senders.taken) > taken
    assert set(senders.refused) <= {503}
