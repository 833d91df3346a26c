"""What the apps send, as they send it: the right fix, or refused with the reply they expect."""

import json
import re
from urllib.parse import parse_qsl, urlsplit

import pytest

from proximity.feeds import FORMATS, Incoming
from proximity.model import Fix, Sighting

NOW = 1767225600.0
REPLIES = {
    "owntracks": (200, b"[]"),
    "overland": (200, b'{"result":"ok"}'),
    "transistor": (200, b"{}"),
    "osmand": (200, b""),
    "gpslogger": (200, b""),
}


def take(name, body=b"", query="", **more):
    """Decode one message, and check that the reply empties the client's queue."""
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
    pairs = tuple(parse_qsl(query.lstrip("?"), keep_blank_values=True))
    decoded = FORMATS[name].decode(Incoming(body=body, query=pairs, now=NOW, **more))
    answer = FORMATS[name].answer(decoded, None)
    if not decoded.refusal:
        assert (answer.status, answer.body) == REPLIES[name]
    else:
        assert answer.status == decoded.refusal
    return decoded


def fix_of(name, body=b"", query="", **more):
    decoded = take(name, body, query, **more)
    assert decoded.rejected == ()
    assert decoded.ignored == 0
    (record,) = decoded.records
    return record


def fix(subject, at, lon, lat, **more):
    return Fix(subject=subject, at=at, lon=lon, lat=lat, **more)


# --- the real samples ------------------------------------------------------------------------

OWNTRACKS = [
    fix("5t", 1551874878, 11.1512805, 46.0681247, accuracy_m=15, altitude_m=440),
    fix("JJ", 1497349316, 2.29513, 48.85833),
    fix("JJ", 1497349316, 2.29513, 48.85833, accuracy_m=5, altitude_m=167, speed_mps=61 / 3.6, course_deg=271),
    fix("JJ", 1497476456, 2.295, 48.85),
    fix("ckrey/22A67880-15C3-41A6-9157-25545C7993AC", 1736161169, -122, 37, accuracy_m=5),
    fix("qtripp/865284041968706", 1736519167, 13.654704, 47.420051, accuracy_m=10, altitude_m=1113, course_deg=113),
]  # fmt: skip

OSMAND = [
    None,
    400,
    fix("902064", 1453920947, -88.23412, 42.06288, accuracy_m=30, altitude_m=224, speed_mps=0),
    fix("902064", 1442068686.579, -88.23412, 42.06288, accuracy_m=30, altitude_m=224, speed_mps=0),
    fix("353861053849681", 1401873011, 6.15788, 49.60688, altitude_m=384.7, speed_mps=0),
    fix("123456", 1377177267, 30, 60, altitude_m=0, speed_mps=0, course_deg=0),
    fix("123456", 1377177267, 30, 60),
    fix("123456", NOW, 30, 60, altitude_m=0, speed_mps=0, course_deg=0),
    fix("861001000719969", NOW, -0.883333, 41.666667, altitude_m=350.059479, speed_mps=0),
    fix("123456", 1377177267, 30, 60),
    fix("123456789012345", 1504763810, -74.0061408571, 40.7232948571, speed_mps=40 * 1852 / 3600, course_deg=7.19889788244),
    fix("48241179", 1749995112.862, -122.084, 37.4219983, accuracy_m=5, altitude_m=5, speed_mps=0, motion="stationary"),
    fix("48241179", 1749995112.862, -122.084, 37.4219983, accuracy_m=5, altitude_m=5, speed_mps=0, motion="stationary"),
    fix("658765", 1746763890.579, -122.406417, 37.785834, accuracy_m=5, mock=True, id="2FB04C65-99CF-42AB-8DD3-EBCB4B108BF8"),
    fix("8737767034", 1626854794.444, 106.6837015, -6.1148096, accuracy_m=3.8, altitude_m=35.7, speed_mps=18.67, course_deg=63, motion="stationary", id="0e9a2473-a9a7-4c00-997b-fb97d2154e75"),
]  # fmt: skip


