"""What holds for every segment: in memory and in SQL it means the same people."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings

from proximity.model import Person
from proximity.people.facts import Profile
from proximity.segments.segments import parse
from proximity.segments.sql import find_people
from proximity.store import Store
from tests.segment_given import NOW, people, rules, tagged, write

# How long an example takes says nothing on a machine that others use too.
unhurried = settings(
    deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)

STORE = Store.open(":memory:")


@settings(unhurried, max_examples=400)
@given(known=people, table=rules)
def test_sql_and_memory_mean_the_same_people(
    known: list[tuple[Person, Profile]], table: dict[str, Any]
) -> None:
    rule, problems = parse(table, "rule")
    assert rule is not None, problems
    meant = sorted(one.person for one, profile in known if rule.matches(one, profile, NOW))
    STORE.write(lambda conn: write(conn, known)).result()
    assert list(STORE.read(lambda conn: find_people(conn, rule, NOW, tagged))) == meant


@unhurried
@given(known=people, table=rules)
def test_everybody_is_either_meant_or_not(
    known: list[tuple[Person, Profile]], table: dict[str, Any]
) -> None:
    rule, _ = parse(table, "rule")
    contrary, _ = parse({"not": table}, "rule")
    assert rule is not None
    assert contrary is not None
    for one, profile in known:
        assert rule.matches(one, profile, NOW) is not contrary.matches(one, profile, NOW)


@unhurried
@given(known=people, table=rules)
def test_an_explanation_says_what_was_decided_and_is_json(
    known: list[tuple[Person, Profile]], table: dict[str, Any]
) -> None:
    import msgspec

    rule, _ = parse(table, "rule")
    assert rule is not None
    for one, profile in known:
        said = rule.explain(one, profile, NOW)
        assert said["holds"] is rule.matches(one, profile, NOW)
        assert msgspec.json.decode(msgspec.json.encode(said)) == said
