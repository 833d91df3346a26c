"""What area does a drawn ring enclose, and can it be trusted?

Rings are unrolled in the plane of longitude and latitude, where their edges are straight, so that
the exact planar tests of GEOS apply. ±180° and the poles are dealt with here and nowhere else.
This file knows rings of positions; it knows no metres, no properties and no files.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import shapely

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

TURNS = (0.0, 360.0, -360.0)
# GEOS compares each pair of monotone runs of the outline whose boxes meet: some 30 ns a pair, so
# this many cost about a third of a second. Real outlines need some ten a vertex, and so many are
# free; what is folded thousands of times over itself needs more (200,000 vertices may ask for
# 2e10) and shares one budget a file.
MAX_PAIRS = 10_000_000
FREE_PAIRS = 50
# Where an outline is beyond that, this many neighbouring edges are compared with each other in
# a few places: enough to point at a crossing in a scribble, and never more than 20 ms.
SAMPLE = 400


class Budget:
    """The comparisons that the outlines of one file may still cost together."""

    def __init__(self, pairs: int = MAX_PAIRS) -> None:
        self.pairs = pairs


class Flaw(NamedTuple):
    """What is wrong with an outline: in words, where (perhaps empty), and the mend."""

    what: str
    where: str
    mend: str


@dataclass(frozen=True, slots=True)
class Ring:
    """A closed ring in the plane.

    ``plane`` encloses what the ring encloses on the earth, closing edges over a pole included;
    ``rim`` is what was drawn, unrolled. ``polar`` where the ring goes once round a pole.
    """

    plane: Floats
    rim: Floats
    polar: bool

    @property
    def west(self) -> float:
        """The least longitude."""
        return float(self.plane[:, 0].min())

    @property
    def east(self) -> float:
        """The greatest longitude, perhaps beyond 180."""
        return float(self.plane[:, 0].max())

    def turned(self, turn: float) -> Ring:
        """Return the ring moved by ``turn`` degrees of longitude, 0 or a full turn."""
        if turn == 0.0:
            return self
        shift = np.array([turn, 0.0])
        return Ring(self.plane + shift, self.rim + shift, self.polar)


@dataclass(frozen=True, slots=True)
class Area:
    """One polygon, in the plane: inside ``face`` and in none of ``cuts``.

    Holes are part of ``face``, but where the face goes round the world they are cut apart, as a
    hole may then lie across the meridian where the face is cut open. ``cuts`` are pairs of the
    hole's face and its rim: what lies on the rim is not cut out.
    """

    face: shapely.Polygon
    cuts: tuple[tuple[shapely.Polygon, shapely.MultiLineString], ...]
    rings: tuple[Ring, ...]


def place(lon: float, lat: float) -> str:
    """Write a position for people, to the decimetre."""
    return f"near longitude {(lon + 180.0) % 360.0 - 180.0:.6f}, latitude {lat:.6f}"


def unroll(coords: Floats) -> Floats:
    """Return positions whose longitudes run on past ±180 where the line crosses it.

    An edge of more than 180° runs the short way. From 180 to -180 it runs along the seam, but
    where both latitudes are equal it is a full turn and stays as drawn.
    """
    step = coords[1:, 0] - coords[:-1, 0]
    if np.abs(step).max() <= 180.0 and coords[:, 0].min() < 180.0:
        return coords  # as nearly all lines are
    over = (step < -180.0).astype(np.int64) - (step > 180.0)
    full = (np.abs(step) == 360.0) & (np.diff(coords[:, 1]) == 0.0)
    over[full] = 0
    turns = np.concatenate(([0], np.cumsum(over)))
    lon = coords[:, 0] + 360.0 * turns
    # One turn for the whole line, so that it begins within [-180, 180): each longitude is its
    # own plus a multiple of 360, rounded once, exactly as that of a point asked about is.
    first = int(np.floor((lon.min() + 180.0) / 360.0))
    return np.column_stack((coords[:, 0] + 360.0 * (turns - first), coords[:, 1]))


def same_place(one: Floats, other: Floats) -> bool:
    """Tell whether two positions are one point on the earth."""
    if one[1] != other[1]:
        return False
    both_on_seam = abs(one[0]) == 180.0 and abs(other[0]) == 180.0
    return bool(one[0] == other[0] or both_on_seam or abs(one[1]) == 90.0)


def close(coords: Floats) -> Ring | Flaw:
    """Turn the positions of a closed ring into a Ring, or say why that cannot be."""
    rim = unroll(coords)
    around = round((rim[-1, 0] - rim[0, 0]) / 360.0)
    if around == 0:
        if not np.array_equal(rim[0], rim[-1]):
            rim = np.vstack((rim, rim[:1]))
        if np.ptp(rim[:, 0]) > 360.0:
            return Flaw("winds round the world over itself", place(*rim[0]), "draw it once round")
        return Ring(rim, rim, polar=False)
    if abs(around) > 1:
        return Flaw("goes round a pole more than once", place(*rim[0]), "draw it once round")
    # The area north of a ring is the integral of 1 - sin(lat) over longitude, south of it of
    # 1 + sin(lat): the sign of the integral of sin(lat) tells which is the smaller. Latitude is
    # linear along an edge, so the mean of its sine is a difference of cosines.
    lat = np.radians(rim[:, 1])
    rise = np.diff(lat)
    slanted = np.abs(rise) > 1e-9
    mean = np.sin((lat[:-1] + lat[1:]) / 2)
    mean[slanted] = (np.cos(lat[:-1]) - np.cos(lat[1:]))[slanted] / rise[slanted]
    balance = float(np.sum(mean * np.diff(rim[:, 0]))) * around
    if abs(balance) < 1e-6:
        return Flaw(
            "halves the earth, so neither pole lies on a smaller side",
            place(*rim[0]),
            "move it off the equator, or draw it as a box from -180 to 180 up to the pole",
        )
    pole = 90.0 if balance > 0 else -90.0
    touching = np.flatnonzero(rim[:-1, 1] == pole)
    turn = np.array([360.0 * around, 0.0])
    if len(touching):
        first = int(touching[0])
        rim = np.vstack((rim[first:-1], rim[:first] + turn, rim[first : first + 1] + turn))
        plane = np.vstack((rim, rim[:1]))
    else:
        ends = np.array([[rim[-1, 0], pole], [rim[0, 0], pole]])
        plane = np.vstack((rim, ends, rim[:1]))
    home = np.array([-360.0 * np.floor((plane[:, 0].min() + 180.0) / 360.0), 0.0])
    return Ring(plane + home, rim + home, polar=True)


def build(rings: list[Ring]) -> Area:
    """Build the area of an outline and its holes; nothing is checked and nothing repaired."""
    shell, holes = rings[0], rings[1:]
    if shell.polar or shell.east - shell.west == 360.0:
        cuts = tuple(
            (
                shapely.Polygon(hole.plane),
                shapely.MultiLineString([hole.rim]),
            )
            for hole in holes
        )
        return Area(shapely.Polygon(shell.plane), cuts, tuple(rings))
    fitted = [_fit(hole, shell) for hole in holes]
    face = shapely.Polygon(shell.plane, [hole.plane for hole in fitted])
    return Area(face, (), (shell, *fitted))


def _fit(hole: Ring, shell: Ring) -> Ring:
    """Move a hole by a full turn where that brings it within the longitudes of its outline."""
    for turn in TURNS:
        if shell.west <= hole.west + turn and hole.east + turn <= shell.east:
            return hole.turned(turn)
    return hole


def areas(polygons: list[list[Floats]]) -> list[Area]:
    """Build the areas of polygons that are known to be sound (see ``flaws``)."""
    found = []
    for rings in polygons:
        closed = [ring for ring in map(close, rings) if isinstance(ring, Ring)]
        found.append(build(closed))
    return found


def edges(parts: list[Area]) -> Floats:
    """Return the true edges of a fence, a row each: lon, lat, lon, lat in degrees.

    Left out is what only the drawing needs: edges at a pole, which is one point, and stretches
    of the seam at ±180 that have the fence on both sides.
    """
    rims = [ring.rim for part in parts for ring in part.rings]
    rows = np.vstack([np.hstack((rim[:-1], rim[1:])) for rim in rims])
    at_pole = (np.abs(rows[:, 1]) == 90.0) & (rows[:, 1] == rows[:, 3])
    on_seam = (rows[:, 0] == rows[:, 2]) & (rows[:, 0] % 360.0 == 180.0)
    kept: Floats = rows[~at_pole & ~on_seam]
    seam = list(_uncovered(rows[on_seam & ~at_pole][:, (1, 3)]))
    if seam:
        kept = np.vstack((kept, seam))
    return kept


def _uncovered(spans: Floats) -> Iterator[tuple[float, float, float, float]]:
    """Yield the stretches of the seam that an odd number of edges run along.

    The parts of a sound fence do not overlap, so where two edges meet, one is of each side.
    """
    odd: list[float] = []
    for value in np.sort(spans, axis=None).tolist():
        # A latitude where two edges begin or end changes nothing between its sides.
        if odd and odd[-1] == value:
            odd.pop()
        else:
            odd.append(value)
    for south, north in zip(odd[::2], odd[1::2], strict=True):
        yield 180.0, south, 180.0, north


UNITE = "draw them as one, or as a GeometryCollection, which is their union"
# Share of an area below which an overlap is rounding.
HAIR = 1e-9

# What GEOS calls a fault: what its author would, and the mend.
REASONS = {
    "Self-intersection": ("crosses itself", "redraw it there"),
    "Ring Self-intersection": ("touches itself", "redraw it there, or draw two polygons"),
    "Hole lies outside shell": (
        "has a hole that lies outside its outline",
        "move the hole inside, or delete it",
    ),
    "Holes are nested": ("has a hole within a hole", "delete the inner hole, or make it a part"),
    "Nested shells": ("has a part within another part", "delete the inner part"),
    "Interior is disconnected": (
        "is cut in two by holes that touch in more than one point",
        "draw the pieces as separate polygons",
    ),
    "Duplicate Rings": ("has the same ring twice", "delete one"),
    "Too few points in geometry component": ("encloses no area", "draw three corners or more"),
}


def flaws(polygons: list[list[Floats]], budget: Budget) -> list[Flaw]:
    """Say what is wrong with closed rings as polygons, in bounded time; nothing is repaired.

    What an outline costs beyond the ordinary is taken from ``budget``.
    """
    found: list[Flaw] = []
    parts: list[Area] = []
    for number, rings in enumerate(polygons):
        owner = f"part {number}: " if len(polygons) > 1 else ""
        closed: list[Ring] = []
        for nth, coords in enumerate(rings):
            ring = close(coords)
            if isinstance(ring, Ring) and _is_flat(ring):
                where = place(*ring.plane[0].tolist())
                ring = Flaw("encloses no area", where, "draw it as an area")
            if isinstance(ring, Ring):
                closed.append(ring)
            else:
                found.append(ring._replace(what=f"{owner}{_ring_name(nth)} {ring.what}"))
        if len(closed) == len(rings):
            parts.append(build(closed))
    if found:
        return found
    tangle = _tangle(parts, budget)
    if tangle:
        return [tangle]
    # Once for all where all is well, as nearly always; else part by part and ring by ring.
    faces = [part.face for part in parts]
    whole = _verdict(faces[0] if len(faces) == 1 else shapely.MultiPolygon(faces))
    for number, part in enumerate(parts):
        owner = f"part {number}: " if len(parts) > 1 else ""
        if whole:
            found.extend(_polygon_flaws(part, owner))
        found.extend(_cut_flaws(part, owner))
    if whole and not found:
        what = "has a part within another" if "within" in whole.what else "has parts that overlap"
        return [whole._replace(what=what, mend=UNITE)]
    return found or list(_overlaps_across_seam(parts))


def _ring_name(nth: int) -> str:
    return "the outline" if nth == 0 else f"hole {nth}"


def _is_flat(ring: Ring) -> bool:
    """Tell whether all corners lie on one line; a figure of eight does not, for all its no area."""
    away = ring.plane - ring.plane[0]
    far = away[int(np.argmax(np.abs(away).sum(axis=1)))]
    return not (away[:, 0] * far[1] != away[:, 1] * far[0]).any()


def _polygon_flaws(part: Area, owner: str) -> Iterator[Flaw]:
    """Say what is wrong with one polygon: with each ring by itself, else with all together."""
    sound = True
    for nth, ring in enumerate(part.rings):
        flaw = _verdict(shapely.Polygon(ring.plane))
        if flaw:
            sound = False
            yield flaw._replace(what=f"{owner}{_ring_name(nth)} {flaw.what}")
    flaw = _verdict(part.face) if sound else None
    if flaw:
        what = "has a hole that crosses another ring" if "itself" in flaw.what else flaw.what
        yield flaw._replace(what=f"{owner}{what}")


def _cut_flaws(part: Area, owner: str) -> Iterator[Flaw]:
    """Say what is wrong with the holes of a polygon that goes round the world."""
    if not part.cuts:
        return
    world = shapely.union_all([turned(part.face, turn) for turn in TURNS])
    for nth, ring in enumerate(part.rings[1:], start=1):
        hole = shapely.Polygon(ring.plane)
        flaw = _verdict(hole)
        if flaw:
            yield flaw._replace(what=f"{owner}{_ring_name(nth)} {flaw.what}")
        # Full turns round differently in the last place: a hair's width is no fault.
        elif shapely.difference(hole, world).area > HAIR * hole.area:
            where = place(*ring.plane[0].tolist())
            what = f"{owner}{_ring_name(nth)} leaves its outline"
            yield Flaw(what, where, "move the hole inside, or delete it")


def _overlaps_across_seam(parts: list[Area]) -> Iterator[Flaw]:
    """Say where parts overlap that are a full turn apart in the plane."""
    faces = [part.face for part in parts]
    bounds = shapely.bounds(np.array(faces, dtype=object))
    if bounds[:, 0].min() + 360.0 >= bounds[:, 2].max():
        return
    eastward = [turned(face, 360.0) for face in faces]
    for one, other in shapely.STRtree(faces).query(eastward).T.tolist():
        common = shapely.intersection(eastward[one], faces[other])
        if common.area > HAIR * min(faces[one].area, faces[other].area):
            where = place(*common.representative_point().coords[0])
            yield Flaw("has parts that overlap across ±180°", where, UNITE)
            return


def turned(face: shapely.Polygon, turn: float) -> shapely.Polygon:
    """Return a polygon moved by so many degrees of longitude."""
    shift = np.array([turn, 0.0])
    return shapely.transform(face, lambda coords: coords + shift)


def _verdict(geometry: shapely.Geometry) -> Flaw | None:
    """Ask GEOS, and put its answer in plain words."""
    reason = shapely.is_valid_reason(geometry)
    if reason == "Valid Geometry":
        return None
    match = re.fullmatch(r"(.*?)\[(\S+) (\S+)\]", reason)
    name, where = (match[1], place(float(match[2]), float(match[3]))) if match else (reason, "")
    what, mend = REASONS.get(name, (f"is not sound ({name})", "redraw it"))
    return Flaw(what, where, mend)


def _tangle(parts: list[Area], budget: Budget) -> Flaw | None:
    """Refuse what could not be checked in bounded time; point at a crossing where one is seen."""
    rings = [ring.plane for part in parts for ring in part.rings]
    if sum(map(len, rings)) <= 2 * FREE_PAIRS:
        return None  # all pairs there are of so few are free
    extra = max(0, pairs_bound(rings) - FREE_PAIRS * sum(map(len, rings)))
    if extra <= budget.pairs:
        budget.pairs -= extra
        return None
    for ring in rings:
        for start in range(0, len(ring) - 1, max(1, len(ring) // 4)):
            found = _crossing(ring[start : start + SAMPLE])
            if found:
                return Flaw("the outline crosses itself", place(*found), "redraw it there")
    return Flaw(
        "the outline folds over itself so often that it cannot be checked in bounded time",
        "",
        "simplify it (a store needs tens of corners, a country some thousands)",
    )


def pairs_bound(rings: list[Floats]) -> int:
    """Bound how many pairs of monotone runs GEOS would compare: those whose boxes meet.

    Pairs whose ranges meet in longitude, or in latitude, whichever are fewer: exact counts in
    O(n log n), and never fewer than the pairs that meet in both.
    """
    lows, highs = [], []
    for ring in rings:
        step = np.diff(ring, axis=0)
        quadrant = (step[:, 0] >= 0.0) * 2 + (step[:, 1] >= 0.0)
        first = np.concatenate(([0], np.flatnonzero(np.diff(quadrant)) + 1))
        last = np.concatenate((first[1:], [len(ring) - 1]))
        lows.append(np.minimum(ring[first], ring[last]))
        highs.append(np.maximum(ring[first], ring[last]))
    low, high = np.vstack(lows), np.vstack(highs)
    count = len(low)
    meeting = []
    for axis in (0, 1):
        apart = np.searchsorted(np.sort(high[:, axis]), low[:, axis], side="left").sum()
        meeting.append(count * (count - 1) // 2 - int(apart))
    return min(meeting)


def _crossing(line: Floats) -> tuple[float, float] | None:
    """Return where two edges of a line cross properly, or None; all pairs at once."""
    start, stop = line[:-1], line[1:]
    step = stop - start

    def side(points: Floats) -> npt.NDArray[np.float64]:
        """Return on which side of each edge (row) each point (column) lies."""
        away = points[None, :, :] - start[:, None, :]
        return np.sign(step[:, None, 0] * away[:, :, 1] - step[:, None, 1] * away[:, :, 0])

    apart = side(start) * side(stop) < 0
    pairs = np.argwhere(apart & apart.T)
    if not len(pairs):
        return None
    one, other = pairs[0]
    away = start[other] - start[one]
    across = step[one, 0] * step[other, 1] - step[one, 1] * step[other, 0]
    share = (away[0] * step[other, 1] - away[1] * step[other, 0]) / across
    lon, lat = start[one] + share * step[one]
    return float(lon), float(lat)
