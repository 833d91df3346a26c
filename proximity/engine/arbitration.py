"""The question: in which of the places where a beacon is heard is its carrier.

Decibels to observations: levels by receiver, places that compete or have a calibrated level. It
must not know presence, timers' effects or fences; it does no I/O.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import msgspec

from beacon_gateway.ranging import FLOOR_DBM, STALE_INTERVALS, Level, blend, kalman, usual
from proximity.engine.suspects import Watched, copied
from proximity.model import Observation, Says, Sighting
from proximity.site.registry import EXIT_AFTER_S, Site, spell

# Fewer sightings of a place, the one at hand included, are one lucky reflection, not an arrival.
SIGHTINGS_TO_ENTER = 3
# Still there while no quieter than this below `near_dbm`. Of 200 tags lying still 1.6 dB or more
# above it, release at 4 dB lost two; at 6 dB none, and no exit came late.
NEAR_RELEASE_DB = 6.0
# Receivers send what they heard in batches, each its own, and one alone knows little: where other
# places may hear a carrier too, nothing is decided before one and a half of the time that records
# lately took to arrive has passed since it was first heard, and no longer than this.
ALL_SENT_S = 1.5
SENT_TIMES = 1.5
SENT_FADES = 0.98
# Nor before all places that have begun to hear a carrier have had their say (enough sightings), but
# no longer than this after each began: the loudest may be the slowest.
SAY_S = 3.0
# A challenger must be louder than the place it takes a carrier from, by this dead band ...
LOUDER_DB = 1.0
# ... and must have come nearer: its own rise over its slow level, and half of what the old place
# has fallen (no more than the rise: a body lowers a level, but only coming nearer raises one),
# together so many standard errors of the two levels. So a tag that reports seldom, or is heard by
# one receiver alone, needs more decibels than one that three hear ten times a second: the same
# number gives 3 dB at the door of the recordings, 5 in their hall, and 9 for one report a second.
NEARER_SIGMA = 2.25
FALL_COUNTS = 0.5
RISEN_OVER_S = 15.0
# Or its mean since the last change is this much above: mends a wrong start within seconds, which
# else could last for ever; and the longer a tag has been where it is, the longer this takes.
STEADY_DB = 3.5
STEADY_AFTER_S = 3.0
STEADY_OVER_S = 75.0
# Or is heard while the old place has not been for so long: its silence need not end the visit
# first where that takes minutes. Scanners rest for 5 s, and bodies hide a tag for some 10.
UNHEARD_S = 20.0
# Competing places are compared at most this often: often enough at walking pace.
JUDGE_EVERY_S = 0.25
# The spread of a difference of two levels; says how sure a margin is.
MARGIN_SPREAD_DB = 6.0
# Point mode looks back this far (contract 1).
LOUDEST_WITHIN_S = 5.0
# What one subject may make the engine remember; the links that were silent longest go first.
MAX_LINKS = 64
FORGET_AFTER_S = 600.0


class Zone(msgspec.Struct, array_like=True, gc=False):
    """What is remembered of one place for one subject; times are Unix seconds, levels dBm.

    ``heard`` instants of sightings since the place was last silent for long (what several
    gateways hear at one instant is one packet), the first of them at ``first``, the newest at
    ``last``, ``interval_s`` the usual time between them; ``inside_at`` when its ``near_dbm`` last
    held. ``slow`` is the level over RISEN_OVER_S after ``judged`` judgements, the newest of which
    was at ``judged_at``; ``mean`` the level since the subject last changed places, ``meant``
    judgements ago. A silence of ``exit_after_s`` seconds ends a visit.
    """

    heard: int = 0
    first: float = -math.inf
    last: float = -math.inf
    interval_s: float = 0.0
    inside_at: float = -math.inf
    slow: float = FLOOR_DBM
    mean: float = FLOOR_DBM
    judged: int = 0
    meant: int = 0
    judged_at: float = -math.inf
    exit_after_s: float = EXIT_AFTER_S

    def hear(self, at: float, exit_after_s: float) -> None:
        """Count a sighting; after a silence that ends a visit the count starts anew."""
        if at > self.last:
            if at - self.last >= self.exit_after_s:
                self.heard = 0
            self.interval_s = usual(self.interval_s, at - self.last)
            if not self.heard:
                self.first = at
            self.heard += 1
            self.last = at
        self.exit_after_s = exit_after_s

    def follow(self, level: float, at: float) -> None:
        """Let the slow levels follow the place's level; while young they are plain means."""
        self.judged += 1
        self.meant += 1
        passed = at - self.judged_at
        share = max(1.0 / self.judged, passed / RISEN_OVER_S)
        self.slow += min(1.0, share) * (level - self.slow)
        share = max(1.0 / self.meant, passed / STEADY_OVER_S)
        self.mean += min(1.0, share) * (level - self.mean)
        self.judged_at = at


