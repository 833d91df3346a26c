"""What phones were seen to do in the field, and what must come of it: no visit twice, none torn."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from typing import Any

import pytest

from proximity import Engine, Transition
from proximity.model import Fix
from tests.street import box, circle, feature, fix, index, walk

Spot = tuple[float, float]
FENCE = feature("shop", circle(0, 0), radius_m=50)
NOON = 1_767_268_800.0


def run(fixes: Iterable[Fix], *drawn: dict[str, Any], until_s: float = 300.0) -> list[Transition]:
    """Let a phone report in order; give what was told, silence after it included."""
    engine = Engine(index(*(drawn or (FENCE,))))
    found = list(fixes)
    return engine.on_fixes(found) + engine.advance(found[-1].at + until_s)


def visits(told: list[Transition]) -> list[tuple[str, str]]:
    return [(t.kind, t.place) for t in told if t.kind in {"enter", "exit", "pass"}]


def error(dice: random.Random, sd_m: float, every_s: float, count: int) -> list[Spot]:
    """Draw errors that hang together over a minute."""
    rho, found = math.exp(-every_s / 60.0), []
    x, y = dice.gauss(0, sd_m), dice.gauss(0, sd_m)
    for _ in range(count):
        found.append((x + dice.gauss(0, 0.2 * sd_m), y + dice.gauss(0, 0.2 * sd_m)))
        fresh = sd_m * math.sqrt(1.0 - rho * rho)
        x, y = rho * x + dice.gauss(0, fresh), rho * y + dice.gauss(0, fresh)
    return found


@pytest.mark.parametrize("seed", range(10))
def test_a_still_phone_that_jumps_198_to_302_m_claiming_2_to_9_m_stays(seed: int) -> None:
    dice = random.Random(seed)
    fixes = []
    for number, wobble in enumerate(error(dice, 5.0, 10.0, 360)):
        at, spot, accuracy_m = NOON + 10.0 * number, wobble, 8.0
        if number > 12 and number % 18 in {0, 6, 7}:  # several times in three minutes
            angle, metres = dice.uniform(0.0, math.tau), dice.uniform(198.0, 302.0)
            spot = metres * math.cos(angle), metres * math.sin(angle)
            accuracy_m = dice.uniform(1.7, 9.0)
        fixes.append(fix(at, *spot, accuracy_m=accuracy_m))
    assert visits(run(fixes)) == [("enter", "shop")]


@pytest.mark.parametrize("seed", range(10))
def test_a_still_phone_outside_that_jumps_into_the_shop_is_no_visitor(seed: int) -> None:
    dice = random.Random(seed)
    fixes = []
    for number, (east, north) in enumerate(error(dice, 5.0, 10.0, 360)):
        jumps = number > 12 and number % 18 in {0, 6, 7}
        spot = (dice.uniform(-30, 30), dice.uniform(-30, 30)) if jumps else (east + 250, north)
        fixes.append(fix(NOON + 10.0 * number, *spot, accuracy_m=4.0 if jumps else 8.0))
    assert visits(run(fixes)) == []


@pytest.mark.parametrize("seed", range(10))
def test_at_the_edge_there_is_at_most_one_visit(seed: int) -> None:
    dice = random.Random(seed)
    spots = [(50 + east, north) for east, north in error(dice, 6.0, 10.0, 180)]
    told = visits(run(walk(NOON, spots, accuracy_m=9.0)))
    assert told in ([], [("enter", "shop")], [("enter", "shop"), ("exit", "shop")])


@pytest.mark.parametrize("accuracy_m", [None, 0.0, -1.0])
def test_unknown_accuracy_is_not_perfect(accuracy_m: float | None) -> None:
    # One fix in the shop, of unknown worth, between honest ones beside it.
    beside = walk(NOON, [(90, 0)] * 30)
    one = fix(NOON + 300.0, 20, 0, accuracy_m=accuracy_m)
    more = walk(NOON + 310.0, [(90, 0)] * 30)
    assert visits(run([*beside, one, *more])) == []
    # ... but who is there is found without, and leaves.
    way = [(0.0, 120.0 - 12.0 * n) for n in range(10)] + [(0.0, 0.0)] * 40
    there = walk(NOON, way + way[::-1][40:] + [(0.0, 130.0)] * 20, accuracy_m=accuracy_m)
    assert visits(run(there)) == [("enter", "shop"), ("exit", "shop")]


def test_one_far_and_coarse_fix_ends_no_visit() -> None:
    inside = walk(NOON, [(0, 0)] * 30)
    far = fix(NOON + 310.0, 160 + 50, 0, accuracy_m=150.0)
    assert visits(run([*inside, far], until_s=900.0)) == [("enter", "shop")]


def test_who_drives_off_has_left_with_or_without_a_speed() -> None:
    inside = walk(NOON, [(0, 0)] * 30)
    for speed_mps in (None, 11.0):
        off = [fix(NOON + 300 + 5 * n, 55.0 * n, 0, speed_mps=speed_mps) for n in range(40)]
        told = run([*inside, *off])
        assert visits(told) == [("enter", "shop"), ("exit", "shop")]
        assert told[-1].at == pytest.approx(NOON + 305.0, abs=15.0)


@pytest.mark.parametrize("seed", range(10))
def test_two_homes_72_m_apart_are_not_confused_where_accuracy_fails(seed: int) -> None:
    dice = random.Random(seed)
    homes = (
        feature("home", circle(0, 0), radius_m=35),
        feature("next", circle(72, 0), radius_m=35),
    )
    fixes = []
    for number, (east, north) in enumerate(error(dice, 1.0, 30.0, 240)):
        # Good by day, bad in the evening, as phones on a charger in a cellar are.
        accuracy_m = 12.0 if number < 80 else dice.uniform(40.0, 90.0)
        sd_m = accuracy_m / 1.515 * 0.5
        at = NOON + 30.0 * number
        fixes.append(fix(at, sd_m * east, sd_m * north, accuracy_m=accuracy_m))
    assert visits(run(fixes, *homes)) == [("enter", "home")]


def test_a_phone_that_sends_nothing_has_not_left_until_it_is_given_up() -> None:
    told = run(walk(NOON, [(0, 0)] * 6), until_s=1700.0)
    assert visits(told) == [("enter", "shop")]
    told = run(walk(NOON, [(0, 0)] * 6), until_s=1801.0)
    assert visits(told) == [("enter", "shop"), ("exit", "shop")]
    assert told[-1].reason == "silent"


def test_one_fix_outside_and_then_silence_is_an_exit_by_time() -> None:
    # A still phone with a distance filter sends nothing: a count would wait for ever.
    inside = walk(NOON, [(40, 0)] * 30)
    away = [fix(NOON + 300 + 20 * n, 40 + 26.0 * n, 0) for n in range(3)]
    told = run([*inside, *away])
    assert visits(told) == [("enter", "shop"), ("exit", "shop")]
    assert told[-1].reason == "left"


def test_a_shop_24_m_deep_is_reached_at_usual_indoor_accuracy() -> None:
    shop = feature("small", box(-24, -24, 24, 24))
    way = [(0.0, -150.0 + 13.0 * n) for n in range(12)] + [(0.0, 0.0)] * 40
    told = run(walk(NOON, way, accuracy_m=20.0), shop)
    assert visits(told) == [("enter", "small")]


def test_a_doubled_fix_confirms_nothing() -> None:
    unsure = fix(NOON, 0, 44, accuracy_m=20.0)
    again = fix(NOON, 0, 43, accuracy_m=20.0)
    beside = walk(NOON + 10.0, [(0, 75)] * 6)
    engine = Engine(index(FENCE), admitted=True)
    assert engine.on_fixes([unsure, unsure, again, *beside]) == []
