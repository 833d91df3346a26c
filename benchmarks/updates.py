"""A location update becomes enter and exit: batches, single updates, and what a subject costs."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Literal

import numpy as np
import shapely

import geofences
from benchmarks.memory import grown
from benchmarks.peers import Loop
from benchmarks.timing import Check, Found, Row, Scale, in_words, interleaved, rates, ratios
from benchmarks.workloads import METRES_PER_DEGREE, SEED, Floats, Workload, shops
from proximity import Engine, Fix, Transition
from proximity.engine.trail import ROW_BYTES

NOON = 1_777_636_800.0
BATCH = 1000
# A hop of some kilometres at the speed of a bus.
STEP_S = 600.0
JITTER_M = 5.0
# Clear of the edge: more than the margin that ``robust`` asks for and five times the noise.
OUTSIDE_M = 75.0
# Tile38 1.25.5, measured with 10,000 fences and every update crossing: CPU microseconds an update.
TILE38_CPU_US = 26.0
Decide = Literal["robust", "point"]


@dataclass(frozen=True)
class Movement:
    """Everybody's places, (step, subject), in the order in which they are reported.

    ``leaping``: in steps of kilometres, as Tile38 was measured; ``robust`` sets those aside.
    """

    name: str
    fixes: list[Fix]
    leaping: bool = False


def crossing(load: Workload, subjects: int, steps: int) -> Movement:
    """Everybody hops to and fro between two stores: each update leaves one and enters one."""
    random = np.random.default_rng((SEED, 3))
    middles = _middles(load)
    homes = random.integers(0, len(middles), subjects)
    # The other store is one of the nearest few thousand in longitude order: most in the same city.
    by_place = np.argsort(middles[:, 0])
    rank = np.empty(len(middles), np.int64)
    rank[by_place] = np.arange(len(middles))
    others = by_place[(rank[homes] + random.integers(1, 60, subjects)) % len(middles)]
    where = np.where((np.arange(steps) % 2 == 0)[:, None, None], middles[homes], middles[others])
    return Movement("every update crossing", _fixes(_jittered(where)), leaping=True)


def strolling(load: Workload, subjects: int, steps: int) -> Movement:
    """Everybody walks in and out of a store, over its eastern edge, and is seen twice on each side.

    ``robust`` takes a lone fix that leaps aside until a second one confirms it.
    """
    random = np.random.default_rng((SEED, 7))
    stores = random.integers(0, len(load.fences), subjects)
    within = _middles(load)[stores]
    east = shapely.bounds(load.polygons[stores])[:, 2]
    metres_east = METRES_PER_DEGREE * np.cos(np.radians(within[:, 1]))
    outside = np.column_stack([east + OUTSIDE_M / metres_east, within[:, 1]])
    where = np.where((np.arange(steps) // 2 % 2 == 0)[:, None, None], within, outside)
    return Movement("in and out of a store on foot", _fixes(_jittered(where)))


def jitter(load: Workload, subjects: int, steps: int) -> Movement:
    """Everybody stays about one place and the phone's noise moves it: few updates cross an edge."""
    lons, lats = load.points(subjects, 4)
    where = np.repeat(np.column_stack([lons, lats])[None], steps, axis=0)
    return Movement("jitter", _fixes(_jittered(where)))


def _middles(load: Workload) -> Floats:
    return np.array([each.centre for each in load.fences])


def _jittered(where: Floats) -> Floats:
    random = np.random.default_rng((SEED, 5))
    metres = random.normal(0.0, JITTER_M, where.shape)
    metres[..., 0] /= np.cos(np.radians(where[..., 1]))
    return where + metres / METRES_PER_DEGREE


def _fixes(where: Floats) -> list[Fix]:
    random = np.random.default_rng((SEED, 6))
    steps, subjects, _ = where.shape
    fixes = []
    for step in range(steps):
        at = NOON + step * STEP_S
        for who in random.permutation(subjects).tolist():
            lon, lat = where[step, who].tolist()
            fixes.append(Fix(subject=f"s{who}", at=at, lon=lon, lat=lat, accuracy_m=8.0))
    return fixes


def in_batches(index: geofences.FenceIndex, fixes: list[Fix], decide: Decide) -> list[Transition]:
    engine = Engine(index, decide=decide)
    out = []
    for first in range(0, len(fixes), BATCH):
        out += engine.on_fixes(fixes[first : first + BATCH])
    return out


