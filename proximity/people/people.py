"""The question: who carries which subject, and what is known of them.

Profiles and subjects are replaced as they change; what people agreed to is ``consents``' ledger,
and what may be known of where they are ``precision``'s ladder. This file knows neither campaigns
nor gates.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec
import sqlalchemy as sa

from proximity.consent import consents
from proximity.consent.consents import load_consents, standing
from proximity.consent.objections import any_erased, marked, refuse_erased
from proximity.consent.precision import allowed
from proximity.model import Person, ProximityError
from proximity.people import endpoints, profiles
from proximity.people.file import read_people
from proximity.store import schema
from proximity.store.journal import read_meta
from proximity.store.ledger import insert_new
from proximity.sync.clocks import Told, lock, note_people
from proximity.sync.fields import PERSON

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from sqlalchemy import Connection

    from proximity.consent.precision import Allowed
    from proximity.dispatch.outbox import InFlight
    from proximity.model import Consent, Event, Preference
    from proximity.people.tagging import Plan
    from proximity.store import Store

__all__ = ["People", "load_consents", "read_people"]

_MOST_KNOWN = 100_000
"""People and subjects remembered between look-ups, about 50 MB; the store has the rest."""
_MOST_PROBLEMS = 100
_AT_ONCE = 500
"""Ids in one statement: SQLite may be built to take no more than 999 variables."""
_VERSION = "people_version"

# Made once: every decision and every hand-over reads a person, and building costs more than asking.
_SUBJECTS = (
    sa.select(schema.subjects.c.person, schema.subjects.c.subject)
    .where(schema.subjects.c.person.in_(sa.bindparam("persons", expanding=True)))
    .order_by(schema.subjects.c.subject)
)
_CARRIERS = sa.select(schema.subjects.c.subject, schema.subjects.c.person).where(
    schema.subjects.c.subject.in_(sa.bindparam("subjects", expanding=True))
)
_MOVE = (
    schema.meta.update()
    .where(schema.meta.c.key == _VERSION)
    .values(value=sa.cast(sa.cast(schema.meta.c.value, sa.BigInteger) + 1, sa.Text))
)


class People:
    """Profiles and consents, remembered until the store's version of them moves.

    ``clock`` dates what is recorded (Unix seconds).
    """

    def __init__(self, store: Store, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock
        self._version: str | None = None
        self._persons: dict[str, str] = {}
        self._profiles: dict[str, Person | None] = {}
        self._consents: dict[str, tuple[Consent, ...]] = {}
        self._erased: dict[str, bool] = {}
        self._any_erased: bool | None = None

    def reload(self) -> bool:
        """Forget what is remembered where anyone has changed people since; tells whether."""
        version = self._store.read(lambda conn: read_meta(conn, _VERSION))
        if version == self._version:
            return False
        self._version = version
        self._forget()
        return True

    def person_of(self, subject: str) -> str:
        """Tell who carries a subject: the subject itself where nobody said."""
        found = self._persons.get(subject)
        if found is None:
            self.know((subject,))
            found = self._persons[subject]
        return found

    def know(self, subjects: Collection[str], *, consents: bool = False) -> None:
        """Remember who carries these subjects, asking once for all that are not remembered yet.

        ``consents``: and what those people agreed to. Whoever looks up many subjects one by one
        calls this first. Raises StoreFailed.
        """
        self._bound()
        strange = [subject for subject in subjects if subject not in self._persons]
        if strange:
            found = self._store.read(lambda c: _carriers(c, strange))
            self._persons.update((subject, found.get(subject, subject)) for subject in strange)
        if consents:
            persons = {self._persons[subject] for subject in subjects}
            unread = [person for person in persons if person not in self._consents]
            if unread:
                found_of = self._store.read(lambda c: standing(c, unread))
                self._consents.update((person, found_of.get(person, ())) for person in unread)

    def get(self, person: str) -> Person | None:
        """Give a person with subjects and consents; None where nothing is known of them."""
        if person not in self._profiles:
            self._bound()
            self._profiles[person] = self._store.read(lambda c: _find(c, person))
        return self._profiles[person]

    def may_process(self, subject: str, at: float) -> bool:
        """Whether the subject's person has any consent in force at Unix second ``at``.

        Whoever agreed to any purpose agreed to the processing that it needs.
        """
        return any(consent.holds(at) for consent in self._agreed(subject))

    def allows(self, subject: str, at: float) -> Allowed | None:
        """Tell what may be kept of where a subject is at Unix second ``at``, as its person has it.

        None where nothing at all may be processed.
        """
        agreed = self._agreed(subject)
        if not any(consent.holds(at) for consent in agreed):
            return None
        return allowed(agreed, at)

    def erased(self, subjects: Collection[str]) -> set[str]:
        """Tell which of these subjects are of people who were erased and do not come back.

        What somebody carries now is as they are: who may not come back is not put again, and who
        came back may use the phone they had.
        """
        if self._any_erased is None:
            self._any_erased = self._store.read(any_erased)
        if not self._any_erased:
            return set()
        self.know(subjects)
        strange = [one for one in subjects if one not in self._erased]
        if strange:
            self._bound()
            whose = {one: self._persons.get(one, one) for one in strange}
            found = self._store.read(lambda c: marked(c, set(whose.values()), "erased"))
            self._erased.update((one, person in found) for one, person in whose.items())
        return {one for one in subjects if self._erased.get(one)}

    def _agreed(self, subject: str) -> tuple[Consent, ...]:
        agreed = self._consents.get(self._persons.get(subject, ""))
        if agreed is None:
            self.know((subject,), consents=True)
            agreed = self._consents[self._persons[subject]]
        return agreed

    def put(self, connection: Connection, person: Person, *, source: str = "file") -> None:
        """Replace a person's profile and subjects; record the consents not recorded before.

        A consent that was recorded once and withdrawn since stays withdrawn: importing the same
        list again brings nothing back. A subject that someone else carried moves here. Preferences
        and endpoints stay where the new profile has none: ``prefer`` replaces them. Raises
        Erased, before anything is written, where they are not to come back.
        """
        refuse_erased(connection, (person.person,))
        self.put_all(connection, (person,), source=source)

    def put_all(
        self,
        connection: Connection,
        persons: Sequence[Person],
        *,
        source: str = "file",
        told: Told | None = None,
    ) -> int:
        """Put people, but for those who were erased and do not come back; how many those are.

        ``told`` says who tells of each field, and when: then they are written as they are, without
        preferences and endpoints where there are none. A device's address that somebody else had
        moves here, unless they left it later.
        """
        lock(connection)
        gone = marked(connection, [one.person for one in persons], "erased")
        kept = [one for one in persons if one.person not in gone]
        changed: set[str] = set()
        for copy in kept:
            now = self._clock()
            alive = endpoints.copied(connection, copy, now)
            one = msgspec.structs.replace(copy, endpoints=alive) if copy.endpoints else copy
            (profiles.put if told is None else profiles.write)(connection, one)
            changed |= {one.person, *_carry(connection, one)}
            if told is not None or alive:  # else theirs stay as they are
                changed |= endpoints.held(connection, one.person, alive, now)
        said = [(one.person, one.consents) for one in kept]
        consents.import_said(connection, said, source=source, now=self._clock())
        self.moved(connection, changed, told or self._told(source))
        return len(persons) - len(kept)

    def enrol(
        self,
        connection: Connection,
        carried: Sequence[tuple[str, str, Sequence[Consent]]],
        *,
        source: str,
    ) -> None:
        """Give people subjects besides those they have, and record what they agreed to with it.

        ``carried`` are person, subject and consents. What was recorded before and withdrawn since
        stays withdrawn. Raises ProximityError with every subject that somebody else carries, and
        Erased for a person who is not to come back.
        """
        people, subjects = schema.people, schema.subjects
        refuse_erased(connection, {person for person, _, _ in carried})
        owners = _carriers(connection, [subject for _, subject, _ in carried])
        problems: list[str] = []
        new: dict[str, str] = {}
        for person, subject, _ in carried:
            owner = owners.get(subject)
            if owner is not None and owner != person:
                problems.append(
                    f"subject {subject!r} is somebody else's than {person!r}'s: take another "
                    f"subject, or PUT /v1/people/{{id}} of {owner!r} without it first"
                )
            elif new.setdefault(subject, person) != person:
                problems.append(
                    f"subject {subject!r} is somebody else's than {person!r}'s: both are asked "
                    "for here; give each a subject of their own"
                )
        if problems:
            raise ProximityError(*problems[:_MOST_PROBLEMS])
        persons = list(dict.fromkeys(person for person, _, _ in carried))
        known: set[str] = set()
        for start in range(0, len(persons), _AT_ONCE):
            some = persons[start : start + _AT_ONCE]
            known.update(
                connection.scalars(sa.select(people.c.person).where(people.c.person.in_(some)))
            )
        strange = [one for one in persons if one not in known]
        for table, rows in (
            (people, [{"person": one, "record": profiles.EMPTY} for one in strange]),
            (
                subjects,
                [
                    {"subject": subject, "person": person}
                    for subject, person in new.items()
                    if subject not in owners
                ],
            ),
        ):
            if rows:
                connection.execute(table.insert(), rows)
        said = [(person, agreed) for person, _, agreed in carried]
        consents.import_said(connection, said, source=source, now=self._clock())
        self.moved(connection, persons, self._told(source))

    def remove(self, connection: Connection, person: str) -> bool:
        """Forget a person: profile, subjects, consents and offers; tells whether there was any."""
        removed = consents.erase(connection, person, self._clock())
        marks = (schema.changes, schema.gone_endpoints, schema.held_endpoints)
        for table in (*marks, schema.offers, schema.codes):
            connection.execute(table.delete().where(table.c.person == person))
        for table in (schema.people, schema.attributes, schema.wishes, schema.subjects):
            removed += connection.execute(table.delete().where(table.c.person == person)).rowcount
        self.moved(connection)
        return removed > 0

    def grant(self, connection: Connection, person: str, consent: Consent, source: str) -> None:
        """Record a yes and where it came from; raises as ``consents.grant`` does."""
        consents.grant(connection, person, consent, source=source, now=self._clock())
        self.moved(connection, (person,), self._told(source))

    def withdraw(
        self,
        connection: Connection,
        person: str,
        purpose: str | None = None,
        channel: str | None = None,
        *,
        at: float,
        source: str = "withdrawal",
        method: str | None = None,
    ) -> list[InFlight]:
        """Record a no from Unix second ``at``, and take out what waits, as ``consents`` does."""
        in_flight = consents.withdraw(
            connection, person, purpose, channel,
            at=at, now=self._clock(), source=source, method=method,
        )  # fmt: skip
        self.moved(connection, (person,), self._told(source))
        return in_flight

    def prefer(
        self, connection: Connection, person: str, preferences: Sequence[Preference]
    ) -> None:
        """Replace a person's preferences. Raises Erased where they are not to come back."""
        refuse_erased(connection, (person,))
        lock(connection)
        before = self.read(connection, person)
        after = msgspec.structs.replace(before, preferences=tuple(preferences))
        profiles.write(connection, after)
        self.moved(connection, (person,), self._told(PERSON))

    def answer(self, connection: Connection, person: str, event: Event, plan: Plan) -> bool:
        """Change what is known of a person as they said in an event; tells whether it changed."""
        lock(connection)
        changed = profiles.answer(connection, person, event, plan)
        if changed:
            self.moved(connection, (person,), Told(at=event.at, origin=PERSON))
        return changed

    def read(self, connection: Connection, person: str) -> Person:
        """Read a person as they stand in this very transaction; one unknown has but an id."""
        return _find(connection, person) or Person(person=person)

    def read_all(self, connection: Connection, persons: Collection[str]) -> dict[str, Person]:
        """Read several people as ``read`` does, asking once for all of them."""
        names = list(dict.fromkeys(persons))
        found: dict[str, Person] = {}
        for start in range(0, len(names), _AT_ONCE):
            found |= _find_all(connection, names[start : start + _AT_ONCE])
        return {name: found.get(name) or Person(person=name) for name in names}

    def carriers(self, connection: Connection, subjects: Collection[str]) -> dict[str, str]:
        """Tell who carries each of these subjects, in this very transaction."""
        found = _carriers(connection, list(subjects))
        return {subject: found.get(subject, subject) for subject in subjects}

    def moved(
        self, connection: Connection, persons: Collection[str] = (), told: Told | None = None
    ) -> None:
        """Move the version in the same transaction, so that every process sees it with the rows.

        ``persons`` are those who may have changed: what has is noted for those who follow.
        """
        if persons:  # first of all, so that two who write wait for each other in one order
            now = self.read_all(connection, persons)
            note_people(connection, now, told or self._told("here"))
        # Counted by the database, so that two processes at once are two steps and no conflict.
        if not connection.execute(_MOVE).rowcount:
            first = {"key": _VERSION, "value": "0"}
            connection.execute(insert_new(connection.dialect.name, schema.meta, "key"), first).all()
            connection.execute(_MOVE)

    def _told(self, origin: str) -> Told:
        return Told(at=self._clock(), origin=origin)

    def _bound(self) -> None:
        known = (self._persons, self._profiles, self._consents, self._erased)
        if sum(len(one) for one in known) >= _MOST_KNOWN:
            self._forget()

    def _forget(self) -> None:
        self._persons, self._profiles, self._consents, self._erased = {}, {}, {}, {}
        self._any_erased = None


