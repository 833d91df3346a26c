"""The question: what is a radio's report, and what may yield reports.

Values and protocols only: which library hears, on which system, and what becomes of what was
heard are other files' matters. Nothing here is ever written down: a report of a bystander lives
as long as the call that carries it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol


class Heard(NamedTuple):
    """One advertisement as an adapter heard it; raw, undecoded, of anybody's radio.

    ``address`` is the sender's radio address (macOS: an id that the computer made up), never an
    identity; ``rssi_dbm`` a measurement in dBm; ``at`` Unix seconds by this computer's clock and
    ``mono_s`` seconds of its monotonic clock, both of the moment it was heard; ``manufacturer``
    bytes by company id, as after that id; ``service`` bytes by 128-bit UUID text in lower case;
    ``adapter`` the hearing adapter's own address.
    """

    address: str
    rssi_dbm: int
    at: float
    mono_s: float
    manufacturer: dict[int, bytes]
    service: dict[str, bytes]
    adapter: str


Take = Callable[[Heard], None]


class Source(Protocol):
    """Whatever hears: a radio, or a trace of one."""

    async def run(self, take: Take) -> None:
        """Hand each report to ``take``, which must not block, until cancelled.

        Raises GatewayError where hearing on in this process is hopeless.
        """


class Clock(NamedTuple):
    """The time as a source sees it, so that a test can be its own time.

    ``wall`` gives Unix seconds, ``mono`` seconds that never jump, ``sleep`` waits for seconds.
    """

    wall: Callable[[], float] = time.time
    mono: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


def measured(rssi_dbm: int) -> bool:
    """Whether an RSSI is a measurement: 0 and more, 127, -127 and below -120 stand for none."""
    return -120 <= rssi_dbm < 0
