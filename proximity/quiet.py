"""Which of many fixes say nothing new, in ``robust``? Asked of all at once.

Most fixes come from people who are nowhere, or who are where they were. What those do is what
``robust_fix`` would do, reckoned in arrays over all of their subjects: to the last bit the same,
so that batches change nothing. Whatever is not plain (a jump, a drive, a place with a parent or an
excluded area, an edge on the way, a state that may change) is left to ``robust_fix``.
"""

from __future__ import annotations

from math import cos, exp, inf
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from proximity import filter as kalman
from proximity.layout import Layout
from proximity.passing import PASS_GAP_S
from proximity.presence import Presence, State
from proximity.standing import Asked, Quiet, Standing
from proximity.tracking import (
    _ASIDE,
    _BEFORE,
    _LEAST_COS,
    _METRES_PER_DEGREE,
    _RADIANS,
    _STATE,
    _SUMS,
    _UNKNOWN_SUMS,
    FAR_M,
    GATE_M,
    GATE_SIGMAS,
    LEARN_WITHIN_S,
    LEARNT_ENOUGH,
    LEAST_ACCURACY_M,
    LEAST_SCALE,
    LEAST_VARIANCE_M2,
    MOST_SCALE,
    MOST_SURPRISE,
    OUTSIDE,
    OUTSIDE_SHARE,
    RADIUS_PER_SIGMA,
    TRACK,
    TWICE_SHARE,
    UNKNOWN_ACCURACY_M,
    inside,
)
from proximity.trail import Floats

_NO_TRACK = Quiet(b"")
# Fewer tracks than this are quicker followed one by one (measured: about eight).
LEAST_TRACKS = 8

Bools = npt.NDArray[np.bool_]


class _Followed(NamedTuple):
    """Tracks that took a fix each: packed, and where their subjects are (degrees, metres)."""

    sure: Bools
    tracks: list[bytes]
    lons: Floats
    lats: Floats
    sds_m: list[float]


