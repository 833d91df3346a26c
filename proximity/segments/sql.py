"""The question: whom of all people in a store does a rule mean.

Writes a rule as one SELECT for SQLite or PostgreSQL, which gives the same answer as
``Rule.matches`` does of each person: ``RULES`` has a row for each class of rule, ``OPERATORS`` one
for each comparison. No condition here is ever NULL, so that NOT always means the others.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import sqlalchemy as sa

from proximity.segments.conditions import MOST_TEXT, NUL, Condition
from proximity.segments.rules import (
    EVER,
    All,
    AnyOf,
    Attribute,
    Bucket,
    Events,
    Member,
    Not,
    Visits,
    Wish,
    bucket_edge,
)
from proximity.store import schema

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from sqlalchemy import ColumnElement, Connection, Select

    from proximity.segments.rules import Counted, Rule

    Clause = ColumnElement[bool]

__all__ = ["count_people", "find_people", "select_people"]

PEOPLE = (schema.people, schema.consents, schema.events, schema.visits)
"""Where a person can be known from; a subject has no row without its person's profile."""


def select_people(
    rule: Rule, now: float, dialect: str, tagged: Callable[[str], Collection[str]] = lambda _: ()
) -> Select[str]:
    """Select the ids of the people whom a rule means at Unix second ``now``, in no order.

    ``dialect`` is ``connection.dialect.name``; ``tagged`` gives the ids of all places that have a
    tag, themselves or by a parent.
    """
    everybody = sa.union(*(sa.select(table.c.person) for table in PEOPLE)).subquery()
    writing = _Writing(_DIALECTS[dialect], now, tagged, everybody.c.person)
    return sa.select(everybody.c.person).where(writing.clause(rule))


def count_people(
    connection: Connection,
    rule: Rule,
    now: float,
    tagged: Callable[[str], Collection[str]] = lambda _: (),
) -> int:
    """Count the people whom a rule means."""
    people = select_people(rule, now, connection.dialect.name, tagged).subquery()
    return connection.scalar(sa.select(sa.func.count()).select_from(people)) or 0


def find_people(
    connection: Connection,
    rule: Rule,
    now: float,
    tagged: Callable[[str], Collection[str]] = lambda _: (),
) -> Sequence[str]:
    """Give the ids of the people whom a rule means, sorted."""
    people = select_people(rule, now, connection.dialect.name, tagged).subquery()
    return connection.scalars(sa.select(people.c.person).order_by(people.c.person)).all()


