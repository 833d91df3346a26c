"""The question: how does an offer reach an app by way of the Apple Push Notification service.

One request for each device over a connection that stays open (``line``), in the form of Apple's
"Sending notification requests to APNs". What its answers mean stands in ``verdicts``; who we are is
``apple_key``'s.
"""

from __future__ import annotations

import re
import time
import uuid
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from proximity.channels.apple_key import ProviderToken, read_id, read_signer
from proximity.channels.channel import Reply
from proximity.channels.credentials import read_credential
from proximity.channels.dialling import Peer, read_allowed, read_context
from proximity.channels.egress import EgressError, EgressRefused, check_url
from proximity.channels.line import Line, tls_context
from proximity.channels.mobile import app_fields, apple_fields, collapse_id, fit, weight
from proximity.channels.verdicts import reply_to
from proximity.model import ProximityError
from proximity.tomltable import TomlTable

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from proximity.channels.egress import Network
    from proximity.channels.http2 import Response
    from proximity.model import Endpoint, Offer

__all__ = [
    "PRODUCTION", "SANDBOX", "Apns", "Said", "make_headers", "make_payload", "open_apns", "read",
]  # fmt: skip

PRODUCTION = "https://api.push.apple.com"
SANDBOX = "https://api.sandbox.push.apple.com"
"""Where apps that Xcode installed have their tokens."""

_ACCEPTS = frozenset({200, 400, 410, 413})
"""Statuses that Apple gives only once it has taken the provider token: from then on it allows more
than one request at a time."""
_TOKEN = re.compile(r"[0-9A-Fa-f]{2,512}")
_TOPIC = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_REASON = re.compile(r"[A-Za-z]{1,64}")
_IDS = uuid.uuid5(uuid.NAMESPACE_URL, "urn:proximity-engine:apns")
_DEAD_WITH = {"BadDeviceToken": 400, "Unregistered": 410, "ExpiredToken": 410}
"""Reasons that take an endpoint away, each believed with its own status alone."""
_ELSEWHERE = frozenset({"UnrelatedKeyIdInToken", "Shutdown", "IdleTimeout"})
"""Reasons that hold for the connection: the next request needs another one."""


class Said(NamedTuple):
    """What APNs answered: its status, the reason's name, and when the token went, Unix seconds."""

    status: int
    reason: str | None = None
    at: float | None = None


class Apns:
    """Posts each offer to one device of the person's.

    ``lines`` lead to production and to the sandbox, in that order; ``topic`` is the app's bundle
    id where the endpoint has no ``origin``.
    """

    name = "apns"
    to_endpoints = True

    def __init__(
        self, token: ProviderToken, lines: tuple[Line, Line], *, topic: str | None = None
    ) -> None:
        self._token = token
        self._lines = lines
        self._topic = topic

    def refuses(self, address: str) -> str:
        """Say why nothing could be sent to this address; empty where it may be tried."""
        if _TOKEN.fullmatch(address):
            return ""
        return "it is no device token: write the bytes that the app got as hex digits, and no more"

    async def send(self, offer: Offer, endpoint: Endpoint | None = None) -> Reply:
        """Post the offer to the device, in the other environment too where this one has no such.

        A token that neither knows is dead. Where the other does not take our key, that settles
        it as well if the endpoint says which of the two it belongs to.
        """
        if endpoint is None:
            return Reply(outcome="failed", reply={"error": "no endpoint"})
        topic = endpoint.origin or self._topic
        problem = _problem(endpoint.address, topic)
        body = make_payload(offer)
        if problem is not None:
            return reply_to("apns", problem)
        if body is None:
            return reply_to("apns", "PayloadTooLarge")
        headers = make_headers(offer, endpoint.address, topic or "")
        path = f"/3/device/{endpoint.address.lower()}"
        first, other = self._lines
        if endpoint.platform == "ios-sandbox":
            first, other = other, first
        try:
            said = await self._post(first, path, headers, body)
            if said.reason == "BadDeviceToken":
                second = await self._post(other, path, headers, body)
                refused = _judge(second, endpoint).outcome == "config_error"
                if not refused or endpoint.platform is None:
                    said = second
        except EgressRefused as error:
            return Reply(outcome="config_error", reply={"error": "refused", "why": str(error)})
        except EgressError as error:
            return Reply(outcome="retry", reply={"error": str(error)}, unsure=error.sent)
        return _judge(said, endpoint)

    async def close(self) -> None:
        """Close the connections."""
        for line in self._lines:
            await line.close()

    async def _post(
        self, line: Line, path: str, headers: Sequence[tuple[str, str]], body: bytes
    ) -> Said:
        for last in (False, True):
            own = ("authorization", f"bearer {self._token.get()}")
            said = read(await line.post(path, [own, *headers], body, _ACCEPTS))
            if said.reason != "ExpiredProviderToken" or last or not self._token.drop():
                break
        if said.reason in _ELSEWHERE:
            line.renew()
        return said


