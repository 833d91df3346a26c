"""The question: how do people stand in a table, as a CRM exports and imports them.

One row a person. ``person``, ``timezone``; ``subjects`` and ``languages`` with ``;`` between;
``consents``, ``preferences`` and ``endpoints`` as JSON; and a column for each attribute, its type
behind a colon, so that what is read is what was written: ``tier:text``, ``age:number``,
``member:flag``, ``likes:texts``, and ``:json`` for anything else. An empty cell says nothing. Pure.
"""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from proximity.model import Person, ProximityError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

__all__ = ["KINDS", "OWN", "columns_of", "parse_rows", "parse_table", "write_table"]

OWN = ("person", "subjects", "timezone", "languages", "consents", "preferences", "endpoints")
_LISTS = ("subjects", "languages")
_RECORDS = ("consents", "preferences", "endpoints")
_MOST_PROBLEMS = 100
_MOST_COLUMNS = 1000
_LONGEST_CELL = 128 * 1024
_Read = TypeVar("_Read")


def _flag(text: str) -> bool:
    if text not in {"true", "false"}:
        raise ValueError("write true or false")
    return text == "true"


def _number(text: str) -> float | int:
    try:
        return msgspec.json.decode(text, type=int | float)
    except msgspec.DecodeError:
        raise ValueError("write a number, such as 12 or 0.5") from None


def _texts(text: str) -> list[str]:
    if text.startswith("["):
        return msgspec.json.decode(text, type=list[str])
    return [part.strip() for part in text.split(";") if part.strip()]


def _text(text: str) -> str:
    return text


_READ: dict[str, Callable[[str], Any]] = {
    "text": _text,
    "number": _number,
    "flag": _flag,
    "texts": _texts,
    "json": msgspec.json.decode,
}
"""How a cell is read, by the type that its column names."""
KINDS = tuple(_READ)


def parse_table(text: str, name: str) -> list[Person]:
    """Read people from the text of a CSV file.

    Raises ProximityError with every problem (the first hundred), by row; the header is row 1.
    """
    return parse_rows(text, name, (), lambda person, _: person)


def parse_rows(
    text: str,
    name: str,
    also: Sequence[str],
    read: Callable[[Person, dict[str, str]], _Read],
) -> list[_Read]:
    """Read a CSV file of people with other columns, ``also``, as what ``read`` makes of each row.

    ``read`` is given a person and the cells of those columns that are not empty, and raises
    ValueError where they are wrong, ProximityError where several things are. Raises ProximityError
    as ``parse_table`` does.
    """
    limit = csv.field_size_limit(_LONGEST_CELL)
    try:
        rows = csv.reader(io.StringIO(text), strict=True)
        header = [column.strip() for column in next(rows, [])]
        problems = _header_problems(header, also)
        if problems:
            raise ProximityError(*(f"{name}, row 1: {problem}" for problem in problems))
        found: list[_Read] = []
        for cells in rows:
            if not any(cells):
                continue
            spot = f"{name}, row {rows.line_num}"
            others = {
                column: cell
                for column, cell in zip(header, cells, strict=False)
                if cell and column in also
            }
            fields, faults = _fields(header, cells, also)
            try:
                if not faults:
                    found.append(read(msgspec.convert(fields, Person), others))
            except ProximityError as error:
                faults += error.problems
            except (ValueError, RecursionError) as error:
                faults.append(str(error))
            problems += [f"{spot}: {fault}" for fault in faults]
            if len(problems) >= _MOST_PROBLEMS:
                break
    except csv.Error as error:
        spot = f"{name}, row {rows.line_num}"
        raise ProximityError(f"{spot}: this is no CSV ({error}): save it as such") from None
    finally:
        csv.field_size_limit(limit)
    if problems:
        raise ProximityError(*problems[:_MOST_PROBLEMS])
    return found


def _header_problems(header: list[str], also: Sequence[str]) -> list[str]:
    problems = []
    known = (*also, *OWN)
    if "person" not in header:
        problems.append("there is no column person, which names each row's person")
    if len(header) > _MOST_COLUMNS:
        return [f"{len(header)} columns are too many, at most {_MOST_COLUMNS}"]
    for column in header:
        attribute, colon, kind = column.rpartition(":")
        if header.count(column) > 1:
            problems.append(f"column {column!r:.60} is there twice")
        elif column not in known and not (colon and kind in _READ and _name(attribute) is not None):
            problems.append(
                f"column {column!r:.60} is none of {', '.join(known)}, nor an attribute with its "
                f"type, such as tier:text; types are {', '.join(_READ)}"
            )
    return list(dict.fromkeys(problems))


