"""What does each cell of the earth say of the fences that meet it?

Tiles are judged many at once: which fences hold one wholly, whose edges run through, and, where
edges do, what the finer cells in it say. All of it with arrays of pairs of tile and fence.
This file knows the columns of fences and squares of degrees; it keeps nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from geofences import geodesy, raster
from geofences.columns import WIDEST, ragged
from geofences.listing import CIRCLE, PART_IN, PART_OUT, SHAPE, SURE, WHOLE, Entries, Lists
from geofences.packed import (
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
)  # fmt: skip
from geofences.shape import EDGE, INSIDE, OUT, Shape, reach_m

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from geofences.columns import View

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]
    Bools = npt.NDArray[np.bool_]
    Verdicts = npt.NDArray[np.int8]

# Squares are judged a tenth of a millimetre wider, so that rounding a point into the square beside
# its own changes no answer.
WIDER_DEG = 1e-9
# A circle's edge counts as so many edges of an outline, for deciding how fine cells become.
CIRCLE_EDGES = 16.0
# Cells an edge is worth: enough that few points fall in cells with an edge, few enough that cells
# are made about as fast as a batch of points falls into them.
CELLS_AN_EDGE = 16.0
# A fence narrower than so many cells is not judged in them: it would hold hardly any.
LEAST_CELLS = 5
# Pairs of cell and fence that are judged in one go: their arrays take some 200 MB.
MOST_PAIRS = 1 << 21


class Filled(NamedTuple):
    """What tiles say.

    ``tiles``: of each tile its list, or -1 where it is split; ``bits``: of each tile how often its
    sides are halved; ``cells``: the lists of the cells of all split tiles, row by row, end to end,
    in the order of the tiles; ``lists``: the lists.
    """

    tiles: Ints
    bits: Ints
    cells: Ints
    lists: Lists


class Squares(NamedTuple):
    """Squares of degrees: the south-west corner of each, and one size for all."""

    west: Floats
    south: Floats
    size: float

    def boxes(self) -> Floats:
        """Return rows west, south, east, north, a hair wider than the squares."""
        wide = self.size + WIDER_DEG
        return np.stack(
            (self.west - WIDER_DEG, self.south - WIDER_DEG, self.west + wide, self.south + wide)
        )


Shapes = Callable[[int], Shape]


def boxes_of(view: View, slots: Ints) -> Floats:
    """Return a box in degrees (rows west, south, east, north) that holds each fence.

    NaN where the fence reaches across ±180° or to a pole: those are looked for everywhere.
    """
    rows = view.rows[slots]
    boxes = rows[:, :4].T.copy()
    round_ones = np.flatnonzero(rows[:, RADIUS] >= 0.0)
    if len(round_ones):
        lon, lat, metres = rows[round_ones][:, (LON, LAT, RADIUS)].T
        boxes[:, round_ones] = geodesy.many_rough_boxes(lon, lat, metres)
    return boxes


def judge(view: View, shape: Shapes, squares: Squares, which: Ints, slots: Ints) -> Verdicts:
    """Tell of pairs of square (``which``) and fence whether it is OUT, INSIDE, or EDGE.

    EDGE where neither is sure.
    """
    said = np.full(len(slots), EDGE, np.int8)
    rows = view.rows[slots]
    boxes = squares.boxes()
    kind = rows[:, RADIUS]
    asked = np.flatnonzero(kind >= 0.0)
    if len(asked):
        said[asked] = _by_chord(rows[asked], boxes[:, which[asked]])
    asked = np.flatnonzero(kind == OUTLINE)
    if len(asked):
        west, south, east, north = boxes[:, which[asked]]
        theirs = rows[asked]
        # Who is not as wide as the square cannot hold it, and need not be looked at closer.
        holds = (theirs[:, WEST] <= west) & (theirs[:, SOUTH] <= south)
        holds &= (theirs[:, EAST] >= east) & (theirs[:, NORTH] >= north)
        asked = asked[holds]
        if len(asked):
            one = np.ones(len(asked), np.int64)
            grids = raster.Grids(
                rows[asked, FIRST].astype(np.int64), rows[asked, COUNT].astype(np.int64),
                squares.west[which[asked]], squares.south[which[asked]],
                np.full(len(asked), squares.size), one * 0, one * 0, one, one,
            )  # fmt: skip
            drawn = raster.draw(view.xs, view.ys, grids)
            said[asked] = np.where(drawn.touched, EDGE, np.where(drawn.inside, INSIDE, OUT))
    odd = np.flatnonzero(kind < OUTLINE)
    for slot, some in by_slot(slots, odd):
        said[some] = shape(slot).classify(boxes[:, which[some]])
    return said


def _by_chord(rows: Floats, boxes: Floats) -> Verdicts:
    middle = (boxes[0] + boxes[2]) / 2, (boxes[1] + boxes[3]) / 2
    apart = geodesy.many_earth_centred(*middle) - rows[:, :3].T
    chord = np.sqrt(np.einsum("ij,ij->j", apart, apart))
    reach = reach_m(boxes)
    out = chord - reach > np.sqrt(rows[:, FAR_2])
    inside = chord + reach <= np.sqrt(rows[:, SURE_2])
    return np.where(out, OUT, np.where(inside, INSIDE, EDGE)).astype(np.int8)


def fill(
    view: View,
    shape: Shapes,
    squares: Squares,
    which: Ints,
    slots: Ints,
    *,
    most_bits: int,
    cells_a_pair: float,
) -> Filled:
    """Judge tiles: ``which`` and ``slots`` are pairs of a tile and a fence whose box meets it.

    Tiles are split at most ``most_bits`` times, into about ``cells_a_pair`` cells for each fence
    whose edge may run through.
    """
    said = judge(view, shape, squares, which, slots)
    kept = said != OUT
    which, slots, said = which[kept], slots[kept], said[kept]
    count = len(squares.west)
    edge = said == EDGE
    pairs = np.bincount(which[edge], minlength=count)
    rows, boxes = view.rows[slots[edge]], boxes_of(view, slots[edge])
    bits = _bits(squares, which[edge], rows, boxes, pairs, most_bits, cells_a_pair)
    sizes = np.where(pairs > 0, 1 << 2 * bits, 1)
    base = np.cumsum(sizes) - sizes
    grid = _Grid(squares, bits, base)
    entries = Entries()
    inside = which[~edge]
    entries.add(ragged(base[inside], sizes[inside]), np.repeat(slots[~edge], sizes[inside]), SURE)
    waiting = np.flatnonzero(edge)
    whole = np.cumsum(sizes[which[waiting]])
    begin = 0
    while begin < len(waiting):
        start = int(whole[begin - 1]) if begin else 0
        end = begin + max(int(np.searchsorted(whole[begin:] - start, MOST_PAIRS)), 1)
        some = slice(begin, end)
        _split(
            view, shape, grid, which[waiting[some]], slots[waiting[some]], rows[some],
            boxes[:, some], entries,
        )  # fmt: skip
        begin = end
    lists = entries.listed(int(sizes.sum()))
    split = pairs > 0
    tiles = np.where(split, -1, lists.of_cells[base])
    return Filled(tiles, bits, lists.of_cells[np.repeat(split, sizes)], lists)


def _bits(
    squares: Squares, which: Ints, rows: Floats, boxes: Floats, pairs: Ints, most: int, each: float
) -> Ints:
    """Say how often each tile's sides are halved."""
    west, south, east, north = boxes
    wide, high = east - west, north - south
    within = np.minimum(east, squares.west[which] + squares.size) - np.maximum(
        west, squares.west[which]
    )
    upright = np.minimum(north, squares.south[which] + squares.size) - np.maximum(
        south, squares.south[which]
    )
    share = np.clip(np.fmax(within / wide, upright / high), 0.0, 1.0)
    outline = rows[:, RADIUS] == OUTLINE
    edges = np.where(outline, np.maximum(rows[:, COUNT] * share, 4.0), CIRCLE_EDGES)
    weight = np.bincount(which, weights=edges, minlength=len(pairs))
    cells = np.clip(np.minimum(CELLS_AN_EDGE * weight, each * pairs), 1.0, 4.0**most)
    return np.asarray(np.log2(cells) / 2.0, np.int64)


