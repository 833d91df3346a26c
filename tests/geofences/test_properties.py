from __future__ import annotations

import pytest

from geofences import Window
from tests.geofences.drawn import circle, faults, feature, fences

POINT = {"type": "Point", "coordinates": [1, 2]}


def drawn(**given):
    return feature(POINT, **{"radius_m": 50, **given})


def test_every_property_is_read():
    (fence,) = fences(
        drawn(
            name="Café",
            tags=["cafe", "city"],
            venue=7,
            dwell_s=[300, 60, 60],
            priority=-2,
            floor=0,
            min_altitude_m=-5,
            max_altitude_m=12.5,
            active=[
                {"days": ["tue", "mon"], "from": "09:00", "to": "18:30"},
                {"from": "22:00", "to": "02:00"},
            ],
            valid_from="2026-05-01T10:00:00.250Z",
            valid_until=1_800_000_000,
            exclude=True,
            on_foot=True,
            exit_after_s=30,
            silent_after_s=600,
            exit_margin_m=5,
            min_confidence=0.7,
            colour="red",
        )
    )
    assert fence.name == "Café"
    assert fence.tags == ("cafe", "city")
    assert fence.venue == "7"
    assert fence.radius_m == 50.0
    assert fence.dwell_s == (60.0, 300.0)
    assert (fence.priority, fence.floor) == (-2.0, 0.0)
    assert (fence.min_altitude_m, fence.max_altitude_m) == (-5.0, 12.5)
    assert fence.active == (
        Window(("mon", "tue"), "09:00", "18:30"),
        Window(("mon", "tue", "wed", "thu", "fri", "sat", "sun"), "22:00", "02:00"),
    )
    assert (fence.valid_from, fence.valid_until) == (1777629600.25, 1_800_000_000.0)
    assert fence.exclude
    assert fence.on_foot
    assert (fence.exit_after_s, fence.silent_after_s) == (30.0, 600.0)
    assert (fence.exit_margin_m, fence.min_confidence) == (5.0, 0.7)
    assert fence.properties["colour"] == "red"


def test_what_is_not_said_is_none():
    (fence,) = fences(drawn(tags=None, floor=None))
    assert (fence.name, fence.tags, fence.venue, fence.dwell_s) == ("a", (), None, ())
    assert (fence.priority, fence.floor, fence.active, fence.exclude) == (0.0, None, None, False)
    assert fence.on_foot is False


@pytest.mark.parametrize(
    ("name", "value", "mend"),
    [
        ("name", ["x"], "text in quotes"),
        ("name", "a\x00b", "control characters"),
        ("name", "\ud800", "surrogate"),
        ("tags", "cafe", "list of texts"),
        ("tags", [""], "1 to 128"),
        ("venue", True, "text in quotes"),
        ("venue", "x" * 129, "1 to 128"),
        ("radius_m", "50", "without quotes"),
        ("radius_m", 0, "above 0"),
        ("radius_m", -1, "from 0"),
        ("radius_m", 1e8, "from 0 to 1e+07"),
        ("dwell_s", [60, "x"], "without quotes"),
        ("dwell_s", -1, "from 0"),
        ("dwell_s", list(range(101)), "at most 100"),
        ("priority", True, "number"),
        ("floor", "2", "without quotes"),
        ("min_altitude_m", 1e6, "from -12000"),
        ("active", {"days": ["mon"]}, "HH:MM"),
        ("active", ["mon"], "HH:MM"),
        ("active", [{"days": ["monday"], "from": "09:00", "to": "10:00"}], "mon, tue"),
        ("active", [{"days": [], "from": "09:00", "to": "10:00"}], "mon, tue"),
        ("active", [{"days": [["mon"]], "from": "09:00", "to": "10:00"}], "mon, tue"),
        ("active", [{"days": ["mon"], "from": "9:00", "to": "10:00"}], "HH:MM"),
        ("active", [{"days": ["mon"], "from": 9, "to": "10:00"}], "HH:MM"),
        ("active", [{"days": ["mon"], "from": "24:00", "to": "10:00"}], "00:00"),
        ("active", [{"day": "mon", "from": "09:00", "to": "10:00"}], "HH:MM"),
        ("valid_from", "yesterday", "with its zone"),
        ("valid_from", "2026-05-01T10:00:00", "with its zone"),
        ("valid_until", 1_800_000_000_000, "Unix seconds"),
        ("exclude", 1, "true or false"),
        ("on_foot", "yes", "true or false"),
        ("exit_after_s", -1, "from 0"),
        ("min_confidence", 1.1, "from 0 to 1"),
        ("carried_by", "bus-7", "take it out"),
    ],
)
def test_a_wrong_value_is_a_fault_with_feature_and_mend(name, value, mend):
    (found,) = faults(drawn(**{name: value}))
    assert "feature 'a'" in found
    assert name in found
    assert mend in found


def test_ranges_must_not_be_upside_down():
    (found,) = faults(drawn(min_altitude_m=5, max_altitude_m=5))
    assert "min_altitude_m is not below max_altitude_m" in found
    (found,) = faults(drawn(valid_from=20, valid_until=10))
    assert "valid_from is not below valid_until" in found


def test_all_faults_come_at_once_and_long_values_are_cut():
    found = faults(drawn(floor="x" * 1000, priority="y", exclude="z"), circle(1, 2, -1, "b"))
    assert len(found) == 4
    assert all(len(each) < 200 for each in found)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"id": "x", "properties": {"id": "y"}}, "x"),
        ({"id": 7}, "7"),
        ({"id": 7.0}, "7"),
        ({"id": 1.5}, "1.5"),
        ({"id": None, "properties": {"ID": "y"}}, "y"),
        ({"properties": {"NAME": "upper", "name": "lower", "fid": 1}}, "lower"),
        ({"properties": {"FID": 3}}, "3"),
        ({"properties": {"Id": "", "Name": None, "fid": 3}}, "3"),
        ({"properties": {"other": 1}}, "0"),
    ],
)
def test_where_an_id_comes_from(given, expected):
    properties = {"radius_m": 10, **given.get("properties", {})}
    whole = {"type": "Feature", "geometry": POINT, **given, "properties": properties}
    assert [fence.id for fence in fences(whole)] == [expected]


@pytest.mark.parametrize("value", [{}, [], True, "", "x" * 129, "a\nb", "\udfff"])
def test_an_id_that_is_none(value):
    whole = {"type": "Feature", "id": value, "geometry": POINT, "properties": {"radius_m": 10}}
    (found,) = faults(whole)
    assert found.startswith("fences: feature number 0: its id (id) cannot be")
