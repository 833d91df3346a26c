"""The question: do phones hear one fixed beacon in places too far apart.

Then more than one radio says it: a factory setting, or a copy. It raises alarms and decides
nothing, so that the order of records changes no visit. Plain values; nobody is named in them. It
must not know presence or places, and does no I/O.
"""

from __future__ import annotations

import msgspec

from proximity.engine.suspects import REACH_M, Alarm, metres
from proximity.model import Sighting
from proximity.site.registry import USUAL_POWER_DBM, spell

# Loud is within two metres: 6 dB under the level at 1 m.
LOUD_BELOW_POWER_DB = 6.0
# Where a phone is must be known: by a fix of at most this age and 68 % radius, as a walker has it.
FRESH_FIX_S = 60.0
SPOT_M = 100.0
# A spot counts at most once a minute and from three on, so that one stray position is no alarm.
SPOT_EVERY_S = 60.0
SPOTS_HEARD = 3
# Two spots of one beacon, with what either position and the radio may be off, lie within this.
APART_M = 2.0 * (SPOT_M + REACH_M)
# What is remembered; the identities that were silent longest go first, and the oldest spots.
MOST_SPOTS = 8
MOST_IDENTITIES = 4096
SHARED = "phones hear it loud at places too far apart: more than one radio says it"


class Spot(msgspec.Struct, array_like=True, gc=False):
    """Where phones heard an identity loud: degrees rounded to some 100 m; nobody is named.

    ``heard`` in so many minutes, first at ``since``, last at ``at`` (Unix seconds).
    """

    lon: float
    lat: float
    since: float
    at: float
    heard: int = 1


class Sharing(msgspec.Struct):
    """Where each fixed identity was heard loud by phones whose position is known."""

    spots: dict[str, list[Spot]] = {}

    def note(
        self, sighting: Sighting, lon: float, lat: float, fixed_at: float, accuracy_m: float | None
    ) -> None:
        """Take a phone's sighting and its newest fix (degrees, Unix seconds, metres)."""
        if sighting.gateway is not None or abs(sighting.at - fixed_at) > FRESH_FIX_S:
            return
        if accuracy_m is None or accuracy_m > SPOT_M:
            return
        power_dbm = sighting.beacon.power_dbm
        at_1_m = power_dbm if power_dbm is not None and power_dbm < 0 else USUAL_POWER_DBM
        if sighting.rssi_dbm < at_1_m - LOUD_BELOW_POWER_DB:
            return
        identity = spell(sighting.beacon.identity)
        spots = self.spots.pop(identity, [])
        self.spots[identity] = spots
        if len(self.spots) > MOST_IDENTITIES:
            del self.spots[next(iter(self.spots))]
        lon, lat = round(lon, 3), round(lat, 3)
        for spot in spots:
            if metres(lon, lat, spot.lon, spot.lat) <= SPOT_M + REACH_M:
                if sighting.at - spot.at >= SPOT_EVERY_S:
                    spot.heard += 1
                    spot.at = sighting.at
                return
        spots.append(Spot(lon, lat, sighting.at, sighting.at))
        if len(spots) > MOST_SPOTS:
            spots.remove(min(spots, key=lambda spot: spot.at))

    def alarms(self) -> list[Alarm]:
        """List the identities that are heard loud at places too far apart."""
        found: list[Alarm] = []
        for identity, spots in self.spots.items():
            sure = [spot for spot in spots if spot.heard >= SPOTS_HEARD]
            apart_m = max(
                (metres(a.lon, a.lat, b.lon, b.lat) for a in sure for b in sure), default=0.0
            )
            if apart_m > APART_M:
                found.append(
                    Alarm(
                        identity=identity,
                        reason="shared",
                        since=max(spot.since for spot in sure),
                        last=max(spot.at for spot in sure),
                        because={"why": SHARED, "spots": len(sure), "metres": round(apart_m)},
                    )
                )
        return found
