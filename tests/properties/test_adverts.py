"""Whatever the bytes, a beacon or none; whatever the beacon, its frame gives it back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from beacon_gateway.adverts import (
    URL_ENDINGS,
    URL_SCHEMES,
    decode_line,
    decode_manufacturer,
    decode_payload,
    decode_service,
    format_uuid,
)
from beacon_gateway.model import Beacon
from tests.beacon_gateway.test_adverts import WHOLE

sixteen_bits = st.integers(0, 0xFFFF)
thirty_two_bits = st.integers(0, 0xFFFFFFFF)
signed = st.integers(-128, 127)


def octets(count: int) -> st.SearchStrategy[bytes]:
    return st.binary(min_size=count, max_size=count)


def encode_url(url: str) -> bytes:
    """Write a URL as beacons do, the longest short forms first."""
    scheme = max((s for s in URL_SCHEMES if url.startswith(s)), key=len)
    rest, out = url[len(scheme) :], bytes([URL_SCHEMES.index(scheme)])
    while rest:
        ending = max((e for e in URL_ENDINGS if rest.startswith(e)), key=len, default=None)
        out += bytes([URL_ENDINGS.index(ending)]) if ending else rest[0].encode()
        rest = rest[len(ending or rest[0]) :]
    return out


def encode(beacon: Beacon) -> bytes:
    """Write a beacon as its AD structure, from the layouts of the formats themselves."""

    def one(number: int) -> bytes:
        return number.to_bytes(1, "big", signed=True)

    def two(number: int | None) -> bytes:
        return (number or 0).to_bytes(2, "big")

    def at_0_m() -> bytes:
        return one((beacon.power_dbm or 0) + 41)

    match beacon.format:
        case "ibeacon":
            ids = bytes.fromhex((beacon.uuid or "").replace("-", ""))
            body = b"\xff\x4c\x00\x02\x15" + ids + two(beacon.major) + two(beacon.minor)
            body += one(beacon.power_dbm or 0)
        case "altbeacon":
            ids = bytes.fromhex((beacon.id1 or "").replace("-", ""))
            body = b"\xff\x18\x01\xbe\xac" + ids + two(beacon.id2) + two(beacon.id3)
            body += one(beacon.power_dbm or 0) + b"\x00"
        case "eddystone-uid":
            ids = bytes.fromhex((beacon.namespace or "") + (beacon.instance or ""))
            body = b"\x16\xaa\xfe\x00" + at_0_m() + ids + b"\x00\x00"
        case "eddystone-eid":
            body = b"\x16\xaa\xfe\x30" + at_0_m() + bytes.fromhex(beacon.eid or "")
        case "eddystone-url":
            body = b"\x16\xaa\xfe\x10" + at_0_m() + encode_url(beacon.url or "")
        case "eddystone-tlm":
            body = b"\x16\xaa\xfe\x20\x00" + two(beacon.battery_mv)
            body += round((beacon.temperature_c or 0.0) * 256).to_bytes(2, "big", signed=True)
            body += (beacon.count or 0).to_bytes(4, "big")
            body += round((beacon.uptime_s or 0.0) * 10).to_bytes(4, "big")
    return bytes([len(body)]) + body


host = st.text("abcdefghijklmnopqrstuvwxyz0123456789-_~/?=", min_size=1, max_size=5)
BEACONS = st.one_of(
    st.builds(
        Beacon,
        format=st.just("ibeacon"),
        uuid=octets(16).map(format_uuid),
        major=sixteen_bits,
        minor=sixteen_bits,
        power_dbm=signed,
    ),
    st.builds(
        Beacon,
        format=st.just("altbeacon"),
        id1=octets(16).map(format_uuid),
        id2=sixteen_bits,
        id3=sixteen_bits,
        power_dbm=signed,
    ),
    st.builds(
        Beacon,
        format=st.just("eddystone-uid"),
        namespace=octets(10).map(bytes.hex),
        instance=octets(6).map(bytes.hex),
        power_dbm=signed.map(lambda level: level - 41),
    ),
    st.builds(
        Beacon,
        format=st.just("eddystone-eid"),
        eid=octets(8).map(bytes.hex),
        power_dbm=signed.map(lambda level: level - 41),
    ),
    st.builds(
        Beacon,
        format=st.just("eddystone-url"),
        url=st.tuples(st.sampled_from(URL_SCHEMES), host, st.sampled_from(URL_ENDINGS), host).map(
            "".join
        ),
        power_dbm=signed.map(lambda level: level - 41),
    ),
    st.builds(
        Beacon,
        format=st.just("eddystone-tlm"),
        battery_mv=st.integers(1, 0xFFFF),
        temperature_c=st.integers(-0x7FFF, 0x7FFF).map(lambda steps: steps / 256),
        count=thirty_two_bits,
        uptime_s=thirty_two_bits.map(lambda tenths: tenths / 10),
    ),
)


@given(BEACONS, st.binary(max_size=8))
def test_a_beacon_comes_back_from_its_frame(beacon: Beacon, after: bytes) -> None:
    payload = b"\x02\x01\x06" + encode(beacon)
    assert decode_payload(payload) == beacon
    assert decode_payload(payload + after) == beacon
    assert decode_line(payload.hex()) == beacon


@given(st.binary(max_size=64), sixteen_bits)
def test_any_bytes_give_a_beacon_or_none(content: bytes, number: int) -> None:
    for beacon in (
        decode_payload(content),
        decode_manufacturer(number, content),
        decode_manufacturer(0x004C, b"\x02\x15" + content),
        decode_service(number, content),
        decode_service(0xFEAA, content),
    ):
        assert beacon is None or isinstance(beacon, Beacon)


@given(
    st.sampled_from([payload for payload, _ in WHOLE.values()]),
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 255)), max_size=4),
    st.integers(0, 40),
)
def test_a_damaged_frame_gives_a_beacon_or_none(
    payload: bytes, damage: list[tuple[int, int]], length: int
) -> None:
    damaged = bytearray(payload)
    for position, octet in damage:
        damaged[position % len(damaged)] = octet
    beacon = decode_payload(bytes(damaged[:length]))
    assert beacon is None or isinstance(beacon, Beacon)


@given(st.text(max_size=80), st.sampled_from(["", "mfr:", "svc:", "mfr:76:", "svc:FEAA:"]))
def test_any_line_gives_a_beacon_or_none(text: str, start: str) -> None:
    beacon = decode_line(start + text)
    assert beacon is None or isinstance(beacon, Beacon)
