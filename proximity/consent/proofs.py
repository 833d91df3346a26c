"""What shows that somebody had agreed, at some moment, and to what words? One row and its seal.

The proof of a consent (GDPR article 7(1)): who said what, when, how, told what, and what became of
it since; with the row's place in the chain, so that a head noted elsewhere vouches for it. Where
there was no consent, it says why. Every function works on the connection of the caller's
transaction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa

from proximity.consent import chain
from proximity.consent.consents import is_no, matches, rows_of
from proximity.consent.texts import Text, find_text
from proximity.model import format_time
from proximity.store import schema

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection, Row

__all__ = ["Proof", "Said", "prove", "said", "said_page"]

_rows = schema.consents


class Said(msgspec.Struct, frozen=True, kw_only=True, rename={"since": "from"}):
    """One thing a person said: a yes, or (``withdrawal``) a no; null purpose or channel: to any.

    ``text`` is the SHA-256 of what they were shown, ``seq`` the row's number in the ledger; times
    are RFC 3339 text.
    """

    person: str
    purpose: str | None
    channel: str | None
    since: str | None
    until: str | None
    withdrawal: bool
    recorded_at: str
    source: str
    precision: str | None
    method: str | None
    text: str | None
    seq: int


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a consent was in force, and what shows it.

    ``says`` is the answer in a sentence; ``consent`` the row that speaks for it, or the last that
    did, ``ended_by`` the row that ended it since or before; ``seal`` and ``head`` place the row in
    the chain.
    """

    person: str
    purpose: str
    channel: str | None
    at: str
    in_force: bool
    says: str
    consent: Said | None = None
    ended_by: Said | None = None
    text: Text | None = None
    seal: chain.Seal | None = None
    head: str | None = None


def said(row: Row[Any]) -> Said:
    """Write a row of the ledger as files and HTTP carry it."""
    return Said(
        person=row.person,
        purpose=row.purpose,
        channel=row.channel,
        since=None if row.since is None else format_time(row.since),
        until=None if row.until is None else format_time(row.until),
        withdrawal=is_no(row),
        recorded_at=format_time(row.recorded_at),
        source=row.source,
        precision=row.precision,
        method=row.method,
        text=row.text,
        seq=row.seq,
    )


def said_page(
    connection: Connection, after: int = 0, limit: int = 1000, person: str | None = None
) -> tuple[tuple[Said, ...], int]:
    """Read the consent ledger after a cursor, oldest first, and the cursor that follows."""
    statement = sa.select(_rows).where(_rows.c.seq > after).order_by(_rows.c.seq).limit(limit)
    if person is not None:
        statement = statement.where(_rows.c.person == person)
    items = tuple(said(row) for row in connection.execute(statement))
    return items, items[-1].seq if items else after


def prove(
    connection: Connection, person: str, purpose: str, channel: str | None, at: float
) -> Proof:
    """Tell whether a person's yes to ``purpose`` was in force at Unix second ``at``, and show it.

    ``channel`` None asks for a yes on any channel. Of several that were in force it is the one
    that was said last. A yes that names no beginning proves nothing of the time before it was
    written down; one that does, and was written later, says so.
    """
    rows = rows_of(connection, person)
    meant = [
        row
        for row in rows
        if not is_no(row)
        and row.purpose == purpose
        and (channel is None or row.channel in {None, channel})
    ]
    ends = {row.seq: _end(row, rows) for row in meant}
    in_force = [row for row in meant if _holds(row, ends[row.seq][0], at)]
    shown = in_force[-1] if in_force else meant[-1] if meant else None
    ended_by = None if shown is None else ends[shown.seq][1]
    noted = chain.head(connection)
    return Proof(
        person=person,
        purpose=purpose,
        channel=channel,
        at=format_time(at),
        in_force=bool(in_force),
        says=_sentence(shown, None if shown is None else ends[shown.seq], at, bool(in_force)),
        consent=None if shown is None else said(shown),
        ended_by=None if ended_by is None else said(ended_by),
        text=None if shown is None or shown.text is None else find_text(connection, shown.text),
        seal=None if shown is None else chain.find_seal(connection, shown.seq),
        head=None if noted is None else str(noted),
    )


_End = tuple[float | None, "Row[Any] | None"]


def _end(row: Row[Any], rows: Sequence[Row[Any]]) -> _End:
    """Tell when a yes ended (None: it has not) and which later no ended it, if one did."""
    end, by = row.until, None
    for no in rows:
        if (
            no.seq > row.seq
            and is_no(no)
            and matches(no.purpose, no.channel, row.purpose, row.channel)
            and (end is None or no.since < end)
        ):
            end, by = no.since, no
    return end, by


def _holds(row: Row[Any], end: float | None, at: float) -> bool:
    return _begin(row) <= at and (end is None or at < end)


def _begin(row: Row[Any]) -> float:
    begin: float = row.recorded_at if row.since is None else row.since
    return begin


def _sentence(row: Row[Any] | None, ended: _End | None, at: float, in_force: bool) -> str:
    if row is None or ended is None:
        return "there is no yes to this in the ledger"
    end, by = ended
    told = f"row {row.seq}, recorded {format_time(row.recorded_at)}"
    if in_force:
        later = "" if row.recorded_at <= at else "; it was recorded after the moment asked about"
        return f"in force by {told}{later}"
    if at < _begin(row):
        return f"not yet in force: {told}, begins {format_time(_begin(row))}"
    assert end is not None, "a yes that has begun and is not in force has ended"
    if by is not None:
        return f"withdrawn {format_time(end)} by row {by.seq}; it had been given by {told}"
    return f"ended {format_time(end)} as it was given, by {told}"
