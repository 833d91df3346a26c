"""How is a store's database connected to: SQLite in a file or in memory, or PostgreSQL by URL?

Gives SQLAlchemy's engine of each, with durable commits on every connection. Knows nothing of
tables, and of who writes.
"""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.pool import StaticPool

from proximity.store.faults import StoreFailed

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

__all__ = ["READERS", "connectable"]

# Another process (a command beside the server) may hold the write lock; its transactions are
# short, so ten seconds mean that something hangs.
_BUSY_S = 10.0
# A log that a long reader kept from being folded back is cut to this size afterwards.
_LOG_BYTES = 64 * 1024 * 1024
# What a connection may keep of the file in memory. Ids are hashes, so that the rows of a tenth of a
# second lie on some 2,000 pages; with the 2 MB that SQLite takes, they are read again for each row.
_CACHE_KIB = 8 * 1024
READERS = 4
"""Connections that read at once, each with a thread."""
# A database server that is no longer there is noticed in half a minute; what the system does by
# itself takes a quarter of an hour where something is under way, and two hours where nothing is.
_TO_POSTGRES = {
    "connect_timeout": 10,
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}


def connectable(target: str | Path, *, create: bool) -> tuple[Engine, str, Path | None]:
    """Make the SQLAlchemy engine of a target; give its name for messages and its file, if any."""
    kind = target.partition("://")[0] if isinstance(target, str) and "://" in target else None
    if kind is not None:
        # As libpq has it, which takes both names; SQLAlchemy knows only the longer one.
        if kind.partition("+")[0] not in {"postgresql", "postgres"}:
            said = target if kind == "sqlite" else f"{kind:.40}://"  # another's may have a password
            raise StoreFailed(
                f"{said}: this is no address of a store: give the path of a file alone, or "
                "postgresql://USER@HOST/NAME"
            )
        try:
            url = sa.make_url(str(target)).set(drivername="postgresql+psycopg")
        except (sa.exc.ArgumentError, ValueError):  # not quoted: there may be a password in it
            raise StoreFailed(
                f"{kind}://: this is no URL: write postgresql://USER@HOST/NAME"
            ) from None
        try:
            engine = sa.create_engine(
                url,
                pool_pre_ping=True,
                max_overflow=-1,
                hide_parameters=True,
                connect_args={k: v for k, v in _TO_POSTGRES.items() if k not in url.query},
            )
        except ModuleNotFoundError:
            raise StoreFailed(
                "PostgreSQL needs its driver: pip install 'proximity-engine[postgres]'"
            ) from None
        sa.event.listen(engine, "connect", _speak_postgresql)
        return engine, url.render_as_string(hide_password=True), None
    if str(target) == ":memory:":
        engine = sa.create_engine(
            "sqlite://",
            hide_parameters=True,
            poolclass=StaticPool,
            connect_args={"isolation_level": None, "check_same_thread": False},
        )
        _speak_sqlite(engine)
        return engine, ":memory:", None
    path = Path(target)
    # An empty file is none either: SQLite would take it, and answer every question with nothing.
    if not create and not (path.exists() and path.stat().st_size):
        raise StoreFailed(f"{path}: there is no engine database here: give the --data of `serve`")
    try:
        new = not path.exists()
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # It holds where people were: nobody else's to read, nor are the files SQLite puts beside.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        if new:
            # SQLite syncs what is in the file; that there is one stands in the folders.
            for folder in (path.parent, path.parent.parent):
                _sync_folder(folder)
    except OSError as error:
        raise StoreFailed(f"{path}: cannot be opened ({error.strerror})") from None
    engine = sa.create_engine(
        sa.URL.create("sqlite", database=str(path)),
        hide_parameters=True,  # they are people's ids and places, and errors end in logs
        connect_args={"isolation_level": None, "timeout": _BUSY_S},
        pool_size=READERS + 2,  # and the writer, and an event loop's own short reads
        max_overflow=-1,
    )
    _speak_sqlite(engine)
    return engine, str(path), path


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _speak_postgresql(raw: Any, _record: object) -> None:
    """Have commits synced where the server's own setting does not: what is answered 2xx is kept."""
    raw.execute(
        "SELECT set_config('synchronous_commit', 'on', false) "
        "WHERE current_setting('synchronous_commit') = 'off'"
    )
    raw.commit()


def _speak_sqlite(engine: Engine) -> None:
    """Set up every connection for durable commits, and let SQLAlchemy's ``begin`` begin."""

    def connected(raw: Any, _record: object) -> None:
        # FULL: a commit is not done before the log is synced. NORMAL loses the last ones to a
        # power cut. Deleted rows are overwritten: they were people's ids and places.
        for pragma in (
            "journal_mode = WAL",
            "synchronous = FULL",
            "secure_delete = ON",
            f"journal_size_limit = {_LOG_BYTES}",
            f"cache_size = -{_CACHE_KIB}",
        ):
            raw.execute(f"PRAGMA {pragma}")
        # As PostgreSQL has it; segments draw their random shares by it.
        raw.create_function("sha256", 1, _sha256, deterministic=True)

    def begun(connection: Connection) -> None:
        # A writer takes the lock at once: one that began as a reader could not wait for its turn.
        writes = connection.get_execution_options().get("writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    sa.event.listen(engine, "connect", connected)
    sa.event.listen(engine, "begin", begun)


def _sha256(text: str) -> bytes:
    return sha256(text.encode()).digest()
