"""GeoJSON text to fences and back, and every problem on the way in plain words.

RFC 7946, read strictly where being lenient would guess what its author meant. The text comes
from outside: size, depth, number of positions and the work that an outline may cause are bounded.
This file knows GeoJSON's structure; what properties mean is ``properties``', whether an outline
is sound ``outline``'s.
"""

from __future__ import annotations

import json
import math
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import shapely

from geofences import outline, properties
from geofences.model import Fence, GeofenceError, Geometry, Problem

if TYPE_CHECKING:
    from collections.abc import Iterable
    from os import PathLike

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

# A million circles with a few properties each are some 250 MB of text.
MAX_BYTES = 256 * 1024 * 1024
# The most detailed outline of a country has some hundred thousand positions.
MAX_POSITIONS = 500_000
# Rings, lines or points of one fence; each is tested by itself.
MAX_PARTS = 5_000
# RFC 7946 advises against collections in collections at all.
MAX_NESTING = 8
# Phones outdoors in towns are good to about this much, by their own account (68 %).
TYPICAL_ACCURACY_M = 20.0
# Beyond a large city a circle is more likely a mistake of units.
LARGE_RADIUS_M = 100_000.0
METRES_PER_DEGREE = 111_195.0  # of a great circle, mean earth radius; for advice only


class Loaded(NamedTuple):
    """Fences of a text, and what there is to say about it: advice, and what was left out."""

    fences: list[Fence]
    problems: tuple[Problem, ...]


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

# Names that old files give to what RFC 7946 always means.
WGS_84 = ("CRS84", "EPSG:4326", "EPSG::4326", "WGS84", "WGS 84")


def load(path: str | PathLike[str], *, skip_bad: bool = False) -> list[Fence]:
    """Read the fences of a GeoJSON file.

    Raises GeofenceError, which lists every problem, and OSError where the file cannot be read.
    With ``skip_bad`` fences that have faults are left out (``loads`` says which).
    """
    with open(path, "rb") as file:  # noqa: PTH123 - a path from the user, text or path
        return loads(file.read(MAX_BYTES + 1), str(path), skip_bad=skip_bad).fences


def loads(text: bytes | str, name: str = "fences", *, skip_bad: bool = False) -> Loaded:
    """Read fences from GeoJSON text; ``name`` stands for the file in problems.

    Raises GeofenceError, which lists every problem. With ``skip_bad`` features with faults are
    left out and their faults returned; what is wrong with the whole file is raised all the same.
    """
    reader = _Reader(name)
    fences = reader.read(text)
    faults = [problem for problem in reader.problems if not problem.advice]
    if faults and (not skip_bad or any(problem.feature is None for problem in faults)):
        raise GeofenceError(*reader.problems)
    return Loaded(fences, tuple(reader.problems))


def features(text: bytes | str, name: str = "fences") -> list[Any]:
    """Return the features of GeoJSON text as they came; only the file as a whole is judged.

    Raises GeofenceError where the text is no GeoJSON.
    """
    reader = _Reader(name)
    found = reader.raw(text)
    if reader.problems:
        raise GeofenceError(*reader.problems)
    return found


def dumps(fences: Iterable[Fence]) -> str:
    """Write fences as a FeatureCollection, a feature a line."""
    lines = [json.dumps(fence.to_feature(), allow_nan=False) for fence in fences]
    body = ",\n".join(lines)
    return f'{{"type": "FeatureCollection", "features": [\n{body}\n]}}\n'


