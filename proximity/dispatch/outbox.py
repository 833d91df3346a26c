"""The outbox of offers: append, lease, settle, withdraw; ``queue``'s mirror on the way out.

Durable, because it is a table of the store. A lease is the start of a hand-over: whatever is leased
when a withdrawal commits is in flight, and nothing else is ever handed over. A lease ends by
itself, so a sender that dies delays its offers and loses none; what it handed over but did not
record is handed over again with the same key. Functions on the caller's connection; ``now`` is
given, in Unix seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa

from proximity.campaigns.purposes import LOCATION_PURPOSES, PURPOSES, presses
from proximity.dispatch import sends, stock
from proximity.model import Delivery, Offer, Reason
from proximity.store import ledger
from proximity.store.schema import outbox

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

__all__ = [
    "LEASE_S", "InFlight", "Lease", "again", "append", "depth", "lease", "next_due",
    "record", "settle", "withdraw",
]  # fmt: skip

LEASE_S = 60.0
"""Longer than the slowest hand-over (15 s for a webhook) and its record together."""

# Made once: building a statement costs more than running it, and every offer comes by here.
_DUE = (
    sa.select(outbox.c.key, outbox.c.channel)
    .where(
        outbox.c.next_at <= sa.bindparam("now"),
        sa.or_(outbox.c.state == "ready", outbox.c.lease_until <= sa.bindparam("now")),
    )
    .order_by(outbox.c.next_at, outbox.c.key, outbox.c.channel)
    .limit(sa.bindparam("limit"))
    .with_for_update(skip_locked=True)  # PostgreSQL: senders pass each other by
)
_TAKE = (
    outbox.update()
    .where(sa.tuple_(outbox.c.key, outbox.c.channel).in_(sa.bindparam("keys", expanding=True)))
    .values(
        state="leased",
        owner=sa.bindparam("holder"),
        lease_until=sa.bindparam("until"),
        token=outbox.c.token + 1,
        attempts=outbox.c.attempts + 1,
    )
    .returning(outbox.c.offer, outbox.c.token, outbox.c.attempts)
)
_MINE = (
    outbox.c.key == sa.bindparam("its_key"),
    outbox.c.channel == sa.bindparam("its_channel"),
    outbox.c.state == "leased",
    outbox.c.token == sa.bindparam("its_token"),
)
_SETTLE = outbox.delete().where(*_MINE)
_AGAIN = (
    outbox.update()
    .where(*_MINE)
    .values(state="ready", next_at=sa.bindparam("due"), owner=None, lease_until=None)
)

_decode = msgspec.msgpack.Decoder(Offer).decode


class Lease(msgspec.Struct, frozen=True):
    """An offer leased to one sender; ``token`` proves which lease, ``attempt`` counts them."""

    offer: Offer
    token: int
    attempt: int


class InFlight(msgspec.Struct, frozen=True, kw_only=True):
    """An offer whose hand-over had begun when its person withdrew: it may arrive all the same.

    ``key`` is the decision's id; ``since`` when the hand-over began, Unix seconds.
    """

    key: str
    campaign: str
    channel: str
    since: float


def append(connection: Connection, offers: Sequence[Offer]) -> None:
    """Put offers in, due at once."""
    rows = [
        {
            "key": offer.key,
            "channel": offer.channel,
            "offer": msgspec.msgpack.encode(offer),
            "created_at": offer.created_at,
            "expires_at": offer.expires_at,
            "next_at": offer.created_at,
            "state": "ready",
            "token": 0,
            "attempts": 0,
            "person": offer.person,
        }
        for offer in offers
    ]
    if rows:
        connection.execute(outbox.insert(), rows)


def lease(connection: Connection, owner: str, now: float, *, limit: int) -> list[Lease]:
    """Lease up to ``limit`` offers that are due to ``owner``, oldest first.

    Whoever leases asks again, in the same transaction, what may have changed since the decision.
    """
    found = connection.execute(_DUE, {"now": now, "limit": limit})
    order = {tuple(row): place for place, row in enumerate(found)}
    if not order:
        return []
    taken = {"keys": list(order), "holder": owner, "until": now + LEASE_S}
    rows = connection.execute(_TAKE, taken)
    leases = [Lease(_decode(row.offer), row.token, row.attempts) for row in rows]
    return sorted(leases, key=lambda one: order[one.offer.key, one.offer.channel])


def settle(connection: Connection, one: Lease) -> bool:
    """Take an offer out for good; False where another has it by now."""
    return connection.execute(_SETTLE, _named(one)).rowcount == 1


def again(connection: Connection, one: Lease, next_at: float) -> bool:
    """Put a leased offer back, due at ``next_at``; False where another has it by now."""
    return connection.execute(_AGAIN, {**_named(one), "due": next_at}).rowcount == 1


def withdraw(
    connection: Connection,
    person: str,
    purpose: str | None = None,
    channel: str | None = None,
    *,
    at: float,
    reason: str = "no_consent",
) -> list[InFlight]:
    """Take out what waits for a person who withdrew at Unix second ``at``; give what is in flight.

    Called in the transaction that records the withdrawal (or the objection, ``reason``). Each offer
    taken out is a delivery in the ledger, ``suppressed``. A purpose or channel of None means every
    one; in doubt, no: an offer goes with any consent that may have carried it, and all that is
    pressed upon people goes with the consent to being located.
    """
    sends.lock(connection, {person})  # nothing is being decided for them that is not seen here
    found = connection.execute(
        sa.select(outbox)
        .where(outbox.c.person == person)
        .order_by(outbox.c.key, outbox.c.channel)
        .with_for_update()
    ).all()
    in_flight: list[InFlight] = []
    waiting: list[tuple[Offer, int]] = []
    for row in found:
        offer = _decode(row.offer)
        if not _bears_on(offer, purpose, channel):
            continue
        if reason == Reason.OBJECTION and not presses(offer.purpose):
            continue  # what serves somebody is not what they object to
        if row.state != "leased":
            waiting.append((offer, row.attempts))
            continue
        since = row.lease_until - LEASE_S
        in_flight.append(
            InFlight(key=offer.key, campaign=offer.campaign, channel=offer.channel, since=since)
        )
    for offer, _ in waiting:
        gone = outbox.delete().where(outbox.c.key == offer.key, outbox.c.channel == offer.channel)
        connection.execute(gone)
    stock.give_back(connection, [offer.key for offer, attempts in waiting if attempts == 0])
    told = [record(offer, done, at, "suppressed", reason=reason) for offer, done in waiting]
    ledger.append(connection, [ledger.entry(one) for one in told])
    return in_flight


def record(offer: Offer, attempt: int, at: float, outcome: str, **fields: Any) -> Delivery:
    """Write down what became of an offer in attempt number ``attempt`` (0: before the first)."""
    return Delivery(
        key=offer.key,
        channel=offer.channel,
        attempt=attempt,
        outcome=outcome,
        at=at,
        campaign=offer.campaign,
        person=offer.person,
        subject=offer.subject,
        place=offer.place,
        **fields,
    )


def next_due(connection: Connection) -> float | None:
    """Give when the next offer can be leased (Unix seconds), or None while there is none."""
    free_at = sa.case((outbox.c.state == "ready", outbox.c.next_at), else_=outbox.c.lease_until)
    earliest: float | None = connection.scalar(sa.select(sa.func.min(free_at)))
    return earliest


def depth(connection: Connection) -> int:
    """Count the offers that wait or are being handed over."""
    return connection.scalar(sa.select(sa.func.count()).select_from(outbox)) or 0


def _bears_on(offer: Offer, purpose: str | None, channel: str | None) -> bool:
    """Whether a withdrawal of ``purpose`` on ``channel`` takes an offer's ground away."""
    if channel not in {None, "*", offer.channel}:
        return False
    if purpose is None or purpose == offer.purpose:
        return True
    row = PURPOSES.get(offer.purpose)
    if row is not None and purpose in row.consents:
        return True
    return presses(offer.purpose) and any(purpose in some for some in LOCATION_PURPOSES.values())


def _named(one: Lease) -> dict[str, Any]:
    return {"its_key": one.offer.key, "its_channel": one.offer.channel, "its_token": one.token}
