"""What does somebody see who opens an offer? What it says, where it is, until when, on what terms.

One page without a script: what it says is written for its reader's language and the place's clock
when it is asked for. Nothing on it comes from anywhere else. Knows no route and no store.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from aiohttp import web

from proximity.content import sketch
from proximity.content.languages import direction, format_money
from proximity.content.moments import choose_sayings, say_hours, say_open, say_until, say_when
from proximity.server.pages import page_headers
from proximity.windows import load_zone

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from zoneinfo import ZoneInfo

    from geofences import Fence, FenceIndex
    from proximity.campaigns.campaigns import Campaign, PlaceFacts
    from proximity.inbox import Item
    from proximity.site.places import Places

__all__ = ["OVER", "WORDS", "Landing", "over", "show"]

MOST_LOOKED_AT = 500
"""Fences near a place that are looked at for its neighbours, which are those of its venue."""


class Words(NamedTuple):
    """What the page says in one language."""

    price: str
    terms: str
    hours: str
    map: str
    route: str
    on_a_map: str
    more: str
    redeem: str
    redeem_code: str
    unnoted: str
    used: str
    code: str
    withdraw: str


WORDS = {
    "en": Words(
        "Price: {price}", "Terms", "Opening hours", "Map: {place}", "Show me the way", "On a map",
        "More about it", "Redeem now", "Press this at the till: the code is shown once you do.",
        "It cannot be redeemed here any more: that would be noted of you, and you no longer "
        "agree to anything being noted. Please ask at the till.",
        "Redeemed {when}", "Your code", "No more messages like this",
    ),
    "fr": Words(
        "Prix : {price}", "Conditions", "Horaires", "Plan : {place}", "M'y rendre", "Sur une carte",
        "En savoir plus", "Utiliser maintenant",
        "Appuyez une fois à la caisse : le code s'affiche alors.",
        "Elle ne peut plus être utilisée ici : cela serait noté à votre sujet, et vous "
        "n'acceptez plus qu'on note quoi que ce soit. Demandez à la caisse.",
        "Utilisée le {when}", "Votre code", "Ne plus recevoir de tels messages",
    ),
    "de": Words(
        "Preis: {price}", "Bedingungen", "Öffnungszeiten", "Lageplan: {place}", "Zeig mir den Weg",
        "Auf einer Karte", "Mehr dazu", "Jetzt einlösen",
        "Erst an der Kasse drücken: Dann erscheint der Code.",
        "Hier lässt es sich nicht mehr einlösen: Das würde über Sie vermerkt, und Sie sind "
        "mit keinem Vermerk mehr einverstanden. Bitte fragen Sie an der Kasse.",
        "Eingelöst am {when}", "Ihr Code", "Keine solchen Nachrichten mehr",
    ),
    "es": Words(
        "Precio: {price}", "Condiciones", "Horario", "Plano: {place}", "Cómo llegar", "En un mapa",
        "Más información", "Canjear ahora",
        "Púlselo en la caja: entonces aparece el código.",
        "Ya no se puede canjear aquí: se anotaría sobre usted, y ya no acepta que se anote "
        "nada. Pregunte en la caja.",
        "Canjeada el {when}", "Su código", "No recibir más mensajes así",
    ),
}  # fmt: skip
"""The page's languages: the same as those in which moments are said."""

OVER = {
    "en": "This offer is over.",
    "fr": "Cette offre est terminée.",
    "de": "Dieses Angebot ist vorbei.",
    "es": "Esta oferta ha terminado.",
}

