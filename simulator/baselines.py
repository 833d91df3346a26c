"""What would simpler rules, those of the peers, make of the same records?

Each rule is a row: which fixes it keeps, on which side of an edge a fix is, how many must agree; or
how a beacon's levels are smoothed. ``of_fixes`` and ``of_sightings`` run one and give transitions
in the engine's form. Rules take records in the order of arrival and drop what is older than what
they have, as the peers do; none has a timer but the silence of beacons.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING

from geofences.geodesy import metres_between
from proximity.model import Fix, Sighting, Transition
from simulator.sources import arrival

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from geofences import FenceIndex
    from proximity.site.registry import Site

__all__ = [
    "BEACON_RULES", "FIX_RULES", "BeaconRule", "FixRule", "Near", "near", "of_fixes",
    "of_sightings",
]  # fmt: skip

Near = dict[str, float]
"""Signed edge distances in metres by place, of the places that a fix may concern."""

WORST_M = 1000.0
"""No rule looks further than this, whatever a fix says of its accuracy."""
TRACCAR_ACCURACY_M = 50.0
"""Traccar's filter by accuracy, as one sets it for shops; a fix that tells none stays."""
TRACCAR_SPEED_MPS = 30.0
"""Traccar's filter by speed from the last position kept: 108 km/h, what a town's traffic needs."""
UNKNOWN_M = 20.0
"""What Tracelet takes an unknown accuracy for."""
MOST_MARGIN_M = 20.0
"""The most that Tracelet asks for beyond the accuracy before somebody has left."""
EWMA = 0.3
"""Weight of the newest level in habluetooth's smoothing."""
HEARD_WITHIN_S = 5.0
"""Levels older than this take no part; as ``--decide point`` has it."""
MAX_WITHIN_S = 3.0
"""The window of the moving maximum that did best on recorded tracks."""
UNHEARD_S = 30.0
"""Whoever is unheard so long has left: the default that sites have."""


def _all(fix: Fix, last: Fix | None) -> bool:
    del fix, last
    return True


def _traccar(fix: Fix, last: Fix | None) -> bool:
    if fix.accuracy_m is not None and fix.accuracy_m > TRACCAR_ACCURACY_M:
        return False
    if last is None:
        return True
    metres = metres_between(last.lon, last.lat, fix.lon, fix.lat)
    return metres <= TRACCAR_SPEED_MPS * (fix.at - last.at)


def _tracelet(distance_m: float, accuracy_m: float) -> bool | None:
    if distance_m <= 0.0:
        return True
    accuracy_m = accuracy_m or UNKNOWN_M
    clear_m = accuracy_m + min(max(accuracy_m, 3.0), MOST_MARGIN_M)
    return False if distance_m > clear_m else None


def _side(distance_m: float, accuracy_m: float) -> bool | None:
    del accuracy_m
    return distance_m <= 0.0


@dataclass(frozen=True)
class FixRule:
    """A rule for fixes: ``says`` of distance and accuracy (metres; 0: unknown) whether inside.

    None is no answer, and changes nothing. ``keeps`` says whether a fix is taken at all, given the
    last that was; ``agree`` how many fixes in a row must say that one is in, and that one is out.
    """

    name: str
    what: str
    says: Callable[[float, float], bool | None] = _side
    keeps: Callable[[Fix, Fix | None], bool] = _all
    agree: tuple[int, int] = (1, 1)


FIX_RULES = (
    FixRule("point", "inside when the fix lies inside"),
    FixRule("overlap", "inside when distance < accuracy", lambda d, a: d <= 0.0 or d < a),
    FixRule("contain", "inside when the whole circle lies inside", lambda d, a: d <= -a),
    FixRule(
        "contain, disjoint",
        "in when the whole circle lies inside, out when all of it lies outside",
        lambda d, a: True if d <= -a else False if d > a else None,
    ),
    FixRule("two fixes", "two fixes in a row must agree", agree=(2, 2)),
    FixRule(
        "filtered",
        f"Traccar's filters (accuracy {TRACCAR_ACCURACY_M:g} m, speed {TRACCAR_SPEED_MPS:g} m/s), "
        "then point",
        keeps=_traccar,
    ),
    FixRule(
        "clearance",
        "Tracelet's: in by the side, out when two fixes are clear by more than their accuracy",
        says=_tracelet,
        agree=(1, 2),
    ),
)
"""The peers' rules for fixes."""


def near(fixes: Sequence[Fix], index: FenceIndex) -> list[tuple[Fix, Near]]:
    """Say of each fix which places it may concern: those that any rule calls near."""
    if not fixes:
        return []
    found: list[tuple[Fix, Near]] = [(fix, {}) for fix in fixes]
    ids = index.ids
    points, fences, metres = index.pairs_within(
        [fix.lon for fix in fixes],
        [fix.lat for fix in fixes],
        [min((fix.accuracy_m or UNKNOWN_M) + MOST_MARGIN_M, WORST_M) for fix in fixes],
    )
    for point, fence, distance in zip(
        points.tolist(), fences.tolist(), metres.tolist(), strict=True
    ):
        found[point][1][ids[fence]] = distance
    return found


@dataclass
class _Stay:
    """One subject at one place, as a rule sees it."""

    inside: bool = False
    visit: str = ""
    agreeing: int = 0
    since: float = 0.0


