"""Which regions a phone is to watch: the nearest, no more than it can, told once and kept in place."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from geofences import Fence, FenceIndex, loads
from proximity.phones.arming import (
    LEAST_RADIUS_M,
    REACH_M,
    Order,
    Phone,
    Region,
    Surroundings,
    region_of,
)

NOW = 1767225600.0
HERE = (2.35, 48.85)
DEGREE_M = 111_195.0


def fences(*features: dict[str, Any]) -> list[Fence]:
    return loads(json.dumps({"type": "FeatureCollection", "features": list(features)})).fences


def circle(
    fence_id: str, lon: float = 2.35, lat: float = 48.85, **properties: Any
) -> dict[str, Any]:
    return {
        "type": "Feature",
        "id": fence_id,
        "properties": {"radius_m": 60, **properties},
        "geometry": {"type": "Point", "coordinates": [lon, lat]},
    }


def north(fence_id: str, metres: float, **properties: Any) -> dict[str, Any]:
    """A circle whose centre is so many metres north of HERE."""
    return circle(fence_id, HERE[0], HERE[1] + metres / DEGREE_M, **properties)


def surroundings(*features: dict[str, Any]) -> tuple[Surroundings, FenceIndex]:
    index = FenceIndex(fences(*features))
    return Surroundings(lambda: index), index


def ids(regions: tuple[Region, ...]) -> list[str]:
    return [region.id for region in regions]


def region(fence_id: str, radius_m: float = 100.0) -> Region:
    return Region(fence_id, fence_id, 2.35, 48.85, radius_m)


# --- a region --------------------------------------------------------------------------------


def test_a_region_is_id_name_and_circle_and_never_too_small_to_fire() -> None:
    (small, large) = fences(circle("a", name="Café"), circle("b", radius_m=250.5))
    assert region_of(small) == ("a", "Café", 2.35, 48.85, LEAST_RADIUS_M)
    assert region_of(large) == ("b", "b", 2.35, 48.85, 251)


def test_an_outline_becomes_a_circle_around_all_of_it() -> None:
    ring = [[2.35, 48.85], [2.36, 48.85], [2.36, 48.855], [2.35, 48.855], [2.35, 48.85]]
    outline = {
        **circle("mall"),
        "properties": {},
        "geometry": {"type": "Polygon", "coordinates": [ring]},
    }
    (mall,) = fences(outline)
    found = region_of(mall)
    assert found is not None
    assert (found.lon, found.lat) == pytest.approx((2.355, 48.8525), abs=1e-5)
    assert 460 < found.radius_m < 475
    assert found.radius_m == int(found.radius_m)


def test_a_country_is_not_armed() -> None:
    ring = [[0, 45], [6, 45], [6, 50], [0, 50], [0, 45]]
    country = {
        **circle("fr"),
        "properties": {},
        "geometry": {"type": "Polygon", "coordinates": [ring]},
    }
    around, _ = surroundings(country, circle("shop"))
    assert ids(around.around(*HERE, 20, NOW)[0]) == ["shop"]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("+follow", "follow"), ("-hold", "hold"), ("Shop|2|1", "Shop 2 1"), ("A:uuid:1:2", "A uuid 1 2"),
        ("two\u2028lines\u202e", "two lines"), ("x" * 80, "x" * 59 + "…"), ("::", "id 7"), ("+", "id 7"),
    ],
)  # fmt: skip
def test_a_name_is_nothing_but_a_name_to_any_client(name: str, told: str) -> None:
    (fence,) = fences(circle("id:7", name=name))
    found = region_of(fence)
    assert found is not None
    assert found.name == told


def test_a_fence_without_any_letter_is_a_place() -> None:
    (fence,) = fences(circle(":|", name="|:"))
    found = region_of(fence)
    assert found is not None
    assert found.name == "place"


# --- the nearest -----------------------------------------------------------------------------


def test_the_nearest_by_their_own_edges_come_first() -> None:
    around, _ = surroundings(
        north("far", 900), north("near", 300), north("wide", 1000, radius_m=800), north("b", 300)
    )
    regions, stands_m = around.around(*HERE, 3, NOW)
    assert ids(regions) == ["wide", "b", "near"]
    # The farthest armed is 240 m off; a quarter of that is less than a still phone wanders.
    assert stands_m == 100.0


def test_where_all_fences_are_armed_a_phone_may_go_far() -> None:
    around, _ = surroundings(north("a", 300), north("b", 40_000), north("c", 150_000))
    regions, stands_m = around.around(*HERE, 20, NOW)
    assert ids(regions) == ["a", "b"]
    assert stands_m == REACH_M / 4.0


def test_what_only_cuts_out_and_what_is_over_is_not_armed() -> None:
    around, _ = surroundings(
        north("open", 100),
        north("yard", 120, exclude=True, venue="open"),
        north("fair", 140, valid_until=NOW - 1),
        north("soon", 160, valid_from=NOW + 3600),
    )
    assert ids(around.around(*HERE, 20, NOW)[0]) == ["open", "soon"]


def test_fences_of_one_name_are_told_apart_by_their_ids() -> None:
    around, _ = surroundings(
        north("7", 100, name="Mart"), north("8", 200, name="Mart"), north("9", 300, name="Inn")
    )
    regions, _ = around.around(*HERE, 20, NOW)
    assert [found.name for found in regions] == ["Mart (7)", "Mart (8)", "Inn"]


def test_across_the_seam_and_at_a_pole() -> None:
    around, _ = surroundings(
        circle("west", -179.999, 10.0), circle("east", 179.99, 10.0), circle("pole", 0.0, 90.0)
    )
    assert ids(around.around(179.9995, 10.0, 20, NOW)[0]) == ["west", "east"]
    assert ids(around.around(-180.0, 10.0, 1, NOW)[0]) == ["west"]
    assert ids(around.around(123.0, 89.99, 20, NOW)[0]) == ["pole"]


def test_ten_thousand_fences_the_same_as_by_looking_at_each() -> None:
    dice = random.Random(7)
    spots = [(dice.uniform(2.0, 2.7), dice.uniform(48.6, 49.1)) for _ in range(10_000)]
    features = [
        circle(f"f{number}", lon, lat, radius_m=dice.choice((20, 80, 300)))
        for number, (lon, lat) in enumerate(spots)
    ]
    around, index = surroundings(*features)
    for lon, lat in ((2.35, 48.85), spots[17], (2.0, 48.6), (1.9, 48.5)):
        regions, stands_m = around.around(lon, lat, 15, NOW)
        distances = {fence_id: index.distance(fence_id, lon, lat) for fence_id in index.ids}
        nearest = sorted(index.ids, key=lambda fence_id: (distances[fence_id], fence_id))
        assert ids(regions) == nearest[:15]
        assert stands_m == pytest.approx(max(100.0, distances[nearest[14]] / 4.0))


def test_a_choice_among_very_many_measures_no_more_than_a_crowd() -> None:
    spots = [(2.0 + n % 100 * 0.01, 48.0 + n // 100 * 0.01) for n in range(10_000)]
    around, index = surroundings(*(circle(f"f{n}", *at) for n, at in enumerate(spots)))
    measured: list[int] = []
    within = index.within

    def counted(lon: float, lat: float, metres: float) -> list[tuple[str, float]]:
        found = within(lon, lat, metres)
        measured.append(len(found))
        return found

    index.within = counted  # type: ignore[method-assign]
    regions, stands_m = around.around(2.5, 48.5, 100, NOW)
    assert len(regions) == 100
    assert stands_m == pytest.approx(index.distance(regions[-1].id, 2.5, 48.5) / 4.0)
    assert sum(measured) < 1_000


def test_edits_are_seen_and_a_new_index_too() -> None:
    index = FenceIndex(fences(north("a", 100)))
    held = [index]
    around = Surroundings(lambda: held[0])
    assert ids(around.around(*HERE, 20, NOW)[0]) == ["a"]
    edition = around.follow()
    index.put(fences(north("a", 100, radius_m=500))[0])
    assert around.follow() > edition
    assert around.around(*HERE, 20, NOW)[0][0].radius_m == 501
    edition = around.follow()
    held[0] = FenceIndex(fences(north("b", 100)))
    assert ids(around.around(*HERE, 20, NOW)[0]) == ["b"]
    assert around.follow() > edition


# --- the slots -------------------------------------------------------------------------------


def test_what_stays_keeps_its_slot_and_only_changes_are_told() -> None:
    phone = Phone()
    a, b, c, d = (region(name) for name in "abcd")
    assert phone.put([a, b, c]) == (Order(0, None, a), Order(1, None, b), Order(2, None, c))
    assert phone.put([c, a, b]) == ()
    assert phone.put([d, c, a]) == (Order(1, b, d),)
    wide = region("a", 200.0)
    assert phone.put([d, wide]) == (Order(0, a, wide), Order(2, c, None))
    assert phone.put([d, wide, b]) == (Order(2, None, b),)
    assert phone.put([d, wide, b], whole=True) == (
        Order(0, wide, wide),
        Order(1, d, d),
        Order(2, b, b),
    )


def test_a_phone_whose_slots_may_hold_anything_is_told_of_the_empty_ones() -> None:
    phone = Phone([None] * 3)
    assert phone.put([region("a")], whole=True) == (
        Order(0, None, region("a")),
        Order(1, None, None),
        Order(2, None, None),
    )


def test_the_choice_stands_until_the_phone_goes_far_or_a_fence_changes() -> None:
    around, index = surroundings(*(north(f"f{number}", 1000.0 * number) for number in range(30)))
    phone = Phone()
    phone.moved(*HERE, NOW)
    assert [order.after.id for order in phone.rearm(around, 5, NOW) if order.after] == [
        f"f{number}" for number in range(5)
    ]
    # The fifth is 3,940 m off: a quarter of that stands.
    phone.moved(HERE[0], HERE[1] + 980.0 / DEGREE_M, NOW + 60)
    assert phone.rearm(around, 5, NOW + 60) == ()
    phone.moved(HERE[0], HERE[1] + 3000.0 / DEGREE_M, NOW + 120)
    (changed,) = phone.rearm(around, 5, NOW + 120)
    assert (changed.slot, changed.before and changed.before.id) == (0, "f0")
    assert changed.after is not None
    assert changed.after.id == "f5"
    assert phone.rearm(around, 5, NOW + 121) == ()
    index.remove("f3")
    (changed,) = phone.rearm(around, 5, NOW + 122)
    assert changed.before is not None
    assert changed.before.id == "f3"
    assert len(phone.rearm(around, 5, NOW + 123, whole=True)) == 5


def test_an_older_position_moves_no_phone() -> None:
    phone = Phone()
    phone.moved(1.0, 2.0, NOW)
    phone.moved(3.0, 4.0, NOW - 1)
    assert (phone.lon, phone.lat, phone.at) == (1.0, 2.0, NOW)


def test_a_blank_phone_knows_only_which_slots_to_empty() -> None:
    phone = Phone([None] * 3, heard=NOW)
    phone.moved(*HERE, NOW)
    phone.put([region("a")])
    blank = phone.blank()
    assert (blank.at, blank.heard) == (None, NOW)
    assert "a" not in {slot.id for slot in blank.slots if slot is not None}
    (order,) = blank.put(())
    assert (order.slot, order.after) == (0, None)
