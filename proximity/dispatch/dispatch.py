"""The question: which offers are made of the triggers that wait, and what became of them.

The way out, ``ingest``'s mirror: claim and decide (``deciding``), then begin, hand over and record
(``sending``). Decided exactly once; handed over at least once or at most once, as the channel's
terms have it: between a hand-over and its record a crash repeats it with the same key, or ends it.
"""

from __future__ import annotations

import secrets
import time
from collections import Counter
from typing import TYPE_CHECKING, Literal

import structlog

from proximity.dispatch import deciding, leasing, queue, weighing
from proximity.dispatch.pace import AT_ONCE
from proximity.dispatch.sending import Means, Paces, Window

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from sqlalchemy import Connection

    from proximity.campaigns.campaigns import Campaigns
    from proximity.channels import Channel
    from proximity.model import Decision, Delivery
    from proximity.people.people import People
    from proximity.site.places import Places
    from proximity.store import Store

__all__ = ["Dispatcher"]

log = structlog.get_logger(__name__)


class Dispatcher:
    """Decides what waits in the queue and sends what lies in the outbox.

    ``campaigns`` gives the rules in force now; ``owner`` names this start and none before it;
    ``consent`` "assumed" takes consent as kept upstream. ``clock`` (Unix seconds) is asked when the
    disk's turn comes, None: time is as the caller says; ``elapsed`` (seconds of any beginning)
    tells how long ago that was. Several may work on one store: leases share the work out, and
    whoever overstays one is fenced off. ``agrees`` is asked in each transaction whether its rules
    are still those in force; where they are not, nothing is decided and nothing begun.
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
        agrees: Callable[[Connection], bool] = lambda _: True,
    ) -> None:
        self.world = weighing.World(campaigns, people, places, consent == "assumed")
        self.counts: Counter[str] = Counter()
        self._store = store
        self._channels = channels
        self._owner = owner or secrets.token_hex(8)
        self._clock = clock
        self._elapsed = elapsed
        self._agrees = agrees
        self._paces = Paces()

    # -- deciding ------------------------------------------------------------------------------

    def decide_due(self, now: float, limit: int = 100) -> list[Decision]:
        """Decide up to ``limit`` triggers that are due at Unix second ``now``, in queue order.

        A moment is never torn apart, so the last one may bring some more. Raises StoreFailed where
        nothing can be written; what was claimed comes back by itself.
        """
        claims = self._store.write(lambda c: self._claim(c, now, limit)).result()
        if not claims:
            return []
        return self._store.write(lambda c: self._decide(c, claims, now)).result()

    async def adecide_due(self, now: float, limit: int = 100) -> list[Decision]:
        """Do the same as ``decide_due`` from an event loop, without stopping it."""
        claims = await self._store.awrite(lambda c: self._claim(c, now, limit))
        if not claims:
            return []
        return await self._store.awrite(lambda c: self._decide(c, claims, now))

    def _claim(self, connection: Connection, now: float, limit: int) -> list[queue.Claim]:
        if not self._agrees(connection):
            return []
        return queue.claim(connection, self._owner, now, limit=limit)

    def _decide(
        self, connection: Connection, claims: Sequence[queue.Claim], now: float
    ) -> list[Decision]:
        """Decide claims in one transaction: decision, reservation, outbox row and settlement."""
        if not self._agrees(connection):
            return []  # as of just now: the claims come back by themselves
        decisions = deciding.decide(
            connection, self.world, claims, now, self.counts, self._store.name
        )
        for decision in decisions:
            self.counts[f"decision {decision.reason or decision.decision}"] += 1
        return decisions

    # -- sending -------------------------------------------------------------------------------

    async def send_due(self, now: float, limit: int = AT_ONCE) -> list[Delivery]:
        """Hand over up to ``limit`` offers that are due at Unix second ``now``, and wait for them.

        Every outcome is one record in the ledger. Raises StoreFailed where nothing can be written.
        """
        window = self.window()
        done = await window.turn(now, limit)
        return done + await window.close(lambda: now)

    def window(self, news: asyncio.Event | None = None) -> Window:
        """Open a window of hand-overs, for whoever sends without end; ``news`` as it has it."""
        return Window(
            Means(
                self._store, self.world, self._channels, self._owner, self._paces, self.counts,
                self._clock, self._elapsed, self._agrees,
            ),
            news,
        )  # fmt: skip

    def next_due(self) -> float | None:
        """Give when there is something to decide or send next (Unix seconds), None if nothing."""
        return self._store.read(lambda c: _earliest((queue.next_due(c), self._next_send(c))))

    async def anext_send(self) -> float | None:
        """Give when there is something to send next (Unix seconds), None if nothing."""
        return await self._store.aread(self._next_send)

    def failing(self) -> list[str]:
        """Name the channels that are left alone but for probes, because they fail."""
        return self._paces.failing()

    def _next_send(self, connection: Connection) -> float | None:
        """Tell when something is due that its channel then has room for."""
        return _earliest(
            self._paces[one.channel].free_at(one.at, retry=one.retry)
            for one in leasing.waiting(connection)
        )


def _earliest(times: Iterable[float | None]) -> float | None:
    return min((at for at in times if at is not None), default=None)
