"""What a phone reports of where it truly is.

Honest noise: errors that hang together for a minute (buildings and satellites do not change with
every fix), a part that does not, and an accuracy that the phone states but does not quite keep.
All randomness comes from the generator that the caller seeds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from pyproj import Geod

from proximity.model import Fix

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from simulator.walk import Track

__all__ = ["Phone", "fixes", "noise"]

WGS84 = Geod(ellps="WGS84")

RADIUS_68 = 1.515
"""68 % of a round normal error lie within 1.515 standard deviations: sqrt(-2 ln 0.32)."""


@dataclass(frozen=True)
class Phone:
    """How one phone hears satellites, and how often it says so.

    ``accuracy_m`` is the true 68 % radius of its error in metres, ``stated`` the factor between
    what it claims and that truth (below 1 it flatters itself), ``every_s`` seconds between fixes.
    ``correlation_s`` is how long an error stays alike: 60 s, as tracks of phones at rest show.
    ``white`` is the part of the error's amplitude that is new with each fix.
    """

    accuracy_m: float = 8.0
    stated: float = 1.0
    every_s: float = 5.0
    correlation_s: float = 60.0
    white: float = 0.2


def noise(
    times: NDArray[np.float64], phone: Phone, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Draw the error of each fix at ``times`` (seconds, rising): metres east, metres north.

    A first-order Gauss-Markov process for each axis, plus white noise; the sum of the variances
    is that of ``phone.accuracy_m``.
    """
    sd = phone.accuracy_m / RADIUS_68
    slow = sd * np.sqrt(1.0 - phone.white**2)
    shape = (2, len(times))
    fresh = rng.standard_normal(shape)
    drift = np.empty(shape)
    if len(times):
        drift[:, 0] = slow * fresh[:, 0]
    keep = np.exp(-np.diff(times) / phone.correlation_s)
    for i, rho in enumerate(keep, 1):
        drift[:, i] = rho * drift[:, i - 1] + slow * np.sqrt(1.0 - rho * rho) * fresh[:, i]
    east, north = drift + sd * phone.white * rng.standard_normal(shape)
    return east, north


def fixes(
    subject: str, track: Track, phone: Phone, rng: np.random.Generator, start: float = 0.0
) -> Iterator[Fix]:
    """Yield what ``phone`` reports along ``track``; ``start`` is the Unix second of its second 0.

    The stated accuracy wanders by a tenth around ``stated`` times the truth, as phones' does, and
    is written to the decimetre; coordinates to the centimetre, as phones write them.
    """
    times = np.arange(track.starts_s, track.ends_s + 1e-9, phone.every_s)
    lons, lats = track.at(times)
    east, north = noise(times, phone, rng)
    azimuths = np.degrees(np.arctan2(east, north))
    lons, lats, _ = WGS84.fwd(lons, lats, azimuths, np.hypot(east, north))
    claims = phone.accuracy_m * phone.stated * rng.lognormal(0.0, 0.1, len(times))
    for at, lon, lat, claim in zip(times, lons, lats, claims, strict=True):
        yield Fix(
            subject=subject,
            at=round(start + float(at), 3),
            lon=round(float(lon), 7),
            lat=round(float(lat), 7),
            accuracy_m=round(float(claim), 1),
        )
