from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from proximity.backtest.backtest import Backtest, backtest
from proximity.backtest.bygone import Bygone
from proximity.campaigns.campaigns import Campaigns
from proximity.campaigns.form import parse_campaigns
from proximity.site.places import Places
from proximity.store import Store, schema
from tests import days

PLAIN = """
quiet_hours = [{ from = "22:00", to = "08:00" }]
[[cap]]
count = 2
window_s = 86400
purpose = "marketing"
[[campaign]]
id = "coffee"
purpose = "marketing"
on = "enter"
places = ["cafe", "kiosk"]
channels = ["console"]
cooldown_s = 7200
defer = true
text = { en = "Coffee", fr = "Café" }
[[campaign]]
id = "linger"
purpose = "marketing"
on = "dwell"
dwell_s = 60
places = ["cafe"]
channels = ["console"]
hours = [{ from = "09:00", to = "17:00" }]
text = { en = "Stay" }
[[campaign]]
id = "bye"
purpose = "service"
on = "exit"
places = ["bakery"]
channels = ["console"]
text = { en = "Bye" }
"""


def again(
    lived: days.Days, campaigns: Campaigns, since: float = days.MONDAY
) -> tuple[Backtest, list[dict[str, Any]]]:
    """Decide the days again from their ledger."""
    decisions: list[dict[str, Any]] = []
    until = lived.until + 1.0
    found = lived.store.read(
        lambda conn: backtest(
            conn, campaigns, since, until, people=lived.people, places=lived.places,
            each=lambda one: decisions.append(one.to_record()),
        )
    )  # fmt: skip
    return found, decisions


def test_it_decides_as_the_dispatcher_did() -> None:
    campaigns = parse_campaigns(PLAIN)
    persons = days.people(12)
    with days.lived(campaigns, persons, days.walks(persons)) as lived:
        found, decisions = again(lived, campaigns)
        assert decisions == lived.decisions
        assert len(decisions) > 30
        assert {one["decision"] for one in decisions} == {"send", "defer", "suppress"}
        assert found.transitions == len(lived.transitions)
        final = [one for one in decisions if one["decision"] != "defer"]
        for outcome in found.campaigns:
            own = [one for one in final if one["campaign"] == outcome.campaign]
            sent = [one for one in own if one["decision"] == "send"]
            assert (outcome.met - outcome.waiting, outcome.sent) == (len(own), len(sent))
            assert outcome.people == len({one["person"] for one in sent})
            assert sum(outcome.stopped.values()) == len(own) - len(sent)
            assert sum(outcome.days.values()) == outcome.sent


def test_it_writes_nothing() -> None:
    campaigns = parse_campaigns(PLAIN)
    persons = days.people(4)
    with days.lived(campaigns, persons, days.walks(persons, visits=2)) as lived:
        before = lived.store.read(lambda conn: list(conn.connection.iterdump()))
        again(lived, campaigns)
        assert lived.store.read(lambda conn: list(conn.connection.iterdump())) == before


def test_other_campaigns_than_those_that_ran_can_be_tried() -> None:
    ran, tried = parse_campaigns(PLAIN), parse_campaigns(PLAIN.replace("count = 2", "count = 1"))
    persons = days.people(10)
    with days.lived(ran, persons, days.walks(persons)) as lived:
        as_it_was, _ = again(lived, ran)
        tighter, decisions = again(lived, tried)
        with days.lived(tried, persons, days.walks(persons)) as truly:
            assert decisions == truly.decisions
    assert tighter.sent < as_it_was.sent
    assert sum(one.stopped.get("caps", 0) for one in tighter.campaigns) > 0


def test_what_was_sent_before_counts_and_what_came_after_does_not() -> None:
    campaigns = parse_campaigns(PLAIN)
    persons = days.people(10)
    with days.lived(campaigns, persons, days.walks(persons)) as lived:
        noon = days.MONDAY + 43_200.0
        _, decisions = again(lived, campaigns, since=noon)
        waiting = {one["id"] for one in lived.decisions if one["at"] < "2026-05-04T12:00:00"}
        expected = [
            one
            for one in lived.decisions
            if one["at"] >= "2026-05-04T12:00:00" and one["id"] not in waiting
        ]
        assert decisions == expected


@pytest.mark.parametrize("days_ago", [1.0, 400.0, 4000.0])
def test_a_no_stands_however_long_ago_it_was(days_ago: float) -> None:
    store, at = Store.open(":memory:"), days.MONDAY - days_ago * 86_400.0
    row = {
        "id": "e", "person": "anna", "subject": "anna", "name": "optin-declined", "at": at,
        "properties": "{}",
    }  # fmt: skip
    store.write(lambda conn: conn.execute(schema.events.insert(), row)).result()

    def names(since: float, *, asking: bool) -> list[str]:
        def read(conn: sa.Connection) -> list[str]:
            bygone = Bygone(conn, Places(None).facts, days.MONDAY, days.MONDAY + 10.0, 86_400.0)
            found = bygone.profile("anna", since, days.MONDAY + 1.0, asking=asking)
            return [one.name for one in found.events]

        return store.read(read)

    assert names(days.MONDAY - 3600.0, asking=True) == ["optin-declined"]
    assert names(days.MONDAY - 3600.0, asking=False) == []
    store.close()


def test_no_time_has_nothing_in_it() -> None:
    campaigns = parse_campaigns(PLAIN)
    with days.lived(campaigns, [], iter([])) as lived:
        found, decisions = again(lived, campaigns)
    assert decisions == []
    assert (found.sent, found.people, found.transitions) == (0, 0, 0)
    assert [one.campaign for one in found.campaigns] == ["bye", "coffee", "linger"]


@pytest.mark.parametrize("gate", ["consent", "quiet_hours", "schedule", "cooldown"])
def test_each_stop_is_counted_by_its_gate(gate: str) -> None:
    campaigns = parse_campaigns(PLAIN)
    persons = days.people(20, seed=3)
    with days.lived(campaigns, persons, days.walks(persons, seed=3, visits=8)) as lived:
        found, decisions = again(lived, campaigns)
    first = [
        next(g["gate"] for g in one["gates"] if not g["passed"])
        for one in decisions
        if one["decision"] == "suppress"
    ]
    assert sum(one.stopped.get(gate, 0) for one in found.campaigns) == first.count(gate) > 0
