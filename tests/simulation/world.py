"""The question: what happens under this seed? A street, its people, and fate.

Sets everything up, lets faults come as they are drawn, heals them, waits until all is settled, and
asks the checks. The same seed is the same story to the byte.
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
import logging
import random
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from unittest import mock
from zoneinfo import ZoneInfo

import structlog

import geofences
from proximity.campaigns.form import parse_campaigns
from proximity.dispatch import outbox, queue, rounds
from proximity.ingest import ingest, remembering
from proximity.model import Consent, Endpoint, Person, Sighting
from proximity.people.people import People
from proximity.privacy import erasing
from proximity.site.places import Places
from proximity.site.sitefile import parse_site
from proximity.windows import local
from tests.proximity.given import PARIS, when
from tests.simulation.checks import Checks
from tests.simulation.disk import empty_store
from tests.simulation.engine import Life
from tests.simulation.fate import Fate
from tests.simulation.loop import Loop, Process, Unsettled
from tests.simulation.network import Network
from tests.simulation.rules import RULES
from tests.simulation.senders import Spool, gateway, minds, phone
from tests.simulation.sink import Sink
from tests.street import SITE, STREET, fences

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from proximity.campaigns.campaigns import PlaceFacts
    from proximity.model import Record
    from tests.simulation.disk import Disk

BEGIN = when("2026-03-28 21:48")
"""Quiet hours are near, and in the night Paris loses an hour."""
MORNING = when("2026-03-29 07:30")
CHAOS_S = 900.0
"""So long faults come; then everything is healed."""
MOST_ERRORS = 20
"""An engine that has logged so many faults of its own need not be heard to the end."""
PEOPLE = ("ana-canary", "ben-canary", "cyd-canary", "eve-canary")


class Told(NamedTuple):
    """What came of a seed: its story, what was wrong in it, and how much happened."""

    seed: int
    story: list[str]
    wrong: list[str]
    counts: dict[str, int]


class World:
    """One seed's world."""

    decide: Literal["robust", "point"] = "robust"
    late_s = 1800.0

    def __init__(self, seed: int, folder: Path, errors: list[str]) -> None:
        self.seed = seed
        self.errors = errors
        self.people = PEOPLE
        self.may_leave = PEOPLE[-2:]
        self.rules = parse_campaigns(RULES)
        self.fences = fences(*STREET)
        self.index = geofences.FenceIndex(self.fences)
        text = SITE.replace('"s0"', f'"{PEOPLE[0]}-card"')
        self.site_file = folder / "site.toml"
        self.site_file.write_text(text)
        self.site = parse_site(text, "site.toml")
        self.dice = self.dice_of("world")
        self.loop = Loop(self.dice_of("steps"), BEGIN)  # type: ignore[abstract]
        self.loop.on_death = self._died
        self.store = empty_store()
        self.network = Network(self.loop, self.dice_of("network"))
        self.sink = Sink(self.dice_of("sink"))
        self.lines: list[str] = []
        self.spools: list[Spool] = []
        self.whereabouts: dict[str, str] = {}
        self.addresses: list[str] = []
        self.ending = False
        self.lives: dict[str, Life] = {}
        self.starts = 0
        self.deaths = 0
        self._places = Places(self.index, self.site)
        self._subjects: dict[str, str] = {}
        self.checks = Checks(self)
        self.fate = Fate(self, BEGIN + CHAOS_S)
        self.loop.on_doze = self.fate.pause
        self._enrol()

    # -- what everybody knows --------------------------------------------------------------------

    @property
    def now(self) -> float:
        """The virtual time, Unix seconds."""
        return self.loop.now

    def clock(self) -> float:
        """Tell it, as a clock does."""
        return self.loop.now

    def dice_of(self, name: str) -> random.Random:
        """Give somebody dice of their own, so that what one draws moves no other."""
        return random.Random(f"{self.seed}/{name}")

    def story(self, text: str) -> None:
        """Tell what happens."""
        shown = local(self.loop.now, ZoneInfo(PARIS))
        self.lines.append(f"{shown:%a %H:%M:%S}.{shown.microsecond // 1000:03d}  {text}")

    def person_of(self, subject: str) -> str:
        """Tell who carries a subject."""
        return self._subjects[subject]

    def carrier(self, record: Record) -> str:
        """Tell whose record it is."""
        if isinstance(record, Sighting):
            return self.people[0]
        return self._subjects[record.subject]

    def facts(self, place: str) -> PlaceFacts:
        """Tell what campaigns know of a place."""
        return self._places.facts(place)

    def _enrol(self) -> None:
        """Put everybody with a phone and addresses; they agree to everything so far."""
        people = People(self.store, lambda: self.now)
        for who in PEOPLE:
            subjects = [f"{who}-phone"] + [f"{who}-card"] * (who == PEOPLE[0])
            self._subjects.update(dict.fromkeys(subjects, who))
            given = [Consent(purpose=one, since=BEGIN - 1.0) for one in ("marketing", "service")]
            reached = [
                Endpoint(channel="web-push", address=f"{who}-device-{number}")
                for number in range(self.dice.randrange(3))
            ]
            self.addresses += [one.address for one in reached]
            mail = Endpoint(channel="email", address=f"{who}@example.test")
            person = Person(
                person=who, subjects=tuple(subjects), consents=tuple(given), timezone=PARIS,
                endpoints=(*reached, mail),
            )  # fmt: skip
            self.store.write(lambda conn, one=person: people.put(conn, one)).result()
            for one in given:
                self.checks.agrees(who, one)

    # -- processes -------------------------------------------------------------------------------

    def start(self, role: str) -> Life:
        """Start the server or a dispatcher."""
        self.starts += 1
        life = Life(self, f"{role}#{self.starts}", server=role == "server")
        self.lives[role] = life
        life.start()
        return life

    def kill(self, role: str) -> None:
        """End a process where it stands; it comes up again after a while."""
        life = self.lives[role]
        if life.process.alive:
            self.loop.kill(life.process)
            self._died(life.process)

    def _died(self, process: Process) -> None:
        role = process.name.partition("#")[0]
        self.deaths += 1
        self.story(f"{process.name} is killed")
        if self.lives[role].server and self.lives[role].ingest.fault is not None:
            self.checks.fault(f"{process.name} had failed: {self.lives[role].ingest.fault!r}")
        again = self.dice.choice([0.5, 3.0, 20.0, 90.0])
        self.loop.call_later(again, self.start, role, context=self.loop.world.context)

    def committed(self, disk: Disk) -> None:
        """Something was written: look at it, and let the others know, sooner or later."""
        self.checks.committed(disk)
        for life in self.lives.values():
            if life.disk is not disk and life.ready and self.dice.random() < 0.06:
                delay = self.dice.expovariate(1.0)
                self.loop.call_later(delay, life.poke, context=life.process.context)

    async def post(self, line: str, records: Sequence[Record]) -> Any:
        """Send records to the server, and give its receipt. Raises Silence, and what it answers."""

        def take(answer: Callable[[Any], None]) -> None:
            if self.lives["server"].ready:
                self.lives["server"].take(records, answer)

        return await self.network.ask(line, take)

    async def wish(
        self, line: str, who: str, wish: str, purpose: str | None, channel: str | None
    ) -> None:
        """Tell the server what somebody wants; as ``post``."""

        def take(answer: Callable[[Any], None]) -> None:
            if self.lives["server"].ready:
                self.lives["server"].hear(who, wish, purpose, channel, answer)

        await self.network.ask(line, take)

    # -- what happens ----------------------------------------------------------------------------

    def run(self) -> Told:
        """Let it all happen."""
        for role in self.roles():
            self.start(role)
        begun = self.loop.process("street")
        for who in self.people:
            self.loop.spawn(begun, phone(self, who, self.dice_of(who)))
        for name, spot in (("gw-bar", "cafe"), ("gw-terrace", "cafe")):
            self.loop.spawn(begun, gateway(self, name, spot, self.dice_of(name)))
        self.loop.spawn(begun, minds(self, self.dice_of("minds")))
        ending = self.loop.spawn(self.loop.world, self._all())
        try:
            self.loop.run(lambda: ending.done() or len(self.errors) > MOST_ERRORS)
            if ending.done():
                ending.result()
        except Unsettled as error:
            self.checks.fault(str(error))
        for what in self.loop.faults + self.errors:
            self.checks.fault(what)
        self.checks.at_the_end()
        for line in self._ledger():
            self.lines.append(line)
        counts = {
            "rows": len(self.checks.rows), "deaths": self.deaths, "steps": self.loop.steps,
            "arrived": len(self.sink.seen), "erased": len(self.checks.erased),
        }  # fmt: skip
        self.lines.append(", ".join(f"{name} {count}" for name, count in counts.items()))
        return Told(self.seed, self.lines, self.checks.wrong, counts)

    def roles(self) -> list[str]:
        """Name what runs: the server, and one or two dispatchers beside it."""
        return ["server", "second", *(["third"] if self.seed % 3 == 0 else [])]

    async def _all(self) -> None:
        await self.fate.strike()
        await self._heal()
        await self._stop_all()
        await asyncio.sleep(max(0.0, MORNING - self.now))
        while self._left():  # a timer may ring in the very moment in which all stop
            for role in self.roles():
                self.start(role)
            await self._until(lambda: self._rested() and not self._left())
            await self._stop_all()

    async def _stop_all(self) -> None:
        for role in self.roles():
            self.lives[role].stop()
        await self._until(lambda: all(one.stopped for one in self.lives.values()))

    async def _heal(self) -> None:
        """Let all be well, and wait until everything has arrived and had its consequences."""
        self.story("all is well from now on")
        self.ending = True
        self.fate.heal()
        await self._until(self._up)
        for spool in self.spools:
            while spool.waiting:
                await spool.send()
        await self._until(self._rested)

    async def _until(self, so: Callable[[], bool]) -> None:
        for _ in range(7200):
            if so():
                return
            await asyncio.sleep(1.0)
        raise Unsettled("it is not settled within two hours")

    def _up(self) -> bool:
        return all(one.ready and one.process.alive for one in self.lives.values())

    def _rested(self) -> bool:
        return self._up() and self.lives["server"].ingest.depth == 0

    def _left(self) -> int:
        """Count what waits: to be decided, to be sent, to be erased."""
        read = self.store.read
        return read(queue.depth) + read(outbox.depth) + len(read(erasing.pending))

    def _ledger(self) -> list[str]:
        """Give the end of the story: what the ledger holds."""
        found = self.store.read(
            lambda c: c.exec_driver_sql("SELECT record FROM ledger ORDER BY seq").scalars().all()
        )
        text = "\n".join(found)
        return [f"{len(found)} records in the ledger, {hashlib.sha256(text.encode()).hexdigest()}"]


