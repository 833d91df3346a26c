"""What OsmAnd and Traccar Client say: a query, a form, or (Traccar Client 9) JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from proximity.feeds.model import (
    Answer,
    Decoded,
    Format,
    Incoming,
    gather,
    poison,
    read_json,
    refused,
)
from proximity.feeds.transistor import read_fix, subject_of
from proximity.feeds.units import (
    HDOP_M,
    KNOT_MPS,
    fields_of,
    flag,
    known,
    motion,
    number,
    position,
    text,
)
from proximity.model import Fix

if TYPE_CHECKING:
    from proximity.ingest.admission import Receipt

#: Fields of one query or form; the fullest known template has some 40.
MOST_FIELDS = 1000


def decode(message: Incoming) -> Decoded:
    """Read one position: JSON where the body is, else query and form fields together."""
    if is_json(message):
        return _json(message)
    try:
        fields = form_fields(message)
    except ValueError as problem:
        return poison(problem)
    if message.speaks_for is None and _named(fields) is None and message.otherwise is None:
        return Decoded(
            rejected=(refused(1, "id is missing: set the device identifier in the app"),),
            refusal=400,
        )
    return gather([fields], lambda item: _fix(item, message))


def is_json(message: Incoming) -> bool:
    """Whether the body is JSON, by what it says or by how it begins."""
    start = message.body.lstrip()[:1]
    return start in (b"{", b"[") or (start != b"" and "json" in message.content_type.lower())


def form_fields(message: Incoming) -> dict[str, str]:
    """Give the fields of query and form; of repeated ones the first. Raises ValueError."""
    if len(message.query) > MOST_FIELDS:
        raise ValueError(f"more than {MOST_FIELDS} fields")
    form = parse_qsl(
        message.body.decode("utf-8", "replace").strip(),
        keep_blank_values=True,
        max_num_fields=MOST_FIELDS,
    )
    return dict(reversed((*message.query, *form)))


def _named(fields: dict[str, str]) -> str | None:
    try:
        return text(fields.get("id")) or text(fields.get("deviceid"))
    except ValueError:
        return ""  # it is there, and no text: refused when the fix is made


def _fix(fields: dict[str, str], message: Incoming) -> Fix | None:
    lat, _, lon = fields.get("location", "").partition(",")
    at = position(fields.get("lon", lon), fields.get("lat", lat))
    if at is None or (text(fields.get("valid")) and not flag(fields["valid"])):
        return None  # towers, alarms, a receiver without satellites
    named = message.speaks_for if message.speaks_for is not None else _named(fields)
    return Fix(
        subject=named if named is not None else message.otherwise or "",
        at=message.time(fields.get("timestamp")),
        lon=at[0],
        lat=at[1],
        accuracy_m=known(fields.get("accuracy"))
        or known(fields.get("hacc"))
        or known(fields.get("hdop"), HDOP_M),
        altitude_m=number(fields.get("altitude")),
        speed_mps=known(fields.get("speed"), KNOT_MPS),
        course_deg=known(fields.get("bearing", fields.get("heading"))),
        motion=motion(fields.get("activity")),
        mock=flag(fields.get("mock")),
    )


def _json(message: Incoming) -> Decoded:
    try:
        root = read_json(message.body)
    except ValueError as problem:
        return poison(problem)
    location: Any = fields_of(root).get("location")
    if not isinstance(location, dict):
        return poison("the JSON has no location")
    try:
        subject_of(location, root, message)
    except ValueError as problem:
        return Decoded(rejected=(refused(1, problem),), refusal=404)
    return gather([location], lambda item: read_fix(item, root, message))


def answer(decoded: Decoded, _receipt: Receipt | None) -> Answer:
    """Write 200 and nothing, as Traccar does, poison included.

    An id that is missing altogether is the one thing answered otherwise (400 to a form, 404 to
    JSON): no later message of that phone could be used either, until its settings are mended, and
    the app then sends again what it kept.
    """
    return Answer(decoded.refusal or 200)


OSMAND = Format(
    name="osmand", paths=("/osmand",), methods=("GET", "POST"), decode=decode, answer=answer
)
