"""The question: what is on the disk when the power goes?

One database in memory stands for the disk that all processes share; each has a ``Disk`` of its own
over it. What a process writes waits, is committed together with what came meanwhile, and is told
of a step later: whoever dies before the commit has written nothing, whoever dies after it has,
and was not told. It must not know what is written.
"""

from __future__ import annotations

import atexit
import functools
import sqlite3
from typing import TYPE_CHECKING, Any, TypeVar

from proximity.store import Store
from proximity.store.store import _Work

if TYPE_CHECKING:
    import random
    from collections.abc import Callable
    from concurrent.futures import Future

    from sqlalchemy import Connection

    from tests.simulation.loop import Loop

T = TypeVar("T")


@functools.cache
def _shared() -> tuple[Store, Any]:
    """Open the one database of this process, and keep it as it is when new."""
    store = Store.open(":memory:")
    new = sqlite3.connect(":memory:")
    raw = store._engine.raw_connection()
    raw.driver_connection.backup(new)  # type: ignore[union-attr]
    raw.close()
    atexit.register(new.close)
    atexit.register(store.close)
    return store, new


def empty_store() -> Store:
    """Give the database as new; who had it before has it no more.

    Making its tables, and SQLAlchemy's putting every statement into words again, would take a tenth
    of a seed's time.
    """
    store, new = _shared()
    raw = store._engine.raw_connection()
    raw.driver_connection.rollback()  # type: ignore[union-attr]
    raw.cursor().execute(f"PRAGMA max_page_count = {_ROOMY}")
    new.backup(raw.driver_connection)
    raw.close()
    return store


SYNC_S = (0.0003, 0.004)
"""How long a sync takes, s: a good disk's."""
SLOW_S = (0.5, 3.0)
"""And how long a card takes that is tidying up."""
SLOW = 0.004
"""How often it is."""
_ROOMY = 2**30


class Disk(Store):
    """A process's way to the shared disk of ``store``; ``told`` is called after each commit."""

    def __init__(
        self, store: Store, loop: Loop, dice: random.Random, told: Callable[[Disk], None]
    ) -> None:
        super().__init__(store._engine, store.name, None)
        self._loop = loop
        self._dice = dice
        self._told = told
        self._waiting: list[_Noted] = []
        self._running: _Noted | None = None

    def write(self, work: Callable[[Connection], T], *, freeing: bool = False) -> Future[T]:
        """Do as a store does; in a thread at once, else with what else waits for the disk."""
        item = _Noted(self, work, freeing=freeing)
        if self._loop.in_thread:
            self._loop.boundary()
            self._commit_all([item])
            self._loop.boundary()
            return item.future
        self._waiting.append(item)
        if len(self._waiting) == 1:
            slow = self._dice.random() < SLOW
            self._loop.call_later(self._dice.uniform(*(SLOW_S if slow else SYNC_S)), self._flush)
        return item.future

    def once_written(self, note: Callable[[], None]) -> None:
        """Have ``note`` called at the commit of the transaction that calls this, if it comes."""
        assert self._running is not None
        self._running.notes.append(note)

    def fill(self, *, full: bool) -> None:
        """Let the disk be full, or have room again."""
        raw = self._engine.raw_connection()
        try:
            raw.cursor().execute(f"PRAGMA max_page_count = {1 if full else _ROOMY}")
        finally:
            raw.close()

    def _flush(self) -> None:
        group, self._waiting = self._waiting, []
        self._commit_all([one for one in group if one.future.set_running_or_notify_cancel()])

    def _commit_all(self, group: list[_Noted]) -> None:
        if not group:
            return
        self._commit(list(group))
        for item in group:
            if item.future.exception() is None:
                for note in item.notes:
                    note()
        self._told(self)


class _Noted(_Work[Any]):
    """A write, and what is to be noted once it is on the disk."""

    def __init__(self, disk: Disk, work: Callable[[Connection], Any], *, freeing: bool) -> None:
        super().__init__(work, freeing=freeing)
        self.notes: list[Callable[[], None]] = []
        self._disk = disk

    def run(self, connection: Connection, where: str) -> bool:
        """Run it, so that it can say what to note."""
        self._disk._running = self
        self.notes.clear()
        return super().run(connection, where)
