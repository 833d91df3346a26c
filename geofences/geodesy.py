"""How far is it, in metres?

Distances on the WGS 84 ellipsoid: from a point to a point, to the edges of a fence, and the box
of degrees that holds all within so many metres. This file knows lines and numbers, not fences.

The exact measure is Karney's geodesic (PROJ). It is asked last: first chords through the earth
are compared in earth-centred coordinates, where neither ±180° nor a pole is special, with bounds
on how much an edge, which is straight in longitude and latitude, may stray from its chord.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt
    from pyproj import Geod

    Floats = npt.NDArray[np.float64]

EQUATOR_M = 6378137.0  # WGS 84, semi-major axis
FLATTENING = 1 / 298.257223563
ECCENTRICITY_2 = FLATTENING * (2 - FLATTENING)
# The least radius of curvature anywhere on the ellipsoid: of the meridian at the equator.
TIGHTEST_M = EQUATOR_M * (1 - ECCENTRICITY_2)
RADIANS = math.pi / 180.0
# A degree at the equator, east, and north: the scales of ``degree_m``.
DEGREE_EAST_M, DEGREE_NORTH_M = RADIANS * EQUATOR_M, RADIANS * TIGHTEST_M
# Rounding of earth-centred coordinates is some 2e-9 m; a thousand times that decides nothing.
SLACK_M = 2e-6
# Box edges are widened by a centimetre's worth of degrees, so that rounding loses no candidate.
SLACK_DEG = 1e-7
# Edges are cut into pieces of at most a quarter degree, which stray at most 15 m from their
# chords: little enough that few pieces remain to be measured exactly.
PIECE_DEG = 0.25
# Up to so far a plane will do: 2 km cubed over 24 squares of the earth's radius is 8 micrometres,
# by which its distances are off, and nine times that at this latitude, up to which it is used:
# degrees of longitude shrink ever faster towards a pole.
PLANE_M = 2000.0
PLANE_DEG = 70.0
# A hostile outline may run round the world at every edge: never more than this many extra pieces.
MAX_EXTRA_PIECES = 20_000


@functools.cache
def geod() -> Geod:
    """Give the exact measure; PROJ is loaded where it is first asked, and no start waits for it."""
    from pyproj import Geod

    return Geod(ellps="WGS84")


def metres_between(lon0: float, lat0: float, lon1: float, lat1: float) -> float:
    """Return the geodesic distance in metres between two points in degrees."""
    return float(geod().inv(lon0, lat0, lon1, lat1)[2])


def degree_m(lat: float) -> tuple[float, float]:
    """Return the metres of a degree east and of a degree north at a latitude in degrees.

    By the radii of curvature there, of the prime vertical and of the meridian.
    """
    middle = lat * RADIANS
    sine = math.sin(middle)
    square = 1.0 - ECCENTRICITY_2 * sine * sine
    root = math.sqrt(square)
    return DEGREE_EAST_M * math.cos(middle) / root, DEGREE_NORTH_M / (root * square)


def plane_metres_between(lon0: float, lat0: float, lon1: float, lat1: float) -> float:
    """Return metres between points within PLANE_M and PLANE_DEG, to a tenth of a millimetre.

    By the scales half way (Gauss's mid-latitude formulas); a quarter of the price, and no other
    thread takes its turn for it.
    """
    across, up = degree_m((lat0 + lat1) / 2)
    return math.hypot(((lon1 - lon0 + 180.0) % 360.0 - 180.0) * across, (lat1 - lat0) * up)


def many_metres_between(lon0: Floats, lat0: Floats, lon1: Floats, lat1: Floats) -> Floats:
    """Return geodesic distances in metres, element by element; arrays of equal length."""
    return np.asarray(geod().inv(lon0, lat0, lon1, lat1)[2], dtype=np.float64)


def earth_centred(lon: float, lat: float) -> tuple[float, float, float]:
    """Return earth-centred x, y, z in metres of a point on the ellipsoid, in degrees."""
    phi, lam = math.radians(lat), math.radians(lon)
    sin_phi, cos_phi = math.sin(phi), math.cos(phi)
    normal = EQUATOR_M / math.sqrt(1 - ECCENTRICITY_2 * sin_phi * sin_phi)
    across = normal * cos_phi
    return (
        across * math.cos(lam),
        across * math.sin(lam),
        normal * (1 - ECCENTRICITY_2) * sin_phi,
    )


def many_earth_centred(lons: Floats, lats: Floats) -> Floats:
    """Return earth-centred coordinates in metres as rows x, y, z; a column a point."""
    phi, lam = np.radians(lats), np.radians(lons)
    sin_phi = np.sin(phi)
    normal = EQUATOR_M / np.sqrt(1 - ECCENTRICITY_2 * sin_phi * sin_phi)
    across = normal * np.cos(phi)
    return np.stack(
        (across * np.cos(lam), across * np.sin(lam), normal * (1 - ECCENTRICITY_2) * sin_phi)
    )


def sure_chord(metres: float) -> float:
    """Return the chord below which two points are surely less than ``metres`` apart.

    A curve on the ellipsoid bends at most as a circle of radius TIGHTEST_M does, so its chord is
    at least that circle's (Schur's comparison theorem). The counterpart needs no function: a
    chord longer than ``metres`` is surely further.
    """
    half = metres / (2 * TIGHTEST_M)
    return 2 * TIGHTEST_M * math.sin(min(half, math.pi / 2)) - SLACK_M


def boxes_within(lon: float, lat: float, metres: float) -> list[tuple[float, float, float, float]]:
    """Return one or two boxes (west, south, east, north) that hold all within ``metres``.

    Two where the reach lies across ±180°; round the world where it holds a pole. Wider than
    needed by at most a hundredth: the sphere of radius TIGHTEST_M curves more than the earth.
    """
    angle = metres / TIGHTEST_M
    rise = math.degrees(angle) + SLACK_DEG
    south, north = lat - rise, lat + rise
    if south <= -90.0 or north >= 90.0:
        return [(-180.0, max(south, -90.0), 180.0, min(north, 90.0))]
    # Below 1 as no pole is held; short of that by a hair, rounding may take it beyond.
    ratio = min(math.sin(angle) / math.cos(math.radians(lat)), 1.0)
    wide = math.degrees(math.asin(ratio)) + SLACK_DEG
    return wrapped(lon - wide, south, lon + wide, north)


def many_boxes_within(lons: Floats, lats: Floats, metres: Floats) -> Floats:
    """Return the same box for each of many circles: a row west, south, east, north each.

    NaN where ``boxes_within`` must be asked: near ±180° and the poles. Equal to the last bit for
    the same circle, alone or among others; sums and products are, sines of whole arrays need not.
    """
    angle = metres / TIGHTEST_M
    sines = np.fromiter(map(math.sin, angle.tolist()), np.float64, len(angle))
    cosines = np.fromiter(map(math.cos, np.radians(lats).tolist()), np.float64, len(lats))
    rise = np.degrees(angle) + SLACK_DEG
    south, north = lats - rise, lats + rise
    near = (south <= -90.0) | (north >= 90.0)
    ratio = np.minimum(sines / np.where(near, 1.0, cosines), 1.0)
    half = np.fromiter(map(math.asin, ratio.tolist()), np.float64, len(ratio))
    wide = np.degrees(half) + SLACK_DEG
    west, east = lons - wide, lons + wide
    near |= (west < -180.0) | (east > 180.0) | (east - west >= 359.0)
    return np.where(near[:, None], np.nan, np.column_stack((west, south, east, north)))


def many_rough_boxes(lons: Floats, lats: Floats, metres: Floats) -> Floats:
    """Return a box that holds each circle, wider than needed; rows west, south, east, north.

    NaN near ±180° and the poles. A way of so many metres turns by no more than its length over
    the shortest degree of longitude on it.
    """
    rise = np.degrees(metres / TIGHTEST_M) + SLACK_DEG
    furthest = np.minimum(np.abs(lats) + rise, 89.0)
    wide = rise / np.cos(np.radians(furthest))
    boxes = np.stack((lons - wide, lats - rise, lons + wide, lats + rise))
    boxes[:, (furthest == 89.0) | (boxes[0] < -180.0) | (boxes[2] > 180.0)] = np.nan
    return boxes


def wrapped(
    west: float, south: float, east: float, north: float
) -> list[tuple[float, float, float, float]]:
    """Cut a box whose longitudes may leave [-180, 180] into one or two apart that do not."""
    if east - west >= 359.0:
        return [(-180.0, south, 180.0, north)]
    if west < -180.0:
        return [(-180.0, south, east, north), (west + 360.0 - SLACK_DEG, south, 180.0, north)]
    if east > 180.0:
        return [(west, south, 180.0, north), (-180.0, south, east - 360.0 + SLACK_DEG, north)]
    return [(west, south, east, north)]


class Edges:
    """Edges, straight in longitude and latitude, ready to be measured from any point.

    ``segments`` has a row an edge: lon, lat, lon, lat in degrees, where a longitude may lie
    beyond ±180 so that each edge runs the way it is meant.
    """

    def __init__(self, segments: Floats) -> None:
        turn = np.abs(segments[:, 2] - segments[:, 0])
        rise = np.abs(segments[:, 3] - segments[:, 1])
        longest = np.maximum(turn, rise)
        step = max(PIECE_DEG, float(longest.sum()) / MAX_EXTRA_PIECES)
        count = np.maximum(np.ceil(longest / step), 1).astype(np.int64)
        if int(count.max()) > 1:
            owner = np.repeat(np.arange(len(segments)), count)
            nth = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count)
            ends = segments[owner]
            lower = (nth / count[owner])[:, None]
            upper = ((nth + 1) / count[owner])[:, None]
            span = ends[:, 2:] - ends[:, :2]
            starts = ends[:, :2] + lower * span
            stops = np.where(upper == 1.0, ends[:, 2:], ends[:, :2] + upper * span)
            segments = np.hstack((starts, stops))
            turn = np.abs(segments[:, 2] - segments[:, 0])
            rise = np.abs(segments[:, 3] - segments[:, 1])
        self._pieces = segments
        start = many_earth_centred(segments[:, 0], segments[:, 1])
        self._start = start
        self._along = many_earth_centred(segments[:, 2], segments[:, 3]) - start
        length_2 = np.einsum("ij,ij->j", self._along, self._along)
        # A piece shorter than a micrometre is a point.
        self._inverse = np.where(length_2 > 1e-12, 1.0, 0.0) / np.maximum(length_2, 1e-12)
        # |c''| of the curve c(t) = (lon(t), lat(t)) on the ellipsoid bounds how far it strays
        # from its chord: |c''| / 8. The largest radius of curvature is a²/b, below 1.004 a.
        steepest = np.cos(np.radians(np.minimum(np.abs(segments[:, 1]), np.abs(segments[:, 3]))))
        turn, rise = np.radians(turn), np.radians(rise)
        bend = rise * rise + 2 * turn * rise + turn * turn * steepest
        self._stray = 1.004 * EQUATOR_M * bend / 8 + SLACK_M
        self.weight = len(segments)

    def distance(self, lon: float, lat: float) -> float:
        """Return the geodesic distance in metres from a point to the nearest edge.

        Exact to a tenth of a millimetre for distances up to hundreds of kilometres.
        """
        offset = np.array(earth_centred(lon, lat))[:, None] - self._start
        share = np.einsum("ij,ij->j", offset, self._along) * self._inverse
        np.clip(share, 0.0, 1.0, out=share)
        offset -= share * self._along
        chord = np.sqrt(np.einsum("ij,ij->j", offset, offset))
        # How an arc grows over its chord differs with direction by 0.5 % of c³/(24 R²) at most
        # nearby; 4e-3 (c/R)² covers that up to the far side of the earth.
        limit = float((chord + self._stray).min())
        limit *= 1.0 + 4e-3 * (limit / TIGHTEST_M) ** 2
        nearest = np.flatnonzero(chord - self._stray <= limit)
        if len(nearest) > 1:
            nearest = nearest[np.argsort(chord[nearest], kind="stable")]
        best = math.inf
        for place in nearest.tolist():
            if chord[place] - self._stray[place] < best:
                best = min(best, self._measure(place, lon, lat, float(share[place])))
        return best

    def _measure(self, place: int, lon: float, lat: float, share: float) -> float:
        """Return the exact distance to one piece, starting at ``share`` of the way along it."""
        west, south, east, north = self._pieces[place].tolist()
        turn, rise = east - west, north - south
        best = math.inf
        for _ in range(12):
            at_lon, at_lat = west + share * turn, south + share * rise
            azimuth, _, metres = geod().inv(at_lon, at_lat, lon, lat)
            if metres >= best:
                break
            gain, best = best - metres, metres
            if gain < 1e-5 or metres < 1e-6:
                break
            # Walk along the edge to the foot of the perpendicular, as if both were straight.
            phi = math.radians(at_lat)
            root = math.sqrt(1 - ECCENTRICITY_2 * math.sin(phi) ** 2)
            eastward = math.radians(turn) * math.cos(phi) * EQUATOR_M / root
            northward = math.radians(rise) * TIGHTEST_M / root**3
            length_2 = eastward * eastward + northward * northward
            if length_2 <= 1e-12:
                break
            heading = math.radians(azimuth)
            forward = metres * (math.sin(heading) * eastward + math.cos(heading) * northward)
            share = min(max(share + forward / length_2, 0.0), 1.0)
        return best
