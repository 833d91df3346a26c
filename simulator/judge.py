"""How right was a run? What it announced against what truly happened.

Pure: changes of presence in, counts out. A change counts as found where its ``at`` lies near the
true one and it was decided soon enough; pairs are one to one. What nobody could have seen in the
records (``Coverage``) is set aside and counted. Knows no engine, no file and no noise.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, Self

import numpy as np

from proximity.model import ProximityError
from simulator.unseen import Change, Coverage, Due, Stay, due

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from proximity.model import Transition

__all__ = ["KINDS", "Change", "Coverage", "Tally", "Verdict", "fold", "judge", "match"]

KINDS = ("enter", "dwell", "exit", "pass")

TOLERANCE_S = 120.0
"""How far ``at`` may lie from the truth: half the shortest visit that an offer is about."""
WITHIN_S = 300.0
"""How long after the truth a decision still counts: later, whoever it is about is elsewhere."""
MOST_PAIRS = 5_000_000
"""Pairs that one matching weighs up; more are a mistake, and would take minutes."""


@dataclass
class _Visit:
    """What is known of one visit while a run's transitions are folded."""

    subject: str
    place: str
    enter: tuple[float, float] | None = None
    exit: tuple[float, float] | None = None
    dwells: dict[float, tuple[float, float]] = field(default_factory=dict)


def fold(transitions: Iterable[Transition]) -> list[Change]:
    """Fold transitions in the order decided into the changes that stand in the end.

    A ``corrected`` visit replaces what was announced; what it moved or added was decided with the
    correction, what it left alone keeps its own time of decision. A dwell that the corrected visit
    no longer covers falls with it.
    """
    visits: dict[tuple[str, str, str], _Visit] = {}
    passes: list[Change] = []
    for number, one in enumerate(transitions):
        at, decided = one.at, one.decided_at
        if one.kind == "pass" and at is not None:
            passes.append(Change("pass", one.subject, one.place, at, decided, until=one.exit_at))
            continue
        # A line without a visit, as people write truth by hand, stands for itself.
        key = one.subject, one.place, one.visit or f"\0{number}"
        visit = visits.setdefault(key, _Visit(one.subject, one.place))
        if one.kind == "corrected":
            if one.enter_at is None and one.exit_at is None:
                del visits[key]
                continue
            visit.enter = _moved(visit.enter, one.enter_at, decided)
            visit.exit = _moved(visit.exit, one.exit_at, decided)
        elif at is not None:
            if one.kind == "enter":
                visit.enter = at, decided
            elif one.kind == "exit":
                visit.exit = at, decided
            else:
                visit.dwells[one.dwell_s or 0.0] = at, decided
    found = passes
    for visit in visits.values():
        who = visit.subject, visit.place
        begins = -inf if visit.enter is None else visit.enter[0]
        ends = inf if visit.exit is None else visit.exit[0]
        if visit.enter is not None:
            found.append(Change("enter", *who, *visit.enter))
        if visit.exit is not None:
            found.append(Change("exit", *who, *visit.exit))
        found += [
            Change("dwell", *who, at, decided, dwell_s)
            for dwell_s, (at, decided) in visit.dwells.items()
            if begins <= at <= ends
        ]
    return sorted(found, key=lambda change: (change.at, change.decided_at))


def _moved(
    was: tuple[float, float] | None, now: float | None, decided: float
) -> tuple[float, float] | None:
    if now is None:
        return None
    # Times are written to the millisecond.
    return was if was is not None and abs(was[0] - now) < 0.0015 else (now, decided)


