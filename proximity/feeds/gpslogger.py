"""What GPSLogger says: whatever its user's template says, in query, form or JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proximity.feeds.model import Answer, Decoded, Format, Incoming, gather, poison, read_json
from proximity.feeds.osmand import form_fields, is_json
from proximity.feeds.units import (
    HDOP_M,
    KMH_MPS,
    fields_of,
    known,
    motion,
    number,
    position,
    text,
)
from proximity.model import Fix

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proximity.ingest.admission import Receipt

#: What templates call each thing, in order of preference: first what the app's own ``%ALL``
#: writes, then what its documentation and those of common receivers suggest.
SPELLINGS = {
    "lon": ("lon", "longitude", "lng", "long"),
    "lat": ("lat", "latitude"),
    "time": ("timestamp", "time", "tst"),
    "accuracy": ("acc", "accuracy"),
    "altitude": ("alt", "altitude"),
    "speed": ("spd", "speed", "s"),
    "kmh": ("spd_kph", "speed_kph"),
    "course": ("dir", "direction", "bearing"),
    "hdop": ("hdop",),
    "motion": ("act", "activity"),
    "subject": ("ser", "serial", "aid", "androidid", "device_id", "device", "id"),
}


def decode(message: Incoming) -> Decoded:
    """Read one position: query and form fields, or those of a JSON object."""
    try:
        if is_json(message):
            found = read_json(message.body)
            items = found if isinstance(found, list) else [found]
        else:
            items = [form_fields(message)]
    except ValueError as problem:
        return poison(problem)
    return gather(items, lambda item: _fix(item, message))


def _fix(item: Any, message: Incoming) -> Fix | None:
    item = fields_of(item)
    if not item and message.body:
        raise ValueError("a position is a JSON object")
    query = dict(reversed(message.query))
    fields = {str(key).lower(): value for key, value in {**query, **item}.items()}
    at = position(_first(fields, "lon"), _first(fields, "lat"))
    if at is None:
        return None
    named = message.speaks_for or text(_first(fields, "subject")) or message.otherwise
    if named is None:
        raise ValueError("nothing names the device: add ser=%SER or aid=%AID to the template")
    speed = known(_first(fields, "speed"))
    return Fix(
        subject=named,
        at=message.time(_first(fields, "time")),
        lon=at[0],
        lat=at[1],
        accuracy_m=known(_first(fields, "accuracy")) or known(_first(fields, "hdop"), HDOP_M),
        altitude_m=number(_first(fields, "altitude")),
        speed_mps=known(_first(fields, "kmh"), KMH_MPS) if speed is None else speed,
        course_deg=known(_first(fields, "course")),
        motion=motion(_first(fields, "motion")),
    )


def _first(fields: Mapping[str, Any], name: str) -> Any:
    """Give the first spelling that holds something: the app writes empty for what it lacks."""
    for spelling in SPELLINGS[name]:
        value = fields.get(spelling)
        if value is not None and not (isinstance(value, str) and text(value) is None):
            return value
    return None


def answer(_decoded: Decoded, _receipt: Receipt | None) -> Answer:
    """Write 200 and nothing; any other status repeats the whole job from its first request."""
    return Answer(200)


GPSLOGGER = Format(
    name="gpslogger", paths=("/gpslogger",), methods=("GET", "POST"), decode=decode, answer=answer
)