class _Writing:
    """Writes rules about ``person`` as clauses."""

    def __init__(
        self,
        dialect: _Sqlite,
        now: float,
        tagged: Callable[[str], Collection[str]],
        person: ColumnElement[str],
    ) -> None:
        self.dialect = dialect
        self.now = now
        self.tagged = tagged
        self.person = person

    def clause(self, rule: Rule) -> Clause:
        """Write a rule."""
        return RULES[type(rule)](self, rule)

    def all(self, rule: All) -> Clause:
        """Write every part, all of them to hold."""
        return sa.and_(sa.true(), *(self.clause(part) for part in rule.rules))

    def any(self, rule: AnyOf) -> Clause:
        """Write every part, one of them to hold."""
        return sa.or_(sa.false(), *(self.clause(part) for part in rule.rules))

    def no(self, rule: Not) -> Clause:
        """Write the contrary."""
        return sa.not_(self.clause(rule.rule))

    def member(self, rule: Member) -> Clause:
        """Write the other segment's rule."""
        return self.clause(rule.rule)

    def attribute(self, rule: Attribute) -> Clause:
        """Write who has a row with such a value; of a list each item has a row."""
        table = schema.attributes
        condition, contrary = _positive(rule.condition)
        value = _Value(table.c.text, table.c.number)
        fits = OPERATORS[condition.operator](value, condition.wanted, self.dialect)
        there = self.person.in_(sa.select(table.c.person).where(table.c.name == rule.name, fits))
        return sa.not_(there) if contrary else there

    def wish(self, rule: Wish) -> Clause:
        """Write whose last row that speaks of it says so: the greatest number tells, and its yes.

        Twice the number, and one more where it is a yes, is greatest for the last of them.
        """
        table = schema.wishes
        speaks = [
            column.is_(None) if wanted is None else sa.or_(column.is_(None), column == wanted)
            for column, wanted in (
                (table.c.topic, rule.topic),
                (table.c.channel, rule.channel),
                (table.c.place, rule.place),
            )
        ]
        rows = sa.select(table.c.person).where(*speaks)
        if rule.said is None:
            return self.person.not_in(rows)
        last = sa.func.max(2 * table.c.number + table.c.allow)
        return self.person.in_(rows.group_by(table.c.person).having(last % 2 == int(rule.said)))

    def events(self, rule: Events) -> Clause:
        """Write who did it so often."""
        table = schema.events
        tests = [table.c.name == rule.name]
        for name, one in rule.properties:
            condition, contrary = _positive(one)
            value = self.dialect.property(table.c.properties, name)
            fits = OPERATORS[condition.operator](value, condition.wanted, self.dialect)
            sure = sa.func.coalesce(fits, sa.false(), type_=sa.Boolean)
            tests.append(sa.not_(sure) if contrary else sure)
        if rule.properties:
            tests.append(self.dialect.position(table.c.properties, NUL) == 0)
        return self._counted(rule, table, table.c.at, tests)

    def visits(self, rule: Visits) -> Clause:
        """Write who came so often."""
        table = schema.visits
        if rule.tag is None:
            where = table.c.place == rule.place
        else:
            where = self.dialect.among(table.c.place, sorted(self.tagged(rule.tag)))
        tests = [where]
        if rule.dwell_s:
            end = sa.func.coalesce(table.c.exit_at, sa.literal(self.now, sa.Double))
            tests.append(end - table.c.enter_at >= rule.dwell_s)
        return self._counted(rule, table, table.c.enter_at, tests)

    def bucket(self, rule: Bucket) -> Clause:
        """Write whose hash lies between the edges."""
        drawn = self.dialect.hash(sa.literal(f"{rule.seed}\x1f", sa.Text) + self.person)
        low, high = bucket_edge(rule.start), bucket_edge(rule.end)
        return sa.and_(
            drawn >= sa.literal(low, sa.LargeBinary), drawn < sa.literal(high, sa.LargeBinary)
        )

    def _counted(
        self, rule: Counted, table: sa.Table, at: ColumnElement[float], clauses: Sequence[Clause]
    ) -> Clause:
        """Write who has so many rows; who has none is not among those that are grouped."""
        rows = sa.select(table.c.person).where(at <= self.now, *clauses).group_by(table.c.person)
        if rule.within_s != EVER:
            rows = rows.where(at > self.now - rule.within_s)
        count = sa.func.count()
        if rule.most is None:
            return self.person.in_(rows if rule.least == 1 else rows.having(count >= rule.least))
        if rule.least == 0:
            return self.person.not_in(rows.having(count > rule.most))
        return self.person.in_(rows.having(count.between(rule.least, rule.most)))


RULES: Mapping[type[Rule], Callable[[_Writing, Any], Clause]] = {
    All: _Writing.all,
    AnyOf: _Writing.any,
    Not: _Writing.no,
    Member: _Writing.member,
    Attribute: _Writing.attribute,
    Events: _Writing.events,
    Visits: _Writing.visits,
    Bucket: _Writing.bucket,
    Wish: _Writing.wish,
}
"""How each class of rule is written."""


class _Value(NamedTuple):
    """What rules see of a value, as ``conditions.searchable`` has it: one of both, or neither."""

    text: ColumnElement[str]
    number: ColumnElement[float]


def _equal(value: _Value, wanted: Any, _dialect: _Sqlite) -> Clause:
    if isinstance(wanted, str):
        return value.text == wanted
    return value.number == float(wanted)


def _one_of(value: _Value, wanted: Any, dialect: _Sqlite) -> Clause:
    texts = [one for one in wanted if isinstance(one, str)]
    numbers = [float(one) for one in wanted if not isinstance(one, str)]
    return sa.or_(dialect.among(value.text, texts), dialect.among(value.number, numbers))


def _compared(compare: Callable[[Any, Any], Any]) -> Callable[[_Value, Any, _Sqlite], Clause]:
    return lambda value, wanted, _dialect: compare(value.number, wanted)


