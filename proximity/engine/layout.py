"""Which places are there, and how is presence in each of them judged?

Joins the fences of the index with the places of the site. Pure; follows edits of the index by its
version, so that an answer is never older than the fences.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from geofences import Fence, FenceIndex
from proximity.engine.presence import EXIT_AFTER_S, SILENT_AFTER_S, UNHEARD_AFTER_S, Rules
from proximity.engine.suspects import Whereabouts
from proximity.engine.tracking import EXIT_MARGIN_M, MIN_CONFIDENCE
from proximity.engine.trail import Floats
from proximity.model import Sighting
from proximity.phones.covering import Circle, covering_circle
from proximity.site.registry import Site

# A subject is followed where a fence may lie within so many metres of the square of 1/256 degree
# (434 m from south to north) that it is in. A walker takes minutes for that.
NEAR_M = 512.0
PER_DEGREE = 256.0
# Squares remembered at most, some 100 bytes each.
MOST_SQUARES = 65_536
# A fence wider than this says too little of where its beacons are.
WIDEST_M = 5_000.0
# A chain of parents longer than this is a mistake (or a loop), not a venue.
DEEPEST = 16


class _Rules(dict[str, Rules]):
    """The rules of places, each made where it is first asked for."""

    def __init__(self, make: Callable[[str], Rules]) -> None:
        self._make = make

    def __missing__(self, place: str) -> Rules:
        rules = self[place] = self._make(place)
        return rules


class Layout:
    """The fences and the site together: rules and parents of places, kept until a fence changes."""

    def __init__(self, index: FenceIndex, site: Site | None = None) -> None:
        self.index = index
        self.site = Site() if site is None else site
        self._version = index.version
        # How presence in a place is judged: the site's word, else the fence's, else what is usual.
        # Looked up, not called: several times for each fix near a place.
        self.rules = _Rules(self._make)
        self._fences: dict[str, Fence | None] = {}
        self._plain: dict[str, Rules | None] = {}
        self._depths: dict[str, int] = {}
        self._near: dict[tuple[int, int], bool] = {}
        self._where: dict[tuple[str | None, str], Whereabouts] = {}

    def changed(self) -> tuple[str, ...] | None:
        """Give the fence ids put or removed since the last call; None where that is unknown."""
        if self.index.version == self._version:
            return ()
        changes = self.index.changes(self._version)
        self._version = self.index.version
        self.rules.clear()
        self._fences.clear()
        self._plain.clear()
        self._depths.clear()
        self._near.clear()
        self._where.clear()
        return changes

    def near(self, lon: float, lat: float) -> bool:
        """Whether a fence is near enough for a subject to be followed; ``lon``, ``lat`` degrees.

        The index's own answer for the square, so that ``near_many`` says the same.
        """
        square = int((lon + 180.0) * PER_DEGREE), int((lat + 90.0) * PER_DEGREE)
        near = self._near.get(square)
        if near is None:
            if len(self._near) >= MOST_SQUARES:
                self._near.clear()
            near = self._near[square] = self.near_many(np.array([lon]), np.array([lat]))[0]
        return near

    def near_many(self, lons: Floats, lats: Floats) -> list[bool]:
        """Answer ``near`` for many points, degrees."""
        answers: list[bool] = (~self.index.clear_many(lons, lats, NEAR_M)).tolist()
        return answers

    def known(self, place: str) -> bool:
        """Whether a place exists: drawn by a fence, or named by the site."""
        return place in self.index or place in self.site.named

    def fence(self, place: str) -> Fence | None:
        """Give the fence that draws a place; None for a zone."""
        if place in self._fences:
            return self._fences[place]
        fence = self._fences[place] = self.index.get(place)
        return fence

    def plain(self, place: str) -> Rules | None:
        """Give the rules of a fence that stands for itself, always; None for any other place."""
        if place in self._plain:
            return self._plain[place]
        fence, rules = self.fence(place), self.rules[place]
        alone = fence is not None and not fence.exclude and rules.parent is None
        always = rules.valid_from == -math.inf and rules.valid_until == math.inf
        plain = self._plain[place] = rules if alone and always else None
        return plain

    def depth(self, place: str) -> int:
        """Count the known parents above a place."""
        depth = self._depths.get(place)
        if depth is None:
            depth, above = 0, self.rules[place].parent
            while above is not None and depth < DEEPEST:
                depth, above = depth + 1, self.rules[above].parent
            self._depths[place] = depth
        return depth

    def where(self, sighting: Sighting, place: str) -> Whereabouts:
        """Say where a sighting that speaks for a place puts what it heard.

        By the position of its gateway, else by the nearest fence from the place upwards.
        """
        key = sighting.gateway, place
        where = self._where.get(key)
        if where is None:
            gateway = self.site.gateways.get(sighting.gateway or "")
            circle: Circle | None = None
            if gateway is not None and gateway.lon is not None and gateway.lat is not None:
                circle = Circle(gateway.lon, gateway.lat, 0.0)
            root, above = place, self.rules[place].parent
            for _ in range(DEEPEST):
                if circle is None and (fence := self.fence(root)) is not None:
                    circle = covering_circle(fence, WIDEST_M)
                if above is None:
                    break
                root, above = above, self.rules[above].parent
            where = self._where[key] = Whereabouts(place, root, circle)
        return where

    def _make(self, place: str) -> Rules:
        fence, zone = self.index.get(place), self.site.places.get(place)
        exit_after_s = zone.exit_after_s if zone is not None else None
        if exit_after_s is None and fence is not None:
            exit_after_s = fence.exit_after_s
        parent = zone.parent if zone is not None else None
        if parent is None and fence is not None and not fence.exclude:
            # Being in an excluded area is being outside its venue.
            parent = fence.venue
        if parent == place or (parent is not None and not self.known(parent)):
            parent = None
        dwell_s = {*(zone.dwell_s if zone is not None else ())}
        if fence is None:
            return Rules(
                exit_after_s=EXIT_AFTER_S if exit_after_s is None else exit_after_s,
                unheard_after_s=UNHEARD_AFTER_S if exit_after_s is None else exit_after_s,
                dwell_s=tuple(sorted(dwell_s)),
                parent=parent,
            )
        silent, sure = fence.silent_after_s, fence.min_confidence
        return Rules(
            exit_after_s=EXIT_AFTER_S if exit_after_s is None else exit_after_s,
            unheard_after_s=UNHEARD_AFTER_S if exit_after_s is None else exit_after_s,
            silent_after_s=SILENT_AFTER_S if silent is None else silent,
            min_confidence=MIN_CONFIDENCE if sure is None else sure,
            exit_margin_m=EXIT_MARGIN_M if fence.exit_margin_m is None else fence.exit_margin_m,
            depth_m=self.index.depth(place),
            dwell_s=tuple(sorted(dwell_s | set(fence.dwell_s))),
            valid_from=Rules().valid_from if fence.valid_from is None else fence.valid_from,
            valid_until=Rules().valid_until if fence.valid_until is None else fence.valid_until,
            parent=parent,
        )
