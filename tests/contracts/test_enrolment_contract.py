"""What is enrolled over HTTP survives every way to stop, on every kind of store."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import msgspec
import pytest

from proximity.ingest import gatewayclocks
from proximity.ingest.redating import Run
from proximity.model import Consent, ProximityError
from proximity.site import gatewaysecrets
from proximity.site.enrolment import EntryFixed
from proximity.site.registry import Enrolled, Gateway, Place
from proximity.store import Store, journal
from tests.proximity.test_ingest import START, Rig
from tests.street import UUID, heard

TAG = Enrolled(key=("ibeacon", UUID, 1, 5), subject="card", id="card")
YARD = Place(id="yard", exit_after_s=20.0)
GATE = Gateway(id="gw-yard", place="yard")


async def test_edits_and_recovery(target: str) -> None:
    rig = await Rig(cast("Path", target), decide="robust").started()
    await rig.ingest.edit_entries([YARD, GATE, TAG])
    records = [heard(START + n, "gw-yard", minor=5) for n in range(5)]
    await rig.ingest.accept(records)
    await rig.settled()
    assert rig.told() == [("enter", "yard")]
    with pytest.raises(EntryFixed):
        await rig.ingest.edit_entries([], [("place", "yard")])
    with pytest.raises(ProximityError, match="is neither a fence nor"):
        await rig.ingest.edit_entries([Gateway(id="g", place="nowhere")])
    state, site = rig.ingest.engine.snapshot(), rig.ingest.site
    assert rig.ingest.enrolments.records == rig.store.read(journal.entries_in_force)
    if target != ":memory:":
        # A power cut: everything from the first row on.
        rig.crash()
        rig = await rig.again()
        assert rig.ingest.site == site
        assert rig.ingest.engine.snapshot() == state
        # A snapshot, edits behind it, and a power cut again.
        await rig.save()
        await rig.ingest.edit_entries([Place(id="yard", exit_after_s=40.0)])
        await rig.ingest.forget(["card"], tags=True)
        await rig.settled()
        state = rig.ingest.engine.snapshot()
        rig.crash()
        rig = await rig.again()
        assert rig.ingest.engine.snapshot() == state
        assert rig.ingest.site.places["yard"].exit_after_s == 40.0
    else:
        await rig.ingest.forget(["card"], tags=True)
        await rig.settled()
    assert rig.ingest.site.beacons == ()
    assert rig.told() == [("enter", "yard"), ("exit", "yard")]
    assert set(rig.store.read(journal.entries_in_force)) == {
        ("gateway", "gw-yard"),
        ("place", "yard"),
    }
    await rig.stop()


async def test_whoever_enrols_is_enrolled_with_it_or_not_at_all(target: str) -> None:
    rig = await Rig(cast("Path", target), consent="required").started()
    yes = (Consent(purpose="service"),)

    def enrol(person: str) -> None:
        rig.store.write(
            lambda c: rig.people.enrol(c, [(person, "card", yes)], source="test")
        ).result()

    enrol("ann")
    with pytest.raises(ProximityError, match="somebody else's"):
        await rig.ingest.edit_entries(
            [TAG], also=lambda c: rig.people.enrol(c, [("bob", "card", yes)], source="test")
        )
    assert rig.ingest.site.beacons == ()
    assert rig.store.read(journal.entries_in_force) == {}
    await rig.ingest.edit_entries(
        [TAG], also=lambda c: rig.people.enrol(c, [("ann", "card", yes)], source="test")
    )
    rig.people.reload()
    receipt = await rig.ingest.accept([heard(START, "gw", minor=5)])
    assert (receipt.unconsented, rig.people.person_of("card")) == (1, "ann")
    await rig.stop()


def test_secrets_and_clocks(store: Store) -> None:
    made = [
        store.write(lambda c, n=n: gatewaysecrets.make_secret(c, "gw", 100.0 + n, 50.0)).result()  # type: ignore[misc]
        for n in range(gatewaysecrets.MOST_SECRETS + 1)
    ]
    assert len(set(made)) == len(made)
    rows = store.read(lambda c: gatewaysecrets.list_secrets(c, 104.0))
    assert [row.until for row in rows] == [None, 153.0, 152.0]
    assert store.read(lambda c: len(gatewaysecrets.list_secrets(c, 152.5))) == 2
    assert store.write(lambda c: gatewaysecrets.end_secrets(c, "gw")).result() == 4 - 1 + 1
    runs = [Run("gw", f"b{n}", 1.0 + n, 1.0 + n, 2.0, 3.0 + n, trusted=n == 5) for n in range(6)]
    store.write(lambda c: gatewayclocks.save(c, runs)).result()
    store.write(lambda c: gatewayclocks.save(c, runs[5:])).result()
    kept = sorted(store.read(gatewayclocks.load), key=lambda run: run.boot)
    assert kept == [msgspec.structs.replace(run, kept_at=run.heard_at) for run in runs[2:]]
