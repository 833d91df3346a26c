"""The oracle: right where it can be, and no prophet."""

from __future__ import annotations

import numpy as np

from geofences import FenceIndex, loads
from simulator.contest import contest, total
from simulator.gps import Phone, fixes
from simulator.judge import fold, judge
from simulator.oracle import Habits, oracle
from simulator.town import Town
from simulator.worlds import START, WORLDS, truth_of

STORE = (
    b'{"type":"Feature","id":"store","properties":{"radius_m":50},'
    b'"geometry":{"type":"Point","coordinates":[2.35,48.85]}}'
)


def test_with_hardly_any_noise_it_knows_the_way() -> None:
    index = FenceIndex(loads(STORE, "store").fences)
    phone = Phone(accuracy_m=3.0, every_s=5.0)
    seconds = np.array([0.0, 300.0, 900.0, 1200.0, 1800.0])
    points = np.array([-300 + 0j, 0j, 0j, 300 + 0j, 300 + 0j])
    track = Town().track(seconds, points)
    seen = list(fixes("s", track, phone, np.random.default_rng(1), START))
    found = oracle([("s", phone, seen)], index)
    assert [one.kind for one in found] == ["enter", "exit"]
    verdict = judge(fold(found), truth_of("s", track, index), tolerance_s=15.0)
    assert verdict.total().matched == 2
    # An exit waits for its confirmation, an enter does not.
    assert found[0].decided_at - found[0].at < 30.0
    assert 55.0 <= found[1].decided_at - found[1].at <= 70.0


def test_the_same_seed_gives_the_same() -> None:
    world = WORLDS["street"](4, 0.01)
    told = [(one.id, one.phone, one.fixes) for one in world.subjects if one.phone is not None]
    runs = [oracle(told, world.index, seed, 40) for seed in (1, 1, 2)]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


def test_nobody_and_nothing() -> None:
    index = FenceIndex(loads(STORE, "store").fences)
    assert oracle([], index) == []
    assert oracle([("s", Phone(), [])], index) == []


def test_jumps_are_known_for_what_they_are() -> None:
    index = FenceIndex(loads(STORE, "store").fences)
    phone = Phone(accuracy_m=5.0, every_s=30.0, jumps_per_hour=12.0, jump_s=(0.0, 30.0))
    away = Town().track(np.array([0.0, 40_000.0]), np.array([220 + 0j, 220 + 0j]))
    seen = list(fixes("s", away, phone, np.random.default_rng(2), START))
    assert index.locate_many([one.lon for one in seen], [one.lat for one in seen])[0].size > 0
    assert oracle([("s", phone, seen)], index, habits=Habits(1.0, 1e7)) == []


def test_it_is_above_the_peers() -> None:
    runs = contest(WORLDS["rough"](23, 0.01), particles=60)
    oracles = total(runs.pop("oracle")).f1
    runs.pop("ours")
    assert oracles > max(total(accounts).f1 for accounts in runs.values()) + 0.05
