"""No secret and no device's address is in any log, reply, repr, error or traceback of a push channel.

Every channel is made to send to somebody who takes it, who refuses it in every way, who writes back
all that it was sent, who hangs up, and who is not there, with every logger at its most talkative.
"""

from __future__ import annotations

import base64
import json
import logging
import traceback
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from proximity.channels.apns import open_apns
from proximity.channels.fcm import open_fcm
from proximity.channels.vapid import make_key, write_key
from proximity.channels.web_push import open_web_push
from proximity.model import Endpoint
from tests.proximity.channels import apple, google
from tests.proximity.channels.receivers import receiver
from tests.proximity.channels.tls import ec_key, pem, rsa_key
from tests.proximity.given import NOON, offer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from proximity.channels import Channel

STATUSES = (200, 302, 400, 401, 403, 404, 410, 413, 429, 500, 503)


class Watched(NamedTuple):
    """A channel, whom it sends to, how to choose the answer, and what must not be seen anywhere."""

    channel: Channel
    endpoint: Endpoint
    answer: Callable[[int], None]
    secrets: Callable[[], set[str]]


def lines(text: str) -> set[str]:
    return {line for line in text.splitlines() if len(line) > 20 and "-----" not in line}


def echo(request: web.Request, body: bytes, status: int) -> web.Response:
    if status == 0:
        assert request.transport is not None
        request.transport.close()
        return web.Response()
    said = {
        "error": {
            "code": status,
            "status": dict(request.headers),
            "message": body.decode("latin-1"),
        }
    }
    return web.json_response(said, status=status, headers={"Location": str(request.url)})


@asynccontextmanager
async def fcm(folder: Path) -> AsyncIterator[Watched]:
    async with google.google() as one:
        status = [200]

        async def answer(request: web.Request) -> web.StreamResponse:
            if request.path == "/token" and status[0] < 500:
                return await one.answer(request)
            if request.path != "/token" and status[0] == 200:
                return await one.answer(request)
            return echo(request, await request.read(), status[0])

        one.receiver.answer = answer
        channel = open_fcm(google.settings(folder, one.url), folder)
        yield Watched(
            channel,
            Endpoint(channel="fcm", address=google.DEVICE, registered_at=NOON),
            lambda new: status.__setitem__(0, new),
            lambda: {google.DEVICE, *lines(pem(rsa_key())), *one.bearers, *one.assertions},
        )
        await channel.close()


@asynccontextmanager
async def apns(folder: Path) -> AsyncIterator[Watched]:
    async with apple.apple(folder) as one:

        def answer(status: int) -> None:
            said: dict[str, Any] = {"reason": apple.DEVICE, "timestamp": apple.DEVICE}
            if one.pushes:
                said["detail"] = one.pushes[-1].headers
            one.otherwise = (status or 500, said)

        channel = open_apns(apple.settings(folder, one.url), folder)
        yield Watched(
            channel,
            Endpoint(channel="apns", address=apple.DEVICE, registered_at=NOON),
            answer,
            lambda: {
                apple.DEVICE, *lines(pem(ec_key("apns"))), *(push.jwt for push in one.pushes),
            },
        )  # fmt: skip
        await channel.close()


@asynccontextmanager
async def web_push(folder: Path) -> AsyncIterator[Watched]:
    browser = ec.generate_private_key(ec.SECP256R1()).public_key()
    point = browser.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    public = base64.urlsafe_b64encode(point).rstrip(b"=").decode()
    shared = base64.urlsafe_b64encode(b"sixteen secrets!").rstrip(b"=").decode()
    async with receiver() as one:
        status = [201]

        async def answer(request: web.Request) -> web.StreamResponse:
            return echo(request, await request.read(), status[0])

        one.answer = answer
        write_key(folder / "push.pem", make_key())
        channel = open_web_push(
            {"contact": "mailto:ops@example.com", "key_file": "push.pem", "allow": ["127.0.0.1"]},
            folder,
        )
        path = "/send/canary-subscription"
        address = json.dumps(
            {"endpoint": one.url(path=path), "keys": {"p256dh": public, "auth": shared}}
        )
        yield Watched(
            channel,
            Endpoint(
                channel="web-push", address=address, origin="https://shop.example.test",
                registered_at=NOON,
            ),
            lambda new: status.__setitem__(0, new),
            lambda: {
                path, public, shared, *lines((folder / "push.pem").read_text()),
                *(
                    headers["Authorization"].split("t=")[1].split(",")[0]
                    for _, headers, _ in one.requests
                ),
            },
        )  # fmt: skip
        await channel.close()


CHANNELS = {"fcm": fcm, "apns": apns, "web-push": web_push}


@pytest.mark.parametrize("name", CHANNELS)
async def test_nothing_secret_is_seen_anywhere(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    seen: list[str] = []
    outcomes = set()
    async with CHANNELS[name](tmp_path) as watched:
        for status in (*STATUSES, 0):
            watched.answer(status)
            reply = await watched.channel.send(offer(), watched.endpoint)
            outcomes.add(reply.outcome)
            seen += [repr(reply), json.dumps(reply.reply)]
        seen += [repr(watched), repr(watched.channel), str(vars(watched.channel))]
        secrets = watched.secrets()
    # Nobody is there any more.
    reply = await watched.channel.send(offer(), watched.endpoint)
    await watched.channel.close()
    seen += [repr(reply), json.dumps(reply.reply)]
    # A fault of our own on the way, as whoever logs it would see it.
    try:
        await watched.channel.send(None, watched.endpoint)  # type: ignore[arg-type]
    except Exception:  # noqa: BLE001  whatever it is
        seen.append(traceback.format_exc())
    # The receiver's own log of who came is the other side's.
    records = [record for record in caplog.records if record.name != "aiohttp.access"]
    seen += [f"{record.getMessage()} {record.__dict__!r}" for record in records]
    seen += capfd.readouterr()
    text = "\n".join(seen)
    assert {"accepted", "retry"} <= outcomes, "it was sent, and refused"
    assert len(secrets) >= 4
    assert all(len(secret) > 12 for secret in secrets)
    assert [secret for secret in secrets if secret in text] == []
