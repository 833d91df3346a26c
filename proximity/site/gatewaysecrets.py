"""The question: which secrets does a gateway sign with, and until when.

Kept in the store, one row a secret. A new one is in force at once, and those before it go on for a
while, so that a gateway can fetch it. Functions on the caller's connection; ``now`` is given, in
Unix seconds. It must not know what is signed.
"""

from __future__ import annotations

import base64
import secrets
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa

from beacon_gateway.signing import PREFIX, read_secret
from proximity.store import journal, schema

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = [
    "MOST_SECRETS", "OVERLAP_S", "Secret", "SecretRow", "end_secrets", "in_force", "list_secrets",
    "make_secret", "moved", "version",
]  # fmt: skip

# A replaced secret goes on for so long: a gateway asks for its configuration every five minutes,
# and one that is off for a weekend comes back within it.
OVERLAP_S = 7 * 86400.0
# Secrets of one gateway in force at a time; a rotation more ends the oldest.
MOST_SECRETS = 3
_VERSION_KEY = "secrets_version"
# A secret is as long as the hash that signs with it.
_SECRET_BYTES = 32
_NEWEST = (
    schema.gateway_secrets.c.until.is_not(None),
    schema.gateway_secrets.c.created_at.desc(),
)


class SecretRow(NamedTuple):
    """A secret as it may be listed: never the secret itself; times in Unix seconds."""

    id: str
    gateway: str
    created_at: float
    until: float | None


class Secret(NamedTuple):
    """A secret in force: its key, and its text; ``until`` Unix seconds, None: no end is set."""

    id: str
    key: bytes
    text: str
    until: float | None

    def __repr__(self) -> str:
        return f"Secret({self.id!r})"


def make_secret(conn: Connection, gateway: str, now: float, overlap_s: float = OVERLAP_S) -> str:
    """Make a gateway's secret and give its text; the ones before end in ``overlap_s`` seconds."""
    table = schema.gateway_secrets
    mine = table.c.gateway == gateway
    conn.execute(table.delete().where(mine, table.c.until <= now))
    earlier = conn.scalars(sa.select(table.c.id).where(mine).order_by(*_NEWEST))
    for number, secret_id in enumerate(list(earlier)):
        ends = now if number + 1 >= MOST_SECRETS else now + overlap_s
        conn.execute(
            table.update()
            .where(table.c.id == secret_id)
            .where(sa.or_(table.c.until.is_(None), table.c.until > ends))
            .values(until=ends)
        )
    text = PREFIX + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()
    row = {
        "id": secrets.token_hex(4),
        "gateway": gateway,
        "secret": text,
        "created_at": now,
        "until": None,
    }
    conn.execute(table.insert(), row)
    moved(conn)
    return text


def end_secrets(conn: Connection, gateway: str) -> int:
    """End all secrets of a gateway at once; how many that were."""
    table = schema.gateway_secrets
    ended = conn.execute(table.delete().where(table.c.gateway == gateway)).rowcount
    if ended:
        moved(conn)
    return int(ended)


def list_secrets(conn: Connection, now: float, gateway: str | None = None) -> list[SecretRow]:
    """Give the secrets in force at Unix second ``now``, by gateway, the newest first."""
    table = schema.gateway_secrets
    statement = sa.select(table.c.id, table.c.gateway, table.c.created_at, table.c.until)
    statement = statement.where(sa.or_(table.c.until.is_(None), table.c.until > now))
    if gateway is not None:
        statement = statement.where(table.c.gateway == gateway)
    ordered = statement.order_by(table.c.gateway, *_NEWEST)
    return [SecretRow(*row) for row in conn.execute(ordered)]


def version(conn: Connection) -> str | None:
    """Give what changes whenever a secret is made or ended."""
    return journal.read_meta(conn, _VERSION_KEY)


def moved(conn: Connection) -> None:
    """Say that a secret was made or ended: who holds them in memory reads them again."""
    journal.write_meta(conn, _VERSION_KEY, secrets.token_hex(8))


def in_force(conn: Connection) -> dict[str, list[Secret]]:
    """Read the secrets of each gateway, the newest first."""
    table = schema.gateway_secrets
    found: dict[str, list[Secret]] = defaultdict(list)
    for row in conn.execute(sa.select(table).order_by(*_NEWEST)):
        secret = Secret(row.id, read_secret(row.secret), row.secret, row.until)
        found[row.gateway].append(secret)
    return dict(found)
