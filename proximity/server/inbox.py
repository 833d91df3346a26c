"""How does somebody fetch what lies in their inbox, and say what became of it?

By their app with its token, by the app's backend, or by a page with a signed link, which is then
the whole credential. One and the same answer to all: what lies there, a cursor, an ETag. Looking
again costs next to nothing while nothing changed; whoever asks far too often is told to wait.
"""

from __future__ import annotations

import urllib.parse
from typing import TYPE_CHECKING

import msgspec
from aiohttp import web

from proximity.channels.inbox import POLL_S
from proximity.consent import links
from proximity.dispatch.weighing import World
from proximity.inbox import (
    Item,
    Look,
    Mark,
    NoSuchOffer,
    NotToBeRedeemed,
    Over,
    look,
    mark,
    open_items,
)
from proximity.model import ProximityError, format_time
from proximity.server.auth import Caller, Role
from proximity.server.etags import etag_of, unchanged
from proximity.server.people import KEEPERS, whose, written
from proximity.server.preferences import Link
from proximity.server.problems import HEADERS, Problem, answer, json_answer
from proximity.server.reading import AFTER, LIMIT, SMALL_LIMIT, parse_json, read_body, read_id
from proximity.server.routes import Content, Route
from proximity.store.keys import store_key

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from proximity.server.parts import Parts

DOES = "inbox"
"""What the claim ``do`` of a link to an inbox says, so that no other passes for one."""
LINK_S = 86400.0
"""How long such a link is good, seconds. A shop makes one whenever it shows a page; one that was
copied from there opens nobody's offers of next week."""
MOST_MARKS = 100

REFUSED: dict[type[Exception], int] = {NoSuchOffer: 404, NotToBeRedeemed: 409, Over: 410}
"""The status for a mark that is not taken."""

READERS = frozenset({Role.DEVICE, Role.FEED, Role.ADMIN})
"""A person's own app, the backend of one, and whoever looks after the engine."""


class InboxPage(msgspec.Struct, frozen=True, kw_only=True):
    """What changed in an inbox since the cursor that was sent, and what lies in it now.

    ``current`` are the keys of everything that lies there: what a reader has besides is gone.
    ``poll_after_s``: to look again in so many seconds.
    """

    items: tuple[Item, ...]
    cursor: str
    current: tuple[str, ...]
    poll_after_s: float


class Marked(msgspec.Struct, frozen=True):
    """The offers as they stand after what was done with them."""

    items: tuple[Item, ...]


def world_of(parts: Parts) -> World:
    """Give whom the inbox asks for rules, people and places."""
    return World(parts.campaigns, parts.people, parts.places, parts.assumed)


async def show(
    request: web.Request, parts: Parts, person: str, reader: str, caller: Caller | None = None
) -> web.Response:
    """Answer with what lies in a person's inbox; 304 where the reader has it.

    ``caller`` is to be somebody who may speak for the person. Raises Problem.
    """
    after, limit = int(AFTER.of(request)), int(LIMIT.of(request))
    now, world = parts.clock(), world_of(parts)
    wait_s = parts.pace.wait_s(reader, POLL_S)
    if wait_s > 0.0:
        raise Problem(
            429,
            "This inbox was looked into far oftener than was agreed: `poll_after_s` says when to "
            "look again.",
            headers={"Retry-After": str(int(wait_s) + 1)},
        )

    def read(conn: Connection) -> tuple[Look, str, InboxPage | None]:
        check_speaker(conn, parts, caller, person)
        looked = look(conn, world, person, now)
        etag = etag_of(looked.mark, f"{after} {limit}")
        if unchanged(request, etag):
            return looked, etag, None
        return looked, etag, page_of(conn, world, looked, after, limit)

    looked, etag, page = await parts.store.aread(read)
    parts.pace.agreed(reader, looked.poll_s)
    headers = {
        "ETag": etag,
        "Cache-Control": f"private, max-age={int(looked.poll_s)}",
        "Vary": "Authorization, Origin",
    }
    if page is None:
        return web.Response(status=304, headers={**HEADERS, **headers})
    return json_answer(msgspec.json.encode(page), headers=headers)


