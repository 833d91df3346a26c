"""The question: what becomes of what somebody else tells of our people, when it is written.

A batch is one transaction: all of it, or none and every reason. Doubled, late and in any order it
comes to the same. Who was erased does not come back, and of who agreed to nothing no more is
written than whose a subject is. Knows no HTTP; erasing somebody is ``erasing``'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec
import sqlalchemy as sa

from proximity.consent import consents, objections
from proximity.dispatch import outbox, sends
from proximity.model import Person, ProximityError, digest
from proximity.people.behaviour import may_be_written
from proximity.people.file import people_problems
from proximity.people.tagging import NO_PLAN
from proximity.store import schema
from proximity.store.ledger import insert_new
from proximity.sync import clocks as kept
from proximity.sync.agreed import AHEAD_S, Said, in_milliseconds, join, said
from proximity.sync.clocks import Told
from proximity.sync.fields import DEFAULT_OWNERS, Clock, beats, with_fields
from proximity.sync.merge import Item, Merged, lost, merge, values_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Connection

    from proximity.people.people import People
    from proximity.people.tagging import Plan

__all__ = ["MOST_ITEMS", "Taken", "erasures_in", "take"]

MOST_ITEMS = 500
"""Messages in one batch: some tenths of a second of one transaction."""
_MOST_PROBLEMS = 100
_MOST_NAMED = 100


class Taken(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What became of a batch.

    Of messages: ``changed`` somebody, or told nothing new (``same``), came before (``duplicate``),
    were of somebody who was ``erased``, or ask to erase (``erasing``). Of words: ``stale`` were
    older than what is known, ``owned`` are not for this origin to say, ``clamped`` dated ahead of
    our clock, ``unconsented`` of somebody who agrees to nothing. ``refused`` names the first
    hundred with the reason.
    """

    changed: int = 0
    same: int = 0
    duplicate: int = 0
    erased: int = 0
    erasing: int = 0
    stale: int = 0
    owned: int = 0
    clamped: int = 0
    unconsented: int = 0
    refused: list[str] = []

    @property
    def messages(self) -> int:
        """How many messages there were."""
        return self.changed + self.same + self.duplicate + self.erased + self.erasing

    def add(self, other: Taken) -> None:
        """Count another batch with this one."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        del self.refused[_MOST_NAMED:]

    def refuse(self, person: str, reason: str) -> None:
        """Name what was not taken."""
        if len(self.refused) < _MOST_NAMED:
            self.refused.append(f"person {person!r}: {reason}")


def erasures_in(connection: Connection, items: Sequence[Item], sender: str) -> list[Item]:
    """Give those messages that ask to erase somebody who was not erased already, each once."""
    wanted = {item.person: item for item in items if item.erased_at is not None}
    gone = objections.marked(connection, list(wanted), "erased")
    before = _seen(connection, sender, [item.id for item in wanted.values() if item.id])
    return [one for one in wanted.values() if one.person not in gone and one.id not in before]


def take(
    connection: Connection,
    people: People,
    items: Sequence[Item],
    *,
    sender: str,
    now: float,
    owners: Mapping[str, str] = DEFAULT_OWNERS,
    plan: Plan = NO_PLAN,
    consent: Literal["required", "assumed"] = "required",
) -> Taken:
    """Write what stands of a batch from ``sender`` at Unix second ``now``; tell what became of it.

    Messages that ask to erase are counted and left to whoever erases. Raises ProximityError with
    every problem; then nothing of the batch may be committed.
    """
    if len(items) > MOST_ITEMS:
        raise ProximityError(f"{len(items)} messages in one batch, at most {MOST_ITEMS}: split it")
    told = Taken()
    _check(items, plan)
    # Whoever decides about people locks them before all else: so does whoever writes them.
    sends.lock(connection, {item.person for item in items})
    before = _seen(connection, sender, [item.id for item in items if item.id is not None])
    gone = objections.marked(connection, [item.person for item in items], "erased")
    done: set[str] = set()
    for number, item in enumerate(items, start=1):
        if item.id is not None and item.id in before | done:
            told.duplicate += 1
        elif item.erased_at is not None:
            told.erasing += 1
        elif item.person in gone:
            told.erased += 1
            told.refuse(item.person, "was erased and does not come back")
        else:
            try:
                one = _take_one(connection, people, item, sender, now, owners, consent)
            except (ValueError, ProximityError) as error:
                raise ProximityError(f"message {number}, person {item.person!r}: {error}") from None
            told.add(one)
            if item.id is not None and not one.unconsented:
                done.add(item.id)  # what was not kept for want of a consent may come again
    remember(connection, sender, done, now)
    return told


def remember(connection: Connection, sender: str, ids: set[str], now: float) -> None:
    """Note which messages of a sender were taken."""
    rows = [{"peer": sender, "id": _named(one), "at": now} for one in sorted(ids)]
    if rows:
        statement = insert_new(connection.dialect.name, schema.messages, "id")
        connection.execute(statement, rows).all()


def _check(items: Sequence[Item], plan: Plan) -> None:
    """Raise ProximityError with all that is wrong with messages by themselves."""
    problems: list[str] = []
    for number, item in enumerate(items, start=1):
        try:
            alone = with_fields(Person(person=item.person), {w.field: w.value for w in item.words})
            found = people_problems([alone], plan)
        except ValueError as error:
            found = [f"person {item.person!r}: {error}"]
        problems += [f"message {number}: {problem}" for problem in found]
    if problems:
        raise ProximityError(*problems[:_MOST_PROBLEMS])


def _take_one(
    connection: Connection,
    people: People,
    item: Item,
    sender: str,
    now: float,
    owners: Mapping[str, str],
    consent: Literal["required", "assumed"],
) -> Taken:
    found = Taken()
    news, late = _agreed(connection, people, item, sender, now)
    found.clamped += late
    values = values_of(item)
    # Their clock may be a little ahead of ours: a yes counts as soon as it does by theirs.
    if not may_be_written(connection, (item.person,), now + AHEAD_S, consent):
        kept_names = {name for name in values if name.startswith("subjects.") or name == "objected"}
        found.unconsented = len(values) - len(kept_names)
        if found.unconsented:
            found.refuse(item.person, f"agrees to nothing: {found.unconsented} fields not kept")
        words = tuple(word for word in item.words if word.field in kept_names)
        item = msgspec.structs.replace(item, words=words)
    known = kept.read(connection, (item.person,)).get(item.person, {})
    merged = merge(known, item, values, sender=sender, owners=owners, now=now)
    found.clamped += merged.clamped
    moved = _Moved(item.person, merged)
    _contest(connection, moved, owners)
    found.stale += len(merged.again - merged.owned)
    found.owned += len(merged.owned)
    for name in sorted(merged.owned):
        found.refuse(item.person, f"{name} is not for {sender!r} to say")
    if moved.values or moved.clocks[item.person] or news or any(moved.again.values()):
        _write(connection, people, moved, sender, now)
    changed = bool(moved.values) or news
    found.changed, found.same = int(changed), int(not changed)
    return found


class _Moved:
    """What is to be written: the person's values, and the clocks of all whom it touches."""

    def __init__(self, person: str, merged: Merged) -> None:
        self.person = person
        self.values: dict[str, Any] = dict(merged.values)
        self.clocks: dict[str, dict[str, Clock]] = {person: dict(merged.clocks)}
        self.again: dict[str, set[str]] = {person: set(merged.again)}


