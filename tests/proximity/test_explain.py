from __future__ import annotations

import contextlib
from collections.abc import Iterator

import msgspec
import pytest

from proximity.campaigns import Campaigns, PlaceFacts, parse_campaigns
from proximity.explain import Explanation, explain, render
from proximity.model import Decision, Delivery, GateResult, Transition, Verdict
from proximity.store import Store, ledger, schema

CAMPAIGNS = parse_campaigns(
    """
[[campaign]]
id = "coffee"
purpose = "marketing"
on = "enter"
places = ["shop"]
channels = ["console"]
text = { en = "Coffee" }
[[campaign]]
id = "linger"
purpose = "marketing"
on = "dwell"
dwell_s = 60
tags = ["cafe"]
channels = ["console"]
text = { en = "Stay" }
[[campaign]]
id = "elsewhere"
purpose = "service"
on = "enter"
places = ["other"]
channels = ["console"]
text = { en = "No" }
"""
)


@pytest.fixture
def store() -> Iterator[Store]:
    with contextlib.closing(Store.open(":memory:")) as opened:
        yield opened


def facts(place: str) -> PlaceFacts:
    return PlaceFacts(id=place, tags=("cafe",))


def moved(
    kind: str = "enter", at: float = 1000.0, visit: str = "v", place: str = "shop", **more: object
) -> Transition:
    return Transition(
        kind=kind, subject="s", place=place, visit=visit, at=at, decided_at=at + 10,
        because={"distance_m": -12.5, "rule": "side"}, **more,
    )  # fmt: skip


def decided(campaign: str = "coffee", **more: object) -> Decision:
    fields: dict[str, object] = {
        "id": f"d-{campaign}", "decision": Verdict.SEND, "reason": None, "campaign": campaign,
        "version": 1, "subject": "s", "person": "ada", "place": "shop", "visit": "v", "at": 1011.0,
        "gates": (GateResult("caps", True, {"count": 0}),),
    }  # fmt: skip
    return Decision(**{**fields, **more})


def handed(campaign: str = "coffee", **more: object) -> Delivery:
    fields: dict[str, object] = {
        "key": f"d-{campaign}", "channel": "console", "attempt": 1, "outcome": "accepted",
        "at": 1012.0, "campaign": campaign, "person": "ada", "subject": "s", "place": "shop",
    }  # fmt: skip
    return Delivery(**{**fields, **more})


def told(
    store: Store, *items: Transition | Decision | Delivery, campaigns: Campaigns | None = CAMPAIGNS,
    place: str | None = None, at: float | None = None,
) -> Explanation:  # fmt: skip
    store.write(lambda conn: ledger.append(conn, [ledger.entry(item) for item in items])).result()
    return store.read(
        lambda conn: explain(
            conn, subject="s", place=place, at=at, campaigns=campaigns, facts=facts
        )
    )


def test_nothing_known_says_what_that_may_mean(store: Store) -> None:
    found = told(store)
    assert found.visits == ()
    assert found.says.startswith("Nothing happened: no transition of s is known.")
    assert "consent" in found.says
    assert found.says in render(found)
    assert "at shop" in told(store, place="shop").says


def test_a_sent_offer_is_told_with_every_gate(store: Store) -> None:
    store.write(
        lambda conn: conn.execute(schema.subjects.insert(), {"subject": "s", "person": "ada"})
    ).result()
    found = told(store, moved(), decided(), handed())
    (visit,) = found.visits
    assert found.person == "ada"
    assert [len(visit.transitions), len(visit.decisions), len(visit.deliveries)] == [1, 1, 1]
    assert "coffee was sent, console: accepted" in found.says
    text = render(found)
    for word in (
        "s (ada)",
        "visit v",
        "enter",
        "distance_m=-12.5",
        "ok  caps",
        "console: accepted",
    ):
        assert word in text


def test_a_suppression_names_the_gate_that_failed(store: Store) -> None:
    refused = decided(
        decision=Verdict.SUPPRESS, reason="caps", gates=(GateResult("caps", False, {"count": 2}),)
    )
    found = told(store, moved(), refused)
    assert "coffee was suppressed (caps)" in found.says
    assert "NO  caps" in render(found)
    assert "count=2" in render(found)


def test_a_deferral_says_until_when(store: Store) -> None:
    found = told(
        store, moved(), decided(decision=Verdict.DEFER, reason="quiet_hours", until=2000.0)
    )
    assert "coffee was deferred (quiet_hours)" in found.says
    assert "until 1970-01-01T00:33:20.000Z" in render(found)


def test_a_campaign_that_was_not_met_says_what_it_waits_for(store: Store) -> None:
    (visit,) = told(store, moved(), decided()).visits
    assert visit.unmet == {"linger": "waits for dwell, which did not happen in this visit"}
    (visit,) = told(store, moved("dwell", 1030.0, dwell_s=30.0)).visits
    assert visit.unmet == {"linger": "waits for a dwell of 60 s, which did not happen"}
    (visit,) = told(store, moved("dwell", 1060.0, dwell_s=60.0, late=True)).visits
    assert visit.unmet == {"linger": "the visit was found late, which triggers nothing"}


@pytest.mark.parametrize(
    ("decided_at", "says"),
    [
        (1060.0, "not decided yet, or not in force when it happened"),
        (2000.0, "what told of it had waited in a receiver, which triggers nothing"),
    ],
)
def test_what_waited_in_a_receiver_is_said_to_have(
    store: Store, decided_at: float, says: str
) -> None:
    because = {"rssi_dbm": -60.0, "gateway": "gw-1"}
    change = msgspec.structs.replace(moved(), decided_at=decided_at, because=because)
    (visit,) = told(store, change).visits
    assert visit.unmet["coffee"] == says


def test_without_decisions_the_unmet_are_the_answer(store: Store) -> None:
    found = told(store, moved())
    assert "No campaign met it: coffee not decided yet" in found.says
    bare = told(store, campaigns=None)
    assert bare.says.endswith("No campaign met it.")
    assert "no campaign met it" in render(bare)


def test_the_story_is_that_of_the_asked_time_and_place(store: Store) -> None:
    visits = [
        moved(at=1000.0, visit="v1"),
        moved(at=1100.0, visit="v2", place="mall"),
        moved("exit", at=1200.0, visit="v1", reason="left"),
        moved(at=9000.0, visit="v3"),
    ]
    assert [one.visit for one in told(store, *visits).visits] == ["v3"]
    assert [one.visit for one in told(store, at=1500.0).visits] == ["v2", "v1"]
    assert [one.visit for one in told(store, at=1500.0, place="mall").visits] == ["v2"]
    # Asked before anything happened: what came next is what was meant.
    assert [one.visit for one in told(store, at=5.0).visits] == ["v1"]
    found = told(store, at=1500.0, place="shop")
    assert "exit (left)" in found.says
    assert found.at == "1970-01-01T00:25:00.000Z"
    assert "exit left" in render(found)


def test_deliveries_of_other_visits_stay_out(store: Store) -> None:
    (visit,) = told(store, moved(), decided(), handed(), handed("old", key="d-old")).visits
    assert [one["key"] for one in visit.deliveries] == ["d-coffee"]


def test_a_corrected_visit_is_told_too(store: Store) -> None:
    corrected = Transition(
        kind="corrected", subject="s", place="shop", visit="v", at=None, decided_at=1100.0,
        enter_at=990.0,
    )  # fmt: skip
    found = told(store, moved(), corrected)
    assert "corrected" in found.says
    assert "1970-01-01T00:18:20.000Z  corrected" in render(found)
