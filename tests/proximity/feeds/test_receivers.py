"""What receivers send, as their makers document it: the right sighting, or refused with a reason."""

import json
import math

import msgpack
import pytest

from beacon_gateway.model import Beacon
from proximity.feeds import FORMATS, Incoming

NOW = 1767225600.0
UUID = "f7826da6-4fa2-4e98-8024-bc5b71e0893e"
IBEACON = Beacon(format="ibeacon", uuid=UUID, major=1, minor=7, power_dbm=-59)
ADVERT = "0201061aff4c000215" + UUID.replace("-", "") + "00010007c5"
NAMES = ("minew", "aprilbrother", "ruuvi", "ingics", "raddec", "espresense", "theengs")


def take(name, body, **more):
    """Decode one message; the reply is what a receiver expects, whatever was in it."""
    if not isinstance(body, bytes):
        body = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    decoded = FORMATS[name].decode(Incoming(body=body, **{"now": NOW, **more}))
    answer = FORMATS[name].answer(decoded, None)
    assert (answer.status, answer.body, decoded.refusal) == (200, b"", 0)
    return decoded


def heard(name, body, **more):
    """Give what the one sighting of a message says."""
    decoded = take(name, body, **more)
    assert (decoded.rejected, decoded.ignored) == ((), 0)
    (one,) = decoded.records
    return one.gateway, one.beacon, one.rssi_dbm, one.at


def refusal(name, body, **more):
    decoded = take(name, body, **more)
    assert decoded.records == ()
    (one,) = decoded.rejected
    return one.reason


def test_every_receiver_is_here():
    assert set(NAMES) <= set(FORMATS)


# --- Minew -----------------------------------------------------------------------------------


def minew(*items, at="2026-01-01T00:00:00Z"):
    own = {"timestamp": at, "type": "Gateway", "mac": "AC233FC00001", "gatewayFree": 96, "gatewayLoad": 0.1}  # fmt: skip
    return [own, *items]


def test_minew_raw_and_decoded():
    when = "2025-12-31T23:59:59Z"
    raw = {"timestamp": when, "type": "Unknown", "mac": "AC233FA03208", "bleName": "", "rssi": -79, "rawData": ADVERT.upper()}  # fmt: skip
    named = {"timestamp": when, "type": "iBeacon", "mac": "AC233FA03209", "rssi": -49, "ibeaconUuid": UUID.replace("-", "").upper(), "ibeaconMajor": 1, "ibeaconMinor": 7, "ibeaconTxPower": -59, "battery": 0}  # fmt: skip
    sensor = {"timestamp": when, "type": "S1", "mac": "AC233FA018E3", "rssi": -54, "temperature": 26.69}  # fmt: skip
    decoded = take("minew", minew(raw, named, sensor, {**raw, "rawData": ""}))
    assert [(one.gateway, one.beacon, one.rssi_dbm, one.at) for one in decoded.records] == [
        ("ac233fc00001", IBEACON, -79.0, NOW - 1),
        ("ac233fc00001", IBEACON, -49.0, NOW - 1),
    ]
    assert (decoded.lines, decoded.ignored, decoded.rejected) == ((2, 3), 3, ())


def test_minew_names_its_gateway_in_either_place_or_by_its_token():
    item = {"mac": "x", "rssi": -60, "rawData": ADVERT}
    assert (
        take("minew", [{"gateway": "ac:23:3f:c0:00:01"}, item]).records[0].gateway == "ac233fc00001"
    )
    assert heard("minew", [{**item, "gateway": "AC-23-3F-C0-00-01"}])[0] == "ac233fc00001"
    assert take("minew", minew(item), speaks_for="gw-1").records[0].gateway == "gw-1"
    assert "nothing names the receiver" in refusal("minew", [item])


def test_minew_in_binary_is_told_what_to_choose():
    assert "JSON-LONG" in refusal("minew", b"\xbb\x01\x00\x00\x03\x71")


# --- April Brother ---------------------------------------------------------------------------


