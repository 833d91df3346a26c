"""What could anyone know at best? The ceiling: a particle filter that is told what nobody knows.

It is told each phone's true accuracy, the memory of its errors, their white part, how often it
jumps and what a roof does to it, and how people move; not where they go. Many guesses of when one
person walked and stood are weighed by each fix; the part of them inside a fence is the
probability. Numbers in, transitions out; all chance from the seed. Only the judge uses it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from proximity.model import Transition
from simulator.gps import RADIUS_68, Phone
from simulator.sources import arrival
from simulator.walk import METRES_PER_RADIAN

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from geofences import FenceIndex
    from proximity.model import Fix

    Floats = NDArray[np.float64]
    Points = NDArray[np.complex128]
    Flags = NDArray[np.bool_]

__all__ = ["WALKERS", "Habits", "oracle"]

PARTICLES = 150
"""Guesses for each subject; four times as many find no more (F1 within a hundredth)."""
DOTS = 3
"""Points drawn from each guess to weigh what of it lies within a fence."""
TOGETHER = 24
"""Subjects filtered side by side: enough that numpy is worth its price, and still in the cache."""

STAND_M2 = 0.02
"""Square metres a second by which one who stands shifts about."""
LONGEST_STEP_S = 60.0
"""Longer silences are walked through in steps, so that people stop and go within them."""


class Habits(NamedTuple):
    """How the people of a world move.

    Mean seconds of a walk, and of a stand; standard deviation per axis of the velocity of one who
    walks (1.35 m/s in any direction), and its memory in seconds: how soon one turns.
    """

    walk_s: float = 250.0
    stand_s: float = 400.0
    speed_mps: float = 0.95
    memory_s: float = 90.0


WALKERS = Habits()
"""People about town."""

ONCE, TWICE, OUT = 0.65, 0.55, 0.30
"""Inside at once above the first, or twice in a row above the second; outside below the third."""
EXIT_AFTER_S = 60.0
"""An exit is confirmed by so many seconds of nothing better: the product's own default."""


def oracle(
    subjects: Sequence[tuple[str, Phone, Sequence[Fix]]],
    index: FenceIndex,
    seed: int = 0,
    particles: int = PARTICLES,
    habits: Habits = WALKERS,
) -> list[Transition]:
    """Filter subjects, each with its true phone and its fixes in order of arrival.

    Gives enters and exits in the engine's form, subject by subject.
    """
    # Side by side go those with like rhythm, so that none waits for another.
    ranked = sorted(range(len(subjects)), key=lambda i: (len(subjects[i][2]), subjects[i][0]))
    out: dict[int, list[Transition]] = {}
    for start in range(0, len(ranked), TOGETHER):
        some = ranked[start : start + TOGETHER]
        rng = np.random.default_rng([seed, start])
        found = _together([subjects[i] for i in some], index, rng, particles, habits)
        out.update(zip(some, found, strict=True))
    return [transition for i in range(len(subjects)) for transition in out[i]]


def _fresh(fixes: Sequence[Fix]) -> list[Fix]:
    """Leave out what is not newer than what came before it."""
    kept: list[Fix] = []
    for fix in fixes:
        if not kept or fix.at > kept[-1].at:
            kept.append(fix)
    return kept


def _together(
    subjects: Sequence[tuple[str, Phone, Sequence[Fix]]],
    index: FenceIndex,
    rng: np.random.Generator,
    particles: int,
    habits: Habits,
) -> list[list[Transition]]:
    kept = [_fresh(fixes) for _, _, fixes in subjects]
    deciding = [_Deciding(name) for name, _, _ in subjects]
    some = [i for i, fixes in enumerate(kept) if fixes]
    if some:
        cloud = _Cloud(
            [subjects[i][1] for i in some], [kept[i] for i in some], rng, particles, habits
        )
        for step, live, likely in cloud.steps(index):
            for row in np.flatnonzero(live):
                fix = kept[some[row]][step]
                deciding[some[row]].see(fix, likely[row])
    for one in deciding:
        one.wait(math.inf)
    return [one.out for one in deciding]


