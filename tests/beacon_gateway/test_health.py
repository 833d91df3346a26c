"""Health: numbers of the last minute, bounded memory, and the verdict on throttled levels."""

from __future__ import annotations

import json
import random

import pytest

from beacon_gateway import health
from beacon_gateway.health import STEPS_ENOUGH, AdapterHealth, Health
from tests.bluez.timeless import Timeless


@pytest.fixture
def time() -> Timeless:
    return Timeless()


def test_it_begins_with_nothing(time: Timeless) -> None:
    said = Health(time.mono).snapshot()
    assert said["advertisements_per_s"] == 0.0
    assert said["last_s"] is None
    assert said["rssi_throttled"] is None
    assert said["beacons"] == said["unlisted"] == said["restarts"] == 0


def test_rates_are_of_the_last_minute_and_ages_of_now(time: Timeless) -> None:
    told = Health(time.mono)
    for number in range(300):
        time.now += 0.1
        told.heard(f"radio {number % 7}", time.now)
        told.kept(number % 3, -60, time.now)
        told.unlisted(number % 5, time.now)
    said = told.snapshot()
    assert said["advertisements_per_s"] == pytest.approx(10.0, abs=0.4)
    assert (said["radios"], said["beacons"], said["unlisted"]) == (7, 3, 5)
    time.now += 45.0
    said = told.snapshot()
    assert said["advertisements_per_s"] == pytest.approx(15 * 10 / 60, abs=0.3)
    assert said["last_s"] == 45.0
    time.now += 120.0
    said = told.snapshot()
    assert said["advertisements_per_s"] == 0.0
    assert (said["radios"], said["beacons"], said["unlisted"]) == (0, 0, 0)


def test_a_snapshot_is_json_and_holds_what_others_add(time: Timeless) -> None:
    told = Health(time.mono)
    told.adapters["a"] = AdapterHealth("00:1A:7D:DA:71:01", "hci0", "hearing", 2, time.now - 3.0)
    told.adapters["a"].dropped["empty"] += 4
    told.parts["spool"] = {"rows": 7}
    said = json.loads(json.dumps(told.snapshot()))
    assert said["restarts"] == 2
    assert said["spool"] == {"rows": 7}
    assert said["adapters"] == [
        {
            "address": "00:1A:7D:DA:71:01",
            "name": "hci0",
            "state": "hearing",
            "restarts": 2,
            "last_s": 3.0,
            "trouble": None,
            "dropped": {"empty": 4},
        }
    ]


def test_a_hundred_thousand_passers_by_leave_neither_bytes_nor_names(time: Timeless) -> None:
    told = Health(time.mono)
    for number in range(100_000):
        time.now += 0.001
        address = f"7A:{number >> 16:02X}:{number >> 8 & 255:02X}:{number & 255:02X}:00:01"
        told.heard(address, time.now)
        told.unlisted(("ibeacon", address), time.now)
    assert "7A:" not in json.dumps(told.snapshot())
    kept = [told._radios._met, told._unlisted._met]
    assert all(len(one) <= health.MOST_DIFFERENT for one in kept)
    assert all(isinstance(thing, int) for one in kept for thing in one)
    assert len(told._counts) <= health.WINDOW_S


def judge(levels: list[list[float]], *, throttled: bool) -> bool | None:
    """Judge tags by their levels, handed on as BlueZ does where it throttles, or all of them."""
    told = Health(lambda: 0.0)
    for tag, series in enumerate(levels):
        reported: int | None = None
        for level in series:
            rssi = max(-119, min(-1, round(level)))
            if not throttled or reported is None or abs(rssi - reported) >= 8:
                reported = rssi
            told.kept(tag, reported, 0.0)
    return told.rssi_throttled


@pytest.mark.parametrize("throttled", [True, False])
@pytest.mark.parametrize("spread_db", [2.0, 3.5, 5.0, 7.0])
@pytest.mark.parametrize("walk_db", [0.0, 3.0])
def test_throttled_levels_are_told_from_true_ones(
    spread_db: float, walk_db: float, throttled: bool
) -> None:
    """Spreads as measured on still phones and on carried beacons; the carrier walks as well."""
    for seed in range(50):
        draw = random.Random(seed)
        levels = []
        for _ in range(3):
            mean, series = -75.0, []
            for _ in range(400):
                mean = min(-55.0, max(-95.0, mean + draw.gauss(0.0, walk_db)))
                series.append(draw.gauss(mean, spread_db))
            levels.append(series)
        verdict = judge(levels, throttled=throttled)
        # So little change that a throttled stack hardly reports any: no verdict, never a wrong one.
        assert verdict is throttled or (throttled and spread_db < 3.0 and verdict is None)


def test_a_tag_that_always_sounds_the_same_gives_no_verdict() -> None:
    assert judge([[-60.0] * 1000], throttled=False) is None


def test_two_receivers_of_one_tag_are_no_steps_of_it() -> None:
    told = Health(lambda: 0.0)
    for _ in range(4 * STEPS_ENOUGH):
        told.kept("tag", -60, 0.0, "one")
        told.kept("tag", -63, 0.0, "two")
    assert told.rssi_throttled is None
