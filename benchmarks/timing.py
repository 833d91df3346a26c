"""What was measured, and how are two sides compared on a machine that others use too?

Rounds are interleaved, A B A B, and ratios are taken round by round: noise that comes and goes hits
both sides alike. The median tells what to expect, the worst round what may happen.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from functools import partial
from statistics import median

import msgspec


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the results: a value a round, in ``unit``, and the goals that stand against it.

    ``least`` and ``aim`` are goals in the same unit, None where none was set; ``fewer`` marks what
    is the better the smaller it is.
    """

    what: str
    against: str
    unit: str
    values: list[float]
    least: float | None = None
    aim: float | None = None
    fewer: bool = False
    note: str = ""

    @property
    def median(self) -> float:
        return median(self.values)

    @property
    def worst(self) -> float:
        return max(self.values) if self.fewer else min(self.values)

    def reaches(self, goal: float) -> bool:
        return self.median <= goal if self.fewer else self.median >= goal

    @property
    def verdict(self) -> str:
        if self.aim is not None and self.reaches(self.aim):
            return "aim"
        if self.least is not None:
            return "yes" if self.reaches(self.least) else "**no**"
        return "" if self.aim is None else "below aim"


class Cost(msgspec.Struct, frozen=True):
    """A point of the growth chart: microseconds of one question at so many fences."""

    line: str
    fences: int
    microseconds: float


class Profile(msgspec.Struct, frozen=True):
    """Where the time of one hot path goes: (function, calls, share of the time)."""

    path: str
    lines: list[tuple[str, int, float]]


class Check(msgspec.Struct, frozen=True):
    """How many answers were compared with a peer's before the clock, and how many differed."""

    what: str
    answers: int
    differences: int


class Found(msgspec.Struct):
    """What one part of the benchmark found."""

    rows: list[Row] = []
    costs: list[Cost] = []
    profiles: list[Profile] = []
    checks: list[Check] = []
    notes: list[str] = []
    failed: list[str] = []


class Scale(msgspec.Struct, frozen=True, kw_only=True):
    """How much of it: points of a batch, single points, fences, rounds, seconds of load.

    No round of a comparison begins after ``limit_s``: a slow machine ends in time too.
    """

    points: int
    singles: int
    rounds: int
    zones: int
    stores: int
    sizes: tuple[int, ...]
    million: int
    subjects: int
    steps: int
    nowhere: int
    load_s: float
    replayed: int
    limit_s: float


FULL = Scale(
    points=1_000_000,
    singles=20_000,
    rounds=3,
    zones=263,
    stores=10_000,
    sizes=(1_000, 10_000, 100_000, 1_000_000),
    million=1_000_000,
    subjects=5_000,
    steps=10,
    nowhere=300_000,
    load_s=3.0,
    replayed=300_000,
    limit_s=20.0,
)
QUICK = msgspec.structs.replace(
    FULL,
    points=100_000,
    singles=5_000,
    rounds=2,
    sizes=(1_000, 10_000, 100_000),
    million=50_000,
    steps=4,
    nowhere=50_000,
    load_s=1.0,
    replayed=30_000,
    limit_s=2.0,
)


def seconds(run: Callable[[], object]) -> float:
    gc.collect()
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def interleaved(
    scale: Scale, sides: dict[str, Callable[[int], object]], rounds: int | None = None
) -> dict[str, list[float]]:
    """Time each side in turn, round after round; a side is told the number of the round.

    What there was before is not looked through again by the collector: millions of objects that
    the benchmark holds, which it would charge to whichever side is at it when a pass is due.
    """
    taken: dict[str, list[float]] = {name: [] for name in sides}
    gc.collect()
    gc.freeze()
    try:
        ends = time.monotonic() + scale.limit_s
        for number in range(min(rounds or scale.rounds, scale.rounds)):
            for name, run in sides.items():
                taken[name].append(seconds(partial(run, number)))
            if time.monotonic() > ends:
                break
    finally:
        gc.unfreeze()
    return taken


def ratios(ours: list[float], theirs: list[float]) -> list[float]:
    """How many times as fast ours was, round by round."""
    return [b / a for a, b in zip(ours, theirs, strict=True)]


def rates(count: int, taken: list[float]) -> list[float]:
    return [count / each for each in taken]


def in_words(number: float) -> str:
    """Three digits are all that a shared machine can tell."""
    if number >= 1e6:
        return f"{number / 1e6:.3g} million"
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"
