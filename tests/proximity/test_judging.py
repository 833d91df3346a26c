"""What a channel's replies mean for an offer, and where it goes from there."""

from __future__ import annotations

from typing import Any

import pytest

from proximity.campaigns.reach import Terms
from proximity.channels import Reply
from proximity.dispatch.judging import (
    MOST_ATTEMPTS,
    combine,
    in_doubt,
    judge,
    onward,
    record,
    turn_ends,
)
from proximity.dispatch.leasing import Lease
from proximity.model import Endpoint
from tests.proximity.given import NOON, offer

TWICE, ONCE = Terms(repeats="at_least_once"), Terms(repeats="at_most_once")
SOME = [Endpoint(channel="fcm", address=f"a{n}") for n in range(4)]


def lease(attempt: int = 1, **more: Any) -> Lease:
    fields = {"doubt": more.pop("doubt", False), "lapsed": more.pop("lapsed", False)}
    return Lease(offer(**more), 1, attempt, NOON, **fields)


def told(one: Lease, reply: Reply, terms: Terms = TWICE, now: float = NOON) -> tuple[str, Any]:
    delivery = judge(one, [(None, reply)], terms, now)
    return delivery.outcome, delivery.reason


@pytest.mark.parametrize(
    ("outcomes", "best"),
    [
        (("dead_endpoint", "accepted", "failed", "retry"), "accepted"),
        (("dead_endpoint", "failed", "retry"), "retry"),
        (("dead_endpoint", "failed", "config_error"), "config_error"),
        (("dead_endpoint", "failed"), "failed"),
        (("dead_endpoint", "dead_endpoint"), "dead_endpoint"),
    ],
)
def test_of_several_devices_the_best_counts(outcomes: Any, best: str) -> None:
    replies = [(SOME[n], Reply(outcome=one)) for n, one in enumerate(outcomes)]
    found = combine(replies)
    assert found.outcome == best
    assert sum(found.reply["endpoints"].values()) == len(outcomes)


def test_what_one_device_may_have_taken_makes_the_whole_unsure() -> None:
    replies = [
        (SOME[0], Reply(outcome="retry", reply={"status": 503})),
        (SOME[1], Reply(outcome="retry", unsure=True)),
    ]
    assert judge(lease(), replies, ONCE, NOON).reason == "unknown"
    assert judge(lease(), replies, TWICE, NOON).outcome == "retry"


def test_without_endpoints_the_reply_is_as_it_came() -> None:
    reply = Reply(outcome="failed", reply={"status": 400})
    assert judge(lease(), [(None, reply)], TWICE, NOON).reply == {"status": 400}


def test_the_price_is_kept_with_what_was_handed_over() -> None:
    reply = [(None, Reply(outcome="accepted"))]
    assert judge(lease(), reply, Terms(cost=0.04), NOON).handed["cost"] == 0.04
    assert "cost" not in judge(lease(), reply, Terms(), NOON).handed


LATER = Reply(outcome="retry")


def test_retries_end_with_the_offer_or_the_last_try() -> None:
    assert told(lease(), LATER) == ("retry", None)
    assert told(lease(), LATER, now=NOON + 119.5) == ("expired", "expired")
    long = lease(MOST_ATTEMPTS, expires_at=NOON + 1e6)
    assert told(long, LATER) == ("failed", "attempts")
    onward_to = lease(route=("email",))
    assert turn_ends(onward_to) == NOON + 60.0
    assert told(onward_to, LATER, now=NOON + 59.5) == ("failed", "attempts")
    assert told(onward_to, LATER, now=NOON + 119.9) == ("failed", "attempts")
    assert told(onward_to, LATER, now=NOON + 120.0) == ("expired", "expired")


@pytest.mark.parametrize(
    ("outcome", "reason", "moves"),
    [
        ("failed", None, True),
        ("failed", "config_error", True),
        ("failed", "attempts", True),
        ("failed", "channel_down", True),
        ("failed", "unknown", False),
        ("dead_endpoint", None, True),
        ("suppressed", "no_consent", True),
        ("suppressed", "preference", True),
        ("suppressed", "unreachable", True),
        ("suppressed", "objection", False),
        ("suppressed", "quiet_hours", False),
        ("expired", "expired", False),
        ("accepted", None, False),
    ],
)
def test_what_goes_on_to_the_next_channel(outcome: str, reason: str | None, moves: bool) -> None:
    one = lease(route=("inbox", "email"))
    found = onward(one, told_of(one, outcome, reason))
    if not moves:
        assert found is None
        return
    assert found is not None
    assert (found.key, found.channel, found.route) == (one.offer.key, "inbox", ("email",))
    assert onward(lease(), told_of(lease(), outcome, reason)) is None, "there is no other"
    late = told_of(one, outcome, reason, at=NOON + 120.0)
    assert onward(one, late) is None, "its time is over"


def told_of(one: Lease, outcome: str, reason: str | None, *, at: float = NOON, **more: Any) -> Any:
    return record(one.offer, one.attempt, at, outcome, reason=reason, **more)


def test_only_what_nobody_can_have_is_not_in_doubt() -> None:
    handed: dict[str, Any] = {"handed": {"text": "x"}}
    assert not in_doubt(lease(), told_of(lease(), "suppressed", "no_consent"))
    assert not in_doubt(lease(), told_of(lease(), "failed", None, **handed))
    assert not in_doubt(lease(), told_of(lease(), "failed", "config_error", **handed))
    assert not in_doubt(lease(), told_of(lease(), "dead_endpoint", None, **handed))
    for one, outcome, reason in [
        (lease(), "accepted", None),
        (lease(), "failed", "unknown"),
        (lease(), "failed", "attempts"),
        (lease(2), "failed", None),
        (lease(doubt=True), "failed", None),
    ]:
        assert in_doubt(one, told_of(one, outcome, reason, **handed))
    assert in_doubt(lease(2), told_of(lease(2), "suppressed", "no_consent"))
