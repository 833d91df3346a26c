"""Whose language is taken, how it counts, and which way it runs."""

from __future__ import annotations

import pytest

from proximity.content.languages import (
    PLURALS,
    Wishes,
    choose_language,
    direction,
    format_money,
    format_number,
    isolate,
    match,
    plural_form,
    plural_forms,
)


@pytest.mark.parametrize(
    ("wanted", "available", "found"),
    [
        (["fr"], ["en", "fr"], "fr"),
        (["FR-ca"], ["en", "fr"], "fr"),
        (["de-AT", "fr"], ["en", "fr", "de"], "de"),
        (["pt"], ["en", "pt-BR"], "pt-BR"),
        (["de-" + "a-" * 100_000], ["en", "de-a"], "de-a"),
        (["zh-Hant-TW"], ["en", "zh-Hans"], "zh-Hans"),
        (["ja", "ar"], ["fr", "ar", "en"], "ar"),
        (["ja"], ["fr", "en"], "en"),
        (["ja"], ["fr", "en-GB"], "en-GB"),
        (["ja"], ["fr", "de"], "fr"),
        ([], ["fr", "de"], "fr"),
        (["", "-"], ["fr"], "fr"),
        (["fr"], [], None),
    ],
)
def test_the_language_is_the_person_s_then_english_then_the_first(
    wanted: list[str], available: list[str], found: str | None
) -> None:
    assert choose_language(Wishes(tuple(wanted)), available).language == found


@pytest.mark.parametrize(
    ("wishes", "found", "by"),
    [
        (Wishes(("es",), ("de",), ("fr",)), "es", "person"),
        (Wishes(("ja",), ("de-CH",), ("fr",)), "de", "device"),
        (Wishes((), ("ja",), ("fr-BE",)), "fr", "place"),
        (Wishes(("ja",), ("ko",), ("th",)), "en", "default"),
        (Wishes(("ja",), default="es-MX"), "es", "default"),
        (Wishes(default="ja"), "fr", "default"),
    ],
)
def test_who_is_asked_for_the_language(wishes: Wishes, found: str, by: str) -> None:
    assert choose_language(wishes, ["fr", "de", "es", "en"]) == (found, by)


def test_nothing_is_matched_by_chance() -> None:
    assert match((), ["en"]) is None
    assert match(("e",), ["en"]) is None
    assert match(("eng",), ["en"]) is None


# From the CLDR's own samples of each category.
@pytest.mark.parametrize(
    ("language", "samples"),
    [
        ("ar", {"zero": [0], "one": [1], "two": [2], "few": [3, 10, 103, 110],
                "many": [11, 26, 99, 111], "other": [100, 102, 200, 1.5]}),
        ("pl", {"one": [1], "few": [2, 4, 22, 104], "many": [0, 5, 12, 19, 21, 100],
                "other": [1.5, 0.5]}),
        ("ru", {"one": [1, 21, 101], "few": [2, 4, 24, 102], "many": [0, 5, 11, 19, 111],
                "other": [1.5]}),
        ("es", {"one": [1], "many": [1_000_000], "other": [0, 2, 16, 100, 1.5]}),
        ("en", {"one": [1], "other": [0, 2, 21, 1.5]}),
        ("ja", {"other": [0, 1, 2, 100]}),
    ],
)  # fmt: skip
def test_plurals_are_the_cldr_s(language: str, samples: dict[str, list[float]]) -> None:
    for form, numbers in samples.items():
        assert form in PLURALS
        assert [plural_form(language, number) for number in numbers] == [form] * len(numbers)


def test_which_forms_a_text_needs() -> None:
    assert plural_forms("ar") == PLURALS
    assert plural_forms("pl") == ("one", "few", "many", "other")
    assert plural_forms("ru-RU") == ("one", "few", "many", "other")
    # Millions alone take another form there: nobody has to write it.
    assert plural_forms("es") == ("one", "other")
    assert plural_forms("ja") == ("other",)
    assert plural_forms("tlh") == ("one", "other")  # unknown: as English


def test_numbers_and_money_as_each_language_writes_them() -> None:
    assert format_number(1234.5, "en") == "1,234.5"
    assert format_number(1234.5, "de-CH") == "1’234.5"  # noqa: RUF001  as the CLDR has it
    assert format_number(1234.5, "de") == "1.234,5"
    assert format_money(1.9, "EUR", "en") == "€1.90"
    assert format_money(1.9, "EUR", "fr") == "1,90\xa0€"
    assert format_money(300, "JPY", "ja") == "￥300"


@pytest.mark.parametrize(
    ("text", "way"),
    [("Coffee", "ltr"), ("قهوة", "rtl"), ("מקום", "rtl"), ("123!", None), ("", None),
     ("12 קפה", "rtl"), ("«Café»", "ltr"), ("Кофе", "ltr")],
)  # fmt: skip
def test_which_way_a_text_runs(text: str, way: str | None) -> None:
    assert direction(text) == way


def test_what_runs_the_other_way_is_isolated() -> None:
    assert isolate("Café Nord", "ltr") == "Café Nord"
    assert isolate("קפה", "rtl") == "קפה"
    assert isolate("קפה", "ltr") == "\u2068קפה\u2069"
    assert isolate("Café", "rtl") == "\u2068Café\u2069"
    assert isolate("12", "rtl") == "12"
    assert isolate("קפה", None) == "קפה"
    # A mark at its end would become part of the link.
    assert isolate("https://example.test/x", "rtl") == "https://example.test/x"
