"""The question: by which addresses can a person be reached, and why not by the others.

An address is kept with the person while it lives. One that a provider calls dead is taken out, and
remembered as a keyed hash, so that a copy of old customers does not bring it back; whoever leaves
it anew does. A device is one person's at a time: its address is whose who left it last, and gone
for who had it before. Functions on the caller's connection; ``now`` in Unix seconds. Knows no
channel's form of address.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING

import msgspec
import sqlalchemy as sa
from msgspec.structs import replace

from proximity.model import Person
from proximity.people import profiles
from proximity.store import schema
from proximity.store.keys import find_key, store_key
from proximity.store.ledger import insert_new
from proximity.sync import clocks

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from sqlalchemy import Connection

    from proximity.campaigns.reach import Terms
    from proximity.model import Endpoint

__all__ = [
    "Gone",
    "Reach",
    "add",
    "brought",
    "copied",
    "gone",
    "held",
    "known_gone",
    "living",
    "mark",
    "reachability",
    "remove",
    "taken",
]

MOST_ENDPOINTS = 100
"""Of one person: whoever leaves more loses the ones they left first."""

DEVICES = frozenset({"web-push", "fcm", "apns"})
"""Channels whose addresses are one device's each. A family may share a mailbox, and what a plug-in
calls an address is its own to know: those may stand under several people."""
MOVED = "left by somebody else"
"""Why an address is gone for whoever had the device before."""

_TABLE, _HELD = schema.gone_endpoints, schema.held_endpoints
_OF_PERSON = (
    sa.select(_TABLE).where(_TABLE.c.person == sa.bindparam("person")).order_by(_TABLE.c.at)
)
_HOLDERS = sa.select(_HELD.c.hash, _HELD.c.person).where(
    _HELD.c.hash.in_(sa.bindparam("hashes", expanding=True)),
    _HELD.c.person != sa.bindparam("person"),
)


class Gone(msgspec.Struct, frozen=True, kw_only=True):
    """An address that is dead: of which channel, what the provider said, when (Unix seconds)."""

    channel: str
    reason: str
    at: float


class Reach(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a channel reaches a person, on how many endpoints, and why not."""

    channel: str
    reachable: bool
    endpoints: int = 0
    why: str | None = None


def add(connection: Connection, person: str, endpoint: Endpoint, now: float) -> set[str]:
    """Keep an address that a person has just left, alive from now on whatever it was before.

    The same address of the same channel stands once, and a device's under nobody else. Gives who
    has changed: whoever calls this moves the version of those people (``People.moved``).
    """
    clocks.lock(connection)
    if endpoint.registered_at is None:
        endpoint = replace(endpoint, registered_at=now)
    known = profiles.read(connection, person) or profiles.Known()
    others = [one for one in known.endpoints if not _same(one, endpoint)]
    kept = (*others[-(MOST_ENDPOINTS - 1) :], endpoint)
    _write(connection, person, known, kept)
    connection.execute(_TABLE.delete().where(*_row(connection, person, endpoint, now)))
    return {person, *held(connection, person, kept, now)}


def taken(connection: Connection, person: str, endpoint: Endpoint, now: float) -> set[str]:
    """Take a device's address from everybody but this person, who has the device now.

    Gives who had it, as ``add`` does.
    """
    clocks.lock(connection)
    return _take(connection, person, _devices(connection, (endpoint,), now), now)


def held(
    connection: Connection, person: str, endpoints: Sequence[Endpoint], now: float
) -> set[str]:
    """Note which devices' addresses are in a person's record, and take them from everybody else.

    These are all of theirs; whoever calls this took ``clocks.lock`` before. Gives who had them.
    """
    mine = _devices(connection, endpoints, now)
    losers = _take(connection, person, mine, now)
    whose = _HELD.c.person == person
    if set(connection.scalars(sa.select(_HELD.c.hash).where(whose))) != mine.keys():
        connection.execute(_HELD.delete().where(whose))
        if mine:
            connection.execute(_HELD.insert(), [{"hash": one, "person": person} for one in mine])
    return losers