@dataclass
class Tally:
    """Counts of one kind; ``+`` adds them. ``set_aside`` counts true changes by reason."""

    true: int = 0
    found: int = 0
    matched: int = 0
    delays_s: list[float] = field(default_factory=list)
    found_aside: int = 0
    set_aside: dict[str, int] = field(default_factory=dict)

    def __iadd__(self, other: Tally) -> Self:
        self.true += other.true
        self.found += other.found
        self.matched += other.matched
        self.delays_s += other.delays_s
        self.found_aside += other.found_aside
        for reason, number in other.set_aside.items():
            self.set_aside[reason] = self.set_aside.get(reason, 0) + number
        return self

    @property
    def false(self) -> int:
        """How many announced changes never were."""
        return self.found - self.matched

    @property
    def precision(self) -> float | None:
        """The part of what was announced that was true; None where nothing was."""
        return self.matched / self.found if self.found else None

    @property
    def recall(self) -> float | None:
        """The part of what was true that was announced; None where nothing was."""
        return self.matched / self.true if self.true else None

    @property
    def f1(self) -> float | None:
        """The harmonic mean of both; None where nothing was true and nothing announced."""
        both = self.true + self.found
        return 2.0 * self.matched / both if both else None

    def delay(self, share: float) -> float | None:
        """Give the quantile ``share`` of the seconds from the truth to the decision."""
        return float(np.quantile(self.delays_s, share)) if self.delays_s else None


@dataclass
class Verdict:
    """What ``judge`` found: tallies by (subject, place, kind), visits and flaps by both ids.

    ``hours`` is how long each subject was watched. ``flaps`` counts the enters beyond the first
    of one true visit.
    """

    tallies: dict[tuple[str, str, str], Tally] = field(default_factory=dict)
    visits: dict[tuple[str, str], int] = field(default_factory=dict)
    flaps: dict[tuple[str, str], int] = field(default_factory=dict)
    hours: dict[str, float] = field(default_factory=dict)

    def total(
        self,
        kinds: Iterable[str] = KINDS,
        *,
        subject: str | None = None,
        place: str | None = None,
    ) -> Tally:
        """Add up the tallies of ``kinds``, of one subject or place where named."""
        kinds, total = frozenset(kinds), Tally()
        for (whose, where, kind), tally in self.tallies.items():
            if kind in kinds and subject in {None, whose} and place in {None, where}:
                total += tally
        return total


def judge(
    found: Iterable[Change],
    truth: Iterable[Change],
    coverage: dict[str, Coverage] | None = None,
    *,
    tolerance_s: float = TOLERANCE_S,
    within_s: float = WITHIN_S,
) -> Verdict:
    """Match what a run announced with what was true, per subject, place and kind.

    ``coverage`` (by subject) says what there was to see: with it, changes that no observer could
    see are set aside, along with what a run made of them; a visit during which no record was made
    counts as a ``pass``, and visits parted by an absence too short to see are one. A subject that
    it lacks is judged in full. Raises ProximityError where a subject has more changes of one place
    within the tolerance than can be weighed up.
    """
    truths: dict[tuple[str, str], list[Change]] = defaultdict(list)
    founds: dict[tuple[str, str], list[Change]] = defaultdict(list)
    for change in truth:
        truths[change.subject, change.place].append(change)
    for change in found:
        founds[change.subject, change.place].append(change)
    verdict = Verdict()
    coverage = coverage or {}
    for subject, place in sorted(truths.keys() | founds.keys()):
        seen = coverage.get(subject)
        dues, stays = due(truths[subject, place], seen, tolerance_s, within_s)
        announced = sorted(founds[subject, place], key=lambda change: change.at)
        for kind, dwell_s in sorted(
            {(d.kind, d.dwell_s or 0.0) for d in dues}
            | {(c.kind, c.dwell_s or 0.0) for c in announced}
        ):
            tally = _tally(
                [d for d in dues if d.kind == kind and (d.dwell_s or 0.0) == dwell_s],
                [c for c in announced if c.kind == kind and (c.dwell_s or 0.0) == dwell_s],
                f"{kind} of subject {subject!r} at {place!r}",
            )
            total = verdict.tallies.setdefault((subject, place, kind), Tally())
            total += tally
        verdict.visits[subject, place] = len(stays)
        enters = [change.at for change in announced if change.kind == "enter"]
        verdict.flaps[subject, place] = _flaps(stays, enters, tolerance_s)
    verdict.hours = _hours(truths, founds, coverage)
    return verdict


