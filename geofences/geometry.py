"""GeoJSON geometry objects to packed geometries, and what is malformed about them.

Structure only: nesting, numbers, ranges, closed rings. Whether an outline is sound is
``outline``'s to say, and what a shape covers ``shape``'s.
"""

from __future__ import annotations

import math
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from geofences import outline
from geofences.model import Geometry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

# The most detailed outline of a country has some hundred thousand positions.
MAX_POSITIONS = 500_000
# Rings, lines or points of one fence; each is tested by itself.
MAX_PARTS = 5_000
# RFC 7946 advises against collections in collections at all.
MAX_NESTING = 8


class Kind(NamedTuple):
    """How deep a geometry's coordinates nest, and what its innermost lists hold.

    ``depth`` 0 is a position, 1 a list of positions, and so on; ``least`` positions in a list;
    ``radius`` where the shape needs ``radius_m``; ``layout`` for people.
    """

    depth: int
    least: int
    radius: bool
    layout: str


# A new shape is a row here, and a part in ``shape``.
SHAPES = {
    "Point": Kind(0, 1, radius=True, layout="one position [longitude, latitude]"),
    "MultiPoint": Kind(1, 1, radius=True, layout="a list of positions [longitude, latitude]"),
    "LineString": Kind(1, 2, radius=True, layout="a list of positions [longitude, latitude]"),
    "MultiLineString": Kind(2, 2, radius=True, layout="a list of lines, each a list of positions"),
    "Polygon": Kind(2, 4, radius=False, layout="a list of rings, each a list of positions"),
    "MultiPolygon": Kind(
        3, 4, radius=False, layout="a list of polygons, each a list of rings of positions"
    ),
}
GEOMETRIES = (*SHAPES, "GeometryCollection")


