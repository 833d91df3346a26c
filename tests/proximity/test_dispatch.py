"""Decided once, reserved with the decision, looked at again, handed over at least once."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import sqlalchemy as sa
from msgspec.structs import replace

from proximity.campaigns.campaigns import Campaigns, Cap, Daypart
from proximity.channels import Reply
from proximity.consent import objections
from proximity.dispatch import leasing, outbox, queue
from proximity.dispatch.deciding import MOST_CLAIMS
from proximity.dispatch.dispatch import Dispatcher
from proximity.dispatch.judging import BACKOFF_MOST_S, BACKOFF_S, MOST_ATTEMPTS, delay_s
from proximity.dispatch.pace import AT_ONCE
from proximity.dispatch.sending import LATEST_S
from proximity.gates.gates import GATES
from proximity.model import Consent, Decision, Delivery, Endpoint, Offer, Person, Trigger
from proximity.people.people import People
from proximity.privacy import erasing
from proximity.site.places import Places
from proximity.site.registry import Place, Site
from proximity.store import Store, ledger, schema
from tests.proximity.given import ANNA, COFFEE, NOON, PARIS, offer, rules, trigger, when, windows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SITE = Site(timezone=PARIS)
NIGHT = when("2026-01-06 23:30")
MORNING = when("2026-01-07 07:00")


class Recorder:
    to_endpoints = False
    """A real channel whose receiver is a list; replies come from a script, then all is taken."""

    name = "console"

    def __init__(self, *replies: Reply) -> None:
        self.sent: list[Offer] = []
        self.replies = list(replies)
        self.before: Callable[[], None] = lambda: None

    async def send(self, offer: Offer, endpoint: Endpoint | None = None) -> Reply:  # noqa: ARG002
        self.before()
        self.sent.append(offer)
        return self.replies.pop(0) if self.replies else Reply(outcome="accepted")

    async def close(self) -> None:
        """Nothing is open."""


@pytest.fixture
def store() -> Iterator[Store]:
    opened = Store.open(":memory:")
    yield opened
    opened.close()


class Way:
    """The way out over one store: people, a queue, a recorder at the end."""

    def __init__(self, store: Store, campaigns: Campaigns | None = None, **options: Any) -> None:
        self.store = store
        self.rules = campaigns or rules()
        self.people = People(store, clock=lambda: NOON)
        self.channel = options.pop("channel", None) or Recorder()
        self.dispatcher = Dispatcher(
            store, campaigns=lambda: self.rules, people=self.people, places=Places(None, SITE),
            channels={"console": self.channel}, **options,
        )  # fmt: skip

    def put(self, person: Person = ANNA) -> Way:
        self.store.write(lambda c: self.people.put(c, person)).result()
        return self

    def queue(self, *triggers: Trigger) -> Way:
        self.store.write(lambda c: queue.append(c, triggers)).result()
        return self

    def decide(self, now: float = NOON) -> list[Decision]:
        return self.dispatcher.decide_due(now)

    def send(self, now: float = NOON) -> list[Delivery]:
        return asyncio.run(self.dispatcher.send_due(now))

    def rows(self, table: sa.Table) -> list[Any]:
        return list(self.store.read(lambda c: c.execute(sa.select(table)).all()))

    def records(self, kind: Any) -> list[dict[str, Any]]:
        rows, _ = self.store.read(lambda c: ledger.page(c, kind, 0, 10_000))
        return [json.loads(row.record) for row in rows]


def ready(store: Store, campaigns: Campaigns | None = None, **options: Any) -> Way:
    """A way on which Anna's trigger has been decided: an offer lies in the outbox."""
    way = Way(store, campaigns, **options).put().queue(trigger())
    assert [d.decision for d in way.decide()] == ["send"]
    return way


# -- deciding ------------------------------------------------------------------------------------


