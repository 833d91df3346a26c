"""What an offer says: holes, languages, links, and strings that mean harm."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from proximity.content import (
    MAX_TEXT,
    check_link,
    check_text,
    choose_language,
    compose,
    fill,
    link_host,
)
from tests.proximity.given import CAFE, COFFEE


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
    assert choose_language(wanted, available) == found


def test_an_offer_is_filled_in() -> None:
    content = compose(COFFEE, CAFE, ["fr"])
    assert (content.language, content.text) == ("fr", "Un café au Café du Nord")
    assert (content.link, content.problem) == ("https://example.test/coffee", None)


def test_a_place_without_a_name_is_called_by_its_id() -> None:
    assert compose(COFFEE, replace(CAFE, name=None), ["en"]).text == "Coffee at cafe-1"


def test_the_link_may_stand_in_the_text_and_holds_ids_encoded() -> None:
    campaign = replace(
        COFFEE, text={"en": "{campaign}: {link}"}, link="https://example.test/{place}?c={campaign}"
    )
    content = compose(campaign, replace(CAFE, id="a/b?c=d&e #é"), [])
    assert content.link == "https://example.test/a%2Fb%3Fc%3Dd%26e%20%23%C3%A9?c=coffee"
    assert content.text == f"coffee: {content.link}"


def test_without_a_link_there_is_none() -> None:
    assert compose(replace(COFFEE, link=None), CAFE, []).link is None


HOSTILE = [
    "{place}", "{link}", "{0.__class__}", "{{7*7}}", "${7*7}", "%(place)s", "%s%n", "#{7*7}",
    "{place.__init__.__globals__}", "{{config}}", "{% for x in y %}", "<%= 7*7 %>", "<script>",
    "\x00\x07\x1b[2J", "a\r\nb", "\u202egnp.exe", "\u2066x", "\ud800", "{" * 200, "}" * 50,
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_fills_a_hole_and_does_nothing(name: str) -> None:
    content = compose(COFFEE, replace(CAFE, name=name), ["en"])
    assert content.problem is None
    assert content.text.startswith("Coffee at ")
    assert len(content.text) <= len("Coffee at ") + 128
    assert not any(c in content.text for c in "\x00\x07\x1b\r\n\u202e\u2066\ud800")
    assert content.text.encode()
    if name.isprintable() and len(name) < 128:
        assert content.text == f"Coffee at {name}"


@pytest.mark.parametrize("text", HOSTILE[2:11])
def test_a_hostile_text_is_refused_when_read_or_means_itself(text: str) -> None:
    faults = check_text("en", text, link=False)
    if "{" in text:
        assert faults
    else:
        assert faults == []
        assert compose(replace(COFFEE, text={"en": text}), CAFE, []).text == text


def test_right_to_left_text_stays_as_it_was_written() -> None:
    arabic, hebrew = "قهوة في {place}", "מקום"
    content = compose(replace(COFFEE, text={"ar": arabic}), replace(CAFE, name=hebrew), ["ar"])
    assert content.text == "قهوة في מקום"
    marked = "\u200f\u05d0\u05d1\u200f"  # marks of direction are part of writing
    assert compose(replace(COFFEE, text={"ar": marked}), CAFE, ["ar"]).text == marked


def test_what_grows_too_long_is_not_shown() -> None:
    grown = replace(COFFEE, text={"en": "{place}" * 100})
    assert compose(grown, replace(CAFE, name="x" * 128), []).problem == (
        f"text has 12800 characters, at most {MAX_TEXT}"
    )


def test_no_text_and_a_bad_link_are_problems() -> None:
    assert compose(replace(COFFEE, text={}), CAFE, ["fr"]).problem == "no text in any language"
    elsewhere = compose(COFFEE, CAFE, [], {"other.test"})
    assert elsewhere.problem == "link leads to 'example.test', which is not among link_hosts"
    long = replace(COFFEE, link="https://example.test/" + "{place}" * 280)
    assert "characters, at most 2000" in str(compose(long, replace(CAFE, id="x" * 64), []).problem)


def test_a_link_that_would_leave_its_host_is_not_shown() -> None:
    # Reading refuses such a link; what stands in a campaign made otherwise is still held.
    moved = replace(COFFEE, link="https://{place}/x")
    content = compose(moved, replace(CAFE, id="evil.test"), [])
    assert content.problem == "link leaves its host"
    broken = replace(COFFEE, link="https://[{place}/x")
    assert "is no web address" in str(compose(broken, CAFE, []).problem)


@pytest.mark.parametrize(
    "link",
    ["https://example.test/coffee", "https://example.test:8443/a?b=c#d", "http://localhost:80/x",
     "http://127.0.0.1/x", "http://[::1]:8080/", "https://bücher.example/é"],
)  # fmt: skip
def test_good_links(link: str) -> None:
    assert check_link(link, ()) == []


@pytest.mark.parametrize(
    ("link", "problem"),
    [
        ("http://example.test/", "is not https"),
        ("http://localhost.evil.test/", "is not https"),
        ("javascript:alert(1)", "names no host"),
        ("//example.test/", "is not https"),
        ("/coffee", "names no host"),
        ("https://", "names no host"),
        ("https:///x", "names no host"),
        ("https://{place}.test/", "names no host"),
        ("https://user:pw@example.test/", "holds a user name"),
        ("https://example.test@evil.test/", "holds a user name"),
        ("https://example.test/a b", "holds a space"),
        ("https://example.test\\@evil.test/", "backslash"),
        ("https://example.test/\x00", "control character"),
        ("https://exa\nmple.test/", "holds a space"),
        ("https://[::1/", "is no web address"),
        ("https://example.test:port/", "is no web address"),
        ("https://example.test/{person}", "unknown placeholder {person}"),
        ("https://example.test/{place", "a brace stands alone"),
        ("https://example.test/" + "x" * 2000, "characters, at most 2000"),
    ],
)
def test_bad_links(link: str, problem: str) -> None:
    assert any(problem in one for one in check_link(link, ())), check_link(link, ())


def test_links_lead_to_listed_hosts_alone() -> None:
    assert check_link("https://EXAMPLE.test/x", {"example.test"}) == []
    assert check_link("https://a.example.test/x", {"example.test"}) == [
        "link leads to 'a.example.test', which is not among link_hosts"
    ]
    assert link_host("https://[") is None


@pytest.mark.parametrize(
    ("language", "text", "link", "problem"),
    [
        ("en", "Hello {place}", False, None),
        ("en", "Hello {link}", True, None),
        ("en", "Hello {link}", False, "asks for {link} and the campaign has no link"),
        ("en", "", False, "text.en is empty"),
        ("en", 7, False, "text.en is empty"),
        ("english!", "x", False, "is no language tag"),
        ("en", "x" * 1001, False, "text.en has 1001 characters"),
        ("en", "{plase}", False, "unknown placeholder {plase}; did you mean 'place'?"),
        ("en", "{}", False, "unknown placeholder {}; there is campaign, link, place"),
        ("en", "a } b", False, "a brace stands alone"),
    ],
)
def test_texts(language: str, text: Any, link: bool, problem: str | None) -> None:
    faults = check_text(language, text, link=link)
    assert (problem is None) == (faults == [])
    assert problem is None or problem in faults[0]


def test_holes_are_filled_once() -> None:
    assert fill("{a} {b} {c}", {"a": "{b}", "b": "{a}"}) == "{b} {a} {c}"
