"""What the batch form leaves to the fix-by-fix form, case by case; both must say the same."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np
import pytest

from geofences import FenceIndex
from proximity import Engine, Site, parse_site
from proximity.engine import engine, quiet, rounds
from proximity.engine.history import Subject
from proximity.engine.layout import Layout
from proximity.engine.standing import Asked
from proximity.model import Fix, Sighting, Transition
from tests.street import STREET, UUID, box, feature, fix, heard, index, site

START = 1_767_225_600.0
PEOPLE = 4

Place = tuple[float, float]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make arrays of few fixes."""
    monkeypatch.setattr(rounds, "LEAST_BATCH", 2)
    monkeypatch.setattr(engine, "LEAST_BATCH", 2)
    monkeypatch.setattr(quiet, "LEAST_TRACKS", 1)


def both(
    steps: list[list[Fix | Sighting]], fences: FenceIndex | None = None, where: Site | None = None
) -> list[Transition]:
    """Run steps in batches and one by one; give what the two told, which must be the same."""
    fences = index() if fences is None else fences
    one, many = Engine(fences, where), Engine(fences, where)
    expected = [change for step in steps for each in step for change in one.on_records([each])]
    out = [change for step in steps for change in many.on_records(step)]
    assert out == expected
    assert many.snapshot() == one.snapshot()
    return out


def crowd(where: Callable[[int], Place], steps: int, every_s: float = 10.0) -> list[list[Fix]]:
    """Let a few people report, at each step, from ``where`` it says (metres)."""
    return [
        [fix(START + number * every_s, *where(number), f"s{who}") for who in range(PEOPLE)]
        for number in range(steps)
    ]


def kinds(out: list[Transition], subject: str = "s1") -> list[tuple[str, str]]:
    return [(one.kind, one.place) for one in out if one.subject == subject]


def test_who_is_in_a_place_by_a_card_alone() -> None:
    steps: list[list[Fix | Sighting]] = [
        [heard(START - 9.0 + second, "gw-bar") for second in range(9)]
    ]
    steps += [list(step) for step in crowd(lambda number: (9000.0 + number, 0.0), 3, 2.0)]
    out = both(steps, where=site())
    assert kinds(out, "s0") == [("enter", "cafe"), ("enter", "cafe/bar")]


def test_a_way_between_two_far_places_may_pass_one() -> None:
    out = both(crowd(lambda number: (-1500.0, 25.0) if number % 2 else (1500.0, 25.0), 3, 100.0))
    assert set(kinds(out)) <= {("pass", "cafe"), ("pass", "bakery"), ("pass", "kiosk")}


def test_coming_into_a_place_that_has_a_parent() -> None:
    out = both(crowd(lambda number: (-25.0, -20.0 - 4.0 * min(number, 10)), 20))
    assert kinds(out) == [("enter", "mall"), ("enter", "mall/shoes")]


def test_leaving_a_place_and_standing_at_its_edge() -> None:
    def edge(number: int) -> Place:
        return (10.0 if number < 8 else -2.0 if number < 30 else -8.0 * (number - 29)), 25.0

    out = both(crowd(edge, 50))
    assert ("enter", "cafe") in kinds(out)


def test_a_place_without_a_margin() -> None:
    fences = index(*STREET, feature("stall", box(300, 10, 340, 40), exit_margin_m=0))
    out = both(crowd(lambda number: (320.0, 25.0 + number % 2), 8), fences)
    assert kinds(out) == [("enter", "stall")]
    assert "margin_m" not in next(one for one in out if one.kind == "enter").because


def test_a_place_that_is_valid_for_a_while() -> None:
    until = "2026-01-01T01:00:00Z"
    fences = index(feature("fair", box(300, 10, 340, 40), valid_until=until))
    out = both(crowd(lambda number: (320.0, 25.0 + number % 2), 8), fences)
    assert kinds(out) == [("enter", "fair")]


def test_a_jump_is_set_aside_and_gone_to_once_others_agree() -> None:
    def leap(number: int) -> Place:
        return (20.0 if number < 6 else 420.0 if number < 12 else 20.0), 25.0

    out = both(crowd(leap, 20, 20.0))
    told = [one for one in kinds(out) if one[0] in ("enter", "exit")]
    assert told[:2] == [
        ("enter", "cafe"),
        ("exit", "cafe"),
    ]
    left = next(one for one in out if one.kind == "exit")
    assert left.because["rule"] == "agreed"
    assert left.because["set_aside"] > 1


def test_a_lone_jump_says_nothing_and_is_counted_by_the_next() -> None:
    out = both(crowd(lambda number: (420.0 if number == 6 else 20.0, 25.0), 8, 60.0))
    assert {kind for kind, _ in kinds(out)} == {"enter", "dwell"}


def test_a_phone_that_tells_its_height_and_speed_is_asked_with_the_others() -> None:
    steps = crowd(lambda number: (20.0, 25.0 + number % 2), 12, 60.0)
    said = [
        [
            msgspec.structs.replace(one, altitude_m=40.0, speed_mps=0.1 if number % 3 else 1.5)
            for one in step
        ]
        for number, step in enumerate(steps)
    ]
    assert {kind for kind, _ in kinds(both(said))} == {"enter", "dwell"}
    high = index(*STREET, feature("roof", box(300, 10, 340, 40), min_altitude_m=50))
    at_the_roof = [
        [msgspec.structs.replace(one, altitude_m=40.0) for one in step]
        for step in crowd(lambda number: (320.0, 25.0 + number % 2), 8)
    ]
    assert both(at_the_roof, high) == []


def test_who_is_in_a_place_and_in_a_zone_that_has_no_part_in_it() -> None:
    hall = '[[place]]\nid = "hall"\n[[gateway]]\nid = "gw-hall"\nplace = "hall"\n'
    card = f'[[beacon]]\nuuid = "{UUID}"\nmajor = 1\nminor = 1\nsubject = "s0"\n'
    where = parse_site(hall + card, "site.toml")
    inside = crowd(lambda number: (20.0 + number % 2, 25.0), 12)
    steps: list[list[Fix | Sighting]] = [list(step) for step in inside]
    steps[6:6] = [[heard(START + 51.0 + second, "gw-hall") for second in range(5)]]
    out = both(steps, where=where)
    assert kinds(out, "s0")[:2] == [("enter", "cafe"), ("enter", "hall")]


def test_a_fix_that_is_no_newer_than_its_track_is_left_to_be_judged_by_itself() -> None:
    run = Engine(index())
    for step in crowd(lambda number: (20.0 + number % 2, 25.0), 6):
        run.on_fixes(step)
    known = run._subjects["s0"]
    assert isinstance(known, Subject)
    fixes = [fix(START + seconds, 21.0, 25.0) for seconds in (50.0, 60.0)]
    columns = [np.array([getattr(each, name) for each in fixes]) for name in ("at", "lon", "lat")]
    asked = Asked(fixes, [known.standing] * 2, *columns, np.full(2, 8.0), [True] * 2)
    stale, fresh = quiet.robust_quiet(asked, Layout(index(), None))
    assert stale is None
    assert fresh is not None
