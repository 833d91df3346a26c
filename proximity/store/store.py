"""Where the engine's state is kept, and when a write may be called done.

One writer thread does every write: whatever waits for it together shares one transaction and one
sync to the disk (group commit), and no future is resolved before that sync has returned. Knows
connections, transactions and failures; knows nothing of what is written.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import secrets
import sqlite3
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import sqlalchemy as sa
import structlog
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import StaticPool

from proximity.store import schema
from proximity.store.ballast import FREE_PAGES, Ballast
from proximity.store.carrying import carry
from proximity.store.connecting import READERS, connectable
from proximity.store.faults import (
    StoreAway,
    StoreBroken,
    StoreCrossed,
    StoreFailed,
    StoreFull,
    classify,
    full,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Self

    from sqlalchemy import Connection, Engine

log = structlog.get_logger(__name__)

T = TypeVar("T")

# Bounds how long the first of a group waits for the last, and how much one failed commit refuses.
_GROUP = 1000
# On PostgreSQL works of two processes lock rows in an order that each has for itself, and a group
# those of all its works: they may wait in a ring, which the database ends by undoing one of them.
# The other goes on, and each time somebody is done; so often in a row it is bad luck no more.
_CROSSINGS = 10
# Since this revision deleted rows are overwritten.
SECURE_SINCE = "0004"
# PostgreSQL's advisory locks are numbers: "proximit" as one.
_OWN_LOCK = int.from_bytes(b"proximit")
# Who may append to the journal, beside the lock: a name that each holder makes for itself.
_OWNER = "owner"


_TAKEN = "{}: another server works on it; stop that one, or use another data folder"


class Store:
    """One database: SQLite in a file or in memory, or PostgreSQL by URL.

    Use ``Store.open``. ``write`` is safe from any thread; works run in the order of the calls.
    ``failure`` is what ended writing for good, ``refusing`` the disk's last refusal while nothing
    has been written since, whoever asked.
    """

    def __init__(self, engine: Engine, name: str, path: Path | None) -> None:
        self.name = name
        self.path = path
        self.failure: StoreFailed | None = None
        self.refusing: StoreFailed | None = None
        self._engine = engine
        self._closed = False
        self._held: Callable[[], None] | None = None
        self._owner: str | None = None
        self._claimed = False
        self._ballast = None if path is None else Ballast(path.with_suffix(".ballast"))
        # In memory there is one connection; whoever calls uses it in turn, and nothing is queued.
        self._turn = threading.RLock()
        self._only: Connection | None = None
        self._kept: Connection | None = None
        if isinstance(engine.pool, StaticPool):
            self._only = engine.connect()
            return
        self._works: queue.SimpleQueue[_Work[Any] | None] = queue.SimpleQueue()
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="store-read")
        self._writer = threading.Thread(target=self._run, name="store-write", daemon=True)
        self._writer.start()

    @classmethod
    def open(cls, target: str | Path, *, create: bool = True) -> Self:
        """Open a database file, ``:memory:`` or a ``postgresql://`` URL, and bring it up to date.

        ``create`` false refuses where there is no state yet. Raises StoreFailed where it cannot be
        opened (StoreAway: a database server does not answer), or where a newer version of the
        program has written it.
        """
        engine, name, path = connectable(target, create=create)
        try:
            _prepare(engine, name, create=create)
        except DBAPIError as error:
            engine.dispose()
            failure = classify(error, name)
            if failure is None or isinstance(failure, StoreAway):
                told = str(error.orig).strip().splitlines() or ["no reason was given"]
                kind = StoreFailed if failure is None else StoreAway
                failure = kind(f"{name}: cannot be opened ({told[0]})")
            raise failure from None
        except BaseException:
            engine.dispose()
            raise
        return cls(engine, name, path)

    def write(self, work: Callable[[Connection], T], *, freeing: bool = False) -> Future[T]:
        """Run ``work`` in the next write transaction; the future holds what it returned.

        The future resolves only after the commit has been synced to the disk. A work that raises
        is undone alone and its error is the future's; where the disk or the commit fails, all of
        the group fail with StoreFailed (StoreFull: the disk is full). In memory it is done at once.
        A work may be run more than once, each time after all that it did in the store was undone:
        another process may stand in the way, or the disk be full until there is room.
        ``freeing``: it deletes more than it writes, so on a full disk it may have the ballast.
        """
        item = _Work(work, freeing=freeing)
        if self._closed:
            item.resolve(StoreFailed(f"{self.name}: the store is closed"))
        elif self._only is None:
            self._works.put(item)
        else:
            with self._turn:
                if self._only.in_transaction():
                    raise RuntimeError("a work runs inside one transaction and opens no other")
                self._commit([item])
        return item.future

    async def awrite(self, work: Callable[[Connection], T], *, freeing: bool = False) -> T:
        """Do the same as ``write`` from an event loop."""
        return await asyncio.wrap_future(self.write(work, freeing=freeing))

    def read(self, work: Callable[[Connection], T]) -> T:
        """Run ``work`` on one unchanging view of what has been committed. Raises StoreFailed."""
        try:
            if self._only is None:
                with self._engine.connect() as connection:
                    return work(connection)
            with self._turn:
                if self._only.in_transaction():
                    return work(self._only)
                with self._only.begin():
                    return work(self._only)
        except DBAPIError as error:
            raise classify(error, self.name) or error from None

    async def aread(self, work: Callable[[Connection], T]) -> T:
        """Do the same as ``read`` from an event loop, without stopping it."""
        if self._only is not None:
            return self.read(work)
        return await asyncio.get_running_loop().run_in_executor(self._readers, self.read, work)

    def skew(self) -> float:
        """Tell how far this machine's clock is ahead of the database's, in seconds.

        Nothing for a file, which has none. Raises StoreFailed.
        """
        if self._engine.dialect.name == "sqlite":
            return 0.0
        began = time.time()
        theirs = self.read(lambda c: c.scalar(sa.select(sa.func.clock_timestamp())))
        assert theirs is not None
        return (began + time.time()) / 2 - float(theirs.timestamp())

    def cut_log(self) -> bool:
        """Fold SQLite's log into the file and cut it; False where a reader is in the way.

        What was overwritten in the file stands in the log until then. Elsewhere there is nothing to
        do: what a PostgreSQL server keeps of deleted rows is its own to clear away. Raises
        StoreFailed.
        """
        if self.path is None:
            return True
        raw = self._engine.raw_connection()
        try:
            # Beside any transaction of SQLAlchemy's: within one it would wait for itself.
            busy, _, _ = raw.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.Error as error:
            raise StoreFailed(f"{self.name}: its log cannot be cut ({error})") from None
        finally:
            raw.close()
        return not busy

    def unload(self, file: Path) -> None:
        """Write all state, as it is at one moment, into the empty file ``file`` of SQLite.

        Raises StoreFailed where the database does not answer.
        """
        with contextlib.closing(Store.open(file)) as into:
            view = self._engine.execution_options(isolation_level="REPEATABLE READ")
            try:
                with view.connect() as source:
                    into.write(lambda target: carry(source, target)).result()
            except DBAPIError as error:
                raise classify(error, self.name) or error from None

    @classmethod
    def load(cls, url: str, source: Store) -> None:
        """Fill a PostgreSQL that holds no state with all that ``source`` holds, or not at all.

        Raises StoreFailed where it holds state, or does not answer.
        """
        engine, name, _ = connectable(url, create=True)

        def work(connection: Connection) -> None:
            with engine.begin() as target:
                target.execute(sa.select(sa.func.pg_advisory_xact_lock(_OWN_LOCK + 1)))
                if _revision(target) is not None:
                    raise StoreFailed(
                        f"{name}: holds state already, which is not overwritten: name a database "
                        "without any"
                    )
                _make(target, name)
                carry(connection, target)

        try:
            source.read(work)
        except DBAPIError as error:
            raise classify(error, name) or error from None
        finally:
            engine.dispose()

    def hold(self) -> None:
        """Claim the journal for this process until ``close``; one engine may append to it.

        Room is set aside for the day when the disk is full. Raises StoreFailed where another
        process holds it. Other processes still read and write everything else.
        """
        if self._only is None:
            if self.path is None:
                self._own()
            elif self._held is None:
                self._held = _hold(self.path)
        if self._ballast is not None:
            self._ballast.lay()

    def _own(self) -> None:
        """Let the session that writes have PostgreSQL's lock, so that whoever lost it cannot."""
        if self._owner is not None:
            return
        self._owner = secrets.token_hex(16)
        try:
            self.write(lambda _: None).result()
        except StoreFailed:
            self._owner = None
            raise

    def close(self) -> None:
        """Finish what is queued, then let go of the database."""
        if self._closed:
            return
        self._closed = True
        if self._only is None:
            self._works.put(None)
            self._writer.join()
            self._readers.shutdown()
        else:
            self._only.close()
        if self._held is not None:
            self._held()
        self._engine.dispose()

    def _run(self) -> None:
        """Take what waits, commit it together, again and again, until told to stop."""
        more = True
        while more:
            group: list[_Work[Any]] = []
            item = self._works.get()
            while item is not None:
                if item.future.set_running_or_notify_cancel():
                    group.append(item)
                if len(group) >= _GROUP or self._works.empty():
                    break
                item = self._works.get()
            more = item is not None
            if group:
                self._commit(group)
        if self._kept is not None:
            if self._claimed:
                # The session's end alone would let go too, but some time after this call.
                with contextlib.suppress(DBAPIError), self._kept.begin():
                    self._kept.execute(sa.select(sa.func.pg_advisory_unlock(_OWN_LOCK)))
            self._kept.close()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[Connection]:
        """Lend the connection that writes.

        That to a file is kept for as long as all goes well: it does not break by itself, and
        taking one for each group costs as much as writing some rows. On PostgreSQL the session of
        whoever holds the journal is kept, since it has the lock.
        """
        if self._only is not None:
            yield self._only
            return
        kept, self._kept = self._kept, None
        connection = kept or self._engine.connect().execution_options(writes=True)
        try:
            if kept is None and self._owner is not None:
                self._claim(connection)
            yield connection
            if self.path is not None or self._owner is not None:
                self._kept = connection
        finally:
            if self._kept is None:
                connection.close()

    def _claim(self, connection: Connection) -> None:
        """Take the lock for a new session. Raises StoreFailed where somebody else has it, or had.

        A session that ended took the lock with it. Whoever had it since may have appended to the
        journal, of which the engine in this process knows nothing.
        """
        meta = schema.meta
        with connection.begin():
            free = connection.scalar(sa.select(sa.func.pg_try_advisory_lock(_OWN_LOCK)))
            owner = connection.scalar(sa.select(meta.c.value).where(meta.c.key == _OWNER))
            other = self._claimed and owner != self._owner
            if free and not other and owner != self._owner:
                connection.execute(meta.delete().where(meta.c.key == _OWNER))
                connection.execute(meta.insert(), {"key": _OWNER, "value": self._owner})
        if free and not other:
            self._claimed = True
            return
        if free:
            connection.execute(sa.select(sa.func.pg_advisory_unlock(_OWN_LOCK)))
            connection.commit()
        if other:
            raise StoreBroken(
                f"{self.name}: another server has worked on it while this one had lost it; start "
                "again"
            )
        if self._claimed:
            raise StoreFailed(
                f"{self.name}: the session that was lost still holds it; it is given up soon"
            )
        raise StoreFailed(_TAKEN.format(self.name))

    def _commit(self, group: list[_Work[Any]]) -> None:
        """Run a group in one transaction; resolve its futures once that is on the disk."""
        failure = self.failure
        if failure is None:
            failure = self._tight() or self._attempt(group)
        freeing = [item for item in group if item.freeing]
        ballast = self._ballast
        if (
            isinstance(failure, StoreFull)
            and freeing
            and ballast
            and (ballast.give() or ballast.spent)
        ):
            again = self._attempt(freeing)
            self._settle(freeing, again)
            group = [item for item in group if not item.freeing]
            failure = again if again is not None and again.lasting else failure
        self._settle(group, failure)

    def _attempt(self, group: list[_Work[Any]]) -> StoreFailed | None:
        """Run a group in one transaction; what it failed with, if anything."""
        failure = None
        for _ in range(_CROSSINGS):
            failure = self._once(group)
            if not isinstance(failure, StoreCrossed):
                break
        return failure

    def _once(self, group: list[_Work[Any]]) -> StoreFailed | None:
        try:
            with self._writing() as connection:
                _transact(connection, group, self.name)
        except DBAPIError as error:
            return classify(error, self.name) or classify(error, self.name, committing=True)
        except StoreFailed as error:
            return error
        except Exception as error:  # noqa: BLE001  a dead writer would leave all callers waiting
            return StoreFailed(f"{self.name}: the write failed ({type(error).__name__})")
        return None

    def _tight(self) -> StoreFull | None:
        """Refuse what may make the file larger while the ballast is given up."""
        ballast = self._ballast
        if ballast is None or not ballast.spent or ballast.lay():
            return None
        try:
            with self._writing() as connection:
                # Beside any transaction: it is a look at the file's first page.
                asked = connection.connection.cursor().execute("PRAGMA freelist_count")
                free = asked.fetchone()[0]
        except (DBAPIError, sqlite3.Error):
            free = 0
        return None if free >= FREE_PAGES else StoreFull(full(self.name))

    def _settle(self, group: list[_Work[Any]], failure: StoreFailed | None) -> None:
        """Note what became of a group, and tell whoever waits for it."""
        if failure is not None and failure.lasting:
            self.failure = failure
        if failure is not None and self.refusing is None:
            # Told once, however many fail: whoever is answered may not be who can make room.
            log.warning("the disk takes nothing", reason=str(failure))
        if failure is not None or not all(item.freeing for item in group):
            self.refusing = failure
        for item in group:
            item.resolve(failure)


