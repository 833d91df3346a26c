"""Where the engine was: rows folded together leave what they left one by one, faults included."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from proximity.engine.engine import Engine
from proximity.ingest import recovery
from proximity.ingest.recovery import Recovered, recover
from proximity.model import Event, Record, Transition
from proximity.store import Store, journal
from tests.proximity.test_ingest import INSIDE, OUTSIDE, START, Clock, Rig
from tests.street import fix

Decide = Literal["robust", "point"]


def recovered(store: Store, decide: Decide) -> Recovered:
    return store.read(partial(recover, decide=decide, late_s=3600.0))


async def crashed(path: Path, decide: Decide) -> tuple[Rig, bytes]:
    """Have people come and go for a while, some of them late; give what the engine made of it."""
    rig = await Rig(path, Clock(), decide=decide).started()
    for number in range(24):
        now = rig.clock.now = START + 2.0 * number
        if number == 8:
            await rig.save()
        spot = INSIDE if number % 12 < 7 else OUTSIDE
        batch: list[Record] = [fix(now, *spot, subject=f"u{n}") for n in range(4)]
        batch.append(fix(now - 12.0, *INSIDE, subject="late"))
        if number % 6 == 5:
            batch.append(Event(subject="u1", at=now, name="open"))
        await rig.ingest.accept(batch)
        if number % 5 == 4:
            await rig.ingest.look()
        if number == 14:
            await rig.ingest.forget(["u3"])
        await rig.settled()
    state = rig.ingest.engine.snapshot()
    rig.crash()
    return rig, state


@pytest.mark.parametrize("decide", ["robust", "point"])
async def test_how_many_rows_are_folded_at_once_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decide: Decide
) -> None:
    rig, state = await crashed(tmp_path / "engine.db", decide)
    taken: list[int] = []
    on_records = Engine.on_records

    def counted(self: Engine, records: Sequence[Record]) -> list[Transition]:
        taken.append(len(records))
        return on_records(self, records)

    monkeypatch.setattr(Engine, "on_records", counted)
    store = Store.open(rig.path)
    calls = []
    for together in (0, 1, 13, 2_000):
        monkeypatch.setattr(recovery, "TOGETHER", together)
        taken.clear()
        found = recovered(store, decide)
        calls.append(len(taken))
        assert found.fold.engine.snapshot() == state
        assert (found.fold.position, found.rows) == (rig.ingest._backlog.position, [])
        assert found.records == sum(taken) == 16 * 5 + 3
    assert calls[0] == calls[1] > calls[2] > calls[3]
    store.close()


async def test_where_the_engine_fails_on_a_row_the_others_have_their_effect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_records = Engine.on_records

    def failing(self: Engine, records: Sequence[Record]) -> list[Transition]:
        for number, record in enumerate(records):
            if record.subject == "poison":
                on_records(self, records[:number])
                raise KeyError("canary")
        return on_records(self, records)

    monkeypatch.setattr(Engine, "on_records", failing)
    rig = await Rig(tmp_path / "engine.db", Clock()).started()
    for number in range(9):
        now = rig.clock.now = START + number
        batch = [fix(now, *INSIDE, subject=name) for name in (f"before-{number}", f"u{number}")]
        if number == 4:
            batch.insert(1, fix(now, *INSIDE, subject="poison"))
        await rig.ingest.accept(batch)
        await rig.settled()
    state = rig.ingest.engine.snapshot()
    rig.crash()
    store = Store.open(rig.path)
    found = recovered(store, "point")
    assert found.fold.engine.snapshot() == state
    assert found.fold.engine.subjects == 17  # of 18, without whose record stood behind it
    assert found.records == 19
    store.close()


async def test_a_snapshot_that_is_not_needed_is_not_read(tmp_path: Path) -> None:
    rig, _ = await crashed(tmp_path / "engine.db", "point")
    store = Store.open(rig.path)
    position = store.read(journal.last)

    def keep(connection: Connection, number: int) -> None:
        state = recovered(store, "point").fold.engine.snapshot()
        journal.save_snapshot(connection, journal.Snapshot(position + number, START, state))

    for number in (0, 1):
        store.write(partial(keep, number=number)).result()
    asked: list[Any] = []

    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, *_more: Any) -> None:
        if "snapshot_pieces.state" in statement:
            asked.append(parameters)

    sa.event.listen(store._engine, "before_cursor_execute", note)
    found = recovered(store, "point")
    assert found.snapshot == (position + 1, START)
    assert asked == [(position + 1,)]
    store.close()
