"""What did a run decide? Its files read back, transitions folded into visits.

Reads what contract 6 says a run writes, from whatever wrote it; every problem is a ProximityError
that names file and line. Knows neither engine nor campaigns, and compares nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from proximity.model import Kind, ProximityError, parse_time
from simulator.sources import read_small

__all__ = [
    "DecisionLine", "DeliveryLine", "Outcome", "TransitionLine", "Visit", "fold", "read_run",
    "read_transitions",
]  # fmt: skip

MOST_PROBLEMS = 20
"""Bad lines named one by one; a file with more is no output of a run."""


class TransitionLine(msgspec.Struct, frozen=True, kw_only=True):
    """A line of ``transitions.jsonl``, or of ``truth.jsonl``; times as they are written."""

    kind: Kind
    subject: str
    place: str
    visit: str
    at: str | float | None = None
    decided_at: str | float | None = None
    reason: str | None = None
    dwell_s: float | None = None
    late: bool = False
    enter_at: str | float | None = None
    exit_at: str | float | None = None
    because: dict[str, Any] = {}


class GateLine(msgspec.Struct, frozen=True, kw_only=True):
    """One gate of a decision: whether it let pass, and by which numbers."""

    gate: str
    passed: bool
    because: dict[str, Any] = {}


class DecisionLine(msgspec.Struct, frozen=True, kw_only=True):
    """A line of ``decisions.jsonl``."""

    id: str
    decision: str
    campaign: str
    subject: str
    person: str
    place: str
    visit: str
    at: str | float
    reason: str | None = None
    until: str | float | None = None
    variant: str | None = None
    gates: tuple[GateLine, ...] = ()


class DeliveryLine(msgspec.Struct, frozen=True, kw_only=True):
    """A line of ``deliveries.jsonl``; ``key`` is the decision's id."""

    key: str
    channel: str
    attempt: int
    outcome: str
    at: str | float
    campaign: str = ""
    person: str = ""
    place: str = ""
    reason: str | None = None
    handed: dict[str, Any] = {}


@dataclass
class Visit:
    """A visit, or a pass, as the lines about it leave it; times in Unix seconds.

    ``enter_at`` None: the run did not see it begin; ``exit_at`` None: it had not ended. ``dwells``
    maps the seconds of each dwell to when it was reached; ``decided_at`` and ``because`` hold, for
    "enter" and "exit", when the engine was sure and by what.
    """

    kind: str
    subject: str
    place: str
    visit: str
    enter_at: float | None = None
    exit_at: float | None = None
    reason: str | None = None
    late: bool = False
    corrected: bool = False
    dwells: dict[float, float] = field(default_factory=dict)
    decided_at: dict[str, float] = field(default_factory=dict)
    because: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def begins(self) -> float:
        """When it begins, for sorting and overlap: from ever where nobody saw it."""
        return float("-inf") if self.enter_at is None else self.enter_at

    @property
    def ends(self) -> float:
        """When it ends, for overlap: never where it has not."""
        return float("inf") if self.exit_at is None else self.exit_at


@dataclass(frozen=True)
class Outcome:
    """All that a run decided; decisions and deliveries in the order written, by id and key."""

    name: str
    visits: list[Visit]
    passes: list[Visit]
    decisions: dict[str, list[DecisionLine]]
    deliveries: dict[tuple[str, str], list[DeliveryLine]]


def read_run(folder: Path) -> Outcome:
    """Read the files that a run wrote to ``folder``; decisions and deliveries may be missing.

    Raises ProximityError with every problem (the first MOST_PROBLEMS of a file), by line.
    """
    visits, passes = fold(read_transitions(folder))
    decisions: dict[str, list[DecisionLine]] = {}
    for decision in _lines(folder / "decisions.jsonl", DecisionLine):
        decisions.setdefault(decision.id, []).append(decision)
    deliveries: dict[tuple[str, str], list[DeliveryLine]] = {}
    for delivery in _lines(folder / "deliveries.jsonl", DeliveryLine):
        deliveries.setdefault((delivery.key, delivery.channel), []).append(delivery)
    return Outcome(str(folder), visits, passes, decisions, deliveries)


