"""SQLite itself: what is on the disk when a write is called done, and what a failing disk does."""

from __future__ import annotations

import contextlib
import signal
import sqlite3
import stat
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from proximity.store import Store, StoreBroken, StoreFailed, StoreFull, journal, migrations, schema
from proximity.store import connecting as module


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "engine.db"


def put(key: str) -> Callable[[Connection], None]:
    return lambda c: journal.write_meta(c, key, "x" * 100)


def keys(store: Store) -> list[str]:
    return store.read(
        lambda c: list(c.scalars(sa.select(schema.meta.c.key).order_by(schema.meta.c.key)))
    )


def fill(connection: Connection) -> None:
    """Ask for more room than the database may have."""
    journal.write_meta(connection, "big", "x" * 200_000)


def occupy(store: Store) -> tuple[threading.Event, Future[bool]]:
    """Keep the writer busy until the event is set, so that what is written meanwhile waits."""
    gate, begun = threading.Event(), threading.Event()

    def work(_: Connection) -> bool:
        begun.set()
        return gate.wait()

    first = store.write(work)
    begun.wait()
    return gate, first


def limit_pages(store: Store, pages: int) -> None:
    """Let SQLite say that the disk is full beyond so many pages of 4 KiB."""
    store.write(lambda c: c.exec_driver_sql(f"PRAGMA max_page_count = {pages}").close()).result()


class TestDurability:
    def test_the_writer_syncs_every_commit(self, path: Path) -> None:
        def pragmas(connection: Connection) -> list[object]:
            names = ("synchronous", "journal_mode")
            return [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in names]

        store = Store.open(path)
        assert store.write(pragmas).result() == [2, "wal"]  # 2 is FULL
        assert store.read(pragmas) == [2, "wal"]
        store.close()

    def test_the_commit_comes_before_the_future(self, path: Path) -> None:
        """A process killed between the two has committed: the next one finds the row."""
        script = textwrap.dedent(f"""
            import os, signal
            from proximity.store import Store, journal
            store = Store.open({str(path)!r})
            future = store.write(lambda c: journal.write_meta(c, "acknowledged", "x"))
            future.add_done_callback(lambda _: os.kill(os.getpid(), signal.SIGKILL))
            signal.pause()
        """)
        done = subprocess.run([sys.executable, "-c", script], check=False)
        assert done.returncode == -signal.SIGKILL
        store = Store.open(path)
        assert keys(store) == ["acknowledged"]
        store.close()

    def test_waiting_works_share_a_commit(self, path: Path) -> None:
        store = Store.open(path)
        commits: list[int] = []
        sa.event.listen(store._engine, "commit", lambda _: commits.append(1))
        gate, first = occupy(store)
        rest = [store.write(put(str(n))) for n in range(300)]
        gate.set()
        first.result()
        for future in rest:
            future.result()
        assert len(commits) == 2
        assert len(keys(store)) == 300
        store.close()

    def test_a_cancelled_write_is_not_done(self, path: Path) -> None:
        store = Store.open(path)
        gate, first = occupy(store)
        cancelled = store.write(put("cancelled"))
        assert cancelled.cancel()
        gate.set()
        first.result()
        store.write(put("later")).result()
        assert keys(store) == ["later"]
        store.close()

    def test_closing_finishes_what_waits(self, path: Path) -> None:
        store = Store.open(path)
        futures = [store.write(put(str(n))) for n in range(100)]
        store.close()
        assert all(future.done() for future in futures)
        again = Store.open(path)
        assert len(keys(again)) == 100
        again.close()


