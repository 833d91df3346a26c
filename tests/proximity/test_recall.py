"""What is kept is bounded, is never mistaken for another value's, and keeps its value alive."""

from __future__ import annotations

import gc
import weakref
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from msgspec.structs import replace

from proximity import windows as clocks
from proximity.campaigns import recall
from proximity.gates import gates, timing, wording
from proximity.gates.gates import ask, decide
from proximity.model import Hours, Person, Preference
from proximity.people.facts import Happened, Profile
from tests.proximity.given import ANNA, COFFEE, NOON, candidate, rules, trigger, windows


class Value:
    """Something without a hash that can be watched."""

    def __init__(self, number: int) -> None:
        self.number = number

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return True


def test_it_is_worked_out_once_for_each_value_itself() -> None:
    calls: list[int] = []

    @recall.recall
    def doubled(value: Value) -> int:
        calls.append(value.number)
        return 2 * value.number

    one, other = Value(1), Value(2)
    assert [doubled(one), doubled(other), doubled(one), doubled(other)] == [2, 4, 2, 4]
    assert calls == [1, 2]


def test_what_was_made_of_two_is_that_of_these_two() -> None:
    @recall.recall_both
    def summed(one: Value, other: Value) -> int:
        return 10 * one.number + other.number

    one, other = Value(1), Value(2)
    assert [summed(one, other), summed(other, one), summed(one, other)] == [12, 21, 12]


def test_a_value_is_kept_as_long_as_its_result_and_all_go_when_there_are_too_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(recall, "_MOST", 3)

    @recall.recall
    def shown(value: Value) -> str:
        return str(value.number)

    @recall.recall_both
    def joined(one: Value, other: Value) -> str:
        return f"{one.number}{other.number}"

    first = Value(0)
    watched = weakref.ref(first)
    assert shown(first) == "0"
    assert joined(first, first) == "00"
    del first
    gc.collect()
    assert watched() is not None
    # However short a value lives, none takes another's place.
    assert [shown(Value(number)) for number in range(20)] == [str(number) for number in range(20)]
    assert [joined(Value(n), Value(n)) for n in range(9)] == [f"{n}{n}" for n in range(9)]
    gc.collect()
    assert watched() is None


def test_of_what_is_one_persons_own_few_are_kept() -> None:
    """Neither a year of purchases nor an erased person's attributes stay in memory for long."""
    watched = []
    for number in range(4 * recall.FEW):
        bought = Happened("purchase", NOON, {"product": f"p{number}"})
        profile = Profile(events=(bought,))
        person = replace(ANNA, attributes={"age_band": "18+", "number": number})
        campaign = replace(COFFEE, contrary=("p0",), contrary_count=1)
        one = candidate(
            campaign=campaign, rules=rules(campaign), person=person, profile=profile, now=NOON
        )
        assert decide(one).reason == ("affinity" if number == 0 else None)
        watched += [id(profile), id(person)]
        del one, profile, person
    gc.collect()
    alive = {id(one) for one in gc.get_objects() if isinstance(one, Profile | Person)}
    # As many of each as are kept, and those of the newest decision.
    assert len(alive.intersection(watched)) <= 2 * recall.FEW + 2


def test_a_zone_that_is_gone_is_not_mistaken_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """More names of zones than are kept pass by, and each look is at its own clock."""
    monkeypatch.setattr(timing, "load_zone", ZoneInfo.no_cache)
    monkeypatch.setattr(clocks, "_minute", clocks._minute.__wrapped__)
    night = windows("22:00-07:00")
    for number in range(200):
        name = ("Asia/Tokyo", "Europe/Paris", "America/New_York")[number % 3]
        is_quiet, because = timing.quiet(night, "marketing", name, NOON)
        assert (because["timezone"], is_quiet) == (name, name == "America/New_York")


def test_decisions_are_the_same_however_little_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates, "_MOST_KEPT", 1)
    monkeypatch.setattr(timing, "_MOST_LOOKS", 1)
    monkeypatch.setattr(wording, "_MOST_KEPT", 1)
    monkeypatch.setattr(recall, "_MOST", 1)
    some: list[Any] = []
    for number in range(4):
        campaign = replace(COFFEE, id=f"c{number}", hours=windows("08:00-13:00"))
        file = rules(campaign, quiet_hours=windows("22:00-07:00"))
        person = replace(ANNA, languages=("fr", "en")[: number % 3])
        some += [
            candidate(campaign=campaign, rules=file, person=person, now=NOON + n,
                      trigger=trigger(at=NOON))
            for n in range(3)
        ]  # fmt: skip
    assert [decide(one) for one in some] == [ask(one) for one in some]
    assert [decide(one) for one in some] == [decide(one) for one in some]


def test_service_takes_the_first_channel_whatever_the_person_wants() -> None:
    from proximity.gates.gates import consented_channel
    from proximity.model import Consent

    person = replace(
        ANNA, consents=(Consent(purpose="service"),),
        preferences=(Preference(channel="console", allow=False), Preference(allow=False, hours=(Hours("01:00", "02:00"),))),
    )  # fmt: skip
    service = replace(COFFEE, purpose="service", channels=("console", "webhook"))
    one = candidate(campaign=service, rules=rules(service), person=person)
    assert consented_channel(one)[0] == "console"
