"""How do our rule, the peers' and the ceiling fare in one world, subject by subject?

Runs the real engine, every baseline and the oracle on the same records and has the judge count.
``Account`` is what one rule made of one subject; accounts are added up and drawn anew for
intervals. Knows no file and no table.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from proximity.engine.engine import Engine
from proximity.model import Sighting
from simulator.baselines import BEACON_RULES, FIX_RULES, near, of_fixes, of_sightings
from simulator.judge import WITHIN_S, fold, judge
from simulator.oracle import PARTICLES, oracle

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proximity.model import Transition
    from simulator.judge import Change, Coverage
    from simulator.worlds import World

__all__ = ["ORACLE", "OURS", "Account", "Total", "accounts", "contest", "ours", "total"]

OURS, ORACLE = "ours", "oracle"

BATCH = 4096
"""Records handed to the engine at once; what it decides does not depend on it."""
DRAWS = 1000
"""Times that subjects are drawn anew for an interval of 95 %."""


@dataclass
class Account:
    """What one rule made of one subject's enters and exits; delays and intervals in seconds."""

    subject: str
    true: int = 0
    found: int = 0
    matched: int = 0
    visits: int = 0
    flaps: int = 0
    hours: float = 0.0
    interval_s: float = 0.0
    set_aside: int = 0
    enter_delays_s: list[float] = field(default_factory=list)
    exit_delays_s: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Total:
    """Accounts added up; an interval is the middle 95 % of what subjects drawn anew give."""

    accounts: Sequence[Account]

    def sum(self, name: str) -> float:
        """Add up one number of all accounts."""
        return float(sum(getattr(one, name) for one in self.accounts))

    @property
    def precision(self) -> float:
        """The part of what was announced that was true; 1 where nothing was announced."""
        found = self.sum("found")
        return self.sum("matched") / found if found else 1.0

    @property
    def recall(self) -> float:
        """The part of what was true that was announced; 1 where nothing was true."""
        true = self.sum("true")
        return self.sum("matched") / true if true else 1.0

    @property
    def f1(self) -> float:
        """The harmonic mean of both; 1 where there was nothing, true or announced."""
        both = self.sum("true") + self.sum("found")
        return 2.0 * self.sum("matched") / both if both else 1.0

    @property
    def false_per_day(self) -> float:
        """Announced enters and exits that never were, for each day that a device was watched."""
        hours = self.sum("hours")
        return (self.sum("found") - self.sum("matched")) / hours * 24.0 if hours else 0.0

    @property
    def flaps_per_visit(self) -> float:
        """Enters beyond the first, for each true visit."""
        visits = self.sum("visits")
        return self.sum("flaps") / visits if visits else 0.0

    def delay(self, kind: str, share: float) -> float | None:
        """Give a quantile of the seconds from truth to decision, of ``enter`` or ``exit``."""
        delays = [s for one in self.accounts for s in getattr(one, f"{kind}_delays_s")]
        return float(np.quantile(delays, share)) if delays else None

    def f1_interval(self) -> tuple[float, float]:
        """Give the interval of 95 % of ``f1``."""
        counts = np.array([(a.true, a.found, a.matched) for a in self.accounts], np.float64)
        return _middle(_f1(_drawn(counts)))

    def f1_lead(self, other: Total) -> tuple[float, float, float]:
        """Give how far ``f1`` is above another rule's of the same subjects, and its interval."""
        rows = [
            (a.true, a.found, a.matched, b.true, b.found, b.matched)
            for a, b in zip(self.accounts, other.accounts, strict=True)
        ]
        drawn = _drawn(np.array(rows, np.float64))
        return self.f1 - other.f1, *_middle(_f1(drawn[:, :3]) - _f1(drawn[:, 3:]))


