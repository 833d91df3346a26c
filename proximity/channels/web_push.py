"""The question: how does an offer reach a browser that its reader may have closed.

Web Push (RFC 8030): a POST to the push service of the browser's maker, encrypted for this one
browser (RFC 8291), so that the service reads nothing, and signed as ours (``vapid``). It is kept
there for as long as the offer is good, and one that waits still is replaced by a repeat of itself.
The address is what a stranger's browser told us: it is checked as such, and ``egress`` guards it.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import time
import unicodedata
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from proximity.channels.channel import Reply
from proximity.channels.egress import Answer, Egress, EgressError, EgressRefused, check_url
from proximity.channels.vapid import Vapid, check_contact, read_key
from proximity.channels.verdicts import reply_to
from proximity.content.languages import direction
from proximity.model import ProximityError
from proximity.tomltable import TomlTable

try:
    import http_ece  # type: ignore[import-untyped]  # it ships no types
    from cryptography.hazmat.primitives.asymmetric import ec
except ModuleNotFoundError as error:  # pragma: no cover - the tests' environment has it
    raise ProximityError(
        "channel web-push needs py-vapid and http-ece: pip install 'proximity-engine[push]'"
    ) from error

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from proximity.channels.egress import Network
    from proximity.model import Endpoint, Offer

__all__ = [
    "URGENCIES", "Subscription", "WebPush", "encrypt", "make_message", "open_web_push",
    "read_subscription", "topic_of",
]  # fmt: skip

URGENCIES = {
    "service": "high",  # somebody is being served now, however low their battery
    "reminder": "high",  # of what they booked: late it is worth nothing
    "marketing": "normal",  # of a place they are at now: "low" would wait for a charger
    "content": "low",  # news keep until there is power or Wi-Fi (RFC 8030, 5.3)
    "social": "low",
}
"""Purpose -> how long it may wait for the phone's battery; any other is ``normal``."""

MOST_BYTES = 4096
"""Of an encrypted message: what every push service takes (RFC 8030, 7.2)."""
_ADDED = 86 + 1 + 16  # RFC 8188: salt, size, key; the delimiter; the tag
MOST_MESSAGE = MOST_BYTES - _ADDED
LESS_MESSAGE = 2048
"""Bytes of a message once a service said that it was too large: half, and only once."""
_LEAST_TEXT = 80  # characters: less of it says nothing
_LEFT_OUT = ("withdraw", "receipt", "title", "link")
"""What is left out for want of room where a short text is not enough, the first first."""
_MOST_TTL_S = 28 * 86400  # what the large services keep at most
_ELLIPSIS = "…"
_JOINERS = "\u200d\ufe0e\ufe0f"  # ZWJ joins what stands on both sides; the others how it is shown


class Keys(msgspec.Struct, frozen=True):
    """What a browser wants its messages encrypted with, in base64url."""

    p256dh: str
    auth: str

    def __repr__(self) -> str:
        return "Keys(…)"


class Subscription(msgspec.Struct, frozen=True):
    """What a browser's ``PushSubscription.toJSON()`` says; all of it is a credential."""

    endpoint: str
    keys: Keys

    def __repr__(self) -> str:
        return "Subscription(…)"

    @property
    def public_key(self) -> bytes:
        """The browser's point on P-256, uncompressed."""
        return _decode(self.keys.p256dh)

    @property
    def secret(self) -> bytes:
        """The secret that the browser shares with its senders."""
        return _decode(self.keys.auth)


class WebPush:
    """Sends offers to browsers; ``public_key`` is what they subscribe with.

    ``clock`` gives Unix seconds, for how long a message is kept.
    """

    name = "web-push"
    to_endpoints = True

    def __init__(
        self,
        vapid: Vapid,
        egress: Egress,
        allow: Sequence[Network] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.public_key = vapid.public_key
        self._vapid = vapid
        self._egress = egress
        self._allow = tuple(allow)
        self._clock = clock

    def refuses(self, address: str) -> str:
        """Say why nothing could be sent to this address; empty where it may be tried."""
        try:
            subscription = read_subscription(address)
            self._origin(subscription)
        except (ValueError, EgressRefused) as error:
            return str(error)
        return ""

    async def send(self, offer: Offer, endpoint: Endpoint | None = None) -> Reply:
        """Send the offer to one browser, shortened once where the service asks for that."""
        if endpoint is None:
            return Reply(outcome="failed", reply={"error": "no endpoint"})
        try:
            subscription = read_subscription(endpoint.address)
        except ValueError:
            # Nothing will ever reach it, whoever wrote it down.
            return Reply(outcome="dead_endpoint", reply={"error": "unreadable"})
        said: dict[str, Any] = {}
        try:
            answer = await self._post(offer, subscription, MOST_MESSAGE)
            if answer.status == 413:
                said["shortened"] = True
                answer = await self._post(offer, subscription, LESS_MESSAGE)
        except EgressRefused as error:
            # Its name may lead elsewhere tomorrow, or our resolver be the one that is wrong.
            return Reply(outcome="config_error", reply={"error": "refused", "why": str(error)})
        except EgressError as error:
            return Reply(outcome="retry", reply={"error": str(error)}, unsure=error.sent)
        found = reply_to("web-push", answer.status, retry_after_s=answer.retry_after_s)
        return replace(found, reply={**found.reply, **said})

    async def _post(self, offer: Offer, to: Subscription, most: int) -> Answer:
        good_s = int(offer.expires_at - self._clock())
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Encoding": "aes128gcm",
            "TTL": str(min(max(good_s, 0), _MOST_TTL_S)),
            "Urgency": URGENCIES.get(offer.purpose, "normal"),
            "Topic": topic_of(offer.key),
            "Authorization": self._vapid.authorize(self._origin(to)),
        }
        body = encrypt(make_message(offer, most), to)
        return await self._egress.post(to.endpoint, body, headers)

    def _origin(self, to: Subscription) -> str:
        """Give the push service's origin, as tokens name it. Raises EgressRefused."""
        target, problem = check_url(to.endpoint, self._allow)
        if target is None:
            raise EgressRefused(f"endpoint: {problem}")
        return str(target.origin())

    async def close(self) -> None:
        """Close the connections."""
        await self._egress.close()


