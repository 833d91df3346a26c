"""The peers' rules on fixes and sightings placed by hand."""

from __future__ import annotations

import pytest

from geofences import FenceIndex, loads
from proximity import Engine
from proximity.model import Beacon, Fix, Sighting, Transition
from proximity.site.registry import Site
from proximity.site.sitefile import parse_site
from simulator.baselines import BEACON_RULES, FIX_RULES, near, of_fixes, of_sightings
from simulator.worlds import WORLDS

# A store of 50 m radius; 0.001 degrees of latitude are 111.2 m.
STORE = (
    b'{"type":"Feature","id":"store","properties":{"radius_m":50},'
    b'"geometry":{"type":"Point","coordinates":[2.35,48.85]}}'
)
DEGREE_M = 111_200.0
UUID = "f7826da6-4fa2-4e98-8024-bc5b71e0893e"
SITE = f"""
[[place]]
id = "floor"
[[place]]
id = "stock"
[[place]]
id = "shelf"
near_dbm = -70
[[gateway]]
id = "gw-floor"
place = "floor"
[[gateway]]
id = "gw-stock"
place = "stock"
offset_db = 2
[[beacon]]
uuid = "{UUID}"
major = 1
subject = "tag"
[[beacon]]
uuid = "{UUID}"
major = 2
place = "shelf"
"""


def fix(at: float, off_m: float, accuracy_m: float | None = None) -> Fix:
    """Place a fix so many metres north of the store's centre."""
    lat = 48.85 + off_m / DEGREE_M
    return Fix(subject="s", at=at, lon=2.35, lat=lat, accuracy_m=accuracy_m)


def ran(name: str, *fixes: Fix) -> list[tuple[str, float, float]]:
    rule = next(rule for rule in FIX_RULES if rule.name == name)
    index = FenceIndex(loads(STORE, "store").fences)
    return [(t.kind, t.at, t.decided_at) for t in of_fixes(rule, near(fixes, index))]


def test_point_goes_by_the_side() -> None:
    assert ran("point", fix(0, 60), fix(10, 40, 90), fix(20, 45), fix(30, 55, 3)) == [
        ("enter", 10, 10),
        ("exit", 30, 30),
    ]


def test_overlap_enters_from_afar_and_leaves_late() -> None:
    assert ran("overlap", fix(0, 90, 30), fix(10, 75, 30), fix(20, 75, 20)) == [
        ("enter", 10, 10),
        ("exit", 20, 20),
    ]
    assert ran("overlap", fix(0, 51), fix(10, 40)) == [("enter", 10, 10)]


def test_contain_asks_for_the_whole_circle() -> None:
    assert ran("contain", fix(0, 30, 30), fix(10, 30, 10), fix(20, 30, 30)) == [
        ("enter", 10, 10),
        ("exit", 20, 20),
    ]


def test_between_contained_and_disjoint_nothing_changes() -> None:
    assert ran(
        "contain, disjoint",
        *(fix(0, 30, 30), fix(10, 30, 10), fix(20, 30, 30), fix(30, 70, 30), fix(40, 90, 30)),
    ) == [("enter", 10, 10), ("exit", 40, 40)]


def test_two_fixes_must_agree_and_date_from_the_first() -> None:
    assert ran(
        "two fixes",
        *(fix(0, 40), fix(10, 60), fix(20, 40), fix(30, 40), fix(40, 60), fix(50, 40)),
        *(fix(60, 60), fix(70, 60)),
    ) == [("enter", 20, 30), ("exit", 60, 70)]


def test_filters_drop_the_coarse_and_the_impossible() -> None:
    assert ran("filtered", fix(0, 100, 10), fix(10, 40, 60), fix(20, 40, 20)) == [("enter", 20, 20)]
    # 400 m in ten seconds; once time enough has passed, the same place is believed.
    assert ran("filtered", fix(0, 450), fix(10, 40), fix(30, 40)) == [("enter", 30, 30)]


def test_clearance_is_asked_for_twice_before_one_has_left() -> None:
    assert ran(
        "clearance",
        *(fix(0, 40, 10), fix(10, 69, 10), fix(20, 71, 10), fix(30, 40, 10)),
        *(fix(40, 71, 10), fix(50, 65, 10), fix(60, 71, 10), fix(70, 71, 10)),
    ) == [("enter", 0, 0), ("exit", 60, 70)]
    # Unknown is 20 m: out from 40 m.
    assert ran("clearance", fix(0, 40), fix(10, 89), fix(20, 89), fix(30, 91), fix(40, 91)) == [
        ("enter", 0, 0),
        ("exit", 30, 40),
    ]


