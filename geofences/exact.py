"""Does this fence hold this point? Every candidate gets one exact test, alone or among thousands.

How a pair is tested is what ``filling`` says of the cell: native for circles, along edges for
outlines, by the fence's Shape for whatever is odd, and wherever rounding leaves a doubt.
This file knows fences by number; nothing of the R-tree, edits or why somebody asks.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from geofences import geodesy, inside
from geofences.columns import WIDEST
from geofences.filling import by_slot
from geofences.listing import CIRCLE, PART_IN, PART_OUT, SHAPE, SURE, WHOLE
from geofences.packed import (
    COLUMNS,
    COUNT,
    EAST,
    FAR_2,
    FIRST,
    LAT,
    LON,
    NORTH,
    OUTLINE,
    RADIUS,
    SOUTH,
    SURE_2,
    WEST,
    Y,
    Z,
)  # fmt: skip

if TYPE_CHECKING:
    import numpy.typing as npt

    from geofences.catalogue import Pairs
    from geofences.cells import Cells
    from geofences.roster import Roster

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]
    Bools = npt.NDArray[np.bool_]

# Pairs tested in one go: the vertices of their outlines stay in the processor's second cache.
BLOCK = 1 << 13
# What lists of cells say, kept ready for points one at a time: some 500 bytes each.
MOST_TOLD = 50_000
# A way is clear of a circle's edge where its ends are by this much more than its length: what is
# straight in degrees is longer than its chord by far less in one cell.
CLEAR_M = 0.001

Circle = tuple[Any, ...]
"""An id, and the COLUMNS numbers of its row."""


class Told(NamedTuple):
    """What a cell's list says: the sorted ids that are sure, and the tests of others.

    ``circles`` are ids with their rows; ``others`` ids with slots, and with their edges in the cell
    where those are known.
    """

    sure: list[str]
    circles: list[Circle]
    others: list[tuple[str, int, inside.Part | None]]


class Exact:
    """Exact tests over the columns of all fences."""

    def __init__(self, roster: Roster, cells: Cells) -> None:
        self._roster, self._columns, self._cells = roster, roster.columns, cells
        self._shape = roster.shape
        self._circles: dict[int, Circle] = {}

    def forget(self, slot: int) -> None:
        """Forget a fence that has come, gone or changed."""
        self._circles.pop(slot, None)

    # -- many ----------------------------------------------------------------------------------

    def how(self, slots: Ints) -> npt.NDArray[np.int8]:
        """Return how fences are tested where no cell says it."""
        kind, count = self._columns.view().rows[slots][:, (RADIUS, COUNT)].T
        outline = np.where((kind == OUTLINE) & (count <= WIDEST), WHOLE, SHAPE)
        return np.where(kind >= 0.0, CIRCLE, outline).astype(np.int8)

    def hold(self, pairs: Pairs, x: Floats, y: Floats) -> Bools:
        """Tell of pairs of point and fence, none of them sure, whether the fence holds it."""
        blocks = [
            self._hold(pairs.some(slice(start, start + BLOCK)), x, y)
            for start in range(0, len(pairs.points), BLOCK)
        ]
        return np.concatenate(blocks) if blocks else np.empty(0, np.bool_)

    def _hold(self, pairs: Pairs, x: Floats, y: Floats) -> Bools:
        held = np.zeros(len(pairs.points), np.bool_)
        how = pairs.how
        asked = np.flatnonzero(how == CIRCLE)
        if len(asked):
            points = pairs.points[asked]
            held[asked] = self._in_circles(pairs.slots[asked], x[points], y[points])
        by_shape = [np.flatnonzero(how == SHAPE)]
        asked = np.flatnonzero(how == WHOLE)
        if len(asked):
            points = pairs.points[asked]
            held[asked], doubt = self._in_whole(pairs.slots[asked], x[points], y[points])
            by_shape.append(asked[doubt])
        asked = np.flatnonzero(how >= PART_OUT)
        if len(asked):
            points = pairs.points[asked]
            view, lists = self._columns.view(), self._cells.lists
            first, count, west, south = lists.parts_of(pairs.parts[asked])
            held[asked], doubt = inside.in_part(
                view.xs, view.ys, lists.edges.all, first, count, how[asked] == PART_IN,
                west, south, x[points], y[points],
            )  # fmt: skip
            by_shape.append(asked[doubt])
        asked = np.concatenate(by_shape)
        if len(asked):
            for slot, some in by_slot(pairs.slots, asked):
                points = pairs.points[some]
                held[some] = self._shape(slot).holds_many(x[points], y[points])
        return held

    def _in_circles(self, slots: Ints, x: Floats, y: Floats) -> Bools:
        rows = self._columns.view().rows[slots]
        apart = geodesy.many_earth_centred(x, y) - rows[:, :3].T
        chord_2 = np.einsum("ij,ij->j", apart, apart)
        held = chord_2 <= rows[:, SURE_2]
        open_ = np.flatnonzero(~held & (chord_2 <= rows[:, FAR_2]))
        if len(open_):
            near = rows[open_]
            metres = geodesy.many_metres_between(near[:, LON], near[:, LAT], x[open_], y[open_])
            held[open_] = metres <= near[:, RADIUS]
        return np.asarray(held, np.bool_)

    def _in_whole(self, slots: Ints, x: Floats, y: Floats) -> tuple[Bools, Bools]:
        view = self._columns.view()
        rows = view.rows[slots]
        met = np.flatnonzero(
            (rows[:, WEST] <= x) & (x <= rows[:, EAST]) & (rows[:, SOUTH] <= y)
            & (y <= rows[:, NORTH])
        )  # fmt: skip
        held, doubt = np.zeros(len(slots), np.bool_), np.zeros(len(slots), np.bool_)
        first, count = rows[met][:, (FIRST, COUNT)].astype(np.int64).T
        held[met], doubt[met] = inside.in_whole(view.xs, view.ys, first, count, x[met], y[met])
        return held, doubt

    # -- one -----------------------------------------------------------------------------------

    def told(self, number: int) -> Told:
        """Return what a cell's list says, ready for points one at a time."""
        known: Told | None = self._cells.lists.told.get(number)
        if known is not None:
            return known
        sure: list[str] = []
        circles: list[Circle] = []
        others: list[tuple[str, int, inside.Part | None]] = []
        ids = self._roster.ids
        for slot, how, part in self._cells.lists.entries(number):
            if how == SURE:
                sure.append(ids[slot])
            elif how == CIRCLE:
                circle = self._circles.get(slot)
                if circle is None:
                    row = self._columns.rows[slot * COLUMNS : (slot + 1) * COLUMNS]
                    circle = self._circles[slot] = (ids[slot], *row)
                circles.append(circle)
            else:
                others.append((ids[slot], slot, self._part(part, how)))
        if len(self._cells.lists.told) >= MOST_TOLD:
            self._cells.lists.told.clear()
            self._circles.clear()
        told = self._cells.lists.told[number] = Told(sorted(sure), circles, others)
        return told

    def _part(self, part: int, how: int) -> inside.Part | None:
        if how < PART_OUT:
            return None
        vertices, west, south = self._cells.lists.part(part)
        xs, ys = self._columns.xs, self._columns.ys
        edges = [(xs[at], ys[at], xs[at + 1], ys[at + 1]) for at in vertices]
        return inside.Part(edges, known=how == PART_IN, west=west, south=south)

    def held(self, told: Told, lon: float, lat: float) -> list[str]:
        """Return the sorted ids of the fences that hold a point, by what its cell says."""
        sure, circles, others = told
        held = sure.copy()
        if circles:
            x, y, z = geodesy.earth_centred(lon, lat)
            for fence_id, cx, cy, cz, sure_2, far_2, clon, clat, radius in circles:
                apart, across, up = x - cx, y - cy, z - cz
                chord_2 = apart * apart + across * across + up * up
                if chord_2 <= sure_2 or (
                    chord_2 <= far_2 and geodesy.metres_between(clon, clat, lon, lat) <= radius
                ):
                    held.append(fence_id)
        for fence_id, slot, part in others:
            inside_ = part.holds(lon, lat) if part else None
            if self.holds(slot, lon, lat) if inside_ is None else inside_:
                held.append(fence_id)
        if len(held) > len(sure):
            held.sort()
        return held

    def clear(self, told: Told, lon0: float, lat0: float, lon1: float, lat1: float) -> bool:
        """Tell whether a straight way within one cell surely meets no fence's edge."""
        _, circles, others = told
        if circles:
            here, there = geodesy.earth_centred(lon0, lat0), geodesy.earth_centred(lon1, lat1)
            length = math.dist(here, there) + CLEAR_M
            for _, cx, cy, cz, sure_2, far_2, _, _, _ in circles:
                apart = math.dist(here, (cx, cy, cz))
                if apart + length >= math.sqrt(sure_2) and apart - length <= math.sqrt(far_2):
                    return False
        return all(part and part.clear(lon0, lat0, lon1, lat1) for _, _, part in others)

    def holds(self, slot: int, lon: float, lat: float) -> bool:
        """Tell whether one fence holds one point, whatever a cell says."""
        at = slot * COLUMNS
        row = self._columns.rows[at : at + COLUMNS]
        radius = row[RADIUS]
        if radius >= 0.0:
            x, y, z = geodesy.earth_centred(lon, lat)
            chord_2 = (x - row[0]) ** 2 + (y - row[Y]) ** 2 + (z - row[Z]) ** 2
            if chord_2 <= row[SURE_2]:
                return True
            if chord_2 > row[FAR_2]:
                return False
            return geodesy.metres_between(row[LON], row[LAT], lon, lat) <= radius
        if radius == OUTLINE:
            if not (row[WEST] <= lon <= row[EAST] and row[SOUTH] <= lat <= row[NORTH]):
                return False
            if row[COUNT] <= WIDEST:
                held = inside.holds(*self._columns.vertices(slot), lon, lat)
                if held is not None:
                    return held
        return self._shape(slot).holds(lon, lat)
