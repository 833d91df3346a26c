"""Whose sighting is whose place, and what a site says of its places."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from beacon_gateway.eid import EidKey, identity_at, name
from beacon_gateway.model import Beacon, Sighting
from proximity.site.registry import Enrolled, Gateway, Key, Place, Site, spell
from tests.proximity.tagged import NOW, SHELF, TAG, UUID, make_site


def test_a_gateway_speaks_for_who_carries_the_tag_and_for_its_own_place() -> None:
    site = make_site()
    assert site.who(Sighting(beacon=TAG, at=NOW, rssi_dbm=-60, gateway="b2")) == ("member", "b")


def test_a_phone_speaks_for_itself_and_for_the_beacons_place() -> None:
    site = make_site()
    sighting = Sighting(beacon=SHELF, at=NOW, rssi_dbm=-60, subject="phone")
    assert site.who(sighting) == ("phone", "shoes")


@pytest.mark.parametrize(
    "sighting",
    [
        Sighting(beacon=TAG, at=NOW, rssi_dbm=-60, gateway="unknown"),
        Sighting(beacon=SHELF, at=NOW, rssi_dbm=-60, gateway="a1"),
        Sighting(beacon=TAG, at=NOW, rssi_dbm=-60, subject="phone"),
        Sighting(beacon=msgspec.structs.replace(TAG, minor=8), at=NOW, rssi_dbm=-60, gateway="a1"),
        Sighting(beacon=Beacon(format="ibeacon"), at=NOW, rssi_dbm=-60, gateway="a1"),
        Sighting(beacon=Beacon(format="eddystone-tlm"), at=NOW, rssi_dbm=-60, gateway="a1"),
    ],
    ids=["unknown gateway", "fixed by gateway", "carried by phone", "unlisted", "no ids", "tlm"],
)
def test_what_speaks_for_nobody(sighting: Sighting) -> None:
    assert make_site().who(sighting) is None


def test_a_carried_beacon_may_be_bound_to_some_of_the_gateways() -> None:
    site = make_site()
    tag, shelf = site.beacons
    bound = replace(site, beacons=(replace(tag, gateways=("a1", "a2")), shelf))
    for gateway, who, elsewhere in (
        ("a1", ("member", "a"), False), ("b1", None, True), ("unknown", None, False),
    ):  # fmt: skip
        sighting = Sighting(beacon=TAG, at=NOW, rssi_dbm=-60, gateway=gateway)
        assert (bound.who(sighting), bound.elsewhere(sighting)) == (who, elsewhere)
        assert not site.elsewhere(sighting)
    stranger = msgspec.structs.replace(TAG, minor=8)
    assert not bound.elsewhere(Sighting(beacon=stranger, at=NOW, rssi_dbm=-60, gateway="b1"))


def test_a_rotating_beacon_is_known_by_the_identity_of_its_time() -> None:
    key = EidKey(identity_key="00112233445566778899aabbccddeeff", exponent=10, epoch=NOW)
    first = name(key)
    card = Enrolled(key=("eddystone-eid", first), subject="member", eid=key)
    site = Site(beacons=(card,))
    later_s = 5 * 2.0**10
    later = Beacon(format="eddystone-eid", eid=identity_at(key, NOW + later_s))
    assert site.enrolled(later, NOW + later_s + 1.0) is card
    assert site.enrolled(later, NOW + 86400.0) is None
    assert site.enrolled(later) is None
    # The identity that it is listed by is on the air in its own time alone.
    listed = Beacon(format="eddystone-eid", eid=first)
    assert site.enrolled(listed, NOW + 1.0) is card
    assert site.enrolled(listed, NOW + 86400.0) is None


def test_an_empty_site_knows_nobody() -> None:
    assert Site().who(Sighting(beacon=TAG, at=NOW, rssi_dbm=-60, gateway="a1")) is None


def test_the_entry_that_names_most_wins() -> None:
    keys: list[Key] = [
        ("ibeacon", UUID, None, None),
        ("ibeacon", UUID, None, 7),
        ("ibeacon", UUID, 1, None),
        ("ibeacon", UUID, 1, 7),
    ]

    def found(major: int, minor: int, among: list[Key]) -> str | None:
        site = Site(beacons=tuple(Enrolled(key=key, subject=spell(key)) for key in among))
        enrolled = site.enrolled(Beacon(format="ibeacon", uuid=UUID, major=major, minor=minor))
        return enrolled.subject if enrolled is not None else None

    assert found(1, 7, keys) == f"ibeacon/{UUID}/1/7"
    assert found(1, 7, keys[:3]) == f"ibeacon/{UUID}/1"  # the major tells more than the minor
    assert found(1, 7, keys[:2]) == f"ibeacon/{UUID}/7"
    assert found(2, 7, keys) == f"ibeacon/{UUID}/7"
    assert found(1, 8, keys) == f"ibeacon/{UUID}/1"
    assert found(2, 8, keys) == f"ibeacon/{UUID}"
    assert found(2, 8, keys[1:]) is None


@pytest.mark.parametrize(
    ("beacon", "key"),
    [
        (
            Beacon(format="altbeacon", id1=UUID, id2=0, id3=2, power_dbm=-59),
            ("altbeacon", UUID, 0, 2),
        ),
        (
            Beacon(format="eddystone-uid", namespace="ab" * 10, instance="cd" * 6),
            ("eddystone-uid", "ab" * 10, None),
        ),
        (Beacon(format="eddystone-eid", eid="ef" * 8), ("eddystone-eid", "ef" * 8)),
        (Beacon(format="eddystone-url", url="https://a.com"), ("eddystone-url", "https://a.com")),
    ],
)
def test_every_format_with_an_identity_can_be_enrolled(beacon: Beacon, key: Key) -> None:
    site = Site(beacons=(Enrolled(key=key, place="shoes"),))
    assert site.who(Sighting(beacon=beacon, at=NOW, rssi_dbm=-60, subject="me")) == ("me", "shoes")


def test_defaults_of_places() -> None:
    site = make_site(
        Place(id="a", exit_after_s=90.0, near_dbm=-71.5), Place(id="shoes"), offset_db=2.5
    )
    assert site.exit_after_s("a") == 90.0
    assert site.exit_after_s("shoes") == 30.0
    assert site.exit_after_s("never named") == 30.0
    assert site.near_dbm("a", None) == -71.5
    assert site.near_dbm("a", SHELF) == -71.5
    assert site.near_dbm("b", None) is None
    assert site.near_dbm("shoes", SHELF) == -59 - 15
    for power in (None, 0, 20):  # no level at 1 m that can be: the usual one
        odd = msgspec.structs.replace(SHELF, power_dbm=power)
        assert site.near_dbm("shoes", odd) == -59 - 15
    assert site.receivers("a") == 2
    assert site.receivers("shoes") == 0
    assert site.level_dbm(Sighting(beacon=TAG, at=NOW, rssi_dbm=-60, gateway="a1")) == -57.5
    assert site.level_dbm(Sighting(beacon=TAG, at=NOW, rssi_dbm=-60, gateway="x")) == -60
    assert site.level_dbm(Sighting(beacon=SHELF, at=NOW, rssi_dbm=-60, subject="me")) == -60


def test_every_place_that_a_site_speaks_of_is_named() -> None:
    site = make_site(Place(id="x", parent="above"), Place(id="y"))
    assert site.named == {"x", "y", "above", "a", "b", "shoes"}
    assert Site().named == frozenset()


def test_check_names_places_that_are_nowhere() -> None:
    site = make_site(Place(id="b", parent="never drawn"), shelf="shoe")
    problems = site.check(["shoes"])
    assert len(problems) == 3
    assert "[[gateway]] 'a1': place 'a' is neither" in problems[0]
    assert "'shoe'" in problems[2]
    assert "did you mean 'shoes'?" in problems[2]
    assert site.check(["a", "shoe"]) == []


def test_check_stays_quick_where_everything_is_wrong() -> None:
    gateways = {f"g{n}": Gateway(id=f"g{n}", place=f"place {n}") for n in range(500)}
    site = Site(gateways=gateways)
    problems = site.check([f"plac {n}" for n in range(500)])
    assert len(problems) == 500
    assert sum("did you mean" in problem for problem in problems) == 10


def test_a_gateway_that_is_known_to_be_dead_is_not_counted() -> None:
    site = make_site()
    dead = Gateway(id="a2", place="a", dead=True)
    lame = Site(gateways={**site.gateways, "a2": dead}, beacons=site.beacons)
    assert (site.receivers("a"), lame.receivers("a")) == (2, 1)
    assert lame.named == site.named
    # What it hears all the same counts.
    assert lame.who(Sighting(beacon=TAG, at=NOW, rssi_dbm=-60, gateway="a2")) == ("member", "a")


def test_places_that_compete_are_counted() -> None:
    assert make_site().competing == 2
    assert make_site(Place(id="a", near_dbm=-70.0)).competing == 1
    assert Site().competing == 0
