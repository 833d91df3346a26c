"""The question: what has each subscriber taken, and what does whoever does not get next.

One task for each subscriber, in order, from a position that moves after what was taken: at least
once, and again from there after a crash. Nobody waits for anybody else. Only one small page is in
memory, read again before each attempt, so that who was erased is not told of late.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from typing import TYPE_CHECKING

import structlog
from msgspec.structs import replace

from proximity.faults import log_fault
from proximity.model import digest
from proximity.outbound import happenings, positions
from proximity.outbound.positions import PEOPLE, Position
from proximity.outbound.sinks import open_sink
from proximity.privacy.notices import acknowledge
from proximity.store import StoreFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Connection

    from proximity.channels import Reply
    from proximity.outbound.happenings import Happening
    from proximity.outbound.subscribers import Subscriber
    from proximity.people.people import People
    from proximity.store import Store

__all__ = ["Teller", "delay_s"]

ERASURES = "erasures"

log = structlog.get_logger("proximity.outbound")

PAGE = 500
"""Events read at once: a quarter of a megabyte."""
FRESH_S = 1.0
"""What was read longer ago is read again: somebody may have been erased, and positions are written
this often, so that a crash repeats no more than a second's worth."""
LOOK_S = 2.0
"""Another process may have written, and a lag is wanted in the metrics: look this often anyway."""
PAUSE_S = 0.05
"""From news to reading it: of a busy engine's commits many are told together."""
BACKOFF_S, BACKOFF_MOST_S = 1.0, 300.0
"""The first wait after a failure, doubled each time: a receiver that is down for a day sees twelve
attempts an hour, and is caught up with five minutes after it is back."""
REFUSED = frozenset({400, 413, 415, 422})
"""Statuses by which a receiver speaks of the event itself. All others are its own, or the
operator's to mend, and are waited for: a wrong token must not cost a day's events."""
REFUSALS = 5
"""An event that is refused for itself is tried so often, in a minute or so: receivers do say 400
where they mean "not now". Then the next ones go on, and it is counted and named in the log."""


def delay_s(subscriber: str, failures: int, retry_after_s: float | None = None) -> float:
    """Give the seconds to wait after so many failures in a row.

    Spread over its upper half by a hash, so that subscribers of one receiver do not return as one;
    never shorter than the receiver asked for.
    """
    whole = min(BACKOFF_S * 2.0 ** min(failures - 1, 30), BACKOFF_MOST_S)
    spread = int(digest("outbound", subscriber, failures)[:8], 16) / 2.0**32
    return max(whole * (0.5 + spread / 2.0), retry_after_s or 0.0)


