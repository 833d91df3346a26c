"""What would have been offered? The way from transitions and events to a delivery, in event time.

The server's own queue and dispatcher on a store in memory; only the channels are replaced, by one
that takes note and accepts. Knows no files but that of people, no engine and no clock.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from proximity.channels import Reply
from proximity.dispatch.dispatch import Dispatcher
from proximity.ingest.outputs import Outputs
from proximity.people.people import People, read_people
from proximity.people.tagging import NO_PLAN

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from proximity.campaigns.campaigns import Campaigns
    from proximity.ingest.told import Did
    from proximity.model import Decision, Delivery, Endpoint, Offer, Transition
    from proximity.people.tagging import Plan
    from proximity.site.places import Places
    from proximity.store import Store

__all__ = ["Offers", "people_of"]


def people_of(store: Store, path: Path | None) -> People:
    """Put the people of a file into ``store``; nobody where there is no file."""
    people = People(store, clock=lambda: 0.0)
    if path is not None:
        known = read_people(path)
        store.write(lambda connection: people.put_all(connection, known)).result()
        people.reload()
    return people


class Note:
    """A channel that hands nothing on: it says that it accepted, and the dispatcher notes it."""

    def __init__(self, name: str, *, to_endpoints: bool = False) -> None:
        self.name = name
        self.to_endpoints = to_endpoints

    async def send(self, offer: Offer, endpoint: Endpoint | None = None) -> Reply:
        """Accept ``offer``."""
        del offer, endpoint
        return Reply(outcome="accepted", reply={"replay": True})

    async def close(self) -> None:
        """Nothing is open."""


class Offers:
    """Decides and sends what a replay's transitions lead to; ``close`` it when the run is over.

    ``campaigns``, ``people`` and ``places`` are the server's own; ``store`` an empty one in memory.
    ``plan`` says which events are kept, ``malformed`` counts the others. Whose records come here
    has agreed, or is assumed to have.
    """

    def __init__(
        self,
        store: Store,
        campaigns: Campaigns,
        people: People,
        places: Places,
        plan: Plan = NO_PLAN,
    ) -> None:
        self._store = store
        self._campaigns = campaigns
        self._people = people
        self._places = places
        self._plan = plan
        self._outputs = self._gather()
        self.malformed = 0
        self._runner = asyncio.Runner()
        names = sorted({name for one in campaigns.campaigns.values() for name in one.channels})
        self._dispatcher = Dispatcher(
            store,
            campaigns=lambda: campaigns,
            people=people,
            places=places,
            channels={
                name: Note(name, to_endpoints=campaigns.channel_terms[name].addressed is not None)
                for name in names
            },
            owner="replay",
            consent="required",
            elapsed=lambda: 0.0,  # however long this machine sleeps, a replay is the same
        )

    def take(self, told: Sequence[Transition | Did], now: float) -> None:
        """Take what one instant told, at Unix second ``now``: queue what campaigns wait for in it.

        Visits that nothing is decided by yet are written with what comes next.
        """
        self._outputs.add(told, self._campaigns)
        if not self._outputs.leads_on:
            return
        outputs, self._outputs = self._outputs, self._gather()
        self._store.write(lambda connection: outputs.follow(connection, now)).result()
        self.malformed += outputs.malformed
        if outputs.answered:
            self._people.reload()

    def _gather(self) -> Outputs:
        return Outputs(self._people, self._places, plan=self._plan, consent="assumed")

    def next_due(self) -> float | None:
        """When the next decision or delivery is due, in Unix seconds."""
        return self._dispatcher.next_due()

    def run(self, now: float) -> tuple[list[Decision], list[Delivery]]:
        """Decide and send what is due at Unix second ``now``."""
        decisions: list[Decision] = []
        while fresh := self._dispatcher.decide_due(now):
            decisions += fresh
        deliveries: list[Delivery] = []
        while sent := self._runner.run(self._dispatcher.send_due(now)):
            deliveries += sent
        return decisions, deliveries

    def close(self) -> None:
        """Let go of the event loop."""
        self._runner.close()
