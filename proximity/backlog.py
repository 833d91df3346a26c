"""Which rows are on their way: made, not yet on disk; on disk, not yet applied?

Keeps them in order from the moment they are made until the engine has had them, and what is known
of the disk's refusals. Knows nothing of what the rows hold.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from proximity.model import Record
from proximity.store import StoreFailed, journal
from proximity.store.journal import Row

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

    from proximity.store import Store


class Pending(msgspec.Struct):
    """A row on its way: its records, its commit, and who waits until it is applied."""

    row: Row
    records: Sequence[Record]
    committed: asyncio.Future[None]
    applied: asyncio.Future[None]


class Backlog:
    """The rows on their way, the oldest first.

    ``position`` is the last one given to a row; ``forget`` is told of each record whose row failed,
    which then may come again. ``refusing`` is the disk's last refusal while nothing has been
    written since. Use from one event loop.
    """

    def __init__(self, store: Store, forget: Callable[[Record], None], position: int = 0) -> None:
        self.position = position
        self.records = 0
        self.refusing: StoreFailed | None = None
        self.arrived = asyncio.Event()
        self.idle = asyncio.Event()
        self.idle.set()
        self._store = store
        self._forget = forget
        self._rows: deque[Pending] = deque()
        self._refusals = 0

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def first(self) -> Pending | None:
        """The oldest row, None where there is none."""
        return self._rows[0] if self._rows else None

    def append(
        self,
        kind: journal.Kind,
        payload: bytes,
        *,
        now: float,
        version: str,
        records: Sequence[Record] = (),
        also: Callable[[Connection], None] | None = None,
    ) -> Pending:
        """Make the next row and have it written, together with what ``also`` writes."""
        self.position += 1
        row = Row(position=self.position, kind=kind, now=now, version=version, payload=payload)

        def work(connection: Connection) -> None:
            journal.append(connection, row)
            if also is not None:
                also(connection)

        return self.take(row, records, asyncio.create_task(self._commit(work, records)))

    def take(
        self, row: Row, records: Sequence[Record], committed: asyncio.Future[None] | None = None
    ) -> Pending:
        """Add a row that is being written, or (without ``committed``) that is on disk already."""
        loop = asyncio.get_running_loop()
        if committed is None:
            committed = loop.create_future()
            committed.set_result(None)
        pending = Pending(row, records, committed, loop.create_future())
        self._rows.append(pending)
        self.records += len(records)
        self.idle.clear()
        self.arrived.set()
        return pending

    async def settled(self, own: Pending | None, *, repeats: bool) -> None:
        """Return when the caller's ``own`` row is on disk, and where it repeats others, theirs too.

        Raises StoreFailed where one of them failed.
        """
        waited = own or (self._rows[-1] if repeats and self._rows else None)
        if waited is None:
            return
        refusals = self._refusals
        # Whoever waits may go away; the row stays.
        await asyncio.shield(waited.committed)
        if repeats and self._refusals != refusals:
            # What was repeated may have been in a row that failed: then it is new after all.
            raise StoreFailed("a write failed meanwhile; send it again")

    async def on_disk(self, pending: Pending) -> bool:
        """Wait for a row's commit; False where it failed, and then whoever waits is told."""
        try:
            await pending.committed
        except StoreFailed as error:
            if not pending.applied.done():
                pending.applied.set_exception(error)
                pending.applied.exception()  # perhaps nobody waits, which is no fault
            return False
        return True

    def applied(self, pending: Pending) -> None:
        """Let go of the oldest row; whoever waits for its application goes on."""
        if not pending.applied.done():
            pending.applied.set_result(None)
        self._rows.popleft()
        self.records -= len(pending.records)

    def rest(self) -> None:
        """Say that everything which came of the rows so far is written."""
        if not self._rows:
            self.arrived.clear()
            self.idle.set()

    async def _commit(self, work: Callable[[Connection], None], records: Sequence[Record]) -> None:
        try:
            await self._store.awrite(work)
        except StoreFailed as error:
            self._refusals += 1
            self.refusing = error
            for record in records:
                self._forget(record)
            raise
        self.refusing = None
