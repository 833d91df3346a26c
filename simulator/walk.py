"""Where a walker truly goes, second by second.

A walker follows points on the ground at a walking pace and stays at some of them. The path is
exact, straight from point to point; what a phone makes of it is ``gps``'s part. ``python -m
simulator.walk FILE`` writes the fixes of a small TOML file of walkers as a trace.
"""

from __future__ import annotations

import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from pyproj import Geod

from proximity.model import Fix, ProximityError, parse_time
from simulator.gps import Phone, fixes
from simulator.trace import write_record

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Track", "Walker", "read_walkers", "trace", "walk"]

WGS84 = Geod(ellps="WGS84")

PACE_SPREAD = 0.08
"""Standard deviation of a person's pace from one stretch to the next, as a part of it."""


class Stop(msgspec.Struct, frozen=True, array_like=True):
    """A point of a walk: degrees east and north, and how many seconds one stays there."""

    lon: float
    lat: float
    stay_s: float = 0.0


class Walker(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who walks where: ``path`` as [lon, lat] or [lon, lat, seconds to stay], pace in m/s.

    ``start_s`` is the second of the walk's first step; ``accuracy_m``, ``stated`` and ``every_s``
    describe the phone (see ``gps.Phone``).
    """

    subject: str
    path: tuple[Stop, ...]
    speed_mps: float = 1.35
    start_s: float = 0.0
    accuracy_m: float = 8.0
    stated: float = 1.0
    every_s: float = 5.0


class Walkers(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of walkers: ``start`` is the time of second 0, ``seed`` that of all chance."""

    start: str
    seed: int
    walker: tuple[Walker, ...]


@dataclass(frozen=True)
class Track:
    """A true path in time: positions in degrees at rising ``seconds``, straight in between."""

    seconds: NDArray[np.float64]
    lons: NDArray[np.float64]
    lats: NDArray[np.float64]

    @property
    def starts_s(self) -> float:
        """The first second of the track."""
        return float(self.seconds[0])

    @property
    def ends_s(self) -> float:
        """The last second of the track."""
        return float(self.seconds[-1])

    def at(self, times: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Give longitudes and latitudes at ``times`` (seconds)."""
        return (
            np.interp(times, self.seconds, self.lons),
            np.interp(times, self.seconds, self.lats),
        )


def walk(walker: Walker, rng: np.random.Generator) -> Track:
    """Lay a walker's path out in time; the pace of each stretch is drawn from ``rng``."""
    seconds, lons, lats = [walker.start_s], [walker.path[0].lon], [walker.path[0].lat]

    def stand(stop: Stop) -> None:
        if stop.stay_s > 0.0:
            seconds.append(seconds[-1] + stop.stay_s)
            lons.append(stop.lon)
            lats.append(stop.lat)

    stand(walker.path[0])
    for here, there in zip(walker.path, walker.path[1:], strict=False):
        _, _, metres = WGS84.inv(here.lon, here.lat, there.lon, there.lat)
        pace = walker.speed_mps * max(0.3, 1.0 + PACE_SPREAD * rng.standard_normal())
        if metres > 0.0:
            seconds.append(seconds[-1] + metres / pace)
            lons.append(there.lon)
            lats.append(there.lat)
        stand(there)
    return Track(np.asarray(seconds), np.asarray(lons), np.asarray(lats))


def read_walkers(path: Path) -> Walkers:
    """Read a TOML file of walkers. Raises ProximityError naming the file, the key and the mend."""
    try:
        walkers = msgspec.convert(tomllib.loads(path.read_text("utf-8")), Walkers)
        parse_time(walkers.start)
    except (OSError, ValueError) as error:
        raise ProximityError(f"{path}: {error}: mend the file of walkers") from None
    for walker in walkers.walker:
        if not walker.path or walker.speed_mps <= 0.0 or walker.every_s <= 0.0:
            raise ProximityError(
                f"{path}: walker {walker.subject!r} needs a path, and speed_mps and every_s over 0"
            )
    return walkers


def trace(walkers: Walkers, seed: int | None = None) -> list[Fix]:
    """Give the fixes of all walkers in order of time: the same seed, the same trace, always.

    Each walker has a stream of chance of its own, so that one more walker changes no other.
    """
    start = parse_time(walkers.start)
    seed = walkers.seed if seed is None else seed
    found: list[Fix] = []
    for number, walker in enumerate(walkers.walker):
        rng = np.random.default_rng([seed, number])
        phone = Phone(walker.accuracy_m, walker.stated, walker.every_s)
        found += fixes(walker.subject, walk(walker, rng), phone, rng, start)
    return sorted(found, key=lambda fix: fix.at)


def main() -> int:
    """Write the trace of a file of walkers to standard output: ``FILE [SEED]``."""
    if not 2 <= len(sys.argv) <= 3:
        sys.stderr.write("usage: python -m simulator.walk WALKERS.toml [SEED]\n")
        return 2
    try:
        walkers = read_walkers(Path(sys.argv[1]))
        seed = int(sys.argv[2]) if len(sys.argv) == 3 else None
    except (ProximityError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    for fix in trace(walkers, seed):
        sys.stdout.buffer.write(write_record(fix))
    return 0


if __name__ == "__main__":
    sys.exit(main())
