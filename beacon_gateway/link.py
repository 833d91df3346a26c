"""The question: what can become of a batch on its way to the server.

The words that the uplink and whatever carries a batch (HTTPS, a broker) have in common; values
only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import msgspec

from beacon_gateway.spoolfile import Record


class Receipt(NamedTuple):
    """What the server did with a batch it took: how many records came too late, or were refused."""

    late: int = 0
    refused: int = 0


class Away(Exception):  # noqa: N818 - a state of affairs, and the caller comes back
    """The server takes nothing now; ``after_s`` is how long it asks to be left alone.

    The text says why in a few words, and holds no address, id or token.
    """

    def __init__(self, reason: str, after_s: float = 0.0) -> None:
        super().__init__(reason)
        self.after_s = after_s


class Poison(Exception):  # noqa: N818 - a kind of batch, not of fault
    """The server will never take this batch as it is; the text says why in a few words.

    ``sure`` is false where something on the way may have said so: a smaller batch may pass it.
    """

    def __init__(self, reason: str, *, sure: bool = True) -> None:
        super().__init__(reason)
        self.sure = sure


class Link(Protocol):
    """A way to the server. Every call raises Away where there is none just now."""

    #: Who is speaking; None until it is known.
    gateway: str | None
    #: How many seconds the server's clock is ahead of this computer's, as far as it was told.
    clock_offset_s: float

    async def send(self, body: bytes) -> Receipt:
        """Hand over a batch, lines of JSON; Poison where it can never be taken."""

    async def configuration(self) -> bytes | None:
        """Ask for the configuration; None where it is still the one given last."""

    def unread(self) -> None:
        """Ask for the whole configuration next time: what came could not be used."""

    async def health(self, snapshot: bytes) -> None:
        """Tell how this gateway fares."""

    async def close(self) -> None:
        """Let go of the connection."""


class Line(msgspec.Struct, frozen=True, tag_field="type", tag="sighting"):
    """A sighting as it travels; ``id`` names it for ever, so that twice sent is once counted."""

    beacon: msgspec.Raw
    at: float
    rssi_dbm: int
    gateway: str
    boot: str
    seq: int
    mono_s: float
    id: str


_encoder = msgspec.json.Encoder()


def lines(records: Sequence[Record]) -> bytes:
    """Write records as lines of JSON; times to the millisecond."""
    return _encoder.encode_lines(
        [
            Line(
                msgspec.Raw(record.beacon), round(record.at, 3), record.rssi_dbm, record.gateway,
                record.boot, record.seq, round(record.mono_s, 3), f"{record.boot}:{record.seq}",
            )
            for record in records
        ]
    )  # fmt: skip
