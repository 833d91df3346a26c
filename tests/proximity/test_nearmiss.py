"""How near somebody came, by the engine's own records: by fixes, by beacons, and what was no good."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from beacon_gateway.model import Beacon, Sighting
from geofences import FenceIndex
from proximity import Engine, Fix, parse_site
from proximity.engine.layout import Layout
from proximity.engine.nearmiss import MISSES, MOST_RECORDS, NearMiss, Recent, look
from tests import street

T = 1_000_000.0
SHOP = street.feature("shop", street.circle(0, 0), radius_m=30)


def engine(*features: dict[str, Any], site: str = "") -> Engine:
    known = parse_site(site, "site.toml") if site else None
    return Engine(FenceIndex(street.fences(*features)), known)


def walk(*spots: tuple[float, float], accuracy_m: float | None = 30.0, **more: Any) -> list[Fix]:
    fixes = []
    for number, (east, north) in enumerate(spots):
        lon, lat = street.at(east, north)
        fixes.append(
            Fix(subject="s", at=T + 30.0 * number, lon=lon, lat=lat, accuracy_m=accuracy_m, **more)
        )
    return fixes


def missed(found: Recent, place: str = "shop") -> NearMiss:
    (miss,) = [one for one in found.misses if one.place == place]
    return miss


def test_who_stood_outside_is_told_how_far_from_the_edge() -> None:
    made = engine(SHOP)
    assert made.on_fixes(walk((60, 0), *[(44, 0)] * 8, (60, 0), (80, 0))) == []
    miss = missed(made.near("s"))
    assert miss.code == "outside"
    assert 60.0 <= miss.at - T <= 270.0
    assert miss.because["distance_m"] == pytest.approx(14.0, abs=3.0)
    assert miss.because["accuracy_m"] == 30.0
    assert miss.because["inside"] < 0.3 < miss.because["needed"]


def test_what_is_asked_about_earlier_is_answered_by_what_came_until_then() -> None:
    made = engine(SHOP)
    made.on_fixes(walk((120, 0), (90, 0), (44, 0), (44, 0)))
    assert made.near("s", T + 30.0).fixes == 2
    assert missed(made.near("s", T + 30.0)).because["distance_m"] > 50.0
    assert made.near("s", T - 1.0) == Recent()
    assert made.near("nobody") == Recent()


def test_asking_changes_nothing() -> None:
    made = engine(SHOP)
    made.on_fixes(walk((120, 0), (44, 0), (10, 0)))
    before = made.snapshot()
    made.near("s")
    made.near("s", T + 30.0)
    assert made.snapshot() == before


def test_on_the_edge_with_a_poor_fix_is_unsure() -> None:
    made = engine(SHOP)
    assert made.on_fixes(walk((33, 0), (33, 0), accuracy_m=40.0)) == []
    miss = missed(made.near("s"))
    assert miss.code == "unsure"
    assert 0.3 < miss.because["inside"] < 0.6


def test_one_unsure_fix_inside_is_told() -> None:
    made = engine(street.feature("shop", street.circle(0, 0), radius_m=35))
    assert made.on_fixes(walk((26, 0), (70, 0), (100, 0), accuracy_m=35.0)) == []
    miss = missed(made.near("s"))
    assert miss.code == "once"
    assert 0.6 <= miss.because["inside"] < 0.7


def test_another_floor_is_told_and_beside_it_is_outside() -> None:
    floored = street.feature("shop", street.circle(0, 0), radius_m=30, floor=1)
    made = engine(floored)
    assert made.on_fixes(walk((40, 0), (20, 0), (0, 0), (0, 0), accuracy_m=5.0, floor=3.0)) == []
    assert missed(made.near("s")).code == "level"
    assert missed(made.near("s")).because["floor"] == 3.0
    made = engine(floored)
    made.on_fixes(walk((80, 0), (60, 0), accuracy_m=5.0, floor=3.0))
    assert missed(made.near("s")).code == "outside"


def test_a_fence_that_was_not_in_force_is_told() -> None:
    made = engine(street.feature("shop", street.circle(0, 0), radius_m=30, valid_until=T - 100.0))
    assert made.on_fixes(walk((40, 0), (20, 0), (0, 0), (0, 0), accuracy_m=5.0)) == []
    assert missed(made.near("s")).code == "not_valid"


def test_fixes_that_say_they_are_made_up_are_counted_and_near_nothing() -> None:
    made = engine(SHOP)
    made.on_fixes(walk((0, 0), (0, 0), mock=True))
    found = made.near("s")
    assert (found.fixes, found.mock, found.misses) == (2, 2, ())


def test_a_jump_into_a_place_is_told() -> None:
    made = engine(SHOP)
    made.on_fixes(walk((200, 0), (200, 0), (200, 0), (0, 0), (200, 0), accuracy_m=5.0))
    found = made.near("s")
    assert found.jumps == 1
    assert missed(found).code == "jump"


def test_who_is_nowhere_is_near_nothing_and_was_seen() -> None:
    made = engine(SHOP)
    made.on_fixes(walk((9000, 0), (9010, 0)))
    found = made.near("s")
    assert found.misses == ()
    assert (found.fixes, found.first_at, found.newest_at) == (2, T, T + 30.0)


def test_an_excluded_area_is_no_place_to_be_near() -> None:
    made = engine(street.feature("mall/depot", street.circle(0, 0), radius_m=30, exclude=True))
    made.on_fixes(walk((80, 0), (35, 0)))
    assert made.near("s").misses == ()


NEAR_SITE = f"""
[[place]]
id = "desk"
near_dbm = -65
[[gateway]]
id = "gw"
place = "desk"
[[beacon]]
uuid = "{street.UUID}"
major = 1
subject = "s"
"""


def heard(rssi: int, count: int, gap_s: float = 2.0) -> list[Sighting]:
    beacon = Beacon(format="ibeacon", uuid=street.UUID, major=1, minor=1, power_dbm=-59)
    return [
        Sighting(beacon=beacon, at=T + gap_s * number, rssi_dbm=rssi, gateway="gw")
        for number in range(count)
    ]


def test_a_beacon_that_was_heard_too_quietly_is_told_with_its_level() -> None:
    made = engine(site=NEAR_SITE)
    assert made.on_sightings(heard(-80, 6)) == []
    found = made.near("s")
    miss = missed(found, "desk")
    assert miss.code == "too_quiet"
    assert miss.because["level_dbm"] == pytest.approx(-80.0, abs=0.5)
    assert miss.because["near_dbm"] == -65.0
    assert (found.sightings, found.fixes) == (6, 0)


def test_a_beacon_that_was_heard_too_seldom_is_told() -> None:
    made = engine(site=NEAR_SITE)
    assert made.on_sightings(heard(-50, 2)) == []
    miss = missed(made.near("s"), "desk")
    assert miss.code == "too_few"
    assert (miss.because["sightings"], miss.because["needed"]) == (2, 3)


def test_looking_is_bounded() -> None:
    made = engine(SHOP)
    lon, lat = street.at(60, 0)
    made.on_fixes(
        [Fix(subject="s", at=T + n, lon=lon, lat=lat, accuracy_m=9.0) for n in range(3000)]
    )
    # At most as many, and those since the standing that is kept before them.
    assert MOST_RECORDS <= made.near("s").fixes <= MOST_RECORDS + 64


def test_every_miss_has_words() -> None:
    assert all(words for words in MISSES.values())


def test_who_drove_by_a_place_for_those_on_foot_is_told() -> None:
    made = engine(street.feature("shop", street.circle(0, 0), radius_m=30, on_foot=True))
    by_car = walk((60, 0), (0, 0), (0, 0), accuracy_m=5.0, motion="automotive")
    assert [one.kind for one in made.on_fixes(by_car)] in ([], ["pass"])
    assert missed(made.near("s")).code == "driving"


def test_the_same_moment_twice_and_the_way_off_change_nothing() -> None:
    layout = Layout(FenceIndex(street.fences(SHOP)), parse_site("", "site.toml"))
    way = walk((60, 0), (50, 0), (2000, 0), (4000, 0), accuracy_m=5.0)
    twice = [way[0], way[0], *way[1:]]
    once = look("s", way, layout)
    found = look("s", twice, layout)
    assert (found.fixes, once.fixes) == (5, 4)
    assert [one.place for one in found.misses] == [one.place for one in once.misses] == ["shop"]


TWO = (
    NEAR_SITE.replace("near_dbm = -65", "")
    + """
