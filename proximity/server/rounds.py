"""What goes on while the server runs, beside deciding and sending? A watch, and clearing up.

Each loop does one bounded round and survives whatever it meets.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from proximity.dispatch.rounds import Shift
from proximity.faults import log_fault
from proximity.server import pauses
from proximity.store import StoreFailed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proximity.model import Decision, Delivery
    from proximity.server.parts import Parts

log = structlog.get_logger("proximity.server")

# Tokens and people changed by another process count within five seconds; one row is read a turn.
WATCH_S = 1.0
# How often cycles of garbage are collected, and how often it is looked whether so much is new that
# it should be sooner: what a flood left in a minute took 0.2 to 0.4 s, with everybody waiting.
COLLECT_S, NEW_S = 60.0, 1.0


def shift_of(parts: Parts) -> Shift:
    """Say what a server's rounds of deciding and of sending are done with."""

    def decided(found: Sequence[Decision]) -> None:
        for decision in found:
            parts.metrics.decisions.labels(str(decision.decision), decision.reason or "none").inc()
        if found:
            parts.tail.grew()

    def sent(done: Sequence[Delivery]) -> None:
        for delivery in done:
            parts.metrics.deliveries.labels(delivery.channel, delivery.outcome).inc()
        if done:
            parts.tail.grew()

    return Shift(parts.store, parts.clock, parts.closing, decided, sent)


async def collect_always(parts: Parts) -> None:
    """Collect cycles of garbage: all where nothing came in for a minute, else new ones.

    New ones sooner where much came, so that what is looked through at once stays little.
    """
    elapsed = asyncio.get_running_loop().time
    position, due = -1, elapsed() + COLLECT_S
    while not parts.closing.is_set():
        try:
            async with asyncio.timeout(NEW_S):
                await parts.closing.wait()
        except TimeoutError:
            if elapsed() >= due:
                before, position = position, parts.ingest.position
                pauses.collect(whole=position == before)
                due = elapsed() + COLLECT_S
            elif pauses.much_is_new():
                pauses.collect(whole=False)


async def watch_always(parts: Parts, stop: asyncio.Event) -> None:
    """Follow what other processes change; stop the server where its disk or its engine is lost."""
    while not parts.closing.is_set():
        try:
            await parts.tokens.arefresh()
            await parts.signatures.arefresh()
            parts.people.reload()
        except StoreFailed as error:
            log.warning("tokens and people could not be read", reason=str(error))
        except Exception as error:  # noqa: BLE001 - a token revoked later must be noticed still
            log_fault("a round failed", error, round="watching")
        if parts.store.failure is not None and parts.store.failure.lasting:
            log.error("the disk failed: stopping, start again once it is well")
            stop.set()
            return
        if parts.ingest.fault is not None:
            log.error("the engine stopped by a fault of the program: stopping, start again")
            stop.set()
            return
        try:
            async with asyncio.timeout(WATCH_S):
                await parts.closing.wait()
        except TimeoutError:
            pass
