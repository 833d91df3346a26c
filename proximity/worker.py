"""A worker: decides and sends beside a server, on its store; as many as it takes, anywhere.

The server takes records and judges them; what follows of a trigger needs the store alone, and most
of it is waiting for other people's servers. A worker goes by the rules that the server goes by, and
stops where they are no longer those it was given: others would make other offers of the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from proximity.campaigns.campaigns import Campaigns
from proximity.campaigns.file import load_campaigns
from proximity.channels import open_channels
from proximity.clock import Clock
from proximity.commands.inforce import InForce
from proximity.dispatch import rules
from proximity.dispatch.dispatch import Dispatcher
from proximity.dispatch.leasing import LEASE_S
from proximity.dispatch.rounds import Shift, decide_always, send_always
from proximity.faults import log_fault
from proximity.model import ProximityError
from proximity.people.people import People
from proximity.site.places import Places
from proximity.store import StoreAway, StoreFailed, journal, open_state

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from sqlalchemy import Connection

    from proximity.channels import Channel
    from proximity.model import Decision, Delivery
    from proximity.store import Store

__all__ = ["WorkerSettings", "run"]

log = structlog.get_logger("proximity.worker")

LOOK_S = 0.25
"""Nobody tells a worker what the server added: an offer may be this much later for it."""
WATCH_S = 1.0
"""People, places and rules that changed count within so long, as at the server."""
MOST_SKEW_S = LEASE_S / 6
"""Leases end by each one's own clock. One that is further off takes from others what they still
have, or leaves lie what they left; machines that ask for the time are off by milliseconds."""
ROUNDS_S = 25.0
"""What is being handed over when it is to stop gets as long as a hand-over may take."""


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """What ``proximity worker`` was told."""

    data: Path
    campaigns: Path | None = None


def run(settings: WorkerSettings) -> int:
    """Work until SIGTERM or SIGINT; the exit status.

    1 where it stopped by itself: the rules are others, a clock is wrong, the database is lost.
    Raises ProximityError where what it was given cannot be used.
    """
    campaigns, channels = Campaigns(), {}
    if settings.campaigns is not None:
        campaigns = load_campaigns(settings.campaigns)
        channels = dict(open_channels(campaigns, settings.campaigns))
    try:
        store = open_state(settings.data)
    except StoreAway as error:
        sys.stderr.write(f"proximity: {error}\n")
        return 1  # another start may find it
    try:
        own = _agreed(store, campaigns, settings)
        problem = _off(store)
        if problem is not None:
            raise ProximityError(problem)
        return asyncio.run(_Worker(store, campaigns, channels, own).run())
    finally:
        store.close()


def _agreed(store: Store, campaigns: Campaigns, settings: WorkerSettings) -> rules.Rules:
    """Give the rules in force. Raises ProximityError where they are not those of the file."""
    found = store.read(rules.in_force)
    if found is None:
        raise ProximityError(
            f"{settings.data}: no server has worked on this state yet, so no rules are in force: "
            "start `proximity serve` first"
        )
    if found.campaigns != campaigns.version:
        given = "no --campaigns" if settings.campaigns is None else str(settings.campaigns)
        raise ProximityError(
            f"{given}: the server goes by another campaigns file: give the same, to the letter, or "
            "restart the server with this one"
        )
    return found


def _off(store: Store) -> str | None:
    """Say by how much this machine's clock and the database's differ, where that is too much."""
    skew = store.skew()
    if abs(skew) <= MOST_SKEW_S:
        return None
    return (
        f"this machine's clock is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} the "
        "database's, and leases go by it: have both machines ask for the time (NTP)"
    )


class _Worker:
    """One run: its parts, and its rounds side by side."""

    def __init__(
        self,
        store: Store,
        campaigns: Campaigns,
        channels: Mapping[str, Channel],
        own: rules.Rules,
    ) -> None:
        self._store, self._channels, self._own = store, channels, own
        self._clock = Clock()
        self._people = People(store, self._clock)
        self._places, self._edits = Places(None, None), -1
        self._closing = asyncio.Event()
        self._added, self._wake = asyncio.Event(), asyncio.Event()
        self._dispatcher = Dispatcher(
            store,
            campaigns=lambda: campaigns,
            people=self._people,
            places=self._places,
            channels=channels,
            owner=f"{socket.gethostname()}/{os.getpid()}/{time.monotonic_ns()}",
            consent=own.consent,
            clock=self._clock,
            agrees=self._agrees,
        )

    async def run(self) -> int:
        """Decide and send until told to stop, or until something is no longer as it was."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        told = self._told
        shift = Shift(self._store, self._clock, self._closing, told, told, look_s=LOOK_S)
        self._refresh()
        tasks = [
            asyncio.create_task(decide_always(shift, self._dispatcher, self._added, self._wake)),
            asyncio.create_task(send_always(shift, self._dispatcher, self._wake)),
        ]
        sys.stdout.write("working\n")
        sys.stdout.flush()
        log.info("working", channels=len(self._channels))
        try:
            problem = await self._watch()
        finally:
            self._stop()
            _done, late = await asyncio.wait(tasks, timeout=ROUNDS_S)
            for task in late:
                task.cancel()  # what it was sending stays leased, for whoever else is there
            await asyncio.gather(*tasks, return_exceptions=True)
            for channel in self._channels.values():
                await channel.close()
        if problem is not None:
            sys.stderr.write(f"proximity: {problem}\n")
        log.info("stopped", did=dict(self._dispatcher.counts))
        return 0 if problem is None else 1

    def _stop(self) -> None:
        for event in (self._closing, self._added, self._wake):
            event.set()

    async def _watch(self) -> str | None:
        """Follow what the server and commands change; say what ends this, None: it was told to."""
        while not self._closing.is_set():
            try:
                found = await asyncio.to_thread(self._look)
                if found is not None:
                    return found
            except StoreFailed as error:
                log.warning("people and places could not be read", reason=str(error))
            except Exception as error:  # noqa: BLE001 - a change later must be noticed still
                log_fault("a round failed", error, round="watching")
            if self._store.failure is not None and self._store.failure.lasting:
                return str(self._store.failure)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(WATCH_S):
                    await self._closing.wait()
        return None

    def _look(self) -> str | None:
        self._refresh()
        if self._store.read(rules.in_force) != self._own:
            return (
                "the server goes by other rules now (its campaigns file, or --consent): start this "
                "worker again with the same"
            )
        return _off(self._store)

    def _refresh(self) -> None:
        """Remember people and places anew where they changed."""
        self._people.reload()

        def changed(connection: Connection) -> tuple[int, InForce | None]:
            edits = journal.edits(connection)
            if edits == self._edits:
                return edits, None
            world = InForce(connection)
            _ = world.index, world.site  # read now, on one view
            return edits, world

        edits, world = self._store.read(changed)
        if world is not None:
            self._places.replace(world.index, world.site)
            self._edits = edits

    def _agrees(self, connection: Connection) -> bool:
        return rules.in_force(connection) == self._own

    def _told(self, _: Sequence[Decision | Delivery]) -> None:
        """Tell nobody: who follows the ledger asks the server."""
