"""The engine's state is the fold of the journal: from any snapshot, the same to the last byte."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from proximity.ingest.fold import Fold, before
from proximity.model import Record, Transition
from proximity.store import journal
from proximity.store.journal import (
    Entries,
    EntryChange,
    EntryKind,
    FenceChange,
    Forgetting,
    Row,
    SiteChange,
    SiteText,
    Snapshot,
    StoredFence,
)
from tests.street import SITE, STREET, UUID, fix, heard

START = 1_767_225_600.0
Decide = Literal["robust", "point"]

FEATURES = {one["id"]: StoredFence(msgspec.json.encode(one).decode(), "http") for one in STREET}
SITES = [None, SiteText("site.toml", SITE), SiteText("site.toml", SITE + "\n[[place]]\nid='x'\n")]

ENTRIES: Entries = {
    ("place", "cafe/bar"): '{"id":"cafe/bar","parent":"cafe","exit_after_s":25}',
    ("gateway", "gw-more"): '{"id":"gw-more","place":"kiosk"}',
    ("beacon", "card"): f'{{"id":"card","uuid":"{UUID}","major":1,"minor":1,"subject":"s1"}}',
    ("beacon", "cards"): f'{{"id":"cards","uuid":"{UUID}","subject":"s0"}}',
}

spots = st.sampled_from(
    [
        (20, 25),
        (20, 12),
        (41, 20),
        (55, 25),
        (-60, 0),
        (-60, 30),
        (-100, -100),
        (40, -90),
        (300, 300),
    ]
)
subjects = st.sampled_from(["s0", "s1"])
seconds = st.integers(0, 400).map(lambda half: half / 2)


@st.composite
def records(draw: st.DrawFn) -> Record:
    """A record of up to 200 s ago; when it is received is for the row to say."""
    ago = draw(seconds)
    if draw(st.integers(0, 3)) == 0:
        return heard(START - ago, draw(st.sampled_from(["gw-bar", "gw-terrace", "unknown"])))
    east, north = draw(spots)
    return fix(START - ago, east, north, draw(subjects))


inputs = st.one_of(
    st.tuples(st.just("records"), st.lists(records(), min_size=1, max_size=8)),
    st.tuples(st.just("tick"), st.none()),
    st.tuples(st.just("fences"), st.sets(st.sampled_from(sorted(FEATURES)), min_size=1)),
    st.tuples(st.just("site"), st.sampled_from(SITES)),
    st.tuples(st.just("forget"), subjects),
    st.tuples(st.just("enrolments"), st.sets(st.sampled_from(sorted(ENTRIES)), min_size=1)),
)
steps = st.lists(st.tuples(st.sampled_from([0.0, 1.0, 30.0, 61.0, 600.0]), inputs), max_size=25)


def rows_of(
    found: list[Any],
) -> tuple[list[Row], dict[str, StoredFence], SiteText | None, Entries]:
    """Write the journal of these inputs; give it and what is in force at its end."""
    rows: list[Row] = []
    fences: dict[str, StoredFence] = {}
    site: SiteText | None = None
    entries: Entries = {}
    now = START

    def changed(names: Iterable[tuple[EntryKind, str]]) -> list[EntryChange]:
        """Enrol each that was away, remove each that was there."""
        changes = []
        for kind, name in sorted(names):
            before = entries.pop((kind, name), None)
            if before is None:
                entries[kind, name] = ENTRIES[kind, name]
            changes.append(EntryChange(kind, name, before, entries.get((kind, name))))
        return changes

    for position, (passed, (kind, what)) in enumerate(found, 1):
        now += passed
        payload = b""
        if kind == "records":
            ahead = now - START
            payload = journal.encode_records(
                [msgspec.structs.replace(one, at=one.at + ahead, received_at=now) for one in what]
            )
        elif kind == "fences":  # each of them is put if it was away, else removed
            changes = []
            for name in sorted(what):
                after = None if name in fences else FEATURES[name]
                changes.append(FenceChange(name, fences.get(name), after))
                if after is None:
                    del fences[name]
                else:
                    fences[name] = after
            payload = msgspec.msgpack.encode(changes)
        elif kind == "site":
            payload = msgspec.msgpack.encode(SiteChange(site, what))
            site = what
        elif kind == "enrolments":
            payload = msgspec.msgpack.encode(changed(what))
        elif kind == "forget":
            gone = [("beacon", "card")] if what == "s1" and ("beacon", "card") in entries else []
            payload = msgspec.msgpack.encode(Forgetting([what], changed(gone)))
        rows.append(Row(position=position, kind=kind, now=now, version="", payload=payload))
    return rows, fences, site, entries


def run(fold: Fold, rows: list[Row]) -> list[Transition]:
    out = []
    for row in rows:
        out += fold.apply(row)
        assert fold.fault is None
    return out


@settings(deadline=None, max_examples=100)
@given(steps, st.data(), st.sampled_from(["robust", "point"]))
def test_from_any_snapshot_the_journal_gives_the_live_state(
    found: list[Any], data: st.DataObject, decide: Decide
) -> None:
    # Every run begins with the whole street, so that there is somewhere to be.
    begin = [(0.0, ("site", SITES[1])), (0.0, ("fences", set(FEATURES)))]
    rows, fences, site, entries = rows_of(begin + found)
    live = Fold({}, None, decide=decide, late_s=300.0)
    cut = data.draw(st.integers(0, len(rows)))
    run(live, rows[:cut])
    snapshot = Snapshot(live.position, live.now, live.engine.snapshot())
    told = run(live, rows[cut:])

    assert live.fences == fences
    assert live.enrolments.records == entries
    then = before(rows[cut:], fences, site, entries)
    again = Fold(*then, decide=decide, late_s=300.0, snapshot=snapshot)
    assert again.engine.snapshot() == snapshot.state
    assert run(again, rows[cut:]) == told
    assert again.engine.snapshot() == live.engine.snapshot()
    assert (again.fences, again.site_text, again.position) == (fences, site, len(rows))
    assert {one.id for one in again.index} == {one.id for one in live.index} == set(fences)


@settings(deadline=None, max_examples=30)
@given(st.lists(records(), min_size=1, max_size=40))
def test_records_travel_through_the_journal_unchanged(found: list[Record]) -> None:
    assert journal.decode_records(journal.encode_records(found)) == found
