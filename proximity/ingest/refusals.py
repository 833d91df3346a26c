"""Whose records were refused lately, and why? So that "nothing happened" can be explained.

In memory alone, of people who agreed to being processed, and bounded: who was refused nothing for
longest is forgotten first. Knows no record.
"""

from __future__ import annotations

from collections import Counter

__all__ = ["Refusals"]

# Some 300 bytes each. Phones whose clock is wrong, or that upload a day at once, are few.
MOST = 10_000


class Refusals:
    """How many records of a subject were refused since the start, by reason."""

    def __init__(self) -> None:
        self._counts: dict[str, Counter[str]] = {}

    def note(self, subject: str, reason: str) -> None:
        """Count a refusal."""
        # Taken out and put back, so that the dictionary stands in the order of the last refusal.
        counts = self._counts.pop(subject, None)
        if counts is None:
            counts = Counter()
            if len(self._counts) >= MOST:
                del self._counts[next(iter(self._counts))]
        counts[reason] += 1
        self._counts[subject] = counts

    def of(self, subject: str) -> dict[str, int]:
        """Give how many records of a subject were refused, by reason."""
        return dict(self._counts.get(subject, ()))

    def forget(self, subject: str) -> None:
        """Forget a subject."""
        self._counts.pop(subject, None)
