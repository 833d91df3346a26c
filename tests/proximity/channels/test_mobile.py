"""What the app gets, how insistently, and what goes first where it is too much."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proximity.campaigns.purposes import PURPOSES, presses
from proximity.channels.mobile import (
    MOST_BYTES,
    WEIGHTS,
    app_fields,
    apple_fields,
    collapse_id,
    fit,
    weight,
)
from proximity.model import Offer
from tests.proximity.given import offer

FULL = offer(
    title="Café du Nord", terms="One each.", receipt="https://x.test/r/abc",
    withdraw="https://x.test/o/w", links={"app": "shop://coffee", "web": "https://x.test/coffee"},
)  # fmt: skip


def size(one: Offer) -> int:
    return len(msgspec.json.encode([one.title, one.text, app_fields(one)]))


def test_every_purpose_has_a_weight_and_what_presses_never_breaks_through() -> None:
    assert set(WEIGHTS) == set(PURPOSES)
    for purpose in PURPOSES:
        assert not presses(purpose) or weight(purpose).level != "time-sensitive"
    assert weight("new") == weight("marketing")


def test_the_app_gets_what_there_is_and_all_of_it_is_text() -> None:
    fields = app_fields(FULL)
    assert fields == {
        "key": "k1", "campaign": "coffee", "purpose": "marketing", "place": "cafe-1",
        "expires_at": "2026-01-06T11:02:00.000Z", "link": "https://example.test/coffee",
        "link_app": "shop://coffee", "link_web": "https://x.test/coffee", "terms": "One each.",
        "withdraw": "https://x.test/o/w", "receipt": "https://x.test/r/abc",
    }  # fmt: skip
    assert "link" not in app_fields(offer(link=None))
    # Neither who nor which device: whoever reads the notification need not know either.
    assert not {"person", "subject"} & set(fields)
    # FCM refuses words of its own.
    assert not any(name == "from" or name.startswith(("google", "gcm")) for name in fields)


@pytest.mark.parametrize("key", ["k", "k" * 64, "6af4edce143545a5f8eab628e1b842e9"])
def test_a_plain_key_is_its_own_collapse_id(key: str) -> None:
    assert collapse_id(key) == key


@given(st.text())
def test_any_key_makes_an_id_that_fits_a_header(key: str) -> None:
    made = collapse_id(key)
    assert 0 < len(made.encode()) <= 64
    assert made.isascii()
    assert made.isprintable()
    assert made == collapse_id(key)


def test_messages_of_one_place_lie_together() -> None:
    one, two, other = offer(key="a"), offer(key="b"), offer(place="other")
    assert apple_fields(one)["thread-id"] == apple_fields(two)["thread-id"] == "cafe-1"
    assert apple_fields(other)["thread-id"] == "other"
    assert len(apple_fields(offer(place="x" * 999))["thread-id"]) == 64


@pytest.mark.parametrize("purpose", PURPOSES)
def test_what_is_passive_makes_no_sound(purpose: str) -> None:
    fields = apple_fields(offer(purpose=purpose))
    assert ("sound" in fields) is (weight(purpose).level != "passive")
    assert fields["interruption-level"] == weight(purpose).level


def test_the_apps_extension_is_woken_where_it_has_something_to_tell() -> None:
    assert apple_fields(FULL)["mutable-content"] == 1
    assert "mutable-content" not in apple_fields(offer())


def test_terms_go_first_then_links_then_the_end_of_the_text() -> None:
    assert fit(FULL, size) == FULL
    whole = size(FULL)
    no_terms = fit(FULL, size, whole - 1)
    assert no_terms is not None
    assert (no_terms.terms, no_terms.links, no_terms.text) == (None, FULL.links, FULL.text)
    no_links = fit(FULL, size, size(no_terms) - 1)
    assert no_links is not None
    assert (no_links.links, no_links.text) == ({}, FULL.text)
    cut = fit(FULL, size, size(no_links) - 4)
    assert cut is not None
    assert cut.text.endswith("…")
    assert FULL.text.startswith(cut.text[:-1])
    assert (cut.link, cut.receipt, cut.withdraw) == (FULL.link, FULL.receipt, FULL.withdraw)


def test_what_cannot_be_made_small_enough_is_not_sent_at_all() -> None:
    assert fit(offer(link="https://x.test/" + "x" * 5000), size) is None


@given(
    st.text(max_size=6000), st.none() | st.text(max_size=6000), st.none() | st.text(max_size=3000),
    st.text(max_size=3000), st.integers(400, MOST_BYTES),
)  # fmt: skip
def test_what_fits_is_the_most_that_does(
    text: str, title: str | None, terms: str | None, place: str, most: int
) -> None:
    whole = offer(text=text, title=title, terms=terms, place=place)
    small = fit(whole, size, most)
    if size(whole) <= most:
        assert small == whole
    if small is not None:
        assert size(small) <= most
        assert (small.key, small.link, small.receipt) == (whole.key, whole.link, whole.receipt)
    else:
        bare = offer(text="", title=None, terms=None, place=place[:128])
        assert size(bare) > most - 10


def test_a_joined_emoji_is_not_cut_into_another_one() -> None:
    family = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
    for most in range(size(offer(text="")) + 4, size(offer(text=family * 3))):
        small = fit(offer(text=family * 3, link=None), size, most)
        assert small is None or not small.text.rstrip("…").endswith("\u200d")
