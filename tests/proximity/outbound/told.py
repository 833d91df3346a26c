"""A store with a ledger that grows as a test wants, and subscribers who are told of it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ipaddress
from collections.abc import AsyncIterator, Callable
from typing import Any

from proximity.model import Decision, Delivery, Transition, Verdict
from proximity.outbound.subscribers import FileSink, Subscriber, UrlSink
from proximity.outbound.telling import Teller
from proximity.people.people import People
from proximity.store import Store, ledger
from tests.proximity.given import NOON

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
LOOPBACK = (ipaddress.ip_network("127.0.0.1"),)


def to_url(url: str, **changes: Any) -> UrlSink:
    return UrlSink(**{"url": url, "secrets": (SECRET,), "allow": LOOPBACK} | changes)


def subscriber(sink: UrlSink | FileSink, **changes: Any) -> Subscriber:
    fields: dict[str, Any] = {
        "name": "crm", "kinds": ("transition", "decision", "delivery"), "sink": sink,
        "since": "start",
    }  # fmt: skip
    return Subscriber(**fields | changes)


def transition(n: int, place: str = "cafe-1", subject: str = "phone-a") -> Transition:
    return Transition("enter", subject, place, f"v{n}", NOON + n, NOON + n)


def decision(n: int, campaign: str = "coffee", place: str = "cafe-1") -> Decision:
    return Decision(
        id=f"d{n}", decision=Verdict.SEND, reason=None, campaign=campaign, version=1,
        subject="phone-a", person="anna", place=place, visit=f"v{n}", at=NOON + n,
    )  # fmt: skip


def delivery(n: int) -> Delivery:
    return Delivery(
        key=f"d{n}", channel="console", attempt=1, outcome="accepted", at=NOON + n,
        campaign="coffee", person="anna", subject="phone-a", place="cafe-1",
    )  # fmt: skip


class Engine:
    """A store, and news of it."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.people = People(store, lambda: NOON)
        self.people.reload()
        self.closing = asyncio.Event()
        self._news = asyncio.Event()
        self.now = NOON + 1000.0

    def add(self, *items: Transition | Decision | Delivery, person: str = "anna") -> None:
        rows = [ledger.entry(item, person) for item in items]
        self.store.write(lambda conn: ledger.append(conn, rows)).result()
        self._news.set()
        self._news = asyncio.Event()

    def teller(self, one: Subscriber) -> Teller:
        return Teller(
            one, self.store, self.people, news=lambda: self._news, closing=self.closing,
            clock=lambda: self.now,
        )  # fmt: skip


@contextlib.asynccontextmanager
async def telling(engine: Engine, *some: Subscriber) -> AsyncIterator[list[Teller]]:
    """Tell subscribers until the end of the block, and end cleanly."""
    tellers = [engine.teller(one) for one in some]
    tasks = [asyncio.create_task(one.run()) for one in tellers]
    try:
        yield tellers
    finally:
        engine.closing.set()
        await asyncio.wait_for(asyncio.gather(*tasks), 10)
        engine.closing.clear()


async def until(what: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not what():  # noqa: ASYNC110 - a store and a receiver set no event
            await asyncio.sleep(0.005)