def test_april_brother_documented_frames(shared_data):
    frames = json.loads((shared_data("client-payloads") / "gateway-frames.json").read_bytes())
    devices = [bytes.fromhex(frame["hex"]) for frame in frames]
    body = {"v": "1.5.3", "mid": 7, "time": 4711, "ip": "192.0.2.9", "mac": "F008D1789200", "devices": devices}  # fmt: skip
    decoded = take("aprilbrother", msgpack.packb(body))
    assert decoded.rejected == ()
    for sighting, frame in zip(decoded.records, frames, strict=True):
        expected = frame["expected"]
        beacon = sighting.beacon
        assert (beacon.uuid, beacon.major, beacon.minor) == (expected["uuid"], expected["major"], expected["minor"])  # fmt: skip
        assert (beacon.power_dbm, sighting.rssi_dbm) == (expected["tx"], expected["rssi"])
        # Its clock is an uptime: kept, and not taken for the time.
        assert (sighting.gateway, sighting.at, sighting.mono_s) == ("f008d1789200", NOW, 4711)


@pytest.mark.parametrize("how", ["hex", "old", "long"])
def test_april_brother_packed_in_other_ways(how):
    report = bytes.fromhex("00123b6a1a64cfaa" + ADVERT)
    if how == "hex":
        body = msgpack.packb({"mac": "F008D1789200", "devices": [report.hex()]})
    elif how == "old":  # before there was a binary type
        body = msgpack.packb({b"mac": b"F008D1789200", b"devices": [report]}, use_bin_type=False)
    else:
        other = bytes.fromhex("00123b6a1a64cfaa")
        body = msgpack.packb(
            {"mac": "F008D1789200", "devices": [report, *[other] * 20, other + b"\0" * 300]}
        )
    decoded = take("aprilbrother", body)
    assert decoded.rejected == ()
    assert [(one.gateway, one.beacon, one.rssi_dbm) for one in decoded.records] == [("f008d1789200", IBEACON, -86.0)]  # fmt: skip


def test_april_brother_older_receivers():
    ibeacon = "F4B85ED84CB7" + UUID.replace("-", "").upper() + "00010007" + "C5" + "64" + "BD"
    raw = "123b6a1a64cf" + "aa" + "03" + "1e" + ADVERT
    body = {"id": "F4B85E03F1EE", "v": "0.10", "mid": 5260, "raw_beacons_data": f"{ibeacon};{raw};"}
    decoded = take("aprilbrother", body)
    assert [(one.gateway, one.beacon, one.rssi_dbm, one.at) for one in decoded.records] == [
        ("f4b85e03f1ee", IBEACON, -67.0, NOW),
        ("f4b85e03f1ee", IBEACON, -86.0, NOW),
    ]


def test_an_ibeacon_whose_uuid_looks_like_a_length_is_none_the_less_one():
    uuid = "abcd14" + "00" * 13  # the ninth byte of the report says 20, as a raw one's would
    report = "f4b85ed84cb7" + uuid + "00010007" + "c5ffbd"
    found = heard("aprilbrother", {"id": "a" * 12, "raw_beacons_data": report})
    assert (found[1].major, found[1].minor, found[2]) == (1, 7, -67.0)


def test_a_raw_report_as_long_as_an_ibeacons_is_read_as_raw():
    eid = "0303aafe" + "0d16aafe30e7" + "0102030405060708" + "0101"
    assert len(eid) == 40
    report = "f4b85ed84cb7" + "bd" + "03" + "14" + eid
    found = heard("aprilbrother", {"id": "a" * 12, "raw_beacons_data": report})
    assert (found[1].format, found[1].eid, found[2]) == ("eddystone-eid", "0102030405060708", -67.0)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"\x81\xa1", "truncated"), (b"\xc1", "malformed"), (b"{}", "neither devices"),
        (msgpack.packb({"mac": "aabbccddeeff", "devices": [b"\x00"]}), "8 bytes before"),
        (msgpack.packb({"mac": "aabbccddeeff", "devices": ["zz"]}), "hex digits"),
        (msgpack.packb({"devices": [bytes.fromhex("00123b6a1a64cfaa" + ADVERT)]}), "nothing names"),
        (json.dumps({"id": "a", "raw_beacons_data": "00112233"}).encode(), "neither an iBeacon"),
        (json.dumps({"id": "a", "raw_beacons_data": ";" * 60_000}).encode(), "more than 50000"),
        (b"\x91" * 100_000, "object"), (b"\x81\xa1x" + b"\x91" * 100_000, "too deeply"),
        (msgpack.packb({"mac": "a", "devices": [1]}), "a report is bytes"),
        (msgpack.packb({"mac": "a", "devices": 1}), "Expected"),
        (msgpack.packb({"mac": "a", "devices": [b""] * 50_001}), "more than 50000"),
        (msgpack.packb({"mac": "a", "devices": [b""] * 70_000}), "more than 50000"),
    ],
)  # fmt: skip
def test_april_brother_poison(body, reason):
    assert reason in refusal("aprilbrother", body)


