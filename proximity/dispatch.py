"""The question: which offers are made of the triggers that wait, and what became of them.

The way out, ``ingest``'s mirror: claim, decide and reserve in one transaction; lease, look again,
hand over, record. Decided exactly once, handed over at least once: between a hand-over and its
record a crash repeats it with the same key. The rules are in ``gates``.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import sqlalchemy as sa
import structlog
from sqlalchemy.exc import DBAPIError

from proximity import gates, outbox, queue
from proximity.channels import Reply
from proximity.model import Decision, Delivery, Verdict, digest, format_time
from proximity.store import StoreFailed, ledger, schema
from proximity.store.faults import classify

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sqlalchemy import Connection

    from proximity.campaigns import Campaigns
    from proximity.channels import Channel
    from proximity.model import Offer, Person
    from proximity.people import People
    from proximity.places import Places
    from proximity.store import Store

__all__ = ["Dispatcher", "delay_s"]

log = structlog.get_logger(__name__)

BACKOFF_S = 2.0
"""The first wait after a failed hand-over, doubled each time: a short hiccup costs little of an
offer that is good for two minutes."""
BACKOFF_MOST_S = 300.0
"""Waits grow no longer than this; a day-long offer is still tried every five minutes."""
MOST_ATTEMPTS = 12
"""Some 25 minutes of trying. What has not gone through by then has left the moment it was for."""
MOST_CLAIMS = 5
"""Claims of a trigger that cannot be decided before it is given up. A lease apart, they span 120 s:
time for a passing fault to pass, and most triggers are worth nothing after it."""
_DEFERRED = "/deferred"  # what the ledger adds to a deferral's id; the final one has it bare
AT_ONCE = 16
"""Offers handed over side by side: enough to hide a receiver's delay, few enough that all of them
end within a lease."""


class Dispatcher:
    """Decides what waits in the queue and sends what lies in the outbox.

    ``campaigns`` gives the rules in force now; ``owner`` names this start and none before it;
    ``consent`` "assumed" takes consent as kept upstream. Several may work on one store: leases
    share the work out, and whoever overstays one is fenced off.
    """

    def __init__(
        self,
        store: Store,
        *,
        campaigns: Callable[[], Campaigns],
        people: People,
        places: Places,
        channels: Mapping[str, Channel],
        owner: str | None = None,
        consent: Literal["required", "assumed"] = "required",
    ) -> None:
        self._store = store
        self._campaigns = campaigns
        self._people = people
        self._places = places
        self._channels = channels
        self._owner = owner or secrets.token_hex(8)
        self._assumed = consent == "assumed"
        self.counts: Counter[str] = Counter()

    # -- deciding ------------------------------------------------------------------------------

    def decide_due(self, now: float, limit: int = 100) -> list[Decision]:
        """Decide up to ``limit`` triggers that are due at Unix second ``now``, in queue order.

        Raises StoreFailed where nothing can be written; what was claimed comes back by itself.
        """
        claims = self._store.write(lambda c: queue.claim(c, self._owner, now, limit=limit)).result()
        if not claims:
            return []
        return self._store.write(lambda c: self._decide(c, claims, now)).result()

    async def adecide_due(self, now: float, limit: int = 100) -> list[Decision]:
        """Do the same as ``decide_due`` from an event loop, without stopping it."""
        claims = await self._store.awrite(lambda c: queue.claim(c, self._owner, now, limit=limit))
        if not claims:
            return []
        return await self._store.awrite(lambda c: self._decide(c, claims, now))

    def _decide(
        self, connection: Connection, claims: Sequence[queue.Claim], now: float
    ) -> list[Decision]:
        """Decide claims in one transaction: decision, reservation, outbox row and settlement.

        Each decision sees what those before it reserved; a fault undoes its own claim alone.
        """
        rules = self._campaigns()
        ids = [claim.trigger.id for claim in claims]
        names = {claim.trigger.person for claim in claims}
        back_s = {c.trigger.campaign: _back_s(rules, c.trigger.campaign) for c in claims}
        known = _Known(
            rules=rules,
            final=ledger.decided(connection, ids),
            deferred=_deferred(connection, ids),
            back_s=back_s,
            sends=_sends(connection, names, now - max(back_s.values())),
            people={},
        )
        decisions = []
        for claim in claims:
            work = partial(self._decide_one, claim=claim, known=known, now=now)
            decision, fault = self._alone(connection, work)
            if fault and claim.attempts >= MOST_CLAIMS:
                work = partial(self._conclude, claim=claim, decision=_given_up(claim, now))
                decision, _ = self._alone(connection, work)
            if decision is not None:
                self.counts[f"decision {decision.reason or decision.decision}"] += 1
                decisions.append(decision)
        return decisions

    def _alone(
        self, connection: Connection, work: Callable[[Connection], Decision | None]
    ) -> tuple[Decision | None, bool]:
        """Do one claim's work, or none of it: what came of it, and whether it was at fault.

        Raises what concerns the whole store: no other claim could fare better.
        """
        savepoint = connection.begin_nested()
        try:
            decision = work(connection)
        except Exception as error:  # one claim's fault must not stop the others
            if isinstance(error, DBAPIError) and classify(error, self._store.name) is not None:
                raise  # SQLite may have undone the whole transaction, savepoints and all
            savepoint.rollback()
            if isinstance(error, StoreFailed):
                raise
            self.counts["fault"] += 1
            # Not log.exception: its text and its frames may quote a name or a place.
            log.warning("a trigger could not be decided", error=type(error).__name__)
            return None, True
        savepoint.commit()
        return decision, False

    def _decide_one(
        self, connection: Connection, claim: queue.Claim, known: _Known, now: float
    ) -> Decision | None:
        """Decide one claim; None where it was decided before, or another has it by now."""
        trigger = claim.trigger
        if trigger.id in known.final:
            queue.settle(connection, claim)
            return None
        person = known.people.get(trigger.person)
        if person is None:
            person = known.people[trigger.person] = self._people.read(connection, trigger.person)
        since = now - known.back_s[trigger.campaign]
        sends = known.sends[trigger.person]
        candidate = gates.Candidate(
            trigger=trigger,
            campaign=known.rules.get(trigger.campaign, trigger.version),
            rules=known.rules,
            place=self._places.facts(trigger.place),
            person=person,
            now=now,
            sends=tuple(send for send in sends if send.at > since),
            deferred_at=known.deferred.get(trigger.id),
            assumed=self._assumed,
        )
        decision = self._conclude(connection, claim, gates.decide(candidate))
        if decision is not None and decision.decision is Verdict.SEND:
            sends.append(_reserve(connection, candidate))
        return decision

    def _conclude(
        self, connection: Connection, claim: queue.Claim, decision: Decision
    ) -> Decision | None:
        """Settle or put off a claim and record its decision; None where another has it by now."""
        if decision.until is None:
            mine = queue.settle(connection, claim)
        else:
            mine = queue.defer(connection, claim, decision.until)
        if not mine:
            self.counts["fenced"] += 1
            return None
        ledger.append(connection, [ledger.entry(decision)])
        return decision

    # -- sending -------------------------------------------------------------------------------

    async def send_due(self, now: float, limit: int = AT_ONCE) -> list[Delivery]:
        """Hand over up to ``limit`` offers that are due at Unix second ``now``, side by side.

        Every outcome is one record in the ledger. Raises StoreFailed where nothing can be written.
        """
        leases = await self._store.awrite(lambda c: outbox.lease(c, self._owner, now, limit=limit))
        done = await asyncio.gather(*(self._send(one, now) for one in leases))
        return [delivery for delivery in done if delivery is not None]

    def next_due(self) -> float | None:
        """Give when there is something to decide or send next (Unix seconds), None if nothing."""
        times = self._store.read(lambda c: (queue.next_due(c), outbox.next_due(c)))
        return min((at for at in times if at is not None), default=None)

    async def _send(self, one: outbox.Lease, now: float) -> Delivery | None:
        """Look again, hand over, record; None where another sender has the offer by now."""
        check = await self._store.aread(lambda c: self._look_again(c, one, now))
        if check is None:
            self.counts["fenced"] += 1
            return None
        if check.outcome is not None:
            delivery = _delivery(one, now, check.outcome, reason=check.reason)
        else:
            delivery = _judge(one, await self._hand_over(one.offer), now)
        await self._store.awrite(lambda c: self._record(c, one, delivery))
        return delivery

    async def _hand_over(self, offer: Offer) -> Reply:
        channel = self._channels.get(offer.channel)
        if channel is None:
            return Reply(outcome="failed", reply={"error": "no such channel"})
        try:
            return await channel.send(offer)
        except Exception as error:  # noqa: BLE001  one channel's fault must not stop the others
            self.counts["channel fault"] += 1
            return Reply(outcome="retry", reply={"error": type(error).__name__})

    def _look_again(self, connection: Connection, one: outbox.Lease, now: float) -> _Check | None:
        """Ask again what may have changed since the decision: expiry, consent, quiet hours."""
        if not outbox.holds(connection, one):
            return None
        offer = one.offer
        if now >= offer.expires_at:
            return _Check("expired", "expired")
        person = self._people.read(connection, offer.person)
        if not self._assumed and not _consents(person, offer, now):
            return _Check("suppressed", "no_consent")
        place = self._places.facts(offer.place)
        quiet_hours = self._campaigns().quiet_hours
        zone = gates.quiet_zone(person, place)
        if gates.quiet(quiet_hours, offer.purpose, zone, now)[0]:
            return _Check("suppressed", "quiet_hours")
        return _Check(None, None)

    def _record(self, connection: Connection, one: outbox.Lease, delivery: Delivery) -> None:
        """Write what came of it. A hand-over by a sender that was fenced off is recorded too."""
        if delivery.next_at is not None:
            mine = outbox.again(connection, one, delivery.next_at)
        else:
            mine = outbox.settle(connection, one)
        if not mine:
            self.counts["fenced"] += 1
        self.counts[f"delivery {delivery.outcome}"] += 1
        ledger.append(connection, [ledger.entry(delivery)])


class _Known(NamedTuple):
    """What the claims of one transaction are judged by, read once for all of them.

    ``sends`` and ``people`` grow on the way, by person.
    """

    rules: Campaigns
    final: set[str]
    deferred: dict[str, float]
    back_s: dict[str, float]
    sends: dict[str, list[gates.Send]]
    people: dict[str, Person]


def _given_up(claim: queue.Claim, now: float) -> Decision:
    """Make the final decision on a trigger that could not be decided: nothing is sent."""
    trigger = claim.trigger
    return Decision(
        id=trigger.id,
        decision=Verdict.SUPPRESS,
        reason="fault",
        campaign=trigger.campaign,
        version=trigger.version,
        subject=trigger.subject,
        person=trigger.person,
        place=trigger.place,
        visit=trigger.visit,
        at=now,
    )


def _back_s(rules: Campaigns, campaign: str) -> float:
    """Give how far back earlier sends matter to a campaign: its cooldown and every cap."""
    return max([rules.get(campaign).cooldown_s, *(cap.window_s for cap in rules.caps)])


def _deferred(connection: Connection, ids: Sequence[str]) -> dict[str, float]:
    """Tell which of these triggers were put off before, and when."""
    table = schema.ledger
    marked = {f"{one}{_DEFERRED}": one for one in ids}
    found = connection.execute(
        sa.select(table.c.id, table.c.at).where(
            table.c.kind == "decision", table.c.id.in_(list(marked))
        )
    )
    return {marked[row.id]: row.at for row in found}


def _sends(connection: Connection, people: set[str], since: float) -> dict[str, list[gates.Send]]:
    """Read each person's sends after Unix second ``since``, oldest first."""
    table = schema.sends
    found = connection.execute(
        sa.select(table.c.person, table.c.decision, table.c.campaign, table.c.purpose, table.c.at)
        .where(table.c.person.in_(sorted(people)), table.c.at > since)
        .order_by(table.c.at, table.c.decision)
    )
    sends: dict[str, list[gates.Send]] = {person: [] for person in people}
    for person, *send in found:
        sends[person].append(gates.Send(*send))
    return sends


