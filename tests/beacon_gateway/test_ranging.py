"""Levels from readings: fast enough for a walker, calm enough for one who stands still."""

from __future__ import annotations

import math

import msgspec
import pytest

from beacon_gateway.ranging import (
    FILTERS,
    FLOOR_DBM,
    NOISE_DB2,
    Level,
    blend,
    ewma,
    join,
    kalman,
    newest,
    usual,
)

NOW = 1767225600.0


def follow(name: str, readings: list[float], every_s: float, level: Level | None = None) -> Level:
    start = NOW if level is None else level.last + every_s
    for number, reading in enumerate(readings):
        level = FILTERS[name](level, reading, start + number * every_s)
    assert level is not None
    return level


@pytest.mark.parametrize("name", FILTERS)
def test_the_first_reading_is_the_level_and_a_constant_stays(name: str) -> None:
    first = FILTERS[name](None, -70.0, NOW)
    assert first == Level(-70.0, NOISE_DB2, NOW, 1, 0.0)
    level = follow(name, [-70.0] * 20, 0.5)
    assert level.dbm == pytest.approx(-70.0)
    assert level.heard == 20
    assert level.last == NOW + 9.5
    assert level.spread_db2 <= NOISE_DB2
    assert level.interval_s == pytest.approx(0.5)


@pytest.mark.parametrize(("every_s", "gain"), [(0.1, 0.14), (0.5, 0.28), (1.4, 0.42)])
def test_the_steady_gain_fits_the_rate(every_s: float, gain: float) -> None:
    """What the same numbers amount to at ten, two and 0.7 readings a second."""
    calm = follow("kalman", [-70.0] * 200, every_s)
    after = kalman(calm, -60.0, calm.last + every_s)
    assert (after.dbm - calm.dbm) / 10.0 == pytest.approx(gain, abs=0.01)


def test_a_silence_makes_the_next_reading_count_but_not_alone() -> None:
    calm = follow("kalman", [-70.0] * 50, 0.5)
    for silence in (5.0, 50.0, 5000.0):
        after = kalman(calm, -60.0, calm.last + silence)
        assert 0.5 < (after.dbm - calm.dbm) / 10.0 < 0.7


def test_the_spread_is_that_of_the_filters_own_equations() -> None:
    level = kalman(Level(-70.0, 9.0, NOW), -60.0, NOW + 2.0)
    spread = 9.0 + 8.0 * 2.0
    assert level.spread_db2 == pytest.approx(spread * 36.0 / (spread + 36.0))
    assert level.dbm == pytest.approx(-70.0 + 10.0 * spread / (spread + 36.0))


def test_an_exponential_mean_goes_by_time_and_not_by_packets() -> None:
    once = ewma(Level(-70.0, 0.0, NOW), -60.0, NOW + 1.5)
    assert once.dbm == pytest.approx(-60.0 - 10.0 / math.e)
    often = follow("ewma", [-60.0] * 15, 0.1, Level(-70.0, 0.0, NOW))
    assert often.dbm == pytest.approx(once.dbm)
    assert once.spread_db2 > 0.0


def test_the_newest_reading_is_taken_as_it_is() -> None:
    assert newest(Level(-70.0, 0.0, NOW), -41.0, NOW + 1.0).dbm == -41.0


def test_a_level_goes_stale_after_some_missed_intervals_of_its_own() -> None:
    quick = follow("kalman", [-70.0] * 10, 0.2)
    assert not quick.stale(quick.last + 6.9)  # a scanner that rests for five seconds is no news
    assert quick.stale(quick.last + 7.1)
    slow = follow("kalman", [-70.0] * 10, 10.0)
    assert not slow.stale(slow.last + 40.0)
    assert slow.stale(slow.last + 41.0)


def test_what_is_heard_anew_is_counted_anew() -> None:
    level = follow("kalman", [-70.0] * 10, 0.2)
    assert kalman(level, -70.0, level.last + 4.0).heard == 11
    back = kalman(level, -70.0, level.last + 3600.0)
    assert back.heard == 1
    assert back.interval_s == level.interval_s  # an hour is absence, no interval
    # That a tag is slow is known from its second reading; from then on it counts.
    assert [follow("kalman", [-70.0] * n, 10.0).heard for n in (1, 2, 3, 4)] == [1, 1, 2, 3]


def test_a_tag_that_was_away_has_not_become_a_slow_one() -> None:
    level = follow("kalman", [-70.0] * 10, 0.5)
    back = kalman(level, -70.0, level.last + 50.0)
    assert back.interval_s < 1.0
    slower = follow("kalman", [-70.0] * 20, 2.0, back)
    assert slower.interval_s == pytest.approx(2.0, rel=0.05)


def test_the_usual_interval_follows_what_is_reported() -> None:
    assert usual(0.0, 3.0) == 3.0
    assert usual(3.0, 0.0) == 3.0  # another receiver, or the same packet again
    assert usual(3.0, 60.0) == 3.0
    assert usual(1.0, 2.0) == pytest.approx(1.2)
    assert usual(1.0, 50.0) == pytest.approx(1.6)


def test_a_reading_of_an_earlier_time_does_no_harm() -> None:
    level = follow("kalman", [-70.0] * 10, 0.2)
    for name in FILTERS:
        after = FILTERS[name](level, -60.0, level.last - 100.0)
        assert after.last == level.last
        assert math.isfinite(after.dbm)


def test_receivers_are_joined_between_the_loudest_and_the_mean() -> None:
    assert join([-60.0], 1) == pytest.approx(-60.0)
    assert join([-60.0, -60.0], 2) == pytest.approx(-60.0)
    both = join([-60.0, -80.0], 2)
    assert -70.0 < both < -60.0
    assert both == pytest.approx(6.0 * math.log((math.exp(-10.0) + math.exp(-80.0 / 6.0)) / 2.0))
    assert join([-60.0], 2) == pytest.approx(join([-60.0, FLOOR_DBM], 2))
    assert join([], 3) == FLOOR_DBM
    assert join([], 0) == FLOOR_DBM
    assert join([-60.0], 0) == pytest.approx(-60.0)  # heard by one that the site has lost since
    assert join([-60.0, -71.3, -80.0], 5) == join([-80.0, -60.0, -71.3], 5)


def test_a_joint_level_is_surer_than_each_of_its_receivers() -> None:
    assert blend([(-60.0, 9.0)], 1) == pytest.approx((-60.0, 9.0))
    assert blend([(-60.0, 9.0), (-60.0, 9.0)], 2) == pytest.approx((-60.0, 4.5))
    # One that hardly counts makes it no surer, and one that is silent adds no doubt.
    assert blend([(-60.0, 9.0), (-95.0, 9.0)], 2)[1] == pytest.approx(9.0, rel=0.02)
    assert blend([(-60.0, 9.0)], 2)[1] == pytest.approx(9.0, rel=0.01)
    assert blend([], 2) == (FLOOR_DBM, 0.0)


def test_a_level_packs_as_plain_numbers() -> None:
    level = follow("kalman", [-70.0, -65.0], 0.5)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(level), type=Level) == level
    assert isinstance(msgspec.to_builtins(level), tuple | list)
