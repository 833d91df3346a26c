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

    It takes 70 µs of a processor for each record since the snapshot, 2 µs for each that no piece of
    ``remembering`` covers, and 0.4 µs for each that came within ``late_s`` (measured).

    Raises ProximityError or GeofenceError where the site or a fence in force cannot be read any
    more.
    """
    position, now = journal.end(connection)
    evaluated = journal.evaluated(connection)
    fold, snapshot = _begin(connection, decide, late_s)
    intake, covered = recall(connection, late_s, since=now - late_s)
    rows: list[tuple[journal.Row, list[Record]]] = []
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
            fold.apply(row, records or None)
            behind += len(records)
        elif ahead:
            rows.append((row, records))
    return Recovered(fold, intake, rows, position, now, snapshot, behind)


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
