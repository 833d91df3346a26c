"""What would have been offered? The way from a transition to a delivery, in event time.

The server's own queue and dispatcher on a store in memory; only the channels are replaced, by one
that takes note and accepts. Knows no files but that of people, no engine and no clock.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from proximity import queue
from proximity.channels import Reply
from proximity.dispatch import Dispatcher
from proximity.people import People, read_people

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sqlalchemy import Connection

    from proximity.campaigns import Campaigns
    from proximity.model import Decision, Delivery, Offer, Transition
    from proximity.places import Places
    from proximity.store import Store

__all__ = ["Offers", "people_of"]


def people_of(store: Store, path: Path | None) -> People:
    """Put the people of a file into ``store``; nobody where there is no file."""
    people = People(store, clock=lambda: 0.0)
    if path is not None:
        known = read_people(path)

        def put_all(connection: Connection) -> None:
            for person in known:
                people.put(connection, person)

        store.write(put_all).result()
        people.reload()
    return people


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
    """Decides and sends what a replay's transitions lead to; ``close`` it when the run is over.

    ``campaigns``, ``people`` and ``places`` are the server's own; ``store`` an empty one in memory.
    """

    def __init__(self, store: Store, campaigns: Campaigns, people: People, places: Places) -> None:
        self._store = store
        self._campaigns = campaigns
        self._people = people
        self._places = places
        self._runner = asyncio.Runner()
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