def _hours(
    truths: dict[tuple[str, str], list[Change]],
    founds: dict[tuple[str, str], list[Change]],
    coverage: dict[str, Coverage],
) -> dict[str, float]:
    """How long each subject was watched; without coverage, from the first change to the last."""
    ats = [c.at for changes in (truths, founds) for each in changes.values() for c in each]
    whole = (max(ats) - min(ats)) / 3600.0 if ats else 0.0
    subjects = {subject for changes in (truths, founds) for subject, _ in changes}
    return {
        subject: coverage[subject].seconds / 3600.0 if subject in coverage else whole
        for subject in sorted(subjects | coverage.keys())
    }


def _tally(due: list[Due], announced: list[Change], what: str) -> Tally:
    """Match the changes of one kind; what is left is held against what was set aside."""
    tally = Tally()
    counted = [one for one in due if one.aside is None]
    pairs = match(counted, announced, what)
    tally.true, tally.matched = len(counted), len(pairs)
    tally.delays_s = [announced[j].decided_at - counted[i].at for i, j in pairs]
    taken = {j for _, j in pairs}
    left = [change for j, change in enumerate(announced) if j not in taken]
    aside = [one for one in due if one.aside is not None]
    tally.found_aside = len(match(aside, left, what)) if aside and left else 0
    tally.found = len(announced) - tally.found_aside
    for one in aside:
        if one.counted:
            assert one.aside is not None
            tally.set_aside[one.aside] = tally.set_aside.get(one.aside, 0) + 1
    return tally


def match(
    due: Sequence[Due], announced: Sequence[Change], what: str = "changes"
) -> list[tuple[int, int]]:
    """Pair true and announced changes one to one: as many as can be, then as near as can be.

    Both are sorted by ``at``. Pairs keep their order in time, which loses nothing where decisions
    are made in the order of what they are about: crossed pairs can be uncrossed without going
    further. Dynamic programming over the pairs whose times fit, so greed cannot spoil it. Raises
    ProximityError for more than ``MOST_PAIRS`` of them.
    """
    order = sorted(range(len(due)), key=lambda i: (due[i].at, due[i].low))
    ats = [change.at for change in announced]
    spans: list[tuple[int, int]] = []
    first = last = cells = 0
    for i in order:
        first = max(first, bisect_left(ats, due[i].low))
        last = max(last, bisect_right(ats, due[i].high), first)
        spans.append((first, last))
        cells += last - first + 1
    if cells > MOST_PAIRS:
        raise ProximityError(
            f"{what}: {len(due)} true and {len(announced)} announced within the tolerance are too "
            "many to pair: use a smaller --tolerance"
        )
    # best[j - first]: the most that the true ones so far make of announced ones before j.
    choices: list[bytearray] = []
    best, begins = [0], 0
    for i, (first, last) in zip(order, spans, strict=True):
        one = due[i]
        row: list[int] = []
        chosen = bytearray(last - first + 1)
        for j in range(first, last + 1):
            value, choice = best[min(j - begins, len(best) - 1)], 0
            if j > first:
                if row[-1] > value:
                    value, choice = row[-1], 1
                change = announced[j - 1]
                if one.low <= change.at <= one.high and change.decided_at <= one.deadline:
                    off_ms = round(abs(change.at - one.at) * 1000.0)
                    pair = best[min(j - 1 - begins, len(best) - 1)] + (1 << 60) - off_ms
                    if pair > value:
                        value, choice = pair, 2
            row.append(value)
            chosen[j - first] = choice
        choices.append(chosen)
        best, begins = row, first
    pairs: list[tuple[int, int]] = []
    j = spans[-1][1] if spans else 0
    for row_number in range(len(order) - 1, -1, -1):
        first, last = spans[row_number]
        j = min(j, last)
        while j > first and choices[row_number][j - first] == 1:
            j -= 1
        if j > first and choices[row_number][j - first] == 2:
            pairs.append((order[row_number], j - 1))
            j -= 1
    return pairs[::-1]


def _flaps(stays: list[Stay], enters: list[float], tolerance_s: float) -> int:
    """Count the enters beyond those of each true visit; each belongs to the nearest visit."""
    counts = [-number for _, _, number in stays]
    for at in enters:
        off, nearest = min(
            ((max(begins - at, at - ends, 0.0), i) for i, (begins, ends, _) in enumerate(stays)),
            default=(inf, -1),
        )
        if off <= tolerance_s:
            counts[nearest] += 1
    return sum(max(0, number) for number in counts)
