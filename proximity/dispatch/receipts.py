"""The question: what became of an offer after a channel took it, as heard from the other side.

The one door for such news, whoever brings them: a device that followed its link, an inbox, a
landing page, a till. Each is one record in the ledger, once, and moves the offer; what its reader
has before them is not carried to them by another channel any more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from proximity.dispatch import judging, offers, outbox
from proximity.dispatch.states import RECEIPTS, SEEN
from proximity.model import ProximityError
from proximity.store import ledger, schema

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["record"]

_FIND = (
    sa.select(schema.offers.c.offer)
    .where(schema.offers.c.key == sa.bindparam("its_key"))
    .with_for_update()
)


def record(connection: Connection, key: str, outcome: str, channel: str, at: float) -> bool:
    """Write down that an offer was ``delivered``, ``opened``, ``clicked`` or ``converted``.

    ``channel`` is where it was heard, ``at`` when it happened (Unix seconds). False where that is
    known already, or there is no such offer. Raises ProximityError where it is no such news.
    """
    if outcome not in RECEIPTS:
        raise ProximityError(f"outcome {outcome!r:.40} is none of {', '.join(sorted(RECEIPTS))}")
    # The offer's own row first, and of the outbox only what nobody else holds: whoever hands over
    # holds its outbox row and then looks here, so that neither waits for the other in a ring.
    found = connection.scalar(_FIND, {"its_key": key})
    if found is None:
        return False
    told = judging.record(offers.decode(found), 0, at, outcome, channel=channel)
    if not ledger.append(connection, [ledger.entry(told)]):
        return False
    offers.move(connection, [offers.News(key, outcome, at)])
    if outcome in SEEN:
        outbox.take_out(connection, key, at=at, reason=outcome)
    return True
