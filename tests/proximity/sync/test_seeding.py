"""A peer who is new is told of everybody, also beside people of whom nothing but the name is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from proximity.consent.objections import bury
from proximity.model import Consent, Endpoint, Person
from proximity.people.people import People
from proximity.store import Store, schema
from proximity.sync import clocks, feed, peers

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW = 1_767_700_000.0


@pytest.fixture
def store() -> Iterator[Store]:
    store = Store.open(":memory:")
    yield store
    store.close()


def seed_all(store: Store, people: People) -> list[int]:
    """Seed as the command and the server do; give up where it would go on for ever."""
    rounds = []
    for _ in range(20):
        rounds.append(store.write(lambda conn: peers.seed(conn, people, NOW)).result())
        if not rounds[-1]:
            return rounds
    raise AssertionError(f"it never ends: {rounds}")


def test_people_of_whom_only_the_name_is_known_are_passed_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "_SEEDED", 2)
    people = People(store)
    known = [Person(person=name) for name in ("a", "b", "c", "z")]
    known.append(Person(person="dora", timezone="Europe/Paris"))
    store.write(lambda conn: people.put_all(conn, known, source="command")).result()
    store.write(lambda conn: conn.execute(schema.changes.delete())).result()  # as if from before
    assert sum(seed_all(store, people)) == len(known)
    page = store.read(lambda conn: feed.page(conn, people, 0, 100, reader="crm"))
    assert [item.person for item in page.items] == ["dora"]
    assert seed_all(store, people) == [0]
    # What becomes known of them later goes out as of anybody, and so does an address alone.
    left = Person(person="a", endpoints=(Endpoint(channel="email", address="a@example.test"),))
    store.write(lambda conn: clocks.note_endpoints(conn, left, at=NOW)).result()
    rows = store.read(lambda conn: clocks.read(conn, ["a", "b"]))
    assert list(rows["a"]) == ["endpoints.email"]
    assert rows["b"] == {}


def test_who_was_erased_and_is_in_the_ledger_again_holds_nobody_up(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "_SEEDED", 2)
    people = People(store)

    def write(conn: sa.Connection) -> None:
        for name in ("a", "b", "c"):
            people.grant(conn, name, Consent(purpose="marketing"), "command")
        conn.execute(schema.changes.delete())
        bury(conn, ("a", "b"), at=NOW, source="command")

    store.write(write).result()
    assert seed_all(store, people) == [1, 0]
    noted = store.read(lambda conn: list(conn.scalars(sa.select(schema.changes.c.person))))
    assert noted == ["c"]
