"""Moments are said in each language, by the place's clock, and never counted down."""

from __future__ import annotations

import pytest

from proximity.content.moments import (
    SAYINGS,
    choose_sayings,
    say_hours,
    say_open,
    say_until,
    say_when,
)
from proximity.server.landingpage import OVER, WORDS
from proximity.windows import load_zone
from tests.proximity.given import PARIS, when, windows

ZONE = load_zone(PARIS)
assert ZONE is not None
NOON = when("2026-01-06 12:00")  # a Tuesday
SHOP = (
    *windows("09:00-18:30", days=["mon", "tue", "wed", "thu", "fri"]),
    *windows("10:00-13:00", days=["sat"]),
)


def plain(text: str) -> str:
    """Without the narrow spaces that English writes before AM and PM."""
    return text.replace("\u202f", " ")


@pytest.mark.parametrize(
    ("language", "today", "later"),
    [
        ("en", "Good today until 12:10 PM", "Good until Thursday, January 8, 12:00 PM"),
        ("fr", "Valable aujourd'hui jusqu'à 12:10", "Valable jusqu'au jeudi 8 janvier, 12:00"),
        ("de", "Gültig heute bis 12:10 Uhr", "Gültig bis Donnerstag, 8. Januar, 12:00 Uhr"),
        ("es", "Válido hoy hasta las 12:10", "Válido hasta el jueves, 8 de enero, 12:00"),
    ],
)
def test_until_when_an_offer_is_good(language: str, today: str, later: str) -> None:
    assert ZONE is not None
    assert plain(say_until(NOON + 600.0, NOON, ZONE, language)) == today
    assert plain(say_until(NOON + 2 * 86400.0, NOON, ZONE, language)) == later


@pytest.mark.parametrize(
    ("at", "said"),
    [
        ("2026-01-06 12:00", "Geöffnet bis 18:30 Uhr"),
        ("2026-01-06 07:00", "Geschlossen, öffnet um 09:00 Uhr"),
        ("2026-01-06 18:30", "Geschlossen, öffnet Mittwoch, 7. Januar, 09:00 Uhr"),
        ("2026-01-10 14:00", "Geschlossen, öffnet Montag, 12. Januar, 09:00 Uhr"),
        # The clocks go forward that Sunday; the shop opens by the new time.
        ("2026-03-28 14:00", "Geschlossen, öffnet Montag, 30. März, 09:00 Uhr"),
    ],
)
def test_until_when_a_shop_is_open(at: str, said: str) -> None:
    assert ZONE is not None
    assert say_open(SHOP, when(at), ZONE, "de") == said


def test_day_and_night_past_midnight_and_never() -> None:
    assert ZONE is not None
    assert say_open(windows("00:00-24:00"), NOON, ZONE, "en") == "Open day and night"
    bar = windows("18:00-02:00")
    assert plain(say_open(bar, when("2026-01-07 01:00"), ZONE, "en")) == "Open until 2:00 AM"
    long = (*windows("09:00-24:00", days=["tue"]), *windows("00:00-18:00", days=["wed"]))
    assert say_open(long, NOON, ZONE, "fr") == "Ouvert jusqu'à mercredi 7 janvier, 18:00"
    assert say_open((), NOON, ZONE, "en") == ""


@pytest.mark.parametrize(
    ("language", "said"),
    [
        ("en", [("Mon\u2013Fri", "9:00 AM\u20136:30 PM"), ("Sat", "10:00 AM\u20131:00 PM")]),
        ("de", [("Mo.\u2013Fr.", "09:00\u201318:30"), ("Sa.", "10:00\u201313:00")]),
    ],
)
def test_the_hours_of_a_week(language: str, said: list[tuple[str, str]]) -> None:
    assert [(days, plain(hours)) for days, hours in say_hours(SHOP, language)] == said


def test_days_in_a_row_and_others() -> None:
    days = windows("10:00-12:00", days=["mon", "tue", "thu", "fri", "sat"])
    assert say_hours(days, "en")[0][0] == "Mon, Tue, Thu\u2013Sat"


@pytest.mark.parametrize("language", SAYINGS)
def test_a_whole_day_is_not_from_midnight_to_midnight(language: str) -> None:
    (whole, late) = say_hours(windows("00:00-24:00", "20:00-24:00"), language)
    assert whole[1] == "24\u00a0h"
    assert len(late[1]) > len("24 h")


def test_whose_language_is_not_written_reads_the_next_one_of_theirs() -> None:
    assert choose_sayings(["ar", "de-AT"]) == "de"
    assert choose_sayings(["ar"]) == "en"
    assert say_when(NOON, ZONE, "es") == "martes, 6 de enero, 12:00"  # type: ignore[arg-type]


def test_the_page_has_words_in_all_languages_of_moments() -> None:
    assert SAYINGS.keys() == WORDS.keys() == OVER.keys()
