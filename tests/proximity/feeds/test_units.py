import math

import pytest

from proximity.feeds.units import (
    KMH_MPS,
    KNOT_MPS,
    flag,
    known,
    moment,
    motion,
    number,
    position,
    text,
)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, 1.0), ("1.5", 1.5), (" 2 ", 2.0), ("-3e2", -300.0),
        (None, None), ("", None), ("null", None), (True, None), ("x", None), ([1], None),
        ("nan", None), (math.inf, None), ("1e999", None), (10**400, None), ("1" * 41, None),
    ],
)  # fmt: skip
def test_number(value, expected):
    assert number(value) == expected


def test_units_of_speed():
    assert known("40", KNOT_MPS) == pytest.approx(20.5778, abs=1e-4)
    assert known(61, KMH_MPS) == pytest.approx(16.9444, abs=1e-4)
    assert known(-1, KMH_MPS) is None
    assert known(0) == 0.0


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1377177267, 1377177267.0),
        ("1442068686579", 1442068686.579),
        (1442068686579000, 1442068686.579),
        ("1442068686579000000", 1442068686.579),
        ("1767225600000", 1767225600.0),  # seconds with GPSLogger's 000 behind them
        ("2016-01-27T18:55:47Z", 1453920947.0),
        ("2014-06-04 09:10:11", 1401873011.0),
        ("2015-10-01T08:00:00-0700", 1443711600.0),
        ("2016-01-27T18:55:47 02:00", 1453913747.0),  # a plus that a query made a space
        ("2016-01-27T18:55:47.5 0200", 1453913747.5),
        ("2019-01-25 20:00:16.178999901", 1548446416.178999),
        ("", None), ("null", None), (None, None),
    ],
)  # fmt: skip
def test_moment(value, expected):
    assert moment(value) == (None if expected is None else pytest.approx(expected, abs=1e-6))


@pytest.mark.parametrize("value", ["yesterday", "9" * 60 + "x", "2026-13-01T00:00:00Z", True, []])
def test_what_is_no_time_says_so(value):
    with pytest.raises(ValueError, match="is no time"):
        moment(value)


def test_text():
    assert [text(v) for v in (" a ", 42, "", "null", "NULL", None, True, 1.5, 10**40)] == [
        "a", "42", None, None, None, None, None, None, None,
    ]  # fmt: skip
    with pytest.raises(ValueError, match="surrogates"):
        text("phone\udcff")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (["driving", "stationary"], "driving"),
        (["stationary"], "stationary"),
        ({"type": "still", "confidence": 100}, "stationary"),
        ({"type": "unknown"}, None), ("in_vehicle", "driving"), ("On_Foot", "walking"),
        ([], None), (None, None), ([1, "running"], "running"),
    ],
)  # fmt: skip
def test_motion(value, expected):
    assert motion(value) == expected


def test_flag():
    assert [flag(v) for v in (True, 1, "true", "Yes", "1")] == [True] * 5
    assert [flag(v) for v in (False, 0, "false", "", None)] == [False] * 5


def test_position():
    assert position("2.5", 48) == (2.5, 48.0)
    assert position(None, None) is None
    assert position("", "null") is None
    for lon, lat in ((1, None), ("x", 1), (None, "x"), ([], {})):
        with pytest.raises(ValueError, match="are no position"):
            position(lon, lat)
