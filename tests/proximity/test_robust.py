"""What one record does in robust mode: who is followed, and what is kept quiet."""

from __future__ import annotations

from typing import Any

import pytest

from proximity import Engine, parse_site
from proximity.engine import layout
from proximity.engine.layout import NEAR_M, Layout
from proximity.engine.nowhere import standing_of
from proximity.engine.presence import Presence, State
from proximity.engine.robust import _see
from proximity.engine.standing import Moment, Standing, leave
from proximity.model import Observation, Transition
from tests.street import SITE, at, box, feature, fix, heard, index, ride, site, told, walk

INSIDE = (20.0, 25.0)
QUIET = parse_site('first_inside = "quiet"\n', "site.toml")


def standing(run: Engine) -> Standing:
    """Look at what is kept of the subject."""
    known = run._subjects["s0"]
    return standing_of(known) if isinstance(known, bytes) else known.standing


def test_nobody_is_followed_far_from_every_fence() -> None:
    run = Engine(index())
    run.on_fixes(walk(1000, [(NEAR_M + 2000.0, 0.0)] * 5))
    assert standing(run).track == b""
    run.on_fixes([fix(2000, 100, 100)])
    assert standing(run).track
    run.on_fixes([ride(2100, NEAR_M + 2000.0, 0.0)])
    assert standing(run).track == b""


def test_a_jump_far_away_does_not_end_the_following() -> None:
    run = Engine(index())
    run.on_fixes(walk(1000, [(100, 100)] * 5))
    before = standing(run).track
    run.on_fixes([fix(1060, NEAR_M + 2000.0, 0.0)])
    assert len(standing(run).track) == len(before)


def test_a_visit_that_began_before_anybody_looked_may_be_kept_quiet() -> None:
    run = Engine(index(), QUIET)
    assert run.on_fixes(walk(1000, [INSIDE] * 40)) == []
    assert run.present("cafe") == []
    assert run.advance(1500) == []
    assert run.on_fixes(walk(1500, [(20, 25), (20, 90), (20, 90)], motion="cycling")) == []
    assert run.advance(2000) == []
    again = run.on_fixes([ride(2100, *INSIDE)])
    assert told(again) == [("enter", "cafe", 2100.0, None)]


def test_a_quiet_visit_may_take_two_fixes_and_end_by_silence() -> None:
    run = Engine(index(), QUIET)
    assert run.on_fixes(walk(1000, [INSIDE, INSIDE, INSIDE], accuracy_m=25.0)) == []
    assert standing(run).presences["cafe"].visit == ""
    assert run.advance(1e5) == []
    assert not standing(run).presences


def test_a_quiet_visit_ends_quietly_with_its_fence_and_its_subject() -> None:
    layout = index()
    run = Engine(layout, QUIET)
    run.on_fixes([fix(1000, *INSIDE)])
    assert run.forget("s0", 1010.0) == []
    run.on_fixes([fix(1020, *INSIDE)])
    layout.remove("cafe")
    assert run.on_fixes([fix(1030, *INSIDE)]) == []


def test_a_quiet_visit_ends_quietly_where_a_card_tells_of_another_place() -> None:
    layout = index()
    moment = Moment(Layout(layout, QUIET), "s0", 1100.0)
    here = Standing({"cafe": Presence(State.INSIDE, fixed=False, heard_at=1000.0, quiet=True)})
    gone = Observation("s0", "cafe", 1100.0, "sighting", "outside", 1.0, {})
    assert _see(here, gone, moment, still=False) == ([], False)
    assert here.presences == {}


def lingering(**more: Any) -> list[Transition]:
    """Stand in a place from second 1000 on, with fixes that tell it only after minutes."""
    run = Engine(index(feature("cafe", box(0, 0, 40, 40), **more)))
    return run.on_fixes([fix(1000 + 15 * n, 20, 20, accuracy_m=60.0) for n in range(60)])


def test_who_is_told_to_stand_in_a_shop_has_been_there_since_they_stopped() -> None:
    enter, dwell, *_ = lingering(dwell_s=[60])
    assert enter.at is not None
    assert 1000.0 <= enter.at < 1060.0
    assert enter.decided_at > 1120.0
    assert enter.because["stood_s"] == pytest.approx(enter.decided_at - enter.at, abs=0.05)
    assert (dwell.kind, dwell.at) == ("dwell", enter.at + 60.0)
    assert dwell.decided_at >= enter.decided_at


