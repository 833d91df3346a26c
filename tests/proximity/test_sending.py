"""A window of hand-overs: what comes back is recorded together, and no fault stops the others."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import sqlalchemy as sa
from msgspec.structs import replace

from proximity.channels import Reply
from proximity.dispatch import leasing, outbox
from proximity.dispatch.offers import decode
from proximity.dispatch.pace import AT_ONCE, MOST_TOKENS
from proximity.store import Store, StoreFailed, ledger, schema
from tests.proximity.given import COFFEE, NOON, rules, trigger
from tests.proximity.test_dispatch import Recorder, Way

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proximity.model import Delivery, Endpoint, Offer

LONG = rules(replace(COFFEE, ttl_s=6000.0, max_age_s=6000.0))


@pytest.fixture
def store() -> Iterator[Store]:
    opened = Store.open(":memory:")
    yield opened
    opened.close()


def waiting(way: Way, count: int, at: float = NOON, name: str = "t") -> Way:
    """A way on which so many offers wait, decided at Unix second ``at``."""
    way.put().queue(
        *(
            trigger(id=f"{name}{n:03}", visit=f"{name}{n}", at=at, decided_at=at, evidence_at=at)
            for n in range(count)
        )
    )
    while way.decide(at):
        pass
    return way


class Gate(Recorder):
    """A receiver that answers each offer when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.doors: dict[str, asyncio.Event] = {}

    async def send(self, offer: Offer, endpoint: Endpoint | None = None) -> Reply:
        self.sent.append(offer)
        await self.doors.setdefault(offer.key, asyncio.Event()).wait()
        return await super().send(offer, endpoint)

    def open(self, *keys: str) -> None:
        for key in keys:
            self.doors.setdefault(key, asyncio.Event()).set()


async def test_what_is_slow_holds_up_only_itself(store: Store) -> None:
    gate = Gate()
    way = waiting(Way(store, LONG, channel=gate), AT_ONCE + 5)
    window = way.dispatcher.window()
    assert await window.turn(NOON) == []
    await asyncio.sleep(0)
    assert len(gate.sent) == AT_ONCE
    assert await window.turn(NOON) == [], "it is full"
    gate.open("t003", "t007")
    await window.wait()
    told = await window.turn(NOON)
    assert [(one.key, one.outcome) for one in told] == [("t003", "accepted"), ("t007", "accepted")]
    await asyncio.sleep(0)
    assert len({one.key for one in gate.sent}) == AT_ONCE + 2, "as many begin as came back"
    gate.open(*(f"t{n:03}" for n in range(AT_ONCE + 5)))
    done = await window.close(lambda: NOON)
    assert len(done) == AT_ONCE
    assert window.empty
    assert [row.state for row in way.rows(schema.outbox)] == ["ready"] * 3, "close begins nothing"


async def test_what_was_cut_short_stays_leased_for_whoever_comes_next(store: Store) -> None:
    gate = Gate()
    way = waiting(Way(store, LONG, channel=gate), 3)
    window = way.dispatcher.window()
    await window.turn(NOON)
    closing = asyncio.ensure_future(window.close(lambda: NOON))
    await asyncio.sleep(0.01)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert [row.state for row in way.rows(schema.outbox)] == ["leased"] * 3
    other = Way(store, LONG)
    assert len(await other.dispatcher.send_due(NOON + leasing.LEASE_S)) == 3


