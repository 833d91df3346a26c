"""Where a walker truly goes, second by second.

A walker follows points on the ground at a pace, and stays at some of them, perhaps wandering about.
The path is exact, straight from point to point; what a phone makes of it is ``gps``'s part, what
the radio makes of it ``radio``'s. ``python -m simulator.walk SCENARIO [SEED]`` writes the trace of
a scenario and nothing else.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from pyproj import Geod

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["Ground", "Stop", "Track", "Walker", "moved", "walk"]

WGS84 = Geod(ellps="WGS84")

METRES_PER_RADIAN = 6_371_008.8
"""Mean radius of the Earth (IUGG), for what needs no better than half a percent."""

_AXIS_M, _ECCENTRICITY2 = 6_378_137.0, 0.006_694_379_990_141_3
"""Equatorial radius in metres and squared eccentricity of WGS 84."""

PACE_SPREAD = 0.08
"""Standard deviation of a person's pace from one stretch to the next, as a part of it."""

REST_S, STROLL_MPS = 25.0, 0.6
"""Whoever wanders about stands for so long in the mean, then strolls on at this pace: the middle
of what people do before shelves. Half or twice as much changes no verdict on a visit."""


@dataclass(frozen=True)
class Stop:
    """A point of a walk: degrees east and north, and how many seconds one stays there.

    ``wander_m`` is how far from the point one goes about meanwhile; ``floor`` the floor from here
    on, None for no change; ``speed_mps`` the pace of the way to here, None for the walker's own.
    """

    lon: float
    lat: float
    stay_s: float = 0.0
    wander_m: float = 0.0
    floor: float | None = None
    speed_mps: float | None = None


@dataclass(frozen=True)
class Walker:
    """Who walks where: the first step is at second ``start_s``; pace in metres a second."""

    subject: str
    path: tuple[Stop, ...]
    speed_mps: float = 1.35
    start_s: float = 0.0


@dataclass(frozen=True)
class Track:
    """A true path in time: positions in degrees at rising ``seconds``, straight in between.

    ``floors`` are the floors from each second on, nan where there is none; None: none anywhere.
    """

    seconds: Floats
    lons: Floats
    lats: Floats
    floors: Floats | None = None

    @property
    def starts_s(self) -> float:
        """The first second of the track."""
        return float(self.seconds[0])

    @property
    def ends_s(self) -> float:
        """The last second of the track."""
        return float(self.seconds[-1])

    def at(self, times: Floats) -> tuple[Floats, Floats]:
        """Give longitudes and latitudes at ``times`` (seconds)."""
        lons = np.interp(times, self.seconds, self.lons)
        # A track may run on beyond 180 degrees, so that it goes the short way round.
        lons = np.where(np.abs(lons) > 180.0, (lons + 180.0) % 360.0 - 180.0, lons)
        return lons, np.interp(times, self.seconds, self.lats)

    def speeds(self) -> Floats:
        """Give the speed of each leg, from one point to the next, in m/s."""
        north, east = self._steps()
        lasts = np.maximum(np.diff(self.seconds), 1e-9)
        speed: Floats = np.hypot(east, north) * METRES_PER_RADIAN / lasts
        return speed

    def motion(self, times: Floats) -> tuple[Floats, Floats, Floats]:
        """Give speed (m/s), course (degrees from north) and floor (nan: none) at ``times``."""
        nothing = np.full(len(times), np.nan)
        if len(self.seconds) < 2:
            floors = nothing if self.floors is None else np.full(len(times), self.floors[0])
            return np.zeros(len(times)), np.zeros(len(times)), floors
        leg = np.searchsorted(self.seconds, times, "right") - 1
        floors = nothing if self.floors is None else self.floors[np.maximum(leg, 0)]
        leg = np.clip(leg, 0, len(self.seconds) - 2)
        north, east = self._steps()
        course = np.degrees(np.arctan2(east, north)) % 360.0
        return self.speeds()[leg], course[leg], floors

    def _steps(self) -> tuple[Floats, Floats]:
        """Give each leg in radians on the sphere: north, east."""
        north = np.radians(np.diff(self.lats))
        east = np.radians((np.diff(self.lons) + 180.0) % 360.0 - 180.0)
        return north, east * np.cos(np.radians(self.lats[:-1]))


@dataclass(frozen=True)
class Ground:
    """A flat plan laid on the ground at ``lon``, ``lat`` (degrees): metres east and north of it.

    By the ellipsoid's radii of curvature there: a plan of a town, right to 1 in 1,000 at 10 km.
    """

    lon: float
    lat: float

    def degrees(self, x: float, y: float) -> tuple[float, float]:
        """Give longitude and latitude of a point of the plan."""
        meridian, parallel = self._radii()
        lon = (self.lon + math.degrees(x / parallel) + 180.0) % 360.0 - 180.0
        return lon, self.lat + math.degrees(y / meridian)

    def metres(self, lons: Floats, lats: Floats) -> tuple[Floats, Floats]:
        """Give points as metres east and north."""
        meridian, parallel = self._radii()
        east = (lons - self.lon + 180.0) % 360.0 - 180.0
        return np.radians(east) * parallel, np.radians(lats - self.lat) * meridian

    def _radii(self) -> tuple[float, float]:
        return _radii(self.lat)


