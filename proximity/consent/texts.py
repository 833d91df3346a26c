"""What was somebody shown when they agreed? A registry of texts that never change.

Each is known by its SHA-256, so that a consent can name it and a proof can print it. A text asks
for one purpose, in one language, and may point at the sentence that says what it is good for.
Every function works on the connection of the caller's transaction.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import msgspec
import sqlalchemy as sa

from beacon_gateway.model import check_id
from proximity.model import ProximityError, format_time
from proximity.person import language_tag
from proximity.store import schema

if TYPE_CHECKING:
    from sqlalchemy import Connection, RowMapping

__all__ = [
    "MOST_TEXT", "Text", "Wording", "check_text", "every_text", "find_text", "register",
    "sha256_of",
]  # fmt: skip

MOST_TEXT = 16 * 1024
"""Characters of a text: longer ones are read by nobody, and consent must be informed."""

_texts = schema.consent_texts


class Wording(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A text as it is to be shown, to the letter; ``benefit`` is the sentence of it that says why.

    ``version`` is as its authors count, ``locale`` a BCP 47 tag. Raises ValueError where a field
    is out of range, or the text does not say its benefit.
    """

    version: str
    locale: str
    text: str
    benefit: str | None = None

    def __post_init__(self) -> None:
        check_id(self.version, "version")
        try:
            language_tag(self.locale)
        except ValueError as error:
            raise ValueError(f"locale: {error}") from None
        if not 0 < len(self.text.strip()) <= len(self.text) <= MOST_TEXT:
            raise ValueError(f"text must have 1 to {MOST_TEXT} characters")
        if self.benefit is not None and not (self.benefit.strip() and self.benefit in self.text):
            raise ValueError(
                "benefit: the text does not say it: take a sentence of the text, to the letter"
            )


class Text(Wording, frozen=True, kw_only=True):
    """A registered text: what it asks for, its SHA-256, and when it was registered (RFC 3339)."""

    sha256: str
    purpose: str
    recorded_at: str


def sha256_of(text: str) -> str:
    """Hash a text as the registry does: SHA-256 of its UTF-8, hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def register(connection: Connection, purpose: str, wording: Wording, now: float) -> str:
    """Put a text into the registry, once; give its SHA-256.

    Raises ProximityError where the same text is there for another purpose, language or version:
    one text that asks for two things would ask for both at once.
    """
    sha256 = sha256_of(wording.text)
    known = find_text(connection, sha256)
    if known is None:
        row = {
            "sha256": sha256,
            "purpose": purpose,
            "version": wording.version,
            "locale": wording.locale,
            "text": wording.text,
            "benefit": wording.benefit,
            "recorded_at": now,
        }
        connection.execute(_texts.insert(), row)
        return sha256
    there = (known.purpose, known.version, known.locale, known.benefit)
    if there != (purpose, wording.version, wording.locale, wording.benefit):
        raise ProximityError(
            f"this very text is registered already, for {known.purpose!r}, version "
            f"{known.version!r}, {known.locale}: ask for each purpose in a text of its own, and "
            "give what is worded anew a version of its own"
        )
    return sha256


def find_text(connection: Connection, sha256: str) -> Text | None:
    """Give a text of the registry; None where there is none of this hash."""
    found = connection.execute(sa.select(_texts).where(_texts.c.sha256 == sha256)).mappings()
    row = found.one_or_none()
    return None if row is None else _text(row)


def check_text(connection: Connection, purpose: str, sha256: str) -> None:
    """Raise ProximityError where a text that a consent names is not one that asks for it."""
    known = find_text(connection, sha256)
    if known is None:
        raise ProximityError(
            f"no text of SHA-256 {sha256} is registered: register it first, `proximity consent "
            "texts add`, or send it with the consent"
        )
    if known.purpose != purpose:
        raise ProximityError(
            f"the text {sha256} asks for {known.purpose!r}, and not for {purpose!r}: name a text "
            "that asks for it"
        )


def every_text(connection: Connection, purpose: str | None = None) -> list[Text]:
    """List the registry, of one purpose or whole, by purpose, language and time."""
    order = (_texts.c.purpose, _texts.c.locale, _texts.c.recorded_at, _texts.c.sha256)
    statement = sa.select(_texts).order_by(*order)
    if purpose is not None:
        statement = statement.where(_texts.c.purpose == purpose)
    return [_text(row) for row in connection.execute(statement).mappings()]


def _text(row: RowMapping) -> Text:
    return Text(**{**row, "recorded_at": format_time(row["recorded_at"])})
