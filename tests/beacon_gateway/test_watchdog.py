"""The watchdog as a machine: its times, and what it never does."""

from __future__ import annotations

from itertools import pairwise
from typing import get_args

import pytest

from beacon_gateway.watchdog import (
    HEALED_S,
    IDLE_S,
    LADDER,
    PLAIN_LADDER,
    QUIET_S,
    REST_MOST_S,
    REST_S,
    RETRY_S,
    SETTLE_S,
    TABLE,
    WAIT_MOST_S,
    Event,
    Move,
    Phase,
    Rung,
    Watchdog,
)

STARTS = {"start", "restart", "rebuild", "power", "reset"}


def listening(*, ladder: tuple[Rung, ...] = LADDER) -> Watchdog:
    """Give a watchdog whose scan began at 0."""
    watchdog = Watchdog(0.0, ladder)
    assert watchdog.look(0.0) == "start"
    watchdog.started(0.0)
    return watchdog


def hearing(*, ladder: tuple[Rung, ...] = LADDER) -> Watchdog:
    watchdog = listening(ladder=ladder)
    watchdog.heard(0.0)
    return watchdog


def climb(watchdog: Watchdog, until: float, *, proved: bool = False) -> list[tuple[float, Move]]:
    """Follow it through silence; every scan that it asks for begins and hears nothing."""
    moves: list[tuple[float, Move]] = []
    while (now := watchdog.due()) <= until:
        move = watchdog.look(now, proved=proved)
        if move in STARTS:
            watchdog.started(now)
        if move != "none":
            moves.append((now, move))
        if move == "leave":
            break
    return moves


def test_silence_climbs_the_ladder_each_rung_from_its_own_start() -> None:
    assert climb(hearing(), 150.0) == [
        (45.0, "restart"),
        (60.0, "rebuild"),
        (75.0, "power"),
        (95.0, "reset"),
    ]


def test_a_proved_stall_ends_in_leaving_and_a_mere_silence_in_rest() -> None:
    assert climb(hearing(), 150.0, proved=True)[-1] == (115.0, "leave")
    quiet = hearing()
    climb(quiet, 115.0)
    assert quiet.phase == "resting"


def test_who_has_never_heard_anything_does_not_leave_for_that_has_been_tried() -> None:
    dead = listening()
    assert ("leave") not in {move for _, move in climb(dead, 4000.0, proved=True)}
    assert dead.ever_heard is False


def test_nobody_leaves_while_another_adapter_hears() -> None:
    watchdog = hearing()
    now = 0.0
    while watchdog.phase != "resting":
        now = watchdog.due()
        assert watchdog.look(now, proved=True, alone=False) != "leave"
        watchdog.started(now)


def test_rests_grow_and_a_night_costs_few_climbs() -> None:
    moves = climb(hearing(), 12 * 3600.0)
    restarts = [at for at, move in moves if move == "restart"]
    gaps = [after - before for before, after in pairwise(restarts)]
    climb_s = sum(rung.patience_s for rung in LADDER)
    assert gaps[0] == REST_S + climb_s
    assert max(gaps) == REST_MOST_S + climb_s
    assert gaps == sorted(gaps)
    assert len(restarts) <= 16


def test_where_nobody_may_power_an_adapter_there_are_two_rungs() -> None:
    assert [move for _, move in climb(hearing(ladder=PLAIN_LADDER), 90.0)] == ["restart", "rebuild"]


def test_nobody_discovering_is_proof_unless_something_is_heard_all_the_same() -> None:
    watchdog = hearing()
    watchdog.idle(10.0, idle=True)
    assert watchdog.due() == 10.0 + IDLE_S
    watchdog.heard(12.0)
    assert watchdog.look(10.0 + IDLE_S) == "none"
    assert watchdog.look(12.0 + IDLE_S) == "restart"
    watchdog.idle(16.0, idle=False)
    watchdog.started(16.0)
    assert watchdog.due() == 16.0 + LADDER[0].patience_s


def test_a_remedy_counts_as_a_cure_after_its_time() -> None:
    watchdog = hearing()
    assert watchdog.look(QUIET_S) == "restart"
    watchdog.started(QUIET_S)
    now = QUIET_S
    while now <= QUIET_S + HEALED_S:
        now += 1.0
        watchdog.heard(now)
        assert watchdog.look(now) == "none"
    assert watchdog.rung == 0


def test_a_failed_start_takes_the_next_rung_after_a_pause() -> None:
    watchdog = Watchdog(0.0)
    watchdog.look(0.0)
    watchdog.tell("failed", 1.0)
    moves = []
    while watchdog.phase == "failing":
        now = watchdog.due()
        moves.append((now, watchdog.look(now)))
        watchdog.tell("failed", now)
    assert moves == [
        (6.0, "restart"),
        (11.0, "rebuild"),
        (16.0, "power"),
        (21.0, "reset"),
        (26.0, "none"),
    ]
    assert watchdog.phase == "resting"


def test_without_power_the_next_move_gives_it() -> None:
    watchdog = hearing()
    assert watchdog.tell("off", 10.0) == "none"
    assert watchdog.look(10.0 + RETRY_S) == "power"


def test_power_that_comes_back_by_itself_needs_no_remedy() -> None:
    watchdog = hearing()
    watchdog.tell("off", 10.0)
    watchdog.tell("back", 12.0)
    assert watchdog.look(12.0 + SETTLE_S) == "start"


def test_what_is_away_is_waited_for_ever_longer_and_met_at_once() -> None:
    watchdog = hearing()
    assert watchdog.tell("gone", 10.0) == "stop"
    pauses = []
    for _ in range(6):
        now = watchdog.due()
        assert watchdog.look(now) == "start"
        watchdog.tell("gone", now)
        pauses.append(watchdog.due() - now)
    assert pauses == [10.0, 20.0, 40.0, WAIT_MOST_S, WAIT_MOST_S, WAIT_MOST_S]
    watchdog.tell("back", now + 20.0)
    assert watchdog.due() == now + 20.0 + SETTLE_S


@pytest.mark.parametrize("phase", get_args(Phase))
@pytest.mark.parametrize("event", get_args(Event))
def test_what_is_not_in_the_table_changes_nothing(phase: Phase, event: Event) -> None:
    watchdog = hearing()
    watchdog.phase = phase
    before = dict(vars(watchdog))
    move = watchdog.tell(event, 0.0)
    if (phase, event) not in TABLE:
        assert (move, vars(watchdog)) == ("none", before)
    elif move == "none" and TABLE[phase, event][1] != "climb":
        assert watchdog.phase == TABLE[phase, event][0]


def test_every_phase_is_reached_and_left_by_the_table() -> None:
    assert {phase for phase, _ in TABLE} == set(get_args(Phase))
    # resting is where the ladder ends.
    assert {phase for phase, _ in TABLE.values()} == set(get_args(Phase)) - {"resting"}
