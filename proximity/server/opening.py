"""Where does the link of an offer lead? To its own page here, or on to where its campaign says.

The link's signature is the credential; it names a campaign and a place, never an address. So there
is nothing that could send anybody elsewhere: the address comes out of the campaigns file, is filled
in and checked as when it was shown, and a phone goes by the universal link. Whoever opens it has
clicked; programs that look ahead at links have not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from aiohttp import web

from proximity.content.content import links_of
from proximity.content.deeplinks import fill_links, target
from proximity.content.stamps import OPEN
from proximity.inbox import Item, Mark, NoSuchOffer, NotToBeRedeemed, Over, mark
from proximity.inbox.inbox import Row, row_of
from proximity.model import Offer
from proximity.server.auth import Caller
from proximity.server.inbox import world_of
from proximity.server.landingpage import Landing, over, show
from proximity.server.pages import PAGE_HEADERS, languages_of, read_link
from proximity.server.problems import Problem, answer
from proximity.server.reading import Asked, read_body
from proximity.server.receipts import may_note, note
from proximity.server.routes import JSON, Content, Route
from proximity.store import StoreFailed

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from proximity.campaigns.campaigns import Campaign
    from proximity.server.parts import Parts

BODY_LIMIT = 4096
_PHONES = ("iphone", "ipad", "android")
_APPLE = ("iphone", "ipad")
# What browsers and mail programs say of themselves when nobody has pressed the link yet.
_AHEAD = ("Sec-Purpose", "Purpose", "X-Purpose", "X-Moz")
_LOOKS_AHEAD = ("prefetch", "preview", "prerender")


async def _open(request: web.Request, parts: Parts, _caller: Caller) -> web.StreamResponse:
    said = await _claims(request, parts)
    campaign = None if said is None else _in_force(parts, said["campaign"])
    if said is None or campaign is None:
        return over(languages_of(request))
    now, key, world = parts.clock(), said["key"], world_of(parts)

    def read(conn: Connection) -> tuple[tuple[Row, Offer, Item] | None, bool]:
        found = row_of(conn, world, key, now)
        return found, found is not None and may_note(conn, parts, found[0].person, now)

    found, noted = await parts.store.aread(read)
    own_page = campaign.landing or not links_of(campaign)
    leads_to = _leads_to(request, parts, campaign, said["place"])
    if (found is None) if own_page else (leads_to is None):
        return over(languages_of(request))
    if found is not None and found[0].expires_at <= now:
        return over(languages_of(request))
    if found is not None and _pressed(request):
        await _clicked(parts, found, said, now)
    if own_page and found is not None:
        return _landing(request, parts, campaign, found, leads_to, now, noted=noted)
    return web.Response(status=302, headers={**PAGE_HEADERS, "Location": str(leads_to)})


async def _redeem(request: web.Request, parts: Parts, _caller: Caller) -> web.StreamResponse:
    await read_body(request, BODY_LIMIT)
    said = await _claims(request, parts)
    if said is None or _in_force(parts, said["campaign"]) is None:
        return over(languages_of(request))
    now, key, world = parts.clock(), said["key"], world_of(parts)

    def write(conn: Connection) -> Item:
        found = row_of(conn, world, key, now)
        if found is None:
            raise NoSuchOffer("this offer is gone")
        row, offer, _ = found
        # What was redeemed before they said no writes nothing when it is pressed again.
        if row.redeemed_at is None and not may_note(conn, parts, row.person, now):
            raise NotToBeRedeemed(
                "this offer is not redeemed here any more: its reader has agreed to nothing by "
                "which that could be noted"
            )
        channel = said.get("channel") or offer.channel
        return mark(conn, world, row.person, Mark(key, "redeemed"), now, channel)

    try:
        item = await parts.store.awrite(write)
    except (NoSuchOffer, Over):
        return over(languages_of(request))
    except NotToBeRedeemed as error:
        if "text/html" in request.headers.get("Accept", ""):
            return _to_its_page(request)  # which has no button by now, and says why
        raise Problem(409, f"{error}.") from None
    parts.tail.grew()
    if "text/html" not in request.headers.get("Accept", "text/html"):
        return answer(item)
    return _to_its_page(request)


def _to_its_page(request: web.Request) -> web.Response:
    """Lead from the button to the page, by the last part of its own path.

    So that loading again redeems nothing.
    """
    assert isinstance(request, Asked)
    here = quote(request.named, safe="")
    return web.Response(status=303, headers={**PAGE_HEADERS, "Location": here})


async def _claims(request: web.Request, parts: Parts) -> dict[str, Any] | None:
    """Read the link; None where it is too old. Raises Problem 404 where it is none of ours."""
    try:
        return await read_link(request, parts, OPEN)
    except Problem as problem:
        if problem.status == 410:
            return None
        raise


def _in_force(parts: Parts, name: str) -> Campaign | None:
    """Give a campaign that may still be opened."""
    campaign = parts.campaigns().campaigns.get(name)
    if campaign is None or not campaign.active:
        return None
    if campaign.valid_until is not None and campaign.valid_until <= parts.clock():
        return None
    return campaign


def _leads_to(request: web.Request, parts: Parts, campaign: Campaign, place: str) -> str | None:
    """Give the address on the web that a campaign names; None where it names none that may be."""
    hosts = parts.campaigns().link_hosts
    ways, faults = fill_links(links_of(campaign), place, campaign.id, hosts)
    leads_to = target(ways, phone=any(word in _agent(request) for word in _PHONES))
    return None if faults else leads_to


def _pressed(request: web.Request) -> bool:
    """Whether a person has pressed the link, as far as the request tells."""
    said = " ".join(request.headers.get(name, "") for name in _AHEAD).lower()
    return request.method == "GET" and not any(word in said for word in _LOOKS_AHEAD)


async def _clicked(
    parts: Parts, found: tuple[Row, Offer, Item], said: dict[str, Any], now: float
) -> None:
    """Note a click, once; a disk that is full keeps nobody from their offer."""
    row, offer, _ = found
    if row.state in {"clicked", "converted"}:
        return
    channel = said.get("channel") or offer.channel
    try:
        await parts.store.awrite(lambda c: note(c, parts, row.key, "clicked", channel, now))
    except StoreFailed:
        return
    parts.tail.grew()


def _landing(
    request: web.Request,
    parts: Parts,
    campaign: Campaign,
    found: tuple[Row, Offer, Item],
    leads_to: str | None,
    now: float,
    *,
    noted: bool,
) -> web.Response:
    row, _, item = found
    place = parts.places.facts(campaign.landing_place or item.place)
    said = Landing(
        item=item,
        campaign=campaign,
        place=place,
        more=leads_to,
        languages=languages_of(request),
        expires_at=row.expires_at,
        redeemed_at=row.redeemed_at,
        now=now,
        noted=noted,
        phone="iphone" if any(word in _agent(request) for word in _APPLE) else "",
        hosts=parts.campaigns().link_hosts,
    )
    return show(said, parts.ingest.index, parts.places)


def _agent(request: web.Request) -> str:
    return request.headers.get("User-Agent", "").lower()


_NO_LINK = Content(meaning="This is no link of ours, or it was changed on its way.")
_OVER = Content(
    meaning="The offer is over: a page says so.", schema={"type": "string"}, media=("text/html",)
)

ROUTES = (
    Route(
        method="GET",
        path="/o/{id}",
        endpoint=_open,
        roles=frozenset(),
        summary="Open an offer by its link: its own page, or on to where its campaign leads.",
        answers={
            200: Content(
                meaning="The offer's page.", schema={"type": "string"}, media=("text/html",)
            ),
            302: Content(meaning="To the campaign's page."),
            404: _NO_LINK,
            410: _OVER,
        },
        loose=True,
    ),
    Route(
        method="POST",
        path="/o/{id}",
        endpoint=_redeem,
        roles=frozenset(),
        summary="Redeem an offer: the button of its page.",
        answers={
            200: Content(meaning="It is redeemed.", schema=Item, media=(JSON,)),
            303: Content(meaning="To its page, which says what became of it."),
            404: _NO_LINK,
            409: Content(
                meaning="It is not redeemed here, or of its reader nothing may be noted any more."
            ),
            410: _OVER,
        },
        loose=True,
    ),
)
