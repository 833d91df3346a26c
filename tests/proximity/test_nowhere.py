"""Somebody who is nowhere: few bytes, and the same subject when it wakes."""

from __future__ import annotations

import msgspec
import pytest

from proximity import Engine
from proximity.engine import nowhere
from proximity.engine.arbitration import Ranging
from proximity.engine.history import KEEP_EVERY, Subject
from proximity.engine.nowhere import cut, doze, lengthened, standing_of, wake
from proximity.engine.trail import ROW_BYTES, newest_of
from tests.street import fix, index, site, walk

FAR = (9000.0, 9000.0)
INDEX, SITE = index(), site()


def trail_of(engine: Engine, subject: str = "s0") -> bytes:
    known = engine._subjects[subject]
    assert isinstance(known, bytes)
    return known


def trail(count: int, every_s: float = 10.0) -> bytes:
    engine = Engine(INDEX, SITE)
    engine.on_fixes(walk(1000, [FAR] * count, every_s=every_s))
    return trail_of(engine)


@pytest.mark.parametrize("make", [trail, lambda count: cut(trail(count), 1015.0)])
def test_a_trail_wakes_and_dozes(make: object) -> None:
    asleep = make(5)  # type: ignore[operator]
    known = wake(asleep, edits=3)
    assert known.edits == 3
    assert known.standing.clock == known.newest == 1040.0
    assert standing_of(asleep) == known.standing
    assert doze(known, 3600.0) == asleep


def test_one_fix_far_from_everything_is_one_row() -> None:
    assert len(trail(1)) == ROW_BYTES


def test_a_trail_that_is_cut_begins_at_its_last_fix() -> None:
    asleep = trail(5)
    assert cut(asleep, 1000.0) == asleep
    parts = cut(asleep, 1020.0)
    known = wake(parts, 0)
    assert (len(known.history), known.marks[0].standing.clock) == (3, 1010.0)
    everything = cut(asleep)
    assert cut(cut(asleep, 1020.0)) == everything
    assert cut(everything) == everything
    assert newest_of(everything) == 1040.0
    assert doze(wake(everything, 0), 3600.0) is None  # until its next fix
    with_next = lengthened(everything, trail(1), 1050.0, 3600.0)
    assert with_next is not None
    assert len(wake(with_next, 0).history) == 1


def test_what_no_late_record_can_reach_is_forgotten() -> None:
    asleep = trail(KEEP_EVERY - 4, every_s=600.0)
    assert len(asleep) <= nowhere.FADES + 10 * ROW_BYTES


def test_a_long_trail_becomes_a_subject_and_a_trail_again() -> None:
    engine = Engine(INDEX, SITE, late_s=100.0)
    engine.on_fixes(walk(1000, [FAR] * KEEP_EVERY, every_s=1.0))
    trail_of(engine)
    engine.on_fixes([fix(1070, *FAR)])
    assert isinstance(engine._subjects["s0"], Subject)
    engine.on_fixes(walk(1200, [FAR] * 10, every_s=1.0))
    assert len(trail_of(engine)) <= 12 * ROW_BYTES
    assert engine.on_fixes([fix(1105, 20.0, 25.0)]) == []  # before all that is remembered


def test_a_visit_keeps_a_subject_awake_while_it_may_change() -> None:
    engine = Engine(INDEX, SITE, decide="point", late_s=100.0)
    engine.on_fixes([fix(1000, 20.0, 25.0), fix(1010, *FAR)])
    assert isinstance(engine._subjects["s0"], Subject)
    engine.on_fixes(walk(1020, [FAR] * 9))
    assert isinstance(engine._subjects["s0"], Subject)
    engine.on_fixes(walk(1120, [FAR] * 30))
    assert len(trail_of(engine)) <= 22 * ROW_BYTES


def test_a_sealed_subject_that_had_no_fix_before_dozes_too() -> None:
    known = Subject(wake(trail(1), 0).standing)
    known.standing.last = None
    known.seal()
    assert doze(known, 3600.0) is None
    engine = Engine(INDEX, SITE, decide="point")
    engine._subjects["s0"] = known
    engine.on_fixes([fix(1100, *FAR)])
    asleep = trail_of(engine)
    assert len(asleep) == 2 * ROW_BYTES
    assert doze(wake(asleep, 0), 3600.0) == asleep
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(asleep)) == asleep


def test_another_site_settles_what_was_nowhere_too() -> None:
    engine = Engine(INDEX, SITE)
    engine.on_fixes([fix(1000, *FAR), fix(1100, *FAR)])
    engine.replace_site(SITE)
    assert len(trail_of(engine)) == 2 * ROW_BYTES
    assert engine.on_fixes([fix(1050, 20.0, 25.0)]) == []
    assert engine.counts["late"] == 1


def test_whoever_was_heard_by_receivers_stays_awake() -> None:
    known = wake(trail(5), 0)
    known.standing.ranging = Ranging()
    assert doze(known, 3600.0) is None
    known.standing.ranging = None
    assert doze(known, 3600.0) == trail(5)
