"""How does a request find its endpoint, and what may stop it on the way? aiohttp's bare server.

The route table is all the routing there is: a path is looked up in it, and one wrapper for each
row does what is common to all: who asks, whether the role may, what happens to a refusal, what is
counted. There is no middleware and no second router; the ingest path is this short on purpose.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from typing import TYPE_CHECKING, Any, cast

from aiohttp import web
from aiohttp.http_exceptions import ContentEncodingError, LineTooLong
from aiohttp.web_protocol import RequestHandler, RequestPayloadError

from beacon_gateway.signing import SIGNATURE_HEADER
from proximity.faults import log_fault
from proximity.ingest.clock import ClockSetBack
from proximity.ingest.ingest import Overloaded
from proximity.server.auth import NOBODY, Role
from proximity.server.problems import Problem
from proximity.server.reading import Asked, cut_short, known_query, unknown_encoding
from proximity.server.table import TABLE
from proximity.store import StoreAway, StoreBroken, StoreFailed, StoreFull

if TYPE_CHECKING:
    from proximity.server.parts import Parts
    from proximity.server.routes import Route

Serve = Callable[[web.Request], Awaitable[web.StreamResponse]]

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
    StoreAway: Problem(
        503,
        "The database does not answer; send it again later.",
        headers={"Retry-After": "5"},
    ),
    StoreBroken: Problem(
        503,
        "The disk failed; the server must be started anew.",
        headers={"Retry-After": "60"},
    ),
}


def failure(error: Exception) -> Problem:
    """Give what is answered to a row of ``FAILURES``, or to a kind of one."""
    return next(FAILURES[kind] for kind in type(error).__mro__ if kind in FAILURES)


class Paths:
    """What is served at which path: methods and what answers them, as the route table has it."""

    def __init__(self) -> None:
        self._exact: dict[str, dict[str, Serve]] = {}
        self._named: dict[tuple[str, str], dict[str, Serve]] = {}  # what stands before {id}, after

    def add(self, path: str, method: str, serve: Serve) -> None:
        """Serve one method of a path, which may hold one ``{id}``."""
        before, named, after = path.partition("{id}")
        if named:
            self._named.setdefault((before, after), {})[method] = serve
        else:
            self._exact.setdefault(path, {})[method] = serve

    def find(self, request: Asked) -> dict[str, Serve]:
        """Give the methods at a request's path, none where there is nothing; keep the id in it."""
        # Nearly every path is written as the table writes it, and then nothing needs unquoting.
        found = self._exact.get(request.raw_path)
        if found is not None:
            return found
        path = request.rel_url.path_safe  # unquoted, but for %2F and %25
        found = self._exact.get(path)
        if found is not None:
            return found
        for (before, after), methods in self._named.items():
            name = path[len(before) : len(path) - len(after)]
            if name and "/" not in name and path == f"{before}{name}{after}":
                request.named = name.replace("%2F", "/").replace("%25", "%")
                return methods
        return {}


def create_app(parts: Parts, *, own_time: bool = False, **options: Any) -> web.Server:
    """Make what serves the route table with ``parts``; call it on the event loop.

    ``own_time`` dates the answers by the server's own clock where that is not the machine's;
    ``options`` are aiohttp's for each connection.
    """
    paths = Paths()
    for route in TABLE:
        answer = _serve(route, parts)
        paths.add(route.path, route.method, answer)
        if route.method == "GET" and not (route.token_in_query or route.live):
            paths.add(route.path, "HEAD", answer)
    loop = asyncio.get_running_loop()

    async def serve(asked: web.BaseRequest) -> web.StreamResponse:
        request = cast("Asked", asked)
        methods = paths.find(request)
        found = methods.get(request.method)
        if found is None:
            return await _nothing_here(request, parts, methods)
        response = await found(request)
        if own_time and not response.prepared:
            response.headers["Date"] = formatdate(parts.clock(), usegmt=True)
        return response

    def ask(message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> Asked:
        return Asked(message, payload, protocol, writer, task, loop)

    return _Server(serve, request_factory=ask, **options)


class _Server(web.Server):
    """aiohttp's server, whose own refusals are problems as well."""

    def __call__(self) -> RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)