def test_one_transaction_holds_decision_reservation_and_outbox(store: Store) -> None:
    way = ready(store)
    assert [r["reason"] for r in way.records("decision")] == [None]
    assert [(s.decision, s.person, s.campaign, s.at) for s in way.rows(schema.sends)] == [
        ("t1", "anna", "coffee", NOON)
    ]
    assert [(o.key, o.channel, o.expires_at) for o in way.rows(schema.outbox)] == [
        ("t1", "console", NOON + 120.0)
    ]
    assert way.rows(schema.triggers) == []
    assert way.dispatcher.next_due() == NOON
    assert way.dispatcher.counts["decision send"] == 1


def test_what_is_suppressed_reserves_nothing_and_is_explained(store: Store) -> None:
    way = Way(store).queue(trigger())
    assert [d.reason for d in way.decide()] == ["no_consent"]
    record = way.records("decision")[0]
    assert record["decision"] == "suppress"
    assert [gate["gate"] for gate in record["gates"]] == [gate.name for gate in GATES]
    assert way.rows(schema.sends) == way.rows(schema.outbox) == []


def test_what_was_decided_is_not_decided_again(store: Store) -> None:
    way = ready(store)
    way.queue(trigger())  # the queue passes over it
    assert way.decide() == []
    # And should it lie there all the same, it goes without a second record.
    row = {
        "id": "t1", "trigger": msgspec.msgpack.encode(trigger()), "due_at": NOON,
        "state": "ready", "token": 0, "attempts": 0,
    }  # fmt: skip
    store.write(lambda c: c.execute(schema.triggers.insert(), row)).result()
    assert way.decide() == []
    assert len(way.records("decision")) == 1
    assert way.rows(schema.triggers) == []


def test_consent_is_read_in_the_transaction_that_decides(store: Store) -> None:
    way = Way(store).put().queue(trigger())
    way.people.reload()
    assert way.people.may_process("phone-a", NOON)  # remembered
    other = People(store)
    store.write(lambda c: other.withdraw(c, "anna", at=NOON - 1)).result()
    assert [d.reason for d in way.decide()] == ["no_consent"]


def test_consent_kept_upstream(store: Store) -> None:
    way = Way(store, consent="assumed").queue(trigger())
    assert [d.decision for d in way.decide()] == ["send"]
    assert [d.outcome for d in way.send()] == ["accepted"]


def test_caps_are_per_person_across_subjects_and_within_one_batch(store: Store) -> None:
    campaigns = [replace(COFFEE, id=f"c{n}") for n in range(5)]
    way = Way(store, rules(*campaigns, caps=(Cap(count=2, window_s=3600.0),))).put()
    way.queue(
        *(trigger(id=f"t{n}", campaign=f"c{n}", subject=f"phone-{n}") for n in range(5)),
        trigger(id="other", person="ben", campaign="c0"),
    )
    store.write(lambda c: way.people.grant(c, "ben", Consent(purpose="marketing"), "test")).result()
    decided = {d.id: d.reason for d in way.decide()}
    assert decided == {
        "t0": None, "t1": None, "t2": "capped", "t3": "capped", "t4": "capped", "other": None,
    }  # fmt: skip
    capped = {gate["gate"]: gate for gate in way.records("decision")[2]["gates"]}["caps"]
    assert capped["because"]["caps"][0]["ids"] == ["t0", "t1"]


@pytest.mark.parametrize("together", [True, False])
def test_a_cap_on_a_mall_counts_what_was_sent_in_its_shops(store: Store, together: bool) -> None:
    way = Way(store, rules(caps=(Cap(count=1, window_s=86400.0, place="mall"),))).put()
    shops = {name: Place(id=name, parent="mall") for name in ("shop-a", "shop-b")}
    malls = Places(None, Site(timezone=PARIS, places=shops))
    way.dispatcher.world = way.dispatcher.world._replace(places=malls)
    way.queue(trigger(place="shop-a"))
    found = [] if together else way.decide()
    way.queue(trigger(id="t2", visit="v2", place="shop-b"))
    way.queue(trigger(id="t3", visit="v3", place="cafe-1"))
    found += way.decide()
    assert [(d.place, d.reason) for d in found] == [
        ("shop-a", None), ("shop-b", "capped"), ("cafe-1", None),
    ]  # fmt: skip


