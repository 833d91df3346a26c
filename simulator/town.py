"""Where do people of a world walk? Streets of stores, and ways along them.

Everything is laid out in metres on a plane, points as east plus i times north; ``Town.degrees``
puts it on the ground. Knows no phones and no time of day.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from geofences import Fence, loads
from simulator.walk import Track, moved

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["Street", "Town"]

WALK_MPS = 1.35
"""The pace of people in streets."""

HOME = 2.35, 48.85
"""Longitude and latitude of the first town's first corner: a mid latitude, far from any seam."""


@dataclass
class Town:
    """Where a world stands: metres east and north of a corner, and the stores in them.

    Paths and stores are laid out in metres on the plane; ``degrees`` puts them on the ground.
    """

    corner: tuple[float, float] = HOME
    stores: list[Fence] = field(default_factory=list)
    centres: list[tuple[complex, float]] = field(default_factory=list)

    def degrees(self, metres: NDArray[np.complex128]) -> tuple[Floats, Floats]:
        """Give longitudes and latitudes of points, metres east plus i times metres north."""
        lons = np.full(len(metres), self.corner[0])
        lats = np.full(len(metres), self.corner[1])
        return moved(lons, lats, metres.real, metres.imag)

    def track(self, seconds: Floats, metres: NDArray[np.complex128]) -> Track:
        """Lay a path on the ground."""
        return Track(seconds, *self.degrees(metres))

    def free(self, centre: complex, reach_m: float) -> bool:
        """Whether a store of that reach leaves room to walk between it and the others."""
        return all(abs(centre - other) > reach_m + reach + 4.0 for other, reach in self.centres)

    def circle(self, name: str, centre: complex, radius_m: float) -> Fence:
        """Build a round store."""
        lon, lat = self.degrees(np.array([centre]))
        shape = {"type": "Point", "coordinates": [float(lon[0]), float(lat[0])]}
        return self._build(name, shape, {"radius_m": round(radius_m, 1)}, centre, radius_m)

    def box(self, name: str, centre: complex, half_m: tuple[float, float], along: complex) -> Fence:
        """Build a store with four walls: half its length and depth in metres, length ``along``."""
        length, depth = half_m
        corners = np.array(
            [length + 1j * depth, -length + 1j * depth, -length - 1j * depth, length - 1j * depth]
        )
        lons, lats = self.degrees(centre + corners * along / abs(along))
        ring = np.round(np.stack([lons, lats], axis=1), 8).tolist()
        shape = {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}
        return self._build(name, shape, {}, centre, abs(complex(*half_m)))

    def _build(
        self,
        name: str,
        shape: Mapping[str, object],
        told: Mapping[str, object],
        centre: complex,
        reach_m: float,
    ) -> Fence:
        feature = {"type": "Feature", "id": name, "properties": told, "geometry": shape}
        fence = loads(msgspec.json.encode(feature), name).fences[0]
        self.stores.append(fence)
        self.centres.append((centre, reach_m))
        return fence


@dataclass(frozen=True)
class _Store:
    """A store beside a street: where along it, and how to walk in, stand by and come back."""

    fence: Fence
    along_m: float
    centre: complex
    outward: complex  # of length 1: from the centre to the street
    depth_m: float  # from the centre to the edge that faces the street


