"""The question: which of the written languages does somebody read, and how does it write numbers.

Negotiation goes from whoever knows best to whoever knows least; plural rules and number formats are
the CLDR's, by Babel. Pure; it must not know texts, campaigns or people.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from babel import Locale

__all__ = [
    "DEFAULT_LANGUAGE", "PLURALS", "Choice", "Wishes", "choose_language", "direction",
    "format_money", "format_number", "is_currency", "isolate", "locale_of", "match", "plural_form",
    "plural_forms",
]  # fmt: skip

DEFAULT_LANGUAGE = "en"
"""What is tried where nobody's languages fit: what most people can make something of."""

PLURALS = ("zero", "one", "two", "few", "many", "other")
"""CLDR's plural categories; every language has ``other``."""

_FIRST_STRONG_ISOLATE, _POP_ISOLATE = "\u2068", "\u2069"
_STRONG = {"L": "ltr", "R": "rtl", "AL": "rtl"}


class Choice(NamedTuple):
    """The language that was taken, and whose wish it was.

    ``by`` is ``person``, ``device``, ``place`` or ``default``; ``language`` None where there is
    none to take.
    """

    language: str | None
    by: str


class Wishes(NamedTuple):
    """The languages that somebody may read (BCP 47, best first), by who knows of it.

    ``default`` is the one for whom no other is known.
    """

    person: tuple[str, ...] = ()
    device: tuple[str, ...] = ()
    place: tuple[str, ...] = ()
    default: str = DEFAULT_LANGUAGE


def choose_language(wishes: Wishes, available: Collection[str]) -> Choice:
    """Choose among the available languages: the person's, the device's, the place's, the default.

    Where nothing fits it is the first that is written.
    """
    for by, wanted in zip(wishes._fields, (*wishes[:3], (wishes.default,)), strict=True):
        found = match(wanted, available)
        if found is not None:
            return Choice(found, by)
    return Choice(next(iter(available), None), "default")


def match(wanted: Sequence[str], available: Collection[str]) -> str | None:
    """Find the available tag that fits the first wish that any fits.

    For each wish: the tag itself, then shortened from the right (``de-AT``, ``de``: RFC 4647
    lookup), then any of the same language.
    """
    by_tag = {tag.lower(): tag for tag in available}
    for wish in wanted:
        tag = f"{wish.lower()}-"
        fitting = [key for key in by_tag if tag.startswith(f"{key}-")]
        if fitting:
            return by_tag[max(fitting, key=len)]
        language = tag.partition("-")[0]
        for key, found in by_tag.items():
            if key.partition("-")[0] == language:
                return found
    return None


def direction(text: str) -> str | None:
    """Tell which way a text runs, ``ltr`` or ``rtl``, by its first letter that has one (UAX 9)."""
    if text.isascii():
        return "ltr" if any(c.isalpha() for c in text) else None
    for c in text:
        found = _STRONG.get(unicodedata.bidirectional(c))
        if found is not None:
            return found
    return None


def isolate(value: str, base: str | None) -> str:
    """Keep a value that runs the other way from turning the text around it, which runs ``base``.

    A Hebrew name in an English sentence would else pull the punctuation after it to its other
    side. Values that run the same way, and texts that run none, are left as they are; so are
    links, whose end a mark would become part of.
    """
    if base is None or (base == "ltr" and value.isascii()) or "://" in value:
        return value
    if any(_STRONG.get(unicodedata.bidirectional(c), base) != base for c in value):
        return f"{_FIRST_STRONG_ISOLATE}{value}{_POP_ISOLATE}"
    return value


def plural_form(language: str, number: float) -> str:
    """Name the plural category of a number in a language; ``other`` where Babel knows none."""
    return str(locale_of(language).plural_form(number))


def plural_forms(language: str) -> tuple[str, ...]:
    """Name the plural categories of a language, in CLDR's order.

    Where a language keeps a form for numbers that end in millions alone (French and Spanish
    ``many``), a text is whole without it, so it is not named: ``other`` serves.
    """
    rule = locale_of(language).plural_form
    needed = {rule(number) for number in range(1000)} | {"other"}
    return tuple(form for form in PLURALS if form in needed)


@lru_cache(maxsize=4096)
def format_number(number: float, language: str) -> str:
    """Write a number as the language does: ``1,234.5``, ``1.234,5``."""
    from babel.numbers import format_decimal

    return str(format_decimal(number, locale=locale_of(language)))


def is_currency(code: str) -> bool:
    """Whether three letters are a currency of ISO 4217, today's or an earlier one."""
    from babel.numbers import is_currency as is_known

    return bool(is_known(code))


@lru_cache(maxsize=4096)
def format_money(amount: float, currency: str, language: str) -> str:
    """Write an amount of a currency (ISO 4217) as the language does: ``1,90 €``, ``€1.90``."""
    from babel.numbers import format_currency

    return str(format_currency(amount, currency, locale=locale_of(language)))


@lru_cache(maxsize=256)
def locale_of(language: str) -> Locale:
    """Give Babel's locale for a tag, else for its language, else for English."""
    from babel import Locale, UnknownLocaleError

    for tag in (language, language.partition("-")[0]):
        try:
            return Locale.parse(tag, sep="-")
        except (UnknownLocaleError, ValueError, TypeError):
            continue
    return Locale.parse(DEFAULT_LANGUAGE)
