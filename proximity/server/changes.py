"""How are people kept alike with a CRM, a shop or another engine over HTTP? Changes out and in.

Whoever follows is a peer, with a name of their own here: what they told is not sent back to them,
what they have is noted, and whom they still have to erase stands in front of every page. What of a
change stands is ``proximity.sync``'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec
from aiohttp import web

from proximity.consent.grants import left_without
from proximity.model import ProximityError, format_time
from proximity.privacy import erasing
from proximity.server.auth import Caller
from proximity.server.people import KEEPERS, ConsentRecord, consent_record, erased, written
from proximity.server.problems import Problem, answer
from proximity.server.reading import (
    LIMIT,
    SMALL_LIMIT,
    id_param,
    off_loop,
    parse_json,
    parse_lines,
    read_body,
    read_id,
)
from proximity.server.routes import JSON, NDJSON, Content, Param, Route
from proximity.store import StoreFailed
from proximity.sync import conversions, feed, peers
from proximity.sync.conversions import Conversion, Counted
from proximity.sync.fields import STEP_S
from proximity.sync.merge import Item
from proximity.sync.taking import MOST_ITEMS, Taken, erasures_in, remember, take

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from proximity.server.parts import Parts
    from proximity.sync.rules import Rules


class ChangeRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One field of a person as it is: since when (RFC 3339), and who said it; null: not there."""

    field: str
    at: str
    origin: str | None
    value: Any = None


class NoRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A withdrawal, ``at`` RFC 3339: of what is null, all of it."""

    purpose: str | None
    channel: str | None
    at: str


class ItemRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One person: words about their fields, what they agreed to, or that they are erased."""

    person: str
    id: str | None = None
    words: tuple[ChangeRecord, ...] = ()
    consents: tuple[ConsentRecord, ...] = ()
    withdrawals: tuple[NoRecord, ...] = ()
    erased_at: str | None = None


class ChangePage(msgspec.Struct, frozen=True):
    """A page of changes in their order; ``more``: there are others behind it already."""

    items: tuple[ItemRecord, ...]
    cursor: str
    more: bool


