"""Which fences hold these points: a city of zones, and dense store circles, against the peers."""

from __future__ import annotations

import json
from collections.abc import Callable
from statistics import median

import numpy as np
import pyproj
import shapely

import geofences
from benchmarks.peers import Join, Loop, Pairs, Tree
from benchmarks.timing import (
    Check,
    Found,
    Row,
    Scale,
    in_words,
    interleaved,
    rates,
    ratios,
    seconds,
)
from benchmarks.workloads import Workload, stores, zones

CHECKED, TIMED, SINGLES = 1, 10, 100
"""Seeds of points: those that are checked, and of the rounds from there on, so that no round meets
a point that was asked before."""
SHAPELY = "shapely `STRtree.query`, `prepare`, `contains_xy`"
# A joined table takes long: two rounds tell enough.
JOIN_ROUNDS = 2
GEOD = pyproj.Geod(ellps="WGS84")
# Circles are compared in geodesic metres, to the millimetre.
SAME_M = 0.001


def city(scale: Scale) -> Found:
    """The zones: what a dispatcher of taxis asks."""
    load = zones(scale.zones)
    vertices = int(shapely.get_num_coordinates(load.polygons).mean())
    what = f"{scale.zones} city zones of {vertices} vertices"
    return _measure(load, what, scale, least=6.0, aim=12.0)


def dense(scale: Scale) -> Found:
    """The stores: native circles against the 64-gons that the peers need."""
    load = stores(scale.stores)
    return _measure(load, f"{scale.stores:,} store circles in 50 cities", scale, least=4.0, aim=8.0)


def _measure(load: Workload, what: str, scale: Scale, *, least: float, aim: float) -> Found:
    index, tree = geofences.FenceIndex(load.fences), Tree(load.polygons)
    lons, lats = load.points(scale.points, CHECKED)
    first = first_batch(index, tree, lons, lats)
    differing = differences(load, index, lons, lats)
    batches = [load.points(scale.points, TIMED + n) for n in range(scale.rounds)]
    ready = [shapely.points(*batch) for batch in batches]
    new = interleaved(
        scale,
        {
            "ours": lambda n: index.locate_many(*batches[n]),
            "shapely": lambda n: tree.locate_many(*batches[n]),
            "ready": lambda n: tree.locate_points(ready[n], *batches[n]),
        },
    )
    again = interleaved(
        scale,
        {
            "ours": lambda _: index.locate_many(lons, lats),
            "shapely": lambda _: tree.locate_many(lons, lats),
        },
    )
    join = Join(load.polygons)
    joined = interleaved(
        scale,
        {
            "ours": lambda _: index.locate_many(lons, lats),
            "sjoin": lambda _: join.locate_many(lons, lats),
        },
        rounds=JOIN_ROUNDS,
    )

    def rate(taken: list[float]) -> str:
        return in_words(median(rates(scale.points, taken)))

    count = f"{scale.points:,} points"
    goals = {"unit": "x", "least": least, "aim": aim, "against": SHAPELY}
    rows = [
        Row(
            what=f"`locate_many`, {what}, the first {count}",
            against=SHAPELY,
            unit="x",
            values=[first],
            note="nothing is remembered yet",
        ),
        Row(
            what=f"`locate_many`, {what}, {count} never asked before",
            values=ratios(new["ours"], new["shapely"]),
            note=f"{rate(new['ours'])}/s against {rate(new['shapely'])}/s, which is "
            f"{rate(new['ready'])}/s where its point objects exist already",
            **goals,
        ),
        Row(
            what=f"`locate_many`, {what}, the same {count} again",
            values=ratios(again["ours"], again["shapely"]),
            note=f"{rate(again['ours'])}/s against {rate(again['shapely'])}/s",
            **goals,
        ),
        Row(
            what=f"`locate_many`, {what}, the same {count} again",
            against="`geopandas.sjoin`",
            unit="x",
            values=ratios(joined["ours"], joined["sjoin"]),
            aim=8.0,
            note=f"{rate(joined['ours'])}/s against {rate(joined['sjoin'])}/s",
        ),
    ]
    check = Check(f"{what}, points against {_judge(load)}", scale.points, differing)
    return Found(rows=rows + _single(load, index, what, scale), checks=[check])


