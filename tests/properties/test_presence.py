"""What holds of the machine for any signals, and of its timers however time passes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proximity import Engine
from proximity.engine.presence import (
    TABLE,
    Action,
    Presence,
    Rules,
    Signal,
    State,
    ring,
    step,
    timer,
)
from tests.street import fix, fold, index, site

signals = st.lists(st.tuples(st.sampled_from(Signal), st.floats(0.0, 500.0)), max_size=60)
WITHIN = {State.INSIDE, State.LEAVING}


@given(signals)
def test_any_signals_enter_and_leave_by_turns(found: list[tuple[Signal, float]]) -> None:
    presence, at, inside = Presence(), 0.0, False
    for signal, gap_s in found:
        at += gap_s
        if (presence.state, signal) not in TABLE:
            continue
        action = step(presence, signal, at)
        assert (action is Action.ENTER) <= (not inside)
        assert (action is Action.EXIT) <= inside
        inside = (inside or action is Action.ENTER) and action is not Action.EXIT
        assert (presence.state in WITHIN) is inside
        if inside:
            assert presence.enter_at <= presence.inside_at <= at


@given(signals, st.floats(0.0, 1e4), st.floats(1.0, 5000.0))
def test_every_visit_comes_to_an_end_by_itself(
    found: list[tuple[Signal, float]], silent_after_s: float, valid_s: float
) -> None:
    rules = Rules(silent_after_s=silent_after_s, dwell_s=(30.0, 600.0), valid_until=valid_s)
    presence, at = Presence(fixed=True), 0.0
    for signal, gap_s in found:
        at += gap_s
        told = signal is Signal.DWELT and presence.dwelt == len(rules.dwell_s)  # no timer is left
        if (presence.state, signal) in TABLE and not told:
            step(presence, signal, at)
    for _ in range(10):
        due = timer(presence, "p", rules, at)
        if due is None:
            break
        rung = ring(presence, due)
        if rung is not None:
            step(presence, rung, due.at)
    assert presence.state not in WITHIN
    assert presence.dwelt <= len(rules.dwell_s)


spots = st.sampled_from([(20, 25), (20, 44), (20, 70), (55, 25), (-60, 0), (100, 300)])
walks = st.lists(st.tuples(st.floats(1.0, 200.0), spots), min_size=1, max_size=25)


@given(walks, st.lists(st.floats(0.0, 4000.0), max_size=12))
def test_time_may_pass_in_any_steps(
    found: list[tuple[float, tuple[float, float]]], stops: list[float]
) -> None:
    at, fixes = 1000.0, []
    for gap_s, spot in found:
        at += gap_s
        fixes.append(fix(at, *spot, motion="cycling"))
    until = at + 4000.0
    one, other = Engine(index(), site()), Engine(index(), site())
    straight = one.on_fixes(fixes) + one.advance(until)
    waits = sorted({min(1000.0 + stop, until) for stop in stops})
    stepped = []
    for each in fixes:
        while waits and waits[0] < each.at:
            stepped += other.advance(waits.pop(0))
        stepped += other.on_fixes([each])
    for wait in [*waits, until]:
        stepped += other.advance(wait)
    assert fold(stepped) == fold(straight)
    assert [t.id for t in stepped] == [t.id for t in straight]
    due = other.next_due()
    assert due is None or due > until
