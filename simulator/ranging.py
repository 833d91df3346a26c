"""How good is the engine at beacons? Recorded and simulated tags, and the page that says so.

    python -m simulator.ranging --out docs/ranging.md [--quick]

Runs the engine and the peers' rules over ``heard``'s recordings and ``tags``'s simulations, holds
what ``zones`` counted against the goals, and writes one page. The same seeds, the same page.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from simulator.goals import Goal
from simulator.heard import coarse, doorway, hall, silent, windows
from simulator.recorded import folder
from simulator.tags import lying, still, strolls, walk_bys
from simulator.zones import OURS, RULES, Lain, Passed, Pool, lain, pool, score, stays, walked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from simulator.heard import Track

__all__ = ["FULL", "QUICK", "Plan", "Report", "goals", "page", "ranging", "run"]

NEAR_M, PAST_M = 1.0, 12.0
"""How far from the receiver people walk by: through its zone of 3 m, and past it."""
GAPS_DB = 2.0, 4.0, 8.0
"""Still tags are told apart by how far apart the mean levels of their two receivers are."""
SPOILT: dict[str, Callable[[Track], Track]] = {
    "as recorded": lambda track: track,
    "10 s on, 5 s off": windows,
    "8 dB rule": coarse,
}
"""What radios and their drivers do to the very same recordings."""


@dataclass(frozen=True)
class Plan:
    """How much is simulated."""

    seeds: tuple[int, ...] = (1, 2, 3)
    tags: int = 40
    hours: float = 0.5
    strolls: int = 12
    ways: int = 400


FULL = Plan()
QUICK = Plan(seeds=(1,), tags=16, hours=0.25, strolls=4, ways=100)


@dataclass
class Report:
    """What a run gave; what needs recordings is empty where there are none."""

    door: dict[str, Pool] = field(default_factory=dict)
    hall: dict[str, Pool] = field(default_factory=dict)
    spoilt: dict[str, tuple[Pool | None, Pool]] = field(default_factory=dict)
    strolls: dict[str, Pool] = field(default_factory=dict)
    still: dict[str, list[Lain]] = field(default_factory=dict)
    walked: dict[str, list[Passed]] = field(default_factory=dict)
    left: dict[str, int] = field(default_factory=dict)
    lay: int = 0


def run(plan: Plan, data: Path | None) -> Report:
    """Run everything; ``data`` is the folder of recordings."""
    report = Report()
    if data is not None:
        _recorded(report, data)
    walks = [track for seed in plan.seeds for track in strolls(seed, plan.strolls)]
    rooms = [still(seed, plan.tags, plan.hours) for seed in plan.seeds]
    shelves = [lying(seed, plan.tags) for seed in plan.seeds]
    ways = [walk_bys(seed, off_m, plan.ways) for off_m in (NEAR_M, PAST_M) for seed in plan.seeds]
    report.lay = plan.tags * len(plan.seeds)
    for rule in RULES:
        report.strolls[rule] = pool(walks, rule)
        report.still[rule] = list(chain.from_iterable(lain(*room, rule) for room in rooms))
        report.walked[rule] = [walked(*way, rule) for way in ways]
        report.left[rule] = sum(
            place is None
            for shelf in shelves
            for told in stays(rule, *shelf).values()
            for _, place in told
        )
    return report


def _recorded(report: Report, data: Path) -> None:
    doors, halls = doorway(data), hall(data)
    for rule in RULES:
        report.door[rule], report.hall[rule] = pool(doors, rule), pool(halls, rule)
    for name, spoil in SPOILT.items():
        door = pool(map(spoil, doors), OURS)
        report.spoilt[name] = door, pool(map(spoil, halls), OURS)
    # Each of the receivers dead in turn.
    gateways = sorted(halls[0].site.gateways)
    dead = [score(silent(track, one), OURS) for one in gateways for track in halls]
    report.spoilt["a receiver dead"] = None, Pool(dead)


def goals(report: Report) -> Iterator[Goal]:
    """Hold what was measured against what ranging is to reach."""
    if report.door:
        door = report.door[OURS]
        yield Goal(
            "Doorway: F1 of the crossings at least 0.90, at most 1.2 changes for each true one",
            f"F1 {door.f1:.3f}, {door.flips:.2f} changes",
            reached=door.f1 >= 0.90 and door.flips <= 1.2,
        )
        track = report.hall[OURS]
        low, high = track.accuracy_interval()
        yield Goal(
            "Hall: right at least 0.90 of the time farther than 1.5 m from a border, at most 1.5 "
            "changes for each true one, p90 of the delay at most 9 s",
            f"{track.accuracy:.3f} ({low:.2f} to {high:.2f}), {track.flips:.2f} changes, "
            f"{track.delay(0.9):.1f} s",
            reached=track.accuracy >= 0.90 and track.flips <= 1.5 and track.delay(0.9) <= 9.0,
        )
    an_hour = hourly(report.still[OURS])
    yield Goal(
        "Tags lying still between two receivers: at most 12 false changes a tag-hour",
        f"{an_hour:.1f}",
        reached=an_hour <= 12.0,
    )
    yield Goal(
        "A tag lying on a shelf, 1 Hz, three in ten lost, 10 minutes: no exit",
        f"{report.left[OURS]} exits of {report.lay} tags",
        reached=report.left[OURS] == 0,
    )
    found, late_s, past = _by(report, OURS)
    yield Goal(
        f"Walking by at 1.2 m/s through a zone of 3 m: found at least 95 %, p95 within 2.5 s; "
        f"{PAST_M:g} m off at most 5 % entered",
        f"{100.0 * found:.1f} %, {late_s:.1f} s; {100.0 * past:.1f} %",
        reached=found >= 0.95 and late_s <= 2.5 and past <= 0.05,
    )


def hourly(tags: Sequence[Lain]) -> float:
    """Give the false changes for each hour that a tag lay."""
    return sum(one.changes for one in tags) / sum(one.tag.hours for one in tags)


def _by(report: Report, rule: str) -> tuple[float, float, float]:
    """Give the share found, the p95 of their delays, and the share entered far off."""
    near = [one for one in report.walked[rule] if one.off_m == NEAR_M]
    past = [one for one in report.walked[rule] if one.off_m == PAST_M]
    delays = [late for one in near for late in one.delays_s]
    return (
        sum(one.found for one in near) / sum(one.ways for one in near),
        float(np.quantile(delays, 0.95)) if delays else float("inf"),
        sum(one.found for one in past) / sum(one.ways for one in past),
    )


def page(report: Report, plan: Plan) -> str:
    """Write the page, in Markdown."""
    seeds = ", ".join(map(str, plan.seeds))
    lines = [
        "# Quality of ranging",
        "",
        "Made by `make quality`; not to be edited by hand. Who is in which zone, by the levels at",
        "which receivers hear a tag: the engine as it comes, one set of numbers for everything, on",
        "recordings with a known truth and on simulated tags. A rule is judged by what it had",
        "decided at each moment. What each set is, and what was tried: [judging](judging.md).",
        "",
        f"Seeds {seeds}; each {plan.tags} tags, {plan.strolls} walks and {plan.ways} ways by.",
        "",
    ]
    if not report.door:
        lines += ["Without recordings: the folder of real data was not there.", ""]
    lines += ["## Goals", "", "| goal | measured | reached |", "| --- | --- | --- |"]
    lines += [
        f"| {one.text} | {one.measured} | {'yes' if one.reached else '**no**'} |"
        for one in goals(report)
    ]
    lines += ["", *_recordings(report), *_simulated(report)]
    return "\n".join(lines)


def _recordings(report: Report) -> list[str]:
    if not report.door:
        return []
    lines = ["## Recorded: a door and a hall", ""]
    lines += _table(
        "rule | door F1 | changes a true one | hall right | interval | changes | p50 | p90 s",
        ((rule, report.door[rule], report.hall[rule]) for rule in RULES),
    )
    lines += ["## What radios do to it", "", "The same recordings through our rule.", ""]
    lines += _table(
        "reports | door F1 | changes a true one | hall right | interval | changes | p50 | p90 s",
        ((name, *both) for name, both in report.spoilt.items()),
    )
    return lines


def _table(head: str, rows: Iterator[tuple[str, Pool | None, Pool]]) -> list[str]:
    lines = [f"| {head} |", "| --- " * (head.count("|") + 1) + "|"]
    for name, door, track in rows:
        low, high = track.accuracy_interval()
        crossed = " | " if door is None else f"{door.f1:.3f} | {door.flips:.2f}"
        lines.append(
            f"| {name} | {crossed} | {track.accuracy:.3f} | {low:.2f} to {high:.2f} "
            f"| {track.flips:.2f} | {track.delay(0.5):.1f} | {track.delay(0.9):.1f} |"
        )
    return [*lines, ""]


def _simulated(report: Report) -> list[str]:
    bands = [f"under {GAPS_DB[0]:g} dB", *(f"from {low:g} dB" for low in GAPS_DB)]
    lines = [
        "## Simulated: tags that lie still",
        "",
        "False changes for each hour that a tag lies between two receivers, by how far apart the",
        "two mean levels are. People pass and stand in the way; levels drift.",
        "",
        f"| rule | all | {' | '.join(bands)} | exits on the shelf |",
        "| --- " * (len(bands) + 3) + "|",
    ]
    for rule, tags in report.still.items():
        cells = [f"{hourly(tags):.1f}", *(_cell(tags, number) for number in range(len(bands)))]
        lines.append(f"| {rule} | {' | '.join(cells)} | {report.left[rule]} |")
    lines += [
        "",
        "## Simulated: people who walk",
        "",
        "Through the hall's zones, drawn anew; and by a receiver with a level measured on the edge",
        "of its zone.",
        "",
        f"| rule | hall right | changes | p50 | p90 s | found | p95 s | entered {PAST_M:g} m off |",
        "| --- " * 8 + "|",
    ]
    for rule, track in report.strolls.items():
        found, late_s, past = _by(report, rule)
        lines.append(
            f"| {rule} | {track.accuracy:.3f} | {track.flips:.2f} | {track.delay(0.5):.1f} "
            f"| {track.delay(0.9):.1f} | {100.0 * found:.1f} % | {late_s:.1f} "
            f"| {100.0 * past:.1f} % |"
        )
    return [*lines, ""]


def _cell(tags: Sequence[Lain], band: int) -> str:
    """Write the false changes an hour of the tags in one band of gaps."""
    some = [one for one in tags if sum(one.tag.gap_db >= gap for gap in GAPS_DB) == band]
    return f"{hourly(some):.1f}" if some else ""


@click.command()
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="Else to the screen.")
@click.option("--quick", is_flag=True, help="A fraction of everything: half a minute.")
def ranging(out: Path | None, *, quick: bool) -> None:
    """Measure ranging against recordings, simulations and the peers' rules, and write the page."""
    plan = QUICK if quick else FULL
    text = page(run(plan, folder()), plan)
    if out is None:
        sys.stdout.write(text)
    else:
        out.write_text(text, "utf-8")


if __name__ == "__main__":
    ranging()