def _fields(
    header: list[str], cells: list[str], also: Sequence[str]
) -> tuple[dict[str, Any], list[str]]:
    """Read the cells of one row, and say all that is wrong with them."""
    if len(cells) > len(header):
        return {}, [f"{len(cells)} cells are more than the {len(header)} of the header"]
    fields: dict[str, Any] = {}
    attributes: dict[str, Any] = {}
    faults: list[str] = []
    for column, cell in zip(header, cells, strict=False):
        if not cell or column in also:
            continue
        try:
            if column in _LISTS:
                fields[column] = _texts(cell)
            elif column in _RECORDS:
                fields[column] = msgspec.json.decode(cell)
            elif column in OWN:
                fields[column] = cell
            else:
                heading, _, kind = column.rpartition(":")
                attribute = _name(heading)
                if attribute in attributes:  # of several types each row has one
                    raise ValueError(f"there is a value of {attribute} in this row already")
                attributes[attribute or ""] = _READ[kind](cell)
        except (ValueError, RecursionError) as error:
            faults.append(f"column {column}: {error}")
    if attributes:
        fields["attributes"] = attributes
    return fields, faults


def _heading(name: str) -> str:
    """Write an attribute's name for the header: as JSON where it would not be read as it is."""
    plain = name and name == name.strip() and name[0] != '"' and "\r" not in name
    return name if plain else msgspec.json.encode(name).decode()


def _name(heading: str) -> str | None:
    """Read an attribute's name in a header; None where there is none."""
    if not heading.startswith('"'):
        return heading or None
    try:
        return msgspec.json.decode(heading, type=str)
    except msgspec.DecodeError:
        return None


def write_table(people: Iterable[Mapping[str, Any]]) -> str:
    """Write records of people (contract 3) as the text of a CSV file, which reads as the same."""
    records = list(people)
    columns = dict.fromkeys(
        (name, _kind(value))
        for record in records
        for name, value in sorted(record.get("attributes", {}).items())
    )
    own = [name for name in OWN if name == "person" or any(one.get(name) for one in records)]
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow([*own, *(f"{_heading(name)}:{kind}" for name, kind in columns)])
    for record in records:
        attributes = record.get("attributes", {})
        row = [_own_cell(name, record.get(name)) for name in own]
        for name, kind in columns:
            value = attributes.get(name)
            there = name in attributes and _kind(value) == kind
            row.append(_cell(kind, value) if there else "")
        table.writerow(row)
    return out.getvalue()


def columns_of(people: Iterable[Mapping[str, Any]]) -> dict[str, tuple[str, list[Any]]]:
    """Turn records of people (contract 3) on their side, for a table whose columns have types.

    Gives each column's kind (text, flag, integer, number, texts) and its values, None where a row
    says nothing. An attribute's column has its plain name where type and name tell what it is.
    """
    records = list(people)
    columns: dict[str, tuple[str, list[Any]]] = {
        name: ("texts" if name in _LISTS else "text", [_own_value(name, one) for one in records])
        for name in OWN
        if name == "person" or any(one.get(name) for one in records)
    }
    every = [one.get("attributes", {}) for one in records]
    kinds: dict[str, dict[str, None]] = {}
    for attributes in every:
        for name, value in sorted(attributes.items()):
            kinds.setdefault(name, {})[_kind(value)] = None
    for name, its in kinds.items():
        for kind in its:
            there = [name in one and _kind(one[name]) == kind for one in every]
            values = [
                one[name] if its_own else None for one, its_own in zip(every, there, strict=True)
            ]
            typed = _type(kind, values)
            plain = typed is not None and len(its) == 1 and not _means_else(name)
            if typed is None:
                # A null that somebody said is a word; a row that says nothing has none.
                values = [
                    _cell(kind, value) if its_own else None
                    for value, its_own in zip(values, there, strict=True)
                ]
            columns[name if plain else f"{_heading(name)}:{kind}"] = (typed or "text", values)
    return columns


def _own_value(name: str, record: Mapping[str, Any]) -> Any:
    value = record.get(name)
    return value if name in _LISTS else _own_cell(name, value) or None


def _means_else(name: str) -> bool:
    """Whether a column of an attribute's plain name would be read as something else."""
    return name in OWN or name != _heading(name) or name.rpartition(":")[2] in _READ


def _type(kind: str, values: list[Any]) -> str | None:
    """Name the type of a column in which each value comes back as it is; None: as text only."""
    if kind != "number":
        return None if kind == "json" else kind
    there = [value for value in values if value is not None]
    if all(isinstance(value, int) and abs(value) < 2**63 for value in there):
        return "integer"
    return "number" if all(isinstance(value, float) for value in there) else None


def _own_cell(name: str, value: Any) -> str:
    if not value:
        return ""
    if name in _LISTS and not any(";" in one or one.startswith("[") for one in value):
        return ";".join(value)
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _cell(kind: str, value: Any) -> str:
    return value if kind == "text" else msgspec.json.encode(value).decode()


def _kind(value: Any) -> str:
    """Name the type of an attribute's column; one that a plain cell cannot hold is ``json``."""
    if isinstance(value, str):
        return "text" if value and value == value.strip("\r\n") and "\r" not in value else "json"
    if isinstance(value, bool):
        return "flag"
    if isinstance(value, int | float):
        return "number"
    texts = isinstance(value, list) and bool(value) and all(isinstance(v, str) for v in value)
    return "texts" if texts else "json"