class TestFailingDisk:
    def test_full_then_room_again(self, path: Path) -> None:
        store = Store.open(path)
        store.write(put("before")).result()
        limit_pages(store, 45)
        together: list[Future[None]] = []
        gate, first = occupy(store)
        together += [store.write(put("small")), store.write(fill), store.write(put("last"))]
        gate.set()
        first.result()
        for future in together:
            with pytest.raises(StoreFull, match="disk is full"):
                future.result()
        assert keys(store) == ["before"]
        assert store.failure is None
        limit_pages(store, 100_000)
        store.write(put("after")).result()
        store.write(fill).result()
        assert keys(store) == ["after", "before", "big"]
        store.close()

    @pytest.mark.parametrize("code", [sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_CORRUPT])
    def test_after_a_failed_sync_nothing_is_acknowledged(self, path: Path, code: int) -> None:
        store = Store.open(path)

        def fail(_: object) -> None:
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = code
            raise sa.exc.OperationalError("COMMIT", None, error)

        sa.event.listen(store._engine, "commit", fail, once=True)
        with pytest.raises(StoreBroken, match="disk failed"):
            store.write(put("lost")).result()
        with pytest.raises(StoreBroken):
            store.write(put("refused")).result()
        assert store.failure is not None
        assert keys(store) == []  # reads go on
        store.close()

    def test_a_writer_that_hits_a_fault_goes_on(self, path: Path) -> None:
        store = Store.open(path)

        def fail(_: object) -> None:
            raise MemoryError("no memory")

        sa.event.listen(store._engine, "commit", fail, once=True)
        with pytest.raises(StoreFailed, match="MemoryError"):
            store.write(put("lost")).result()
        store.write(put("kept")).result()
        assert keys(store) == ["kept"]
        store.close()

    def test_a_lock_that_is_never_let_go(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "_BUSY_S", 0.05)
        store = Store.open(path)
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreFailed, match="another process is writing"):
            store.write(put("refused")).result()
        other.execute("ROLLBACK")
        other.close()
        store.write(put("kept")).result()
        assert keys(store) == ["kept"]
        store.close()

    def test_what_may_not_be_written(self, path: Path) -> None:
        store = Store.open(path)
        store.write(lambda c: c.exec_driver_sql("PRAGMA query_only = 1").close()).result()
        with pytest.raises(StoreFailed, match="permissions"):
            store.write(put("refused")).result()
        assert store.failure is None
        store.close()

    def test_a_commit_whose_outcome_is_unknown_is_the_last(self, path: Path) -> None:
        store = Store.open(path)

        def fail(_: object) -> None:
            raise sa.exc.OperationalError("COMMIT", None, Exception("who knows"))

        sa.event.listen(store._engine, "commit", fail, once=True)
        with pytest.raises(StoreBroken, match="the commit failed"):
            store.write(put("lost")).result()
        assert store.failure is not None
        store.close()

    def test_a_read_that_is_wrong_is_the_readers_own_fault(self, path: Path) -> None:
        store = Store.open(path)
        with pytest.raises(sa.exc.OperationalError, match="no such table"):
            store.read(lambda c: c.exec_driver_sql("SELECT * FROM nowhere"))
        store.close()

    def test_another_writer_is_waited_for(self, path: Path) -> None:
        one, two = Store.open(path), Store.open(path)
        gate, slow = occupy(one)
        waiting = two.write(put("two"))
        assert keys(two) == []
        gate.set()
        slow.result()
        waiting.result()
        assert keys(one) == ["two"]
        one.close()
        two.close()


