"""What an index keeps of a fence: all of it, small, and with boxes that are the same each time."""

from __future__ import annotations

import numpy as np
import pytest

from geofences import Fence, FenceIndex, Geometry, Window, geodesy, packed
from tests.geofences.drawn import box, circle, feature, fences, line
from tests.geofences.test_model import GEOMETRIES

OPENED = Fence(
    id="café/7",
    name="Café",
    geometry=Geometry("Point", np.array([[2.35, 48.85, 30.0]]), extra={"note": 1}),
    tags=("a", "b"),
    venue="mall",
    radius_m=40.5,
    dwell_s=(60.0, 300.0),
    priority=3.0,
    floor=-1.0,
    min_altitude_m=0.0,
    max_altitude_m=90.0,
    active=(Window(("mon",), "09:00", "18:30"),),
    valid_from=1.0,
    valid_until=2e9,
    exclude=True,
    exit_after_s=30.0,
    silent_after_s=600.0,
    exit_margin_m=12.5,
    min_confidence=0.9,
    on_foot=True,
    properties={"colour": "red", "nested": {"a": [1, None, True]}},
    extra={"bbox": [0, 0, 1, 1]},
)
NAMES = [name for name in Fence.__dataclass_fields__ if name != "geometry"]
COLLECTED = {"type": "GeometryCollection", "geometries": GEOMETRIES, "note": 1}
DRAWN = [
    *GEOMETRIES,
    COLLECTED,
    {"type": "GeometryCollection", "geometries": [COLLECTED, COLLECTED]},
]


def outline(name: str, lon: float, lat: float, corners: int = 24) -> Fence:
    turns = np.linspace(0.0, 2 * np.pi, corners + 1)
    turns[-1] = 0.0
    ring = np.column_stack((lon + 0.002 * np.cos(turns), lat + 0.001 * np.sin(turns)))
    geometry = Geometry("Polygon", ring, rings=(corners + 1,), parts=(1,))
    return Fence(id=name, name=name, geometry=geometry)


def test_every_field_of_a_fence_comes_back() -> None:
    back = packed.unpack(packed.pack(OPENED))
    assert {*packed.SAID, "properties", "extra"} == set(NAMES)
    for name in NAMES:
        assert getattr(back, name) == getattr(OPENED, name), name
    assert back == OPENED
    assert isinstance(back.active[0], Window)


@pytest.mark.parametrize("geometry", DRAWN, ids=lambda each: each["type"])
def test_every_geometry_comes_back(geometry: dict[str, object]) -> None:
    (fence,) = fences(feature(geometry, radius_m=20))
    kept = packed.pack(fence)
    assert isinstance(kept, bytes)
    back = packed.unpack(kept)
    assert back == fence
    assert back.centre == fence.centre
    for one, other in zip(back.geometry.leaves(), fence.geometry.leaves(), strict=True):
        assert (one.rings, one.parts) == (other.rings, other.parts)
        assert np.array_equal(one.coords, other.coords)


def test_a_fence_that_cannot_be_packed_is_kept_as_it_is() -> None:
    odd = Fence(
        id="a",
        name="a",
        geometry=Geometry("Point", np.array([[1.0, 2.0]])),
        radius_m=50.0,
        properties={"ask": lambda: 1},
    )
    index = FenceIndex([odd])
    assert index.get("a") is odd
    assert list(index) == [odd]
    assert index.locate(1.0, 2.0) == ["a"]
    index.remove("a")
    assert index.get("a") is None


def test_what_is_kept_is_small() -> None:
    assert len(packed.pack(outline("store-123456", 2.0, 48.0))) < 24 * 16 + 150
    (disc,) = fences(circle(2.0, 48.0, 50.0))
    assert len(packed.pack(disc)) < 160


def test_a_circle_has_the_same_box_alone_and_among_others() -> None:
    dice = np.random.default_rng(5)
    count = 4000
    lons, lats = dice.uniform(-180.0, 180.0, count), dice.uniform(-90.0, 90.0, count)
    metres = 10.0 ** dice.uniform(0.0, 7.0, count)
    many = geodesy.many_boxes_within(lons, lats, metres)
    plain = ~np.isnan(many[:, 0])
    assert plain.sum() > count / 2
    for nth in range(count):
        alone = geodesy.boxes_within(float(lons[nth]), float(lats[nth]), float(metres[nth]))
        if plain[nth]:
            assert [tuple(many[nth].tolist())] == alone  # to the last bit


