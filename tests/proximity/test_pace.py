"""How fast a channel is handed offers: a budget for retries, and leaving alone what is down."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proximity.dispatch.pace import (
    AT_ONCE,
    MOST_ASKED_S,
    MOST_PROBE_S,
    MOST_TOKENS,
    PROBE_S,
    RETRY_SHARE,
    TOKENS_A_SECOND,
    TRIP_AFTER,
    Pace,
    Room,
)

if TYPE_CHECKING:
    from proximity.channels.channel import Outcome

NOW = 1_800_000_000.0


def fail(pace: Pace, times: int, now: float = NOW, outcome: Outcome = "retry") -> None:
    for _ in range(times):
        pace.begin(1, 0)
        pace.end(outcome, now)


def test_a_fresh_channel_has_a_whole_window_and_retries_in_hand() -> None:
    assert Pace().room(NOW) == Room(AT_ONCE, int(MOST_TOKENS))
    pace = Pace()
    pace.begin(AT_ONCE, 0)
    assert pace.room(NOW) == Room(0, 0)
    pace.end("accepted", NOW)
    assert pace.room(NOW).total == 1


@pytest.mark.parametrize("outcome", ["retry", "config_error"])
def test_failures_in_a_row_mean_the_channel(outcome: Outcome) -> None:
    pace = Pace()
    fail(pace, TRIP_AFTER - 1, outcome=outcome)
    assert pace.room(NOW).total == AT_ONCE
    fail(pace, 1, outcome=outcome)
    assert pace.failing
    assert pace.room(NOW) == Room(0, 0, barred=True)
    assert pace.room(NOW + PROBE_S) == Room(1, 1, probe=True)


@pytest.mark.parametrize("outcome", ["accepted", "failed", "dead_endpoint"])
def test_what_is_said_of_one_offer_means_that_the_channel_works(outcome: Outcome) -> None:
    pace = Pace()
    for _ in range(5):
        fail(pace, TRIP_AFTER - 1)
        pace.begin(1, 0)
        pace.end(outcome, NOW)
    assert not pace.failing


def test_one_probe_at_a_time_and_waits_that_double_up_to_a_bound() -> None:
    pace = Pace()
    fail(pace, TRIP_AFTER)
    now, waits = NOW, []
    for _ in range(8):
        free = pace.free_at(now, retry=False)
        waits.append(free - now)
        now = free
        assert pace.room(now).total == 1
        pace.begin(1, 0)
        assert pace.room(now + 99.0) == Room(0, 0, barred=True), "its answer is waited for"
        pace.end("retry", now)
    assert waits == [PROBE_S, 2.0, 4.0, MOST_PROBE_S, *[MOST_PROBE_S] * 4]


def test_answers_from_before_it_was_left_alone_are_no_probes() -> None:
    pace = Pace()
    pace.begin(30, 0)
    for _ in range(30):
        pace.end("retry", NOW)
    assert pace.free_at(NOW, retry=False) == NOW + PROBE_S


def test_it_comes_back_step_by_step() -> None:
    pace = Pace()
    fail(pace, TRIP_AFTER)
    now = NOW + PROBE_S
    rooms = []
    while (room := pace.room(now)).total < AT_ONCE:
        rooms.append(room.total)
        pace.begin(room.total, 0)
        for _ in range(room.total):
            pace.end("accepted", now)
        now += 0.03
    assert rooms == [1, 1, 2, 4, 8, 16, 32]
    assert now - NOW < 30.0


def test_a_channel_that_fails_one_in_ten_is_not_left_alone() -> None:
    pace = Pace()
    for number in range(10_000):
        pace.begin(1, 0)
        pace.end("retry" if number % 10 == 0 else "accepted", NOW + number)
        assert not pace.failing
    assert pace.room(NOW + 10_000.0).total == AT_ONCE


def test_what_the_receiver_asks_for_is_waited_within_reason() -> None:
    for asked, waited in [(3.0, 3.0), (1e6, MOST_ASKED_S), (None, PROBE_S)]:
        pace = Pace()
        for _ in range(TRIP_AFTER):
            pace.begin(1, 0)
            pace.end("retry", NOW, asked)
        assert pace.free_at(NOW, retry=False) == NOW + waited


def test_a_quiet_channels_retries_are_not_starved() -> None:
    pace = Pace()
    pace.room(NOW)
    pace.begin(0, int(MOST_TOKENS))
    for _ in range(int(MOST_TOKENS)):
        pace.end("failed", NOW)
    assert pace.room(NOW).retries == 0
    free = pace.free_at(NOW, retry=True)
    assert free == NOW + 1.0 / TOKENS_A_SECOND
    assert pace.free_at(NOW, retry=False) == NOW
    assert pace.room(free).retries == 1


def test_offers_that_fail_again_and_again_are_not_the_channel() -> None:
    pace = Pace()
    for _ in range(50):
        pace.begin(0, 1)
        pace.end("retry", NOW, retry=True)
    assert pace.room(NOW).total == AT_ONCE


def test_what_was_not_even_tried_says_nothing() -> None:
    pace = Pace()
    for _ in range(50):
        pace.begin(1, 0)
        pace.end(None, NOW)
    assert pace.room(NOW) == Room(AT_ONCE, int(MOST_TOKENS))


@pytest.mark.parametrize("outcome", ["retry", "config_error"])
def test_one_phones_addresses_bar_nobody_else(outcome: Outcome) -> None:
    """Whatever its addresses answer, and however often: it is one of those who must fail."""
    pace = Pace()
    for number in range(500):
        pace.begin(1, 0)
        pace.end(outcome, NOW + number, 60.0, whose="mallory")
    assert pace.room(NOW + 500.0) == Room(AT_ONCE, int(MOST_TOKENS))
    for number in range(1, TRIP_AFTER):
        assert not pace.failing
        pace.begin(1, 0)
        pace.end(outcome, NOW + 500.0, whose=f"person-{number}")
    assert pace.failing
    # What failed before it was left alone counts no more once it is back.
    now = pace.free_at(NOW + 500.0, retry=False)
    pace.begin(1, 0)
    pace.end("accepted", now)
    for number in range(1, TRIP_AFTER):
        pace.begin(1, 0)
        pace.end(outcome, now, whose=f"person-{number}")
        assert not pace.failing
    pace.begin(1, 0)
    pace.end(outcome, now, whose="mallory")
    assert pace.failing


@given(
    st.lists(
        st.tuples(st.sampled_from(["accepted", "retry", "config_error"]), st.integers(0, 9)),
        max_size=200,
    )
)
def test_it_is_left_alone_as_soon_as_enough_people_fail_in_a_row(
    ends: list[tuple[Outcome, int]],
) -> None:
    pace, row = Pace(), set[int]()
    for outcome, number in ends:
        pace.begin(1, 0)
        pace.end(outcome, NOW, whose=str(number))
        row = set() if outcome == "accepted" else row | {number}
        assert pace.failing == (len(row) >= TRIP_AFTER)
        if pace.failing:
            break


@given(
    st.lists(
        st.tuples(
            st.floats(0.0, 5.0), st.integers(0, 80), st.sampled_from(["accepted", "retry", "failed"])
        ),
        max_size=80,
    )
)  # fmt: skip
def test_retries_never_outrun_their_share(steps: list[tuple[float, int, Outcome]]) -> None:
    """Whatever happens: at most a tenth of first sends, what is in hand, and one in ten seconds."""
    pace, now = Pace(), NOW
    firsts = retries = probes = 0
    for passed_s, wanted, outcome in steps:
        now += passed_s
        room = pace.room(now)
        probing = pace.failing
        again = min(room.retries, wanted)
        first = min(room.total - again, wanted)
        if room.total == 1 and probing:
            probes += again
            pace.begin(first, again)
        else:
            firsts, retries = firsts + first, retries + again
            pace.begin(first, again)
        for _ in range(first + again):
            pace.end(outcome, now)
        earned = MOST_TOKENS + RETRY_SHARE * (firsts + probes + AT_ONCE)
        assert retries <= earned + TOKENS_A_SECOND * (now - NOW)
