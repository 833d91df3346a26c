"""Fixes packed, and the records of one subject in order."""

from __future__ import annotations

import random

import pytest

from proximity.engine.trail import (
    ROW_BYTES,
    Columns,
    History,
    newest_of,
    order,
    pack_sign,
    point_of,
    row_of,
    sign_of,
    spot_of,
)
from proximity.model import Fix
from tests.street import fix, heard


@pytest.mark.parametrize("accuracy_m", [None, 8.3])
def test_a_plain_fix_is_a_row(accuracy_m: float | None) -> None:
    one = fix(1000.25, 20.0, 25.0, accuracy_m=accuracy_m)
    row = row_of(one)
    assert row is not None
    assert len(row) == ROW_BYTES
    assert point_of(row) == (1000.25, one.lon, one.lat, accuracy_m or 0.0)
    assert spot_of(one) == row
    assert (newest_of(row), sign_of(row, 0)) == (1000.25, None)


@pytest.mark.parametrize(
    "more",
    [
        {"altitude_m": 1.0}, {"floor": 1.0}, {"speed_mps": 1.0}, {"course_deg": 1.0},
        {"motion": "still"}, {"mock": True},
    ],
)  # fmt: skip
def test_a_fix_that_says_more_is_none(more: dict[str, object]) -> None:
    assert row_of(fix(1000, 0, 0, **more)) is None


def test_an_id_and_a_time_of_arrival_are_not_kept() -> None:
    assert row_of(fix(1000, 0, 0, id="a", received_at=1001.0)) == row_of(fix(1000, 0, 0))


def test_a_sign_is_no_fix() -> None:
    sign = pack_sign(1000.0, 7.0)
    assert (len(sign), newest_of(sign), sign_of(sign, 0)) == (ROW_BYTES, 1000.0, 7.0)


def test_columns_are_the_fields_of_fixes() -> None:
    plain = [fix(1000, 0, 0, "a"), fix(1001, 1, 0, "b", accuracy_m=None, received_at=1005.0)]
    columns = Columns.of(plain)
    assert columns.subjects == ("a", "b")
    assert columns.rows == [row_of(one) for one in plain]
    assert columns.ats.tolist() == [1000.0, 1001.0]
    assert columns.arrivals().tolist() == [1000.0, 1005.0]
    assert columns.lons.tolist() == [one.lon for one in plain]
    mixed = [*plain, fix(1002, 0, 0, mock=True)]
    assert Columns.of(mixed).rows == [*columns.rows, None]


def test_a_history_keeps_records_in_order() -> None:
    records = [
        *(fix(1000.0 + n, n, 0) for n in range(10)),
        *(fix(1000.0 + n, n, 0, speed_mps=1.0) for n in range(0, 10, 2)),
        *(heard(1000.5 + n, "gw-bar") for n in range(5)),
    ]
    random.Random(1).shuffle(records)
    past = History()
    for record in records:
        past.insert(record, "s0")
    assert [past.record(n, "s0") for n in range(len(past))] == sorted(records, key=order)
    past.append(fix(2000, 0, 0))
    past.append(fix(2001, 0, 0, floor=2.0))
    past.drop(len(past) - 1)
    assert len(past) == len(past.others) == 1
    left = past.record(0, "s0")
    assert isinstance(left, Fix)
    assert left.floor == 2.0
    past.drop(1)
    assert (len(past), past.others) == (0, {})
