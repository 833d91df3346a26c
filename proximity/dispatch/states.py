"""The question: what is known of an offer's way to its reader, whatever order the news come in.

``STATES`` is a table, from the least that can be known of an offer to the most. News move an offer
up in it and never down, so that a receipt which overtakes the record of its hand-over, or comes
twice, changes nothing in the end. Pure: who tells the news, and where it is written, is
``offers``' and ``receipts``'.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["RECEIPTS", "SEEN", "STATES", "Row", "fold", "furthest"]


class Row(NamedTuple):
    """A row of ``STATES``.

    ``told``: it is heard of from the reader's side, and not ours to find out; ``dates``: the column
    of ``offers`` that says since when.
    """

    rank: int
    told: bool = False
    dates: str | None = None


STATES: dict[str, Row] = {
    # It waits in the outbox: for its turn, for the next try, or for the next channel of its route.
    "queued": Row(0),
    # Its hand-over has begun. Only the outbox says so, while it lasts.
    "leased": Row(1),
    # No channel took it. Were two of these ever told of one offer, what says more of the channels
    # counts: a refusal came from a provider, an expiry from our own clock.
    "suppressed": Row(2),
    "expired": Row(3),
    "dead_endpoint": Row(4),
    "failed": Row(5),
    # A channel took it, and whatever another one said is history.
    "accepted": Row(6),
    "delivered": Row(7, told=True),
    "opened": Row(8, told=True, dates="read_at"),
    "clicked": Row(9, told=True, dates="read_at"),
    "converted": Row(10, told=True, dates="redeemed_at"),
}

RECEIPTS = frozenset(name for name, row in STATES.items() if row.told)
"""News that come from the reader's side."""
_RANKS = {name: row.rank for name, row in STATES.items()}
SEEN = frozenset(name for name, row in STATES.items() if row.dates is not None)
"""States in which its reader has it before them: no channel has to carry it any more."""


def furthest(deliveries: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Give that of an offer's delivery records, in the order written, which says most of it.

    Of records that say as much the last; one of a try that is to be repeated says least.
    """
    return max(reversed(deliveries), key=lambda one: _RANKS.get(one["outcome"], 0))


def fold(state: str, news: str) -> str:
    """Give the state of an offer in ``state`` once ``news`` is known: whichever says more.

    Raises KeyError where either is no state.
    """
    return news if STATES[news].rank > STATES[state].rank else state
