"""The question: what goes wrong next? Deaths, pauses, cut lines, a full disk, a receiver unwell.

Draws from dice of its own, and knows whom it can strike; it must not know what is promised.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.simulation.loop import Process
    from tests.simulation.sink import Mood
    from tests.simulation.world import World

EVERY_S = 25.0
"""The mean time between two faults, s."""
SLEEPY = 0.06
"""How often somebody falls asleep with a lease in its hand, and how often it dies."""
MOODS: tuple[Mood, ...] = ("away", "busy", "mute", "late", "refusing", "dying")


class Fate:
    """What strikes a world, until Unix second ``ends``."""

    def __init__(self, world: World, ends: float) -> None:
        self._world = world
        self._dice = world.dice_of("fate")
        self._ends = ends
        self._over = False

    async def strike(self) -> None:
        """Let faults come."""
        names, weights = list(FATES), list(FATES.values())
        while self._world.now < self._ends:
            await asyncio.sleep(self._dice.expovariate(1.0 / EVERY_S))
            (fate,) = self._dice.choices(names, weights)
            fate(self)

    def heal(self) -> None:
        """Let all be well from now on."""
        world = self._world
        self._over = True
        world.network.heal()
        world.sink.mood = "well"
        self._fill(full=False)
        for life in world.lives.values():
            life.process.risk = life.process.doze = 0.0
            life.process.paused = False

    def leased(self) -> None:
        """Somebody may hand over an offer: there is no worse moment to fall asleep, or to die."""
        if self._over:
            return
        drawn, process = self._dice.random(), self._world.loop.current()
        if drawn < SLEEPY:
            self.pause(process)
        elif drawn < 2 * SLEEPY:
            process.risk = 1 / 5

    def pause(self, process: Process) -> None:
        """Nothing of a process moves, and then it goes on as if nothing had been."""
        process.paused = True
        seconds = self._dice.choice([5.0, 25.0, 45.0, 100.0, 200.0])
        self._world.story(f"{process.name} is paused for {seconds:g} s")

        def wake() -> None:
            process.paused = False

        self._later(seconds, wake)

    # -- what may happen -------------------------------------------------------------------------

    def _die(self) -> None:
        self._world.kill(self._role())

    def _risk(self) -> None:
        """From now on death is near at every step of somebody."""
        process = self._someone()
        process.risk = self._dice.choice([1 / 20, 1 / 100, 1 / 400])
        self._world.story(f"{process.name} dies at one step in {1 / process.risk:.0f}")

    def _stop(self) -> None:
        """Somebody sleeps, now or in the midst of what they do next."""
        process = self._someone()
        if self._dice.random() < 0.5:
            self.pause(process)
        else:
            process.doze = self._dice.choice([1 / 5, 1 / 20, 1 / 100])

    def _cut(self) -> None:
        """A line is down."""
        world = self._world
        lines = [f"{who}-phone" for who in world.people] + ["gw-bar", "gw-terrace", "office"]
        line, seconds = self._dice.choice(lines), self._dice.choice([20.0, 120.0, 900.0, 2400.0])
        world.story(f"the line of {line} is down for {seconds:g} s")
        world.network.cut(line, world.now + seconds)

    def _mood(self) -> None:
        """The receiver of offers is not well."""
        sink = self._world.sink
        sink.mood = mood = self._dice.choice(MOODS)
        seconds = self._dice.choice([20.0, 120.0, 400.0])
        self._world.story(f"the sink is {mood} for {seconds:g} s")

        def well() -> None:
            if sink.mood == mood:
                sink.mood = "well"

        self._later(seconds, well)

    def _forget(self) -> None:
        self._world.story("the sink forgets what it had")
        self._world.sink.forget()

    def _full(self) -> None:
        """The disk is full for a while."""
        self._world.story("the disk is full")
        self._fill(full=True)
        self._later(self._dice.choice([5.0, 40.0]), lambda: self._fill(full=False))

    def _fill(self, *, full: bool) -> None:
        self._world.lives["server"].disk.fill(full=full)

    def _role(self) -> str:
        return self._dice.choice(self._world.roles())

    def _someone(self) -> Process:
        return self._world.lives[self._role()].process

    def _later(self, seconds: float, then: Callable[[], Any]) -> None:
        loop = self._world.loop
        loop.call_later(seconds, then, context=loop.world.context)


FATES = {
    Fate._die: 2,
    Fate._risk: 2,
    Fate._stop: 2,
    Fate._cut: 2,
    Fate._mood: 3,
    Fate._forget: 1,
    Fate._full: 1,
}
"""What may happen, and how likely it is."""
