"""How does a shop's own page show offers? By one small script, which this server gives to anybody.

It holds no secret and nobody's name: what it shows comes by the signed link that the page has.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from aiohttp import web

from proximity.server.auth import Caller
from proximity.server.etags import etag_of, unchanged
from proximity.server.inboxlink import origin_headers
from proximity.server.problems import HEADERS
from proximity.server.routes import Content, Route

if TYPE_CHECKING:
    from proximity.server.parts import Parts

KEPT_S = 3600
"""Seconds for which browsers may take the script from their own cache: after an upgrade pages have
the new one within the hour, and ask no more than once for a visit."""


@cache
def _script() -> tuple[bytes, str]:
    """Read the script as it is sent, without what indents its lines, and its ETag."""
    written = files("proximity.server").joinpath("onsite.js").read_bytes()
    text = b"\n".join(line.strip() for line in written.splitlines())
    return text, etag_of(text)


async def _give(request: web.Request, parts: Parts, _caller: Caller) -> web.StreamResponse:
    text, etag = _script()
    headers = {
        **HEADERS,
        **origin_headers(request, parts),
        "Cache-Control": f"public, max-age={KEPT_S}",
        "ETag": etag,
    }
    if unchanged(request, etag):
        return web.Response(status=304, headers=headers)
    kind = {"Content-Type": "text/javascript; charset=utf-8"}
    return web.Response(body=text, headers={**headers, **kind})


ROUTES = (
    Route(
        method="GET",
        path="/onsite.js",
        endpoint=_give,
        roles=frozenset(),
        summary="The script that shows a person's inbox on a shop's own page.",
        headers=("If-None-Match",),
        answers={
            200: Content(
                meaning="The script.", schema={"type": "string"}, media=("text/javascript",),
                headers=("ETag",),
            ),
            304: Content(meaning="It has not changed since that ETag."),
        },
        loose=True,
    ),
)  # fmt: skip
