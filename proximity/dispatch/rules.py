"""The question: do those who decide on one store go by the same rules?

The server says in the store which campaigns file it goes by and where consent is kept. A worker
that was given another file would suppress the server's offers, or make other ones of the same
triggers; so each of its transactions asks first. Functions on the caller's connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from proximity.store.journal import read_meta, write_meta

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["Rules", "announce", "in_force"]

_FACT = "rules"


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What a server goes by: the hash of its campaigns file's text, and where consent is kept."""

    campaigns: str
    consent: Literal["required", "assumed"]


def announce(connection: Connection, rules: Rules) -> None:
    """Say what the server goes by from now on."""
    write_meta(connection, _FACT, msgspec.json.encode(rules).decode())


def in_force(connection: Connection) -> Rules | None:
    """Tell what the last server on this store goes by; None where none has been."""
    text = read_meta(connection, _FACT)
    return None if text is None else msgspec.json.decode(text, type=Rules)
