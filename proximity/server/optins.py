"""How does an app tell what somebody answered to the question, and see whether to ask again?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec
from aiohttp import web

from proximity.consent.asked import Answered, Asking, answer, status
from proximity.consent.objections import refuse_erased
from proximity.model import ProximityError
from proximity.server.auth import Caller, Role
from proximity.server.people import KEEPERS, SPEAKERS, whose, written
from proximity.server.problems import Problem
from proximity.server.problems import answer as reply
from proximity.server.reading import SMALL_LIMIT, fault_of, id_param, parse_json, read_body
from proximity.server.routes import Content, Route

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from proximity.server.parts import Parts


class AskingPage(msgspec.Struct, frozen=True):
    """Every question that a person was asked, or that a campaign asks, by purpose."""

    items: tuple[Asking, ...]


class Noted(msgspec.Struct, frozen=True):
    """Whether an answer was written: new, and of somebody of whom anything may be written."""

    recorded: bool


async def _status(request: web.Request, parts: Parts, _caller: Caller) -> web.StreamResponse:
    person, now = PERSON.of(request), parts.clock()
    found = await parts.store.aread(
        lambda conn: status(
            parts.people, conn, person,
            now=now, places=parts.places.facts, campaigns=parts.campaigns().campaigns,
        )
    )  # fmt: skip
    return reply(AskingPage(found))


async def _answer(request: web.Request, parts: Parts, caller: Caller) -> web.StreamResponse:
    fields = parse_json(await read_body(request, SMALL_LIMIT), dict[str, Any])
    if caller.role is Role.DEVICE:
        fields = await _own(parts, caller, fields)
    try:
        said = msgspec.convert(fields, Answered)
    except msgspec.ValidationError as error:
        fault = fault_of(error, Answered)
        raise Problem(422, f"Nothing was changed: {fault}", problems=[fault]) from None
    now = parts.clock()
    kept: Literal["required", "assumed"] = "assumed" if parts.assumed else "required"
    places = parts.places.facts

    def write(conn: Connection) -> bool:
        _check_device(conn, parts, said)
        return answer(parts.people, conn, said, now=now, places=places, consent=kept)

    new = await written(parts, write)
    return reply(Noted(new), 201 if new else 200)


def _check_device(connection: Connection, parts: Parts, said: Answered) -> None:
    """Refuse an answer on a device that somebody else carries, or who was erased carried.

    An app's backend vouches for what its person said; whose device it was is known here, and what
    is written under it would be told of its carrier. Raises ProximityError.
    """
    if said.subject is None or said.subject == said.person:
        return
    refuse_erased(connection, (said.subject,))
    carrier = parts.people.carriers(connection, (said.subject,))[said.subject]
    if carrier not in {said.subject, said.person}:
        raise ProximityError(
            f"subject {said.subject!r} is not a device of person {said.person!r}: name one of "
            "theirs, or leave it out"
        )


async def _own(parts: Parts, caller: Caller, fields: dict[str, Any]) -> dict[str, Any]:
    """Let a device speak for its own person, and name nobody else. Raises Problem 403."""
    named = fields.get("person")
    own = await parts.store.aread(lambda conn: whose(conn, parts, caller, named))
    subject = fields.get("subject")
    if subject is not None and subject != caller.speaks_for:
        raise Problem(403, "This token speaks for somebody else's device.")
    return {**fields, "person": own, "subject": caller.speaks_for}


PERSON = id_param("person", "who was asked", required=True)

ROUTES = (
    Route(
        method="GET",
        path="/v1/optin",
        endpoint=_status,
        roles=KEEPERS,
        summary="What a person answered when asked for consent, and when they may be asked again.",
        params=(PERSON,),
        answers={200: Content(meaning="By purpose.", schema=AskingPage)},
    ),
    Route(
        method="POST",
        path="/v1/optin",
        endpoint=_answer,
        roles=SPEAKERS,
        summary="Record that a person was asked, and their answer; a yes is a consent as well.",
        body=Content(meaning="The answer.", schema=Answered),
        answers={
            200: Content(meaning="It was there already, or nothing of them is kept.", schema=Noted),
            201: Content(meaning="It is recorded.", schema=Noted),
            403: Content(meaning="A device's token speaks for its own person alone."),
            422: Content(meaning="`problems` says every reason. Nothing was changed."),
        },
    ),
)
