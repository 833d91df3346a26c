"""What the Transistor background-geolocation SDK says, which many retailers' own apps carry.

Traccar Client 9 speaks the same JSON on OsmAnd's path: ``osmand.py`` reads it with ``read_fix``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proximity.feeds.model import Answer, Decoded, Format, Incoming, gather, poison, read_json
from proximity.feeds.units import fields_of, flag, known, motion, number, position, text
from proximity.model import Fix

if TYPE_CHECKING:
    from proximity.admission import Receipt


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


TRANSISTOR = Format(
    name="transistor", paths=("/transistor",), methods=("POST",), decode=decode, answer=answer
)
