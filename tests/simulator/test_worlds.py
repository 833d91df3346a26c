"""Worlds: their truth is the path's, and the same seed gives the same world."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from geofences import FenceIndex
from proximity.model import ProximityError
from simulator.recorded import DELIVERY, folder, hikes, on_foot
from simulator.staged import STAGED, staged
from simulator.town import Street, Town
from simulator.unseen import Change
from simulator.worlds import ROUGH, START, WORLDS, World, phone_of, truth_of

SYNTHETIC = ("street", "rough", "drive", "still")


def facts(world: World) -> list[object]:
    return [world.truth, world.records(), world.index.ids]


@pytest.mark.parametrize("name", SYNTHETIC)
def test_the_same_seed_gives_the_same_world(name: str) -> None:
    one, same, other = (WORLDS[name](seed, 0.01) for seed in (4, 4, 5))
    assert facts(one) == facts(same)
    assert facts(one) != facts(other)


def test_truth_is_when_the_path_crosses_the_edge() -> None:
    town = Town()
    index = FenceIndex([town.box("box", 0j, (30.0, 20.0), 1 + 0j)])
    seconds = np.array([0.0, 100.0, 200.0, 300.0])
    track = town.track(seconds, np.array([-100 + 0j, 0j, 0j, -100 + 0j]))
    truth = truth_of("s", track, index)
    assert [(one.kind, one.place) for one in truth] == [("enter", "box"), ("exit", "box")]
    assert truth[0].at == pytest.approx(START + 70.0, abs=1.0)
    assert truth[1].at == pytest.approx(START + 230.0, abs=1.0)


def test_who_is_inside_from_the_start_enters_then_and_need_not_leave() -> None:
    town = Town()
    index = FenceIndex([town.circle("round", 0j, 40.0)])
    track = town.track(np.array([0.0, 100.0]), np.array([0j, 1j]))
    assert truth_of("s", track, index) == [Change("enter", "s", "round", START, START)]


def test_stores_are_as_wide_as_they_say() -> None:
    town = Town()
    index = FenceIndex([town.box("box", 0j, (40.0, 25.0), 1 + 1j), town.circle("round", 300j, 60)])
    lon, lat = town.degrees(np.array([0j, 300j]))
    assert index.distance("box", lon[0], lat[0]) == pytest.approx(-25.0, abs=0.1)
    assert index.distance("round", lon[1], lat[1]) == pytest.approx(-60.0, abs=0.1)


def test_streets_are_beside_their_stores() -> None:
    town = Town()
    road = Street(town, "a", 0j, np.random.default_rng(1))
    assert len(road.stores) > 5
    index = FenceIndex(town.stores)
    for store in road.stores:
        lon, lat = town.degrees(np.array([store.centre + store.outward * store.depth_m]))
        assert index.distance(store.fence.id, lon[0], lat[0]) == pytest.approx(0.0, abs=0.5)


def test_phones_of_a_world_differ() -> None:
    phones = [phone_of(np.random.default_rng(seed), ROUGH) for seed in range(40)]
    for name, low, high in (
        ("accuracy_m", 5.0, 35.0), ("stated", 1 / 2.8, 2.8),
        ("correlation_s", 15.0, 180.0), ("white", 0.0, 0.35),
    ):  # fmt: skip
        values = [getattr(phone, name) for phone in phones]
        assert low <= min(values) < max(values) <= high
        assert max(values) - min(values) > 0.5 * (high - low)
    assert {phone.every_s for phone in phones} == {5.0, 15.0, 30.0, 60.0}


def test_still_phones_do_not_move() -> None:
    world = WORLDS["still"](4, 0.01)
    assert {one.kind for one in world.truth} <= {"enter"}
    assert {one.at for one in world.truth} <= {START}


def test_records_come_in_order_of_arrival() -> None:
    came = [one.received_at for one in WORLDS["street"](1, 0.04).records()]
    assert came == sorted(came)


def test_real_walks_are_walks(
    shared_data: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = shared_data(DELIVERY).parents[1]
    monkeypatch.setenv("PROXIMITY_DATA", str(data))
    assert folder() == data
    pieces = [*on_foot(data), *hikes(data)]
    assert len(pieces) > 1000
    for seconds, metres in pieces:
        assert seconds[0] == 0.0
        assert metres[0] == 0.0
        assert (np.diff(seconds) > 0.0).all()
    assert sum(float(seconds[-1]) for seconds, _ in pieces) > 30 * 3600
    world = WORLDS["delivery"](1, 0.07)
    assert len(world.truth) > 10
    assert facts(WORLDS["delivery"](1, 0.07)) == facts(world)


def test_without_real_walks_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PROXIMITY_DATA", str(tmp_path / "none"))
    assert folder() is None
    with pytest.raises(ProximityError, match="PROXIMITY_DATA"):
        WORLDS["delivery"](1, 0.07)
    (tmp_path / DELIVERY).parent.mkdir()
    (tmp_path / DELIVERY).write_bytes(b"no archive")
    with pytest.raises(ProximityError, match="take the original file"):
        on_foot(tmp_path)


@pytest.mark.parametrize("name", ["walk-in", "staff-tag"])
def test_scenarios_are_worlds(name: str) -> None:
    assert name in STAGED
    world = staged(name, 1)
    assert world.truth
    assert {one.subject for one in world.truth} <= {one.id for one in world.subjects}
    assert sum(len(one.records) for one in world.subjects) <= len(world.records())
