"""What happens to everybody in a scenario, and what is reported of it?

Draws all that a scenario leaves to chance, each walker from streams of its own, named by the seed
and the walker's subject: one more walker changes no other, and the same seed gives the same
records. Writes no file and reads none.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np

from proximity.model import ProximityError, Record, Sighting
from simulator.gps import Phone, arrival, drawn, fixes
from simulator.radio import Carried, Fixed, advertised, heading, hear
from simulator.scenario import Scenario
from simulator.venue import Receiver, Sender
from simulator.walk import Ground, Stop, Track, Walker, walk

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from simulator.actors import Actor, Crowd
    from simulator.gps import Overhead

    Floats = NDArray[np.float64]

__all__ = ["Stories", "Story", "in_order", "trace"]

MAX_RECORDS = 5_000_000
"""Records of one trace: what a machine with 4 GB holds while it sorts them."""

MAX_PERSON_S = 500e6
"""Seconds of all walkers together: a thousand people for half a week, and each step is laid out."""

OFTEN = 40_000_000
"""Advertisements weighed against receivers; an hour of 1,000 tags and ten gateways is 7 million."""


def stream(seed: int, *parts: object) -> np.random.Generator:
    """Give a stream of chance of its own to whatever ``parts`` name."""
    name = "\x1f".join(map(str, parts)).encode()
    own = int.from_bytes(blake2b(name, digest_size=8).digest(), "big")
    return np.random.default_rng([seed, own])


@dataclass(frozen=True)
class Story:
    """One walker's way, and what was reported of it."""

    actor: Actor
    track: Track
    records: list[Record]
    seen: dict[str, Floats]
    """For each subject the rising true seconds at which it was reported."""


@dataclass(frozen=True, kw_only=True)
class Link:
    """One beacon and one receiver, of which one is fixed: what befalls what is heard.

    ``subject`` is who carries the other end; ``gateway`` None where that is a phone that hears.
    ``uplink`` are the words of ``gps.arrival``.
    """

    sender: Sender
    fixed: Fixed
    subject: str
    gateway: str | None
    report_s: float
    window_s: tuple[float, float]
    step_db: float
    skew_s: float
    down: tuple[tuple[float, float], ...]
    uplink: dict[str, Any]

    @classmethod
    def to_gateway(cls, sender: Sender, fixed: Fixed, subject: str, receiver: Receiver) -> Link:
        """Link a carried tag to a gateway."""
        return cls(
            sender=sender,
            fixed=fixed,
            subject=subject,
            gateway=receiver.id,
            report_s=receiver.report_s,
            window_s=receiver.window_s,
            step_db=receiver.step_db,
            skew_s=receiver.skew_s,
            down=receiver.down,
            uplink={"delay_s": receiver.delay_s, "offline": receiver.offline},
        )

    @classmethod
    def to_phone(cls, sender: Sender, fixed: Fixed, subject: str, phone: Phone) -> Link:
        """Link a fixed beacon to a phone, which ranges once a second."""
        return cls(
            sender=sender,
            fixed=fixed,
            subject=subject,
            gateway=None,
            report_s=1.0,
            window_s=(1.0, 0.0),
            step_db=0.0,
            skew_s=phone.skew_s,
            down=phone.dead,
            uplink=phone.uplink,
        )


