"""Where do fixes put their subjects? ``tracking.follow`` of many tracks at once.

Reckoned in arrays over all subjects: to the last bit what ``follow`` says, so that batches change
nothing. What a batch is not asked (a drive, a phone's word on how it moves) is left to ``follow``.
Knows tracks; knows no fence and no presence.
"""

from __future__ import annotations

from math import cos, exp, inf
from struct import Struct
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from proximity.engine import filter as kalman
from proximity.engine.standing import Asked
from proximity.engine.tracking import (
    _ASIDE,
    _BEFORE,
    _LEAST_COS,
    _METRES_PER_DEGREE,
    _NUMBER,
    _RADIANS,
    _STATE,
    _STOOD,
    _SUMS,
    _UNKNOWN_SUMS,
    AGREE_AT_REST,
    AGREE_FOR_S,
    AGREE_MPS,
    AGREE_SIGMAS,
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
    RADIUS_PER_SIGMA,
    STALE_S,
    TRACK,
    UNKNOWN_ACCURACY_M,
    Where,
)
from proximity.engine.trail import Floats

Bools = npt.NDArray[np.bool_]
_POINT = Struct("<4d")
_COUNT, _SINCE, _NEWEST, _LON, _LAT, _ACCURACY, _SD = range(_ASIDE, _BEFORE)


class Steps(NamedTuple):
    """What tracks did, a fix each: packed, and where that puts their subjects (degrees, metres).

    Where not ``sure``, ``follow`` must say. A ``jump`` was set aside: it tells nothing. Who has
    ``gone`` is where others, set aside before, agree; ``asides`` says how many there were.
    """

    sure: Bools
    jump: Bools
    gone: Bools
    tracks: list[bytes]
    lons: Floats
    lats: Floats
    sds_m: list[float]
    standing: list[float]
    stood: list[float]
    asides: list[int]

    def where(self, number: int, track: bytes) -> Where:
        """Give one of them as ``follow`` does, whose track was this (empty: it begins)."""
        lon, lat = float(self.lons[number]), float(self.lats[number])
        sd_m, aside = self.sds_m[number], self.asides[number]
        stands = self.standing[number], self.stood[number]
        if not track:
            return Where(lon, lat, sd_m, "position", inf, 0, None, *stands)
        before, last = _POINT.unpack_from(track, _BEFORE * 8), _POINT.unpack_from(track)
        if not self.gone[number]:
            return Where(lon, lat, sd_m, "position", inf, aside, (before, last), *stands)
        (since,) = _NUMBER.unpack_from(track, _SINCE * 8)
        way = before, last, _POINT.unpack_from(track, _NEWEST * 8)
        return Where(lon, lat, sd_m, "agreed", since, aside, way, *stands)


