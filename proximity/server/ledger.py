"""How is what happened read back? Transitions, decisions and deliveries in pages.

Reads the ledger; knows nothing of how its rows came about.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from proximity.server.auth import Caller, Role
from proximity.server.problems import Problem, json_answer
from proximity.server.reading import AFTER, LIMIT, PLACE, SUBJECT
from proximity.server.records_of import DecisionRecord, DeliveryRecord, TransitionRecord
from proximity.server.routes import READERS, Content, Endpoint, Route
from proximity.store import ledger

if TYPE_CHECKING:
    from aiohttp import web
    from sqlalchemy import Connection

    from proximity.server.parts import Parts
    from proximity.store.ledger import Kind, LedgerRow

# Transitions say where somebody was; a marketer's questions need the decisions alone.
WATCHERS = frozenset({Role.ANALYST, Role.ADMIN})


class TransitionPage(msgspec.Struct, frozen=True):
    """A page of transitions, oldest first; ``cursor`` is the next request's ``after``."""

    items: tuple[TransitionRecord, ...]
    cursor: str


class DecisionPage(msgspec.Struct, frozen=True):
    """A page of decisions, oldest first; ``cursor`` is the next request's ``after``."""

    items: tuple[DecisionRecord, ...]
    cursor: str


class DeliveryPage(msgspec.Struct, frozen=True):
    """A page of deliveries, oldest first; ``cursor`` is the next request's ``after``."""

    items: tuple[DeliveryRecord, ...]
    cursor: str


def check_cursor(connection: Connection, after: int) -> None:
    """Refuse a cursor that nobody was given: its reader would hear nothing, and not know why.

    It is of another server, or of a time that a backup did not have. Raises Problem 400.
    """
    if after and after > ledger.last_number(connection):
        raise Problem(
            400,
            "after: there is nothing up to this cursor yet, so it is not of this ledger (perhaps a "
            "backup was restored): begin anew, without it.",
        )


def _page_of(kind: Kind) -> Endpoint:
    """Make the endpoint that pages through one kind of the ledger's rows."""

    async def page(request: web.Request, parts: Parts, _caller: Caller) -> web.StreamResponse:
        after, limit = AFTER.of(request), LIMIT.of(request)
        subject, place = SUBJECT.of(request), PLACE.of(request)

        def read(conn: Connection) -> tuple[list[LedgerRow], int]:
            rows, cursor = ledger.page(conn, kind, after, limit, subject=subject, place=place)
            if not rows:
                check_cursor(conn, after)
            return rows, cursor

        rows, cursor = await parts.store.aread(read)
        # The rows are JSON already: joining them is all there is to do.
        items = ",".join(row.record for row in rows)
        return json_answer(f'{{"items":[{items}],"cursor":"{cursor}"}}')

    return page


_PARAMS = (AFTER, LIMIT, SUBJECT, PLACE)

ROUTES = (
    Route(
        method="GET",
        path="/v1/transitions",
        endpoint=_page_of("transition"),
        roles=WATCHERS,
        summary="Page through what changed of who is where.",
        params=_PARAMS,
        answers={200: Content(meaning="A page, oldest first.", schema=TransitionPage)},
    ),
    Route(
        method="GET",
        path="/v1/decisions",
        endpoint=_page_of("decision"),
        roles=READERS,
        summary="Page through what was decided, with every gate's evidence.",
        params=_PARAMS,
        answers={200: Content(meaning="A page, oldest first.", schema=DecisionPage)},
    ),
    Route(
        method="GET",
        path="/v1/deliveries",
        endpoint=_page_of("delivery"),
        roles=READERS,
        summary="Page through what each channel was handed, and what came back.",
        params=_PARAMS,
        answers={200: Content(meaning="A page, oldest first.", schema=DeliveryPage)},
    ),
)
