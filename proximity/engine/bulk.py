"""What do many fixes do, in one pass?

The same as one by one through ``Subject.take``, ``Subject.rest`` and ``point_fix``, which say what
it means: written flat, since calling costs more than doing here. A fix that is out of the ordinary
is handed back. Knows subjects, who is where and whether a timer waits; moves no clock.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping, Sequence
from math import inf, nextafter
from typing import NamedTuple

from proximity.engine import history, nowhere
from proximity.engine.history import Subject
from proximity.engine.occupants import Occupants
from proximity.engine.presence import Presence, State
from proximity.engine.standing import DIGEST, Followed, Held, Quiet, Standing
from proximity.engine.timers import Timers
from proximity.engine.trail import AT, ROW_BYTES
from proximity.model import Fix, Transition


class Batch(NamedTuple):
    """Fixes in the order of their arrival, and what is known of each of them.

    ``ahead`` is what was reckoned of it ahead: the fences that hold it in ``point``; in ``robust``
    an answer of ``quiet``. ``rows`` are those of plain fixes, ``nows`` what the clock reads as it
    comes (Unix seconds); ``refusals`` say why it does not count, else None.
    """

    fixes: Sequence[Fix]
    ahead: Sequence[Held | Quiet | Followed | None]
    rows: Sequence[bytes | None]
    nows: Sequence[float]
    refusals: Sequence[str | None]


def take_all(
    batch: Batch,
    subjects: MutableMapping[str, Subject | bytes],
    occupants: Occupants,
    timers: Timers,
    touched: set[str],
    edits: int,
    late_s: float,
    out: list[Transition],
    one: Callable[[int], object],
) -> None:
    """Bring ``subjects`` and ``occupants`` up to date, and add what changes to ``out``.

    ``one`` takes the fix of a number by itself; it fires timers, and enters into ``touched`` whom
    something has happened to, so that what was reckoned ahead holds no longer.
    """
    by_place = occupants.by_place
    row_bytes, keep_bytes = ROW_BYTES, history.KEEP_EVERY * ROW_BYTES
    time_at = AT.unpack_from
    fades, most = nowhere.FADES, keep_bytes
    heap, told_due = timers.heap, timers.told
    numbers = range(len(batch.fixes))
    for number, fix, ahead, row, now, refusal in zip(numbers, *batch, strict=True):
        if refusal is not None or row is None or (heap and heap[0][0] <= now):
            one(number)
            continue
        subject, at = fix.subject, fix.at
        if type(ahead) is tuple:
            here, track, after = ahead, b"", None
        elif type(ahead) is Quiet and subject not in touched:
            here, track, after = (), ahead.track, ahead.presences
        else:
            one(number)
            continue
        known = subjects.get(subject)
        if not isinstance(known, Subject):
            if not here and not track:
                trail = known
                if trail is not None:
                    size = len(trail)
                    # What nowhere.lengthened nearly always does.
                    if size % fades and size < most and time_at(trail, size - row_bytes)[0] < at:
                        subjects[subject] = trail + row
                        continue
                trail = nowhere.lengthened(trail, row, at, late_s)
                if trail is None:
                    one(number)
                else:
                    subjects[subject] = trail
                continue
            known = nowhere.wake(known, edits) if known else Subject(Standing(), edits=edits)
            subjects[subject] = known
        standing = known.standing
        presences = standing.presences
        if (
            at <= standing.clock
            or known.edits != edits
            or standing.window
            # A timer that was overdue when it was set rings before the next record of its time.
            or (heap and presences and told_due(subject) <= nextafter(known.received, inf))
        ):
            one(number)
            continue

        # As Subject.rest does.
        known.newest, known.received = at, now
        rows_kept, marks = known.history.trail, known.marks
        if not marks:
            known.keep(late_s)
        else:
            since = marks[-1].index * row_bytes
            if len(rows_kept) >= since + keep_bytes or (
                len(rows_kept) > since and time_at(rows_kept, since)[0] < at - late_s
            ):
                known.keep(late_s)
        rows_kept += row
        standing.clock, standing.last = at, row

        standing.track = track
        if after is not None:
            standing.presences = presences = after
        fenced = standing.fenced
        if here is not fenced and here != fenced:
            standing.fenced = here
            _cross(fix, now, fenced, here, known, by_place, out)
        if not presences and not track and not known.told and not known.log:
            subjects[subject] = nowhere.doze(known, late_s) or known


def _cross(
    fix: Fix,
    now: float,
    fenced: Held,
    here: Held,
    known: Subject,
    by_place: dict[str, set[str]],
    out: list[Transition],
) -> None:
    """Leave the fences that held a subject and enter those that do, as ``point_fix`` does."""
    subject, at, presences, told = fix.subject, fix.at, known.standing.presences, known.told
    because = {"rule": "point", "accuracy_m": fix.accuracy_m, "evidence_at": at, "still": False}
    for place in fenced:
        if place not in here:
            visit = presences.pop(place).visit
            change = Transition("exit", subject, place, visit, at, now, because, "left")
            told.append(change)
            out.append(change)
            by_place[place].discard(subject)
    when = ""
    for place in here:
        if place not in presences:
            # As visit_id does; a time is written once.
            when = when or f"{at:.6f}"
            name = DIGEST.copy()
            name.update(f"visit\x1f{subject}\x1f{place}\x1f{when}".encode())
            visit = name.hexdigest()
            presences[place] = Presence(
                State.INSIDE, visit, at, 0.0, at, None, None, 0, False, because
            )
            change = Transition("enter", subject, place, visit, at, now, because)
            told.append(change)
            out.append(change)
            there = by_place.get(place)
            if there is None:
                by_place[place] = {subject}
            else:
                there.add(subject)
