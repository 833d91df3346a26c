"""The way from a batch to its consequences, and back after a stop, on every kind of store."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from proximity.dispatch import queue
from proximity.ingest.ingest import Receipt
from proximity.store import journal
from tests.proximity.test_ingest import INSIDE, OUTSIDE, START, Rig
from tests.street import STREET, feature, fences, fix


async def test_records_edits_and_recovery(target: str) -> None:
    rig = await Rig(cast("Path", target)).started()
    (stall,) = fences(feature("stall", STREET[2]["geometry"], radius_m=25))
    await rig.ingest.edit_fences([stall])
    await rig.ingest.accept([fix(START, *INSIDE), fix(START, -60, 0, subject="s1")])
    await rig.ingest.accept([fix(START + 1, *OUTSIDE)])
    await rig.ingest.edit_fences([], ["stall"])
    await rig.ingest.forget(["s1"])
    await rig.settled()
    told = rig.told()
    assert told == [
        ("enter", "cafe"),
        ("enter", "kiosk"),
        ("enter", "stall"),
        ("exit", "cafe"),
        ("exit", "stall"),
        ("exit", "kiosk"),
    ]
    assert rig.rows == rig.ledger()
    assert rig.store.read(queue.depth) == 1
    state = rig.ingest.engine.snapshot()
    await rig.save()
    rig.clock.now += 10_000.0
    await rig.tidy()
    assert rig.journal() == []
    if target != ":memory:":
        rig.crash()
        rig = await rig.again()
        assert rig.ingest.engine.snapshot() == state
        assert rig.told() == told
        assert set(rig.store.read(journal.fences_in_force)) == {one["id"] for one in STREET}
    assert await rig.ingest.accept([fix(rig.clock.now, *INSIDE)]) == Receipt(accepted=1)
    await rig.stop()
