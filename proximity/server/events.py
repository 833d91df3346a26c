"""How is read back over HTTP what people did: their events, what was set aside, what they like?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec
from aiohttp import web
from msgspec.structs import asdict

from proximity.model import Event, format_time
from proximity.people import affinity, behaviour
from proximity.people.behaviour import Written
from proximity.people.facts import NOTHING
from proximity.server.auth import Caller
from proximity.server.people import KEEPERS, known_ids, written
from proximity.server.problems import Problem, answer
from proximity.server.reading import (
    AFTER,
    LIMIT,
    RECORDS_LIMIT,
    id_param,
    off_loop,
    parse_lines,
    read_body,
    read_id,
)
from proximity.server.routes import JSON, NDJSON, Content, Param, Route

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sqlalchemy import Connection

    from proximity.campaigns.campaigns import PlaceFacts
    from proximity.people.affinity import Affinity, Metrics
    from proximity.server.parts import Parts

MOST_VISITS = 100
"""Visits of one answer; the figures count all."""
BACK_S = 366 * 86400.0
"""How far back a profile looks unless asked otherwise: seasons come round in a year."""


class EventRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An event as it is kept, ``at`` RFC 3339; one set aside has its ``problem`` as well."""

    id: str
    person: str
    name: str
    at: str
    subject: str | None = None
    place: str | None = None
    properties: dict[str, Any] = {}
    problem: str | None = None


class EventPage(msgspec.Struct, frozen=True):
    """A page of events, oldest first; ``cursor`` is the next request's ``after``."""

    items: tuple[EventRecord, ...]
    cursor: str


class VisitRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A visit, times as RFC 3339; ``exit_at`` null while it lasts."""

    visit: str
    place: str
    enter_at: str
    exit_at: str | None
    tags: tuple[str, ...]


class AffinityRecord(msgspec.Struct, frozen=True, kw_only=True):
    """How much a person takes of one product or category, as ``Affinity``; times RFC 3339."""

    name: str
    count: float
    share: float
    purchases: int
    spent: float
    last_at: str


class MetricsRecord(msgspec.Struct, frozen=True, kw_only=True):
    """How often, how lately and how long somebody was there, as ``Metrics``; times RFC 3339."""

    visits: int
    first_at: str
    last_at: str
    recency_s: float
    per_week: float
    dwell_s: float
    mean_dwell_s: float
    longest_s: float


class ProfileRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What a person did since then, in figures: what they buy, and where they are, how often.

    ``products`` and ``categories`` of purchases, most first; ``venues`` and ``kinds`` (tags) of
    the places that they visited; ``visits`` the newest hundred, oldest first.
    """

    person: str
    since: str
    at: str
    events: int
    products: tuple[AffinityRecord, ...]
    categories: tuple[AffinityRecord, ...]
    venues: dict[str, MetricsRecord]
    kinds: dict[str, MetricsRecord]
    visits: tuple[VisitRecord, ...]


def event_page(
    connection: Connection,
    after: int = 0,
    limit: int = 100,
    *,
    person: str | None = None,
    name: str | None = None,
    quarantined: bool = False,
) -> EventPage:
    """Read a page of events, or of those that were set aside."""
    if quarantined:
        aside = behaviour.quarantined(connection, after, limit, person=person, name=name)
        items = tuple(
            EventRecord(
                id=one.id,
                person=one.person,
                name=one.name,
                at=format_time(one.at),
                problem=one.problem,
                properties=_said(one.event),
            )
            for one in aside
        )
        return EventPage(items, str(aside[-1].seq if aside else after))
    found = behaviour.listed(connection, after, limit, person=person, name=name)
    items = tuple(
        EventRecord(
            id=one.id,
            person=one.person,
            subject=one.subject,
            name=one.name,
            at=format_time(one.at),
            place=one.place,
            properties=one.properties,
        )
        for one in found
    )
    return EventPage(items, str(found[-1].seq if found else after))


def _said(text: str) -> dict[str, Any]:
    """Give the properties of an event that was set aside; none where it was too long to keep."""
    try:
        return msgspec.json.decode(text, type=_Aside).properties
    except msgspec.MsgspecError:
        return {}


class _Aside(msgspec.Struct):
    properties: dict[str, Any] = {}


