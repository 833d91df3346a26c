"""The question: what is where on a site, and of whom and of which place does a sighting speak.

Values and look-ups: gateways, beacons, places. It must not know levels over time (``arbitration``),
presence or fences; it does no I/O (``sitefile`` reads the file).
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Literal

from proximity.model import Sighting

if TYPE_CHECKING:
    from collections.abc import Collection

    from beacon_gateway.model import Beacon

# Without being heard in a place for this long, seconds, its visitor has left (contract 5).
EXIT_AFTER_S = 30.0
# A fixed beacon's place without `near_dbm` reaches this far below its level at 1 m (contract 5).
NEAR_BELOW_POWER_DB = 15.0
# The level at 1 m of a beacon that tells none, or tells one that cannot be (0 or more): the usual
# calibration of the trade.
USUAL_POWER_DBM = -59.0

Key = tuple[str | int | None, ...]
"""A beacon's format and id fields, None where any value will do."""

ID_FIELDS: dict[str, tuple[str, ...]] = {
    "ibeacon": ("uuid", "major", "minor"),
    "altbeacon": ("id1", "id2", "id3"),
    "eddystone-uid": ("namespace", "instance"),
    "eddystone-eid": ("eid",),
    "eddystone-url": ("url",),
}
"""The id fields of each format that can be enrolled: the first is needed, the others narrow."""


def spell(key: Key) -> str:
    """Write a beacon's identity, or a pattern of it, in one line."""
    return "/".join(str(part) for part in key if part is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A place that the site names: a zone, or what a fence does not say of itself.

    ``exit_after_s`` and ``dwell_s`` seconds, ``near_dbm`` the calibrated level in dBm above which
    a beacon is in the place.
    """

    id: str
    parent: str | None = None
    exit_after_s: float | None = None
    near_dbm: float | None = None
    dwell_s: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """A fixed receiver: what it hears loudest is in ``place``.

    ``offset_db`` is added to every RSSI; ``lon`` and ``lat`` degrees, ``x_m`` and ``y_m`` metres
    in the venue's own plan.
    """

    id: str
    place: str
    offset_db: float = 0.0
    lon: float | None = None
    lat: float | None = None
    x_m: float | None = None
    y_m: float | None = None
    floor: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolled:
    """A beacon, or all that share the given ids: carried by ``subject`` or fixed in ``place``."""

    key: Key
    subject: str | None = None
    place: str | None = None


@dataclass(frozen=True, kw_only=True)
class Site:
    """Places, gateways and enrolled beacons of one site, ready to be asked about sightings.

    ``fences`` is the fence file as written, ``timezone`` an IANA name, ``name`` the file's name
    for problems, ``named`` every place that it speaks of, parents included. ``first_inside`` says
    what a subject's first fix of all is that lies in a place: an ``enter``, or a visit of which
    nothing is told (``quiet``), since nobody saw it begin.
    """

    name: str = "site"
    fences: str | None = None
    timezone: str | None = None
    first_inside: Literal["enter", "quiet"] = "enter"
    places: dict[str, Place] = field(default_factory=dict)
    gateways: dict[str, Gateway] = field(default_factory=dict)
    beacons: tuple[Enrolled, ...] = ()
    named: frozenset[str] = field(init=False, repr=False, compare=False)
    _by_key: dict[Key, Enrolled] = field(init=False, repr=False, compare=False)
    _receivers: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        receivers: dict[str, int] = {}
        for gateway in self.gateways.values():
            receivers[gateway.place] = receivers.get(gateway.place, 0) + 1
        spoken_of = {*self.places, *receivers, *(place.parent for place in self.places.values())}
        spoken_of.update(beacon.place for beacon in self.beacons)
        object.__setattr__(self, "named", frozenset(spoken_of - {None}))
        object.__setattr__(self, "_by_key", {one.key: one for one in self.beacons})
        object.__setattr__(self, "_receivers", receivers)

    def who(self, sighting: Sighting) -> tuple[str, str] | None:
        """Tell the subject and the place that a sighting speaks for; None where for nobody.

        A gateway that hears a carried beacon speaks for the beacon's subject and its own place, a
        phone that hears a fixed beacon for itself and the beacon's place.
        """
        enrolled = self.enrolled(sighting.beacon)
        if enrolled is None:
            return None
        if sighting.gateway is not None:
            gateway = self.gateways.get(sighting.gateway)
            if gateway is None or enrolled.subject is None:
                return None
            return enrolled.subject, gateway.place
        if sighting.subject is None or enrolled.place is None:
            return None
        return sighting.subject, enrolled.place

    def enrolled(self, beacon: Beacon) -> Enrolled | None:
        """Find the entry for a beacon, the one that names most of its ids; None where unlisted."""
        names = ID_FIELDS.get(beacon.format)
        if names is None:
            return None
        first, *rest = (getattr(beacon, name) for name in names)
        # From the narrowest pattern to the widest: each further id is named or left open.
        for ids in product(*((value, None) for value in rest)):
            if enrolled := self._by_key.get((beacon.format, first, *ids)):
                return enrolled
        return None

    def level_dbm(self, sighting: Sighting) -> float:
        """Give a sighting's RSSI in dBm, corrected by its gateway's ``offset_db``."""
        gateway = self.gateways.get(sighting.gateway) if sighting.gateway is not None else None
        return sighting.rssi_dbm + (gateway.offset_db if gateway is not None else 0.0)

    def exit_after_s(self, place: str) -> float:
        """Give the seconds without being heard after which a place is left."""
        known = self.places.get(place)
        if known is None or known.exit_after_s is None:
            return EXIT_AFTER_S
        return known.exit_after_s

    def near_dbm(self, place: str, beacon: Beacon | None) -> float | None:
        """Give the level in dBm above which a beacon is in a place.

        ``beacon`` is the fixed beacon that a phone heard, None for a carried one. None is given
        where places compete instead: for a carried beacon and a place without ``near_dbm``.
        """
        known = self.places.get(place)
        if known is not None and known.near_dbm is not None:
            return known.near_dbm
        if beacon is None:
            return None
        power = beacon.power_dbm
        at_1_m = float(power) if power is not None and power < 0 else USUAL_POWER_DBM
        return at_1_m - NEAR_BELOW_POWER_DB

    def receivers(self, place: str) -> int:
        """Count the gateways of a place."""
        return self._receivers.get(place, 0)

    def check(self, fence_ids: Collection[str]) -> list[str]:
        """List each gateway and beacon whose place is neither a ``[[place]]`` nor a fence.

        A parent needs no table of its own: it is there by being named.
        """
        known = {*self.places, *fence_ids}
        asked: list[tuple[str, str | None]] = [
            (f"[[gateway]] {g.id!r}: place", g.place) for g in self.gateways.values()
        ]
        asked += [(f"[[beacon]] {spell(b.key)}: place", b.place) for b in self.beacons]
        problems: list[str] = []
        for where, place in asked:
            if place is None or place in known:
                continue
            # Looking for the nearest name takes long where there are many; a few hints will do.
            near = difflib.get_close_matches(place, known, n=1) if len(problems) < 10 else []
            hint = f"; did you mean {near[0]!r}?" if near else ""
            problems.append(
                f"{self.name}: {where} {place!r} is neither a fence nor a [[place]]: "
                f"add it or mend the name{hint}"
            )
        return problems
