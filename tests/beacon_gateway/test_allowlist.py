from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beacon_gateway.allowlist import MAX_BEACONS, MAX_BYTES, AllowList, read_configuration
from beacon_gateway.eid import EidKey, identity_at
from beacon_gateway.model import Beacon, GatewayError

UUID = "f7826da6-4fa2-4e98-8024-bc5b71e0893e"
NOW = 1_790_000_000.0
KEY = {"identity_key": "00112233445566778899aabbccddeeff", "exponent": 10, "epoch": NOW - 1e6}


def ibeacon(uuid: str = UUID, major: int = 1, minor: int = 7) -> Beacon:
    return Beacon(format="ibeacon", uuid=uuid, major=major, minor=minor, power_dbm=-59)


def listed(*entries: dict[str, Any]) -> AllowList:
    made = AllowList(entries)
    assert made.unreadable == 0
    return made


@pytest.mark.parametrize(
    ("entry", "beacon", "near"),
    [
        ({"uuid": UUID, "major": 1, "minor": 7}, ibeacon(), [ibeacon(major=2), ibeacon(minor=8)]),
        ({"uuid": UUID, "major": 1}, ibeacon(minor=999), [ibeacon(major=2)]),
        ({"uuid": UUID, "minor": 7}, ibeacon(major=999), [ibeacon(minor=8)]),
        ({"uuid": UUID}, ibeacon(major=0, minor=0), [ibeacon(uuid=UUID.replace("f", "e"))]),
        ({"uuid": UUID.upper(), "major": 1}, ibeacon(), []),
        ({"uuid": UUID.replace("-", "")}, ibeacon(), []),
        (
            {"format": "altbeacon", "id1": UUID, "id2": 1},
            Beacon(format="altbeacon", id1=UUID, id2=1, id3=9),
            [Beacon(format="altbeacon", id1=UUID, id2=2, id3=9), ibeacon()],
        ),
        (
            {"format": "eddystone-uid", "namespace": "00112233445566778899"},
            Beacon(format="eddystone-uid", namespace="00112233445566778899", instance="0" * 12),
            [Beacon(format="eddystone-uid", namespace="10112233445566778899", instance="0" * 12)],
        ),
        (
            {"format": "eddystone-eid", "eid": "0011223344556677"},
            Beacon(format="eddystone-eid", eid="0011223344556677"),
            [Beacon(format="eddystone-eid", eid="1011223344556677")],
        ),
        (
            {"format": "eddystone-url", "url": "https://a.example/"},
            Beacon(format="eddystone-url", url="https://a.example/"),
            [Beacon(format="eddystone-url", url="https://a.example/b")],
        ),
    ],
)
def test_what_is_enrolled_is_kept_and_nothing_beside_it(
    entry: dict[str, Any], beacon: Beacon, near: list[Beacon]
) -> None:
    made = listed(entry)
    assert len(made) == 1
    assert made.match(beacon, NOW) is beacon
    assert [made.match(each, NOW) for each in near] == [None] * len(near)


def test_levels_and_telemetry_are_no_part_of_an_identity() -> None:
    made = listed({"uuid": UUID, "major": 1, "minor": 7, "power_dbm": -40, "subject": "nobody"})
    assert made.match(ibeacon(), NOW) is not None
    assert made.match(Beacon(format="eddystone-tlm", battery_mv=3000), NOW) is None


def test_a_rotating_identity_is_kept_while_its_key_makes_it_and_travels_as_heard() -> None:
    made = listed({"format": "eddystone-eid", **KEY})
    now = identity_at(EidKey(**KEY), NOW)
    beacon = Beacon(format="eddystone-eid", eid=now)
    assert made.match(beacon, NOW) is beacon
    assert made.match(beacon, NOW + 86_400.0) is None
    later = Beacon(format="eddystone-eid", eid=identity_at(EidKey(**KEY), NOW + 86_400.0))
    assert made.match(later, NOW + 86_400.0) is later


entries = st.fixed_dictionaries(
    {"uuid": st.sampled_from([UUID, UUID.replace("f7", "aa")])},
    optional={"major": st.integers(0, 3), "minor": st.integers(0, 3)},
)


@given(st.lists(entries, max_size=6), st.integers(0, 3), st.integers(0, 3))
def test_matching_is_what_comparing_field_by_field_gives(
    list_: list[dict[str, Any]], major: int, minor: int
) -> None:
    beacon = ibeacon(major=major, minor=minor)
    wanted = any(
        all(getattr(beacon, name) == value for name, value in entry.items()) for entry in list_
    )
    assert (AllowList(list_).match(beacon, NOW) is not None) == wanted


def test_an_empty_list_keeps_nothing_and_strangers_leave_no_trace() -> None:
    assert AllowList().match(ibeacon(), NOW) is None
    made = listed({"uuid": UUID})
    before = repr(vars(made))
    for _ in range(1000):
        assert made.match(ibeacon(str(uuid4())), NOW) is None
    assert repr(vars(made)) == before


@pytest.mark.parametrize(
    "entry",
    [
        {}, {"format": "ibeacon"}, {"major": 1}, {"uuid": "not hex"}, {"uuid": UUID[:-2]},
        {"uuid": 5}, {"uuid": UUID, "major": 65536}, {"uuid": UUID, "major": "1"},
        {"uuid": UUID, "minor": True}, {"format": "smoke-signal", "uuid": UUID},
        {"format": "eddystone-tlm"}, {"format": ["ibeacon"], "uuid": UUID},
        {"format": "eddystone-eid"}, {"format": "eddystone-eid", "identity_key": "00"},
        {"format": "eddystone-eid", **KEY, "exponent": 16},
    ],
)  # fmt: skip
def test_an_entry_that_says_nothing_costs_itself_alone(entry: dict[str, Any]) -> None:
    made = AllowList([entry, {"uuid": UUID, "major": 1}])
    assert made.unreadable == 1
    assert len(made) == 1
    assert made.match(ibeacon(), NOW) is not None


def test_a_document_is_read_and_does_not_show_what_is_in_it() -> None:
    text = json.dumps(
        {
            "gateway": "gw-1", "place": "door", "late_s": 60, "secret": "whsec_x",
            "beacons": [{"format": "eddystone-eid", **KEY}], "what_comes_later": 1,
        }
    )  # fmt: skip
    read = read_configuration(text.encode())
    assert (read.gateway, read.place, read.late_s, read.secret) == ("gw-1", "door", 60.0, "whsec_x")
    assert "0011" not in repr(read)
    assert "whsec" not in repr(read)


@pytest.mark.parametrize(
    "text",
    [
        b"", b"[]", b"{}", b'{"gateway":5}', b'{"gateway":""}', b'{"gateway":"a","beacons":5}',
        b'{"gateway":"a","beacons":[5]}', b"<html>Sign in to the hotel</html>", b"[" * 100_000,
        b'{"gateway":"\\u0001"}', b'{"gateway":"a","beacons":[' + b"{}," * MAX_BEACONS + b"{}]}",
        b" " * (MAX_BYTES + 1), b"\xff",
    ],
)  # fmt: skip
def test_what_is_no_configuration_is_refused(text: bytes) -> None:
    with pytest.raises(GatewayError, match="configuration"):
        read_configuration(text)
