"""Dead between any two steps: whatever had been written stands whole, and the rest is done anew."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from msgspec.structs import replace

from proximity.campaigns.campaigns import Cap, Stock
from proximity.dispatch import outbox, queue
from proximity.store import Store, StoreFailed, schema
from tests.proximity.given import ANNA, COFFEE, NOON, rules, trigger
from tests.proximity.test_dispatch import Way

if TYPE_CHECKING:
    from collections.abc import Iterator

LATER = NOON + max(queue.LEASE_S, outbox.LEASE_S)


class Dead(Exception):  # noqa: N818  it is what the process is
    """The process is gone: it can do nothing more."""


class Life:
    """Ends before statement number ``steps``; after that the database hears nothing from it."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def step(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Dead


@pytest.fixture
def store() -> Iterator[Store]:
    opened = Store.open(":memory:")
    yield opened
    opened.close()


def story(store: Store, name: str) -> Way:
    """Two people, three triggers each, two cups of coffee, and one offer a person."""
    campaigns = rules(
        replace(COFFEE, ttl_s=600.0, max_age_s=600.0, stock=("cups",)),
        caps=(Cap(count=2, window_s=3600.0),),
        stocks={"cups": Stock(id="cups", count=3)},
    )
    way = Way(store, campaigns, owner=name)
    for person in ("a", "b"):
        way.put(replace(ANNA, person=f"{person}{name}", subjects=()))
    return way.queue(
        *(
            trigger(id=f"{person}{name}/{n}", person=f"{person}{name}")
            for person in ("a", "b")
            for n in range(3)
        )
    )


def live(way: Way, life: Life | None = None) -> None:
    """Decide and send all there is; or die on the way."""

    def step(*_: Any) -> None:
        if life is not None:
            life.step()

    way.channel.before = step  # a hand-over is a step of its own, and so is each statement
    engine = way.store._engine
    sa.event.listen(engine, "before_cursor_execute", step)
    now = NOON if life is not None else LATER
    try:
        while way.decide(now):
            pass
        while way.send(now):
            pass
    finally:
        sa.event.remove(engine, "before_cursor_execute", step)


def test_dead_before_any_statement_and_started_anew(store: Store) -> None:
    ended = Counter[str]()
    for steps in range(1000):
        store.write(lambda c: c.execute(schema.stocks.delete())).result()
        name = f"-{steps}"
        way = story(store, name)
        try:
            live(way, Life(steps))
            ended["whole"] += 1
        except (Dead, StoreFailed):
            ended["dead"] += 1
        handed = Counter(offer.key for offer in way.channel.sent)
        again = Way(store, way.rules, owner="new")
        live(again)
        handed += Counter(offer.key for offer in again.channel.sent)
        judge(store, name, handed)
        if ended["whole"] > 1:
            break
    assert ended["dead"] > 20, "there are as many steps as that"


def judge(store: Store, name: str, handed: Counter[str]) -> None:
    way = Way(store)
    decisions = [one for one in way.records("decision") if one["person"].endswith(name)]
    assert sorted(one["id"] for one in decisions) == [
        f"{person}{name}/{n}" for person in ("a", "b") for n in range(3)
    ]
    sent = {one["id"] for one in decisions if one["decision"] == "send"}
    assert len(sent) == 3
    assert {row.decision for row in way.rows(schema.sends) if row.person.endswith(name)} == sent
    assert {row.decision for row in way.rows(schema.reservations)} >= sent
    assert [row.used for row in way.rows(schema.stocks)] == [3]
    assert handed.keys() == sent, "handed over at least once"
    assert max(handed.values()) <= 2, "and again at most for the one that was under way"
    accepted = [
        one["key"]
        for one in way.records("delivery")
        if one["person"].endswith(name) and one["outcome"] == "accepted"
    ]
    assert sorted(accepted) == sorted(sent)
    assert way.rows(schema.triggers) == way.rows(schema.outbox) == []
