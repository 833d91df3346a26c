"""A link of ours is known for ours, until it is too old; nothing else is."""

from __future__ import annotations

import string
import urllib.parse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proximity.consent.links import (
    MOST_LINK,
    WITHDRAW,
    WITHDRAW_S,
    LinkError,
    LinkExpired,
    read,
    sign,
    withdraw_url,
)

KEY = b"k" * 32
NOW = 1_700_000_000.0
CLAIMS = {"do": "withdraw", "person": "anna", "purpose": "marketing"}
URL_SAFE = set(string.ascii_letters + string.digits + "-_.")


@given(
    st.binary(min_size=1, max_size=64),
    st.dictionaries(st.text(max_size=20), st.none() | st.text(max_size=40) | st.integers(-9, 9)),
)
def test_what_is_signed_is_read(key: bytes, claims: dict[str, object]) -> None:
    try:
        text = sign(key, claims, NOW + 60)
    except LinkError:
        return  # too long for a link
    assert set(text) <= URL_SAFE
    assert read(key, text, NOW) == claims


@given(st.data())
def test_a_link_that_was_changed_anywhere_is_none(data: st.DataObject) -> None:
    text = sign(KEY, CLAIMS, NOW + 60)
    where = data.draw(st.integers(0, len(text) - 1))
    with_ = data.draw(st.sampled_from(sorted(URL_SAFE)))
    changed = text[:where] + with_ + text[where + 1 :]
    if changed != text:
        with pytest.raises(LinkError):
            read(KEY, changed, NOW)


@given(st.text(max_size=200) | st.binary(max_size=99).map(lambda raw: raw.decode("latin-1")))
def test_what_is_no_link_is_refused(text: str) -> None:
    with pytest.raises(LinkError):
        read(KEY, text, NOW)


def test_a_link_ends_with_its_time_and_belongs_to_its_key() -> None:
    text = sign(KEY, CLAIMS, NOW + 60)
    assert read(KEY, text, NOW + 59) == CLAIMS
    with pytest.raises(LinkExpired, match="too old"):
        read(KEY, text, NOW + 60)
    with pytest.raises(LinkError, match="changed on its way"):
        read(b"x" * 32, text, NOW)


def test_a_link_that_mail_programs_would_cut_is_not_made() -> None:
    with pytest.raises(LinkError, match=f"longer than {MOST_LINK}"):
        sign(KEY, {"person": "x" * MOST_LINK}, NOW)
    with pytest.raises(LinkError, match="incomplete"):
        read(KEY, "x." * MOST_LINK, NOW)


def test_the_link_to_withdraw_is_good_for_ninety_days_and_the_same_all_day() -> None:
    morning = NOW - NOW % 86400.0
    url = withdraw_url(KEY, "https://a.test/px/", "anna/ä", "marketing", None, morning)
    assert url == withdraw_url(
        KEY, "https://a.test/px", "anna/ä", "marketing", None, morning + 86399
    )
    head, _, text = url.rpartition("/")
    assert head == "https://a.test/px/withdraw"
    signed = urllib.parse.unquote(text)
    claims = {"do": WITHDRAW, "person": "anna/ä", "purpose": "marketing"}
    assert read(KEY, signed, morning + WITHDRAW_S - 1) == claims
    assert len(url) < 300
