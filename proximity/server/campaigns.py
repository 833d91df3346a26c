"""Which campaigns are in force? Read-only here: the file given to the server names them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

from proximity.model import format_time
from proximity.server.auth import Caller
from proximity.server.etags import tagged
from proximity.server.problems import Problem, answer
from proximity.server.reading import AFTER_ID, LIMIT, read_id
from proximity.server.routes import READERS, Content, Route

if TYPE_CHECKING:
    from proximity.campaigns import Campaign
    from proximity.server.parts import Parts


class CampaignRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A campaign, with the keys of the campaigns file."""

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
    )


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


ROUTES = (
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