def of_fixes(rule: FixRule, fixes: Sequence[tuple[Fix, Near]]) -> list[Transition]:
    """Run a rule over the fixes of one subject in order of arrival, each with what is ``near``."""
    last: Fix | None = None
    stays: dict[str, _Stay] = {}
    out: list[Transition] = []
    for fix, distances in fixes:
        if last is not None and fix.at <= last.at:
            continue
        if not rule.keeps(fix, last):
            continue
        last = fix
        accuracy = fix.accuracy_m or 0.0
        for place in sorted(distances.keys() | stays.keys()):
            says = rule.says(distances.get(place, inf), accuracy)
            stay = stays.get(place)
            if stay is None:
                if not says:
                    continue
                stay = stays[place] = _Stay()
            if says is None or says is stay.inside:
                stay.agreeing = 0
                if not stay.inside:
                    del stays[place]
                continue
            if stay.agreeing == 0:
                stay.since = fix.at
            stay.agreeing += 1
            if stay.agreeing >= rule.agree[stay.inside]:
                out.append(_change(stay, fix.subject, place, stay.since, arrival(fix), rule.name))
                if not stay.inside:
                    del stays[place]
    return out


def _change(
    stay: _Stay, subject: str, place: str, at: float, decided_at: float, rule: str
) -> Transition:
    """Turn a stay round and write what changed."""
    stay.inside, stay.agreeing = not stay.inside, 0
    if stay.inside:
        stay.visit = f"{subject}/{place}/{at:.3f}"
    return Transition(
        kind="enter" if stay.inside else "exit",
        subject=subject,
        place=place,
        visit=stay.visit,
        at=at,
        decided_at=max(decided_at, at),
        because={"rule": rule},
        reason=None if stay.inside else "left",
    )


Smooth = Callable[[deque[tuple[float, float]], float], float]
"""Gives a level in dBm from the (second, level) pairs heard so far and the last smoothed level."""


@dataclass(frozen=True)
class BeaconRule:
    """A rule for sightings: how levels of one link are smoothed, over how many seconds."""

    name: str
    what: str
    within_s: float
    smooth: Smooth


BEACON_RULES = (
    BeaconRule("loudest", "where the last sightings are loudest", HEARD_WITHIN_S,
               lambda heard, _: heard[-1][1]),
    BeaconRule("EWMA", f"the same, smoothed exponentially with {EWMA:g}", HEARD_WITHIN_S,
               lambda heard, last: last + EWMA * (heard[-1][1] - last)),
    BeaconRule("max of 3 s", "the same, by the loudest of three seconds", MAX_WITHIN_S,
               lambda heard, _: max(level for _, level in heard)),
)  # fmt: skip
"""The peers' rules for sightings."""


@dataclass
class _Link:
    """One receiver of one subject; ``near_dbm`` None where its place competes with others."""

    place: str
    near_dbm: float | None
    heard: deque[tuple[float, float]] = field(default_factory=deque)
    level: float = -inf


def of_sightings(rule: BeaconRule, sightings: Iterable[Sighting], site: Site) -> list[Transition]:
    """Run a rule over sightings in order of arrival, all subjects of a site.

    Where places compete the subject is in the loudest; a place with ``near_dbm`` holds whoever is
    heard louder. Whoever is unheard for ``UNHEARD_S`` left when last heard.
    """
    links: dict[str, dict[tuple[str, str | None], _Link]] = {}
    stays: dict[str, dict[str, _Stay]] = {}
    heard_at: dict[tuple[str, str], float] = {}
    out: list[Transition] = []

    def turn(subject: str, place: str, at: float, decided_at: float) -> None:
        stay = stays[subject].pop(place, None) or _Stay()
        out.append(_change(stay, subject, place, at, decided_at, rule.name))
        if stay.inside:
            stays[subject][place] = stay

    def silence(now: float) -> None:
        for subject, known in stays.items():
            for place in sorted(known):
                last = heard_at[subject, place]
                if now >= last + UNHEARD_S:
                    turn(subject, place, last, last + UNHEARD_S)

    now = 0.0
    for sighting in sightings:
        now = max(now, arrival(sighting))
        silence(now)
        whose = site.who(sighting)
        if whose is None or not sighting.measured:
            continue
        subject, place = whose
        fixed = sighting.beacon if sighting.gateway is None else None
        known = links.setdefault(subject, {})
        fresh = _Link(place, site.near_dbm(place, fixed))
        link = known.setdefault((place, sighting.gateway), fresh)
        level = site.level_dbm(sighting)
        link.heard.append((sighting.at, level))
        while link.heard[0][0] < sighting.at - rule.within_s:
            link.heard.popleft()
        link.level = rule.smooth(link.heard, level if link is fresh else link.level)
        heard_at[subject, place] = sighting.at
        inside, outside = _sides(known.values(), sighting.at)
        present = stays.setdefault(subject, {}).keys()
        for other in sorted(outside & present):
            turn(subject, other, sighting.at, now)
        for other in sorted(inside - present):
            turn(subject, other, sighting.at, now)
    silence(inf)
    return out


def _sides(links: Iterable[_Link], at: float) -> tuple[set[str], set[str]]:
    """Say in which places a subject is by what was heard of late, and in which it is not."""
    inside: set[str] = set()
    outside: set[str] = set()
    loudest: tuple[float, str] | None = None
    for link in links:
        live = link.heard[-1][0] >= at - HEARD_WITHIN_S
        if link.near_dbm is None:
            outside.add(link.place)
            if live and (loudest is None or link.level > loudest[0]):
                loudest = link.level, link.place
        elif live:
            (inside if link.level >= link.near_dbm else outside).add(link.place)
    if loudest is not None:
        inside.add(loudest[1])
    return inside, outside - inside
