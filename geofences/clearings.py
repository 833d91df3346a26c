"""Where is surely no fence near?

Squares of the earth that have no fence within so many metres, kept as they are asked about: quick,
and free of geometry. This file knows squares and the R-tree's boxes.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from geofences import geodesy
from geofences.tree import meeting

if TYPE_CHECKING:
    import numpy.typing as npt
    from rtree.index import Index

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]
    Bools = npt.NDArray[np.bool_]

# Squares of 1/256 degree: 434 m of latitude, finer than what is mostly asked.
PER_DEGREE = 256
# The furthest that can be asked; each power of two of metres up to it has its own squares.
FURTHEST_M = 1000.0
# Squares that are remembered: some 100 bytes each.
MOST_SQUARES = 1 << 18


class Clearings:
    """Squares that surely have no fence within so many metres, as they are asked about."""

    def __init__(self, tree: Index) -> None:
        self._tree = tree
        self._known: dict[float, dict[int, bool]] = {}

    def clear(self) -> None:
        """Forget everything: a fence has come, gone or changed."""
        self._known.clear()

    def at(self, lons: Floats, lats: Floats, metres: float) -> Bools:
        """Tell of each point whether surely no fence lies within ``metres``."""
        if not 0.0 <= metres <= FURTHEST_M:
            raise ValueError(f"within_m is {metres!r}; give 0 to {FURTHEST_M:.0f} metres")
        reach = 2.0 ** math.ceil(math.log2(max(metres, 1.0)))
        columns = np.floor((lons + 180.0) * PER_DEGREE).astype(np.int64)
        rows = np.floor((lats + 90.0) * PER_DEGREE).astype(np.int64)
        squares, which = np.unique(rows << 32 | columns, return_inverse=True)
        known = self._known.setdefault(reach, {})
        asked = squares.tolist()
        new = [square for square in asked if square not in known]
        if new:
            if sum(map(len, self._known.values())) + len(new) > MOST_SQUARES:
                self._known = {reach: known}
                known.clear()
                new = asked
            free = self._judge(np.array(new, np.int64), reach)
            known.update(zip(new, free.tolist(), strict=True))
        said = np.fromiter((known[square] for square in asked), np.bool_, len(asked))
        return np.asarray(said[which], np.bool_)

    def _judge(self, squares: Ints, reach: float) -> Bools:
        size = 1.0 / PER_DEGREE
        west = (squares & 0xFFFFFFFF) * size - 180.0
        south = (squares >> 32) * size - 90.0
        rise = math.degrees(reach / geodesy.TIGHTEST_M) + geodesy.SLACK_DEG
        low, high = south - rise, south + size + rise
        # A way of so many metres turns by no more than its length over the shortest degree on it.
        furthest = np.minimum(np.maximum(np.abs(low), np.abs(high)) + rise, 89.0)
        wide = rise / np.cos(np.radians(furthest))
        boxes = np.column_stack((west - wide, low, west + size + wide, high))
        # By a pole or ±180° nothing is said to be clear.
        plain = (furthest < 89.0) & (boxes[:, 0] > -180.0) & (boxes[:, 2] < 180.0)
        free = np.zeros(len(squares), np.bool_)
        asked = np.flatnonzero(plain)
        near, _ = meeting(self._tree, boxes[asked])
        free[asked] = np.bincount(near, minlength=len(asked)) == 0
        return free
