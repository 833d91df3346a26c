"""The question: what have people done: events in the store, and with visits what they make of it.

What comes of journal rows is written here, once, and read back as profiles. Of somebody who agrees
to nothing, or was erased, nothing is written. Every function works on the connection of the
caller's transaction. Knows no engine and no campaign; where somebody was is ``visits``'s, what they
like ``affinity``'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec
import sqlalchemy as sa

from proximity.consent import objections
from proximity.consent.consents import standing
from proximity.model import digest
from proximity.people.facts import NOTHING, Happened, Profile, Stay
from proximity.people.tagging import NO_PLAN
from proximity.people.visits import settle
from proximity.store import schema
from proximity.store.ledger import insert_new

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from sqlalchemy import Connection

    from proximity.campaigns.campaigns import PlaceFacts
    from proximity.model import Event
    from proximity.people.people import People
    from proximity.people.tagging import Plan

__all__ = [
    "MESSAGE_SENT", "MOST", "PREFERENCE_SET", "Heard", "Written", "event_name", "hear", "listed",
    "may_be_written", "quarantined", "read_profiles", "write_events", "write_history",
]  # fmt: skip

MESSAGE_SENT = "message-sent"
PREFERENCE_SET = "preference-set"

MOST = 2_000
"""Events, and visits, of one person that a profile holds: five a day for a year, and to spare."""
_MOST_KEPT = 16 * 1024
"""Characters of an event that is set aside: enough to see what is wrong with it. Of a longer one
the properties are left out; the problem names those that are too long."""
_AHEAD_S = 60.0
"""How far ahead of our clock an event of long ago may be, seconds: as far as any record that comes
in. A purchase of next year would outlive every rule and speak of somebody for ever."""
_AT_ONCE = 200
"""Ids in one statement; one may name several lists, and SQLite takes 999 variables."""

_decode = msgspec.json.Decoder(dict[str, str | float | bool | None]).decode


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """An event as it is to be written: whose it is, and what the tagging plan says against it.

    ``event`` has its own name in the store as ``id`` and only the properties that are kept; ``own``
    is the id under which its sender knows it.
    """

    event: Event
    person: str
    problems: tuple[str, ...] = ()
    own: str | None = None

    @property
    def name(self) -> str:
        """Its name in the store."""
        return self.event.id or ""


def event_name(event: Event) -> str:
    """Name an event in the store: by its sender and its own id, else by all that it says.

    The same event sent again has the same name, whenever it comes.
    """
    if event.id is not None:
        return digest("event", event.subject, event.id)
    said = msgspec.json.encode(sorted(event.properties.items())).decode()
    return digest("event", event.subject, None, event.at, event.name, said)


def hear(event: Event, person: str, plan: Plan = NO_PLAN) -> Heard:
    """Judge an event by the tagging plan."""
    problems = tuple(plan.problems(event))
    kept = plan.shown(event) if problems else plan.kept(event)
    named = msgspec.structs.replace(event, id=event_name(event), properties=kept)
    return Heard(event=named, person=person, problems=problems, own=event.id)


def may_be_written(
    connection: Connection,
    persons: Collection[str],
    now: float,
    consent: Literal["required", "assumed"] = "required",
) -> set[str]:
    """Give those of these people of whom something may be written at Unix second ``now``.

    Asked again when it is written: between a record's arrival and that moment somebody may have
    withdrawn, or been erased.
    """
    gone = objections.marked(connection, persons, "erased")
    left = [person for person in persons if person not in gone]
    if consent == "assumed":
        return set(left)
    agreed = standing(connection, left)
    return {person for person in left if any(one.holds(now) for one in agreed.get(person, ()))}


# Events ---------------------------------------------------------------------------------------


def write_events(
    connection: Connection,
    heard: Sequence[Heard],
    wanted: Collection[str],
    places: Callable[[str], PlaceFacts],
) -> list[Heard]:
    """Write events of ``wanted`` people; give those that are new and well-formed, in order.

    What the plan speaks against goes to the quarantine. What another system says that it sent
    counts as a send from here on.
    """
    kept = [one for one in heard if one.person in wanted and not one.problems]
    aside = [one for one in heard if one.person in wanted and one.problems]
    if aside:
        connection.execute(
            insert_new(connection.dialect.name, schema.quarantine, "seq"), list(map(_aside, aside))
        ).all()
    if not kept:
        return []
    rows = {one.name: _row(one) for one in reversed(kept)}  # of two alike the first
    statement = insert_new(connection.dialect.name, schema.events, "id")
    new = set(connection.scalars(statement, list(rows.values())[::-1]))
    fresh = []
    for one in kept:
        if one.name in new:
            new.discard(one.name)
            fresh.append(one)
    sent = [_send(one) for one in fresh if one.event.name == MESSAGE_SENT]
    if sent:
        _tell_apart(connection, sent)
        connection.execute(
            insert_new(connection.dialect.name, schema.sends, "decision"), sent
        ).all()
    earliest: dict[str, float] = {}
    for one in fresh:
        earliest[one.person] = min(one.event.at, earliest.get(one.person, one.event.at))
    settle(connection, earliest, places)
    return fresh


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """What became of events of long ago; they add up to as many as there were."""

    accepted: int = 0
    duplicate: int = 0
    unconsented: int = 0
    quarantined: int = 0


def write_history(
    connection: Connection,
    events: Sequence[Event],
    people: People,
    plan: Plan,
    places: Callable[[str], PlaceFacts],
    *,
    now: float,
    consent: Literal["required", "assumed"] = "required",
) -> Written:
    """Write events of long ago, as a till or a mail program has them: they trigger nothing.

    Records that come in are dropped where they are late, since presence must end; what somebody
    bought last year is no less true for that. What has not happened yet is set aside. Written
    twice it is there once. ``now`` is Unix seconds.
    """
    persons = people.carriers(connection, {event.subject for event in events})
    heard = [
        hear(msgspec.structs.replace(event, received_at=now), persons[event.subject], plan)
        for event in events
    ]
    heard = [
        one
        if one.event.at <= now + _AHEAD_S
        else msgspec.structs.replace(one, problems=(*one.problems, "at is ahead of our clock"))
        for one in heard
    ]
    wanted = may_be_written(connection, {one.person for one in heard}, now, consent)
    fresh = write_events(connection, heard, wanted, places)
    for one in fresh:
        if one.event.name == PREFERENCE_SET:
            people.answer(connection, one.person, one.event, plan)
    aside = sum(one.person in wanted and bool(one.problems) for one in heard)
    unwanted = sum(one.person not in wanted for one in heard)
    return Written(
        accepted=len(fresh),
        duplicate=len(heard) - len(fresh) - aside - unwanted,
        unconsented=unwanted,
        quarantined=aside,
    )


def _row(heard: Heard) -> dict[str, Any]:
    event = heard.event
    return {
        "id": event.id,
        "person": heard.person,
        "subject": event.subject,
        "name": event.name,
        "at": event.at,
        "place": None,
        "properties": msgspec.json.encode(event.properties).decode(),
    }


def _aside(heard: Heard) -> dict[str, Any]:
    event = heard.event
    text = msgspec.json.encode(event).decode()
    if len(text) > _MOST_KEPT:  # cut within, so that it can still be read, and exported
        text = msgspec.json.encode(msgspec.structs.replace(event, properties={})).decode()
    return {
        "id": event.id,
        "person": heard.person,
        "name": event.name,
        "at": event.at if event.received_at is None else event.received_at,
        "problem": "; ".join(heard.problems[:20]),
        "event": text,
    }


def _send(heard: Heard) -> dict[str, Any]:
    """Write what another system sent as a send: it counts against caps as ours do."""
    said = heard.event.properties
    system = str(said["system"])
    return {
        "decision": f"{system}:{said.get('id') or heard.own or heard.name}",
        "person": heard.person,
        "campaign": str(said.get("campaign") or ""),
        "purpose": str(said.get("purpose") or "marketing"),  # in doubt it was advertising
        "place": "",
        "visit": "",
        "at": heard.event.at,
        "channel": said.get("channel"),
        "system": system,
    }


def _tell_apart(connection: Connection, sent: Sequence[dict[str, Any]]) -> None:
    """Name sends so that they are each person's own: one mailing may have one id for all."""
    owners: dict[str, str] = {}
    names = [row["decision"] for row in sent]
    for start in range(0, len(names), _AT_ONCE):
        found = connection.execute(_OWNERS, {"names": names[start : start + _AT_ONCE]})
        owners.update((name, person) for name, person in found)
    for row in sent:
        if owners.setdefault(row["decision"], row["person"]) != row["person"]:
            row["decision"] += "/" + digest("send", row["person"])


