"""What is known of a person, whole, for them to read and take elsewhere?

An export is every row of the schema that is theirs, by table, with what is JSON in a row written
out, and besides it their records that are still in the journal. Credentials and what is on its way
stay out. Written elsewhere it gives the same export again. It must not know HTTP or who may ask.
Times are Unix seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa

from proximity.consent import chain
from proximity.consent.objections import refuse_erased
from proximity.consent.texts import Wording, sha256_of
from proximity.model import (
    MOST_CONSENTS,
    Consent,
    Person,
    ProximityError,
    Sighting,
    parse_time,
)
from proximity.people import endpoints
from proximity.people.profiles import Known
from proximity.privacy.erasing import known, personal_tables
from proximity.store import journal, schema
from proximity.store.ledger import insert_new

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from sqlalchemy import Column, Connection, Table

    from proximity.people.people import People

__all__ = ["FORMAT", "Export", "Rows", "Value", "export_person", "import_person"]

FORMAT = "proximity-person/1"
_MOST_ROWS = 2_000_000
_AT_ONCE = 500
"""Ids in one statement: SQLite may be built to take no more than 999 variables."""

_LEFT_OUT = frozenset(
    {
        "person_keys", "tokens", "triggers", "outbox", "offers", "erasure_notices", "changes",
        "held_endpoints",
    }
)  # fmt: skip
"""Credentials, what waits to be decided or sent, what is told to processors, when what stands in
other tables was said and under which hash; and offers as they lie in the inbox: what each said and
what became of it is in the ledger."""
_JSON: dict[str, tuple[str, Any]] = {
    "people": ("record", Known),
    "ledger": ("record", dict[str, Any]),
    "events": ("properties", dict[str, str | float | bool | None]),
    "quarantine": ("event", dict[str, Any]),
}
"""Columns that hold JSON, by table, and what it must be: in an export it is written out."""

_NO_TIMES = frozenset({("attributes", "number")})
"""Columns of numbers that are no moments; every other one is, and is written out as such."""
_MOST_WHOLE = 2**31
"""Below this is every whole number of an export: a place in a list, or a yes or no."""

Value = str | float | int | None | dict[str, Any] | list[Any]
Rows = dict[str, list[dict[str, Value]]]


class Export(msgspec.Struct, frozen=True, kw_only=True):
    """A person with all rows of theirs by table, and the texts that they agreed to.

    ``records`` are those not yet gone from the journal, in the form of a trace; they are told, and
    not written elsewhere, where they would be too late for anything.
    """

    format: str = FORMAT
    person: str
    tables: Rows
    records: list[dict[str, Any]] = []


def export_person(connection: Connection, people: People, person: str) -> Export | None:
    """Gather all that is known of a person; None where nothing is."""
    if not known(connection, person):
        return None
    names = tuple(dict.fromkeys((person, *people.read(connection, person).subjects)))
    tables: Rows = {}
    for table, columns in _exported():
        rows = [_out(table, row) for row in _select(connection, table, columns, names)]
        if rows:
            tables[table.name] = rows
    shown = {str(row["text"]) for row in tables.get("consents", []) if row["text"] is not None}
    texts = schema.consent_texts
    query = sa.select(texts).where(texts.c.sha256.in_(shown)).order_by(texts.c.sha256)
    found = [dict(row) for row in connection.execute(query).mappings()]
    if found:
        tables[texts.name] = found
    return Export(
        person=person, tables=tables, records=list(_records(connection, frozenset(names)))
    )


def import_person(
    connection: Connection, people: People, export: Export, *, now: float
) -> dict[str, int]:
    """Write an export of a store elsewhere; how many rows of each table.

    Consents are sealed anew, at Unix second ``now``. Raises ProximityError with every problem, as
    where the person or one of their subjects is known here already; Erased where they are not to
    come back.
    """
    names = _check(export)
    refuse_erased(connection, names)
    if known(connection, export.person):
        raise ProximityError(
            f"person {export.person!r} is known here already: an export is written where nothing "
            "is known of them"
        )
    subjects = schema.subjects
    taken = connection.scalars(
        sa.select(subjects.c.subject).where(subjects.c.subject.in_(names)).limit(1)
    ).all()
    if taken:
        raise ProximityError(f"subject {taken[0]!r} is somebody else's here")
    counts: dict[str, int] = {}
    for table in (schema.consent_texts, *(table for table, _ in _exported())):
        rows = [_in(table, row) for row in export.tables.get(table.name, [])]
        if not rows:
            continue
        if table is schema.consents:
            last = chain.begin(connection, now)
            insert = table.insert().returning(*table.c, sort_by_parameter_order=True)
            chain.seal(connection, last, connection.execute(insert, rows).all(), now)
        else:
            key = next(iter(table.primary_key.columns)).name
            connection.execute(insert_new(connection.dialect.name, table, key), rows)
        counts[table.name] = len(rows)
    people.moved(connection, {export.person, *endpoints.brought(connection, export.person, now)})
    return counts


def _exported() -> Iterator[tuple[Table, tuple[str, ...]]]:
    return ((table, how) for table, how in personal_tables() if table.name not in _LEFT_OUT)


def _columns(table: Table) -> list[Column[Any]]:
    """Give the columns of an export: a serial number means nothing elsewhere."""
    return [column for column in table.c if column.name != "seq"]


def _select(
    connection: Connection, table: Table, columns: Sequence[str], names: Sequence[str]
) -> Iterator[Mapping[str, Any]]:
    order = list(table.primary_key.columns)
    seen: set[tuple[Any, ...]] = set()
    for start in range(0, len(names), _AT_ONCE):
        some = names[start : start + _AT_ONCE]
        whose, *devices = (table.c[column] for column in columns)
        # A device may have been somebody else's: of its rows those that name nobody are theirs.
        theirs = whose.in_(some) | sa.or_(
            sa.false(), *(whose.is_(None) & device.in_(some) for device in devices)
        )
        for row in connection.execute(sa.select(table).where(theirs).order_by(*order)).mappings():
            key = tuple(row[column.name] for column in order)
            if key not in seen:
                seen.add(key)
                yield dict(row)


def _out(table: Table, row: Mapping[str, Any]) -> dict[str, Value]:
    found: dict[str, Value] = {column.name: row[column.name] for column in _columns(table)}
    if table.name in _JSON:
        name, _ = _JSON[table.name]
        found[name] = msgspec.json.decode(str(found[name]))
    return found


def _in(table: Table, row: Mapping[str, Value]) -> dict[str, Value]:
    found = dict(row)
    if table.name in _JSON:
        name, _ = _JSON[table.name]
        found[name] = msgspec.json.encode(found[name]).decode()
    return found


def _records(connection: Connection, names: frozenset[str]) -> Iterator[dict[str, Any]]:
    """Give their records that the journal still has, as a trace has them.

    What receivers heard of a tag names the tag alone; it stands in the transitions that it made.
    """
    wanted = [name.encode() for name in names]
    for row in journal.rows_after(connection, 0, kinds=("records",)):
        if not any(name in row.payload for name in wanted):
            continue
        for record in journal.decode_records(row.payload):
            if record.subject in names:
                kind = "sighting" if isinstance(record, Sighting) else type(record).__name__.lower()
                yield {"type": kind, **msgspec.to_builtins(record)}


def _check(export: Export) -> tuple[str, ...]:
    """Find every fault of an export; give the names of the person."""
    problems: list[str] = []
    if export.format != FORMAT:
        problems.append(f"format {export.format!r:.60}: {FORMAT!r} is what can be read")
    subjects = [str(row.get("subject")) for row in export.tables.get("subjects", [])]
    names = tuple(dict.fromkeys((export.person, *subjects)))
    try:
        Person(person=export.person, subjects=tuple(subjects))
    except ValueError as error:
        problems.append(str(error))
    tables = {table.name: (table, how) for table, how in _exported()}
    tables[schema.consent_texts.name] = (schema.consent_texts, ())
    if len(export.tables.get("consents", ())) > MOST_CONSENTS:
        problems.append(f"consents: more than the {MOST_CONSENTS} that one may have")
    count = sum(len(rows) for rows in export.tables.values())
    if count > _MOST_ROWS:
        problems.append(f"{count} rows are too many, at most {_MOST_ROWS}")
        raise ProximityError(*problems)
    for name, rows in export.tables.items():
        if name not in tables:
            problems.append(f"table {name!r:.60} is none of an export")
            continue
        table, how = tables[name]
        for number, row in enumerate(rows, start=1):
            fault = _fault(table, how, row, names)
            if fault is not None:
                problems.append(f"{name}, row {number}: {fault}")
                break  # one a table: they are alike
    if problems:
        raise ProximityError(*problems)
    return names


def _fault(
    table: Table, how: Sequence[str], row: Mapping[str, Value], names: Collection[str]
) -> str | None:
    columns = {column.name: column for column in _columns(table)}
    if row.keys() != columns.keys():
        odd = sorted(row.keys() ^ columns.keys())
        return f"the columns are not those of this table: {', '.join(odd)[:80]}"
    json, kind = _JSON.get(table.name, ("", None))
    for name, column in columns.items():
        value = row[name]
        if name == json or (value is None and column.nullable):
            continue
        kinds = (int, float) if column.type.python_type in {int, float} else (str,)
        if isinstance(value, bool) or not isinstance(value, kinds):
            return f"{name} must be {'a number' if float in kinds else 'text'}"
        problem = _number_problem(table, column, value)
        if problem is not None:
            return f"{name}: {problem}"
    if how and next((row[one] for one in how if row[one] is not None), None) not in names:
        return "it is not this person's"
    try:
        if json:
            msgspec.convert(row[json], kind)
        _check_row(str(table.name), row)
    except ValueError as error:  # of which msgspec's own is one
        return str(error)
    return None


def _number_problem(table: Table, column: Column[Any], value: Value) -> str | None:
    """Say why a number could not have been written here; None where it could, or is none."""
    if isinstance(value, float | int) and (table.name, column.name) not in _NO_TIMES:
        if column.type.python_type is int:
            whole = isinstance(value, int) and 0 <= value < _MOST_WHOLE
            return None if whole else f"{value!r:.40} is no whole number such as 1"
        try:
            parse_time(value)
        except ValueError as error:
            return str(error)
    return None


def _check_row(table: str, row: Mapping[str, Any]) -> None:
    """Raise ValueError where a row has the right columns and could not have been written here."""
    if table == "people":
        msgspec.convert({**row["record"], "person": row["person"]}, Person)
        odd = row["record"].keys() - set(Known.__struct_fields__)
        if odd:
            raise ValueError(f"record: there is no {min(odd)!r:.60}")
    elif table == "ledger" and row["kind"] not in {"transition", "decision", "delivery"}:
        raise ValueError("kind must be transition, decision or delivery")
    elif table == "consents":
        no = row["since"] is not None and row["since"] == row["until"]
        if row["purpose"] is None and not no:
            raise ValueError("purpose: only a withdrawal may be of every one")
        said = {name: row[name] for name in ("channel", "precision", "method", "text")}
        msgspec.convert({**said, "purpose": row["purpose"] or "marketing"}, Consent)
    elif table == "consent_texts":
        msgspec.convert({name: row[name] for name in Wording.__struct_fields__}, Wording)
        if sha256_of(row["text"]) != row["sha256"]:
            raise ValueError("sha256 is not that of the text")