def _contest(connection: Connection, moved: _Moved, owners: Mapping[str, str]) -> None:
    """Decide about subjects that somebody else carries: the later word has them, here as anywhere.

    The loser's clock is the winner's, so that it is the same wherever the two have met.
    """
    wanted = {
        name.removeprefix("subjects."): name
        for name, value in moved.values.items()
        if name.startswith("subjects.") and value is not None
    }
    if not wanted:
        return
    table = schema.subjects
    rows = connection.execute(
        sa.select(table.c.subject, table.c.person).where(
            table.c.subject.in_(list(wanted)), table.c.person != moved.person
        )
    ).all()
    rivals = kept.read(connection, [row.person for row in rows])
    for row in rows:
        name = wanted[row.subject]
        new, old = moved.clocks[moved.person][name], rivals.get(row.person, {}).get(name)
        wins = beats(name, new, old, owners)
        if old is not None and not wins and not beats(name, old, new, owners):
            wins = moved.person > row.person  # the same moment and origin: by name, as anywhere
        if wins:
            moved.clocks.setdefault(row.person, {})[name] = lost(new)
        elif old is not None:
            del moved.values[name]
            moved.clocks[moved.person][name] = lost(old)
            moved.again.setdefault(row.person, set()).add(name)


def _write(connection: Connection, people: People, moved: _Moved, sender: str, now: float) -> None:
    before = people.read(connection, moved.person)
    if "objected" in moved.values:
        if moved.values["objected"]:
            at = moved.clocks[moved.person]["objected"].at
            objections.object_to(connection, moved.person, at=at, source=_source(sender))
            outbox.withdraw(connection, moved.person, at=now, reason="objection")
        else:
            objections.lift(connection, moved.person)
    told = Told(at=now, origin=sender, via=sender, clocks=moved.clocks, again=moved.again)
    profile = {name: value for name, value in moved.values.items() if name != "objected"}
    after = with_fields(before, profile)
    if after != before:
        alone = msgspec.structs.replace(after, consents=())
        first = msgspec.structs.replace(told, again={})
        people.put_all(connection, (alone,), source=_source(sender), told=first)
    people.moved(connection, set(moved.clocks) | set(moved.again), told)


