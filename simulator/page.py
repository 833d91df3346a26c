"""How does a run of ``quality`` read? The page docs/quality.md, in Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.baselines import BEACON_RULES, FIX_RULES
from simulator.contest import OURS, Account, total
from simulator.goals import REAL, REFUSED, goals, percent
from simulator.passing import ACCURACIES_M, CLEARANCES_M

if TYPE_CHECKING:
    from collections.abc import Iterable

    from simulator.goals import Report

__all__ = ["page"]

ABOUT = (
    "Made by `make quality`; not to be edited by hand. Worlds are simulated towns and recorded",
    "walks, with phones of every kind; an enter or exit counts where its `at` is within 120 s of",
    "the truth and it was decided within 300 s; what no observer could see is set aside; the",
    "oracle is told each phone's true error and is the ceiling: [judging](judging.md).",
    "",
)

COLUMNS = (
    "rule", "precision", "recall", "F1", "enter p50", "p95", "exit p50", "p95", "false a day",
    "flaps a visit",
)  # fmt: skip


def page(report: Report) -> str:
    """Write the page, in Markdown."""
    plan = report.plan
    lines = [
        "# Quality of presence",
        "",
        *ABOUT,
        (
            f"Seeds {', '.join(map(str, plan.seeds))}; size {plan.size:g}; {plan.ways} ways for "
            f"each point of a curve; {plan.particles} guesses of the oracle."
        ),
        "",
    ]
    if REAL not in report.worlds:
        lines += ["Without recorded walks: the folder of real data was not there.", ""]
    lines += ["## Goals", "", "| goal | measured | reached |", "| --- | --- | --- |"]
    lines += [
        f"| {one.text} | {one.measured} | {'yes' if one.reached else '**no**'} |"
        for one in goals(report)
    ]
    lines += [
        "",
        "## Enters and exits",
        "",
        "F1 with its interval of 95 % (devices drawn anew). Delays are from the truth to the",
        "decision, in seconds. False events are counted for each day that a device was watched.",
        "The peers' rules:",
        "",
        *(f"- *{rule.name}*: {rule.what}" for rule in FIX_RULES),
        "",
    ]
    for name in report.worlds:
        lines += [f"### {name}", "", *_table(report.worlds[name])]
    if len(report.moving) > 1:
        lines += ["### All worlds but *still*", ""]
        lines += _table(_pooled(report.worlds[name] for name in report.moving))
    lines += [*_scenarios(report), *_curves(report)]
    return "\n".join(lines) + "\n"


def _pooled(parts: Iterable[dict[str, list[Account]]]) -> dict[str, list[Account]]:
    """Add up the accounts of the rules that all parts have."""
    found = list(parts)
    rules = [rule for rule in found[0] if all(rule in part for part in found)]
    return {rule: [one for part in found for one in part[rule]] for rule in rules}


def _table(rules: dict[str, list[Account]]) -> list[str]:
    first = total(next(iter(rules.values())))
    devices = f"{len(first.accounts)} devices in {first.sum('hours') / 24.0:.1f} device-days"
    lines = [
        f"{first.sum('true'):.0f} true of {devices}; {first.sum('set_aside'):.0f} set aside.",
        "",
        f"| {' | '.join(COLUMNS)} |",
        "| --- " * len(COLUMNS) + "|",
    ]
    for rule, accounts in rules.items():
        summed = total(accounts)
        low, high = summed.f1_interval()
        delays = [summed.delay(kind, part) for kind in ("enter", "exit") for part in (0.5, 0.95)]
        lines.append(
            f"| {rule} | {summed.precision:.2f} | {summed.recall:.2f} "
            f"| {summed.f1:.3f} ({low:.2f} to {high:.2f}) | {' | '.join(map(_seconds, delays))} "
            f"| {summed.false_per_day:.1f} | {summed.flaps_per_visit:.2f} |"
        )
    return [*lines, ""]


def _scenarios(report: Report) -> list[str]:
    """Write what became of the scenarios: all of them, those with beacons, and each."""
    if not report.scenarios:
        return []
    made = report.scenarios
    beacons = {rule.name for rule in BEACON_RULES}
    heard = [name for name, rules in made.items() if beacons <= rules.keys()]
    lines = [
        "## Scenarios",
        "",
        "The library of `simulator make`, each with every seed. Where there are beacons, a rule",
        "for fixes goes with the loudest of them.",
        *(f"Not counted: *{name}* ({why})." for name, why in REFUSED.items()),
        "",
        *_table(_pooled(made.values())),
    ]
    if heard:
        some = _pooled(made[name] for name in heard)
        lines += ["### Those with beacons", "", f"{', '.join(heard)}; fixes by *point*.", ""]
        lines += [f"- *{rule.name}*: {rule.what}" for rule in BEACON_RULES]
        lines += ["", *_table({rule: some[rule] for rule in (OURS, *sorted(beacons))})]
    lines += [
        "### Each",
        "",
        "| scenario | true | set aside | ours found | right | flaps | best peer | found | right |",
        "| --- " * 9 + "|",
    ]
    for name, rules in made.items():
        us = total(rules[OURS])
        rule, best = max(
            ((rule, total(one)) for rule, one in rules.items() if rule != OURS),
            key=lambda pair: pair[1].f1,
        )
        lines.append(
            f"| {name} | {us.sum('true'):.0f} | {us.sum('set_aside'):.0f} | {us.sum('found'):.0f} "
            f"| {us.sum('matched'):.0f} | {us.sum('flaps'):.0f} | {rule} | {best.sum('found'):.0f} "
            f"| {best.sum('matched'):.0f} |"
        )
    return [*lines, ""]


def _curves(report: Report) -> list[str]:
    lines = [
        "## Walk-bys",
        "",
        "Of those who walk past a store, how many are reported as an enter: by the distance of the",
        "path from the edge, and the true accuracy (68 % radius) of the phone.",
        "",
        "| accuracy | " + " | ".join(f"{one:g} m off" for one in CLEARANCES_M) + " |",
        "| --- |" + " --- |" * len(CLEARANCES_M),
    ]
    for accuracy_m in ACCURACIES_M:
        row = [one for one in report.walk_bys if one.accuracy_m == accuracy_m]
        if row:
            cells = " | ".join(percent(one.entered, one.ways) for one in row)
            lines.append(f"| {accuracy_m:g} m | {cells} |")
    lines += [
        "",
        "## Passes",
        "",
        "Ways through a store between two fixes, and as many past it. Precision and recall of",
        "`pass`, by accuracy and the time between fixes.",
        "",
        "| accuracy | fixes every | true | recall | precision |",
        "| --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {one.accuracy_m:g} m | {one.every_s:g} s | {one.true} "
        f"| {percent(one.matched, one.true)} | {percent(one.matched, one.found)} |"
        for one in report.passes
    ]
    return lines


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}"
