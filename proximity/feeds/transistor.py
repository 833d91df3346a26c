"""What the Transistor background-geolocation SDK says and is told; many retailers' apps carry it.

A geofence event (ENTER, EXIT, DWELL) is read as the fix it carries: what the phone made of it was
judged by a circle, and is not taken over. Traccar Client 9 speaks the same JSON on OsmAnd's path:
``osmand.py`` reads it with ``read_fix``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from proximity.feeds.model import Answer, Decoded, Format, Incoming, gather, poison, read_json
from proximity.feeds.units import fields_of, flag, known, motion, number, position, text
from proximity.model import Fix
from proximity.phones.arming import Client

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proximity.ingest.admission import Receipt
    from proximity.phones.arming import Order


def decode(message: Incoming) -> Decoded:
    """Read a location or a list of them, under the default root ``location`` or without a root."""
    try:
        found = read_json(message.body)
    except ValueError as problem:
        return poison(problem)
    root = fields_of(found)
    inner = root.get("location", root.get("locations", found))
    items = inner if isinstance(inner, list) else [inner]
    return gather(items, lambda item: read_fix(item, root, message))


def read_fix(item: Any, root: dict[str, Any], message: Incoming) -> Fix | None:
    """Read one location of the SDK; None where it carries no position.

    ``root`` is the object around it, which may name the device. Raises ValueError where it
    cannot be used.
    """
    item = fields_of(item)
    if not item:
        raise ValueError("a location is a JSON object")
    coords = fields_of(item.get("coords"))
    at = position(coords.get("longitude"), coords.get("latitude"))
    if at is None:
        return None
    heights = number(coords.get("altitude_accuracy"))
    return Fix(
        subject=subject_of(item, root, message),
        at=message.time(item.get("timestamp")),
        lon=at[0],
        lat=at[1],
        accuracy_m=known(coords.get("accuracy")),
        altitude_m=None if heights is not None and heights < 0 else number(coords.get("altitude")),
        floor=number(coords.get("floor")),
        speed_mps=known(coords.get("speed")),
        course_deg=known(coords.get("heading")),
        motion=motion(item.get("activity")),
        mock=flag(item.get("mock")),
        id=text(item.get("uuid")),
    )


def subject_of(item: dict[str, Any], root: dict[str, Any], message: Incoming) -> str:
    """Name the device: the token's id, then ``device_id`` where an app may put it.

    Raises ValueError where nothing names it.
    """
    named = message.speaks_for
    for source in (root, item, fields_of(item.get("extras")), dict(reversed(message.query))):
        named = named or text(source.get("device_id"))
    named = named or message.otherwise
    if named is None:
        raise ValueError("nothing names the device: send device_id beside the location")
    return named


def answer(_decoded: Decoded, _receipt: Receipt | None) -> Answer:
    """Write an object without commands; any 2xx deletes the rows, so poison gets it too."""
    return Answer(200, b"{}", "application/json")


#: The SDK keeps any number of regions and hands the nearest to the phone, 20 on iOS and 100 on
#: Android, by itself: these are enough for it to choose from until the next reply.
MOST_REGIONS = 100


def client(_message: Incoming) -> Client:
    """Tell what the SDK can take: the same on both platforms."""
    return Client(MOST_REGIONS, empties=True, write=_commands)


def _commands(orders: Sequence[Order]) -> bytes:
    """Write the reply that commands the SDK.

    One name each to remove: a list of them is read as "remove all" by versions that know no lists,
    and the app may have regions of its own.
    """
    commands: list[list[Any]] = [
        ["removeGeofence", _name(order)] for order in orders if order.after is None
    ]
    added = [
        {
            "identifier": _name(order),
            "longitude": region.lon,
            "latitude": region.lat,
            "radius": region.radius_m,
            "notifyOnEntry": True,
            "notifyOnExit": True,
            "extras": {"id": region.id, "name": region.name},
        }
        for order in orders
        if (region := order.after) is not None
    ]
    if added:
        commands.append(["addGeofences", added])
    return msgspec.json.encode({"background_geolocation": commands})


def _name(order: Order) -> str:
    """Name a slot; a region added by a name that is there replaces what was."""
    return f"proximity-{order.slot}"


TRANSISTOR = Format(
    name="transistor", paths=("/transistor",), methods=("POST",), decode=decode, answer=answer
)
