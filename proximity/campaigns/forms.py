"""The question: what may stand under a key of a TOML table, and how is that said to a program.

A form is a list of keys, each with its shape: how it is read, and what JSON Schema says of it. One
list serves the reader, the schema and the reference page, so that they cannot differ. It must not
know any particular file.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from beacon_gateway.model import check_id
from proximity.person import language_tag
from proximity.windows import DAYS, parse_windows

if TYPE_CHECKING:
    from collections.abc import Collection

    from proximity.tomltable import TomlTable

__all__ = [
    "Form", "Key", "Shape", "choice", "day", "dayparts", "flag", "identity", "language", "moment",
    "names",
    "number", "properties", "read", "schema_of", "table", "tables", "text", "texts", "whole",
    "windows",
]  # fmt: skip

_IDENTITY = {"type": "string", "minLength": 1, "maxLength": 128}
_CLOCK = r"^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$"
_WINDOW = {
    "type": "object",
    "properties": {
        "days": {"type": "array", "items": {"enum": list(DAYS)}, "minItems": 1},
        "from": {"type": "string", "pattern": _CLOCK},
        "to": {"type": "string", "pattern": _CLOCK},
        "holidays": {"type": "boolean"},
    },
    "required": ["from", "to"],
    "additionalProperties": False,
}
_MOST_WINDOWS = 64
_MOST_NAMES = 10_000
_MOST_PROPERTIES = 20
CLOCKS = ("both", "place", "person")


class Shape(NamedTuple):
    """What may stand under a key: ``read`` gives its value, None where it is at fault."""

    read: Callable[[TomlTable, str], Any]
    schema: dict[str, Any]


class Key(NamedTuple):
    """A key: ``says`` what it means and ``otherwise`` what holds where it is left out, in Markdown.

    ``field`` is its name in the value that is made of it, where that is another.
    """

    name: str
    shape: Shape
    says: str
    otherwise: str = ""
    needed: bool = False
    field: str | None = None


Form = tuple[Key, ...]


def read(form: Form, item: TomlTable) -> dict[str, Any]:
    """Read what is written of a form's keys, by field; every fault is noted with the table."""
    for key in form:
        if key.needed and not item.has(key.name):
            item.fault(f"{key.name} is missing")
    values: dict[str, Any] = {}
    for key in form:
        if item.has(key.name):
            value = key.shape.read(item, key.name)
            if value is not None:
                values[key.field or key.name] = value
    return values


def schema_of(form: Form) -> dict[str, Any]:
    """Say in JSON Schema what a table of this form is."""
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {
            key.name: {"description": _plain(key.says), **key.shape.schema} for key in form
        },
        "additionalProperties": False,
    }
    needed = [key.name for key in form if key.needed]
    return schema | ({"required": needed} if needed else {})


def _plain(text: str) -> str:
    return text.replace("`", "")


def text() -> Shape:
    """Make the shape of a text that is not blank."""
    return Shape(lambda item, key: item.text(key), {"type": "string", "pattern": r"\S"})


def language() -> Shape:
    """Make the shape of a language tag."""
    return Shape(_read_language, {"type": "string", "maxLength": 35})


def _read_language(item: TomlTable, key: str) -> str | None:
    value = item.text(key)
    if value is None:
        return None
    try:
        return language_tag(value)
    except ValueError as error:
        item.fault(f"{key}: {error}")
        return None


def identity() -> Shape:
    """Make the shape of an id."""
    return Shape(lambda item, key: item.identity(key), _IDENTITY)


def choice(words: Collection[str]) -> Shape:
    """Make the shape of one of some words."""
    return Shape(lambda item, key: item.choice(key, words), {"enum": list(words)})


def number(least: float, most: float, default: float = 0.0) -> Shape:
    """Make the shape of a number from ``least`` to ``most``."""
    schema = {"type": "number", "minimum": least, "maximum": most}
    return Shape(lambda item, key: item.number(key, default, least=least, most=most), schema)


def whole(least: int, most: int) -> Shape:
    """Make the shape of a whole number from ``least`` to ``most``."""
    schema = {"type": "integer", "minimum": least, "maximum": most}
    return Shape(lambda item, key: item.whole(key, least, least=least, most=most), schema)


def flag() -> Shape:
    """Make the shape of true or false."""
    return Shape(lambda item, key: item.flag(key, default=False), {"type": "boolean"})


def moment() -> Shape:
    """Make the shape of a moment: RFC 3339, or Unix seconds."""
    schema = {"anyOf": [{"type": "string", "minLength": 10}, {"type": "number", "minimum": 0}]}
    return Shape(lambda item, key: item.time(key), schema)


