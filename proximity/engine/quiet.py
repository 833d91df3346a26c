"""Which of many fixes say nothing new, in ``robust``? Asked of all at once.

Most fixes come from people who are nowhere, or who are where they were. What those do is what
``robust_fix`` would do, to the last bit, so that batches change nothing. Of the others it is said
where they put their subjects and how far from which fences that is, where that is plain.
"""

from __future__ import annotations

from math import inf

import numpy as np
import numpy.typing as npt

from proximity.engine.following import Steps, begin, follow
from proximity.engine.layout import Layout
from proximity.engine.passing import PASS_GAP_S
from proximity.engine.presence import Presence, State
from proximity.engine.standing import Asked, Followed, Quiet
from proximity.engine.tracking import (
    OUTSIDE,
    OUTSIDE_SHARE,
    TRACK,
    TWICE_SHARE,
    fits_level,
    inside,
    is_still,
)
from proximity.engine.trail import ROW_BYTES, Floats, pack_sign
from proximity.model import Fix

_NO_TRACK = Quiet(b"")
_NEVER = pack_sign(-inf, 0.0)
# Fewer tracks than this are quicker followed one by one (measured: about eight).
LEAST_TRACKS = 8

Bools = npt.NDArray[np.bool_]
Answers = list[Quiet | Followed | None]


def robust_quiet(asked: Asked, layout: Layout) -> Answers:
    """Say of each fix what becomes of its subject's standing, or else where that puts it.

    None: ``robust_fix`` must say all of it.
    """
    near = layout.near_many(asked.lons, asked.lats)
    followed: list[int] = []
    begun: list[int] = []
    far: list[int] = []
    for number, standing in enumerate(asked.standings):
        if standing.track:
            if asked.ordinary[number]:
                followed.append(number)
        elif standing.presences:
            continue
        elif not near[number]:
            far.append(number)
        elif asked.ordinary[number]:
            begun.append(number)
    answers: Answers = [None] * len(asked.fixes)
    if far:
        _enter(answers, far, _afar(asked.some(far), layout))
    if len(begun) >= LEAST_TRACKS:
        some = asked.some(begun)
        by = [near[number] for number in begun]
        _enter(answers, begun, _answer(some, begin(some), _last(some), by, layout))
    if len(followed) >= LEAST_TRACKS:
        some = asked.some(followed) if len(followed) < len(near) else asked
        by = [near[number] for number in followed]
        _enter(answers, followed, _answer(some, follow(some), _taken(some), by, layout))
    return answers


def _enter(answers: Answers, numbers: list[int], found: Answers) -> None:
    for number, answer in zip(numbers, found, strict=True):
        answers[number] = answer


