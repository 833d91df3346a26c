"""The question: how does a gateway go on hearing, whatever becomes of its radio stack.

A source (see `scanner.py`) made of scans: for each adapter, one scan, one watchdog that says what
is due, and the moves that do it. What is heard goes straight on; who sent it, it must not know.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import sys
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

import structlog

from beacon_gateway.adapters import Adapter, Adapters, OnlyAdapter
from beacon_gateway.bluez import TROUBLES, Scan, Trouble, advice, trouble
from beacon_gateway.health import AdapterHealth, Health
from beacon_gateway.model import GatewayError
from beacon_gateway.reset import reset
from beacon_gateway.scanner import Clock, Heard, Take
from beacon_gateway.watchdog import LADDER, PLAIN_LADDER, Move, Rung, Watchdog

log = structlog.get_logger(__name__)

T = TypeVar("T")

START_S = 10.0
STOP_S = 5.0
"""The longest that a start or a stop may take: a hung daemon answers neither, ever."""

CYCLE_S = 12.0
"""Of a power cycle: 2 s without power, and firmware that is loaded anew."""

RETURN_S = 10.0
RETURN_EVERY_S = 0.5
"""How long a controller that was reset may stay away, and how often it is looked for."""

SILENT = (
    "nothing is heard after every remedy: nobody is there, or the adapter is deaf; "
    "hold a tag beside it and look whether `beacon-gateway scan` shows it"
)
SILENT_PASSIVE = (
    "nothing is heard by passive scanning: BlueZ may have it without the kernel's help; "
    "leave passive scanning off"
)

ADDRESS = re.compile(r"[0-9A-F]{2}(:[0-9A-F]{2}){5}")


class RadioStalledError(GatewayError):
    """Every remedy within this process has failed: leave, so that systemd starts it afresh."""


class Radio:
    """The Bluetooth adapters of this computer as one source.

    ``adapters`` their addresses (none: the first that can scan); names such as hci0 are refused,
    since they move between adapters. ``canary`` tells a beacon that always lies in the store, so
    that silence is a proof; ``health`` is kept up to date. ``platform`` is `sys.platform`,
    ``backend`` a bleak backend in place of this system's, ``reset`` what resets a controller by
    name. Raises GatewayError for an address that is none.
    """

    def __init__(
        self,
        adapters: Sequence[str] = (),
        *,
        passive: bool = False,
        canary: Callable[[Heard], bool] | None = None,
        health: Health | None = None,
        clock: Clock | None = None,
        platform: str = sys.platform,
        backend: type[Any] | None = None,
        reset: Callable[[str], None] = reset,
    ) -> None:
        for address in adapters:
            if not ADDRESS.fullmatch(address.upper()):
                raise GatewayError(
                    f"adapter {address!r} is no address: name adapters as `bluetoothctl list` "
                    "shows them (AA:BB:CC:DD:EE:FF); names such as hci0 move"
                )
        named = dict.fromkeys(address.upper() for address in adapters)
        self.addresses: list[str | None] = [*named] or [None]
        self.passive = passive
        self.canary = canary
        self.health = health or Health()
        self.clock = clock or Clock()
        self.platform = platform
        self.backend = backend
        self.reset = reset
        self.listeners: list[Listener] = []

    async def run(self, take: Take) -> None:
        """Hand on what is heard until cancelled; raises RadioStalledError as the last resort."""
        if said := advice(self.platform):
            log.warning(said)
        if self.platform == "linux" and self.backend is None:
            await self._run_bluez(take)
        else:
            await self._listen(take, OnlyAdapter(), PLAIN_LADDER)

    async def _run_bluez(self, take: Take) -> None:
        # Only here: its library exists on Linux alone.
        from beacon_gateway.daemon import Bluez, bluez_version

        self.health.bluez = await bluez_version()
        bluez = Bluez(self._wake, self.clock)
        following = asyncio.create_task(bluez.run())
        try:
            with contextlib.suppress(TimeoutError):
                await _within(bluez.tried.wait(), START_S, self.clock)
            await self._listen(take, bluez, LADDER)
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)

    async def _listen(self, take: Take, adapters: Adapters, ladder: tuple[Rung, ...]) -> None:
        self.listeners = [
            Listener(self, take, adapters, address, ladder) for address in self.addresses
        ]
        tasks = [asyncio.create_task(listener.run()) for listener in self.listeners]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _wake(self) -> None:
        for listener in self.listeners:
            listener.wake.set()


class Listener:
    """One adapter of a `Radio`, kept hearing."""

    def __init__(
        self,
        radio: Radio,
        take: Take,
        adapters: Adapters,
        address: str | None,
        ladder: tuple[Rung, ...],
    ) -> None:
        self._radio = radio
        self._take = take
        self._adapters = adapters
        self._address = address
        self._clock = radio.clock
        self._watchdog = Watchdog(self._clock.mono(), ladder)
        self._canary_heard = False
        self._scan: Scan | None = None
        # What the scan was started on, and what was there at the last look.
        self._scanned: Adapter | None = None
        self._seen = adapters.find(address)
        self._started = False
        name = address or "first"
        self._state = radio.health.adapters.setdefault(name, AdapterHealth(name))
        self.wake = asyncio.Event()

    @property
    def hears(self) -> bool:
        """Whether this adapter hears at present."""
        return self._watchdog.phase == "hearing"

    async def run(self) -> None:
        """Scan, watch, mend, until cancelled; raises RadioStalledError where that is hopeless."""
        try:
            while True:
                self.wake.clear()
                move = self._notice()
                if move == "none":
                    move = self._look()
                self._state.state = self._watchdog.phase
                if self._watchdog.phase == "resting" and self._state.trouble is None:
                    never = self._radio.passive and not self._watchdog.ever_heard
                    self._state.trouble = SILENT_PASSIVE if never else SILENT
                if move != "none":
                    await self._make(move)
                    continue
                pause_s = self._watchdog.due() - self._clock.mono()
                if pause_s > 0:
                    with contextlib.suppress(TimeoutError):
                        await _within(self.wake.wait(), pause_s, self._clock)
        finally:
            await self._stop()

    def _notice(self) -> Move:
        """Tell the watchdog what has become of the adapter."""
        now, watchdog = self._clock.mono(), self._watchdog
        adapter, before = self._find(), self._seen
        self._seen = adapter
        scans = watchdog.phase in {"listening", "hearing"}
        if not scans and _returned(adapter, before):
            return watchdog.tell("back", now)
        if watchdog.phase in {"waiting", "failing"}:
            return "none" if adapter is not None else watchdog.tell("gone", now)
        if adapter is None or self._replaced(adapter):
            return watchdog.tell("gone", now)
        if not adapter.powered:
            return watchdog.tell("off", now)
        watchdog.idle(now, idle=adapter.discovering is False and not self._radio.passive)
        return "none"

    def _find(self) -> Adapter | None:
        """Give the adapter named; of none named the one in use, as long as it has power."""
        if self._address is None and self._scanned is not None:
            now = self._adapters.find(self._scanned.address)
            if now is not None and now.powered:
                return now
        return self._adapters.find(self._address)

    def _replaced(self, adapter: Adapter) -> bool:
        """Whether the scan was started on another: of an earlier daemon, or another name."""
        was = self._scanned
        return was is not None and (
            (was.address, was.name, was.epoch) != (adapter.address, adapter.name, adapter.epoch)
        )

    def _look(self) -> Move:
        if self.hears and self._scan is not None and self._scan.full:
            return "restart"
        others = any(one.hears for one in self._radio.listeners if one is not self)
        return self._watchdog.look(self._clock.mono(), proved=self._canary_heard, alone=not others)

    async def _make(self, move: Move) -> None:
        if move == "leave":
            raise RadioStalledError(
                f"adapter {self._state.address}: nothing heard after every remedy; "
                "leaving, to be started afresh"
            )
        await self._stop()
        if move == "stop":
            return
        if move in {"power", "reset"}:
            await self._remedy(move)
        await self._start(move)

    async def _start(self, move: Move) -> None:
        adapter = self._scanned = self._find()
        if adapter is None:
            self._fail(TROUBLES[self._adapters.absence()])
            return
        self._state.address, self._state.name = adapter.address, adapter.name
        try:
            if move != "restart" or self._scan is None:
                self._scan = Scan(
                    self._hear,
                    address=adapter.address,
                    name=adapter.name,
                    passive=self._radio.passive,
                    clock=self._clock,
                    backend=self._radio.backend,
                    dropped=self._state.dropped,
                )
            await _within(self._scan.start(), START_S, self._clock)
        # Whatever a stack raises must not end the listening: it is named and tried again.
        except Exception as error:  # noqa: BLE001
            self._fail(trouble(error))
            return
        self._watchdog.started(self._clock.mono())
        self._state.trouble = None
        if self._started:
            self._state.restarts += 1
            log.warning("scan started anew", adapter=self._state.address, remedy=move)
        self._started = True

    def _fail(self, why: Trouble) -> None:
        if self._state.trouble != why.text:
            log.warning("no scan", adapter=self._state.address, why=why.text)
        self._state.trouble = why.text
        self._watchdog.tell(why.kind, self._clock.mono())

    async def _stop(self) -> None:
        """End the scan; that of a dead daemon or a lost adapter may refuse, which is no matter."""
        if self._scan is None:
            return
        try:
            await _within(self._scan.stop(), STOP_S, self._clock)
        except Exception as error:  # noqa: BLE001
            log.debug("stop refused", adapter=self._state.address, why=trouble(error).text)

    async def _remedy(self, move: Move) -> None:
        """Power-cycle or reset the adapter; where that cannot be done, say so and go on."""
        adapter = self._find()
        if adapter is None:
            return
        try:
            if move == "reset" and adapter.name is not None:
                await asyncio.to_thread(self._radio.reset, adapter.name)
                adapter = await self._come_back() or adapter
            if move == "power" or not adapter.powered:
                await _within(self._adapters.cycle(adapter), CYCLE_S, self._clock)
        except Exception as error:  # noqa: BLE001 (a remedy that fails must not end the listening)
            log.warning(
                "no remedy", adapter=adapter.address, remedy=move, why=str(error) or "no answer"
            )

    async def _come_back(self) -> Adapter | None:
        """Wait for an adapter that was reset; its name may be another now."""
        until = self._clock.mono() + RETURN_S
        adapter = None
        while self._clock.mono() < until:
            await self._clock.sleep(RETURN_EVERY_S)
            adapter = self._find()
            if adapter is not None and adapter.powered:
                break
        return adapter

    def _hear(self, heard: Heard) -> None:
        if not self.hears:
            self._state.trouble = None
            self.wake.set()
        elif self._scan is not None and self._scan.full:
            self.wake.set()
        self._watchdog.heard(heard.mono_s)
        self._state.last = heard.mono_s
        if self._radio.canary is not None and not self._canary_heard:
            self._canary_heard = self._radio.canary(heard)
        self._take(heard)


async def _within(work: Coroutine[Any, Any, T], limit_s: float, clock: Clock) -> T:
    """Wait for work, on this radio's clock; raises TimeoutError after so many seconds."""
    task = asyncio.ensure_future(work)
    timer = asyncio.ensure_future(clock.sleep(limit_s))
    try:
        await asyncio.wait({task, timer}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise TimeoutError
    finally:
        task.cancel()
        timer.cancel()
        await asyncio.gather(task, timer, return_exceptions=True)


def _returned(adapter: Adapter | None, before: Adapter | None) -> bool:
    """Whether an adapter has power now and had none, or was of an earlier life of the daemon."""
    if adapter is None or not adapter.powered:
        return False
    return before is None or not before.powered or before.epoch != adapter.epoch
