"""How does somebody leave without a trace, and how can that be shown afterwards?

First, in one transaction, they are nobody any more: profile, consents and key are gone, tombstones
stand, the journal says that the engine forgets them, and the erasure is begun. Then, in small
pieces beside everything else, all other rows of theirs go, wherever the schema says that rows are
a person's; their records are taken out of the journal, earlier snapshots are dropped, the log is
cut, and a signed receipt takes the place of the names. What a crash interrupts in between goes on
at the next start. It must not know HTTP, nor what any row says.
"""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa

from proximity.consent import consents, objections
from proximity.consent.purposes import SHARING
from proximity.dispatch import outbox
from proximity.model import format_time
from proximity.outbound import positions
from proximity.privacy.receipts import NOT_REACHED, Receipt, hash_of, signed
from proximity.privacy.striking import drop_snapshots, named_in_site, strike
from proximity.store import schema
from proximity.sync import peers

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import ColumnElement, Connection, Table

    from proximity.people.people import People
    from proximity.store import Store

__all__ = ["WAYS", "Begun", "begin", "finish", "known", "pending", "personal_tables"]

PIECE = 1000
"""Rows deleted in one write: some ten milliseconds, for which the commits of records wait."""
_AT_ONCE = 500
"""Ids in one statement: SQLite may be built to take no more than 999 variables."""
_CUT_AGAIN_S, _CUT_TRIES = 0.05, 200
"""A reader that looks at the log is done within seconds; ten are waited."""

WAYS = ("rewritten", "hashed", "decision")
"""What a table may say in place of columns; the rows of ``decision`` go with those of ``sends``."""


class Begun(msgspec.Struct, frozen=True, kw_only=True):
    """An erasure on its way: whom, under all their names; ``names`` begin with the person."""

    id: str
    hash: str
    at: float
    names: tuple[str, ...]
    tombstone: bool = True
    source: str = "request"


class _Pending(msgspec.Struct, frozen=True):
    """What is written of an erasure while it goes on: whom, and the rows gone so far, by table.

    The records taken out of the journal stand under no name.
    """

    names: tuple[str, ...]
    tombstone: bool
    source: str
    done: dict[str, int] = {}


def personal_tables() -> Iterator[tuple[Table, tuple[str, ...]]]:
    """Give the tables whose rows are a person's, each with the columns that say whose."""
    for table in schema.metadata.sorted_tables:
        said = table.info["erased"].split()
        columns = tuple(word for word in said if word not in WAYS)
        if columns:
            yield table, columns


def known(connection: Connection, person: str) -> bool:
    """Whether any row of the store is of this person, by this id."""
    return any(
        connection.scalar(
            sa.select(sa.literal(1)).where(_theirs(table, columns, [person])).limit(1)
        )
        for table, columns in personal_tables()
    )


def begin(
    connection: Connection,
    people: People,
    person: str,
    *,
    now: float,
    tombstone: bool = True,
    source: str = "request",
    processors: Sequence[str] = (),
) -> Begun:
    """Make somebody nobody at Unix second ``now``: the first half, within one transaction.

    Whoever calls it lets the engine forget ``names`` in the same transaction (a journal row of kind
    ``forget``). ``tombstone`` false lets them come back, which is for who was silent for too long.
    ``processors`` are told later, and so are the peers with whom people are kept alike. One that
    was begun already is given again.
    """
    before = next((one for one in pending(connection) if one.names[0] == person), None)
    if before is not None:
        return before
    names = tuple(dict.fromkeys((person, *people.read(connection, person).subjects)))
    shared = consents.ever_agreed(connection, names, SHARING)
    rows = _small_rows(connection, names, delete=False)
    for name in names:  # a subject may have been spoken of as a person before it was theirs
        people.remove(connection, name)
    _small_rows(connection, names, delete=True)
    if tombstone:
        objections.bury(connection, names, at=now, source=source)
    begun = Begun(
        id=secrets.token_hex(8),
        hash=hash_of(connection, person, now),
        at=now,
        names=names,
        tombstone=tombstone,
        source=source,
    )
    left = _Pending(names, tombstone, source, rows)
    connection.execute(
        schema.erasures.insert(),
        {
            "id": begun.id,
            "hash": begun.hash,
            "at": now,
            "pending": msgspec.json.encode(left).decode(),
        },
    )
    if tombstone:  # who was only silent is forgotten here, and not everywhere
        via = source.removeprefix("sync:")
        processors = (*processors, *(one for one in peers.names(connection) if one != via))
        processors = (*processors, *positions.processors(connection, shared=shared))
    for processor in dict.fromkeys(processors):
        row = {"erasure": begun.id, "processor": processor, "person": person}
        connection.execute(schema.erasure_notices.insert(), row)
    return begun


def pending(connection: Connection) -> list[Begun]:
    """List the erasures that are not finished, oldest first."""
    table = schema.erasures
    rows = connection.execute(
        sa.select(table).where(table.c.pending.is_not(None)).order_by(table.c.at, table.c.id)
    )
    return [_begun(row) for row in rows]


def finish(store: Store, begun: Begun, *, now: float) -> Receipt | None:
    """Erase the rest and write the receipt; None where it must be tried again later.

    The newest snapshot must be younger than the journal row by which the engine forgot the names:
    what is older goes. Blocks; use it beside an event loop. Raises StoreFailed.
    """
    while _delete_rows(store, begun):  # until there is none: a hand-over may just have ended
        pass
    records = strike(store, begun.names)

    def tidy(connection: Connection) -> None:
        _count(connection, begun.id, "snapshots", drop_snapshots(connection))
        _count(connection, begun.id, "", records)

    store.write(tidy, freeing=True).result()
    if not _cut(store):
        return None
    receipt = store.write(lambda c: _conclude(c, begun, now), freeing=True).result()
    _cut(store)  # in it the names still stood; should this fail, the next start does it
    return receipt


