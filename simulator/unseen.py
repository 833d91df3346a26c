"""What was there to be found of one subject at one place, and what could nobody see?

From true changes of presence and the times of the records: which changes count, in which window of
time each may be found, and which are set aside, with the reason. Knows nothing of what a run
announced.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from math import inf
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Change", "Coverage", "Due", "Stay", "due"]

SHORT_INTERVALS = 3.0
SHORT_S = 40.0
"""A visit shorter than three sampling intervals, or this, leaves one or two fixes: no observer
tells it from two errors in a row. Nor an absence, which is the same seen from outside."""
GAP_S = 90.0
"""Within a gap of the records longer than this, a crossing may have been at any time."""
PASS_S = 20.0
"""A pass that took less is a corner cut: the truth depends on a metre."""


class Change(NamedTuple):
    """One change of presence after folding; times in Unix seconds.

    ``until`` is when a ``pass`` ended, where that is known.
    """

    kind: str
    subject: str
    place: str
    at: float
    decided_at: float
    dwell_s: float | None = None
    until: float | None = None


class Coverage:
    """When a subject's records were made, and when they came: what there was to see.

    ``times`` are Unix seconds of each record, ``arrivals`` when each was received (``times`` where
    none was late); in any order.
    """

    def __init__(self, times: Sequence[float], arrivals: Sequence[float] | None = None) -> None:
        order = np.argsort(np.asarray(times, dtype=np.float64), kind="stable")
        came = np.asarray(times if arrivals is None else arrivals, dtype=np.float64)[order]
        self.times: list[float] = np.asarray(times, dtype=np.float64)[order].tolist()
        self._arrivals: list[float] = came.tolist()
        steps = np.diff(self.times)
        steps = steps[steps > 0.0]
        self.interval_s = float(np.median(steps)) if len(steps) else 0.0

    @property
    def seconds(self) -> float:
        """From the first record to the last."""
        return self.times[-1] - self.times[0] if self.times else 0.0

    def gap(self, at: float) -> tuple[float, float]:
        """Give the last record by ``at`` and the first from it on; infinite where there is none."""
        after = bisect_left(self.times, at)
        before = bisect_right(self.times, at) - 1
        return (
            self.times[before] if before >= 0 else -inf,
            self.times[after] if after < len(self.times) else inf,
        )

    def seen(self, begins: float, ends: float) -> int:
        """Count the records of a stretch of time."""
        return bisect_right(self.times, ends) - bisect_left(self.times, begins)

    def lateness(self, at: float) -> float:
        """How late the first record from ``at`` on came: sooner nobody could know."""
        after = bisect_left(self.times, at)
        if after == len(self.times):
            return 0.0
        return max(0.0, self._arrivals[after] - self.times[after])


class Due(NamedTuple):
    """A true change, the window in which it may be found, and why it is set aside, if it is."""

    kind: str
    at: float
    low: float
    high: float
    deadline: float
    dwell_s: float | None = None
    aside: str | None = None
    counted: bool = True


class Stay(NamedTuple):
    """A true visit that counts: when it begins and ends (infinite where it does not), Unix seconds.

    ``enters`` is how many it truly had: where absences too short to see parted it, it is one stay.
    """

    begins: float
    ends: float
    enters: int


def due(
    truth: list[Change], seen: Coverage | None, tolerance_s: float, within_s: float
) -> tuple[list[Due], list[Stay]]:
    """Say what was to be found of one subject at one place, and give the visits that count.

    ``seen`` None: everything could be seen.
    """
    found: list[Due] = []
    stays: list[Stay] = []

    def add(
        change: Change, aside: str | None = None, *, kind: str = "", counted: bool = True
    ) -> None:
        at, low, high = change.at, change.at, change.at
        late = within_s
        if seen is not None:
            late += seen.lateness(at)
            if aside is not None:
                # What was out of sight may be dated to either end of the gap.
                begins, ends = seen.gap(at)
                low, high = min(low, begins), max(high, ends)
        deadline = inf if aside is not None else at + late
        found.append(
            Due(
                kind or change.kind,
                at,
                low - tolerance_s,
                high + tolerance_s,
                deadline,
                change.dwell_s,
                aside,
                counted,
            )
        )

    def crossed(enter: Change, leave: Change) -> None:
        # Being there was true: who says so by a visit has neither found nor forged anything.
        add(enter, "pass", kind="enter", counted=False)
        add(leave, "pass", kind="exit", counted=False)

    short_s = 0.0 if seen is None else max(SHORT_INTERVALS * seen.interval_s, SHORT_S)
    for stay in _stays(_visits(truth), short_s):
        enter, leave = stay[0][0], stay[-1][-1]
        if enter.kind == "pass":
            lasted = inf if seen is None or enter.until is None else enter.until - enter.at
            add(enter, "short pass" if lasted < PASS_S else _unseen(enter, seen))
            crossed(enter, enter)
            continue
        whole = enter.kind == "enter" and leave.kind == "exit"
        lasted = leave.at - enter.at if whole else inf
        if seen is not None and whole and not seen.seen(enter.at, leave.at):
            unseen = _unseen(enter, seen) or _unseen(leave, seen)
            add(enter, "short pass" if lasted < PASS_S else unseen, kind="pass")
            crossed(enter, leave)
            continue
        if lasted < short_s:
            for change in (change for visit in stay for change in visit):
                add(change, "short visit")
            add(enter, "short visit", kind="pass", counted=False)
            continue
        for number, visit in enumerate(stay):
            why = _unseen(enter, seen) if number == 0 else "short absence"
            for change in visit:
                if change.kind == "exit":
                    last = number + 1 == len(stay)
                    why = _unseen(change, seen) if last else "short absence"
                # A dwell is dated from its enter: unseen the one, unseen the other.
                add(change, why)
        begins = enter.at if enter.kind == "enter" else -inf
        ends = leave.at if leave.kind == "exit" else inf
        stays.append(Stay(begins, ends, len(stay)))
    return found, stays


def _visits(truth: list[Change]) -> list[list[Change]]:
    """Group the changes of one subject at one place: from each enter to its exit, by time."""
    rank = {"exit": 0, "pass": 1, "enter": 2, "dwell": 3}
    visits: list[list[Change]] = []
    going = False
    for change in sorted(truth, key=lambda change: (change.at, rank[change.kind])):
        if change.kind in {"enter", "pass"} or not going:
            if change.kind == "pass" and going:
                # Within a visit there is nothing to pass; it stands beside it.
                visits.insert(len(visits) - 1, [change])
                continue
            visits.append([])
        visits[-1].append(change)
        going = change.kind in {"enter", "dwell"}
    return visits


def _stays(visits: list[list[Change]], short_s: float) -> list[list[list[Change]]]:
    """Put visits together that an absence of less than ``short_s`` parts."""
    stays: list[list[list[Change]]] = []
    last: Change | None = None
    for visit in visits:
        first = visit[0]
        brief = last is not None and last.kind == "exit" and first.at - last.at < short_s
        if first.kind == "enter" and brief:
            stays[-1].append(visit)
        else:
            stays.append([visit])
        last = visit[-1]
    return stays


def _unseen(change: Change, seen: Coverage | None) -> str | None:
    """Say why no observer could date a change: it lies in a gap, or outside all records."""
    if seen is None:
        return None
    begins, ends = seen.gap(change.at)
    if ends - begins > GAP_S:
        return "outside the trace" if inf in {ends, -begins} else "gap"
    return None
