"""On which channels can this person be reached, and why not on the others?

Set up here, installed, online and opted in, channel by channel: an address where the channel needs
one, and a consent in force for something on it. No address is told, only how many there are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

from proximity.people import endpoints
from proximity.people.people import People
from proximity.server.auth import Caller, Role
from proximity.server.problems import Problem, answer
from proximity.server.reading import read_id
from proximity.server.routes import Content, Route

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from sqlalchemy import Connection

    from proximity.campaigns.reach import Terms
    from proximity.server.parts import Parts

NOT_SET_UP = "it is not set up"
NOT_AGREED = "nothing was agreed to on it"


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A channel: whether it reaches the person now, and why not.

    ``set_up``: whether the campaigns file uses it or has a table for it; None where no file was
    asked. ``endpoints`` is how many addresses it has of them, ``agreed`` the purposes that a
    consent in force allows on it.
    """

    channel: str
    set_up: bool | None
    reachable: bool
    endpoints: int
    agreed: tuple[str, ...]
    why: str | None


class Reaching(msgspec.Struct, frozen=True, kw_only=True):
    """What reaches a person, by name of the channel."""

    person: str
    channels: tuple[Line, ...]


def read_reach(
    connection: Connection,
    people: People,
    person: str,
    terms: Mapping[str, Terms],
    now: float,
    *,
    set_up: Collection[str] | None,
    assumed: bool = False,
) -> Reaching | None:
    """Tell what reaches a person at Unix second ``now``; None where nothing is known of them.

    ``set_up`` names the channels that are, None: it is not known. ``assumed``: consent is kept
    upstream, and taken as given.
    """
    found = people.read_all(connection, (person,))[person]
    dead = endpoints.known_gone(connection, person)
    if not found.subjects and not found.consents and not found.endpoints and not dead:
        return None
    lines = []
    for one in endpoints.reachability(found, dead, terms):
        agreed = {
            each.purpose
            for each in found.consents
            if each.holds(now) and each.channel in {None, "*", one.channel}
        }
        opted = assumed or bool(agreed)
        there = None if set_up is None else one.channel in set_up
        why = one.why or (None if opted else NOT_AGREED)
        lines.append(
            Line(
                channel=one.channel,
                set_up=there,
                reachable=there is not False and one.reachable and opted,
                endpoints=one.endpoints,
                agreed=tuple(sorted(agreed)),
                why=NOT_SET_UP if there is False else why,
            )
        )
    return Reaching(person=person, channels=tuple(lines))


async def _read(request: web.Request, parts: Parts, _caller: Caller) -> web.StreamResponse:
    person, terms = read_id(request), parts.campaigns().channel_terms
    found: Any = await parts.store.aread(
        lambda conn: read_reach(
            conn, parts.people, person, terms, parts.clock(),
            set_up=parts.channels.keys(), assumed=parts.assumed,
        )
    )  # fmt: skip
    if found is None:
        raise Problem(404, "There is no person with this id.")
    return answer(found)


ROUTES = (
    Route(
        method="GET",
        path="/v1/people/{id}/reach",
        endpoint=_read,
        roles=frozenset({Role.FEED, Role.ADMIN}),
        summary="On which channels a person can be reached, and why not on the others.",
        answers={
            200: Content(
                meaning="Each channel there is, whether it is set up or not.", schema=Reaching
            ),
            404: Content(meaning="There is no person with this id."),
        },
    ),
)