_OWNERS = sa.select(schema.sends.c.decision, schema.sends.c.person).where(
    schema.sends.c.decision.in_(sa.bindparam("names", expanding=True))
)


# Reading --------------------------------------------------------------------------------------


def read_profiles(
    connection: Connection,
    persons: Iterable[str],
    since: float,
    places: Callable[[str], PlaceFacts],
) -> dict[str, Profile]:
    """Read what these people did since Unix second ``since``, and the visits not over by then.

    At most MOST events and MOST visits of each, the newest. Whoever did nothing has NOTHING.
    """
    asked = list(dict.fromkeys(persons))
    events: dict[str, list[Happened]] = {}
    visits: dict[str, list[Stay]] = {}
    for start in range(0, len(asked), _AT_ONCE):
        of = {"persons": asked[start : start + _AT_ONCE], "since": since, "most": MOST}
        for row in connection.execute(_EVENTS, of):
            happened = Happened(row.name, row.at, _decode(row.properties), row.place, row.id)
            events.setdefault(row.person, []).append(happened)
        for row in connection.execute(_VISITS, of):
            tags = places(row.place).venue_tags
            stay = Stay(row.visit, row.place, row.enter_at, row.exit_at, tags)
            visits.setdefault(row.person, []).append(stay)
    return {
        person: Profile(tuple(events.get(person, ())), tuple(visits.get(person, ())), since)
        if person in events or person in visits
        else NOTHING
        for person in asked
    }


