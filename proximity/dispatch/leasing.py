"""The question: which offers of the outbox are taken up now.

A lease is the start of a hand-over: whatever is leased when a withdrawal commits is in flight, and
nothing else is ever handed over. So few are leased at a time, just before they are handed over, as
many of each channel as its ``pace`` has room for. Oldest first; but where a channel is behind,
newest first: after an outage who comes now is served now, and what has grown stale expires
meanwhile instead of standing in the way. Functions on the caller's connection; ``now`` is given,
in Unix seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import sqlalchemy as sa
import structlog

from proximity.dispatch.pace import Room
from proximity.model import Offer
from proximity.store.schema import outbox

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

__all__ = ["LEASE_S", "MOST_AT_ONCE", "Lease", "Waiting", "lease", "waiting"]

log = structlog.get_logger(__name__)

LEASE_S = 60.0
"""Longer than the slowest hand-over (20 s) and its record together."""
ASIDE = "aside"
"""The state of a row that cannot be read; nothing is due in it, so that it stops no other."""
BEHIND_S = 5.0
"""A channel whose oldest offer has waited longer than this is behind. A round takes milliseconds,
so that this is no hiccup; and five seconds are little of the two minutes that an offer is good."""
MOST_AT_ONCE = 500
"""Rows in one statement: SQLite may be built to take no more than 999 variables."""

# Made once: building a statement costs more than running it, and every offer comes by here.
# The channels that have rows, each found by one step in the index instead of by reading them all.
_first = sa.select(sa.func.min(outbox.c.channel).label("channel")).cte("waiting", recursive=True)
_next = (
    sa.select(sa.func.min(outbox.c.channel))
    .where(outbox.c.channel > _first.c.channel)
    .scalar_subquery()
)
_steps = _first.union_all(sa.select(_next).where(_first.c.channel.is_not(None)))
_CHANNELS = sa.select(_steps.c.channel).where(_steps.c.channel.is_not(None))

_OF_CHANNEL = outbox.c.channel == sa.bindparam("of_channel")
_DUE = outbox.c.next_at <= sa.bindparam("now")
_LAPSED = sa.and_(outbox.c.state == "leased", outbox.c.lease_until <= sa.bindparam("now"))
_ROWS = (
    sa.select(
        outbox.c.key, outbox.c.channel, outbox.c.next_at, outbox.c.state, outbox.c.expires_at,
        outbox.c.attempts, outbox.c.onward,
    )
    .limit(sa.bindparam("limit"))
    .with_for_update(skip_locked=True)  # PostgreSQL: senders pass each other by
)  # fmt: skip
_NEW = _ROWS.where(_OF_CHANNEL, outbox.c.attempts == 0, outbox.c.state == "ready", _DUE)
_OLDEST = _NEW.order_by(outbox.c.next_at, outbox.c.key)
_NEWEST = _NEW.order_by(outbox.c.next_at.desc(), outbox.c.key)
_ONWARD = _OLDEST.where(outbox.c.onward > 0)
# What a sender that died held comes first: "leased" before "ready".
_TRIED = _ROWS.where(
    _OF_CHANNEL,
    outbox.c.attempts > 0,
    sa.or_(sa.and_(outbox.c.state == "ready", _DUE), _LAPSED),
).order_by(outbox.c.state, outbox.c.next_at, outbox.c.key)
_TAKE = (
    outbox.update()
    .where(
        outbox.c.key.in_(sa.bindparam("keys", expanding=True)),
        outbox.c.channel.in_(sa.bindparam("channels", expanding=True)),
    )
    .values(
        state="leased",
        owner=sa.bindparam("holder"),
        lease_until=sa.bindparam("until"),
        token=outbox.c.token + 1,
        attempts=outbox.c.attempts + 1,
    )
    .returning(
        outbox.c.key,
        outbox.c.channel,
        outbox.c.offer,
        outbox.c.token,
        outbox.c.attempts,
        outbox.c.created_at,
        outbox.c.doubt,
    )
)
_free_at = sa.case((outbox.c.state == "ready", outbox.c.next_at), else_=outbox.c.lease_until)
_retries = sa.and_(outbox.c.state == "ready", outbox.c.attempts > 0)
_WAITING = (
    sa.select(outbox.c.channel, _retries, sa.func.min(_free_at))
    .where(outbox.c.state != ASIDE)
    .group_by(outbox.c.channel, _retries)
)
_SET_ASIDE = (
    outbox.update()
    .where(outbox.c.key == sa.bindparam("its_key"), outbox.c.channel == sa.bindparam("its_channel"))
    .values(state=ASIDE, owner=None, lease_until=None)
)

_decode = msgspec.msgpack.Decoder(Offer).decode


class Lease(msgspec.Struct, frozen=True):
    """An offer leased to one sender; ``token`` proves which lease, ``attempt`` counts them.

    ``since`` is when its channel's turn began (Unix seconds); ``lapsed``: another sender had it and
    told nothing; ``doubt``: a channel before may have got it there; ``barred``: its channel is left
    alone, so that it goes on to the next or, where its time is over, no further.
    """

    offer: Offer
    token: int
    attempt: int
    since: float
    lapsed: bool = False
    doubt: bool = False
    barred: bool = False

    @property
    def retry(self) -> bool:
        """Whether it is another try of this sender's kind, and not one that a crash repeats."""
        return self.attempt > 1 and not self.lapsed


