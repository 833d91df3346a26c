"""The question: what does a CRM's own export, a table of people, say that is news.

The columns are those of ``people.table``, and ``changed_at`` (RFC 3339 or Unix seconds), since when
all cells of the row are so; ``erased_at`` in a row asks to erase its person. An empty cell says
nothing. Pure.
"""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

from proximity.model import Person, ProximityError, parse_time
from proximity.people import table
from proximity.sync.fields import fields_of
from proximity.sync.merge import Item, Word

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["OWN", "parse_changes"]

_OWN = ("changed_at", "erased_at", "id")
OWN = (*_OWN, *table.OWN)
_MOST_PROBLEMS = 100


def parse_changes(text: str, name: str, *, at: float | None = None) -> list[Item]:
    """Read the text of a CSV file; ``at`` (Unix seconds) dates rows without ``changed_at``.

    Raises ProximityError with every problem (the first hundred), by row; the header is row 1.
    """
    try:
        rows = [row for row in csv.reader(io.StringIO(text), strict=True) if any(row)]
    except csv.Error as error:
        raise ProximityError(f"{name}: this is no CSV ({error}): save it as such") from None
    header = [column.strip() for column in rows[0]] if rows else []
    if "changed_at" not in header and at is None:
        raise ProximityError(
            f"{name}, row 1: there is no column changed_at: add it, or say with --at since when "
            "the whole table is so"
        )
    ours = [place for place, column in enumerate(header) if column in _OWN]
    people = table.parse_table(_without(rows, ours), name)
    items: list[Item] = []
    problems: list[str] = []
    for number, (row, person) in enumerate(zip(rows[1:], people, strict=True), start=2):
        said = {header[place]: row[place] for place in ours if place < len(row) and row[place]}
        try:
            items.append(_item(person, said, at))
        except ValueError as error:
            problems.append(f"{name}, row {number}: {error}")
    if problems:
        raise ProximityError(*problems[:_MOST_PROBLEMS])
    return items


def _without(rows: Sequence[Sequence[str]], places: Sequence[int]) -> str:
    out = io.StringIO()
    rest = csv.writer(out, lineterminator="\n")
    rest.writerows([cell for place, cell in enumerate(row) if place not in places] for row in rows)
    return out.getvalue()


def _item(person: Person, said: dict[str, str], at: float | None) -> Item:
    if "erased_at" in said:
        return Item(person=person.person, id=said.get("id"), erased_at=_time(said["erased_at"]))
    moment = _time(said["changed_at"]) if "changed_at" in said else at
    if moment is None:
        raise ValueError("changed_at is empty: say since when the row is so")
    fields = fields_of(person)
    words = tuple(Word(field=name, value=value, at=moment) for name, value in fields.items())
    return Item(person=person.person, id=said.get("id"), words=words, consents=person.consents)


def _time(text: str) -> float:
    try:
        return parse_time(float(text))
    except ValueError:
        return parse_time(text)
