"""APNs on loopback: hypercorn's HTTP/2, with Apple's documented answers and a memory."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from hypercorn.asyncio import serve
from hypercorn.config import Config

from tests.proximity.channels.tls import ec_key, pem, write_certificate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

KEY_ID, TEAM_ID, TOPIC = "KEY4TEST99", "TEAM4TEST9", "test.example.shop"
DEVICE = "00fc13adff785122b4ad28809a3420982341241421348097878e577c991de8f0"


class Push(NamedTuple):
    """One request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes
    version: str

    @property
    def payload(self) -> dict[str, Any]:
        read: dict[str, Any] = json.loads(self.body)
        return read

    @property
    def jwt(self) -> str:
        kind, _, token = self.headers["authorization"].partition(" ")
        assert kind == "bearer"
        return token


class Apple:
    """The server's face: what came, and what it says to whom.

    ``says`` gives an answer for each device token, else ``otherwise``: a status, a reason and
    what else the body has.
    """

    def __init__(self) -> None:
        self.pushes: list[Push] = []
        self.says: dict[str, list[tuple[int, dict[str, Any]]]] = {}
        self.otherwise: tuple[int, dict[str, Any]] = (200, {})
        self.wait: asyncio.Event | None = None
        self.under_way = 0
        self.most_under_way = 0
        self.port = 0

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        self.pushes.append(Push(scope["raw_path"].decode(), headers, body, scope["http_version"]))
        if self.wait is not None:
            await self.wait.wait()
        else:
            await asyncio.sleep(0.005)  # as far as a data centre: requests do overlap
        device = scope["path"].rpartition("/")[2]
        waiting = self.says.get(device)
        status, said = self.otherwise
        if waiting:
            status, said = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        self.under_way -= 1
        own = [(b"apns-id", headers.get("apns-id", "").encode())]
        await send({"type": "http.response.start", "status": status, "headers": own})
        text = json.dumps(said).encode() if said else b""
        await send({"type": "http.response.body", "body": text})


@asynccontextmanager
async def apple(folder: Path) -> AsyncIterator[Apple]:
    """Start it, with a certificate for 127.0.0.1 and localhost in ``folder``/server.pem."""
    app = Apple()
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen(64)
    listening.setblocking(False)
    app.port = listening.getsockname()[1]
    if (folder / "server.pem").exists():
        chain, secret = folder / "server.pem", folder / "server.key"
    else:
        chain, secret = write_certificate(folder, "127.0.0.1", "localhost")
    config = Config()
    config.bind = [f"fd://{listening.detach()}"]
    config.certfile, config.keyfile = str(chain), str(secret)
    config.alpn_protocols = ["h2"]
    config.errorlog = None
    config.accesslog = None
    config.graceful_timeout = 0.2
    config.shutdown_timeout = 1.0
    done = asyncio.Event()
    running = asyncio.create_task(serve(app, config, shutdown_trigger=done.wait))  # type: ignore[arg-type]
    try:
        yield app
    finally:
        if app.wait is not None:
            app.wait.set()
        done.set()
        await running


def settings(folder: Path, production: str, sandbox: str | None = None) -> dict[str, Any]:
    """The ``[channel.apns]`` table for it; writes the key."""
    key = folder / "apns.p8"
    key.write_text(pem(ec_key("apns")))
    key.chmod(0o600)
    return {
        "key_file": "apns.p8", "key_id": KEY_ID, "team_id": TEAM_ID, "topic": TOPIC,
        "url": production, "sandbox_url": sandbox or production, "ca_file": "server.pem",
        "allow": ["127.0.0.1"],
    }  # fmt: skip
