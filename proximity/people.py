"""The question: who carries which subject, and what have they agreed to.

Profiles and subjects are replaced as they change. Consents are append-only: a yes is a row, and so
is its withdrawal, a row whose ``until`` is its ``since``: it agrees to nothing and ends, from that
moment, the earlier rows that it matches. This file knows neither campaigns nor gates.
"""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa

from proximity.inputs import called, open_input
from proximity.model import MOST_CONSENTS, Consent, Person, ProximityError
from proximity.store import schema
from proximity.windows import load_zone

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from sqlalchemy import Connection

    from proximity.store import Store

__all__ = ["People", "load_consents", "read_people"]

_MOST_KNOWN = 100_000
"""People and subjects remembered between look-ups, about 50 MB; the store has the rest."""
_MOST_LINE = 64 * 1024
"""Bytes of one person in a people file."""
_MOST_PROBLEMS = 100
_AT_ONCE = 500
"""Ids in one statement: SQLite may be built to take no more than 999 variables."""
_VERSION = "people_version"

# Made once: every decision and every hand-over reads a person, and building costs more than asking.
_PROFILE = sa.select(schema.people.c.record).where(schema.people.c.person == sa.bindparam("person"))
_SUBJECTS = (
    sa.select(schema.subjects.c.subject)
    .where(schema.subjects.c.person == sa.bindparam("person"))
    .order_by(schema.subjects.c.subject)
)
_CARRIERS = sa.select(schema.subjects.c.subject, schema.subjects.c.person).where(
    schema.subjects.c.subject.in_(sa.bindparam("subjects", expanding=True))
)
_CONSENTS = (
    sa.select(schema.consents)
    .where(schema.consents.c.person.in_(sa.bindparam("persons", expanding=True)))
    .order_by(schema.consents.c.seq)
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

    def reload(self) -> bool:
        """Forget what is remembered where anyone has changed people since; tells whether."""
        version = self._store.read(_version)
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
                standing = self._store.read(lambda c: _standing(c, unread))
                self._consents.update((person, standing.get(person, ())) for person in unread)

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
        consents = self._consents.get(self._persons.get(subject, ""))
        if consents is None:
            self.know((subject,), consents=True)
            consents = self._consents[self._persons[subject]]
        return any(consent.holds(at) for consent in consents)

    def put(self, connection: Connection, person: Person, *, source: str = "file") -> None:
        """Replace a person's profile and subjects; record the consents not recorded before.

        A consent that was recorded once and withdrawn since stays withdrawn: importing the same
        list again brings nothing back. A subject that someone else carried moves here.
        """
        profile = {
            "timezone": person.timezone,
            "languages": list(person.languages),
            "attributes": person.attributes,
        }
        record = msgspec.json.encode(profile).decode()
        people, subjects, consents = schema.people, schema.subjects, schema.consents
        connection.execute(people.delete().where(people.c.person == person.person))
        connection.execute(people.insert(), {"person": person.person, "record": record})
        connection.execute(subjects.delete().where(subjects.c.person == person.person))
        for start in range(0, len(person.subjects), _AT_ONCE):
            some = person.subjects[start : start + _AT_ONCE]
            connection.execute(subjects.delete().where(subjects.c.subject.in_(some)))
        for subject in dict.fromkeys(person.subjects):
            connection.execute(subjects.insert(), {"subject": subject, "person": person.person})
        rows = connection.execute(
            sa.select(consents.c.purpose, consents.c.channel, consents.c.since, consents.c.until)
            .where(consents.c.person == person.person)
        )  # fmt: skip
        recorded = {tuple(row) for row in rows}
        standing = len(load_consents(connection, person.person))
        for consent in person.consents:
            channel = None if consent.channel == "*" else consent.channel
            key = (consent.purpose, channel, consent.since, consent.until)
            if key not in recorded:
                recorded.add(key)
                standing += 1
                if standing > MOST_CONSENTS:
                    raise ProximityError(
                        f"person {person.person!r}: more than {MOST_CONSENTS} consents with those "
                        "recorded before; remove the person and put them again"
                    )
                self._grant(connection, person.person, consent, source)
        self._changed(connection)

    def enrol(
        self,
        connection: Connection,
        carried: Sequence[tuple[str, str, Sequence[Consent]]],
        *,
        source: str,
    ) -> None:
        """Give people subjects besides those they have, and record what they agreed to with it.

        ``carried`` are person, subject and consents. What was recorded before and withdrawn since
        stays withdrawn. Raises ProximityError with every subject that somebody else carries.
        """
        people, subjects = schema.people, schema.subjects
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
        empty = msgspec.json.encode({"timezone": None, "languages": [], "attributes": {}}).decode()
        for table, rows in (
            (people, [{"person": one, "record": empty} for one in persons if one not in known]),
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
        self._agree(connection, carried, source)
        self._changed(connection)

    def _agree(
        self,
        connection: Connection,
        carried: Sequence[tuple[str, str, Sequence[Consent]]],
        source: str,
    ) -> None:
        """Record the consents of people that were not recorded before."""
        agreeing = list(dict.fromkeys(person for person, _, consents in carried if consents))
        recorded: set[tuple[Any, ...]] = set()
        standing: Counter[str] = Counter()
        rows: list[dict[str, Any]] = []
        for start in range(0, len(agreeing), _AT_ONCE):
            some = agreeing[start : start + _AT_ONCE]
            for row in connection.execute(_CONSENTS, {"persons": some}):
                recorded.add((row.person, row.purpose, row.channel, row.since, row.until))
                standing[row.person] += 1
        for person, _, consents in carried:
            for consent in consents:
                channel = None if consent.channel == "*" else consent.channel
                key = (person, consent.purpose, channel, consent.since, consent.until)
                if key in recorded:
                    continue
                recorded.add(key)
                standing[person] += 1
                if standing[person] > MOST_CONSENTS:
                    raise ProximityError(
                        f"person {person!r}: more than {MOST_CONSENTS} consents with those "
                        "recorded before; remove the person and put them again"
                    )
                rows.append(self._row(person, consent, source))
        if rows:  # one statement for all: each of its own would hold up whoever writes next
            connection.execute(schema.consents.insert(), rows)

    def remove(self, connection: Connection, person: str) -> bool:
        """Forget a person: profile, subjects and consents; tells whether there was anything."""
        removed = 0
        for table in (schema.people, schema.subjects, schema.consents):
            removed += connection.execute(table.delete().where(table.c.person == person)).rowcount
        self._changed(connection)
        return removed > 0

    def grant(self, connection: Connection, person: str, consent: Consent, source: str) -> None:
        """Record a yes and where it came from.

        Raises ProximityError where it would end before it begins, or where the person has as many
        as one may have.
        """
        if len(load_consents(connection, person)) >= MOST_CONSENTS:
            raise ProximityError(
                f"person {person!r}: {MOST_CONSENTS} consents are recorded, the most there may be; "
                "remove the person and put them again with those that stand"
            )
        self._grant(connection, person, consent, source)

    def _grant(self, connection: Connection, person: str, consent: Consent, source: str) -> None:
        connection.execute(schema.consents.insert(), self._row(person, consent, source))
        self._changed(connection)

    def _row(self, person: str, consent: Consent, source: str) -> dict[str, Any]:
        """Write a yes as a row. Raises ProximityError where it would end before it begins."""
        since, until = consent.since, consent.until
        if until is not None and until <= (0.0 if since is None else since):
            raise ProximityError(
                f"person {person!r}: a consent must end after it begins; to withdraw, withdraw"
            )
        return {
            "person": person,
            "purpose": consent.purpose,
            "channel": None if consent.channel == "*" else consent.channel,
            "since": since,
            "until": until,
            "recorded_at": self._clock(),
            "source": source,
        }

    def withdraw(
        self,
        connection: Connection,
        person: str,
        purpose: str | None = None,
        channel: str | None = None,
        *,
        at: float,
        source: str = "withdrawal",
    ) -> None:
        """Record a no from Unix second ``at``: to a purpose, a channel, both, or everything.

        A consent to every channel ends with the first channel that is withdrawn: in doubt, no.
        """
        row = {"purpose": purpose, "channel": channel, "since": at, "until": at}
        self._record(connection, row | {"person": person, "source": source})

    def read(self, connection: Connection, person: str) -> Person:
        """Read a person as they stand in this very transaction; one unknown has but an id."""
        return _find(connection, person) or Person(person=person)

    def _record(self, connection: Connection, row: dict[str, Any]) -> None:
        row["channel"] = None if row["channel"] == "*" else row["channel"]
        row["recorded_at"] = self._clock()
        connection.execute(schema.consents.insert(), row)
        self._changed(connection)

    def _changed(self, connection: Connection) -> None:
        """Move the version in the same transaction, so that every process sees it with the rows."""
        version = int(_version(connection) or 0) + 1
        meta = schema.meta
        connection.execute(meta.delete().where(meta.c.key == _VERSION))
        connection.execute(meta.insert(), {"key": _VERSION, "value": str(version)})

    def _bound(self) -> None:
        if len(self._persons) + len(self._profiles) + len(self._consents) >= _MOST_KNOWN:
            self._forget()

    def _forget(self) -> None:
        self._persons, self._profiles, self._consents = {}, {}, {}


def load_consents(connection: Connection, person: str) -> tuple[Consent, ...]:
    """Read a person's consents in the order recorded, each ended where it was withdrawn."""
    return _standing(connection, (person,)).get(person, ())


def _standing(connection: Connection, persons: Sequence[str]) -> dict[str, tuple[Consent, ...]]:
    """Read the consents of those who have any, as ``load_consents`` does."""
    standing: dict[str, list[Consent]] = {}
    for start in range(0, len(persons), _AT_ONCE):
        some = persons[start : start + _AT_ONCE]
        for row in connection.execute(_CONSENTS, {"persons": some}):
            theirs = standing.setdefault(row.person, [])
            if row.since is not None and row.since == row.until:
                theirs[:] = [_ended(one, row.purpose, row.channel, row.since) for one in theirs]
            else:
                theirs.append(
                    Consent(
                        purpose=row.purpose, channel=row.channel, since=row.since, until=row.until
                    )
                )
    return {person: tuple(theirs) for person, theirs in standing.items()}


def _carriers(connection: Connection, subjects: Sequence[str]) -> dict[str, str]:
    """Read who carries those subjects that somebody carries."""
    found: dict[str, str] = {}
    for start in range(0, len(subjects), _AT_ONCE):
        some = subjects[start : start + _AT_ONCE]
        found.update(
            (row.subject, row.person) for row in connection.execute(_CARRIERS, {"subjects": some})
        )
    return found


def read_people(path: str | Path) -> list[Person]:
    """Read a people file: a JSON object a line (contract 3), blank lines passed over.

    ``-`` is standard input. Raises ProximityError with every problem (the first hundred), by line.
    """
    file = Path(path)
    name = called(file)
    try:
        with open_input(file) as stream:
            return _parse_people(iter(lambda: stream.readline(_MOST_LINE + 1), b""), name)
    except OSError as error:
        raise ProximityError(f"{name}: cannot be read: {error.strerror}") from None


def _parse_people(lines: Iterable[bytes], name: str) -> list[Person]:
    people: list[Person] = []
    problems: list[str] = []
    owners: dict[str, str] = {}
    seen: set[str] = set()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        if len(line) > _MOST_LINE or len(problems) >= _MOST_PROBLEMS:
            problems.append(f"{name}, line {number}: gave up here")
            break
        try:
            person = msgspec.json.decode(line, type=Person)
        except (msgspec.DecodeError, RecursionError, ValueError) as error:
            problems.append(f"{name}, line {number}: {error}")
            continue
        spot = f"{name}, line {number}: person {person.person!r}"
        if person.person in seen:
            problems.append(f"{spot} is there twice; keep one line")
        if person.timezone is not None and load_zone(person.timezone) is None:
            problems.append(
                f'{spot}: unknown timezone {person.timezone!r:.60}; "Europe/Paris" is one'
            )
        problems += [
            f"{spot}: subject {subject!r} belongs to {owners[subject]!r} already"
            for subject in person.subjects
            if owners.setdefault(subject, person.person) != person.person
        ]
        seen.add(person.person)
        people.append(person)
    if problems:
        raise ProximityError(*problems)
    return people


def _ended(consent: Consent, purpose: str | None, channel: str | None, at: float) -> Consent:
    """End a consent at ``at`` where a withdrawal of purpose and channel (None: any) matches it."""
    matches = purpose in {None, consent.purpose} and (
        channel is None or consent.channel in {None, "*", channel}
    )
    if not matches or (consent.until is not None and consent.until <= at):
        return consent
    return msgspec.structs.replace(consent, until=at)


def _find(connection: Connection, person: str) -> Person | None:
    record = connection.scalar(_PROFILE, {"person": person})
    carries = tuple(connection.scalars(_SUBJECTS, {"person": person}))
    consents = load_consents(connection, person)
    if record is None and not carries and not consents:
        return None
    profile: dict[str, Any] = msgspec.json.decode(record) if record is not None else {}
    return Person(
        person=person,
        subjects=carries,
        consents=consents,
        timezone=profile.get("timezone"),
        languages=tuple(profile.get("languages", ())),
        attributes=profile.get("attributes", {}),
    )


def _version(connection: Connection) -> str | None:
    statement = sa.select(schema.meta.c.value).where(schema.meta.c.key == _VERSION)
    value: str | None = connection.scalar(statement)
    return value
