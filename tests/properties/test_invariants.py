"""Whatever happens in whatever order, what was promised about offers holds: against a plain model.

People are enrolled, agree, withdraw, object and are erased; they come to places; two dispatchers
decide and hand over side by side, are killed and started anew; the clock is set forward and back.
Hand-overs stay open for as long as the machine likes. The model keeps lists and asks them by hand.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from proximity.campaigns.form import parse_campaigns
from proximity.channels import Reply
from proximity.consent import objections
from proximity.dispatch import outbox, queue
from proximity.dispatch.dispatch import Dispatcher
from proximity.ingest.clock import MOST_BACK_S, ClockSetBack, Present
from proximity.model import Consent, Endpoint, Offer, Person, Transition
from proximity.people.people import People
from proximity.privacy import erasing
from proximity.server.serve import Clock
from proximity.site.places import Places
from proximity.site.registry import Site
from proximity.store import Store, ledger, schema
from proximity.windows import local
from tests.proximity.given import PARIS, when

# The night in which Paris loses an hour lies ahead, quiet hours and all.
BEGIN = when("2026-03-28 18:25")
PEOPLE = ("ana-canary", "ben-canary", "eve-canary")
CHANNELS = ("console", "webhook")
PURPOSES = ("marketing", "service")
CAP, CAP_S, STOCK = 3, 86400.0, 5

RULES = f"""
quiet_hours = [{{ from = "22:00", to = "07:00" }}]

[[cap]]
purpose = "marketing"
count = {CAP}
window_s = {CAP_S:g}

[[stock]]
id = "rolls"
count = {STOCK}

[[campaign]]
id = "coffee"
purpose = "marketing"
on = "enter"
places = ["cafe"]
max_age_s = 1800
channels = ["console", "webhook"]
text = {{ en = "Coffee" }}

[[campaign]]
id = "rolls"
purpose = "marketing"
on = "enter"
places = ["bakery"]
stock = ["rolls"]
max_age_s = 1800
defer = true
channels = ["webhook"]
text = {{ en = "Rolls" }}

