"""What ESPresense says on ``espresense/devices/ID/ROOM``: one beacon as one room's node hears it.

The node has smoothed the level already, and reports a beacon that lies still every few seconds
alone. It sends no time: what comes is of now.
"""

from __future__ import annotations

from typing import Any

from beacon_gateway.model import Beacon
from proximity.feeds.model import Decoded, Incoming, gather, poison, read_json
from proximity.feeds.receivers import gateway_of, heard, ibeacon, receiver_format
from proximity.feeds.units import fields_of, number, text
from proximity.model import Record

#: How long an Eddystone's namespace and instance are, in hex digits.
NAMESPACE, INSTANCE = 20, 12


def decode(message: Incoming) -> Decoded:
    """Read one report; what is no beacon by its id (a phone, a watch, a name) is ignored."""
    try:
        found = read_json(message.body)
    except ValueError as problem:
        return poison(problem)
    return gather([found], lambda item: _read(fields_of(item), message))


def _read(item: dict[str, Any], message: Incoming) -> Record | None:
    beacon = _beacon(item)
    if beacon is None:
        return None
    # `raw` where the firmware tells it: the level as it was before the node smoothed it.
    level = item.get("raw") if number(item.get("raw")) is not None else item.get("rssi")
    return heard(message, gateway_of(message, None), beacon, level)


def _beacon(item: dict[str, Any]) -> Beacon | None:
    kind, _, name = (text(item.get("id")) or "").partition(":")
    power = item.get("rssi@1m")
    if kind in {"iBeacon", "altBeacon"}:
        try:
            uuid, major, minor = name.rsplit("-", 2)
        except ValueError:
            raise ValueError("an id is iBeacon:UUID-MAJOR-MINOR") from None
        found = ibeacon(uuid, major, minor, power)
        if kind == "iBeacon":
            return found
        return Beacon(
            format="altbeacon",
            id1=found.uuid,
            id2=found.major,
            id3=found.minor,
            power_dbm=found.power_dbm,
        )
    if kind == "eddy":
        return _eddystone(name.lower(), number(power))
    return None


def _eddystone(name: str, power_dbm: float | None) -> Beacon:
    namespace, _, instance = name.partition("-")
    if len(namespace) == NAMESPACE + 2 and namespace[8:10] == namespace[10:12]:
        # The firmware writes the fifth byte twice.
        namespace = namespace[:10] + namespace[12:]
    try:
        sizes = len(bytes.fromhex(namespace)), len(bytes.fromhex(instance))
    except ValueError:
        sizes = 0, 0
    if sizes != (NAMESPACE // 2, INSTANCE // 2):
        raise ValueError("an id is eddy:NAMESPACE-INSTANCE, in hex digits")
    power = None if power_dbm is None or not -128 <= power_dbm <= 127 else int(power_dbm)
    return Beacon(format="eddystone-uid", namespace=namespace, instance=instance, power_dbm=power)


ESPRESENSE = receiver_format("espresense", decode, http=False)