def day() -> Shape:
    """Make the shape of a day of the calendar: a TOML date, or text such as ``2026-12-24``."""
    schema = {"type": "string", "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"}
    return Shape(_read_day, schema)


def _read_day(item: TomlTable, key: str) -> date | None:
    value = item.table[key]
    if isinstance(value, str) and len(value) == 10:
        try:
            return date.fromisoformat(value)
        except ValueError:
            value = None
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    item.fault(f"{key} must be a day such as 2026-12-24")
    return None


def names() -> Shape:
    """Make the shape of a list of ids, each once."""
    schema = {"type": "array", "items": _IDENTITY, "minItems": 1, "maxItems": _MOST_NAMES}
    return Shape(lambda item, key: item.names(key), schema)


def windows() -> Shape:
    """Make the shape of one window of local time, or a list of them."""
    several = {"type": "array", "items": _WINDOW, "maxItems": _MOST_WINDOWS}
    return Shape(lambda item, key: item.windows(key), {"anyOf": [_WINDOW, several]})


def dayparts(make: Callable[..., Any]) -> Shape:
    """Make the shape of a list of windows that name whose clock they are on.

    ``make`` is called with each window and its clock.
    """
    clock = {"clock": {"enum": list(CLOCKS)}}
    part = _WINDOW | {"properties": {**_WINDOW["properties"], **clock}}  # type: ignore[dict-item]  # a dict
    schema = {"type": "array", "items": part, "minItems": 1, "maxItems": _MOST_WINDOWS}
    return Shape(lambda item, key: _read_dayparts(item, key, make), schema)


def _read_dayparts(item: TomlTable, key: str, make: Callable[..., Any]) -> tuple[Any, ...]:
    written = item.children(key)
    if len(written) > _MOST_WINDOWS:
        item.fault(f"{key}: {len(written)} windows are too many, at most {_MOST_WINDOWS}")
        return ()
    parts = []
    for one in written:
        clock = one.choice("clock", CLOCKS)
        window = {name: value for name, value in one.table.items() if name != "clock"}
        found, problems = parse_windows(window, one.where)
        item.problems.extend(problems)
        parts += [make(window, clock or "both") for window in found]
    return tuple(parts)


def table(form: Form, make: Callable[..., Any]) -> Shape:
    """Make the shape of a table within the table; ``make`` is called with its fields."""

    def one(item: TomlTable, key: str) -> Any:
        return _make(item.child(key), form, make)

    return Shape(one, schema_of(form))


def tables(form: Form, make: Callable[..., Any], most: int = 1000) -> Shape:
    """Make the shape of a list of tables; ``make`` is called with the fields of each."""

    def several(item: TomlTable, key: str) -> tuple[Any, ...]:
        found = item.children(key)
        if len(found) > most:
            item.fault(f"{len(found)} tables of {key} are too many, at most {most}")
            return ()
        made = [_make(one, form, make) for one in found]
        return tuple(one for one in made if one is not None)

    return Shape(several, {"type": "array", "items": schema_of(form), "maxItems": most})


def _make(item: TomlTable, form: Form, make: Callable[..., Any]) -> Any:
    before = len(item.problems)
    values = read(form, item)
    item.finish()
    if len(item.problems) > before:
        return None
    try:
        return make(**values)
    except ValueError as error:  # what keys say of each other
        item.fault(str(error))
        return None


def texts() -> Shape:
    """Make the shape of a text for each language tag; what is wrong with a text is content's."""
    schema = {"type": "object", "additionalProperties": {"type": "string"}}
    return Shape(lambda item, key: dict(item.child(key).table), schema)


def properties() -> Shape:
    """Make the shape of properties of an event: flat, of texts, numbers and flags."""
    values = {"type": ["string", "number", "boolean"]}
    schema = {"type": "object", "additionalProperties": values, "maxProperties": _MOST_PROPERTIES}
    return Shape(_read_properties, schema)


def _read_properties(item: TomlTable, key: str) -> dict[str, Any]:
    inner = item.child(key)
    if len(inner.table) > _MOST_PROPERTIES:
        inner.fault(f"{len(inner.table)} properties are too many, at most {_MOST_PROPERTIES}")
    for name, value in inner.table.items():
        try:
            check_id(name, "a property's name")
        except ValueError as error:
            inner.fault(str(error))
        if not isinstance(value, str | int | float):
            inner.fault(f"{name!r:.60} must be a text, a number, true or false")
    return dict(inner.table)
