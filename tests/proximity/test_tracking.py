"""Where a subject is, fix by fix, and what that says of one fence."""

from __future__ import annotations

from math import hypot, inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proximity.engine.tracking import (
    FAR_M,
    LEAST_ACCURACY_M,
    MIN_CONFIDENCE,
    TRACK,
    UNKNOWN_ACCURACY_M,
    Where,
    accuracy_of,
    fits_level,
    follow,
    inside,
    is_driving,
    is_still,
    judge,
    moved,
    offset,
    phi,
    point,
)
from proximity.model import Fix
from tests.street import at, box, feature, fences, fix

SHOP = fences(feature("shop", box(0, 0, 30, 30)))[0]
ON_FOOT = fences(feature("shop", box(0, 0, 30, 30), on_foot=True))[0]
UPSTAIRS = fences(
    feature("shop", box(0, 0, 30, 30), floor=2, min_altitude_m=10, max_altitude_m=20)
)[0]
HERE = Where(*at(0, 0), 10.0, "position")


def followed(*fixes: Fix) -> list[Where]:
    """Follow one subject, and give where each fix puts it."""
    track, found = b"", []
    for one in fixes:
        track, where = follow(track, one)
        found.append(where)
    return found


def metres(where: Where) -> float:
    """Give how far from the middle of the street that is."""
    return hypot(*offset(*at(0, 0), where.lon, where.lat))


# -- what a fix says of itself ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stated", "reckoned"),
    [
        (None, UNKNOWN_ACCURACY_M),
        (0.0, UNKNOWN_ACCURACY_M),
        (1.0, LEAST_ACCURACY_M),
        (25.0, 25.0),
    ],
)
def test_accuracy_is_floored_and_never_missing(stated: float | None, reckoned: float) -> None:
    assert accuracy_of(fix(0.0, 0, 0, accuracy_m=stated)) == reckoned


@pytest.mark.parametrize(
    ("more", "still"),
    [
        ({}, False),
        ({"speed_mps": 0.1}, True),
        ({"speed_mps": 1.4}, False),
        ({"speed_mps": -1.0}, False),
        ({"motion": "stationary", "speed_mps": 9.0}, True),
        ({"motion": "walking", "speed_mps": 0.0}, False),
    ],
)
def test_still_is_what_the_phone_says(more: dict[str, Any], still: bool) -> None:
    assert is_still(fix(0.0, 0, 0, **more)) is still


@pytest.mark.parametrize(
    ("more", "driving"),
    [
        ({}, False),
        ({"speed_mps": 1.4}, False),
        ({"speed_mps": 12.0}, True),
        ({"motion": "automotive"}, True),
        ({"motion": "walking", "speed_mps": 1.0}, False),
    ],
)
def test_driving_is_what_the_phone_says(more: dict[str, Any], driving: bool) -> None:
    assert is_driving(fix(0.0, 0, 0, **more)) is driving


@pytest.mark.parametrize(
    ("more", "fits"),
    [
        ({}, True),
        ({"floor": 2}, True),
        ({"floor": 1}, False),
        ({"altitude_m": 9.0}, False),
        ({"altitude_m": 10.0}, True),
        ({"altitude_m": 20.0}, True),
        ({"altitude_m": 21.0}, False),
        ({"altitude_m": 15.0, "floor": 3}, False),
    ],
)
def test_floor_and_altitude_must_allow_the_fence(more: dict[str, Any], fits: bool) -> None:
    assert fits_level(fix(0.0, 0, 0, **more), UPSTAIRS) is fits
    assert fits_level(fix(0.0, 0, 0, **more), SHOP)


# -- the frame ----------------------------------------------------------------------------------

lons, lats = st.floats(-180.0, 180.0), st.floats(-85.0, 85.0)
steps = st.floats(-3000.0, 3000.0)


@given(lons, lats, steps, steps)
def test_there_and_back_is_nowhere_on_any_meridian(
    lon: float, lat: float, east: float, north: float
) -> None:
    there = moved(lon, lat, east, north)
    assert -180.0 <= there[0] < 180.0
    found = offset(lon, lat, *there)
    assert found == pytest.approx((east, north), abs=1e-4)
    assert offset(*there, lon, lat) == pytest.approx((-east, -north), abs=1e-4)


def test_at_a_pole_there_is_always_an_answer() -> None:
    lon, lat = moved(12.0, 90.0, 500.0, 500.0)
    assert (lat, -180.0 <= lon < 180.0) == (90.0, True)
    assert offset(12.0, 90.0, -100.0, 90.0)[1] == 0.0