def near(found, expected):
    assert found.at == pytest.approx(expected.at, abs=1e-3)
    for name in Fix.__struct_fields__:
        got, want = getattr(found, name), getattr(expected, name)
        assert got == (pytest.approx(want) if isinstance(want, float | int) else want), name


def test_owntracks_samples(shared_data):
    samples = json.loads((shared_data("client-payloads") / "owntracks.json").read_bytes())
    assert len(samples) == len(OWNTRACKS)
    for sample, expected in zip(samples, OWNTRACKS, strict=True):
        near(fix_of("owntracks", sample["payload"].encode()), expected)


@pytest.mark.parametrize("form", [False, True])
def test_osmand_samples(shared_data, form):
    samples = json.loads((shared_data("client-payloads") / "osmand.json").read_bytes())
    assert len(samples) == len(OSMAND)
    for sample, expected in zip(samples, OSMAND, strict=True):
        payload = sample["payload"]
        body, query = payload.encode(), ""
        if payload.startswith("/"):
            query = urlsplit(payload).query
            body, query = (query.encode(), "token=t") if form else (b"", query)
        decoded = take("osmand", body, query)
        if expected is None:  # towers and networks alone: no position, rightly
            assert (decoded.records, decoded.rejected, decoded.ignored) == ((), (), 1)
        elif isinstance(expected, int):
            assert (decoded.records, decoded.refusal) == ((), expected)
        else:
            near(decoded.records[0], expected)


@pytest.mark.parametrize("name", ["osmand", "transistor"])
def test_the_json_samples_are_transistors_too(shared_data, name):
    samples = json.loads((shared_data("client-payloads") / "osmand.json").read_bytes())
    for sample, expected in list(zip(samples, OSMAND, strict=True))[-4:]:
        near(fix_of(name, sample["payload"].encode()), expected)


def test_overland_documented_batch(shared_data):
    shown = (shared_data("client-payloads") / "overland-readme.txt").read_text()
    batch = re.sub(r",?\s*\"(current|trip)\": \{ \.\.\. \},? \(optional\)", "", shown)
    unnamed = take("overland", batch.encode())
    assert "device_id is empty" in unnamed.rejected[0].reason
    near(
        fix_of("overland", batch.encode(), speaks_for="phone-1"),
        fix("phone-1", 1443711600, -122.030581, 37.3318, accuracy_m=30, speed_mps=4, motion="driving"),
    )  # fmt: skip


# --- OwnTracks -------------------------------------------------------------------------------

PLACE = {"_type": "location", "lat": 48.85, "lon": 2.35, "tst": 1767225000}


def test_owntracks_identity_in_order():
    body = {**PLACE, "topic": "owntracks/ann/phone/event", "tid": "ap"}
    headers = {"x-limit-u": "bob", "x-limit-d": "pixel"}
    asked = {"query": "u=cleo&d=tab", "headers": headers}
    assert fix_of("owntracks", body, speaks_for="me", **asked).subject == "me"
    assert fix_of("owntracks", body, **asked).subject == "ann/phone"
    del body["topic"]
    assert fix_of("owntracks", body, **asked).subject == "bob/pixel"
    del asked["headers"]
    assert fix_of("owntracks", body, **asked).subject == "cleo/tab"
    assert fix_of("owntracks", body, query="u=cleo").subject == "cleo/phone"
    assert fix_of("owntracks", body, query="d=tab").subject == "owntracks/tab"
    assert fix_of("owntracks", body).subject == "ap"
    del body["tid"]
    assert fix_of("owntracks", body, otherwise="walk").subject == "walk"
    assert "nothing names the device" in take("owntracks", body).rejected[0].reason


def test_overland_in_owntracks_mode_counts_from_2001():
    body = {**PLACE, "tst": 1767225000 - 978307200, "topic": "owntracks/my-phone"}
    found = fix_of("owntracks", body)
    assert (found.subject, found.at) == ("my-phone", 1767225000)