class _Work(Generic[T]):
    """One write that waits for its group: what to run, and the future of what came of it."""

    def __init__(self, work: Callable[[Connection], T], *, freeing: bool = False) -> None:
        self.future: Future[T] = Future()
        self.freeing = freeing
        self._work = work
        self._error: Exception | None = None

    def run(self, connection: Connection, where: str) -> bool:
        """Run it; False where it raised and is to be undone. Raises StoreFailed for all."""
        self._error = None
        try:
            self._result = self._work(connection)
        except Exception as error:  # noqa: BLE001  its caller is told; the group goes on
            failure = classify(error, where) if isinstance(error, DBAPIError) else None
            if failure is not None:
                # SQLite may have undone the whole transaction by itself.
                raise failure from None
            self._error = error
            return False
        return True

    def resolve(self, failure: StoreFailed | None) -> None:
        """Tell the caller: the group's failure, its own error, or its result."""
        error = failure or self._error
        if error is None:
            self.future.set_result(self._result)
        else:
            self.future.set_exception(error)


def _transact(connection: Connection, group: list[_Work[Any]], where: str) -> None:
    """Run works in one transaction; what one of them raises undoes that one alone."""
    committing = False
    try:
        with connection.begin() as transaction:
            if len(group) == 1:
                # Nearly always, and a savepoint takes as long as the row that it would save.
                if not group[0].run(connection, where):
                    transaction.rollback()
            else:
                for item in group:
                    connection.exec_driver_sql("SAVEPOINT work")
                    if not item.run(connection, where):
                        connection.exec_driver_sql("ROLLBACK TO SAVEPOINT work")
                    connection.exec_driver_sql("RELEASE SAVEPOINT work")
            committing = True
    except DBAPIError as error:
        raise classify(error, where, committing=committing) or error from None


