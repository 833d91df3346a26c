"""What would these campaigns have sent in a time that is over, to how many, and what stopped it?

Takes the transitions and events of that time from the store, in order, and decides them as the
dispatcher would have: the same triggers, the same gates, the same contest; caps, cooldowns and
stock are kept in memory, and nothing is written. People are taken as they are known today, their
consents as they were in force then.
"""

from __future__ import annotations

import math
from collections import Counter
from heapq import heappop, heappush
from itertools import count
from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa

from proximity.backtest.bygone import Bygone
from proximity.backtest.happenings import instants
from proximity.consent import objections
from proximity.dispatch import sends, stock, weighing
from proximity.model import Event, Transition, Verdict, format_time
from proximity.people.visits import deepest
from proximity.store.schema import sends as sent_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sqlalchemy import Connection

    from proximity.campaigns.campaigns import Campaigns
    from proximity.gates.candidates import Send
    from proximity.model import Decision, Person, Trigger
    from proximity.people.people import People
    from proximity.site.places import Places

__all__ = ["Backtest", "Outcome", "backtest"]


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What one campaign would have done.

    ``met`` triggers of ``people_met`` people; ``sent`` offers to ``people``; ``waiting`` were put
    off beyond the end. ``stopped`` counts by gate how often it was the first to say no, ``alone``
    how often no other gate did; ``days`` the offers by day (UTC).
    """

    campaign: str
    version: int
    met: int
    people_met: int
    sent: int
    people: int
    waiting: int
    stopped: dict[str, int]
    alone: dict[str, int]
    reasons: dict[str, int]
    days: dict[str, int]


class Backtest(msgspec.Struct, frozen=True, kw_only=True):
    """What the campaigns would have done from ``since`` to ``until`` (RFC 3339).

    ``sent`` offers in all to ``people``; ``faults`` triggers could not be decided.
    """

    since: str
    until: str
    transitions: int
    events: int
    sent: int
    people: int
    faults: int
    campaigns: tuple[Outcome, ...]


def backtest(
    connection: Connection,
    campaigns: Campaigns,
    since: float,
    until: float,
    *,
    people: People,
    places: Places,
    assumed: bool = False,
    each: Callable[[Decision], None] | None = None,
) -> Backtest:
    """Decide again what happened from Unix second ``since`` to before ``until``; write nothing.

    ``places`` are those in force; ``assumed`` takes consent as kept upstream; ``each`` is given
    every decision in order. Sends from before count against caps, and so does what other systems
    sent; what was sent in that time by campaigns does not: it is what is decided anew.
    """
    run = _Run(connection, campaigns, people, places, since, until, assumed=assumed, each=each)
    run.go()
    return run.tally.told(campaigns, since, until)


class _Run:
    """One pass through a past time."""

    def __init__(
        self,
        connection: Connection,
        campaigns: Campaigns,
        people: People,
        places: Places,
        since: float,
        until: float,
        *,
        assumed: bool,
        each: Callable[[Decision], None] | None,
    ) -> None:
        self.tally = _Tally()
        self._connection = connection
        self._rules = campaigns
        self._people = people
        self._places = places
        self._since = since
        self._until = until
        self._each = each
        self._world = weighing.World(lambda: campaigns, people, places, assumed)
        self._around = places.facts if campaigns.caps_places else None
        every = campaigns.campaigns.values()
        self._back_s = max((campaigns.back_s(one) for one in every), default=0.0)
        asked_s = [s for one in every if (s := one.needs_profile_s) is not None]
        self._bygone = Bygone(connection, places.facts, since, until, max(asked_s, default=0.0))
        self._queue: list[tuple[float, int, Trigger]] = []
        self._numbers = count()
        self._queued: set[str] = set()
        self._deferred: dict[str, float] = {}
        self._known: dict[str, Person] = {}
        self._objected: frozenset[str] = frozenset()
        self._sends: dict[str, list[Send]] = {}
        self._foreign: dict[str, list[Send]] = {}
        self._won: dict[str, list[Send]] = {}
        self._used: Counter[tuple[str, str]] = Counter()

    def go(self) -> None:
        """Go through it all, and decide what is due by the end."""
        names = {
            rule.event
            for one in self._rules.campaigns.values()
            for rule in one.waits_for
            if rule.on == "event" and rule.event is not None
        }
        now = -math.inf
        for at, told in instants(self._connection, names, self._since, self._until):
            # The clock never goes back, whatever the ledger says.
            now = max(now, at)
            self._work_off(now)
            for one, person in told:
                if isinstance(one, Transition):
                    self._take_transition(one, person)
                else:
                    self._take_event(one, person)
            self._work_off(now)
        self._work_off(math.nextafter(self._until, -math.inf))
        self.tally.waiting(trigger for _, _, trigger in self._queue)

    def _take_transition(self, change: Transition, person: str) -> None:
        self.tally.transitions += 1
        self._bygone.tell(change, person)
        facts = self._places.facts(change.place)
        for trigger in self._rules.triggers(change, person, facts):
            self._put(trigger)

    def _take_event(self, event: Event, person: str) -> None:
        self.tally.events += 1
        present = self._bygone.present(event.subject or "")
        place = deepest(present, self._places.facts)
        facts = None if place is None else self._places.facts(place)
        visit = None if place is None else present[place]
        for trigger in self._rules.event_triggers(event, person, facts, visit):
            self._put(trigger)

    def _put(self, trigger: Trigger) -> None:
        """Queue a trigger, once."""
        if trigger.id in self._queued:
            return
        self._queued.add(trigger.id)
        due_at = trigger.decided_at if trigger.due_at is None else trigger.due_at
        heappush(self._queue, (due_at, next(self._numbers), trigger))

    def _work_off(self, until: float) -> None:
        """Decide what is due up to Unix second ``until``, each at its own time, in queue order."""
        while self._queue and self._queue[0][0] <= until:
            now = self._queue[0][0]
            due: list[Trigger] = []
            numbers: dict[str, int] = {}
            while self._queue and self._queue[0][0] <= now:
                _, number, trigger = heappop(self._queue)
                due.append(trigger)
                numbers[trigger.id] = number
            self._decide(due, numbers, now)

    def _decide(self, due: Sequence[Trigger], numbers: dict[str, int], now: float) -> None:
        for trigger in due:
            self._meet(trigger.person)
            self._arrive(trigger.person, now)
        rules = self._rules
        drawn_on = {id_ for one in due for id_ in rules.get(one.campaign).stock}
        windows = {
            id_: stock.window_of(rules.stocks[id_], now) for id_ in drawn_on if id_ in rules.stocks
        }
        known = weighing.Known(
            rules=rules,
            now=now,
            final=set(),
            deferred=self._deferred,
            sends=self._sends,
            won=self._won,
            stock_left={
                id_: max(0, rules.stocks[id_].count - self._used[id_, window])
                for id_, window in windows.items()
            },
            objected=self._objected,
            people=self._known,
            profiles=self._profiles(due, now),
        )
        for outcome in weighing.judge(self._world, known, due):
            trigger, decision = outcome.trigger, outcome.decision
            if decision is None:
                self.tally.faults += 1
                continue
            self.tally.take(decision)
            if self._each is not None:
                self._each(decision)
            if decision.until is not None:
                self._deferred[trigger.id] = now
                heappush(self._queue, (decision.until, numbers[trigger.id], trigger))
            elif outcome.send is not None:
                if trigger.moment:
                    self._won.setdefault(trigger.moment, []).append(outcome.send)
                for id_ in rules.get(trigger.campaign).stock:
                    self._used[id_, windows[id_]] += 1

    def _meet(self, person: str) -> None:
        """Read of a person what decisions ask, when the first is made about them."""
        if person in self._known:
            return
        connection = self._connection
        self._known[person] = self._people.read(connection, person)
        if objections.marked(connection, [person], "objected"):
            self._objected |= {person}
        back = self._since - self._back_s
        before = sends.read(connection, [person], back, self._around)[person]
        self._sends[person] = [one for one in before if one.at < self._since]
        foreign = sa.select(sent_table.c.decision).where(
            sent_table.c.person == person, sent_table.c.system.is_not(None)
        )
        others = set(connection.scalars(foreign))
        later = [one for one in before if one.at >= self._since and one.decision in others]
        if later:
            self._foreign[person] = later[::-1]

    def _arrive(self, person: str, now: float) -> None:
        """Let what other systems had sent by now count."""
        later = self._foreign.get(person)
        while later and later[-1].at <= now:
            self._sends[person].append(later.pop())

    def _profiles(self, due: Sequence[Trigger], now: float) -> dict[str, Any]:
        asks = {one.campaign: self._rules.get(one.campaign).needs_profile_s for one in due}
        back_s = max((each for each in asks.values() if each is not None), default=None)
        if back_s is None:
            return {}
        names = {one.person for one in due if asks[one.campaign] is not None}
        asking = any(self._rules.get(one).asks is not None for one in asks)
        return {
            name: self._bygone.profile(name, now - back_s, now, asking=asking) for name in names
        }


# -- what is counted ------------------------------------------------------------------------------


class _Tally:
    """Counts of decisions, campaign by campaign."""

    def __init__(self) -> None:
        self.transitions = 0
        self.events = 0
        self.faults = 0
        self._counts: dict[str, dict[str, Counter[str]]] = {}
        self._met: dict[str, set[str]] = {}
        self._sent: dict[str, set[str]] = {}

    def take(self, decision: Decision) -> None:
        """Count a decision; one that was put off counts as met, and by its last outcome."""
        counts = self._of(decision.campaign)
        if decision.decision is Verdict.DEFER:
            counts["plain"]["deferred"] += 1
            return
        counts["plain"]["met"] += 1
        self._met.setdefault(decision.campaign, set()).add(decision.person)
        if decision.decision is Verdict.SEND:
            counts["plain"]["sent"] += 1
            counts["days"][format_time(decision.at)[:10]] += 1
            self._sent.setdefault(decision.campaign, set()).add(decision.person)
            return
        failed = [gate.gate for gate in decision.gates if not gate.passed]
        first = failed[0] if failed else "fault"
        counts["stopped"][first] += 1
        counts["reasons"][str(decision.reason)] += 1
        if len(failed) == 1:
            counts["alone"][first] += 1

    def waiting(self, left: Iterator[Trigger]) -> None:
        """Count what is still put off at the end."""
        for trigger in left:
            counts = self._of(trigger.campaign)
            counts["plain"]["waiting"] += 1
            counts["plain"]["met"] += 1
            self._met.setdefault(trigger.campaign, set()).add(trigger.person)

    def told(self, campaigns: Campaigns, since: float, until: float) -> Backtest:
        """Give all of it, campaigns by id; those that nothing met are there with zeros."""
        outcomes = tuple(
            self._outcome(name, campaigns.get(name).version)
            for name in sorted({*campaigns.campaigns, *self._counts})
        )
        return Backtest(
            since=format_time(since),
            until=format_time(until),
            transitions=self.transitions,
            events=self.events,
            sent=sum(one.sent for one in outcomes),
            people=len(set().union(*self._sent.values())),
            faults=self.faults,
            campaigns=outcomes,
        )

    def _of(self, campaign: str) -> dict[str, Counter[str]]:
        kinds = ("plain", "stopped", "alone", "reasons", "days")
        return self._counts.setdefault(campaign, {kind: Counter() for kind in kinds})

    def _outcome(self, campaign: str, version: int) -> Outcome:
        counts = self._of(campaign)
        plain = counts["plain"]
        return Outcome(
            campaign=campaign,
            version=version,
            met=plain["met"],
            people_met=len(self._met.get(campaign, ())),
            sent=plain["sent"],
            people=len(self._sent.get(campaign, ())),
            waiting=plain["waiting"],
            stopped=_ordered(counts["stopped"]),
            alone=_ordered(counts["alone"]),
            reasons=_ordered(counts["reasons"]),
            days=dict(sorted(counts["days"].items())),
        )


def _ordered(counts: Counter[str]) -> dict[str, int]:
    """Order counts, the largest first."""
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
