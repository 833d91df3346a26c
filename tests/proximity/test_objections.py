"""Marks outlive the person they are about: whoever has all but the keys learns no id from them."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from proximity.consent.consents import erase, grant
from proximity.consent.objections import bury, object_to
from proximity.model import Consent
from proximity.store import Store, schema
from proximity.store.keys import find_key

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW = 1_700_000_000.0
# Numbers of loyalty cards, few enough to try each of them.
CARDS = [f"card-{number:04}" for number in range(5000)]
OBJECTED, ERASED = "card-0417", "card-3902"


@pytest.fixture
def store() -> Iterator[Store]:
    opened = Store.open(":memory:")

    def live(connection: Any) -> None:
        for card in (OBJECTED, ERASED):
            grant(connection, card, Consent(purpose="marketing"), source="till", now=NOW)
            erase(connection, card, NOW + 1)
        object_to(connection, OBJECTED, at=NOW, source="link")
        bury(connection, [ERASED], at=NOW + 1, source="request")

    opened.write(live).result()
    yield opened
    opened.close()


def left(store: Store, *but: str) -> set[object]:
    """Every value of every table but these."""
    tables = [table for table in schema.metadata.sorted_tables if table.name not in but]
    return store.read(
        lambda c: {value for one in tables for row in c.execute(sa.select(one)) for value in row}
    )


def recognised(values: set[object], keys: list[bytes]) -> set[str]:
    """Try every card, plain, hashed, and hashed under each key that there is."""
    return {
        card
        for card in CARDS
        if values
        & {
            card,
            hashlib.sha256(card.encode()).hexdigest(),
            *(hmac.digest(key, card.encode(), hashlib.sha256).hex() for key in keys),
        }
    }


def test_whoever_has_all_but_the_keys_recognises_nobody(store: Store) -> None:
    values = left(store, "store_keys", "person_keys")
    # What looks like a key may be one: the seals themselves, and the texts of the marks.
    guesses = [b"", *(one.encode() for one in values if isinstance(one, str))]
    assert recognised(values, guesses) == set()


def test_with_the_key_the_same_attack_finds_them(store: Store) -> None:
    key = store.read(lambda c: find_key(c, "objections"))
    assert key is not None
    assert recognised(left(store), [key]) == {OBJECTED, ERASED}


def test_of_who_was_erased_the_key_of_their_seals_is_gone(store: Store) -> None:
    keys = store.read(lambda c: c.execute(sa.select(schema.person_keys)).all())
    assert keys == []
    seals = store.read(lambda c: c.execute(sa.select(schema.consent_chain)).all())
    assert len(seals) == 2
