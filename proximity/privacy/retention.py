"""How long is what kept, and what is older than that?

One schedule; every table of the schema names its rules, and a test refuses a column without one.
The rows that have outlived their rule are found on a reading connection and deleted in small
pieces, so that nobody waits for them. It must not know what the rows say, nor any engine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa

from proximity.consent.optin import EVENTS
from proximity.dispatch import outbox
from proximity.store import schema

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sqlalchemy import ColumnElement, Connection, Table

    from proximity.store import Store

__all__ = ["AGED", "DAY_S", "SCHEDULE", "Rule", "date", "dormant", "keep_days", "overdue", "sweep"]

DAY_S = 86_400.0
_AT_ONCE = 500
"""Ids in one statement: SQLite may be built to take no more than 999 variables."""
PIECE = 1000
"""Rows deleted in one write: some ten milliseconds, for which the commits of records wait."""


class Rule(NamedTuple):
    """How long one class of rows is kept, in days (None: no time ends it), and why so long."""

    days: float | None
    why: str


SCHEDULE: dict[str, Rule] = {
    "kept": Rule(
        None, "until it is replaced or removed; it is nobody's trace, or proves what was done"
    ),
    "traces": Rule(
        1.0,
        "positions as they came: until a snapshot covers them and `--late` has passed, and of the "
        "engine's memory twice that. Nothing that is decided later needs where somebody walked",
    ),
    "visits": Rule(
        30.0,
        "from when to when in which place: a month is what recency and frequency are asked for",
    ),
    "events": Rule(180.0, "what people did: half a year shows what somebody buys again and again"),
    "quarantine": Rule(30.0, "events that fit no tagging plan: as long as it takes to mend one"),
    "decisions": Rule(
        90.0, "what was sent or withheld, and why: as long as somebody may ask for an explanation"
    ),
    "sends": Rule(
        366.0, "what counts against caps and cooldowns, of which the longest is a year"
    ),
    "queue": Rule(7.0, "what waits to be decided or sent; after a week nobody wants it any more"),
    "person": Rule(
        365.0,
        "profile, consents and tags: while the person is known. After a year without a sign of "
        "them they are forgotten as a whole; who comes back agrees anew",
    ),
    "notices": Rule(
        365.0, "whom a processor still has to erase: until they say it is done, a year at most"
    ),
    "revoked": Rule(90.0, "credentials, once revoked: as long as somebody asks for their misuse"),
    "requests": Rule(30.0, "what gateways and peers sent: as long as one may be switched off"),
}  # fmt: skip
"""The schedule. A file may shorten or lengthen what ends by time (``docs/privacy.md``)."""


class Aged(NamedTuple):
    """Rows that a rule ends: those of ``table`` whose ``at`` (Unix seconds) is past it.

    But none before its ``ends``, where it has one: until then somebody may still use it.
    """

    rule: str
    table: Table
    at: ColumnElement[float]
    where: ColumnElement[bool] | None = None
    ends: ColumnElement[float] | None = None


_ledger, _visits, _sends = schema.ledger, schema.visits, schema.sends
_tokens, _secrets, _events = schema.tokens, schema.gateway_secrets, schema.events


def _known() -> sa.CompoundSelect[str]:
    """Select everyone who has a profile, a subject or a consent."""
    tables = (schema.people, schema.subjects, schema.consents)
    return sa.union(*(sa.select(table.c.person) for table in tables))


_PASSING = sa.or_(_events.c.name.not_in(sorted(EVENTS)), _events.c.person.not_in(_known()))
"""Events that time alone ends: what somebody answered when they were asked for a consent stands for
as long as they are known, for after a no they are not asked again."""

AGED: tuple[Aged, ...] = (
    Aged("visits", _ledger, _ledger.c.at, _ledger.c.kind == "transition"),
    Aged("visits", _visits, sa.func.coalesce(_visits.c.exit_at, _visits.c.enter_at)),
    Aged("decisions", _ledger, _ledger.c.at, _ledger.c.kind != "transition"),
    Aged("decisions", schema.offers, schema.offers.c.created_at, ends=schema.offers.c.expires_at),
    Aged("decisions", schema.codes, schema.codes.c.at),
    Aged("events", _events, _events.c.at, _PASSING),
    Aged("quarantine", schema.quarantine, schema.quarantine.c.at),
    Aged("sends", _sends, _sends.c.at),
    Aged("queue", schema.triggers, schema.triggers.c.due_at),
    Aged("queue", schema.outbox, schema.outbox.c.expires_at),
    Aged("revoked", _tokens, _tokens.c.revoked_at),
    Aged("revoked", _secrets, _secrets.c.until),
    Aged("requests", schema.signed_requests, schema.signed_requests.c.at),
    Aged("requests", schema.gateway_clocks, schema.gateway_clocks.c.heard_at),
    Aged("requests", schema.messages, schema.messages.c.at),
)
"""What time alone ends, a row for each table. The engine ends ``traces`` by itself."""

_seen, _consents = schema.last_seen, schema.consents
_SEEN: tuple[Aged, ...] = tuple(
    one for one in AGED if one.rule in {"visits", "events", "decisions"}
)
"""The rows that show that somebody was there; ``last_seen`` keeps the day when they go."""
_SIGNS: tuple[tuple[Table, ColumnElement[float]], ...] = (
    *((one.table, one.at) for one in _SEEN),
    (_sends, _sends.c.at),
    (_consents, _consents.c.recorded_at),
    (_seen, _seen.c.day),
)


def keep_days(rules: Mapping[str, float] | None = None) -> dict[str, float]:
    """Give the days of every rule that ends by time, with what a file says of them instead."""
    days = {name: rule.days for name, rule in SCHEDULE.items() if rule.days is not None}
    return days | dict(rules or {})


def overdue(
    connection: Connection, now: float, days: Mapping[str, float]
) -> dict[str, tuple[int, float]]:
    """Tell of each table how many rows are past their rule at Unix second ``now``.

    With it the ``at`` of the oldest. Tables without such rows are left out.
    """
    found: dict[str, tuple[int, float]] = {}
    for aged in AGED:
        query = sa.select(sa.func.count(), sa.func.min(aged.at)).where(_past(aged, now, days))
        count, oldest = connection.execute(query.select_from(aged.table)).one()
        if count:
            before = found.get(aged.table.name, (0, oldest))
            found[aged.table.name] = before[0] + count, min(before[1], oldest)
    return found


def sweep(store: Store, now: float, days: Mapping[str, float]) -> Iterator[tuple[str, int]]:
    """Delete what is past its rule at Unix second ``now``, piece by piece: table and rows of each.

    Between two pieces others write; whoever drives it may stop after any. Raises StoreFailed.
    """
    for aged in AGED:
        past = _past(aged, now, days)
        while True:
            keys = store.read(lambda c, a=aged, p=past: _keys(c, a, p))  # type: ignore[misc]
            if not keys:
                break
            yield (
                aged.table.name,
                store.write(
                    lambda c, a=aged, k=keys: _drop(c, a, k, now),  # type: ignore[misc]
                    freeing=True,
                ).result(),
            )
            if len(keys) < PIECE:
                break
    forgotten_before = now - days["notices"] * DAY_S
    gone = store.write(lambda c: _give_up(c, forgotten_before), freeing=True).result()
    if gone:
        yield schema.erasure_notices.name, gone


def dormant(connection: Connection, now: float, days: Mapping[str, float]) -> tuple[str, ...]:
    """Name some of the people of whom there was no sign for as long as ``person`` says.

    A sign is what they did, what was decided about them, or what they agreed to.
    """
    before = now - days["person"] * DAY_S
    known = _known().subquery()
    dated = sa.exists().where(_seen.c.person == known.c.person) | sa.exists().where(
        _consents.c.person == known.c.person
    )
    everyone = sa.select(known.c.person).where(dated)
    # Each table is read once: asked of one person after the other, the ledger takes hours.
    heard = (sa.select(table.c.person).where(at >= before) for table, at in _SIGNS)
    silent = sa.except_(everyone, *heard).order_by("person").limit(PIECE)
    return tuple(connection.scalars(silent))


def date(connection: Connection, now: float) -> int:
    """Date those whom nothing dates, such as who was only ever listed: their year begins now."""
    known = _known().subquery()
    undated = sa.select(known.c.person).where(
        ~sa.exists().where(_seen.c.person == known.c.person),
        ~sa.exists().where(_consents.c.person == known.c.person),
    )
    rows = [{"person": one, "day": _day(now)} for one in connection.scalars(undated.limit(PIECE))]
    if rows:
        connection.execute(_seen.insert(), rows)
    return len(rows)


def _past(aged: Aged, now: float, days: Mapping[str, float]) -> ColumnElement[bool]:
    past = [aged.at < now - days[aged.rule] * DAY_S]
    past += [] if aged.where is None else [aged.where]
    past += [] if aged.ends is None else [aged.ends <= now]
    return sa.and_(*past)


def _keys(
    connection: Connection, aged: Aged, past: ColumnElement[bool]
) -> Sequence[tuple[object, ...]]:
    """Give the keys of some rows that are past their rule."""
    query = sa.select(*_key(aged.table)).where(past).limit(PIECE)
    return [tuple(row) for row in connection.execute(query)]


def _drop(
    connection: Connection, aged: Aged, keys: Sequence[tuple[object, ...]], now: float
) -> int:
    """Delete these rows; of the people in them the last day stays."""
    table, columns = aged.table, _key(aged.table)
    if aged in _SEEN:
        _remember(connection, aged, keys)
    if table is _sends:
        _release(connection, [str(key[0]) for key in keys])
    if table is schema.outbox:
        for start in range(0, len(keys), _AT_ONCE):
            some = [str(key[0]) for key in keys[start : start + _AT_ONCE]]
            outbox.expire(connection, some, at=now)
    chosen = sa.and_(*(column == sa.bindparam(f"k{n}") for n, column in enumerate(columns)))
    connection.execute(
        table.delete().where(chosen), [{f"k{n}": one for n, one in enumerate(key)} for key in keys]
    )
    return len(keys)


def _remember(connection: Connection, aged: Aged, keys: Sequence[tuple[object, ...]]) -> None:
    """Keep of each person whom we know the last day of which these rows know."""
    (column,) = _key(aged.table)
    person = aged.table.c.person
    latest: dict[str, float] = {}
    for start in range(0, len(keys), _AT_ONCE):
        some = [key[0] for key in keys[start : start + _AT_ONCE]]
        query = (
            sa.select(person, sa.func.max(aged.at))
            .where(column.in_(some), person.in_(_known()))
            .group_by(person)
        )
        for name, at in connection.execute(query):
            latest[name] = max(_day(at), latest.get(name, 0.0))
    for name, day in latest.items():
        before = connection.scalar(sa.select(_seen.c.day).where(_seen.c.person == name))
        if before is None:
            connection.execute(_seen.insert(), {"person": name, "day": day})
        elif before < day:
            connection.execute(_seen.update().where(_seen.c.person == name).values(day=day))


def _day(at: float) -> float:
    """Give the beginning of a day: no finer than needed."""
    return at // DAY_S * DAY_S


def _release(connection: Connection, decisions: Sequence[str]) -> None:
    """Forget which decision took a unit; the unit stays gone."""
    table = schema.reservations
    for start in range(0, len(decisions), _AT_ONCE):
        some = decisions[start : start + _AT_ONCE]
        connection.execute(table.delete().where(table.c.decision.in_(some)))


def _give_up(connection: Connection, before: float) -> int:
    """Forget whom a processor never said to have erased, or could never be told to."""
    table, erasures = schema.erasure_notices, schema.erasures
    begun = sa.select(erasures.c.id).where(erasures.c.at < before)
    late = table.c.person.is_not(None) & table.c.erasure.in_(begun)
    return connection.execute(table.update().where(late).values(person=None)).rowcount


def _key(table: Table) -> list[sa.Column[object]]:
    """Give the columns that tell a table's rows apart."""
    return list(table.primary_key.columns)