class _Grid(NamedTuple):
    """The tiles being filled: how often each is split, and the number of its first cell."""

    tiles: Squares
    bits: Ints
    base: Ints


def _split(
    view: View, shape: Shapes, grid: _Grid, which: Ints, slots: Ints, rows: Floats,
    boxes: Floats, entries: Entries,
) -> None:  # fmt: skip
    """Judge the cells of split tiles against fences whose edges run through the tile."""
    halves = 1 << grid.bits[which]
    size = grid.tiles.size / halves
    west, south = grid.tiles.west[which], grid.tiles.south[which]
    low = np.stack((boxes[0] - west, boxes[1] - south)) - WIDER_DEG
    high = np.stack((boxes[2] - west, boxes[3] - south)) + WIDER_DEG
    # NaN: everywhere.
    low = np.nan_to_num(np.floor(low / size), nan=0.0)
    high = np.nan_to_num(np.floor(high / size), nan=np.inf)
    column, row = np.clip(low, 0, halves - 1).astype(np.int64)
    last_column, last_row = np.clip(high, 0, halves - 1).astype(np.int64)
    wide, high_ = last_column - column + 1, last_row - row + 1
    kind, count = rows[:, RADIUS], rows[:, COUNT]
    outline = kind == OUTLINE
    small = np.maximum(wide, high_) < LEAST_CELLS

    some = np.flatnonzero(small & (kind >= OUTLINE) & ~(outline & (count > WIDEST)))
    owner, cells, _, _ = _cells_of(grid, which, some, column, row, wide, high_)
    entries.add(cells, slots[owner], np.where(outline[owner], WHOLE, CIRCLE).astype(np.int8))

    others = np.ones(len(which), np.bool_)
    others[some] = False
    some = np.flatnonzero(others & (kind >= 0.0))
    if len(some):
        owner, cells, x, y = _cells_of(grid, which, some, column, row, wide, high_)
        said = _by_chord(rows[owner], _boxes(west[owner], south[owner], size[owner], x, y))
        kept = said != OUT
        how = np.where(said[kept] == EDGE, CIRCLE, SURE).astype(np.int8)
        entries.add(cells[kept], slots[owner[kept]], how)

    some = np.flatnonzero(others & (kind < OUTLINE))
    if len(some):
        owner, cells, x, y = _cells_of(grid, which, some, column, row, wide, high_)
        drawn = _boxes(west[owner], south[owner], size[owner], x, y)
        said = np.empty(len(owner), np.int8)
        for slot, places in by_slot(slots[owner], np.arange(len(owner))):
            said[places] = shape(slot).classify(drawn[:, places])
        kept = said != OUT
        how = np.where(said[kept] == EDGE, SHAPE, SURE).astype(np.int8)
        entries.add(cells[kept], slots[owner[kept]], how)

    some = np.flatnonzero(others & outline)
    if len(some):
        grids = raster.Grids(
            rows[some, FIRST].astype(np.int64), count[some].astype(np.int64),
            west[some], south[some], size[some], column[some], row[some], wide[some], high_[some],
        )  # fmt: skip
        owner, cells, _, _ = _cells_of(grid, which, some, column, row, wide, high_)
        _outlines(raster.draw(view.xs, view.ys, grids), cells, slots[owner], entries)


