"""The question: how many people would a segment reach, were it used now.

Counted in the store, told as ``cells`` allows. Who they are is ``sql``'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import sqlalchemy as sa

from proximity.campaigns.purposes import PURPOSES
from proximity.consent.consents import standing
from proximity.reports.cells import told
from proximity.segments.sql import PEOPLE, select_people
from proximity.store import schema

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from sqlalchemy import Connection

    from proximity.campaigns.campaigns import PlaceFacts
    from proximity.segments.rules import Rule

__all__ = ["Size", "measure", "places_tagged"]

_PAGE = 5000
"""People whose consents are read at once."""


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """How many people a segment means; each number without its last digit, None: fewer than ten.

    ``known`` are all people of whom anything is; ``agreed`` are those of the segment who have a
    consent in force that allows the purpose, by purpose.
    """

    segment: str
    sentence: str
    people: int | None
    known: int | None
    agreed: dict[str, int | None]


def measure(
    connection: Connection,
    segment: str,
    rule: Rule,
    now: float,
    facts: Callable[[str], PlaceFacts],
) -> Size:
    """Count a segment's people at Unix second ``now``; ``facts`` tells the tags of places."""
    tagged = places_tagged(connection, facts)
    wanted = {name: row.consents for name, row in PURPOSES.items() if row.consents}
    agreed = dict.fromkeys(wanted, 0)
    people = 0
    meant = connection.scalars(select_people(rule, now, connection.dialect.name, tagged))
    for page in meant.partitions(_PAGE):
        people += len(page)
        for consents in standing(connection, page).values():
            purposes = {one.purpose for one in consents if one.holds(now)}
            for name, allowing in wanted.items():
                agreed[name] += not purposes.isdisjoint(allowing)
    everybody = sa.union(*(sa.select(table.c.person) for table in PEOPLE)).subquery()
    known = connection.scalar(sa.select(sa.func.count()).select_from(everybody)) or 0
    return Size(
        segment=segment,
        sentence=rule.sentence(),
        people=told(people),
        known=told(known),
        agreed={name: told(count) for name, count in agreed.items()},
    )


def places_tagged(
    connection: Connection, facts: Callable[[str], PlaceFacts]
) -> Callable[[str], Collection[str]]:
    """Make the function that gives the visited places with a tag, their own or a parent's."""
    tags: dict[str, set[str]] = {}
    for place in connection.scalars(sa.select(schema.visits.c.place).distinct()):
        for tag in facts(place).venue_tags:
            tags.setdefault(tag, set()).add(place)
    return lambda tag: tags.get(tag, ())
