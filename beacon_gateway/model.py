"""What a beacon is and what it means to have heard one.

Values only: frozen, no clock, no I/O. Both the in-store agent and the engine use them.
"""

from __future__ import annotations

import math
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

if TYPE_CHECKING:
    Time = float
else:
    # On the wire a time is RFC 3339 text or Unix seconds; in memory always Unix seconds.
    Time = float | str

Id = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]

Format = Literal[
    "ibeacon", "altbeacon", "eddystone-uid", "eddystone-eid", "eddystone-url", "eddystone-tlm"
]

# What some editors put before UTF-8 text.
BOM = b"\xef\xbb\xbf"


class GatewayError(Exception):
    """Something a gateway was given cannot be used; the text names the thing and the mend."""

    #: What a command that meets it ends with.
    status = 2


class NothingHeardError(GatewayError):
    """What was given can be used, and there is nothing to be heard with it."""

    status = 1


def parse_time(value: float | str) -> float:
    """Read a time of the wire: Unix seconds, or RFC 3339 text with a zone, as Unix seconds.

    Raises ValueError where the text is no RFC 3339 time, lacks a zone, or lies outside
    the years 1970 to 9999.
    """
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError(f"{_short(value)} is no RFC 3339 time") from None
        if moment.tzinfo is None:
            raise ValueError(f"{_short(value)} lacks a time zone: add Z or an offset")
        value = moment.timestamp()
    if not 0.0 <= value < 253402300800.0:
        raise ValueError(f"time {_short(value)} is outside the years 1970 to 9999 (Unix seconds)")
    return float(value)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:79]}…"


def check_id(value: str, name: str) -> None:
    """Refuse an id that is not text of 1 to 128 characters without control characters."""
    if not 1 <= len(value) <= 128:
        raise ValueError(f"{name} must have 1 to 128 characters")
    if not value.isprintable() and any(
        ord(c) < 32 or 127 <= ord(c) < 160 or 0xD800 <= ord(c) < 0xE000 for c in value
    ):
        raise ValueError(f"{name} must have no control characters and no half of a surrogate pair")


class Beacon(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One decoded advertisement: its format, its identity, and what it tells of itself.

    Only the fields of its ``format`` are set; hex is kept in lower case. ``power_dbm`` is the
    calibrated level at 1 m in dBm, also for Eddystone (whose frames carry the level at 0 m, 41 dB
    higher); a telemetry frame has none. ``battery_mv`` millivolts, ``temperature_c`` degrees
    Celsius, ``uptime_s`` seconds since the beacon started. Identity never includes the radio
    address.
    """

    format: Format = msgspec.field()
    uuid: str | None = None
    major: int | None = None
    minor: int | None = None
    id1: str | None = None
    id2: int | None = None
    id3: int | None = None
    namespace: str | None = None
    instance: str | None = None
    eid: str | None = None
    url: str | None = None
    power_dbm: int | None = None
    battery_mv: int | None = None
    temperature_c: float | None = None
    count: int | None = None
    uptime_s: float | None = None

    def __post_init__(self) -> None:
        for name in ("uuid", "id1", "namespace", "instance", "eid"):
            value = getattr(self, name)
            if value is not None and not value.islower():
                msgspec.structs.force_setattr(self, name, value.lower())

    @property
    def identity(self) -> tuple[str | int | None, ...]:
        """What tells this beacon from others: the format and its id fields, no levels."""
        return (
            self.format, self.uuid, self.major, self.minor, self.id1, self.id2, self.id3,
            self.namespace, self.instance, self.eid, self.url,
        )  # fmt: skip


class Sighting(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type", tag="sighting"
):
    """A beacon was heard: by a fixed ``gateway`` or by a ``subject``'s phone, exactly one.

    ``at`` and ``received_at`` are Unix seconds (RFC 3339 text is accepted), ``rssi_dbm`` dBm;
    ``boot``, ``seq`` and ``mono_s`` (seconds of a monotonic clock) are the sender's own count.
    An RSSI of 0 or more, 127, -127 or below -120 means "not measured": ``measured`` is false.
    Raises ValueError (msgspec.ValidationError when decoded) where a field is out of range.
    """

    beacon: Beacon
    at: Time
    rssi_dbm: float
    gateway: str | None = None
    subject: str | None = None
    id: str | None = None
    received_at: Time | None = None
    boot: str | None = None
    seq: int | None = None
    mono_s: float | None = None

    def __post_init__(self) -> None:
        if isinstance(self.beacon, dict):
            beacon = msgspec.convert(self.beacon, Beacon)
            msgspec.structs.force_setattr(self, "beacon", beacon)
        if (self.gateway is None) == (self.subject is None):
            raise ValueError("a sighting names either its gateway or its subject")
        normalise_times(self)
        check_id(self.gateway or self.subject or "", "gateway" if self.gateway else "subject")
        if self.id is not None:
            check_id(self.id, "id")
        if not math.isfinite(self.rssi_dbm):
            raise ValueError("rssi_dbm must be a finite number")

    @property
    def measured(self) -> bool:
        """Whether the RSSI is a measurement (contract 3 lists the values that are not)."""
        return -120.0 <= self.rssi_dbm < 0.0 and self.rssi_dbm != -127.0


def normalise_times(record: object) -> None:
    """Turn the times of a freshly made frozen record into Unix seconds, in place.

    Raises ValueError where one cannot be read.
    """
    for name in ("at", "received_at"):
        value = getattr(record, name)
        if value is None:
            continue
        number = parse_time(value)
        if type(value) is not float:
            msgspec.structs.force_setattr(record, name, number)  # type: ignore[arg-type]
