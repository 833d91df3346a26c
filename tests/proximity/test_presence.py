"""The state machine: each row, each timer, and what outweighs what."""

from __future__ import annotations

from itertools import product
from typing import Any, Literal

import pytest

from proximity.engine.presence import (
    SECOND_WITHIN_S,
    TABLE,
    Action,
    Due,
    Presence,
    Rules,
    Signal,
    State,
    ring,
    step,
    timer,
    weigh,
)
from proximity.model import Observation


def seen(
    says: Literal["inside", "outside", "nothing"],
    at: float = 100.0,
    strength: float = 1.0,
    source: Literal["fix", "sighting"] = "fix",
) -> Observation:
    return Observation("s", "p", at, source, says, strength, {})


@pytest.mark.parametrize(("pair", "result"), TABLE.items())
def test_each_row_moves_and_acts(pair: tuple[State, Signal], result: tuple[State, Action]) -> None:
    presence = Presence(state=pair[0], since=50.0, enter_at=40.0, inside_at=60.0)
    assert step(presence, pair[1], 100.0) is result[1]
    assert presence.state is result[0]


@pytest.mark.parametrize("pair", sorted(set(product(State, Signal)) - set(TABLE)))
def test_a_pair_outside_the_table_changes_nothing(pair: tuple[State, Signal]) -> None:
    presence = Presence(state=pair[0], since=50.0, enter_at=40.0, inside_at=60.0, dwelt=1)
    before = presence.copy()
    with pytest.raises(KeyError):
        step(presence, pair[1], 100.0)
    assert presence == before


def test_no_row_enters_twice_or_leaves_what_was_not_entered() -> None:
    within = {State.INSIDE, State.LEAVING}
    for (state, _), (after, action) in TABLE.items():
        assert (action is Action.ENTER) == (state not in within and after in within)
        assert (action is Action.EXIT) == (state in within and after not in within)
        if action is Action.DWELL:
            assert state is after is State.INSIDE


def test_an_arrival_by_two_fixes_dates_from_the_first() -> None:
    presence = Presence()
    step(presence, Signal.MAYBE, 100.0)
    assert (presence.state, presence.since) == (State.ARRIVING, 100.0)
    step(presence, Signal.MAYBE, 130.0)
    assert (presence.enter_at, presence.inside_at) == (100.0, 130.0)


def test_a_sure_arrival_dates_from_itself() -> None:
    presence = Presence()
    step(presence, Signal.SURE, 100.0)
    assert (presence.state, presence.enter_at) == (State.INSIDE, 100.0)


RULES = Rules(dwell_s=(60.0, 300.0), valid_until=9000.0)


@pytest.mark.parametrize(
    ("presence", "expected"),
    [
        (Presence(), None),
        (Presence(state=State.ARRIVING, since=10.0), None),
        (
            Presence(state=State.INSIDE, enter_at=100.0, inside_at=100.0, fixed=True),
            Due(160.0, "p", 4, "dwelt"),
        ),
        (
            Presence(state=State.INSIDE, enter_at=100.0, inside_at=100.0, fixed=True, dwelt=1),
            Due(400.0, "p", 4, "dwelt"),
        ),
        (
            Presence(state=State.INSIDE, enter_at=100.0, inside_at=100.0, fixed=True, dwelt=2),
            Due(2000.0, "p", 2, "silent"),
        ),
        (
            Presence(state=State.LEAVING, since=150.0, enter_at=100.0, fixed=False),
            Due(210.0, "p", 0, "left"),
        ),
        (
            Presence(state=State.INSIDE, enter_at=100.0, heard_at=120.0),
            Due(150.0, "p", 1, "unheard"),
        ),
        (
            Presence(state=State.INSIDE, enter_at=100.0, heard_at=130.0),
            Due(160.0, "p", 1, "unheard"),  # at one instant the exit comes before the dwell
        ),
    ],
)
def test_the_earliest_timer(presence: Presence, expected: Due | None) -> None:
    assert timer(presence, "p", RULES, 200.0) == expected


def test_a_fence_that_ends_ends_its_visits() -> None:
    presence = Presence(state=State.INSIDE, enter_at=100.0, fixed=True, dwelt=2)
    due = timer(presence, "p", RULES, 8000.0)
    assert due == Due(9000.0, "p", 3, "expired")
    assert due is not None
    assert ring(presence, due) is Signal.ENDED


def test_nothing_to_wait_for_without_support_or_validity() -> None:
    presence = Presence(state=State.INSIDE, enter_at=100.0)
    assert timer(presence, "p", Rules(), 200.0) is None


@pytest.mark.parametrize(
    ("name", "fields", "signal"),
    [
        ("left", {}, Signal.LEFT),
        ("dwelt", {}, Signal.DWELT),
        ("unheard", {"heard_at": 10.0}, Signal.LOST),
        ("unheard", {"heard_at": 10.0, "fixed": False}, Signal.LOST),
        ("unheard", {"heard_at": 10.0, "fixed": True}, None),
        ("silent", {"fixed": True}, Signal.LOST),
        ("silent", {"fixed": True, "heard_at": 10.0}, None),
    ],
)
def test_one_feed_s_silence_ends_a_visit_only_where_the_other_is_silent_too(
    name: str, fields: dict[str, Any], signal: Signal | None
) -> None:
    presence = Presence(state=State.INSIDE, **fields)
    assert ring(presence, Due(100.0, "p", 0, name)) is signal
    if name == "unheard":
        assert presence.heard_at is None
    if name == "silent":
        assert presence.fixed is None


