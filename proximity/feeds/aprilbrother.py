"""What April Brother's gateways say: MessagePack (V4), or the JSON of the older receivers.

Their clock is the time since they were switched on, one for the whole message; what was heard is
therefore of now.
"""

from __future__ import annotations

from typing import Any

import msgspec

from beacon_gateway.adverts import decode_payload
from proximity.feeds.model import Decoded, Incoming, gather, poison, read_json
from proximity.feeds.receivers import gateway_of, heard, ibeacon, octets, receiver_format, signed
from proximity.feeds.units import fields_of, number
from proximity.model import Record

#: Before an advert's own bytes: its type, the beacon's address and the level.
HEAD = 8
#: A report of an iBeacon in the older form: address 6, UUID 16, major 2, minor 2, power, battery,
#: level.
IBEACON = 29
#: The older form of any other advert: address 6, level, type, and the length of what follows.
RAW_HEAD = 9

#: A gateway sends 210 reports a second at most; this many are minutes of them.
MOST_REPORTS = 50_000


def decode(message: Incoming) -> Decoded:
    """Read a message of either form, told apart by its first byte."""
    body = message.body.lstrip()
    try:
        found = read_json(body) if body[:1] in {b"{", b"["} else _read_packed(message.body)
    except ValueError as problem:
        return poison(problem)
    root = fields_of(found)
    old = root.get("raw_beacons_data")
    if isinstance(old, str):
        if old.count(";") > MOST_REPORTS:
            return poison(f"more than {MOST_REPORTS} reports in a message")
        reports = [part for part in old.split(";") if part.strip()]
        return gather(reports, lambda report: _read_old(report, root, message))
    devices = root.get("devices")
    if not isinstance(devices, list):
        return poison("the message has neither devices nor raw_beacons_data")
    return gather(devices, lambda device: _read_device(device, root, message))


class _Packed(msgspec.Struct):
    """What is read of a packed message; the reports are left packed, to be counted first."""

    mac: str | None = None
    time: float | None = None
    devices: msgspec.Raw = msgspec.Raw(b"\x90")


_packed = msgspec.msgpack.Decoder(_Packed)
_reports = msgspec.msgpack.Decoder(list[msgspec.Raw])


def _read_packed(body: bytes) -> dict[str, Any]:
    """Decode MessagePack; raises ValueError, also where it nests deeper than can be read."""
    try:
        found = _packed.decode(body)
        reports = bytes(found.devices)
        if _count(reports) > MOST_REPORTS:
            raise ValueError(f"more than {MOST_REPORTS} reports in a message")
        devices = [_content(bytes(report)) for report in _reports.decode(reports)]
    except RecursionError:
        raise ValueError("the MessagePack nests too deeply") from None
    return {"mac": found.mac, "time": found.time, "devices": devices}


def _count(packed: bytes) -> int:
    """Say how many things a packed array holds; 0 where it is none."""
    size = {0xDC: 2, 0xDD: 4}.get(packed[0], 0)
    if size:
        return int.from_bytes(packed[1 : 1 + size])
    return packed[0] & 0x0F if packed[0] & 0xF0 == 0x90 else 0


def _content(packed: bytes) -> bytes | str:
    """Give the bytes of a packed binary, or of a packed text: the older MessagePack had no binary.

    Text that is hex digits stays text.
    """
    head = packed[0]
    size = {0xC4: 2, 0xC5: 3, 0xC6: 5, 0xD9: 2, 0xDA: 3, 0xDB: 5}.get(head)
    if size is None:
        if head & 0xE0 != 0xA0:
            raise ValueError("a report is bytes")
        size = 1
    content = packed[size:]
    if head not in {0xC4, 0xC5, 0xC6} and content.isalnum() and content.isascii():
        return content.decode()
    return content


def _read_device(device: Any, root: dict[str, Any], message: Incoming) -> Record | None:
    report = octets(device)
    if len(report) < HEAD:
        raise ValueError(f"a report has {HEAD} bytes before its advert, not {len(report)}")
    gateway = gateway_of(message, root.get("mac"))
    return heard(
        message, gateway, report[HEAD:], signed(report[HEAD - 1]), sent=number(root.get("time"))
    )


def _read_old(text: str, root: dict[str, Any], message: Incoming) -> Record | None:
    report = octets(text)
    gateway = gateway_of(message, root.get("id"))
    if len(report) >= RAW_HEAD and len(report) == RAW_HEAD + report[RAW_HEAD - 1]:
        advert = report[RAW_HEAD:]
        # An iBeacon's report may be as long by chance; then its end is no advert.
        if len(report) != IBEACON or decode_payload(advert) is not None:
            return heard(message, gateway, advert, signed(report[6]))
    if len(report) != IBEACON:
        raise ValueError(f"a report of {len(report)} bytes is neither an iBeacon's nor a raw one")
    beacon = ibeacon(
        report[6:22].hex(),
        int.from_bytes(report[22:24]),
        int.from_bytes(report[24:26]),
        signed(report[26]),
    )
    return heard(message, gateway, beacon, signed(report[28]))


APRILBROTHER = receiver_format("aprilbrother", decode)
