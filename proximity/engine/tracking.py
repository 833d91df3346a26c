"""Where is a subject, how surely, and what does that say of one fence?

Takes a subject's fixes one after another and keeps what ``filter`` knows of it, with what phones do
beyond noise: jumps, doubled fixes, accuracies that flatter, driving, positions made up. Turns the
position into an Observation of a fence. Knows metres and degrees; knows nothing of visits, counts
or timers, which ``presence`` owns. A track is a pure function of the fixes in the order of time.
"""

from __future__ import annotations

from math import cos, erf, exp, inf, pi, sqrt
from struct import Struct
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from geofences import Fence
from proximity.engine import filter as kalman
from proximity.model import Fix, Observation

# A 68 % radius in the plane is 1.515 standard deviations per axis (chi-square, 2 degrees of
# freedom: sqrt(-2 ln 0.32) = 1.51).
RADIUS_PER_SIGMA = 1.515
# A fix without accuracy is taken as good to this: the middle of what phones report in streets
# (24 m median at 1 Hz, 55 m in a month of location history). Half of it gave 15 to 20 % more
# false events on simulated walks.
UNKNOWN_ACCURACY_M = 30.0
# Still phones were seen 200 to 300 m off claiming 1.7 to 9 m: a small number proves nothing.
LEAST_ACCURACY_M = 4.0
# No phone in a street is better than this per axis, whatever it states and whatever was learnt.
LEAST_VARIANCE_M2 = 9.0

# What a phone's accuracies are worth is learnt from its fixes: the square of how far they are off,
# in what it claims. At first they are taken at their word with the weight of five fixes; what is
# older than a few hundred counts half, since a phone is taken indoors and out.
TRUSTED = 5.0
LEARNT_ENOUGH = 200.0
LEAST_SCALE, MOST_SCALE = 0.125, 8.0
# Fixes further apart than this say more of the walk between them than of the phone.
LEARN_WITHIN_S = 120.0
# One fix counts for no more than three standard deviations.
MOST_SURPRISE = 9.0

# A fix farther from what was expected than this many standard deviations, and than these metres,
# is set aside. 3 to 4 are alike, 7 lets jumps through.
GATE_SIGMAS = 3.5
GATE_M = 20.0
# After minutes without a fix anything within a walk is to be expected, a jump too: so far off, one
# fix alone is set aside, however long the gap.
FAR_M = 100.0
# Fixes set aside agree while each lies where its forerunner may have walked or cycled; agreement
# for so long was no jump: still phones' jumps end sooner. At 2 m/s who drives off would be lost.
AGREE_MPS = 12.0
AGREE_SIGMAS = 3.0
AGREE_FOR_S = 45.0
# Whoever has rested is moved by three that agree, not by two: at a fix a minute two jumps in a row
# "agree" as well, and half of the false events of phones at rest were such. Who does drive off is
# told a fix later.
AGREE_AT_REST = 3

# Of whom nobody heard for so long, and who is in no place by then, nothing is known any more: where
# they rested says nothing of where they are two hours later. The engine forgets such people when it
# comes to it; that they count as new from here on is why it makes no difference when that was.
STALE_S = 7200.0

# Faster than this is no walk; the filter's walkers would fall behind.
FAST_MPS = 4.0
# Faster than this between two fixes is a jump of the position, not a journey (252 km/h).
FASTEST_MPS = 70.0
# Slower than this is standing: a stroll is 0.6 m/s or more.
STILL_MPS = 0.3
# What a phone says of its motion makes it so many times likelier. Right nine times in ten would be
# 9, were the word of each fix news; but it lags, and hangs together. In a simulated district both 3
# and 10 halve the false events; with a fifth of the words wrong 3 still gains, and more than 10.
TOLD_ODDS = 3.0

