"""The question: which offers are made of the triggers that wait, and what became of them.

The way out, ``ingest``'s mirror: claim and decide (``deciding``), begin, hand over, record
(``handing``). Decided exactly once, handed over at least once: between a hand-over and its record a
crash repeats it with the same key.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter
from typing import TYPE_CHECKING, Literal

import structlog

from proximity.channels import Reply
from proximity.content import stamps
from proximity.dispatch import deciding, handing, outbox, queue, weighing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sqlalchemy import Connection

    from proximity.campaigns.campaigns import Campaigns
    from proximity.channels import Channel
    from proximity.model import Decision, Delivery, Offer
    from proximity.people.people import People
    from proximity.site.places import Places
    from proximity.store import Store

__all__ = ["AT_ONCE", "Dispatcher"]

log = structlog.get_logger(__name__)

AT_ONCE = 16
"""Offers handed over side by side: enough to hide a receiver's delay, few enough that all of them
end within a lease."""
HAND_OVER_S = 20.0
"""A hand-over that takes longer is given up, to be tried again: receivers have 15 s."""
LATEST_S = outbox.LEASE_S - 2 * HAND_OVER_S
"""Of a lease: a hand-over that has not begun by then does not begin, so that it and its record end
within the lease, before another sender may have the offer."""


class Dispatcher:
    """Decides what waits in the queue and sends what lies in the outbox.

    ``campaigns`` gives the rules in force now; ``owner`` names this start and none before it;
    ``consent`` "assumed" takes consent as kept upstream. ``clock`` (Unix seconds) is asked when the
    disk's turn comes, None: time is as the caller says; ``elapsed`` (seconds of any beginning)
    tells how long ago that was. Several may work on one store: leases share the work out, and
    whoever overstays one is fenced off.
    """

    def __init__(
        self,
        store: Store,
        *,
        campaigns: Callable[[], Campaigns],
        people: People,
        places: Places,
        channels: Mapping[str, Channel],
        owner: str | None = None,
        consent: Literal["required", "assumed"] = "required",
        clock: Callable[[], float] | None = None,
        elapsed: Callable[[], float] = time.monotonic,
    ) -> None:
        self.world = weighing.World(campaigns, people, places, consent == "assumed")
        self.counts: Counter[str] = Counter()
        self._store = store
        self._channels = channels
        self._owner = owner or secrets.token_hex(8)
        self._clock = clock
        self._elapsed = elapsed

    # -- deciding ------------------------------------------------------------------------------

    def decide_due(self, now: float, limit: int = 100) -> list[Decision]:
        """Decide up to ``limit`` triggers that are due at Unix second ``now``, in queue order.

        A moment is never torn apart, so the last one may bring some more. Raises StoreFailed where
        nothing can be written; what was claimed comes back by itself.
        """
        claims = self._store.write(lambda c: queue.claim(c, self._owner, now, limit=limit)).result()
        if not claims:
            return []
        return self._store.write(lambda c: self._decide(c, claims, now)).result()

    async def adecide_due(self, now: float, limit: int = 100) -> list[Decision]:
        """Do the same as ``decide_due`` from an event loop, without stopping it."""
        claims = await self._store.awrite(lambda c: queue.claim(c, self._owner, now, limit=limit))
        if not claims:
            return []
        return await self._store.awrite(lambda c: self._decide(c, claims, now))

    def _decide(
        self, connection: Connection, claims: Sequence[queue.Claim], now: float
    ) -> list[Decision]:
        """Decide claims in one transaction: decision, reservation, outbox row and settlement."""
        decisions = deciding.decide(
            connection, self.world, claims, now, self.counts, self._store.name
        )
        for decision in decisions:
            self.counts[f"decision {decision.reason or decision.decision}"] += 1
        return decisions

    # -- sending -------------------------------------------------------------------------------

    async def send_due(self, now: float, limit: int = AT_ONCE) -> list[Delivery]:
        """Hand over up to ``limit`` offers that are due at Unix second ``now``, side by side.

        Every outcome is one record in the ledger. Raises StoreFailed where nothing can be written.
        """
        began = self._elapsed()
        by, leases, dropped = await self._store.awrite(lambda c: self._start(c, now, limit))
        for delivery in dropped:
            self.counts[f"delivery {delivery.outcome}"] += 1
        done = await asyncio.gather(*(self._send(one, by, now, began) for one in leases))
        return [*dropped, *(delivery for delivery in done if delivery is not None)]

    def next_due(self) -> float | None:
        """Give when there is something to decide or send next (Unix seconds), None if nothing."""
        times = self._store.read(lambda c: (queue.next_due(c), outbox.next_due(c)))
        return min((at for at in times if at is not None), default=None)

    def _start(
        self, connection: Connection, now: float, limit: int
    ) -> tuple[stamps.Stamp | None, list[outbox.Lease], list[Delivery]]:
        # The caller read its clock before this transaction's turn came: quiet hours may have begun.
        at = now if self._clock is None else max(now, self._clock())
        by = stamps.stamp_of(connection, self.world.campaigns().public_url, at)
        return by, *handing.start(connection, self.world, self._owner, at, limit=limit)

    async def _send(
        self, one: outbox.Lease, by: stamps.Stamp | None, now: float, began: float
    ) -> Delivery | None:
        """Hand over and record; None where this sender slept and another may have it by now."""
        if self._elapsed() - began > LATEST_S:
            self.counts["fenced"] += 1
            return None
        delivery = handing.judge(one, await self._hand_over(one.offer, by), now)
        if not await self._store.awrite(lambda c: handing.record(c, one, delivery)):
            self.counts["fenced"] += 1
        self.counts[f"delivery {delivery.outcome}"] += 1
        return delivery

    async def _hand_over(self, offer: Offer, by: stamps.Stamp | None) -> Reply:
        channel = self._channels.get(offer.channel)
        if channel is None:
            return Reply(outcome="failed", reply={"error": "no such channel"})
        try:
            async with asyncio.timeout(HAND_OVER_S):
                # Signed here and nowhere kept: what is in the ledger opens and withdraws nothing.
                return await channel.send(stamps.stamp(offer, by))
        except Exception as error:  # noqa: BLE001  one channel's fault must not stop the others
            self.counts["channel fault"] += 1
            return Reply(outcome="retry", reply={"error": type(error).__name__})
