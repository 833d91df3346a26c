"""The question: which purchase did which offer bring, as a till, a shop or a CRM tells of it.

A purchase that names its offer, or the code that stood in it, is put down to that offer; any other
to the last offer that reached the person within the campaign's window. Each is kept as an event of
the person, once, and moves the offer once. Of who agrees to nothing, nothing is written. Functions
on the caller's connection; times are Unix seconds.
"""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import sqlalchemy as sa

from beacon_gateway.model import check_id, parse_time
from proximity.dispatch import receipts
from proximity.dispatch.states import STATES
from proximity.model import Event, ProximityError, digest
from proximity.people.behaviour import write_history
from proximity.people.tagging import NO_PLAN
from proximity.store import schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from sqlalchemy import Connection

    from proximity.campaigns.campaigns import PlaceFacts
    from proximity.people.people import People
    from proximity.people.tagging import Plan
    from proximity.sync.rules import Rules

    Time = float
else:
    Time = float | str

__all__ = ["CHANNEL", "COLUMNS", "MOST", "Conversion", "Counted", "read_conversions", "take"]

CHANNEL = "import"
"""The channel that the records of conversions from elsewhere name."""
PURCHASE = "purchase"
MOST = 500
"""Conversions in one write: each reads a person's offers."""
_REACHED = tuple(name for name, row in STATES.items() if row.rank >= STATES["accepted"].rank)
_MOST_PROBLEMS = 100
COLUMNS = ("id", "person", "key", "code", "at", "value", "currency")
_LONGEST_CELL = 1024
_OFFERS = (
    sa.select(schema.offers.c.key, schema.offers.c.campaign, schema.offers.c.created_at)
    .where(
        schema.offers.c.person == sa.bindparam("person"),
        schema.offers.c.state.in_(_REACHED),
        schema.offers.c.created_at <= sa.bindparam("at"),
    )
    .order_by(schema.offers.c.created_at.desc(), schema.offers.c.key)
    .limit(100)
)


