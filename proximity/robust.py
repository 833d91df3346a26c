"""What does one record do in ``robust``, the product?

Judges a fix or a sighting against the places it may concern and lets ``presence`` decide; finds
the places that the way between two fixes passed. One row of the engine's table of ways to decide.
"""

from __future__ import annotations

from math import cos, hypot, radians
from typing import Any

from geofences import FenceIndex
from proximity.layout import Layout
from proximity.model import Fix, Observation, Sighting, Transition
from proximity.presence import Action, Presence, Signal, State, step, weigh
from proximity.registry import Ranging
from proximity.standing import Decide, Held, Moment, Standing, say, visit_id
from proximity.tracking import fits_level, is_still, judge

# A pass is read from two fixes at most this far apart: beyond two minutes a walker may have been
# anywhere, and a straight line between the fixes is a guess.
PASS_GAP_S = 120.0
# Faster than this between two fixes is a jump of the position, not a journey past a shop
# (70 m/s = 252 km/h).
PASS_SPEED_MPS = 70.0
METRES_PER_DEGREE = 111_320.0


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
        return [say("exit", moment, place, presence, left_at, moment.now, reason="left")], False
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
    return [say("enter", moment, place, presence, presence.enter_at, moment.now)], inside


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
        out.append(say("pass", moment, place, presence, enter_at, moment.now))
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


ROBUST = Decide(robust_fix, robust_sighting, robust_stays, timers=True)
