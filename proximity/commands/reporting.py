"""``proximity report``: what happened, in numbers of which nobody can be picked out."""

from __future__ import annotations

import time
import urllib.parse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from proximity.commands.questions import echo_json, where

if TYPE_CHECKING:
    from proximity.reports.reports import Reported


@click.command("report")
@where
@click.argument("name", metavar="REPORT")
@click.option(
    "--last", type=click.IntRange(1, 400), default=7, show_default=True,
    help="How many days or weeks, newest first; only those that are over.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="All of it as one JSON object.")
def report(
    data: Path | None, server: str | None, token: str | None, name: str, last: int, *,
    as_json: bool,
) -> None:  # fmt: skip
    """Print a REPORT: visits (daily), funnel, spend (by channel), fatigue, consents (weekly).

    Numbers are told without their last digit: 20 is 20 to 29, and fewer than ten are left out.
    """
    from proximity.commands.asking import Http, open_either
    from proximity.reports.reports import Reported, read_report

    with open_either(data, server, token) as there:
        if isinstance(there, Http):
            path = f"/v1/reports/{urllib.parse.quote(name, safe='')}"
            body = there.ask("GET", path, {"last": str(last)})
            found = msgspec.json.decode(body or b"", type=Reported)
        else:
            found = read_report(there, name, time.time(), last)
    if as_json:
        echo_json(found)
    else:
        for line in _lines(found):
            click.echo(line)


def _lines(found: Reported) -> list[str]:
    """Write a report as text: a heading for each day or week, and a line for each row."""
    lines = [f"{found.about}; without the last digit, and none of fewer than {found.least}"]
    for period in found.periods:
        lines.append(f"{period.begin[:10]} to {period.end[:10]}")
        if period.rows is None:
            lines.append("  not made in time: what it counts may be gone")
        elif not period.rows:
            lines.append("  nothing of ten people or more")
        lines += [f"  {_row(row)}" for row in period.rows or ()]
    return lines


def _row(row: dict[str, Any]) -> str:
    """Write a row: what it is about, then its numbers."""
    (_, about), *numbers = row.items()
    said = [
        f"{name}: {_numbers(value) if isinstance(value, dict) else _number(value)}"
        for name, value in numbers
        if value != {}
    ]
    return f"{about}  {'  '.join(said)}"


def _numbers(values: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in values.items())


def _number(value: float | None) -> str:
    return "fewer than ten" if value is None else f"{value:,}"


COMMANDS = (report,)
