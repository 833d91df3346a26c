"""The question: what follows in the store from what came of a hand-over.

One transaction for as many as came back together. What ends gives back the stock that nobody can
have had; what another channel is to carry goes back into the outbox for that one; dead addresses go
out of their person's record. Whoever overstayed its lease changes nothing of an offer that is
another's by now, but what it did hand over is recorded.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy.exc import DBAPIError

from proximity.dispatch import judging, offers, outbox, sends, stock
from proximity.dispatch.judging import in_doubt, onward
from proximity.dispatch.states import SEEN
from proximity.dispatch.weighing import tell
from proximity.people import endpoints
from proximity.store import StoreFailed, ledger
from proximity.store.faults import classify

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from proximity.dispatch.leasing import Lease
    from proximity.model import Delivery, Endpoint, Offer
    from proximity.people.people import People

__all__ = ["Sent", "close", "record"]

_MOST_REASON = 60


class Sent(NamedTuple):
    """What came of one hand-over; ``dead`` are the endpoints that are gone, and what was said."""

    lease: Lease
    delivery: Delivery
    dead: tuple[tuple[Endpoint, str], ...] = ()


def record(
    connection: Connection, people: People, some: Sequence[Sent], where: str
) -> Counter[str]:
    """Write what came of hand-overs; count those that another sender has by now (``fenced``).

    Also those that are not tried again since their reader has them (``seen``), and addresses that
    are gone. Of whom was erased meanwhile nothing is written any more. What cannot be written
    (``fault``) stops no other: its lease runs out. Raises what concerns the whole store, ``where``
    by name.
    """
    savepoint = connection.begin_nested()
    try:
        counts = _record(connection, people, some)
    except Exception as error:  # what concerns the store goes on from here
        if isinstance(error, DBAPIError) and classify(error, where) is not None:
            raise  # SQLite may have undone the whole transaction, savepoints and all
        savepoint.rollback()
        if isinstance(error, StoreFailed):
            raise
        if len(some) == 1:
            tell(error)
            return Counter(fault=1)
    else:
        savepoint.commit()
        return counts
    counts = Counter()
    for one in some:
        counts += record(connection, people, [one], where)
    return counts


def _record(connection: Connection, people: People, some: Sequence[Sent]) -> Counter[str]:
    counts: Counter[str] = Counter()
    held = outbox.held(connection, [one.lease for one in some])
    mine = [one for one in some if _name(one.lease) in held]
    theirs = [one for one in some if _name(one.lease) not in held]
    counts["fenced"] = len(theirs)
    known = ledger.decided(connection, [one.lease.offer.key for one in theirs])
    theirs = [one for one in theirs if one.lease.offer.key in known]
    ledger.append(connection, [ledger.entry(one.delivery) for one in (*mine, *theirs)])
    took = [one for one in theirs if one.delivery.outcome == "accepted"]
    offers.move(connection, [_news(one.lease, one.delivery) for one in took])
    again = [one for one in mine if one.delivery.next_at is not None]
    seen = _seen(connection, again)
    outbox.again(
        connection,
        [
            (one.lease, one.delivery.next_at)
            for one in again
            if one.delivery.next_at is not None and one.lease.offer.key not in seen
        ],
    )
    offers.move(
        connection,
        [_news(one.lease, one.delivery) for one in again if one.lease.offer.key not in seen],
    )
    _see_off(connection, [one for one in again if one.lease.offer.key in seen], seen)
    counts["seen"] = len(seen)
    close(connection, [(one.lease, one.delivery) for one in mine if one.delivery.next_at is None])
    counts["endpoint gone"] = _bury(connection, people, [*mine, *theirs])
    return counts


def close(connection: Connection, some: Sequence[tuple[Lease, Delivery]]) -> None:
    """Take leased offers out of the outbox; those that go on come in again for the next channel.

    Their records are written by whoever calls this.
    """
    if not some:
        return
    outbox.settle(connection, [one for one, _ in some])
    on = {one.offer.key: after for one, told in some if (after := onward(one, told)) is not None}
    doubt = {one.offer.key for one, told in some if in_doubt(one, told)}
    open_ = on.keys() | ({one.offer.key for one, _ in some} - doubt)
    states = offers.states_of(connection, sorted(open_)) if open_ else {}
    seen = {key for key, state in states.items() if state in SEEN}
    next_ones = [after for key, after in on.items() if key not in seen]
    at = max(told.at for _, told in some)
    outbox.append(connection, next_ones, at=at, doubt=doubt)
    sends.carry_on(connection, next_ones)
    carried = {one.key for one in next_ones}
    offers.move(connection, [_waiting(one, at) for one in next_ones])
    ended = [(one, told) for one, told in some if one.offer.key not in carried]
    # An inbox may have shown it while its turn was another channel's: its reader has the unit.
    stock.give_back(connection, sorted({one.offer.key for one, _ in ended} - doubt - seen))
    offers.move(connection, [_news(one, told) for one, told in ended])


def _seen(connection: Connection, some: Sequence[Sent]) -> dict[str, str]:
    """Tell which of these their readers have before them by now, and in what state they are."""
    if not some:
        return {}
    found = offers.states_of(connection, [one.lease.offer.key for one in some])
    return {key: state for key, state in found.items() if state in SEEN}


def _see_off(connection: Connection, some: Sequence[Sent], seen: dict[str, str]) -> None:
    """End what was to be tried again of offers that were seen meanwhile."""
    outbox.settle(connection, [one.lease for one in some])
    told = [
        judging.record(
            one.lease.offer, one.lease.attempt, one.delivery.at, "suppressed",
            reason=seen[one.lease.offer.key],
        )
        for one in some
    ]  # fmt: skip
    ledger.append(connection, [ledger.entry(one) for one in told])


def _bury(connection: Connection, people: People, some: Sequence[Sent]) -> int:
    """Take dead addresses out of their people's records; tell how many that were."""
    count = 0
    for one in some:
        for endpoint, reason in one.dead:
            count += endpoints.gone(
                connection, one.lease.offer.person, endpoint, reason[:_MOST_REASON], one.delivery.at
            )
    if count:
        people.moved(connection, {one.lease.offer.person for one in some if one.dead})
    return count


def _news(one: Lease, told: Delivery) -> offers.News:
    """Tell of an offer that a channel took, that is tried again, or that has ended.

    As long as any channel may bring it, it lies in the inbox that it names.
    """
    if told.outcome == "retry":
        return _waiting(one.offer, told.at)
    return offers.News(
        told.key, told.outcome, told.at, told.outcome == "accepted" and _names(one.offer)
    )


def _waiting(offer: Offer, at: float) -> offers.News:
    """Tell of an offer that waits for its next try, or for its next channel."""
    return offers.News(offer.key, "queued", at, _names(offer))


def _names(offer: Offer) -> bool:
    return offers.INBOX in (offer.channel, *offer.route)


def _name(one: Lease) -> tuple[str, str]:
    return one.offer.key, one.offer.channel
