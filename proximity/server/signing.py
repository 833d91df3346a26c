"""Is this request really from that gateway, and does it come for the first time?

Standard Webhooks signatures with a gateway's own secret: within 300 s of the server's clock, and
each ``webhook-id`` once. What was taken is remembered on disk before it is acknowledged, and for as
long as its signature would still be good. Must not know what a request is for.
"""

from __future__ import annotations

import hmac
from email.utils import formatdate
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import sqlalchemy as sa

from beacon_gateway.model import check_id
from beacon_gateway.signing import (
    ID_HEADER,
    SIGNATURE_HEADER,
    TIME_HEADER,
    signature,
)
from proximity.server.auth import Caller, Role
from proximity.server.problems import Problem
from proximity.server.reading import RECORDS_LIMIT, Asked, off_loop, read_body
from proximity.site import gatewaysecrets
from proximity.store import schema

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

    from proximity.store import Store

# The tolerance that Standard Webhooks names: how far a sender's clock may be off, seconds.
TOLERANCE_S = 300.0
# How often what can come no more is deleted.
PRUNE_S = 60.0
GATEWAY_HEADER = "Gateway"
#: The id that a gateway asks by which does not know its own.
SELF = "self"
# Each secret is tried then, so only of what is small.
SELF_BYTES = 64 * 2**10
# Nobody has proved anything while a body is read: larger ones than a gateway's usual batch, some
# 150 kB, are read by so many at a time, or strangers could fill the memory.
USUAL_BYTES = 256 * 2**10
MOST_LARGE = 4


class Signed(NamedTuple):
    """A request whose signature is good: who sent it, its id, when it was signed (Unix seconds).

    ``newer`` is the secret that replaces the one it was signed with, None where that is the newest.
    """

    caller: Caller
    gateway: str
    message: str
    at: float
    newer: str | None

    def __repr__(self) -> str:
        return f"Signed({self.gateway!r}, {self.message!r})"


