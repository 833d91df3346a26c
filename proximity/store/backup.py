"""How is a store's state carried away while it works, and how does it come back?

A copy is a file of SQLite, wherever the state is: taken by SQLite's online backup or out of a
PostgreSQL, on one unchanging view, checked, and given its name once it is on the disk: a file of
that name is whole, or is not there. Knows files and the schema's revision; knows nothing of what is
in the rows.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from proximity.store import schema
from proximity.store.faults import StoreFailed
from proximity.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["Copied", "backup", "restore"]

_BUSY_S = 10.0
"""As long as the store itself waits for another writer."""
_BESIDE = ("", "-wal", "-shm", "-journal")
"""What SQLite keeps beside a file. An old log would be played into a restored file and break it."""


class Copied(msgspec.Struct, frozen=True):
    """What a copy holds: all that was acknowledged up to journal row ``position``.

    ``until`` is the server's time of the newest row (Unix seconds, 0 where nothing ever came),
    ``revision`` the schema's, ``bytes`` the file's size.
    """

    position: int
    until: float
    revision: str
    bytes: int


def backup(source: str | Path, target: Path) -> Copied:
    """Copy the store at ``source`` to a new file ``target``, whatever is writing to it meanwhile.

    ``source`` is as ``state_of`` gives it: SQLite's file, or the URL of a PostgreSQL. One file,
    readable by its owner alone, whole and on the disk when this returns. Raises StoreFailed where
    there is a file already, the disk has no room, or what was copied is damaged.
    """
    if isinstance(source, Path) and not source.exists():
        raise StoreFailed(f"{source}: there is no engine database here: give the --data of `serve`")
    if not target.parent.is_dir():
        raise StoreFailed(
            f"{target.parent}: there is no such folder: make it, or give another name"
        )
    if isinstance(source, Path):
        return _copy(source, target)
    with contextlib.closing(Store.open(source, create=False)) as store:
        return _made(store.name, target, store.unload)


def restore(source: Path, target: str | Path) -> Copied:
    """Make the store at ``target`` from the file ``source`` that ``backup`` wrote.

    ``target`` is as ``state_of`` gives it. The folder of a file is made, for its owner's eyes
    alone. Raises StoreFailed where there is a store already or the rest of one, where ``source`` is
    no whole store, or where a newer version of the program has written it; then all is as it was,
    and no folder was made.
    """
    if not isinstance(target, Path):
        return _restore_into(source, target)
    for beside in _BESIDE:
        there = target.with_name(target.name + beside)
        if there.exists():
            raise StoreFailed(
                f"{there}: is there already, and is not overwritten: restore into an empty folder, "
                "or move this one away first"
            )
    if not source.exists():
        raise StoreFailed(f"{source}: there is no backup here: give the file that `backup` wrote")
    folder = target.parent
    absent = [one for one in (folder, *folder.parents) if not one.exists()]
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.ExitStack() as undone:
            undone.callback(_remove_folders, absent)
            copied = _copy(source, target)
            for one in absent:
                _sync(one.parent)  # that there is one stands in the folder above
            undone.pop_all()
    except OSError as error:
        raise StoreFailed(
            f"{folder}: no data folder can be made here ({error.strerror}): give another --data"
        ) from None
    return copied


def _restore_into(source: Path, url: str) -> Copied:
    """Fill a PostgreSQL that holds no state from a backup, all of it or nothing."""
    if not source.exists():
        raise StoreFailed(f"{source}: there is no backup here: give the file that `backup` wrote")
    with tempfile.TemporaryDirectory() as folder:
        # A copy of its own: checked, and brought up to date, which the backup is not to be.
        copy = Path(folder) / "engine.db"
        copied = _copy(source, copy)
        with contextlib.closing(Store.open(copy)) as store:
            Store.load(url, store)
    return copied


def _copy(source: Path, target: Path) -> Copied:
    """Copy SQLite's file page by page, check, and only then name the copy."""

    def filled(fresh: Path) -> None:
        with _opened(source) as old, _opened(fresh) as new:
            # All pages in one step: a reader holds one view and stops no writer, while a copy
            # in pieces begins anew whenever another process writes.
            old.backup(new)

    return _made(str(source), target, filled)


def _made(source: str, target: Path, fill: Callable[[Path], None]) -> Copied:
    """Have a new file filled, check it, and only then give it its name."""
    fresh = target.with_name(target.name + ".new")
    try:
        _refuse_taken(target)
        fresh.unlink(missing_ok=True)  # of a copy that was broken off
        os.close(os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        with contextlib.ExitStack() as undone:
            undone.callback(_remove, fresh)
            fill(fresh)
            with _opened(fresh) as new:
                # A file by itself, without a log beside it.
                new.execute("PRAGMA journal_mode = DELETE")
                copied = _judge(new, source, fresh)
            _sync(fresh)
            _refuse_taken(target)
            fresh.rename(target)
        _sync(target.parent)
    except sqlite3.Error as error:
        raise StoreFailed(
            f"{source}: no whole copy can be made of it ({error}): use another backup"
        ) from None
    except OSError as error:
        raise StoreFailed(f"{target}: cannot be written ({error.strerror})") from None
    return copied


def _refuse_taken(target: Path) -> None:
    if target.exists():
        raise StoreFailed(f"{target}: is there already, and is not overwritten: give another name")


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    # In a file that is only read, the log of a server that was killed is still part of it.
    connection = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None)
    try:
        connection.execute("PRAGMA synchronous = FULL")
        yield connection
    finally:
        connection.close()


def _judge(connection: sqlite3.Connection, source: str, fresh: Path) -> Copied:
    """Check every page of a copy and tell what it holds. Raises StoreFailed."""
    verdict = [row[0] for row in connection.execute("PRAGMA integrity_check(3)")]
    if verdict != ["ok"]:
        raise StoreFailed(f"{source}: is damaged ({'; '.join(verdict)}): use an older backup")
    tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
    if not {schema.version.name, schema.journal.name} <= tables:
        raise StoreFailed(f"{source}: holds no engine state: give the file that `backup` wrote")
    revision = str(connection.execute("SELECT version_num FROM alembic_version").fetchone()[0])
    if revision > schema.REVISION:
        raise StoreFailed(
            f"{source}: a newer version of the program wrote it (schema {revision}, this one knows "
            f"{schema.REVISION}); install that version"
        )
    # Rows go once a snapshot covers them: the end is the last of either.
    ends = [
        connection.execute(f"SELECT max(position), max(now) FROM {table}").fetchone()  # noqa: S608
        for table in (schema.journal.name, schema.snapshots.name)
    ]
    return Copied(
        position=max(int(position or 0) for position, _ in ends),
        until=max(float(now or 0.0) for _, now in ends),
        revision=revision,
        bytes=fresh.stat().st_size,
    )


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove_folders(made: Sequence[Path]) -> None:
    """Take away folders, the innermost first, while nothing is in them."""
    with contextlib.suppress(OSError):
        for one in made:
            one.rmdir()


def _remove(fresh: Path) -> None:
    for beside in _BESIDE:
        fresh.with_name(fresh.name + beside).unlink(missing_ok=True)
