"""Where links lead, and that nothing in a place's or campaign's name can send them elsewhere."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proximity.content.deeplinks import (
    MAX_LINK,
    check_link,
    check_links,
    fill_links,
    link_host,
    target,
)

HOSTS = frozenset({"example.test", "go.example.test", "cafe-app://"})
WAYS = {
    "app": "cafe-app://offers/{campaign}",
    "universal": "https://go.example.test/{place}",
    "web": "https://example.test/offers/{campaign}?at={place}",
}


def test_three_ways_are_good() -> None:
    assert check_links(WAYS, HOSTS) == []
    assert check_links(WAYS, ()) == []


@pytest.mark.parametrize(
    ("ways", "problem"),
    [
        ({"web": "http://example.test/"}, "links.web: link 'http://example.test/' is not https"),
        ({"universal": "https://evil.test/"}, "links.universal: link leads to 'evil.test'"),
        ({"app": "cafe-app://x"}, "links.app alone leads nowhere"),
        ({**WAYS, "app": "javascript://x"}, "javascript:// is no app's own scheme"),
        ({**WAYS, "app": "https://example.test"}, "https:// is no app's own scheme"),
        ({**WAYS, "app": "intent://x#Intent;scheme=http;end"}, "intent:// is no app's own"),
        ({**WAYS, "app": "other-app://x"}, "add 'other-app://'"),
        ({**WAYS, "app": "Cafe-App://x"}, "is no app link"),
        ({**WAYS, "app": "cafe-app:x"}, "is no app link"),
        ({**WAYS, "app": "cafe-app://"}, "is no app link"),
        ({**WAYS, "app": "cafe-app://{person}"}, "unknown placeholder {person}"),
        ({**WAYS, "app": "cafe-app://a b"}, "holds a space"),
        ({**WAYS, "fax": "https://example.test"}, "there is no such way"),
        ({"web": "https://example.test/" + "x" * MAX_LINK}, "at most 2000"),
    ],
)
def test_what_is_wrong_with_a_way(ways: dict[str, str], problem: str) -> None:
    assert any(problem in fault for fault in check_links(ways, HOSTS))


def test_a_click_leads_a_phone_by_the_universal_link_and_never_into_a_scheme() -> None:
    assert target(WAYS, phone=True) == WAYS["universal"]
    assert target(WAYS, phone=False) == WAYS["web"]
    assert target({"app": WAYS["app"], "web": WAYS["web"]}, phone=True) == WAYS["web"]
    assert target({"app": WAYS["app"]}, phone=True) is None


HOSTILE = st.one_of(
    st.text(min_size=1, max_size=60),
    st.sampled_from([
        "//evil.test", "https://evil.test", "@evil.test", ".evil.test", "\\evil.test", "/../..//evil.test",
        "#@evil.test", "?@evil.test", "%2f%2fevil.test", "evil.test/", ":80@evil.test", "\t//evil.test",
        "\r\nLocation: https://evil.test", "javascript:alert(1)", "data:text/html,x", "{place}", "{campaign}",
        "\uff0eevil\uff0etest", "evil。test", "\u202etset.live", "[::1]", "0x7f000001", "example.test.evil.test",
    ]),
)  # fmt: skip


@given(HOSTILE, HOSTILE)
def test_no_name_can_send_a_link_to_another_host(place: str, campaign: str) -> None:
    filled, problems = fill_links(WAYS, place, campaign, HOSTS)
    if problems:
        return  # then nothing is shown
    assert filled["app"].startswith("cafe-app://offers/")
    for way in ("universal", "web"):
        link = filled[way]
        assert link_host(link) in HOSTS
        assert urlsplit(link).scheme == "https"
        assert link.startswith(WAYS[way].partition("{")[0])
        assert link.isascii()
        assert not any(c.isspace() for c in link)


LINK_PARTS = st.lists(
    st.sampled_from([
        "https://", "http://", "//", "example.test", "evil.test", "@", "/", "\\", ".", ":", "?", "#", "%2f",
        "{place}", "{campaign}", " ", "\t", "[", "]", "x", "443", "localhost", "127.0.0.1", "。",
    ]),
    max_size=8,
).map("".join)  # fmt: skip


@given(st.one_of(LINK_PARTS, st.text(max_size=60)))
def test_whatever_is_written_leads_to_an_allowed_host_or_is_refused(link: str) -> None:
    if check_link(link, {"example.test"}):
        return
    parts = urlsplit(link)
    assert (parts.scheme, parts.hostname) == ("https", "example.test")
    assert parts.username is None
    # As browsers read it: a backslash is a slash to them, and blanks and tabs fall away.
    assert "\\" not in link
    host = re.split("[/?#]", link)[2]
    assert host.rpartition("@")[2].partition(":")[0] == "example.test"


@given(st.text(max_size=40), st.text(max_size=40))
def test_a_link_whose_host_is_a_hole_is_never_filled(place: str, campaign: str) -> None:
    for link in (
        "https://{place}/x",
        "https://{campaign}.example.test/",
        "https://example.test{place}",
    ):
        _, problems = fill_links({"web": link}, place, campaign, ())
        assert problems
