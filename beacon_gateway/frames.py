"""The question: which bytes does a beacon send to say who it is.

The way back of `adverts.py`, for replays and tests that want the whole line from bytes on. Pure; it
must not know traces, levels or radios.
"""

from __future__ import annotations

from collections.abc import Callable

from beacon_gateway.adverts import (
    APPLE,
    BASE_HEAD,
    BASE_TAIL,
    EDDYSTONE,
    EDDYSTONE_LOSS_DB,
    URL_ENDINGS,
    URL_SCHEMES,
)
from beacon_gateway.model import Beacon

#: Radius Networks, who published AltBeacon; the format allows any company.
ALTBEACON_COMPANY = 0x0118
EDDYSTONE_UUID = f"{BASE_HEAD}{EDDYSTONE:04x}{BASE_TAIL}"
#: What a beacon without a calibrated power sends here: a usual tag's level at 1 m.
POWER_DBM = -59

Frame = tuple[dict[int, bytes], dict[str, bytes]]


def frame(beacon: Beacon) -> Frame | None:
    """Write the frame that decodes to ``beacon``: manufacturer data and service data.

    None where a field that the frame needs is left out, or a value does not fit in it.
    """
    write = FRAMES.get(beacon.format)
    try:
        return None if write is None else write(beacon)
    except (ValueError, OverflowError, StopIteration):
        return None


def _octets(digits: str | None, length: int) -> bytes:
    octets = bytes.fromhex((digits or "").replace("-", ""))
    if len(octets) != length:
        raise ValueError("of another length")
    return octets


def _number(value: int | None) -> bytes:
    if value is None:
        raise ValueError("left out")
    return value.to_bytes(2, "big")


def _power(beacon: Beacon, loss_db: int = 0) -> bytes:
    power = POWER_DBM if beacon.power_dbm is None else beacon.power_dbm
    return (power + loss_db).to_bytes(1, "big", signed=True)


def _ibeacon(beacon: Beacon) -> Frame:
    identity = _octets(beacon.uuid, 16) + _number(beacon.major) + _number(beacon.minor)
    return {APPLE: b"\x02\x15" + identity + _power(beacon)}, {}


def _altbeacon(beacon: Beacon) -> Frame:
    identity = _octets(beacon.id1, 16) + _number(beacon.id2) + _number(beacon.id3)
    return {ALTBEACON_COMPANY: b"\xbe\xac" + identity + _power(beacon) + b"\x00"}, {}


def _eddystone(kind: bytes, content: bytes, beacon: Beacon) -> Frame:
    return {}, {EDDYSTONE_UUID: kind + _power(beacon, EDDYSTONE_LOSS_DB) + content}


def _eddystone_uid(beacon: Beacon) -> Frame:
    identity = _octets(beacon.namespace, 10) + _octets(beacon.instance, 6)
    return _eddystone(b"\x00", identity + bytes(2), beacon)


def _eddystone_eid(beacon: Beacon) -> Frame:
    return _eddystone(b"\x30", _octets(beacon.eid, 8), beacon)


def _eddystone_url(beacon: Beacon) -> Frame:
    url = beacon.url or ""
    scheme = next(each for each in URL_SCHEMES if url.startswith(each))
    rest, content = url.removeprefix(scheme), bytes([URL_SCHEMES.index(scheme)])
    while rest:
        ending = next((each for each in URL_ENDINGS if rest.startswith(each)), None)
        content += (
            rest[:1].encode("ascii") if ending is None else bytes([URL_ENDINGS.index(ending)])
        )
        rest = rest[1:] if ending is None else rest.removeprefix(ending)
    return _eddystone(b"\x10", content, beacon)


FRAMES: dict[str, Callable[[Beacon], Frame]] = {
    "ibeacon": _ibeacon,
    "altbeacon": _altbeacon,
    "eddystone-uid": _eddystone_uid,
    "eddystone-eid": _eddystone_eid,
    "eddystone-url": _eddystone_url,
}
