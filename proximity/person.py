"""Who somebody is to the engine: the values of a person, what they agreed to and what they want.

Values only: frozen, checked when made, no clock, no I/O. ``model`` has them among all others.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from beacon_gateway.model import check_id, parse_time
from proximity.windows import DAYS, Window, parse_windows

if TYPE_CHECKING:
    from collections.abc import Collection, Sized

    Time = float
else:
    # On the wire a time is RFC 3339 text or Unix seconds; in memory always Unix seconds.
    Time = float | str

__all__ = [
    "MOST_CONSENTS", "MOST_PREFERENCES", "MOST_SUBJECTS", "Consent", "Endpoint", "Hours", "Person",
    "Precision", "Preference", "language_tag", "windows_of",
]  # fmt: skip

Precision = Literal["exact", "geohash-6", "venue"]


class Consent(msgspec.Struct, frozen=True, kw_only=True, rename={"since": "from"}):
    """A person's yes to one purpose on one channel; ``since`` (``from`` on the wire) to ``until``.

    ``channel`` None means any channel; ``since`` None from ever, ``until`` None for ever. Times
    are Unix seconds (RFC 3339 text is accepted). ``precision`` bounds how exactly a consent to
    location lets a person be known (None: no bound), ``method`` is how it was said (form, spoken,
    link, …), ``text`` the SHA-256 of the text that was shown. Raises ValueError where one of them
    is out of range.
    """

    purpose: str
    channel: str | None = None
    since: Time | None = None
    until: Time | None = None
    precision: Precision | None = None
    method: str | None = None
    text: str | None = None

    def __post_init__(self) -> None:
        check_id(self.purpose, "purpose")
        if self.channel is not None:
            check_id(self.channel, "channel")
        if self.method is not None:
            check_id(self.method, "method")
        if self.text is not None and not _SHA256.fullmatch(self.text):
            raise ValueError(
                "text: the SHA-256 of a text has 64 characters of 0-9 and a-f: `proximity consent "
                "texts` lists those that are registered"
            )
        for name in ("since", "until"):
            value = getattr(self, name)
            if value is not None:
                msgspec.structs.force_setattr(self, name, parse_time(value))

    def holds(self, at: float) -> bool:
        """Whether this consent is in force at Unix second ``at``."""
        return (self.since is None or self.since <= at) and (self.until is None or at < self.until)


_SHA256 = re.compile("[0-9a-f]{64}")

MOST_SUBJECTS = 1000
"""Subjects of one person: devices and tags of a household or a fleet's depot, and to spare."""
MOST_CONSENTS = 1000
"""Consents of one person: every decision and hand-over reads them all."""
_MOST_LANGUAGES = 20
_MOST_ATTRIBUTES = 64 * 1024  # bytes of JSON; a line of a people file is no longer
# BCP 47: subtags of letters and digits; 35 characters is what RFC 5646, 4.4.1, asks for at least.
_LANGUAGE = re.compile(r"(?=.{1,35}\Z)[A-Za-z0-9]{1,8}([-_][A-Za-z0-9]{1,8})*")


class Hours(
    msgspec.Struct, frozen=True, omit_defaults=True, rename={"opens": "from", "closes": "to"}
):
    """A weekly stretch of local time as people write it: ``HH:MM`` from and to, on these days.

    Raises ValueError (msgspec.ValidationError when decoded) where it is none.
    """

    opens: str
    closes: str
    days: tuple[str, ...] = DAYS

    def __post_init__(self) -> None:
        windows_of((self,))


@lru_cache(maxsize=1024)
def windows_of(hours: tuple[Hours, ...]) -> tuple[Window, ...]:
    """Read hours as windows. Raises ValueError with every problem."""
    written = [{"days": one.days, "from": one.opens, "to": one.closes} for one in hours]
    windows, problems = parse_windows(written, "hours")
    if problems:
        raise ValueError("; ".join(problems))
    return windows


