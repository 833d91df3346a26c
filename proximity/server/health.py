"""Is the server alive, ready, and what does it say of itself? Health, metrics, OpenAPI, a page."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Literal

import msgspec
import sqlalchemy as sa
from aiohttp import web

from proximity.dispatch import leasing, queue
from proximity.server.auth import Caller, Role
from proximity.server.metrics import CONTENT_TYPE, waiting_text
from proximity.server.problems import HEADERS, Problem, answer, json_answer
from proximity.server.routes import EVERYBODY, Content, Route
from proximity.store import StoreFailed, schema

if TYPE_CHECKING:
    from sqlalchemy import Connection

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
    hindrance = parts.ingest.hindrance
    if hindrance is not None:
        said = f"Writes are not accepted now: {hindrance}."
        raise Problem(503, said, headers={"Retry-After": "5"})
    return answer(Health())


async def _metrics(_request: web.Request, parts: Parts, _caller: Caller) -> web.StreamResponse:
    text = parts.metrics.text()
    # Where the store cannot be read all the rest is told still: that is when it is looked at.
    with contextlib.suppress(StoreFailed):
        text += waiting_text(*await parts.store.aread(_waiting))
    return json_answer(text, content_type=CONTENT_TYPE)


def _waiting(connection: Connection) -> tuple[dict[str, int], dict[str, int]]:
    """Count what waits to be decided and sent, and what cannot be read and was set aside."""
    waiting: dict[str, int] = {}
    aside: dict[str, int] = {}
    for what, table, its_aside in (
        ("triggers", schema.triggers, queue.ASIDE),
        ("offers", schema.outbox, leasing.ASIDE),
    ):
        every = sa.select(table.c.state, sa.func.count()).group_by(table.c.state)
        states: dict[str, int] = dict(connection.execute(every).all())
        aside[what] = states.pop(its_aside, 0)
        waiting[what] = sum(states.values())
    return waiting, aside


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
