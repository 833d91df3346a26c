"""Which fences can hold the points of a small square of the earth, and which surely do?

A cache over the index's R-tree: squares of longitude and latitude, filled when a point first falls
into one and dropped when a fence over them changes. A square that lies wholly in a fence answers
without any geometry; where a fence's edge runs through, that fence is named for one exact test.
Roots of half a degree are split into tiles, and tiles into cells as fine as the edges in them are
many, so memory follows the edges and the places asked about, not the land between them.

This file knows squares and numbers of fences (slots); what tiles say is judged in ``filling``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from geofences import filling
from geofences.catalogue import Catalogue, Column
from geofences.columns import ragged
from geofences.filling import WIDER_DEG, Squares
from geofences.listing import PART_OUT
from geofences.shape import EDGE, INSIDE
from geofences.tree import meeting

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt
    from rtree.index import Index

    from geofences.columns import Columns
    from geofences.shape import Shape

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]
    Numbers = npt.NDArray[np.int32]
    Bools = npt.NDArray[np.bool_]
    Box = tuple[float, float, float, float]

# The coarsest squares, roots, are half a degree: 259,200 of them, a megabyte, for the whole earth.
ROOT_PER_DEGREE = 2
# One more each way: a hair below 180 or 90, adding the offset rounds up into it.
ROOT_ROWS, ROOT_COLUMNS = 180 * ROOT_PER_DEGREE + 1, 360 * ROOT_PER_DEGREE + 1
# A root is split into 16 x 16 tiles of 3.5 km of latitude: what is filled in one go.
TILE_BITS = 4
TILES = 1 << 2 * TILE_BITS
TILE_SIZE = 1.0 / (ROOT_PER_DEGREE << TILE_BITS)
# A tile is split into at most 64 x 64 cells of 54 m.
MOST_BITS = 6
FINEST_BITS = TILE_BITS + MOST_BITS
FINEST_PER_DEGREE = ROOT_PER_DEGREE << FINEST_BITS
# Points a block: its temporaries stay in the processor's second cache.
BLOCK = 1 << 15
# Tiles filled in one go.
MANY_TILES = 4096
# Bits of a split tile's number that say how fine it is; the others say where its cells begin. One
# number of 31 bits has room for 268 million cells, a gigabyte: none are added once one more filling
# in one go could go beyond.
FINENESS_BITS = 3
FINENESS = (1 << FINENESS_BITS) - 1
MOST_CELLS = (1 << 31 - FINENESS_BITS) - (MANY_TILES << 2 * MOST_BITS)
# A root of which so many tiles are wanted is asked of the R-tree as one.
WHOLE_ROOT = 24
# A root that meets more fences than this is split without judging whether they cover it.
FEW = 16
# Bytes that may be remembered at least, and for each fence where that is more. Beyond it, ground
# that is not filled yet is answered from the R-tree, and the next batch starts afresh.
LEAST_BYTES = 64 << 20
BYTES_A_FENCE = 128
# An entry of a cell costs some 16 bytes: its own and its share of the list and the cell.
BYTES_AN_ENTRY = 16.0
# Questions one at a time that ground not filled yet answers from the R-tree, half a degree about,
# before their tiles are filled together: that costs about as much as they did.
PATIENCE = 64
# Roots that wait for that at most: 16 MB.
MOST_WAITING = 2000
# Split tiles kept ready for points one at a time, at most: some 250 bytes each.
MOST_READY = 50_000
# Room for the column of a tile below its row, in the number by which it is kept ready.
READY_BITS = (ROOT_COLUMNS << TILE_BITS).bit_length()

UNFILLED = -1


class Ground(NamedTuple):
    """What the cells are judged from: the R-tree, the columns, a fence's Shape, how many fences."""

    tree: Index
    columns: Columns
    shape: Callable[[int], Shape]
    fences: Callable[[], int]


