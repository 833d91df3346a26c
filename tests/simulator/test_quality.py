"""The page about quality: sums, goals, and a small run from end to end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from simulator import quality
from simulator.baselines import FIX_RULES
from simulator.contest import ORACLE, OURS, Account, contest, total
from simulator.goals import STRONGEST, Plan, Report, goals
from simulator.page import page
from simulator.passing import Passes, WalkBys, passes, walk_bys
from simulator.quality import run
from simulator.worlds import WORLDS

# With this seed both phones speak once a minute: hardly any work.
TINY = Plan(
    seeds=(4,), size=0.01, ways=2, particles=20, worlds=("street", "still"),
    scenarios=("walk-in", "staff-tag"), day=False,
)  # fmt: skip
PEERS = tuple(rule.name for rule in FIX_RULES)


def account(matched: int, *, true: int = 100, found: int = 100, **more: float) -> Account:
    return Account(
        "s", true=true, found=found, matched=matched, hours=24.0, interval_s=5.0, visits=50, **more
    )


def report(ours: int, peer: int, oracle: int) -> Report:
    rules = {OURS: [account(ours)], ORACLE: [account(oracle)]}
    rules |= {name: [account(peer)] for name in PEERS}
    rules[OURS][0].enter_delays_s = [8.0, 12.0]
    return Report(TINY, worlds={"street": rules})


def reached(told: Report) -> dict[str, bool]:
    return {one.text.split(",")[0].split(":")[0]: one.reached for one in goals(told)}


def test_sums_of_accounts() -> None:
    both = total([account(80), account(40, flaps=10)])
    assert both.precision == both.recall == both.f1 == 0.6
    assert both.false_per_day == 40.0
    assert both.flaps_per_visit == 0.1
    low, high = both.f1_interval()
    assert 0.4 <= low < 0.6 < high <= 0.8
    nobody = total([])
    assert (nobody.f1, nobody.false_per_day, nobody.delay("enter", 0.5)) == (1.0, 0.0, None)


def test_a_lead_is_measured_on_the_same_devices() -> None:
    ours = total([account(90), account(50), account(70)])
    peer = total([account(70), account(30), account(50)])
    lead, low, high = ours.f1_lead(peer)
    assert (lead, low, high) == (pytest.approx(0.2), pytest.approx(0.2), pytest.approx(0.2))


@pytest.mark.parametrize(
    ("ours", "peer", "oracle", "says"),
    [
        (80, 60, 84, [True, True, True, True, True, True]),
        (74, 60, 84, [False, False, False, False, False, True]),
        (80, 60, 90, [True, True, True, True, False, True]),
    ],
)
def test_goals_of_worlds(ours: int, peer: int, oracle: int, says: list[bool]) -> None:
    assert [one.reached for one in goals(report(ours, peer, oracle))] == says


def test_enter_delays_are_held_against_the_interval() -> None:
    slow = report(80, 60, 84)
    slow.worlds["street"][OURS][0].enter_delays_s = [25.0]
    assert [one.reached for one in goals(slow)] == [*[True] * 5, False]


def test_the_strongest_peer_rule_has_goals_of_its_own() -> None:
    told = report(80, 60, 84)
    told.worlds["street"][STRONGEST] = [account(75)]
    usual, strongest, few, fewer, *_ = goals(told)
    assert (usual.reached, strongest.reached, few.reached, fewer.reached) == (
        True, False, True, False,
    )  # fmt: skip
    assert strongest.measured.endswith("the oracle +0.09")


def test_goals_of_ways_and_rest() -> None:
    told = Report(
        TINY,
        worlds={"still": {OURS: [account(0, true=0, found=1)]}},
        walk_bys=[WalkBys(10.0, 8.0, 100, 3), WalkBys(5.0, 8.0, 100, 90)],
        passes=[Passes(60.0, 1.0, 100, 100, 95, 0), Passes(60.0, 10.0, 100, 90, 81, 0)],
    )
    assert list(reached(told).values()) == [False, True, True, True]
    told.walk_bys.append(WalkBys(20.0, 3.0, 100, 4))
    told.passes += [Passes(30.0, 1.0, 100, 100, 94, 0), Passes(30.0, 10.0, 100, 110, 85, 0)]
    assert list(reached(told).values()) == [False, False, False, False]


def test_walk_bys_and_passes_are_counted() -> None:
    by = walk_bys(20.0, 3.0, 6)
    assert (by.ways, by.entered) == (6, 0)
    through = passes(60.0, 1.0, 24)
    assert 0 < through.true < 12
    assert through.matched <= min(through.true, through.found)


def test_a_contest_judges_everybody_by_the_same_truth() -> None:
    world = WORLDS["street"](4, 0.01)
    runs = contest(world, particles=20)
    assert set(runs) == {OURS, ORACLE, *PEERS}
    for accounts in runs.values():
        assert [one.subject for one in accounts] == [one.id for one in world.subjects]
        assert [one.true for one in accounts] == [one.true for one in runs[OURS]]
        assert all(one.matched <= min(one.true, one.found) for one in accounts)
    assert ORACLE not in contest(world, particles=0)


def test_a_small_run_from_end_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = run(TINY, workers=1)
    text = page(told)
    for heading in ("## Goals", "### street", "### still", "## Scenarios", "## Walk-bys"):
        assert heading in text
    assert "| staff-tag |" in text
    assert "Without recorded walks" in text
    # However many processes, and however often: the same page.
    monkeypatch.setattr(quality, "QUICK", replace(TINY, scenarios=("walk-in", "staff-tag")))
    out = tmp_path / "quality.md"
    result = CliRunner().invoke(quality.quality, ["--quick", "--workers", "2", "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert out.read_text("utf-8") == text
