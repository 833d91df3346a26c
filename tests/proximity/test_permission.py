"""Consent by purpose, being located, age, objection and preferences: each gate at its edges."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from proximity.campaigns.campaigns import Age, Campaign
from proximity.campaigns.purposes import PURPOSES, presses
from proximity.gates.gates import Candidate, allows, consented_channel, decide, make_offer
from proximity.gates.permission import AGES, quiet_windows
from proximity.model import Consent, GateResult, Hours, Person, Preference
from tests.proximity.given import ANNA, CAFE, COFFEE, NOON, candidate, rules, trigger, when, windows


def gate(one: Candidate, name: str) -> GateResult:
    return next(g for g in decide(one).gates if g.gate == name)


def with_consents(*consents: Consent, **changes: Any) -> Candidate:
    return candidate(person=replace(ANNA, consents=consents), **changes)


# -- purposes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("purpose", "given", "channel", "allowed"),
    [
        ("marketing", "marketing", "console", True),
        ("marketing", "push-marketing", "console", True),
        ("marketing", "push-marketing", "email", False),  # it speaks of push alone
        ("marketing", "marketing", "email", True),
        ("marketing", "service", "console", False),
        ("content", "marketing", "console", False),
        ("content", "content", "console", True),
        ("social", "social", "console", True),
        ("reminder", "reminder", "console", True),
        ("reminder", "marketing", "console", False),
        ("service", "service", "console", True),
        ("opt-in", "service", "console", True),  # any yes is one to being spoken to
        ("opt-in", "location-precise", "webhook", True),
        ("invented", "invented", "console", True),
        ("invented", "marketing", "console", False),
    ],
)
def test_each_purpose_needs_a_consent_of_its_own(
    purpose: str, given: str, channel: str, allowed: bool
) -> None:
    assert allows(Consent(purpose=given), purpose, channel, NOON) is allowed


def test_a_question_needs_some_consent_in_force() -> None:
    asking = replace(COFFEE, purpose="opt-in")
    assert gate(with_consents(Consent(purpose="service"), campaign=asking), "consent").passed
    ended = Consent(purpose="service", until=NOON)
    assert not gate(with_consents(ended, campaign=asking), "consent").passed
    assert not gate(with_consents(campaign=asking), "consent").passed


def test_what_presses_is_all_but_service_and_reminders() -> None:
    assert {name for name in PURPOSES if not presses(name)} == {"service", "reminder"}
    assert presses("some other system's own word")


def test_evidence_names_the_consent_that_stands_for_another() -> None:
    one = with_consents(Consent(purpose="push-marketing", since=5.0))
    assert gate(one, "consent").because == {
        "purpose": "marketing", "channel": "console", "by": "push-marketing",
        "from": "1970-01-01T00:00:05.000Z", "until": None,
    }  # fmt: skip


# -- location ------------------------------------------------------------------------------------

MARKETING = Consent(purpose="marketing")
ENDED = {"since": NOON - 100.0, "until": NOON - 10.0}


@pytest.mark.parametrize(
    ("source", "said", "implied", "required"),
    [
        ("fix", (), True, False),
        ("sighting", (), True, False),
        ("fix", (Consent(purpose="location-background"),), True, True),
        ("fix", (Consent(purpose="location-precise"),), True, True),
        ("fix", (Consent(purpose="location-precise", **ENDED),), False, False),
        ("fix", (Consent(purpose="beacon"),), True, False),  # of being located by fixes nothing
        ("sighting", (Consent(purpose="beacon"),), True, True),
        ("sighting", (Consent(purpose="beacon", **ENDED),), False, False),
        ("sighting", (Consent(purpose="location-precise", **ENDED),), True, False),
        ("fix", (Consent(purpose="location-precise", **ENDED),
                 Consent(purpose="location-background")), True, True),
        ("event", (Consent(purpose="beacon", **ENDED),), True, True),
        ("manual", (), True, True),
    ],
)  # fmt: skip
def test_being_located_needs_leave_where_it_was_spoken_of(
    source: Any, said: tuple[Consent, ...], implied: bool, required: bool
) -> None:
    one = with_consents(MARKETING, *said, trigger=trigger(source=source))
    assert gate(one, "location").passed is implied
    assert (decide(one).reason == "no_location_consent") is not implied
    strict = replace(one, rules=rules(location_consent="required"))
    assert gate(strict, "location").passed is required
    assert gate(replace(strict, assumed=True), "location").passed


# -- age -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attributes", "lax", "strict"),
    [
        ({}, True, False),
        ({"age_band": "18+"}, True, False),  # in no known country
        ({"age_band": "18+", "jurisdiction": "FR"}, True, True),
        ({"age_band": "under-13"}, False, False),
        ({"age_band": "13-15"}, True, False),
        ({"age_band": "13-15", "jurisdiction": "FR"}, False, False),  # fifteen there
        ({"age_band": "13-15", "jurisdiction": "ES"}, False, False),  # fourteen
        ({"age_band": "13-15", "jurisdiction": "SE"}, True, True),  # thirteen
        ({"age_band": "16-17", "jurisdiction": "DE"}, True, True),
        ({"age_band": 15, "jurisdiction": "DE"}, False, False),
        ({"age_band": 15, "jurisdiction": "FR"}, True, True),
        ({"age_band": 15, "jurisdiction": "ZZ"}, False, False),  # sixteen where nothing is set
        ({"age_band": 16, "jurisdiction": "ZZ"}, True, True),
    ],
)
def test_marketing_needs_an_age_and_fails_closed_where_ages_are_asked_for(
    attributes: dict[str, Any], lax: bool, strict: bool
) -> None:
    one = candidate(person=replace(ANNA, attributes=attributes))
    assert gate(one, "age").passed is lax
    assert (decide(one).reason == "age") is not lax
    assert gate(replace(one, rules=rules(age=Age())), "age").passed is strict


def test_an_age_of_the_file_s_own_asks_for_no_country() -> None:
    asked = rules(age=Age(least=18))
    old = candidate(person=replace(ANNA, attributes={"age_band": "18+"}), rules=asked)
    assert gate(old, "age").passed
    young = replace(old, person=replace(ANNA, attributes={"age_band": 17, "jurisdiction": "SE"}))
    assert not gate(young, "age").passed
    assert gate(young, "age").because == {"known": True, "jurisdiction": "SE", "least": 18}


def test_service_is_for_any_age() -> None:
    child = replace(
        ANNA, attributes={"age_band": "under-13"}, consents=(Consent(purpose="service"),)
    )
    one = candidate(
        person=child, campaign=replace(COFFEE, purpose="service"), rules=rules(age=Age())
    )
    assert decide(one).reason is None


def test_the_ages_are_those_that_the_law_allows() -> None:
    # GDPR, article 8: 16, or down to 13 where a state says so; COPPA: 13.
    assert set(AGES.values()) == {13, 14, 15, 16}
    assert {AGES[c] for c in ("DE", "NL", "IE", "PL")} == {16}
    assert (AGES["FR"], AGES["ES"], AGES["IT"], AGES["GB"], AGES["US"]) == (15, 14, 14, 13, 13)


# -- objection -----------------------------------------------------------------------------------


@pytest.mark.parametrize("purpose", PURPOSES)
def test_an_objection_stops_what_presses(purpose: str) -> None:
    one = candidate(objected=True, campaign=replace(COFFEE, purpose=purpose))
    assert gate(one, "objection").passed is not presses(purpose)
    assert gate(replace(one, objected=False), "objection").passed


# -- preferences ---------------------------------------------------------------------------------

FOOD: Campaign = replace(COFFEE, topic="food", channels=("webhook", "console"))


def wanting(*rows: Preference, **changes: Any) -> Candidate:
    fields = {"campaign": FOOD, "rules": rules(FOOD)} | changes
    return candidate(person=replace(ANNA, preferences=rows), **fields)


def no(**names: Any) -> Preference:
    return Preference(allow=False, **names)


def yes(**names: Any) -> Preference:
    return Preference(allow=True, **names)


def test_the_hours_of_all_preferences_are_bounded() -> None:
    """Looking for the end of thousands of windows would hold up everybody's decisions."""
    rows = [no(topic=f"t{n}", hours=(Hours("08:00", "09:00"),) * 50) for n in range(3)]
    assert Person(person="anna", preferences=tuple(rows[:2])).preferences
    with pytest.raises(ValueError, match="hours of all preferences: 150 are more than 100"):
        Person(person="anna", preferences=tuple(rows))


