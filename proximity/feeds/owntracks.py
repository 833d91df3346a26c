"""What OwnTracks says: one JSON object a message, by HTTP as its apps send it.

Also Overland's OwnTracks mode, whose times count from 2001. Knows no token: whoever calls says
which id the message may speak for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from beacon_gateway.model import Beacon, Sighting
from proximity.feeds.model import Answer, Decoded, Format, Incoming, gather, poison, read_json
from proximity.feeds.units import KMH_MPS, fields_of, known, motion, number, position, text
from proximity.model import Fix, Record

if TYPE_CHECKING:
    from proximity.admission import Receipt

APPLE_EPOCH = 978307200.0
"""2001-01-01 in Unix seconds, from which Overland counts in its OwnTracks mode."""

#: What Overland's OwnTracks mode can send: seconds since 2001 of the years 2015 (its first) to
#: 2042. As Unix seconds these are 1984 to 2011, before OwnTracks was written (2012).
APPLE_SECONDS = (441763200.0, 1300000000.0)

#: Last parts of a topic that name the message, not the device.
SUBTOPICS = {"event", "waypoint", "waypoints", "beacon", "step", "status", "cmd", "dump"}

#: Triggers of a beacon region. What they bring is the beacon's news; a phone without a position
#: fills it with zeros, which must not carry anybody to the Gulf of Guinea.
BEACON_TRIGGERS = {"b", "e"}


def decode(message: Incoming) -> Decoded:
    """Read a message: a location is a fix, a beacon a sighting, all else is no fix."""
    if not message.body.strip():
        return Decoded(ignored=1)
    try:
        found = read_json(message.body)
    except ValueError as problem:
        return poison(problem)
    items = found if isinstance(found, list) else [found]
    return gather(items, lambda item: _read(item, message))


def _read(item: Any, message: Incoming) -> Record | None:
    item = fields_of(item)
    kind = text(item.get("_type"))
    if kind == "encrypted":
        raise ValueError("the message is encrypted: clear the encryption key in the app")
    if kind is None:
        raise ValueError("the message has no _type")
    if kind == "location":
        return _fix(item, message)
    if kind == "beacon" and text(item.get("uuid")) is not None:
        return _sighting(item, message)
    return None


def _fix(item: dict[str, Any], message: Incoming) -> Fix | None:
    at = position(item.get("lon"), item.get("lat"))
    if at is None:
        raise ValueError("the location has no lon and lat")
    accuracy = known(item.get("acc"))
    if item.get("t") in BEACON_TRIGGERS and at == (0.0, 0.0) and not accuracy:
        return None
    return Fix(
        subject=subject_of(item, message),
        at=_time(item, message),
        lon=at[0],
        lat=at[1],
        accuracy_m=accuracy,
        altitude_m=number(item.get("alt")) or None,  # 0 is how the apps write unknown
        speed_mps=known(item.get("vel"), KMH_MPS) or None,
        course_deg=known(item.get("cog")) or None,
        motion=motion(item.get("motionactivities")),
        id=text(item.get("_id")),
    )


def _sighting(item: dict[str, Any], message: Incoming) -> Sighting:
    level = number(item.get("rssi"))
    numbers = [number(item.get(name)) for name in ("major", "minor")]
    if any(n is None or not 0 <= n <= 65535 or n != int(n) for n in numbers):
        raise ValueError("major and minor of a beacon are 0 to 65535")
    major, minor = (int(n) for n in numbers if n is not None)
    return Sighting(
        beacon=Beacon(
            format="ibeacon",
            uuid=(text(item["uuid"]) or "").lower(),
            major=major,
            minor=minor,
        ),
        at=_time(item, message),
        rssi_dbm=0.0 if level is None else level,  # 0 is "not measured"
        subject=subject_of(item, message),
        id=text(item.get("_id")),
    )


def _time(item: dict[str, Any], message: Incoming) -> float:
    at = message.time(item.get("tst"))
    low, high = APPLE_SECONDS
    return at + APPLE_EPOCH if low <= at < high else at


def subject_of(item: dict[str, Any], message: Incoming) -> str:
    """Name the device: the token's id, the topic, the headers, the query, then the tracker id.

    ``user/device`` as the Recorder has it, with its defaults where one is missing. Raises
    ValueError where nothing names the device.
    """
    if message.speaks_for is not None:
        return message.speaks_for
    parts = [part for part in (text(item.get("topic")) or "").split("/") if part]
    if len(parts) > 2 and parts[-1] in SUBTOPICS:
        parts.pop()
    if len(parts) > 1:
        return "/".join(parts[1:] if len(parts) == 2 else parts[-2:])
    query = dict(reversed(message.query))
    for source, user, device in (
        (message.headers, "x-limit-u", "x-limit-d"),
        (query, "u", "d"),
    ):
        names = text(source.get(user)), text(source.get(device))
        if any(names):
            return f"{names[0] or 'owntracks'}/{names[1] or 'phone'}"
    named = text(item.get("tid")) or message.otherwise
    if named is None:
        raise ValueError("nothing names the device: set user and device in the app's settings")
    return named


def answer(_decoded: Decoded, _receipt: Receipt | None) -> Answer:
    """Write an empty list of commands; any 2xx empties the queue, so poison gets it too."""
    return Answer(200, b"[]", "application/json")


OWNTRACKS = Format(
    name="owntracks", paths=("/owntracks",), methods=("POST",), decode=decode, answer=answer
)
