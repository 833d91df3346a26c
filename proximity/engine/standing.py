"""What does one record, or one timer, do to where a subject stands?

The evaluation of a single subject, in the order of event time: records and timers go in, changes
of presence come out. ``robust`` and ``point`` say how; what both need stands here.
Knows nothing of other subjects, of late records (``history``) or of the clock (``engine``).
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec
import numpy as np

from proximity.engine.arbitration import Ranging, Window
from proximity.engine.layout import Layout
from proximity.engine.presence import (
    Action,
    Due,
    Presence,
    State,
    ring,
    step,
    timer,
)
from proximity.engine.tracking import Where
from proximity.engine.trail import Floats, newest_of, spot_of
from proximity.model import Fix, Sighting, Transition

Held = tuple[str, ...]
"""The sorted ids of the fences that hold a point."""

# Copied, which costs half of making one: an arrival costs little else than its name.
DIGEST = blake2b(digest_size=16)
# Metres and chances as evidence are kept as they are and told to these digits: most are not told.
_DIGITS = (("distance_m", 1), ("accuracy_m", 1), ("sd_m", 1), ("inside", 3))
_RANK = {"exit": 0, "enter": 1, "dwell": 2, "pass": 3}


class Standing(msgspec.Struct, array_like=True, gc=False):
    """Where one subject stands: plain values, so that it can be copied and packed.

    ``last`` is the row of the newest fix (empty: none yet), ``track`` what ``tracking`` knows of
    the way to it; ``clock`` is the event time (Unix seconds) up to which records and timers have
    had effect. No arrival is told of before ``settled_at``: then a place was left, or fences had
    changed.
    """

    presences: dict[str, Presence] = {}
    last: bytes = b""
    ranging: Ranging | None = None
    window: Window = ()
    fenced: tuple[str, ...] = ()
    clock: float = -1.0
    track: bytes = b""
    settled_at: float = -1.0

    def copy(self) -> Standing:
        """Give an independent copy."""
        return Standing(
            {place: presence.copy() for place, presence in self.presences.items()},
            self.last,
            None if self.ranging is None else self.ranging.copy(),
            self.window,
            self.fenced,
            self.clock,
            self.track,
            self.settled_at,
        )


class Moment(msgspec.Struct, frozen=True, gc=False):
    """Whose standing changes, and when the engine knows of it (Unix seconds).

    ``names`` leads the names of visits: while a subject is judged again they are not yet final.
    """

    layout: Layout
    subject: str
    now: float
    names: str = ""


def visit_id(subject: str, place: str, enter_at: float, kind: str = "visit") -> str:
    """Name a visit or a pass: the same for the same arrival, on any machine.

    As ``digest`` does, written out because an arrival costs little else.
    """
    name = DIGEST.copy()
    name.update(f"{kind}\x1f{subject}\x1f{place}\x1f{enter_at:.6f}".encode())
    return name.hexdigest()


def announced(standing: Standing) -> set[str]:
    """Give the places that a standing's subject was told to be in; an arrival is not told yet."""
    return {place for place, presence in standing.presences.items() if presence.visit}


def first_due(standing: Standing, layout: Layout) -> Due | None:
    """Give the earliest timer of a subject; None where nothing can happen by itself."""
    last_fix_at = newest_of(standing.last) if standing.last else None
    best: Due | None = None
    for place, presence in standing.presences.items():
        due = timer(presence, place, layout.rules[place], last_fix_at)
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
    if not presence.visit:
        # A visit that nobody was told of has no dwells and no end to tell either.
        if action is not Action.DWELL:
            del standing.presences[due.place]
        return []
    if action is Action.DWELL:
        dwell_s = moment.layout.rules[due.place].dwell_s[presence.dwelt - 1]
        return [say("dwell", moment, due.place, presence, due.at, decided, dwell_s=dwell_s)]
    reason = {"left": "left", "expired": "fence-expired"}.get(due.name, "silent")
    at = due.at if due.name == "expired" else left_since
    leave(standing, due.place, at)
    return [say("exit", moment, due.place, presence, at, decided, reason=reason)]


