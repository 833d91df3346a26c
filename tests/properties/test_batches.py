"""Judging many fixes at once is judging them one by one: the same transitions, the same state."""

from __future__ import annotations

import random
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proximity import Engine
from proximity.engine import engine as engines
from proximity.engine import history, nowhere, quiet, rounds
from proximity.engine.robust import ROBUST
from proximity.model import Fix
from tests.street import fix, index, site

INDEX, SITE = index(), site()
START = 1_767_225_600.0
Decide = Literal["robust", "point"]
both = st.sampled_from(["robust", "point"])

# In places, beside them, and far from all of them.
spots = st.sampled_from([(20, 25), (39, 20), (41, 20), (55, 25), (-60, 0), (60, 60), (9000, 0)])
more = st.sampled_from([{}, {}, {}, {"speed_mps": 1.0}, {"accuracy_m": None}, {"mock": True}])


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make arrays of few fixes, and keep standings often, so that short walks meet everything."""
    monkeypatch.setattr(rounds, "LEAST_BATCH", 2)
    monkeypatch.setattr(engines, "LEAST_BATCH", 2)
    monkeypatch.setattr(quiet, "LEAST_TRACKS", 1)
    monkeypatch.setattr(history, "KEEP_EVERY", 6)
    monkeypatch.setattr(nowhere, "FADES", 64)
    monkeypatch.setitem(engines.DECIDE, "robust", ROBUST._replace(quiet=quiet.robust_quiet))


@st.composite
def crowds(draw: st.DrawFn) -> list[Fix]:
    """Several people who stay about one place each, and now and then go to another."""
    dice = random.Random(draw(st.integers(0, 2**32)))
    people = [f"s{number}" for number in range(draw(st.integers(1, 8)))]
    where = {who: draw(spots) for who in people}
    every_s = draw(st.sampled_from([0.0, 5.0, 60.0, 400.0]))
    clock = draw(st.sampled_from([None, "live", "backlog"]))
    found: list[Fix] = []
    for number in range(draw(st.integers(2, 14))):
        for who in people:
            if dice.random() < 0.1:
                where[who] = draw(spots)
            east, north = (there + dice.gauss(0.0, 3.0) for there in where[who])
            when = START + number * every_s + dice.choice([0.0, 0.0, 1.0, -every_s])
            said: dict[str, Any] = dict(draw(more)) if dice.random() < 0.2 else {}
            if clock is not None:
                late = 500.0 if clock == "backlog" else 2.0
                said["received_at"] = max(when, START + number * every_s // late * late) + 1.0
            found.append(fix(when, east, north, who, **said))
    return found


@settings(max_examples=150, deadline=None)
@given(crowds(), both, st.integers(2, 60), st.booleans())
def test_a_batch_is_its_fixes_one_by_one(
    found: list[Fix], decide: Decide, size: int, admitted: bool
) -> None:
    one = Engine(INDEX, SITE, decide=decide, late_s=300.0, admitted=admitted)
    many = Engine(INDEX, SITE, decide=decide, late_s=300.0, admitted=admitted)
    expected = [change for each in found for change in one.on_fixes([each])]
    out = []
    for first in range(0, len(found), size):
        out += many.on_fixes(found[first : first + size])
    assert out == expected
    assert many.snapshot() == one.snapshot()
    due = one.next_due()
    for now in (one.now, one.now + 30.0, one.now + 1e6):
        assert many.due_by(now) == (due is not None and due <= now)
    assert many.next_due() == due
    assert many.advance(START + 20_000) == one.advance(START + 20_000)


def test_people_who_stay_are_not_judged_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    judged: list[str] = []
    shipped = Engine._judge

    def judge(self: Engine, subject: str, *more: Any) -> None:
        judged.append(subject)
        shipped(self, subject, *more)

    monkeypatch.setattr(Engine, "_judge", judge)
    run = Engine(INDEX, SITE)
    steps = [
        [fix(START + 60.0 * n, 20.0 + n % 3, 25.0, f"s{who}") for who in range(20)]
        + [fix(START + 60.0 * n, 9000.0 + n, 0.0, f"far{who}") for who in range(20)]
        for n in range(20)
    ]
    for step in steps:
        run.on_fixes(step)
    assert run.present("cafe") == sorted(f"s{who}" for who in range(20))
    assert judged.count("far0") <= 4  # when its trail is full
    assert judged.count("s0") <= 5


def test_a_batch_has_its_repeats_and_its_overdue_timers() -> None:
    # A backlog that arrives at one instant: timers overdue since then ring between its fixes.
    people = [f"s{who}" for who in range(12)]
    live = [fix(START, 20.0, 25.0, who, received_at=START + 5000.0) for who in people]
    stay = [fix(START + 600.0 * n, 20.0, 25.0, who, received_at=START + 5000.0)
            for n in range(1, 5) for who in people]  # fmt: skip
    found = [*live, *live, *stay]
    one, many = Engine(INDEX, SITE), Engine(INDEX, SITE)
    expected = [change for each in found for change in one.on_fixes([each])]
    out = many.on_fixes(live) + many.on_fixes(live) + many.on_fixes(stay)
    assert out == expected
    assert many.counts == one.counts == {"duplicate": 12}
    assert many.snapshot() == one.snapshot()