class _Reader:
    """Reads one text; collects problems as it goes."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.problems: list[Problem] = []
        self._feature: str | int | None = None
        self._doubled: dict[int, str] = {}
        self._budget = outline.Budget()

    def _say(self, what: str, where: str, mend: str, *, advice: bool = False) -> None:
        self.problems.append(Problem(self.name, self._feature, what, where, mend, advice))

    # -- the file --------------------------------------------------------------------------

    def read(self, text: bytes | str) -> list[Fence]:
        """Return the sound fences of a text; ``problems`` holds what there is to say."""
        features = self.raw(text)
        fences: list[Fence] = []
        seen: dict[str, int] = {}
        for number, feature in enumerate(features):
            before = len(self.problems)
            fence = self._read_feature(feature, number)
            if fence is not None and fence.id in seen:
                self._say(
                    f"has the same id as feature number {seen[fence.id]}",
                    f"feature number {number}",
                    'give each feature an "id" of its own',
                )
            faults = any(not problem.advice for problem in self.problems[before:])
            if fence is not None and not faults:
                fences.append(fence)
            if fence is not None:
                seen.setdefault(fence.id, number)
        self._feature = None
        if not features and not self.problems:
            self._say("has no features", "", "draw at least one fence", advice=True)
        return fences

    def raw(self, text: bytes | str) -> list[Any]:
        """Return the features of a text, whatever they are."""
        tree = self._parse(text)
        return [] if tree is None else self._features(tree)

    def _parse(self, text: bytes | str) -> dict[str, Any] | None:
        if len(text) > MAX_BYTES:
            mend = f"split it into files below {MAX_BYTES // 2**20} MB"
            self._say("is too large", "", mend)
            return None
        try:
            if isinstance(text, bytes):
                text = text.decode("utf-8-sig")
            tree = json.loads(text, object_pairs_hook=self._object)
        except UnicodeDecodeError as error:
            self._say("is not UTF-8 text", f"byte {error.start}", "save it as UTF-8")
        except json.JSONDecodeError as error:
            where = f"line {error.lineno}, column {error.colno}"
            self._say(f"is not JSON ({error.msg})", where, "mend the text there")
        except RecursionError:
            self._say("nests too deeply", "", "no GeoJSON needs more than ten levels")
        except ValueError:  # int() refuses thousands of digits
            self._say("has a number of thousands of digits", "", "write numbers as numbers")
        else:
            if isinstance(tree, dict):
                return tree
            self._say("is not a GeoJSON object", "", 'begin with {"type": "FeatureCollection"')
        return None

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        """Build an object and remember it where a key comes twice: no reader agrees on those."""
        found = dict(pairs)
        if len(found) < len(pairs):
            keys = [key for key, _ in pairs]
            self._doubled[id(found)] = next(key for key in found if keys.count(key) > 1)
        return found

    def _features(self, tree: dict[str, Any]) -> list[Any]:
        """Return the features of any GeoJSON object."""
        if not self._check_crs(tree):
            return []
        kind = tree.get("type")
        is_geometry = isinstance(kind, str) and kind in GEOMETRIES
        if kind != "Feature" and not is_geometry:  # which are checked as what they are
            self._check_object(tree, "the file")
        if kind == "FeatureCollection":
            features = tree.get("features")
            if isinstance(features, list):
                return features
            self._say("has no list of features", "", 'add "features": [...]')
            return []
        if kind == "Feature":
            return [tree]
        if is_geometry:
            return [{"type": "Feature", "properties": {}, "geometry": tree}]
        known = ", ".join(("FeatureCollection", "Feature", *GEOMETRIES))
        self._say(f"has no GeoJSON type ({_short(kind)})", "", f"write one of {known}")
        return []

    def _check_crs(self, tree: dict[str, Any]) -> bool:
        """Refuse coordinates that are not WGS 84 longitude and latitude."""
        crs = tree.get("crs")
        if crs is None or any(name in json.dumps(crs) for name in WGS_84):
            return True
        self._say(
            f"has coordinates that are not WGS 84 ({_short(crs)})",
            "crs",
            "export it as WGS 84 (EPSG:4326) longitude, latitude, and leave crs out",
        )
        return False

    def _check_object(self, value: dict[str, Any], what: str) -> None:
        """Check what any GeoJSON object may have: keys that come once, and a bbox."""
        key = self._doubled.get(id(value))
        if key is not None:
            self._say(f"has the key {_short(key)} twice", what, "keep the one that is meant")
        bbox = value.get("bbox")
        if bbox is not None and not (
            isinstance(bbox, list) and len(bbox) in {4, 6} and all(map(_is_number, bbox))
        ):
            self._say("has a bbox that is not 4 or 6 numbers", what, "mend it or leave it out")

    # -- a feature -------------------------------------------------------------------------

    def _read_feature(self, feature: Any, number: int) -> Fence | None:
        self._feature = number
        if not isinstance(feature, dict) or feature.get("type") != "Feature":
            self._say(f"is not a Feature ({_short(feature)})", "", 'write {"type": "Feature", ...}')
            return None
        fence_id, fault = properties.feature_id(feature, number)
        if fault:
            self._say(fault.what, "", fault.mend)
        else:
            self._feature = fence_id
        self._check_object(feature, "the feature")
        given = feature.get("properties")
        if "properties" not in feature or not (given is None or isinstance(given, dict)):
            self._say("has no properties object", "", 'write "properties": {}')
        given = given if isinstance(given, dict) else {}
        key = self._doubled.get(id(given))
        if key is not None:
            self._say(f"has the property {_short(key)} twice", "properties", "keep the one meant")
        fields, faults = properties.read(given)
        for each in faults:
            self._say(each.what, "", each.mend)
        extra = {
            key: value
            for key, value in feature.items()
            if key not in {"type", "id", "properties", "geometry"}
        }
        for found in _strange_numbers({"properties": given, **extra}):
            self._say("has a number that is not finite", found, "write a plain number")
        geometry = self._geometry(feature.get("geometry"), "geometry", 0)
        if geometry is None:
            return None
        if self._bounded(geometry):
            self._judge(geometry, fields.get("radius_m"), "radius_m" in given)
            self._advise_bbox(feature.get("bbox"), geometry)
        fields.setdefault("name", fence_id)
        return Fence(id=fence_id, geometry=geometry, properties=given, extra=extra, **fields)

    # -- a geometry ------------------------------------------------------------------------

    def _geometry(self, value: Any, where: str, depth: int) -> Geometry | None:
        """Read a geometry object; None where anything in it is malformed."""
        if value is None and depth == 0:
            self._say("has no geometry", "", "draw one: a fence is a place")
            return None
        kind = value.get("type") if isinstance(value, dict) else None
        if not isinstance(kind, str) or kind not in GEOMETRIES:
            shown = _short(value.get("type") if isinstance(value, dict) else value)
            mend = f"write one of {', '.join(GEOMETRIES)}"
            self._say(f"has no GeoJSON geometry type ({shown})", where, mend)
            return None
        self._check_object(value, where)
        known = {"type", "geometries" if kind == "GeometryCollection" else "coordinates"}
        extra = {key: each for key, each in value.items() if key not in known}
        for found in _strange_numbers(extra):
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
            self._geometry(member, f"{where}, member {number}", depth + 1)
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
        coords = np.vstack([array[:, :columns] for array in sound])
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
                f"has a position that is not two numbers ({_short(value[number])})",
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
        if len(array) < 64 and len(set(map(tuple, array[:-1, :2].tolist()))) < 3:
            what = "has a ring of fewer than three different corners"
            self._say(what, place, "draw three or more")
            return False
        return True

    # -- is it a fence, and a good one -----------------------------------------------------

    def _bounded(self, geometry: Geometry) -> bool:
        leaves = geometry.leaves()
        positions = sum(len(leaf.coords) for leaf in leaves)
        parts = sum(max(len(leaf.rings), 1) for leaf in leaves)
        if positions <= MAX_POSITIONS and parts <= MAX_PARTS:
            return True
        mend = f"simplify it or split it: {MAX_POSITIONS} positions, {MAX_PARTS} parts at most"
        self._say(f"has {positions} positions in {parts} parts", "geometry", mend)
        return False

    def _judge(self, geometry: Geometry, radius_m: float | None, asked: bool) -> None:
        """Check that outlines are sound and that points and lines have a radius; advise."""
        leaves = geometry.leaves()
        thin = [leaf.kind for leaf in leaves if SHAPES[leaf.kind].radius]
        if thin and not asked:
            mend = 'add "radius_m": 50 (metres) to its properties'
            self._say(f"is a {thin[0]} without a radius", "", mend)
        elif asked and not thin:
            mend = "leave it out: an area has its own edge"
            self._say("has a radius_m that means nothing", "", mend, advice=True)
        if thin and radius_m is not None:
            self._advise_radius(radius_m)
        for number, leaf in enumerate(leaves):
            where = f"member {number}" if len(leaves) > 1 else ""
            if SHAPES[leaf.kind].radius:
                self._advise_line(leaf, where)
                continue
            polygons = [[ring[:, :2] for ring in rings] for rings in leaf.polygons()]
            flaws = outline.flaws(polygons, self._budget)
            for flaw in flaws:
                place = ", ".join(filter(None, (where, flaw.where)))
                self._say(flaw.what, place, flaw.mend)
            if not flaws:
                self._advise_area(polygons, where)

    def _advise_radius(self, radius_m: float) -> None:
        if radius_m < TYPICAL_ACCURACY_M:
            self._too_small(f"is only {radius_m:g} m wide each way")
        if radius_m > LARGE_RADIUS_M:
            what = f"has a radius of {radius_m / 1000:g} km"
            self._say(what, "radius_m", "radius_m is in metres: is it meant?", advice=True)

    def _too_small(self, what: str) -> None:
        self._say(
            f"{what}, too small to decide at {TYPICAL_ACCURACY_M:g} m accuracy",
            "",
            "widen it, or use a beacon there",
            advice=True,
        )

    def _advise_line(self, leaf: Geometry, where: str) -> None:
        for line in leaf.lines():
            if not np.ptp(line[:, :2], axis=0).any():
                mend = "write a Point: it covers the same"
                self._say("has a line without length", where, mend, advice=True)

    def _advise_area(self, polygons: list[list[Floats]], where: str) -> None:
        rings = list(chain.from_iterable(polygons))
        for ring in rings:
            step = np.abs(np.diff(ring, axis=0))
            if not step.any(axis=1).all():
                number = int(np.argmin(step.any(axis=1)))
                place = ", ".join(filter(None, (where, outline.place(*ring[number].tolist()))))
                self._say("has the same corner twice in a row", place, "delete one", advice=True)
            if ((step[:, 0] > 180.0) & (step[:, 0] < 270.0)).any():
                what = "has an edge of more than 180°, which runs the short way across ±180"
                mend = "where the long way is meant, give it a corner in between"
                self._say(what, where, mend, advice=True)
        outer = max((outline.unroll(rings[0]) for rings in polygons), key=_depth_m)
        if _depth_m(outer) < TYPICAL_ACCURACY_M:
            self._too_small(f"is only some {_depth_m(outer):.2g} m deep")

    def _advise_bbox(self, bbox: Any, geometry: Geometry) -> None:
        """Warn of a bbox that does not hold the geometry: axes swapped, or out of date."""
        if not isinstance(bbox, list) or len(bbox) not in {4, 6} or bbox[0] > bbox[len(bbox) // 2]:
            return
        half = len(bbox) // 2
        coords = np.vstack([leaf.coords[:, :2] for leaf in geometry.leaves()])
        low, high = coords.min(axis=0), coords.max(axis=0)
        slack = 1e-3  # bboxes are often written with fewer digits
        if (low < np.array(bbox[:2]) - slack).any() or (
            high > np.array(bbox[half : half + 2]) + slack
        ).any():
            mend = "leave it out or mend it: [west, south, east, north]"
            self._say("has a bbox that does not hold it", "", mend, advice=True)


def _depth_m(ring: Floats) -> float:
    """Return about the inner radius in metres: twice the area over the length around it.

    The length is that of the convex hull, so that a jagged outline does not count as thin.
    """
    if not np.array_equal(ring[0], ring[-1]):
        return math.inf  # once round a pole
    middle = math.cos(math.radians(float(ring[:, 1].mean())))
    plane = (ring - ring[0]) * [METRES_PER_DEGREE * middle, METRES_PER_DEGREE]
    x, y = plane[:, 0], plane[:, 1]
    area = abs(float(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1]))) / 2
    return 2 * area / float(shapely.convex_hull(shapely.LineString(plane)).length)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_position(value: list[Any]) -> bool:
    return len(value) >= 2 and all(map(_is_number, value))


def _to_float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _short(value: object) -> str:
    """Show a value in a problem, cut to a length that fits a line."""
    if isinstance(value, (list, dict)) and len(value) > 8:
        return f"a {'list' if isinstance(value, list) else 'object'} of {len(value)}"
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."


def _strange_numbers(value: Any) -> Iterable[str]:
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