class Teller:
    """Tells one subscriber, until ``closing``.

    ``news`` gives an event that is set when there may be something new; ``clock`` Unix seconds.
    ``behind`` and ``oldest_at`` are for whoever watches: how many rows of all feeds are not looked
    at yet, and when the oldest event happened that is not taken.
    """

    def __init__(
        self,
        subscriber: Subscriber,
        store: Store,
        people: People,
        *,
        news: Callable[[], asyncio.Event],
        closing: asyncio.Event,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.subscriber = subscriber
        self.counts: Counter[str] = Counter()
        self.behind = 0
        self.oldest_at: float | None = None
        self.state = "on"
        self._store = store
        self._people = people
        self._news = news
        self._closing = closing
        self._clock = clock
        self._sink = open_sink(subscriber.sink)  # signed by the true time, however fast ours runs
        self._feeds: dict[str, Position] = {}
        self._ends: dict[str, int] = {}
        self._failures = 0
        self._refusals = 0
        self._alone: dict[str, int] = {}
        self._wait_s = 0.0

    async def run(self) -> None:
        """Tell what there is, wait for more, and survive whatever a round meets."""
        try:
            while not self._closing.is_set():
                news = self._news()
                more = False
                try:
                    more = await self._round()
                except StoreFailed as error:
                    log.warning("telling waits for the disk", reason=str(error))
                    self._wait_s = BACKOFF_S
                except Exception as error:  # noqa: BLE001 - others are told by tasks of their own
                    log_fault("telling failed", error, subscriber=self.subscriber.name)
                    self._wait_s = BACKOFF_S
                if not more:
                    await self._rest(news)
        finally:
            await self._sink.close()

    async def _round(self) -> bool:
        """Tell one page of each feed; whether there may be more at once."""
        if not self._feeds or self.state != "on":
            await self._look()
        if self.state != "on":
            return False
        more = False
        if PEOPLE in self._feeds:
            more = await self._tell_erasures()
        for feed in self._feeds:
            if self._wait_s or self.state != "on":
                break
            more = await self._tell(feed) or more
        return more and not self._wait_s

    async def _look(self) -> None:
        """Find out where the subscriber is, and whether they are to be told."""
        at_end = self.subscriber.since == "now"
        name, now = self.subscriber.name, self._clock()
        feeds = happenings.feeds_of(self.subscriber)
        third_party = self.subscriber.third_party
        rows = await self._store.aread(positions.listed)
        known = {row.feed: row for row in rows if row.subscriber == name}
        noted = await self._store.aread(lambda conn: positions.is_third_party(conn, name))

        def begin(connection: Connection) -> dict[str, Position]:
            positions.note_third_party(connection, name, third_party=third_party)
            return {
                feed: positions.start(connection, name, feed, at_end=at_end, now=now)
                for feed in feeds
            }

        if not known.keys() >= set(feeds) or noted is not third_party:
            known = await self._store.awrite(begin)
        self._feeds = {feed: known[feed] for feed in feeds}
        state = next((p.state for p in self._feeds.values() if p.state != "on"), "on")
        if state != self.state:
            self._failures = self._refusals = 0
            self.state = state
            self._told_state()

    def _told_state(self) -> None:
        name = self.subscriber.name
        if self.state == "on":
            log.info("a subscriber is told again", subscriber=name)
        else:
            mend = f"`proximity outbound enable {name}` tells them again"
            log.error("a subscriber is told no more", subscriber=name, state=self.state, mend=mend)

    async def _tell(self, feed: str) -> bool:
        before = self._feeds[feed]
        end = await self._store.aread(lambda conn: positions.end_of(conn, feed))
        self._ends[feed] = max(end or 0, before.position)
        self._measure()
        if end is None or end <= before.position:
            return False
        now = self._clock()
        page = await self._store.aread(
            lambda conn: happenings.read(
                conn, self._people, self.subscriber, feed, before.position, end, PAGE, now
            )
        )
        self.oldest_at = page.happenings[0].at if page.happenings else None
        taken = await self._hand_over(feed, page.happenings)
        whole = taken == len(page.happenings)
        if whole:
            position = page.end
            self.oldest_at = None
        else:
            position = page.happenings[taken - 1].position if taken else before.position
        await self._move(feed, position)
        return not whole or page.end < end

    async def _tell_erasures(self) -> bool:
        """Tell who was erased; each is acknowledged at once, and its name forgotten with that."""
        some = await self._store.aread(
            lambda conn: happenings.erasures(conn, self.subscriber, self._sink.together)
        )
        taken = await self._hand_over(ERASURES, some)
        told, now = [one.erasure or "" for one in some[:taken]], self._clock()
        processor = positions.processor_of(self.subscriber.name)
        if told:

            def note(connection: Connection) -> None:
                for erasure in told:
                    acknowledge(connection, erasure, processor, now=now)

            await self._store.awrite(note)
        return taken > 0

    async def _hand_over(self, feed: str, some: Sequence[Happening]) -> int:
        """Hand events over in order; how many are done with. After a failure it says how long."""
        taken, began = 0, time.monotonic()
        while taken < len(some):
            # One by one where one of several was refused: so the others are not refused with it.
            alone = some[taken].position <= self._alone.get(feed, -1)
            together = 1 if alone else self._sink.together
            chunk = some[taken : taken + together]
            reply = await self._sink.take([one.event for one in chunk])
            if reply.outcome == "accepted":
                self.counts["sent"] += len(chunk)
                self._failures = self._refusals = 0
                await self._well()
            elif not await self._failed(feed, chunk, reply):
                break
            taken += len(chunk)
            if time.monotonic() - began > FRESH_S or self._closing.is_set():
                break
        return taken

    async def _failed(self, feed: str, chunk: Sequence[Happening], reply: Reply) -> bool:
        """Take a failure in; whether the event is done with all the same."""
        name, now = self.subscriber.name, self._clock()
        self._failures += 1
        self.counts["failed"] += 1
        if self._failures == 1:
            log.warning("a subscriber takes nothing", subscriber=name, reply=reply.reply)
        since = min(p.failing_since or now for p in self._feeds.values())
        if reply.outcome == "dead_endpoint":
            await self._end("gone")
            return False
        if now - since >= self.subscriber.give_up_s:
            await self._end("given_up")
            return False
        if reply.reply.get("status") in REFUSED:
            self._alone[feed] = chunk[-1].position
            self._refusals += len(chunk) == 1
            # Erasures are never left out: better nothing more is told than what is no longer so.
            one = chunk[0] if len(chunk) == 1 and chunk[0].erasure is None else None
            if one is not None and self._refusals > REFUSALS:
                self._refusals = self._failures = 0
                self.counts["refused"] += 1
                log.error(
                    "a subscriber refuses an event: left out",
                    subscriber=name, id=one.event.id, reply=reply.reply,
                )  # fmt: skip
                return True
        if self._failures == 1:
            for known in list(self._feeds.values()):
                await self._write(replace(known, failing_since=since))
        self._wait_s = delay_s(name, self._failures, reply.retry_after_s)
        return False

    async def _well(self) -> None:
        failing = [known for known in self._feeds.values() if known.failing_since is not None]
        for known in failing:
            await self._write(replace(known, failing_since=None))
        if failing:  # of all feeds it is one subscriber
            log.info("a subscriber takes events again", subscriber=self.subscriber.name)

    async def _end(self, state: str) -> None:
        """Tell this subscriber no more, until somebody says so."""
        for known in list(self._feeds.values()):
            await self._write(replace(known, state=state))
        self.state = state
        self._told_state()

    async def _move(self, feed: str, position: int) -> None:
        if position != self._feeds[feed].position:
            await self._write(replace(self._feeds[feed], position=position))
        self._measure()

    async def _write(self, position: Position) -> None:
        position = replace(position, moved_at=self._clock())
        await self._store.awrite(lambda conn: positions.save(conn, position))
        self._feeds[position.feed] = position

    def _measure(self) -> None:
        self.behind = sum(
            self._ends.get(feed, known.position) - known.position
            for feed, known in self._feeds.items()
        )

    async def _rest(self, news: asyncio.Event) -> None:
        """Wait for news, or for as long as a failure asks for, whatever the news."""
        until = time.monotonic() + (self._wait_s or LOOK_S)
        failed, self._wait_s = self._wait_s > 0.0, 0.0
        while (left := until - time.monotonic()) > 0 and not self._closing.is_set():
            waits = [asyncio.ensure_future(self._closing.wait())]
            if not failed:
                waits.append(asyncio.ensure_future(news.wait()))
            done, rest = await asyncio.wait(
                waits, timeout=min(left, LOOK_S), return_when=asyncio.FIRST_COMPLETED
            )
            for one in rest:
                one.cancel()
            if done:
                await asyncio.sleep(PAUSE_S)
                return
            if failed:
                with contextlib.suppress(StoreFailed):
                    for feed in self._feeds:
                        end = await self._store.aread(
                            lambda conn, feed=feed: positions.end_of(conn, feed)  # type: ignore[misc]
                        )
                        self._ends[feed] = max(end or 0, self._ends.get(feed, 0))
                    self._measure()
