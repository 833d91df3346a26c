"""Decided together: rivals of a moment, one person's devices, other systems' sends, what is due."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from msgspec.structs import replace

from proximity.campaigns.campaigns import Campaign, Cap, Circumstance, Contest, Stock
from proximity.campaigns.form import parse_campaigns
from proximity.dispatch import queue, sends
from proximity.dispatch.deciding import MOST_CLAIMS
from proximity.model import Event, Transition
from proximity.people import behaviour
from proximity.store import Store, schema
from tests.proximity.given import ANNA, COFFEE, NOON, rules, trigger, when, windows
from tests.proximity.test_dispatch import Way

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def store() -> Iterator[Store]:
    opened = Store.open(":memory:")
    yield opened
    opened.close()


def rivals(store: Store, *campaigns: Campaign, **options: Any) -> Way:
    """Anna is in a moment for which these campaigns wait."""
    way = Way(store, rules(*campaigns, **options)).put()
    return way.queue(*(trigger(id=f"t/{one.id}", campaign=one.id, moment="m") for one in campaigns))


def named(count: int, **each: Any) -> list[Campaign]:
    return [replace(COFFEE, id=f"c{n}", **each) for n in range(count)]


def reasons(way: Way, now: float = NOON) -> dict[str, str | None]:
    return {d.campaign: d.reason for d in way.decide(now)}


# -- the contest ---------------------------------------------------------------------------------


def test_without_a_contest_everybody_wins(store: Store) -> None:
    assert set(reasons(rivals(store, *named(3))).values()) == {None}


def test_the_best_of_a_moment_wins_by_priority_then_worth_then_id(store: Store) -> None:
    low = replace(COFFEE, id="a", priority=0.0)
    cheap, dear, tied = (
        replace(COFFEE, id=id_, priority=5.0, value=value)
        for id_, value in (("b", 0.2), ("d", 0.9), ("c", 0.9))
    )
    way = rivals(store, low, cheap, dear, tied, contest=Contest())
    assert reasons(way) == {"a": "outranked", "b": "outranked", "c": None, "d": "outranked"}
    record = next(r for r in way.records("decision") if r["campaign"] == "b")
    verdict = {gate["gate"]: gate for gate in record["gates"]}["contest"]
    assert verdict["because"]["ahead"] == ["c", "d"]
    assert len(way.rows(schema.sends)) == len(way.rows(schema.outbox)) == 1


def test_whom_another_gate_stops_is_nobodys_rival(store: Store) -> None:
    best = replace(COFFEE, id="best", priority=9.0, active=False)
    assert reasons(rivals(store, best, COFFEE, contest=Contest())) == {
        "best": "inactive", "coffee": None,
    }  # fmt: skip


def test_moments_are_contests_of_their_own(store: Store) -> None:
    way = Way(store, rules(*named(2), contest=Contest())).put()
    way.queue(
        *(trigger(id=f"{m}/{n}", campaign=f"c{n}", moment=m) for m in ("m1", "m2") for n in (0, 1))
    )
    assert [d.reason for d in way.decide()] == [None, "outranked"] * 2


def test_the_next_best_moves_up_where_a_winner_stops_another(store: Store) -> None:
    """Two may win; the second draws on the stock that the first has just emptied."""
    first, second, third = named(3)
    scarce = {"cups": Stock(id="cups", count=1)}
    way = rivals(
        store, replace(first, stock=("cups",)), replace(second, stock=("cups",)), third,
        contest=Contest(winners=2), stocks=scarce,
    )  # fmt: skip
    assert reasons(way) == {"c0": None, "c1": "out_of_stock", "c2": None}


def test_a_rival_that_comes_back_later_meets_who_has_won(store: Store) -> None:
    """Its claimer had died, or it was at fault."""
    way = rivals(store, *named(2), contest=Contest())
    late = schema.triggers.update().where(schema.triggers.c.id == "t/c0")
    store.write(lambda c: c.execute(late.values(due_at=NOON + 5))).result()
    assert reasons(way) == {"c1": None}
    assert reasons(way, NOON + 5) == {"c0": "outranked"}


def test_what_was_put_off_does_not_meet_what_was_sent_at_once(store: Store) -> None:
    night, morning = when("2026-01-06 23:30"), when("2026-01-07 07:00")
    offers = [
        replace(COFFEE, id="a", defer=True, priority=1.0),
        replace(COFFEE, id="b", defer=True),
        replace(COFFEE, id="s", purpose="service"),
    ]
    person = replace(ANNA, consents=(*ANNA.consents, replace(ANNA.consents[0], purpose="service")))
    way = Way(store, rules(*offers, contest=Contest(), quiet_hours=windows("22:00-07:00")))
    way.put(person)
    at: Any = {"at": night, "decided_at": night, "evidence_at": night, "moment": "m"}
    way.queue(*(trigger(id=f"t/{one.id}", campaign=one.id, **at) for one in offers))
    assert reasons(way, night) == {"a": "quiet_hours", "b": "quiet_hours", "s": None}
    assert reasons(way, morning) == {"a": None, "b": "outranked"}


def test_a_moment_longer_than_a_page_is_decided_whole(store: Store) -> None:
    way = rivals(store, *named(30), contest=Contest())
    found = way.dispatcher.decide_due(NOON, limit=4)
    assert [d.reason for d in found] == [None, *["outranked"] * 29]


# -- one person ----------------------------------------------------------------------------------


def test_three_devices_and_a_cap_of_one_make_one_send(store: Store) -> None:
    """Row 68: the same person walks in with telephone, tablet and tag."""
    one = rules(caps=(Cap(count=1, window_s=86400.0),))
    way = Way(store, one).put(replace(ANNA, subjects=("phone", "tablet", "tag")))
    facts = way.dispatcher.world.places.facts("cafe-1")
    for n, subject in enumerate(("phone", "tablet", "tag")):
        came = Transition(
            kind="enter", subject=subject, place="cafe-1", visit=f"v{n}", at=NOON, decided_at=NOON
        )
        way.queue(*one.triggers(came, way.people.person_of(subject), facts))
    assert [d.reason for d in way.decide()] == [None, "capped", "capped"]
    assert [d.outcome for d in way.send()] == ["accepted"]
    assert len(way.channel.sent) == 1


def test_what_other_systems_sent_counts(store: Store) -> None:
    """Row 51: two e-mails by another system, and two a day are enough."""
    way = Way(store, rules(caps=(Cap(count=2, per="day"),))).put().queue(trigger())
    told = [
        Event(
            subject="phone-a", at=NOON - 60.0 * n, name="message-sent",
            properties={"id": f"mail-{n}", "channel": "email", "purpose": "marketing",
                        "system": "crm"},
        )
        for n in range(2)
    ]  # fmt: skip
    heard = [behaviour.hear(event, "anna") for event in told]
    places = way.dispatcher.world.places.facts
    store.write(lambda c: behaviour.write_events(c, heard, {"anna"}, places)).result()
    (decision,) = way.decide()
    assert decision.reason == "capped"
    gate = next(one for one in decision.gates if one.gate == "caps")
    assert gate.because["caps"][0]["ids"] == ["crm:mail-0", "crm:mail-1"]


def test_what_the_person_did_is_read_where_a_campaign_asks(store: Store) -> None:
    asks = replace(COFFEE, context=(Circumstance(event="search", within_s=600.0),))
    way = Way(store, rules(asks)).put()
    way.queue(trigger(id="before"))
    assert [d.reason for d in way.decide()] == ["context"]
    heard = [behaviour.hear(Event(subject="phone-a", at=NOON - 60.0, name="search"), "anna")]
    places = way.dispatcher.world.places.facts
    store.write(lambda c: behaviour.write_events(c, heard, {"anna"}, places)).result()
    way.queue(trigger(id="after"))
    assert [d.reason for d in way.decide()] == [None]


# -- what is due later ---------------------------------------------------------------------------

REMINDER = """
[[campaign]]
id = "tee-time"
purpose = "reminder"
channels = ["console"]
on = "event"
event = "booked"
at_property = "starts_at"
before_s = 3600
[campaign.text]
en = "In an hour."
"""


def test_a_reminder_is_sent_an_hour_before_to_the_second(store: Store) -> None:
    """Row 27; and nothing is sent once it has begun."""
    campaigns = parse_campaigns(REMINDER)
    way = Way(store, campaigns)
    way.put(replace(ANNA, consents=(replace(ANNA.consents[0], purpose="reminder"),)))
    starts_at = when("2026-01-08 09:30")
    booked = Event(
        subject="phone-a", at=NOON, name="booked", properties={"starts_at": starts_at}, id="b1"
    )
    way.queue(*campaigns.event_triggers(booked, "anna", None, None))
    assert way.decide(NOON) == []
    assert way.dispatcher.next_due() == starts_at - 3600.0
    assert way.decide(starts_at - 3600.001) == []
    assert [d.reason for d in way.decide(starts_at - 3600.0)] == [None]
    assert [d.at for d in way.send(starts_at - 3600.0)] == [starts_at - 3600.0]


# -- faults --------------------------------------------------------------------------------------


def test_what_cannot_be_written_stops_no_other_and_is_given_up_in_the_end(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    way = Way(store).put().queue(trigger(id="bad"), trigger(id="good"))
    reserve = sends.reserve

    def faulty(connection: Any, some: Any) -> None:
        if any(send.decision == "bad" for _, send in some):
            raise ZeroDivisionError("anna was here")
        reserve(connection, some)

    monkeypatch.setattr(sends, "reserve", faulty)
    assert [d.id for d in way.decide()] == ["good"]
    for lease in range(1, MOST_CLAIMS - 1):
        assert way.decide(NOON + lease * queue.LEASE_S) == []
    last = way.decide(NOON + (MOST_CLAIMS - 1) * queue.LEASE_S)
    assert [(d.id, d.decision, d.reason) for d in last] == [("bad", "suppress", "fault")] or [
        d.reason for d in last
    ] == ["stale"]
    assert way.rows(schema.triggers) == []
    assert [row.decision for row in way.rows(schema.sends)] == ["good"]


def test_a_trigger_of_an_older_version_can_still_be_read(store: Store) -> None:
    """It has no moment and no time at which it is due."""
    old = {
        key: value
        for key, value in msgspec.to_builtins(trigger()).items()
        if key not in {"moment", "due_at", "until", "event", "confidence", "source"}
    }
    row = {
        "id": "t1", "trigger": msgspec.msgpack.encode(old), "due_at": NOON, "state": "ready",
        "token": 0, "attempts": 0,
    }  # fmt: skip
    way = Way(store, rules(contest=Contest())).put()
    store.write(lambda c: c.execute(schema.triggers.insert(), row)).result()
    assert [d.reason for d in way.decide()] == [None]
