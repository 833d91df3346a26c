"""Is this subject in this place, and since when?

The one state machine, a table. Everything that changes presence stands here: states, signals, what
each pair of them does, and the timers that give signals of their own. It owns counts, time and
which source outweighs which; it knows neither metres nor decibels (``tracking`` and ``registry``
reduce those to observations) and reads no clock (``engine`` says what time it is).
"""

from __future__ import annotations

import math
from enum import IntEnum
from typing import Any

import msgspec

from proximity.engine.tracking import EXIT_MARGIN_M, MIN_CONFIDENCE, TWICE_SHARE
from proximity.model import Observation

# Contract 5: departure by fixes is confirmed after this long, silence of beacons after this long,
# and a subject that sends no fix at all is given up after this long.
EXIT_AFTER_S = 60.0
UNHEARD_AFTER_S = 30.0
SILENT_AFTER_S = 1800.0
# Two unsure fixes make an arrival only within this time of each other: five of the usual one-a-
# minute fixes of a phone in a pocket; older than that, the first proves nothing about now.
SECOND_WITHIN_S = 300.0


class State(IntEnum):
    """Where a subject stands to a place."""

    OUTSIDE = 0
    ARRIVING = 1  # one unsure fix lay inside
    INSIDE = 2
    LEAVING = 3  # a fix said outside; the exit timer runs


class Signal(IntEnum):
    """What can happen to a presence."""

    SURE = 0  # evidence of being inside that needs no second
    MAYBE = 1  # evidence of being inside that does
    VAGUE = 2  # a fix that tells neither: near the edge, or outweighed
    OUT = 3  # a fix that says outside
    LEFT = 4  # the exit timer ended, or a nearer place took a beacon's carrier over
    LOST = 5  # nothing speaks for the place any more
    DWELT = 6  # a dwell timer ended
    ENDED = 7  # the place was removed or expired, or the subject erased
    CROSSED = 8  # two fixes lie on either side


class Action(IntEnum):
    """What a pair of state and signal makes the engine do."""

    NOTHING = 0
    NOTE = 1  # remember the first unsure fix
    ENTER = 2
    STAY = 3  # still inside: what ran towards an exit is stopped
    AWAIT = 4  # start the exit timer
    EXIT = 5
    DWELL = 6
    PASS = 7


TABLE: dict[tuple[State, Signal], tuple[State, Action]] = {
    (State.OUTSIDE, Signal.SURE): (State.INSIDE, Action.ENTER),
    (State.OUTSIDE, Signal.MAYBE): (State.ARRIVING, Action.NOTE),
    (State.OUTSIDE, Signal.VAGUE): (State.OUTSIDE, Action.NOTHING),
    (State.OUTSIDE, Signal.OUT): (State.OUTSIDE, Action.NOTHING),
    (State.OUTSIDE, Signal.CROSSED): (State.OUTSIDE, Action.PASS),
    (State.ARRIVING, Signal.SURE): (State.INSIDE, Action.ENTER),
    (State.ARRIVING, Signal.MAYBE): (State.INSIDE, Action.ENTER),
    (State.ARRIVING, Signal.VAGUE): (State.OUTSIDE, Action.NOTHING),
    (State.ARRIVING, Signal.OUT): (State.OUTSIDE, Action.NOTHING),
    (State.ARRIVING, Signal.LEFT): (State.OUTSIDE, Action.NOTHING),
    (State.ARRIVING, Signal.ENDED): (State.OUTSIDE, Action.NOTHING),
    (State.INSIDE, Signal.SURE): (State.INSIDE, Action.STAY),
    (State.INSIDE, Signal.MAYBE): (State.INSIDE, Action.STAY),
    (State.INSIDE, Signal.VAGUE): (State.INSIDE, Action.NOTHING),
    (State.INSIDE, Signal.OUT): (State.LEAVING, Action.AWAIT),
    (State.INSIDE, Signal.LEFT): (State.OUTSIDE, Action.EXIT),
    (State.INSIDE, Signal.LOST): (State.OUTSIDE, Action.EXIT),
    (State.INSIDE, Signal.DWELT): (State.INSIDE, Action.DWELL),
    (State.INSIDE, Signal.ENDED): (State.OUTSIDE, Action.EXIT),
    (State.LEAVING, Signal.SURE): (State.INSIDE, Action.STAY),
    (State.LEAVING, Signal.MAYBE): (State.INSIDE, Action.STAY),
    (State.LEAVING, Signal.VAGUE): (State.INSIDE, Action.NOTHING),
    (State.LEAVING, Signal.OUT): (State.LEAVING, Action.NOTHING),
    (State.LEAVING, Signal.LEFT): (State.OUTSIDE, Action.EXIT),
    (State.LEAVING, Signal.LOST): (State.OUTSIDE, Action.EXIT),
    (State.LEAVING, Signal.ENDED): (State.OUTSIDE, Action.EXIT),
}


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """How presence in one place is judged; seconds, and Unix seconds for its validity."""

    exit_after_s: float = EXIT_AFTER_S
    unheard_after_s: float = UNHEARD_AFTER_S
    silent_after_s: float = SILENT_AFTER_S
    min_confidence: float = MIN_CONFIDENCE
    exit_margin_m: float = EXIT_MARGIN_M
    depth_m: float = math.inf
    dwell_s: tuple[float, ...] = ()
    valid_from: float = -math.inf
    valid_until: float = math.inf
    parent: str | None = None


