"""The question: which beacons are heard right now, and how loud are they really.

What `scan` shows and `calibrate` measures, as values: readings in, rows out, lines of text. It
reads no clock, and forgets a beacon a minute after its last reading; nothing is written down. It
must not know where readings come from.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import msgspec

from beacon_gateway.model import Beacon
from beacon_gateway.ranging import FILTERS, Level

# What is smoothed here is what the engine smooths.
FILTER = FILTERS["kalman"]
# Rates are of this long, s: enough for a tag that reports once a second to show its gaps.
RATE_S = 10.0
# A row stays this long after its last reading, s, so that a gap is seen as an age that grows.
FORGET_S = 60.0
# No terminal shows more rows; in a mall, the ones not heard for longest make room.
MAX_ROWS = 1000
# The loudest and quietest of a row's bar, dBm: touching the radio, and the edge of its hearing.
LOUD_DBM, QUIET_DBM = -40.0, -100.0
BAR = 20


class Row(NamedTuple):
    """One beacon as it is heard: the smoothed level and its spread, the last reading, the rate.

    ``level_dbm``, ``rssi_dbm`` dBm, ``spread_db`` dB (one standard deviation), ``per_s`` readings a
    second, ``age_s`` seconds since the last, ``listed`` whether it is enrolled here.
    """

    beacon: Beacon
    level_dbm: float
    spread_db: float
    rssi_dbm: float
    per_s: float
    age_s: float
    listed: bool | None

    def jsonable(self) -> dict[str, Any]:
        """Give the row for ``--json``, rounded to what it means."""
        return {
            "beacon": msgspec.to_builtins(self.beacon),
            "level_dbm": round(self.level_dbm, 1),
            "spread_db": round(self.spread_db, 1),
            "rssi_dbm": self.rssi_dbm,
            "per_s": round(self.per_s, 2),
            "age_s": round(self.age_s, 1),
            "listed": self.listed,
        }


class _Heard:
    """What is kept of one beacon."""

    def __init__(self, beacon: Beacon, *, listed: bool | None) -> None:
        self.beacon = beacon
        self.listed = listed
        self.level: Level | None = None
        self.times: deque[float] = deque(maxlen=1024)
        self.rssi_dbm = 0.0


class Around:
    """The beacons heard in the last minute, in bounded memory."""

    def __init__(self) -> None:
        self._heard: OrderedDict[Hashable, _Heard] = OrderedDict()

    def take(
        self, beacon: Beacon, rssi_dbm: float, at: float, *, listed: bool | None = True
    ) -> None:
        """Take one reading, dBm at second ``at`` of any clock that does not jump.

        ``listed`` is whether the beacon is enrolled; None where there is no list to tell.
        """
        identity = beacon.identity
        heard = self._heard.get(identity)
        if heard is None:
            heard = self._heard[identity] = _Heard(beacon, listed=listed)
            if len(self._heard) > MAX_ROWS:
                self._heard.popitem(last=False)
        self._heard.move_to_end(identity)
        heard.beacon = beacon
        heard.level = FILTER(heard.level, rssi_dbm, at)
        heard.rssi_dbm = rssi_dbm
        heard.times.append(at)

    def rows(self, now: float) -> list[Row]:
        """Give a row for each beacon, the loudest first; those long silent are forgotten."""
        rows = []
        for identity, heard in list(self._heard.items()):
            age = now - heard.times[-1]
            if age > FORGET_S or heard.level is None:
                del self._heard[identity]
                continue
            recent = sum(1 for at in heard.times if now - RATE_S < at <= now)
            since = min(RATE_S, max(1.0, now - heard.times[0]))
            rows.append(
                Row(
                    beacon=heard.beacon,
                    level_dbm=heard.level.dbm,
                    spread_db=math.sqrt(heard.level.spread_db2),
                    rssi_dbm=heard.rssi_dbm,
                    per_s=recent / since,
                    age_s=max(0.0, age),
                    listed=heard.listed,
                )
            )
        return sorted(rows, key=lambda row: (-row.level_dbm, named(row.beacon)))


def named(beacon: Beacon) -> str:
    """Write who a beacon is in one word: its id fields with slashes between."""
    return "/".join(str(part) for part in beacon.identity[1:] if part is not None) or beacon.format


def table(rows: Sequence[Row], width: int = 100) -> list[str]:
    """Draw the rows as lines of text of at most ``width`` characters."""
    lines = [f"{'beacon':44} {'level':>6} {'±':>4} {'last':>5} {'per s':>6} {'age':>5}"]
    for row in rows:
        share = (row.level_dbm - QUIET_DBM) / (LOUD_DBM - QUIET_DBM)
        bar = "█" * round(BAR * min(1.0, max(0.0, share)))
        name = named(row.beacon)
        name = name if len(name) <= 44 else name[:43] + "…"
        mark = "  not enrolled" if row.listed is False else ""
        lines.append(
            f"{name:44} {row.level_dbm:6.1f} {row.spread_db:4.1f} {row.rssi_dbm:5.0f} "
            f"{row.per_s:6.1f} {row.age_s:5.1f} {bar}{mark}"
        )
    return [line[:width].rstrip() for line in lines]
