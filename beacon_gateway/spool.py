"""The question: which sightings are still to be told, and where are they meanwhile.

A sighting that is told within a second never touches the disk; any other is on disk by then and
told later, oldest first, whatever happens between. It must not know how it is told, or to whom.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import structlog

from beacon_gateway.model import GatewayError
from beacon_gateway.scanner import Clock
from beacon_gateway.spoolfile import DISK, Limits, Record, SpoolError, SpoolFile
from beacon_gateway.thinning import Level

log = structlog.get_logger("beacon_gateway")

#: A power cut costs at most what was heard within this time and not told yet, s. A commit is a
#: page or two of flash; one for each sighting would wear a card out twenty times as fast.
COMMIT_S = 1.0
LOOK_S = 0.25
#: How long a disk that took nothing is left alone, s.
PAUSE_S = 5.0
#: Sightings in memory while the disk takes nothing: some minutes of a full store, a few megabytes.
MOST_FRESH = 10_000
#: Sightings that may go ahead of older ones: what could not be told at once waits its turn.
MOST_UNTRIED = 1000

T = TypeVar("T")


class Spool:
    """What is to be told: ``live`` gives the newest, ``backlog`` the oldest on disk.

    Whatever was given out comes back: ``settle`` what was taken, ``release`` what was not,
    ``give_up`` what never will be.
    """

    def __init__(
        self, file: SpoolFile, thread: ThreadPoolExecutor, gateway: str, boot: str
    ) -> None:
        self._file, self._thread = file, thread
        self._gateway, self._boot = gateway, boot
        self._seq, self._n = 0, file.last_n
        # Not on disk, with the time since when; dicts keep the order of insertion.
        self._fresh: dict[int, tuple[Record, float]] = {}
        self._untried: deque[Record] = deque(maxlen=MOST_UNTRIED)
        self._live: set[int] = set()
        self._lent = 0
        self._settled: set[int] = set()
        # Counted since the last commit, being written, and written.
        self._dropped: Counter[str] = Counter()
        self._dropping: Counter[str] = Counter()
        self._kept_dropped = Counter(file.dropped)
        self._unwritten_since: float | None = None
        self._lock = asyncio.Lock()
        self._closing = asyncio.Event()
        self._pause_until = 0.0
        #: Set when there is something new to tell at once, and something on disk.
        self.news, self.stored = asyncio.Event(), asyncio.Event()
        self.trouble: str | None = None
        if file.rows:
            self.stored.set()
        self._warn_of_broken()
        self._keeper = asyncio.create_task(self._keep(), name="spool")

    @classmethod
    async def open(
        cls, path: Path, limits: Limits, *, gateway: str, boot: str, clock: Clock
    ) -> Spool:
        """Open the file, in a thread of its own; ``clock`` tells how old a sighting is.

        Raises GatewayError where the file cannot be used.
        """
        thread = ThreadPoolExecutor(1, "spool")

        def opened() -> SpoolFile:
            return SpoolFile(path, limits, boot=boot, wall=clock.wall, mono=clock.mono)

        try:
            file = await asyncio.get_running_loop().run_in_executor(thread, opened)
        except BaseException:
            thread.shutdown(wait=False)
            raise
        return cls(file, thread, gateway, boot)

    def append(self, level: Level) -> None:
        """Take one sighting: it is told as soon as can be, and on disk unless that is soon."""
        self._n += 1
        record = Record(
            self._n, self._gateway, self._boot, self._seq, msgspec.json.encode(level.beacon),
            level.at, level.mono_s, level.rssi_dbm,
        )  # fmt: skip
        self._seq += 1
        self._fresh[record.n] = (record, time.monotonic())
        self._untried.append(record)
        self.news.set()
        if len(self._fresh) > MOST_FRESH:
            self._shed()

    def live(self, limit: int) -> list[Record]:
        """Give the newest that nobody was told of yet; older ones wait on disk for their turn."""
        self.news.clear()
        records = list(self._untried)[max(0, len(self._untried) - limit) :]
        if len(self._untried) > limit:
            self.stored.set()
        self._untried.clear()
        self._live.update(record.n for record in records)
        return records

    async def backlog(self, limit: int) -> list[Record]:
        """Give the oldest on disk that are in nobody's hands; none where it cannot be read."""
        async with self._lock:
            self.stored.clear()
            # What becomes free after this moment is left for the next call.
            hands = [*self._live, *(record.n for record in self._untried)]
            before = min(hands, default=self._n + 1)
            try:
                await self._write(fresh=False)
                records = await self._in_thread(lambda: self._file.oldest(limit, before))
            except SpoolError as error:
                self._failed(error)
                return []
            self._lent = records[-1].n if records else 0
            return records

    def settle(self, records: Sequence[Record]) -> None:
        """Forget what was taken."""
        for record in records:
            self._live.discard(record.n)
            if self._fresh.pop(record.n, None) is None:
                self._settled.add(record.n)
        self._unwritten()

    def give_up(self, records: Sequence[Record], reason: str) -> None:
        """Forget what will never be taken, and count it."""
        self.settle(records)
        self.count(reason, len(records))

    def release(self, records: Sequence[Record]) -> None:
        """Take back what could not be told now: its turn comes again, from disk."""
        self._live.difference_update(record.n for record in records)
        if records and records[-1].n <= self._lent:
            self._lent = 0
        self.stored.set()

    def count(self, reason: str, records: int) -> None:
        """Count ``records`` that were dropped for a ``reason``; the count survives a restart."""
        if records:
            self._dropped[reason] += records
            self._unwritten()

    @property
    def dropped(self) -> dict[str, int]:
        """How many sightings were dropped, ever, by reason."""
        return dict(sorted((self._kept_dropped + self._dropping + self._dropped).items()))

    @property
    def waiting(self) -> int:
        """How many sightings are still to be told."""
        return max(0, self._file.rows - len(self._settled)) + len(self._fresh)

    def snapshot(self) -> dict[str, Any]:
        """Tell of the spool: sightings waiting, bytes on disk, and what is wrong with the disk."""
        return {"waiting": self.waiting, "bytes": self._file.bytes, "trouble": self.trouble}

    async def commit(self) -> None:
        """Put on disk what is not told yet, and forget there what was.

        Raises SpoolError where the disk takes nothing; all stays in memory then.
        """
        async with self._lock:
            await self._write(fresh=True)

    async def close(self) -> None:
        """Put everything on disk and let go of the file."""
        self._closing.set()
        await self._keeper
        try:
            await self.commit()
        except SpoolError as error:
            self._failed(error)
            log.warning("sightings are lost with this stop", records=len(self._fresh))
        await self._in_thread(self._file.close)
        self._thread.shutdown()

    # -- group commit -------------------------------------------------------------------------

    async def _keep(self) -> None:
        """Commit what is a second old."""
        while not self._closing.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), LOOK_S)
            now = time.monotonic()
            since = [since for _, since in list(self._fresh.values())[:1]]
            if self._unwritten_since is not None:
                since.append(self._unwritten_since)
            if now < self._pause_until or not since or now - min(since) < COMMIT_S - LOOK_S:
                continue
            try:
                await self.commit()
            except SpoolError as error:
                self._failed(error)

    async def _write(self, *, fresh: bool) -> None:
        """Write a group; the lock is held."""
        writing = [record for record, _ in self._fresh.values()] if fresh else []
        settled, self._settled = self._settled, set()
        self._dropping, self._dropped = self._dropped, Counter()
        since, self._unwritten_since = self._unwritten_since, None
        if not (writing or settled or self._dropping):
            return
        try:
            await self._in_thread(
                lambda: self._file.commit(writing, settled, self._dropping, self._lent)
            )
        except SpoolError:
            self._settled |= settled
            self._dropped += self._dropping
            self._unwritten_since = since
            raise
        finally:
            self._dropping, self._kept_dropped = Counter(), Counter(self._file.dropped)
        if self.trouble is not None:
            log.info("the spool's disk takes sightings again")
            self.trouble = None
        self._warn_of_broken()
        for record in writing:
            # What was taken while it was written is on disk now, and to be forgotten there.
            if self._fresh.pop(record.n, None) is None:
                self._settled.add(record.n)
                self._unwritten()
        if writing:
            self.stored.set()

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _unwritten(self) -> None:
        if self._unwritten_since is None:
            self._unwritten_since = time.monotonic()

    def _failed(self, error: GatewayError) -> None:
        self._pause_until = time.monotonic() + PAUSE_S
        if self.trouble is None:
            log.error("the spool's disk takes nothing; sightings wait in memory", reason=str(error))
        self.trouble = str(error)

    def _warn_of_broken(self) -> None:
        if self._file.replaced:
            log.warning("the spool's file was broken: it is set aside, and a new one begun")
            self._file.replaced = False

    def _shed(self) -> None:
        """Give up the oldest in memory, as neither network nor disk takes it."""
        for n in self._fresh:
            if n not in self._live:
                del self._fresh[n]
                self.count(DISK, 1)
                return
