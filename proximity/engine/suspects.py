"""The question: can what is heard under one identity come from one beacon, in one place at a time?

What identities tell is easily copied. Here a copy is caught by what one radio cannot do: be in two
stores at once, travel faster than anything on the ground, change its calibrated power, or become
louder at every receiver in one instant. Plain values and rules; it must not know presence, ranging
or fences, and does no I/O.

One call, ``judge``, for each sighting in the order of ``at``, before anything is made of it: a
reason means that the sighting says nothing. What travels is the beacon where a fixed gateway hears
it, and the phone where the beacons are fixed.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import msgspec

from proximity.model import Sighting
from proximity.phones.covering import Circle
from proximity.site.registry import spell

# Faster than any road or ordinary train (180 km/h): a visitor is in no other store sooner.
FASTEST_MPS = 50.0
# How far off a beacon may be heard, outdoors and in sight, metres; once at either end.
REACH_M = 75.0
# By how much the clocks of two receivers may differ after the server has dated their records.
CLOCKS_S = 5.0
# Places at least so far apart in time are told as travel, nearer ones as two at once: a word only.
AT_ONCE_S = 10.0
# The calibrated power is a constant of a beacon's set-up. Some correct theirs by a step or two with
# the temperature; a copy by another radio, or another set-up, is farther off.
POWER_DB = 3
# Bodies and bags change a level by 15 dB, and turning round by 26 at one receiver while another
# gains. 20 dB more at each of three receivers and within seconds is a stronger radio.
JUMP_DB = 20.0
JUMP_RECEIVERS = 3
JUMP_WITHIN_S = 5.0
# A receiver's usual level is known after so many readings, and follows over so many seconds.
USUAL_AFTER = 10
USUAL_OVER_S = 30.0
# An identity counts again once it has behaved for so long: a copy that was carried away, a beacon
# that somebody configured anew.
CLEAR_AFTER_S = 900.0
# What one subject may make the engine remember; what was silent longest goes first.
MOST_WATCHED = 64
MOST_RECEIVERS = 16

#: What a phone's own travels are watched under: no identity is empty.
ITSELF = ""

REASONS = {
    "two sites": "heard in places too far apart at once",
    "impossible travel": "heard in places farther apart than anyone travels in that time",
    "power": "its calibrated power changed",
    "level": "louder at every receiver in one instant",
}
"""Why an identity is quarantined, in the words that alarms use."""


class Whereabouts(NamedTuple):
    """Where a sighting puts what travels: the place, its topmost parent, and a circle round it.

    ``circle`` is that of the gateway or of the fence that draws the place, None where neither says
    where it is.
    """

    place: str
    root: str
    circle: Circle | None = None


class Seen(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """When and where something was noticed: Unix seconds, degrees, metres."""

    at: float
    root: str
    lon: float
    lat: float
    radius_m: float


class Usual(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The usual level at one receiver, dBm, after ``heard`` readings, and when it last jumped."""

    dbm: float
    at: float
    heard: int = 1
    jumped_at: float = -math.inf


class Watch(msgspec.Struct, array_like=True, gc=False):
    """What is remembered of one identity, or of a phone: plain, so that it can be packed.

    ``seen`` is where the map last had it, ``usual`` its levels by gateway, the longest silent
    first. ``reason`` is empty where nothing is wrong; else it has been since ``since`` and last was
    at ``last`` (Unix seconds).
    """

    power_dbm: int | None = None
    seen: Seen | None = None
    usual: dict[str, Usual] = {}
    reason: str = ""
    since: float = -math.inf
    last: float = -math.inf
    because: dict[str, Any] = {}

    def copy(self) -> Watch:
        """Give an independent copy."""
        return msgspec.structs.replace(self, usual=dict(self.usual))


