"""A day without the server: all of it is kept, and told afterwards while the shop goes on."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from beacon_gateway import uplink as uplinks
from beacon_gateway.credentials import Credentials
from beacon_gateway.https import HttpsLink
from beacon_gateway.model import Beacon
from beacon_gateway.scanner import Clock
from beacon_gateway.spool import Spool
from beacon_gateway.spoolfile import Limits
from beacon_gateway.thinning import Level
from beacon_gateway.uplink import CREDIT, Uplink
from tests.beacon_gateway.listener import UUID, Listener

DAY_S = 86_400
RATE = 5
LIMITS = Limits(100_000_000, 7.0 * DAY_S)
BEACONS = [
    Beacon(format="ibeacon", uuid=UUID, major=1, minor=minor, power_dbm=-59) for minor in range(100)
]


@pytest.fixture
def memory_disk() -> Iterator[Path]:
    """Give a folder in memory where there is one: 86,400 commits need no card worn out for them."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as folder:
        yield Path(folder)


@pytest.mark.slow
async def test_a_day_offline_is_kept_within_bounds_and_told_once_beside_what_is_live(
    memory_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [time.time() - DAY_S]
    clock = Clock(wall=lambda: now[0], mono=lambda: now[0] - 1_700_000_000.0)
    path = memory_disk / "spool.sqlite"
    spool = await Spool.open(path, LIMITS, gateway="gw-1", boot="day", clock=clock)
    for second in range(DAY_S):
        for k in range(RATE):
            beacon = BEACONS[(second + k) % len(BEACONS)]
            spool.append(Level(beacon, -60 - k, clock.wall() + k / RATE, clock.mono() + k / RATE))
        await spool.commit()  # as often as it would on its own
        now[0] += 1.0
    size = spool.snapshot()["bytes"]
    assert spool.waiting == DAY_S * RATE
    assert spool.dropped == {}
    assert size <= 100_000_000
    await spool.close()

    listener = Listener()
    url = await listener.start()
    (memory_disk / "token").write_text("px_token")
    link = HttpsLink(url, Credentials(memory_disk / "token", memory_disk), "gw-1", time.time)
    spool = await Spool.open(path, LIMITS, gateway="gw-1", boot="live", clock=Clock())
    uplink = Uplink(spool, link)
    # A quarter of the turns, with a quarter of the rest: the shares are what is shown here.
    monkeypatch.setattr(uplinks, "QUIET_S", 0.1)
    running = asyncio.create_task(uplink.run())
    live = 0
    while spool.waiting:
        for k in range(RATE // 2):
            spool.append(Level(BEACONS[k], -60, time.time(), time.monotonic()))
            live += 1
        await asyncio.sleep(0.1)
    uplink.stop()
    await running
    await spool.close()
    await link.close()
    await listener.stop()

    wanted = {f"day:{n}" for n in range(DAY_S * RATE)} | {f"live:{n}" for n in range(live)}
    assert listener.taken.keys() == wanted
    assert not listener.doubled
    assert spool.dropped == {}
    assert 5 * live <= DAY_S * RATE
    lanes = ["live" if batch[0].startswith("live") else "day" for batch in listener.batches]
    assert lanes[0] == "live"
    since = 0
    for lane in lanes:
        since = 0 if lane == "live" else since + 1
        assert since <= 2 * CREDIT, "what is live never waits for the drain"