def test_owntracks_zero_is_unknown_and_ids_are_kept():
    body = {**PLACE, "acc": 0, "alt": 0, "vel": 0, "cog": 0, "tid": "x", "_id": "a1", "motionactivities": ["walking"]}  # fmt: skip
    near(fix_of("owntracks", body), fix("x", 1767225000, 2.35, 48.85, id="a1", motion="walking"))


def test_owntracks_without_a_time_is_now():
    assert fix_of("owntracks", {**PLACE, "tst": None, "tid": "x"}).at == NOW


def test_a_beacon_event_without_position_moves_nobody():
    nowhere = {**PLACE, "lat": 0, "lon": 0, "acc": 0, "tid": "x"}
    decoded = take("owntracks", {**nowhere, "t": "b"})
    assert (decoded.records, decoded.rejected, decoded.ignored) == ((), (), 1)
    assert fix_of("owntracks", {**PLACE, "t": "b", "tid": "x"}).lat == 48.85
    assert fix_of("owntracks", {**nowhere, "t": "u", "acc": 9}).lat == 0.0


@pytest.mark.parametrize("event", ["enter", "leave"])
def test_a_transition_is_the_fix_it_carries_whatever_it_claims(event):
    body = {"_type": "transition", "event": event, "desc": "Store", "rid": "proximity-0", "t": "c",
            "wtst": 1000000000, "tst": 1767225000, "acc": 65, "lat": 48.85, "lon": 2.35,
            "tid": "ap", "topic": "owntracks/ann/phone/event", "_id": "e1"}  # fmt: skip
    expected = fix("ann/phone", 1767225000, 2.35, 48.85, accuracy_m=65, id="e1")
    near(fix_of("owntracks", body), expected)


def test_a_transition_that_says_no_place_is_no_fix():
    body = {"_type": "transition", "event": "enter", "t": "b", "tst": 1767225000, "acc": 0, "tid": "x"}  # fmt: skip
    for said in (body, {**body, "lat": 0, "lon": 0}):
        decoded = take("owntracks", said)
        assert (decoded.records, decoded.rejected, decoded.ignored) == ((), (), 1)
    assert "no position" in take("owntracks", {**body, "lat": 1}).rejected[0].reason


@pytest.mark.parametrize("kind", ["waypoint", "waypoints", "lwt", "status", "steps", "card", "cmd", "configuration", "request", "new"])  # fmt: skip
def test_what_owntracks_sends_beside_fixes_is_ignored(kind):
    decoded = take("owntracks", {"_type": kind, "tst": 1, "lat": 1.0, "lon": 1.0, "tid": "x"})
    assert (decoded.records, decoded.rejected, decoded.ignored) == ((), (), 1)


def test_an_empty_body_is_legal():
    assert take("owntracks", b"").ignored == 1


def test_owntracks_beacon_is_a_sighting_by_the_phone():
    body = {"_type": "beacon", "uuid": "F7826DA6-4FA2-4E98-8024-BC5B71E0893E", "major": 1, "minor": "7", "rssi": -61, "tst": 1767225000, "tid": "x"}  # fmt: skip
    found = fix_of("owntracks", body)
    assert isinstance(found, Sighting)
    assert (found.subject, found.rssi_dbm, found.measured) == ("x", -61, True)
    assert found.beacon.identity[:4] == ("ibeacon", body["uuid"].lower(), 1, 7)
    assert not fix_of("owntracks", {**body, "rssi": None}).measured
    for bad in (None, -1, 65536, 1.5, "x"):
        assert "0 to 65535" in take("owntracks", {**body, "major": bad}).rejected[0].reason


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"{", "truncated"), (b"7", "no _type"), (b"\xff\xfe", "malformed"), ({"a": 1}, "no _type"),
        (b"[" * 100_000, "too deeply"),
        ({"_type": "encrypted", "data": "x"}, "clear the encryption key"),
        ({"_type": "location", "tid": "x"}, "no lon and lat"),
        ({**PLACE, "lat": 95, "tid": "x"}, "outside -90 to 90"),
        ({**PLACE, "tst": "soon", "tid": "x"}, "is no time"),
        ({**PLACE, "tid": "x" * 200}, "1 to 128"),
        ({**PLACE, "tid": "x", "_id": "\u0001"}, "control characters"),
        ([{**PLACE, "tid": "x"}] * 50_001, "more than the 50000"),
        (b"[" + b"0," * 200_000 + b"0]", "all commas"),
    ],
)  # fmt: skip
def test_owntracks_poison_is_refused_and_answered(body, reason):
    decoded = take("owntracks", body)
    assert (decoded.records, len(decoded.rejected)) == ((), 1)
    assert reason in decoded.rejected[0].reason


