"""How does a phone get the web client? From the engine itself, so that both are of one origin.

The files of one folder, read once before anything is bound: there is no path to walk at run time,
and nothing that was not there. Knows no person and no token; what a client may do is decided where
it asks.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from aiohttp import web

from proximity.model import ProximityError
from proximity.server.etags import etag_of, unchanged
from proximity.server.problems import HEADERS, Problem
from proximity.server.reading import Asked
from proximity.server.routes import Content, Route

if TYPE_CHECKING:
    from pathlib import Path

    from proximity.server.auth import Caller
    from proximity.server.parts import Parts

FRONT = "index.html"
MOST_FILES = 64
MOST_BYTES = 4 * 2**20
"""In all: it stays in memory, and a phone fetches it over a shop's weak signal."""

MEDIA = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/vnd.microsoft.icon",
    ".js": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".webmanifest": "application/manifest+json",
}
"""What is served, by the end of its name; a folder's other files are nobody's business."""

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}")

CLIENT_HEADERS = {
    **HEADERS,
    # Asked again each time, and answered 304: a service worker is as new as its page.
    "Cache-Control": "no-cache",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; manifest-src 'self'; worker-src 'self'; form-action 'none'; "
        "base-uri 'none'; frame-ancestors 'none'"
    ),
    "Permissions-Policy": "geolocation=(self), camera=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex",
}


class ClientFile(NamedTuple):
    """One file of the client as it goes out."""

    body: bytes
    media: str
    etag: str


def read_client(folder: Path) -> dict[str, ClientFile]:
    """Read a client's files by name. Raises ProximityError with every problem."""
    found: dict[str, ClientFile] = {}
    size = 0
    try:
        paths = sorted(folder.iterdir())
        for path in paths:
            media = MEDIA.get(path.suffix)
            if media is None or not _NAME.fullmatch(path.name) or not path.is_file():
                continue
            if path.is_symlink():
                raise ProximityError(f"{path}: a link is not served: put the file itself there")
            size += path.stat().st_size
            if size > MOST_BYTES or len(found) >= MOST_FILES:
                raise ProximityError(
                    f"{folder}: more than {MOST_FILES} files or {MOST_BYTES} bytes: --client is "
                    "for a page and what belongs to it"
                )
            body = path.read_bytes()
            found[path.name] = ClientFile(body, media, etag_of(body))
    except OSError as error:
        raise ProximityError(
            f"{error.filename}: cannot be read ({error.strerror}): give --client the folder of a "
            "web client, such as examples/web-client"
        ) from None
    if FRONT not in found:
        raise ProximityError(f"{folder}: there is no {FRONT}: give --client a client's folder")
    return found


async def _serve(request: web.Request, parts: Parts, _caller: Caller) -> web.StreamResponse:
    assert isinstance(request, Asked)
    file = parts.client.get(request.named or FRONT)
    if file is None:
        raise Problem(404, "There is no such file: `proximity serve --client DIR` says which are.")
    headers = {**CLIENT_HEADERS, "ETag": file.etag}
    if unchanged(request, file.etag):
        return web.Response(status=304, headers=headers)
    return web.Response(body=file.body, headers={**headers, "Content-Type": file.media})


_MEDIA = tuple(dict.fromkeys(media.partition(";")[0] for media in MEDIA.values()))
_ANSWERS = {
    200: Content(meaning="The file.", schema={"type": "string"}, media=_MEDIA, headers=("ETag",)),
    304: Content(meaning="It is as you know it (If-None-Match)."),
    404: Content(meaning="There is no such file."),
}

ROUTES = (
    Route(
        method="GET",
        path="/client/",
        endpoint=_serve,
        roles=frozenset(),
        summary="The web client's page.",
        headers=("If-None-Match",),
        answers=_ANSWERS,
        loose=True,
    ),
    Route(
        method="GET",
        path="/client/{id}",
        endpoint=_serve,
        roles=frozenset(),
        summary="A file of the web client.",
        headers=("If-None-Match",),
        answers=_ANSWERS,
        loose=True,
    ),
)
