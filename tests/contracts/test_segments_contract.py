"""Every store means the same people by a segment as memory does, and lists them in pages."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from proximity.campaigns.campaigns import PlaceFacts
from proximity.model import Person
from proximity.people.behaviour import read_profiles
from proximity.people.facts import Happened, Profile
from proximity.segments.conditions import NUL, OPERATORS
from proximity.segments.segments import parse
from proximity.segments.sql import count_people, find_people
from proximity.store import Store
from tests.segment_given import EVIL, NOW, NUMBERS, TAGS, TEXTS, people, rules, tagged, write


def place(name: str) -> PlaceFacts:
    return PlaceFacts(id=name, tags=TAGS.get(name, ()), venue_tags=TAGS.get(name, ()))


@settings(
    deadline=None,
    max_examples=150,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(known=people, table=rules)
def test_a_store_means_the_people_that_memory_means(
    store: Store, known: list[tuple[Person, Profile]], table: dict[str, Any]
) -> None:
    rule, problems = parse(table, "rule")
    assert rule is not None, problems
    store.write(lambda conn: write(conn, known)).result()
    # What decisions look at is read back from the store, so that its way there and back counts.
    read = store.read(
        lambda conn: read_profiles(conn, [one.person for one, _ in known], -1e12, place)
    )
    meant = sorted(one.person for one, _ in known if rule.matches(one, read[one.person], NOW))
    assert meant == sorted(one.person for one, has in known if rule.matches(one, has, NOW))
    assert list(store.read(lambda conn: find_people(conn, rule, NOW, tagged))) == meant
    assert store.read(lambda conn: count_people(conn, rule, NOW, tagged)) == len(meant)


@pytest.mark.parametrize("size", [999, 1000])
def test_long_lists_and_large_rules_are_one_statement(store: Store, size: int) -> None:
    known = [(Person(person="one", attributes={"tier": "t998", "age": 7}), Profile())]
    store.write(lambda conn: write(conn, known)).result()
    listed = {"attribute": "tier", "one_of": [f"t{number}" for number in range(size)]}
    rule, problems = parse({"any": [listed] * 400}, "rule")
    assert rule is not None, problems
    assert store.read(lambda conn: count_people(conn, rule, NOW)) == 1


def test_whoever_is_known_by_an_event_alone_is_somebody(store: Store) -> None:
    event = Happened(name="view", at=NOW - 5)
    known = [(Person(person="one"), Profile(events=(event,)))]

    def unprofiled(conn: Any) -> None:
        write(conn, known)
        conn.exec_driver_sql("DELETE FROM people")

    store.write(unprofiled).result()
    rule, _ = parse({"event": "view"}, "rule")
    assert rule is not None
    assert store.read(lambda conn: find_people(conn, rule, NOW)) == ["one"]


WANTED: dict[str, list[Any]] = {
    "value": [*TEXTS[:-4], *NUMBERS[:8], True, False],
    "values": [["gold", 1.0], ["", 0], ["1", "true", 2], [True], ["x" * 400]],
    "number": [-5.5, 0.0, 0.1, 1.0, 2.0, 3.0],
    "text": ["gold", "G", "'", '"', "%", "_", "a\u0308", "\u0308", "本", "\\", "x" * 400, "1"],
    "flag": [True, False],
}


def test_every_comparison_of_every_value(store: Store) -> None:
    """Small enough to be tried whole, where random rules would seldom meet the value they ask for."""
    values: list[Any] = [
        *TEXTS, *EVIL, *NUMBERS, True, False, None, [], ["gold"], ["golf", "gold"], ["1", "true"],
        {"a": 1}, [1.0], ["gold", 1], "absent",
    ]  # fmt: skip
    known: list[tuple[Person, Profile]] = []
    for number, value in enumerate(values):
        given = {} if value == "absent" else {"tier": value}
        flat = value is None or isinstance(value, str | bool)
        if isinstance(value, int | float) and not isinstance(value, bool) and value < 2**60:
            flat, given = True, {"tier": float(value)}
        events = (Happened("view", NOW - 5, given, id=str(number)),) if flat else ()
        known.append((Person(person=f"p{number}", attributes=given), Profile(events=events)))
    # What JSON writes as NUL, beside what is asked for or in a name: no database looks into it.
    for number, evil in enumerate(({"note": "a\0"}, {"\0": 1.0}, {"note": NUL}, {"note": "\\"})):
        event = Happened("view", NOW - 5, {"tier": "gold", **evil}, id=f"evil-{number}")
        known.append((Person(person=f"evil-{number}"), Profile(events=(event,))))
    store.write(lambda conn: write(conn, known)).result()
    for operator, row in OPERATORS.items():
        for wanted in WANTED[row.takes]:
            for table in (
                {"attribute": "tier", operator: wanted},
                {"event": "view", "properties": {"tier": {operator: wanted}}},
            ):
                rule, problems = parse(table, "rule")
                assert rule is not None, problems
                meant = sorted(one.person for one, has in known if rule.matches(one, has, NOW))
                found = store.read(lambda conn, r=rule: find_people(conn, r, NOW))  # type: ignore[misc]
                assert sorted(found) == meant, table