class Cells:
    """The cache. Points on ±180° or at a pole, which have several names, are not asked of it."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self.clear()

    def clear(self) -> None:
        """Forget everything; what is asked next is filled anew."""
        self._root = np.full(ROOT_ROWS * ROOT_COLUMNS, UNFILLED, np.int32)
        self._tiles = np.full((16, TILES), UNFILLED, np.int32)
        self._homes = np.zeros(16, np.int32)  # the root of each row of tiles
        self._used = 0
        self._free: list[int] = []
        self._cells = Column(np.int32)
        # How to number the cell of a point in a split tile, as ``_keep_ready`` has it.
        self._ready: dict[int, tuple[int, int, int]] = {}
        self.lists = Catalogue()
        self._refresh()
        # Finest cells asked about one at a time, by root: PATIENCE of them at most for each.
        self._waiting: dict[int, list[tuple[int, int]]] = {}

    # -- questions -----------------------------------------------------------------------------

    def numbers(self, lons: Floats, lats: Floats) -> Numbers:
        """Return, for each point, the number of the list that its cell shows; -1: ask the R-tree.

        Fills what is not filled, as far as memory goes.
        """
        if self._full():
            self.clear()
        found = np.empty(len(lons), np.int32)
        filled = False
        for start in range(0, len(lons), BLOCK):
            block = slice(start, start + BLOCK)
            columns, rows = _finest(lons[block], lats[block])
            said = self._look(columns, rows)
            if not filled and len(said) and int(said.min()) == UNFILLED:
                # All that is left of the batch at once.
                self._fill(*_finest(lons[start:], lats[start:]))
                filled = True
                said = self._look(columns, rows)
            found[block] = said
        return found

    def number(self, lon: float, lat: float) -> int:
        """Return the same of one point; it fills only where points are often asked about."""
        column = int((lon + 180.0) * FINEST_PER_DEGREE)
        row = int((lat + 90.0) * FINEST_PER_DEGREE)
        ready = self._ready.get((row >> MOST_BITS) << READY_BITS | column >> MOST_BITS)
        if ready is not None:
            drop, halved, first = ready
            return self._cell_view[((row >> drop) << halved) + (column >> drop) + first]
        value = self._root_view[(row >> FINEST_BITS) * ROOT_COLUMNS + (column >> FINEST_BITS)]
        if value < UNFILLED:
            tile = (row >> MOST_BITS & 15) << 4 | column >> MOST_BITS & 15
            value = self._tile_view[(-2 - value) * TILES + tile]
            if value < UNFILLED:
                self._keep_ready(column, row, -2 - value)
                return self.number(lon, lat)
        if value >= 0:
            return value
        root = row >> FINEST_BITS << 16 | column >> FINEST_BITS
        waiting = self._waiting.setdefault(root, [])
        waiting.append((column, row))
        if len(waiting) < PATIENCE:
            if len(self._waiting) > MOST_WAITING:
                self._waiting.clear()
            return UNFILLED
        del self._waiting[root]
        asked = np.array(waiting, np.int32)
        if self._full():
            self.clear()
        self._fill(asked[:, 0], asked[:, 1])
        return int(self._look(asked[-1:, 0], asked[-1:, 1])[0])

    def _keep_ready(self, column: int, row: int, split: int) -> None:
        """Keep ready how the cells of a split tile are numbered.

        By column and row of a finest cell as they are, shifted by the first number; where the cells
        begin and where the tile lies is in the last.
        """
        if len(self._ready) >= MOST_READY:
            self._ready.clear()
        column, row = column >> MOST_BITS, row >> MOST_BITS
        halved = split & FINENESS
        first = (split >> FINENESS_BITS) - ((row << halved) << halved) - (column << halved)
        self._ready[row << READY_BITS | column] = MOST_BITS - halved, halved, first

    def share(self, lon0: float, lat0: float, lon1: float, lat1: float) -> bool:
        """Tell whether one square answers for two points."""
        column = int((lon0 + 180.0) * FINEST_PER_DEGREE)
        row = int((lat0 + 90.0) * FINEST_PER_DEGREE)
        root = (row >> FINEST_BITS) * ROOT_COLUMNS + (column >> FINEST_BITS)
        value, drop = int(self._root[root]), FINEST_BITS
        if value < UNFILLED:
            tile = (row >> MOST_BITS & 15) << 4 | column >> MOST_BITS & 15
            value, drop = int(self._tiles[-2 - value, tile]), MOST_BITS
            if value < UNFILLED:
                drop = MOST_BITS - (-2 - value & FINENESS)
        return (
            column >> drop == int((lon1 + 180.0) * FINEST_PER_DEGREE) >> drop
            and row >> drop == int((lat1 + 90.0) * FINEST_PER_DEGREE) >> drop
        )

    def share_many(self, x0: Floats, y0: Floats, x1: Floats, y1: Floats) -> Bools:
        """Tell the same of many pairs of points."""
        columns, rows = _finest(x0, y0)
        drop = np.full(len(columns), FINEST_BITS, np.int32)
        value = self._root[(rows >> FINEST_BITS) * ROOT_COLUMNS + (columns >> FINEST_BITS)]
        deep = np.flatnonzero(value < UNFILLED)
        tile = (rows[deep] >> MOST_BITS & 15) << 4 | columns[deep] >> MOST_BITS & 15
        drop[deep] = MOST_BITS
        under = self._tiles[-2 - value[deep], tile]
        split = under < UNFILLED
        drop[deep[split]] -= -2 - under[split] & FINENESS
        others, theirs = _finest(x1, y1)
        return np.asarray(
            (columns >> drop == others >> drop) & (rows >> drop == theirs >> drop), np.bool_
        )

    def _look(self, columns: Numbers, rows: Numbers) -> Numbers:
        """Return the numbers of the lists of finest cells; UNFILLED where nothing is known."""
        said: Numbers = self._root[(rows >> FINEST_BITS) * ROOT_COLUMNS + (columns >> FINEST_BITS)]
        deep = np.flatnonzero(said < UNFILLED)
        if not len(deep):
            return said
        every = len(deep) == len(said)
        if not every:
            columns, rows = columns[deep], rows[deep]
        tile = (rows >> MOST_BITS & 15) << 4 | columns >> MOST_BITS & 15
        value = self._tiles.ravel()[(-2 - (said if every else said[deep])) * TILES + tile]
        split = np.flatnonzero(value < UNFILLED)
        if len(split):
            which = -2 - value[split]
            bits = which & FINENESS
            drop = MOST_BITS - bits
            cell = ((rows[split] & 63) >> drop) << bits | (columns[split] & 63) >> drop
            value[split] = self._cells.all[(which >> FINENESS_BITS) + cell]
        if every:
            return value
        said[deep] = value
        return said

    def _refresh(self) -> None:
        """Look at the arrays anew, which have grown: a memory view tells one number fastest."""
        self._root_view: memoryview[int] = self._root.data
        self._tile_view: memoryview[int] = self._tiles.ravel().data
        self._cell_view: memoryview[int] = self._cells.all.data

    # -- filling -------------------------------------------------------------------------------

    def _allowance(self) -> int:
        return max(LEAST_BYTES, BYTES_A_FENCE * self._ground.fences())

    def _bytes(self) -> int:
        return self._cells.nbytes + self.lists.nbytes + self._used * TILES * 4

    def _full(self) -> bool:
        return self._bytes() > self._allowance() or self._cells.end > MOST_CELLS

    def _fill(self, columns: Numbers, rows: Numbers) -> None:
        """Fill the tiles in which points fall."""
        roots = (rows >> FINEST_BITS) * ROOT_COLUMNS + (columns >> FINEST_BITS)
        asked = np.zeros(len(self._root), np.bool_)
        asked[roots] = True
        self._plant(np.flatnonzero(asked & (self._root == UNFILLED)))
        values = self._root[roots]
        deep = values < UNFILLED
        tile = (rows >> MOST_BITS & 15) << 4 | columns >> MOST_BITS & 15
        wanted = np.zeros(self._used * TILES, np.bool_)
        wanted[(-2 - values[deep]) * TILES + tile[deep]] = True
        wanted &= self._tiles.ravel()[: len(wanted)] == UNFILLED
        tiles = np.flatnonzero(wanted)
        for start in range(0, len(tiles), MANY_TILES):
            if self._full():
                break
            self._judge(tiles[start : start + MANY_TILES])
        self._refresh()

    def _plant(self, roots: Ints) -> None:
        """Fill roots: with one list where no edge may run, else with tiles that are unfilled."""
        if not len(roots):
            return
        squares = Squares(
            roots % ROOT_COLUMNS / ROOT_PER_DEGREE - 180.0,
            roots // ROOT_COLUMNS / ROOT_PER_DEGREE - 90.0,
            1.0 / ROOT_PER_DEGREE,
        )
        which, slots = self._meeting(squares)
        counts = np.bincount(which, minlength=len(roots))
        few = counts[which] <= FEW
        which, slots = which[few], slots[few]
        view = self._ground.columns.view()
        said = filling.judge(view, self._ground.shape, squares, which, slots)
        edges = np.bincount(which, weights=said == EDGE, minlength=len(roots))
        split = (counts > FEW) | (edges > 0)
        plain = np.flatnonzero(~split)
        self._root[roots[plain]] = 0
        held = np.flatnonzero((said == INSIDE) & ~split[which])
        if len(held):
            order = held[np.argsort(which[held], kind="stable")]
            owners, count = np.unique(which[order], return_counts=True)
            self._root[roots[owners]] = self.lists.add_sure(count, slots[order]) + np.arange(
                len(owners)
            )
        for root in roots[split].tolist():
            self._root[root] = -2 - self._node(root)

    def _node(self, root: int) -> int:
        """Return the row of the tiles of a root, all unfilled."""
        if self._free:
            node = self._free.pop()
        else:
            node = self._used
            self._used += 1
            if node == len(self._tiles):
                more = np.full_like(self._tiles, UNFILLED)
                self._tiles = np.concatenate((self._tiles, more))
                self._homes = np.concatenate((self._homes, np.zeros_like(self._homes)))
        self._homes[node] = root
        return node

    def _meeting(self, squares: Squares) -> tuple[Ints, Ints]:
        """Return pairs of square and slot whose boxes meet."""
        return meeting(self._ground.tree, squares.boxes().T)

    def _judge(self, tiles: Ints) -> None:
        """Fill tiles (row of tiles * TILES + tile), which are sorted."""
        nodes, nth = np.divmod(tiles, TILES)
        homes = self._homes[nodes].astype(np.int64)
        columns = (homes % ROOT_COLUMNS << TILE_BITS) + (nth & 15)
        rows = (homes // ROOT_COLUMNS << TILE_BITS) + (nth >> 4)
        squares = Squares(columns * TILE_SIZE - 180.0, rows * TILE_SIZE - 90.0, TILE_SIZE)
        which, slots = self._candidates(nodes, nth, squares)
        allowed = self._allowance() / max(self._ground.fences(), 1) / BYTES_AN_ENTRY
        filled = filling.fill(
            self._ground.columns.view(), self._ground.shape, squares, which, slots,
            most_bits=MOST_BITS, cells_a_pair=max(allowed, 4.0),
        )  # fmt: skip
        self._take(tiles, squares, filled)

    def _candidates(self, nodes: Ints, nth: Ints, squares: Squares) -> tuple[Ints, Ints]:
        """Return pairs of tile and slot whose boxes meet."""
        seen, count = np.unique(nodes, return_counts=True)
        whole = count >= WHOLE_ROOT
        alone = np.repeat(~whole, count)
        which, slots = self._meeting(Squares(squares.west[alone], squares.south[alone], TILE_SIZE))
        which = np.flatnonzero(alone)[which]
        seen = seen[whole]
        if not len(seen):
            return which, slots
        homes = self._homes[seen].astype(np.int64)
        roots = Squares(
            homes % ROOT_COLUMNS / ROOT_PER_DEGREE - 180.0,
            homes // ROOT_COLUMNS / ROOT_PER_DEGREE - 90.0,
            1.0 / ROOT_PER_DEGREE,
        )
        root, found = self._meeting(roots)
        boxes = filling.boxes_of(self._ground.columns.view(), found)
        low = np.stack((boxes[0] - roots.west[root], boxes[1] - roots.south[root])) - WIDER_DEG
        high = np.stack((boxes[2] - roots.west[root], boxes[3] - roots.south[root])) + WIDER_DEG
        low = np.nan_to_num(np.floor(low / TILE_SIZE), nan=0.0)
        high = np.nan_to_num(np.floor(high / TILE_SIZE), nan=np.inf)
        column, row = np.clip(low, 0, 15).astype(np.int64)
        wide, tall = np.clip(high, 0, 15).astype(np.int64) - (column, row) + 1
        owner = np.repeat(np.arange(len(found)), wide * tall)
        down, along = np.divmod(ragged(0 * wide, wide * tall), wide[owner])
        tile = root[owner] * TILES + (row[owner] + down) * 16 + column[owner] + along
        places = np.full(len(seen) * TILES, -1)
        ours = np.flatnonzero(~alone)
        places[np.searchsorted(seen, nodes[ours]) * TILES + nth[ours]] = ours
        place = places[tile]
        kept = place >= 0
        return (
            np.concatenate((which, place[kept])),
            np.concatenate((slots, found[owner[kept]])),
        )

    def _take(self, tiles: Ints, squares: Squares, filled: filling.Filled) -> None:
        """Take in what tiles say."""
        lists = len(self.lists) - 1  # the number before the first of theirs
        split = filled.tiles < 0
        bits = filled.bits[split]
        sizes = 1 << 2 * bits
        values = np.where(filled.tiles > 0, filled.tiles + lists, 0)
        first = self._cells.end + np.cumsum(sizes) - sizes
        values[split] = -2 - (first << FINENESS_BITS | bits)
        self._tiles.ravel()[tiles] = values
        self._cells.add(np.where(filled.cells > 0, filled.cells + lists, 0))
        # A part belongs to one cell, whose corner is kept with it: its list is shown there alone.
        found = filled.lists
        owner = np.repeat(np.arange(len(found.counts)), found.counts)
        cut = np.flatnonzero(found.how >= PART_OUT)
        shown = np.zeros(len(found.counts) + 1, np.int64)
        shown[filled.cells] = np.arange(len(filled.cells))
        cell = shown[owner[cut] + 1]
        base = np.cumsum(sizes) - sizes
        tile = np.searchsorted(base, cell, side="right") - 1
        down, along = cell - base[tile] >> bits[tile], cell - base[tile] & (1 << bits[tile]) - 1
        size = TILE_SIZE / (1 << bits[tile])
        west, south = np.empty(len(cut)), np.empty(len(cut))
        west[found.parts[cut]] = squares.west[split][tile] + along * size
        south[found.parts[cut]] = squares.south[split][tile] + down * size
        self.lists.add(found, west, south)

    # -- edits ---------------------------------------------------------------------------------

    def drop(self, boxes: list[Box]) -> None:
        """Forget the tiles that meet the boxes: a fence there has come, gone or changed."""
        self._ready.clear()
        for west, south, east, north in boxes:
            left = max(int((west - WIDER_DEG + 180.0) / TILE_SIZE), 0)
            right = min(int((east + WIDER_DEG + 180.0) / TILE_SIZE), (ROOT_COLUMNS << 4) - 1)
            low = max(int((south - WIDER_DEG + 90.0) / TILE_SIZE), 0)
            high = min(int((north + WIDER_DEG + 90.0) / TILE_SIZE), (ROOT_ROWS << 4) - 1)
            roots = self._root.reshape(ROOT_ROWS, ROOT_COLUMNS)
            met = roots[low >> 4 : (high >> 4) + 1, left >> 4 : (right >> 4) + 1]
            met[met >= 0] = UNFILLED
            for row, column in np.argwhere(met < UNFILLED).tolist():
                node = -2 - int(met[row, column])
                x, y = (column + (left >> 4)) << 4, (row + (low >> 4)) << 4
                some = (
                    slice(max(low - y, 0), min(high - y, 15) + 1),
                    slice(max(left - x, 0), min(right - x, 15) + 1),
                )
                self._tiles[node].reshape(16, 16)[some] = UNFILLED
                if left <= x and right >= x + 15 and low <= y and high >= y + 15:
                    met[row, column] = UNFILLED
                    self._free.append(node)


def _finest(lons: Floats, lats: Floats) -> tuple[Numbers, Numbers]:
    """Return the columns and rows of the finest cells that hold points."""
    columns = ((lons + 180.0) * FINEST_PER_DEGREE).astype(np.int32)
    rows = ((lats + 90.0) * FINEST_PER_DEGREE).astype(np.int32)
    return columns, rows