def first_batch(
    index: geofences.FenceIndex, tree: Tree, lons: np.ndarray, lats: np.ndarray
) -> float:
    """Say how many times as fast ours is on the very first batch that either is asked."""
    ours = seconds(lambda: index.locate_many(lons, lats))
    return seconds(lambda: tree.locate_many(lons, lats)) / ours


def _single(load: Workload, index: geofences.FenceIndex, what: str, scale: Scale) -> list[Row]:
    loop = Loop(load.polygons)
    batches = [load.points(scale.singles, SINGLES + n) for n in range(scale.rounds + 1)]
    points = [list(zip(lons.tolist(), lats.tolist(), strict=True)) for lons, lats in batches]

    def sides(first: int, step: int) -> dict[str, Callable[[int], object]]:
        return {
            "ours": lambda n: [index.locate(*each) for each in points[first + n * step]],
            "loop": lambda n: [loop.locate(*each) for each in points[first + n * step]],
        }

    rows = []
    for when, taken in (
        ("points never asked before", interleaved(scale, sides(1, 1))),
        ("the same points again", interleaved(scale, sides(1, 0))),
    ):
        ours, theirs = (median(rates(scale.singles, taken[side])) for side in ("ours", "loop"))
        rows.append(
            Row(
                what=f"`locate`, one at a time, {what}, {when}",
                against="`rtree.intersection`, `contains_xy`",
                unit="x",
                values=ratios(taken["ours"], taken["loop"]),
                least=5.0,
                aim=10.0,
                note=f"{in_words(ours)}/s against {in_words(theirs)}/s",
            )
        )
    return rows


def _judge(load: Workload) -> str:
    return "shapely's `intersects_xy`" if load.circles is None else "`pyproj.Geod`"


def differences(
    load: Workload, index: geofences.FenceIndex, lons: np.ndarray, lats: np.ndarray
) -> int:
    """Count the pairs of point and fence that only one side finds.

    Outlines are compared with shapely's ``intersects_xy``; native circles with geodesic distances,
    of which those within a millimetre of an edge are left out.
    """
    ours = _numbers(index.locate_many(lons, lats), len(load.fences))
    if load.circles is None:
        theirs = _numbers(Tree(load.polygons).holding(lons, lats), len(load.fences))
        return len(np.setxor1d(ours, theirs))
    centre_lons, centre_lats, radii = load.circles.T
    # Half as wide again as the circle, so that no candidate is missed.
    west, south, east, north = shapely.bounds(load.polygons).T
    wider, higher = (east - west) / 4, (north - south) / 4
    boxes = shapely.box(west - wider, south - higher, east + wider, north + higher)
    points, found = shapely.STRtree(boxes).query(shapely.points(lons, lats))
    metres = GEOD.inv(lons[points], lats[points], centre_lons[found], centre_lats[found])[2]
    clear = np.abs(metres - radii[found]) > SAME_M
    inside = clear & (metres <= radii[found])
    theirs = _numbers((points[inside], found[inside]), len(load.fences))
    unsure = _numbers((points[~clear], found[~clear]), len(load.fences))
    return len(np.setdiff1d(np.setxor1d(ours, theirs), unsure))


def _numbers(pairs: Pairs, fences: int) -> np.ndarray:
    return np.asarray(pairs[0], np.int64) * fences + np.asarray(pairs[1], np.int64)


def loading(scale: Scale) -> Found:
    """How fast a fence file is read and checked: what starts before any of this."""
    load = stores(scale.stores)
    features = [each.to_feature() for each in load.fences]
    text = json.dumps({"type": "FeatureCollection", "features": features})
    taken = [seconds(lambda: geofences.loads(text)) for _ in range(scale.rounds)]
    row = Row(
        what=f"`geofences.loads`, {scale.stores:,} circles as GeoJSON",
        against="",
        unit="fences a second",
        values=rates(scale.stores, taken),
    )
    return Found(rows=[row])
