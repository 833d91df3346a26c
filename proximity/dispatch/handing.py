"""The question: may this offer still be handed over, and what came of it.

A hand-over begins with its lease: one write transaction leases, asks again what may have changed
since the decision, and takes out what must not go. So an offer is either leased when a withdrawal
commits, and then it is in flight, or it is never handed over. What came back is recorded, and what
nobody can have received gives its stock back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from msgspec.structs import replace

from proximity.campaigns.campaigns import NOWHERE
from proximity.consent import objections
from proximity.dispatch import outbox, stock
from proximity.gates import gates
from proximity.gates.candidates import Candidate
from proximity.model import Reason, Trigger, digest, format_time
from proximity.store import ledger, schema

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from sqlalchemy import Connection

    from proximity.channels import Reply
    from proximity.dispatch.weighing import World
    from proximity.model import Delivery, Offer, Person

__all__ = [
    "AGAIN",
    "BACKOFF_MOST_S",
    "BACKOFF_S",
    "MOST_ATTEMPTS",
    "delay_s",
    "judge",
    "record",
    "start",
]

BACKOFF_S = 2.0
"""The first wait after a failed hand-over, doubled each time: a short hiccup costs little of an
offer that is good for two minutes."""
BACKOFF_MOST_S = 300.0
"""Waits grow no longer than this; a day-long offer is still tried every five minutes."""
MOST_ATTEMPTS = 12
"""Some 25 minutes of trying. What has not gone through by then has left the moment it was for."""

AGAIN = frozenset(
    {
        "active",
        "place_hours",
        "consent",
        "location",
        "age",
        "objection",
        "preference",
        "schedule",
        "daypart",
        "quiet_hours",
    }
)
"""Gates that are asked again when an offer is sent: what the person may have changed, and what the
marketer or the clock may have. Where somebody was and what they did is as it was when decided."""
CONSENTS = frozenset({"consent", "location"})
"""Those of them that ask what the person agreed to."""
REFUSED = frozenset({"failed", "dead_endpoint"})
"""Outcomes by which a receiver says for good that it has not taken the offer."""

_GATES = tuple(gate for gate in gates.GATES if gate.name in AGAIN)

_SAID = (
    sa.select(schema.consents.c.person, sa.func.max(schema.consents.c.recorded_at))
    .where(schema.consents.c.person.in_(sa.bindparam("people", expanding=True)))
    .group_by(schema.consents.c.person)
)


def start(
    connection: Connection, world: World, owner: str, now: float, *, limit: int
) -> tuple[list[outbox.Lease], list[Delivery]]:
    """Begin the hand-over of up to ``limit`` offers that are due at Unix second ``now``.

    Gives those to be handed over, and what became of those that are not.
    """
    leases = outbox.lease(connection, owner, now, limit=limit)
    if not leases:
        return [], []
    names = {one.offer.person for one in leases}
    objected = objections.marked(connection, names, "objected")
    said = _last_said(connection, names)
    people = world.people.read_all(connection, sorted(names))
    begun: list[outbox.Lease] = []
    dropped: list[tuple[outbox.Lease, Delivery]] = []
    for one in leases:
        offer = one.offer
        outcome, reason = "expired", "expired" if now >= offer.expires_at else None
        if reason is None:
            candidate = _candidate(world, offer, people[offer.person], now, objected)
            outcome, reason = "suppressed", _reason_not_to(candidate, offer, said)
        if reason is None:
            begun.append(one)
        else:
            told = outbox.record(offer, one.attempt, now, outcome, reason=reason)
            dropped.append((one, told))
    _drop(connection, dropped)
    return begun, [delivery for _, delivery in dropped]


def judge(one: outbox.Lease, reply: Reply, now: float) -> Delivery:
    """Turn a channel's reply into a record: a retry ends at the offer's expiry or the last try."""
    offer = one.offer
    fields: dict[str, Any] = {
        "reply": reply.reply,
        "handed": {
            "text": offer.text,
            "language": offer.language,
            "link": offer.link,
            "expires_at": format_time(offer.expires_at),
        },
    }
    outcome: str = reply.outcome
    if outcome == "retry":
        next_at = now + delay_s(offer.key, one.attempt, reply.retry_after_s)
        if one.attempt >= MOST_ATTEMPTS:
            outcome, fields["reason"] = "failed", "attempts"
        elif next_at >= offer.expires_at:
            outcome, fields["reason"] = "expired", "expired"
        else:
            fields["next_at"] = next_at
    return outbox.record(offer, one.attempt, now, outcome, **fields)


def record(connection: Connection, one: outbox.Lease, delivery: Delivery) -> bool:
    """Write what came of a hand-over; False where another sender has the offer by now.

    What a sender that was fenced off did hand over is recorded too.
    """
    if delivery.next_at is not None:
        mine = outbox.again(connection, one, delivery.next_at)
    else:
        mine = outbox.settle(connection, one)
    if not mine and not ledger.decided(connection, (one.offer.key,)):
        return False  # the person was erased meanwhile: nothing of them is written any more
    if mine and one.attempt == 1 and delivery.outcome in REFUSED and delivery.reason is None:
        stock.give_back(connection, (one.offer.key,))
    ledger.append(connection, [ledger.entry(delivery)])
    return mine


def delay_s(key: str, attempt: int, retry_after_s: float | None = None) -> float:
    """Give the seconds to wait after failed attempt number ``attempt`` (from 1).

    Exponential, and spread over its upper half by a hash of key and attempt, so that offers that
    failed together do not return together and a replay waits as long. Never shorter than the
    receiver asked for.
    """
    whole = min(BACKOFF_S * 2.0 ** min(attempt - 1, 30), BACKOFF_MOST_S)
    spread = int(digest("delay", key, attempt)[:8], 16) / 2.0**32
    return max(whole * (0.5 + spread / 2.0), retry_after_s or 0.0)


def _reason_not_to(candidate: Candidate, offer: Offer, said: Mapping[str, float]) -> str | None:
    """Ask the gates of ``AGAIN`` about an offer: the reason of the first that fails.

    A campaign whose version has moved on says something else by now: it counts as inactive. A
    withdrawal counts once it is written, though the clock that dated it may be ahead of this one,
    or this one was read before: consent is asked about at the later of the two times.
    """
    if offer.version is not None and offer.version != candidate.campaign.version:
        return str(Reason.INACTIVE)
    later = candidate
    if said.get(offer.person, 0.0) > candidate.now:
        later = replace(candidate, now=said[offer.person])
    for gate in _GATES:
        passed, _ = gate.judge(later if gate.name in CONSENTS else candidate)
        if not passed:
            return str(gate.reason)
    return None


def _candidate(
    world: World, offer: Offer, person: Person, now: float, objected: Collection[str]
) -> Candidate:
    rules = world.campaigns()
    campaign = rules.get(offer.campaign)
    return Candidate(
        trigger=_trigger(offer),
        campaign=replace(campaign, channels=(offer.channel,), purpose=offer.purpose),
        rules=rules,
        place=world.places.facts(offer.place) if offer.place else NOWHERE,
        person=person,
        now=now,
        objected=offer.person in objected,
        assumed=world.assumed,
    )


def _trigger(offer: Offer) -> Trigger:
    """Give what is left of an offer's trigger: what the gates that are asked again look at."""
    return Trigger(
        id=offer.key,
        campaign=offer.campaign,
        version=offer.version or 0,
        person=offer.person,
        subject=offer.subject,
        place=offer.place,
        visit=offer.visit,
        kind="manual" if offer.source == "manual" else "enter",
        at=offer.created_at,
        decided_at=offer.created_at,
        evidence_at=offer.created_at,
        source=offer.source,
    )


def _drop(connection: Connection, some: Sequence[tuple[outbox.Lease, Delivery]]) -> None:
    """Take out offers that are not handed over after all."""
    if not some:
        return
    for one, _ in some:
        outbox.settle(connection, one)
    # An earlier attempt may have been received, whatever came back.
    stock.give_back(connection, [one.offer.key for one, _ in some if one.attempt == 1])
    ledger.append(connection, [ledger.entry(delivery) for _, delivery in some])


def _last_said(connection: Connection, names: Collection[str]) -> dict[str, float]:
    """Tell when each person's consents were last written, by whoever's clock wrote them."""
    found = connection.execute(_SAID, {"people": sorted(names)})
    return {row[0]: row[1] for row in found}