def read_profile(
    connection: Connection,
    person: str,
    since: float,
    now: float,
    places: Callable[[str], PlaceFacts],
) -> ProfileRecord | None:
    """Read what a person did since Unix second ``since``, in figures as they stand at ``now``.

    None where nothing is known of them.
    """
    profile = behaviour.read_profiles(connection, [person], since, places)[person]
    if profile == NOTHING and not known_ids(connection, only=person):
        return None
    return ProfileRecord(
        person=person,
        since=format_time(since),
        at=format_time(now),
        events=len(profile.events),
        products=_taken(affinity.affinities(profile)),
        categories=_taken(affinity.affinities(profile, "category")),
        venues=_been(affinity.by_venue(profile, now)),
        kinds=_been(affinity.by_category(profile, now)),
        visits=tuple(
            VisitRecord(
                visit=stay.visit,
                place=stay.place,
                enter_at=format_time(stay.enter_at),
                exit_at=None if stay.exit_at is None else format_time(stay.exit_at),
                tags=stay.tags,
            )
            for stay in profile.visits[-MOST_VISITS:]
        ),
    )


def _taken(found: Sequence[Affinity]) -> tuple[AffinityRecord, ...]:
    return tuple(
        AffinityRecord(**asdict(one) | {"last_at": format_time(one.last_at)}) for one in found
    )


def _been(found: Mapping[str, Metrics]) -> dict[str, MetricsRecord]:
    return {
        name: MetricsRecord(
            **asdict(one)
            | {"first_at": format_time(one.first_at), "last_at": format_time(one.last_at)}
        )
        for name, one in found.items()
    }


async def _read_page(request: web.Request, parts: Parts, _caller: Caller) -> web.StreamResponse:
    after, limit, person = AFTER.of(request), LIMIT.of(request), PERSON.of(request)
    name, aside = NAME.of(request), QUARANTINED.of(request)
    found = await parts.store.aread(
        lambda conn: event_page(conn, after, limit, person=person, name=name, quarantined=aside)
    )
    return answer(found)


async def _read_profile(request: web.Request, parts: Parts, _caller: Caller) -> web.StreamResponse:
    person, now = read_id(request), parts.clock()
    since = SINCE.of(request)
    start = max(0.0, now - (BACK_S if since is None else since))

    facts = parts.places.facts
    found = await parts.store.aread(lambda conn: read_profile(conn, person, start, now, facts))
    if found is None:
        raise Problem(404, "There is no person with this id.")
    return answer(found)


async def _write_history(request: web.Request, parts: Parts, _caller: Caller) -> web.StreamResponse:
    body = await read_body(request, RECORDS_LIMIT)
    events = await off_loop(len(body), lambda: parse_lines(body, Event, "events"))
    now = parts.clock()
    consent: Literal["required", "assumed"] = "assumed" if parts.assumed else "required"

    def write(conn: Connection) -> Written:
        return behaviour.write_history(
            conn, events, parts.people, parts.plan, parts.places.facts, now=now, consent=consent
        )

    return answer(await written(parts, write))


def _read_flag(text: str) -> bool:
    if text not in {"true", "false"}:
        raise ValueError("it must be true or false")
    return text == "true"


def _read_seconds(text: str) -> float:
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise ValueError("it must be whole seconds")
    return float(text)


PERSON = id_param("person", "only this person's")
NAME = id_param("name", "only events of this name")
QUARANTINED = Param(
    name="quarantined",
    schema={"type": "boolean", "default": False},
    meaning="true: those that the tagging plan speaks against, and what it says",
    read=_read_flag,
    default=False,
)
SINCE = Param(
    name="within_s",
    schema={"type": "integer", "minimum": 0},
    meaning="how many seconds to look back; a year, where absent",
    read=_read_seconds,
)

ROUTES = (
    Route(
        method="GET",
        path="/v1/events",
        endpoint=_read_page,
        roles=KEEPERS,
        summary="Page through what people did, or what was set aside of it.",
        params=(AFTER, LIMIT, PERSON, NAME, QUARANTINED),
        answers={200: Content(meaning="A page, oldest first.", schema=EventPage)},
    ),
    Route(
        method="POST",
        path="/v1/events/history",
        endpoint=_write_history,
        roles=KEEPERS,
        summary="Take events of long ago, from a till or another system: they trigger nothing.",
        body=Content(
            meaning="Events, one JSON object a line, or a JSON array of them; at most 1,000.",
            schema={"type": ["object", "array"]},
            media=(JSON, NDJSON),
        ),
        answers={
            200: Content(meaning="What became of them; each is there once.", schema=Written),
            422: Content(meaning="`problems` says every reason. Nothing was changed."),
        },
    ),
    Route(
        method="GET",
        path="/v1/people/{id}/profile",
        endpoint=_read_profile,
        roles=KEEPERS,
        summary="What a person did, in figures: what they buy, where they are, and how often.",
        params=(SINCE,),
        answers={
            200: Content(meaning="The figures.", schema=ProfileRecord),
            404: Content(meaning="There is no person with this id."),
        },
    ),
)