def _newest(table: sa.Table, at: str, then: str, *where: sa.ColumnElement[bool]) -> Any:
    """Select the newest rows of each person, oldest first; equal times in the order of ``then``."""
    rank = sa.func.row_number().over(
        partition_by=table.c.person, order_by=(table.c[at].desc(), table.c[then].desc())
    )
    ranked = (
        sa.select(table, rank.label("rank"))
        .where(table.c.person.in_(sa.bindparam("persons", expanding=True)), *where)
        .subquery()
    )
    return (
        sa.select(ranked)
        .where(ranked.c.rank <= sa.bindparam("most"))
        .order_by(ranked.c.person, ranked.c[at], ranked.c[then])
    )


_EVENTS = _newest(schema.events, "at", "id", schema.events.c.at >= sa.bindparam("since"))
_VISITS = _newest(
    schema.visits,
    "enter_at",
    "visit",
    sa.or_(schema.visits.c.exit_at.is_(None), schema.visits.c.exit_at >= sa.bindparam("since")),
)


class Listed(msgspec.Struct, frozen=True):
    """An event as it stands in the store; ``at`` is Unix seconds."""

    seq: int
    id: str
    person: str
    subject: str
    name: str
    at: float
    place: str | None
    properties: dict[str, str | float | bool | None]


class Aside(msgspec.Struct, frozen=True):
    """An event that was set aside: what it calls itself, when it came, and what is wrong."""

    seq: int
    id: str
    person: str
    name: str
    at: float
    problem: str
    event: str


def listed(
    connection: Connection,
    after: int = 0,
    limit: int = 100,
    *,
    person: str | None = None,
    name: str | None = None,
) -> list[Listed]:
    """Read events after a cursor, in order of arrival; those of one person, of one name."""
    found = []
    for row in _page(connection, schema.events, after, limit, person, name):
        fields = dict(row)
        fields["properties"] = _decode(fields["properties"])
        found.append(Listed(**fields))
    return found


def quarantined(
    connection: Connection,
    after: int = 0,
    limit: int = 100,
    *,
    person: str | None = None,
    name: str | None = None,
) -> list[Aside]:
    """Read what was set aside after a cursor, as ``listed`` does."""
    return [
        Aside(**row) for row in _page(connection, schema.quarantine, after, limit, person, name)
    ]


def _page(
    connection: Connection,
    table: sa.Table,
    after: int,
    limit: int,
    person: str | None,
    name: str | None,
) -> sa.MappingResult:
    statement = sa.select(table).where(table.c.seq > after).order_by(table.c.seq).limit(limit)
    for column, value in ((table.c.person, person), (table.c.name, name)):
        if value is not None:
            statement = statement.where(column == value)
    return connection.execute(statement).mappings()