class Preference(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """What a person wants, or does not: a topic, a channel, a place, at these hours of theirs.

    What is None is any; a later row wins over an earlier one that matches as well, and where none
    matches it is wanted. ``said_at`` is when they said so (Unix seconds), where that is known.
    Raises ValueError where a name is no id. Fields that are not known are refused: a ``topic`` that
    is misspelt would be a yes to everything.
    """

    allow: bool
    topic: str | None = None
    channel: str | None = None
    place: str | None = None
    hours: tuple[Hours, ...] | None = None
    said_at: Time | None = None

    def __post_init__(self) -> None:
        if self.said_at is not None:
            msgspec.structs.force_setattr(self, "said_at", parse_time(self.said_at))
        for name in ("topic", "channel", "place"):
            value = getattr(self, name)
            if value is not None:
                check_id(value, name)
        if self.hours is not None:
            _check_count(self.hours, "hours", _MOST_HOURS, "write fewer windows")

    @property
    def windows(self) -> tuple[Window, ...] | None:
        """Its hours as windows of the person's local time; None where it holds at any hour."""
        return None if self.hours is None else windows_of(self.hours)

    def names(self, topic: str | None, channel: str | None, places: Collection[str]) -> bool:
        """Whether it speaks of this topic, this channel and any of these places, hours aside.

        ``places`` are the place and its parents. A row about a topic says nothing of a campaign
        that has none.
        """
        return (
            self.topic in {None, topic}
            and self.channel in {None, channel}
            and (self.place is None or self.place in places)
        )


class Endpoint(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a channel reaches a person: a push token, a subscription, an e-mail address.

    ``address`` is a credential: it stands in no log and in no evidence, and not in ``repr``.
    ``origin`` is the website or app that it was given to, ``platform`` what it runs on,
    ``language`` what it is set to (BCP 47), ``registered_at`` when it was given (Unix seconds).
    Raises ValueError where a field is out of range.
    """

    channel: str
    address: str
    origin: str | None = None
    platform: str | None = None
    language: str | None = None
    registered_at: Time | None = None

    def __post_init__(self) -> None:
        check_id(self.channel, "channel")
        if self.registered_at is not None:
            msgspec.structs.force_setattr(self, "registered_at", parse_time(self.registered_at))
        if not 0 < len(self.address) <= _MOST_ADDRESS:
            raise ValueError(f"address must have 1 to {_MOST_ADDRESS} characters")
        for name in ("origin", "platform"):
            value = getattr(self, name)
            if value is not None:
                check_id(value, name)
        if self.language is not None and not _LANGUAGE.fullmatch(self.language):
            raise ValueError(f"language: {self.language!r:.60} is no tag such as fr or pt-BR")

    def __repr__(self) -> str:
        return f"Endpoint(channel={self.channel!r}, address=…, origin={self.origin!r})"


_OLDEST = 150  # years
_MOST_HOURS = 64
_MOST_HOURS_IN_ALL = 100
"""Windows of all preferences: whoever decides looks for the end of quiet hours from edge to edge of
them, fifteen days ahead, and writes them down as evidence. A hundred take some hundredths of a
second at worst, thousands would take minutes."""
MOST_PREFERENCES = 500
"""Preferences of one person: every decision reads them all."""
_MOST_ENDPOINTS = 100
_MOST_ADDRESS = 4096  # a web push subscription is a URL of some hundred characters and two keys
_BAND = re.compile(r"(?P<under>under-)?(?P<least>[0-9]{1,3})(-[0-9]{1,3}|\+)?")
_JURISDICTION = re.compile(r"(?P<country>[A-Z]{2})(-[A-Z0-9]{1,3})?")  # ISO 3166-1, or 3166-2


def language_tag(text: str) -> str:
    """Give a language tag as BCP 47 writes it, of POSIX's pt_BR too. Raises ValueError."""
    if not _LANGUAGE.fullmatch(text):
        raise ValueError(
            f"{text!r:.60} is no language tag: write one such as fr or pt-BR, letters and digits "
            "joined by hyphens, at most 35 characters"
        )
    return text.replace("_", "-")


class Person(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Whoever carries one or more subjects: consents, time zone and languages (contract 3).

    ``languages`` are BCP 47 tags, best first; ``attributes`` anything that JSON can hold, at most
    64 KiB of it, of which ``least_age`` and ``jurisdiction`` read two. ``preferences`` stand in
    the order in which they were said. Raises ValueError (msgspec.ValidationError when decoded)
    where a field is out of range.
    """

    person: str
    subjects: tuple[str, ...] = ()
    consents: tuple[Consent, ...] = ()
    timezone: str | None = None
    languages: tuple[str, ...] = ()
    attributes: dict[str, Any] = {}
    preferences: tuple[Preference, ...] = ()
    endpoints: tuple[Endpoint, ...] = ()

    def __post_init__(self) -> None:
        check_id(self.person, "person")
        _check_count(self.subjects, "subjects", MOST_SUBJECTS, "make them several people")
        _check_count(self.consents, "consents", MOST_CONSENTS, "leave out those that have ended")
        _check_count(self.languages, "languages", _MOST_LANGUAGES, "keep the best")
        _check_count(
            self.preferences, "preferences", MOST_PREFERENCES, "leave out those of no effect"
        )
        if self.preferences:
            hours = [one for row in self.preferences for one in row.hours or ()]
            _check_count(hours, "hours of all preferences", _MOST_HOURS_IN_ALL, "write fewer")
        _check_count(self.endpoints, "endpoints", _MOST_ENDPOINTS, "leave out those that are dead")
        for subject in self.subjects:
            check_id(subject, "subject")
        try:
            tags = tuple(map(language_tag, self.languages))
        except ValueError as error:
            raise ValueError(f"languages: {error}") from None
        if tags != self.languages:
            msgspec.structs.force_setattr(self, "languages", tags)
        if self.attributes:
            size = len(msgspec.json.encode(self.attributes))
            if size > _MOST_ATTRIBUTES:
                raise ValueError(
                    f"attributes take {size} bytes as JSON, at most {_MOST_ATTRIBUTES}: "
                    "keep the rest elsewhere, under the person's id"
                )

    @property
    def least_age(self) -> int | None:
        """The least age in years that the attribute ``age_band`` allows; None where unknown.

        It is a number, or text such as ``under-13``, ``13-15``, ``16-17`` and ``18+``. Of
        ``under-13`` nothing is known but that they are younger: 0.
        """
        band = self.attributes.get("age_band")
        if isinstance(band, int | float) and not isinstance(band, bool):
            return int(band) if 0 <= band < _OLDEST else None
        found = _BAND.fullmatch(band) if isinstance(band, str) else None
        if found is None:
            return None
        return 0 if found["under"] else int(found["least"])

    @property
    def jurisdiction(self) -> str | None:
        """The country (ISO 3166-1 alpha-2) of the attribute ``jurisdiction``; None where unknown.

        Of a subdivision such as ``US-CA`` it is the country.
        """
        said = self.attributes.get("jurisdiction")
        found = _JURISDICTION.fullmatch(said.upper()) if isinstance(said, str) else None
        return None if found is None else found["country"]


def _check_count(items: Sized, name: str, most: int, mend: str) -> None:
    if len(items) > most:
        raise ValueError(f"{name}: {len(items)} are more than {most}: {mend}")