def brought(connection: Connection, person: str, now: float) -> set[str]:
    """Let somebody whose record was written whole have the devices that it names; as ``taken``.

    But for those that somebody else left later: these leave the record.
    """
    clocks.lock(connection)
    known = profiles.read(connection, person) or profiles.Known()
    kept = copied(connection, Person(person=person, endpoints=known.endpoints), now)
    if kept != known.endpoints:
        _write(connection, person, known, kept)
    return held(connection, person, kept, now)


def gone(connection: Connection, person: str, endpoint: Endpoint, reason: str, now: float) -> bool:
    """Take out an address that a provider calls dead; False where it was left anew since.

    ``reason`` is the provider's code, nothing that it wrote.
    """
    clocks.lock(connection)
    known = profiles.read(connection, person)
    if known is None:
        return False
    kept = tuple(one for one in known.endpoints if one != endpoint)
    if len(kept) == len(known.endpoints):
        return False
    _write(connection, person, known, kept)
    _bury(connection, person, endpoint, reason, now, now)
    return True


def remove(connection: Connection, person: str, endpoint: Endpoint) -> bool:
    """Take out an address that its person does not want to be reached by; whether it was there."""
    clocks.lock(connection)
    known = profiles.read(connection, person)
    if known is None:
        return False
    kept = tuple(one for one in known.endpoints if not _same(one, endpoint))
    if len(kept) == len(known.endpoints):
        return False
    _write(connection, person, known, kept)
    _let_go(connection, person, endpoint)
    return True


def living(
    connection: Connection, person: str, endpoints: Sequence[Endpoint]
) -> tuple[Endpoint, ...]:
    """Give those of these addresses that nobody has called dead since they were left."""
    key = find_key(connection, "endpoints")
    if key is None or not endpoints:
        return tuple(endpoints)
    found = connection.execute(_OF_PERSON, {"person": person})
    dead = {(row.channel, row.hash): row.at for row in found}
    return tuple(
        one for one in endpoints
        if (at := dead.get((one.channel, _hash(key, one)))) is None
        or (one.registered_at is not None and one.registered_at > at)
    )  # fmt: skip


def copied(connection: Connection, person: Person, now: float) -> tuple[Endpoint, ...]:
    """Give the addresses that a copy of a person brings: those that live, dated as they were left.

    One that was not known before counts as left now, where the copy does not say when. A device's
    that somebody else left later is theirs, and gone here as of then.
    """
    found = living(connection, person.person, person.endpoints)
    if any(one.registered_at is None for one in found):
        known = profiles.read(connection, person.person) or profiles.Known()
        dates = {(one.channel, one.address): one.registered_at for one in known.endpoints}
        found = tuple(
            one
            if one.registered_at is not None
            else replace(one, registered_at=dates.get((one.channel, one.address)) or now)
            for one in found
        )
    mine = _devices(connection, found, now)
    for each, holder in _holders(connection, person.person, mine).items():
        one = mine[each]
        known = profiles.read(connection, holder) or profiles.Known()
        at = max(
            (_left_at(other, 0.0) for other in known.endpoints if _same(other, one)), default=0.0
        )
        if at > _left_at(one, now):
            _bury(connection, person.person, one, MOVED, at, now)
            found = tuple(other for other in found if not _same(other, one))
    return found


def known_gone(connection: Connection, person: str) -> list[Gone]:
    """Give a person's dead addresses, oldest first."""
    found = connection.execute(_OF_PERSON, {"person": person})
    return [Gone(channel=row.channel, reason=row.reason, at=row.at) for row in found]


def mark(connection: Connection, endpoint: Endpoint, now: float) -> str:
    """Name an address without telling it: the beginning of its keyed hash, for other records."""
    return _hash(store_key(connection, "endpoints", now), endpoint)[:12]


