"""Is the server alive, ready, and what does it say of itself? Health, metrics, OpenAPI, a page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec
from aiohttp import web

from proximity.server.auth import Caller, Role
from proximity.server.metrics import CONTENT_TYPE
from proximity.server.problems import HEADERS, Problem, answer, json_answer
from proximity.server.routes import EVERYBODY, Content, Route

if TYPE_CHECKING:
    from proximity.server.parts import Parts

# Nothing is loaded from anywhere and no script runs, so a hostile name shown one day is inert.
PAGE_HEADERS = {
    **HEADERS,
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
}
PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>proximity</title>
<h1>proximity</h1>
<p>The engine is running.</p>
<ul>
<li><a href="/openapi.json">What may be asked of it</a> (OpenAPI 3.1)
<li><a href="/v1/fences">Fences</a> (GeoJSON)
<li><a href="/v1/transitions">Transitions</a>, <a href="/v1/decisions">decisions</a>,
<a href="/v1/deliveries">deliveries</a>
<li><a href="/metrics">Metrics</a>, <a href="/readyz">readiness</a>
</ul>
</html>
"""


class Health(msgspec.Struct, frozen=True):
    """What a health route answers when all is well."""

    status: Literal["ok"] = "ok"


async def _healthz(_request: web.Request, _parts: Parts, _caller: Caller) -> web.StreamResponse:
    return answer(Health())


async def _readyz(_request: web.Request, parts: Parts, _caller: Caller) -> web.StreamResponse:
    if parts.closing.is_set():
        raise Problem(503, "The server is stopping.", headers={"Retry-After": "5"})
    if not parts.ingest.ready:
        raise Problem(503, "Writes are not accepted now.", headers={"Retry-After": "5"})
    return answer(Health())


async def _metrics(_request: web.Request, parts: Parts, _caller: Caller) -> web.StreamResponse:
    return json_answer(parts.metrics.text(), content_type=CONTENT_TYPE)


async def _page(_request: web.Request, _parts: Parts, _caller: Caller) -> web.StreamResponse:
    return web.Response(text=None, body=PAGE.encode(), headers=PAGE_HEADERS)


async def _openapi(_request: web.Request, _parts: Parts, _caller: Caller) -> web.StreamResponse:
    from proximity.server.openapi import document  # it describes this table's own rows

    return json_answer(document())


_READY = Content(meaning="Writes are accepted.", schema=Health)

ROUTES = (
    Route(
        method="GET",
        path="/healthz",
        endpoint=_healthz,
        roles=frozenset(),
        summary="Whether the process answers.",
        answers={200: Content(meaning="It does.", schema=Health)},
        loose=True,
    ),
    Route(
        method="GET",
        path="/readyz",
        endpoint=_readyz,
        roles=frozenset(),
        summary="Whether writes are accepted.",
        answers={200: _READY, 503: Content(meaning="They are not, now.")},
        loose=True,
    ),
    Route(
        method="GET",
        path="/metrics",
        endpoint=_metrics,
        roles=frozenset({Role.ANALYST, Role.ADMIN}),
        summary="Counters for Prometheus.",
        answers={
            200: Content(
                meaning="Prometheus' text format.", schema={"type": "string"}, media=("text/plain",)
            )
        },
        loose=True,
    ),
    Route(
        method="GET",
        path="/openapi.json",
        endpoint=_openapi,
        roles=EVERYBODY,
        summary="This description.",
        answers={200: Content(meaning="OpenAPI 3.1.", schema={"type": "object"})},
    ),
    Route(
        method="GET",
        path="/",
        endpoint=_page,
        roles=EVERYBODY,
        summary="A plain page with links.",
        answers={200: Content(meaning="HTML.", schema={"type": "string"}, media=("text/html",))},
    ),
)
