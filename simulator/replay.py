"""What would have happened, had these records reached the engine?

Drives the real engine, and what ``offers`` makes of it, in the records' own time: no clock is read,
so an hour's walk takes milliseconds and each run of it is the same to the byte. Knows nothing of
files, command lines or terminals.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from proximity.consent.precision import EVERYTHING, allowed, as_agreed, may_keep, said_of_location
from proximity.ingest.told import Did, take
from proximity.model import Event, Sighting, Verdict
from simulator.sources import arrival

if TYPE_CHECKING:
    from collections.abc import Iterable

    from proximity.consent.precision import Allowed
    from proximity.engine.engine import Engine
    from proximity.model import Consent, Decision, Record, Transition
    from proximity.people.people import People
    from proximity.site.registry import Site
    from simulator.offers import Offers

__all__ = ["BATCH", "Counts", "Replay"]

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
        self._agreed: dict[str, tuple[tuple[float, float], ...]] = {}
        self._located: dict[str, tuple[Consent, ...]] = {}  # of those who spoke of location
        self._instant: list[Transition | Did] = []
        self._waiting: dict[str, str] = {}

    def feed(self, records: Iterable[Record], batch: int = BATCH) -> None:
        """Take records in order of arrival, ``batch`` at a time."""
        source = iter(records)
        while taken := list(islice(source, batch)):
            if self.counts.began is None:
                self.counts.began = arrival(taken[0])
            self.counts.records += len(taken)
            if self._people is not None:
                taken = self._consented(taken)
            self.counts.events += sum([type(record) is Event for record in taken])
            for told in take(self._engine, taken):
                self._take(told)

    def finish(self, until: Callable[[float], float] | None = None) -> Counts:
        """Close the run; ``until`` gives the Unix second to run on to, from the last record's."""
        now = self._engine.now  # 0 where no record was taken: then there was no time to run in
        if now and until is not None:
            now = max(now, until(now))
            self._take(self._engine.advance(now))
        self._settle()
        if self._offers is not None:
            self._work_off(now)
        if now:
            self.counts.ended = now
        return self.counts

    def _consented(self, records: list[Record]) -> list[Record]:
        """Keep the records whose person had agreed to being processed when they came."""
        kept = []
        for record in records:
            subject = record.subject
            if type(record) is Sighting:
                spoken = None if self._site is None else self._site.who(record)
                subject = subject if spoken is None else spoken[0]
            if subject is not None:
                at = record.at if record.received_at is None else record.received_at
                agreed = self._agreed.get(subject)
                if agreed is None:
                    agreed = self._agreements(subject)
                if any(since <= at < until for since, until in agreed):
                    found = self._allowed(subject, at)
                    if may_keep(record, found):
                        kept.append(as_agreed(record, found))
        self.counts.unconsented += len(records) - len(kept)
        return kept

    def _agreements(self, subject: str) -> tuple[tuple[float, float], ...]:
        """From when until when (Unix seconds) a subject's person agreed to anything.

        Nobody agrees to or withdraws anything while a replay runs, so each is asked about once.
        """
        assert self._people is not None
        person = self._people.get(self._people.person_of(subject))
        consents = () if person is None else person.consents
        if said_of_location(consents):
            self._located[subject] = consents
        agreed = self._agreed[subject] = tuple(
            (
                -math.inf if one.since is None else one.since,
                math.inf if one.until is None else one.until,
            )
            for one in consents
        )
        return agreed

    def _allowed(self, subject: str, at: float) -> Allowed:
        """Tell what may be kept of where a subject of an agreeing person is at Unix second."""
        located = self._located.get(subject, ())
        return allowed(located, at) if located else EVERYTHING

    def _take(self, told: Iterable[Transition | Did]) -> None:
        """Write transitions; decide once an instant is complete, wherever a batch ends."""
        for one in told:
            if self._instant and _when(one) != _when(self._instant[0]):
                self._settle()
            if not isinstance(one, Did):
                self._write("transitions", one.to_record())
                self.counts.transitions[one.kind] += 1
            if self._offers is not None:
                self._instant.append(one)

    def _settle(self) -> None:
        """Decide what one instant leads to, after all that was due before."""
        if self._offers is None or not self._instant:
            return
        now = _when(self._instant[0])
        self._work_off(now)
        self._offers.take(self._instant, now)
        self._instant = []
        self._work_off(now)

    def _work_off(self, now: float) -> None:
        """Run everything due up to Unix second ``now``, each at its own time."""
        assert self._offers is not None
        while (due := self._offers.next_due()) is not None and due <= now:
            decisions, deliveries = self._offers.run(due)
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


def _when(one: Transition | Did) -> float:
    """Tell when the engine told of it, Unix seconds."""
    return arrival(one.event) if isinstance(one, Did) else one.decided_at
