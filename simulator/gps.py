"""What a phone reports of where it truly is.

    track ──► fixes(subject, track, phone, rng, start, sky) ──► Fix, Fix, … in order of arrival
              observe(track, phone, rng, sky)  ──► the same as arrays, for worlds of many phones

A ``Track`` (``walk``) is the exact path; a ``Phone`` says how one phone errs and when it speaks,
every number with its unit; ``sky`` tells for times and positions what stands overhead (``Sky``).
``PHONES`` names phones that one meets, ``drawn`` draws one from ranges. Errors are made so:

- a part that hangs together in time, an Ornstein-Uhlenbeck process of memory ``correlation_s``, for
  buildings and satellites do not change with every fix, and a white part; together they keep the
  68 % radius ``accuracy_m``, times what the sky makes of it;
- what the phone claims is that radius, times ``stated`` (this phone flatters itself, or not), times
  a log-normal factor for each fix; or nothing, or, in a jump, a lie.

Nothing here knows fences or the engine. All chance comes from the generator that the caller seeds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from enum import IntEnum
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np

from proximity.model import Fix
from simulator.walk import METRES_PER_RADIAN, Track, moved

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = [
    "NUMBERS", "PHONES", "Overhead", "Phone", "Reports", "Sky", "arrival", "drawn", "drift",
    "fixes", "noise", "observe",
]  # fmt: skip

RADIUS_68 = 1.515
"""68 % of a round normal error lie within 1.515 standard deviations: sqrt(-2 ln 0.32)."""

COARSE_M = 1500.0
"""The largest radius that is claimed: beyond a cell tower's, platforms give no position at all."""


class Sky(IntEnum):
    """What is between a phone and the satellites, and so how well it can tell where it is."""

    OPEN = 0
    CANYON = 1  # a street between high houses
    INDOOR = 2  # under a roof; Wi-Fi helps a little
    NONE = 3  # a tunnel, a basement: no fix at all


Overhead = Callable[["Floats", "Floats", "Floats"], "NDArray[np.int64]"]
"""Gives a ``Sky`` for each of seconds (of the track), longitudes and latitudes (degrees)."""


@dataclass(frozen=True)
class Phone:
    """How one phone errs, and when it says where it is.

    Defaults are an ordinary phone held in the open; the numbers of rarer troubles are 0. Sources:
    (a) field reports of phones and shops, (b) the error model that tracks of resting phones show,
    (c) two phones' own logs of months; see docs/scenarios.md.

    Parameters
    ----------
    accuracy_m
        True 68 % radius of its errors under open sky, metres. 5 to 35 in towns (c: claims of 24 m
        in the middle at one a second, 55 m at one a minute).
    stated
        What it claims over that truth; below 1 it flatters itself. 1/2.8 to 2.8 (b).
    every_s
        Seconds between fixes while it moves.
    correlation_s
        Memory of the error, seconds: 15 to 180 (b), 60 as a rule.
    white
        Part of the error's amplitude that is new with each fix: 0 to 0.35 (b).
    stated_spread
        Standard deviation of the logarithm of the claim, from fix to fix.
    accuracy_spread
        The same of the truth itself, which wanders with the same memory; claims follow it: 0.57 and
        50 to 80 s in one log (c).
    tail_share, tail_factor
        Share of fixes whose white part is ``tail_factor`` times as large: heavy tails.
    unknown
        Share of fixes that claim nothing. 0.18 in mixed fleets (b), 0.11 in one log (c).
    canyon_factor, indoor_factor, indoor_most_m
        What sky makes of ``accuracy_m``; indoors 1.4 times, yet at most 35 m (b: Wi-Fi sees to it).
    jumps_per_hour, jump_m, jump_claims_m, jump_s
        Bursts: the fix lies ``jump_m`` away, claims ``jump_claims_m``, for ``jump_s`` seconds.
        A phone at rest was seen 198 to 302 m off claiming 2 to 9 m, several times in 3 min (a).
    gaps_per_hour, gap_s
        Spells without any fix, seconds from and to: the system saves power.
    sleeps_after_s, wake_m, asleep_every_s
        A phone that has not moved ``wake_m`` metres for ``sleeps_after_s`` seconds speaks only
        each ``asleep_every_s`` seconds; 0 is not at all, as a distance filter does (a).
    jitter
        Part of ``every_s`` by which each interval may be longer or shorter.
    skew_s
        How far its clock is ahead of the truth, seconds.
    twice
        Share of fixes that are sent again, as a client does whose upload timed out.
    delay_s
        Mean seconds from fix to arrival, exponential.
    batch_s
        It uploads only each so many seconds; 0 at once.
    shuffled
        Whether what waited arrives in any order.
    offline
        Spells (seconds of the track from, to) without network: fixes wait and come when it is back.
    dead
        Spells in which the app does not run: nothing is seen, nothing comes later.
    tells_motion, tells_floor, mock
        Whether fixes carry motion, speed and course; the floor; the mark of a mocked position.
    """

    accuracy_m: float = 8.0
    stated: float = 1.0
    every_s: float = 5.0
    correlation_s: float = 60.0
    white: float = 0.2
    stated_spread: float = 0.1
    accuracy_spread: float = 0.0
    tail_share: float = 0.0
    tail_factor: float = 4.0
    unknown: float = 0.0
    canyon_factor: float = 2.0
    indoor_factor: float = 1.4
    indoor_most_m: float = 35.0
    jumps_per_hour: float = 0.0
    jump_m: tuple[float, float] = (150.0, 300.0)
    jump_claims_m: tuple[float, float] = (2.0, 9.0)
    jump_s: tuple[float, float] = (0.0, 30.0)
    gaps_per_hour: float = 0.0
    gap_s: tuple[float, float] = (120.0, 480.0)
    sleeps_after_s: float = math.inf
    wake_m: float = 25.0
    asleep_every_s: float = 0.0
    jitter: float = 0.0
    skew_s: float = 0.0
    twice: float = 0.0
    delay_s: float = 0.3
    batch_s: float = 0.0
    shuffled: bool = False
    offline: tuple[tuple[float, float], ...] = ()
    dead: tuple[tuple[float, float], ...] = ()
    tells_motion: bool = False
    tells_floor: bool = False
    mock: bool = False

    @property
    def uplink(self) -> dict[str, Any]:
        """How what it notes arrives: the words of ``arrival``."""
        names = ("delay_s", "batch_s", "offline", "shuffled", "twice")
        return {name: getattr(self, name) for name in names}


