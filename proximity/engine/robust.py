"""What does one record do in ``robust``, the product?

Judges a fix or a sighting against the places it may concern and lets ``presence`` decide; finds
the places that the way between two fixes passed. One row of the engine's table of ways to decide.
"""

from __future__ import annotations

from typing import Any

from proximity.engine import suspects
from proximity.engine.arbitration import Ranging
from proximity.engine.layout import Layout
from proximity.engine.passing import PASS_GAP_S, may_pass, passes
from proximity.engine.presence import Action, Presence, Signal, State, step, weigh
from proximity.engine.quiet import robust_quiet
from proximity.engine.standing import (
    Decide,
    Followed,
    Held,
    Moment,
    Standing,
    announced,
    leave,
    say,
    visit_id,
)
from proximity.engine.tracking import (
    ASIDE,
    STALE_S,
    STANDS,
    Where,
    fits_level,
    follow,
    is_stale,
    is_still,
    judge,
    point,
)
from proximity.engine.trail import newest_of, point_of
from proximity.model import Fix, Observation, Sighting, Transition

# What in a place speaks for its parent, too.
_SPEAKS = frozenset({Signal.SURE, Signal.MAYBE})


def _see(
    standing: Standing, seen: Observation, moment: Moment, *, still: bool, quiet: bool = False
) -> tuple[list[Transition], bool]:
    """Take one observation: what changed, and whether the subject is now surely in the place."""
    place = seen.place
    known = standing.presences.get(place)
    presence = Presence() if known is None else known
    was = presence.state
    rules = moment.layout.rules[place]
    signal = weigh(presence, seen, rules)
    if signal is None:
        return [], False
    left_at = presence.since if presence.state is State.LEAVING else seen.at
    if known is None:
        presence.quiet = quiet
    since = seen.at
    if seen.since is not None:
        since = max(seen.since, standing.settled_at, rules.valid_from)
    action = step(presence, signal, seen.at, since)
    inside = signal in _SPEAKS and presence.state is State.INSIDE
    if inside:
        presence.still = still
        presence.because = seen.because
    if action is Action.EXIT:
        leave(standing, place, left_at)
        if not presence.visit:
            return [], False
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
    if presence.quiet:
        return [], inside
    presence.visit = moment.names + visit_id(moment.subject, place, presence.enter_at)
    presence.because = seen.because | {"fixes": 2 if was is State.ARRIVING else 1}
    if presence.enter_at == since < seen.at:
        presence.because["stood_s"] = round(seen.at - since, 1)
    return [say("enter", moment, place, presence, presence.enter_at, moment.now)], inside


def _see_all(
    standing: Standing,
    seen: dict[str, Observation],
    moment: Moment,
    *,
    still: bool,
    quiet: bool = False,
) -> tuple[list[Transition], set[str]]:
    """Take what one record says of several places; being in a place is being in its parent.

    Gives what changed, and the parents that a child spoke for.
    """
    out: list[Transition] = []
    layout = moment.layout
    children: dict[str, Observation] = {}
    waiting = list(seen)
    if len(waiting) > 1:
        waiting.sort(key=lambda place: (-layout.depth(place), place))
    while waiting:
        place = waiting.pop(0)
        observation, child = seen.get(place), children.get(place)
        if child is not None and (
            observation is None or observation.says != "inside" or observation.strength < 1.0
        ):
            because: dict[str, Any] = {
                "rule": "child", "child": child.place, "strength": child.strength,
            }  # fmt: skip
            if child.source == "sighting":
                because["source"] = child.source
            if "gateway" in child.because:
                because["gateway"] = child.because["gateway"]
            observation = Observation(
                child.subject, place, child.at, child.source, "inside", 1.0, because, child.since
            )
        assert observation is not None
        rules = layout.rules[place]
        begun = observation.at >= rules.valid_from or place in standing.presences
        if begun and observation.at < rules.valid_until:
            changes, inside = _see(standing, observation, moment, still=still, quiet=quiet)
            out += changes
        else:
            # Nobody is in what is not there yet, or no more; its gateway stands in its parent.
            inside = observation.source == "sighting" and observation.says == "inside"
        parent = rules.parent
        if inside and parent is not None and parent not in children:
            children[parent] = observation
            if parent not in seen:
                waiting.append(parent)
                waiting.sort(key=lambda place: (-layout.depth(place), place))
    return out, set(children)


def robust_fix(
    standing: Standing, fix: Fix, ahead: Held | Followed | None, moment: Moment
) -> list[Transition]:
    """Follow a fix's subject, and judge the fences that hold it and those that it is in."""
    layout = moment.layout
    last = standing.last
    if isinstance(ahead, Followed):
        # ``following`` is sure of no track that is stale.
        standing.track = ahead.track
    else:
        if standing.track and is_stale(standing.track, fix.at) and not announced(standing):
            standing.track = b""
            standing.presences.clear()
        near = layout.near(fix.lon, fix.lat)
        if not near and not standing.presences and not standing.track:
            if not last or is_still(fix) or fix.mock:
                return []
            return passes((point_of(last), point_of(last), point(fix)), fix, set(), moment)
        standing.track, where = follow(standing.track, fix)
        if where.rule in ASIDE:
            return []
        ahead = _look(standing, where, layout, near=near)
    where = ahead.where
    still = is_still(fix)
    # What a subject's first fix of all finds began before anybody looked.
    first = standing.ranging is None and (not last or fix.at - newest_of(last) > STALE_S)
    quiet = first and layout.site.first_inside == "quiet"
    way = where.way
    if way is None and last:
        way = (point_of(last), point_of(last))
    # Who stands passes nothing: the fixes wander, not the phone.
    if still or where.standing >= STANDS or (way is not None and not may_pass(way, fix.at)):
        way = None
    before = bool(standing.presences)
    were = () if way is None else _present(standing)
    seen = _judge(standing, fix, ahead, layout)
    out: list[Transition] = []
    if before or seen:
        out, spoken_for = _see_all(standing, seen, moment, still=still, quiet=quiet)
        undrawn = {
            place
            for place, presence in standing.presences.items()
            if presence.fixed and place not in layout.index
        }
        # After their children, the deepest first: a venue that nothing draws follows its shops.
        for place in sorted(undrawn - spoken_for, key=lambda one: (-layout.depth(one), one)):
            observation = _childless(standing, fix, place, layout)
            out += _see(standing, observation, moment, still=still)[0]
    if way is not None:
        out += passes((*way, point(fix)), fix, {*were, *_present(standing)}, moment)
    if not ahead.near and not standing.presences:
        standing.track = b""
    return out


