"""How does a page of a shop's show somebody their inbox? By a signed link, from origins listed.

The link says whose inbox it is, and is all that a page needs; pages of other websites than those in
the campaigns file can neither read it nor write by it. No cookie and no token goes along.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from aiohttp import web

from proximity.server.auth import Caller
from proximity.server.inbox import DOES, MARK, MARKED, OFTEN, PAGE, SAME, show, take_marks
from proximity.server.pages import read_link
from proximity.server.problems import HEADERS, Problem, answer
from proximity.server.reading import AFTER, LIMIT
from proximity.server.routes import Content, Route

if TYPE_CHECKING:
    from proximity.server.parts import Parts
    from proximity.server.routes import Endpoint

PREFLIGHT_S = 600
"""How long a browser remembers that a page may ask, seconds."""
_SHOWN = "ETag, Retry-After"
_TOLD = "Content-Type, If-None-Match, Last-Event-ID"


def origin_headers(request: web.Request, parts: Parts) -> dict[str, str]:
    """Give what lets the page that asks read the answer: nothing unless its origin is listed."""
    origin = request.headers.get("Origin")
    if origin is None or origin not in parts.campaigns().inbox_origins:
        return {"Vary": "Origin"}
    return {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Expose-Headers": _SHOWN,
        "Vary": "Origin",
    }


def is_foreign(request: web.Request, parts: Parts) -> bool:
    """Whether a page asks that is neither of this server nor of an origin that is listed."""
    origin, rules = request.headers.get("Origin"), parts.campaigns()
    if origin is None or origin in rules.inbox_origins:
        return False
    # A proxy before this server may ask for it by another name than people do.
    own = {request.headers.get("Host"), urlsplit(rules.public_url or "").netloc}
    asks = origin.partition("://")[2]  # empty for "null", a page that hides where it is from
    return not asks or asks not in own


def for_pages(endpoint: Endpoint) -> Endpoint:
    """Wrap an endpoint that pages of listed origins may ask; others are refused."""

    async def ask(request: web.Request, parts: Parts, caller: Caller) -> web.StreamResponse:
        try:
            if is_foreign(request, parts):
                raise Problem(403, "Pages of that website may not: list it in `inbox_origins`.")
            response = await endpoint(request, parts, caller)
        except Problem as problem:
            response = problem.response()
        if not response.prepared:
            response.headers.update(origin_headers(request, parts))
        return response

    return ask


async def _read(request: web.Request, parts: Parts, _caller: Caller) -> web.StreamResponse:
    person = (await read_link(request, parts, DOES))["person"]
    return await show(request, parts, person, f"link {person}")


async def _mark(request: web.Request, parts: Parts, _caller: Caller) -> web.StreamResponse:
    person = (await read_link(request, parts, DOES))["person"]
    return answer(await take_marks(request, parts, person))


async def _preflight(request: web.Request, parts: Parts, _caller: Caller) -> web.StreamResponse:
    allowed = origin_headers(request, parts)
    if len(allowed) > 1:
        allowed |= {
            "Access-Control-Allow-Methods": "GET, POST",
            "Access-Control-Allow-Headers": _TOLD,
            "Access-Control-Max-Age": str(PREFLIGHT_S),
        }
    return web.Response(status=204, headers={**HEADERS, **allowed})


_NOBODY: frozenset[Any] = frozenset()
_NO_LINK = Content(meaning="This is no link of ours, or it was changed on its way.")
_OLD = Content(meaning="The link is too old, or the offer is over.")
_FOREIGN = Content(meaning="It was asked by a page of a website that is not listed.")

ROUTES = (
    Route(
        method="GET",
        path="/inbox/{id}",
        endpoint=for_pages(_read),
        roles=_NOBODY,
        summary="What lies in the inbox that a signed link names, for a page of a listed website.",
        params=(AFTER, LIMIT),
        headers=("If-None-Match",),
        answers={200: PAGE, 304: SAME, 403: _FOREIGN, 404: _NO_LINK, 410: _OLD, 429: OFTEN},
    ),
    Route(
        method="POST",
        path="/inbox/{id}",
        endpoint=for_pages(_mark),
        roles=_NOBODY,
        summary="Say by a signed link that offers were read, redeemed or set aside.",
        body=MARK,
        answers={**MARKED, 403: _FOREIGN, 410: _OLD},
    ),
    Route(
        method="OPTIONS",
        path="/inbox/{id}",
        endpoint=_preflight,
        roles=_NOBODY,
        summary="Tell a browser whether a page of another website may ask.",
        answers={204: Content(meaning="Its headers say so.")},
        loose=True,
    ),
)
