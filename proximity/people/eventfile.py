"""The question: which events does this file hold: a log of JSON lines, or a table.

A table (CSV) has a row an event: ``subject`` (or ``person``), ``at``, ``name``, ``id``, and a
column for each property, its type behind a colon (``price:number``; without one it is text), so
that a till's or a mail program's own export can be read. Pure: lines in, events and problems out.
"""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any, BinaryIO

import msgspec

from beacon_gateway.model import Sighting
from proximity.inputs import PARQUET, read_parquet
from proximity.model import Event, Fix

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["KINDS", "LONGEST_LINE", "OWN", "Line", "bounded", "read_events"]

LONGEST_LINE = 64 * 1024
_LONGEST_CELL = 64 * 1024
_MOST_TABLE = 64 * 1024 * 1024
"""Bytes of a Parquet file, which cannot be read line by line."""
_OWN = ("subject", "at", "name", "id")
OWN = (*_OWN, "person")
_records: msgspec.json.Decoder[Event | Fix | Sighting] = msgspec.json.Decoder(
    Event | Fix | Sighting
)


def bounded(stream: BinaryIO, name: str = "the table") -> Iterator[bytes]:
    """Give the lines of a file; of one that is too long no more than shows that it is.

    A Parquet file gives the lines of the table that it is. Raises ProximityError, led by the file's
    ``name``, where it cannot.
    """
    line = stream.readline(LONGEST_LINE + 1)
    if line.startswith(PARQUET):
        table = read_parquet(line, stream, _MOST_TABLE, name, OWN, KINDS)
        yield from table.encode().splitlines(keepends=True)
        return
    while line:
        yield line
        while len(line) > LONGEST_LINE and not line.endswith(b"\n"):
            line = stream.readline(LONGEST_LINE + 1)
        line = stream.readline(LONGEST_LINE + 1)


class Line(msgspec.Struct, frozen=True):
    """A line of a file, from 1: an event, or what is wrong with it."""

    number: int
    event: Event | None = None
    problem: str | None = None


def _text(text: str) -> str:
    return text


def _number(text: str) -> float:
    return msgspec.json.decode(text, type=float)


def _flag(text: str) -> bool:
    return msgspec.json.decode(text.lower(), type=bool)


def _time(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


_READ: dict[str, Callable[[str], str | float | bool]] = {
    "text": _text,
    "number": _number,
    "flag": _flag,
}
"""How a cell is read, by the type that its column names."""
KINDS = tuple(_READ)


def read_events(lines: Iterable[bytes], *, name: str | None = None) -> Iterator[Line]:
    """Read the events of a log or a table, by what its first line is; other records are no events.

    ``name`` is that of events of a table without a column for it.
    """
    numbered = enumerate(lines, start=1)
    first = next((one for one in numbered if one[1].strip()), None)
    if first is None:
        return
    if first[1].removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{"):
        yield from _read_log(one for part in ((first,), numbered) for one in part)
    else:
        yield from _read_table(first, (line for _, line in numbered), name)


def _read_log(numbered: Iterable[tuple[int, bytes]]) -> Iterator[Line]:
    for number, line in numbered:
        if not line.strip():
            continue
        if len(line) > LONGEST_LINE:
            yield Line(number, problem=f"the line is longer than {LONGEST_LINE} bytes")
            continue
        try:
            record = _records.decode(line.removeprefix(b"\xef\xbb\xbf"))
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            yield Line(number, problem=f"this is no record: {error}")
            continue
        if isinstance(record, Event):
            yield Line(number, record)


def _read_table(
    first: tuple[int, bytes], rest: Iterable[bytes], name: str | None
) -> Iterator[Line]:
    before = first[0] - 1
    limit = csv.field_size_limit(_LONGEST_CELL)
    try:
        text = (line.decode("utf-8-sig", "replace") for part in (first[1:], rest) for line in part)
        rows = csv.reader(text, strict=True)
        header = [column.strip() for column in next(rows)]
        whose = "person" if "person" in header and "subject" not in header else "subject"
        problems = _twice(header)
        header = ["subject" if column == whose else column for column in header]
        missing = [one for one in ("subject", "at", "name") if one not in header]
        if name is not None and "name" in missing:
            missing.remove("name")
        if missing:
            problems.append(f"there is no column {' and none '.join(missing)}")
        if problems:
            yield from (Line(first[0], problem=problem) for problem in problems)
            return
        for cells in rows:
            if not "".join(cells).strip():
                continue
            whom = header.index("subject")
            if whom >= len(cells) or not cells[whom]:
                yield Line(
                    before + rows.line_num, problem=f"{whose} is empty: say whose event it is"
                )
            else:
                yield _row(before + rows.line_num, header, cells, name)
    except csv.Error as error:
        yield Line(first[0], problem=f"this is neither JSON lines nor CSV ({error})")
    finally:
        csv.field_size_limit(limit)


def _twice(header: list[str]) -> list[str]:
    """Name the columns that say the same thing: of two cells one would be lost."""
    told: set[str] = set()
    found = []
    for column in header:
        label, colon, kind = column.rpartition(":")
        one = label if colon and kind in _READ else column
        if one in told:
            found.append(f"column {one!r:.60} is there twice: keep one")
        told.add(one)
    return found


def _row(number: int, header: list[str], cells: list[str], name: str | None) -> Line:
    fields: dict[str, Any] = {"type": "event"} | ({} if name is None else {"name": name})
    properties: dict[str, Any] = {}
    if len(cells) > len(header):
        return Line(number, problem=f"{len(cells)} cells, but {len(header)} columns")
    for column, cell in zip(header, cells, strict=False):
        if not cell:
            continue
        if column in _OWN:
            fields[column] = _time(cell) if column == "at" else cell
            continue
        label, colon, kind = column.rpartition(":")
        read = _READ.get(kind) if colon else None
        try:
            properties[label if read is not None else column] = (read or _text)(cell)
        except (msgspec.DecodeError, ValueError):
            return Line(number, problem=f"{column}: this is none")
    fields["properties"] = properties
    try:
        return Line(number, msgspec.convert(fields, Event))
    except (msgspec.ValidationError, ValueError) as error:
        return Line(number, problem=str(error))
