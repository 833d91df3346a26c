"""The question: how is what a person is kept: zone, languages, attributes, preferences, endpoints.

A record of JSON, and beside it the attributes and preferences again as rows, so that segments can
be asked of the database. Every function works on the connection of the caller's transaction. Knows
nothing of consents and subjects.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa

from proximity.model import Endpoint, Person, Preference
from proximity.people.preferences import about, answered, read_answer
from proximity.segments.conditions import searchable_values
from proximity.store import schema

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sqlalchemy import Connection

    from proximity.model import Event
    from proximity.people.tagging import Plan

__all__ = ["EMPTY", "Known", "answer", "put", "read", "read_all", "rows_of", "write"]

_PROFILES = sa.select(schema.people.c.person, schema.people.c.record).where(
    schema.people.c.person.in_(sa.bindparam("persons", expanding=True))
)
_ANSWERS = sa.select(schema.events.c.id, schema.events.c.at, schema.events.c.properties).where(
    schema.events.c.name == "preference-set",
    schema.events.c.person == sa.bindparam("person"),
    schema.events.c.at >= sa.bindparam("since"),
)


class Known(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The record of a person: contract 3's form without person, subjects and consents."""

    timezone: str | None = None
    languages: tuple[str, ...] = ()
    attributes: dict[str, Any] = {}
    preferences: tuple[Preference, ...] = ()
    endpoints: tuple[Endpoint, ...] = ()


EMPTY = msgspec.json.encode(Known()).decode()
"""The record of whom nothing is known but that they are."""


def read(connection: Connection, person: str) -> Known | None:
    """Read a person's record; None where there is none."""
    return read_all(connection, (person,)).get(person)


def read_all(connection: Connection, persons: Sequence[str]) -> dict[str, Known]:
    """Read the records of those of these people who have one; as many as one statement takes."""
    found = connection.execute(_PROFILES, {"persons": persons})
    return {row.person: msgspec.json.decode(row.record, type=Known) for row in found}


def put(connection: Connection, person: Person) -> None:
    """Replace a person's record as somebody else has it.

    Where that has no preferences, or no endpoints, theirs stay: whoever copies customers over each
    night must not undo what they themselves have said since.
    """
    known = None
    if not (person.preferences and person.endpoints):
        known = read(connection, person.person)
    if known is not None:
        person = msgspec.structs.replace(
            person,
            preferences=person.preferences or known.preferences,
            endpoints=person.endpoints or known.endpoints,
        )
    write(connection, person)


def write(connection: Connection, person: Person) -> None:
    """Write a person's record as it is from now on, and its rows."""
    known = Known(**{name: getattr(person, name) for name in Known.__struct_fields__})
    people, attributes = schema.people, schema.attributes
    record = {"person": person.person, "record": msgspec.json.encode(known).decode()}
    for table in (people, attributes, schema.wishes):
        connection.execute(table.delete().where(table.c.person == person.person))
    connection.execute(people.insert(), record)
    rows = [{"person": person.person, **row} for row in rows_of(person.attributes)]
    if rows:
        connection.execute(attributes.insert(), rows)
    wishes = [
        {
            "person": person.person, "number": number, "topic": one.topic,
            "channel": one.channel, "place": one.place, "allow": int(one.allow),
        }
        for number, one in enumerate(person.preferences)
        if one.hours is None
    ]  # fmt: skip
    if wishes:
        connection.execute(schema.wishes.insert(), wishes)


def rows_of(attributes: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Give the rows that attributes make: text, numbers, flags (as 0 and 1) and lists of text.

    Anything else, and what is too long, is kept with the person but makes none: no segment can ask
    for it.
    """
    for name, values in searchable_values(attributes).items():
        for item, one in enumerate(values):
            text, number = (one, None) if isinstance(one, str) else (None, one)
            yield {"name": name, "item": item, "text": text, "number": number}


def answer(connection: Connection, person: str, event: Event, plan: Plan) -> bool:
    """Change a person's record as they said in an event; tells whether that changed anything.

    An answer that came after a newer one about the same changes nothing, and neither does one that
    finds no room any more.
    """
    said = read_answer(event.properties, event.at)
    for row in connection.execute(_ANSWERS, {"person": person, "since": event.at}):
        other = read_answer(msgspec.json.decode(row.properties), row.at)
        if (row.at, row.id) > (event.at, event.id) and about(other) == about(said):
            return False
    known = read(connection, person) or Known()
    fields = {name: getattr(known, name) for name in Known.__struct_fields__}
    before = Person(person=person, **fields)
    rule = None if said.attribute is None else plan.answerable.get(said.attribute)
    try:
        after = answered(before, said, rule)
    except ValueError:
        return False
    if after == before:
        return False
    write(connection, after)
    return True
