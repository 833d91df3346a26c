"""What numbers of all fences stand ready for tests of whole arrays?

A row a fence, and the vertices of all outlines end to end: so a batch of points is tested against
a batch of fences without an object for either. This file knows numbers of fences (slots), no
R-tree and no cells.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from geofences.packed import COLUMNS, COUNT, FIRST, NO_CIRCLE, OUTLINE, RADIUS

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]

# The widest outline that is tested whole, edge by edge: beyond that, cells know which edges count.
WIDEST = 64
# Windows over the vertices may reach beyond the last outline.
PADDING = array("d", [np.nan] * WIDEST)
# Vertices of fences gone that may lie about before all are moved together, besides a third.
LEAST_WASTE = 1 << 16


class View(NamedTuple):
    """The columns as arrays, for one call: while they are held the columns cannot grow."""

    rows: Floats
    xs: Floats
    ys: Floats


class Columns:
    """Rows by slot, and the vertices of outlines.

    ``rows`` are those of ``packed``; ``xs`` and ``ys`` hold each outline's rings, closed, a NaN
    between two of them.
    """

    def __init__(self) -> None:
        self.rows = array("d")
        self.xs, self.ys = array("d"), array("d")
        self._pad()
        self._waste = 0

    def view(self) -> View:
        """Return the arrays, which must be let go before anything is put."""
        rows = np.frombuffer(self.rows).reshape(-1, COLUMNS)
        return View(rows, np.frombuffer(self.xs), np.frombuffer(self.ys))

    def extend(self, rows: Floats, vertices: Floats) -> None:
        """Append rows, whose FIRST counts from the first of ``vertices``, two columns."""
        outlines = rows[:, RADIUS] == OUTLINE
        rows[outlines, FIRST] += self._append(vertices)
        self.rows.frombytes(rows.tobytes())

    def put(self, slot: int, row: Floats, vertices: Floats) -> None:
        """Set the row of a slot, new or in place of another."""
        self.drop(slot)
        if row[RADIUS] == OUTLINE:
            row[FIRST] += self._append(vertices)
        self.rows[slot * COLUMNS : (slot + 1) * COLUMNS] = array("d", row.tolist())

    def drop(self, slot: int) -> None:
        """Forget what a slot stands for."""
        at = slot * COLUMNS
        if at == len(self.rows):
            self.rows.extend(NO_CIRCLE)
        elif self.rows[at + RADIUS] == OUTLINE:
            self._waste += int(self.rows[at + COUNT])
        self.rows[at : at + COLUMNS] = array("d", NO_CIRCLE)

    def vertices(self, slot: int) -> tuple[array[float], array[float]]:
        """Return the longitudes and latitudes of an outline."""
        at = slot * COLUMNS
        first = int(self.rows[at + FIRST])
        last = first + int(self.rows[at + COUNT])
        return self.xs[first:last], self.ys[first:last]

    def positions(self, slot: int) -> Floats:
        """Return the positions of an outline as they were drawn, a row each."""
        both = np.column_stack(self.vertices(slot))
        return np.asarray(both[~np.isnan(both[:, 0])], np.float64)

    def crowded(self) -> bool:
        """Tell whether vertices of fences gone take more room than they may."""
        return self._waste > max(LEAST_WASTE, len(self.xs) // 3)

    def compact(self) -> None:
        """Move the vertices together: numbers of vertices that others hold mean nothing after."""
        rows, xs, ys = self.view()
        slots = np.flatnonzero(rows[:, RADIUS] == OUTLINE)
        count = rows[slots, COUNT].astype(np.int64)
        kept = ragged(rows[slots, FIRST].astype(np.int64), count)
        changed = rows.copy()
        changed[slots, FIRST] = np.cumsum(count) - count
        self.xs, self.ys = array("d", xs[kept].tobytes()), array("d", ys[kept].tobytes())
        self.rows = array("d", changed.tobytes())
        self._pad()
        self._waste = 0

    def _append(self, vertices: Floats) -> int:
        first = len(self.xs) - len(PADDING)
        del self.xs[first:], self.ys[first:]
        self.xs.frombytes(vertices[:, 0].tobytes())
        self.ys.frombytes(vertices[:, 1].tobytes())
        self._pad()
        return first

    def _pad(self) -> None:
        self.xs.extend(PADDING)
        self.ys.extend(PADDING)


def ragged(first: Ints, count: Ints) -> Ints:
    """Return first[0], first[0] + 1, ... so many of each, end to end."""
    ends = np.cumsum(count)
    total = int(ends[-1]) if len(ends) else 0
    return np.arange(total) + np.repeat(first - ends + count, count)
