"""The question: what does an offer look like as a mail.

Pure: an offer, a sender and an address in, the message out, the same bytes for every attempt. Text
and HTML say the same, in the offer's language and its direction; nothing in it is fetched, and
nothing tells whether it was opened. Whatever stands in a title, a name or an address, it adds no
header: control characters are gone before the library, which refuses them, sees it. It must not
know servers or connections.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.errors import MessageError
from email.headerregistry import Address, HeaderRegistry, UnstructuredHeader
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from email.utils import format_datetime
from html import escape
from typing import TYPE_CHECKING

from proximity.content.languages import direction, match
from proximity.model import ProximityError, digest

if TYPE_CHECKING:
    from email.policy import Policy

    from proximity.model import Offer

__all__ = ["Letter", "NoAddress", "message_id", "read_address", "read_mailbox", "write"]

_MOST_SUBJECT = 150
"""Characters of a subject; phones show some 40, and a title is a line, not a text."""
_MOST_LINK = 950
"""Characters of a link in a header, whose line may have 998 (RFC 5322, 2.1.1)."""
_MOST_LOCAL, _MOST_ADDRESS = 64, 254
"""Octets of what stands before the @, and of an address in all (RFC 5321, 4.5.3.1; RFC 3696)."""

# RFC 5322's atoms, and what RFC 6531 adds to them: any character beyond ASCII.
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\-\u0080-\U0010ffff]+"
_LOCAL = re.compile(rf"{_ATOM}(\.{_ATOM})*")
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_MAILBOX = re.compile(r'"?(?P<name>[^"<>@\x00-\x1f]*?)"? *<(?P<address>[^<>]+)>|[^<>]+')
_KEY = re.compile(r"[A-Za-z0-9_-]{1,128}")
# All control characters but those that end lines; a mail's text has no use for them.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_SPACES = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u2028\u2029]+")

UNSUBSCRIBE = {
    "en": "No more messages like this",
    "fr": "Ne plus recevoir de tels messages",
    "de": "Keine solchen Nachrichten mehr",
    "es": "No recibir más mensajes como este",
}
"""What the link to withdraw is called; whoever reads none of these gets the first."""


class NoAddress(ValueError):  # noqa: N818  what it is says it better
    """No address that mail can be sent to; the text never holds it."""


class _Verbatim(UnstructuredHeader):
    """A header that is one long word: folding would write it as encoded words, which are no URL."""

    def fold(self, *, policy: Policy) -> str:
        """Write it on one line."""
        return f"{self.name}: {self}{policy.linesep}"  # type: ignore[attr-defined]


_HEADERS = HeaderRegistry()
_HEADERS.map_to_type("list-unsubscribe", _Verbatim)  # type: ignore[arg-type]  # a mixin, as its own
_ASCII = SMTP.clone(header_factory=_HEADERS)
_UTF8 = SMTPUTF8.clone(header_factory=_HEADERS)


class Letter:
    """A message, ready to be sent: ``utf8`` tells whether its envelope needs SMTPUTF8."""

    def __init__(self, recipient: str, body: bytes, *, utf8: bool) -> None:
        self.recipient = recipient
        self.body = body
        self.utf8 = utf8


def read_address(text: str) -> str:
    """Give an address as an envelope has it, the domain in ASCII. Raises NoAddress."""
    local, at, domain = text.strip().rpartition("@")
    # What looks like an encoded word would be read as one by those who write headers.
    if not at or not _LOCAL.fullmatch(local) or not local.isprintable() or "=?" in local:
        raise NoAddress("no address")
    try:
        import idna

        # UTS 46 as browsers do: small letters, one dot; a label that is no name is refused.
        ascii_domain = idna.encode(domain, uts46=True).decode() if domain else ""
    except UnicodeError:  # idna's own errors are of this kind
        raise NoAddress("no domain") from None
    labels = ascii_domain.split(".")
    if len(labels) < 2 or not all(map(_LABEL.fullmatch, labels)) or labels[-1].isdigit():
        raise NoAddress("no domain")
    address = f"{local}@{ascii_domain}"
    try:
        sizes = len(local.encode()), len(address.encode())
    except UnicodeEncodeError:
        raise NoAddress("no address") from None
    if sizes[0] > _MOST_LOCAL or sizes[1] > _MOST_ADDRESS:
        raise NoAddress("too long")
    return address


def read_mailbox(text: str) -> Address:
    """Read ``Name <address>`` or an address alone, as an operator writes a sender.

    Raises ProximityError.
    """
    found = _MAILBOX.fullmatch(text)
    try:
        address = read_address("" if found is None else found["address"] or text)
        local, _, domain = address.rpartition("@")
        return Address(_line((found and found["name"]) or ""), local, domain)
    except (NoAddress, MessageError, ValueError):
        raise ProximityError(
            f'{text!r:.80} is no sender: write an address, or "Name <address>"'
        ) from None


def message_id(key: str, domain: str) -> str:
    """Make the Message-ID of an offer's key: the same for every attempt and every address of it."""
    return f"<{key if _KEY.fullmatch(key) else digest('mail', key)}@{domain}>"