MORNING, NIGHT = (Hours("08:00", "11:00"),), (Hours("11:00", "13:00"),)


@pytest.mark.parametrize(
    ("rows", "passed"),
    [
        ((no(topic="food"),), False),
        ((no(topic="toys"),), True),
        ((no(topic="food"), yes(topic="food")), True),  # the later one stands
        ((yes(topic="food"), no(topic="food")), False),
        ((no(place="cafe-1"),), False),
        ((no(place="street"),), False),  # what it lies in
        ((no(place="cafe-2"),), True),
        ((no(topic="food", place="cafe-2"),), True),
        ((no(channel="webhook"),), True),  # then the console
        ((no(channel="webhook"), no(channel="console")), False),
        ((no(topic="food", hours=MORNING),), True),
        ((no(topic="food", hours=NIGHT),), False),
        ((no(topic="food"), yes(topic="food", hours=NIGHT)), True),
        ((no(topic="food"), yes(topic="food", hours=MORNING)), False),
        ((no(),), False),
        ((no(), yes(topic="food")), True),
    ],
)
def test_the_last_preference_that_speaks_of_it_stands(
    rows: tuple[Preference, ...], passed: bool
) -> None:
    street = replace(CAFE, parents=("street",))
    one = wanting(*rows, place=street)
    assert gate(one, "preference").passed is passed
    assert (decide(one).reason == "preference") is not passed
    service = replace(FOOD, purpose="service")
    assert gate(replace(one, campaign=service), "preference").passed