# Colours of text on their ground hold 4.5 to 1 and more, light and dark alike (WCAG 2.2, 1.4.3).
STYLE = """
:root{color-scheme:light dark;--ink:#1d2129;--soft:#565d69;--ground:#f3f4f6;--card:#fff;
--line:#d5d9e0;--main:#0b57a4;--on-main:#fff;--good:#1b6b3a;--earth:#eceff3;--venue:#e0e6ee;
--near:#cfd7e2}
@media(prefers-color-scheme:dark){:root{--ink:#eceef2;--soft:#adb5c2;--ground:#12151a;--card:#1c2027;
--line:#363c47;--main:#8fc0ff;--on-main:#0a1a2e;--good:#8fdcae;--earth:#171b21;--venue:#232a34;
--near:#323b48}}
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--ink);font:1.0625rem/1.5 system-ui,sans-serif}
main{max-width:36rem;margin:0 auto;padding:1rem}
article{background:var(--card);border:1px solid var(--line);border-radius:1rem;overflow:hidden}
.said{padding:1.5rem 1.25rem 1rem}
.shop{margin:0 0 .25rem;color:var(--soft);font-size:.9375rem}
h1{margin:0 0 .75rem;font-size:1.625rem;line-height:1.25;overflow-wrap:anywhere}
h2{margin:0 0 .25rem;font-size:1rem}
p{margin:0 0 .75rem;overflow-wrap:anywhere}
.text{font-size:1.125rem;white-space:pre-line}
.facts{margin:0;padding:0;list-style:none;display:flex;flex-wrap:wrap;gap:.5rem}
.facts li{border:1px solid var(--line);border-radius:2rem;padding:.25rem .875rem;font-size:.9375rem}
.facts .price{font-weight:700}
.do{padding:0 1.25rem 1.25rem;display:grid;gap:.75rem}
.do p{margin:0;color:var(--soft);font-size:.9375rem}
form{margin:0}
button,.go{display:block;width:100%;min-height:3rem;padding:.75rem 1rem;border-radius:.75rem;
font:inherit;font-weight:600;text-align:center;text-decoration:none;cursor:pointer;
border:2px solid var(--main);background:var(--main);color:var(--on-main)}
.go{background:none;color:var(--main)}
button:focus-visible,a:focus-visible{outline:3px solid var(--ink);outline-offset:2px}
.used{border:2px solid var(--good);border-radius:.75rem;padding:.75rem 1rem;text-align:center}
.do .used p{color:var(--good);font-weight:600}
.do .used .code{color:var(--ink);font:700 2rem/1.3 ui-monospace,monospace;letter-spacing:.06em}
.map{display:block;width:100%;height:auto;border-block:1px solid var(--line)}
.ground{fill:var(--earth)}.venue{fill:var(--venue);stroke:var(--soft);stroke-width:1.5;
stroke-dasharray:6 4}.near{fill:var(--near);stroke:var(--card);stroke-width:1}
.place{fill:var(--main);fill-opacity:.28;stroke:var(--main);stroke-width:3}
.way{fill:none;stroke-linecap:round;stroke-linejoin:round;stroke-opacity:.45;stroke-dasharray:none}
.near.way{stroke:var(--near);stroke-opacity:1}.venue.way{stroke:var(--venue);stroke-opacity:1}
.pin{fill:var(--main);stroke:var(--card);stroke-width:3}
svg text{font:600 15px system-ui,sans-serif;fill:var(--ink);text-anchor:middle;
paint-order:stroke;stroke:var(--card);stroke-width:4px;stroke-linejoin:round}
svg .name{font-size:19px}svg .beside{font-weight:400;fill:var(--soft)}
svg .metres{text-anchor:start}.scale{fill:none;stroke:var(--ink);stroke-width:2.5}
.north path{fill:var(--ink)}
.where{padding:1.25rem;display:grid;gap:1rem}
dl{margin:0;display:grid;grid-template-columns:auto 1fr;gap:.125rem 1rem;font-size:.9375rem}
dt{color:var(--soft)}dd{margin:0}
.open{font-weight:600;color:var(--good);margin:0 0 .25rem}
.small{font-size:.875rem;color:var(--soft);white-space:pre-line}
footer{padding:1rem .25rem;font-size:.875rem;text-align:center}
a{color:var(--main)}
.gone{padding:3rem 1.25rem;text-align:center}
""".replace("\n", "")
LANDING_HEADERS = page_headers(STYLE)


class Landing(NamedTuple):
    """What a page is made of: the offer, its campaign, and the place that it shows.

    ``more`` is where the campaign itself leads, ``languages`` what its reader's browser asks for;
    ``phone`` is ``iphone``, ``android`` or empty; ``hosts`` the only ones that links may lead to.
    ``noted``: what its reader does with it may be written down.
    """

    item: Item
    campaign: Campaign
    place: PlaceFacts
    more: str | None
    languages: Sequence[str]
    expires_at: float
    redeemed_at: float | None
    now: float
    phone: str = ""
    hosts: frozenset[str] = frozenset()
    noted: bool = True


def show(said: Landing, index: FenceIndex, places: Places) -> web.Response:
    """Write the page of an offer."""
    language = choose_sayings([said.item.language, *said.languages])
    words, zone = WORDS[language], load_zone(said.place.timezone) or load_zone("UTC")
    assert zone is not None, "UTC is known everywhere"
    fence, venue, around = _surroundings(said.place, index, places)
    title = said.item.title or said.place.name or said.campaign.id
    body = [*_offer(said, title, words, zone, language), *_deeds(said, words, zone, language)]
    if fence is not None:
        label = words.map.format(place=fence.name)
        body.append(sketch.draw(fence, venue, around, label))
    body += _where(said, fence, words, zone, language)
    foot = ""
    if said.item.withdraw is not None:
        foot = (
            f'<footer><a href="{escape(said.item.withdraw)}">{escape(words.withdraw)}</a></footer>'
        )
    return _page(language, title, f"<article>{''.join(body)}</article>{foot}")


def over(languages: Sequence[str]) -> web.Response:
    """Write the page of an offer that is over."""
    language = choose_sayings(languages)
    said = escape(OVER[language])
    answer = _page(language, OVER[language], f'<article><h1 class="gone">{said}</h1></article>')
    answer.set_status(410)
    return answer


def _page(language: str, title: str, body: str) -> web.Response:
    text = (
        f'<!doctype html><html lang="{language}"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>"
        f"<body><main>{body}</main></body></html>"
    )
    return web.Response(text=text, headers=LANDING_HEADERS)


