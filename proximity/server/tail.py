"""When did the ledger grow? Wakes the live streams, and bounds how many there are.

Holds no rows: each stream reads the ledger from where it stands, so a slow one costs nothing.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING

from proximity.server.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

# Each open stream holds a connection and reads the ledger once for each burst of news.
MOST_STREAMS = 64


class Tail:
    """The end of the ledger, as streams wait at it."""

    def __init__(self) -> None:
        self._news = asyncio.Event()
        self.readers = 0

    def grew(self) -> None:
        """Wake everyone who waits (call it on the event loop, after the commit)."""
        self._news.set()
        self._news = asyncio.Event()

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
