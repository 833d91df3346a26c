"""GeoJSON text to fences and back, and every problem on the way in plain words.

RFC 7946, read strictly where being lenient would guess what its author meant. The text comes
from outside: size, depth, number of positions and the work that an outline may cause are bounded.
This file knows files and features. Geometry objects are read by ``geometry``, properties by
``properties``; whether an outline is sound is ``outline``'s to say, what is unwise ``advice``'s.
"""

from __future__ import annotations

import json
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from geofences import advice, outline, plain, properties
from geofences.geometry import (
    GEOMETRIES,
    MAX_PARTS,
    MAX_POSITIONS,
    SHAPES,
    GeometryReader,
    is_number,
    short,
    strange_numbers,
)
from geofences.model import Fence, GeofenceError, Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from os import PathLike

    import numpy as np
    import numpy.typing as npt

    from geofences.model import Geometry

    Floats = npt.NDArray[np.float64]

# A million circles with a few properties each are some 250 MB of text.
MAX_BYTES = 256 * 1024 * 1024
# Nobody reads more, and a problem takes a hundred times the memory of the bytes that cause it.
MAX_FAULTS = 10_000


class Loaded(NamedTuple):
    """Fences of a text, and what there is to say about it: advice, and what was left out.

    ``extra`` holds the foreign members of its FeatureCollection, for ``dumps`` to write again.
    """

    fences: list[Fence]
    problems: tuple[Problem, ...]
    extra: Mapping[str, Any] = MappingProxyType({})


# Members of a Feature that have a meaning here; others are kept as they came.
FEATURE_KEYS = frozenset({"type", "id", "properties", "geometry"})
# Names that old files give to what RFC 7946 always means.
WGS_84 = ("CRS84", "EPSG:4326", "EPSG::4326", "WGS84", "WGS 84")


def load(path: str | PathLike[str], *, skip_bad: bool = False) -> list[Fence]:
    """Read the fences of a GeoJSON file.

    Raises GeofenceError, which lists every problem, and OSError where the file cannot be read.
    With ``skip_bad`` fences that have faults are left out (``loads`` says which).
    """
    with open(path, "rb") as file:  # noqa: PTH123 - a path from the user, text or path
        return loads(file.read(MAX_BYTES + 1), str(path), skip_bad=skip_bad).fences


def loads(
    text: bytes | str,
    name: str = "fences",
    *,
    skip_bad: bool = False,
    radius_m: float | None = None,
) -> Loaded:
    """Read fences from GeoJSON text; ``name`` stands for the file in problems.

    ``radius_m`` becomes the property of that name where points and lines have none. Raises
    GeofenceError, which lists every problem. With ``skip_bad`` features with faults are left out
    and their faults returned; what is wrong with the whole file is raised all the same.
    """
    reader = _Reader(name, radius_m)
    fences = reader.read(text)
    faults = [problem for problem in reader.problems if not problem.advice]
    if faults and (not skip_bad or any(problem.feature is None for problem in faults)):
        raise GeofenceError(*reader.problems)
    return Loaded(fences, tuple(reader.problems), reader.extra)


def dumps(fences: Iterable[Fence], extra: Mapping[str, Any] | None = None) -> str:
    """Write fences as a FeatureCollection, a feature a line; ``extra`` are its foreign members."""
    lines = [json.dumps(fence.to_feature(), allow_nan=False) for fence in fences]
    body = ",\n".join(lines)
    head = json.dumps({"type": "FeatureCollection", **(extra or {})}, allow_nan=False)
    return f'{head[:-1]}, "features": [\n{body}\n]}}\n'


class _Waiting(NamedTuple):
    """An outline that is judged with others: whose it is, and how many problems came before."""

    feature: str | int | None
    ring: Floats
    before: int


