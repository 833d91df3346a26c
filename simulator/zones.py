"""How often is a rule for beacons right about the zone, how soon, and how often does it waver?

Runs the real engine, or a peer's rule, over what receivers heard, and counts against the truth.
Every rule is judged by what it had decided at each moment, never by what it knew later. Knows no
file and no table.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from geofences import FenceIndex
from proximity.engine.engine import Engine
from simulator.baselines import BEACON_RULES, of_sightings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from beacon_gateway.model import Sighting
    from proximity.model import Transition
    from proximity.site.registry import Site
    from simulator.heard import Track
    from simulator.tags import Still, WalkBy

    Decided = Callable[[Site, Sequence[Sighting]], list[Transition]]

__all__ = ["OURS", "RULES", "Lain", "Passed", "Pool", "Score", "lain", "pool", "score", "walked"]

OURS = "ours"

BATCH = 4096
"""Sightings handed to the engine at once; what it decides does not depend on it."""
DRAWS = 1000
"""Times that tracks are drawn anew for an interval of 95 %."""
LATE_S = 5.0
"""Who is found later than this after leaving the zone was not found while walking by."""


def ours(site: Site, sightings: Sequence[Sighting]) -> list[Transition]:
    """Run the real engine, as it comes."""
    engine = Engine(FenceIndex([]), site)
    out: list[Transition] = []
    for start in range(0, len(sightings), BATCH):
        out += engine.on_sightings(sightings[start : start + BATCH])
    return out


def _peer(number: int) -> Decided:
    rule = BEACON_RULES[number]
    return lambda site, sightings: of_sightings(rule, sightings, site)


RULES: dict[str, Decided] = {
    OURS: ours,
    **{rule.name: _peer(number) for number, rule in enumerate(BEACON_RULES)},
}
"""Our engine and the peers' rules, all asked the same."""


def stays(rule: str, site: Site, sightings: Sequence[Sighting]) -> dict[str, list[_Stay]]:
    """Let a rule decide: for each subject when it was told to be where, in order of decision.

    What is decided after the last sighting is left out: a recording that ends is no silence.
    """
    end = max((one.at for one in sightings), default=-math.inf)
    told: dict[str, list[_Stay]] = {}
    for change in RULES[rule](site, sightings):
        if change.kind not in {"enter", "exit"} or change.decided_at > end:
            continue
        mine = told.setdefault(change.subject, [])
        if change.kind == "enter":
            mine.append((change.decided_at, change.place))
        elif mine and mine[-1][1] == change.place:
            mine.append((change.decided_at, None))
    return told


_Stay = tuple[float, "str | None"]


def _entered(told: Sequence[_Stay]) -> list[tuple[float, str]]:
    """Give the enters after the first: what a rule calls a change of place."""
    return [(at, place) for at, place in told if place is not None][1:]


@dataclass(frozen=True)
class Score:
    """What one rule made of one track.

    ``right`` of ``looked`` ticks clear of every border; ``changes`` announced, ``true`` ones,
    ``matched`` of them in time; ``delays_s`` from each true change until the rule said so, or until
    the next true change where it never did.
    """

    right: int
    looked: int
    changes: int
    true: int
    matched: int
    delays_s: tuple[float, ...]


def score(track: Track, rule: str) -> Score:
    """Judge a rule on one track."""
    told = stays(rule, track.site, track.sightings).get(track.subject, [])
    said = _said(told, [at for at, *_ in track.ticks])
    right = looked = 0
    for (_, place, clear), now in zip(track.ticks, said, strict=True):
        looked += clear
        right += clear and now == place
    changes = _entered(told)
    taken: set[int] = set()
    delays = []
    for number, true in enumerate(track.crossings):
        found = (
            n
            for n, (at, place) in enumerate(changes)
            if n not in taken and place == true.place and true.begin <= at <= true.end
        )
        taken |= {n for n in [next(found, None)] if n is not None}
        later = track.crossings[number + 1 :]
        end = later[0].at if later else track.ticks[-1][0]
        soon = (
            at
            for (at, *_), now in zip(track.ticks, said, strict=True)
            if true.at <= at < end and now == true.place
        )
        delays.append(next(soon, end) - true.at)
    return Score(right, looked, len(changes), len(track.crossings), len(taken), tuple(delays))


def _said(told: Sequence[_Stay], ticks: Iterable[float]) -> list[str | None]:
    """Say where a rule held the subject to be at each tick."""
    said: list[str | None] = []
    number, now = 0, None
    for tick in ticks:
        while number < len(told) and told[number][0] <= tick:
            now = told[number][1]
            number += 1
        said.append(now)
    return said


@dataclass(frozen=True)
class Pool:
    """Scores of several tracks, added up."""

    scores: Sequence[Score]

    @property
    def accuracy(self) -> float:
        """The part of the clear ticks at which the rule was right."""
        return _share(self.scores)

    @property
    def flips(self) -> float:
        """Changes announced for each true one."""
        return sum(s.changes for s in self.scores) / max(1, sum(s.true for s in self.scores))

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall of the changes."""
        both = sum(s.changes + s.true for s in self.scores)
        return 2.0 * sum(s.matched for s in self.scores) / both if both else 1.0

    def delay(self, share: float) -> float:
        """Give a quantile of the delays, seconds."""
        return float(np.quantile([d for s in self.scores for d in s.delays_s], share))

    def accuracy_interval(self) -> tuple[float, float]:
        """Give the middle 95 % of the accuracy when the tracks are drawn anew."""
        rng = np.random.default_rng(len(self.scores))
        picks = rng.integers(0, len(self.scores), (DRAWS, len(self.scores)))
        drawn = [_share([self.scores[n] for n in pick]) for pick in picks.tolist()]
        # Tracks without a clear tick say nothing, also when they are drawn alone.
        low, high = np.nanquantile(drawn, (0.025, 0.975))
        return float(low), float(high)


def _share(scores: Sequence[Score]) -> float:
    looked = sum(s.looked for s in scores)
    return sum(s.right for s in scores) / looked if looked else math.nan


def pool(tracks: Iterable[Track], rule: str) -> Pool:
    """Judge a rule on several tracks."""
    return Pool([score(track, rule) for track in tracks])


@dataclass(frozen=True)
class Lain:
    """What a rule made of a tag that never moved: ``changes`` are all false."""

    tag: Still
    changes: int


def lain(site: Site, sightings: Sequence[Sighting], tags: Sequence[Still], rule: str) -> list[Lain]:
    """Count the changes of tags that lie still: each enter after the first."""
    told = stays(rule, site, sightings)
    return [Lain(one, len(_entered(told.get(one.subject, [])))) for one in tags]


@dataclass(frozen=True)
class Passed:
    """Of ``ways`` past a receiver how many were found; ``delays_s`` from the zone's edge."""

    off_m: float
    ways: int
    found: int
    delays_s: tuple[float, ...]


def walked(
    site: Site, sightings: Sequence[Sighting], who: Sequence[WalkBy], rule: str = OURS
) -> Passed:
    """Count who was found by the end of their way through the zone, and how soon."""
    told = stays(rule, site, sightings)
    delays = []
    for one in who:
        enters = [at for at, place in told.get(one.subject, []) if place is not None]
        if enters and enters[0] <= one.leaves + LATE_S:
            delays.append(enters[0] - one.enters)
    return Passed(who[0].off_m, len(who), len(delays), tuple(delays))
