"""What outbound promises on every database: no row is passed over, whoever is still writing."""

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING

import sqlalchemy as sa
from msgspec.structs import replace

from proximity.model import Consent, Person
from proximity.outbound import happenings, positions
from proximity.outbound.positions import LEDGER, PEOPLE, Position
from proximity.people.people import People
from proximity.store import Store, ledger, schema
from tests.proximity.given import NOON
from tests.proximity.outbound.told import subscriber, to_url, transition

if TYPE_CHECKING:
    from sqlalchemy import Connection

WRITERS, EACH = 4, 60


def test_no_row_is_passed_over_while_others_are_being_written(store: Store, target: str) -> None:
    """Writers of several processes hold their rows back for random times before they commit."""
    memory = target == ":memory:"
    stores = [store if memory else Store.open(target) for _ in range(WRITERS)]
    done = threading.Event()

    def write(number: int) -> None:
        chance = random.Random(number)
        for n in range(EACH):
            row = ledger.entry(transition(n, subject=f"s{number}"))

            def work(conn: Connection, row: ledger.Entry = row) -> None:
                ledger.append(conn, [row])
                if not memory:
                    time.sleep(chance.random() / 200)

            stores[number].write(work).result()

    threads = [threading.Thread(target=write, args=(n,)) for n in range(WRITERS)]
    people, one = People(store), subscriber(to_url("http://127.0.0.1:1/"))
    seen: list[str] = []
    at = 0

    def look() -> int:
        end = store.read(lambda conn: positions.end_of(conn, LEDGER))
        if end is None or end <= at:
            return at
        page = store.read(
            lambda conn: happenings.read(conn, people, one, LEDGER, at, end, 10, NOON)
        )
        seen.extend(one.event.id for one in page.happenings)
        return page.end

    def wait() -> None:
        for thread in threads:
            thread.join()
        done.set()

    for thread in threads:
        thread.start()
    waiting = threading.Thread(target=wait)
    waiting.start()
    while not done.is_set():
        at = look()
    waiting.join()
    while (further := look()) > at:
        at = further
    there = store.read(lambda conn: set(conn.scalars(sa.select(schema.ledger.c.id))))
    assert len(seen) == len(set(seen))
    assert {one.removeprefix("transition-") for one in seen} == there
    for other in stores:
        if other is not store:
            other.close()


def test_who_writes_for_long_is_not_waited_for(store: Store, target: str) -> None:
    if not target.startswith("postgresql"):
        return  # there is one writer, which nobody waits for
    holding, go_on = threading.Event(), threading.Event()

    def work(conn: Connection) -> None:
        ledger.append(conn, [ledger.entry(transition(1))])
        holding.set()
        go_on.wait(20)

    other = Store.open(target)
    future = other.write(work)
    assert holding.wait(10)
    assert store.read(lambda conn: positions.end_of(conn, LEDGER)) is None
    # And nobody has to wait for whoever looks.
    assert store.write(lambda c: ledger.append(c, [ledger.entry(transition(2))])).result(10)
    go_on.set()
    future.result(10)
    end = store.read(lambda conn: positions.end_of(conn, LEDGER))
    assert end == store.read(lambda conn: positions.newest(conn, LEDGER))
    other.close()


def test_positions_are_kept_by_subscriber_and_feed(store: Store) -> None:
    def begin(conn: Connection, name: str, feed: str, *, at_end: bool) -> Position:
        return positions.start(conn, name, feed, at_end=at_end, now=NOON)

    store.write(lambda c: ledger.append(c, [ledger.entry(transition(1))])).result()
    new = store.write(lambda c: begin(c, "crm", LEDGER, at_end=True)).result()
    assert new.position == store.read(lambda c: positions.newest(c, LEDGER)) > 0
    assert store.write(lambda c: begin(c, "lake", LEDGER, at_end=False)).result().position == 0
    assert store.write(lambda c: begin(c, "crm", PEOPLE, at_end=True)).result().position == 0
    moved = Position(
        subscriber="crm", feed=LEDGER, position=7, state="gone", failing_since=NOON, moved_at=NOON
    )
    store.write(lambda c: positions.save(c, moved)).result()
    assert store.write(lambda c: begin(c, "crm", LEDGER, at_end=False)).result() == moved
    assert store.read(positions.processors) == ["outbound/crm"]
    assert store.write(lambda c: positions.enable(c, "crm", NOON + 1)).result()
    store.write(lambda c: positions.meet(c, ["lake"], NOON + 2)).result()
    assert store.read(positions.processors) == []
    store.write(lambda c: positions.meet(c, ["crm", "lake"], NOON + 3)).result()
    assert store.read(positions.processors) == ["outbound/crm"]
    states = [(one.subscriber, one.feed, one.state) for one in store.read(positions.listed)]
    assert states == [("crm", "ledger", "on"), ("crm", "people", "on"), ("lake", "ledger", "on")]


def test_another_company_is_told_only_of_who_agreed_to_sharing(store: Store) -> None:
    people = People(store, lambda: NOON)
    yes = (Consent(purpose="sharing", until=NOON + 60), Consent(purpose="marketing"))
    known = [
        Person(person="ann", subjects=("s1",), consents=yes),
        Person(person="ben", subjects=("s2",), consents=(Consent(purpose="marketing"),)),
    ]
    store.write(lambda conn: people.put_all(conn, known)).result()
    rows = [ledger.entry(transition(n, subject=f"s{n}")) for n in (1, 2, 3)]
    store.write(lambda conn: ledger.append(conn, rows)).result()

    def told(feed: str, now: float, *, third_party: bool) -> int:
        one = replace(subscriber(to_url("http://127.0.0.1:1/")), third_party=third_party)
        return len(
            store.read(
                lambda conn: happenings.read(conn, people, one, feed, 0, 10**6, 100, now).happenings
            )
        )

    assert told(LEDGER, NOON, third_party=False) == 3
    assert told(LEDGER, NOON, third_party=True) == 1
    assert told(PEOPLE, NOON, third_party=True) == 1
    assert told(PEOPLE, NOON, third_party=False) == 2
    # It is asked as of the moment it is told.
    assert (
        told(LEDGER, NOON + 60, third_party=True) == told(PEOPLE, NOON + 60, third_party=True) == 0
    )