@pytest.mark.parametrize("more", [{"floor": 1}, {"max_altitude_m": 90}, {"on_foot": True}])
def test_where_one_stands_tells_no_floor_and_no_vehicle_left(more: dict[str, Any]) -> None:
    enter = lingering(**more)[0]
    assert enter.at is not None
    assert enter.decided_at - enter.at <= 15.0
    assert "stood_s" not in enter.because


def test_nobody_is_in_a_place_before_it_opens() -> None:
    (enter, *_) = lingering(valid_from="1970-01-01T00:17:30Z")
    assert enter.at == 1050.0


def test_nobody_is_back_in_a_place_before_it_was_left() -> None:
    moment = Moment(Layout(index(), parse_site(SITE, "site.toml")), "s0", 1300.0)
    here = Standing({"cafe": Presence(State.LEAVING, "v", 500.0, 900.0, 890.0, fixed=False)})
    leave(here, "cafe", 1100.0)
    again = Observation("s0", "cafe", 1300.0, "fix", "inside", 0.9, {}, 1010.0)
    ((enter,), _) = _see(here, again, moment, still=False)
    assert enter.at == 1100.0
    assert enter.because["stood_s"] == 200.0


def test_a_phone_that_says_it_is_still_passes_nothing_however_far() -> None:
    run = Engine(index(feature("park", box(-100, -100, 100, 100))))
    far = NEAR_M + 1500.0
    assert run.on_fixes([fix(1000, -far, 0), fix(1100, far, 0, motion="still")]) == []
    (found,) = run.on_fixes([fix(1200, -far, 0, motion="driving")])
    assert (found.kind, found.because["bearing_deg"]) == ("pass", 270)


def test_a_card_heard_before_tells_that_a_visit_is_not_the_first_thing_known() -> None:
    both = parse_site('first_inside = "quiet"\n' + SITE, "site.toml")
    run = Engine(index(), both)
    run.on_sightings([heard(900 + n, "gw-terrace") for n in range(5)])
    out = run.on_fixes([fix(1000, *INSIDE)])
    assert ("enter", "cafe") in [(t.kind, t.place) for t in out]


def test_who_comes_later_is_told_of_in_a_quiet_site() -> None:
    run = Engine(index(), QUIET)
    out = run.on_fixes(walk(1000, [(20, 70), (20, 60), (20, 48), (20, 36), (20, 25), (20, 25)]))
    assert [(t.kind, t.place) for t in out] == [("enter", "cafe")]


def test_a_place_for_walkers_is_not_entered_by_car_but_left_by_it() -> None:
    layout = index(feature("market", box(0, 0, 60, 60), on_foot=True))
    run = Engine(layout)
    through = walk(1000, [(-100, 30), (20, 30), (40, 30), (160, 30)], motion="driving")
    assert run.on_fixes(through) == []
    parked = walk(2000, [(30, 30)] * 6, motion="walking")
    assert [t.kind for t in run.on_fixes(parked)] == ["enter"]
    off = walk(2060, [(30, 30), (150, 30), (400, 30)], motion="driving")
    assert run.on_fixes(off) == []
    assert told(run.advance(2200)) == [("exit", "market", 2070.0, "left")]


def test_a_phone_that_does_not_state_its_way_is_placed_all_the_same() -> None:
    run = Engine(index(), site())
    out = run.on_fixes(walk(1000, [INSIDE] * 30, every_s=15.0, accuracy_m=None))
    assert [(t.kind, t.place) for t in out][:1] == [("enter", "cafe")]


def test_made_up_fixes_change_nothing() -> None:
    run = Engine(index())
    run.on_fixes(walk(1000, [INSIDE] * 3))
    before = standing(run).track
    out = run.on_fixes(walk(1030, [(20, 300)] * 20, mock=True)) + run.advance(1300)
    assert standing(run).track == before
    assert [t.kind for t in out] == ["dwell", "dwell"]
    fresh = Engine(index())
    assert fresh.on_fixes(walk(1000, [INSIDE] * 10, mock=True)) == []


def test_squares_are_forgotten_before_they_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "MOST_SQUARES", 2)
    places = Layout(index())
    spots = [at(20.0, 25.0), at(9000.0, 0.0), at(0.0, 9000.0), at(20.0, 25.0)]
    assert [places.near(*spot) for spot in spots] == [True, False, False, True]
