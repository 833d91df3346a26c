"""The cells over the index: exact like the R-tree alone, forgetful where fences change, bounded."""

from __future__ import annotations

import random
from collections.abc import Iterable

import numpy as np
import pytest

import geofences.cells as cells_of
from geofences import Fence, FenceIndex, filling, raster
from geofences.cells import UNFILLED, _finest
from geofences.shape import Shape
from tests.street import box, circle, feature, fences

STREET = [
    feature("block", box(-300, -300, 300, 300)),
    feature("yard", box(-40, -40, 40, 40)),
    feature("disc", circle(100, 100), radius_m=80),
    feature("both", {"type": "GeometryCollection", "geometries": [circle(-200, 0), circle(0, 0)]}, radius_m=30),
    feature("road", {"type": "LineString", "coordinates": [[2.345, 48.85], [2.356, 48.851]]}, radius_m=12),
    feature("seam", {"type": "Polygon", "coordinates": [[[179, 10], [-179, 10], [-179, 11], [179, 11], [179, 10]]]}),
    feature("cap", {"type": "Polygon", "coordinates": [[[0, 80], [90, 80], [180, 80], [-90, 80], [0, 80]]]}),
]  # fmt: skip


def plain(index: FenceIndex, lon: float, lat: float) -> list[str]:
    """Ask every fence by its own exact test."""
    return sorted(f.id for f in index if Shape(f).holds(lon, lat))