class GeometryReader:
    """Reads geometry objects; ``say`` takes what is wrong, where, and the mend.

    ``check`` takes each object and its place: what any GeoJSON object may have.
    """

    def __init__(
        self,
        say: Callable[[str, str, str], None],
        check: Callable[[dict[str, Any], str], None],
    ) -> None:
        self._say = say
        self._check = check

    def read(self, value: Any, where: str = "geometry", depth: int = 0) -> Geometry | None:
        """Read a geometry object; None where anything in it is malformed."""
        if value is None and depth == 0:
            self._say("has no geometry", "", "draw one: a fence is a place")
            return None
        kind = value.get("type") if isinstance(value, dict) else None
        if not isinstance(kind, str) or kind not in GEOMETRIES:
            shown = short(value.get("type") if isinstance(value, dict) else value)
            mend = f"write one of {', '.join(GEOMETRIES)}"
            self._say(f"has no GeoJSON geometry type ({shown})", where, mend)
            return None
        self._check(value, where)
        known = {"type", "geometries" if kind == "GeometryCollection" else "coordinates"}
        extra = {key: each for key, each in value.items() if key not in known}
        for found in strange_numbers(extra) if extra else ():
            self._say("has a number that is not finite", found, "write a plain number")
        if kind == "GeometryCollection":
            return self._collection(value, where, depth, extra)
        return self._shape(kind, value.get("coordinates"), where, extra)

    def _collection(
        self, value: dict[str, Any], where: str, depth: int, extra: dict[str, Any]
    ) -> Geometry | None:
        members = value.get("geometries")
        if not isinstance(members, list) or not members:
            self._say("has no geometry in its collection", where, 'fill "geometries"')
            return None
        if depth >= MAX_NESTING or len(members) > MAX_PARTS:
            self._say("has too large or too deep a collection", where, "draw several fences")
            return None
        found = [
            self.read(member, f"{where}, member {number}", depth + 1)
            for number, member in enumerate(members)
        ]
        sound = tuple(member for member in found if member is not None)
        if len(sound) < len(found):
            return None
        return Geometry("GeometryCollection", np.empty((0, 2)), members=sound, extra=extra)

    def _shape(self, kind: str, value: Any, where: str, extra: dict[str, Any]) -> Geometry | None:
        row = SHAPES[kind]
        lists: list[Any] = [[value]] if row.depth == 0 else [value]
        parts: tuple[int, ...] = ()
        for level in range(row.depth, 1, -1):
            if not all(isinstance(each, list) for each in lists):
                self._misnested(kind, where)
                return None
            if level == 2 and row.depth == 3:
                parts = tuple(map(len, lists))
            lists = list(chain.from_iterable(lists))
        if not lists or 0 in parts or (kind == "MultiPoint" and value == []):
            self._say(f"has no coordinates in its {kind}", where, "draw one")
            return None
        if len(lists) > MAX_PARTS or (kind == "MultiPoint" and len(value) > MAX_PARTS):
            self._say(f"has more than {MAX_PARTS} parts", where, "draw several fences")
            return None
        if not all(isinstance(each, list) and set(map(type, each)) <= {list} for each in lists):
            self._misnested(kind, where)
            return None
        arrays = []
        for number, each in enumerate(lists):
            place = f"{where}, ring or line {number}" if len(lists) > 1 else where
            arrays.append(self._positions(kind, each, place))
        sound = [array for array in arrays if array is not None]
        if len(sound) < len(arrays):
            return None
        if row.depth == 2:
            parts = (len(lists),) if kind == "Polygon" else ()
        rings = tuple(map(len, sound)) if row.least > 1 else ()
        columns = min(array.shape[1] for array in sound)
        coords = sound[0] if len(sound) == 1 else np.vstack([each[:, :columns] for each in sound])
        if not self._enough(kind, sound, where):
            return None
        return Geometry(kind, coords, rings=rings, parts=parts, extra=extra)

    def _misnested(self, kind: str, where: str) -> None:
        layout = SHAPES[kind].layout
        self._say(
            f"has coordinates that are no {kind}",
            where,
            f"a {kind} is {layout}: mend type or brackets",
        )

    def _positions(self, kind: str, value: list[list[Any]], where: str) -> Floats | None:
        """Read a list of positions into an array, a row each, as fast as C allows."""
        lengths = set(map(len, value))
        types = set(map(type, chain.from_iterable(value)))
        if value and (min(lengths) < 2 or not types <= {int, float}):
            number = next(n for n, each in enumerate(value) if not _is_position(each))
            nested = any(isinstance(each, list) for each in value[number])
            if nested:
                self._misnested(kind, where)
                return None
            self._say(
                f"has a position that is not two numbers ({short(value[number])})",
                f"{where}, position {number}",
                "write [longitude, latitude]",
            )
            return None
        if not value:
            return np.empty((0, 2))
        width = min(4, *lengths)
        rows = value if lengths == {width} else [each[:width] for each in value]
        try:
            array = np.array(rows, dtype=np.float64)
        except OverflowError:  # an integer of hundreds of digits
            array = np.array([[_to_float(each) for each in row] for row in rows])
        return array if self._in_range(array, where) else None

    def _in_range(self, array: Floats, where: str) -> bool:
        if not np.isfinite(array).all():
            number = int(np.argmin(np.isfinite(array).all(axis=1)))
            place = f"{where}, position {number}"
            self._say("has a coordinate that is not a finite number", place, "write a number")
            return False
        lon, lat = np.abs(array[:, 0]), np.abs(array[:, 1])
        wrong = (lon > 180.0) | (lat > 90.0)
        if not wrong.any():
            return True
        number = int(np.argmax(wrong))
        x, y = array[number, :2].tolist()
        place = f"{where}, position {number}"
        if abs(y) > 90.0 and abs(x) <= 90.0 and abs(y) <= 180.0:
            self._say(
                f"has latitude {y:.7g}, which is beyond 90",
                place,
                "longitude and latitude look swapped: GeoJSON wants [longitude, latitude]",
            )
        elif abs(y) > 90.0:
            mend = "write degrees, latitude within ±90 (are these projected metres?)"
            self._say(f"has latitude {y:.7g}, which is beyond 90", place, mend)
        else:
            home = (x + 180.0) % 360.0 - 180.0
            mend = f"write {home:.7g}: an edge across ±180 runs the short way by itself"
            self._say(f"has longitude {x:.7g}, which is beyond 180", place, mend)
        return False

    def _enough(self, kind: str, arrays: list[Floats], where: str) -> bool:
        """Check that lines and rings have enough positions, and that rings are closed."""
        least = SHAPES[kind].least
        enough = True
        for number, array in enumerate(arrays):
            place = f"{where}, ring or line {number}" if len(arrays) > 1 else where
            if least == 4:
                enough &= self._is_ring(array, place)
            elif len(array) < least:
                what = f"has a line of {len(array)} positions"
                self._say(what, place, "a line needs two or more")
                enough = False
        return enough

    def _is_ring(self, array: Floats, place: str) -> bool:
        if len(array) and not outline.same_place(array[0, :2], array[-1, :2]):
            first, last = array[0, :2].tolist(), array[-1, :2].tolist()
            what = f"has a ring that is not closed: it begins at {first} and ends at {last}"
            self._say(what, place, "repeat the first position at the end")
            return False
        # Longer rings of fewer corners enclose no area, which is found later.
        # Nearly always the first three differ, and that is quick to see.
        corners = array[:-1, :2]
        if len(array) < 64 and _different(corners[:3]) < 3 and _different(corners) < 3:
            what = "has a ring of fewer than three different corners"
            self._say(what, place, "draw three or more")
            return False
        return True


def _different(corners: Floats) -> int:
    return len(set(map(tuple, corners.tolist())))


def is_number(value: object) -> bool:
    """Tell whether a JSON value is a number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_position(value: list[Any]) -> bool:
    return len(value) >= 2 and all(map(is_number, value))


def _to_float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def short(value: object) -> str:
    """Show a value in a problem, cut to a length that fits a line."""
    if isinstance(value, (list, dict)) and len(value) > 8:
        return f"{'a list' if isinstance(value, list) else 'an object'} of {len(value)}"
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."


def strange_numbers(value: Any) -> Iterator[str]:
    """Yield where NaN, Infinity or 1e999 stand in values that are only kept."""
    open_: list[tuple[str, Any]] = [("", value)]
    while open_:
        path, value = open_.pop()
        if isinstance(value, dict):
            open_ += [(f"{path}.{key}" if path else str(key), each) for key, each in value.items()]
        elif isinstance(value, list):
            open_ += [(f"{path}[{number}]", each) for number, each in enumerate(value)]
        elif isinstance(value, float) and not math.isfinite(value):
            yield path