def write(
    offer: Offer, recipient: str, sender: Address, *, reply_to: Address | None = None,
    feedback: str | None = None,
) -> Letter:  # fmt: skip
    """Write the mail of an offer. Raises NoAddress where it cannot be sent to ``recipient``.

    ``feedback`` is the sender's name in the Feedback-ID, by which mailbox providers tell
    complaints campaign by campaign; it names no person.
    """
    to = read_address(recipient)
    utf8 = not (to.isascii() and sender.addr_spec.isascii())
    letter = EmailMessage(policy=_UTF8 if utf8 else _ASCII)
    title = _line(offer.title or offer.text)[:_MOST_SUBJECT].rstrip()
    letter["From"] = sender
    local, _, domain = to.rpartition("@")
    letter["To"] = Address("", local, domain)
    if reply_to is not None:
        letter["Reply-To"] = reply_to
    letter["Subject"] = title
    # When the offer was made, not when it is tried: so every attempt is the same message.
    letter["Date"] = format_datetime(datetime.fromtimestamp(int(offer.created_at), UTC))
    letter["Message-ID"] = message_id(offer.key, sender.domain)
    letter["Expires"] = format_datetime(datetime.fromtimestamp(int(offer.expires_at), UTC))
    letter["Auto-Submitted"] = "auto-generated"
    if feedback is not None:
        letter["Feedback-ID"] = ":".join(
            (_token(offer.campaign), _token(offer.purpose), "email", feedback)
        )
    withdraw = _link(offer.withdraw)
    if withdraw is not None and len(withdraw) <= _MOST_LINK:
        letter["List-Unsubscribe"] = f"<{withdraw}>"
        if withdraw.startswith("https://"):  # RFC 8058, 3.1: one click is for https alone
            letter["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    letter.set_content(_plain(offer, withdraw), cte="quoted-printable")
    letter.add_alternative(_html(offer, title, withdraw), subtype="html", cte="quoted-printable")
    for part in letter.iter_parts():
        del part["MIME-Version"]
    letter["Content-Language"] = offer.language
    # The library draws the boundary at random; by the key it is the same for every attempt.
    letter.set_boundary(f"=_{digest('boundary', offer.key)}")
    return Letter(to, letter.as_bytes(), utf8=utf8)


def _plain(offer: Offer, withdraw: str | None) -> str:
    parts = [_text(offer.text), _link(offer.link)]
    parts.append(_text(offer.terms) if offer.terms else None)
    if withdraw is not None:
        parts.append(f"-- \n{_withdraw_label(offer.language)}:\n{withdraw}")
    return "\n\n".join(part for part in parts if part) + "\n"


def _html(offer: Offer, title: str, withdraw: str | None) -> str:
    runs = direction(offer.text) or "ltr"
    parts = [f"<h1>{escape(title)}</h1>"] if offer.title else []
    parts += [f"<p>{_lines(part)}</p>" for part in _text(offer.text).split("\n\n") if part.strip()]
    link = _link(offer.link)
    if link is not None:
        parts.append(f'<p><a href="{escape(link)}" dir="ltr">{escape(link)}</a></p>')
    if offer.terms:
        parts.append(f"<p><small>{_lines(_text(offer.terms))}</small></p>")
    if withdraw is not None:
        label = escape(_withdraw_label(offer.language))
        parts.append(f'<hr><p><small><a href="{escape(withdraw)}">{label}</a></small></p>')
    body = "\n".join(parts)
    return (
        f'<!doctype html>\n<html lang="{escape(offer.language)}" dir="{runs}">\n<head>'
        f'<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title></head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _withdraw_label(language: str) -> str:
    return UNSUBSCRIBE[match((language,), UNSUBSCRIBE) or next(iter(UNSUBSCRIBE))]


def _lines(text: str) -> str:
    return escape(text).replace("\n", "<br>\n")


def _text(text: str) -> str:
    return _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n")).strip()


def _line(text: str) -> str:
    """Make one line of it, without anything that a header may not hold.

    What looks like an encoded word (RFC 2047) is broken up: the library would read it, and what is
    encoded there may be the end of the line.
    """
    return _SPACES.sub(" ", _CONTROL.sub("", text)).replace("=?", "= ?").strip()


def _link(link: str | None) -> str | None:
    """Give a link that a mail may carry: http or https, in ASCII, with nothing that ends it."""
    if link is None or not link.startswith(("https://", "http://")):
        return None
    return None if not link.isascii() or re.search(r"[\x00-\x20\x7f<>\"]", link) else link


def _token(text: str) -> str:
    """Make a word of a Feedback-ID, whose fields a colon parts."""
    return text if re.fullmatch(r"[A-Za-z0-9._-]{1,64}", text) else digest("feedback", text)[:16]
