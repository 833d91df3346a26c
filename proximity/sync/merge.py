"""The question: what somebody else tells of a person: what of it stands here.

Field by field the owner's word stands above others', and then the last one. What is older than what
is known changes nothing, and what is known goes out once more, so that whoever is behind catches
up. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from beacon_gateway.model import check_id, parse_time
from proximity.model import Consent, Person
from proximity.sync.agreed import No
from proximity.sync.fields import (
    NOTHING,
    Clock,
    beats,
    check_field,
    digest_of,
    fields_of,
    moment,
    with_fields,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    Time = float
else:
    Time = float | str

__all__ = ["AHEAD_S", "Item", "Merged", "Word", "clamped", "merge", "values_of"]

AHEAD_S = 86_400.0
"""How far ahead of our clock a word may be, seconds. What is said here is always later than what it
replaces, so that a clock an hour fast, or a time zone off, does no harm; but one that is years fast
would overrule everybody elsewhere for years: a word of more than a day ahead counts as said now."""
MOST_WORDS = 4000
"""Fields in one message about a person: all that somebody may have, and to spare."""
_MOST_STATEMENTS = 2000


class Word(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a field is from ``at`` on (Unix seconds; RFC 3339 text is taken); null: not there.

    ``origin`` is who said it first, where that is not who sends it.
    """

    field: str
    at: Time
    value: Any = None
    origin: str | None = None

    def __post_init__(self) -> None:
        check_field(self.field)
        msgspec.structs.force_setattr(self, "at", moment(parse_time(self.at)))
        if self.origin is not None:
            check_id(self.origin, "origin")


class Item(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One message about a person: words about fields, a yes and a no, or that they are erased.

    ``id`` is its sender's own name for it: what has one is taken once.
    """

    person: str
    id: str | None = None
    words: tuple[Word, ...] = ()
    consents: tuple[Consent, ...] = ()
    withdrawals: tuple[No, ...] = ()
    erased_at: Time | None = None

    def __post_init__(self) -> None:
        Person(person=self.person)
        if self.id is not None:
            check_id(self.id, "id")
        if self.erased_at is not None:
            msgspec.structs.force_setattr(self, "erased_at", parse_time(self.erased_at))
        names = [word.field for word in self.words]
        if len(set(names)) < len(names):
            raise ValueError(f"person {self.person!r}: a field is there twice: send its last word")
        if len(names) > MOST_WORDS or len(self.consents) + len(self.withdrawals) > _MOST_STATEMENTS:
            raise ValueError(f"person {self.person!r}: more words than one may have: split them")


class Merged(msgspec.Struct, frozen=True, kw_only=True):
    """What of a message stands: the new values, the clocks that count now, and what does not.

    ``again`` are fields of which we know a later word, which goes out once more; ``owned`` those of
    them where it stands for its owner's sake.
    """

    values: dict[str, Any]
    clocks: dict[str, Clock]
    again: frozenset[str]
    owned: frozenset[str]
    clamped: int


def values_of(item: Item) -> dict[str, Any]:
    """Give the values of a message's words as they would be kept. Raises ValueError where none."""
    said = {word.field: word.value for word in item.words}
    kept = fields_of(with_fields(Person(person=item.person), said))
    return {
        name: (bool(value) or None) if name == "objected" else kept.get(name)
        for name, value in said.items()
    }


def clamped(at: float, now: float) -> float:
    """Give a moment that is not ahead of our clock, Unix seconds."""
    return moment(now) if at > now + AHEAD_S else at


def merge(
    known: Mapping[str, Clock],
    item: Item,
    values: Mapping[str, Any],
    *,
    sender: str,
    owners: Mapping[str, str],
    now: float,
) -> Merged:
    """Tell what of a message from ``sender`` stands against the clocks that are ``known``.

    ``values`` are those of ``values_of``, ``now`` Unix seconds.
    """
    taken: dict[str, Any] = {}
    clocks: dict[str, Clock] = {}
    again: set[str] = set()
    owned: set[str] = set()
    ahead = 0
    for word in item.words:
        name, at = word.field, clamped(word.at, now)
        ahead += at != word.at
        new = Clock(at, word.origin or sender, digest_of(values[name]), sender)
        old = known.get(name)
        if beats(name, new, old, owners):
            if old is None or old.digest != new.digest:
                taken[name] = values[name]
            clocks[name] = new
        elif old is not None and old.digest != new.digest:
            again.add(name)
            if new.at > old.at:
                owned.add(name)
    return Merged(
        values=taken,
        clocks=clocks,
        again=frozenset(again),
        owned=frozenset(owned),
        clamped=ahead,
    )


def lost(clock: Clock) -> Clock:
    """Give the clock of somebody from whom a subject went to whom this clock gave it.

    It is found out here, and goes out to everybody.
    """
    return msgspec.structs.replace(clock, digest=NOTHING, via="")
