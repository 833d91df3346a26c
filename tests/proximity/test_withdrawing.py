"""A withdrawal against whoever decides and sends: in a thousand orders, and whoever dies when."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
from msgspec.structs import replace

from proximity.channels import Reply
from proximity.dispatch import outbox, queue
from proximity.dispatch.dispatch import Dispatcher
from proximity.people.people import People
from proximity.site.places import Places
from proximity.store import Store
from tests.proximity.given import ANNA, COFFEE, NOON, rules, trigger
from tests.proximity.test_dispatch import SITE, Way

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from sqlalchemy import Connection

    from proximity.model import Endpoint, Offer

T = TypeVar("T")

ORDERS = 1000
KILLED = 300
MOST = 1600
"""Stories in one store, each with people of its own."""
OFFERS = 3
_ALL_BLOCKED = 8
"""Turns of the event loop after which each task has come to its next point: the longest way, from
a channel's reply through its timeout and ``gather``, takes five."""


class Steps:
    """Lets tasks go on one at a time, from point to point, in an order that a seed gives."""

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)
        self._waiting: list[tuple[str, asyncio.Future[None]]] = []
        self.order: list[str] = []

    async def point(self, name: str) -> None:
        """Wait here until it is this one's turn."""
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((name, turn))
        await turn

    async def run(self, works: dict[str, Coroutine[Any, Any, None]], killed: str | None) -> None:
        """Run all to their ends, in some order; kill one of them at some point, if so asked."""
        tasks = {name: asyncio.create_task(work) for name, work in works.items()}
        left, patience = self._dice.randrange(1, 12), self._dice.randrange(36)
        while not all(task.done() for task in tasks.values()):
            for _ in range(_ALL_BLOCKED):
                await asyncio.sleep(0)
            self._waiting = [one for one in self._waiting if not one[1].done()]
            if not self._waiting:
                continue
            left -= 1
            if killed is not None and left == 0:
                self.order.append(f"kill {killed}")
                tasks[killed].cancel()
                continue
            # The person comes in at some time of the whole story, not with the first turns alone.
            others = [one for one in self._waiting if one[0] != "person writes"]
            early = others and len(self.order) < patience
            chosen = self._dice.choice(others if early else self._waiting)
            self._waiting.remove(chosen)
            self.order.append(chosen[0])
            chosen[1].set_result(None)
        for task in tasks.values():
            if not task.cancelled():
                task.result()


class Stepped:
    """A store whose transactions and answers wait for their turn."""

    def __init__(self, store: Store, steps: Steps, name: str) -> None:
        self.name = store.name
        self._store, self._steps, self._name = store, steps, name

    async def awrite(self, work: Callable[[Connection], T]) -> T:
        await self._steps.point(f"{self._name} writes")
        done = self._store.write(work).result()
        await self._steps.point(f"{self._name} has written")
        return done


class Receiver:
    to_endpoints = False
    """A channel that notes when each hand-over begins, and takes its time."""

    name = "console"

    def __init__(self, steps: Steps, log: list[tuple[str, str]]) -> None:
        self._steps, self._log = steps, log

    async def send(self, offer: Offer, _endpoint: Endpoint | None = None) -> Reply:
        self._log.append(("begins", offer.key))
        await self._steps.point(f"receives {offer.key[-1]}")
        return Reply(outcome="accepted")

    async def close(self) -> None:
        """Nothing is open."""


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    opened = Store.open(":memory:")
    people = People(opened, clock=lambda: NOON)
    names = [f"{who}-{n}" for n in range(MOST) for who in ("anna", "ben")]
    carried = [(name, name, ANNA.consents) for name in names]
    opened.write(lambda c: people.enrol(c, carried, source="test")).result()
    yield opened
    opened.close()


