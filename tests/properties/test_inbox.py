"""Whatever happens to its offers, in whatever order: who follows an inbox by cursor misses nothing,
gets no change twice, and what has the same mark is the same."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from proximity.campaigns.campaigns import Campaign, Campaigns
from proximity.consent import consents
from proximity.dispatch import offers
from proximity.dispatch.weighing import World
from proximity.inbox import Item, Mark, NoSuchOffer, Over, look, mark, open_items
from proximity.inbox.pace import AT_ONCE, MOST_KNOWN, OFTENER, Pace
from proximity.model import Consent, Person
from proximity.people.people import People
from proximity.site.places import Places
from proximity.store import Store
from tests.proximity.given import NOON, offer

KEYS = [f"k{n}" for n in range(6)]
COFFEE = Campaign(id="coffee", channels=("inbox",), text={"en": "Coffee."}, redeem="code")


class Follower:
    """An app that keeps what it was told, and drops what it is told no more of."""

    def __init__(self) -> None:
        self.cursor = 0
        self.kept: dict[str, Item] = {}
        self.told: list[tuple[str, str, str | None]] = []

    def take(self, items: list[Item], current: list[str], cursor: int) -> None:
        assert cursor >= self.cursor
        self.cursor = cursor
        self.kept |= {one.key: one for one in items}
        self.kept = {key: one for key, one in self.kept.items() if key in current}
        self.told += [(one.key, one.state, one.read_at) for one in items]


class Inboxes(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.store = Store.open(":memory:")
        self.now = NOON
        people = People(self.store, lambda: self.now)
        rules = Campaigns(campaigns={"coffee": COFFEE})
        self.world = World(lambda: rules, people, Places(None))
        self.person = Person(person="anna", consents=(Consent(purpose="marketing"),))
        self.write(lambda c: people.put(c, self.person))
        self.followers = [Follower(), Follower()]
        self.seen: dict[bytes, list[Item]] = {}
        self.laid: set[str] = set()
        self.withdrew = False

    def write(self, work: Any) -> Any:
        return self.store.write(work).result()

    @rule(key=st.sampled_from(KEYS), lives_s=st.integers(1, 30))
    def lay(self, key: str, lives_s: int) -> None:
        if key in self.laid:
            return
        self.laid.add(key)
        made = offer(
            key=key, channel="inbox", created_at=self.now, expires_at=self.now + lives_s, link=None
        )
        self.write(lambda c: offers.put(c, [made]))
        news = [offers.News(key, "accepted", self.now, in_inbox=True)]
        self.write(lambda c: offers.move(c, news))

    @rule(key=st.sampled_from(KEYS), did=st.sampled_from(["read", "redeemed", "dismissed"]))
    def mark(self, key: str, did: Any) -> None:
        try:
            after = self.write(lambda c: mark(c, self.world, "anna", Mark(key, did), self.now))
        except (NoSuchOffer, Over):
            return
        again = self.write(lambda c: mark(c, self.world, "anna", Mark(key, did), self.now + 1.0))
        assert again == after

    @rule(seconds=st.integers(0, 20))
    def wait(self, seconds: int) -> None:
        self.now += seconds

    @rule(yes=st.booleans())
    def agree(self, yes: bool) -> None:
        at = self.now
        self.withdrew |= not yes
        if yes:
            said = Consent(purpose="marketing", since=at)
            self.write(lambda c: consents.grant(c, "anna", said, source="test", now=at))
        else:
            self.write(
                lambda c: consents.withdraw(c, "anna", "marketing", at=at, now=at, source="test")
            )

    @rule(number=st.integers(0, 1), limit=st.integers(1, 4))
    def follow(self, number: int, limit: int) -> None:
        one = self.followers[number]
        one.take(*self.look_at(one.cursor, limit))

    @invariant()
    def the_same_mark_is_the_same_answer(self) -> None:
        looked = self.store.read(lambda c: look(c, self.world, "anna", self.now))
        items, current, _ = self.store.read(lambda c: open_items(c, self.world, looked))
        assert sorted(one.key for one in items) == sorted(current)
        assert self.seen.setdefault(looked.mark, items) == items

    def look_at(self, after: int, limit: int) -> tuple[list[Item], list[str], int]:
        looked = self.store.read(lambda c: look(c, self.world, "anna", self.now))
        return self.store.read(lambda c: open_items(c, self.world, looked, after, limit))

    def teardown(self) -> None:
        if not hasattr(self, "store"):
            return
        items, current, _ = self.look_at(0, 1000)
        for one in self.followers:
            for _ in range(20):
                one.take(*self.look_at(one.cursor, 2))
            assert len(one.told) == len(set(one.told)), "each change once"
            # What it may lack of what lies there was hidden from it when it passed: it asks anew.
            lacks = set(current) - one.kept.keys()
            assert not lacks or self.withdrew
            assert one.kept == {item.key: item for item in items if item.key not in lacks}
        self.store.close()


TestInboxes = Inboxes.TestCase
TestInboxes.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


class Paces(RuleBasedStateMachine):
    """However somebody looks: never more than the burst and the leak together, and never locked."""

    @initialize(every_s=st.floats(1.0, 3600.0))
    def begin(self, every_s: float) -> None:
        self.now = 0.0
        self.every_s = every_s
        self.pace = Pace(lambda: self.now)
        self.let = 0

    @rule(seconds=st.floats(0.0, 5000.0))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(times=st.integers(1, 100))
    def look(self, times: int) -> None:
        for _ in range(times):
            wait_s = self.pace.wait_s("anna", self.every_s)
            if wait_s > 0.0:
                assert wait_s <= self.every_s / OFTENER + 1e-6
                self.now += wait_s * 1.000001 + 1e-6
                assert self.pace.wait_s("anna", self.every_s) == 0.0
            self.let += 1
        assert self.let <= AT_ONCE + self.now * OFTENER / self.every_s + 1.0


TestPaces = Paces.TestCase
TestPaces.settings = settings(max_examples=50, stateful_step_count=20, deadline=None)


def test_readers_are_remembered_up_to_a_bound() -> None:
    pace = Pace(lambda: 0.0)
    for number in range(MOST_KNOWN + 500):
        pace.wait_s(f"reader {number}", 300.0)
    assert len(pace) == MOST_KNOWN


def test_an_item_is_plain_json() -> None:
    assert msgspec.json.schema(Item)["$ref"].endswith("Item")
