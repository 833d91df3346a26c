"""The question: what do a channel's replies mean for an offer, and where does it go from there.

One offer goes to all of a person's devices on a channel and is one delivery: accepted where any of
them took it. What did not go through is tried again, goes on to the next channel of its route, or
ends. Pure: what follows in the store is ``settling``'s.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from proximity.model import Delivery, Reason, digest, format_time

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proximity.campaigns.reach import Terms
    from proximity.channels import Reply
    from proximity.dispatch.leasing import Lease
    from proximity.model import Endpoint, Offer

    Replies = Sequence[tuple[Endpoint | None, Reply]]

__all__ = [
    "ATTEMPTS", "BACKOFF_MOST_S", "BACKOFF_S", "CHANNEL_DOWN", "MOST_ATTEMPTS", "UNKNOWN",
    "combine", "delay_s", "in_doubt", "judge", "onward", "record", "turn_ends",
]  # fmt: skip

BACKOFF_S = 2.0
"""The first wait after a failed hand-over, doubled each time: a short hiccup costs little of an
offer that is good for two minutes."""
BACKOFF_MOST_S = 300.0
"""Waits grow no longer than this; a day-long offer is still tried every five minutes."""
MOST_ATTEMPTS = 12
"""Some 25 minutes of trying. What has not gone through by then has left the moment it was for."""

ATTEMPTS = "attempts"
UNKNOWN = "unknown"
CHANNEL_DOWN = "channel_down"
"""Reasons of ``failed``: tried often enough; nobody knows whether it arrived, and it must not
arrive twice; left to the next channel, because this one fails."""

_BEST_FIRST = ("accepted", "retry", "config_error", "failed", "dead_endpoint")
"""Of several devices' outcomes the first of these is the offer's: it got through, or there is hope
yet, or the fault is ours, or theirs."""
_REFUSED = frozenset({"failed", "dead_endpoint"})
"""Outcomes by which a receiver says for good that it has not taken the offer."""
_OF_CHANNEL = frozenset({Reason.NO_CONSENT, Reason.PREFERENCE, Reason.UNREACHABLE})
"""What stands against one channel, and not against the offer."""


def judge(one: Lease, replies: Replies, terms: Terms, now: float) -> Delivery:
    """Turn a channel's replies, one for each endpoint, into a record at Unix second ``now``.

    A retry ends with the last try, with the offer, or where the next channel of its route would
    have too little time left.
    """
    offer = one.offer
    reply = combine(replies)
    fields: dict[str, Any] = {
        "reply": reply.reply,
        "handed": {
            "text": offer.text,
            "language": offer.language,
            "link": offer.link,
            "expires_at": format_time(offer.expires_at),
            "repeats": terms.repeats,
            **({"cost": terms.cost} if terms.cost else {}),
        },
    }
    outcome: str = reply.outcome
    if outcome == "config_error":
        outcome, fields["reason"] = "failed", "config_error"
    elif outcome == "retry" and reply.unsure and terms.repeats == "at_most_once":
        outcome, fields["reason"] = "failed", UNKNOWN
    elif outcome == "retry":
        next_at = now + delay_s(offer.key, one.attempt, reply.retry_after_s)
        if next_at >= turn_ends(one) and not (offer.route and now < offer.expires_at):
            outcome, fields["reason"] = "expired", "expired"
        elif next_at >= turn_ends(one) or one.attempt >= MOST_ATTEMPTS:
            outcome, fields["reason"] = "failed", ATTEMPTS
        else:
            fields["next_at"] = next_at
    return record(offer, one.attempt, now, outcome, **fields)


def combine(replies: Replies) -> Reply:
    """Give the reply that counts of several endpoints' ones; with it how many said what.

    Of those that mean "not now" one of which nobody knows whether it arrived goes first: whether it
    may be handed over again is the channel's terms to say.
    """
    best = min(replies, key=lambda one: (_BEST_FIRST.index(one[1].outcome), not one[1].unsure))[1]
    if replies[0][0] is None:
        return best
    counts = Counter(reply.outcome for _, reply in replies)
    return replace(best, reply={**best.reply, "endpoints": dict(sorted(counts.items()))})


def turn_ends(one: Lease) -> float:
    """Give the Unix second by which an offer's channel must have got through.

    Each channel of the route that is left has the same share of the time that was left when this
    one's turn began: whoever is tried last still has time to be heard.
    """
    left_s = one.offer.expires_at - one.since
    return one.since + left_s / (1 + len(one.offer.route))


def onward(one: Lease, delivery: Delivery) -> Offer | None:
    """Give the offer as the next channel gets it; None where it goes no further.

    What may have arrived, on a channel whose receiver would see it twice, is not sent by another.
    """
    offer = one.offer
    if not offer.route or delivery.at >= offer.expires_at:
        return None
    if delivery.outcome == "suppressed":
        moves = delivery.reason in _OF_CHANNEL
    else:
        moves = delivery.outcome in _REFUSED and delivery.reason != UNKNOWN
    return replace(offer, channel=offer.route[0], route=offer.route[1:]) if moves else None


def in_doubt(one: Lease, delivery: Delivery) -> bool:
    """Whether somebody may have received an offer by now, whatever came back.

    Only what was never handed over, or was refused at its first hand-over, nobody has.
    """
    if one.doubt or one.attempt > 1:
        return True
    if not delivery.handed:
        return False
    return delivery.outcome not in _REFUSED or delivery.reason in {UNKNOWN, ATTEMPTS}


def delay_s(key: str, attempt: int, retry_after_s: float | None = None) -> float:
    """Give the seconds to wait after failed attempt number ``attempt`` (from 1).

    Exponential, and spread over its upper half by a hash of key and attempt, so that offers that
    failed together do not return together and a replay waits as long. Never shorter than the
    receiver asked for.
    """
    whole = min(BACKOFF_S * 2.0 ** min(attempt - 1, 30), BACKOFF_MOST_S)
    spread = int(digest("delay", key, attempt)[:8], 16) / 2.0**32
    return max(whole * (0.5 + spread / 2.0), retry_after_s or 0.0)


def record(offer: Offer, attempt: int, at: float, outcome: str, **fields: Any) -> Delivery:
    """Write down what became of an offer in attempt number ``attempt`` (0: before the first).

    ``fields`` are a delivery's others; ``channel`` among them where it is not the offer's own.
    """
    return Delivery(
        key=offer.key,
        channel=fields.pop("channel", offer.channel),
        attempt=attempt,
        outcome=outcome,
        at=at,
        campaign=offer.campaign,
        person=offer.person,
        subject=offer.subject,
        place=offer.place,
        **fields,
    )
