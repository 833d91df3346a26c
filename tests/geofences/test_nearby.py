"""The few edges close by are measured as the geodesics to them are."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from geofences import Fence, FenceIndex, near
from geofences.geodesy import Edges
from geofences.nearby import MOST_LAT, WITHIN_M, Nearby, distances
from tests.geofences.drawn import box, fences


def ring(dice: random.Random, lon: float, lat: float, size_m: float) -> list[tuple[float, float]]:
    """Draw a closed ring of 3 to 30 corners, ragged, that reaches some metres from its middle."""
    count = dice.randint(3, 30)
    wide = size_m / 111_320.0
    corners = []
    for number in range(count):
        turn, reach = 2.0 * math.pi * number / count, wide * dice.uniform(0.3, 0.9)
        east = reach * math.cos(turn) / math.cos(math.radians(lat))
        corners.append((lon + east, lat + reach * math.sin(turn)))
    return [*corners, corners[0]]


@pytest.mark.parametrize("seed", range(40))
def test_edges_nearby_are_measured_along_geodesics_to_a_tenth_of_a_millimetre(seed):
    dice = random.Random(seed)
    lon, lat = dice.uniform(-179.0, 179.0), dice.uniform(-59.5, 59.5)
    corners = ring(dice, lon, lat, 10.0 ** dice.uniform(0.0, 2.9))
    nearby = Nearby.of(*zip(*corners, strict=True))
    assert nearby is not None
    rows = np.array(corners)
    edges = Edges(np.hstack((rows[:-1], rows[1:])))
    measured = 0
    for _ in range(40):
        (x, y), metres = dice.choice(corners), 10.0 ** dice.uniform(-3.0, 2.9)
        turn = dice.uniform(0.0, 7.0)
        x += metres * math.cos(turn) / 111_320.0 / math.cos(math.radians(lat))
        y += metres * math.sin(turn) / 111_320.0
        found = nearby.distance(x, y)
        if found is not None:
            measured += 1
            assert found == pytest.approx(edges.distance(x, y), abs=1e-4)
    assert measured > 10


def test_corners_and_what_lies_on_an_edge_are_at_no_distance():
    nearby = Nearby.of([2.0, 2.01, 2.01, 2.0], [48.0, 48.0, 48.01, 48.0])
    assert nearby is not None
    for lon, lat in [(2.0, 48.0), (2.01, 48.01), (2.004, 48.0), (2.005, 48.005)]:
        assert nearby.distance(lon, lat) == pytest.approx(0.0, abs=1e-8)


def test_there_is_no_edge_beside_a_break_nor_along_a_corner_drawn_twice():
    lons = [0.0, 0.001, 0.001, 0.001, 0.0, math.nan, 0.004, 0.005, 0.005, 0.004]
    lats = [0.0, 0.0, 0.0, 0.001, 0.0, math.nan, 0.0, 0.0, 0.001, 0.0]
    nearby = Nearby.of(lons, lats)
    assert nearby is not None
    # Midway between the two rings, a thousandth and a half of a degree from either.
    assert nearby.distance(0.0025, 0.0) == pytest.approx(166.979, abs=0.001)


def test_what_is_wide_far_or_polar_is_left_to_others():
    tall = 2.2 * WITHIN_M / 111_000.0
    assert Nearby.of([0.0, 0.001, 0.0, 0.0], [0.0, 0.0, tall, 0.0]) is None
    polar = MOST_LAT + 0.01
    assert Nearby.of([0.0, 0.001, 0.0, 0.0], [polar, polar, polar + 0.001, polar]) is None
    small = Nearby.of([179.99, 179.991, 179.99, 179.99], [0.0, 0.0, 0.001, 0.0])
    assert small is not None
    assert small.distance(179.98, 0.02) is None
    assert small.distance(-179.995, 0.0) is None


@pytest.mark.parametrize("seed", range(5))
def test_many_at_once_are_measured_as_one_by_one_to_the_last_bit(seed):
    dice = random.Random(seed)
    places, lons, lats = [], [], []
    for _ in range(200):
        lon, lat = dice.uniform(-179.0, 179.0), dice.uniform(-59.5, 59.5)
        corners = ring(dice, lon, lat, 10.0 ** dice.uniform(0.0, 2.9))
        place = Nearby.of(*zip(*corners, strict=True))
        assert place is not None
        # About a corner, upon it, or too far away.
        off = dice.choice([0.0, 1e-6, 1e-4, 1e-3, 0.1])
        x, y = dice.choice(corners)
        places.append(place)
        lons.append(x + dice.uniform(-off, off))
        lats.append(y + dice.uniform(-off, off))
    expected = [place.distance(x, y) for place, x, y in zip(places, lons, lats, strict=True)]
    found = distances(places, np.array(lons), np.array(lats)).tolist()
    assert [None if math.isnan(metres) else metres for metres in found] == expected
    assert {metres is None for metres in expected} == {False, True}


def square(place: str, west: float) -> Fence:
    """Draw a square of a thousandth of a degree whose south-west corner lies on the equator."""
    return fences(box(west, 0.0, west + 0.001, 0.001, place))[0]


def test_an_edit_is_measured_at_once(monkeypatch):
    monkeypatch.setattr(near, "KEPT_NEARBY", 1)
    index = FenceIndex([square("a", 0.0), square("b", 0.003)])
    assert index.distance("a", 0.002, 0.0005) == pytest.approx(111.32, abs=0.01)
    assert index.distance("b", 0.002, 0.0005) == pytest.approx(111.32, abs=0.01)
    index.put(square("b", 0.004))
    assert index.distance("b", 0.002, 0.0005) == pytest.approx(222.64, abs=0.01)
    assert index.distance("b", 0.0045, 0.0002) == pytest.approx(-22.11, abs=0.01)


def test_what_is_known_of_the_side_is_taken():
    index = FenceIndex([square("a", 0.0)])
    inside, outside = (0.0005, 0.0002), (0.0005, -0.0002)
    assert index.distance("a", *inside, held=True) == index.distance("a", *inside) < 0.0
    assert index.distance("a", *outside, held=False) == index.distance("a", *outside) > 0.0
    assert index.distance("a", 0.0005, 0.0) == 0.0