def test_what_is_not_newer_is_dropped() -> None:
    assert ran("point", fix(10, 60), fix(10, 40), fix(5, 40)) == []


def test_decisions_are_made_on_arrival() -> None:
    late = Fix(subject="s", at=10, lon=2.35, lat=48.85, received_at=400)
    assert ran("point", late) == [("enter", 10, 400)]


def test_point_is_what_the_engine_calls_point() -> None:
    world = WORLDS["street"](6, 0.01)
    rule = FIX_RULES[0]
    baseline: list[Transition] = []
    for subject in world.subjects:
        baseline += of_fixes(rule, near(subject.fixes, world.index))
    engine = Engine(world.index, decide="point")
    theirs = engine.on_records(world.records())
    keys = [{(t.kind, t.subject, t.place, t.at) for t in run} for run in (baseline, theirs)]
    assert keys[0] == keys[1]
    assert len(keys[0]) > 100


@pytest.fixture(scope="module")
def site() -> Site:
    return parse_site(SITE, "site.toml")


def heard(at: float, dbm: float, gateway: str) -> Sighting:
    beacon = Beacon(format="ibeacon", uuid=UUID, major=1, minor=0)
    return Sighting(beacon=beacon, at=at, rssi_dbm=dbm, gateway=gateway)


def said(rule: str, site: Site, *sightings: Sighting) -> list[tuple[str, str, float]]:
    one = next(each for each in BEACON_RULES if each.name == rule)
    return [(t.kind, t.place, t.at) for t in of_sightings(one, sightings, site)]


def test_loudest_follows_every_sighting(site: Site) -> None:
    assert said(
        "loudest",
        site,
        *(heard(0, -60, "gw-floor"), heard(1, -61, "gw-stock"), heard(2, -70, "gw-stock")),
    ) == [
        ("enter", "floor", 0),
        ("exit", "floor", 1),  # -61 with its offset is -59
        ("enter", "stock", 1),
        ("exit", "stock", 2),
        ("enter", "floor", 2),
        ("exit", "floor", 0),
    ]


def test_smoothing_outlasts_one_loud_sighting(site: Site) -> None:
    sightings = [heard(at, -60, "gw-floor") for at in range(5)]
    sightings += [heard(4.1, -75, "gw-stock"), heard(4.2, -61, "gw-stock")]
    assert said("EWMA", site, *sightings)[:-1] == [("enter", "floor", 0)]
    assert ("enter", "stock", 4.2) in said("max of 3 s", site, *sightings)


def test_a_lull_of_three_seconds_does_not_lower_the_maximum(site: Site) -> None:
    sightings = [heard(0, -60, "gw-floor"), heard(1, -65, "gw-stock")]
    sightings += [heard(at, -80, "gw-floor") for at in (1.5, 2.0, 2.5)]
    assert said("max of 3 s", site, *sightings)[0] == ("enter", "floor", 0)
    assert len(said("max of 3 s", site, *sightings)) == 2
    assert ("enter", "stock", 1.5) in said("loudest", site, *sightings)


def test_whoever_is_unheard_has_left(site: Site) -> None:
    found = said("loudest", site, heard(0, -60, "gw-floor"), heard(40, -60, "gw-floor"))
    assert found == [
        ("enter", "floor", 0),
        ("exit", "floor", 0),
        ("enter", "floor", 40),
        ("exit", "floor", 40),
    ]


def test_a_calibrated_place_holds_who_hears_it_louder(site: Site) -> None:
    beacon = Beacon(format="ibeacon", uuid=UUID, major=2, minor=0)
    sightings = [
        Sighting(beacon=beacon, at=at, rssi_dbm=dbm, subject="phone")
        for at, dbm in ((0, -80), (1, -69), (2, -71), (3, -60))
    ]
    assert said("loudest", site, *sightings) == [
        ("enter", "shelf", 1),
        ("exit", "shelf", 2),
        ("enter", "shelf", 3),
        ("exit", "shelf", 3),
    ]


def test_unlisted_and_unmeasured_sightings_say_nothing(site: Site) -> None:
    assert said("loudest", site, heard(0, 127, "gw-floor"), heard(1, -60, "gw-none")) == []
