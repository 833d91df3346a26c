"""What would have happened, had these records reached the engine?

Drives the real engine and the real dispatcher in the records' own time: no clock is read, so an
hour's walk takes milliseconds and each run of it is the same to the byte. Only the channels are
replaced, by one that takes note and accepts. Knows nothing of files, command lines or terminals.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from proximity import queue
from proximity.channels import Reply
from proximity.dispatch import Dispatcher
from proximity.model import Event, Sighting, Verdict
from simulator.sources import arrival

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from proximity.campaigns import Campaigns
    from proximity.engine import Engine
    from proximity.model import Decision, Delivery, Offer, Record, Transition
    from proximity.people import People
    from proximity.places import Places
    from proximity.registry import Site
    from proximity.store import Store

__all__ = ["BATCH", "Counts", "Offers", "Replay"]

BATCH = 4096
"""Records handed to the engine at once: enough for the index to work on arrays, few enough that
progress shows. What is written does not depend on it."""

OUTPUTS = ("transitions", "decisions", "deliveries")

Write = Callable[[str, dict[str, Any]], None]
"""Takes the name of an output, one of OUTPUTS, and a record of it."""


@dataclass
class Counts:
    """What a replay counted; ``began`` and ``ended`` are Unix seconds, None where it was empty."""

    records: int = 0
    events: int = 0
    unconsented: int = 0
    began: float | None = None
    ended: float | None = None
    transitions: Counter[str] = field(default_factory=Counter)
    decisions: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    sent: Counter[str] = field(default_factory=Counter)
    deliveries: Counter[str] = field(default_factory=Counter)
    met: Counter[str] = field(default_factory=Counter)


class Note:
    """A channel that hands nothing on: it says that it accepted, and the dispatcher notes it."""

    def __init__(self, name: str) -> None:
        self.name = name

    async def send(self, offer: Offer) -> Reply:
        """Accept ``offer``."""
        del offer
        return Reply(outcome="accepted", reply={"replay": True})

    async def close(self) -> None:
        """Nothing is open."""


class Offers:
    """The way from a transition to a delivery, in event time: queue, dispatcher, noted channels.

    ``campaigns``, ``people`` and ``places`` are the server's own; ``store`` an empty one in memory.
    """

    def __init__(self, store: Store, campaigns: Campaigns, people: People, places: Places) -> None:
        self._store = store
        self._campaigns = campaigns
        self._people = people
        self._places = places
        names = sorted({name for one in campaigns.campaigns.values() for name in one.channels})
        self._dispatcher = Dispatcher(
            store,
            campaigns=lambda: campaigns,
            people=people,
            places=places,
            channels={name: Note(name) for name in names},
            owner="replay",
            consent="required",
        )

    def queue(self, transitions: Sequence[Transition]) -> None:
        """Put what campaigns wait for among ``transitions`` into the queue."""
        triggers = [
            trigger
            for transition in transitions
            for trigger in self._campaigns.triggers(
                transition,
                self._people.person_of(transition.subject),
                self._places.facts(transition.place),
            )
        ]
        if triggers:
            self._store.write(lambda connection: queue.append(connection, triggers)).result()

    def next_due(self) -> float | None:
        """When the next decision or delivery is due, in Unix seconds."""
        return self._dispatcher.next_due()

    def run(self, now: float, runner: asyncio.Runner) -> tuple[list[Decision], list[Delivery]]:
        """Decide and send what is due at Unix second ``now``."""
        decisions: list[Decision] = []
        while fresh := self._dispatcher.decide_due(now):
            decisions += fresh
        deliveries: list[Delivery] = []
        while sent := runner.run(self._dispatcher.send_due(now)):
            deliveries += sent
        return decisions, deliveries


class Replay:
    """One run: ``feed`` it records, then ``finish``; what is written goes to ``write`` in order.

    ``engine`` is fresh; ``offers`` None decides no offers. ``people`` given, records of subjects
    whose person agreed to nothing are not processed, as on the server; ``site`` says whose beacon
    a sighting speaks for.
    """

    def __init__(
        self,
        engine: Engine,
        write: Write,
        *,
        offers: Offers | None = None,
        people: People | None = None,
        site: Site | None = None,
    ) -> None:
        self.counts = Counts()
        self._engine = engine
        self._write = write
        self._offers = offers
        self._people = people
        self._site = site
        self._instant: list[Transition] = []
        self._waiting: dict[str, str] = {}
        self._runner = asyncio.Runner()

    def feed(self, records: Iterable[Record], batch: int = BATCH) -> None:
        """Take records in order of arrival, ``batch`` at a time."""
        source = iter(records)
        while taken := list(islice(source, batch)):
            if self.counts.began is None:
                self.counts.began = arrival(taken[0])
            self.counts.records += len(taken)
            if self._people is not None:
                taken = [record for record in taken if self._may_process(record)]
            self.counts.events += sum(isinstance(record, Event) for record in taken)
            self._take(self._engine.on_records(taken))

    def finish(self, until: Callable[[float], float] | None = None) -> Counts:
        """Close the run; ``until`` gives the Unix second to run on to, from the last record's."""
        now = self._engine.now  # 0 where no record was taken: then there was no time to run in
        if now and until is not None:
            now = max(now, until(now))
            self._take(self._engine.advance(now))
        self._settle()
        if self._offers is not None:
            self._work_off(now)
        self._runner.close()
        if now:
            self.counts.ended = now
        return self.counts

    def _may_process(self, record: Record) -> bool:
        """Whether the record's person had agreed to being processed when it came."""
        assert self._people is not None
        people = self._people
        subject = record.subject
        if isinstance(record, Sighting):
            spoken = None if self._site is None else self._site.who(record)
            subject = subject if spoken is None else spoken[0]
        allowed = subject is not None and people.may_process(subject, arrival(record))
        self.counts.unconsented += not allowed
        return allowed

    def _take(self, transitions: Iterable[Transition]) -> None:
        """Write transitions; decide once an instant is complete, wherever a batch ends."""
        for transition in transitions:
            if self._instant and transition.decided_at != self._instant[0].decided_at:
                self._settle()
            self._write("transitions", transition.to_record())
            self.counts.transitions[transition.kind] += 1
            if self._offers is not None:
                self._instant.append(transition)

    def _settle(self) -> None:
        """Decide what the transitions of one instant lead to, after all that was due before."""
        if self._offers is None or not self._instant:
            return
        now = self._instant[0].decided_at
        self._work_off(now)
        self._offers.queue(self._instant)
        self._instant = []
        self._work_off(now)

    def _work_off(self, now: float) -> None:
        """Run everything due up to Unix second ``now``, each at its own time."""
        assert self._offers is not None
        while (due := self._offers.next_due()) is not None and due <= now:
            decisions, deliveries = self._offers.run(due, self._runner)
            if not decisions and not deliveries:
                break
            for decision in decisions:
                self._write("decisions", decision.to_record())
                self._count(decision)
            for delivery in deliveries:
                self._write("deliveries", delivery.to_record())
                self.counts.deliveries[delivery.outcome] += 1

    def _count(self, decision: Decision) -> None:
        self.counts.met[decision.campaign] += 1
        self.counts.decisions[decision.decision] += 1
        # What was put off and is decided now is no longer waiting for what held it.
        before = self._waiting.pop(decision.id, None)
        if before is not None:
            self.counts.reasons[before] -= 1
        if decision.decision is Verdict.SEND:
            self.counts.sent[decision.campaign] += 1
        elif decision.reason is not None:
            self.counts.reasons[decision.reason] += 1
            if decision.decision is Verdict.DEFER:
                self._waiting[decision.id] = decision.reason
