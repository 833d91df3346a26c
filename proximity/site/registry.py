"""The question: what is where on a site, and of whom and of which place does a sighting speak.

Values and look-ups: gateways, beacons, places. It must not know levels over time (``arbitration``),
presence or fences; it does no I/O (``sitefile`` reads the file).
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING, Literal

from beacon_gateway.eid import EidKey, Resolver, resolver
from proximity.model import Sighting, digest

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

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

_KEYS: dict[str, Callable[[Beacon], Key]] = {
    "ibeacon": lambda b: ("ibeacon", b.uuid, b.major, b.minor),
    "altbeacon": lambda b: ("altbeacon", b.id1, b.id2, b.id3),
    "eddystone-uid": lambda b: ("eddystone-uid", b.namespace, b.instance),
    "eddystone-eid": lambda b: ("eddystone-eid", b.eid),
    "eddystone-url": lambda b: ("eddystone-url", b.url),
}
"""What ID_FIELDS says, as quick as it can be asked: it is, of every sighting."""
# The longest name that may stand in a URL.
LONGEST_NAME = 128
# Looking for the nearest name takes long where there are many; a few hints will do.
HINTS = 10


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
    in the venue's own plan. One that is known to be ``dead`` is not expected to hear anything.
    """

    id: str
    place: str
    offset_db: float = 0.0
    lon: float | None = None
    lat: float | None = None
    x_m: float | None = None
    y_m: float | None = None
    floor: float | None = None
    dead: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolled:
    """A beacon, or all that share the given ids: carried by ``subject`` or fixed in ``place``.

    ``gateways`` are those whose hearing counts, all where it is empty. ``eid`` is what makes the
    identities of one that changes them; its ``key`` then names the first of them. ``line`` is where
    it stands in the site's list, for problems.
    """

    key: Key
    subject: str | None = None
    place: str | None = None
    id: str | None = None
    gateways: tuple[str, ...] = ()
    eid: EidKey | None = None
    line: int | None = field(default=None, compare=False, repr=False)

    @property
    def name(self) -> str:
        """What it is listed and edited by: its own ``id``, else its identity in one line."""
        return self.id or name_of(self.key)

    def bound(self, gateway: str) -> bool:
        """Whether what this gateway hears of it counts."""
        return not self.gateways or gateway in self.gateways


def name_of(key: Key) -> str:
    """Give the name of a beacon that was given none: ids left out within it are a ``*``."""
    parts = list(key)
    while parts[-1] is None:
        parts.pop()
    name = "/".join("*" if part is None else str(part) for part in parts)
    return name if len(name) <= LONGEST_NAME else f"{key[0]}/{digest(name)}"


