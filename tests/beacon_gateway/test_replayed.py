from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beacon_gateway.adverts import decode_records
from beacon_gateway.frames import frame
from beacon_gateway.model import Beacon, GatewayError
from beacon_gateway.replayed import Replayed
from beacon_gateway.scanner import Heard

UUID = "f7826da6-4fa2-4e98-8024-bc5b71e0893e"


def hex_of(octets: int) -> st.SearchStrategy[str]:
    return st.binary(min_size=octets, max_size=octets).map(bytes.hex)


numbers = st.integers(0, 0xFFFF)
power = st.integers(-128, 86)
uuids = st.uuids().map(str)
beacons = st.one_of(
    st.builds(
        Beacon, format=st.just("ibeacon"), uuid=uuids, major=numbers, minor=numbers,
        power_dbm=power,
    ),
    st.builds(
        Beacon, format=st.just("altbeacon"), id1=uuids, id2=numbers, id3=numbers, power_dbm=power
    ),
    st.builds(
        Beacon, format=st.just("eddystone-uid"), namespace=hex_of(10), instance=hex_of(6),
        power_dbm=power,
    ),
    st.builds(Beacon, format=st.just("eddystone-eid"), eid=hex_of(8), power_dbm=power),
    st.builds(
        Beacon, format=st.just("eddystone-url"), power_dbm=power,
        url=st.sampled_from(["https://www.a.com/x", "http://b.org", "https://c.info/d.biz"]),
    ),
)  # fmt: skip


@given(beacons)
def test_a_frame_decodes_to_the_beacon_it_was_made_of(beacon: Beacon) -> None:
    written = frame(beacon)
    if beacon.format.startswith("eddystone"):
        # The frame has the level at 0 m, in eight bits.
        assert (written is None) == (beacon.power_dbm is not None and beacon.power_dbm > 86)
    assert written is None or decode_records(*written) == [beacon]


@pytest.mark.parametrize(
    "beacon",
    [
        Beacon(format="ibeacon", uuid=UUID), Beacon(format="ibeacon", major=1, minor=1),
        Beacon(format="ibeacon", uuid="zz", major=1, minor=1),
        Beacon(format="ibeacon", uuid=UUID, major=70_000, minor=1),
        Beacon(format="ibeacon", uuid=UUID, major=-1, minor=1),
        Beacon(format="ibeacon", uuid=UUID, major=1, minor=1, power_dbm=900),
        Beacon(format="eddystone-url", url="ftp://a"), Beacon(format="eddystone-url"),
        Beacon(format="eddystone-url", url="https://é"), Beacon(format="eddystone-tlm"),
    ],
)  # fmt: skip
def test_what_fits_in_no_frame_has_none(beacon: Beacon) -> None:
    assert frame(beacon) is None


def sighting(at: float, rssi_dbm: float = -60, gateway: str = "gw-1", **more: Any) -> str:
    beacon = {"format": "ibeacon", "uuid": UUID, "major": 1, "minor": 7, "power_dbm": -59}
    record = {"type": "sighting", "beacon": beacon, "at": at, "rssi_dbm": rssi_dbm}
    return json.dumps({**record, "gateway": gateway, **more})


async def heard(path: Path, speed: float = 1000.0, gateway: str | None = "gw-1") -> list[Heard]:
    said: list[Heard] = []
    source = Replayed(path, speed, gateway)
    await source.run(said.append)
    return said


async def test_a_trace_is_heard_again_from_now_on_in_its_own_steps(tmp_path: Path) -> None:
    trace = tmp_path / "trace.jsonl"
    trace.write_text("\n".join(sighting(at) for at in (1000.0, 1000.4, 1020.0, 1019.0)))
    source = Replayed(trace, 1000.0, "gw-1")
    began = source.clock.wall()
    said: list[Heard] = []
    await source.run(said.append)
    assert [round(each.at - said[0].at, 3) for each in said] == [0, 0.4, 20, 19]
    assert [round(each.mono_s - said[0].mono_s, 3) for each in said] == [0, 0.4, 20, 19]
    assert 0 <= said[0].at - began < 60, "it begins when it is listened to"
    assert {each.address[:2] for each in said} == {"02"}
    assert decode_records(said[0].manufacturer, said[0].service)[0].minor == 7


async def test_a_rehearsal_takes_the_time_of_its_server(tmp_path: Path) -> None:
    trace = tmp_path / "trace.jsonl"
    trace.write_text(sighting(1000.0))
    source = Replayed(trace, 1000.0, "gw-1")
    source.set_clock(1e6)
    said: list[Heard] = []
    await source.run(said.append)
    assert abs(said[0].at - time.time() - 1e6) < 1000
    assert abs(said[0].mono_s - source.clock.mono()) < 1000


async def test_only_what_this_gateway_could_have_heard_is_said(tmp_path: Path) -> None:
    trace = tmp_path / "trace.jsonl"
    fix = {"type": "fix", "subject": "s", "at": 1, "lon": 1, "lat": 1}
    phone = {**json.loads(sighting(1.0)), "subject": "s"}
    del phone["gateway"]
    lines = [
        "", json.dumps(fix), "no json", "[" * 100_000, json.dumps(phone), sighting(1, 127),
        sighting(1, -127), sighting(1, 0), sighting(1, gateway="gw-2"), sighting(2, -60.4),
        "x" * 200_000, sighting(3),
    ]  # fmt: skip
    trace.write_text("\n".join(lines))
    assert [each.rssi_dbm for each in await heard(trace)] == [-60, -60]
    assert len(await heard(trace, gateway=None)) == 3


def test_a_trace_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GatewayError, match=r"trace\.jsonl: cannot be read"):
        Replayed(tmp_path / "trace.jsonl")


def test_a_byte_order_mark_is_no_part_of_the_first_record(tmp_path: Path) -> None:
    trace = tmp_path / "marked.jsonl"
    trace.write_text(
        '{"type":"sighting","beacon":{"format":"ibeacon","uuid":'
        '"f7826da6-4fa2-4e98-8024-bc5b71e0893e","major":1,"minor":7},'
        '"gateway":"gw-1","at":1,"rssi_dbm":-60}\n',
        "utf-8-sig",
    )
    said: list[Heard] = []
    asyncio.run(Replayed(trace).run(said.append))
    assert len(said) == 1
