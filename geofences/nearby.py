"""How far is it to the nearest of a few edges close by, in plain numbers?

Most fences are a shop's size, and most points asked about are near them: there a plane is as exact
as the ellipsoid, and a loop over two dozen floats ends before arrays have begun. Knows edges in
degrees; ``geodesy`` measures all that is long, far, or near a pole.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from geofences.geodesy import (
    DEGREE_EAST_M,
    DEGREE_NORTH_M,
    ECCENTRICITY_2,
    RADIANS,
    degree_m,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

# Corners and points lie within this of the edges' middle. What is nearest in a plane of one scale
# is then the foot to within half a metre, and to 20 cm once the scale is that of half the way, by
# which the distance is off by 20 micrometres.
WITHIN_M = 1000.0
# And up to this latitude: nearer a pole degrees of longitude shrink too fast for one scale.
MOST_LAT = 60.0
# Squares of distances in the plane of one scale are off by less than this share: the scale changes
# by tan(60°) / (earth's radius) a metre, twice that for a square, once more for what it is put
# against; doubled.
WIDER = 1.0 + 8.0 * 1.7321 * WITHIN_M / 6_335_000.0


class Nearby:
    """Edges close together, in metres about their middle."""

    def __init__(self, lon: float, lat: float, corners: Sequence[tuple[float, float]]) -> None:
        self._lon, self._lat = lon, lat
        self._scale = across, up = degree_m(lat)
        self._table: Floats | None = None
        plane = [((x - lon) * across, (y - lat) * up) for x, y in corners]
        self._edges: list[tuple[float, float, float, float, float]] = []
        for (west, south), (east, north) in pairwise(plane):
            run, rise = east - west, north - south
            length_2 = run * run + rise * rise
            # There is no edge beside a break. One shorter than a micrometre is a point.
            if not math.isnan(length_2):
                inverse = 1.0 / length_2 if length_2 > 1e-12 else 0.0
                self._edges.append((west, south, run, rise, inverse))

    @classmethod
    def of(cls, lons: Sequence[float], lats: Sequence[float]) -> Nearby | None:
        """Make them of rings, closed, NaN between two of them; None where too wide or polar."""
        corners = list(zip(lons, lats, strict=True))
        xs, ys = zip(*[(x, y) for x, y in corners if not math.isnan(x)], strict=True)
        lon, lat = 0.5 * (min(xs) + max(xs)), 0.5 * (min(ys) + max(ys))
        across, up = degree_m(lat)
        reach = math.hypot((max(xs) - lon) * across, (max(ys) - lat) * up)
        if reach > WITHIN_M or abs(lat) > MOST_LAT:
            return None
        return cls(lon, lat, corners)

    def distance(self, lon: float, lat: float) -> float | None:
        """Return the geodesic distance in metres to the nearest edge; None from too far away."""
        across, up = self._scale
        x, y = (lon - self._lon) * across, (lat - self._lat) * up
        if not x * x + y * y <= WITHIN_M * WITHIN_M:
            return None
        limit = math.inf
        near = []
        for edge in self._edges:
            west, south, run, rise, inverse = edge
            east, north = x - west, y - south
            share = (east * run + north * rise) * inverse
            if share <= 0.0:
                share = 0.0
            elif share >= 1.0:
                share = 1.0
                east -= run
                north -= rise
            else:
                east -= share * run
                north -= share * rise
            off = east * east + north * north
            if off <= limit:
                near.append((off, share, edge))
                limit = min(limit, off * WIDER)
        return min([self._again(edge, sh, x, y) for off, sh, edge in near if off <= limit])

    def _again(self, edge: tuple[float, ...], share: float, x: float, y: float) -> float:
        """Measure one edge again, its foot being some ``share`` of the way along it.

        By Gauss's mid-latitude formulas: metres east and north by the radii of curvature half way.
        """
        west, south, run, rise, _ = edge
        (across, up), lat = self._scale, self._lat
        east, north = x - west, y - south
        half = 0.5 / up
        if 0.0 < share < 1.0:
            wide, high = degree_m(lat + (y + south + share * rise) * half)
            wide, high = wide / across, high / up
            wide, high = wide * wide, high * high
            ahead = wide * east * run + high * north * rise
            share = min(max(ahead / (wide * run * run + high * rise * rise), 0.0), 1.0)
        north -= share * rise
        wide, high = degree_m(lat + (y + y - north) * half)
        east, north = (east - share * run) * wide / across, north * high / up
        return math.sqrt(east * east + north * north)

    @property
    def frame(self) -> tuple[float, float, float, float]:
        """The middle in degrees, and the metres of a degree east and north there."""
        return self._lon, self._lat, *self._scale

    @property
    def table(self) -> Floats:
        """The edges, a row each, made when first asked for."""
        if self._table is None:
            self._table = np.array(self._edges).reshape(-1, 5)
        return self._table


# -- the same of many, to the last bit -------------------------------------------------------------
# Sines and cosines are asked of ``math``: numpy rounds some of them otherwise.


def distances(places: Sequence[Nearby], lons: Floats, lats: Floats) -> Floats:
    """Return what each one's ``distance`` gives for its point; NaN from too far away."""
    lon, lat, across, up = np.array([place.frame for place in places]).T
    x, y = (lons - lon) * across, (lats - lat) * up
    near = x * x + y * y <= WITHIN_M * WITHIN_M
    tables = [place.table for place in places]
    counts = np.array([len(table) for table in tables])
    which = np.repeat(np.arange(len(tables)), counts)
    west, south, run, rise, inverse = np.concatenate(tables).T
    east, north = x[which] - west, y[which] - south
    share = np.clip((east * run + north * rise) * inverse, 0.0, 1.0)
    beside, above = east - share * run, north - share * rise
    off = beside * beside + above * above
    least = np.minimum.reduceat(off, np.cumsum(counts) - counts)
    kept = np.flatnonzero(off <= (least * WIDER)[which])

    # As ``_again`` does.
    which, south, run, rise, share = which[kept], south[kept], run[kept], rise[kept], share[kept]
    east, north = east[kept], north[kept]
    lat, across, up, y = lat[which], across[which], up[which], y[which]
    half = 0.5 / up
    within = np.flatnonzero((share > 0.0) & (share < 1.0))
    if len(within):
        middle = (lat + (y + south + share * rise) * half)[within]
        wide, high = _many_degrees_m(middle)
        wide, high = wide / across[within], high / up[within]
        wide, high = wide * wide, high * high
        along, aloft = run[within], rise[within]
        ahead = wide * east[within] * along + high * north[within] * aloft
        share[within] = np.clip(ahead / (wide * along * along + high * aloft * aloft), 0.0, 1.0)
    north = north - share * rise
    wide, high = _many_degrees_m(lat + (y + y - north) * half)
    east, north = (east - share * run) * wide / across, north * high / up
    metres = np.sqrt(east * east + north * north)
    first = np.flatnonzero(np.concatenate(([True], which[1:] != which[:-1])))
    return np.where(near, np.minimum.reduceat(metres, first), np.nan)


def _many_degrees_m(lats: Floats) -> tuple[Floats, Floats]:
    """Do as ``degree_m`` does, of many."""
    middles = (lats * RADIANS).tolist()
    sine, cosine = np.array(list(map(math.sin, middles))), np.array(list(map(math.cos, middles)))
    square = 1.0 - ECCENTRICITY_2 * sine * sine
    root = np.sqrt(square)
    return DEGREE_EAST_M * cosine / root, DEGREE_NORTH_M / (root * square)
