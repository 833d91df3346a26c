from __future__ import annotations

from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from proximity.campaigns.campaigns import PlaceFacts
from proximity.dispatch import offers
from proximity.model import Consent, Event, Person, ProximityError
from proximity.people.people import People
from proximity.people.tagging import NO_PLAN, parse_plan
from proximity.store import Store, schema
from proximity.sync.conversions import Conversion, Counted, read_conversions, take
from proximity.sync.rules import Rules
from tests.proximity.given import NOON, offer

DAY = 86_400.0


class Till:
    def __init__(self) -> None:
        self.store = Store.open(":memory:")
        self.people = People(self.store, lambda: NOON)
        one = Person(person="anna", consents=(Consent(purpose="marketing"),))
        self.store.write(lambda c: self.people.put(c, one)).result()

    def sent(self, key: str, at: float, state: str = "accepted", **changes: Any) -> None:
        one = offer(key=key, created_at=at, expires_at=at + DAY, **changes)

        def write(conn: Any) -> None:
            offers.put(conn, [one])
            if state != "queued":
                offers.move(conn, [offers.News(key, state, at)])

        self.store.write(write).result()

    def take(
        self, *some: Conversion, rules: Rules | None = None, plan: Any = NO_PLAN
    ) -> dict[str, int]:
        counted = self.store.write(
            lambda c: take(
                c, self.people, some, rules or Rules(),
                now=NOON + 40 * DAY, places=lambda place: PlaceFacts(id=place), plan=plan,
            )
        ).result()  # fmt: skip
        return {name: count for name, count in msgspec.to_builtins(counted).items() if count}

    def converted(self) -> list[str]:
        query = sa.select(schema.offers.c.key).where(schema.offers.c.state == "converted")
        return self.store.read(lambda c: sorted(c.scalars(query)))

    def purchases(self) -> list[dict[str, Any]]:
        query = sa.select(schema.events.c.properties).order_by(schema.events.c.seq)
        return [
            msgspec.json.decode(one) for one in self.store.read(lambda c: c.scalars(query).all())
        ]


@pytest.fixture
def till() -> Till:
    return Till()


def bought(at: float = NOON + 3600.0, **fields: Any) -> Conversion:
    return Conversion(**{"person": "anna", "at": at, "value": 9.5, "currency": "EUR", **fields})


def test_a_purchase_is_put_down_to_the_last_offer_that_reached_the_person(till: Till) -> None:
    till.sent("old", NOON - DAY)
    till.sent("new", NOON)
    till.sent("withheld", NOON + 60.0, "suppressed")
    till.sent("after", NOON + 7200.0)
    assert till.take(bought()) == {"attributed": 1}
    assert till.converted() == ["new"]
    assert till.purchases() == [{"value": 9.5, "currency": "EUR", "offer": "new"}]


def test_each_counts_once(till: Till) -> None:
    till.sent("one", NOON)
    assert till.take(bought(), bought()) == {"attributed": 1, "duplicate": 1}
    assert till.take(bought()) == {"duplicate": 1}
    assert till.take(bought(id="r-2")) == {"repeated": 1}
    assert till.take(bought(id="r-2", value=1.0)) == {"duplicate": 1}
    assert len(till.purchases()) == 2


def test_beyond_the_window_it_is_a_purchase_and_no_conversion(till: Till) -> None:
    till.sent("one", NOON)
    late = NOON + 8 * DAY
    assert till.take(bought(late)) == {"unmatched": 1}
    assert till.purchases() == [{"value": 9.5, "currency": "EUR"}]
    longer = Rules(windows={"coffee": 9 * DAY})
    assert till.take(bought(late, id="r-2"), rules=longer) == {"attributed": 1}


def test_a_window_is_the_campaigns_own(till: Till) -> None:
    till.sent("coffee-1", NOON)
    till.sent("tea-1", NOON + 60.0, campaign="tea")
    rules = Rules(windows={"tea": 30.0})
    assert till.take(bought(), rules=rules) == {"attributed": 1}
    assert till.converted() == ["coffee-1"]


def test_whoever_names_the_offer_or_its_code_means_that_one(till: Till) -> None:
    till.sent("old", NOON - 30 * DAY)
    till.sent("new", NOON)
    row = {"code": "ABCD", "key": "old", "person": "anna", "at": NOON}
    till.store.write(lambda c: c.execute(schema.codes.insert(), row)).result()
    assert till.take(bought(person=None, code="ABCD")) == {"attributed": 1}
    assert till.converted() == ["old"]
    assert till.take(bought(id="r", person=None, key="new")) == {"attributed": 1}
    assert till.take(bought(id="s", person=None, code="nobody's")) == {"unknown": 1}
    # A code that is somebody else's is not put down to whom it is said of.
    bob = Person(person="bob", consents=(Consent(purpose="service"),))
    till.store.write(lambda c: till.people.put(c, bob)).result()
    assert till.take(bought(id="t", person="bob", code="ABCD")) == {"unmatched": 1}


def test_of_who_agrees_to_nothing_nothing_is_written(till: Till) -> None:
    till.sent("one", NOON, person="zoe")
    assert till.take(bought(person="zoe")) == {"unconsented": 1}
    assert (till.purchases(), till.converted()) == ([], [])


def test_a_plan_says_which_purchases_are_kept(till: Till) -> None:
    till.sent("one", NOON)
    plan = parse_plan(
        '[[event]]\nname = "purchase"\n[event.properties.value]\ntype = "number"\n', "p"
    )
    event = Event(subject="a", at=NOON, name="purchase", properties={"value": 1.0})
    assert plan.problems(event) == []
    assert till.take(bought(currency=None), plan=plan) == {"attributed": 1}
    assert till.purchases() == [{"value": 9.5}]
    assert till.take(bought(id="r"), plan=plan) == {"quarantined": 1}


def test_a_table_of_purchases() -> None:
    rows = ["id,person,code,at,value,currency\n", "1,anna,,2026-01-06T12:00:00Z,9.5,EUR\n",
            "2,,ABCD,1800000000,,\n"]  # fmt: skip
    one, two = read_conversions(rows, "sales.csv")
    assert (one.person, one.value, one.code) == ("anna", 9.5, None)
    assert (two.code, two.at, two.value) == ("ABCD", 1_800_000_000.0, None)


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        (["person,when\n"], "row 1: columns are id, person, key, code, at, value, currency"),
        (["person,at\n", "anna,yesterday\n"], "row 2"),
        (["person,at\n", ",2026-01-06T12:00:00Z\n"], "row 2: a conversion needs a person"),
        (["person,at,value\n", "anna,1,much\n"], "row 2: value: 'much' is no number"),
        (["person,at\n", "anna,1,2\n"], "row 2: more cells"),
        (["person,at,currency\n", "anna,1,euros\n"], "row 2: currency: 'euros'"),
    ],
)
def test_a_bad_table_is_refused_in_words(rows: list[str], problem: str) -> None:
    with pytest.raises(ProximityError) as refused:
        list(read_conversions(rows, "sales.csv"))
    assert f"sales.csv, {problem}" in str(refused.value.problems)


def test_counts_add_up() -> None:
    one = Counted(attributed=1, unknown=2)
    one.add(Counted(attributed=3))
    assert (one.attributed, one.unknown) == (4, 2)