class Presence(msgspec.Struct, array_like=True, gc=False):
    """One subject's standing in one place. All times are Unix seconds.

    ``since``: of the first unsure fix while ARRIVING, of the first clear fix while LEAVING.
    ``inside_at``: newest evidence of being inside. Each feed supports a visit on its own:
    ``fixed`` while the newest verdict of fixes is inside (None: they have none), ``heard_at`` the
    newest sighting in the place (None: silent). A visit ends when nothing supports it any more.
    ``visit`` is empty until the visit is told; of a ``quiet`` one nothing is told.
    """

    state: State = State.OUTSIDE
    visit: str = ""
    enter_at: float = 0.0
    since: float = 0.0
    inside_at: float = 0.0
    fixed: bool | None = None
    heard_at: float | None = None
    dwelt: int = 0
    still: bool = False
    because: dict[str, Any] = {}
    quiet: bool = False

    def copy(self) -> Presence:
        """Give an independent copy."""
        return msgspec.structs.replace(self)


class Due(msgspec.Struct, frozen=True, order=True):
    """A timer: when it is due (Unix seconds), and in which order equal ones fire."""

    at: float
    place: str
    rank: int
    name: str


def timer(presence: Presence, place: str, rules: Rules, last_fix_at: float | None) -> Due | None:
    """Give the earliest timer of a presence; None where nothing can happen by itself.

    ``last_fix_at`` is the time of the subject's newest fix. At one instant a place's exit comes
    before its dwell.
    """
    if presence.state is State.OUTSIDE or presence.state is State.ARRIVING:
        return None
    at, rank, name = rules.valid_until, 3, "expired"
    if presence.fixed is not None and last_fix_at is not None:
        silent_at = last_fix_at + rules.silent_after_s
        if silent_at <= at:
            at, rank, name = silent_at, 2, "silent"
    if presence.heard_at is not None:
        unheard_at = presence.heard_at + rules.unheard_after_s
        if unheard_at <= at:
            at, rank, name = unheard_at, 1, "unheard"
    if presence.state is State.LEAVING:
        left_at = presence.since + rules.exit_after_s
        if left_at <= at:
            at, rank, name = left_at, 0, "left"
    elif presence.dwelt < len(rules.dwell_s):
        dwelt_at = presence.enter_at + rules.dwell_s[presence.dwelt]
        if dwelt_at < at:
            at, rank, name = dwelt_at, 4, "dwelt"
    return None if at == math.inf else Due(at, place, rank, name)


def ring(presence: Presence, due: Due) -> Signal | None:
    """Let a timer end: drop the support that it withdraws, and give the signal, if any.

    Silence of one feed ends a visit only where the other does not speak for it.
    """
    if due.name == "left":
        return Signal.LEFT
    if due.name == "dwelt":
        return Signal.DWELT
    if due.name == "expired":
        return Signal.ENDED
    if due.name == "unheard":
        presence.heard_at = None
        return None if presence.fixed else Signal.LOST
    presence.fixed = None
    return None if presence.heard_at is not None else Signal.LOST


def weigh(presence: Presence, seen: Observation, rules: Rules) -> Signal | None:
    """Reduce an observation to a signal: which source outweighs which is decided here alone.

    A beacon heard within its time outweighs a fix that says outside: indoors fixes drift, beacons
    do not. A beacon's carrier taken over by another place has left, unless fixes keep it inside.
    """
    if seen.says == "nothing":
        return None
    if seen.says == "inside":
        if seen.source == "sighting":
            presence.heard_at = seen.at
            return Signal.SURE
        if presence.state is State.ARRIVING and (
            seen.at <= presence.since or seen.at - presence.since > SECOND_WITHIN_S
        ):
            # No second fix: the same instant again, or so late that the first proves nothing.
            presence.state = State.OUTSIDE
        sure = seen.strength >= rules.min_confidence
        if not sure and seen.strength < TWICE_SHARE * rules.min_confidence:
            if presence.state is State.LEAVING:
                presence.fixed = True
            return Signal.VAGUE
        if sure or presence.state is not State.OUTSIDE:
            presence.fixed = True
        return Signal.SURE if sure else Signal.MAYBE
    if seen.source == "sighting":
        presence.heard_at = None
        if presence.state is State.OUTSIDE or presence.fixed:
            return None
        return Signal.LEFT
    if presence.fixed is not None:
        presence.fixed = False
    if presence.heard_at is not None:
        return Signal.VAGUE
    return Signal.OUT


def step(presence: Presence, signal: Signal, at: float, since: float = math.inf) -> Action:
    """Move a presence by one signal at Unix second ``at`` and say what that amounts to.

    ``since`` is from when on it has been so, where that is earlier: an arrival was then. Raises
    KeyError for a pair that the table does not know, and then changes nothing.
    """
    was = presence.state
    presence.state, action = TABLE[was, signal]
    if action is Action.ENTER:
        presence.enter_at = min(presence.since if was is State.ARRIVING else at, since)
        presence.inside_at = at
        presence.dwelt = 0
    elif action is Action.STAY:
        presence.inside_at = at
    elif action is Action.NOTE:
        presence.since = at
    elif action is Action.AWAIT:
        # A fix that tells from when on one was elsewhere cannot undo what was seen since.
        presence.since = max(at, presence.inside_at)
    elif action is Action.DWELL:
        presence.dwelt += 1
    return action
