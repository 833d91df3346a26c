"""A time of the test's own: it passes when the test says so, as fast as everybody is ready."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Awaitable, Callable

from beacon_gateway.scanner import Clock

START = 1767225600.0


class Timeless:
    """Sleepers wake in the order of their times; between two of them everything settles."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._number = itertools.count()
        self.clock = Clock(wall=lambda: START + self.now, mono=self.mono, sleep=self.sleep)

    def mono(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        woken = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.now + seconds, next(self._number), woken))
        await woken

    async def advance(self, seconds: float, settle: Callable[[], Awaitable[None]]) -> None:
        end = self.now + seconds
        await settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            due, _, woken = heapq.heappop(self._sleepers)
            if woken.done():
                continue
            self.now = max(self.now, due)
            woken.set_result(None)
            await settle()
        self.now = end
        await settle()