def page_of(conn: Connection, world: World, looked: Look, after: int, limit: int) -> InboxPage:
    """Read what changed after a cursor."""
    items, current, cursor = open_items(conn, world, looked, after, limit)
    return InboxPage(
        items=tuple(items),
        cursor=str(cursor),
        current=tuple(current),
        poll_after_s=looked.poll_s,
    )


def check_speaker(conn: Connection, parts: Parts, caller: Caller | None, person: str) -> None:
    """Refuse a device that is not this person's; a signed link (None) has said whose it is.

    Raises Problem 403.
    """
    if caller is not None:
        whose(conn, parts, caller, person)


async def take_marks(
    request: web.Request, parts: Parts, person: str, caller: Caller | None = None
) -> Marked:
    """Note what was done with offers, all of it or nothing. Raises Problem."""
    body = await read_body(request, SMALL_LIMIT)
    said = parse_json(body, Mark | tuple[Mark, ...])  # type: ignore[arg-type]
    marks = (said,) if isinstance(said, Mark) else said
    if len(marks) > MOST_MARKS:
        raise Problem(413, f"{len(marks)} marks are more than {MOST_MARKS}.")
    now, world = parts.clock(), world_of(parts)

    def write(conn: Connection) -> list[Item]:
        check_speaker(conn, parts, caller, person)
        return [mark(conn, world, person, one, now) for one in marks]

    try:
        items = await parts.store.awrite(write)
    except tuple(REFUSED) as error:
        raise Problem(REFUSED[type(error)], f"{error}.") from None
    parts.tail.grew()
    return Marked(tuple(items))


async def _read(request: web.Request, parts: Parts, caller: Caller) -> web.StreamResponse:
    person = read_id(request)
    return await show(request, parts, person, f"{caller.token} {person}", caller)


async def _mark(request: web.Request, parts: Parts, caller: Caller) -> web.StreamResponse:
    return answer(await take_marks(request, parts, read_id(request), caller))


async def _make_link(request: web.Request, parts: Parts, _caller: Caller) -> web.StreamResponse:
    name, now = read_id(request), parts.clock()
    key = await written(parts, lambda conn: store_key(conn, "links", now))
    until = now + LINK_S
    try:
        signed = links.sign(key, {"do": DOES, "person": name}, until)
    except ProximityError as error:
        raise Problem(422, str(error)) from None
    base = (parts.campaigns().public_url or "").rstrip("/")
    return answer(Link(f"{base}/inbox/{urllib.parse.quote(signed)}", format_time(until)), 201)


PAGE = Content(
    meaning="What changed since the cursor, and the keys of all that lies there.",
    schema=InboxPage,
    headers=("ETag", "Cache-Control"),
)
SAME = Content(meaning="Nothing changed since that ETag.")
OFTEN = Content(meaning="Far oftener than agreed: look again after Retry-After seconds.")
MARK = Content(meaning="One mark, or several: all are noted, or none.", schema=Mark)
MARKED = {
    200: Content(meaning="The offers as they stand now.", schema=Marked),
    404: Content(meaning="There is no such offer in this inbox. Nothing was changed."),
    409: Content(meaning="It is not redeemed here. Nothing was changed."),
    410: Content(meaning="The offer is over. Nothing was changed."),
}

ROUTES = (
    Route(
        method="GET",
        path="/v1/people/{id}/inbox",
        endpoint=_read,
        roles=READERS,
        summary="What lies in a person's inbox: offers to fetch instead of being pushed.",
        params=(AFTER, LIMIT),
        headers=("If-None-Match",),
        answers={200: PAGE, 304: SAME, 429: OFTEN},
    ),
    Route(
        method="POST",
        path="/v1/people/{id}/inbox",
        endpoint=_mark,
        roles=READERS,
        summary="Say that offers were read, redeemed or set aside; for every channel.",
        body=MARK,
        answers=MARKED,
    ),
    Route(
        method="POST",
        path="/v1/people/{id}/inbox/link",
        endpoint=_make_link,
        roles=KEEPERS,
        summary="Make the link by which a page shows a person their inbox.",
        answers={201: Content(meaning="The link; it is a credential.", schema=Link)},
    ),
)
