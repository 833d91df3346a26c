"""A no to a question for a consent stands for good, whatever was done and swept since."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from proximity.consent.asked import Answered, answer, status
from proximity.model import Consent, Event
from proximity.people import behaviour
from proximity.privacy import retention
from proximity.privacy.retention import DAY_S, keep_days
from proximity.store import Store, schema
from tests.proximity.given import ANNA, COFFEE, NOON, rules, trigger
from tests.proximity.test_dispatch import Way

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proximity.consent.optin import Answer

ASK = replace(COFFEE, id="ask", purpose="opt-in", asks="marketing", most=3, back_off_s=DAY_S)
SERVED = replace(ANNA, consents=(Consent(purpose="service"),))


@pytest.fixture
def store() -> Iterator[Store]:
    opened = Store.open(":memory:")
    yield opened
    opened.close()


class Asked(Way):
    """A way on which somebody was asked at noon, and answered."""

    def __init__(self, store: Store, said: Answer, *, known: bool = True) -> None:
        super().__init__(store, rules(ASK))
        if known:
            self.put(SERVED)
        self.places = self.dispatcher.world.places.facts
        one = Answered(person="anna", purpose="marketing", answer=said)
        given = store.write(
            lambda c: answer(
                self.people, c, one, now=NOON, places=self.places,
                consent="required" if known else "assumed",
            )
        )  # fmt: skip
        assert given.result()

    def ask(self, at: float) -> str | None:
        self.queue(trigger(campaign="ask", at=at, decided_at=at, evidence_at=at))
        (decision,) = self.decide(at)
        return decision.reason

    def again(self, at: float) -> str | None:
        found = self.store.read(
            lambda c: status(
                self.people, c, "anna", now=at, places=self.places, campaigns=self.rules.campaigns
            )
        )
        return found[0].again["ask"]

    def sweep(self, now: float) -> None:
        for _ in retention.sweep(self.store, now, keep_days()):
            pass


@pytest.mark.parametrize("days", [179.0, 181.0, 364.0, 367.0, 1000.0])
def test_a_no_stands_however_long_ago_it_was(store: Store, days: float) -> None:
    way, later = Asked(store, "declined"), NOON + days * DAY_S
    way.sweep(later)
    assert way.ask(later) == "ask"
    assert way.again(later) is None


def test_a_no_stands_whatever_else_was_done_since(store: Store) -> None:
    way, later = Asked(store, "declined"), NOON + DAY_S
    some = [
        behaviour.hear(Event(subject="phone-a", at=NOON + n, name="page", id=f"p{n}"), "anna")
        for n in range(behaviour.MOST)
    ]
    store.write(lambda c: behaviour.write_events(c, some, {"anna"}, way.places)).result()
    assert way.ask(later) == "ask"
    assert way.again(later) is None


def test_who_only_said_later_is_asked_again_when_it_is_time(store: Store) -> None:
    way = Asked(store, "later")
    assert way.ask(NOON + DAY_S - 1.0) == "ask"
    way.queue(trigger(id="t2", campaign="ask", at=NOON + DAY_S, decided_at=NOON + DAY_S))
    assert [one.reason for one in way.decide(NOON + DAY_S)] == [None]


@pytest.mark.parametrize(("known", "left"), [(True, 1), (False, 0)])
def test_an_answer_stays_as_long_as_somebody_is_known(
    store: Store, *, known: bool, left: int
) -> None:
    way = Asked(store, "declined", known=known)
    way.sweep(NOON + 181.0 * DAY_S)
    assert len(way.rows(schema.events)) == left
