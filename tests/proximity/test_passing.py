"""Passing by: what is told of a place between two fixes, and what is not."""

from __future__ import annotations

import random
from typing import Any

import pytest

from proximity import Engine, Transition
from proximity.engine.layout import Layout
from proximity.engine.passing import may_pass, passes
from proximity.engine.standing import Moment
from proximity.engine.tracking import point
from proximity.model import Fix
from tests.street import box, circle, feature, fix, index, ride, walk

SQUARE = feature("square", box(0, 0, 40, 40))


def passed(*fixes: Fix, **more: Any) -> list[Transition]:
    """Let somebody walk over the square, and give the passes."""
    layout = index(feature("square", box(0, 0, 40, 40), **more))
    return [t for t in Engine(layout).on_fixes(fixes) if t.kind == "pass"]


@pytest.mark.parametrize(
    ("way", "bearing", "side"),
    [
        ([(-20, 10), (60, 10)], 90, "left"),
        ([(-20, 30), (60, 30)], 90, "right"),
        ([(60, 10), (-20, 10)], 270, "right"),
        ([(30, -20), (30, 60)], 0, "left"),
        ([(30, 60), (30, -20)], 180, "right"),
    ],
)
def test_a_pass_has_its_times_its_bearing_and_its_side(
    way: list[tuple[float, float]], bearing: int, side: str
) -> None:
    (found,) = passed(*walk(1000, way, every_s=60.0))
    assert found.at == pytest.approx(1015.0, abs=0.1)
    because = found.because
    assert because["exit_at"] == pytest.approx(1045.0, abs=0.1)
    assert (because["bearing_deg"] % 360, because["side"]) == (bearing, side)
    assert because["chord_m"] == pytest.approx(40.0, abs=0.2)
    assert because["distance_m"] == pytest.approx(-10.0, abs=0.2)
    assert because["inside"] > 0.9


@pytest.mark.parametrize(
    ("way", "more"),
    [
        ([(-20, 42), (60, 38)], {}),  # along the edge: as likely outside
        ([(-20, 20), (60, 20)], {"accuracy_m": 60.0}),  # the square is within the error
        ([(-20, 20), (60, 20)], {"motion": "still"}),
        ([(-20, 20), (-20, 20)], {}),
        ([(-20, 20), (60, 20)], {"mock": True}),
    ],
)
def test_what_is_no_pass(way: list[tuple[float, float]], more: dict[str, Any]) -> None:
    assert passed(*walk(1000, way, every_s=60.0, **more)) == []


def test_a_jump_over_a_place_and_back_is_no_pass() -> None:
    there = [fix(1000 + 10 * n, -30, 20) for n in range(30)]
    back = [fix(1310 + 10 * n, -30, 20) for n in range(30)]
    assert passed(*there, fix(1300, 200, 20, accuracy_m=3.0), *back) == []


def test_an_error_that_wanders_over_a_place_is_no_pass() -> None:
    wander = [(-15, 20), (-14, 20), (-16, 21)] * 30 + [(55, 20)]
    assert passed(*walk(1000, wander, every_s=60.0, accuracy_m=30.0)) == []


def test_who_rides_by_passes_unless_the_place_is_for_walkers() -> None:
    way = [ride(1000, -200, 20), ride(1030, 200, 20)]
    (found,) = passed(*way)
    assert found.at == pytest.approx(1015.0, abs=0.1)
    assert passed(*way, on_foot=True) == []


def test_a_way_found_true_at_last_is_told_whole() -> None:
    # Without a speed each fix of a drive looks like a jump; two that agree for long do not.
    (found,) = passed(fix(1000, -500, 20), fix(1050, -100, 20), fix(1110, 300, 20))
    assert found.at == pytest.approx(1065.0, abs=0.5)


def test_a_fix_at_the_edge_that_no_arrival_came_of_is_on_the_way() -> None:
    (found,) = passed(fix(1000, -40, 20), fix(1030, 1, 20, accuracy_m=20.0), fix(1060, 60, 20))
    assert found.at == pytest.approx(1029.3, abs=0.5)
    assert found.because["exit_at"] == pytest.approx(1049.8, abs=0.5)


def test_leaving_a_place_that_one_was_in_is_no_pass() -> None:
    out = passed(*walk(1000, [(20, 20)] * 5 + [(20, 55), (20, 90)], every_s=30.0))
    assert out == []


def test_clean_straight_ways_lose_next_to_none() -> None:
    # Walking pace, a fix a minute: whoever passes between two fixes is told of, and nobody else.
    dice = random.Random(4)
    true, found = 0, 0
    for number in range(300):
        radius_m = dice.uniform(20.0, 40.0)
        pace, every_s = dice.uniform(1.0, 1.7), dice.uniform(40.0, 60.0)
        aside, start = dice.uniform(-0.8, 0.8) * radius_m, dice.uniform(0.0, every_s)
        layout = index(feature("round", circle(0, 0), radius_m=radius_m))
        times = [start + every_s * n for n in range(12)]
        easts = [pace * (at - 300.0) for at in times]
        half = (radius_m**2 - aside**2) ** 0.5
        if any(abs(east) <= half for east in easts) or 2 * half / pace < 20.0:
            continue
        fixes = [
            fix(1000 + at, east, aside, f"s{number}", accuracy_m=5.0)
            for at, east in zip(times, easts, strict=True)
        ]
        told = Engine(layout).on_fixes(fixes)
        true += 1
        assert {t.kind for t in told} <= {"pass"}
        if told:
            found += 1
            assert told[0].at == pytest.approx(1300.0 - half / pace, abs=1.0)
    assert true > 50
    assert found >= 0.95 * true


@pytest.mark.parametrize(
    ("times", "may"),
    [
        ((0, 30, 60), True),
        ((0, 30, 150), True),
        ((0, 30, 151), False),  # too far apart
        ((0, 60, 60), False),  # at one instant
        ((0, 30, 151, 180), True),  # one set aside lies between
        ((0, 30, 60, 600), True),
        ((0, 30, 600, 900), False),
    ],
)
def test_what_may_be_passed_is_told_by_the_times(times: tuple[float, ...], may: bool) -> None:
    *before, at = times
    assert may_pass(tuple((one, 0.0, 0.0, 5.0) for one in before), at) is may


def test_nothing_is_passed_where_nothing_may_be() -> None:
    dice, found = random.Random(5), {True: 0, False: 0}
    moment = Moment(Layout(index(SQUARE), None), "ann", 0.0)
    for _ in range(2000):
        at, fixes = 1000.0, []
        for x in (-60, -20, 60, 140)[: dice.choice((3, 4))]:
            fixes.append(fix(at, x, 20))
            at += dice.choice((0.0, 60.0, 120.0, 121.0))
        *before, last = fixes
        way = tuple(map(point, before))
        told = passes((*way, point(last)), last, set(), moment)
        may = may_pass(way, last.at)
        assert may or not told
        found[bool(told)] += 1
    assert all(found.values())