class Ranging(msgspec.Struct):
    """The radio evidence of one subject: a level for each receiver, and the place that holds it.

    Plain numbers only, so that it can be copied and packed. ``links`` are keyed by gateway, or by
    beacon where the subject's own phone listens; ``place`` is the one of the competing places
    that the subject is in since ``since`` (``lapsed``: was in, until a silence ended it),
    ``margin_db`` its lead over ``runner_up`` when last judged. ``sent_s`` is how long sightings
    lately took to arrive, at most. ``watched`` is what ``suspects`` remembers; ``quarantined``: the
    newest sighting did not count.
    """

    links: dict[str, Level] = {}
    zones: dict[str, Zone] = {}
    place: str | None = None
    lapsed: bool = False
    runner_up: str | None = None
    margin_db: float = 0.0
    judged_at: float = -math.inf
    since: float = -math.inf
    sent_s: float = 0.0
    watched: Watched = {}
    quarantined: bool = False

    def copy(self) -> Ranging:
        """Give an independent copy."""
        zones = {place: msgspec.structs.replace(zone) for place, zone in self.zones.items()}
        watched = copied(self.watched)
        return msgspec.structs.replace(self, links=dict(self.links), zones=zones, watched=watched)

    def hear(
        self,
        site: Site,
        sighting: Sighting,
        subject: str,
        place: str,
        exit_after_s: float | None = None,
    ) -> list[Observation]:
        """Take one sighting, which ``site.who`` ascribed to ``subject`` and ``place``.

        ``exit_after_s`` is the silence that ends a visit to the place, where a fence has a word in
        it; else it is the site's.

        Sightings come in the order of ``at``; one that is not measured says nothing and leaves no
        trace. A subject that changes between competing places is said to be outside the old one
        and inside the new one at one instant, the first at which a sighting came after those that
        tell it: so the order of sightings within one instant changes nothing.
        """
        if not sighting.measured:
            return []
        at = sighting.at
        near_dbm = site.near_dbm(place, sighting.beacon if sighting.gateway is None else None)
        received_at = at if sighting.received_at is None else sighting.received_at
        self.sent_s = max(SENT_FADES * self.sent_s, received_at - at)
        verdicts: list[_Verdict] = []
        if near_dbm is None and at - self.judged_at >= JUDGE_EVERY_S:
            verdicts = self._judge(site, at)
        # Taken out and put back, so that both dictionaries stand in the order of silence.
        link = sighting.gateway or spell(sighting.beacon.identity)
        level = kalman(self.links.pop(link, None), site.level_dbm(sighting), at)
        self.links[link] = level
        zone = self.zones.pop(place, None)
        if zone is None:
            zone = Zone()
        self.zones[place] = zone
        zone.hear(at, site.exit_after_s(place) if exit_after_s is None else exit_after_s)
        if zone.heard == 1 and place == self.place:
            self.lapsed = True
        self._forget(at)
        if near_dbm is not None:
            verdicts = [_near(place, zone, level, near_dbm, at)]
        elif not verdicts:
            verdicts = [self._hold(place, at)]
        heard = {
            "rssi_dbm": float(sighting.rssi_dbm),
            "level_dbm": round(level.dbm, 1),
            "sightings": zone.heard,
        }
        # What a receiver tells late had waited with it; a phone's own sightings age as fixes do.
        by = {} if sighting.gateway is None else {"gateway": sighting.gateway}
        return [
            Observation(
                subject,
                v.place,
                at,
                "sighting",
                v.says,
                v.strength,
                (heard | v.because if v.place == place else v.because) | by,
            )
            for v in verdicts
        ]

    def _forget(self, at: float) -> None:
        """Drop what was silent longest, so that one subject's memory is bounded."""
        for memory in (self.links, self.zones):
            oldest = next(iter(memory))
            while len(memory) > MAX_LINKS or memory[oldest].last < at - FORGET_AFTER_S:
                del memory[oldest]
                oldest = next(iter(memory))

    def _judge(self, site: Site, at: float) -> list[_Verdict]:
        """Compare the places by what was heard before ``at``; say so where the subject moved."""
        self.judged_at = at
        levels = self._levels(site, at)
        zones = self.zones
        risen: dict[str, float] = {}
        for place, (dbm, _) in levels.items():
            zone = zones.get(place)
            if zone is None:
                zone = zones[place] = Zone()
            risen[place] = dbm - zone.slow if zone.judged else 0.0
            zone.follow(dbm, at)
        loudest_first = sorted(levels, key=lambda place: (-levels[place][0], place))
        before = self.place
        if self._holds(at):
            chosen, told = self._challenged(loudest_first, levels, risen, at)
        else:
            chosen, told = self._begin(site, loudest_first, at)
        if chosen is not None:
            self.place, self.lapsed, self.since = chosen, False, at
            for place, (dbm, _) in levels.items():
                zones[place].mean, zones[place].meant = dbm, 1
        others = [place for place in loudest_first if place != self.place]
        self.runner_up = others[0] if others else None
        own = levels[self.place][0] if self.place in levels else FLOOR_DBM
        self.margin_db = own - (levels[others[0]][0] if others else FLOOR_DBM)
        if chosen is None:
            return []
        because = self._because(told.pop("rule")) | told | {
            "level_dbm": round(own, 1),
            "sightings": zones[chosen].heard,
        }  # fmt: skip
        verdicts = [_Verdict(chosen, "inside", self.margin_db, because)]
        if before is not None and before != chosen:
            gone = because | {
                "level_dbm": round(levels[before][0] if before in levels else FLOOR_DBM, 1),
                "sightings": zones[before].heard if before in zones else 0,
                "to": chosen,
            }
            verdicts.insert(0, _Verdict(before, "outside", self.margin_db, gone))
        return verdicts

    def _begin(
        self, site: Site, loudest_first: list[str], at: float
    ) -> tuple[str | None, dict[str, Any]]:
        """Choose the first place: the loudest, once all that have begun to hear have had a say."""
        heard = (self.zones[place] for place in loudest_first)
        first = min((z.first for z in heard if at - z.last < z.exit_after_s), default=at)
        if site.competing > 1 and at - first < min(ALL_SENT_S, SENT_TIMES * self.sent_s):
            return None, {}
        for place in loudest_first:
            zone = self.zones[place]
            if at - zone.first < SAY_S and zone.heard < SIGHTINGS_TO_ENTER - 1:
                return None, {}
        sure = (place for place in loudest_first if self._sure(place, at))
        return next(sure, None), {"rule": "first"}

    def _challenged(
        self,
        loudest_first: list[str],
        levels: dict[str, tuple[float, float]],
        risen: dict[str, float],
        at: float,
    ) -> tuple[str | None, dict[str, Any]]:
        """Find the loudest place that takes the subject from the one that holds it, and why."""
        held = self.place or ""
        level, spread_db2 = levels.get(held, (FLOOR_DBM, 0.0))
        fallen = max(0.0, -risen.get(held, 0.0))
        zone = self.zones[held]
        unheard_s = at - zone.last
        for rival in loudest_first:
            if levels[rival][0] - level <= LOUDER_DB:
                break
            if not self._sure(rival, at):
                continue
            rise = risen[rival]
            # In standard errors; a level that is louder was heard, so that its spread is no zero.
            sigma = math.sqrt(levels[rival][1] + FALL_COUNTS * FALL_COUNTS * spread_db2)
            nearer = (rise + FALL_COUNTS * min(fallen, rise)) / sigma
            if nearer > NEARER_SIGMA:
                return rival, {
                    "rule": "nearer",
                    "rise_db": round(rise, 1),
                    "fall_db": round(fallen, 1),
                    "sigma": round(nearer, 1),
                }
            steady = self.zones[rival].mean - zone.mean
            if steady > STEADY_DB and at - self.since >= STEADY_AFTER_S:
                return rival, {"rule": "louder", "mean_margin_db": round(steady, 1)}
            if unheard_s >= max(UNHEARD_S, STALE_INTERVALS * zone.interval_s):
                return rival, {"rule": "unheard", "unheard_s": round(unheard_s, 1)}
        return None, {}

    def _hold(self, place: str, at: float) -> _Verdict:
        """Say what a sighting in one of the competing places means where none was changed."""
        if not self._holds(at):
            return _Verdict(place, "nothing", self.margin_db, self._because("too few"))
        if place != self.place:
            return _Verdict(place, "nothing", self.margin_db, self._because("elsewhere"))
        return _Verdict(place, "inside", self.margin_db, self._because("held"))

    def _because(self, rule: str) -> dict[str, Any]:
        return {
            "rule": rule,
            "margin_db": round(self.margin_db, 1),
            "runner_up": self.runner_up,
        }

    def _holds(self, at: float) -> bool:
        """Whether the place that the subject was in holds it still."""
        return self.place is not None and not self.lapsed and self._sure(self.place, at)

    def _sure(self, place: str, at: float) -> bool:
        """Whether a place was heard often enough before the sighting at hand, and of late."""
        zone = self.zones.get(place)
        if zone is None or zone.heard < SIGHTINGS_TO_ENTER - 1:
            return False
        return at - zone.last < zone.exit_after_s

    def _levels(self, site: Site, at: float) -> dict[str, tuple[float, float]]:
        """Give the level in dBm of each competing place heard of lately, and its variance."""
        heard: dict[str, list[tuple[float, float]]] = {}
        for link, level in self.links.items():
            gateway = site.gateways.get(link)
            if gateway is None or site.near_dbm(gateway.place, None) is not None:
                continue
            fresh = heard.setdefault(gateway.place, [])
            if not level.stale(at):
                fresh.append((level.dbm, level.spread_db2))
        return {place: blend(fresh, site.receivers(place)) for place, fresh in heard.items()}


