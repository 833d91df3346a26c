"""Tags among several gateways, through the real engine: handover, batches, slow tags, both feeds."""

from __future__ import annotations

import json
import random

import pytest

from beacon_gateway.model import Beacon, Sighting
from geofences import FenceIndex
from geofences.geojson import loads
from proximity.engine.engine import Engine
from proximity.model import Fix, Transition
from proximity.site.registry import Enrolled, Gateway, Place, Site

NOW = 1767225600.0
UUID = "f7826da6-4fa2-4e98-8024-bc5b71e0893e"
TAG = Beacon(format="ibeacon", uuid=UUID, major=1, minor=7, power_dbm=-59)
LON, LAT = 2.35, 48.85
METRE = 1.0 / 111_000.0


def shop(exit_after_s: float | None = None, **gateways: Gateway) -> Site:
    """Two zones of a shop with two gateways each, and one tag."""
    usual = {
        name: Gateway(id=name, place=f"shop/{place}")
        for name, place in (("a1", "a"), ("a2", "a"), ("b1", "b"), ("b2", "b"))
    }
    return Site(
        places={
            f"shop/{name}": Place(id=f"shop/{name}", parent="shop", exit_after_s=exit_after_s)
            for name in "ab"
        },
        gateways=usual | gateways,
        beacons=(Enrolled(key=("ibeacon", UUID, 1, 7), subject="member"),),
    )


def walk(seed: int = 1) -> list[Sighting]:
    """Stand in a for a minute, walk to b in eight seconds, stand there for a minute; 2 Hz."""
    rng = random.Random(seed)
    out = []
    for step in range(256):
        at = 0.5 * step
        there = min(1.0, max(0.0, (at - 60.0) / 8.0))
        for number, gateway in enumerate(("a1", "a2", "b1", "b2")):
            share = there if gateway[0] == "b" else 1.0 - there
            level = -85.0 + 22.0 * share - 3.0 * (number % 2) + rng.gauss(0.0, 3.0)
            out.append(
                Sighting(beacon=TAG, at=NOW + at + 0.001 * number, rssi_dbm=level, gateway=gateway)
            )
    return out


def told(out: list[Transition]) -> list[tuple[str, str]]:
    return [(one.kind, one.place) for one in out]


HANDED_OVER = [
    ("enter", "shop"),
    ("enter", "shop/a"),
    ("exit", "shop/a"),
    ("enter", "shop/b"),
]


def test_a_walk_is_one_handover_and_the_shop_is_never_left() -> None:
    out = Engine(FenceIndex([]), shop()).on_sightings(walk())
    assert told(out) == HANDED_OVER
    left, entered = out[2:]
    assert left.at == entered.at
    assert entered.at is not None
    assert 60.0 < entered.at - NOW < 70.0
    assert {"rule", "level_dbm", "runner_up", "margin_db", "rise_db", "sigma"} <= {*entered.because}


@pytest.mark.parametrize("order", ["abab", "ba"])
def test_batches_of_a_second_from_each_gateway_make_no_late_enters(order: str) -> None:
    """Or no place whose gateway sends after the others would ever make an offer."""
    first = order.index("a") < order.index("b")

    def arrival(one: Sighting) -> tuple[int, bool, float]:
        return int(one.at - NOW), (str(one.gateway)[0] == "a") != first, one.at

    sent = []
    for one in sorted(walk(), key=arrival):
        received_at = NOW + int(one.at - NOW) + 1.05
        sent.append(
            Sighting(
                beacon=TAG,
                at=one.at,
                rssi_dbm=one.rssi_dbm,
                gateway=one.gateway,
                received_at=received_at,
            )
        )
    out = Engine(FenceIndex([]), shop()).on_sightings(sent)
    entered = [one for one in out if one.kind == "enter"]
    assert {one.place for one in entered} == {"shop", "shop/a", "shop/b"}
    assert not any(one.late for one in entered)


def test_what_comes_much_later_is_late() -> None:
    sightings = walk()
    spooled = [one for one in sightings if str(one.gateway)[0] == "b"]
    live = [one for one in sightings if str(one.gateway)[0] == "a"]
    run = Engine(FenceIndex([]), shop())
    out = run.on_sightings(live)
    assert told(out) == HANDED_OVER[:2]
    out = run.on_sightings(spooled)
    assert any(one.kind == "enter" and one.place == "shop/b" and one.late for one in out)


def one_gateway(every_s: float, count: int) -> list[Sighting]:
    return [
        Sighting(beacon=TAG, at=NOW + every_s * n, rssi_dbm=-60.0, gateway="a1")
        for n in range(count)
    ]


@pytest.mark.parametrize("every_s", [1.0, 20.0])
@pytest.mark.parametrize("says_s", [None, 45.0, 80.0])
def test_silence_ends_a_visit_when_the_site_says_however_slow_the_tag(
    every_s: float, says_s: float | None
) -> None:
    run = Engine(FenceIndex([]), shop(says_s))
    out = run.on_sightings(one_gateway(every_s, 12))
    last = NOW + 11 * every_s
    out += run.advance(last + 300.0)
    (left,) = [one for one in out if one.kind == "exit" and one.place == "shop/a"]
    assert (left.at, left.reason) == (last, "silent")
    assert left.decided_at == last + (says_s or 30.0)


def test_a_gateway_that_is_known_to_be_dead_is_not_missed() -> None:
    """Of two gateways of a place one hears nothing: that costs the place 4 dB, unless known."""

    def place_of(site: Site) -> str:
        run = Engine(FenceIndex([]), site)
        for n in range(20):
            at = NOW + 0.5 * n
            for gateway, level in (("a1", -60.0), ("b1", -62.0), ("b2", -62.0)):
                run.on_sightings([Sighting(beacon=TAG, at=at, rssi_dbm=level, gateway=gateway)])
        return next(place for place in ("shop/a", "shop/b") if run.present(place))

    assert place_of(shop()) == "shop/b"
    assert place_of(shop(a2=Gateway(id="a2", place="shop/a", dead=True))) == "shop/a"


def square(name: str) -> FenceIndex:
    """Draw a shop of 40 m."""
    half = 20.0 * METRE
    ring = [
        [LON + x * half * 1.5, LAT + y * half]
        for x, y in ((-1, -1), (1, -1), (1, 1), (-1, 1), (-1, -1))
    ]
    feature = {
        "type": "Feature",
        "id": name,
        "properties": {},
        "geometry": {"type": "Polygon", "coordinates": [ring]},
    }
    return FenceIndex(loads(json.dumps(feature)).fences)


def fix(at: float, north_m: float) -> Fix:
    return Fix(subject="member", at=NOW + at, lon=LON, lat=LAT + north_m * METRE, accuracy_m=6.0)


def test_indoors_a_heard_card_outweighs_a_phone_that_drifts_into_the_street() -> None:
    def run(heard: list[Sighting]) -> list[Transition]:
        engine = Engine(square("shop"), shop())
        fixes = [fix(10.0 * n, 0.0) for n in range(6)]
        fixes += [fix(60.0 + 10.0 * n, min(120.0, 30.0 * n)) for n in range(30)]
        both: list[Fix | Sighting] = [*fixes, *heard]
        records = sorted(both, key=lambda one: one.at)
        return [one for one in engine.on_records(records) if one.place == "shop"]

    alone, both = run([]), run(one_gateway(1.0, 361))
    assert [one.kind for one in alone] == ["enter", "exit"]
    assert [one.kind for one in both] == ["enter"]