# --- Ruuvi -----------------------------------------------------------------------------------

TAG = "0201061BFF99040513C85714C7CC00240008041CAB76F41C3CC6A5B9E0AD06"


def ruuvi(data=ADVERT, at=NOW, sent=NOW, **more):
    return {"data": {"coordinates": "", "timestamp": str(int(sent)), "nonce": "2636366621", "gw_mac": "C8:25:2D:8E:9C:2C",
            "tags": {"C6:A5:B9:E0:AD:06": {"rssi": -71, "timestamp": str(int(at)), "data": data, **more}}}}  # fmt: skip


def test_ruuvi_by_http():
    assert heard("ruuvi", ruuvi(at=NOW - 2)) == ("c8252d8e9c2c", IBEACON, -71.0, NOW - 2)
    assert take("ruuvi", ruuvi(TAG)).ignored == 1  # a thermometer
    bare = {"data": {"nonce": "1", "gw_mac": "C8:25:2D:8E:9C:2C", "tags": {"C6": {"rssi": -71, "counter": "363", "data": ADVERT}}}}  # fmt: skip
    assert heard("ruuvi", bare) == ("c8252d8e9c2c", IBEACON, -71.0, NOW)


def test_ruuvi_by_mqtt():
    body = {"gw_mac": "C8:25:2D:8E:9C:2C", "rssi": -26, "aoa": [], "gwts": "1767225600", "ts": "1767225599", "data": ADVERT, "coords": ""}  # fmt: skip
    assert heard("ruuvi", body) == ("c8252d8e9c2c", IBEACON, -26.0, NOW - 1)
    body = {"gw_mac": "C8:25:2D:8E:9C:2C", "rssi": -26, "aoa": [], "cnt": "338", "data": ADVERT}
    assert heard("ruuvi", body) == ("c8252d8e9c2c", IBEACON, -26.0, NOW)
    assert take("ruuvi", {"state": "online"}).ignored == 1


# --- Ingics ----------------------------------------------------------------------------------


def test_ingics_lines():
    line = f"$GPRP,E5A706E3923A,CB412F0C8EDC,-87,{ADVERT.upper()}"
    lines = f"{line},1767225599\r\n{line},*1767225598.5\r\n\r\n{line}\r\n"
    decoded = take("ingics", lines)
    assert [(one.gateway, one.beacon, one.rssi_dbm, one.at) for one in decoded.records] == [
        ("cb412f0c8edc", IBEACON, -87.0, NOW - 1),
        ("cb412f0c8edc", IBEACON, -87.0, NOW - 1.5),
        ("cb412f0c8edc", IBEACON, -87.0, NOW),
    ]
    assert (decoded.lines, decoded.ignored) == ((1, 2, 4), 1)
    assert len(take("ingics", {"data": [line, line]}).records) == 2
    assert len(take("ingics", [line.replace("$GPRP", "$1MAD"), line.replace("$GPRP", "$LRAD")]).records) == 2  # fmt: skip


@pytest.mark.parametrize("kind", ["$RSPR", "$GPSR", "$HBRP"])
def test_what_ingics_sends_beside_adverts_is_ignored(kind):
    assert take("ingics", f"{kind},E5A706E3923A,CB412F0C8EDC,-127,{ADVERT}").ignored == 1


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("hello", "begins with"), ("$GPRP,a,b", "5 fields"), ("$GPRP,a,b,-60,xyz", "hex digits"),
        ("$GPRP,a,aabbccddeeff,loud," + ADVERT, "no rssi"), ("$GPRP,a,,-60," + ADVERT, "nothing names"),
        ("$GPRP,a,b,-60," + ADVERT + ",soon", "is no time"), ("$GPRP,a,b,-60," + "00" * 2000, "no advert is longer"),
        ("{}", "no list of lines"), ("\n" * 60_000 + "x" + "\n" * 60_000 + "x", "more than 50000"),
    ],
)  # fmt: skip
def test_ingics_poison(body, reason):
    assert reason in refusal("ingics", body)


# --- raddec ----------------------------------------------------------------------------------

PACKET = "0024" + "ffeeddccbbaa" + ADVERT