def points(count: int, seed: int = 1) -> tuple[list[float], list[float]]:
    dice = random.Random(seed)
    near = [(dice.gauss(2.35, 0.004), dice.gauss(48.85, 0.003)) for _ in range(count)]
    far = [(dice.uniform(-180, 180), dice.uniform(-90, 90)) for _ in range(count // 4)]
    seam = [
        (dice.choice([-1, 1]) * dice.uniform(178.5, 180), dice.uniform(9, 12)) for _ in range(50)
    ]
    edge = [(180.0, 10.5), (-180.0, 10.5), (180.0, 90.0), (0.0, 90.0), (0.0, -90.0), (180.0, 9.0)]
    lons, lats = zip(*near, *far, *seam, *edge, strict=True)
    return list(lons), list(lats)


def agree(index: FenceIndex, lons: list[float], lats: list[float]) -> None:
    many: list[list[str]] = [[] for _ in lons]
    for point, slot in zip(*index.locate_many(lons, lats), strict=True):
        many[point].append(index.ids[slot])
    held = index.holding(lons, lats)
    for nth, (lon, lat) in enumerate(zip(lons, lats, strict=True)):
        expected = plain(index, lon, lat)
        assert index.locate(lon, lat) == many[nth] == list(held[nth]) == expected, (lon, lat)
        assert [i for i, metres in index.within(lon, lat, 0.0)] == expected


def made(features: Iterable[dict[str, object]]) -> list[Fence]:
    return fences(*features)  # type: ignore[arg-type]


def test_every_question_has_the_same_exact_answer() -> None:
    agree(FenceIndex(made(STREET)), *points(800))


def test_corners_and_edges_of_cells_are_no_special_places() -> None:
    index = FenceIndex(made(STREET))
    step = 1.0 / cells_of.FINEST_PER_DEGREE
    column, row = round(182.35 / step), round(138.85 / step)
    lons = [(column + n) * step - 180.0 for n in range(-40, 40) for _ in range(3)]
    lats = [(row + n) * step - 90.0 for n in range(-60, 60) for _ in range(2)]
    agree(index, lons, lats)


def test_a_random_history_of_edits_equals_an_index_made_anew() -> None:
    dice = random.Random(7)
    index = FenceIndex(made(STREET))
    known = {f.id: f for f in index}
    lons, lats = points(60)
    for number in range(120):
        name = f"f{dice.randrange(12)}"
        if name in known and dice.random() < 0.4:
            index.remove(name)
            del known[name]
        else:
            east, north = dice.gauss(0, 150), dice.gauss(0, 150)
            size = dice.choice([5.0, 60.0, 900.0])
            shape = (
                feature(name, circle(east, north), radius_m=size)
                if dice.random() < 0.5
                else feature(name, box(east, north, east + size, north + size))
            )
            (fence,) = made([shape])
            index.put(fence)
            known[name] = fence
        if number % 6 == 0:
            agree(index, lons, lats)
            fresh = FenceIndex(known.values())
            assert [index.locate(*p) for p in zip(lons, lats, strict=True)] == [
                fresh.locate(*p) for p in zip(lons, lats, strict=True)
            ]


def test_a_fence_as_wide_as_the_world_can_come_and_go() -> None:
    index = FenceIndex(made(STREET))
    lons, lats = points(100)
    agree(index, lons, lats)
    band = feature(
        "band",
        {
            "type": "Polygon",
            "coordinates": [[[-180, -60], [180, -60], [180, 60], [-180, 60], [-180, -60]]],
        },
    )
    index.put(made([band])[0])
    agree(index, lons, lats)
    index.remove("band")
    agree(index, lons, lats)


@pytest.mark.parametrize("name", ["FEW", "WHOLE_ROOT", "MANY_TILES", "PATIENCE"])
def test_ways_to_fill_are_one_answer(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells_of, name, 1)
    agree(FenceIndex(made(STREET)), *points(500))


@pytest.mark.parametrize("bits", [0, 1, 3, 6])
@pytest.mark.parametrize("least", [1, 5, 99])
def test_cells_of_every_fineness_are_exact(
    bits: int, least: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cells_of, "MOST_BITS", 6)
    monkeypatch.setattr(filling, "_bits", lambda squares, *_: np.full(len(squares.west), bits))
    monkeypatch.setattr(filling, "LEAST_CELLS", least)
    agree(FenceIndex(made(STREET)), *points(400))


@pytest.mark.parametrize("name", ["MOST_PAIRS", "MOST_EDGES"])
def test_what_is_judged_in_several_goes_is_the_same(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filling if name == "MOST_PAIRS" else raster, name, 5)
    agree(FenceIndex(made(STREET)), *points(300))


def test_equal_answers_are_one_tuple() -> None:
    index = FenceIndex(made(STREET))
    one, other = index.holding([2.3505, 2.3507], [48.8485, 48.8485])
    assert one is other
    assert index.holding([], []) == []


def test_memory_stays_within_its_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells_of, "LEAST_BYTES", 10_000)
    monkeypatch.setattr(cells_of, "BYTES_A_FENCE", 0)
    monkeypatch.setattr(cells_of, "MANY_TILES", 4)
    monkeypatch.setattr(cells_of, "MOST_WAITING", 2)
    index = FenceIndex(made(STREET))
    lons, lats = points(600)
    agree(index, lons, lats)
    cells = index._cells
    for _ in range(2):
        index.locate_many(lons, lats)
    assert cells._full()
    assert UNFILLED in cells._look(*_finest(np.array(lons[:750]), np.array(lats[:750])))
    assert cells._used < 40
    assert len(cells._waiting) <= 3
    spare = made([feature("spare", circle(100, 0), radius_m=50)])[0]
    for _ in range(60):
        index.put(spare)
        index.locate_many(lons, lats)
        assert cells._bytes() < 200_000
    agree(index, lons, lats)


def test_tiles_are_forgotten_root_by_root_and_one_by_one() -> None:
    index = FenceIndex(made(STREET))
    lons, lats = points(400)
    index.locate_many(lons, lats)
    before = index._cells._used
    for size in (30, 3000, 60_000):
        spare = made([feature("spare", circle(0, 0), radius_m=size)])[0]
        for _ in range(5):
            index.put(spare)
            index.locate_many(lons, lats)
            assert index._cells._used <= before + 12
        agree(index, lons, lats)


def test_a_tile_asked_one_by_one_is_filled_in_the_end() -> None:
    index = FenceIndex(made(STREET))
    lon, lat = 2.3505, 48.8485
    expected = plain(index, lon, lat)
    for number in range(2 * cells_of.PATIENCE):
        assert index.locate(lon, lat) == expected
        assert index.within(lon, lat, 0.0) == [(i, index.distance(i, lon, lat)) for i in expected]
        assert (index._cells.number(lon, lat) >= 0) == (number >= cells_of.PATIENCE // 3)
    assert index.locate(-60.0, -40.0) == []


def test_points_in_blocks_larger_than_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells_of, "BLOCK", 64)
    agree(FenceIndex(made(STREET)), *points(200, seed=3))


def test_an_empty_index_answers() -> None:
    index = FenceIndex()
    assert index.locate(2.35, 48.85) == []
    found = index.locate_many(np.array([2.35]), np.array([48.85]))
    assert [len(one) for one in found] == [0, 0]
    assert index.holding([2.35], [48.85]) == [()]


def test_between_two_points_of_one_cell_lies_no_edge() -> None:
    index = FenceIndex(made(STREET))
    ways = [
        (2.3505, 48.8485, 2.35051, 48.8485),  # deep in the block
        (2.3505, 48.8485, 2.40, 48.8485),
        (180.0, 10.5, 179.9, 10.5),
        (2.0, 10.0, 2.0, 90.0),
    ]
    assert not index.no_edge_between(*ways[0])  # nobody has asked about this ground
    index.locate_many([2.3505], [48.8485])
    assert [index.no_edge_between(*way) for way in ways] == [True, False, False, False]
    index.locate_many([-60.1], [-40.1])
    assert index.no_edge_between(-60.1, -40.1, -60.11, -40.11)  # in an empty sea
    lon, lat = STREET[2]["geometry"]["coordinates"]  # type: ignore[index]
    edge = lat + 80 / 111_207
    assert not index.no_edge_between(lon, edge, lon, edge)
    names = [name for name, _, _ in index.crossings(lon - 0.01, lat, lon + 0.01, lat, ("disc",))]
    assert "disc" not in names
    assert "block" in names


def test_no_edge_between_is_never_wrong_and_often_known() -> None:
    index = FenceIndex(made(STREET))
    dice = np.random.default_rng(11)
    x, y = dice.normal(2.35, 0.003, 4000), dice.normal(48.85, 0.002, 4000)
    x1, y1 = x + dice.normal(0, 2e-5, 4000), y + dice.normal(0, 2e-5, 4000)
    index.locate_many(x, y)
    clear = index.no_edge_between_many(x, y, x1, y1)
    ways = np.column_stack((x, y, x1, y1)).tolist()
    assert clear.tolist() == [index.no_edge_between(*way) for way in ways]
    edged = 0
    for way, free in zip(ways, clear.tolist(), strict=True):
        met = any(a > 0.0 or b < 1.0 for _, a, b in index.crossings(*way))
        edged += met
        assert not (free and met), way
    assert edged > 20
    assert clear.mean() > 0.6


def test_codes_are_what_holding_says() -> None:
    index = FenceIndex(made(STREET))
    lons, lats = points(300)
    held = index.holding(lons, lats)
    codes = index.codes(lons, lats).tolist()
    told = [index.ids_of(code) for code in codes]
    assert sum(ids is not None for ids in told) > len(lons) / 2
    assert all(ids is None or ids is here for ids, here in zip(told, held, strict=True))
    assert codes[-1] == -1


def test_what_is_told_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geofences.index.KEPT_ANSWERS", 3)
    monkeypatch.setattr("geofences.exact.MOST_TOLD", 3)
    index = FenceIndex(made(STREET))
    agree(index, *points(300))
    assert len(index._cells.lists.told) <= 3
    assert len(index._tuples) <= 3


def test_tiles_kept_ready_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells_of, "MOST_READY", 2)
    index = FenceIndex(made(STREET))
    agree(index, *points(300))
    assert 0 < len(index._cells._ready) <= 2


