"""What does a gateway take: for each advertisement, on the disk, in memory?

The agent's own line, from the report of a radio to the row in the spool; and what is installed in
an environment of its own, with the agent running in it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import structlog

from beacon_gateway.adverts import decode_payload, decode_records
from beacon_gateway.agent import Agent
from beacon_gateway.allowlist import AllowList
from beacon_gateway.configuring import Configuring
from beacon_gateway.frames import frame
from beacon_gateway.health import Health
from beacon_gateway.link import Away
from beacon_gateway.model import Beacon
from beacon_gateway.scanner import Clock, Heard, Take
from beacon_gateway.settings import Settings
from beacon_gateway.spool import Spool
from beacon_gateway.spoolfile import Limits
from benchmarks.timing import FULL, Found, Row, Scale, rates, seconds

ROOT = Path(__file__).resolve().parent.parent
PER_S = 2000
# How many tags a busy store has, and how many of what its radio hears come from them.
TAGS = 50
SHARE = 0.05
# The pace at which the loop hands on what came: a radio's reports come in bursts as well.
TICKS_PER_S = 100
RUN_S = 12.0
UUID = "f7826da6-4fa2-4e98-8024-bc5b71e0893e"


def gateway(scale: Scale) -> Found:
    # What the agent tells of itself is beside the point here.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    dice = random.Random(5)
    payloads = [_payload(dice) for _ in range(max(scale.singles, 1000) * 5)]
    taken = [
        seconds(lambda: [decode_payload(payload) for payload in payloads])
        for _ in range(scale.rounds)
    ]
    mixed = sum(decode_payload(payload) is not None for payload in payloads) / len(payloads)
    found = Found(
        rows=[
            Row(
                what=f"advertising payloads decoded, {mixed:.0%} of them beacons",
                against="",
                unit="/s",
                values=rates(len(payloads), taken),
                least=20_000.0,
                aim=100_000.0,
            ),
            _parsed(scale, dice),
            asyncio.run(_line(scale, dice)),
        ]
    )
    if scale.limit_s < FULL.limit_s:
        found.notes.append("Installed size and memory are measured in the full run only.")
    else:
        _installed(scale, found)
    return found


def _payload(dice: random.Random) -> bytes:
    """One advertisement of a street: mostly phones and gadgets, one in five a beacon."""
    if dice.random() < 0.8:
        return bytes.fromhex("02011a0aff4c001005") + dice.randbytes(dice.randrange(5, 12))
    if dice.random() < 0.5:
        return bytes.fromhex("0201061aff4c000215") + dice.randbytes(21)
    return bytes.fromhex("0201060303aafe1516aafe00") + dice.randbytes(17)


def _tag(minor: int) -> Beacon:
    return Beacon(format="ibeacon", uuid=UUID, major=1, minor=minor, power_dbm=-59)


def _reports(dice: random.Random, count: int) -> list[tuple[str, dict[int, bytes]]]:
    """What a radio hands over: the sender's address and its manufacturer data."""
    tags = [frame(_tag(minor)) for minor in range(TAGS)]
    reports = []
    for _ in range(count):
        if dice.random() < SHARE:
            number = dice.randrange(TAGS)
            content = tags[number]
            assert content is not None
            reports.append((f"C0:00:00:00:00:{number:02X}", content[0]))
        else:
            octets = dice.randbytes(6)
            address = ":".join(f"{octet:02X}" for octet in octets)
            reports.append((address, {0x004C: b"\x10\x05" + dice.randbytes(5)}))
    return reports


def _listed() -> list[dict[str, object]]:
    return [{"format": "ibeacon", "uuid": UUID, "major": 1, "minor": n} for n in range(TAGS)]


def _parsed(scale: Scale, dice: random.Random) -> Row:
    """Time parse and filter alone: bytes to beacon, beacon to listed or forgotten."""
    reports = _reports(dice, PER_S * 5)
    listed = AllowList(_listed())

    def parse() -> int:
        kept = 0
        for _, manufacturer in reports:
            for beacon in decode_records(manufacturer, {}):
                kept += listed.match(beacon, 0.0) is not None
        return kept

    assert 0.8 * SHARE < parse() / len(reports) < 1.2 * SHARE
    taken = [seconds(parse) for _ in range(scale.rounds)]
    return Row(
        what=f"{PER_S:,} advertisements a second, parse and filter: share of one core",
        against="",
        unit="%",
        values=[100 * each * PER_S / len(reports) for each in taken],
        least=20.0,
        aim=5.0,
        fewer=True,
        note=f"{1e6 * median(taken) / len(reports):.1f} µs each",
    )


class _Nowhere:
    """A link whose server is away: everything stays in the spool."""

    clock_offset_s = 0.0
    gateway = "gw-1"

    async def send(self, _body: bytes) -> None:
        raise Away("away")

    async def configuration(self) -> None:
        raise Away("away")

    async def health(self, _snapshot: bytes) -> None:
        raise Away("away")

    async def close(self) -> None:
        pass