# -- following ----------------------------------------------------------------------------------


def test_a_first_fix_is_where_one_is() -> None:
    (where,) = followed(fix(1000, 0, 0, accuracy_m=15.15))
    assert metres(where) < 0.01
    assert where.sd_m == pytest.approx(10.4, abs=0.1)
    assert (where.rule, where.since, where.way) == ("position", inf, None)


def test_a_walk_is_followed() -> None:
    found = followed(*[fix(1000 + 10 * n, 13.0 * n, 0) for n in range(12)])
    assert {where.rule for where in found} == {"position"}
    assert metres(found[-1]) == pytest.approx(143.0, abs=8.0)
    assert found[-1].standing < 0.1
    assert found[-1].way == (point(fix(1090, 117, 0)), point(fix(1100, 130, 0)))


def test_what_says_nothing_leaves_no_trace() -> None:
    track, _ = follow(b"", fix(1000, 0, 0))
    for nothing in (fix(1000, 0, 0), fix(1000, 90, 0), fix(990, 0, 0)):
        after, where = follow(track, nothing)
        assert (after, where.rule) == (track, "again")
    after, where = follow(track, fix(1010, 0, 0, mock=True))
    assert (after, where.rule) == (track, "mock")
    assert follow(b"", fix(1000, 0, 0, mock=True))[0] == b""


def test_a_jump_is_set_aside_whatever_it_claims() -> None:
    found = followed(
        *[fix(1000 + 10 * n, 0, 0) for n in range(6)],
        fix(1060, 250, 0, accuracy_m=2.0),
        fix(1070, 0, 0),
    )
    assert [where.rule for where in found[6:]] == ["jump", "position"]
    assert metres(found[7]) < 5.0
    assert found[7].aside == 1


def test_a_jump_is_told_from_a_walk_after_a_gap_too() -> None:
    standing = [fix(1000 + 10 * n, 0, 0) for n in range(60)]
    assert followed(*standing, fix(2200, FAR_M + 40.0, 0))[-1].rule == "jump"
    assert followed(*standing, fix(2200, FAR_M - 40.0, 0))[-1].rule == "position"


def test_jumps_that_agree_for_long_are_a_journey() -> None:
    standing = [fix(1000 + 10 * n, 0, 0) for n in range(6)]
    there = [fix(1060 + 10 * n, 250, 5.0 * n) for n in range(6)]
    found = followed(*standing, *there)[6:]
    assert [where.rule for where in found] == ["jump"] * 5 + ["agreed"]
    assert (found[-1].since, found[-1].aside) == (1060.0, 5)
    assert metres(found[-1]) == pytest.approx(251.0, abs=1.0)
    assert found[-1].way == (point(standing[-2]), point(standing[-1]), point(there[-2]))


def test_jumps_hither_and_thither_agree_on_nothing() -> None:
    standing = [fix(1000 + 10 * n, 0, 0) for n in range(6)]
    storm = [fix(1060 + 10 * n, 280 * (-1) ** n, 0, accuracy_m=3.0) for n in range(12)]
    assert {where.rule for where in followed(*standing, *storm)[6:]} == {"jump"}


def test_one_who_says_to_drive_is_where_each_fix_says() -> None:
    found = followed(*[fix(1000 + 10 * n, 150.0 * n, 0, motion="automotive") for n in range(6)])
    assert {where.rule for where in found[1:]} == {"driving"}
    assert metres(found[-1]) == pytest.approx(750.0, rel=0.01)


def test_who_says_to_stand_stands_sooner() -> None:
    walk = [fix(1000 + 10 * n, 14.0 * n, 0, motion="walking") for n in range(6)]
    rest = [(1060 + 10 * n, 70 + 6.0 * (-1) ** n, 0) for n in range(6)]
    silent, told, wrong = (
        followed(*walk, *[fix(*one, **more) for one in rest])[-1]
        for more in ({}, {"motion": "stationary"}, {"motion": "walking"})
    )
    assert wrong.standing < silent.standing < told.standing
    assert told.sd_m < silent.sd_m


def test_nobody_drives_faster_than_he_says() -> None:
    standing = [fix(1000 + 10 * n, 0, 0) for n in range(6)]
    assert followed(*standing, fix(1060, 250, 0, speed_mps=6.0))[-1].rule == "jump"
    assert followed(*standing, fix(1060, 250, 0, speed_mps=20.0))[-1].rule == "driving"
    assert followed(*standing, fix(1060, 5000, 0, motion="driving"))[-1].rule == "jump"


