"""The question: how are two sides brought to the same people, and what if it stops half-way.

Each side's feed is read from where the other last said it was, written to the other, and only then
said to be had: what a crash interrupts is done again, which changes nothing. A message that one
side refuses is named and left, and does not hold up the rest. Knows no HTTP, no file and no table:
only what a side can do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

from proximity.model import ProximityError
from proximity.sync.merge import Item
from proximity.sync.taking import Taken

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from proximity.sync.feed import Page

__all__ = ["Exchanged", "Side", "carry", "exchange", "give", "spelled"]

PAGE = 200
"""People in one page: at a kilobyte or so each, a quarter of what a request may hold."""
MOST_BYTES = 900_000
"""Bytes of one batch: a request holds 1 MiB."""
_MOST_PAGES = 1_000_000
_MOST_PASSES = 5
"""What one side is told may make news for the other: two passes, and one that finds nothing."""


class Side(Protocol):
    """What a round asks of either side."""

    def page(self, reader: str, limit: int) -> Page:
        """Read what ``reader`` does not have yet."""

    def take(self, sender: str, items: Sequence[Item]) -> Taken:
        """Write what ``sender`` tells. Raises ProximityError where nothing of it was written."""

    def note(self, peer: str, cursor: str | None = None, position: str | None = None) -> None:
        """Note that a peer was heard and how far both are; one who is new is admitted."""

    def untold(self, persons: Collection[str]) -> None:
        """Keep in mind whose news the other side refused: they are to be told again."""

    def acknowledge(self, erasure: str, peer: str) -> None:
        """Note that a peer has erased."""


class Exchanged(msgspec.Struct, kw_only=True):
    """What became of what each side told the other."""

    here: Taken = msgspec.field(default_factory=Taken)
    there: Taken = msgspec.field(default_factory=Taken)
    refused: list[str] = []

    @property
    def changes(self) -> int:
        """How many people changed on either side."""
        return self.here.changed + self.there.changed + self.here.erasing + self.there.erasing


def exchange(ours: Side, theirs: Side, *, they: str, we: str) -> Exchanged:
    """Bring both sides to the same people; ``they`` is their name here, ``we`` ours there."""
    found = Exchanged()
    ours.note(they)
    theirs.note(we)
    for _ in range(_MOST_PASSES):
        before = found.here.messages + found.there.messages
        found.refused += carry(theirs, ours, reader=we, sender=they, told=found.here)
        found.refused += carry(ours, theirs, reader=they, sender=we, told=found.there)
        if found.here.messages + found.there.messages == before:
            break  # nobody had anything more to say
    ours.note(they)
    theirs.note(we)
    return found


def carry(source: Side, target: Side, *, reader: str, sender: str, told: Taken) -> list[str]:
    """Carry what a reader of ``source`` does not have to ``target``; what was refused, in words."""
    refused: list[str] = []
    for _ in range(_MOST_PAGES):
        page = source.page(reader, PAGE)
        whose = give(target, sender, page.items, told)
        refused += spelled(whose)
        left = {name for name, _ in whose}
        if left:
            source.untold(left)
        for item in page.items:
            if item.erased_at is not None and item.id is not None and item.person not in left:
                source.acknowledge(item.id, reader)
        if page.items or page.more:
            source.note(reader, cursor=page.cursor)
        if not page.more:
            break
    return refused


def give(
    target: Side, sender: str, items: Sequence[Item], told: Taken
) -> list[tuple[str, tuple[str, ...]]]:
    """Write messages to a side, in pieces; whose were refused, and why."""
    refused: list[tuple[str, tuple[str, ...]]] = []
    for some in _pieces(items):
        if len(some) > 1:
            try:
                told.add(target.take(sender, some))
                continue
            except ProximityError:
                pass  # one of them holds up all others: find out which
        for one in some:
            try:
                told.add(target.take(sender, [one]))
            except ProximityError as error:
                refused.append((one.person, tuple(error.problems)))
    return refused


def spelled(refused: Sequence[tuple[str, tuple[str, ...]]]) -> list[str]:
    """Say whose messages were refused, and why: a sentence for each problem."""
    return [f"person {name!r}: {problem}" for name, said in refused for problem in said]


def _pieces(items: Sequence[Item]) -> Iterator[list[Item]]:
    some: list[Item] = []
    size = 0
    for item in items:
        length = len(msgspec.json.encode(item))
        if some and (len(some) >= PAGE or size + length > MOST_BYTES):
            yield some
            some, size = [], 0
        some.append(item)
        size += length
    if some:
        yield some
