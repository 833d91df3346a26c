"""The question: what is each offer, and what has become of it, on whichever channel.

A row for each decision that sends, written in the decision's own transaction and moved by
``states``' table: what an inbox shows, and what tells that an offer was read or used. ``changed``
numbers the changes in the order in which they are committed and is never used twice, so that a
reader who remembers the last one misses nothing. Functions on the caller's connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import sqlalchemy as sa

from proximity.dispatch.states import STATES, fold
from proximity.model import Offer
from proximity.store.ledger import insert_new
from proximity.store.schema import meta, offers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

__all__ = ["INBOX", "News", "decode", "move", "put", "set_aside", "states_of"]

INBOX = "inbox"
"""The channel whose readers find an offer here, by whichever channel it was handed over."""
SET_ASIDE = -1
"""What ``in_inbox`` says of an offer that its reader set aside: no hand-over puts it back."""
_COUNTER = "offers_changed"
_AT_ONCE = 500
"""Ids in one statement: SQLite may be built to take no more than 999 variables."""

# Counted by the database: on PostgreSQL the row is locked until the transaction ends, so that
# numbers are seen in the order in which they were given.
_COUNT = (
    meta.update()
    .where(meta.c.key == _COUNTER)
    .values(value=sa.cast(sa.cast(meta.c.value, sa.BigInteger) + sa.bindparam("more"), sa.Text))
    .returning(meta.c.value)
)
_FIND = (
    sa.select(offers.c.key, offers.c.state, offers.c.in_inbox, offers.c.read_at,
              offers.c.redeemed_at)
    .where(offers.c.key.in_(sa.bindparam("keys", expanding=True)))
    .order_by(offers.c.key)
    .with_for_update()
)  # fmt: skip
_MOVE = (
    offers.update()
    .where(offers.c.key == sa.bindparam("its_key"))
    .values(
        state=sa.bindparam("its_state"),
        changed=sa.bindparam("its_number"),
        in_inbox=sa.bindparam("its_inbox"),
        read_at=sa.bindparam("its_read_at"),
        redeemed_at=sa.bindparam("its_redeemed_at"),
    )
)
_STATES = (
    sa.select(offers.c.key, offers.c.state)
    .where(offers.c.key.in_(sa.bindparam("keys", expanding=True)))
    .order_by(offers.c.key)
    .with_for_update()
)

_REFUSED, _TAKEN = STATES["suppressed"].rank, STATES["accepted"].rank

decode = msgspec.msgpack.Decoder(Offer).decode


class News(NamedTuple):
    """What is heard of an offer at Unix second ``at``; ``in_inbox``: its reader finds it there."""

    key: str
    state: str
    at: float
    in_inbox: bool = False


def put(connection: Connection, some: Sequence[Offer]) -> None:
    """Write offers down that were just decided."""
    if not some:
        return
    first = _numbers(connection, len(some))
    rows = [
        {
            "key": offer.key,
            "person": offer.person,
            "campaign": offer.campaign,
            "place": offer.place,
            "offer": msgspec.msgpack.encode(offer),
            "created_at": offer.created_at,
            "expires_at": offer.expires_at,
            "state": "queued",
            "changed": first + number,
            "in_inbox": 0,
            "read_at": None,
            "redeemed_at": None,
        }
        for number, offer in enumerate(some)
    ]
    connection.execute(offers.insert(), rows)


def move(connection: Connection, news: Sequence[News]) -> dict[str, str]:
    """Move offers by what is heard of them; give the state of each that there is.

    News of an offer that is not there (its person was erased) are passed over.
    """
    keys = sorted({one.key for one in news})
    rows: dict[str, dict[str, Any]] = {}
    for start in range(0, len(keys), _AT_ONCE):
        found = connection.execute(_FIND, {"keys": keys[start : start + _AT_ONCE]})
        rows |= {row["key"]: dict(row) for row in found.mappings()}
    changed: dict[str, None] = {}
    for one in news:
        row = rows.get(one.key)
        if row is not None and _moved(row, one):
            changed[one.key] = None
    if changed:
        first = _numbers(connection, len(changed))
        moved = [
            {
                "its_key": key,
                "its_state": rows[key]["state"],
                "its_number": first + number,
                "its_inbox": rows[key]["in_inbox"],
                "its_read_at": rows[key]["read_at"],
                "its_redeemed_at": rows[key]["redeemed_at"],
            }
            for number, key in enumerate(changed)
        ]
        connection.execute(_MOVE, moved)
    return {key: row["state"] for key, row in rows.items()}


def set_aside(connection: Connection, key: str) -> None:
    """Take an offer out of its reader's inbox for good: they want to see it no more."""
    table = offers
    mine = (table.c.key == key, table.c.in_inbox != SET_ASIDE)
    if connection.execute(sa.select(table.c.key).where(*mine).with_for_update()).first():
        values = {"in_inbox": SET_ASIDE, "changed": _numbers(connection, 1)}
        connection.execute(table.update().where(*mine).values(values))


def states_of(connection: Connection, keys: Sequence[str]) -> dict[str, str]:
    """Tell the state of each of these offers that there is; it stays until the transaction ends."""
    found: dict[str, str] = {}
    for start in range(0, len(keys), _AT_ONCE):
        rows = connection.execute(_STATES, {"keys": keys[start : start + _AT_ONCE]})
        found.update((row.key, row.state) for row in rows)
    return found


def _moved(row: dict[str, Any], news: News) -> bool:
    """Fold news into a row; tell whether it says anything new."""
    after: dict[str, Any] = {"state": fold(row["state"], news.state)}
    dates = STATES[news.state].dates
    if dates is not None:
        # Told late, or twice: the first time is when it was.
        after[dates] = news.at if row[dates] is None else min(row[dates], news.at)
    if row["in_inbox"] != SET_ASIDE:
        ended = _REFUSED <= STATES[after["state"]].rank < _TAKEN
        # What ended without any channel taking it leaves the inbox in which it waited.
        after["in_inbox"] = 0 if ended else max(row["in_inbox"], int(news.in_inbox))
    new = any(row[name] != value for name, value in after.items())
    row |= after
    return new


def _numbers(connection: Connection, count: int) -> int:
    """Take ``count`` numbers that nobody had before; give the first."""
    last = connection.scalar(_COUNT, {"more": count})
    if last is None:
        row = {"key": _COUNTER, "value": "0"}
        connection.execute(insert_new(connection.dialect.name, meta, "key"), [row]).all()
        last = connection.scalar(_COUNT, {"more": count})
    assert last is not None
    return int(last) - count + 1
