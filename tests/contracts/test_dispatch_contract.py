"""What holds however many dispatchers work on one store, whatever the database."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from msgspec.structs import replace

from proximity.campaigns.campaigns import Campaign, Campaigns, Cap, Contest, Stock
from proximity.channels import Reply
from proximity.dispatch import outbox, queue
from proximity.model import Endpoint, Offer, Trigger
from proximity.store import Store, ledger, schema
from tests.proximity.given import ANNA, COFFEE, NOON, rules, trigger
from tests.proximity.test_dispatch import Way

if TYPE_CHECKING:
    from collections.abc import Callable

DISPATCHERS = 4
TURNS = 1000
"""More than any of this takes; what still waits then waits for ever, and is missed below."""


class Crowd:
    """Several dispatchers on one database, each with a store of its own where that can be."""

    def __init__(self, target: str, store: Store, campaigns: Campaigns) -> None:
        self.store = store
        others = [] if target == ":memory:" else [Store.open(target) for _ in range(DISPATCHERS)]
        stores = others or [store] * DISPATCHERS
        self.ways = [Way(one, campaigns, consent="assumed") for one in stores]
        self._opened = others

    def queue(self, triggers: list[Trigger]) -> None:
        self.store.write(lambda c: queue.append(c, triggers)).result()

    def together(self, work: Callable[[Way], object]) -> None:
        """Do it on all of them at once, again and again until nothing waits."""
        faults: list[BaseException] = []
        begin = threading.Barrier(len(self.ways))

        def run(way: Way) -> None:
            try:
                begin.wait()
                for _ in range(TURNS):
                    if not self.store.read(queue.depth):
                        return
                    work(way)
            except BaseException as fault:  # noqa: BLE001  it is raised below
                faults.append(fault)

        threads = [threading.Thread(target=run, args=(way,)) for way in self.ways]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert faults == []

    def close(self) -> None:
        for one in self._opened:
            one.close()

    def rows(self, table: sa.Table) -> list[Any]:
        return list(self.store.read(lambda c: c.execute(sa.select(table)).all()))

    def reasons(self) -> Counter[str | None]:
        return Counter(record["reason"] for record in Way(self.store).records("decision"))


def crowd_of(target: str, store: Store, *campaigns: Campaign, **options: Any) -> Crowd:
    return Crowd(target, store, rules(*campaigns, **options))


def test_of_ten_units_fifty_candidates_get_exactly_ten(target: str, store: Store) -> None:
    scarce = replace(COFFEE, stock=("cups",))
    crowd = crowd_of(target, store, scarce, stocks={"cups": Stock(id="cups", count=10)})
    crowd.queue([trigger(id=f"t{n:02}", person=f"p{n}", visit=f"v{n}") for n in range(50)])
    crowd.together(lambda way: way.dispatcher.decide_due(NOON, limit=3))
    assert crowd.reasons() == {None: 10, "out_of_stock": 40}
    assert [row.used for row in crowd.rows(schema.stocks)] == [10]
    assert len(crowd.rows(schema.reservations)) == store.read(outbox.depth) == 10
    crowd.close()


def test_two_stocks_are_taken_together_or_not_at_all(target: str, store: Store) -> None:
    """In whatever order campaigns name them: nobody waits in a ring."""
    stocks = {"cups": Stock(id="cups", count=12), "rolls": Stock(id="rolls", count=7)}
    both, back = (
        replace(COFFEE, id=name, stock=stock)
        for name, stock in (("both", ("cups", "rolls")), ("back", ("rolls", "cups")))
    )
    crowd = crowd_of(target, store, both, back, stocks=stocks)
    crowd.queue(
        [
            trigger(id=f"t{n:02}", person=f"p{n}", campaign=("both", "back")[n % 2])
            for n in range(40)
        ]
    )
    crowd.together(lambda way: way.dispatcher.decide_due(NOON, limit=2))
    assert crowd.reasons() == {None: 7, "out_of_stock": 33}
    assert {row.stock: row.used for row in crowd.rows(schema.stocks)} == {"cups": 7, "rolls": 7}
    crowd.close()


def test_no_cap_is_exceeded(target: str, store: Store) -> None:
    campaigns = [replace(COFFEE, id=f"c{n}") for n in range(60)]
    crowd = crowd_of(target, store, *campaigns, caps=(Cap(count=3, window_s=3600.0),))
    crowd.queue(
        [
            trigger(id=f"t{n:02}", campaign=f"c{n}", person=f"p{n % 4}", subject=f"phone-{n}")
            for n in range(60)
        ]
    )
    crowd.together(lambda way: way.dispatcher.decide_due(NOON, limit=2))
    assert crowd.reasons() == {None: 12, "capped": 48}
    assert set(Counter(row.person for row in crowd.rows(schema.sends)).values()) == {3}
    crowd.close()


def test_a_moment_has_one_winner_whoever_claims(target: str, store: Store) -> None:
    campaigns = [replace(COFFEE, id=f"c{n}", priority=float(n % 7)) for n in range(10)]
    crowd = crowd_of(target, store, *campaigns, contest=Contest())
    crowd.queue(
        [
            trigger(id=f"m{moment}/{one.id}", campaign=one.id, person=f"p{moment}",
                    visit=f"v{moment}", moment=f"m{moment}")
            for moment in range(8)
            for one in campaigns
        ]
    )  # fmt: skip
    crowd.together(lambda way: way.dispatcher.decide_due(NOON, limit=3))
    assert crowd.reasons() == {None: 8, "outranked": 72}
    assert {(row.moment, row.campaign) for row in crowd.rows(schema.sends)} == {
        (f"m{moment}", "c6") for moment in range(8)
    }
    crowd.close()


def test_everything_is_decided_once(target: str, store: Store) -> None:
    crowd = crowd_of(target, store)
    crowd.queue([trigger(id=f"t{n:03}", person=f"p{n % 9}") for n in range(120)])
    crowd.together(lambda way: way.dispatcher.decide_due(NOON, limit=5))
    rows, _ = store.read(lambda c: ledger.page(c, "decision", 0, 1000))
    assert sorted(row.id for row in rows) == [f"t{n:03}" for n in range(120)]
    assert store.read(outbox.depth) == 120
    crowd.close()


def test_a_stock_begins_anew_with_its_window(store: Store) -> None:
    scarce = replace(COFFEE, stock=("cups",), max_age_s=1e6)
    campaigns = rules(scarce, stocks={"cups": Stock(id="cups", count=1, window="day")})
    way = Way(store, campaigns, consent="assumed")
    for day in range(2):
        now = NOON + 86400.0 * day
        way.queue(*(trigger(id=f"t{day}/{n}", at=now, decided_at=now) for n in range(2)))
        assert [d.reason for d in way.decide(now)] == [None, "out_of_stock"]
    assert sorted(row.window for row in way.rows(schema.stocks)) == ["2026-01-06", "2026-01-07"]


@pytest.mark.parametrize("wait_s", [1.0, 200.0])
def test_what_nobody_received_gives_its_unit_back(store: Store, wait_s: float) -> None:
    """Withdrawn while it waited, or expired before its first hand-over."""
    scarce = replace(COFFEE, stock=("cups",))
    campaigns = rules(scarce, stocks={"cups": Stock(id="cups", count=1)})
    way = Way(store, campaigns).put().queue(trigger())
    assert [d.reason for d in way.decide()] == [None]
    if wait_s < 120.0:
        store.write(lambda c: way.people.withdraw(c, "anna", at=NOON + wait_s)).result()
    else:
        assert [d.outcome for d in way.send(NOON + wait_s)] == ["expired"]
    assert [row.used for row in way.rows(schema.stocks)] == [0]
    assert way.rows(schema.reservations) == []


PAUSE_S = 0.3
"""How long one is held up in the middle while the other tries: where they keep apart, all of it."""


def test_while_one_decides_about_somebody_nobody_else_does(target: str, store: Store) -> None:
    """The other has read the same sends and counted, if it can."""
    campaigns = [replace(COFFEE, id=f"c{n}") for n in range(2)]
    crowd = crowd_of(target, store, *campaigns, caps=(Cap(count=1, window_s=3600.0),))
    crowd.queue([trigger(id=f"t{n}", campaign=f"c{n}") for n in range(2)])
    one, two = crowd.ways[:2]
    mine = one.store.write(lambda c: queue.claim(c, "one", NOON, limit=1)).result()
    theirs = two.store.write(lambda c: queue.claim(c, "two", NOON, limit=1)).result()
    facts, done = one.dispatcher.world.places.facts, threading.Event()
    begun = threading.Event()

    def held_up(place: str) -> Any:
        begun.set()
        done.wait(PAUSE_S)
        return facts(place)

    one.dispatcher.world.places.facts = held_up  # type: ignore[method-assign]

    def other() -> None:
        assert begun.wait(10.0)
        two.store.write(lambda c: two.dispatcher._decide(c, theirs, NOON)).result()
        done.set()

    thread = threading.Thread(target=other)
    thread.start()
    one.store.write(lambda c: one.dispatcher._decide(c, mine, NOON)).result()
    thread.join()
    assert crowd.reasons() == {None: 1, "capped": 1}
    crowd.close()


def test_while_one_claims_nobody_tears_a_moment_apart(target: str, store: Store) -> None:
    if target == ":memory:":
        return  # one connection: who claims is alone
    crowd = crowd_of(target, store)
    crowd.queue([trigger(id=f"t{n}", person="anna", moment="m") for n in range(6)])
    one, two = (way.store for way in crowd.ways[:2])
    done, begun = threading.Event(), threading.Event()

    def held_up(_c: object, _u: object, statement: str, *_: object) -> None:
        if statement.startswith("SELECT triggers.seq") and not begun.is_set():
            begun.set()
            done.wait(PAUSE_S)

    sa.event.listen(one._engine, "after_cursor_execute", held_up)
    found: list[int] = []

    def other() -> None:
        assert begun.wait(10.0)
        found.append(len(two.write(lambda c: queue.claim(c, "two", NOON, limit=2)).result()))
        done.set()

    thread = threading.Thread(target=other)
    thread.start()
    found.append(len(one.write(lambda c: queue.claim(c, "one", NOON, limit=2)).result()))
    thread.join()
    assert sorted(found) == [0, 6]
    crowd.close()


class Watch:
    to_endpoints = False
    """A channel that notes the order in which hand-overs and withdrawals come."""

    name = "console"

    def __init__(self) -> None:
        self.log: list[tuple[str, str]] = []
        self.flying: set[str] = set()
        self.begun = threading.Event()

    async def send(self, offer: Offer, endpoint: Endpoint | None = None) -> Reply:  # noqa: ARG002
        self.log.append(("begins", offer.key))
        self.begun.set()
        await asyncio.sleep(0)
        return Reply(outcome="accepted")

    async def close(self) -> None:
        """Nothing is open."""


def consenting(crowd: Crowd, count: int) -> None:
    def put(connection: sa.Connection) -> None:
        for n in range(count):
            person = replace(ANNA, person=f"p{n}", subjects=(f"phone-{n}",))
            crowd.ways[0].people.put(connection, person)

    crowd.store.write(put).result()


def test_threads_begin_no_hand_over_after_the_withdrawal(target: str, store: Store) -> None:
    """Real threads: two decide and send, one person after the other withdraws meanwhile."""
    count = 60
    crowd = crowd_of(target, store, replace(COFFEE, ttl_s=600.0))
    watch = Watch()
    for way in crowd.ways:
        way.dispatcher.world = way.dispatcher.world._replace(assumed=False)
        way.dispatcher._channels = {"console": watch}
    consenting(crowd, count)
    crowd.queue([trigger(id=f"{n}/{k}", person=f"p{n}") for n in range(count) for k in range(3)])
    faults: list[BaseException] = []
    over = threading.Event()

    def work(way: Way) -> None:
        try:
            while not over.is_set():
                way.dispatcher.decide_due(NOON, limit=7)
                way.send(NOON)
        except BaseException as fault:  # noqa: BLE001  it is raised below
            faults.append(fault)

    threads = [threading.Thread(target=work, args=(way,)) for way in crowd.ways[:2]]
    for thread in threads:
        thread.start()
    withdrawer = crowd.ways[2]
    assert watch.begun.wait(10.0)
    for n in range(count):
        found = withdrawer.store.write(
            lambda c, who=f"p{n}": withdrawer.people.withdraw(c, who, at=NOON)  # type: ignore[misc]
        ).result()
        watch.flying |= {one.key for one in found}
        watch.log.append(("withdrawn", f"{n}"))
    while store.read(queue.depth) or store.read(outbox.depth):
        if faults:
            break
    over.set()
    for thread in threads:
        thread.join()
    assert faults == []
    withdrawn: set[str] = set()
    for what, which in watch.log:
        if what == "withdrawn":
            withdrawn.add(which)
        else:
            assert which.partition("/")[0] not in withdrawn or which in watch.flying
    assert len(withdrawn) == count
    begins = Counter(key for what, key in watch.log if what == "begins")
    assert set(begins.values()) == {1}
    crowd.close()


@pytest.mark.parametrize("first", ["hand-over", "withdrawal"])
def test_a_withdrawal_and_a_hand_over_that_meet_see_each_other(
    target: str, store: Store, first: str
) -> None:
    """Whichever is held up in the middle: the offer is in flight and told, or never handed over."""
    crowd = crowd_of(target, store)
    one, two = crowd.ways[:2]
    for way in (one, two):
        way.dispatcher.world = way.dispatcher.world._replace(assumed=False)
    consenting(crowd, 1)
    crowd.queue([trigger(person="p0")])
    assert [d.decision for d in one.decide()] == ["send"]
    begun, done = threading.Event(), threading.Event()
    found: list[outbox.InFlight] = []

    def hold_up() -> None:
        begun.set()
        done.wait(PAUSE_S)

    def withdraw(connection: sa.Connection) -> None:
        found.extend(two.people.withdraw(connection, "p0", at=NOON))
        if first == "withdrawal":
            hold_up()

    facts = one.dispatcher.world.people.read_all

    def read(connection: sa.Connection, persons: Any) -> Any:
        hold_up()
        return facts(connection, persons)

    if first == "hand-over":
        one.dispatcher.world.people.read_all = read  # type: ignore[method-assign]
        one.channel.before = lambda: done.wait(10.0) and None
    works: list[Callable[[], object]] = [
        lambda: one.send(NOON), lambda: two.store.write(withdraw).result(),
    ]  # fmt: skip
    if first == "withdrawal":
        works.reverse()

    def other() -> None:
        assert begun.wait(10.0)
        works[1]()
        done.set()

    thread = threading.Thread(target=other)
    thread.start()
    works[0]()
    thread.join()
    one.dispatcher.world.people.read_all = facts  # type: ignore[method-assign]
    assert one.send(NOON) == []
    if first == "hand-over":
        assert [flight.key for flight in found] == ["t1"]
        assert [offer.key for offer in one.channel.sent] == ["t1"]
    else:
        assert found == one.channel.sent == []
    assert store.read(outbox.depth) == 0
    crowd.close()


def test_while_somebody_withdraws_nothing_new_is_made_for_them(target: str, store: Store) -> None:
    crowd = crowd_of(target, store)
    one, two = crowd.ways[:2]
    one.dispatcher.world = one.dispatcher.world._replace(assumed=False)
    consenting(crowd, 1)
    crowd.queue([trigger(person="p0")])
    begun, done = threading.Event(), threading.Event()

    def withdraw(connection: sa.Connection) -> None:
        assert two.people.withdraw(connection, "p0", at=NOON) == []
        begun.set()
        done.wait(PAUSE_S)

    def other() -> None:
        assert begun.wait(10.0)
        one.decide()
        one.send()
        done.set()

    thread = threading.Thread(target=other)
    thread.start()
    two.store.write(withdraw).result()
    thread.join()
    assert one.channel.sent == []
    assert crowd.reasons() == {"no_consent": 1}
    crowd.close()
