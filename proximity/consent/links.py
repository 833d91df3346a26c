"""How can a link prove that it is ours? A text signed with a key, good until a time.

The signature is the whole credential: whoever has the link may do what it says, and nothing else.
What it says can be read by whoever has it, so that it holds ids and no names. Pure: key and time
are given. Knows no page and no route.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import urllib.parse
from typing import TYPE_CHECKING, Any

import msgspec

from proximity.model import ProximityError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["WITHDRAW_S", "LinkError", "LinkExpired", "read", "sign", "withdraw_url"]

MOST_LINK = 2000
"""Characters of a signed text: links longer than this are cut by mail programs on the way."""
WITHDRAW_S = 90 * 86400.0
"""How long a link to withdraw is good, seconds. Mail is opened late: CAN-SPAM asks for 30 days
after sending; three times that harms nobody, since all that such a link can do is say no."""

WITHDRAW = "withdraw"
"""What the claim ``do`` of a link to withdraw says, so that no other link passes for one."""


class LinkError(ProximityError):
    """A signed text that is none of ours, or was changed on its way."""


class LinkExpired(LinkError):  # noqa: N818 - it says what the link is
    """A signed text of ours whose time is over."""


def sign(key: bytes, claims: Mapping[str, Any], until: float) -> str:
    """Sign ``claims`` (JSON values) until Unix second ``until``; letters, digits, ``-_.`` alone.

    The JSON ``[until, claims]`` in base64url, a dot, and its HMAC-SHA256 (RFC 2104). Raises
    LinkError where it would be too long for a link.
    """
    body = _encode(msgspec.json.encode([int(until), claims]))
    text = f"{body}.{_encode(_mac(key, body))}"
    if len(text) > MOST_LINK:
        raise LinkError(
            f"a link of {len(text)} characters is longer than {MOST_LINK}: claim less with it"
        )
    return text


def read(key: bytes, text: str, now: float) -> dict[str, Any]:
    """Give what a signed text claims. Raises LinkError, LinkExpired where its time is over."""
    body, dot, mark = text.partition(".")
    if not dot or len(text) > MOST_LINK or not text.isascii():
        raise LinkError("this link is incomplete: open it again from where you found it")
    try:
        told = _decode(mark)
    except (binascii.Error, ValueError):
        told = b""
    # Compared before anything of it is read, and in the same time wherever it differs.
    if not hmac.compare_digest(told, _mac(key, body)):
        raise LinkError("this link was changed on its way: open it again from where you found it")
    until, claims = msgspec.json.decode(_decode(body), type=tuple[int, dict[str, Any]])
    if now >= until:
        raise LinkExpired("this link is too old: use a newer one")
    return claims


def withdraw_url(
    key: bytes,
    public_url: str,
    person: str,
    purpose: str | None,
    channel: str | None,
    now: float,
) -> str:
    """Make the link with which a person withdraws by one click, without logging in.

    ``public_url`` is where people reach the server; ``now`` (Unix seconds) is rounded to the day,
    so that the link of one person stays the same all day.
    """
    until = now - now % 86400.0 + WITHDRAW_S
    claims = {"do": WITHDRAW, "person": person}
    claims |= {} if purpose is None else {"purpose": purpose}
    claims |= {} if channel is None else {"channel": channel}
    return f"{public_url.rstrip('/')}/withdraw/{urllib.parse.quote(sign(key, claims, until))}"


def _mac(key: bytes, body: str) -> bytes:
    return hmac.digest(key, body.encode(), hashlib.sha256)


def _encode(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    found = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    if _encode(found) != text:  # unused bits of the last character: one content, one text
        raise ValueError("not the way that base64url writes it")
    return found
