"""The question: how does an offer reach an app by way of Firebase Cloud Messaging (HTTP v1).

One POST for each device, by ``egress``, in the form that Google's discovery document of FCM v1
gives. What its answers mean stands in ``verdicts``; who we are is ``google_account``'s.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

import msgspec

from proximity.channels.channel import Reply
from proximity.channels.credentials import read_credential
from proximity.channels.dialling import read_allowed
from proximity.channels.egress import Egress, EgressError, EgressRefused, check_url
from proximity.channels.google_account import GoogleAccount, read_account
from proximity.channels.mobile import app_fields, apple_fields, collapse_id, fit, weight
from proximity.channels.verdicts import reply_to
from proximity.model import ProximityError
from proximity.tomltable import TomlTable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from proximity.channels.egress import Answer
    from proximity.model import Endpoint, Offer

__all__ = ["BASE_URL", "Fcm", "codes_of", "make_message", "open_fcm", "target_of"]

BASE_URL = "https://fcm.googleapis.com"

_MOST_TTL_S = 28 * 86400
"""Four weeks are the most that FCM keeps a message."""
_MOST_REPLY = 16 * 1024
_NAME = re.compile(r"[A-Z_]{1,64}")
_PROJECT = re.compile(r"[a-z0-9][a-z0-9:.-]{0,99}")
_ADDRESS = re.compile(r"fid:[A-Za-z0-9_-]{8,64}|(?!fid:)[A-Za-z0-9_:.%-]{16,2048}")
"""What the app's library gives; FCM itself promises no form, so this asks for little."""
_FCM_ERROR = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
_BAD_REQUEST = "type.googleapis.com/google.rpc.BadRequest"
_TOKEN_FIELDS = frozenset({"message.token", "message.fid"})
_NO_TOKEN = "The registration token is not a valid FCM registration token"  # noqa: S105  a sentence
"""How FCM names the token without naming the field; its own page of error codes has the sentence.
Compared whole: a part of it may stand in a sentence about something else."""


