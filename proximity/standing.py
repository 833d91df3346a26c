"""What does one record, or one timer, do to where a subject stands?

The evaluation of a single subject, in the order of event time: records and timers go in, changes
of presence come out. Two rows in one table: ``robust`` is the product, ``point`` the yardstick.
Knows nothing of other subjects, of late records (``history``) or of the clock (``engine``).
"""

from __future__ import annotations

from collections.abc import Callable
from math import cos, hypot, radians
from typing import Any, NamedTuple

import msgspec

from geofences import FenceIndex
from proximity.layout import Layout
from proximity.model import Fix, Observation, Sighting, Transition, digest
from proximity.presence import (
    Action,
    Due,
    Presence,
    Signal,
    State,
    ring,
    step,
    timer,
    weigh,
)
from proximity.registry import Ranging, Window, loudest
from proximity.tracking import fits_level, is_still, judge

# A pass is read from two fixes at most this far apart: beyond two minutes a walker may have been
# anywhere, and a straight line between the fixes is a guess.
PASS_GAP_S = 120.0
# Faster than this between two fixes is a jump of the position, not a journey past a shop
# (70 m/s = 252 km/h).
PASS_SPEED_MPS = 70.0
METRES_PER_DEGREE = 111_320.0

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
        return [_say("dwell", moment, due.place, presence, due.at, decided, dwell_s=dwell_s)]
    del standing.presences[due.place]
    reason = {"left": "left", "expired": "fence-expired"}.get(due.name, "silent")
    at = due.at if due.name == "expired" else left_since
    return [_say("exit", moment, due.place, presence, at, decided, reason=reason)]


def end(standing: Standing, place: str, reason: str, moment: Moment) -> list[Transition]:
    """End what a subject has in a place, because the place or the subject is no more."""
    presence = standing.presences.pop(place)
    standing.fenced = tuple(one for one in standing.fenced if one != place)
    standing.window = tuple(heard for heard in standing.window if heard[2] != place)
    if presence.state is State.ARRIVING:
        return []
    presence.state = State.OUTSIDE
    return [_say("exit", moment, place, presence, moment.now, moment.now, reason=reason)]


