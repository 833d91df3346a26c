"""The question: what becomes of an offer that its reader reads, redeems or sets aside.

Read and redeemed are what all channels share, so they go through the one door for it
(``dispatch.receipts``); what is set aside was seen, and leaves the inbox for good. Doing it again
changes nothing. Functions on the caller's connection; ``now`` is given, in Unix seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from proximity.channels.inbox import Inbox
from proximity.dispatch import offers, receipts
from proximity.inbox import codes
from proximity.inbox.inbox import is_shown, row_of
from proximity.model import ProximityError

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from proximity.dispatch.weighing import World
    from proximity.inbox.inbox import Item

__all__ = ["Did", "Mark", "NoSuchOffer", "NotToBeRedeemed", "Over", "mark"]

Did = Literal["read", "redeemed", "dismissed"]


class Mark(msgspec.Struct, frozen=True):
    """What somebody did with an offer of theirs."""

    key: str
    did: Did


class NoSuchOffer(ProximityError):  # noqa: N818 - these say what the offer is
    """An offer that is none of theirs."""


class Over(ProximityError):  # noqa: N818
    """An offer that is redeemed too late."""


class NotToBeRedeemed(ProximityError):  # noqa: N818
    """An offer whose campaign has it redeemed elsewhere, or not at all."""


def mark(
    connection: Connection, world: World, person: str, one: Mark, now: float, channel: str = ""
) -> Item:
    """Note what a person did with an offer at Unix second ``now``; give it as it stands then.

    ``channel`` is where they did it, else the inbox. Raises NoSuchOffer where it is none of
    theirs, Over where it is redeemed too late, NotToBeRedeemed where nobody redeems it here.
    """
    found = row_of(connection, world, one.key, now)
    if found is None or found[0].person != person:
        raise NoSuchOffer("there is no such offer in this inbox")
    row, offer, _ = found
    # In the inbox nobody does anything with what it does not show them.
    if not channel and not is_shown(connection, world, row, offer, now):
        raise NoSuchOffer("there is no such offer in this inbox")
    way = channel or Inbox.name
    if one.did != "redeemed":
        receipts.record(connection, one.key, "opened", way, now)
        if one.did == "dismissed":
            offers.set_aside(connection, one.key)
    elif row.redeemed_at is None:
        how = world.campaigns().get(row.campaign).redeem
        if how is None:
            raise NotToBeRedeemed("this offer is not redeemed here")
        if now >= row.expires_at:
            raise Over("this offer is over")
        if how == "code":
            codes.issue(connection, one.key, person, now)
        receipts.record(connection, one.key, "converted", way, now)
    after = row_of(connection, world, one.key, now)
    assert after is not None, "nobody deletes it in this transaction"
    return after[2]
