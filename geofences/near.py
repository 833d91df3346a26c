"""How far are these points from those fences, and what lies on the way?

The index's questions in metres, one at a time and in batches; batches of outlines are measured in
a plane about the point, single ones along geodesics. This file knows fences by number, distances
and boxes; nothing of cells or edits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import shapely

from geofences import geodesy
from geofences.chord import Chord, chords_miss
from geofences.columns import WIDEST, ragged
from geofences.nearby import Nearby, distances
from geofences.packed import (
    COLUMNS,
    COUNT,
    FIRST,
    LAT,
    LON,
    OUTLINE,
    RADIUS,
    Y,
    Z,
)  # fmt: skip
from geofences.shape import ON_EDGE_M, deepest_point
from geofences.tree import meeting

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    import numpy.typing as npt

    from geofences.columns import View
    from geofences.roster import Roster

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]
    Bools = npt.NDArray[np.bool_]
    Box = tuple[float, float, float, float]

# An edge that may run further beside its line than this is too long for the plane: some 1.4 km at
# 45 degrees. Up to that the foot is found to 30 micrometres along the edge.
MOST_STRAY_M = 0.1
# Edges measured in one go: their arrays take some 200 MB.
MOST_EDGES = 1 << 20
# Small outlines kept ready to be measured one at a time: some 5 kB each, so 80 MB.
KEPT_NEARBY = 16_384


class Near:
    """Distances of points from the fences of a roster; ``holds`` tells of one whether it holds."""

    def __init__(self, roster: Roster, holds: Callable[[int, float, float], bool]) -> None:
        self._holds = holds
        self._roster, self._columns = roster, roster.columns
        self._nearby: dict[int, Nearby | None] = {}

    # -- one at a time ---------------------------------------------------------------------------

    def meeting(self, boxes: list[Box]) -> list[int] | set[int]:
        """Return the slots whose boxes meet any of these, each once."""
        tree = self._roster.tree
        if len(boxes) == 1:
            found = list(tree.intersection(boxes[0]))
            return found if len(found) < 2 else set(found)
        return {slot for box in boxes for slot in tree.intersection(box)}

    def distance(self, slot: int, lon: float, lat: float, held: bool | None = None) -> float:
        """Return the signed edge distance of one fence in metres.

        ``held`` says whether the fence holds the point, where that is known.
        """
        rows, at = self._columns.rows, slot * COLUMNS
        radius = rows[at + RADIUS]
        if radius >= 0.0:
            return geodesy.metres_between(rows[at + LON], rows[at + LAT], lon, lat) - radius
        if radius == OUTLINE and rows[at + COUNT] <= WIDEST:
            nearby = self._nearby[slot] if slot in self._nearby else self._make(slot)
            metres = None if nearby is None else nearby.distance(lon, lat)
            if metres is not None:
                if self._holds(slot, lon, lat) if held is None else held:
                    return -metres if metres > ON_EDGE_M else 0.0
                return max(metres, ON_EDGE_M)
        return self._roster.shape(slot).distance(lon, lat)

    def each(self, slots: Ints, x: Floats, y: Floats, held: list[bool]) -> list[float]:
        """Return what ``distance`` gives for each slot and point, to the last bit."""
        found = np.full(len(slots), np.nan)
        rows = self._columns.view().rows[slots]
        circles = np.flatnonzero(rows[:, RADIUS] >= 0.0)
        if len(circles):
            of = rows[circles]
            metres = geodesy.many_metres_between(of[:, LON], of[:, LAT], x[circles], y[circles])
            found[circles] = metres - of[:, RADIUS]
        few, nearby = [], []
        small = np.flatnonzero((rows[:, RADIUS] == OUTLINE) & (rows[:, COUNT] <= WIDEST))
        for number, slot in zip(small.tolist(), slots[small].tolist(), strict=True):
            place = self._nearby[slot] if slot in self._nearby else self._make(slot)
            if place is not None:
                few.append(number)
                nearby.append(place)
        if few:
            metres = distances(nearby, x[few], y[few])
            inside = np.where(metres > ON_EDGE_M, -metres, 0.0)
            found[few] = np.where(np.array(held)[few], inside, np.maximum(metres, ON_EDGE_M))
            found[few] = np.where(np.isnan(metres), np.nan, found[few])
        for number in np.flatnonzero(np.isnan(found)).tolist():
            point = float(x[number]), float(y[number])
            found[number] = self.distance(int(slots[number]), *point, held[number])
        answer: list[float] = found.tolist()
        return answer

    def depth(self, slot: int) -> float:
        """Return how far in metres the deepest point inside a fence is from its edge."""
        at = slot * COLUMNS
        if self._columns.rows[at + RADIUS] == OUTLINE and self._columns.rows[at + COUNT] <= WIDEST:
            ring = np.column_stack(self._columns.vertices(slot))
            if not np.isnan(ring).any():
                # One ring, small: nothing else need be made of it.
                return -self.distance(slot, *deepest_point(shapely.polygons(ring)), held=True)
        return self._roster.shape(slot).depth()

    def forget(self, slot: int) -> None:
        """Forget a fence that has come, gone or changed."""
        self._nearby.pop(slot, None)

    def _make(self, slot: int) -> Nearby | None:
        if len(self._nearby) >= KEPT_NEARBY:
            self._nearby.clear()
        nearby = self._nearby[slot] = Nearby.of(*self._columns.vertices(slot))
        return nearby

    def within(
        self, slots: Iterable[int], lon: float, lat: float, metres: float
    ) -> list[tuple[str, float]]:
        """Return the sorted (id, distance) of those of the slots that are near enough."""
        rows, ids = self._columns.rows, self._roster.ids
        x, y, z = geodesy.earth_centred(lon, lat)
        found = []
        for slot in slots:
            at = slot * COLUMNS
            radius = rows[at + RADIUS]
            if radius >= 0.0:
                reach = radius + metres + geodesy.SLACK_M
                apart = (x - rows[at]) ** 2 + (y - rows[at + Y]) ** 2 + (z - rows[at + Z]) ** 2
                if reach < 0.0 or apart > reach * reach:
                    continue
            distance = self.distance(slot, lon, lat)
            if distance <= metres:
                found.append((ids[slot], distance))
        found.sort()
        return found

    def crossings(
        self, lon0: float, lat0: float, lon1: float, lat1: float, but: Collection[str]
    ) -> list[tuple[str, float, float]]:
        """Return the sorted (id, first, last) of fences that a straight way runs through."""
        turn = lon1 - lon0
        if abs(turn) > 180.0:
            turn -= 360.0 if turn > 0 else -360.0
        south, north = min(lat0, lat1), max(lat0, lat1)
        west, east = min(lon0, lon0 + turn), max(lon0, lon0 + turn)
        boxes = geodesy.wrapped(west, south, east, north)
        if west == -180.0 or east == 180.0:
            boxes += [(180.0, south, 180.0, north), (-180.0, south, -180.0, north)]
        found = []
        rows, chord = self._columns.rows, None
        for slot in self.meeting(boxes):
            fence_id = self._roster.ids[slot]
            if fence_id not in but:
                if rows[slot * COLUMNS + RADIUS] >= 0.0:
                    chord = chord or Chord(lon0, lat0, lon1, lat1)
                    if chord.misses(rows, slot * COLUMNS):
                        continue
                span = self._roster.shape(slot).span(lon0, lat0, lon1, lat1)
                if span:
                    found.append((fence_id, *span))
        return sorted(found)

    # -- many ------------------------------------------------------------------------------------

    def missed(
        self, x0: Floats, y0: Floats, x1: Floats, y1: Floats, but: Sequence[Collection[str]]
    ) -> Bools:
        """Tell of ways whether ``crossings`` surely finds no fence besides those of ``but``.

        By boxes, and of circles by chords.
        """
        corners = np.array((
            np.minimum(x0, x1), np.minimum(y0, y1), np.maximum(x0, x1), np.maximum(y0, y1)
        ))  # fmt: skip
        plain = (np.abs(x1 - x0) <= 180.0) & (np.abs(corners[[0, 2]]).max(axis=0) < 180.0)
        missed: Bools = plain.astype(np.bool_)
        asked = np.flatnonzero(missed)
        which, slots = meeting(self._roster.tree, corners[:, asked].T)
        ways, ids = asked[which], self._roster.ids
        others = np.array([
            ids[slot] not in but[way]
            for way, slot in zip(ways.tolist(), slots.tolist(), strict=True)
        ], np.bool_)  # fmt: skip
        ways, slots = ways[others], slots[others]
        rows = self._columns.view().rows[slots]
        near = ~chords_miss(rows, x0[ways], y0[ways], x1[ways], y1[ways])
        missed[ways[near]] = False
        return missed

    def candidates(self, x: Floats, y: Floats, metres: Floats) -> tuple[Ints, Ints]:
        """Return (point, slot) of all fences whose box may reach within ``metres`` of the point."""
        corners = geodesy.many_rough_boxes(x, y, metres)
        plain = ~np.isnan(corners[0])
        some = np.flatnonzero(plain)
        which, slots = meeting(self._roster.tree, corners[:, some].T)
        points = some[which]
        for point in np.flatnonzero(~plain).tolist():
            boxes = geodesy.boxes_within(float(x[point]), float(y[point]), float(metres[point]))
            near = sorted(self.meeting(boxes))
            points = np.append(points, np.full(len(near), point, np.int64))
            slots = np.append(slots, np.array(near, np.int64))
        if not len(points):
            return points, slots
        # A fence with a box on either side of ±180° may have been found twice.
        both = np.unique(np.column_stack((points, slots)), axis=0)
        return both[:, 0], both[:, 1]

    def distances(self, slots: Ints, x: Floats, y: Floats, held: Bools) -> Floats:
        """Return the signed edge distance of each pair of slot and point, in metres.

        ``held`` says whether the fence holds the point.
        """
        found = np.full(len(slots), np.nan)
        view = self._columns.view()
        rows = view.rows[slots]
        asked = np.flatnonzero(rows[:, RADIUS] >= 0.0)
        if len(asked):
            near = rows[asked]
            metres = geodesy.many_metres_between(near[:, LON], near[:, LAT], x[asked], y[asked])
            found[asked] = metres - near[:, RADIUS]
        asked = np.flatnonzero((rows[:, RADIUS] == OUTLINE) & (np.abs(y) < geodesy.PLANE_DEG))
        ends = np.cumsum(rows[asked, COUNT])
        begin = 0
        while begin < len(asked):
            start = ends[begin - 1] if begin else 0.0
            end = begin + max(int(np.searchsorted(ends[begin:] - start, MOST_EDGES)), 1)
            some = asked[begin:end]
            metres = edge_distances(view, rows[some], x[some], y[some])
            inside = np.where(metres <= ON_EDGE_M, 0.0, -metres)
            found[some] = np.where(held[some], inside, np.maximum(metres, ON_EDGE_M))
            begin = end
        for place in np.flatnonzero(np.isnan(found)).tolist():
            point = float(x[place]), float(y[place])
            found[place] = self.distance(int(slots[place]), *point, bool(held[place]))
        return found


def edge_distances(view: View, rows: Floats, x: Floats, y: Floats) -> Floats:
    """Return how far points are from the nearest edge of outlines, in metres; NaN beyond PLANE_M.

    Corners are laid in a plane about each point, as far east and north as on the ellipsoid by the
    radii of curvature half way (Gauss's mid-latitude formulas). An edge runs a little beside the
    line between its corners there, so the foot found on the line is measured again.
    """
    first, count = rows[:, (FIRST, COUNT)].astype(np.int64).T
    which = np.repeat(np.arange(len(rows)), count)
    corner = ragged(first, count)
    lon, lat = view.xs[corner], view.ys[corner]
    east, north = _offsets(lon, lat, x[which], y[which])
    # An edge from each corner to the next; there is none from the last, nor beside a break.
    run, rise = np.append(east[1:], 0.0) - east, np.append(north[1:], 0.0) - north
    length_2 = run * run + rise * rise
    share = -(east * run + north * rise) / np.maximum(length_2, 1e-12)
    share = np.clip(share, 0.0, 1.0)
    metres = np.hypot(east + share * run, north + share * rise)
    metres[np.cumsum(count) - 1] = np.nan
    # How far an edge strays from the line: as a parallel does from its chord, and as much again.
    steep = np.tan(np.radians(np.minimum(np.abs(lat), geodesy.PLANE_DEG + 1.0)))
    stray = length_2 * (0.25 + steep) / (4.0 * geodesy.TIGHTEST_M) + ON_EDGE_M
    starts = np.cumsum(count) - count
    least = np.fmin.reduceat(metres + stray, starts)
    close = np.flatnonzero(metres - stray <= least[which])
    which, share = which[close], share[close]
    at, after = corner[close], corner[close] + 1
    lon = view.xs[at] + share * (view.xs[after] - view.xs[at])
    lat = view.ys[at] + share * (view.ys[after] - view.ys[at])
    east, north = _offsets(lon, lat, x[which], y[which])
    again = np.hypot(east, north)
    found = np.full(len(rows), np.inf)
    np.minimum.at(found, which, again)
    far = np.zeros(len(rows), np.bool_)
    far[which[stray[close] > MOST_STRAY_M]] = True
    return np.where((found <= geodesy.PLANE_M) & ~far, found, np.nan)


def _offsets(lon: Floats, lat: Floats, x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Return how many metres east and north of (x, y) places are, nearby."""
    middle = np.radians((lat + y) / 2)
    sine = np.sin(middle)
    root = np.sqrt(1.0 - geodesy.ECCENTRICITY_2 * sine * sine)
    east = np.radians(lon - x) * np.cos(middle) * geodesy.EQUATOR_M / root
    north = np.radians(lat - y) * geodesy.TIGHTEST_M / (root * root * root)
    return east, north