class Signatures:
    """Secrets in force and the requests that were taken, in memory as on disk.

    ``clock`` gives Unix seconds. Use from one event loop; ``arefresh`` follows what the command
    line changes.
    """

    def __init__(self, store: Store, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock
        self._version: str | None = ""
        self._secrets: dict[str, list[gatewaysecrets.Secret]] = {}
        self._taken: dict[tuple[str, str], float] = store.read(_taken)
        self._taking: set[tuple[str, str]] = set()
        self._large = 0
        self._pruned_at = clock()

    async def arefresh(self) -> None:
        """Read the secrets again if their version moved."""
        version = await self._store.aread(gatewaysecrets.version)
        if version != self._version:
            self._secrets = await self._store.aread(gatewaysecrets.in_force)
            self._version = version

    async def admit(self, request: Asked) -> Signed:
        """Find who signed ``request``; ``keep`` or ``release`` must follow.

        Raises Problem 401, whose ``code`` says why: ``unknown``, ``signature``, ``clock`` or
        ``repeated``; 503 where the same request is being taken, or too much is being read.
        """
        headers = request.headers
        message, time = headers.get(ID_HEADER, ""), headers.get(TIME_HEADER, "")
        if not (time.isascii() and time.isdigit() and len(time) <= 12 and _is_id(message)):
            raise _refusal("signature", "The webhook headers are incomplete or malformed.")
        body = await self._read(request)
        request.whole = body  # it can be read once
        gateway = _named(request, body)
        found = await off_loop(
            len(body), lambda: self._match(gateway, message, time, body, headers)
        )
        if found is None:
            # A secret made a moment ago by the command line is not known yet: look once more.
            await self.arefresh()
            found = self._match(gateway, message, time, body, headers)
        if found is None:
            known = gateway == SELF or gateway in self._secrets
            raise _refusal(
                "signature" if known else "unknown",
                "The signature is none of this gateway's: pair it anew."
                if known
                else "No secret is in force for this gateway: pair it.",
            )
        gateway, secret, newer = found
        now, at = self._clock(), float(time)
        if abs(now - at) > TOLERANCE_S:
            raise _refusal(
                "clock",
                f"It was signed {abs(now - at):.0f} s from now: set the clock by Date.",
                now,
            )
        name = gateway, message
        if name in self._taken:
            raise _refusal("repeated", "This request was taken before.")
        if name in self._taking:
            raise Problem(503, "The same request is being taken.", headers={"Retry-After": "1"})
        self._taking.add(name)
        return Signed(Caller(secret.id, Role.GATEWAY, gateway), gateway, message, at, newer)

    async def keep(self, signed: Signed) -> None:
        """Remember that a request was taken; returns once that is on disk. Raises StoreFailed."""
        now = self._clock()
        prune = now >= self._pruned_at + PRUNE_S
        row = {"gateway": signed.gateway, "message": signed.message, "at": signed.at}
        gone = now - TOLERANCE_S - PRUNE_S

        def work(conn: Connection) -> None:
            conn.execute(_INSERT, row)
            if prune:
                conn.execute(_PRUNE, {"gone": gone})

        self._taken[signed.gateway, signed.message] = signed.at
        try:
            await self._store.awrite(work)
        except BaseException:
            self._taken.pop((signed.gateway, signed.message), None)
            raise
        if prune:
            self._pruned_at = now
            self._taken = {name: at for name, at in self._taken.items() if at >= gone}

    def release(self, signed: Signed) -> None:
        """Say that a request is no longer being taken, whatever came of it."""
        self._taking.discard((signed.gateway, signed.message))

    async def _read(self, request: Asked) -> bytes:
        """Read a body of nobody knows whom; a large one where few others are being read."""
        length = None if "Content-Encoding" in request.headers else request.content_length
        # Without a body, as with GET, there is neither length nor encoding.
        large = request.body_exists and (length is None or length > USUAL_BYTES)
        if large and self._large >= MOST_LARGE:
            headers = {"Retry-After": "1", "Connection": "close"}
            raise Problem(503, "Too many large bodies are being checked.", headers=headers)
        self._large += large
        try:
            return await read_body(request, RECORDS_LIMIT)
        finally:
            self._large -= large

    def _match(
        self, gateway: str, message: str, time: str, body: bytes, headers: object
    ) -> tuple[str, gatewaysecrets.Secret, str | None] | None:
        """Find who made one of the signatures, with which secret in force, and a newer one.

        All from one look: secrets may change while a large body is read in a thread.
        """
        assert hasattr(headers, "get")
        offered = str(headers.get(SIGNATURE_HEADER, ""))[:1024].split(" ")
        now = self._clock()
        asked = [gateway]
        if gateway == SELF and len(body) <= SELF_BYTES:
            asked = list(self._secrets)
        for name in asked:
            known = self._secrets.get(name, [])
            for secret in known:
                if secret.until is not None and secret.until <= now:
                    continue
                good = signature(secret.key, message, int(time), body).encode()
                # Every one is compared, so that the time it takes tells nothing.
                same = [
                    hmac.compare_digest(good, one.encode("utf-8", "replace")) for one in offered
                ]
                if any(same):
                    return name, secret, None if secret is known[0] else known[0].text
        return None


def _named(request: Asked, body: bytes) -> str:
    """Name the gateway that says it signed: the header, the path, else the first record."""
    named = request.headers.get(GATEWAY_HEADER) or request.named
    if named:
        return named
    try:
        text = body.lstrip()
        first = (
            msgspec.json.decode(text, type=list[msgspec.Raw])[0]
            if text.startswith(b"[")
            else msgspec.Raw(text.split(b"\n", 1)[0])
        )
        return msgspec.json.decode(first, type=_Names).gateway
    except (ValueError, IndexError, RecursionError):
        return ""


class _Names(msgspec.Struct):
    gateway: str = ""


def _refusal(code: str, detail: str, now: float | None = None) -> Problem:
    headers = None if now is None else {"Date": formatdate(now, usegmt=True)}
    return Problem(401, detail, code=code, headers=headers)


def _is_id(text: str) -> bool:
    try:
        check_id(text, ID_HEADER)
    except ValueError:
        return False
    return text.isascii()


# The newest is the one that nothing replaces: by time alone a clock set back would hand out an old
# secret in place of the new one.
_INSERT = schema.signed_requests.insert()
_PRUNE = schema.signed_requests.delete().where(schema.signed_requests.c.at < sa.bindparam("gone"))


def _taken(conn: Connection) -> dict[tuple[str, str], float]:
    table = schema.signed_requests
    return {(row.gateway, row.message): row.at for row in conn.execute(sa.select(table))}