def _offer(said: Landing, title: str, words: Words, zone: ZoneInfo, language: str) -> Iterator[str]:
    """Write what is offered; it keeps its own language and direction."""
    item = said.item
    own = f'lang="{escape(item.language)}" dir="{direction(item.text) or "auto"}"'
    yield '<div class="said">'
    if said.place.name and said.place.name != title:
        yield f'<p class="shop">{escape(said.place.name)}</p>'
    yield f'<h1 {own}>{escape(title)}</h1><p class="text" {own}>{escape(item.text)}</p>'
    facts = [("", say_until(said.expires_at, said.now, zone, language))]
    price = said.campaign.price
    if price is not None:
        shown = format_money(price.amount, price.currency, language)
        facts.insert(0, ("price", words.price.format(price=shown)))
    yield '<ul class="facts">'
    for kind, fact in facts:
        yield f'<li class="{kind}">{escape(fact)}</li>'
    yield "</ul></div>"


def _deeds(said: Landing, words: Words, zone: ZoneInfo, language: str) -> Iterator[str]:
    """Write what its reader can do: redeem it, or read on where the campaign leads."""
    item = said.item
    parts: list[str] = []
    if said.redeemed_at is not None:
        used = words.used.format(when=say_when(said.redeemed_at, zone, language))
        parts.append(f'<div class="used" role="status"><p>{escape(used)}</p>')
        if item.code is not None:
            code = f'<p class="code">{escape(item.code)}</p>'
            parts.append(f"<p>{escape(words.code)}</p>{code}")
        parts.append("</div>")
    elif item.redeem is not None and not said.noted:
        parts.append(f"<p>{escape(words.unnoted)}</p>")
    elif item.redeem is not None:
        # Without an action the form goes to where the page is: the link itself.
        parts.append(f'<form method="post"><button>{escape(words.redeem)}</button></form>')
        if item.redeem == "code":
            parts.append(f"<p>{escape(words.redeem_code)}</p>")
    if said.more is not None:
        more = escape(said.more)
        parts.append(f'<a class="go" href="{more}" rel="noreferrer">{escape(words.more)}</a>')
    if parts:
        yield f'<div class="do">{"".join(parts)}</div>'


def _where(
    said: Landing, fence: Fence | None, words: Words, zone: ZoneInfo, language: str
) -> Iterator[str]:
    """Write hours, the way there and the small print."""
    parts: list[str] = []
    windows = said.place.active
    if windows:
        now = say_open(windows, said.now, zone, language)
        rows = "".join(
            f"<dt>{escape(days)}</dt><dd>{escape(hours)}</dd>"
            for days, hours in say_hours(windows, language)
        )
        parts.append(
            f'<section><h2>{escape(words.hours)}</h2><p class="open">{escape(now)}</p>'
            f"<dl>{rows}</dl></section>"
        )
    if fence is not None:
        parts += [
            f'<a class="go" href="{escape(link)}" rel="noreferrer">{escape(text)}</a>'
            for text, link in _ways(said, fence, words)
        ]
    if said.item.terms is not None:
        terms = said.item.terms
        own = f'lang="{escape(said.item.language)}" dir="{direction(terms) or "auto"}"'
        parts.append(
            f'<section><h2>{escape(words.terms)}</h2><p class="small" {own}>{escape(terms)}</p>'
            "</section>"
        )
    if parts:
        yield f'<div class="where">{"".join(parts)}</div>'


def _ways(said: Landing, fence: Fence, words: Words) -> Iterator[tuple[str, str]]:
    """Give links to the way there: to the phone's own maps, and to an open map where allowed."""
    lon, lat = fence.centre
    spot, name = f"{lat:.6f},{lon:.6f}", quote(fence.name, safe="")
    if said.phone == "iphone":
        yield words.route, f"maps://?daddr={spot}"
    else:
        yield words.route, f"geo:{spot}?q={spot}({name})"
    if not said.hosts or MAP_HOST in said.hosts:
        yield (
            words.on_a_map,
            f"https://{MAP_HOST}/?mlat={lat:.6f}&mlon={lon:.6f}#map=17/{spot.replace(',', '/')}",
        )


MAP_HOST = "www.openstreetmap.org"
"""Where the open map is. Links lead there only where the campaigns file lets them."""


def _surroundings(
    place: PlaceFacts, index: FenceIndex, places: Places
) -> tuple[Fence | None, Fence | None, list[Fence]]:
    """Find the fence of a place (a zone's: the nearest about it), its venue and its neighbours.

    Neighbours are of the same venue alone: which other grounds a shop watches is nobody's to see.
    """
    line = [one for name in (place.id, *place.parents) if (one := index.get(name)) is not None]
    if not line:
        return None, None, []
    fence, venue = line[0], line[-1] if len(line) > 1 else None
    whole = line[-1].id
    lon, lat = fence.centre
    near = index.within(lon, lat, sketch.reach_m(fence, venue))[:MOST_LOOKED_AT]
    found = [index.get(name) for name, _ in near if name not in {one.id for one in line}]
    around = [
        one
        for one in found
        if one is not None and not one.exclude and whole in places.facts(one.id).parents
    ]
    return fence, venue, around