def run(seed: int) -> Told:
    """Run one seed's world from beginning to end."""
    errors: list[str] = []
    with ExitStack() as stack:
        stack.enter_context(_slowly(errors))
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        world = World(seed, Path(folder), errors)
        stack.callback(world.loop.end)
        return world.run()


@contextmanager
def _slowly(errors: list[str]) -> Iterator[None]:
    """Let clocks be looked at less often than in life, where an idle second costs nothing.

    Garbage is not looked for meanwhile: what is found, and when, would depend on the machine. What
    the engine logs as an error goes into ``errors``: a fault of the program, which must not be.
    """

    def keep(_logger: object, _level: str, event: Any) -> Any:
        errors.append(" ".join(f"{name}={value}" for name, value in sorted(event.items())))
        raise structlog.DropEvent

    before = structlog.get_config()
    with (
        mock.patch.object(ingest, "_TICK_S", 1.0),
        mock.patch.object(rounds, "LONGEST_S", 120.0),
        # A day here has some hundreds of records: starts are to read pieces, and what none covers.
        mock.patch.object(remembering, "PIECE_RECORDS", 20),
    ):
        structlog.configure(
            processors=[keep], wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR)
        )
        gc.disable()
        try:
            yield
        finally:
            gc.enable()
            structlog.configure(**before)