def test_cooldown_spans_visits(store: Store) -> None:
    cool = replace(COFFEE, cooldown_s=600.0)
    way = Way(store, rules(cool)).put()
    for number, wait in enumerate((0, 599, 600)):
        at = NOON + wait
        way.queue(trigger(id=f"t{number}", visit=f"v{number}", at=at, decided_at=at))
        way.decide(at)
    assert [r["reason"] for r in way.records("decision")] == [None, "cooldown", None]


def test_a_campaign_that_left_the_file_is_inactive(store: Store) -> None:
    way = Way(store).put().queue(trigger(campaign="tea", version=7))
    decision = way.decide()[0]
    assert (decision.reason, decision.campaign, decision.version) == ("inactive", "tea", 7)
    assert decision.gates[1].because == {"active": False, "listed": False}


def test_claims_come_back_when_their_holder_is_gone(store: Store) -> None:
    way = Way(store, owner="b").put().queue(trigger())
    store.write(lambda c: queue.claim(c, "a", NOON)).result()  # and a dies
    assert way.decide() == []
    assert way.dispatcher.next_due() == NOON + queue.LEASE_S
    assert [d.decision for d in way.decide(NOON + queue.LEASE_S)] == ["send"]


def test_whoever_overstayed_its_lease_decides_nothing(store: Store) -> None:
    slow, quick = Way(store, owner="a").put().queue(trigger()), Way(store, owner="b")
    claims = store.write(lambda c: queue.claim(c, "a", NOON)).result()
    assert len(quick.decide(NOON + 31)) == 1
    assert store.write(lambda c: slow.dispatcher._decide(c, claims, NOON + 32)).result() == []
    assert len(slow.records("decision")) == 1
    assert len(slow.rows(schema.sends)) == 1
    # Fenced as well while the other has leased it but not decided.
    slow.queue(trigger(id="t2"))
    stale = store.write(lambda c: queue.claim(c, "a", NOON)).result()
    store.write(lambda c: queue.claim(c, "b", NOON + 31)).result()
    assert store.write(lambda c: slow.dispatcher._decide(c, stale, NOON + 32)).result() == []
    assert slow.dispatcher.counts["fenced"] == 2


async def test_deciding_from_an_event_loop_is_the_same(store: Store) -> None:
    way = Way(store).put().queue(trigger())
    assert [d.decision for d in await way.dispatcher.adecide_due(NOON)] == ["send"]
    assert await way.dispatcher.adecide_due(NOON) == []


