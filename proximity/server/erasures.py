"""How is somebody erased over HTTP, and what shows that it was done? Requests, receipts, notices.

A request is answered once the person is nobody any more; the rest goes on beside everything else
until the receipt stands. What an erasure is, is ``proximity.privacy.erasing``'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import sqlalchemy as sa
from aiohttp import web

from proximity.model import Person, format_time
from proximity.privacy import erasing
from proximity.privacy.notices import acknowledge, notices
from proximity.privacy.receipts import Receipt, genuine, receipt_of
from proximity.server.auth import Caller, Role
from proximity.server.people import KEEPERS, erased
from proximity.server.problems import HEADERS, Problem, answer
from proximity.server.reading import SMALL_LIMIT, parse_json, read_body, read_id
from proximity.server.routes import JSON, Content, Route
from proximity.store import schema

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from proximity.server.parts import Parts

ADMINS = frozenset({Role.ADMIN})
_MOST_LISTED = 1000


class Erase(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whom to erase."""

    person: str

    def __post_init__(self) -> None:
        Person(person=self.person)


class Acknowledgement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which processor has erased."""

    processor: str


class Told(msgspec.Struct, frozen=True):
    """How far one processor is; times RFC 3339, null: not yet."""

    processor: str
    told_at: str | None
    acknowledged_at: str | None


class Erasure(msgspec.Struct, frozen=True, kw_only=True):
    """One erasure: ``state`` is ``begun`` until everything is gone, then ``done``."""

    id: str
    state: str
    at: str
    processors: tuple[Told, ...] = ()
    receipt: Receipt | None = None


class Erasures(msgspec.Struct, frozen=True):
    """The latest erasures, newest first."""

    items: tuple[Erasure, ...]


class Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A receipt to be judged, and, if asked, whether it is this person's."""

    receipt: Receipt
    person: str | None = None


class Judged(msgspec.Struct, frozen=True):
    """Whether a receipt is this server's own, untouched."""

    genuine: bool


async def begin(
    parts: Parts, person: str, *, tombstone: bool = True, source: str = "request"
) -> erasing.Begun | None:
    """Make somebody nobody, and have the rest done; None where nothing is known of them."""
    found: list[erasing.Begun] = []
    now = parts.clock()

    def write(conn: Connection) -> tuple[str, ...]:
        found.clear()
        under_way = any(one.names[0] == person for one in erasing.pending(conn))
        if not under_way and not erasing.known(conn, person):
            return ()
        begun = erasing.begin(
            conn,
            parts.people,
            person,
            now=now,
            tombstone=tombstone,
            source=source,
            processors=[one.id for one in parts.policy.processors],
        )
        found.append(begun)
        return begun.names

    await erased(parts, write, tags=True)
    parts.erasing.set()
    return found[0] if found else None


async def _erase(request: web.Request, parts: Parts, _caller: Caller) -> web.StreamResponse:
    asked = parse_json(await read_body(request, SMALL_LIMIT), Erase)
    begun = await begin(parts, asked.person, source="http")
    if begun is None:
        raise Problem(404, "Nothing is known of this person.")
    body = await parts.store.aread(lambda conn: _read(conn, begun.id))
    return answer(body, 202, {"Location": f"/v1/erasures/{begun.id}"})


async def _list(_request: web.Request, parts: Parts, _caller: Caller) -> web.StreamResponse:
    return answer(Erasures(await parts.store.aread(list_erasures)))


async def _read_one(request: web.Request, parts: Parts, _caller: Caller) -> web.StreamResponse:
    name = read_id(request)
    body = await parts.store.aread(lambda conn: _read(conn, name))
    if body is None:
        raise Problem(404, "There is no erasure with this id.")
    return answer(body)


async def _acknowledge(request: web.Request, parts: Parts, _caller: Caller) -> web.StreamResponse:
    name = read_id(request)
    said = parse_json(await read_body(request, SMALL_LIMIT), Acknowledgement)
    now = parts.clock()
    done = await parts.store.awrite(lambda conn: acknowledge(conn, name, said.processor, now=now))
    if not done:
        raise Problem(404, "This processor was not asked to erase for that erasure.")
    return web.Response(status=204, headers=HEADERS)


async def _judge(request: web.Request, parts: Parts, _caller: Caller) -> web.StreamResponse:
    asked = parse_json(await read_body(request, SMALL_LIMIT), Asked)
    found = await parts.store.aread(lambda conn: genuine(conn, asked.receipt, asked.person))
    return answer(Judged(found))


def list_erasures(connection: Connection) -> tuple[Erasure, ...]:
    """Give the latest erasures, newest first."""
    table = schema.erasures
    ids = connection.scalars(
        sa.select(table.c.id).order_by(table.c.at.desc(), table.c.id).limit(_MOST_LISTED)
    )
    return tuple(one for name in ids.all() if (one := _read(connection, name)) is not None)


def _read(connection: Connection, erasure: str) -> Erasure | None:
    table = schema.erasures
    row = connection.execute(sa.select(table).where(table.c.id == erasure)).one_or_none()
    if row is None:
        return None
    return Erasure(
        id=row.id,
        state="done" if row.pending is None else "begun",
        at=format_time(row.at),
        processors=tuple(
            Told(one.processor, _time(one.told_at), _time(one.acknowledged_at))
            for one in notices(connection, erasure=erasure)
        ),
        receipt=receipt_of(connection, erasure),
    )


def _time(at: float | None) -> str | None:
    return None if at is None else format_time(at)


_GONE = Content(meaning="There is none with this id.")
_BAD = Content(meaning="It cannot be read; the problem says why.")

ROUTES = (
    Route(
        method="POST",
        path="/v1/erasures",
        endpoint=_erase,
        roles=KEEPERS,
        summary="Erase a person: every trace, with a tombstone and a signed receipt.",
        body=Content(meaning="Whom.", schema=Erase, media=(JSON,)),
        answers={
            202: Content(
                meaning="They are nobody any more; the rest goes on until the state is `done`.",
                schema=Erasure,
                headers=("Location",),
            ),
            404: Content(meaning="Nothing is known of this person."),
            422: _BAD,
        },
    ),
    Route(
        method="GET",
        path="/v1/erasures",
        endpoint=_list,
        roles=KEEPERS,
        summary="List erasures, newest first.",
        answers={200: Content(meaning="The latest thousand.", schema=Erasures)},
    ),
    Route(
        method="GET",
        path="/v1/erasures/{id}",
        endpoint=_read_one,
        roles=KEEPERS,
        summary="How far an erasure is, and its receipt.",
        answers={200: Content(meaning="The erasure.", schema=Erasure), 404: _GONE},
    ),
    Route(
        method="POST",
        path="/v1/erasures/{id}/acknowledgements",
        endpoint=_acknowledge,
        roles=KEEPERS,
        summary="Record that a processor has erased as well.",
        body=Content(meaning="Which processor.", schema=Acknowledgement, media=(JSON,)),
        answers={204: Content(meaning="It is recorded."), 404: _GONE, 422: _BAD},
    ),
    Route(
        method="POST",
        path="/v1/receipts",
        endpoint=_judge,
        roles=KEEPERS,
        summary="Tell whether a receipt is genuine.",
        body=Content(meaning="The receipt.", schema=Asked, media=(JSON,)),
        answers={200: Content(meaning="Whether it is.", schema=Judged), 422: _BAD},
    ),
)
