"""How does cost grow from a thousand fences to a million, and what does a million weigh?"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from statistics import median

import numpy as np

import geofences
from benchmarks import workloads
from benchmarks.containment import SHAPELY, first_batch
from benchmarks.memory import resident
from benchmarks.peers import Loop, Tree
from benchmarks.timing import (
    Check,
    Cost,
    Found,
    Row,
    Scale,
    in_words,
    interleaved,
    rates,
    ratios,
    seconds,
)
from benchmarks.updates import NOON
from proximity import Engine, Fix
from proximity.server.pauses import put_off

OURS_ONE, OURS_MANY = "one update, `Engine.on_fixes`", "a point of a batch, `locate_many`"
LOOP_ONE, TREE_MANY = "one update, the rtree loop", "a point of a batch, shapely"
CHECKED, TIMED, SINGLES, PROBED = 1, 10, 100, 1000
# A fence up to a kilometre across is put and removed so often.
EDITS = 200
EDIT_M = 500.0


class Size:
    """The first so many fences of the country, in each contestant."""

    def __init__(self, all_of_it: workloads.Workload, count: int) -> None:
        self.load = workloads.Workload(
            "national", all_of_it.fences[:count], all_of_it.polygons[:count], all_of_it.points
        )
        self.count = count
        self.index = geofences.FenceIndex(self.load.fences)
        self.engine = Engine(self.index, decide="point")
        self.tree, self.loop = Tree(self.load.polygons), Loop(self.load.polygons)

    def differences(self, lons: np.ndarray, lats: np.ndarray) -> int:
        ours, theirs = self.index.locate_many(lons, lats), self.tree.holding(lons, lats)
        numbers = [np.asarray(p) * self.count + np.asarray(f) for p, f in (ours, theirs)]
        return len(np.setxor1d(*numbers))


def growth(scale: Scale) -> Found:
    """Single updates and batches at every size, all of them in the same rounds."""
    found = Found()
    with put_off():
        country = workloads.national(max(scale.sizes))
        sizes = [Size(country, count) for count in scale.sizes]
    most = sizes[-1]
    lons, lats = country.points(scale.points, CHECKED)
    first = first_batch(most.index, most.tree, lons, lats)
    what = f"`locate_many`, {most.count:,} fences of a country, the first {scale.points:,} points"
    found.rows.append(Row(what=what, against=SHAPELY, unit="x", values=[first]))
    for size in sizes:
        differing = size.differences(lons, lats)
        what = f"{size.count:,} fences of a country, points against shapely's `intersects_xy`"
        found.checks.append(Check(what, scale.points, differing))
    _many(country, sizes, scale, found)
    _ones(country, sizes, scale, found)
    return found


def _many(country: workloads.Workload, sizes: list[Size], scale: Scale, found: Found) -> None:
    batches = [country.points(scale.points, TIMED + n) for n in range(scale.rounds)]
    sides: dict[str, Callable[[int], object]] = {}
    for size in sizes:
        sides[f"ours {size.count}"] = lambda n, size=size: size.index.locate_many(*batches[n])
        sides[f"tree {size.count}"] = lambda n, size=size: size.tree.locate_many(*batches[n])
    new = interleaved(scale, sides)
    _draw(found, new, "ours", OURS_MANY, sizes, scale.points)
    _draw(found, new, "tree", TREE_MANY, sizes, scale.points)
    most = sizes[-1]
    lons, lats = batches[0]
    again = interleaved(
        scale,
        {
            "ours": lambda _: most.index.locate_many(lons, lats),
            "tree": lambda _: most.tree.locate_many(lons, lats),
        },
    )
    for when, ours, theirs in (
        (f"{scale.points:,} points never asked before", f"ours {most.count}", f"tree {most.count}"),
        (f"the same {scale.points:,} points again", "ours", "tree"),
    ):
        taken = new if ours in new else again
        rate = [in_words(median(rates(scale.points, taken[side]))) for side in (ours, theirs)]
        found.rows.append(
            Row(
                what=f"`locate_many`, {most.count:,} fences of a country, {when}",
                against=SHAPELY,
                unit="x",
                values=ratios(taken[ours], taken[theirs]),
                least=2.5,
                aim=5.0,
                note=f"{rate[0]}/s against {rate[1]}/s",
            )
        )


def _ones(country: workloads.Workload, sizes: list[Size], scale: Scale, found: Found) -> None:
    """Everybody reports once a round, from beside where they were before."""
    lons, lats = country.points(scale.singles, SINGLES)
    random = np.random.default_rng(workloads.SEED)

    def reports(number: int) -> list[Fix]:
        x, y = (axis + random.normal(0.0, 5e-5, len(axis)) for axis in (lons, lats))
        at = NOON + number * 30.0
        return [
            Fix(subject=f"s{n}", at=at, lon=lon, lat=lat, accuracy_m=8.0)
            for n, (lon, lat) in enumerate(zip(x.tolist(), y.tolist(), strict=True))
        ]

    # The first is everybody's first, and fills what the later ones find.
    rounds = [reports(number) for number in range(scale.rounds + 1)]
    sides: dict[str, Callable[[int], object]] = {}
    for size in sizes:
        size.engine.on_fixes(rounds[0])
        size.loop.on_fixes(rounds[0])
        sides[f"ours {size.count}"] = lambda n, size=size: [
            size.engine.on_fixes([fix]) for fix in rounds[n + 1]
        ]
        sides[f"loop {size.count}"] = lambda n, size=size: [
            size.loop.on_fixes([fix]) for fix in rounds[n + 1]
        ]
    taken = interleaved(scale, sides)
    _draw(found, taken, "ours", OURS_ONE, sizes, scale.singles)
    _draw(found, taken, "loop", LOOP_ONE, sizes, scale.singles)
    few = min(sizes, key=lambda size: abs(size.count - 10_000)).count
    most = sizes[-1].count
    slower = ratios(taken[f"ours {few}"], taken[f"ours {most}"])
    found.rows.append(
        Row(
            what=f"single updates slowed from {few:,} to {most:,} fences",
            against="itself",
            unit="x",
            values=slower,
            least=3.0,
            aim=2.0,
            fewer=True,
            note=f"{in_words(median(rates(scale.singles, taken[f'ours {few}'])))}/s and "
            f"{in_words(median(rates(scale.singles, taken[f'ours {most}'])))}/s; the rtree loop "
            f"{in_words(median(rates(scale.singles, taken[f'loop {few}'])))}/s and "
            f"{in_words(median(rates(scale.singles, taken[f'loop {most}'])))}/s",
        )
    )


def _draw(
    found: Found, taken: dict[str, list[float]], side: str, line: str, sizes: list[Size], count: int
) -> None:
    for size in sizes:
        each = median(taken[f"{side} {size.count}"]) / count * 1e6
        found.costs.append(Cost(line, size.count, each))


# -- a million -----------------------------------------------------------------------------


def outlines(scale: Scale) -> Found:
    """Build and memory of outlines of 24 vertices."""
    shapes = workloads.national_rings(scale.million)
    return _weigh(
        "outlines of 24 vertices",
        scale,
        lambda: (workloads.fence(n, ring) for n, ring in enumerate(shapes)),
        least=1024.0,
    )


def circles(scale: Scale) -> Found:
    """Build and memory of native circles."""
    rows = workloads.national_circles(scale.million).tolist()
    return _weigh(
        "native circles",
        scale,
        lambda: (workloads.circle(n, *row) for n, row in enumerate(rows)),
        least=None,
    )


def _weigh(
    what: str,
    scale: Scale,
    make: Callable[[], Iterator[geofences.Fence]],
    *,
    least: float | None,
) -> Found:
    # What stays is weighed first: an index that is given fences one by one, and nobody keeps them.
    before = resident()
    with put_off():
        index = geofences.FenceIndex(make())
    built = resident()
    towns = workloads.Towns.of(workloads.TOWNS, workloads.TOWN_SIGMA_M)
    index.locate_many(*towns.places(scale.points, CHECKED))
    asked = resident()
    with put_off():
        fences = list(make())
    listed = resident()
    took = seconds(lambda: geofences.FenceIndex(fences))
    count = f"{scale.million:,} {what}"
    each = (built - before) / scale.million
    rows = [
        Row(
            what=f"`FenceIndex` of {count}: built in",
            against="",
            unit="s",
            values=[took],
            least=10.0 * scale.million / 1e6,
            fewer=True,
        ),
        Row(
            what="the same: a fence weighs, vertices and ids included",
            against="",
            unit="B",
            values=[each],
            least=least,
            fewer=True,
            note=f"a kept list of fences: {(listed - asked) / scale.million:,.0f} B each besides; "
            f"the index {(asked - built) / scale.million:,.0f} B more after being asked about "
            f"{scale.points:,} points everywhere",
        ),
        *_edits(index, what, scale),
    ]
    return Found(rows=rows)


def _edits(index: geofences.FenceIndex, what: str, scale: Scale) -> list[Row]:
    """Put a fence where people are, ask there, remove it, ask: each edit with its question."""
    towns = workloads.Towns.of(workloads.TOWNS, workloads.TOWN_SIGMA_M)
    lons, lats = towns.places(EDITS, TIMED)
    radii = np.full(EDITS, EDIT_M)
    if what.startswith("native"):
        new = [
            workloads.circle(-1 - n, *row)
            for n, row in enumerate(np.column_stack([lons, lats, radii]).tolist())
        ]
    else:
        shapes = workloads.rings(lons, lats, radii, workloads.OUTLINE_VERTICES, 0.3)
        new = [workloads.fence(-1 - n, ring) for n, ring in enumerate(shapes)]
    taken: dict[str, list[float]] = {"put": [], "removed": []}
    for fence, lon, lat in zip(new, lons.tolist(), lats.tolist(), strict=True):
        index.locate(lon, lat)
        began = time.perf_counter()
        index.put(fence)
        seen = fence.id in index.locate(lon, lat)
        taken["put"].append(time.perf_counter() - began)
        began = time.perf_counter()
        index.remove(fence.id)
        gone = fence.id not in index.locate(lon, lat)
        taken["removed"].append(time.perf_counter() - began)
        if not (seen and gone):
            raise AssertionError(f"{fence.id} was edited and the next call did not see it")
    return [
        Row(
            what=f"a fence 1 km across {done} among {scale.million:,} {what}, seen by the next",
            against="",
            unit="ms",
            values=[each * 1e3 for each in times],
            least=1.0,
            fewer=True,
        )
        for done, times in taken.items()
    ]
