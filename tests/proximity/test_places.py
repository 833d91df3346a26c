"""What is known of a place: its own word first, then the site's, then its parents'."""

from __future__ import annotations

import json
from typing import Any

import pytest

import geofences
from proximity.engine.layout import Layout
from proximity.site.places import PlaceFacts, Places
from proximity.site.registry import Gateway, Place, Site
from tests.proximity.given import windows

PARIS, LISBON = (2.35, 48.85), (-9.14, 38.72)


def fence(fence_id: str, centre: tuple[float, float] = PARIS, **properties: Any) -> Any:
    return {
        "type": "Feature", "id": fence_id, "properties": {"radius_m": 50, **properties},
        "geometry": {"type": "Point", "coordinates": list(centre)},
    }  # fmt: skip


def index(*features: Any) -> geofences.FenceIndex:
    text = json.dumps({"type": "FeatureCollection", "features": list(features)})
    return geofences.FenceIndex(geofences.loads(text).fences)


def test_a_fence_tells_its_name_tags_hours_and_parent() -> None:
    shop = fence(
        "cafe-1", name="Café du Nord", tags=["cafe"], venue="street",
        active=[{"days": ["mon", "tue"], "from": "09:00", "to": "18:30"}],
    )  # fmt: skip
    street = fence("street", tags=["high-street"], languages=["fr", "br"])
    facts = Places(index(shop, street)).facts("cafe-1")
    assert facts == PlaceFacts(
        id="cafe-1", name="Café du Nord", tags=("cafe",), parents=("street",),
        venue_tags=("cafe", "high-street"), languages=("fr", "br"),
        timezone="Europe/Paris", active=windows("09:00-18:30", days=["mon", "tue"]),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("written", "languages"),
    [("fr", ("fr",)), (["de", "fr"], ("de", "fr")), ([], ()), ([3], ()), (7, ()), (None, ())],
)
def test_the_languages_of_a_place_are_one_tag_or_some(written: Any, languages: Any) -> None:
    assert Places(index(fence("a", languages=written))).facts("a").languages == languages


def test_a_place_that_nobody_named_has_but_its_id() -> None:
    assert Places(index()).facts("nowhere") == PlaceFacts(id="nowhere")
    assert Places(None).facts("nowhere") == PlaceFacts(id="nowhere")


def test_the_zone_is_the_fence_s_then_the_site_s_then_that_of_the_coordinates() -> None:
    named, bare = fence("a", timezone="Asia/Tokyo"), fence("b", LISBON)
    wrong = fence("c", LISBON, timezone="Mars/Olympus")
    fences = index(named, bare, wrong)
    alone = Places(fences)
    assert alone.facts("a").timezone == "Asia/Tokyo"
    assert alone.facts("b").timezone == "Europe/Lisbon"
    assert alone.facts("c").timezone == "Europe/Lisbon"
    sited = Places(fences, Site(timezone="America/St_Johns"))
    assert sited.facts("a").timezone == "Asia/Tokyo"
    assert sited.facts("b").timezone == "America/St_Johns"


def test_a_zone_without_outline_takes_its_parent_s_hours_and_zone() -> None:
    site = Site(
        places={
            "shop/door": Place(id="shop/door", parent="shop"),
            "shop/door/mat": Place(id="shop/door/mat", parent="shop/door"),
        }
    )
    shop = fence("shop", LISBON, tags=["shop"], active=[{"from": "09:00", "to": "18:00"}])
    facts = Places(index(shop), site).facts("shop/door/mat")
    assert facts.parents == ("shop/door", "shop")
    assert facts.timezone == "Europe/Lisbon"
    assert facts.active == windows("09:00-18:00")
    assert facts.tags == ()  # a tag is the fence's own


def test_own_hours_go_before_a_parent_s() -> None:
    shop = fence("shop", active=[{"from": "09:00", "to": "18:00"}])
    bar = fence("bar", venue="shop", active=[{"from": "20:00", "to": "02:00"}])
    assert Places(index(shop, bar)).facts("bar").active == windows("20:00-02:00")


def test_an_area_that_its_venue_excludes_takes_nothing_from_it() -> None:
    mall = fence("mall", timezone="Asia/Tokyo", active=[{"from": "09:00", "to": "18:00"}])
    court = fence("court", LISBON, venue="mall", exclude=True)
    bench = fence("bench", LISBON, venue="court")
    places = Places(index(mall, court, bench))
    assert places.facts("court") == PlaceFacts(id="court", name="court", timezone="Europe/Lisbon")
    assert places.facts("bench").parents == ("court",)
    assert places.facts("bench").active == ()


def test_a_parent_that_nobody_knows_is_none() -> None:
    assert Places(index(fence("a", venue="nowhere"))).facts("a").parents == ()


def test_parents_are_those_by_which_presence_judges() -> None:
    site = Site(
        places={"zone": Place(id="zone", parent="hall"), "lost": Place(id="lost", parent="lost")}
    )
    fences = index(
        fence("hall"), fence("yard", venue="hall", exclude=True), fence("a", venue="gone"),
        fence("b", venue="hall"), fence("zone", venue="b"),
    )  # fmt: skip
    places, layout = Places(fences, site), Layout(fences, site)
    for place in ("hall", "yard", "a", "b", "zone", "lost", "unheard-of"):
        parent = layout.rules[place].parent
        assert places.facts(place).parents[:1] == (() if parent is None else (parent,))
        assert len(places.facts(place).parents) == layout.depth(place)


def test_a_zone_without_any_fence_is_where_its_gateway_stands() -> None:
    site = Site(
        gateways={
            "g1": Gateway(id="g1", place="hall"),
            "g2": Gateway(id="g2", place="hall", lon=LISBON[0], lat=LISBON[1]),
        },
        places={"hall/desk": Place(id="hall/desk", parent="hall")},
    )
    assert Places(index(), site).facts("hall/desk").timezone == "Europe/Lisbon"
    assert Places(index(), site).facts("other").timezone is None


def test_parents_in_a_circle_come_to_an_end() -> None:
    circle = [fence("a", venue="b"), fence("b", venue="a"), fence("c", venue="c")]
    places = Places(index(*circle))
    assert places.facts("a").parents == ("b",)
    assert places.facts("c").parents == ()
    chain = [fence(str(n), venue=str(n + 1)) for n in range(40)]
    assert len(Places(index(*chain)).facts("0").parents) == 16


def test_facts_follow_the_fences() -> None:
    fences = index(fence("a", name="Old"))
    places = Places(fences)
    assert places.facts("a").name == "Old"
    fences.put(geofences.loads(json.dumps(fence("a", name="New"))).fences[0])
    assert places.facts("a").name == "New"
    fences.remove("a")
    assert places.facts("a") == PlaceFacts(id="a")
    places.replace(index(fence("a", name="Other")), None)
    assert places.facts("a").name == "Other"
