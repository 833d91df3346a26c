"""What did a late record change?

Keeps a subject's recent records and some earlier standings. A record that comes out of order is put
in its place, the subject is judged again from the standing before it, and the visits that come out
are compared with those that were announced. Pure.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Container
from operator import attrgetter

import msgspec

from proximity.layout import Layout
from proximity.model import Fix, Sighting, Transition, digest
from proximity.standing import Decide, Held, Moment, Standing, apply, fire, first_due

# A standing is kept after this many records: a late record costs at most this many evaluations
# beyond those it is late by, and a kept standing costs about as much memory as ten records.
KEEP_EVERY = 64
# Leads the names of visits while a subject is judged again; no final name has it.
FOUND_AGAIN = "?"
# What one subject may make the engine remember: an hour at four records a second. Beyond it the
# oldest go, and records that would have to be sorted in before them count as late.
MAX_HISTORY = 16_384

_at = attrgetter("at")
_encode = msgspec.msgpack.Encoder().encode


class Visit(msgspec.Struct, array_like=True):
    """A visit (or a pass) as it was announced; Unix seconds. ``dwelt`` dwells were announced."""

    id: str
    place: str
    enter_at: float
    exit_at: float | None = None
    passed: bool = False
    dwelt: int = 0
    born: int = 0


class Mark(msgspec.Struct, array_like=True):
    """A standing as it was before record number ``index`` of the history."""

    index: int
    born: int
    standing: Standing


class Subject(msgspec.Struct, array_like=True):
    """One subject: where it stands, and what is needed to judge again.

    ``newest`` is the greatest ``at`` so far, ``received`` what the engine's clock read when the
    last record was taken (Unix seconds). ``log`` holds the visits that may still change. ``edits``
    is how many edits of fences and site the subject has been judged by.
    """

    standing: Standing
    newest: float = -math.inf
    received: float = -math.inf
    history: list[Fix | Sighting] = []
    marks: list[Mark] = []
    log: dict[str, Visit] = {}
    born: int = 0
    edits: int = 0

    def stays(self, fix: Fix, held: Held, moment: Moment, decide: Decide, late_s: float) -> bool:
        """Take a fix that changes nothing, quickly; False where it may change something."""
        standing = self.standing
        if fix.at <= standing.clock or not decide.stays(standing, fix, held, moment.layout.index):
            return False
        self.received = moment.now
        self._keep(late_s)
        self.newest = standing.clock = fix.at
        standing.last = fix
        self.history.append(fix)
        return True

    def take(
        self,
        record: Fix | Sighting,
        moment: Moment,
        decide: Decide,
        late_s: float,
        held: Held | None = None,
    ) -> list[Transition] | None:
        """Take a record, in order or not; None where it lies before all that is remembered.

        ``held`` are the fences that hold a fix, where they are known already.
        """
        late = record.at < self.newest
        clock = self.standing.clock
        if record.at > clock or (record.at == clock and self._comes_last(record)):
            self.newest = max(self.newest, record.at)
            self.received = moment.now
            self._keep(late_s)
            self.history.append(record)
            # In a backlog timers come due between records that arrive at one instant; where a
            # sender's clock runs ahead they wait for the engine's.
            until = min(record.at, moment.now)
            out = self._ring_until(until, moment, decide) if self.standing.presences else []
            # In order, an arrival is later than all that a corrected visit's name may stand for.
            found = apply(self.standing, record, moment, decide, held)
            self.note(found)
            return out + found if out else found
        return self._judge_again(record, moment, decide, late=late)

    def fire(self, moment: Moment) -> list[Transition]:
        """Let the earliest timer end."""
        due = first_due(self.standing, moment.layout)
        assert due is not None
        out = fire(self.standing, due, moment)
        self.note(out)
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
        self.history.clear()
        self.marks.clear()
        self.log = {v.id: v for v in self.log.values() if v.exit_at is None}
        self.marks.append(Mark(0, self.born, self.standing.copy()))

    def knows(self, places: Collection[str]) -> bool:
        """Whether a visit that may still change, or a presence, is in one of the places."""
        return any(visit.place in places for visit in self.log.values()) or any(
            place in places for place in self.standing.presences
        )

    def note(self, changes: list[Transition]) -> None:
        """Enter changes that were not found by judging (a place ended) into the log."""
        for change in changes:
            self._note(change)

    def _comes_last(self, record: Fix | Sighting) -> bool:
        return not self.history or order(self.history[-1]) < order(record)

    def _keep(self, late_s: float) -> None:
        """Keep a standing now and then, and drop what no late record can reach any more."""
        if self.marks and len(self.history) - self.marks[-1].index < KEEP_EVERY:
            return
        self.marks.append(Mark(len(self.history), self.born, self.standing.copy()))
        while len(self.marks) > 1 and (
            self.marks[1].standing.clock < self.newest - late_s or len(self.history) > MAX_HISTORY
        ):
            gone = self.marks[1].index
            del self.marks[0], self.history[:gone]
            for mark in self.marks:
                mark.index -= gone
            open_visits = {p.visit for p in self.marks[0].standing.presences.values()}
            self.log = {
                v.id: v
                for v in self.log.values()
                if v.born >= self.marks[0].born or v.id in open_visits
            }

    def _note(self, change: Transition) -> None:
        """Enter an announced change into the log."""
        if change.kind in {"enter", "pass"}:
            assert change.at is not None
            visit = Visit(change.visit, change.place, change.at, born=self.born)
            self.born += 1
            if change.kind == "pass":
                visit.passed, visit.exit_at = True, change.because["exit_at"]
            self.log[visit.id] = visit
        elif change.kind == "exit":
            self.log[change.visit].exit_at = change.at
        else:
            self.log[change.visit].dwelt += 1

    def _judge_again(
        self, record: Fix | Sighting, moment: Moment, decide: Decide, *, late: bool
    ) -> list[Transition] | None:
        """Put a record in its place, judge again from before it, and say what changed."""
        while self.marks and self.marks[-1].standing.clock >= record.at and len(self.marks) > 1:
            self.marks.pop()
        if not self.marks or self.marks[0].standing.clock >= record.at:
            return None
        start = self.marks[-1]
        settled = max(self.standing.clock, record.at)
        self._insert(record)
        self.newest = max(self.newest, record.at)
        self.received = moment.now

        open_then = {p.visit for p in start.standing.presences.values()}
        before = [v for v in self.log.values() if v.born >= start.born or v.id in open_then]
        earlier = {v.id: v for v in self.log.values() if v.born < start.born}
        self.standing, self.born = start.standing.copy(), start.born
        self.log = {
            place_visit: Visit(place_visit, known.place, known.enter_at, born=known.born)
            for place_visit, known in earlier.items()
            if place_visit in open_then
        }
        for presence in self.standing.presences.values():
            if presence.visit in self.log:
                self.log[presence.visit].dwelt = presence.dwelt
        again = moment._replace(names=FOUND_AGAIN)
        changes = self._replay(start.index, settled, again, decide)
        after = list(self.log.values())
        out, names = _compare(before, after, changes, moment, set(earlier), late=late)
        self._rename(names)
        for visit in after:
            visit.id = names.get(visit.id, visit.id)
        self.log = {
            v.id: v for v in [*(v for v in earlier.values() if v.id not in open_then), *after]
        }
        return out

    def _insert(self, record: Fix | Sighting) -> None:
        low = bisect_left(self.history, record.at, key=_at)
        high = bisect_right(self.history, record.at, key=_at)
        own = order(record)
        while low < high and order(self.history[low]) < own:
            low += 1
        self.history.insert(low, record)

    def _replay(
        self, first: int, settled: float, moment: Moment, decide: Decide
    ) -> list[Transition]:
        """Judge the history again from record number ``first``, timers up to ``settled``."""
        changes: list[Transition] = []
        records = self.history
        for number in range(first, len(records)):
            record = records[number]
            if number - self.marks[-1].index >= KEEP_EVERY:
                self.marks.append(Mark(number, self.born, self.standing.copy()))
            changes += self._ring_until(min(record.at, moment.now), moment, decide)
            found = apply(self.standing, record, moment, decide)
            self.note(found)
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
            self.note(found)
            changes += found
        return changes

    def _rename(self, names: dict[str, str]) -> None:
        """Give visits found again the names under which they were announced."""
        for standing in [self.standing, *(mark.standing for mark in self.marks)]:
            for presence in standing.presences.values():
                presence.visit = names.get(presence.visit, presence.visit)


def order(record: Fix | Sighting) -> tuple[float, bytes]:
    """Order records of one instant by their content, whichever came first."""
    return record.at, _encode(msgspec.structs.replace(record, received_at=None))


def _overlap(old: Visit, new: Visit) -> bool:
    old_end = math.inf if old.exit_at is None else old.exit_at
    new_end = math.inf if new.exit_at is None else new.exit_at
    return old.enter_at <= new_end and new.enter_at <= old_end


def _pair(before: list[Visit], after: list[Visit]) -> list[tuple[Visit | None, Visit | None]]:
    """Match announced visits with those found again: the same one, else the first that overlaps."""
    pairs: list[tuple[Visit | None, Visit | None]] = []
    again = {(v.place, v.enter_at, v.passed): v for v in after}
    left: list[Visit] = []
    for old in before:
        same = again.pop((old.place, old.enter_at, old.passed), None)
        if same is not None:
            pairs.append((old, same))
        else:
            left.append(old)
    for old in sorted(left, key=lambda v: (v.enter_at, v.id)):
        meets = [
            new
            for new in again.values()
            if new.place == old.place and not new.passed and not old.passed and _overlap(old, new)
        ]
        found = min(meets, key=lambda v: v.enter_at, default=None)
        if found is not None:
            del again[found.place, found.enter_at, found.passed]
        pairs.append((old, found))
    return pairs + [(None, new) for new in again.values()]


def _free_name(name: str, taken: Container[str]) -> str:
    """Derive a name that no visit has: that of an arrival may be kept by a corrected visit."""
    while name in taken:
        name = digest(name, "again")
    return name


def _compare(
    before: list[Visit],
    after: list[Visit],
    changes: list[Transition],
    moment: Moment,
    taken: set[str],
    *,
    late: bool,
) -> tuple[list[Transition], dict[str, str]]:
    """Say what judging again changed in what was announced.

    ``taken`` names belong to earlier visits. Gives the transitions to announce, and for each visit
    that was found again the name that it has.
    """
    told: dict[str, list[Transition]] = {}
    for change in changes:
        told.setdefault(change.visit, []).append(change)
    corrections: list[Transition] = []
    fresh: list[Transition] = []
    names: dict[str, str] = {}
    taken = taken | {old.id for old in before}
    for old, new in _pair(before, after):
        if new is None:
            assert old is not None
            corrections.append(_correct(old, None, None, moment))
            continue
        said = told.get(new.id, [])
        if old is None:
            name = _free_name(new.id.removeprefix(FOUND_AGAIN), taken)
            taken.add(name)
        else:
            name = names[new.id] = old.id
            if old.passed:
                continue
            moved = old.enter_at != new.enter_at
            if moved or (old.exit_at is not None and old.exit_at != new.exit_at):
                corrections.append(_correct(old, new.enter_at, new.exit_at, moment))
                said = [one for one in said if one.kind == "dwell"]
            elif old.exit_at == new.exit_at:
                said = [one for one in said if one.kind == "dwell"]
            dwells = [one for one in said if one.kind == "dwell"]
            known = len(dwells) - max(0, new.dwelt - old.dwelt)
            said = [
                one
                for one in said
                if one.kind == "exit" or (one.kind == "dwell" and one not in dwells[:known])
            ]
        names[new.id] = name
        fresh += [msgspec.structs.replace(one, visit=name, late=late) for one in said]
    corrections.sort(key=lambda one: (one.place, one.visit))
    fresh.sort(key=lambda one: one.at or 0.0)
    return corrections + fresh, names


def _correct(
    old: Visit, enter_at: float | None, exit_at: float | None, moment: Moment
) -> Transition:
    because = {"was_enter_at": old.enter_at, "was_exit_at": old.exit_at}
    return Transition(
        kind="corrected",
        subject=moment.subject,
        place=old.place,
        visit=old.id,
        at=None,
        decided_at=moment.now,
        because={"rule": "late record"} | because,
        enter_at=enter_at,
        exit_at=exit_at,
    )
