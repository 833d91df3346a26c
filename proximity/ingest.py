"""How do records come in for good? Records → journal → engine → triggers.

A batch is judged, written to the journal as one row, committed, and only then acknowledged; after
that the engine takes the row, and one transaction holds what came of it. After a crash the same
rows go the same way again. Knows the store and the clock; what a row does to the engine is
``fold``'s, who may be processed is ``people``'s, which transition matters is ``campaigns``'.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeVar

import msgspec
import structlog

from proximity import queue
from proximity.admission import Admission, Receipt
from proximity.backlog import Backlog, Pending
from proximity.fold import Fold
from proximity.intake import Intake
from proximity.model import ProximityError, digest
from proximity.recovery import recover
from proximity.sitefile import read_site
from proximity.store import StoreFailed, journal, ledger
from proximity.store.journal import FenceChange, SiteChange, SiteText, StoredFence

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

    from sqlalchemy import Connection

    from geofences import Fence, FenceIndex
    from proximity.campaigns import Campaigns
    from proximity.engine import Engine
    from proximity.model import Record, Transition, Trigger
    from proximity.people import People
    from proximity.places import Places
    from proximity.registry import Site
    from proximity.store import Entry, LedgerRow, Store

T = TypeVar("T")

log = structlog.get_logger(__name__)

# What may wait for the engine. It takes some 10,000 records a second (measured on two cores), so
# the most records are two seconds of work: what a caller who is told to come back should wait.
MOST_ROWS = 2_000
MOST_RECORDS = 20_000
# Rows whose outputs share one transaction: bounds how long the first waits for the last.
_TOGETHER = 200
# A snapshot this often bounds what a start has to fold; sooner where very much came.
SNAPSHOT_S = 60.0
SNAPSHOT_ROWS = 20_000
# How often the engine's timers are looked at. It costs the top of a heap, follows any clock (one
# that is set, or runs faster for a rehearsal), and lets what falls due together share a row.
_TICK_S = 0.1
# What is left to do when stopping gets this long; what is not done then, the next start does.
_DRAIN_S = 10.0
# While the disk is full the next attempt comes after this long.
_RETRY_S = 1.0


class Overloaded(ProximityError):  # noqa: N818 - it says what the server is
    """More waits for the engine than may; nothing was taken, come back in some seconds."""


class FenceFixed(ProximityError):  # noqa: N818 - it says what the fence is
    """The fence comes from a file that the server was started with: change it there."""


class Ingest:
    """Takes records and edits of fences, and keeps the engine.

    ``fences`` are those of files, ``site_file`` the site's path; ``clock`` gives Unix seconds.
    Use from one event loop: ``start``, then ``accept`` and the edits, then ``stop``. ``ready``
    tells whether writes are accepted; ``on_committed`` are called with each transaction's new
    ledger rows, and ``triggers_added`` is set when there may be something to decide.
    """

    def __init__(
        self,
        store: Store,
        *,
        people: People,
        campaigns: Callable[[], Campaigns],
        places: Places,
        clock: Callable[[], float],
        site_file: Path | None = None,
        fences: Sequence[Fence] = (),
        consent: Literal["required", "assumed"] = "required",
        late_s: float = 3600.0,
        decide: Literal["robust", "point"] = "robust",
    ) -> None:
        self.on_committed: list[Callable[[list[LedgerRow]], None]] = []
        self.triggers_added = asyncio.Event()
        self._failed = 0
        self._store = store
        self._people = people
        self._campaigns = campaigns
        self._places = places
        self._clock = clock
        self._site_file = site_file
        self._files = fences
        self._late_s = late_s
        self._decide = decide
        self._admission = Admission(people, Intake(late_s), consent)
        self._fold = Fold({}, None, decide=decide, late_s=late_s)
        self._now = 0.0
        self._version: tuple[str, str] | None = None
        self._upcoming: Mapping[str, StoredFence] | None = None
        self._backlog = Backlog(store, self._admission.intake.forget)
        self._editing = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []
        self._snapshot = (0, 0.0)  # position and time of the newest
        self._pruned_at = 0.0
        self._open = False

    @property
    def engine(self) -> Engine:
        """The engine; whoever asks it from the event loop sees a state between two steps."""
        return self._fold.engine

    @property
    def index(self) -> FenceIndex:
        """The fences in force, as the engine knows them."""
        return self._fold.index

    @property
    def site(self) -> Site:
        """The site in force."""
        return self._fold.site

    @property
    def fences(self) -> Mapping[str, StoredFence]:
        """The fences in force by id, as text, with ETag and source."""
        return self._fold.fences

    @property
    def depth(self) -> int:
        """Rows that wait for their commit or for the engine."""
        return len(self._backlog)

    @property
    def counts(self) -> Counter[str]:
        """What was dropped outside the engine: ``unlisted`` sightings, records that ``failed``."""
        return Counter(unlisted=self._admission.unlisted, failed=self._failed)

    @property
    def ready(self) -> bool:
        """Whether writes are accepted now."""
        return self._open and self._backlog.refusing is None and self._store.failure is None

    async def start(self) -> None:
        """Recover what was acknowledged, take in what the files changed, and begin.

        Raises StoreFailed where the store cannot be read or another server works on it, and
        ProximityError or GeofenceError where a file cannot be used; nothing has changed then.
        """
        site = await asyncio.to_thread(_read_site, self._site_file)
        self._store.hold()
        found = await self._store.aread(partial(recover, decide=self._decide, late_s=self._late_s))
        self._fold, self._admission.intake = found.fold, found.intake
        self._now, self._snapshot = found.now, found.snapshot
        self._backlog = Backlog(self._store, found.intake.forget, found.position)
        self._places.replace(self.index, self.site)
        for row, records in found.rows:
            self._backlog.take(row, records)
        self._tasks = [
            asyncio.create_task(self._apply_rows(), name="ingest-apply"),
            asyncio.create_task(self._keep_time(), name="ingest-time"),
        ]
        for task in self._tasks:
            task.add_done_callback(self._ended)
        await self._backlog.idle.wait()
        if site != self._fold.site_text:
            await self._append_site(site)
        await self._append_fences(self._changes(self._files, self._gone(), "file"))
        await self._backlog.idle.wait()
        self._open = True

    async def accept(
        self, records: Sequence[Record], lines: Sequence[int] | None = None
    ) -> Receipt:
        """Take records in order; return once they are on disk, or need not be.

        ``lines`` says where each stood, for refusals (else counted from 1). Raises Overloaded,
        StoreFailed (StoreFull: the disk is full); then none was taken, and all may come again.
        """
        self._check_room()
        now = self._tell_time()
        taken, receipt = self._admission.judge(records, lines, self.site, now)
        pending = None
        if taken:
            pending = self._backlog.gather(taken, now=now, version=self._judged_by())
        await self._backlog.settled(pending, repeats=receipt.duplicate > 0)
        return receipt

    async def edit_fences(self, puts: Sequence[Fence], removals: Sequence[str] = ()) -> None:
        """Put and remove fences, all or nothing; return once the engine judges by them.

        Raises FenceFixed where one comes from a file, and as ``accept`` does; nothing has
        changed then.
        """
        self._check_room()
        async with self._editing:
            for fence_id in (*(fence.id for fence in puts), *removals):
                known = self.fences.get(fence_id)
                if known is not None and known.source == "file":
                    raise FenceFixed(
                        f"fence {fence_id!r} comes from a file that the server was started with: "
                        "change it there"
                    )
            await self._append_fences(self._changes(puts, removals, "http"))

    async def forget(self, subjects: Sequence[str]) -> None:
        """Erase what the engine knows of subjects; their visits end with reason ``erased``."""
        self._check_room()
        for subject in subjects:
            self._admission.intake.forget_subject(subject)
        payload = msgspec.msgpack.encode(list(subjects))
        await self._append("forget", payload, now=self._tell_time()).applied

    async def stop(self) -> None:
        """Take no more, finish what was taken, leave a snapshot so that the next start is quick.

        Where the disk takes no more the journal already has everything, and nothing is waited for.
        """
        self._open = False
        if not self._tasks:
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._backlog.idle.wait(), _DRAIN_S)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        if self._backlog.idle.is_set() and self._fold.position > self._snapshot[0]:
            try:
                await self._save_snapshot()
            except StoreFailed as error:
                log.warning("no snapshot was left when stopping", reason=str(error))

    # What comes in -------------------------------------------------------------------------

    def _check_room(self) -> None:
        if self._store.failure is not None:
            raise self._store.failure
        if not self._open:
            raise StoreFailed("the server is starting or stopping; try again")
        if len(self._backlog) >= MOST_ROWS or self._backlog.records >= MOST_RECORDS:
            raise Overloaded("too much is waiting to be worked off; try again in some seconds")

    def _tell_time(self) -> float:
        """Give the time of the clock, or the latest time told where it was set back since."""
        self._now = max(self._now, self._clock())
        return self._now

    def _append(
        self,
        kind: journal.Kind,
        payload: bytes,
        *,
        now: float,
        also: Callable[[Connection], None] | None = None,
    ) -> Pending:
        return self._backlog.append(kind, payload, now=now, version=self._judged_by(), also=also)

    def _judged_by(self) -> str:
        """Give the version of a row: it names the fences, site and campaigns it is judged with."""
        campaigns = self._campaigns().version
        if self._version is None or self._version[0] != campaigns:
            fences = self.fences if self._upcoming is None else self._upcoming
            site = self._fold.site_text
            texts = () if site is None else (site.text, site.beacons)
            etags = (f"{fence_id} {one.etag}" for fence_id, one in sorted(fences.items()))
            self._version = (campaigns, digest(campaigns, *texts, *etags))
        return self._version[1]

    def _gone(self) -> list[str]:
        """Name the fences that came from a file and are in none any more."""
        there = {fence.id for fence in self._files}
        return [i for i, known in self.fences.items() if known.source == "file" and i not in there]

    def _changes(
        self, puts: Sequence[Fence], removals: Sequence[str], source: Literal["file", "http"]
    ) -> list[FenceChange]:
        """Say what an edit changes; what is so already is left out."""
        after: dict[str, StoredFence | None] = {
            fence.id: StoredFence(msgspec.json.encode(fence.to_feature()).decode(), source)
            for fence in puts
        }
        after.update(dict.fromkeys(removals))
        return [
            FenceChange(fence_id, self.fences.get(fence_id), now)
            for fence_id, now in after.items()
            if now != self.fences.get(fence_id)
        ]

    async def _append_fences(self, changes: Sequence[FenceChange]) -> None:
        """Change fences; rows that follow this one are judged by them, and say so."""
        if not changes:
            return
        upcoming = {**self.fences, **{one.id: one.after for one in changes}}
        self._upcoming = {i: fence for i, fence in upcoming.items() if fence is not None}
        self._version = None
        try:
            payload = msgspec.msgpack.encode(changes)
            also = partial(journal.change_fences, changes=changes)
            await self._append("fences", payload, now=self._tell_time(), also=also).applied
        finally:
            self._upcoming = self._version = None

    async def _append_site(self, site: SiteText | None) -> None:
        payload = msgspec.msgpack.encode(SiteChange(self._fold.site_text, site))
        also = partial(journal.change_site, site=site)
        await self._append("site", payload, now=self._tell_time(), also=also).applied

    # What comes of it ----------------------------------------------------------------------

    async def _apply_rows(self) -> None:
        """Apply committed rows in order, and write what came of them, for ever."""
        backlog = self._backlog
        while True:
            await backlog.arrived.wait()
            entries: list[Entry] = []
            triggers: list[Trigger] = []
            for _ in range(_TOGETHER):
                pending = backlog.first
                if pending is None or (entries and not pending.committed.done()):
                    break
                if await backlog.on_disk(pending):
                    for transition in await self._apply(pending):
                        self._follow(transition, entries, triggers)
                backlog.applied(pending)
            if entries:
                await self._until_written(partial(self._write, entries, triggers))
            await self._tidy(self._tell_time())
            backlog.rest()

    async def _apply(self, pending: Pending) -> list[Transition]:
        """Let the engine have one row."""
        found: list[Transition] = []
        row = pending.row
        for step in self._fold.steps(row, pending.records or None):
            found += step
            await asyncio.sleep(0)
        if self._fold.fault is not None:
            log.error(
                "the engine failed on a row of the journal",
                position=row.position,
                exc_info=self._fold.fault,
            )
            self._failed += max(1, len(pending.records))
        if row.kind in {"fences", "site"}:
            self._version = None
            self._places.replace(self.index, self.site)
        return found

    def _follow(
        self, transition: Transition, entries: list[Entry], triggers: list[Trigger]
    ) -> None:
        """Say what a transition adds to the ledger and to the queue."""
        person = self._people.person_of(transition.subject)
        entries.append(ledger.entry(transition, person))
        facts = self._places.facts(transition.place)
        triggers += self._campaigns().triggers(transition, person, facts)

    async def _write(self, entries: Sequence[Entry], triggers: Sequence[Trigger]) -> None:
        """Write outputs and the position they stand for in one transaction."""
        position = self._fold.position

        def work(connection: Connection) -> tuple[list[LedgerRow], int]:
            rows = ledger.append(connection, entries)
            added = queue.append(connection, triggers)
            journal.set_evaluated(connection, position)
            return rows, added

        rows, added = await self._store.awrite(work)
        if added:
            self.triggers_added.set()
        if rows:
            for told in self.on_committed:
                told(rows)

    async def _until_written(self, write: Callable[[], Awaitable[None]]) -> None:
        """Repeat a write until the disk takes it; the journal has what it is made from."""
        while True:
            try:
                await write()
            except StoreFailed as error:
                self._backlog.refusing = error
                log.warning("the disk takes nothing", reason=str(error))
                await asyncio.sleep(_RETRY_S)
            else:
                self._backlog.refusing = None
                return

    # Time ----------------------------------------------------------------------------------

    async def _keep_time(self) -> None:
        """Append a tick whenever a timer of the engine is due; tidy where nothing comes in."""
        backlog = self._backlog
        while True:
            await asyncio.sleep(_TICK_S if backlog.refusing is None else _RETRY_S)
            if not self._open or not backlog.idle.is_set():
                continue
            now, due = self._tell_time(), self.engine.next_due()
            # While writes are refused, a row that changes nothing finds out when they work again.
            if backlog.refusing is not None or (due is not None and due <= now):
                await asyncio.wait({self._append("tick", b"", now=now).committed})
            else:
                await self._tidy(now)

    async def _tidy(self, now: float) -> None:
        """Save a snapshot where one is due, and delete the rows that are needed no more.

        Called between rows, when the outputs of all those applied are written.
        """
        rows = self._fold.position - self._snapshot[0]
        try:
            if rows >= SNAPSHOT_ROWS or (rows > 0 and now >= self._snapshot[1] + SNAPSHOT_S):
                await self._save_snapshot()
            if now >= self._pruned_at + SNAPSHOT_S:
                self._pruned_at = now
                await self._store.awrite(partial(journal.prune, before=now - self._late_s))
        except StoreFailed as error:
            self._backlog.refusing = error

    async def _save_snapshot(self) -> None:
        """Keep the engine's state; all outputs of its rows are written by now."""
        snapshot = journal.Snapshot(self._fold.position, self._fold.now, self.engine.snapshot())

        def work(connection: Connection) -> None:
            journal.save_snapshot(connection, snapshot)
            journal.set_evaluated(connection, snapshot.position)

        await self._store.awrite(work)
        self._snapshot = (snapshot.position, self._tell_time())

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Take no more where a task has ended by a fault: nobody would apply it."""
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("ingest has stopped by a fault", task=task.get_name(), exc_info=error)
            self._open = False


def _read_site(path: Path | None) -> SiteText | None:
    return None if path is None else SiteText(path.name, *read_site(path))