class Position(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How far a peer is in our changes, and we in what they say: as they put it, it is kept."""

    cursor: str | None = None
    position: str | None = None


class PeerRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A peer: last heard of when (RFC 3339), how long ago, how far both are, what became of all.

    ``stale``: longer ago than the sync file allows (``max_age_s``); null where it says nothing.
    """

    id: str
    heard_at: str
    age_s: float
    max_age_s: float | None
    stale: bool | None
    cursor: str
    position: str | None
    counts: dict[str, int]


class PeerList(msgspec.Struct, frozen=True):
    """All peers, by name."""

    items: tuple[PeerRecord, ...]


def item_record(item: Item) -> ItemRecord:
    """Write a message as HTTP carries it, times as RFC 3339 text."""
    return ItemRecord(
        person=item.person,
        id=item.id,
        words=tuple(
            ChangeRecord(field=w.field, at=format_time(w.at), origin=w.origin, value=w.value)
            for w in item.words
        ),
        consents=tuple(consent_record(one) for one in item.consents),
        withdrawals=tuple(
            NoRecord(purpose=no.purpose, channel=no.channel, at=format_time(no.at))
            for no in item.withdrawals
        ),
        erased_at=_time(item.erased_at),
    )


def peer_record(peer: peers.Peer, now: float, rules: Rules) -> PeerRecord:
    """Write a peer as HTTP carries it at Unix second ``now``."""
    counts: dict[str, int] = msgspec.to_builtins(peer.counts)
    age_s, bound_s = max(0.0, now - peer.heard_at), rules.bounds.get(peer.id)
    return PeerRecord(
        id=peer.id,
        heard_at=format_time(peer.heard_at),
        age_s=round(age_s, 3),
        max_age_s=bound_s,
        stale=None if bound_s is None else age_s > bound_s,
        cursor=str(peer.cursor),
        position=peer.position,
        counts=counts,
    )


async def _read_page(request: web.Request, parts: Parts, _caller: Caller) -> web.StreamResponse:
    after, limit, reader = CHANGE.of(request), LIMIT.of(request), READER.of(request)

    def read(conn: Connection) -> feed.Page:
        start = after
        if reader is not None:
            peer = peers.find(conn, reader)
            if peer is None:
                raise Problem(404, f"No peer is called {reader!r}: PUT /v1/sync/{{id}} first.")
            start = peer.cursor if after is None else after
        return feed.page(conn, parts.people, start or 0, limit, reader=reader)

    found = await parts.store.aread(read)
    items = tuple(item_record(item) for item in found.items)
    return answer(ChangePage(items, found.cursor, found.more))


async def _take(request: web.Request, parts: Parts, _caller: Caller) -> web.StreamResponse:
    sender = SENDER.of(request)
    body = await read_body(request, SMALL_LIMIT)
    items = await off_loop(len(body), lambda: parse_lines(body, Item, "changes"))
    return answer(await take_changes(parts, sender, items))


async def take_changes(parts: Parts, sender: str, items: list[Item]) -> Taken:
    """Write what a sender tells: first who changed, then who is to be erased, each in one piece.

    Raises Problem 422 with every reason; then nothing was changed.
    """
    told: list[Taken] = []
    now = parts.clock()
    consent: Literal["required", "assumed"] = "assumed" if parts.assumed else "required"

    def write(conn: Connection) -> tuple[str, ...]:
        told.clear()
        peers.admit(conn, sender, now)
        told.append(
            take(
                conn,
                parts.people,
                items,
                sender=sender,
                now=now,
                owners=parts.sync.owners,
                plan=parts.plan,
                consent=consent,
            )
        )
        peers.heard(conn, sender, now, taken=told[0])
        noes = [item.person for item in items if item.withdrawals]
        # What was said is in whole milliseconds, of which the last may not be over yet.
        gone = (left_without(parts.people, conn, person, now + STEP_S) for person in noes)
        return tuple(dict.fromkeys(name for names in gone for name in names))

    try:
        await erased(parts, write)
    except StoreFailed:
        raise
    except ProximityError as error:
        raise Problem(
            422, f"Nothing was changed: {error.problems[0]}", problems=error.problems
        ) from None
    for item in await parts.store.aread(lambda conn: erasures_in(conn, items, sender)):
        await _erase(parts, sender, item)
    return told[0]


async def _erase(parts: Parts, sender: str, item: Item) -> None:
    """Erase whom a peer has erased, and never take their message again."""
    now = parts.clock()

    def write(conn: Connection) -> tuple[str, ...]:
        if not erasures_in(conn, [item], sender):
            return ()
        if item.id is not None:
            remember(conn, sender, {item.id}, now)
        begun = erasing.begin(
            conn,
            parts.people,
            item.person,
            now=now,
            source=f"sync:{sender}",
            processors=[one.id for one in parts.policy.processors],
        )
        return begun.names

    await erased(parts, write, tags=True)
    parts.erasing.set()


async def _list_peers(_request: web.Request, parts: Parts, _caller: Caller) -> web.StreamResponse:
    found, now = await parts.store.aread(peers.listed), parts.clock()
    return answer(PeerList(tuple(peer_record(one, now, parts.sync) for one in found)))


async def _put_peer(request: web.Request, parts: Parts, _caller: Caller) -> web.StreamResponse:
    name = read_id(request)
    said = parse_json(await read_body(request, SMALL_LIMIT), Position)
    if said.cursor is not None and not (said.cursor.isascii() and said.cursor.isdigit()):
        raise Problem(422, "cursor: it is what a page of changes gave as `cursor`.")
    if said.position is not None and len(said.position) > MOST_POSITION:
        raise Problem(422, f"position: at most {MOST_POSITION} characters.")
    now = parts.clock()

    def write(conn: Connection) -> tuple[bool, peers.Peer]:
        new = peers.admit(conn, name, now)
        cursor = None if said.cursor is None else int(said.cursor[:18])
        peers.heard(conn, name, now, position=said.position, cursor=cursor)
        found = peers.find(conn, name)
        assert found is not None, "it was written in this transaction"
        return new, found

    new, peer = await written(parts, write)
    left = int(new)
    while left:  # some people a time: others write between
        left = await parts.store.awrite(lambda conn: peers.seed(conn, parts.people, now))
    return answer(peer_record(peer, now, parts.sync), 201 if new else 200)


async def _convert(request: web.Request, parts: Parts, _caller: Caller) -> web.StreamResponse:
    body = await read_body(request, SMALL_LIMIT)
    found = await off_loop(len(body), lambda: parse_lines(body, Conversion, "conversions"))
    now = parts.clock()
    consent: Literal["required", "assumed"] = "assumed" if parts.assumed else "required"
    counted = Counted()
    for start in range(0, len(found), conversions.MOST):
        some = found[start : start + conversions.MOST]
        counted.add(
            await written(
                parts,
                lambda conn, some=some: conversions.take(  # type: ignore[misc]
                    conn, parts.people, some, parts.sync,
                    now=now, places=parts.places.facts, plan=parts.plan, consent=consent,
                ),
            )
        )  # fmt: skip
    return answer(counted)


def _time(at: float | None) -> str | None:
    return None if at is None else format_time(at)


def _read_change(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise ValueError("a cursor is what an earlier page gave as `cursor`")
    return int(text)


MOST_POSITION = 1024
"""Characters of a peer's own position: a time and a key, and to spare."""
CHANGE = Param(
    name="after",
    schema={"type": "string", "pattern": "^[0-9]{1,18}$"},
    meaning="the cursor of an earlier page; else what the peer last said it has, or all",
    read=_read_change,
)
READER = id_param("for", "which peer reads: its own words are left out, erasures stand in front")
SENDER = id_param("origin", "which peer sends", required=True)
_BAD = Content(meaning="`problems` says every reason. Nothing was changed.")
_PEER = Content(meaning="The peer.", schema=PeerRecord)

ROUTES = (
    Route(
        method="GET",
        path="/v1/changes",
        endpoint=_read_page,
        roles=KEEPERS,
        summary="Page through what has changed of people, for whoever keeps them as well.",
        params=(CHANGE, LIMIT, READER),
        answers={
            200: Content(meaning="A page, in the order of changes.", schema=ChangePage),
            404: Content(meaning="No peer is called so."),
        },
    ),
    Route(
        method="POST",
        path="/v1/changes",
        endpoint=_take,
        roles=KEEPERS,
        summary="Tell what has changed of people elsewhere: all of it, or none and every reason.",
        params=(SENDER,),
        body=Content(
            meaning=f"Messages, one JSON object a line, or an array of them; at most {MOST_ITEMS}.",
            schema={"type": ["object", "array"]},
            media=(JSON, NDJSON),
        ),
        answers={200: Content(meaning="What became of them.", schema=Taken), 422: _BAD},
    ),
    Route(
        method="GET",
        path="/v1/sync",
        endpoint=_list_peers,
        roles=KEEPERS,
        summary="With whom people are kept alike, how far each is, and how old what they said is.",
        answers={200: Content(meaning="All peers.", schema=PeerList)},
    ),
    Route(
        method="PUT",
        path="/v1/sync/{id}",
        endpoint=_put_peer,
        roles=KEEPERS,
        summary="Begin to keep people alike with a peer, or note how far both are.",
        body=Content(meaning="What is to be noted; may be empty.", schema=Position),
        answers={
            200: _PEER,
            201: Content(meaning="They are new.", schema=PeerRecord),
            422: _BAD,
        },
    ),
    Route(
        method="POST",
        path="/v1/conversions",
        endpoint=_convert,
        roles=KEEPERS,
        summary="Tell what people bought: each once, put down to the offer that brought it.",
        body=Content(
            meaning="Conversions, one JSON object a line, or an array of them; at most 1,000.",
            schema={"type": ["object", "array"]},
            media=(JSON, NDJSON),
        ),
        answers={200: Content(meaning="What became of them.", schema=Counted), 422: _BAD},
    ),
)
