"""The outbox of offers: append, lease, settle; ``queue``'s mirror on the way out.

Durable, because it is a table of the store. A lease ends by itself, so a sender that dies delays
its offers and loses none; what it handed over but did not record is handed over again with the
same key. Functions on the caller's connection; ``now`` is given, in Unix seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import sqlalchemy as sa

from proximity.model import Offer
from proximity.store.schema import outbox

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["LEASE_S", "Lease", "again", "append", "depth", "holds", "lease", "next_due", "settle"]

LEASE_S = 60.0
"""Longer than the slowest hand-over (15 s for a webhook) and its record together."""

_decode = msgspec.msgpack.Decoder(Offer).decode


class Lease(msgspec.Struct, frozen=True):
    """An offer leased to one sender; ``token`` proves which lease, ``attempt`` counts them."""

    offer: Offer
    token: int
    attempt: int


def append(connection: Connection, offer: Offer) -> None:
    """Put an offer in, due at once."""
    row = {
        "key": offer.key,
        "channel": offer.channel,
        "offer": msgspec.msgpack.encode(offer),
        "created_at": offer.created_at,
        "expires_at": offer.expires_at,
        "next_at": offer.created_at,
        "state": "ready",
        "token": 0,
        "attempts": 0,
    }
    connection.execute(outbox.insert(), row)


def lease(
    connection: Connection, owner: str, now: float, *, lease_s: float = LEASE_S, limit: int
) -> list[Lease]:
    """Lease up to ``limit`` offers that are due to ``owner``, oldest first."""
    free = sa.or_(outbox.c.state == "ready", outbox.c.lease_until <= now)
    due = (
        sa.select(outbox.c.key, outbox.c.channel)
        .where(outbox.c.next_at <= now, free)
        .order_by(outbox.c.next_at, outbox.c.key, outbox.c.channel)
        .limit(limit)
        .with_for_update(skip_locked=True)  # PostgreSQL: senders pass each other by
    )
    taken: list[Lease] = []
    for key, channel in connection.execute(due).all():
        row = connection.execute(
            outbox.update()
            .where(outbox.c.key == key, outbox.c.channel == channel)
            .values(
                state="leased",
                owner=owner,
                lease_until=now + lease_s,
                token=outbox.c.token + 1,
                attempts=outbox.c.attempts + 1,
            )
            .returning(outbox.c.offer, outbox.c.token, outbox.c.attempts)
        ).one()
        taken.append(Lease(_decode(row.offer), row.token, row.attempts))
    return taken


def holds(connection: Connection, one: Lease) -> bool:
    """Whether the lease is still the newest: False where another sender has the offer by now."""
    return connection.scalar(sa.select(outbox.c.token).where(*_mine(one))) is not None


def settle(connection: Connection, one: Lease) -> bool:
    """Take an offer out for good; False where another has it by now."""
    return connection.execute(outbox.delete().where(*_mine(one))).rowcount == 1


def again(connection: Connection, one: Lease, next_at: float) -> bool:
    """Put a leased offer back, due at ``next_at``; False where another has it by now."""
    back = {"state": "ready", "next_at": next_at, "owner": None, "lease_until": None}
    return connection.execute(outbox.update().where(*_mine(one)).values(back)).rowcount == 1


def next_due(connection: Connection) -> float | None:
    """Give when the next offer can be leased (Unix seconds), or None while there is none."""
    free_at = sa.case((outbox.c.state == "ready", outbox.c.next_at), else_=outbox.c.lease_until)
    earliest: float | None = connection.scalar(sa.select(sa.func.min(free_at)))
    return earliest


def depth(connection: Connection) -> int:
    """Count the offers that wait or are being handed over."""
    return connection.scalar(sa.select(sa.func.count()).select_from(outbox)) or 0


def _mine(one: Lease) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        outbox.c.key == one.offer.key,
        outbox.c.channel == one.offer.channel,
        outbox.c.state == "leased",
        outbox.c.token == one.token,
    )
