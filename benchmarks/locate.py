"""How fast does a location update become an answer, against the loop that anyone would write?

The baseline is an R-tree (`rtree`) of boxes, one query a point, one exact test with a prepared
shapely polygon for each candidate, and a dictionary of who was where. Both sides get the same
seeded fences and the same walks; their answers are compared first, and differing answers
end the run with status 1. Runs are interleaved and the best of each is taken, so that the ratio
means something on a shared machine; the absolute figures are this machine's alone.

    python benchmarks/locate.py            all sizes, a minute or two
    python benchmarks/locate.py --quick    the smallest, some seconds
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import rtree.index
import shapely

import geofences
from proximity import Engine, Fix

if TYPE_CHECKING:
    from collections.abc import Callable

SEED = 20_260_501
CORNERS = 24
BATCH = 1000
STEPS = 20
STEP_S = 5.0
NOON = 1_777_636_800.0
# Fences, people, rounds; the first is `--quick`.
SIZES = [(1000, 500, 2), (1000, 5000, 5), (10_000, 5000, 5), (100_000, 5000, 3)]


@dataclass(frozen=True)
class Workload:
    """Stores about a city centre, denser towards the middle, and people who walk there."""

    fences: list[geofences.Fence]
    shapes: list[shapely.Polygon]
    lons: np.ndarray
    lats: np.ndarray


def workload(count: int, walkers: int) -> Workload:
    random = np.random.default_rng(SEED)
    middle_lon, middle_lat, spread = 2.35, 48.85, 0.05 * math.sqrt(count / 1000)
    lons = random.normal(middle_lon, spread, count)
    lats = random.normal(middle_lat, spread * 0.66, count)
    radii = random.uniform(0.0002, 0.0015, count)
    turns = np.linspace(0.0, 2 * math.pi, CORNERS, endpoint=False)
    shapes, features = [], []
    for number, (lon, lat, radius) in enumerate(zip(lons, lats, radii, strict=True)):
        wobble = radius * random.uniform(0.7, 1.0, CORNERS)
        ring = [
            (lon + r * math.cos(t), lat + r * math.sin(t) * 0.66)
            for r, t in zip(wobble, turns, strict=True)
        ]
        shapes.append(shapely.Polygon(ring))
        features.append(
            {
                "type": "Feature",
                "id": f"store-{number}",
                "properties": {},
                "geometry": {"type": "Polygon", "coordinates": [[*ring, ring[0]]]},
            }
        )
    text = json.dumps({"type": "FeatureCollection", "features": features})
    # Everyone takes a step of some 7 m each time; neighbours in the arrays are other people, so
    # that points come in random order as they do at a server.
    steps = random.normal(0.0, 0.00006, (2, STEPS, walkers)).cumsum(axis=1)
    starts = random.normal(0.0, 1.0, (2, 1, walkers))
    return Workload(
        geofences.loads(text).fences,
        shapes,
        (middle_lon + starts[0] * spread + steps[0]).ravel(),
        (middle_lat + (starts[1] * spread + steps[1]) * 0.66).ravel(),
    )


class Loop:
    """The obvious implementation."""

    def __init__(self, load: Workload) -> None:
        self.ids = [fence.id for fence in load.fences]
        self.shapes = load.shapes
        shapely.prepare(self.shapes)
        boxes = ((n, shape.bounds, None) for n, shape in enumerate(self.shapes))
        self.tree = rtree.index.Index(boxes)
        self.where: dict[str, frozenset[int]] = {}

    def locate(self, lon: float, lat: float) -> list[int]:
        near = self.tree.intersection((lon, lat, lon, lat))
        return [n for n in near if shapely.intersects_xy(self.shapes[n], lon, lat)]

    def update(self, subject: str, lon: float, lat: float) -> int:
        now = frozenset(self.locate(lon, lat))
        before = self.where.get(subject, frozenset())
        self.where[subject] = now
        return len(now ^ before)


def best_of(rounds: int, contestants: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Time each in turn, round after round; the best seconds of each."""
    best = dict.fromkeys(contestants, math.inf)
    for _ in range(rounds):
        for name, run in contestants.items():
            began = time.perf_counter()
            run()
            best[name] = min(best[name], time.perf_counter() - began)
    return best


def same_answers(load: Workload, index: geofences.FenceIndex, loop: Loop) -> bool:
    points, fences = index.locate_many(load.lons, load.lats)
    ours = {(int(p), index.ids[int(f)]) for p, f in zip(points, fences, strict=True)}
    pairs = enumerate(zip(load.lons.tolist(), load.lats.tolist(), strict=True))
    theirs = {(p, loop.ids[n]) for p, (lon, lat) in pairs for n in loop.locate(lon, lat)}
    return ours == theirs


def measure(count: int, walkers: int, rounds: int) -> list[tuple[str, float, float]]:
    """Rows of (what, updates a second, ratio over the loop)."""
    load = workload(count, walkers)
    index, loop = geofences.FenceIndex(load.fences), Loop(load)
    if not same_answers(load, index, loop):
        sys.exit(f"{count} fences: the index and the loop answer differently")
    singles = list(zip(load.lons.tolist(), load.lats.tolist(), strict=True))
    fixes = [
        Fix(
            subject=f"s{n % walkers}",
            at=NOON + n // walkers * STEP_S,
            lon=lon,
            lat=lat,
            accuracy_m=10.0,
        )
        for n, (lon, lat) in enumerate(singles)
    ]

    def engine(decide: Literal["robust", "point"]) -> None:
        started = Engine(index, decide=decide)
        for first in range(0, len(fixes), BATCH):
            started.on_fixes(fixes[first : first + BATCH])

    def plain() -> None:
        loop.where = {}
        for fix in fixes:
            loop.update(fix.subject, fix.lon, fix.lat)

    best = best_of(
        rounds,
        {
            "loop: R-tree and exact test": lambda: [loop.locate(*point) for point in singles],
            "locate": lambda: [index.locate(*point) for point in singles],
            "locate_many": lambda: index.locate_many(load.lons, load.lats),
            "loop: with enter and exit": plain,
            "on_fixes, point": lambda: engine("point"),
            "on_fixes, robust": lambda: engine("robust"),
        },
    )
    baseline = 0.0
    rows = []
    for name, seconds in best.items():
        baseline = seconds if name.startswith("loop") else baseline
        rows.append((name, len(fixes) / seconds, baseline / seconds))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="the smallest size, once")
    parser.add_argument("--json", action="store_true", help="a JSON object for each size")
    asked = parser.parse_args()
    sizes = SIZES[:1] if asked.quick else SIZES[1:]
    if not asked.json:
        print(f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores")
    for count, walkers, rounds in sizes:
        rows = measure(count, walkers, rounds)
        if asked.json:
            print(json.dumps({"fences": count, "fixes": walkers * STEPS, "rows": rows}))
            continue
        print(f"\n{count} fences, {walkers} people, {STEPS} fixes each")
        for name, rate, ratio in rows:
            print(f"  {name:<30}{rate:>12,.0f} a second{ratio:>8.1f} x")


if __name__ == "__main__":
    main()
