"""How are people read and edited over HTTP? In the form of contract 3, with ETags.

Knows records of people; what a consent means is ``proximity.people``'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import sqlalchemy as sa
from aiohttp import web

from proximity.model import Consent, Endpoint, Hours, Person, ProximityError, format_time
from proximity.people.file import people_problems
from proximity.server.auth import Caller, Role
from proximity.server.etags import NAMES, check_write, etag_of, unchanged
from proximity.server.problems import HEADERS, Problem, answer, json_answer
from proximity.server.reading import (
    AFTER_ID,
    LIMIT,
    SMALL_LIMIT,
    fault_of,
    numbered_lines,
    parse_json,
    read_body,
    read_id,
)
from proximity.server.routes import JSON, NDJSON, Content, Route
from proximity.store import StoreFailed, schema

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Connection

    from proximity.people.tagging import Plan
    from proximity.server.parts import Parts

T = TypeVar("T")

# An app's backend enrols its users; nobody else needs to know who they are.
KEEPERS = frozenset({Role.FEED, Role.ADMIN})
# A phone speaks for its own person, and for nobody else: ``whose`` sees to it.
SPEAKERS = KEEPERS | {Role.DEVICE}


class ConsentRecord(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename={"since": "from"}
):
    """A yes as it stands: ended where it was withdrawn. Times are RFC 3339, null: no bound."""

    purpose: str
    channel: str | None
    since: str | None
    until: str | None
    precision: str | None = None
    method: str | None = None
    text: str | None = None


class PreferenceRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a person wants or does not; what is left out is any. ``said_at`` is RFC 3339."""

    allow: bool
    topic: str | None = None
    channel: str | None = None
    place: str | None = None
    hours: tuple[Hours, ...] | None = None
    said_at: str | None = None


class PersonRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A person as contract 3 writes one; preferences and endpoints where there are any."""

    person: str
    subjects: tuple[str, ...]
    consents: tuple[ConsentRecord, ...]
    timezone: str | None
    languages: tuple[str, ...]
    attributes: dict[str, Any]
    preferences: tuple[PreferenceRecord, ...] = ()
    endpoints: tuple[Endpoint, ...] = ()


class PeoplePage(msgspec.Struct, frozen=True):
    """A page of people by id; ``cursor`` is the next request's ``after``."""

    items: tuple[PersonRecord, ...]
    cursor: str


class Recorded(msgspec.Struct, frozen=True, omit_defaults=True):
    """How many records were written, and how many not: of people who were erased."""

    recorded: int
    erased: int = 0


def consent_record(one: Consent) -> ConsentRecord:
    """Write a yes as HTTP carries it."""
    return ConsentRecord(
        purpose=one.purpose,
        channel=one.channel,
        since=None if one.since is None else format_time(one.since),
        until=None if one.until is None else format_time(one.until),
        precision=one.precision,
        method=one.method,
        text=one.text,
    )


def person_record(person: Person) -> PersonRecord:
    """Write a person as contract 3 does, times as RFC 3339 text."""
    return PersonRecord(
        person=person.person,
        subjects=person.subjects,
        consents=tuple(consent_record(one) for one in person.consents),
        timezone=person.timezone,
        languages=person.languages,
        attributes=person.attributes,
        preferences=preference_records(person),
        endpoints=person.endpoints,
    )


def preference_records(person: Person) -> tuple[PreferenceRecord, ...]:
    """Write a person's preferences, in the order in which they count."""
    return tuple(
        PreferenceRecord(
            allow=one.allow,
            topic=one.topic,
            channel=one.channel,
            place=one.place,
            hours=one.hours,
            said_at=None if one.said_at is None else format_time(one.said_at),
        )
        for one in person.preferences
    )


async def _read_page(request: web.Request, parts: Parts, _caller: Caller) -> web.StreamResponse:
    after, limit = AFTER_ID.of(request), LIMIT.of(request)

    def read(conn: Connection) -> list[PersonRecord]:
        return [
            person_record(parts.people.read(conn, name)) for name in known_ids(conn, after, limit)
        ]

    items = tuple(await parts.store.aread(read))
    return answer(PeoplePage(items, items[-1].person if items else after))


