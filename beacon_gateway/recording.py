"""The question: what did the receivers hear of one beacon while somebody stood still.

A recording is a trace file with the sightings of some seconds. Reading it here gives each
gateway's smoothed level, step by step. It must not know what the levels are wanted for.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import msgspec

from beacon_gateway.around import FILTER, named
from beacon_gateway.model import BOM, GatewayError, Sighting
from beacon_gateway.ranging import Level

# Half a second: the pace at which a gateway tells the loudest reading of each beacon.
STEP_S = 0.5
# The smoothed level of the first seconds is mostly its first reading.
SETTLE_S = 2.0
# Half a minute is some hundred lines; this is an hour of a busy gateway.
MAX_LINES = 200_000
MAX_LINE = 65_536
# Nobody stands still for a day: a clock was put right meanwhile, as after a power cut.
LONGEST_S = 86_400.0


class Heard(NamedTuple):
    """One gateway's part of a recording: its readings, and its level every STEP_S seconds.

    ``readings`` dBm in order; ``steps`` dBm by whole steps since the recording's first reading
    (of any gateway), left out while the level is stale; ``per_s`` readings a second.
    """

    readings: list[float]
    steps: dict[int, float]
    per_s: float

    @property
    def middle_dbm(self) -> float:
        """The median of the level, dBm; of the readings where it never settled."""
        return statistics.median(self.steps.values() or self.readings)


class Recording(NamedTuple):
    """What was heard of one beacon: by gateway, over ``seconds``."""

    name: str
    beacon: str
    seconds: float
    gateways: dict[str, Heard]

    @property
    def loudest(self) -> str:
        """The gateway with the highest median level."""
        return max(self.gateways, key=lambda gateway: self.gateways[gateway].middle_dbm)


def read(file: Path, beacon: str | None = None) -> Recording:
    """Read a recording of the beacon whose name ends with ``beacon``, else of the most heard.

    Of two that are heard as often the louder one is meant. ``-`` is standard input.

    Raises GatewayError where the file cannot be read or holds no such sightings.
    """
    try:
        if str(file) == "-":
            return made(
                "standard input", list(_sightings(sys.stdin.buffer, "standard input")), beacon
            )
        with file.open("rb") as source:
            sightings = list(_sightings(source, str(file)))
    except OSError as error:
        raise GatewayError(
            f"{file}: cannot be read ({error.strerror}): check the name and the rights"
        ) from None
    return made(str(file), sightings, beacon)


def read_all(files: Sequence[Path], beacon: str | None = None) -> list[Recording]:
    """Read several recordings as `read` does; GatewayError has a line for each that is none."""
    found: list[Recording] = []
    problems: list[str] = []
    for file in files:
        try:
            found.append(read(file, beacon))
        except GatewayError as error:
            problems.append(str(error))
    if problems:
        raise GatewayError("\n".join(problems))
    return found


def made(name: str, sightings: Sequence[Sighting], beacon: str | None = None) -> Recording:
    """Make a recording of sightings; the same choice of a beacon and the same errors as `read`."""
    sightings = [one for one in sightings if one.gateway is not None and one.measured]
    by_name: dict[str, list[Sighting]] = {}
    for one in sightings:
        by_name.setdefault(named(one.beacon), []).append(one)
    wanted = [known for known in by_name if beacon is None or known.endswith(beacon.lower())]
    if not wanted:
        which = (
            f"of a beacon that ends with {beacon}" if beacon else "by a gateway and with a level"
        )
        heard = ", ".join(sorted(by_name)[:5])
        raise GatewayError(
            f"{name}: has no sighting {which}{f' (there are {heard})' if heard else ''}: "
            "record again with the tag switched on and enrolled"
        )
    chosen = max(
        wanted,
        key=lambda known: (
            len(by_name[known]),
            statistics.median(one.rssi_dbm for one in by_name[known]),
        ),
    )
    ours = sorted(by_name[chosen], key=lambda one: one.at)
    start, seconds = ours[0].at, max(STEP_S, ours[-1].at - ours[0].at)
    if seconds > LONGEST_S:
        raise GatewayError(
            f"{name}: holds sightings {seconds / LONGEST_S:,.0f} days apart: record again once the "
            "gateway's clock is right (`beacon-gateway doctor` says so)"
        )
    gateways: dict[str, list[Sighting]] = {}
    for one in ours:
        gateways.setdefault(str(one.gateway), []).append(one)
    return Recording(
        name,
        chosen,
        seconds,
        {gateway: _heard(its, start, seconds) for gateway, its in sorted(gateways.items())},
    )


def _heard(sightings: Sequence[Sighting], start: float, seconds: float) -> Heard:
    """Smooth one gateway's readings, and sample the level at every step."""
    steps: dict[int, float] = {}
    level: Level | None = None
    following = iter([*sightings, None])
    coming = next(following)
    step, last = 0, int(seconds / STEP_S)
    while step <= last:
        now = start + step * STEP_S
        while coming is not None and coming.at <= now:
            level = FILTER(level, coming.rssi_dbm, coming.at)
            coming = next(following)
        if level is None or level.stale(now):
            if coming is None:
                break
            # Nothing until the next reading, however far off: a day has many steps.
            step = max(step + 1, int((coming.at - start) / STEP_S))
            continue
        if now - start >= min(SETTLE_S, seconds / 2):
            steps[step] = level.dbm
        step += 1
    return Heard([one.rssi_dbm for one in sightings], steps, len(sightings) / seconds)


def _sightings(source: BinaryIO, name: str) -> Iterable[Sighting]:
    """Read the sightings of a trace; other records are passed over, a broken line is named."""
    for number, read_line in enumerate(iter(lambda: source.readline(MAX_LINE + 1), b""), 1):
        line = read_line.removeprefix(BOM)
        if number > MAX_LINES or len(line) > MAX_LINE:
            raise GatewayError(
                f"{name}: line {number}: too long for a recording: record half a minute"
            )
        if not line.strip():
            continue
        try:
            if msgspec.json.decode(line, type=_Kind).type == "sighting":
                yield msgspec.json.decode(line, type=Sighting)
        except (ValueError, RecursionError) as error:
            raise GatewayError(
                f"{name}: line {number}: is no record of a trace ({error}): record again"
            ) from None


class _Kind(msgspec.Struct):
    """The one field that tells records apart."""

    type: str
