from __future__ import annotations

import contextlib
from collections.abc import Iterator

import msgspec
import pytest

from proximity.campaigns.campaigns import Campaigns, PlaceFacts
from proximity.campaigns.form import parse_campaigns
from proximity.engine.nearmiss import NearMiss, Recent
from proximity.explain.explain import NOTHING, Explanation, explain, with_recent
from proximity.explain.readers import REASONS, render, table, table_text
from proximity.explain.sentences import tell
from proximity.model import Decision, Delivery, GateResult, Reason, Transition, Verdict
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


OUTSIDE = NearMiss(
    place="kiosk", at=1500.0, code="outside", because={"distance_m": 14.2, "accuracy_m": 30.0}
)


def test_nothing_is_told_with_how_near_it_was(store: Store) -> None:
    recent = {"s": Recent(first_at=1400.0, newest_at=1590.0, fixes=9, misses=(OUTSIDE,))}
    found = with_recent(told(store, at=1600.0), recent, agreed=True, at=1600.0, facts=facts)
    assert found.nothing == ()
    assert "stood outside kiosk, 14.2 m from the edge, accuracy 30 m" in found.says
    assert "looked through 9 fixes of s" in render(found)
    (near,) = found.near
    assert (near.place, near.code, near.at) == ("kiosk", "outside", "1970-01-01T00:25:00.000Z")


def test_a_place_that_was_visited_was_not_missed(store: Store) -> None:
    recent = {"s": Recent(newest_at=1590.0, fixes=9, misses=(OUTSIDE,))}
    visited = told(store, moved(place="kiosk"))
    assert with_recent(visited, recent, agreed=True).near == ()
    elsewhere = told(store, place="mall")
    assert with_recent(elsewhere, recent, agreed=True).near == ()


@pytest.mark.parametrize(
    ("recent", "agreed", "codes"),
    [
        (Recent(), False, ("unconsented",)),
        (Recent(newest_at=1590.0, fixes=3, misses=(OUTSIDE,)), False, ("unconsented",)),
        (Recent(), True, ("unknown",)),
        (Recent(newest_at=1590.0, fixes=2, mock=2), True, ("mock", "far")),
        (Recent(newest_at=1590.0, fixes=2, jumps=1), True, ("jumps", "far")),
        (Recent(newest_at=900.0, fixes=2), True, ("not_since", "far")),
        (Recent(newest_at=1590.0, fixes=2, misses=(OUTSIDE,)), True, ()),
    ],
)
def test_why_nothing_happened_is_named(
    store: Store, recent: Recent, agreed: bool, codes: tuple[str, ...]
) -> None:
    found = with_recent(told(store, at=1600.0), {"s": recent}, agreed=agreed, at=1600.0)
    assert found.nothing == codes
    # Where nothing may be processed nothing is said of what was.
    assert agreed or (found.near, found.seen) == ((), ())
    for code in codes:
        assert NOTHING[code].partition("{")[0] in found.says


def test_who_is_known_and_sent_nothing_is_told_so(store: Store) -> None:
    carry(store, "ada", "s")
    assert with_recent(told(store), {"s": Recent()}, agreed=True).nothing == ("not_kept",)


def carry(store: Store, person: str, *subjects: str) -> None:
    rows = [{"subject": subject, "person": person} for subject in subjects]
    store.write(lambda conn: conn.execute(schema.subjects.insert(), rows)).result()


def test_a_person_is_told_of_all_that_they_carry(store: Store) -> None:
    carry(store, "ada", "s", "watch")
    other = msgspec.structs.replace(moved(at=1100.0, visit="w"), subject="watch")
    told(store, moved(), other)
    found = store.read(lambda conn: explain(conn, person="ada"))
    assert found.subjects == ("s", "watch")
    assert [(one.subject, one.visit) for one in found.visits] == [("s", "v"), ("watch", "w")]
    assert "watch" in render(found)
    alone = store.read(lambda conn: explain(conn, person="nobody"))
    assert alone.subjects == ("nobody",)
    with pytest.raises(ValueError, match="subject or a person"):
        store.read(explain)


def test_what_happened_in_no_visit_is_told(store: Store) -> None:
    found = told(store, decided(place="", visit=""), handed(place=""))
    assert "On the way: coffee was sent, console: accepted" in found.says
    assert "on the way" in render(found)


def test_what_was_sent_by_hand_is_told_of_its_person_and_of_nobody_else(store: Store) -> None:
    carry(store, "ada", "s")
    carry(store, "eve", "bob")  # a phone that is called as another person is
    gate = GateResult("location", True, {"source": "manual"})
    for name in ("ada", "bob"):
        mailed = decided(
            id=name, subject=name, person=name, place="", visit="", gates=(gate,), at=9000.0
        )
        failed = handed(
            key=name, subject=name, person=name, place="", channel="email",
            outcome="failed", reason="attempts", at=9001.0,
        )  # fmt: skip
        told(store, mailed, failed)
    for asked in ({"person": "ada"}, {"subject": "s"}):
        found = store.read(lambda conn, asked=asked: explain(conn, **asked))
        assert found.subjects == ("s",)
        assert found.says == "Sent by hand: coffee was sent, email: failed."
        assert "by hand" in render(found)
        assert "email: failed because of attempts" in render(found)
        assert table(found).rows[0].deliveries == ("email: failed because of attempts",)
        assert "everybody whom it concerns" in " ".join(tell(found, ("en",), None).sentences)
    carry(store, "bob", "bob-phone")
    assert store.read(lambda conn: explain(conn, person="bob")).visits == ()


def test_a_late_answer_is_found_with_the_visit_it_is_about(store: Store) -> None:
    put_off = decided(decision=Verdict.DEFER, reason=Reason.QUIET_HOURS, until=30_000.0)
    (visit,) = told(store, moved(), put_off, decided(at=30_000.0), at=30_001.0).visits
    assert [one["decision"] for one in visit.decisions] == ["defer", "send"]
    assert [one["kind"] for one in visit.transitions] == ["enter"]


def test_any_time_is_found_among_many_rows(store: Store) -> None:
    many = [moved(at=1000.0 + 5000.0 * n, visit=f"v{n}") for n in range(600)]
    told(store, *many)
    for n in (0, 7, 300, 599):
        (visit,) = told(store, at=1020.0 + 5000.0 * n).visits
        assert visit.visit == f"v{n}"


def test_a_marketer_gets_a_row_for_each_campaign(store: Store) -> None:
    refused = decided(
        decision=Verdict.SUPPRESS, reason=Reason.CAPPED,
        gates=(GateResult("consent", True, {}), GateResult("caps", False, {"count": 2})),
    )  # fmt: skip
    made = table(told(store, moved(), refused))
    first, second = made.rows
    assert (first.campaign, first.result, first.gates) == ("coffee", "not sent", "+-")
    assert first.says == REASONS[Reason.CAPPED]
    assert first.failed == {"caps": "count=2"}
    assert (second.campaign, second.result) == ("linger", "not met")
    text = table_text(made)
    for word in ("campaign", "why", "coffee", REASONS[Reason.CAPPED], "linger"):
        assert word in text
    sent = table(
        told(store, moved(visit="w", at=9000.0), decided(id="x", visit="w"), handed(key="x"))
    )
    assert [row.deliveries for row in sent.rows if row.result == "sent"] == [("console: accepted",)]
    assert "(console: accepted)" in table_text(sent)
    nothing = table(told(store, place="nowhere"))
    assert nothing.says in table_text(nothing)


def test_every_reason_has_words_for_a_marketer() -> None:
    assert set(REASONS) == set(Reason)
