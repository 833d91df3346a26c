"""Where do the fences lie, and where do people stand? Seeded, so that every run asks the same.

Synthetic on purpose: a stranger can run it without fetching anything. Each workload gives fences as
the index takes them and the same outlines as shapely polygons for the peers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import shapely

import geofences

Floats = npt.NDArray[np.float64]
Points = tuple[Floats, Floats]

SEED = 20_260_501
METRES_PER_DEGREE = 111_195.0
# A city of zones: as many as New York has for its taxis, and of about the same detail.
CITY = (-74.26, 40.49, -73.70, 40.92)
ZONES = 263
ZONE_VERTICES = 350
# A large country: towns at random, people and stores about their middles.
COUNTRY = (-2.0, 43.0, 8.0, 51.0)
TOWNS = 4000
TOWN_SIGMA_M = 3600.0
# Fifty dense cities, so that a point lies in 0.55 fences of 50 to 300 m.
CITIES = 50
CITY_SIGMA_M = 1800.0
RADII_M = (50.0, 300.0)
OUTLINE_VERTICES = 24
PEER_VERTICES = 64


@dataclass(frozen=True)
class Workload:
    """Fences, the same as polygons for the peers, and a source of points.

    ``points(count, seed)`` are longitudes and latitudes in random order; ``circles`` holds
    longitude, latitude and metres of each fence where the fences are native circles.
    """

    name: str
    fences: list[geofences.Fence]
    polygons: npt.NDArray[np.object_]
    points: Callable[[int, int], Points]
    circles: Floats | None = None


def fence(number: int, ring: Floats) -> geofences.Fence:
    """Make a fence of a closed ring, as ``geofences.load`` does of a sound Polygon."""
    geometry = geofences.Geometry("Polygon", ring.copy(), rings=(len(ring),), parts=(1,))
    return geofences.Fence(id=f"fence-{number}", name=f"fence-{number}", geometry=geometry)


def circle(number: int, lon: float, lat: float, metres: float) -> geofences.Fence:
    geometry = geofences.Geometry("Point", np.array([[lon, lat]]))
    name = f"fence-{number}"
    said = {"radius_m": metres}
    return geofences.Fence(id=name, name=name, geometry=geometry, radius_m=metres, properties=said)


# -- city zones -----------------------------------------------------------------------------


def zones(count: int = ZONES) -> Workload:
    """Zones that tile a city: a Voronoi diagram whose shared edges are bent like streets."""
    random = np.random.default_rng(SEED)
    west, south, east, north = CITY
    seeds = shapely.MultiPoint(random.uniform((west, south), (east, north), (count, 2)))
    box = shapely.box(*CITY)
    cells = shapely.intersection(shapely.voronoi_polygons(seeds, extend_to=box).geoms, box)
    rings = [shapely.get_coordinates(cell)[:-1] for cell in cells]
    length = sum(float(np.hypot(*(ring - np.roll(ring, 1, axis=0)).T).sum()) for ring in rings)
    step = length / (count * ZONE_VERTICES)
    for bend in (0.04, 0.02, 0.01, 0.005):
        bent = [_bent(ring, step, bend) for ring in rings]
        polygons = shapely.polygons([shapely.linearrings(ring) for ring in bent])
        if shapely.is_valid(polygons).all():
            break
    fences = [fence(n, shapely.get_coordinates(polygon)) for n, polygon in enumerate(polygons)]
    return Workload("zones", fences, polygons, _city_points)


def _bent(ring: Floats, step: float, bend: float) -> Floats:
    return np.vstack(
        [_edge(a, b, step, bend) for a, b in zip(ring, np.roll(ring, -1, axis=0), strict=True)]
    )


def _edge(start: Floats, end: Floats, step: float, bend: float) -> Floats:
    """Bend one edge, the same way whichever of its two zones asks; without its last point."""
    first, last = sorted((tuple(start.round(9).tolist()), tuple(end.round(9).tolist())))
    along = np.subtract(last, first)
    count = max(int(math.hypot(*along) / step), 1)
    random = np.random.default_rng(abs(hash((first, last))) % 2**32)
    t = np.arange(count + 1) / count
    # Nothing at the ends, so that edges which meet there do not cross.
    aside = bend * 4.0 * t * (1.0 - t) * random.uniform(-1.0, 1.0, count + 1)
    points = np.array(first) + np.outer(t, along) + np.outer(aside, (-along[1], along[0]))
    return points[:-1] if first == tuple(start.round(9).tolist()) else points[::-1][:-1]


def _city_points(count: int, seed: int) -> Points:
    """Half anywhere in the city, half about some busy places; shuffled."""
    random = np.random.default_rng((SEED, seed))
    west, south, east, north = CITY
    busy = np.random.default_rng(SEED + 1).uniform((west, south), (east, north), (20, 2))
    spread = random.uniform((west, south), (east, north), (count - count // 2, 2))
    dense = busy[random.integers(0, len(busy), count // 2)]
    dense = dense + random.normal(0.0, 0.01, (count // 2, 2))
    both = np.clip(np.vstack([spread, dense]), (west, south), (east, north))
    random.shuffle(both)
    return both[:, 0].copy(), both[:, 1].copy()


# -- stores and people about towns ----------------------------------------------------------


@dataclass(frozen=True)
class Towns:
    """Middles of towns, and how far from them people and stores lie."""

    middles: Floats
    sigma_m: float

    @classmethod
    def of(cls, count: int, sigma_m: float) -> Towns:
        west, south, east, north = COUNTRY
        random = np.random.default_rng((SEED, count))
        return cls(random.uniform((west, south), (east, north), (count, 2)), sigma_m)

    def places(self, count: int, seed: int) -> Points:
        """Places about the towns' middles, longitudes and latitudes, in random order."""
        random = np.random.default_rng((SEED, len(self.middles), seed))
        middles = self.middles[random.integers(0, len(self.middles), count)]
        metres = random.normal(0.0, self.sigma_m, (count, 2))
        lats = middles[:, 1] + metres[:, 1] / METRES_PER_DEGREE
        lons = middles[:, 0] + metres[:, 0] / (METRES_PER_DEGREE * np.cos(np.radians(lats)))
        return lons, lats


