"""The question: which code does the till take for this offer.

Drawn when the offer is redeemed, one for each, and never the same for two: the table says so,
however many redeem at once. Functions on the caller's connection.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import sqlalchemy as sa

from proximity.store.ledger import insert_new
from proximity.store.schema import codes

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["ALPHABET", "issue"]

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's base 32: nothing that looks like something else at a till."""
LENGTH = 8
"""Characters, 40 bits: with a million codes out, one guess in a million hits any of them."""
_TRIES = 20

_OF = sa.select(codes.c.code).where(codes.c.key == sa.bindparam("its_key"))


def issue(connection: Connection, key: str, person: str, now: float) -> str:
    """Give the code of an offer that is redeemed at Unix second ``now``; asked again, the same."""
    for _ in range(_TRIES):
        found: str | None = connection.scalar(_OF, {"its_key": key})
        if found is not None:
            return found
        drawn = "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))
        row = {"code": f"{drawn[:4]}-{drawn[4:]}", "key": key, "person": person, "at": now}
        # Where the code is another's, or this offer has just got one, nothing is written.
        connection.execute(insert_new(connection.dialect.name, codes, "code"), [row]).all()
    raise RuntimeError("no code was free in twenty draws of 2^40")
