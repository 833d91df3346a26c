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


# Records that came while the row before them was being written go into one row, up to so many:
# more would make the first wait for the engine to have the last.
MOST_TOGETHER = 1000
# A row is open for as long as the turns of the loop bring more for it. Who was answered with the
# row before is answered in the second turn after it, sends again in the third, and is here in the
# fifth: after so many quiet ones nobody is about to come. With three, senders by dozens fall into
# two groups, and each sync carries half as much.
_QUIET_TURNS = 6
# But no longer than this. Fewer rows are fewer syncs: senders by dozens share one.
_OPEN_S = 0.002


class Pending(msgspec.Struct):
    """A row on its way: its records, and who waits until it is applied.

    ``landed`` is set once it is on the disk, or ``error`` says why it never will be.
    """

    row: Row
    records: list[Record]
    applied: asyncio.Future[None]
    landed: asyncio.Event
    error: StoreFailed | None = None


class Backlog:
    """The rows on their way, the oldest first.

    ``position`` is the last one given to a row; ``forget`` is told of each record whose row failed,
    which then may come again. ``refusing`` is the disk's last refusal while nothing has been
    written since; ``alone`` whether each row is applied by itself. Use from one event loop.
    """

    def __init__(self, store: Store, forget: Callable[[Record], None], position: int = 0) -> None:
        self.position = position
        self.records = 0
        self.refusing: StoreFailed | None = None
        self.alone = False
        self.arrived = asyncio.Event()
        self.idle = asyncio.Event()
        self.idle.set()
        self._store = store
        self._forget = forget
        self._rows: deque[Pending] = deque()
        self._open: Pending | None = None
        self._gathered_at = 0.0
        self._writing = 0
        self._refusals = 0

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def first(self) -> Pending | None:
        """The oldest row, None where there is none."""
        return self._rows[0] if self._rows else None

    def ripe(self) -> list[Pending]:
        """Give the oldest row, and those after it that may be applied with it as one.

        These are rows of records, on the disk. How records are batched changes nothing. One whose
        records could not be read comes alone, so that the fault is its own; once the engine has
        failed on some, ``alone``, each row does.
        """
        if self.alone:
            return [self._rows[0]]
        found: list[Pending] = []
        count = 0
        for pending in self._rows:
            together = bool(pending.records) and pending.landed.is_set() and not pending.error
            if found and not together:
                break
            found.append(pending)
            count += len(pending.records)
            if not together or count >= MOST_TOGETHER:
                break
        return found

    @property
    def committed(self) -> bool:
        """Whether the oldest row is on the disk, so that it can be applied."""
        return bool(self._rows) and self._rows[0].landed.is_set()

    def gather(self, records: Sequence[Record], *, now: float, version: str) -> Pending:
        """Add records to the row that waits for the disk to be free, or begin one.

        So each sync carries all that came during the one before it, as one row.
        """
        open_ = self._open
        if (
            open_ is None
            or open_.row.version != version
            or len(open_.records) + len(records) > MOST_TOGETHER
        ):
            self._flush()
            open_ = self._open = self._next("records", b"", now, version, [])
            if not self._writing:
                self._flush_soon()
        open_.records.extend(records)
        self._gathered_at = now
        self.records += len(records)
        return open_

    def append(
        self,
        kind: journal.Kind,
        payload: bytes,
        *,
        now: float,
        version: str,
        also: Callable[[Connection], None] | None = None,
    ) -> Pending:
        """Make the next row and have it written, together with what ``also`` writes."""
        self._flush()
        pending = self._next(kind, payload, now, version, [])
        self._write(pending, also)
        return pending

    def take(self, row: Row, records: Sequence[Record]) -> None:
        """Add a row that is on the disk already."""
        pending = self._enter(row, list(records))
        pending.landed.set()
        self.records += len(records)

    def _next(
        self, kind: journal.Kind, payload: bytes, now: float, version: str, records: list[Record]
    ) -> Pending:
        self.position += 1
        row = Row(position=self.position, kind=kind, now=now, version=version, payload=payload)
        return self._enter(row, records)

    def _enter(self, row: Row, records: list[Record]) -> Pending:
        applied = asyncio.get_running_loop().create_future()
        pending = Pending(row, records, applied, asyncio.Event())
        self._rows.append(pending)
        self.idle.clear()
        self.arrived.set()
        return pending

    def _flush_soon(self) -> None:
        """Have the row that is being gathered written as soon as nothing more comes for it."""
        loop = asyncio.get_running_loop()
        ends = loop.time() + _OPEN_S
        seen, quiet = -1, 0

        def look() -> None:
            nonlocal seen, quiet
            if self._open is None or self._writing:
                return
            count = len(self._open.records)
            quiet = quiet + 1 if count == seen else 0
            seen = count
            if quiet >= _QUIET_TURNS or loop.time() >= ends:
                self._flush()
            else:
                loop.call_soon(look)

        loop.call_soon(look)

    def _flush(self) -> None:
        """Have the row that is being gathered written."""
        pending, self._open = self._open, None
        if pending is not None:
            payload = journal.encode_records(pending.records)
            now = self._gathered_at
            pending.row = msgspec.structs.replace(pending.row, now=now, payload=payload)
            self._write(pending, None)

    def _write(self, pending: Pending, also: Callable[[Connection], None] | None) -> None:
        row = pending.row

        def work(connection: Connection) -> None:
            journal.append(connection, row)
            if also is not None:
                also(connection)

        self._writing += 1
        writing = asyncio.wrap_future(self._store.write(work))
        writing.add_done_callback(lambda done: self._written(pending, done))

    def _written(self, pending: Pending, done: asyncio.Future[None]) -> None:
        """Tell whoever waits what became of a row, and have the next one written."""
        self._writing -= 1
        error = asyncio.CancelledError() if done.cancelled() else done.exception()
        if error is None:
            self.refusing = None
        else:
            if isinstance(error, StoreFailed):
                self.refusing = error
            else:
                # What was written along refused, not the disk. Nothing is on it, and what failed
                # may come again.
                error = StoreFailed(f"the write failed ({type(error).__name__})")
            self._refusals += 1
            pending.error = error
            for record in pending.records:
                self._forget(record)
        pending.landed.set()
        if not self._writing:
            # After those who waited have answered: the writer's thread would take turns with them,
            # and what they send next is here soon.
            self._flush_soon()

    async def settled(self, own: Pending | None, *, repeats: bool) -> None:
        """Return when the caller's ``own`` row is on disk, and where it repeats others, theirs too.

        Raises StoreFailed where one of them failed.
        """
        waited = own or (self._rows[-1] if repeats and self._rows else None)
        if waited is None:
            return
        refusals = self._refusals
        await waited.landed.wait()
        if waited.error is not None:
            raise waited.error
        if repeats and self._refusals != refusals:
            # What was repeated may have been in a row that failed: then it is new after all.
            raise StoreFailed("a write failed meanwhile; send it again")

    async def on_disk(self, pending: Pending) -> bool:
        """Wait for a row's commit; False where it failed, and then whoever waits is told."""
        await pending.landed.wait()
        if pending.error is None:
            return True
        if not pending.applied.done():
            pending.applied.set_exception(pending.error)
            pending.applied.exception()  # perhaps nobody waits, which is no fault
        return False

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
