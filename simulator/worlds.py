"""On which streets, and with which phones, is presence put to the test?

A world is a town of stores beside paths, people who walk there, stand next door and go in, what
their phones make of it (``gps``), and the truth, read from the paths themselves. ``WORLDS`` names
them; the same name, seed and size give the same world. Knows no engine and no judge's rule.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from geofences import FenceIndex
from proximity.model import Fix, ProximityError, Record
from simulator.gps import Overhead, Phone, Sky, drawn, fixes
from simulator.judge import Change, Coverage
from simulator.oracle import WALKERS, Habits
from simulator.recorded import folder, hikes, on_foot
from simulator.sources import arrival
from simulator.town import Street, Town
from simulator.walk import Track

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from proximity.site.registry import Site

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

__all__ = ["START", "WORLDS", "Subject", "Town", "World", "indoors", "phone_of", "truth_of"]

START = 1_777_629_600.0
"""Second 0 of every world: 2026-05-01T10:00:00Z."""

EVERY_S = 5.0, 15.0, 30.0, 60.0
"""Seconds between fixes, as apps ask for them; a phone has one of these."""

ORDINARY = {"accuracy_m": (5.0, 35.0), "stated": (0.5, 2.0), "unknown": (0.18, 0.18)}
"""Phones of a street: any accuracy of a town, stated wrong by up to two, 18 % of fixes without."""

ROUGH = {
    "accuracy_m": (5.0, 35.0), "stated": (1.0 / 2.8, 2.8), "correlation_s": (15.0, 180.0),
    "white": (0.0, 0.35), "unknown": (0.18, 0.18), "stated_spread": (0.1, 0.4),
    "tail_share": (0.0, 0.05),
}  # fmt: skip
"""Phones at their worst: any memory of errors, heavy tails, stated wrong by up to 2.8."""

TROUBLED = Phone(stated_spread=0.2, jumps_per_hour=2.0, gaps_per_hour=0.6, jitter=0.1)
"""What all of them share: two jumps an hour, and silences of two to eight minutes."""

AGENTS = Habits(50.0, 100.0, 0.8, 25.0)
"""How agents walk who carry parcels to a door and back."""


@dataclass(frozen=True)
class Subject:
    """One who is watched: the records in order of arrival, and when there were any.

    ``phone`` is what the oracle is told; None where there is nothing to tell.
    """

    id: str
    records: list[Record]
    coverage: Coverage
    phone: Phone | None = None

    @property
    def fixes(self) -> list[Fix]:
        """The fixes among the records."""
        return [record for record in self.records if isinstance(record, Fix)]


@dataclass
class World:
    """Stores, people and truth; ``truth`` is in order of time, ``habits`` are for the oracle.

    Without habits there is no oracle: it has no notion of how these people move. ``site`` is there
    where beacons are.
    """

    name: str
    index: FenceIndex
    habits: Habits | None = WALKERS
    site: Site | None = None
    subjects: list[Subject] = field(default_factory=list)
    truth: list[Change] = field(default_factory=list)

    @property
    def coverage(self) -> dict[str, Coverage]:
        """When each subject's records were made."""
        return {subject.id: subject.coverage for subject in self.subjects}

    def records(self) -> list[Record]:
        """All records in order of arrival, as an engine gets them."""
        found = [(arrival(one), who.id, one) for who in self.subjects for one in who.records]
        return [one for _, _, one in sorted(found, key=lambda each: each[:2])]

    def add(self, subject: str, track: Track, phone: Phone, rng: np.random.Generator) -> None:
        """Let somebody walk ``track``: draw what the phone reports, and note the truth."""
        reported = list(fixes(subject, track, phone, rng, START, indoors(self.index)))
        times, came = [one.at for one in reported], [arrival(one) for one in reported]
        self.subjects.append(Subject(subject, list(reported), Coverage(times, came), phone))
        self.truth += truth_of(subject, track, self.index)
        self.truth.sort(key=lambda change: change.at)


def truth_of(
    subject: str, track: Track, index: FenceIndex, start: float = START, step_s: float = 1.0
) -> list[Change]:
    """Read enters and exits from a true path, to ``step_s`` seconds.

    Whoever is inside at first enters then; whoever is inside in the end has not left.
    """
    steps = int((track.ends_s - track.starts_s) / step_s) + 1
    times: Floats = track.starts_s + step_s * np.arange(steps, dtype=np.float64)
    points, fences = index.locate_many(*track.at(times))
    ids = index.ids
    found: list[Change] = []
    for number in np.unique(fences):
        inside = np.zeros(steps + 1, np.int8)
        inside[points[fences == number]] = 1
        turns = np.diff(inside, prepend=0)
        for kind, turn in (("enter", 1), ("exit", -1)):
            for i in np.flatnonzero(turns[:steps] == turn):
                at = start + float(times[i])
                found.append(Change(kind, subject, ids[number], at, at))
    return sorted(found, key=lambda change: (change.at, change.place))


def indoors(index: FenceIndex) -> Overhead:
    """Put a roof over every fence, and nothing over the street."""

    def sky(times: Floats, lons: Floats, lats: Floats) -> Ints:
        over = np.full(len(times), int(Sky.OPEN), np.int64)
        over[np.unique(index.locate_many(lons, lats)[0])] = int(Sky.INDOOR)
        return over

    return sky


def phone_of(
    rng: np.random.Generator,
    between: dict[str, tuple[float, float]],
    every: tuple[float, ...] = EVERY_S,
    base: Phone = TROUBLED,
) -> Phone:
    """Draw one phone of a world: its numbers from their ranges, its interval from ``every``."""
    every_s = float(rng.choice(every))
    return drawn(base, {**between, "every_s": (every_s, every_s)}, rng)


