"""What is kept for the next start, and what may go then? Snapshots, and the rows they cover.

A snapshot is taken and written in pieces, so that records and events pass between them. Knows
fold, store and nothing of what comes in.
"""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import TYPE_CHECKING

from proximity.store import StoreFailed, clocks, journal

if TYPE_CHECKING:
    from sqlalchemy import Connection

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
                await self._store.awrite(partial(clocks.save, runs=runs))

    def begin(self, fold: Fold, now: float) -> asyncio.Task[None]:
        """Save the state as it is now, while the fold goes on; the task raises StoreFailed.

        All outputs of the fold's rows must be written by now.
        """
        taking = fold.engine.begin_snapshot()
        self._saving, self.records = True, 0
        empty = journal.Snapshot(fold.position, fold.now, b"")
        task = asyncio.create_task(self._save(taking, empty, now), name="ingest-save")

        def ended(_task: asyncio.Task[None]) -> None:
            # Here, because a task that is cancelled before its first step runs no `finally`.
            fold.engine.end_snapshot()
            self._saving = False

        task.add_done_callback(ended)
        return task

    async def _save(self, taking: Taking, empty: journal.Snapshot, now: float) -> None:
        elapsed = asyncio.get_running_loop().time
        took_s, more = 0.0, True
        while more:
            began = elapsed()
            more = taking.step()
            took_s += elapsed() - began
            await asyncio.sleep(0)
        state = await asyncio.to_thread(taking.whole)
        write = self._store.awrite
        for gone in await self._store.aread(partial(journal.loose_pieces, position=empty.position)):
            await write(partial(journal.drop_piece, piece=gone))
        end = max(0, len(state) - 1) // PIECE * PIECE
        for start in range(0, end, PIECE):
            piece = state[start : start + PIECE]
            await write(partial(journal.save_piece, position=empty.position, piece=piece))
        last = journal.Snapshot(empty.position, empty.now, state[end:])

        def work(connection: Connection) -> None:
            journal.save_snapshot(connection, last)
            journal.set_evaluated(connection, max(journal.evaluated(connection), last.position))

        await write(work)
        self.newest, self._took_s, self._size = (last.position, now), took_s, len(state)
        for gone in await self._store.aread(journal.loose_pieces):
            await write(partial(journal.drop_piece, piece=gone))
