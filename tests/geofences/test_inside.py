"""Points in outlines: GEOS's answer to the last bit, or a doubt that GEOS is asked about."""

from __future__ import annotations

import numpy as np
import pytest
import shapely

from geofences import FenceIndex, inside
from geofences.columns import Columns
from geofences.filling import Squares, fill
from geofences.listing import PART_IN, PART_OUT
from geofences.packed import rows
from tests.geofences.drawn import fences, polygon

RAGGED = [
    [[0.0, 0.0], [4.0, 0.0], [4.0, 3.0], [3.0, 1.0], [2.0, 3.0], [1.0, 1.0], [0.0, 3.0], [0.0, 0.0]]
]
HOLED = [
    [[0.0, 0.0], [4.0, 0.0], [4.0, 4.0], [0.0, 4.0], [0.0, 0.0]],
    [[1.0, 1.0], [3.0, 1.0], [3.0, 3.0], [1.0, 3.0], [1.0, 1.0]],
]


def columns(*outlines):
    kept = Columns()
    drawn = [
        fence
        for n, each in enumerate(outlines)
        for fence in fences(polygon(*each, fence_id=str(n)))
    ]
    kept.extend(*rows(drawn))
    return kept


def grid():
    x, y = np.meshgrid(np.linspace(-0.5, 4.5, 41), np.linspace(-0.5, 4.5, 41))
    return x.ravel(), y.ravel()


@pytest.mark.parametrize("rings", [RAGGED, HOLED])
def test_what_is_not_in_doubt_is_what_geos_says(rings):
    kept = columns(RAGGED, HOLED, RAGGED)
    slot = 0 if rings is RAGGED else 1
    view = kept.view()
    first, count = view.rows[slot, 4:6].astype(int)
    shape = shapely.Polygon(rings[0], rings[1:])
    dice = np.random.default_rng(3)
    for x, y in (grid(), (dice.uniform(-1, 5, 2000), dice.uniform(-1, 5, 2000))):
        held, doubt = inside.in_whole(
            view.xs, view.ys, np.full(len(x), first), np.full(len(x), count), x, y
        )
        assert (held == shapely.intersects_xy(shape, x, y))[~doubt].all()
        on_edge = shapely.intersects_xy(shape.boundary, x, y)
        assert doubt[on_edge].all()
        alone = [
            inside.holds(*kept.vertices(slot), *p) for p in zip(x.tolist(), y.tolist(), strict=True)
        ]
        assert all(a is None or a == h for a, h in zip(alone, held.tolist(), strict=True))
        assert [a is None for a in alone] == doubt.tolist()


def test_points_in_cells_are_what_geos_says():
    kept = columns(RAGGED, HOLED)
    squares = Squares(np.array([-0.1]), np.array([-0.1]), 5.0)
    one = np.array([0, 0])
    filled = fill(kept.view(), None, squares, one, np.array([0, 1]), most_bits=4, cells_a_pair=1e9)
    lists, view = filled.lists, kept.view()
    bits = int(filled.bits[0])
    cell = np.repeat(np.arange(len(lists.counts)) + 1, lists.counts)
    place = {number: n for n, number in enumerate(filled.cells.tolist())}
    ends = np.cumsum(lists.edge_counts)
    dice = np.random.default_rng(4)
    tested = 0
    for entry in np.flatnonzero(lists.how >= PART_OUT).tolist():
        part, at = int(lists.parts[entry]), place[int(cell[entry])]
        size = 5.0 / (1 << bits)
        west, south = (at & (1 << bits) - 1) * size - 0.1, (at >> bits) * size - 0.1
        x, y = dice.uniform(west, west + size, 20), dice.uniform(south, south + size, 20)
        x[:3], y[:3] = np.round(x[:3]), np.round(y[:3])
        edges = lists.edges[ends[part] - lists.edge_counts[part] : ends[part]]
        known = bool(lists.how[entry] == PART_IN)
        many = np.full(20, 1)
        held, doubt = inside.in_part(
            view.xs, view.ys, edges, many * 0, many * len(edges), np.full(20, known),
            many * west, many * south, x, y,
        )  # fmt: skip
        rings = (RAGGED, HOLED)[int(lists.slots[entry])]
        geos = shapely.intersects_xy(shapely.Polygon(rings[0], rings[1:]), x, y)
        within = (x >= west) & (x <= west + size) & (y >= south) & (y <= south + size)
        assert (held == geos)[~doubt & within].all()
        lines = [(view.xs[e], view.ys[e], view.xs[e + 1], view.ys[e + 1]) for e in edges.tolist()]
        alone = inside.Part(lines, known=known, west=west, south=south)
        for h, d, *p in zip(held.tolist(), doubt.tolist(), x.tolist(), y.tolist(), strict=True):
            said = alone.holds(*p)
            assert said is None or d or said == h
        tested += 20
    assert tested > 300


