"""How is consent recorded, withdrawn and read back over HTTP? One row for each thing said."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import sqlalchemy as sa
from aiohttp import web

from proximity.model import Consent, Person, format_time
from proximity.server.auth import Caller
from proximity.server.people import KEEPERS, Recorded, erased, written
from proximity.server.problems import HEADERS, answer
from proximity.server.reading import (
    AFTER,
    LIMIT,
    SMALL_LIMIT,
    id_param,
    parse_lines,
    read_body,
)
from proximity.server.routes import JSON, NDJSON, Content, Route
from proximity.store import schema

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from proximity.people import People
    from proximity.server.parts import Parts

LONGEST_SOURCE = 200
"""Where a consent came from is a name or a URL, not an essay."""


class Grant(Consent, frozen=True, kw_only=True, rename={"since": "from"}):
    """A person's yes, and where it came from (a form, a shop, a file)."""

    person: str
    source: str = "http"

    def __post_init__(self) -> None:
        super().__post_init__()
        Person(person=self.person)
        for name in ("purpose", "channel"):
            said = getattr(self, name)
            if said is not None and not 1 <= len(said) <= 128:
                raise ValueError(f"{name} must have 1 to 128 characters")
        if len(self.source) > LONGEST_SOURCE:
            raise ValueError(f"source must have at most {LONGEST_SOURCE} characters")


class ConsentRow(msgspec.Struct, frozen=True, kw_only=True, rename={"since": "from"}):
    """One thing a person said: a yes, or (``withdrawal``) a no; null purpose or channel: to any."""

    person: str
    purpose: str | None
    channel: str | None
    since: str | None
    until: str | None
    withdrawal: bool
    recorded_at: str
    source: str


class ConsentPage(msgspec.Struct, frozen=True):
    """A page of the consent ledger, oldest first; ``cursor`` is the next request's ``after``."""

    items: tuple[ConsentRow, ...]
    cursor: str


def consent_rows(
    connection: Connection, after: int = 0, limit: int = 1000, person: str | None = None
) -> tuple[tuple[ConsentRow, ...], int]:
    """Read the consent ledger after a cursor, and the cursor that follows."""
    table = schema.consents
    statement = sa.select(table).where(table.c.seq > after).order_by(table.c.seq).limit(limit)
    if person is not None:
        statement = statement.where(table.c.person == person)
    rows = list(connection.execute(statement))
    items = tuple(
        ConsentRow(
            person=row.person,
            purpose=row.purpose,
            channel=row.channel,
            since=None if row.since is None else format_time(row.since),
            until=None if row.until is None else format_time(row.until),
            withdrawal=row.since is not None and row.since == row.until,
            recorded_at=format_time(row.recorded_at),
            source=row.source,
        )
        for row in rows
    )
    return items, rows[-1].seq if rows else after


def left_without(people: People, connection: Connection, person: str, at: float) -> tuple[str, ...]:
    """Name the subjects of a person who agrees to nothing any more at Unix second ``at``.

    Else none. What is known of them must go: no timer may tell any more of where they are.
    """
    known = people.read(connection, person)
    if any(consent.holds(at) for consent in known.consents):
        return ()
    return tuple(dict.fromkeys((person, *known.subjects)))


async def _read_page(request: web.Request, parts: Parts, _caller: Caller) -> web.StreamResponse:
    after, limit, person = AFTER.of(request), LIMIT.of(request), PERSON.of(request)
    items, cursor = await parts.store.aread(lambda conn: consent_rows(conn, after, limit, person))
    return answer(ConsentPage(items, str(cursor)))


async def _grant(request: web.Request, parts: Parts, _caller: Caller) -> web.StreamResponse:
    grants = parse_lines(await read_body(request, SMALL_LIMIT), Grant, "consents")

    def write(conn: Connection) -> None:
        for grant in grants:
            parts.people.grant(conn, grant.person, grant, grant.source)

    await written(parts, write)
    return answer(Recorded(len(grants)), 201)


async def _withdraw(request: web.Request, parts: Parts, _caller: Caller) -> web.StreamResponse:
    person, purpose, channel = WHOSE.of(request), PURPOSE.of(request), CHANNEL.of(request)
    now = parts.clock()

    def write(conn: Connection) -> tuple[str, ...]:
        parts.people.withdraw(conn, person, purpose, channel, at=now, source="http")
        return left_without(parts.people, conn, person, now)

    await erased(parts, write)
    return web.Response(status=204, headers=HEADERS)


PERSON = id_param("person", "only this person's")
WHOSE = id_param("person", "whose consent ends", required=True)
PURPOSE = id_param("purpose", "only to this purpose; to all, where absent")
CHANNEL = id_param("channel", "only on this channel; on all, where absent")

ROUTES = (
    Route(
        method="GET",
        path="/v1/consents",
        endpoint=_read_page,
        roles=KEEPERS,
        summary="Page through what people agreed to and withdrew.",
        params=(AFTER, LIMIT, PERSON),
        answers={200: Content(meaning="A page, oldest first.", schema=ConsentPage)},
    ),
    Route(
        method="POST",
        path="/v1/consents",
        endpoint=_grant,
        roles=KEEPERS,
        summary="Record that people agreed: all of it, or nothing.",
        body=Content(
            meaning="Consents, one JSON object a line, or a JSON array of them.",
            schema={"type": ["object", "array"]},
            media=(JSON, NDJSON),
        ),
        answers={
            201: Content(meaning="It is recorded.", schema=Recorded),
            422: Content(meaning="`problems` says every reason. Nothing was changed."),
        },
    ),
    Route(
        method="DELETE",
        path="/v1/consents",
        endpoint=_withdraw,
        roles=KEEPERS,
        summary="Record that a person withdrew; forget where they are if no consent is left.",
        params=(WHOSE, PURPOSE, CHANNEL),
        answers={
            204: Content(meaning="It is recorded; nothing more is sent on it."),
            422: Content(meaning="`problems` says every reason. Nothing was changed."),
        },
    ),
)
