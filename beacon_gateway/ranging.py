"""How loud is a beacon, really? From single readings of one receiver to a level and its spread.

Pure functions on plain values: no clock, no places, no gateways but the one whose readings come
in. The engine ranges each (subject, gateway) with it, and the live table of `scan` does the same.
Readings that are not measurements must have been left out before (``Sighting.measured``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import msgspec

# Process noise, dB² a second. Someone who walks changes the level by some 3 dB a second; together
# with NOISE_DB2 the steady gain is 0.14 at ten readings a second and 0.28 at two, so that the same
# numbers serve fast and slow tags where a fixed gain for each packet would not.
DRIFT_DB2_PER_S = 8.0
# Measurement noise, (6 dB)²: fast fading and the shadow of bodies, packet by packet.
NOISE_DB2 = 36.0
# A longer silence adds no further doubt: after it the next reading counts for two thirds anyway.
LONGEST_STEP_S = 5.0
# A level older than this says nothing any more: Linux scans some 10 s and rests up to 5 ...
STALE_S = 7.0
# ... unless the tag is slow: one missed report, or three, is interference and not distance.
STALE_INTERVALS = 4.0
# How fast the usual interval follows; a gap of a minute or more is absence, not an interval, and
# one of many intervals counts as four of them: a tag that was away has not become a slow one.
INTERVAL_GAIN = 0.2
LONGEST_INTERVAL_S = 60.0
# What a receiver that does not hear a beacon counts as, dBm: just under what radios can hear.
FLOOR_DBM = -100.0
# Between the loudest receiver alone (0: one lucky packet decides) and the mean (infinite: the far
# receivers of a place drown the near one).
JOIN_DB = 6.0
# The time constant of `ewma`, s: the yardstick that other systems use.
EWMA_S = 1.5


class Level(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What one receiver's readings of one beacon amount to.

    ``dbm`` the level, ``spread_db2`` its variance in dB², ``last`` Unix seconds of the newest
    reading, ``heard`` readings since it last was stale, ``interval_s`` the usual time between
    readings (0: not yet known).
    """

    dbm: float
    spread_db2: float
    last: float
    heard: int = 1
    interval_s: float = 0.0

    def stale(self, at: float) -> bool:
        """Whether at Unix second ``at`` the newest reading is too old to say anything."""
        return at - self.last > max(STALE_S, STALE_INTERVALS * self.interval_s)


Filter = Callable[[Level | None, float, float], Level]


def kalman(level: Level | None, rssi_dbm: float, at: float) -> Level:
    """Take one reading, dBm at Unix second ``at``, into a level that drifts between readings.

    The scalar Kalman filter of a random walk; its variance never ends above NOISE_DB2.
    """
    if level is None:
        return Level(rssi_dbm, NOISE_DB2, at)
    spread = level.spread_db2 + DRIFT_DB2_PER_S * min(LONGEST_STEP_S, max(0.0, at - level.last))
    gain = spread / (spread + NOISE_DB2)
    return _next(level, level.dbm + gain * (rssi_dbm - level.dbm), gain * NOISE_DB2, at)


def ewma(level: Level | None, rssi_dbm: float, at: float) -> Level:
    """Take one reading into an exponential mean with a time constant of EWMA_S seconds."""
    if level is None:
        return Level(rssi_dbm, NOISE_DB2, at)
    gain = 1.0 - math.exp(-max(0.0, at - level.last) / EWMA_S)
    step = rssi_dbm - level.dbm
    # West's incremental form of the weighted variance.
    spread = (1.0 - gain) * (level.spread_db2 + gain * step * step)
    return _next(level, level.dbm + gain * step, spread, at)


def newest(level: Level | None, rssi_dbm: float, at: float) -> Level:
    """Take the reading as it is: no smoothing, the naive yardstick."""
    if level is None:
        return Level(rssi_dbm, NOISE_DB2, at)
    return _next(level, rssi_dbm, NOISE_DB2, at)


FILTERS: dict[str, Filter] = {"kalman": kalman, "ewma": ewma, "newest": newest}


def _next(level: Level, dbm: float, spread_db2: float, at: float) -> Level:
    """Make the level after a further reading; keep count and learn the usual interval."""
    heard = 1 if level.stale(at) else level.heard + 1
    interval_s = usual(level.interval_s, at - level.last)
    return Level(dbm, spread_db2, max(at, level.last), heard, interval_s)


def usual(interval_s: float, gap_s: float) -> float:
    """Let the usual time between reports follow the newest gap; 0: not yet known."""
    if not 0.0 < gap_s < LONGEST_INTERVAL_S:
        return interval_s
    if not interval_s:
        return gap_s
    return interval_s + INTERVAL_GAIN * (min(gap_s, STALE_INTERVALS * interval_s) - interval_s)


def join(levels: Iterable[float], receivers: int) -> float:
    """Join the levels (dBm) that some of a place's ``receivers`` hear; the others hear nothing.

    A soft maximum: JOIN_DB times the logarithm of the mean of exp(level / JOIN_DB), where a
    receiver that hears nothing counts as FLOOR_DBM.
    """
    return blend([(level, 0.0) for level in levels], receivers)[0]


def blend(levels: Sequence[tuple[float, float]], receivers: int) -> tuple[float, float]:
    """Join levels (dBm, variance in dB²) as ``join`` does; give the level and its variance.

    Each receiver has its share in the soft maximum, and its variance counts by the square of it.
    """
    heard = [math.exp((dbm - FLOOR_DBM) / JOIN_DB) for dbm, _ in levels]
    silent = max(0, receivers - len(heard))
    count = silent + len(heard)
    if count == 0:
        return FLOOR_DBM, 0.0
    whole = math.fsum(heard) + silent
    spread = math.fsum(
        share * share * spread_db2 for share, (_, spread_db2) in zip(heard, levels, strict=True)
    )
    return FLOOR_DBM + JOIN_DB * math.log(whole / count), spread / (whole * whole)
