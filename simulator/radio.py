"""What is heard of a beacon: which advertisements arrive at a receiver, and how loud.

One end of each link is fixed (``Fixed``: a gateway on a wall, or a beacon on one), the other is
carried past it by a person. The level is a sum of decibels:

    power at 1 m - 10 n log10(d) + shadowing(place) + fading(channel, centimetres) - body - walls

and an advertisement arrives where nothing else was sent at that moment and the level is not below
what a receiver can hear. Positions are metres on a flat plan. Knows no site, fence or engine; all
chance comes from generators that the caller seeds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from simulator.gps import drift

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["Air", "Carried", "Fixed", "Wall", "advertised", "heading", "hear"]

WAVES = 96
"""Cosines in a field of shadowing: its marginal is then normal to within a percent."""

NEAREST_M = 0.3
"""Below this the law of distance does not hold: antennas touch, bodies bend the field."""

FAR_M, FAR_EXPONENT = 20.0, 3.5
"""Beyond the 20 m that the fits reach there are walls, shelves and people in the way, and outdoors
the ground's reflection: published exponents are 3 to 4 there. Without it a tag is heard 120 m off,
which nobody has seen of one on a belt."""

STOREY_M = 3.5
"""From floor to floor in shops and offices."""

CHANNELS = 3
"""Advertisements go out on channels 37, 38 and 39, which fade apart: 2402, 2426 and 2480 MHz."""


@dataclass(frozen=True)
class Air:
    """How radio behaves in a building.

    Defaults: (h) fits to four tracks through a hall with twelve receivers, where the residual of a
    receiver's own law has 5.3 dB, two thirds of its variance new with each packet, the rest gone
    after a metre; (r) ranges of published measurements; see docs/scenarios.md.

    Parameters
    ----------
    exponent
        Range of n, drawn for each fixed end: 1.4 to 2.6 (r; h: 1.0 to 2.6).
    spread_db
        Standard deviation of a fixed end's level at 1 m: antennas, mounting, temperature. 3 (r).
    shadow_db, shadow_m
        Standard deviation of shadowing, and the distance at which e⁻¹ of it is left (h).
    rice_k_db
        Power of the straight path over that of all others; 3 to 10 (r), 3 gives h's packets.
    fade_m, fade_s
        How far, or how long at rest, a fading lasts: half a wave, and bodies that sway.
    body_db
        Loss with one's back to the receiver: 6 to 15 in rooms (r: 14 to 26 in the open).
    floor_db
        Loss through each ceiling.
    loss
        Share of advertisements that other traffic spoils: 0.13 to 0.40 (r).
    deaf_dbm
        The level of which half is heard.
    unmeasured
        Share of reports whose RSSI is 127: not measured, as some receivers write.
    """

    exponent: tuple[float, float] = (1.4, 2.4)
    spread_db: float = 3.0
    shadow_db: float = 3.5
    shadow_m: float = 1.0
    rice_k_db: float = 3.0
    fade_m: float = 0.06
    fade_s: float = 3.0
    body_db: float = 8.0
    floor_db: float = 18.0
    loss: float = 0.25
    deaf_dbm: float = -95.0
    unmeasured: float = 0.0


@dataclass(frozen=True)
class Wall:
    """A wall on the plan: from (``x0``, ``y0``) to (``x1``, ``y1``) in metres; ``loss_db``."""

    x0: float
    y0: float
    x1: float
    y1: float
    loss_db: float = 6.0


class Fixed:
    """A receiver or beacon that stays where it is, with what the building makes of its signal.

    ``x``, ``y`` metres, ``floor`` nan where floors play no part; ``rng`` draws its law of distance
    and its field of shadowing, once.
    """

    def __init__(
        self, x: float, y: float, air: Air, rng: np.random.Generator, floor: float = math.nan
    ) -> None:
        self.x, self.y, self.floor, self.air = x, y, floor, air
        self.exponent = float(rng.uniform(*air.exponent))
        self.offset_db = float(rng.normal(0.0, air.spread_db))
        # A field whose correlation is exp(-d / shadow_m): its wave numbers are Cauchy in the plane.
        waves = rng.standard_normal((2, WAVES)) / np.abs(rng.standard_normal(WAVES))
        self._waves = waves / air.shadow_m
        self._phases = rng.uniform(0.0, 2.0 * math.pi, WAVES)

    def shadow_db(self, x: Floats, y: Floats) -> Floats:
        """Give the shadowing in dB at places: the same place, the same shadow."""
        waves = np.outer(x, self._waves[0]) + np.outer(y, self._waves[1]) + self._phases
        field: Floats = np.cos(waves).sum(axis=1)
        return self.air.shadow_db * math.sqrt(2.0 / WAVES) * field


@dataclass(frozen=True)
class Carried:
    """Where the carried end is at each advertisement: arrays of one length, in order of time.

    ``seconds``; ``x``, ``y`` metres; ``heading_deg`` the way its carrier faces, from north;
    ``floors``, nan where floors play no part.
    """

    seconds: Floats
    x: Floats
    y: Floats
    heading_deg: Floats
    floors: Floats


def advertised(begin: float, end: float, every_s: float, rng: np.random.Generator) -> Floats:
    """Give the seconds at which a beacon advertises: its interval, plus 0 to 10 ms each time.

    The random delay is the Bluetooth specification's: two beacons never collide for long.
    """
    number = int((end - begin) / every_s) + 2
    steps = every_s + rng.uniform(0.0, 0.010, number)
    times: Floats = begin + rng.uniform(0.0, every_s) + np.cumsum(steps) - steps[0]
    return times[times <= end]


def hear(
    fixed: Fixed,
    carried: Carried,
    power_dbm: float,
    rng: np.random.Generator,
    walls: tuple[Wall, ...] = (),
) -> tuple[NDArray[np.int64], Floats]:
    """Tell which of the advertisements arrive (indices into ``carried``), and their RSSI in dBm.

    ``power_dbm`` is the beacon's calibrated level at 1 m. RSSI are whole, as radios report them;
    127 is "not measured".
    """
    air = fixed.air
    level = power_dbm + fixed.offset_db - _path_loss(fixed, carried)
    # What cannot be heard however kindly chance is needs no chance: far ends cost nothing.
    near = np.flatnonzero(level > air.deaf_dbm - 5.0 * air.shadow_db - 10.0)
    if not len(near):
        return near, np.empty(0)
    x, y, level = carried.x[near], carried.y[near], level[near]
    level += fixed.shadow_db(x, y) - _body_db(fixed, x, y, carried.heading_deg[near])
    for wall in walls:
        level -= wall.loss_db * _crosses(wall, fixed.x, fixed.y, x, y)
    level += _fading_db(carried.seconds[near], x, y, air, rng)
    heard = rng.random(len(near)) > air.loss
    heard &= rng.random(len(near)) < 1.0 / (1.0 + np.exp((air.deaf_dbm - level) / 1.5))
    # An amplifier gives out near -20 dBm; a reported 0 would mean "not measured".
    rssi = np.round(np.minimum(level[heard], -20.0)).astype(np.float64)
    if air.unmeasured > 0.0:
        rssi[rng.random(len(rssi)) < air.unmeasured] = 127.0
    return near[heard], rssi


def heading(
    seconds: Floats, speed_mps: Floats, course_deg: Floats, rng: np.random.Generator
) -> Floats:
    """Give the way a person faces: ahead while walking, at rest this way and that (degrees)."""
    turning = np.degrees(np.angle(drift(seconds, 20.0, rng)))
    return np.where(speed_mps > 0.2, course_deg, turning)


def _path_loss(fixed: Fixed, carried: Carried) -> Floats:
    """Give the loss in dB from 1 m to where the carried end is, ceilings included."""
    storeys = np.nan_to_num(np.abs(carried.floors - fixed.floor))
    metres = np.hypot(np.hypot(carried.x - fixed.x, carried.y - fixed.y), storeys * STOREY_M)
    near = np.log10(np.clip(metres, NEAREST_M, FAR_M))
    far = np.log10(np.maximum(metres / FAR_M, 1.0))
    loss: Floats = 10.0 * (fixed.exponent * near + FAR_EXPONENT * far)
    return loss + fixed.air.floor_db * storeys


def _body_db(fixed: Fixed, x: Floats, y: Floats, heading_deg: Floats) -> Floats:
    """Give the loss through the carrier: none face to face, ``body_db`` with the back turned."""
    towards = np.arctan2(fixed.x - x, fixed.y - y)
    away: Floats = 0.5 * (1.0 - np.cos(np.radians(heading_deg) - towards))
    return fixed.air.body_db * away


def _fading_db(seconds: Floats, x: Floats, y: Floats, air: Air, rng: np.random.Generator) -> Floats:
    """Give the fading of each advertisement in dB, of mean power 1.

    Rice: a straight path and many others, for each channel apart. The others stay as they are only
    as long as neither end moves ``fade_m`` nor ``fade_s`` go by; a receiver listens to any channel.
    """
    # Time and way fold into one clock, in which each channel's scattered waves forget at rate 1.
    way = np.hypot(np.diff(x, prepend=x[:1]), np.diff(y, prepend=y[:1]))
    clock = np.cumsum(way) / air.fade_m + (seconds - seconds[0]) / air.fade_s
    channel = rng.integers(0, CHANNELS, len(seconds))
    k = 10.0 ** (air.rice_k_db / 10.0)
    power = np.empty(len(seconds))
    for one in range(CHANNELS):
        mine = channel == one
        scattered = drift(clock[mine], 1.0, rng) / math.sqrt(2.0 * (k + 1.0))
        power[mine] = np.abs(math.sqrt(k / (k + 1.0)) + scattered) ** 2
    return 10.0 * np.log10(np.maximum(power, 1e-6))


def _crosses(wall: Wall, x0: float, y0: float, x: Floats, y: Floats) -> NDArray[np.bool_]:
    """Tell for which places the straight line from (``x0``, ``y0``) goes through the wall."""

    def side(ax: Floats | float, ay: Floats | float, bx: Floats | float, by: Floats | float,
             cx: Floats | float, cy: Floats | float) -> NDArray[np.bool_]:  # fmt: skip
        return np.asarray((bx - ax) * (cy - ay) - (by - ay) * (cx - ax) > 0.0)

    split = side(x0, y0, x, y, wall.x0, wall.y0) != side(x0, y0, x, y, wall.x1, wall.y1)
    apart = side(wall.x0, wall.y0, wall.x1, wall.y1, x0, y0) != side(
        wall.x0, wall.y0, wall.x1, wall.y1, x, y
    )
    result: NDArray[np.bool_] = split & apart
    return result
