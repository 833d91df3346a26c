"""A store's radio world: the real radio code, the fake daemon, a bus, and a time of its own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from bleak.backends.bluezdbus import manager
from dbus_fast import Message
from dbus_fast.aio import MessageBus

from beacon_gateway.health import AdapterHealth, Health
from beacon_gateway.radio import Radio
from beacon_gateway.scanner import Heard
from tests.bluez import EDDYSTONE_UUID, Bluez, Controller
from tests.bluez.timeless import Timeless
from tests.servers import DbusDaemon

ONE, TWO = "00:1A:7D:DA:71:01", "00:1A:7D:DA:71:02"
TAG, PASSER_BY = "C0:FF:EE:00:00:01", "7A:11:22:33:44:55"
IBEACON = {0x004C: bytes.fromhex("0215f7826da64fa24e988024bc5b71e0893e00010007c5")}
ALTBEACON = {0x0118: bytes.fromhex("beacf7826da64fa24e988024bc5b71e0893e00010007c500")}
EDDYSTONE = {EDDYSTONE_UUID: bytes.fromhex("00edaabbccddeeff001122330102030405060000")}
# One round trip after the other, until so many in a row brought nothing new.
CALM_ROUNDS = 3


class World:
    def __init__(self, server: DbusDaemon) -> None:
        self.server = server
        self.time = Timeless()
        self.bluez = Bluez(server.address, self.time.mono)
        self.bluez.add("hci0", Controller(ONE))
        self.heard: list[Heard] = []
        self.health = Health(self.time.mono)
        self.resets: list[str] = []
        self.listening: asyncio.Task[None] | None = None
        self._senders: list[asyncio.Task[None]] = []
        self._witness: MessageBus | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def open(self, *, daemon: bool = True) -> None:
        self._loop = asyncio.get_running_loop()
        self._witness = await MessageBus(bus_address=self.server.address).connect()
        # Its end is no news: what a future keeps to itself would be told when it is collected.
        end = self._witness._disconnect_future
        end.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        if daemon:
            await self.bluez.start()

    async def close(self) -> None:
        for task in [*self._senders, *([self.listening] if self.listening else [])]:
            task.cancel()
        await self._finish()
        if self.bluez.running:
            await self.bluez.stop()
        for bus in (self._witness, *_bleaks_own()):
            if bus is not None:
                bus.disconnect()
        for _ in range(3):
            await asyncio.sleep(0)

    async def _finish(self) -> None:
        ends = asyncio.gather(*self._senders, *([self.listening] if self.listening else []), return_exceptions=True)  # fmt: skip
        for _ in range(100):
            if ends.done():
                return
            # A stop that nobody answers ends when its patience does.
            await self.time.advance(1.0, self.settle)

    async def settle(self) -> None:
        """Wait until nobody on the bus has anything left to say."""
        calm = 0
        while calm < CALM_ROUNDS:
            before = self.bluez.activity
            await self._round_trip()
            for _ in range(8):
                await asyncio.sleep(0)
            calm = calm + 1 if self.bluez.activity == before else 0

    async def _round_trip(self) -> None:
        if self._witness is None or not self._witness.connected:
            await asyncio.sleep(0.002)
            return
        asked = Message(
            destination="org.freedesktop.DBus", path="/org/freedesktop/DBus",
            interface="org.freedesktop.DBus", member="GetId",
        )  # fmt: skip
        with contextlib.suppress(EOFError, OSError):
            await self._witness.call(asked)

    async def advance(self, seconds: float) -> None:
        await self.time.advance(seconds, self.settle)
        for sender in self._senders:
            if sender.done() and not sender.cancelled():
                sender.result()

    async def until(self, true: Callable[[], bool], within_s: float, step_s: float = 0.5) -> float:
        """Let time pass until something holds; gives the seconds it took."""
        start = self.time.now
        while not true():
            assert self.time.now - start < within_s, self.adapter()
            await self.advance(step_s)
        return self.time.now - start

    async def listen(self, *addresses: str, **options: Any) -> Radio:
        """Start the real radio and wait until it scans, or has said why it does not."""
        radio = Radio(
            addresses, clock=self.time.clock, health=self.health, reset=self.reset, **options
        )
        self.listening = asyncio.create_task(radio.run(self.heard.append))
        for _ in range(2000):
            await asyncio.sleep(0.001)
            started = sum(
                call[0] in {"StartDiscovery", "RegisterMonitor"} for call in self.bluez.calls
            )
            troubled = sum(one.trouble is not None for one in self.health.adapters.values())
            if started + troubled >= max(1, len(addresses)) or self.listening.done():
                break
        await self.settle()
        return radio

    def reset(self, name: str) -> None:
        """What the radio calls, in a thread of its own as it does the true one."""
        self.resets.append(name)
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self.bluez.reset, name)

    def adapter(self, address: str = ONE) -> AdapterHealth:
        return next(one for one in self.health.adapters.values() if one.address == address)

    def send(self, address: str = TAG, name: str = "hci0", every_s: float = 0.5) -> None:
        """Let a beacon advertise from now on; its level moves as a carried one's does."""

        async def advertise() -> None:
            number = 0
            while True:
                number += 1
                rssi = -60 - number * 7 % 19
                await self.bluez.hear(name, address, rssi, IBEACON)
                await self.time.sleep(every_s)

        self._senders.append(asyncio.create_task(advertise()))

    def silence(self) -> None:
        for task in self._senders:
            task.cancel()

    def starts(self) -> int:
        return sum(call[0] == "StartDiscovery" for call in self.bluez.calls)

    def last_s(self) -> float:
        """How long ago something was heard."""
        return self.time.now - self.heard[-1].mono_s if self.heard else float("inf")


def _bleaks_own() -> Iterator[MessageBus]:
    """bleak keeps one connection for each event loop, as long as the loop lives."""
    mine = manager._global_instances.pop(asyncio.get_running_loop(), None)
    if mine is not None and mine._bus is not None:
        yield mine._bus