def known_ids(
    connection: Connection, after: str = "", limit: int = 1, *, only: str | None = None
) -> Sequence[str]:
    """List ids of people who have a profile, a subject or a consent, sorted; ``only`` one id."""
    tables = (schema.people, schema.subjects, schema.consents)
    every = sa.union(
        *(
            sa.select(t.c.person).where(t.c.person > after if only is None else t.c.person == only)
            for t in tables
        )
    ).subquery()
    return connection.scalars(sa.select(every.c.person).order_by(every.c.person).limit(limit)).all()


async def _read_one(request: web.Request, parts: Parts, _caller: Caller) -> web.StreamResponse:
    name = read_id(request)
    body = await parts.store.aread(lambda conn: _text(parts, conn, name))
    if body is None:
        raise Problem(404, "There is no person with this id.")
    etag = etag_of(body)
    if unchanged(request, etag):
        return web.Response(status=304, headers={**HEADERS, "ETag": etag})
    return json_answer(body, headers={"ETag": etag})


async def _put_one(request: web.Request, parts: Parts, _caller: Caller) -> web.StreamResponse:
    name = read_id(request)
    fields = parse_json(await read_body(request, SMALL_LIMIT), dict[str, Any])
    if fields.setdefault("person", name) != name:
        raise Problem(422, "The record's own id is not the id in the path: leave one of them out.")
    try:
        person = msgspec.convert(fields, Person)
    except msgspec.ValidationError as error:
        said = fault_of(error, Person)
        raise Problem(422, f"Nothing was changed: {said}", problems=[said]) from None
    check_people([person], parts.plan)

    def write(conn: Connection) -> tuple[bool, bytes]:
        before = _text(parts, conn, name)
        check_write(request, etag_of(before) if before is not None else None)
        parts.people.put(conn, person, source="http")
        after = _text(parts, conn, name)
        assert after is not None, "what was written can be read in the same transaction"
        return before is None, after

    new, body = await written(parts, write)
    return json_answer(body, 201 if new else 200, {"ETag": etag_of(body)})


async def _post_all(request: web.Request, parts: Parts, _caller: Caller) -> web.StreamResponse:
    found, unread = numbered_lines(await read_body(request, SMALL_LIMIT), Person, "people")
    people = [person for _, person in found]
    check_people(people, parts.plan, unread)

    left = await written(parts, lambda conn: parts.people.put_all(conn, people, source="http"))
    return answer(Recorded(len(people) - left, left))


async def _delete_one(request: web.Request, parts: Parts, _caller: Caller) -> web.StreamResponse:
    name = read_id(request)

    def write(conn: Connection) -> tuple[str, ...]:
        before = _text(parts, conn, name)
        if before is not None or "If-Match" in request.headers:
            check_write(request, etag_of(before) if before is not None else None)
        subjects = parts.people.read(conn, name).subjects
        if not parts.people.remove(conn, name):
            raise Problem(404, "There is no person with this id.")
        return name, *subjects

    # Nothing of theirs is taken any more; what the engine still knows of them goes as well.
    await erased(parts, write, tags=True)
    return web.Response(status=204, headers=HEADERS)


class _Erases(Exception):  # noqa: N818 - it says what the write does
    """A write turned out to erase other subjects than its row says: nothing was written."""

    def __init__(self, subjects: tuple[str, ...]) -> None:
        super().__init__()
        self.subjects = subjects


async def erased(
    parts: Parts, write: Callable[[Connection], tuple[str, ...]], *, tags: bool = False
) -> None:
    """Write to the people's tables; the engine forgets the subjects that ``write`` gives.

    ``tags``: and with them goes what was enrolled for them to carry.

    Both are one transaction. Who they are shows only in it, and the journal's row must name them:
    where it does not, all is undone and done again with the right names.
    """
    subjects: tuple[str, ...] = ()

    def work(conn: Connection) -> None:
        found = write(conn)
        if found != subjects:
            raise _Erases(found)

    while True:
        try:
            if subjects:
                await parts.ingest.forget(subjects, also=work, tags=tags)
            else:
                await parts.store.awrite(work)
            break
        except _Erases as found:
            subjects = found.subjects
    if parts.arming is not None:
        parts.arming.forget(subjects)
    parts.people.reload()


