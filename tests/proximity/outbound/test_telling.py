"""Telling real receivers on loopback: in order, at least once, and each for itself."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
import structlog.testing
from aiohttp import web
from standardwebhooks.webhooks import Webhook as Library

from proximity.model import Person
from proximity.outbound import positions
from proximity.outbound import telling as module
from proximity.outbound.telling import delay_s
from proximity.store import Store
from tests.proximity.channels.receivers import Receiver, receiver
from tests.proximity.outbound.told import (
    SECRET,
    Engine,
    decision,
    delivery,
    subscriber,
    telling,
    to_url,
    transition,
    until,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path / "engine.db")
    yield opened
    opened.close()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for milliseconds instead of seconds: nobody is timed."""
    monkeypatch.setattr(module, "BACKOFF_S", 0.01)
    monkeypatch.setattr(module, "BACKOFF_MOST_S", 0.05)
    monkeypatch.setattr(module, "LOOK_S", 0.05)


def ids(one: Receiver) -> list[str]:
    return [json.loads(body)["id"] for _, _, body in one.requests]


def position(store: Store, name: str = "crm") -> Any:
    """Give where a subscriber is; before they are known it is at -1."""
    nowhere = positions.Position(
        subscriber=name, feed="ledger", position=-1, state="on", failing_since=None, moved_at=0.0
    )
    found = store.read(positions.listed)
    return next((one for one in found if one.subscriber == name), nowhere)


async def test_what_happened_is_told_in_order_and_signed(store: Store) -> None:
    engine = Engine(store)
    engine.add(transition(1), decision(1))
    async with receiver() as one, telling(engine, subscriber(to_url(one.url()))):
        await until(lambda: len(one.requests) == 2)
        engine.add(delivery(1))
        await until(lambda: len(one.requests) == 3)
    events = [json.loads(body) for _, _, body in one.requests]
    assert [event["type"] for event in events] == [
        "proximity.transition.v1", "proximity.decision.v1", "proximity.delivery.v1",
    ]  # fmt: skip
    assert events[0]["data"] == transition(1).to_record()
    assert [event["sequence"] for event in events] == sorted(e["sequence"] for e in events)
    for (_, headers, body), event in zip(one.requests, events, strict=True):
        assert Library(SECRET).verify(body, headers)["id"] == event["id"] == headers["webhook-id"]
    assert position(store).position == 3


async def test_a_new_subscriber_begins_now_or_at_the_start(store: Store) -> None:
    engine = Engine(store)
    engine.add(transition(1))
    async with receiver() as new, receiver() as whole:
        some = [
            subscriber(to_url(new.url()), name="new", since="now"),
            subscriber(to_url(whole.url()), name="whole", since="start"),
        ]
        async with telling(engine, *some):
            await until(lambda: len(store.read(positions.listed)) == 2 and whole.requests)
            engine.add(transition(2))
            await until(lambda: new.requests and len(whole.requests) == 2)
    assert ids(new) == ids(whole)[1:]


async def test_kinds_places_and_campaigns_are_filters(store: Store) -> None:
    engine = Engine(store)
    for n in range(3):
        engine.add(
            transition(n, place=f"p{n}"), decision(n, campaign=f"c{n}", place=f"p{n}"), delivery(n)
        )
    async with receiver() as places, receiver() as campaigns, receiver() as kinds:
        some = [
            subscriber(to_url(places.url()), name="places", places=frozenset({"p1"})),
            subscriber(
                to_url(campaigns.url()), name="campaigns", kinds=("decision",),
                campaigns=frozenset({"c2"}),
            ),
            subscriber(to_url(kinds.url()), name="kinds", kinds=("delivery",)),
        ]  # fmt: skip
        async with telling(engine, *some):
            await until(lambda: [one.position for one in store.read(positions.listed)] == [9] * 3)
    types = [json.loads(body)["type"].split(".")[1] for _, _, body in places.requests]
    assert types == ["transition", "decision"]
    assert ids(campaigns) == ["decision-d2"]
    assert len(kinds.requests) == 3


