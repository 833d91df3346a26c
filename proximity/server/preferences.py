"""How is read and replaced what somebody wants? Preferences over HTTP, for those who keep people.

The person themselves says it on a page of theirs (``preferencepage``), to which the link is made
here.
"""

from __future__ import annotations

import urllib.parse
from typing import TYPE_CHECKING, Any

import msgspec

from proximity.channels.inbox import Inbox
from proximity.consent import links
from proximity.model import Person, Preference, ProximityError, format_time
from proximity.server.auth import Caller
from proximity.server.people import KEEPERS, PreferenceRecord, preference_records, written
from proximity.server.problems import Problem, answer
from proximity.server.reading import SMALL_LIMIT, parse_json, read_body, read_id
from proximity.server.routes import JSON, Content, Route
from proximity.store.keys import store_key

if TYPE_CHECKING:
    from aiohttp import web
    from sqlalchemy import Connection

    from proximity.people.tagging import AttributeRule
    from proximity.server.parts import Parts

DOES = "preferences"
"""What the claim ``do`` of a link to one's preferences says, so that no other passes for one."""
LINK_S = 30 * 86400.0
"""How long such a link is good, seconds. It shows what somebody likes, so that it lives shorter
than one that can only say no; a mail is read within the month or never."""


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What a person may be asked: an attribute, what it may be, and what they said so far."""

    attribute: str
    type: str
    ask: dict[str, str]
    one_of: tuple[str | float | bool | None, ...]
    value: Any


class Wishes(msgspec.Struct, frozen=True, kw_only=True):
    """A person's preferences in the order in which they count, and what they may be asked."""

    preferences: tuple[PreferenceRecord, ...]
    questions: tuple[Question, ...]


class Link(msgspec.Struct, frozen=True):
    """The way to a person's own page, and until when it is good (RFC 3339)."""

    url: str
    until: str


def wishes(person: Person, parts: Parts) -> Wishes:
    """Write what a person wants, and the questions of the tagging plan."""
    return Wishes(
        preferences=preference_records(person),
        questions=tuple(
            Question(
                attribute=rule.name,
                type=rule.kind or "text",
                ask=rule.ask,
                one_of=rule.one_of,
                value=person.attributes.get(rule.name),
            )
            for rule in questions(parts)
        ),
    )


def questions(parts: Parts) -> list[AttributeRule]:
    """Give what people may be asked: the plan's questions, and the inbox's where there is one."""
    plan = parts.plan
    used = {name for one in parts.campaigns().campaigns.values() for name in one.channels}
    rules = plan.answerable if Inbox.name in used else plan.attributes
    return [rule for rule in rules.values() if rule.editable]


async def known(parts: Parts, name: str) -> Person:
    """Read a person as they stand. Raises Problem 404 where nothing is known of them."""
    person = await parts.store.aread(lambda conn: parts.people.read(conn, name))
    if person == Person(person=name):
        raise Problem(404, "There is no person with this id.")
    return person


async def _read(request: web.Request, parts: Parts, _caller: Caller) -> web.StreamResponse:
    return answer(wishes(await known(parts, read_id(request)), parts))


async def _replace(request: web.Request, parts: Parts, _caller: Caller) -> web.StreamResponse:
    name = read_id(request)
    said = parse_json(await read_body(request, SMALL_LIMIT), tuple[Preference, ...])
    try:
        Person(person=name, preferences=said)
    except ValueError as error:  # more of them, or of their hours, than one may have
        raise Problem(422, f"{error}.") from None
    await known(parts, name)

    def write(conn: Connection) -> Person:
        parts.people.prefer(conn, name, said)
        return parts.people.read(conn, name)

    return answer(wishes(await written(parts, write), parts))


async def _make_link(request: web.Request, parts: Parts, _caller: Caller) -> web.StreamResponse:
    name = read_id(request)
    await known(parts, name)
    now = parts.clock()
    key = await parts.store.awrite(lambda conn: store_key(conn, "links", now))
    until = now + LINK_S
    try:
        signed = links.sign(key, {"do": DOES, "person": name}, until)
    except ProximityError as error:
        raise Problem(422, str(error)) from None
    base = (parts.campaigns().public_url or "").rstrip("/")
    url = f"{base}/preferences/{urllib.parse.quote(signed)}"
    return answer(Link(url, format_time(until)), 201)


_ONE = Content(meaning="What they want, and what they may be asked.", schema=Wishes)
_GONE = Content(meaning="There is no person with this id.")
_BAD = Content(meaning="`problems` says every reason. Nothing was changed.")

ROUTES = (
    Route(
        method="GET",
        path="/v1/people/{id}/preferences",
        endpoint=_read,
        roles=KEEPERS,
        summary="What a person wants to hear of, and what they may be asked.",
        answers={200: _ONE, 404: _GONE},
    ),
    Route(
        method="PUT",
        path="/v1/people/{id}/preferences",
        endpoint=_replace,
        roles=KEEPERS,
        summary="Replace a person's preferences; a later row wins over an earlier one.",
        body=Content(meaning="Rows of preferences.", schema={"type": "array"}, media=(JSON,)),
        answers={200: _ONE, 404: _GONE, 422: _BAD},
    ),
    Route(
        method="POST",
        path="/v1/people/{id}/preferences/link",
        endpoint=_make_link,
        roles=KEEPERS,
        summary="Make the link to a person's own page of preferences.",
        answers={201: Content(meaning="The link; it is a credential.", schema=Link), 404: _GONE},
    ),
)
