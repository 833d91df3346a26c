"""The question: what does a CRM's own export, a table of people, say that is news.

The columns are those of ``people.table``, and ``changed_at`` (RFC 3339 or Unix seconds), since when
all cells of the row are so; ``erased_at`` in a row asks to erase its person. An empty cell says
nothing. Pure.
"""

from __future__ import annotations

import csv
import io

from proximity.model import Person, ProximityError, parse_time
from proximity.people import table
from proximity.sync.fields import fields_of
from proximity.sync.merge import Item, Word

__all__ = ["OWN", "parse_changes"]

_OWN = ("changed_at", "erased_at", "id")
OWN = (*_OWN, *table.OWN)


def parse_changes(text: str, name: str, *, at: float | None = None) -> list[Item]:
    """Read the text of a CSV file; ``at`` (Unix seconds) dates rows without ``changed_at``.

    Raises ProximityError with every problem (the first hundred), by row; the header is row 1.
    """
    header = [column.strip() for column in _first_row(text, name)]
    if "changed_at" not in header and at is None:
        raise ProximityError(
            f"{name}, row 1: there is no column changed_at: add it, or say with --at since when "
            "the whole table is so"
        )
    return table.parse_rows(text, name, _OWN, lambda person, said: _item(person, said, at))


def _first_row(text: str, name: str) -> list[str]:
    try:
        return next(csv.reader(io.StringIO(text), strict=True), [])
    except csv.Error as error:
        raise ProximityError(f"{name}, row 1: this is no CSV ({error}): save it as such") from None


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