def test_more_cells_than_a_number_can_name_begin_afresh(monkeypatch: pytest.MonkeyPatch) -> None:
    index = FenceIndex(made(STREET))
    lons, lats = points(300)
    agree(index, lons, lats)
    # One more filling fits, whatever it adds: the last tile then has the largest number.
    most = cells_of.MOST_CELLS + (cells_of.MANY_TILES << 2 * cells_of.MOST_BITS)
    for bits in range(cells_of.MOST_BITS + 1):
        assert bits <= cells_of.FINENESS
        assert -2 - ((most - 4**bits) << cells_of.FINENESS_BITS | bits) >= -(2**31)
    before = index._cells._cells
    monkeypatch.setattr(cells_of, "MOST_CELLS", before.end - 1)
    agree(index, lons, lats)
    assert index._cells._cells is not before


def test_a_point_far_outside_a_circle_s_corner_is_no_candidate() -> None:
    index = FenceIndex(made([feature("disc", circle(0, 0), radius_m=80)]))
    assert index.within(*_corner(75.0), 0.0) == []
    assert index.locate(*_corner(75.0)) == []
    assert index.locate(*_corner(50.0)) == ["disc"]


def _corner(metres: float) -> tuple[float, float]:
    return 2.35 + metres / 73_386.0, 48.85 + metres / 111_207.0


def test_a_way_passes_one_part_of_two() -> None:
    parts = [box(0, 0, 10, 10)["coordinates"], box(0, 500, 10, 510)["coordinates"]]
    index = FenceIndex(made([feature("two", {"type": "MultiPolygon", "coordinates": parts})]))
    west, east = 2.35 - 0.001, 2.35 + 0.001
    ((name, first, last),) = index.crossings(west, 48.85 + 0.00005, east, 48.85 + 0.00005)
    assert name == "two"
    assert 0.4 < first < last < 0.7
    assert index.crossings(west, 48.852, east, 48.852) == []
