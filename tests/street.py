"""A small street for tests of the engine: fences, a site, records of people in it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import geofences
from beacon_gateway.model import Beacon, Sighting
from geofences import FenceIndex
from proximity import Site, Transition, parse_site
from proximity.model import Fix

LON, LAT = 2.35, 48.85
DEGREE_EAST_M = 73_386.0  # a degree of longitude at LAT, in metres
DEGREE_NORTH_M = 111_207.0

UUID = "f7826da6-4fa2-4e98-8024-bc5b71e0893e"


def at(east_m: float, north_m: float) -> tuple[float, float]:
    """Give degrees for metres east and north of the middle of the street."""
    return LON + east_m / DEGREE_EAST_M, LAT + north_m / DEGREE_NORTH_M


def box(west: float, south: float, east: float, north: float) -> dict[str, Any]:
    """Draw a rectangle given in metres."""
    ring = [at(west, south), at(east, south), at(east, north), at(west, north), at(west, south)]
    return {"type": "Polygon", "coordinates": [[list(corner) for corner in ring]]}


def circle(east: float, north: float) -> dict[str, Any]:
    """Give the centre of a circle; `radius_m` is a property."""
    return {"type": "Point", "coordinates": list(at(east, north))}


def feature(name: str, geometry: dict[str, Any], **properties: Any) -> dict[str, Any]:
    """Make a GeoJSON feature."""
    return {"type": "Feature", "id": name, "properties": properties, "geometry": geometry}


def fences(*features: dict[str, Any]) -> list[geofences.Fence]:
    """Read features as fences."""
    loaded = geofences.loads(json.dumps({"type": "FeatureCollection", "features": features}))
    return list(loaded.fences)


STREET = (
    feature("cafe", box(0, 10, 40, 40), dwell_s=[60, 300]),
    feature("bakery", box(40, 10, 70, 40), exit_after_s=30),
    feature("kiosk", circle(-60, 0), radius_m=25, dwell_s=20),
    feature("mall", box(-200, -200, 200, -20)),
    feature("mall/shoes", box(-50, -80, 0, -40), venue="mall"),
    feature("mall/depot", box(20, -120, 60, -60), venue="mall", exclude=True),
)

SITE = f"""
[[place]]
id = "cafe/bar"
parent = "cafe"
[[place]]
id = "cafe/terrace"
exit_after_s = 20
[[gateway]]
id = "gw-bar"
place = "cafe/bar"
[[gateway]]
id = "gw-terrace"
place = "cafe/terrace"
[[beacon]]
uuid = "{UUID}"
major = 1
minor = 1
subject = "s0"
[[beacon]]
uuid = "{UUID}"
major = 9
place = "bakery"
"""


def index(*features: dict[str, Any]) -> FenceIndex:
    """Index the street, or other features."""
    return FenceIndex(fences(*(features or STREET)))


def site() -> Site:
    """Read the street's site."""
    return parse_site(SITE, "site.toml")


def fix(when: float, east_m: float, north_m: float, subject: str = "s0", **more: Any) -> Fix:
    """Report a position in metres; 8 m good unless said otherwise."""
    lon, lat = at(east_m, north_m)
    more.setdefault("accuracy_m", 8.0)
    return Fix(subject=subject, at=when, lon=lon, lat=lat, **more)


def ride(when: float, east_m: float, north_m: float, subject: str = "s0", **more: Any) -> Fix:
    """Report a position of somebody on a bicycle: each stands by itself, however far apart."""
    return fix(when, east_m, north_m, subject, motion="cycling", **more)


def heard(when: float, gateway: str, dbm: float = -60.0, minor: int = 1) -> Sighting:
    """Let a gateway hear the card that s0 carries."""
    beacon = Beacon(format="ibeacon", uuid=UUID, major=1, minor=minor, power_dbm=-59)
    return Sighting(beacon=beacon, at=when, rssi_dbm=dbm, gateway=gateway)


def walk(
    start: float, points: Sequence[tuple[float, float]], every_s: float = 10.0, **more: Any
) -> list[Fix]:
    """Report one position after another."""
    return [
        fix(start + number * every_s, east, north, **more)
        for number, (east, north) in enumerate(points)
    ]


def told(transitions: Iterable[Transition]) -> list[tuple[Any, ...]]:
    """Shorten transitions to kind, place, at, and reason or dwell."""
    return [(t.kind, t.place, t.at, t.reason or t.dwell_s) for t in transitions]


Folded = list[tuple[str, str, str, float | None, float | None]]


def fold(transitions: Iterable[Transition]) -> Folded:
    """Fold transitions in order into visits, as any reader of the file would."""
    visits: dict[str, tuple[str, str, str, float | None, float | None]] = {}
    for t in transitions:
        if t.kind == "corrected":
            if t.enter_at is None:
                visits.pop(t.visit, None)
            else:
                visits[t.visit] = ("visit", t.subject, t.place, t.enter_at, t.exit_at)
        elif t.kind == "enter":
            visits[t.visit] = ("visit", t.subject, t.place, t.at, None)
        elif t.kind == "exit":
            _, subject, place, enter_at, _ = visits[t.visit]
            visits[t.visit] = ("visit", subject, place, enter_at, t.at)
        elif t.kind == "pass":
            visits[t.visit] = ("pass", t.subject, t.place, t.at, None)
    return sorted(visits.values(), key=repr)