PHONES: dict[str, Phone] = {
    "plain": Phone(),
    # Everything at its best: for scenarios that are about something else.
    "good": Phone(accuracy_m=4.0, every_s=5.0, delay_s=0.1),
    # As most phones in a pocket in a town: the middle of every range.
    "town": Phone(
        accuracy_m=12.0, stated_spread=0.25, accuracy_spread=0.3, every_s=15.0, jitter=0.1,
        tail_share=0.02, unknown=0.05, gaps_per_hour=0.3, twice=0.01, tells_motion=True,
    ),
    # Saves power: rare fixes, coarse, silent at rest.
    "sparing": Phone(
        accuracy_m=20.0, stated_spread=0.3, accuracy_spread=0.4, every_s=60.0, jitter=0.2,
        sleeps_after_s=180.0, wake_m=50.0, gaps_per_hour=0.5, batch_s=300.0, tells_motion=True,
    ),
    # The worst of the field reports, all at once.
    "liar": Phone(
        accuracy_m=15.0, stated=0.4, stated_spread=0.4, white=0.3, tail_share=0.05, unknown=0.18,
        every_s=15.0, jitter=0.2, jumps_per_hour=2.0, gaps_per_hour=0.5, twice=0.02,
    ),
}  # fmt: skip
"""Phones by name, from best to worst."""


def drawn(
    base: Phone, between: Mapping[str, tuple[float, float]], rng: np.random.Generator
) -> Phone:
    """Draw a phone: ``base`` with each number named by ``between`` from its range.

    Where both ends are above 0 their logarithm is uniform, so that half and twice are as likely.
    """
    told: dict[str, float] = {}
    for name in sorted(between):
        low, high = between[name]
        share = rng.random()
        told[name] = low * (high / low) ** share if low > 0.0 else low + (high - low) * share
    return replace(base, **told)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Reports:
    """Fixes of one phone as arrays of one length, in order of arrival.

    ``true_s`` seconds of the track when each was made; ``at_s`` what the phone's clock said;
    ``received_s`` when it arrived; ``lons``, ``lats`` degrees; ``accuracy_m`` metres, nan where
    nothing is claimed; ``speed_mps``, ``course_deg`` and ``moves`` of the true path there;
    ``floors``, nan where none is told.
    """

    true_s: Floats
    at_s: Floats
    received_s: Floats
    lons: Floats
    lats: Floats
    accuracy_m: Floats
    speed_mps: Floats
    course_deg: Floats
    floors: Floats

    def __len__(self) -> int:
        return len(self.at_s)