[[place]]
id = "door"
[[gateway]]
id = "gw-2"
place = "door"
"""
)


def test_a_beacon_that_was_louder_elsewhere_and_one_of_nobody_are_told_apart() -> None:
    site = parse_site(TWO, "site.toml")
    layout = Layout(FenceIndex(), site)
    loud = heard(-50, 12)
    quiet = [replace(one, gateway="gw-2", rssi_dbm=-88, at=one.at + 0.5) for one in loud]
    stranger = replace(loud[0], beacon=replace(loud[0].beacon, major=9), at=T + 1.0)
    unheard = replace(loud[0], rssi_dbm=127, at=T + 1.5)
    mixed = sorted([*loud, *quiet, stranger, unheard], key=lambda one: one.at)
    found = look("s", mixed, layout)
    assert found.sightings == 26
    miss = missed(found, "door")
    assert (miss.code, miss.because["to"]) == ("elsewhere", "desk")
    assert [one.place for one in found.misses if one.code == "elsewhere"] == ["door"]


def test_an_identity_that_cannot_be_one_beacon_is_told() -> None:
    far = TWO.replace('id = "gw-2"', 'id = "gw-2"\nlon = 3.0\nlat = 48.0').replace(
        'id = "gw"\n', 'id = "gw"\nlon = 2.0\nlat = 48.0\n'
    )
    layout = Layout(FenceIndex(), parse_site(far, "site.toml"))
    here = heard(-50, 40)
    there = [replace(one, gateway="gw-2", at=one.at + 0.5) for one in here]
    found = look("s", sorted([*here, *there], key=lambda one: one.at), layout)
    assert "quarantined" in {one.code for one in found.misses}
