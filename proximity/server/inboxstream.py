"""How does an inbox tell of changes while it is open? Server-sent events, one for each change.

An event is what a look would have answered, so that whoever loses the stream looks instead; its id
is the cursor, and ``Last-Event-ID`` resumes there. Nothing is kept for a slow reader. 204 tells a
browser to stop asking: the server is closing, or the link is over.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

from proximity.inbox import look
from proximity.server.inbox import (
    DOES,
    READERS,
    InboxPage,
    check_speaker,
    page_of,
    world_of,
)
from proximity.server.inboxlink import for_pages, origin_headers
from proximity.server.pages import read_link
from proximity.server.problems import HEADERS, Problem
from proximity.server.reading import AFTER, MOST_ITEMS, read_id
from proximity.server.routes import Content, Route
from proximity.server.stream import HEARTBEAT_S, wait, write

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sqlalchemy import Connection

    from proximity.server.auth import Caller
    from proximity.server.parts import Parts

MOST_FOLLOWERS = 256
"""Inboxes followed at once; each holds a connection. Whoever finds no room looks every few minutes,
which is all that offers need."""
MOST_OF_ONE = 16
"""Of them of one person: each of their devices and a few pages of a shop. Whoever has a link of
theirs, and opens it again and again, takes no room from the others."""
LOOK_S = 5.0
"""How often an inbox is looked into though nothing is known to have changed in it: what its person
agreed to, or the clock, may have."""
REST_S = 1.0
"""Between two looks at least, however busy the engine is: 256 looks a second at the worst, each of
some three tenths of a millisecond."""
LINK_S = 15.0
"""How often a link is asked for its time: one that is over tells nobody anything for longer."""


async def _follow(
    request: web.Request,
    parts: Parts,
    person: str,
    caller: Caller | None,
    holds: Callable[[], Awaitable[bool]],
) -> web.StreamResponse:
    """Write what changes in a person's inbox for as long as ``holds`` says so."""
    after = _start(request)
    if parts.closing.is_set():
        return web.Response(status=204, headers=HEADERS)
    await parts.store.aread(lambda conn: check_speaker(conn, parts, caller, person))
    # From here to the counting nothing is waited for: of many who come at once each is counted.
    if parts.followers >= MOST_FOLLOWERS:
        raise Problem(
            503,
            f"{MOST_FOLLOWERS} inboxes are followed, which is all there may be: look instead.",
            headers={"Retry-After": "60"},
        )
    if parts.followed[person] >= MOST_OF_ONE:
        raise Problem(
            429,
            f"This inbox is followed {MOST_OF_ONE} times already: look instead.",
            headers={"Retry-After": "60"},
        )
    parts.followers += 1
    parts.followed[person] += 1
    try:
        return await _write(request, parts, person, after, holds)
    finally:
        parts.followers -= 1
        parts.followed[person] -= 1
        if not parts.followed[person]:
            del parts.followed[person]


async def _write(
    request: web.Request,
    parts: Parts,
    person: str,
    after: int,
    holds: Callable[[], Awaitable[bool]],
) -> web.StreamResponse:
    """Write the stream until one of both sides ends it."""
    response = web.StreamResponse(
        headers={
            **HEADERS,
            **origin_headers(request, parts),
            "Content-Type": "text/event-stream; charset=utf-8",
            "X-Accel-Buffering": "no",
        }
    )
    try:
        await response.prepare(request)
        await write(response, b": the inbox, live\nretry: 5000\n\n")
        await _tell(request, response, parts, person, after, holds)
    except TimeoutError:
        parts.metrics.streams_cut.inc()
        if request.transport is not None:
            request.transport.abort()
    except ConnectionError:
        pass  # the reader went away; it resumes from the last id it has seen
    return response


