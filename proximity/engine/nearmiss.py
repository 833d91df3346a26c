"""How near did a subject come to the places that it was never told to be in?

Judges the records that are still kept of one subject as ``robust`` would, but against the fences
near its way as well as those that hold it. Pure, and asked of one subject at a time: the engine's
own way from record to transition has no part in it and pays nothing for it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from proximity.engine import suspects
from proximity.engine.arbitration import SIGHTINGS_TO_ENTER, Ranging
from proximity.engine.layout import Layout
from proximity.engine.standing import Standing
from proximity.engine.tracking import OUTSIDE, OUTSIDE_SHARE, TWICE_SHARE, Where, follow, judge
from proximity.model import Fix, Sighting

# A near miss is told of what is no farther off than this: a block, or three times the error of a
# poor fix in a street. Whoever was farther away did not almost arrive.
NEAR_M = 150.0
# Records that are looked through, the newest: ten minutes at one a second, and more than an hour as
# phones in pockets send them. Some 15 ms of work.
MOST_RECORDS = 600
# Places that are told, the nearest first.
MOST_MISSES = 20


class NearMiss(msgspec.Struct, frozen=True, kw_only=True):
    """One place that a subject came near to; ``code`` names why that was no visit (``MISSES``).

    ``at`` (Unix seconds) is when it was nearest to being one; ``because`` the numbers of then,
    named as in the evidence of transitions.
    """

    place: str
    at: float
    code: str
    because: dict[str, Any]


class Recent(msgspec.Struct, frozen=True, kw_only=True):
    """What is still kept of a subject: which records, from when to when, and how near they came.

    Times are Unix seconds, None where nothing is kept. ``mock`` fixes said that they were made up,
    ``jumps`` were set aside because nobody travels like that.
    """

    first_at: float | None = None
    newest_at: float | None = None
    fixes: int = 0
    sightings: int = 0
    mock: int = 0
    jumps: int = 0
    misses: tuple[NearMiss, ...] = ()


MISSES = {
    "outside": "it was outside",
    "unsure": "it may have been inside, but no fix was sure enough",
    "once": "one unsure fix lay inside, and the next did not agree",
    "jump": "one fix lay inside, but so far off the way that it was set aside",
    "level": "it was above or below the place: another floor or altitude",
    "not_valid": "the fence was not in force then",
    "driving": "the place is for those on foot, and it drove",
    "too_quiet": "its beacon was heard, but not as loud as next to it",
    "too_few": "its beacon was heard too few times to count",
    "elsewhere": "its beacon was heard louder in another place",
    "quarantined": "what is heard under its beacon's identity cannot come from one beacon",
}
"""Why a near miss was no visit, by code, in words."""

_RANKS = {code: rank for rank, code in enumerate(MISSES)}
# What arbitration calls it, and which miss that is.
_BY_RULE = {"too quiet": "too_quiet", "too few": "too_few", "elsewhere": "elsewhere"}


def look(
    subject: str,
    records: Iterable[Fix | Sighting],
    layout: Layout,
    start: Standing | None = None,
) -> Recent:
    """Look through a subject's records, in order of time; ``start`` is where it stood before them.

    Nothing that is given is changed.
    """
    looking = _Looking(subject, layout, Standing() if start is None else start)
    for record in records:
        looking.take(record)
    return looking.told()


class _Looking:
    """What was seen so far: counts, and for each place and feed the nearest to a visit."""

    def __init__(self, subject: str, layout: Layout, start: Standing) -> None:
        self._subject = subject
        self._layout = layout
        self._track = start.track
        self._ranging = Ranging() if start.ranging is None else start.ranging.copy()
        self._best: dict[tuple[str, str], tuple[tuple[float, ...], NearMiss]] = {}
        self._times: list[float] = []
        self._counts = dict.fromkeys(("fixes", "sightings", "mock", "jumps"), 0)

    def take(self, record: Fix | Sighting) -> None:
        """Take the next record."""
        self._times.append(record.at)
        if isinstance(record, Fix):
            self._counts["fixes"] += 1
            self._take_fix(record)
        else:
            self._counts["sightings"] += 1
            self._take_sighting(record)

    def told(self) -> Recent:
        """Say what was seen."""
        nearest = sorted(self._best.values(), key=lambda one: (one[0], one[1].place))
        return Recent(
            first_at=min(self._times, default=None),
            newest_at=max(self._times, default=None),
            misses=tuple(miss for _, miss in nearest[:MOST_MISSES]),
            **self._counts,
        )

    def _take_fix(self, fix: Fix) -> None:
        if fix.mock:
            self._counts["mock"] += 1
            return
        near = self._layout.near(fix.lon, fix.lat)
        if not near and not self._track:
            return
        self._track, where = follow(self._track, fix)
        if where.rule == "jump":
            self._counts["jumps"] += 1
            for place, distance_m in self._layout.index.within(fix.lon, fix.lat, 0.0):
                told = {"distance_m": round(distance_m, 1), "accuracy_m": fix.accuracy_m}
                self._keep((0.5, distance_m), "fix", place, fix.at, "jump", told)
        elif where.rule != "again":
            for place, distance_m in self._layout.index.within(where.lon, where.lat, NEAR_M):
                self._miss_by_fix(fix, where, place, distance_m)
        if not near:
            self._track = b""

    def _miss_by_fix(self, fix: Fix, where: Where, place: str, distance_m: float) -> None:
        layout = self._layout
        fence, rules = layout.fence(place), layout.rules[place]
        if fence is None or fence.exclude:
            return
        sure = rules.min_confidence
        seen = judge(fix, fence, where, distance_m, rules.depth_m, min_confidence=sure)
        chance = seen.because.get("inside", 0.0)
        if seen.because["rule"] == "level":
            # Beside a place one is not above it: what matters is where the fix lies.
            code = "level" if distance_m <= 0.0 else "outside"
        elif seen.says == "outside" or chance < min(OUTSIDE, OUTSIDE_SHARE * sure):
            code = "outside"
        elif not rules.valid_from <= fix.at < rules.valid_until:
            code = "not_valid"
        elif seen.says == "nothing":
            code = "driving"
        else:
            code = "once" if chance >= TWICE_SHARE * sure else "unsure"
        because = {
            "distance_m": round(distance_m, 1),
            "accuracy_m": fix.accuracy_m,
            "sd_m": round(where.sd_m, 1),
            "inside": round(chance, 3),
            "needed": sure,
        }
        if code == "level":
            because |= {"floor": fix.floor, "altitude_m": fix.altitude_m}
        # Whoever was clearly outside was nearest where the edge was; else where it was likeliest.
        rank = (1.0, distance_m) if code == "outside" else (0.0, -chance)
        self._keep(rank, "fix", place, fix.at, code, because)

    def _take_sighting(self, sighting: Sighting) -> None:
        site = self._layout.site
        whose = site.who(sighting)
        if whose is None or not sighting.measured:
            return
        place, ranging = whose[1], self._ranging
        where = self._layout.where(sighting, place)
        doubt = suspects.judge(ranging.watched, sighting, where, site.rotating(sighting))
        if doubt is not None:
            told = {"rssi_dbm": float(sighting.rssi_dbm), "reason": doubt}
            self._keep((1.0, 0.0, 0.0), "sighting", place, sighting.at, "quarantined", told)
            return
        silence_s = self._layout.rules[place].unheard_after_s
        for seen in ranging.hear(site, sighting, self._subject, place, silence_s):
            code = _BY_RULE.get(seen.because.get("rule", ""))
            if code is None or seen.says != "nothing":
                continue
            because = dict(seen.because)
            if code == "too_few":
                because["needed"] = SIGHTINGS_TO_ENTER
            elif code == "elsewhere":
                because["to"] = ranging.place
            level = float(seen.because.get("level_dbm", sighting.rssi_dbm))
            rank = (1.0, -level, -float(seen.because.get("sightings", 0)))
            self._keep(rank, "sighting", seen.place, seen.at, code, because)

    def _keep(
        self, rank: tuple[float, ...], feed: str, place: str, at: float, code: str,
        because: dict[str, Any],
    ) -> None:  # fmt: skip
        """Keep what is nearer to a visit than what was seen of this place before."""
        known = self._best.get((place, feed))
        if known is None or (rank, _RANKS[code]) < (known[0], _RANKS[known[1].code]):
            miss = NearMiss(place=place, at=at, code=code, because=because)
            self._best[place, feed] = rank, miss
