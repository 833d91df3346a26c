"""The question: which hand-overs are under way, and what has come back of them.

A window of them, as wide as each channel's ``pace`` has room: whatever has come back is recorded,
and as much begins anew, in one transaction. So a slow receiver holds up its own offers and nobody
else's, and the busier it gets the more offers share a transaction. Decides nothing: what may begin
is ``handing``'s to say, what a reply means ``judging``'s.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple, get_args

from proximity.channels import Reply
from proximity.channels.channel import Outcome
from proximity.content import stamps
from proximity.dispatch import handing, leasing, settling
from proximity.dispatch.judging import combine, judge
from proximity.dispatch.pace import Pace

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sqlalchemy import Connection

    from proximity.channels import Channel
    from proximity.dispatch.handing import Begun
    from proximity.dispatch.judging import Replies
    from proximity.dispatch.weighing import World
    from proximity.model import Delivery, Endpoint, Offer
    from proximity.store import Store

__all__ = ["HAND_OVER_S", "LATEST_S", "Means", "Paces", "Window"]

HAND_OVER_S = 20.0
"""A hand-over that takes longer is given up, to be tried again: receivers have 15 s."""
LATEST_S = leasing.LEASE_S - 2 * HAND_OVER_S
"""Of a lease: a hand-over that has not begun by then does not begin, so that it and its record end
within the lease, before another sender may have the offer."""
_OUTCOMES = frozenset(get_args(Outcome))
LOOK_S = 0.5
"""While all that is under way is slow, look this often whether something else has become due."""


class Paces:
    """The pace of each channel, for as long as this sender lives; as many as there are channels."""

    def __init__(self) -> None:
        self._paces: dict[str, Pace] = {}

    def __getitem__(self, channel: str) -> Pace:
        """Give a channel's pace, a fresh one where nothing was handed to it yet."""
        return self._paces.setdefault(channel, Pace())

    def failing(self) -> list[str]:
        """Name the channels that are left alone but for probes."""
        return sorted(name for name, pace in self._paces.items() if pace.failing)


class Means(NamedTuple):
    """What hand-overs are made with; the clocks and ``agrees`` are as ``Dispatcher`` has them."""

    store: Store
    world: World
    channels: Mapping[str, Channel]
    owner: str
    paces: Paces
    counts: Counter[str]
    clock: Callable[[], float] | None
    elapsed: Callable[[], float]
    agrees: Callable[[Connection], bool]


class _Flight(NamedTuple):
    """One hand-over under way; its task gives None where it was not even tried."""

    begun: Begun
    task: asyncio.Task[Replies | None]