class _Paced:
    """A radio that hears so much a second, for so long."""

    def __init__(self, reports: list[tuple[str, dict[int, bytes]]], length_s: float) -> None:
        self.reports, self.length_s, self.said = reports, length_s, 0

    async def run(self, take: Take) -> None:
        began = time.monotonic()
        while (passed := time.monotonic() - began) < self.length_s:
            now, wall = time.monotonic(), time.time()
            while self.said < passed * PER_S:
                address, manufacturer = self.reports[self.said % len(self.reports)]
                take(Heard(address, -60 - self.said % 20, wall, now, manufacturer, {}, "radio"))
                self.said += 1
            await asyncio.sleep(1 / TICKS_PER_S)


async def _line(scale: Scale, dice: random.Random) -> Row:
    """Let the agent itself hear so much a second, and see what it takes of the processor."""
    shares = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "config.json").write_text(
            json.dumps({"gateway": "gw-1", "place": "shop", "beacons": _listed()})
        )
        for number in range(min(3, scale.rounds)):
            source = _Paced(_reports(dice, PER_S * 5), scale.load_s)
            settings = Settings(server="http://127.0.0.1:9", data=folder, gateway="gw-1")
            link: object = _Nowhere()
            configuring = Configuring(link, None, folder, "gw-1")  # type: ignore[arg-type]
            configuring.recall()
            clock = Clock()
            spool = await Spool.open(
                folder / f"{number}.sqlite", Limits(10**8, 1e6), gateway="gw-1", boot=f"b{number}",
                clock=clock,
            )  # fmt: skip
            agent = Agent(settings, source, link, configuring, spool, clock, Health(clock.mono))  # type: ignore[arg-type]
            stop = asyncio.Event()
            running = asyncio.create_task(agent.run(stop))
            before, began = time.process_time(), time.monotonic()
            await asyncio.sleep(scale.load_s)
            shares.append(100 * (time.process_time() - before) / (time.monotonic() - began))
            stop.set()
            await running
            assert source.said > 0.9 * PER_S * scale.load_s, "the machine could not keep the pace"
    return Row(
        what=f"{PER_S:,} advertisements a second, the whole agent: share of one core",
        against="",
        unit="%",
        values=shares,
        aim=20.0,
        fewer=True,
        note=f"{SHARE:.0%} enrolled, to the row on the disk; the radio's own library not counted",
    )


def _installed(scale: Scale, found: Found) -> None:
    """Install the gateway into an environment of its own, and run it there."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        python = folder / "venv" / "bin" / "python"
        try:
            _ran([sys.executable, "-m", "venv", folder / "venv"])
            bare = _size(folder / "venv")
            _ran([python, "-m", "pip", "install", "-qq", "--disable-pip-version-check",
                  "--constraint", ROOT / "constraints.txt", f"{ROOT}[gateway]"])  # fmt: skip
        except subprocess.CalledProcessError:
            found.notes.append("Installed size was not measured: nothing could be installed here.")
            return
        found.rows.append(
            Row(
                what="`proximity-engine[gateway]` installed, without Python and pip",
                against="",
                unit="MB",
                values=[(_size(folder / "venv") - bare) / 1e6],
                aim=30.0,
                fewer=True,
            )
        )
        found.rows.append(_resident(folder, python, min(RUN_S, 4 * scale.load_s)))


def _ran(words: list[object]) -> None:
    subprocess.run([str(word) for word in words], check=True, capture_output=True)


def _size(folder: Path) -> int:
    return sum(file.lstat().st_size for file in folder.rglob("*") if file.is_file())


def _resident(folder: Path, python: Path, length_s: float) -> Row:
    """Run the agent on a trace, with its server away, and look at its memory."""
    data = folder / "data"
    data.mkdir()
    (data / "config.json").write_text(
        json.dumps({"gateway": "gw-1", "place": "shop", "beacons": _listed()})
    )
    (folder / "token").write_text("px_none")
    with (folder / "trace.jsonl").open("w") as trace:
        for number in range(int(length_s * 100)):
            beacon = _listed()[number % TAGS] | {"power_dbm": -59}
            record = {"type": "sighting", "beacon": beacon, "at": 1.8e9 + number / 100}
            trace.write(
                json.dumps(record | {"rssi_dbm": -60 - number % 20, "gateway": "gw-1"}) + "\n"
            )
    words = [python, "-m", "beacon_gateway", "run", "--server", "http://127.0.0.1:9", "--gateway",
             "gw-1", "--token-file", folder / "token", "--data", data, "--simulate",
             folder / "trace.jsonl"]  # fmt: skip
    with subprocess.Popen(
        [str(word) for word in words], cwd=folder, stderr=subprocess.PIPE
    ) as agent:
        time.sleep(length_s * 0.9)
        status = Path(f"/proc/{agent.pid}/status").read_text()
        agent.terminate()
        agent.communicate()
    resident = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return Row(
        what="memory of `beacon-gateway run`",
        against="",
        unit="MB",
        values=[int(resident.split()[1]) * 1024 / 1e6],
        aim=60.0,
        fewer=True,
        note=f"100 sightings a second of {TAGS} tags, its server away",
    )