def raddec(**more):
    return {
        "transmitterId": "aabbccddeeff", "transmitterIdType": 2,
        "rssiSignature": [
            {"receiverId": "001bc50940810000", "receiverIdType": 1, "rssi": -69, "numberOfDecodings": 3},
            {"receiverId": "00-1B-C5-09-40-81-00-01", "receiverIdType": 1, "rssi": -77, "numberOfDecodings": 1},
        ],
        "packets": [PACKET], "timestamp": int((NOW - 1) * 1000), **more,
    }  # fmt: skip


def pack(*optional, receivers="023a0301001bc50940810000320101001bc50940810001"):
    """Pack a raddec as its page has it: flag, length, transmitter, receivers, options, sum."""
    middle = "02aabbccddeeff" + receivers + "".join(optional)
    whole = bytes.fromhex("10" + f"{3 + len(middle) // 2 + 1:04x}" + middle)
    return whole + bytes([sum(whole) % 256])


def test_a_raddec_is_a_sighting_by_each_receiver():
    expected = [("001bc50940810000", IBEACON, -69.0, NOW - 1), ("001bc50940810001", IBEACON, -77.0, NOW - 1)]  # fmt: skip
    time = "f0" + f"{int((NOW - 1) * 1000):012x}"
    packets = "f101" + f"{len(PACKET) // 2:02x}" + PACKET
    packed = pack(time, packets, "f206")
    for body in (raddec(), packed, packed.hex().upper(), [packed.hex()]):
        decoded = take("raddec", body)
        found = [(one.gateway, one.beacon, one.rssi_dbm, one.at) for one in decoded.records]
        assert (found, decoded.lines) == (expected, (1, 1))


def test_a_raddec_with_a_gateways_token_is_what_its_loudest_receiver_heard():
    assert heard("raddec", raddec(), speaks_for="gw-1") == ("gw-1", IBEACON, -69.0, NOW - 1)


def test_the_documented_raddec_without_packets_says_nothing():
    assert take("raddec", "10001702aabbccddeeff013a0101001bc509408100000b").ignored == 1
    assert take("raddec", raddec(packets=["0008ffeeddccbbaa"])).ignored == 1


def test_a_raddec_of_several_packets_is_the_beacon_among_them():
    telemetry = "0020ffeeddccbbaa" + "1116aafe" + "2000" + "0bb81580" + "0000000a" + "00000064"
    decoded = take("raddec", raddec(packets=[telemetry, PACKET]))
    assert {one.beacon for one in decoded.records} == {IBEACON}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("", "neither JSON"), ("10001702", "neither JSON"), ("xyz", "hex digits"),
        (pack()[:-1] + b"\x00", "checksum"), (pack("f1")[:-1] + bytes([sum(pack("f1")[:-1]) % 256]), "cut short"),
        (pack(receivers="0109"), "cut short"), (pack(receivers="013a0109"), "type 9"),
        ({"rssiSignature": 7}, "a list"), (raddec(packets=7), "a list"), (raddec(packets=["zz"]), "hex digits"),
        (raddec(rssiSignature=[{"rssi": -60}]), "nothing names"), ([{}] * 50_001, "more than the 50000"),
    ],
)  # fmt: skip
def test_raddec_poison(body, reason):
    assert reason in refusal("raddec", body)


# --- MQTT alone ------------------------------------------------------------------------------


def test_espresense():
    body = {"mac": "5f2a11d9e3b7", "id": f"iBeacon:{UUID}-1-7", "rssi@1m": -59, "rssi": -67.42, "rxAdj": 0, "distance": 2.1, "int": 320}  # fmt: skip
    assert heard("espresense", body, speaks_for="shoes") == ("shoes", IBEACON, -67.42, NOW)
    assert heard("espresense", {**body, "raw": -71}, speaks_for="shoes")[2] == -71.0
    alt = heard("espresense", {**body, "id": f"altBeacon:{UUID}-1-7"}, speaks_for="shoes")[1]
    assert alt == Beacon(format="altbeacon", id1=UUID, id2=1, id3=7, power_dbm=-59)


@pytest.mark.parametrize("name", ["edd1ebeac04e5defa017", "edd1ebeac0c04e5defa017"])
def test_espresense_eddystone_with_and_without_the_firmwares_doubled_byte(name):
    body = {"id": f"eddy:{name}-0bdb87539b67", "rssi": -70.0}
    beacon = heard("espresense", body, speaks_for="shoes")[1]
    assert (beacon.namespace, beacon.instance) == ("edd1ebeac04e5defa017", "0bdb87539b67")


