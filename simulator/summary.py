"""How does a run read, once it is over: to a person, and as one JSON object?

Counts in, text out. Everything that did not happen has its reason here: what was left out, which
campaign no transition asked for, and why nothing was sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proximity.explain.messages.operators import REASONS
from proximity.model import format_time

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from simulator.replay import Counts

__all__ = ["as_json", "as_text"]

LEFT_OUT = {
    "duplicate": "seen before",
    "future": "more than 60 s ahead of their arrival",
    "late": "too far behind their subject's newest",
    "unconsented": "their person agreed to no processing",
    "unlisted": "of a beacon or gateway that the site does not list",
    "unmeasured": "without a measured RSSI",
    "malformed": "events that the tagging plan does not know, or not so",
    "bad": "unreadable, and left out as asked",
    "ignored": "rightly no record: a way point, a status, a row without position or time",
}
"""Why a record took no part, in words."""


def as_json(
    counts: Counts, left_out: Mapping[str, int], subjects: int, campaigns: Iterable[str] | None
) -> dict[str, Any]:
    """Give the summary as one JSON object; ``campaigns`` None where no file was given."""
    return {
        "records": counts.records,
        "subjects": subjects,
        "began": None if counts.began is None else format_time(counts.began),
        "ended": None if counts.ended is None else format_time(counts.ended),
        "events": counts.events,
        "left_out": dict(sorted(left_out.items())),
        "transitions": dict(sorted(counts.transitions.items())),
        "decisions": dict(sorted(counts.decisions.items())),
        "nothing_sent_because": dict(sorted((+counts.reasons).items())),
        "sent": dict(sorted(counts.sent.items())),
        "deliveries": dict(sorted(counts.deliveries.items())),
        "never_asked_for": None if campaigns is None else sorted(set(campaigns) - set(counts.met)),
    }


def as_text(summary: Mapping[str, Any]) -> str:
    """Write the summary of ``as_json`` for a person to read."""
    began, ended = summary["began"], summary["ended"]
    span = f", {began} to {ended}" if began and ended else ""
    lines = [
        f"{_count(summary['records'], 'record')} of {_count(summary['subjects'], 'subject')}{span}"
    ]
    lines += _block("left out", summary["left_out"], LEFT_OUT)
    if summary["events"]:
        lines.append(_count(summary["events"], "event"))
    lines.append(_row("transitions", summary["transitions"]))
    if summary["never_asked_for"] is None:
        lines.append("no campaigns were given, so nothing was decided")
        return "\n".join(lines)
    lines.append(_row("decisions", summary["decisions"]))
    lines += _block("nothing sent because", summary["nothing_sent_because"], REASONS)
    lines.append(_row("sent", summary["sent"]))
    if summary["deliveries"]:
        lines.append(_row("deliveries", summary["deliveries"]))
    if summary["never_asked_for"]:
        lines.append(f"no transition asked for: {', '.join(summary['never_asked_for'])}")
    return "\n".join(lines)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _row(name: str, counts: Mapping[str, int]) -> str:
    parts = ", ".join(f"{key} {number:,}" for key, number in counts.items())
    return f"{name:<12}{sum(counts.values()):>8,}" + (f"   {parts}" if parts else "")


def _block(title: str, counts: Mapping[str, int], words: Mapping[str, str]) -> list[str]:
    """Write a title and a row for each count, largest first; nothing where all are 0."""
    rows = sorted(((n, key) for key, n in counts.items() if n), key=lambda row: (-row[0], row[1]))
    if not rows:
        return []
    width = max(len(key) for _, key in rows)
    return [
        title,
        *(f"{n:>10,}  {key:<{width}}  {words.get(key, '')}".rstrip() for n, key in rows),
    ]