# --- Overland --------------------------------------------------------------------------------


def feature(lon=2.35, lat=48.85, **properties):
    properties = {"timestamp": "2026-01-01T00:00:00Z", "device_id": "iphone", **properties}
    return {
        "type": "Feature",
        "geometry": {"type": "Point", "coordinates": [lon, lat]},
        "properties": properties,
    }


def test_overland_batch_with_all_it_carries():
    batch = {
        "locations": [
            feature(horizontal_accuracy=-1, speed=-1, course=-1, altitude=0, vertical_accuracy=-1, motion=[]),
            feature(action="visit", arrival_date="2026-01-01T00:00:00Z", departure_date=None),
            feature(type="trip"),
            {"type": "Feature", "geometry": None, "properties": {}},
            feature(timestamp="2026-01-01T01:00:00+0100", deffered=1000, altitude=35, vertical_accuracy=4),
            "poison",
            feature(lat=100),
            feature(timestamp=None),
            feature(timestamp="noon"),
        ],
        "current": feature(lat=10),
        "trip": {},
    }  # fmt: skip
    decoded = take("overland", batch)
    assert decoded.records == (
        fix("iphone", NOW, 2.35, 48.85),
        fix("iphone", NOW, 2.35, 48.85, altitude_m=35),
    )
    assert decoded.lines == (1, 5)
    assert decoded.ignored == 2
    assert [one.line for one in decoded.rejected] == [4, 6, 7, 8, 9]


def test_overland_identity():
    assert fix_of("overland", [feature(device_id="", unique_id="u-1")]).subject == "u-1"
    assert fix_of("overland", [feature(device_id="")], "device_id=q").subject == "q"
    assert fix_of("overland", [feature()], "device_id=q", speaks_for="me").subject == "me"
    assert fix_of("overland", [feature(device_id="null")], otherwise="walk").subject == "walk"


@pytest.mark.parametrize("body", [b"", b"{", b"{}", b'{"locations":{}}', b"7", b"[" * 100_000])
def test_overland_poison_gets_the_ok_it_needs(body):
    decoded = take("overland", body)
    assert (decoded.records, len(decoded.rejected)) == ((), 1)


def test_an_empty_batch_is_nothing():
    decoded = take("overland", {"locations": []})
    assert (decoded.records, decoded.rejected, decoded.ignored) == ((), (), 0)


# --- Transistor ------------------------------------------------------------------------------


def location(**more):
    coords = {"latitude": 48.85, "longitude": 2.35, "accuracy": 5, "speed": -1, "heading": -1, "floor": None}  # fmt: skip
    return {"timestamp": 1767225600000, "coords": coords, **more}


def test_transistor_roots_and_identity():
    plain = fix("a", NOW, 2.35, 48.85, accuracy_m=5)
    assert fix_of("transistor", {"location": location(), "device_id": "a"}) == plain
    assert fix_of("transistor", {"location": [location(extras={"device_id": "a"})]}) == plain
    assert fix_of("transistor", location(device_id="a")) == plain
    assert fix_of("transistor", [location(device_id="a")]) == plain
    assert fix_of("transistor", location(), "device_id=a") == plain
    assert fix_of("transistor", location(device_id="b"), speaks_for="a") == plain
    assert fix_of("transistor", location(), otherwise="a") == plain
    assert "device_id" in take("transistor", location()).rejected[0].reason


