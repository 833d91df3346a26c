from __future__ import annotations

import math

import numpy as np
import pytest

from geofences import outline
from tests.geofences.drawn import box, faults, feature, fences, index, polygon

# What people draw around ±180° and the poles, and points in and out of it.
DRAWN = {
    "unsplit across the seam": (
        box(177, -19, -179, -16),
        [(178, -17), (180, -17), (-180, -17), (-179.5, -17), (-179, -16), (177, -19)],
        [(176.9, -17), (-178.9, -17), (0, -17), (180, -15.9)],
    ),
    "unsplit, begun east of the seam": (
        polygon([[-179, -19], [-179, -16], [177, -16], [177, -19], [-179, -19]]),
        [(178, -17), (180, -17), (-180, -17), (-179.5, -17)],
        [(176.9, -17), (-178.9, -17), (0, -17)],
    ),
    "split as RFC 7946 says": (
        feature(
            {
                "type": "MultiPolygon",
                "coordinates": [
                    [[[177, -19], [180, -19], [180, -16], [177, -16], [177, -19]]],
                    [[[-180, -19], [-179, -19], [-179, -16], [-180, -16], [-180, -19]]],
                ],
            }
        ),
        [(178, -17), (180, -17), (-180, -17), (-179.5, -17), (-180, -19)],
        [(176.9, -17), (-178.9, -17), (0, -17), (180, -19.01)],
    ),
    "an outline that names the seam 180 here and -180 there": (
        polygon([[170, 0], [180, 0], [-180, 10], [170, 10], [170, 0]]),
        [(175, 5), (180, 5), (-180, 5), (180, 10)],
        [(-179, 5), (169, 5)],
    ),
    "once round the north pole": (
        polygon([[0, 60], [90, 60], [180, 60], [-90, 60], [0, 60]]),
        [(0, 90), (123, 90), (-77, 89), (45, 60), (-180, 70), (180, 60), (0, 75)],
        [(0, 59.9), (0, -90), (180, 59)],
    ),
    "once round the south pole, eastward or westward alike": (
        polygon([[0, -60], [-90, -60], [180, -60], [90, -60], [0, -60]]),
        [(0, -90), (10, -90), (-77, -89), (45, -60), (-180, -70)],
        [(0, -59.9), (0, 90), (180, -59)],
    ),
    "once round a pole, closed by the other name of the seam": (
        polygon([[-180, -70], [-90, -70], [0, -70], [90, -70], [180, -70]]),
        [(0, -90), (180, -80), (-180, -80), (0, -70)],
        [(0, -69), (0, 90)],
    ),
    "a cap as RFC 7946 draws it, along the seam and the pole": (
        box(-180, 80, 180, 90),
        [(0, 90), (180, 85), (-180, 85), (50, 80), (7, 90)],
        [(0, 79.9), (0, -90)],
    ),
    "an edge along the seam to the pole": (
        polygon([[-180, -60], [0, -60], [180, -60], [-180, -90], [-180, -60]]),
        [(0, -90), (180, -75), (-180, -75), (50, -60)],
        [(0, -59.9), (0, 90)],
    ),
    "a wedge that ends in the pole": (
        polygon([[0, 80], [90, 80], [45, 90], [0, 80]]),
        [(45, 90), (-120, 90), (45, 85), (0, 80)],
        [(-10, 85), (180, 89)],
    ),
    "a ring round the pole with a hole round the pole": (
        polygon(
            [[0, 60], [90, 60], [180, 60], [-90, 60], [0, 60]],
            [[30, 80], [150, 80], [-90, 80], [30, 80]],
        ),
        [(0, 70), (180, 70), (30, 80), (-150, 80), (30, 79.9)],
        [(0, 90), (33, 85), (180, 81), (0, 59), (30, 80.1), (30, 89)],
    ),
    "a ring round the pole with a hole across its cut": (
        polygon(
            [[0, 60], [90, 60], [180, 60], [-90, 60], [0, 60]],
            [[-5, 70], [5, 70], [5, 75], [-5, 75], [-5, 70]],
        ),
        [(0, 65), (5, 70), (0, 75), (6, 72), (0, 90), (180, 72)],
        [(0, 72), (-4, 74), (4, 71), (0, 59)],
    ),
    "a band round the world with a hole across the seam": (
        polygon(
            [[-180, -10], [180, -10], [180, 10], [-180, 10], [-180, -10]],
            [[170, -5], [-170, -5], [-170, 5], [170, 5], [170, -5]],
        ),
        [(0, 0), (165, 0), (170, 0), (-170, 5), (180, 7)],
        [(180, 0), (-180, 4.9), (175, 0), (-171, 0), (0, 11)],
    ),
    "an unsplit outline with its hole across the seam": (
        polygon(
            [[170, -9], [-170, -9], [-170, 9], [170, 9], [170, -9]],
            [[-179, -5], [179, -5], [179, 5], [-179, 5], [-179, -5]],
        ),
        [(178, 0), (-178, 0), (179, 5), (180, 6)],
        [(180, 0), (-179.5, 1), (0, 0)],
    ),
    "an unsplit outline with a hole beyond the seam": (
        polygon(
            [[170, -9], [-170, -9], [-170, 9], [170, 9], [170, -9]],
            [[-178, -5], [-172, -5], [-172, 5], [-178, 5], [-178, -5]],
        ),
        [(178, 0), (180, 0), (-179, 0), (-178, 5), (-171, 0)],
        [(-177, 0), (-173, 4.9), (0, 0)],
    ),
    "the whole world": (
        box(-180, -90, 180, 90),
        [(0, 0), (180, 0), (0, 90), (0, -90), (-180, 45)],
        [],
    ),
}


