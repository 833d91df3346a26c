from __future__ import annotations

import math

import numpy as np
import pytest

from geofences import geodesy


def densely(segment, lon, lat, count=20_001):
    """The distance to an edge by brute force: many points on it, each measured by PROJ."""
    share = np.linspace(0.0, 1.0, count)
    lons = segment[0] + share * (segment[2] - segment[0])
    lats = segment[1] + share * (segment[3] - segment[1])
    metres = geodesy.geod().inv(np.full(count, lon), np.full(count, lat), lons, lats)[2]
    nearest = int(np.argmin(metres))
    low, high = share[max(nearest - 1, 0)], share[min(nearest + 1, count - 1)]
    share = np.linspace(low, high, 2001)
    lons = segment[0] + share * (segment[2] - segment[0])
    lats = segment[1] + share * (segment[3] - segment[1])
    return float(geodesy.geod().inv(np.full(2001, lon), np.full(2001, lat), lons, lats)[2].min())


EDGES = {
    "a shop": ([2.35, 48.85, 2.3505, 48.8503], [(2.3502, 48.8505), (2.36, 48.86), (2.3, 48.8)]),
    "across the seam": ([179.9, 10.0, 180.2, 10.1], [(-179.9, 10.0), (179.8, 9.9), (-179.7, 11.0)]),
    "a long parallel": ([-30.0, 60.0, 30.0, 60.0], [(0.0, 61.0), (0.0, 59.0), (31.0, 60.0)]),
    "a steep long edge": ([0.0, 0.0, 60.0, 70.0], [(30.0, 20.0), (50.0, 68.0), (-5.0, 1.0)]),
    "near a pole": ([10.0, 89.0, 100.0, 89.5], [(50.0, 89.9), (-120.0, 89.9), (0.0, 90.0)]),
    "over the pole": ([180.0, 80.0, 180.0, 89.0], [(0.0, 89.9), (10.0, 89.5)]),
    "far away": ([2.35, 48.85, 2.36, 48.86], [(2.0, 40.0), (-100.0, 10.0), (-177.0, -48.0)]),
    "a point": ([5.0, 5.0, 5.0, 5.0], [(5.0, 5.0), (5.001, 5.0), (7.0, 9.0)]),
}


@pytest.mark.parametrize("name", EDGES)
def test_distance_to_an_edge_agrees_with_brute_force(name):
    segment, points = EDGES[name]
    edges = geodesy.Edges(np.array([segment]))
    for lon, lat in points:
        exact = densely(segment, lon, lat)
        assert edges.distance(lon, lat) == pytest.approx(exact, abs=max(1e-3, 1e-9 * exact))


def test_a_point_on_an_edge_is_at_no_distance():
    edges = geodesy.Edges(np.array([[0.0, 10.0, 0.2, 10.4], [5.0, 5.0, 6.0, 5.0]]))
    assert edges.distance(0.1, 10.2) < 1e-6
    assert edges.distance(5.5, 5.0) < 1e-6


def test_the_nearest_of_many_edges_is_found():
    angle = np.linspace(0.0, 2 * math.pi, 2001)
    ring = np.column_stack((10 + 0.01 * np.cos(angle), 50 + 0.01 * np.sin(angle)))
    rows = np.hstack((ring[:-1], ring[1:]))
    edges = geodesy.Edges(rows)
    for lon, lat in ((10.0, 50.0), (10.02, 50.0), (10.009, 50.001)):
        each = min(geodesy.Edges(row[None, :]).distance(lon, lat) for row in rows)
        assert edges.distance(lon, lat) == pytest.approx(each, abs=1e-4)


def test_edges_round_the_world_cost_a_bounded_number_of_pieces():
    rows = np.column_stack(
        (np.full(2000, -180.0), np.linspace(-80, 80, 2000), np.full(2000, 180.0), np.zeros(2000))
    )
    assert geodesy.Edges(rows).weight <= 2000 + geodesy.MAX_EXTRA_PIECES


@pytest.mark.parametrize("lat", [0.0, 37.0, -60.0, 85.0, 89.9, -90.0])
@pytest.mark.parametrize("metres", [1.0, 300.0, 50_000.0, 2_000_000.0])
@pytest.mark.parametrize("lon", [0.0, 179.999, -180.0])
def test_boxes_hold_all_that_is_within(lon, lat, metres):
    boxes = geodesy.boxes_within(lon, lat, metres)
    azimuths = np.linspace(-180.0, 180.0, 721)
    count = np.full(721, 1.0)
    lons, lats, _ = geodesy.geod().fwd(lon * count, lat * count, azimuths, metres * count)
    for x, y in zip(lons, lats, strict=True):
        assert any(w <= x <= e and s <= y <= n for w, s, e, n in boxes)


def test_boxes_do_not_overlap():
    for lon in np.linspace(-180, 180, 37):
        for lat in (0.0, 70.0, 89.0):
            boxes = geodesy.boxes_within(float(lon), lat, 80_000.0)
            if len(boxes) == 2:
                (w0, *_, e0, _), (w1, *_, e1, _) = boxes
                assert e0 < w1 or e1 < w0


def test_a_chord_that_is_sure_is_sure():
    generator = np.random.default_rng(3)
    for metres in (1.0, 1000.0, 1e6, 1e7):
        lats = generator.uniform(-90, 90, 200)
        away = generator.uniform(0, 360, 200)
        lon1, lat1, _ = geodesy.geod().fwd(np.zeros(200), lats, away, np.full(200, metres))
        here = geodesy.many_earth_centred(np.zeros(200), lats)
        chords = np.linalg.norm(geodesy.many_earth_centred(lon1, lat1) - here, axis=0)
        assert (chords >= geodesy.sure_chord(metres)).all()
        assert (chords <= metres + geodesy.SLACK_M).all()


def test_one_point_and_many_points_are_the_same_points():
    many = geodesy.many_earth_centred(np.array([12.5]), np.array([-33.0]))
    assert many[:, 0].tolist() == pytest.approx(geodesy.earth_centred(12.5, -33.0), abs=1e-8)


@pytest.mark.parametrize("lat", [-70.0, -33.3, 0.0, 48.85, 69.9])
@pytest.mark.parametrize("lon", [2.35, -179.999])
def test_a_plane_measures_as_the_ellipsoid_does_close_by(lon, lat):
    for azimuth in range(0, 360, 30):
        for metres in (0.1, 10.0, 500.0, geodesy.PLANE_M):
            x, y, _ = geodesy.geod().fwd(lon, lat, azimuth, metres)
            if abs(y) <= geodesy.PLANE_DEG:
                found = geodesy.plane_metres_between(lon, lat, x, y)
                assert found == pytest.approx(metres, abs=1e-4)