def _reserve(connection: Connection, candidate: gates.Candidate) -> gates.Send:
    """Count the send against caps and cooldown, and put the offer in the outbox."""
    trigger, campaign = candidate.trigger, candidate.campaign
    row = {
        "decision": trigger.id,
        "person": trigger.person,
        "campaign": campaign.id,
        "purpose": campaign.purpose,
        "place": trigger.place,
        "visit": trigger.visit,
        "at": candidate.now,
    }
    connection.execute(schema.sends.insert(), row)
    outbox.append(connection, gates.make_offer(candidate))
    return gates.Send(trigger.id, campaign.id, campaign.purpose, candidate.now)


class _Check(NamedTuple):
    """Why an offer is not to be sent after all; both None where it is."""

    outcome: str | None
    reason: str | None


def delay_s(key: str, attempt: int, retry_after_s: float | None = None) -> float:
    """Give the seconds to wait after failed attempt number ``attempt`` (from 1).

    Exponential, and spread over its upper half by a hash of key and attempt, so that offers that
    failed together do not return together and a replay waits as long. Never shorter than the
    receiver asked for.
    """
    whole = min(BACKOFF_S * 2.0 ** min(attempt - 1, 30), BACKOFF_MOST_S)
    spread = int(digest("delay", key, attempt)[:8], 16) / 2.0**32
    return max(whole * (0.5 + spread / 2.0), retry_after_s or 0.0)


