"""Who holds the journal of a PostgreSQL, and what becomes of it when its session ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from proximity.store import Store, StoreBroken, StoreFailed, schema
from proximity.store.faults import StoreAway
from tests.contracts.conftest import TARGETS
from tests.servers.postgresql import PostgreSql

pytestmark = pytest.mark.skipif(
    "postgresql" not in TARGETS, reason="PostgreSQL's programs are not installed"
)
_LOCK = int.from_bytes(b"proximit")


def put(key: str, value: str = "x"):  # type: ignore[no-untyped-def]
    return lambda c: c.execute(schema.meta.insert(), {"key": key, "value": value})


def keys(store: Store) -> set[str]:
    return set(store.read(lambda c: c.scalars(sa.select(schema.meta.c.key)).all()))


@pytest.fixture
def url(database: PostgreSql) -> str:
    database.clear()
    return database.url


@pytest.fixture
def holder(url: str) -> Iterator[Store]:
    with closing(Store.open(url)) as store:
        store.hold()
        yield store


def cut(url: str) -> None:
    """End every session but this one, as a database that is restarted does."""
    with closing(Store.open(url)) as store:
        store.read(
            lambda c: c.exec_driver_sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
            ).all()
        )


def test_a_session_that_ended_is_followed_by_another(holder: Store, url: str) -> None:
    holder.write(put("before")).result()
    cut(url)
    with pytest.raises(StoreAway, match="does not answer"):
        holder.write(put("lost")).result()
    holder.write(put("after")).result()
    assert holder.failure is None
    assert keys(holder) >= {"before", "after"}
    with closing(Store.open(url)) as other, pytest.raises(StoreFailed, match="another server"):
        other.hold()


def test_who_lost_it_to_another_writes_nothing_more(holder: Store, url: str) -> None:
    cut(url)
    with closing(Store.open(url)) as other:
        other.hold()
        with pytest.raises(StoreAway):
            holder.write(put("lost")).result()
        with pytest.raises(StoreBroken, match="start again"):
            holder.write(put("two at once")).result()
        assert holder.failure is not None
        other.write(put("mine")).result()


def test_nor_once_that_one_has_gone_again(holder: Store, url: str) -> None:
    cut(url)
    with closing(Store.open(url)) as other:
        other.hold()
    with pytest.raises(StoreAway):
        holder.write(put("lost")).result()
    with pytest.raises(StoreBroken, match="another server has worked on it"):
        holder.write(put("upon what it does not know")).result()
    with closing(Store.open(url)) as third:
        third.hold()  # nothing is left locked


def test_a_session_that_lingers_is_waited_for(holder: Store, url: str) -> None:
    """Where a network broke, the database still has the old session for a while."""
    cut(url)
    with closing(Store.open(url)) as lingering:

        def locked(connection: Connection) -> None:
            connection.execute(sa.select(sa.func.pg_advisory_lock(_LOCK)))
            with pytest.raises(StoreAway):
                holder.write(put("lost")).result()
            with pytest.raises(StoreFailed, match="given up soon") as caught:
                holder.write(put("too soon")).result()
            assert not caught.value.lasting
            connection.execute(sa.select(sa.func.pg_advisory_unlock(_LOCK)))

        lingering.read(locked)
    holder.write(put("after")).result()
    assert "after" in keys(holder)


def test_reading_goes_on_when_the_database_is_back(holder: Store, database: PostgreSql) -> None:
    database.stop()
    try:
        with pytest.raises(StoreAway):
            holder.read(lambda c: c.execute(sa.select(schema.meta)).all())
        with pytest.raises(StoreAway):
            holder.write(put("lost")).result()
    finally:
        database.start()
    assert "owner" in keys(holder)
    holder.write(put("after")).result()


def test_texts_are_in_the_order_of_their_characters(url: str) -> None:
    """Whatever language the database was made for: lists are the same wherever the state is."""
    with closing(Store.open(url)) as store:
        for key in ("b", "B", "_", "é", "a-b", "ab"):
            store.write(put(key)).result()
        found = store.read(
            lambda c: c.execute(
                sa.select(schema.meta.c.key, sa.func.pg_collation_for(schema.meta.c.key))
                .where(sa.func.length(schema.meta.c.key) <= 3)
                .order_by(schema.meta.c.key)
            ).all()
        )
    assert [key for key, _ in found] == ["B", "_", "a-b", "ab", "b", "é"]
    assert {collation for _, collation in found} == {'"C"'}


def test_a_database_that_cannot_hold_every_name_is_refused(database: PostgreSql, url: str) -> None:
    admin = sa.create_engine(
        sa.make_url(url).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT"
    )
    with admin.connect() as connection:
        connection.exec_driver_sql(
            "CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0"
        )
    admin.dispose()
    with pytest.raises(StoreFailed, match=r"LATIN1.*createdb --encoding UTF8"):
        Store.open(url.replace("/postgres?", "/latin?"))


def test_commits_are_synced_where_the_database_would_not(url: str, database: PostgreSql) -> None:
    with closing(Store.open(url)) as store:
        store.write(
            lambda c: c.exec_driver_sql("ALTER ROLE engine SET synchronous_commit = off").close()
        ).result()
    try:
        with closing(Store.open(url)) as store:
            asked = store.read(lambda c: c.scalar(sa.text("SHOW synchronous_commit")))
            assert asked == "on"
    finally:
        with closing(Store.open(url)) as store:
            store.write(
                lambda c: c.exec_driver_sql("ALTER ROLE engine RESET synchronous_commit").close()
            ).result()
