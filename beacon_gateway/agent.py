"""The question: how do hearing, keeping and telling become one program that runs for years.

Joins the parts and owns their order: up, round and round, down. It must not know what a frame
looks like, how a row is kept or how a request is signed.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec
import structlog

from beacon_gateway.adverts import decode_records
from beacon_gateway.configuring import Configuring
from beacon_gateway.credentials import Credentials
from beacon_gateway.folder import HEALTH, SPOOL, make_folder, write_file
from beacon_gateway.health import Health
from beacon_gateway.link import Away, Link
from beacon_gateway.logs import log_to_stderr
from beacon_gateway.model import Beacon, GatewayError
from beacon_gateway.notify import heartbeat, notify
from beacon_gateway.replayed import Replayed
from beacon_gateway.scanner import Clock, Heard, Source
from beacon_gateway.settings import Settings
from beacon_gateway.shared import Shared
from beacon_gateway.spool import Spool
from beacon_gateway.spoolfile import Limits
from beacon_gateway.telemetry import Telemetry
from beacon_gateway.thinning import SLOT_S, Level, Thinning
from beacon_gateway.uplink import Uplink

log = structlog.get_logger("beacon_gateway")

#: Health is written for whoever looks on the spot, and told to the server, this often, s.
WRITE_S, TELL_S = 10.0, 60.0
#: A slot is looked at a moment after its end: what was heard in it has come through by then.
GRACE_S = 0.01
#: The reason of what was dropped as more beacons were heard at once than any shop has.
CROWDED = "crowded"


def run(settings: Settings) -> int:
    """Hear, keep and tell until SIGTERM or SIGINT; the exit status.

    0 after a stop that was asked for, and when a replayed trace is over and told; 1 where going on
    in this process is hopeless and the service supervisor should start another. Raises
    GatewayError, before anything is heard, where what it was given cannot be used.
    """
    log_to_stderr()
    make_folder(settings.data)
    try:
        return asyncio.run(_run(settings))
    except GatewayError:
        raise
    except Exception as fault:  # noqa: BLE001 - whatever it is, the supervisor starts us again
        log.error("this program is at fault and begins anew", **_place(fault))  # noqa: TRY400
        return 1


def _place(fault: BaseException) -> dict[str, str | int]:
    """Tell a fault's kind and place; never its text, which may hold what was heard."""
    while isinstance(fault, BaseExceptionGroup):
        fault = fault.exceptions[0]
    place = fault.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    told: dict[str, str | int] = {"kind": type(fault).__name__}
    if place is not None:
        told |= {"file": Path(place.tb_frame.f_code.co_filename).name, "line": place.tb_lineno}
    return told


async def _run(settings: Settings) -> int:
    stop = asyncio.Event()
    stop_on_signals(stop)
    source, clock, health = open_source(settings)
    credentials = None
    if settings.token_file is not None:
        credentials = Credentials(settings.token_file, settings.data)
    link = open_link(settings, credentials, clock)
    beating = asyncio.create_task(heartbeat(), name="heartbeat")
    try:
        configuring = Configuring(link, credentials, settings.data, settings.gateway)
        configuring.recall()
        # Ready before the server is: a start without network is a start.
        notify("READY=1")
        if await _unless(stop, configuring.begin()) is None:
            return 0
        agent = await Agent.open(settings, source, link, configuring, clock, health)
        return await agent.run(stop)
    finally:
        notify("STOPPING=1")
        beating.cancel()
        await link.close()


