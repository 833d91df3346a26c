"""Frames that sniffers recorded in a room full of phones, against the table that came with them."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from beacon_gateway.adverts import decode_payload, structures
from tests.beacon_gateway.captures import CARRIES_ADVERTISEMENT, Frame, read

SET = "phones-6ft-pcap-conference-room"
CAPTURES = {
    "Ubertooth/ubertooth_capture_0": 5068,
    "Ubertooth/ubertooth_capture_180": 4233,
    "Ubertooth/ubertooth_capture_225": 2113,
    "nRF52/nrf52_capture_225": 7794,
}
SHORT_NAME, NAME, TX_POWER, MANUFACTURER = 0x08, 0x09, 0x0A, 0xFF


def fields(frame: Frame) -> list[str]:
    """Write a frame as the table does: address, name, level, power, type and company."""
    name = power = company = ""
    for kind, content in structures(frame.payload):
        if kind in {SHORT_NAME, NAME}:
            name = content.decode()
        elif kind == TX_POWER:
            power = str(int.from_bytes(content, "big", signed=True))
        elif kind == MANUFACTURER:
            company = str(int.from_bytes(content[:2], "little"))
    return [frame.address, name, str(frame.rssi_dbm), power, str(frame.pdu), company]


@pytest.mark.parametrize("capture", CAPTURES)
def test_frames_that_came_whole_are_what_the_table_says(shared_data, capture: str) -> None:
    base: Path = shared_data(SET) / "5-May Conference Room" / capture
    text = base.with_suffix(".csv").read_bytes().decode("latin-1")
    # A name with a quote in it was written as it stood: the table knows no quoting.
    rows = list(csv.reader(io.StringIO(text), quoting=csv.QUOTE_NONE))[1:]
    frames = list(read(base.with_suffix(".pcapng")))
    assert len(frames) == len(rows) == CAPTURES[capture]
    whole = 0
    for frame, row in zip(frames, rows, strict=True):
        if frame.whole:
            whole += 1
            assert fields(frame) == row[2:], row
        # Of a broken one the level is sure, and that reading it does no harm.
        assert row[-4] == str(frame.rssi_dbm), row
        decode_payload(frame.payload)
    assert whole > 0.75 * len(frames)


@pytest.mark.parametrize("capture", CAPTURES)
def test_phones_in_pockets_are_no_beacons(shared_data, capture: str) -> None:
    base: Path = shared_data(SET) / "5-May Conference Room" / capture
    frames = [frame for frame in read(base.with_suffix(".pcapng")) if frame.whole]
    assert sum(frame.pdu in CARRIES_ADVERTISEMENT for frame in frames) > 1000
    assert [frame for frame in frames if decode_payload(frame.payload) is not None] == []