class _Cloud:
    """Guesses at several subjects: arrays of subject by guess, in metres about the first fix.

    A guess is when somebody walked and when they stood. Given that, where they are (``p``), how
    fast they go (``v``) and how far the phone is off (``e``) are normal, both axes alike: a mean
    each, complex, and six covariances. So chance is spent on what is not normal alone.
    """

    def __init__(
        self,
        phones: Sequence[Phone],
        fixes: Sequence[Sequence[Fix]],
        rng: np.random.Generator,
        guesses: int,
        habits: Habits,
    ) -> None:
        self._rng = rng
        self._habits = habits
        count, most = len(fixes), max(map(len, fixes))
        self._lengths = np.array([len(one) for one in fixes])
        lons, lats = np.zeros((count, most)), np.zeros((count, most))
        self._times = np.zeros((count, most))
        for row, one in enumerate(fixes):
            lons[row, : len(one)] = [fix.lon for fix in one]
            lats[row, : len(one)] = [fix.lat for fix in one]
            self._times[row, : len(one)] = [fix.at for fix in one]
        self._corner = lons[:, :1], lats[:, :1]
        north = math.radians(1.0) * METRES_PER_RADIAN
        self._scale = north * np.cos(np.radians(self._corner[1])), north
        self._seen = (lons - self._corner[0]) * self._scale[0] + 1j * (
            (lats - self._corner[1]) * self._scale[1]
        )
        self._phones = _Phones(phones)
        shape = count, guesses
        self._weights = np.full(shape, 1.0 / guesses)
        self._roofed = np.zeros((count, 1), np.bool_)
        self._slow, self._white = self._phones.variances(self._phones.radius(self._roofed))
        self._walks = rng.random(shape) < 0.5
        # The first fix says where one is, less an error of which nothing is known yet.
        self._p = np.repeat(self._seen[:, :1], guesses, axis=1)
        self._v, self._e = np.zeros_like(self._p), np.zeros_like(self._p)
        slow = np.broadcast_to(self._slow, shape)
        self._pp, self._ee, self._pe = slow + self._white, slow.copy(), -slow
        self._vv = np.where(self._walks, habits.speed_mps**2, 0.0)
        self._pv, self._ve = np.zeros(shape), np.zeros(shape)

    def steps(
        self, index: FenceIndex
    ) -> Iterator[tuple[int, Flags, list[dict[str, float] | None]]]:
        """Give for each step which subjects had a fix, and how likely each is where.

        None stands for a fix that was a jump.
        """
        for step in range(self._times.shape[1]):
            live = step < self._lengths
            jumped = np.zeros(len(live), np.bool_)
            if step:
                jumped = self._take(step, live)
            yield step, live, self._inside(index, live, jumped)

    def _take(self, step: int, live: Flags) -> Flags:
        """Move on to a fix and weigh it; tells for which subjects it was a jump."""
        gap_s = np.where(live, self._times[:, step] - self._times[:, step - 1], 1.0)[:, None]
        parts = max(1, math.ceil(float(gap_s.max()) / LONGEST_STEP_S))
        for _ in range(parts):
            self._ahead(gap_s / parts)
        off = self._seen[:, step : step + 1] - self._p - self._e
        of_p, of_v, of_e = self._pp + self._pe, self._pv + self._ve, self._pe + self._ee
        total = of_p + of_e + self._white
        # Two axes: the density of a round normal of variance `total` each.
        density = np.exp(-0.5 * np.abs(off) ** 2 / total) / total
        weights = self._weights * density
        mass = weights.sum(axis=1)
        jumped: Flags = live & (mass / (2.0 * math.pi) < self._phones.jump_odds(gap_s)[:, 0])
        takes = live & ~jumped & (mass > 0.0)
        known = np.where(takes[:, None], 1.0 / total, 0.0)
        self._p += of_p * known * off
        self._v += of_v * known * off
        self._e += of_e * known * off
        self._pp -= of_p * known * of_p
        self._pv -= of_p * known * of_v
        self._pe -= of_p * known * of_e
        self._vv -= of_v * known * of_v
        self._ve -= of_v * known * of_e
        self._ee -= of_e * known * of_e
        mass = np.where(takes, mass, 1.0)[:, None]
        self._weights = np.where(takes[:, None], weights / mass, self._weights)
        self._resample()
        return jumped

    def _ahead(self, gap_s: Floats) -> None:
        """Let guesses stand, stop, go and walk for ``gap_s`` seconds."""
        shape = self._p.shape
        turns = self._rng.random(shape) < -np.expm1(
            -gap_s / np.where(self._walks, *self._habits[:2])
        )
        share = np.where(turns, self._rng.random(shape), 1.0)
        starts = turns & ~self._walks
        walked = np.where(self._walks | starts, gap_s * share, 0.0)
        memory_s, variance = self._habits.memory_s, self._habits.speed_mps**2
        self._vv = np.where(starts, variance, self._vv)
        keep = np.exp(-walked / memory_s)
        reach = memory_s * (1.0 - keep)
        ratio = walked / memory_s
        rho = np.exp(-gap_s / self._phones.memory_s)
        spread = variance * memory_s**2 * (2.0 * ratio - 3.0 + 4.0 * keep - keep**2)
        self._p += reach * self._v
        self._pp += 2.0 * reach * self._pv + reach**2 * self._vv
        self._pp += np.maximum(spread, 0.0) + STAND_M2 * gap_s
        self._pe = rho * (self._pe + reach * self._ve)
        self._pv = keep * (self._pv + reach * self._vv) + variance * memory_s * (1.0 - keep) ** 2
        self._vv = keep**2 * self._vv + variance * (1.0 - keep**2)
        self._ve = keep * rho * self._ve
        self._v *= keep
        self._e *= rho
        self._ee = rho**2 * self._ee + self._slow * (1.0 - rho**2)
        self._walks = self._walks ^ turns
        for name in ("_v", "_pv", "_vv", "_ve"):
            setattr(self, name, np.where(self._walks, getattr(self, name), 0.0))

    def _resample(self) -> None:
        """Draw guesses anew where few of them carry most of the weight."""
        guesses = self._weights.shape[1]
        rows = np.flatnonzero(1.0 / (self._weights**2).sum(axis=1) < 0.5 * guesses)
        if not len(rows):
            return
        sums = np.cumsum(self._weights[rows], axis=1)
        sums /= sums[:, -1:]
        marks = (np.arange(guesses) + self._rng.random((len(rows), 1))) / guesses
        order = np.arange(len(rows))[:, None]
        # One search for all rows: each row's sums lie in an interval of their own.
        picked = np.searchsorted((sums + order).ravel(), (marks + order).ravel(), side="right")
        picked = np.minimum(picked.reshape(len(rows), guesses) - order * guesses, guesses - 1)
        for name in ("_walks", "_p", "_v", "_e", "_pp", "_pv", "_pe", "_vv", "_ve", "_ee"):
            array = getattr(self, name)
            array[rows] = np.take_along_axis(array[rows], picked, axis=1)
        self._weights[rows] = 1.0 / guesses

    def _inside(
        self, index: FenceIndex, live: Flags, jumped: Flags
    ) -> list[dict[str, float] | None]:
        """Weigh what of the guesses lies within each fence; and learn who is under a roof."""
        rows = np.flatnonzero(live)
        guesses = self._p.shape[1]
        fresh = self._rng.standard_normal((len(rows), guesses, DOTS, 2)).view(np.complex128)[..., 0]
        deviation = np.sqrt(np.maximum(self._pp[rows], 0.0))[..., None]
        dots = self._p[rows][..., None] + fresh * deviation
        lons = self._corner[0][rows][..., None] + dots.real / self._scale[0][rows][..., None]
        lats = self._corner[1][rows][..., None] + dots.imag / self._scale[1]
        points, fences = index.locate_many(lons.ravel(), lats.ravel())
        weight = self._weights[rows].ravel()[points // DOTS] / DOTS
        keys, places = np.unique(
            points // (guesses * DOTS) * len(index) + fences, return_inverse=True
        )
        sums = np.bincount(places, weight, len(keys))
        likely: list[dict[str, float] | None] = [None] * len(live)
        ids = index.ids
        for row in rows:
            likely[row] = None if jumped[row] else {}
        for key, value in zip(keys.tolist(), sums.tolist(), strict=True):
            held = likely[rows[key // len(index)]]
            if held is not None:
                held[ids[key % len(index)]] = value
        roofed = self._roofed.copy()
        for row in rows:
            chances = likely[row]
            if chances is not None:
                roofed[row] = max(chances.values(), default=0.0) > 0.5
        if (roofed != self._roofed).any():
            # The error is the same share of another radius.
            ratio = self._phones.radius(roofed) / self._phones.radius(self._roofed)
            self._e = self._e * ratio
            self._pe, self._ve, self._ee = self._pe * ratio, self._ve * ratio, self._ee * ratio**2
            self._slow, self._white = self._phones.variances(self._phones.radius(roofed))
            self._roofed = roofed
        return likely


class _Phones:
    """The true numbers of several phones, a column each."""

    def __init__(self, phones: Sequence[Phone]) -> None:
        def column(values: Iterator[float]) -> Floats:
            return np.fromiter(values, np.float64, len(phones))[:, None]

        self.memory_s = column(one.correlation_s for one in phones)
        self._radius = column(one.accuracy_m for one in phones)
        most = np.maximum(self._radius, column(one.indoor_most_m for one in phones))
        self._roofed = np.minimum(self._radius * column(one.indoor_factor for one in phones), most)
        self._white2 = column(one.white**2 for one in phones)
        tails = (one.tail_share * (one.tail_factor**2 - 1.0) for one in phones)
        self._tails = 1.0 + column(tails)
        self._jumps = column(one.jumps_per_hour / 3600.0 for one in phones)
        area = (math.pi * (one.jump_m[1] ** 2 - one.jump_m[0] ** 2) for one in phones)
        self._jump_area = column(area)

    def radius(self, roofed: Flags) -> Floats:
        """Give the 68 % radius, in metres, under a roof or not."""
        return np.where(roofed, self._roofed, self._radius)

    def variances(self, radius: Floats) -> tuple[Floats, Floats]:
        """Give the variance per axis of the slow and of the white part of the error."""
        whole = (radius / RADIUS_68) ** 2
        return whole * (1.0 - self._white2), whole * self._white2 * self._tails + 1e-3

    def jump_odds(self, gap_s: Floats) -> Floats:
        """Give the density below which a fix is likelier a jump."""
        chance = np.minimum(self._jumps * np.minimum(gap_s, 60.0), 0.5)
        return chance / (1.0 - chance) / self._jump_area


@dataclass
class _Chance:
    """One subject at one place, as the oracle decides it."""

    inside: bool = False
    visit: str = ""
    maybe_at: float | None = None
    leaving_at: float | None = None
    leaving_due: float = math.inf


@dataclass
class _Deciding:
    """Turns probabilities into enters and exits of one subject."""

    subject: str
    out: list[Transition] = field(default_factory=list)
    places: dict[str, _Chance] = field(default_factory=dict)

    def see(self, fix: Fix, likely: dict[str, float] | None) -> None:
        """Take the probabilities of a fix; None says that it told nothing."""
        now = arrival(fix)
        self.wait(now)
        if likely is None:
            return
        for place in sorted(likely.keys() | self.places.keys()):
            chance = likely.get(place, 0.0)
            known = self.places.get(place)
            if known is None:
                if chance <= TWICE:
                    continue
                known = self.places[place] = _Chance()
            if not known.inside:
                self._arrive(known, place, fix, chance, now)
            elif chance >= OUT:
                known.leaving_at, known.leaving_due = None, math.inf
            elif known.leaving_at is None:
                known.leaving_at, known.leaving_due = fix.at, now + EXIT_AFTER_S

    def _arrive(self, known: _Chance, place: str, fix: Fix, chance: float, now: float) -> None:
        if chance <= TWICE:
            del self.places[place]
            return
        at = fix.at if known.maybe_at is None else known.maybe_at
        if chance > ONCE or known.maybe_at is not None:
            known.inside, known.visit = True, f"{self.subject}/{place}/{at:.3f}"
            self._say("enter", known, place, at, now)
        known.maybe_at = at

    def wait(self, now: float) -> None:
        """Let the confirmations of exits that are due by ``now`` fire."""
        for place, known in sorted(self.places.items()):
            if known.leaving_at is not None and known.leaving_due <= now:
                self._say("exit", known, place, known.leaving_at, known.leaving_due)
                del self.places[place]

    def _say(self, kind: str, known: _Chance, place: str, at: float, now: float) -> None:
        self.out.append(
            Transition(
                kind="enter" if kind == "enter" else "exit",
                subject=self.subject,
                place=place,
                visit=known.visit,
                at=at,
                decided_at=max(at, now),
                because={"rule": "oracle"},
                reason=None if kind == "enter" else "left",
            )
        )
