"""The question: by which links can an offer's reader prove that they were sent it.

Where the campaigns file says under which address this server is reached, what is handed over has a
link to withdraw by, one by which a device tells what became of it, and its own link leads by way of
this server where the campaign has ``links``, or none but a page here. They are signed (``links``)
and made at the moment of the hand-over, so that they are in no ledger. What they lead to is written
in the campaigns file: the link names a campaign, never an address.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from msgspec.structs import replace

from proximity.consent import links
from proximity.store.keys import store_key

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from proximity.model import Offer

__all__ = ["OPEN", "RECEIPT", "Stamp", "open_url", "receipt_url", "stamp", "stamp_of"]

OPEN = "open"
"""What the claim ``do`` of an offer's own link says, so that no other link passes for one."""
RECEIPT = "receipt"
"""What it says of the link by which a device tells what became of an offer."""
RECEIPT_S = 7 * 86400.0
"""How long after an offer's end its receipt is taken, seconds: a phone that was off for a week-end
tells late, and the reports of a week wait no longer."""


class Stamp(NamedTuple):
    """What offers are signed with at Unix second ``now``: the store's key for links."""

    key: bytes
    public_url: str
    now: float


def stamp_of(connection: Connection, public_url: str | None, now: float) -> Stamp | None:
    """Give what offers are signed with at Unix second ``now``; None where nobody could follow."""
    return (
        None if public_url is None else Stamp(store_key(connection, "links", now), public_url, now)
    )


def stamp(offer: Offer, by: Stamp | None) -> Offer:
    """Give an offer with its signed links; as it is where there is nothing to sign with."""
    if by is None:
        return offer
    link, ways = offer.link, offer.links
    text = offer.text
    if link is None:  # there is nothing but a page of ours to lead to
        link = open_url(by, offer)
    elif ways:
        signed = open_url(by, offer)
        ways = {way: signed if way != "app" else other for way, other in ways.items()}
        text, link = text.replace(link, signed), signed
    withdraw = links.withdraw_url(
        by.key, by.public_url, offer.person, offer.purpose, offer.channel, by.now
    )
    receipt = receipt_url(by, offer)
    return replace(offer, text=text, link=link, links=ways, withdraw=withdraw, receipt=receipt)


def open_url(by: Stamp, offer: Offer) -> str:
    """Make the link that opens an offer for as long as it is good."""
    claims: dict[str, Any] = {
        "do": OPEN, "campaign": offer.campaign, "place": offer.place, "key": offer.key,
        "channel": offer.channel,
    }  # fmt: skip
    signed = links.sign(by.key, claims, offer.expires_at)
    return f"{by.public_url.rstrip('/')}/o/{quote(signed)}"


def receipt_url(by: Stamp, offer: Offer) -> str:
    """Make the link by which a device tells what became of an offer on its channel."""
    claims = {"do": RECEIPT, "key": offer.key, "channel": offer.channel}
    signed = links.sign(by.key, claims, offer.expires_at + RECEIPT_S)
    return f"{by.public_url.rstrip('/')}/r/{quote(signed)}"
