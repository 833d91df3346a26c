"""The question: what comes next for a subscriber, and how is it told.

Read anew for each attempt: who was erased meanwhile is in no row any more, and so in no attempt. An
event's id is made of what happened alone, so that a repeat is known as one. It must not know how
anything is sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec
import sqlalchemy as sa

from proximity.channels.envelope import Envelope
from proximity.consent.purposes import SHARING
from proximity.model import digest, format_time
from proximity.outbound.positions import LEDGER, PEOPLE, processor_of
from proximity.privacy.erasing import pending
from proximity.privacy.notices import EVENT_TYPE as ERASED
from proximity.store import schema
from proximity.sync import feed as people_feed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection

    from proximity.outbound.subscribers import Subscriber
    from proximity.people.people import People

__all__ = ["Happening", "Page", "erasures", "feeds_of", "read"]

CHANGED = "proximity.person.changed.v1"


class Happening(NamedTuple):
    """One event, and where its subscriber is once they have it.

    ``at`` is when it happened, Unix seconds, None where that is not known; ``erasure`` the id of
    one that is acknowledged when it was taken.
    """

    position: int
    event: Envelope
    at: float | None = None
    erasure: str | None = None


class Page(NamedTuple):
    """Events in order; where they are all taken the subscriber is at ``end``."""

    happenings: list[Happening]
    end: int


def feeds_of(subscriber: Subscriber) -> tuple[str, ...]:
    """Name the feeds that a subscriber's kinds come from; erasures are told first."""
    feeds = (PEOPLE,) if "person" in subscriber.kinds else ()
    return (*feeds, LEDGER) if set(subscriber.kinds) - {"person"} else feeds


def read(
    connection: Connection,
    people: People,
    subscriber: Subscriber,
    feed: str,
    after: int,
    end: int,
    limit: int,
    now: float,
) -> Page:
    """Read up to ``limit`` events after one position, up to another, at Unix second ``now``."""
    if feed == PEOPLE:
        return _people(connection, people, subscriber, after, end, limit, now)
    return _ledger(connection, people, subscriber, after, end, limit, now)


def _shared(
    connection: Connection, people: People, subscriber: Subscriber, names: Iterable[str], now: float
) -> set[str]:
    """Tell which of these people a subscriber may be told of: another company of few."""
    if not subscriber.third_party:
        return set(names)
    known = people.read_all(connection, sorted(names))
    return {
        name
        for name, one in known.items()
        if any(said.purpose == SHARING and said.holds(now) for said in one.consents)
    }


def _ledger(
    connection: Connection,
    people: People,
    subscriber: Subscriber,
    after: int,
    end: int,
    limit: int,
    now: float,
) -> Page:
    table = schema.ledger
    wanted = [
        table.c.seq > after,
        table.c.seq <= end,
        table.c.kind.in_([kind for kind in subscriber.kinds if kind != "person"]),
    ]
    if subscriber.places:
        wanted.append(table.c.place.in_(sorted(subscriber.places)))
    if subscriber.campaigns:
        wanted.append(table.c.campaign.in_(sorted(subscriber.campaigns)))
    asked = sa.select(table).where(*wanted).order_by(table.c.seq).limit(limit)
    rows = connection.execute(asked).all()
    # Their rows go in pieces after it was told that they are erased.
    leaving = {name for one in pending(connection) for name in one.names}
    whose = people.carriers(connection, {row.subject for row in rows if not row.person})
    owners = {row.seq: row.person or whose[row.subject] for row in rows}
    shared = _shared(connection, people, subscriber, set(owners.values()), now)
    found = [
        Happening(
            row.seq,
            Envelope(
                id=f"{row.kind}-{row.id.replace('/', '-')}",
                source=subscriber.source,
                type=f"proximity.{row.kind}.v1",
                subject=row.place or row.campaign,
                time=format_time(row.at),
                sequence=f"{row.seq:016d}",
                data=msgspec.Raw(row.record.encode()),
            ),
            row.at,
        )
        for row in rows
        if not leaving & {row.person, row.subject} and owners[row.seq] in shared
    ]
    return Page(found, rows[-1].seq if len(rows) == limit else end)


def _people(
    connection: Connection,
    people: People,
    subscriber: Subscriber,
    after: int,
    end: int,
    limit: int,
    now: float,
) -> Page:
    table = schema.changes
    rows = connection.execute(
        sa.select(table.c.person, table.c.seq)
        .where(table.c.seq > after, table.c.seq <= end)
        .order_by(table.c.seq)
        .limit(limit)
    ).all()
    page = people_feed.page(connection, people, after, len(rows)) if rows else None
    items = {item.person: item for item in page.items} if page is not None else {}
    shared = _shared(connection, people, subscriber, items, now)
    found = []
    for row in rows:
        item = items.get(row.person)
        if item is None or row.person not in shared:
            continue
        said = max((word.at for word in item.words), default=None)
        found.append(
            Happening(
                row.seq,
                Envelope(
                    id=f"person-{digest('changed', row.person, row.seq)}",
                    source=subscriber.source,
                    type=CHANGED,
                    time=None if said is None else format_time(said),
                    sequence=f"{row.seq:016d}",
                    data=msgspec.to_builtins(item),
                ),
                said,
            )
        )
    return Page(found, rows[-1].seq if len(rows) == limit else end)


def erasures(connection: Connection, subscriber: Subscriber, limit: int) -> list[Happening]:
    """Read the erasures that a subscriber has not been told of, oldest first."""
    told, done = schema.erasure_notices, schema.erasures
    rows = connection.execute(
        sa.select(told.c.erasure, told.c.person, done.c.at)
        .join(done, done.c.id == told.c.erasure)
        .where(told.c.processor == processor_of(subscriber.name), told.c.person.is_not(None))
        .order_by(done.c.at, told.c.erasure)
        .limit(limit)
    )
    return [
        Happening(
            0,
            Envelope(
                id=f"erasure-{row.erasure}",
                source=subscriber.source,
                type=ERASED,
                time=format_time(row.at),
                data={"erasure": row.erasure, "person": row.person},
            ),
            row.at,
            row.erasure,
        )
        for row in rows
    ]
