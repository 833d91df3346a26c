"""Questions in metres, in batches: the same as one at a time, to a tenth of a millimetre."""

from __future__ import annotations

import numpy as np
import pytest
import shapely

from geofences import FenceIndex, geodesy, shape
from geofences import near as near_of
from geofences.clearings import FURTHEST_M
from tests.geofences.drawn import box, circle, feature, fences, line, polygon
from tests.geofences.test_packed import outline

SEAM = feature(
    {"type": "MultiPoint", "coordinates": [[179.9999, 0.5], [-179.9999, 0.5]]}, "odd", radius_m=300
)
DRAWN = [
    circle(0.0, 0.5, 120.0, "disc"),
    box(0.002, 0.501, 0.004, 0.503, "box"),
    box(-1.0, 0.4, -0.01, 0.6, "wide"),
    polygon(
        [[0.01, 0.5], [0.02, 0.5], [0.02, 0.51], [0.01, 0.51], [0.01, 0.5]],
        [[0.014, 0.504], [0.016, 0.504], [0.016, 0.506], [0.014, 0.506], [0.014, 0.504]],
        fence_id="holed",
    ),
    {**line([[0.0, 0.497], [0.003, 0.499]], 15.0), "id": "road"},
    SEAM,
]


def spots(count: int, lat: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    dice = np.random.default_rng(2)
    return dice.uniform(-0.02, 0.03, count), dice.uniform(lat - 0.01, lat + 0.02, count)


def made() -> FenceIndex:
    return FenceIndex(fence for each in DRAWN for fence in fences(each))


def one_by_one(index: FenceIndex, x: np.ndarray, y: np.ndarray, metres: np.ndarray) -> list:
    return [
        (point, name, off)
        for point, (lon, lat, within) in enumerate(
            zip(x.tolist(), y.tolist(), metres.tolist(), strict=True)
        )
        for name, off in index.within(lon, lat, within)
    ]


@pytest.mark.parametrize("limit", [-20.0, 0.0, 50.0, 3000.0, 60_000.0])
@pytest.mark.parametrize("most", [10, 1 << 20])
def test_pairs_within_are_those_of_within(limit, most, monkeypatch):
    monkeypatch.setattr(near_of, "MOST_EDGES", most)
    index = made()
    x, y = spots(150)
    x[:6], y[:6] = (
        [180.0, -180.0, 179.999, 0.002, 0.004, 0.003],
        [0.5, 0.5, 0.5, 0.501, 0.502, 0.503],
    )
    metres = np.full(len(x), limit)
    points, slots, off = index.pairs_within(x, y, limit)
    expected = one_by_one(index, x, y, metres)
    assert [(p, index.ids[s]) for p, s in zip(points, slots, strict=True)] == [
        each[:2] for each in expected
    ]
    assert off == pytest.approx([each[2] for each in expected], abs=1e-4)
    if limit >= 0.0:
        # A point on an edge is at no distance from it, to the last bit.
        assert off[(points == 4) & (slots == index.ids.index("box"))].tolist() == [0.0]


def test_each_point_may_have_its_own_reach():
    index = made()
    x, y = spots(100)
    reach = np.linspace(-10.0, 500.0, 100)
    points, slots, _ = index.pairs_within(x, y, reach)
    expected = one_by_one(index, x, y, reach)
    assert [(p, index.ids[s]) for p, s in zip(points, slots, strict=True)] == [
        each[:2] for each in expected
    ]
    assert [len(each) for each in index.pairs_within([], [], 5.0)] == [0, 0, 0]


@pytest.mark.parametrize("lat", [0.0, 48.0, -69.9, 71.0, 85.0])
def test_distances_of_outlines_are_geodesic_to_a_tenth_of_a_millimetre(lat):
    index = FenceIndex(outline(f"o{n}", 0.01 * n, lat) for n in range(4))
    x, y = spots(200, lat)
    for slot in range(4):
        many = index.distances(np.full(len(x), slot), x, y)
        alone = [index.distance(f"o{slot}", *p) for p in zip(x.tolist(), y.tolist(), strict=True)]
        assert many == pytest.approx(alone, abs=1e-4)


def test_distances_are_asked_of_fences_that_are_there():
    index = made()
    index.remove("box")
    for numbers in ([1], [99], [-1]):
        with pytest.raises(ValueError, match="no fence's"):
            index.distances(numbers, [0.0], [0.0])
    with pytest.raises(ValueError, match="as long as"):
        index.distances([0, 0], [0.0], [0.0])
    with pytest.raises(ValueError, match="below 1e9"):
        index.pairs_within([0.0], [0.0], float("nan"))
    with pytest.raises(ValueError, match="one length"):
        index.no_edge_between_many([0.0], [0.0], [0.0, 1.0], [0.0, 1.0])


def test_each_distance_is_that_of_one_to_the_last_bit():
    index = made()
    x, y = spots(400)
    names = [place for place in index.ids if place]
    ids = [names[number % len(names)] for number in range(len(x))]
    pairs = list(zip(ids, x.tolist(), y.tolist(), strict=True))
    held = [place in index.locate(lon, lat) for place, lon, lat in pairs]
    found = index.distance_each(ids, x, y, held)
    assert found == [index.distance(place, lon, lat) for place, lon, lat in pairs]
    with pytest.raises(KeyError):
        index.distance_each(["nowhere"], [0.0], [0.0], [False])


@pytest.mark.parametrize("metres", [0.0, 10.0, 300.0, 1000.0])
def test_what_is_clear_has_nothing_near(metres):
    index = made()
    x, y = spots(400)
    x, y = np.append(x, [5.0, 180.0, 0.0, 0.0]), np.append(y, [5.0, 0.5, 89.9, 20.0])
    clear = index.clear_many(x, y, metres)
    points, _, _ = index.pairs_within(x, y, metres)
    assert not clear[points].any()
    # By ±180° and the poles nothing is said.
    assert clear[-4:].tolist() == [True, False, False, True]
    assert clear[:400].mean() > (0.2 if metres < 500 else -1)
    assert index.clear_many(x, y, metres).tolist() == clear.tolist()
    index.put(*fences(circle(5.0, 5.0, 10.0, "new")))
    assert not index.clear_many([5.0], [5.0], metres)[0]


def test_what_is_clear_is_kept_within_bounds(monkeypatch):
    monkeypatch.setattr("geofences.clearings.MOST_SQUARES", 10)
    index = made()
    x, y = spots(300)
    said = index.clear_many(x, y, 50.0).tolist()
    for _ in range(3):
        assert index.clear_many(x, y, 50.0).tolist() == said
        index.clear_many(x[:5], y[:5], 300.0)
    with pytest.raises(ValueError, match=f"0 to {FURTHEST_M:.0f}"):
        index.clear_many(x, y, 5000.0)


def test_depth_is_the_way_from_the_deepest_point_to_the_edge(monkeypatch):
    monkeypatch.setattr("geofences.index.KEPT_ANSWERS", 2)
    index = made()
    assert index.depth("disc") == index.depth("disc") == 120.0
    assert index.depth("road") == 15.0
    assert index.depth("odd") == 300.0
    assert index.depth("box") == pytest.approx(110.6, abs=0.3)
    # Between the hole and a corner, where a circle touches both sides and the hole's corner.
    side, hole = 0.01 * 110_574, 0.002 * 110_574
    assert index.depth("holed") == pytest.approx(
        (side - hole) / 2 * 2**0.5 / (1 + 2**0.5), rel=0.01
    )
    assert len(index._depths) <= 3
    index.put(*fences(circle(0.0, 0.5, 60.0, "disc")))
    assert index.depth("disc") == 60.0
    with pytest.raises(KeyError):
        index.depth("nowhere")


def test_rough_boxes_hold_all_that_is_within():
    dice = np.random.default_rng(5)
    lons, lats = dice.uniform(-180, 180, 300), dice.uniform(-90, 90, 300)
    metres = 10.0 ** dice.uniform(0, 6, 300)
    boxes = geodesy.many_rough_boxes(lons, lats, metres)
    assert np.isnan(boxes[0]).any()
    for azimuth in range(0, 360, 15):
        x, y, _ = geodesy.geod().fwd(lons, lats, np.full(300, azimuth), metres)
        held = (boxes[0] <= x) & (x <= boxes[2]) & (boxes[1] <= y) & (y <= boxes[3])
        assert (held | np.isnan(boxes[0])).all()


def test_points_on_the_seam_are_answered_among_others():
    index = made()
    lons, lats = [180.0, 0.0, -180.0, 12.0, 0.0], [0.5, 0.5, 0.5, 90.0, -90.0]
    assert index.holding(lons, lats) == [("odd",), ("disc",), ("odd",), (), ()]
    points, slots = index.locate_many(lons, lats)
    assert [index.ids[slot] for slot in slots] == ["odd", "disc", "odd"]
    assert points.tolist() == [0, 1, 2]
    assert index.codes(lons, lats).tolist()[0] == -1
    assert index.ids_of(-1) is None


def test_shapes_are_measured_as_shapely_measures_near_the_equator():
    index = made()
    x, y = spots(100)
    shape = shapely.box(0.002, 0.501, 0.004, 0.503)
    off = index.distances(np.full(100, index.ids.index("box")), x, y)
    plane = shapely.distance(shape.boundary, shapely.points(x, y)) * 111_000
    assert np.abs(np.abs(off) / plane - 1.0).max() < 0.01
    assert ((off <= 0.0) == shapely.intersects_xy(shape, x, y)).all()


def test_an_edge_is_found_where_guesses_do_not_help():
    def signed(share):
        return 1.0 if share < 1.0 / 3.0 else -1.0

    found = shape._edge(signed, 0.0, 1.0, 1.0, -1.0, 0.0)
    assert signed(found) == -1.0
    assert found == pytest.approx(1.0 / 3.0, abs=1e-9)
