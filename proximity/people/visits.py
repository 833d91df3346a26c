"""The question: where have people been: visits in the store, and in which of them an event lies.

A visit is written instead of a trace. The place of an event is that of the visit it lies in,
whichever came first, so that the order in which records arrive changes nothing. Every function
works on the connection of the caller's transaction. Knows no engine; what people did there is
``behaviour``'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from proximity.store import schema
from proximity.store.ledger import put_missing

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from sqlalchemy import Connection

    from proximity.campaigns.campaigns import PlaceFacts
    from proximity.model import Transition

__all__ = ["deepest", "settle", "write_visits"]

_AT_ONCE = 200
"""Ids in one statement; one may name several lists, and SQLite takes 999 variables."""


def write_visits(
    connection: Connection,
    transitions: Sequence[Transition],
    persons: Mapping[str, str],
    wanted: Collection[str],
    places: Callable[[str], PlaceFacts],
) -> None:
    """Keep the table of visits up with transitions; new ones are those of ``wanted`` people.

    Whoever only passed a place has not visited it. ``persons`` maps subjects to people, ``places``
    gives the facts of a place.
    """
    rows: dict[str, dict[str, Any]] = {}
    exits: dict[str, float] = {}
    gone: list[str] = []
    earliest: dict[str, float] = {}
    for one in transitions:
        if one.kind not in {"enter", "exit", "corrected"}:
            continue
        person = persons[one.subject]
        times = [one.at, one.enter_at, one.because.get("was_enter_at")]
        earliest[person] = min(t for t in (*times, earliest.get(person)) if t is not None)
        if one.kind == "exit":
            if one.visit in rows:
                rows[one.visit]["exit_at"] = one.at
            elif one.at is not None:
                exits[one.visit] = one.at
            continue
        if one.kind == "corrected":
            exits.pop(one.visit, None)
            rows.pop(one.visit, None)
            gone.append(one.visit)
        entered = one.enter_at if one.kind == "corrected" else one.at
        if entered is not None and person in wanted:
            rows[one.visit] = {
                "visit": one.visit,
                "person": person,
                "subject": one.subject,
                "place": one.place,
                "enter_at": entered,
                "exit_at": one.exit_at,
            }
    table = schema.visits
    for start in range(0, len(gone), _AT_ONCE):
        some = gone[start : start + _AT_ONCE]
        connection.execute(table.delete().where(table.c.visit.in_(some)))
    if rows:
        put_missing(connection, table, list(rows.values()))
    if exits:
        connection.execute(
            _EXIT, [{"of_visit": visit, "left_at": at} for visit, at in exits.items()]
        )
    settle(connection, earliest, places)


_EXIT = (
    schema.visits.update()
    .where(schema.visits.c.visit == sa.bindparam("of_visit"))
    .values(exit_at=sa.bindparam("left_at"))
)
_EVENTS_SINCE = sa.select(
    schema.events.c.seq, schema.events.c.subject, schema.events.c.at, schema.events.c.place
).where(
    schema.events.c.person == sa.bindparam("person"), schema.events.c.at >= sa.bindparam("since")
)
_VISITS_SINCE = sa.select(schema.visits).where(
    schema.visits.c.person == sa.bindparam("person"),
    sa.or_(schema.visits.c.exit_at.is_(None), schema.visits.c.exit_at > sa.bindparam("since")),
)
_PLACE = (
    schema.events.update()
    .where(schema.events.c.seq == sa.bindparam("of_event"))
    .values(place=sa.bindparam("in_place"))
)


def settle(
    connection: Connection,
    earliest: Mapping[str, float],
    places: Callable[[str], PlaceFacts],
) -> None:
    """Settle the places of people's events since the Unix second of each; most have none."""
    persons = list(earliest)
    for start in range(0, len(persons), _AT_ONCE):
        some = persons[start : start + _AT_ONCE]
        since = min(earliest[person] for person in some)
        for person in connection.scalars(_DID, {"persons": some, "since": since}).all():
            _settle_places(connection, person, earliest[person], places)


_DID = (
    sa.select(schema.events.c.person)
    .distinct()
    .where(
        schema.events.c.person.in_(sa.bindparam("persons", expanding=True)),
        schema.events.c.at >= sa.bindparam("since"),
    )
)


def _settle_places(
    connection: Connection, person: str, since: float, places: Callable[[str], PlaceFacts]
) -> None:
    """Say of a person's events since then in which visit of their subject they lie: the deepest."""
    events = connection.execute(_EVENTS_SINCE, {"person": person, "since": since}).all()
    if not events:
        return
    visits = connection.execute(_VISITS_SINCE, {"person": person, "since": since}).all()
    moved = []
    for event in events:
        around = {
            visit.place
            for visit in visits
            if visit.subject == event.subject
            and visit.enter_at <= event.at
            and (visit.exit_at is None or event.at < visit.exit_at)
        }
        place = deepest(around, places)
        if place != event.place:
            moved.append({"of_event": event.seq, "in_place": place})
    if moved:
        connection.execute(_PLACE, moved)


def deepest(around: Collection[str], places: Callable[[str], PlaceFacts]) -> str | None:
    """Name the place that lies deepest in the others; of equal ones the first by name."""
    return min(around, key=lambda place: (-len(places(place).parents), place), default=None)
