"""How do the visits found by judging again differ from those that were announced?

Matches the two, keeps the announced names and words the difference. Knows visits and transitions;
knows nothing of how either was judged. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Container

import msgspec

from proximity.engine.standing import Moment
from proximity.model import Transition, digest

# Leads the names of visits while a subject is judged again; no final name has it.
FOUND_AGAIN = "?"


class Visit(msgspec.Struct, array_like=True, gc=False):
    """A visit (or a pass) as it was announced; Unix seconds. ``dwelt`` dwells were announced."""

    id: str
    place: str
    enter_at: float
    exit_at: float | None = None
    passed: bool = False
    dwelt: int = 0
    born: int = 0


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


def free_name(name: str, taken: Container[str]) -> str:
    """Derive a name that no visit has: that of an arrival may be kept by a corrected visit."""
    while name in taken:
        name = digest(name, "again")
    return name


def compare(
    before: list[Visit],
    after: list[Visit],
    changes: list[Transition],
    moment: Moment,
    taken: set[str],
    *,
    record_at: float,
    late: bool,
) -> tuple[list[Transition], dict[str, str]]:
    """Say what judging again changed in what was announced.

    ``taken`` names belong to earlier visits, ``record_at`` (Unix seconds) to the record that came:
    each transition names it, for of many that come at one instant the next may unsay what this one
    said, and the one after say it again. Gives the transitions to announce, and for each visit
    that was found again the name that it has.
    """
    told: dict[str, list[Transition]] = {}
    for change in changes:
        told.setdefault(change.visit, []).append(change)
    corrections: list[Transition] = []
    fresh: list[tuple[int, Transition]] = []
    # As they came when judged: by time a silent exit, which was at the last evidence, would stand
    # before a dwell that ended after that.
    turn = {id(change): number for number, change in enumerate(changes)}
    names: dict[str, str] = {}
    taken = taken | {old.id for old in before}
    for old, new in _pair(before, after):
        if new is None:
            assert old is not None
            corrections.append(_correct(old, None, None, moment, record_at))
            continue
        said = told.get(new.id, [])
        if old is None:
            name = free_name(new.id.removeprefix(FOUND_AGAIN), taken)
            taken.add(name)
        else:
            name = names[new.id] = old.id
            if old.passed:
                continue
            moved = old.enter_at != new.enter_at
            if moved or (old.exit_at is not None and old.exit_at != new.exit_at):
                corrections.append(_correct(old, new.enter_at, new.exit_at, moment, record_at))
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
        because = {"record_at": record_at}
        fresh += [
            (
                turn[id(one)],
                msgspec.structs.replace(one, visit=name, late=late, because=one.because | because),
            )
            for one in said
        ]
    corrections.sort(key=lambda one: (one.place, one.visit))
    fresh.sort(key=lambda each: each[0])
    return [*corrections, *(one for _, one in fresh)], names


def _correct(
    old: Visit, enter_at: float | None, exit_at: float | None, moment: Moment, record_at: float
) -> Transition:
    was = {"was_enter_at": old.enter_at, "was_exit_at": old.exit_at}
    return Transition(
        kind="corrected",
        subject=moment.subject,
        place=old.place,
        visit=old.id,
        at=None,
        decided_at=moment.now,
        because={"rule": "late record", "record_at": record_at} | was,
        enter_at=enter_at,
        exit_at=exit_at,
    )
