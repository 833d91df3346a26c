"""The question: with whom are people kept alike, how far is each, and how old is what they said.

A peer is a CRM, a shop's database or another engine, under the name by which it is called here.
Functions on the caller's connection; times are Unix seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import sqlalchemy as sa

from beacon_gateway.model import check_id
from proximity.model import ProximityError
from proximity.people.profiles import read_all
from proximity.store import schema
from proximity.store.ledger import insert_new
from proximity.sync.clocks import Told, begin, note_people
from proximity.sync.fields import PERSON, Clock, digest_of, fields_of
from proximity.sync.taking import Taken

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from proximity.people.people import People

__all__ = ["Peer", "admit", "ages", "find", "heard", "listed", "names", "seed"]

_TABLE = schema.peers
_SEEDED = 500
"""People noted in one write: some tenths of a second, for which others wait."""
_MOST_PEERS = 100
_BEFORE = "before"
"""The origin of what was known before anybody was kept alike with us."""


class Peer(msgspec.Struct, frozen=True, kw_only=True):
    """Who is kept alike with us: when a round last ended well, how far it is, and what came of all.

    ``position`` is how far we are in what they say, in their words; ``cursor`` the number of our
    last change that they have.
    """

    id: str
    heard_at: float
    position: str | None
    cursor: int
    counts: Taken


def find(connection: Connection, peer: str) -> Peer | None:
    """Read one peer; None where nobody is called so."""
    return next((one for one in listed(connection) if one.id == peer), None)


def listed(connection: Connection) -> list[Peer]:
    """Read all peers, by name."""
    rows = connection.execute(sa.select(_TABLE).order_by(_TABLE.c.id)).mappings()
    return [
        Peer(**{**row, "counts": msgspec.json.decode(row["counts"], type=Taken)}) for row in rows
    ]


def names(connection: Connection) -> tuple[str, ...]:
    """Name all peers."""
    return tuple(connection.scalars(sa.select(_TABLE.c.id).order_by(_TABLE.c.id)))


def ages(connection: Connection, now: float) -> dict[str, float]:
    """Tell how many seconds ago each peer was last heard of, at Unix second ``now``."""
    rows = connection.execute(sa.select(_TABLE.c.id, _TABLE.c.heard_at))
    return {row.id: max(0.0, now - row.heard_at) for row in rows}


def admit(connection: Connection, peer: str, now: float) -> bool:
    """Begin to keep people alike with a peer; whether they are new. Raises ProximityError."""
    try:
        check_id(peer, "peer")
    except ValueError as error:
        raise ProximityError(str(error)) from None
    known = names(connection)
    if peer in known:
        return False
    if len(known) >= _MOST_PEERS:
        raise ProximityError(f"{len(known)} peers are known, the most there may be")
    row = {"id": peer, "heard_at": now, "cursor": 0, "counts": "{}"}
    return bool(connection.scalars(insert_new(connection.dialect.name, _TABLE, "id"), [row]).all())


def heard(
    connection: Connection,
    peer: str,
    now: float,
    *,
    position: str | None = None,
    cursor: int | None = None,
    taken: Taken | None = None,
) -> None:
    """Note that a peer was heard at Unix second ``now``, how far it is, and what came of it.

    A cursor never goes back. Raises ProximityError where nobody is called so.
    """
    before = find(connection, peer)
    if before is None:
        raise ProximityError(f"peer {peer!r} is not known: PUT /v1/sync/{{id}} first")
    counts = before.counts
    if taken is not None:
        counts.add(taken)
    counts.refused = []  # they name people, and are told to whoever asked
    connection.execute(
        _TABLE.update()
        .where(_TABLE.c.id == peer)
        .values(
            heard_at=max(now, before.heard_at),
            position=before.position if position is None else position,
            cursor=max(before.cursor, cursor or 0),
            counts=msgspec.json.encode(counts).decode(),
        )
    )


def seed(connection: Connection, people: People, now: float) -> int:
    """Note some of those of whom nothing was noted yet; how many they are: again until none is.

    What was known before counts as said before all else, but for what people said they want.
    """
    after = ""
    while found := _unnoted(connection, after):
        states = people.read_all(connection, found)
        said = read_all(connection, found)
        clocks = {
            name: {
                "preferences": Clock(now, PERSON, digest_of(fields_of(states[name])["preferences"]))
            }
            for name, record in said.items()
            if record.preferences
        }
        noted = note_people(connection, states, Told(at=0.0, origin=_BEFORE, clocks=clocks))
        # Of whom nothing is known but the name there is nothing to note: they would be found again.
        noted += begin(connection, states)
        if noted:
            return noted
        after = found[-1]  # all of them were erased, and of those nothing is noted
    return 0


def _unnoted(connection: Connection, after: str) -> list[str]:
    """Give some of those of whom nothing was noted, by name, behind ``after``."""
    tables = (schema.people, schema.subjects, schema.consents)
    known = sa.union(*(sa.select(table.c.person) for table in tables)).subquery()
    noted = sa.select(schema.changes.c.person)
    query = (
        sa.select(known.c.person)
        .where(known.c.person.not_in(noted), known.c.person > after)
        .order_by("person")
        .limit(_SEEDED)
    )
    return list(connection.scalars(query))
