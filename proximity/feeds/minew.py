"""What Minew's gateways (G1, G2, MG3, MG4) say: a JSON array, the gateway itself first.

``JSON-LONG`` gives the advert's own bytes, ``rawData``, or an iBeacon's fields; ``JSON-RAW`` names
the gateway in each item. The binary forms are refused: what their RSSI byte means is not settled.
"""

from __future__ import annotations

from typing import Any

from proximity.feeds.model import Decoded, Incoming, gather, poison, read_json
from proximity.feeds.receivers import gateway_of, heard, ibeacon, octets, receiver_format
from proximity.feeds.units import fields_of, text
from proximity.model import Record

BINARY = b"\xbb"


def decode(message: Incoming) -> Decoded:
    """Read an array of what was heard; the gateway's own item says who heard it, and when sent."""
    if message.body.startswith(BINARY):
        return poison("the data format is binary: choose JSON-LONG in the gateway's settings")
    try:
        found = read_json(message.body)
    except ValueError as problem:
        return poison(problem)
    items = found if isinstance(found, list) else [found]
    own = next((one for one in map(fields_of, items[:1]) if _is_gateway(one)), {})
    return gather(items, lambda item: _read(fields_of(item), own, message))


def _is_gateway(item: dict[str, Any]) -> bool:
    return item.get("type") == "Gateway" or ("gateway" in item and "rssi" not in item)


def _read(item: dict[str, Any], own: dict[str, Any], message: Incoming) -> Record | None:
    if _is_gateway(item):
        return None
    gateway = gateway_of(message, item.get("gateway") or own.get("mac") or own.get("gateway"))
    at, sent = item.get("timestamp"), own.get("timestamp")
    if text(item.get("ibeaconUuid")) is not None:
        beacon = ibeacon(
            item["ibeaconUuid"],
            item.get("ibeaconMajor"),
            item.get("ibeaconMinor"),
            item.get("ibeaconTxPower"),
        )
        return heard(message, gateway, beacon, item.get("rssi"), at, sent)
    raw = text(item.get("rawData"))
    if raw is None:
        return None  # a sensor's reading, decoded by the gateway
    return heard(message, gateway, octets(raw), item.get("rssi"), at, sent)


MINEW = receiver_format("minew", decode)
