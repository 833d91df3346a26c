"""Sent because somebody wants it: once each, through the same gates, and tried out before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from proximity.campaigns.campaigns import Campaigns, Contest, Stock, TriggerRule
from proximity.dispatch import manual
from proximity.model import Consent, ProximityError, Transition
from proximity.privacy.retention import DAY_S, keep_days, sweep
from proximity.segments.segments import parse
from proximity.site.places import Places
from proximity.site.registry import Place, Site
from proximity.store import Store, schema
from tests.proximity.given import ANNA, COFFEE, NOON, rules
from tests.proximity.test_dispatch import Way
from tests.proximity.test_places import fence, index

if TYPE_CHECKING:
    from collections.abc import Iterator

NEWS = replace(COFFEE, id="news", on="manual", places=frozenset({"cafe-1"}))


@pytest.fixture
def store() -> Iterator[Store]:
    opened = Store.open(":memory:")
    yield opened
    opened.close()


def gold() -> Any:
    rule, problems = parse({"attribute": "tier", "is": "gold"}, "gold")
    assert problems == []
    return rule


def club(store: Store, campaigns: Campaigns, count: int = 12) -> Way:
    """Every third member is gold; every fourth has agreed to nothing."""
    way = Way(store, campaigns)
    for n in range(count):
        way.put(
            replace(
                ANNA, person=f"p{n:02}", subjects=(f"phone-{n}",),
                attributes={"tier": "gold" if n % 3 == 0 else "blue"},
                consents=() if n % 4 == 0 else (Consent(purpose="marketing"),),
            )
        )  # fmt: skip
    return way


def test_an_audience_is_sent_it_once_by_hand(store: Store) -> None:
    """Row 50, manual: a batch."""
    campaigns = rules(NEWS, segments={"gold": gold()})
    way = club(store, campaigns)
    wish = manual.wish_for(campaigns, "news", audience="gold")
    assert manual.queue_all(store, way.dispatcher.world, wish, NOON) == manual.Queued(
        people=4, new=3, unconsented=1
    )
    assert {d.person: d.reason for d in way.decide()} == {"p03": None, "p06": None, "p09": None}
    assert [d.outcome for d in way.send()] == ["accepted"] * 3
    assert manual.queue_all(store, way.dispatcher.world, wish, NOON + 9) == manual.Queued(
        people=4, new=0, unconsented=1
    )
    anew = manual.wish_for(campaigns, "news", audience="gold", occasion="spring")
    assert manual.queue_all(store, way.dispatcher.world, anew, NOON + 9).new == 3


def test_nothing_is_written_of_who_agreed_to_nothing(store: Store) -> None:
    """Neither named nor in an audience; who agreed to something else is told why not."""
    campaigns = rules(NEWS, segments={"gold": gold()})
    way = club(store, campaigns)
    way.put(replace(ANNA, person="other", subjects=(), consents=(Consent(purpose="service"),)))
    for nobody in ("p00", "never-heard-of"):
        wish = manual.wish_for(campaigns, "news", person=nobody)
        assert manual.queue_all(store, way.dispatcher.world, wish, NOON) == manual.Queued(1, 0, 1)
    other = manual.wish_for(campaigns, "news", person="other")
    assert manual.queue_all(store, way.dispatcher.world, other, NOON) == manual.Queued(1, 1)
    assert [(d.person, d.reason) for d in way.decide()] == [("other", "no_consent")]
    written = [row for t in (schema.triggers, schema.ledger, schema.sends) for row in way.rows(t)]
    assert not [row for row in written if "p00" in str(row) or "never" in str(row)]
    # Where consent is kept upstream, nobody is left out here.
    wish = manual.wish_for(campaigns, "news", audience="gold")
    assert manual.queue_all(
        store, way.dispatcher.world._replace(assumed=True), wish, NOON
    ) == manual.Queued(4, 4)


def test_a_campaign_may_be_sent_by_itself_and_by_hand(store: Store) -> None:
    """Row 50, automatic: the same campaign waits for an arrival as well."""
    both = replace(COFFEE, triggers=(TriggerRule(on="manual"),))
    campaigns = rules(both)
    way = Way(store, campaigns).put()
    facts = way.dispatcher.world.places.facts("cafe-1")
    came = Transition(
        kind="enter", subject="phone-a", place="cafe-1", visit="v", at=NOON, decided_at=NOON
    )
    way.queue(*campaigns.triggers(came, "anna", facts))
    wish = manual.wish_for(campaigns, "coffee", person="anna")
    assert manual.queue_all(store, way.dispatcher.world, wish, NOON).new == 1
    found = way.decide()
    assert [d.reason for d in found] == [None, None]
    assert [(d.place, d.visit) for d in found] == [("cafe-1", "v"), ("cafe-1", "")]


def test_an_audience_of_a_tag_is_whoever_came_to_any_place_in_such_a_venue(store: Store) -> None:
    """A zone that no fence draws carries its venue's tags, by hand as in memory."""
    been, problems = parse({"tag": "mall"}, "been")
    assert been is not None, problems
    campaigns = rules(replace(NEWS, audience=been))
    way = club(store, campaigns, 3)
    venue = index(fence("galleria", tags=["mall"]))
    site = Site(places={"door": Place(id="door", parent="galleria")})
    world = way.dispatcher.world._replace(places=Places(venue, site))
    came = {
        "visit": "v", "person": "p01", "subject": "phone-1", "place": "door", "enter_at": NOON,
    }  # fmt: skip
    store.write(lambda c: c.execute(schema.visits.insert(), [came])).result()
    wish = manual.wish_for(campaigns, "news")
    assert manual.queue_all(store, world, wish, NOON + 9) == manual.Queued(1, 1)


