"""The question: may this offer still be handed over, on this channel, and to which addresses.

A hand-over begins with its lease: one write transaction leases, asks again what may have changed
since the decision, and takes out what must not go. So an offer is either leased when a withdrawal
commits, and then it is in flight, or it is never handed over. Each channel of a route is asked
about anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa
from msgspec.structs import replace

from proximity.campaigns.campaigns import NOWHERE
from proximity.campaigns.reach import Terms, addresses
from proximity.consent import objections
from proximity.dispatch import judging, leasing, settling
from proximity.dispatch.judging import CHANNEL_DOWN, UNKNOWN
from proximity.dispatch.weighing import tell
from proximity.gates import gates
from proximity.gates.candidates import Candidate
from proximity.model import Reason, Trigger
from proximity.store import ledger, schema

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from sqlalchemy import Connection

    from proximity.campaigns.campaigns import Campaigns
    from proximity.dispatch.leasing import Lease
    from proximity.dispatch.pace import Room
    from proximity.dispatch.weighing import World
    from proximity.model import Delivery, Endpoint, Offer, Person

__all__ = ["AGAIN", "Begun", "candidate_of", "start", "terms_of"]

AGAIN = frozenset(
    {
        "active",
        "place_hours",
        "consent",
        "location",
        "age",
        "objection",
        "preference",
        "reach",
        "schedule",
        "daypart",
        "quiet_hours",
    }
)
"""Gates that are asked again when an offer is sent: what the person may have changed, and what the
marketer or the clock may have. Where somebody was and what they did is as it was when decided."""
CONSENTS = frozenset({"consent", "location"})
"""Those of them that ask what the person agreed to."""
_GATES = tuple(gate for gate in gates.GATES if gate.name in AGAIN)

_PLAIN = Terms()
_SAID = (
    sa.select(schema.consents.c.person, sa.func.max(schema.consents.c.recorded_at))
    .where(schema.consents.c.person.in_(sa.bindparam("people", expanding=True)))
    .group_by(schema.consents.c.person)
)


class Begun(NamedTuple):
    """An offer whose hand-over begins, on its channel's terms.

    ``endpoints`` are the addresses that it goes to; one None where it needs none.
    """

    lease: Lease
    terms: Terms
    endpoints: tuple[Endpoint | None, ...]


def start(
    connection: Connection,
    world: World,
    owner: str,
    now: float,
    *,
    limit: int,
    room: Callable[[str], Room] | None = None,
) -> tuple[list[Begun], list[Delivery]]:
    """Begin the hand-over of up to ``limit`` offers that are due at Unix second ``now``.

    ``room`` says how many of each channel. Gives those to be handed over, and what became of those
    that are not.
    """
    leases = leasing.lease(connection, owner, now, limit=limit, room=room)
    if not leases:
        return [], []
    names = {one.offer.person for one in leases}
    objected = objections.marked(connection, names, "objected")
    said = _last_said(connection, names)
    people = world.people.read_all(connection, sorted(names))
    rules = world.campaigns()
    begun: list[Begun] = []
    dropped: list[tuple[Lease, Delivery]] = []
    for one in leases:
        offer, person = one.offer, people[one.offer.person]
        terms = terms_of(rules, offer.channel)
        found = _over(one, terms, now)
        if found is None:
            try:
                candidate = candidate_of(
                    world, offer, person, now, objected=offer.person in objected
                )
                reason = _reason_not_to(candidate, offer, said)
            except Exception as error:  # noqa: BLE001  one offer's fault must not stop the others
                tell(error)
                reason = str(Reason.FAULT)  # nobody can say that it may go: it does not
            found = None if reason is None else ("suppressed", reason)
        if found is None:
            reached = (None,) if terms.addressed is None else addresses(person, terms)
            begun.append(Begun(one, terms, reached))
        else:
            outcome, reason = found
            dropped.append((one, judging.record(offer, one.attempt, now, outcome, reason=reason)))
    settling.close(connection, dropped)
    ledger.append(connection, [ledger.entry(delivery) for _, delivery in dropped])
    return begun, [delivery for _, delivery in dropped]


def terms_of(rules: Campaigns, channel: str) -> Terms:
    """Give the terms of a channel; plain ones where the file no longer knows it."""
    return rules.channel_terms.get(channel, _PLAIN)


def _over(one: Lease, terms: Terms, now: float) -> tuple[str, str] | None:
    """Tell what ended an offer before anybody was asked about it, and why; None: nothing did."""
    if one.lapsed and terms.repeats == "at_most_once":
        return "failed", UNKNOWN  # whoever had it told nothing: it may have arrived
    if now >= one.offer.expires_at:
        return "expired", "expired"
    return ("failed", CHANNEL_DOWN) if one.barred else None


def _reason_not_to(candidate: Candidate, offer: Offer, said: Mapping[str, float]) -> str | None:
    """Ask the gates of ``AGAIN`` about an offer: the reason of the first that fails.

    A campaign whose version has moved on says something else by now: it counts as inactive. A
    withdrawal counts once it is written, though the clock that dated it may be ahead of this one,
    or this one was read before: consent is asked about at the later of the two times.
    """
    if offer.version is not None and offer.version != candidate.campaign.version:
        return str(Reason.INACTIVE)
    later = candidate
    if said.get(offer.person, 0.0) > candidate.now:
        later = replace(candidate, now=said[offer.person])
    for gate in _GATES:
        passed, _ = gate.judge(later if gate.name in CONSENTS else candidate)
        if not passed:
            return str(gate.reason)
    return None


def candidate_of(
    world: World,
    offer: Offer,
    person: Person,
    now: float,
    *,
    objected: bool,
    channel: str | None = None,
) -> Candidate:
    """Make the candidate of an offer that is asked about again, at Unix second ``now``.

    ``channel`` is the one that is asked about, None: the offer's own.
    """
    rules = world.campaigns()
    campaign = rules.get(offer.campaign)
    return Candidate(
        trigger=_trigger(offer),
        campaign=replace(campaign, channels=(channel or offer.channel,), purpose=offer.purpose),
        rules=rules,
        place=world.places.facts(offer.place) if offer.place else NOWHERE,
        person=person,
        now=now,
        objected=objected,
        assumed=world.assumed,
    )


def _trigger(offer: Offer) -> Trigger:
    """Give what is left of an offer's trigger: what the gates that are asked again look at."""
    return Trigger(
        id=offer.key,
        campaign=offer.campaign,
        version=offer.version or 0,
        person=offer.person,
        subject=offer.subject,
        place=offer.place,
        visit=offer.visit,
        kind="manual" if offer.source == "manual" else "enter",
        at=offer.created_at,
        decided_at=offer.created_at,
        evidence_at=offer.created_at,
        source=offer.source,
    )


def _last_said(connection: Connection, names: Collection[str]) -> dict[str, float]:
    """Tell when each person's consents were last written, by whoever's clock wrote them."""
    found = connection.execute(_SAID, {"people": sorted(names)})
    return {row[0]: row[1] for row in found}
