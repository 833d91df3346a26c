"""What lies in people's inboxes, and what becomes of it there."""

from proximity.inbox.inbox import INTERVAL, Item, Look, look, open_items
from proximity.inbox.marking import Mark, NoSuchOffer, NotToBeRedeemed, Over, mark
from proximity.inbox.pace import Pace

__all__ = [
    "INTERVAL", "Item", "Look", "Mark", "NoSuchOffer", "NotToBeRedeemed", "Over", "Pace", "look",
    "mark", "open_items",
]  # fmt: skip
