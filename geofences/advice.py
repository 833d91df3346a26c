"""What is sound and yet unwise in a fence?

Each function yields pieces of advice: what there is to say, where (perhaps empty), and what to
do. Advice is no fault and changes nothing.
"""

from __future__ import annotations

import math
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from geofences import outline
from geofences.geometry import is_number

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from geofences.model import Geometry

    Floats = npt.NDArray[np.float64]

# Phones outdoors in towns are good to about this much, by their own account (68 %).
TYPICAL_ACCURACY_M = 20.0
# Beyond a large city a circle is more likely a mistake of units.
LARGE_RADIUS_M = 100_000.0
METRES_PER_DEGREE = 111_195.0  # of a great circle, mean earth radius: near enough for advice
# A bbox is often written with fewer digits than the coordinates.
BBOX_SLACK_DEG = 1e-3


class Advice(NamedTuple):
    """What is unwise, where (perhaps empty), and what to do."""

    what: str
    where: str
    mend: str


def on_radius(radius_m: float) -> Iterator[Advice]:
    """Advise on the radius of points and lines, in metres."""
    if radius_m < TYPICAL_ACCURACY_M:
        yield _too_small(f"is only {radius_m:g} m wide each way")
    if radius_m > LARGE_RADIUS_M:
        what = f"has a radius of {radius_m / 1000:g} km"
        yield Advice(what, "", "radius_m is in metres: is it meant?")


def on_lines(leaf: Geometry, where: str) -> Iterator[Advice]:
    """Advise on the lines of a geometry."""
    for line in leaf.lines():
        if not np.ptp(line[:, :2], axis=0).any():
            yield Advice("has a line without length", where, "write a Point: it covers the same")


def on_areas(polygons: list[list[Floats]], where: str) -> Iterator[Advice]:
    """Advise on sound polygons, each its rings of positions."""
    for ring in chain.from_iterable(polygons):
        step = np.abs(ring[1:] - ring[:-1])
        moves = step.any(axis=1)
        if not moves.all():
            corner = outline.place(*ring[int(np.argmin(moves))].tolist())
            place = ", ".join(filter(None, (where, corner)))
            yield Advice("has the same corner twice in a row", place, "delete one")
        if ((step[:, 0] > 180.0) & (step[:, 0] < 270.0)).any():
            what = "has an edge of more than 180°, which runs the short way across ±180"
            mend = "where the long way is meant, give it a corner in between"
            yield Advice(what, where, mend)
    deepest = 0.0
    for rings in polygons:
        deepest = max(deepest, _depth_m(outline.unroll(rings[0])))
        if deepest >= TYPICAL_ACCURACY_M:
            return
    yield _too_small(f"is only some {deepest:.2g} m deep")


def on_bbox(bbox: Any, geometry: Geometry) -> Iterator[Advice]:
    """Advise on a bbox that does not hold the geometry: axes swapped, or out of date."""
    if not isinstance(bbox, list) or len(bbox) not in {4, 6} or not all(map(is_number, bbox)):
        return  # which is a fault
    half = len(bbox) // 2
    if bbox[0] > bbox[half]:
        return  # across ±180
    coords = np.vstack([leaf.coords[:, :2] for leaf in geometry.leaves()])
    low, high = coords.min(axis=0).tolist(), coords.max(axis=0).tolist()
    below = any(low[axis] < bbox[axis] - BBOX_SLACK_DEG for axis in (0, 1))
    above = any(high[axis] > bbox[half + axis] + BBOX_SLACK_DEG for axis in (0, 1))
    if below or above:
        mend = "leave it out or mend it: [west, south, east, north]"
        yield Advice("has a bbox that does not hold it", "", mend)


def _too_small(what: str) -> Advice:
    what = f"{what}, too small to decide at {TYPICAL_ACCURACY_M:g} m accuracy"
    return Advice(what, "", "widen it, or use a beacon there")


def _depth_m(ring: Floats) -> float:
    """Return about the inner radius in metres: twice the area over the length around its box.

    The box's, not the outline's, so that a jagged outline does not count as thin.
    """
    if not np.array_equal(ring[0], ring[-1]):
        return math.inf  # once round a pole
    middle = math.cos(math.radians(float(ring[:, 1].mean())))
    plane = (ring - ring[0]) * [METRES_PER_DEGREE * middle, METRES_PER_DEGREE]
    x, y = plane[:, 0], plane[:, 1]
    area = abs(float(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1]))) / 2
    return area / float(np.ptp(x) + np.ptp(y))
