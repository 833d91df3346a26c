"""The question: which of the many times a beacon was heard are worth keeping.

At most one record a beacon and half second, the loudest of it: the engine ranges by the loudest
of some seconds, and the rest would only wear out flash and airtime. Pure: time comes with what
was heard. It must not know which beacons are listed or where records go.
"""

from __future__ import annotations

from typing import NamedTuple

from beacon_gateway.model import Beacon

#: Slots are aligned to the monotonic clock, so the beacons of one slot leave in one request.
#: Half a second: at a walk of 1.2 m/s one is 0.6 m farther on, less than any band of levels tells.
SLOT_S = 0.5
#: No shop carries more tags in earshot of one receiver; a flood of made-up numbers under a listed
#: UUID is cut off here, and what is cut off is counted.
MAX_BEACONS = 4096


class Level(NamedTuple):
    """The loudest a beacon was in one slot: dBm, Unix seconds and monotonic seconds of it."""

    beacon: Beacon
    rssi_dbm: int
    at: float
    mono_s: float


class Thinning:
    """One slot at a time; a slot is over when something later is heard, or time says so."""

    def __init__(self) -> None:
        self._slot = -1
        self._loudest: dict[tuple[object, ...], Level] = {}
        #: Levels not looked at, as more beacons than MAX_BEACONS were heard within one slot.
        self.crowded = 0

    def take(self, level: Level) -> list[Level]:
        """Take what was heard; give what is kept of the slots that are over by then."""
        over = self.due(level.mono_s)
        identity = level.beacon.identity
        loudest = self._loudest.get(identity)
        if loudest is not None:
            if level.rssi_dbm > loudest.rssi_dbm:
                self._loudest[identity] = level
        elif len(self._loudest) < MAX_BEACONS:
            self._loudest[identity] = level
        else:
            self.crowded += 1
        return over

    def due(self, mono_s: float) -> list[Level]:
        """Give what is kept of the slots that are over at ``mono_s``, in order of its time.

        Two adapters' threads may report a few milliseconds out of order; a report from a slot
        that is over counts for the one that is open.
        """
        slot = int(mono_s // SLOT_S)
        if slot <= self._slot:
            return []
        self._slot = slot
        return self.rest()

    def rest(self) -> list[Level]:
        """Give what is kept of the slot that is open: the last call before a stop."""
        levels = sorted(self._loudest.values(), key=lambda level: level.mono_s)
        self._loudest.clear()
        return levels
