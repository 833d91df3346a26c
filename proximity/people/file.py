"""The question: which people does a file hold, and what is wrong with them: lines, or a table.

Knows no store: who of them is known already, and what they agreed to before, is ``people``'s.
"""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from proximity.consent.purposes import consent_problems
from proximity.inputs import BOM, PARQUET, called, open_input, read_parquet
from proximity.model import Person, ProximityError
from proximity.people.table import KINDS, OWN, parse_rows
from proximity.people.tagging import NO_PLAN
from proximity.windows import load_zone

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from proximity.people.tagging import Plan

__all__ = ["people_problems", "read_people"]

_MOST_LINE = 1024 * 1024
"""Bytes of one person in a people file: as much as a request may hold, so that whoever was put over
HTTP, with 64 KiB of attributes and all their addresses, is read from what `person list` wrote."""
_MOST_TABLE = 64 * 1024 * 1024
"""Bytes of a table: a million people in ten short columns."""
_MOST_PROBLEMS = 100


def read_people(path: str | Path) -> list[Person]:
    """Read a people file: a JSON object a line (contract 3), blank lines passed over, or a table.

    CSV is known by the column ``person`` in its first line, Parquet by how it begins. ``-`` is
    standard input. Raises ProximityError with every problem (the first hundred), by line.
    """
    file = Path(path)
    name = called(file)
    try:
        with open_input(file) as stream:
            first = stream.readline(_MOST_LINE + 1).removeprefix(BOM)
            if first.startswith(PARQUET):
                table = read_parquet(first, stream, _MOST_TABLE, name, OWN, KINDS)
                return _parse_text(table, name)
            if _is_header(first):
                return _parse_table(first + stream.read(_MOST_TABLE + 1), name)
            lines = iter(lambda: stream.readline(_MOST_LINE + 1), b"")
            return _parse_lines(chain((first,), lines), name)
    except OSError as error:
        raise ProximityError(f"{name}: cannot be read: {error.strerror}") from None


def people_problems(people: Sequence[Person], plan: Plan = NO_PLAN) -> list[str]:
    """Say what is wrong with people that the shape of each alone does not show.

    Attributes that the tagging plan names must be as it says; all others may be anything.
    """
    known = _Known(plan)
    return [problem for one in people for problem in known.problems(one)][:_MOST_PROBLEMS]


def _problems(one: Person, plan: Plan) -> Iterator[str]:
    """Say what is wrong with one of them."""
    spot = f"person {one.person!r}"
    if one.timezone is not None and load_zone(one.timezone) is None:
        yield f'{spot}: unknown timezone {one.timezone!r:.60}; "Europe/Paris" is one'
    for consent in one.consents:
        for problem in consent_problems(consent, or_no=True):
            yield f"{spot}: {problem}"
    for name, value in one.attributes.items():
        found = plan.attribute_problem(name, value)
        if found is not None:
            yield f"{spot}: {found}"


def _is_header(line: bytes) -> bool:
    columns = line.removeprefix(b"\xef\xbb\xbf").strip().split(b",")
    return b"person" in (column.strip().strip(b'"') for column in columns)


def _parse_table(raw: bytes, name: str) -> list[Person]:
    if len(raw) > _MOST_TABLE:
        raise ProximityError(f"{name}: larger than {_MOST_TABLE} bytes: split the table")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ProximityError(f"{name}: no UTF-8 at byte {error.start}; save it so") from None
    return _parse_text(text, name)


def _parse_text(text: str, name: str) -> list[Person]:
    known = _Known()

    def read(person: Person, _: object) -> Person:
        problems = list(known.problems(person))
        if problems:
            raise ProximityError(*problems)
        return person

    return parse_rows(text, name, (), read)


class _Known:
    """Who came before in a file, and whose each device is."""

    def __init__(self, plan: Plan = NO_PLAN) -> None:
        self._plan = plan
        self._people: set[str] = set()
        self._owners: dict[str, str] = {}

    def problems(self, one: Person) -> Iterator[str]:
        """Say what is wrong with the next of them, beside those before."""
        spot = f"person {one.person!r}"
        if one.person in self._people:
            yield f"{spot} is there twice: keep one record of each"
        self._people.add(one.person)
        yield from _problems(one, self._plan)
        for subject in one.subjects:
            owner = self._owners.setdefault(subject, one.person)
            if owner != one.person:
                yield f"{spot}: subject {subject!r} belongs to {owner!r} already"


def _parse_lines(lines: Iterable[bytes], name: str) -> list[Person]:
    people: list[Person] = []
    problems: list[str] = []
    known = _Known()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        if len(line) > _MOST_LINE:
            problems.append(
                f"{name}, line {number}: longer than {_MOST_LINE} bytes, which no person is: "
                "gave up here"
            )
            break
        if len(problems) >= _MOST_PROBLEMS:
            problems.append(f"{name}, line {number}: gave up here")
            break
        try:
            person = msgspec.json.decode(line, type=Person)
        except (msgspec.DecodeError, RecursionError, ValueError) as error:
            problems.append(f"{name}, line {number}: {error}")
            continue
        problems += [f"{name}, line {number}: {problem}" for problem in known.problems(person)]
        people.append(person)
    if problems:
        raise ProximityError(*problems)
    return people