def end(standing: Standing, place: str, reason: str, moment: Moment) -> list[Transition]:
    """End what a subject has in a place, because the place or the subject is no more."""
    presence = standing.presences.pop(place)
    standing.fenced = tuple(one for one in standing.fenced if one != place)
    standing.window = tuple(heard for heard in standing.window if heard[2] != place)
    if not presence.visit:
        return []
    presence.state = State.OUTSIDE
    standing.settled_at = max(standing.settled_at, moment.now)
    return [say("exit", moment, place, presence, moment.now, moment.now, reason=reason)]


def leave(standing: Standing, place: str, at: float) -> None:
    """Take somebody out of a place at Unix second ``at``; nobody is in one again before that."""
    del standing.presences[place]
    standing.settled_at = max(standing.settled_at, at)


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
    for name, digits in _DIGITS:
        if (value := because.get(name)) is not None:
            because[name] = round(value, digits)
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


class Asked(NamedTuple):
    """Fixes of as many subjects, side by side: what a way to decide is asked of all at once.

    Each fix is newer than all that its subject is known by, and no timer of the subject is due
    before it. ``standings`` are only read. ``accuracies`` are metres (NaN: not stated); an
    ``ordinary`` fix says nothing else of how its phone moves.
    """

    fixes: list[Fix]
    standings: list[Standing]
    ats: Floats
    lons: Floats
    lats: Floats
    accuracies: Floats
    ordinary: list[bool]

    def some(self, numbers: list[int]) -> Asked:
        """Give those of these numbers."""
        which = np.array(numbers, np.int64)
        return Asked(
            [self.fixes[number] for number in numbers],
            [self.standings[number] for number in numbers],
            self.ats[which],
            self.lons[which],
            self.lats[which],
            self.accuracies[which],
            [self.ordinary[number] for number in numbers],
        )


class Quiet(msgspec.Struct, frozen=True, gc=False):
    """What becomes of a standing by a fix that says nothing new.

    No transition, the same states of the same visits, no timer due earlier than before.
    ``presences`` None leaves them as they are.
    """

    track: bytes
    presences: dict[str, Presence] | None = None


class Followed(msgspec.Struct, frozen=True, gc=False):
    """Where a fix puts its subject, reckoned ahead; what that does is still to be said.

    ``near``: whether a fence is near the fix itself. ``held`` are the fences that hold the
    position, ``distances`` the signed metres to the edges of those and of the subject's own places.
    """

    track: bytes
    where: Where
    near: bool
    held: Held
    distances: dict[str, float]


class Decide(NamedTuple):
    """A way to decide: what a record does, when a fix does nothing, whether timers run.

    ``stays`` is True only where nothing but ``last`` and the clock would change. ``ordered``:
    changes are given in the order in which they are told. ``quiet`` says of many fixes at once what
    ``fix`` would do where that is nothing new, else what it may be told ahead; a way without it is
    told which fences hold a fix (None where nobody asked ahead).
    """

    fix: Callable[[Standing, Fix, Held | Followed | None, Moment], list[Transition]]
    sighting: Callable[[Standing, Sighting, str, Moment], list[Transition]]
    stays: Callable[[Standing, Fix, Held | None, Layout], bool]
    timers: bool
    ordered: bool = False
    quiet: Callable[[Asked, Layout], list[Quiet | Followed | None]] | None = None


def apply(
    standing: Standing,
    record: Fix | Sighting,
    moment: Moment,
    decide: Decide,
    ahead: Held | Followed | None = None,
) -> list[Transition]:
    """Take one record: exits, enters, dwells, passes, then by place (contract 1).

    ``ahead`` is what ``decide.fix`` may be told of a fix, where it was reckoned ahead.
    """
    at = record.at
    standing.clock = max(standing.clock, at)
    if isinstance(record, Fix):
        out = decide.fix(standing, record, ahead, moment)
        standing.last = spot_of(record)
    else:
        whose = moment.layout.site.who(record)
        out = [] if whose is None else decide.sighting(standing, record, whose[1], moment)
    if len(out) > 1 and not decide.ordered:
        out.sort(key=lambda change: (_RANK[change.kind], change.place))
    return out
