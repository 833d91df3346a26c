"""Which places are there? Fences and zones alike; what no fence says of them is edited here.

A fence is drawn at ``/v1/fences``; an entry here under its id adds what its fence does not say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec

from proximity.server.entries import Resource, Source, find, routes
from proximity.server.fences import EDITORS
from proximity.server.routes import READERS
from proximity.site.registry import Place

if TYPE_CHECKING:
    from proximity.server.parts import Parts


class PlaceRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A place: what draws it, what it is called, where it belongs. ``parents``: nearest first.

    ``source`` says who named it as a zone, and the keys after it what was said; null where it is
    there only as a fence, or because something stands in it.
    """

    id: str
    kind: Literal["fence", "zone"]
    name: str | None
    tags: tuple[str, ...]
    parents: tuple[str, ...]
    timezone: str | None
    active: tuple[dict[str, Any], ...]
    source: Source | None = None
    parent: str | None = None
    exit_after_s: float | None = None
    near_dbm: float | None = None
    dwell_s: tuple[float, ...] = ()


class PlacePage(msgspec.Struct, frozen=True):
    """A page of places by id; ``cursor`` is the next request's ``after``."""

    items: tuple[PlaceRecord, ...]
    cursor: str


def _names(parts: Parts) -> set[str]:
    """List every place: what is drawn, what the site names, and where its receivers stand."""
    names = set(parts.ingest.index.ids)
    site = parts.ingest.site
    if site is not None:
        names.update(site.places)
        names.update(gateway.place for gateway in site.gateways.values())
        names.update(beacon.place for beacon in site.beacons if beacon.place is not None)
    return names


def _record(parts: Parts, name: str) -> PlaceRecord:
    facts = parts.places.facts(name)
    found = find(parts, "place", name)
    zone = found.value if found is not None else None
    said = zone if isinstance(zone, Place) else Place(id=name)
    return PlaceRecord(
        id=name,
        kind="fence" if name in parts.ingest.index else "zone",
        name=facts.name,
        tags=facts.tags,
        parents=facts.parents,
        timezone=facts.timezone,
        active=tuple(window.to_record() for window in facts.active),
        source=None if found is None else found.source,
        parent=said.parent,
        exit_after_s=said.exit_after_s,
        near_dbm=said.near_dbm,
        dwell_s=said.dwell_s,
    )


def _show(parts: Parts, name: str) -> PlaceRecord | None:
    return _record(parts, name) if name in _names(parts) else None


ROUTES = routes(
    Resource(
        kind="place",
        path="/v1/places",
        page=PlacePage,
        record=PlaceRecord,
        readers=READERS,
        editors=EDITORS,
        ids=lambda parts: sorted(_names(parts)),
        show=_show,
        derived=frozenset({"source", "kind", "name", "tags", "parents", "timezone", "active"}),
    )
)
