"""Segment, confidence, context, affinity, value and asking: each gate at its edges."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from proximity.campaigns.campaigns import After, Campaign, Circumstance, Contest
from proximity.gates.gates import Candidate, decide, rival
from proximity.gates.relevance import worth
from proximity.model import Consent, GateResult
from proximity.people.facts import Happened, Profile, Stay
from proximity.segments import segments
from tests.proximity.given import ANNA, CAFE, COFFEE, NOON, candidate, rules, trigger


def gate(one: Candidate, name: str) -> GateResult:
    return next(g for g in decide(one).gates if g.gate == name)


def of(campaign: dict[str, Any], **changes: Any) -> Candidate:
    return candidate(campaign=replace(COFFEE, **campaign), **changes)


def bought(**counts: int) -> Profile:
    events = [
        Happened(
            "purchase", NOON - 1000.0 + n, {"product": name.replace("_", "-")}, id=f"{name}{n}"
        )
        for name, count in counts.items()
        for n in range(count)
    ]
    return Profile(events=tuple(sorted(events, key=lambda event: event.at)))


# -- segment -------------------------------------------------------------------------------------


def test_an_audience_is_asked_of_person_and_profile() -> None:
    rule, problems = segments.parse(
        {"all": [{"attribute": "tier", "one_of": ["gold"]}, {"visited": "cafe-1", "at_least": 2}]},
        "x",
    )
    assert problems == []
    assert rule is not None
    gold = replace(ANNA, attributes={"tier": "gold"})
    visits = tuple(Stay(f"v{n}", "cafe-1", NOON - 3600.0 * n) for n in (3, 2))
    one = of({"audience": rule}, person=gold, profile=Profile(visits=visits))
    assert decide(one).reason is None
    assert gate(one, "segment").because == {"rule": rule.sentence()}
    assert decide(replace(one, profile=Profile(visits=visits[:1]))).reason == "segment"
    assert decide(replace(one, person=ANNA)).reason == "segment"
    assert gate(of({}), "segment").because == {"rule": None}


# -- confidence ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("confidence", "source", "passed"),
    [(0.8, "fix", True), (0.799, "fix", False), (None, "fix", False), (None, "sighting", False),
     (None, "event", True), (None, "manual", True)],
)  # fmt: skip
def test_low_confidence_never_triggers(confidence: Any, source: Any, passed: bool) -> None:
    seen = trigger(confidence=confidence, source=source)
    one = of({"min_confidence": 0.8}, trigger=seen)
    assert gate(one, "confidence").passed is passed
    assert (decide(one).reason == "confidence") is not passed
    assert gate(of({}, trigger=seen), "confidence").passed


# -- context: the same search, in a hotel and in the street ----------------------------------------

TONIGHT = Circumstance(
    tags=frozenset({"hotel"}), event="search", within_s=1800.0, properties={"what": "dinner"}
)
ANY_DAY = Circumstance(not_tags=frozenset({"hotel"}), event="search", within_s=1800.0)


def searched(age_s: float, **properties: Any) -> Profile:
    return Profile(events=(Happened("search", NOON - age_s, properties),))


@pytest.mark.parametrize(
    ("tags", "profile", "tonight", "any_day"),
    [
        (("hotel",), searched(900.0, what="dinner"), True, False),
        ((), searched(900.0, what="dinner"), False, True),
        (("hotel",), searched(900.0, what="taxi"), False, False),
        ((), searched(900.0, what="taxi"), False, True),
        (("hotel",), searched(1801.0, what="dinner"), False, False),
        (("hotel",), searched(1800.0, what="dinner"), True, False),
        (("hotel",), searched(-1.0, what="dinner"), False, False),  # not yet
        (("hotel",), Profile(), False, False),
    ],
)
def test_the_same_action_means_another_thing_elsewhere(
    tags: tuple[str, ...], profile: Profile, tonight: bool, any_day: bool
) -> None:
    place = replace(CAFE, venue_tags=("cafe", *tags))
    for context, passed in ((TONIGHT, tonight), (ANY_DAY, any_day)):
        one = of({"context": (context,)}, place=place, profile=profile)
        assert gate(one, "context").passed is passed
        assert (decide(one).reason == "context") is not passed


def test_all_circumstances_must_be_so_and_each_says_what_it_found() -> None:
    profile = searched(900.0, what="dinner")
    place = replace(CAFE, venue_tags=("hotel",))
    context = (TONIGHT, Circumstance(tags=frozenset({"spa"})))
    one = of({"context": context}, place=place, profile=profile)
    assert gate(one, "context").because == {
        "context": [
            {"met": True, "venue": ["hotel"], "event": "search", "within_s": 1800.0,
             "at": "2026-01-06T10:45:00.000Z"},
            {"met": False, "venue": []},
        ]
    }  # fmt: skip
    assert decide(one).reason == "context"


def test_what_triggered_it_is_something_the_person_did() -> None:
    event = Happened("search", NOON, {"what": "dinner"})
    one = of({"context": (replace(TONIGHT, tags=frozenset()),)}, trigger=trigger(event=event))
    assert gate(one, "context").passed


def test_properties_are_of_the_same_kind() -> None:
    asked = Circumstance(event="search", properties={"guests": 1})
    for value, passed in ((1, True), (1.0, True), (True, False), ("1", False)):
        one = of({"context": (asked,)}, profile=searched(60.0, guests=value))
        assert gate(one, "context").passed is passed


# -- affinity and value: thirty club sandwiches --------------------------------------------------

CLUB: Campaign = replace(COFFEE, id="club", product="club-sandwich")
MEATBALLS: Campaign = replace(
    COFFEE, id="meatballs", product="meatballs", contrary=("club-sandwich",), priority=0.0
)
REGULAR = bought(club_sandwich=30, tea=3)


def test_the_club_sandwich_regular_never_gets_the_meatball_coupon() -> None:
    one = candidate(campaign=MEATBALLS, rules=rules(MEATBALLS, CLUB), profile=REGULAR)
    assert decide(one).reason == "affinity"
    assert gate(one, "affinity").because == {
        "contrary": ["club-sandwich"], "count": 30.0, "total": 33.0, "share": 0.909,
        "leading": "club-sandwich", "contrary_count": 3, "contrary_share": 0.5,
    }  # fmt: skip
    assert decide(replace(one, campaign=CLUB)).reason is None


def profiled(*said: Consent) -> Candidate:
    """Offer the regular meatballs for regulars alone, and let them have said so of profiling."""
    regulars, _ = segments.parse({"event": "purchase", "at_least": 9}, "here")
    person = replace(ANNA, consents=(*ANNA.consents, *said))
    profile = Profile((*REGULAR.events, Happened("optin-declined", NOON - 9.0)), VISITS, 5.0)
    campaign = replace(MEATBALLS, audience=regulars)
    return candidate(campaign=campaign, person=person, profile=profile)


@pytest.mark.parametrize(
    ("said", "known"),
    [
        ((), True),
        ((Consent(purpose="profiling"),), True),
        ((Consent(purpose="profiling", until=NOON),), False),
        ((Consent(purpose="profiling", since=NOON - 5, until=NOON - 5),), False),
        ((Consent(purpose="profiling", until=NOON - 5), Consent(purpose="profiling")), True),
    ],
)
def test_who_refuses_profiling_is_judged_by_nothing_that_they_did(
    said: tuple[Consent, ...], known: bool
) -> None:
    """Neither for an offer nor against it; what they answered to a question still counts."""
    one = profiled(*said)
    assert (gate(one, "segment").passed, gate(one, "affinity").passed) == (known, not known)
    assert ("profiling" in gate(one, "segment").because) is not known
    assert [event.name for event in one.profile.events][-1] == "optin-declined"
    assert (len(one.profile.events) > 1, bool(one.profile.visits)) == (known, known)
    kept_upstream = replace(one, profile=profiled().profile, assumed=True)
    assert gate(kept_upstream, "segment").passed


def test_what_a_person_likes_ranks_first() -> None:
    club = candidate(campaign=CLUB, profile=REGULAR)
    tea = candidate(campaign=replace(CLUB, id="tea", product="tea"), profile=REGULAR)
    never = candidate(campaign=replace(CLUB, id="a", product="a"), profile=REGULAR)
    plain = candidate(profile=REGULAR)
    assert [round(worth(one)[0], 3) for one in (club, tea, never, plain)] == [
        1.0,
        0.129,
        0.032,
        1.0,
    ]
    order = sorted([never, tea, club], key=rival)
    assert [one.campaign.id for one in order] == ["club", "tea", "a"]


@pytest.mark.parametrize(
    ("profile", "passed"),
    [
        (bought(), True),  # of whom nothing is known nothing speaks against it
        (bought(club_sandwich=2), True),  # too few to mean anything
        (bought(club_sandwich=3), False),
        (bought(club_sandwich=3, tea=4), True),
        (bought(club_sandwich=3, tea=3), False),
        (bought(meatballs=9), True),
    ],
)
def test_contrary_taste_must_be_strong_and_no_chance(profile: Profile, passed: bool) -> None:
    one = candidate(campaign=MEATBALLS, profile=profile)
    assert gate(one, "affinity").passed is passed


@pytest.mark.parametrize(
    ("campaign", "contest", "passed"),
    [
        ({"value": 0.3}, None, True),
        ({"value": 0.3}, Contest(), True),
        ({"value": 0.3}, Contest(least_value=0.3), True),
        ({"value": 0.29}, Contest(least_value=0.3), False),
        ({"value": 0.29, "least_value": 0.0}, Contest(least_value=0.3), True),
        ({"value": 0.3, "least_value": 0.31}, None, False),
        ({"product": "meatballs", "least_value": 0.05}, None, False),
        ({"product": "club-sandwich", "least_value": 0.05}, None, True),
    ],
)
def test_nothing_is_a_good_answer_where_the_offer_is_worth_little(
    campaign: dict[str, Any], contest: Contest | None, passed: bool
) -> None:
    one = of(campaign, rules=rules(contest=contest), profile=REGULAR)
    assert gate(one, "value").passed is passed
    assert (decide(one).reason == "below_threshold") is not passed


# -- asking for a consent ------------------------------------------------------------------------

ASK: Campaign = replace(
    COFFEE, id="ask", purpose="opt-in", asks="push-marketing", after=After(visits=3), most=2,
    back_off_s=86400.0,
)  # fmt: skip
VISITS = tuple(Stay(f"v{n}", "cafe-1", NOON - 86400.0 * n) for n in (3, 2, 1))


def asking(*events: Happened, visits: Any = VISITS, **changes: Any) -> Candidate:
    person = replace(ANNA, consents=(Consent(purpose="service"), *changes.pop("consents", ())))
    profile = Profile(events=events, visits=visits)
    return candidate(
        campaign=changes.pop("campaign", ASK), person=person, profile=profile, **changes
    )


def said(answer: str, age_s: float, purpose: str = "push-marketing") -> Happened:
    return Happened(f"optin-{answer}", NOON - age_s, {"purpose": purpose})


def sent(*ages_s: float) -> Any:
    from proximity.gates.gates import Send

    return tuple(Send(f"d{age}", "ask", "opt-in", NOON - age) for age in ages_s)


@pytest.mark.parametrize(
    ("one", "passed"),
    [
        (asking(), True),
        (asking(visits=()), False),  # never at install
        (asking(visits=VISITS[:2]), False),
        (asking(visits=(*VISITS[:2], Stay("m", "mall", NOON - 50.0))), False),  # another place
        (asking(consents=(Consent(purpose="push-marketing"),)), False),  # given
        (asking(consents=(Consent(purpose="push-marketing", until=NOON - 1),)), True),
        (asking(said("later", 86399.0)), False),
        (asking(said("later", 86400.0)), True),
        (asking(said("declined", 9e6)), False),  # a no is a no
        (asking(said("declined", 9e6, "profiling")), True),  # to another question
        (asking(said("shown", 86400.0)), True),
        (asking(said("shown", 9e5), said("shown", 86400.0)), False),  # the budget is used up
        (asking(sends=sent(86399.0)), False),
        (asking(sends=sent(86400.0)), True),
        (asking(sends=sent(9e5, 86400.0)), False),
        (asking(campaign=replace(ASK, after=After(event="purchase"))), False),
        (asking(Happened("purchase", NOON - 5.0), campaign=replace(ASK, after=After(event="purchase"))), True),
        (asking(campaign=replace(ASK, after=After(event="saved")), trigger=trigger(event=Happened("saved", NOON))), True),
        (asking(visits=(), campaign=replace(ASK, after=None)), True),
        (asking(campaign=ASK, trigger=trigger(place="", visit="")), True),
    ],
)  # fmt: skip
def test_a_question_comes_after_value_within_its_budget_and_not_after_a_no(
    one: Candidate, passed: bool
) -> None:
    assert gate(one, "ask").passed is passed
    assert (decide(one).reason == "ask") is not passed


def test_what_a_question_was_judged_by() -> None:
    assert gate(asking(said("later", 100.0)), "ask").because == {
        "asks": "push-marketing", "agreed": False, "asked": 0, "most": 2,
        "free_at": "2026-01-07T10:58:20.000Z", "visits": 3, "after_visits": 3,
    }  # fmt: skip
