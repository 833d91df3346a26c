"""What happened in a time that is over: transitions and events, instant by instant?

Reads the ledger and the table of events. Knows no campaign and no gate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa

from proximity.model import Event, Transition, parse_time
from proximity.store import ledger as rows
from proximity.store.schema import events, ledger

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from sqlalchemy import Connection

__all__ = ["instants"]

_PAGE = 2000
# Rows of the ledger stand in the order of their time, but for some seconds.
_OUT_OF_ORDER_S = 60.0
_decode_properties = msgspec.json.Decoder(dict[str, str | float | bool | None]).decode


class _Record(msgspec.Struct, frozen=True, gc=False):
    """A transition as the ledger has it (contract 6)."""

    kind: Any
    subject: str
    place: str
    visit: str
    decided_at: str
    at: str | None = None
    because: dict[str, Any] = {}
    reason: str | None = None
    dwell_s: float | None = None
    late: bool = False
    enter_at: str | None = None
    exit_at: str | None = None


_decode_record = msgspec.json.Decoder(_Record).decode


def instants(
    connection: Connection, names: Collection[str], since: float, until: float
) -> Iterator[tuple[float, list[tuple[Transition | Event, str]]]]:
    """Give what happened from Unix second ``since`` to before ``until``, instant by instant.

    Each with its time: transitions, then events of these ``names``, and whose each is.
    """
    happened = _events(connection, names, since, until)
    event = next(happened, None)
    told: list[tuple[Transition | Event, str]] = []
    now = since
    for change, person in _transitions(connection, since, until):
        while event is not None and event[0].at < change.decided_at:
            if told and event[0].at > now:
                yield now, told
                told = []
            now = max(now, event[0].at)
            told.append(event)
            event = next(happened, None)
        if told and change.decided_at > now:
            yield now, told
            told = []
        now = max(now, change.decided_at)
        told.append((change, person))
    while event is not None:
        if told and event[0].at > now:
            yield now, told
            told = []
        now = max(now, event[0].at)
        told.append(event)
        event = next(happened, None)
    if told:
        yield now, told


def _transitions(
    connection: Connection, since: float, until: float
) -> Iterator[tuple[Transition, str]]:
    after = rows.last_before(connection, since - _OUT_OF_ORDER_S)
    last = rows.last_before(connection, until + _OUT_OF_ORDER_S)
    page = (
        sa.select(ledger.c.seq, ledger.c.at, ledger.c.person, ledger.c.record)
        .where(
            ledger.c.kind == "transition",
            ledger.c.seq > sa.bindparam("after"),
            ledger.c.seq <= last,
        )
        .order_by(ledger.c.seq)
        .limit(_PAGE)
    )
    while found := connection.execute(page, {"after": after}).all():
        for row in found:
            if since <= row.at < until:
                change = _transition(_decode_record(row.record), row.at)
                yield change, row.person or change.subject
        after = found[-1].seq


def _transition(record: _Record, decided_at: float) -> Transition:
    """Make a transition of its record; the ledger has its time to the last digit."""
    because = {
        name: parse_time(value) if name[-3:] == "_at" and isinstance(value, str) else value
        for name, value in record.because.items()
    }
    return Transition(
        record.kind,
        record.subject,
        record.place,
        record.visit,
        _time(record.at),
        decided_at,
        because,
        record.reason,
        record.dwell_s,
        record.late,
        _time(record.enter_at),
        _time(record.exit_at),
    )


def _time(text: str | None) -> float | None:
    return None if text is None else parse_time(text)


def _events(
    connection: Connection, names: Collection[str], since: float, until: float
) -> Iterator[tuple[Event, str]]:
    """Give the events of these names, in order of time."""
    if not names:
        return
    asked = sa.select(events).where(
        events.c.name.in_(sorted(names)), events.c.at >= since, events.c.at < until
    )
    for row in connection.execute(asked.order_by(events.c.at, events.c.seq)).all():
        properties = _decode_properties(row.properties)
        event = Event(
            subject=row.subject, at=row.at, name=row.name, id=row.id, properties=properties
        )
        yield event, row.person
