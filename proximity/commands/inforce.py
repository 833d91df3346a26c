"""What does a store hold of the engine's world, for whoever asks beside a server or without one?

Fences and site in force, what is known of places, who may be processed, and the records of one
subject that the journal still has. Reads; changes nothing and judges nothing.
"""

from __future__ import annotations

import math
from collections import deque
from functools import cached_property
from typing import TYPE_CHECKING

import msgspec
import sqlalchemy as sa

from geofences import FenceIndex
from proximity.engine.layout import Layout
from proximity.engine.nearmiss import MOST_RECORDS, Recent, look
from proximity.engine.trail import order
from proximity.ingest.edits import read_features
from proximity.model import Event, Fix, Sighting
from proximity.site.enrolment import Enrolments
from proximity.site.places import Places
from proximity.site.registry import Site
from proximity.site.sitefile import parse_site
from proximity.store import journal, schema

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

    from proximity.model import Record

# A fix and what it was judged by may be told apart in time by as much as a record may be late.
LOOK_BACK_S = 3600.0


class InForce:
    """The fences and the site in force in a store, read when they are first asked for."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @cached_property
    def site(self) -> Site:
        """The site file that was last given, joined with what was enrolled since."""
        text = journal.site_in_force(self._connection)
        fixed = Site() if text is None else parse_site(text.text, text.name, text.beacons)
        return Enrolments(journal.entries_in_force(self._connection)).join(fixed)

    @cached_property
    def index(self) -> FenceIndex:
        """The fences."""
        fences = journal.fences_in_force(self._connection)
        return FenceIndex(read_features(fence.feature for fence in fences.values()))

    @cached_property
    def places(self) -> Places:
        """What is known of each place besides where it is."""
        return Places(self.index, self.site)

    def near(self, subject: str, until: float | None = None) -> Recent:
        """Tell how near a subject came to places until Unix second ``until`` (None: the last).

        By the records that the journal still has; a running server's engine may know more.
        """
        newest: deque[Fix | Sighting] = deque(maxlen=MOST_RECORDS)
        for record in self._records(math.inf if until is None else until):
            whose = record.subject
            if isinstance(record, Sighting):
                spoken = self.site.who(record)
                whose = None if spoken is None else spoken[0]
            if whose == subject and not isinstance(record, Event):
                newest.append(record)
        return look(subject, sorted(newest, key=order), Layout(self.index, self.site))

    def _records(self, until: float) -> Iterator[Record]:
        """Give the records that came before a time and not long before it, in order of arrival."""
        table = schema.journal
        came = until
        if until == math.inf:
            newest = sa.select(sa.func.max(table.c.now)).where(table.c.kind == "records")
            came = self._connection.scalar(newest) or 0.0
        rows = sa.select(table.c.payload).where(
            table.c.kind == "records", table.c.now > came - LOOK_BACK_S
        )
        for payload in self._connection.scalars(rows.order_by(table.c.position)):
            try:
                records = journal.decode_records(payload)
            except msgspec.MsgspecError:
                continue
            yield from (record for record in records if record.at <= until)
