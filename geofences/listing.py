"""Which cells say the same, and so can share one list?

What is found of cells comes in any order, fence by fence; here it is sorted into a list a cell, and
equal lists become one. This file knows numbers of cells, fences and edges, and no geometry.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from geofences.columns import ragged

if TYPE_CHECKING:
    import numpy.typing as npt

    Ints = npt.NDArray[np.int64]
    Bools = npt.NDArray[np.bool_]
    Verdicts = npt.NDArray[np.int8]

# How a cell's point is tested against a fence it names: not at all, for the cell lies in the
# fence; by the distance from a circle's centre; along all edges of an outline; by the fence's
# Shape; along the outline's edges that meet the cell, whose south-west corner is out, or in.
SURE, CIRCLE, WHOLE, SHAPE, PART_OUT, PART_IN = range(6)

# Fibonacci hashing: 2⁶⁴ over the golden ratio, odd.
SPREAD = np.uint64(0x9E3779B97F4A7C15)


class Lists(NamedTuple):
    """Lists of what cells say, numbered from 1; list 0 is empty.

    ``of_cells``: the list of each cell; ``counts``: how many entries each has; ``slots``, ``how``
    and ``parts``: the entries, list by list, ``parts`` numbering the rows of ``edge_counts``, and
    -1 where ``how`` is none of PART; ``edges``: those of the parts, end to end.
    """

    of_cells: Ints
    counts: Ints
    slots: Ints
    how: Verdicts
    parts: Ints
    edge_counts: Ints
    edges: Ints


class Entries:
    """What is found of cells, as it comes."""

    def __init__(self) -> None:
        self._packed = [np.empty(0, np.int64)]
        self._part_keys = [np.empty(0, np.int64)]
        self._edge_counts = [np.empty(0, np.int64)]
        self._edges = [np.empty(0, np.int64)]

    def add(self, cells: Ints, slots: Ints, how: int | Verdicts) -> None:
        """Add pairs of a cell and a fence that it names."""
        # 31 bits for the cell, 29 for the slot and 3 for how: one number sorts fastest.
        self._packed.append(cells << 32 | slots << 3 | how)

    def add_parts(self, cells: Ints, slots: Ints, how: Verdicts, counts: Ints, edges: Ints) -> None:
        """Add such pairs with the edges that meet the cell: so many of ``edges`` each."""
        self.add(cells, slots, how)
        self._part_keys.append(cells << 32 | slots << 3)
        self._edge_counts.append(counts)
        self._edges.append(edges)

    def listed(self, cells: int) -> Lists:
        """Return the lists of so many cells."""
        packed = np.concatenate(self._packed)
        packed.sort()
        # A fence with a box on either side of ±180° may have been found by both.
        packed = packed[_starts(packed)]
        owners = packed >> 32
        first = np.flatnonzero(_starts(owners))
        counts = np.diff(np.append(first, len(packed)))
        what, cut = packed & 0xFFFFFFFF, packed & 7 >= PART_OUT
        of_cells = np.zeros(cells, np.int64)
        of_cells[owners[first]] = np.arange(1, len(first) + 1)
        if len(first):
            number, kept = _beside(counts, what, cut)
            of_cells = number[of_cells]
            counts, what = counts[kept], what[np.repeat(kept, counts)]
            number, kept = _elsewhere(counts, what)
            of_cells = number[of_cells]
            counts, what = counts[kept], what[np.repeat(kept, counts)]
        how = (what & 7).astype(np.int8)
        parts = np.full(len(what), -1, np.int64)
        parts[how >= PART_OUT] = np.argsort(np.concatenate(self._part_keys))
        edge_counts, edges = np.concatenate(self._edge_counts), np.concatenate(self._edges)
        return Lists(of_cells, counts, what >> 3, how, parts, edge_counts, edges)


def _starts(values: Ints) -> Bools:
    """Tell of sorted values which differ from the one before."""
    differ = np.ones(len(values), np.bool_)
    differ[1:] = values[1:] != values[:-1]
    return differ


def _beside(counts: Ints, what: Ints, cut: Bools) -> tuple[Ints, Bools]:
    """Find lists equal to the one before, as those of neighbouring cells often are.

    Returns the new number of each list, 0 included, and which lists are kept.
    """
    back = np.arange(len(what)) - np.repeat(counts, counts)
    same = (back >= 0) & ~cut & (what == what[np.maximum(back, 0)])
    alike = np.logical_and.reduceat(same, np.cumsum(counts) - counts)
    alike[1:] &= counts[1:] == counts[:-1]
    return np.append(0, np.cumsum(~alike)), ~alike


def _elsewhere(counts: Ints, what: Ints) -> tuple[Ints, Bools]:
    """Find equal lists wherever they are, but for parts, of which no two are equal."""
    starts = np.cumsum(counts) - counts
    whole = np.flatnonzero(np.logical_and.reduceat(what & 7 < PART_OUT, starts))
    mixed = (what.astype(np.uint64) * SPREAD) >> np.uint64(20)
    marks = np.add.reduceat(mixed * SPREAD, starts)[whole]
    order = whole[np.lexsort((marks, counts[whole]))]
    one, other = order[:-1], order[1:]
    same = np.zeros(len(order), np.bool_)
    like = np.flatnonzero(counts[one] == counts[other])
    if len(like):
        size = counts[one[like]]
        equal = what[ragged(starts[one[like]], size)] == what[ragged(starts[other[like]], size)]
        same[like + 1] = np.logical_and.reduceat(equal, np.cumsum(size) - size)
    kept = np.ones(len(counts), np.bool_)
    kept[order[same]] = False
    number = np.cumsum(kept)
    # The list that stands for each: the first of its run.
    number[order] = number[order[np.maximum.accumulate(np.where(same, 0, np.arange(len(order))))]]
    return np.append(0, number), kept
