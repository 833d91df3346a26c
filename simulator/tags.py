"""Simulated tags with a known truth: lying still, walking through zones, walking by.

``radio`` says what is heard; this says who goes where. All chance comes from the seed. Knows no
engine and no judge.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from beacon_gateway.model import Sighting
from proximity.engine.trail import order
from proximity.site.registry import Enrolled, Gateway, Place, Site
from simulator.gps import drift
from simulator.heard import CLEAR_M, TICK_S, UUID, Crossing, Track, nearest, site_of, tag
from simulator.radio import Air, Carried, Fixed, advertised, hear

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["Still", "WalkBy", "lying", "still", "strolls", "walk_bys"]

START = 1767225600.0
AT_1_M_DBM = -59.0

STILL_EVERY_S = 0.35, 1.0, 1.4, 2.0
"""Intervals of tags on sale: each lying tag has one of these."""
LYING = Air(body_db=0.0, loss=0.3)
"""Nobody wears a tag that lies on a shelf."""
APART_M = 10.0
"""Between the two receivers; a tag lies in the middle third."""
PASSING_PER_H, PASSING_S, PASSING_DB = 40.0, 8.0, (6.0, 15.0)
"""Bodies between a lying tag and one receiver: how often, how long on average, how much."""
STANDING_PER_H, STANDING_S, STANDING_DB = 1.5, 120.0, (4.0, 10.0)
"""The same for those who stop there."""
SLOW_DB, SLOW_S = 1.5, 600.0
"""Standard deviation and memory of what else changes in a room: doors, goods, batteries."""


@dataclass(frozen=True)
class Still:
    """One tag that lay between two receivers: every change after its first enter is false.

    ``gap_db`` is how far apart the mean levels of the two are.
    """

    subject: str
    every_s: float
    gap_db: float
    hours: float


def still(
    seed: int, tags: int = 40, hours: float = 0.5
) -> tuple[Site, list[Sighting], list[Still]]:
    """Let tags lie between two receivers of two places, each tag in a room of its own."""
    rng = np.random.default_rng([seed, 1])
    sightings: list[Sighting] = []
    lay: list[Still] = []
    for number in range(tags):
        every_s = STILL_EVERY_S[number % len(STILL_EVERY_S)]
        seconds = advertised(0.0, hours * 3600.0, every_s, rng)
        x = np.full(len(seconds), APART_M * rng.uniform(1.0 / 3.0, 2.0 / 3.0))
        zero, floors = np.zeros(len(seconds)), np.full(len(seconds), math.nan)
        means = []
        for name, at_m in (("gw-west", 0.0), ("gw-east", APART_M)):
            fixed = Fixed(at_m, 1.0, LYING, rng)
            heard, rssi = hear(fixed, Carried(seconds, x, zero, zero, floors), AT_1_M_DBM, rng)
            means.append(float(rssi.mean()))
            rssi = rssi + _room(seconds, rng)[heard]
            sightings += _sightings(number, name, seconds[heard], rssi)
        lay.append(Still(f"tag-{number}", every_s, abs(means[0] - means[1]), hours))
    sightings.sort(key=order)
    site = site_of({"gw-west": "west", "gw-east": "east"}, [one.subject for one in lay])
    return site, sightings, lay


def _room(seconds: Floats, rng: np.random.Generator) -> Floats:
    """Give what a room does to one link in dB: slow drift, people who pass and who stop."""
    level = SLOW_DB * np.real(drift(seconds, SLOW_S, rng))
    for per_h, lasts_s, (least, most) in (
        (PASSING_PER_H, PASSING_S, PASSING_DB),
        (STANDING_PER_H, STANDING_S, STANDING_DB),
    ):
        for _ in range(rng.poisson(per_h * (seconds[-1] - seconds[0]) / 3600.0)):
            begin = rng.uniform(seconds[0], seconds[-1])
            within = (seconds >= begin) & (seconds < begin + rng.exponential(lasts_s))
            level[within] -= rng.uniform(least, most)
    whole: Floats = np.round(level)
    return whole


def _sightings(number: int, gateway: str, seconds: Floats, rssi: Floats) -> list[Sighting]:
    beacon = tag(number)
    return [
        Sighting(beacon=beacon, at=START + at, rssi_dbm=min(-20.0, level), gateway=gateway)
        for at, level in zip(seconds.tolist(), rssi.tolist(), strict=True)
        if level >= -120.0
    ]


HALF_M = 9.3, 7.8
"""How far from the middle of the hall people walk, metres: it is 20.7 by 17.6 m."""
PLAN = {
    "south-west": [(-3.3, -1.7), (-3.1, -8.1), (-9.6, -2.7)],
    "north-west": [(-3.1, 2.5), (-9.6, 3.3), (-3.1, 8.7)],
    "north-east": [(2.8, 3.5), (2.5, 8.0), (7.8, 3.1)],
    "south-east": [(2.7, -3.3), (7.4, -2.5), (2.4, -8.5)],
}
"""Where the hall's receivers hang, in metres from its middle."""
MIDDLES = {
    zone: (sum(x for x, _ in own) / len(own), sum(y for _, y in own) / len(own))
    for zone, own in PLAN.items()
}


