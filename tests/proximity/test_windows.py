"""Weekly windows against an oracle that asks the wall clock minute by minute."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest

from proximity.windows import (
    Window,
    load_zone,
    local,
    local_text,
    next_time,
    parse_windows,
    period_start,
    within,
)
from tests.proximity.given import when, windows

PARIS = ZoneInfo("Europe/Paris")
ALL_ZONES = [
    "Europe/Paris", "America/St_Johns", "Pacific/Kiritimati", "Asia/Tokyo", "Australia/Lord_Howe",
]  # fmt: skip
# Noon before a day of 23 or 25 hours (24.5 and 23.5 at Lord Howe), and an ordinary day.
ODD_DAYS = [
    ("Europe/Paris", "2026-03-28 12:00"),
    ("Europe/Paris", "2026-10-24 12:00"),
    ("America/St_Johns", "2026-03-07 12:00"),
    ("America/St_Johns", "2026-10-31 12:00"),
    ("Australia/Lord_Howe", "2026-04-04 12:00"),
    ("Australia/Lord_Howe", "2026-10-03 12:00"),
    ("Pacific/Kiritimati", "2026-03-28 12:00"),
    ("Asia/Tokyo", "2026-10-24 12:00"),
]


def length_of_day_h(zone: str, day: str, next_day: str) -> float:
    return (when(f"{next_day} 00:00", zone) - when(f"{day} 00:00", zone)) / 3600


def test_the_odd_days_are_odd() -> None:
    assert length_of_day_h("Europe/Paris", "2026-03-29", "2026-03-30") == 23
    assert length_of_day_h("Europe/Paris", "2026-10-25", "2026-10-26") == 25
    assert length_of_day_h("America/St_Johns", "2026-03-08", "2026-03-09") == 23
    assert length_of_day_h("America/St_Johns", "2026-11-01", "2026-11-02") == 25
    assert length_of_day_h("Australia/Lord_Howe", "2026-04-05", "2026-04-06") == 24.5
    assert length_of_day_h("Australia/Lord_Howe", "2026-10-04", "2026-10-05") == 23.5


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        ("2026-01-05 07:59:59.999", False),
        ("2026-01-05 08:00", True),
        ("2026-01-05 10:59:59.999", True),
        ("2026-01-05 11:00", False),
        ("2026-01-07 09:00", False),  # a Wednesday
    ],
)
def test_a_window_begins_with_from_and_ends_before_to(text: str, inside: bool) -> None:
    assert within(windows("08:00-11:00", days=["mon", "tue"]), when(text), PARIS) is inside


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        ("2026-01-09 21:59", False),
        ("2026-01-09 22:00", True),  # Friday
        ("2026-01-10 01:59", True),  # the window of Friday, on Saturday
        ("2026-01-10 02:00", False),
        ("2026-01-10 22:30", False),  # Saturday has none
        ("2026-01-09 01:00", False),  # nor had Thursday
    ],
)
def test_over_midnight_the_days_are_those_it_begins_on(text: str, inside: bool) -> None:
    assert within(windows("22:00-02:00", days=["fri"]), when(text), PARIS) is inside


def test_sunday_night_runs_into_monday() -> None:
    assert within(windows("22:00-02:00", days=["sun"]), when("2026-01-12 01:00"), PARIS)


def test_2400_is_the_end_of_the_day_and_0000_after_from_as_well() -> None:
    for span in ("20:00-24:00", "20:00-00:00"):
        assert within(windows(span), when("2026-01-05 23:59:59"), PARIS)
        assert not within(windows(span), when("2026-01-06 00:00"), PARIS)


def test_a_window_whose_ends_are_alike_is_a_whole_day_from_there() -> None:
    whole = (Window((0,), 6 * 3600, 6 * 3600),)
    assert not within(whole, when("2026-01-05 05:59"), PARIS)
    assert within(whole, when("2026-01-05 06:00"), PARIS)
    assert within(whole, when("2026-01-06 05:59"), PARIS)
    assert not within(whole, when("2026-01-06 06:00"), PARIS)


def test_hours_are_those_of_the_zone_far_ahead_of_utc() -> None:
    # 8:30 on Monday in Tokyo and Kiritimati is still Sunday in UTC.
    monday = windows("08:00-09:00", days=["mon"])
    for zone in ("Asia/Tokyo", "Pacific/Kiritimati"):
        at = when("2026-01-05 08:30", zone)
        assert local(at, ZoneInfo("UTC")).weekday() == 6
        assert within(monday, at, ZoneInfo(zone))


def test_the_hour_that_spring_skips_is_in_no_window() -> None:
    skipped = windows("02:00-03:00", days=["sun"])
    before = when("2026-03-29 01:59:59")
    assert not within(skipped, before, PARIS)
    assert not within(skipped, before + 1, PARIS)
    # The next such hour is a week later.
    assert next_time(skipped, before, PARIS, inside=True) == when("2026-04-05 02:00")


def test_both_hours_of_autumn_are_in_the_window() -> None:
    hour = windows("02:00-03:00")
    for fold in (0, 1):
        assert within(hour, when("2026-10-25 02:30", fold=fold), PARIS)
    start = when("2026-10-25 02:00", fold=0)
    assert next_time(hour, start, PARIS, inside=False) == start + 7200


def test_a_quiet_end_in_the_skipped_hour_frees_when_the_clock_is_put_forward() -> None:
    quiet = windows("22:00-02:30")
    freed = next_time(quiet, when("2026-03-28 23:00"), PARIS, inside=False)
    assert freed == when("2026-03-29 03:00")
    assert freed == when("2026-03-29 01:59:59") + 1


def test_a_quiet_end_in_the_doubled_hour_frees_at_the_first_and_holds_again_after() -> None:
    quiet = windows("22:00-02:30")
    freed = next_time(quiet, when("2026-10-24 23:00"), PARIS, inside=False)
    assert freed == when("2026-10-25 02:30", fold=0)
    again = next_time(quiet, freed, PARIS, inside=True)
    assert again == when("2026-10-25 02:00", fold=1)


def test_lord_howe_puts_its_clock_back_by_half_an_hour() -> None:
    zone = "Australia/Lord_Howe"
    quiet = windows("22:00-01:45")
    freed = next_time(quiet, when("2026-04-04 23:00", zone), ZoneInfo(zone), inside=False)
    assert freed == when("2026-04-05 01:45", zone, fold=0)
    assert next_time(quiet, freed, ZoneInfo(zone), inside=True) == when(
        "2026-04-05 01:30", zone, fold=1
    )


@pytest.mark.parametrize(("zone", "noon"), ODD_DAYS)
@pytest.mark.parametrize(
    "spans",
    [["22:00-07:00"], ["00:00-02:15"], ["02:00-03:00"], ["01:35-01:50", "02:10-02:20"],
     ["23:30-01:40"]],
)  # fmt: skip
@pytest.mark.parametrize("inside", [True, False])
def test_next_time_is_the_first_minute_that_an_oracle_finds(
    zone: str, noon: str, spans: list[str], inside: bool
) -> None:
    spell, tz = windows(*spans), ZoneInfo(zone)
    start = when(noon, zone)
    for hour in range(0, 30, 3):
        at = start + hour * 3600
        found = next_time(spell, at, tz, inside=inside)
        minute = at
        while within(spell, minute, tz) is not inside:
            minute += 60
        assert found == minute


def test_next_time_from_a_fraction_of_a_second() -> None:
    at = when("2026-01-05 06:59:59") + 0.25
    assert next_time(windows("22:00-07:00"), at, PARIS, inside=False) == when("2026-01-05 07:00")
    assert next_time(windows("22:00-07:00"), at, PARIS, inside=True) == at


def test_never_is_none() -> None:
    always = windows("00:00-24:00")
    assert next_time(always, 0.0, PARIS, inside=False) is None
    assert next_time((), 0.0, PARIS, inside=True) is None


@pytest.mark.parametrize("zone", ALL_ZONES)
def test_zones_are_found(zone: str) -> None:
    assert load_zone(zone) is not None


@pytest.mark.parametrize(
    "name",
    [None, "", "localtime", "Mars/Olympus", "../../etc/passwd", "/etc/localtime", "Europe", "a\0b",
     "x" * 5000, "é"],
)  # fmt: skip
def test_what_is_no_zone_is_none(name: str | None) -> None:
    assert load_zone(name) is None


def test_a_table_alone_is_a_list_of_one() -> None:
    alone, problems = parse_windows({"from": "22:00", "to": "07:00"}, "quiet_hours")
    assert problems == []
    assert alone == (Window((0, 1, 2, 3, 4, 5, 6), 79200, 25200),)
    assert alone[0].to_record()["to"] == "07:00"


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("08:00-11:00", "hours: write a list of windows"),
        ([3], "hours: write a table such as"),
        ([{"from": "08:00"}], "hours: to must be a time of day"),
        ([{"from": "8:00", "to": "09:00"}], "hours: from must be a time of day"),
        ([{"from": "24:00", "to": "09:00"}], "hours: from cannot be 24:00"),
        ([{"from": "08:00", "to": "25:00"}], "hours: to must be a time of day"),
        ([{"from": "08:00", "to": "08:60"}], "hours: to must be a time of day"),
        ([{"from": "08:00\n", "to": "09:00"}], "hours: from must be a time of day"),
        ([{"from": "\u06608:00", "to": "09:00"}], "hours: from must be a time of day"),
        ([{"from": 8, "to": "09:00"}], "hours: from must be a time of day"),
        ([{"from": "08:00", "to": "08:00"}], "hours: from and to are alike"),
        ([{"from": "08:00", "to": "09:00", "days": ["monday"]}], "hours: days must be a list of"),
        ([{"from": "08:00", "to": "09:00", "days": []}], "hours: days must be a list of"),
        ([{"from": "08:00", "to": "09:00", "days": [1]}], "hours: days must be a list of"),
        ([{"from": "08:00", "to": "09:00", "day": []}], "hours: unknown key 'day'"),
        ([{"from": "08:00", "to": "09:00"}] * 65, "hours: 65 windows are too many"),
    ],
)
def test_what_is_no_window_is_named(value: object, problem: str) -> None:
    found, problems = parse_windows(value, "hours")
    assert found == ()
    assert len(problems) == 1
    assert problems[0].startswith(problem)


def test_every_problem_of_every_window_is_named() -> None:
    found, problems = parse_windows(
        [{"from": "x", "to": "y"}, {"from": "01:00", "to": "02:00"}, {"days": [], "too": 1}],
        "hours",
    )
    assert len(found) == 1
    assert [p.partition(":")[0] for p in problems] == ["hours, window 1"] * 2 + [
        "hours, window 3"
    ] * 4


def test_the_end_of_the_calendar_raises_nothing() -> None:
    last = 253402300799.0
    for zone in ALL_ZONES:
        assert next_time(windows("00:00-24:00"), last, ZoneInfo(zone), inside=True) == last
        assert next_time((), last, ZoneInfo(zone), inside=True) is None


@pytest.mark.parametrize(
    ("zone", "at", "text"),
    [
        ("Asia/Tokyo", "2026-01-06 20:00:00", "tue 2026-01-06 20:00:00+0900"),
        ("America/St_Johns", "2026-01-06 07:30:59.9", "tue 2026-01-06 07:30:59-0330"),
        ("Pacific/Kiritimati", "2026-01-01 00:00:01", "thu 2026-01-01 00:00:01+1400"),
        # Liberia's clocks were 44 minutes and 30 seconds behind Greenwich until 1972.
        ("Africa/Monrovia", "1971-05-03 12:00:15", "mon 1971-05-03 12:00:15-004430"),
    ],
)
def test_what_the_wall_shows_is_written_to_the_second(zone: str, at: str, text: str) -> None:
    found = load_zone(zone)
    assert found is not None
    moment = when(at, zone)
    assert local_text(moment, found) == text
    shown = local(moment, found)
    span = windows(f"{shown:%H:%M}-23:59")
    assert within(span, moment, found)
    start = when(f"{shown:%Y-%m-%d %H:%M}", zone)
    assert within(span, start, found)
    assert not within(span, start - 0.001, found)


def test_how_far_ahead_is_looked() -> None:
    zone = load_zone("Europe/Paris")
    assert zone is not None
    never = windows("02:10-02:20", days=["sun"])
    at = when("2026-03-28 12:00")
    # That Sunday skips it; the week after has it.
    assert next_time(never, at, zone, inside=True) == when("2026-04-05 02:10")
    assert next_time(never, at, zone, inside=True, before=when("2026-04-05 02:10")) is None
    assert next_time(never, at, zone, inside=True, before=at) is None


@pytest.mark.parametrize("period", ["hour", "day", "week", "month"])
def test_a_period_begins_once_and_lasts_until_the_next(period: str) -> None:
    zone = load_zone("America/St_Johns")
    assert zone is not None
    at = when("2026-03-08 12:34:56", "America/St_Johns")
    start = period_start(period, at, zone)
    assert start <= at
    assert period_start(period, start, zone) == start
    assert period_start(period, start - 0.001, zone) < start
