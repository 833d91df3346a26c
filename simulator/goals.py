"""Is presence as good as it is to be? What one run measured, and each goal held against it.

Counts in, goals with yes or no out. Knows neither how they were counted nor how they are printed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from simulator.baselines import FIX_RULES
from simulator.contest import ORACLE, OURS, Account, Total, total
from simulator.oracle import PARTICLES
from simulator.passing import Passes, WalkBys
from simulator.staged import STAGED
from simulator.worlds import WORLDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["DAY", "REAL", "REFUSED", "STILL", "Goal", "Plan", "Report", "goals", "percent"]

STILL = "still"
"""The world of phones at rest: it has hardly a true change, so only its false ones are counted."""
REAL = "delivery"
"""The world that needs recorded walks."""
DAY = "day"
"""The scenario of a thousand walkers: a world of its own, run with one seed."""
STRONGEST = "clearance"
"""The strongest rule of a peer that we know, beyond the usual ones: it has goals of its own."""
USUAL = tuple(rule.name for rule in FIX_RULES if rule.name != STRONGEST)
"""The rules that everybody has: by point, circle, two fixes, Traccar's filters."""
LEAD = 0.15
"""How far F1 is to be above the others'."""
REFUSED = {"mocked": "what it truly was, a mocked position must not tell"}
"""Scenarios that are not counted, and why."""


@dataclass(frozen=True)
class Plan:
    """How much is run: seeds and size of each world, ways for each point of a curve."""

    seeds: tuple[int, ...] = (1, 2, 3)
    size: float = 0.4
    ways: int = 400
    particles: int = PARTICLES
    worlds: tuple[str, ...] = tuple(WORLDS)
    scenarios: tuple[str, ...] = tuple(n for n in STAGED if n not in REFUSED and n != DAY)
    day: bool = True


@dataclass
class Report:
    """What a run gave: accounts by world and rule, and the points of the curves."""

    plan: Plan
    worlds: dict[str, dict[str, list[Account]]] = field(default_factory=dict)
    scenarios: dict[str, dict[str, list[Account]]] = field(default_factory=dict)
    walk_bys: list[WalkBys] = field(default_factory=list)
    passes: list[Passes] = field(default_factory=list)

    @property
    def moving(self) -> list[str]:
        """The worlds in which people move."""
        return [name for name in self.worlds if name != STILL]

    def of(self, rule: str, worlds: Iterable[str]) -> Total:
        """Add up what a rule made of some worlds."""
        return total([account for name in worlds for account in self.worlds[name][rule]])

    def of_scenarios(self, rule: str, names: Iterable[str]) -> Total:
        """Add up what a rule made of some scenarios."""
        return total([account for name in names for account in self.scenarios[name][rule]])


@dataclass(frozen=True)
class Goal:
    """One goal, what was measured, and whether that reaches it."""

    text: str
    measured: str
    reached: bool


def goals(report: Report) -> list[Goal]:
    """Hold what was measured against what presence is to reach."""
    return [*_of_worlds(report), *_of_ways(report)]


def _of_worlds(report: Report) -> Iterator[Goal]:
    moving = report.moving
    if moving:
        usual = "the best of the peers' usual rules"
        strongest = f"*{STRONGEST}*, the strongest peer rule we know"
        yield _leads(report, USUAL, usual)
        yield _leads(report, (STRONGEST,), strongest)
        yield _false(report, USUAL, usual)
        yield _false(report, (STRONGEST,), strongest)
    known = [name for name in moving if ORACLE in report.worlds[name]]
    if known:
        lead, low, high = report.of(OURS, known).f1_lead(report.of(ORACLE, known))
        yield Goal(
            "F1 within 0.05 of the oracle's, over all worlds that it knows",
            f"{lead:+.3f} ({low:+.3f} to {high:+.3f})",
            reached=lead >= -0.05,
        )
    if moving:
        yield _soon(report.of(OURS, moving))
    if STILL in report.worlds:
        rest = report.of(OURS, [STILL])
        yield Goal(
            "Phones at rest: at most 0.5 false events a device-day",
            f"{rest.false_per_day:.2f}",
            reached=rest.false_per_day <= 0.5,
        )


