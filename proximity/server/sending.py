"""How does a marketer send a campaign over HTTP, or try it out? A wish, queued or rehearsed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

from beacon_gateway.model import check_id
from proximity.dispatch import manual
from proximity.dispatch.weighing import World
from proximity.model import ProximityError
from proximity.server.auth import Caller, Role
from proximity.server.problems import Problem, answer
from proximity.server.reading import SMALL_LIMIT, parse_json, read_body, read_id
from proximity.server.routes import Content, Route

if TYPE_CHECKING:
    from proximity.server.parts import Parts

SENDERS = frozenset({Role.MARKETER, Role.ADMIN})


class Send(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """To whom: one person, or the people of a segment, else of the campaign's own audience.

    ``occasion`` names what is sent once to each; without one it is the campaign's version. With
    ``dry_run`` nothing is sent and nothing written.
    """

    person: str | None = None
    audience: str | None = None
    occasion: str | None = None
    place: str | None = None
    dry_run: bool = False

    def __post_init__(self) -> None:
        for name in ("person", "audience", "occasion", "place"):
            value = getattr(self, name)
            if value is not None:
                check_id(value, name)


class Rehearsed(msgspec.Struct, frozen=True):
    """What would become of it now: how often each result, and the first decisions whole."""

    people: int
    results: dict[str, int]
    decisions: tuple[dict[str, Any], ...]
    texts: dict[str, str]


async def _send(request: web.Request, parts: Parts, _caller: Caller) -> web.StreamResponse:
    campaign = read_id(request)
    asked = parse_json(await read_body(request, SMALL_LIMIT), Send)
    rules = parts.campaigns()
    if campaign not in rules.campaigns:
        raise Problem(404, "There is no campaign with this id.")
    try:
        wish = manual.wish_for(
            rules, campaign, person=asked.person, audience=asked.audience,
            occasion=asked.occasion, place=asked.place, places=parts.places,
            rehearsal=asked.dry_run,
        )  # fmt: skip
    except ProximityError as error:
        raise Problem(422, "It cannot be sent so.", problems=error.problems) from None

    now = parts.clock()
    world = World(parts.campaigns, parts.people, parts.places, parts.assumed)
    if asked.dry_run:
        found = await asyncio.to_thread(manual.rehearse, parts.store, world, wish, now)
        return answer(
            Rehearsed(
                found.people,
                found.results,
                tuple(decision.to_record() for decision in found.decisions),
                found.texts,
            )
        )
    queued = await asyncio.to_thread(manual.queue_all, parts.store, world, wish, now)
    parts.ingest.triggers_added.set()
    return answer(queued, 202)


ROUTES = (
    Route(
        method="POST",
        path="/v1/campaigns/{id}/sends",
        endpoint=_send,
        roles=SENDERS,
        summary="Send a campaign to a person or an audience, or tell what would become of it.",
        body=Content(meaning="To whom.", schema=Send),
        answers={
            200: Content(meaning="With `dry_run`: what would become of it.", schema=Rehearsed),
            202: Content(
                meaning="It is queued: how many people, how many anew, how many agreed to nothing.",
                schema=manual.Queued,
            ),
            404: Content(meaning="There is no campaign with this id."),
            422: Content(meaning="`problems` says every reason. Nothing was queued."),
        },
    ),
)
