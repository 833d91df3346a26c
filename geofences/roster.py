"""Which fences are there, and how are they kept?

Fences at rest, numbered: packed, their rows and vertices, their boxes in the R-tree, and what is
unpacked of them for a while. This file knows fences and their numbers (slots), no points.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from geofences import packed
from geofences.columns import Columns
from geofences.packed import COLUMNS, OUTLINE, RADIUS
from geofences.shape import Shape
from geofences.tree import planted

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt
    from rtree.index import Index

    from geofences.model import Fence

    Ints = npt.NDArray[np.int64]
    Box = tuple[float, float, float, float]

# Vertices of areas kept ready as GEOS objects and edge arrays: some 150 bytes each, so 75 MB.
KEPT_WEIGHT = 500_000
# Even a small shape costs some kilobytes of objects: counted as this many vertices.
SHAPE_WEIGHT = 16
# Fences kept ready as objects for ``get``, beside their packed form: some 800 bytes each, and
# 0.2 µs each time where unpacking takes 6 (measured).
KEPT_FENCES = 16_384
# Fences taken in at a time: enough that numpy's own costs vanish, few enough to take 10 MB.
CHUNK = 4096
# Edits remembered for ``changes``: who asks less often than every so many edits starts afresh.
KEPT_CHANGES = 65_536


class Roster:
    """The fences by slot. ``ids`` are their ids, ``slots`` the way back; ``tree`` their boxes."""

    def __init__(self, fences: Iterable[Fence]) -> None:
        self.version = 0
        self.ids: list[str] = []
        self.slots: dict[str, int] = {}
        self.columns = Columns()
        self._kept: list[packed.Kept | None] = []
        self._read: dict[int, tuple[packed.Kept, Fence]] = {}
        self._free: list[int] = []
        self._shapes: OrderedDict[int, Shape] = OrderedDict()
        self._weight = 0
        self._log: deque[tuple[int, str]] = deque(maxlen=KEPT_CHANGES)
        self.tree = self._planted(fences)

    def __len__(self) -> int:
        return len(self.slots)

    def changes(self, since: int) -> tuple[str, ...] | None:
        """Return the ids put or removed after version ``since``, in order; None if forgotten."""
        if since >= self.version:
            return ()
        if self.version - since > len(self._log):
            return None
        return tuple(fence_id for version, fence_id in self._log if version > since)

    def fence(self, slot: int) -> Fence:
        """Return the fence of a slot; the same object each time for a while."""
        kept, known = self._kept[slot], self._read.get(slot)
        assert kept is not None
        if known is None or known[0] is not kept:
            if len(self._read) >= KEPT_FENCES:
                self._read.clear()
            known = self._read[slot] = kept, self.unpacked(slot)
        return known[1]

    def unpacked(self, slot: int) -> Fence:
        """Return the fence of a slot as a new object."""
        kept = self._kept[slot]
        assert kept is not None
        return packed.unpack(kept, lambda: self.columns.positions(slot))

    def shape(self, slot: int) -> Shape:
        """Return the fence's shape, from the cache or built; the least used are forgotten."""
        shape = self._shapes.get(slot)
        if shape is not None:
            self._shapes.move_to_end(slot)
            return shape
        shape = self._shapes[slot] = Shape(self.fence(slot))
        self._weight += shape.weight + SHAPE_WEIGHT
        while self._weight > KEPT_WEIGHT and len(self._shapes) > 1:
            _, oldest = self._shapes.popitem(last=False)
            self._weight -= oldest.weight + SHAPE_WEIGHT
        return shape

    def ranks(self, slots: Ints) -> Ints:
        """Return numbers that order the slots as their fences' ids do."""
        asked = np.zeros(len(self.ids), np.bool_)
        asked[slots] = True
        seen = np.flatnonzero(asked)
        names = [self.ids[slot] for slot in seen.tolist()]
        ranks = np.empty(len(self.ids), np.int64)
        ranks[seen[sorted(range(len(names)), key=names.__getitem__)]] = np.arange(len(names))
        return np.asarray(ranks[slots], np.int64)

    # -- edits ---------------------------------------------------------------------------------

    def put(self, fence: Fence) -> tuple[int, list[Box]]:
        """Add a fence, or replace the one of its id; return its slot and what boxes changed."""
        rows, vertices = packed.rows([fence])
        boxes = _listed(packed.boxes([fence], rows)[1])
        slot = self.slots.get(fence.id)
        gone = [] if slot is None else self._untree(slot)
        if slot is None:
            slot = self._take_slot(fence.id)
        self._kept[slot] = packed.pack(fence, bare=rows[0, RADIUS] == OUTLINE)
        self.columns.put(slot, rows[0], vertices)
        for box in boxes:
            self.tree.insert(slot, box)
        self._write(fence.id)
        return slot, gone + boxes

    def remove(self, fence_id: str) -> tuple[int, list[Box]]:
        """Take a fence out; return what was its slot and its boxes. KeyError where it is none."""
        slot = self.slots[fence_id]
        boxes = self._untree(slot)
        del self.slots[fence_id]
        self.ids[slot] = ""
        self._kept[slot] = None
        self.columns.drop(slot)
        self._free.append(slot)
        self._write(fence_id)
        return slot, boxes

    def _write(self, fence_id: str) -> None:
        self.version += 1
        self._log.append((self.version, fence_id))

    def _planted(self, fences: Iterable[Fence]) -> Index:
        """Take in the first fences and return the R-tree of their boxes, built all at once."""
        owners, corners = [np.empty(0, np.int64)], [np.empty((0, 4))]
        waiting = iter(fences)
        while some := list(islice(waiting, CHUNK)):
            first = len(self.ids)
            rows, vertices = packed.rows(some)
            numbers, boxes = packed.boxes(some, rows)
            bare = (rows[:, RADIUS] == OUTLINE).tolist()
            for slot, fence in enumerate(some, start=first):
                fence_id = _copied(fence.id)
                if self.slots.setdefault(fence_id, slot) != slot:
                    raise ValueError(f"two fences have the id {fence_id!r}; ids must differ")
                self.ids.append(fence_id)
                self._kept.append(packed.pack(fence, bare=bare[slot - first]))
            self.columns.extend(rows, vertices)
            owners.append(numbers + first)
            corners.append(boxes)
        return planted(np.concatenate(owners), np.concatenate(corners))

    def _take_slot(self, fence_id: str) -> int:
        if self._free:
            slot = self._free.pop()
            self.ids[slot] = fence_id
        else:
            slot = len(self.ids)
            self.ids.append(fence_id)
            self._kept.append(None)
        self.slots[fence_id] = slot
        return slot

    def _untree(self, slot: int) -> list[Box]:
        # The boxes follow from the fence alone, so they need not be remembered.
        row = np.array(self.columns.rows[slot * COLUMNS : (slot + 1) * COLUMNS])
        if row[RADIUS] < 0.0 and not np.isnan(row[0]):
            boxes = _listed(row[None, :4])
        else:
            boxes = _listed(packed.boxes([self.fence(slot)], row[None, :])[1])
        for box in boxes:
            self.tree.delete(slot, box)
        self._read.pop(slot, None)
        shape = self._shapes.pop(slot, None)
        if shape is not None:
            self._weight -= shape.weight + SHAPE_WEIGHT
        return boxes


def _listed(corners: npt.NDArray[np.float64]) -> list[Box]:
    return [(west, south, east, north) for west, south, east, north in corners.tolist()]


def _copied(text: str) -> str:
    """Return a text of our own: the caller's lies among what is freed when the fences are dropped,
    and a few small objects that stay there would keep all of that memory from the system.
    """  # noqa: D205 - one sentence, too long for a line
    return f" {text}"[1:]
