"""The outbox of offers: append, settle, put back, withdraw; ``queue``'s mirror on the way out.

Durable, because it is a table of the store; a row for each offer and the channel whose turn it is.
``leasing`` takes rows up. A lease ends by itself, so a sender that dies delays its offers and loses
none; what it handed over but did not record is handed over again with the same key, or given up,
as its channel has it. Functions on the caller's connection; ``now`` is given, in Unix seconds.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec
import sqlalchemy as sa

from proximity.campaigns.purposes import LOCATION_PURPOSES, PURPOSES, presses
from proximity.dispatch import offers, sends, stock
from proximity.dispatch.judging import record
from proximity.dispatch.leasing import ASIDE, LEASE_S, waiting
from proximity.model import Offer, Reason
from proximity.store import ledger
from proximity.store.schema import outbox

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from sqlalchemy import Connection

    from proximity.dispatch.leasing import Lease

__all__ = [
    "LEASE_S", "InFlight", "again", "append", "depth", "expire", "held", "next_due", "release",
    "settle", "take_out", "withdraw",
]  # fmt: skip

_AT_ONCE = 500
"""Ids in one statement: SQLite may be built to take no more than 999 variables."""

# Made once: building a statement costs more than running it, and every offer comes by here.
_NAMED = (
    outbox.c.key == sa.bindparam("its_key"),
    outbox.c.channel == sa.bindparam("its_channel"),
)
_HELD = (
    sa.select(outbox.c.key, outbox.c.channel, outbox.c.token)
    .where(outbox.c.key.in_(sa.bindparam("keys", expanding=True)), outbox.c.state == "leased")
    .order_by(outbox.c.key, outbox.c.channel)
    .with_for_update()
)
_SETTLE = outbox.delete().where(*_NAMED)
_AGAIN = (
    outbox.update()
    .where(*_NAMED)
    .values(state="ready", next_at=sa.bindparam("due"), owner=None, lease_until=None)
)
_TAKE_OUT = (
    outbox.delete()
    .where(
        outbox.c.key == sa.bindparam("its_key"),
        outbox.c.channel.in_(
            sa.select(outbox.c.channel)
            .where(outbox.c.key == sa.bindparam("its_key"), outbox.c.state == "ready")
            .with_for_update(skip_locked=True)
        ),
    )
    .returning(outbox.c.offer, outbox.c.attempts, outbox.c.doubt)
)  # fmt: skip

_decode = msgspec.msgpack.Decoder(Offer).decode


class InFlight(msgspec.Struct, frozen=True, kw_only=True):
    """An offer whose hand-over had begun when its person withdrew: it may arrive all the same.

    ``key`` is the decision's id; ``since`` when the hand-over began, Unix seconds.
    """

    key: str
    campaign: str
    channel: str
    since: float


def append(
    connection: Connection,
    some: Sequence[Offer],
    *,
    at: float | None = None,
    doubt: Collection[str] = (),
) -> None:
    """Put offers in, due at once; at Unix second ``at`` where it is not their channel's first turn.

    ``doubt`` names those that a channel before may have got there.
    """
    rows = [
        {
            "key": offer.key,
            "channel": offer.channel,
            "offer": msgspec.msgpack.encode(offer),
            "created_at": offer.created_at if at is None else at,
            "expires_at": offer.expires_at,
            "next_at": offer.created_at if at is None else at,
            "state": "ready",
            "token": 0,
            "attempts": 0,
            "person": offer.person,
            "onward": len(offer.route),
            "doubt": int(offer.key in doubt),
        }
        for offer in some
    ]
    if rows:
        connection.execute(outbox.insert(), rows)


def held(connection: Connection, some: Sequence[Lease]) -> set[tuple[str, str]]:
    """Tell which of these leases still stand, by key and channel, until the transaction ends."""
    tokens = {(one.offer.key, one.offer.channel): one.token for one in some}
    keys = sorted({one.offer.key for one in some})
    found: set[tuple[str, str]] = set()
    for start in range(0, len(keys), _AT_ONCE):
        rows = connection.execute(_HELD, {"keys": keys[start : start + _AT_ONCE]})
        found.update(
            (row.key, row.channel)
            for row in rows
            if row.token == tokens.get((row.key, row.channel))
        )
    return found


def settle(connection: Connection, some: Sequence[Lease]) -> None:
    """Take offers out for good, all of them leased or ``held`` in this transaction."""
    rows = [{"its_key": one.offer.key, "its_channel": one.offer.channel} for one in some]
    if rows:
        connection.execute(_SETTLE, rows)


def again(connection: Connection, some: Sequence[tuple[Lease, float]]) -> None:
    """Put leased offers back, each due at its Unix second; all of them ``held``."""
    rows = [
        {"its_key": one.offer.key, "its_channel": one.offer.channel, "due": due}
        for one, due in some
    ]
    if rows:
        connection.execute(_AGAIN, rows)


def take_out(connection: Connection, key: str, *, at: float, reason: str) -> None:
    """Take out what waits of an offer that its reader has by now; what is in flight goes on.

    Waits for nobody: what somebody else holds is theirs to look after.
    """
    gone = [
        record(_decode(row.offer), row.attempts, at, "suppressed", reason=reason)
        for row in connection.execute(_TAKE_OUT, {"its_key": key})
    ]
    ledger.append(connection, [ledger.entry(one) for one in gone])


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
    out: list[tuple[Offer, int, bool]] = []
    for row in found:
        offer = _decode(row.offer)
        if not _bears_on(offer, purpose, channel):
            continue
        if reason == Reason.OBJECTION and not presses(offer.purpose):
            continue  # what serves somebody is not what they object to
        if row.state != "leased":
            out.append((offer, row.attempts, bool(row.doubt)))
            continue
        since = row.lease_until - LEASE_S
        in_flight.append(
            InFlight(key=offer.key, campaign=offer.campaign, channel=offer.channel, since=since)
        )
    for offer, _, _ in out:
        gone = outbox.delete().where(outbox.c.key == offer.key, outbox.c.channel == offer.channel)
        connection.execute(gone)
    stock.give_back(connection, [one.key for one, done, doubt in out if not done and not doubt])
    told = [record(offer, done, at, "suppressed", reason=reason) for offer, done, _ in out]
    ledger.append(connection, [ledger.entry(one) for one in told])
    offers.move(connection, [offers.News(one.key, one.outcome, at) for one in told])
    return in_flight


def release(connection: Connection, some: sa.ColumnElement[bool]) -> int:
    """Give back the stock of rows that are about to go without a word; tell how many units.

    Only of what was never handed over: nobody can have received it.
    """
    untried = (outbox.c.state == "ready", outbox.c.attempts == 0, outbox.c.doubt == 0)
    keys = connection.scalars(sa.select(outbox.c.key).where(some, *untried)).all()
    return sum(
        stock.give_back(connection, keys[start : start + _AT_ONCE])
        for start in range(0, len(keys), _AT_ONCE)
    )


def expire(connection: Connection, keys: Sequence[str], *, at: float) -> None:
    """Tell of offers that are about to go, long past their time, that they have expired.

    For what nobody took up, since no server ran: at most 500 of them, at Unix second ``at``. What
    cannot be read was reported when it was set aside.
    """
    some = outbox.c.key.in_(keys)
    release(connection, some)
    query = sa.select(outbox.c.offer, outbox.c.attempts).where(some, outbox.c.state != ASIDE)
    told = []
    for row in connection.execute(query.order_by(outbox.c.key)):
        with suppress(msgspec.MsgspecError):
            offer = _decode(row.offer)
            told.append(record(offer, row.attempts, at, "expired", reason="expired"))
    ledger.append(connection, [ledger.entry(one) for one in told])
    offers.move(connection, [offers.News(one.key, one.outcome, at) for one in told])


def next_due(connection: Connection) -> float | None:
    """Give when the next offer can be leased (Unix seconds), or None while there is none."""
    return min((one.at for one in waiting(connection)), default=None)


def depth(connection: Connection) -> int:
    """Count the offers that wait or are being handed over."""
    there = sa.select(sa.func.count()).select_from(outbox).where(outbox.c.state != ASIDE)
    return connection.scalar(there) or 0


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
