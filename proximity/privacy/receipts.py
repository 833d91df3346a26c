"""What is there to show of an erasure? A receipt that names nobody and that nobody can forge.

It is signed with a key of the store, so the store alone can tell a genuine one; whoever asks with
the person's id also learns whether it is theirs. It must not know how anything is erased.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING

import msgspec
import sqlalchemy as sa

from proximity.store import schema
from proximity.store.keys import find_key, store_key

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["NOT_REACHED", "Receipt", "genuine", "hash_of", "receipt_of", "signed"]

NOT_REACHED = (
    (
        "gateways: what they heard and could not send yet stays in their spool until they can; "
        "then it is taken from them and written nowhere"
    ),
    (
        "backups and copies made before: keep them no longer than the schedule says, and erase "
        "again after one is restored"
    ),
    "free blocks of the disk itself, and files that others were given",
)
"""What no erasure here can touch. A receipt says so."""


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """What was erased; it names nobody. ``rows`` are by table, ``signature`` covers all before it.

    ``person`` is the HMAC-SHA256 of the id under a key of the store, ``at`` and ``finished_at`` are
    RFC 3339.
    """

    id: str
    person: str
    source: str
    at: str
    finished_at: str
    rows: dict[str, int]
    records: int
    tombstone: bool
    processors: tuple[str, ...] = ()
    not_reached: tuple[str, ...] = NOT_REACHED
    signature: str = ""


def receipt_of(connection: Connection, erasure: str) -> Receipt | None:
    """Give the receipt of a finished erasure; None where there is none."""
    table = schema.erasures
    text = connection.scalar(sa.select(table.c.receipt).where(table.c.id == erasure))
    return None if text is None else msgspec.json.decode(text, type=Receipt)


def genuine(connection: Connection, receipt: Receipt, person: str | None = None) -> bool:
    """Whether this store signed a receipt, and, if asked, whether it is of this person."""
    key = find_key(connection, "receipts")
    if key is None:
        return False
    if person is not None and not _same(_hash(key, person), receipt.person):
        return False
    return _same(_sign(key, receipt), receipt.signature)


def signed(connection: Connection, receipt: Receipt, now: float) -> Receipt:
    """Sign a receipt, with a key made at Unix second ``now`` where there is none yet."""
    key = store_key(connection, "receipts", now)
    return msgspec.structs.replace(receipt, signature=_sign(key, receipt))


def hash_of(connection: Connection, person: str, now: float) -> str:
    """Give what a receipt calls a person."""
    return _hash(store_key(connection, "receipts", now), person)


def _sign(key: bytes, receipt: Receipt) -> str:
    unsigned = msgspec.structs.replace(receipt, signature="")
    text = msgspec.json.encode(unsigned, order="sorted")
    return f"hmac-sha256={hmac.digest(key, text, hashlib.sha256).hex()}"


def _same(ours: str, told: str) -> bool:
    # As bytes: of texts only those in ASCII can be compared, and anything may be told.
    return hmac.compare_digest(ours.encode(), told.encode())


def _hash(key: bytes, person: str) -> str:
    return hmac.digest(key, b"person\x00" + person.encode(), hashlib.sha256).hex()
