"""The question: of which fields does a person consist, and which of two words about one stands.

A field is what is said, kept and overruled by itself: ``timezone``, ``languages``, ``preferences``,
``objected``, and for each of theirs ``attributes.NAME``, ``endpoints.CHANNEL`` and
``subjects.SUBJECT``. A clock says when a field was last said, by whom, and what. Pure.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import msgspec

from proximity.model import Person

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "CONSENTS", "DEFAULT_OWNERS", "NOTHING", "PERSON", "Clock", "beats", "check_field", "digest_of",
    "fields_of", "later", "moment", "rank", "with_fields",
]  # fmt: skip

PERSON = "person"
"""The origin of what people said themselves: on their page, in an answer, by a device of theirs."""
DEFAULT_OWNERS: Mapping[str, str] = {"preferences": PERSON, "objected": PERSON}
"""Whose word stands above everybody else's. No copy knows better than people what they want."""
CONSENTS = "consents"
"""Under this name the clock of what somebody agreed to is kept; it follows a rule of its own."""
_PLAIN = ("timezone", "languages", "preferences", "objected")
_MANY = ("attributes", "endpoints", "subjects")
STEP_S = 0.001
"""Moments are whole milliseconds, as they are written: else two words of one millisecond would be
in another order elsewhere. By one a word here is later than the one that it replaces."""


class Clock(msgspec.Struct, frozen=True, array_like=True):
    """When a field was last said (Unix seconds), by which origin, and what (its digest).

    ``via`` is the peer that it came through, empty where it was said here.
    """

    at: float
    origin: str
    digest: str
    via: str = ""


def digest_of(value: Any) -> str:
    """Give the fingerprint of a field's value; it tells values of one field apart."""
    text = msgspec.json.encode(value, order="deterministic")
    return hashlib.sha256(text).hexdigest()[:16]


NOTHING = digest_of(None)
"""The fingerprint of a field that is not there (any more)."""


def fields_of(person: Person, *, objected: bool = False) -> dict[str, Any]:
    """Give the fields of a person that say something; ``objected`` is kept beside them."""
    said: dict[str, Any] = {
        "timezone": person.timezone,
        "languages": list(person.languages) or None,
        "preferences": msgspec.to_builtins(person.preferences) or None,
        "objected": objected or None,
    }
    said |= {f"attributes.{name}": value for name, value in person.attributes.items()}
    for one in person.endpoints:
        said.setdefault(f"endpoints.{one.channel}", []).append(msgspec.to_builtins(one))
    said |= {f"subjects.{subject}": True for subject in person.subjects}
    return {name: value for name, value in said.items() if value is not None}


def with_fields(person: Person, said: Mapping[str, Any]) -> Person:
    """Give the person with these fields instead; None takes one away. ``objected`` is passed over.

    Raises ValueError (msgspec.ValidationError) where a value is none of its field's.
    """
    if not said:
        return person
    record: dict[str, Any] = {
        "person": person.person,
        "consents": [],
        "timezone": person.timezone,
        "languages": person.languages,
        "attributes": dict(person.attributes),
        "preferences": person.preferences,
    }
    subjects = dict.fromkeys(person.subjects)
    endpoints: dict[str, list[Any]] = {}
    for one in person.endpoints:
        endpoints.setdefault(one.channel, []).append(one)
    for name, value in said.items():
        kind, _, own = name.partition(".")
        if kind == "attributes":
            record["attributes"].pop(own, None)
            if value is not None:
                record["attributes"][own] = value
        elif kind == "endpoints":
            endpoints[own] = _addresses(own, value)
        elif kind == "subjects":
            subjects.pop(own, None)
            if value is not None:
                subjects[own] = None
        elif kind in {"languages", "preferences"}:
            record[kind] = value or ()
        elif kind == "timezone":
            record[kind] = value
    record["subjects"] = list(subjects)
    record["endpoints"] = [one for some in endpoints.values() for one in some]
    found = msgspec.convert(msgspec.to_builtins(record), Person)
    return msgspec.structs.replace(found, consents=person.consents)


def check_field(name: str) -> None:
    """Raise ValueError where a person has no such field."""
    kind, dot, own = name.partition(".")
    if not (name in _PLAIN if not dot else kind in _MANY and own):
        raise ValueError(
            f"field {name!r:.80} is none of {', '.join(_PLAIN)}, attributes.NAME, "
            "endpoints.CHANNEL, subjects.SUBJECT"
        )


def rank(name: str, origin: str, owners: Mapping[str, str]) -> int:
    """Tell how much an origin's word about a field weighs: 1 where the field is its own, else 0."""
    owner = owners.get(name) or owners.get(name.partition(".")[0])
    return int(owner is not None and origin == owner)


def beats(name: str, new: Clock, old: Clock | None, owners: Mapping[str, str]) -> bool:
    """Whether a new word about a field stands above the old one: its owner's, then the last.

    Of two of the same moment the greater name of an origin, and of one origin's the greater
    fingerprint: arbitrary, and the same wherever the two meet.
    """
    if old is None:
        return True
    return _order(name, new, owners) > _order(name, old, owners)


def later(at: float, old: Clock | None) -> float:
    """Date a word said here at Unix second ``at`` after the one that it replaces."""
    at = moment(at)
    return at if old is None or old.at < at else moment(old.at + STEP_S)


def moment(at: float) -> float:
    """Give a moment in whole milliseconds, Unix seconds."""
    return round(at, 3)


def _order(name: str, clock: Clock, owners: Mapping[str, str]) -> tuple[int, float, str, str]:
    return rank(name, clock.origin, owners), clock.at, clock.origin, clock.digest


def _addresses(channel: str, value: Any) -> list[Any]:
    """Read the endpoints of a channel: records, or for an address alone just its text."""
    if value is None:
        return []
    found = []
    for one in value if isinstance(value, list) else [value]:
        record = {"address": one} if isinstance(one, str) else one
        if not isinstance(record, dict):
            raise ValueError(f"endpoints.{channel}: write addresses, or records of them")  # noqa: TRY004 - it is input
        found.append({**record, "channel": channel})
    return found
