"""Which phones are told which regions, in the reply to what they report?

Remembers, for a while and in memory alone, what each phone was last told; a phone that is forgotten
is told everything anew. Which regions, ``phones.arming`` says; how, the feeds; whether a person may
be processed, whoever opens this.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import product
from typing import TYPE_CHECKING

import msgspec

from proximity.feeds import owntracks, transistor
from proximity.model import Fix
from proximity.phones.arming import Phone, Surroundings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from geofences import FenceIndex
    from proximity.feeds import Answer, Decoded, Incoming
    from proximity.ingest.admission import Receipt
    from proximity.phones.arming import Client, Order

CLIENTS: dict[str, Callable[[Incoming], Client]] = {
    "owntracks": owntracks.client,
    "transistor": transistor.client,
}
"""The feeds whose clients can be told regions, and what tells how many and how."""

MOST_PHONES = 20_000
"""Phones remembered at once, some 1.5 kB each; beyond, those silent for longest are forgotten."""

KEPT_S = 86_400.0
"""A phone that has been silent for a day is forgotten: it may be anywhere, and was somewhere."""

FRESH_S = 600.0
"""An older fix does not say where the phone is: it is emptying its queue."""

AHEAD_S = 60.0
"""What a phone's clock may be ahead; beyond it ingest refuses the fix as well."""


class Arming:
    """Says what a reply tells a phone about regions.

    ``index`` gives the fences in force, ``may_process`` whether a subject's person agrees now,
    ``clock`` Unix seconds. Use from the event loop.
    """

    def __init__(
        self,
        index: Callable[[], FenceIndex],
        may_process: Callable[[str], bool],
        clock: Callable[[], float],
    ) -> None:
        self._may_process = may_process
        self._clock = clock
        self._surroundings = Surroundings(index)
        self._phones: OrderedDict[tuple[str, str], Phone] = OrderedDict()  # by subject and feed

    def __len__(self) -> int:
        return len(self._phones)

    def add(
        self,
        said: Answer,
        feed: str,
        message: Incoming,
        decoded: Decoded,
        receipt: Receipt | None,
    ) -> Answer:
        """Give the answer to a message, with what arms the phone where that is to change.

        ``receipt`` is what ingest said of the message's records, None where there were none.
        """
        row = CLIENTS.get(feed)
        if row is None:
            return said
        subject, asked = self._who(feed, message, decoded)
        if subject is None:
            return said
        agreed, client = self._may_process(subject), row(message)
        phone = self._phones.pop((subject, feed), None)
        if not agreed:
            # The person withdrew: the phone is to wake no more, and nothing is kept of it.
            orders = phone.put(()) if phone is not None else ()
        else:
            if phone is None:
                phone = Phone([None] * client.most if client.empties else [])
            self._keep((subject, feed), phone)
            fix = _newest(decoded, self._clock())
            orders = self._arm(phone, client.most, fix, receipt, asked=asked)
        return msgspec.structs.replace(said, body=client.write(orders)) if orders else said

    def forget(self, subjects: Iterable[str]) -> None:
        """Forget where phones are and what they watch, but for how many slots are to be emptied."""
        for key in product(subjects, CLIENTS):
            phone = self._phones.get(key)
            if phone is not None:
                self._phones[key] = phone.blank()

    def _who(self, feed: str, message: Incoming, decoded: Decoded) -> tuple[str | None, bool]:
        """Name the one phone that a message is of, if it is of one, and whether it asks."""
        if not decoded.records:
            asks = owntracks.asks(message) if feed == "owntracks" else None
            return asks, asks is not None
        subjects = {record.subject for record in decoded.records}
        return (subjects.pop() if len(subjects) == 1 else None), False

    def _keep(self, key: tuple[str, str], phone: Phone) -> None:
        """Remember a phone as the last heard; forget the longest silent."""
        now = self._clock()
        phone.heard = now
        self._phones[key] = phone
        while len(self._phones) > MOST_PHONES or now > self._eldest().heard + KEPT_S:
            self._phones.popitem(last=False)

    def _eldest(self) -> Phone:
        return next(iter(self._phones.values()))

    def _arm(
        self, phone: Phone, most: int, fix: Fix | None, receipt: Receipt | None, *, asked: bool
    ) -> tuple[Order, ...]:
        repeated = receipt is not None and receipt.duplicate > 0 and receipt.accepted == 0
        if receipt is not None and not repeated:
            phone.unsure = False  # it has gone on to something new: the last reply arrived
        whole = phone.at is None or asked or (repeated and phone.unsure)
        if fix is not None:
            phone.moved(fix.lon, fix.lat, fix.at)
        if phone.at is None:
            return ()  # it is not known where it is
        orders = phone.rearm(self._surroundings, most, self._clock(), whole=whole)
        phone.unsure = phone.unsure or bool(orders)
        return orders


def _newest(decoded: Decoded, now: float) -> Fix | None:
    """Give the newest fix that says where the phone is now; a mock one says nothing."""
    fixes = [
        record
        for record in decoded.records
        if isinstance(record, Fix)
        and not record.mock
        and now - FRESH_S <= record.at <= now + AHEAD_S
    ]
    return max(fixes, key=lambda fix: fix.at, default=None)
