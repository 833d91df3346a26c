"""What stands in a store that should not, and how much of what is there? Counts and problems only.

Reads; what is past its time ``retention`` deletes, what is begun ``erasing`` finishes. It holds no
id of anybody, so that whoever runs the place may show it to whoever asks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import sqlalchemy as sa

from proximity.privacy import datamap, retention
from proximity.privacy.notices import notices
from proximity.store import schema

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from sqlalchemy import Connection


__all__ = ["PrivacyReport", "TableReport", "render", "report", "search"]

_CHUNK = 16 * 2**20


class TableReport(msgspec.Struct, frozen=True, kw_only=True):
    """One table: its rows, the rules they are kept by, and how many are past them."""

    table: str
    rows: int
    kept: tuple[str, ...]
    past: int


class PrivacyReport(msgspec.Struct, frozen=True, kw_only=True):
    """All tables, erasures by state, and what is wrong, a line each."""

    tables: tuple[TableReport, ...]
    erasures: dict[str, int]
    problems: tuple[str, ...]


def report(connection: Connection, now: float, days: Mapping[str, float]) -> PrivacyReport:
    """Count what is kept at Unix second ``now``, and say what should not be."""
    past = retention.overdue(connection, now, days)
    tables = []
    for table in sorted(schema.metadata.tables.values(), key=lambda one: one.name):
        rows = connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0
        tables.append(
            TableReport(
                table=str(table.name),
                rows=rows,
                kept=tuple(table.info["retention"].split()),
                past=past.get(table.name, (0, 0.0))[0],
            )
        )
    erasures = schema.erasures
    begun, done = connection.execute(
        sa.select(sa.func.count(erasures.c.pending), sa.func.count(erasures.c.receipt))
    ).one()
    told = notices(connection)
    waiting = [one for one in told if one.acknowledged_at is None]
    problems = datamap.lint()
    problems += [
        f"{one.table}: {one.past} rows are past their time: `proximity privacy sweep`, or run the "
        "server"
        for one in tables
        if one.past
    ]
    if begun:
        problems.append(f"{begun} erasures are begun and not finished: run the server")
    problems += [
        f"erasure {one.erasure}: processor {one.processor!r} has not said that it is done"
        for one in waiting
    ]
    return PrivacyReport(
        tables=tuple(tables),
        erasures={"begun": begun, "done": done, "unacknowledged": len(waiting)},
        problems=tuple(problems),
    )


def search(folder: Path, ids: Iterable[str]) -> list[str]:
    """Search every file of a folder for ids, byte by byte; say which file holds which, by number.

    The ids themselves are not repeated: what this says may end in a log.
    """
    needles = [(number, one.encode()) for number, one in enumerate(ids, start=1) if one]
    longest = max((len(needle) for _, needle in needles), default=0)
    found: list[str] = []
    for path in sorted(folder.rglob("*")):
        if not path.is_file():
            continue
        held: set[int] = set()
        with path.open("rb") as stream:
            tail = b""
            while chunk := stream.read(_CHUNK):
                held |= {number for number, needle in needles if needle in tail + chunk}
                tail = chunk[-longest:]
        found += [f"{path.name} holds id number {number}" for number in sorted(held)]
    return found


def render(found: PrivacyReport) -> str:
    """Write a report as a table for a person."""
    lines = [f"{'table':<18} {'rows':>10} {'past':>8}  kept"]
    lines += [
        f"{one.table:<18} {one.rows:>10} {one.past:>8}  {', '.join(one.kept)}"
        for one in found.tables
    ]
    lines.append(
        "erasures: " + ", ".join(f"{count} {name}" for name, count in found.erasures.items())
    )
    return "\n".join([*lines, *found.problems])