SHAPES = [
    circle(2.0, 48.0, 50.0),
    circle(179.9999, 10.0, 500.0),
    circle(0.0, 89.9999, 500.0),
    box(10, 0, 20, 10),
    box(170, 0, -170, 10),
    box(-180, 60, 180, 90),
    box(-180, 0, -170, 5),
    box(-100, 0, 100, 5),
    line([[0, 0], [4, 2]], 10.0),
    feature(COLLECTED, radius_m=30),
]


def test_fences_have_the_same_boxes_alone_and_among_others() -> None:
    drawn = [fence for shape in SHAPES for fence in fences(shape)]
    rows, _ = packed.rows(drawn)
    numbers, corners = packed.boxes(drawn, rows)
    for nth, fence in enumerate(drawn):
        together = [tuple(corners[row].tolist()) for row in np.flatnonzero(numbers == nth)]
        row, _ = packed.rows([fence])
        assert sorted(together) == sorted(map(tuple, packed.boxes([fence], row)[1].tolist()))
        assert np.array_equal(row[0, packed.LON :], rows[nth, packed.LON :])
        for leaf in fence.geometry.leaves():
            for lon, lat in leaf.coords[:, :2].tolist():
                assert any(w <= lon <= e and s <= lat <= n for w, s, e, n in together)


def test_what_was_built_at_once_can_be_taken_out_one_by_one() -> None:
    dice = np.random.default_rng(6)
    spots = dice.uniform((-5.0, 42.0), (15.0, 55.0), (300, 2)).tolist()
    drawn = [outline(f"o{n}", lon, lat) for n, (lon, lat) in enumerate(spots)]
    drawn += [
        Fence(id=f"c{n}", name="", radius_m=80.0, geometry=Geometry("Point", np.array([spot])))
        for n, spot in enumerate(spots)
    ]
    index = FenceIndex(drawn)
    for number, (lon, lat) in enumerate(spots):
        assert {f"c{number}", f"o{number}"} <= set(index.locate(lon, lat))
        index.remove(f"c{number}")
        index.put(outline(f"o{number}", lon + 1.0, lat))
        assert f"c{number}" not in index.locate(lon, lat)
    assert len(index._tree) == len(index) == 300
    for fence in list(index):
        index.remove(fence.id)
    assert len(index._tree) == len(index) == len(index._roster._read) == 0


def test_the_fences_kept_ready_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geofences.roster.KEPT_FENCES", 10)
    index = FenceIndex(outline(f"o{n}", 0.01 * n, 0.0) for n in range(50))
    for number in range(50):
        fence = index.get(f"o{number}")
        assert fence is not None
        assert fence.id == f"o{number}"
        assert fence is index.get(f"o{number}")
    assert len(index._roster._read) <= 10


@pytest.mark.parametrize("lat", [0.3, 89.99999999999999, -89.99999999999999])
def test_a_hair_from_the_seam_is_still_on_the_map(lat: float) -> None:
    index = FenceIndex(
        fence for n, lon in enumerate([180.0, -180.0]) for fence in fences(
            {**circle(lon, lat, 50.0), "id": f"c{n}"}
        )
    )  # fmt: skip
    for lon in (np.nextafter(180.0, 0.0), np.nextafter(-180.0, 0.0)):
        assert index.locate(float(lon), lat) == ["c0", "c1"]
        points, _ = index.locate_many([lon], [lat])
        assert len(points) == 2
    index.remove("c0")
    assert index.locate(float(np.nextafter(180.0, 0.0)), lat) == ["c1"]


def test_vertices_of_fences_gone_are_taken_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geofences.columns.LEAST_WASTE", 100)
    index = FenceIndex(outline(f"o{n}", 0.01 * n, 0.0) for n in range(40))
    holed = feature({"type": "Polygon", "coordinates": [
        [[-1, -1], [0, -1], [0, 1], [-1, 1], [-1, -1]],
        [[-0.6, -0.5], [-0.4, -0.5], [-0.4, 0.5], [-0.6, 0.5], [-0.6, -0.5]],
    ]}, "holed")  # fmt: skip
    (fence,) = fences(holed)
    for number in range(300):
        index.put(outline(f"o{number % 40}", 0.01 * (number % 40) + 0.001, 0.0))
        index.put(fence)
        assert len(index._roster.columns.xs) < 3000
    assert index.get("holed") == fence
    assert index.locate(-0.5, 0.0) == []
    assert index.locate(-0.3, 0.0) == index.locate(-0.5, 0.7) == ["holed"]
    for number in range(40):
        assert f"o{number}" in index.locate(0.01 * number + 0.001, 0.0)
        assert index.locate_many([0.01 * number + 0.001], [0.0])[0].size
