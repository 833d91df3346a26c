"""The question: how does one say in some language until when an offer is good, or a shop open.

Times are local to the place, and written as the language writes them (CLDR, by Babel); a moment is
named, never counted down. Pure: it knows windows and words, no place and no offer.
"""

from __future__ import annotations

from datetime import time
from typing import TYPE_CHECKING, NamedTuple

from proximity.content.languages import DEFAULT_LANGUAGE, locale_of, match
from proximity.windows import local, next_time, within

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from zoneinfo import ZoneInfo

    from proximity.windows import Window

__all__ = ["SAYINGS", "Sayings", "choose_sayings", "say_hours", "say_open", "say_until", "say_when"]

_DAY_S = 86400
_TO = "\u2013"  # the dash between two hours or days
_WHOLE_DAY = "24\u00a0h"  # as every language of ours writes it


class Sayings(NamedTuple):
    """Phrases of one language; ``{time}`` is an hour, ``{when}`` a day and an hour.

    ``day`` joins the name of a weekday to its date.
    """

    day: str
    until_today: str
    until: str
    open_until: str
    opens_today: str
    opens: str
    always_open: str


SAYINGS = {
    "en": Sayings(
        "{weekday}, {date}",
        "Good today until {time}", "Good until {when}", "Open until {time}",
        "Closed, opens at {time}", "Closed, opens {when}", "Open day and night",
    ),
    "fr": Sayings(
        "{weekday} {date}",
        "Valable aujourd'hui jusqu'à {time}", "Valable jusqu'au {when}", "Ouvert jusqu'à {time}",
        "Fermé, ouvre à {time}", "Fermé, ouvre {when}", "Ouvert jour et nuit",
    ),
    "de": Sayings(
        "{weekday}, {date}",
        "Gültig heute bis {time} Uhr", "Gültig bis {when} Uhr", "Geöffnet bis {time} Uhr",
        "Geschlossen, öffnet um {time} Uhr", "Geschlossen, öffnet {when} Uhr",
        "Tag und Nacht geöffnet",
    ),
    "es": Sayings(
        "{weekday}, {date}",
        "Válido hoy hasta las {time}", "Válido hasta el {when}", "Abierto hasta las {time}",
        "Cerrado, abre a las {time}", "Cerrado, abre el {when}", "Abierto día y noche",
    ),
}  # fmt: skip
"""Languages in which moments are said; whoever reads none of them gets the default's."""


def choose_sayings(languages: Sequence[str]) -> str:
    """Choose the language of ``SAYINGS`` for somebody who reads these (BCP 47, best first)."""
    return match(languages, SAYINGS) or DEFAULT_LANGUAGE


def say_until(at: float, now: float, zone: ZoneInfo, language: str) -> str:
    """Say until when something is good; ``at`` and ``now`` are Unix seconds."""
    words = SAYINGS[language]
    if _day(at, zone) == _day(now, zone):
        return words.until_today.format(time=_time(at, zone, language))
    return words.until.format(when=say_when(at, zone, language))


def say_open(windows: Sequence[Window], now: float, zone: ZoneInfo, language: str) -> str:
    """Say until when a place with these hours is open at Unix second ``now``, or when it opens.

    Empty where it never opens: nobody is told that.
    """
    words = SAYINGS[language]
    if within(windows, now, zone):
        closes = next_time(windows, now, zone, inside=False)
        if closes is None:
            return words.always_open
        if closes - now > _DAY_S:
            return words.open_until.format(time=say_when(closes, zone, language))
        return words.open_until.format(time=_time(closes, zone, language))
    opens = next_time(windows, now, zone, inside=True)
    if opens is None:
        return ""
    if _day(opens, zone) == _day(now, zone):
        return words.opens_today.format(time=_time(opens, zone, language))
    return words.opens.format(when=say_when(opens, zone, language))


def say_hours(windows: Sequence[Window], language: str) -> list[tuple[str, str]]:
    """Say the week's hours: days and times of each window, as they are written."""
    from babel.dates import format_time, get_day_names

    locale = locale_of(language)
    names = get_day_names("abbreviated", locale=locale)
    found = []
    for window in windows:
        clocks = [time(s // 3600 % 24, s // 60 % 60) for s in (window.start_s, window.end_s)]
        times = [str(format_time(one, "short", locale=locale)) for one in clocks]
        whole = clocks[0] == clocks[1] == time()  # midnight to midnight is no hour to a reader
        found.append((_spans(window.days, names), _WHOLE_DAY if whole else _TO.join(times)))
    return found


def say_when(at: float, zone: ZoneInfo, language: str) -> str:
    """Say a moment by its weekday, day and hour."""
    from babel.dates import format_date, format_skeleton

    moment, locale = local(at, zone), locale_of(language)
    day = SAYINGS[language].day.format(
        weekday=format_date(moment, "EEEE", locale=locale),
        date=format_skeleton("MMMMd", moment, locale=locale, tzinfo=zone),
    )
    return f"{day}, {_time(at, zone, language)}"


def _spans(days: tuple[int, ...], names: Mapping[int, str]) -> str:
    """Join weekdays, those in a row as from and to."""
    runs: list[list[int]] = []
    for day in days:
        if runs and day == runs[-1][-1] + 1:
            runs[-1].append(day)
        else:
            runs.append([day])
    return ", ".join(
        f"{names[run[0]]}{_TO}{names[run[-1]]}"
        if len(run) > 2
        else ", ".join(names[d] for d in run)
        for run in runs
    )


def _time(at: float, zone: ZoneInfo, language: str) -> str:
    from babel.dates import format_time

    return str(format_time(local(at, zone), "short", locale=locale_of(language), tzinfo=zone))


def _day(at: float, zone: ZoneInfo) -> int:
    return local(at, zone).toordinal()
