"""Who is to be left alone, and who is not to come back? Keyed hashes of ids, and nothing else.

An objection (GDPR article 21) stands above every consent: nothing that presses upon people as
marketing does is sent while it lasts. A tombstone marks who was erased, so that neither an import
nor a late record brings them back. Both outlive the person's own rows, so that they hold no id:
only who already has an id can ask. Every function works on the connection of the caller's
transaction; times are Unix seconds.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Literal

import sqlalchemy as sa

from proximity.model import ProximityError
from proximity.store import schema
from proximity.store.keys import find_key, store_key
from proximity.store.ledger import insert_new

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import Connection

__all__ = [
    "Erased", "any_erased", "bury", "erased", "lift", "marked", "object_to", "objected",
    "refuse_erased",
]  # fmt: skip

Kind = Literal["objected", "erased"]

_AT_ONCE = 500  # ids in one statement: SQLite may be built to take no more than 999 variables
_ANY = sa.select(schema.objections.c.hash).where(
    schema.objections.c.kind == sa.bindparam("kind")
).limit(1)  # fmt: skip
_FOUND = sa.select(schema.objections.c.hash, schema.objections.c.at).where(
    schema.objections.c.kind == sa.bindparam("kind"),
    schema.objections.c.hash.in_(sa.bindparam("hashes", expanding=True)),
)


class Erased(ProximityError):  # noqa: N818 - it says what the person is
    """Somebody was erased and does not come back by being written again."""

    def __init__(self, person: str) -> None:
        self.person = person
        super().__init__(
            f"person {person!r} was erased and is not written again: if they themselves have "
            "asked to come back, lift it first: `proximity consent lift --erased --person …`"
        )


def marked(connection: Connection, ids: Collection[str], kind: Kind) -> dict[str, float]:
    """Tell which of these ids are marked so, and since when."""
    if not ids or connection.scalar(_ANY, {"kind": kind}) is None:
        return {}
    key = find_key(connection, "objections")
    if key is None:
        return {}
    hashes = {_hash(key, one): one for one in ids}
    every = list(hashes)
    found: dict[str, float] = {}
    for start in range(0, len(every), _AT_ONCE):
        some = every[start : start + _AT_ONCE]
        for row in connection.execute(_FOUND, {"kind": kind, "hashes": some}):
            found[hashes[row.hash]] = row.at
    return found


def any_erased(connection: Connection) -> bool:
    """Whether anybody was ever erased."""
    return connection.scalar(_ANY, {"kind": "erased"}) is not None


def objected(connection: Connection, person: str) -> bool:
    """Whether no marketing may be sent to this person, whatever they agreed to."""
    return bool(marked(connection, (person,), "objected"))


def erased(connection: Connection, person: str) -> bool:
    """Whether this person was erased and is not to be written again."""
    return bool(marked(connection, (person,), "erased"))


def refuse_erased(connection: Connection, persons: Collection[str]) -> None:
    """Raise Erased for the first of these people who was erased."""
    for person in marked(connection, persons, "erased"):
        raise Erased(person)


def object_to(connection: Connection, person: str, *, at: float, source: str) -> None:
    """Record that a person objects to marketing, from Unix second ``at``."""
    _mark(connection, (person,), "objected", at, source)


def bury(connection: Connection, ids: Collection[str], *, at: float, source: str) -> None:
    """Mark a person and their subjects as erased at Unix second ``at``."""
    _mark(connection, ids, "erased", at, source)


def lift(connection: Connection, person: str, kind: Kind = "objected") -> bool:
    """Take a mark away, as the person themselves asked; tells whether there was one."""
    key = find_key(connection, "objections")
    if key is None:
        return False
    table = schema.objections
    gone = connection.execute(
        table.delete().where(table.c.hash == _hash(key, person), table.c.kind == kind)
    )
    return gone.rowcount > 0


def _mark(connection: Connection, ids: Collection[str], kind: Kind, at: float, source: str) -> None:
    key = store_key(connection, "objections", at)
    rows = [
        {"hash": _hash(key, one), "kind": kind, "at": at, "source": source}
        for one in dict.fromkeys(ids)
    ]
    if rows:
        statement = insert_new(connection.dialect.name, schema.objections, "hash")
        connection.execute(statement, rows)


def _hash(key: bytes, name: str) -> str:
    # Keyed, because ids are guessed by the million when their plain hash is known.
    return hmac.digest(key, name.encode(), hashlib.sha256).hex()
