"""Does a short way surely miss a circle, by the straight line through the earth?

Quick where the exact answer, along geodesics, takes a hundred times as long; it knows rows of
circles and two ends, and is sure or says nothing.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from geofences import geodesy
from geofences.packed import FAR_2, RADIUS, Y, Z

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Bools = npt.NDArray[np.bool_]

# A way so short, so far from the poles, strays by half a metre at most from its chord through the
# earth: what is straight in degrees bends by 1.1 tangents of its latitude over the earth's radius,
# beside the earth's own curve, and a bow's height is its length squared by its bend over eight.
WAY_M, WAY_DEG, WAY_SLACK_M = 2000.0, 80.0, 1.0


class Chord:
    """The straight line through the earth between the ends of a way."""

    def __init__(self, lon0: float, lat0: float, lon1: float, lat1: float) -> None:
        self._start = geodesy.earth_centred(lon0, lat0)
        (x, y, z), (x1, y1, z1) = self._start, geodesy.earth_centred(lon1, lat1)
        self._along = x1 - x, y1 - y, z1 - z
        self._length_2 = sum(part * part for part in self._along)
        # The longer way round a pole, or the earth, is no chord's.
        self._short = self._length_2 <= WAY_M * WAY_M and max(abs(lat0), abs(lat1)) <= WAY_DEG

    def misses(self, rows: Sequence[float], at: int) -> bool:
        """Tell whether the way surely misses the circle whose row begins there."""
        if not self._short:
            return False
        along, up, over = self._along
        x, y, z = (rows[at] - self._start[0], rows[at + Y] - self._start[1],
                   rows[at + Z] - self._start[2])  # fmt: skip
        share = (x * along + y * up + z * over) / max(self._length_2, 1e-12)
        share = min(max(share, 0.0), 1.0)
        apart = math.hypot(x - share * along, y - share * up, z - share * over)
        return apart > math.sqrt(rows[at + FAR_2]) + WAY_SLACK_M


def chords_miss(rows: Floats, x0: Floats, y0: Floats, x1: Floats, y1: Floats) -> Bools:
    """Tell the same of many circles (or what is none) and of ways to each of them."""
    start = geodesy.many_earth_centred(x0, y0)
    along = geodesy.many_earth_centred(x1, y1) - start
    length_2 = (along * along).sum(axis=0)
    short = (length_2 <= WAY_M * WAY_M) & (np.maximum(np.abs(y0), np.abs(y1)) <= WAY_DEG)
    middle = rows[:, :3].T - start
    share = np.clip((middle * along).sum(axis=0) / np.maximum(length_2, 1e-12), 0.0, 1.0)
    apart = np.sqrt(((middle - share * along) ** 2).sum(axis=0))
    circles = rows[:, RADIUS] >= 0.0
    reach = np.sqrt(np.where(circles, rows[:, FAR_2], 0.0)) + WAY_SLACK_M
    missed: Bools = circles & short & (apart > reach)
    return missed