async def test_a_receiver_that_is_down_for_long_gets_all_of_it_once_it_is_up(store: Store) -> None:
    engine = Engine(store)
    async with receiver() as one:
        one.status = 503
        async with telling(engine, subscriber(to_url(one.url(), batch=100))) as (teller,):
            engine.add(*(transition(n) for n in range(250)))
            await until(lambda: teller.counts["failed"] >= 3)
            assert teller.behind == 250
            assert position(store).failing_since == engine.now
            engine.add(*(transition(n) for n in range(250, 1250)))
            await until(lambda: teller.behind == 1250)
            one.requests.clear()
            one.status = 200
            await until(lambda: position(store).position == 1250)
            await until(lambda: position(store).failing_since is None)
    events = [event for _, _, body in one.requests for event in json.loads(body)]
    assert [event["data"]["visit"] for event in events] == [f"v{n}" for n in range(1250)]
    assert {headers["Content-Type"] for _, headers, _ in one.requests} == {
        "application/cloudevents-batch+json; charset=utf-8"
    }
    assert len({headers["webhook-id"] for _, headers, _ in one.requests}) == len(one.requests)


async def test_who_comes_back_is_logged_once_and_not_for_each_feed(store: Store) -> None:
    engine = Engine(store)
    anna = Person(person="anna", attributes={"tier": "gold"})
    store.write(lambda c: engine.people.put(c, anna)).result()
    engine.add(transition(1))
    both = {"kinds": ("transition", "person")}
    async with receiver() as one:
        one.status = 503
        with structlog.testing.capture_logs() as logs:
            async with telling(engine, subscriber(to_url(one.url()), **both)) as (teller,):
                await until(lambda: teller.counts["failed"] >= 1)
                one.status = 200
                await until(lambda: teller.counts["sent"] == 2)
                await until(
                    lambda: [p.failing_since for p in store.read(positions.listed)] == [None] * 2
                )
    said = [entry["event"] for entry in logs]
    assert said.count("a subscriber takes nothing") == 1
    assert said.count("a subscriber takes events again") == 1


async def test_a_slow_subscriber_holds_up_no_other(store: Store) -> None:
    engine = Engine(store)
    engine.add(*(transition(n) for n in range(50)))
    never = asyncio.Event()

    async def hang(_: web.Request) -> web.Response:
        await never.wait()
        return web.Response()

    async with receiver() as slow, receiver() as quick_one:
        slow.answer = hang
        some = [
            subscriber(to_url(slow.url()), name="slow"),
            subscriber(to_url(quick_one.url()), name="quick"),
        ]
        async with telling(engine, *some):
            await until(lambda: len(quick_one.requests) == 50)
            never.set()
            slow.answer = None
            await until(lambda: len(slow.requests) >= 50)


async def test_after_a_crash_it_repeats_with_the_same_ids_and_skips_nothing(store: Store) -> None:
    engine = Engine(store)
    engine.add(*(transition(n) for n in range(30)))
    seen: list[str] = []
    async with receiver() as one:
        for stop in (7, 19):
            teller = engine.teller(subscriber(to_url(one.url())))
            task = asyncio.create_task(teller.run())
            await until(lambda stop=stop: len(one.requests) >= stop)  # type: ignore[misc]
            task.cancel()
            await asyncio.wait([task])
        async with telling(engine, subscriber(to_url(one.url()))):
            await until(lambda: position(store).position == 30)
        seen = ids(one)
    assert len(seen) >= 30
    assert list(dict.fromkeys(seen)) == sorted(set(seen), key=seen.index)
    assert len(set(seen)) == 30


async def test_410_ends_it_and_enable_begins_again(store: Store) -> None:
    engine = Engine(store)
    engine.add(transition(1))
    async with receiver() as one:
        one.status = 410
        async with telling(engine, subscriber(to_url(one.url()))) as (teller,):
            await until(lambda: teller.state == "gone")
            assert position(store).state == "gone"
            asked = len(one.requests)
            engine.add(transition(2))
            await asyncio.sleep(0.2)
            assert len(one.requests) == asked == 1
            one.status = 200
            assert store.write(lambda c: positions.enable(c, "crm", engine.now)).result()
            await until(lambda: len(one.requests) == 3)
            assert teller.state == "on"
    assert not store.write(lambda c: positions.enable(c, "nobody", 0.0)).result()


