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

import structlog

from proximity.engine.intake import Intake
from proximity.faults import log_fault
from proximity.ingest import gatewayclocks
from proximity.ingest.admission import Admission, Receipt
from proximity.ingest.backlog import Backlog, Pending
from proximity.ingest.clock import Present
from proximity.ingest.editing import Editing
from proximity.ingest.fold import Fold
from proximity.ingest.keeping import Keeping
from proximity.ingest.outputs import Outputs
from proximity.ingest.recovery import recover
from proximity.ingest.redating import Redating
from proximity.ingest.remembering import Remembering
from proximity.model import ProximityError
from proximity.people.tagging import NO_PLAN
from proximity.site.sitefile import read_site
from proximity.store import StoreAway, StoreFailed, StoreFull, journal
from proximity.store.journal import SiteText

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

    from sqlalchemy import Connection

    from geofences import Fence, FenceIndex
    from proximity.campaigns.campaigns import Campaigns
    from proximity.engine.engine import Engine
    from proximity.ingest.told import Did
    from proximity.model import Record, Transition
    from proximity.people.people import People
    from proximity.people.tagging import Plan
    from proximity.site.enrolment import Enrolments, Name, Put
    from proximity.site.places import Places
    from proximity.site.registry import Site
    from proximity.store import LedgerRow, Store
    from proximity.store.journal import StoredFence

T = TypeVar("T")

log = structlog.get_logger(__name__)

# What may wait for the engine. It takes some 10,000 records a second (measured on two cores), so
# the most records are two seconds of work: what a caller who is told to come back should wait.
MOST_ROWS = 2_000
MOST_RECORDS = 20_000
# Rows whose outputs share one transaction: bounds how long the first waits for the last.
_TOGETHER = 200
# And so many outputs, unless the ones before are still being written: some ten milliseconds.
_MOST_OUTPUTS = 500
# Nor does what is found wait longer than this for more: rows that come as fast as the engine works
# never end, and 200 large ones would be 20 s of work, in which nothing is decided or sent.
_FOUND_S = 0.1
# Who sends one by one is answered row by row, and the engine has a price for each call besides that
# for each record: 67 µs a record by 16, 45 by 32, 24 by 128, 18 by a thousand (measured). A row of
# so many comes of a crowd, which is about to send again; until there are enough it waits so long,
# a commit or two. Slower senders never make such a row, and are not kept waiting.
_CROWD, _ENOUGH, _CROWD_S = 16, 128, 0.005
# So long the engine works before others get their turn. Many small rows share one: requests come
# in by dozens at a time, and the engine would fall behind if each of its rows waited for them.
_TURN_S = 0.003
# How often the engine's timers are looked at. It costs the top of a heap, follows any clock (one
# that is set, or runs faster for a rehearsal), and lets what falls due together share a row.
_TICK_S = 0.1
# What is left to do when stopping gets this long, and a last snapshot as long again: the whole
# stop may take ten seconds. What is not done then, the next start does.
_DRAIN_S = 1.5
# While the disk is full the next attempt comes after this long.
_RETRY_S = 1.0


class Overloaded(ProximityError):  # noqa: N818 - it says what the server is
    """More waits for the engine than may; nothing was taken, come back in some seconds."""


