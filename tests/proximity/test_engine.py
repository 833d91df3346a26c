"""The engine as one meets it: walks go in, transitions come out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from beacon_gateway.model import Beacon
from geofences import FenceIndex
from proximity import Engine, Event, ProximityError, Sighting, parse_site
from proximity.model import Fix
from tests.street import (
    UUID,
    box,
    feature,
    fences,
    fix,
    fold,
    heard,
    index,
    ride,
    site,
    told,
    walk,
)

INDEX, SITE = index(), site()
INSIDE, OUTSIDE = (20.0, 25.0), (20.0, 150.0)


def rides(start: float, points: Sequence[tuple[float, float]], **more: Any) -> list[Fix]:
    """Report one position after another, each for itself."""
    return walk(start, points, motion="cycling", **more)


def engine(**more: Any) -> Engine:
    return Engine(INDEX, SITE, **more)


# -- arrival ---------------------------------------------------------------------------------


def test_a_walk_in_and_out() -> None:
    run = engine()
    out = run.on_fixes(rides(1000, [OUTSIDE, INSIDE, INSIDE, INSIDE, OUTSIDE, OUTSIDE]))
    assert told(out) == [("enter", "cafe", 1010.0, None)]
    assert run.present("cafe") == ["s0"]
    assert run.next_due() == 1100.0
    with pytest.raises(ValueError, match="Unix seconds"):
        run.advance(float("nan"))
    assert told(run.advance(1100.0)) == [("exit", "cafe", 1040.0, "left")]
    assert run.present("cafe") == []
    assert run.next_due() is None


def test_an_unsure_fix_asks_for_a_second() -> None:
    run = engine()
    (enter,) = run.on_fixes(walk(1000, [INSIDE, INSIDE], accuracy_m=25.0))
    assert (enter.kind, enter.at, enter.decided_at) == ("enter", 1000.0, 1010.0)
    assert enter.because["fixes"] == 2


def test_an_unsure_fix_followed_by_one_beside_the_place_is_no_arrival() -> None:
    run = engine()
    beside = (20.0, 42.0)
    assert not run.on_fixes(rides(1000, [INSIDE, beside, INSIDE], accuracy_m=25.0))
    assert run.present("cafe") == []


def test_a_cell_tower_s_fix_in_the_shop_says_nothing() -> None:
    run = engine()
    assert not run.on_fixes(walk(1000, [INSIDE] * 5, accuracy_m=900.0))


def test_a_first_fix_inside_is_an_arrival() -> None:
    assert told(engine().on_fixes([fix(1000, *INSIDE)])) == [("enter", "cafe", 1000.0, None)]
    point = engine(decide="point").on_fixes([fix(1000, *INSIDE)])
    assert told(point) == [("enter", "cafe", 1000.0, None)]


# -- departure and timers ---------------------------------------------------------------------


def test_a_fix_back_inside_stops_the_exit() -> None:
    run = engine()
    run.on_fixes(walk(1000, [INSIDE, OUTSIDE, INSIDE, INSIDE, INSIDE, INSIDE, INSIDE, INSIDE]))
    assert [t for t in run.advance(1100) if t.kind == "exit"] == []


def test_a_far_but_poor_fix_is_not_clear() -> None:
    run = engine()
    run.on_fixes([fix(1000, *INSIDE), fix(1010, 20, 300, accuracy_m=600.0)])
    assert [t for t in run.advance(1200) if t.kind == "exit"] == []


def test_dwells_fire_without_a_new_fix() -> None:
    run = engine()
    run.on_fixes([fix(1000, *INSIDE)])
    assert told(run.advance(1299)) == [("dwell", "cafe", 1060.0, 60.0)]
    assert told(run.advance(1300)) == [("dwell", "cafe", 1300.0, 300.0)]
    dwell = engine()
    dwell.on_fixes([fix(1000, *INSIDE, speed_mps=0.0)])
    assert dwell.advance(1060)[0].because["still"] is True
    assert dwell.now == 1060.0


def test_a_dwell_that_came_due_on_the_way_out_and_back_is_made_up_for() -> None:
    run = engine()
    out = run.on_fixes([fix(1000, *INSIDE), fix(1050, *OUTSIDE), fix(1080, *INSIDE)])
    out += run.advance(1081)
    assert told(out) == [("enter", "cafe", 1000.0, None), ("dwell", "cafe", 1060.0, 60.0)]


def test_a_phone_that_falls_silent_leaves_after_half_an_hour() -> None:
    run = engine()
    run.on_fixes([fix(1000, -100, -100), fix(1600, -100, -100)])
    assert run.next_due() == 3400.0
    assert told(run.advance(3400)) == [("exit", "mall", 1600.0, "silent")]


def test_silence_on_the_way_out_dates_from_the_first_clear_fix() -> None:
    layout = index(feature("park", box(0, 0, 90, 90), exit_after_s=9000, silent_after_s=600))
    run = Engine(layout)
    run.on_fixes([fix(1000, 45, 45), ride(1100, 45, 300)])
    assert told(run.advance(99_999)) == [("exit", "park", 1100.0, "silent")]


def test_a_place_s_own_rules_hold() -> None:
    run = engine()
    run.on_fixes(rides(1000, [(55, 25), (55, 25), (55, 150)]))
    assert told(run.advance(1050)) == [("exit", "bakery", 1020.0, "left")]


def test_timers_fire_by_due_time_then_subject_then_place() -> None:
    run = engine()
    run.on_fixes([fix(1000, *INSIDE, subject="b"), fix(1000, *INSIDE, subject="a")])
    run.on_fixes([fix(1000, -60, 0, subject="c")])
    out = run.advance(1060)
    assert [(t.subject, t.place) for t in out] == [("c", "kiosk"), ("a", "cafe"), ("b", "cafe")]


def test_timers_due_fire_before_the_next_record() -> None:
    run = engine()
    run.on_fixes([fix(1000, *INSIDE)])
    out = run.on_fixes([fix(1070, 300, 300, subject="other")])
    assert told(out) == [("dwell", "cafe", 1060.0, 60.0)]


def test_a_backlog_uploaded_at_once_is_not_cut_up_by_its_own_timers() -> None:
    points = [INSIDE] * 30 + [OUTSIDE] * 30
    backlog = walk(1000, points, received_at=9000.0)
    run = engine()
    out = run.on_fixes(backlog) + run.advance(9000)
    assert fold(out) == fold(engine().on_fixes(walk(1000, points)))
    assert [t.kind for t in out] == ["enter", "dwell", "dwell", "exit"]
    assert {t.decided_at for t in out} == {9000.0}


def test_records_of_one_instant_are_told_exits_first() -> None:
    run = engine(decide="point")
    run.on_fixes([fix(1000, *INSIDE)])
    assert told(run.on_fixes([fix(1010, 55, 25)])) == [
        ("exit", "cafe", 1010.0, "left"),
        ("enter", "bakery", 1010.0, None),
    ]


# -- places -------------------------------------------------------------------------------------


def test_being_in_a_shop_is_being_in_its_mall() -> None:
    out = engine().on_fixes([fix(1000, -25, -60)])
    assert told(out) == [("enter", "mall", 1000.0, None), ("enter", "mall/shoes", 1000.0, None)]


def test_a_child_that_is_sure_makes_its_parent_sure() -> None:
    layout = index(
        feature("hall", box(0, 0, 400, 12)), feature("stand", box(0, -200, 400, 200), venue="hall")
    )
    out = Engine(layout).on_fixes([fix(1000, 200, 1, accuracy_m=20.0)])
    assert [t.place for t in out] == ["hall", "stand"]
    assert out[0].because["rule"] == "child"


def test_a_venue_that_nobody_drew_is_left_with_its_last_shop() -> None:
    layout = index(
        feature("a", box(0, 0, 40, 40), venue="arcade"),
        feature("b", box(60, 0, 100, 40), venue="arcade"),
    )
    arcade = parse_site('[[place]]\nid = "arcade"\n', "site.toml")
    run = Engine(layout, arcade)
    out = run.on_fixes(rides(1000, [(20, 20), (20, 20), (80, 20), (80, 20), (80, 200)]))
    out += run.advance(2000)
    assert [(t.kind, t.place, t.at) for t in out] == [
        ("enter", "a", 1000.0),
        ("enter", "arcade", 1000.0),
        ("enter", "b", 1020.0),
        ("exit", "a", 1020.0),
        ("exit", "arcade", 1040.0),
        ("exit", "b", 1040.0),
    ]


def test_a_venue_that_nobody_drew_is_kept_while_a_shop_is() -> None:
    layout = index(feature("a", box(0, 0, 40, 40), venue="arcade"))
    run = Engine(layout, parse_site('[[place]]\nid = "arcade"\n', "site.toml"))
    run.on_fixes(walk(1000, [(20, 20), (20, 44), (20, 44)]))
    assert run.advance(1200) == []
    assert run.present("arcade") == ["s0"]


def test_a_parent_that_is_no_place_is_nothing() -> None:
    layout = index(feature("a", box(0, 0, 40, 40), venue="nowhere"))
    assert [t.place for t in Engine(layout).on_fixes([fix(1000, 20, 20)])] == ["a"]


def test_an_excluded_area_is_outside_its_venue() -> None:
    run = engine()
    out = run.on_fixes(rides(1000, [(-100, -100), (40, -90), (40, -90)])) + run.advance(1100)
    assert told(out) == [
        ("enter", "mall", 1000.0, None),
        ("enter", "mall/depot", 1010.0, None),
        ("exit", "mall", 1010.0, "left"),
    ]


def test_an_area_that_is_not_excluded_yet_is_a_part_of_its_venue() -> None:
    later = {"valid_from": "1970-01-01T01:00:00Z"}
    fences = index(
        feature("mall", box(-200, -200, 200, -20)),
        feature("mall/depot", box(20, -120, 60, -60), venue="mall", exclude=True, **later),
    )
    for start, places in ((1000.0, {"mall"}), (4000.0, {"mall/depot"})):
        out = Engine(fences).on_fixes(walk(start, [(40, -90)] * 3))
        assert {change.place for change in out if change.kind == "enter"} == places


def test_another_floor_is_another_place() -> None:
    layout = index(
        feature("ground", box(0, 0, 40, 40), floor=0), feature("first", box(0, 0, 40, 40), floor=1)
    )
    run = Engine(layout)
    out = run.on_fixes(
        [fix(1000, 20, 20, floor=0), fix(1010, 20, 20, floor=1), fix(1020, 20, 20, floor=1)]
    )
    out += run.advance(1100)
    assert told(out) == [
        ("enter", "ground", 1000.0, None),
        ("enter", "first", 1010.0, None),
        ("exit", "ground", 1010.0, "left"),
    ]


def test_a_fence_counts_while_it_is_valid() -> None:
    layout = index(
        feature(
            "fair",
            box(0, 0, 40, 40),
            valid_from="1970-01-01T00:20:00Z",
            valid_until="1970-01-01T00:25:00Z",
        )
    )
    run = Engine(layout)
    out = run.on_fixes(walk(1000, [(20, 20)] * 60)) + run.advance(9000)
    assert told(out) == [
        ("enter", "fair", 1200.0, None),
        ("exit", "fair", 1500.0, "fence-expired"),
    ]


# -- passing by --------------------------------------------------------------------------------


def test_crossing_a_place_between_two_fixes_is_a_pass() -> None:
    (passed,) = engine().on_fixes([fix(1000, 20, -12), fix(1060, 20, 62)])
    assert (passed.kind, passed.place) == ("pass", "cafe")
    assert passed.at == pytest.approx(1017.8, abs=0.1)
    assert passed.because["exit_at"] == pytest.approx(1042.2, abs=0.1)
    assert passed.because["chord_m"] == pytest.approx(30, abs=0.1)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (fix(1000, -20, 25), fix(1121, 100, 25)),  # too long ago
        (fix(1000, -9000, 25), fix(1020, 9000, 25)),  # too fast
        (fix(1000, -20, 25), fix(1020, 100, 25, accuracy_m=200.0)),  # the way is within the error
        (fix(1000, -20, 45), fix(1020, 100, 39.5)),  # the chord is
        (fix(1000, -20, 25), fix(1020, -20, 25)),  # no way at all
        (fix(1000, -20, 25), fix(1020, 100, 25, speed_mps=0.0)),  # the phone says it did not move
    ],
)
def test_what_is_no_pass(first: Fix, second: Fix) -> None:
    layout = index(feature("cafe", box(0, 10, 40, 40)))
    assert Engine(layout).on_fixes([first, second]) == []


def test_a_pass_heeds_floor_and_validity() -> None:
    layout = index(
        feature("upstairs", box(0, 10, 40, 40), floor=1),
        feature("past", box(0, 10, 40, 40), valid_until="1970-01-01T00:01:00Z"),
    )
    run = Engine(layout)
    assert run.on_fixes([fix(1000, -20, 25, floor=0), fix(1060, 60, 25, floor=0)]) == []


def test_leaving_a_place_is_not_passing_it() -> None:
    run = engine()
    out = run.on_fixes([fix(1000, *INSIDE), fix(1010, -30, 25), fix(1020, 80, 25)])
    assert [t.kind for t in out if t.place == "cafe"] == ["enter"]


# -- beacons ------------------------------------------------------------------------------------


def test_a_heard_card_is_in_the_place_and_its_parent_until_it_falls_silent() -> None:
    run = engine()
    out = run.on_sightings([heard(1000 + i, "gw-bar") for i in range(20)])
    assert [(t.kind, t.place) for t in out] == [("enter", "cafe"), ("enter", "cafe/bar")]
    out = run.advance(2000)
    assert told(out) == [
        ("exit", "cafe", 1019.0, "silent"),
        ("exit", "cafe/bar", 1019.0, "silent"),
    ]


def test_both_feeds_speak_for_one_visit() -> None:
    run = engine()
    out = run.on_sightings([heard(1000 + i, "gw-bar") for i in range(20)])
    out += run.on_fixes(rides(1005 + 20, [OUTSIDE] * 2))  # drifting: the card is still heard
    out += run.on_sightings([heard(1040 + i, "gw-bar") for i in range(5)])
    out += run.on_fixes([ride(1050, *INSIDE)])
    out += run.advance(1100)
    cafe = [t for t in out if t.place == "cafe"]
    assert [t.kind for t in cafe] == [
        "enter",
        "dwell",
    ]  # the fix keeps it when the card falls silent
    assert len({t.visit for t in cafe}) == 1


def test_a_fence_s_own_silence_holds_for_cards_too() -> None:
    slow = parse_site(
        f"""[[gateway]]\nid = "gw"\nplace = "hall"\n
        [[beacon]]\nuuid = "{UUID}"\nmajor = 1\nsubject = "s0"\n""",
        "site.toml",
    )
    run = Engine(index(feature("hall", box(0, 0, 40, 40), exit_after_s=120)), slow)
    out = run.on_sightings([heard(1000 + 40 * n, "gw") for n in range(4)]) + run.advance(2000)
    assert told(out) == [("enter", "hall", 1080.0, None), ("exit", "hall", 1120.0, "silent")]


def test_a_timer_waits_for_the_engine_s_clock_not_the_sender_s() -> None:
    run = engine()
    out = run.on_fixes([fix(1000, *INSIDE, received_at=1000.0)])
    out += run.on_fixes([fix(1059, *INSIDE, received_at=1001.0)])
    out += run.on_fixes([fix(1061, *INSIDE, received_at=1002.0)])
    assert [t.kind for t in out] == ["enter"]
    assert told(run.advance(1060)) == [("dwell", "cafe", 1060.0, 60.0)]


@pytest.mark.parametrize(
    "record",
    [
        heard(9000, "gw-none"),
        heard(9000, "gw-bar", 127.0),
        fix(1000, *INSIDE, received_at=9000.0),
        fix(9999, *INSIDE, received_at=9000.0),
    ],
)
def test_what_is_set_aside_still_tells_the_time(record: Any) -> None:
    run = engine()
    run.on_fixes([fix(1000, *INSIDE)])
    assert [t.reason for t in run.on_records([record]) if t.kind == "exit"] == ["silent"]
    assert run.now == 9000.0


def test_an_arrival_that_is_never_confirmed_is_forgotten() -> None:
    run = engine(admitted=True, late_s=100.0)
    run.on_fixes([fix(1000, *INSIDE, accuracy_m=55.0)])
    for now in range(1000, 9000, 10):
        run.advance(float(now))
    assert (run.subjects, run.present("cafe")) == (0, [])


def test_a_card_carried_to_another_zone_changes_places_at_one_instant() -> None:
    run = engine()
    run.on_sightings([heard(1000 + i, "gw-bar", -60) for i in range(20)])
    out = run.on_sightings([heard(1020 + i, "gw-terrace", -50) for i in range(30)])
    changes = [t for t in out if t.place.startswith("cafe/")]
    assert [(t.kind, t.place, t.reason) for t in changes[:2]] == [
        ("exit", "cafe/bar", "left"),
        ("enter", "cafe/terrace", None),
    ]
    assert changes[0].at == changes[1].at


def test_what_is_not_enrolled_or_not_measured_is_counted_and_ignored() -> None:
    run = engine()
    assert run.on_sightings([heard(1000, "gw-bar", minor=5), heard(1000, "gw-none")]) == []
    assert run.on_sightings([heard(1000, "gw-bar", 127.0)]) == []
    assert run.counts == {"unlisted": 2, "unmeasured": 1}
    assert Engine(INDEX).on_sightings([heard(1000, "gw-bar")]) == []


def test_point_mode_takes_a_phone_that_hears_a_shelf() -> None:
    shelf = Beacon(format="ibeacon", uuid=UUID, major=9)
    text = f'[[place]]\nid = "shelf"\n[[beacon]]\nuuid = "{UUID}"\nmajor = 9\nplace = "shelf"'
    run = Engine(FenceIndex([]), parse_site(text, "site.toml"), "point")
    (enter,) = run.on_sightings([Sighting(beacon=shelf, at=1000.0, rssi_dbm=-60.0, subject="s0")])
    assert (enter.kind, enter.place) == ("enter", "shelf")
    assert "gateway" not in enter.because


def test_point_mode_takes_the_loudest_gateway() -> None:
    run = engine(decide="point")
    out = run.on_sightings(
        [heard(1000, "gw-bar", -70), heard(1001, "gw-terrace", -60), heard(1002, "gw-bar", -75)]
    )
    assert told(out) == [
        ("enter", "cafe/bar", 1000.0, None),
        ("exit", "cafe/bar", 1001.0, "left"),
        ("enter", "cafe/terrace", 1001.0, None),
    ]
    assert run.next_due() is None


# -- fences that change ---------------------------------------------------------------------


@pytest.mark.parametrize("decide", ["robust", "point"])
def test_removing_a_fence_ends_its_visits(decide: Any) -> None:
    layout = index()
    run = Engine(layout, decide=decide)
    run.on_fixes([fix(1000, *INSIDE), fix(1000, *INSIDE, subject="s1")])
    run.on_fixes([fix(1000, *INSIDE, subject="s2", accuracy_m=55.0)])
    layout.remove("cafe")
    out = run.advance(1010)
    gone = [t for t in out if t.kind == "exit"]
    assert {t.reason for t in gone} == {"fence-removed"}
    assert [t.subject for t in gone] == (["s0", "s1"] if decide == "robust" else ["s0", "s1", "s2"])
    assert run.present("cafe") == []
    assert run.on_fixes([fix(1020, *INSIDE), fix(990, *INSIDE, subject="s1")]) == []
    # What came before the fence went is settled: it cannot be judged by fences that are no more.
    assert run.counts["late"] == 1


def test_a_fence_drawn_anew_is_seen_by_the_next_call() -> None:
    layout = index()
    run = Engine(layout)
    run.on_fixes([fix(1000, *INSIDE)])
    layout.put(fences(feature("cafe", box(500, 500, 540, 540)))[0])
    layout.put(fences(feature("new", box(0, 10, 40, 40)))[0])
    out = run.on_fixes(walk(1010, [INSIDE, INSIDE])) + run.advance(1100)
    assert told(out) == [("enter", "new", 1010.0, None), ("exit", "cafe", 1010.0, "left")]


class Forgetful(FenceIndex):
    """An index whose log of changes never reaches back."""

    def changes(self, since: int) -> tuple[str, ...] | None:
        assert since < self.version
        return None


def test_more_edits_than_the_index_remembers_are_followed_too() -> None:
    layout = Forgetful(INDEX)
    run = Engine(layout)
    run.on_fixes([fix(1000, *INSIDE), fix(1000, -100, -100, subject="s1")])
    layout.remove("cafe")
    assert [(t.subject, t.reason) for t in run.advance(1010)] == [("s0", "fence-removed")]
    assert run.present("mall") == ["s1"]


def test_a_site_that_lacks_a_place_ends_its_visits() -> None:
    run = engine()
    run.on_sightings([heard(1000 + i, "gw-bar") for i in range(20)])
    run.replace_site(parse_site("", "site.toml"))
    assert told(run.advance(1019)) == [("exit", "cafe/bar", 1019.0, "fence-removed")]
    assert run.present("cafe") == ["s0"]


# -- the rest ---------------------------------------------------------------------------------


def test_an_unknown_way_to_decide_is_refused() -> None:
    with pytest.raises(ProximityError, match="robust, point"):
        Engine(INDEX, decide="fuzzy")  # type: ignore[arg-type]


def test_a_broken_snapshot_is_refused() -> None:
    with pytest.raises(ProximityError, match="start from the journal"):
        Engine.restore(b"\x93\x01\x02", INDEX)


def test_a_restored_engine_may_keep_records_for_another_time() -> None:
    run = engine(late_s=3600.0)
    run.on_fixes([fix(9000, *OUTSIDE)])
    again = Engine.restore(run.snapshot(), INDEX, SITE, late_s=60.0)
    assert again.on_fixes([fix(8900, *INSIDE)]) == []
    assert again.counts["late"] == 1


def test_an_erased_subject_leaves_and_is_forgotten() -> None:
    run = engine()
    run.on_fixes([fix(1000, *INSIDE), fix(1001, *INSIDE, accuracy_m=55.0, subject="s1")])
    assert told(run.forget("s0", 1010.0)) == [("exit", "cafe", 1010.0, "erased")]
    assert run.forget("s1", 1010.0) == []
    assert run.forget("nobody", 1011.0) == []
    assert (run.subjects, run.next_due(), run.present("cafe")) == (0, None, [])
    assert b"s0" not in run.snapshot()
    behind = engine(admitted=True)
    behind.on_fixes([fix(1000, *INSIDE)])
    assert told(behind.forget("s0", 1010.0)) == [("exit", "cafe", 1010.0, "erased")]


def test_a_server_s_engine_forgets_who_is_long_gone() -> None:
    run = engine(admitted=True, late_s=100.0)
    run.on_fixes([fix(1000, *OUTSIDE, subject="gone"), fix(1000, -100, -100, subject="here")])
    again = Engine.restore(run.snapshot(), INDEX, SITE)
    for one in (run, again):
        for now in range(1000, 5000, 10):
            one.advance(float(now))
        one.on_fixes([fix(5000, -100, -100, subject="here")])
        assert one.subjects == 2  # somebody may still come back within what is remembered
        for now in range(5000, 9000, 10):
            one.advance(float(now))
        assert one.subjects == 1
    assert run.snapshot() == again.snapshot()


def test_whoever_was_silent_for_hours_is_new_whether_forgotten_or_not() -> None:
    def lived(until: float, *, admitted: bool) -> list[Any]:
        run = engine(admitted=admitted, late_s=100.0)
        # At rest in the café: to be believed elsewhere at once, they must be forgotten.
        run.on_fixes([fix(1000 + 30 * n, *INSIDE) for n in range(20)])
        seen = told(run.advance(until))
        back = [fix(20_000 + 30 * n, *(OUTSIDE if n < 2 else INSIDE)) for n in range(8)]
        return seen + [one for each in back for one in told(run.on_fixes([each]))]

    every = [lived(until, admitted=one) for until in (1600.0, 19_000.0) for one in (False, True)]
    assert every[0] == every[1] == every[2] == every[3]
    assert [one[0] for one in every[0]] == ["exit", "enter", "dwell"]


def test_a_first_fix_inside_after_hours_began_before_anybody_looked() -> None:
    site = parse_site('first_inside = "quiet"\n', "site.toml")
    run = Engine(INDEX, site)
    run.on_fixes([fix(1000, *OUTSIDE)])
    assert told(run.on_fixes([fix(20_000 + 30 * n, *INSIDE) for n in range(4)])) == []


def test_an_event_is_no_place() -> None:
    run = engine()
    assert run.on_records([Event(subject="s0", at=1000.0, name="open")]) == []
    assert (run.now, run.subjects) == (1000.0, 0)


def test_refreshed_timers_do_not_pile_up() -> None:
    run = engine()
    for number in range(5000):
        run.on_fixes([fix(1000 + number, -100, -100, subject=f"s{number % 7}")])
    assert len(run._timers.heap) <= 64 + 4 * 7 + 1


def test_a_phone_hears_a_fixed_beacon() -> None:
    from beacon_gateway.model import Beacon, Sighting

    beacon = Beacon(format="ibeacon", uuid=UUID, major=9, minor=3, power_dbm=-59)
    near = [
        Sighting(beacon=beacon, at=1000.0 + i, rssi_dbm=-65.0, subject="phone") for i in range(5)
    ]
    out = engine().on_sightings(near)
    assert [(t.kind, t.place, t.subject) for t in out] == [("enter", "bakery", "phone")]


def test_one_snapshot_is_taken_at_a_time() -> None:
    run = Engine(index())
    run.end_snapshot()  # none was begun
    run.begin_snapshot()
    with pytest.raises(RuntimeError, match="another snapshot"):
        run.begin_snapshot()
    run.end_snapshot()
    run.begin_snapshot()


def test_a_snapshot_of_thousands_is_restored() -> None:
    places = index()
    run = Engine(places)
    run.on_fixes([fix(100.0, 9000.0, float(number), f"s{number}") for number in range(6000)])
    state = run.snapshot()
    again = Engine.restore(state, places)
    assert again.subjects == 6000
    assert again.snapshot() == state
