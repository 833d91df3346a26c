"""What an offer says: holes, languages, links, and strings that mean harm."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from proximity.campaigns.campaigns import Links
from proximity.content import content
from proximity.content.content import (
    MAX_TEXT,
    VARIABLES,
    Reader,
    check_link,
    check_text,
    compose,
    evidence,
    link_host,
    links_of,
)
from proximity.content.holes import fill
from proximity.content.prices import Price
from proximity.gates.wording import make_offer
from proximity.model import Endpoint
from proximity.people.facts import Happened
from tests.proximity.given import ANNA, CAFE, COFFEE, NOON, candidate, trigger


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
        ("en", 7, False, "text.en must be a text"),
        ("english!", "x", False, "is no language tag"),
        ("en", "x" * 1001, False, "text.en has 1001 characters"),
        ("en", "{plase}", False, "unknown placeholder {plase}; did you mean 'place'?"),
        (
            "en",
            "{}",
            False,
            "unknown placeholder {}; there is campaign, link, place, {{ person.NAME }}",
        ),
        ("en", "a } b", False, "a brace stands alone"),
    ],
)
def test_texts(language: str, text: Any, link: bool, problem: str | None) -> None:
    faults = check_text(language, text, link=link)
    assert (problem is None) == (faults == [])
    assert problem is None or problem in faults[0]


def test_holes_are_filled_once() -> None:
    assert fill("{a} {b} {c}", {"a": "{b}", "b": "{a}"}) == "{b} {a} {c}"


# -- templates within a campaign --------------------------------------------------------------


TEMPLATED = replace(
    COFFEE,
    text={
        "en": "{{ person.name | default: 'Hello' }}: {{ stock | plural: one: 'one cup', other: "
        "'# cups' }} left at {{ place }}, {{ price | money: currency }}.",
        "fr": "{{ event.product | default: 'Café' }} chez {{ place }} : {{ link }}",
        "ar": "قهوة في {{ place }}",
    },
    attributes=("name",),
    price=Price(1.9, "EUR"),
    stock=("cups",),
)


def test_a_template_reads_what_it_is_given() -> None:
    ana = Reader(attributes={"name": "Ana", "secret": "x"}, stock_left={"cups": 3, "other": 1})
    assert compose(TEMPLATED, CAFE, ["en"], (), ana).text == (
        "Ana: 3 cups left at Café du Nord, €1.90."
    )
    one = Reader(stock_left={"cups": 1})
    assert compose(TEMPLATED, CAFE, ["en"], (), one).text == (
        "Hello: one cup left at Café du Nord, €1.90."
    )
    tea = Reader(event={"product": "Thé"})
    assert compose(TEMPLATED, CAFE, ["fr"], (), tea).text == (
        "Thé chez Café du Nord : https://example.test/coffee"
    )


def test_what_is_not_known_of_the_reader_is_a_problem_not_a_gap() -> None:
    content = compose(TEMPLATED, CAFE, ["en"])
    assert content.text == ""
    assert "stock" in str(content.problem)


def test_attributes_that_are_not_declared_cannot_be_read() -> None:
    nosy = replace(TEMPLATED, text={"en": "{{ person.secret }}"})
    reader = Reader(attributes={"name": "Ana", "secret": "x"})
    assert "secret" in str(compose(nosy, CAFE, ["en"], (), reader).problem)


def test_what_a_value_holds_is_cleaned_and_short() -> None:
    named = replace(TEMPLATED, text={"en": "{{ person.name }}"})
    for value, text in [
        ("\u202egnp\x1b[2J", "gnp[2J"), ("{{ 7 | times: 7 }}", "{{ 7 | times: 7 }}"),
        ("x" * 500, "x" * 128), (7, "7"), (True, "true"), (["a", "b", ["c"]], "ab"), ({}, ""),
    ]:  # fmt: skip
        content = compose(named, CAFE, ["en"], (), Reader(attributes={"name": value}))
        assert (content.text, content.problem) == (text, None)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{{ nothing }}", "unknown name 'nothing'"),
        ("{{ plce }}", "did you mean 'place'?"),
        ("{{ person }}", "write person.NAME"),
        ("{{ person.age }}", "person.age is not declared"),
        ("{{ person.name.first }}", "write person.NAME"),
        ("{{ place.name }}", "place has nothing in it"),
        ("{{ link }}", "the campaign has no link"),
        ("{{ price }}", "the campaign has no price"),
        ("{{ currency }}", "the campaign has no price"),
        ("{{ stock }}", "the campaign has no stock"),
        ("{{ place }} or {place}", "{place} stays as it is in a template"),
        ("{{ place | shout }}", "unknown filter 'shout'"),
        ("{% if place %}", "endif"),
    ],
)
def test_what_is_wrong_with_a_template(text: str, problem: str) -> None:
    faults = check_text("en", text, link=False, attributes=("name",))
    assert any(problem in fault for fault in faults)
    assert all(fault.startswith("text.en: ") for fault in faults)


def test_good_templates_have_no_faults() -> None:
    for language, text in TEMPLATED.text.items():
        known = {"attributes": ("name",), "price": True, "stock": True}
        assert check_text(language, text, link=True, **known) == []


def test_every_name_a_template_may_use_is_given() -> None:
    every = replace(TEMPLATED, text={"en": " ".join(
        f"{{{{ {name}.name }}}}" if name in {"person", "event"} else f"{{{{ {name} }}}}"
        for name in VARIABLES
    )})  # fmt: skip
    reader = Reader(attributes={"name": "Ana"}, event={"name": "tea"}, stock_left={"cups": 2})
    content = compose(every, CAFE, ["en"], (), reader)
    assert content.problem is None
    assert content.text == ("Café du Nord coffee https://example.test/coffee en 1.9 EUR 2 Ana tea")


# -- whose language, and what is remembered ---------------------------------------------------


def test_the_language_is_the_person_s_the_device_s_the_place_s_or_the_default() -> None:
    three = replace(COFFEE, text={"en": "E", "fr": "F", "de": "D", "es": "S"})
    spoken = replace(CAFE, languages=("es",))
    device = Reader(devices=("de-AT",))
    told = [
        compose(three, spoken, ["fr"], (), device),
        compose(three, spoken, ["ja"], (), device),
        compose(three, spoken, ["ja"]),
        compose(three, CAFE, ["ja"]),
        compose(three, CAFE, ["ja"], default="de"),
    ]
    assert [(one.text, one.chosen_by) for one in told] == [
        ("F", "person"), ("D", "device"), ("S", "place"), ("E", "default"), ("D", "default"),
    ]  # fmt: skip
    assert evidence(told[1], ["ja"]) == {
        "wanted": ["ja"], "language": "de", "chosen_by": "device", "characters": 1,
        "link_host": "example.test",
    }  # fmt: skip


def test_an_offer_knows_its_reader_s_devices_attributes_event_and_stock() -> None:
    person = replace(
        ANNA, languages=("ja",), attributes={"name": "Anna"},
        endpoints=(Endpoint(channel="console", address="x"),
                   Endpoint(channel="console", address="y", language="en-GB")),
    )  # fmt: skip
    met = candidate(campaign=TEMPLATED, person=person, stock_left={"cups": 12})
    offer = make_offer(met)
    assert (offer.language, offer.text) == ("en", "Anna: 12 cups left at Café du Nord, €1.90.")
    happened = Happened("bought", NOON, {"product": "Thé"})
    french = replace(met, person=ANNA, trigger=trigger(event=happened))
    assert make_offer(french).text.startswith("Thé chez")


def test_what_needs_nothing_of_the_reader_s_is_written_once() -> None:
    assert compose(COFFEE, CAFE, ["fr"]) is compose(COFFEE, CAFE, ["fr"])
    assert compose(COFFEE, CAFE, ["fr"]) is not compose(COFFEE, CAFE, ["en"])
    renamed = replace(CAFE, name="Bar")
    assert compose(COFFEE, renamed, ["fr"]).text == "Un café au Bar"
    other = replace(COFFEE, text={"fr": "Autre"})
    assert compose(other, CAFE, ["fr"]).text == "Autre"
    arabic = compose(TEMPLATED, CAFE, ["ar"])
    assert arabic is compose(TEMPLATED, CAFE, ["ar"])
    assert arabic.text == "قهوة في \u2068Café du Nord\u2069"


@given(
    st.lists(st.sampled_from(["en", "fr", "ar", "ja", "de-CH"]), max_size=3),
    st.sampled_from([None, "Café", "קפה", "a{b}c", "{{ x }}"]),
    st.booleans(),
)
def test_the_remembered_content_is_what_would_be_written(
    languages: list[str], name: str | None, with_hosts: bool
) -> None:
    place, hosts = replace(CAFE, name=name), frozenset({"other.test"} if with_hosts else ())
    afresh = msgspec.structs.replace(COFFEE)  # another object: nothing of it is remembered
    assert compose(COFFEE, place, languages, hosts) == compose(afresh, place, languages, hosts)


# -- three ways to the same thing -------------------------------------------------------------


def test_the_ways_of_a_campaign_are_all_filled_in() -> None:
    ways = Links(
        app="cafe-app://{place}", universal="https://go.example.test/{place}",
        web="https://example.test/{campaign}",
    )  # fmt: skip
    many = replace(COFFEE, link=None, links=ways, text={"en": "{link}"})
    content = compose(many, replace(CAFE, id="a b/c"), ["en"])
    assert content.links == {
        "app": "cafe-app://a%20b%2Fc", "universal": "https://go.example.test/a%20b%2Fc",
        "web": "https://example.test/coffee",
    }  # fmt: skip
    assert content.text == content.link == "https://example.test/coffee"
    assert links_of(many) == {
        "app": ways.app, "universal": ways.universal, "web": ways.web,
    }  # fmt: skip
    assert compose(replace(many, links=Links(universal=ways.universal)), CAFE, []).link == (
        "https://go.example.test/cafe-1"
    )
    assert "link_hosts" in str(compose(many, CAFE, [], {"example.test"}).problem)


def test_an_endpoint_s_language_is_a_tag() -> None:
    with pytest.raises(ValueError, match="language: 'not a tag' is no tag"):
        Endpoint(channel="console", address="x", language="not a tag")
    written = msgspec.json.encode(Endpoint(channel="console", address="x", language="pt-BR"))
    assert msgspec.json.decode(written, type=Endpoint).language == "pt-BR"


def test_what_is_remembered_is_bounded_and_never_another_campaign_s(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(content, "_MOST_REMEMBERED", 3)
    monkeypatch.setattr(content, "_MOST_WRITTEN", 5)
    for number in range(50):  # each may get the memory, and so the id, of one that is gone
        made = replace(COFFEE, id=f"c{number}", text={"en": f"{{place}} {number}"})
        for place in ("a", "b", "c"):
            assert compose(made, replace(CAFE, name=place), ["en"]).text == f"{place} {number}"
            assert len(content._remembered) <= 3
            assert len(content._written) <= 5
            assert len(content._filled) <= 5


def test_a_text_that_is_no_template_is_a_problem_and_never_shown() -> None:
    # Reading refuses such a text; what stands in a campaign made otherwise is still held.
    content = compose(replace(COFFEE, text={"en": "Coffee {% if place %}"}), CAFE, ["en"])
    assert content.text == ""
    assert str(content.problem).startswith("text.en: ")
