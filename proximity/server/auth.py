"""Who is asking, and for whom may they speak? Tokens, hashed at rest, and the roles they carry.

A token is 256 random bits, so its plain SHA-256 is as hard to reverse as the token is to guess
and no slow hash is needed on the ingest path. It is shown once, when it is made. This file must
not know what any route does: which role may do what stands in the route table.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from sqlalchemy import func, insert, or_, select, update

from proximity.model import ProximityError
from proximity.server.problems import Problem
from proximity.store import journal, schema

if TYPE_CHECKING:
    from aiohttp import web
    from sqlalchemy import Connection

    from proximity.store import Store

# Names the token in secret scanners, and keeps one from beginning with the "-" of an option.
PREFIX = "px_"
VERSION_KEY = "tokens_version"
# Both schemes are offered: phones know Basic alone, and a browser asks its user for one.
CHALLENGE = {"WWW-Authenticate": 'Bearer realm="proximity", Basic realm="proximity"'}

# Headers remembered, some 200 bytes each: looking one up takes a tenth of reading and hashing it.
MOST_HEADERS = 10_000


class Role(StrEnum):
    """What a token may be made for (contract 7)."""

    DEVICE = "device"
    GATEWAY = "gateway"
    FEED = "feed"
    MARKETER = "marketer"
    ANALYST = "analyst"
    ADMIN = "admin"


# These speak for the one id they were made for, and for nobody else.
BOUND = frozenset({Role.DEVICE, Role.GATEWAY})


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever sent a request: the token's public id, its role and the one id it speaks for."""

    token: str
    role: Role
    speaks_for: str | None


NOBODY = Caller("", Role.DEVICE, None)
"""Stands in on the open health routes, which ask nothing of their caller."""


@dataclass(frozen=True, slots=True)
class TokenRow:
    """A token as it may be listed: never the token itself."""

    id: str
    role: str
    subject: str | None
    created_at: float
    revoked_at: float | None


def make_token(conn: Connection, role: Role, speaks_for: str | None, now: float) -> str:
    """Make a token and give its text, which is stored nowhere; ``now`` in Unix seconds.

    Raises ProximityError where a device or gateway token names no id.
    """
    if role in BOUND and not speaks_for:
        raise ProximityError(
            f"a {role} token speaks for one id: name it with --id (the subject of a device, "
            "the id of a gateway)"
        )
    token = PREFIX + secrets.token_urlsafe(32)
    row = {
        "id": secrets.token_hex(4),
        "role": str(role),
        "subject": speaks_for,
        "hash": _hash(token),
        "created_at": now,
        "revoked_at": None,
    }
    conn.execute(insert(schema.tokens).values(row))
    _moved(conn)
    return token


def revoke_token(conn: Connection, which: str, now: float) -> int:
    """Revoke the token with the public id ``which``, or ``which`` itself; how many that was."""
    table = schema.tokens
    found = conn.execute(
        update(table)
        .where(or_(table.c.id == which, table.c.hash == _hash(which)))
        .where(table.c.revoked_at.is_(None))
        .values(revoked_at=now)
    )
    if found.rowcount:
        _moved(conn)
    return int(found.rowcount)


def list_tokens(conn: Connection) -> list[TokenRow]:
    """Give every token ever made, oldest first."""
    table = schema.tokens
    columns = (table.c.id, table.c.role, table.c.subject, table.c.created_at, table.c.revoked_at)
    return [TokenRow(*row) for row in conn.execute(select(*columns).order_by(table.c.created_at))]


def admin_exists(conn: Connection) -> bool:
    """Whether a token with the role admin is in force."""
    table = schema.tokens
    living = select(func.count()).where(
        table.c.role == str(Role.ADMIN), table.c.revoked_at.is_(None)
    )
    return bool(conn.execute(living).scalar())


class Tokens:
    """The tokens in force, in memory; ``refresh`` follows what the command line changes."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._by_hash: dict[str, Caller] = {}
        self._by_header: dict[str, Caller] = {}  # as senders wrote them, until tokens change
        self._living: frozenset[str] = frozenset()
        self._version: str | None = ""

    def refresh(self) -> None:
        """Read the table again if its version moved (blocking: one row, mostly)."""
        version = self._store.read(_version)
        if version == self._version:
            return
        self._by_hash = self._store.read(_in_force)
        self._by_header = {}
        self._living = frozenset(caller.token for caller in self._by_hash.values())
        self._version = version

    async def arefresh(self) -> None:
        """Do the same from the event loop."""
        version = await self._store.aread(_version)
        if version == self._version:
            return
        self._by_hash = await self._store.aread(_in_force)
        self._by_header = {}
        self._living = frozenset(caller.token for caller in self._by_hash.values())
        self._version = version

    def in_force(self, caller: Caller) -> bool:
        """Whether the token a caller came with still counts: asked by long-lived streams."""
        return caller.token in self._living

    async def caller(self, request: web.Request, *, in_query: bool) -> Caller:
        """Find who sent ``request``; ``in_query`` also reads ``?token=`` and ``?api_key=``.

        Raises Problem 401 where no token in force came with it.
        """
        header = request.headers.get("Authorization", "")
        known = self._by_header.get(header)
        if known is not None:
            return known
        offered = _offered(request, in_query=in_query)
        for token in offered:
            caller = self._by_hash.get(_hash(token))
            if caller is not None:
                if header and len(self._by_header) < MOST_HEADERS:
                    self._by_header[header] = caller
                return caller
        if not offered:
            raise Problem(
                401,
                "This needs a token: send it as `Authorization: Bearer TOKEN`.",
                headers=CHALLENGE,
            )
        # A token made a moment ago by the command line is not known yet: look before refusing.
        await self.arefresh()
        for token in offered:
            caller = self._by_hash.get(_hash(token))
            if caller is not None:
                return caller
        raise Problem(401, "That token is unknown or revoked.", headers=CHALLENGE)


def _offered(request: web.Request, *, in_query: bool) -> list[str]:
    """List the tokens a request may mean, most likely first."""
    header = request.headers.get("Authorization")
    if header is not None:
        scheme, _, value = header.partition(" ")
        value = value.strip()
        if scheme.lower() == "bearer":
            return [value]
        if scheme.lower() == "basic":
            # Overland sends what its user typed, `TOKEN:`, without encoding it.
            return [*_password(value), value.removesuffix(":")]
        return []
    if in_query and request.query_string:
        query = request.query
        return [query[name] for name in ("token", "api_key") if name in query]
    return []


def _password(value: str) -> list[str]:
    """Give the password of Basic credentials, or the user where the password is empty."""
    try:
        text = base64.b64decode(value, validate=True).decode()
    except (binascii.Error, ValueError):
        return []
    user, _, password = text.partition(":")
    return [password or user]


def _hash(token: str) -> str:
    # Header bytes that are no UTF-8 arrive as surrogates; they must fail to match, not to encode.
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def _version(conn: Connection) -> str | None:
    return journal.read_meta(conn, VERSION_KEY)


def _in_force(conn: Connection) -> dict[str, Caller]:
    table = schema.tokens
    rows = conn.execute(
        select(table.c.hash, table.c.id, table.c.role, table.c.subject).where(
            table.c.revoked_at.is_(None)
        )
    )
    return {
        hashed: Caller(token, Role(role), subject if Role(role) in BOUND else None)
        for hashed, token, role, subject in rows
    }


def _moved(conn: Connection) -> None:
    """Write a new version beside the change, so that a running server sees that it moved."""
    journal.write_meta(conn, VERSION_KEY, secrets.token_hex(8))
