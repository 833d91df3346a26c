"""How do the differences of two runs read to a person? The command ``simulator compare``.

Words only: what differs is found by ``differences``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from proximity.commands.questions import Finite
from simulator.differences import compare_runs
from simulator.outcome import read_run

if TYPE_CHECKING:
    from simulator.differences import Comparison
    from simulator.pairing import Row

__all__ = ["as_text", "compare"]

MOST_SHOWN = 20
"""Differences of one sort that a person is shown; ``--json`` has all of them."""

_FOLDER = click.Path(path_type=Path, file_okay=False)


@click.command()
@click.argument("first", type=_FOLDER, metavar="DIR")
@click.argument("second", type=_FOLDER, metavar="DIR")
@click.option(
    "--tolerance",
    "tolerance_s",
    type=Finite(0.0),
    default=0.0,
    show_default=True,
    metavar="S",
    help="Times at most this far apart count as the same.",
)
@click.option("--json", "as_json", is_flag=True, help="Everything as one JSON object.")
def compare(first: Path, second: Path, tolerance_s: float, *, as_json: bool) -> int:
    """Tell what two runs decided differently, and why.

    Each DIR is what `simulator replay --out DIR` wrote. Visits are paired by subject, place and
    overlap; decisions by id, or by person, campaign and visit. Exit status 1 where the runs
    differ.
    """
    found = compare_runs(read_run(first), read_run(second), tolerance_s)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found.to_record()), indent=2))
    else:
        click.echo(as_text(found))
    return 0 if found.alike else 1


def as_text(found: Comparison) -> str:
    """Write a comparison for a person to read."""
    lines = [
        f"{found.first} and {found.second} decided the same"
        if found.alike
        else f"{found.first} (first) and {found.second} (second) decided differently"
    ]
    for name, sort in found.sorts.items():
        lines.append(
            f"{name:<11}{sort.same:>8,} alike, {len(sort.differ):,} differ, "
            f"{len(sort.only_first):,} in the first alone, "
            f"{len(sort.only_second):,} in the second alone"
        )
        rows = [(row, "") for row in sort.differ]
        rows += [(row, "only in the first: ") for row in sort.only_first]
        rows += [(row, "only in the second: ") for row in sort.only_second]
        for row, lead in rows[:MOST_SHOWN]:
            lines += _WORDS[name](row, lead)
        if len(rows) > MOST_SHOWN:
            lines.append(f"  and {len(rows) - MOST_SHOWN:,} more: --json has all of them")
    return "\n".join(lines)


def _visit_words(row: Row, lead: str) -> list[str]:
    until = row["exit_at"] or "the end"
    title = f"  {lead}{row['subject']} in {row['place']}, {row['enter_at'] or 'ever'} to {until}"
    if "changes" not in row:
        because = ", ".join(f"{key} {_brief(value)}" for key, value in row["because"].items())
        return [
            title,
            f"      because {because or 'nothing is told'}",
            f"      the other has {row['instead']}",
        ]
    lines = [title]
    for change in row["changes"]:
        before, after = change["first"], change["second"]
        lines.append(f"      {change['what']}: {before or 'none'} -> {after or 'none'}")
        if change["because"]:
            lines.append(f"          because {_both(change['because'])}")
    return lines


def _decision_words(row: Row, lead: str) -> list[str]:
    title = f"  {lead}{row['person']}, {row['campaign']}, for {row['subject']} in {row['place']}"
    if "why" in row:
        return [f"{title}: {_verdict(row)}", f"      {row['why']}"]
    lines = [f"{title}: {_verdict(row['first'])} -> {_verdict(row['second'])}"]
    gate = row["gate"]
    if gate is not None:
        said = {True: "passed", False: "failed", None: "not asked"}
        before, after = said[gate["first"]], said[gate["second"]]
        answers = f"{before} both times" if before == after else f"{before} -> {after}"
        lines.append(f"      first gate that differs: {gate['gate']}, {answers}")
        if gate["because"]:
            lines.append(f"          because {_both(gate['because'])}")
    return lines


def _delivery_words(row: Row, lead: str) -> list[str]:
    title = f"  {lead}{row['person']}, {row['campaign']}, by {row['channel']}"
    if lead:
        return [f"{title}: {row['outcome']}"]
    return [f"{title}: {_both(row['changes'])}"]


_WORDS = {
    "visits": _visit_words,
    "passes": _visit_words,
    "decisions": _decision_words,
    "deliveries": _delivery_words,
}


def _verdict(row: Row) -> str:
    words = f"{row['decision']} {row['reason'] or ''}".strip()
    variant = f", variant {row['variant']}" if "variant" in row else ""
    put_off = f", put off until {row['put_off_until']}" if "put_off_until" in row else ""
    return f"{words}{variant}{put_off} at {row['at']}"


def _both(unlike: Row) -> str:
    return ", ".join(
        f"{key} {_brief(first)} -> {_brief(second)}" for key, (first, second) in unlike.items()
    )


def _brief(value: Any) -> str:
    """One value in at most 120 characters."""
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text if len(text) <= 120 else f"{text[:119]}…"
