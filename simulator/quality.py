"""How good is presence, against the peers' rules and against the ceiling? The page that says so.

    python -m simulator.quality --out docs/quality.md [--quick] [--world NAME ...]

Runs ``contest`` over every world and scenario and ``passing``'s ways, on all cores, and writes one
page: tables with intervals, curves, and each goal with what was measured. The same seeds, the same
page.
"""

from __future__ import annotations

import os
import sys
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

import click

from simulator.contest import Account, contest
from simulator.goals import DAY, REAL, Plan, Report
from simulator.page import page
from simulator.passing import (
    ACCURACIES_M,
    CLEARANCES_M,
    PASS_ACCURACIES_M,
    PASS_EVERY_S,
    passes,
    walk_bys,
)
from simulator.recorded import folder
from simulator.staged import staged
from simulator.worlds import WORLDS

if TYPE_CHECKING:
    from concurrent.futures import Future

__all__ = ["FULL", "QUICK", "quality", "run"]

FULL = Plan()
QUICK = Plan(seeds=(1,), size=0.2, ways=60, particles=75, day=False)


def _world(name: str, seed: int, plan: Plan) -> dict[str, list[Account]]:
    return contest(WORLDS[name](seed, plan.size), particles=plan.particles, seed=seed)


def _scenario(name: str, seed: int) -> dict[str, list[Account]]:
    return contest(staged(name, seed))


def _pool(workers: int) -> Executor:
    """Give what runs jobs: further processes, or for one worker this very one."""
    if workers == 1:
        return ThreadPoolExecutor(1)
    return ProcessPoolExecutor(workers, mp_context=get_context("spawn"))


def run(plan: Plan, workers: int = 1) -> Report:
    """Run a plan on so many processes; what is found does not depend on how many."""
    report = Report(plan)
    jobs: list[tuple[dict[str, dict[str, list[Account]]], str, Future[dict[str, list[Account]]]]]
    jobs = []
    with _pool(workers) as pool:
        if plan.day:
            jobs.append((report.worlds, DAY, pool.submit(_scenario, DAY, plan.seeds[0])))
        for seed in plan.seeds:
            for name in plan.worlds:
                job = pool.submit(_world, name, seed, plan)
                jobs.append((report.worlds, name, job))
            for name in plan.scenarios:
                jobs.append((report.scenarios, name, pool.submit(_scenario, name, seed)))
        by = [
            pool.submit(walk_bys, clearance_m, accuracy_m, plan.ways)
            for accuracy_m in ACCURACIES_M
            for clearance_m in CLEARANCES_M
        ]
        through = [
            pool.submit(passes, every_s, accuracy_m, 2 * plan.ways)
            for accuracy_m in PASS_ACCURACIES_M
            for every_s in PASS_EVERY_S
        ]
        for into, name, job in jobs:
            kept = into.setdefault(name, {})
            for rule, accounts in job.result().items():
                kept.setdefault(rule, []).extend(accounts)
        report.walk_bys = [job.result() for job in by]
        report.passes = [job.result() for job in through]
    report.worlds = {name: report.worlds[name] for name in (*WORLDS, DAY) if name in report.worlds}
    return report


@click.command()
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="Else to the screen.")
@click.option("--quick", is_flag=True, help="A fraction of everything: a minute.")
@click.option(
    "--world",
    "worlds",
    type=click.Choice(list(WORLDS)),
    multiple=True,
    help="Only this world, and no scenario; may be repeated.",
)
@click.option("--workers", type=click.IntRange(1), default=os.cpu_count() or 1, show_default=True)
def quality(out: Path | None, *, quick: bool, worlds: tuple[str, ...], workers: int) -> None:
    """Measure presence against the peers' rules and the oracle, and write the page about it."""
    plan = QUICK if quick else FULL
    if worlds:
        plan = replace(plan, worlds=worlds, scenarios=(), day=False)
    if folder() is None:
        plan = replace(plan, worlds=tuple(name for name in plan.worlds if name != REAL))
    text = page(run(plan, workers))
    if out is None:
        sys.stdout.write(text)
    else:
        out.write_text(text, "utf-8")


if __name__ == "__main__":
    quality()
