"""Who is where? The other way round than the subjects have it. Knows what was told, no more."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from proximity.model import Transition


class Occupants:
    """The subjects in each place, by the transitions that were told.

    ``by_place`` may keep a place that nobody is in any more: somebody may soon be again.
    """

    __slots__ = ("by_place",)

    def __init__(self) -> None:
        self.by_place: dict[str, set[str]] = {}

    def __iter__(self) -> Iterator[str]:
        """Go through the places where somebody is."""
        self.by_place = {place: there for place, there in self.by_place.items() if there}
        return iter(self.by_place)

    def of(self, place: str) -> list[str]:
        """List the subjects in a place, sorted."""
        return sorted(self.by_place.get(place, ()))

    def follow(self, changes: Iterable[Transition]) -> None:
        """Let those who enter come in and those who exit go out."""
        places = self.by_place
        for change in changes:
            if change.kind == "enter":
                there = places.get(change.place)
                if there is None:
                    places[change.place] = {change.subject}
                else:
                    there.add(change.subject)
            elif change.kind == "exit":
                places[change.place].discard(change.subject)

    def move(self, subject: str, before: Collection[str], after: Collection[str]) -> None:
        """Let one subject be in other places than before."""
        for place in before:
            if place not in after:
                self.by_place[place].discard(subject)
        for place in after:
            if place not in before:
                self.by_place.setdefault(place, set()).add(subject)
