"""The question: what runs in a process of ours? The real server, and dispatchers beside it.

Everything from the batch of records on is the product's own: admission, journal, engine, queue,
rounds of deciding and sending, erasures. Left out are sockets, and the watch on other processes:
who changes their mind here does so at the server.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

from proximity.consent import chain, grants, objections
from proximity.dispatch.dispatch import Dispatcher
from proximity.dispatch.rounds import decide_always, send_always
from proximity.ingest.ingest import Ingest
from proximity.model import Consent, Endpoint, ProximityError
from proximity.people import endpoints
from proximity.people.people import People
from proximity.server import clearing, erasures, rounds
from proximity.server.metrics import Metrics
from proximity.server.parts import Parts
from proximity.server.people import erased, written
from proximity.server.tail import Tail
from proximity.site.places import Places
from proximity.store import StoreFailed
from tests.simulation.disk import Disk
from tests.simulation.sink import Line

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Connection

    from proximity.model import Record
    from tests.simulation.world import World

CHANNELS = {"webhook": False, "console": False, "web-push": True, "email": True}
"""Channel -> whether it needs an address of the person's."""


class Alone:
    """What stands for the way in where a process only decides and sends."""

    def __init__(self) -> None:
        self.triggers_added = asyncio.Event()


class Life:
    """One start of a process, until it dies: ``server`` takes records too."""

    def __init__(self, world: World, name: str, *, server: bool) -> None:
        self.name = name
        self.server = server
        self.process = world.loop.process(name)
        self.ready = False
        self.stopped = False
        self._world = world
        self._decided = asyncio.Event()
        self.disk = Disk(world.store, world.loop, world.dice_of(f"disk of {name}"), world.committed)
        self.people = People(self.disk, world.clock)
        self.places = Places(None, None)
        self.ingest = Ingest(
            self.disk,
            people=self.people,
            campaigns=lambda: world.rules,
            places=self.places,
            clock=world.clock,
            site_file=world.site_file,
            fences=world.fences,
            late_s=world.late_s,
            decide=world.decide,
        )
        self.alone = Alone()
        if not server:
            self.places.replace(world.index, world.site)
        self._tasks: list[asyncio.Task[None]] = []
        self.dispatcher = Dispatcher(
            self.disk,
            campaigns=lambda: world.rules,
            people=self.people,
            places=self.places,
            channels={
                one: Line(world, one, name, to_endpoints=addressed)
                for one, addressed in CHANNELS.items()
            },
            owner=name,
            clock=world.clock,
            elapsed=world.loop.time,
        )
        self.parts = Parts(
            store=self.disk,
            ingest=self.ingest if server else cast("Any", self.alone),
            people=self.people,
            places=self.places,
            campaigns=lambda: world.rules,
            tokens=cast("Any", None),  # no question comes over HTTP
            signatures=cast("Any", None),
            metrics=Metrics(),
            tail=Tail(),
            clock=world.clock,
            late_s=world.late_s,
        )

    def start(self) -> None:
        """Come up, in the process's own time."""
        self._world.loop.spawn(self.process, self._start())

    async def _start(self) -> None:
        """Come up; what cannot, ends, and whoever watches over it starts it again."""
        try:
            await self._run()
        except StoreFailed as error:
            self._world.story(f"{self.name} does not come up: {error}")
            self._world.kill(self.name.partition("#")[0])
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not be
            self._world.checks.fault(f"{self.name} does not come up: {error!r}")

    async def _run(self) -> None:
        self.people.reload()
        if self.server:
            if await self.disk.aread(chain.begins):
                await self.disk.awrite(lambda conn: chain.begin(conn, self._world.now))
            await self.ingest.start()
        parts, decided = self.parts, self._decided
        shift = rounds.shift_of(parts)
        works = [
            decide_always(shift, self.dispatcher, self.ingest.triggers_added, decided),
            send_always(shift, self.dispatcher, decided),
        ]
        if self.server:
            works.append(clearing.erase_always(parts))
        self._tasks = [asyncio.create_task(work) for work in works]
        self.ready = True
        self._world.story(f"{self.name} is up")
        if self.server:
            for who in self._world.people:
                self._world.checks.heard(who)

    def stop(self) -> None:
        """End in good order."""
        self._world.loop.spawn(self.process, self._stop())

    async def _stop(self) -> None:
        self.ready = False
        self.parts.closing.set()
        self.poke()
        await asyncio.gather(*self._tasks)
        if self.server:
            await self.ingest.stop()
        self.stopped = True
        self._world.story(f"{self.name} has stopped")

    def poke(self) -> None:
        """Have it look for what is due."""
        self.parts.ingest.triggers_added.set()
        self._decided.set()

    # -- what the server is asked ----------------------------------------------------------------

    def take(self, records: Sequence[Record], answer: Callable[[Any], None]) -> None:
        """Take records that arrived, and answer."""

        async def work() -> None:
            try:
                answer(await self.ingest.accept(records))
            except ProximityError as error:
                answer(error)

        self._world.loop.spawn(self.process, work())

    def hear(
        self, who: str, wish: str, purpose: str | None, channel: str | None,
        answer: Callable[[Any], None],
    ) -> None:  # fmt: skip
        """Hear what somebody wants, and answer once it is written."""

        async def work() -> None:
            try:
                await getattr(self, f"_{wish}")(who, purpose, channel)
                self._world.checks.heard(who)
                answer(None)
            except objections.Erased:
                answer(None)
            except ProximityError as error:
                answer(error)

        self._world.loop.spawn(self.process, work())

    async def _agree(self, who: str, purpose: str | None, channel: str | None) -> None:
        now, checks = self._world.now, self._world.checks
        given = Consent(purpose=purpose or "marketing", channel=channel, since=now)

        def write(conn: Connection) -> None:
            objections.refuse_erased(conn, (who,))
            self.people.grant(conn, who, given, "office")
            self.disk.once_written(lambda: checks.agrees(who, given))

        await written(self.parts, write)

    async def _withdraw(self, who: str, purpose: str | None, channel: str | None) -> None:
        now, checks = self._world.now, self._world.checks

        def write(conn: Connection) -> tuple[str, ...]:
            self.people.withdraw(conn, who, purpose, channel, at=now)
            self.disk.once_written(lambda: checks.withdraws(who, purpose, channel, now))
            return grants.left_without(self.people, conn, who, now)

        await erased(self.parts, write)

    async def _object(self, who: str, *_: Any) -> None:
        now, checks = self._world.now, self._world.checks

        def write(conn: Connection) -> None:
            grants.record_objection(conn, who, at=now, source="office")
            self.disk.once_written(lambda: checks.objects(who, objects=True))

        await written(self.parts, write)

    async def _lift(self, who: str, *_: Any) -> None:
        checks = self._world.checks

        def write(conn: Connection) -> None:
            grants.lift_mark(self.people, conn, who, "objected")
            self.disk.once_written(lambda: checks.objects(who, objects=False))

        await written(self.parts, write)

    async def _register(self, who: str, *_: Any) -> None:
        world = self._world
        number = sum(who in one for one in world.addresses)
        one = Endpoint(channel="web-push", address=f"{who}-device-{number}")
        world.addresses.append(one.address)

        def write(conn: Connection) -> None:
            objections.refuse_erased(conn, (who,))
            endpoints.add(conn, who, one, world.now)
            self.people.moved(conn)

        await written(self.parts, write)

    async def _erase(self, who: str, *_: Any) -> None:
        world = self._world
        if who not in world.may_leave:
            return
        world.checks.leaving.add(who)
        await erasures.begin(self.parts, who)
