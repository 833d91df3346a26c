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
from sqlalchemy.exc import DBAPIError

from proximity import queue
from proximity.admission import Admission, Receipt
from proximity.backlog import Backlog, Pending
from proximity.faults import log_fault
from proximity.fold import Fold, hash_fences, plan_edit
from proximity.intake import Intake
from proximity.model import ProximityError, digest
from proximity.recovery import recover
from proximity.sitefile import read_site
from proximity.store import StoreFailed, journal, ledger
from proximity.store.journal import SiteChange, SiteText

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

    from sqlalchemy import Connection

    from geofences import Fence, FenceIndex
    from proximity.campaigns import Campaigns
    from proximity.engine import Engine
    from proximity.fold import FenceEdit
    from proximity.model import Record, Transition, Trigger
    from proximity.people import People
    from proximity.places import Places
    from proximity.registry import Site
    from proximity.store import Entry, LedgerRow, Store
    from proximity.store.journal import StoredFence

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
# So far back a clock may be set and time merely stands still: what a machine that was a little
# ahead is corrected by. Beyond it every fix of the real present would count as late.
MOST_BACK_S = 60.0


class Overloaded(ProximityError):  # noqa: N818 - it says what the server is
    """More waits for the engine than may; nothing was taken, come back in some seconds."""


class ClockSetBack(StoreFailed):
    """The clock stands far behind the time of what was taken already; nothing was taken."""


class FenceFixed(ProximityError):  # noqa: N818 - it says what the fence is
    """The fence comes from a file that the server was started with: change it there."""


