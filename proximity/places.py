"""The question: what is known of a place besides where it is: name, tags, parents, zone, hours.

It joins what fences and the site say, and finds the time zone of a place from coordinates where
neither names one. It must not know campaigns' rules or presence.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import tzfpy

from geofences import FenceIndex
from proximity.campaigns import PlaceFacts
from proximity.layout import DEEPEST, Layout
from proximity.windows import DAYS, Window, load_zone

if TYPE_CHECKING:
    from geofences import Fence
    from proximity.registry import Site

__all__ = ["PlaceFacts", "Places"]


class Places:
    """What is known of each place of an index and a site.

    Facts are remembered until the index changes. Safe to ask from several threads.
    """

    def __init__(self, index: FenceIndex | None, site: Site | None = None) -> None:
        self._index = index
        self._site = site
        self._facts: dict[str, PlaceFacts] = {}
        self._version: object = None
        self._lock = threading.Lock()

    def replace(self, index: FenceIndex | None, site: Site | None) -> None:
        """Take another index or site from now on."""
        with self._lock:
            self._index, self._site = index, site
            self._facts = {}

    def facts(self, place: str) -> PlaceFacts:
        """Give the facts of a place; one that nobody has named has none but its id.

        The zone is the fence's ``timezone`` property, the site's, a parent's, else the one at the
        place's coordinates; opening hours are the place's own, else its nearest parent's.
        """
        with self._lock:
            version = self._index.version if self._index is not None else None
            if version != self._version:
                self._facts, self._version = {}, version
            found = self._facts.get(place)
            if found is None:
                found = self._facts[place] = self._gather(place)
            return found

    def _gather(self, place: str) -> PlaceFacts:
        line = self._line(place)
        fences = [fence for one in line if (fence := self._fence(one)) is not None]
        own = self._fence(place)
        active = next((fence.active for fence in fences if fence.active), None) or ()
        return PlaceFacts(
            id=place,
            name=own.name if own is not None else None,
            tags=own.tags if own is not None else (),
            parents=tuple(line[1:]),
            timezone=self._timezone(line, fences),
            active=tuple(
                Window(
                    tuple(sorted(DAYS.index(day) for day in hours.days)),
                    _second(hours.opens),
                    _second(hours.closes),
                )
                for hours in active
            ),
        )

    def _fence(self, place: str) -> Fence | None:
        return self._index.get(place) if self._index is not None else None

    def _line(self, place: str) -> list[str]:
        """Give the place and its parents, nearest first, each once."""
        line = [place]
        while len(line) <= _MOST_PARENTS:
            parent = None
            if self._site is not None and line[-1] in self._site.places:
                parent = self._site.places[line[-1]].parent
            fence = self._fence(line[-1])
            if parent is None and fence is not None:
                parent = fence.venue
            if parent is None or parent in line:
                break
            line.append(parent)
        return line

    def _timezone(self, line: list[str], fences: list[Fence]) -> str | None:
        for fence in fences:
            named = fence.properties.get("timezone")
            if isinstance(named, str) and load_zone(named) is not None:
                return named
        if self._site is not None and self._site.timezone is not None:
            return self._site.timezone
        spots = [fence.centre for fence in fences]
        if self._site is not None:
            spots += [
                (gateway.lon, gateway.lat)
                for one in line
                for gateway in self._site.gateways.values()
                if gateway.place == one and gateway.lon is not None and gateway.lat is not None
            ]
        return next((zone for lon, lat in spots if (zone := tzfpy.get_tz(lon, lat))), None)


def _second(clock: str) -> int:
    """Read ``HH:MM`` as seconds of the day."""
    return int(clock[:2]) * 3600 + int(clock[3:5]) * 60
