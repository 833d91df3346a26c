"""Which fixes of a batch say nothing new? Asked of as many subjects at once as there are.

A round has one fix of each subject: the first ones of all, then the second ones of those whose
first said nothing new, and so on. Knows no engine; changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from proximity.engine.layout import Layout
from proximity.engine.standing import Asked, Followed, Quiet, Standing
from proximity.engine.tracking import is_ordinary
from proximity.engine.trail import Columns, spot_of
from proximity.model import Fix

Answer = Quiet | Followed | None
Ask = Callable[[Asked, Layout], list[Answer]]
# Fewer fixes than this are quicker one by one than as arrays (measured: about ten).
LEAST_BATCH = 10


def ask(
    quiet: Ask,
    layout: Layout,
    fixes: Sequence[Fix],
    columns: Columns,
    admitted: Sequence[bool],
    standing_of: Callable[[str], Standing | None],
) -> list[Answer]:
    """Give what becomes of each fix's subject, or where it is; None where nothing is known ahead.

    ``standing_of`` gives where a subject stands before the batch, None where it must not be asked.
    An answer holds as long as nothing else has happened to its subject.
    """
    answers: list[Answer] = [None] * len(fixes)
    ahead: dict[str, Standing] = {}
    subjects, ats = columns.subjects, columns.ats.tolist()
    waiting = [number for number, counts in enumerate(admitted) if counts]
    while len(waiting) >= LEAST_BATCH:
        chosen: dict[str, int] = {}
        later = [
            number for number in waiting if chosen.setdefault(subjects[number], number) != number
        ]
        numbers: list[int] = []
        standings: list[Standing] = []
        for subject, number in chosen.items():
            standing = ahead.get(subject) or standing_of(subject)
            if standing is not None and ats[number] > standing.clock:
                numbers.append(number)
                standings.append(standing)
        if len(numbers) < LEAST_BATCH:
            break
        for number, answer in zip(
            numbers, quiet(_asked(fixes, columns, numbers, standings), layout), strict=True
        ):
            answers[number] = answer
        again = {subjects[number] for number in later}
        ahead = {}
        for number, standing in zip(numbers, standings, strict=True) if again else ():
            answer = answers[number]
            if isinstance(answer, Quiet) and subjects[number] in again:
                ahead[subjects[number]] = _after(standing, fixes[number], answer)
        waiting = [number for number in later if subjects[number] in ahead]
    return answers


def _asked(
    fixes: Sequence[Fix], columns: Columns, numbers: list[int], standings: list[Standing]
) -> Asked:
    """Set side by side the fixes of these numbers, one of each subject."""
    which = np.array(numbers)
    return Asked(
        [fixes[number] for number in numbers],
        standings,
        columns.ats[which],
        columns.lons[which],
        columns.lats[which],
        columns.accuracies[which],
        [columns.rows[number] is not None or is_ordinary(fixes[number]) for number in numbers],
    )


def _after(standing: Standing, fix: Fix, answer: Quiet) -> Standing:
    """Give where a subject stands after a fix that says nothing new."""
    presences = standing.presences if answer.presences is None else answer.presences
    ranging, window, fenced = standing.ranging, standing.window, standing.fenced
    last, settled_at = spot_of(fix), standing.settled_at
    return Standing(presences, last, ranging, window, fenced, fix.at, answer.track, settled_at)
