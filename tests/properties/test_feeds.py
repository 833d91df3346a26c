"""Whatever the bytes, a feed gives back records, refusals and a reply, and never raises."""

import json
import math
import random

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proximity.feeds import FORMATS, Incoming
from proximity.model import Event, Fix, Sighting

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip
KEYS = [
    "_type", "lat", "lon", "tst", "t", "acc", "vel", "topic", "tid", "_id", "uuid", "major",
    "minor", "rssi", "motionactivities", "locations", "geometry", "coordinates", "properties",
    "timestamp", "action", "device_id", "location", "coords", "latitude", "longitude", "floor",
    "activity", "type", "extras", "mock", "id", "speed", "altitude", "ser", "time", "subject", "at",
    "beacon", "gateway", "rssi_dbm", "name", "lng", "valid", "hdop", "mac", "rawData",
    "ibeaconUuid", "ibeaconMajor", "devices", "raw_beacons_data", "data", "tags", "gw_mac", "ts",
    "gwts", "rssiSignature", "receiverId", "packets", "rssi@1m", "raw", "manufacturerdata",
    "servicedata", "servicedatauuid", "model_id",
]  # fmt: skip
VALUES = st.sampled_from(
    ["location", "beacon", "fix", "", "null", 0, -1, 1e308, 2**70, "2026-01-01T00:00:00Z", "b", [1, 2],
     "Gateway", "IBEACON", "feaa", "0201061aff4c000215", "iBeacon:a-1-2", "eddy:00-00", "$GPRP,a,b,-1,00,1", "10000c"]
)  # fmt: skip
objects = st.recursive(
    st.dictionaries(st.sampled_from(KEYS), VALUES | json_values, max_size=10),
    lambda inner: st.dictionaries(st.sampled_from(KEYS), inner | st.lists(inner, max_size=3), max_size=5),
    max_leaves=8,
)  # fmt: skip
bodies = (
    st.binary(max_size=300)
    | json_values.map(lambda value: json.dumps(value).encode())
    | objects.map(lambda value: json.dumps(value).encode())
)
queries = st.lists(
    st.tuples(st.sampled_from(KEYS) | st.text(max_size=8), st.text(max_size=40)), max_size=12
).map(tuple)


def check(name, message):
    decoded = FORMATS[name].decode(message)
    answer = FORMATS[name].answer(decoded, None)
    assert len(decoded.lines) == len(decoded.records)
    # A raddec alone holds what several receivers heard.
    once = decoded.lines if name == "raddec" else set(decoded.lines)
    assert list(decoded.lines) == sorted(once)
    assert {one.line for one in decoded.rejected}.isdisjoint(decoded.lines)
    for record in decoded.records:
        assert isinstance(record, Fix | Sighting | Event)
        assert math.isfinite(record.at)
        if message.speaks_for is not None:
            assert message.speaks_for in (record.subject, getattr(record, "gateway", None))
    for one in decoded.rejected:
        assert one.line >= 1
        assert one.reason
        assert len(one.reason) <= 200
        assert one.reason.isprintable() or "\n" not in one.reason
    if decoded.refusal:
        assert decoded.records == ()
    assert answer.status == (
        decoded.refusal or (202 if name in ("fixes", "sightings", "events") else 200)
    )
    return decoded


@pytest.mark.parametrize("name", FORMATS)
@given(
    body=bodies,
    query=queries,
    speaks_for=st.none() | st.just("phone-1"),
    kind=st.sampled_from(["", "application/json", "application/x-www-form-urlencoded"]),
    headers=st.dictionaries(st.sampled_from(["x-limit-u", "x-limit-d"]), st.text(max_size=9)),
)
def test_any_message_is_answered(name, body, query, speaks_for, kind, headers):
    check(name, Incoming(body=body, query=query, speaks_for=speaks_for, content_type=kind, headers=headers, now=1.8e9))  # fmt: skip


@given(seed=st.integers(0, 2**32))
def test_mutated_samples_are_answered(shared_data, seed):
    folder = shared_data("client-payloads")
    dice = random.Random(seed)
    for name, file in (("owntracks", "owntracks.json"), ("osmand", "osmand.json")):
        sample = dice.choice(json.loads((folder / file).read_bytes()))["payload"].encode()
        body = bytearray(sample.removeprefix(b"/?"))
        for _ in range(dice.randrange(1, 6)):
            at = dice.randrange(len(body))
            match dice.randrange(3):
                case 0:
                    body[at] = dice.randrange(256)
                case 1:
                    del body[at : at + dice.randrange(1, 9)]
                case _:
                    body[at:at] = dice.choice(
                        [b"\0", b"[", b"null", b"-1", b"1e999", b'"', b"\xff"]
                    )
            if not body:
                break
        for target in (name, "transistor", "overland", "gpslogger", "fixes"):
            check(target, Incoming(body=bytes(body), now=1.8e9))


REPORT = bytes.fromhex(
    "00123b6a1a64cfaa0201061aff4c000215b5b182c7eab14988aa99b5c1517008d90001cf64c5"
)
ADVERT = REPORT[8:].hex()
RECEIVED = {
    "minew": json.dumps([{"type": "Gateway", "mac": "AC233FC00001", "timestamp": "2026-01-01T00:00:00Z"},
                         {"mac": "x", "rssi": -60, "rawData": ADVERT, "timestamp": "2026-01-01T00:00:00Z"}]).encode(),
    "aprilbrother": msgpack.packb({"mac": "F008D1789200", "time": 9, "devices": [REPORT, REPORT]}),
    "ruuvi": json.dumps({"data": {"gw_mac": "C8:25:2D:8E:9C:2C", "timestamp": "1800000000",
                                  "tags": {"a": {"rssi": -71, "timestamp": "1799999999", "data": ADVERT}}}}).encode(),
    "ingics": f"$GPRP,E5A706E3923A,CB412F0C8EDC,-87,{ADVERT},1799999999\r\n".encode(),
    "raddec": bytes.fromhex("10001702aabbccddeeff013a0101001bc509408100000b"),
    "espresense": b'{"id":"iBeacon:f7826da6-4fa2-4e98-8024-bc5b71e0893e-1-7","rssi":-67.4,"rssi@1m":-59}',
    "theengs": json.dumps({"rssi": -79, "manufacturerdata": ADVERT[10:], "servicedatauuid": "feaa"}).encode(),
}  # fmt: skip