def _outlines(drawn: raster.Touches, cells: Ints, slots: Ints, entries: Entries) -> None:
    """Add what a raster has found; ``cells`` and ``slots`` are those of its own cells."""
    held = np.flatnonzero(drawn.inside & ~drawn.touched)
    entries.add(cells[held], slots[held], SURE)
    unsure = np.flatnonzero(drawn.unsure & drawn.touched)
    entries.add(cells[unsure], slots[unsure], SHAPE)
    sure = ~drawn.unsure[drawn.cells]
    own, edges = drawn.cells[sure], drawn.edges[sure]
    counts = np.bincount(own, minlength=len(cells))
    # Among very many edges GEOS, which keeps them sorted, is the quicker.
    many = np.flatnonzero(counts > WIDEST)
    entries.add(cells[many], slots[many], SHAPE)
    few = counts[own] <= WIDEST
    own, edges = own[few], edges[few]
    counts[many] = 0
    met = np.flatnonzero(counts)
    how = np.where(drawn.inside[met], PART_IN, PART_OUT).astype(np.int8)
    entries.add_parts(cells[met], slots[met], how, counts[met], edges)


def _cells_of(
    grid: _Grid, which: Ints, some: Ints, column: Ints, row: Ints, wide: Ints, high: Ints
) -> tuple[Ints, Ints, Ints, Ints]:
    """Return (pair, cell, column, row) of all cells in the windows of ``some`` of the pairs."""
    sizes = wide[some] * high[some]
    owner = np.repeat(some, sizes)
    nth = ragged(sizes * 0, sizes)
    down, along = np.divmod(nth, wide[owner])
    x, y = column[owner] + along, row[owner] + down
    tile = which[owner]
    return owner, grid.base[tile] + (y << grid.bits[tile]) + x, x, y


def _boxes(west: Floats, south: Floats, size: Floats, x: Ints, y: Ints) -> Floats:
    left, low = west + x * size, south + y * size
    wide = size + WIDER_DEG
    return np.stack((left - WIDER_DEG, low - WIDER_DEG, left + wide, low + wide))


def by_slot(slots: Ints, asked: Ints) -> Iterator[tuple[int, Ints]]:
    """Group the places ``asked`` of an array of slots by slot."""
    asked = asked[np.argsort(slots[asked], kind="stable")]
    found, starts = np.unique(slots[asked], return_index=True)
    return zip(found.tolist(), np.split(asked, starts[1:]), strict=False)
