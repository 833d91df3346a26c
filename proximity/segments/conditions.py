"""The question: does one value, an attribute's or a property's, fit what is asked of it.

``OPERATORS`` is a table of what can be asked; ``sql`` has the same rows for a database.
Pure; whose value it is, and of what, is ``rules``'.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any

import msgspec

from proximity.tomltable import TomlTable

__all__ = [
    "MOST_NAME", "MOST_TEXT", "NUL", "OPERATORS", "Condition", "Value", "quoted", "read_conditions",
    "searchable", "searchable_values", "value_fault",
]  # fmt: skip

Value = str | float | bool

MOST_TEXT = 400
"""Characters of a text that rules can ask for. An index entry of PostgreSQL ends at 2,704 bytes, of
which a name may need 512, and what is longer is a note, not a property of a person."""
MOST_NAME = 128
MOST_ITEMS = 1000
"""Items of a list that rules can ask for; interests and memberships are fewer."""
NUL = "\\u0000"
"""How JSON writes the one character that PostgreSQL can neither keep in text nor read from JSON."""


def searchable(value: object) -> tuple[str | float, ...]:
    """Give what rules see of an attribute's or a property's value: texts, and numbers as floats.

    A flag is the number 1 or 0; a list of texts has an item for each. Everything else, and text
    that is too long, is kept and seen by no rule: an empty tuple.
    """
    if isinstance(value, str):
        return (value,) if len(value) <= MOST_TEXT and "\0" not in value else ()
    if isinstance(value, int | float):
        try:
            number = float(value)
        except OverflowError:  # JSON's whole numbers have no end, floats do
            return ()
        return (number,) if math.isfinite(number) else ()
    if isinstance(value, list | tuple) and all(isinstance(one, str) for one in value):
        return tuple(one for one in value if len(one) <= MOST_TEXT and "\0" not in one)[:MOST_ITEMS]
    return ()


def searchable_values(attributes: Mapping[str, Any]) -> dict[str, tuple[str | float, ...]]:
    """Give what rules see of a person's attributes, by name; what they do not see is left out."""
    return {
        name: values
        for name, value in attributes.items()
        if 0 < len(name) <= MOST_NAME and "\0" not in name and (values := searchable(value))
    }


class Condition(msgspec.Struct, frozen=True):
    """What is asked of one value: a row of ``OPERATORS`` and what it is compared with.

    ``wanted`` is a tuple of values for ``one_of``, true or false for ``known``.
    """

    operator: str
    wanted: Any

    def test(self) -> Callable[[object], bool]:
        """Make the function that says whether a value, None where there is none, fits."""
        return OPERATORS[self.operator].make(self.wanted)

    def phrase(self) -> str:
        """Say it, to follow the name of what is asked."""
        return OPERATORS[self.operator].phrase(self.wanted)


def _is(wanted: Value) -> Callable[[object], bool]:
    # Equality of a text needs no look at how long it is: what is wanted can be asked for.
    if isinstance(wanted, str):
        return lambda value: (
            value == wanted
            if value.__class__ is str
            else value is not None and wanted in searchable(value)
        )
    number = float(wanted)
    return lambda value: value is not None and number in searchable(value)


def _is_not(wanted: Value) -> Callable[[object], bool]:
    test = _is(wanted)
    return lambda value: not test(value)


def _one_of(wanted: Collection[Value]) -> Callable[[object], bool]:
    values = frozenset(one if isinstance(one, str) else float(one) for one in wanted)
    return lambda value: value is not None and not values.isdisjoint(searchable(value))


def _compared(compare: Callable[[float, float], bool]) -> Callable[[float], Callable[..., bool]]:
    def make(wanted: float) -> Callable[[object], bool]:
        def test(value: object) -> bool:
            return any(
                not isinstance(one, str) and compare(one, wanted) for one in searchable(value)
            )

        return test

    return make


def _contains(wanted: str) -> Callable[[object], bool]:
    return lambda value: any(isinstance(one, str) and wanted in one for one in searchable(value))


class Operator(msgspec.Struct, frozen=True):
    """A row of ``OPERATORS``: how it is tested and said, and what it may be compared with."""

    make: Callable[[Any], Callable[[object], bool]]
    phrase: Callable[[Any], str]
    takes: str