class _Connection(RequestHandler):
    """A connection: what cannot be read as a request is answered as all else is."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what aiohttp could not read, before any route was looked up."""
        if status >= 500 or request.writer.output_size > 0:
            return super().handle_error(request, status, exc, message)
        if isinstance(exc, ContentEncodingError):
            # A body that came with its head and cannot be unpacked; else nobody here unpacks such.
            known = any(name in exc.message for name in ("gzip", "deflate"))
            problem = cut_short() if known else unknown_encoding()
        elif isinstance(exc, LineTooLong):
            problem = Problem(
                431, "The address, or a header, is longer than a request may have it."
            )
        else:
            problem = Problem(status, "This is no HTTP request that can be read.")
        answer = problem.response()
        answer.force_close()
        return answer

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """Log a fault of ours, and no body that cannot be unpacked.

        What is left of a body is read and thrown away after the answer, so whoever was refused
        before, without a token even, could fill the log with tracebacks otherwise.
        """
        if not isinstance(kw.get("exc_info"), RequestPayloadError):
            super().log_exception(*args, **kw)


def _serve(route: Route, parts: Parts) -> Serve:
    """Wrap one row's endpoint in what is common to all."""
    endpoint, roles, tokens = route.endpoint, route.roles, parts.tokens
    may_sign, signatures = Role.GATEWAY in roles, parts.signatures
    answers = parts.metrics.answers_of(route.key)

    async def serve(request: web.Request) -> web.StreamResponse:
        start = time.perf_counter()
        response: web.StreamResponse
        signed = None
        try:
            caller = NOBODY
            if roles:
                headers = request.headers
                if may_sign and SIGNATURE_HEADER in headers and "Authorization" not in headers:
                    asked = cast("Asked", request)
                    signed = asked.signed = await signatures.admit(asked)
                    caller = signed.caller
                else:
                    caller = await tokens.caller(request, in_query=route.token_in_query)
                if caller.role not in roles:
                    raise Problem(403, f"The role {caller.role} may not do this.")
                if request.method not in SAFE or route.token_in_query:
                    _same_origin(request)
            if request.query_string and not route.loose:
                known_query(request, route)
            response = await endpoint(request, parts, caller)
            if signed is not None:
                await signatures.keep(signed)
        except Problem as problem:
            response = problem.response()
        except ClockSetBack as error:
            response = Problem(503, str(error), headers={"Retry-After": "60"}).response()
        except tuple(FAILURES) as error:
            response = failure(error).response()
        except (asyncio.CancelledError, ConnectionError, web.HTTPException):
            raise
        except Exception as error:  # noqa: BLE001 - the last place before the wire
            log_fault("a request failed", error, route=route.key)
            response = Problem(500, "This is a fault of the server; its log names it.").response()
        finally:
            if signed is not None:
                signatures.release(signed)
        answers.count(response.status, time.perf_counter() - start)
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


async def _nothing_here(
    request: web.Request, parts: Parts, methods: dict[str, Serve]
) -> web.StreamResponse:
    """Answer what no row serves: 401 first, then 405 where the path has other methods, else 404."""
    answers = parts.metrics.answers_of("unknown")
    start = time.perf_counter()
    try:
        await parts.tokens.caller(request, in_query=False)
        if methods:
            allowed = ", ".join(sorted(methods))
            raise Problem(
                405,
                f"{request.method[:16]} is not done here; {allowed} is.",
                headers={"Allow": allowed},
            )
        raise Problem(404, "There is nothing here; /openapi.json lists what there is.")
    except Problem as problem:
        answers.count(problem.status, time.perf_counter() - start)
        return problem.response()
