"""How does a request find its endpoint, and what may stop it on the way? The aiohttp application.

One wrapper for each row of the table does all that is common: who asks, whether the role may,
what happens to a refusal, what is counted. There is no middleware; the ingest path is this short
on purpose.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from aiohttp import web

from proximity.clock import ClockSetBack
from proximity.faults import log_fault
from proximity.ingest import Overloaded
from proximity.server.auth import NOBODY
from proximity.server.problems import Problem
from proximity.server.reading import known_query
from proximity.server.table import TABLE
from proximity.store import StoreBroken, StoreFailed, StoreFull

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from proximity.server.parts import Parts
    from proximity.server.routes import Route

SAFE = frozenset({"GET", "HEAD"})

# What the parts below say when a write cannot be taken whole; the client sends the same again, and
# what was taken of it counts as duplicate then.
FAILURES: dict[type[Exception], Problem] = {
    Overloaded: Problem(
        503,
        "More is waiting than can be worked off; send it again later.",
        headers={"Retry-After": "2"},
    ),
    StoreFull: Problem(
        507,
        "The disk is full; make room, then send it again.",
        headers={"Retry-After": "10"},
    ),
    StoreFailed: Problem(
        503,
        "It could not be written to disk; send it again later.",
        headers={"Retry-After": "5"},
    ),
    StoreBroken: Problem(
        503,
        "The disk failed; the server must be started anew.",
        headers={"Retry-After": "60"},
    ),
}


def create_app(parts: Parts) -> web.Application:
    """Make the application that serves the route table with ``parts``."""
    app = web.Application()
    for route in TABLE:
        answer = _serve(route, parts)
        # aiohttp's own pattern refuses braces, which an id may hold.
        path = route.path.replace("{id}", "{id:[^/]+}")
        app.router.add_route(route.method, path, answer)
        if route.method == "GET" and not (route.token_in_query or route.live):
            app.router.add_route("HEAD", path, answer)
    app.router.add_route("*", "/{any:.*}", _nothing_here(parts))
    return app


def _serve(route: Route, parts: Parts) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Wrap one row's endpoint in what is common to all."""
    endpoint, roles, tokens = route.endpoint, route.roles, parts.tokens
    seconds = parts.metrics.request_seconds.labels(route.key)
    counts = {
        status: parts.metrics.requests.labels(route.key, str(status)) for status in route.answers
    }

    async def serve(request: web.Request) -> web.StreamResponse:
        start = time.perf_counter()
        response: web.StreamResponse
        try:
            caller = NOBODY
            if roles:
                caller = await tokens.caller(request, in_query=route.token_in_query)
                if caller.role not in roles:
                    raise Problem(403, f"The role {caller.role} may not do this.")
                if request.method not in SAFE or route.token_in_query:
                    _same_origin(request)
            if request.query_string and not route.loose:
                known_query(request, route)
            response = await endpoint(request, parts, caller)
        except Problem as problem:
            response = problem.response()
        except ClockSetBack as error:
            response = Problem(503, str(error), headers={"Retry-After": "60"}).response()
        except tuple(FAILURES) as error:
            response = FAILURES[type(error)].response()
        except (asyncio.CancelledError, ConnectionError, web.HTTPException):
            raise
        except Exception as error:  # noqa: BLE001 - the last place before the wire
            log_fault("a request failed", error, route=route.key)
            response = Problem(500, "This is a fault of the server; its log names it.").response()
        seconds.observe(time.perf_counter() - start)
        count = counts.get(response.status)
        if count is None:
            count = parts.metrics.requests.labels(route.key, str(response.status))
            counts[response.status] = count
        count.inc()
        return response

    return serve


def _same_origin(request: web.Request) -> None:
    """Refuse a write that another site's page sends with credentials its reader's browser keeps.

    Browsers remember a Basic password and add it to requests from anywhere; they also say where
    a request comes from, which no page can change. Raises Problem 403.
    """
    headers = request.headers
    if "Origin" not in headers and "Sec-Fetch-Site" not in headers:
        return
    origin = headers.get("Origin")
    foreign = headers.get("Sec-Fetch-Site") == "cross-site"
    if origin is not None and origin.partition("://")[2] != headers.get("Host"):
        foreign = True
    if foreign and headers.get("Authorization", "").lower().startswith("basic"):
        raise Problem(403, "A page of another site may not write here.")


def _nothing_here(
    parts: Parts,
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Answer what no row serves: 401 first, then 405 where the path has other methods, else 404."""

    async def nothing(request: web.Request) -> web.StreamResponse:
        count = parts.metrics.requests
        try:
            await parts.tokens.caller(request, in_query=False)
            allowed = await _allowed(request)
            if allowed:
                raise Problem(
                    405,
                    f"{request.method[:16]} is not done here; {', '.join(allowed)} is.",
                    headers={"Allow": ", ".join(allowed)},
                )
            raise Problem(404, "There is nothing here; /openapi.json lists what there is.")
        except Problem as problem:
            count.labels("unknown", str(problem.status)).inc()
            return problem.response()

    return nothing


async def _allowed(request: web.Request) -> list[str]:
    """List the methods of the rows whose path is this request's."""
    found: set[str] = set()
    for resource in request.app.router.resources():
        if resource.canonical == "/{any}":
            continue
        _match, methods = await resource.resolve(request)
        found |= methods
    return sorted(found)