@pytest.mark.parametrize("name", ["apple:1005:9-26", "name:ann-s-watch", "md:0157:26", "5f2a11d9e3b7", None, 7])  # fmt: skip
def test_what_is_no_beacon_to_espresense_is_ignored(name):
    assert take("espresense", {"id": name, "rssi": -60}, speaks_for="shoes").ignored == 1


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("{", "truncated"), ({"id": "iBeacon:1", "rssi": -60}, "UUID-MAJOR-MINOR"),
        ({"id": "iBeacon:x-1-7", "rssi": -60}, "32 hex digits"), ({"id": f"iBeacon:{UUID}-1-70000"}, "0 to 65535"),
        ({"id": f"iBeacon:{UUID}-1-7"}, "no rssi"), ({"id": "eddy:zz-00", "rssi": -60}, "NAMESPACE-INSTANCE"),
    ],
)  # fmt: skip
def test_espresense_poison(body, reason):
    assert reason in refusal("espresense", body, speaks_for="shoes")


def test_theengs():
    body = {"id": "58:78:20:76:BC:24", "mac_type": 1, "rssi": -79, "brand": "GENERIC", "model": "iBeacon", "model_id": "IBEACON", "mfid": "4c00", "uuid": UUID.replace("-", ""), "major": 1, "minor": 7, "txpower": -59}  # fmt: skip
    expected = ("TheengsGateway", IBEACON, -79.0, NOW)
    assert heard("theengs", body, speaks_for="TheengsGateway") == expected
    raw = {"id": "58:78:20:76:BC:24", "rssi": -79, "manufacturerdata": ADVERT[10:]}
    assert heard("theengs", raw, speaks_for="TheengsGateway") == expected
    for number in ("0xfeaa", "feaa", "0000feaa-0000-1000-8000-00805f9b34fb"):
        uid = {"id": "x", "rssi": -79, "servicedatauuid": number, "servicedata": "00e7" + "01" * 10 + "02" * 6}  # fmt: skip
        beacon = heard("theengs", uid, speaks_for="gw")[1]
        assert (beacon.namespace, beacon.power_dbm) == ("01" * 10, -66)
    for other in ({"tempc": 20.1}, {"servicedatauuid": "fe95", "servicedata": "5020"}, {"manufacturerdata": "99040501"}):  # fmt: skip
        assert take("theengs", {"id": "x", "rssi": -60, **other}, speaks_for="gw").ignored == 1
    assert "truncated" in refusal("theengs", "{", speaks_for="gw")
    assert "nothing names" in refusal("theengs", body)


# --- clocks ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("at", "sent", "expected"),
    [
        (NOW - 2, NOW, NOW - 2),  # a clock that is right
        (NOW - 2, None, NOW - 2),
        (NOW - 90, NOW, NOW - 90),  # held back, by its own account
        (NOW - 3600 - 2, NOW - 3600, NOW - 2),  # an hour slow: two seconds ago all the same
        (NOW + 3600 - 2, NOW + 3600, NOW - 2),  # an hour fast
        (NOW + 60, None, NOW),  # from the future, and nothing to measure it by
        (NOW + 5, NOW, NOW),  # heard after it was sent
        (NOW - 90_000, NOW, NOW),  # no backlog is a day old: a clock that stood
        (4711.0, 4713.0, NOW - 2),  # seconds since it was switched on
        (4711.0, None, NOW),
        (None, None, NOW),
    ],
)
def test_when_an_advert_was_heard(at, sent, expected):
    body = {"gw_mac": "c8252d8e9c2c", "rssi": -60, "data": ADVERT, "ts": at, "gwts": sent}
    (one,) = take("ruuvi", body).records
    assert one.at == pytest.approx(expected)
    uptime = at is not None and at < 1e9
    assert one.mono_s == (at if uptime else None)


def test_a_file_has_no_now():
    body = {"gw_mac": "c8252d8e9c2c", "rssi": -60, "data": ADVERT}
    assert heard("ruuvi", {**body, "ts": NOW}, now=math.nan)[3] == NOW
    assert "no time" in refusal("ruuvi", body, now=math.nan)


# --- what comes from outside -----------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("body", [b"[" * 100_000, b"[" + b"0," * 300_000 + b"0]", b"\xff\xfe", b"null"])  # fmt: skip
def test_nothing_deep_long_or_empty_is_taken(name, body):
    decoded = take(name, body, speaks_for="gw-1")
    assert decoded.records == ()
    assert len(decoded.rejected) + (decoded.ignored > 0) >= 1 or body == b"null"
