"""Which visits of two runs are one and the same, and how do the runs tell it?

Visits are paired by id, else by subject, place and overlap. Reads nothing; knows no decisions.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from proximity.model import format_time, parse_time

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from simulator.outcome import Outcome, Visit

__all__ = ["Row", "Sort", "apart", "compare_visits", "second_of", "unlike", "written"]

Row = dict[str, Any]
"""One difference, as ``--json`` writes it."""


@dataclass
class Sort:
    """What was compared of one sort: how many were alike, which differ, which have no pair."""

    same: int = 0
    differ: list[Row] = field(default_factory=list)
    only_first: list[Row] = field(default_factory=list)
    only_second: list[Row] = field(default_factory=list)

    @property
    def differences(self) -> int:
        """How many of them are not alike."""
        return len(self.differ) + len(self.only_first) + len(self.only_second)


def compare_visits(
    ours: list[Visit], theirs: list[Visit], first: Outcome, second: Outcome, tolerance_s: float
) -> tuple[Sort, dict[str, str]]:
    """Compare visits; also give which visit of the second run each of the first one's is."""
    found = Sort()
    names: dict[str, str] = {}
    groups: defaultdict[tuple[str, str], tuple[list[Visit], list[Visit]]]
    groups = defaultdict(lambda: ([], []))
    for side, visits in enumerate((ours, theirs)):
        for visit in visits:
            groups[visit.subject, visit.place][side].append(visit)
    for mine, other in groups.values():
        pairs = _pair(mine, other)
        for one, two in pairs:
            names[one.visit] = two.visit
            changes = _visit_changes(one, two, tolerance_s)
            if changes:
                found.differ.append(_whose(one) | {"changes": changes})
            else:
                found.same += 1
        taken = {id(visit) for pair in pairs for visit in pair}
        for visit in mine:
            if id(visit) not in taken:
                found.only_first.append(_alone(visit, other, second))
        for visit in other:
            if id(visit) not in taken:
                found.only_second.append(_alone(visit, mine, first))
    for rows in (found.differ, found.only_first, found.only_second):
        rows.sort(key=lambda row: (row["enter_at"] or "", row["subject"], row["place"]))
    return found, names


def _pair(ours: Sequence[Visit], theirs: Sequence[Visit]) -> list[tuple[Visit, Visit]]:
    """Pair visits of one subject to one place: the same id, else whichever overlap longest.

    Both lists are sorted by beginning, and visits of one run lie apart, so that each meets few.
    """
    by_id = {visit.visit: visit for visit in theirs}
    pairs = [(visit, by_id[visit.visit]) for visit in ours if visit.visit in by_id]
    taken = {id(visit) for pair in pairs for visit in pair}
    mine = [visit for visit in ours if id(visit) not in taken]
    other = [visit for visit in theirs if id(visit) not in taken]
    meetings: list[tuple[float, int, int]] = []
    start = 0
    for number, visit in enumerate(mine):
        while start < len(other) and other[start].ends < visit.begins:
            start += 1
        for index in range(start, len(other)):
            if other[index].begins > visit.ends:
                break
            overlap_s = min(visit.ends, other[index].ends) - max(visit.begins, other[index].begins)
            if overlap_s >= 0.0:
                meetings.append((-overlap_s, number, index))
    met: set[int] = set()
    for _, number, index in sorted(meetings):
        if id(mine[number]) not in met and id(other[index]) not in met:
            met |= {id(mine[number]), id(other[index])}
            pairs.append((mine[number], other[index]))
    return pairs


def _visit_changes(one: Visit, two: Visit, tolerance_s: float) -> list[Row]:
    """Say how two runs tell one visit: each change with its values, and the evidence behind it."""
    changes: list[Row] = []
    for what, before, after in (
        ("enter", one.enter_at, two.enter_at),
        ("exit", one.exit_at, two.exit_at),
    ):
        decided = one.decided_at.get(what), two.decided_at.get(what)
        moved = apart(before, after, tolerance_s)
        if moved or apart(*decided, tolerance_s):
            name, values = (
                (f"{what} at", (before, after)) if moved else (f"{what} sure at", decided)
            )
            changes.append(
                {
                    "what": name,
                    "first": written(values[0]),
                    "second": written(values[1]),
                    "because": unlike(one.because.get(what, {}), two.because.get(what, {})),
                }
            )
    if one.reason != two.reason and one.exit_at is not None and two.exit_at is not None:
        because = unlike(one.because.get("exit", {}), two.because.get("exit", {}))
        changes.append(
            {"what": "exit reason", "first": one.reason, "second": two.reason, "because": because}
        )
    for dwell_s in sorted(one.dwells.keys() | two.dwells.keys()):
        before, after = one.dwells.get(dwell_s), two.dwells.get(dwell_s)
        if apart(before, after, tolerance_s):
            changes.append(
                {
                    "what": f"dwell of {dwell_s:g} s",
                    "first": written(before),
                    "second": written(after),
                    "because": {},
                }
            )
    return changes


def _whose(visit: Visit) -> Row:
    return {
        "subject": visit.subject,
        "place": visit.place,
        "visit": visit.visit,
        "enter_at": written(visit.enter_at),
        "exit_at": written(visit.exit_at),
    }


def _alone(visit: Visit, there: list[Visit], other: Outcome) -> Row:
    """Describe a visit without a pair, its evidence, and what the other run has in its stead."""
    because = dict(visit.because.get("enter") or visit.because.get("exit") or {})
    part = next(
        (one for one in there if one.begins <= visit.ends and visit.begins <= one.ends), None
    )
    if part is not None:
        instead = f"part of a {part.kind} from {written(part.enter_at)} to {written(part.exit_at)}"
    elif visit.kind == "visit" and _meets(visit, other.passes):
        instead = "a pass"
    elif visit.kind == "pass" and _meets(visit, other.visits):
        instead = "a visit"
    else:
        instead = "nothing of this subject in this place then"
    return _whose(visit) | {"because": because, "instead": instead}


def _meets(visit: Visit, others: Iterable[Visit]) -> bool:
    return any(
        other.subject == visit.subject
        and other.place == visit.place
        and other.begins <= visit.ends
        and visit.begins <= other.ends
        for other in others
    )


def unlike(first: Row, second: Row) -> dict[str, list[Any]]:
    """Give the keys of two objects whose values differ, each with both values."""
    keys = [*first, *(key for key in second if key not in first)]
    return {
        key: [first.get(key), second.get(key)] for key in keys if first.get(key) != second.get(key)
    }


def apart(first: float | None, second: float | None, tolerance_s: float) -> bool:
    """Whether two times differ by more than ``tolerance_s`` seconds, or only one is known."""
    if first is None or second is None:
        return (first is None) is not (second is None)
    # Output has milliseconds; less is the last bit of a float.
    return abs(first - second) > tolerance_s + 0.0005


def second_of(at: str | float) -> float:
    """Give a time of a file as Unix seconds."""
    return parse_time(at)


def written(at: str | float | None) -> str | None:
    """Give a time as output has it."""
    return None if at is None else format_time(second_of(at))
