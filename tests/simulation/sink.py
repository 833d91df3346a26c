"""The question: what does the receiver of offers do with them, and what does it say?

It accepts, refuses, is away, answers late or never, and forgets what it had when it falls over.
What it was handed is noted for good. It knows offers and no engine.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Literal, NamedTuple

from proximity.channels import Reply

if TYPE_CHECKING:
    import random

    from proximity.model import Endpoint, Offer
    from tests.simulation.loop import Process
    from tests.simulation.world import World

Mood = Literal["well", "away", "busy", "mute", "late", "refusing", "dying"]

WAIT_S = 15.0
"""How long a channel waits for an answer, as the real ones do."""
LATE_S = (5.0, 40.0)
"""How late an answer is that is late: some come after the channel has given up."""
DELAY_S = 0.05

ACCEPTED = Reply(outcome="accepted", reply={"status": 202})
DEAD = Reply(outcome="dead_endpoint", reply={"status": 410})


class Taken(NamedTuple):
    """One offer as it arrived, and whether it was surely not taken."""

    at: float
    key: str
    channel: str
    address: str
    refused: bool


class Sink:
    """The receiver behind all channels; ``mood`` is how it is just now, ``dead`` what it disowns.

    ``seen`` is every offer that ever arrived, in order; ``accepted`` those it said yes to.
    """

    def __init__(self, dice: random.Random) -> None:
        self.mood: Mood = "well"
        self.seen: list[Taken] = []
        self.accepted: set[tuple[str, str]] = set()
        self.dead: set[str] = set()
        self.dice = dice
        self._known: dict[str, Reply] = {}

    def forget(self) -> None:
        """Fall over and stand up again: nothing is known any more of what was taken."""
        self._known.clear()

    def take(self, offer: Offer, address: str, now: float) -> Reply | None:
        """Take an offer and answer; None where no answer ever comes."""
        reply = self._judge(offer.key + address, address)
        refused = reply is not None and reply.outcome != "accepted"
        self.seen.append(Taken(now, offer.key, offer.channel, address, refused))
        if not refused:
            self._known[offer.key + address] = ACCEPTED
        if reply is ACCEPTED:
            self.accepted.add((offer.key, offer.channel))
        return reply

    def _judge(self, key: str, address: str) -> Reply | None:
        mood, dice = self.mood, self.dice
        if address in self.dead:
            return DEAD
        if key in self._known:  # a repeat: it collapses
            return ACCEPTED
        if mood == "busy":
            after = dice.choice([None, 3.0])
            return Reply(outcome="retry", reply={"status": 503}, retry_after_s=after)
        if mood == "refusing" and dice.random() < 0.95:
            return Reply(outcome="failed", reply={"status": 400})
        if mood == "dying" and address and dice.random() < 0.7:
            self.dead.add(address)
            return DEAD
        if mood == "mute" and dice.random() < 0.7:
            return None
        return ACCEPTED


class Line:
    """A dispatcher's channel to the sink; ``owner`` is the dispatcher."""

    def __init__(self, world: World, name: str, owner: str, *, to_endpoints: bool) -> None:
        self.name = name
        self.to_endpoints = to_endpoints
        self._world = world
        self._owner = owner

    async def send(self, offer: Offer, endpoint: Endpoint | None = None) -> Reply:
        """Hand over one offer, and wait for the answer as long as a channel does."""
        world = self._world
        address = "" if endpoint is None else endpoint.address
        world.checks.begins(offer, self._owner)
        return await self._send(offer, address)

    async def _send(self, offer: Offer, address: str) -> Reply:
        world = self._world
        sink, dice, loop = world.sink, world.sink.dice, world.loop
        if sink.mood == "away":
            await asyncio.sleep(dice.uniform(0.001, 0.1))
            return Reply(outcome="retry", reply={"error": "refused"})
        answered: asyncio.Future[Reply] = loop.create_future()
        outside: Process = loop.world

        def arrive() -> None:
            reply = sink.take(offer, address, world.now)
            world.story(f"sink has {offer.key[:8]} on {offer.channel}: {_said(reply)}")
            late = sink.mood == "late" and dice.random() < 0.7
            delay = dice.uniform(*LATE_S) if late else dice.expovariate(1.0 / DELAY_S)
            if reply is not None:
                loop.call_later(delay, _settle, answered, reply, context=outside.context)

        # On the network it is beyond anybody's recall, whoever dies.
        loop.call_later(dice.expovariate(1.0 / DELAY_S), arrive, context=outside.context)
        try:
            async with asyncio.timeout(WAIT_S):
                return await answered
        except TimeoutError:
            return Reply(outcome="retry", reply={"error": "no answer"}, unsure=True)

    async def close(self) -> None:
        """Nothing is open."""


def _said(reply: Reply | None) -> str:
    return "no answer" if reply is None else reply.outcome


def _settle(answered: asyncio.Future[Reply], reply: Reply) -> None:
    if not answered.done():
        answered.set_result(reply)
