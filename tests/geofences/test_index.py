from __future__ import annotations

import numpy as np
import pytest

import geofences
from geofences import geodesy
from geofences import roster as roster_module
from tests.geofences.drawn import box, circle, feature, fences, index, line, polygon


def test_it_tells_what_is_in_it():
    found = index(box(0, 0, 1, 1, "a"), circle(0.5, 0.5, 100, "b"))
    assert found.ids == ["a", "b"]
    assert len(found) == 2
    assert "a" in found
    assert "c" not in found
    assert [fence.id for fence in found] == ["a", "b"]
    assert found.get("b").radius_m == 100.0
    assert found.get("c") is None


def test_two_fences_of_one_id_are_refused():
    twice = fences(box(0, 0, 1, 1, "a"))
    with pytest.raises(ValueError, match="two fences have the id 'a'"):
        geofences.FenceIndex([*twice, *twice])


def test_an_empty_index_answers():
    found = geofences.FenceIndex([])
    assert found.locate(0, 0) == []
    assert found.within(0, 0, 1000) == []
    assert found.crossings(0, 0, 1, 1) == []
    assert [a.tolist() for a in found.locate_many([0.0], [0.0])] == [[], []]
    assert [a.dtype for a in found.locate_many([], [])] == [np.int64, np.int64]


def test_a_boundary_is_inside():
    found = index(box(0, 0, 1, 1, "a"), box(1, 0, 2, 1, "b"))
    assert found.locate(1, 0.5) == ["a", "b"]
    assert found.locate(0, 0) == ["a"]
    assert found.locate(2, 1) == ["b"]
    assert found.locate(2.0000001, 1) == []
    assert found.within(1, 0.5, 0.0) == [("a", 0.0), ("b", 0.0)]


def test_ids_are_sorted_as_text_in_every_answer():
    drawn = [circle(0, 0, 100, name) for name in ("10", "9", "b", "B", "ä")]
    found = index(*drawn)
    ordered = sorted(("10", "9", "b", "B", "ä"))
    assert found.locate(0, 0) == ordered
    assert [each for each, _ in found.within(0, 0, 10)] == ordered
    which, slots = found.locate_many([0.0, 50.0, 0.0], [0.0, 50.0, 0.0])
    assert which.tolist() == [0] * 5 + [2] * 5
    assert [found.ids[slot] for slot in slots] == ordered * 2
    assert [each for each, *_ in found.crossings(-1, 0, 1, 0)] == ordered


@pytest.mark.parametrize(
    "point", [(181, 0), (0, 91), (float("nan"), 0), (0, float("inf")), (-180.1, 0)]
)
def test_no_such_place(point):
    found = index(box(0, 0, 1, 1))
    for ask in (
        lambda: found.locate(*point),
        lambda: found.within(*point, 10),
        lambda: found.crossings(*point, 0, 0),
        lambda: found.locate_many([0.0, point[0]], [0.0, point[1]]),
    ):
        with pytest.raises(ValueError, match="no such place"):
            ask()


