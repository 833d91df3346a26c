"""Which fences hold this point, exactly, and which are near?

An R-tree keeps the fences' boxes and is the truth about candidates; over it ``cells`` remember what
needs no geometry. The exact test of each candidate is native for circles and outlines, with GEOS
for whatever rounding leaves in doubt. This file is the face: it puts the parts together and knows
nothing of time, subjects or why somebody asks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from geofences import geodesy
from geofences.catalogue import Pairs
from geofences.cells import Cells, Ground
from geofences.clearings import Clearings
from geofences.exact import Exact
from geofences.listing import SURE
from geofences.near import Near
from geofences.roster import Roster
from geofences.tree import meeting

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    import numpy.typing as npt

    from geofences.model import Fence

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]
    Bools = npt.NDArray[np.bool_]
    Numbers = npt.NDArray[np.int32]
    Box = tuple[float, float, float, float]

# Answers that are shared, so that equal ones are one tuple: some 200 bytes each.
KEPT_ANSWERS = 50_000


class FenceIndex:
    """Fences by place: exact containment, nearness and crossings, with edits seen at once.

    Points are degrees, longitude in [-180, 180] and latitude in [-90, 90]; others raise
    ValueError. 180 and -180 are one meridian; at a pole any longitude is the same point. A point
    on a boundary is inside. Geometry alone counts: floors, validity and ``exclude`` do not.
    Outlines are taken to be sound, as ``load`` leaves them. Raises ValueError where two fences
    have the same id. Not safe to use from several threads at once.
    """

    def __init__(self, fences: Iterable[Fence] = ()) -> None:
        self._roster = Roster(fences)
        self._tree = self._roster.tree
        self._cells = Cells(
            Ground(self._tree, self._roster.columns, self._roster.shape, self._roster.__len__)
        )
        self._exact = Exact(self._roster, self._cells)
        self._near = Near(self._roster, self._exact.holds)
        self._clearings = Clearings(self._tree)
        self._tuples: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._alone: dict[int, tuple[str, ...]] = {}
        self._depths: dict[int, float] = {}

    # -- what is in it ---------------------------------------------------------------------

    @property
    def version(self) -> int:
        """How often fences have been put or removed."""
        return self._roster.version

    @property
    def ids(self) -> list[str]:
        """Fence ids by ``fence_index``; an empty text where a fence was removed."""
        return self._roster.ids.copy()

    def __len__(self) -> int:
        return len(self._roster)

    def __contains__(self, fence_id: object) -> bool:
        return fence_id in self._roster.slots

    def __iter__(self) -> Iterator[Fence]:
        return (self._roster.unpacked(slot) for slot in sorted(self._roster.slots.values()))

    def get(self, fence_id: str) -> Fence | None:
        """Return the fence of that id, or None."""
        slot = self._roster.slots.get(fence_id)
        return None if slot is None else self._roster.fence(slot)

    def changes(self, since: int) -> tuple[str, ...] | None:
        """Return the ids put or removed after version ``since``, in order; None if forgotten."""
        return self._roster.changes(since)

    # -- edits -----------------------------------------------------------------------------

    def put(self, fence: Fence) -> None:
        """Add a fence, or replace the one of the same id; the next call sees it."""
        self._changed(*self._roster.put(fence))

    def remove(self, fence_id: str) -> None:
        """Take a fence out; the next call sees it. Raises KeyError where there is none."""
        self._changed(*self._roster.remove(fence_id))

    def _changed(self, slot: int, boxes: list[Box]) -> None:
        self._cells.drop(boxes)
        if self._roster.columns.crowded():
            self._roster.columns.compact()
            self._cells.clear()
        self._exact.forget(slot)
        self._near.forget(slot)
        self._clearings.clear()
        self._depths.pop(slot, None)
        self._alone.pop(slot, None)

    # -- which hold a point ------------------------------------------------------------------

    def locate(self, lon: float, lat: float) -> list[str]:
        """Return the sorted ids of the fences that hold the point; exact."""
        if -180.0 < lon < 180.0 and -90.0 < lat < 90.0:
            number = self._cells.number(lon, lat)
            if number >= 0:
                told = self._cells.lists.told.get(number) or self._exact.told(number)
                sure, circles, others = told
                if circles or others:
                    return self._exact.held(told, lon, lat)
                return sure.copy()
            boxes = [(lon, lat, lon, lat)]
        else:
            _check(lon, lat)
            boxes = _special_boxes(lat)
        ids, holds = self._roster.ids, self._exact.holds
        return sorted([ids[slot] for slot in self._near.meeting(boxes) if holds(slot, lon, lat)])

    def locate_many(self, lons: npt.ArrayLike, lats: npt.ArrayLike) -> tuple[Ints, Ints]:
        """Locate many points: (point_index, fence_index), a row a pair.

        int64 arrays sorted by point, then by fence id; ``ids[fence_index]`` are the ids. ``lons``
        and ``lats`` are degrees, arrays of one length; ValueError where they are not.
        """
        x, y = _points(lons, lats)
        return self._held(self._numbers(x, y), x, y)

    def holding(self, lons: npt.ArrayLike, lats: npt.ArrayLike) -> list[tuple[str, ...]]:
        """Return, for each point, the sorted ids of the fences that hold it; exact.

        Equal answers are one tuple, so that ``is`` often tells that nothing has changed.
        """
        x, y = _points(lons, lats)
        points, slots = self._held(self._numbers(x, y), x, y)
        found: list[tuple[str, ...]] = [()] * len(x)
        alone, ids = self._alone, self._roster.ids
        # Where the rows of a point begin, and where the next point's do.
        begins = np.flatnonzero(np.concatenate(([True], points[1:] != points[:-1])))[: len(points)]
        ends = np.append(begins[1:], len(points))
        single = begins[ends - begins == 1]
        theirs = slots[single].tolist()
        known = map(alone.get, theirs)
        for point, slot, one in zip(points[single].tolist(), theirs, known, strict=True):
            if one is not None:
                found[point] = one
            else:
                found[point] = alone[slot] = self._shared((ids[slot],))
        many = ends - begins > 1
        named = [ids[slot] for slot in slots.tolist()] if many.any() else []
        for point, start, end in zip(
            points[begins[many]].tolist(), begins[many].tolist(), ends[many].tolist(), strict=True
        ):
            found[point] = self._shared(tuple(named[start:end]))
        return found

    def codes(self, lons: npt.ArrayLike, lats: npt.ArrayLike) -> Numbers:
        """Return a number for each point that says which fences hold it: see ``ids_of``.

        Numbers hold until the next question that is no ``ids_of``.
        """
        return self._numbers(*_points(lons, lats))

    def ids_of(self, code: int) -> tuple[str, ...] | None:
        """Return the sorted ids that a number of ``codes`` means; None where a test must tell."""
        if code < 0:
            return None
        sure, circles, others = self._exact.told(code)
        return None if circles or others else self._shared(tuple(sure))

    def _shared(self, ids: tuple[str, ...]) -> tuple[str, ...]:
        """Return the one tuple of these ids, so that ``is`` tells that they are equal."""
        known = self._tuples.get(ids)
        if known is None:
            if len(self._tuples) >= KEPT_ANSWERS:
                self._tuples.clear()
                self._alone.clear()
            known = self._tuples[ids] = ids
        return known

    def _numbers(self, x: Floats, y: Floats) -> Numbers:
        """Return the list of each point's cell; -1 where the R-tree must be asked."""
        special = (np.abs(x) == 180.0) | (np.abs(y) == 90.0)
        if not special.any():
            return self._cells.numbers(x, y)
        found = np.full(len(x), -1, np.int32)
        plain = np.flatnonzero(~special)
        found[plain] = self._cells.numbers(x[plain], y[plain])
        return found

    def _held(self, numbers: Numbers, x: Floats, y: Floats) -> tuple[Ints, Ints]:
        """Return (point, slot) of what holds points, by the lists of their cells."""
        pairs = self._cells.lists.pairs(numbers)
        points, slots = pairs.points, pairs.slots
        asked = np.flatnonzero(pairs.how != SURE)
        if len(asked):
            kept = pairs.how == SURE
            kept[asked] = self._exact.hold(pairs.some(asked), x, y)
            points, slots = points[kept], slots[kept]
        open_ = np.flatnonzero(numbers < 0)
        if len(open_):
            more, theirs = self._from_tree(open_, x, y)
            points, slots = np.concatenate((points, more)), np.concatenate((slots, theirs))
            order = np.argsort(points, kind="stable")
            points, slots = points[order], slots[order]
        again = points[1:] == points[:-1]
        if again.any():
            # Sorted by id where a point has several rows.
            some = np.flatnonzero(np.append(again, False) | np.append(False, again))
            theirs = slots[some]
            slots = slots.copy()
            slots[some] = theirs[np.lexsort((self._roster.ranks(theirs), points[some]))]
        return points, slots

    def _from_tree(self, asked: Ints, x: Floats, y: Floats) -> tuple[Ints, Ints]:
        """Return (point, slot) of what holds points, by the R-tree alone."""
        special = (np.abs(x[asked]) == 180.0) | (np.abs(y[asked]) == 90.0)
        plain = asked[~special]
        which, slots = meeting(
            self._tree, np.column_stack((x[plain], y[plain], x[plain], y[plain]))
        )
        points = plain[which]
        held = self._exact.hold(Pairs(points, slots, self._exact.how(slots), slots), x, y)
        # A fence with a box on either side of ±180° may have been found twice.
        both = np.unique(np.column_stack((points[held], slots[held])), axis=0)
        others = [
            (point, slot)
            for point in asked[special].tolist()
            for slot in self._near.meeting(_special_boxes(float(y[point])))
            if self._exact.holds(slot, float(x[point]), float(y[point]))
        ]
        both = np.vstack((both, np.array(others, np.int64).reshape(-1, 2)))
        return both[:, 0], both[:, 1]

    # -- in metres ---------------------------------------------------------------------------

    def within(self, lon: float, lat: float, metres: float) -> list[tuple[str, float]]:
        """Return (id, signed edge distance in metres) of all fences at most ``metres`` away.

        Sorted by id. The distance is negative inside and 0 on the edge; a fence counts where it
        is at most ``metres``, so all that hold the point do unless ``metres`` is negative.
        """
        _check(lon, lat)
        if not metres < 1e9:
            raise ValueError("metres must be a number below 1e9")
        if metres <= 0.0 and abs(lon) != 180.0 and abs(lat) != 90.0:
            number = self._cells.number(lon, lat)
            if number >= 0:
                slots = [slot for slot, _, _ in self._cells.lists.entries(number)]
                return self._near.within(slots, lon, lat, metres)
        boxes = geodesy.boxes_within(lon, lat, max(metres, 0.0))
        return self._near.within(self._near.meeting(boxes), lon, lat, metres)

    def pairs_within(
        self, lons: npt.ArrayLike, lats: npt.ArrayLike, within_m: npt.ArrayLike
    ) -> tuple[Ints, Ints, Floats]:
        """Return (point_index, fence_index, metres) of all fences at most ``within_m`` away.

        The batch form of ``within``, a row a pair, sorted by point, then by fence id; ``within_m``
        is one number or one a point.
        """
        x, y = _points(lons, lats)
        metres = np.broadcast_to(np.asarray(within_m, np.float64), x.shape)
        if not (metres < 1e9).all():
            raise ValueError("within_m must be numbers below 1e9")
        points, slots = self._near.candidates(x, y, np.maximum(metres, 0.0))
        found = self._distances(slots, x[points], y[points])
        kept = np.flatnonzero(found <= metres[points])
        points, slots, found = points[kept], slots[kept], found[kept]
        order = np.lexsort((self._roster.ranks(slots), points))
        return points[order], slots[order], found[order]

    def distance(self, fence_id: str, lon: float, lat: float, *, held: bool | None = None) -> float:
        """Return the signed edge distance of one fence in metres: negative inside, 0 on the edge.

        ``held``, where it is known already: whether the fence holds the point, as ``locate`` says.
        Raises KeyError for an unknown id and ValueError for a point off the globe.
        """
        _check(lon, lat)
        return self._near.distance(self._roster.slots[fence_id], lon, lat, held)

    def distance_each(
        self, fence_ids: Sequence[str], lons: Floats, lats: Floats, held: list[bool]
    ) -> list[float]:
        """Return what ``distance`` gives for each fence and its point, to the last bit.

        ``held`` says of each whether the fence holds the point. Raises KeyError for an unknown id
        and ValueError for points off the globe.
        """
        x, y = _points(lons, lats)
        slots = self._roster.slots
        return self._near.each(np.array([slots[each] for each in fence_ids], np.int64), x, y, held)

    def distances(
        self, fence_index: npt.ArrayLike, lons: npt.ArrayLike, lats: npt.ArrayLike
    ) -> Floats:
        """Return the signed edge distances in metres of pairs of fence and point.

        The batch form of ``distance``, equal to a tenth of a millimetre: three flat arrays of one
        length, ``fence_index`` as ``locate_many`` gives it. ValueError for points off the globe
        and numbers that are no fence's.
        """
        x, y = _points(lons, lats)
        slots = np.asarray(fence_index, np.int64)
        ids = self._roster.ids
        if slots.shape != x.shape:
            raise ValueError("fence_index must be as long as lons and lats")
        if not all(0 <= slot < len(ids) and ids[slot] for slot in set(slots.tolist())):
            raise ValueError("fence_index has a number that is no fence's")
        return self._distances(slots, x, y)

    def _distances(self, slots: Ints, x: Floats, y: Floats) -> Floats:
        pairs = Pairs(np.arange(len(slots)), slots, self._exact.how(slots), slots)
        return self._near.distances(slots, x, y, self._exact.hold(pairs, x, y))

    def depth(self, fence_id: str) -> float:
        """Return how far in metres the deepest point inside a fence is from its edge.

        A circle's radius, a corridor's half width, the inscribed circle of an outline; of several
        parts the deepest. Raises KeyError for an unknown id.
        """
        slot = self._roster.slots[fence_id]
        known = self._depths.get(slot)
        if known is None:
            if len(self._depths) >= KEPT_ANSWERS:
                self._depths.clear()
            known = self._depths[slot] = self._near.depth(slot)
        return known

    def clear_many(self, lons: npt.ArrayLike, lats: npt.ArrayLike, within_m: float) -> Bools:
        """Tell of each point whether surely no fence, edge or interior, lies within ``within_m``.

        Quick, without geometry: False may be a false alarm. ``within_m`` is 0 to 1,000 metres.
        """
        return self._clearings.at(*_points(lons, lats), float(within_m))

    # -- on the way --------------------------------------------------------------------------

    def no_edge_between(self, lon0: float, lat0: float, lon1: float, lat1: float) -> bool:
        """Tell quickly whether surely no fence's edge lies on the straight way between two points.

        False where that is not known at once, which depends on what was asked about before:
        ``crossings`` has the answer.
        """
        if max(abs(lon0), abs(lon1)) >= 180.0 or max(abs(lat0), abs(lat1)) >= 90.0:
            return False
        number = self._cells.number(lon0, lat0)
        if number < 0 or not self._cells.share(lon0, lat0, lon1, lat1):
            return False
        return self._exact.clear(self._exact.told(number), lon0, lat0, lon1, lat1)

    def no_edge_between_many(
        self, lons0: npt.ArrayLike, lats0: npt.ArrayLike, lons1: npt.ArrayLike, lats1: npt.ArrayLike
    ) -> Bools:
        """Tell the same of many pairs of points; arrays of one length."""
        x0, y0 = _points(lons0, lats0)
        x1, y1 = _points(lons1, lats1)
        if x0.shape != x1.shape:
            raise ValueError("both ends must be arrays of one length")
        clear = np.zeros(len(x0), np.bool_)
        some = np.flatnonzero(
            (np.maximum(np.abs(x0), np.abs(x1)) < 180.0)
            & (np.maximum(np.abs(y0), np.abs(y1)) < 90.0)
        )
        numbers = self._cells.numbers(x0[some], y0[some])
        shared = (numbers >= 0) & self._cells.share_many(x0[some], y0[some], x1[some], y1[some])
        some, numbers = some[shared], numbers[shared]
        tested = self._cells.lists.pairs(numbers)
        clear[some] = True
        for place in np.unique(tested.points[tested.how != SURE]).tolist():
            at = some[place]
            way = float(x0[at]), float(y0[at]), float(x1[at]), float(y1[at])
            clear[at] = self._exact.clear(self._exact.told(int(numbers[place])), *way)
        return clear

    def missed_many(
        self,
        lons0: npt.ArrayLike,
        lats0: npt.ArrayLike,
        lons1: npt.ArrayLike,
        lats1: npt.ArrayLike,
        but: Sequence[Collection[str]],
    ) -> Bools:
        """Tell of many straight ways whether ``crossings`` surely finds nothing on them.

        ``but`` are the ids that do not count, a collection for each way. False may be a false
        alarm. Raises ValueError where the arrays and ``but`` are not of one length.
        """
        x0, y0 = _points(lons0, lats0)
        x1, y1 = _points(lons1, lats1)
        if not x0.shape == x1.shape == (len(but),):
            raise ValueError("both ends must be arrays of one length, and so must what is left out")
        return self._near.missed(x0, y0, x1, y1, but)

    def crossings(
        self, lon0: float, lat0: float, lon1: float, lat1: float, but: Collection[str] = ()
    ) -> list[tuple[str, float, float]]:
        """Return (id, first, last) of each fence that a straight segment runs through.

        The segment is straight in longitude and latitude and runs the short way round ±180°.
        ``first`` and ``last`` are the fractions of it, 0..1, at which it first enters and last
        leaves. Sorted by id; a fence that it merely touches in a point does not count, nor do
        those of ``but``.
        """
        _check(lon0, lat0)
        _check(lon1, lat1)
        return self._near.crossings(lon0, lat0, lon1, lat1, but)


def _special_boxes(lat: float) -> list[Box]:
    """Return where to look for a point on the seam, which has two names, or at a pole."""
    if abs(lat) == 90.0:
        return [(-180.0, lat, 180.0, lat)]
    return [(-180.0, lat, -180.0, lat), (180.0, lat, 180.0, lat)]


def _check(lon: float, lat: float) -> None:
    if not (-180.0 <= lon <= 180.0 and -90.0 <= lat <= 90.0):
        raise ValueError(f"no such place: longitude {lon!r}, latitude {lat!r}")


def _points(lons: npt.ArrayLike, lats: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Return two arrays of doubles, or raise ValueError where they are no points."""
    x, y = np.asarray(lons, np.float64), np.asarray(lats, np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        raise ValueError("lons and lats must be two flat arrays of one length")
    wrong = ~((np.abs(x) <= 180.0) & (np.abs(y) <= 90.0))
    if wrong.any():
        first = int(np.argmax(wrong))
        raise ValueError(f"no such place: longitude {x[first]}, latitude {y[first]} (at {first})")
    return x, y
