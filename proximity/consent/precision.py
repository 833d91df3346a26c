"""How exactly may it be known where somebody is? As exactly as they agreed to, and no more.

A ladder of three rungs: ``exact`` as it comes, ``geohash-6`` a cell of some 1.2 km by 0.6 km,
``venue`` no position at all, but which beacons were near. Below it is nothing. Whoever never said
anything of location stands on no rung of it: their other consents speak for them. Pure; knows
consents and records.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from geofences.geodesy import metres_between
from proximity.model import Fix, Sighting

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proximity.model import Consent, Record

__all__ = [
    "EVERYTHING", "LOCATION", "NOTHING", "Allowed", "Rung", "allowed", "as_agreed", "blur",
    "may_keep", "said_of_location",
]  # fmt: skip

CELL_BITS = 15
"""Bits of longitude and as many of latitude: six characters of five bits each make a geohash."""


class Rung(IntEnum):
    """A step of the ladder; a higher one tells more."""

    NOTHING = 0
    VENUE = 1
    CELL = 2
    EXACT = 3


RUNGS = {None: Rung.EXACT, "exact": Rung.EXACT, "geohash-6": Rung.CELL, "venue": Rung.VENUE}
"""What a consent's ``precision`` stands for; one that names none sets no bound of its own."""

LOCATION = {
    "location-background": Rung.EXACT,
    "location-precise": Rung.EXACT,
    "beacon": Rung.VENUE,
}
"""The purposes that speak of location, and the most that each of them needs."""


class Allowed(NamedTuple):
    """What may be kept of where somebody is: how exact their fixes, and whether sightings."""

    fixes: Rung
    sightings: bool


EVERYTHING = Allowed(Rung.EXACT, sightings=True)
"""Where nobody has set a bound."""
NOTHING = Allowed(Rung.NOTHING, sightings=False)
"""Where nothing of location may be kept."""


def said_of_location(consents: Sequence[Consent]) -> bool:
    """Whether a person ever agreed to, or withdrew, anything that speaks of location."""
    return any(one.purpose in LOCATION for one in consents)


def allowed(consents: Sequence[Consent], at: float) -> Allowed:
    """Tell what may be kept at Unix second ``at`` of a person with these consents.

    Consents are as they stand: those that were withdrawn have ended. The best rung in force
    counts, at most a cell where ``location-precise`` was spoken of and is not in force, and no
    sighting where ``beacon`` was and is not.
    """
    best, said, in_force = Rung.NOTHING, set(), set()
    for one in consents:
        most = LOCATION.get(one.purpose)
        if most is None:
            continue
        said.add(one.purpose)
        if one.holds(at):
            in_force.add(one.purpose)
            best = max(best, min(most, RUNGS[one.precision]))
    if not said:
        return EVERYTHING
    refused = said - in_force
    if "location-precise" in refused:
        best = min(best, Rung.CELL)
    return Allowed(best, sightings=best > Rung.NOTHING and "beacon" not in refused)


def may_keep(record: Record, found: Allowed) -> bool:
    """Whether a record may be kept at all of somebody who allows this much."""
    if type(record) is Fix:
        return found.fixes > Rung.VENUE
    return found.sightings if type(record) is Sighting else True


def as_agreed(record: Record, found: Allowed) -> Record:
    """Give a record that may be kept as exactly as its person allows."""
    return blur(record) if type(record) is Fix and found.fixes < Rung.EXACT else record


def blur(fix: Fix) -> Fix:
    """Give a fix as a geohash of six characters has it: its cell's centre, and nothing besides.

    ``accuracy_m`` reaches the cell's farthest corner, so that the true position is within it.
    Height, floor, speed, course and motion are left out: with a map they would tell more than the
    cell. Cells are halves of halves of the whole range, 15 times each way.
    """
    cells = 1 << CELL_BITS
    width, height = 360.0 / cells, 180.0 / cells
    lon = (min(int((fix.lon + 180.0) / width), cells - 1) + 0.5) * width - 180.0
    lat = (min(int((fix.lat + 90.0) / height), cells - 1) + 0.5) * height - 90.0
    # Meridians draw together towards the poles: the corner nearer the equator is the farther one.
    edge = lat - height / 2.0 if lat > 0.0 else lat + height / 2.0
    return replace(
        fix,
        lon=lon,
        lat=lat,
        accuracy_m=metres_between(lon, lat, lon + width / 2.0, edge),
        altitude_m=None,
        floor=None,
        speed_mps=None,
        course_deg=None,
        motion=None,
    )
