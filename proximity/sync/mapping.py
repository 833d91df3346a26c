"""The question: which column of somebody else's table is which field of a person.

A TOML file says it. A cell is read as its field's value, and a value is written as its column's
type has it. Pure: it knows no database.
"""

from __future__ import annotations

import math
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

import msgspec

from beacon_gateway.model import check_id
from proximity.model import ProximityError, format_time, parse_time
from proximity.sync.fields import check_field
from proximity.tomltable import TomlTable

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "Flag", "Mapping_", "cell_of", "check_key", "instant", "is_marked", "is_yes", "parse_mapping",
    "value_of", "written_at",
]  # fmt: skip

SUBJECT = "subject"
"""A column that holds one device or card of theirs: it is read, and never written."""
OVERLAP_S = 60.0
"""How far back a round looks again, seconds: a row may be committed later than it says."""


class Flag(NamedTuple):
    """A column that says whether somebody agrees to a purpose, on a channel or (None) on any."""

    purpose: str
    channel: str | None


class Mapping_(msgspec.Struct, frozen=True, kw_only=True):  # noqa: N801 - typing has the plain name
    """One table: its columns for the person, for when a row changed, and for each field.

    ``erased_at`` is a column that is empty but for people who are erased; ``insert``: new people
    make new rows; ``zone_s`` what a time without a zone is ahead of UTC.
    """

    table: str
    key: str
    changed_at: str
    schema: str | None = None
    erased_at: str | None = None
    insert: bool = True
    overlap_s: float = OVERLAP_S
    columns: dict[str, str] = {}
    flags: dict[str, Flag] = {}


def parse_mapping(table: Mapping[str, Any], name: str) -> Mapping_:
    """Read a mapping file's tables; raises ProximityError with every problem."""
    top = TomlTable(table, name)
    said = {one: top.text(one) for one in ("table", "key", "changed_at")}
    for one, value in said.items():
        if value is None and one not in table:
            top.fault(f"{one} is missing")
    schema, erased_at = top.text("schema"), top.text("erased_at")
    insert = top.flag("insert", default=True)
    overlap_s = top.number("overlap_s", OVERLAP_S, least=0.0, most=86_400.0)
    item = top.child("columns")
    columns = {one: field for one in item.table if (field := item.text(one)) is not None}
    for one, field in columns.items():
        if field != SUBJECT:
            try:
                check_field(field)
            except ValueError as error:
                item.fault(f"{one}: {error}")
            if field.startswith("subjects."):
                item.fault(f'{one}: write "{SUBJECT}" for the column of a device or card')
    if len(set(columns.values())) < len(columns):
        item.fault("two columns are the same field: keep one")
    item.finish()
    flags = {}
    item = top.child("consents")
    for one in item.table:
        flag = item.child(one)
        purpose, channel = flag.identity("purpose"), flag.identity("channel")
        flag.finish()
        if purpose is None:
            flag.fault("purpose is missing")
        else:
            flags[one] = Flag(purpose, channel)
    item.finish()
    top.finish()
    if top.problems:
        raise ProximityError(*top.problems)
    return Mapping_(
        table=said["table"] or "", key=said["key"] or "", changed_at=said["changed_at"] or "",
        schema=schema, erased_at=erased_at, insert=insert, overlap_s=overlap_s,
        columns=columns, flags=flags,
    )  # fmt: skip


def value_of(field: str, cell: Any) -> Any:
    """Read a cell as the value of a field; an empty one is None. Raises ValueError."""
    if cell is None or cell == "":
        return None
    if isinstance(cell, Decimal) and cell.is_finite():
        cell = int(cell) if cell == cell.to_integral_value() else float(cell)
    if isinstance(cell, datetime | date):
        cell = cell.isoformat()
    if isinstance(cell, float | Decimal) and not math.isfinite(cell):
        raise ValueError(f"{field}: {cell} is no number")
    if isinstance(cell, bytes | memoryview):
        raise ValueError(f"{field}: the column holds bytes: name one that holds text or numbers")  # noqa: TRY004 - it is input
    if field == "languages":
        return [part.strip() for part in str(cell).split(";") if part.strip()]
    if field == "preferences":
        return msgspec.json.decode(str(cell))
    if field == SUBJECT or field.startswith("endpoints.") or field == "timezone":
        return str(cell)
    if not isinstance(cell, str | int | float | bool | list | dict):
        return str(cell)
    return cell


def cell_of(field: str, value: Any, kind: type) -> Any:
    """Write a field's value for a column whose cells are of this Python type."""
    if value is None:
        return None
    if field == "languages":
        return ";".join(value)
    if field.startswith("endpoints."):
        last = value[-1]
        return last["address"] if isinstance(last, dict) else last
    if kind is str and not isinstance(value, str):
        return msgspec.json.encode(value).decode()
    if kind is UUID:
        value = str(value)
    if kind in {int, float, Decimal, UUID} and isinstance(value, int | float | str):
        make: Any = kind
        try:
            return make(value)
        except (ArithmeticError, ValueError):
            raise ValueError(f"{field}: {value!r:.40} is no {kind.__name__}") from None
    if kind is bool and isinstance(value, int):
        return bool(value)
    if kind in {datetime, date} and isinstance(value, str):
        return kind.fromisoformat(value)
    if kind is str or isinstance(value, kind):
        return value
    raise ValueError(f"{field}: a column of {kind.__name__} cannot hold {value!r:.40}")


def instant(cell: Any) -> float:
    """Read a cell as Unix seconds; a time without a zone is UTC. Raises ValueError."""
    if isinstance(cell, datetime):
        return (cell if cell.tzinfo is not None else cell.replace(tzinfo=UTC)).timestamp()
    if isinstance(cell, Decimal | int | float) and not isinstance(cell, bool):
        return parse_time(float(cell))
    if isinstance(cell, str):
        return parse_time(cell)
    raise ValueError(f"{cell!r:.40} is no time: a column of times, numbers or RFC 3339 text is")


def written_at(at: float, kind: type, *, aware: bool) -> Any:
    """Write Unix seconds for a column whose cells are of this Python type."""
    if kind is datetime:
        moment = datetime.fromtimestamp(at, UTC)
        return moment if aware else moment.replace(tzinfo=None)
    if kind is str:
        return format_time(at)
    return kind(at)


_YES = frozenset({"yes", "y", "true", "t", "1"})
_NO = frozenset({"no", "n", "false", "f", "0", ""})


def is_yes(column: str, cell: Any) -> bool:
    """Read a cell that says whether somebody agrees; an empty one is no. Raises ValueError.

    A text is taken for a yes by what it says alone: nobody agreed by a word that we do not know.
    """
    if not isinstance(cell, str):
        return bool(cell)
    word = cell.strip().lower()
    if word not in _YES | _NO:
        raise ValueError(f"{column}: {cell!r:.40} is neither yes nor no: write true or false")
    return word in _YES


def is_marked(cell: Any) -> bool:
    """Whether a cell says that its person is erased: neither empty, nor false, nor 0."""
    return bool(cell.strip() if isinstance(cell, str) else cell)


def check_key(cell: Any) -> str:
    """Read the cell that names a person. Raises ValueError where it is no id."""
    name = str(cell)
    check_id(name, "the person's id")
    return name
