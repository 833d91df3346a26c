"""What have people agreed to, and what have they withdrawn? An append-only ledger of their words.

A yes is a row, and so is a no: one whose ``until`` is its ``since``, which agrees to nothing and
ends, from that moment, the earlier rows that it matches. Rows are never changed; each is sealed by
``chain`` in the transaction that records it. Knows neither profiles nor campaigns. Every function
works on the connection of the caller's transaction; times are Unix seconds.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa

from proximity.consent import chain
from proximity.consent.objections import refuse_erased
from proximity.consent.purposes import BOUNDING, consent_problems
from proximity.dispatch import outbox
from proximity.model import MOST_CONSENTS, Consent, ProximityError
from proximity.store import schema
from proximity.store.keys import destroy_key

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from sqlalchemy import Connection, Row

    from proximity.dispatch.outbox import InFlight

__all__ = [
    "consent_of", "erase", "ever_agreed", "grant", "import_said", "is_no", "load_consents",
    "matches", "rows_by_person", "rows_of", "standing", "withdraw",
]  # fmt: skip

_AT_ONCE = 500  # ids in one statement: SQLite may be built to take no more than 999 variables

_rows = schema.consents
_CONSENTS = (
    sa.select(_rows)
    .where(_rows.c.person.in_(sa.bindparam("persons", expanding=True)))
    .order_by(_rows.c.seq)
)
_SAY = _rows.insert().returning(*_rows.c, sort_by_parameter_order=True)


def load_consents(connection: Connection, person: str) -> tuple[Consent, ...]:
    """Read a person's consents in the order recorded, each ended where it was withdrawn."""
    return standing(connection, (person,)).get(person, ())


def standing(connection: Connection, persons: Sequence[str]) -> dict[str, tuple[Consent, ...]]:
    """Read the consents of those who have any, as ``load_consents`` does."""
    found: dict[str, list[Consent]] = {}
    for row in _read(connection, persons):
        theirs = found.setdefault(row.person, [])
        if is_no(row):
            theirs[:] = [_ended(one, row.purpose, row.channel, row.since) for one in theirs]
            if row.purpose in BOUNDING:
                # It bounds what may be known of them, though no yes came before it.
                theirs.append(consent_of(row))
        else:
            theirs.append(consent_of(row))
    return {person: tuple(theirs) for person, theirs in found.items()}


def is_no(row: Row[Any]) -> bool:
    """Whether a row of the ledger is a withdrawal."""
    return row.since is not None and row.since == row.until


def consent_of(row: Row[Any]) -> Consent:
    """Read a row that names a purpose as the consent it stands for."""
    return Consent(
        purpose=row.purpose,
        channel=row.channel,
        since=row.since,
        until=row.until,
        precision=row.precision,
        method=row.method,
        text=row.text,
    )


def grant(connection: Connection, person: str, consent: Consent, *, source: str, now: float) -> int:
    """Record a yes, said anew, and where it came from; give its number.

    Raises ProximityError where its purpose is none, where it would end before it begins, or where
    the person has as many as one may have; Erased where they are not to come back.
    """
    refuse_erased(connection, (person,))
    if len(load_consents(connection, person)) >= MOST_CONSENTS:
        raise ProximityError(
            f"person {person!r}: {MOST_CONSENTS} consents are recorded, the most there may be; "
            "remove the person and put them again with those that stand"
        )
    return _record(connection, [_yes(person, consent, source, now)], now)[0]


def import_said(
    connection: Connection,
    said: Iterable[tuple[str, Iterable[Consent]]],
    *,
    source: str,
    now: float,
) -> int:
    """Record what others say that people agreed to, as far as it is news; how many rows that is.

    What was recorded before is not recorded again, and what is older than a no to it is no news:
    importing a list brings nothing back that was withdrawn since. Raises as ``grant`` does.
    """
    given = [(person, tuple(consents)) for person, consents in said]
    agreeing = list(dict.fromkeys(person for person, consents in given if consents))
    known: set[tuple[Any, ...]] = set()
    noes: dict[str, list[Row[Any]]] = {}
    count: Counter[str] = Counter()
    for row in _read(connection, agreeing):
        known.add((row.person, row.purpose, row.channel, row.since, row.until))
        count[row.person] += 1
        if is_no(row):
            noes.setdefault(row.person, []).append(row)
    rows: list[dict[str, Any]] = []
    for person, consents in given:
        for consent in consents:
            key = (person, consent.purpose, _channel(consent.channel), consent.since, consent.until)
            if key in known or any(_older(consent, no) for no in noes.get(person, ())):
                continue
            known.add(key)
            count[person] += 1
            if count[person] > MOST_CONSENTS:
                raise ProximityError(
                    f"person {person!r}: more than {MOST_CONSENTS} consents with those "
                    "recorded before; remove the person and put them again"
                )
            rows.append(_yes(person, consent, source, now, or_no=True))
    if rows:
        _record(connection, rows, now)
    return len(rows)


