"""The judge: small cases worked out by hand."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proximity.model import ProximityError, Transition
from simulator.judge import Verdict, fold, judge, match
from simulator.unseen import Change, Coverage, Due


def change(
    kind: str, at: float, decided_at: float | None = None, dwell_s: float | None = None
) -> Change:
    return Change(kind, "s", "p", at, at if decided_at is None else decided_at, dwell_s)


def visit(begins: float, ends: float, delay_s: float = 0.0) -> list[Change]:
    return [change("enter", begins, begins + delay_s), change("exit", ends, ends + delay_s)]


def told(
    kind: str, at: float | None, decided_at: float, visit: str = "v", **more: object
) -> object:
    return Transition(
        kind=kind, subject="s", place="p", visit=visit, at=at, decided_at=decided_at, **more
    )


def counts(verdict: Verdict, *kinds: str) -> tuple[int, int, int]:
    tally = verdict.total(kinds) if kinds else verdict.total()
    return tally.true, tally.found, tally.matched


def every(step_s: float, ends: float, *, but: tuple[float, float] = (0.0, 0.0)) -> Coverage:
    times = [step_s * i for i in range(int(ends / step_s) + 1)]
    return Coverage([at for at in times if not but[0] < at < but[1]])


def test_a_run_that_says_the_truth_is_right_in_all() -> None:
    truth = visit(100.0, 900.0)
    verdict = judge(truth, truth)
    tally = verdict.total()
    assert (tally.precision, tally.recall, tally.f1) == (1.0, 1.0, 1.0)
    assert verdict.visits == {("s", "p"): 1}
    assert verdict.flaps == {("s", "p"): 0}


def test_delays_run_from_the_truth_to_the_decision() -> None:
    verdict = judge(visit(110.0, 930.0, 20.0), visit(100.0, 900.0))
    assert verdict.total(["enter"]).delays_s == [30.0]
    assert verdict.total(["exit"]).delays_s == [50.0]
    assert verdict.total().delay(0.5) == 40.0


@pytest.mark.parametrize(
    ("at", "decided_at", "right"),
    [
        (1000.0, 1000.0, True),
        (880.0, 900.0, True),
        (1120.0, 1300.0, True),
        (1121.0, 1121.0, False),
        (879.0, 900.0, False),
        (1000.0, 1301.0, False),
    ],
)
def test_near_enough_and_soon_enough(at: float, decided_at: float, right: bool) -> None:
    verdict = judge([change("enter", at, decided_at)], [change("enter", 1000.0)])
    assert counts(verdict) == (1, 1, int(right))


def test_pairs_are_one_to_one() -> None:
    found = [change("enter", 1000.0 + i) for i in range(5)]
    assert counts(judge(found, [change("enter", 1000.0)])) == (1, 5, 1)


def test_greed_would_lose_a_pair() -> None:
    # The first true one fits both, the second the first alone: nearest first leaves it nothing.
    truth = [change("enter", 1000.0), change("enter", 1200.0)]
    found = [change("enter", 900.0), change("enter", 1090.0)]
    assert counts(judge(found, truth)) == (2, 2, 2)


def test_of_equal_numbers_the_nearest_pairs_are_taken() -> None:
    truth = [change("enter", 1000.0)]
    found = [change("enter", 950.0, 951.0), change("enter", 1010.0, 1015.0)]
    assert judge(found, truth).total().delays_s == [15.0]


def test_kinds_places_and_dwells_do_not_mix() -> None:
    truth = [change("enter", 100.0), change("dwell", 400.0, dwell_s=300.0)]
    found = [change("exit", 100.0), change("dwell", 400.0, dwell_s=600.0)]
    assert counts(judge(found, truth)) == (2, 2, 0)
    elsewhere = [Change("enter", "s", "q", 100.0, 100.0)]
    assert counts(judge(elsewhere, [change("enter", 100.0)])) == (1, 1, 0)


def test_flaps_are_the_enters_beyond_the_first() -> None:
    found = [*visit(100.0, 300.0), *visit(320.0, 500.0), *visit(520.0, 900.0)]
    verdict = judge(found, visit(100.0, 900.0))
    assert verdict.flaps == {("s", "p"): 2}
    assert counts(verdict, "enter") == (1, 3, 1)


def test_two_visits_are_no_flap() -> None:
    truth = [*visit(100.0, 900.0), *visit(1200.0, 2000.0)]
    assert judge(truth, truth).flaps == {("s", "p"): 0}


def test_a_corrected_visit_replaces_what_was_announced() -> None:
    run = [
        told("enter", 100.0, 110.0),
        told("exit", 500.0, 560.0),
        told("corrected", None, 2000.0, enter_at=100.0, exit_at=900.0),
    ]
    assert fold(run) == [change("enter", 100.0, 110.0), change("exit", 900.0, 2000.0)]


def test_a_visit_that_never_was_is_gone_with_its_dwells() -> None:
    run = [
        told("enter", 100.0, 110.0),
        told("dwell", 400.0, 400.0, dwell_s=300.0),
        told("corrected", None, 2000.0),
    ]
    assert fold(run) == []


def test_a_dwell_that_the_corrected_visit_lacks_falls() -> None:
    run = [
        told("enter", 100.0, 110.0),
        told("dwell", 400.0, 400.0, dwell_s=300.0),
        told("corrected", None, 2000.0, enter_at=100.0, exit_at=200.0),
    ]
    assert [one.kind for one in fold(run)] == ["enter", "exit"]


def test_an_exit_that_is_taken_back_is_gone() -> None:
    run = [
        told("enter", 100.0, 110.0),
        told("exit", 500.0, 560.0),
        told("corrected", None, 2000.0, enter_at=100.0, exit_at=None),
    ]
    assert fold(run) == [change("enter", 100.0, 110.0)]


def test_a_late_visit_counts_where_its_records_were_late() -> None:
    run = [told("enter", 1000.0, 9000.0, late=True), told("exit", 2000.0, 9000.0, late=True)]
    truth = visit(1000.0, 2000.0)
    assert counts(judge(fold(run), truth)) == (2, 2, 0)
    times = [10.0 * i for i in range(300)]
    late = Coverage(times, [9000.0] * len(times))
    assert counts(judge(fold(run), truth, {"s": late})) == (2, 2, 2)


def test_short_visits_are_set_aside_with_what_a_run_made_of_them() -> None:
    coverage = {"s": every(20.0, 4000.0)}
    truth = [*visit(1000.0, 1055.0), *visit(2000.0, 2065.0)]
    verdict = judge(truth, truth, coverage)
    assert counts(verdict) == (2, 2, 2)
    assert verdict.total().set_aside == {"short visit": 2}
    assert verdict.total().found_aside == 2
    # Silence about them costs nothing either.
    assert counts(judge(visit(2000.0, 2065.0), truth, coverage)) == (2, 2, 2)


def test_what_is_set_aside_takes_one_of_a_kind() -> None:
    truth = visit(1000.0, 1030.0)
    found = [*visit(1000.0, 1010.0), *visit(1015.0, 1030.0)]
    verdict = judge(found, truth, {"s": every(5.0, 4000.0)})
    assert counts(verdict) == (0, 2, 0)


def test_an_absence_too_short_to_see_parts_no_visit() -> None:
    truth = [*visit(1000.0, 2000.0), *visit(2030.0, 3000.0)]
    verdict = judge(visit(1000.0, 3000.0), truth, {"s": every(5.0, 4000.0)})
    assert counts(verdict) == (2, 2, 2)
    assert verdict.total().set_aside == {"short absence": 2}
    assert verdict.visits == {("s", "p"): 1}
    # Who saw it has forged nothing.
    told_both = judge(truth, truth, {"s": every(5.0, 4000.0)})
    assert counts(told_both) == (2, 2, 2)
    assert told_both.flaps == {("s", "p"): 0}


def test_crossings_in_a_gap_are_set_aside_wherever_in_it_they_are_put() -> None:
    coverage = {"s": every(10.0, 4000.0, but=(1000.0, 1600.0))}
    truth = visit(1300.0, 3000.0)
    for at in (1000.0, 1300.0, 1600.0, 1700.0):
        verdict = judge(visit(at, 3000.0), truth, coverage)
        assert counts(verdict) == (1, 1, 1)
        assert verdict.total().set_aside == {"gap": 1}
    assert counts(judge(visit(2000.0, 3000.0), truth, coverage)) == (1, 2, 1)


def test_a_gap_of_ninety_seconds_is_none() -> None:
    coverage = {"s": every(10.0, 4000.0, but=(1000.0, 1090.0))}
    assert counts(judge([], visit(1045.0, 3000.0), coverage)) == (2, 0, 0)


def test_a_visit_between_two_records_is_a_pass() -> None:
    coverage = {"s": every(60.0, 6000.0)}
    truth = visit(1210.0, 1250.0)
    passed = [change("pass", 1215.0)]
    assert counts(judge(passed, truth, coverage)) == (1, 1, 1)
    # To call it a visit is not right, and no forgery.
    assert counts(judge(truth, truth, coverage)) == (1, 0, 0)
    # Under 20 s it is a corner cut.
    corner = judge(passed, visit(1215.0, 1234.0), coverage)
    assert counts(corner) == (0, 0, 0)
    assert corner.total().set_aside == {"short pass": 1}


def test_a_pass_in_the_truth_counts_as_one() -> None:
    assert counts(judge([change("pass", 100.0)], [change("pass", 50.0)])) == (1, 1, 1)
    brief = change("pass", 1210.0)._replace(until=1225.0)
    assert counts(judge([], [brief], {"s": every(60.0, 6000.0)})) == (0, 0, 0)


def test_what_lies_outside_the_trace_is_set_aside() -> None:
    verdict = judge([], visit(100.0, 9000.0), {"s": every(10.0, 4000.0)})
    assert counts(verdict) == (1, 0, 0)
    assert verdict.total().set_aside == {"outside the trace": 1}


def test_a_subject_without_records_is_judged_in_full() -> None:
    assert counts(judge([], visit(100.0, 110.0), {"other": every(10.0, 100.0)})) == (2, 0, 0)


def test_hours_are_those_that_were_watched() -> None:
    coverage = {"s": every(10.0, 7200.0), "idle": every(10.0, 3600.0)}
    assert judge([], [], coverage).hours == {"idle": 1.0, "s": 2.0}


def test_too_many_to_pair_is_refused() -> None:
    due = [Due("enter", 0.0, -1e9, 1e9, 1e9)] * 3000
    with pytest.raises(ProximityError, match="smaller --tolerance"):
        match(due, [change("enter", 0.0)] * 3000)


@settings(max_examples=200)
@given(
    st.lists(st.integers(0, 40), min_size=1, max_size=4),
    st.lists(st.integers(0, 40), min_size=1, max_size=4),
    st.integers(1, 15),
)
def test_no_other_pairing_is_better(true: list[int], found: list[int], tolerance: int) -> None:
    due = [Due("enter", at, at - tolerance, at + tolerance, 1e9) for at in map(float, sorted(true))]
    said = [change("enter", at) for at in map(float, sorted(found))]
    pairs = match(due, said)
    assert len({i for i, _ in pairs}) == len({j for _, j in pairs}) == len(pairs)
    cost = sum(abs(due[i].at - said[j].at) for i, j in pairs)
    assert all(abs(due[i].at - said[j].at) <= tolerance for i, j in pairs)
    slots = [*range(len(said)), *[-1] * len(due)]
    best = min(
        (-sum(ok), sum(off for off, good in zip(offs, ok, strict=True) if good))
        for order in set(permutations(slots, len(due)))
        for offs in [[abs(due[i].at - said[j].at) if j >= 0 else 1e9 for i, j in enumerate(order)]]
        for ok in [[off <= tolerance for off in offs]]
    )
    assert (-len(pairs), cost) == best
