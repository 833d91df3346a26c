"""Which campaigns are in force? Read-only here: the file given to the server names them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

from proximity.model import format_time
from proximity.server.auth import Caller
from proximity.server.etags import tagged
from proximity.server.fences import EDITORS
from proximity.server.problems import Problem, answer
from proximity.server.reading import AFTER_ID, LIMIT, read_id
from proximity.server.routes import READERS, Content, Route

if TYPE_CHECKING:
    from proximity.campaigns.campaigns import Campaign
    from proximity.server.parts import Parts


class CampaignRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A campaign, with the keys of the campaigns file; ``audience`` is said in a sentence."""

    id: str
    purpose: str
    on: str
    places: tuple[str, ...]
    tags: tuple[str, ...]
    hours: tuple[dict[str, Any], ...]
    channels: tuple[str, ...]
    text: dict[str, str]
    link: str | None
    max_age_s: float
    cooldown_s: float
    dwell_s: float | None
    defer: bool
    priority: float
    version: int
    active: bool
    valid_from: str | None
    valid_until: str | None
    event: str | None = None
    properties: dict[str, Any] = {}
    at_property: str | None = None
    before_s: float = 0.0
    trigger: tuple[dict[str, Any], ...] = ()
    audience: str | None = None
    context: tuple[dict[str, Any], ...] = ()
    min_confidence: float | None = None
    dayparts: tuple[dict[str, Any], ...] = ()
    ttl_s: float | None = None
    place_cooldown_s: float = 0.0
    once_per_visit: bool = False
    caps: tuple[dict[str, Any], ...] = ()
    topic: str | None = None
    product: str | None = None
    contrary: tuple[str, ...] = ()
    contrary_share: float = 0.5
    contrary_count: int = 3
    value: float = 1.0
    least_value: float | None = None
    stock: tuple[str, ...] = ()
    asks: str | None = None
    after: dict[str, Any] | None = None
    most: int = 3
    back_off_s: float = 30 * 86400.0
    attributes: tuple[str, ...] = ()
    benefit: str | None = None
    price: str | None = None
    links: dict[str, str] = {}
    title: dict[str, str] = {}
    terms: dict[str, str] = {}
    landing: bool = False
    landing_place: str | None = None
    redeem: str | None = None


_AS_THEY_ARE = (
    "event", "properties", "at_property", "before_s", "min_confidence", "ttl_s", "place_cooldown_s",
    "once_per_visit", "topic", "product", "contrary", "contrary_share", "contrary_count", "value",
    "least_value", "stock", "asks", "most", "back_off_s", "attributes", "benefit",
    "title", "terms", "landing", "landing_place", "redeem",
)  # fmt: skip


class CampaignPage(msgspec.Struct, frozen=True):
    """A page of campaigns by id; ``cursor`` is the next request's ``after``."""

    items: tuple[CampaignRecord, ...]
    cursor: str


def campaign_record(campaign: Campaign) -> CampaignRecord:
    """Write a campaign with the keys of its file."""
    return CampaignRecord(
        id=campaign.id,
        purpose=campaign.purpose,
        on=campaign.on,
        places=tuple(sorted(campaign.places)),
        tags=tuple(sorted(campaign.tags)),
        hours=tuple(window.to_record() for window in campaign.hours),
        channels=campaign.channels,
        text=campaign.text,
        link=campaign.link,
        max_age_s=campaign.max_age_s,
        cooldown_s=campaign.cooldown_s,
        dwell_s=campaign.dwell_s,
        defer=campaign.defer,
        priority=campaign.priority,
        version=campaign.version,
        active=campaign.active,
        valid_from=None if campaign.valid_from is None else format_time(campaign.valid_from),
        valid_until=None if campaign.valid_until is None else format_time(campaign.valid_until),
        trigger=tuple(_written(rule) for rule in campaign.triggers),
        audience=None if campaign.audience is None else campaign.audience.sentence(),
        context=tuple(_written(one) for one in campaign.context),
        dayparts=tuple(one.window.to_record() | {"clock": one.clock} for one in campaign.dayparts),
        caps=tuple(_written(cap) for cap in campaign.caps),
        after=None if campaign.after is None else _written(campaign.after),
        price=None if campaign.price is None else str(campaign.price),
        links=_written(campaign.links),
        **{name: getattr(campaign, name) for name in _AS_THEY_ARE},
    )


def _written(value: msgspec.Struct) -> dict[str, Any]:
    """Give the fields of a value that differ from what holds where they are left out."""
    fields = {
        field.name: getattr(value, field.name)
        for field in msgspec.structs.fields(type(value))
        if getattr(value, field.name) != field.default
    }
    return {
        name: sorted(one) if isinstance(one, frozenset) else one
        for name, one in fields.items()
        if one not in (frozenset(), {})
    }


async def _read_page(request: web.Request, parts: Parts, _caller: Caller) -> web.StreamResponse:
    after, limit = AFTER_ID.of(request), LIMIT.of(request)
    every = parts.campaigns().campaigns
    names = [name for name in sorted(every) if name > after][:limit]
    items = tuple(campaign_record(every[name]) for name in names)
    return answer(CampaignPage(items, names[-1] if names else after))


async def _read_one(request: web.Request, parts: Parts, _caller: Caller) -> web.StreamResponse:
    campaign = parts.campaigns().campaigns.get(read_id(request))
    if campaign is None:
        raise Problem(404, "There is no campaign with this id.")
    return tagged(request, campaign_record(campaign))


async def _refuse_edit(_request: web.Request, _parts: Parts, _caller: Caller) -> web.StreamResponse:
    raise Problem(
        409,
        "Campaigns are what their file says, so they are read-only here: edit the file that "
        "`serve --campaigns` is given, and start the server again.",
    )


_FIXED = Content(meaning="A file names them: they are edited there. Nothing was changed.")

ROUTES = (
    *(
        Route(
            method=method,
            path=path,
            endpoint=_refuse_edit,
            roles=EDITORS,
            summary="Refused: campaigns are edited in their file.",
            answers={409: _FIXED},
        )
        for method, path in (
            ("POST", "/v1/campaigns"),
            ("PUT", "/v1/campaigns/{id}"),
            ("DELETE", "/v1/campaigns/{id}"),
        )
    ),
    Route(
        method="GET",
        path="/v1/campaigns",
        endpoint=_read_page,
        roles=READERS,
        summary="Page through the campaigns.",
        params=(AFTER_ID, LIMIT),
        answers={200: Content(meaning="A page, by id.", schema=CampaignPage)},
    ),
    Route(
        method="GET",
        path="/v1/campaigns/{id}",
        endpoint=_read_one,
        roles=READERS,
        summary="One campaign.",
        headers=("If-None-Match",),
        answers={
            200: Content(meaning="The campaign.", schema=CampaignRecord, headers=("ETag",)),
            304: Content(meaning="It is as you know it (If-None-Match)."),
            404: Content(meaning="There is no campaign with this id."),
        },
    ),
)