[[campaign]]
id = "parcel"
purpose = "service"
on = "enter"
places = ["cafe", "bakery"]
max_age_s = 1800
channels = ["console"]
text = {{ en = "Your parcel is here" }}
"""


# Somebody edits the file while the server runs: it is quiet earlier now.
EARLIER = RULES.replace('from = "22:00"', 'from = "18:30"')


class Held:
    to_endpoints = False
    """A channel whose receiver takes its time: each hand-over stays open until it is told."""

    def __init__(self, name: str, begun: Any) -> None:
        self.name = name
        self._begun = begun

    async def send(self, offer: Offer, _endpoint: Endpoint | None = None) -> Reply:
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._begun(offer, answer)
        return await answer

    async def close(self) -> None:
        """Nothing is open."""


class Machine(Clock):
    """The server's clock over a machine's that is set as one likes."""

    def __init__(self, shown: Callable[[], float]) -> None:
        super().__init__()
        self._shown = shown

    def wall(self) -> float:
        return self._shown()


class Offers(RuleBasedStateMachine):
    """The way out, and what it promises."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.shown = BEGIN
        self.clock = Machine(lambda: self.shown)
        self.present = Present(self.clock.wall)
        self.rules, self.other = parse_campaigns(RULES), parse_campaigns(EARLIER)
        self.evening = (22, 0)
        self.store = Store.open(":memory:")
        self.people = People(self.store, clock=lambda: self.now)
        self.starts = 0
        self.dispatchers: list[Dispatcher] = []
        self.rounds: list[list[asyncio.Task[Any]]] = [[], []]
        # The model: who agreed to what until when, who is known, who must not be told.
        self.agreed: dict[str, list[tuple[str, str | None, float]]] = defaultdict(list)
        self.enrolled: set[str] = set()
        self.erased: set[str] = set()
        self.objecting: set[str] = set()
        self.leaving: list[erasing.Begun] = []
        self.queued: dict[str, str] = {}
        self.visits = 0
        self.taken_at = 0.0
        self.open: list[tuple[Offer, asyncio.Future[Reply]]] = []
        self.begun: Counter[str] = Counter()
        self.wrong: list[str] = []

    @initialize()
    def start(self) -> None:
        self.dispatchers = [self._dispatcher(), self._dispatcher()]
        for who in PEOPLE:
            self.enrol(who)
            for purpose in PURPOSES:
                self.agree(who, purpose, None, None)

    @property
    def now(self) -> float:
        """What time it is for whoever decides, sends and writes down."""
        return self.clock()

    def _dispatcher(self) -> Dispatcher:
        self.starts += 1
        return Dispatcher(
            self.store,
            campaigns=lambda: self.rules,
            people=self.people,
            places=Places(None, Site(timezone=PARIS)),
            channels={name: Held(name, self._begin) for name in CHANNELS},
            owner=f"start-{self.starts}",
        )

    def teardown(self) -> None:
        """Let everything end: what waits is decided, once, and nothing is left over."""
        try:
            for _ in range(3):
                for which in (0, 1):
                    self.kill(which)
                self.shown += 2 * outbox.LEASE_S
                self._settle()
            self.shown = max(self.shown, when("2026-04-20 12:00"))
            self._settle()
            self.decided_once()
            self.nothing_begins_that_may_not()
            for begun in self.leaving:
                self._finish(begun)
            finals = {one["id"] for one in self._decisions()}
            assert finals == {one for one, who in self.queued.items() if who not in self.erased}
            self.no_trace()
            assert self.store.read(queue.depth) == 0
            assert self.store.read(outbox.depth) == 0
        finally:
            self.store.close()
            self.loop.run_until_complete(asyncio.sleep(0))
            self.loop.close()

    def no_trace(self) -> None:
        """Nowhere in the store does the name of an erased person stand, in whatever form."""
        for table in schema.metadata.sorted_tables:
            every = sa.select(table)
            for row in self.store.read(lambda c, every=every: c.execute(every).all()):
                for value in row:
                    packed = value if isinstance(value, bytes) else str(value).encode()
                    for who in self.erased:
                        assert who.encode() not in packed, f"{who} stands in {table.name}"

    def _finish(self, begun: erasing.Begun) -> None:
        assert erasing.finish(self.store, begun, now=self.now) is not None

    def _settle(self) -> None:
        """Work off all that is due, with a receiver that takes everything at once."""
        for _ in range(40):
            self.dispatchers[0].decide_due(self.now)
            self.send(0)
            self._answer_all()
            due = self.dispatchers[0].next_due()
            if due is None:
                return
            self.shown = max(self.shown, due)
        raise AssertionError("there is no end to it")

    def _answer_all(self) -> None:
        while self.open:
            _, answer = self.open.pop()
            if not answer.done():
                answer.set_result(Reply(outcome="accepted"))
            self._turn()

    def _turn(self) -> None:
        """Run the loop until everybody waits for something from outside."""
        for _ in range(30):
            self.loop.run_until_complete(asyncio.sleep(0))

    # -- what the receiver sees ----------------------------------------------------------------

    def _begin(self, offer: Offer, answer: asyncio.Future[Reply]) -> None:
        """A hand-over begins, at this very instant: is it allowed?"""
        # Kept, not raised: a channel's fault is the dispatcher's to survive.
        who = offer.person
        for wrong, what in (
            (who in self.erased, "to an erased person"),
            (offer.purpose == "marketing" and who in self.objecting, "against an objection"),
            (not self._agrees(who, offer.purpose, offer.channel), "without consent"),
            (offer.purpose == "marketing" and self._quiet(), "in quiet hours"),
            (self.now >= offer.expires_at, "after its expiry"),
        ):
            if wrong:
                self.wrong.append(f"a hand-over of {offer.campaign} begins {what}")
        self.begun[offer.key] += 1
        self.open.append((offer, answer))

    def _quiet(self) -> bool:
        """Whether a clock on the wall in Paris shows quiet hours."""
        shown = local(self.now, ZoneInfo(PARIS))
        return (shown.hour, shown.minute) >= self.evening or shown.hour < 7

    def _agrees(self, person: str, purpose: str, channel: str) -> bool:
        return any(
            what == purpose and where in {None, channel} and self.now < until
            for what, where, until in self.agreed[person]
        )

    # -- what happens --------------------------------------------------------------------------

    @rule(who=st.sampled_from(PEOPLE))
    def enrol(self, who: str) -> None:
        """Somebody is put with a subject; an erased one does not come back."""
        person = Person(person=who, subjects=(f"{who}-phone",), timezone=PARIS)
        putting = self.store.write(lambda c: self.people.put(c, person))
        if who in self.erased:
            with pytest.raises(objections.Erased):
                putting.result()
            return
        putting.result()
        self.enrolled.add(who)

    @rule(
        who=st.sampled_from(PEOPLE),
        purpose=st.sampled_from(PURPOSES),
        channel=st.none() | st.sampled_from(CHANNELS),
        lasts=st.none() | st.integers(1, 7200),
    )
    def agree(self, who: str, purpose: str, channel: str | None, lasts: int | None) -> None:
        """Somebody says yes."""
        if who in self.erased or len(self.agreed[who]) > 20:
            return
        until = None if lasts is None else self.now + lasts
        given = Consent(purpose=purpose, channel=channel, since=self.now, until=until)
        self.store.write(lambda c: self.people.grant(c, who, given, "test")).result()
        self.agreed[who].append((purpose, channel, until or float("inf")))

    @rule(
        who=st.sampled_from(PEOPLE),
        purpose=st.none() | st.sampled_from(PURPOSES),
        channel=st.none() | st.sampled_from(CHANNELS),
    )
    def withdraw(self, who: str, purpose: str | None, channel: str | None) -> None:
        """Somebody says no: from now on nothing of that kind begins."""
        if who in self.erased:
            return
        self.store.write(
            lambda c: self.people.withdraw(c, who, purpose, channel, at=self.now)
        ).result()
        self.agreed[who] = [
            (what, where, until)
            for what, where, until in self.agreed[who]
            if purpose not in {None, what} or (channel is not None and where not in {None, channel})
        ]

    @rule(who=st.sampled_from(PEOPLE), place=st.sampled_from(["cafe", "bakery"]))
    def come(self, who: str, place: str) -> None:
        """Somebody enters a place: whatever waits for it is queued, twice, as after a crash."""
        if who in self.erased:
            return
        try:
            at = self.present.check()
        except ClockSetBack:
            assert self.shown < self.taken_at - MOST_BACK_S
            return
        assert at >= self.taken_at
        self.taken_at = at
        self.visits += 1
        entered = Transition(
            kind="enter", subject=f"{who}-phone", place=place, visit=f"{who}-v{self.visits}",
            at=at, decided_at=at, because={"evidence_at": at},
        )  # fmt: skip
        facts = Places(None, Site(timezone=PARIS)).facts(place)
        triggers = self.rules.triggers(entered, who, facts)
        for _ in range(2):
            self.store.write(lambda c: queue.append(c, triggers)).result()
        self.queued.update((one.id, who) for one in triggers)

    @rule(
        who=st.sampled_from(PEOPLE),
        place=st.sampled_from(["cafe", "bakery"]),
        which=st.sampled_from([0, 1]),
    )
    def come_and_be_offered(self, who: str, place: str, which: int) -> None:
        """Somebody enters, and what that means is decided: it lies in the outbox."""
        self.come(who, place)
        self.decide(which, 100)

    @rule(
        who=st.sampled_from(PEOPLE),
        place=st.sampled_from(["cafe", "bakery"]),
        what=st.sampled_from(["withdraw", "object", "edit", "erase", "wait"]),
        seconds=st.sampled_from([1, 90, 300]),
    )
    def change_between(self, who: str, place: str, what: str, seconds: int) -> None:
        """Between the decision and the hand-over something changes, and later changes back."""
        for purpose in PURPOSES:
            self.agree(who, purpose, None, None)
        self.come_and_be_offered(who, place, 0)
        evening = self.evening
        if what == "withdraw":
            self.withdraw(who, None, None)
        elif what == "object":
            self.object(who, objects=True)
        elif what == "edit":
            self.edit()
        elif what == "erase" and who == PEOPLE[-1]:
            # What is in flight comes back after all of them is gone.
            self.send(1)
            self.erase(who, at_once=True)
            self._answer_all()
        self.pass_time(seconds)
        self.send(1)
        if what == "object":
            self.object(who, objects=False)
        if evening != self.evening:
            self.edit()

    @rule(which=st.sampled_from([0, 1]), limit=st.integers(1, 5))
    def decide(self, which: int, limit: int) -> None:
        """A dispatcher decides some of what is due."""
        self.dispatchers[which].decide_due(self.now, limit=limit)

    @rule(which=st.sampled_from([0, 1]))
    def send(self, which: int) -> None:
        """A dispatcher begins to hand over what is due."""
        task = self.loop.create_task(self.dispatchers[which].send_due(self.now))
        self.rounds[which].append(task)
        self._turn()

    @precondition(lambda self: self.open)
    @rule(
        data=st.data(),
        outcome=st.sampled_from(["accepted", "accepted", "retry", "failed", "dead_endpoint"]),
    )
    def answer(self, data: st.DataObject, outcome: Any) -> None:
        """A receiver answers one hand-over."""
        _, answer = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
        if not answer.done():
            answer.set_result(Reply(outcome=outcome))
        self._turn()

    @rule(which=st.sampled_from([0, 1]))
    def kill(self, which: int) -> None:
        """A dispatcher is killed in the middle of what it does, and another starts."""
        for task in self.rounds[which]:
            task.cancel()
        self._turn()
        self.rounds[which] = []
        self.open = [(offer, answer) for offer, answer in self.open if not answer.cancelled()]
        self.dispatchers[which] = self._dispatcher()

    @rule(who=st.sampled_from(PEOPLE), objects=st.booleans())
    def object(self, who: str, objects: bool) -> None:
        """Somebody objects to marketing, whatever they agreed to, or lets it be again."""
        if who in self.erased:
            return
        if objects:
            self.store.write(
                lambda c: objections.object_to(c, who, at=self.now, source="test")
            ).result()
            self.objecting.add(who)
        else:
            self.store.write(lambda c: objections.lift(c, who)).result()
            self.objecting.discard(who)

    @rule(who=st.just(PEOPLE[-1]), at_once=st.booleans())
    def erase(self, who: str, at_once: bool) -> None:
        """Somebody is erased; the second half of it may have to wait for another start."""
        if who in self.erased:
            return
        begun = self.store.write(
            lambda c: erasing.begin(c, self.people, who, now=self.now)
        ).result()
        self.erased.add(who)
        self.agreed.pop(who, None)
        if at_once:
            self._finish(begun)
        else:
            self.leaving.append(begun)

    @rule()
    def edit(self) -> None:
        """The campaigns file is edited: what it says from now on holds for what waits, too."""
        self.rules, self.other = self.other, self.rules
        self.evening = (18, 30) if self.evening == (22, 0) else (22, 0)

    @rule(seconds=st.sampled_from([1, 1, 40, 90, 600, 86_400]))
    def pass_time(self, seconds: int) -> None:
        """The clock goes on."""
        self.shown += seconds

    @rule(seconds=st.sampled_from([1, 40, 90, 3600]), anew=st.booleans())
    def step_back(self, seconds: int, anew: bool) -> None:
        """The machine's clock is set back: time stands still, unless all of it starts anew."""
        before = self.now
        self.shown -= seconds
        assert self.now == before
        if anew:
            for which in (0, 1):
                self.kill(which)
            self.clock = Machine(lambda: self.shown)
            # As recovery finds it: no earlier than the newest row of the journal.
            self.present = Present(self.clock.wall, self.taken_at)

    # -- what holds ----------------------------------------------------------------------------

    def _decisions(self) -> list[dict[str, Any]]:
        rows = self.store.read(lambda c: ledger.page(c, "decision", 0, 100_000))[0]
        found = [msgspec.json.decode(row.record) for row in rows]
        return [one for one in found if one["decision"] != "defer"]

    @invariant()
    def nothing_begins_that_may_not(self) -> None:
        """At the instant at which a hand-over begins it is allowed."""
        assert self.wrong == []

    @invariant()
    def decided_once(self) -> None:
        """No candidate has two final decisions, and no offer is made of what was not queued."""
        finals = Counter(one["id"] for one in self._decisions())
        assert all(count == 1 for count in finals.values())
        assert set(finals) <= set(self.queued)
        sent = {one["id"] for one in self._decisions() if one["decision"] == "send"}
        staying = {key for key in self.begun if self.queued[key] not in self.erased}
        assert staying <= sent

    @invariant()
    def never_above_a_cap(self) -> None:
        """Of all sends that were decided no window holds more than it may, and stock is stock."""
        table = schema.sends
        rows = self.store.read(
            lambda c: c.execute(sa.select(table.c.person, table.c.purpose, table.c.at)).all()
        )
        times: dict[str, list[float]] = defaultdict(list)
        for person, purpose, at in rows:
            if purpose == "marketing":
                times[person].append(at)
        for each in times.values():
            each.sort()
            assert all(
                later - first >= CAP_S for first, later in zip(each, each[CAP:], strict=False)
            )
        rolls = [
            one
            for one in self._decisions()
            if one["campaign"] == "rolls" and one["decision"] == "send"
        ]
        handed = [one for one in rolls if self.begun[one["id"]]]
        assert len(handed) <= STOCK


Offers.TestCase.settings = settings(
    max_examples=80,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestOffers = Offers.TestCase
