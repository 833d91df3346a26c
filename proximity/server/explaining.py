"""Why did a person get an offer, or not? Asked over HTTP, by three kinds of readers.

Who asks decides what may be asked: an app's backend, or a person's own device, is told what is for
the person. The explanation is ``proximity.explain``'s, its words ``readers``' and ``sentences``'.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

from proximity.explain.explain import Explanation, explain, with_recent
from proximity.explain.readers import AUDIENCES, Table, table
from proximity.explain.sentences import Told, tell
from proximity.person import language_tag
from proximity.server.auth import Caller, Role
from proximity.server.problems import Problem, answer
from proximity.server.reading import AT, id_param
from proximity.server.routes import READERS, Content, Param, Route

if TYPE_CHECKING:
    from aiohttp import web
    from sqlalchemy import Connection

    from proximity.model import Person
    from proximity.server.parts import Parts

# They speak for people, and may be told what people are told.
TELLERS = frozenset({Role.FEED, Role.DEVICE})


def _read_audience(text: str) -> str:
    if text not in AUDIENCES:
        raise ValueError(f"it must be one of {', '.join(AUDIENCES)}")
    return text


SUBJECT = id_param("subject", "the device or tag it is about")
PERSON = id_param("person", "the person it is about, with all that they carry")
PLACE = id_param("place", "only the visit to this place")
FOR = Param(
    name="for",
    schema={"type": "string", "enum": [*AUDIENCES]},
    meaning="for whom it is: " + "; ".join(f"{name}, {what}" for name, what in AUDIENCES.items()),
    read=_read_audience,
)
LANGUAGE = Param(
    name="language",
    schema={"type": "string", "maxLength": 35},
    meaning="a language tag, where it is not to be the person's own",
    read=language_tag,
)


async def _explain(request: web.Request, parts: Parts, caller: Caller) -> web.StreamResponse:
    subject, person = SUBJECT.of(request), PERSON.of(request)
    place, at, language = PLACE.of(request), AT.of(request), LANGUAGE.of(request)
    audience = FOR.of(request) or ("person" if caller.role in TELLERS else "engineer")
    if subject is None and person is None:
        raise Problem(400, "The query parameter subject is missing: whom it is about, or person.")
    if subject is not None and person is not None:
        # Else what one person's device did would be told as another's.
        raise Problem(400, "Ask of a subject or of a person, not of both.")
    if caller.role in TELLERS and audience != "person":
        raise Problem(403, "This token speaks for people: ask with for=person.")
    if caller.role is Role.DEVICE and (person is not None or subject != caller.speaks_for):
        raise Problem(403, f"This token speaks for {caller.speaks_for!r} alone.")
    campaigns, facts = parts.campaigns(), parts.places.facts

    def read(conn: Connection) -> tuple[Explanation, Person]:
        found = explain(
            conn, subject=subject, person=person, place=place, at=at, campaigns=campaigns,
            facts=facts,
        )  # fmt: skip
        return found, parts.people.read(conn, found.person or subject or "")

    found, who = await parts.store.aread(read)
    until = parts.clock() if at is None else at
    # Asked here and not in a thread: the engine changes between two steps of this loop.
    latest = math.inf if at is None else at  # a phone's clock may be a little ahead of ours
    recent = {one: parts.ingest.engine.near(one, latest) for one in found.subjects}
    agreed = parts.assumed or any(parts.people.may_process(one, until) for one in found.subjects)
    refused: Counter[str] = Counter()
    for one in found.subjects:
        refused.update(parts.ingest.refused(one))
    found = with_recent(found, recent, agreed=agreed, at=at, facts=facts, refused=refused)
    if audience == "engineer":
        return answer(found)
    if audience == "marketer":
        return answer(table(found))
    zone = who.timezone
    if zone is None and found.visits:
        zone = facts(found.visits[0].place).timezone
    return answer(tell(found, who.languages if language is None else (language,), zone))


ROUTES = (
    Route(
        method="GET",
        path="/v1/explain",
        endpoint=_explain,
        roles=READERS | TELLERS,
        summary="Why a person did or did not get an offer.",
        params=(SUBJECT, PERSON, PLACE, AT, FOR, LANGUAGE),
        answers={
            200: Content(
                meaning="What is known, and why; what it holds depends on `for`.",
                schema=(Explanation, Table, Told),
            ),
        },
    ),
)