@pytest.mark.parametrize("name", DRAWN)
def test_what_is_drawn_around_the_seam_and_the_poles(name):
    drawn, inside, outside = DRAWN[name]
    found = index(drawn)
    points = [*inside, *outside]
    assert [bool(found.locate(*p)) for p in points] == [True] * len(inside) + [False] * len(outside)
    which, _ = found.locate_many([p[0] for p in points], [p[1] for p in points])
    assert which.tolist() == list(range(len(inside)))
    for point in points:
        near = dict(found.within(*point, 1e8))
        assert (near["a"] <= 0.0) == (point in inside), point


def test_the_seam_between_split_halves_is_no_edge():
    drawn, _, _ = DRAWN["split as RFC 7946 says"]
    whole, _, _ = DRAWN["unsplit across the seam"]
    for lon in (180.0, -180.0, 179.9999, -179.99):
        split = dict(index(drawn).within(lon, -17.5, 0.0))["a"]
        assert split == pytest.approx(dict(index(whole).within(lon, -17.5, 0.0))["a"], abs=1e-6)
        assert split < -100_000


def test_a_half_whose_other_half_is_missing_ends_at_the_seam():
    found = index(box(177, -19, 180, -16))
    assert dict(found.within(-180.0, -17.0, 1.0)) == {"a": 0.0}
    outside = dict(found.within(-179.999, -17.0, 1000.0))["a"]
    assert outside == pytest.approx(0.001 * 111_319.5 * math.cos(math.radians(17)), rel=1e-3)


def test_a_pole_within_is_no_edge():
    found = index(box(-180, 80, 180, 90))
    assert dict(found.within(0.0, 90.0, 0.0))["a"] == pytest.approx(-1_116_000, rel=0.01)
    assert index(box(-180, -90, 180, 90)).within(10.0, 10.0, 0.0) == [("a", -20_003_931.46)]


FAULTY = {
    "crosses itself": (
        polygon([[0, 0], [2, 2], [2, 0], [0, 2], [0, 0]]),
        "the outline crosses itself, near longitude 1.000000, latitude 1.000000",
    ),
    "crosses itself beyond the seam": (
        polygon([[179, 0], [-179, 2], [-179, 0], [179, 2], [179, 0]]),
        "near longitude -180.000000, latitude 1.000000",
    ),
    "touches itself": (
        polygon([[0, 0], [2, 0], [1, 1], [2, 2], [0, 2], [1, 1], [0, 0]]),
        "the outline touches itself",
    ),
    "a hole crosses itself": (
        polygon([[0, 0], [9, 0], [9, 9], [0, 9], [0, 0]], [[1, 1], [2, 2], [2, 1], [1, 2], [1, 1]]),
        "hole 1 crosses itself",
    ),
    "a hole outside": (
        polygon([[0, 0], [1, 0], [1, 1], [0, 0]], [[5, 5], [6, 5], [6, 6], [5, 5]]),
        "has a hole that lies outside its outline",
    ),
    "a hole across the outline": (
        polygon([[0, 0], [4, 0], [4, 4], [0, 4], [0, 0]], [[3, 1], [6, 1], [6, 2], [3, 1]]),
        "has a hole that crosses another ring",
    ),
    "a hole round a pole in a small outline": (
        polygon([[0, 60], [9, 60], [9, 70], [0, 60]], [[0, 80], [120, 80], [-120, 80], [0, 80]]),
        "has a hole that",
    ),
    "a cut that leaves a ring round a pole": (
        polygon(
            [[0, 60], [90, 60], [180, 60], [-90, 60], [0, 60]],
            [[0, 50], [9, 50], [9, 70], [0, 50]],
        ),
        "hole 1 leaves its outline",
    ),
    "a cut that crosses itself": (
        polygon(
            [[0, 60], [90, 60], [180, 60], [-90, 60], [0, 60]],
            [[0, 70], [9, 80], [9, 70], [0, 80], [0, 70]],
        ),
        "hole 1 crosses itself",
    ),
    "round a pole twice": (
        polygon(
            [[0, 60], [120, 60], [-120, 60], [0, 61], [120, 61], [-120, 61], [0, 60]],
        ),
        "goes round a pole more than once",
    ),
    "round the world over itself": (
        polygon(
            [
                [0, 0],
                [120, 0],
                [-120, 0],
                [0, 0],
                [90, 0],
                [90, 1],
                [0, 1],
                [-120, 1],
                [120, 1],
                [0, 1],
                [0, 0],
            ],
        ),
        "winds round the world over itself",
    ),
    "halves the earth": (
        polygon([[0, 0], [120, 0], [-120, 0], [0, 0]]),
        "neither pole lies on a smaller side",
    ),
    "encloses nothing": (
        polygon([[0, 0], [1, 1], [2, 2], [0, 0]]),
        "the outline encloses no area",
    ),
    "parts overlap": (
        feature(
            {
                "type": "MultiPolygon",
                "coordinates": [
                    [[[0, 0], [4, 0], [4, 4], [0, 0]]],
                    [[[2, 1], [6, 1], [6, 2], [2, 1]]],
                ],
            }
        ),
        "has parts that overlap",
    ),
    "a part within a part": (
        feature(
            {
                "type": "MultiPolygon",
                "coordinates": [
                    [[[0, 0], [9, 0], [9, 9], [0, 9], [0, 0]]],
                    [[[2, 1], [6, 1], [6, 2], [2, 1]]],
                ],
            }
        ),
        "has a part within another",
    ),
    "parts overlap across the seam": (
        feature(
            {
                "type": "MultiPolygon",
                "coordinates": [
                    [[[170, 0], [-170, 0], [-170, 9], [170, 9], [170, 0]]],
                    [[[-179, 1], [-160, 1], [-160, 2], [-179, 1]]],
                ],
            }
        ),
        "has parts that overlap across ±180°",
    ),
    "one part of two is bad": (
        feature(
            {
                "type": "MultiPolygon",
                "coordinates": [
                    [[[0, 0], [4, 0], [4, 4], [0, 0]]],
                    [[[10, 10], [12, 12], [12, 10], [10, 12], [10, 10]]],
                ],
            }
        ),
        "part 1: the outline crosses itself, near longitude 11.000000",
    ),
}


