"""The question: what does somebody at a terminal hear, for as long as they watch.

The radio, or a trace in its place, for the commands that show or measure and send nothing. What is
heard lives in memory until the command ends. It must not know what is shown.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from beacon_gateway.adverts import decode_records
from beacon_gateway.agent import open_source
from beacon_gateway.allowlist import MAX_BYTES, AllowList, Configuration, read_configuration
from beacon_gateway.folder import CONFIG, read_file
from beacon_gateway.health import Health
from beacon_gateway.model import Beacon, GatewayError
from beacon_gateway.replayed import Replayed
from beacon_gateway.scanner import Clock, Heard, Source
from beacon_gateway.settings import NOWHERE, Settings


class Reading(NamedTuple):
    """A beacon was heard: dBm at Unix second ``at``, and whether it is enrolled here.

    ``mono_s`` is the same moment by the clock that never jumps.
    """

    beacon: Beacon
    rssi_dbm: int
    at: float
    mono_s: float
    listed: bool


async def listen(
    source: Source,
    listed: AllowList | None,
    take: Callable[[Reading], None],
    seconds: float | None = None,
    health: Health | None = None,
) -> None:
    """Hand each beacon that ``source`` hears to ``take`` for so many seconds, or until it ends.

    Without a list every beacon counts as enrolled. A telemetry frame is nobody's: it is left out.
    ``health`` counts every advertisement. Raises what the source raises.
    """

    def decode(heard: Heard) -> None:
        if health is not None:
            health.heard(heard.address, heard.mono_s)
        for beacon in decode_records(heard.manufacturer, heard.service):
            if beacon.format != "eddystone-tlm":
                known = listed is None or listed.match(beacon, heard.at) is not None
                take(Reading(beacon, heard.rssi_dbm, heard.at, heard.mono_s, known))

    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await source.run(decode)


def open_ears(settings: Settings, known: Configuration | None) -> tuple[Source, Clock, Health]:
    """Open the radio, or the trace in its place: of a trace, what this gateway heard.

    The id is the one of the settings, else the one that the server told; without either all that
    the trace's gateways heard counts. Raises GatewayError where it cannot be used.
    """
    source, clock, health = open_source(settings)
    if isinstance(source, Replayed):
        source.gateway = settings.gateway or (known.gateway if known is not None else None)
    return source, clock, health


def configuration(data: Path) -> Configuration | None:
    """Read what the server last told the agent of this data folder; None where it has not yet.

    Raises GatewayError where the file is there and is none.
    """
    if data == NOWHERE:
        return None
    content = read_file(data / CONFIG, MAX_BYTES)
    if content is None:
        return None
    try:
        return read_configuration(content)
    except GatewayError as error:
        raise GatewayError(
            f"{data / CONFIG}: {error}: remove it, `beacon-gateway run` fetches it anew"
        ) from None