class _Verdict(NamedTuple):
    place: str
    says: Says
    margin_db: float
    because: dict[str, Any]

    @property
    def strength(self) -> float:
        """How surely: once decided, a place is kept by its rule, not by the margin it has now."""
        return 0.0 if self.says == "nothing" else chance_of_margin(self.margin_db)


def chance_of_margin(margin_db: float) -> float:
    """Give the chance that a margin with MARGIN_SPREAD_DB is no noise; never under half."""
    likely = 0.5 * (1.0 + math.erf(margin_db / (MARGIN_SPREAD_DB * math.sqrt(2.0))))
    return round(max(0.5, likely), 3)


def _near(place: str, zone: Zone, level: Level, near_dbm: float, at: float) -> _Verdict:
    """Judge one level against the one number of a place with ``near_dbm``."""
    margin = level.dbm - near_dbm
    inside = at - zone.inside_at < zone.exit_after_s
    because = {"near_dbm": near_dbm, "margin_db": round(margin, 1)}
    if margin <= (-NEAR_RELEASE_DB if inside else 0.0):
        return _Verdict(place, "nothing", margin, because | {"rule": "too quiet"})
    if not inside and level.heard < SIGHTINGS_TO_ENTER:
        return _Verdict(place, "nothing", margin, because | {"rule": "too few"})
    zone.inside_at = at
    return _Verdict(place, "inside", margin, because | {"rule": "held" if inside else "near"})


Window = tuple[tuple[float, float, str], ...]
"""One subject's sightings (at, dBm, place) that can still be the loudest, loudest first."""


def loudest(window: Window, at: float, dbm: float, place: str) -> Window:
    """Take a sighting (Unix seconds, dBm with its offset) into the window of point mode.

    The first entry of the answer is the loudest within LOUDEST_WITHIN_S; of equally loud ones the
    smallest place id. What a newer sighting outdoes is dropped, so the window stays short.
    """
    kept = [
        old
        for old in window
        if at - old[0] <= LOUDEST_WITHIN_S and (-old[1], old[2]) < (-dbm, place)
    ]
    return (*kept, (at, dbm, place))
