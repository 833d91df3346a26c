"""Who is where, now?

The face of the core: records go in, transitions come out; timers fire when the caller says what
time it is. Reads no clock, does no I/O and draws no random number, so that an hour's walk replays
in milliseconds and always the same. How records are batched changes nothing.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, MutableMapping, Sequence
from typing import Literal

import numpy as np

from geofences import FenceIndex
from proximity.engine.bulk import Batch, take_all
from proximity.engine.edited import Edited
from proximity.engine.history import Subject
from proximity.engine.intake import Intake
from proximity.engine.layout import Layout
from proximity.engine.nearmiss import MOST_RECORDS, Recent, look
from proximity.engine.nowhere import cut, doze, lengthened, standing_of, wake
from proximity.engine.occupants import Occupants
from proximity.engine.point import POINT
from proximity.engine.robust import ROBUST
from proximity.engine.rounds import LEAST_BATCH, ask
from proximity.engine.snapshots import STEP, State, Taking, decode
from proximity.engine.standing import (
    Decide,
    Followed,
    Held,
    Moment,
    Quiet,
    Standing,
    announced,
    end,
)
from proximity.engine.suspects import Alarm
from proximity.engine.timers import Timers
from proximity.engine.tracking import STALE_S
from proximity.engine.trail import Columns, newest_of, row_of
from proximity.model import Event, Fix, ProximityError, Record, Sighting, Transition
from proximity.site.alarms import Alarms
from proximity.site.registry import Site

# The ways to decide (contract 1).
DECIDE: dict[str, Decide] = {"robust": ROBUST, "point": POINT}


class Engine:
    """Turns fixes and sightings into transitions.

    Parameters
    ----------
    index : FenceIndex
        The fences. Edits of the index are seen by the next call: whoever is in a fence that is
        removed leaves it with ``fence-removed``.
    site : Site, optional
        Zones, gateways and enrolled beacons; without it sightings are counted and ignored.
    decide : {"robust", "point"}
        The product, or the yardstick (contract 1).
    late_s : float
        Records up to this many seconds behind a subject's newest still count.
    admitted : bool
        Whether an Intake ahead of the engine has already refused repeats, records from the future
        and records too late (the server does so ahead of its journal).

    Raises
    ------
    ProximityError
        For an unknown ``decide``.

    """

    def __init__(
        self,
        index: FenceIndex,
        site: Site | None = None,
        decide: Literal["robust", "point"] = "robust",
        late_s: float = 3600.0,
        *,
        admitted: bool = False,
    ) -> None:
        if decide not in DECIDE:
            raise ProximityError(f"decide {decide!r} is unknown: use one of {', '.join(DECIDE)}")
        self.index = index
        self.now = 0.0
        self.counts: Counter[str] = Counter()
        # Those that the last records brought and that counted: ``told`` says where one was by then.
        self.events: list[Event] = []
        self._layout = Layout(index, site)
        self._decide_name: Literal["robust", "point"] = decide
        self._decide = DECIDE[decide]
        self._late_s = late_s
        self._intake = None if admitted else Intake(late_s)
        # Who is nowhere, and has long been, is no more than a trail of fixes.
        self._subjects: MutableMapping[str, Subject | bytes] = {}
        self._taking: Taking | None = None
        self._occupants = Occupants()
        self._timers = Timers(self._due_of)
        # Whom something happened to since the batch was looked at.
        self._touched: set[str] = set()
        self._alarms = Alarms()
        self._sweep_at = math.inf
        self._recheck = False
        self._edited = Edited()

    @property
    def site(self) -> Site:
        """The site in force."""
        return self._layout.site

    @property
    def subjects(self) -> int:
        """How many subjects are remembered."""
        return len(self._subjects)

    def present(self, place: str) -> list[str]:
        """List the subjects that are in a place now, sorted."""
        return self._occupants.of(place)

    def visits_of(self, subject: str) -> dict[str, str]:
        """Give the places that a subject is in now, as was told, each with the visit's id."""
        known = self._subjects.get(subject)
        if not isinstance(known, Subject):
            return {}
        presences = known.standing.presences
        return {place: presences[place].visit for place in sorted(announced(known.standing))}

    def near(self, subject: str, until: float = math.inf) -> Recent:
        """Tell how near a subject came to places until Unix second ``until``; changes nothing.

        By the records that are still kept of it: those of ``late_s`` seconds, and some before.
        """
        known = self._subjects.get(subject)
        if known is None:
            return Recent()
        if isinstance(known, bytes):
            known = wake(known, self._edited.count)
        records, start = known.newest_until(until, MOST_RECORDS, subject)
        return look(subject, records, self._layout, start)

    def alarms(self) -> list[Alarm]:
        """List the identities that do not count now, or that more than one radio says."""
        return self._alarms.listed(self._subjects, self.now)

    def on_fixes(self, fixes: Iterable[Fix]) -> list[Transition]:
        """Take location reports in the order of their arrival; give what changed."""
        return self.on_records(fixes)

    def on_sightings(self, sightings: Iterable[Sighting]) -> list[Transition]:
        """Take beacon sightings in the order of their arrival; give what changed."""
        return self.on_records(sightings)

    def on_records(self, records: Iterable[Record]) -> list[Transition]:
        """Take records of any type in the order of their arrival; give what changed.

        An Event moves the clock and nothing else; ``events`` has those that counted. Records that
        do not count are dropped and counted in ``counts``: ``duplicate``, ``future``, ``late``,
        ``unlisted`` (a beacon or gateway that the site does not know), ``unmeasured``.
        ``quarantined`` counts sightings of identities that do not count for now: ``alarms`` names
        them.
        """
        self._touched.clear()
        self.events = []
        out = self._follow_fences()
        batch = records if isinstance(records, (list, tuple)) else list(records)
        fixes = [record for record in batch if type(record) is Fix]
        if len(fixes) < LEAST_BATCH:
            for record in batch:
                self._take(record, None, out)
        elif len(fixes) < len(batch):
            held: Iterator[Held] = iter(())
            if self._decide.quiet is None:
                columns = Columns.of(fixes)
                held = iter(self.index.holding(columns.lons, columns.lats))
            for record in batch:
                self._take(record, next(held, None) if type(record) is Fix else None, out)
        else:
            self._take_fixes(fixes, out)
        return out

    def next_due(self) -> float | None:
        """Say when the next timer fires (Unix seconds); None where none runs."""
        first = self._timers.first()
        return None if first is None else first[0]

    def due_by(self, now: float) -> bool:
        """Whether a timer fires by Unix second ``now``: cheaper to ask than when the next does."""
        return self._timers.first(now) is not None

    def advance(self, now: float) -> list[Transition]:
        """Let time pass until Unix second ``now``: fire every timer due by then.

        Raises ValueError where ``now`` is no number.
        """
        if math.isnan(now):
            raise ValueError("now is not a number: give Unix seconds")
        out = self._follow_fences()
        self._move_to(now)
        # A timer that was overdue when it was set waits for just after that instant: now it fires.
        self._fire(math.nextafter(self.now, math.inf), out)
        return out

    def forget(self, subject: str, now: float) -> list[Transition]:
        """Erase a subject: end its visits (reason ``erased``) and drop all that is known of it."""
        out = self.advance(now)
        known = self._subjects.pop(subject, None)
        if isinstance(known, Subject):
            moment, told = Moment(self._layout, subject, self.now), len(out)
            for place in sorted(known.standing.presences):
                out += end(known.standing, place, "erased", moment)
            self._occupants.follow(out[told:])
            self._timers.set(subject, None)
        if self._intake is not None:
            self._intake.forget_subject(subject)
        return out

    def replace_site(self, site: Site, doubted: frozenset[str] | None = None) -> None:
        """Put another site in force; visits to places that it lacks end at the next call.

        ``doubted`` are the places whose past visits cannot be judged again by it, None: all.
        """
        self._layout = Layout(self.index, site)
        self._recheck = True
        if doubted is None or doubted:
            self._edit(doubted)

    def snapshot(self) -> bytes:
        """Give the whole state, for ``restore``; equal states give equal bytes."""
        taking = Taking(self._state(), self._subjects)
        while taking.step():
            pass
        return b"".join(taking.pieces(STEP))

    def begin_snapshot(self) -> Taking:
        """Begin a snapshot that is taken in steps, of the state as it is now.

        What is called between the steps changes nothing of it. Raises RuntimeError where another
        is being taken; ``end_snapshot`` ends it, and is due after the last step.
        """
        if self._taking is not None:
            raise RuntimeError("another snapshot is being taken: end it first")
        self._subjects = self._taking = Taking(self._state(), self._subjects)
        return self._taking

    def end_snapshot(self) -> None:
        """End a snapshot that was begun, finished or not; none may be."""
        if self._taking is not None:
            self._subjects, self._taking = self._taking.subjects, None

    def _state(self) -> State:
        """Give all but the subjects."""
        return State(
            decide=self._decide_name,
            late_s=self._late_s,
            now=self.now,
            sweep_at=self._sweep_at if self._sweep_at < math.inf else None,
            counts=sorted(self.counts.items()),
            intake=None if self._intake is None else self._intake.pack(),
            edits=self._edited.count,
            edited=self._edited.pack(),
            sharing=self._alarms.sharing,
        )

    @classmethod
    def restore(
        cls,
        state: bytes,
        index: FenceIndex,
        site: Site | None = None,
        *,
        late_s: float | None = None,
    ) -> Engine:
        """Rebuild an engine from a snapshot; whoever is in a place that is no more leaves it.

        ``late_s`` is the snapshot's unless another is given. Raises ProximityError where the bytes
        are no snapshot of this format.
        """
        kept = decode(state)
        late_s = kept.late_s if late_s is None else late_s
        engine = cls(index, site, kept.decide, late_s, admitted=kept.intake is None)
        if kept.intake is not None:
            engine._intake = Intake.unpack(kept.intake, late_s)
        engine.now = kept.now
        engine._sweep_at = math.inf if kept.sweep_at is None else kept.sweep_at
        engine.counts.update(dict(kept.counts))
        engine._subjects = dict(kept.subjects)
        engine._edited = Edited(kept.edits, kept.edited)
        engine._alarms.sharing = kept.sharing
        engine._recheck = True
        for subject, known in kept.subjects:
            if isinstance(known, Subject):
                engine._alarms.recall(subject, known.standing)
                engine._occupants.move(subject, (), announced(known.standing))
                engine._schedule(subject, known)
        return engine

    def _edit(self, places: frozenset[str] | None) -> None:
        """Remember an edit of fences; None where it may concern any place."""
        self._edited.add(places)
        if places is None:
            for subject, known in self._subjects.items():
                if isinstance(known, bytes):
                    self._subjects[subject] = cut(known)

    def _catch_up(self, known: Subject) -> None:
        """Settle what a subject did before the edits since its last record, where they concern it.

        What was decided by fences or a site that are no more cannot be judged again, and nobody
        came into a place before it was drawn.
        """
        known.standing.settled_at = max(known.standing.settled_at, self.now)
        if self._edited.concern(known):
            known.seal()
            known.give_up(self._layout)

    def _take(self, record: Record, held: Held | None, out: list[Transition]) -> None:
        """Take a record of any type, one by one: the order of things is told here."""
        now = record.at if record.received_at is None else record.received_at
        self._let_pass(now, out)
        if type(record) is Fix:
            subject = record.subject
        elif isinstance(record, Sighting):
            whose = self._layout.site.who(record)
            if whose is None:
                self.counts["unlisted"] += 1
                return
            if not record.measured:
                self.counts["unmeasured"] += 1
                return
            subject = whose[0]
        else:
            subject = record.subject or ""
        if self._intake is not None:
            refusal = self._intake.admit(record, subject)
            if refusal is not None:
                self.counts[refusal] += 1
                return
        if type(record) is Fix:
            row = row_of(record)
            if not self._stays(record, held, row):
                self._judge(subject, record, held, row, out)
        elif isinstance(record, Sighting):
            self._judge(subject, record, None, None, out)
        else:
            self.events.append(record)  # type: ignore[arg-type]  # fixes were seen to above

    def _take_fixes(self, fixes: list[Fix], out: list[Transition]) -> None:
        """Take many fixes: what can be told of all at once is, then the same as ``_take``."""
        columns = Columns.of(fixes)
        refusals: Sequence[str | None] = [None] * len(fixes)
        if self._intake is not None:
            rows = [
                row if own is None else None
                for own, row in zip(columns.ids, columns.rows, strict=True)
            ]
            refusals = self._intake.admit_many(fixes, columns.subjects, rows)
        nows = np.maximum.accumulate(np.maximum(columns.arrivals(), self.now)).tolist()
        ahead = self._ahead(fixes, columns, refusals)
        batch = Batch(fixes, ahead, columns.rows, nows, refusals)
        if not self._nobody_goes(nows[-1]):
            for number in range(len(fixes)):
                self._take_fix(batch, number, out)
            return
        take_all(
            batch, self._subjects, self._occupants, self._timers, self._touched, self._edited.count,
            self._late_s, out, lambda number: self._take_fix(batch, number, out),
        )  # fmt: skip
        self._move_to(nows[-1])

    def _ahead(
        self, fixes: list[Fix], columns: Columns, refusals: Sequence[str | None]
    ) -> Sequence[Held | Quiet | Followed | None]:
        """Reckon of many fixes ahead what can be told of all at once."""
        if self._decide.quiet is None:
            return self.index.holding(columns.lons, columns.lats)
        admitted = [refusal is None for refusal in refusals]
        return ask(self._decide.quiet, self._layout, fixes, columns, admitted, self._standing_of)

    def _take_fix(self, batch: Batch, number: int, out: list[Transition]) -> None:
        """Take one fix of a batch."""
        self._let_pass(batch.nows[number], out)
        fix, ahead, row = batch.fixes[number], batch.ahead[number], batch.rows[number]
        refusal = batch.refusals[number]
        if refusal is not None:
            self.counts[refusal] += 1
        elif isinstance(ahead, (Quiet, Followed)) and fix.subject not in self._touched:
            if isinstance(ahead, Quiet):
                self._rest(fix, row, ahead, out)
            else:
                self._judge(fix.subject, fix, ahead, row, out)
        else:
            held = ahead if isinstance(ahead, tuple) else None
            if not self._stays(fix, held, row):
                self._judge(fix.subject, fix, held, row, out)

    def _nobody_goes(self, until: float) -> bool:
        """Whether letting time pass until then (Unix seconds) moves nothing but the clock."""
        return self._intake is not None or until < self._sweep_at < math.inf

    def _standing_of(self, subject: str) -> Standing | None:
        """Give where a subject stands before its next fix; None where it must catch up first."""
        known = self._subjects.get(subject)
        if isinstance(known, Subject):
            return known.standing if known.edits == self._edited.count else None
        return Standing() if known is None else standing_of(known)

    def _due_of(self, subject: str) -> float | None:
        """Give when a subject's earliest timer is due; somebody who is nowhere has none."""
        known = self._subjects[subject]
        return known.due_at(self._layout) if isinstance(known, Subject) else None

    def _rest(self, fix: Fix, row: bytes | None, answer: Quiet, out: list[Transition]) -> None:
        """Take a fix that says nothing new, as ``answer`` has it."""
        subject = fix.subject
        known = self._subjects.get(subject)
        if not isinstance(known, Subject):
            if not answer.track and row is not None and self._go_on(subject, known, fix, row):
                return
            known = self._awake(known)
        elif self._timers.told(subject) <= math.nextafter(known.received, math.inf):
            # A timer that was overdue when it was set rings before the next record of its time.
            self._judge(subject, fix, None, row, out)
            return
        known.rest(fix, row, self.now, self._late_s)
        known.standing.track = answer.track
        if answer.presences is not None:
            known.standing.presences = answer.presences
        self._put(subject, known)

    def _stays(self, fix: Fix, held: Held | None, row: bytes | None) -> bool:
        """Take a fix that changes nothing, quickly; False where it may change something."""
        subject, decide = fix.subject, self._decide
        known = self._subjects.get(subject)
        if isinstance(known, Subject):
            standing = known.standing
            if (
                known.edits != self._edited.count
                or fix.at <= standing.clock
                or not decide.stays(standing, fix, held, self._layout)
            ):
                return False
            known.rest(fix, row, self.now, self._late_s)
            self._put(subject, known)
            return True
        if row is None or not decide.stays(
            Standing() if known is None else standing_of(known), fix, held, self._layout
        ):
            return False
        return self._go_on(subject, known, fix, row)

    def _go_on(self, subject: str, known: bytes | None, fix: Fix, row: bytes) -> bool:
        """Lengthen the trail of somebody who is nowhere; False where there is more to do."""
        trail = lengthened(known, row, fix.at, self._late_s)
        if trail is None:
            return False
        self._subjects[subject] = trail
        return True

    def _awake(self, known: Subject | bytes | None) -> Subject:
        """Give a subject as one, by the fences now in force."""
        if known is None:
            return Subject(Standing(), edits=self._edited.count)
        if isinstance(known, bytes):
            return wake(known, self._edited.count)
        if known.edits != self._edited.count:
            self._catch_up(known)
        return known

    def _put(self, subject: str, known: Subject) -> None:
        """Remember a subject, in the few bytes of its trail where that is all there is to it."""
        trail = None if known.standing.presences else doze(known, self._late_s)
        self._subjects[subject] = trail or known

    def _judge(
        self,
        subject: str,
        record: Fix | Sighting,
        ahead: Held | Followed | None,
        row: bytes | None,
        out: list[Transition],
    ) -> None:
        """Judge one record, in order or late, and keep account of who is where."""
        known = self._awake(self._subjects.get(subject))
        standing = known.standing
        moment = Moment(self._layout, subject, self.now)
        due = self._timers.told(subject)
        changes = known.take(record, moment, self._decide, self._late_s, ahead, row, due)
        if changes is None:
            self.counts["late"] += 1
        elif known.standing is not standing:
            # Judged again: what is told are corrections, not who is where.
            self._occupants.move(subject, announced(standing), announced(known.standing))
            out += changes
        elif changes:
            self._occupants.follow(changes)
            out += changes
        if isinstance(record, Sighting) and self._alarms.note(subject, record, known.standing):
            self.counts["quarantined"] += 1
        self._put(subject, known)
        self._touched.add(subject)
        self._schedule(subject, known)

    def _let_pass(self, now: float, out: list[Transition]) -> None:
        """Let time pass up to a record that arrived at ``now`` (Unix seconds)."""
        if now > self.now:
            self._move_to(now)
        if self._timers.waiting(self.now):
            self._fire(self.now, out)

    def _move_to(self, now: float) -> None:
        self.now = max(self.now, now)
        if self._intake is None and self.now >= self._sweep_at:
            self._sweep()
        if self._sweep_at == math.inf and self._intake is None:
            self._sweep_at = self.now + self._late_s

    def _sweep(self) -> None:
        """Forget subjects that are nowhere and whose newest record no late one can follow.

        Only behind an Intake that measures lateness by the clock, as the server's does: a record
        older than ``late_s`` cannot come any more. Whoever comes back counts as new either way
        (``tracking.STALE_S``), so that it makes no difference when this was done.
        """
        old = self.now - self._late_s - STALE_S
        for subject, known in list(self._subjects.items()):
            if isinstance(known, bytes):
                gone = newest_of(known) < old
            else:
                # An arrival that nothing has confirmed since is none.
                gone = known.newest < old and not announced(known.standing)
            if gone:
                del self._subjects[subject]
                self._timers.set(subject, None)
                self._touched.add(subject)
        self._sweep_at = self.now + self._late_s

    def _fire(self, until: float, out: list[Transition]) -> None:
        """Fire timers in the order of due time, subject, place."""
        while self._timers.first(until) is not None:
            subject = self._timers.take()
            known = self._subjects[subject]
            assert isinstance(known, Subject)
            # What was overdue when its record came is known since then, not since it was due.
            moment = Moment(self._layout, subject, min(known.received, self.now))
            changes = known.fire(moment)
            self._occupants.follow(changes)
            out += changes
            self._touched.add(subject)
            self._schedule(subject, known)

    def _schedule(self, subject: str, known: Subject) -> None:
        if self._decide.timers:
            due = known.due_at(self._layout) if known.standing.presences else None
            self._timers.set(subject, due)

    def _follow_fences(self) -> list[Transition]:
        """End visits to places that are no more, and judge by the fences now in force."""
        changed = self._layout.changed()
        if changed != ():
            self._edit(None if changed is None else frozenset(changed))
        if self._recheck or changed is None:
            self._recheck = False
            changed = tuple(self._occupants)
        out: list[Transition] = []
        for place in sorted({*changed} & {*self._occupants} if changed else ()):
            there = self._layout.known(place)
            for subject in self._occupants.of(place):
                known = self._subjects[subject]
                assert isinstance(known, Subject)
                if there:
                    # Its timers may be due sooner than they were.
                    self._schedule(subject, known)
                    continue
                self._catch_up(known)
                moment = Moment(self._layout, subject, self.now)
                ended = end(known.standing, place, "fence-removed", moment)
                known.told += ended
                known.seal()
                self._occupants.follow(ended)
                out += ended
                self._schedule(subject, known)
        return out