def strolls(seed: int, walks: int = 8, seconds: float = 200.0) -> list[Track]:
    """Walk through the recorded hall's four zones, drawn anew: three receivers each, 2 Hz."""
    rng = np.random.default_rng([seed, 2])
    gateways = {f"{zone}-{n}": zone for zone, spots in PLAN.items() for n in range(len(spots))}
    site = site_of(gateways, ["tag"])
    tracks = []
    for number in range(walks):
        way = _stroll(*HALF_M, seconds, rng)
        times = advertised(0.0, seconds, 0.4, rng)
        x, y, faces = (np.interp(times, way[0], one) for one in way[1:])
        carried = Carried(times, x, y, np.degrees(faces), np.full(len(times), math.nan))
        sightings: list[Sighting] = []
        for zone, spots in PLAN.items():
            for n, (gx, gy) in enumerate(spots):
                fixed = Fixed(gx, gy, Air(), rng)
                heard, rssi = hear(fixed, carried, AT_1_M_DBM, rng)
                sightings += _sightings(0, f"{zone}-{n}", times[heard], rssi)
        sightings.sort(key=order)
        tracks.append(_told(f"stroll {number + 1}", site, sightings, way))
    return tracks


def _stroll(half_x: float, half_y: float, seconds: float, rng: np.random.Generator) -> Floats:
    """Draw a way: seconds, x, y in metres, heading in radians unwrapped; stops of 5 to 40 s."""
    at, x, y = 0.0, rng.uniform(-half_x, half_x), rng.uniform(-half_y, half_y)
    faces = rng.uniform(-math.pi, math.pi)
    points = [(at, x, y, faces)]
    while at < seconds:
        to_x, to_y = rng.uniform(-half_x, half_x), rng.uniform(-half_y, half_y)
        metres = math.hypot(to_x - x, to_y - y)
        turn = math.atan2(to_x - x, to_y - y)
        faces += (turn - faces + math.pi) % (2.0 * math.pi) - math.pi
        points.append((at + 0.5, x, y, faces))
        at += 0.5 + metres / rng.uniform(0.6, 1.3)
        x, y = to_x, to_y
        points.append((at, x, y, faces))
        rest = rng.uniform(5.0, 40.0)
        faces += rng.uniform(-1.5, 1.5)
        points.append((at + rest, x, y, faces))
        at += rest
    return np.array(points).T


def _told(name: str, site: Site, sightings: Sequence[Sighting], way: Floats) -> Track:
    """Give the truth of a way by quarters."""
    times = np.arange(0.0, sightings[-1].at - START, TICK_S)
    xs, ys = np.interp(times, way[0], way[1]).tolist(), np.interp(times, way[0], way[2]).tolist()
    ticks = []
    for at, x, y in zip(times.tolist(), xs, ys, strict=True):
        place, border_m = nearest(x, y, MIDDLES)
        ticks.append((START + at, place, border_m > CLEAR_M))
    crossings = tuple(
        Crossing(place, at, at, at)
        for (at, place, _), (_, before, _) in zip(ticks[1:], ticks, strict=False)
        if place != before
    )
    return Track(name, "tag", site, sightings, crossings, ticks)


