"""Ranging, through the real engine: the judge, and the thresholds that it must go on holding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner

from beacon_gateway.model import Sighting
from proximity.model import ProximityError
from simulator import ranging
from simulator.heard import (
    DOORWAY,
    HALL,
    Crossing,
    Track,
    coarse,
    doorway,
    hall,
    nearest,
    silent,
    site_of,
    tag,
    windows,
)
from simulator.ranging import Plan, goals, page, run
from simulator.tags import lying, still, strolls, walk_bys
from simulator.zones import OURS, RULES, Score, lain, pool, score, stays, walked

NOW = 1767225600.0
TINY = Plan(seeds=(4,), tags=8, hours=0.05, strolls=1, ways=10)


def crossing_track(moved_at: float = 30.0) -> Track:
    """Hear a tag for a minute, ten times a second: loud at ``a``, and then loud at ``b``."""
    site = site_of({"ga": "a", "gb": "b"}, ["tag"])
    sightings = []
    for n in range(600):
        at = 0.1 * n
        for gateway, here in (("ga", at < moved_at), ("gb", at >= moved_at)):
            level = -55.0 if here else -85.0
            sightings.append(Sighting(beacon=tag(0), at=NOW + at, rssi_dbm=level, gateway=gateway))
    true = Crossing("b", NOW + 30.0, NOW + 28.0, NOW + 33.0)
    ticks = [(NOW + 0.25 * n, "a" if n < 120 else "b", not 110 <= n < 130) for n in range(4 * 59)]
    return Track("made", "tag", site, sightings, (true,), ticks)


# --- the judge ---


def test_a_rule_is_judged_by_what_it_had_decided_then() -> None:
    seen = score(crossing_track(), OURS)
    assert (seen.changes, seen.true, seen.matched) == (1, 1, 1)
    assert 0.0 < seen.delays_s[0] < 3.0
    # Clear ticks only; what was said of the first second is no place yet.
    assert seen.looked == 4 * 59 - 20
    assert seen.looked - 8 <= seen.right <= seen.looked


def test_a_change_at_the_wrong_time_is_none_and_a_missed_one_is_late_to_the_end() -> None:
    late = score(crossing_track(moved_at=40.0), OURS)
    assert (late.changes, late.matched) == (1, 0)
    assert 10.0 < late.delays_s[0] < 13.0
    never = score(crossing_track(moved_at=100.0), OURS)
    assert (never.changes, never.matched) == (0, 0)
    assert never.delays_s[0] > 28.0


def test_scores_are_added_up_and_tracks_drawn_anew() -> None:
    good, bad = Score(90, 100, 2, 1, 1, (1.0,)), Score(50, 100, 4, 1, 0, (9.0,))
    nothing = Score(0, 0, 1, 1, 1, (2.0,))
    both = pool([], OURS)
    assert (both.flips, both.f1) == (0.0, 1.0)
    both = replace(both, scores=[good, bad, nothing])
    assert both.accuracy == pytest.approx(0.7)
    assert both.flips == pytest.approx(7.0 / 3.0)
    assert both.f1 == pytest.approx(2.0 * 2.0 / 10.0)
    assert both.delay(0.5) == 2.0
    assert both.accuracy_interval() == pytest.approx((0.5, 0.9))


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_finds_a_plain_change(rule: str) -> None:
    seen = score(crossing_track(), rule)
    assert (seen.changes, seen.matched) == (1, 1)


def test_what_is_decided_after_the_last_sighting_is_left_out() -> None:
    track = crossing_track()
    for rule in RULES:
        assert [place for _, place in stays(rule, track.site, track.sightings)["tag"]][-1] == "b"


# --- what radios do ---


def test_windows_rests_and_coarse_reports_are_cut_out() -> None:
    track = crossing_track()
    rested = windows(track)
    assert len(rested.sightings) == pytest.approx(len(track.sightings) * 2 / 3, rel=0.1)
    for gateway in ("ga", "gb"):
        times = [one.at for one in rested.sightings if one.gateway == gateway]
        gaps = [b - a for a, b in pairwise(times)]
        assert max(gaps) == pytest.approx(5.1, abs=0.2)
    # A level that never changes is reported once, the step once more.
    assert len(coarse(track).sightings) == 4
    assert {one.gateway for one in silent(track, "ga").sightings} == {"gb"}


def test_a_place_is_where_the_nearest_middle_is() -> None:
    middles = {"west": (0.0, 0.0), "east": (10.0, 0.0)}
    for x, y, place, border_m in ((1.0, 5.0, "west", 4.0), (5.5, -7.0, "east", 0.5)):
        found, off_m = nearest(x, y, middles)
        assert found == place
        assert off_m == pytest.approx(border_m)


@pytest.mark.parametrize("read", [doorway, hall])
def test_what_is_no_recording_is_named(read: Callable[[Path], list[Track]], tmp_path: Path) -> None:
    for name in (f"{DOORWAY}/x_measurement_1.csv", f"{HALL}/cnf/tetam.dev"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("nothing,of,the,kind\n1,2,3,4\n")
    with pytest.raises(ProximityError, match=r"no (recording|plan) of the"):
        read(tmp_path)


# --- thresholds: recordings ---


def test_the_doorway_is_crossed_when_it_is_crossed(shared_data: Callable[[str], Path]) -> None:
    tracks = doorway(shared_data(DOORWAY).parent)
    assert sum(len(track.crossings) for track in tracks) == 22
    found = pool(tracks, OURS)
    assert found.f1 >= 0.95
    assert found.flips <= 1.1


def test_the_hall_is_told_apart(shared_data: Callable[[str], Path]) -> None:
    tracks = hall(shared_data(HALL).parent)
    assert sum(len(track.crossings) for track in tracks) == 7
    found = pool(tracks, OURS)
    assert found.accuracy >= 0.90
    assert found.flips <= 1.5
    assert found.delay(0.9) <= 9.0


def test_a_receiver_less_is_survived(shared_data: Callable[[str], Path]) -> None:
    tracks = hall(shared_data(HALL).parent)
    for gateway in sorted(tracks[0].site.gateways)[::4]:
        lame = pool([silent(track, gateway) for track in tracks], OURS)
        assert lame.accuracy >= 0.75
        assert lame.flips <= 1.5


# --- thresholds: simulations ---


def test_tags_that_lie_still_hardly_move() -> None:
    room = still(7, tags=24, hours=0.25)
    found = lain(*room, OURS)
    assert sum(one.changes for one in found) / sum(one.tag.hours for one in found) <= 12.0
    peers = lain(*room, "max of 3 s")
    assert sum(one.changes for one in peers) > 20 * sum(one.changes for one in found)


def test_a_tag_on_a_shelf_stays_there() -> None:
    site, sightings = lying(5, tags=20)
    told = stays(OURS, site, sightings)
    assert [[place for _, place in one] for one in told.values()] == [["shelf"]] * 20


def test_who_walks_by_is_found_soon_and_who_passes_far_off_is_not() -> None:
    through = walked(*walk_bys(6, 1.0, 100))
    assert through.found >= 95
    assert sorted(through.delays_s)[94] <= 2.5
    assert walked(*walk_bys(6, 12.0, 100)).found <= 5


def test_strolls_through_open_zones() -> None:
    found = pool(strolls(9, 6), OURS)
    assert found.accuracy >= 0.82
    assert found.flips <= 1.5


def test_the_same_seed_makes_the_same_world() -> None:
    assert still(3, 2, 0.02) == still(3, 2, 0.02)
    assert still(3, 2, 0.02) != still(4, 2, 0.02)
    assert [one.sightings for one in strolls(3, 1, 20.0)] == [
        one.sightings for one in strolls(3, 1, 20.0)
    ]


# --- the page ---


def test_the_page_says_each_goal_and_whether_it_is_reached() -> None:
    report = run(TINY, None)
    said = page(report, TINY)
    assert "Without recordings" in said
    assert len(list(goals(report))) == 3
    for rule in RULES:
        assert f"| {rule} |" in said
    assert said.count("\n| Tags lying still") == 1
    report.left[OURS] = 2
    assert "| 2 exits of 8 tags | **no** |" in page(report, TINY)


def test_the_page_tells_of_recordings_where_there_are_some() -> None:
    made = pool([crossing_track()], OURS)
    report = run(TINY, None)
    report.door = dict.fromkeys(RULES, made)
    report.hall = dict.fromkeys(RULES, made)
    report.spoilt = {"as recorded": (made, made), "a receiver dead": (None, made)}
    said = page(report, TINY)
    assert "Without recordings" not in said
    assert len(list(goals(report))) == 5
    assert "| a receiver dead |  |  | 0.9" in said


def test_the_command_writes_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranging, "QUICK", TINY)
    monkeypatch.setenv("PROXIMITY_DATA", str(tmp_path / "none"))
    out = tmp_path / "ranging.md"
    result = CliRunner().invoke(ranging.ranging, ["--quick", "--out", str(out)])
    assert result.exit_code == 0, result.output
    again = CliRunner().invoke(ranging.ranging, ["--quick"])
    assert out.read_text("utf-8") == again.output