OPERATORS: Mapping[str, Callable[[_Value, Any, _Sqlite], Clause]] = {
    "is": _equal,
    "one_of": _one_of,
    "at_least": _compared(operator.ge),
    "at_most": _compared(operator.le),
    "more_than": _compared(operator.gt),
    "less_than": _compared(operator.lt),
    "contains": lambda value, wanted, dialect: dialect.position(value.text, wanted) > 0,
    "known": lambda value, _wanted, _dialect: sa.or_(
        value.text.is_not(None), value.number.is_not(None)
    ),
}
"""How each comparison is written; what holds where nothing is known is the contrary of one."""


def _positive(condition: Condition) -> tuple[Condition, bool]:
    """Give the comparison that holds of a value that is there; whether its contrary is asked."""
    if condition.operator == "is_not":
        return Condition("is", condition.wanted), True
    if condition.operator == "known":
        return Condition("known", wanted=True), not condition.wanted
    return condition, False


class _Sqlite:
    """What SQLite has for lists, texts, hashes and JSON."""

    def among(self, column: ColumnElement[Any], values: Sequence[Any]) -> Clause:
        """Write that a column is any of these: one variable, however many they are."""
        each = sa.func.json_each(msgspec.json.encode(values).decode()).table_valued("value")
        return column.in_(sa.select(each.c.value))

    def position(self, column: ColumnElement[str], part: str) -> ColumnElement[int]:
        """Write where a text first stands in a column, from 1; 0: nowhere."""
        return sa.func.instr(column, part, type_=sa.Integer)

    def hash(self, text: ColumnElement[str]) -> ColumnElement[bytes]:
        """Write the SHA-256 of a text."""
        return sa.func.sha256(text, type_=sa.LargeBinary)

    def property(self, column: ColumnElement[str], name: str) -> _Value:
        """Write a property of a column of JSON objects."""
        path = f'$."{name}"'  # `segments` lets no name pass that would need escaping
        kind = sa.func.json_type(column, path)
        value = sa.func.json_extract(column, path)
        fits = sa.and_(kind == "text", sa.func.length(value) <= MOST_TEXT)
        text = sa.case((fits, value))
        number = sa.case((kind.in_(("integer", "real", "true", "false")), value))
        return _Value(sa.type_coerce(text, sa.Text), sa.type_coerce(number, sa.Double))


class _PostgreSql(_Sqlite):
    """What PostgreSQL has for the same."""

    def among(self, column: ColumnElement[Any], values: Sequence[Any]) -> Clause:
        """Write that a column is any of these."""
        from sqlalchemy.dialects import postgresql  # 30 ms of every start, mostly for nothing

        array = sa.bindparam(None, list(values), type_=postgresql.ARRAY(column.type))
        return column == sa.any_(array)

    def position(self, column: ColumnElement[str], part: str) -> ColumnElement[int]:
        """Write where a text first stands in a column."""
        return sa.func.strpos(column, part, type_=sa.Integer)

    def hash(self, text: ColumnElement[str]) -> ColumnElement[bytes]:
        """Write the SHA-256 of a text."""
        return sa.func.sha256(sa.func.convert_to(text, "UTF8"), type_=sa.LargeBinary)

    def property(self, column: ColumnElement[str], name: str) -> _Value:
        """Write a property of a column of JSON objects."""
        from sqlalchemy.dialects import postgresql

        # Text that JSON spells with a NUL cannot be read as JSON here: a row of it is passed over,
        # and CASE says so before it is tried.
        readable = sa.case((self.position(column, NUL) == 0, sa.cast(column, postgresql.JSONB)))
        kind = sa.func.jsonb_typeof(sa.func.jsonb_extract_path(readable, name))
        value = sa.func.jsonb_extract_path_text(readable, name, type_=sa.Text)
        text = sa.case((sa.and_(kind == "string", sa.func.length(value) <= MOST_TEXT), value))
        number = sa.case(
            (kind == "number", sa.cast(value, sa.Double)),
            (kind == "boolean", sa.case((value == "true", 1.0), else_=0.0)),
        )
        return _Value(sa.type_coerce(text, sa.Text), sa.type_coerce(number, sa.Double))


_DIALECTS = {"sqlite": _Sqlite(), "postgresql": _PostgreSql()}
