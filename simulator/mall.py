"""Recorded walks through malls: what surveyors' phones heard of the beacons there, and where.

Reads a public recording (MIT) as sightings by phones, with the way between the surveyors' marks as
the truth. Beacons whose strong rows lie close together stand for fixed beacons of a site; the other
identities, which hundreds of radios say all over the floor, stay strangers to it.
"""

from __future__ import annotations

import math
import statistics
from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING

from beacon_gateway.model import Beacon, Sighting
from proximity.site.registry import Enrolled, Place, Site, spell

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from proximity.model import Transition
    from proximity.site.registry import Key

__all__ = ["MALL", "NEAR_DBM", "Fixed", "Walk", "compact", "entered", "site_of", "walks"]

MALL = "mall-ibeacon-walks"
"""281 walks over three floors of two malls, with marks in metres of the floor's own plan (MIT)."""

STRONG_DBM = -75.0
"""Strong rows were heard near the beacon: in this set within some 10 m."""
COMPACT_M = 15.0
COMPACT_SHARE = 0.9
"""A fixed beacon: so large a share of its strong rows lies within so many metres of their middle.
The rest are rows that the phone told late."""
NEAR_DBM = -72.0
"""One calibrated level for all. The power that two of these seven beacons tell (-75 and -85 dBm) is
15 dB and more below what they send, so that a place by their word reaches across the floor."""
LEAST_STRONG = 5
"""Fewer rows lie close together by chance."""

Spot = tuple[float, float]


@dataclass(frozen=True)
class Walk:
    """One surveyor's walk: what the phone heard, in order, and the marks (Unix seconds, metres)."""

    name: str
    sightings: tuple[Sighting, ...]
    marks: tuple[tuple[float, Spot], ...]

    def where(self, at: float) -> Spot | None:
        """Give where the surveyor was, in metres; None before the first and after the last mark."""
        number = bisect_right(self.marks, at, key=lambda mark: mark[0])
        if number == 0 or (number == len(self.marks) and at > self.marks[-1][0]):
            return None
        if number == len(self.marks):
            return self.marks[-1][1]
        (begin, (x0, y0)), (end, (x1, y1)) = self.marks[number - 1 : number + 1]
        share = (at - begin) / (end - begin)
        return x0 + share * (x1 - x0), y0 + share * (y1 - y0)


@dataclass(frozen=True)
class Fixed:
    """A beacon that lies still, at ``spot`` (metres): its identity and its calibrated power."""

    beacon: Beacon
    spot: Spot

    @property
    def place(self) -> str:
        """The place that it stands for."""
        return spell(self.beacon.identity)


def walks(folder: Path) -> list[Walk]:
    """Read the walks of one floor, sorted by name; ``folder`` is the floor's."""
    return [_walk(file) for file in sorted(folder.glob("path_data_files/*.txt"))]


def _walk(file: Path) -> Walk:
    sightings: list[Sighting] = []
    marks: list[tuple[float, Spot]] = []
    for line in file.read_text().splitlines():
        at, kind, *fields = line.split("\t") if line[:1].isdigit() else ("", "")
        if kind == "TYPE_WAYPOINT":
            marks.append((float(at) / 1000.0, (float(fields[0]), float(fields[1]))))
        elif kind == "TYPE_BEACON":
            uuid, major, minor, power, rssi = fields[:5]
            beacon = Beacon(
                format="ibeacon",
                uuid=uuid,
                major=int(major),
                minor=int(minor),
                power_dbm=int(power),
            )
            heard = Sighting(
                beacon=beacon, at=float(at) / 1000.0, rssi_dbm=float(rssi), subject=file.stem
            )
            sightings.append(heard)
    sightings.sort(key=lambda one: one.at)
    return Walk(file.stem, tuple(sightings), tuple(sorted(marks)))


def compact(floor: Iterable[Walk]) -> list[Fixed]:
    """Find the beacons of a floor that lie still in one spot, sorted by identity."""
    strong: dict[Key, list[tuple[Beacon, Spot]]] = {}
    for walk in floor:
        for heard in walk.sightings:
            spot = walk.where(heard.at) if heard.rssi_dbm >= STRONG_DBM else None
            if spot is not None:
                strong.setdefault(heard.beacon.identity, []).append((heard.beacon, spot))
    found: list[Fixed] = []
    for rows in strong.values():
        xs, ys = zip(*(spot for _, spot in rows), strict=True)
        middle = statistics.median(xs), statistics.median(ys)
        near = sum(math.dist(spot, middle) <= COMPACT_M for _, spot in rows)
        if len(rows) >= LEAST_STRONG and near >= COMPACT_SHARE * len(rows):
            found.append(Fixed(rows[0][0], middle))
    return sorted(found, key=lambda fixed: fixed.place)


def site_of(beacons: Sequence[Fixed], near_dbm: float | None = NEAR_DBM) -> Site:
    """Make a site with a place for each beacon; ``near_dbm`` None takes each beacon's own word."""
    return Site(
        name="mall",
        places={fixed.place: Place(id=fixed.place, near_dbm=near_dbm) for fixed in beacons},
        beacons=tuple(
            Enrolled(
                key=("ibeacon", fixed.beacon.uuid, fixed.beacon.major, fixed.beacon.minor),
                place=fixed.place,
            )
            for fixed in beacons
        ),
    )


def entered(
    told: Iterable[Transition], walk: Walk, beacons: Sequence[Fixed]
) -> list[tuple[str, float]]:
    """List the enters of a walk: the place, and how far from its beacon the surveyor was, metres.

    Enters before the first mark and after the last are left out: nobody knows where they were.
    """
    spots = {fixed.place: fixed.spot for fixed in beacons}
    found: list[tuple[str, float]] = []
    for one in told:
        spot = walk.where(one.at) if one.kind == "enter" and one.at is not None else None
        if spot is not None:
            found.append((one.place, math.dist(spot, spots[one.place])))
    return found
