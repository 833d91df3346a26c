"""Which cells of a grid do the edges of an outline touch, and which others lie inside it?

Many outlines on many grids at once. A cell counts as touched where an edge comes within a hair of
it, so that a cell that is not touched lies wholly inside or wholly outside: even-odd crossings
along the lines between rows of cells tell which. This file knows vertices and grids; nothing of
fences, the R-tree or the cache that asks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from geofences.columns import ragged

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]
    Bools = npt.NDArray[np.bool_]

# What counts as touching, in cells. Coordinates in cells are off by 1e-9 of a cell at most: cells
# are no finer than 1e-4 degrees, and doubles carry 180 degrees to 3e-14.
HAIR = 1e-5
# Edges looked at in one go: their arrays take some 100 MB.
MOST_EDGES = 1 << 18


class Grids(NamedTuple):
    """A grid for each pair of tile and outline: an array a field, an element a pair.

    ``first`` and ``vertices`` say where the outline's vertices stand and how many; ``west`` and
    ``south`` are the tile's corner in degrees and ``size`` that of its cells; only cells from
    ``column`` and ``row`` on, so many ``wide`` and ``high``, are looked at: no other cell of the
    tile meets the outline.
    """

    first: Ints
    vertices: Ints
    west: Floats
    south: Floats
    size: Floats
    column: Ints
    row: Ints
    wide: Ints
    high: Ints


class Touches(NamedTuple):
    """What ``draw`` finds; cells are numbered row by row through all grids, end to end.

    ``inside``: of every cell, whether its south-west corner is inside the outline. ``touched``: of
    every cell, whether an edge touches it. ``cells`` and ``edges``: pairs of a cell and the vertex
    at which an edge begins that touches it, sorted by cell. ``unsure``: of every cell, whether an
    edge comes within a hair of that corner.
    """

    inside: Bools
    touched: Bools
    cells: Ints
    edges: Ints
    unsure: Bools


def draw(xs: Floats, ys: Floats, grids: Grids) -> Touches:
    """Draw the outlines on their grids."""
    sizes = grids.wide * grids.high
    base = np.cumsum(sizes) - sizes
    total = int(sizes.sum())
    flips = np.zeros(total, np.int32)
    unsure = np.zeros(total, np.bool_)
    cells, edges = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    counts = np.maximum(grids.vertices - 1, 0)
    begin = 0
    while begin < len(counts):
        end = begin + max(int(np.searchsorted(np.cumsum(counts[begin:]), MOST_EDGES)), 1)
        some = slice(begin, end)
        owner = np.repeat(np.arange(begin, min(end, len(counts))), counts[some])
        at = ragged(grids.first[some], counts[some])
        line = _Edges(xs, ys, grids, owner, at)
        crossed = line.crossings(base)
        flips += np.bincount(crossed, minlength=total).astype(np.int32)
        which, edge, near = line.touches(base)
        unsure[which[near]] = True
        cells.append(which)
        edges.append(edge)
        begin = end
    # A corner is inside where an odd number of edges lie west of it.
    sums = np.cumsum(flips)
    heights = np.repeat(grids.wide, grids.high)
    starts = np.cumsum(heights) - heights
    before = np.where(starts > 0, sums[starts - 1], 0)
    inside = ((sums - np.repeat(before, heights)) & 1).astype(np.bool_)
    cell, edge = np.concatenate(cells), np.concatenate(edges)
    order = np.argsort(cell, kind="stable")
    touched = np.zeros(total, np.bool_)
    touched[cell] = True
    return Touches(inside, touched, cell[order], edge[order], unsure)


class _Edges:
    """The edges that may matter to their grids, in units of cells from the tile's corner."""

    def __init__(self, xs: Floats, ys: Floats, grids: Grids, owner: Ints, at: Ints) -> None:
        south, size = grids.south[owner], grids.size[owner]
        v0, v1 = (ys[at] - south) / size, (ys[at + 1] - south) / size
        low, high = np.minimum(v0, v1), np.maximum(v0, v1)
        first = grids.row[owner]
        # A break between rings is no number, and no comparison with it holds.
        some = np.flatnonzero((high >= first - HAIR) & (low <= first + grids.high[owner] + HAIR))
        owner, at, size = owner[some], at[some], size[some]
        self.v0, self.v1, self.low, self.high = v0[some], v1[some], low[some], high[some]
        west = grids.west[owner]
        self.u0, self.u1 = (xs[at] - west) / size, (xs[at + 1] - west) / size
        self.at, self.owner, self.grids = at, owner, grids

    def crossings(self, base: Ints) -> Ints:
        """Return for each crossing of a line of corners the cell whose corner it lies west of."""
        grids, owner = self.grids, self.owner
        first, last = grids.row[owner], grids.row[owner] + grids.high[owner] - 1
        # An edge crosses the line v = r where one end is at most r and the other is not.
        low = np.maximum(np.ceil(self.low).astype(np.int64), first)
        high = np.minimum(np.ceil(self.high).astype(np.int64) - 1, last)
        count = np.maximum(high - low + 1, 0)
        edge = np.repeat(np.arange(len(owner)), count)
        row = ragged(low, count)
        v0, u0 = self.v0[edge], self.u0[edge]
        u = u0 + (row - v0) / (self.v1[edge] - v0) * (self.u1[edge] - u0)
        own = owner[edge]
        column = np.maximum(np.floor(u).astype(np.int64) + 1 - grids.column[own], 0)
        kept = column < grids.wide[own]
        own = own[kept]
        nth = (row[kept] - grids.row[own]) * grids.wide[own] + column[kept]
        return np.asarray(base[own] + nth, np.int64)

    def touches(self, base: Ints) -> tuple[Ints, Ints, Bools]:
        """Return (cell, vertex, near): the cells each edge touches; is it near their corner?"""
        grids = self.grids
        west = grids.column[self.owner]
        east = west + grids.wide[self.owner]
        some = np.flatnonzero(
            (np.maximum(self.u0, self.u1) >= west - HAIR)
            & (np.minimum(self.u0, self.u1) <= east + HAIR)
        )
        own = self.owner[some]
        first, last = grids.row[own], grids.row[own] + grids.high[own] - 1
        low = np.clip(np.floor(self.low[some] - HAIR).astype(np.int64), first, last)
        high = np.clip(np.floor(self.high[some] + HAIR).astype(np.int64), first, last)
        count = high - low + 1
        edge, row = np.repeat(some, count), ragged(low, count)
        v0, u0 = self.v0[edge], self.u0[edge]
        rise, run = self.v1[edge] - v0, self.u1[edge] - u0
        # Where the edge enters and leaves the row, as shares of its length.
        slanted = rise != 0.0
        steep = np.where(slanted, rise, 1.0)
        enters = np.where(slanted, np.clip((row - HAIR - v0) / steep, 0.0, 1.0), 0.0)
        leaves = np.where(slanted, np.clip((row + 1 + HAIR - v0) / steep, 0.0, 1.0), 1.0)
        one, other = u0 + enters * run, u0 + leaves * run
        own = self.owner[edge]
        first, last = grids.column[own], grids.column[own] + grids.wide[own] - 1
        low = np.maximum(np.floor(np.minimum(one, other) - HAIR).astype(np.int64), first)
        high = np.minimum(np.floor(np.maximum(one, other) + HAIR).astype(np.int64), last)
        count = np.maximum(high - low + 1, 0)
        column = ragged(low, count)
        edge, row = np.repeat(edge, count), np.repeat(row, count)
        own = self.owner[edge]
        cell = base[own] + (row - grids.row[own]) * grids.wide[own] + column - grids.column[own]
        return cell, self.at[edge], self._near(edge, column, row)

    def _near(self, edge: Ints, column: Ints, row: Ints) -> Bools:
        """Tell whether an edge comes within a hair of the south-west corner of a cell."""
        u0, v0 = self.u0[edge], self.v0[edge]
        run, rise = self.u1[edge] - u0, self.v1[edge] - v0
        du, dv = column - u0, row - v0
        beside = np.abs(run * dv - rise * du) <= HAIR * (np.abs(run) + np.abs(rise))
        along = (
            (np.minimum(0.0, run) - HAIR <= du) & (du <= np.maximum(0.0, run) + HAIR)
            & (np.minimum(0.0, rise) - HAIR <= dv) & (dv <= np.maximum(0.0, rise) + HAIR)
        )  # fmt: skip
        return np.asarray(beside & along, np.bool_)
