"""What is where, as a site file and the fences beside it say: for commands that only read files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import geofences
from proximity.site.places import Places
from proximity.site.registry import Site
from proximity.site.sitefile import fences_beside, load_site

if TYPE_CHECKING:
    from pathlib import Path


class Ground:
    """A site and its fences; ``Ground.of`` reads them."""

    def __init__(self, fences: geofences.FenceIndex, site: Site) -> None:
        self.fences = fences
        self.site = site
        self.places = Places(fences, site)

    @classmethod
    def of(cls, file: Path | None) -> Ground:
        """Read a site file; nothing is anywhere where there is none.

        Raises ProximityError or GeofenceError with every problem.
        """
        if file is None:
            return cls(geofences.FenceIndex(), Site())
        site = load_site(file)
        beside = fences_beside(file, site)
        return cls(geofences.FenceIndex([] if beside is None else geofences.load(beside)), site)

    @property
    def ids(self) -> list[str]:
        """Name every place, sorted."""
        zones = (gateway.place for gateway in self.site.gateways.values())
        return sorted({*self.fences.ids, *self.site.places, *zones})

    def tagged(self, tag: str) -> list[str]:
        """Name the places that carry a tag."""
        return [name for name in self.ids if tag in self.places.facts(name).tags]
