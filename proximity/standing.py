"""What does one record, or one timer, do to where a subject stands?

The evaluation of a single subject, in the order of event time: records and timers go in, changes
of presence come out. ``robust`` and ``point`` say how; what both need stands here.
Knows nothing of other subjects, of late records (``history``) or of the clock (``engine``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from geofences import FenceIndex
from proximity.layout import Layout
from proximity.model import Fix, Sighting, Transition, digest
from proximity.presence import (
    Action,
    Due,
    Presence,
    State,
    ring,
    step,
    timer,
)
from proximity.registry import Ranging, Window

Held = tuple[str, ...]
"""The sorted ids of the fences that hold a point."""

_RANK = {"exit": 0, "enter": 1, "dwell": 2, "pass": 3}


class Standing(msgspec.Struct, array_like=True):
    """Where one subject stands: plain values, so that it can be copied and packed.

    ``last`` is the newest fix; ``clock`` is the event time (Unix seconds) up to which records and
    timers have had effect.
    """

    presences: dict[str, Presence] = {}
    last: Fix | None = None
    ranging: Ranging | None = None
    window: Window = ()
    fenced: tuple[str, ...] = ()
    clock: float = -1.0

    def copy(self) -> Standing:
        """Give an independent copy."""
        return Standing(
            {place: presence.copy() for place, presence in self.presences.items()},
            self.last,
            None if self.ranging is None else self.ranging.copy(),
            self.window,
            self.fenced,
            self.clock,
        )


class Moment(NamedTuple):
    """Whose standing changes, and when the engine knows of it (Unix seconds).

    ``names`` leads the names of visits: while a subject is judged again they are not yet final.
    """

    layout: Layout
    subject: str
    now: float
    names: str = ""


def visit_id(subject: str, place: str, enter_at: float, kind: str = "visit") -> str:
    """Name a visit or a pass: the same for the same arrival, on any machine."""
    return digest(kind, subject, place, f"{enter_at:.6f}")


def first_due(standing: Standing, layout: Layout) -> Due | None:
    """Give the earliest timer of a subject; None where nothing can happen by itself."""
    last_fix_at = None if standing.last is None else standing.last.at
    best: Due | None = None
    for place, presence in standing.presences.items():
        due = timer(presence, place, layout.rules(place), last_fix_at)
        if due is not None and (best is None or due < best):
            best = due
    return best


def fire(standing: Standing, due: Due, moment: Moment) -> list[Transition]:
    """Let a subject's earliest timer end."""
    presence = standing.presences[due.place]
    standing.clock = max(standing.clock, due.at)
    left_since = presence.since if presence.state is State.LEAVING else presence.inside_at
    signal = ring(presence, due)
    if signal is None:
        return []
    decided = max(due.at, moment.now)
    action = step(presence, signal, due.at)
    if action is Action.DWELL:
        dwell_s = moment.layout.rules(due.place).dwell_s[presence.dwelt - 1]
        return [say("dwell", moment, due.place, presence, due.at, decided, dwell_s=dwell_s)]
    del standing.presences[due.place]
    reason = {"left": "left", "expired": "fence-expired"}.get(due.name, "silent")
    at = due.at if due.name == "expired" else left_since
    return [say("exit", moment, due.place, presence, at, decided, reason=reason)]


def end(standing: Standing, place: str, reason: str, moment: Moment) -> list[Transition]:
    """End what a subject has in a place, because the place or the subject is no more."""
    presence = standing.presences.pop(place)
    standing.fenced = tuple(one for one in standing.fenced if one != place)
    standing.window = tuple(heard for heard in standing.window if heard[2] != place)
    if presence.state is State.ARRIVING:
        return []
    presence.state = State.OUTSIDE
    return [say("exit", moment, place, presence, moment.now, moment.now, reason=reason)]


def say(
    kind: Any,
    moment: Moment,
    place: str,
    presence: Presence,
    at: float,
    decided_at: float,
    *,
    reason: str | None = None,
    dwell_s: float | None = None,
) -> Transition:
    """Make the transition that a presence's change amounts to, its evidence with it."""
    evidence_at = at if reason == "left" else presence.inside_at
    because = presence.because | {"evidence_at": evidence_at, "still": presence.still}
    return Transition(
        kind=kind,
        subject=moment.subject,
        place=place,
        visit=presence.visit,
        at=at,
        decided_at=decided_at,
        because=because,
        reason=reason,
        dwell_s=dwell_s,
    )


class Decide(NamedTuple):
    """A way to decide: what a record does, when a fix does nothing, whether timers run."""

    fix: Callable[[Standing, Fix, Held, Moment], list[Transition]]
    sighting: Callable[[Standing, Sighting, str, Moment], list[Transition]]
    stays: Callable[[Standing, Fix, Held, FenceIndex], bool]
    timers: bool


def apply(
    standing: Standing,
    record: Fix | Sighting,
    moment: Moment,
    decide: Decide,
    held: Held | None = None,
) -> list[Transition]:
    """Take one record: exits, enters, dwells, passes, then by place (contract 1).

    ``held`` are the fences that hold a fix, where they are known already.
    """
    standing.clock = max(standing.clock, record.at)
    if isinstance(record, Fix):
        if held is None:
            held = tuple(moment.layout.index.locate(record.lon, record.lat))
        out = decide.fix(standing, record, held, moment)
        standing.last = record
    else:
        whose = moment.layout.site.who(record)
        out = [] if whose is None else decide.sighting(standing, record, whose[1], moment)
    if len(out) > 1:
        out.sort(key=lambda change: (_RANK[change.kind], change.place))
    return out
