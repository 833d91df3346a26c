"""What do the lists of all cells say?

Lists of fences by number, end to end in a few arrays, as ``listing`` finds them fill by fill. This
file knows numbers of lists, fences and edges; nothing of where cells lie.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from geofences.columns import ragged
from geofences.listing import PART_OUT, SURE

if TYPE_CHECKING:
    import numpy.typing as npt

    from geofences.listing import Lists

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]
    Numbers = npt.NDArray[np.int32]


class Column:
    """An array that grows at its end: ``all``, of which ``end`` are in use."""

    def __init__(self, kind: type[np.generic]) -> None:
        self.all: npt.NDArray[Any] = np.empty(1024, kind)
        self.end = 0

    def add(self, values: npt.NDArray[np.generic]) -> None:
        """Append values."""
        end = self.end + len(values)
        if end > len(self.all):
            more = np.empty(max(end, 2 * len(self.all)), self.all.dtype)
            more[: self.end] = self.all[: self.end]
            self.all = more
        self.all[self.end : end] = values
        self.end = end

    @property
    def nbytes(self) -> int:
        """How many bytes are in use."""
        return self.end * self.all.itemsize


class Pairs(NamedTuple):
    """Fences that may hold points, a pair of point and slot each, sorted by point.

    ``how`` says how to test; ``parts`` is the row of the part where ``how`` is one of PART.
    """

    points: Ints
    slots: Ints
    how: npt.NDArray[np.int8]
    parts: Ints

    def some(self, which: Ints | slice) -> Pairs:
        """Return some of the pairs."""
        return Pairs(self.points[which], self.slots[which], self.how[which], self.parts[which])


class Catalogue:
    """Lists by number; list 0 is empty. ``edges`` are those of the parts, by where they begin."""

    def __init__(self) -> None:
        # A list ends where the next begins. An entry is slot << 3 | how, or part << 3 | how.
        self._starts, self._entries = Column(np.int32), Column(np.uint32)
        self._part_slots = Column(np.int32)
        # Corners of cells are exact: multiples of 1/2048 degree, of 20 bits.
        self._wests, self._souths = Column(np.float32), Column(np.float32)
        self._edge_starts, self._edge_counts = Column(np.int32), Column(np.int32)
        self.edges = Column(np.int32)
        self._starts.add(np.zeros(2, np.int32))
        # What the asker remembers of lists by their numbers.
        self.told: dict[int, Any] = {}

    def __len__(self) -> int:
        return self._starts.end - 1

    @property
    def nbytes(self) -> int:
        """How many bytes the lists take."""
        return sum(each.nbytes for each in vars(self).values() if isinstance(each, Column))

    # -- questions -----------------------------------------------------------------------------

    def entries(self, number: int) -> list[tuple[int, int, int]]:
        """Return (slot, how, part) of each entry of a list."""
        starts = self._starts.all
        start, end = starts.item(number), starts.item(number + 1)
        found = []
        for entry in self._entries.all[start:end].tolist():
            slot, how = entry >> 3, entry & 7
            if how < PART_OUT:
                found.append((slot, how, -1))
            else:
                found.append((self._part_slots.all.item(slot), how, slot))
        return found

    def pairs(self, numbers: Numbers) -> Pairs:
        """Return the fences that the lists of points name."""
        first = self._starts.all[numbers]
        counts = self._starts.all[numbers + 1] - first
        counts[numbers < 0] = 0
        hit = np.flatnonzero(counts)
        counts, first = counts[hit], first[hit]
        if len(hit) and int(counts.max()) > 1:
            points = np.repeat(hit, counts)
            first = ragged(first.astype(np.int64), counts.astype(np.int64))
        else:
            points = hit
        entries = self._entries.all[first]
        how = (entries & 7).astype(np.int8)
        slots = (entries >> 3).astype(np.int64)
        parts = slots
        some = np.flatnonzero(how >= PART_OUT)
        if len(some):
            parts = slots.copy()
            slots[some] = self._part_slots.all[parts[some]]
        return Pairs(points, slots, how, parts)

    def part(self, part: int) -> tuple[list[int], float, float]:
        """Return the edges that meet a cell, by the vertex they begin at, and its corner."""
        start = self._edge_starts.all.item(part)
        edges = self.edges.all[start : start + self._edge_counts.all.item(part)].tolist()
        return edges, self._wests.all.item(part), self._souths.all.item(part)

    def parts_of(self, parts: Ints) -> tuple[Ints, Ints, Floats, Floats]:
        """Return (first, count, west, south) of parts: their edges in ``edges`` and corners."""
        first = self._edge_starts.all[parts].astype(np.int64)
        count = self._edge_counts.all[parts].astype(np.int64)
        west = self._wests.all[parts].astype(np.float64)
        return first, count, west, self._souths.all[parts].astype(np.float64)

    # -- growth --------------------------------------------------------------------------------

    def add_sure(self, counts: Ints, slots: Ints) -> int:
        """Append lists of fences that need no test; return the number of the first."""
        number = len(self)
        self._starts.add(self._entries.end + np.cumsum(counts))
        self._entries.add(slots << 3 | SURE)
        return number

    def add(self, lists: Lists, west: Floats, south: Floats) -> None:
        """Append lists; ``west`` and ``south`` are the corners of the cells of their parts."""
        cut = np.flatnonzero(lists.how >= PART_OUT)
        what, number = lists.slots.copy(), lists.parts[cut]
        slots = np.empty(len(cut), np.int64)
        slots[number] = what[cut]
        what[cut] = self._part_slots.end + number
        self._starts.add(self._entries.end + np.cumsum(lists.counts))
        self._entries.add(what << 3 | lists.how)
        self._part_slots.add(slots)
        self._wests.add(west)
        self._souths.add(south)
        self._edge_starts.add(self.edges.end + np.cumsum(lists.edge_counts) - lists.edge_counts)
        self._edge_counts.add(lists.edge_counts)
        self.edges.add(lists.edges)
