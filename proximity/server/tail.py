"""When did the ledger grow, and by what? Wakes the live streams, and bounds how many there are.

The newest rows stay in memory while anyone listens, one copy for all streams: whoever keeps up is
served from there. Whoever does not reads the ledger, so that a slow one costs nothing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import contextmanager
from itertools import dropwhile
from typing import TYPE_CHECKING

from proximity.server.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from proximity.store import LedgerRow

# Each open stream holds a connection, and encodes all that is new.
MOST_STREAMS = 64
# Some tenths of a second of a busy engine, in about half a megabyte: who is further behind than
# that waits on the network, not on the disk.
MOST_KEPT = 1000


class Tail:
    """The end of the ledger, as streams wait at it.

    ``unread`` counts the times it grew by rows that were not told here.
    """

    def __init__(self) -> None:
        self.readers = 0
        self.unread = 0
        self._news = asyncio.Event()
        self._rows: deque[LedgerRow] = deque()
        self._start: int | None = None  # the rows after it are here, without a hole

    @property
    def end(self) -> int:
        """The newest row that was told here; all up to it are in the ledger."""
        return self._rows[-1].seq if self._rows else self._start or 0

    def grew(self, rows: Sequence[LedgerRow] = ()) -> None:
        """Wake everyone who waits (call it on the event loop, after the commit).

        ``rows`` are what it grew by, in order, where that is at hand.
        """
        if not rows:
            self.unread += 1
        for row in rows:
            if self._start is None or row.seq != self.end + 1:
                # What lies between came from elsewhere: who is not beyond it asks the ledger.
                self._rows.clear()
                self._start = row.seq - 1
            self._rows.append(row)
            while len(self._rows) > (MOST_KEPT if self.readers else 0):
                self._start = self._rows.popleft().seq
        self._news.set()
        self._news = asyncio.Event()

    def after(self, cursor: int) -> list[LedgerRow] | None:
        """Give the rows after a cursor that were told here; None where the ledger has others."""
        if self._start is None or cursor < self._start:
            return None
        return list(dropwhile(lambda row: row.seq <= cursor, self._rows))

    def next(self) -> asyncio.Event:
        """Give the event of the next growth; take it before reading, or news can be missed."""
        return self._news

    @contextmanager
    def reader(self) -> Iterator[None]:
        """Count one stream in. Raises Problem 503 where there are too many."""
        if self.readers >= MOST_STREAMS:
            raise Problem(
                503,
                f"{MOST_STREAMS} streams are open, which is all there may be: close one.",
                headers={"Retry-After": "10"},
            )
        self.readers += 1
        try:
            yield
        finally:
            self.readers -= 1