@pytest.mark.parametrize("name", FAULTY)
def test_unsound_outlines_are_refused_with_the_place(name):
    drawn, expected = FAULTY[name]
    found = faults(drawn)
    assert any(expected in each for each in found), found
    assert all("feature 'a'" in each for each in found)


def test_parts_that_meet_only_across_the_seam_are_sound():
    apart = [[[-169, 1], [-160, 1], [-160, 2], [-169, 1]]]
    beside = [[[-170, 0], [-160, 0], [-160, 9], [-170, 9], [-170, 0]]]
    in_a_corner = [[[-160, 8], [-160, 20], [-175, 20], [-160, 8]]]
    for other in (apart, beside, in_a_corner):
        parts = [[[[170, 0], [-170, 0], [-170, 9], [170, 9], [170, 0]]], other]
        assert not faults(feature({"type": "MultiPolygon", "coordinates": parts}))


def test_a_ring_once_round_that_visits_its_pole_is_cut_there():
    ring = np.array([[0, 60], [120, 60], [120, 90], [120, 60], [-120, 60], [0, 60]], float)
    closed = outline.close(ring)
    assert isinstance(closed, outline.Ring)
    assert closed.polar
    assert closed.east - closed.west == 360.0


def test_a_ring_closed_at_the_pole_by_another_longitude():
    found = fences(polygon([[0, 90], [10, 80], [20, 80], [5, 90]]))
    assert len(found) == 1


def test_folds_that_cannot_be_checked_in_bounded_time_are_refused():
    count = 20_000
    nth = np.arange(count)
    zigzag = np.column_stack((nth / count + nth % 2, nth % 2))
    ring = np.vstack((zigzag, [[3, -1], [0, -1], zigzag[0]]))
    flaws = outline.flaws([[ring]], outline.Budget())
    assert "cannot be checked in bounded time" in flaws[0].what
    few = np.vstack((zigzag[:1000], [[3, -1], [0, -1], zigzag[0]]))
    budget = outline.Budget()
    assert outline.flaws([[few]], budget) == []
    assert budget.pairs < outline.MAX_PAIRS
    assert outline.flaws([[few]], outline.Budget(pairs=0)) != []


def test_a_scribble_too_large_to_check_still_shows_a_crossing():
    generator = np.random.default_rng(1)
    ring = generator.random((20_000, 2))
    flaws = outline.flaws([[np.vstack((ring, ring[:1]))]], outline.Budget())
    assert flaws[0].what == "the outline crosses itself"
    assert flaws[0].where.startswith("near longitude 0.")


def test_pairs_are_bounded_from_above():
    square = np.array([[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]], float)
    # Three monotone runs, all of which meet; another square far off meets none of them.
    assert outline.pairs_bound([square]) == 3
    assert outline.pairs_bound([square, square + 5]) == 6