OPERATORS: dict[str, Operator] = {
    "is": Operator(_is, lambda wanted: f"is {_shown(wanted)}", "value"),
    "is_not": Operator(_is_not, lambda wanted: f"is not {_shown(wanted)}", "value"),
    "one_of": Operator(_one_of, lambda wanted: f"is {_listed(wanted)}", "values"),
    "at_least": Operator(
        _compared(float.__ge__), lambda wanted: f"is at least {_shown(wanted)}", "number"
    ),
    "at_most": Operator(
        _compared(float.__le__), lambda wanted: f"is at most {_shown(wanted)}", "number"
    ),
    "more_than": Operator(
        _compared(float.__gt__), lambda wanted: f"is more than {_shown(wanted)}", "number"
    ),
    "less_than": Operator(
        _compared(float.__lt__), lambda wanted: f"is less than {_shown(wanted)}", "number"
    ),
    "contains": Operator(_contains, lambda wanted: f"contains {_shown(wanted)}", "text"),
    "known": Operator(
        lambda wanted: lambda value: bool(searchable(value)) is wanted,
        lambda wanted: "is known" if wanted else "is not known",
        "flag",
    ),
}
"""How a value can be asked for. Where nothing is known none holds but ``is_not`` and
``known = false``; of a list each holds where it does for any item."""


def quoted(text: str | None) -> str:
    """Write a text as sentences do."""
    return f'"{text}"'


def _shown(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return quoted(value) if isinstance(value, str) else f"{value:.15g}"


_MOST_SAID = 5


def _listed(values: tuple[Value, ...]) -> str:
    """Write some values; a long list is cut short, as nobody reads a sentence of thousands."""
    said = [_shown(value) for value in values[:_MOST_SAID]]
    if len(values) > _MOST_SAID:
        return f"{', '.join(said)} or one of {len(values) - _MOST_SAID} more"
    return said[0] if len(said) == 1 else f"{', '.join(said[:-1])} or {said[-1]}"


_MOST_VALUES = 1000
_MOST_NUMBER = 1e15
_UNASKABLE = f"a text of more than {MOST_TEXT} characters, or with a NUL, cannot be asked for"


def value_fault(value: str | float) -> str | None:
    """Say why nobody can ask for a value; None where one can."""
    if isinstance(value, str):
        return None if searchable(value) and NUL not in value else _UNASKABLE
    return None if searchable(value) else "a number must be finite"


def read_conditions(item: TomlTable) -> tuple[Condition, ...]:
    """Read every comparison that a table makes."""
    found = []
    for operator, row in OPERATORS.items():
        if item.has(operator):
            wanted = _TAKES[row.takes](item, operator)
            if wanted is not None:
                found.append(Condition(operator, wanted))
    return tuple(found)


def _value(item: TomlTable, key: str) -> Value | None:
    """Read a text, a number, or true or false."""
    value = item.table[key]
    if isinstance(value, str | int | float):
        fault = value_fault(value)
        if fault is None:
            return value if isinstance(value, str | bool) else float(value)
        item.fault(f"{key}: {fault}")
        return None
    item.fault(f"{key} must be a text, a number, or true or false")
    return None


def _values(item: TomlTable, key: str) -> tuple[Value, ...] | None:
    values = item.table[key]
    if not isinstance(values, list) or not 1 <= len(values) <= _MOST_VALUES:
        item.fault(f"{key} must be a list of 1 to {_MOST_VALUES} values")
        return None
    read = [_value(TomlTable({key: one}, item.where, item.problems), key) for one in values]
    return tuple(dict.fromkeys(one for one in read if one is not None))


def _text(item: TomlTable, key: str) -> str | None:
    text = item.text(key)
    fault = None if text is None else value_fault(text)
    if fault is None:
        return text
    item.fault(f"{key}: {fault}")
    return None


_TAKES: dict[str, Callable[[TomlTable, str], Any]] = {
    "value": _value,
    "values": _values,
    "number": lambda item, key: item.number(key, 0.0, least=-_MOST_NUMBER, most=_MOST_NUMBER),
    "text": _text,
    "flag": lambda item, key: item.flag(key, default=True),
}
"""How what an operator compares with is read, by what its row takes."""
