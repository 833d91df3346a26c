"""What the Ruuvi Gateway says: JSON by HTTP (many tags a message) or by MQTT (one)."""

from __future__ import annotations

from typing import Any

from proximity.feeds.model import Decoded, Incoming, gather, poison, read_json
from proximity.feeds.receivers import gateway_of, heard, octets, receiver_format
from proximity.feeds.units import fields_of
from proximity.model import Record


def decode(message: Incoming) -> Decoded:
    """Read a message of either kind, with or without the gateway's times."""
    try:
        root = fields_of(read_json(message.body))
    except ValueError as problem:
        return poison(problem)
    inner = root.get("data")
    if isinstance(inner, dict):
        tags = inner.get("tags")
        if not isinstance(tags, dict):
            return poison("the message has no tags")
        who, sent = inner.get("gw_mac"), inner.get("timestamp")
        return gather(
            list(tags.values()),
            lambda tag: _read(fields_of(tag), "timestamp", who, sent, message),
        )
    # What the gateway tells of itself comes on a topic beside those of the tags.
    reports = [root] if inner is not None else []
    decoded = gather(
        reports, lambda tag: _read(tag, "ts", tag.get("gw_mac"), tag.get("gwts"), message)
    )
    return decoded if reports else Decoded(ignored=1)


def _read(tag: dict[str, Any], at: str, who: Any, sent: Any, message: Incoming) -> Record | None:
    return heard(
        message,
        gateway_of(message, who),
        octets(tag.get("data")),
        tag.get("rssi"),
        tag.get(at),
        sent,
    )


RUUVI = receiver_format("ruuvi", decode)
