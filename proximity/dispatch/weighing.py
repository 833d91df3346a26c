"""The question: what would become of these triggers, as things stand.

What they are judged by is read once for all of them; then they are judged in memory, moment by
moment, each decision seeing what those before it reserved. Writes nothing: what becomes of it is
``deciding``'s. The rules are ``gates``'.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa
import structlog

from proximity.campaigns.campaigns import NOWHERE
from proximity.consent import asked, objections
from proximity.dispatch import sends, stock
from proximity.gates import gates
from proximity.gates.candidates import Candidate, Rival
from proximity.model import Reason, Verdict
from proximity.people import behaviour
from proximity.people.facts import NOTHING
from proximity.store import ledger, schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from sqlalchemy import Connection

    from proximity.campaigns.campaigns import Campaign, Campaigns
    from proximity.gates.candidates import Send
    from proximity.model import Decision, Offer, Person, Trigger
    from proximity.people.facts import Profile
    from proximity.people.people import People
    from proximity.site.places import Places

__all__ = ["Known", "Outcome", "World", "gather", "judge", "tell"]

log = structlog.get_logger(__name__)

_AT_ONCE = 500
"""Ids in one statement: SQLite may be built to take no more than 999 variables."""
_DEFERRED = "/deferred"  # what the ledger adds to a deferral's id; the final one has it bare
_WON = -1e12
"""The rank of what was sent of a moment before: ahead of every priority there can be."""


class World(NamedTuple):
    """Whom to ask for what an offer is judged by: the rules in force now, people and places.

    ``assumed``: consent is kept upstream.
    """

    campaigns: Callable[[], Campaigns]
    people: People
    places: Places
    assumed: bool = False


class Known(NamedTuple):
    """What the triggers of one transaction are judged by, read once for all of them.

    ``sends`` and ``stock_left`` move on as decisions reserve.
    """

    rules: Campaigns
    now: float
    final: set[str]
    deferred: dict[str, float]
    sends: dict[str, list[Send]]
    won: dict[str, list[Send]]
    stock_left: dict[str, int]
    objected: frozenset[str]
    people: dict[str, Person]
    profiles: dict[str, Profile]


class Outcome(NamedTuple):
    """What became of one trigger: its decision, and the offer and send where there is one.

    ``decision`` is None where it could not be decided.
    """

    trigger: Trigger
    decision: Decision | None
    candidate: Candidate | None = None
    offer: Offer | None = None
    send: Send | None = None


def gather(
    connection: Connection,
    world: World,
    triggers: Sequence[Trigger],
    now: float,
    *,
    binding: bool = True,
) -> Known:
    """Read what these triggers are judged by at Unix second ``now``.

    ``binding``: nobody else may take stock before the transaction ends, because it is decided now.
    """
    rules = world.campaigns()
    ids = [trigger.id for trigger in triggers]
    names = {trigger.person for trigger in triggers}
    campaigns = {trigger.campaign: rules.get(trigger.campaign) for trigger in triggers}
    back_s = max((rules.back_s(one) for one in campaigns.values()), default=0.0)
    drawn_on = {id_ for one in campaigns.values() for id_ in one.stock if id_ in rules.stocks}
    moments = {trigger.moment for trigger in triggers if trigger.moment}
    return Known(
        rules=rules,
        now=now,
        final=ledger.decided(connection, ids),
        deferred=_deferred(connection, ids),
        sends=sends.read(
            connection, names, now - back_s, world.places.facts if rules.caps_places else None
        ),
        won=sends.won(connection, names, moments) if rules.contest is not None else {},
        stock_left=stock.left(
            connection, [rules.stocks[id_] for id_ in sorted(drawn_on)], now, binding=binding
        ),
        objected=frozenset(objections.marked(connection, names, "objected")),
        people=world.people.read_all(connection, sorted(names)),
        profiles=_profiles(connection, world, triggers, campaigns, now),
    )


def judge(world: World, known: Known, triggers: Sequence[Trigger]) -> Iterable[Outcome]:
    """Decide triggers in queue order, moment by moment; each sees what those before reserved.

    Writes nothing. Where the campaigns file holds a contest, those of one moment whom every gate
    lets pass meet in it: the best ones win, and the next best moves up where a winner is stopped by
    what another winner reserved.
    """
    moments: dict[str, list[Trigger]] = {}
    for trigger in triggers:
        meets = known.rules.contest is not None and trigger.moment
        moments.setdefault(trigger.moment if meets else trigger.id, []).append(trigger)
    for rivals in moments.values():
        if known.rules.contest is None:
            yield from (_judged(world, known, one) for one in rivals)
        else:
            yield from _contested(world, known, rivals)


def _contested(world: World, known: Known, triggers: Sequence[Trigger]) -> list[Outcome]:
    """Decide the triggers of one moment: each alone, then the survivors against each other."""
    outcomes = {one.id: _judged(world, known, one, reserve=False) for one in triggers}
    standing: dict[str, Rival] = {}
    for outcome in outcomes.values():
        if outcome.candidate is None or outcome.offer is None:
            continue
        for send in known.won.get(outcome.trigger.moment, ()):
            # What was sent when this one was put off was not its rival.
            if send.at > (outcome.candidate.deferred_at or 0.0):
                standing[send.decision] = Rival(_WON, _WON, send.campaign, send.decision)
        standing[outcome.trigger.id] = gates.rival(outcome.candidate)
    for rival in sorted(standing.values()):
        if rival.id not in outcomes:
            continue
        others = tuple(other for id_, other in standing.items() if id_ != rival.id)
        outcome = _judged(world, known, outcomes[rival.id].trigger, rivals=others)
        outcomes[rival.id] = outcome
        decision = outcome.decision
        if decision is None or decision.reason not in {None, Reason.OUTRANKED}:
            del standing[rival.id]  # stopped by what a winner reserved: the next best moves up
    return list(outcomes.values())


def _judged(
    world: World,
    known: Known,
    trigger: Trigger,
    *,
    rivals: tuple[Rival, ...] = (),
    reserve: bool = True,
) -> Outcome:
    """Decide one trigger; a fault of its own is an outcome without a decision."""
    try:
        candidate = _candidate(world, known, trigger, rivals)
        decision = gates.decide(candidate)
        if decision.decision is not Verdict.SEND:
            return Outcome(trigger, decision, candidate)
        offer = gates.make_offer(candidate)
    except Exception as error:  # noqa: BLE001  one claim's fault must not stop the others
        tell(error)
        return Outcome(trigger, None)
    send = sends.made(candidate, offer.channel)
    if reserve:
        known.sends[trigger.person].append(send)
        for id_ in candidate.campaign.stock:
            known.stock_left[id_] -= 1
    return Outcome(trigger, decision, candidate, offer, send)


def _candidate(
    world: World, known: Known, trigger: Trigger, rivals: tuple[Rival, ...]
) -> Candidate:
    rules = known.rules
    campaign = rules.get(trigger.campaign, trigger.version)
    since = known.now - rules.back_s(campaign)
    return Candidate(
        trigger=trigger,
        campaign=campaign,
        rules=rules,
        place=world.places.facts(trigger.place) if trigger.place else NOWHERE,
        person=known.people[trigger.person],
        now=known.now,
        sends=tuple(send for send in known.sends[trigger.person] if send.at > since),
        profile=known.profiles.get(trigger.person, NOTHING),
        objected=trigger.person in known.objected,
        stock_left={id_: known.stock_left.get(id_, 0) for id_ in campaign.stock},
        rivals=rivals,
        deferred_at=known.deferred.get(trigger.id),
        assumed=world.assumed,
    )


def _profiles(
    connection: Connection,
    world: World,
    triggers: Sequence[Trigger],
    campaigns: Mapping[str, Campaign],
    now: float,
) -> dict[str, Profile]:
    """Read what those people did whose campaigns ask, as far back as any of them asks."""
    asks = {id_: one.needs_profile_s for id_, one in campaigns.items()}
    back_s = max((each for each in asks.values() if each is not None), default=None)
    if back_s is None:
        return {}
    names = sorted({one.person for one in triggers if asks[one.campaign] is not None})
    profiles = behaviour.read_profiles(connection, names, now - back_s, world.places.facts)
    asking = any(one.asks is not None for one in campaigns.values())
    return asked.with_answers(connection, profiles) if asking else profiles


def _deferred(connection: Connection, ids: Sequence[str]) -> dict[str, float]:
    """Tell which of these triggers were put off before, and when."""
    table = schema.ledger
    marked = {f"{one}{_DEFERRED}": one for one in ids}
    names = list(marked)
    found: dict[str, float] = {}
    for start in range(0, len(names), _AT_ONCE):
        some = names[start : start + _AT_ONCE]
        asked = sa.select(table.c.id, table.c.at).where(
            table.c.kind == "decision", table.c.id.in_(some)
        )
        found.update((marked[row.id], row.at) for row in connection.execute(asked))
    return found


def tell(error: Exception) -> None:
    """Log that a trigger could not be decided, or an offer not be handed over or recorded."""
    # Not log.exception: its text and its frames may quote a name or a place.
    log.warning("a trigger or an offer was at fault", error=type(error).__name__)
