"""The question: in which of the places where a beacon is heard is its carrier.

Decibels to observations: levels by receiver, places that compete or have a calibrated level. It
must not know presence, timers' effects or fences; it does no I/O.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import msgspec

from beacon_gateway.ranging import FLOOR_DBM, Level, join, kalman
from proximity.model import Observation, Says, Sighting
from proximity.registry import EXIT_AFTER_S, Site, spell

# Fewer sightings of a place, the one at hand included, are one lucky reflection, not an arrival.
SIGHTINGS_TO_ENTER = 3
# Still there while no quieter than this below `near_dbm`. Of 200 tags lying still 1.6 dB or more
# above it, release at 4 dB lost two; at 6 dB none, and no exit came late.
NEAR_RELEASE_DB = 6.0
# A challenger must be this much louder than the place it takes a carrier from ...
LOUDER_DB = 3.0
# ... and must itself have risen so far over its own slow level: someone came nearer. A body that
# hides the old place's gateway lowers that one, but raises nothing.
RISEN_DB = 3.0
RISEN_OVER_S = 15.0
# Or be this much louder for this long: mends a wrong start, which else could last for ever.
STEADY_DB = 4.0
STEADY_OVER_S = 30.0
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
    gateways hear at one instant is one packet), ``last`` the newest of them, ``inside_at`` when
    its ``near_dbm`` last held; ``rise`` and ``steady`` the slow levels after ``judged``
    judgements, the newest of which was at ``judged_at``. A silence of ``exit_after_s`` seconds
    ends a visit.
    """

    heard: int = 0
    last: float = -math.inf
    inside_at: float = -math.inf
    rise: float = FLOOR_DBM
    steady: float = FLOOR_DBM
    judged: int = 0
    judged_at: float = -math.inf
    exit_after_s: float = EXIT_AFTER_S

    def hear(self, at: float, exit_after_s: float) -> None:
        """Count a sighting; after a silence that ends a visit the count starts anew."""
        self.exit_after_s = exit_after_s
        if at - self.last >= exit_after_s:
            self.heard = 0
        if at > self.last:
            self.heard += 1
            self.last = at

    def follow(self, level: float, at: float) -> None:
        """Let the slow levels follow the place's level; while young they are plain means."""
        self.judged += 1
        young = 1.0 / self.judged
        passed = at - self.judged_at
        self.rise += min(1.0, max(young, passed / RISEN_OVER_S)) * (level - self.rise)
        self.steady += min(1.0, max(young, passed / STEADY_OVER_S)) * (level - self.steady)
        self.judged_at = at


