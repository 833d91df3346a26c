"""How does an explanation read: to an engineer, to a marketer, on a terminal and as JSON?

Words and columns; the person's own sentences are ``sentences``'. Knows explanations; knows no
store and judges nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from proximity.explain.explain import DECIDED, by_hand
from proximity.explain.messages.operators import AUDIENCES, REASONS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from proximity.explain.explain import Explanation, VisitExplanation

__all__ = ["AUDIENCES", "REASONS", "Row", "Table", "evidence", "render", "table", "table_text"]

RESULTS = {"send": "sent", "defer": "put off", "suppress": "not sent"}
PASSED, FAILED = "+", "-"


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One campaign at one place: ``result`` and why; ``gates`` that failed, and their evidence."""

    at: str | None
    place: str
    campaign: str
    version: int | None
    result: str
    reason: str | None
    says: str
    gates: str
    failed: dict[str, str] = {}
    deliveries: tuple[str, ...] = ()


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """What a marketer is told: rows oldest first, and one sentence where there are none."""

    subject: str | None
    person: str | None
    says: str
    rows: tuple[Row, ...]


# -- the marketer ---------------------------------------------------------------------------------


def table(found: Explanation) -> Table:
    """Make the table of an explanation: decisions first, then what was no matter at all."""
    rows = [row for visit in found.visits for row in _rows(visit)]
    return Table(
        subject=found.subject,
        person=found.person,
        says=found.says if not rows else f"{len(rows)} campaigns looked at this.",
        rows=tuple(rows),
    )


def _rows(visit: VisitExplanation) -> Iterable[Row]:
    place = visit.name or visit.place
    for decision in visit.decisions:
        failed = {g["gate"]: evidence(g["because"]) for g in decision["gates"] if not g["passed"]}
        reason = decision["reason"]
        says = "every gate let it pass" if reason is None else REASONS.get(reason, reason)
        if decision["until"]:
            says += f"; decided again at {decision['until']}"
        yield Row(
            at=decision["at"],
            place=place,
            campaign=decision["campaign"],
            version=decision["version"],
            result=RESULTS[decision["decision"]],
            reason=reason,
            says=says,
            gates="".join(PASSED if g["passed"] else FAILED for g in decision["gates"]),
            failed=failed,
            deliveries=tuple(
                f"{one['channel']}: {_outcome(one)}"
                for one in visit.deliveries
                if one["key"] == decision["id"]
            ),
        )
    for lack in visit.lacking:
        yield Row(
            at=None,
            place=place,
            campaign=lack.campaign,
            version=None,
            result="not met",
            reason=None,
            says=lack.says,
            gates="",
        )


def table_text(made: Table) -> str:
    """Write a marketer's table for a terminal."""
    head = made.subject or made.person or ""
    if not made.rows:
        return f"{head}\n  {made.says}"
    cells = [("when", "where", "campaign", "result", "why")]
    for row in made.rows:
        why = row.says
        if row.deliveries:
            why += f" ({', '.join(row.deliveries)})"
        cells.append((row.at or "", row.place, row.campaign, row.result, why))
    widths = [max(len(line[column]) for line in cells) for column in range(4)]
    lines = [head]
    for line in cells:
        padded = [text.ljust(width) for text, width in zip(line[:4], widths, strict=True)]
        lines.append("  ".join(["", *padded, line[4]]).rstrip())
    return "\n".join(lines)


# -- the engineer ---------------------------------------------------------------------------------


def render(found: Explanation) -> str:
    """Write an explanation with all its evidence for a terminal."""
    name = found.subject or ", ".join(found.subjects)
    lines = [name + (f" ({found.person})" if found.person else "")]
    if not found.visits:
        lines.append(f"  {found.says}")
    for visit in found.visits:
        of = f"   {visit.subject}" if visit.subject not in {"", found.subject} else ""
        sent = any(by_hand(one) for one in visit.decisions)
        where = visit.place or ("by hand" if sent else "on the way")
        lines += ["", f"{where}   visit {visit.visit or '-'}{of}"]
        lines += [f"  {line}" for line in _transition_lines(visit)]
        for decision in visit.decisions:
            lines += _decision_lines(decision, visit.deliveries)
        lines += [f"  {name}: {why}" for name, why in visit.unmet.items()]
        if not visit.decisions and not visit.unmet:
            lines.append("  no campaign met it")
    if found.near:
        lines += ["", "near, and no visit"]
        lines += [f"  {one.says}" for one in found.near]
    for seen in found.seen:
        if seen.newest_at is not None:
            counts = [
                f"{count} {name}"
                for name, count in (
                    ("fixes", seen.fixes), ("sightings", seen.sightings),
                    ("mock", seen.mock), ("jumps", seen.jumps),
                )
                if count
            ]  # fmt: skip
            span = f"{seen.first_at} to {seen.newest_at}"
            lines.append(f"  looked through {', '.join(counts)} of {seen.subject}, {span}")
    return "\n".join(lines)


def _transition_lines(visit: VisitExplanation) -> list[str]:
    return [
        f"{one.get('at') or one['decided_at']}  {_short(one):<18} {evidence(one['because'])}"
        for one in visit.transitions
    ]


def _short(transition: Mapping[str, Any]) -> str:
    word = str(transition["kind"])
    if transition.get("dwell_s") is not None:
        word += f" {transition['dwell_s']:g} s"
    if transition.get("reason") is not None:
        word += f" {transition['reason']}"
    return word


def _decision_lines(
    decision: Mapping[str, Any], deliveries: Sequence[Mapping[str, Any]]
) -> list[str]:
    reason = f" because of {decision['reason']}" if decision["reason"] else ""
    lines = [f"  {decision['campaign']}: {DECIDED[decision['decision']]}{reason}"]
    if decision["until"]:
        lines.append(f"    until {decision['until']}")
    for gate in decision["gates"]:
        mark = "ok" if gate["passed"] else "NO"
        lines.append(f"    {mark}  {gate['gate']:<12} {evidence(gate['because'])}".rstrip())
    lines += [
        f"    {delivery['channel']}: {_outcome(delivery)} at {delivery['at']}"
        for delivery in deliveries
        if delivery["key"] == decision["id"]
    ]
    return lines


def _outcome(delivery: Mapping[str, Any]) -> str:
    reason = delivery["reason"]
    return str(delivery["outcome"]) + (f" because of {reason}" if reason else "")


def evidence(because: Mapping[str, Any]) -> str:
    """Write evidence as ``name=value`` pairs, numbers short."""
    return " ".join(f"{name}={_value(value)}" for name, value in because.items())


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.10g}"
    if isinstance(value, str):
        return value
    return msgspec.json.encode(value).decode()
