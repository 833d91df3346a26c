"""Which segments are there, how many people are in each, and is this person? Over HTTP.

The campaigns file names them; nobody makes one here, so that no question can be shaped around a
person. What a segment means is ``proximity.segments.rules``'.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from proximity.consent.purposes import PROFILING, refuses
from proximity.model import Person
from proximity.people.behaviour import read_profiles
from proximity.people.facts import NOTHING, Profile
from proximity.segments.size import Size, measure
from proximity.server.auth import Caller
from proximity.server.people import KEEPERS
from proximity.server.problems import Problem, answer
from proximity.server.reading import AFTER_ID, LIMIT, id_param, read_id
from proximity.server.routes import READERS, Content, Route

if TYPE_CHECKING:
    from aiohttp import web
    from sqlalchemy import Connection

    from proximity.segments.rules import Rule
    from proximity.server.parts import Parts


class SegmentRecord(msgspec.Struct, frozen=True):
    """A segment: whom it means, and of how many rules it is made."""

    id: str
    sentence: str
    rules: int


class SegmentPage(msgspec.Struct, frozen=True):
    """A page of segments by id; ``cursor`` is the next request's ``after``."""

    items: tuple[SegmentRecord, ...]
    cursor: str


class Membership(msgspec.Struct, frozen=True):
    """Whether a segment means a person, and what was found, rule by rule."""

    segment: str
    person: str
    holds: bool
    because: dict[str, Any]


def segment_record(name: str, rule: Rule) -> SegmentRecord:
    """Write a segment."""
    return SegmentRecord(id=name, sentence=rule.sentence(), rules=rule.size)


def membership(name: str, rule: Rule, person: Person, profile: Profile, now: float) -> Membership:
    """Say whether a segment means a person at Unix second ``now``."""
    if refuses(person.consents, PROFILING, now):
        profile = profile.answers()
    because = rule.explain(person, profile, now)
    return Membership(name, person.person, because["holds"], because)


async def _read_page(request: web.Request, parts: Parts, _caller: Caller) -> web.StreamResponse:
    after, limit = AFTER_ID.of(request), LIMIT.of(request)
    every = parts.campaigns().segments
    names = [name for name in sorted(every) if name > after][:limit]
    items = tuple(segment_record(name, every[name]) for name in names)
    return answer(SegmentPage(items, names[-1] if names else after))


async def _size(request: web.Request, parts: Parts, _caller: Caller) -> web.StreamResponse:
    name, rule = _named(request, parts)
    now, facts = parts.clock(), parts.places.facts
    return answer(await parts.store.aread(lambda conn: measure(conn, name, rule, now, facts)))


async def _explain(request: web.Request, parts: Parts, _caller: Caller) -> web.StreamResponse:
    name, rule = _named(request, parts)
    whom, now = PERSON.of(request), parts.clock()

    def read(conn: Connection) -> Membership:
        back_s = rule.back_s()
        profile = NOTHING
        if back_s is not None:
            profile = read_profiles(conn, (whom,), now - back_s, parts.places.facts)[whom]
        return membership(name, rule, parts.people.read(conn, whom), profile, now)

    return answer(await parts.store.aread(read))


def _named(request: web.Request, parts: Parts) -> tuple[str, Rule]:
    name = read_id(request)
    rule = parts.campaigns().segments.get(name)
    if rule is None:
        raise Problem(404, "There is no segment with this id.")
    return name, rule


PERSON = id_param("person", "whom it is about", required=True)
_GONE = Content(meaning="There is no segment with this id.")

ROUTES = (
    Route(
        method="GET",
        path="/v1/segments",
        endpoint=_read_page,
        roles=READERS,
        summary="Page through the segments.",
        params=(AFTER_ID, LIMIT),
        answers={200: Content(meaning="A page, by id.", schema=SegmentPage)},
    ),
    Route(
        method="GET",
        path="/v1/segments/{id}/size",
        endpoint=_size,
        roles=READERS,
        summary="How many people a segment means now, without the last digit.",
        answers={200: Content(meaning="Its size.", schema=Size), 404: _GONE},
    ),
    Route(
        method="GET",
        path="/v1/segments/{id}/explain",
        endpoint=_explain,
        roles=KEEPERS,
        summary="Whether a segment means a person, and why.",
        params=(PERSON,),
        answers={200: Content(meaning="What was found.", schema=Membership), 404: _GONE},
    ),
)
