"""A frame without a name, and the name that its address had."""

from __future__ import annotations

from beacon_gateway.adverts import decode_payload
from beacon_gateway.model import Beacon
from beacon_gateway.telemetry import ADDRESS_S, MAX_ADDRESSES, Telemetry

FRAME = decode_payload(bytes.fromhex("0201060303aafe1116aafe20000b1813000000146700002ac4"))
TAG = Beacon(format="eddystone-uid", namespace="12" * 10, instance="01" * 6, power_dbm=-70)
HERE = "c0:00:00:00:00:01"
ELSEWHERE = "c0:00:00:00:00:02"


def test_a_frame_speaks_for_the_name_heard_from_its_address() -> None:
    assert FRAME is not None
    telemetry = Telemetry()
    assert telemetry.joined(HERE, FRAME, 100.0) is None
    telemetry.heard(HERE, TAG, 100.0)
    joined = telemetry.joined(HERE, FRAME, 101.0)
    assert joined is not None
    assert joined.identity == TAG.identity
    assert joined.power_dbm == TAG.power_dbm
    assert (joined.battery_mv, joined.temperature_c) == (2840, 19.0)
    assert (joined.count, joined.uptime_s) == (5223, 1094.8)
    assert telemetry.joined(ELSEWHERE, FRAME, 101.0) is None


def test_an_address_stands_for_a_name_for_a_while_only() -> None:
    assert FRAME is not None
    telemetry = Telemetry()
    telemetry.heard(HERE, TAG, 100.0)
    assert telemetry.joined(HERE, FRAME, 100.0 + ADDRESS_S) is not None
    assert telemetry.joined(HERE, FRAME, 101.0 + ADDRESS_S) is None
    telemetry.heard(HERE, TAG, 100.0)
    assert telemetry.joined(HERE, FRAME, 101.0 + ADDRESS_S) is None  # the clock was set back


def test_the_newest_name_counts_and_memory_is_bounded() -> None:
    assert FRAME is not None
    telemetry = Telemetry()
    other = Beacon(format="eddystone-uid", namespace="34" * 10, instance="01" * 6)
    telemetry.heard(HERE, TAG, 1.0)
    telemetry.heard(HERE, other, 2.0)
    joined = telemetry.joined(HERE, FRAME, 3.0)
    assert joined is not None
    assert joined.identity == other.identity
    for number in range(MAX_ADDRESSES):
        telemetry.heard(f"{number}", TAG, 3.0)
    assert telemetry.joined(HERE, FRAME, 3.0) is None
    assert telemetry.joined("0", FRAME, 3.0) is not None
