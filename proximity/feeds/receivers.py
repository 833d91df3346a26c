"""What receivers that retailers already own have in common: names, levels, bytes, clocks.

Each hears adverts and passes them on in its maker's own wrapping; inside are always the bytes that
the beacon sent. Here those become sightings. Knows no maker and no site: whether a beacon or a
receiver is enrolled is not asked here.
"""

from __future__ import annotations

import math
import string
from typing import TYPE_CHECKING, Any

from beacon_gateway.adverts import decode_payload
from beacon_gateway.model import Beacon, Sighting
from proximity.feeds.model import Answer, Decoded, Format, Incoming
from proximity.feeds.units import moment, number, text

if TYPE_CHECKING:
    from collections.abc import Callable

    from proximity.ingest.admission import Receipt

#: The longest advert that Bluetooth knows (extended and chained), in bytes. Legacy ones have 31.
LONGEST_ADVERT = 1650

#: Receivers that ask a time server are right to a second or two, and most write whole seconds.
CLOCK_S = 5.0

#: A receiver that sends what it held back says so by its own clock; older than this is no backlog
#: but a clock that stood.
LONGEST_HELD_S = 86_400.0

#: Unix seconds of 2015-01-01: no receiver was made to be set to an earlier time, so that a smaller
#: number counts seconds since it was switched on.
FIRST_TIME = 1_420_070_400.0

_HEX = frozenset(string.hexdigits)


def receiver_id(value: Any) -> str | None:
    """Read a receiver's name; a radio address in lower case and without separators.

    None where there is none.
    """
    found = text(value)
    if found is None:
        return None
    bare = found.replace(":", "").replace("-", "").replace(".", "")
    return bare.lower() if len(bare) in {12, 16} and _HEX.issuperset(bare) else found


def gateway_of(message: Incoming, value: Any) -> str:
    """Name the gateway: the id that the token or the topic speaks for, else the receiver's own.

    Raises ValueError where nothing names it.
    """
    named = message.speaks_for or receiver_id(value) or message.otherwise
    if named is None:
        raise ValueError("nothing names the receiver: its own address is missing")
    return named


def octets(value: Any) -> bytes:
    """Read hex digits, or bytes as they are; raises ValueError where it is neither or too long."""
    if isinstance(value, bytes):
        found = value
    elif not isinstance(value, str) or len(value) > 3 * LONGEST_ADVERT:
        raise ValueError("an advert is hex digits")
    else:
        try:
            found = bytes.fromhex(value)
        except ValueError:
            raise ValueError("an advert is hex digits") from None
    if len(found) > LONGEST_ADVERT:
        raise ValueError(f"no advert is longer than {LONGEST_ADVERT} bytes")
    return found


def signed(octet: int) -> int:
    """Read a byte as a level in dBm: the two's complement that radios write."""
    return octet - 256 if octet > 127 else octet


def ibeacon(uuid: Any, major: Any, minor: Any, power_dbm: Any = None) -> Beacon:
    """Make an iBeacon of fields that a receiver has decoded; raises ValueError."""
    digits = (text(uuid) or "").replace("-", "").lower()
    if len(digits) != 32 or not _HEX.issuperset(digits):
        raise ValueError("the UUID of a beacon is 32 hex digits")
    power = number(power_dbm)
    return Beacon(
        format="ibeacon",
        uuid=f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}",
        major=_sixteen_bits(major),
        minor=_sixteen_bits(minor),
        power_dbm=int(power) if power is not None and -128 <= power <= 127 else None,
    )


def _sixteen_bits(value: Any) -> int:
    found = number(value)
    if found is None or not 0 <= found <= 65535 or found != int(found):
        raise ValueError("major and minor of a beacon are 0 to 65535")
    return int(found)


def heard(
    message: Incoming,
    gateway: str,
    advert: Beacon | bytes,
    rssi: Any,
    at: Any = None,
    sent: Any = None,
) -> Sighting | None:
    """Make the sighting that a receiver's report amounts to; None where it heard no beacon.

    ``advert`` is what was heard, ``rssi`` dBm; ``at`` and ``sent`` say when, by the receiver's own
    clock, it heard the advert and sent the message. Raises ValueError where they cannot be used.
    """
    beacon = decode_payload(advert) if isinstance(advert, bytes) else advert
    if beacon is None:
        return None
    level = number(rssi)
    if level is None:
        raise ValueError("the advert has no rssi")
    when, uptime_s = _when(message, at, sent)
    return Sighting(beacon=beacon, at=when, rssi_dbm=level, gateway=gateway, mono_s=uptime_s)


def _when(message: Incoming, at: Any, sent: Any) -> tuple[float, float | None]:
    """Say when an advert was heard, in Unix seconds, and the receiver's uptime if it told that.

    The receiver's own word where its clock is right, else how long ago it says it was.
    """
    own, by, now = moment(at), moment(sent), message.now
    newest = by if own is None else own
    uptime_s = newest if newest is not None and newest < FIRST_TIME else None
    if own is None or math.isnan(now):
        return (message.time(own) if uptime_s is None else message.time(None)), uptime_s
    if by is None:
        by = now if uptime_s is None else own
    age_s = by - own
    if not 0.0 <= age_s <= LONGEST_HELD_S:
        return now, uptime_s
    return (own if abs(by - now) <= CLOCK_S else now - age_s), uptime_s


def answer(_decoded: Decoded, _receipt: Receipt | None) -> Answer:
    """Write an empty 200: a receiver asks for no more, and sends poison again on anything else."""
    return Answer(200)


def receiver_format(
    name: str, decode: Callable[[Incoming], Decoded], *, http: bool = True
) -> Format:
    """Make the row of a receiver: it is posted to ``/gateways/NAME``, or comes by MQTT alone."""
    return Format(
        name=name,
        paths=(f"/gateways/{name}",) if http else (),
        methods=("POST",),
        decode=decode,
        answer=answer,
    )
