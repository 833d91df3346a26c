"""Recorded radio with a known truth: who was in which zone, and which receivers heard what.

Reads two public recordings as tracks of the contest: a door between ten receivers with a light
barrier in it, and a hall with twelve receivers over four zones and cameras. Knows where such files
lie (``PROXIMITY_DATA``, or the folder beside the checkout), and that they may be absent.
"""

from __future__ import annotations

import csv
import json
import math
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from beacon_gateway.model import Beacon, Sighting
from proximity.engine.trail import order
from proximity.model import ProximityError
from proximity.site.registry import Enrolled, Gateway, Site

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

__all__ = ["DOORWAY", "HALL", "Crossing", "Track", "coarse", "doorway", "hall", "silent", "windows"]

DOORWAY = "doorway-inside-outside-ble"
"""Ten receivers, 10 Hz, cars and a walker through one door (CC BY 4.0)."""
HALL = "gateways-track-beacon-hall"
"""Twelve receivers, 1.9 Hz each, a carried beacon followed by cameras (CC0)."""

UUID = "f7826da6-4fa2-4e98-8024-bc5b71e0893e"
ABSENT_DBM = -100.0
"""How the doorway set writes a packet that a receiver missed."""
TICK_S = 0.25
"""How often the truth is looked at."""
EITHER_SIDE_S = 5.0
"""A change counts from so long before the beam is first broken to so long after it is last clear:
a car is long, its body hides the receivers behind it, and the labels mean "wholly inside"."""
ONE_CROSSING_S = 8.0
"""The beam broken again within this time is the same car or walker."""
CLEAR_M = 1.5
"""So far from a border between zones one is surely in one of them."""
QUARTERS = {"1": "south-west", "2": "north-west", "3": "north-east", "4": "south-east"}
"""The hall's zones by the first digit of its sensors' names: three sensors each."""


@dataclass(frozen=True, slots=True)
class Crossing:
    """A true change: into ``place``, at ``at``; to be decided from ``begin`` to ``end``."""

    place: str
    at: float
    begin: float
    end: float


@dataclass(frozen=True)
class Track:
    """What the receivers of one site heard of one tag, and where it truly was.

    ``ticks`` are (Unix seconds, place, whether clear of every border) each ``TICK_S``.
    """

    name: str
    subject: str
    site: Site
    sightings: Sequence[Sighting]
    crossings: tuple[Crossing, ...]
    ticks: Sequence[tuple[float, str, bool]]


def tag(number: int) -> Beacon:
    """Give the beacon of tag ``number``."""
    return Beacon(format="ibeacon", uuid=UUID, major=1, minor=number, power_dbm=-59)


def site_of(gateways: dict[str, str], subjects: Sequence[str]) -> Site:
    """Make a site of gateways by place, and of tags: number n is carried by the n-th subject."""
    return Site(
        gateways={name: Gateway(id=name, place=place) for name, place in gateways.items()},
        beacons=tuple(
            Enrolled(key=("ibeacon", UUID, 1, number), subject=subject)
            for number, subject in enumerate(subjects)
        ),
    )


def doorway(folder: Path) -> list[Track]:
    """Read the recordings of the door; ``folder`` holds all data sets.

    Raises ProximityError where a file is none of them.
    """
    files = sorted((folder / DOORWAY).glob("*_measurement_*.csv"))
    return [_through_the_door(file) for file in files]


def _through_the_door(file: Path) -> Track:
    try:
        with file.open(newline="", encoding="utf-8") as lines:
            rows = list(csv.DictReader(lines))
        receivers = [name for name in rows[0] if re.match(r"[IO]-", name)]
        seconds = [int(row["superframe"]) / 10.0 for row in rows]
        inside = [int(row["Label"]) > 0 for row in rows]
        broken = [int(row["raw_photosensor_door"]) > 0 for row in rows]
        levels = [[float(row[name]) for name in receivers] for row in rows]
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise ProximityError(f"{file.name}: no recording of the door: {error}") from error
    sides = {name: "inside" if name[0] == "I" else "outside" for name in receivers}
    sightings = [
        Sighting(beacon=tag(0), at=at, rssi_dbm=level, gateway=name)
        for at, heard in zip(seconds, levels, strict=True)
        for name, level in zip(receivers, heard, strict=True)
        if level != ABSENT_DBM
    ]
    # All receivers stamp one instant; in the engine's own order nothing has to be judged again.
    sightings.sort(key=order)
    places = ["inside" if one else "outside" for one in inside]
    beams = _spells(seconds, broken)
    crossings = []
    for number in range(1, len(rows)):
        if places[number] != places[number - 1]:
            at = seconds[number]
            begin, end = next((b, e) for b, e in beams if b - TICK_S <= at <= e + TICK_S)
            crossings.append(
                Crossing(places[number], at, begin - EITHER_SIDE_S, end + EITHER_SIDE_S)
            )
    ticks = _ticks(seconds, places, [not one for one in broken])
    return Track(file.stem, "car", site_of(sides, ["car"]), sightings, tuple(crossings), ticks)