BY_EVERY_S, PACE_MPS, ZONE_M = 0.2, 1.2, 3.0
"""Interval of the tag, its pace; radius of the zone, and of the ring its level is measured on."""
BY_AIR = Air(exponent=(1.4, 2.6), shadow_db=4.5, loss=0.3)
"""Rougher than the usual air: the widest published range of exponents and shadows."""
HALF_WAY_M = 40.0


@dataclass(frozen=True)
class WalkBy:
    """One who walked by at ``off_m`` metres from the receiver; in the zone from ``enters``."""

    subject: str
    off_m: float
    enters: float
    leaves: float


def walk_bys(seed: int, off_m: float, ways: int = 200) -> tuple[Site, list[Sighting], list[WalkBy]]:
    """Walk past receivers, each with a ``near_dbm`` measured on a ring of ``ZONE_M`` metres.

    ``enters`` and ``leaves`` are when the zone's edge is crossed; where the way is farther off,
    both are when it is nearest.
    """
    rng = np.random.default_rng([seed, 3, round(10.0 * off_m)])
    gateways, places, sightings, who = {}, {}, [], []
    for number in range(ways):
        fixed = Fixed(0.0, 0.0, BY_AIR, rng)
        times = advertised(0.0, 2.0 * HALF_WAY_M / PACE_MPS, BY_EVERY_S, rng)
        x = PACE_MPS * times - HALF_WAY_M
        count = len(times)
        carried = Carried(
            times, x, np.full(count, off_m), np.full(count, 90.0), np.full(count, math.nan)
        )
        heard, rssi = hear(fixed, carried, AT_1_M_DBM, rng)
        place, gateway = f"zone-{number}", f"gw-{number}"
        gateways[gateway] = Gateway(id=gateway, place=place)
        places[place] = Place(id=place, near_dbm=_calibrated(fixed, rng))
        begin = START + 120.0 * number
        sightings += [
            Sighting(beacon=tag(number), at=begin + at, rssi_dbm=level, gateway=gateway)
            for at, level in zip(times[heard].tolist(), rssi.tolist(), strict=True)
        ]
        half_s = math.sqrt(max(0.0, ZONE_M**2 - off_m**2)) / PACE_MPS
        nearest = begin + HALF_WAY_M / PACE_MPS
        who.append(WalkBy(f"tag-{number}", off_m, nearest - half_s, nearest + half_s))
    site = Site(
        gateways=gateways,
        places=places,
        beacons=tuple(
            Enrolled(key=("ibeacon", UUID, 1, number), subject=one.subject)
            for number, one in enumerate(who)
        ),
    )
    return site, sightings, who


def _calibrated(fixed: Fixed, rng: np.random.Generator) -> float:
    """Measure a place's level on its ring as its owner would: eight spots, turning on each."""
    levels = []
    for spot in range(8):
        times = advertised(0.0, 10.0, BY_EVERY_S, rng)
        count = len(times)
        angle = spot * math.pi / 4.0
        carried = Carried(
            times, np.full(count, ZONE_M * math.cos(angle)),
            np.full(count, ZONE_M * math.sin(angle)), 36.0 * times, np.full(count, math.nan),
        )  # fmt: skip
        levels.append(float(hear(fixed, carried, AT_1_M_DBM, rng)[1].mean()))
    return round(float(np.mean(levels)), 1)


def lying(seed: int, tags: int = 60, minutes: float = 10.0) -> tuple[Site, list[Sighting]]:
    """Let tags lie 4 m from one receiver, one advertisement a second, three in ten lost."""
    rng = np.random.default_rng([seed, 4])
    sightings: list[Sighting] = []
    for number in range(tags):
        seconds = advertised(0.0, 60.0 * minutes, 1.0, rng)
        zero, floors = np.zeros(len(seconds)), np.full(len(seconds), math.nan)
        carried = Carried(seconds, np.full(len(seconds), 4.0), zero, zero, floors)
        heard, rssi = hear(Fixed(0.0, 0.0, LYING, rng), carried, AT_1_M_DBM, rng)
        sightings += _sightings(number, "gw", seconds[heard], rssi)
    sightings.sort(key=order)
    return site_of({"gw": "shelf"}, [f"tag-{n}" for n in range(tags)]), sightings
