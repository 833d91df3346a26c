"""The question: what happened in a day or a week, in numbers of which nobody can be picked out.

``REPORTS`` is a table: what is counted, by what, and on which grid of time. The grids and what is
counted by are fixed, and a report is made once, when its time is over, and kept: whoever asks
again, after somebody was erased or a visit corrected, gets the same numbers, so that no two answers
differ by a person. What may be told of a number is ``cells``'. Knows no campaign and no place.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import sqlalchemy as sa

from proximity.campaigns.purposes import presses
from proximity.consent.consents import standing
from proximity.model import ProximityError, Verdict, format_time
from proximity.reports.cells import LEAST, told
from proximity.store import schema
from proximity.store.ledger import insert_new
from proximity.tomltable import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from sqlalchemy import Connection

    from proximity.store import Store

__all__ = ["REPORTS", "Period", "Report", "Reported", "make_due", "read_report"]

DAY_S = 86400.0
WEEK_S = 7 * DAY_S
_MONDAY_S = 4 * DAY_S
"""The first Monday after the epoch: weeks begin where ISO 8601 has them, in UTC."""

SETTLED_S = 3600.0
"""A report is made this long after its time is over: as late as a record may be by default."""
MADE_WITHIN_S = 28 * DAY_S
"""What is older is not reported any more where nobody made it in time: of its visits, which are
kept for 30 days, some may be gone."""
MOST_PERIODS = 400
_PAGE = 5000
"""Rows, or people, that are looked at together."""

Row = dict[str, Any]


class Report(NamedTuple):
    """A row of ``REPORTS``: its grid of time in seconds, what it says, and how it is made.

    ``make`` gives the rows of the time from a begin to an end, both Unix seconds.
    """

    grid_s: float
    about: str
    make: Callable[[Connection, float, float], Iterable[Row]]

    def begin(self, at: float) -> float:
        """Give the begin of the period that a Unix second lies in."""
        offset = _MONDAY_S if self.grid_s == WEEK_S else 0.0
        return (at - offset) // self.grid_s * self.grid_s + offset


class Period(msgspec.Struct, frozen=True, rename={"begin": "from", "end": "to"}):
    """One day or week of a report, times RFC 3339; ``rows`` None: it was not made in time."""

    begin: str
    end: str
    rows: list[Row] | None


class Reported(msgspec.Struct, frozen=True):
    """A report: its periods, newest first. What is not told is of fewer than ``least`` people."""

    report: str
    about: str
    least: int
    periods: tuple[Period, ...]


def read_report(store: Store, name: str, now: float, last: int = 7) -> Reported:
    """Give the ``last`` periods of a report that are over at Unix second ``now``, newest first.

    Those that nobody has asked for are made. Raises ProximityError where there is no such report,
    StoreFailed.
    """
    report = REPORTS.get(name)
    if report is None:
        raise ProximityError(f"there is no report {name!r:.60}; {nearest(name, REPORTS)}")
    begins = list(_over(report, now, min(last, MOST_PERIODS)))
    make_due(store, now, {name: report}, last=last)
    kept = store.read(lambda conn: _kept(conn, name, begins))
    return Reported(
        report=name,
        about=report.about,
        least=LEAST,
        periods=tuple(
            Period(format_time(begin), format_time(begin + report.grid_s), kept.get(begin))
            for begin in begins
        ),
    )


def make_due(
    store: Store, now: float, reports: dict[str, Report] | None = None, last: int = MOST_PERIODS
) -> int:
    """Make what is over at Unix second ``now`` and not made yet; give how many periods that was.

    Whoever was quicker has made it: two that make the same write it once.
    """
    made = 0
    for name, report in (REPORTS if reports is None else reports).items():
        begins = [one for one in _over(report, now, last) if one >= now - MADE_WITHIN_S]
        kept = store.read(lambda conn, n=name, b=begins: _kept(conn, n, b))  # type: ignore[misc]
        for begin in begins:
            if begin in kept:
                continue
            end = begin + report.grid_s
            rows = store.read(lambda conn, r=report, b=begin, e=end: list(r.make(conn, b, e)))  # type: ignore[misc]
            row = {
                "report": name,
                "start": begin,
                "rows": msgspec.json.encode(rows).decode(),
                "made_at": now,
            }
            # Small, and what it counts can only go once it is made.
            store.write(lambda conn, row=row: _keep(conn, row), freeing=True).result()  # type: ignore[misc]
            made += 1
    return made


def _over(report: Report, now: float, last: int) -> Iterator[float]:
    """Give the begins of periods that are over and settled, newest first."""
    begin = report.begin(now - SETTLED_S)
    for number in range(1, last + 1):
        if begin - number * report.grid_s < 0:
            return
        yield begin - number * report.grid_s


def _kept(connection: Connection, name: str, begins: list[float]) -> dict[float, list[Row]]:
    table = schema.reports
    if not begins:
        return {}
    found = connection.execute(
        sa.select(table.c.start, table.c.rows).where(
            table.c.report == name, table.c.start.between(begins[-1], begins[0])
        )
    )
    return {row.start: msgspec.json.decode(row.rows, type=list[Row]) for row in found}


def _keep(connection: Connection, row: dict[str, Any]) -> None:
    connection.execute(insert_new(connection.dialect.name, schema.reports, "start"), row).all()


# What is reported -----------------------------------------------------------------------------


def _visits(connection: Connection, begin: float, end: float) -> Iterable[Row]:
    """Count who came to each place."""
    visits = schema.visits
    people = sa.func.count(visits.c.person.distinct())
    found = connection.execute(
        sa.select(visits.c.place, people.label("people"), sa.func.count().label("visits"))
        .where(visits.c.enter_at >= begin, visits.c.enter_at < end)
        .group_by(visits.c.place)
        .having(people >= LEAST)
    )
    rows = ({"place": p, "people": told(n), "visits": told(v)} for p, n, v in found)
    return sorted(rows, key=lambda row: str(row["place"]))


class _Decided(msgspec.Struct):
    decision: str
    reason: str | None


class _Delivered(msgspec.Struct):
    key: str
    outcome: str


def _funnel(connection: Connection, begin: float, end: float) -> Iterable[Row]:
    """Count whom each campaign met, whom it was sent to, whom it reached, and what stopped it."""
    reached = _reached(connection, begin, end + SETTLED_S)
    met: defaultdict[str, set[str]] = defaultdict(set)
    sent: defaultdict[str, set[str]] = defaultdict(set)
    delivered: defaultdict[str, set[str]] = defaultdict(set)
    stopped: defaultdict[str, defaultdict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    ledger = schema.ledger
    asked = sa.select(ledger.c.id, ledger.c.person, ledger.c.campaign, ledger.c.record).where(
        ledger.c.kind == "decision", ledger.c.at >= begin, ledger.c.at < end
    )
    for page in connection.execute(asked).partitions(_PAGE):
        for key, person, campaign, record in page:
            said = _decided(record)
            # A deferral is followed by the decision that counts.
            if person is None or campaign is None or said.decision == Verdict.DEFER:
                continue
            met[campaign].add(person)
            if said.decision == Verdict.SEND:
                sent[campaign].add(person)
                if key in reached:
                    delivered[campaign].add(person)
            elif said.reason is not None:
                stopped[campaign][said.reason].add(person)
    for campaign in sorted(met):
        if told(len(met[campaign])) is None:
            continue
        yield {
            "campaign": campaign,
            "met": told(len(met[campaign])),
            "sent": told(len(sent[campaign])),
            "delivered": told(len(delivered[campaign])),
            "stopped": _told({why: len(who) for why, who in stopped[campaign].items()}),
        }


_decided = msgspec.json.Decoder(_Decided).decode
_delivered = msgspec.json.Decoder(_Delivered).decode


def _reached(connection: Connection, begin: float, end: float) -> set[str]:
    """Give the decisions whose offer some channel took."""
    ledger = schema.ledger
    asked = sa.select(ledger.c.record).where(
        ledger.c.kind == "delivery", ledger.c.at >= begin, ledger.c.at < end
    )
    return {
        said.key
        for page in connection.execute(asked).partitions(_PAGE)
        for (record,) in page
        if (said := _delivered(record)).outcome == "accepted"
    }


class _Handed(msgspec.Struct, frozen=True):
    cost: float = 0.0


class _Sent(msgspec.Struct):
    channel: str
    outcome: str
    handed: _Handed = _Handed()


_sent = msgspec.json.Decoder(_Sent).decode


def _spend(connection: Connection, begin: float, end: float) -> Iterable[Row]:
    """Count what each channel took, and what that cost at the price it was handed over for.

    One offer is one send, to however many devices. The sum is that of the number that is told.
    """
    people: defaultdict[tuple[str, float], set[str]] = defaultdict(set)
    sends: Counter[tuple[str, float]] = Counter()
    ledger = schema.ledger
    asked = sa.select(ledger.c.person, ledger.c.record).where(
        ledger.c.kind == "delivery", ledger.c.at >= begin, ledger.c.at < end
    )
    for page in connection.execute(asked).partitions(_PAGE):
        for person, record in page:
            said = _sent(record)
            if person is not None and said.outcome == "accepted":
                people[said.channel, said.handed.cost].add(person)
                sends[said.channel, said.handed.cost] += 1
    for (channel, cost), count in sorted(sends.items()):
        who, shown = told(len(people[channel, cost])), told(count)
        if who is not None and shown is not None:
            spent = round(cost * shown, 6)
            yield {"channel": channel, "people": who, "cost": cost, "sends": shown, "spent": spent}


_BANDS = ((1, "1"), (2, "2"), (3, "3"), (4, "4"), (5, "5 to 9"), (10, "10 or more"))


def _fatigue(connection: Connection, begin: float, end: float) -> Iterable[Row]:
    """Count people by how many messages they were sent that press upon them, by all systems."""
    sends = schema.sends
    pressed: Counter[str] = Counter()
    asked = sa.select(sends.c.person, sends.c.purpose).where(sends.c.at >= begin, sends.c.at < end)
    for page in connection.execute(asked).partitions(_PAGE):
        pressed.update(person for person, purpose in page if presses(purpose))
    bands: Counter[str] = Counter()
    for count in pressed.values():
        bands[next(name for least, name in reversed(_BANDS) if count >= least)] += 1
    shown = _told(bands)
    return [{"sends": name, "people": shown[name]} for _, name in _BANDS if name in shown]


def _consents(connection: Connection, _begin: float, end: float) -> Iterable[Row]:
    """Count who agreed to each purpose, as it stood at the end."""
    people = connection.scalars(sa.select(schema.consents.c.person).distinct()).all()
    agreed: Counter[str] = Counter()
    for start in range(0, len(people), _PAGE):
        for consents in standing(connection, people[start : start + _PAGE]).values():
            agreed.update({one.purpose for one in consents if one.holds(end)})
    rows = _told(agreed)
    return [{"purpose": name, "people": rows[name]} for name in sorted(rows)]


def _told(counts: dict[str, int]) -> dict[str, int]:
    """Give what may be told of each number, by name; what may not is left out."""
    shown = {name: told(count) for name, count in sorted(counts.items())}
    return {name: count for name, count in shown.items() if count is not None}


REPORTS: dict[str, Report] = {
    "visits": Report(DAY_S, "people and visits by place, a day (UTC)", _visits),
    "funnel": Report(
        WEEK_S, "people met, sent to and reached by campaign, and what stopped it, a week", _funnel
    ),
    "spend": Report(WEEK_S, "what was sent by each channel, and what it cost, a week", _spend),
    "fatigue": Report(WEEK_S, "people by how many messages pressed upon them, a week", _fatigue),
    "consents": Report(WEEK_S, "people who agreed, by purpose, at the end of a week", _consents),
}
"""Every report; a new one is a new row."""
