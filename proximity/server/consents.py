"""How is consent recorded, withdrawn, proven and read over HTTP? One row for each thing said."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from aiohttp import web

from proximity.consent import chain
from proximity.consent.grants import Grant, left_without, record_grant
from proximity.consent.proofs import Proof, Said, prove, said_page
from proximity.consent.texts import Text, Wording, every_text, register
from proximity.dispatch.outbox import InFlight
from proximity.model import ProximityError
from proximity.server.auth import Caller
from proximity.server.people import KEEPERS, SPEAKERS, Recorded, erased, whose, written
from proximity.server.problems import HEADERS, answer
from proximity.server.reading import (
    AFTER,
    AT,
    LIMIT,
    SMALL_LIMIT,
    id_param,
    numbered_lines,
    parse_json,
    read_body,
)
from proximity.server.routes import JSON, NDJSON, Content, Param, Route
from proximity.store import StoreFailed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from proximity.server.parts import Parts


class NewText(Wording, frozen=True, kw_only=True):
    """A text to be registered, and the purpose it asks for."""

    purpose: str


class ConsentPage(msgspec.Struct, frozen=True):
    """A page of the consent ledger, oldest first; ``cursor`` is the next request's ``after``."""

    items: tuple[Said, ...]
    cursor: str


class TextPage(msgspec.Struct, frozen=True):
    """Every registered text, by purpose and language."""

    items: tuple[Text, ...]


class Registered(msgspec.Struct, frozen=True):
    """Under which SHA-256 a text is registered."""

    sha256: str


class Withdrawn(msgspec.Struct, frozen=True):
    """What was being handed over at that very moment; nothing else is sent on it any more."""

    in_flight: tuple[InFlight, ...]


async def withdraw(
    parts: Parts,
    person: str,
    purposes: Sequence[str | None],
    channel: str | None,
    *,
    source: str,
    method: str | None = None,
) -> tuple[InFlight, ...]:
    """Record a no to each of ``purposes`` (None: to all) from now on; give what is in flight.

    Once this returns no hand-over starts on what was withdrawn. Raises StoreFailed.
    """
    now = parts.clock()
    in_flight: list[InFlight] = []

    def write(conn: Connection) -> tuple[str, ...]:
        in_flight.clear()
        for purpose in purposes:
            flying = parts.people.withdraw(
                conn, person, purpose, channel, at=now, source=source, method=method
            )
            in_flight.extend(one for one in flying if one not in in_flight)
        return left_without(parts.people, conn, person, now)

    await erased(parts, write)
    return tuple(in_flight)


async def _read_page(request: web.Request, parts: Parts, _caller: Caller) -> web.StreamResponse:
    after, limit, person = AFTER.of(request), LIMIT.of(request), PERSON.of(request)
    items, cursor = await parts.store.aread(lambda conn: said_page(conn, after, limit, person))
    return answer(ConsentPage(items, str(cursor)))


async def _grant(request: web.Request, parts: Parts, _caller: Caller) -> web.StreamResponse:
    grants, unread = numbered_lines(await read_body(request, SMALL_LIMIT), Grant, "consents")
    now = parts.clock()

    def write(conn: Connection) -> None:
        problems = list(unread)
        for line, grant in grants:
            try:
                record_grant(parts.people, conn, grant, now)
            except StoreFailed:
                raise  # the disk's fault
            except ProximityError as error:
                where = f"line {line}: " if len(grants) + len(unread) > 1 else ""
                problems += [where + problem for problem in error.problems]
        if problems:
            raise ProximityError(*problems)  # and none of the others is recorded either

    await written(parts, write)
    return answer(Recorded(len(grants)), 201)


async def _withdraw(request: web.Request, parts: Parts, caller: Caller) -> web.StreamResponse:
    named, purpose, channel = WHOSE.of(request), PURPOSE.of(request), CHANNEL.of(request)
    person = await parts.store.aread(lambda conn: whose(conn, parts, caller, named))
    in_flight = await withdraw(parts, person, (purpose,), channel, source="http")
    if in_flight:
        return answer(Withdrawn(in_flight))
    return web.Response(status=204, headers=HEADERS)