async def _tell(
    request: web.Request,
    response: web.StreamResponse,
    parts: Parts,
    person: str,
    after: int,
    holds: Callable[[], Awaitable[bool]],
) -> None:
    """Look whenever something may have changed, and write what did."""
    loop = asyncio.get_running_loop()
    mark = b""
    beat = loop.time() + HEARTBEAT_S
    # A reader that went away makes room at once: a page that is loaded again comes anew each time.
    while not parts.closing.is_set() and request.transport is not None and await holds():
        news = parts.tail.next()
        looked_at = loop.time()
        mark, page = await _look(parts, person, mark, after)
        if page is not None:
            after = int(page.cursor)
            line = msgspec.json.encode(page).decode()
            await write(response, f"id: {after}\nevent: inbox\ndata: {line}\n\n".encode())
            beat = loop.time() + HEARTBEAT_S
        elif loop.time() >= beat:
            await write(response, b": still here\n\n")
            beat = loop.time() + HEARTBEAT_S
        await wait(news, LOOK_S)
        await wait(parts.closing, REST_S - (loop.time() - looked_at))


async def _look(
    parts: Parts, person: str, mark: bytes, after: int
) -> tuple[bytes, InboxPage | None]:
    """Look into the inbox: its mark now, and a page where that is another than ``mark``."""
    world, now = world_of(parts), parts.clock()

    def read(conn: Connection) -> tuple[bytes, InboxPage | None]:
        looked = look(conn, world, person, now)
        if looked.mark == mark:
            return mark, None
        return looked.mark, page_of(conn, world, looked, after, MOST_ITEMS)

    return await parts.store.aread(read)


def _start(request: web.Request) -> int:
    """Tell where to begin: after the cursor seen last, else with all that lies there."""
    last = request.headers.get("Last-Event-ID")
    if not last:  # an empty one is none (HTML, "Server-sent events")
        return int(AFTER.of(request))
    try:
        return int(AFTER.read(last))
    except ValueError as error:
        raise Problem(400, f"Last-Event-ID: {error}") from None


async def _by_token(request: web.Request, parts: Parts, caller: Caller) -> web.StreamResponse:
    async def holds() -> bool:
        return parts.tokens.in_force(caller)

    return await _follow(request, parts, read_id(request), caller, holds)


async def _by_link(request: web.Request, parts: Parts, _caller: Caller) -> web.StreamResponse:
    loop = asyncio.get_running_loop()
    try:
        claims = await read_link(request, parts, DOES)
    except Problem as problem:
        if problem.status == 410:
            return web.Response(status=204, headers=HEADERS)
        raise
    asked_at = loop.time()

    async def holds() -> bool:
        nonlocal asked_at
        if loop.time() - asked_at >= LINK_S:
            asked_at = loop.time()
            try:
                await read_link(request, parts, DOES)
            except Problem:
                return False
        return True

    return await _follow(request, parts, claims["person"], None, holds)


_NOBODY: frozenset[Any] = frozenset()
_EVENTS = Content(
    meaning="Events `inbox`: what a look would answer, one line of JSON; `id:` resumes.",
    schema={"type": "string"},
    media=("text/event-stream",),
)
_MANY = Content(meaning="This inbox is followed by as many as there may be: look instead.")
_OVER = Content(meaning="There is nothing more to hear: do not ask again.")

ROUTES = (
    Route(
        method="GET",
        path="/v1/people/{id}/inbox/stream",
        endpoint=_by_token,
        roles=READERS,
        summary="Follow a person's inbox live (server-sent events).",
        params=(AFTER,),
        headers=("Last-Event-ID",),
        live=True,
        answers={200: _EVENTS, 204: _OVER, 429: _MANY},
    ),
    Route(
        method="GET",
        path="/inbox/{id}/stream",
        endpoint=for_pages(_by_link),
        roles=_NOBODY,
        summary="Follow the inbox that a signed link names live (server-sent events).",
        params=(AFTER,),
        headers=("Last-Event-ID",),
        live=True,
        answers={
            200: _EVENTS,
            204: _OVER,
            403: Content(meaning="It was asked by a page of a website that is not listed."),
            404: Content(meaning="This is no link of ours, or it was changed on its way."),
            429: _MANY,
        },
    ),
)
