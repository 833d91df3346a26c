"""The question: which circle holds a fence, for phones that know no other shape.

For waking a phone alone: being in the circle says nothing of being in the fence, and nothing here
may decide that anybody has entered. Knows geometry; no phone, no index and no person.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from geofences import Fence, Geometry

    Floats = npt.NDArray[np.float64]

WIDEST_M = 6_399_594.0
"""The greatest radius of curvature of the earth (WGS 84, at the poles), in metres.

A way on the ellipsoid is never longer than on a sphere of this radius at the same longitudes and
latitudes, so what is measured on that sphere is a bound: at most 1 % too far.
"""

#: Edges are straight in longitude and latitude. Cut into pieces no longer than this, each strays at
#: most 30 m from the shortest way between its ends, for which the circle is that much wider.
PIECE_DEG = 0.25

#: A hostile outline may run round the world at every edge; then its pieces are longer, and the
#: circle is wider for it.
MOST_PIECES = 20_000


class Circle(NamedTuple):
    """A circle on the earth: its centre in degrees, its radius in metres."""

    lon: float
    lat: float
    radius_m: float


def covering_circle(fence: Fence, most_m: float) -> Circle | None:
    """Give a circle that holds all of a fence; None where one of ``most_m`` metres does not.

    Exact for a circle. For any other shape centred in its box, which is the least circle of
    rectangles and at most a fifth wider than the least of a triangle.
    """
    leaves = fence.geometry.leaves()
    if len(leaves) == 1 and leaves[0].kind == "Point":
        lon, lat = leaves[0].coords[0, :2].tolist()
        radius_m = fence.radius_m or 0.0
        return Circle(lon, lat, radius_m) if radius_m <= most_m else None
    drawn = [line for leaf in leaves for line in _lines(leaf)]
    lats = np.concatenate([line[:, 1] for line in drawn])
    # A degree of latitude is more than 110 km: quickly told of whole countries.
    if np.ptp(lats) * 110_000.0 > 2.0 * most_m:
        return None
    traced = [_traced(line) for line in drawn]
    points = np.concatenate([points for points, _ in traced])
    middle = (points.min(axis=0) + points.max(axis=0)) / 2.0
    length = float(np.linalg.norm(middle))
    if length < 0.5:  # spread over more than a third of the globe
        return None
    middle /= length
    chord = float(np.sqrt(((points - middle) ** 2).sum(axis=1).max()))
    radius_m = WIDEST_M * 2.0 * math.asin(min(chord / 2.0, 1.0)) + max(m for _, m in traced)
    radius_m += _swell(leaves, fence)
    if radius_m > most_m:
        return None
    x, y, z = middle.tolist()
    return Circle(math.degrees(math.atan2(y, x)), math.degrees(math.asin(z)), radius_m)


def _lines(leaf: Geometry) -> list[Floats]:
    """List what bounds a geometry: points by themselves, lines, or the outlines without holes."""
    if leaf.kind in {"Point", "MultiPoint"}:
        return [leaf.coords[number : number + 1] for number in range(len(leaf.coords))]
    if leaf.kind in {"LineString", "MultiLineString"}:
        return leaf.lines()
    return [rings[0] for rings in leaf.polygons()]


def _swell(leaves: list[Geometry], fence: Fence) -> float:
    """Give how far the fence reaches beyond what was drawn: an area does not."""
    areas = all(leaf.kind in {"Polygon", "MultiPolygon"} for leaf in leaves)
    return 0.0 if areas else fence.radius_m or 0.0


def _traced(line: Floats) -> tuple[Floats, float]:
    """Give points of a line as unit vectors, a row each, and how far it strays between them.

    An edge of more than 180° runs the short way, but where both latitudes are equal one from 180
    to -180 is a full turn (the contract on fences).
    """
    lons, lats = line[:, 0], line[:, 1]
    turns, rises = np.diff(lons), np.diff(lats)
    round_trip = (np.abs(turns) == 360.0) & (rises == 0.0)
    short = (turns + 180.0) % 360.0 - 180.0
    turns = np.where((np.abs(turns) > 180.0) & ~round_trip, short, turns)
    longest = np.maximum(np.abs(turns), np.abs(rises))
    piece = max(PIECE_DEG, float(longest.sum()) / MOST_PIECES)
    counts = np.maximum(np.ceil(longest / piece), 1.0).astype(np.int64)
    edge = np.repeat(np.arange(len(counts)), counts)
    share = (np.arange(len(edge)) - (np.cumsum(counts) - counts)[edge]) / counts[edge]
    lam = np.radians(np.append(lons[edge] + share * turns[edge], lons[-1]))
    phi = np.radians(np.append(lats[edge] + share * rises[edge], lats[-1]))
    across = np.cos(phi)
    points = np.stack((across * np.cos(lam), across * np.sin(lam), np.sin(phi)), axis=1)
    widest = math.radians(float((longest / counts).max())) if len(counts) else 0.0
    # The second-order terms of such an edge against the great circle between its ends sum to less
    # than a quarter of the square of its length in radians, at any latitude.
    return points, WIDEST_M * widest * widest / 4.0
