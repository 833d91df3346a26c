"""Which fixes of a batch say nothing new? Asked of as many subjects at once as there are.

A round has one fix of each subject: the first ones of all, then the second ones of those whose
first said nothing new, and so on. Knows no engine; changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from proximity.layout import Layout
from proximity.model import Fix
from proximity.standing import Asked, Held, Quiet, Standing
from proximity.trail import Columns, Spot

Ask = Callable[[Asked, Layout], list[Quiet | None]]
# Fewer fixes than this are quicker one by one than as arrays (measured: about ten).
LEAST_BATCH = 10


def ask(
    quiet: Ask,
    layout: Layout,
    fixes: Sequence[Fix],
    columns: Columns,
    held: Sequence[Held],
    admitted: Sequence[bool],
    standing_of: Callable[[str], Standing | None],
) -> list[Quiet | None]:
    """Give what becomes of each fix's subject; None where it is to be judged by itself.

    ``standing_of`` gives where a subject stands before the batch, None where it must not be asked.
    An answer holds as long as nothing else has happened to its subject.
    """
    answers: list[Quiet | None] = [None] * len(fixes)
    ahead: dict[str, Standing] = {}
    waiting = [number for number, counts in enumerate(admitted) if counts]
    while len(waiting) >= LEAST_BATCH:
        chosen: dict[str, int] = {}
        later = [
            number
            for number in waiting
            if chosen.setdefault(columns.subjects[number], number) != number
        ]
        standings: dict[int, Standing] = {}
        for subject, number in chosen.items():
            standing = ahead.get(subject) or standing_of(subject)
            if standing is not None and columns.ats[number] > standing.clock:
                standings[number] = standing
        ahead = _round(quiet, layout, fixes, columns, held, standings, answers)
        waiting = [number for number in later if columns.subjects[number] in ahead]
    return answers


def _round(
    quiet: Ask,
    layout: Layout,
    fixes: Sequence[Fix],
    columns: Columns,
    held: Sequence[Held],
    standings: dict[int, Standing],
    answers: list[Quiet | None],
) -> dict[str, Standing]:
    """Ask of one fix of each subject; give where those stand then whose fix says nothing new."""
    numbers = list(standings)
    if len(numbers) < LEAST_BATCH:
        return {}
    asked = Asked(
        [fixes[number] for number in numbers],
        [held[number] for number in numbers],
        list(standings.values()),
        columns.ats[numbers],
        columns.lons[numbers],
        columns.lats[numbers],
        columns.accuracies[numbers],
        [columns.rows[number] is not None for number in numbers],
    )
    ahead: dict[str, Standing] = {}
    for number, answer in zip(numbers, quiet(asked, layout), strict=True):
        if answer is not None:
            answers[number] = answer
            ahead[fixes[number].subject] = _after(standings[number], fixes[number], answer)
    return ahead


def _after(standing: Standing, fix: Fix, answer: Quiet) -> Standing:
    """Give where a subject stands after a fix that says nothing new."""
    spot = Spot(fix.at, fix.lon, fix.lat, fix.accuracy_m)
    presences = standing.presences if answer.presences is None else answer.presences
    ranging, window, fenced = standing.ranging, standing.window, standing.fenced
    return Standing(presences, spot, ranging, window, fenced, fix.at, answer.track)