class Story:
    """One person with some triggers, somebody else, a decider, two senders and a withdrawal."""

    def __init__(self, store: Store, number: int) -> None:
        self.store, self.person = store, f"anna-{number}"
        self.steps = Steps(number)
        self.log: list[tuple[str, str]] = []
        self.in_flight: list[str] = []
        self.rules = rules(replace(COFFEE, ttl_s=600.0))
        self.people = People(store, clock=lambda: NOON)
        self.keys = [f"t{number}/{n}" for n in range(OFFERS)]
        self.other = f"t{number}/9"

        def begin(connection: Connection) -> None:
            queue.append(connection, [trigger(id=key, person=self.person) for key in self.keys])
            queue.append(connection, [trigger(id=self.other, person=f"ben-{number}")])

        store.write(begin).result()

    def dispatcher(self, name: str) -> Dispatcher:
        return Dispatcher(
            Stepped(self.store, self.steps, name),  # type: ignore[arg-type]
            campaigns=lambda: self.rules, people=self.people, places=Places(None, SITE),
            channels={"console": Receiver(self.steps, self.log)}, owner=name,
        )  # fmt: skip

    async def decide(self) -> None:
        one = self.dispatcher("decider")
        while await one.adecide_due(NOON, limit=2):
            pass

    async def send(self, name: str) -> None:
        one = self.dispatcher(name)
        for _ in range(6):
            await one.send_due(NOON, limit=2)

    async def withdraw(self) -> None:
        def work(connection: Connection) -> None:
            found = self.people.withdraw(connection, self.person, at=NOON)
            self.in_flight = [one.key for one in found]
            self.log.append(("withdrawn", self.person))

        await Stepped(self.store, self.steps, "person").awrite(work)

    def play(self, *, kill: bool) -> None:
        works = {
            "decider": self.decide(), "one": self.send("one"), "two": self.send("two"),
            "person": self.withdraw(),
        }  # fmt: skip
        killed = random.Random(self.person).choice(["decider", "one", "two"]) if kill else None
        asyncio.run(self.steps.run(works, killed))

    def recover(self) -> None:
        """Start anew once every lease has ended."""
        later = NOON + max(queue.LEASE_S, outbox.LEASE_S)
        way = Way(self.store, self.rules)

        class Noted(Receiver):
            to_endpoints = False

            async def send(self, offer: Offer, _endpoint: Endpoint | None = None) -> Reply:
                self._log.append(("begins", offer.key))
                return Reply(outcome="accepted")

        way.dispatcher._channels = {"console": Noted(self.steps, self.log)}
        while way.decide(later):
            pass
        while way.send(later):
            pass

    def judge(self) -> None:
        withdrawn = self.log.index(("withdrawn", self.person))
        begun = Counter(key for what, key in self.log if what == "begins")
        after = {key for what, key in self.log[withdrawn:] if what == "begins"} & {*self.keys}
        assert after <= {*self.in_flight}, (self.steps.order, self.log)
        assert self.other in begun, "nobody else is held up"
        assert self.store.read(queue.depth) == self.store.read(outbox.depth) == 0

    def outcomes(self) -> dict[str, str]:
        """Tell what became of each trigger."""
        found = {}
        way = Way(self.store)
        for record in way.records("decision"):
            if record["decision"] == "suppress":
                found[record["id"]] = record["reason"]
        for record in way.records("delivery"):
            assert record["outcome"] in {"accepted", "suppressed"}
            found[record["key"]] = record["outcome"]
        return {key: found[key] for key in self.keys if key in found}


def test_in_a_thousand_orders_no_hand_over_begins_after_the_withdrawal(store: Store) -> None:
    orders: set[tuple[str, ...]] = set()
    stories: list[Story] = []
    seen: Counter[str] = Counter()
    while len(orders) < ORDERS:
        story = Story(store, len(stories))
        stories.append(story)
        story.play(kill=False)
        story.recover()
        story.judge()
        orders.add(tuple(story.steps.order))
        seen["in flight"] += bool(story.in_flight)
        seen["before"] += story.log[0][0] == "withdrawn"
        seen["after"] += story.log[-1][0] == "withdrawn"
    assert len(stories) < MOST - KILLED
    assert min(seen[name] for name in ("in flight", "before", "after")) > ORDERS / 100, seen


def test_whoever_is_killed_when_nothing_is_sent_after_and_nothing_is_lost(store: Store) -> None:
    for number in range(MOST - KILLED, MOST):
        story = Story(store, number)
        story.play(kill=True)
        story.recover()
        story.judge()
        assert sum("kill" in step for step in story.steps.order) <= 1
    assert story.outcomes().keys() == {*story.keys}