def test_transistor_floor_activity_and_time():
    found = fix_of(
        "transistor",
        {"timestamp": "2026-01-01T00:00:00Z", "activity": {"type": "on_foot"}, "uuid": "u", "mock": 1,
         "coords": {"latitude": 48.85, "longitude": 2.35, "floor": 3}, "device_id": "a"},
    )  # fmt: skip
    assert found == fix("a", NOW, 2.35, 48.85, floor=3.0, motion="walking", id="u", mock=True)


@pytest.mark.parametrize("action", ["ENTER", "EXIT", "DWELL"])
def test_a_transistor_geofence_event_is_the_fix_it_carries(action):
    plain = fix("a", NOW, 2.35, 48.85, accuracy_m=5, motion="walking", id="u")
    event = {"identifier": "proximity-0", "action": action, "extras": {"id": "store-7"}}
    where = location(event="geofence", uuid="u", activity={"type": "walking"}, geofence=event)
    assert fix_of("transistor", {"location": where, "device_id": "a"}) == plain
    # The event as the SDK's own callback has it, posted by an app's own code.
    bare = location(uuid="u", activity={"type": "walking"})
    assert fix_of("transistor", {**event, "location": bare, "device_id": "a"}) == plain


def test_transistor_without_a_position_is_no_fix():
    decoded = take("transistor", {"location": {"event": "heartbeat"}, "device_id": "a"})
    assert (decoded.records, decoded.rejected, decoded.ignored) == ((), (), 1)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"7", b'{"location":7}', {"location": location(coords={"latitude": 1}), "device_id": "a"}],
)  # fmt: skip
def test_transistor_poison_is_answered(body):
    decoded = take("transistor", body)
    assert (decoded.records, len(decoded.rejected)) == ((), 1)


# --- OsmAnd and Traccar Client ---------------------------------------------------------------


def test_osmand_with_a_device_token_needs_no_id():
    found = fix_of(
        "osmand", query="lat=1&lon=2&accuracy=0&hacc=7&mock=true&speed=-1", speaks_for="me"
    )
    assert found == fix("me", NOW, 2, 1, accuracy_m=7, mock=True)
    assert fix_of("osmand", query="lat=1&lon=2", otherwise="walk").subject == "walk"