def withdraw(
    connection: Connection,
    person: str,
    purpose: str | None = None,
    channel: str | None = None,
    *,
    at: float,
    now: float,
    source: str,
    method: str | None = None,
    again: bool = False,
) -> list[InFlight]:
    """Record a no from ``at`` on: to a purpose, a channel, both, or everything.

    What waits to be sent on it is taken out in the same transaction; gives what is being handed
    over at this moment and cannot be called back. A consent to every channel ends with the first
    channel that is withdrawn: in doubt, no. The same no said again, with no yes between, is no new
    row: a link to withdraw may be pressed for ever. ``again`` records it all the same: it was said
    elsewhere, at a moment that counts. Of who was erased nothing is written.
    """
    try:
        refuse_erased(connection, (person,))
    except ProximityError:
        return []  # there is nothing to withdraw, and nothing waits
    if again or not _said_already(rows_of(connection, person), purpose, _channel(channel)):
        row = _row(person, purpose, channel, at, at, source=source, method=method, now=now)
        _record(connection, [row], now)
    return outbox.withdraw(connection, person, purpose, _channel(channel), at=at)


def erase(connection: Connection, person: str, now: float) -> int:
    """Erase a person's rows and the key that sealed them; how many rows there were.

    Their seals stay, marked, so that the chain of all others still proves itself.
    """
    chain.excuse(connection, person, now)
    gone = connection.execute(_rows.delete().where(_rows.c.person == person)).rowcount
    destroy_key(connection, person)
    return gone


def rows_of(connection: Connection, person: str) -> list[Row[Any]]:
    """Read all that a person ever said, in order."""
    return list(_read(connection, (person,)))


def rows_by_person(connection: Connection, persons: Collection[str]) -> dict[str, list[Row[Any]]]:
    """Read all that each of these people ever said, in order."""
    found: dict[str, list[Row[Any]]] = {}
    for row in _read(connection, persons):
        found.setdefault(row.person, []).append(row)
    return found


def ever_agreed(connection: Connection, persons: Collection[str], purpose: str) -> bool:
    """Whether any of these people ever said yes to a purpose, withdrawn since or not."""
    return any(not is_no(row) and row.purpose == purpose for row in _read(connection, persons))


def matches(
    purpose: str | None, channel: str | None, consent_purpose: str, consent_channel: str | None
) -> bool:
    """Whether a withdrawal of a purpose and a channel (None: any) ends a consent to these."""
    return purpose in {None, consent_purpose} and (
        channel is None or consent_channel in {None, "*", channel}
    )


def _record(connection: Connection, rows: list[dict[str, Any]], now: float) -> list[int]:
    """Append rows and their seals; give their numbers."""
    last = chain.begin(connection, now)
    written = connection.execute(_SAY, rows).all()
    chain.seal(connection, last, written, now)
    return [row.seq for row in written]


def _yes(
    person: str, consent: Consent, source: str, now: float, *, or_no: bool = False
) -> dict[str, Any]:
    """Write a yes as a row, or, where it may be one, the no that an export wrote as a consent."""
    problems = [f"person {person!r}: {one}" for one in consent_problems(consent, or_no=or_no)]
    if problems:
        raise ProximityError(*problems)
    return _row(
        person, consent.purpose, consent.channel, consent.since, consent.until,
        source=source, method=consent.method, now=now,
        precision=consent.precision, text=consent.text,
    )  # fmt: skip


def _row(
    person: str,
    purpose: str | None,
    channel: str | None,
    since: float | None,
    until: float | None,
    *,
    source: str,
    method: str | None,
    now: float,
    precision: str | None = None,
    text: str | None = None,
) -> dict[str, Any]:
    return {
        "person": person,
        "purpose": purpose,
        "channel": _channel(channel),
        "since": since,
        "until": until,
        "recorded_at": now,
        "source": source,
        "precision": precision,
        "method": method,
        "text": text,
    }


def _channel(channel: str | None) -> str | None:
    return None if channel == "*" else channel


def _said_already(rows: Sequence[Row[Any]], purpose: str | None, channel: str | None) -> bool:
    """Whether this very no is among the rows, and no yes to it after it."""
    for row in reversed(rows):
        if is_no(row):
            if (row.purpose, row.channel) == (purpose, channel):
                return True
        elif matches(purpose, channel, row.purpose, row.channel):
            return False
    return False


def _older(consent: Consent, no: Row[Any]) -> bool:
    """Whether a yes was said before a no that would have ended it."""
    return (consent.since is None or consent.since < no.since) and matches(
        no.purpose, no.channel, consent.purpose, consent.channel
    )


def _ended(consent: Consent, purpose: str | None, channel: str | None, at: float) -> Consent:
    """End a consent at ``at`` where a withdrawal of purpose and channel (None: any) matches it."""
    if not matches(purpose, channel, consent.purpose, consent.channel) or (
        consent.until is not None and consent.until <= at
    ):
        return consent
    return msgspec.structs.replace(consent, until=at)


def _read(connection: Connection, persons: Collection[str]) -> Iterable[Row[Any]]:
    every = list(persons)
    for start in range(0, len(every), _AT_ONCE):
        yield from connection.execute(_CONSENTS, {"persons": every[start : start + _AT_ONCE]})
