"""Who is removed, or silent for too long, is forgotten by one store; who is erased, by all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from proximity.consent import objections
from proximity.model import Person
from proximity.people.people import People
from proximity.privacy import erasing
from proximity.store import schema
from tests.properties.test_sync import Links, Side


def removed(people: People, conn: Any, now: float) -> None:
    people.remove(conn, "ann")


def silent(people: People, conn: Any, now: float) -> None:
    erasing.begin(conn, people, "ann", now=now, tombstone=False, source="retention")


def erased(people: People, conn: Any, now: float) -> None:
    erasing.begin(conn, people, "ann", now=now)


def person(side: Side) -> Person:
    return side.store.read(lambda c: side.people.read(c, "ann"))


def kept_alike(forget: Callable[[People, Any, float], None]) -> tuple[Side, Side, Links]:
    a, b = Side("a", ["b"], 0.0), Side("b", ["a"], 0.0)
    links = Links([a, b])
    a.put("ann", {"attributes": {"age": 40}, "subjects": ("s1",), "timezone": "Europe/Paris"})
    links.rounds_until_quiet()
    assert person(b) == person(a)
    a.now += 1.0
    a.store.write(lambda c: forget(a.people, c, a.now)).result()
    links.rounds_until_quiet()
    assert person(a) == Person(person="ann")
    return a, b, links


@pytest.mark.parametrize("forget", [removed, silent])
def test_who_is_removed_stays_with_the_peer_and_comes_back_with_what_it_says(
    forget: Callable[[People, Any, float], None],
) -> None:
    a, b, links = kept_alike(forget)
    assert person(b).attributes == {"age": 40}
    for table in (schema.changes, schema.consents, schema.people):
        asked = sa.select(table.c.person).where(table.c.person == "ann")
        assert a.store.read(lambda c, q=asked: c.scalar(q)) is None, table.name  # type: ignore[misc]
    # Of who agrees to nothing here no more is kept than whose a subject is.
    b.now += 1.0
    b.put("ann", {"attributes": {"age": 41}, "subjects": ("s1", "s2")})
    links.rounds_until_quiet()
    assert person(a) == Person(person="ann", subjects=("s2",))
    # They agree anew to something there, and all of it comes.
    b.agree("ann", "marketing")
    links.rounds_until_quiet()
    assert (person(a).attributes, person(a).timezone) == ({"age": 41}, "Europe/Paris")
    assert set(person(a).consents) == set(person(b).consents)


def test_who_is_erased_is_erased_with_the_peer() -> None:
    a, b, links = kept_alike(erased)
    assert person(b) == Person(person="ann")
    b.put("ann", {"attributes": {"age": 41}})
    links.rounds_until_quiet()
    for side in (a, b):
        assert person(side) == Person(person="ann")
        assert side.store.read(lambda c: objections.erased(c, "ann"))
