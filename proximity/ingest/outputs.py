"""What came of some rows: what is told of it in the ledger, and what is to be decided.

Gathered while rows are applied, written in one transaction with the position they stand for:
transitions with the visits they make, events with what they change, and the triggers of both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from proximity.dispatch import queue
from proximity.ingest.told import Did
from proximity.people import behaviour, visits
from proximity.people.tagging import NO_PLAN
from proximity.store import journal, ledger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from proximity.campaigns.campaigns import Campaigns
    from proximity.model import Transition, Trigger
    from proximity.people.behaviour import Heard
    from proximity.people.people import People
    from proximity.people.tagging import Plan
    from proximity.site.places import Places
    from proximity.store import LedgerRow


class Outputs:
    """Entries of the ledger, events and triggers of the queue, until they are written.

    ``plan`` says which events are kept; ``consent`` whether each person's own is asked for.
    ``position`` is that of the last row they came of; ``answered`` tells after writing whether an
    event changed what is known of somebody.
    """

    def __init__(
        self,
        people: People,
        places: Places,
        *,
        plan: Plan = NO_PLAN,
        consent: Literal["required", "assumed"] = "required",
    ) -> None:
        self.position = 0
        self.answered = False
        self._people = people
        self._places = places
        self._plan = plan
        self._consent = consent
        self._persons: dict[str, str] = {}
        self._transitions: list[Transition] = []
        self._heard: list[Heard] = []
        self._triggers: list[Trigger] = []
        self._awaited: dict[str, list[Trigger]] = {}

    def __len__(self) -> int:
        return len(self._transitions) + len(self._heard)

    @property
    def malformed(self) -> int:
        """How many events the plan speaks against."""
        return sum(bool(one.problems) for one in self._heard)

    @property
    def leads_on(self) -> bool:
        """Whether something may have to be decided by it, or is known by it of somebody."""
        return bool(self._triggers or self._heard)

    def add(self, told: Sequence[Transition | Did], campaigns: Campaigns) -> None:
        """Add what transitions and events say, and what they trigger. Raises StoreFailed."""
        whose = [one.event.subject if isinstance(one, Did) else one.subject for one in told]
        self._people.know(set(whose))
        for one, subject in zip(told, whose, strict=True):
            person = self._persons[subject] = self._people.person_of(subject)
            if isinstance(one, Did):
                self._hear(one, person, campaigns)
                continue
            self._transitions.append(one)
            facts = self._places.facts(one.place)
            self._triggers += campaigns.triggers(one, person, facts)

    def _hear(self, did: Did, person: str, campaigns: Campaigns) -> None:
        """Add an event: what the plan says of it, and what it triggers where its subject was."""
        heard = behaviour.hear(did.event, person, self._plan)
        self._heard.append(heard)
        if heard.problems:
            return
        place = visits.deepest(did.visits, self._places.facts)
        facts = None if place is None else self._places.facts(place)
        visit = None if place is None else did.visits[place]
        # An event that was there already triggers nothing again, even when all else is forgotten.
        self._awaited[heard.name] = campaigns.event_triggers(heard.event, person, facts, visit)

    def write(self, connection: Connection, now: float) -> tuple[list[LedgerRow], int]:
        """Write all of it at Unix second ``now``; give the ledger's new rows and the new triggers.

        Of somebody who agrees to nothing any more no visit and no event is written.
        """
        persons = self._persons
        rows = ledger.append(
            connection, [ledger.entry(one, persons[one.subject]) for one in self._transitions]
        )
        added = self.follow(connection, now)
        journal.set_evaluated(connection, self.position)
        return rows, added

    def follow(self, connection: Connection, now: float) -> int:
        """Write all but the ledger's rows, as ``write`` does; give how many triggers are new."""
        self.answered = False
        triggers = self._triggers
        if self._persons:
            facts = self._places.facts
            persons = set(self._persons.values())
            wanted = behaviour.may_be_written(connection, persons, now, self._consent)
            visits.write_visits(connection, self._transitions, self._persons, wanted, facts)
            fresh = behaviour.write_events(connection, self._heard, wanted, facts)
            for one in fresh:
                if one.event.name == behaviour.PREFERENCE_SET:
                    self.answered |= self._people.answer(
                        connection, one.person, one.event, self._plan
                    )
            triggers = triggers + [t for one in fresh for t in self._awaited[one.name]]
        return queue.append(connection, triggers)