def _judge(one: outbox.Lease, reply: Reply, now: float) -> Delivery:
    """Turn a channel's reply into a record: a retry ends at the offer's expiry or the last try."""
    handed = {
        "text": one.offer.text,
        "language": one.offer.language,
        "link": one.offer.link,
        "expires_at": format_time(one.offer.expires_at),
    }
    if reply.outcome != "retry":
        return _delivery(one, now, reply.outcome, reply=reply.reply, handed=handed)
    if one.attempt >= MOST_ATTEMPTS:
        return _delivery(one, now, "failed", reason="attempts", reply=reply.reply, handed=handed)
    next_at = now + delay_s(one.offer.key, one.attempt, reply.retry_after_s)
    if next_at >= one.offer.expires_at:
        return _delivery(one, now, "expired", reason="expired", reply=reply.reply, handed=handed)
    return _delivery(one, now, "retry", next_at=next_at, reply=reply.reply, handed=handed)


def _delivery(one: outbox.Lease, now: float, outcome: str, **fields: Any) -> Delivery:
    offer = one.offer
    return Delivery(
        key=offer.key,
        channel=offer.channel,
        attempt=one.attempt,
        outcome=outcome,
        at=now,
        campaign=offer.campaign,
        person=offer.person,
        subject=offer.subject,
        place=offer.place,
        **fields,
    )


def _consents(person: Person, offer: Offer, now: float) -> bool:
    return any(gates.allows(one, offer.purpose, offer.channel, now) for one in person.consents)