def _radii(lat: float) -> tuple[float, float]:
    """Give the radii of a meridian and of a parallel at a latitude, metres."""
    phi = math.radians(lat)
    root = 1.0 - _ECCENTRICITY2 * math.sin(phi) ** 2
    meridian = _AXIS_M * (1.0 - _ECCENTRICITY2) / root**1.5
    return meridian, _AXIS_M / math.sqrt(root) * max(math.cos(phi), 1e-6)


def moved(lons: Floats, lats: Floats, east_m: Floats, north_m: Floats) -> tuple[Floats, Floats]:
    """Move positions (degrees) by metres: by the ellipsoid's radii of curvature at each.

    Right to a millimetre in 300 m, short of the poles.
    """
    phi = np.radians(lats)
    root = 1.0 - _ECCENTRICITY2 * np.sin(phi) ** 2
    meridian = _AXIS_M * (1.0 - _ECCENTRICITY2) / root**1.5
    parallel = _AXIS_M / np.sqrt(root) * np.maximum(np.cos(phi), 1e-6)
    lons = (lons + np.degrees(east_m / parallel) + 180.0) % 360.0 - 180.0
    return lons, np.clip(lats + np.degrees(north_m / meridian), -90.0, 90.0)


class _Steps:
    """A track being laid out, point by point."""

    def __init__(self, start: Stop, start_s: float) -> None:
        self.seconds = [start_s]
        self.lons = [start.lon]
        self.lats = [start.lat]
        self.floors = [math.nan if start.floor is None else start.floor]

    def go(self, lon: float, lat: float, speed_mps: float, until: float = math.inf) -> None:
        """Go straight to a point at a pace, and stop on the way where second ``until`` comes."""
        _, _, metres = WGS84.inv(self.lons[-1], self.lats[-1], lon, lat)
        lasts = metres / speed_mps
        if lasts <= 0.0:
            return
        left = min(1.0, (until - self.seconds[-1]) / lasts)
        self._add(
            self.seconds[-1] + lasts * left,
            self.lons[-1] + ((lon - self.lons[-1] + 180.0) % 360.0 - 180.0) * left,
            self.lats[-1] + (lat - self.lats[-1]) * left,
        )

    def stand(self, lasts_s: float) -> None:
        """Stay where one is."""
        if lasts_s > 0.0:
            self._add(self.seconds[-1] + lasts_s, self.lons[-1], self.lats[-1])

    def _add(self, second: float, lon: float, lat: float) -> None:
        self.seconds.append(second)
        self.lons.append(lon)
        self.lats.append(lat)
        self.floors.append(self.floors[-1])


def walk(walker: Walker, rng: np.random.Generator) -> Track:
    """Lay a walker's path out in time; paces and wanderings are drawn from ``rng``."""
    steps = _Steps(walker.path[0], walker.start_s)
    for number, stop in enumerate(walker.path):
        if number:
            pace = walker.speed_mps if stop.speed_mps is None else stop.speed_mps
            pace *= max(0.3, 1.0 + PACE_SPREAD * rng.standard_normal())
            steps.go(stop.lon, stop.lat, pace)
        if stop.floor is not None:
            steps.floors[-1] = stop.floor
        if stop.wander_m > 0.0:
            _wander(steps, stop, rng)
        else:
            steps.stand(stop.stay_s)
    floors = np.asarray(steps.floors)
    return Track(
        np.asarray(steps.seconds),
        np.asarray(steps.lons),
        np.asarray(steps.lats),
        None if np.isnan(floors).all() else floors,
    )


def _wander(steps: _Steps, stop: Stop, rng: np.random.Generator) -> None:
    """Stand here and there within ``wander_m`` of a stop until the stay is over."""
    until = steps.seconds[-1] + stop.stay_s
    while steps.seconds[-1] < until:
        steps.stand(min(float(rng.exponential(REST_S)), until - steps.seconds[-1]))
        # The root spreads the places evenly over the disc.
        away, angle = stop.wander_m * math.sqrt(rng.random()), 2.0 * math.pi * rng.random()
        meridian, parallel = _radii(stop.lat)
        lon = stop.lon + math.degrees(away * math.sin(angle) / parallel)
        steps.go(lon, stop.lat + math.degrees(away * math.cos(angle) / meridian), STROLL_MPS, until)


def main() -> int:
    """Write the trace of a scenario to standard output: ``SCENARIO [SEED]``."""
    from proximity.model import ProximityError
    from simulator.scenario import find, read_scenario
    from simulator.stories import trace
    from simulator.trace import write_record

    if not 2 <= len(sys.argv) <= 3:
        sys.stderr.write("usage: python -m simulator.walk SCENARIO [SEED]\n")
        return 2
    try:
        scenario = read_scenario(find(sys.argv[1]))
        seed = int(sys.argv[2]) if len(sys.argv) == 3 else scenario.seed
    except ProximityError as error:
        sys.stderr.write("".join(f"{problem}\n" for problem in error.problems))
        return 2
    except ValueError:
        sys.stderr.write(f"{sys.argv[2]!r:.60} is no seed: write a whole number\n")
        return 2
    for record in trace(scenario, seed):
        sys.stdout.buffer.write(write_record(record))
    return 0


if __name__ == "__main__":
    sys.exit(main())
