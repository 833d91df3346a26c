"""Which fences hold this point, exactly, and which are near?

An R-tree keeps the fences' boxes and is the truth about candidates; over it ``cells`` remember what
needs no geometry. The exact test of each candidate is native for circles and GEOS's for areas.
This file knows fences and points; nothing of time, subjects or why somebody asks.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict, deque
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from rtree.index import Index, Property

from geofences import geodesy, packed
from geofences.cells import Cells, Ground
from geofences.packed import COLUMNS, FAR_2, LAT, LON, NO_CIRCLE, RADIUS, SURE_2, Y, Z
from geofences.shape import EDGE, INSIDE, OUT, Shape, reach_m

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    import numpy.typing as npt

    from geofences.model import Fence

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]
    Box = tuple[float, float, float, float]

# Entries a node of the R-tree: 16 answers a point among 10,000 fences in 6 µs where the library's
# own 100 takes 15 µs (measured); 10 and 32 are about as good.
NODE_SIZE = 16
# Vertices of areas kept ready as GEOS objects and edge arrays: some 150 bytes each, so 75 MB.
KEPT_WEIGHT = 500_000
# Even a small shape costs some kilobytes of objects: counted as this many vertices.
SHAPE_WEIGHT = 16
# What an exact test of an outline costs against a circle's, for deciding how fine cells become.
OUTLINE_EFFORT = 8
# Fences kept ready as objects for ``get``, beside their packed form: some 800 bytes each, and
# 0.2 µs each time where unpacking takes 6 (measured).
KEPT_FENCES = 16_384
# Fences taken in at a time: enough that numpy's own costs vanish, few enough to take 10 MB.
CHUNK = 4096
# Edits remembered for ``changes``: who asks less often than every so many edits starts afresh.
KEPT_CHANGES = 65_536


class FenceIndex:
    """Fences by place: exact containment, nearness and crossings, with edits seen at once.

    Points are degrees, longitude in [-180, 180] and latitude in [-90, 90]; others raise
    ValueError. 180 and -180 are one meridian; at a pole any longitude is the same point. A point
    on a boundary is inside. Geometry alone counts: floors, validity and ``exclude`` do not.
    Raises ValueError where two fences have the same id. Not safe to use from several threads at
    once.
    """

    def __init__(self, fences: Iterable[Fence] = ()) -> None:
        self.version = 0
        self._log: deque[tuple[int, str]] = deque(maxlen=KEPT_CHANGES)
        self._ids: list[str] = []
        self._kept: list[packed.Kept | None] = []
        self._read: dict[int, tuple[packed.Kept, Fence]] = {}
        self._slots: dict[str, int] = {}
        self._free: list[int] = []
        self._circles = array("d")
        self._shapes: OrderedDict[int, Shape] = OrderedDict()
        self._weight = 0
        self._tree = self._planted(fences)
        self._cells = Cells(
            Ground(self.__len__, self._meeting, self._classify, self._order, self._effort)
        )
        self._told: dict[int, tuple[str, ...] | None] = {}

    # -- what is in it ---------------------------------------------------------------------

    @property
    def ids(self) -> list[str]:
        """Fence ids by ``fence_index``; an empty text where a fence was removed."""
        return self._ids.copy()

    def __len__(self) -> int:
        return len(self._slots)

    def __contains__(self, fence_id: object) -> bool:
        return fence_id in self._slots

    def __iter__(self) -> Iterator[Fence]:
        return (packed.unpack(kept) for kept in self._kept if kept is not None)

    def get(self, fence_id: str) -> Fence | None:
        """Return the fence of that id, or None."""
        slot = self._slots.get(fence_id)
        return None if slot is None else self._fence(slot)

    def changes(self, since: int) -> tuple[str, ...] | None:
        """Return the ids put or removed after version ``since``, in order; None if forgotten."""
        if since >= self.version:
            return ()
        if self.version - since > len(self._log):
            return None
        return tuple(fence_id for version, fence_id in self._log if version > since)

    # -- edits -----------------------------------------------------------------------------

    def put(self, fence: Fence) -> None:
        """Add a fence, or replace the one of the same id; the next call sees it."""
        kept, row, boxes = packed.pack(fence), packed.circle_of(fence), packed.boxes_of(fence)
        slot = self._slots.get(fence.id)
        if slot is None:
            slot = self._take_slot(fence.id)
        else:
            self._untree(slot)
        self._kept[slot] = kept
        self._circles[slot * COLUMNS : slot * COLUMNS + COLUMNS] = array("d", row)
        for box in boxes:
            self._tree.insert(slot, box)
        self._changed(fence.id, boxes)

    def remove(self, fence_id: str) -> None:
        """Take a fence out; the next call sees it. Raises KeyError where there is none."""
        slot = self._slots[fence_id]
        self._untree(slot)
        del self._slots[fence_id]
        self._ids[slot] = ""
        self._kept[slot] = None
        self._free.append(slot)
        self._changed(fence_id, [])

    def _changed(self, fence_id: str, boxes: list[Box]) -> None:
        self._cells.drop(boxes)
        self._told.clear()
        self.version += 1
        self._log.append((self.version, fence_id))

    def _planted(self, fences: Iterable[Fence]) -> Index:
        """Take in the first fences and return the R-tree of their boxes, built all at once."""
        owners, corners = [np.empty(0, np.int64)], [np.empty((0, 4))]
        waiting = iter(fences)
        while some := list(islice(waiting, CHUNK)):
            first = len(self._ids)
            for slot, fence in enumerate(some, start=first):
                fence_id = _copied(fence.id)
                if self._slots.setdefault(fence_id, slot) != slot:
                    raise ValueError(f"two fences have the id {fence_id!r}; ids must differ")
                self._ids.append(fence_id)
                self._kept.append(packed.pack(fence))
            rows = packed.circles(some)
            self._circles.frombytes(rows.tobytes())
            numbers, boxes = packed.boxes(some, rows)
            owners.append(numbers + first)
            corners.append(boxes)
        properties = Property(index_capacity=NODE_SIZE, leaf_capacity=NODE_SIZE, fill_factor=0.7)
        if not self._ids:
            return Index(properties=properties)
        both = np.concatenate(corners)
        return Index((np.concatenate(owners), both[:, :2], both[:, 2:]), properties=properties)

    def _take_slot(self, fence_id: str) -> int:
        if self._free:
            slot = self._free.pop()
            self._ids[slot] = fence_id
        else:
            slot = len(self._ids)
            self._ids.append(fence_id)
            self._kept.append(None)
            self._circles.extend(NO_CIRCLE)
        self._slots[fence_id] = slot
        return slot

    def _untree(self, slot: int) -> None:
        # The boxes follow from the fence alone, so they need not be remembered.
        boxes = packed.boxes_of(self._fence(slot))
        for box in boxes:
            self._tree.delete(slot, box)
        self._cells.drop(boxes)
        self._read.pop(slot, None)
        shape = self._shapes.pop(slot, None)
        if shape is not None:
            self._weight -= shape.weight + SHAPE_WEIGHT

    def _fence(self, slot: int) -> Fence:
        kept, known = self._kept[slot], self._read.get(slot)
        assert kept is not None
        if known is None or known[0] is not kept:
            if len(self._read) >= KEPT_FENCES:
                self._read.clear()
            known = self._read[slot] = kept, packed.unpack(kept)
        return known[1]

    def _shape(self, slot: int) -> Shape:
        """Return the fence's shape, from the cache or built; the least used are forgotten."""
        shape = self._shapes.get(slot)
        if shape is not None:
            self._shapes.move_to_end(slot)
            return shape
        shape = self._shapes[slot] = Shape(self._fence(slot))
        self._weight += shape.weight + SHAPE_WEIGHT
        while self._weight > KEPT_WEIGHT and len(self._shapes) > 1:
            _, oldest = self._shapes.popitem(last=False)
            self._weight -= oldest.weight + SHAPE_WEIGHT
        return shape

    # -- questions -------------------------------------------------------------------------

    def locate(self, lon: float, lat: float) -> list[str]:
        """Return the sorted ids of the fences that hold the point; exact."""
        ids = self._ids
        if -180.0 < lon < 180.0 and -90.0 < lat < 90.0:
            slots, edges = self._cells.at(lon, lat)
            return [
                ids[slot]
                for slot, edge in zip(slots, edges, strict=True)
                if not edge or self._holds(slot, lon, lat)
            ]
        _check(lon, lat)
        return sorted(
            ids[slot] for slot in self._in_boxes(_special_boxes(lat)) if self._holds(slot, lon, lat)
        )

    def locate_many(self, lons: npt.ArrayLike, lats: npt.ArrayLike) -> tuple[Ints, Ints]:
        """Locate many points: (point_index, fence_index), a row a pair.

        int64 arrays sorted by point, then by fence id; ``ids[fence_index]`` are the ids. ``lons``
        and ``lats`` are degrees, arrays of one length; ValueError where they are not.
        """
        x, y = _points(lons, lats)
        special = np.flatnonzero((np.abs(x) == 180.0) | (np.abs(y) == 90.0))
        if len(special):
            return self._locate_with(special, x, y)
        points, slots, edges = self._cells.pairs(x, y)
        asked = np.flatnonzero(edges)
        if not len(asked):
            return points, slots
        kept = ~edges
        kept[asked] = self._hold(points[asked], slots[asked], x, y)
        return points[kept], slots[kept]

    def holding(self, lons: npt.ArrayLike, lats: npt.ArrayLike) -> list[tuple[str, ...]]:
        """Return, for each point, the sorted ids of the fences that hold it; exact.

        Points that the same fences hold wholly around them share one tuple, so that ``is`` often
        tells that nothing has changed.
        """
        x, y = _points(lons, lats)
        found: list[tuple[str, ...]] = [()] * len(x)
        special = (np.abs(x) == 180.0) | (np.abs(y) == 90.0)
        if special.any():
            tested = list(range(len(x)))
        else:
            tested = []
            told = self._told
            for place, number in enumerate(self._cells.numbers(x, y).tolist()):
                if number:
                    ids = told[number] if number in told else self._tell(number)
                    if ids is None:
                        tested.append(place)
                    else:
                        found[place] = ids
        if tested:
            points, slots = self.locate_many(x[tested], y[tested])
            starts = np.searchsorted(points, np.arange(len(tested) + 1)).tolist()
            ids_of = [self._id(slot) for slot in slots.tolist()]
            for nth, place in enumerate(tested):
                found[place] = tuple(ids_of[starts[nth] : starts[nth + 1]])
        return found

    def _tell(self, number: int) -> tuple[str, ...] | None:
        """Return the ids of a cell's list; None where some need a test."""
        slots, edges = self._cells.lists[number]
        ids = None if any(edges) else tuple(self._id(slot) for slot in slots)
        self._told[number] = ids
        return ids

    def _locate_with(self, special: Ints, x: Floats, y: Floats) -> tuple[Ints, Ints]:
        """Locate points of which some lie on the seam or at a pole, which have several names."""
        plain = np.setdiff1d(np.arange(len(x)), special)
        points, slots = self.locate_many(x[plain], y[plain])
        pairs = list(zip(plain[points].tolist(), slots.tolist(), strict=True))
        for point in special.tolist():
            ids = self.locate(float(x[point]), float(y[point]))
            pairs += [(point, self._slots[fence_id]) for fence_id in ids]
        pairs.sort(key=lambda pair: pair[0])  # stable: ids stay in order
        both = np.array(pairs, np.int64).reshape(-1, 2)
        return both[:, 0], both[:, 1]

    def within(self, lon: float, lat: float, metres: float) -> list[tuple[str, float]]:
        """Return (id, signed edge distance in metres) of all fences at most ``metres`` away.

        Sorted by id. The distance is negative inside and 0 on the edge; a fence counts where it
        is at most ``metres``, so all that hold the point do unless ``metres`` is negative.
        """
        _check(lon, lat)
        if not metres < 1e9:
            raise ValueError("metres must be a number below 1e9")
        slots: Sequence[int] | set[int]
        if metres <= 0.0 and abs(lon) != 180.0 and abs(lat) != 90.0:
            slots = self._cells.at(lon, lat).slots
        else:
            slots = self._in_boxes(geodesy.boxes_within(lon, lat, max(metres, 0.0)))
        found = []
        if slots:
            centre = geodesy.earth_centred(lon, lat)
            for slot in slots:
                distance = self._distance(slot, lon, lat, centre, metres)
                if distance is not None and distance <= metres:
                    found.append((self._id(slot), distance))
            found.sort()
        return found

    def distance(self, fence_id: str, lon: float, lat: float) -> float:
        """Return the signed edge distance of one fence in metres: negative inside, 0 on the edge.

        Raises KeyError for an unknown id and ValueError for a point off the globe.
        """
        _check(lon, lat)
        slot = self._slots[fence_id]
        at = slot * COLUMNS
        radius = self._circles[at + RADIUS]
        if radius < 0.0:
            return self._shape(slot).distance(lon, lat)
        centre = self._circles[at + LON], self._circles[at + LAT]
        return geodesy.metres_between(*centre, lon, lat) - radius

    def no_edge_between(self, lon0: float, lat0: float, lon1: float, lat1: float) -> bool:
        """Tell quickly whether surely no fence's edge lies on the straight way between two points.

        False where that is not known at once: ``crossings`` has the answer.
        """
        if max(abs(lon0), abs(lon1)) >= 180.0 or max(abs(lat0), abs(lat1)) >= 90.0:
            return False
        return self._cells.no_edge_between(lon0, lat0, lon1, lat1)

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
        turn = lon1 - lon0
        if abs(turn) > 180.0:
            turn -= 360.0 if turn > 0 else -360.0
        south, north = min(lat0, lat1), max(lat0, lat1)
        west, east = min(lon0, lon0 + turn), max(lon0, lon0 + turn)
        boxes = geodesy.wrapped(west, south, east, north)
        if west == -180.0 or east == 180.0:
            boxes += [(180.0, south, 180.0, north), (-180.0, south, -180.0, north)]
        found = []
        for slot in self._in_boxes(boxes):
            fence_id = self._id(slot)
            if fence_id not in but:
                span = self._shape(slot).span(lon0, lat0, lon1, lat1)
                if span:
                    found.append((fence_id, *span))
        return sorted(found)

    # -- candidates from the R-tree --------------------------------------------------------

    def _id(self, slot: int) -> str:
        return self._ids[slot]

    def _in_boxes(self, boxes: list[Box]) -> list[int] | set[int]:
        """Return the slots whose boxes meet any of these, each once."""
        if len(boxes) == 1:
            found = list(self._tree.intersection(boxes[0]))
            return found if len(found) < 2 else set(found)
        return {slot for box in boxes for slot in self._tree.intersection(box)}

    # -- what the cells ask ----------------------------------------------------------------

    def _meeting(self, box: Box) -> list[int]:
        return list(self._tree.intersection(box))

    def _order(self, slots: list[int]) -> list[int]:
        return sorted(slots, key=self._ids.__getitem__)

    def _effort(self, slots: tuple[int, ...]) -> int:
        circles = self._circles
        return sum(
            1 if circles[slot * COLUMNS + RADIUS] >= 0.0 else OUTLINE_EFFORT for slot in slots
        )

    def _classify(self, slots: Ints, boxes: Floats) -> npt.NDArray[np.int8]:
        said = np.full(len(slots), OUT, np.int8)
        table = np.frombuffer(self._circles).reshape(-1, COLUMNS)
        round_ones = table[slots, RADIUS] >= 0.0
        asked = np.flatnonzero(round_ones)
        if len(asked):
            rows, theirs = table[slots[asked]], boxes[:, asked]
            middle = (theirs[0] + theirs[2]) / 2, (theirs[1] + theirs[3]) / 2
            apart = geodesy.many_earth_centred(*middle) - rows[:, :3].T
            chord = np.sqrt(np.einsum("ij,ij->j", apart, apart))
            reach = reach_m(theirs)
            said[asked] = np.where(chord - reach > np.sqrt(rows[:, FAR_2]), OUT, EDGE)
            said[asked[chord + reach <= np.sqrt(rows[:, SURE_2])]] = INSIDE
        for slot, some in _by_slot(slots, np.flatnonzero(~round_ones)):
            said[some] = self._shape(slot).classify(boxes[:, some])
        return said

    # -- exact tests -----------------------------------------------------------------------

    def _holds(self, slot: int, lon: float, lat: float) -> bool:
        at = slot * COLUMNS
        circles = self._circles
        radius = circles[at + RADIUS]
        if radius < 0.0:
            return self._shape(slot).holds(lon, lat)
        x, y, z = geodesy.earth_centred(lon, lat)
        chord_2 = (x - circles[at]) ** 2 + (y - circles[at + Y]) ** 2 + (z - circles[at + Z]) ** 2
        if chord_2 <= circles[at + SURE_2]:
            return True
        if chord_2 > circles[at + FAR_2]:
            return False
        centre = circles[at + LON], circles[at + LAT]
        return geodesy.metres_between(*centre, lon, lat) <= radius

    def _distance(
        self, slot: int, lon: float, lat: float, xyz: tuple[float, float, float], metres: float
    ) -> float | None:
        """Return the signed distance, or None where it is surely more than ``metres``."""
        at = slot * COLUMNS
        circles = self._circles
        radius = circles[at + RADIUS]
        if radius < 0.0:
            return self._shape(slot).distance(lon, lat)
        reach = circles[at + RADIUS] + metres + geodesy.SLACK_M
        x, y, z = xyz
        chord_2 = (x - circles[at]) ** 2 + (y - circles[at + Y]) ** 2 + (z - circles[at + Z]) ** 2
        if reach < 0.0 or chord_2 > reach * reach:
            return None
        centre = circles[at + LON], circles[at + LAT]
        return geodesy.metres_between(*centre, lon, lat) - radius

    def _hold(self, points: Ints, slots: Ints, x: Floats, y: Floats) -> npt.NDArray[np.bool_]:
        """Test candidate pairs exactly: circles all at once, other fences one by one."""
        kept = np.zeros(len(points), np.bool_)
        table = np.frombuffer(self._circles).reshape(-1, COLUMNS)
        round_ones = table[slots, RADIUS] >= 0.0
        asked = np.flatnonzero(round_ones)
        if len(asked):
            rows = table[slots[asked]]
            lon, lat = x[points[asked]], y[points[asked]]
            apart = geodesy.many_earth_centred(lon, lat) - rows[:, :3].T
            chord_2 = np.einsum("ij,ij->j", apart, apart)
            inside = chord_2 <= rows[:, SURE_2]
            open_ = np.flatnonzero(~inside & (chord_2 <= rows[:, FAR_2]))
            if len(open_):
                near = rows[open_]
                metres = geodesy.many_metres_between(
                    near[:, LON], near[:, LAT], lon[open_], lat[open_]
                )
                inside[open_] = metres <= near[:, RADIUS]
            kept[asked] = inside
        for slot, some in _by_slot(slots, np.flatnonzero(~round_ones)):
            kept[some] = self._shape(slot).holds_many(x[points[some]], y[points[some]])
        return kept


def _copied(text: str) -> str:
    """Return a text of our own: the caller's lies among what is freed when the fences are dropped,
    and a few small objects that stay there would keep all of that memory from the system.
    """  # noqa: D205 - one sentence, too long for a line
    return f" {text}"[1:]


def _by_slot(slots: Ints, asked: Ints) -> Iterator[tuple[int, Ints]]:
    """Group the places ``asked`` of an array of slots by slot."""
    asked = asked[np.argsort(slots[asked], kind="stable")]
    found, starts = np.unique(slots[asked], return_index=True)
    return zip(found.tolist(), np.split(asked, starts[1:]), strict=False)


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