class TestOpening:
    def test_nobody_else_may_read_it(self, path: Path) -> None:
        store = Store.open(path)
        store.write(put("a")).result()
        for file in path.parent.glob("engine.db*"):
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file.name
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        store.close()

    @pytest.mark.parametrize("create", [True, False])
    def test_a_database_of_something_else_stays_what_it_is(
        self, path: Path, *, create: bool
    ) -> None:
        path.parent.mkdir()
        with contextlib.closing(sqlite3.connect(path)) as other:
            other.execute("CREATE TABLE customers (name)")
        with pytest.raises(StoreFailed, match="of something else, which holds 'customers'"):
            Store.open(path, create=create)
        with contextlib.closing(sqlite3.connect(path)) as other:
            held = other.execute("SELECT name FROM sqlite_master").fetchall()
        assert held == [("customers",)]

    def test_without_create_nothing_is_made(self, path: Path) -> None:
        with pytest.raises(StoreFailed, match="no engine database"):
            Store.open(path, create=False)
        assert not path.parent.exists()
        path.parent.mkdir()
        path.touch()
        with pytest.raises(StoreFailed, match="no engine database"):
            Store.open(path, create=False)
        assert path.stat().st_size == 0
        Store.open(path).close()
        Store.open(path, create=False).close()

    @pytest.mark.parametrize(
        ("target", "said"),
        [
            ("sqlite:///nope.db", "^sqlite:///nope.db: this is no address of a store: give the"),
            ("mysql://me:secret@127.0.0.1/x", "^mysql://: this is no address of a store: give the"),
            ("postgresql://me:secret@host:port/x", "^postgresql://: this is no URL: write "),
        ],
    )
    def test_an_address_of_no_store_makes_no_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str, said: str
    ) -> None:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(StoreFailed, match=said) as caught:
            Store.open(target)
        assert "secret" not in str(caught.value)
        assert list(tmp_path.iterdir()) == []

    def test_postgresql_has_two_names(self) -> None:
        pytest.importorskip("psycopg", reason="the extra postgres is not installed")
        for kind in ("postgres", "postgresql"):
            with pytest.raises(StoreFailed, match="connection failed") as caught:
                Store.open(f"{kind}://me:secret@127.0.0.1:1/x")
            assert len(str(caught.value).splitlines()) == 1
            assert "secret" not in str(caught.value)

    def test_what_is_no_database_is_refused(self, path: Path) -> None:
        path.parent.mkdir()
        path.write_bytes(b"not a database, but long enough to have a header" * 100)
        with pytest.raises(StoreFailed, match="not a database"):
            Store.open(path)

    def test_what_is_cut_short_is_to_be_restored(self, path: Path) -> None:
        store = Store.open(path)
        store.write(put("a")).result()
        store.close()
        path.write_bytes(path.read_bytes()[:40_960])
        with pytest.raises(StoreFailed, match=r"malformed.*check the disk and restore a backup"):
            Store.open(path)

    def test_a_folder_that_cannot_be_made(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(StoreFailed, match="cannot be opened"):
            Store.open(tmp_path / "file" / "engine.db")

    def test_many_open_a_new_one_at_once(self, path: Path) -> None:
        script = f"from proximity.store import Store; Store.open({str(path)!r}).close()"
        with ThreadPoolExecutor(6) as pool:
            runs = pool.map(
                lambda _: subprocess.run(
                    [sys.executable, "-c", script], capture_output=True, check=False
                ),
                range(6),
            )
        assert [run.stderr for run in runs] == [b""] * 6

    def test_a_current_store_opens_without_the_migrations(self, path: Path) -> None:
        script = f"""
import sys
from proximity.store import Store
Store.open({str(path)!r}).close()
Store.open({str(path)!r}).close()
assert "alembic" not in sys.modules
"""
        subprocess.run([sys.executable, "-c", script], check=True)

    def test_in_memory_a_work_opens_no_other(self) -> None:
        store = Store.open(":memory:")

        def nested(_: Connection) -> None:
            store.write(put("inner"))

        with pytest.raises(RuntimeError, match="one transaction"):
            store.write(nested).result()
        assert store.write(lambda _: keys(store)).result() == []
        store.close()


class TestSchema:
    def test_the_migrations_end_at_the_schema(self, tmp_path: Path) -> None:
        """An older store becomes exactly what a new one is."""
        engine = sa.create_engine(f"sqlite:///{tmp_path / 'old.db'}")
        with engine.begin() as connection:
            migrations.upgrade(connection, None, "old.db")
        new = Store.open(tmp_path / "new.db")
        with engine.connect() as old:
            differences = compare_metadata(MigrationContext.configure(old), schema.metadata)
            assert differences == []
            tables = "SELECT name, sql FROM sqlite_master ORDER BY name"
            assert [_words(row) for row in old.exec_driver_sql(tables)] == new.read(
                lambda c: [_words(row) for row in c.exec_driver_sql(tables)]
            )
        engine.dispose()
        new.close()

    def test_the_revision_is_the_last_migration(self) -> None:
        script = ScriptDirectory.from_config(migrations.configuration())
        assert script.get_heads() == [schema.REVISION]

    def test_a_migration_runs_in_the_stores_own_transaction(self, tmp_path: Path) -> None:
        store = Store.open(tmp_path / "engine.db")

        def again(connection: Connection) -> None:
            schema.metadata.drop_all(connection)
            schema.version.drop(connection)
            migrations.upgrade(connection, None, store.name)

        def fails(connection: Connection) -> None:
            again(connection)
            raise LookupError("after it")

        store.write(put("before")).result()
        with pytest.raises(LookupError):
            store.write(fails).result()
        assert keys(store) == ["before"]
        store.write(again).result()
        assert keys(store) == []
        store.close()
        Store.open(tmp_path / "engine.db").close()

    @pytest.mark.parametrize(
        "broken",
        ["", "{", "[]", '{"preferences": 1}', '{"preferences": ["x"]}', '{"preferences": [{}]}'],
    )
    def test_one_person_that_cannot_be_read_keeps_no_upgrade_back(
        self, tmp_path: Path, broken: str
    ) -> None:
        engine = sa.create_engine(f"sqlite:///{tmp_path / 'old.db'}")
        whole = """{"person": "b", "preferences": [
            {"allow": true, "topic": "coffee"}, {"allow": false, "hours": []},
            {"allow": false, "channel": "mail", "place": "cafe", "said_at": 5}]}"""
        with engine.begin() as connection:
            command.upgrade(migrations.configuration(connection), "0004")
            people = sa.Table("people", sa.MetaData(), autoload_with=connection)
            for person, record in (("a", broken), ("b", whole)):
                row = {"person": person, "record": record}
                rest = {
                    column.name: b"" if isinstance(column.type, sa.LargeBinary) else 0
                    for column in people.columns
                    if not column.nullable and column.name not in row
                }
                connection.execute(people.insert(), rest | row)
        engine.dispose()
        store = Store.open(tmp_path / "old.db")
        wishes = store.read(lambda c: c.execute(sa.select(schema.wishes)).all())
        assert [tuple(row) for row in wishes] == [
            ("b", 0, "coffee", None, None, 1),
            ("b", 2, None, "mail", "cafe", 0),
        ]
        store.close()

    def test_every_column_says_what_it_holds(self) -> None:
        kinds = {"none", "pseudonym", "location", "personal", "secret"}
        for table in schema.metadata.sorted_tables:
            for column in table.columns:
                assert column.info["class"] in kinds, column
                assert column.info["purpose"], column


def _words(row: sa.Row[tuple[str, str | None]]) -> tuple[str, list[str]]:
    return row[0], sorted((row[1] or "").replace(",", " ").replace(")", " ").split())


class TestPrivacy:
    def test_errors_quote_no_values(self, path: Path) -> None:
        def twice(connection: Connection) -> None:
            for _ in range(2):
                connection.execute(
                    schema.subjects.insert(), {"subject": "canary", "person": "canary"}
                )

        for store in (Store.open(path), Store.open(":memory:")):
            with pytest.raises(sa.exc.IntegrityError) as caught:
                store.write(twice).result()
            assert "canary" not in str(caught.value)
            store.close()

    def test_a_failed_write_is_named_by_its_kind(self, path: Path) -> None:
        store = Store.open(path)

        def failing(_: Connection) -> None:
            raise KeyError("canary")

        sa.event.listen(store._engine, "commit", failing)
        with pytest.raises(StoreFailed, match="KeyError") as caught:
            store.write(lambda _: None).result()
        assert "canary" not in str(caught.value)
        store.close()
