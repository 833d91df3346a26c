"""What went wrong on the disk: which failure is which, and whether going on is safe.

Knows the error numbers of SQLite and PostgreSQL; opens nothing.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from sqlalchemy.exc import OperationalError

from proximity.model import ProximityError

if TYPE_CHECKING:
    from sqlalchemy.exc import DBAPIError


class StoreFailed(ProximityError):  # noqa: N818  what became of it is the better name
    """The store could not do it. Nothing of it was written, unless ``lasting`` is true.

    ``lasting``: the disk failed in a way after which no write can be trusted; every later write
    is refused, and a new start recovers what was acknowledged.
    """

    lasting = False


class StoreFull(StoreFailed):
    """The disk is full. Reads go on, and writes succeed again by themselves once there is room."""


class StoreCrossed(StoreFailed):
    """Two who write waited for each other, and the database let the other go first: do it again."""


class StoreAway(StoreFailed):
    """The database server does not answer. Nothing was written, and it may soon be back."""


class StoreBroken(StoreFailed):
    """The disk failed while writing or syncing. The store takes no more writes."""

    lasting = True


# SQLite reports that the shared-memory file cannot grow, which a full disk causes, as an I/O error.
_FULL = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE}
# A failed sync may have dropped the pages while later syncs succeed: retrying would
# acknowledge what is not there. A corrupt file is no better ground.
_BROKEN = {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT}
_POSTGRES_FULL = "53100"
# Deadlock detected, serialization failure: all of the transaction is undone, whichever statement
# or commit it came from.
_POSTGRES_CROSSED = {"40P01", "40001"}
# Connection exceptions, too many connections, and a server that stops, crashed or is starting.
_POSTGRES_AWAY = ("08", "53300", "57P0")


def classify(error: DBAPIError, where: str, *, committing: bool = False) -> StoreFailed | None:
    """Tell what a database error means for the store ``where``; None: the work's own fault.

    ``committing``: it came from the commit itself, when an unknown outcome is a broken store.
    """
    cause = error.orig
    code = getattr(cause, "sqlite_errorcode", None)
    if code in _FULL or getattr(cause, "sqlstate", None) == _POSTGRES_FULL:
        return StoreFull(full(where))
    if getattr(cause, "sqlstate", None) in _POSTGRES_CROSSED:
        return StoreCrossed(f"{where}: other processes write the same all the time; try again")
    if _away(error):
        if not committing:
            return StoreAway(
                f"{where}: the database does not answer ({_told(cause)}); all goes on once it does"
            )
        return StoreBroken(
            f"{where}: the database went away while it was to commit ({_told(cause)}), so nobody "
            "knows whether it did; start again"
        )
    if isinstance(code, int) and code & 0xFF in _BROKEN:
        damaged = isinstance(code, int) and code & 0xFF == sqlite3.SQLITE_CORRUPT
        return StoreBroken(
            f"{where}: the disk failed ({_told(cause)}); nothing more is acknowledged; "
            f"check the disk and {'restore a backup' if damaged else 'start again'}"
        )
    if isinstance(code, int) and code & 0xFF == sqlite3.SQLITE_BUSY:
        return StoreFailed(f"{where}: another process is writing; try again")
    if code == sqlite3.SQLITE_NOTADB:
        return StoreFailed(f"{where}: is not a database; restore it, or use another data folder")
    if isinstance(code, int) and code & 0xFF == sqlite3.SQLITE_READONLY:
        return StoreFailed(f"{where}: may not be written; mend its permissions")
    if committing:
        return StoreBroken(f"{where}: the commit failed ({_told(cause)}); start again")
    return None


def _away(error: DBAPIError) -> bool:
    """Whether a database server, rather than what was asked of it, is the matter."""
    cause = error.orig
    if not type(cause).__module__.startswith("psycopg"):
        return False
    state = getattr(cause, "sqlstate", None)
    if state is None:
        # No server had a part in it: there was no connection, or it broke.
        return error.connection_invalidated or isinstance(error, OperationalError)
    return str(state).startswith(_POSTGRES_AWAY)


def full(where: str) -> str:
    """Say that the disk under the store ``where`` is full, and what mends it."""
    return f"{where}: the disk is full; free some space, writes then go on"


def _told(cause: object) -> str:
    """Name a database's error. PostgreSQL's own words may quote a row, which is somebody's."""
    if isinstance(cause, sqlite3.Error):
        return str(cause)
    state = getattr(cause, "sqlstate", None)
    return type(cause).__name__ + ("" if state is None else f" {state}")