def read(response: Response) -> Said:
    """Read an answer; of its body only a reason that is a name, and a moment, are believed."""
    if response.status == 200:
        return Said(200)
    try:
        body = msgspec.json.decode(response.body, type=_Body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Said(response.status)
    if not _REASON.fullmatch(body.reason):
        return Said(response.status)
    if _DEAD_WITH.get(body.reason, response.status) != response.status:
        return Said(response.status)
    at = None if body.timestamp is None else body.timestamp / 1000.0
    return Said(response.status, body.reason, at)


class _Body(msgspec.Struct):
    reason: str
    timestamp: float | None = None


def _judge(said: Said, endpoint: Endpoint) -> Reply:
    """Tell what an answer means for this endpoint.

    A token that Apple calls inactive as of a moment before it was registered here has come back
    since, as after a restored backup: it stays.
    """
    reason, since = said.reason, endpoint.registered_at
    if said.status == 410 and reason and since is not None:
        dead = said.at is not None and said.at >= since
        return reply_to("apns", reason if dead else f"{reason}:older", said.status)
    return reply_to("apns", *([reason] if reason else []), said.status)


def _problem(token: str, topic: str | None) -> str | None:
    """Name the reason for which Apple would refuse this; nothing else may stand in a path."""
    if not _TOKEN.fullmatch(token):
        return "BadDeviceToken"
    if topic is None:
        return "MissingTopic"
    return None if _TOPIC.fullmatch(topic) else "BadTopic"


def make_headers(offer: Offer, token: str, topic: str) -> list[tuple[str, str]]:
    """Make the request's headers but for ``authorization``.

    ``apns-id`` is the same for every attempt at one device, as the collapse id is for every attempt
    at all of them.
    """
    return [
        ("apns-topic", topic),
        ("apns-push-type", "alert"),
        ("apns-priority", str(weight(offer.purpose).apns)),
        ("apns-expiration", str(max(int(offer.expires_at), 0))),
        ("apns-collapse-id", collapse_id(offer.key)),
        ("apns-id", str(uuid.uuid5(_IDS, f"{offer.key}\n{token.lower()}"))),
    ]


def make_payload(offer: Offer) -> bytes | None:
    """Write the payload's JSON, at most 4096 bytes; None where even its least form is larger."""
    small = fit(offer, lambda one: len(_payload(one)))
    return None if small is None else _payload(small)


def _payload(offer: Offer) -> bytes:
    alert = ({"title": offer.title} if offer.title else {}) | {"body": offer.text}
    aps = {"alert": alert, **apple_fields(offer)}
    return msgspec.json.encode({"aps": aps, "offer": app_fields(offer)})


def open_apns(config: Mapping[str, Any], folder: Path) -> Apns:
    """Open it from ``[channel.apns]``; relative ``key_file`` and ``ca_file`` are in ``folder``.

    Raises ProximityError with every problem.
    """
    table = TomlTable(config, "channel.apns")
    allow = read_allowed(table)
    context = tls_context(read_context(table, folder))
    lines = (
        _read_line(table, "url", PRODUCTION, allow, context),
        _read_line(table, "sandbox_url", SANDBOX, allow, context),
    )
    key_id = read_id(table, "key_id", "the list of keys in the developer account")
    team_id = read_id(table, "team_id", "the membership page of the developer account")
    topic = table.text("topic")
    if topic is not None and not _TOPIC.fullmatch(topic):
        table.fault(f"topic {topic!r:.100} is no bundle id such as test.example.shop")
    text = read_credential(table, folder, "key", "the text of Apple's .p8 file")
    signer = None if text is None else read_signer(table, text)
    table.finish()
    if table.problems or signer is None or lines[0] is None or lines[1] is None:
        raise ProximityError(*table.problems)
    token = ProviderToken(key_id, team_id, signer, time.time)
    return Apns(token, (lines[0], lines[1]), topic=topic)


def _read_line(
    table: TomlTable, name: str, default: str, allow: Sequence[Network], context: ssl.SSLContext
) -> Line | None:
    written: str = table.text(name) or default
    target, problem = check_url(written, allow)
    if target is None:
        table.fault(f"{name}: {problem}, or list its address in allow")
        return None
    if target.scheme != "https" or target.raw_path != "/" or target.host is None:
        table.fault(f"{name} must be https://host, with a port or without; APNs is spoken over TLS")
        return None
    peer = Peer(
        host=target.host, port=target.port or 443, tls="tls", allow=tuple(allow), context=context
    )
    return Line(peer)
