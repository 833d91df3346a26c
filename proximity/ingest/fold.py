"""What does a journal row do to the engine? State is the fold of the rows, and of nothing else.

Running and recovering both go through ``Fold.apply``, so they cannot differ. Knows rows, fences,
site and engine; no clock, no disk, no consequences of a transition.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

import geofences
from proximity.engine.engine import Engine
from proximity.ingest.edits import decode_changes, read_edit, read_features
from proximity.ingest.told import take
from proximity.site.enrolment import Enrolments, concerned
from proximity.site.enrolment import decode_changes as decode_entries
from proximity.site.registry import Site
from proximity.site.sitefile import parse_site
from proximity.store import journal
from proximity.store.journal import Entries, Forgetting, Row, SiteChange, SiteText, StoredFence

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Literal

    from proximity.ingest.edits import FenceEdit
    from proximity.ingest.told import Did
    from proximity.model import Record, Transition
    from proximity.store.journal import EntryChange

# So many records are applied before others get their turn: some ten milliseconds.
STEP = 250
# And so many fences: a circle takes some 0.05 ms, a drawn outline up to ten times that.
FENCE_STEP = 100

_site_change = msgspec.msgpack.Decoder(SiteChange)
# A list alone is what rows held before tags were enrolled over HTTP.
_forgetting = msgspec.msgpack.Decoder(list[str] | Forgetting)


class Fold:
    """The engine, its index of fences and its site, as all rows up to ``position`` left them.

    ``now`` is that row's time (Unix seconds).
    """

    def __init__(
        self,
        fences: Mapping[str, StoredFence],
        site: SiteText | None,
        enrolled: Entries | None = None,
        *,
        decide: Literal["robust", "point"],
        late_s: float,
        snapshot: journal.Snapshot | None = None,
    ) -> None:
        self.fences = dict(fences)
        self.site_text = site
        self.enrolments = Enrolments(enrolled)
        self.fixed = _parse(site)
        self.site = self.enrolments.join(self.fixed)
        self.index = geofences.FenceIndex(read_features(fence.feature for fence in fences.values()))
        self.position, self.now = 0, 0.0
        self.fault: Exception | None = None
        if snapshot is None:
            self.engine = Engine(self.index, self.site, decide, late_s, admitted=True)
        else:
            self.engine = Engine.restore(snapshot.state, self.index, self.site, late_s=late_s)
            self.position, self.now = snapshot.position, snapshot.now

    def apply(
        self, row: Row, records: Sequence[Record] | None = None, *, step: int = STEP
    ) -> list[Transition | Did]:
        """Apply the next row; ``records`` are its records where they are at hand already.

        Those of rows just before it may be among them: ``step`` at once, so many rows cost less,
        and leave the same unless ``fault`` is set.
        """
        return [found for part in self.steps(row, records, step=step) for found in part]

    def steps(
        self,
        row: Row,
        records: Sequence[Record] | None = None,
        edit: FenceEdit | None = None,
        step: int = STEP,
    ) -> Iterator[Sequence[Transition | Did]]:
        """Apply the next row step by step, so that others get their turn during a large one.

        ``records``, or ``edit``, is what its payload holds where that is at hand already.
        A row that the engine fails on would fail every start as well: the rest of it is passed
        over, and ``fault`` is set.
        """
        self.fault = None
        try:
            yield from self._steps(row, records, edit, step)
        except Exception as error:  # noqa: BLE001 - whatever it is, the next row still counts
            self.fault = error
        self.position, self.now = row.position, row.now

    def _steps(
        self, row: Row, records: Sequence[Record] | None, edit: FenceEdit | None, step: int
    ) -> Iterator[Sequence[Transition | Did]]:
        if row.kind == "records":
            if records is None:
                records = journal.decode_records(row.payload)
            for start in range(0, len(records), step):
                yield from take(self.engine, records[start : start + step])
        elif row.kind == "tick":
            yield self.engine.advance(row.now)
        elif row.kind == "fences":
            yield from self._change_fences(edit or read_edit(decode_changes(row.payload)))
            yield self.engine.advance(row.now)
        elif row.kind == "site":
            self.site_text = _site_change.decode(row.payload).after
            self.fixed = _parse(self.site_text)
            self.site = self.enrolments.join(self.fixed)
            self.engine.replace_site(self.site)
            yield self.engine.advance(row.now)
        elif row.kind == "enrolments":
            self._change_entries(decode_entries(row.payload))
            yield self.engine.advance(row.now)
        else:
            erased = _forgets(row.payload)
            for subject in erased.subjects:
                yield self.engine.forget(subject, row.now)
            if erased.changes:
                self._change_entries(erased.changes)
                yield self.engine.advance(row.now)

    def _change_entries(self, changes: Sequence[EntryChange]) -> None:
        """Change what is enrolled; the next record is judged by the site with it."""
        doubted = concerned(changes, self.site)
        self.enrolments.change(changes)
        self.site = self.enrolments.join(self.fixed)
        self.engine.replace_site(self.site, doubted)

    def _change_fences(self, edit: FenceEdit) -> Iterator[list[Transition]]:
        """Change the index in steps; the engine looks at it when all of them are done."""
        for start in range(0, len(edit.puts), FENCE_STEP):
            for fence in edit.puts[start : start + FENCE_STEP]:
                self.index.put(fence)
            yield []
        gone = [change.id for change in edit.changes if change.after is None]
        for start in range(0, len(gone), FENCE_STEP):
            for fence_id in gone[start : start + FENCE_STEP]:
                self.index.remove(fence_id)
            yield []
        for change in edit.changes:
            if change.after is None:
                self.fences.pop(change.id, None)
            else:
                self.fences[change.id] = change.after


def before(
    rows: Sequence[Row],
    fences: Mapping[str, StoredFence],
    site: SiteText | None,
    enrolled: Mapping[tuple[journal.EntryKind, str], str] | None = None,
) -> tuple[dict[str, StoredFence], SiteText | None, Entries]:
    """Take the changes of ``rows`` back: what was in force before the first of them.

    ``fences``, ``site`` and ``enrolled`` are those in force after the last. Rows of other kinds
    change none of them.
    """
    found, entries = dict(fences), dict(enrolled or {})
    for row in reversed(rows):
        if row.kind == "site":
            site = _site_change.decode(row.payload).before
        elif row.kind == "fences":
            for change in decode_changes(row.payload):
                if change.before is None:
                    found.pop(change.id, None)
                else:
                    found[change.id] = change.before
        elif row.kind in {"enrolments", "forget"}:
            for edit in _edits(row):
                if edit.before is None:
                    entries.pop(edit.name, None)
                else:
                    entries[edit.name] = edit.before
    return found, site, entries


def _edits(row: Row) -> Sequence[EntryChange]:
    """Give what a row changes of the entries; one that cannot be read was passed over."""
    try:
        if row.kind == "enrolments":
            return decode_entries(row.payload)
        return _forgets(row.payload).changes
    except msgspec.DecodeError:
        return ()


def _forgets(payload: bytes) -> Forgetting:
    found = _forgetting.decode(payload)
    return found if isinstance(found, Forgetting) else Forgetting(found)


def _parse(site: SiteText | None) -> Site:
    return Site() if site is None else parse_site(site.text, site.name, site.beacons)
