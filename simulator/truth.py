"""Where was somebody truly, and since when? Transitions from the exact path alone.

The path is looked at every metre, and each change between two looks is then found to the
millisecond by halving. What a fence is goes by the same index as everywhere; floors, validity,
excluded areas and parents are judged on spells of time. Knows no fixes and no engine.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from proximity.model import digest, format_time

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geofences import FenceIndex
    from proximity.site.registry import Site
    from simulator.walk import Track

__all__ = ["Spell", "Truth", "between", "common", "joined", "without"]

LOOK_M = 1.0
"""A corner cut by less than this is nobody's visit."""
EXACT_S = 0.0005
"""Times are written to the millisecond."""
PASS_S = 120.0
"""The longest way through a place that, unseen, is a pass: what the engine would bridge."""
MOST_LOOKS = 2_000_000
"""Looks at one path: two thousand kilometres."""

Spell = tuple[float, float]
"""A stretch of time: from, to."""


@dataclass(frozen=True)
class Truth:
    """What is where, as far as truth goes.

    ``fences`` and ``areas`` (zones that no fence draws) tell what holds a point; ``site`` says
    which zone is in which. ``start`` is the Unix second of second 0.
    """

    fences: FenceIndex
    areas: FenceIndex
    site: Site
    start: float = 0.0

    def visits(self, track: Track) -> dict[str, list[Spell]]:
        """Give the spells, in seconds of the track, that it truly spends in each place."""
        drawn: dict[str, list[Spell]] = {}
        floors = _floors(track)
        for index in (self.areas, self.fences):
            for place, found in between(track, index).items():
                fence = index.get(place)
                assert fence is not None
                spells = found
                if fence.floor is not None:
                    spells = common(spells, floors(fence.floor))
                if fence.valid_from is not None or fence.valid_until is not None:
                    since = -math.inf if fence.valid_from is None else fence.valid_from
                    until = math.inf if fence.valid_until is None else fence.valid_until
                    spells = common(spells, [(since - self.start, until - self.start)])
                drawn[place] = joined(drawn.get(place, []), spells)
        for place, venue in self._excluded(drawn):
            for other in list(drawn):
                fence = self.fences.get(other)
                same = fence is not None and not fence.exclude and fence.venue == venue
                if same or other == venue:
                    drawn[other] = without(drawn[other], drawn[place])
        for place in sorted(drawn, key=lambda one: (-len(self._above(one)), one)):
            for parent in self._above(place)[:1]:
                # Over the edge that two children share nobody leaves their parent.
                drawn[parent] = joined(drawn.get(parent, []), drawn[place], 4.0 * EXACT_S)
        return {place: spells for place, spells in sorted(drawn.items()) if spells}

    def with_above(self, places: Iterable[str]) -> set[str]:
        """Give places and all that they are in."""
        found = set(places)
        return found.union(*(self._above(place) for place in found))

    def transitions(
        self, track: Track, subject: str, places: set[str] | None, seen: NDArray[np.float64]
    ) -> Iterator[dict[str, Any]]:
        """Give what truly happened to ``subject``, as records of ``truth.jsonl``, in any order.

        ``places`` bounds it to some, None to none; ``seen`` are the rising seconds at which the
        subject was reported. A way through a place between two reports, of up to ``PASS_S``, is a
        ``pass``, with ``exit_at`` as its end: nobody was ever seen there.
        """
        for place, spells in self.visits(track).items():
            if places is not None and place not in places:
                continue
            for begins, ends in spells:
                reports = np.searchsorted(seen, ends, "right") - np.searchsorted(seen, begins)
                came, left = begins > track.starts_s, ends < track.ends_s
                visit = digest("truth", subject, place, round(begins, 3))
                about = {"subject": subject, "place": place, "visit": visit}
                if came and left and not reports and ends - begins <= PASS_S:
                    ends_at = self.start + ends
                    yield {"kind": "pass", **about, "at": self.start + begins, "exit_at": ends_at}
                    continue
                yield {"kind": "enter", **about, "at": self.start + begins}
                for dwell_s in self._dwells(place):
                    if begins + dwell_s < ends:
                        at = self.start + begins + dwell_s
                        yield {"kind": "dwell", **about, "at": at, "dwell_s": dwell_s}
                if left:
                    reason = self._reason(place, self.start + ends)
                    yield {"kind": "exit", **about, "at": self.start + ends, "reason": reason}

    def _reason(self, place: str, at: float) -> str:
        fence = self.fences.get(place)
        until = None if fence is None else fence.valid_until
        return "fence-expired" if until is not None and abs(at - until) < EXACT_S else "left"

    def _dwells(self, place: str) -> list[float]:
        fence, zone = self.fences.get(place), self.site.places.get(place)
        own = () if fence is None else fence.dwell_s
        return sorted({*own, *(() if zone is None else zone.dwell_s)})

    def _excluded(self, drawn: dict[str, list[Spell]]) -> list[tuple[str, str]]:
        """Give the excluded areas on the path, each with its venue."""
        fences = ((place, self.fences.get(place)) for place in drawn)
        return [(place, one.venue) for place, one in fences if one and one.exclude and one.venue]

    def _above(self, place: str) -> list[str]:
        """Give the places around a place, the nearest first; being in it is being in them."""
        found: list[str] = []
        while place not in found[:-1]:
            zone, fence = self.site.places.get(place), self.fences.get(place)
            above = None if zone is None else zone.parent
            if above is None and fence is not None and not fence.exclude:
                above = fence.venue
            if above is None or (above not in self.site.named and above not in self.fences):
                break
            found.append(above)
            place = above
        return found


