"""The question: is this day a holiday.

A calendar is a country's public holidays, with whatever days are named besides. It must not know
what windows or campaigns make of it. The dates of a country are constants of the ``holidays``
library, worked out year by year when first asked for.
"""

from __future__ import annotations

import functools
from datetime import date

import msgspec

from proximity.model import ProximityError

__all__ = ["NO_HOLIDAYS", "Calendar", "check_country"]


class Calendar(msgspec.Struct, frozen=True):
    """Public holidays of ``country`` (ISO 3166, ``FR`` or ``FR-57``; None: none) and named days.

    ``days`` are ordinals of the calendar (``date.toordinal``).
    """

    country: str | None = None
    days: frozenset[int] = frozenset()

    def holds(self, day: date) -> bool:
        """Whether ``day`` is a holiday."""
        ordinal = day.toordinal()
        if ordinal in self.days:
            return True
        return self.country is not None and ordinal in _public(self.country, day.year)


NO_HOLIDAYS = Calendar()
"""Where no day is a holiday."""


def check_country(country: str) -> str | None:
    """Say what is wrong with the code of a country or subdivision; None where nothing is.

    Raises ProximityError where the library that knows holidays is not installed.
    """
    known = _countries()
    code, _, part = country.partition("-")
    if code not in known:
        return f"{country!r:.40} is no country whose holidays are known: write its ISO 3166 code"
    if part and part not in known[code]:
        parts = ", ".join(known[code]) or "none"
        return f"{code} has no part {part!r:.20} with holidays of its own; there is {parts:.200}"
    return None


@functools.lru_cache(maxsize=1)
def _countries() -> dict[str, list[str]]:
    try:
        from holidays import list_supported_countries
    except ImportError:
        raise ProximityError(
            "holidays of a country need the library for them: "
            'pip install "proximity-engine[engine]", or name the days as [[holiday]]'
        ) from None
    return dict(list_supported_countries())


@functools.lru_cache(maxsize=256)
def _public(country: str, year: int) -> frozenset[int]:
    from holidays import country_holidays

    code, _, part = country.partition("-")
    return frozenset(day.toordinal() for day in country_holidays(code, part or None, years=year))