def _carry(connection: Connection, person: Person) -> set[str]:
    """Replace what a person carries; what somebody else carried is theirs from now on.

    Gives who lost something.
    """
    subjects = schema.subjects
    connection.execute(subjects.delete().where(subjects.c.person == person.person))
    names = list(dict.fromkeys(person.subjects))
    losers = set(_carriers(connection, names).values())
    for start in range(0, len(names), _AT_ONCE):
        some = names[start : start + _AT_ONCE]
        connection.execute(subjects.delete().where(subjects.c.subject.in_(some)))
    if names:
        rows = [{"subject": subject, "person": person.person} for subject in names]
        connection.execute(subjects.insert(), rows)
    return losers


def _carriers(connection: Connection, subjects: Sequence[str]) -> dict[str, str]:
    """Read who carries those subjects that somebody carries."""
    found: dict[str, str] = {}
    for start in range(0, len(subjects), _AT_ONCE):
        some = subjects[start : start + _AT_ONCE]
        found.update(
            (row.subject, row.person) for row in connection.execute(_CARRIERS, {"subjects": some})
        )
    return found


def _find(connection: Connection, person: str) -> Person | None:
    return _find_all(connection, (person,)).get(person)


def _find_all(connection: Connection, persons: Sequence[str]) -> dict[str, Person]:
    """Find those of these people of whom anything is known; as many as one statement takes."""
    known = profiles.read_all(connection, persons)
    agreed = standing(connection, persons)
    carried: dict[str, list[str]] = {}
    for row in connection.execute(_SUBJECTS, {"persons": persons}):
        carried.setdefault(row.person, []).append(row.subject)
    return {
        person: Person(
            person=person,
            subjects=tuple(carried.get(person, ())),
            consents=agreed.get(person, ()),
            **(msgspec.structs.asdict(known[person]) if person in known else {}),
        )
        for person in persons
        if person in known or person in carried or person in agreed
    }
