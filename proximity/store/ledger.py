"""What happened, in order, once: transitions, decisions and deliveries in one append-only ledger.

Lists, the live stream and explanations all read it. A deterministic id makes repeating after a
crash harmless: what is there already is not written again.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.sql.dml import ReturningInsert

from proximity.model import Decision, Delivery, Transition, Verdict
from proximity.store.schema import ledger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection
    from sqlalchemy.dialects import postgresql

Kind = Literal["transition", "decision", "delivery"]

# A database takes so many values in one statement: SQLite at least 999, where it is built so.
_MOST_ASKED = 500

_DECIDED = sa.select(ledger.c.id).where(
    ledger.c.kind == "decision", ledger.c.id.in_(sa.bindparam("ids", expanding=True))
)


@cache
def insert_missing(dialect: str, table: sa.Table) -> sqlite.Insert | postgresql.Insert:
    """Make an INSERT that passes over rows whose key is there already.

    Made once for each database and table: building it costs as much as running it.
    """
    if dialect == "postgresql":
        from sqlalchemy.dialects import postgresql  # 30 ms of every start, mostly for nothing

        return postgresql.insert(table).on_conflict_do_nothing()
    return sqlite.insert(table).on_conflict_do_nothing()


def put_missing(connection: Connection, table: sa.Table, rows: Sequence[dict[str, Any]]) -> int:
    """Insert rows, passing over those whose key is there already; give how many were not.

    Each has the same columns. SQLite takes dozens in one step: a step waits for its turn after it,
    which beside a busy event loop takes longer than the row.
    """
    if connection.dialect.name != "sqlite":
        return connection.execute(insert_missing(connection.dialect.name, table), rows).rowcount
    # In the order of the table, as the statement has them.
    columns = tuple(column.name for column in table.columns if column.name in rows[0])
    most = _MOST_ASKED // len(columns)
    count = 0
    for start in range(0, len(rows), most):
        some = rows[start : start + most]
        values = tuple(value for row in some for value in map(row.get, columns))
        count += connection.exec_driver_sql(_put_text(table, columns, len(some)), values).rowcount
    return count


@cache
def _put_text(table: sa.Table, columns: tuple[str, ...], rows: int) -> str:
    """Write SQLite's INSERT of so many rows, with a question mark for each value."""
    statement = insert_missing("sqlite", table).values([dict.fromkeys(columns, "")] * rows)
    return str(statement.compile(dialect=sqlite.dialect()))


@cache
def insert_new(dialect: str, table: sa.Table, *returning: str) -> ReturningInsert[Any]:
    """Make an INSERT as ``insert_missing`` does, which tells of the rows that were not there.

    Telling costs as much again as writing.
    """
    return insert_missing(dialect, table).returning(*[table.c[name] for name in returning])


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be appended; ``record`` is the JSON text of contract 6, ``at`` Unix seconds."""

    kind: Kind
    id: str
    subject: str | None
    place: str | None
    person: str | None
    visit: str | None
    campaign: str | None
    at: float
    record: str


class LedgerRow(Entry, frozen=True, kw_only=True):
    """An entry as it stands in the ledger; ``seq`` rises and is never used twice."""

    seq: int


def entry(item: Transition | Decision | Delivery, person: str | None = None) -> Entry:
    """Make the entry of a transition, decision or delivery; ``person`` is a transition's."""
    record = msgspec.json.encode(item.to_record()).decode()
    if isinstance(item, Transition):
        return Entry(
            kind="transition",
            id=item.id,
            subject=item.subject,
            place=item.place,
            person=person,
            visit=item.visit,
            campaign=None,
            at=item.decided_at,
            record=record,
        )
    if isinstance(item, Decision):
        # A deferral comes before the final decision of the same id and must not stand in its way.
        deferred = item.decision == Verdict.DEFER
        return Entry(
            kind="decision",
            id=f"{item.id}/deferred" if deferred else item.id,
            subject=item.subject,
            place=item.place,
            person=item.person,
            visit=item.visit,
            campaign=item.campaign,
            at=item.at,
            record=record,
        )
    return Entry(
        kind="delivery",
        id=item.id,
        subject=item.subject,
        place=item.place,
        person=item.person,
        visit=None,
        campaign=item.campaign,
        at=item.at,
        record=record,
    )