def test_an_outline_that_is_not_closed_is_left_to_geos():
    drawn = fences(polygon(*RAGGED))[0]
    open_ = type(drawn)(
        id="open", name="open",
        geometry=type(drawn.geometry)("Polygon", drawn.geometry.coords[:-1], rings=(7,), parts=(1,)),
    )  # fmt: skip
    index = FenceIndex([open_, drawn])
    for point in ((2.0, 0.5), (2.0, 2.9), (0.0, 1.5), (3.0, 1.5), (0.0, 3.0)):
        assert len(index.locate(*point)) in {0, 2}
    assert index.locate(2.0, 0.5) == ["a", "open"]
    index.remove("open")
    assert index.locate(2.0, 0.5) == ["a"]


def test_long_outlines_and_points_on_their_edges():
    turns = np.linspace(0.0, 2 * np.pi, 700)
    turns[-1] = 0.0
    ring = np.column_stack((np.cos(turns), np.sin(turns) + 0.1 * np.cos(9 * turns)))
    index = FenceIndex(fences(polygon(ring.tolist())))
    dice = np.random.default_rng(6)
    middles = (ring[:-1] + ring[1:]) / 2
    points = np.vstack((dice.uniform(-1.2, 1.2, (3000, 2)), ring, middles, middles + 1e-15))
    shape = shapely.Polygon(ring)
    shapely.prepare(shape)
    expected = shapely.intersects_xy(shape, *points.T)
    held = np.zeros(len(points), bool)
    held[index.locate_many(*points.T)[0]] = True
    assert (held == expected).all()
    for point, each in zip(points[::7].tolist(), expected[::7].tolist(), strict=True):
        assert bool(index.locate(*point)) == each


def test_a_way_in_a_cell_is_clear_of_edges_beside_it():
    part = inside.Part([(0.0, 0.0, 1.0, 0.0)], known=False, west=-5.0, south=-5.0)
    assert part.clear(0.2, 1.0, 0.8, 2.0)  # on one side of the edge
    assert part.clear(2.0, -1.0, 2.0, 1.0)  # beyond its end
    assert not part.clear(0.5, -1.0, 0.5, 1.0)
    assert not part.clear(1.0, -1.0, 1.0, 1.0)  # through its end
    assert not part.clear(0.5, 0.0, 0.5, 1.0)  # from it


def test_an_array_s_own_numbers_are_answered_like_any_other():
    diamond = [[2.0, 48.0], [2.001, 48.001], [2.002, 48.0], [2.001, 47.999], [2.0, 48.0]]
    index = FenceIndex(fences(polygon(diamond, fence_id="diamond")))
    dice = np.random.default_rng(5)
    lons, lats = dice.uniform(1.999, 2.003, 400), dice.uniform(47.998, 48.002, 400)
    for lon, lat in zip(lons, lats, strict=True):
        plain = float(lon), float(lat)
        assert index.locate(lon, lat) == index.locate(*plain)
        assert index.distance("diamond", lon, lat) == index.distance("diamond", *plain)
        assert index.within(lon, lat, 30.0) == index.within(*plain, 30.0)
    inside_ = index.locate_many(lons, lats)[0].tolist()
    assert [bool(index.locate(*point)) for point in zip(lons, lats, strict=True)] == [
        n in inside_ for n in range(400)
    ]