# The thresholds of the decision on the probability of being inside (flat from 0.65 to 0.80 on
# simulated streets): at once; at two fixes in a row; below it one is outside. A place's
# `min_confidence` is the first, and moves the others with it.
MIN_CONFIDENCE = 0.70
TWICE_SHARE = 6.0 / 7.0
OUTSIDE = 0.30
OUTSIDE_SHARE = OUTSIDE / MIN_CONFIDENCE
# Where the fence names no exit margin: whoever stands on the edge itself is inside and outside by
# turns, whatever the spread says. At 3 m ten phones on an edge flap no more; 6 m finds fewer exits.
EXIT_MARGIN_M = 3.0

# Who more likely stands than walks. A track that has just begun (0.55) is not there yet.
STANDS = 0.6
# Whoever stands in a place has been in it since they stopped: what took so long was to be sure of
# it, indoors. With that the arrivals of a simulated shopping day are 23 s off on average, not 39,
# and F1 gains 0.01 to 0.05 where people shop; 200 s gains less, and from 600 s on couriers lose,
# who wander about one door for an hour.
STOOD_MOST_S = 300.0

_STILL = frozenset({"still", "stationary"})
_ON_FOOT = frozenset({"walking", "running", "on_foot"})
_DRIVING = frozenset(
    {"driving", "automotive", "in_vehicle", "vehicle", "cycling", "on_bicycle", "bicycle"}
)
_METRES_PER_DEGREE = 111_195.0
_RADIANS = pi / 180.0
_SQRT_HALF = sqrt(0.5)
# East and west lose their meaning at the poles: there a degree is reckoned as a metre at least.
_LEAST_COS = 1e-5

TRACK = Struct("<38d")
"""A track: time, degrees and stated accuracy (0: none) of the fix it last took; the filter's 20
numbers; the sums by which accuracies are weighed; of the fixes set aside since: how many, since
when, and the newest one's time, degrees, stated accuracy and standard deviation; and of the fix
taken before the last what the first four are of that (itself, where it was the first)."""
_STATE, _SUMS, _ASIDE, _BEFORE = 4, 25, 27, 34
_NUMBER = Struct("<d")
_STOOD = _STATE + kalman.STOOD
_NONE_ASIDE = (0.0,) * 7
_UNKNOWN_SUMS = (TRUSTED, TRUSTED)

Floats = npt.NDArray[np.float64]


Point = tuple[float, ...]
"""Unix seconds, degrees east and north, metres of stated accuracy (0: not stated)."""


class Where(NamedTuple):
    """Where a fix puts its subject: degrees, and the standard deviation of that (metres an axis).

    ``rule`` says how; where it is in ``ASIDE`` the fix tells nothing. ``since`` is from when on the
    subject is there, where that is earlier than the fix (Unix seconds); ``aside`` how many fixes
    before it were set aside; ``way`` the points by which the subject came here: the two fixes taken
    before this one, and one that was set aside (None: not known); ``standing`` how probably the
    subject does not move, and ``stood`` for how many seconds it has not, if so.
    """

    lon: float
    lat: float
    sd_m: float
    rule: str
    since: float = inf
    aside: int = 0
    way: tuple[Point, ...] | None = None
    standing: float = 0.0
    stood: float = 0.0


def point(fix: Fix) -> Point:
    """Give a fix as a point of a way."""
    return fix.at, fix.lon, fix.lat, fix.accuracy_m or 0.0


ASIDE = frozenset({"mock", "again", "jump"})
"""Rules of fixes that tell nothing: made up, of an instant already known, off the way."""


def phi(x: float) -> float:
    """Give the standard normal distribution function at ``x``."""
    return 0.5 * (1.0 + erf(x / sqrt(2.0)))


def accuracy_of(fix: Fix) -> float:
    """Give the 68 % radius to reckon with, in metres: stated, floored, or the usual one."""
    if fix.accuracy_m is None:
        return UNKNOWN_ACCURACY_M
    return max(fix.accuracy_m, LEAST_ACCURACY_M)


def is_still(fix: Fix) -> bool:
    """Whether the phone itself says that it does not move."""
    if fix.motion is not None:
        return fix.motion in _STILL
    return fix.speed_mps is not None and 0.0 <= fix.speed_mps < STILL_MPS