def read_subscription(address: str) -> Subscription:
    """Read an endpoint's address. Raises ValueError, which names no part of it."""
    try:
        found = msgspec.json.decode(address, type=Subscription)
        point, secret = found.public_key, found.secret
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise ValueError(
            "address must be the browser's subscription as JSON: endpoint, and keys with p256dh "
            "and auth"
        ) from None
    try:
        ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    except ValueError:
        point = b""
    if len(point) != 65:
        raise ValueError("keys.p256dh is no uncompressed point of the curve P-256")
    if len(secret) != 16:
        raise ValueError("keys.auth is not 16 bytes")
    return found


def encrypt(
    message: bytes,
    to: Subscription,
    *,
    private_key: ec.EllipticCurvePrivateKey | None = None,
    salt: bytes | None = None,
) -> bytes:
    """Encrypt a message for one browser (RFC 8291, aes128gcm), in one record.

    Key and salt are drawn anew for each message; giving them is for vectors alone.
    """
    key = ec.generate_private_key(ec.SECP256R1()) if private_key is None else private_key
    body: bytes = http_ece.encrypt(
        message,
        salt=salt,
        private_key=key,
        dh=to.public_key,
        auth_secret=to.secret,
        version="aes128gcm",
        rs=MOST_BYTES,
    )
    return body


def make_message(offer: Offer, most: int = MOST_MESSAGE) -> bytes:
    """Write what the service worker is told, as JSON of at most ``most`` bytes (1,500 or more).

    A text that is too long ends in an ellipsis; where that is not enough, links go.
    """
    fields: dict[str, Any] = {
        "key": offer.key if len(offer.key) <= 128 else topic_of(offer.key),
        "title": offer.title,
        "text": offer.text,
        "lang": offer.language,
        "dir": direction(offer.text),
        "link": offer.link,
        "receipt": offer.receipt,
        "withdraw": offer.withdraw,
        "expires_at": offer.expires_at,
    }
    told = {name: value for name, value in fields.items() if value is not None}
    for name in (None, *_LEFT_OUT):
        told.pop(name or "", None)
        found = _fitted(told, most)
        if found is not None:
            return found
    raise AssertionError("a key and eighty characters fit always")


def topic_of(key: str) -> str:
    """Give the name under which a repeat of an offer replaces it: at most 32 letters and digits."""
    if len(key) <= 32 and key.isascii() and key.isalnum():
        return key
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def open_web_push(config: Mapping[str, Any], folder: Path) -> WebPush:
    """Open it from ``[channel.web-push]``; a relative ``key_file`` is looked for in ``folder``.

    Raises ProximityError with every problem.
    """
    table = TomlTable(config, "channel.web-push")
    allow = []
    for entry in table.names("allow"):
        try:
            allow.append(ipaddress.ip_network(entry))
        except ValueError:
            table.fault(f"allow: {entry!r:.60} is no address or network such as 10.0.0.0/8")
    contact = table.text("contact")
    if contact is None:
        table.fault(
            "contact is missing: push services want to know whom to write to when something is "
            'wrong; write contact = "mailto:you@example.com"'
        )
    elif problem := check_contact(contact):
        table.fault(f"contact: {problem}")
    key = read_key(table, folder)
    table.finish()
    if table.problems or key is None or contact is None:
        raise ProximityError(*table.problems)
    return WebPush(Vapid(key, contact), Egress(allow), allow)


def _fitted(told: Mapping[str, Any], most: int) -> bytes | None:
    """Write the fields, the text cut as far as it makes sense; None: that is too long still."""
    text: str = told["text"]
    kept = len(text)
    while True:
        shown = text if kept == len(text) else _cut(text, kept)
        whole = msgspec.json.encode({**told, "text": shown})
        over = len(whole) - most
        if over <= 0:
            return whole
        if kept <= _LEAST_TEXT:
            return None
        # A character takes four bytes in UTF-8, or six where JSON escapes it, at most.
        kept = max(min(kept - 1, len(text[:kept]) - over // 6), _LEAST_TEXT)


def _cut(text: str, length: int) -> str:
    """Shorten a text to at most ``length`` characters, an ellipsis included; no accent is lost."""
    end = length - 1
    while end > 0 and (
        unicodedata.combining(text[end]) or text[end] in _JOINERS or text[end - 1] == _JOINERS[0]
    ):
        end -= 1
    return text[:end].rstrip(" ") + _ELLIPSIS


def _decode(text: str) -> bytes:
    return base64.b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4), b"-_", True)