class Ranging(msgspec.Struct):
    """The radio evidence of one subject: a level for each receiver, and the place that holds it.

    Plain numbers only, so that it can be copied and packed. ``links`` are keyed by gateway, or by
    beacon where the subject's own phone listens; ``place`` is the one of the competing places
    that the subject is in (``lapsed``: was in, until a silence ended it), ``margin_db`` its lead
    over ``runner_up`` when last judged.
    """

    links: dict[str, Level] = {}
    zones: dict[str, Zone] = {}
    place: str | None = None
    lapsed: bool = False
    runner_up: str | None = None
    margin_db: float = 0.0
    judged_at: float = -math.inf

    def copy(self) -> Ranging:
        """Give an independent copy."""
        zones = {place: msgspec.structs.replace(zone) for place, zone in self.zones.items()}
        return msgspec.structs.replace(self, links=dict(self.links), zones=zones)

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
        verdicts: list[_Verdict] = []
        if near_dbm is None and at - self.judged_at >= JUDGE_EVERY_S:
            verdicts = self._judge(site, at)
        # Taken out and put back, so that both dictionaries stand in the order of silence.
        link = sighting.gateway or spell(sighting.beacon.identity)
        level = kalman(self.links.pop(link, None), site.level_dbm(sighting), at)
        self.links[link] = level
        zone = self.zones.pop(place, None) or Zone()
        self.zones[place] = zone
        if exit_after_s is None:
            exit_after_s = site.exit_after_s(place)
        zone.hear(at, exit_after_s)
        if zone.heard == 1 and place == self.place:
            self.lapsed = True
        self._forget(at)
        if near_dbm is not None:
            verdicts = [_near(place, zone, level, near_dbm, at, exit_after_s)]
        elif not verdicts:
            verdicts = [self._hold(place, at)]
        heard = {
            "rssi_dbm": float(sighting.rssi_dbm),
            "level_dbm": round(level.dbm, 1),
            "sightings": zone.heard,
        }
        return [
            Observation(
                subject,
                v.place,
                at,
                "sighting",
                v.says,
                v.strength,
                heard | v.because if v.place == place else v.because,
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
        risen: dict[str, float] = {}
        for place, level in levels.items():
            zone = self.zones.setdefault(place, Zone())
            risen[place] = level - zone.rise if zone.judged else 0.0
            zone.follow(level, at)
        loudest_first = sorted(levels, key=lambda place: (-levels[place], place))
        known = [place for place in loudest_first if self._sure(place, at)]
        before, rule = self.place, None
        if not self._holds(at):
            if known:
                self.place, self.lapsed, rule = known[0], False, "first"
        else:
            held = self.place or ""
            level, steady = levels.get(held, FLOOR_DBM), self.zones[held].steady
            for rival in known:
                if rival == held or levels[rival] - level <= LOUDER_DB:
                    break
                if risen[rival] > RISEN_DB:
                    self.place, rule = rival, "nearer"
                    break
                if self.zones[rival].steady - steady > STEADY_DB:
                    self.place, rule = rival, "louder"
                    break
        others = [place for place in loudest_first if place != self.place]
        self.runner_up = others[0] if others else None
        ahead_of = levels[others[0]] if others else FLOOR_DBM
        own = levels.get(self.place or "", FLOOR_DBM)
        self.margin_db = own - ahead_of
        if rule is None or self.place is None:
            return []
        because = self._because(rule) | {
            "level_dbm": round(own, 1),
            "sightings": self.zones[self.place].heard,
        }
        verdicts = [_Verdict(self.place, "inside", self.margin_db, because)]
        if before is not None and before != self.place:
            gone = because | {
                "level_dbm": round(levels.get(before, FLOOR_DBM), 1),
                "sightings": self.zones[before].heard if before in self.zones else 0,
                "to": self.place,
            }
            verdicts.insert(0, _Verdict(before, "outside", self.margin_db, gone))
        return verdicts

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

    def _levels(self, site: Site, at: float) -> dict[str, float]:
        """Give the level in dBm of each competing place that was heard of lately."""
        heard: dict[str, list[float]] = {}
        for link, level in self.links.items():
            gateway = site.gateways.get(link)
            if gateway is None or site.near_dbm(gateway.place, None) is not None:
                continue
            fresh = heard.setdefault(gateway.place, [])
            if not level.stale(at):
                fresh.append(level.dbm)
        return {place: join(fresh, site.receivers(place)) for place, fresh in heard.items()}


class _Verdict(NamedTuple):
    place: str
    says: Says
    margin_db: float
    because: dict[str, Any]

    @property
    def strength(self) -> float:
        """How surely: the chance that a margin with MARGIN_SPREAD_DB is no noise; never under half.

        Once decided, a place is kept by its rule and not by its margin of the moment.
        """
        if self.says == "nothing":
            return 0.0
        likely = 0.5 * (1.0 + math.erf(self.margin_db / (MARGIN_SPREAD_DB * math.sqrt(2.0))))
        return round(max(0.5, likely), 3)


def _near(
    place: str, zone: Zone, level: Level, near_dbm: float, at: float, exit_after_s: float
) -> _Verdict:
    """Judge one level against the one number of a place with ``near_dbm``."""
    margin = level.dbm - near_dbm
    inside = at - zone.inside_at < exit_after_s
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
