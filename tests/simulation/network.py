"""The question: when does a message arrive, if it does, and how often?

Senders talk to the server over lines that delay, double, lose and cut; a lost answer looks like a
lost question, so whoever hears nothing asks again. It must not know what is said.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from tests.simulation.loop import Loop

PATIENCE_S = 10.0
"""How long a sender waits for an answer before it asks again."""
DELAY_S = 0.08
"""The mean delay of a message, s; the longest are some seconds."""
LOST = 0.02
"""Messages that never arrive, each way."""
DOUBLED, LONGEST_ECHO_S = 0.06, 900.0
"""Questions that arrive a second time, up to so much later: a proxy that tries again."""


class Silence(Exception):  # noqa: N818  it is what the sender hears
    """No answer came in time: nobody knows whether the question arrived."""


class Network:
    """The lines of senders, by the name of each; ``cut`` until a Unix second is down both ways."""

    def __init__(self, loop: Loop, dice: random.Random) -> None:
        self.quiet = False
        self._loop = loop
        self._dice = dice
        self._cut: dict[str, float] = {}

    def cut(self, line: str, until: float) -> None:
        """Take a line down until Unix second ``until``."""
        self._cut[line] = max(until, self._cut.get(line, 0.0))

    def heal(self) -> None:
        """Let all lines be up, and lose and double nothing any more."""
        self._cut.clear()
        self.quiet = True

    async def ask(self, line: str, take: Callable[[Callable[[Any], None]], None]) -> Any:
        """Ask over a line: ``take`` has the question, and is given what to answer with.

        Raises Silence, or what was answered where that is an error.
        """
        asked = self._loop.create_future()

        def answer(found: Any) -> None:
            self._carry(line, lambda: _settle(asked, found))

        self._carry(line, lambda: take(answer), doubled=True)
        try:
            async with asyncio.timeout(PATIENCE_S):
                found = await asked
        except TimeoutError:
            raise Silence from None
        if isinstance(found, Exception):
            raise found
        return found

    def _carry(self, line: str, message: Callable[[], None], *, doubled: bool = False) -> None:
        """Bring a message to the other end, as the line is by then."""
        dice = self._dice
        if not self.quiet and dice.random() < LOST:
            return
        delays = [dice.expovariate(1.0 / DELAY_S)]
        if doubled and not self.quiet and dice.random() < DOUBLED:
            delays.append(dice.uniform(0.0, LONGEST_ECHO_S))

        def arrive() -> None:
            if self._cut.get(line, 0.0) <= self._loop.now:
                message()

        for delay in delays:
            # The network's own time: it goes on whoever dies.
            self._loop.call_later(delay, arrive, context=self._loop.world.context)


def _settle(asked: asyncio.Future[Any], found: Any) -> None:
    if not asked.done():
        asked.set_result(found)
