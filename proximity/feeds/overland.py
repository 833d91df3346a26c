"""What Overland says: batches of GeoJSON points, also as GPSLogger sends them for Dawarich."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proximity.feeds.model import Answer, Decoded, Format, Incoming, gather, poison, read_json
from proximity.feeds.units import fields_of, known, moment, motion, number, position, text
from proximity.model import Fix

if TYPE_CHECKING:
    from proximity.ingest.admission import Receipt


def decode(message: Incoming) -> Decoded:
    """Read a batch; what lies beside its ``locations`` is left.

    ``current`` repeats a point that a batch carries in its turn: taken at once it would only make
    the older ones in the queue late.
    """
    try:
        found = read_json(message.body)
    except ValueError as problem:
        return poison(problem)
    locations = found.get("locations") if isinstance(found, dict) else found
    if not isinstance(locations, list):
        return poison("the batch has no list of locations")
    return gather(locations, lambda item: _fix(item, message))


def _fix(item: Any, message: Incoming) -> Fix | None:
    properties = fields_of(fields_of(item).get("properties"))
    if "action" in properties or properties.get("type") == "trip":
        return None  # a visit, a trip, a change of the app's own state
    geometry = fields_of(fields_of(item).get("geometry"))
    coordinates = geometry.get("coordinates")
    if not isinstance(coordinates, list) or len(coordinates) < 2:
        raise ValueError("the location has no coordinates")
    at = position(coordinates[0], coordinates[1])
    when = moment(properties.get("timestamp"))  # a queue's fix is never of now
    if at is None or when is None:
        raise ValueError(f"the location has no {'coordinates' if at is None else 'timestamp'}")
    heights = number(properties.get("vertical_accuracy"))
    return Fix(
        subject=_subject(properties, message),
        at=when,
        lon=at[0],
        lat=at[1],
        accuracy_m=known(properties.get("horizontal_accuracy")),
        altitude_m=None
        if heights is not None and heights < 0
        else number(properties.get("altitude")),
        speed_mps=known(properties.get("speed")),
        course_deg=known(properties.get("course")),
        motion=motion(properties.get("motion")),
    )


def _subject(properties: dict[str, Any], message: Incoming) -> str:
    named = (
        message.speaks_for
        or text(properties.get("device_id"))
        or text(properties.get("unique_id"))
        or text(dict(reversed(message.query)).get("device_id"))
        or message.otherwise
    )
    if named is None:
        raise ValueError("device_id is empty: fill in Device ID in the app's settings")
    return named


def answer(_decoded: Decoded, _receipt: Receipt | None) -> Answer:
    """Write the very words without which the app sends the same batch again, poison included."""
    return Answer(200, b'{"result":"ok"}', "application/json")


OVERLAND = Format(
    name="overland",
    paths=("/overland", "/api/v1/overland/batches"),
    methods=("POST",),
    decode=decode,
    answer=answer,
)