class Ingest:
    """Takes records and edits of fences, and keeps the engine.

    ``fences`` are those of files, ``site_file`` the site's path; ``clock`` gives Unix seconds;
    ``plan`` says which events are kept.
    Use from one event loop: ``start``, then ``accept`` and the edits, then ``stop``. ``ready``
    tells whether writes are accepted, and ``fault`` is what ended its work for good, if anything
    did: then only a new start helps. ``on_committed`` are called with each transaction's new
    ledger rows, ``on_accepted`` with the records that are on disk, and ``triggers_added`` is set
    when there may be something to decide.
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
        plan: Plan = NO_PLAN,
    ) -> None:
        self.on_committed: list[Callable[[list[LedgerRow]], None]] = []
        self.on_accepted: list[Callable[[Sequence[Record]], None]] = []
        self.triggers_added = asyncio.Event()
        self.fault: BaseException | None = None
        self._failed = self._malformed = 0
        self._store = store
        self._people = people
        self._campaigns = campaigns
        self._places = places
        self._clock = clock
        self._site_file = site_file
        self._files = fences
        self._late_s = late_s
        self._decide = decide
        self._plan = plan
        self._consent = consent
        self._admission = Admission(people, Intake(late_s), consent)
        self._fold = Fold({}, None, decide=decide, late_s=late_s)
        self._present = Present(clock)
        self.redating = Redating()
        self._backlog = Backlog(store, self._admission.intake.forget)
        self._editing = self._edit()
        self._tasks: list[asyncio.Task[None]] = []
        self._keeping = Keeping(store, late_s)
        self._remembering = Remembering(store)
        self._saving: asyncio.Task[None] | None = None
        self._turn_ends = 0.0
        self._open = False

    @property
    def engine(self) -> Engine:
        """The engine; whoever asks it from the event loop sees a state between two steps."""
        return self._fold.engine

    def refused(self, subject: str) -> dict[str, int]:
        """Tell how many records of a subject were refused since the start, by reason."""
        return self._admission.refusals.of(subject)

    @property
    def index(self) -> FenceIndex:
        """The fences in force, as the engine knows them."""
        return self._fold.index

    @property
    def site(self) -> Site:
        """The site in force."""
        return self._fold.site

    @property
    def fixed(self) -> Site:
        """The site as its file has it, without what was enrolled over HTTP."""
        return self._fold.fixed

    @property
    def enrolments(self) -> Enrolments:
        """What was enrolled over HTTP."""
        return self._fold.enrolments

    @property
    def fences(self) -> Mapping[str, StoredFence]:
        """The fences in force by id, as text, with ETag and source."""
        return self._fold.fences

    @property
    def position(self) -> int:
        """The last row of the journal that the engine has had."""
        return self._fold.position

    @property
    def depth(self) -> int:
        """Rows that wait for their commit, for the engine or for what came of them."""
        return len(self._backlog) or int(not self._backlog.idle.is_set())

    @property
    def counts(self) -> Counter[str]:
        """What was dropped outside the engine.

        ``unlisted`` sightings, those heard ``elsewhere`` than by a gateway that their beacon is
        bound to, ``malformed`` events, which stand in the quarantine, and records that ``failed``.
        """
        own = {"failed": self._failed, "malformed": self._malformed}
        return Counter({**self._admission.ignored, **own})

    @property
    def ready(self) -> bool:
        """Whether writes are accepted now."""
        return self.hindrance is None

    @property
    def hindrance(self) -> str | None:
        """What stands in the way of writes now, for whoever is to clear it; None: nothing does."""
        if self._store.failure is not None:
            return "the disk failed: start the server anew once it is well"
        if self.fault is not None:
            return "the engine stopped by a fault of the program, which its log names"
        if not self._open:
            return "the server is starting or stopping"
        if self._refused:
            refusals = (self._backlog.refusing, self._store.refusing)
            if any(isinstance(one, StoreFull) for one in refusals):
                return "the disk is full: make room"
            if any(isinstance(one, StoreAway) for one in refusals):
                return "the database does not answer"
            return "the last write to disk failed"
        return None if self._present.sound else "the clock was set back: set it right, or wait"

    @property
    def _refused(self) -> bool:
        """Whether the last write failed: of a row, or of anything else in the store."""
        return self._backlog.refusing is not None or self._store.refusing is not None

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
        self._present = Present(self._clock, found.now)
        self.redating = Redating(await self._store.aread(gatewayclocks.load))
        # A server that is killed again and again has less to fold each time, not more.
        self._keeping = Keeping(self._store, self._late_s, found.snapshot, found.records)
        self._remembering = Remembering(self._store)
        self._backlog = Backlog(self._store, found.intake.forget, found.position)
        self._editing = self._edit()
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
            await self._editing.begin(site, self._files)
            await self._unless_ended(self._backlog.idle.wait())
        except BaseException:
            for task in self._tasks:
                task.cancel()
            raise
        self._open = True

    def check_room(self) -> float:
        """Tell what time it is where records can be taken now. Raises what ``accept`` does.

        It costs two comparisons: whoever has a large batch still to read asks here first.
        """
        self._check_open()
        now = self._present.check()
        if len(self._backlog) >= MOST_ROWS or self._backlog.records >= MOST_RECORDS:
            raise Overloaded("too much is waiting to be worked off; try again in some seconds")
        return now

    async def accept(
        self, records: Sequence[Record], lines: Sequence[int] | None = None
    ) -> Receipt:
        """Take records in order; return once they are on disk, or need not be.

        ``lines`` says where each stood, for refusals (else counted from 1). Raises Overloaded,
        StoreFailed (StoreFull: the disk is full, ClockSetBack); then none was taken, and all may
        come again.
        """
        now = self.check_room()
        records = self.redating.date(records, self.site.gateways, now)
        taken, receipt = self._admission.judge(records, lines, self.site, now)
        pending = None
        if taken:
            pending = self._backlog.gather(taken, now=now, version=self._editing.version())
        await self._backlog.settled(pending, repeats=receipt.duplicate > 0)
        for told in self.on_accepted:
            told(taken)
        return receipt

    async def edit_fences(self, puts: Sequence[Fence], removals: Sequence[str] = ()) -> None:
        """Put and remove fences, all or nothing; return once the engine judges by them.

        Raises FenceFixed where one comes from a file, and as ``accept`` does; nothing has
        changed then.
        """
        self.check_room()
        await self._editing.fences(puts, removals)

    async def edit_entries(
        self,
        puts: Sequence[Put],
        removals: Sequence[Name] = (),
        *,
        also: Callable[[Connection], None] | None = None,
    ) -> None:
        """Enrol and remove places, gateways and beacons, all or nothing; as ``edit_fences`` does.

        ``also`` writes what goes with it in the same transaction, and whatever it raises is
        raised. Raises EntryFixed where a file names one or another entry needs it, ProximityError
        with every problem where they do not fit the rest.
        """
        self.check_room()
        await self._editing.entries(puts, removals, also)

    async def forget(
        self,
        subjects: Sequence[str],
        *,
        also: Callable[[Connection], None] | None = None,
        tags: bool = False,
    ) -> None:
        """Erase what the engine knows of subjects; their visits end with reason ``erased``.

        ``also`` writes what goes with it in the same transaction; ``tags`` takes away the beacons
        that were enrolled over HTTP for them as well. Whatever ``also`` raises is raised,
        as is StoreFailed; nothing has changed then. Neither a crowd nor the clock stands in the
        way of somebody's no.
        """
        self._check_open()
        leaving = self._admission.leaving
        leaving.update(subjects)
        try:
            await self._editing.forget(subjects, also, tags=tags)
            for subject in subjects:
                self._admission.intake.forget_subject(subject)
                self._admission.refusals.forget(subject)
            with contextlib.suppress(StoreFailed):  # then whoever watches the people reads them
                self._people.reload()
        finally:
            leaving.difference_update(subjects)

    async def cover(self) -> None:
        """Return once a snapshot stands behind everything that the journal has now.

        What the engine has had is not enough: a row by which it is to forget somebody may be on
        the disk, and still before it. Raises StoreFailed where the server stops before.
        """
        last = await self._store.aread(journal.last)
        wanted = self._keeping.wanted = max(self._keeping.wanted, last)
        while self._keeping.newest[0] < wanted:
            self._check_open()
            await asyncio.sleep(_TICK_S / 2)

    async def look(self) -> None:
        """Let the engine see what time it is: it forgets then whom it need not remember."""
        self._check_open()
        await self._applied(self._append("tick", b""))

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
        ending = self._tasks if self._saving is None else [*self._tasks, self._saving]
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, self._remembering.stop(), return_exceptions=True)
        self._tasks = []
        idle = self._backlog.idle.is_set()
        if idle and self.fault is None and self._fold.position > self._keeping.newest[0]:
            try:
                async with asyncio.timeout(_DRAIN_S):
                    await self._keeping.begin(self._fold, self._present.tell(), rests=0.0)
            except (StoreFailed, TimeoutError) as error:
                log.warning("no snapshot was left when stopping", reason=str(error) or "late")

    # What comes in -------------------------------------------------------------------------

    def _check_open(self) -> None:
        if self._store.failure is not None:
            raise self._store.failure
        if not self._open:
            raise StoreFailed("the server is starting or stopping; try again")

    def _edit(self) -> Editing:
        """Make what edits the fold as it is now."""
        return Editing(self._store, self._fold, self._campaigns, self._append, self._applied)

    def _append(
        self,
        kind: journal.Kind,
        payload: bytes,
        also: Callable[[Connection], None] | None = None,
    ) -> Pending:
        now, version = self._present.tell(), self._editing.version()
        return self._backlog.append(kind, payload, now=now, version=version, also=also)

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
        """Apply committed rows in order, and write what came of them, for ever.

        While the outputs of some rows are written the next rows are applied.
        """
        backlog = self._backlog
        writing: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        writing.set_result(None)
        try:
            while True:
                await backlog.arrived.wait()
                outputs = await self._apply_some(writing)
                await writing
                if outputs:
                    writing = asyncio.create_task(self._until_written(outputs))
                self._remembering.go_on(self._fold.position, self._fold.site)
                now = self._present.tell()
                if self._tidy_due(now) or not backlog.committed:
                    await writing
                    await self._tidy(now)
                    backlog.rest()
        finally:
            writing.cancel()

    async def _apply_some(self, writing: asyncio.Future[None]) -> Outputs:
        """Apply rows until there is enough to write, or no row is on the disk.

        While the ones before are ``writing`` there is never enough, and no row's commit is
        waited for; else, where there is nothing to write yet, the next one's is.
        """
        wait = writing.done()
        backlog = self._backlog
        outputs = Outputs(self._people, self._places, plan=self._plan, consent=self._consent)
        elapsed = asyncio.get_running_loop().time
        ends = elapsed() + _FOUND_S
        for _ in range(_TOGETHER):
            pending = backlog.first
            if pending is None or (len(outputs) >= _MOST_OUTPUTS and writing.done()):
                break
            if outputs and elapsed() >= ends:
                break
            if not pending.landed.is_set() and (outputs or not wait):
                break
            rows = [pending]
            if await backlog.on_disk(pending):
                rows = await self._crowd()
                found = await self._apply(rows)
                if found:
                    outputs.add(found, self._campaigns())
            outputs.position = self._fold.position
            for pending in rows:
                self._keeping.records += len(pending.records)
                self._remembering.due += len(pending.records)
                backlog.applied(pending)
        return outputs

    async def _crowd(self) -> list[Pending]:
        """Give the rows to apply as one; a small crowd waits a little for those behind it."""
        elapsed = asyncio.get_running_loop().time
        ends = elapsed() + _CROWD_S
        while True:
            rows = self._backlog.ripe()
            count = sum(len(pending.records) for pending in rows)
            if self._backlog.alone or not _CROWD <= count < _ENOUGH or elapsed() >= ends:
                return rows
            await asyncio.sleep(_CROWD_S / 5)

    async def _apply(self, rows: Sequence[Pending]) -> list[Transition | Did]:
        """Let the engine have one row, or some of records as if they were one."""
        found: list[Transition | Did] = []
        row, records = rows[-1].row, rows[0].records
        if len(rows) > 1:
            records = [record for pending in rows for record in pending.records]
        edit = self._editing.ahead.pop(row.position, None)
        # The loop's own clock: time that a test makes up is then the same everywhere.
        elapsed = asyncio.get_running_loop().time
        for step in self._fold.steps(row, records or None, edit):
            found += step
            if elapsed() >= self._turn_ends:
                await asyncio.sleep(0)
                self._turn_ends = elapsed() + _TURN_S
        if self._fold.fault is not None:
            log_fault(
                "the engine failed on a row of the journal",
                self._fold.fault,
                position=row.position,
            )
            self._failed += max(1, len(records))
            self._backlog.alone = True
        if row.kind in {"fences", "site", "enrolments", "forget"}:
            self._places.replace(self.index, self.site)
        return found

    async def _write(self, outputs: Outputs) -> None:
        """Write what came of rows in one transaction, and tell of it."""
        rows, added = await self._store.awrite(partial(outputs.write, now=self._present.tell()))
        self._malformed += outputs.malformed
        if outputs.answered:
            self._people.reload()
        if added:
            self.triggers_added.set()
        if rows:
            for told in self.on_committed:
                told(rows)

    async def _until_written(self, outputs: Outputs) -> None:
        """Repeat a write until the disk takes it; the journal has what it is made from."""
        while True:
            try:
                await self._write(outputs)
            except StoreFailed as error:
                self._backlog.refusing = error
                await asyncio.sleep(_RETRY_S)
            else:
                self._backlog.refusing = None
                return

    # Time ----------------------------------------------------------------------------------

    async def _keep_time(self) -> None:
        """Append a tick whenever a timer of the engine is due; tidy where nothing comes in."""
        backlog = self._backlog
        while True:
            await asyncio.sleep(_RETRY_S if self._refused else _TICK_S)
            if not self._open or not backlog.idle.is_set():
                continue
            self._present.watch()
            now = self._present.tell()
            await self._keeping.learnt(self.redating, now)
            # While writes are refused, a row that changes nothing finds out when they work again.
            if self._refused or self.engine.due_by(now):
                await self._append("tick", b"").landed.wait()
            else:
                await self._tidy(now)

    async def _tidy(self, now: float) -> None:
        """Begin a snapshot where one is due, and delete the rows that are needed no more.

        Called between rows, when the outputs of all those applied are written.
        """
        if self._keeping.snapshot_due(self._fold.position, now):
            self._saving = self._keeping.begin(self._fold, now)
            self._saving.add_done_callback(self._ended)
        if self._keeping.prune_due(now):
            try:
                await self._keeping.prune(now)
            except StoreFailed as error:
                self._backlog.refusing = error

    def _tidy_due(self, now: float) -> bool:
        return self._keeping.snapshot_due(self._fold.position, now) or self._keeping.prune_due(now)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Take no more where a task has ended by a fault: nobody would apply it."""
        error = None if task.cancelled() else task.exception()
        if task is self._saving and isinstance(error, StoreFailed):
            self._backlog.refusing = error  # the next one comes when writes work again
        elif error is not None:
            log_fault("ingest has stopped by a fault", error, task=task.get_name())
            self._open = False
            self.fault = error


def _read_site(path: Path | None) -> SiteText | None:
    return None if path is None else SiteText(path.name, *read_site(path))