def format_truth(records: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sort records as contract 6 orders them within one instant, and write their times."""
    order = {"exit": 0, "enter": 1, "dwell": 2, "pass": 3}
    ordered = sorted(
        records,
        key=lambda one: (one["at"], one["subject"], order[one["kind"]], one["place"]),
    )
    times = ("at", "exit_at")
    return [
        {key: format_time(value) if key in times else value for key, value in one.items()}
        for one in ordered
    ]


def between(track: Track, index: FenceIndex) -> dict[str, list[Spell]]:
    """Give the spells that a track spends in each fence of ``index``: by its shape alone."""
    if not len(index):
        return {}
    looks = _looks(track)
    points, held = index.locate_many(*track.at(looks))
    ids = index.ids
    spells: dict[str, list[Spell]] = {}
    order = np.lexsort((points, held))
    points, held = points[order], held[order]
    # Runs of looks, one after the other, within one fence: the borders of each run are sought.
    breaks = np.flatnonzero((np.diff(held) != 0) | (np.diff(points) != 1)) + 1
    firsts = np.concatenate(([0], breaks)) if len(held) else np.empty(0, np.int64)
    lasts = np.concatenate((breaks, [len(held)])) - 1 if len(held) else firsts
    fences, first, last = held[firsts], points[firsts], points[lasts]
    begins = _border(track, index, fences, looks[np.maximum(first - 1, 0)], looks[first])
    after = np.minimum(last + 1, len(looks) - 1)
    ends = _border(track, index, fences, looks[after], looks[last])
    for fence, begin, end in zip(fences.tolist(), begins.tolist(), ends.tolist(), strict=True):
        spells.setdefault(ids[fence], []).append((begin, end))
    return {place: joined([], found) for place, found in spells.items()}


def _looks(track: Track) -> NDArray[np.float64]:
    """Choose the seconds at which to look: every point, and every metre between."""
    ends = track.seconds
    if len(ends) < 2:
        return ends
    metres = track.speeds() * np.diff(ends)
    number = np.maximum(1, np.ceil(metres / LOOK_M)).astype(np.int64)
    if (total := int(number.sum())) > MOST_LOOKS:
        # A journey across a continent is looked at less often: its fences are not doorways.
        number = np.maximum(1, number // math.ceil(total / MOST_LOOKS))
    legs = np.repeat(np.arange(len(number)), number)
    step = np.arange(len(legs)) - np.repeat(np.cumsum(number) - number, number)
    looks = ends[legs] + step / number[legs] * np.diff(ends)[legs]
    return np.append(looks, ends[-1])


def _border(
    track: Track,
    index: FenceIndex,
    fences: NDArray[np.int64],
    outside: NDArray[np.float64],
    inside: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Find when the path crosses each fence's edge, between a second outside and one inside."""
    outside, inside = outside.copy(), inside.copy()
    while len(fences) and float(np.abs(outside - inside).max()) > EXACT_S:
        middle = (outside + inside) / 2.0
        points, held = index.locate_many(*track.at(middle))
        hit = np.zeros(len(fences), np.bool_)
        hit[points[held == fences[points]]] = True
        inside = np.where(hit, middle, inside)
        outside = np.where(hit, outside, middle)
    return inside


def _floors(track: Track) -> Callable[[float], Sequence[Spell]]:
    """Give a function: when could the walker be on a floor? Where none is told, always."""

    def on(floor: float) -> list[Spell]:
        if track.floors is None:
            return [(-math.inf, math.inf)]
        ends = np.append(track.seconds[1:], math.inf)
        here = np.isnan(track.floors) | (track.floors == floor)
        return joined([], list(zip(track.seconds[here].tolist(), ends[here].tolist(), strict=True)))

    return on


def joined(one: Sequence[Spell], other: Sequence[Spell], within_s: float = 0.0) -> list[Spell]:
    """Give the time in either, as spells more than ``within_s`` apart, in order."""
    found: list[Spell] = []
    for begins, ends in sorted((*one, *other)):
        if found and begins <= found[-1][1] + within_s:
            found[-1] = found[-1][0], max(found[-1][1], ends)
        else:
            found.append((begins, ends))
    return found


def common(one: Sequence[Spell], other: Sequence[Spell]) -> list[Spell]:
    """Give the time in both."""
    pairs = ((max(a, c), min(b, d)) for a, b in one for c, d in other)
    return joined([], [(begins, ends) for begins, ends in pairs if begins < ends])


def without(one: Sequence[Spell], other: Sequence[Spell]) -> list[Spell]:
    """Give the time in the first and not in the second."""
    edges = [-math.inf, *(edge for spell in joined([], other) for edge in spell), math.inf]
    return common(one, list(zip(edges[::2], edges[1::2], strict=True)))