class Stories:
    """One scenario, drawn with one seed."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self.scenario = scenario
        self.seed = seed
        self.sky = _overhead(scenario)
        air = scenario.venue.air
        self.receivers = [
            (one, Fixed(one.x, one.y, air, stream(seed, "gateway", one.id), one.floor))
            for one in scenario.venue.receivers
        ]
        self.fixed = [
            (one, Fixed(one.x, one.y, air, stream(seed, "beacon", *one.beacon.identity), one.floor))
            for one in scenario.venue.senders
            if one.place is not None
        ]
        self.tags: dict[str, list[Sender]] = {}
        for sender in scenario.venue.senders:
            if sender.subject is not None:
                self.tags.setdefault(sender.subject, []).append(sender)
        self.count = 0
        self.weighed = 0
        self._refuse_too_much()

    def __iter__(self) -> Iterator[Story]:
        """Walk everybody's way, one after the other."""
        for actor in self._everybody():
            subject = actor.walker.subject
            track = walk(actor.walker, stream(self.seed, "walk", subject))
            records: list[Record] = []
            seen: dict[str, list[Floats]] = {}
            links: list[Link] = []
            if actor.phone is not None:
                rng = stream(self.seed, "phone", subject)
                phone = drawn(actor.phone, actor.between, rng)
                self._expect_records((track.ends_s - track.starts_s) / phone.every_s)
                own = list(fixes(subject, track, phone, rng, self.scenario.start, self.sky))
                records += own
                times = np.array([one.at for one in own]) - self.scenario.start - phone.skew_s
                seen.setdefault(subject, []).append(times)
                if actor.hears:
                    links += [
                        Link.to_phone(sender, fixed, subject, phone) for sender, fixed in self.fixed
                    ]
            links += [
                Link.to_gateway(sender, fixed, whose, receiver)
                for whose in dict.fromkeys((subject, *actor.carries))
                for sender in self.tags.get(whose, ())
                for receiver, fixed in self.receivers
            ]
            for link in links:
                found, times = self._sightings(link, track)
                records += found
                seen.setdefault(link.subject, []).append(times)
            yield Story(
                actor, track, records,
                {whose: np.sort(np.concatenate(times)) for whose, times in seen.items()},
            )  # fmt: skip

    def _everybody(self) -> Iterator[Actor]:
        yield from self.scenario.actors
        for crowd in self.scenario.crowds:
            for number in range(1, crowd.count + 1):
                yield _one_of(crowd, number, self.seed)

    def _refuse_too_much(self) -> None:
        """Refuse at once what is sure to be more than can be held."""
        person_s = sum(_least_s(actor) for actor in self.scenario.actors)
        person_s += sum(crowd.count * _least_s(crowd.like) for crowd in self.scenario.crowds)
        if person_s > MAX_PERSON_S:
            raise ProximityError(
                f"{self.scenario.name}: {person_s:.3g} s of all walkers together are more than "
                f"{MAX_PERSON_S:.3g}: fewer walkers or a shorter time"
            )
        for actor in self.scenario.actors:
            self._expect_records(_least_fixes(actor))
        for crowd in self.scenario.crowds:
            self._expect_records(crowd.count * _least_fixes(crowd.like))
        self.count = 0

    def _expect_records(self, more: float) -> None:
        """Refuse to draw more than can be held."""
        self.count += int(more)
        if self.count > MAX_RECORDS:
            raise ProximityError(
                f"{self.scenario.name}: more than {MAX_RECORDS:,} records: fewer walkers, rarer "
                "fixes or a shorter time"
            )

    def _sightings(self, link: Link, track: Track) -> tuple[list[Record], Floats]:
        """Give what the receiving end of a link reports along a track, and the true seconds."""
        sender = link.sender
        rng = stream(self.seed, "air", link.gateway, link.subject, *sender.beacon.identity)
        times, rssi = self._heard(link, track, rng)
        received, order = arrival(times, rng, **link.uplink)
        start = self.scenario.start
        at = np.round(start + times[order] + link.skew_s, 3)
        rows = zip(at.tolist(), rssi[order].tolist(), (start + received).tolist(), strict=True)
        return [
            Sighting(
                beacon=sender.beacon,
                at=when,
                rssi_dbm=level,
                gateway=link.gateway,
                subject=None if link.gateway else link.subject,
                received_at=round(came, 3),
            )
            for when, level, came in rows
        ], times

    def _heard(self, link: Link, track: Track, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """Give seconds and levels of the advertisements that are reported."""
        sender = link.sender
        self.weighed += int((track.ends_s - track.starts_s) / sender.every_s)
        if self.weighed > OFTEN:
            raise ProximityError(
                f"{self.scenario.name}: more than {OFTEN:,} advertisements to weigh: fewer tags or "
                "gateways, rarer advertisements or a shorter time"
            )
        times = advertised(track.starts_s, track.ends_s, sender.every_s, rng)
        x, y = self.scenario.venue.plan.metres(*track.at(times))
        speed, course, floors = track.motion(times)
        carried = Carried(times, x, y, heading(times, speed, course, rng), floors)
        walls = self.scenario.venue.walls
        which, rssi = hear(link.fixed, carried, sender.power_dbm, rng, walls)
        times = times[which]
        told = times % sum(link.window_s) < link.window_s[0]
        for begins, ends in link.down:
            told &= (times < begins) | (times >= ends)
        times, rssi = times[told], rssi[told]
        # The first in each interval speaks for it, as gateways that thin their reports do.
        first = np.diff(np.floor(times / link.report_s), prepend=-1.0) != 0.0
        times, rssi = times[first], rssi[first]
        if link.step_db > 0.0:
            steps = _steps(rssi, link.step_db)
            times, rssi = times[steps], rssi[steps]
        self._expect_records(float(len(times)))
        return times, rssi


def _steps(rssi: Floats, step_db: float) -> list[int]:
    """Choose the levels that differ from the last chosen one by ``step_db`` or more."""
    chosen: list[int] = []
    last = math.inf
    for number, level in enumerate(rssi.tolist()):
        if abs(level - last) >= step_db:
            chosen.append(number)
            last = level
    return chosen


def trace(scenario: Scenario, seed: int) -> list[Record]:
    """Give all records of a scenario in order of arrival: the same seed, the same trace."""
    return in_order(story.records for story in Stories(scenario, seed))


def in_order(parts: Iterable[list[Record]]) -> list[Record]:
    """Put records in order of arrival, those of one instant by whose they are."""
    records = [record for part in parts for record in part]
    records.sort(key=lambda one: (one.received_at, one.at, _whose(one)))
    return records


def _whose(record: Record) -> str:
    return record.subject or (record.gateway or "" if isinstance(record, Sighting) else "")


def _least_fixes(actor: Actor) -> float:
    """Estimate how many fixes a walker's phone makes: for its stays alone, the way comes on top."""
    if actor.phone is None or math.isfinite(actor.phone.sleeps_after_s):
        return 0.0
    _, slowest = actor.between.get("every_s", (0.0, actor.phone.every_s))
    return _least_s(actor) / slowest


def _least_s(actor: Actor) -> float:
    """Add up how long a walker stays at the points of its path; the way comes on top."""
    return sum(stop.stay_s for stop in actor.walker.path)


def _one_of(crowd: Crowd, number: int, seed: int) -> Actor:
    """Draw one walker of a crowd."""
    like = crowd.like
    subject = f"{like.walker.subject}-{number:0{len(str(crowd.count))}d}"
    rng = stream(seed, "crowd", subject)
    path = list(like.walker.path)
    if crowd.calls:
        many = int(rng.integers(crowd.calls_each[0], crowd.calls_each[1] + 1))
        which = rng.choice(len(crowd.calls), many, replace=False)
        path[-1:-1] = [
            replace(crowd.calls[one], stay_s=float(rng.uniform(*crowd.stay_s))) for one in which
        ]
    walker = Walker(
        subject,
        tuple(_aside(stop, crowd.spread_m, rng) for stop in path),
        like.walker.speed_mps * float(rng.uniform(0.8, 1.2)),
        like.walker.start_s + float(rng.uniform(*crowd.starts_s)),
    )
    return replace(like, walker=walker)


def _aside(stop: Stop, spread_m: float, rng: np.random.Generator) -> Stop:
    """Move a stop by up to ``spread_m`` in each direction."""
    if spread_m == 0.0:
        return stop
    lon, lat = Ground(stop.lon, stop.lat).degrees(*rng.uniform(-spread_m, spread_m, 2).tolist())
    return replace(stop, lon=lon, lat=lat)


def _overhead(scenario: Scenario) -> Overhead | None:
    """Make the function that tells what stands over a place; None where all is open."""
    index = scenario.venue.skies
    if not len(index):
        return None
    kinds = np.array([int(scenario.venue.sky_of[name]) for name in index.ids])

    def over(times: Floats, lons: Floats, lats: Floats) -> NDArray[np.int64]:
        found = np.zeros(len(times), np.int64)
        points, held = index.locate_many(lons, lats)
        np.maximum.at(found, points, kinds[held])  # the thickest roof counts
        return found

    return over
