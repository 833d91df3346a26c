"""Did the run do what its author expected? Partial records against what was written.

An expectation is a line of JSON: the keys of a record that must be there, or ``{"none": {...}}``
for one that must not. This file compares and words the difference; it reads no clock, writes no
file and knows nothing of engines. A run shows it each record once (``Expectations.see``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, get_args

import msgspec

from proximity.model import (
    Decision,
    Delivery,
    Kind,
    ProximityError,
    Transition,
    Verdict,
    parse_time,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

__all__ = ["Expectation", "Expectations", "read_expectations", "to_junit"]

MAX_LINES = 100_000
"""An expectation is compared with every record; beyond this a file is a mistake."""

VALUES = {"kind": get_args(Kind), "decision": tuple(map(str, Verdict))}
"""What records hold under keys that know but few values."""

TIMES = frozenset({"at", "decided_at", "enter_at", "exit_at", "until", "next_at"})
"""Keys whose values are equal when they name the same instant, however it is spelt."""


def _keys_written() -> frozenset[str]:
    """Collect the keys that a run's files can hold, from the records themselves."""
    enter = Transition(
        kind="dwell", subject="s", place="p", visit="v", at=0.0, decided_at=0.0,
        reason="left", dwell_s=1.0, late=True,
    )  # fmt: skip
    corrected = msgspec.structs.replace(enter, kind="corrected")
    decision = Decision(
        id="i", decision=Verdict.SEND, reason=None, campaign="c", version=1, subject="s",
        person="p", place="p", visit="v", at=0.0,
    )  # fmt: skip
    delivery = Delivery(
        key="k", channel="c", attempt=1, outcome="accepted", at=0.0, campaign="c", person="p",
        subject="s", place="p",
    )  # fmt: skip
    records = (enter, corrected, decision, delivery)
    return frozenset(key for record in records for key in record.to_record())


KEYS = _keys_written()


@dataclass(frozen=True)
class Nearest:
    """The record that came closest to an expectation: its place in the output, and itself."""

    where: str
    record: dict[str, Any]
    score: int


@dataclass
class Expectation:
    """One line of the file: ``pattern`` is the partial record, ``absent`` for ``{"none": …}``."""

    where: str
    pattern: dict[str, Any]
    absent: bool
    found: Nearest | None = None
    nearest: Nearest | None = None

    @property
    def met(self) -> bool:
        """Whether the run, as far as it was seen, did what this line says."""
        return (self.found is None) is self.absent

    @property
    def title(self) -> str:
        """The line in words of one piece: what was to happen, or was not to."""
        return f"{'none: ' if self.absent else ''}{_text(self.pattern)}"

    def difference(self) -> str:
        """Say, in some lines a person can read, how the run fell short; empty where it did not."""
        if self.met:
            return ""
        if self.found is not None:
            return (
                f"{self.where}: expected that nothing matches {_text(self.pattern)}\n"
                f"  but {self.found.where} does: {_text(self.found.record)}"
            )
        lines = [f"{self.where}: nothing matches {_text(self.pattern)}"]
        if self.nearest is None:
            lines.append("  no record was written that has any of this")
        else:
            lines.append(f"  nearest is {self.nearest.where}: {_text(self.nearest.record)}")
            rows = list(_differences(self.pattern, self.nearest.record, ""))
            width = max(len(key) for key, _, _ in rows)
            lines += [
                f"    {key:<{width}}  expected {want}, found {got}" for key, want, got in rows
            ]
        return "\n".join(lines)


@dataclass
class Expectations:
    """All lines of an expectations file, shown each record of a run by ``see``."""

    lines: list[Expectation] = field(default_factory=list)

    def see(self, where: str, record: dict[str, Any]) -> None:
        """Compare one written record; ``where`` is its file and line, for the report."""
        for line in self.lines:
            if line.found is not None:
                continue
            if _matches(line.pattern, record):
                line.found = Nearest(where, record, 0)
            elif not line.absent:
                score = _score(line.pattern, record)
                if score > (line.nearest.score if line.nearest else 0):
                    line.nearest = Nearest(where, record, score)

    @property
    def unmet(self) -> list[Expectation]:
        """The lines that the run did not meet, in the order of the file."""
        return [line for line in self.lines if not line.met]

    def report(self) -> str:
        """Give the readable difference of every unmet line, and one line that counts."""
        unmet = self.unmet
        parts = [line.difference() for line in unmet]
        parts.append(f"{len(self.lines) - len(unmet)} of {len(self.lines)} expectations met")
        return "\n".join(parts)