def test_arrays_must_match():
    found = index(box(0, 0, 1, 1))
    with pytest.raises(ValueError, match="one length"):
        found.locate_many([1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="metres must be"):
        found.within(0, 0, float("nan"))


def test_edits_are_seen_at_once():
    found = index(box(0, 0, 1, 1, "a"))
    assert found.version == 0
    found.put(*fences(circle(5, 5, 1000, "b")))
    assert found.locate(5, 5) == ["b"]
    found.put(*fences(circle(6, 6, 1000, "b")))
    assert found.locate(5, 5) == []
    assert found.locate(6, 6) == ["b"]
    found.put(*fences(box(6, 6, 7, 7, "b")))
    assert found.locate(6.5, 6.5) == ["b"]
    found.remove("a")
    assert found.locate(0.5, 0.5) == []
    assert found.ids == ["", "b"]
    with pytest.raises(KeyError):
        found.remove("a")
    found.put(*fences(box(0, 0, 1, 1, "c")))
    assert found.ids == ["c", "b"]
    assert found.version == 5
    assert found.changes(0) == ("b", "b", "b", "a", "c")
    assert found.changes(3) == ("a", "c")
    assert found.changes(5) == ()


def test_changes_that_were_forgotten(monkeypatch):
    monkeypatch.setattr(roster_module, "KEPT_CHANGES", 2)
    found = index()
    for name in "abc":
        found.put(*fences(circle(0, 0, 10, name)))
    assert found.changes(0) is None
    assert found.changes(1) == ("b", "c")


def test_shapes_are_forgotten_and_built_again(monkeypatch):
    monkeypatch.setattr(roster_module, "KEPT_WEIGHT", 100)
    drawn = [box(n, 0, n + 1, 1, str(n)) for n in range(20)]
    found = index(*drawn)
    assert len(found._roster._shapes) < 20
    for n in range(20):
        assert found.locate(n + 0.5, 0.5) == [str(n)]
        assert found.distance(str(n), n + 0.5, 0.5) < -50_000
    assert found._roster._weight == sum(
        shape.weight + roster_module.SHAPE_WEIGHT for shape in found._roster._shapes.values()
    )


def test_a_circle_is_geodesic_to_the_millimetre():
    for lon, lat in ((2.35, 48.85), (180.0, 0.0), (-179.9999, 70.0), (0.0, 89.999), (5.0, -90.0)):
        for radius in (25.0, 300.0, 20_000.0):
            found = index(circle(lon, lat, radius))
            for azimuth in range(0, 360, 15):
                for off in (-0.001, 0.001):
                    x, y, _ = geodesy.geod().fwd(lon, lat, azimuth, radius + off)
                    assert bool(found.locate(x, y)) == (off < 0)
                    which, _ = found.locate_many([x], [y])
                    assert bool(len(which)) == (off < 0)
                    distance = dict(found.within(x, y, 1.0))["a"]
                    assert distance == pytest.approx(off, abs=1e-6)


def test_within_leaves_out_what_is_further():
    found = index(circle(0, 0, 100, "a"), circle(0.01, 0, 100, "b"), box(0.02, 0, 1, 1, "c"))
    # 0.01° of the equator are 1113.2 m.
    assert [each for each, _ in found.within(0, 0, 1013.0)] == ["a"]
    assert [each for each, _ in found.within(0, 0, 1014.0)] == ["a", "b"]
    assert [each for each, _ in found.within(0, 0, 2227.0)] == ["a", "b", "c"]
    assert dict(found.within(0, 0, 0))["a"] == -100.0
    assert found.within(0, 0, -99.0) == [("a", -100.0)]
    assert found.within(0, 0, -101.0) == []


def test_the_distance_of_one_fence():
    found = index(circle(0, 0, 100, "a"), box(1, 0, 2, 1, "b"))
    assert found.distance("a", 0, 0) == -100.0
    assert found.distance("a", 50, 0) == pytest.approx(5_565_874, abs=2)
    assert found.distance("b", 1, 0.5) == 0.0
    with pytest.raises(KeyError):
        found.distance("c", 0, 0)
    with pytest.raises(ValueError, match="no such place"):
        found.distance("a", 0, 91)


def test_corridors():
    found = index(line([[0, 0], [1, 0], [1, 1]], 100))
    east = 90 / 111_319.5
    assert found.locate(0.5, 90 / 110_574) == ["a"]
    assert found.locate(0.5, 110 / 110_574) == []
    assert found.locate(1 + east, 0.5) == ["a"]
    assert found.locate(-east, 0.0) == ["a"]
    assert dict(found.within(0.5, 0.0, 0))["a"] == pytest.approx(-100.0)
    which, _ = found.locate_many([0.5, 0.5, 5.0], [0.0, 0.5, 5.0])
    assert which.tolist() == [0]


def test_corridors_over_the_seam_and_a_pole():
    found = index(line([[179.5, 10], [-179.5, 10]], 500), line([[0, 89], [180, 89.5]], 9000, "b"))
    for lon in (179.6, 180.0, -180.0, -179.6):
        assert found.locate(lon, 10.0) == ["a"]
        assert found.locate(lon, 10.006) == []
    assert found.locate(179.0, 10.0) == []
    assert "b" in found.locate(90.0, 89.25)
    reach = index(line([[0, 89.95], [10, 89.95]], 9000))
    assert reach.locate(-170.0, 90.0) == ["a"]
    assert reach.locate(-170.0, 89.99) == ["a"]


def test_collections_are_unions():
    drawn = feature(
        {
            "type": "GeometryCollection",
            "geometries": [
                {"type": "Point", "coordinates": [0, 0]},
                {"type": "MultiPoint", "coordinates": [[1, 0], [2, 0]]},
                {
                    "type": "MultiLineString",
                    "coordinates": [[[3, 0], [4, 0]], [[179.9, 0], [-179.9, 0]]],
                },
                {
                    "type": "GeometryCollection",
                    "geometries": [
                        {
                            "type": "Polygon",
                            "coordinates": [[[5, 0], [6, 0], [6, 1], [5, 1], [5, 0]]],
                        }
                    ],
                },
            ],
        },
        radius_m=1000,
    )
    found = index(drawn)
    inside = [(0, 0.005), (1, 0), (2, -0.005), (3.5, 0.005), (5.5, 0.5), (180, 0), (-180, 0.005)]
    outside = [(0, 0.01), (4.5, 0), (178, 0), (7, 0)]
    points = inside + outside
    assert [bool(found.locate(*p)) for p in points] == [True] * 7 + [False] * 4
    which, _ = found.locate_many([p[0] for p in points], [p[1] for p in points])
    assert which.tolist() == list(range(7))
    found.remove("a")
    assert found.locate(0, 0) == []


def test_a_fence_on_both_sides_of_greenwich_and_of_the_seam():
    parts = [
        [[[w, 0], [w + 4, 0], [w + 4, 1], [w, 1], [w, 0]]] for w in (-180.0, -2.0, 176.0, 60.0)
    ]
    found = index(feature({"type": "MultiPolygon", "coordinates": parts}))
    which, _ = found.locate_many([-180.0, 180.0, 0.0, 62.0, 100.0], [0.5] * 5)
    assert which.tolist() == [0, 1, 2, 3]


def test_no_pair_comes_twice():
    wide = feature(
        {"type": "MultiPoint", "coordinates": [[-179.9, 0], [-0.001, 0], [0.001, 0], [179.9, 0]]},
        radius_m=5000,
    )
    found = index(wide, circle(180, 0, 5000, "b"))
    lons = [0.0, 180.0, -180.0, 179.99, -179.99, 179.95]
    which, slots = found.locate_many(lons, [0.0] * 6)
    pairs = list(zip(which.tolist(), slots.tolist(), strict=True))
    assert len(set(pairs)) == len(pairs)
    assert pairs == [(0, 0), (1, 1), (2, 1), (3, 1), (4, 1)] or len(pairs) > 5


def test_crossings_of_areas():
    found = index(
        box(1, -1, 2, 1, "a"),
        box(5, 0, 6, 1, "touched along"),
        polygon([[3, 0], [4, 1], [3, 2], [3, 0]], fence_id="touched"),
        polygon(
            [[7, -1], [9, -1], [9, 1], [7, 1], [7, -1]],
            [[7.5, -0.5], [8.5, -0.5], [8.5, 0.5], [7.5, 0.5], [7.5, -0.5]],
            fence_id="holed",
        ),
    )
    crossed = {name: (first, last) for name, first, last in found.crossings(0, 0, 10, 0)}
    assert set(crossed) == {"a", "touched along", "holed"}
    assert crossed["a"] == pytest.approx((0.1, 0.2))
    assert crossed["touched along"] == pytest.approx((0.5, 0.6))
    assert crossed["holed"] == pytest.approx((0.7, 0.9))
    assert found.crossings(7.6, 0, 8.4, 0) == []
    assert found.crossings(1.5, 0, 1.5, 0) == []
    assert found.crossings(1.2, 0, 1.4, 0.5) == [("a", 0.0, 1.0)]
    assert found.crossings(1.5, 5, 1.5, -5) == [("a", 0.4, 0.6)]


def test_crossings_of_circles_and_corridors():
    found = index(circle(0, 0, 1000, "a"), line([[1, -1], [1, 1]], 1000, "b"))
    degree = 1000 / 111_319.4908
    crossed = {name: (first, last) for name, first, last in found.crossings(-1, 0, 3, 0)}
    assert crossed["a"] == pytest.approx(((1 - degree) / 4, (1 + degree) / 4), abs=1e-8)
    assert crossed["b"] == pytest.approx(((2 - degree) / 4, (2 + degree) / 4), abs=1e-8)
    assert found.crossings(-1, 0.01, 0.5, 0.01) == []
    assert found.crossings(0, 0, 0.001, 0) == [("a", 0.0, 1.0)]
    assert found.crossings(0, 0, 0, 0) == []
    (_, first, last) = found.crossings(0, 0, 1, 0)[0]
    assert (first, last) == (0.0, pytest.approx(degree, abs=1e-8))


def test_a_segment_that_ends_on_a_circle_only_touches_it():
    x, y, _ = geodesy.geod().fwd(0, 0, 90, 1000)
    found = index(circle(0, 0, 1000))
    outside = x + 0.01
    spans = found.crossings(outside, y, x, y)
    assert spans == [] or (spans[0][2] - spans[0][1]) * 1113 < 1e-3


@pytest.mark.parametrize(
    "segment", [(179, 0, -179, 0), (-179, 0, 179, 0), (179.5, 0.0, -179.5, 0.0)]
)
def test_crossings_run_the_short_way_over_the_seam(segment):
    found = index(
        box(179.8, -1, -179.8, 1, "a"), circle(180, 0, 1000, "b"), box(-10, -10, 10, 10, "c")
    )
    crossed = {name: (first, last) for name, first, last in found.crossings(*segment)}
    assert set(crossed) == {"a", "b"}
    for first, last in crossed.values():
        assert (first + last) / 2 == pytest.approx(0.5)


def test_crossings_along_the_seam():
    found = index(box(179, -1, 180, 1, "a"), box(-180, -1, -179, 1, "b"))
    for lon in (180, -180):
        assert [each for each, *_ in found.crossings(lon, -5, lon, 5)] == ["a", "b"]
    assert [each for each, *_ in found.crossings(180, -5, -180, 5)] == ["a", "b"]


def test_crossings_of_a_ring_round_a_pole():
    found = index(
        polygon(
            [[0, 60], [90, 60], [180, 60], [-90, 60], [0, 60]],
            [[30, 80], [150, 80], [-90, 80], [30, 80]],
        )
    )
    ((_, first, last),) = found.crossings(10, 50, 10, 70)
    assert (first, last) == (0.5, 1.0)
    ((_, first, last),) = found.crossings(-170, 50, -170, 90)
    assert (first, last) == (0.25, 0.75)