def robust_quiet(asked: Asked, layout: Layout) -> list[Quiet | None]:
    """Say of each fix what becomes of its subject's standing, or None: ``robust_fix`` must."""
    answers: list[Quiet | None] = [None] * len(asked.fixes)
    near = layout.near_many(asked.lons, asked.lats)
    followed: list[int] = []
    begun: list[int] = []
    far: list[int] = []
    for number, standing in enumerate(asked.standings):
        if len(standing.track) == TRACK.size:
            if asked.plain[number] and (standing.presences or near[number]):
                followed.append(number)
        elif standing.presences or standing.track:
            continue
        elif not near[number]:
            far.append(number)
        elif asked.plain[number]:
            begun.append(number)
    if far:
        clear = _clear(_last(asked, far), asked, far, layout)
        for number, sure in zip(far, clear.tolist(), strict=True):
            if sure or asked.fixes[number].mock:
                answers[number] = _NO_TRACK
    if len(begun) >= LEAST_TRACKS:
        found = _begin(asked, begun)
        last = _last(asked, begun)
        clear = _clear(last, asked, begun, layout)
        _answer(asked, begun, found, last, clear, layout, answers)
    if len(followed) >= LEAST_TRACKS:
        joined = b"".join([asked.standings[number].track for number in followed])
        before = np.frombuffer(joined, "<f8").reshape(-1, TRACK.size // 8)
        found = _follow(before, asked, followed)
        last = before[:, :3]
        clear = _clear(last, asked, followed, layout)
        _answer(asked, followed, found, last, clear, layout, answers)
    return answers


def _last(asked: Asked, numbers: list[int]) -> Floats:
    """Give when and where the last fixes lay, a row each; long ago where there is none."""
    spots = [asked.standings[number].last for number in numbers]
    return np.array([(s.at, s.lon, s.lat) if s else (-inf, 0.0, 0.0) for s in spots])


def _answer(
    asked: Asked,
    followed: list[int],
    found: _Followed,
    last: Floats,
    clear: Bools,
    layout: Layout,
    answers: list[Quiet | None],
) -> None:
    """Enter the answers of those who are followed, by where that puts them."""
    held = layout.index.holding(found.lons, found.lats)
    where = zip(
        followed, last.tolist(), clear.tolist(), found.sure.tolist(), held, found.tracks,
        found.lons.tolist(), found.lats.tolist(), found.sds_m, strict=True,
    )  # fmt: skip
    for number, (_, lon0, lat0), free, sure, places, track, lon, lat, sd_m in where:
        fix = asked.fixes[number]
        if not sure or not (
            free
            or not layout.index.crossings(
                lon0, lat0, fix.lon, fix.lat, asked.standings[number].presences
            )
        ):
            continue
        standing = asked.standings[number]
        if not places and not standing.presences:
            answers[number] = Quiet(track)
            continue
        accuracy_m = fix.accuracy_m
        presences = _stays(standing, places, lon, lat, sd_m, accuracy_m, asked, number, layout)
        if presences is not None:
            answers[number] = Quiet(track, presences or None)


def _stays(
    standing: Standing,
    held: tuple[str, ...],
    lon: float,
    lat: float,
    sd_m: float,
    accuracy_m: float | None,
    asked: Asked,
    number: int,
    layout: Layout,
) -> dict[str, Presence] | None:
    """Give the presences after a fix that confirms them; None where it may do anything else."""
    index, at = layout.index, asked.fixes[number].at
    known = standing.presences
    after: dict[str, Presence] = {}
    for place in held:
        if place in known:
            continue
        rules = layout.plain(place)
        if rules is None:
            return None
        chance = inside(index.distance(place, lon, lat, held=True), rules.depth_m, sd_m)
        if chance >= TWICE_SHARE * rules.min_confidence:
            return None
    for place, presence in known.items():
        rules = layout.plain(place)
        if rules is None or presence.state is not State.INSIDE or presence.heard_at is not None:
            return None
        margin_m = rules.exit_margin_m
        distance_m = index.distance(place, lon, lat, held=place in held)
        chance = inside(distance_m - margin_m, rules.depth_m + margin_m, sd_m)
        if chance < min(OUTSIDE, OUTSIDE_SHARE * rules.min_confidence):
            return None
        if chance < TWICE_SHARE * rules.min_confidence:
            after[place] = presence
            continue
        because = {
            "distance_m": round(distance_m, 1),
            "accuracy_m": None if accuracy_m is None else round(accuracy_m, 1),
            "rule": "position",
            "sd_m": round(sd_m, 1),
            "inside": round(chance, 3),
        }
        if margin_m:
            because["margin_m"] = margin_m
        after[place] = Presence(
            State.INSIDE, presence.visit, presence.enter_at, presence.since, at, True, None,
            presence.dwelt, False, because,
        )  # fmt: skip
    return after


def _clear(last: Floats, asked: Asked, numbers: list[int], layout: Layout) -> Bools:
    """Say of each fix whether the way to it surely passes nothing.

    ``last`` has a row of time, longitude and latitude for each: where the way begins.
    """
    gap_s = asked.ats[numbers] - last[:, 0]
    clear = ~((gap_s > 0.0) & (gap_s <= PASS_GAP_S))
    ways = np.flatnonzero(~clear)
    if len(ways):
        here = np.array(numbers)[ways]
        clear[ways] = layout.index.no_edge_between_many(
            last[ways, 1], last[ways, 2], asked.lons[here], asked.lats[here]
        )
    return clear


# -- tracking.follow, of many -------------------------------------------------------------------
# Numbers stand in columns. What numpy would round otherwise (exp, cos) is asked of math.


def _begin(asked: Asked, numbers: list[int]) -> _Followed:
    """Begin a track at each fix, as ``tracking.follow`` does where there is none."""
    after = np.zeros((len(numbers), TRACK.size // 8))
    variance = _variance(asked.accuracies[numbers], 1.0)
    state = kalman.start(variance, np.zeros(len(numbers)))
    after[:, _SUMS], after[:, _SUMS + 1] = _UNKNOWN_SUMS
    _note(after, asked, numbers)
    after[:, _BEFORE:] = after[:, :_STATE]
    return _followed(np.ones(len(numbers), np.bool_), after, state)


def _follow(before: Floats, asked: Asked, numbers: list[int]) -> _Followed:
    """Let each track, a row of ``before``, take its fix; not sure where ``follow`` must."""
    column = before.T
    ats, accuracies = asked.ats[numbers], asked.accuracies[numbers]
    sure = (ats > column[0]) & (column[_ASIDE] == 0.0)
    gap_s = np.where(sure, ats - column[0], 1.0)
    x, y = _offset(column[1], column[2], asked.lons[numbers], asked.lats[numbers])
    sums = column[_SUMS], column[_SUMS + 1]
    scale = np.minimum(np.maximum(sums[0] / sums[1], LEAST_SCALE), MOST_SCALE)
    variance = _variance(accuracies, scale)
    rho = _exp(-gap_s / kalman.ERROR_MEMORY_S)
    state = tuple(column[_STATE:_SUMS])
    keep = _exp(-gap_s * (kalman.STOPS_PER_S + kalman.goes(state[20])))
    ahead, fresh = kalman.predict(state, gap_s, rho, keep, variance)
    white = kalman.white(variance)
    s_off, s_variance, w_off, w_variance = kalman.surprise(ahead, x, y, white)
    s_normal, w_normal = s_off / s_variance, w_off / w_variance
    off_m2 = np.minimum(s_off, w_off)
    sure &= (off_m2 <= GATE_M**2) | (np.minimum(s_normal, w_normal) <= GATE_SIGMAS**2)
    sure &= off_m2 <= FAR_M**2
    likelier = s_variance / w_variance * _exp(np.minimum(0.5 * (s_normal - w_normal), 50.0))
    state = kalman.correct(ahead, x, y, s_variance, w_variance, likelier)
    standing, own = state[kalman.STANDING], fresh + white
    s_weight, w_weight = standing * own / s_variance, (1.0 - standing) * own / w_variance
    surprise = s_weight * np.minimum(0.5 * s_normal, MOST_SURPRISE)
    surprise += w_weight * np.minimum(0.5 * w_normal, MOST_SURPRISE)
    off, of = sums[0] + scale * surprise, sums[1] + (s_weight + w_weight)
    share = np.where(of < LEARNT_ENOUGH, 1.0, 0.5)
    learns = (gap_s <= LEARN_WITHIN_S) & ~np.isnan(accuracies)
    after = np.zeros_like(before)
    after[:, _SUMS] = np.where(learns, share * off, sums[0])
    after[:, _SUMS + 1] = np.where(learns, share * of, sums[1])
    after[:, _BEFORE:] = before[:, :_STATE]
    _note(after, asked, numbers)
    return _followed(sure, after, state)


def _note(tracks: Floats, asked: Asked, numbers: list[int]) -> None:
    """Enter the fixes that tracks took last."""
    tracks[:, 0] = asked.ats[numbers]
    tracks[:, 1], tracks[:, 2] = asked.lons[numbers], asked.lats[numbers]
    tracks[:, 3] = np.nan_to_num(asked.accuracies[numbers], nan=0.0)


def _followed(sure: Bools, tracks: Floats, state: kalman.State) -> _Followed:
    """Pack tracks in this state of the filter, and say where that puts their subjects."""
    tracks[:, _STATE:_SUMS] = np.array(state).T
    packed = tracks.tobytes()
    each = [packed[first : first + TRACK.size] for first in range(0, len(packed), TRACK.size)]
    east, north, spread = kalman.position(state)
    lons, lats = _moved(tracks[:, 1], tracks[:, 2], east, north)
    return _Followed(sure, each, lons, lats, np.sqrt(spread).tolist())


def _variance(accuracies: Floats, scale: Floats | float) -> Floats:
    """Do as ``tracking._variance`` does, of many."""
    stated = ~np.isnan(accuracies)
    radius = np.where(stated, np.maximum(accuracies, LEAST_ACCURACY_M), UNKNOWN_ACCURACY_M)
    sigma = radius / RADIUS_PER_SIGMA
    of_phone: Floats = np.maximum(scale * (sigma * sigma), LEAST_VARIANCE_M2)
    return np.where(stated, of_phone, sigma * sigma)


def _offset(lon0: Floats, lat0: Floats, lon1: Floats, lat1: Floats) -> tuple[Floats, Floats]:
    """Do as ``tracking.offset`` does, of many."""
    scale = _METRES_PER_DEGREE * np.maximum(_cos((lat0 + lat1) * 0.5 * _RADIANS), _LEAST_COS)
    east = ((lon1 - lon0 + 180.0) % 360.0 - 180.0) * scale
    return east, (lat1 - lat0) * _METRES_PER_DEGREE


def _moved(lon: Floats, lat: Floats, east_m: Floats, north_m: Floats) -> tuple[Floats, Floats]:
    """Do as ``tracking.moved`` does, of many."""
    north = np.minimum(np.maximum(lat + north_m / _METRES_PER_DEGREE, -90.0), 90.0)
    scale = _METRES_PER_DEGREE * np.maximum(_cos((lat + north) * 0.5 * _RADIANS), _LEAST_COS)
    return (lon + east_m / scale + 180.0) % 360.0 - 180.0, north


def _exp(numbers: Floats) -> Floats:
    return np.array([exp(number) for number in numbers.tolist()])


def _cos(numbers: Floats) -> Floats:
    return np.array([cos(number) for number in numbers.tolist()])
