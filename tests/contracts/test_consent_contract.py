"""The consent ledger on every kind of store, and written by several at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from proximity.consent import chain
from proximity.consent.consents import erase, grant, import_said, load_consents, withdraw
from proximity.consent.objections import bury, erased, lift, marked, object_to, objected
from proximity.consent.proofs import prove
from proximity.consent.texts import Wording, every_text, register
from proximity.model import Consent, ProximityError
from proximity.people.people import People
from proximity.privacy import retention
from proximity.store import Store, schema
from proximity.store.keys import store_key
from tests.contracts.conftest import TARGETS

NOW = 1_700_000_000.0
YES = Consent(purpose="marketing", since=NOW - 10.0)


def test_what_is_said_is_sealed_and_proven(store: Store) -> None:
    text = Wording(version="1", locale="en", text="May we? You get coffee.")
    said = [(f"p-{number}", (YES, Consent(purpose="beacon"))) for number in range(700)]
    sha256 = store.write(lambda c: register(c, "marketing", text, NOW)).result()
    assert store.write(lambda c: import_said(c, said, source="crm", now=NOW)).result() == 1400
    assert store.write(lambda c: import_said(c, said, source="crm", now=NOW)).result() == 0
    shown = Consent(purpose="marketing", text=sha256)
    store.write(lambda c: grant(c, "anna", shown, source="till", now=NOW)).result()
    found = store.read(lambda c: prove(c, "anna", "marketing", None, NOW))
    assert (found.in_force, found.text) == (True, store.read(every_text)[0])
    store.write(lambda c: withdraw(c, "anna", at=NOW + 5, now=NOW + 5, source="x")).result()
    assert [c.until for c in store.read(lambda c: load_consents(c, "anna"))] == [NOW + 5]
    store.write(lambda c: erase(c, "p-7", NOW)).result()
    verified = store.read(chain.verify)
    assert (verified.rows, verified.erased, verified.problems) == (1402, 2, ())


def test_marks_hold_no_ids(store: Store) -> None:
    assert not store.read(lambda c: objected(c, "anna"))
    store.write(lambda c: object_to(c, "anna", at=NOW, source="x")).result()
    store.write(lambda c: object_to(c, "anna", at=NOW + 1, source="x")).result()
    store.write(lambda c: bury(c, ["ben", "phone-b"], at=NOW, source="x")).result()
    assert store.read(lambda c: objected(c, "anna"))
    assert not store.read(lambda c: erased(c, "anna"))
    every = [f"p-{number}" for number in range(2000)] + ["ben", "phone-b", "anna"]
    assert store.read(lambda c: marked(c, every, "erased")) == {"ben": NOW, "phone-b": NOW}
    with pytest.raises(ProximityError, match="was erased"):
        store.write(lambda c: grant(c, "ben", YES, source="till", now=NOW)).result()
    assert store.write(lambda c: lift(c, "ben", "erased")).result()
    assert not store.write(lambda c: lift(c, "ben", "erased")).result()
    store.write(lambda c: grant(c, "ben", YES, source="till", now=NOW)).result()


@pytest.mark.parametrize("target", [one for one in TARGETS if one != "memory"], indirect=True)
def test_several_writers_make_one_chain(target: str) -> None:
    """Three processes' stores, each with its own connections, on one database."""
    stores = [Store.open(target) for _ in range(3)]

    def say(number: int) -> bytes:
        store, person = stores[number % len(stores)], f"p-{number % 7}"
        store.write(lambda c: grant(c, person, YES, source="till", now=NOW + number)).result()
        return store.write(lambda c: store_key(c, "links", NOW)).result()

    try:
        with ThreadPoolExecutor(6) as pool:
            keys = set(pool.map(say, range(120)))
        assert len(keys) == 1, "the key is made once"
        verified = stores[0].read(chain.verify)
        assert (verified.rows, verified.problems) == (120, ())
    finally:
        for store in stores:
            store.close()


@pytest.mark.parametrize("target", [one for one in TARGETS if one != "memory"], indirect=True)
def test_the_version_of_people_moves_with_every_writer(target: str) -> None:
    """Each step is one of its own, from the first on: no process misses what another wrote."""
    stores = [Store.open(target) for _ in range(3)]
    movers = [People(store) for store in stores]

    def move(number: int) -> None:
        which = number % len(stores)
        stores[which].write(movers[which].moved).result()

    try:
        with ThreadPoolExecutor(6) as pool:
            list(pool.map(move, range(60)))
        noted = sa.select(schema.meta.c.value).where(schema.meta.c.key == "people_version")
        assert stores[0].read(lambda c: c.scalar(noted)) == "60"
    finally:
        for store in stores:
            store.close()


def test_the_silent_are_found_in_any_store(store: Store) -> None:
    year = 366 * retention.DAY_S
    for person in ("anna", "ben"):
        store.write(lambda c, who=person: grant(c, who, YES, source="x", now=NOW)).result()  # type: ignore[misc]
    row = {"id": "d", "kind": "decision", "person": "ben", "at": NOW + year, "record": "{}"}
    stranger = row | {"id": "e", "person": None}
    store.write(lambda c: c.execute(schema.ledger.insert(), [row, stranger])).result()
    days = retention.keep_days()
    assert store.read(lambda c: retention.dormant(c, NOW + year, days)) == ("anna",)