def noise(times: Floats, phone: Phone, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Draw the error of each fix at ``times`` (seconds, rising): metres east, metres north.

    A first-order Gauss-Markov process for each axis, plus white noise; the sum of the variances
    is that of ``phone.accuracy_m``.
    """
    error = _unit_error(times, phone, rng) * (phone.accuracy_m / RADIUS_68)
    return error.real.copy(), error.imag.copy()


def observe(
    track: Track, phone: Phone, rng: np.random.Generator, sky: Overhead | None = None
) -> Reports:
    """Give what ``phone`` reports along ``track``, in order of arrival; ``sky`` None is open."""
    times = _moments(track, phone, rng)
    lons, lats = track.at(times)
    over = np.zeros(len(times), np.int64) if sky is None else sky(times, lons, lats)
    seen = over != Sky.NONE
    times, lons, lats, over = times[seen], lons[seen], lats[seen], over[seen]
    radius = phone.accuracy_m * _wander(times, phone, rng)
    radius = np.where(over == Sky.CANYON, radius * phone.canyon_factor, radius)
    # A roof makes no phone better than it was outside.
    most = np.maximum(radius, phone.indoor_most_m)
    indoor = np.minimum(radius * phone.indoor_factor, most)
    radius = np.minimum(np.where(over == Sky.INDOOR, indoor, radius), COARSE_M)
    error = _unit_error(times, phone, rng) * (radius / RADIUS_68)
    claims = radius * phone.stated * rng.lognormal(0.0, phone.stated_spread, len(times))
    _jump(times, error, claims, phone, rng)
    claims[rng.random(len(times)) < phone.unknown] = np.nan
    speed, course, floors = track.motion(times)
    lons, lats = moved(lons, lats, error.real, error.imag)
    received, order = arrival(times, rng, **phone.uplink)
    return Reports(
        times[order],
        times[order] + phone.skew_s,
        received,
        lons[order],
        lats[order],
        np.minimum(claims, COARSE_M)[order],
        speed[order],
        course[order],
        floors[order] if phone.tells_floor else np.full(len(order), np.nan),
    )


def fixes(
    subject: str,
    track: Track,
    phone: Phone,
    rng: np.random.Generator,
    start: float = 0.0,
    sky: Overhead | None = None,
) -> Iterator[Fix]:
    """Yield what ``phone`` reports along ``track``; ``start`` is the Unix second of its second 0.

    In order of arrival. Accuracy is written to the decimetre, coordinates to the centimetre, as
    phones write them.
    """
    seen = observe(track, phone, rng, sky)
    columns = (
        np.round(start + seen.at_s, 3), np.round(start + seen.received_s, 3),
        np.round(seen.lons, 7), np.round(seen.lats, 7),
        np.maximum(np.round(seen.accuracy_m, 1), 0.1), seen.floors,
        np.round(seen.speed_mps, 1), np.round(seen.course_deg, 0),
    )  # fmt: skip
    for at, received, lon, lat, claim, floor, speed, course in zip(
        *(column.tolist() for column in columns), strict=True
    ):
        moves = phone.tells_motion
        yield Fix(
            subject=subject,
            at=at,
            lon=lon,
            lat=lat,
            accuracy_m=None if claim != claim else claim,  # noqa: PLR0124 - only nan differs so
            floor=None if floor != floor else floor,  # noqa: PLR0124 - the same
            speed_mps=speed if moves else None,
            course_deg=course if moves and speed > 0.0 else None,
            motion=motion_of(speed) if moves else None,
            mock=phone.mock,
            received_at=received,
        )


def motion_of(speed_mps: float) -> str:
    """Name what a speed looks like to a phone: stationary, walking, running or driving."""
    for most, name in ((0.3, "stationary"), (2.3, "walking"), (4.5, "running")):
        if speed_mps < most:
            return name
    return "driving"


def _moments(track: Track, phone: Phone, rng: np.random.Generator) -> Floats:
    """Choose the seconds at which the phone makes a fix."""
    begins, ends = track.starts_s, track.ends_s
    if phone.jitter > 0.0:
        steps = int((ends - begins) / (phone.every_s * (1.0 - phone.jitter))) + 1
        rhythm = rng.uniform(1.0 - phone.jitter, 1.0 + phone.jitter, steps) * phone.every_s
        times = begins + np.concatenate(([0.0], np.cumsum(rhythm)))
        times = times[times <= ends + 1e-9]
    else:
        times = np.arange(begins, ends + 1e-9, phone.every_s)
    times = np.minimum(times, ends)
    kept = np.ones(len(times), np.bool_)
    if math.isfinite(phone.sleeps_after_s):
        kept &= ~_asleep(track, times, phone)
    number = rng.poisson(phone.gaps_per_hour * (ends - begins) / 3600.0)
    starts = rng.uniform(begins, ends, number)
    gaps = zip(starts, starts + rng.uniform(*phone.gap_s, number), strict=True)
    for first, last in (*gaps, *phone.dead):
        kept &= (times < first) | (times >= last)
    return times[kept]


def _asleep(track: Track, times: Floats, phone: Phone) -> NDArray[np.bool_]:
    """Tell which fixes are not made because the phone lies still."""
    lons, lats = track.at(times)
    # Whoever is where he was so long ago, give or take, has not moved; a round trip back to the
    # very spot within that time would be taken for rest, and is as rare as it is harmless.
    before = times - phone.sleeps_after_s
    lons_then, lats_then = track.at(before)
    north = np.radians(lats - lats_then)
    east = np.radians((lons - lons_then + 180.0) % 360.0 - 180.0) * np.cos(np.radians(lats))
    still: NDArray[np.bool_] = np.hypot(east, north) * METRES_PER_RADIAN < phone.wake_m
    still &= before >= track.starts_s
    if phone.asleep_every_s > 0.0:
        beat = np.floor(times / phone.asleep_every_s)
        still &= np.diff(beat, prepend=beat[:1]) == 0.0
    return still


def _unit_error(times: Floats, phone: Phone, rng: np.random.Generator) -> NDArray[np.complex128]:
    """Draw errors of one metre's standard deviation per axis: east plus i times north."""
    number = len(times)
    slow = drift(times, phone.correlation_s, rng)
    white = _normal(number, rng)
    if phone.tail_share > 0.0:
        white *= np.where(rng.random(number) < phone.tail_share, phone.tail_factor, 1.0)
    return math.sqrt(1.0 - phone.white**2) * slow + phone.white * white


def drift(times: Floats, memory_s: float, rng: np.random.Generator) -> NDArray[np.complex128]:
    """Draw an Ornstein-Uhlenbeck process of variance 1 per axis at rising ``times``."""
    fresh = _normal(len(times), rng)
    if len(times) < 2:
        return fresh
    keep = np.exp(-np.diff(times) / memory_s)
    fresh[1:] *= np.sqrt(1.0 - keep * keep)
    steps = zip(keep.tolist(), fresh[1:].tolist(), strict=True)
    path = accumulate(steps, lambda held, step: step[0] * held + step[1], initial=complex(fresh[0]))
    return np.fromiter(path, np.complex128, len(times))


def _normal(number: int, rng: np.random.Generator) -> NDArray[np.complex128]:
    return rng.standard_normal(2 * number).view(np.complex128)


def _wander(times: Floats, phone: Phone, rng: np.random.Generator) -> Floats:
    """Draw the factor by which this phone's true accuracy differs from its usual one."""
    if phone.accuracy_spread == 0.0:
        return np.ones(len(times))
    slow: Floats = drift(times, phone.correlation_s, rng).real
    return np.exp(phone.accuracy_spread * slow)


def _jump(
    times: Floats,
    error: NDArray[np.complex128],
    claims: Floats,
    phone: Phone,
    rng: np.random.Generator,
) -> None:
    """Move the fixes of each burst of outliers, in place, and let them claim to be good."""
    if not len(times):
        return
    number = rng.poisson(phone.jumps_per_hour * (times[-1] - times[0]) / 3600.0)
    starts = np.sort(rng.uniform(times[0], times[-1], number))
    for start in starts:
        metres, angle = rng.uniform(*phone.jump_m), rng.uniform(0.0, 2.0 * math.pi)
        lasts, claim = rng.uniform(*phone.jump_s), rng.uniform(*phone.jump_claims_m)
        # The next fix at least: a burst between two fixes nobody would notice.
        first = int(np.searchsorted(times, start))
        last = max(first + 1, int(np.searchsorted(times, start + lasts)))
        error[first:last] = metres * complex(math.cos(angle), math.sin(angle))
        error[first:last] += claim / RADIUS_68 * _normal(len(error[first:last]), rng)
        claims[first:last] = claim


def arrival(
    times: Floats,
    rng: np.random.Generator,
    *,
    delay_s: float = 0.0,
    batch_s: float = 0.0,
    offline: tuple[tuple[float, float], ...] = (),
    shuffled: bool = False,
    twice: float = 0.0,
) -> tuple[Floats, NDArray[np.int64]]:
    """Tell when what was noted at rising ``times`` arrives: rising seconds, and which each is.

    The words are those of ``Phone``; gateways have the same troubles.
    """
    number = len(times)
    sent = times.copy()
    if batch_s > 0.0:
        sent = np.ceil(times / batch_s) * batch_s
    for first, last in offline:
        sent[(sent >= first) & (sent < last)] = last
    received = sent + rng.exponential(delay_s, number) if delay_s > 0.0 else sent
    if not shuffled:
        # One connection, one queue: what was made later does not overtake.
        received = np.maximum.accumulate(received) if number else received
    which = np.arange(number)
    again = which[rng.random(number) < twice]
    which = np.concatenate((which, again))
    # A client that hears nothing asks again after the half minute that is its custom.
    received = np.concatenate((received, received[again] + 30.0))
    order = np.argsort(received, kind="stable")
    return received[order], which[order]


NUMBERS = frozenset(one.name for one in fields(Phone) if one.type == "float")
"""The names of a phone's numbers: what ``drawn`` can draw."""