def _town(name: str, rng: np.random.Generator, streets: int) -> tuple[World, Town, list[Street]]:
    town = Town()
    laid = [Street(town, f"{name}-{i}", 8000.0 * i * (1.0 + 0.0j), rng) for i in range(streets)]
    return World(name, FenceIndex(town.stores)), town, laid


def _about(
    name: str,
    seed: int,
    count: int,
    between: dict[str, tuple[float, float]],
    base: Phone = TROUBLED,
    ride_mps: tuple[float, float] | None = None,
) -> World:
    """Build ``count`` people about six streets of stores for five hours."""
    world, town, streets = _town(name, np.random.default_rng([seed, 1]), 6)
    for number in range(count):
        rng = np.random.default_rng([seed, 2, number])
        way = streets[number % len(streets)].walk(rng, 5.0 * 3600.0, ride_mps=ride_mps)
        world.add(f"{name}-{number}", town.track(*way), phone_of(rng, between, base=base), rng)
    return world


def street(seed: int, size: float = 1.0) -> World:
    """Build walks along streets of stores; ``size`` 1 is sixty people for five hours."""
    return _about("street", seed, max(2, round(60 * size)), ORDINARY)


def rough(seed: int, size: float = 1.0) -> World:
    """Build the same with phones at their worst."""
    return _about("rough", seed, max(2, round(60 * size)), ROUGH)


def drive(seed: int, size: float = 1.0) -> World:
    """Build errands by car, on foot the last metres; the phones tell when they are driven."""
    phone = replace(TROUBLED, tells_motion=True)
    world = _about("drive", seed, max(2, round(30 * size)), ORDINARY, phone, (7.0, 14.0))
    world.habits = None
    return world


def delivery(seed: int, size: float = 1.0) -> World:
    """Build rounds of real walks, chained, by stores beside them; ``size`` 1 is thirty people.

    Raises ProximityError where there are no recorded walks.
    """
    data = folder()
    if data is None:
        raise ProximityError("no recorded walks: PROXIMITY_DATA names the folder of real data")
    pieces, hills = on_foot(data), hikes(data)
    town = Town()
    rounds = []
    for number in range(max(2, round(30 * size))):
        rng = np.random.default_rng([seed, 4, number])
        seconds, points = np.zeros(1), np.array([6000.0 * complex(number % 6, number // 6)])
        while seconds[-1] < 3.0 * 3600.0:
            some = hills if hills and rng.random() < 0.02 else pieces
            lasts, metres = some[int(rng.integers(len(some)))]
            # Turned about, so that chains of one agent do not all lead one way.
            metres = metres * np.exp(2j * math.pi * rng.random())
            seconds = np.concatenate((seconds, seconds[-1] + 5.0 + lasts))
            points = np.concatenate((points, points[-1] + metres))
        rounds.append((rng, seconds, points))
        for store in range(14):
            _beside(town, f"delivery-{number}-{store}", seconds, points, rng)
    world = World("delivery", FenceIndex(town.stores), AGENTS)
    for number, (rng, seconds, points) in enumerate(rounds):
        track = town.track(seconds, points)
        world.add(f"delivery-{number}", track, phone_of(rng, ORDINARY), rng)
    return world


def _beside(
    town: Town,
    name: str,
    seconds: Floats,
    points: NDArray[np.complex128],
    rng: np.random.Generator,
) -> None:
    """Put a store about where somebody is at some time, or up to 30 m beside it."""
    at = rng.uniform(0.0, seconds[-1])
    spot = complex(np.interp(at, seconds, points.real), np.interp(at, seconds, points.imag))
    towards = complex(np.exp(2j * math.pi * rng.random()))
    if rng.random() < 0.5:
        depth = float(rng.uniform(30.0, 80.0))
        centre = spot + towards * rng.uniform(0.0, depth + 30.0)
        if town.free(centre, depth):
            town.circle(name, centre, depth)
        return
    depth = float(rng.uniform(25.0, 45.0))
    half = depth * float(rng.uniform(1.0, 1.8)), depth
    centre = spot + 1j * towards * rng.uniform(0.0, depth + 30.0)
    if town.free(centre, abs(complex(*half))):
        town.box(name, centre, half, towards)


def still(seed: int, size: float = 1.0) -> World:
    """Build phones that lie still for a day beside stores or in them; ``size`` 1 is thirty."""
    rng = np.random.default_rng([seed, 1])
    world, town, streets = _town("still", rng, 6)
    world.habits = Habits(1.0, 1e7)
    for number in range(max(2, round(30 * size))):
        own = np.random.default_rng([seed, 3, number])
        stores = streets[number % len(streets)].stores
        store = stores[int(own.integers(len(stores)))]
        # Two of three lie outside, at home over the road; the third in the store-room.
        away_m = own.uniform(10.0, 80.0) if number % 3 else -own.uniform(0.3, 1.0) * store.depth_m
        spot = store.centre + store.outward * (store.depth_m + away_m)
        track = town.track(np.array([0.0, 86400.0]), np.array([spot, spot]))
        world.add(f"still-{number}", track, phone_of(own, ROUGH, EVERY_S[1:]), own)
    return world


WORLDS: dict[str, Callable[[int, float], World]] = {
    "street": street,
    "delivery": delivery,
    "rough": rough,
    "drive": drive,
    "still": still,
}
"""The worlds by name; each takes a seed and a size."""