def read_expectations(text: bytes, name: str) -> Expectations:
    """Read a JSONL file of expectations; ``name`` is what problems call the file.

    Raises ProximityError with a line for each problem: not JSON, not an object, empty, or a key,
    a kind, a decision or a time that no output record has (which could never match, and under
    ``none`` never fail).
    """
    problems: list[str] = []
    found: list[Expectation] = []
    for number, line in enumerate(text.split(b"\n"), 1):
        if not line.strip():
            continue
        where = f"{name}:{number}"
        if len(found) >= MAX_LINES:
            problems.append(f"{where}: more than {MAX_LINES} expectations: split the file")
            break
        try:
            value = msgspec.json.decode(line)
        except (msgspec.DecodeError, RecursionError) as error:
            problems.append(f"{where}: no JSON ({error}): write one object a line")
            continue
        absent = isinstance(value, dict) and set(value) == {"none"}
        pattern = value["none"] if absent else value
        if not isinstance(pattern, dict) or not pattern:
            problems.append(f'{where}: write an object with keys to match, or {{"none": {{…}}}}')
            continue
        strange = sorted(set(pattern) - KEYS)
        problems += [
            f"{where}: no output record has a key {key!r}{_hint(key, KEYS)}" for key in strange
        ]
        problems += [f"{where}: {slip}" for slip in _slips(pattern)]
        found.append(Expectation(where, pattern, absent))
    if not problems and not found:
        problems.append(f"{name}: holds no expectation: write one object a line, or leave it out")
    if problems:
        raise ProximityError(*problems)
    return Expectations(found)


def to_junit(expectations: Expectations, suite: str) -> bytes:
    """Write the outcome as JUnit XML: a test case a line; no times, so that it never differs."""
    from xml.etree import ElementTree as ET

    root = ET.Element("testsuites")
    unmet = expectations.unmet
    box = ET.SubElement(
        root,
        "testsuite",
        name=_legal(suite),
        tests=str(len(expectations.lines)),
        failures=str(len(unmet)),
        errors="0",
        skipped="0",
    )
    for line in expectations.lines:
        case = ET.SubElement(box, "testcase", classname=_legal(line.where), name=_legal(line.title))
        if not line.met:
            text = _legal(line.difference())
            failure = ET.SubElement(case, "failure", message=text.split("\n", 1)[0])
            failure.text = text
    ET.indent(root)
    text = ET.tostring(root, encoding="unicode")
    return b'<?xml version="1.0" encoding="utf-8"?>\n' + text.encode() + b"\n"


def _matches(pattern: Any, value: Any, key: str = "") -> bool:
    """Whether ``value`` holds all that ``pattern`` names.

    Objects may have more keys; a list must hold the pattern's elements in their order, with
    others between them; times are instants; numbers compare as numbers.
    """
    if isinstance(pattern, dict):
        return isinstance(value, dict) and all(
            name in value and _matches(want, value[name], name) for name, want in pattern.items()
        )
    if isinstance(pattern, list):
        if not isinstance(value, list):
            return False
        rest = iter(value)
        return all(any(_matches(want, got) for got in rest) for want in pattern)
    if isinstance(pattern, bool) or isinstance(value, bool):
        return pattern is value
    if key in TIMES and isinstance(value, str) and isinstance(pattern, str | int | float):
        return _instant(pattern) == _instant(value)
    return bool(pattern == value)


def _instant(value: str | float) -> float | str:
    """Read a time to the millisecond, as output has it; what is none stays as it is."""
    try:
        return round(parse_time(value), 3)
    except ValueError:
        return str(value)


def _score(pattern: dict[str, Any], record: dict[str, Any]) -> int:
    """Count the keys that agree: who and where weigh more than how, so that nearest means near."""
    weight = {"kind": 2, "decision": 2, "subject": 3, "person": 3, "place": 3, "campaign": 3}
    return sum(
        weight.get(key, 1)
        for key, want in pattern.items()
        if key in record and _matches(want, record[key], key)
    )


def _differences(pattern: dict[str, Any], record: dict[str, Any], path: str) -> Any:
    """Yield (key, expected, found) for each leaf of the pattern that the record does not meet."""
    for key, want in pattern.items():
        name = f"{path}{key}"
        if key not in record:
            yield name, _text(want), "no such key"
        elif isinstance(want, dict) and isinstance(record[key], dict):
            yield from _differences(want, record[key], f"{name}.")
        elif not _matches(want, record[key], key):
            yield name, _text(want), _text(record[key])


def _slips(pattern: dict[str, Any]) -> Iterator[str]:
    """Name the values that no record can have under their keys."""
    for key, known in VALUES.items():
        if key in pattern and pattern[key] not in known:
            value = _text(pattern[key])
            hint = _hint(value.strip('"'), known)
            yield f"no output record has the {key} {value}{hint}"
    for key in sorted(TIMES & pattern.keys()):
        if isinstance(pattern[key], str):
            try:
                parse_time(pattern[key])
            except ValueError as error:
                yield f"{key}: {error}: write it as 2026-05-01T10:00:00Z"


def _hint(word: str, known: Collection[str]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(word, known, n=1)
    return f": is {near[0]!r} meant?" if near else f"; it may hold {', '.join(sorted(known))}"


def _text(value: Any) -> str:
    """One line of JSON."""
    return msgspec.json.encode(value).decode()


def _legal(text: str) -> str:
    """Replace what XML 1.0 cannot carry, not even escaped."""
    return re.sub("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", text)