def told(fix: Fix) -> float:
    """Give how many times likelier the phone's own word makes walking than standing."""
    if fix.motion in _STILL:
        return 1.0 / TOLD_ODDS
    return TOLD_ODDS if fix.motion in _ON_FOOT else 1.0


def is_driving(fix: Fix) -> bool:
    """Whether the phone itself says that it moves faster than one walks."""
    if fix.motion is not None and fix.motion in _DRIVING:
        return True
    return fix.speed_mps is not None and fix.speed_mps >= FAST_MPS


def is_ordinary(fix: Fix) -> bool:
    """Whether a fix says nothing that lets ``follow`` do otherwise than by its place alone."""
    fast = fix.speed_mps is not None and fix.speed_mps >= FAST_MPS
    return fix.motion is None and not fast and not fix.mock


def fits_level(fix: Fix, fence: Fence) -> bool:
    """Whether floor and altitude allow the fence; a fix that lacks them matches."""
    if fix.floor is not None and fence.floor is not None and fix.floor != fence.floor:
        return False
    if fix.altitude_m is None:
        return True
    if fence.min_altitude_m is not None and fix.altitude_m < fence.min_altitude_m:
        return False
    return fence.max_altitude_m is None or fix.altitude_m <= fence.max_altitude_m


def _asks_more(fence: Fence) -> bool:
    """Whether standing in a fence is not yet being in it: by lift, or by car, one comes later."""
    levels = fence.floor, fence.min_altitude_m, fence.max_altitude_m
    return fence.on_foot or levels != (None, None, None)


# -- the frame: metres east and north of a fix ----------------------------------------------------
# Each fix taken is the origin of what is known next. What is measured from it are some metres, or
# some hundred, so that a sphere will do (0.3 %), nothing grows with the length of a way, and no
# meridian is special. The scale is that of the middle latitude: there and back are the same.


def offset(lon0: float, lat0: float, lon1: float, lat1: float) -> tuple[float, float]:
    """Give the metres east and north from one point to another (degrees), the short way round."""
    scale = _METRES_PER_DEGREE * max(cos((lat0 + lat1) * 0.5 * _RADIANS), _LEAST_COS)
    return ((lon1 - lon0 + 180.0) % 360.0 - 180.0) * scale, (lat1 - lat0) * _METRES_PER_DEGREE


def moved(lon: float, lat: float, east_m: float, north_m: float) -> tuple[float, float]:
    """Give the degrees of what lies some metres east and north of a point."""
    north = min(max(lat + north_m / _METRES_PER_DEGREE, -90.0), 90.0)
    scale = _METRES_PER_DEGREE * max(cos((lat + north) * 0.5 * _RADIANS), _LEAST_COS)
    return (lon + east_m / scale + 180.0) % 360.0 - 180.0, north


# -- following a subject ----------------------------------------------------------------------


def _variance(fix: Fix, scale: float) -> float:
    """Give the variance of a fix's error per axis, in square metres."""
    sigma = accuracy_of(fix) / RADIUS_PER_SIGMA
    if fix.accuracy_m is not None:
        return max(scale * (sigma * sigma), LEAST_VARIANCE_M2)
    return sigma * sigma


def _scale(sums: tuple[float, ...]) -> float:
    return min(max(sums[0] / sums[1], LEAST_SCALE), MOST_SCALE)


def _begin(fix: Fix, sums: tuple[float, ...], where: Where) -> tuple[bytes, Where]:
    """Begin a track at a fix."""
    return _taken(fix, kalman.start(_variance(fix, _scale(sums)), 0.0), sums, where)


def _taken(
    fix: Fix, state: kalman.State, sums: tuple[float, ...], where: Where
) -> tuple[bytes, Where]:
    """Pack a track that has taken a fix, and say where that puts its subject."""
    own = fix.at, fix.lon, fix.lat, fix.accuracy_m or 0.0
    before = where.way[-1] if where.way else own
    track = TRACK.pack(*own, *state, *sums, *_NONE_ASIDE, *before)
    east, north, variance = kalman.position(state)
    lon, lat = moved(fix.lon, fix.lat, east, north)
    standing, stood = state[kalman.STANDING], state[kalman.STOOD]
    there = where._replace(lon=lon, lat=lat, sd_m=sqrt(variance), standing=standing, stood=stood)
    return track, there