@dataclass(frozen=True, kw_only=True)
class Site:
    """Places, gateways and enrolled beacons of one site, ready to be asked about sightings.

    ``fences`` is the fence file as written, ``listed`` the list of beacons, ``timezone`` an IANA
    name, ``name`` the file's name for problems, ``named`` every place that it speaks of, parents
    included. ``first_inside`` says what a subject's first fix of all is that lies in a place: an
    ``enter``, or a visit of which nothing is told (``quiet``), since nobody saw it begin.
    """

    name: str = "site"
    fences: str | None = None
    listed: str | None = None
    timezone: str | None = None
    first_inside: Literal["enter", "quiet"] = "enter"
    places: dict[str, Place] = field(default_factory=dict)
    gateways: dict[str, Gateway] = field(default_factory=dict)
    beacons: tuple[Enrolled, ...] = ()
    named: frozenset[str] = field(init=False, repr=False, compare=False)
    _by_key: dict[Key, Enrolled] = field(init=False, repr=False, compare=False)
    _patterns: bool = field(init=False, repr=False, compare=False)
    _rotating: tuple[Enrolled, ...] = field(init=False, repr=False, compare=False)
    _resolve: Resolver = field(init=False, repr=False, compare=False)
    _receivers: dict[str, int] = field(init=False, repr=False, compare=False)
    competing: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        receivers: dict[str, int] = {}
        for gateway in self.gateways.values():
            receivers[gateway.place] = receivers.get(gateway.place, 0) + (not gateway.dead)
        spoken_of = {*self.places, *receivers, *(place.parent for place in self.places.values())}
        spoken_of.update(beacon.place for beacon in self.beacons)
        object.__setattr__(self, "named", frozenset(spoken_of - {None}))
        object.__setattr__(self, "_by_key", {one.key: one for one in self.beacons})
        object.__setattr__(self, "_patterns", any(None in one.key for one in self.beacons))
        rotating = [(one, one.eid) for one in self.beacons if one.eid is not None]
        object.__setattr__(self, "_rotating", tuple(one for one, _ in rotating))
        object.__setattr__(self, "_resolve", resolver([eid for _, eid in rotating]))
        object.__setattr__(self, "_receivers", receivers)
        competing = sum(self.near_dbm(place, None) is None for place in receivers)
        object.__setattr__(self, "competing", competing)

    def who(self, sighting: Sighting) -> tuple[str, str] | None:
        """Tell the subject and the place that a sighting speaks for; None where for nobody.

        A gateway that hears a carried beacon speaks for the beacon's subject and its own place, a
        phone that hears a fixed beacon for itself and the beacon's place.
        """
        enrolled = self.enrolled(sighting.beacon, sighting.at)
        if enrolled is None:
            return None
        if sighting.gateway is not None:
            gateway = self.gateways.get(sighting.gateway)
            if gateway is None or enrolled.subject is None or not enrolled.bound(gateway.id):
                return None
            return enrolled.subject, gateway.place
        if sighting.subject is None or enrolled.place is None:
            return None
        return sighting.subject, enrolled.place

    def elsewhere(self, sighting: Sighting) -> bool:
        """Whether a carried beacon was heard by a gateway of the site that it is not bound to."""
        if sighting.gateway not in self.gateways:
            return False
        enrolled = self.enrolled(sighting.beacon, sighting.at)
        return enrolled is not None and not enrolled.bound(sighting.gateway)

    def enrolled(self, beacon: Beacon, at: float | None = None) -> Enrolled | None:
        """Find the entry for a beacon, the one that names most of its ids; None where unlisted.

        ``at`` (Unix seconds) is when it was heard, without which an identity that changes names
        nobody.
        """
        key_of = _KEYS.get(beacon.format)
        if key_of is None:
            return None
        key = key_of(beacon)
        found = self._by_key.get(key)
        if found is None and self._patterns:
            form, first, *rest = key
            # From the narrowest pattern to the widest: each further id is named or left open.
            for ids in product(*((value, None) for value in rest)):
                if found := self._by_key.get((form, first, *ids)):
                    break
        if found is not None and found.eid is not None:
            found = None  # its first identity is on the air for one period in its life
        if found is None and self._rotating and beacon.eid is not None and at is not None:
            number = self._resolve(beacon.eid, at)
            found = None if number is None else self._rotating[number]
        return found

    def rotating(self, sighting: Sighting) -> str | None:
        """Name the enrolment of a beacon whose identities change; None for any other."""
        if sighting.beacon.eid is None or not self._rotating:
            return None
        enrolled = self.enrolled(sighting.beacon, sighting.at)
        return None if enrolled is None else enrolled.name

    @cached_property
    def by_name(self) -> dict[str, Enrolled]:
        """The beacons by the name that they are listed and edited by."""
        return {one.name: one for one in self.beacons}

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
        """Count the gateways of a place that may hear something."""
        return self._receivers.get(place, 0)

    def check(
        self,
        fence_ids: Collection[str],
        asked: Iterable[tuple[str, Gateway | Enrolled]] | None = None,
    ) -> list[str]:
        """List each gateway and beacon that names a place or a gateway which is not there.

        A place is a ``[[place]]`` or a fence. A parent needs no table of its own: it is there by
        being named. ``asked`` are all, or only those that are to be checked, each with what leads
        its problems.
        """
        places = {*self.places, *fence_ids}
        problems: list[str] = []
        for where, one in self._written() if asked is None else asked:
            if one.place is not None and one.place not in places:
                hint = _nearest(one.place, places) if len(problems) < HINTS else ""
                problems.append(
                    f"{where}: place {one.place!r} is neither a fence nor a [[place]]: "
                    f"add it or mend the name{hint}"
                )
            for gateway in () if isinstance(one, Gateway) else one.gateways:
                if gateway not in self.gateways:
                    hint = _nearest(gateway, self.gateways) if len(problems) < HINTS else ""
                    problems.append(
                        f"{where}: gateways: {gateway!r} is no [[gateway]]: "
                        f"add it or mend the name{hint}"
                    )
        return problems

    def _written(self) -> Iterator[tuple[str, Gateway | Enrolled]]:
        """Give each gateway and beacon with where it is written."""
        for gateway in self.gateways.values():
            yield f"{self.name}: [[gateway]] {gateway.id!r}", gateway
        for beacon in self.beacons:
            if beacon.line is None:
                yield f"{self.name}: [[beacon]] {beacon.id or spell(beacon.key)}", beacon
            else:
                yield f"{self.listed}: line {beacon.line}", beacon


def _nearest(name: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