def rings(lons: Floats, lats: Floats, radii: Floats, vertices: int, wobble: float) -> Floats:
    """Closed rings about places, (fence, vertex, lon and lat); ``wobble`` 0 makes them round."""
    random = np.random.default_rng((SEED, vertices))
    turns = np.linspace(0.0, 2.0 * math.pi, vertices, endpoint=False)
    metres = radii[:, None] * random.uniform(1.0 - wobble, 1.0, (len(radii), vertices))
    degrees = metres / METRES_PER_DEGREE
    x = lons[:, None] + degrees * np.cos(turns) / np.cos(np.radians(lats))[:, None]
    y = lats[:, None] + degrees * np.sin(turns)
    open_ring = np.stack([x, y], axis=2)
    return np.concatenate([open_ring, open_ring[:, :1]], axis=1)


def _radii(count: int) -> Floats:
    return np.random.default_rng((SEED, count, 7)).uniform(*RADII_M, count)


def stores(count: int = 10_000) -> Workload:
    """Store circles in dense cities: native circles for the index, 64-gons for the peers."""
    towns = Towns.of(CITIES, CITY_SIGMA_M)
    lons, lats = towns.places(count, 0)
    radii = _radii(count)
    polygons = shapely.polygons(rings(lons, lats, radii, PEER_VERTICES, 0.0))
    rows = np.column_stack([lons, lats, radii])
    fences = [circle(n, *row) for n, row in enumerate(rows.tolist())]
    return Workload("stores", fences, polygons, towns.places, rows)


def shops(count: int = 10_000) -> Workload:
    """The same stores as outlines of 24 vertices, so that every peer sees the very same fence."""
    towns = Towns.of(CITIES, CITY_SIGMA_M)
    shapes = rings(*towns.places(count, 0), _radii(count), OUTLINE_VERTICES, 0.3)
    fences = [fence(n, ring) for n, ring in enumerate(shapes)]
    return Workload("shops", fences, shapely.polygons(shapes), towns.places)


def national(count: int) -> Workload:
    """Outlines of 24 vertices in the towns of a country; the first thousand are always the same."""
    towns = Towns.of(TOWNS, TOWN_SIGMA_M)
    shapes = national_rings(count)
    fences = [fence(n, ring) for n, ring in enumerate(shapes)]
    return Workload(f"national {count}", fences, shapely.polygons(shapes), towns.places)


def national_rings(count: int) -> Floats:
    lons, lats = Towns.of(TOWNS, TOWN_SIGMA_M).places(count, 0)
    return rings(lons, lats, _radii(count), OUTLINE_VERTICES, 0.3)


def national_circles(count: int) -> Floats:
    """Rows of longitude, latitude, metres."""
    lons, lats = Towns.of(TOWNS, TOWN_SIGMA_M).places(count, 0)
    return np.column_stack([lons, lats, _radii(count)])