def follow(track: bytes, fix: Fix) -> tuple[bytes, Where]:
    """Take a subject's next fix: what is known of it then, and where that fix puts it."""
    if fix.mock:
        return track, Where(fix.lon, fix.lat, inf, "mock")
    if not track:
        return _begin(fix, _UNKNOWN_SUMS, Where(fix.lon, fix.lat, inf, "position"))
    numbers = TRACK.unpack(track)
    at, lon, lat, _ = numbers[:_STATE]
    sums, (count, _, newest, *_) = numbers[_SUMS:_ASIDE], numbers[_ASIDE:_BEFORE]
    if fix.at <= max(at, newest):
        return track, Where(fix.lon, fix.lat, inf, "again")
    x, y = offset(lon, lat, fix.lon, fix.lat)
    gap_s = fix.at - at
    scale = _scale(sums)
    variance = _variance(fix, scale)
    way: tuple[Point, ...] = numbers[_BEFORE:], numbers[:_STATE]
    if is_driving(fix) and _driven(fix, x, y, gap_s, variance):
        return _begin(fix, sums, Where(fix.lon, fix.lat, inf, "driving", inf, int(count), way))
    state = numbers[_STATE:_SUMS]
    rho = exp(-gap_s / kalman.ERROR_MEMORY_S)
    keep = exp(-gap_s * kalman.changes(state))
    ahead, fresh = kalman.predict(state, gap_s, rho, keep, variance)
    white = kalman.white(variance)
    s_off, s_variance, w_off, w_variance = kalman.surprise(ahead, x, y, white)
    s_normal, w_normal = s_off / s_variance, w_off / w_variance
    off = min(s_off, w_off)
    if (off > GATE_M**2 and min(s_normal, w_normal) > GATE_SIGMAS**2) or off > FAR_M**2:
        return _set_aside(numbers, fix, sqrt(variance), way)
    likelier = s_variance / w_variance * exp(min(0.5 * (s_normal - w_normal), 50.0))
    likelier *= told(fix)
    state = kalman.correct(ahead, x, y, s_variance, w_variance, likelier)
    if gap_s <= LEARN_WITHIN_S and fix.accuracy_m is not None:
        standing, own = state[kalman.STANDING], fresh + white
        s_weight, w_weight = standing * own / s_variance, (1.0 - standing) * own / w_variance
        surprise = s_weight * min(0.5 * s_normal, MOST_SURPRISE)
        surprise += w_weight * min(0.5 * w_normal, MOST_SURPRISE)
        off, of = sums[0] + scale * surprise, sums[1] + (s_weight + w_weight)
        sums = (off, of) if of < LEARNT_ENOUGH else (0.5 * off, 0.5 * of)
    where = Where(fix.lon, fix.lat, inf, "position", inf, int(count), way)
    return _taken(fix, state, sums, where)


def is_stale(track: bytes, at: float) -> bool:
    """Whether a track's last fix is so long before Unix second ``at`` that it says nothing."""
    taken: float = _NUMBER.unpack_from(track)[0]
    aside: float = _NUMBER.unpack_from(track, (_ASIDE + 2) * 8)[0]
    return at - max(taken, aside) > STALE_S


def _driven(fix: Fix, x: float, y: float, gap_s: float, variance: float) -> bool:
    """Whether a phone that says it drives may have come this far; ``x``, ``y`` in metres."""
    fastest = FASTEST_MPS if fix.speed_mps is None else min(2.0 * fix.speed_mps, FASTEST_MPS)
    reach = fastest * gap_s + 2.0 * AGREE_SIGMAS * sqrt(variance)
    return x * x + y * y <= reach * reach


