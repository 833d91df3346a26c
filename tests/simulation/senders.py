"""The question: who sends what to the server? Phones, a gateway, and people who change their minds.

Each keeps what it has not been told to have arrived, and sends it again; clocks are a little wrong,
or very. They know the network and nothing of the engine.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from beacon_gateway.model import Beacon
from proximity.ingest.ingest import Overloaded
from proximity.model import Fix, Sighting
from proximity.store import StoreFailed
from tests.simulation.network import Silence
from tests.street import UUID, at

if TYPE_CHECKING:
    import random

    from proximity.model import Record
    from tests.simulation.world import World

SPOTS = {
    "cafe": (20.0, 25.0),
    "bakery": (55.0, 25.0),
    "kiosk": (-60.0, 0.0),
    "mall": (0.0, -60.0),
    "street": (0.0, 150.0),
    "away": (4000.0, 0.0),
}
"""Where people go, metres east and north of the middle of the street."""
MOST_SENT = 20
"""Records in one request; what waited longer comes in several."""
REFUSED_S = 5.0
"""Whoever is turned away comes back after so long."""
SKEWS = (0.0, 0.0, 0.0, 1.5, -1.5, 20.0, -20.0, -400.0, 90.0)
"""How wrong a phone's clock is, s. One that is over a minute ahead is told so, and has its records
refused."""
BROKEN_CLOCK = 1_000_000.0
"""What a gateway without a battery says after its start, Unix seconds."""


class Spool:
    """What a sender has not been told to have arrived."""

    def __init__(self, world: World, line: str, dice: random.Random) -> None:
        self.waiting: list[Record] = []
        self._world = world
        self._line = line
        self._dice = dice

    async def send(self) -> None:
        """Send what waits, until it has arrived or nobody answers."""
        while self.waiting:
            # Live ones first, in order, or in none: all of these are how senders are.
            how = self._dice.choice(["newest", "oldest", "none"])
            if how == "none":
                self._dice.shuffle(self.waiting)
            some = self.waiting[-MOST_SENT:] if how == "newest" else self.waiting[:MOST_SENT]
            try:
                receipt = await self._world.post(self._line, some)
            except Silence:
                return
            except (StoreFailed, Overloaded):
                await asyncio.sleep(REFUSED_S)
                return
            self._world.checks.acknowledged(some, receipt)
            self.waiting = [one for one in self.waiting if one not in some]


async def phone(world: World, who: str, dice: random.Random) -> None:
    """Walk from place to place and report where, for as long as the world goes on."""
    spool = Spool(world, f"{who}-phone", dice)
    world.spools.append(spool)
    skew, number = dice.choice(SKEWS), 0
    world.story(f"{who}'s phone is {skew:+g} s wrong")
    while not world.ending:
        spot = dice.choices(list(SPOTS), (3, 3, 2, 1, 1, 1))[0]
        leaves = world.now + dice.uniform(40.0, 300.0)
        while world.now < leaves and not world.ending:
            number += 1
            east, north = SPOTS[spot]
            world.whereabouts[who] = spot
            lon, lat = at(east + dice.gauss(0.0, 3.0), north + dice.gauss(0.0, 3.0))
            spool.waiting.append(
                Fix(
                    subject=f"{who}-phone",
                    id=f"{who}-{number}",
                    at=world.now + skew,
                    lon=lon,
                    lat=lat,
                    accuracy_m=8.0,
                )
            )
            await spool.send()
            await asyncio.sleep(dice.uniform(12.0, 60.0))


async def gateway(world: World, name: str, spot: str, dice: random.Random) -> None:
    """Hear the card of the first of the people while they are near; the clock may be of 1970."""
    spool = Spool(world, name, dice)
    world.spools.append(spool)
    card = Beacon(format="ibeacon", uuid=UUID, major=1, minor=1, power_dbm=-59)
    began, number, boot = world.now, 0, f"{name}-1"
    off = began - BROKEN_CLOCK if dice.random() < 0.3 else dice.choice(SKEWS)
    while not world.ending:
        if world.whereabouts.get(world.people[0]) == spot:
            number += 1
            spool.waiting.append(
                Sighting(
                    beacon=card,
                    at=world.now - off,
                    rssi_dbm=-60.0 + dice.gauss(0.0, 3.0),
                    gateway=name,
                    boot=boot,
                    mono_s=world.now - began,
                    seq=number,
                    id=f"{boot}:{number}",
                )
            )
        await spool.send()
        await asyncio.sleep(dice.uniform(10.0, 25.0))


WISHES = {"agree": 8, "withdraw": 5, "object": 1, "lift": 2, "register": 2, "erase": 1}
"""What somebody may want, and how often they do."""


async def minds(world: World, dice: random.Random) -> None:
    """Let people change their minds, and insist until they are heard."""
    names, weights = list(WISHES), list(WISHES.values())
    while not world.ending:
        await asyncio.sleep(dice.uniform(5.0, 60.0))
        who, (wish,) = dice.choice(world.people), dice.choices(names, weights)
        purpose = dice.choice([None, "marketing", "service"])
        channel = dice.choice([None, None, "webhook", "email"])
        for _ in range(100):
            try:
                await world.wish("office", who, wish, purpose, channel)
            except Silence:
                continue
            except StoreFailed:
                await asyncio.sleep(REFUSED_S)
                continue
            break
