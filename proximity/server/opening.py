"""Where does the link of an offer lead? On to what the campaign in force says, or to "it is over".

The link's signature is the credential; it names a campaign and a place, never an address. So there
is nothing that could send anybody elsewhere: the address comes out of the campaigns file, is filled
in and checked as when it was shown, and a phone goes by the universal link.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from proximity.content.content import links_of
from proximity.content.deeplinks import fill_links, target
from proximity.content.stamps import OPEN
from proximity.server.auth import Caller
from proximity.server.pages import PAGE_HEADERS, page, read_language, read_link
from proximity.server.problems import Problem
from proximity.server.routes import Content, Route

if TYPE_CHECKING:
    from proximity.server.parts import Parts

_PHONES = ("iphone", "ipad", "android")
OVER = {
    "en": "This offer is over.",
    "fr": "Cette offre est terminée.",
    "de": "Dieses Angebot ist vorbei.",
    "es": "Esta oferta ha terminado.",
}


async def _open(request: web.Request, parts: Parts, _caller: Caller) -> web.StreamResponse:
    try:
        said = await read_link(request, parts, OPEN)
    except Problem as problem:
        if problem.status == 410:
            return _over(request)
        raise
    rules, now = parts.campaigns(), parts.clock()
    campaign = rules.campaigns.get(said["campaign"])
    if campaign is None or not campaign.active:
        return _over(request)
    if campaign.valid_until is not None and campaign.valid_until <= now:
        return _over(request)
    ways, faults = fill_links(links_of(campaign), said["place"], campaign.id, rules.link_hosts)
    agent = request.headers.get("User-Agent", "").lower()
    leads_to = target(ways, phone=any(word in agent for word in _PHONES))
    if faults or leads_to is None:
        return _over(request)
    return web.Response(status=302, headers={**PAGE_HEADERS, "Location": leads_to})


def _over(request: web.Request) -> web.Response:
    language, words = read_language(request, OVER)
    answer = page(language, words, "")
    answer.set_status(410)
    return answer


ROUTES = (
    Route(
        method="GET",
        path="/o/{id}",
        endpoint=_open,
        roles=frozenset(),
        summary="Open an offer by its link: on to the address that its campaign names.",
        answers={
            302: Content(meaning="To the campaign's page."),
            404: Content(meaning="This is no link of ours, or it was changed on its way."),
            410: Content(
                meaning="The offer is over.", schema={"type": "string"}, media=("text/html",)
            ),
        },
        loose=True,
    ),
)
