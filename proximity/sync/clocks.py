"""The question: what has changed of whom, and in which order: the clocks of every person's fields.

One row a person, written in the transaction of the change itself by comparing what they are with
what they were: whichever way somebody was changed, and however often, it holds each field's last
word and the number under which it goes out. So it never grows beyond the people there are, and no
reader can be too far behind. Functions on the caller's connection; it knows no wire and no peer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa

from proximity.consent import consents
from proximity.consent.objections import marked
from proximity.store import schema
from proximity.store.ledger import insert_new
from proximity.sync.agreed import said
from proximity.sync.fields import (
    CONSENTS,
    NOTHING,
    Clock,
    digest_of,
    fields_of,
    later,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from sqlalchemy import Connection

    from proximity.model import Person

__all__ = [
    "Told", "begin", "latest", "lock", "note", "note_endpoints", "note_people", "read",
]  # fmt: skip

_AT_ONCE = 500
"""Ids in one statement: SQLite may be built to take no more than 999 variables."""
_MOST_FIELDS = 3000
"""Clocks of one person: as many as fields may be, and as many that were taken away; of those the
oldest are forgotten first."""
_COUNTER = "changes"
_META, _TABLE = schema.meta, schema.changes
_READ = sa.select(_TABLE).where(_TABLE.c.person.in_(sa.bindparam("persons", expanding=True)))
_COUNT = _META.update().where(_META.c.key == _COUNTER)
_LOCK = _COUNT.values(value=_META.c.value).returning(_META.c.value)
_UNLOCK = _COUNT.values(value=sa.bindparam("number"))
_decode = msgspec.json.Decoder(dict[str, Clock]).decode


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """Who says it: when (Unix seconds), of which origin, through which peer if through any.

    ``clocks`` are those that fields came with, by person; ``again`` names fields that are to go
    out once more, by person, because somebody was heard who knows an older word.
    """

    at: float
    origin: str
    via: str = ""
    clocks: Mapping[str, Mapping[str, Clock]] = {}
    again: Mapping[str, Collection[str]] = {}


def read(connection: Connection, persons: Iterable[str]) -> dict[str, dict[str, Clock]]:
    """Read the clocks of those of these people who have any."""
    names = list(dict.fromkeys(persons))
    found: dict[str, dict[str, Clock]] = {}
    for start in range(0, len(names), _AT_ONCE):
        rows = connection.execute(_READ, {"persons": names[start : start + _AT_ONCE]})
        found.update((row.person, _decode(row.clocks)) for row in rows)
    return found


def note_people(connection: Connection, people: Mapping[str, Person], told: Told) -> int:
    """Compare people with what was known of them, and note what has changed; of how many.

    Of who was erased nothing is noted, whatever is said of them since.
    """
    gone = marked(connection, list(people), "erased")
    people = {name: person for name, person in people.items() if name not in gone}
    objecting = marked(connection, list(people), "objected")
    ledger = consents.rows_by_person(connection, list(people))
    states = {}
    for name, person in people.items():
        states[name] = fields_of(person, objected=name in objecting)
        rows = ledger.get(name)
        if rows:
            states[name][CONSENTS] = msgspec.to_builtins(said(rows))
    return note(connection, states, told)


def begin(connection: Connection, persons: Iterable[str]) -> int:
    """Begin an empty row of everybody who has none and was not erased; of how many."""
    names = list(persons)
    passed = {*marked(connection, names, "erased"), *read(connection, names)}
    bare = [name for name in names if name not in passed]
    if bare:
        number = lock(connection)
        rows = [
            {"person": name, "seq": seq, "clocks": _text({})}
            for seq, name in enumerate(bare, start=number + 1)
        ]
        _write(connection, rows)
        _unlock(connection, number + len(bare))
    return len(bare)


def note_endpoints(connection: Connection, person: Person, *, at: float) -> int:
    """Note by which addresses somebody is reached from Unix second ``at`` on."""
    states = {person.person: fields_of(person)}
    return note(connection, states, Told(at=at, origin="device"), within="endpoints.")


def note(
    connection: Connection,
    states: Mapping[str, Mapping[str, Any]],
    told: Told,
    *,
    within: str = "",
) -> int:
    """Note people's fields as they are now; how many people have changed.

    ``within`` says that only fields whose name begins so are given; then of whom nothing was noted
    before nothing is noted now.
    """
    if not states:
        return 0
    number = lock(connection)
    before = read(connection, states)
    rows: list[dict[str, Any]] = []
    changed = 0
    for person, fields in states.items():
        known = before.get(person, {})
        if within and person not in before:
            continue  # nobody's row is begun for a part of them
        clocks = _moved(known, fields, told, person, within)
        again = {name for name in told.again.get(person, ()) if name in clocks}
        new = {name for name, clock in clocks.items() if _differs(known.get(name), clock)}
        if CONSENTS in new:
            # Whoever was refused the rest for want of a consent is told all of it once more.
            again |= clocks.keys() - new
        if not new and not again:
            if clocks != known:  # the same word, said later
                connection.execute(
                    _TABLE.update().where(_TABLE.c.person == person).values(clocks=_text(clocks))
                )
            continue
        number += 1
        changed += bool(new)
        for name in again - new:
            clocks[name] = msgspec.structs.replace(clocks[name], via="")
        rows.append({"person": person, "seq": number, "clocks": _text(clocks)})
    _write(connection, rows)
    _unlock(connection, number)
    return changed


def lock(connection: Connection) -> int:
    """Let nobody else number changes until the transaction ends; give the last number.

    Else a reader might see a number before a smaller one is there, and miss it. Whoever changes
    people by what they read of them takes it before they read.
    """
    value = connection.scalar(_LOCK)
    if value is None:
        first = {"key": _COUNTER, "value": "0"}
        connection.execute(insert_new(connection.dialect.name, _META, "key"), first).all()
        value = connection.scalar(_LOCK)
    return int(value or 0)


def latest(connection: Connection) -> int:
    """Give the number of the last change."""
    value = connection.scalar(sa.select(_META.c.value).where(_META.c.key == _COUNTER))
    return 0 if value is None else int(value)


def _moved(
    known: Mapping[str, Clock], fields: Mapping[str, Any], told: Told, person: str, within: str
) -> dict[str, Clock]:
    """Give a person's clocks as they are now."""
    clocks = dict(known)
    given = told.clocks.get(person, {})
    names = {*fields, *given, *(name for name in known if known[name].digest != NOTHING)}
    for name in names:
        if not name.startswith(within):
            continue
        digest = digest_of(fields.get(name))
        old, come = known.get(name), given.get(name)
        if come is not None and come.digest == digest:
            via = old.via if old is not None and old.digest == digest else come.via
            clocks[name] = msgspec.structs.replace(come, via=via)
        elif (NOTHING if old is None else old.digest) != digest:
            at = later(told.at, old)
            clocks[name] = Clock(at, told.origin, digest, told.via)
    if len(clocks) > _MOST_FIELDS:
        gone = sorted((one.at, name) for name, one in clocks.items() if one.digest == NOTHING)
        for _, name in gone[: len(clocks) - _MOST_FIELDS]:
            del clocks[name]
    return clocks


def _differs(old: Clock | None, new: Clock) -> bool:
    return old is None or old.digest != new.digest


def _text(clocks: Mapping[str, Clock]) -> str:
    return msgspec.json.encode(clocks).decode()


def _write(connection: Connection, rows: list[dict[str, Any]]) -> None:
    if not rows:
        return
    for start in range(0, len(rows), _AT_ONCE):
        some = [row["person"] for row in rows[start : start + _AT_ONCE]]
        connection.execute(_TABLE.delete().where(_TABLE.c.person.in_(some)))
    connection.execute(_TABLE.insert(), rows)


def _unlock(connection: Connection, number: int) -> None:
    connection.execute(_UNLOCK, {"number": str(number)})
