"""The question: which regions should a phone watch by itself, and what must it be told for that.

A phone's own system wakes it at the edge of a circle, but watches only a few. So the nearest fences
are kept in numbered slots of the phone: what is put into a slot replaces what was there, whoever
remembers it. Values in, values out: no clock, no wire format, no consent, and no presence. That a
region fired is never an enter.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from proximity.phones.covering import covering_circle

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from geofences import Fence, FenceIndex

LEAST_RADIUS_M = 100.0
"""Smaller circles are armed as wide as this: both platforms advise 100 m or more, below which a
region may never fire. Much wider ones wake too early, or not at all where one is always inside."""

MOST_RADIUS_M = 100_000.0
"""A fence that needs a wider circle is not armed: a phone is in a country long before it wakes."""

REACH_M = 100_000.0
"""Fences further than this wait until the phone has come nearer: it reports every few hundred
metres, or as an aeroplane lands."""

FIRST_M = 50.0
"""Where the search begins; each step looks twice as far. In a crowded street this holds as many
shops as a phone watches, and measuring more of them would be in vain."""

ROAM_SHARE = 0.25
"""The choice stands until the phone has moved this share of the way to the farthest region armed:
what was left out is then still three quarters of that way off."""

LEAST_ROAM_M = 100.0
"""Nor is it made again for less than this: indoors a still phone wanders so far."""

LONGEST_NAME = 60
"""A phone shows a name in one line of a notification."""

# OwnTracks on iOS reads more than a name in these: a beacon after ":", a change of its mode of
# reporting after "|", and its own kinds of region where the name begins with "+" or "-".
_MEANT_OTHERWISE = str.maketrans(":|", "  ")


class Region(NamedTuple):
    """What a phone learns of a fence: its id, its name, and a circle around it; no more."""

    id: str
    name: str
    lon: float
    lat: float
    radius_m: float


class Order(NamedTuple):
    """What a slot of a phone is to hold from now on, None for nothing.

    ``before`` is what it was last told to hold, None where that is not known.
    """

    slot: int
    before: Region | None
    after: Region | None


class Client(NamedTuple):
    """What a phone's app takes: regions at most, and how orders are written as its reply.

    ``empties`` where it can be told to empty a slot that may hold nothing.
    """

    most: int
    empties: bool
    write: Callable[[Sequence[Order]], bytes]


def region_of(fence: Fence) -> Region | None:
    """Make the region that wakes a phone near a fence; None where its circle would be too wide."""
    circle = covering_circle(fence, MOST_RADIUS_M)
    if circle is None:
        return None
    # Seven decimals are a centimetre; the radius is rounded up by more than that.
    radius_m = max(LEAST_RADIUS_M, math.ceil(circle.radius_m + 0.02))
    lon, lat = round(circle.lon, 7), round(circle.lat, 7)
    return Region(fence.id, _label(fence.name, fence.id), lon, lat, radius_m)


def _label(name: str, fence_id: str) -> str:
    """Write a fence's name so that any client takes it for nothing but a name."""
    words = "".join(c if c.isprintable() else " " for c in name.translate(_MEANT_OTHERWISE))
    words = " ".join(words.split()).lstrip("+- ")
    if len(words) > LONGEST_NAME:
        words = words[: LONGEST_NAME - 1] + "…"
    return words or (_label(fence_id, "place") if fence_id != name else "place")


class Surroundings:
    """The regions around any point; follows the fences in force, which ``index`` gives.

    ``edition`` counts how often they were seen to have changed.
    """

    def __init__(self, index: Callable[[], FenceIndex]) -> None:
        self.edition = 0
        self._now_in_force = index
        self._index = index()
        self._version = self._index.version
        self._regions: dict[str, Region | None] = {}

    def follow(self) -> int:
        """Look whether any fence has changed; give the edition."""
        index = self._now_in_force()
        if index is not self._index or index.version != self._version:
            self._index, self._version = index, index.version
            self._regions.clear()
            self.edition += 1
        return self.edition

    def around(
        self, lon: float, lat: float, most: int, now: float
    ) -> tuple[tuple[Region, ...], float]:
        """Give the ``most`` regions nearest to a point, nearest first, and how long they stand.

        That is how many metres a phone may move until it is to ask again. Nearness is the distance
        to the fence's own edge, not its circle's; ties go by id. ``now`` is Unix seconds: fences
        whose validity is over are left out, as are those that only cut out of their venue.
        """
        self.follow()
        metres, chosen = FIRST_M, self._nearest(lon, lat, FIRST_M, most, now)
        while len(chosen) < most and metres < REACH_M:
            metres = min(2.0 * metres, REACH_M)
            chosen = self._nearest(lon, lat, metres, most, now)
        reach = max(chosen[-1][0], 0.0) if len(chosen) >= most else REACH_M
        regions = tuple(region for _, region in chosen)
        return _apart(regions), max(LEAST_ROAM_M, ROAM_SHARE * reach)

    def _nearest(
        self, lon: float, lat: float, metres: float, most: int, now: float
    ) -> list[tuple[float, Region]]:
        """List the ``most`` nearest within so many metres, each with its distance."""
        chosen: list[tuple[float, Region]] = []
        near = sorted((metres, name) for name, metres in self._index.within(lon, lat, metres))
        for distance, fence_id in near:
            if len(chosen) == most:
                break
            fence = self._index.get(fence_id)
            assert fence is not None
            if fence.exclude or (fence.valid_until is not None and fence.valid_until <= now):
                continue
            if fence_id not in self._regions:
                self._regions[fence_id] = region_of(fence)
            region = self._regions[fence_id]
            if region is not None:
                chosen.append((distance, region))
        return chosen


