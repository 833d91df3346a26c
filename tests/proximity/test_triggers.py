"""Which transitions and events make a trigger, with what in it, and when it is due."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from proximity.campaigns.campaigns import Campaign, Circumstance, PlaceFacts, TriggerRule
from proximity.campaigns.sureness import sureness, told_by
from proximity.model import Event, Transition, digest, format_time
from proximity.people.facts import Happened
from proximity.segments.rules import Visits
from tests.proximity.given import CAFE, COFFEE, NOON, rules


def transition(**changes: Any) -> Transition:
    fields: dict[str, Any] = {
        "kind": "enter", "subject": "phone-a", "place": "cafe-1", "visit": "v1", "at": NOON,
        "decided_at": NOON + 5,
    }  # fmt: skip
    return Transition(**fields | changes)


def event(name: str = "search", **changes: Any) -> Event:
    fields: dict[str, Any] = {"subject": "phone-a", "at": NOON, "name": name, "id": "e1"}
    return Event(**fields | changes)


# -- transitions ---------------------------------------------------------------------------------


def test_a_campaign_waits_for_any_of_its_triggers() -> None:
    several = replace(
        COFFEE,
        triggers=(
            TriggerRule(on="dwell", tags=frozenset({"cafe"}), dwell_s=60.0),
            TriggerRule(on="exit", places=frozenset({"cafe-2"})),
        ),
    )
    file = rules(several)

    def met(**changes: Any) -> int:
        return len(file.triggers(transition(**changes), "anna", CAFE))

    assert met() == 1
    assert met(kind="dwell", dwell_s=60.0) == 1
    assert met(kind="dwell", dwell_s=90.0) == 0
    assert met(kind="exit") == 0
    assert met(kind="exit", place="cafe-2") == 1


def test_what_waits_for_events_or_wishes_waits_for_no_transition() -> None:
    for on in ("event", "manual"):
        waiting = replace(COFFEE, on=on, event="search")
        assert rules(waiting).triggers(transition(), "anna", CAFE) == []


def test_triggers_of_one_transition_meet_in_a_moment() -> None:
    file = rules(COFFEE, replace(COFFEE, id="tea"))
    one, other = file.triggers(transition(), "anna", CAFE)
    assert one.moment == other.moment == digest("anna", "cafe-1", "v1", "enter", None)
    later = file.triggers(transition(kind="enter", visit="v2"), "anna", CAFE)[0]
    assert later.moment != one.moment


@pytest.mark.parametrize(
    ("kind", "because", "reason", "source", "confidence"),
    [
        ("enter", {"inside": 0.912, "distance_m": 3.0}, None, "fix", 0.912),
        ("exit", {"inside": 0.03}, "left", "fix", 0.97),
        ("exit", {"inside": 0.9}, "silent", "fix", None),  # silence has no number
        ("enter", {"margin_db": 0.0, "gateway": "g"}, None, "sighting", 0.5),
        ("enter", {"margin_db": 6.0, "gateway": "g"}, None, "sighting", 0.841),
        ("enter", {"near_dbm": -72.0, "margin_db": 30.0}, None, "sighting", 1.0),
        ("enter", {"rule": "child", "strength": 0.8, "source": "sighting"}, None, "sighting", 0.8),
        ("enter", {"rule": "child", "strength": 1}, None, "fix", 1.0),
        ("exit", {"rule": "children", "inside": 0}, "left", "fix", None),
        ("pass", {}, None, "fix", None),
    ],
)
def test_who_told_of_it_and_how_surely(
    kind: Any, because: dict[str, Any], reason: str | None, source: str, confidence: float | None
) -> None:
    change = transition(kind=kind, because=because, reason=reason)
    assert told_by(because) == source
    assert sureness(change) == confidence
    made = rules(replace(COFFEE, on=kind)).triggers(change, "anna", CAFE)[0]
    assert (made.source, made.confidence) == (source, confidence)


# -- events --------------------------------------------------------------------------------------

SEARCH: Campaign = replace(COFFEE, id="tonight", on="event", event="search", places=frozenset())


def told(campaign: Campaign, one: Event, place: PlaceFacts | None = CAFE) -> list[Any]:
    return rules(campaign).event_triggers(one, "anna", place, "v1" if place else None)


def test_an_event_triggers_once_and_carries_what_was_done() -> None:
    one = event(properties={"what": "dinner"}, received_at=NOON + 30.0)
    (made,) = told(SEARCH, one)
    assert made.id == digest("anna", "tonight", "e1", "event", None)
    assert made.moment == digest("anna", "e1", "event")
    assert (made.kind, made.source, made.place, made.visit) == ("event", "event", "cafe-1", "v1")
    assert (made.at, made.decided_at, made.evidence_at) == (NOON, NOON + 30.0, NOON)
    assert (made.due_at, made.until, made.confidence) == (None, None, None)
    assert made.event == Happened("search", NOON, {"what": "dinner"}, "cafe-1", "e1")
    assert told(SEARCH, one) == [made]
    # Without an id of its own the event is its own id.
    bare = event(id=None)
    assert told(SEARCH, bare)[0].id == told(SEARCH, bare)[0].id != made.id


def test_in_the_street_an_event_has_no_place() -> None:
    (made,) = told(SEARCH, event(), None)
    assert (made.place, made.visit, made.event.place) == ("", "", None)


@pytest.mark.parametrize(
    ("changes", "met"),
    [
        ({}, True),
        ({"event": "purchase"}, False),
        ({"event": None}, False),
        ({"on": "enter", "event": None}, False),
        ({"properties": {"what": "dinner"}}, True),
        ({"properties": {"what": "taxi"}}, False),
        ({"properties": {"who": "dinner"}}, False),
        ({"places": frozenset({"cafe-1"})}, True),
        ({"places": frozenset({"mall"})}, True),  # around it
        ({"places": frozenset({"cafe-2"})}, False),
        ({"tags": frozenset({"cafe"})}, True),
        ({"tags": frozenset({"hotel"})}, True),  # of what is around it
        ({"tags": frozenset({"shop"})}, False),
        ({"places": frozenset({"cafe-2"}), "tags": frozenset({"cafe"})}, True),
    ],
)
def test_an_event_counts_by_name_properties_and_where_it_was(
    changes: dict[str, Any], met: bool
) -> None:
    place = replace(CAFE, parents=("mall",), venue_tags=("cafe", "hotel"))
    found = told(replace(SEARCH, **changes), event(properties={"what": "dinner"}), place)
    assert bool(found) is met


def test_campaigns_that_wait_for_one_event_stand_by_priority() -> None:
    file = rules(SEARCH, replace(SEARCH, id="first", priority=2.0), replace(SEARCH, id="also"))
    made = file.event_triggers(event(), "anna", None, None)
    assert [one.campaign for one in made] == ["first", "also", "tonight"]
    assert len({one.moment for one in made}) == 1


REMINDER: Campaign = replace(
    SEARCH, id="soon", purpose="reminder", event="booking", at_property="starts_at", before_s=3600.0
)


@pytest.mark.parametrize("written", ["text", "number"])
def test_a_reminder_is_due_one_hour_before(written: str) -> None:
    starts = NOON + 86400.0
    value = format_time(starts) if written == "text" else starts
    (made,) = told(REMINDER, event("booking", properties={"starts_at": value}))
    assert (made.due_at, made.until) == (starts - 3600.0, starts)


def test_what_is_told_of_too_late_for_a_reminder_is_due_at_once() -> None:
    starts = NOON + 1800.0
    told_at = NOON + 7.0
    late = event("booking", properties={"starts_at": starts}, received_at=told_at)
    (made,) = told(REMINDER, late)
    assert (made.due_at, made.until) == (told_at, starts)


@pytest.mark.parametrize("value", [None, True, "soon", "", float("inf"), 1e300, -5.0, "2026-13-01"])
def test_a_booking_that_names_no_time_reminds_of_nothing(value: Any) -> None:
    assert told(REMINDER, event("booking", properties={"starts_at": value})) == []
    assert told(REMINDER, event("booking")) == []


# -- what has to be read ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "back_s"),
    [
        ({}, None),
        ({"context": (Circumstance(tags=frozenset({"hotel"})),)}, None),
        ({"context": (Circumstance(event="search", within_s=60.0),)}, 60.0),
        ({"product": "tea"}, 366 * 86400.0),
        ({"contrary": ("tea",)}, 366 * 86400.0),
        ({"asks": "beacon"}, 366 * 86400.0),
        ({"audience": Visits(place="mall", within_s=7.0, least=1)}, 7.0),
    ],
)
def test_what_a_person_did_is_read_only_where_it_is_asked_for(
    changes: dict[str, Any], back_s: float | None
) -> None:
    assert replace(COFFEE, **changes).needs_profile_s == back_s