def _agreed(
    connection: Connection, people: People, item: Item, sender: str, now: float
) -> tuple[bool, int]:
    """Record what is news of what they agreed to; whether there was any, and how much was late."""
    if not item.consents and not item.withdrawals:
        return False, 0
    late = sum(one.since is not None and one.since > now + AHEAD_S for one in item.consents)
    late += sum(no.at > now + AHEAD_S for no in item.withdrawals)
    theirs = Said(
        tuple(
            in_milliseconds(one)
            for one in item.consents
            if one.since is None or one.since <= now + AHEAD_S
        ),
        tuple(
            no if no.at <= now + AHEAD_S else msgspec.structs.replace(no, at=now)
            for no in item.withdrawals
        ),
    )
    news = join(said(consents.rows_of(connection, item.person)), theirs)
    for no in sorted(news.no, key=lambda one: one.at):
        consents.withdraw(
            connection, item.person, no.purpose, no.channel,
            at=no.at, now=now, source=_source(sender), method="sync", again=True,
        )  # fmt: skip
    for one in news.yes:
        consents.grant(connection, item.person, one, source=_source(sender), now=now)
    if news.no or news.yes:
        # Where we know more than they do, all of it goes back to them.
        alike = said(consents.rows_of(connection, item.person)) == theirs
        told = Told(at=now, origin=sender, via=sender if alike else "")
        people.moved(connection, (item.person,), told)
    return bool(news.no or news.yes), late


def _source(sender: str) -> str:
    return f"sync:{sender}"


def _seen(connection: Connection, sender: str, ids: Sequence[str]) -> set[str]:
    table = schema.messages
    names = {_named(one): one for one in ids}
    every = list(names)
    found: set[str] = set()
    for start in range(0, len(every), MOST_ITEMS):
        query = sa.select(table.c.id).where(
            table.c.peer == sender, table.c.id.in_(every[start : start + MOST_ITEMS])
        )
        found.update(names[one] for one in connection.scalars(query))
    return found


def _named(name: str) -> str:
    """Give the hash of a message's name: whoever made it may have put a person's id in it."""
    return digest("message", name)
