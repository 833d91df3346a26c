"""A second dispatcher at work on a server's store, for the tests that kill and pause one.

``python -m tests.edges.dispatching STORE SINK NAME SPEED[@EPOCH] CAMPAIGNS``: decides and sends
what is due, for ever. What it hands over is a line of SINK: the key of the offer, and NAME. Its
time runs SPEED times as fast since EPOCH, so that a lease of a minute is soon over.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from proximity.campaigns.file import load_campaigns
from proximity.channels import Reply
from proximity.commands.inforce import InForce
from proximity.dispatch.dispatch import Dispatcher
from proximity.people.people import People
from proximity.store import Store, StoreFailed

if TYPE_CHECKING:
    from proximity.model import Endpoint, Offer


class Sink:
    """A channel into a file: one line for each hand-over, whole or not at all."""

    name = "console"
    to_endpoints = False

    def __init__(self, path: Path, name: str, takes_s: float) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._name, self._takes_s = name, takes_s

    async def send(self, offer: Offer, _endpoint: Endpoint | None = None) -> Reply:
        await asyncio.sleep(self._takes_s)
        os.write(self._file, f"{offer.key} {self._name}\n".encode())
        return Reply(outcome="accepted", reply={})

    async def close(self) -> None:
        os.close(self._file)


async def work(store: Store, sink: Path, name: str, pace: str, rules: Path) -> None:
    speed, _, epoch = pace.partition("@")
    began, mono = float(epoch or time.time()), time.monotonic()

    def clock() -> float:
        return began + (time.time() - began) * float(speed)

    def elapsed() -> float:
        return (time.monotonic() - mono) * float(speed)

    campaigns = load_campaigns(rules)
    dispatcher = Dispatcher(
        store,
        campaigns=lambda: campaigns,
        people=People(store, clock),
        places=store.read(lambda conn: InForce(conn).places),
        channels={"console": Sink(sink, name, 0.05)},
        owner=f"{name}/{os.getpid()}/{time.monotonic_ns()}",
        consent="assumed",
        clock=clock,
        elapsed=elapsed,
    )
    sys.stdout.write("working\n")
    sys.stdout.flush()
    while True:
        try:
            busy = bool(await dispatcher.adecide_due(clock()))
            busy = bool(await dispatcher.send_due(clock())) or busy
        except StoreFailed as error:
            if store.failure is not None:
                sys.exit(str(error))
            busy = False
        if not busy:
            await asyncio.sleep(0.02)


if __name__ == "__main__":
    target, into, called, how_fast, given = sys.argv[1:]
    asyncio.run(work(Store.open(target), Path(into), called, how_fast, Path(given)))