def differences(load: Workload, index: geofences.FenceIndex, fixes: list[Fix]) -> int:
    """Count the transitions that the engine (``point``) and the loop do not share."""
    number = {each.id: n for n, each in enumerate(load.fences)}
    ours = {
        (each.kind, each.subject, number[each.place], each.at)
        for each in in_batches(index, fixes, "point")
    }
    return len(ours ^ set(Loop(load.polygons).on_fixes(fixes)))


def batches(scale: Scale) -> Found:
    """`Engine.on_fixes` against the obvious loop."""
    load = shops(scale.stores)
    index = geofences.FenceIndex(load.fences)
    found = Found()
    for move in (
        crossing(load, scale.subjects, scale.steps),
        strolling(load, scale.subjects, scale.steps),
        jitter(load, scale.subjects, scale.steps),
    ):
        found = _batches(load, index, move, scale, found)
    return found


def _batches(
    load: Workload, index: geofences.FenceIndex, move: Movement, scale: Scale, found: Found
) -> Found:
    fixes = move.fixes
    differing = differences(load, index, fixes)
    cpu: list[float] = []
    loop = Loop(load.polygons)

    def point(_: int) -> None:
        began = time.process_time()
        in_batches(index, fixes, "point")
        cpu.append((time.process_time() - began) / len(fixes) * 1e6)

    def obvious(_: int) -> None:
        loop.where = {}
        loop.on_fixes(fixes)

    sides: dict[str, Callable[[int], object]] = {
        "point": point,
        "loop": obvious,
        "robust": lambda _: in_batches(index, fixes, "robust"),
    }
    taken = interleaved(scale, sides)
    rate = {name: in_words(median(rates(len(fixes), each))) for name, each in taken.items()}
    what = f"{scale.stores:,} fences, {move.name}"
    found.rows += [
        Row(
            what=f"`Engine.on_fixes`, batches of {BATCH:,}, `point`, {what}",
            against="the obvious loop: rtree, `contains_xy`, a dictionary",
            unit="x",
            values=ratios(taken["point"], taken["loop"]),
            least=5.0,
            aim=10.0,
            note=f"{rate['point']}/s against {rate['loop']}/s",
        ),
        Row(
            what=f"the same, `robust`, {move.name}",
            against="our own `point`",
            unit="x",
            values=ratios(taken["robust"], taken["point"]),
            least=0.5,
            aim=0.8,
            note=f"{rate['robust']}/s",
        ),
    ]
    if move.leaping:
        found.rows.append(
            Row(
                what=f"CPU of an update in batches, `point`, {what}",
                against=f"{TILE38_CPU_US:g} µs of Tile38 1.25.5, measured elsewhere",
                unit="µs",
                values=cpu,
                least=TILE38_CPU_US / 10,
                aim=TILE38_CPU_US / 20,
                fewer=True,
            )
        )
    found.checks.append(Check(f"{what}, updates against the loop", len(fixes), differing))
    return found


# -- subjects that are nowhere --------------------------------------------------------------


def nowhere(scale: Scale) -> Found:
    """What the engine remembers of somebody who is in no place and near none, id included.

    The goal sets late history apart: the row that each fix of the last hour is kept by, so that
    late ones can be judged again. After one fix there is one.
    """
    load = shops(scale.stores)
    index = geofences.FenceIndex(load.fences)
    weight = f"resident memory over {scale.nowhere:,} subjects, id included"
    apart = f"{weight}; late history, a row of {ROW_BYTES} bytes, set apart"
    # Both stay: what the first gave back would hide what the second takes.
    engines = [Engine(index, admitted=admitted) for admitted in (True, False)]
    alone, ahead = (_weight(engine, scale.nowhere) for engine in engines)
    rows = (
        (
            "state of a subject that is nowhere, without late history",
            alone - ROW_BYTES,
            150.0,
            apart,
        ),
        ("the same with the late history of one fix", alone, None, weight),
        ("the same with what refuses repeats ahead of it", ahead, None, weight),
    )
    return Found(
        rows=[
            Row(what=what, against="", unit="B", values=[value], least=least, fewer=True, note=note)
            for what, value, least, note in rows
        ]
    )


def _weight(engine: Engine, subjects: int) -> float:
    """Bytes that a subject adds, with as many there before."""
    # What the process had free is used up by then, and tables double in step.
    _arrive(engine, subjects, "near")
    return grown(lambda: _arrive(engine, subjects, "far")) / subjects


def _arrive(engine: Engine, subjects: int, name: str) -> None:
    """Far out at sea, a fix each."""
    for first in range(0, subjects, BATCH):
        engine.on_fixes(
            [
                Fix(subject=f"{name}-{n}", at=NOON + 1.0, lon=-40.0 + n * 1e-6, lat=10.0)
                for n in range(first, min(first + BATCH, subjects))
            ]
        )
