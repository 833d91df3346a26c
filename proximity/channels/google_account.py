"""The question: how does the engine show Google that it may send, without giving its key away.

RFC 7523: an assertion signed with the service account's key (google-auth signs) is exchanged for an
access token, by way of ``egress``. The token is kept until shortly before its end. It must not know
what the token is used for beyond its scope.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

import msgspec

from proximity.channels.channel import Reply
from proximity.channels.egress import Egress, EgressError, EgressRefused, check_url
from proximity.channels.verdicts import reply_to
from proximity.model import ProximityError

try:
    from google.auth import jwt
    from google.auth.crypt import RSASigner
except ModuleNotFoundError as error:  # pragma: no cover - the tests' environment has it
    raise ProximityError(
        "channel fcm needs google-auth: pip install 'proximity-engine[push]'"
    ) from error

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from proximity.channels.egress import Network
    from proximity.tomltable import TomlTable

__all__ = ["SCOPE", "GoogleAccount", "read_account"]

SCOPE = "https://www.googleapis.com/auth/firebase.messaging"
"""The narrowest that may send: it opens nothing else of the project."""

_ASKING = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion="
"""A form's beginning; an assertion has no character that a form would write otherwise."""
_LIFE_S = 3600
"""Of an assertion; Google takes no longer one."""
_MARGIN_S = 300.0
"""A token is renewed so long before its end: a hand-over takes seconds, a clock may be minutes off.
Google gives a fresh one from then on."""
_REST_S = {"config_error": 30.0, "retry": 2.0}
"""How long the endpoint is left alone after a refusal, or a fault that may pass: a thousand offers
ask once, not each."""
_MOST_REST_S = max(_REST_S.values())
_MOST_REPLY = 16 * 1024
_TOKEN = re.compile(r"[\x21-\x7e]{1,4096}")
_CODE = re.compile(r"[a-z_]{1,64}")


class _Granted(msgspec.Struct):
    access_token: str
    expires_in: float


class _Refused(msgspec.Struct):
    error: str


class GoogleAccount:
    """The account's signer, and the access token that it has at present.

    ``clock`` gives Unix seconds.
    """

    def __init__(
        self,
        email: str,
        signer: RSASigner,
        token_url: str,
        egress: Egress,
        clock: Callable[[], float],
    ) -> None:
        self._email = email
        self._signer = signer
        self._token_url = token_url
        self._egress = egress
        self._clock = clock
        self._token = ""
        self._good_until = 0.0
        self._refused: Reply | None = None
        self._rest_until = 0.0
        self._asking = asyncio.Lock()

    def __repr__(self) -> str:
        return "GoogleAccount(…)"

    async def token(self) -> str | Reply:
        """Give the access token, asking for a new one where it is needed; else why there is none.

        Whoever comes meanwhile waits for the same one.
        """
        async with self._asking:
            now = self._clock()
            # Bounded above as well: a clock that was set back would keep either for hours.
            if now < self._good_until <= now + _LIFE_S:
                return self._token
            if self._refused is not None and now < self._rest_until <= now + _MOST_REST_S:
                return self._refused
            self._refused = await self._ask(now)
            if self._refused is None:
                return self._token
            self._rest_until = now + _REST_S[self._refused.outcome]
            return self._refused

    def forget(self, token: str) -> None:
        """Drop a token that was not taken, unless it has been replaced already."""
        if token == self._token:
            self._good_until = 0.0

    def assertion(self, now: float) -> str:
        """Make the signed assertion (RFC 7523, 3); ``now`` Unix seconds."""
        claims = {
            "iss": self._email,
            "scope": SCOPE,
            "aud": self._token_url,
            "iat": int(now),
            "exp": int(now) + _LIFE_S,
        }
        written: bytes = jwt.encode(self._signer, claims)  # type: ignore[no-untyped-call]
        return written.decode()

    async def _ask(self, now: float) -> Reply | None:
        """Exchange an assertion for a token; None where there is one now, else why there is not."""
        body = f"{_ASKING}{self.assertion(now)}".encode()
        headers = {"content-type": "application/x-www-form-urlencoded"}
        try:
            answer = await self._egress.post(self._token_url, body, headers, keep=_MOST_REPLY)
        except EgressRefused as error:
            why = {"error": "refused", "why": str(error), "at": "token"}
            return Reply(outcome="config_error", reply=why)
        except EgressError as error:
            return Reply(outcome="retry", reply={"error": str(error), "at": "token"})
        codes: tuple[str | int, ...] = (answer.status,)
        if 200 <= answer.status < 300:
            try:
                granted = msgspec.json.decode(answer.body, type=_Granted, strict=False)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                granted = None
            if granted is not None and _TOKEN.fullmatch(granted.access_token):
                life = min(max(granted.expires_in, 0.0), float(_LIFE_S))
                # Also where the margin is longer than the life: used at least for half of it.
                self._good_until = now + max(life - _MARGIN_S, life / 2.0)
                self._token = granted.access_token
                return None
            said = {"status": answer.status, "error": "no token in the answer", "at": "token"}
            return Reply(outcome="retry", reply=said)
        try:
            code = msgspec.json.decode(answer.body, type=_Refused).error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            code = ""
        if _CODE.fullmatch(code):
            codes = (code, answer.status)
        reply = reply_to("oauth", *codes, retry_after_s=answer.retry_after_s)
        return msgspec.structs.replace(reply, reply={**reply.reply, "at": "token"})


class _Account(msgspec.Struct):
    type: str
    project_id: str
    private_key: str
    client_email: str
    token_uri: str
    private_key_id: str = ""


def read_account(
    table: TomlTable,
    text: str,
    egress: Egress,
    allow: Sequence[Network],
    clock: Callable[[], float],
) -> tuple[GoogleAccount, str] | None:
    """Read a service account's JSON; give it and its project, or None where the table has faults.

    Nothing of the text is repeated in a fault.
    """
    mend = "download a key of a service account as JSON again and put it there whole"
    try:
        read = msgspec.json.decode(text, type=_Account)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        table.fault(f"the account is no service account's JSON: {mend}")
        return None
    if read.type != "service_account":
        table.fault(f"the account's type is not service_account: {mend}")
        return None
    target, problem = check_url(read.token_uri, allow)
    if target is None:
        table.fault(f"the account's token_uri: {problem}, or list its address in allow")
        return None
    try:
        signer = RSASigner.from_string(  # type: ignore[no-untyped-call]
            read.private_key, read.private_key_id or None
        )
        signer.sign(b"")  # a key of another kind is taken, and shows only here
    except (ValueError, TypeError):
        table.fault(f"the account's private_key is no RSA key in PEM: {mend}")
        return None
    account = GoogleAccount(read.client_email, signer, read.token_uri, egress, clock)
    return account, read.project_id