class Fcm:
    """Posts each offer to one device of the person's.

    ``app_channel`` is the notification channel that the Android app has for it, None for its
    default. ``clock`` gives Unix seconds.
    """

    name = "fcm"
    to_endpoints = True

    def __init__(
        self,
        project: str,
        account: GoogleAccount,
        egress: Egress,
        *,
        base_url: str = BASE_URL,
        app_channel: str | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._url = f"{base_url.rstrip('/')}/v1/projects/{project}/messages:send"
        self._account = account
        self._egress = egress
        self._app_channel = app_channel
        self._clock = clock

    def refuses(self, address: str) -> str:
        """Say why nothing could be sent to this address; empty where it may be tried."""
        if _ADDRESS.fullmatch(address):
            return ""
        return "it is no registration token, and no fid: with an installation id, as the app got it"

    async def send(self, offer: Offer, endpoint: Endpoint | None = None) -> Reply:
        """Post the offer to the device; an access token that is not taken is renewed once."""
        return await self._send(offer, endpoint, try_only=False)

    async def check(self, offer: Offer, endpoint: Endpoint) -> Reply:
        """Have FCM judge the message, token and account without handing anything over."""
        return await self._send(offer, endpoint, try_only=True)

    async def close(self) -> None:
        """Close the connections."""
        await self._egress.close()

    async def _send(self, offer: Offer, endpoint: Endpoint | None, *, try_only: bool) -> Reply:
        if endpoint is None:
            return Reply(outcome="failed", reply={"error": "no endpoint"})
        body = make_message(
            offer, endpoint, self._clock(), app_channel=self._app_channel, try_only=try_only
        )
        if body is None:
            return Reply(outcome="failed", reply={"error": "too large"})
        for last in (False, True):
            token = await self._account.token()
            if isinstance(token, Reply):
                return token
            headers = {
                "content-type": "application/json; charset=utf-8",
                "authorization": f"Bearer {token}",
            }
            try:
                answer = await self._egress.post(self._url, body, headers, keep=_MOST_REPLY)
            except EgressRefused as error:
                return Reply(outcome="config_error", reply={"error": "refused", "why": str(error)})
            except EgressError as error:
                return Reply(outcome="retry", reply={"error": str(error)}, unsure=error.sent)
            if answer.status != 401 or last:
                break
            self._account.forget(token)
        return _judge(answer)


def _judge(answer: Answer) -> Reply:
    if 200 <= answer.status < 300:
        try:
            msgspec.json.decode(answer.body, type=_Sent)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            # Something between us and FCM, a sign-in page perhaps, has answered in its place.
            return Reply(outcome="retry", reply={"status": answer.status, "error": "not FCM"})
    return reply_to("fcm", *codes_of(answer.status, answer.body), answer.status,
                    retry_after_s=answer.retry_after_s)  # fmt: skip


class _Sent(msgspec.Struct):
    name: str


class _Error(msgspec.Struct):
    code: int
    status: str
    message: str = ""
    details: list[dict[str, Any]] = []


class _Failure(msgspec.Struct):
    error: _Error


def codes_of(status: int, body: bytes) -> tuple[str, ...]:
    """Give the error's name as FCM writes it, ``INVALID_ARGUMENT:token`` where it is the token.

    FCM's own detail counts before the status of the gRPC that it lies in. An error that does not
    name the HTTP status it came with is not believed, nor is one that cannot be read: none is
    given. A device is called unregistered under 404 alone and its token none under 400 alone.
    """
    try:
        error = msgspec.json.decode(body, type=_Failure).error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ()
    if error.code != status:
        return ()
    name, fields = error.status, set[str]()
    for detail in error.details:
        kind = detail.get("@type")
        if kind == _FCM_ERROR and isinstance(detail.get("errorCode"), str):
            name = detail["errorCode"]
        elif kind == _BAD_REQUEST:
            violations = detail.get("fieldViolations")
            for one in violations if isinstance(violations, list) else []:
                fields.add(str(one.get("field")) if isinstance(one, dict) else "")
    if not _NAME.fullmatch(name) or (name == "UNREGISTERED" and status != 404):
        return ()
    if name == "INVALID_ARGUMENT" and status == 400:
        # The only field that is at fault, for a message that is wrong as well says nothing of it.
        by_field = bool(fields) and fields <= _TOKEN_FIELDS
        if by_field or (not fields and error.message == _NO_TOKEN):
            return ("INVALID_ARGUMENT:token",)
    return (name,)


def target_of(address: str) -> dict[str, str]:
    """Give the message's target: an installation where it begins with ``fid:``, else a token."""
    if address.startswith("fid:"):
        return {"fid": address[4:]}
    return {"token": address}


def make_message(
    offer: Offer,
    endpoint: Endpoint,
    now: float,
    *,
    app_channel: str | None = None,
    try_only: bool = False,
) -> bytes | None:
    """Write the request's JSON; None where link, receipt and withdrawal alone are too large.

    ``now`` is Unix seconds: the message lives for what is then left of the offer, 0 s being now or
    never. What a platform does not need is left out; an unknown one gets both parts.
    """
    small = fit(offer, lambda one: len(msgspec.json.encode(_content(one, endpoint, app_channel))))
    if small is None:
        return None
    left = min(max(int(offer.expires_at - now), 0), _MOST_TTL_S)
    message = {**target_of(endpoint.address), **_content(small, endpoint, app_channel)}
    if "android" in message:
        message["android"]["ttl"] = f"{left}s"
    if "apns" in message:
        # FCM's own ttl does not reach APNs, which would hand the offer over when it is past.
        message["apns"]["headers"]["apns-expiration"] = str(int(offer.expires_at))
    request = {"message": message} | ({"validateOnly": True} if try_only else {})
    return msgspec.json.encode(request)


def _content(offer: Offer, endpoint: Endpoint, app_channel: str | None) -> dict[str, Any]:
    """Give what counts towards FCM's 4096 bytes, and the few words around it."""
    platform = endpoint.platform or ""
    insistence, same = weight(offer.purpose), collapse_id(offer.key)
    shown = {"body": offer.text} | ({"title": offer.title} if offer.title else {})
    content: dict[str, Any] = {"notification": shown, "data": app_fields(offer)}
    if not platform.startswith("ios"):
        # The tag replaces what is on the screen already, the collapse key what still waits.
        note = {"tag": same} | ({"channelId": app_channel} if app_channel else {})
        content["android"] = {
            "collapseKey": same,
            "priority": insistence.fcm,
            "notification": note,
        }
    if platform != "android":
        content["apns"] = {
            "headers": {"apns-collapse-id": same, "apns-priority": str(insistence.apns)},
            "payload": {"aps": apple_fields(offer)},
        }
    return content


def open_fcm(config: Mapping[str, Any], folder: Path) -> Fcm:
    """Open it from ``[channel.fcm]``; a relative ``account_file`` is looked for in ``folder``.

    Raises ProximityError with every problem.
    """
    table = TomlTable(config, "channel.fcm")
    allow = read_allowed(table)
    base_url = table.text("base_url") or BASE_URL
    target, problem = check_url(base_url, allow)
    if target is None:
        table.fault(f"base_url: {problem}, or list its address in allow")
    named = table.text("project")
    app_channel = table.text("app_channel")
    egress = Egress(allow)
    text = read_credential(table, folder, "account", "the service account's JSON")
    read = None if text is None else read_account(table, text, egress, allow, time.time)
    project = named or ("" if read is None else read[1])
    if read is not None and not _PROJECT.fullmatch(project):
        table.fault(f"project {project!r:.100} is no id of a project: see the project's settings")
    table.finish()
    if table.problems or read is None:
        raise ProximityError(*table.problems)
    return Fcm(project, read[0], egress, base_url=base_url, app_channel=app_channel)