async def test_who_takes_nothing_for_too_long_is_given_up(store: Store) -> None:
    engine = Engine(store)
    engine.add(transition(1))
    async with receiver() as one:
        one.status = 500
        async with telling(engine, subscriber(to_url(one.url()), give_up_s=60.0)) as (teller,):
            await until(lambda: teller.counts["failed"] >= 2)
            engine.now += 61.0
            await until(lambda: teller.state == "given_up")
    assert position(store).position == 0


async def test_one_event_that_is_refused_for_itself_is_left_out_and_named(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = Engine(store)
    engine.add(*(transition(n) for n in range(20)))

    async def picky(request: web.Request) -> web.Response:
        return web.Response(status=400 if b'"v7"' in await request.read() else 200)

    async with receiver() as one:
        one.answer = picky
        async with telling(engine, subscriber(to_url(one.url(), batch=10))) as (teller,):
            await until(lambda: position(store).position == 20)
    assert teller.counts["refused"] == 1
    assert teller.counts["sent"] == 19
    said = capsys.readouterr().out
    assert "left out" in said
    assert "phone-a" not in said


@pytest.mark.parametrize("status", [301, 401, 403, 404, 429, 500])
async def test_what_is_not_the_event_s_fault_is_waited_for(store: Store, status: int) -> None:
    engine = Engine(store)
    engine.add(transition(1))
    async with receiver() as one:
        one.status = status
        async with telling(engine, subscriber(to_url(one.url()))) as (teller,):
            await until(lambda: teller.counts["failed"] > module.REFUSALS + 2)
            one.status = 200
            await until(lambda: position(store).position == 1)
    assert teller.counts["refused"] == 0


async def test_who_was_erased_meanwhile_is_not_told_of_late(store: Store) -> None:
    from proximity.store import schema

    engine = Engine(store)
    engine.add(*(transition(n, subject=f"s{n % 2}") for n in range(10)))
    async with receiver() as one:
        one.status = 503
        async with telling(engine, subscriber(to_url(one.url(), batch=5))) as (teller,):
            await until(lambda: teller.counts["failed"] >= 2)
            store.write(
                lambda c: c.execute(schema.ledger.delete().where(schema.ledger.c.subject == "s1"))
            ).result()
            one.requests.clear()
            one.status = 200
            await until(lambda: position(store).position == 9)
    assert {
        event["data"]["subject"]
        for _, _, body in one.requests[1:]
        for event in json.loads(body)
    } <= {"s0"}  # fmt: skip


async def test_who_is_being_erased_is_not_told_of_though_rows_are_there(store: Store) -> None:
    from proximity.privacy import erasing

    engine = Engine(store)
    engine.add(*(transition(n, subject=f"s{n % 2}") for n in range(10)), decision(11))
    # Begun and not finished: what is left of the ledger goes in pieces.
    for name in ("s1", "anna"):
        store.write(
            lambda c, name=name: erasing.begin(c, engine.people, name, now=engine.now)  # type: ignore[misc]
        ).result()
    engine.add(transition(20, subject="s2"), person="bo")
    async with receiver() as one, telling(engine, subscriber(to_url(one.url()))):
        await until(lambda: position(store).position == 12)
    assert [json.loads(body)["data"]["visit"] for _, _, body in one.requests] == ["v20"]


async def test_a_disk_that_is_full_is_waited_for(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from proximity.store.faults import StoreFull

    engine = Engine(store)
    real, refused = store.awrite, []

    async def awrite(work: Any) -> Any:
        if len(refused) < 3:
            refused.append(1)
            raise StoreFull("full")
        return await real(work)

    monkeypatch.setattr(store, "awrite", awrite)
    engine.add(transition(1))
    async with receiver() as one, telling(engine, subscriber(to_url(one.url()))):
        await until(lambda: one.requests and position(store).position == 1)
    assert len(refused) == 3


def test_waits_grow_are_spread_and_honour_the_receiver() -> None:
    waits = [delay_s("crm", n) for n in range(1, 20)]
    assert all(wait <= module.BACKOFF_MOST_S for wait in waits)
    assert delay_s("crm", 1) != delay_s("other", 1)
    assert delay_s("crm", 1, 120.0) == 120.0