def _say(
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


def _see(
    standing: Standing, seen: Observation, moment: Moment, *, still: bool
) -> tuple[list[Transition], bool]:
    """Take one observation: what changed, and whether the subject is now surely in the place."""
    place = seen.place
    known = standing.presences.get(place)
    presence = Presence() if known is None else known
    was = presence.state
    signal = weigh(presence, seen, moment.layout.rules(place))
    if signal is None:
        return [], False
    left_at = presence.since if presence.state is State.LEAVING else seen.at
    action = step(presence, signal, seen.at)
    inside = seen.says == "inside" and presence.state is State.INSIDE
    if seen.says == "inside":
        presence.still = still
        presence.because = seen.because
    if action is Action.EXIT:
        del standing.presences[place]
        presence.because = seen.because
        return [_say("exit", moment, place, presence, left_at, moment.now, reason="left")], False
    if presence.state is State.OUTSIDE:
        standing.presences.pop(place, None)
        return [], False
    if known is None:
        standing.presences[place] = presence
    if action is not Action.ENTER:
        if action is Action.AWAIT:
            presence.because = seen.because
        return [], inside
    presence.visit = moment.names + visit_id(moment.subject, place, presence.enter_at)
    presence.because = seen.because | {"fixes": 2 if was is State.ARRIVING else 1}
    return [_say("enter", moment, place, presence, presence.enter_at, moment.now)], inside


def _see_all(
    standing: Standing, seen: dict[str, Observation], moment: Moment, *, still: bool
) -> tuple[list[Transition], set[str]]:
    """Take what one record says of several places; being in a place is being in its parent.

    Gives what changed, and the parents that a child spoke for.
    """
    out: list[Transition] = []
    layout = moment.layout
    children: dict[str, Observation] = {}
    waiting = sorted(seen, key=lambda place: (-layout.depth(place), place))
    while waiting:
        place = waiting.pop(0)
        observation, child = seen.get(place), children.get(place)
        if child is not None and (
            observation is None or observation.says != "inside" or observation.strength < 1.0
        ):
            because = {"rule": "child", "child": child.place, "strength": child.strength}
            observation = Observation(
                child.subject, place, child.at, child.source, "inside", 1.0, because
            )
        assert observation is not None
        changes, inside = _see(standing, observation, moment, still=still)
        out += changes
        parent = layout.rules(place).parent
        if inside and parent is not None and parent not in children:
            children[parent] = observation
            if parent not in seen:
                waiting.append(parent)
                waiting.sort(key=lambda place: (-layout.depth(place), place))
    return out, set(children)


def robust_fix(standing: Standing, fix: Fix, held: Held, moment: Moment) -> list[Transition]:
    """Judge a fix against the fences that hold it and those that the subject is in."""
    last = standing.last
    still = is_still(fix)
    layout, index = moment.layout, moment.layout.index
    seen: dict[str, Observation] = {}
    if held or standing.presences:
        distances = {place: index.distance(place, fix.lon, fix.lat) for place in held}
        shut = _shut(fix, distances, layout)
        for place in standing.presences:
            if place not in distances and place in index:
                distances[place] = index.distance(place, fix.lon, fix.lat)
        for place, distance_m in distances.items():
            rules = layout.rules(place)
            if not rules.valid_from <= fix.at < rules.valid_until:
                continue
            fence = index.get(place)
            assert fence is not None
            if shut and not fence.exclude:
                # Inside an excluded area means outside its venue's other fences, as deep as that.
                depths = [-shut[venue] for venue in (fence.venue, place) if venue in shut]
                seen[place] = judge(fix, fence, max([distance_m, *depths]))
            else:
                seen[place] = judge(fix, fence, distance_m)
    before = set(standing.presences)
    out: list[Transition] = []
    if before or seen:
        out, spoken_for = _see_all(standing, seen, moment, still=still)
        undrawn = {
            place
            for place, presence in standing.presences.items()
            if presence.fixed and place not in index
        }
        # After their children, the deepest first: a venue that nothing draws follows its shops.
        for place in sorted(undrawn - spoken_for, key=lambda one: (-layout.depth(one), one)):
            observation = _childless(standing, fix, place, layout)
            out += _see(standing, observation, moment, still=still)[0]
    if last is not None and not still:
        out += _passes(last, fix, {*before, *standing.presences, *held}, moment)
    return out


def _shut(fix: Fix, distances: dict[str, float], layout: Layout) -> dict[str | None, float]:
    """Give, for each venue, how deep the fix lies in one of its excluded areas (negative)."""
    shut: dict[str | None, float] = {}
    for place, distance_m in distances.items():
        fence = layout.fence(place)
        assert fence is not None
        rules = layout.rules(place)
        if (
            fence.exclude
            and fence.venue is not None
            and fits_level(fix, fence)
            and rules.valid_from <= fix.at < rules.valid_until
        ):
            shut[fence.venue] = min(shut.get(fence.venue, 0.0), distance_m)
    return shut


def _childless(standing: Standing, fix: Fix, place: str, layout: Layout) -> Observation:
    """Judge a place that nothing draws: it is left once all its children are being left."""
    present = [
        child
        for child, presence in standing.presences.items()
        if presence.state is State.INSIDE and layout.rules(child).parent == place
    ]
    because: dict[str, Any] = {"rule": "children", "inside": len(present)}
    if present:
        return Observation(fix.subject, place, fix.at, "fix", "nothing", 0.0, because)
    return Observation(fix.subject, place, fix.at, "fix", "outside", 1.0, because)


def _passes(last: Fix, fix: Fix, but: set[str], moment: Moment) -> list[Transition]:
    """Find the places that the way between two fixes crossed although neither lay in them.

    ``but`` are those that the subject is or was in.
    """
    gap_s = fix.at - last.at
    if not 0.0 < gap_s <= PASS_GAP_S:
        return []
    east = (fix.lon - last.lon + 180.0) % 360.0 - 180.0
    length_m = METRES_PER_DEGREE * hypot(
        fix.lat - last.lat, east * cos(radians((fix.lat + last.lat) / 2.0))
    )
    if length_m == 0.0 or length_m > PASS_SPEED_MPS * gap_s:
        return []
    accuracy_m = max(fix.accuracy_m or 0.0, last.accuracy_m or 0.0)
    layout = moment.layout
    way = last.lon, last.lat, fix.lon, fix.lat
    if length_m <= accuracy_m or layout.index.no_edge_between(*way):
        return []
    out: list[Transition] = []
    for place, first, final in layout.index.crossings(*way, but):
        chord_m = (final - first) * length_m
        # A chord shorter than the accuracy may not have touched the place at all.
        if first <= 0.0 or final >= 1.0 or chord_m <= accuracy_m:
            continue
        fence, rules = layout.fence(place), layout.rules(place)
        assert fence is not None
        enter_at, exit_at = last.at + first * gap_s, last.at + final * gap_s
        if not fits_level(fix, fence) or not rules.valid_from <= enter_at < rules.valid_until:
            continue
        presence = Presence(
            visit=visit_id(moment.subject, place, enter_at, "pass"), inside_at=fix.at
        )
        step(presence, Signal.CROSSED, enter_at)
        presence.because = {
            "rule": "crossed",
            "exit_at": round(exit_at, 6),
            "gap_s": round(gap_s, 3),
            "chord_m": round(chord_m, 1),
            "accuracy_m": float(accuracy_m) or None,
        }
        out.append(_say("pass", moment, place, presence, enter_at, moment.now))
    return out


def robust_sighting(
    standing: Standing, sighting: Sighting, place: str, moment: Moment
) -> list[Transition]:
    """Judge a sighting by the registry's ranging and let its verdicts change presence."""
    if standing.ranging is None:
        standing.ranging = Ranging()
    layout = moment.layout
    unheard_after_s = layout.rules(place).unheard_after_s
    verdicts = standing.ranging.hear(layout.site, sighting, moment.subject, place, unheard_after_s)
    return _see_all(standing, {v.place: v for v in verdicts}, moment, still=False)[0]


def point_fix(standing: Standing, fix: Fix, held: Held, moment: Moment) -> list[Transition]:
    """Take a fix as the truth: inside exactly the fences that hold its coordinates."""
    standing.fenced = held
    accuracy_m = None if fix.accuracy_m is None else float(fix.accuracy_m)
    because = {"rule": "point", "accuracy_m": accuracy_m}
    return _settle(standing, fix.at, because, moment, still=is_still(fix))


def point_sighting(
    standing: Standing, sighting: Sighting, place: str, moment: Moment
) -> list[Transition]:
    """Take the loudest sighting of the last seconds as the truth."""
    level = moment.layout.site.level_dbm(sighting)
    standing.window = loudest(standing.window, sighting.at, level, place)
    because = {"rule": "loudest", "rssi_dbm": float(sighting.rssi_dbm)}
    return _settle(standing, sighting.at, because, moment, still=False)


def _settle(
    standing: Standing, at: float, because: dict[str, Any], moment: Moment, *, still: bool
) -> list[Transition]:
    """Make presence what point mode's latest record says."""
    inside = set(standing.fenced)
    if standing.window:
        inside.add(standing.window[0][2])
    out: list[Transition] = []
    for place in sorted(standing.presences.keys() - inside):
        presence = standing.presences.pop(place)
        presence.inside_at, presence.still, presence.because = at, still, because
        out.append(_say("exit", moment, place, presence, at, moment.now, reason="left"))
    for place in sorted(inside - standing.presences.keys()):
        presence = standing.presences[place] = Presence(
            State.INSIDE,
            moment.names + visit_id(moment.subject, place, at),
            at,
            inside_at=at,
            still=still,
        )
        presence.because = because
        out.append(_say("enter", moment, place, presence, at, moment.now))
    return out


def robust_stays(standing: Standing, fix: Fix, held: Held, index: FenceIndex) -> bool:
    """Whether a fix far from every place changes nothing."""
    if held or standing.presences:
        return False
    last = standing.last
    if last is not None and fix.at - last.at <= PASS_GAP_S:
        accuracy_m = max(fix.accuracy_m or 0.0, last.accuracy_m or 0.0)
        # A way no longer than the accuracy passes nothing; degrees of latitude are the longest.
        reach = accuracy_m / METRES_PER_DEGREE
        if abs(fix.lon - last.lon) + abs(fix.lat - last.lat) > reach:
            return index.no_edge_between(last.lon, last.lat, fix.lon, fix.lat)
    return True


def point_stays(standing: Standing, fix: Fix, held: Held, index: FenceIndex) -> bool:  # noqa: ARG001 - rows of one table
    """Whether the same fences hold a fix as the one before."""
    return held is standing.fenced or held == standing.fenced


class Decide(NamedTuple):
    """A way to decide: what a record does, when a fix does nothing, whether timers run."""

    fix: Callable[[Standing, Fix, Held, Moment], list[Transition]]
    sighting: Callable[[Standing, Sighting, str, Moment], list[Transition]]
    stays: Callable[[Standing, Fix, Held, FenceIndex], bool]
    timers: bool


DECIDE: dict[str, Decide] = {
    "robust": Decide(robust_fix, robust_sighting, robust_stays, timers=True),
    "point": Decide(point_fix, point_sighting, point_stays, timers=False),
}


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
