"""What OwnTracks says and is told: one JSON object a message, by HTTP as its apps send it.

Also Overland's OwnTracks mode, whose times count from 2001. Knows no token: whoever calls says
which id the message may speak for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from beacon_gateway.model import Beacon, Sighting
from proximity.feeds.model import Answer, Decoded, Format, Incoming, gather, poison, read_json
from proximity.feeds.units import KMH_MPS, fields_of, known, motion, number, position, text
from proximity.model import Fix, Record
from proximity.phones.arming import Client

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proximity.ingest.admission import Receipt
    from proximity.phones.arming import Order, Region

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
    """Read a message: a location or transition is a fix, a beacon a sighting, all else is no fix.

    A transition counts for where it was noticed. What the phone makes of it, enter or leave, was
    judged by a circle, and is not taken over.
    """
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
    if kind == "location" or (kind == "transition" and item.get("lat") is not None):
        return _fix(item, message)
    if kind == "beacon" and text(item.get("uuid")) is not None:
        return _sighting(item, message)
    return None


def _fix(item: dict[str, Any], message: Incoming) -> Fix | None:
    at = position(item.get("lon"), item.get("lat"))
    if at is None:
        raise ValueError(f"the {item['_type']} has no lon and lat")
    accuracy = known(item.get("acc"))
    if text(item.get("t")) in BEACON_TRIGGERS and at == (0.0, 0.0) and not accuracy:
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


# Regions --------------------------------------------------------------------------------------

#: iOS watches 20 regions for an app, Android 100, and Android's app hands over all of its own in
#: one list that is refused as a whole where it is longer. So a fifth and more stays free: for the
#: region iOS's app draws around the phone itself, and for those that its person drew.
IOS_MOST, ANDROID_MOST = 15, 80

#: The apps know a region by when it was made (Android) and by its ``rid`` (iOS); both are a slot's
#: number here. In 2001 there was no OwnTracks, so that no region of the person's own is meant.
FIRST_TST = 1_000_000_000

#: Out of range, which is how a region is deleted on iOS. Android's app deletes so only in its
#: newest versions, and older ones may stop at what they cannot watch: there an emptied slot is
#: parked instead, in the sea where longitude and latitude are 0.
NOWHERE = -1_000_000
PARKED_M = 1

#: What a region is called where there is no name to give, or none that may be told any more.
NAMELESS = "proximity"

#: Bytes of a list of regions that is looked at: a phone's hundred take 20,000.
LONGEST_LIST = 2**18


def client(message: Incoming) -> Client:
    """Tell from its ``User-Agent`` what the app that sent a message can take.

    Whoever is not known takes as few as iOS, and is told nothing that Android's may stop at.
    """
    agent = (message.headers.get("user-agent") or "").lower()
    if "owntracks-android" in agent:
        return Client(ANDROID_MOST, empties=False, write=_set_waypoints)
    if "darwin" in agent:
        return Client(IOS_MOST, empties=True, write=_delete_and_set_waypoints)
    return Client(IOS_MOST, empties=False, write=_set_waypoints)


def asks(message: Incoming) -> str | None:
    """Name the device where it publishes the list of its regions, which its person may have it do.

    None for any other message, and where nothing names the device.
    """
    if b'"waypoints"' not in message.body or len(message.body) > LONGEST_LIST:
        return None
    try:
        item = fields_of(read_json(message.body))
        return subject_of(item, message) if text(item.get("_type")) == "waypoints" else None
    except ValueError:
        return None


def _set_waypoints(orders: Sequence[Order]) -> bytes:
    return _command([_waypoint(order.slot, order.after) for order in orders])


def _delete_and_set_waypoints(orders: Sequence[Order]) -> bytes:
    # All are deleted first: iOS itself knows a region by its name, and a name that moves to
    # another slot would be stopped again as its old slot is replaced. Old versions of the app
    # know regions by name alone, so each is deleted by the one it had.
    gone = []
    for order in orders:
        named = {} if order.before is None else {"desc": order.before.name}
        gone.append({**_waypoint(order.slot, None), **named, "lon": NOWHERE, "lat": NOWHERE})
    told = [_waypoint(order.slot, order.after) for order in orders if order.after is not None]
    return _command(gone + told)


def _waypoint(slot: int, region: Region | None) -> dict[str, Any]:
    """Write what a slot is to hold; a parked region for nothing."""
    name, lon, lat, radius_m = (
        (NAMELESS, 0.0, 0.0, PARKED_M)
        if region is None
        else (region.name, region.lon, region.lat, int(region.radius_m))
    )
    return {
        "_type": "waypoint",
        "rid": f"proximity-{slot}",
        "tst": FIRST_TST + slot,
        "desc": name,
        "lon": lon,
        "lat": lat,
        "rad": radius_m,
    }


def _command(waypoints: list[dict[str, Any]]) -> bytes:
    lists = {"_type": "waypoints", "waypoints": waypoints}
    return msgspec.json.encode([{"_type": "cmd", "action": "setWaypoints", "waypoints": lists}])


OWNTRACKS = Format(
    name="owntracks", paths=("/owntracks",), methods=("POST",), decode=decode, answer=answer
)