def test_a_phone_that_flatters_itself_is_found_out() -> None:
    def spread(claims: float) -> float:
        wobble = [(20, 0), (-20, 5), (0, -20), (15, 15), (-10, 10), (5, -15)] * 40
        found = followed(
            *[fix(1000 + 60 * n, x, y, accuracy_m=claims) for n, (x, y) in enumerate(wobble)]
        )
        return found[-1].sd_m

    assert spread(6.0) > 0.5 * spread(20.0)


def test_accuracies_that_are_not_stated_teach_nothing() -> None:
    track, _ = follow(b"", fix(1000, 0, 0, accuracy_m=None))
    after, _ = follow(track, fix(1010, 15, 0, accuracy_m=None))
    assert TRACK.unpack(after)[25:27] == TRACK.unpack(track)[25:27]
    after, _ = follow(track, fix(1500, 15, 0))  # too long ago to tell error from walk
    assert TRACK.unpack(after)[25:27] == TRACK.unpack(track)[25:27]


def test_what_was_learnt_long_ago_counts_half() -> None:
    track, weights = b"", []
    for n in range(1500):
        track, _ = follow(track, fix(1000 + 20 * n, 3 * (n % 2), 0, accuracy_m=8.0))
        weights.append(TRACK.unpack(track)[26])
    assert 100.0 <= max(weights) < 200.0
    assert min(weights[1000:]) < 0.6 * max(weights)


# -- what that says of a fence --------------------------------------------------------------------


def test_the_chance_of_being_inside() -> None:
    assert inside(-10.0, inf, 10.0) == pytest.approx(phi(1.0))
    assert inside(0.0, inf, 10.0) == 0.5
    # One cannot be surely inside what is smaller than the error.
    assert inside(-10.0, 10.0, 10.0) == pytest.approx(phi(1.0) - phi(-1.0))
    assert inside(-10.0, 10.0, 100.0) < 0.1


@pytest.mark.parametrize(
    ("distance_m", "says"),
    [(-12.0, "inside"), (0.0, "inside"), (5.0, "inside"), (6.0, "outside"), (90.0, "outside")],
)
def test_a_position_says_inside_or_outside(distance_m: float, says: str) -> None:
    seen = judge(fix(0.0, 0, 0), SHOP, HERE, distance_m, inf)
    assert seen.says == says
    assert seen.because["distance_m"] == distance_m
    chance = inside(distance_m, inf, 10.0)
    assert seen.strength == (chance if says == "inside" else 1.0 - chance)
    assert seen.because["inside"] == chance
    assert (seen.because["rule"], seen.because["sd_m"]) == ("position", 10.0)


def test_a_margin_keeps_one_in_and_a_doubt_lets_one_in() -> None:
    at_the_door = fix(0.0, 0, 0)
    assert judge(at_the_door, SHOP, HERE, 12.0, 15.0).says == "outside"
    seen = judge(at_the_door, SHOP, HERE, 12.0, 15.0, margin_m=15.0)
    assert (seen.says, seen.because["margin_m"]) == ("inside", 15.0)
    tiny = judge(at_the_door, SHOP, HERE, -3.0, 3.0, min_confidence=0.5)
    assert (tiny.says, tiny.strength < 0.3) == ("inside", True)
    assert (
        judge(at_the_door, SHOP, HERE, -3.0, 3.0, min_confidence=MIN_CONFIDENCE).says == "outside"
    )


def test_evidence_names_what_was_set_aside_and_since_when_one_is_elsewhere() -> None:
    where = HERE._replace(rule="agreed", since=70.0, aside=4)
    seen = judge(fix(100.0, 0, 0), SHOP, where, 90.0, 15.0)
    assert (seen.says, seen.at, seen.because["set_aside"]) == ("outside", 70.0, 4)
    assert judge(fix(100.0, 0, 0), SHOP, where, -12.0, inf).at == 100.0


def test_another_floor_is_surely_outside() -> None:
    seen = judge(fix(0.0, 0, 0, floor=1), UPSTAIRS, HERE, -12.0, inf)
    assert (seen.says, seen.strength, seen.because["rule"]) == ("outside", 1.0, "level")


def test_on_foot_only() -> None:
    drives = fix(0.0, 0, 0, motion="driving")
    seen = judge(drives, ON_FOOT, HERE, -12.0, inf)
    assert (seen.says, seen.because["rule"]) == ("nothing", "on foot only")
    assert judge(drives, ON_FOOT, HERE, 90.0, inf).says == "outside"
    assert judge(fix(0.0, 0, 0), ON_FOOT, HERE, -12.0, inf).says == "inside"
    assert judge(drives, SHOP, HERE, -12.0, inf).says == "inside"
