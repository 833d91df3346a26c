"""FCM and Google's token endpoint on loopback, with the answers that their pages show."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import jwt
from aiohttp import web

from tests.proximity.channels.receivers import Receiver, receiver
from tests.proximity.channels.tls import pem, rsa_key

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

PROJECT = "shop-42"
EMAIL = "engine@shop-42.iam.gserviceaccount.com"
KEY_ID = "0123456789abcdef"
DEVICE = "fGhJ7:APA91bHun4MxP5egoKMwt2KZFBaFUH-1RYqx"

FCM_ERROR = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
BAD_REQUEST = "type.googleapis.com/google.rpc.BadRequest"


def refusal(
    code: int, status: str, *, name: str | None = None, field: str | None = None, message: str = ""
) -> dict[str, Any]:
    """An error as FCM writes it, with its own detail and the field at fault."""
    details: list[dict[str, Any]] = []
    if name is not None:
        details.append({"@type": FCM_ERROR, "errorCode": name})
    if field is not None:
        details.append({"@type": BAD_REQUEST, "fieldViolations": [{"field": field}]})
    return {
        "error": {"code": code, "message": message, "status": status}
        | ({"details": details} if details else {})
    }


class Google:
    """The server's face: what came, and what it says to whom."""

    def __init__(self, one: Receiver) -> None:
        self.receiver = one
        self.sent: list[dict[str, Any]] = []
        self.bearers: list[str] = []
        self.assertions: list[str] = []
        self.says: tuple[int, Any] = (200, None)
        self.devices: dict[str, tuple[int, Any]] = {}  # what it says of one, before all others
        self.headers: dict[str, str] = {}
        self.grants: tuple[int, Any] = (200, None)
        self.taken: set[str] | None = None  # access tokens that are taken; None: any
        self.life_s = 3600.0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.receiver.port}"

    async def answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        if request.path == "/token":
            form = parse_qs(body.decode())
            assert form["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
            self.assertions += form["assertion"]
            status, said = self.grants
            if said is None:
                token = f"ya29.secret-{len(self.assertions)}"
                said = {"access_token": token, "expires_in": self.life_s, "token_type": "Bearer"}
        else:
            assert request.path == f"/v1/projects/{PROJECT}/messages:send"
            self.sent.append(json.loads(body))
            bearer = request.headers["authorization"].removeprefix("Bearer ")
            self.bearers.append(bearer)
            device = self.sent[-1]["message"].get("token", "")
            status, said = self.devices.get(device, self.says)
            if self.taken is not None and bearer not in self.taken:
                status, said = 401, refusal(401, "UNAUTHENTICATED")
            if said is None:
                said = {"name": f"projects/{PROJECT}/messages/0:{len(self.sent)}"}
        text = said if isinstance(said, str) else json.dumps(said)
        return web.Response(status=status, text=text, headers=self.headers)

    def claims(self, assertion: str) -> dict[str, Any]:
        """Verify an assertion as the endpoint would, by another library; give what it claims."""
        assert jwt.get_unverified_header(assertion) == {
            "alg": "RS256",
            "typ": "JWT",
            "kid": KEY_ID,
        }
        read: dict[str, Any] = jwt.decode(
            assertion,
            rsa_key().public_key(),
            algorithms=["RS256"],
            audience=f"{self.url}/token",
            issuer=EMAIL,
        )
        return read


@asynccontextmanager
async def google() -> AsyncIterator[Google]:
    async with receiver() as one:
        face = Google(one)
        one.answer = face.answer
        yield face


def account(url: str) -> dict[str, Any]:
    """A service account's JSON, with the fields that the console writes."""
    return {
        "type": "service_account", "project_id": PROJECT, "private_key_id": KEY_ID,
        "private_key": pem(rsa_key()), "client_email": EMAIL, "client_id": "1",
        "auth_uri": "https://accounts.google.com/o/oauth2/auth", "token_uri": f"{url}/token",
        "universe_domain": "googleapis.com",
    }  # fmt: skip


def settings(folder: Path, url: str) -> dict[str, Any]:
    """The ``[channel.fcm]`` table for it; writes the account."""
    file = folder / "account.json"
    file.write_text(json.dumps(account(url)))
    file.chmod(0o600)
    return {"account_file": "account.json", "base_url": url, "allow": ["127.0.0.1"]}
