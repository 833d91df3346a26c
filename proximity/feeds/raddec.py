"""What reelyActive's software says: a raddec, one beacon as heard by several receivers.

As JSON, or packed into bytes or their hex digits. The bytes of a packet are those on the air: a
header of two bytes and the beacon's address stand before the advert.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from beacon_gateway.adverts import decode_payload
from beacon_gateway.model import Beacon
from proximity.feeds.model import (
    MOST_ITEMS,
    Decoded,
    Incoming,
    Rejected,
    poison,
    read_json,
    refused,
)
from proximity.feeds.receivers import gateway_of, heard, octets, receiver_format
from proximity.feeds.units import fields_of
from proximity.model import Record

#: The first byte of a packed raddec.
FLAG = 0x10
#: How long an identifier is, by its type: EUI-64, addresses of 48 bits (public, random), two of
#: RFID tags, a UUID, a switch's.
ID_BYTES = {0: 0, 1: 8, 2: 6, 3: 6, 4: 12, 5: 12, 6: 16, 7: 4}
#: A packed level is so much above the level in dBm.
RSSI_OFFSET = 127
#: What may follow the receivers: milliseconds of Unix time (6 bytes), packets.
TIME, PACKETS = 0xF0, 0xF1
#: Before an advert in a packet: its header 2, the address 6.
HEADER = 8
#: A packed raddec names so many receivers at most; of JSON no more are read either.
MOST_RECEIVERS = 15


def decode(message: Incoming) -> Decoded:
    """Read a raddec or a list of them; each beacon in it is a sighting by each receiver."""
    body = message.body.strip()
    try:
        if body[:1] in {b"{", b"["}:
            found = read_json(body)
        elif message.body[:1] == bytes([FLAG]):
            found = unpack(message.body)
        else:
            found = unpack(octets(body.decode("ascii", "replace")))
    except ValueError as problem:
        return poison(problem)
    items = found if isinstance(found, list) else [found]
    if len(items) > MOST_ITEMS:
        return poison(f"{len(items)} raddecs are more than the {MOST_ITEMS} of a message")
    records: list[Record] = []
    lines: list[int] = []
    rejected: list[Rejected] = []
    ignored = 0
    for line, item in enumerate(items, 1):
        try:
            fields = fields_of(unpack(octets(item)) if isinstance(item, str) else item)
            heard_by = list(_read(fields, message))
        except ValueError as problem:
            rejected.append(refused(line, problem))
            continue
        records += heard_by
        lines += [line] * len(heard_by)
        ignored += not heard_by
    return Decoded(
        records=tuple(records), lines=tuple(lines), rejected=tuple(rejected), ignored=ignored
    )


def _read(item: dict[str, Any], message: Incoming) -> Iterator[Record]:
    receivers, packets = item.get("rssiSignature"), item.get("packets", [])
    if type(receivers) is not list or type(packets) is not list:
        raise ValueError("a raddec has an rssiSignature, a list, and packets where there are any")
    beacon = _beacon(packets)
    if beacon is None:
        return
    # A token for one gateway speaks for one receiver: the loudest, which stands first.
    most = MOST_RECEIVERS if message.speaks_for is None else 1
    for receiver in map(fields_of, receivers[:most]):
        gateway = gateway_of(message, receiver.get("receiverId"))
        sighting = heard(message, gateway, beacon, receiver.get("rssi"), item.get("timestamp"))
        if sighting is not None:
            yield sighting


def _beacon(packets: list[Any]) -> Beacon | None:
    """Find the beacon among the packets of one transmitter: the first that says who it is."""
    found: Beacon | None = None
    for packet in packets[:MOST_RECEIVERS]:
        beacon = decode_payload(octets(packet)[HEADER:])
        if beacon is not None and (found is None or found.format == "eddystone-tlm"):
            found = beacon
    return found


def unpack(packed: bytes) -> dict[str, Any]:
    """Read a packed raddec into the fields of the JSON form. Raises ValueError where it is none."""
    if len(packed) < 6 or packed[0] != FLAG or int.from_bytes(packed[1:3]) != len(packed):
        raise ValueError("neither JSON nor a packed raddec")
    if sum(packed[:-1]) % 256 != packed[-1]:
        raise ValueError("the raddec's checksum is wrong")
    rest = _Bytes(packed[3:-1])
    rest.identifier()
    receivers = []
    for _ in range(rest.take(1)[0] & 0x0F):
        level, _decodings = rest.take(2)
        receivers.append({"rssi": level - RSSI_OFFSET, "receiverId": rest.identifier().hex()})
    found: dict[str, Any] = {"rssiSignature": receivers, "packets": []}
    while rest.left:
        kind = rest.take(1)[0]
        if kind == TIME:
            found["timestamp"] = int.from_bytes(rest.take(6))
        elif kind == PACKETS:
            found["packets"] = [rest.take(rest.take(1)[0]) for _ in range(rest.take(1)[0])]
        else:
            break  # events, a position: nothing that is asked for follows them
    return found


class _Bytes:
    """Bytes taken from the front; ValueError where they end too early."""

    def __init__(self, left: bytes) -> None:
        self.left = left

    def take(self, count: int) -> bytes:
        if len(self.left) < count:
            raise ValueError("the raddec is cut short")
        taken, self.left = self.left[:count], self.left[count:]
        return taken

    def identifier(self) -> bytes:
        kind = self.take(1)[0]
        if kind not in ID_BYTES:
            raise ValueError(f"identifiers of type {kind} are unknown")
        return self.take(ID_BYTES[kind])


RADDEC = receiver_format("raddec", decode)