async def test_what_came_back_while_the_disk_was_full_is_recorded_once_it_is_not(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    way = waiting(Way(store, LONG), 4)
    window = way.dispatcher.window()
    await window.turn(NOON)
    await window.wait()
    whole = store.awrite

    async def full(*_: Any, **__: Any) -> Any:
        raise StoreFailed("the disk is full")

    monkeypatch.setattr(store, "awrite", full)
    for _ in range(2):
        with pytest.raises(StoreFailed):
            await window.turn(NOON)
    assert not window.empty
    monkeypatch.setattr(store, "awrite", whole)
    assert [one.outcome for one in await window.turn(NOON)] == ["accepted"] * 4
    assert way.rows(schema.outbox) == []
    assert len(way.channel.sent) == 4


def test_what_cannot_be_recorded_stops_no_other(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    way = waiting(Way(store, LONG), 5)
    entry = ledger.entry

    def faulty(item: Any, person: str | None = None) -> Any:
        if getattr(item, "key", "") == "t002":
            raise ZeroDivisionError("anna was here")
        return entry(item, person)

    monkeypatch.setattr(ledger, "entry", faulty)
    way.send()
    assert way.dispatcher.counts["fault"] == 1
    assert [row.key for row in way.rows(schema.outbox)] == ["t002"]
    monkeypatch.undo()
    assert [d.key for d in way.send(NOON + leasing.LEASE_S)] == ["t002"]


def test_what_nobody_can_judge_does_not_go_and_stops_no_other(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    way = waiting(Way(store, LONG), 2)
    store.write(
        lambda c: c.execute(
            sa.update(schema.outbox)
            .where(schema.outbox.c.key == "t001")
            .values(offer=_moved(c, "t001"))
        )
    ).result()
    facts = way.dispatcher.world.places.facts

    def faulty(place: str) -> Any:
        if place == "bad":
            raise ZeroDivisionError("anna was here")
        return facts(place)

    monkeypatch.setattr(way.dispatcher.world.places, "facts", faulty)
    told = {d.key: (d.outcome, d.reason) for d in way.send()}
    assert told == {"t000": ("accepted", None), "t001": ("suppressed", "fault")}


def _moved(connection: sa.Connection, key: str) -> bytes:
    found = connection.scalar(sa.select(schema.outbox.c.offer).where(schema.outbox.c.key == key))
    assert found is not None
    return msgspec.msgpack.encode(replace(decode(found), place="bad"))


def test_what_cannot_be_read_is_set_aside(store: Store) -> None:
    way = waiting(Way(store, LONG), 3)
    broken = sa.update(schema.outbox).where(schema.outbox.c.key == "t001").values(offer=b"\xc1")
    store.write(lambda c: c.execute(broken)).result()
    assert sorted(d.key for d in way.send()) == ["t000", "t002"]
    assert way.send(NOON + 1000.0) == []
    assert [(row.key, row.state) for row in way.rows(schema.outbox)] == [("t001", "aside")]
    assert store.read(outbox.depth) == 0
    assert way.dispatcher.next_due() is None


def test_who_is_behind_serves_the_newest_first_and_the_stale_expire(store: Store) -> None:
    """An hour's worth waits; who comes now does not wait for them."""
    brief = rules(replace(COFFEE, ttl_s=60.0, max_age_s=6000.0))
    way = Way(store, brief)
    for minute in range(3):
        waiting(way, 100, NOON + 30.0 * minute, f"m{minute}-")
    now = NOON + 75.0
    waiting(way, 10, now, "now")
    told = way.send(now)
    took = [d.key for d in told if d.outcome == "accepted"]
    assert took[:10] == [f"now{n:03}" for n in range(10)]
    assert {key[:3] for key in took[10:]} == {"m2-"}, "then those before them, not the oldest"
    stale = [d.key for d in told if d.outcome == "expired"]
    assert stale
    assert all(key.startswith("m0-") for key in stale)
    later = Counter(d.outcome for _ in range(9) for d in way.send(now))
    assert later["expired"] + len(stale) == 100
    assert later["accepted"] + len(took) == 210
    assert store.read(outbox.depth) == 0


def test_without_a_backlog_the_oldest_come_first(store: Store) -> None:
    way = waiting(Way(store, LONG), 3, NOON)
    waiting(way, 3, NOON + 2.0, "u")
    assert [d.key[0] for d in way.send(NOON + 3.0)] == ["t"] * 3 + ["u"] * 3


def test_retries_take_a_tenth_of_the_turns(store: Store) -> None:
    """A receiver that refuses every second offer: of each thousand a hundred come again."""
    way = Way(store, LONG)
    sends: Counter[str] = Counter()

    class Half(Recorder):
        async def send(self, offer: Offer, endpoint: Endpoint | None = None) -> Reply:  # noqa: ARG002
            sends[offer.key] += 1
            refused = int(offer.key[-1]) % 2 == 0
            return Reply(outcome="retry" if refused else "accepted")

    way.dispatcher._channels = {"console": Half()}
    told: list[Delivery] = []
    for second in range(40):
        waiting(way, 20, NOON + second, f"s{second:02}-")
        told += way.send(NOON + second)
    firsts, again = len(sends), sends.total() - len(sends)
    assert firsts == 800
    assert again <= 0.1 * firsts + MOST_TOKENS + 4
    assert again >= 0.05 * firsts, "they do come"
    while way.send(NOON + 39.0):
        pass
    due = way.dispatcher.next_due()
    assert due is not None
    assert due > NOON + 39.0, "the others wait for their budget"


@pytest.mark.parametrize(
    "said",
    [
        None,
        "accepted",
        Reply(outcome="taken"),  # type: ignore[arg-type]
        Reply(outcome="failed", reply=None),  # type: ignore[arg-type]
        Reply(outcome="retry", retry_after_s="10"),  # type: ignore[arg-type]
        Reply(outcome="retry", retry_after_s=float("nan")),
        Reply(outcome="retry", retry_after_s=-1.0),
    ],
)
async def test_a_channel_that_answers_nonsense_stops_no_other(store: Store, said: Any) -> None:
    """Somebody's own channel, which nobody typed: what it did with the offer nobody knows."""

    class Odd(Recorder):
        name = "odd"

        async def send(self, offer: Offer, endpoint: Endpoint | None = None) -> Reply:  # noqa: ARG002
            answer: Reply = said
            return answer

    way = Way(store, rules(COFFEE, replace(COFFEE, id="tea", channels=("odd",))))
    way.dispatcher._channels = {"console": way.channel, "odd": Odd()}
    way.put().queue(trigger(id="a", campaign="tea", visit="a"), trigger(id="b", visit="b"))
    way.decide()
    told = await way.dispatcher.send_due(NOON)
    assert sorted((one.key, one.outcome) for one in told) == [("a", "retry"), ("b", "accepted")]
    assert way.dispatcher.counts["channel fault"] == 1
