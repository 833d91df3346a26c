"""Reads what sniffers recorded (pcapng): the frames of advertising channels, as they were on air.

Only what the sets of real data here need: little-endian files, the link types of Ubertooth and of
Nordic's sniffer. Layouts: the pcapng draft (blocks 1 and 6) and the two link types' own pages.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

INTERFACE = 1
PACKET = 6
# Link types: Bluetooth LE with a 10-byte pseudo-header, and Nordic's sniffer with 17 bytes.
UBERTOOTH = 256
NORDIC = 272
SCAN_REQUEST = 3
CONNECT_REQUEST = 5
# The types of the first advertising PDUs; the others were not yet there, or are none.
KNOWN = range(7)
CARRIES_ADVERTISEMENT = {0, 2, 4, 6}


class Frame(NamedTuple):
    """One frame: nanoseconds or microseconds as the file has them, dBm, and what was sent."""

    time: int
    rssi_dbm: int
    pdu: int
    address: str
    payload: bytes
    whole: bool


def read(path: Path) -> Iterator[Frame]:
    """Give the frames of one capture in order."""
    content = path.read_bytes()
    start, link = 0, 0
    while start < len(content):
        kind, length = struct.unpack_from("<II", content, start)
        body = content[start + 8 : start + length - 4]
        start += length
        if kind == INTERFACE:
            (link,) = struct.unpack_from("<H", body)
        elif kind == PACKET:
            high, low, size = struct.unpack_from("<4xIII", body)
            yield _frame(link, high << 32 | low, body[20 : 20 + size])


def _frame(link: int, time: int, packet: bytes) -> Frame:
    if link == UBERTOOTH:
        rssi, air = struct.unpack_from("b", packet, 1)[0], packet[10:]
    else:
        assert link == NORDIC
        rssi, air = -packet[10], packet[17:]
    # Access address 4, header 2 (type, length), then as long as the header says, then the CRC.
    pdu, length = air[4] & 0x0F, air[5]
    body = air[6 : 6 + length]
    # Of a request, the one that is asked stands second; it is what such a file calls the source.
    owner = body[6:12] if pdu in {SCAN_REQUEST, CONNECT_REQUEST} else body[:6]
    return Frame(
        time=time,
        rssi_dbm=rssi,
        pdu=pdu,
        address=":".join(f"{octet:02x}" for octet in owner[::-1]) if pdu in KNOWN else "",
        payload=body[6:] if pdu in CARRIES_ADVERTISEMENT else b"",
        whole=len(air) == length + 9 and _check(air[4:-3]) == air[-3:],
    )


def _check(octets: bytes) -> bytes:
    """Compute the CRC of an advertising PDU (Core Specification, vol. 6, part B, 3.1.1)."""
    # Bits come least significant first; the register starts at 0x555555, here mirrored.
    register = 0xAAAAAA
    for octet in octets:
        register ^= octet
        for _ in range(8):
            register = register >> 1 ^ (0xDA6000 if register & 1 else 0)
    return register.to_bytes(3, "little")