class _Reader:
    """Reads one text; collects problems as it goes."""

    def __init__(self, name: str, radius_m: float | None = None) -> None:
        self.name = name
        self._radius_m = radius_m
        self.problems: list[Problem] = []
        self.extra: dict[str, Any] = {}
        self._feature: str | int | None = None
        self._faults = 0
        self._doubled: dict[int, str] = {}
        self._budget = outline.Budget()
        self._waiting: list[_Waiting] = []
        self._geometries = GeometryReader(self._say, self._check_object)

    def _say(self, what: str, where: str, mend: str, *, advice: bool = False) -> None:
        self._faults += not advice
        self.problems.append(Problem(self.name, self._feature, what, where, mend, advice))

    # -- the file --------------------------------------------------------------------------

    def read(self, text: bytes | str) -> list[Fence]:
        """Return the sound fences of a text; ``problems`` holds what there is to say."""
        features = self.raw(text)
        fences: list[Fence] = []
        seen: dict[str, int] = {}
        doubled: set[str] = set()
        for number, feature in enumerate(features):
            if self._faults >= MAX_FAULTS:
                self._feature = None
                self._say(f"has {MAX_FAULTS:,} faults and more", "", "mend the first ones first")
                break
            before = len(self.problems)
            fence = self._read_feature(feature, number)
            if isinstance(self._feature, str):  # it has an id, whatever else is wrong with it
                first = seen.setdefault(self._feature, number)
                if first != number:
                    doubled.add(self._feature)
                    self._say(
                        f"feature number {number} has the same id as feature number {first}",
                        "",
                        'give each feature an "id" of its own',
                    )
            faults = any(not problem.advice for problem in self.problems[before:])
            if fence is not None and not faults:
                fences.append(fence)
        fences = self._judge_waiting(fences)
        self._feature = None
        # Which of several was meant by their one id would be a guess.
        fences = [fence for fence in fences if fence.id not in doubled]
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
            self.extra = {k: v for k, v in tree.items() if k not in {"type", "features"}}
            for found in strange_numbers(self.extra):
                self._say("has a number that is not finite", found, "write a plain number")
            if isinstance(features, list):
                return features
            self._say("has no list of features", "", 'add "features": [...]')
            return []
        if kind == "Feature":
            return [tree]
        if is_geometry:
            return [{"type": "Feature", "properties": {}, "geometry": tree}]
        known = ", ".join(("FeatureCollection", "Feature", *GEOMETRIES))
        self._say(f"has no GeoJSON type ({short(kind)})", "", f"write one of {known}")
        return []

    def _check_crs(self, tree: dict[str, Any]) -> bool:
        """Refuse coordinates that are not WGS 84 longitude and latitude."""
        crs = tree.get("crs")
        if crs is None or any(name in json.dumps(crs) for name in WGS_84):
            return True
        self._say(
            f"has coordinates that are not WGS 84 ({short(crs)})",
            "crs",
            "export it as WGS 84 (EPSG:4326) longitude, latitude, and leave crs out",
        )
        return False

    def _check_object(self, value: dict[str, Any], what: str) -> None:
        """Check what any GeoJSON object may have: keys that come once, and a bbox."""
        key = self._doubled.get(id(value))
        if key is not None:
            self._say(f"has the key {short(key)} twice", what, "keep the one that is meant")
        bbox = value.get("bbox")
        if bbox is not None and not (
            isinstance(bbox, list) and len(bbox) in {4, 6} and all(map(is_number, bbox))
        ):
            self._say("has a bbox that is not 4 or 6 numbers", what, "mend it or leave it out")

    # -- a feature -------------------------------------------------------------------------

    def _read_feature(self, feature: Any, number: int) -> Fence | None:
        self._feature = number
        if not isinstance(feature, dict) or feature.get("type") != "Feature":
            self._say(f"is not a Feature ({short(feature)})", "", 'write {"type": "Feature", ...}')
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
            self._say(f"has the property {short(key)} twice", "properties", "keep the one meant")
        fields, faults = properties.read(given)
        for each in faults:
            self._say(each.what, "", each.mend)
        extra = {key: value for key, value in feature.items() if key not in FEATURE_KEYS}
        if given or extra:  # most of a large file's fences have an outline and nothing else
            for found in strange_numbers({"properties": given, **extra}):
                self._say("has a number that is not finite", found, "write a plain number")
        geometry = self._geometries.read(feature.get("geometry"))
        if geometry is None:
            return None
        if self._radius_m is not None and given.get("radius_m") is None and _thin(geometry):
            given = {**given, "radius_m": self._radius_m}
            fields["radius_m"] = self._radius_m
        if self._bounded(geometry):
            asked = given.get("radius_m") is not None
            self._judge(geometry, fields.get("radius_m"), asked=asked)
            self._advise(advice.on_bbox(feature.get("bbox"), geometry))
        fields.setdefault("name", fence_id)
        return Fence(id=fence_id, geometry=geometry, properties=given, extra=extra, **fields)

    # -- is it a fence, and a good one -----------------------------------------------------

    def _bounded(self, geometry: Geometry) -> bool:
        leaves = geometry.leaves()
        positions = sum(len(leaf.coords) for leaf in leaves)
        parts = sum(len(leaf.rings) or len(leaf.coords) for leaf in leaves)
        if positions <= MAX_POSITIONS and parts <= MAX_PARTS:
            return True
        mend = f"simplify it or split it: {MAX_POSITIONS} positions, {MAX_PARTS} parts at most"
        self._say(f"has {positions} positions in {parts} parts", "geometry", mend)
        return False

    def _judge(self, geometry: Geometry, radius_m: float | None, *, asked: bool) -> None:
        """Check that outlines are sound and that points and lines have a radius; advise."""
        leaves = geometry.leaves()
        thin = _thin(geometry)
        if thin and not asked:
            mend = 'add "radius_m": 50 (metres) to its properties'
            self._say(f"is a {thin[0]} without a radius", "", mend)
        elif asked and not thin:
            mend = "leave it out: an area has its own edge"
            self._say("has a radius_m that means nothing", "", mend, advice=True)
        if thin and radius_m is not None:
            self._advise(advice.on_radius(radius_m))
        for number, leaf in enumerate(leaves):
            where = f"member {number}" if len(leaves) > 1 else ""
            if SHAPES[leaf.kind].radius:
                self._advise(advice.on_lines(leaf, where))
                continue
            polygons = [[ring[:, :2] for ring in rings] for rings in leaf.polygons()]
            if leaf is geometry and len(polygons) == 1 and plain.could_be(polygons[0]):
                self._waiting.append(_Waiting(self._feature, polygons[0][0], len(self.problems)))
            else:
                self._judge_areas(polygons, where)

    def _judge_areas(self, polygons: list[list[Floats]], where: str) -> None:
        """Say what is wrong with outlines, or what could be better."""
        flaws = outline.flaws(polygons, self._budget)
        for flaw in flaws:
            place = ", ".join(filter(None, (where, flaw.where)))
            self._say(flaw.what, place, flaw.mend)
        if not flaws:
            self._advise(advice.on_areas(polygons, where))

    def _judge_waiting(self, fences: list[Fence]) -> list[Fence]:
        """Judge the ordinary outlines of all features at once, then those that are not plain.

        What is said of one stands where it would, had it been judged in its turn. Gives the fences
        that are left.
        """
        sound = plain.plainly_sound([one.ring for one in self._waiting]).tolist()
        problems, bad = self.problems, set()
        for one, good in zip(reversed(self._waiting), reversed(sound), strict=True):
            if good:
                continue
            self._feature, self.problems = one.feature, []
            self._judge_areas([[one.ring]], "")
            if any(not problem.advice for problem in self.problems):
                bad.add(one.feature)
            problems[one.before : one.before] = self.problems
        self.problems, self._waiting = problems, []
        return [fence for fence in fences if fence.id not in bad] if bad else fences

    def _advise(self, found: Iterable[advice.Advice]) -> None:
        for each in found:
            self._say(*each, advice=True)


def _thin(geometry: Geometry) -> list[str]:
    """Name the kinds of the parts that are places only with a radius: points and lines."""
    return [leaf.kind for leaf in geometry.leaves() if SHAPES[leaf.kind].radius]
