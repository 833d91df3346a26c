"""The question: what is the case on this computer, as far as a gateway is concerned.

Asks the system, the radio, the disk and the server, and gives facts; changes nothing. It must not
know which of them are good.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from beacon_gateway.agent import boot_id
from beacon_gateway.allowlist import AllowList, Configuration, read_configuration
from beacon_gateway.around import Around
from beacon_gateway.facts import AdapterFact, Facts
from beacon_gateway.folder import HEALTH, SPOOL, read_file
from beacon_gateway.listening import Reading, configuration, listen, open_ears
from beacon_gateway.model import GatewayError
from beacon_gateway.settings import Settings

# Longer than one of BlueZ's windows of 10 s and the gap of up to 5 s behind it.
LISTEN_S = 16.0
# How long D-Bus and a broker may take to answer, s.
ANSWER_S = 5.0
MOST_HEALTH = 1_000_000
IN_MEMORY = {"tmpfs", "ramfs"}
REMEMBERED = "/var/lib/bluetooth"
LOOPBACK = {"localhost", "127.0.0.1", "::1"}


async def facts(settings: Settings, seconds: float = LISTEN_S, root: Path = Path("/")) -> Facts:
    """Find everything out; listens for ``seconds``. ``root`` is where the system's files begin."""
    said: dict[str, Any] = {
        "platform": sys.platform,
        "simulated": settings.simulate is not None,
        "wanted": settings.adapters,
        "passive": settings.passive,
        "spool_limit": settings.spool_bytes,
    }
    said |= await _server(settings)
    # What the server lists counts; without one, what it listed last.
    known: Configuration | None = said.pop("told", None)
    if known is None:
        with contextlib.suppress(GatewayError):
            known = configuration(settings.data)
    said |= await radio(settings)
    if said.get("radio_error") is None and seconds > 0:
        said |= await _heard(settings, known, seconds)
    said |= _kept(settings, said.get("clock_offset_s"))
    said |= _system(root, [adapter.address for adapter in said.get("adapters", ())])
    return Facts(**said)


def in_memory(mounts: str, adapters: Iterable[str]) -> bool:
    """Tell from the text of /proc/self/mounts whether Bluetooth's memory of names is on no disk.

    Either its whole folder is in memory, or the cache of each adapter.
    """
    kinds = dict(line.split()[1:3] for line in mounts.splitlines() if len(line.split()) > 2)
    place = Path(REMEMBERED)
    nearest = next((kinds[str(at)] for at in (place, *place.parents) if str(at) in kinds), None)
    if nearest in IN_MEMORY:
        return True
    caches = [kinds.get(f"{REMEMBERED}/{address}/cache") for address in adapters]
    return bool(caches) and all(kind in IN_MEMORY for kind in caches)


async def radio(settings: Settings) -> dict[str, Any]:
    """Ask BlueZ for its adapters; on other systems there is nobody to ask."""
    if settings.simulate is not None or sys.platform != "linux":
        return {}
    try:
        from beacon_gateway.bluez import TROUBLES
        from beacon_gateway.daemon import Bluez, bluez_version
    except GatewayError as error:
        return {"radio_error": str(error)}
    bluez = Bluez(lambda: None)
    following = asyncio.create_task(bluez.run())
    try:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(bluez.tried.wait(), ANSWER_S)
        found = bluez.all()
        trouble = None if bluez.running else TROUBLES[bluez.absence()].text
    finally:
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following
    return {
        "radio_error": trouble,
        "bluez": await bluez_version(),
        "adapters": tuple(
            AdapterFact(
                name=one.name, address=one.address, powered=one.powered, central=one.central
            )
            for one in found
        ),
    }


async def _heard(settings: Settings, known: Configuration | None, seconds: float) -> dict[str, Any]:
    """Listen for a while, as the agent does."""
    around = Around()

    def take(reading: Reading) -> None:
        if reading.listed:
            health.kept(reading.beacon.identity, reading.rssi_dbm, reading.mono_s)
            around.take(reading.beacon, reading.rssi_dbm, reading.mono_s)
        else:
            health.unlisted(reading.beacon.identity, reading.mono_s)

    try:
        source, clock, health = open_ears(settings, known)
        listed = AllowList(() if known is None else known.beacons)
        started = clock.mono()
        await listen(source, listed, take, seconds, health)
    except GatewayError as error:
        return {"radio_error": str(error)}
    listened = clock.mono() - started
    trouble = next((one.trouble for one in health.adapters.values() if one.trouble), None)
    told = health.snapshot()
    return {
        "radio_error": trouble,
        "listed": known is not None,
        "listened_s": listened,
        "per_s": told["advertisements_per_s"],
        "radios": told["radios"],
        "unlisted": told["unlisted"],
        "throttled": told["rssi_throttled"],
        "per_beacon": tuple(row.per_s for row in around.rows(clock.mono())),
    }