async def _prove(request: web.Request, parts: Parts, _caller: Caller) -> web.StreamResponse:
    person, purpose, channel = PROVEN.of(request), PROVEN_PURPOSE.of(request), CHANNEL.of(request)
    at = AT.of(request)
    moment = parts.clock() if at is None else at
    found = await parts.store.aread(lambda conn: prove(conn, person, purpose, channel, moment))
    return answer(found)


async def _verify(request: web.Request, parts: Parts, _caller: Caller) -> web.StreamResponse:
    expected = HEAD.of(request)
    return answer(await parts.store.aread(lambda conn: chain.verify(conn, expected)))


async def _read_texts(request: web.Request, parts: Parts, _caller: Caller) -> web.StreamResponse:
    purpose = OF_PURPOSE.of(request)
    found = await parts.store.aread(lambda conn: every_text(conn, purpose))
    return answer(TextPage(tuple(found)))


async def _add_text(request: web.Request, parts: Parts, _caller: Caller) -> web.StreamResponse:
    new = parse_json(await read_body(request, SMALL_LIMIT), NewText)
    now = parts.clock()
    sha256 = await written(parts, lambda conn: register(conn, new.purpose, new, now))
    return answer(Registered(sha256), 201)


def _read_head(text: str) -> chain.Head:
    try:
        return chain.Head.parse(text)
    except ProximityError as error:
        raise ValueError(str(error)) from None


PERSON = id_param("person", "only this person's")
WHOSE = id_param("person", "whose consent ends", required=True)
PURPOSE = id_param("purpose", "only to this purpose; to all, where absent")
CHANNEL = id_param("channel", "only on this channel; on all, where absent")
PROVEN = id_param("person", "whose consent is asked about", required=True)
PROVEN_PURPOSE = id_param("purpose", "to what", required=True)
OF_PURPOSE = id_param("purpose", "only texts that ask for this")
HEAD = Param(
    name="head",
    schema={"type": "string", "pattern": "^[0-9]{1,18}:[0-9a-f]{64}$"},
    meaning="a head that was noted before: the chain must hold it",
    read=_read_head,
)

_REFUSED = Content(meaning="`problems` says every reason. Nothing was changed.")

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
            422: _REFUSED,
        },
    ),
    Route(
        method="DELETE",
        path="/v1/consents",
        endpoint=_withdraw,
        roles=SPEAKERS,
        summary="Record that a person withdrew; forget where they are if no consent to it is left.",
        params=(WHOSE, PURPOSE, CHANNEL),
        answers={
            200: Content(
                meaning="It is recorded; nothing more is sent on it but what is in flight.",
                schema=Withdrawn,
            ),
            204: Content(meaning="It is recorded; nothing more is sent on it."),
            403: Content(meaning="A device's token speaks for its own person alone."),
            422: _REFUSED,
        },
    ),
    Route(
        method="GET",
        path="/v1/consents/proof",
        endpoint=_prove,
        roles=KEEPERS,
        summary="Whether a consent was in force at some moment, its row, its text, and its seal.",
        params=(PROVEN, PROVEN_PURPOSE, CHANNEL, AT),
        answers={200: Content(meaning="What the ledger shows.", schema=Proof)},
    ),
    Route(
        method="GET",
        path="/v1/consents/verify",
        endpoint=_verify,
        roles=KEEPERS,
        summary="Walk the chain that seals the consent ledger, and name what was tampered with.",
        params=(HEAD,),
        answers={200: Content(meaning="What was found.", schema=chain.Verified)},
    ),
    Route(
        method="GET",
        path="/v1/consents/texts",
        endpoint=_read_texts,
        roles=KEEPERS,
        summary="The texts that people are shown when they are asked.",
        params=(OF_PURPOSE,),
        answers={200: Content(meaning="All of them.", schema=TextPage)},
    ),
    Route(
        method="POST",
        path="/v1/consents/texts",
        endpoint=_add_text,
        roles=KEEPERS,
        summary="Register a text; one that is registered never changes.",
        body=Content(meaning="The text and its purpose.", schema=NewText),
        answers={201: Content(meaning="It is registered.", schema=Registered), 422: _REFUSED},
    ),
)