def test_a_sure_fix_enters_at_once_and_an_unsure_one_does_not() -> None:
    assert weigh(Presence(), seen("inside", strength=0.9), RULES) is Signal.SURE
    assert weigh(Presence(), seen("inside", strength=0.61), RULES) is Signal.MAYBE
    careful = Rules(min_confidence=0.95)
    assert weigh(Presence(), seen("inside", strength=0.9), careful) is Signal.MAYBE


def test_the_same_instant_again_is_no_second_fix() -> None:
    presence = Presence(state=State.ARRIVING, since=100.0)
    assert weigh(presence, seen("inside", at=100.0, strength=0.61), RULES) is Signal.MAYBE
    assert presence.state is State.OUTSIDE


def test_a_first_fix_too_old_proves_nothing() -> None:
    presence = Presence(state=State.ARRIVING, since=100.0)
    later = seen("inside", at=101.0 + SECOND_WITHIN_S, strength=0.61)
    assert weigh(presence, later, RULES) is Signal.MAYBE
    assert presence.state is State.OUTSIDE


def test_a_second_unsure_fix_supports_the_visit() -> None:
    presence = Presence(state=State.ARRIVING, since=100.0)
    assert weigh(presence, seen("inside", at=130.0, strength=0.61), RULES) is Signal.MAYBE
    assert presence.fixed is True


def test_no_information_is_no_signal() -> None:
    assert weigh(Presence(), seen("nothing", strength=0.0), RULES) is None


def test_a_fix_at_the_edge_stops_what_ran_towards_an_exit_and_proves_nothing() -> None:
    presence = Presence(state=State.LEAVING, since=90.0, inside_at=60.0, fixed=False)
    signal = weigh(presence, seen("inside", strength=0.4), RULES)
    assert signal is Signal.VAGUE
    assert step(presence, signal, 100.0) is Action.NOTHING
    assert (presence.state, presence.inside_at, presence.fixed) == (State.INSIDE, 60.0, True)
    nobody = Presence()
    assert weigh(nobody, seen("inside", strength=0.4), RULES) is Signal.VAGUE
    assert nobody.fixed is None


def test_the_thresholds_move_with_the_confidence_asked_for() -> None:
    careful = Rules(min_confidence=0.9)
    assert weigh(Presence(), seen("inside", strength=0.76), careful) is Signal.VAGUE
    assert weigh(Presence(), seen("inside", strength=0.78), careful) is Signal.MAYBE
    assert weigh(Presence(), seen("inside", strength=0.91), careful) is Signal.SURE


def test_a_fix_that_says_outside_starts_the_exit_not_before_what_was_seen_inside() -> None:
    presence = Presence(state=State.INSIDE, inside_at=80.0, fixed=True)
    signal = weigh(presence, seen("outside", at=70.0, strength=0.8), RULES)
    assert signal is Signal.OUT
    assert step(presence, signal, 70.0) is Action.AWAIT
    assert (presence.since, presence.fixed) == (80.0, False)


def test_a_heard_beacon_outweighs_a_drifting_fix() -> None:
    presence = Presence(state=State.INSIDE, heard_at=95.0)
    assert weigh(presence, seen("outside"), RULES) is Signal.VAGUE
    assert presence.fixed is None


def test_a_sighting_inside_is_sure() -> None:
    presence = Presence()
    assert weigh(presence, seen("inside", strength=0.5, source="sighting"), RULES) is Signal.SURE
    assert presence.heard_at == 100.0


@pytest.mark.parametrize(
    ("state", "fixed", "signal"),
    [
        (State.OUTSIDE, None, None),
        (State.ARRIVING, None, Signal.LEFT),
        (State.INSIDE, None, Signal.LEFT),
        (State.INSIDE, True, None),
        (State.LEAVING, False, Signal.LEFT),
    ],
)
def test_a_carrier_heard_elsewhere_has_left_unless_fixes_keep_it(
    state: State, fixed: bool | None, signal: Signal | None
) -> None:
    presence = Presence(state=state, fixed=fixed, heard_at=90.0)
    assert weigh(presence, seen("outside", source="sighting"), RULES) is signal
    assert presence.heard_at is None


def test_the_earliest_of_all_timers_counts_and_at_one_instant_the_first_in_rank():
    rules = Rules(exit_after_s=60.0, unheard_after_s=30.0, silent_after_s=100.0, dwell_s=(50.0,))
    staying = Presence(State.INSIDE, enter_at=0.0, fixed=True, heard_at=10.0)
    assert timer(staying, "a", rules, 0.0) == Due(40.0, "a", 1, "unheard")
    staying.heard_at = 80.0
    assert timer(staying, "a", rules, 0.0) == Due(50.0, "a", 4, "dwelt")
    staying.dwelt = 1
    assert timer(staying, "a", rules, 0.0) == Due(100.0, "a", 2, "silent")
    staying.heard_at = 70.0
    assert timer(staying, "a", rules, 0.0) == Due(100.0, "a", 1, "unheard")
    leaving = Presence(State.LEAVING, since=50.0, fixed=False)
    assert timer(leaving, "a", rules, 50.0) == Due(110.0, "a", 0, "left")
    assert timer(leaving, "a", rules, 0.0) == Due(100.0, "a", 2, "silent")