@pytest.mark.parametrize("name", RECEIVED)
@given(dice=st.randoms(use_true_random=False), speaks_for=st.none() | st.just("gw-1"))
def test_mutated_receivers_are_answered(name, dice, speaks_for):
    body = bytearray(RECEIVED[name])
    for _ in range(dice.randrange(6)):
        at = dice.randrange(len(body) + 1)
        match dice.randrange(4):
            case 0:
                body[at : at + 1] = bytes([dice.randrange(256)])
            case 1:
                del body[at : at + dice.randrange(1, 9)]
            case 2:
                body[at:at] = body[dice.randrange(len(body) + 1) :][:20]
            case _:
                body[at:at] = dice.choice([b"\0", b"[", b"null", b"-1", b"1e999", b"\xff", b"\xdd\xff\xff\xff\xff"])  # fmt: skip
    check(name, Incoming(body=bytes(body), speaks_for=speaks_for, now=1.8e9))


finite = st.floats(allow_nan=False, allow_infinity=False)
fixes = st.builds(
    Fix,
    subject=st.text(st.characters(codec="utf-8", categories=["L", "N", "P"]), min_size=1, max_size=128),
    at=st.floats(0, 4e9),
    lon=st.floats(-180, 180),
    lat=st.floats(-90, 90),
    accuracy_m=st.none() | st.floats(max_value=2e7, allow_nan=False, allow_infinity=False),
    speed_mps=st.none() | finite,
    mock=st.booleans(),
    id=st.none() | st.just("i"),
)  # fmt: skip


@given(records=st.lists(fixes, max_size=6), bad=st.integers(0, 6), blank=st.booleans())
def test_clean_and_spoilt_batches_give_the_same_records(records, bad, blank):
    import msgspec

    lines = [msgspec.json.encode(record) for record in records]
    clean = FORMATS["fixes"].decode(Incoming(body=b"\n".join(lines)))
    array = FORMATS["fixes"].decode(Incoming(body=b"[" + b",".join(lines) + b"]"))
    assert list(clean.records) == list(array.records) == records
    place = min(bad, len(lines))
    lines.insert(place, b" " if blank else b"{}")
    spoilt = FORMATS["fixes"].decode(Incoming(body=b"\n".join(lines)))
    assert list(spoilt.records) == records
    assert [one.line for one in spoilt.rejected] == ([] if blank else [place + 1])
    assert list(spoilt.lines) == [n for n in range(1, len(lines) + 1) if n != place + 1]


FIX = {"lon": 2.35, "lat": 48.85}
WHOLE = {
    "owntracks": {
        "_type": "location", **FIX, "tst": 1_700_000_000, "t": "p", "acc": 9, "alt": 3, "vel": 4,
        "cog": 10, "topic": "owntracks/a/b", "tid": "b", "_id": "x", "motionactivities": ["walking"],
    },
    "overland": {"locations": [{
        "type": "Feature", "geometry": {"type": "Point", "coordinates": [2.35, 48.85]},
        "properties": {"timestamp": "2026-01-01T00:00:00Z", "horizontal_accuracy": 9, "speed": 1,
                       "altitude": 30, "motion": ["walking"], "device_id": "b"},
    }]},
    "transistor": {"location": {
        "coords": {"latitude": 48.85, "longitude": 2.35, "accuracy": 9, "speed": 1, "heading": 2,
                   "altitude": 3, "floor": 1},
        "timestamp": "2026-01-01T00:00:00Z", "uuid": "u", "mock": False,
        "activity": {"type": "walking"}, "extras": {"a": 1},
    }, "device_id": "b"},
    "osmand": {"device_id": "b", "location": {
        "timestamp": "2026-01-01T00:00:00Z", "coords": {"latitude": 48.85, "longitude": 2.35},
    }},
    "gpslogger": {**FIX, "time": "2026-01-01T00:00:00Z", "acc": 9, "spd": 1, "dir": 2, "ser": "b"},
    "fixes": {"type": "fix", "subject": "b", "at": 1_700_000_000, **FIX, "accuracy_m": 9, "floor": 1},
    "sightings": {"type": "sighting", "at": 1_700_000_000, "rssi_dbm": -60, "gateway": "gw-1",
                  "beacon": {"format": "ibeacon", "uuid": "u", "major": 1, "minor": 2}},
    "events": {"type": "event", "subject": "b", "at": 1_700_000_000, "name": "n", "properties": {"a": 1}},
}  # fmt: skip


@pytest.mark.parametrize("name", WHOLE)
@given(data=st.data())
def test_a_right_message_with_one_odd_field_is_answered(name, data):
    """What is looked at only where all else is right is odd as well."""
    message = json.loads(json.dumps(WHOLE[name]))
    within = message
    while True:
        keys = range(len(within)) if isinstance(within, list) else sorted(within)
        key = data.draw(st.sampled_from(keys))
        if not isinstance(within[key], dict | list) or not within[key] or data.draw(st.booleans()):
            break
        within = within[key]
    within[key] = data.draw(VALUES | json_values)
    check(name, Incoming(body=json.dumps(message).encode(), now=1.8e9))
