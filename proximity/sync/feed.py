"""The question: what has changed here that a reader does not know yet.

Of each person who has changed since, every field with who said it and when: however far behind
somebody is, what they get is what there is, and nothing between is missed. A reader's own words are
not sent back to them. Erasures stand before everything else until the reader says that it has
erased.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import sqlalchemy as sa

from proximity.consent import consents
from proximity.consent.objections import marked
from proximity.model import Person
from proximity.store import schema
from proximity.sync import clocks
from proximity.sync.agreed import said
from proximity.sync.fields import CONSENTS, NOTHING, digest_of, fields_of
from proximity.sync.merge import Item, Word

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection, Row

    from proximity.people.people import People
    from proximity.sync.fields import Clock

__all__ = ["Page", "page"]

_CHANGES = schema.changes


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Messages in the order of changes; ``cursor`` is the next request's ``after``.

    ``more`` is whether there are some behind it already.
    """

    items: tuple[Item, ...]
    cursor: str
    more: bool


def page(
    connection: Connection,
    people: People,
    after: int,
    limit: int,
    *,
    reader: str | None = None,
) -> Page:
    """Read what is younger than change ``after``, of at most so many people, for a reader."""
    rows = connection.execute(
        sa.select(_CHANGES.c.person, _CHANGES.c.seq)
        .where(_CHANGES.c.seq > after)
        .order_by(_CHANGES.c.seq)
        .limit(limit + 1)
    ).all()
    some = [row.person for row in rows[:limit]]
    items = [] if reader is None else _erasures(connection, reader)
    if some:
        known = clocks.read(connection, some)
        now = people.read_all(connection, some)
        objecting = marked(connection, some, "objected")
        ledger = consents.rows_by_person(connection, some)
        for name in some:
            item = _item(now[name], known[name], reader, name in objecting, ledger.get(name))
            if item is not None:
                items.append(item)
    cursor = rows[:limit][-1].seq if some else after
    return Page(items=tuple(items), cursor=str(cursor), more=len(rows) > limit)


def _item(
    person: Person,
    known: dict[str, Clock],
    reader: str | None,
    objected: bool,
    rows: Sequence[Row[tuple[object, ...]]] | None,
) -> Item | None:
    values = fields_of(person, objected=objected)
    wanted = {name: clock for name, clock in known.items() if reader is None or clock.via != reader}
    words = tuple(
        Word(field=name, at=clock.at, value=values.get(name), origin=clock.origin)
        for name, clock in sorted(wanted.items())
        # What was written and not yet noted goes out once it is, with a clock of its own.
        if name != CONSENTS and _is(clock, values.get(name))
    )
    agreed = said(rows) if CONSENTS in wanted and rows else None
    if not words and agreed is None:
        return None
    if agreed is None:
        return Item(person=person.person, words=words)
    return Item(person=person.person, words=words, consents=agreed.yes, withdrawals=agreed.no)


def _is(clock: Clock, value: object) -> bool:
    return (NOTHING if value is None else digest_of(value)) == clock.digest


def _erasures(connection: Connection, reader: str) -> list[Item]:
    """Give the erasures that a reader has not acknowledged, oldest first."""
    told, done = schema.erasure_notices, schema.erasures
    rows = connection.execute(
        sa.select(told.c.erasure, told.c.person, done.c.at)
        .join(done, done.c.id == told.c.erasure)
        .where(told.c.processor == reader, told.c.person.is_not(None))
        .order_by(done.c.at, told.c.erasure)
    )
    return [Item(person=row.person, id=row.erasure, erased_at=row.at) for row in rows]
