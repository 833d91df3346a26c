"""How long from a trigger to the receiver, and how many offers a second?

The way out as the server runs it: queue, decisions, outbox and ledger in an SQLite file that syncs
every commit, signed webhooks over loopback to a process of its own. Latency is from the trigger
being on the disk to its webhook having arrived, at 500 offers a second; throughput is of offers
that wait already.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from ipaddress import ip_network
from pathlib import Path
from statistics import quantiles

import msgspec

from benchmarks.timing import Check, Found, Row, Scale
from proximity.campaigns.campaigns import Campaign, Campaigns
from proximity.channels.egress import Egress
from proximity.channels.webhook import Webhook
from proximity.dispatch import outbox, queue
from proximity.dispatch.dispatch import Dispatcher
from proximity.model import Consent, Person, Trigger
from proximity.people.people import People
from proximity.server.pauses import kept_short
from proximity.site.places import Places
from proximity.site.registry import Site
from proximity.store import Store

ROUNDS = 2
RATE = 500  # offers a second
TICK_S = 0.01
PEOPLE = 500
LEAST_A_SECOND = 2_000.0
MOST_P50_MS, MOST_P99_MS = 20.0, 100.0
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
CAMPAIGN = Campaign(
    id="coffee",
    purpose="marketing",
    on="enter",
    places=frozenset({"store-7"}),
    channels=("webhook",),
    max_age_s=600.0,
    ttl_s=600.0,
    link="https://example.test/coffee",
    text={"en": "Coffee at {place}, half price until eleven."},
)


def delivering(scale: Scale) -> Found:
    """Measure both, each round on a fresh store and with a fresh receiver."""
    found = Found()
    rates, middles, tails = [], [], []
    checks = Counter[str]()
    count = int(4_000 * scale.load_s)
    for _ in range(min(ROUNDS, scale.rounds)):
        with _way() as (way, came):
            with kept_short():
                rates.append(asyncio.run(way.drain(count)))
            _compare(checks, way, came())
        with _way() as (way, came):
            with kept_short():
                asyncio.run(way.steady(2.0 * scale.load_s))
            arrived = came()
            _compare(checks, way, arrived)
            waits = [1e3 * (at - way.queued[key]) for key, at in arrived]
            cuts = quantiles(waits, n=100)
            middles.append(cuts[49])
            tails.append(cuts[98])
    found.rows += [
        Row(
            what="webhooks delivered, signed and recorded", against="", unit="offers/s",
            values=rates, least=LEAST_A_SECOND,
        ),
        Row(
            what=f"trigger to receiver at {RATE} offers/s, p50", against="", unit="ms",
            values=middles, least=MOST_P50_MS, fewer=True,
        ),
        Row(
            what=f"trigger to receiver at {RATE} offers/s, p99", against="", unit="ms",
            values=tails, least=MOST_P99_MS, fewer=True,
        ),
    ]  # fmt: skip
    found.checks.append(Check("offers that arrived, each once", checks["all"], checks["wrong"]))
    return found


def _compare(checks: Counter[str], way: Way, came: list[tuple[str, float]]) -> None:
    """Count what was queued, and what of it did not arrive exactly once."""
    arrived = Counter(key for key, _ in came)
    checks["all"] += len(way.queued)
    checks["wrong"] += sum(arrived[key] != 1 for key in way.queued)


@contextlib.contextmanager
def _way() -> Iterator[tuple[Way, Callable[[], list[tuple[str, float]]]]]:
    """Open a store and a receiver; give the way between them, and what tells what came."""
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.closing(Store.open(Path(folder) / "engine.db")) as store,
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.sink"], stdout=subprocess.PIPE, text=True
        ) as process,
    ):
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline())

            def came() -> list[tuple[str, float]]:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as answer:
                    return msgspec.json.decode(answer.read(), type=list[tuple[str, float]])

            yield Way(store, port), came
        finally:
            process.kill()


class Way:
    """A dispatcher over a store in a file, with its channel."""

    def __init__(self, store: Store, port: int) -> None:
        allow = [ip_network("127.0.0.0/8")]
        self.store = store
        self.channel = Webhook(f"http://127.0.0.1:{port}/", [SECRET], Egress(allow))
        rules = Campaigns(campaigns={"coffee": CAMPAIGN})
        people = People(store)
        self.dispatcher = Dispatcher(
            store, campaigns=lambda: rules, people=people,
            places=Places(None, Site(timezone="Europe/Paris")),
            channels={"webhook": self.channel}, clock=time.time,
        )  # fmt: skip
        some = [
            Person(person=f"p{n}", consents=(Consent(purpose="marketing"),), timezone="Etc/UTC")
            for n in range(PEOPLE)
        ]
        store.write(lambda c: people.put_all(c, some)).result()
        self.queued: dict[str, float] = {}

    async def drain(self, count: int) -> float:
        """Deliver what waits already; offers a second."""
        await self._queue([self._trigger(n) for n in range(count)])
        while await self.dispatcher.adecide_due(time.time(), 500):
            pass
        began = time.perf_counter()
        window = self.dispatcher.window()
        while await window.turn(time.time()) or not window.empty:
            await window.wait()
        taken_s = time.perf_counter() - began
        assert self.store.read(outbox.depth) == 0
        await self.channel.close()
        return count / taken_s

    async def steady(self, lasting_s: float) -> None:
        """Deliver what comes at a steady rate."""
        over = asyncio.Event()
        added, decided = asyncio.Event(), asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._decide(over, added, decided))
            tasks.create_task(self._send(over, decided))
            began = time.perf_counter()
            number = 0
            while (passed := time.perf_counter() - began) < lasting_s:
                due = int(passed * RATE)
                if due > number:
                    await self._queue([self._trigger(n) for n in range(number, due)])
                    added.set()
                    number = due
                await asyncio.sleep(TICK_S)
            while self.store.read(queue.depth) or self.store.read(outbox.depth):  # noqa: ASYNC110
                await asyncio.sleep(TICK_S)  # nothing tells of the last one
            over.set()
            added.set()
            decided.set()
        await self.channel.close()

    async def _decide(
        self, over: asyncio.Event, added: asyncio.Event, decided: asyncio.Event
    ) -> None:
        while not over.is_set():
            added.clear()
            if await self.dispatcher.adecide_due(time.time()):
                decided.set()
            else:
                await added.wait()

    async def _send(self, over: asyncio.Event, decided: asyncio.Event) -> None:
        window = self.dispatcher.window(decided)
        while not over.is_set():
            await window.turn(time.time())
            await window.wait()
        await window.close(time.time)

    async def _queue(self, some: list[Trigger]) -> None:
        await self.store.awrite(lambda c: queue.append(c, some))
        now = time.time()
        self.queued.update((one.id, now) for one in some)

    def _trigger(self, number: int) -> Trigger:
        now = time.time()
        return Trigger(
            id=f"t{number}", campaign="coffee", version=1, person=f"p{number % PEOPLE}",
            subject=f"s{number % PEOPLE}", place="store-7", visit=f"v{number}", kind="enter",
            at=now, decided_at=now, evidence_at=now,
        )  # fmt: skip
