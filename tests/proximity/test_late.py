"""Records that come late, twice or all at once: what the engine makes of them."""

from __future__ import annotations

import random
from typing import Any

import pytest

from proximity import Engine, parse_site
from proximity.engine import history
from proximity.engine.edited import KEPT_EDITS
from proximity.engine.history import KEEP_EVERY, MAX_HISTORY, THIN_EVERY
from proximity.engine.trail import order
from tests.street import SITE as SITE_TEXT
from tests.street import box, feature, fences, fix, fold, heard, index, ride, site, walk

INDEX, SITE = index(), site()
INSIDE, OUTSIDE = (20.0, 25.0), (20.0, 150.0)


def engine(**more: Any) -> Engine:
    return Engine(INDEX, SITE, **more)


def test_a_late_fix_shortens_a_visit() -> None:
    run = engine()
    out = run.on_fixes(walk(1000, [INSIDE] * 3)) + run.on_fixes([ride(1100, *OUTSIDE)])
    out += run.advance(1200)
    late = run.on_fixes([ride(1050, *OUTSIDE)])
    assert [t.kind for t in late] == ["corrected"]
    assert (late[0].enter_at, late[0].exit_at) == (1000.0, 1050.0)
    assert late[0].visit == out[0].visit
    assert late[0].decided_at == 1200.0


def test_a_visit_found_late_is_told_as_such() -> None:
    run = engine()
    assert run.on_fixes([ride(1000, *OUTSIDE), ride(1400, *OUTSIDE)]) == []
    out = run.on_fixes([ride(1100, *INSIDE)])
    assert [(t.kind, t.at, t.late) for t in out] == [
        ("enter", 1100.0, True),
        ("dwell", 1160.0, True),
        ("dwell", 1400.0, True),
    ]
    out = run.on_fixes([ride(1200, *OUTSIDE)])
    assert [(t.kind, t.at, t.late) for t in out] == [("exit", 1200.0, True)]


def test_a_visit_found_late_is_told_in_its_own_order() -> None:
    # Silence ends it at the sighting, which is before the dwell that ran out until then.
    dwells = SITE_TEXT.replace('id = "cafe/bar"', 'id = "cafe/bar"\ndwell_s = [10]')
    run = Engine(INDEX, parse_site(dwells, "site.toml"))
    assert run.on_fixes([ride(900, *OUTSIDE, received_at=1300), ride(1200, *OUTSIDE)]) == []
    out = run.on_sightings([heard(998.0 + second, "gw-bar") for second in range(3)])
    bar = [(t.kind, t.at) for t in out if t.place == "cafe/bar"]
    assert bar == [("enter", 1000.0), ("dwell", 1010.0), ("exit", 1000.0)]


def test_a_late_fix_that_unsays_a_visit() -> None:
    run = engine()
    out = run.on_fixes([ride(1000, *INSIDE, accuracy_m=25.0), ride(1100, *INSIDE, accuracy_m=25.0)])
    assert [t.kind for t in out] == ["enter"]
    (gone,) = run.on_fixes([ride(1050, *OUTSIDE)])
    assert (gone.kind, gone.enter_at, gone.exit_at) == ("corrected", None, None)
    again = run.on_fixes([ride(1110, *INSIDE)])
    assert [t.kind for t in again] == ["enter"]


def test_repeats_and_records_from_the_future_are_counted() -> None:
    run = engine()
    run.on_fixes(
        [ride(1000, *INSIDE), ride(1000, *INSIDE), ride(2000, *INSIDE, received_at=1000.0)]
    )
    run.on_fixes([ride(9000, *INSIDE), ride(1000, *INSIDE, subject="new"), ride(2000, *INSIDE)])
    assert run.counts == {"duplicate": 1, "future": 1, "late": 1}


def test_memory_of_one_subject_is_bounded() -> None:
    run = engine(late_s=600.0)
    run.on_fixes(walk(1000, [OUTSIDE] * 2000, every_s=1.0))
    (subject,) = run._subjects.values()
    assert len(subject.history) <= 600 + 2 * KEEP_EVERY
    assert len(subject.marks) <= 600 / KEEP_EVERY + 3
    run.on_fixes([ride(2400.5, *OUTSIDE)])
    assert run.counts["late"] == 0


def test_beyond_the_bound_the_oldest_go_and_late_records_with_them() -> None:
    run = engine(decide="point")
    run.on_fixes(walk(1000, [OUTSIDE] * (MAX_HISTORY + 200), every_s=0.1))
    (subject,) = run._subjects.values()
    assert len(subject.history) <= MAX_HISTORY + KEEP_EVERY
    assert run.on_fixes([ride(1000.05, *INSIDE)]) == []
    assert run.counts["late"] == 1


def test_what_an_earlier_site_decided_stays_and_new_records_go_by_the_new_one() -> None:
    run = engine()
    run.on_sightings([heard(1000 + i, "gw-bar") for i in range(20)])
    run.on_sightings([heard(1000, "gw-terrace")])
    run.replace_site(parse_site('[[place]]\nid = "cafe/bar"\n', "site.toml"))
    assert run.site.gateways == {}
    assert run.on_fixes([ride(1010, *OUTSIDE)]) == []
    assert run.counts["late"] == 1
    assert [t.place for t in run.advance(1100)] == ["cafe", "cafe/bar"]


def test_a_sighting_of_an_earlier_site_says_nothing_when_judged_again() -> None:
    run = engine()
    run.on_records([heard(1000, "gw-bar"), ride(1010, *OUTSIDE)])
    again = Engine.restore(run.snapshot(), INDEX, parse_site("", "site.toml"))
    assert [t.kind for t in again.on_fixes([ride(1005, *INSIDE)])] == ["enter"]


