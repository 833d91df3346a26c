"""The question: by which addresses can a person be reached, and why not by the others.

An address is kept with the person while it lives. One that a provider calls dead is taken out, and
remembered as a keyed hash, so that a copy of old customers does not bring it back; whoever leaves
it anew does. Functions on the caller's connection; ``now`` in Unix seconds. Knows no channel's form
of address.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING

import msgspec
import sqlalchemy as sa
from msgspec.structs import replace

from proximity.people import profiles
from proximity.store import schema
from proximity.store.keys import find_key, store_key
from proximity.store.ledger import insert_new

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Connection

    from proximity.campaigns.reach import Terms
    from proximity.model import Endpoint, Person

__all__ = [
    "Gone",
    "Reach",
    "add",
    "copied",
    "gone",
    "known_gone",
    "living",
    "mark",
    "reachability",
    "remove",
]

MOST_ENDPOINTS = 100
"""Of one person: whoever leaves more loses the ones they left first."""

_TABLE = schema.gone_endpoints
_OF_PERSON = (
    sa.select(_TABLE).where(_TABLE.c.person == sa.bindparam("person")).order_by(_TABLE.c.at)
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


def add(connection: Connection, person: str, endpoint: Endpoint, now: float) -> None:
    """Keep an address that a person has just left, alive from now on whatever it was before.

    The same address of the same channel stands once. Whoever calls this moves the version of people
    (``People.moved``).
    """
    if endpoint.registered_at is None:
        endpoint = replace(endpoint, registered_at=now)
    known = profiles.read(connection, person) or profiles.Known()
    others = [one for one in known.endpoints if not _same(one, endpoint)]
    kept = (*others[-(MOST_ENDPOINTS - 1) :], endpoint)
    _write(connection, person, known, kept)
    connection.execute(_TABLE.delete().where(*_row(connection, person, endpoint, now)))


def gone(connection: Connection, person: str, endpoint: Endpoint, reason: str, now: float) -> bool:
    """Take out an address that a provider calls dead; False where it was left anew since.

    ``reason`` is the provider's code, nothing that it wrote.
    """
    known = profiles.read(connection, person)
    if known is None:
        return False
    kept = tuple(one for one in known.endpoints if one != endpoint)
    if len(kept) == len(known.endpoints):
        return False
    _write(connection, person, known, kept)
    row = {
        "person": person, "channel": endpoint.channel,
        "hash": _hash(store_key(connection, "endpoints", now), endpoint),
        "reason": reason, "at": now,
    }  # fmt: skip
    connection.execute(_TABLE.delete().where(*_row(connection, person, endpoint, now)))
    connection.execute(
        insert_new(connection.dialect.name, _TABLE, "person", "channel", "hash"), [row]
    )
    return True


def remove(connection: Connection, person: str, endpoint: Endpoint) -> bool:
    """Take out an address that its person does not want to be reached by; whether it was there."""
    known = profiles.read(connection, person)
    if known is None:
        return False
    kept = tuple(one for one in known.endpoints if not _same(one, endpoint))
    if len(kept) == len(known.endpoints):
        return False
    _write(connection, person, known, kept)
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

    One that was not known before counts as left now, where the copy does not say when.
    """
    found = living(connection, person.person, person.endpoints)
    if all(one.registered_at is not None for one in found):
        return found
    known = profiles.read(connection, person.person) or profiles.Known()
    dates = {(one.channel, one.address): one.registered_at for one in known.endpoints}
    return tuple(
        one
        if one.registered_at is not None
        else replace(one, registered_at=dates.get((one.channel, one.address)) or now)
        for one in found
    )


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
