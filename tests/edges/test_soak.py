"""A day of a real server in a minute and a half: nothing that it holds grows with the hours.

``serve --clock-speed`` lets its day pass a thousand times as fast; phones walk in and out of a café
meanwhile, in its time. What the process holds is read from outside.
"""

from __future__ import annotations

import asyncio
import os
import signal
import statistics
import time
from pathlib import Path
from typing import NamedTuple

import aiohttp
import pytest

from simulator.live import _server_time
from tests.edges.shop import LAT, LON, Shop

SPEED = 1000.0
HOURS = float(os.environ.get("PROXIMITY_SOAK_H", "24"))
PEOPLE, EVERY_S, STAYS = 50, 60.0, 15
BEHIND_S = 300.0
"""Phones report so long after: a third of a second of ours, which no hiccup makes the future."""
MOST_LOG = 64 * 1024 * 1024
MOST_SLOPE_MB, MOST_FILES = 1.0, 4
LATE_S = 3600.0


class Sample(NamedTuple):
    """What the process holds at an hour of its day."""

    hour: float
    memory_mb: float
    files: int
    log: int
    journal: int
    oldest_s: float
    waiting: int


def look(shop: Shop, hour: float) -> Sample:
    process = Path(f"/proc/{shop.server.pid}")
    pages = int((process / "statm").read_text().split()[1])
    log = shop.data / "engine.db-wal"
    ((count, oldest, newest),) = shop.books.ask("SELECT count(*), min(now), max(now) FROM journal")
    ((waiting,),) = shop.books.ask(
        "SELECT (SELECT count(*) FROM triggers) + (SELECT count(*) FROM outbox)"
    )
    return Sample(
        hour, pages * os.sysconf("SC_PAGESIZE") / 2**20, len(list((process / "fd").iterdir())),
        log.stat().st_size, count, (newest or 0.0) - (oldest or 0.0), waiting,
    )  # fmt: skip


@pytest.mark.slow
async def test_a_day_leaves_nothing_behind(tmp_path: Path) -> None:
    shop = Shop(tmp_path / "shop")
    assert await shop.open(speed=SPEED), shop.server.told()
    samples: list[Sample] = []
    headers = {"Authorization": f"Bearer {shop.token}"}
    try:
        async with aiohttp.ClientSession(headers=headers) as session:
            began, here = await _server_time(session, shop.url), time.monotonic()
            step, accepted = 0, 0
            while (hour := (time.monotonic() - here) * SPEED / 3600.0) < HOURS:
                if hour >= len(samples):
                    samples.append(await asyncio.to_thread(look, shop, hour))
                now = began + hour * 3600.0 - BEHIND_S
                step += 1
                batch = [
                    {
                        "type": "fix", "subject": f"s{who}", "at": now, "accuracy_m": 5, "lat": LAT,
                        "lon": LON + (0.01 if (step + who) // STAYS % 2 else 0.0),
                    }
                    for who in range(PEOPLE)
                ]  # fmt: skip
                async with session.post(f"{shop.url}/v1/fixes", json=batch) as answer:
                    accepted += (await answer.json())["accepted"] if answer.status == 202 else 0
                await asyncio.sleep(EVERY_S / SPEED)
        samples.append(look(shop, HOURS))
        assert await shop.end(signal.SIGTERM) == 0
    finally:
        await shop.server.gone()
    settled = samples[len(samples) // 3 :]
    slope = statistics.linear_regression(
        [one.hour for one in settled], [one.memory_mb for one in settled]
    ).slope
    files = [one.files for one in settled]
    print(  # noqa: T201 - shown with -s
        f"{HOURS:.0f} h, {accepted} fixes: {samples[-1].memory_mb:.0f} MB, {slope:+.2f} MB an hour, "
        f"{min(files)} to {max(files)} files, log at most {max(one.log for one in samples) / 2**20:.1f} MB, "
        f"journal at most {max(one.journal for one in samples)} rows of "
        f"{max(one.oldest_s for one in samples) / 60:.0f} minutes"
    )
    assert accepted > 1000 * HOURS
    assert slope < MOST_SLOPE_MB
    assert max(files) - min(files) <= MOST_FILES
    assert max(one.log for one in samples) <= MOST_LOG
    assert max(one.waiting for one in settled) < 1000
    assert max(one.oldest_s for one in settled) < 3 * LATE_S
