"""What goes on for as long as somebody decides and sends: rounds of the one and of the other.

Each loop does one bounded round, waits for its reason to go on, and survives whatever one round
meets: a trigger or an offer stays where it is, in the store, until its round succeeds.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from proximity.dispatch import queue
from proximity.faults import log_fault
from proximity.store import StoreFailed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from proximity.dispatch.dispatch import Dispatcher
    from proximity.model import Decision, Delivery
    from proximity.store import Store

__all__ = ["LONGEST_S", "Shift", "decide_always", "send_always"]

log = structlog.get_logger("proximity.dispatch")

LONGEST_S = 5.0
"""The machine's clock may be set, and another process may add what is due: look this often anyway.
"""
AGAIN_S = 1.0
"""After a failed round; the reason (a full disk, a fault) rarely goes sooner."""


@dataclass(frozen=True)
class Shift:
    """What rounds are done with, by a server or by a worker beside one.

    ``clock`` tells Unix seconds, ``closing`` ends the rounds. ``decided`` and ``sent`` are told
    what each round came to. ``look_s``: who is not told what is new looks this often (None: is
    told).
    """

    store: Store
    clock: Callable[[], float]
    closing: asyncio.Event
    decided: Callable[[Sequence[Decision]], None]
    sent: Callable[[Sequence[Delivery]], None]
    look_s: float | None = None


async def decide_always(
    shift: Shift, dispatcher: Dispatcher, added: asyncio.Event, decided: asyncio.Event
) -> None:
    """Decide every trigger once it is due; ``added`` wakes this, ``decided`` the sender."""

    async def round_() -> float | None:
        added.clear()
        found = await dispatcher.adecide_due(shift.clock())
        shift.decided(found)
        if found:
            decided.set()
            return shift.clock()
        return await shift.store.aread(queue.next_due)

    await _always(shift, added, round_, "deciding")


async def send_always(shift: Shift, dispatcher: Dispatcher, decided: asyncio.Event) -> None:
    """Send every offer once it is due, and again where a channel asked for it."""
    window = dispatcher.window(decided)

    async def round_() -> float | None:
        sent = await window.turn(shift.clock())
        shift.sent(sent)
        if window.empty and not sent:
            return await dispatcher.anext_send()
        if not window.empty:
            await window.wait()
        return shift.clock()

    await _always(shift, decided, round_, "sending")
    shift.sent(await window.close(shift.clock))


async def _always(
    shift: Shift,
    reason: asyncio.Event,
    round_: Callable[[], Awaitable[float | None]],
    name: str,
) -> None:
    """Do rounds until the end; each says when the next is due (None: not yet known)."""
    while not shift.closing.is_set():
        try:
            due = await round_()
        except StoreFailed as error:
            log.warning("a round waits for the disk", round=name, reason=str(error))
            due = shift.clock() + AGAIN_S
        except Exception as error:  # noqa: BLE001 - one bad round must not end all others
            log_fault("a round failed", error, round=name)
            due = shift.clock() + AGAIN_S
            await asyncio.sleep(AGAIN_S)
        longest = LONGEST_S if shift.look_s is None else shift.look_s
        wait = longest if due is None else min(due - shift.clock(), longest)
        if wait > 0 and not shift.closing.is_set():
            try:
                async with asyncio.timeout(wait):
                    await reason.wait()
            except TimeoutError:
                pass