def _prepare(engine: Engine, name: str, *, create: bool) -> None:
    """Make the tables where there are none; migrate them where they are older."""
    with engine.connect() as connection:
        found = _revision(connection)
    if found == schema.REVISION:
        return
    if found is None and not create and engine.dialect.name == "postgresql":
        raise StoreFailed(f"{name}: there is no engine's state in this database: `serve` makes it")
    if engine.dialect.name == "sqlite" and found is not None and found < SECURE_SINCE:
        # Ahead of the migration: should it end half-way, the next start still sees the need.
        _rewrite(engine, name)
    with engine.connect() as connection, connection.execution_options(writes=True).begin():
        if engine.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_OWN_LOCK + 1)))
        found = _revision(connection)  # again: another process may have been quicker
        if found == schema.REVISION:
            return
        if found is None:
            others = sa.inspect(connection).get_table_names()
            if others and engine.dialect.name == "sqlite":  # elsewhere databases are shared
                raise StoreFailed(
                    f"{name}: a database of something else, which holds {others[0]!r:.60}: name "
                    "another folder"
                )
            _make(connection, name)
            return
        from proximity.store import migrations

        migrations.upgrade(connection, found, name)


def _make(connection: Connection, name: str) -> None:
    """Make every table, empty. Raises StoreFailed where the database cannot hold every text."""
    if connection.dialect.name == "postgresql":
        encoding = connection.scalar(sa.text("SHOW server_encoding"))
        if encoding != "UTF8":
            raise StoreFailed(
                f"{name}: its encoding is {encoding}, which cannot hold every name: make the "
                "database with `createdb --encoding UTF8 --template template0`"
            )
    schema.metadata.create_all(connection)
    schema.version.create(connection)
    connection.execute(schema.version.insert(), {"version_num": schema.REVISION})


def _rewrite(engine: Engine, name: str) -> None:
    """Write the file anew, once: what was deleted before this revision is still in free pages."""
    raw = engine.raw_connection()
    try:
        raw.cursor().execute("VACUUM")
    except sqlite3.Error as error:
        raise StoreFailed(
            f"{name}: its older form cannot be written anew ({error}): it needs as much room again "
            "as the file has, and nobody else at work on it"
        ) from None
    finally:
        raw.close()


def _revision(connection: Connection) -> str | None:
    if not sa.inspect(connection).has_table(schema.version.name):
        return None
    return connection.scalar(sa.select(schema.version.c.version_num))


def _hold(path: Path) -> Callable[[], None]:
    """Take the lock that one process may have; give what is to be called to let it go."""
    import fcntl

    held = path.with_suffix(".lock").open("w")
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        held.close()
        raise StoreFailed(_TAKEN.format(path)) from None
    return held.close
