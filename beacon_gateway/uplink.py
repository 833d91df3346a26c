"""The question: in which order are sightings told, and what when the server will not have them.

Two lanes: what was just heard goes at once, what waits on disk follows as fast as the server
takes it, and neither waits for the other. It must not know what carries a batch or how it is kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Sequence

import structlog

from beacon_gateway.link import Away, Link, Poison, Receipt, lines
from beacon_gateway.spool import Spool
from beacon_gateway.spoolfile import Record

log = structlog.get_logger("beacon_gateway")

#: Records in one request: some 150 kB. The server answers within tens of milliseconds, and a day
#: offline at five a second is nine hundred of them.
BATCH = 500
#: Batches from disk grow from and shrink to this size, as the server answers: old evidence costs
#: it far more than new, and what is live stands behind it in the same queue.
LEAST = 25
#: Answers slower than the one halve the next batch, faster than the other double it, s. A live
#: batch then waits for a quarter of a second or two, well within the second it may take.
SLOW_S, FAST_S = 0.25, 0.1
#: Batches from disk that may go for each live one, so that a drain cannot crowd it out.
CREDIT = 5
#: Where nothing is heard, credit comes back after this long, s.
QUIET_S = 0.5
#: At first, and after the server was away, so long is waited for something live to go ahead, s:
#: from the freshest records the server learns how wrong this gateway's clock is.
FIRST_S = 5.0
#: What is on its way when it is time to stop has this long to arrive, s.
LAST_S = 2.0
#: Full jitter: a wait is drawn from 0 to BASE_S * 2**failures, at most CAP_S. A whole town's
#: gateways come back over a minute then, not in the second that the power does.
BASE_S, CAP_S = 1.0, 60.0
#: A record is given up as poison only where the server has taken something this recently, s:
#: a wrong address that refuses everything must not empty the spool.
EVIDENCE_S = 600.0
#: Refusals in a row after which a batch is left for later where there is no such evidence.
MOST_REFUSALS = 32

POISON, REFUSED, LATE = "poison", "refused", "late"
REFUSED_ALL = "everything is refused: check the server's address"


class Uplink:
    """Tells what is in ``spool`` over ``link`` until ``stop`` is called.

    ``draw`` gives numbers from 0 to 1 and ``mono`` seconds that never jump.
    """

    def __init__(
        self,
        spool: Spool,
        link: Link,
        *,
        draw: Callable[[], float] = random.random,
        mono: Callable[[], float] = time.monotonic,
    ) -> None:
        self._spool, self._link = spool, link
        self._draw, self._mono = draw, mono
        self._stop = asyncio.Event()
        self._credit, self._live_first = 0, True
        self._credited = asyncio.Event()
        self._size, self._live_took_s = LEAST, 0.0
        self._failures = 0
        self._until = 0.0
        self._taken_at: float | None = None
        #: Why nothing is told just now; None while it is.
        self.trouble: str | None = None
        #: Records taken by the server, and how many of them had waited on disk.
        self.told = self.told_late = 0

    async def run(self) -> None:
        """Tell until stopped; what was just heard is offered once more before that."""
        async with asyncio.TaskGroup() as lanes:
            lanes.create_task(self._live(), name="live")
            lanes.create_task(self._backlog(), name="backlog")
        if self._mono() >= self._until and (records := self._spool.live(BATCH)):
            await self._tell(records)

    def stop(self) -> None:
        """Let both lanes end; requests on their way are given up, and their records kept."""
        self._stop.set()

    # -- the two lanes ------------------------------------------------------------------------

    async def _live(self) -> None:
        while await self._come(self._spool.news):
            if not await self._patience():
                return
            records, began = self._spool.live(BATCH), self._mono()
            if records and await self._tell(records):
                self._live_took_s = max(self._live_took_s, self._mono() - began)
                self._credit, self._live_first = CREDIT, False
                self._credited.set()

    async def _backlog(self) -> None:
        while await self._come(self._spool.stored):
            while not self._stop.is_set():
                if not await self._patience() or not await self._earn():
                    return
                records = await self._spool.backlog(self._size)
                if not records:
                    break
                began = self._mono()
                if await self._tell(records):
                    self.told_late += len(records)
                # The server gets as long a rest as the batch cost it.
                await self._pause(min(self._resize(self._mono() - began), QUIET_S))

    def _resize(self, took_s: float) -> float:
        """Choose the next batch's size by the slowest answer since the last; give its seconds."""
        slowest_s, self._live_took_s = max(took_s, self._live_took_s), 0.0
        if slowest_s > SLOW_S:
            self._size = max(LEAST, self._size // 2)
        elif slowest_s < FAST_S:
            self._size = min(BATCH, self._size * 2)
        return slowest_s

    async def _earn(self) -> bool:
        """Wait for credit and take some; False where it is time to stop."""
        if not self._credit:
            self._credited.clear()
            await self._come(self._credited, FIRST_S if self._live_first else QUIET_S)
            self._credit = self._credit or CREDIT
        self._credit -= 1
        return not self._stop.is_set()

    # -- one batch ----------------------------------------------------------------------------

    async def _tell(self, records: Sequence[Record]) -> bool:
        """Hand a batch over, cut in two again and again around what the server refuses."""
        parts: list[list[Record]] = [list(records)]
        suspects: list[Record] = []
        refusals, taken, sure = 0, False, True

        def taking() -> bool:
            # What a login page or a proxy says ends a record only if others passed meanwhile.
            return taken or (sure and self._taking())

        try:
            while parts:
                part = parts.pop()
                try:
                    receipt = await self._send(lines(part))
                except Poison as poison:
                    refusals, sure = refusals + 1, sure and poison.sure
                    if refusals >= MOST_REFUSALS and not taking():
                        break
                    if len(part) == 1:
                        suspects += part
                    else:
                        half = len(part) // 2
                        parts += [part[half:], part[:half]]
                    continue
                if not (taken or sure):
                    # Who refused them may have gone by now, and the server be back: asked again.
                    parts[:0] = [[one] for one in suspects]
                    suspects.clear()
                taken = True
                self._spool.settle(part)
                self._spool.count(REFUSED, receipt.refused)
                self._spool.count(LATE, receipt.late)
                self._took(len(part))
            if refusals and not taking():
                raise Away(REFUSED_ALL)
        except Away as away:
            self._spool.release(records)
            self._wait(away)
            # What was refused alone, while other things were taken, need not be found again.
            self._give_up(suspects if taking() else [])
            return False
        self._give_up(suspects)
        return True

    def _give_up(self, records: Sequence[Record]) -> None:
        if records:
            log.warning("the server refuses sightings for good", records=len(records))
            self._spool.give_up(records, POISON)

    async def _send(self, body: bytes) -> Receipt:
        """Send one body; what is on its way when it is time to stop gets a moment more."""
        sending = asyncio.ensure_future(self._link.send(body))
        stopping = asyncio.ensure_future(self._stop.wait())
        await asyncio.wait({sending, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        await asyncio.wait({sending}, timeout=LAST_S)
        if not sending.done():
            sending.cancel()
            await asyncio.wait({sending})
            raise Away("this gateway stops")
        return sending.result()

    # -- patience -----------------------------------------------------------------------------

    def _took(self, records: int) -> None:
        if self.trouble is not None:
            log.info("the server takes sightings again")
        self.told += records
        self._taken_at = self._mono()
        self._failures, self._until, self.trouble = 0, 0.0, None

    def _taking(self) -> bool:
        return self._taken_at is not None and self._mono() - self._taken_at < EVIDENCE_S

    def _wait(self, away: Away) -> None:
        """Leave the server alone for a while, both lanes together."""
        self._live_first, self._credit = True, 0
        if self._mono() < self._until or self._stop.is_set():
            return  # the other lane was refused a moment ago
        jitter = self._draw() * min(CAP_S, BASE_S * 2.0**self._failures)
        self._failures = min(self._failures + 1, 16)
        self._until = self._mono() + away.after_s + jitter
        if self.trouble is None:
            log.warning("the server takes no sightings; they are kept", reason=str(away))
        self.trouble = str(away)

    async def _patience(self) -> bool:
        """Wait until the server may be asked again; False where it is time to stop."""
        while (wait_s := self._until - self._mono()) > 0.0 and not self._stop.is_set():
            await self._pause(wait_s)
        return not self._stop.is_set()

    async def _come(self, event: asyncio.Event, within_s: float | None = None) -> bool:
        """Wait for an event; False where it is time to stop."""
        waits = [asyncio.ensure_future(each.wait()) for each in (event, self._stop)]
        await asyncio.wait(waits, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
        for each in waits:
            each.cancel()
        return not self._stop.is_set()

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), seconds)
