"""How is what happens told live? Server-sent events, straight from the ledger.

A stream is a cursor: it reads what came after it, from memory where it keeps up, writes it, and
waits for news. Nothing is buffered for a slow reader; one that does not take a frame in time is
cut off, and resumes with ``Last-Event-ID`` where it was.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import sqlalchemy as sa
from aiohttp import web

from proximity.server.ledger import WATCHERS, check_cursor
from proximity.server.problems import HEADERS, Problem
from proximity.server.reading import AFTER, PLACE, SUBJECT
from proximity.server.routes import Content, Route
from proximity.store import ledger, schema

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from proximity.server.auth import Caller
    from proximity.server.parts import Parts
    from proximity.store import LedgerRow

# Proxies close what is silent for a minute or less; a comment every 15 s keeps them from it.
HEARTBEAT_S = 15.0
# A reader that takes nothing for this long is gone, or too slow for its own good.
SLOW_S = 10.0
# How long a stream waits before it asks again whether its token still counts (5 s are promised).
RECHECK_S = 2.0
# Rows read at once: about 200 kB, the most that is held for one reader.
ROWS = 200


async def _stream(request: web.Request, parts: Parts, caller: Caller) -> web.StreamResponse:
    subject, place = SUBJECT.of(request), PLACE.of(request)
    with parts.tail.reader():
        after = await _start(request, parts)
        response = web.StreamResponse(
            headers={
                **HEADERS,
                "Content-Type": "text/event-stream; charset=utf-8",
                "X-Accel-Buffering": "no",
            }
        )
        await response.prepare(request)
        loop = asyncio.get_running_loop()
        await write(response, b": the ledger, live\nretry: 2000\n\n")
        beat = loop.time() + HEARTBEAT_S
        seen = -1  # what of the ledger's growth elsewhere has been looked at
        try:
            while (
                not parts.closing.is_set()
                and parts.tokens.in_force(caller)
                and request.transport is not None  # a reader that went away makes room at once
            ):
                news = parts.tail.next()
                rows = parts.tail.after(after)
                if rows:
                    after = rows[-1].seq
                    rows = [row for row in rows if _matches(row, subject, place)]
                elif rows is None or seen != parts.tail.unread:
                    seen, end = parts.tail.unread, parts.tail.end
                    found, after = await parts.store.aread(
                        lambda conn, after=after: ledger.page(  # type: ignore[misc]
                            conn, None, after, ROWS, subject=subject, place=place
                        )
                    )
                    if len(found) < ROWS:
                        after = max(after, end)
                    else:
                        seen = -1
                    rows = found
                if rows:
                    frames = (f"id: {r.seq}\nevent: {r.kind}\ndata: {r.record}\n\n" for r in rows)
                    await write(response, "".join(frames).encode())
                    continue
                if loop.time() >= beat:
                    await write(response, b": still here\n\n")
                    beat = loop.time() + HEARTBEAT_S
                if not await wait(news, min(RECHECK_S, beat - loop.time())):
                    seen = -1  # another process may have written
        except TimeoutError:
            parts.metrics.streams_cut.inc()
            if request.transport is not None:
                request.transport.abort()
        except ConnectionError:
            pass  # the reader went away; it resumes from the last id it has seen
        return response


async def _start(request: web.Request, parts: Parts) -> int:
    """Tell where to begin: after the id the reader saw last, else with what happens next."""
    last = request.headers.get("Last-Event-ID")
    if last:  # an empty one is none (HTML, "Server-sent events")
        try:
            after = int(AFTER.read(last))
        except ValueError as error:
            raise Problem(400, f"Last-Event-ID: {error}") from None
    elif AFTER.name in request.query:
        after = int(AFTER.of(request))
    else:
        return await parts.store.aread(_newest)
    await parts.store.aread(lambda conn: check_cursor(conn, after))
    return after


def _matches(row: LedgerRow, subject: str | None, place: str | None) -> bool:
    return subject in {None, row.subject} and place in {None, row.place}


def _newest(connection: Connection) -> int:
    return connection.scalar(sa.select(sa.func.max(schema.ledger.c.seq))) or 0


async def write(response: web.StreamResponse, frames: bytes) -> None:
    """Write frames. Raises TimeoutError where the reader takes nothing for ``SLOW_S``."""
    async with asyncio.timeout(SLOW_S):
        await response.write(frames)


async def wait(news: asyncio.Event, seconds: float) -> bool:
    """Wait for news for so many seconds at most; tells whether there was any."""
    try:
        async with asyncio.timeout(max(seconds, 0.0)):
            return await news.wait()
    except TimeoutError:
        return False


ROUTES = (
    Route(
        method="GET",
        path="/v1/stream",
        endpoint=_stream,
        roles=WATCHERS,
        summary="Follow transitions, decisions and deliveries live (server-sent events).",
        params=(AFTER, SUBJECT, PLACE),
        headers=("Last-Event-ID",),
        live=True,
        answers={
            200: Content(
                meaning="Frames of one JSON line in `data:`; `event:` is the kind, `id:` resumes.",
                schema={"type": "string"},
                media=("text/event-stream",),
            )
        },
    ),
)
