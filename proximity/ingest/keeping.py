"""What is kept for the next start, and what may go then? Snapshots, and the rows they cover.

A snapshot is taken and written in pieces, so that records and events pass between them. Knows
fold, store and nothing of what comes in.
"""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import TYPE_CHECKING

from proximity.ingest import gatewayclocks
from proximity.store import StoreFailed, journal

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

    from proximity.engine.engine import Engine
    from proximity.engine.snapshots import Taking
    from proximity.ingest.fold import Fold
    from proximity.ingest.redating import Redating
    from proximity.store import Store

# A snapshot this often bounds what a start has to fold; sooner where very much came. A record is
# folded in some 10 µs where thousands are together and in 70 where each is a row with a tick after
# it, so that this many are at most 0.28 s of the two that a start may take. What they
# cost is a second in 50 where subjects are many, whatever stands here (SNAPSHOT_SHARE), and some
# milliseconds in eight seconds at 500 records a second where they are few.
SNAPSHOT_S = 60.0
SNAPSHOT_RECORDS = 4_000
# But where subjects are many they get no more than this share of the time: it is the engine's.
SNAPSHOT_SHARE = 0.02
# Nor are more bytes a second written for them: 63 TB a year, where drives are made for hundreds.
# An hour of ten thousand phones at 500 records a second is 60 MB, then written twice a minute.
SNAPSHOT_BYTES_S = 2_000_000.0
# One write of a large snapshot: some two milliseconds, for which the commits of records wait.
PIECE = 2**18
# After each step and write as many times as long is left to records and events, which take turns of
# the loop and of the disk themselves: without, a second in twenty had each of them wait for 20 to
# 100 ms (540 records a second, 40 MB). Not longer than RESTED_S: where the disk is busy a write
# takes long because others do, and a state of 40 MB is 500 of them.
RESTS = 4.0
RESTED_S = 0.01

# What is known of gateways' clocks changes rarely, and is worth no more writing than this.
CLOCKS_S = 5.0


class Keeping:
    """Saves snapshots of a fold, and deletes the rows that are needed no more.

    ``newest`` is position and time (Unix seconds) of the newest snapshot, ``records`` how many the
    fold has had since, ``late_s`` how long the rows stay that it covers. One that covers position
    ``wanted`` is taken as soon as can be.
    """

    def __init__(
        self, store: Store, late_s: float, newest: tuple[int, float] = (0, 0.0), records: int = 0
    ) -> None:
        self.newest, self.records = newest, records
        self.wanted = 0
        self._store = store
        self._late_s = late_s
        self._took_s = 0.0
        self._size = 0
        self._pruned_at = 0.0
        self._saving = False
        self._clocks_at = 0.0

    def snapshot_due(self, position: int, now: float) -> bool:
        """Whether it is time for a snapshot of a fold that stands at ``position``."""
        if self._saving or position == self.newest[0]:
            return False
        if self.newest[0] < self.wanted:
            return True
        wait_s = max(self._took_s / SNAPSHOT_SHARE, self._size / SNAPSHOT_BYTES_S)
        if now < self.newest[1] + wait_s:
            return False
        return self.records >= SNAPSHOT_RECORDS or now >= self.newest[1] + SNAPSHOT_S

    def prune_due(self, now: float) -> bool:
        """Whether it is time to look for rows that are needed no more."""
        return now >= self._pruned_at + SNAPSHOT_S

    async def prune(self, now: float) -> None:
        """Delete the rows from before what may still be late. Raises StoreFailed."""
        self._pruned_at = now
        await self._store.awrite(partial(journal.prune, before=now - self._late_s), freeing=True)

    async def learnt(self, redating: Redating, now: float) -> None:
        """Write what was learnt of gateways' clocks; what is not written is learnt again."""
        if now < self._clocks_at + CLOCKS_S:
            return
        self._clocks_at = now
        runs = redating.changed()
        if runs:
            with contextlib.suppress(StoreFailed):
                await self._store.awrite(partial(gatewayclocks.save, runs=runs))

    def begin(self, fold: Fold, now: float, *, rests: float = RESTS) -> asyncio.Task[None]:
        """Save the state as it is now, while the fold goes on; the task raises StoreFailed.

        All outputs of the fold's rows must be written by now. ``rests``: 0 where nobody else
        waits and it should be done soon.
        """
        engine = fold.engine
        taking = engine.begin_snapshot()
        self._saving, self.records = True, 0
        saved = self._save(engine, taking, (fold.position, fold.now), now, rests)
        task = asyncio.create_task(saved, name="ingest-save")

        def ended(_task: asyncio.Task[None]) -> None:
            # Here, because a task that is cancelled before its first step runs no `finally`.
            engine.end_snapshot()
            self._saving = False

        task.add_done_callback(ended)
        return task

    async def _save(
        self, engine: Engine, taking: Taking, stood: tuple[int, float], now: float, rests: float
    ) -> None:
        position, then = stood
        elapsed = asyncio.get_running_loop().time
        took_s, more = 0.0, True
        while more:
            began = elapsed()
            more = taking.step()
            took_s += elapsed() - began
            await _rest(began, rests)
        engine.end_snapshot()

        async def write(work: Callable[[Connection], None]) -> None:
            began = elapsed()
            await self._store.awrite(work)
            await _rest(began, rests)

        # Of one that was not finished.
        for gone in await self._store.aread(partial(journal.loose_pieces, position=position)):
            await write(partial(journal.drop_piece, piece=gone))
        last, size = b"", 0
        for piece in taking.pieces(PIECE):
            if last:
                await write(partial(journal.save_piece, position=position, piece=last))
            last, size = piece, size + len(piece)

        def work(connection: Connection) -> None:
            journal.save_snapshot(connection, journal.Snapshot(position, then, last))
            evaluated = max(journal.evaluated(connection), position)
            journal.set_evaluated(connection, evaluated)

        await self._store.awrite(work)
        self.newest, self._took_s, self._size = (position, now), took_s, size
        for gone in await self._store.aread(journal.loose_pieces):
            await write(partial(journal.drop_piece, piece=gone))


async def _rest(began: float, rests: float) -> None:
    """Leave the loop and the disk to others for so many times as long as something took."""
    took_s = asyncio.get_running_loop().time() - began
    await asyncio.sleep(min(rests * took_s, RESTED_S))
