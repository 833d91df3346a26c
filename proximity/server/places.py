"""Which places are there? Fences and the site's zones alike, read-only here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec
from aiohttp import web

from proximity.server.auth import Caller
from proximity.server.etags import tagged
from proximity.server.problems import Problem, answer
from proximity.server.reading import AFTER_ID, LIMIT, read_id
from proximity.server.routes import READERS, Content, Route

if TYPE_CHECKING:
    from proximity.server.parts import Parts


class PlaceRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A place: what draws it, what it is called, where it belongs. ``parents``: nearest first."""

    id: str
    kind: Literal["fence", "zone"]
    name: str | None
    tags: tuple[str, ...]
    parents: tuple[str, ...]
    timezone: str | None
    active: tuple[dict[str, Any], ...]


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
    return PlaceRecord(
        id=name,
        kind="fence" if name in parts.ingest.index else "zone",
        name=facts.name,
        tags=facts.tags,
        parents=facts.parents,
        timezone=facts.timezone,
        active=tuple(window.to_record() for window in facts.active),
    )


async def _read_page(request: web.Request, parts: Parts, _caller: Caller) -> web.StreamResponse:
    after, limit = AFTER_ID.of(request), LIMIT.of(request)
    names = sorted(name for name in _names(parts) if name > after)[:limit]
    items = tuple(_record(parts, name) for name in names)
    return answer(PlacePage(items, names[-1] if names else after))


async def _read_one(request: web.Request, parts: Parts, _caller: Caller) -> web.StreamResponse:
    name = read_id(request)
    if name not in _names(parts):
        raise Problem(404, "There is no place with this id.")
    return tagged(request, _record(parts, name))


ROUTES = (
    Route(
        method="GET",
        path="/v1/places",
        endpoint=_read_page,
        roles=READERS,
        summary="Page through the places: fences and zones.",
        params=(AFTER_ID, LIMIT),
        answers={200: Content(meaning="A page, by id.", schema=PlacePage)},
    ),
    Route(
        method="GET",
        path="/v1/places/{id}",
        endpoint=_read_one,
        roles=READERS,
        summary="One place.",
        headers=("If-None-Match",),
        answers={
            200: Content(meaning="The place.", schema=PlaceRecord, headers=("ETag",)),
            304: Content(meaning="It is as you know it (If-None-Match)."),
            404: Content(meaning="There is no place with this id."),
        },
    ),
)
