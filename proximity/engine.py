"""Who is where, now?

The face of the core: records go in, transitions come out; timers fire when the caller says what
time it is. Reads no clock, does no I/O and draws no random number, so that an hour's walk replays
in milliseconds and always the same. How records are batched changes nothing.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterable
from heapq import heapify, heappop, heappush
from typing import Any, Literal

import msgspec

from geofences import FenceIndex
from proximity.history import Subject
from proximity.intake import Intake, Packed
from proximity.layout import Layout
from proximity.model import Event, Fix, ProximityError, Record, Sighting, Transition
from proximity.point import POINT
from proximity.presence import State
from proximity.registry import Site
from proximity.robust import ROBUST
from proximity.standing import Decide, Held, Moment, Standing, end

SNAPSHOT_FORMAT = 1
# The ways to decide (contract 1).
DECIDE: dict[str, Decide] = {"robust": ROBUST, "point": POINT}
# Edits of fences that are remembered one by one: whoever is not heard of for longer is sealed.
KEPT_EDITS = 1000
# Fewer fixes than this are quicker one by one than as arrays (measured: about ten).
LEAST_BATCH = 10


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
        self._layout = Layout(index, site)
        self._decide_name = decide
        self._decide = DECIDE[decide]
        self._late_s = late_s
        self._intake = None if admitted else Intake(late_s)
        self._subjects: dict[str, Subject] = {}
        self._occupants: dict[str, set[str]] = {}
        self._timers: list[tuple[float, str]] = []
        self._due: dict[str, float] = {}
        self._sweep_at = math.inf
        self._recheck = False
        self._edits = 0
        self._edited: deque[frozenset[str] | None] = deque(maxlen=KEPT_EDITS)

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
        return sorted(
            subject
            for subject in self._occupants.get(place, ())
            if self._subjects[subject].standing.presences[place].state is not State.ARRIVING
        )

    def on_fixes(self, fixes: Iterable[Fix]) -> list[Transition]:
        """Take location reports in the order of their arrival; give what changed."""
        return self.on_records(fixes)

    def on_sightings(self, sightings: Iterable[Sighting]) -> list[Transition]:
        """Take beacon sightings in the order of their arrival; give what changed."""
        return self.on_records(sightings)

    def on_records(self, records: Iterable[Record]) -> list[Transition]:
        """Take records of any type in the order of their arrival; give what changed.

        An Event moves the clock and nothing else. Records that do not count are dropped and
        counted in ``counts``: ``duplicate``, ``future``, ``late``, ``unlisted`` (a beacon or
        gateway that the site does not know), ``unmeasured``.
        """
        out = self._follow_fences()
        batch = records if isinstance(records, (list, tuple)) else list(records)
        fixes = [record for record in batch if type(record) is Fix]
        if len(fixes) < LEAST_BATCH:
            for record in batch:
                self._take(record, None, out)
            return out
        # All points at once are an order of magnitude quicker than one by one.
        lons, lats = [fix.lon for fix in fixes], [fix.lat for fix in fixes]
        held = iter(self.index.holding(lons, lats))
        for record in batch:
            self._take(record, next(held) if type(record) is Fix else None, out)
        return out

    def next_due(self) -> float | None:
        """Say when the next timer fires (Unix seconds); None where none runs."""
        timers = self._timers
        while timers and self._due.get(timers[0][1]) != timers[0][0]:
            heappop(timers)
        return timers[0][0] if timers else None

    def advance(self, now: float) -> list[Transition]:
        """Let time pass until Unix second ``now``: fire every timer due by then."""
        out = self._follow_fences()
        self._move_to(now)
        # A timer that was overdue when it was set waits for just after that instant: now it fires.
        self._fire(math.nextafter(self.now, math.inf), out)
        return out

    def forget(self, subject: str, now: float) -> list[Transition]:
        """Erase a subject: end its visits (reason ``erased``) and drop all that is known of it."""
        out = self.advance(now)
        known = self._subjects.get(subject)
        if known is not None:
            moment = Moment(self._layout, subject, self.now)
            before = set(known.standing.presences)
            for place in sorted(before):
                out += end(known.standing, place, "erased", moment)
            self._occupy(subject, before, known)
            del self._subjects[subject]
            self._due.pop(subject, None)
        if self._intake is not None:
            self._intake.forget_subject(subject)
        return out

    def replace_site(self, site: Site) -> None:
        """Put another site in force; visits to places that it lacks end at the next call."""
        self._layout = Layout(self.index, site)
        self._recheck = True
        self._edit(None)

    def snapshot(self) -> bytes:
        """Give the whole state, for ``restore``; equal states give equal bytes."""
        state: list[Any] = [
            SNAPSHOT_FORMAT,
            self._decide_name,
            self._late_s,
            self.now,
            self._sweep_at if self._sweep_at < math.inf else None,
            sorted(self.counts.items()),
            None if self._intake is None else self._intake.pack(),
            self._edits,
            [None if places is None else sorted(places) for places in self._edited],
            sorted(self._subjects.items()),
        ]
        return msgspec.msgpack.encode(state)

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
        try:
            (
                _,
                name,
                kept_late_s,
                now,
                sweep_at,
                counts,
                intake,
                edits,
                edited,
                subjects,
            ) = msgspec.msgpack.decode(
                state,
                type=tuple[
                    Literal[1],
                    Literal["robust", "point"],
                    float,
                    float,
                    float | None,
                    list[tuple[str, int]],
                    Packed | None,
                    int,
                    list[frozenset[str] | None],
                    list[tuple[str, Subject]],
                ],
            )
        except msgspec.MsgspecError as error:
            raise ProximityError(
                f"the engine snapshot cannot be read ({error}): start from the journal"
            ) from None
        late_s = kept_late_s if late_s is None else late_s
        engine = cls(index, site, name, late_s, admitted=intake is None)
        if intake is not None:
            engine._intake = Intake.unpack(intake, late_s)
        engine.now = now
        engine._sweep_at = math.inf if sweep_at is None else sweep_at
        engine.counts.update(dict(counts))
        engine._subjects = dict(subjects)
        engine._edits = edits
        engine._edited.extend(edited)
        engine._recheck = True
        for subject, known in subjects:
            engine._occupy(subject, set(), known)
            engine._schedule(subject, known)
        return engine

    def _edit(self, places: frozenset[str] | None) -> None:
        """Remember an edit of fences; None where it may concern any place."""
        self._edits += 1
        self._edited.append(places)

    def _catch_up(self, known: Subject) -> None:
        """Settle what a subject did before the edits since its last record, where they concern it.

        What was decided by fences or a site that are no more cannot be judged again.
        """
        missed = self._edits - known.edits
        known.edits = self._edits
        recent = list(self._edited)[-missed:]
        if missed > len(recent) or any(places is None or known.knows(places) for places in recent):
            known.seal()

    def _take(self, record: Record, held: Held | None, out: list[Transition]) -> None:
        now = record.at if record.received_at is None else record.received_at
        if now > self.now:
            self._move_to(now)
        if self._timers and self._timers[0][0] <= self.now:
            self._fire(self.now, out)
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
        if isinstance(record, Event):
            return
        known = self._subjects.get(subject)
        if known is None:
            known = self._subjects[subject] = Subject(Standing(), edits=self._edits)
        elif known.edits != self._edits:
            self._catch_up(known)
        moment = Moment(self._layout, subject, self.now)
        if (
            held is not None
            and type(record) is Fix
            and known.stays(record, held, moment, self._decide, self._late_s)
        ):
            return
        before = set(known.standing.presences)
        changes = known.take(record, moment, self._decide, self._late_s, held)
        if changes is None:
            self.counts["late"] += 1
            return
        out += changes
        if before or known.standing.presences:
            self._occupy(subject, before, known)
            self._schedule(subject, known)

    def _move_to(self, now: float) -> None:
        self.now = max(self.now, now)
        if self._intake is None and self.now >= self._sweep_at:
            self._sweep()
        if self._sweep_at == math.inf and self._intake is None:
            self._sweep_at = self.now + self._late_s

    def _sweep(self) -> None:
        """Forget subjects that are nowhere and whose newest record no late one can follow.

        Only behind an Intake that measures lateness by the clock, as the server's does: a record
        older than ``late_s`` cannot come any more.
        """
        old = self.now - 2.0 * self._late_s
        for subject, known in list(self._subjects.items()):
            presences = known.standing.presences
            if known.newest < old and all(p.state is State.ARRIVING for p in presences.values()):
                # An arrival that nothing has confirmed since is none.
                before = set(presences)
                presences.clear()
                self._occupy(subject, before, known)
                del self._subjects[subject]
        self._sweep_at = self.now + self._late_s

    def _fire(self, until: float, out: list[Transition]) -> None:
        """Fire timers in the order of due time, subject, place."""
        while True:
            due = self.next_due()
            if due is None or due > until:
                return
            _, subject = heappop(self._timers)
            del self._due[subject]
            known = self._subjects[subject]
            before = set(known.standing.presences)
            # What was overdue when its record came is known since then, not since it was due.
            out += known.fire(Moment(self._layout, subject, min(known.received, self.now)))
            self._occupy(subject, before, known)
            self._schedule(subject, known)

    def _schedule(self, subject: str, known: Subject) -> None:
        if not self._decide.timers:
            return
        due = known.due_at(self._layout)
        if due is None:
            self._due.pop(subject, None)
        elif self._due.get(subject) != due:
            self._due[subject] = due
            heappush(self._timers, (due, subject))
            if len(self._timers) > 64 + 4 * len(self._due):
                # Refreshed timers leave their old entries behind; clear them out now and then.
                self._timers = [(at, whose) for whose, at in self._due.items()]
                heapify(self._timers)

    def _occupy(self, subject: str, before: set[str], known: Subject) -> None:
        """Keep the list of who is where in step with a subject's presences."""
        after = known.standing.presences.keys()
        for place in before - after:
            occupants = self._occupants[place]
            occupants.discard(subject)
            if not occupants:
                del self._occupants[place]
        for place in after - before:
            self._occupants.setdefault(place, set()).add(subject)

    def _follow_fences(self) -> list[Transition]:
        """End visits to places that are no more, and judge by the fences now in force."""
        changed = self._layout.changed()
        if changed != ():
            self._edit(None if changed is None else frozenset(changed))
        if self._recheck or changed is None:
            self._recheck = False
            changed = tuple(self._occupants)
        out: list[Transition] = []
        for place in sorted(set(changed) & self._occupants.keys()):
            if self._layout.known(place):
                continue
            for subject in sorted(self._occupants.get(place, ())):
                known = self._subjects[subject]
                self._catch_up(known)
                before = set(known.standing.presences)
                moment = Moment(self._layout, subject, self.now)
                ended = end(known.standing, place, "fence-removed", moment)
                known.note(ended)
                known.seal()
                out += ended
                self._occupy(subject, before, known)
                self._schedule(subject, known)
        return out