def test_a_finished_visit_is_not_judged_again_by_fences_that_came_later() -> None:
    layout = index()
    run = Engine(layout)
    out = run.on_fixes([ride(1000, *INSIDE), ride(1060, *OUTSIDE)]) + run.advance(1200)
    run.on_fixes([ride(1210, *OUTSIDE, subject="s1")])
    layout.remove("cafe")
    layout.put(fences(feature("stall", box(0, 10, 40, 40)))[0])
    run.advance(1210)
    again = Engine.restore(run.snapshot(), layout)
    for one in (run, again):
        assert [t.kind for t in out if t.kind != "dwell"] == ["enter", "exit"]
        assert one.on_fixes([ride(1050, *OUTSIDE)]) == []  # its visit is settled
        assert one.counts["late"] == 1
        assert [t.kind for t in one.on_fixes([ride(1220, *INSIDE)])] == ["enter"]
    assert run.snapshot() == again.snapshot()


def test_more_edits_than_are_remembered_settle_everything() -> None:
    layout = index()
    run = Engine(layout)
    run.on_fixes([ride(1000, *INSIDE), ride(1100, *OUTSIDE)])
    spare = fences(feature("spare", box(900, 900, 905, 905)))[0]
    for _ in range(KEPT_EDITS + 1):
        layout.put(spare)
        run.advance(1100)
    assert run.on_fixes([ride(1050, *INSIDE)]) == []
    assert run.counts["late"] == 1


def test_a_visit_found_where_a_corrected_one_began_has_a_name_of_its_own() -> None:
    # The live fix comes first, then the phone's queue from before and around it.
    run = engine(decide="point")
    queue = [ride(10.0 * n, *INSIDE) for n in range(130)] + [
        ride(1300.0 + 10 * n, *OUTSIDE) for n in range(20)
    ]
    live = ride(1500, *INSIDE)
    expected = fold(engine(decide="point").on_fixes(sorted([live, *queue], key=lambda f: f.at)))
    out = run.on_fixes([live])
    for one in queue:
        out += run.on_fixes([one])
    assert fold(out) == expected
    assert len({t.visit for t in out if t.kind == "enter"}) == 2


def test_a_late_fix_in_a_visit_that_began_long_before() -> None:
    run = engine()
    out = run.on_fixes(walk(1000, [INSIDE] * (2 * KEEP_EVERY), every_s=1.0))
    run.on_fixes([ride(1200, *OUTSIDE)])
    run.advance(1300)
    (moved,) = run.on_fixes([ride(1150, *OUTSIDE)])
    assert (moved.kind, moved.visit, moved.exit_at) == ("corrected", out[0].visit, 1150.0)
    assert [t.kind for t in run.on_fixes([ride(1140, *INSIDE)])] == []


def test_a_late_fix_between_two_unsure_ones() -> None:
    run = engine()
    run.on_fixes(walk(1000, [OUTSIDE] * (KEEP_EVERY - 1), every_s=1.0))
    start = 1000.0 + KEEP_EVERY
    unsure = [ride(start + 10 * n, *INSIDE, accuracy_m=70.0) for n in range(3)]
    assert [t.at for t in run.on_fixes(unsure)] == [start]
    assert [t.kind for t in run.on_fixes([ride(start + 5, *OUTSIDE)])] == ["corrected"]


@pytest.mark.parametrize("seed", range(20))
def test_places_left_and_entered_again_at_one_instant(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Standings are kept in the midst of an instant, and late records begin there.
    monkeypatch.setattr(history, "KEEP_EVERY", 6)
    dice = random.Random(seed)
    found = [
        fix(1000.0 + dice.choice([0, 0, 0, 1]), *dice.choice([INSIDE, (55.0, 25.0)]), accuracy_m=n)
        for n in range(1, 60)
    ]
    expected = fold(engine(decide="point").on_fixes(sorted(found, key=order)))
    run = engine(decide="point")
    assert fold([change for one in found for change in run.on_fixes([one])]) == expected


def test_standings_among_sightings_are_close_where_late_ones_come_and_few() -> None:
    run = engine()
    run.on_sightings([heard(1000.0 + 0.5 * n, "gw-bar", -50.0) for n in range(1001)])
    (subject,) = run._subjects.values()
    kept = [mark.index for mark in subject.marks]
    assert len(kept) <= 1001 / (KEEP_EVERY / 2) + 2 * THIN_EVERY
    for behind in range(1, 900):
        before = max(index for index in kept if index <= 1001 - behind)
        assert 1001 - behind - before <= min(KEEP_EVERY, behind) + 2 * THIN_EVERY


@pytest.mark.parametrize("seed", range(10))
def test_what_a_backlog_unsays_and_says_again_is_told_each_time(seed: int) -> None:
    # All of it arrives at one instant; whoever keeps each id once must come to the same visits.
    dice = random.Random(seed)
    spots = [INSIDE, (38.0, 25.0), (44.0, 25.0), (60.0, 60.0)]
    found = [
        fix(
            1000.0 + 30.0 * n,
            *(metres + dice.gauss(0.0, 3.0) for metres in dice.choice(spots)),
            received_at=2500.0,
        )
        for n in range(40)
    ]
    late = found[:20]
    dice.shuffle(late)
    out = engine().on_records(found[20:] + late)
    assert len({change.id for change in out}) == len(out)
