"""The question: what does this table of a TOML file say, and what is wrong with it.

A reader that asks for one key after the other and gathers every problem instead of stopping at the
first: each names the file, the table, the key and the mend. Pure; it knows no campaign and no file.
"""

from __future__ import annotations

import difflib
import math
import tomllib
from datetime import datetime
from typing import TYPE_CHECKING, Any

from beacon_gateway.model import check_id
from proximity.model import ProximityError, parse_time
from proximity.windows import Window, parse_windows, shown

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

__all__ = ["TomlTable", "nearest", "parse_toml"]

_MOST_NAMES = 10_000
"""Names in one list; a chain with that many shops would use a tag."""


def parse_toml(text: str, name: str) -> dict[str, Any]:
    """Read a text of TOML; raises ProximityError, led by ``name``, where it is none."""
    try:
        return tomllib.loads(text)
    except ValueError as error:  # TOMLDecodeError, or a number of more digits than Python reads
        raise ProximityError(f"{name}: this is no TOML: {error}") from None
    except RecursionError:
        raise ProximityError(
            f"{name}: this is nested too deeply: these are tables of values"
        ) from None


class TomlTable:
    """One table, read key by key; ``problems`` gathers the faults of it and of all made from it.

    ``where`` leads every problem; ``path`` leads to its keys in the file's own words, such as
    ``campaign.``. Each reading method gives the value of a key, or the default
    where the key is absent or at fault; ``finish`` names the keys that nobody asked for.
    """

    def __init__(
        self,
        table: Mapping[str, Any],
        where: str,
        problems: list[str] | None = None,
        path: str = "",
    ) -> None:
        self.table = table
        self.where = where
        self.problems: list[str] = [] if problems is None else problems
        self._path = path
        self._known: list[str] = []

    def fault(self, text: str) -> None:
        """Note a problem of this table."""
        self.problems.append(f"{self.where}: {text}")

    def has(self, key: str) -> bool:
        """Whether the key is written; it counts as known from now on."""
        self._known.append(key)
        return key in self.table

    def text(self, key: str) -> str | None:
        """Read a text that is not blank."""
        if not self.has(key):
            return None
        value = self.table[key]
        if isinstance(value, str) and value.strip():
            return value
        self.fault(f"{key} must be a text that is not empty; it is {shown(value)}")
        return None

    def file_name(self, key: str) -> str | None:
        """Read a text that may name a file: no name holds a NUL, at which opening it would fail."""
        value = self.text(key)
        if value is not None and "\0" in value:
            self.fault(f"{key} {shown(value)} cannot be read: the name is none")
            return None
        return value

    def choice(self, key: str, choices: Collection[str]) -> str | None:
        """Read one of some words."""
        value = self.text(key)
        if value is not None and value not in choices:
            self.fault(f"{key} is {value!r:.60}; {nearest(value, choices)}")
            return None
        return value

    def identity(self, key: str) -> str | None:
        """Read an id: 1 to 128 characters without control characters."""
        value = self.text(key)
        if value is not None:
            try:
                check_id(value, key)
            except ValueError as error:
                self.fault(str(error))
                return None
        return value

    def number(
        self, key: str, default: float, *, least: float = 0.0, most: float = math.inf
    ) -> float:
        """Read a finite number from ``least`` to ``most``."""
        if not self.has(key):
            return default
        value = self.table[key]
        if isinstance(value, int | float) and not isinstance(value, bool):
            try:
                number = float(value)
            except OverflowError:  # TOML's whole numbers have no end, floats do
                number = math.inf
            if least <= number <= most and abs(number) < math.inf:
                return number
        bounds = f"from {least:.12g} to {most:.12g}"
        if most == math.inf:
            bounds = f"of at least {least:.12g}"
        self.fault(f"{key} must be a number {bounds}; it is {shown(value)}")
        return default

    def whole(self, key: str, default: int, *, least: int, most: int) -> int:
        """Read a whole number from ``least`` to ``most``."""
        value = self.number(key, float(default), least=least, most=most)
        if value != int(value):
            self.fault(f"{key} must be a whole number; it is {value!r}")
            return default
        return int(value)

    def flag(self, key: str, *, default: bool) -> bool:
        """Read true or false."""
        value = self.table[key] if self.has(key) else default
        if isinstance(value, bool):
            return value
        self.fault(f"{key} must be true or false; it is {shown(value)}")
        return default

    def time(self, key: str) -> float | None:
        """Read a moment as Unix seconds: RFC 3339 text, a TOML date-time with zone, or a number."""
        if not self.has(key):
            return None
        value = self.table[key]
        if isinstance(value, datetime):
            value = value.isoformat()
        try:
            if isinstance(value, str | int | float) and not isinstance(value, bool):
                # Before the range of times is asked: a whole number may be too long to be shown.
                return parse_time(value if isinstance(value, str) else float(value))
            raise ValueError(f"{shown(value)} is no time")
        except (ValueError, OverflowError) as error:
            self.fault(f'{key}: {error}; write it like "2026-05-01T09:00:00+02:00"')
            return None

    def names(self, key: str) -> tuple[str, ...]:
        """Read a list of ids."""
        if not self.has(key):
            return ()
        value = self.table[key]
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            self.fault(
                f'{key} must be a list of texts such as ["one", "two"]; it is {shown(value)}'
            )
            return ()
        if not value or len(value) > _MOST_NAMES:
            self.fault(f"{key} has {len(value)} entries; write 1 to {_MOST_NAMES}, or no {key}")
            return ()
        for one in value:
            try:
                check_id(one, f"{one!r:.60} in {key}")
            except ValueError as error:
                self.fault(str(error))
        return tuple(dict.fromkeys(value))

    def windows(self, key: str) -> tuple[Window, ...]:
        """Read weekly windows of local time under a key that is there."""
        windows, problems = parse_windows(self.table[key], f"{self.where}: {key}")
        self.problems.extend(problems)
        return windows

    def child(self, key: str) -> TomlTable:
        """Read a table within this one; an empty one where it is absent."""
        value = self.table[key] if self.has(key) else {}
        if not isinstance(value, dict):
            self.fault(f"{key} must be a table: write [{self._path}{key}]")
            value = {}
        return TomlTable(value, f"{self.where}: {key}", self.problems, f"{self._path}{key}.")

    def children(self, key: str) -> list[TomlTable]:
        """Read a list of tables, each named by its ``id`` where it has one, else its number."""
        value = self.table[key] if self.has(key) else []
        if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
            self.fault(f"{key} must be a list of tables: write [[{self._path}{key}]]")
            return []
        found = []
        for number, one in enumerate(value, start=1):
            name = one.get("id")
            called = f"{name!r:.80}" if isinstance(name, str) and name else f"number {number}"
            where = f"{self.where}: {key} {called}"
            found.append(TomlTable(one, where, self.problems, f"{self._path}{key}."))
        return found

    def finish(self, named: Collection[str] = ()) -> None:
        """Name every key that nobody asked for, with the nearest that there is.

        ``named`` are those of which something was said already.
        """
        known = dict.fromkeys(self._known)
        for key in self.table:
            if key not in known and key not in named:
                self.fault(f"unknown key {key!r:.60}; {nearest(key, known)}")


def nearest(word: str, choices: Collection[str]) -> str:
    """Say which of the choices was probably meant, else what there is."""
    near = difflib.get_close_matches(word, choices, n=1)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"there is {', '.join(sorted(choices))}" if choices else "nothing can stand here"