def _apart(regions: tuple[Region, ...]) -> tuple[Region, ...]:
    """Tell regions of one name apart by their ids: iOS knows a region by its name alone."""
    names = Counter(region.name for region in regions)
    return tuple(
        region
        if names[region.name] == 1
        else region._replace(name=f"{region.name} ({_label(region.id, 'place')})")
        for region in regions
    )


#: Stands in a slot that holds something of which nothing may be remembered.
FORGOTTEN = Region("", "proximity", 0.0, 0.0, LEAST_RADIUS_M)


@dataclass(slots=True)
class Phone:
    """What one phone was last told, and where it is.

    ``slots`` hold regions by number. Times are Unix seconds: ``at`` of the newest position (None:
    none yet), ``heard`` of the last message. ``unsure`` where the last reply may have been lost.
    """

    slots: list[Region | None] = field(default_factory=list)
    lon: float = math.nan
    lat: float = math.nan
    at: float | None = None
    heard: float = 0.0
    unsure: bool = False
    _asked: tuple[float, float] | None = None
    _stands_m: float = 0.0
    _edition: int = 0

    def moved(self, lon: float, lat: float, at: float) -> None:
        """Take a position in degrees, unless a newer one is known."""
        if self.at is None or at >= self.at:
            self.lon, self.lat, self.at = lon, lat, at

    def rearm(
        self, surroundings: Surroundings, most: int, now: float, *, whole: bool = False
    ) -> tuple[Order, ...]:
        """Say which slots are to change where the phone is now; ``whole`` says all of them anew.

        None do while the last choice stands: no fence was edited, and the phone has not gone far.
        """
        edition = surroundings.follow()
        near = (
            self._asked is not None
            and edition == self._edition
            and _metres(*self._asked, self.lon, self.lat) <= self._stands_m
        )
        if near and not whole:
            return ()
        wanted, self._stands_m = surroundings.around(self.lon, self.lat, most, now)
        self._asked, self._edition = (self.lon, self.lat), edition
        return self.put(wanted, whole=whole)

    def put(self, wanted: Sequence[Region], *, whole: bool = False) -> tuple[Order, ...]:
        """Put regions into the slots, and say which change; ``whole`` says all there are.

        A fence that stays keeps its slot, so that the phone does not begin watching it anew.
        """
        before = self.slots
        left = {region.id: region for region in wanted}
        after = [left.pop(old.id, None) if old is not None else None for old in before]
        free = [number for number, region in enumerate(after) if region is None]
        for number, region in zip(free, left.values(), strict=False):
            after[number] = region
        after += list(left.values())[len(free) :]
        self.slots = after
        known = before + [None] * (len(after) - len(before))
        return tuple(
            Order(number, old, new)
            for number, (old, new) in enumerate(zip(known, after, strict=True))
            if whole or old != new
        )

    def blank(self) -> Phone:
        """Give the phone without where it is or what it watches: only which slots hold anything."""
        slots = [FORGOTTEN if region is not None else None for region in self.slots]
        return Phone(slots, heard=self.heard)


def _metres(lon0: float, lat0: float, lon1: float, lat1: float) -> float:
    """Give the great-circle distance in metres between two points in degrees (haversine)."""
    phi0, phi1 = math.radians(lat0), math.radians(lat1)
    half = math.sin((phi1 - phi0) / 2.0) ** 2
    half += math.cos(phi0) * math.cos(phi1) * math.sin(math.radians(lon1 - lon0) / 2.0) ** 2
    return 2.0 * 6_371_000.0 * math.asin(min(1.0, math.sqrt(half)))
