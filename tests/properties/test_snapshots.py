"""A snapshot taken in steps is the state at its beginning, whatever happens meanwhile."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from proximity.ingest.fold import Fold
from proximity.model import Fix, Record
from tests.properties.test_fold import FEATURES, SITES, Decide, inputs, records, rows_of, run

names = st.sampled_from(["s0", "s1", "s2", "s3", "s4", "s5"])


@st.composite
def anyones(draw: st.DrawFn) -> Record:
    record = draw(records())
    return msgspec.structs.replace(record, subject=draw(names)) if type(record) is Fix else record


crowds = st.tuples(st.just("records"), st.lists(anyones(), min_size=1, max_size=8))
forgotten = st.tuples(st.just("forget"), names)
steps = st.lists(
    st.tuples(st.sampled_from([0.0, 1.0, 30.0, 61.0, 600.0]), st.one_of(crowds, inputs, forgotten)),
    max_size=25,
)


@settings(deadline=None, max_examples=150)
@given(steps, st.data(), st.sampled_from(["robust", "point"]))
def test_steps_give_what_is_taken_at_once(
    found: list[Any], data: st.DataObject, decide: Decide
) -> None:
    begin = [(0.0, ("site", SITES[1])), (0.0, ("fences", set(FEATURES)))]
    rows, *_ = rows_of(begin + found)
    live, other = (Fold({}, None, decide=decide, late_s=300.0) for _ in range(2))
    cut = data.draw(st.integers(0, len(rows)))
    run(live, rows[:cut])
    run(other, rows[:cut])
    at_once = other.engine.snapshot()
    taking = live.engine.begin_snapshot()
    more, told = True, []
    for row in rows[cut:]:
        if data.draw(st.booleans()):
            more = taking.step(1) and more
        told += run(live, [row])
    while more:
        more = taking.step(data.draw(st.integers(1, 1000)))
    live.engine.end_snapshot()
    size = data.draw(st.sampled_from([1, 500, 10**6]))
    *pieces, last = taking.pieces(size)
    assert all(len(piece) >= size for piece in pieces)
    assert b"".join([*pieces, last]) == at_once
    assert told == run(other, rows[cut:])
    assert live.engine.snapshot() == other.engine.snapshot()
