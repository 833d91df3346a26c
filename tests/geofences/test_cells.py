"""The cells over the index: exact like the R-tree alone, forgetful where fences change, bounded."""

from __future__ import annotations

import random
from collections.abc import Iterable

import numpy as np
import pytest

import geofences.cells as cells_of
from geofences import Fence, FenceIndex
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
    return sorted(f.id for f in index if index._holds(index._slots[f.id], lon, lat))


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


@pytest.mark.parametrize("room", [40, 1 << 18])
def test_crowded_cells_are_split_unjudged(room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells_of, "CROWDED", 2)
    monkeypatch.setattr(cells_of, "LEAST_NODES", room)
    monkeypatch.setattr(cells_of, "NODES_A_FENCE", 0)
    agree(FenceIndex(made(STREET)), *points(500))


def test_equal_answers_are_one_tuple() -> None:
    index = FenceIndex(made(STREET))
    one, other = index.holding([2.3505, 2.3507], [48.8485, 48.8485])
    assert one is other
    assert index.holding([], []) == []


def test_memory_stays_within_its_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells_of, "LEAST_NODES", 40)
    monkeypatch.setattr(cells_of, "NODES_A_FENCE", 0)
    monkeypatch.setattr(cells_of, "MOST_MEMOS", 50)
    index = FenceIndex(made(STREET))
    lons, lats = points(600)
    agree(index, lons, lats)
    assert index._cells._used <= 41
    assert index._cells._memos <= 51
    spare = made([feature("spare", circle(100, 0), radius_m=50)])[0]
    for _ in range(60):
        index.put(spare)
        index.locate_many(lons, lats)
        assert len(index._cells.lists) <= 2 * 40 + 200
    agree(index, lons, lats)


def test_forgotten_nodes_are_used_again() -> None:
    index = FenceIndex(made(STREET))
    lons, lats = points(400)
    index.locate_many(lons, lats)
    before = index._cells._used
    spare = made([feature("spare", circle(0, 0), radius_m=300)])[0]
    for _ in range(30):
        index.put(spare)
        index.locate_many(lons, lats)
    assert index._cells._used <= before + 200


def test_points_in_blocks_larger_than_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells_of, "BLOCK", 64)
    agree(FenceIndex(made(STREET)), *points(200, seed=3))


def test_an_empty_index_answers() -> None:
    index = FenceIndex()
    assert index.locate(2.35, 48.85) == []
    found = index.locate_many(np.array([2.35]), np.array([48.85]))
    assert [len(one) for one in found] == [0, 0]
    assert index.holding([2.35], [48.85]) == [()]


def test_between_two_points_of_one_plain_cell_lies_no_edge() -> None:
    index = FenceIndex(made(STREET))
    assert index.no_edge_between(2.3505, 48.8485, 2.35051, 48.8485)  # deep in the block
    assert not index.no_edge_between(2.3505, 48.8485, 2.40, 48.8485)
    assert not index.no_edge_between(180.0, 10.5, 179.9, 10.5)
    lon, lat = STREET[2]["geometry"]["coordinates"]  # type: ignore[index]
    edge = lat + 80 / 111_207
    assert not index.no_edge_between(lon, edge, lon, edge)
    names = [name for name, _, _ in index.crossings(lon - 0.01, lat, lon + 0.01, lat, ("disc",))]
    assert "disc" not in names
    assert "block" in names


def test_a_few_memories_are_forgotten_where_a_small_fence_changes() -> None:
    index = FenceIndex(made(STREET))
    lons, lats = points(400)
    for lon, lat in zip(lons, lats, strict=True):
        index.locate(lon, lat)
    kept = index._cells._memos
    index.put(made([feature("spare", circle(0, 0), radius_m=5)])[0])
    assert 0 < index._cells._memos <= kept
    agree(index, lons, lats)


def test_a_point_far_outside_a_circle_s_corner_is_no_candidate() -> None:
    index = FenceIndex(made([feature("disc", circle(0, 0), radius_m=80)]))
    assert index.within(*_corner(75.0), 0.0) == []
    assert index.locate(*_corner(75.0)) == []
    assert index.locate(*_corner(50.0)) == ["disc"]


def _corner(metres: float) -> tuple[float, float]:
    return 2.35 + metres / 73_386.0, 48.85 + metres / 111_207.0


def test_lists_of_fences_long_gone_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells_of, "LEAST_NODES", 5)
    monkeypatch.setattr(cells_of, "NODES_A_FENCE", 0)
    index = FenceIndex(made(STREET))
    lons, lats = points(100)
    for number in range(40):
        index.put(made([feature(f"stall-{number}", circle(20.0 * number, 0), radius_m=15)])[0])
        index.locate_many(lons, lats)
    assert len(index._cells.lists) < 60
    agree(index, lons, lats)


def test_a_way_passes_one_part_of_two() -> None:
    parts = [box(0, 0, 10, 10)["coordinates"], box(0, 500, 10, 510)["coordinates"]]
    index = FenceIndex(made([feature("two", {"type": "MultiPolygon", "coordinates": parts})]))
    west, east = 2.35 - 0.001, 2.35 + 0.001
    ((name, first, last),) = index.crossings(west, 48.85 + 0.00005, east, 48.85 + 0.00005)
    assert name == "two"
    assert 0.4 < first < last < 0.7
    assert index.crossings(west, 48.852, east, 48.852) == []
