"""The queue of proximity triggers: append, claim, settle.

Durable, because it is a table of the store; a claim is a lease that ends by itself, so a claimer
that dies delays its triggers and loses none. Triggers of one moment, which meet in a contest, are
claimed together. Every function works on the connection of the caller's transaction and knows no
clock: ``now`` is given, in Unix seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import sqlalchemy as sa
import structlog

from proximity.model import Trigger
from proximity.store import ledger
from proximity.store.schema import triggers as queue

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Connection

log = structlog.get_logger(__name__)

T = TypeVar("T")

# Long enough for a page of decisions on a slow card, short enough that what a dead claimer held
# is decided within the 120 s for which most triggers are worth anything.
LEASE_S = 30.0

# PostgreSQL's advisory locks are numbers: "claiming" as one.
_CLAIMING = int.from_bytes(b"claiming")

_AT_ONCE = 500

# The state of a trigger that cannot be read; its lease never ends, so that nobody claims it.
ASIDE = "aside"

# Made once: they are asked all the time, and building one costs as much as running it.
_FREE = sa.or_(queue.c.state == "ready", queue.c.lease_until <= sa.bindparam("now"))
_DUE = (
    sa.select(queue.c.seq, queue.c.moment)
    .where(queue.c.due_at <= sa.bindparam("now"), _FREE)
    .order_by(queue.c.due_at, queue.c.seq)
    .with_for_update(skip_locked=True)  # PostgreSQL: one overdue may be settled just now
)
_FIRST_DUE = _DUE.limit(sa.bindparam("limit"))
_DUE_TOGETHER = _DUE.where(queue.c.moment.in_(sa.bindparam("moments", expanding=True)))
_LEASE = (
    queue.update()
    .where(queue.c.seq.in_(sa.bindparam("rows", expanding=True)))
    .values(
        state="leased",
        owner=sa.bindparam("holder"),
        lease_until=sa.bindparam("until"),
        token=queue.c.token + 1,
        attempts=queue.c.attempts + 1,
    )
    .returning(queue.c.due_at, queue.c.seq, queue.c.trigger, queue.c.token, queue.c.attempts)
)
_THESE = queue.c.id.in_(sa.bindparam("ids", expanding=True))
_HELD = (
    sa.select(queue.c.id, queue.c.token)
    .where(_THESE, queue.c.state == "leased")
    .order_by(queue.c.seq)
    .with_for_update()
)
_TAKE_OUT = queue.delete().where(_THESE)
_FREE_AT = sa.case((queue.c.state == "ready", queue.c.due_at), else_=queue.c.lease_until)
_NEXT = sa.select(sa.func.min(_FREE_AT))

_decode = msgspec.msgpack.Decoder(Trigger).decode


class Claim(msgspec.Struct, frozen=True):
    """A trigger leased to one claimer; ``token`` proves which lease, ``attempts`` counts them."""

    trigger: Trigger
    token: int
    attempts: int


def append(
    connection: Connection, triggers: Sequence[Trigger], *, due_at: float | None = None
) -> int:
    """Queue triggers, due at ``due_at``, else their own ``due_at``, else at once; tell how many.

    One that waits already, or whose final decision is in the ledger, is not queued again.
    """
    if not triggers:
        return 0
    known = ledger.decided(connection, [trigger.id for trigger in triggers])
    rows = [
        {
            "id": trigger.id,
            "trigger": msgspec.msgpack.encode(trigger),
            "due_at": _due_at(trigger) if due_at is None else due_at,
            "state": "ready",
            "token": 0,
            "attempts": 0,
            "person": trigger.person,
            "moment": trigger.moment or None,
        }
        for trigger in triggers
        if trigger.id not in known
    ]
    if not rows:
        return 0
    statement = ledger.insert_new(connection.dialect.name, queue, "seq")
    return len(connection.execute(statement, rows).all())


def claim(
    connection: Connection,
    owner: str,
    now: float,
    *,
    lease_s: float = LEASE_S,
    limit: int = 100,
) -> list[Claim]:
    """Lease up to ``limit`` triggers that are due to ``owner``, oldest first, moments kept whole.

    The last moment may bring some more. What another holds comes back only after its lease has
    ended. A trigger that cannot be read (the file was damaged, or a newer version wrote it) is set
    aside, so that it stops no other.
    """
    if connection.dialect.name == "postgresql":
        # One claims at a time: two that pass each other by would tear a moment apart.
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_CLAIMING)))
    found = connection.execute(_FIRST_DUE, {"now": now, "limit": limit}).all()
    if not found:
        return []
    taken = {row.seq for row in found}
    moments = {row.moment for row in found if row.moment is not None}
    if moments and len(found) == limit:
        for some in _slices(sorted(moments)):
            taken.update(connection.scalars(_DUE_TOGETHER, {"now": now, "moments": some}))
    rows: list[sa.Row[Any]] = []
    for some in _slices(sorted(taken)):
        leased = {"rows": some, "holder": owner, "until": now + lease_s}
        rows += connection.execute(_LEASE, leased)
    rows.sort(key=lambda row: (row.due_at, row.seq))
    claims: list[Claim] = []
    unreadable: list[int] = []
    for row in rows:
        try:
            claims.append(Claim(_decode(row.trigger), row.token, row.attempts))
        except msgspec.MsgspecError:
            unreadable.append(row.seq)
    if unreadable:
        aside = {"state": ASIDE, "owner": None, "lease_until": None}
        connection.execute(queue.update().where(queue.c.seq.in_(unreadable)).values(aside))
        log.error("triggers cannot be read: set aside, undecided", count=len(unreadable))
    return claims


def settle(connection: Connection, claim: Claim) -> bool:
    """Take a decided trigger out; False where another has it by now: undo your work."""
    return connection.execute(queue.delete().where(*_mine(claim))).rowcount == 1


def defer(connection: Connection, claim: Claim, until: float) -> bool:
    """Put a claimed trigger back, due at ``until``; False where another has it: undo your work."""
    back = {"state": "ready", "due_at": until, "owner": None, "lease_until": None}
    return connection.execute(queue.update().where(*_mine(claim)).values(back)).rowcount == 1


def held(connection: Connection, claims: Sequence[Claim]) -> set[str]:
    """Tell which of these claims still stand, by trigger; they do until the transaction ends."""
    tokens = {claim.trigger.id: claim.token for claim in claims}
    found: set[str] = set()
    for some in _slices(list(tokens)):
        rows = connection.execute(_HELD, {"ids": some})
        found.update(row.id for row in rows if row.token == tokens[row.id])
    return found


def take_out(connection: Connection, claims: Sequence[Claim]) -> None:
    """Take decided triggers out, all of them ``held`` in this transaction."""
    for some in _slices([claim.trigger.id for claim in claims]):
        connection.execute(_TAKE_OUT, {"ids": some})


def next_due(connection: Connection) -> float | None:
    """Give when the next trigger can be claimed (Unix seconds), or None while there is none."""
    earliest: float | None = connection.scalar(_NEXT)
    return earliest


def depth(connection: Connection) -> int:
    """Count the triggers that wait or are being decided."""
    waiting = sa.select(sa.func.count()).select_from(queue).where(queue.c.state != ASIDE)
    return connection.scalar(waiting) or 0


def _slices(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """Cut into pieces that one statement takes: SQLite may be built to take 999 variables."""
    for start in range(0, len(items), _AT_ONCE):
        yield items[start : start + _AT_ONCE]


def _due_at(trigger: Trigger) -> float:
    return trigger.decided_at if trigger.due_at is None else trigger.due_at


def _mine(claim: Claim) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        queue.c.id == claim.trigger.id,
        queue.c.state == "leased",
        queue.c.token == claim.token,
    )