# Rows ------------------------------------------------------------------------------------------


_BULKY = frozenset({"ledger", "events", "visits", "sends", "quarantine"})
"""Tables of which one person may have very many rows: these wait for ``finish``."""


def _theirs(table: Table, columns: Sequence[str], names: Sequence[str]) -> ColumnElement[bool]:
    theirs = sa.or_(*(table.c[column].in_(names) for column in columns))
    if table is schema.tokens:  # a gateway may be called as somebody's phone is
        return sa.and_(theirs, table.c.role == "device")
    return theirs


def _small_rows(connection: Connection, names: Sequence[str], *, delete: bool) -> dict[str, int]:
    """Count, or delete, what there is little of; once it is gone nothing is decided or sent."""
    rows: dict[str, int] = {}
    for table, columns in personal_tables():
        if table.name in _BULKY or table is schema.erasure_notices:
            continue
        for start in range(0, len(names), _AT_ONCE):
            theirs = _theirs(table, columns, names[start : start + _AT_ONCE])
            if delete:
                if table is schema.outbox:
                    outbox.release(connection, theirs)
                connection.execute(table.delete().where(theirs))
                continue
            query = sa.select(sa.func.count()).select_from(table).where(theirs)
            name = str(table.name)
            rows[name] = rows.get(name, 0) + (connection.scalar(query) or 0)
    return rows


def _delete_rows(store: Store, begun: Begun) -> int:
    """Delete every row that is theirs, piece by piece; how many there were."""
    count = 0
    for table, columns in personal_tables():
        # Whoever is still to be told needs to hear whom. What people agreed to went with `begin`;
        # a row since then is of somebody who came back, and none goes without a word in the chain.
        if table in {schema.erasure_notices, schema.consents, schema.person_keys}:
            continue
        key = list(table.primary_key.columns)
        for start in range(0, len(begun.names), _AT_ONCE):
            theirs = _theirs(table, columns, begun.names[start : start + _AT_ONCE])
            found = store.read(
                lambda c, k=key, t=theirs: [tuple(row) for row in c.execute(sa.select(*k).where(t))]  # type: ignore[misc]
            )
            for first in range(0, len(found), PIECE):
                some = found[first : first + PIECE]
                store.write(
                    lambda c, t=table, s=some: _delete(c, begun.id, t, s),  # type: ignore[misc]
                    freeing=True,
                ).result()
            count += len(found)
    return count


def _delete(
    connection: Connection, erasure: str, table: Table, keys: Sequence[tuple[Any, ...]]
) -> None:
    """Delete the rows with these keys, and count them; with a send goes what it took of a stock."""
    _count(connection, erasure, str(table.name), len(keys))
    key = list(table.primary_key.columns)
    chosen = sa.and_(*(column == sa.bindparam(f"k{n}") for n, column in enumerate(key)))
    connection.execute(
        table.delete().where(chosen),
        [{f"k{n}": value for n, value in enumerate(one)} for one in keys],
    )
    if table is schema.sends:
        taken = schema.reservations
        for start in range(0, len(keys), _AT_ONCE):
            some = [one[0] for one in keys[start : start + _AT_ONCE]]
            connection.execute(taken.delete().where(taken.c.decision.in_(some)))


# The receipt -----------------------------------------------------------------------------------


def _conclude(connection: Connection, begun: Begun, now: float) -> Receipt:
    """Write the receipt in place of the names."""
    table, notices = schema.erasures, schema.erasure_notices
    processors = connection.scalars(
        sa.select(notices.c.processor).where(notices.c.erasure == begun.id)
    )
    name, count = named_in_site(connection, begun.names)
    listed = (
        [f"{name}: {count} of its beacons are theirs: take them out and start again"]
        if count
        else []
    )
    done = _left(_row(connection, begun.id)).done
    receipt = Receipt(
        id=begun.id,
        person=begun.hash,
        source=begun.source,
        at=format_time(begun.at),
        finished_at=format_time(now),
        rows={table: count for table, count in sorted(done.items()) if table and count},
        records=done.get("", 0),
        tombstone=begun.tombstone,
        processors=tuple(sorted(processors)),
        not_reached=(*NOT_REACHED, *listed),
    )
    found = signed(connection, receipt, now)
    text = msgspec.json.encode(found).decode()
    connection.execute(
        table.update().where(table.c.id == begun.id).values(receipt=text, pending=None)
    )
    return found


def _row(connection: Connection, erasure: str) -> Any:
    return connection.execute(
        sa.select(schema.erasures).where(schema.erasures.c.id == erasure)
    ).one()


def _left(row: Any) -> _Pending:
    return msgspec.json.decode(row.pending, type=_Pending)


def _count(connection: Connection, erasure: str, what: str, count: int) -> None:
    """Add to what an erasure has done, in the transaction that does it."""
    table = schema.erasures
    left = _left(_row(connection, erasure))
    left.done[what] = left.done.get(what, 0) + count
    text = msgspec.json.encode(left).decode()
    connection.execute(table.update().where(table.c.id == erasure).values(pending=text))


def _begun(row: Any) -> Begun:
    left = _left(row)
    return Begun(
        id=row.id,
        hash=row.hash,
        at=row.at,
        names=left.names,
        tombstone=left.tombstone,
        source=left.source,
    )


def _cut(store: Store) -> bool:
    """Cut the log as soon as no reader is in the way."""
    for _ in range(_CUT_TRIES):
        if store.cut_log():
            return True
        time.sleep(_CUT_AGAIN_S)
    return False
