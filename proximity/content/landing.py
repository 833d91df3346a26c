"""The question: what does a landing page promise: price, until when, whether there is any left.

Pages say it for search engines, as schema.org's Offer in JSON-LD or in attributes, or as Open
Graph's product. What else stands on a page is only searched for a store's name. The page is
strangers' and bounded. Pure; it must not know where the page came from.
"""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import msgspec

from proximity.content.prices import Price, read_price
from proximity.model import parse_time

__all__ = ["Landing", "read_landing"]

_MOST_OFFERS = 100
_MOST_TAGS = 5000
_MOST_DEPTH = 20
_GONE = ("outofstock", "soldout", "discontinued")
_UNTIL = ("priceValidUntil", "validThrough", "availabilityEnds")


class Landing(msgspec.Struct, frozen=True):
    """What a page says: prices, when they end (Unix seconds), whether all is gone, its words."""

    prices: frozenset[Price] = frozenset()
    until: float | None = None
    sold_out: bool = False
    words: str = ""


def read_landing(body: bytes) -> Landing:
    """Read a page; one that is no HTML, or says nothing of an offer, gives an empty answer."""
    scripts, markup = _parted(_without_comments(body.decode("utf-8", "replace")))
    offers: list[dict[str, Any]] = []
    for script in scripts:
        try:
            _gather(msgspec.json.decode(script.encode()), offers, _MOST_DEPTH)
        except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
            continue  # a page's own mistake: it says nothing then
    offers.append(_said_by_tags(markup))
    prices = {price for offer in offers if (price := _price(offer)) is not None}
    ends = [end for offer in offers if (end := _end(offer)) is not None]
    gone = [_is_gone(offer) for offer in offers if "availability" in offer]
    return Landing(
        prices=frozenset(prices),
        until=max(ends, default=None),
        sold_out=bool(gone) and all(gone),
        words=" ".join(unescape(_TAG.sub(" ", markup)).split()),
    )


# Patterns and cuts that go over a page once: the standard library's parser goes back over the rest
# of a hostile page at every tag that is never closed, and takes minutes for half a megabyte.
_TAG = re.compile(r"<[^<>]*>")
_META = re.compile(r"<(?:meta|link|span|div|data|time|a)\s([^<>]{1,2000})>", re.IGNORECASE)
_ATTRIBUTE = re.compile(
    r"""(?<![\w:.-])([\w:.-]{1,40})\s{0,9}=\s{0,9}(?:"([^"]{0,300})"|'([^']{0,300})'|([^\s"']{1,300}))"""
)


def _without_comments(text: str) -> str:
    kept = []
    at = 0
    while (start := text.find("<!--", at)) >= 0:
        kept.append(text[at:start])
        end = text.find("-->", start)
        if end < 0:
            return "".join(kept)
        at = end + len("-->")
    return "".join([*kept, text[at:]])


def _parted(text: str) -> tuple[list[str], str]:
    """Part a page into its JSON-LD scripts and what is no script and no style."""
    scripts: list[str] = []
    kept: list[str] = []
    at = 0
    for found in re.finditer(r"<(script|style)\b([^<>]{0,2000})>", text, re.IGNORECASE):
        if found.start() < at:
            continue  # within a script that was read
        kept.append(text[at : found.start()])
        # Upper-case end tags are rare enough to lose the page's rest to them.
        end = text.find(f"</{found[1].lower()}", found.end())
        at = len(text) if end < 0 else end
        if "application/ld+json" in found[2].lower() and len(scripts) < _MOST_OFFERS:
            scripts.append(text[found.end() : at])
    return scripts, "".join([*kept, text[at:]])


def _said_by_tags(markup: str) -> dict[str, Any]:
    """Give what attributes of tags say of one offer, the first that says a thing."""
    said: dict[str, Any] = {}
    for number, found in enumerate(_META.finditer(markup)):
        if number >= _MOST_TAGS:
            break
        attributes = {
            name.lower(): unescape(double or single or bare)
            for name, double, single, bare in _ATTRIBUTE.findall(found[1])
        }
        name = attributes.get("itemprop") or attributes.get("property") or ""
        values = (attributes.get(key) for key in ("content", "href", "datetime"))
        value = next((one for one in values if one), None)
        if name and value:
            said.setdefault(_PLAIN.get(name, name), value)
    return said


def _gather(value: Any, offers: list[dict[str, Any]], deeper: int) -> None:
    if deeper == 0 or len(offers) >= _MOST_OFFERS:
        return
    if isinstance(value, list):
        for one in value:
            _gather(one, offers, deeper - 1)
    elif isinstance(value, dict):
        if {"Offer", "AggregateOffer"} & set(_texts(value.get("@type"))):
            inner = value.get("priceSpecification")
            offers.append({**(inner if isinstance(inner, dict) else {}), **value})
        for one in value.values():
            _gather(one, offers, deeper - 1)


_PLAIN = {
    "product:price:amount": "price",
    "product:price:currency": "priceCurrency",
    "og:price:amount": "price",
    "og:price:currency": "priceCurrency",
    "product:availability": "availability",
}
"""Open Graph's names for what schema.org calls otherwise."""


def _texts(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [one for one in values if isinstance(one, str)]


def _price(offer: dict[str, Any]) -> Price | None:
    amount = offer.get("price", offer.get("lowPrice"))
    if isinstance(amount, bool) or not isinstance(amount, str | int | float):
        return None
    try:
        return read_price(f"{amount} {offer.get('priceCurrency')}")
    except ValueError:
        return None


def _end(offer: dict[str, Any]) -> float | None:
    for name in _UNTIL:
        value = offer.get(name)
        if isinstance(value, str):
            # A day alone ends with it.
            text = f"{value}T23:59:59Z" if len(value) == len("2026-05-01") else value
            try:
                return parse_time(text)
            except ValueError:
                continue
    return None


def _is_gone(offer: dict[str, Any]) -> bool:
    said = "".join(c for c in str(offer["availability"]).lower() if c.isalnum())
    return said.endswith(_GONE)
