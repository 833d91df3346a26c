"""What is due later, day-parts on two clocks, quiet hours with holidays, ends before the window."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from msgspec.structs import replace

from proximity.campaigns.calendars import Calendar
from proximity.campaigns.campaigns import NOWHERE, Daypart
from proximity.gates.gates import Candidate, decide, make_offer
from proximity.model import Consent, GateResult, Hours, Preference, Verdict
from proximity.windows import Window
from tests.proximity.given import ANNA, CAFE, COFFEE, NOON, candidate, rules, trigger, when, windows


def gate(one: Candidate, name: str) -> GateResult:
    return next(g for g in decide(one).gates if g.gate == name)


# -- due later -----------------------------------------------------------------------------------


def test_a_reminder_is_as_old_as_it_is_due_and_worth_nothing_after_the_time_itself() -> None:
    told = NOON - 86400.0
    reminder = trigger(
        kind="event", source="event", at=told, decided_at=told, evidence_at=told, due_at=NOON,
        until=NOON + 3600.0,
    )  # fmt: skip
    one = candidate(trigger=reminder)
    assert decide(one).reason is None
    assert gate(one, "stale").because == {
        "at": "2026-01-05T11:00:00.000Z", "age_s": 0.0, "max_age_s": 120.0,
        "due_at": "2026-01-06T11:00:00.000Z", "until": "2026-01-06T12:00:00.000Z",
    }  # fmt: skip
    assert make_offer(one).expires_at == NOON + 120.0
    long = replace(COFFEE, max_age_s=86400.0)
    assert make_offer(replace(one, campaign=long)).expires_at == NOON + 3600.0
    assert decide(replace(one, now=NOON + 121.0)).reason == "stale"
    assert decide(replace(one, campaign=long, now=NOON + 3599.0)).reason is None
    assert decide(replace(one, campaign=long, now=NOON + 3600.0)).reason == "stale"


def test_nothing_is_put_off_until_it_is_worth_nothing() -> None:
    late = when("2026-01-06 23:00")
    campaign = replace(COFFEE, defer=True)
    due = trigger(at=late, due_at=late, until=when("2026-01-07 07:00"))
    one = candidate(
        trigger=due, campaign=campaign, now=late, rules=rules(quiet_hours=windows("22:00-07:00"))
    )
    assert decide(one).decision is Verdict.SUPPRESS
    later = replace(one, trigger=replace(due, until=when("2026-01-07 07:01")))
    assert decide(later).until == when("2026-01-07 07:00")


# -- day-parts: no coffee coupon at 23:00 ----------------------------------------------------------


def part(span: str, clock: Any = "both", **options: Any) -> Daypart:
    return Daypart(replace(windows(span)[0], **options), clock)


def coffee_time(
    text: str, zone: str = "Europe/Madrid", *parts: Daypart, **changes: Any
) -> Candidate:
    now = when(text, zone)
    fields: dict[str, Any] = {
        "campaign": replace(COFFEE, dayparts=parts or (part("07:00-11:00"),)),
        "place": replace(CAFE, timezone="Europe/Madrid"),
        "person": replace(ANNA, timezone="Europe/Madrid"),
        "trigger": trigger(at=now), "now": now,
    }  # fmt: skip
    return candidate(**fields | changes)


def test_no_coffee_coupon_at_eleven_at_night() -> None:
    assert decide(coffee_time("2026-01-06 23:00")).reason == "offer_window"
    assert decide(coffee_time("2026-01-06 07:00")).reason is None
    assert decide(coffee_time("2026-01-06 11:00")).reason == "offer_window"
    assert gate(coffee_time("2026-01-06 23:00"), "daypart").because == {
        "person": "tue 2026-01-06 23:00:00+0100", "place": "tue 2026-01-06 23:00:00+0100",
        "dayparts": [{"days": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"], "from": "07:00",
                      "to": "11:00", "clock": "both"}],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("clock", "person", "place", "passed"),
    [
        ("both", "Europe/Madrid", "Europe/Madrid", True),
        ("both", "Asia/Tokyo", "Europe/Madrid", False),  # late afternoon for whoever travels
        ("both", "Europe/Madrid", "Asia/Tokyo", False),
        ("place", "Asia/Tokyo", "Europe/Madrid", True),
        ("person", "Asia/Tokyo", "Europe/Madrid", False),
        ("person", "Europe/Madrid", "Asia/Tokyo", True),
        ("both", None, "Europe/Madrid", True),  # then the place's
        ("both", "Mars/Olympus", "Europe/Madrid", False),
        ("place", "Mars/Olympus", "Europe/Madrid", True),
        ("place", "Europe/Madrid", None, False),
        ("person", None, None, False),
    ],
)
def test_a_day_part_is_on_the_clocks_that_it_names(
    clock: Any, person: str | None, place: str | None, passed: bool
) -> None:
    one = coffee_time(
        "2026-01-06 09:00", "Europe/Madrid", part("07:00-11:00", clock),
        person=replace(ANNA, timezone=person), place=replace(CAFE, timezone=place),
    )  # fmt: skip
    assert gate(one, "daypart").passed is passed


@pytest.mark.parametrize("clock", ["both", "place", "person"])
def test_nowhere_there_is_the_person_s_clock_alone(clock: Any) -> None:
    one = coffee_time(
        "2026-01-06 09:00", "Europe/Madrid", part("07:00-11:00", clock), place=NOWHERE
    )
    assert gate(one, "daypart").passed
    assert set(gate(one, "daypart").because) == {"person", "dayparts"}


def test_any_of_several_day_parts_will_do() -> None:
    parts = (part("07:00-11:00"), part("15:00-17:00", "place"))
    assert decide(coffee_time("2026-01-06 16:00", "Europe/Madrid", *parts)).reason is None
    assert decide(coffee_time("2026-01-06 12:00", "Europe/Madrid", *parts)).reason == "offer_window"


# -- quiet hours: several windows, weekdays, holidays ---------------------------------------------

SUNDAYS = windows("00:00-24:00", days=["sun"])
NAPS = windows("14:00-16:00")
NIGHTS = windows("22:00-07:00")
HOLIDAYS = tuple(replace(one, holidays=True) for one in windows("00:00-24:00"))
FRANCE = Calendar("FR", frozenset({date(2026, 12, 24).toordinal()}))


def quiet_at(
    text: str, *every: tuple[Window, ...], zone: str = "Europe/Paris", **changes: Any
) -> Candidate:
    now = when(text, zone)
    campaign = replace(COFFEE, defer=True, ttl_s=changes.pop("ttl_s", None))
    file = rules(campaign, quiet_hours=sum(every, ()), holidays=FRANCE)
    return candidate(
        trigger=trigger(at=now), now=now, campaign=campaign, rules=file,
        person=replace(ANNA, timezone=zone), **changes,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("at", "until"),
    [
        ("2026-01-06 12:00", None),
        ("2026-01-06 14:00", "2026-01-06 16:00"),  # the nap
        ("2026-01-06 16:00", None),
        ("2026-01-06 23:00", "2026-01-07 07:00"),
        ("2026-01-10 23:00", "2026-01-12 07:00"),  # Saturday night, all of Sunday, Sunday night
        ("2026-01-11 12:00", "2026-01-12 07:00"),
        ("2026-07-14 12:00", "2026-07-15 07:00"),  # the fourteenth of July
        ("2026-07-13 23:00", "2026-07-15 07:00"),
        ("2026-12-24 12:00", "2026-12-26 07:00"),  # a day of our own, then Christmas
        ("2027-07-14 12:00", "2027-07-15 07:00"),  # whatever the year
    ],
)
def test_quiet_windows_join_weekdays_and_holidays(at: str, until: str | None) -> None:
    decision = decide(quiet_at(at, NIGHTS, NAPS, SUNDAYS, HOLIDAYS))
    assert decision.until == (None if until is None else when(until))
    assert (decision.decision is Verdict.SEND) == (until is None)


def test_a_window_may_leave_holidays_out() -> None:
    morning = tuple(replace(one, holidays=False) for one in windows("06:00-10:00"))
    assert decide(quiet_at("2026-07-13 09:00", morning)).until == when("2026-07-13 10:00")
    assert decide(quiet_at("2026-07-14 09:00", morning)).decision is Verdict.SEND


def test_over_midnight_it_is_the_day_on_which_it_begins_that_counts() -> None:
    eve = tuple(replace(one, holidays=True) for one in windows("20:00-10:00"))
    assert decide(quiet_at("2026-07-15 09:00", eve)).until == when("2026-07-15 10:00")
    assert decide(quiet_at("2026-07-14 09:00", eve)).decision is Verdict.SEND
    assert decide(quiet_at("2026-07-14 21:00", eve)).until == when("2026-07-15 10:00")


@pytest.mark.parametrize(
    ("at", "every", "ends"),
    [
        ("2026-01-06 12:00", (NIGHTS, NAPS), "2026-01-06 14:00"),
        ("2026-01-06 17:00", (NIGHTS, NAPS), "2026-01-06 22:00"),
        ("2026-01-10 12:00", (SUNDAYS,), "2026-01-11 00:00"),
        ("2026-07-12 12:00", (HOLIDAYS,), "2026-07-14 00:00"),
        ("2026-05-26 12:00", (HOLIDAYS,), "2026-07-14 00:00"),  # seven weeks ahead
        ("2026-01-06 12:00", (windows("12:00-12:01", days=["mon"]),), "2026-01-12 12:00"),
    ],
)
def test_an_offer_is_good_until_the_next_quiet_window_at_the_latest(
    at: str, every: tuple[tuple[Window, ...], ...], ends: str
) -> None:
    one = quiet_at(at, *every, ttl_s=365 * 86400.0)
    assert make_offer(one).expires_at == when(ends)
    assert make_offer(quiet_at(at, *every, ttl_s=60.0)).expires_at == when(at) + 60.0
    service = replace(one.campaign, purpose="service")
    person = replace(ANNA, consents=(Consent(purpose="service"),))
    served = replace(one, campaign=service, person=person)
    assert make_offer(served).expires_at == when(at) + 365 * 86400.0


# The clock is put forward or back; the offer made the evening before ends with the evening.
@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Paris", "2026-03-29", 23), ("Europe/Paris", "2026-10-25", 25),
        ("America/St_Johns", "2026-03-08", 23), ("America/St_Johns", "2026-11-01", 25),
        ("Australia/Lord_Howe", "2026-04-05", 24.5), ("Australia/Lord_Howe", "2026-10-04", 23.5),
        ("Pacific/Kiritimati", "2026-03-29", 24), ("Asia/Tokyo", "2026-10-25", 24),
    ],
)  # fmt: skip
def test_days_of_every_length_in_zones_ahead_of_utc_and_behind(
    zone: str, day: str, hours: float
) -> None:
    midnight = when(f"{day} 00:00", zone)
    weekday = windows("00:00-24:00", days=[["mon", "tue", "wed", "thu", "fri", "sat", "sun"][
        date.fromisoformat(day).weekday()]])  # fmt: skip
    decision = decide(quiet_at(f"{day} 00:00", weekday, zone=zone))
    assert decision.until == midnight + hours * 3600.0
    one = quiet_at(f"{day} 00:00", weekday, zone=zone)
    before = replace(one, now=midnight - 1.0, trigger=trigger(at=midnight - 1.0))
    assert decide(before).decision is Verdict.SEND
    assert (
        make_offer(replace(before, campaign=replace(before.campaign, ttl_s=9e4))).expires_at
        == midnight
    )


def test_a_night_of_the_person_s_own_joins_the_file_s() -> None:
    one = quiet_at("2026-01-06 23:00", NIGHTS)
    own = Preference(allow=False, hours=(Hours("06:00", "09:00"),))
    one = replace(one, person=replace(one.person, preferences=(own,)))
    assert decide(one).until == when("2026-01-07 09:00")


def test_a_reminder_passes_quiet_hours() -> None:
    one = quiet_at("2026-01-06 23:00", NIGHTS)
    person = replace(ANNA, consents=(Consent(purpose="reminder"),))
    reminder = replace(one, campaign=replace(one.campaign, purpose="reminder"), person=person)
    assert decide(reminder).decision is Verdict.SEND


def test_the_same_windows_are_looked_at_once_and_never_mistaken() -> None:
    # Kept by identity and instant: another instant, zone, calendar or window is another look.
    one = quiet_at("2026-07-14 12:00", HOLIDAYS)
    assert decide(one).reason == "quiet_hours"
    assert decide(one).gates[-4].because is decide(one).gates[-4].because
    assert decide(replace(one, rules=replace(one.rules, holidays=Calendar()))).reason is None
    assert (
        decide(replace(one, now=one.now + 86400.0, trigger=trigger(at=one.now + 86400.0))).reason
        is None
    )
    tokyo = replace(one.person, timezone="Asia/Tokyo")
    assert "+0900" in gate(replace(one, person=tokyo), "quiet_hours").because["local"]
