"""Walkers: where they truly are, at what pace and on which floor, and the plan they walk on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
from pyproj import Geod

from proximity.model import Fix
from simulator.scenario import read_scenario
from simulator.stories import trace
from simulator.walk import Ground, Stop, Track, Walker, moved, walk

STREET = Path(__file__).resolve().parents[2] / "examples" / "street" / "walkers.toml"
GEOD = Geod(ellps="WGS84")


def test_a_walk_keeps_its_pace_and_its_stops() -> None:
    walker = Walker(
        subject="s", path=(Stop(2.0, 48.0, 5.0), Stop(2.0, 48.001), Stop(2.0, 48.001, 30.0))
    )
    track = walk(walker, np.random.default_rng(1))
    assert track.starts_s == 0.0
    _, _, metres = GEOD.inv(2.0, 48.0, 2.0, 48.001)
    walking = track.ends_s - 35.0
    assert metres / walking == pytest.approx(1.35, rel=0.3)
    lons, lats = track.at(np.array([0.0, 4.9, 5.0 + walking / 2, 40.0 + walking]))
    assert list(lons) == [2.0] * 4
    assert lats[:2] == pytest.approx([48.0, 48.0])
    assert lats[2] == pytest.approx(48.0005, abs=1e-6)
    assert lats[3] == 48.001


def test_speed_course_and_floor_are_those_of_the_leg() -> None:
    path = (Stop(2.0, 48.0, 10.0, floor=0.0), Stop(2.001, 48.0, speed_mps=14.0, floor=1.0))
    track = walk(Walker("s", path), np.random.default_rng(3))
    speed, course, floors = track.motion(np.array([5.0, 11.0, track.ends_s]))
    assert speed[0] == 0.0
    assert speed[1] == pytest.approx(14.0, rel=0.3)
    assert course[1] == pytest.approx(90.0, abs=0.01)
    assert list(floors) == [0.0, 0.0, 1.0]


def test_a_walk_without_floors_tells_none() -> None:
    track = walk(Walker("s", (Stop(2.0, 48.0),)), np.random.default_rng(3))
    speed, _, floors = track.motion(np.array([0.0, 1.0]))
    assert list(speed) == [0.0, 0.0]
    assert np.isnan(floors).all()


@pytest.mark.parametrize("seed", range(5))
def test_whoever_wanders_stays_near_and_as_long_as_said(seed: int) -> None:
    walker = Walker("s", (Stop(2.0, 48.0, 900.0, wander_m=8.0),))
    track = walk(walker, np.random.default_rng(seed))
    assert track.ends_s == pytest.approx(900.0)
    _, _, away = GEOD.inv(
        np.full(len(track.lons), 2.0), np.full(len(track.lons), 48.0), track.lons, track.lats
    )
    assert away.max() <= 8.01
    assert away.max() > 4.0
    assert (np.diff(track.seconds) >= 0.0).all()


def test_a_walk_goes_the_short_way_over_the_antimeridian() -> None:
    track = walk(Walker("s", (Stop(179.999, 0.0), Stop(-179.999, 0.0))), np.random.default_rng(0))
    lons, _ = track.at(np.linspace(track.starts_s, track.ends_s, 9))
    assert (np.abs(lons) >= 179.9989).all()
    assert lons[-1] == pytest.approx(-179.999)
    speed, course, _ = track.motion(np.array([1.0]))
    assert speed[0] == pytest.approx(1.35, rel=0.3)
    assert course[0] == pytest.approx(90.0, abs=0.01)


@pytest.mark.parametrize(("lon", "lat"), [(2.35, 48.85), (-179.9999, -33.0), (10.0, 70.0)])
def test_a_plan_lies_where_geodesics_say(lon: float, lat: float) -> None:
    ground = Ground(lon, lat)
    for x, y in ((300.0, 0.0), (0.0, -250.0), (-120.0, 90.0)):
        there = ground.degrees(x, y)
        azimuth, _, metres = GEOD.inv(lon, lat, *there)
        assert metres == pytest.approx(np.hypot(x, y), rel=2e-4)
        assert azimuth % 360 == pytest.approx(np.degrees(np.arctan2(x, y)) % 360, abs=0.02)
        back = ground.metres(np.array([there[0]]), np.array([there[1]]))
        assert (back[0][0], back[1][0]) == pytest.approx((x, y), abs=1e-6)


def test_moving_by_metres_is_moving_by_metres() -> None:
    lons, lats = np.array([2.0, 179.9999, -70.0]), np.array([48.0, 10.0, -60.0])
    east, north = np.array([100.0, 250.0, -30.0]), np.array([-40.0, 5.0, 200.0])
    there = moved(lons, lats, east, north)
    _, _, metres = GEOD.inv(lons, lats, *there)
    assert metres == pytest.approx(np.hypot(east, north), abs=0.01)
    assert (np.abs(there[0]) <= 180.0).all()


def test_a_track_of_one_point_stands() -> None:
    track = Track(np.array([3.0]), np.array([2.0]), np.array([48.0]), np.array([1.0]))
    assert track.starts_s == track.ends_s == 3.0
    assert track.motion(np.array([3.0]))[2][0] == 1.0


def test_the_command_writes_the_trace_of_a_scenario() -> None:
    command = [sys.executable, "-m", "simulator.walk", str(STREET)]
    out = subprocess.run(command, capture_output=True, check=True).stdout
    written = [msgspec.json.decode(line, type=Fix) for line in out.splitlines()]
    scenario = read_scenario(STREET)
    assert written == trace(scenario, scenario.seed)
    assert written != trace(scenario, scenario.seed + 1)


@pytest.mark.parametrize("words", [[], ["no-such"], [str(STREET), "x"]])
def test_the_command_says_what_it_wants(words: list[str]) -> None:
    command = [sys.executable, "-m", "simulator.walk", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.strip()
    assert "Traceback" not in done.stderr
