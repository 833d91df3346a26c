"""The question: what may be said of a number of people, so that nobody can be picked out of it.

A number is told without its last digit, and where nothing is left, not at all. To leave out small
numbers alone would tell them all the same: of 34 visitors 31 were sent something, so three were
not. Of 30 and 30 nothing follows: the difference of any two numbers that are told leaves nine
values or ten possible for a group of fewer than ten (``docs/reports.md`` has the proof). Pure.
"""

from __future__ import annotations

__all__ = ["LEAST", "told"]

LEAST = 10
"""People that a number must be of to be told. Ten is what statistical offices ask for where the
subject is sensitive, and where somebody was is."""


def told(people: int) -> int | None:
    """Give what may be told of a number of people; None: fewer than ten, none of them included.

    What is told as 20 is 20 to 29.
    """
    return people // LEAST * LEAST or None
