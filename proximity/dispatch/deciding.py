"""The question: what becomes of the triggers that are due, all of them in one transaction.

They are judged (``weighing``), and all of it is written together: settlement, decision, cap and
stock reservation and outbox row. So it is there as a whole, or not at all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy.exc import DBAPIError

from proximity.dispatch import offers, outbox, queue, sends, stock
from proximity.dispatch.weighing import Outcome, World, gather, judge, tell
from proximity.model import Decision, ProximityError, Reason, Verdict
from proximity.store import StoreFailed, ledger
from proximity.store.faults import classify

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Connection

    from proximity.model import Trigger

__all__ = ["MOST_CLAIMS", "decide"]

MOST_CLAIMS = 5
"""Claims of a trigger that cannot be decided before it is given up. A lease apart, they span 120 s:
time for a passing fault to pass, and most triggers are worth nothing after it."""


def decide(
    connection: Connection,
    world: World,
    claims: Sequence[queue.Claim],
    now: float,
    counts: Counter[str],
    where: str,
) -> list[Decision]:
    """Decide claims in the caller's transaction, and write it all.

    A fault undoes its own claim alone. ``counts`` tells of faults and of claims that another has
    by now; ``where`` names the store in messages. Raises what concerns the whole store.
    """
    sends.lock(connection, {claim.trigger.person for claim in claims})
    held = queue.held(connection, claims)
    counts["fenced"] += len(claims) - len(held)
    mine = {claim.trigger.id: claim for claim in claims if claim.trigger.id in held}
    known = gather(connection, world, [claim.trigger for claim in mine.values()], now)
    done = [claim for id_, claim in mine.items() if id_ in known.final]
    if done:
        queue.take_out(connection, done)
    outcomes = []
    for outcome in judge(
        world, known, [claim.trigger for id_, claim in mine.items() if id_ not in known.final]
    ):
        if outcome.decision is not None:
            outcomes.append(outcome)
            continue
        counts["fault"] += 1
        if mine[outcome.trigger.id].attempts >= MOST_CLAIMS:
            outcomes.append(Outcome(outcome.trigger, _given_up(outcome.trigger, now)))
    return _write_all(connection, mine, outcomes, counts, where)


def _write_all(
    connection: Connection,
    mine: Mapping[str, queue.Claim],
    outcomes: Sequence[Outcome],
    counts: Counter[str],
    where: str,
) -> list[Decision]:
    """Write outcomes at once; where one of them cannot be written, each alone, and not that one."""
    if not outcomes or _written(connection, mine, outcomes, where):
        return [one.decision for one in outcomes if one.decision is not None]
    decisions = []
    for outcome in outcomes:
        done = outcome
        if not _written(connection, mine, [outcome], where):
            counts["fault"] += 1
            if mine[outcome.trigger.id].attempts < MOST_CLAIMS:
                continue
            at = outcome.decision.at if outcome.decision is not None else 0.0
            done = Outcome(outcome.trigger, _given_up(outcome.trigger, at))
            if not _written(connection, mine, [done], where):
                continue
        if done.decision is not None:
            decisions.append(done.decision)
    return decisions


def _written(
    connection: Connection,
    mine: Mapping[str, queue.Claim],
    outcomes: Sequence[Outcome],
    where: str,
) -> bool:
    """Write outcomes, all of them or none; False where that was at fault."""
    savepoint = connection.begin_nested()
    try:
        _write(connection, mine, outcomes)
    except Exception as error:  # what concerns the store goes on from here
        if isinstance(error, DBAPIError) and classify(error, where) is not None:
            raise  # SQLite may have undone the whole transaction, savepoints and all
        savepoint.rollback()
        if isinstance(error, StoreFailed):
            raise
        tell(error)
        return False
    savepoint.commit()
    return True


def _write(
    connection: Connection, mine: Mapping[str, queue.Claim], outcomes: Sequence[Outcome]
) -> None:
    """Write what was decided: the queue, the reservations, the outbox and the ledger."""
    decided = [(one, one.decision) for one in outcomes if one.decision is not None]
    queue.take_out(
        connection, [mine[one.trigger.id] for one, decision in decided if decision.until is None]
    )
    for one, decision in decided:
        if decision.until is not None:
            queue.defer(connection, mine[one.trigger.id], decision.until)
    sent = [
        (one.candidate, one.offer, one.send)
        for one, _ in decided
        if one.candidate is not None and one.offer is not None and one.send is not None
    ]
    if sent:
        sends.reserve(connection, [(candidate, send) for candidate, _, send in sent])
        outbox.append(connection, [offer for _, offer, _ in sent])
        offers.put(connection, [offer for _, offer, _ in sent])
    for candidate, offer, _ in sent:
        some = [candidate.rules.stocks[id_] for id_ in candidate.campaign.stock]
        if not stock.take(connection, offer.key, some, candidate.now):
            raise ProximityError(f"decision {offer.key}: a stock that was held has run out")
    ledger.append(connection, [ledger.entry(decision) for _, decision in decided])


def _given_up(trigger: Trigger, now: float) -> Decision:
    """Make the final decision on a trigger that could not be decided: nothing is sent."""
    return Decision(
        id=trigger.id,
        decision=Verdict.SUPPRESS,
        reason=Reason.FAULT,
        campaign=trigger.campaign,
        version=trigger.version,
        subject=trigger.subject,
        person=trigger.person,
        place=trigger.place,
        visit=trigger.visit,
        at=now,
    )
