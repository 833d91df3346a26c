"""The question: which beacon do these advertised bytes come from.

Pure: bytes in, a ``Beacon`` or None out, never an exception. One decoder for each format, each of
which looks at the length first; it must know nothing of addresses, receivers or levels heard.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from beacon_gateway.model import Beacon

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

APPLE = 0x004C
EDDYSTONE = 0xFEAA
# The 0 m level of Eddystone less this is the level at 1 m: the loss over the first metre at
# 2.4 GHz, as the format's own description has it.
EDDYSTONE_LOSS_DB = 41
# AD types (Bluetooth assigned numbers): manufacturer data, and service data of a 16-bit UUID.
MANUFACTURER = 0xFF
SERVICE = 0x16
# What a 16-bit UUID is short for: its four digits between these.
BASE_HEAD, BASE_TAIL = "0000", "-0000-1000-8000-00805f9b34fb"

URL_SCHEMES = ("http://www.", "https://www.", "http://", "https://")
URL_ENDINGS = (
    ".com/", ".org/", ".edu/", ".net/", ".info/", ".biz/", ".gov/",
    ".com", ".org", ".edu", ".net", ".info", ".biz", ".gov",
)  # fmt: skip
# The longest URL that the format allows, in bytes after the scheme.
MAX_URL = 17
# What a telemetry frame says where it cannot measure: no volts, and -128 degrees.
NO_BATTERY = 0
NO_TEMPERATURE = -0x8000


class Decoder(NamedTuple):
    """One beacon format: where it is carried, how it begins, and what reads it.

    ``carrier`` is the AD type, ``number`` the company or the service (None: any company),
    ``prefix`` the first bytes after that number.
    """

    carrier: int
    number: int | None
    prefix: bytes
    decode: Callable[[bytes], Beacon | None]


def decode_payload(payload: bytes) -> Beacon | None:
    """Decode a whole advertising payload (AD structures); the first beacon in it wins.

    A structure that is cut short ends the payload: what its length promises is not there.
    """
    for kind, content in structures(payload):
        beacon = None
        if kind == MANUFACTURER and len(content) >= 2:
            beacon = decode_manufacturer(int.from_bytes(content[:2], "little"), content[2:])
        elif kind == SERVICE and len(content) >= 2:
            beacon = decode_service(int.from_bytes(content[:2], "little"), content[2:])
        if beacon is not None:
            return beacon
    return None


def decode_records(manufacturer: Mapping[int, bytes], service: Mapping[str, bytes]) -> list[Beacon]:
    """Decode what a system's radio stack hands over: every beacon in it, usually none or one.

    ``manufacturer`` has bytes by company id, ``service`` by UUID as text of 128 bits in lower case.
    """
    found = [decode_manufacturer(company, content) for company, content in manufacturer.items()]
    found += [
        decode_service(int(uuid[4:8], 16), content)
        for uuid, content in service.items()
        if len(uuid) == 36 and uuid.endswith(BASE_TAIL) and _is_short(uuid[:8])
    ]
    return [beacon for beacon in found if beacon is not None]


def decode_manufacturer(company: int, content: bytes) -> Beacon | None:
    """Decode manufacturer data, given as after the company id."""
    return _decode(MANUFACTURER, company, content)


def decode_service(service: int, content: bytes) -> Beacon | None:
    """Decode service data of a 16-bit UUID, given as after that UUID."""
    return _decode(SERVICE, service, content)


def decode_line(line: str) -> Beacon | None:
    """Decode a line of text: hex of a payload, ``mfr:COMPANY:HEX`` or ``svc:UUID16:HEX``.

    COMPANY is decimal or 0x hex, UUID16 four hex digits with or without 0x.
    """
    kind, *rest = line.strip().split(":")
    try:
        if not rest:
            return decode_payload(bytes.fromhex(kind))
        number, content = rest
        if kind.lower() == "mfr":
            base = 16 if number[:2].lower() == "0x" else 10
            return decode_manufacturer(_number(number, base), bytes.fromhex(content))
        if kind.lower() == "svc":
            return decode_service(_number(number, 16), bytes.fromhex(content))
    except ValueError:
        pass
    return None


def format_uuid(octets: bytes) -> str:
    """Write 16 bytes as a UUID in lower case with dashes."""
    text = octets.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _decode(carrier: int, number: int, content: bytes) -> Beacon | None:
    for decoder in DECODERS.values():
        fits = decoder.carrier == carrier and decoder.number in {number, None}
        if fits and content.startswith(decoder.prefix):
            return decoder.decode(content)
    return None


def structures(payload: bytes) -> Iterator[tuple[int, bytes]]:
    """Give each whole AD structure of a payload as its type and content.

    Length 0, or one that promises more than there is, ends the payload early.
    """
    start = 0
    while start < len(payload):
        end = start + 1 + payload[start]
        if end == start + 1 or end > len(payload):
            return
        yield payload[start + 1], payload[start + 2 : end]
        start = end


def _ibeacon(content: bytes) -> Beacon | None:
    if len(content) < 23:
        return None
    return Beacon(
        format="ibeacon",
        uuid=format_uuid(content[2:18]),
        major=int.from_bytes(content[18:20], "big"),
        minor=int.from_bytes(content[20:22], "big"),
        power_dbm=_signed(content[22:23]),
    )


def _altbeacon(content: bytes) -> Beacon | None:
    # The last byte is the maker's own; without it the frame has been cut short.
    if len(content) < 24:
        return None
    return Beacon(
        format="altbeacon",
        id1=format_uuid(content[2:18]),
        id2=int.from_bytes(content[18:20], "big"),
        id3=int.from_bytes(content[20:22], "big"),
        power_dbm=_signed(content[22:23]),
    )


def _eddystone_uid(content: bytes) -> Beacon | None:
    # Two reserved bytes follow, which some beacons leave out.
    if len(content) < 18:
        return None
    return Beacon(
        format="eddystone-uid",
        namespace=content[2:12].hex(),
        instance=content[12:18].hex(),
        power_dbm=_signed(content[1:2]) - EDDYSTONE_LOSS_DB,
    )


def _eddystone_url(content: bytes) -> Beacon | None:
    if not 4 <= len(content) <= 3 + MAX_URL or content[2] >= len(URL_SCHEMES):
        return None
    url = URL_SCHEMES[content[2]]
    for octet in content[3:]:
        if octet < len(URL_ENDINGS):
            url += URL_ENDINGS[octet]
        elif 0x20 < octet < 0x7F:
            url += chr(octet)
        else:
            return None
    return Beacon(
        format="eddystone-url", url=url, power_dbm=_signed(content[1:2]) - EDDYSTONE_LOSS_DB
    )


def _eddystone_tlm(content: bytes) -> Beacon | None:
    # Version 0 is plain; version 1 is encrypted and tells us nothing.
    if len(content) < 14 or content[1] != 0:
        return None
    battery = int.from_bytes(content[2:4], "big")
    temperature = _signed(content[4:6])
    return Beacon(
        format="eddystone-tlm",
        battery_mv=None if battery == NO_BATTERY else battery,
        temperature_c=None if temperature == NO_TEMPERATURE else temperature / 256,
        count=int.from_bytes(content[6:10], "big"),
        uptime_s=int.from_bytes(content[10:14], "big") / 10,
    )


def _eddystone_eid(content: bytes) -> Beacon | None:
    if len(content) < 10:
        return None
    return Beacon(
        format="eddystone-eid",
        eid=content[2:10].hex(),
        power_dbm=_signed(content[1:2]) - EDDYSTONE_LOSS_DB,
    )


DECODERS: dict[str, Decoder] = {
    "ibeacon": Decoder(MANUFACTURER, APPLE, b"\x02\x15", _ibeacon),
    "altbeacon": Decoder(MANUFACTURER, None, b"\xbe\xac", _altbeacon),
    "eddystone-uid": Decoder(SERVICE, EDDYSTONE, b"\x00", _eddystone_uid),
    "eddystone-url": Decoder(SERVICE, EDDYSTONE, b"\x10", _eddystone_url),
    "eddystone-tlm": Decoder(SERVICE, EDDYSTONE, b"\x20", _eddystone_tlm),
    "eddystone-eid": Decoder(SERVICE, EDDYSTONE, b"\x30", _eddystone_eid),
}


def _signed(octets: bytes) -> int:
    return int.from_bytes(octets, "big", signed=True)


def _is_short(digits: str) -> bool:
    return digits.startswith(BASE_HEAD) and all(digit in "0123456789abcdef" for digit in digits)


def _number(text: str, base: int) -> int:
    """Read an assigned number; ValueError where it is none of 16 bits."""
    if not (text.isascii() and text.isalnum()):
        raise ValueError("no number")
    number = int(text, base)
    if number > 0xFFFF:
        raise ValueError("longer than 16 bits")
    return number
