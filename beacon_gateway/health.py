"""The question: how well does this gateway hear.

Counts and levels of the last minute, kept in bounded memory. Of bystanders, and of beacons that
are not enrolled, it keeps a number and nothing that names them. It must not know how anything is
heard, and it never writes: whoever asks for a snapshot does.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Hashable
from typing import Any

import msgspec

WINDOW_S = 60
"""What rates and numbers of different senders look back on: a minute evens out the gaps of BlueZ's
scan windows (10 s on, up to 5 s off) and is still recent enough to stand beside while mending."""

MOST_DIFFERENT = 4096
"""The most senders told apart in a window: ten full stores; above it the number is a floor."""

LARGE_STEP_DB = 8
"""BlueZ, where no client asks for RSSI, reports a level only when it is 8 dB from the last one."""

STEPS = 64
STEPS_ENOUGH = 32
SMALL_SHARE = 0.1
"""How throttled levels are told from a lively radio. Of the changes between one beacon's
successive levels, a throttled stack shows none below 8 dB (but one where a device was forgotten
and seen anew). True levels spread by 3.5 to 7 dB within half a minute, so 85 to 58 % of their
changes are below 8 dB; even for a carrier running past (changes of 12 dB) it is 47 %. With that
worst case, at most a tenth of 32 changes being small has a probability below one in a million;
32 changes are 30 s of one tag, and fewer give no verdict."""


class AdapterHealth(msgspec.Struct):
    """One adapter: its address, the name it has today, and how its scan fares.

    ``state`` is the watchdog's phase; ``restarts`` how many scans began after the first; ``last``
    the monotonic time of the last useful advertisement in seconds; ``trouble`` what is wrong and
    the mend, in one sentence; ``dropped`` counts what the scan took off, by reason.
    """

    address: str
    name: str | None = None
    state: str = "starting"
    restarts: int = 0
    last: float | None = None
    trouble: str | None = None
    dropped: Counter[str] = msgspec.field(default_factory=Counter)


class Different:
    """How many different things were met in a window, without keeping which.

    Python salts the hashes of text anew in each process, so what is kept in memory for a minute
    means nothing elsewhere.
    """

    def __init__(self) -> None:
        self._window = 0
        self._met: set[int] = set()
        self._before = 0

    def meet(self, thing: Hashable, mono_s: float) -> None:
        """Count one; the time in seconds never runs backwards."""
        window = int(mono_s // WINDOW_S)
        if window != self._window:
            self._turn(window)
        if len(self._met) < MOST_DIFFERENT:
            self._met.add(hash(thing))

    def number(self, mono_s: float) -> int:
        """Give the number of the last whole window, or of the present one where that is more."""
        window = int(mono_s // WINDOW_S)
        if window != self._window:
            self._turn(window)
        return max(self._before, len(self._met))

    def _turn(self, window: int) -> None:
        self._before = len(self._met) if window == self._window + 1 else 0
        self._window = window
        self._met.clear()


class Health:
    """What the agent tells of itself; ``mono`` gives monotonic seconds.

    ``parts`` is what others add to the snapshot under their own names: "spool", "dropped",
    "clock_offset_s", "shared".
    """

    def __init__(self, mono: Callable[[], float] = time.monotonic) -> None:
        self._mono = mono
        self._started = mono()
        self._last: float | None = None
        self._second = 0
        self._count = 0
        self._counts: deque[tuple[int, int]] = deque(maxlen=WINDOW_S)
        self._radios = Different()
        self._beacons = Different()
        self._unlisted = Different()
        self._levels: dict[Hashable, int] = {}
        self._small: deque[bool] = deque(maxlen=STEPS)
        self.adapters: dict[str, AdapterHealth] = {}
        self.bluez: str | None = None
        self.parts: dict[str, Any] = {}

    def heard(self, address: str, mono_s: float) -> None:
        """Count an advertisement of anybody, enrolled or not."""
        second = int(mono_s)
        if second != self._second:
            self._counts.append((self._second, self._count))
            self._second, self._count = second, 0
        self._count += 1
        self._last = mono_s
        self._radios.meet(address, mono_s)

    def kept(self, identity: Hashable, rssi_dbm: int, mono_s: float, adapter: str = "") -> None:
        """Count an advertisement of an enrolled beacon and judge the step from its last level."""
        self._beacons.meet(identity, mono_s)
        key = (adapter, identity)
        before = self._levels.get(key)
        if before is None and len(self._levels) >= MOST_DIFFERENT:
            self._levels.clear()
        self._levels[key] = rssi_dbm
        if before is not None and before != rssi_dbm:
            self._small.append(abs(rssi_dbm - before) < LARGE_STEP_DB)

    def unlisted(self, identity: Hashable, mono_s: float) -> None:
        """Count a beacon that is not enrolled here; only how many there are is kept."""
        self._unlisted.meet(identity, mono_s)

    @property
    def rssi_throttled(self) -> bool | None:
        """Whether the levels look 8-dB-quantised; None while too little was heard to tell."""
        if len(self._small) < STEPS_ENOUGH:
            return None
        return sum(self._small) <= SMALL_SHARE * len(self._small)

    def snapshot(self) -> dict[str, Any]:
        """Give everything as JSON-able values: rates per second, ages in seconds, numbers."""
        now = self._mono()
        return {
            "advertisements_per_s": round(self._rate(now), 2),
            "radios": self._radios.number(now),
            "beacons": self._beacons.number(now),
            "unlisted": self._unlisted.number(now),
            "last_s": _age(self._last, now),
            "restarts": sum(adapter.restarts for adapter in self.adapters.values()),
            "rssi_throttled": self.rssi_throttled,
            "bluez": self.bluez,
            "adapters": [
                {
                    "address": adapter.address,
                    "name": adapter.name,
                    "state": adapter.state,
                    "restarts": adapter.restarts,
                    "last_s": _age(adapter.last, now),
                    "trouble": adapter.trouble,
                    "dropped": dict(adapter.dropped),
                }
                for adapter in self.adapters.values()
            ],
            **self.parts,
        }

    def _rate(self, now: float) -> float:
        whole = int(now)
        counts = [*self._counts, (self._second, self._count)]
        recent = sum(count for second, count in counts if whole - WINDOW_S <= second < whole)
        return recent / min(WINDOW_S, max(1.0, now - self._started))


def _age(moment: float | None, now: float) -> float | None:
    return None if moment is None else round(max(0.0, now - moment), 1)