async def _server(settings: Settings) -> dict[str, Any]:
    """Ask the server for this gateway's list, as the agent does."""
    from beacon_gateway.credentials import Credentials

    where = urlsplit(settings.server)
    if where.scheme.startswith("mqtt"):
        return await _broker(where.hostname or "", where.port or _port(where.scheme))
    if settings.token_file is None:
        return {"token_error": "no token file is given (--token-file)"}
    try:
        credentials = Credentials(settings.token_file, settings.data)
    except GatewayError as error:
        return {"token_error": str(error)}
    found: dict[str, Any] = {
        "token_readable": bool(settings.token_file.stat().st_mode & 0o004),
        "token_open": credentials.token is not None
        and where.scheme == "http"
        and where.hostname not in LOOPBACK,
    }
    from beacon_gateway.https import HttpsLink
    from beacon_gateway.link import Away

    try:
        link = HttpsLink(
            settings.server, credentials, settings.gateway, time.time, settings.ca_file
        )
    except GatewayError as error:
        return found | {"server_error": str(error)}
    try:
        told = read_configuration(await link.configuration() or b"")
        found |= {
            "enrolled": len(told.beacons),
            "place": told.place,
            "told": told,
            "clock_offset_s": link.clock_offset_s,
        }
    except Away as away:
        # Who is refused was answered, and by what it says of the time too.
        refused = any(word in str(away) for word in ("token", "gateway"))
        found |= {"token_error" if refused else "server_error": f"the server: {away}"}
        if link.timed:
            found |= {"reached": True, "clock_offset_s": link.clock_offset_s}
    except GatewayError as error:
        found["server_error"] = str(error)
    finally:
        await link.close()
    return found


async def _broker(host: str, port: int) -> dict[str, Any]:
    try:
        async with asyncio.timeout(ANSWER_S):
            _, writer = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError) as error:
        return {"server_error": f"the broker cannot be reached ({type(error).__name__})"}
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return {}


def _port(scheme: str) -> int:
    return 8883 if scheme == "mqtts" else 1883


def _kept(settings: Settings, offset_s: float | None) -> dict[str, Any]:
    """Look into the data folder, and at what the agent last told of itself."""
    folder = settings.data
    standing = next((at for at in (folder, *folder.absolute().parents) if at.exists()), folder)
    if not standing.is_dir() or not os.access(standing, os.R_OK | os.W_OK | os.X_OK):
        return {"data_error": f"{folder} cannot be written by this user"}
    found: dict[str, Any] = {"free_bytes": shutil.disk_usage(standing).free}
    spool = [folder / f"{SPOOL}{tail}" for tail in ("", "-wal", "-shm")]
    sizes = [file.stat().st_size for file in spool if file.exists()]
    if sizes:
        found["spool_bytes"] = sum(sizes)
    content = read_file(folder / HEALTH, MOST_HEALTH)
    if content is not None:
        told = _Told()
        with contextlib.suppress(msgspec.MsgspecError, RecursionError):
            told = msgspec.json.decode(content, type=_Told)
        found |= {
            "health_age_s": _age(told, (folder / HEALTH).stat().st_mtime, offset_s),
            "stopped": told.stopped,
            "trouble": told.uplink.trouble,
            "list_trouble": told.uplink.configuration,
            "waiting": told.spool.waiting,
            "dropped": sum(int(number) for number in told.dropped.values()),
        }
    return found


class _Spool(msgspec.Struct):
    waiting: int = 0


class _Uplink(msgspec.Struct):
    trouble: str | None = None
    configuration: str | None = None


class _Told(msgspec.Struct):
    """What of the agent's health is wanted here."""

    boot: str = ""
    mono_s: float | None = None
    clock_offset_s: float = 0.0
    stopped: bool = False
    dropped: dict[str, float] = {}
    spool: _Spool = msgspec.field(default_factory=_Spool)
    uplink: _Uplink = msgspec.field(default_factory=_Uplink)


def _age(told: _Told, written: float, offset_s: float | None) -> float:
    """Give the seconds since the agent told of itself; below 0 where the clocks do not agree.

    Since the same start of this computer by the clock that never jumps; else by the server's time,
    as far as it is known, at Unix second ``written`` of the clock of then and now.
    """
    machine, dash, _ = boot_id().partition("-")
    if told.mono_s is not None and dash and told.boot.partition("-")[0] == machine:
        return time.monotonic() - told.mono_s
    ahead_s = 0.0 if offset_s is None else offset_s - told.clock_offset_s
    return time.time() - written + ahead_s


def _system(root: Path, adapters: Iterable[str]) -> dict[str, Any]:
    if sys.platform != "linux":
        return {}
    clocks = root / "sys/class/rtc"
    mounts = root / "proc/self/mounts"
    found: dict[str, Any] = {"rtc": clocks.is_dir() and any(clocks.iterdir())}
    if (root / REMEMBERED.strip("/")).exists() and mounts.exists():
        found["in_memory"] = in_memory(mounts.read_text(), adapters)
    return found
