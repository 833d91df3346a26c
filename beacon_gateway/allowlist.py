"""The question: is this one of the beacons that were handed out here.

The list is this gateway's part of the site, as the server gives it; it is kept in a file, so that
a start without network hears what it heard before. Everything else is forgotten on the spot:
matching keeps nothing, and nothing that does not match may be named in a file, a packet or a log.
It must not know radios, levels or where records go.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from beacon_gateway.eid import EidKey, Resolver, resolver
from beacon_gateway.model import Beacon, GatewayError, check_id

#: A document beyond these is no store's: a hundred bytes tell a beacon.
MAX_BYTES = 16 * 1024 * 1024
MAX_BEACONS = 100_000

#: The fields that tell beacons of a format apart. A listed beacon names the first, and leaves out
#: those that may be anything.
IDENTITY: dict[str, tuple[str, ...]] = {
    "ibeacon": ("uuid", "major", "minor"),
    "altbeacon": ("id1", "id2", "id3"),
    "eddystone-uid": ("namespace", "instance"),
    "eddystone-eid": ("eid",),
    "eddystone-url": ("url",),
}
#: How many hex digits an identity of bytes has, dashes left aside.
DIGITS = {"uuid": 32, "id1": 32, "namespace": 20, "instance": 12, "eid": 16}
NUMBERS = frozenset({"major", "minor", "id2", "id3"})

Values = tuple[str | int | None, ...]


class Configuration(msgspec.Struct, frozen=True, kw_only=True):
    """What a gateway is told by its server: who it is, and which beacons it may keep.

    ``late_s`` is how many seconds late a record still counts there; ``secret`` a new one, where
    the request was signed with one that is being replaced.
    """

    gateway: str
    place: str | None = None
    late_s: float = 3600.0
    beacons: tuple[dict[str, Any], ...] = ()
    secret: str | None = None

    def __post_init__(self) -> None:
        check_id(self.gateway, "gateway")
        if len(self.beacons) > MAX_BEACONS:
            raise ValueError(f"more than {MAX_BEACONS} beacons")

    def __repr__(self) -> str:
        return f"Configuration({len(self.beacons)} beacons)"


class AllowList:
    """Which beacons are kept; ``unreadable`` counts entries of the list that say nothing here."""

    def __init__(self, beacons: Sequence[dict[str, Any]] = ()) -> None:
        # By format: which of its fields an entry names, and the values that entries give them.
        self._listed: dict[str, dict[tuple[int, ...], set[Values]]] = {}
        self._keys: list[EidKey] = []
        self.unreadable = 0
        for entry in beacons:
            try:
                self._list(entry)
            except (ValueError, TypeError):
                self.unreadable += 1
        self._resolve: Resolver = resolver(self._keys)

    def __len__(self) -> int:
        by_values = sum(len(values) for masks in self._listed.values() for values in masks.values())
        return by_values + len(self._keys)

    def match(self, beacon: Beacon, at: float) -> Beacon | None:
        """Give ``beacon`` back where it is listed, None where it is not; ``at`` Unix seconds.

        A rotating identity is listed where one of the keys makes it at about that time, and
        travels as it was heard.
        """
        masks = self._listed.get(beacon.format)
        if masks is not None:
            identity = tuple(getattr(beacon, name) for name in IDENTITY[beacon.format])
            for mask, values in masks.items():
                if tuple(identity[place] for place in mask) in values:
                    return beacon
        if self._keys and beacon.eid is not None and self._resolve(beacon.eid, at) is not None:
            return beacon
        return None

    def _list(self, entry: dict[str, Any]) -> None:
        """Add one entry; ValueError or TypeError where it cannot be read."""
        kind = entry.get("format", "ibeacon")
        if kind == "eddystone-eid" and entry.get("identity_key") is not None:
            self._keys.append(msgspec.convert(entry, EidKey))
            return
        names = IDENTITY.get(kind, ())
        if not names or entry.get(names[0]) is None:
            raise ValueError("no format that has a name, or no name")
        mask = tuple(place for place, name in enumerate(names) if entry.get(name) is not None)
        values = tuple(_value(names[place], entry[names[place]]) for place in mask)
        self._listed.setdefault(kind, {}).setdefault(mask, set()).add(values)


def read_configuration(text: bytes) -> Configuration:
    """Read the configuration document.

    Raises GatewayError where it is none, or too long; the text never holds what is in it.
    """
    if len(text) > MAX_BYTES:
        raise GatewayError(f"the configuration is longer than {MAX_BYTES} bytes")
    try:
        return msgspec.json.decode(text, type=Configuration)
    except (ValueError, RecursionError) as error:
        place = error if isinstance(error, msgspec.ValidationError) else "it is no JSON"
        raise GatewayError(f"the configuration cannot be read: {place}") from None


def _value(name: str, value: Any) -> str | int:
    """Read one identity field as decoders write it: bytes in lower case, numbers of 16 bits."""
    if name in NUMBERS:
        if type(value) is not int or not 0 <= value <= 0xFFFF:
            raise ValueError("a number of 0 to 65535")
        return value
    if type(value) is not str:
        raise TypeError("text")
    if name not in DIGITS:
        return value
    digits = bytes.fromhex(value.replace("-", "")).hex()
    if len(digits) != DIGITS[name]:
        raise ValueError("hex of another length")
    if DIGITS[name] == 32:
        return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
    return digits