def test_a_claim_at_fault_stops_no_other_and_is_given_up_in_the_end(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    way = Way(store).put().queue(trigger(id="bad", place="bad"), trigger(id="good"))
    facts = way.dispatcher.world.places.facts

    def faulty(place: str) -> Any:
        if place == "bad":
            raise ZeroDivisionError("anna was here")
        return facts(place)

    monkeypatch.setattr(way.dispatcher.world.places, "facts", faulty)
    assert [(d.id, d.reason) for d in way.decide()] == [("good", None)]
    for lease in range(1, MOST_CLAIMS - 1):
        assert way.decide(NOON + lease * queue.LEASE_S) == []
    last = way.decide(NOON + (MOST_CLAIMS - 1) * queue.LEASE_S)
    assert [(d.id, d.decision, d.reason, d.gates) for d in last] == [
        ("bad", "suppress", "fault", ())
    ]
    assert way.dispatcher.counts["fault"] == MOST_CLAIMS
    assert way.rows(schema.triggers) == []
    assert [r["id"] for r in way.records("decision")] == ["good", "bad"]
    assert len(way.rows(schema.outbox)) == 1


# -- deferring -----------------------------------------------------------------------------------


def deferred(store: Store) -> Way:
    campaign = replace(COFFEE, defer=True)
    way = Way(store, rules(campaign, quiet_hours=windows("22:00-07:00"))).put()
    way.queue(trigger(at=NIGHT, decided_at=NIGHT, evidence_at=NIGHT))
    assert [d.decision for d in way.decide(NIGHT)] == ["defer"]
    return way


def test_a_deferral_is_followed_by_one_final_decision_of_the_same_id(store: Store) -> None:
    way = deferred(store)
    assert way.rows(schema.sends) == way.rows(schema.outbox) == []  # it reserves nothing
    assert way.dispatcher.next_due() == MORNING
    assert way.decide(MORNING - 1) == []
    assert [d.decision for d in way.decide(MORNING)] == ["send"]
    assert way.decide(MORNING + 1) == []
    records = way.records("decision")
    assert [(r["id"], r["decision"], r["until"]) for r in records] == [
        ("t1", "defer", "2026-01-07T06:00:00.000Z"),
        ("t1", "send", None),
    ]
    assert [d.outcome for d in way.send(MORNING)] == ["accepted"]


def test_what_was_deferred_is_judged_by_the_rules_of_then(store: Store) -> None:
    way = deferred(store)
    store.write(lambda c: way.people.withdraw(c, "anna", at=NIGHT + 60)).result()
    assert [d.reason for d in way.decide(MORNING)] == ["no_consent"]


def test_quiet_again_in_the_morning_is_no_second_deferral(store: Store) -> None:
    way = deferred(store)
    way.put(replace(ANNA, timezone="America/St_Johns"))  # flown away: half past two at night
    final = way.decide(MORNING)[0]
    assert (final.decision, final.reason, final.until) == ("suppress", "quiet_hours", None)
    assert way.rows(schema.triggers) == []


def test_a_trigger_that_waits_already_deferred_is_not_queued_twice(store: Store) -> None:
    way = deferred(store)
    way.queue(trigger(at=NIGHT, decided_at=NIGHT, evidence_at=NIGHT))
    assert len(way.rows(schema.triggers)) == 1
    assert way.decide(NIGHT + 60) == []


# -- sending -------------------------------------------------------------------------------------


def test_an_offer_is_handed_over_and_recorded(store: Store) -> None:
    way = ready(store)
    assert [d.outcome for d in way.send()] == ["accepted"]
    assert [o.key for o in way.channel.sent] == ["t1"]
    assert way.send() == []
    assert way.rows(schema.outbox) == []
    assert way.dispatcher.next_due() is None
    record = way.records("delivery")[0]
    assert record["attempt"] == 1
    assert record["handed"] == {
        "text": "Un café au cafe-1", "language": "fr", "link": "https://example.test/coffee",
        "expires_at": "2026-01-06T11:02:00.000Z", "repeats": "at_least_once",
    }  # fmt: skip


def test_a_retry_comes_back_with_the_same_key(store: Store) -> None:
    channel = Recorder(Reply(outcome="retry", reply={"status": 503}))
    way = ready(store, channel=channel)
    first = way.send()[0]
    assert (first.outcome, first.attempt) == ("retry", 1)
    assert first.next_at == NOON + delay_s("t1", 1)
    assert way.dispatcher.next_due() == first.next_at
    assert way.send(first.next_at - 0.01) == []
    second = way.send(first.next_at)[0]
    assert (second.outcome, second.attempt) == ("accepted", 2)
    assert [o.key for o in channel.sent] == ["t1", "t1"]
    assert [r["outcome"] for r in way.records("delivery")] == ["retry", "accepted"]
    assert way.records("delivery")[0]["reply"] == {"status": 503}


def test_waits_double_within_bounds_and_are_the_same_every_time() -> None:
    for attempt in range(1, 40):
        whole = min(BACKOFF_S * 2 ** (attempt - 1), BACKOFF_MOST_S)
        waits = [delay_s(f"k{n}", attempt) for n in range(200)]
        assert all(whole / 2 <= wait <= whole for wait in waits)
        assert max(waits) - min(waits) > whole / 3  # spread
        assert waits == [delay_s(f"k{n}", attempt) for n in range(200)]
    assert delay_s("k", 1, 60.0) == 60.0
    assert delay_s("k", 12, 1.0) > 100.0


def test_what_the_receiver_asks_for_is_waited(store: Store) -> None:
    way = ready(store, channel=Recorder(Reply(outcome="retry", retry_after_s=45.0)))
    assert way.send()[0].next_at == NOON + 45.0


def test_a_retry_beyond_the_end_is_the_end(store: Store) -> None:
    way = ready(store, channel=Recorder(Reply(outcome="retry", retry_after_s=120.0)))
    last = way.send()[0]
    assert (last.outcome, last.reason, last.next_at) == ("expired", "expired", None)
    assert way.rows(schema.outbox) == []


def test_trying_comes_to_an_end(store: Store) -> None:
    campaign = replace(COFFEE, ttl_s=1e6)
    channel = Recorder(*[Reply(outcome="retry")] * 50)
    way = ready(store, rules(campaign), channel=channel)
    now: float | None = NOON
    while now is not None:
        way.send(now)
        now = way.dispatcher.next_due()
    outcomes = [(r["outcome"], r["reason"]) for r in way.records("delivery")]
    assert outcomes == [("retry", None)] * (MOST_ATTEMPTS - 1) + [("failed", "attempts")]
    assert len(channel.sent) == MOST_ATTEMPTS


@pytest.mark.parametrize("outcome", ["failed", "dead_endpoint"])
def test_what_is_final_is_final(store: Store, outcome: Any) -> None:
    way = ready(store, channel=Recorder(Reply(outcome=outcome, reply={"status": 410})))
    assert [d.outcome for d in way.send()] == [outcome]
    assert way.dispatcher.next_due() is None


def test_a_channel_that_is_not_open_fails(store: Store) -> None:
    campaign = replace(COFFEE, channels=("webhook",))
    way = ready(store, rules(campaign))
    failed = way.send()[0]
    assert (failed.outcome, failed.channel, failed.reply) == (
        "failed", "webhook", {"error": "no such channel"},
    )  # fmt: skip


def test_a_channel_at_fault_stops_nobody_else(store: Store) -> None:
    way = Way(store).put().queue(trigger(), trigger(id="t2"))
    way.decide()
    faults = [ZeroDivisionError("a bug")]

    def fail_once() -> None:
        if faults:
            raise faults.pop()

    way.channel.before = fail_once
    outcomes = {d.key: (d.outcome, d.reply) for d in way.send()}
    assert sorted(o for o, _ in outcomes.values()) == ["accepted", "retry"]
    assert ("retry", {"error": "ZeroDivisionError"}) in outcomes.values()
    assert way.dispatcher.counts["channel fault"] == 1


def test_what_expired_is_not_sent(store: Store) -> None:
    way = ready(store)
    late = way.send(NOON + 120.0)[0]
    assert (late.outcome, late.reason, late.handed) == ("expired", "expired", {})
    assert way.channel.sent == []


def test_consent_withdrawn_since_is_taken_out_with_the_withdrawal(store: Store) -> None:
    way = ready(store)
    assert store.write(lambda c: way.people.withdraw(c, "anna", at=NOON + 1)).result() == []
    assert way.rows(schema.outbox) == []
    held = way.records("delivery")[0]
    assert (held["outcome"], held["reason"], held["attempt"]) == ("suppressed", "no_consent", 0)
    assert way.send(NOON + 1) == way.channel.sent == []


def test_consent_withdrawn_between_attempts_is_not_sent(store: Store) -> None:
    way = ready(store, channel=Recorder(Reply(outcome="retry")))
    again = way.send()[0].next_at
    assert again is not None
    store.write(lambda c: way.people.withdraw(c, "anna", "marketing", at=NOON + 1)).result()
    assert way.send(again) == []
    assert [r["outcome"] for r in way.records("delivery")] == ["retry", "suppressed"]
    assert len(way.channel.sent) == 1


def test_what_is_being_handed_over_is_told_to_whoever_withdraws(store: Store) -> None:
    way = ready(store)
    found: list[Any] = []

    def withdraw() -> None:
        found.extend(store.write(lambda c: way.people.withdraw(c, "anna", at=NOON + 1)).result())

    way.channel.before = withdraw
    assert [d.outcome for d in way.send()] == ["accepted"]
    assert found == [outbox.InFlight(key="t1", campaign="coffee", channel="console", since=NOON)]


def test_consent_that_ended_by_itself_is_found_out_when_it_is_sent(store: Store) -> None:
    way = Way(store).put(replace(ANNA, consents=(Consent(purpose="marketing", until=NOON + 1),)))
    way.queue(trigger())
    assert [d.decision for d in way.decide()] == ["send"]
    held = way.send(NOON + 1)[0]
    assert (held.outcome, held.reason, held.attempt) == ("suppressed", "no_consent", 1)
    assert way.channel.sent == way.rows(schema.outbox) == []


def test_who_has_flown_into_the_night_is_sent_nothing(store: Store) -> None:
    way = ready(store, rules(quiet_hours=windows("19:00-21:00")))
    way.put(replace(ANNA, timezone="Asia/Tokyo"))
    assert [(d.outcome, d.reason) for d in way.send(NOON + 1)] == [("suppressed", "quiet_hours")]


def test_a_withdrawal_counts_though_the_sender_read_its_clock_before(store: Store) -> None:
    way = ready(store)
    row = {
        "person": "anna", "purpose": "marketing", "channel": None, "since": NOON + 2,
        "until": NOON + 2, "recorded_at": NOON + 3, "source": "elsewhere",
    }  # fmt: skip
    store.write(lambda c: c.execute(schema.consents.insert(), row)).result()
    assert [(d.outcome, d.reason) for d in way.send(NOON)] == [("suppressed", "no_consent")]


@pytest.mark.parametrize(
    "changed",
    [{"active": False}, {"version": 2}, {"valid_until": NOON + 0.5}],
    ids=["switched off", "edited", "over"],
)
def test_a_campaign_that_changed_since_is_not_sent(store: Store, changed: dict[str, Any]) -> None:
    way = ready(store)
    way.rules = rules(replace(COFFEE, **changed))
    held = way.send(NOON + 1)[0]
    assert (held.outcome, held.reason) == ("suppressed", "inactive")


def test_who_objects_is_sent_nothing_more(store: Store) -> None:
    way = ready(store)
    store.write(lambda c: objections.object_to(c, "anna", at=NOON, source="mail")).result()
    assert [(d.outcome, d.reason) for d in way.send(NOON + 1)] == [("suppressed", "objection")]
    way.queue(trigger(id="t2"))
    assert [d.reason for d in way.decide(NOON + 2)] == ["objection"]


def test_quiet_hours_that_have_begun_hold_an_offer_back(store: Store) -> None:
    evening = when("2026-01-06 21:59:30")
    way = Way(store).put().queue(trigger(at=evening, decided_at=evening))
    way.decide(evening)
    way.rules = rules(quiet_hours=windows("21:00-07:00"))  # edited since
    held = way.send(evening + 5)[0]
    assert (held.outcome, held.reason) == ("suppressed", "quiet_hours")


@pytest.mark.parametrize(
    ("hours", "reason"),
    [
        ({"hours": windows("08:00-12:01")}, "outside_hours"),
        ({"dayparts": (Daypart(windows("08:00-12:01")[0]),)}, "offer_window"),
    ],
)
def test_what_is_good_until_noon_does_not_go_out_after_it(
    store: Store, hours: dict[str, Any], reason: str
) -> None:
    campaigns = rules(replace(COFFEE, **hours))
    way = ready(store, campaigns, channel=Recorder(Reply(outcome="retry")))
    assert [d.outcome for d in way.send(NOON)] == ["retry"]
    (held,) = way.send(NOON + 61.0)
    assert (held.outcome, held.reason) == ("suppressed", reason)
    assert len(way.channel.sent) == 1


def test_an_offer_never_outlives_the_evening(store: Store) -> None:
    evening = when("2026-01-06 21:59:30")
    way = Way(store, rules(quiet_hours=windows("22:00-07:00"))).put()
    way.queue(trigger(at=evening, decided_at=evening))
    way.decide(evening)
    assert way.rows(schema.outbox)[0].expires_at == when("2026-01-06 22:00")
    assert [d.outcome for d in way.send(when("2026-01-06 22:00"))] == ["expired"]


def test_a_sender_that_died_is_replaced_and_the_key_stays(store: Store) -> None:
    way = ready(store, rules(replace(COFFEE, ttl_s=600.0)))
    store.write(lambda c: leasing.lease(c, "dead", NOON, limit=9)).result()  # sent, not recorded
    assert way.send() == []
    assert way.dispatcher.next_due() == NOON + outbox.LEASE_S
    again = way.send(NOON + outbox.LEASE_S)[0]
    assert (again.outcome, again.attempt, again.key) == ("accepted", 2, "t1")


def test_a_sender_that_slept_past_its_lease_sends_nothing(store: Store) -> None:
    seconds: list[float] = []
    way = ready(store, rules(replace(COFFEE, ttl_s=600.0)), elapsed=lambda: seconds.pop(0))
    other = Way(store, way.rules, owner="quick")
    seconds += [0.0, LATEST_S + 1]  # it leased, and then the machine slept
    assert way.send() == []
    assert way.channel.sent == []
    assert way.dispatcher.counts["fenced"] == 1
    assert [(d.outcome, d.attempt) for d in other.send(NOON + outbox.LEASE_S)] == [("accepted", 2)]


def test_what_a_fenced_sender_did_hand_over_is_recorded_all_the_same(store: Store) -> None:
    way = ready(store, rules(replace(COFFEE, ttl_s=600.0)))
    later = NOON + outbox.LEASE_S
    other = Way(store, way.rules, owner="quick")

    def overtaken() -> None:  # while it hands over, its lease ends and another takes the offer
        store.write(lambda c: leasing.lease(c, "quick", later, limit=9)).result()

    way.channel.before = overtaken
    assert [d.outcome for d in way.send()] == ["accepted"]
    assert way.dispatcher.counts["fenced"] == 1
    assert len(way.rows(schema.outbox)) == 1  # it is the other's to settle
    assert [d.attempt for d in other.send(later + outbox.LEASE_S)] == [3]
    assert [r["attempt"] for r in way.records("delivery")] == [1, 3]
    assert store.read(outbox.depth) == 0


def test_of_whom_is_erased_meanwhile_nothing_is_written_any_more(store: Store) -> None:
    way = ready(store)

    def erase() -> None:  # while it is handed over
        begun = store.write(
            lambda c: erasing.begin(c, way.people, "anna", now=NOON, source="test")
        ).result()
        assert erasing.finish(store, begun, now=NOON) is not None

    way.channel.before = erase
    assert [d.outcome for d in way.send()] == ["accepted"]
    assert way.records("decision") == way.records("delivery") == []
    assert way.rows(schema.outbox) == []


def test_so_many_at_once_and_the_rest_next_time(store: Store) -> None:
    way = Way(store).put()
    way.queue(*(trigger(id=f"t{n:03}") for n in range(AT_ONCE + 5)))
    way.decide()
    assert len(way.send()) == AT_ONCE
    assert len(way.send()) == 5
    assert sorted(o.key for o in way.channel.sent) == [f"t{n:03}" for n in range(AT_ONCE + 5)]


def test_every_start_is_an_owner_of_its_own(store: Store) -> None:
    assert Way(store).dispatcher._owner != Way(store).dispatcher._owner


def test_an_offer_survives_the_outbox_as_it_is(store: Store) -> None:
    one = offer(link=None, text="قهوة ☕")
    store.write(lambda c: outbox.append(c, [one])).result()
    leases = store.write(lambda c: leasing.lease(c, "a", NOON, limit=1)).result()
    assert leases[0].offer == one


# -- several at once, on one file ----------------------------------------------------------------


def crowd(count: int) -> tuple[Campaigns, list[Trigger]]:
    """Triggers of five people in many campaigns; each person may get three offers."""
    campaigns = [replace(COFFEE, id=f"c{n}") for n in range(count)]
    triggers = [
        trigger(id=f"t{n:04}", campaign=f"c{n}", person=f"p{n % 5}", subject=f"s{n}")
        for n in range(count)
    ]
    return rules(*campaigns, caps=(Cap(count=3, window_s=3600.0),)), triggers


def judge_crowd(store: Store, count: int) -> None:
    rows, _ = store.read(lambda c: ledger.page(c, "decision", 0, 10_000))
    decided = [json.loads(row.record) for row in rows]
    assert sorted(d["id"] for d in decided) == [f"t{n:04}" for n in range(count)]
    sends = store.read(lambda c: c.execute(sa.select(schema.sends)).all())
    by_person = {p: sum(s.person == p for s in sends) for p in {s.person for s in sends}}
    assert by_person == {f"p{n}": 3 for n in range(5)}
    assert store.read(outbox.depth) == 15
    assert store.read(queue.depth) == 0


def test_threads_decide_everything_once_and_no_cap_is_exceeded(tmp_path: Path) -> None:
    campaigns, triggers = crowd(200)
    file = tmp_path / "engine.db"
    main = Store.open(file)
    Way(main, campaigns).queue(*triggers)
    ways: list[Way] = []
    faults: list[BaseException] = []

    def work(way: Way) -> None:
        try:
            while main.read(queue.depth):
                way.dispatcher.decide_due(NOON, limit=7)
        except BaseException as fault:  # noqa: BLE001  it is raised below
            faults.append(fault)

    # Two share a store, two have one of their own on the same file.
    stores = [main, main, Store.open(file), Store.open(file)]
    ways = [Way(one, campaigns, consent="assumed") for one in stores]
    threads = [threading.Thread(target=work, args=(way,)) for way in ways]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    judge_crowd(main, 200)
    for one in set(stores):
        one.close()


PROCESS = """
import sys
from tests.proximity.test_dispatch import Way, crowd
from tests.proximity.given import NOON
from proximity.store import Store
from proximity.dispatch import queue
campaigns, _ = crowd(200)
store = Store.open(sys.argv[1])
way = Way(store, campaigns, consent="assumed")
print("ready", flush=True)
sys.stdin.readline()
while store.read(queue.depth):
    way.dispatcher.decide_due(NOON, limit=5)
store.close()
"""


def test_processes_decide_everything_once_and_no_cap_is_exceeded(tmp_path: Path) -> None:
    campaigns, triggers = crowd(200)
    file = tmp_path / "engine.db"
    store = Store.open(file)
    Way(store, campaigns).queue(*triggers)
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, str(file)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for _ in range(3)
    ]  # fmt: skip
    for worker in workers:  # all begin together
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        worker.communicate("go\n", timeout=60)
        assert worker.returncode == 0
    judge_crowd(store, 200)
    store.close()


def test_senders_on_one_file_hand_each_offer_over_once(tmp_path: Path) -> None:
    campaigns, triggers = crowd(50)
    file = tmp_path / "engine.db"
    stores = [Store.open(file) for _ in range(3)]
    ways = [Way(one, campaigns, consent="assumed") for one in stores]
    ways[0].queue(*triggers)
    ways[0].decide()

    async def all_together() -> None:
        for _ in range(5):
            await asyncio.gather(*(way.dispatcher.send_due(NOON, limit=2) for way in ways))

    asyncio.run(all_together())
    keys = [o.key for way in ways for o in way.channel.sent]
    assert len(keys) == len(set(keys)) == 15
    for one in stores:
        one.close()