def test_osmand_position_that_is_not_valid_is_no_fix():
    assert take("osmand", query="id=a&lat=1&lon=2&valid=false").ignored == 1
    assert fix_of("osmand", query="id=a&lat=1&lon=2&valid=1").lat == 1


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("id=a&lat=x&lon=2", "no position"), ("id=a&lat=1", "no position"),
        ("id=a&lat=1&lon=2&timestamp=never", "is no time"), ("id=a&lat=1&lon=200", "outside -180"),
        ("id=" + "a" * 200 + "&lat=1&lon=2", "1 to 128"),
        ("id=a&" + "&".join(f"k{n}=1" for n in range(1001)), "fields"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("form", [False, True])
def test_osmand_poison_is_answered(query, reason, form):
    decoded = take("osmand", query.encode() if form else b"", "" if form else query)
    assert (decoded.records, len(decoded.rejected)) == ((), 1)
    assert reason in decoded.rejected[0].reason.lower() or reason in decoded.rejected[0].reason


def test_osmand_id_that_is_no_text_is_poison():
    message = Incoming(query=(("id", "\udcff"), ("lat", "1"), ("lon", "2")), now=NOW)
    decoded = FORMATS["osmand"].decode(message)
    assert (decoded.records, decoded.refusal) == ((), 0)
    assert len(decoded.rejected) == 1


def test_osmand_json():
    message = {"location": location(), "device_id": "a"}
    assert fix_of("osmand", message, content_type="application/json").subject == "a"
    assert take("osmand", {"location": location()}).refusal == 404
    assert fix_of("osmand", {"location": location()}, speaks_for="me").subject == "me"
    for poison in (b"{", b"[]", b'{"device_id":"a"}'):
        assert len(take("osmand", poison).rejected) == 1
    assert len(take("osmand", b"no json", content_type="application/json").rejected) == 1


# --- GPSLogger -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("lat=48.85&lon=2.35&acc=8&spd=1.5&dir=90&alt=30&timestamp=1767225600&ser=A1&aid=b2",
         fix("A1", NOW, 2.35, 48.85, accuracy_m=8, speed_mps=1.5, course_deg=90, altitude_m=30)),
        ("LAT=48.85&LON=2.35&ACC=&SPD=null&SPD_KPH=36&DIR=&ALT=null&TIMESTAMP=1767225600000&SER=&AID=b2&ACT=",
         fix("b2", NOW, 2.35, 48.85, speed_mps=10)),
        ("lat=48.85&longitude=2.35&time=2026-01-01T00%3A00%3A00.000Z&s=2&id=x",
         fix("x", NOW, 2.35, 48.85, speed_mps=2)),
        ("latitude=48.85&longitude=2.35&device=d&accuracy=0&hdop=2&activity=still",
         fix("d", NOW, 2.35, 48.85, accuracy_m=10, motion="stationary")),
    ],
)  # fmt: skip
@pytest.mark.parametrize("how", ["query", "form", "json"])
def test_gpslogger_templates(query, expected, how):
    if how == "query":
        found = fix_of("gpslogger", query=query)
    elif how == "form":
        found = fix_of("gpslogger", query.encode(), "token=t")
    else:
        found = fix_of("gpslogger", dict(parse_qsl(query, keep_blank_values=True)))
    assert found == expected


def test_gpslogger_identity_and_nothing_known():
    assert fix_of("gpslogger", query="lat=1&lon=2&ser=a", speaks_for="me").subject == "me"
    assert fix_of("gpslogger", query="lat=1&lon=2", otherwise="walk").subject == "walk"
    assert fix_of("gpslogger", {"lat": 1, "lon": 2}, "ser=q").subject == "q"
    assert take("gpslogger", query="lat=&lon=null&ser=a").ignored == 1
    assert take("gpslogger").ignored == 1


@pytest.mark.parametrize(
    ("body", "query"),
    [(b"{", ""), (b"[7]", ""), (b"", "lat=1&lon=2"), (b"", "lat=1&lon=x&ser=a"), (b"", "lat=1&lon=2&ser=a&time=x"),
     (b"&".join(b"a=1" for _ in range(1001)), "")],
)  # fmt: skip
def test_gpslogger_poison_is_answered(body, query):
    decoded = take("gpslogger", body, query)
    assert (decoded.records, len(decoded.rejected)) == ((), 1)


# --- the table -------------------------------------------------------------------------------


def test_the_paths_are_the_contracts():
    paths = {path: (name, row.methods) for name, row in FORMATS.items() for path in row.paths}
    both = ("GET", "POST")
    assert paths == {
        "/v1/fixes": ("fixes", ("POST",)),
        "/v1/sightings": ("sightings", ("POST",)),
        "/v1/events": ("events", ("POST",)),
        "/owntracks": ("owntracks", ("POST",)),
        "/overland": ("overland", ("POST",)),
        "/api/v1/overland/batches": ("overland", ("POST",)),
        "/transistor": ("transistor", ("POST",)),
        "/osmand": ("osmand", both),
        "/gpslogger": ("gpslogger", both),
        "/gateways/minew": ("minew", ("POST",)),
        "/gateways/aprilbrother": ("aprilbrother", ("POST",)),
        "/gateways/ruuvi": ("ruuvi", ("POST",)),
        "/gateways/ingics": ("ingics", ("POST",)),
        "/gateways/raddec": ("raddec", ("POST",)),
    }
    assert all(name == row.name for name, row in FORMATS.items())