def reachability(person: Person, dead: Sequence[Gone], terms: Mapping[str, Terms]) -> list[Reach]:
    """Tell of each channel whether it reaches a person by an address, and why not. Pure.

    What they agreed to is another question.
    """
    found = []
    for channel, one in sorted(terms.items()):
        if one.addressed is None:
            found.append(Reach(channel=channel, reachable=True))
            continue
        count = sum(1 for each in person.endpoints if each.channel == one.addressed)
        last = next((each for each in reversed(dead) if each.channel == one.addressed), None)
        why = None
        if not count:
            why = "no address was left" if last is None else f"the address is gone: {last.reason}"
        found.append(Reach(channel=channel, reachable=count > 0, endpoints=count, why=why))
    return found


def _write(
    connection: Connection, person: str, known: profiles.Known, endpoints: tuple[Endpoint, ...]
) -> None:
    """Write a person's record with other endpoints; attributes stay as they are."""
    record = msgspec.json.encode(replace(known, endpoints=endpoints)).decode()
    table = schema.people
    done = connection.execute(
        table.update().where(table.c.person == person).values(record=record)
    ).rowcount
    if not done:
        connection.execute(table.insert(), {"person": person, "record": record})


def _take(
    connection: Connection, person: str, mine: Mapping[str, Endpoint], now: float
) -> set[str]:
    """Take addresses, by their hashes, from who else holds them: theirs are gone as of ours."""
    losers = _holders(connection, person, mine)
    for each, loser in losers.items():
        one = mine[each]
        known = profiles.read(connection, loser)
        if known is not None:
            kept = tuple(other for other in known.endpoints if not _same(other, one))
            _write(connection, loser, known, kept)
        _bury(connection, loser, one, MOVED, _left_at(one, now), now)
    return set(losers.values())


def _bury(
    connection: Connection, person: str, endpoint: Endpoint, reason: str, at: float, now: float
) -> None:
    """Remember that an address is gone for a person since Unix second ``at``, and why."""
    row = {
        "person": person, "channel": endpoint.channel,
        "hash": _hash(store_key(connection, "endpoints", now), endpoint),
        "reason": reason, "at": at,
    }  # fmt: skip
    connection.execute(_TABLE.delete().where(*_row(connection, person, endpoint, now)))
    connection.execute(
        insert_new(connection.dialect.name, _TABLE, "person", "channel", "hash"), [row]
    )
    _let_go(connection, person, endpoint)


def _let_go(connection: Connection, person: str, endpoint: Endpoint) -> None:
    key = find_key(connection, "endpoints")
    if key is not None and endpoint.channel in DEVICES:
        mine = (_HELD.c.hash == _hash(key, endpoint), _HELD.c.person == person)
        connection.execute(_HELD.delete().where(*mine))


def _devices(
    connection: Connection, endpoints: Iterable[Endpoint], now: float
) -> dict[str, Endpoint]:
    """Give those of these addresses that are a device's, by their keyed hashes."""
    found = [one for one in endpoints if one.channel in DEVICES]
    if not found:
        return {}
    key = store_key(connection, "endpoints", now)
    return {_hash(key, one): one for one in found}


def _holders(connection: Connection, person: str, hashes: Collection[str]) -> dict[str, str]:
    """Tell who else holds which of these addresses; no more of them than one person may have."""
    if not hashes:
        return {}
    rows = connection.execute(_HOLDERS, {"hashes": list(hashes), "person": person})
    return {row.hash: row.person for row in rows}


def _left_at(endpoint: Endpoint, otherwise: float) -> float:
    return otherwise if endpoint.registered_at is None else endpoint.registered_at


def _same(one: Endpoint, other: Endpoint) -> bool:
    return (one.channel, one.address) == (other.channel, other.address)


def _hash(key: bytes, endpoint: Endpoint) -> str:
    return hmac.digest(key, f"{endpoint.channel} {endpoint.address}".encode(), hashlib.sha256).hex()


def _row(
    connection: Connection, person: str, endpoint: Endpoint, now: float
) -> tuple[sa.ColumnElement[bool], ...]:
    key = store_key(connection, "endpoints", now)
    return (
        _TABLE.c.person == person,
        _TABLE.c.channel == endpoint.channel,
        _TABLE.c.hash == _hash(key, endpoint),
    )