class Window:
    """Hand-overs side by side; ``close`` it when no more are to begin.

    ``news`` is set when something has come back; whoever has new work for it sets it too.
    """

    def __init__(self, means: Means, news: asyncio.Event | None = None) -> None:
        self.news = news or asyncio.Event()
        self._means = means
        self._flights: list[_Flight] = []
        self._sent: list[settling.Sent] = []

    @property
    def empty(self) -> bool:
        """Whether nothing is under way."""
        return not self._flights and not self._sent

    async def turn(self, now: float, limit: int = leasing.MOST_AT_ONCE) -> list[Delivery]:
        """Record what has come back, and begin up to ``limit`` offers due at Unix second ``now``.

        Gives what is recorded now. Raises StoreFailed where nothing can be written; what has come
        back is then recorded with the next turn.
        """
        self.news.clear()
        self._land(now)
        if limit <= 0 and not self._sent:
            return []
        began = self._means.elapsed()
        sent = list(self._sent)
        told, by, begun, dropped = await self._means.store.awrite(
            lambda c: self._write(c, sent, now, limit)
        )
        self._sent.clear()
        self._means.counts.update(told)
        deliveries = [*dropped, *(one.delivery for one in sent)]
        for delivery in deliveries:
            self._means.counts[f"delivery {delivery.outcome}"] += 1
        for one in begun:
            self._begin(one, by, began)
        return deliveries

    async def wait(self) -> None:
        """Wait until something has come back, or is new, or may have become due."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_S):
                await self.news.wait()

    async def close(self, now: Callable[[], float]) -> list[Delivery]:
        """Wait for all that is under way, and record it; begin nothing. Raises StoreFailed."""
        done: list[Delivery] = []
        try:
            while not self.empty:
                if not any(one.task.done() for one in self._flights) and not self._sent:
                    await self.wait()
                done += await self.turn(now(), limit=0)
        finally:
            # Cut short: what was being sent stays leased, for whoever starts next.
            for one in self._flights:
                one.task.cancel()
        return done

    def _write(
        self, connection: Connection, sent: Sequence[settling.Sent], now: float, limit: int
    ) -> tuple[Counter[str], stamps.Stamp | None, list[Begun], list[Delivery]]:
        means = self._means
        # The caller read its clock before this transaction's turn came: quiet hours may have begun.
        at = now if means.clock is None else max(now, means.clock())
        told = Counter[str]()
        if sent:
            told = settling.record(connection, means.world.people, sent, means.store.name)
        if limit <= 0 or not means.agrees(connection):
            return told, None, [], []
        by = stamps.stamp_of(connection, means.world.campaigns().public_url, at)
        begun, dropped = handing.start(
            connection, means.world, means.owner, at,
            limit=limit, room=lambda channel: means.paces[channel].room(at),
        )  # fmt: skip
        return told, by, begun, dropped

    def _begin(self, one: Begun, by: stamps.Stamp | None, began: float) -> None:
        pace = self._means.paces[one.lease.offer.channel]
        pace.begin(int(not one.lease.retry), int(one.lease.retry))
        task = asyncio.create_task(self._hand_over(one, by, began))
        task.add_done_callback(lambda _: self.news.set())
        self._flights.append(_Flight(one, task))

    def _land(self, now: float) -> None:
        """Judge what has come back, in the order in which it began."""
        flying: list[_Flight] = []
        for flight in self._flights:
            if not flight.task.done():
                flying.append(flight)
                continue
            lease, terms, _ = flight.begun
            pace = self._means.paces[lease.offer.channel]
            replies = None if flight.task.cancelled() else flight.task.result()
            if replies is None:
                self._means.counts["fenced"] += 1
                pace.end(None, now)
                continue
            best = combine(replies)
            whose = None if terms.addressed is None else lease.offer.person
            pace.end(best.outcome, now, best.retry_after_s, retry=lease.retry, whose=whose)
            dead = tuple(
                (endpoint, _reason(reply))
                for endpoint, reply in replies
                if endpoint is not None and reply.outcome == "dead_endpoint"
            )
            self._sent.append(settling.Sent(lease, judge(lease, replies, terms, now), dead))
        self._flights = flying

    async def _hand_over(self, one: Begun, by: stamps.Stamp | None, began: float) -> Replies | None:
        """Hand over to every endpoint; None where this sender slept, and another may have it."""
        if self._means.elapsed() - began > LATEST_S:
            return None
        channel = self._means.channels.get(one.lease.offer.channel)
        if channel is None:
            return [(None, Reply(outcome="failed", reply={"error": "no such channel"}))]
        offer = one.lease.offer
        if len(one.endpoints) == 1:
            return [(one.endpoints[0], await self._send(channel, offer, by, one.endpoints[0]))]
        replies = await asyncio.gather(
            *(self._send_in_turn(channel, one, by, endpoint, began) for endpoint in one.endpoints)
        )
        return list(zip(one.endpoints, replies, strict=True))

    async def _send_in_turn(
        self,
        channel: Channel,
        one: Begun,
        by: stamps.Stamp | None,
        endpoint: Endpoint | None,
        began: float,
    ) -> Reply:
        """Hand over to one of several endpoints: by its turn this sender may have slept."""
        if self._means.elapsed() - began > LATEST_S:
            return Reply(outcome="retry", reply={"error": "overslept"})
        return await self._send(channel, one.lease.offer, by, endpoint)

    async def _send(
        self, channel: Channel, offer: Offer, by: stamps.Stamp | None, endpoint: Endpoint | None
    ) -> Reply:
        try:
            async with asyncio.timeout(HAND_OVER_S):
                # Signed here and nowhere kept: what is in the ledger opens and withdraws nothing.
                return _checked(await channel.send(stamps.stamp(offer, by), endpoint))
        except TimeoutError:
            return Reply(outcome="retry", reply={"error": "TimeoutError"}, unsure=True)
        except Exception as error:  # noqa: BLE001  one channel's fault must not stop the others
            self._means.counts["channel fault"] += 1
            return Reply(outcome="retry", reply={"error": type(error).__name__}, unsure=True)


def _checked(reply: Reply) -> Reply:
    """Give a channel's reply; raise where it is none: a channel may be anybody's, and untyped."""
    if not isinstance(reply, Reply):
        raise TypeError("no reply")
    # In the round that judges it, what is none would stop the offers of every other channel.
    if reply.outcome not in _OUTCOMES or not isinstance(reply.reply, dict):
        raise ValueError("no such outcome")
    wait_s = reply.retry_after_s
    if wait_s is not None and not (isinstance(wait_s, int | float) and 0.0 <= wait_s < math.inf):
        raise ValueError("no such wait")
    return reply


def _reason(reply: Reply) -> str:
    """Give the provider's code for a dead endpoint, by whichever name its channel tells it."""
    codes = (reply.reply.get(name) for name in ("reason", "code", "error", "status"))
    return next((str(code) for code in codes if code is not None), "gone")