def _set_aside(
    numbers: tuple[float, ...], fix: Fix, sd: float, way: tuple[Point, ...]
) -> tuple[bytes, Where]:
    """Keep a fix that is far off the way apart, and go there once others have agreed for long."""
    count, since, newest, lon, lat, accuracy_m, other_sd = numbers[_ASIDE:_BEFORE]
    agrees = False
    if count:
        x, y = offset(lon, lat, fix.lon, fix.lat)
        reach = AGREE_SIGMAS * (sd + other_sd) + AGREE_MPS * (fix.at - newest)
        agrees = x * x + y * y <= reach * reach
    enough = AGREE_AT_REST if numbers[_STOOD] > kalman.RESTS_AFTER_S else 2
    if agrees and count + 1.0 >= enough and fix.at - since >= AGREE_FOR_S:
        way += ((newest, lon, lat, accuracy_m),)
        where = Where(fix.lon, fix.lat, inf, "agreed", since, int(count), way)
        return _begin(fix, numbers[_SUMS:_ASIDE], where)
    since = since if agrees else fix.at
    aside = count + 1.0, since, fix.at, fix.lon, fix.lat, fix.accuracy_m or 0.0, sd
    track = TRACK.pack(*numbers[:_ASIDE], *aside, *numbers[_BEFORE:])
    return track, Where(fix.lon, fix.lat, inf, "jump", since, int(count))


# -- what that says of a fence ---------------------------------------------------------------


def inside(distance_m: float, depth_m: float, sd_m: float) -> float:
    """Give the probability of being inside a fence whose edge is ``distance_m`` away.

    ``distance_m`` is negative inside, ``depth_m`` is that of the fence's deepest point, ``sd_m``
    the position's standard deviation per axis. The second term: one cannot be surely inside what
    is smaller than the error.
    """
    scale = _SQRT_HALF / sd_m
    return 0.5 * (erf(-distance_m * scale) + erf((distance_m + 2.0 * depth_m) * scale))


def has_stopped(where: Where) -> bool:
    """Whether a subject stands, and has for so short a time that it is known since when."""
    return where.standing >= STANDS and 0.0 < where.stood <= STOOD_MOST_S


def judge(
    fix: Fix,
    fence: Fence,
    where: Where,
    distance_m: float,
    depth_m: float,
    *,
    min_confidence: float = MIN_CONFIDENCE,
    margin_m: float = 0.0,
) -> Observation:
    """Say what a subject's position tells of a fence whose edge is ``distance_m`` away.

    ``distance_m`` is that of the position, negative inside; ``depth_m`` that of the fence's deepest
    point; both in metres. ``margin_m`` widens the fence: whoever is in it has not left it within
    that. ``strength`` is the probability of being inside, or outside, whichever is said.
    """
    accuracy_m = fix.accuracy_m
    if not fits_level(fix, fence):
        because: dict[str, Any] = {
            "distance_m": distance_m,
            "accuracy_m": accuracy_m,
            "rule": "level",
            "floor": fix.floor,
            "altitude_m": fix.altitude_m,
        }
        return Observation(fix.subject, fence.id, fix.at, "fix", "outside", 1.0, because)
    sd_m = where.sd_m
    chance = inside(distance_m - margin_m, depth_m + margin_m, sd_m)
    because = {
        "distance_m": distance_m,
        "accuracy_m": accuracy_m,
        "rule": where.rule,
        "sd_m": sd_m,
        "inside": chance,
    }
    if margin_m:
        because["margin_m"] = margin_m
    if where.aside:
        because["set_aside"] = where.aside
    if chance >= min(OUTSIDE, OUTSIDE_SHARE * min_confidence):
        if fence.on_foot and is_driving(fix):
            because["rule"] = "on foot only"
            return Observation(fix.subject, fence.id, fix.at, "fix", "nothing", chance, because)
        since = fix.at - where.stood if has_stopped(where) and not _asks_more(fence) else None
        return Observation(fix.subject, fence.id, fix.at, "fix", "inside", chance, because, since)
    at = min(where.since, fix.at)
    return Observation(fix.subject, fence.id, at, "fix", "outside", 1.0 - chance, because)