def test_more_people_than_a_slice(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manual, "AT_ONCE", 3)
    campaigns = rules(replace(NEWS, audience=gold()))
    way = club(store, campaigns, 30)
    wish = manual.wish_for(campaigns, "news")
    assert manual.queue_all(store, way.dispatcher.world, wish, NOON) == manual.Queued(
        people=10, new=7, unconsented=3
    )
    assert len(way.rows(schema.triggers)) == 7


def test_a_rehearsal_tells_what_would_be_and_writes_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manual, "AT_ONCE", 3)
    scarce = replace(NEWS, audience=gold(), stock=("cups",))
    campaigns = rules(scarce, stocks={"cups": Stock(id="cups", count=5)}, contest=Contest())
    way = club(store, campaigns, 30)
    wish = manual.wish_for(campaigns, "news")
    before = {table: way.rows(table) for table in schema.metadata.tables.values()}
    found = manual.rehearse(store, way.dispatcher.world, wish, NOON)
    assert {table: way.rows(table) for table in schema.metadata.tables.values()} == before
    assert (found.people, found.results) == (
        10, {"out_of_stock": 2, "send": 5, "unconsented": 3},
    )  # fmt: skip
    assert len(found.decisions) == 7
    assert set(found.texts.values()) == {"Un café au cafe-1"}
    # And what would be is what is.
    manual.queue_all(store, way.dispatcher.world, wish, NOON)
    reasons = [d.reason for d in way.decide()]
    assert [reasons.count(None), reasons.count("out_of_stock")] == [5, 2]
    assert manual.rehearse(store, way.dispatcher.world, wish, NOON).results == {
        "sent before": 7, "unconsented": 3,
    }  # fmt: skip


def test_any_campaign_can_be_tried_on_oneself(store: Store) -> None:
    way = Way(store, rules(COFFEE)).put()
    wish = manual.wish_for(way.rules, "coffee", person="anna", rehearsal=True)
    found = manual.rehearse(store, way.dispatcher.world, wish, NOON)
    assert found.results == {"send": 1}
    assert list(found.texts.values()) == ["Un café au cafe-1"]
    gates = {gate.gate: gate for gate in found.decisions[0].gates}
    assert gates["location"].because["source"] == "fix"
    assert way.rows(schema.triggers) == way.rows(schema.ledger) == []
    several = rules(replace(COFFEE, places=frozenset({"cafe-1", "cafe-2"})))
    with pytest.raises(ProximityError, match="name the one to try"):
        manual.wish_for(several, "coffee", person="anna", rehearsal=True)
    there = manual.wish_for(several, "coffee", person="anna", place="cafe-2", rehearsal=True)
    assert there.place == "cafe-2"


@pytest.mark.parametrize(
    ("asked", "problem"),
    [
        ({"campaign": "tea"}, "no campaign 'tea'"),
        ({"campaign": "coffee", "person": "anna"}, "by itself alone"),
        ({"campaign": "news"}, "nowhere whom it is for"),
        ({"campaign": "news", "audience": "silver"}, "no segment 'silver'"),
        ({"campaign": "news", "audience": "gold", "person": "anna"}, "either a person or"),
    ],
)
def test_what_cannot_be_wished_for_says_why(asked: dict[str, Any], problem: str) -> None:
    campaigns = rules(COFFEE, NEWS, segments={"gold": gold()})
    with pytest.raises(ProximityError, match=problem):
        manual.wish_for(campaigns, **asked)


def test_a_place_that_is_not_there_is_named() -> None:
    street = Places(index(fence("cafe-1")))
    said = {"person": "anna", "places": street}
    assert manual.wish_for(rules(NEWS), "news", place="cafe-1", **said).place == "cafe-1"
    with pytest.raises(ProximityError, match="there is no place 'cafe-9'"):
        manual.wish_for(rules(NEWS), "news", place="cafe-9", **said)


def test_it_is_sent_once_though_what_was_decided_is_no_longer_kept(store: Store) -> None:
    way = Way(store, rules(NEWS)).put()
    wish = manual.wish_for(way.rules, "news", person="anna")
    assert manual.queue_all(store, way.dispatcher.world, wish, NOON).new == 1
    assert [d.reason for d in way.decide()] == [None]
    way.send()
    later = NOON + 91 * DAY_S
    for _ in sweep(store, later, keep_days()):
        pass
    assert way.records("decision") == []
    assert manual.rehearse(store, way.dispatcher.world, wish, later).results == {"sent before": 1}
    assert manual.queue_all(store, way.dispatcher.world, wish, later) == manual.Queued(
        people=1, new=0
    )
    assert way.decide(later) == []
    assert way.dispatcher.counts["fault"] == 0
