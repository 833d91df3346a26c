"""Server, dispatcher and gateway, killed again and again under load: nothing acknowledged is lost."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
from pathlib import Path

import pytest

from tests.edges.shop import (
    CAMPAIGN,
    READY_MOST_S,
    TAGS,
    UUID,
    Process,
    Senders,
    Shop,
    in_ci,
    nothing_lost,
    one_effect_each,
    spooled,
    until,
)

KILLS = in_ci(50, 200)
RECORDS = in_ci(15_000, 60_000)
"""Acknowledged records that the kills fall among, in all."""
RATE = 500.0
"""Records a second, to each of two shops."""
SHOPS = in_ci(2, 1)
"""Side by side, since most of the time goes into starting: a core for each. As often as promised it
is one, for how long a start takes is a figure too."""
SHARES = {"server": 4, "dispatcher": 3, "gateway": 3}


def write_trace(path: Path) -> Path:
    """Tags that go by a gateway for longer than the test lasts, each heard twice a second."""
    with path.open("w") as file:
        for half in range(2 * 1800):
            for minor in range(TAGS):
                beacon = {"format": "ibeacon", "uuid": UUID, "major": 1, "minor": minor}
                record = {
                    "type": "sighting", "beacon": beacon, "at": 1_700_000_000 + half * 0.5,
                    "rssi_dbm": -60, "gateway": "gw-1",
                }  # fmt: skip
                file.write(json.dumps(record) + "\n")
    return path


class Busy(Shop):
    """A shop with a gateway, and a second dispatcher beside the server's own."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        token = self.command("token", "create", "--role", "gateway", "--id", "gw-1")
        (folder / "token").write_text(token)
        (folder / "rules.toml").write_text(CAMPAIGN)
        self.trace = write_trace(folder / "trace.jsonl")
        self.spooled: set[tuple[str, int]] = set()
        self.kills = dict.fromkeys(SHARES, 0)

    def begin(self) -> None:
        """Name the other processes, once the server's port is known."""
        self.others = {
            "dispatcher": Process(
                sys.executable, "-m", "tests.edges.dispatching", self.data / "engine.db",
                self.folder / "sink", "other", 1.0, self.folder / "rules.toml",
                log=self.folder / "dispatcher.log",
            ),
            "gateway": Process(
                sys.executable, "-m", "beacon_gateway", "run", "--server", self.url,
                "--token-file", self.folder / "token", "--data", self.folder / "gateway",
                "--simulate", self.trace, log=self.folder / "gateway.log",
            ),
        }  # fmt: skip

    async def kill(self, who: str) -> None:
        """Kill one of them and start it anew."""
        self.kills[who] += 1
        if who == "server":
            assert await self.end(signal.SIGKILL) == -signal.SIGKILL
            assert await self.open(), self.server.told()
            return
        process = self.others[who]
        assert await process.end(signal.SIGKILL) == -signal.SIGKILL
        if who == "gateway":
            self.spooled |= spooled(self.folder / "gateway", self.folder / "aside")
        await process.start()
        if who == "dispatcher":
            await process.said("working")

    async def close(self) -> None:
        for process in (self.server, *self.others.values()):
            await process.gone()


async def storm(folder: Path, seed: int) -> tuple[Busy, int]:
    """Kill one process after the other while records come in; look at the books afterwards."""
    dice = random.Random(seed)
    shop = Busy(folder)
    assert await shop.open()
    shop.begin()
    senders = Senders(shop, RATE)
    try:
        for process in shop.others.values():
            await process.start()
        while sum(shop.kills.values()) < KILLS // SHOPS:
            (victim,) = dice.choices([*SHARES], [*SHARES.values()])
            # At any moment of its life, but not without having lived.
            await asyncio.sleep(dice.uniform(0.05, 0.5))
            await shop.kill(victim)
            if dice.random() < 0.1:
                await asyncio.gather(*(shop.kill(one) for one in SHARES))
        await until(lambda: len(senders.taken) >= RECORDS // SHOPS, 300.0)
        await senders.stop()
        # What the gateway had kept is told in the end; what it hears meanwhile is told as well.
        await until(lambda: shop.spooled <= shop.books.sightings().keys(), why="kept and not told")
        gateway = shop.others["gateway"]  # which may have been started this moment
        await until(lambda: gateway.catches(signal.SIGTERM), why="the gateway never came up")
        assert await gateway.end(signal.SIGTERM) == 0
        told = json.loads((shop.folder / "gateway" / "health.json").read_text())
        assert told["dropped"] == {}
        await shop.others["dispatcher"].gone()
        nothing_lost(shop, senders.taken)
        assert {one: n for one, n in shop.books.sightings().items() if n != 1} == {}
        await one_effect_each(shop, senders.subjects)
        assert await shop.end(signal.SIGTERM) == 0
    finally:
        await senders.close()
        await shop.close()
    return shop, len(senders.taken)


@pytest.mark.slow
async def test_killed_two_hundred_times_under_load(tmp_path: Path) -> None:
    done = await asyncio.gather(*(storm(tmp_path / str(seed), seed) for seed in range(SHOPS)))
    starts = sorted(seconds for shop, _ in done for seconds in shop.ready_s)
    work = sorted(seconds for shop, _ in done for seconds in shop.ready_work_s)
    taken = sum(count for _, count in done)
    kills = {who: sum(shop.kills[who] for shop, _ in done) for who in SHARES}
    kept = sum(len(shop.spooled) for shop, _ in done)
    print(  # noqa: T201 - shown with -s
        f"{sum(kills.values())} kills {kills}, {taken} acknowledged, 0 lost; {kept} sightings were "
        f"on disk when their gateway was killed, 0 lost; ready after {starts[len(starts) // 2]:.2f} "
        f"s (median), {starts[-1]:.2f} s (longest), of which the program had a processor for "
        f"{work[len(work) // 2]:.2f} s (median), {work[-1]:.2f} s (longest)"
    )
    assert sum(kills.values()) >= KILLS
    assert taken >= RECORDS
    assert starts[-1] < READY_MOST_S
