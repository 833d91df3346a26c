"""What came of some rows: what is told of it in the ledger, and what is to be decided.

Gathered while rows are applied, written in one transaction with the position they stand for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proximity import queue
from proximity.store import journal, ledger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from proximity.campaigns import Campaigns
    from proximity.model import Transition, Trigger
    from proximity.people import People
    from proximity.places import Places
    from proximity.store import Entry, LedgerRow


class Outputs:
    """Entries of the ledger and triggers of the queue, until they are written.

    ``position`` is that of the last row they came of.
    """

    def __init__(self) -> None:
        self.position = 0
        self._entries: list[Entry] = []
        self._triggers: list[Trigger] = []

    def __len__(self) -> int:
        return len(self._entries)

    def add(
        self,
        transitions: Sequence[Transition],
        people: People,
        places: Places,
        campaigns: Campaigns,
    ) -> None:
        """Add what transitions say and what they trigger. Raises StoreFailed."""
        people.know({transition.subject for transition in transitions})
        for transition in transitions:
            person = people.person_of(transition.subject)
            self._entries.append(ledger.entry(transition, person))
            facts = places.facts(transition.place)
            self._triggers += campaigns.triggers(transition, person, facts)

    def write(self, connection: Connection) -> tuple[list[LedgerRow], int]:
        """Write all of it; give the ledger's new rows, and how many triggers are new."""
        rows = ledger.append(connection, self._entries)
        added = queue.append(connection, self._triggers)
        journal.set_evaluated(connection, self.position)
        return rows, added
