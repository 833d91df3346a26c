"""Readings in, rows out."""

from __future__ import annotations

import pytest

from beacon_gateway.around import FORGET_S, MAX_ROWS, Around, named, table
from beacon_gateway.model import Beacon

UUID = "f7826da6-4fa2-4e98-8024-bc5b71e0893e"


def tag(minor: int) -> Beacon:
    return Beacon(format="ibeacon", uuid=UUID, major=1, minor=minor, power_dbm=-59)


def test_the_loudest_comes_first_with_its_level_and_rate() -> None:
    around = Around()
    for second in range(21):
        around.take(tag(7), -80.0 + (second % 2), 100.0 + second)
        around.take(tag(8), -60.0, 100.0 + second / 2)
    near, far = around.rows(120.0)
    assert (near.beacon, far.beacon) == (tag(8), tag(7))
    assert near.level_dbm == pytest.approx(-60.0)
    assert far.level_dbm == pytest.approx(-79.5, abs=0.5)
    assert far.per_s == pytest.approx(1.0)
    assert near.age_s == 10.0
    assert far.jsonable() == {
        "beacon": {"format": "ibeacon", "uuid": UUID, "major": 1, "minor": 7, "power_dbm": -59},
        "level_dbm": round(far.level_dbm, 1),
        "spread_db": round(far.spread_db, 1),
        "rssi_dbm": -80.0,
        "per_s": 1.0,
        "age_s": 0.0,
        "listed": True,
    }


def test_a_beacon_is_forgotten_and_memory_is_bounded() -> None:
    around = Around()
    around.take(tag(1), -60.0, 0.0)
    assert len(around.rows(FORGET_S)) == 1
    assert around.rows(FORGET_S + 0.1) == []
    for minor in range(MAX_ROWS + 5):
        around.take(tag(minor), -60.0, 100.0)
    minors = {row.beacon.minor for row in around.rows(100.0)}
    assert minors == set(range(5, MAX_ROWS + 5))


def test_a_name_is_one_word() -> None:
    assert named(tag(7)) == f"{UUID}/1/7"
    assert named(Beacon(format="eddystone-uid", namespace="ab" * 10, instance="cd" * 6)) == (
        f"{'ab' * 10}/{'cd' * 6}"
    )
    assert named(Beacon(format="eddystone-tlm")) == "eddystone-tlm"


def test_a_table_fits_its_terminal() -> None:
    around = Around()
    around.take(tag(7), -40.0, 1.0)
    around.take(
        Beacon(format="eddystone-url", url="https://" + "a" * 80), -100.0, 1.0, listed=False
    )
    head, near, far = table(around.rows(1.0))
    assert head.split() == ["beacon", "level", "±", "last", "per", "s", "age"]
    assert near.startswith(f"{UUID}/1/7")
    assert near.endswith("█" * 20)
    assert far.endswith("not enrolled")
    assert all(len(line) <= 60 for line in table(around.rows(1.0), 60))
    assert table([]) == [head]