def _last(asked: Asked) -> Floats:
    """Give when and where the last fixes lay, a row each; long ago where there is none."""
    rows = b"".join([standing.last or _NEVER for standing in asked.standings])
    return np.frombuffer(rows, "<f8").reshape(-1, ROW_BYTES // 8)[:, :3]


def _taken(asked: Asked) -> Floats:
    """Give when and where the fixes lay that tracks took last, a row each."""
    tracks = b"".join([standing.track for standing in asked.standings])
    return np.frombuffer(tracks, "<f8").reshape(-1, TRACK.size // 8)[:, :3]


def _afar(asked: Asked, layout: Layout) -> Answers:
    """Answer for those who are nowhere and far from everything."""
    last = _last(asked)
    answers: Answers = []
    clear = _clear(last, asked, layout).tolist()
    for fix, sure, (_, lon, lat) in zip(asked.fixes, clear, last.tolist(), strict=True):
        free = sure or fix.mock or not layout.index.crossings(lon, lat, fix.lon, fix.lat, ())
        answers.append(_NO_TRACK if free else None)
    return answers


def _answer(asked: Asked, steps: Steps, last: Floats, near: list[bool], layout: Layout) -> Answers:
    """Answer for those whose steps these are, by where that puts them.

    ``last`` has a row of time, longitude and latitude for each: where the way begins. ``near``
    are those whose fix has a fence nearby.
    """
    index = layout.index
    # Where others agree the way may pass what it likes: it is gone over by itself.
    free = (_clear(last, asked, layout) & ~steps.gone).tolist()
    answers: Answers = [None] * len(near)
    look: list[int] = []
    # Whose distance from which place is asked: of those that hold a position, and one's own.
    whose: list[int] = []
    places: list[str] = []
    within: list[bool] = []
    held = index.holding(steps.lons, steps.lats)
    told = zip(
        asked.standings, steps.tracks, held, near, steps.sure.tolist(), steps.jump.tolist(), free,
        strict=True,
    )  # fmt: skip
    for number, (standing, track, holding, by, sure, jump, clear) in enumerate(told):
        known = standing.presences
        if not sure:
            continue
        if jump:
            answers[number] = Quiet(track)
        elif clear and not holding and not known:
            answers[number] = Quiet(track) if by else _NO_TRACK
        else:
            look.append(number)
            others = [place for place in known if place not in holding and place in index]
            whose += [number] * (len(holding) + len(others))
            places += [*holding, *others]
            within += [True] * len(holding) + [False] * len(others)
    distances: dict[int, dict[str, float]] = {number: {} for number in look}
    if whose:
        metres = index.distance_each(places, steps.lons[whose], steps.lats[whose], within)
        for number, place, distance_m in zip(whose, places, metres, strict=True):
            distances[number][place] = distance_m
    for number, measured in distances.items():
        fix, known, track = (
            asked.fixes[number],
            asked.standings[number].presences,
            steps.tracks[number],
        )
        after = None
        if free[number] or not (
            steps.gone[number]
            or index.crossings(
                float(last[number, 1]), float(last[number, 2]), fix.lon, fix.lat, known
            )
        ):
            after = _stays(fix, known, measured, steps, number, layout)
        if after is not None:
            answers[number] = Quiet(track if near[number] or after else b"", after or None)
        else:
            where = steps.where(number, asked.standings[number].track)
            answers[number] = Followed(track, where, near[number], held[number], measured)
    return answers


def _stays(
    fix: Fix,
    known: dict[str, Presence],
    distances: dict[str, float],
    steps: Steps,
    number: int,
    layout: Layout,
) -> dict[str, Presence] | None:
    """Give the presences after a fix that confirms them; None where it may do anything else."""
    at, accuracy_m, sd_m = fix.at, fix.accuracy_m, steps.sds_m[number]
    after: dict[str, Presence] = {}
    levels = fix.floor is not None or fix.altitude_m is not None
    still = fix.speed_mps is not None and is_still(fix)
    for place, distance_m in distances.items():
        rules = layout.plain(place)
        if rules is None:
            return None
        if levels and ((fence := layout.fence(place)) is None or not fits_level(fix, fence)):
            return None
        presence = known.get(place)
        if presence is None:
            chance = inside(distance_m, rules.depth_m, sd_m)
            if chance >= TWICE_SHARE * rules.min_confidence:
                return None
            continue
        if presence.state is not State.INSIDE or presence.heard_at is not None:
            return None
        margin_m = rules.exit_margin_m
        chance = inside(distance_m - margin_m, rules.depth_m + margin_m, sd_m)
        if chance < min(OUTSIDE, OUTSIDE_SHARE * rules.min_confidence):
            return None
        if chance < TWICE_SHARE * rules.min_confidence:
            after[place] = presence
            continue
        because = {
            "distance_m": distance_m,
            "accuracy_m": accuracy_m,
            "rule": "position",
            "sd_m": sd_m,
            "inside": chance,
        }
        if margin_m:
            because["margin_m"] = margin_m
        if aside := steps.asides[number]:
            because["set_aside"] = aside
        after[place] = Presence(
            State.INSIDE, presence.visit, presence.enter_at, presence.since, at, True, None,
            presence.dwelt, still, because, presence.quiet,
        )  # fmt: skip
    if len(after) < len(known):
        return None
    return after if len(known) < 2 else {place: after[place] for place in known}


def _clear(last: Floats, asked: Asked, layout: Layout) -> Bools:
    """Say of each fix whether the way to it surely passes nothing, but where its subject is.

    ``last`` has a row of time, longitude and latitude for each: where the way begins.
    """
    gap_s = asked.ats - last[:, 0]
    clear = ~((gap_s > 0.0) & (gap_s <= PASS_GAP_S))
    ways = np.flatnonzero(~clear)
    if len(ways):
        where = last[ways, 1], last[ways, 2], asked.lons[ways], asked.lats[ways]
        clear[ways] = layout.index.no_edge_between_many(*where)
        left = np.flatnonzero(~clear[ways])
        known = [asked.standings[way].presences for way in ways[left].tolist()]
        lons0, lats0, lons1, lats1 = (ends[left] for ends in where)
        clear[ways[left]] = layout.index.missed_many(lons0, lats0, lons1, lats1, known)
    return clear
