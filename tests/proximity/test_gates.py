"""Each gate at its edges, the order of reasons, deferrals, and how long an offer is good."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from proximity.campaigns.campaigns import Campaign, Cap
from proximity.gates.gates import GATES, Candidate, Send, consented_channel, decide, make_offer
from proximity.model import Consent, GateResult, Verdict
from proximity.people.facts import Happened
from tests.proximity.given import (
    ANNA,
    CAFE,
    COFFEE,
    NOON,
    candidate,
    rules,
    trigger,
    when,
    windows,
)

REASONS = {
    "stale": "stale", "active": "inactive", "place_hours": "place_closed",
    "consent": "no_consent", "location": "no_location_consent", "age": "age",
    "objection": "objection", "preference": "preference",
    "reach": "unreachable", "segment": "segment",
    "confidence": "confidence", "context": "context", "affinity": "affinity",
    "value": "below_threshold", "ask": "ask", "schedule": "outside_hours",
    "daypart": "offer_window", "caps": "capped", "cooldown": "cooldown",
    "quiet_hours": "quiet_hours", "content": "no_content", "stock": "out_of_stock",
    "contest": "outranked",
}  # fmt: skip
NIGHT = when("2026-01-06 23:30")


def gate(one: Candidate, name: str) -> GateResult:
    return next(g for g in decide(one).gates if g.gate == name)


def passes(one: Candidate, name: str) -> bool:
    return gate(one, name).passed


def quiet_rules(campaign: Campaign = COFFEE, **changes: Any) -> Any:
    return rules(campaign, quiet_hours=windows("22:00-07:00"), **changes)


def at_night(**changes: Any) -> Candidate:
    """A candidate at half past eleven at night, in quiet hours until seven."""
    campaign = replace(COFFEE, **changes.pop("campaign", {}))
    fields: dict[str, Any] = {
        "trigger": trigger(at=NIGHT, decided_at=NIGHT, evidence_at=NIGHT), "now": NIGHT,
        "campaign": campaign, "rules": quiet_rules(campaign),
    }  # fmt: skip
    return candidate(**fields | changes)


def test_the_gates_in_order_with_their_reasons() -> None:
    assert {g.name: g.reason for g in GATES} == REASONS
    assert [g.name for g in GATES] == list(REASONS)


def test_what_every_gate_lets_pass_is_sent() -> None:
    decision = decide(candidate())
    assert (decision.decision, decision.reason, decision.until) == (Verdict.SEND, None, None)
    assert [g.gate for g in decision.gates] == list(REASONS)
    assert all(g.passed for g in decision.gates)
    assert decision.to_record()["version"] == 1
    assert (decision.id, decision.at) == ("t1", NOON)


BREAKERS: dict[str, dict[str, Any]] = {
    "stale": {"trigger": trigger(at=NOON - 121)},
    "active": {"campaign": replace(COFFEE, active=False)},
    "place_hours": {"place": replace(CAFE, active=windows("18:00-22:00"))},
    "consent": {"person": replace(ANNA, consents=())},
    "schedule": {"campaign": replace(COFFEE, hours=windows("08:00-11:00"))},
    "caps": {"rules": rules(caps=(Cap(count=0, window_s=60.0),))},
    "cooldown": {
        "campaign": replace(COFFEE, cooldown_s=60.0),
        "sends": (Send("d0", "coffee", "marketing", NOON - 30),),
    },
    "quiet_hours": {"rules": rules(quiet_hours=windows("11:00-13:00"))},
    "content": {"campaign": replace(COFFEE, text={})},
}


@pytest.mark.parametrize("name", BREAKERS)
def test_one_gate_that_fails_gives_its_reason_and_the_rest_are_still_asked(name: str) -> None:
    decision = decide(candidate(**BREAKERS[name]))
    assert decision.decision is Verdict.SUPPRESS
    assert decision.reason == REASONS[name]
    assert [g.gate for g in decision.gates if not g.passed] == [name]
    assert len(decision.gates) == len(GATES)


def test_of_several_the_first_gives_the_reason() -> None:
    broken = candidate(
        trigger=trigger(at=NOON - 121),
        campaign=replace(COFFEE, active=False, text={}, hours=windows("08:00-11:00")),
        person=replace(ANNA, consents=()),
    )
    assert decide(broken).reason == "stale"
    assert [g.gate for g in decide(broken).gates if not g.passed] == [
        "stale", "active", "consent", "schedule", "content",
    ]  # fmt: skip


# -- stale ---------------------------------------------------------------------------------------


def test_a_trigger_is_fresh_up_to_its_age() -> None:
    assert passes(candidate(trigger=trigger(at=NOON - 120)), "stale")
    assert not passes(candidate(trigger=trigger(at=NOON - 120.001)), "stale")
    assert gate(candidate(trigger=trigger(at=NOON - 60.5)), "stale").because == {
        "at": "2026-01-06T10:58:59.500Z", "age_s": 60.5, "max_age_s": 120.0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("age_s", "still", "passed"), [(120, False, True), (121, False, False), (121, True, True)]
)
def test_a_dwell_needs_fresh_evidence_or_stillness(age_s: int, still: bool, passed: bool) -> None:
    dwell = trigger(kind="dwell", dwell_s=60.0, evidence_at=NOON - age_s, still=still)
    result = gate(candidate(trigger=dwell), "stale")
    assert result.passed is passed
    assert result.because["evidence_age_s"] == age_s
    # An enter is evidence itself.
    assert passes(candidate(trigger=trigger(evidence_at=NOON - 500)), "stale")


# -- active --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "passed"),
    [
        ({"valid_from": NOON}, True),
        ({"valid_from": NOON + 1}, False),
        ({"valid_until": NOON + 1}, True),
        ({"valid_until": NOON}, False),
        ({"listed": False}, True),
    ],
)
def test_validity_begins_with_from_and_ends_before_until(
    changes: dict[str, Any], passed: bool
) -> None:
    result = gate(candidate(campaign=replace(COFFEE, **changes)), "active")
    assert result.passed is passed
    assert set(changes) <= set(result.because)


# -- hours ---------------------------------------------------------------------------------------


def test_hours_are_the_place_s_not_the_person_s() -> None:
    tokyo = replace(CAFE, timezone="Asia/Tokyo", active=windows("19:00-21:00"))
    one = candidate(place=tokyo, campaign=replace(COFFEE, hours=windows("11:00-13:00")))
    assert passes(one, "place_hours")  # noon in Paris is eight in the evening in Tokyo
    assert not passes(one, "schedule")
    assert gate(one, "schedule").because == {
        "timezone": "Asia/Tokyo", "local": "tue 2026-01-06 20:00:00+0900",
        "windows": [windows("11:00-13:00")[0].to_record()],
    }  # fmt: skip


@pytest.mark.parametrize("zone", [None, "Mars/Olympus"])
def test_hours_in_an_unknown_zone_are_closed(zone: str | None) -> None:
    nowhere = replace(CAFE, timezone=zone, active=windows("00:00-24:00"))
    one = candidate(place=nowhere, campaign=replace(COFFEE, hours=windows("00:00-24:00")))
    assert not passes(one, "place_hours")
    assert not passes(one, "schedule")
    assert gate(one, "schedule").because == {"timezone": zone, "known": False}


# -- consent -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("consent", "passed"),
    [
        (Consent(purpose="marketing"), True),
        (Consent(purpose="marketing", channel="*"), True),
        (Consent(purpose="marketing", channel="console"), True),
        (Consent(purpose="marketing", channel="webhook"), False),
        (Consent(purpose="service"), False),
        (Consent(purpose="marketing", since=NOON), True),
        (Consent(purpose="marketing", since=NOON + 1), False),
        (Consent(purpose="marketing", until=NOON + 1), True),
        (Consent(purpose="marketing", until=NOON), False),
    ],
)
def test_consent_is_for_purpose_and_channel_and_time(consent: Consent, passed: bool) -> None:
    one = candidate(person=replace(ANNA, consents=(consent,)))
    assert passes(one, "consent") is passed
    assert (decide(one).reason == "no_consent") is not passed


def test_the_offer_goes_to_the_first_channel_that_is_consented() -> None:
    both = replace(COFFEE, channels=("webhook", "console"))
    one = candidate(
        campaign=both, rules=rules(both),
        person=replace(ANNA, consents=(Consent(purpose="marketing", channel="console", since=5.0),)),
    )  # fmt: skip
    assert consented_channel(one)[0] == "console"
    assert gate(one, "consent").because == {
        "purpose": "marketing", "channel": "console", "from": "1970-01-01T00:00:05.000Z",
        "until": None,
    }  # fmt: skip
    assert make_offer(one).channel == "console"
    none = replace(one, person=replace(ANNA, consents=()))
    assert gate(none, "consent").because == {
        "purpose": "marketing", "channel": None, "channels": ["webhook", "console"],
    }  # fmt: skip


def test_consent_that_is_kept_upstream_is_said_to_be_assumed() -> None:
    one = candidate(assumed=True, person=replace(ANNA, consents=()))
    assert gate(one, "consent").because == {
        "purpose": "marketing", "channel": "console", "assumed": True,
    }  # fmt: skip
    assert decide(one).decision is Verdict.SEND
    assert not passes(replace(one, campaign=replace(COFFEE, channels=())), "consent")


# -- caps and cooldown ---------------------------------------------------------------------------


def sends(*ages: float, campaign: str = "tea", purpose: str = "marketing") -> tuple[Send, ...]:
    return tuple(Send(f"d{age}", campaign, purpose, NOON - age) for age in ages)


@pytest.mark.parametrize(
    ("cap", "earlier", "passed"),
    [
        (Cap(count=2, window_s=100.0), sends(50), True),
        (Cap(count=2, window_s=100.0), sends(50, 99), False),
        (Cap(count=2, window_s=100.0), sends(50, 100), True),  # a hundred seconds ago has left
        (Cap(count=0, window_s=100.0), (), False),
        (Cap(count=1, window_s=100.0), sends(-5), False),  # a clock that stepped back
        (Cap(count=1, window_s=100.0, purpose="marketing"), sends(5, purpose="service"), True),
        (Cap(count=1, window_s=100.0, purpose="service"), sends(5, purpose="service"), True),
        (Cap(count=1, window_s=100.0), sends(5, purpose="service"), False),
    ],
)
def test_caps_roll(cap: Cap, earlier: tuple[Send, ...], passed: bool) -> None:
    assert passes(candidate(rules=rules(caps=(cap,)), sends=earlier), "caps") is passed


def test_a_cap_names_what_it_counted() -> None:
    caps = (Cap(count=20, window_s=100.0), Cap(count=1, window_s=9.0, purpose="service"))
    result = gate(candidate(rules=rules(caps=caps), sends=sends(*range(12))), "caps")
    assert result.because["caps"] == [
        {
            "purpose": None, "count": 20, "window_s": 100.0, "sent": 12,
            "ids": ["d0", "d1", "d10", "d11", "d2", "d3", "d4", "d5", "d6", "d7"],
        }
    ]  # fmt: skip


def test_cooldown_is_of_this_campaign_and_ends_on_the_second() -> None:
    cool = replace(COFFEE, cooldown_s=60.0)

    def after(age_s: float, campaign: str = "coffee") -> GateResult:
        earlier = sends(age_s, age_s + 50, campaign=campaign)
        return gate(candidate(campaign=cool, sends=earlier), "cooldown")

    assert after(60).passed
    assert not after(59.999).passed
    assert after(1, "tea").passed
    assert after(30).because == {
        "cooldown_s": 60.0, "last": "2026-01-06T10:59:30.000Z", "since_s": 30.0, "id": "d30",
    }  # fmt: skip
    assert passes(candidate(sends=sends(0, campaign="coffee")), "cooldown")  # none is written


# -- quiet hours ---------------------------------------------------------------------------------


def test_quiet_hours_are_the_person_s() -> None:
    assert decide(at_night()).reason == "quiet_hours"
    tokyo = replace(ANNA, timezone="Asia/Tokyo")  # half past seven in the morning there
    assert passes(at_night(person=tokyo), "quiet_hours")
    assert not passes(at_night(person=replace(ANNA, timezone=None)), "quiet_hours")  # the place's


def test_quiet_hours_bind_marketing_alone() -> None:
    service = at_night(
        campaign={"purpose": "service"},
        person=replace(ANNA, consents=(Consent(purpose="service"),)),
    )
    assert decide(service).decision is Verdict.SEND
    assert make_offer(service).expires_at == NIGHT + 120.0


@pytest.mark.parametrize("zone", ["Mars/Olympus", ""])
def test_a_zone_that_nobody_knows_is_quiet(zone: str) -> None:
    one = candidate(rules=quiet_rules(), person=replace(ANNA, timezone=zone))
    assert decide(one).reason == "quiet_hours"
    assert gate(one, "quiet_hours").because["known"] is False
    nobody = replace(ANNA, timezone=None)
    one = candidate(rules=quiet_rules(), person=nobody, place=replace(CAFE, timezone=None))
    assert decide(one).reason == "quiet_hours"
    # Without quiet hours nobody needs to know.
    assert decide(replace(one, rules=rules())).decision is Verdict.SEND


# -- deferral ------------------------------------------------------------------------------------

MORNING = when("2026-01-07 07:00")


def test_a_campaign_that_defers_waits_for_the_first_instant_that_is_not_quiet() -> None:
    decision = decide(at_night(campaign={"defer": True}))
    assert (decision.decision, decision.reason) == (Verdict.DEFER, "quiet_hours")
    assert decision.until == MORNING
    assert decision.to_record()["until"] == "2026-01-07T06:00:00.000Z"
    assert decide(at_night()).decision is Verdict.SUPPRESS


def test_what_was_deferred_is_judged_again_by_every_gate_and_was_fresh_when_put_off() -> None:
    late = at_night(campaign={"defer": True}, now=MORNING, deferred_at=NIGHT)
    decision = decide(late)
    assert decision.decision is Verdict.SEND
    assert gate(late, "stale").because["deferred_at"] == "2026-01-06T22:30:00.000Z"
    # It is good for as long as a fresh one, counted from now.
    assert make_offer(late).expires_at == MORNING + 120.0
    closed = replace(late, place=replace(CAFE, active=windows("09:00-18:00")))
    assert decide(closed).reason == "place_closed"
    withdrawn = replace(late, person=replace(ANNA, consents=()))
    assert decide(withdrawn).reason == "no_consent"


def test_a_deferral_is_made_once() -> None:
    moved = at_night(campaign={"defer": True}, deferred_at=NIGHT - 3600)
    decision = decide(moved)
    assert (decision.decision, decision.reason) == (Verdict.SUPPRESS, "quiet_hours")


def test_nothing_is_deferred_that_another_gate_stops() -> None:
    for name in ("stale", "content"):
        change = BREAKERS[name].get("campaign") or COFFEE
        campaign = replace(change, defer=True)
        one = at_night(
            campaign={"defer": True, "text": campaign.text},
            **({"trigger": trigger(at=NIGHT - 121)} if name == "stale" else {}),
        )
        assert decide(one).decision is Verdict.SUPPRESS


def test_nothing_is_deferred_beyond_its_validity_or_for_ever_or_in_an_unknown_zone() -> None:
    assert decide(at_night(campaign={"defer": True, "valid_until": MORNING + 1})).until == MORNING
    ending = decide(at_night(campaign={"defer": True, "valid_until": MORNING}))
    assert (ending.decision, ending.reason) == (Verdict.SUPPRESS, "quiet_hours")
    campaign = replace(COFFEE, defer=True)
    always = rules(campaign, quiet_hours=windows("00:00-24:00"))
    assert decide(at_night(campaign={"defer": True}, rules=always)).until is None
    lost = replace(ANNA, timezone="Mars/Olympus")
    assert decide(at_night(campaign={"defer": True}, person=lost)).until is None


# The night before a day of 23 or 25 hours; when it ends on the clock of the wall.
@pytest.mark.parametrize(
    ("zone", "evening", "span", "freed", "fold", "hours"),
    [
        ("Europe/Paris", "2026-03-28 22:00", "22:00-07:00", "2026-03-29 07:00", 0, 8),
        ("Europe/Paris", "2026-10-24 22:00", "22:00-07:00", "2026-10-25 07:00", 0, 10),
        ("Europe/Paris", "2026-03-28 22:00", "22:00-02:30", "2026-03-29 03:00", 0, 4),
        ("America/St_Johns", "2026-03-07 22:00", "22:00-07:00", "2026-03-08 07:00", 0, 8),
        ("America/St_Johns", "2026-10-31 22:00", "22:00-07:00", "2026-11-01 07:00", 0, 10),
        ("Australia/Lord_Howe", "2026-04-04 22:00", "22:00-07:00", "2026-04-05 07:00", 0, 9.5),
        ("Australia/Lord_Howe", "2026-10-03 22:00", "22:00-07:00", "2026-10-04 07:00", 0, 8.5),
        ("Pacific/Kiritimati", "2026-03-28 22:00", "22:00-07:00", "2026-03-29 07:00", 0, 9),
        ("Asia/Tokyo", "2026-10-24 22:00", "22:00-07:00", "2026-10-25 07:00", 0, 9),
    ],
)  # fmt: skip
def test_nights_of_every_length(
    zone: str, evening: str, span: str, freed: str, fold: int, hours: float
) -> None:
    start = when(evening, zone)
    campaign = replace(COFFEE, defer=True)
    one = candidate(
        trigger=trigger(at=start), now=start, campaign=campaign,
        rules=rules(campaign, quiet_hours=windows(span)), person=replace(ANNA, timezone=zone),
    )  # fmt: skip
    until = decide(one).until
    assert until == when(freed, zone, fold)
    assert until == start + hours * 3600
    again = replace(one, now=until, deferred_at=start)
    assert passes(again, "quiet_hours")
    assert not passes(replace(again, now=until - 0.001), "quiet_hours")


# -- content and the offer -----------------------------------------------------------------------


def test_content_says_what_was_wanted_and_found() -> None:
    assert gate(candidate(), "content").because == {
        "wanted": ["fr"], "language": "fr", "chosen_by": "person", "characters": 23,
        "link_host": "example.test",
    }  # fmt: skip
    bare = gate(candidate(campaign=replace(COFFEE, text={}, link=None)), "content")
    assert bare.because == {
        "wanted": ["fr"], "language": None, "chosen_by": "default", "characters": 0,
        "problem": "no text in any language",
    }  # fmt: skip


def test_the_offer_of_a_decision() -> None:
    made = make_offer(candidate())
    assert (made.key, made.channel, made.language) == ("t1", "console", "fr")
    assert (made.text, made.link) == ("Un café au Café du Nord", "https://example.test/coffee")
    assert (made.created_at, made.expires_at) == (NOON, NOON + 120.0)


@pytest.mark.parametrize(
    ("campaign", "expires_at"),
    [
        ({"ttl_s": 30.0}, NOON + 30.0),
        ({"ttl_s": 7200.0}, NOON + 7200.0),
        ({"valid_until": NOON + 10.0}, NOON + 10.0),
        ({"ttl_s": 86400.0}, when("2026-01-06 22:00")),  # the next quiet hours
        ({"ttl_s": 86400.0, "purpose": "service"}, NOON + 86400.0),
    ],
)
def test_how_long_an_offer_is_good(campaign: dict[str, Any], expires_at: float) -> None:
    changed = replace(COFFEE, **campaign)
    person = replace(ANNA, consents=(Consent(purpose=changed.purpose),))
    one = candidate(campaign=changed, rules=quiet_rules(changed), person=person)
    assert make_offer(one).expires_at == expires_at


def test_an_older_trigger_s_offer_is_good_for_what_is_left() -> None:
    assert make_offer(candidate(trigger=trigger(at=NOON - 100))).expires_at == NOON + 20.0


@pytest.mark.parametrize(
    "broken",
    [
        {"person": replace(ANNA, consents=())},
        {"campaign": replace(COFFEE, text={})},
        {"campaign": replace(COFFEE, link="https://[")},
    ],
)
def test_no_offer_is_made_of_what_was_not_to_be_sent(broken: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="an offer needs a decision to send it"):
        make_offer(candidate(**broken))


def test_a_template_is_written_for_its_reader_with_what_triggered_it_and_what_is_left() -> None:
    text = "{{ person.tier }} {{ event.what }} {{ stock }}"
    campaign = replace(COFFEE, text={"en": text}, attributes=("tier",), stock=("cakes",))
    one = candidate(
        campaign=campaign,
        trigger=trigger(event=Happened("search", NOON, {"what": "cake"})),
        person=replace(ANNA, attributes={"tier": "gold", "secret": "x"}),
        stock_left={"cakes": 3},
    )
    assert make_offer(one).text == "gold cake 3"
    assert "gold" not in str(gate(one, "content").because)
    silver = replace(
        one, person=replace(ANNA, attributes={"tier": "silver"}), stock_left={"cakes": 1}
    )
    assert make_offer(silver).text == "silver cake 1"
    made = make_offer(one)
    assert (made.version, made.visit, made.source) == (1, "v1", "fix")
