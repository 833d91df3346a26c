"""The question: how far is each subscriber, and is there anybody to tell.

A row for each subscriber and feed. A position moves after what lies before it was taken, so that a
crash repeats and never skips. Functions on the caller's connection; times are Unix seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec
import sqlalchemy as sa

from proximity.store import schema
from proximity.store.journal import read_meta, write_meta
from proximity.store.ledger import insert_new

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import Connection

__all__ = [
    "LEDGER", "PEOPLE", "Position", "enable", "end_of", "is_third_party", "listed", "meet",
    "newest", "note_third_party", "processor_of", "processors", "save", "start",
]  # fmt: skip

LEDGER, PEOPLE = "ledger", "people"
Feed = Literal["ledger", "people"]

_TABLE = schema.outbound
_TABLES = {LEDGER: schema.ledger, PEOPLE: schema.changes}
_LOCK_MS = 200
_THIRD_PARTY = "outbound_third_party/"


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """How far a subscriber is in a feed.

    ``state``: on; gone, since they said so (410); given_up, since they took nothing for too long;
    left, since the subscribers' file did not name them at the last start.
    """

    subscriber: str
    feed: str
    position: int
    state: str
    failing_since: float | None
    moved_at: float


def processor_of(subscriber: str) -> str:
    """Name a subscriber as one who is to hear of erasures."""
    return f"outbound/{subscriber}"


def processors(connection: Connection, *, shared: bool = True) -> list[str]:
    """Name those who are told of people, and so of an erasure that begins now.

    Another company only where the person was ever ``shared``: of others it is to hear nothing, not
    even that they were here.
    """
    rows = connection.scalars(
        sa.select(_TABLE.c.subscriber).where(_TABLE.c.feed == PEOPLE, _TABLE.c.state == "on")
    ).all()
    return [
        processor_of(name)
        for name in sorted(rows)
        if shared or not is_third_party(connection, name)
    ]


def is_third_party(connection: Connection, subscriber: str) -> bool:
    """Whether a subscriber was noted as another company."""
    return read_meta(connection, _THIRD_PARTY + subscriber) == "1"


def note_third_party(connection: Connection, subscriber: str, *, third_party: bool) -> None:
    """Note whether a subscriber is another company, for whoever has not read their file."""
    if is_third_party(connection, subscriber) is not third_party:
        write_meta(connection, _THIRD_PARTY + subscriber, str(int(third_party)))


def listed(connection: Connection) -> list[Position]:
    """Read every position, by name and feed."""
    rows = connection.execute(sa.select(_TABLE).order_by(_TABLE.c.subscriber, _TABLE.c.feed))
    return [Position(**row) for row in rows.mappings()]


def start(
    connection: Connection, subscriber: str, feed: str, *, at_end: bool, now: float
) -> Position:
    """Read a subscriber's position; one who is new begins at the end, or at the beginning."""
    row = {
        "subscriber": subscriber, "feed": feed, "state": "on", "failing_since": None,
        "position": newest(connection, feed) if at_end else 0, "moved_at": now,
    }  # fmt: skip
    connection.execute(insert_new(connection.dialect.name, _TABLE, "position"), row)
    theirs = (_TABLE.c.subscriber == subscriber) & (_TABLE.c.feed == feed)
    return Position(**connection.execute(sa.select(_TABLE).where(theirs)).mappings().one())


def save(connection: Connection, position: Position) -> None:
    """Write where a subscriber is now."""
    fields = msgspec.structs.asdict(position)
    theirs = (_TABLE.c.subscriber == fields.pop("subscriber")) & (
        _TABLE.c.feed == fields.pop("feed")
    )
    connection.execute(_TABLE.update().where(theirs).values(**fields))


def meet(connection: Connection, names: Collection[str], now: float) -> None:
    """Take in whom the file names: who is not there is left, who is back is told again.

    Nothing is kept for who has left: of erasures from now on they are not told.
    """
    named = _TABLE.c.subscriber.in_(sorted(names))
    for state, before, whom in (("left", "on", ~named), ("on", "left", named)):
        connection.execute(
            _TABLE.update()
            .where(_TABLE.c.state == before, whom)
            .values(state=state, failing_since=None, moved_at=now)
        )


def enable(connection: Connection, subscriber: str, now: float) -> bool:
    """Tell a subscriber again, from where they were; whether anybody is called so."""
    done = connection.execute(
        _TABLE.update()
        .where(_TABLE.c.subscriber == subscriber)
        .values(state="on", failing_since=None, moved_at=now)
    )
    return bool(done.rowcount)


def newest(connection: Connection, feed: str) -> int:
    """Give the newest row of a feed, 0 where there is none."""
    return int(connection.scalar(sa.select(sa.func.max(_TABLES[feed].c.seq))) or 0)


def end_of(connection: Connection, feed: str) -> int | None:
    """Give the newest row before which none can appear any more; None: not known at present.

    SQLite has one writer: rows appear in their order. On PostgreSQL a row may be committed after
    one with a higher number; whoever holds this lock waits for all who are writing, and it is let
    go with this transaction, which must do nothing else. Whoever writes for long is not waited for.
    """
    if connection.dialect.name == "postgresql":
        table = _TABLES[feed].name
        try:
            connection.execute(sa.text(f"SET LOCAL lock_timeout = '{_LOCK_MS}ms'"))
            connection.execute(sa.text(f"LOCK TABLE {table} IN SHARE MODE"))
        except sa.exc.OperationalError:
            return None
    return newest(connection, feed)
