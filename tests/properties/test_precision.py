"""Nobody is known more exactly than they agreed to, whatever they said and wherever they are."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import assume, given
from hypothesis import strategies as st
from msgspec.structs import asdict

from geofences.geodesy import metres_between
from proximity.consent.precision import (
    EVERYTHING,
    LOCATION,
    NOTHING,
    Allowed,
    Rung,
    allowed,
    as_agreed,
    blur,
    may_keep,
)
from proximity.model import Beacon, Consent, Event, Fix, Sighting

LETTERS = "0123456789bcdefghjkmnpqrstuvwxyz"
PLACES = {  # to the centimetre: a hair's breadth from an edge either cell is right
    "lon": st.integers(-1_800_000_000, 1_800_000_000).map(lambda n: n / 1e7),
    "lat": st.integers(-900_000_000, 900_000_000).map(lambda n: n / 1e7),
}
FIXES = st.builds(
    Fix,
    subject=st.just("s"),
    at=st.floats(0.0, 1e9),
    **PLACES,
    accuracy_m=st.none() | st.floats(1.0, 1000.0),
    altitude_m=st.none() | st.floats(-100.0, 9000.0),
    floor=st.none() | st.floats(-3.0, 90.0),
    speed_mps=st.none() | st.floats(0.0, 50.0),
    course_deg=st.none() | st.floats(0.0, 360.0),
    motion=st.none() | st.just("still"),
    id=st.none() | st.just("i"),
)
SIGHTING = Sighting(
    beacon=Beacon(format="ibeacon", uuid="f7826da6-4fa2-4e98-8024-bc5b71e0893e", major=1, minor=2),
    at=1.0, rssi_dbm=-60.0, subject="s",
)  # fmt: skip
EVENT = Event(subject="s", at=1.0, name="purchase")
CONSENTS = st.lists(
    st.builds(
        Consent,
        purpose=st.sampled_from(["marketing", *LOCATION]),
        since=st.none() | st.sampled_from([1.0, 5.0]),
        until=st.none() | st.sampled_from([3.0, 9.0]),
        precision=st.sampled_from([None, "exact", "geohash-6", "venue"]),
    ),
    max_size=6,
)


def geohash(lon: float, lat: float) -> str:
    """The textbook's way, halving in turn, written down apart from the engine's."""
    west, east, south, north = -180.0, 180.0, -90.0, 90.0
    text, bits = "", 0
    for step in range(30):
        if step % 2 == 0:
            middle = (west + east) / 2
            west, east, bit = (middle, east, 1) if lon >= middle else (west, middle, 0)
        else:
            middle = (south + north) / 2
            south, north, bit = (middle, north, 1) if lat >= middle else (south, middle, 0)
        bits = bits * 2 + bit
        if step % 5 == 4:
            text, bits = text + LETTERS[bits], 0
    return text


def test_the_textbooks_way_gives_the_known_hashes() -> None:
    assert geohash(-5.6, 42.6) == "ezs42e"
    assert geohash(10.40744, 57.64911) == "u4pruy"


@given(FIXES)
def test_a_blurred_fix_tells_its_cell_and_nothing_more(fix: Fix) -> None:
    blurred = blur(fix)
    assert geohash(blurred.lon, blurred.lat) == geohash(fix.lon, fix.lat)
    assert blur(blurred) == blurred
    told = asdict(blurred)
    for name in ("altitude_m", "floor", "speed_mps", "course_deg", "motion"):
        assert told[name] is None
    assert (blurred.subject, blurred.at, blurred.id) == (fix.subject, fix.at, fix.id)
    assert blurred.accuracy_m is not None
    off_m = metres_between(fix.lon, fix.lat, blurred.lon, blurred.lat)
    assert off_m <= blurred.accuracy_m + 1e-3
    assert 1.0 < blurred.accuracy_m < 700.0  # some 1.2 km by 0.6 km at the equator


@given(FIXES, st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_whoever_is_in_the_same_cell_looks_the_same(fix: Fix, east: float, north: float) -> None:
    blurred = blur(fix)
    other = Fix(
        subject="s",
        at=fix.at,
        lon=min(180.0, blurred.lon + (east - 0.5) * 360.0 / 2**15),
        lat=min(90.0, blurred.lat + (north - 0.5) * 180.0 / 2**15),
        id=fix.id,
    )
    assume(geohash(other.lon, other.lat) == geohash(fix.lon, fix.lat))  # the far edge is the next's
    assert blur(other) == blurred


@given(CONSENTS, st.sampled_from([0.0, 2.0, 4.0, 7.0, 10.0]), FIXES)
def test_what_is_kept_is_what_was_agreed_to(consents: list[Consent], at: float, fix: Fix) -> None:
    found = allowed(consents, at)
    spoken = [one for one in consents if one.purpose in LOCATION]
    if not spoken:
        assert found == EVERYTHING
        return
    force = [one for one in spoken if one.holds(at)]
    purposes = {one.purpose for one in force}
    if not force:
        assert found == NOTHING
        assert not may_keep(fix, found)
        assert not may_keep(SIGHTING, found)
    assert may_keep(EVENT, found)
    exact = any(
        one.purpose != "beacon" and one.precision in {None, "exact"} for one in force
    ) and not (
        any(one.purpose == "location-precise" for one in spoken)
        and "location-precise" not in purposes
    )
    if may_keep(fix, found):
        assert as_agreed(fix, found) == (fix if exact else blur(fix))
        assert any(one.purpose != "beacon" and one.precision != "venue" for one in force), (
            "no position of somebody who agreed to beacons alone"
        )
    if may_keep(SIGHTING, found):
        assert force
        assert "beacon" in purposes or all(one.purpose != "beacon" for one in spoken)


@given(CONSENTS, CONSENTS)
def test_a_further_yes_never_lowers_and_a_no_never_raises(
    consents: list[Consent], more: list[Consent]
) -> None:
    at = 2.0
    assume(any(one.purpose in LOCATION for one in consents))
    force = [one for one in more if one.holds(at)]
    before, after = allowed(consents, at), allowed([*consents, *force], at)
    assert after.fixes >= before.fixes
    no = Consent(purpose="location-precise", since=at, until=at)
    assert allowed([*consents, no], at).fixes <= before.fixes


def test_the_ladder() -> None:
    background = Consent(purpose="location-background")
    precise = Consent(purpose="location-precise")
    over = Consent(purpose="location-precise", until=1.0)
    beacon = Consent(purpose="beacon")
    rungs = [
        ([], EVERYTHING),
        ([Consent(purpose="marketing")], EVERYTHING),
        ([background, precise], EVERYTHING),
        ([background], EVERYTHING),
        ([background, over], Allowed(Rung.CELL, sightings=True)),
        ([background, over, precise], EVERYTHING),
        ([beacon], Allowed(Rung.VENUE, sightings=True)),
        ([Consent(purpose="location-background", precision="venue")], Allowed(Rung.VENUE, True)),
        ([Consent(purpose="location-precise", precision="geohash-6")], Allowed(Rung.CELL, True)),
        ([over], NOTHING),
        ([background, Consent(purpose="beacon", until=1.0)], Allowed(Rung.EXACT, sightings=False)),
    ]
    for consents, expected in rungs:
        assert allowed(consents, 2.0) == expected, consents
    ordered = [NOTHING.fixes, Rung.VENUE, Rung.CELL, EVERYTHING.fixes]
    assert all(low < high for low, high in pairwise(ordered))