async def written(parts: Parts, write: Callable[[Connection], T]) -> T:
    """Write to the people's tables, then let what is remembered of them follow.

    Raises Problem 422 where the write is refused as it stands.
    """
    try:
        result = await parts.store.awrite(write)
    except StoreFailed:
        raise  # the disk's fault, and not the record's
    except ProximityError as error:
        raise Problem(
            422, f"Nothing was changed: {error.problems[0]}", problems=error.problems
        ) from None
    parts.people.reload()
    return result


def whose(connection: Connection, parts: Parts, caller: Caller, named: str | None) -> str:
    """Tell whom a request is about: who is named, or who carries the caller's device.

    Raises Problem: 403 where a device names somebody else, 422 where nobody is named.
    """
    if caller.role is not Role.DEVICE:
        if named is None:
            raise Problem(422, "person is missing: whom is it about?")
        return named
    subject = caller.speaks_for or ""
    own = parts.people.carriers(connection, (subject,))[subject]
    if named is not None and named != own:
        raise Problem(403, "This token speaks for somebody else's device.")
    return own


def check_people(people: Sequence[Person], plan: Plan, unread: Sequence[str] = ()) -> None:
    """Refuse what the shape alone does not show, and what was ``unread`` for its shape.

    Raises Problem 422 that names all of it.
    """
    problems = [*unread, *people_problems(people, plan)]
    if problems:
        raise Problem(422, f"Nothing was changed: {problems[0]}", problems=problems)


def _text(parts: Parts, connection: Connection, name: str) -> bytes | None:
    """Write a person as JSON; None where nothing is known of them."""
    if not known_ids(connection, only=name):
        return None
    return msgspec.json.encode(person_record(parts.people.read(connection, name)))


_BODY = Content(meaning="A person as in contract 3.", schema={"type": "object"}, media=(JSON,))
_ONE = Content(meaning="The person.", schema=PersonRecord, headers=("ETag",))
_GONE = Content(meaning="There is no person with this id.")
_STALE = Content(meaning="The condition (If-Match, If-None-Match) does not hold.")
_BAD = Content(meaning="It is no good record; `problems` says every reason. Nothing was changed.")

ROUTES = (
    Route(
        method="GET",
        path="/v1/people",
        endpoint=_read_page,
        roles=KEEPERS,
        summary="Page through the people who are known.",
        params=(AFTER_ID, LIMIT),
        answers={200: Content(meaning="A page, by id.", schema=PeoplePage)},
    ),
    Route(
        method="POST",
        path="/v1/people",
        endpoint=_post_all,
        roles=KEEPERS,
        summary="Add or replace people by id: all of them, or none.",
        body=Content(
            meaning="People, one JSON object a line, or a JSON array of them.",
            schema={"type": ["object", "array"]},
            media=(JSON, NDJSON),
        ),
        answers={
            200: Content(meaning="They are written.", schema=Recorded),
            422: _BAD,
        },
    ),
    Route(
        method="GET",
        path="/v1/people/{id}",
        endpoint=_read_one,
        roles=KEEPERS,
        summary="One person, with subjects and consents.",
        headers=("If-None-Match",),
        answers={
            200: _ONE,
            304: Content(meaning="It is as you know it (If-None-Match)."),
            404: _GONE,
        },
    ),
    Route(
        method="PUT",
        path="/v1/people/{id}",
        endpoint=_put_one,
        roles=KEEPERS,
        summary="Add or replace one person.",
        headers=NAMES,
        body=_BODY,
        answers={
            200: _ONE,
            201: Content(meaning="They are new.", schema=PersonRecord, headers=("ETag",)),
            412: _STALE,
            422: _BAD,
        },
    ),
    Route(
        method="DELETE",
        path="/v1/people/{id}",
        endpoint=_delete_one,
        roles=KEEPERS,
        summary="Forget a person: profile, subjects, consents, and where they are.",
        headers=("If-Match",),
        answers={204: Content(meaning="They are forgotten."), 404: _GONE, 412: _STALE},
    ),
)
