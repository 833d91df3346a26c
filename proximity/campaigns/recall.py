"""The question: what was worked out of this very value before.

Rules, windows and texts are frozen values made once and asked about a million times, but with
dictionaries in them they have no hash, and hashing a long one costs more than what is looked up.
So a result is kept under the identity of what it was worked out of. It must not know of what.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TypeVar

__all__ = ["FEW", "recall", "recall_both"]

T = TypeVar("T")
V = TypeVar("V")
W = TypeVar("W")

_MOST = 8192
"""Results kept of one function: four for each campaign that a file may have. A full memory is
emptied: what is in use comes back at once."""

FEW = 16
"""Results kept of what is one person's own. A person is decided about campaign by campaign, so few
are in use at once; and what is kept keeps its value, which may be a year of somebody's purchases,
and which nobody is to hold on to once they were erased."""


def recall(work: Callable[[V], T], most: int | None = None) -> Callable[[V], T]:
    """Remember what ``work`` made of a frozen value. The result is shared: nobody may change it.

    ``most`` results are kept, ``FEW`` of them where the value is a person's.
    """
    kept: dict[int, tuple[V, T]] = {}

    @functools.wraps(work)
    def recalled(value: V) -> T:
        found = kept.get(id(value))
        if found is not None:
            return found[1]
        made = work(value)
        if len(kept) >= (_MOST if most is None else most):
            kept.clear()
        # The value is kept with its result, so its identity cannot become another's meanwhile.
        kept[id(value)] = value, made
        return made

    return recalled


def recall_both(work: Callable[[V, W], T]) -> Callable[[V, W], T]:
    """Remember what ``work`` made of two frozen values, as ``recall`` does of one."""
    kept: dict[tuple[int, int], tuple[V, W, T]] = {}

    @functools.wraps(work)
    def recalled(one: V, other: W) -> T:
        found = kept.get((id(one), id(other)))
        if found is not None:
            return found[2]
        made = work(one, other)
        if len(kept) >= _MOST:
            kept.clear()
        kept[id(one), id(other)] = one, other, made
        return made

    return recalled
