"""The question: what was edited since a subject was last judged.

Counts the edits of fences and site and keeps which places the newest of them concern. Pure; what
is done about whom they concern is the engine's to say.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from proximity.engine.history import Subject

# Edits of fences that are remembered one by one: whoever is not heard of for longer is sealed.
KEPT_EDITS = 1000


class Edited:
    """How many edits there were, and the places of each that is remembered (None: any)."""

    __slots__ = ("count", "places")

    def __init__(self, count: int = 0, places: Iterable[Iterable[str] | None] = ()) -> None:
        self.count = count
        self.places: deque[frozenset[str] | None] = deque(
            (None if those is None else frozenset(those) for those in places), KEPT_EDITS
        )

    def add(self, places: frozenset[str] | None) -> None:
        """Remember an edit; None where it may concern any place."""
        self.count += 1
        self.places.append(places)

    def pack(self) -> list[list[str] | None]:
        """Give the places as plain values, for a snapshot."""
        return [None if places is None else sorted(places) for places in self.places]

    def concern(self, subject: Subject) -> bool:
        """Whether what a subject did may not be judged again, by the edits that it missed.

        It has missed none after that.
        """
        missed = self.count - subject.edits
        subject.edits = self.count
        recent = list(self.places)[-missed:]
        return missed > len(recent) or any(
            places is None or subject.knows(places) for places in recent
        )
