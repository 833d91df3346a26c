"""A server of a few lines on a real port: what a gateway sent it, and what it was told to answer."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

UUID = "f7826da6-4fa2-4e98-8024-bc5b71e0893e"
CONFIG = {"gateway": "gw-1", "place": "door", "late_s": 3600, "beacons": [{"uuid": UUID}]}

Answer = Callable[[web.Request, list[dict[str, Any]]], web.Response | None]


class Listener:
    """Takes sightings as the engine does: once each, by id. ``answer`` may refuse a batch first."""

    def __init__(self) -> None:
        self.config: dict[str, Any] = dict(CONFIG)
        self.answer: Answer = lambda _request, _records: None
        #: Called once a batch is taken, before that is said.
        self.before_receipt: Callable[[web.Request], None] = lambda _request: None
        self.taken: dict[str, dict[str, Any]] = {}
        self.doubled: Counter[str] = Counter()
        self.batches: list[list[str]] = []
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.health: list[dict[str, Any]] = []
        self.raw: list[bytes] = []
        self.latest: list[float] = []
        self.port = 0
        self._server: TestServer | None = None

    async def start(self, port: int | None = None) -> str:
        app = web.Application(client_max_size=64 * 2**20)
        app.router.add_post("/v1/sightings", self._sightings)
        app.router.add_get("/v1/gateways/{id}/config", self._config)
        app.router.add_post("/v1/gateways/{id}/health", self._health)
        self._server = TestServer(app, port=port)
        await self._server.start_server()
        self.port = self._server.port or 0
        return f"http://127.0.0.1:{self._server.port}"

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.close()
            self._server = None

    async def _note(self, request: web.Request) -> bytes:
        body = await request.read()
        headers = dict(request.headers)
        self.requests.append((request.raw_path, headers))
        self.raw.append(repr((request.path_qs, headers)).encode() + body)
        return body

    async def _sightings(self, request: web.Request) -> web.Response:
        body = await self._note(request)
        records = [json.loads(line) for line in body.splitlines()]
        refused = self.answer(request, records)
        if refused is not None:
            return refused
        self.batches.append([record["id"] for record in records])
        duplicate = 0
        now = time.time()
        for record in records:
            if record["id"] in self.taken:
                self.doubled[record["id"]] += 1
                duplicate += 1
            self.taken[record["id"]] = record
            self.latest.append(now - record["at"])
        self.before_receipt(request)
        counts = {"accepted": len(records) - duplicate, "duplicate": duplicate, "unconsented": 0}
        return web.json_response({**counts, "rejected": []}, status=202)

    async def _config(self, request: web.Request) -> web.Response:
        await self._note(request)
        etag = f'"{hash(json.dumps(self.config))}"'
        if request.headers.get("If-None-Match") == etag:
            return web.Response(status=304)
        return web.json_response(self.config, headers={"ETag": etag})

    async def _health(self, request: web.Request) -> web.Response:
        self.health.append(json.loads(await self._note(request)))
        return web.Response(status=204)


def problem(status: int, code: str | None = None, **headers: str) -> web.Response:
    """A refusal as the engine writes it."""
    body = {"title": "Refused", "status": status, "detail": "no", "code": code}
    return web.json_response(
        body, status=status, headers=headers, content_type="application/problem+json"
    )
