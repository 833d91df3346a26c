"""What holds of the engine for any records whatever."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proximity import Engine, Transition
from proximity.engine import history
from proximity.engine.history import order
from proximity.model import Event, Fix, Record, Sighting
from tests.street import fix, fold, heard, index, site

INDEX, SITE = index(), site()
START = 1_767_225_600.0
Decide = Literal["robust", "point"]

subjects = st.sampled_from(["s0", "s1"])
# Places worth meeting: inside and beside each fence, and on the edges.
spots = st.sampled_from(
    [
        (20, 25), (20, 12), (39, 20), (41, 20), (55, 25), (60, 60), (-60, 0), (-60, 24), (-60, 30),
        (-100, -100), (-25, -60), (40, -90), (0, 0), (300, 300), (20, 60), (20, -30), (-20, -35),
    ]
)  # fmt: skip


@st.composite
def fixes(draw: st.DrawFn, times: st.SearchStrategy[float]) -> Fix:
    east, north = draw(spots)
    more: dict[str, Any] = {"accuracy_m": draw(st.sampled_from([None, 5.0, 12.0, 40.0, 300.0]))}
    if draw(st.booleans()):
        more["speed_mps"] = draw(st.sampled_from([0.0, 1.4]))
    return fix(draw(times), east, north, draw(subjects), **more)


@st.composite
def sightings(draw: st.DrawFn, times: st.SearchStrategy[float]) -> Sighting:
    gateway = draw(st.sampled_from(["gw-bar", "gw-terrace", "unknown"]))
    return heard(draw(times), gateway, draw(st.sampled_from([-50.0, -60.0, -75.0, -90.0, 127.0])))


def records(span_s: int, least: int = 1, most: int = 60) -> st.SearchStrategy[list[Fix | Sighting]]:
    times = st.integers(0, span_s * 2).map(lambda half: START + half / 2)
    return st.lists(st.one_of(fixes(times), sightings(times)), min_size=least, max_size=most)


def ordered(found: Sequence[Fix | Sighting]) -> list[Fix | Sighting]:
    """Sort by time; what one subject says of one instant stands in the engine's own order."""
    return sorted(found, key=order)


def run(
    found: Sequence[Record], decide: Decide = "robust", until: float | None = None
) -> list[Transition]:
    engine = Engine(INDEX, SITE, decide=decide)
    out = engine.on_records(found)
    return out + engine.advance(engine.now if until is None else until)


both = st.sampled_from(["robust", "point"])


@given(records(7200), both)
def test_enter_and_exit_alternate_and_dwells_lie_between(found: list[Any], decide: Decide) -> None:
    present: dict[tuple[str, str], str] = {}
    left: dict[tuple[str, str], float] = {}
    for t in run(ordered(found), decide, START + 20_000):
        key = (t.subject, t.place)
        assert not t.late
        assert t.at is not None
        if t.kind == "enter":
            assert key not in present
            assert t.at >= left.get(key, START)
            present[key] = t.visit
        elif t.kind == "exit":
            assert present.pop(key) == t.visit
            left[key] = t.at
        elif t.kind == "dwell":
            assert present[key] == t.visit
        else:
            assert t.kind == "pass"
            assert key not in present
        assert t.at <= t.decided_at
    if decide == "robust":
        assert not present  # silence ends every visit


@given(records(7200), both)
def test_a_replay_is_always_the_same(found: list[Any], decide: Decide) -> None:
    assert run(found, decide) == run(found, decide)


@given(records(7200, least=2), both, st.data())
def test_batching_changes_nothing(found: list[Any], decide: Decide, data: st.DataObject) -> None:
    one = Engine(INDEX, SITE, decide=decide)
    whole = one.on_records(found)
    other = Engine(INDEX, SITE, decide=decide)
    parts: list[Transition] = []
    while found:
        size = data.draw(st.integers(1, len(found)))
        parts += other.on_records(found[:size])
        found = found[size:]
    assert parts == whole
    assert other.snapshot() == one.snapshot()


@given(records(7200, least=2), both, st.data())
def test_save_and_load_anywhere_changes_nothing(
    found: list[Any], decide: Decide, data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(found)))
    one = Engine(INDEX, SITE, decide=decide)
    one.on_records(found[:cut])
    again = Engine.restore(one.snapshot(), INDEX, SITE)
    assert again.snapshot() == one.snapshot()
    assert again.next_due() == one.next_due()
    straight = one.on_records(found[cut:]) + one.advance(START + 20_000)
    resumed = again.on_records(found[cut:]) + again.advance(START + 20_000)
    assert resumed == straight
    assert again.snapshot() == one.snapshot()


@pytest.fixture(params=[history.KEEP_EVERY, 2], autouse=True)
def keep_every(request: pytest.FixtureRequest) -> Iterator[None]:
    """Keep standings as often as shipped, and very often, so that short walks meet many."""
    shipped = history.KEEP_EVERY
    history.KEEP_EVERY = request.param
    yield
    history.KEEP_EVERY = shipped


@settings(max_examples=300)
@given(records(3000), both, st.randoms(use_true_random=False), st.booleans())
def test_any_order_within_late_folds_to_the_same_visits(
    found: list[Any], decide: Decide, dice: random.Random, settle: bool
) -> None:
    until = START + 20_000 if settle else START + 3000
    expected = fold(run(ordered(found), decide, until))
    shuffled = [*found, *dice.sample(found, len(found) // 3)]
    dice.shuffle(shuffled)
    assert fold(run(shuffled, decide, until)) == expected


@settings(max_examples=100)
@given(records(3000), st.randoms(use_true_random=False))
def test_batches_uploaded_late_fold_to_the_same_visits(
    found: list[Any], dice: random.Random
) -> None:
    expected = fold(run(ordered(found), until=START + 20_000))
    arrivals = [
        type(record)(**{**_fields(record), "received_at": record.at + dice.choice([0, 3, 400])})
        for record in found
    ]
    arrivals.sort(key=lambda record: record.received_at or 0.0)
    assert fold(run(arrivals, until=START + 20_000)) == expected


def _fields(record: Fix | Sighting) -> dict[str, Any]:
    return {name: getattr(record, name) for name in record.__struct_fields__}


@given(records(3000), st.randoms(use_true_random=False))
def test_what_is_found_late_says_so(found: list[Any], dice: random.Random) -> None:
    shuffled = list(found)
    dice.shuffle(shuffled)
    newest: dict[str, float] = {}
    engine = Engine(INDEX, SITE)
    for record in shuffled:
        subject = record.subject or "s0"
        behind = record.at < newest.get(subject, 0.0)
        for t in engine.on_records([record]):
            if t.subject == subject and behind and t.kind == "enter":
                assert t.late
        if isinstance(record, Fix) or (record.gateway != "unknown" and record.measured):
            newest[subject] = max(record.at, newest.get(subject, 0.0))


@given(records(3000))
def test_an_event_moves_the_clock_alone(found: list[Any]) -> None:
    one, other = Engine(INDEX, SITE), Engine(INDEX, SITE)
    one.on_records(ordered(found))
    other.on_records(ordered(found))
    tick = Event(subject="s0", at=START + 9000, name="open")
    assert one.on_records([tick]) == other.advance(START + 9000)
