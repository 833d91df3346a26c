"""What of those who only go by? Walk-bys reported as an enter, and passes between two fixes.

Straight ways beside one fence each, and straight through one; everything else is chance from the
seed. Counts for the curves that ``quality`` prints.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from geofences import FenceIndex
from simulator.contest import ours
from simulator.gps import Phone, drawn
from simulator.judge import fold, judge
from simulator.town import Town
from simulator.worlds import World

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = [
    "ACCURACIES_M",
    "CLEARANCES_M",
    "PASS_ACCURACIES_M",
    "PASS_EVERY_S",
    "Passes",
    "WalkBys",
    "passes",
    "walk_bys",
]

CLEARANCES_M = 5.0, 10.0, 15.0, 20.0
"""From the path to the store's edge: a pavement, a forecourt, a street, the other pavement."""
ACCURACIES_M = 3.0, 5.0, 8.0, 12.0, 20.0, 35.0
"""True 68 % radii; 3 is a good phone under open sky, 35 a poor one between houses."""
BY_EVERY_S = 5.0, 15.0, 30.0
"""Seconds between the fixes of those who walk by; each way has one of these."""
PASS_ACCURACIES_M = 1.0, 5.0, 10.0, 20.0
"""True 68 % radii where passes are looked for; 1 stands for a clean path."""
PASS_EVERY_S = 30.0, 45.0, 60.0
"""Seconds between fixes where passes are looked for: what is shorter puts a fix inside."""
HALF_WAY_M = 400.0
"""A way begins and ends so far from its store: five minutes in which a phone settles."""
PACE_MPS = 1.35
APART_M = 3000.0
"""Between two ways, so that none concerns another's store."""

HONEST = {"correlation_s": (30.0, 120.0), "white": (0.0, 0.35), "stated": (0.7, 1.4)}
"""Phones that go by: any memory, claims within 1.4 times; jumps are the worlds' matter."""


@dataclass(frozen=True)
class WalkBys:
    """Of ``ways`` past a store, so far off and so accurate, how many were reported as an enter."""

    clearance_m: float
    accuracy_m: float
    ways: int
    entered: int


@dataclass(frozen=True)
class Passes:
    """Of the ways through a store between two fixes: true, announced and right ones."""

    every_s: float
    accuracy_m: float
    true: int
    found: int
    matched: int
    entered: int


def _ways(
    name: str,
    count: int,
    phone: Callable[[np.random.Generator], Phone],
    lay: Callable[[Town, int, complex, np.random.Generator], NDArray[np.complex128]],
    seed: tuple[int, ...],
) -> World:
    """Build ``count`` ways, each on ground of its own; ``lay`` puts the store and gives the way."""
    town = Town()
    side = int(np.ceil(np.sqrt(count)))
    laid = []
    for number in range(count):
        rng = np.random.default_rng([*seed, number])
        origin = APART_M * complex(number % side, number // side)
        laid.append((rng, lay(town, number, origin, rng)))
    world = World(name, FenceIndex(town.stores))
    for number, (rng, points) in enumerate(laid):
        lengths = np.abs(np.diff(points))
        seconds = np.concatenate(([0.0], np.cumsum(lengths / PACE_MPS)))
        world.add(f"{name}-{number}", town.track(seconds, points), phone(rng), rng)
    return world


def _way(origin: complex, ahead: complex, rng: np.random.Generator) -> NDArray[np.complex128]:
    """Go straight through ``origin``; fixes begin with the way, so its start must not keep step."""
    before_m = HALF_WAY_M + rng.uniform(0.0, 100.0)
    return np.array([origin - before_m * ahead, origin + HALF_WAY_M * ahead])


def walk_bys(clearance_m: float, accuracy_m: float, count: int, seed: int = 0) -> WalkBys:
    """Walk ``count`` times past a store of any shape, and count enters."""

    def lay(
        town: Town, number: int, origin: complex, rng: np.random.Generator
    ) -> NDArray[np.complex128]:
        ahead = complex(np.exp(2j * np.pi * rng.random()))
        depth = rng.uniform(25.0, 80.0)
        centre = origin + 1j * ahead * (clearance_m + depth)
        if number % 2:
            town.circle(f"store-{number}", centre, depth)
        else:
            town.box(f"store-{number}", centre, (depth * rng.uniform(1.0, 1.8), depth), ahead)
        return _way(origin, ahead, rng)

    def phone(rng: np.random.Generator) -> Phone:
        base = Phone(accuracy_m=accuracy_m, every_s=float(rng.choice(BY_EVERY_S)))
        return drawn(base, HONEST, rng)

    world = _ways("by", count, phone, lay, (seed, 5, int(clearance_m), int(accuracy_m)))
    entered = {t.subject for t in ours(world) if t.kind == "enter"}
    return WalkBys(clearance_m, accuracy_m, count, len(entered))


def passes(every_s: float, accuracy_m: float, count: int, seed: int = 0) -> Passes:
    """Go ``count`` straight ways, half through a store between two fixes, half past it.

    Stores are 20 m deep or more and as deep as one walks from 20 s to an interval; the way past
    keeps 3 to 30 m off.
    """

    def lay(
        town: Town, number: int, origin: complex, rng: np.random.Generator
    ) -> NDArray[np.complex128]:
        ahead = complex(np.exp(2j * np.pi * rng.random()))
        inside_s = rng.uniform(20.0, max(every_s - 1.0, 21.0))
        half = PACE_MPS * inside_s / 2.0
        wide = rng.uniform(20.0, 40.0)
        aside = 0.0 if number % 2 else wide + rng.uniform(3.0, 30.0)
        town.box(f"store-{number}", origin + 1j * ahead * aside, (half, wide), ahead)
        return _way(origin, ahead, rng)

    def phone(rng: np.random.Generator) -> Phone:
        base = Phone(accuracy_m=accuracy_m, every_s=every_s)
        return drawn(base, HONEST, rng)

    world = _ways("pass", count, phone, lay, (seed, 6, int(every_s), int(accuracy_m)))
    run = ours(world)
    tally = judge(fold(run), world.truth, world.coverage).total(["pass"])
    entered = {t.subject for t in run if t.kind == "enter"}
    return Passes(every_s, accuracy_m, tally.true, tally.found, tally.matched, len(entered))
