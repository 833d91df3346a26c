"""What an offer looks like as a mail, read back by the standard library's parser."""

from __future__ import annotations

import email
import email.policy
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proximity.channels.letter import NoAddress, message_id, read_address, read_mailbox, write
from proximity.model import ProximityError
from tests.proximity.given import offer

if TYPE_CHECKING:
    from email.message import EmailMessage

SENDER = read_mailbox("Café du Nord <offers@shop.test>")
WITHDRAW = "https://shop.test/withdraw/" + "a1_-" * 80
HEADERS = {
    "From", "To", "Subject", "Date", "Message-ID", "Expires", "Auto-Submitted", "MIME-Version",
    "Content-Type", "Content-Language",
}  # fmt: skip


def read(body: bytes) -> EmailMessage:
    return email.message_from_bytes(body, policy=email.policy.default)  # type: ignore[return-value]


def letter(**changes: Any) -> EmailMessage:
    return read(write(offer(**changes), "anna@example.test", SENDER, feedback="shop7").body)


def parts(message: EmailMessage) -> tuple[str, str]:
    plain, html = message.get_body(("plain",)), message.get_body(("html",))
    assert plain is not None
    assert html is not None
    return plain.get_content(), html.get_content()


class Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_text_and_html_say_the_same() -> None:
    message = letter(
        title="Coffee & more", text="Two <coffees>\nfor one", terms="Until eleven.",
        withdraw=WITHDRAW, language="en",
    )  # fmt: skip
    plain, html = parts(message)
    tags = Tags(html)
    for said in ("Two <coffees>", "for one", "https://example.test/coffee", "Until eleven."):
        assert said in plain
        assert said in tags.text
    assert message["Subject"] == "Coffee & more" in tags.text
    assert WITHDRAW in plain
    links = [attrs["href"] for tag, attrs in tags.found if tag == "a"]
    assert links == ["https://example.test/coffee", WITHDRAW]
    # Nothing is fetched, and so nothing tells that it was opened.
    assert not {tag for tag, _ in tags.found} & {"img", "link", "script", "iframe", "style"}


@pytest.mark.parametrize(
    ("text", "language", "runs", "label"),
    [
        ("قهوة", "ar", "rtl", "No more messages like this"),
        ("Un café", "fr-CA", "ltr", "Ne plus recevoir de tels messages"),
        ("Ein Kaffee", "de", "ltr", "Keine solchen Nachrichten mehr"),
        ("123", "en", "ltr", "No more messages like this"),
    ],
)
def test_language_and_direction(text: str, language: str, runs: str, label: str) -> None:
    message = letter(text=text, language=language, withdraw=WITHDRAW)
    plain, html = parts(message)
    assert Tags(html).found[0] == ("html", {"lang": language, "dir": runs})
    assert message["Content-Language"] == language
    assert label in plain
    assert label in html


def test_one_click_is_for_https_alone() -> None:
    https, http = letter(withdraw=WITHDRAW), letter(withdraw="http://127.0.0.1:8080/withdraw/x")
    assert https["List-Unsubscribe"] == f"<{WITHDRAW}>"
    assert https["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert http["List-Unsubscribe"] == "<http://127.0.0.1:8080/withdraw/x>"
    assert "List-Unsubscribe-Post" not in http
    assert "List-Unsubscribe" not in letter()
    # A link is one word on one line, however long: folded it would be no link any more.
    raw = write(offer(withdraw=WITHDRAW), "anna@example.test", SENDER).body
    assert f"\r\nList-Unsubscribe: <{WITHDRAW}>\r\n".encode() in raw
    assert max(map(len, raw.split(b"\r\n"))) <= 998


def test_every_attempt_is_the_same_message() -> None:
    one, two = (write(offer(withdraw=WITHDRAW), "anna@example.test", SENDER) for _ in range(2))
    assert one.body == two.body
    assert message_id("k1", "shop.test") == "<k1@shop.test>"
    assert message_id("a b\r\n", "shop.test") != message_id("a b\r", "shop.test")
    assert read(one.body)["Date"] == "Tue, 06 Jan 2026 11:00:00 +0000"


def test_no_header_names_the_person_but_the_address() -> None:
    message = letter(person="canary-person", subject="canary-phone", place="canary-place")
    assert "canary" not in str(message.items())
    assert message["Feedback-ID"] == "coffee:marketing:email:shop7"
    assert letter(campaign="a:b c")["Feedback-ID"].count(":") == 3


TEXT = st.text(max_size=60) | st.sampled_from(
    [
        "a\r\nBcc: x@evil.test",
        "a\nb",
        "\x00",
        "\u2028Bcc: x",
        "=?utf-8?q?a=0ABcc:?=",
        "=?utf-8?b?CkJjYzp4?=",
        "é" * 300,
    ]
)


@settings(deadline=None)  # the first example of all loads tables
@given(TEXT, TEXT, TEXT, TEXT)
def test_whatever_is_written_adds_no_header(title: str, text: str, terms: str, key: str) -> None:
    found = write(
        offer(title=title, text=text, terms=terms, key=key, campaign=key or "c", language="en"),
        "anna@example.test", SENDER,
    )  # fmt: skip
    message = read(found.body)
    assert set(message.keys()) == HEADERS
    assert message["To"] == "anna@example.test"
    assert b"\n" not in found.body.replace(b"\r\n", b"")
    parts(message)


@given(st.text(max_size=40))
def test_an_address_is_one_or_is_refused(text: str) -> None:
    try:
        found = read_address(text)
    except NoAddress:
        return
    assert not set(found) & set(' \r\n\t<>,;:"()[]\\\x00')
    assert found.count("@") == 1


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("anna@example.test", "anna@example.test"),
        (" Anna.B+x@EXAMPLE.test ", "Anna.B+x@example.test"),
        ("аня@пример.test", "аня@xn--e1afmkfd.test"),
        ("o'neill@example.test", "o'neill@example.test"),
    ],
)
def test_addresses(text: str, address: str) -> None:
    assert read_address(text) == address


@pytest.mark.parametrize(
    "text",
    [
        "", "@", "anna", "anna@", "@example.test", "anna@example", "a b@example.test",
        "a..b@example.test", ".a@example.test", "a@-x.test", "a@x-.test", "a@127.0.0.1",
        "a@[127.0.0.1]", "a@b@example.test", "a,b@example.test", '"a b"@example.test',
        "a@exa mple.test", "a@example.test\r\nX: y", "Anna <a@example.test>", "a" * 65 + "@b.test",
        "a@" + "b" * 64 + ".test", "a@" + "bb." * 90 + "test", "\u202ea@example.test",
        "=?utf-8?q?a=0ABcc=3A?=@example.test",
    ],
)  # fmt: skip
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(NoAddress):
        read_address(text)


def test_senders() -> None:
    for text in ("offers@shop.test", "Shop <offers@shop.test>", '"Shop, Ltd." <offers@shop.test>'):
        assert read_mailbox(text).addr_spec == "offers@shop.test"
    for text in ("", "Shop", "Shop <>", "a@b.test, c@d.test", "Shop <a@b.test> x", "S\n<a@b.test>"):
        with pytest.raises(ProximityError, match="is no sender"):
            read_mailbox(text)
