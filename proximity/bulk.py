"""What do many fixes do in ``point``, in one pass?

The same as one by one through ``Subject.take`` and ``point_fix``, which say what it means: written
flat, since calling costs more than doing here. A fix that is out of the ordinary is handed back.
Knows subjects and who is where; knows no clock and no timers: ``point`` has none.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping, Sequence
from typing import NamedTuple

from proximity import history, nowhere
from proximity.history import Subject
from proximity.model import Fix, Transition
from proximity.occupants import Occupants
from proximity.presence import Presence, State
from proximity.standing import DIGEST, Held, Standing
from proximity.trail import AT, ROW_BYTES, Spot


class Batch(NamedTuple):
    """Fixes in the order of their arrival, and what is known of each of them.

    ``held`` are the fences that hold it, ``rows`` those of plain fixes, ``nows`` what the
    clock reads as it comes (Unix seconds); ``refusals`` say why it does not count, else None.
    """

    fixes: Sequence[Fix]
    held: Sequence[Held]
    rows: Sequence[bytes | None]
    nows: Sequence[float]
    refusals: Sequence[str | None]


def take_all(
    batch: Batch,
    subjects: MutableMapping[str, Subject | bytes],
    occupants: Occupants,
    edits: int,
    late_s: float,
    out: list[Transition],
    one: Callable[[int], object],
) -> None:
    """Bring ``subjects`` and ``occupants`` up to date, and add what changes to ``out``.

    ``one`` takes the fix of a number by itself.
    """
    by_place, inside = occupants.by_place, State.INSIDE
    row_bytes, keep_bytes = ROW_BYTES, history.KEEP_EVERY * ROW_BYTES
    time_at, blank = AT.unpack_from, DIGEST.copy
    for number, (fix, here, row, now, refusal) in enumerate(zip(*batch, strict=True)):
        if refusal is not None or row is None:
            one(number)
            continue
        subject, at = fix.subject, fix.at
        known = subjects.get(subject)
        if not isinstance(known, Subject):
            if not here:
                trail = nowhere.lengthened(known, row, at, late_s)
                if trail is None:
                    one(number)
                else:
                    subjects[subject] = trail
                continue
            known = nowhere.wake(known, edits) if known else Subject(Standing(), edits=edits)
            subjects[subject] = known
        standing = known.standing
        if at <= standing.clock or known.edits != edits or standing.window:
            one(number)
            continue

        # As Subject._remember does.
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
        accuracy_m = fix.accuracy_m
        standing.clock = at
        standing.last = Spot(at, fix.lon, fix.lat, accuracy_m)

        # As point_fix does.
        fenced, presences = standing.fenced, standing.presences
        if here is not fenced and here != fenced:
            standing.fenced = here
            told = known.told
            because = {
                "rule": "point", "accuracy_m": accuracy_m, "evidence_at": at, "still": False
            }  # fmt: skip
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
                    name = blank()
                    name.update(f"visit\x1f{subject}\x1f{place}\x1f{when}".encode())
                    visit = name.hexdigest()
                    presences[place] = Presence(
                        inside, visit, at, 0.0, at, None, None, 0, False, because
                    )
                    change = Transition("enter", subject, place, visit, at, now, because)
                    told.append(change)
                    out.append(change)
                    there = by_place.get(place)
                    if there is None:
                        by_place[place] = {subject}
                    else:
                        there.add(subject)
        if not presences and not known.told and not known.log:
            subjects[subject] = nowhere.doze(known, late_s) or known
