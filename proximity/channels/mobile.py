"""The question: what does an app on a phone get of an offer, and what if that is too much.

What FCM and APNs share: the fields that the app reads, how insistent a message of a purpose is, and
which part goes first where the whole does not fit. Pure; it knows no provider's form.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from msgspec.structs import replace

from proximity.model import digest, format_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from proximity.model import Offer

__all__ = [
    "MOST_BYTES",
    "WEIGHTS",
    "Weight",
    "app_fields",
    "apple_fields",
    "collapse_id",
    "fit",
    "weight",
]

MOST_BYTES = 4096
"""Of a payload, for FCM and for APNs."""

_MOST_ID = 64
"""Bytes of an APNs collapse id; FCM names no bound, and the same id serves both."""


class Weight(NamedTuple):
    """How insistently a message is shown: Apple's interruption level and priority, FCM's own."""

    level: Literal["passive", "active", "time-sensitive"]
    apns: Literal[5, 10]
    fcm: Literal["NORMAL", "HIGH"]


_SHOWN = Weight("active", 10, "HIGH")
WEIGHTS: dict[str, Weight] = {
    # An offer at a place is over in minutes, so it must not wait until the phone wakes of itself;
    # but it does not break through a focus either: Apple forbids that for advertising.
    "marketing": _SHOWN,
    "social": _SHOWN,
    # Something to read lies there until the person looks.
    "content": Weight("passive", 5, "NORMAL"),
    "opt-in": Weight("passive", 5, "NORMAL"),
    # Asked for by the person, and useless later.
    "reminder": Weight("time-sensitive", 10, "HIGH"),
    "service": Weight("time-sensitive", 10, "HIGH"),
}
"""Purpose -> weight; every purpose of the campaigns has a row."""


def weight(purpose: str) -> Weight:
    """Give the weight of a purpose; one that is not listed is shown plainly."""
    return WEIGHTS.get(purpose, _SHOWN)


def app_fields(offer: Offer) -> dict[str, str]:
    """Give what the app reads beside title and text: all of it text, for FCM takes nothing else.

    ``link_app``, ``link_universal`` and ``link_web`` are ways to the same thing; ``receipt`` is
    where the app tells that it has shown or opened the offer.
    """
    fields: dict[str, str | None] = {
        "key": offer.key,
        "campaign": offer.campaign,
        "purpose": offer.purpose,
        "place": offer.place,
        "expires_at": format_time(offer.expires_at),
        "link": offer.link,
        **{f"link_{kind}": link for kind, link in offer.links.items()},
        "terms": offer.terms,
        "withdraw": offer.withdraw,
        "receipt": offer.receipt,
    }
    return {name: text for name, text in fields.items() if text}


def collapse_id(key: str) -> str:
    """Give the id by which a device keeps one of several attempts: the key, or a digest of it."""
    plain = key.isascii() and key.isprintable() and " " not in key
    return key if plain and 0 < len(key) <= _MOST_ID else digest("collapse", key)


def apple_fields(offer: Offer) -> dict[str, Any]:
    """Give what an Apple phone reads beside title and text, whoever brings it (Apple's ``aps``).

    Messages of one place lie together. Where the offer has a receipt, the app's own extension is
    woken before it is shown, and can tell of its arrival.
    """
    level = weight(offer.purpose).level
    fields: dict[str, Any] = {"interruption-level": level, "thread-id": offer.place[:64]}
    if level != "passive":
        fields["sound"] = "default"
    if offer.receipt:
        fields["mutable-content"] = 1
    return fields


def fit(offer: Offer, size: Callable[[Offer], int], most: int = MOST_BYTES) -> Offer | None:
    """Give the fullest form of an offer that is no larger than ``most``; None where there is none.

    ``size`` tells how many bytes an offer makes. Terms go first, for they stand on the landing page
    too; then other ways to the same link, then the ends of text and title. Link, receipt and
    withdrawal stay: without them the message is of no use to anybody.
    """
    small = offer
    for small in _smaller(offer):
        if size(small) <= most:
            return small
    for name in ("text", "title"):
        whole = getattr(small, name) or ""
        if size(_cut(small, name, 0)) > most:
            small = _cut(small, name, 0)
            continue
        least, over = 0, len(whole)  # `least` characters fit, `over` do not
        while over - least > 1:
            middle = (least + over) // 2
            if size(_cut(small, name, middle)) <= most:
                least = middle
            else:
                over = middle
        return _cut(small, name, least)
    return None


def _smaller(offer: Offer) -> Iterator[Offer]:
    yield offer
    yield (offer := replace(offer, terms=None))
    yield (offer := replace(offer, links={}))
    # A name as long as a page is an accident; the app needs it to look something up, cut or not.
    yield replace(offer, campaign=offer.campaign[:128], place=offer.place[:128])


def _cut(offer: Offer, name: str, characters: int) -> Offer:
    """Keep the beginning of a text, and show that it is one."""
    whole: str = getattr(offer, name) or ""
    # Not in the middle of a joined emoji, which would show as another one.
    begun = whole[:characters].rstrip().rstrip("\u200d")
    change: dict[str, Any] = {name: begun + "…" if characters else ""}
    return replace(offer, **change)
