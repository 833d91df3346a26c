"""What goes on while the server runs? Rounds of deciding and of sending, and a watch on the rest.

Each loop does one bounded round, waits for its reason to go on, and survives whatever one round
meets: a trigger or an offer stays where it is, on disk, until its round succeeds.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from proximity.dispatch import queue
from proximity.faults import log_fault
from proximity.server import pauses
from proximity.store import StoreFailed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from proximity.dispatch.dispatch import Dispatcher
    from proximity.model import Delivery
    from proximity.server.parts import Parts

log = structlog.get_logger("proximity.server")

# Tokens and people changed by another process count within five seconds; one row is read a turn.
WATCH_S = 1.0
# The machine's clock may be set, and another process may add what is due: look this often anyway.
LONGEST_S = 5.0
# How often cycles of garbage are collected, and how often it is looked whether so much is new that
# it should be sooner: what a flood left in a minute took 0.2 to 0.4 s, with everybody waiting.
COLLECT_S, NEW_S = 60.0, 1.0
# After a failed round; the reason (a full disk, a fault) rarely goes sooner.
AGAIN_S = 1.0


async def decide_always(parts: Parts, dispatcher: Dispatcher, decided: asyncio.Event) -> None:
    """Decide every trigger once it is due; ``decided`` wakes the sender."""
    added = parts.ingest.triggers_added

    async def round_() -> float | None:
        added.clear()
        found = await dispatcher.adecide_due(parts.clock())
        for decision in found:
            parts.metrics.decisions.labels(str(decision.decision), decision.reason or "none").inc()
        if found:
            parts.tail.grew()
            decided.set()
            return parts.clock()
        return await parts.store.aread(queue.next_due)

    await _always(parts, added, round_, "deciding")


async def send_always(parts: Parts, dispatcher: Dispatcher, decided: asyncio.Event) -> None:
    """Send every offer once it is due, and again where a channel asked for it."""
    window = dispatcher.window(decided)

    def tell(sent: Sequence[Delivery]) -> None:
        for delivery in sent:
            parts.metrics.deliveries.labels(delivery.channel, delivery.outcome).inc()
        if sent:
            parts.tail.grew()

    async def round_() -> float | None:
        sent = await window.turn(parts.clock())
        tell(sent)
        if window.empty and not sent:
            return await dispatcher.anext_send()
        if not window.empty:
            await window.wait()
        return parts.clock()

    await _always(parts, decided, round_, "sending")
    tell(await window.close(parts.clock))


async def _always(
    parts: Parts,
    reason: asyncio.Event,
    round_: Callable[[], Awaitable[float | None]],
    name: str,
) -> None:
    """Do rounds until the server closes; each says when the next is due (None: not yet known)."""
    while not parts.closing.is_set():
        try:
            due = await round_()
        except StoreFailed as error:
            log.warning("a round waits for the disk", round=name, reason=str(error))
            due = parts.clock() + AGAIN_S
        except Exception as error:  # noqa: BLE001 - one bad round must not end all others
            log_fault("a round failed", error, round=name)
            due = parts.clock() + AGAIN_S
            await asyncio.sleep(AGAIN_S)
        wait = LONGEST_S if due is None else min(due - parts.clock(), LONGEST_S)
        if wait > 0 and not parts.closing.is_set():
            try:
                async with asyncio.timeout(wait):
                    await reason.wait()
            except TimeoutError:
                pass


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