def test_a_preference_that_changes_changes_the_next_decision_and_is_cited() -> None:
    before = wanting(yes(topic="food"))
    assert decide(before).reason is None
    after = wanting(yes(topic="toys"), no(topic="food"))
    assert decide(after).reason == "preference"
    assert gate(after, "preference").because == {
        "rows": 2, "row": 2, "allow": False, "topic": "food",
    }  # fmt: skip
    timed = gate(wanting(no(topic="food", hours=NIGHT)), "preference").because
    assert timed["hours"][0]["from"] == "11:00"


def test_the_offer_takes_the_channel_that_is_wanted() -> None:
    assert consented_channel(wanting())[0] == "webhook"
    one = wanting(no(channel="webhook"))
    assert consented_channel(one)[0] == "console"
    assert make_offer(one).channel == "console"
    # Of none that is wanted it is the first that was agreed to: consent is not what fails.
    none = wanting(no(channel="webhook"), no(channel="console"))
    assert consented_channel(none)[0] == "webhook"
    assert gate(none, "consent").passed
    assert consented_channel(replace(one, assumed=True))[0] == "console"


def test_hours_in_an_unknown_zone_forbid_and_do_not_allow() -> None:
    lost = replace(ANNA, timezone="Mars/Olympus")
    hidden = wanting(no(topic="food", hours=MORNING))
    hidden = replace(hidden, person=replace(lost, preferences=hidden.person.preferences))
    assert not gate(hidden, "preference").passed
    allowed = wanting(no(topic="food"), yes(topic="food", hours=NIGHT))
    allowed = replace(allowed, person=replace(lost, preferences=allowed.person.preferences))
    assert not gate(allowed, "preference").passed


def test_hours_of_nothing_at_all_are_quiet_hours_of_one_s_own() -> None:
    nap = no(hours=(Hours("11:30", "12:30"),))
    one = wanting(nap, campaign=replace(FOOD, defer=True))
    assert gate(one, "preference").passed
    decision = decide(one)
    assert (decision.reason, decision.until) == ("quiet_hours", when("2026-01-06 12:30"))
    # An offer made before it ends when the nap begins.
    early = when("2026-01-06 11:20")
    before = replace(
        one, now=early, trigger=trigger(at=early), campaign=replace(FOOD, ttl_s=7200.0)
    )
    assert make_offer(before).expires_at == when("2026-01-06 11:30")
    both = rules(FOOD, quiet_hours=windows("22:00-07:00"))
    assert quiet_windows(one.person, both) == (*windows("22:00-07:00"), *windows("11:30-12:30"))
    assert quiet_windows(ANNA, both) == windows("22:00-07:00")


def test_a_yes_to_everything_takes_back_the_quiet_hours_before_it() -> None:
    nap, evening = no(hours=(Hours("11:30", "12:30"),)), no(hours=(Hours("20:00", "22:00"),))
    everything = Preference(allow=True)
    own = wanting(nap, everything, evening).person
    assert quiet_windows(own, rules(FOOD)) == windows("20:00-22:00")
    assert decide(wanting(nap, everything, campaign=FOOD)).reason is None
    for part in (Preference(allow=True, topic="food"), Preference(allow=True, channel="console")):
        assert quiet_windows(wanting(nap, part).person, rules(FOOD)) == windows("11:30-12:30")
