"""What one fix says of one fence."""

from __future__ import annotations

from typing import Any

import pytest

from proximity.tracking import CLEAR, MIN_CONFIDENCE, accuracy_of, fits_level, is_still, judge, phi
from tests.street import box, feature, fences, fix

SHOP = fences(feature("shop", box(0, 0, 30, 30)))[0]
STRICT = fences(feature("shop", box(0, 0, 30, 30), exit_margin_m=0))[0]
UPSTAIRS = fences(
    feature("shop", box(0, 0, 30, 30), floor=2, min_altitude_m=10, max_altitude_m=20)
)[0]


@pytest.mark.parametrize(
    ("stated", "reckoned"), [(None, 30.0), (0.0, 30.0), (1.0, 4.0), (25.0, 25.0)]
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


@pytest.mark.parametrize(
    ("distance_m", "accuracy_m", "says", "rule"),
    [
        (-12.0, 8.0, "inside", "side"),
        (-12.0, 55.0, "inside", "side"),
        (0.0, 8.0, "inside", "side"),
        (-12.0, 500.0, "nothing", "coarse"),
        (-5000.0, 500.0, "inside", "side"),
        (3.0, 8.0, "outside", "clearance"),
    ],
)
def test_the_side_of_the_edge_decides(
    distance_m: float, accuracy_m: float, says: str, rule: str
) -> None:
    seen = judge(fix(0.0, 0, 0, accuracy_m=accuracy_m), SHOP, distance_m)
    assert (seen.says, seen.because["rule"]) == (says, rule)
    assert seen.because["distance_m"] == distance_m


def test_a_sigma_inside_is_sure_and_the_edge_is_not() -> None:
    at = fix(0.0, 0, 0, accuracy_m=15.15)
    assert judge(at, SHOP, -10.0).strength == pytest.approx(phi(1.0))
    assert judge(at, SHOP, -10.0).strength >= MIN_CONFIDENCE
    assert judge(at, SHOP, 0.0).strength == 0.5


@pytest.mark.parametrize(("distance_m", "clear"), [(17.0, False), (19.0, True)])
def test_departure_asks_for_accuracy_and_margin(distance_m: float, clear: bool) -> None:
    seen = judge(fix(0.0, 0, 0, accuracy_m=8.5), SHOP, distance_m)
    assert (seen.strength >= CLEAR) is clear
    seen = judge(fix(0.0, 0, 0, accuracy_m=8.5), STRICT, distance_m - 10.0)
    assert (seen.strength >= CLEAR) is clear


def test_another_floor_is_surely_outside() -> None:
    seen = judge(fix(0.0, 0, 0, floor=1), UPSTAIRS, -12.0)
    assert (seen.says, seen.strength, seen.because["rule"]) == ("outside", 1.0, "level")
