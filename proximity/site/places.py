"""The question: what is known of a place besides where it is: name, tags, parents, zone, hours.

It joins what fences and the site say, and finds the time zone of a place from coordinates where
neither names one. Which parent a place has is ``layout``'s to say. It must not know campaigns'
rules or who is where.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import tzfpy

from geofences import FenceIndex
from proximity.campaigns.campaigns import PlaceFacts
from proximity.engine.layout import DEEPEST, Layout
from proximity.site.registry import Site
from proximity.windows import DAYS, Window, load_zone

if TYPE_CHECKING:
    from geofences import Fence

__all__ = ["PlaceFacts", "Places"]

_MOST_LANGUAGES = 20


class Places:
    """What is known of each place of an index and a site.

    Facts are remembered until the index changes. Safe to ask from several threads.
    """

    def __init__(self, index: FenceIndex | None, site: Site | None = None) -> None:
        self._lock = threading.Lock()
        self.replace(index, site)

    def replace(self, index: FenceIndex | None, site: Site | None) -> None:
        """Take another index or site from now on."""
        with self._lock:
            self._index = FenceIndex() if index is None else index
            self._site = Site() if site is None else site
            self._begin()

    def facts(self, place: str) -> PlaceFacts:
        """Give the facts of a place; one that nobody has named has none but its id.

        The zone is the fence's ``timezone`` property, the site's, a parent's, else the one at the
        place's coordinates; opening hours are the place's own, else its nearest parent's. An area
        that its venue excludes is not in it: it takes nothing from it.
        """
        with self._lock:
            if self._index.version != self._version:
                self._begin()
            found = self._facts.get(place)
            if found is None:
                found = self._facts[place] = self._gather(place)
            return found

    def known(self, place: str) -> bool:
        """Whether there is a fence or a zone of this id."""
        with self._lock:
            if self._index.version != self._version:
                self._begin()
            return self._layout.known(place)

    def _begin(self) -> None:
        """Forget everything: from here on it is asked of the index as it stands."""
        self._version = self._index.version
        self._layout = Layout(self._index, self._site)
        self._facts: dict[str, PlaceFacts] = {}

    def _gather(self, place: str) -> PlaceFacts:
        line = self._line(place)
        fences = [fence for one in line if (fence := self._index.get(one)) is not None]
        own = self._index.get(place)
        active = next((fence.active for fence in fences if fence.active), None) or ()
        return PlaceFacts(
            id=place,
            name=own.name if own is not None else None,
            tags=own.tags if own is not None else (),
            parents=tuple(line[1:]),
            venue_tags=tuple(sorted({tag for fence in fences for tag in fence.tags})),
            languages=_languages(fences),
            timezone=self._timezone(line, fences),
            active=tuple(
                Window(
                    tuple(sorted(DAYS.index(day) for day in hours.days)),
                    _second(hours.opens),
                    _second(hours.closes),
                )
                for hours in active
            ),
            unheard_after_s=self._layout.rules[place].unheard_after_s,
        )

    def _line(self, place: str) -> list[str]:
        """Give the place and its parents as presence knows them, nearest first, each once."""
        line = [place]
        while len(line) <= DEEPEST:
            parent = self._layout.rules[line[-1]].parent
            if parent is None or parent in line:
                break
            line.append(parent)
        return line

    def _timezone(self, line: list[str], fences: list[Fence]) -> str | None:
        for fence in fences:
            named = fence.properties.get("timezone")
            if isinstance(named, str) and load_zone(named) is not None:
                return named
        if self._site.timezone is not None:
            return self._site.timezone
        spots = [fence.centre for fence in fences]
        spots += [
            (gateway.lon, gateway.lat)
            for one in line
            for gateway in self._site.gateways.values()
            if gateway.place == one and gateway.lon is not None and gateway.lat is not None
        ]
        return next((zone for lon, lat in spots if (zone := tzfpy.get_tz(lon, lat))), None)


def _languages(fences: list[Fence]) -> tuple[str, ...]:
    """Give the ``languages`` of the nearest fence that names some: a list of tags, or one tag."""
    for fence in fences:
        named = fence.properties.get("languages")
        if isinstance(named, str):
            return (named,)
        if isinstance(named, list) and named and all(isinstance(one, str) for one in named):
            return tuple(named[:_MOST_LANGUAGES])
    return ()


def _second(clock: str) -> int:
    """Read ``HH:MM`` as seconds of the day."""
    return int(clock[:2]) * 3600 + int(clock[3:5]) * 60
