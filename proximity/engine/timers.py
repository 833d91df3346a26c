"""Whose timer is next?

One due time for each subject, the earliest first. A due that moves later costs nothing until it
comes up: most fixes put a timer off, and few timers ever fire. Knows no presence and no clock.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from heapq import heapify, heappop, heappush


class Timers:
    """The next due time of each subject (Unix seconds), in the order of time, then of subject.

    ``heap`` has the earliest that may be due first: time (Unix seconds) and subject.
    ``due_of`` gives a subject's due as it truly is: never earlier than what ``set`` was told last.
    """

    __slots__ = ("_due", "_due_of", "heap")

    def __init__(self, due_of: Callable[[str], float | None]) -> None:
        self._due_of = due_of
        self._due: dict[str, float] = {}
        self.heap: list[tuple[float, str]] = []

    def set(self, subject: str, due: float | None) -> None:
        """Let a subject's timer be due then; None where it has none."""
        if due is None:
            self._due.pop(subject, None)
        elif self._due.get(subject) != due:
            self._due[subject] = due
            heappush(self.heap, (due, subject))
            if len(self.heap) > 64 + 4 * len(self._due):
                # What was set anew leaves its old entries behind; clear them out now and then.
                self.heap[:] = [(at, whose) for whose, at in self._due.items()]
                heapify(self.heap)

    def told(self, subject: str) -> float:
        """Give the due that was told last: the true one may be later."""
        return self._due.get(subject, math.inf)

    def waiting(self, now: float) -> bool:
        """Whether one may be due by Unix second ``now``; ``first`` tells for sure."""
        return bool(self.heap) and self.heap[0][0] <= now

    def first(self, until: float = math.inf) -> tuple[float, str] | None:
        """Give the earliest due and its subject; None where none is due by Unix second ``until``.

        What was put off meanwhile is looked at when its old due comes up, not before: a crowd that
        came at once would be looked through at once, again and again.
        """
        while self.heap and self.heap[0][0] <= until:
            due, subject = self.heap[0]
            known = self._due.get(subject) == due
            truly = self._due_of(subject) if known else None
            if truly == due:
                return due, subject
            heappop(self.heap)
            if known:
                self.set(subject, truly)
        return None

    def take(self) -> str:
        """Take the earliest, which ``first`` gave, out; gives its subject."""
        _, subject = heappop(self.heap)
        del self._due[subject]
        return subject