def _leads(report: Report, rules: Sequence[str], whose: str) -> Goal:
    """Hold F1 against some rules', world by world; where it is short, tell the oracle's lead."""
    told, reached = [], True
    for name in report.moving:
        best = max((report.of(rule, [name]) for rule in rules), key=lambda one: one.f1)
        lead, low, high = report.of(OURS, [name]).f1_lead(best)
        text = f"{name} {lead:+.2f} ({low:+.2f} to {high:+.2f})"
        if lead < LEAD:
            reached = False
            if ORACLE in report.worlds[name]:
                text += f", the oracle {report.of(ORACLE, [name]).f1 - best.f1:+.2f}"
        told.append(text)
    text = f"F1 at least {LEAD:g} above {whose}, in every world"
    return Goal(text, "; ".join(told), reached=reached)


def _false(report: Report, rules: Sequence[str], whose: str) -> Goal:
    """Hold the false events of all worlds against some rules'."""
    ours = report.of(OURS, report.moving).false_per_day
    best = min(report.of(rule, report.moving).false_per_day for rule in rules)
    return Goal(
        f"False events at most half of {whose}",
        f"{ours:.1f} against {best:.1f} a device-day",
        reached=ours <= 0.5 * best,
    )


def _of_ways(report: Report) -> Iterator[Goal]:
    good = [one for one in report.walk_bys if one.clearance_m >= 10.0 and one.accuracy_m <= 8.0]
    if good:
        worst = max(good, key=lambda one: one.entered / one.ways)
        entered, ways = sum(one.entered for one in good), sum(one.ways for one in good)
        yield Goal(
            "Walk-bys at 10 m or more, accuracy 8 m or better: reported as enter at most 3 %",
            f"{percent(entered, ways)}; at worst {percent(worst.entered, worst.ways)}, "
            f"{worst.clearance_m:g} m off with {worst.accuracy_m:g} m",
            reached=worst.entered <= 0.03 * worst.ways,
        )
    clean = [one for one in report.passes if one.accuracy_m <= 1.0]
    if clean:
        matched, true = sum(one.matched for one in clean), sum(one.true for one in clean)
        yield Goal(
            "Passes on clean straight paths, fixes up to 60 s apart: recall 95 %",
            f"{percent(matched, true)} of {true}",
            reached=matched >= 0.95 * true,
        )
    ten = [one for one in report.passes if one.accuracy_m == 10.0]
    if ten:
        matched, true = sum(one.matched for one in ten), sum(one.true for one in ten)
        announced = sum(one.found for one in ten)
        yield Goal(
            "Passes at accuracy 10 m, fences 20 m deep or more: recall 80 %, precision 90 %",
            f"recall {percent(matched, true)} of {true}, precision {percent(matched, announced)}",
            reached=matched >= 0.8 * true and matched >= 0.9 * announced > 0.0,
        )


def _soon(us: Total) -> Goal:
    """Judge enter delays by the interval of the phones: two of them, or 20 s."""
    told, reached = [], True
    for every_s, some in _by_interval(us.accounts):
        middle = total(some).delay("enter", 0.5)
        if middle is not None:
            told.append(f"{middle:.0f} s at {every_s:g} s")
            reached &= middle <= max(2.0 * every_s, 20.0)
    text = "Enter delay p50 at most two sampling intervals, or 20 s"
    return Goal(text, "; ".join(told), reached=reached)


def _by_interval(accounts: Sequence[Account]) -> list[tuple[float, list[Account]]]:
    """Group accounts by the phone's interval, rounded to the usual ones."""
    groups: dict[float, list[Account]] = {}
    for one in accounts:
        usual = min((5.0, 15.0, 30.0, 60.0), key=lambda each: abs(each - one.interval_s))
        groups.setdefault(usual, []).append(one)
    return sorted(groups.items())


def percent(number: float, of: float) -> str:
    """Write a share."""
    return f"{100.0 * number / of:.1f} %" if of else "none"
