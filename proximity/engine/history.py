"""What did a late record change?

Keeps a subject's recent records and some earlier standings. A record that comes out of order is put
in its place, the subject is judged again from the standing before it, and the visits that come out
are compared with those that were announced. Pure.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Collection

import msgspec

from proximity.engine.corrections import FOUND_AGAIN, Visit, compare
from proximity.engine.layout import Layout
from proximity.engine.standing import (
    Decide,
    Followed,
    Held,
    Moment,
    Standing,
    announced,
    apply,
    fire,
    first_due,
)
from proximity.engine.trail import (
    ROW_BYTES,
    History,
    order,
    spot_of,
)
from proximity.model import Fix, Sighting, Transition

# A standing is kept after this many records: a late record costs at most this many evaluations
# beyond those it is late by, and a kept standing costs about as much memory as ten records.
KEEP_EVERY = 64
# Among sightings one is kept more often: where several receivers send by batches every other
# sighting is late, by a few. (Measured: after each costs 20 % in order and mends no more.)
SIGHTINGS_APART = 2
# The older they are, the fewer remain; they are looked through about every so many records.
THIN_EVERY = 8
# A sighting that comes so soon after later ones of other receivers is not late, seconds: live
# batches are a second long, and the upload may have to be tried again.
TOGETHER_S = 5.0
# What one subject may make the engine remember: an hour at four records a second. Beyond it the
# oldest go, and records that would have to be sorted in before them count as late.
MAX_HISTORY = 16_384


class Mark(msgspec.Struct, array_like=True, gc=False):
    """A standing as it was before record number ``index`` of the history."""

    index: int
    born: int
    standing: Standing


class Subject(msgspec.Struct, array_like=True, gc=False):
    """One subject: where it stands, and what is needed to judge again.

    ``newest`` is the greatest ``at`` so far, ``received`` what the engine's clock read when the
    last record was taken (Unix seconds). ``log`` holds the visits that may still change, ``told``
    the announcements that are not entered into it yet. ``edits`` is how many edits of fences and
    site the subject has been judged by.
    """

    standing: Standing
    newest: float = -math.inf
    received: float = -math.inf
    history: History = msgspec.field(default_factory=History)
    marks: list[Mark] = []
    log: dict[str, Visit] = {}
    born: int = 0
    edits: int = 0
    told: list[Transition] = []

    def rest(self, fix: Fix, row: bytes | None, now: float, late_s: float) -> None:
        """Take a fix in order that changes nothing; ``row`` is a plain fix's own."""
        at, standing = fix.at, self.standing
        self.newest = at
        self._remember(fix, row, now, late_s)
        standing.clock = at
        standing.last = row or spot_of(fix)

    def take(
        self,
        record: Fix | Sighting,
        moment: Moment,
        decide: Decide,
        late_s: float,
        ahead: Held | Followed | None = None,
        row: bytes | None = None,
        due: float = -math.inf,
    ) -> list[Transition] | None:
        """Take a record, in order or not; None where it lies before all that is remembered.

        ``ahead`` is what was reckoned of a fix ahead, ``row`` a plain fix's own, where it is known.
        No timer is due before Unix second ``due``, as ``due_at`` has it.
        """
        at, standing = record.at, self.standing
        if at <= standing.clock and not (at == standing.clock and self._comes_last(record, moment)):
            # Receivers send what they heard in batches, each its own: that is not late, or every
            # place whose gateway sends after the others would be entered late.
            ahead_s = TOGETHER_S if isinstance(record, Sighting) else 0.0
            return self._judge_again(record, moment, decide, late=at < self.newest - ahead_s)
        self.newest = max(self.newest, at)
        overdue = due <= math.nextafter(self.received, math.inf)
        self._remember(record, row, moment.now, late_s)
        # In a backlog timers come due between records that arrive at one instant; where a
        # sender's clock runs ahead they wait for the engine's.
        out: list[Transition] = []
        if standing.presences and (due <= at or overdue):
            out = self._ring_until(min(at, moment.now), moment, decide)
        # In order, an arrival is later than all that a corrected visit's name may stand for.
        found = apply(standing, record, moment, decide, ahead)
        if found:
            self.told += found
        return out + found if out else found

    def fire(self, moment: Moment) -> list[Transition]:
        """Let the earliest timer end."""
        due = first_due(self.standing, moment.layout)
        assert due is not None
        out = fire(self.standing, due, moment)
        self.told += out
        return out

    def due_at(self, layout: Layout) -> float | None:
        """Say when the earliest timer is to fire (Unix seconds); None where there is none.

        A timer that was overdue when the record behind it came (a backlog, uploaded at once) waits
        until the clock moves on: the rest of the backlog may well say something else.
        """
        due = first_due(self.standing, layout)
        if due is None:
            return None
        return due.at if due.at > self.received else math.nextafter(self.received, math.inf)

    def seal(self) -> None:
        """Forget the past: what was judged so far stays (its fence is no more)."""
        self.enter_told()
        self.history = History()
        self.marks.clear()
        self.log = {v.id: v for v in self.log.values() if v.exit_at is None}
        self.marks.append(Mark(0, self.born, self.standing.copy()))

    def give_up(self, layout: Layout) -> None:
        """Drop arrivals, not yet told, in places that are no more."""
        presences = self.standing.presences
        told = announced(self.standing)
        for place in [one for one in presences if one not in told and not layout.known(one)]:
            del presences[place]

    def knows(self, places: Collection[str]) -> bool:
        """Whether a visit that may still change, or a presence, is in one of the places."""
        self.enter_told()
        return any(visit.place in places for visit in self.log.values()) or any(
            place in places for place in self.standing.presences
        )

    def newest_until(
        self, until: float, most: int, subject: str
    ) -> tuple[list[Fix | Sighting], Standing]:
        """Give the newest records up to Unix second ``until``, and where it stood before them.

        At most ``most``, and those since the standing kept before them, so that they can be judged.
        """
        history = self.history
        end = bisect_right(range(len(history)), until, key=history.at)
        start = Mark(0, 0, Standing())
        for mark in self.marks:
            if mark.index <= max(0, end - most):
                start = mark
        records = [history.record(number, subject) for number in range(start.index, end)]
        return records, start.standing

    def enter_told(self) -> None:
        """Enter announcements into the log, which is read where a late record comes: rarely."""
        log = self.log
        for change in self.told:
            visit, at = change.visit, change.at
            if change.kind == "exit":
                log[visit].exit_at = at
            elif change.kind == "dwell":
                log[visit].dwelt += 1
            else:
                assert at is not None
                passed = change.kind == "pass"
                exit_at = change.because["exit_at"] if passed else None
                log[visit] = Visit(visit, change.place, at, exit_at, passed, 0, self.born)
                self.born += 1
        self.told.clear()

    def _comes_last(self, record: Fix | Sighting, moment: Moment) -> bool:
        newest = len(self.history) - 1
        return newest < 0 or order(self.history.record(newest, moment.subject)) < order(record)

    def _remember(
        self, record: Fix | Sighting, row: bytes | None, now: float, late_s: float
    ) -> None:
        """Add a record that came in order at Unix second ``now`` to the history."""
        self.received = now
        history, marks = self.history, self.marks
        every = KEEP_EVERY if isinstance(record, Fix) else SIGHTINGS_APART
        if not marks or len(history.trail) - marks[-1].index * ROW_BYTES >= every * ROW_BYTES:
            self.keep(late_s)
        elif marks[-1].index < len(history) and history.at(marks[-1].index) < record.at - late_s:
            # Seldom heard of: so that visits of long ago are forgotten all the same.
            self.keep(late_s)
        if row is None:
            history.append(record)
        else:
            history.trail += row

    def keep(self, late_s: float) -> None:
        """Keep a standing, and drop what no late record can reach any more."""
        self._mark(len(self.history))
        while len(self.marks) > 1 and (
            self.marks[1].standing.clock < self.newest - late_s or len(self.history) > MAX_HISTORY
        ):
            gone = self.marks[1].index
            del self.marks[0]
            self.history.drop(gone)
            for mark in self.marks:
                mark.index -= gone
            open_visits = {p.visit for p in self.marks[0].standing.presences.values()}
            self.log = {
                v.id: v
                for v in self.log.values()
                if v.born >= self.marks[0].born or v.id in open_visits
            }

    def _mark(self, number: int) -> None:
        """Keep the standing before record ``number``, and fewer of the older ones.

        So many that a record that is late by ``n`` others finds one at most ``n`` further back, or
        KEEP_EVERY where that is less; THIN_EVERY more in either case.
        """
        if self.told:
            self.enter_told()
        marks = self.marks
        marks.append(Mark(number, self.born, self.standing.copy()))
        if number % THIN_EVERY >= SIGHTINGS_APART:
            return
        for older in range(len(marks) - 2, 0, -1):
            after = marks[older + 1].index
            gap = after - marks[older - 1].index
            if gap <= min(KEEP_EVERY, number - after):
                del marks[older]
            elif gap > KEEP_EVERY:
                break

    def _judge_again(
        self, record: Fix | Sighting, moment: Moment, decide: Decide, *, late: bool
    ) -> list[Transition] | None:
        """Put a record in its place, judge again from before it, and say what changed."""
        while self.marks and self.marks[-1].standing.clock >= record.at and len(self.marks) > 1:
            self.marks.pop()
        if not self.marks or self.marks[0].standing.clock >= record.at:
            return None
        self.enter_told()
        start = self.marks[-1]
        settled = max(self.standing.clock, record.at)
        self.history.insert(record, moment.subject)
        self.newest = max(self.newest, record.at)
        self.received = moment.now

        open_then = {p.visit for p in start.standing.presences.values()}
        before = [v for v in self.log.values() if v.born >= start.born or v.id in open_then]
        # A visit open then may have been born again since: left and entered at one instant.
        earlier = {v.id: v for v in self.log.values() if v.born < start.born or v.id in open_then}
        self.standing, self.born = start.standing.copy(), start.born
        self.log = {
            place_visit: Visit(place_visit, known.place, known.enter_at, born=known.born)
            for place_visit, known in earlier.items()
            if place_visit in open_then
        }
        for presence in self.standing.presences.values():
            if presence.visit in self.log:
                self.log[presence.visit].dwelt = presence.dwelt
        again = Moment(moment.layout, moment.subject, moment.now, FOUND_AGAIN)
        changes = self._replay(start.index, settled, again, decide)
        self.enter_told()
        after = list(self.log.values())
        out, names = compare(
            before, after, changes, moment, set(earlier), record_at=record.at, late=late
        )
        names = {again: name for again, name in names.items() if again != name}
        if names:
            self._rename(names)
            for visit in after:
                visit.id = names.get(visit.id, visit.id)
        self.log = {
            v.id: v for v in [*(v for v in earlier.values() if v.id not in open_then), *after]
        }
        return out

    def _replay(
        self, first: int, settled: float, moment: Moment, decide: Decide
    ) -> list[Transition]:
        """Judge the history again from record number ``first``, timers up to ``settled``."""
        changes: list[Transition] = []
        for number in range(first, len(self.history)):
            record = self.history.record(number, moment.subject)
            every = KEEP_EVERY if isinstance(record, Fix) else SIGHTINGS_APART
            if number - self.marks[-1].index >= every:
                self._mark(number)
            changes += self._ring_until(min(record.at, moment.now), moment, decide)
            found = apply(self.standing, record, moment, decide)
            self.told += found
            changes += found
        changes += self._ring_until(min(settled, moment.now), moment, decide)
        return changes

    def _ring_until(self, until: float, moment: Moment, decide: Decide) -> list[Transition]:
        changes: list[Transition] = []
        while decide.timers:
            due = first_due(self.standing, moment.layout)
            if due is None or due.at > until:
                break
            found = fire(self.standing, due, moment)
            self.told += found
            changes += found
        return changes

    def _rename(self, names: dict[str, str]) -> None:
        """Give visits found again the names under which they were announced."""
        for standing in [self.standing, *(mark.standing for mark in self.marks)]:
            for presence in standing.presences.values():
                presence.visit = names.get(presence.visit, presence.visit)