class Street:
    """A bent street of stores on both sides, and walks along it."""

    def __init__(self, town: Town, name: str, origin: complex, rng: np.random.Generator) -> None:
        turns = np.cumsum(rng.normal(0.0, math.radians(25.0), 20)) + rng.uniform(0.0, 2.0 * math.pi)
        lengths = rng.uniform(80.0, 250.0, 20)
        steps = lengths * np.exp(1j * turns)
        self._corners = origin + np.concatenate(([0.0 + 0.0j], np.cumsum(steps)))
        self._ends = np.concatenate(([0.0], np.cumsum(lengths)))
        self.length_m = float(self._ends[-1])
        self.stores: list[_Store] = []
        at = rng.uniform(50.0, 150.0)
        while at < self.length_m - 50.0:
            self._settle(town, f"{name}-{len(self.stores)}", at, rng)
            at += rng.uniform(70.0, 220.0)

    def at(self, along_m: float) -> complex:
        """Give the point so many metres along."""
        return complex(
            np.interp(along_m, self._ends, self._corners.real),
            np.interp(along_m, self._ends, self._corners.imag),
        )

    def between(self, from_m: float, to_m: float) -> list[complex]:
        """Give the corners on the way, and its end."""
        low, high = min(from_m, to_m), max(from_m, to_m)
        corners = self._corners[(self._ends > low) & (self._ends < high)].tolist()
        return [*(corners if from_m < to_m else corners[::-1]), self.at(to_m)]

    def _settle(self, town: Town, name: str, at: float, rng: np.random.Generator) -> None:
        ahead = self.at(at + 1.0) - self.at(at - 1.0)
        side = ahead / abs(ahead) * rng.choice([1j, -1j])
        # One in eight lies across the street, as a square or a station does: people pass through.
        gap_m = -rng.uniform(5.0, 40.0) if rng.random() < 0.125 else rng.uniform(3.0, 30.0)
        if rng.random() < 0.5:
            depth = float(rng.uniform(30.0, 80.0))
            centre = self.at(at) + side * (gap_m + depth)
            if town.free(centre, depth):
                fence = town.circle(name, centre, depth)
                self.stores.append(_Store(fence, at, centre, -side, depth))
            return
        depth = float(rng.uniform(25.0, 45.0))
        half = depth * float(rng.uniform(1.0, 1.8)), depth
        centre = self.at(at) + side * (gap_m + depth)
        if town.free(centre, abs(complex(*half))):
            fence = town.box(name, centre, half, ahead)
            self.stores.append(_Store(fence, at, centre, -side, depth))

    def walk(
        self, rng: np.random.Generator, lasts_s: float, *, ride_mps: tuple[float, float] | None
    ) -> tuple[Floats, NDArray[np.complex128]]:
        """Go about for ``lasts_s`` seconds: into stores, to the window next door, or on.

        Along the street on foot, or by car at a pace of ``ride_mps``; to and in stores on foot.
        """
        at = float(rng.uniform(0.0, self.length_m))
        way = _Way(self.at(at), rng)
        while way.seconds[-1] < lasts_s:
            near = [s for s in self.stores if 40.0 < abs(s.along_m - at) < 700.0]
            if ride_mps is not None or not near:
                near = self.stores
            store = near[int(rng.integers(len(near)))]
            for point in self.between(at, store.along_m):
                way.go(point, ride_mps)
                if ride_mps is not None and rng.random() < 0.25:
                    way.stand(rng.uniform(10.0, 60.0))  # at the lights
            at = store.along_m
            what = rng.random()
            front = store.centre + store.outward * store.depth_m
            if what < 0.6:
                for _ in range(1 + int(rng.integers(3))):
                    # Anywhere in the inner four fifths; customers wander from shelf to shelf.
                    reach = 0.8 * store.depth_m * math.sqrt(rng.random())
                    way.go(store.centre + reach * np.exp(2j * math.pi * rng.random()))
                    way.stand(rng.uniform(300.0, 1200.0) / 2.0)
                way.go(front + store.outward)
            elif what < 0.8:
                way.go(front + store.outward * rng.uniform(5.0, 20.0))
                way.stand(rng.uniform(300.0, 1200.0))
            way.go(self.at(at))
        return np.array(way.seconds), np.array(way.points)


class _Way:
    """A path in time, as it is being walked."""

    def __init__(self, start: complex, rng: np.random.Generator) -> None:
        self.points = [start]
        self.seconds = [0.0]
        self._rng = rng

    def go(self, point: complex, ride_mps: tuple[float, float] | None = None) -> None:
        """Go straight to a point: on foot, or at a pace within ``ride_mps``."""
        metres = abs(point - self.points[-1])
        if metres > 0.0:
            pace = WALK_MPS * max(0.5, 1.0 + 0.08 * float(self._rng.standard_normal()))
            if ride_mps is not None:
                pace = self._rng.uniform(*ride_mps)
            self.points.append(point)
            self.seconds.append(self.seconds[-1] + metres / pace)

    def stand(self, lasts_s: float) -> None:
        """Stay where one is."""
        self.points.append(self.points[-1])
        self.seconds.append(self.seconds[-1] + lasts_s)
