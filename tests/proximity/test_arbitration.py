"""Which place holds a subject, by the levels at which it is heard."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from beacon_gateway.model import Sighting
from proximity.engine.arbitration import FORGET_AFTER_S, MAX_LINKS, Ranging, Window, loudest
from proximity.site.registry import (
    Enrolled,
    Gateway,
    Place,
    Site,
    spell,
)
from tests.proximity.tagged import NOW, SHELF, TAG, UUID, Walk, make_site

# --- places that compete for a carried tag ---


def test_the_first_place_is_the_loudest_after_some_sightings() -> None:
    walk = Walk(make_site())
    assert [o.says for o in walk.hear(-60, "a1")] == ["nothing"]
    assert walk.said[0].because["rule"] == "too few"
    assert walk.said[0].strength == 0.0
    walk.stay(2.0, a1=-60, b1=-75)
    assert walk.changes() == [("inside", "a", "first")]
    entered = next(o for o in walk.said if o.says == "inside")
    assert (entered.subject, entered.source) == ("member", "sighting")
    assert entered.at <= NOW + 1.0
    assert 0.5 < entered.strength <= 1.0
    assert entered.because["runner_up"] == "b"
    assert entered.because["margin_db"] > 5.0
    assert entered.because["rssi_dbm"] == -60
    # One of its two gateways hears nothing, so the place is a little quieter than the other.
    assert -68 < entered.because["level_dbm"] < -60
    assert entered.because["sightings"] == 2  # and the one at hand


def test_each_sighting_in_the_place_keeps_it_and_one_elsewhere_says_nothing() -> None:
    walk = Walk(make_site())
    walk.stay(5.0, a1=-60, b1=-75)
    (kept,) = walk.hear(-60, "a2")
    assert (kept.says, kept.place, kept.because["rule"]) == ("inside", "a", "held")
    (other,) = walk.hear(-75, "b1")
    assert (other.says, other.place, other.because["rule"]) == ("nothing", "b", "elsewhere")


def test_a_place_alone_needs_no_runner_up() -> None:
    walk = Walk(make_site())
    walk.stay(3.0, a1=-80)
    assert walk.changes() == [("inside", "a", "first")]
    assert walk.said[-1].because["runner_up"] is None
    assert walk.said[-1].strength > 0.9


def test_equally_loud_places_are_decided_by_their_names() -> None:
    for order in (("a1", "a2", "b1", "b2"), ("b2", "b1", "a2", "a1")):
        walk = Walk(make_site())
        walk.stay(60.0, **dict.fromkeys(order, -70.0))
        assert walk.changes() == [("inside", "a", "first")]


def test_the_order_of_sightings_within_one_instant_changes_nothing() -> None:
    """Records of whole seconds come from several gateways in any order."""
    told = []
    for order in (("a1", "a2", "b1"), ("b1", "a2", "a1"), ("a2", "b1", "a1")):
        walk = Walk(make_site())
        for levels in ({"a1": -60, "a2": -66, "b1": -80}, {"a1": -82, "a2": -85, "b1": -59}):
            walk.stay(20.0, every_s=1.0, **{gateway: levels[gateway] for gateway in order})
        told.append([(o.at, o.says, o.place) for o in walk.said if o.because["rule"] != "held"])
        told[-1] = [change for change in told[-1] if change[1] != "nothing"]
    assert [change[1:] for change in told[0]] == [
        ("inside", "a"),
        ("outside", "a"),
        ("inside", "b"),
    ]
    assert told[0] == told[1] == told[2]


def test_a_walk_from_one_place_to_the_other_changes_once_at_one_instant() -> None:
    walk = Walk(make_site())
    walk.stay(20.0, a1=-60, a2=-65, b1=-80, b2=-82)
    walk.said.clear()
    for step in range(21):
        walk.stay(0.5, a1=-60 - step, a2=-65 - step, b1=-80 + step, b2=-82 + step)
    walk.stay(20.0, a1=-80, a2=-85, b1=-60, b2=-62)
    assert walk.changes() == [("outside", "a", "nearer"), ("inside", "b", "nearer")]
    left, entered = (o for o in walk.said if o.because["rule"] == "nearer")
    assert left.at == entered.at
    assert left.because["to"] == "b"
    assert left.because["level_dbm"] < entered.because["level_dbm"]
    assert left.because["margin_db"] > 1.0
    assert entered.because["runner_up"] == "a"
    # It has risen, the old place has fallen, and how sure that makes it is told.
    assert entered.because["rise_db"] > 3.0
    assert entered.because["fall_db"] > 3.0
    assert entered.because["sigma"] > 2.25


def test_a_body_before_the_gateway_changes_nothing() -> None:
    """The place's level falls, but the other's does not rise."""
    walk = Walk(make_site())
    walk.stay(60.0, a1=-65, b1=-75)
    walk.stay(8.0, a1=-80, b1=-75)
    walk.stay(30.0, a1=-65, b1=-75)
    assert walk.changes() == [("inside", "a", "first")]


def test_a_wrong_start_is_mended_by_the_slow_levels() -> None:
    walk = Walk(make_site())
    walk.stay(2.0, a1=-60)
    walk.stay(4.0, a1=-78, b1=-70)
    walk.stay(120.0, a1=-78, b1=-70)
    assert walk.changes()[0] == ("inside", "a", "first")
    assert walk.changes()[1:] == [("outside", "a", "louder"), ("inside", "b", "louder")]


def test_the_longer_a_tag_has_lain_somewhere_the_longer_a_louder_place_takes() -> None:
    taken_s = []
    for lay_s in (10.0, 60.0, 600.0):
        walk = Walk(make_site())
        walk.stay(lay_s, a1=-65, b1=-66)
        begun = walk.at
        # Somebody stands before the one receiver; the other hears the tag as before.
        while walk.ranging.place == "a" and walk.at < begun + 600.0:
            walk.stay(0.5, a1=-78, b1=-66)
        taken_s.append(walk.at - begun)
    assert taken_s[0] < taken_s[1] < taken_s[2]
    assert taken_s[0] < 15.0
    assert taken_s[2] > 20.0


def test_a_seldom_tag_needs_a_larger_rise_than_a_quick_one() -> None:
    """What is 6 dB louder at ten readings a second may be noise at one in two seconds."""
    moved = []
    for every_s in (0.1, 2.0):
        walk = Walk(make_site())
        walk.stay(60.0, every_s=every_s, a1=-66, b1=-70)
        walk.stay(4.0, every_s=every_s, a1=-66, b1=-63)
        moved.append(walk.ranging.place)
    assert moved == ["b", "a"]


def test_nobody_decides_before_all_that_begin_to_hear_have_had_their_say() -> None:
    walk = Walk(make_site())
    walk.stay(1.5, a1=-75)
    assert walk.ranging.place == "a"
    late = Walk(make_site())
    for passed_s, level, gateway in (
        (0.0, -75, "a1"),
        (0.1, -60, "b1"),  # the louder place is the slower one to report
        (0.3, -75, "a1"),
        (0.4, -75, "a1"),
        (0.4, -75, "a1"),
    ):
        late.at += passed_s
        late.hear(level, gateway)
    assert late.ranging.place is None
    late.at += 0.3
    late.hear(-60, "b1")
    late.at += 0.3
    late.hear(-60, "b1")
    assert late.changes() == [("inside", "b", "first")]


def test_where_receivers_send_in_batches_one_alone_decides_nothing() -> None:
    # The batch of the one is taken first, a whole second of it; then that of the louder other.
    def batch(walk: Walk, gateway: str, level: float) -> None:
        for n in range(5):
            at = NOW + 0.2 * n
            walk.at = at
            sighting = Sighting(
                beacon=TAG, at=at, rssi_dbm=level, gateway=gateway, received_at=NOW + 1.0
            )
            walk._tell(sighting)

    walk = Walk(make_site())
    batch(walk, "a1", -75)
    assert walk.ranging.place is None
    alone = Walk(Site(gateways={"a1": Gateway(id="a1", place="a")}, beacons=walk.site.beacons))
    batch(alone, "a1", -75)
    assert alone.ranging.place == "a"  # nobody else will say anything


def test_who_falls_silent_again_is_waited_for_no_longer_than_some_seconds() -> None:
    walk = Walk(make_site())
    walk.hear(-50, "b1")
    walk.stay(2.5, a1=-75)
    assert walk.ranging.place is None
    walk.stay(1.5, a1=-75)
    assert walk.ranging.place == "a"


@pytest.mark.parametrize("every_s", [12.0, 25.0, 40.0])
def test_a_slow_tag_is_held_between_its_reports_where_the_place_waits_for_it(
    every_s: float,
) -> None:
    walk = Walk(make_site(Place(id="a", exit_after_s=4.0 * every_s)))
    walk.stay(10 * every_s, every_s=every_s, a1=-60)
    assert walk.changes() == [("inside", "a", "first")]
    walk.at += 2.0 * every_s  # two reports were lost
    assert [o.says for o in walk.hear(-60, "a1")] == ["inside"]


def test_a_silence_as_long_as_the_place_says_is_the_end_however_slow_the_tag() -> None:
    walk = Walk(make_site())
    walk.stay(250.0, every_s=25.0, a1=-60)
    assert walk.changes() == [("inside", "a", "first")]
    walk.at += 25.0  # a report was lost
    assert [o.says for o in walk.hear(-60, "a1")] == ["nothing"]


def test_a_rival_heard_less_than_three_times_takes_nothing() -> None:
    walk = Walk(make_site())
    walk.stay(20.0, a1=-80)
    walk.hear(-40, "b1")
    walk.at += 0.5
    walk.hear(-40, "b1")
    assert walk.ranging.place == "a"


def test_of_several_rivals_the_loudest_that_qualifies_wins() -> None:
    """The loudest has stood there all the time without rising; the second came nearer."""
    site = make_site()
    gateways = {**site.gateways, "c1": Gateway(id="c1", place="c")}
    site = Site(gateways=gateways, beacons=site.beacons)
    walk = Walk(site)
    walk.stay(60.0, a1=-60, b1=-66, c1=-90)
    walk.stay(8.0, a1=-76, b1=-66, c1=-70)
    assert walk.ranging.place == "c"
    assert walk.changes()[1:] == [("outside", "a", "nearer"), ("inside", "c", "nearer")]


def test_after_a_silence_a_place_is_decided_anew() -> None:
    walk = Walk(make_site(Place(id="a", exit_after_s=10.0)))
    walk.stay(5.0, a1=-60)
    walk.at += 9.0
    assert [o.says for o in walk.hear(-60, "a1")] == ["inside"]
    walk.at += 10.0  # presence has ended the visit by now
    assert [o.because["rule"] for o in walk.hear(-60, "a1")] == ["too few"]
    walk.at += 1.0
    walk.said.clear()
    walk.stay(3.0, a1=-60)
    assert walk.changes() == [("inside", "a", "first")]


def test_a_subject_found_elsewhere_after_a_silence_has_left_the_old_place() -> None:
    """Its fence may hold a visit longer than the site does, so that it is told."""
    walk = Walk(make_site())
    walk.stay(5.0, a1=-60)
    walk.at += 60.0
    walk.said.clear()
    walk.stay(3.0, b1=-60)
    assert walk.changes() == [("outside", "a", "first"), ("inside", "b", "first")]
    walk.at += FORGET_AFTER_S + 1.0
    walk.said.clear()
    walk.stay(3.0, a1=-60)
    assert walk.changes() == [("outside", "b", "first"), ("inside", "a", "first")]
    assert walk.said[2].because["sightings"] == 0


def test_a_silent_gateway_is_quieter_than_any_that_is_heard() -> None:
    walk = Walk(make_site(Place(id="a", exit_after_s=600.0)))
    walk.stay(20.0, a1=-60)
    walk.stay(15.0, b1=-90)
    assert walk.ranging.place == "a"  # a scanner may rest, a body may hide the tag
    walk.stay(10.0, b1=-90)
    assert walk.ranging.place == "b"
    assert walk.changes()[1:] == [("outside", "a", "unheard"), ("inside", "b", "unheard")]


def test_offsets_are_added_before_anything_is_compared() -> None:
    for offset_db, place in ((0.0, "b"), (20.0, "a")):
        walk = Walk(make_site(offset_db=offset_db))
        walk.stay(5.0, b1=-70, a1=-80)
        assert walk.ranging.place == place


def test_places_that_are_judged_often_are_judged_no_oftener_than_that() -> None:
    walk = Walk(make_site())
    walk.stay(2.0, every_s=0.05, a1=-60, b1=-70)
    assert walk.ranging.zones["a"].judged <= 9


@pytest.mark.parametrize("rssi_dbm", [0.0, 5.0, 127.0, -127.0, -121.0])
def test_what_is_not_measured_says_nothing_and_leaves_no_trace(rssi_dbm: float) -> None:
    walk = Walk(make_site())
    walk.stay(5.0, a1=-60)
    before = walk.ranging.copy()
    assert walk.hear(rssi_dbm, "a1") == []
    assert walk.ranging == before


def test_a_gateway_that_has_left_the_site_no_longer_holds_its_place() -> None:
    walk = Walk(make_site())
    walk.stay(5.0, a1=-60)
    gateways = {name: one for name, one in walk.site.gateways.items() if one.place == "b"}
    walk.site = Site(gateways=gateways, beacons=walk.site.beacons)
    walk.stay(15.0, b1=-75)
    assert walk.ranging.place == "a"
    walk.stay(25.0, b1=-75)
    assert walk.ranging.place == "b"


# --- places with near_dbm ---


def test_near_takes_three_sightings_above_the_number() -> None:
    walk = Walk(make_site(Place(id="a", near_dbm=-70.0)))
    said = walk.stay(2.0, a1=-65)
    assert [o.says for o in said] == ["nothing", "nothing", "inside", "inside"]
    assert [o.because["rule"] for o in said] == ["too few", "too few", "near", "held"]
    entered = said[2]
    assert entered.because["near_dbm"] == -70.0
    assert entered.because["margin_db"] == pytest.approx(5.0)
    assert entered.strength > 0.7


def test_near_is_kept_a_little_below_its_number_and_then_no_more() -> None:
    walk = Walk(make_site(Place(id="a", near_dbm=-70.0)))
    assert {o.because["rule"] for o in walk.stay(20.0, a1=-72)} == {"too quiet"}
    walk.stay(20.0, a1=-65)
    walk.said.clear()
    assert {o.says for o in walk.stay(60.0, a1=-74)} == {"inside"}
    assert {o.strength for o in walk.said} <= {0.5, *(o.strength for o in walk.said[:6])}
    said = walk.stay(60.0, a1=-80)
    assert {o.says for o in said[10:]} == {"nothing"}
    # Thirty seconds without: what is heard below the number again is no longer inside.
    assert {o.says for o in walk.stay(20.0, a1=-74)} == {"nothing"}


def test_near_places_and_competing_ones_do_not_meddle() -> None:
    walk = Walk(make_site(Place(id="a", near_dbm=-70.0)))
    walk.stay(5.0, a1=-60, b1=-80)
    assert walk.ranging.place == "b"
    inside = {o.place for o in walk.said if o.says == "inside"}
    assert inside == {"a", "b"}


def test_a_phone_is_near_a_fixed_beacon_by_the_beacons_own_power() -> None:
    for power, rssi_dbm, says in (
        (-59, -72, "inside"),
        (-59, -76, "nothing"),
        (-65, -78, "inside"),
    ):
        walk = Walk(make_site())
        beacon = msgspec.structs.replace(SHELF, power_dbm=power)
        for _ in range(10):
            walk.notice(rssi_dbm, beacon)
            walk.at += 0.5
        assert walk.said[-1].says == says
        assert (walk.said[-1].subject, walk.said[-1].place) == ("phone", "shoes")


def test_two_beacons_of_one_place_keep_levels_of_their_own() -> None:
    site = Site(beacons=(Enrolled(key=("ibeacon", UUID, 2, None), place="shoes"),))
    walk = Walk(site)
    far = msgspec.structs.replace(SHELF, minor=2)
    for _ in range(6):
        walk.notice(-65, SHELF)
        walk.notice(-90, far)
        walk.at += 0.5
    assert len(walk.ranging.links) == 2
    assert [o.says for o in walk.said[-2:]] == ["inside", "nothing"]


# --- memory ---


def test_a_copy_lives_its_own_life() -> None:
    walk = Walk(make_site())
    walk.stay(5.0, a1=-60, b1=-70)
    kept = walk.ranging.copy()
    packed = msgspec.msgpack.encode(kept)
    walk.stay(30.0, a1=-90, b1=-50)
    assert msgspec.msgpack.encode(kept) == packed
    assert walk.ranging != kept


def test_it_goes_on_from_a_packed_state_as_if_nothing_had_been() -> None:
    walk, other = Walk(make_site()), Walk(make_site())
    walk.stay(10.0, a1=-60, b1=-70)
    other.ranging = msgspec.msgpack.decode(msgspec.msgpack.encode(walk.ranging), type=Ranging)
    other.at = walk.at
    assert other.ranging == walk.ranging
    assert walk.stay(20.0, a1=-70, b1=-55) == other.stay(20.0, a1=-70, b1=-55)


def test_memory_is_bounded_in_number_and_in_time() -> None:
    site = Site(beacons=(Enrolled(key=("ibeacon", UUID, None, None), place="shoes"),))
    walk = Walk(site)
    for minor in range(1000):
        walk.notice(-70, msgspec.structs.replace(SHELF, minor=minor))
    assert len(walk.ranging.links) == MAX_LINKS
    walk.at += FORGET_AFTER_S + 1.0
    walk.notice(-70)
    assert list(walk.ranging.links) == [spell(SHELF.identity)]
    assert list(walk.ranging.zones) == ["shoes"]


def test_places_are_forgotten_too() -> None:
    beacons = [Enrolled(key=("ibeacon", UUID, 3, n), place=f"place {n}") for n in range(200)]
    walk = Walk(Site(beacons=tuple(beacons)))
    for minor in range(200):
        walk.notice(-70, msgspec.structs.replace(SHELF, major=3, minor=minor))
    assert len(walk.ranging.zones) == MAX_LINKS


def test_a_gateway_that_is_moved_speaks_for_its_new_place() -> None:
    walk = Walk(make_site())
    walk.stay(5.0, a1=-60)
    gateways = walk.site.gateways
    walk.site = replace(walk.site, gateways={**gateways, "a1": Gateway(id="a1", place="c")})
    # What it heard before the move counts there: the next place does not win by being first.
    walk.stay(10.0, b1=-80)
    assert walk.changes() == [("inside", "a", "first")]
    walk.stay(10.0, a1=-60, b1=-80)
    assert walk.changes()[1:] == [("outside", "a", "nearer"), ("inside", "c", "nearer")]


# --- point mode ---


def take(records: list[tuple[float, float, str]]) -> list[str]:
    window: Window = ()
    places = []
    for at, dbm, place in records:
        window = loudest(window, at, dbm, place)
        places.append(window[0][2])
    return places


def test_the_loudest_of_the_last_five_seconds() -> None:
    assert take([(0, -60, "a"), (1, -70, "b"), (5, -71, "b"), (5.1, -80, "b")]) == [
        "a",
        "a",
        "a",
        "b",
    ]
    assert take([(0, -70, "a"), (1, -60, "b"), (2, -65, "a")]) == ["a", "b", "b"]


def test_of_equally_loud_ones_the_smaller_name() -> None:
    assert take([(0, -60, "b"), (0, -60, "a"), (0, -60, "c")]) == ["b", "a", "a"]
    assert take([(0, -60, "a"), (1, -60, "a"), (5.5, -90, "b")]) == ["a", "a", "a"]


def test_the_window_keeps_only_what_can_still_win() -> None:
    window: Window = ()
    for number in range(10_000):
        window = loudest(window, number / 10_000, -60.0 - number % 3, "ab"[number % 2])
    assert len(window) <= 6
