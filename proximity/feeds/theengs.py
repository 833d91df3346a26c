"""What Theengs Gateway and OpenMQTTGateway say on ``home/GATEWAY/BTtoMQTT/ADDRESS``: one advert.

The advert's bytes where the gateway is told to pass them on, else the iBeacon that it decoded.
Messages have no time: what comes is of now.
"""

from __future__ import annotations

from typing import Any

from beacon_gateway.adverts import decode_manufacturer, decode_service
from beacon_gateway.model import Beacon
from proximity.feeds.model import Decoded, Incoming, gather, poison, read_json
from proximity.feeds.receivers import gateway_of, heard, ibeacon, octets, receiver_format
from proximity.feeds.units import fields_of, text
from proximity.model import Record


def decode(message: Incoming) -> Decoded:
    """Read one report; a sensor's reading or the gateway's own state is ignored."""
    try:
        found = read_json(message.body)
    except ValueError as problem:
        return poison(problem)
    return gather([found], lambda item: _read(fields_of(item), message))


def _read(item: dict[str, Any], message: Incoming) -> Record | None:
    beacon = _beacon(item)
    if beacon is None:
        return None
    return heard(message, gateway_of(message, None), beacon, item.get("rssi"))


def _beacon(item: dict[str, Any]) -> Beacon | None:
    company = text(item.get("manufacturerdata"))
    if company is not None:
        raw = octets(company)
        beacon = decode_manufacturer(int.from_bytes(raw[:2], "little"), raw[2:])
        if beacon is not None:
            return beacon
    service = text(item.get("servicedata"))
    if service is not None:
        number = (text(item.get("servicedatauuid")) or "").lower().removeprefix("0x")
        # Also in the long form, in which a number of 16 bits is the third and fourth byte.
        number = number[4:8] if len(number) == 36 else number
        if len(number) == 4 and set(number) <= set("0123456789abcdef"):
            beacon = decode_service(int(number, 16), octets(service))
            if beacon is not None:
                return beacon
    if text(item.get("uuid")) is not None and item.get("model_id") == "IBEACON":
        return ibeacon(item["uuid"], item.get("major"), item.get("minor"), item.get("txpower"))
    return None


THEENGS = receiver_format("theengs", decode, http=False)
