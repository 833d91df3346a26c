"""Caps of every scope and calendar, cooldowns, stock and the contest: each gate at its edges."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from proximity.campaigns.campaigns import Campaigns, Cap, Contest
from proximity.gates.gates import Candidate, Rival, Send, decide, rival
from proximity.model import GateResult
from tests.proximity.given import ANNA, CAFE, COFFEE, NOON, candidate, rules, trigger, when


def gate(one: Candidate, name: str) -> GateResult:
    return next(g for g in decide(one).gates if g.gate == name)


def send(at: float = NOON - 60.0, **changes: Any) -> Send:
    fields: dict[str, Any] = {
        "decision": f"d{at}", "campaign": "tea", "purpose": "marketing", "at": at,
        "place": "cafe-1", "visit": "v0", "channel": "console",
    }  # fmt: skip
    return Send(**fields | changes)


def capped(cap: Cap, *sends: Send, **changes: Any) -> bool:
    one = candidate(rules=rules(caps=(cap,)), sends=sends, **changes)
    assert (decide(one).reason == "capped") is not gate(one, "caps").passed
    return not gate(one, "caps").passed


# -- caps ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cap", "earlier", "stops"),
    [
        ({"purpose": "marketing"}, {"purpose": "content"}, True),  # whatever presses is marketing
        ({"purpose": "marketing"}, {"purpose": "opt-in"}, True),
        ({"purpose": "marketing"}, {"purpose": "a word of another system"}, True),
        ({"purpose": "marketing"}, {"purpose": "reminder"}, False),
        ({"purpose": "marketing"}, {"purpose": "service"}, False),
        ({"purpose": "content"}, {"purpose": "content"}, False),  # it holds for content alone
        ({"channel": "console"}, {}, True),
        ({"channel": "console"}, {"channel": "webhook"}, False),
        ({"channel": "webhook"}, {"channel": "webhook"}, False),
        ({"campaign": "coffee"}, {}, False),
        ({"campaign": "coffee"}, {"campaign": "coffee"}, True),
        ({"campaign": "tea"}, {}, False),
        ({"place": "cafe-1"}, {}, True),
        ({"place": "cafe-1"}, {"place": "cafe-2"}, False),
        ({"place": "street"}, {"place": "street"}, True),  # holds for what lies in it
        ({"place": "street"}, {"place": "cafe-2", "around": ("street",)}, True),  # and counts it
        ({"place": "street"}, {"place": "cafe-2", "around": ("alley",)}, False),
        ({"place": "cafe-2"}, {"place": "cafe-2"}, False),
        ({}, {"system": "crm"}, True),
        ({"foreign": False}, {"system": "crm"}, False),
        ({"foreign": False}, {}, True),
    ],
)
def test_a_cap_counts_what_it_names(
    cap: dict[str, Any], earlier: dict[str, Any], stops: bool
) -> None:
    place = replace(CAFE, parents=("street",))
    assert capped(Cap(count=1, window_s=86400.0, **cap), send(**earlier), place=place) is stops


def test_a_cap_of_another_purpose_does_not_hold_for_service() -> None:
    from proximity.model import Consent

    service = replace(COFFEE, purpose="service")
    person = replace(ANNA, consents=(Consent(purpose="service"), Consent(purpose="marketing")))
    cap, earlier = Cap(count=1, window_s=86400.0, purpose="marketing"), send()
    assert capped(cap, earlier, person=person)
    assert not capped(cap, earlier, campaign=service, person=person)


def test_two_foreign_mails_and_a_cap_of_two_a_day() -> None:
    mails = tuple(
        send(NOON - age, decision=f"crm:m{age}", campaign="", channel="email", system="crm")
        for age in (7200, 3600)
    )
    one = candidate(rules=rules(caps=(Cap(count=2, per="day"),)), sends=mails)
    assert decide(one).reason == "capped"
    assert gate(one, "caps").because["caps"] == [
        {"purpose": None, "count": 2, "per": "day", "since": "2026-01-05T23:00:00.000Z", "sent": 2,
         "ids": ["crm:m3600", "crm:m7200"]}
    ]  # fmt: skip


def test_three_devices_and_a_cap_of_one_is_one_send() -> None:
    cap = rules(caps=(Cap(count=1, per="day", purpose="marketing"),))
    sent: list[Send] = []
    for device in ("phone", "watch", "tag"):
        one = candidate(
            rules=cap, trigger=trigger(id=f"t-{device}", subject=device), sends=tuple(sent)
        )
        if decide(one).reason is None:
            sent.append(send(NOON, decision=one.trigger.id, campaign="coffee"))
    assert [one.decision for one in sent] == ["t-phone"]


@pytest.mark.parametrize(
    ("per", "zone", "now", "start"),
    [
        ("hour", "Europe/Paris", "2026-01-06 12:34:56", "2026-01-06 12:00"),
        ("day", "Europe/Paris", "2026-01-06 12:34:56", "2026-01-06 00:00"),
        ("week", "Europe/Paris", "2026-01-11 23:59:59", "2026-01-05 00:00"),  # a Sunday
        ("week", "Europe/Paris", "2026-01-05 00:00:00", "2026-01-05 00:00"),
        ("month", "Europe/Paris", "2026-02-28 12:00", "2026-02-01 00:00"),
        ("day", "Europe/Paris", "2026-03-29 23:00", "2026-03-29 00:00"),  # of 23 hours
        ("day", "Europe/Paris", "2026-10-25 23:00", "2026-10-25 00:00"),  # of 25
        ("week", "Europe/Paris", "2026-03-29 23:00", "2026-03-23 00:00"),
        ("month", "Europe/Paris", "2026-10-31 12:00", "2026-10-01 00:00"),
        ("day", "Pacific/Kiritimati", "2026-01-06 00:30", "2026-01-06 00:00"),
        ("day", "Asia/Tokyo", "2026-01-06 08:59", "2026-01-06 00:00"),
        ("day", "America/St_Johns", "2026-01-06 20:31", "2026-01-06 00:00"),
        ("hour", "Australia/Lord_Howe", "2026-01-06 12:29", "2026-01-06 12:00"),
        ("day", "Africa/Cairo", "2026-04-24 12:00", "2026-04-24 01:00"),  # midnight is skipped
    ],
)
def test_calendar_caps_are_on_the_person_s_calendar(
    per: Any, zone: str, now: str, start: str
) -> None:
    at, begun = when(now, zone), when(start, zone)
    person = replace(ANNA, timezone=zone)

    def stops(sent_at: float) -> bool:
        return capped(
            Cap(count=1, per=per), send(sent_at), person=person, now=at, trigger=trigger(at=at)
        )

    assert stops(begun)
    assert not stops(begun - 0.001)


def test_an_hour_that_comes_twice_is_one() -> None:
    first, second = when("2026-10-25 02:10"), when("2026-10-25 02:50", fold=1)
    assert second - first == 6000.0
    assert capped(Cap(count=1, per="hour"), send(first), now=second, trigger=trigger(at=second))


@pytest.mark.parametrize(("per", "longest_s"), [("hour", 7200), ("day", 90000), ("week", 691200)])
def test_in_an_unknown_zone_the_longest_that_a_period_lasts_counts(
    per: Any, longest_s: int
) -> None:
    lost = replace(ANNA, timezone="Mars/Olympus")
    assert capped(Cap(count=1, per=per), send(NOON - longest_s + 1), person=lost)
    assert not capped(Cap(count=1, per=per), send(NOON - longest_s), person=lost)


def test_a_campaign_s_own_caps_count_its_own_sends() -> None:
    own = replace(COFFEE, caps=(Cap(count=1, per="week"), Cap(count=9, window_s=60.0)))
    other, mine = send(), send(campaign="coffee")
    assert gate(candidate(campaign=own, sends=(other,)), "caps").passed
    one = candidate(campaign=own, sends=(other, mine))
    assert decide(one).reason == "capped"
    assert [cap["campaign"] for cap in gate(one, "caps").because["caps"]] == ["coffee", "coffee"]
    elsewhere = replace(COFFEE, caps=(Cap(count=0, per="week", purpose="service"),))
    assert gate(candidate(campaign=elsewhere), "caps").because == {"caps": []}


def test_how_far_back_earlier_sends_matter() -> None:
    file = Campaigns(caps=(Cap(count=1, window_s=60.0),))
    assert file.back_s(COFFEE) == 60.0
    assert file.back_s(replace(COFFEE, cooldown_s=90.0)) == 90.0
    assert file.back_s(replace(COFFEE, place_cooldown_s=91.0)) == 91.0
    assert file.back_s(replace(COFFEE, caps=(Cap(count=1, per="day"),))) == 90000.0
    year = 366 * 86400.0
    assert file.back_s(replace(COFFEE, once_per_visit=True)) == year
    assert file.back_s(replace(COFFEE, asks="beacon")) == year
    assert Cap(count=1).back_s == 0.0


# -- cooldown ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("campaign", "earlier", "passed"),
    [
        ({"place_cooldown_s": 90.0}, {}, False),
        ({"place_cooldown_s": 60.0}, {}, True),
        ({"place_cooldown_s": 90.0}, {"place": "cafe-2"}, True),
        ({"place_cooldown_s": 90.0}, {"campaign": "tea"}, True),
        ({"cooldown_s": 90.0}, {"place": "cafe-2"}, False),
        ({"once_per_visit": True}, {"visit": "v1"}, False),
        ({"once_per_visit": True}, {"visit": "v2"}, True),
        ({"once_per_visit": True}, {"visit": "v1", "campaign": "tea"}, True),
    ],
)
def test_a_campaign_rests_anywhere_here_and_in_this_visit(
    campaign: dict[str, Any], earlier: dict[str, Any], passed: bool
) -> None:
    one = candidate(
        campaign=replace(COFFEE, **campaign), sends=(send(**{"campaign": "coffee"} | earlier),)
    )
    assert gate(one, "cooldown").passed is passed
    assert (decide(one).reason == "cooldown") is not passed


def test_a_campaign_without_cooldown_needs_no_rest_from_a_send_that_another_clock_dated() -> None:
    ahead = send(NOON + 0.005, campaign="coffee")
    assert gate(candidate(sends=(ahead,)), "cooldown").passed
    resting = candidate(campaign=replace(COFFEE, cooldown_s=60.0), sends=(ahead,))
    assert not gate(resting, "cooldown").passed


def test_cooldowns_say_what_they_counted() -> None:
    campaign = replace(COFFEE, place_cooldown_s=90.0, once_per_visit=True)
    one = candidate(campaign=campaign, sends=(send(campaign="coffee", visit="v1"),))
    assert gate(one, "cooldown").because == {
        "cooldown_s": 0.0, "place_cooldown_s": 90.0, "once_per_visit": True,
        "last": "2026-01-06T10:59:00.000Z", "since_s": 60.0, "id": f"d{NOON - 60.0}",
        "since_here_s": 60.0, "in_visit": 1,
    }  # fmt: skip
    # What has no visit, such as an event in the street, is not held against one.
    outside = replace(
        one, trigger=trigger(visit=""), campaign=replace(campaign, place_cooldown_s=0.0)
    )
    assert gate(outside, "cooldown").passed


# -- stock ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("left", "passed"),
    [({"coupons": 1, "cakes": 1}, True), ({"coupons": 1, "cakes": 0}, False), ({"coupons": 1}, False),
     ({}, False)],
)  # fmt: skip
def test_every_stock_must_have_a_unit_left(left: dict[str, int], passed: bool) -> None:
    one = candidate(campaign=replace(COFFEE, stock=("coupons", "cakes")), stock_left=left)
    assert gate(one, "stock").passed is passed
    assert (decide(one).reason == "out_of_stock") is not passed
    assert gate(one, "stock").because == {
        "left": {"coupons": left.get("coupons", 0), "cakes": left.get("cakes", 0)}
    }
    assert gate(candidate(), "stock").because == {"left": {}}


# -- contest -------------------------------------------------------------------------------------


def rivals(*some: tuple[float, float, str]) -> tuple[Rival, ...]:
    return tuple(Rival(-priority, -worth, name, f"t-{name}") for priority, worth, name in some)


@pytest.mark.parametrize(
    ("winners", "others", "rank"),
    [
        (1, (), 1),
        (1, ((2.0, 0.1, "z"),), 2),  # priority first
        (1, ((0.0, 1.0, "a"),), 1),
        (1, ((1.0, 0.6, "z"),), 2),  # then worth
        (1, ((1.0, 0.4, "a"),), 1),
        (1, ((1.0, 0.5, "a"),), 2),  # then the id
        (1, ((1.0, 0.5, "z"),), 1),
        (2, ((2.0, 1.0, "a"),), 2),
        (2, ((2.0, 1.0, "a"), (2.0, 1.0, "b")), 3),
        (1, ((1.0, 0.5, "coffee"),), 1),  # itself is no rival
    ],
)
def test_the_best_of_a_moment_wins(
    winners: int, others: tuple[tuple[float, float, str], ...], rank: int
) -> None:
    campaign = replace(COFFEE, priority=1.0, value=0.5)
    one = candidate(
        campaign=campaign, trigger=trigger(id="t-coffee"), rivals=rivals(*others),
        rules=rules(campaign, contest=Contest(winners=winners)),
    )  # fmt: skip
    assert gate(one, "contest").passed is (rank <= winners)
    assert (decide(one).reason == "outranked") is (rank > winners)
    if others:
        assert gate(one, "contest").because["rank"] == rank


def test_without_a_contest_all_are_sent() -> None:
    one = candidate(rivals=rivals((9.0, 1.0, "a")))
    assert decide(one).reason is None
    assert gate(one, "contest").because == {"winners": None}
    assert rival(one) == Rival(-0.0, -1.0, "coffee", "t1")


def test_a_contest_names_who_was_ahead() -> None:
    one = candidate(rules=rules(contest=Contest()), rivals=rivals((3.0, 1.0, "b"), (4.0, 1.0, "a")))
    assert gate(one, "contest").because == {
        "rivals": 2, "winners": 1, "rank": 3, "priority": 0.0, "worth": 1.0, "ahead": ["a", "b"],
    }  # fmt: skip
