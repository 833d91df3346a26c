"""A tag, a fixed beacon and a site of two places: what tests of ranging and of sites share."""

from __future__ import annotations

from beacon_gateway.model import Beacon, Sighting
from proximity.engine.arbitration import Ranging
from proximity.model import Observation
from proximity.site.registry import Enrolled, Gateway, Key, Place, Site

NOW = 1767225600.0
UUID = "f7826da6-4fa2-4e98-8024-bc5b71e0893e"
TAG = Beacon(format="ibeacon", uuid=UUID, major=1, minor=7, power_dbm=-59)
SHELF = Beacon(format="ibeacon", uuid=UUID, major=2, minor=1, power_dbm=-59)
TAG_KEY: Key = ("ibeacon", UUID, 1, 7)
SHELF_KEY: Key = ("ibeacon", UUID, 2, 1)


def make_site(*places: Place, offset_db: float = 0.0, shelf: str = "shoes") -> Site:
    """Two places of two gateways each, a tag and a fixed beacon."""
    gateways = [
        Gateway(id="a1", place="a", offset_db=offset_db),
        Gateway(id="a2", place="a"),
        Gateway(id="b1", place="b"),
        Gateway(id="b2", place="b"),
    ]
    return Site(
        places={place.id: place for place in places},
        gateways={gateway.id: gateway for gateway in gateways},
        beacons=(
            Enrolled(key=TAG_KEY, subject="member"),
            Enrolled(key=SHELF_KEY, place=shelf),
        ),
    )


class Walk:
    """Sightings of one tag, or by one phone, told to one ``Ranging`` in order of time."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.ranging = Ranging()
        self.at = NOW
        self.said: list[Observation] = []

    def hear(self, rssi_dbm: float, gateway: str, beacon: Beacon = TAG) -> list[Observation]:
        sighting = Sighting(beacon=beacon, at=self.at, rssi_dbm=rssi_dbm, gateway=gateway)
        return self._tell(sighting)

    def notice(self, rssi_dbm: float, beacon: Beacon = SHELF) -> list[Observation]:
        return self._tell(Sighting(beacon=beacon, at=self.at, rssi_dbm=rssi_dbm, subject="phone"))

    def _tell(self, sighting: Sighting) -> list[Observation]:
        whose = self.site.who(sighting)
        assert whose is not None
        said = self.ranging.hear(self.site, sighting, *whose)
        self.said += said
        return said

    def stay(self, seconds: float, every_s: float = 0.5, **levels: float) -> list[Observation]:
        """Hear the tag for some seconds at these levels by gateway."""
        said = []
        for _ in range(round(seconds / every_s)):
            for gateway, level in levels.items():
                said += self.hear(level, gateway)
            self.at += every_s
        return said

    def changes(self) -> list[tuple[str, str, str]]:
        """Tell what was said when a place was entered or left, without the refreshes."""
        return [
            (o.says, o.place, o.because["rule"])
            for o in self.said
            if o.says != "nothing" and o.because["rule"] != "held"
        ]
