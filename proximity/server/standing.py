"""How does a device learn that what it shows was read on another one? By the link of its receipt.

The link's signature is the credential: it names one offer, and asking by it tells one word of that
offer and nothing else. So a notification is taken down though its reader agreed to no inbox.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import sqlalchemy as sa
from aiohttp import web

from proximity.content.stamps import RECEIPT
from proximity.dispatch.states import SEEN
from proximity.server.auth import Caller
from proximity.server.pages import read_link
from proximity.server.problems import HEADERS, Problem, answer
from proximity.server.routes import Content, Route
from proximity.store import schema

if TYPE_CHECKING:
    from proximity.server.parts import Parts

_ANY = {**HEADERS, "Access-Control-Allow-Origin": "*"}
"""Pages and service workers of any website were given such links, as with receipts."""
_FIND = sa.select(schema.offers.c.state, schema.offers.c.expires_at).where(
    schema.offers.c.key == sa.bindparam("its_key")
)


class Standing(msgspec.Struct, frozen=True):
    """Whether an offer is still news to its reader: good, and not opened anywhere yet."""

    news: bool


async def _ask(request: web.Request, parts: Parts, _caller: Caller) -> web.StreamResponse:
    try:
        said = await read_link(request, parts, RECEIPT)
        row = await parts.store.aread(
            lambda conn: conn.execute(_FIND, {"its_key": said["key"]}).first()
        )
    except Problem as problem:
        refused = problem.response()
        refused.headers.update(_ANY)
        return refused
    news = row is not None and row.state not in SEEN and row.expires_at > parts.clock()
    return answer(Standing(news), headers=_ANY)


ROUTES = (
    Route(
        method="GET",
        path="/r/{id}",
        endpoint=_ask,
        roles=frozenset(),
        summary="Ask whether an offer is still news to its reader, by the link of its receipt.",
        answers={
            200: Content(meaning="Whether it is.", schema=Standing),
            404: Content(meaning="This is no link of ours, or it was changed on its way."),
            410: Content(meaning="The link is too old."),
        },
        loose=True,
    ),
)
