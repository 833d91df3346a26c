"""What holds of an offer's way to its reader over channels, devices and crashes, on every database.

Fall-back, fan-out, receipts, and what becomes of a hand-over of which nobody knows the end.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from proximity.campaigns.campaigns import Campaigns, Stock
from proximity.campaigns.reach import PLAIN
from proximity.channels import Reply
from proximity.dispatch import leasing, outbox, queue, receipts
from proximity.model import Consent, Endpoint, Offer, Person
from proximity.people import endpoints
from proximity.store import Store, schema
from tests.proximity.given import ANNA, COFFEE, NOON, rules, trigger
from tests.proximity.test_dispatch import Way

if TYPE_CHECKING:
    from collections.abc import Callable

    from proximity.model import Delivery

PUSH, OTHER = (
    Endpoint(channel="web-push", address=f"https://push.example.test/{n}", registered_at=1.0)
    for n in range(2)
)
MAIL = Endpoint(channel="email", address="anna@example.test", registered_at=1.0)
REACHED = replace(ANNA, endpoints=(PUSH, OTHER, MAIL))
DEAD = Reply(outcome="dead_endpoint", reply={"status": 410})
LATER = Reply(outcome="retry", reply={"status": 503})
UNSURE = Reply(outcome="retry", reply={"error": "timeout"}, unsure=True)
FAR = replace(COFFEE, channels=("web-push", "inbox", "email"), ttl_s=600.0)


class Line:
    """A channel whose replies follow from a script, by address where it has one."""

    def __init__(self, name: str, *script: Reply, **by_address: Reply) -> None:
        self.name = name
        self.to_endpoints = PLAIN[name].addressed is not None
        self.sent: list[tuple[Offer, Endpoint | None]] = []
        self.script = list(script)
        self.by_address = by_address
        self.before: Callable[[], None] = lambda: None

    async def send(self, offer: Offer, endpoint: Endpoint | None = None) -> Reply:
        self.before()
        self.sent.append((offer, endpoint))
        if endpoint is not None and endpoint.address in self.by_address:
            return self.by_address[endpoint.address]
        return self.script.pop(0) if self.script else Reply(outcome="accepted")

    async def close(self) -> None:
        """Nothing is open."""

    @property
    def keys(self) -> list[str]:
        return [offer.key for offer, _ in self.sent]


class Lines(Way):
    """The way out over several channels; Anna can be reached on all of them."""

    def __init__(self, store: Store, campaigns: Campaigns | None = None, *lines: Line) -> None:
        super().__init__(store, campaigns or rules(FAR))
        self.lines = {name: Line(name) for name in ("web-push", "inbox", "email", "webhook")} | {
            line.name: line for line in lines
        }
        self.dispatcher._channels = self.lines

    def decided(self, person: Person = REACHED, **changes: Any) -> Lines:
        self.put(person).queue(trigger(**changes))
        assert [d.decision for d in self.decide()] == ["send"]
        return self

    def state(self, key: str = "t1") -> tuple[str, int]:
        rows = {row.key: row for row in self.rows(schema.offers)}
        return rows[key].state, rows[key].in_inbox

    def said(self) -> list[tuple[str, str, str | None]]:
        return [(r["channel"], r["outcome"], r["reason"]) for r in self.records("delivery")]


def living(way: Lines, person: str = "anna") -> tuple[Endpoint, ...]:
    return way.store.read(lambda c: way.people.read(c, person)).endpoints


# -- to several devices, and on to the next channel ----------------------------------------------


def test_one_offer_to_two_devices_is_one_delivery(store: Store) -> None:
    way = Lines(store).decided()
    (told,) = way.send()
    assert (told.outcome, told.reply) == ("accepted", {"endpoints": {"accepted": 2}})
    assert [endpoint for _, endpoint in way.lines["web-push"].sent] == [PUSH, OTHER]
    assert len(way.rows(schema.sends)) == 1
    assert way.state() == ("accepted", 1)
    assert way.send() == []


def test_a_dead_device_goes_out_of_the_record_and_the_living_one_counts(store: Store) -> None:
    push = Line("web-push", **{PUSH.address: DEAD})
    way = Lines(store, None, push).decided()
    (told,) = way.send()
    assert told.reply == {"endpoints": {"accepted": 1, "dead_endpoint": 1}}
    assert living(way) == (OTHER, MAIL)
    gone = way.store.read(lambda c: endpoints.known_gone(c, "anna"))
    assert [(one.channel, one.reason, one.at) for one in gone] == [("web-push", "410", NOON)]
    assert PUSH.address not in str(way.records("delivery"))


def test_a_dead_token_gets_the_same_offer_by_the_next_channel_and_one_is_counted(
    store: Store,
) -> None:
    scarce = replace(FAR, stock=("cups",))
    campaigns = rules(scarce, stocks={"cups": Stock(id="cups", count=1)})
    way = Lines(store, campaigns, Line("web-push", DEAD, DEAD)).decided()
    assert [(d.channel, d.outcome) for d in way.send()] == [("web-push", "dead_endpoint")]
    assert [(d.channel, d.outcome) for d in way.send()] == [("inbox", "accepted")]
    assert way.send() == way.rows(schema.outbox) == []
    assert living(way) == (MAIL,)
    assert way.lines["inbox"].keys == ["t1"]
    assert [(row.decision, row.channel) for row in way.rows(schema.sends)] == [("t1", "inbox")]
    assert [row.used for row in way.rows(schema.stocks)] == [1]
    assert way.state() == ("accepted", 1)


def test_each_channel_is_asked_about_anew(store: Store) -> None:
    """Consent for the first and the last: what stands in the middle is passed over."""
    said = tuple(
        Consent(purpose="marketing", channel=one) for one in ("web-push", "inbox", "email")
    )
    way = Lines(store, None, Line("web-push", DEAD, DEAD)).decided(replace(REACHED, consents=said))
    way.send()
    no = {"person": "anna", "purpose": "marketing", "channel": "inbox", "since": NOON,
          "until": NOON, "recorded_at": NOON, "source": "elsewhere"}  # fmt: skip
    store.write(lambda c: c.execute(schema.consents.insert(), no)).result()
    assert [(d.channel, d.outcome, d.reason) for d in way.send(NOON + 1)] == [
        ("inbox", "suppressed", "no_consent")
    ]
    assert [(d.channel, d.outcome) for d in way.send(NOON + 2)] == [("email", "accepted")]
    assert way.lines["inbox"].sent == []


def test_a_withdrawal_takes_out_what_waits_whichever_channel_has_its_turn(store: Store) -> None:
    scarce = replace(FAR, stock=("cups",))
    campaigns = rules(scarce, stocks={"cups": Stock(id="cups", count=1)})
    way = Lines(store, campaigns, Line("web-push", DEAD, DEAD)).decided()
    way.send()
    assert [(row.key, row.channel) for row in way.rows(schema.outbox)] == [("t1", "inbox")]
    assert store.write(lambda c: way.people.withdraw(c, "anna", at=NOON + 1)).result() == []
    assert way.send(NOON + 2) == way.rows(schema.outbox) == way.lines["inbox"].sent == []
    assert way.state() == ("suppressed", 0)
    assert [row.used for row in way.rows(schema.stocks)] == [0], "nobody can have received it"


def test_a_wrong_setting_is_not_the_offers_end(store: Store) -> None:
    refused = Reply(outcome="config_error", reply={"status": 403})
    way = Lines(store, None, Line("web-push", refused, refused)).decided()
    way.send()
    way.send()
    assert way.said() == [("web-push", "failed", "config_error"), ("inbox", "accepted", None)]
    assert living(way) == (PUSH, OTHER, MAIL), "our own fault buries nobody's address"


def test_the_next_channel_has_its_part_of_the_time(store: Store) -> None:
    """Ten minutes for three channels: after some three the next one has its turn."""
    way = Lines(store, None, Line("web-push", *[LATER] * 99)).decided()
    now, turns = NOON, []
    for _ in range(99):
        turns += [(d.channel, d.outcome, d.reason, now) for d in way.send(now)]
        due = way.dispatcher.next_due()
        if due is None:
            break
        now = due
    assert [one[:2] for one in turns[:-2]] == [("web-push", "retry")] * (len(turns) - 2)
    assert [one[:3] for one in turns[-2:]] == [
        ("web-push", "failed", "attempts"), ("inbox", "accepted", None),
    ]  # fmt: skip
    assert turns[-1][3] <= NOON + 200.0


def test_where_no_channel_takes_it_that_is_its_end(store: Store) -> None:
    scarce = replace(FAR, channels=("web-push", "email"), stock=("cups",))
    campaigns = rules(scarce, stocks={"cups": Stock(id="cups", count=1)})
    failed = Reply(outcome="failed", reply={"code": 550})
    way = Lines(store, campaigns, Line("web-push", DEAD, DEAD), Line("email", failed)).decided()
    way.send()
    way.send()
    assert way.rows(schema.outbox) == []
    assert way.state() == ("failed", 0)
    assert [row.used for row in way.rows(schema.stocks)] == [0]


# -- receipts --------------------------------------------------------------------------------------


def test_news_move_an_offer_up_once_each(store: Store) -> None:
    way = Lines(store).decided()
    way.send()

    def tell(outcome: str, at: float, channel: str = "web-push") -> bool:
        return store.write(lambda c: receipts.record(c, "t1", outcome, channel, at)).result()

    assert tell("clicked", NOON + 9)
    assert tell("delivered", NOON + 3), "late, and kept all the same"
    assert not tell("delivered", NOON + 4), "told twice"
    assert tell("opened", NOON + 5)
    assert way.state()[0] == "clicked"
    (row,) = way.rows(schema.offers)
    assert (row.read_at, row.redeemed_at) == (NOON + 5, None)
    assert tell("converted", NOON + 60, "till")
    (row,) = way.rows(schema.offers)
    assert (row.state, row.redeemed_at) == ("converted", NOON + 60)
    assert [r["outcome"] for r in way.records("delivery")] == [
        "accepted", "clicked", "delivered", "opened", "converted",
    ]  # fmt: skip
    assert not store.write(
        lambda c: receipts.record(c, "nobody's", "opened", "web-push", NOON)
    ).result()


@pytest.mark.parametrize("outcome", ["opened", "converted"])
def test_what_was_seen_elsewhere_leaves_the_outbox(store: Store, outcome: str) -> None:
    way = Lines(store, None, Line("web-push", LATER, LATER)).decided()
    again = way.send()[0].next_at
    assert again is not None
    store.write(lambda c: receipts.record(c, "t1", outcome, "inbox", NOON + 1)).result()
    assert way.rows(schema.outbox) == []
    assert way.send(again) == []
    assert way.said()[-1] == ("web-push", "suppressed", outcome)
    assert way.state()[0] == outcome


@pytest.mark.parametrize("reply", [LATER, DEAD])
def test_what_is_seen_while_it_is_handed_over_is_not_tried_again(
    store: Store, reply: Reply
) -> None:
    way = Lines(store, None, Line("web-push", reply, reply)).decided()

    def open_it() -> None:
        store.write(lambda c: receipts.record(c, "t1", "opened", "inbox", NOON)).result()

    way.lines["web-push"].before = open_it
    way.send()
    assert way.rows(schema.outbox) == []
    assert way.dispatcher.counts["seen"] == int(reply is LATER)  # one try that was not made
    assert way.send(NOON + 300.0) == []
    assert way.lines["inbox"].sent == []
    assert way.state()[0] == "opened"


# -- crashes ---------------------------------------------------------------------------------------

ONCE = rules(
    replace(COFFEE, channels=("webhook",), ttl_s=600.0),
    channel_terms=PLAIN | {"webhook": replace(PLAIN["webhook"], repeats="at_most_once")},
)


def test_of_what_nobody_knows_nothing_is_sent_twice(store: Store) -> None:
    way = Lines(store, ONCE).decided()
    store.write(lambda c: leasing.lease(c, "dead", NOON, limit=9)).result()  # sent, not recorded
    (told,) = way.send(NOON + leasing.LEASE_S)
    assert (told.outcome, told.reason) == ("failed", "unknown")
    assert way.lines["webhook"].sent == way.rows(schema.outbox) == []
    assert way.state() == ("failed", 0)


def test_an_answer_that_did_not_come_ends_it_where_it_must_not_come_twice(store: Store) -> None:
    way = Lines(store, ONCE, Line("webhook", UNSURE)).decided()
    (told,) = way.send()
    assert (told.outcome, told.reason, told.handed["repeats"]) == (
        "failed", "unknown", "at_most_once",
    )  # fmt: skip
    assert way.rows(schema.outbox) == []


def test_a_plain_no_is_tried_again_on_either_terms(store: Store) -> None:
    way = Lines(store, ONCE, Line("webhook", LATER)).decided()
    (told,) = way.send()
    assert told.outcome == "retry"
    assert told.next_at is not None
    assert [d.outcome for d in way.send(told.next_at)] == ["accepted"]


def test_what_may_have_arrived_is_not_sent_by_another_channel(store: Store) -> None:
    campaigns = rules(
        replace(COFFEE, channels=("webhook", "email")),
        channel_terms=ONCE.channel_terms | {"email": PLAIN["email"]},
    )
    way = Lines(store, campaigns, Line("webhook", UNSURE)).decided()
    assert [(d.channel, d.reason) for d in way.send()] == [("webhook", "unknown")]
    assert way.send(NOON + 1) == []
    assert way.lines["email"].sent == []


@pytest.mark.parametrize("campaigns", [ONCE, rules(replace(ONCE.campaigns["coffee"]))])
def test_four_dispatchers_and_one_that_died_in_the_middle(
    target: str, store: Store, campaigns: Campaigns
) -> None:
    """Of forty offers ten were handed over by one who died before it wrote so down."""
    once = campaigns is ONCE
    others = [] if target == ":memory:" else [Store.open(target) for _ in range(4)]
    ways = [Lines(one, campaigns) for one in others or [store] * 4]
    ways[0].put(ANNA)
    ways[0].queue(*(trigger(id=f"t{n:02}", visit=f"v{n}") for n in range(40)))
    ways[0].decide()
    lost = store.write(lambda c: leasing.lease(c, "dead", NOON, limit=10)).result()
    had = Counter(one.offer.key for one in lost)

    async def all_of_them(now: float) -> list[list[Delivery]]:
        return await asyncio.gather(*(way.dispatcher.send_due(now, limit=7) for way in ways))

    for now in (NOON, NOON + leasing.LEASE_S, NOON + leasing.LEASE_S + 1):
        for _ in range(4):
            asyncio.run(all_of_them(now))
    came = had + Counter(key for way in ways for key in way.lines["webhook"].keys)
    assert store.read(outbox.depth) == 0
    assert set(came) == {f"t{n:02}" for n in range(40)}
    assert {key for key, times in came.items() if times > 1} == (set() if once else set(had))
    outcomes = Counter(r["outcome"] for r in ways[0].records("delivery"))
    assert outcomes == ({"accepted": 30, "failed": 10} if once else {"accepted": 40})
    for one in others:
        one.close()


@pytest.mark.parametrize("campaigns", [ONCE, rules(replace(ONCE.campaigns["coffee"]))])
def test_a_worker_that_was_paused_past_its_lease_changes_nothing_when_it_wakes(
    store: Store, campaigns: Campaigns
) -> None:
    """While it hands over another has the offer; what it did hand over is recorded."""
    once = campaigns is ONCE
    slow, quick = Lines(store, campaigns).decided(), Lines(store, campaigns)
    later = NOON + leasing.LEASE_S

    def paused() -> None:
        store.write(lambda c: leasing.lease(c, "quick", later, limit=9)).result()

    slow.lines["webhook"].before = paused
    assert [d.outcome for d in slow.send()] == ["accepted"]
    assert slow.dispatcher.counts["fenced"] == 1
    assert store.read(outbox.depth) == 1, "it is the other's to settle"
    quick.send(later + leasing.LEASE_S)
    assert quick.lines["webhook"].keys == ([] if once else ["t1"])
    assert store.read(outbox.depth) == 0
    assert quick.state() == ("accepted", 0)


def test_one_phones_dead_ends_hold_up_nobody_elses_offers(store: Store) -> None:
    """Twenty offers fail in a row, all of them at addresses of one person."""
    push = Line("web-push", **{PUSH.address: LATER, OTHER.address: LATER})
    way = Lines(store, rules(replace(FAR, channels=("web-push",))), push)
    theirs = replace(PUSH, address="https://push.example.test/ben")
    way.put(replace(ANNA, endpoints=(PUSH, OTHER)))
    way.put(replace(ANNA, person="ben", subjects=("phone-b",), endpoints=(theirs,)))
    way.queue(*(trigger(id=f"a{n:02}", visit=f"a{n}") for n in range(20)))
    way.decide()
    assert [one.outcome for one in way.send()] == ["retry"] * 20
    way.queue(trigger(id="b", person="ben", subject="phone-b", visit="b"))
    way.decide()
    assert [(one.key, one.outcome) for one in way.send()] == [("b", "accepted")]


def test_a_channel_that_is_down_is_left_alone_and_others_carry_on(store: Store) -> None:
    """What has another way goes it at once; the rest waits, and expires rather than blocks."""
    both = replace(COFFEE, id="both", channels=("webhook", "inbox"), ttl_s=60.0)
    one = replace(COFFEE, id="one", channels=("webhook",), ttl_s=60.0)
    way = Lines(store, rules(both, one), Line("webhook", *[LATER] * 500))
    way.put(ANNA)

    def more(name: str, campaign: str, count: int, at: float) -> None:
        way.queue(
            *(trigger(id=f"{name}{n:03}", campaign=campaign, visit=f"{name}{n}", at=at,
                      decided_at=at, evidence_at=at) for n in range(count))
        )  # fmt: skip
        way.decide(at)

    more("a", "one", 64, NOON)
    way.send(NOON)
    assert len(way.lines["webhook"].sent) == 64, "a window of them finds out that it is down"
    more("b", "both", 30, NOON + 0.5)
    more("c", "one", 30, NOON + 0.5)
    for _ in range(3):
        way.send(NOON + 0.6)
    assert len(way.lines["webhook"].sent) == 64
    assert sorted(way.lines["inbox"].keys) == [f"b{n:03}" for n in range(30)]
    assert {(r["channel"], r["outcome"], r["reason"]) for r in way.records("delivery")
            if r["key"].startswith("b")} == {
        ("webhook", "failed", "channel_down"), ("inbox", "accepted", None),
    }  # fmt: skip
    now = NOON + 0.6
    while now < NOON + 55.0:  # probes alone
        way.send(now)
        now = max(now + 0.5, way.dispatcher.next_due() or now)
    assert 68 <= len(way.lines["webhook"].sent) <= 74
    way.lines["webhook"].script.clear()  # it works again
    more("d", "one", 30, now)
    began = now
    while store.read(outbox.depth) and now < began + 30.0:
        way.send(now)
        now += 0.25
    fresh = [n for n, key in enumerate(way.lines["webhook"].keys) if key.startswith("d")]
    assert len(fresh) == 30
    assert now < began + 30.0, "within half a minute nothing waits any more"
    assert Counter(r["outcome"] for r in way.records("delivery"))["expired"] > 0
    assert store.read(queue.depth) == 0