def _spells(seconds: Sequence[float], broken: Sequence[bool]) -> list[tuple[float, float]]:
    """Give when the beam was broken: begin and end of each crossing."""
    spells: list[tuple[float, float]] = []
    for at, now in zip(seconds, broken, strict=True):
        if not now:
            continue
        if spells and at - spells[-1][1] <= ONE_CROSSING_S:
            spells[-1] = spells[-1][0], at
        else:
            spells.append((at, at))
    # The beam is clear with the row after the last that says broken.
    return [(begin, end + 0.1) for begin, end in spells]


def hall(folder: Path) -> list[Track]:
    """Read the recordings of the hall; ``folder`` holds all data sets.

    A zone is where the middle of its three sensors is the nearest. Raises ProximityError where a
    file is none of them.
    """
    home = folder / HALL
    try:
        plan = (home / "cnf" / "tetam.dev").read_text("utf-8")
        sensors = json.loads(re.search(r"Dongles:(\{.*\})", plan)[1])  # type: ignore[index]
        zones = {mac: QUARTERS[one[2][6]] for mac, one in sensors.items()}
        spots = {mac: (float(one[0][0]), float(one[0][1])) for mac, one in sensors.items()}
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise ProximityError(f"{home.name}: no plan of the hall: {error}") from error
    middles = {}
    for zone in sorted(set(zones.values())):
        own = [spots[mac] for mac in zones if zones[mac] == zone]
        middles[zone] = sum(x for x, _ in own) / len(own), sum(y for _, y in own) / len(own)
    files = sorted((home / "trk").glob("*.mbd"))
    return [_through_the_hall(file, zones, middles) for file in files]


def nearest(x: float, y: float, middles: dict[str, tuple[float, float]]) -> tuple[str, float]:
    """Give the zone whose middle is nearest, and how far off its border is; metres."""
    (own, here), *others = sorted(
        (math.hypot(x - mx, y - my), zone) for zone, (mx, my) in middles.items()
    )
    borders = (
        (far * far - own * own) / (2.0 * math.dist(middles[here], middles[zone]))
        for far, zone in others
    )
    return here, min(borders)


def _through_the_hall(
    file: Path, zones: dict[str, str], middles: dict[str, tuple[float, float]]
) -> Track:
    sightings: list[Sighting] = []
    seconds: list[float] = []
    places: list[str] = []
    clear: list[bool] = []
    try:
        for line in file.read_text("utf-8").splitlines():
            stamp, sensor, _, level, x, y, *_ = line.split(",")
            at = float(stamp)
            place, border_m = nearest(float(x), float(y), middles)
            sightings.append(Sighting(beacon=tag(0), at=at, rssi_dbm=float(level), gateway=sensor))
            seconds.append(at)
            places.append(place)
            clear.append(border_m > CLEAR_M)
    except (OSError, ValueError) as error:
        raise ProximityError(f"{file.name}: no recording of the hall: {error}") from error
    crossings = tuple(
        Crossing(here, at, at, at)
        for at, here, before in zip(seconds[1:], places[1:], places, strict=False)
        if here != before
    )
    ticks = _ticks(seconds, places, clear)
    return Track(file.stem, "tag", site_of(zones, ["tag"]), sightings, crossings, ticks)


def _ticks(
    seconds: Sequence[float], places: Sequence[str], clear: Sequence[bool]
) -> list[tuple[float, str, bool]]:
    """Look at a truth every ``TICK_S``."""
    ticks: list[tuple[float, str, bool]] = []
    due = seconds[0]
    for at, place, sure in zip(seconds, places, clear, strict=True):
        while due <= at:
            ticks.append((due, place, sure))
            due += TICK_S
    return ticks


def windows(track: Track, on_s: float = 10.0, off_s: float = 5.0) -> Track:
    """Let the receivers scan for ``on_s`` and rest for ``off_s``, each from a time of its own."""
    gateways = sorted(track.site.gateways)
    shift = {name: 3.7 * number for number, name in enumerate(gateways)}
    first = track.sightings[0].at
    return _only(
        track,
        [
            (one.at - first + shift[one.gateway or ""]) % (on_s + off_s) < on_s
            for one in track.sightings
        ],
    )


def coarse(track: Track, step_db: float = 8.0) -> Track:
    """Report a level only where it is ``step_db`` off the last reported, as Linux may do."""
    last: dict[str | None, float] = {}
    kept = []
    for one in track.sightings:
        keep = abs(one.rssi_dbm - last.get(one.gateway, -1000.0)) >= step_db
        if keep:
            last[one.gateway] = one.rssi_dbm
        kept.append(keep)
    return _only(track, kept)


def silent(track: Track, gateway: str) -> Track:
    """Let one receiver be dead."""
    return _only(track, [one.gateway != gateway for one in track.sightings])


def _only(track: Track, kept: Iterable[bool]) -> Track:
    sightings = [one for one, keep in zip(track.sightings, kept, strict=True) if keep]
    return replace(track, sightings=sightings)
