"""A circle for phones must hold the fence: all of it, wherever on the earth, and not much more."""

from __future__ import annotations

import json
from typing import Any

import pytest

from geofences import Fence, FenceIndex, load, loads
from proximity.phones.covering import covering_circle

MOST_M = 100_000.0


def fence(kind: str, coordinates: Any, **properties: Any) -> Fence:
    geometry = {"type": kind, "coordinates": coordinates}
    feature = {"type": "Feature", "id": "f", "properties": properties, "geometry": geometry}
    return loads(json.dumps(feature), "test").fences[0]


def reach(drawn: Fence, points: list[tuple[float, float]]) -> list[float]:
    """How far points lie from the centre of a fence's circle, in metres on the ellipsoid."""
    circle = covering_circle(drawn, MOST_M)
    assert circle is not None
    middle = fence("Point", [circle.lon, circle.lat], radius_m=0.001)
    index = FenceIndex([middle])
    return [index.distance("f", lon, lat) for lon, lat in points]


def test_a_circle_is_itself() -> None:
    circle = covering_circle(fence("Point", [179.9, -89.0], radius_m=60), MOST_M)
    assert circle == (179.9, -89.0, 60.0)


SQUARE = [[2.35, 48.85], [2.351, 48.85], [2.351, 48.8506], [2.35, 48.8506], [2.35, 48.85]]


def test_a_rectangle_is_held_by_no_more_than_its_own_circle() -> None:
    shop = fence("Polygon", [SQUARE])
    circle = covering_circle(shop, MOST_M)
    assert circle is not None
    assert (circle.lon, circle.lat) == pytest.approx((2.3505, 48.8503), abs=1e-7)
    half_diagonal = max(reach(shop, [(lon, lat) for lon, lat in SQUARE]))
    assert half_diagonal < circle.radius_m < 1.01 * half_diagonal


def test_a_corridor_and_circles_reach_as_far_beyond_what_was_drawn_as_they_are_wide() -> None:
    line = fence("LineString", [[2.35, 48.85], [2.36, 48.85]], radius_m=40)
    both = fence("MultiPoint", [[2.35, 48.85], [2.36, 48.85]], radius_m=40)
    for drawn in (line, both):
        circle = covering_circle(drawn, MOST_M)
        assert circle is not None
        half = max(reach(drawn, [(2.35, 48.85), (2.36, 48.85)]))
        assert half + 40.0 < circle.radius_m < 1.01 * half + 41.0


@pytest.mark.parametrize(
    ("kind", "coordinates"),
    [
        ("Polygon", [[[179.99, 1], [-179.99, 1], [-179.99, 1.02], [179.99, 1.02], [179.99, 1]]]),
        (
            "MultiPolygon",
            [
                [[[179.99, 1], [180, 1], [180, 1.02], [179.99, 1.02], [179.99, 1]]],
                [[[-180, 1], [-179.99, 1], [-179.99, 1.02], [-180, 1.02], [-180, 1]]],
            ],
        ),
    ],
)
def test_a_fence_across_the_seam_is_small_there_too(kind: str, coordinates: Any) -> None:
    circle = covering_circle(fence(kind, coordinates), MOST_M)
    assert circle is not None
    assert abs(circle.lon) == pytest.approx(180.0, abs=1e-6)
    assert 1500.0 < circle.radius_m < 1700.0


def test_a_ring_round_a_pole_is_held_with_the_pole() -> None:
    ring = fence("Polygon", [[[0, 89.9], [120, 89.9], [-120, 89.9], [0, 89.9]]])
    circle = covering_circle(ring, MOST_M)
    assert circle is not None
    # Edges along the parallel bulge far beyond the chords between their three ends.
    along = [(float(lon), 89.9) for lon in range(-180, 180, 5)]
    assert max(reach(ring, [*along, (0.0, 90.0)])) < circle.radius_m < 12_500.0


@pytest.mark.parametrize(
    ("kind", "coordinates"),
    [
        ("Polygon", [[[0, 0], [10, 0], [10, 10], [0, 10], [0, 0]]]),
        ("Polygon", [[[0, 0], [10, 0], [10, 0.1], [0, 0.1], [0, 0]]]),
        ("Polygon", [[[-180, -80], [180, -80], [180, -90], [-180, -90], [-180, -80]]]),
        ("MultiPoint", [[0, 0], [180, 0]]),
        ("MultiPoint", [[0, 0], [90, 0], [-90, 0], [180, 0]]),
    ],
)
def test_what_is_wider_than_may_be_has_none(kind: str, coordinates: Any) -> None:
    assert covering_circle(fence(kind, coordinates, radius_m=10), MOST_M) is None


def test_a_circle_wider_than_may_be_has_none() -> None:
    assert covering_circle(fence("Point", [0, 0], radius_m=MOST_M + 1.0), MOST_M) is None


def test_real_outlines_lie_in_their_circles(shared_data: Any) -> None:
    zones = load(next(shared_data("nyc-taxi-zones").glob("*.geojson")))
    assert len(zones) > 50
    for zone in zones:
        rings = [rings[0] for leaf in zone.geometry.leaves() for rings in leaf.polygons()]
        corners = [(float(lon), float(lat)) for ring in rings for lon, lat in ring[:, :2]]
        circle = covering_circle(zone, MOST_M)
        assert circle is not None
        assert max(reach(zone, corners)) <= circle.radius_m
