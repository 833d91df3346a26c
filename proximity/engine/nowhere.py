"""What is kept of somebody who is nowhere?

Most subjects are in no place and near none most of the time. Such a one is no Subject, but the
bytes of its trail: the rows of its fixes, led, where they do not reach back to its first record, by
a sign that says since when, and by the row of the fix before. Knows no places.
"""

from __future__ import annotations

import math

from proximity.engine import history
from proximity.engine.history import Mark, Subject
from proximity.engine.standing import Standing
from proximity.engine.trail import (
    AT,
    ROW_BYTES,
    History,
    newest_of,
    pack_sign,
    sign_of,
)

# A trail's past is looked at each time that it has grown by so many bytes: eight fixes.
FADES = 8 * ROW_BYTES
# The signs: nothing is known before the clock, or one fix.
_CUT, _CUT_AFTER_A_FIX = 1.0, 2.0


def wake(trail: bytes, edits: int) -> Subject:
    """Make a subject of its trail again."""
    start, head = _start(trail)
    newest = newest_of(trail)
    standing = Standing({}, trail[-ROW_BYTES:], clock=newest)
    history = History(bytearray(trail[head:]))
    return Subject(standing, newest, history=history, marks=[Mark(0, 0, start)], edits=edits)


def standing_of(trail: bytes) -> Standing:
    """Give where somebody stands who is nowhere."""
    return Standing({}, trail[-ROW_BYTES:], clock=newest_of(trail))


def cut(trail: bytes, oldest: float = math.inf) -> bytes:
    """Forget the past of a trail before Unix second ``oldest``; what was judged so far stays."""
    _, head = _start(trail)
    gone = head
    while gone < len(trail) and AT.unpack_from(trail, gone)[0] < oldest:
        gone += ROW_BYTES
    if gone == head:
        return trail
    last = trail[gone - ROW_BYTES : gone]
    return _head(Standing(last=last, clock=newest_of(last))) + trail[gone:]


def _head(start: Standing) -> bytes:
    """Pack a bare standing, so that a trail can begin with it."""
    if start.clock < 0.0:
        return b""
    if not start.last:
        return pack_sign(start.clock, _CUT)
    return pack_sign(start.clock, _CUT_AFTER_A_FIX) + start.last


def _start(trail: bytes) -> tuple[Standing, int]:
    """Read the standing that a trail begins with, and how many bytes it takes."""
    sign = sign_of(trail, 0)
    if sign is None:
        return Standing(), 0
    clock = newest_of(trail[:ROW_BYTES])
    if sign == _CUT:
        return Standing(clock=clock), ROW_BYTES
    return Standing(last=trail[ROW_BYTES : 2 * ROW_BYTES], clock=clock), 2 * ROW_BYTES


def _bare(standing: Standing) -> bool:
    """Whether a standing is no more than its last fix."""
    return (
        not standing.presences
        and not standing.track
        and not standing.window
        and not standing.fenced
        and standing.ranging is None
    )


def doze(subject: Subject, late_s: float) -> bytes | None:
    """Give the trail of a subject whose past is nothing but plain fixes, near no place.

    None where there is more to it, or more of it within ``late_s`` seconds than a trail has room
    for, which is asked when a standing was kept. ``wake`` makes the same subject of it.
    """
    standing, past, marks = subject.standing, subject.history, subject.marks
    if standing.presences or standing.track or subject.told or subject.log or past.others:
        return None
    kept = marks[-1].index == len(past) - 1
    if not past or standing.clock != subject.newest or not (len(marks) == 1 or kept):
        return None
    if not _bare(standing) or not all(_bare(mark.standing) for mark in marks):
        return None
    trail = _head(marks[0].standing) + past.trail
    if kept:
        trail = cut(trail, subject.newest - late_s)
    return trail if len(trail) <= history.KEEP_EVERY * ROW_BYTES else None


def lengthened(trail: bytes | None, row: bytes, at: float, late_s: float) -> bytes | None:
    """Add the row of a fix at Unix second ``at`` to a trail; None where there is more to do."""
    if trail is None:
        return row
    if len(trail) >= history.KEEP_EVERY * ROW_BYTES or at <= newest_of(trail):
        return None
    if not len(trail) % FADES:
        trail = cut(trail, at - late_s)
    return trail + row
