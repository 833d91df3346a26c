"""Who vouches for what would otherwise be refused? Two people, by name, each with a reason.

Rows are added and never changed: they are the audit. What was approved is named together with a
hash of it, so that a change needs new approvals. It must not know what is refused or why.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import sqlalchemy as sa

from proximity.model import ProximityError, format_time
from proximity.store import schema

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["ENOUGH", "Approval", "approvals", "approve", "vouched"]

ENOUGH = 2
"""So many different people: one alone may be mistaken, or pressed."""
_LONGEST = 1000


class Approval(msgspec.Struct, frozen=True):
    """That somebody vouched for something, when (RFC 3339), and why."""

    what: str
    who: str
    at: str
    reason: str


def approve(connection: Connection, what: str, who: str, reason: str, *, now: float) -> int:
    """Record at Unix second ``now`` that ``who`` vouches; how many people do by then.

    Raises ProximityError where a part is missing or too long, or where they did already.
    """
    said = {"what": what.strip(), "who": who.strip(), "reason": reason.strip()}
    problems = [
        f"{name} must have 1 to {_LONGEST} characters"
        for name, text in said.items()
        if not 1 <= len(text) <= _LONGEST
    ]
    if problems:
        raise ProximityError(*problems)
    table = schema.approvals
    rows = connection.scalars(sa.select(table.c.who).where(table.c.what == said["what"]))
    others = {_name(who) for who in rows}
    if _name(said["who"]) in others:
        raise ProximityError(f"{said['who']!r} has vouched for it already: it takes somebody else")
    connection.execute(table.insert(), {**said, "at": now})
    return len(others) + 1


def approvals(connection: Connection) -> list[Approval]:
    """List every approval, oldest first."""
    table = schema.approvals
    rows = connection.execute(sa.select(table).order_by(table.c.at, table.c.what, table.c.who))
    return [Approval(row.what, row.who, format_time(row.at), row.reason) for row in rows]


def vouched(connection: Connection) -> frozenset[str]:
    """Name everything that enough different people have vouched for."""
    who: dict[str, set[str]] = {}
    for row in connection.execute(sa.select(schema.approvals)):
        who.setdefault(row.what, set()).add(_name(row.who))
    return frozenset(what for what, names in who.items() if len(names) >= ENOUGH)


def _name(who: str) -> str:
    """Write a name as it is compared: Ann is not somebody else than ann."""
    return " ".join(who.casefold().split())
