"""Whatever is drawn, what was promised holds; and a fault that is planted is found.

200 seeds within a minute on two cores. A night may run more:
``PROXIMITY_SEEDS=10000 pytest tests/properties/test_simulation.py``.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from tests.simulation.bugs import BUGS
from tests.simulation.world import run

ROOT = Path(__file__).resolve().parents[2]
SEEDS = int(os.environ.get("PROXIMITY_SEEDS", "200"))
CHUNK = 10


def wrongs(first: int) -> list[str]:
    """Run some seeds; what was wrong in each, with what replays it."""
    return [
        f"{what}; python -m tests.simulation --seed {seed}"
        for seed in range(first, min(first + CHUNK, SEEDS))
        for what in run(seed).wrong
    ]


def pass_over_what_stays() -> None:
    """Let no collection of a seed's garbage look through the program itself, time and again."""
    gc.freeze()


def test_no_seed_breaks_a_promise() -> None:
    # Processes of their own: a seed is a single thread's work, and there is more than one core.
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        os.cpu_count(), mp_context=fresh, initializer=pass_over_what_stays
    ) as pool:
        found = [what for some in pool.map(wrongs, range(0, SEEDS, CHUNK)) for what in some]
    assert found == []


def test_a_seed_is_the_same_story_to_the_byte() -> None:
    told = [
        subprocess.run(
            [sys.executable, "-m", "tests.simulation", "--seed", "3"],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": hashes},
            capture_output=True,
            check=True,
        ).stdout
        for hashes in ("1", "2")
    ]
    assert told[0] == told[1]
    assert told[0].count(b"is leased for") > 5, "it tells of something"


def test_much_happens_in_a_run() -> None:
    """A simulation in which nothing goes wrong, or nothing is offered, proves nothing."""
    counts = [run(seed).counts for seed in range(6)]
    assert sum(one["deaths"] for one in counts) > 30
    assert sum(one["arrived"] for one in counts) > 60
    assert sum(one["rows"] for one in counts) > 400
    assert sum(one["erased"] for one in counts) >= 1


@pytest.mark.parametrize("name", BUGS)
def test_a_planted_bug_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bug = BUGS[name]
    bug.plant(monkeypatch)
    for seed in range(200):
        if any(bug.found_by in what for what in run(seed).wrong):
            print(f"{name}: found in {seed + 1} seeds")  # noqa: T201 - shown with -s
            return
    pytest.fail(f"{name} was not found in 200 seeds")
