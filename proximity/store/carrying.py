"""How does state move between the kinds of database: out of a PostgreSQL into a file, and back?

Every row of every table as it stands, and how far each numbering is, so that no number is ever
given twice. Knows the schema's tables; knows nothing of what is in the rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from proximity.store import schema
from proximity.store.ledger import last_number

if TYPE_CHECKING:
    from sqlalchemy import Connection, Table

__all__ = ["carry"]

_AT_ONCE, _LARGE_AT_ONCE = 500, 10
"""Rows in memory at a time; fewer of those that hold batches or pieces of snapshots: each may have
some megabytes."""


def carry(source: Connection, target: Connection) -> None:
    """Copy all rows of ``source``, at this schema, into the empty tables of ``target``."""
    for table in schema.metadata.sorted_tables:
        large = any(isinstance(column.type, sa.LargeBinary) for column in table.c)
        some = {"yield_per": _LARGE_AT_ONCE if large else _AT_ONCE}
        rows = source.execute(sa.select(table), execution_options=some)
        for part in rows.mappings().partitions():
            target.execute(table.insert(), [dict(row) for row in part])
        if table.dialect_options["sqlite"]["autoincrement"]:
            _number_on(target, table, last_number(source, table))


def _number_on(connection: Connection, table: Table, last: int) -> None:
    """Let a table number its next row after ``last``."""
    if not last:
        return
    if connection.dialect.name == "sqlite":
        row = {"name": table.name, "seq": last}
        connection.execute(sa.text("DELETE FROM sqlite_sequence WHERE name = :name"), row)
        connection.execute(sa.text("INSERT INTO sqlite_sequence VALUES (:name, :seq)"), row)
        return
    (key,) = table.primary_key.columns
    sequence = sa.func.pg_get_serial_sequence(table.name, key.name)
    connection.execute(sa.select(sa.func.setval(sequence, last)))