class Waiting(NamedTuple):
    """When something of a channel can be leased (Unix seconds), and whether that is a retry."""

    channel: str
    retry: bool
    at: float


class _Found(NamedTuple):
    """Rows that may be leased: to be handed over, and to be taken out of this channel's way."""

    begin: list[Any]
    clear: list[Any]
    behind: bool = False


def lease(
    connection: Connection,
    owner: str,
    now: float,
    *,
    limit: int,
    room: Callable[[str], Room] | None = None,
) -> list[Lease]:
    """Lease up to ``limit`` offers that are due to ``owner``, of each channel what it has room for.

    Besides them what has expired and what goes on to another channel, which take no time. Whoever
    leases asks again, in the same transaction, what may have changed since the decision. What
    cannot be read (the file was damaged, or a newer version wrote it) is set aside.
    """
    begin: list[Any] = []
    taken: dict[tuple[str, str], tuple[Any, bool]] = {}
    behind = False
    for channel in connection.scalars(_CHANNELS).all():
        asked = {"of_channel": channel, "now": now, "limit": min(limit, MOST_AT_ONCE)}
        its_room = Room(limit, limit) if room is None else room(channel)
        found = _due(connection, asked, its_room)
        begin += found.begin
        taken |= {(row.key, row.channel): (row, its_room.barred) for row in found.clear}
        behind = behind or found.behind
    turn = -1.0 if behind else 1.0
    begin.sort(key=lambda row: (turn * row.next_at, row.key, row.channel))
    taken |= {(row.key, row.channel): (row, False) for row in begin[:limit]}
    leases: dict[tuple[str, str], Lease] = {}
    unreadable: list[dict[str, str]] = []
    names = list(taken)
    for start in range(0, len(names), MOST_AT_ONCE):
        some = names[start : start + MOST_AT_ONCE]
        # An offer has one row at a time, of the channel whose turn it is: its key names it.
        keys, channels = zip(*some, strict=True)
        values = {
            "keys": keys, "channels": sorted(set(channels)), "holder": owner,
            "until": now + LEASE_S,
        }  # fmt: skip
        for row in connection.execute(_TAKE, values):
            before, barred = taken[row.key, row.channel]
            try:
                offer = _decode(row.offer)
            except msgspec.MsgspecError:
                unreadable.append({"its_key": row.key, "its_channel": row.channel})
                continue
            leases[row.key, row.channel] = Lease(
                offer, row.token, row.attempts, row.created_at,
                lapsed=before.state == "leased", doubt=bool(row.doubt), barred=barred,
            )  # fmt: skip
    if unreadable:
        connection.execute(_SET_ASIDE, unreadable)
        log.error("offers cannot be read: set aside, not handed over", count=len(unreadable))
    return [leases[name] for name in names if name in leases]


def waiting(connection: Connection) -> list[Waiting]:
    """Tell when something of each channel can be leased, first sends and retries apart."""
    rows = connection.execute(_WAITING)
    return [Waiting(channel, bool(retry), at) for channel, retry, at in rows]


def _due(connection: Connection, asked: dict[str, Any], room: Room) -> _Found:
    """Find what is due of one channel."""
    if not room.total and not room.barred:
        return _Found([], [])
    now = asked["now"]
    if room.total:
        asked = asked | {"limit": min(asked["limit"], room.total)}
    oldest = list(connection.execute(_OLDEST, asked))
    tried = list(connection.execute(_TRIED, asked))
    over = [row for row in (*oldest, *tried) if row.expires_at <= now]
    if room.barred:
        onward = [row for row in tried if row.onward and row.state == "ready"]
        return _Found([], [*over, *onward, *connection.execute(_ONWARD, asked)])
    if not oldest or oldest[0].next_at >= now - BEHIND_S:
        over, first, behind = [], oldest, False
    else:
        first, behind = list(connection.execute(_NEWEST, asked)), True
    lapsed = [row for row in tried if row.state == "leased"]
    again = [row for row in tried if row.state == "ready"][: room.retries]
    # Retries before first sends: their budget keeps them few, and in a full channel they would
    # have no turn. But a probe asks of the channel, and an offer that failed before may be at
    # fault itself.
    turns = [*lapsed, *first, *again] if room.probe else [*lapsed, *again, *first]
    return _Found(turns[: room.total], over, behind)