def stop_on_signals(stop: asyncio.Event) -> None:
    """Set ``stop`` on SIGTERM and SIGINT, from the loop that runs."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        try:
            loop.add_signal_handler(number, stop.set)
        except RuntimeError:  # of which kind Windows' refusal is: its loops know no signals
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop.set))


def open_source(settings: Settings) -> tuple[Source, Clock, Health]:
    """Open what is heard with: the trace of ``--simulate``, else this computer's radio.

    Raises GatewayError where that cannot be.
    """
    if settings.simulate is not None:
        replayed = Replayed(settings.simulate, settings.speed)
        return replayed, replayed.clock, Health(replayed.clock.mono)
    from beacon_gateway.radio import Radio

    health = Health()
    radio = Radio(
        settings.adapters, passive=settings.passive, canary=canary(settings), health=health
    )
    return radio, radio.clock, health


def canary(settings: Settings) -> Callable[[Heard], bool] | None:
    """Give what knows the beacon that always lies in the shop; None where none was named."""
    fixed = settings.canary
    if fixed is None:
        return None

    def sings(heard: Heard) -> bool:
        beacons = decode_records(heard.manufacturer, heard.service)
        return any(beacon.identity == fixed.identity for beacon in beacons)

    return sings


def open_link(settings: Settings, credentials: Credentials | None, clock: Clock) -> Link:
    """Open the way to the server that the settings name; nothing is asked yet.

    Raises GatewayError where a library or a file that it needs is missing.
    """
    if settings.server.startswith("mqtt"):
        from beacon_gateway.mqtt import MqttLink

        if settings.gateway is None:
            raise GatewayError("over a broker a gateway must be told who it is: give --gateway")
        token = None if credentials is None else credentials.token
        return MqttLink(settings.server, settings.gateway, token, settings.ca_file)
    from beacon_gateway.https import HttpsLink

    if credentials is None:
        raise GatewayError(
            "token_file is not set: give the file that `proximity` made, --token-file"
        )
    return HttpsLink(settings.server, credentials, settings.gateway, clock.wall, settings.ca_file)


def boot_id() -> str:
    """Name this run for ever: the machine's start and the process's, or chance where unknown."""
    try:
        machine = Path("/proc/sys/kernel/random/boot_id").read_text().replace("-", "")[:12]
        # The 22nd field; the second is a name in brackets that may hold anything.
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return secrets.token_hex(10)
    return f"{machine}-{ticks:x}"


class Agent:
    """One gateway at work: ``hear`` is its line, ``run`` keeps it going."""

    def __init__(
        self,
        settings: Settings,
        source: Source,
        link: Link,
        configuring: Configuring,
        spool: Spool,
        clock: Clock,
        health: Health,
    ) -> None:
        self._source, self._link, self._configuring = source, link, configuring
        self._spool, self._clock, self._health = spool, clock, health
        self._health_file = settings.data / HEALTH
        self._thinning, self._telemetry, self._shared = Thinning(), Telemetry(), Shared()
        self._crowded = 0
        self.uplink = Uplink(spool, link)
        configuring.changed = self._listed_anew

    @classmethod
    async def open(
        cls,
        settings: Settings,
        source: Source,
        link: Link,
        configuring: Configuring,
        clock: Clock,
        health: Health,
    ) -> Agent:
        """Open the spool of a gateway that knows who it is, and join everything to it.

        Raises GatewayError where the spool cannot be used.
        """
        gateway, boot = configuring.gateway or "", boot_id()
        link.gateway = gateway
        if isinstance(source, Replayed):
            source.gateway = gateway
        limits = Limits(settings.spool_bytes, settings.spool_age_s)
        spool = await Spool.open(
            settings.data / SPOOL, limits, gateway=gateway, boot=boot, clock=clock
        )
        health.parts.update(gateway=gateway, boot=boot)
        return cls(settings, source, link, configuring, spool, clock, health)

    def hear(self, heard: Heard) -> None:
        """Take one advertisement: it is listed, and kept, or nothing is left of it but a number."""
        self._health.heard(heard.address, heard.mono_s)
        for beacon in decode_records(heard.manufacturer, heard.service):
            known = self._known(beacon, heard)
            if known is None:
                continue
            self._health.kept(known.identity, heard.rssi_dbm, heard.mono_s, heard.adapter)
            self._shared.heard(known.identity, heard.address, heard.mono_s)
            level = Level(known, heard.rssi_dbm, heard.at, heard.mono_s)
            for kept in self._thinning.take(level):
                self._spool.append(kept)

    def _known(self, beacon: Beacon, heard: Heard) -> Beacon | None:
        """Give the enrolled beacon that a frame speaks of."""
        if beacon.format == "eddystone-tlm":
            return self._telemetry.joined(heard.address, beacon, heard.mono_s)
        known = self._configuring.listed.match(beacon, heard.at + self._link.clock_offset_s)
        if known is None:
            self._health.unlisted(beacon.identity, heard.mono_s)
        else:
            self._telemetry.heard(heard.address, beacon, heard.mono_s)
        return known

    def _listed_anew(self) -> None:
        # Names joined to addresses under the old list are not known to be in the new.
        self._telemetry, self._shared = Telemetry(), Shared()

    # -- up, round and down -------------------------------------------------------------------

    async def run(self, stop: asyncio.Event) -> int:
        """Work until ``stop`` is set or a trace is over; the exit status."""
        telling = asyncio.create_task(self.uplink.run(), name="uplink")
        rounds = [
            asyncio.create_task(each, name=name)
            for name, each in (
                ("slots", self._end_slots()),
                ("configuration", self._configuring.run()),
                ("health", self._tell_health()),
            )
        ]
        hearing = asyncio.create_task(self._hear(), name="hearing")
        stopping: asyncio.Task[Any] = asyncio.create_task(stop.wait(), name="stop")
        status = 0
        try:
            await asyncio.wait(
                {hearing, stopping, telling, *rounds}, return_when=asyncio.FIRST_COMPLETED
            )
            if hearing.done() and not hearing.cancelled() and hearing.exception() is None:
                self._keep(self._thinning.rest())
                await self._told(stop)
            for task in (telling, *rounds, hearing):
                if task.done():
                    task.result()
        except GatewayError as error:
            log.error("this gateway cannot go on", reason=str(error))  # noqa: TRY400
            status = 1
        finally:
            for task in (hearing, stopping, *rounds):
                task.cancel()
            await asyncio.gather(hearing, stopping, *rounds, return_exceptions=True)
            self._keep(self._thinning.rest())
            self.uplink.stop()
            await asyncio.gather(telling, return_exceptions=True)
            await self._spool.close()
            self._write_health(stopped=True)
        return status

    async def _hear(self) -> None:
        if isinstance(self._source, Replayed):
            # A trace waits for the list; the air does not.
            await self._configuring.came.wait()
            self._source.set_clock(self._link.clock_offset_s)
            self._link.clock_offset_s = 0.0
        await self._source.run(self.hear)

    async def _told(self, stop: asyncio.Event) -> None:
        """After a trace: wait until all of it is told."""
        while self._spool.waiting and not stop.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), SLOT_S)

    async def _end_slots(self) -> None:
        """Keep what a slot had when it is over, though nothing else is heard."""
        while True:
            now = self._clock.mono()
            await self._clock.sleep(SLOT_S - now % SLOT_S + GRACE_S)
            self._keep(self._thinning.due(self._clock.mono()))
            crowded, self._crowded = self._thinning.crowded - self._crowded, self._thinning.crowded
            self._spool.count(CROWDED, crowded)

    def _keep(self, levels: list[Level]) -> None:
        for level in levels:
            self._spool.append(level)

    async def _tell_health(self) -> None:
        """Write health every ten seconds and tell it every minute."""
        every = round(TELL_S / WRITE_S)
        round_ = 0
        while True:
            snapshot = self._write_health()
            if round_ % every == 0:
                # What is not told now is told in a minute, and newer then.
                with contextlib.suppress(Away):
                    await self._link.health(snapshot)
            round_ += 1
            await asyncio.sleep(WRITE_S)

    def _write_health(self, *, stopped: bool = False) -> bytes:
        self._health.parts.update(
            stopped=stopped,
            at=self._clock.wall(),
            mono_s=self._clock.mono(),
            listed=len(self._configuring.listed),
            spool=self._spool.snapshot(),
            dropped=self._spool.dropped,
            shared=self._shared.snapshot(),
            clock_offset_s=self._link.clock_offset_s,
            uplink={
                "told": self.uplink.told,
                "trouble": self.uplink.trouble,
                "configuration": self._configuring.trouble,
            },
        )
        snapshot = msgspec.json.encode(self._health.snapshot())
        with contextlib.suppress(OSError):
            write_file(self._health_file, snapshot, lasting=False)
        return snapshot


async def _unless(stop: asyncio.Event, work: Coroutine[Any, Any, str]) -> str | None:
    """Await ``work``; None where it is time to stop first."""
    working, stopping = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not working.done():
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
        return None
    return working.result()