def read_transitions(folder: Path) -> list[TransitionLine]:
    """Read the transitions of a run, in the order written. Raises as ``read_run`` does."""
    path = folder / "transitions.jsonl"
    if not path.is_file():
        raise ProximityError(
            f"{folder}: holds no transitions.jsonl: name a folder that simulator replay --out wrote"
        )
    return _lines(path, TransitionLine)


def fold(lines: list[TransitionLine]) -> tuple[list[Visit], list[Visit]]:
    """Fold transitions in the order written into visits and passes, each sorted by its beginning.

    A ``corrected`` line writes its visit again; one whose times are both null never was.
    """
    visits: dict[str, Visit] = {}
    passes: list[Visit] = []
    for line in lines:
        if line.kind == "pass":
            passes.append(_passed(line))
            continue
        visit = visits.get(line.visit)
        if visit is None:
            visit = visits[line.visit] = Visit("visit", line.subject, line.place, line.visit)
        _take(visit, line)
    there = [one for one in visits.values() if one.enter_at is not None or one.exit_at is not None]
    order = {id(one): number for number, one in enumerate(there)}
    return (
        sorted(there, key=lambda one: (one.begins, order[id(one)])),
        sorted(passes, key=lambda one: one.begins),
    )


def _passed(line: TransitionLine) -> Visit:
    found = Visit("pass", line.subject, line.place, line.visit, _second(line.at))
    found.exit_at = _second(line.because.get("exit_at")) or found.enter_at
    _note(found, "enter", line)
    return found


def _take(visit: Visit, line: TransitionLine) -> None:
    """Let one line change its visit."""
    at = _second(line.at)
    visit.late |= line.late
    if line.kind == "corrected":
        visit.enter_at, visit.exit_at = _second(line.enter_at), _second(line.exit_at)
        visit.corrected = True
        if visit.exit_at is None:
            visit.reason = None
            visit.decided_at.pop("exit", None)
            visit.because.pop("exit", None)
    elif line.kind == "enter":
        visit.enter_at = at
        _note(visit, "enter", line)
    elif line.kind == "dwell" and at is not None:
        visit.dwells[line.dwell_s or 0.0] = at
    elif line.kind == "exit":
        visit.exit_at, visit.reason = at, line.reason
        _note(visit, "exit", line)


def _note(visit: Visit, what: str, line: TransitionLine) -> None:
    visit.because[what] = line.because
    decided_at = _second(line.decided_at)
    if decided_at is not None:
        visit.decided_at[what] = decided_at


def _second(value: Any) -> float | None:
    """Read a time that ``_lines`` has found to be one, or that is none."""
    if not isinstance(value, str | float | int) or isinstance(value, bool):
        return None
    try:
        return parse_time(value)
    except ValueError:
        return None


Line = TypeVar("Line", TransitionLine, DecisionLine, DeliveryLine)


def _lines(path: Path, kind: type[Line]) -> list[Line]:
    """Read a file of records, one a line; one that is not there holds none."""
    if not path.is_file():
        return []
    decoder = msgspec.json.Decoder(kind)
    found: list[Line] = []
    problems: list[str] = []
    for number, text in enumerate(read_small(path).split(b"\n"), 1):
        if not text.strip():
            continue
        try:
            line = decoder.decode(text)
            for name in ("at", "decided_at", "enter_at", "exit_at"):
                at = getattr(line, name, None)
                if at is not None:
                    parse_time(at)
        except (ValueError, RecursionError) as problem:
            if len(problems) >= MOST_PROBLEMS:
                problems.append(f"{path}, line {number}: gave up here")
                break
            problems.append(f"{path}, line {number}: {problem}: write the run again")
        else:
            found.append(line)
    if problems:
        raise ProximityError(*problems)
    return found
