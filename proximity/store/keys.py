"""Which keys does this store keep? One for each person, and one for each purpose of its own.

A person's key seals what they agreed to; once it is destroyed, what it sealed can be tied to
nobody any more, in any copy. Keys are 32 random bytes, made when first needed. Knows nothing of
what they are used for. Every function works on the connection of the caller's transaction.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Literal

import sqlalchemy as sa

from proximity.store import schema
from proximity.store.ledger import insert_new

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import Connection

__all__ = ["destroy_key", "find_key", "person_keys", "store_key"]

Use = Literal["links", "objections", "receipts", "ledger", "endpoints"]

KEY_BYTES = 32
"""As long as SHA-256's result: a longer key of an HMAC adds nothing (RFC 2104, 3)."""
_AT_ONCE = 500  # ids in one statement: SQLite may be built to take no more than 999 variables

_OF_STORE = sa.select(schema.store_keys.c.key).where(
    schema.store_keys.c.name == sa.bindparam("name")
)
_OF_PERSONS = sa.select(schema.person_keys.c.person, schema.person_keys.c.key).where(
    schema.person_keys.c.person.in_(sa.bindparam("persons", expanding=True))
)


def find_key(connection: Connection, use: Use) -> bytes | None:
    """Give the store's key for a use, None while it was never needed."""
    key: bytes | None = connection.scalar(_OF_STORE, {"name": use})
    return key


def store_key(connection: Connection, use: Use, now: float) -> bytes:
    """Give the store's key for a use, made at Unix second ``now`` where there is none yet."""
    key = find_key(connection, use)
    if key is None:
        made = {"name": use, "key": secrets.token_bytes(KEY_BYTES), "created_at": now}
        connection.execute(insert_new(connection.dialect.name, schema.store_keys, "name"), [made])
        key = find_key(connection, use)  # another process may have been quicker
        assert key is not None, "what was written can be read in the same transaction"
    return key


def person_keys(
    connection: Connection, persons: Collection[str], now: float | None = None
) -> dict[str, bytes]:
    """Give the keys of people by id; with ``now``, make those that are missing (Unix seconds)."""
    wanted = list(dict.fromkeys(persons))
    keys = _read(connection, wanted)
    missing = [person for person in wanted if person not in keys]
    if now is not None and missing:
        made = [
            {"person": person, "key": secrets.token_bytes(KEY_BYTES), "created_at": now}
            for person in missing
        ]
        statement = insert_new(connection.dialect.name, schema.person_keys, "person")
        connection.execute(statement, made)
        keys |= _read(connection, missing)
    return keys


def destroy_key(connection: Connection, person: str) -> bool:
    """Destroy a person's key; tells whether there was one."""
    table = schema.person_keys
    return connection.execute(table.delete().where(table.c.person == person)).rowcount > 0


def _read(connection: Connection, persons: list[str]) -> dict[str, bytes]:
    keys: dict[str, bytes] = {}
    for start in range(0, len(persons), _AT_ONCE):
        some = persons[start : start + _AT_ONCE]
        keys.update(
            (row.person, row.key) for row in connection.execute(_OF_PERSONS, {"persons": some})
        )
    return keys