class Alarm(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An identity that does not count, for operators: whose, why, since when, by what evidence.

    Times are Unix seconds; ``last`` is when it last misbehaved.
    """

    identity: str
    reason: str
    since: float
    last: float
    subject: str | None = None
    because: dict[str, Any] = {}


Watched = dict[str, Watch]
"""What one subject's beacons, or a phone and the beacons that it hears, are remembered by."""


def judge(
    watched: Watched, sighting: Sighting, where: Whereabouts, identity: str | None = None
) -> str | None:
    """Take one measured sighting; give why its identity does not count, None where it does.

    Changes ``watched``. Sightings come in the order of ``at``. ``identity`` names a beacon whose
    identities change, else it is what the sighting says.
    """
    at, beacon = sighting.at, sighting.beacon
    if identity is None:
        identity = spell(beacon.identity)
    watch = _watch(watched, identity)
    found = _power(watch, beacon.power_dbm)
    if sighting.gateway is not None:
        found = found or _places(watch, where, at)
        jumped = _level(watch, sighting.gateway, sighting.rssi_dbm, at)
        found = found or jumped
        reason = _settle(watch, found, at)
    else:
        reason = _settle(watch, found, at)
        # A phone that was in one store hears a beacon of another: one of them is a copy.
        phone = _watch(watched, ITSELF)
        found = _places(phone, where, at)
        if found is not None:
            found[1]["identity"] = identity
        reason = _settle(phone, found, at) or reason
    while len(watched) > MOST_WATCHED:
        del watched[next(iter(watched))]
    return reason


def copied(watched: Watched) -> Watched:
    """Give an independent copy."""
    return {name: watch.copy() for name, watch in watched.items()}


def alarms(subject: str, watched: Watched, now: float) -> list[Alarm]:
    """List the identities of one subject that do not count at Unix second ``now``.

    Where a phone's own travels are the trouble, the identity is the one that was out of place.
    """
    return [
        Alarm(
            identity=name or watch.because["identity"],
            reason=watch.reason,
            since=watch.since,
            last=watch.last,
            subject=subject,
            because={"why": REASONS[watch.reason], **watch.because},
        )
        for name, watch in watched.items()
        if watch.reason and now - watch.last < CLEAR_AFTER_S
    ]


def suspect(watched: Watched) -> bool:
    """Whether anything in it does not count, or did until lately."""
    return any(watch.reason for watch in watched.values())


_Found = tuple[str, dict[str, Any]] | None


def _watch(watched: Watched, name: str) -> Watch:
    """Give what is remembered under a name, moved to the end: the longest silent stand first."""
    watch = watched.pop(name, None)
    if watch is None:
        watch = Watch()
    watched[name] = watch
    return watch


def _settle(watch: Watch, found: _Found, at: float) -> str | None:
    """Enter what was found; give the reason that is in force."""
    if found is not None:
        if not watch.reason:
            watch.since = at
        # The first reason stays: what follows from it (a clone's levels, say) is less telling.
        watch.reason, watch.because = watch.reason or found[0], watch.because or found[1]
        watch.last = at
    elif watch.reason and at - watch.last >= CLEAR_AFTER_S:
        watch.reason, watch.because, watch.since, watch.last = "", {}, -math.inf, -math.inf
    return watch.reason or None


def _power(watch: Watch, power_dbm: int | None) -> _Found:
    """Compare the calibrated power with the one heard before; each change starts time anew."""
    before = watch.power_dbm
    if power_dbm is None:
        return None
    watch.power_dbm = power_dbm
    if before is None or abs(power_dbm - before) < POWER_DB:
        return None
    return "power", {"power_dbm": power_dbm, "before_dbm": before}


def _places(watch: Watch, where: Whereabouts, at: float) -> _Found:
    """Compare where something is with where the map last had it.

    Where the map has neither the gateway nor a fence round it, nothing is said: two stores may
    adjoin, and their receivers then hear each other's visitors as loud as their own.
    """
    if where.circle is None:
        return None
    there, watch.seen = watch.seen, Seen(at, where.root, *where.circle)
    return None if there is None else _travel(watch.seen, there)


def _travel(here: Seen, there: Seen) -> _Found:
    """Whether nobody comes from there to here in that time."""
    if (here.lon, here.lat) == (there.lon, there.lat):
        return None
    between_m = metres(here.lon, here.lat, there.lon, there.lat)
    between_m -= here.radius_m + there.radius_m + 2.0 * REACH_M
    passed_s = here.at - there.at
    if between_m <= FASTEST_MPS * (passed_s + CLOCKS_S):
        return None
    at_once = passed_s <= AT_ONCE_S and here.root != there.root
    return "two sites" if at_once else "impossible travel", {
        "site": here.root,
        "other_site": there.root,
        "metres": round(between_m),
        "seconds": round(passed_s, 3),
    }


def _level(watch: Watch, gateway: str, rssi_dbm: float, at: float) -> _Found:
    """Follow the usual level of each receiver; find a jump of all that hear it at once."""
    usual = watch.usual.pop(gateway, None)
    if usual is None or at - usual.at > CLEAR_AFTER_S:
        watch.usual[gateway] = Usual(rssi_dbm, at)
        if len(watch.usual) > MOST_RECEIVERS:
            del watch.usual[next(iter(watch.usual))]
        return None
    heard = usual.heard + 1
    jumped = usual.heard >= USUAL_AFTER and rssi_dbm - usual.dbm >= JUMP_DB
    share = max(1.0 / heard, min(1.0, (at - usual.at) / USUAL_OVER_S))
    dbm = usual.dbm + share * (rssi_dbm - usual.dbm)
    watch.usual[gateway] = Usual(dbm, at, heard, at if jumped else usual.jumped_at)
    if not jumped:
        return None
    fresh = [one for one in watch.usual.values() if at - one.at <= JUMP_WITHIN_S]
    risen = [one for one in fresh if at - one.jumped_at <= JUMP_WITHIN_S]
    if len(risen) < max(JUMP_RECEIVERS, len(fresh)):
        return None
    return "level", {"receivers": len(risen), "jump_db": round(rssi_dbm - usual.dbm, 1)}


def metres(lon0: float, lat0: float, lon1: float, lat1: float) -> float:
    """Give the great-circle distance between two points in degrees (haversine on the mean sphere).

    Its error, half a per cent at most, is no matter beside REACH_M and the speeds.
    """
    phi0, phi1 = math.radians(lat0), math.radians(lat1)
    half = math.sin((phi1 - phi0) / 2.0) ** 2
    half += math.cos(phi0) * math.cos(phi1) * math.sin(math.radians(lon1 - lon0) / 2.0) ** 2
    return 2.0 * 6_371_000.0 * math.asin(min(1.0, math.sqrt(half)))
