"""How does a device tell what became of an offer? By the link that came with it, in one word.

The link's signature is the credential: it names one offer on one channel, and all that it can do is
say that this was delivered, opened or clicked. Pages and service workers of any website may send
it, since they were given the link. What is told twice counts once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec
import sqlalchemy as sa
from aiohttp import web

from proximity.content.stamps import RECEIPT
from proximity.dispatch import receipts
from proximity.people.behaviour import may_be_written
from proximity.server.auth import Caller
from proximity.server.pages import read_link
from proximity.server.problems import HEADERS, Problem, answer
from proximity.server.reading import parse_json, read_body
from proximity.server.routes import Content, Route
from proximity.store import schema

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from proximity.server.parts import Parts

BODY_LIMIT = 1024
"""The word takes thirty bytes."""
_ANY = {**HEADERS, "Access-Control-Allow-Origin": "*"}
_PREFLIGHT = {
    **_ANY,
    "Access-Control-Allow-Methods": "POST",
    "Access-Control-Allow-Headers": "Content-Type",
    "Access-Control-Max-Age": "86400",
}
_WHOSE = sa.select(schema.offers.c.person).where(schema.offers.c.key == sa.bindparam("its_key"))


class Receipt(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What became of an offer, as its device tells."""

    outcome: Literal["delivered", "opened", "clicked"]


class Noted(msgspec.Struct, frozen=True):
    """Whether that was new."""

    new: bool


def note(
    connection: Connection, parts: Parts, key: str, outcome: str, channel: str, now: float
) -> bool:
    """Write down what became of an offer, as ``receipts.record`` does; False also for who said no.

    Whatever is sent needs a consent; of who agrees to nothing any more nothing is written either.
    """
    person = connection.scalar(_WHOSE, {"its_key": key})
    if person is None or not may_note(connection, parts, person, now):
        return False
    return receipts.record(connection, key, outcome, channel, now)


def may_note(connection: Connection, parts: Parts, person: str, now: float) -> bool:
    """Whether what somebody does with an offer may be written down at Unix second ``now``."""
    consent: Literal["required", "assumed"] = "assumed" if parts.assumed else "required"
    return bool(may_be_written(connection, {person}, now, consent))


async def _tell(request: web.Request, parts: Parts, _caller: Caller) -> web.StreamResponse:
    try:
        told = parse_json(await read_body(request, BODY_LIMIT), Receipt)
        said = await read_link(request, parts, RECEIPT)
        now = parts.clock()
        new = await parts.store.awrite(
            lambda conn: note(conn, parts, said["key"], told.outcome, said["channel"], now)
        )
    except Problem as problem:
        refused = problem.response()
        refused.headers.update(_ANY)
        return refused
    if new:
        parts.metrics.deliveries.labels(said["channel"], told.outcome).inc()
        parts.tail.grew()
    noted = answer(Noted(new))
    noted.headers.update(_ANY)
    return noted


async def _preflight(_request: web.Request, _parts: Parts, _caller: Caller) -> web.StreamResponse:
    return web.Response(status=204, headers=_PREFLIGHT)


ROUTES = (
    Route(
        method="POST",
        path="/r/{id}",
        endpoint=_tell,
        roles=frozenset(),
        summary="Tell what became of an offer, by the link that came with it.",
        body=Content(meaning="What became of it.", schema=Receipt),
        answers={
            200: Content(meaning="It is noted, or was known already.", schema=Noted),
            404: Content(meaning="This is no link of ours, or it was changed on its way."),
            410: Content(meaning="The link is too old."),
        },
        loose=True,
    ),
    Route(
        method="OPTIONS",
        path="/r/{id}",
        endpoint=_preflight,
        roles=frozenset(),
        summary="Let pages of any website tell it.",
        answers={204: Content(meaning="They may.")},
        loose=True,
    ),
)
