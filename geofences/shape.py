"""What does a fence cover? Exact tests of one fence: holds a point, signed distance, a crossing.

A Shape is the union of areas (polygons), discs (points with a radius) and corridors (lines with
a radius). It is built from a Fence when the index first needs it and forgotten when it does not.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

from geofences import geodesy, outline

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from geofences.model import Fence, Geometry

    Floats = npt.NDArray[np.float64]
    Box = tuple[float, float, float, float]
    Span = tuple[float, float]

# What lies within a micrometre of an edge is on it: rounding of earth-centred coordinates
# is some 2e-9 m, and nobody measures finer.
ON_EDGE_M = 1e-6
# Depth inside a fence that covers the earth: half a meridian of WGS 84, for want of an edge.
HALF_MERIDIAN_M = 20_003_931.46
# What a shape is to a box of degrees: apart from it, perhaps crossed by its edge, or all of it.
OUT, EDGE, INSIDE = 0, 1, 2
# A way into and out of a rounded fence that is shorter than this is not looked for.
SHORTEST_CROSSING_M = 0.05
# A segment is searched in at most this many steps; 4000 km of it then in steps of a kilometre.
MAX_STEPS = 4000
# Where it begins is found to a tenth of what lies on the edge, in so many guesses at most: halving
# alone would take as many.
FOUND_M = ON_EDGE_M / 10
MOST_GUESSES = 60


def reach_m(boxes: Floats) -> Floats:
    """Return how far the points of each box are from its middle at most, in metres.

    ``boxes`` has rows west, south, east, north in degrees. Half the diagonal of the longest
    degrees on WGS 84 (111,694 m north at a pole, 111,320 m east at the equator), and a hundredth
    for the curve of a parallel.
    """
    west, south, east, north = boxes
    across = np.where(south * north <= 0.0, 0.0, np.minimum(np.abs(south), np.abs(north)))
    eastward = (east - west) * 111_320.0 * np.cos(np.radians(across))
    return np.asarray(0.505 * np.hypot(eastward, (north - south) * 111_694.0))


def _by_distance(distance: Callable[[float, float], float], boxes: Floats) -> npt.NDArray[np.int8]:
    """Classify boxes by the distance of their middles from the edge: it changes as one walks."""
    middles = zip(
        ((boxes[0] + boxes[2]) / 2).tolist(), ((boxes[1] + boxes[3]) / 2).tolist(), strict=True
    )
    reach = reach_m(boxes)
    metres = np.fromiter((distance(lon, lat) for lon, lat in middles), np.float64, len(reach))
    return np.where(metres > reach, OUT, np.where(metres < -reach, INSIDE, EDGE)).astype(np.int8)


def deepest_point(face: Any) -> tuple[float, float]:
    """Return the point inside, in degrees, that is furthest from the edge of an area.

    The centre of the largest inscribed circle, found in a plane in which degrees east are shrunk
    to be as long as degrees north, to a thousandth of the outline's size.
    """
    _, south, _, north = shapely.bounds(face).tolist()
    shrink = np.array([max(math.cos(math.radians((south + north) / 2)), 1e-3), 1.0])
    plane = shapely.transform(face, shrink.__mul__)
    west, south, east, north = shapely.bounds(plane).tolist()
    fine = max(east - west, north - south) / 1000.0
    spoke = shapely.maximum_inscribed_circle(plane, tolerance=fine)
    lon, lat = (shapely.get_coordinates(spoke)[0] / shrink).tolist()
    return (lon + 180.0) % 360.0 - 180.0, lat


class Disc:
    """All within ``radius_m`` (geodesic) of a point."""

    def __init__(self, lon: float, lat: float, radius_m: float) -> None:
        self.lon, self.lat, self.radius_m = lon, lat, radius_m
        self.weight = 1

    def boxes(self) -> list[Box]:
        """Return boxes in degrees that hold the disc."""
        return geodesy.boxes_within(self.lon, self.lat, self.radius_m)

    def distance(self, lon: float, lat: float) -> float:
        """Return the signed distance of a point from the edge in metres, negative inside."""
        return geodesy.metres_between(self.lon, self.lat, lon, lat) - self.radius_m

    def holds(self, lon: float, lat: float) -> bool:
        """Tell whether the point lies in the disc or on its edge."""
        return self.distance(lon, lat) <= 0.0

    def depth(self) -> float:
        """Return how far the deepest point inside is from the edge, in metres."""
        return self.radius_m

    def classify(self, boxes: Floats) -> npt.NDArray[np.int8]:
        """Tell of boxes (rows west, south, east, north) whether they are OUT, EDGE or INSIDE."""
        return _by_distance(self.distance, boxes)

    def holds_many(self, lons: Floats, lats: Floats) -> npt.NDArray[np.bool_]:
        """Tell the same of many points."""
        ours = np.full_like(lons, self.lon), np.full_like(lats, self.lat)
        return geodesy.many_metres_between(*ours, lons, lats) <= self.radius_m

    def span(self, segment: Floats) -> Span | None:
        """Return where on the segment it first enters and last leaves, as fractions."""
        distance = self.distance
        ends = segment.tolist()
        reach = geodesy.PLANE_M - self.radius_m
        if max(abs(lat) for _, lat in ends) <= geodesy.PLANE_DEG and (
            max(self._in_plane(lon, lat) for lon, lat in ends) <= reach
        ):
            distance = self._in_plane
        return _search(distance, segment)

    def _in_plane(self, lon: float, lat: float) -> float:
        """Do as ``distance`` does, close by."""
        return geodesy.plane_metres_between(self.lon, self.lat, lon, lat) - self.radius_m


class Corridor:
    """All within ``radius_m`` (geodesic) of a line."""

    def __init__(self, line: Floats, radius_m: float) -> None:
        self.radius_m = radius_m
        self._line = outline.unroll(line)
        self._edges = geodesy.Edges(np.hstack((self._line[:-1], self._line[1:])))
        self.weight = self._edges.weight

    def boxes(self) -> list[Box]:
        """Return boxes in degrees that hold the corridor."""
        west, south = self._line.min(axis=0).tolist()
        east, north = self._line.max(axis=0).tolist()
        below = geodesy.boxes_within(0.0, south, self.radius_m)[0]
        above = geodesy.boxes_within(0.0, north, self.radius_m)[0]
        # Degrees of longitude grow with latitude north or south: one of the ends reaches widest.
        wide = max(below[2], above[2])
        return geodesy.wrapped(west - wide, below[1], east + wide, above[3])

    def distance(self, lon: float, lat: float) -> float:
        """Return the signed distance of a point from the edge in metres, negative inside."""
        return self._edges.distance(lon, lat) - self.radius_m

    def holds(self, lon: float, lat: float) -> bool:
        """Tell whether the point lies in the corridor or on its edge."""
        return self.distance(lon, lat) <= 0.0

    def depth(self) -> float:
        """Return how far the deepest point inside is from the edge, in metres."""
        return self.radius_m

    def classify(self, boxes: Floats) -> npt.NDArray[np.int8]:
        """Tell of boxes (rows west, south, east, north) whether they are OUT, EDGE or INSIDE."""
        return _by_distance(self.distance, boxes)

    def holds_many(self, lons: Floats, lats: Floats) -> npt.NDArray[np.bool_]:
        """Tell the same of many points."""
        points = zip(lons.tolist(), lats.tolist(), strict=True)
        return np.fromiter((self.holds(lon, lat) for lon, lat in points), np.bool_, len(lons))

    def span(self, segment: Floats) -> Span | None:
        """Return where on the segment it first enters and last leaves, as fractions."""
        return _search(self.distance, segment)


class Region:
    """The areas of a Polygon or MultiPolygon."""

    def __init__(self, polygons: list[list[Floats]]) -> None:
        self._areas = outline.areas(polygons)
        self._bounds: list[Box] = []
        for area in self._areas:
            west, south, east, north = shapely.bounds(area.face).tolist()
            self._bounds.append((west, south, east, north))
            shapely.prepare(area.face)
            for cut, rim in area.cuts:
                shapely.prepare(cut)
                shapely.prepare(rim)
        self._edges: geodesy.Edges | None = None
        self.weight = 2 * sum(len(ring.plane) for area in self._areas for ring in area.rings)

    def boxes(self) -> list[Box]:
        """Return boxes in degrees that hold the region."""
        wests, souths, easts, norths = zip(*self._bounds, strict=True)
        if min(wests) + 360.0 < max(easts) or max(easts) > 180.0:
            found = [box for bounds in self._bounds for box in geodesy.wrapped(*bounds)]
        else:
            found = [(min(wests), min(souths), max(easts), max(norths))]
        # To a pole all longitudes lead.
        return [(-180.0, s, 180.0, n) if 90.0 in (-s, n) else (w, s, e, n) for w, s, e, n in found]

    def holds(self, lon: float, lat: float) -> bool:
        """Tell whether the point lies in the region or on its edge."""
        for area, (west, south, east, north) in zip(self._areas, self._bounds, strict=True):
            if not south <= lat <= north:
                continue
            if abs(lat) == 90.0:  # the region touches the pole, which is one point
                if not any(_cuts_pole(cut, rim, lat) for cut, rim in area.cuts):
                    return True
                continue
            for turn in outline.TURNS:
                x = lon + turn
                if west <= x <= east and shapely.intersects_xy(area.face, x, lat):
                    if not any(_cut_out(cut, rim, lon, lat) for cut, rim in area.cuts):
                        return True
                    break
        return False

    def depth(self) -> float:
        """Return how far the deepest point inside is from the edge, in metres."""
        deepest = 0.0
        for area in self._areas:
            deepest = max(deepest, -self.distance(*deepest_point(area.face)))
        return deepest

    def classify(self, boxes: Floats) -> npt.NDArray[np.int8]:
        """Tell of boxes (rows west, south, east, north) whether they are OUT, EDGE or INSIDE."""
        said = np.full(boxes.shape[1], OUT, np.int8)
        if any(area.cuts for area in self._areas):
            said[:] = EDGE  # round the world with holes: tested point by point
            return said
        for area, (west, _, east, _) in zip(self._areas, self._bounds, strict=True):
            for turn in outline.TURNS:
                asked = np.flatnonzero(
                    (west <= boxes[2] + turn) & (boxes[0] + turn <= east) & (said != INSIDE)
                )
                if not len(asked):
                    continue
                west_, south, east_, north = boxes[:, asked]
                drawn = shapely.box(west_ + turn, south, east_ + turn, north)
                meets = shapely.intersects(area.face, drawn)
                asked, drawn = asked[meets], drawn[meets]
                said[asked] = EDGE
                said[asked[shapely.contains_properly(area.face, drawn)]] = INSIDE
        return said

    def holds_many(self, lons: Floats, lats: Floats) -> npt.NDArray[np.bool_]:
        """Tell the same of many points."""
        inside = np.zeros(len(lons), np.bool_)
        for area, (west, _, east, _) in zip(self._areas, self._bounds, strict=True):
            for turn in outline.TURNS:
                x = lons + turn
                asked = np.flatnonzero((west <= x) & (x <= east) & ~inside)
                if len(asked):
                    inside[asked] = shapely.intersects_xy(area.face, x[asked], lats[asked])
        special = np.abs(lats) == 90.0
        if any(area.cuts for area in self._areas):
            special |= inside
        for place in np.flatnonzero(special).tolist():
            inside[place] = self.holds(float(lons[place]), float(lats[place]))
        return inside

    def distance(self, lon: float, lat: float) -> float:
        """Return the signed distance of a point from the edge in metres, negative inside."""
        if self._edges is None:
            segments = outline.edges(self._areas)
            self._edges = geodesy.Edges(segments) if len(segments) else None
        metres = self._edges.distance(lon, lat) if self._edges else HALF_MERIDIAN_M
        if self.holds(lon, lat):
            return -metres if metres > ON_EDGE_M else 0.0
        return max(metres, ON_EDGE_M)

    def span(self, segment: Floats) -> Span | None:
        """Return where on the segment it first enters and last leaves, as fractions."""
        found: list[float] = []
        (lon0, lat0), (lon1, lat1) = segment.tolist()
        low, high, left, right = min(lat0, lat1), max(lat0, lat1), min(lon0, lon1), max(lon0, lon1)
        for area, (west, south, east, north) in zip(self._areas, self._bounds, strict=True):
            if high < south or north < low:
                continue
            for turn in outline.TURNS:
                if right + turn < west or east < left + turn:
                    continue
                line = shapely.LineString(segment + np.array([turn, 0.0]))
                # Prepared, so quicker by far than the common part, which mostly is none.
                if not shapely.intersects(area.face, line):
                    continue
                common = shapely.intersection(line, area.face)
                if common.is_empty or not common.length:
                    continue
                for cut, _ in area.cuts:
                    for again in outline.TURNS:
                        common = shapely.difference(common, outline.turned(cut, again))
                pieces = [piece for piece in shapely.get_parts(common) if piece.length]
                ends = [xy for piece in pieces for xy in piece.coords]
                found.extend(_fraction(xy, line.coords[0], line.coords[1]) for xy in ends)
        return (min(found), max(found)) if found else None


def _cut_out(cut: shapely.Polygon, rim: shapely.MultiLineString, lon: float, lat: float) -> bool:
    """Tell whether a hole takes the point away: on its face, but not on its rim."""
    xs = [lon + turn for turn in outline.TURNS]
    on_face = shapely.intersects_xy(cut, xs, lat)
    return bool(on_face.any() and not shapely.intersects_xy(rim, xs, lat).any())


def _cuts_pole(cut: shapely.Polygon, rim: shapely.MultiLineString, lat: float) -> bool:
    """Tell whether a hole takes a pole away: it reaches it, but its rim does not."""
    at = 3 if lat > 0 else 1
    return bool(shapely.bounds(cut)[at] == lat != shapely.bounds(rim)[at])


def _fraction(xy: tuple[float, ...], start: tuple[float, ...], stop: tuple[float, ...]) -> float:
    """Return where between start and stop a point on that line lies, from 0 to 1."""
    axis = 0 if abs(stop[0] - start[0]) >= abs(stop[1] - start[1]) else 1
    return min(max((xy[axis] - start[axis]) / (stop[axis] - start[axis]), 0.0), 1.0)


def _search(distance: Callable[[float, float], float], segment: Floats) -> Span | None:
    """Find where a segment enters and leaves what ``distance`` measures.

    A step as long as the distance cannot jump over the edge, so big steps are safe while far
    away; the edge itself is found by false position.
    """
    (lon0, lat0), (lon1, lat1) = segment.tolist()
    turn, rise = lon1 - lon0, lat1 - lat0
    flattest = min(abs(lat0), abs(lat1)) if lat0 * lat1 > 0 else 0.0
    sideways = math.radians(turn) * math.cos(math.radians(flattest))
    # Metres that the whole segment surely does not exceed: the largest radius is below 1.004 a.
    length = 1.004 * geodesy.EQUATOR_M * math.hypot(sideways, math.radians(rise))
    if length <= ON_EDGE_M:
        return None

    def signed(share: float) -> float:
        lon = (lon0 + share * turn + 180.0) % 360.0 - 180.0
        return distance(lon, lat0 + share * rise)

    first = _first_inside(signed, length)
    if first is None:
        return None
    last = 1.0 - (_first_inside(lambda share: signed(1.0 - share), length) or 0.0)
    return (first, last) if (last - first) * length > ON_EDGE_M else None


def _first_inside(signed: Callable[[float], float], length: float) -> float | None:
    """Return the least share of the way at which ``signed`` is not positive, or None."""
    least = max(SHORTEST_CROSSING_M, length / MAX_STEPS)
    share, metres = 0.0, signed(0.0)
    if metres <= 0.0:
        return 0.0
    while share < 1.0:
        outside, above = share, metres
        share = min(1.0, share + max(metres, least) / length)
        metres = signed(share)
        if metres <= 0.0:
            return _edge(signed, outside, above, share, metres, FOUND_M / length)
    return None


def _edge(
    signed: Callable[[float], float],
    outside: float,
    above: float,
    inside: float,
    below: float,
    near: float,
) -> float:
    """Return a share at most ``near`` beyond that at which ``signed`` turns; it is inside.

    By false position, and where one end stays, half of what was measured there counts (the
    Illinois rule: Dowell and Jarratt, BIT 11, 1971): some six questions where halving asks fifty.
    """
    stays = 0
    for _ in range(MOST_GUESSES):
        if inside - outside <= near or below == 0.0:
            break
        share = outside + (inside - outside) * above / (above - below)
        metres = signed(share)
        if metres <= 0.0:
            inside, below = share, metres
            above *= 0.5 if stays < 0 else 1.0
            stays = -1
        else:
            outside, above = share, metres
            below *= 0.5 if stays > 0 else 1.0
            stays = 1
    return inside


Part = Disc | Corridor | Region


def _parts(geometry: Geometry, radius_m: float) -> list[Part]:
    """Return what one leaf of a fence's geometry covers."""
    if geometry.kind in {"Point", "MultiPoint"}:
        return [Disc(lon, lat, radius_m) for lon, lat in geometry.coords[:, :2].tolist()]
    if geometry.kind in {"LineString", "MultiLineString"}:
        return [Corridor(line[:, :2], radius_m) for line in geometry.lines()]
    return [Region([[ring[:, :2] for ring in rings] for rings in geometry.polygons()])]