def _look(standing: Standing, where: Where, layout: Layout, *, near: bool) -> Followed:
    """Say how far a position is from the fences that hold it and those that its subject is in."""
    index = layout.index
    held = tuple(index.locate(where.lon, where.lat))
    distances = {place: index.distance(place, where.lon, where.lat, held=True) for place in held}
    for place in standing.presences:
        if place not in distances and place in index:
            distances[place] = index.distance(place, where.lon, where.lat, held=False)
    return Followed(standing.track, where, near, held, distances)


def _judge(
    standing: Standing, fix: Fix, followed: Followed, layout: Layout
) -> dict[str, Observation]:
    """Judge the fences that hold a position and those that its subject is in."""
    distances = followed.distances
    shut = _shut(fix, followed, layout) if followed.held else {}
    seen: dict[str, Observation] = {}
    for place, distance_m in distances.items():
        rules = layout.rules[place]
        fence = layout.fence(place)
        assert fence is not None
        judged_m = distance_m
        if shut and not fence.exclude:
            # Inside an excluded area means outside its venue's other fences, as deep as that.
            depths = [-shut[venue] for venue in (fence.venue, place) if venue in shut]
            judged_m = max([distance_m, *depths])
        known = standing.presences.get(place)
        within = known is not None and known.state is not State.ARRIVING
        seen[place] = judge(
            fix,
            fence,
            followed.where,
            judged_m,
            rules.depth_m,
            min_confidence=rules.min_confidence,
            margin_m=rules.exit_margin_m if within else 0.0,
        )
    return seen


def _shut(fix: Fix, followed: Followed, layout: Layout) -> dict[str | None, float]:
    """Give, for each venue, how deep the fix lies in one of its excluded areas (negative)."""
    shut: dict[str | None, float] = {}
    for place in followed.held:
        fence = layout.fence(place)
        assert fence is not None
        if not fence.exclude or fence.venue is None or not fits_level(fix, fence):
            continue
        rules = layout.rules[place]
        if rules.valid_from <= fix.at < rules.valid_until:
            shut[fence.venue] = min(shut.get(fence.venue, 0.0), followed.distances[place])
    return shut


def _childless(standing: Standing, fix: Fix, place: str, layout: Layout) -> Observation:
    """Judge a place that nothing draws: it is left once all its children are being left."""
    present = [
        child
        for child, presence in standing.presences.items()
        if presence.state is State.INSIDE and layout.rules[child].parent == place
    ]
    because: dict[str, Any] = {"rule": "children", "inside": len(present)}
    if present:
        return Observation(fix.subject, place, fix.at, "fix", "nothing", 0.0, because)
    return Observation(fix.subject, place, fix.at, "fix", "outside", 1.0, because)


def _present(standing: Standing) -> list[str]:
    """List the places that a subject is in."""
    return [
        place
        for place, presence in standing.presences.items()
        if presence.state is not State.ARRIVING
    ]


def robust_sighting(
    standing: Standing, sighting: Sighting, place: str, moment: Moment
) -> list[Transition]:
    """Judge a sighting by the registry's ranging and let its verdicts change presence."""
    ranging = standing.ranging
    if ranging is None:
        ranging = standing.ranging = Ranging()
    layout = moment.layout
    where = layout.where(sighting, place)
    reason = suspects.judge(ranging.watched, sighting, where, layout.site.rotating(sighting))
    ranging.quarantined = reason is not None
    if reason is not None:
        because = {"rule": "quarantined", "reason": reason}
        seen = Observation(moment.subject, place, sighting.at, "sighting", "nothing", 0.0, because)
        return _see_all(standing, {place: seen}, moment, still=False)[0]
    unheard_after_s = layout.rules[place].unheard_after_s
    verdicts = ranging.hear(layout.site, sighting, moment.subject, place, unheard_after_s)
    return _see_all(standing, {v.place: v for v in verdicts}, moment, still=False)[0]


def robust_stays(
    standing: Standing,
    fix: Fix,
    held: Held | None,  # noqa: ARG001 - rows of one table
    layout: Layout,
) -> bool:
    """Whether a fix far from every place changes nothing."""
    if standing.presences or standing.track or layout.near(fix.lon, fix.lat):
        return False
    if not standing.last or fix.mock:
        return True
    at, lon, lat, _ = point_of(standing.last)
    if not 0.0 < fix.at - at <= PASS_GAP_S:
        return True
    way, index = (lon, lat, fix.lon, fix.lat), layout.index
    return index.no_edge_between(*way) or not index.crossings(*way, ())


ROBUST = Decide(robust_fix, robust_sighting, robust_stays, timers=True, quiet=robust_quiet)
