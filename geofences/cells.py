"""Which fences can hold the points of a small box of the earth, and which surely do?

A cache over the index's R-tree: cells of longitude and latitude, filled when a point first falls
into one and dropped when a fence over them changes. A cell that lies wholly in a fence answers
without any geometry; where a fence's edge runs through, that fence is named for one exact test.
Cells are split only where edges run, so memory follows the edges and the places asked about, not
the land between them.

This file knows boxes and numbers of fences (slots); what a fence covers is asked of the index.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from geofences.shape import EDGE, OUT

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]
    Box = tuple[float, float, float, float]

# The coarsest cells are half a degree: 259,200 of them, a megabyte, for the whole earth.
ROOT_PER_DEGREE = 2
# One more each way: a hair below 180 or 90, adding the offset rounds up into it.
ROOT_ROWS, ROOT_COLUMNS = 180 * ROOT_PER_DEGREE + 1, 360 * ROOT_PER_DEGREE + 1
# Each split makes 4 x 4 cells of one, whose numbers fill one line of the processor's cache (64 B).
SPLIT_BITS = 2
SPLIT = 1 << SPLIT_BITS
CHILDREN = SPLIT * SPLIT
# Six splits: 1/8192 degree, 14 m of latitude. Finer cells cost more memory than they save tests.
LEVELS = 6
FINEST_BITS = LEVELS * SPLIT_BITS
FINEST_PER_DEGREE = ROOT_PER_DEGREE << FINEST_BITS
# Cells are judged by boxes a tenth of a millimetre wider, so that rounding a point into the cell
# beside its own changes no answer.
WIDER_DEG = 1e-9
# Points a block: its temporaries stay in the processor's second cache.
BLOCK = 1 << 15
# Splits that may be remembered at least (64 B each, 17 MB), and for each fence beyond that.
LEAST_NODES = 1 << 18
NODES_A_FENCE = 2
# A cell that meets more fences than this is split without judging any of them: to judge an outline
# it must be built, and the smaller cells ask for few.
CROWDED = 64
# What is remembered for single points: blocks of 1/32 degree, so that an edit forgets a few.
MEMO_BITS = FINEST_BITS - 4
MOST_MEMOS = 200_000

# At each level, tests that cost no more than this are not worth smaller cells: a circle's or two
# where cells are 54 m and most of their points are answered already.
CHEAP = (0, 0, 0, 0, 0, 2)

UNFILLED = -1


class Ground(NamedTuple):
    """What the cells ask of the index.

    ``fences`` counts them; ``meeting`` gives the slots whose boxes meet a box; ``classify``
    tells of pairs of slot and box (rows west, south, east, north; a column a pair) whether it is
    OUT, INSIDE (wholly), or EDGE where neither is sure; ``order`` sorts slots by their fences'
    ids; ``effort`` is what exact tests cost: 1 for a circle, more for an outline.
    """

    fences: Callable[[], int]
    meeting: Callable[[Box], list[int]]
    classify: Callable[[Ints, Floats], npt.NDArray[np.int8]]
    order: Callable[[list[int]], list[int]]
    effort: Callable[[tuple[int, ...]], int]


class Listed(NamedTuple):
    """What a cell says: fences in the order of their ids, and for each whether it needs a test."""

    slots: tuple[int, ...]
    edges: tuple[bool, ...]


class Cells:
    """The cache. Points on ±180° or at a pole, which have several names, are not asked of it."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self.clear()

    def clear(self) -> None:
        """Forget everything; what is asked next is filled anew."""
        self._root = np.full(ROOT_ROWS * ROOT_COLUMNS, UNFILLED, np.int32)
        self._nodes = np.full((64, CHILDREN), UNFILLED, np.int32)
        self._owners = np.zeros(64, np.int32)  # the list of the cell that was split
        self._used = 0
        self._free: list[int] = []
        self.lists: list[Listed] = []
        self._numbers: dict[Listed, int] = {}
        self._starts = np.zeros(64, np.int64)
        self._counts = np.zeros(64, np.int64)
        self._slots = np.zeros(64, np.int64)
        self._edges = np.zeros(64, np.bool_)
        self._filled = 0
        self._memo: dict[int, dict[int, tuple[Listed, int]]] = {}
        self._memos = 0
        self._list((), ())

    # -- questions ---------------------------------------------------------------------------

    def at(self, lon: float, lat: float) -> Listed:
        """Return what the cell of a point says."""
        column = int((lon + 180.0) * FINEST_PER_DEGREE)
        row = int((lat + 90.0) * FINEST_PER_DEGREE)
        return self._leaf(column, row)[0]

    def no_edge_between(self, lon0: float, lat0: float, lon1: float, lat1: float) -> bool:
        """Tell whether two points lie in one cell that no edge crosses; else nobody knows."""
        column = int((lon0 + 180.0) * FINEST_PER_DEGREE)
        row = int((lat0 + 90.0) * FINEST_PER_DEGREE)
        listed, shift = self._leaf(column, row)
        return (
            column >> shift == int((lon1 + 180.0) * FINEST_PER_DEGREE) >> shift
            and row >> shift == int((lat1 + 90.0) * FINEST_PER_DEGREE) >> shift
            and True not in listed.edges
        )

    def _leaf(self, column: int, row: int) -> tuple[Listed, int]:
        """Return what the cell over one of the finest says, and how many bits it is coarser."""
        block = (row >> MEMO_BITS) << 32 | column >> MEMO_BITS
        memo = self._memo.get(block)
        if memo is None:
            memo = self._memo[block] = {}
        key = row << 32 | column
        found = memo.get(key)
        if found is None:
            if self._memos >= MOST_MEMOS:
                self._memo, self._memos = {block: memo}, 0
                memo.clear()
            number, shift = self._walk(column, row)
            found = memo[key] = self.lists[number], shift
            self._memos += 1
        return found

    def numbers(self, lons: Floats, lats: Floats) -> npt.NDArray[np.int32]:
        """Return, for each point, the number in ``lists`` of what its cell says."""
        found = [
            self._numbers_of(lons[start : start + BLOCK], lats[start : start + BLOCK])
            for start in range(0, len(lons), BLOCK)
        ]
        return np.concatenate(found) if found else np.empty(0, np.int32)

    def pairs(self, lons: Floats, lats: Floats) -> tuple[Ints, Ints, npt.NDArray[np.bool_]]:
        """Return (point, slot, needs a test) for all fences that may hold each point.

        Sorted by point, then by fence id.
        """
        points, slots, edges = [], [], []
        for start in range(0, len(lons), BLOCK):
            found = self._numbers_of(lons[start : start + BLOCK], lats[start : start + BLOCK])
            counts = self._counts[found]
            hit = np.flatnonzero(counts)
            if not len(hit):
                continue
            counts, first = counts[hit], self._starts[found[hit]]
            if int(counts.max()) > 1:
                owners = np.repeat(hit, counts)
                ends = np.cumsum(counts)
                nth = np.arange(int(ends[-1])) - np.repeat(ends - counts, counts)
                first = np.repeat(first, counts) + nth
            else:
                owners = hit
            points.append(owners + start)
            slots.append(self._slots[first])
            edges.append(self._edges[first])
        if not points:
            return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.bool_)
        return np.concatenate(points), np.concatenate(slots), np.concatenate(edges)

    # -- edits ---------------------------------------------------------------------------------

    def drop(self, boxes: list[Box]) -> None:
        """Forget the cells that meet the boxes: a fence there has come, gone or changed."""
        for west, south, east, north in boxes:
            columns = _span(west - WIDER_DEG, east + WIDER_DEG, 180.0, ROOT_COLUMNS)
            rows = _span(south - WIDER_DEG, north + WIDER_DEG, 90.0, ROOT_ROWS)
            for row in range(rows[0] >> FINEST_BITS, (rows[1] >> FINEST_BITS) + 1):
                for column in range(columns[0] >> FINEST_BITS, (columns[1] >> FINEST_BITS) + 1):
                    number = row * ROOT_COLUMNS + column
                    value = int(self._root[number])
                    self._root[number] = self._dropped(value, 1, column, row, columns, rows)
            first, last = columns[0] >> MEMO_BITS, columns[1] >> MEMO_BITS
            low, high = rows[0] >> MEMO_BITS, rows[1] >> MEMO_BITS
            if (last - first + 1) * (high - low + 1) > len(self._memo):
                self._memo, self._memos = {}, 0
                continue
            for row in range(low, high + 1):
                for column in range(first, last + 1):
                    self._memos -= len(self._memo.pop(row << 32 | column, ()))
        # Lists of fences that are no more stay behind; start anew before they are many.
        if len(self.lists) > 2 * self._room():
            self.clear()

    def _room(self) -> int:
        return max(LEAST_NODES, NODES_A_FENCE * self._ground.fences())

    def _dropped(
        self, value: int, level: int, column: int, row: int,
        columns: tuple[int, int], rows: tuple[int, int],
    ) -> int:  # fmt: skip
        """Return what a cell becomes: unfilled, or still split with some children unfilled."""
        if value >= UNFILLED:
            return UNFILLED
        shift = FINEST_BITS - (level - 1) * SPLIT_BITS
        west, south = column << shift, row << shift
        last = (1 << shift) - 1
        whole = (
            columns[0] <= west and west + last <= columns[1]
            and rows[0] <= south and south + last <= rows[1]
        )  # fmt: skip
        # Half way down and below, forgetting the whole cell is quicker than picking in it.
        if whole or level > LEVELS // 2:
            self._release(-2 - value)
            return UNFILLED
        node = -2 - value
        self._owners[node] = UNFILLED
        under = shift - SPLIT_BITS
        for child in range(CHILDREN):
            child_column = (column << SPLIT_BITS) + (child & SPLIT - 1)
            child_row = (row << SPLIT_BITS) + (child >> SPLIT_BITS)
            if (
                (child_column + 1 << under) > columns[0] and (child_column << under) <= columns[1]
                and (child_row + 1 << under) > rows[0] and (child_row << under) <= rows[1]
            ):  # fmt: skip
                old = int(self._nodes[node, child])
                self._nodes[node, child] = self._dropped(
                    old, level + 1, child_column, child_row, columns, rows
                )
        return value

    def _release(self, node: int) -> None:
        waiting = [node]
        while waiting:
            one = waiting.pop()
            children = self._nodes[one]
            waiting += (-2 - children[children < UNFILLED]).tolist()
            children[:] = UNFILLED
            self._free.append(one)

    # -- walking and filling ---------------------------------------------------------------------

    def _numbers_of(self, lons: Floats, lats: Floats) -> npt.NDArray[np.int32]:
        """Return the number of the list of each point's cell, filling cells as needed."""
        columns = ((lons + 180.0) * FINEST_PER_DEGREE).astype(np.int32)
        rows = ((lats + 90.0) * FINEST_PER_DEGREE).astype(np.int32)
        roots = (rows >> FINEST_BITS) * ROOT_COLUMNS + (columns >> FINEST_BITS)
        while True:
            values = self._root[roots]
            flat = self._nodes.ravel()
            split, level = np.flatnonzero(values < UNFILLED), 0
            stops: list[tuple[int, npt.NDArray[np.int64], npt.NDArray[np.int32]]] = []
            open_ = np.flatnonzero(values == UNFILLED)
            if len(open_):
                stops.append((0, open_, np.full(len(open_), UNFILLED, np.int32)))
            while len(split):
                level += 1
                shift = FINEST_BITS - level * SPLIT_BITS
                every = len(split) == len(values)
                nodes = -2 - (values if every else values[split])
                child = (rows if every else rows[split]) >> shift & SPLIT - 1
                child = child * SPLIT + (
                    (columns if every else columns[split]) >> shift & SPLIT - 1
                )
                under = flat[nodes * CHILDREN + child]
                if every:
                    values = under
                else:
                    values[split] = under
                open_ = np.flatnonzero(under == UNFILLED)
                if len(open_):
                    stops.append((level, split[open_], nodes[open_]))
                split = split[under < UNFILLED]
            if not stops:
                return values
            for level, places, nodes in stops:
                self._fill(level, columns[places], rows[places], nodes)

    def _walk(self, column: int, row: int) -> tuple[int, int]:
        """Return the number of the list of one cell and its coarseness, filling as needed."""
        while True:
            shift = FINEST_BITS
            value = int(self._root[(row >> shift) * ROOT_COLUMNS + (column >> shift)])
            node, level = UNFILLED, 0
            while value < UNFILLED:
                shift -= SPLIT_BITS
                level += 1
                node = -2 - value
                child = (row >> shift & SPLIT - 1) * SPLIT + (column >> shift & SPLIT - 1)
                value = int(self._nodes[node, child])
            if value != UNFILLED:
                return value, shift
            self._fill(
                level,
                np.array([column], np.int32), np.array([row], np.int32), np.array([node], np.int32),
            )  # fmt: skip

    def _fill(
        self,
        level: int,
        columns: npt.NDArray[np.int32],
        rows: npt.NDArray[np.int32],
        nodes: npt.NDArray[np.int32],
    ) -> None:
        """Fill the cells of a level in which points fell; ``nodes`` are their parents."""
        shift = FINEST_BITS - level * SPLIT_BITS
        keys = (rows >> shift).astype(np.int64) << 32 | columns >> shift
        keys, first = np.unique(keys, return_index=True)
        cell_rows, cell_columns = keys >> 32, keys & 0xFFFFFFFF
        size = 1.0 / (ROOT_PER_DEGREE << level * SPLIT_BITS)
        wests = cell_columns * size - (180.0 + WIDER_DEG)
        souths = cell_rows * size - (90.0 + WIDER_DEG)
        easts, norths = wests + (size + 2 * WIDER_DEG), souths + (size + 2 * WIDER_DEG)
        parents = nodes[first].tolist()
        surely: list[tuple[int, ...]] = []
        asked: list[int] = []
        counts: list[int] = []
        crowded: set[int] = set()
        for number, node in enumerate(parents):
            owner = int(self._owners[node]) if node >= 0 else UNFILLED
            if owner == UNFILLED:
                box = (wests[number], souths[number], easts[number], norths[number])
                surely.append(())
                near = self._ground.meeting(box)
                if len(near) > CROWDED and level < LEVELS and self._spare() > len(crowded):
                    crowded.add(number)
                    near = []
            else:
                slots, edges = self.lists[owner]
                surely.append(tuple(s for s, e in zip(slots, edges, strict=True) if not e))
                near = [s for s, e in zip(slots, edges, strict=True) if e]
            asked += near
            counts.append(len(near))
        cells = np.repeat(np.arange(len(counts)), counts)
        boxes = np.stack((wests[cells], souths[cells], easts[cells], norths[cells]))
        said = self._ground.classify(np.array(asked, np.int64), boxes).tolist()
        start = 0
        for number, (count, held) in enumerate(zip(counts, surely, strict=True)):
            verdicts = zip(asked[start : start + count], said[start : start + count], strict=True)
            start += count
            found = dict.fromkeys(held, False)
            found.update((slot, verdict == EDGE) for slot, verdict in verdicts if verdict != OUT)
            ordered = self._ground.order(list(found)) if len(found) > 1 else list(found)
            value = self._list(tuple(ordered), tuple(found[slot] for slot in ordered))
            value = self._node(UNFILLED) if number in crowded else self._split(value, level)
            node = parents[number]
            row, column = int(cell_rows[number]), int(cell_columns[number])
            if node < 0:
                self._root[row * ROOT_COLUMNS + column] = value
            else:
                self._nodes[node, (row & SPLIT - 1) * SPLIT + (column & SPLIT - 1)] = value

    def _split(self, number: int, level: int) -> int:
        """Return a cell's value: its list, or a node of smaller cells where that saves tests."""
        slots, edges = self.lists[number]
        tested = tuple(slot for slot, edge in zip(slots, edges, strict=True) if edge)
        if not tested or level >= LEVELS or self._ground.effort(tested) <= CHEAP[level]:
            return number
        return self._node(number) if self._spare() else number

    def _spare(self) -> int:
        """Return how many more cells may be split."""
        return len(self._free) + max(0, self._room() - max(self._used, len(self.lists)))

    def _node(self, owner: int) -> int:
        """Return the value of a cell that is split; ``owner`` is its list, if it has one."""
        if self._free:
            node = self._free.pop()
        else:
            node = self._used
            self._used += 1
            if node == len(self._nodes):
                more = np.full_like(self._nodes, UNFILLED)
                self._nodes = np.concatenate((self._nodes, more))
                self._owners = np.concatenate((self._owners, np.zeros_like(self._owners)))
        self._owners[node] = owner
        return -2 - node

    def _list(self, slots: tuple[int, ...], edges: tuple[bool, ...]) -> int:
        """Return the number of a list, the same for equal lists."""
        listed = Listed(slots, edges)
        number = self._numbers.get(listed)
        if number is not None:
            return number
        number = self._numbers[listed] = len(self.lists)
        self.lists.append(listed)
        if number == len(self._starts):
            self._starts = np.concatenate((self._starts, np.zeros_like(self._starts)))
            self._counts = np.concatenate((self._counts, np.zeros_like(self._counts)))
        end = self._filled + len(slots)
        while end > len(self._slots):
            self._slots = np.concatenate((self._slots, np.zeros_like(self._slots)))
            self._edges = np.concatenate((self._edges, np.zeros_like(self._edges)))
        self._starts[number], self._counts[number] = self._filled, len(slots)
        self._slots[self._filled : end] = slots
        self._edges[self._filled : end] = edges
        self._filled = end
        return number


def _span(low: float, high: float, offset: float, roots: int) -> tuple[int, int]:
    """Return the finest columns (or rows) from ``low`` to ``high`` degrees, within the world."""
    last = (roots << FINEST_BITS) - 1
    first = int((low + offset) * FINEST_PER_DEGREE)
    return max(first, 0), min(int((high + offset) * FINEST_PER_DEGREE), last)
