"""The question: what would a gateway have heard, had it stood where a trace was made.

A source (see `scanner.py`) for `--simulate`: the sightings of a trace become advertisements again,
bytes and all, at the pace at which they were heard or ``speed`` times as fast. Its clock begins now
and runs as fast as the trace. It must not know what becomes of what it says.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec
import structlog

from beacon_gateway.frames import frame
from beacon_gateway.model import BOM, GatewayError, NothingHeardError, Sighting
from beacon_gateway.scanner import Clock, Heard, Take, measured

log = structlog.get_logger("beacon_gateway")

#: A sighting is some 250 bytes; a longer line is none, and is not kept in memory.
MOST_LINE = 65_536
#: How many that are due go on before others have their turn.
AT_ONCE = 200

_decoder = msgspec.json.Decoder(Sighting)


class Replayed:
    """The sightings in the file ``trace`` that gateways made; ``gateway``: that one's alone.

    ``clock`` is the time that goes with them. Raises GatewayError where the file cannot be read, or
    begins with what is no record of a trace; what is broken further on is passed over, since a
    trace may have been cut.
    """

    def __init__(self, trace: Path, speed: float = 1.0, gateway: str | None = None) -> None:
        try:
            self._file: BinaryIO = trace.open("rb")
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise GatewayError(f"{trace}: cannot be read ({reason}): check the name") from None
        self._trace = trace
        self._begins = self._first_lines()
        self.gateway = gateway
        #: Lines that are nothing this gateway could have heard: other records, other gateways'.
        self.skipped = 0
        self._speed = speed
        self._wall, self._mono = time.time(), time.monotonic()
        self.clock = Clock(
            wall=lambda: self._wall + (time.monotonic() - self._mono) * speed,
            mono=lambda: self._mono + (time.monotonic() - self._mono) * speed,
            sleep=lambda seconds: asyncio.sleep(seconds / speed),
        )

    def set_clock(self, ahead_s: float) -> None:
        """Put the clock forward: a rehearsal's server, whose time runs faster, is ahead of ours."""
        self._wall += ahead_s

    def _first_lines(self) -> list[bytes]:
        """Read as far as the first record; it need be no sighting."""
        lines: list[bytes] = []
        while line := self._file.readline(MOST_LINE):
            line = line.removeprefix(BOM)
            lines.append(line)
            if line.strip() or len(lines) > AT_ONCE:
                try:
                    msgspec.json.decode(line, type=_Record)
                except (ValueError, RecursionError) as error:
                    self._file.close()
                    raise GatewayError(
                        f"{self._trace}: line {len(lines)}: is no record of a trace ({error})"
                    ) from None
                break
        return lines

    async def run(self, take: Take) -> None:
        """Say what was heard, the first of it now; comes back when the trace is over.

        Raises NothingHeardError where none of it was for this gateway to hear.
        """
        first: float | None = None
        said = 0
        with self._file:
            for sighting in self._sightings():
                written = frame(sighting.beacon)
                if written is None or not measured(round(sighting.rssi_dbm)):
                    self.skipped += 1
                    continue
                if first is None:
                    # The trace begins when the agent is ready to hear.
                    first = sighting.at - (self.clock.mono() - self._mono)
                passed = sighting.at - first
                if (wait_s := self._mono + passed - self.clock.mono()) > 0.0:
                    await self.clock.sleep(wait_s)
                elif said % AT_ONCE == 0:
                    await asyncio.sleep(0)
                said += 1
                take(
                    Heard(
                        _address(sighting), round(sighting.rssi_dbm), self._wall + passed,
                        self._mono + passed, *written, "00:00:00:00:00:00",
                    )
                )  # fmt: skip
        log.info("the trace is over", said=said, skipped=self.skipped)
        if not said:
            whom = "a gateway" if self.gateway is None else "this gateway"
            raise NothingHeardError(
                f"{self._trace}: holds nothing that {whom} heard, in {self.skipped} lines: "
                "check the trace's `gateway` against --gateway, or the id that the token has"
            )

    def _sightings(self) -> Iterator[Sighting]:
        """Read the file line by line; what is no sighting of ours is passed over and counted."""
        following = iter(lambda: self._file.readline(MOST_LINE), b"")
        for line in itertools.chain(self._begins, following):
            try:
                sighting = _decoder.decode(line)
            except (ValueError, RecursionError):
                self.skipped += 1
                continue
            if sighting.gateway is None or self.gateway not in {None, sighting.gateway}:
                self.skipped += 1
                continue
            yield sighting


class _Record(msgspec.Struct):
    """What every record of a trace has."""

    type: str


def _address(sighting: Sighting) -> str:
    """Make up the radio address of a beacon: one that says it is none of a maker's (02:…)."""
    octets = hashlib.blake2b(repr(sighting.beacon.identity).encode(), digest_size=5).digest()
    return ":".join(f"{octet:02X}" for octet in (0x02, *octets))