def append(connection: Connection, entries: Sequence[Entry]) -> list[LedgerRow]:
    """Append what is not there yet; give the rows that were appended, in order."""
    if not entries:
        return []
    numbers = _numbers(connection, len(entries))
    rows = [msgspec.structs.asdict(one) for one in entries]
    for seq, row in zip(numbers, rows, strict=True):
        row["seq"] = seq
    written = put_missing(connection, ledger, rows)
    if written != len(rows):
        # Some were there already. Nobody else has these numbers, so what stands under them is new.
        new = set(connection.scalars(_UNDER, {"first": numbers[0], "last": numbers[-1]}))
        rows = [row for row in rows if row["seq"] in new]
    return [LedgerRow(**row) for row in rows]


def _numbers(connection: Connection, count: int) -> Sequence[int]:
    """Give the numbers of the next rows, ascending: known beforehand, no row need tell its own."""
    if connection.dialect.name == "postgresql":
        return connection.scalars(_NEXT, {"count": count}).all()
    # One writes at a time, and here it is this transaction.
    first = (connection.scalar(_LAST_USED, {"of": ledger.name}) or 0) + 1
    return range(first, first + count)


def decided(connection: Connection, ids: Sequence[str]) -> set[str]:
    """Tell which of these decision ids have their final decision in the ledger already."""
    found: set[str] = set()
    for start in range(0, len(ids), _MOST_ASKED):
        some = ids[start : start + _MOST_ASKED]
        found.update(connection.scalars(_DECIDED, {"ids": some}))
    return found


def page(
    connection: Connection,
    kind: Kind | None = None,
    after: int = 0,
    limit: int = 100,
    *,
    subject: str | None = None,
    place: str | None = None,
) -> tuple[list[LedgerRow], int]:
    """Give up to ``limit`` rows after cursor ``after``, oldest first, and the cursor that follows.

    The cursor stays where it was while there is nothing more.
    """
    statement = sa.select(ledger).where(ledger.c.seq > after).order_by(ledger.c.seq).limit(limit)
    for column, value in (
        (ledger.c.kind, kind),
        (ledger.c.subject, subject),
        (ledger.c.place, place),
    ):
        if value is not None:
            statement = statement.where(column == value)
    rows = [LedgerRow(**row) for row in connection.execute(statement).mappings()]
    return rows, rows[-1].seq if rows else after


def last_number(connection: Connection, table: sa.Table = ledger) -> int:
    """Tell the greatest number that a table which numbers its rows has given, to any row ever."""
    if connection.dialect.name == "sqlite":
        return int(connection.scalar(_LAST_USED, {"of": table.name}) or 0)
    (key,) = table.primary_key.columns
    sequence = connection.scalar(sa.select(sa.func.pg_get_serial_sequence(table.name, key.name)))
    # The name is PostgreSQL's own, and quoted by it.
    last, called = connection.execute(
        sa.text(f"SELECT last_value, is_called FROM {sequence}")  # noqa: S608
    ).one()
    return int(last) if called else 0


_UNDER = sa.select(ledger.c.seq).where(
    ledger.c.seq.between(sa.bindparam("first"), sa.bindparam("last"))
)
# The number last used, also where its row is gone: SQLite keeps it for tables that number so.
_LAST_USED = (
    sa.select(sa.column("seq", sa.Integer))
    .where(sa.column("name") == sa.bindparam("of"))
    .select_from(sa.table("sqlite_sequence"))
)
_NEXT = sa.select(
    sa.func.nextval(sa.func.pg_get_serial_sequence(ledger.name, ledger.c.seq.name))
).select_from(sa.func.generate_series(1, sa.bindparam("count", type_=sa.Integer)))

# Asked one by one: for both at once SQLite would read the whole table.
_FIRST = sa.select(sa.func.min(ledger.c.seq))
_LAST = sa.select(sa.func.max(ledger.c.seq))
_FROM = (
    sa.select(ledger.c.seq, ledger.c.at)
    .where(ledger.c.seq >= sa.bindparam("middle"))
    .order_by(ledger.c.seq)
    .limit(1)
)


def last_before(connection: Connection, at: float) -> int:
    """Find the last row of before Unix second ``at``, by halves; 0 where there is none.

    Rows stand in the order of their time, but for some seconds: whoever must miss none asks for a
    minute more. So nobody reads everything to find what was long ago.
    """
    low = (connection.scalar(_FIRST) or 1) - 1
    high = connection.scalar(_LAST) or 0
    while low < high:
        middle = (low + high + 1) // 2
        found = connection.execute(_FROM, {"middle": middle}).one()
        if found.at < at:
            low = found.seq
        else:
            high = middle - 1
    return int(low)
