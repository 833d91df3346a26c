"""The question: when was it really, where a gateway's own clock is wrong?

A small computer without a battery-backed clock wakes up in 1970, or where it was when the power
went. Its monotonic clock is right all the same: the least that ``received_at - mono_s`` ever was in
one run of the machine (``boot``) says when that clock began, to within the quickest delivery. Pure:
time is what the caller says. It must not know sites, journals or what a record is for.
"""

from __future__ import annotations

import math
from copy import copy
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from msgspec.structs import force_setattr

from proximity.model import Record, Sighting

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

# A record's own time is believed where it differs by no more than this, s: the quickest delivery
# takes a second or two where records wait for their batch, and clocks set by network agree far
# better. Below it a wrong clock does no harm that the engine would notice.
BELIEVED_S = 3.0
# What seems late may be late, or be of a clock that is behind. The two look alike until the sender
# is known to deliver what is new: once nothing came quicker for so long, or once something older
# came after something newer, as from who sends what is live before what waited.
SETTLED_S = 10.0
# What seems later than this waited in no spool (gateways keep a week at most): the clock is wrong.
LONGEST_WAIT_S = 7 * 86400.0 + 3600.0
# Crystals are off by some 50 parts in a million, and more in the cold: an estimate loosens by this
# much, so that a clock which runs slow against ours is followed.
DRIFT = 1e-4
# So often what is known of a run is worth keeping though nothing else of it changed, s: a start
# would loosen the estimate by the drift since then, which is 0.06 s in this time.
KEPT_FOR_S = 600.0
# Runs remembered of one gateway: the spool of an earlier one may still arrive.
MOST_BOOTS = 4
LONGEST_BOOT = 128


class Run(msgspec.Struct):
    """One run of a gateway's machine; times in Unix seconds.

    ``offset_s`` is when its monotonic clock was 0; ``since`` when that was last found to be much
    less, namely ``mark_s``; ``heard_at`` when it was last heard, ``trusted`` whether what seems
    late is dated as well; ``kept_at`` when it last changed in a way that is worth keeping.
    """

    gateway: str
    boot: str
    offset_s: float
    mark_s: float
    since: float
    heard_at: float
    trusted: bool = False
    kept_at: float = 0.0


class Wrong(NamedTuple):
    """A clock that is wrong: how many seconds ahead (behind: below 0), since which Unix second."""

    ahead_s: float
    since: float


class Redating:
    """Dates the records of gateways by their monotonic clocks.

    ``heard`` is when each gateway was last heard (Unix seconds), ``errors`` says whose newest
    record was of a wrong clock, ``redated`` how many records were.
    """

    def __init__(self, runs: Iterable[Run] = ()) -> None:
        self.heard: dict[str, float] = {}
        self.errors: dict[str, Wrong] = {}
        self.redated = 0
        self._runs: dict[str, dict[str, Run]] = {}
        self._changed: dict[tuple[str, str], Run] = {}
        for run in sorted(runs, key=lambda one: one.heard_at):
            self._runs.setdefault(run.gateway, {})[run.boot] = run

    def date(
        self, records: Sequence[Record], gateways: Collection[str], now: float
    ) -> Sequence[Record]:
        """Give the records of a batch that arrived at ``now``, those of wrong clocks dated anew.

        Only ``gateways`` are followed: a stranger's clock is nobody's concern. The whole batch is
        listened to before any of it is dated, so that its order matters little.
        """
        listened: list[tuple[int, Run]] = []
        for place, record in enumerate(records):
            if type(record) is not Sighting:
                continue
            name, boot, mono_s = record.gateway, record.boot, record.mono_s
            if name is None or name not in gateways:
                continue
            self.heard[name] = now
            if boot is None or mono_s is None or not 0.0 <= mono_s < math.inf:
                continue
            run = self._listen(name, boot, now - mono_s, now)
            if run is not None:
                listened.append((place, run))
        if not listened:
            return records
        dated = list(records)
        for place, run in listened:
            record = dated[place]
            assert isinstance(record, Sighting)
            assert record.mono_s is not None
            true = run.offset_s + record.mono_s
            behind_s = true - record.at
            if abs(behind_s) <= BELIEVED_S:
                self.errors.pop(run.gateway, None)
                continue
            if behind_s > 0 and not (run.trusted or behind_s > LONGEST_WAIT_S):
                continue
            dated[place] = _at(record, max(0.0, true))
            known = self.errors.get(run.gateway)
            self.errors[run.gateway] = Wrong(-behind_s, now if known is None else known.since)
            self.redated += 1
        return dated

    def changed(self) -> list[Run]:
        """Give the runs worth keeping that changed since the last call."""
        found = list(self._changed.values())
        self._changed.clear()
        return found

    def _listen(self, gateway: str, boot: str, lag_s: float, now: float) -> Run | None:
        """Learn from one record how long ago a gateway's clock began; None where it may not be."""
        runs = self._runs.setdefault(gateway, {})
        run = runs.get(boot)
        if run is None:
            if len(boot) > LONGEST_BOOT:
                return None
            run = runs[boot] = Run(gateway, boot, lag_s, lag_s, now, now)
            if len(runs) > MOST_BOOTS:
                gone = min(runs, key=lambda one: runs[one].heard_at)
                del runs[gone]
                self._changed.pop((gateway, gone), None)
            self._keep(run, now)
            return run
        loose_s = run.offset_s + DRIFT * max(0.0, now - run.heard_at)
        if lag_s < run.mark_s - BELIEVED_S:
            run.since, run.mark_s, run.trusted = now, lag_s, False
            self._keep(run, now)
        elif not run.trusted and (now - run.since >= SETTLED_S or lag_s > loose_s + BELIEVED_S):
            run.trusted = True
            self._keep(run, now)
        elif now - run.kept_at >= KEPT_FOR_S:
            self._keep(run, now)
        run.offset_s = min(loose_s, lag_s)
        run.heard_at = now
        return run

    def _keep(self, run: Run, now: float) -> None:
        run.kept_at = now
        self._changed[run.gateway, run.boot] = run


def _at(record: Sighting, at: float) -> Sighting:
    """Give a record as of another time; one that is sent again is still the same."""
    dated = copy(record)
    force_setattr(dated, "at", at)
    if record.id is None and record.seq is not None:
        force_setattr(dated, "id", f"{record.boot}:{record.seq}"[:128])
    return dated
