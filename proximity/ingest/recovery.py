"""Where was the engine when it stopped? A snapshot and the journal rows after it, folded.

The same after a clean stop and after a power cut. Reads the store and changes nothing in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec
import structlog

from proximity.engine.intake import Intake
from proximity.ingest.admission import carrier
from proximity.ingest.fold import Fold, before
from proximity.ingest.remembering import recall, records_of
from proximity.model import ProximityError, Record, Sighting
from proximity.store import journal

if TYPE_CHECKING:
    from sqlalchemy import Connection

log = structlog.get_logger(__name__)


EDITS: tuple[journal.Kind, ...] = ("fences", "site", "enrolments", "forget")
"""The rows that change what records are judged by."""

# So many records are folded at once: 15,000 took 0.72 s of a processor by rows of five, 0.2 s by
# 250 and 0.13 s by a thousand; five thousand were no faster.
TOGETHER = 2_000


class _FailedTogetherError(Exception):
    """The engine failed on records of several rows, and more than one may be missing of them."""


class Recovered(msgspec.Struct, frozen=True):
    """What a start goes on from.

    ``rows`` are those whose outputs were never written, with their records: ``fold`` has not had
    them yet, and whoever applies them writes their outputs. ``position`` is the last one used,
    ``now`` the latest time told (Unix seconds), ``snapshot`` the one begun from, and ``records``
    how many the fold has had after it.
    """

    fold: Fold
    intake: Intake
    rows: list[tuple[journal.Row, list[Record]]]
    position: int
    now: float
    snapshot: tuple[int, float]
    records: int


def recover(
    connection: Connection, *, decide: Literal["robust", "point"], late_s: float
) -> Recovered:
    """Rebuild engine and intake from the store.

    It takes 10 µs of a processor for each record since the snapshot, 2 µs for each that no piece of
    ``remembering`` covers, and 0.2 µs for each that came within ``late_s`` (measured).

    Raises ProximityError or GeofenceError where the site or a fence in force cannot be read any
    more.
    """
    try:
        return _recover(connection, decide, late_s, together=TOGETHER)
    except _FailedTogetherError:
        # As when they came: what is passed over then is the rest of one row, and no more.
        return _recover(connection, decide, late_s, together=0)


def _recover(
    connection: Connection, decide: Literal["robust", "point"], late_s: float, *, together: int
) -> Recovered:
    """Rebuild engine and intake; the records of rows in succession are folded ``together``.

    So many at least, where there are; each row by itself with 0. Raises _FailedTogetherError
    where the engine fails on some.
    """
    position, now = journal.end(connection)
    evaluated = journal.evaluated(connection)
    fold, snapshot = _begin(connection, decide, late_s)
    intake, covered = recall(connection, late_s, since=now - late_s)
    rows: list[tuple[journal.Row, list[Record]]] = []
    last: journal.Row | None = None
    joined: list[Record] = []
    behind = 0
    for row in journal.rows_after(connection, min(covered, fold.position)):
        ahead = row.position > fold.position
        recent = row.position > covered and row.now >= now - late_s
        records = records_of(row) if recent or ahead else []
        for record in records if recent else ():
            intake.admit(
                record, carrier(record, fold.site) if isinstance(record, Sighting) else None
            )
        if ahead and row.position <= evaluated:
            behind += len(records)
            if together and records:
                joined += records
                last = row
                if len(joined) >= together:
                    _fold(fold, last, joined)
            else:
                _fold(fold, last, joined)
                fold.apply(row, records or None)
        elif ahead:
            rows.append((row, records))
    _fold(fold, last, joined)
    return Recovered(fold, intake, rows, position, now, snapshot, behind)


def _fold(fold: Fold, last: journal.Row | None, joined: list[Record]) -> None:
    """Fold the records of the rows up to ``last`` at once, and leave none of them waiting."""
    if last is not None and joined:
        fold.apply(last, joined, step=len(joined))
        joined.clear()
        if fold.fault is not None:
            raise _FailedTogetherError from fold.fault


def _begin(
    connection: Connection, decide: Literal["robust", "point"], late_s: float
) -> tuple[Fold, tuple[int, float]]:
    """Begin from the newest snapshot that can be read, else from the first row there is."""
    fences = journal.fences_in_force(connection)
    site = journal.site_in_force(connection)
    enrolled = journal.entries_in_force(connection)
    for snapshot in journal.snapshots(connection):
        edits = journal.rows_after(connection, snapshot.position, kinds=EDITS)
        then = before(list(edits), fences, site, enrolled)
        try:
            fold = Fold(*then, decide=decide, late_s=late_s, snapshot=snapshot)
        except ProximityError as error:
            log.warning("a snapshot cannot be used", position=snapshot.position, reason=str(error))
            continue
        return fold, (snapshot.position, snapshot.now)
    edits = journal.rows_after(connection, 0, kinds=EDITS)
    then = before(list(edits), fences, site, enrolled)
    return Fold(*then, decide=decide, late_s=late_s), (0, 0.0)
