"""What an inbox promises on every kind of store, however many look and mark at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from proximity.campaigns.campaigns import Campaign, Campaigns
from proximity.dispatch import offers, outbox
from proximity.dispatch.weighing import World
from proximity.inbox import Mark, look, mark, open_items
from proximity.model import Consent, Person
from proximity.people.people import People
from proximity.site.places import Places
from proximity.store import Store
from tests.proximity.given import NOON, offer

if TYPE_CHECKING:
    from proximity.inbox import Item

STORES = 4
COFFEE = Campaign(id="coffee", channels=("inbox",), text={"en": "Coffee."}, redeem="code")


def world_of(store: Store) -> World:
    rules = Campaigns(campaigns={"coffee": COFFEE})
    return World(lambda: rules, People(store, lambda: NOON), Places(None))


@pytest.fixture
def laid(store: Store) -> Store:
    """A store with a person, and twelve offers in their inbox that a web push waits for as well."""
    made = [offer(key=f"k{n:02}", channel="web-push", link=None) for n in range(12)]
    person = Person(person="anna", consents=(Consent(purpose="marketing"),))
    store.write(lambda c: world_of(store).people.put(c, person)).result()
    store.write(lambda c: offers.put(c, made)).result()
    store.write(lambda c: outbox.append(c, made)).result()
    news = [offers.News(one.key, "accepted", NOON, in_inbox=True) for one in made]
    store.write(lambda c: offers.move(c, news)).result()
    return store


def looked(store: Store) -> tuple[list[Item], list[str], int]:
    world = world_of(store)
    found = store.read(lambda c: look(c, world, "anna", NOON + 1.0))
    return store.read(lambda c: open_items(c, world, found))


def redeem(store: Store, key: str) -> str | None:
    one = Mark(key, "redeemed")
    done = store.write(lambda c: mark(c, world_of(store), "anna", one, NOON + 1.0))
    return done.result().code


def test_what_lies_there_is_told_oldest_change_first(laid: Store) -> None:
    items, current, cursor = looked(laid)
    assert [one.key for one in items] == current == [f"k{n:02}" for n in range(12)]
    assert cursor > 0
    laid.write(lambda c: mark(c, world_of(laid), "anna", Mark("k03", "read"), NOON)).result()
    assert [one.key for one in looked(laid)[0]][-1] == "k03"


def test_codes_are_unique_though_all_redeem_at_once(
    target: str, laid: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Sixteen codes for twelve offers: most draws are taken already.
    monkeypatch.setattr("proximity.inbox.codes.ALPHABET", "AB")
    monkeypatch.setattr("proximity.inbox.codes.LENGTH", 4)
    monkeypatch.setattr("proximity.inbox.codes._TRIES", 500)
    others = [laid] if target == ":memory:" else [Store.open(target) for _ in range(STORES)]
    try:
        asked = [(one, f"k{n:02}") for n in range(12) for one in others * 2]
        with ThreadPoolExecutor(8) as pool:
            codes = list(pool.map(lambda each: redeem(*each), asked))
    finally:
        for one in others:
            if one is not laid:
                one.close()
    by_key: dict[str, set[str | None]] = {}
    for (_, key), code in zip(asked, codes, strict=True):
        by_key.setdefault(key, set()).add(code)
    assert all(len(found) == 1 for found in by_key.values()), "asked again, the same"
    assert len({code for found in by_key.values() for code in found}) == 12
    # None of them is carried by another channel any more.
    assert laid.read(outbox.depth) == 0
