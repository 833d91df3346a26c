"""Which places did a subject pass between two fixes, although neither says that it was inside?

Reads the straight way between fixes as a walk. Knows ways and fences; knows nothing of how a
position is found (``tracking``) nor of visits under way.
"""

from __future__ import annotations

from collections.abc import Collection
from itertools import pairwise
from math import atan2, degrees, hypot
from typing import NamedTuple

from geofences import FenceIndex
from proximity.engine.presence import Presence, Signal, step
from proximity.engine.standing import Moment, say, visit_id
from proximity.engine.tracking import (
    FASTEST_MPS,
    LEAST_ACCURACY_M,
    RADIUS_PER_SIGMA,
    Point,
    fits_level,
    inside,
    is_driving,
    moved,
    offset,
)
from proximity.model import Fix, Transition

# A pass is read from two fixes at most this far apart: beyond two minutes a walker may have been
# anywhere, and a straight line between the fixes is a guess.
PASS_GAP_S = 120.0
# How surely the way ran through the place where it ran deepest. A little surer than an arrival: a
# way along the edge is as likely outside, and there is no second fix to ask.
PASS_CHANCE = 0.75
# A step to the left, in metres, tells on which hand a place lies.
ASIDE_M = 1.0


class Stretch(NamedTuple):
    """A stretch of a way in a place: Unix seconds, metres, and where it runs deepest (degrees)."""

    enter_at: float
    exit_at: float
    chord_m: float
    distance_m: float
    lon: float
    lat: float
    begins: bool
    ends: bool


def may_pass(way: tuple[Point, ...], at: float) -> bool:
    """Whether ``passes`` may find any on the way to a fix at Unix second ``at``.

    What the first two points tell was told when the second was the newest; the stretches behind
    them count where they are short enough to be read.
    """
    last_at = way[1][0]
    for each in way[2:]:
        if 0.0 < each[0] - last_at <= PASS_GAP_S:
            return True
        last_at = each[0]
    return 0.0 < at - last_at <= PASS_GAP_S


def passes(way: tuple[Point, ...], fix: Fix, but: set[str], moment: Moment) -> list[Transition]:
    """Find the places that the subject crossed since its last fix, and that it has left behind.

    ``way`` is the fix before the last one, the last one, what came since, and ``fix``; ``but`` are
    the places that the subject is or was in.
    """
    out: list[Transition] = []
    first, *rest = pairwise(way)
    index = moment.layout.index
    found = [_stretches(*each, but, index) for each in rest]
    if not any(found):
        return out
    # What the first two points tell was told when the second was the newest, but for what went on.
    goes_on = any(not stretch.begins for stretch in found[0].values())
    entered = _under_way(_stretches(*first, but, index)) if goes_on else {}
    for (start, end), stretches in zip(rest, found, strict=True):
        joined: dict[str, Stretch] = {}
        for place, stretch in stretches.items():
            if stretch.begins:
                joined[place] = stretch
            elif place in entered:
                joined[place] = _joined(entered[place], stretch)
            # Else a fix beside the edge may say inside, of which alone no arrival comes.
        for place, stretch in joined.items():
            if stretch.ends:
                out += _pass(place, stretch, start, end, fix, moment)
        entered = _under_way(joined)
    return out


def _under_way(stretches: dict[str, Stretch]) -> dict[str, Stretch]:
    """Give those that a way has begun and not ended."""
    return {
        place: stretch
        for place, stretch in stretches.items()
        if stretch.begins and not stretch.ends
    }


def _stretches(
    start: Point, end: Point, but: Collection[str], index: FenceIndex
) -> dict[str, Stretch]:
    """Find the places in which a part of the straight way between two points lies."""
    began, lon0, lat0, _ = start
    ended, lon1, lat1, _ = end
    gap_s = ended - began
    if not 0.0 < gap_s <= PASS_GAP_S:
        return {}
    east_m, north_m = offset(lon0, lat0, lon1, lat1)
    length_m = hypot(east_m, north_m)
    if not 0.0 < length_m <= FASTEST_MPS * gap_s:
        return {}
    if index.no_edge_between(lon0, lat0, lon1, lat1):
        return {}
    found: dict[str, Stretch] = {}
    for place, first, final in index.crossings(lon0, lat0, lon1, lat1, but):
        middle = 0.5 * (first + final)
        lon, lat = moved(lon0, lat0, middle * east_m, middle * north_m)
        found[place] = Stretch(
            began + first * gap_s,
            began + final * gap_s,
            (final - first) * length_m,
            index.distance(place, lon, lat),
            lon,
            lat,
            first > 0.0,
            final < 1.0,
        )
    return found


def _joined(one: Stretch, other: Stretch) -> Stretch:
    """Join two stretches that meet at a fix."""
    deepest = min(one, other, key=lambda stretch: stretch.distance_m)
    return deepest._replace(
        enter_at=one.enter_at,
        exit_at=other.exit_at,
        chord_m=one.chord_m + other.chord_m,
        begins=one.begins,
        ends=other.ends,
    )


def _pass(
    place: str, stretch: Stretch, start: Point, end: Point, fix: Fix, moment: Moment
) -> list[Transition]:
    """Tell a pass, if the way from ``start`` to ``end`` ran through the place surely enough."""
    fence, rules = moment.layout.fence(place), moment.layout.rules[place]
    assert fence is not None
    enter_at, distance_m = stretch.enter_at, stretch.distance_m
    if not fits_level(fix, fence) or not rules.valid_from <= enter_at < rules.valid_until:
        return []
    if fence.on_foot and is_driving(fix):
        return []
    accuracy_m = max(start[3], end[3])
    chance = inside(distance_m, rules.depth_m, max(accuracy_m, LEAST_ACCURACY_M) / RADIUS_PER_SIGMA)
    if chance < PASS_CHANCE:
        return []
    east_m, north_m = offset(*start[1:3], *end[1:3])
    length_m = hypot(east_m, north_m)
    # On which hand the place's middle lies: where a step aside leads deeper into it.
    left = moved(
        stretch.lon, stretch.lat, -north_m * ASIDE_M / length_m, east_m * ASIDE_M / length_m
    )
    deeper = moment.layout.index.distance(place, *left) < distance_m
    presence = Presence(visit=visit_id(moment.subject, place, enter_at, "pass"), inside_at=fix.at)
    step(presence, Signal.CROSSED, enter_at)
    presence.because = {
        "rule": "crossed",
        "exit_at": round(stretch.exit_at, 6),
        "bearing_deg": round(degrees(atan2(east_m, north_m)) % 360.0),
        "side": "left" if deeper else "right",
        "chord_m": round(stretch.chord_m, 1),
        "distance_m": round(distance_m, 1),
        "accuracy_m": accuracy_m or None,
        "inside": round(chance, 3),
    }
    return [say("pass", moment, place, presence, enter_at, moment.now)]
