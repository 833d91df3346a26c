"""What became of the question whether somebody agrees? Their answers, in the store.

An answer is an event like any other, so that gates and segments see it; a yes is a consent as
well, in the same transaction. What the answers mean for the next question is ``optin``'s to say.
Every function works on the connection of the caller's transaction; times are Unix seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec
import sqlalchemy as sa

from beacon_gateway.model import check_id
from proximity.consent.grants import Grant, record_grant
from proximity.consent.optin import EVENTS, Answer, asked, free_at
from proximity.model import Event, format_time
from proximity.people.behaviour import MOST, hear, may_be_written, read_profiles, write_events
from proximity.people.facts import Happened, Profile
from proximity.store import schema

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sqlalchemy import Connection

    from proximity.campaigns.campaigns import Campaign, PlaceFacts
    from proximity.people.people import People

__all__ = ["Answered", "Asking", "answer", "status", "with_answers"]

_AT_ONCE = 200
"""Ids in one statement: SQLite may be built to take no more than 999 variables."""
_said = schema.events
# Of each answer its newest: no crowd of others stands before somebody's no.
_ranked = (
    sa.select(
        _said,
        sa.func.row_number()
        .over(partition_by=(_said.c.person, _said.c.name), order_by=_said.c.at.desc())
        .label("rank"),
    )
    .where(
        _said.c.name.in_(sorted(EVENTS)),
        _said.c.person.in_(sa.bindparam("persons", expanding=True)),
    )
    .subquery()
)
_ANSWERS = sa.select(_ranked).where(_ranked.c.rank <= MOST)


class Answered(Grant, frozen=True, kw_only=True):
    """What somebody answered when they were asked for a consent; a yes is recorded as such.

    ``campaign`` is what asked; an answer with the same ``id`` counts once. ``subject`` is on which
    device (else the person's own id). Raises ValueError where a field is out of range.
    """

    answer: Answer
    campaign: str | None = None
    subject: str | None = None
    id: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("campaign", "subject", "id"):
            value = getattr(self, name)
            if value is not None:
                check_id(value, name)


class Asking(msgspec.Struct, frozen=True, kw_only=True):
    """How it stands with the question for one purpose; times are RFC 3339 text.

    ``agreed``: a consent to it is in force. ``again`` says for each campaign that asks when it may
    ask (again): null, never; a moment that is past, now.
    """

    purpose: str
    agreed: bool
    shown: int
    later: int
    last: str | None
    at: str | None
    again: dict[str, str | None]


def answer(
    people: People,
    connection: Connection,
    said: Answered,
    *,
    now: float,
    places: Callable[[str], PlaceFacts],
    consent: Literal["required", "assumed"] = "required",
) -> bool:
    """Record an answer; whether it was new, and of somebody of whom anything may be written.

    Raises ProximityError as ``record_grant`` does.
    """
    properties: dict[str, str | float | bool | None] = {"purpose": said.purpose}
    if said.campaign is not None:
        properties["campaign"] = said.campaign
    event = Event(
        subject=said.subject or said.person,
        at=now,
        name=f"optin-{said.answer}",
        id=said.id,
        properties=properties,
    )
    wanted = may_be_written(connection, {said.person}, now, consent)
    if said.answer == "accepted":
        wanted = {said.person}  # they agree with this very answer
    if not write_events(connection, [hear(event, said.person)], wanted, places):
        return False
    if said.answer == "accepted":
        record_grant(people, connection, said, now)
    return True


def status(
    people: People,
    connection: Connection,
    person: str,
    *,
    now: float,
    places: Callable[[str], PlaceFacts],
    campaigns: Mapping[str, Campaign],
) -> tuple[Asking, ...]:
    """Tell how it stands with every question that a person was asked, or that a campaign asks."""
    profile = with_answers(connection, read_profiles(connection, [person], 0.0, places))[person]
    known = people.read(connection, person)
    asking: dict[str, list[Campaign]] = {}
    for campaign in campaigns.values():
        if campaign.asks is not None:
            asking.setdefault(campaign.asks, []).append(campaign)
    answers = {
        str(event.properties["purpose"])
        for event in profile.events
        if event.name.startswith("optin-") and event.properties.get("purpose")
    }
    found = []
    for purpose in sorted({*answers, *asking}):
        so_far = asked(profile, purpose)
        free = {
            one.id: free_at(so_far, one.most, one.back_off_s) for one in asking.get(purpose, ())
        }
        found.append(
            Asking(
                purpose=purpose,
                agreed=any(one.purpose == purpose and one.holds(now) for one in known.consents),
                shown=so_far.shown,
                later=so_far.later,
                last=so_far.last,
                at=None if so_far.at is None else format_time(so_far.at),
                again={name: None if at is None else format_time(at) for name, at in free.items()},
            )
        )
    return tuple(found)


def with_answers(connection: Connection, profiles: Mapping[str, Profile]) -> dict[str, Profile]:
    """Add to profiles what their people answered to questions for a consent, however long ago.

    A profile goes back only so far and holds only so much; a no stands for good.
    """
    names = sorted(profiles)
    found: dict[str, dict[str, Happened]] = {}
    for start in range(0, len(names), _AT_ONCE):
        for row in connection.execute(_ANSWERS, {"persons": names[start : start + _AT_ONCE]}):
            properties = msgspec.json.decode(row.properties)
            happened = Happened(row.name, row.at, properties, row.place, row.id)
            found.setdefault(row.person, {})[row.id] = happened
    return {person: _joined(one, found.get(person, {})) for person, one in profiles.items()}


def _joined(profile: Profile, answers: dict[str, Happened]) -> Profile:
    missing = answers.keys() - {event.id for event in profile.events}
    if not missing:
        return profile
    events = (*profile.events, *(answers[id_] for id_ in missing))
    return msgspec.structs.replace(
        profile, events=tuple(sorted(events, key=lambda event: (event.at, event.id)))
    )
