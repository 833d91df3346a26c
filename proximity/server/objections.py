"""How does somebody say over HTTP that they are to be left alone, and take it back?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from aiohttp import web

from proximity.consent.grants import lift_mark, record_objection
from proximity.consent.objections import marked
from proximity.model import format_time
from proximity.server.auth import Caller
from proximity.server.consents import Withdrawn
from proximity.server.people import KEEPERS, written
from proximity.server.problems import HEADERS, Problem, answer
from proximity.server.reading import read_id
from proximity.server.routes import Content, Param, Route

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from proximity.server.parts import Parts

SOURCE = "http"


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """Since when a person objects to marketing, and since when they are erased."""

    person: str
    objected_at: str | None
    erased_at: str | None


async def _read(request: web.Request, parts: Parts, _caller: Caller) -> web.StreamResponse:
    person = read_id(request)

    def read(conn: Connection) -> Standing:
        objected = marked(conn, (person,), "objected").get(person)
        erased = marked(conn, (person,), "erased").get(person)
        return Standing(
            person=person,
            objected_at=None if objected is None else format_time(objected),
            erased_at=None if erased is None else format_time(erased),
        )

    return answer(await parts.store.aread(read))


async def _put(request: web.Request, parts: Parts, _caller: Caller) -> web.StreamResponse:
    person, now = read_id(request), parts.clock()

    found = await written(parts, lambda conn: record_objection(conn, person, at=now, source=SOURCE))
    return answer(Withdrawn(tuple(found)))


async def _delete(request: web.Request, parts: Parts, _caller: Caller) -> web.StreamResponse:
    person, kind = read_id(request), KIND.of(request)

    if not await written(parts, lambda conn: lift_mark(parts.people, conn, person, kind)):
        raise Problem(404, "There is no such mark on this person.")
    return web.Response(status=204, headers=HEADERS)


def _read_kind(text: str) -> str:
    if text not in {"objected", "erased"}:
        raise ValueError("it must be objected or erased")
    return text


KIND = Param(
    name="kind",
    schema={"type": "string", "enum": ["objected", "erased"], "default": "objected"},
    meaning="which mark: objected, or erased, for somebody who asked to come back",
    read=_read_kind,
    default="objected",
)

ROUTES = (
    Route(
        method="GET",
        path="/v1/objections/{id}",
        endpoint=_read,
        roles=KEEPERS,
        summary="Whether a person objects to marketing, or was erased.",
        answers={200: Content(meaning="Since when, or null.", schema=Standing)},
    ),
    Route(
        method="PUT",
        path="/v1/objections/{id}",
        endpoint=_put,
        roles=KEEPERS,
        summary="Record that a person objects: no marketing, whatever they agreed to.",
        answers={
            200: Content(
                meaning="It is recorded; nothing more is sent but what is in flight.",
                schema=Withdrawn,
            ),
            422: Content(meaning="They were erased; there is nothing to object to."),
        },
    ),
    Route(
        method="DELETE",
        path="/v1/objections/{id}",
        endpoint=_delete,
        roles=KEEPERS,
        summary="Lift an objection, or let somebody who was erased come back, as they asked.",
        params=(KIND,),
        answers={
            204: Content(meaning="It is lifted."),
            404: Content(meaning="There is no such mark."),
        },
    ),
)