class Conversion(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A purchase at Unix second ``at`` (RFC 3339 text is taken), and whose: one of three ways.

    ``person``, the offer's ``key``, or the ``code`` that stood in it. ``value`` is in ``currency``
    (ISO 4217). ``id`` is its sender's name for it; without one, the same said twice is one.
    """

    at: Time
    id: str | None = None
    person: str | None = None
    key: str | None = None
    code: str | None = None
    value: float | None = None
    currency: str | None = None

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "at", parse_time(self.at))
        for name in ("id", "person", "key", "code"):
            value = getattr(self, name)
            if value is not None:
                check_id(value, name)
        if self.person is None and self.key is None and self.code is None:
            raise ValueError("a conversion needs a person, a key or a code")
        if self.currency is not None and not (len(self.currency) == 3 and self.currency.isalpha()):
            raise ValueError(f"currency: {self.currency!r:.20} is no code such as EUR")


class Counted(msgspec.Struct, kw_only=True):
    """What became of conversions; they add up to as many as there were.

    ``attributed`` to an offer; ``repeated``: that offer had brought something before; ``unmatched``
    to any, and kept as a purchase; ``duplicate``: known; ``unknown``: of nobody whom we know;
    ``unconsented`` and ``quarantined`` as events are.
    """

    attributed: int = 0
    repeated: int = 0
    unmatched: int = 0
    duplicate: int = 0
    unknown: int = 0
    unconsented: int = 0
    quarantined: int = 0

    def add(self, other: Counted) -> None:
        """Count others with these."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


def take(
    connection: Connection,
    people: People,
    some: Sequence[Conversion],
    rules: Rules,
    *,
    now: float,
    places: Callable[[str], PlaceFacts],
    plan: Plan = NO_PLAN,
    consent: Literal["required", "assumed"] = "required",
) -> Counted:
    """Write conversions at Unix second ``now``; tell what became of them."""
    counted = Counted()
    for one in some:
        what = _take_one(connection, people, one, rules, now, places, plan, consent)
        setattr(counted, what, getattr(counted, what) + 1)
    return counted


def _take_one(
    connection: Connection,
    people: People,
    one: Conversion,
    rules: Rules,
    now: float,
    places: Callable[[str], PlaceFacts],
    plan: Plan,
    consent: Literal["required", "assumed"],
) -> str:
    person, key = _whose(connection, one)
    if person is None:
        return "unknown"
    if key is None:
        key = _last_offer(connection, person, one.at, rules)
    event = _event(one, person)
    if key is not None:
        naming = {**event.properties, "offer": key}
        told = msgspec.structs.replace(event, properties=naming)
        if not plan.problems(told):  # a plan that does not know the word may leave it out
            event = told
    written = write_history(connection, [event], people, plan, places, now=now, consent=consent)
    if not written.accepted:
        return next(
            name for name in ("duplicate", "unconsented", "quarantined") if getattr(written, name)
        )
    if key is None:
        return "unmatched"
    new = receipts.record(connection, key, "converted", CHANNEL, one.at)
    return "attributed" if new else "repeated"


def _whose(connection: Connection, one: Conversion) -> tuple[str | None, str | None]:
    """Tell whose purchase it was, and of which offer where it says so."""
    offers, codes = schema.offers, schema.codes
    key = one.key
    if key is None and one.code is not None:
        key = connection.scalar(sa.select(codes.c.key).where(codes.c.code == one.code))
    if key is not None:
        query = sa.select(offers.c.person).where(offers.c.key == key)
        person = connection.scalar(query)
        if person is not None and one.person in {None, person}:
            return person, key
    return one.person, None


def _last_offer(connection: Connection, person: str, at: float, rules: Rules) -> str | None:
    """Find the last offer that reached a person before Unix second ``at``, within its window."""
    for row in connection.execute(_OFFERS, {"person": person, "at": at}):
        if at - row.created_at <= rules.window_of(row.campaign):
            found: str = row.key
            return found
    return None


def _event(one: Conversion, person: str) -> Event:
    properties: dict[str, Any] = {"value": one.value, "currency": one.currency}
    known = {name: value for name, value in properties.items() if value is not None}
    said = (one.person, one.key, one.code, one.at, one.value, one.currency)
    return Event(
        subject=person,
        at=one.at,
        name=PURCHASE,
        id=one.id or digest("conversion", *map(str, said)),
        properties=known,
    )


def read_conversions(lines: Iterable[str], name: str) -> Iterator[Conversion]:
    """Read conversions from the lines of a CSV file with a header of ``Conversion``'s fields.

    Raises ProximityError with every problem (the first hundred), by row, once all rows are read.
    """
    limit = csv.field_size_limit(_LONGEST_CELL)
    problems: list[str] = []
    try:
        rows = csv.DictReader(lines, strict=True)
        heads = [head.strip() for head in rows.fieldnames or ()]
        rows.fieldnames = heads
        strange = [head for head in heads if head not in COLUMNS]
        if strange or "at" not in heads:
            raise ProximityError(
                f"{name}, row 1: columns are {', '.join(COLUMNS)}, of which at is needed"
                + "".join(f"; {head!r:.60} is none" for head in strange[:_MOST_PROBLEMS])
            )
        twice = [head for head in dict.fromkeys(heads) if heads.count(head) > 1]
        if twice:
            raise ProximityError(
                *(f"{name}, row 1: column {head!r} is there twice: keep one" for head in twice)
            )
        for row in rows:
            try:
                yield _conversion(row)
            except (ValueError, msgspec.ValidationError) as error:
                problems.append(f"{name}, row {rows.line_num}: {error}")
                if len(problems) >= _MOST_PROBLEMS:
                    break
    except csv.Error as error:
        raise ProximityError(f"{name}: this is no CSV ({error}): save it as such") from None
    finally:
        csv.field_size_limit(limit)
    if problems:
        raise ProximityError(*problems)


def _conversion(row: dict[str, Any]) -> Conversion:
    if None in row:
        raise ValueError("more cells than the header has")
    fields: dict[str, Any] = {head: cell for head, cell in row.items() if cell}
    for head in ("at", "value"):
        if head in fields:
            try:
                fields[head] = float(fields[head])
            except ValueError:
                if head == "value":
                    raise ValueError(f"value: {fields[head]!r:.40} is no number") from None
    return msgspec.convert(fields, Conversion)
