"""Phones in real malls: nothing from strangers' beacons, and near means near."""

import pytest

from geofences import FenceIndex
from proximity import Engine, Site
from simulator.mall import MALL, NEAR_DBM, Walk, compact, entered, site_of, walks

FLOORS = {"site1/F1": 2, "site1/F2": 1, "site2/B1": 4}


@pytest.fixture(scope="module")
def floors(shared_data):
    folder = shared_data(MALL)
    return {name: walks(folder / name) for name in FLOORS}


def drive(site, walk):
    engine = Engine(FenceIndex([]), site)
    told = list(engine.on_sightings(walk.sightings))
    if walk.sightings:
        told += engine.advance(walk.sightings[-1].at + 60.0)
    return told, engine


def test_the_beacons_that_lie_still_are_those_that_the_set_names(floors):
    found = {name: compact(floor) for name, floor in floors.items()}
    assert {name: len(beacons) for name, beacons in found.items()} == FLOORS
    shared = "9195b3ad-a9d0-4500-85ff-9fb0f65a5201"
    assert shared not in {one.beacon.uuid for beacons in found.values() for one in beacons}


def test_a_stranger_moves_nobody(floors):
    for floor in floors.values():
        mine = {one.place for one in compact(floor)}
        heard = strange = 0
        for walk in floor:
            told, engine = drive(Site(), walk)
            assert told == []
            assert engine.counts["unlisted"] == len(walk.sightings)
            told, engine = drive(site_of(compact(floor)), walk)
            assert {one.place for one in told} <= mine
            assert engine.counts["quarantined"] == 0
            heard, strange = heard + len(walk.sightings), strange + engine.counts["unlisted"]
        assert 0.1 * heard < strange < heard


@pytest.mark.parametrize("near_dbm", [-70.0, NEAR_DBM, -74.0, -76.0])
def test_who_enters_is_within_eight_metres(floors, near_dbm):
    metres = []
    for floor in floors.values():
        beacons = compact(floor)
        site = site_of(beacons, near_dbm)
        for walk in floor:
            metres += [far for _, far in entered(drive(site, walk)[0], walk, beacons)]
    assert len(metres) >= 3
    assert sum(far <= 8.0 for far in metres) >= 0.8 * len(metres)


def test_where_the_surveyor_was():
    walk = Walk("w", (), ((10.0, (0.0, 0.0)), (20.0, (10.0, 20.0))))
    assert walk.where(15.0) == (5.0, 10.0)
    assert walk.where(10.0) == (0.0, 0.0)
    assert walk.where(20.0) == (10.0, 20.0)
    assert walk.where(9.9) is None
    assert walk.where(20.1) is None