class Shape:
    """What a fence covers: the union of its parts."""

    def __init__(self, fence: Fence) -> None:
        radius_m = fence.radius_m or 0.0
        leaves = fence.geometry.leaves()
        self._parts: list[Part] = [part for leaf in leaves for part in _parts(leaf, radius_m)]
        self.weight = sum(part.weight for part in self._parts)

    def boxes(self) -> list[Box]:
        """Return boxes (west, south, east, north; within ±180) that hold the fence.

        At most a box each side of ±180°: together they hold what the parts' boxes do.
        """
        found = [box for part in self._parts for box in part.boxes()]
        west, south, east, north = zip(*found, strict=True)
        if len(found) == 1 or not (-180.0 in west and 180.0 in east):
            return [(min(west), min(south), max(east), max(north))]
        # Across the seam: what lies east and west of Greenwich apart, unless it lies on both.
        sides = [[box for box in found if box[2] <= 0.0], [box for box in found if box[0] > 0.0]]
        if sum(map(len, sides)) < len(found):
            sides = [found]
        return [
            (
                min(box[0] for box in side),
                min(box[1] for box in side),
                max(box[2] for box in side),
                max(box[3] for box in side),
            )
            for side in sides
            if side
        ]

    def holds(self, lon: float, lat: float) -> bool:
        """Tell whether the point lies in the fence or on its edge; exact."""
        return any(part.holds(lon, lat) for part in self._parts)

    def holds_many(self, lons: Floats, lats: Floats) -> npt.NDArray[np.bool_]:
        """Tell the same of many points: arrays of degrees in, an array of truth out."""
        inside = self._parts[0].holds_many(lons, lats)
        for part in self._parts[1:]:
            left = np.flatnonzero(~inside)
            inside[left] = part.holds_many(lons[left], lats[left])
        return inside

    def classify(self, boxes: Floats) -> npt.NDArray[np.int8]:
        """Tell of boxes (rows west, south, east, north) whether they are OUT, EDGE or INSIDE.

        EDGE where neither is sure; INSIDE where one of the parts holds the whole box.
        """
        said = self._parts[0].classify(boxes)
        for part in self._parts[1:]:
            left = np.flatnonzero(said != INSIDE)
            said[left] = np.maximum(said[left], part.classify(boxes[:, left]))
        return said

    def distance(self, lon: float, lat: float) -> float:
        """Return the signed distance from the edge in metres: negative inside, 0 on the edge.

        Inside members that overlap it is the depth in the one that the point lies deepest in.
        """
        return min(part.distance(lon, lat) for part in self._parts)

    def depth(self) -> float:
        """Return how far the deepest point inside is from the edge, in metres."""
        return max(part.depth() for part in self._parts)

    def span(self, lon0: float, lat0: float, lon1: float, lat1: float) -> Span | None:
        """Return where a straight segment first enters and last leaves, as fractions 0..1.

        None where it shares no more than a point with the fence.
        """
        segment = outline.unroll(np.array([[lon0, lat0], [lon1, lat1]]))
        spans = [span for part in self._parts if (span := part.span(segment))]
        if not spans:
            return None
        first, last = min(span[0] for span in spans), max(span[1] for span in spans)
        return (first, last) if first < last else None
