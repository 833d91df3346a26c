"""What is left of whom, on every database: a no stands, a unit comes back, no stranger is told."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from msgspec.structs import replace

from proximity.campaigns.campaigns import Stock
from proximity.model import Consent, Person
from proximity.outbound import happenings
from proximity.outbound.telling import Teller
from proximity.people.people import People
from proximity.privacy import erasing
from proximity.privacy.retention import DAY_S
from proximity.store import schema
from tests.proximity.given import COFFEE, NOON, rules, trigger
from tests.proximity.outbound.told import subscriber, to_url
from tests.proximity.test_asked import Asked
from tests.proximity.test_dispatch import Way

if TYPE_CHECKING:
    from proximity.outbound.subscribers import Subscriber
    from proximity.store import Store


def test_a_no_outlives_what_time_ends(store: Store) -> None:
    way, later = Asked(store, "declined"), NOON + 400 * DAY_S
    way.sweep(later)
    assert way.ask(later) == "ask"
    assert way.again(later) is None


def test_an_answer_of_whom_nobody_knows_ends(store: Store) -> None:
    way = Asked(store, "declined", known=False)
    way.sweep(NOON + 181 * DAY_S)
    assert way.rows(schema.events) == []


def test_who_is_erased_leaves_the_unit_that_was_never_sent(store: Store) -> None:
    scarce = replace(COFFEE, stock=("cups",))
    way = Way(store, rules(scarce, stocks={"cups": Stock(id="cups", count=1)}))
    way.put().queue(trigger())
    assert [d.reason for d in way.decide()] == [None]
    store.write(lambda c: erasing.begin(c, way.people, "anna", now=NOON + 1.0)).result()
    assert [row.used for row in way.rows(schema.stocks)] == [0]


def test_another_company_hears_of_no_erasure_of_whom_it_was_never_to_know(store: Store) -> None:
    people = People(store, lambda: NOON)
    yes = Consent(purpose="sharing")
    known = [
        Person(person="ann", consents=(yes,)),
        Person(person="ben", consents=(Consent(purpose="marketing"),)),
        Person(person="cleo", consents=(yes,)),
    ]
    store.write(lambda c: people.put_all(c, known)).result()
    store.write(lambda c: people.withdraw(c, "cleo", at=NOON)).result()
    ours, theirs = (
        replace(subscriber(to_url("http://127.0.0.1:1/")), name=name, kinds=("person",),
                third_party=name == "theirs")
        for name in ("ours", "theirs")
    )  # fmt: skip

    async def look() -> None:
        for one in (ours, theirs):
            teller = Teller(one, store, people, news=asyncio.Event, closing=asyncio.Event())
            await teller._look()
            await teller._sink.close()

    asyncio.run(look())

    def erase(person: str) -> None:
        store.write(lambda c: erasing.begin(c, people, person, now=NOON + 1.0)).result()

    for person in ("ann", "ben", "cleo"):
        erase(person)

    def told(one: Subscriber) -> set[str]:
        found = store.read(lambda c: happenings.erasures(c, one, 10))
        return {happening.event.data["person"] for happening in found}

    assert told(ours) == {"ann", "ben", "cleo"}
    assert told(theirs) == {"ann", "cleo"}
    theirs = replace(theirs, third_party=False)  # the file says otherwise at the next start
    asyncio.run(look())
    store.write(lambda c: people.put(c, replace(known[1], person="dan"))).result()
    erase("dan")
    assert told(theirs) == {"ann", "cleo", "dan"}
