"""Reports: right numbers of a hand-made week, made once, and of which nobody can be picked out."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from proximity.__main__ import main
from proximity.model import Delivery, ProximityError, parse_time
from proximity.reports import reports
from proximity.reports.cells import LEAST, told
from proximity.reports.reports import DAY_S, REPORTS, WEEK_S, Reported, make_due, read_report
from proximity.store import Store, ledger, schema
from tests.town import END, MONDAY, Cell, Town, cells, possible

NOW = END + 2 * 3600.0


@pytest.fixture
def store() -> Iterator[Store]:
    with closing(Store.open(":memory:")) as opened:
        yield opened


def all_told(store: Store, now: float = NOW, last: int = 14) -> dict[Cell, int]:
    """Ask for everything that can be asked for."""
    return {
        cell: value
        for name in REPORTS
        for period in read_report(store, name, now, last).periods
        for cell, value in cells(name, parse_time(period.begin), period.rows or [])
    }


def rows(found: Reported, number: int = 0) -> list[dict[str, Any]]:
    said = found.periods[number].rows
    assert said is not None
    return said


@pytest.mark.parametrize(
    ("people", "said"),
    [(0, None), (9, None), (10, 10), (19, 10), (20, 20), (1239, 1230)],
)
def test_a_number_is_told_without_its_last_digit_or_not_at_all(
    people: int, said: int | None
) -> None:
    assert told(people) == said


def test_the_numbers_of_a_week_are_those_of_what_happened(store: Store) -> None:
    town = Town(seed=1, size=60)
    town.write(store)
    found = all_told(store)
    right = {cell: told(len(people)) for cell, people in town.people.items()}
    assert found == {cell: count for cell, count in right.items() if count is not None}
    assert {cell[0] for cell in found} == {*REPORTS}, "every report said something"


def test_a_report_of_hand_made_visits(store: Store) -> None:
    def visit(number: int, person: str, at: float, place: str = "shop") -> dict[str, Any]:
        return {
            "visit": f"{number}", "person": person, "subject": person, "place": place,
            "enter_at": at, "exit_at": None,
        }  # fmt: skip

    day = END - DAY_S
    visits = [visit(n, f"p{n % 16}", day + n) for n in range(48)]
    visits += [visit(100 + n, f"p{n}", day + n, "small") for n in range(9)]
    visits += [visit(200 + n, f"p{n}", day - 1, "yesterday") for n in range(10)]
    visits += [visit(300 + n, f"p{n}", END, "today") for n in range(10)]
    store.write(lambda conn: conn.execute(schema.visits.insert(), visits)).result()
    found = read_report(store, "visits", NOW, 2)
    assert [period.begin for period in found.periods] == [
        "2023-11-26T00:00:00.000Z", "2023-11-25T00:00:00.000Z",
    ]  # fmt: skip
    assert rows(found) == [{"place": "shop", "people": 10, "visits": 40}]
    assert rows(found, 1) == [{"place": "yesterday", "people": 10, "visits": 10}]


def test_people_are_told_by_how_much_they_were_sent_other_systems_included(store: Store) -> None:
    sends = [
        {
            "decision": f"{system}:{purpose}:{person}:{number}", "person": f"p{person}", "campaign": "c",
            "purpose": purpose, "place": "", "visit": "", "at": END - 5, "system": system,
        }
        for person in range(20)
        for number in range(1 if person < 10 else 6)
        for system, purpose in [(None, "marketing"), ("crm", "content"), (None, "service")]
    ]  # fmt: skip
    store.write(lambda conn: conn.execute(schema.sends.insert(), sends)).result()
    # Each marketing and content send counts; service does not press.
    assert rows(read_report(store, "fatigue", NOW, 1)) == [
        {"sends": "2", "people": 10},
        {"sends": "10 or more", "people": 10},
    ]


def test_what_was_spent_is_what_a_hand_counts(store: Store) -> None:
    """Twenty mails at 4 cents and thirty pushes for nothing; what was not taken costs nothing."""

    def sent(number: int, channel: str, outcome: str, cost: float) -> Delivery:
        who = f"p{number % 12}"
        return Delivery(
            key=f"k{number}", channel=channel, attempt=1, outcome=outcome, at=END - 5.0,
            campaign="coffee", person=who, subject=who, place="shop",
            handed={"cost": cost} if cost else {"text": "Coffee"},
        )  # fmt: skip

    every = [sent(n, "email", "accepted", 0.04) for n in range(20)]
    every += [sent(100 + n, "web-push", "accepted", 0.0) for n in range(30)]
    every += [sent(200 + n, "email", "failed", 0.04) for n in range(20)]
    every += [sent(300 + n, "email", "opened", 0.04) for n in range(20)]
    every += [sent(400 + n, "fcm", "accepted", 0.01) for n in range(9)]
    store.write(lambda c: ledger.append(c, [ledger.entry(one) for one in every])).result()
    assert rows(read_report(store, "spend", NOW, 1)) == [
        {"channel": "email", "people": 10, "cost": 0.04, "sends": 20, "spent": 0.8},
        {"channel": "web-push", "people": 10, "cost": 0.0, "sends": 30, "spent": 0.0},
    ]


def test_only_what_is_over_and_settled_is_told(store: Store) -> None:
    Town(seed=1, size=60).write(store)
    newest = read_report(store, "visits", END + 3599.0, 1).periods[0]
    assert newest.end == "2023-11-26T00:00:00.000Z"
    newest = read_report(store, "visits", END + 3600.0, 1).periods[0]
    assert newest.end == "2023-11-27T00:00:00.000Z"
    week = read_report(store, "funnel", END - 5.0, 1).periods[0]
    assert (week.begin, week.end) == ("2023-11-13T00:00:00.000Z", "2023-11-20T00:00:00.000Z")


def test_what_was_made_stays_whoever_goes(store: Store) -> None:
    town = Town(seed=2, size=40)
    town.write(store)
    before = all_told(store)

    def forget(conn: sa.Connection) -> None:
        for table in (schema.visits, schema.sends, schema.ledger, schema.consents):
            conn.execute(table.delete().where(table.c.person.in_(town.who[:20])))

    store.write(forget).result()
    assert all_told(store, NOW + 5 * DAY_S, 19).items() >= before.items()
    # And it would have been seen, were the numbers counted anew.
    store.write(lambda conn: conn.execute(schema.reports.delete())).result()
    assert not all_told(store).items() >= before.items()


def test_what_nobody_made_in_time_is_not_made_up(store: Store) -> None:
    Town(seed=1, size=60).write(store)
    late = read_report(store, "visits", END + 29 * DAY_S, 30)
    assert all(period.rows == [] for period in late.periods[:27])
    assert [period.rows for period in late.periods[27:]] == [None, None, None]
    assert store.read(lambda conn: conn.scalar(sa.select(sa.func.count()).select_from(
        schema.reports))) == 27  # fmt: skip


def test_making_is_done_once(store: Store) -> None:
    Town(seed=1, size=30).write(store)
    assert make_due(store, NOW) > 30
    assert make_due(store, NOW) == 0
    assert make_due(store, NOW + DAY_S) == 1, "the next day's visits"


def test_an_unknown_report_is_named(store: Store) -> None:
    with pytest.raises(ProximityError, match="there is no report 'funel'; did you mean 'funnel'"):
        read_report(store, "funel", NOW)


def test_the_command_tells_of_every_report_and_of_no_other(tmp_path: Path) -> None:
    Store.open(tmp_path / "engine.db").close()
    shown = CliRunner().invoke(main, ["report", "--help"]).output
    assert all(name in shown for name in REPORTS)
    ended = CliRunner().invoke(main, ["report", "funel", "--data", str(tmp_path)])
    assert (ended.exit_code, "did you mean 'funnel'?" in ended.stderr) == (2, True)


def test_weeks_begin_on_monday() -> None:
    row = REPORTS["funnel"]
    assert [row.begin(MONDAY + s) for s in (0, WEEK_S - 1, WEEK_S)] == [
        MONDAY, MONDAY, MONDAY + WEEK_S,
    ]  # fmt: skip
    assert row.begin(0.0) < 0.0, "1 January 1970 was a Thursday"


# What an attacker can learn -------------------------------------------------------------------


def learnt(
    pairs: list[tuple[Cell, Cell]],
    said: dict[Cell, int],
    people: dict[Cell, set[str]],
    of: Callable[[int], int | None],
) -> tuple[int, int]:
    """Count groups of 1 to 9 people that differences of two numbers give away, and try to.

    The attacker knows who is in which group but not how many they are, so that whatever one group
    has and the other has not, or both have, is theirs to compute where it can be: each number's
    possible values are all that they may combine.
    """
    found = tried = 0
    for one, other in pairs:
        larger, smaller = people[one], people[other]
        if not smaller <= larger or not 0 < len(larger - smaller) < LEAST:
            continue
        tried += 1
        differences = {
            a - b for a in possible(said[one], of) for b in possible(said[other], of) if a - b >= 0
        }
        found += len({one for one in differences if one < LEAST}) < LEAST - 1
    return found, tried


def test_no_small_group_is_recovered_from_a_thousand_pairs_of_numbers(store: Store) -> None:
    # Several towns, as one has too few small differences for a test that could fail.
    found = tried = asked = exactly = 0
    for seed in range(20):
        with closing(Store.open(":memory:")) as other:
            town = Town(seed, size=30)
            town.write(other)
            said = all_told(other)
            dice = random.Random(seed)
            pairs = [(dice.choice([*said]), dice.choice([*said])) for _ in range(1000)]
            # And all pairs in which one group surely lies within the other.
            pairs += [
                pair for pair in itertools.permutations(said, 2) if pair[0][:2] == pair[1][:2]
            ]
            asked += len(pairs)
            assert not any(0 < abs(said[a] - said[b]) < LEAST for a, b in pairs)
            recovered, tries = learnt(pairs, said, town.people, told)
            found, tried = found + recovered, tried + tries
            # The same attack on exact numbers, of which only the small ones were left out.
            exact = {cell: len(town.people[cell]) for cell in said}
            exactly += learnt(pairs, exact, town.people, lambda n: n if n >= LEAST else None)[0]
    assert asked > 20_000
    assert tried > 500
    assert exactly == tried, "without rounding every one of them is recovered"
    assert found == 0


def test_what_was_left_out_of_a_sum_stays_open() -> None:
    """A total and all of its parts but one are told: the last is still not known."""
    dice = random.Random(5)
    for _ in range(5000):
        # Parts at the edge of what they may be leave the least room.
        edges = dice.choice([[10, 20], [19, 29], [10, 19, 24]])
        parts = [dice.choice(edges) for _ in range(dice.randint(1, 8))]
        hidden = dice.randint(0, 9)
        total = told(sum(parts) + hidden)
        assert total is not None
        shown = [told(part) or 0 for part in parts]
        low = max(0, total - sum(shown) - 9 * len(parts))
        high = min(9, total + 9 - sum(shown))
        assert low <= hidden <= high
        assert high - low >= (8 if len(parts) == 1 else 1)


def test_reports_take_no_filter_to_shape_a_question_with() -> None:
    from proximity.server.reports import ROUTES

    assert {param.name for route in ROUTES for param in route.params} == {"last"}
    assert reports.MOST_PERIODS == 400


def test_the_page_names_every_report() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "reports.md").read_text()
    assert all(f"| `{name}` |" in page for name in REPORTS)