class Ingest:
    """Takes records and edits of fences, and keeps the engine.

    ``fences`` are those of files, ``site_file`` the site's path; ``clock`` gives Unix seconds.
    Use from one event loop: ``start``, then ``accept`` and the edits, then ``stop``. ``ready``
    tells whether writes are accepted, and ``fault`` is what ended its work for good, if anything
    did: then only a new start helps. ``on_committed`` are called with each transaction's new
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
        self.fault: BaseException | None = None
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
        self._back = False
        self._version: tuple[str, str] | None = None
        self._etags = ""  # of the fences that the next row is judged by
        self._edits: dict[int, FenceEdit] = {}  # by the position of the row they wait in
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
        return (
            self._open
            and self._backlog.refusing is None
            and self._store.failure is None
            and self._set_back() <= MOST_BACK_S
        )

    async def start(self) -> None:
        """Recover what was acknowledged, take in what the files changed, and begin.

        Raises StoreFailed where the store cannot be read or another server works on it, and
        ProximityError or GeofenceError where a file cannot be used; nothing has changed then.
        Raises whatever ended the engine's work where a fault did.
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
        try:
            await self._unless_ended(self._backlog.idle.wait())
            self._etags = await asyncio.to_thread(hash_fences, self.fences)
            if site != self._fold.site_text:
                await self._append_site(site)
            await self._change(self._files, self._gone(), "file")
            await self._unless_ended(self._backlog.idle.wait())
        except BaseException:
            for task in self._tasks:
                task.cancel()
            raise
        self._open = True

    async def accept(
        self, records: Sequence[Record], lines: Sequence[int] | None = None
    ) -> Receipt:
        """Take records in order; return once they are on disk, or need not be.

        ``lines`` says where each stood, for refusals (else counted from 1). Raises Overloaded,
        StoreFailed (StoreFull: the disk is full, ClockSetBack); then none was taken, and all may
        come again.
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
                if known is None and fence_id in self.site.places:
                    raise FenceFixed(
                        f"place {fence_id!r} is named by the site file that the server was started "
                        "with: change it there, or give the fence another id"
                    )
            await self._change(puts, removals, "http")

    async def forget(
        self, subjects: Sequence[str], *, also: Callable[[Connection], None] | None = None
    ) -> None:
        """Erase what the engine knows of subjects; their visits end with reason ``erased``.

        ``also`` writes what goes with it in the same transaction. Whatever it raises is raised,
        as is StoreFailed; nothing has changed then. Neither a crowd nor the clock stands in the
        way of somebody's no.
        """
        self._check_open()
        refused: list[Exception] = []

        def work(connection: Connection) -> None:
            try:
                if also is not None:
                    also(connection)
            except DBAPIError:
                raise  # the store says what it means
            except Exception as error:
                refused.append(error)
                raise

        leaving = self._admission.leaving
        leaving.update(subjects)
        try:
            payload = msgspec.msgpack.encode(list(subjects))
            await self._applied(self._append("forget", payload, now=self._tell_time(), also=work))
            for subject in subjects:
                self._admission.intake.forget_subject(subject)
            with contextlib.suppress(StoreFailed):  # then whoever watches the people reads them
                self._people.reload()
        except StoreFailed:
            if refused:
                raise refused[0] from None
            raise
        finally:
            leaving.difference_update(subjects)

    async def stop(self) -> None:
        """Take no more, finish what was taken, leave a snapshot so that the next start is quick.

        Where the disk takes no more the journal already has everything, and nothing is waited for.
        """
        self._open = False
        if not self._tasks:
            return
        if self.fault is None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._backlog.idle.wait(), _DRAIN_S)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        idle = self._backlog.idle.is_set()
        if idle and self.fault is None and self._fold.position > self._snapshot[0]:
            try:
                await self._save_snapshot()
            except StoreFailed as error:
                log.warning("no snapshot was left when stopping", reason=str(error))

    # What comes in -------------------------------------------------------------------------

    def _check_open(self) -> None:
        if self._store.failure is not None:
            raise self._store.failure
        if not self._open:
            raise StoreFailed("the server is starting or stopping; try again")

    def _check_room(self) -> None:
        self._check_open()
        back = self._set_back()
        if back > MOST_BACK_S:
            raise ClockSetBack(
                f"the server's clock was set back by {back:.0f} s: set it right, or wait until it "
                "has caught up; nothing was taken, send it again then"
            )
        if len(self._backlog) >= MOST_ROWS or self._backlog.records >= MOST_RECORDS:
            raise Overloaded("too much is waiting to be worked off; try again in some seconds")

    def _tell_time(self) -> float:
        """Give the time of the clock, or the latest time told where it was set back since."""
        self._now = max(self._now, self._clock())
        return self._now

    def _set_back(self) -> float:
        """Give how many seconds the clock is behind the latest time told."""
        return self._now - self._clock()

    def _watch_clock(self) -> None:
        """Log once that the clock was set back, and once that it is well again."""
        back = self._set_back()
        if self._back != (back > MOST_BACK_S):
            self._back = not self._back
            if self._back:
                log.error("the clock was set back: nothing is taken", seconds=round(back))
            else:
                log.info("the clock has caught up")

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
            site = self._fold.site_text
            texts = () if site is None else (site.text, site.beacons)
            self._version = (campaigns, digest(campaigns, *texts, self._etags))
        return self._version[1]

    def _gone(self) -> list[str]:
        """Name the fences that came from a file and are in none any more."""
        there = {fence.id for fence in self._files}
        return [i for i, known in self.fences.items() if known.source == "file" and i not in there]

    async def _change(
        self, puts: Sequence[Fence], removals: Sequence[str], source: Literal["file", "http"]
    ) -> None:
        """Change fences; rows that follow this one are judged by them, and say so."""
        plan = partial(plan_edit, dict(self.fences), puts, removals, source)
        edit, payload, etags = await asyncio.to_thread(plan)
        if not edit.changes:
            return
        before, self._etags, self._version = self._etags, etags, None
        also = partial(journal.change_fences, changes=edit.changes)
        pending = self._append("fences", payload, now=self._tell_time(), also=also)
        self._edits[pending.row.position] = edit
        try:
            await self._applied(pending)
        except Exception:
            self._edits.pop(pending.row.position, None)
            self._etags, self._version = before, None
            raise

    async def _append_site(self, site: SiteText | None) -> None:
        payload = msgspec.msgpack.encode(SiteChange(self._fold.site_text, site))
        also = partial(journal.change_site, site=site)
        await self._applied(self._append("site", payload, now=self._tell_time(), also=also))

    async def _applied(self, pending: Pending) -> None:
        """Return once the engine has had a row; raise what its write or the engine failed with."""
        await self._unless_ended(pending.applied)

    async def _unless_ended(self, awaited: Awaitable[object]) -> None:
        """Wait for something that the tasks bring about, or raise what ended one of them."""
        wanted = asyncio.ensure_future(awaited)
        await asyncio.wait({wanted, *self._tasks}, return_when=asyncio.FIRST_COMPLETED)
        if not wanted.done():
            wanted.cancel()
            raise self.fault or StoreFailed("the server is stopping; try again")
        await wanted

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
        edit = self._edits.pop(row.position, None)
        for step in self._fold.steps(row, pending.records or None, edit):
            found += step
            await asyncio.sleep(0)
        if self._fold.fault is not None:
            log_fault(
                "the engine failed on a row of the journal",
                self._fold.fault,
                position=row.position,
            )
            self._failed += max(1, len(pending.records))
        if row.kind in {"fences", "site"}:
            if row.kind == "site":
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
            self._watch_clock()
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
            log_fault("ingest has stopped by a fault", error, task=task.get_name())
            self._open = False
            self.fault = error


def _read_site(path: Path | None) -> SiteText | None:
    return None if path is None else SiteText(path.name, *read_site(path))
