"""What does one fix say of one fence?

Turns a fix and its signed distance to a fence's edge into an Observation. Knows metres and
accuracy; knows nothing of visits, counts or timers, which ``presence`` owns.

The rule is asymmetric because phones are (Customer.io's field work on retail outlines, cited in
docs/presence.md): a shop is 24 to 42 m deep while indoor accuracy is rarely under 10 m, so asking
for the whole accuracy circle to lie inside would leave most of the shop undecidable. Arrival goes
by the side of the edge that the fix lies on; departure asks for clearance.
"""

from __future__ import annotations

from math import erf, sqrt
from typing import Any

from geofences import Fence
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
# Above this a fix is a cell tower's, not a position: it says `inside` only where the fence is so
# large that even such a fix is surely within.
COARSE_ACCURACY_M = 100.0
# Clearance beyond the accuracy before a fix says `outside`, where the fence names none: a third of
# the depth of a small shop, so that its visitors at the window stay visitors.
EXIT_MARGIN_M = 10.0
# One standard deviation inside the edge is surely inside: Phi(1) = 0.84.
MIN_CONFIDENCE = 0.84
# Clear of the edge by the margin and the whole accuracy radius: Phi(1.515) = 0.935.
CLEAR = 0.935
# Slower than this is standing: a stroll is 0.6 m/s or more.
STILL_MPS = 0.3

_STILL = frozenset({"still", "stationary"})


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


def fits_level(fix: Fix, fence: Fence) -> bool:
    """Whether floor and altitude allow the fence; a fix that lacks them matches."""
    if fix.floor is not None and fence.floor is not None and fix.floor != fence.floor:
        return False
    if fix.altitude_m is None:
        return True
    if fence.min_altitude_m is not None and fix.altitude_m < fence.min_altitude_m:
        return False
    return fence.max_altitude_m is None or fix.altitude_m <= fence.max_altitude_m


def judge(fix: Fix, fence: Fence, distance_m: float) -> Observation:
    """Say what a fix tells of a fence whose edge is ``distance_m`` away (negative: inside).

    ``strength`` is the probability that the truth lies on the side named, for an error with the
    fix's own 68 % radius; for ``outside`` measured from the edge moved out by the exit margin.
    """
    accuracy = accuracy_of(fix)
    sigma = accuracy / RADIUS_PER_SIGMA
    because: dict[str, Any] = {
        "distance_m": round(distance_m, 1),
        "accuracy_m": None if fix.accuracy_m is None else round(float(fix.accuracy_m), 1),
    }
    if not fits_level(fix, fence):
        because["rule"] = "level"
        because["floor"] = None if fix.floor is None else float(fix.floor)
        because["altitude_m"] = None if fix.altitude_m is None else float(fix.altitude_m)
        return Observation(fix.subject, fence.id, fix.at, "fix", "outside", 1.0, because)
    if distance_m <= 0.0:
        strength = phi(-distance_m / sigma)
        if accuracy > COARSE_ACCURACY_M and strength < MIN_CONFIDENCE:
            because["rule"] = "coarse"
            return Observation(fix.subject, fence.id, fix.at, "fix", "nothing", 0.0, because)
        because["rule"] = "side"
        because["strength"] = round(strength, 3)
        return Observation(fix.subject, fence.id, fix.at, "fix", "inside", strength, because)
    margin = EXIT_MARGIN_M if fence.exit_margin_m is None else fence.exit_margin_m
    strength = phi((distance_m - margin) / sigma)
    because["rule"] = "clearance"
    because["margin_m"] = margin
    because["strength"] = round(strength, 3)
    return Observation(fix.subject, fence.id, fix.at, "fix", "outside", strength, because)