def begin(asked: Asked) -> Steps:
    """Begin a track at each fix."""
    many = len(asked.fixes)
    after = np.zeros((many, TRACK.size // 8))
    state = kalman.start(_variance(asked.accuracies, 1.0), np.zeros(many))
    after[:, _SUMS], after[:, _SUMS + 1] = _UNKNOWN_SUMS
    after[:, _STATE:_SUMS] = np.array(state).T
    _note(after, asked)
    after[:, _BEFORE:] = after[:, :_STATE]
    none = np.zeros(many, np.bool_)
    return _taken(~none, none, none, after, [0] * many)


def follow(asked: Asked) -> Steps:
    """Let each subject's track take its fix."""
    tracks = b"".join([standing.track for standing in asked.standings])
    before = np.frombuffer(tracks, "<f8").reshape(-1, TRACK.size // 8)
    column = before.T
    ats, accuracies = asked.ats, asked.accuracies
    since_s = ats - np.maximum(column[0], column[_NEWEST])
    sure = (since_s > 0.0) & (since_s <= STALE_S)
    gap_s = np.where(sure, ats - column[0], 1.0)
    x, y = _offset(column[1], column[2], asked.lons, asked.lats)
    sums = column[_SUMS], column[_SUMS + 1]
    scale = np.minimum(np.maximum(sums[0] / sums[1], LEAST_SCALE), MOST_SCALE)
    variance = _variance(accuracies, scale)
    rho = _exp(-gap_s / kalman.ERROR_MEMORY_S)
    state = tuple(column[_STATE:_SUMS])
    keep = _exp(-gap_s * (kalman.STOPS_PER_S + kalman.goes(state[kalman.STOOD])))
    ahead, fresh = kalman.predict(state, gap_s, rho, keep, variance)
    white = kalman.white(variance)
    s_off, s_variance, w_off, w_variance = kalman.surprise(ahead, x, y, white)
    s_normal, w_normal = s_off / s_variance, w_off / w_variance
    off_m2 = np.minimum(s_off, w_off)
    jump = (off_m2 > GATE_M**2) & (np.minimum(s_normal, w_normal) > GATE_SIGMAS**2)
    jump = (jump | (off_m2 > FAR_M**2)) & sure
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
    _note(after, asked)
    after[:, _STATE:_SUMS] = np.array(state).T
    gone = np.zeros(len(before), np.bool_)
    if jump.any():
        _set_aside(np.flatnonzero(jump), before, after, asked, variance, gone)
        jump &= ~gone
    asides = column[_COUNT].astype(np.int64).tolist()
    return _taken(sure, jump, gone, after, asides)


def _set_aside(
    jumps: npt.NDArray[np.int64],
    before: Floats,
    after: Floats,
    asked: Asked,
    variance: Floats,
    gone: Bools,
) -> None:
    """Set fixes aside, and go there where others have agreed for long; ``gone`` says where."""
    column = before[jumps].T
    ats, lons, lats = asked.ats[jumps], asked.lons[jumps], asked.lats[jumps]
    sd = np.sqrt(variance[jumps])
    x, y = _offset(column[_LON], column[_LAT], lons, lats)
    reach = AGREE_SIGMAS * (sd + column[_SD]) + AGREE_MPS * (ats - column[_NEWEST])
    agrees = (column[_COUNT] > 0.0) & (x * x + y * y <= reach * reach)
    enough = np.where(column[_STOOD] > kalman.RESTS_AFTER_S, AGREE_AT_REST, 2)
    goes = agrees & (column[_COUNT] + 1.0 >= enough) & (ats - column[_SINCE] >= AGREE_FOR_S)

    stays = jumps[~goes]
    accuracies = np.nan_to_num(asked.accuracies[jumps], nan=0.0)
    since = np.where(agrees, column[_SINCE], ats)
    aside = np.array((column[_COUNT] + 1.0, since, ats, lons, lats, accuracies, sd))
    after[stays, :_ASIDE] = before[stays, :_ASIDE]
    after[stays, _ASIDE:_BEFORE] = aside.T[~goes]
    after[stays, _BEFORE:] = before[stays, _BEFORE:]

    begun = jumps[goes]
    gone[begun] = True
    after[begun, _STATE:_SUMS] = np.array(kalman.start(variance[begun], np.zeros(len(begun)))).T
    after[begun, _SUMS:_ASIDE] = before[begun, _SUMS:_ASIDE]
    after[begun, _BEFORE:] = before[begun, _NEWEST:_SD]


def _note(tracks: Floats, asked: Asked) -> None:
    """Enter the fixes that tracks took last."""
    tracks[:, 0], tracks[:, 1], tracks[:, 2] = asked.ats, asked.lons, asked.lats
    tracks[:, 3] = np.nan_to_num(asked.accuracies, nan=0.0)


def _taken(sure: Bools, jump: Bools, gone: Bools, tracks: Floats, asides: list[int]) -> Steps:
    """Pack tracks, and say where that puts their subjects."""
    packed = tracks.tobytes()
    each = [packed[first : first + TRACK.size] for first in range(0, len(packed), TRACK.size)]
    state = tuple(tracks[:, _STATE:_SUMS].T)
    east, north, spread = kalman.position(state)
    lons, lats = _moved(tracks[:, 1], tracks[:, 2], east, north)
    sds_m, standing = np.sqrt(spread).tolist(), state[kalman.STANDING].tolist()
    stood = state[kalman.STOOD].tolist()
    return Steps(sure, jump, gone, each, lons, lats, sds_m, standing, stood, asides)


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