def _drawn(counts: np.ndarray) -> np.ndarray:
    """Add the rows up, drawn with replacement, ``DRAWS`` times; always the same draws."""
    rng = np.random.default_rng(len(counts))
    picked = rng.integers(0, len(counts), (DRAWS, len(counts)))
    sums: np.ndarray = counts[picked].sum(axis=1)
    return sums


def _f1(sums: np.ndarray) -> np.ndarray:
    both = sums[:, 0] + sums[:, 1]
    f1: np.ndarray = np.where(both > 0.0, 2.0 * sums[:, 2] / np.maximum(both, 1.0), 1.0)
    return f1


def _middle(values: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(values, (0.025, 0.975))
    return float(low), float(high)


def total(accounts: Sequence[Account]) -> Total:
    """Add accounts up."""
    return Total(accounts)


def ours(world: World) -> list[Transition]:
    """Run the real engine, as it comes, over a world.

    Its clock runs on for as long as a decision would count; a recording that ends is no silence.
    """
    engine = Engine(world.index, world.site)
    records = world.records()
    out: list[Transition] = []
    for start in range(0, len(records), BATCH):
        out += engine.on_records(records[start : start + BATCH])
    if records:
        out += engine.advance(engine.now + WITHIN_S)
    return out


def contest(world: World, *, particles: int = PARTICLES, seed: int = 0) -> dict[str, list[Account]]:
    """Let every rule judge a world; give their accounts by rule, in the order of the subjects.

    Where there are beacons, rules for fixes go with the loudest of them, and rules for beacons with
    ``point``. Places that no rule but ours knows of, being parents alone, are left out.
    ``particles`` 0 leaves the oracle out.
    """
    runs = {OURS: ours(world)}
    concerned = [near(subject.fixes, world.index) for subject in world.subjects]
    heard = [one for one in world.records() if isinstance(one, Sighting)]
    places = set(world.index.ids)
    loudest: list[Transition] = []
    if world.site is not None:
        loudest = of_sightings(BEACON_RULES[0], heard, world.site)
        places |= {gateway.place for gateway in world.site.gateways.values()}
        places |= {beacon.place for beacon in world.site.beacons if beacon.place is not None}
    for rule in FIX_RULES:
        by_fix = [change for fixes in concerned for change in of_fixes(rule, fixes)]
        runs[rule.name] = by_fix + loudest
        if world.site is not None and heard and rule is FIX_RULES[0]:
            for other in BEACON_RULES:
                runs[other.name] = by_fix + of_sightings(other, heard, world.site)
    if particles and world.habits is not None:
        told = [(one.id, one.phone, one.fixes) for one in world.subjects if one.phone is not None]
        runs[ORACLE] = oracle(told, world.index, seed, particles, world.habits)
    truth = [change for change in world.truth if change.place in places]
    found: dict[str, list[Account]] = {}
    for name, run in runs.items():
        kept = [change for change in fold(run) if change.place in places]
        found[name] = accounts(kept, truth, world.coverage)
    return found


def accounts(
    found: list[Change], truth: list[Change], coverage: dict[str, Coverage]
) -> list[Account]:
    """Judge a run, and give an account for each subject that was watched or has a truth."""
    verdict = judge(found, truth, coverage)
    made = {
        subject: Account(subject, hours=seen.seconds / 3600.0, interval_s=seen.interval_s)
        for subject, seen in coverage.items()
    }
    for change in truth:
        made.setdefault(change.subject, Account(change.subject))
    for (subject, _, kind), tally in verdict.tallies.items():
        if kind not in {"enter", "exit"}:
            continue
        account = made[subject]
        account.true += tally.true
        account.found += tally.found
        account.matched += tally.matched
        account.set_aside += sum(tally.set_aside.values())
        delays = account.enter_delays_s if kind == "enter" else account.exit_delays_s
        delays += tally.delays_s
    for (subject, _), number in verdict.visits.items():
        made[subject].visits += number
    for (subject, _), number in verdict.flaps.items():
        made[subject].flaps += number
    return list(made.values())
