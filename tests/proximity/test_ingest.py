"""From a batch to its consequences, and the same again after a stop, a crash, a failing disk."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from geofences import Fence
from proximity.campaigns.campaigns import Campaign, Campaigns
from proximity.dispatch import queue
from proximity.ingest import ingest as module
from proximity.ingest import keeping
from proximity.ingest.clock import ClockSetBack
from proximity.ingest.edits import FenceFixed
from proximity.ingest.ingest import Ingest, Overloaded, Receipt
from proximity.ingest.outputs import Outputs
from proximity.model import Consent, Event, Person, Record
from proximity.people.people import People
from proximity.site.places import Places
from proximity.store import (
    LedgerRow,
    Store,
    StoreBroken,
    StoreFailed,
    StoreFull,
    journal,
    ledger,
    schema,
)
from tests.proximity.test_store import occupy
from tests.street import SITE, STREET, feature, fences, fix, heard

START = 1_767_225_600.0
INSIDE, OUTSIDE = (20.0, 25.0), (300.0, 300.0)
COFFEE = Campaigns(
    campaigns={"coffee": Campaign(id="coffee", places=frozenset({"cafe"}), text={"en": "Coffee."})},
    version="1",
)


class Clock:
    """A clock that stands until it is set."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


class Rig:
    """A store in a folder and the ingest over it; ``again`` is the next start of the same."""

    def __init__(self, path: Path, clock: Clock | None = None, **options: Any) -> None:
        self.path, self.options = path, options
        self.clock = clock or Clock()
        self.store = Store.open(path)
        self.people = People(self.store, self.clock)
        self.rows: list[LedgerRow] = []
        settings: dict[str, Any] = {
            "fences": fences(*STREET), "consent": "assumed", "decide": "point",
        }  # fmt: skip
        self.ingest = Ingest(
            self.store,
            people=self.people,
            campaigns=lambda: COFFEE,
            places=Places(None),
            clock=self.clock,
            **settings | options,
        )
        self.ingest.on_committed.append(self.rows.extend)

    async def started(self) -> Rig:
        await self.ingest.start()
        return self

    async def settled(self) -> Rig:
        """Wait until all that was taken has had its consequences."""
        await self.ingest._backlog.idle.wait()
        return self

    async def save(self) -> None:
        """Save a snapshot, after those that are being saved perhaps."""
        while (saving := self.ingest._saving) is not None and not saving.done():
            await saving
        await self.ingest._keeping.begin(self.ingest._fold, self.clock.now)

    async def tidy(self) -> None:
        """Do what is due between two rows, and wait until that is done."""
        if self.ingest._saving is not None:
            await self.ingest._saving
        await self.ingest._tidy(self.clock.now)
        if self.ingest._saving is not None:
            await self.ingest._saving

    def crash(self) -> None:
        """End without a word, as far as one process can do it to itself."""
        for task in [*self.ingest._tasks, self.ingest._saving]:
            if task is not None:
                task.cancel()
        self.ingest._tasks = []
        self.store.close()

    async def again(self, **options: Any) -> Rig:
        return await Rig(self.path, self.clock, **self.options | options).started()

    async def stop(self) -> None:
        await self.ingest.stop()
        self.store.close()

    def ledger(self) -> list[LedgerRow]:
        return self.store.read(lambda c: ledger.page(c, limit=10_000))[0]

    def told(self) -> list[tuple[str, str]]:
        return [(json.loads(row.record)["kind"], row.place or "") for row in self.ledger()]

    def journal(self) -> list[journal.Row]:
        return self.store.read(lambda c: list(journal.rows_after(c, 0)))

    def fail(self, code: int, times: int = 1) -> None:
        """Let the next commits fail as SQLite would."""
        left = [times]

        def failing(_: Connection) -> None:
            if left[0] > 0:
                left[0] -= 1
                error = sqlite3.OperationalError("injected")
                error.sqlite_errorcode = code
                raise sa.exc.OperationalError("COMMIT", None, error)

        sa.event.listen(self.store._engine, "commit", failing)

    async def wait_for(self, condition: Callable[[], bool]) -> None:
        while not condition():  # noqa: ASYNC110 - the condition is not always an event's
            await asyncio.sleep(0.01)


@pytest.fixture
async def start(tmp_path: Path) -> Any:
    rigs: list[Rig] = []

    async def begin(**options: Any) -> Rig:
        rigs.append(Rig(tmp_path / "engine.db", **options))
        return await rigs[-1].started()

    yield begin
    for rig in rigs:
        rig.crash()


Start = Callable[..., Awaitable[Rig]]


class TestAccept:
    async def test_every_record_is_counted_once(self, start: Start) -> None:
        rig = await start(consent="required", site_file=None)
        await rig.store.awrite(
            lambda c: rig.people.put(
                c, Person(person="ann", subjects=("s0",), consents=(Consent(purpose="marketing"),))
            )
        )
        good = fix(START, *INSIDE)
        batch: list[Record] = [
            good,
            good,
            fix(START + 61, *INSIDE),
            fix(START - 3601, *INSIDE),
            fix(START, *INSIDE, subject="stranger"),
            heard(START, "gw-bar"),
            Event(subject="s0", at=START, name="opened"),
        ]
        receipt = await rig.ingest.accept(batch, lines=[2, 3, 5, 7, 11, 13, 17])
        (refused,) = receipt.rejected
        assert (refused.line, "future" in refused.reason) == (5, True)
        assert msgspec.structs.replace(receipt, rejected=()) == Receipt(
            accepted=2, duplicate=1, unconsented=2, late=1, unlisted=1
        )
        assert await rig.ingest.accept([good]) == Receipt(duplicate=1)
        assert await rig.ingest.accept([]) == Receipt()

    async def test_what_nobody_agreed_to_is_written_nowhere(self, start: Start) -> None:
        rig = await start(consent="required")
        canaries = [fix(START, *INSIDE, subject="canary-1"), heard(START, "canary-2")]
        assert (await rig.ingest.accept(canaries)).unconsented == 2
        await rig.stop()
        for file in rig.path.parent.iterdir():
            assert b"canary" not in file.read_bytes(), file.name

    async def test_consent_may_come_and_go(self, start: Start) -> None:
        rig = await start(consent="required")
        assert (await rig.ingest.accept([fix(START, *INSIDE)])).unconsented == 1
        other = Store.open(rig.path)  # as the command beside the server does
        person = Person(person="ann", subjects=("s0",), consents=(Consent(purpose="service"),))
        other.write(lambda c: People(other).put(c, person)).result()
        rig.people.reload()
        assert (await rig.ingest.accept([fix(START, *INSIDE)])).accepted == 1
        other.write(lambda c: People(other).withdraw(c, "ann", at=START + 1.5)).result()
        other.close()
        rig.people.reload()
        rig.clock.now += 2.0
        assert (await rig.ingest.accept([fix(START + 1, *INSIDE)])).unconsented == 1

    async def test_with_consent_assumed_an_unknown_beacon_is_ignored(self, start: Start) -> None:
        rig = await start()
        assert await rig.ingest.accept([heard(START, "canary")]) == Receipt(accepted=1, unlisted=1)
        assert rig.ingest.counts["unlisted"] == 1
        await rig.stop()
        assert b"canary" not in rig.path.read_bytes()

    async def test_the_clock_never_goes_back(self, start: Start) -> None:
        rig = await start()
        await rig.ingest.accept([fix(START, *INSIDE)])
        rig.clock.now -= 60.0
        await rig.ingest.accept([fix(START - 10, *INSIDE)])
        times = [row.now for row in rig.journal() if row.kind == "records"]
        assert times == [START, START]

    async def test_a_clock_that_was_far_ahead_is_told_of(
        self, start: Start, capsys: pytest.CaptureFixture[str]
    ) -> None:
        rig = await start()
        rig.clock.now += 86_400.0
        await rig.ingest.accept([fix(rig.clock.now, *INSIDE)])
        await rig.settled()
        await rig.stop()
        rig.clock.now -= 86_400.0
        rig = await rig.again()  # the time of what was taken is remembered
        assert not rig.ingest.ready
        for _ in range(2):
            with pytest.raises(ClockSetBack, match="set back by 86400 s"):
                await rig.ingest.accept([fix(START, *INSIDE)])
            with pytest.raises(ClockSetBack):
                await rig.ingest.edit_fences([], ["stall"])
        await rig.ingest.forget(["s0"])  # a no counts whatever the clock says
        await rig.settled()
        assert rig.told()[-1] == ("exit", "cafe")
        await asyncio.sleep(0.25)
        told = capsys.readouterr()
        assert (told.out + told.err).count("the clock was set back") == 1
        rig.clock.now += 86_390.0
        assert rig.ingest.ready
        assert (await rig.ingest.accept([fix(rig.clock.now, *INSIDE)])).accepted == 1
        await rig.stop()

    async def test_too_much_is_told_to_come_back(
        self, start: Start, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rig = await start()
        monkeypatch.setattr(module, "MOST_ROWS", 1)
        gate, _ = occupy(rig.store)
        first = asyncio.create_task(rig.ingest.accept([fix(START, *INSIDE)]))
        await rig.wait_for(lambda: rig.ingest.depth == 1)
        with pytest.raises(Overloaded):
            await rig.ingest.accept([fix(START + 1, *INSIDE)])
        gate.set()
        assert (await first).accepted == 1
        await rig.settled()
        assert (await rig.ingest.accept([fix(START + 1, *INSIDE)])).accepted == 1

    async def test_a_batch_whose_people_cannot_be_read_may_come_again(
        self, start: Start, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(_: object) -> None:
            raise StoreFailed("injected")

        rig = await start(consent="required")
        batch = [fix(START, *INSIDE), fix(START + 1, *INSIDE)]
        person = Person(person="p", subjects=("s0",), consents=(Consent(purpose="service"),))
        await rig.store.awrite(lambda c: rig.people.put(c, person))
        with monkeypatch.context() as patched:
            patched.setattr(rig.store, "read", refuse)
            with pytest.raises(StoreFailed, match="injected"):
                await rig.ingest.accept(batch)
        assert await rig.ingest.accept(batch) == Receipt(accepted=2)

    async def test_a_caller_that_goes_away_takes_nothing_along(self, start: Start) -> None:
        rig = await start()
        gate, _ = occupy(rig.store)
        gone = asyncio.create_task(rig.ingest.accept([fix(START, *INSIDE)]))
        await rig.wait_for(lambda: rig.ingest.depth == 1)
        gone.cancel()
        gate.set()
        await asyncio.wait({gone})
        await rig.settled()
        assert rig.told() == [("enter", "cafe")]


def _standing(subjects: Iterable[int], at: float = START) -> list[Record]:
    return [fix(at, *INSIDE, subject=f"s{one}") for one in subjects]


class TestConsequences:
    async def test_ledger_queue_and_live_rows(self, start: Start) -> None:
        rig = await start()
        await rig.ingest.accept([fix(START - 5, *OUTSIDE), fix(START, *INSIDE)])
        await rig.settled()
        assert rig.told() == [("enter", "cafe")]
        assert rig.rows == rig.ledger()
        assert rig.ingest.triggers_added.is_set()
        (claim,) = await rig.store.awrite(lambda c: queue.claim(c, "me", START))
        assert (claim.trigger.campaign, claim.trigger.subject) == ("coffee", "s0")
        assert rig.store.read(journal.evaluated) == rig.journal()[-1].position

    async def test_rows_are_applied_while_outputs_are_written(
        self, start: Start, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "_MOST_OUTPUTS", 1)
        rig = await start()
        rig.ingest._backlog.alone = True
        written: list[int] = []
        landed, gate = asyncio.Event(), asyncio.Event()
        apply, write = rig.ingest._apply, rig.ingest._write

        async def apply_then(rows: Any) -> Any:
            await landed.wait()
            return await apply(rows)

        async def write_then(outputs: Outputs) -> None:
            written.append(len(outputs))
            await gate.wait()
            await write(outputs)

        monkeypatch.setattr(rig.ingest, "_apply", apply_then)
        monkeypatch.setattr(rig.ingest, "_write", write_then)
        for subject in range(4):
            await rig.ingest.accept(_standing([subject]))
        last = rig.ingest._backlog.position
        landed.set()
        async with asyncio.timeout(10.0):
            await rig.wait_for(lambda: rig.ingest.position == last)
        assert written == [1]  # what three rows led to is found, and waits
        assert rig.told() == []
        gate.set()
        await rig.settled()
        assert written == [1, 3]
        assert rig.told() == [("enter", "cafe")] * 4

    async def test_timers_fire_without_a_record(self, start: Start) -> None:
        rig = await start(decide="robust")
        for second in range(3):
            await rig.ingest.accept([fix(START + second, -60, 0, speed_mps=0.0)])
            rig.clock.now += 1.0
        await rig.settled()
        assert rig.told() == [("enter", "kiosk")]
        rig.clock.now += 25.0
        await rig.wait_for(lambda: len(rig.ledger()) == 2)
        assert rig.told()[1] == ("dwell", "kiosk")
        assert rig.journal()[-1].kind == "tick"

    async def test_erasing_a_subject(self, start: Start) -> None:
        rig = await start()
        await rig.ingest.accept([fix(START, *INSIDE)])
        await rig.ingest.forget(["s0", "nobody"])
        await rig.settled()
        assert rig.told() == [("enter", "cafe"), ("exit", "cafe")]
        assert json.loads(rig.ledger()[1].record)["reason"] == "erased"
        assert rig.ingest.engine.subjects == 0

    async def test_erasing_and_what_goes_with_it_are_one_transaction(self, start: Start) -> None:
        rig = await start(consent="required")
        person = Person(person="ann", subjects=("s0",), consents=(Consent(purpose="service"),))
        await rig.store.awrite(lambda c: rig.people.put(c, person))
        await rig.ingest.accept([fix(START, *INSIDE)])
        await rig.settled()

        def remove(connection: Connection) -> None:
            rig.people.remove(connection, "ann")

        def refuse(connection: Connection) -> None:
            remove(connection)
            raise LookupError("it is not as you knew it")

        with pytest.raises(LookupError):
            await rig.ingest.forget(["s0"], also=refuse)
        rig.fail(sqlite3.SQLITE_FULL)
        with pytest.raises(StoreFull):
            await rig.ingest.forget(["s0"], also=remove)
        assert rig.people.get("ann") == person
        assert rig.told() == [("enter", "cafe")]
        assert [row.kind for row in rig.journal()] == ["fences", "records"]
        # While it is being written, nothing of theirs gets in behind it.
        gate, _ = occupy(rig.store)
        going = asyncio.create_task(rig.ingest.forget(["s0"], also=remove))
        await rig.wait_for(lambda: rig.ingest.depth == 1)
        assert await rig.ingest.accept([fix(START + 1, *INSIDE)]) == Receipt(unconsented=1)
        gate.set()
        await going
        assert await rig.ingest.accept([fix(START + 2, *INSIDE)]) == Receipt(unconsented=1)
        await rig.settled()
        assert rig.told() == [("enter", "cafe"), ("exit", "cafe")]
        assert rig.ingest.engine.subjects == 0

    async def test_large_batches_and_small_ones_come_to_the_same(self, start: Start) -> None:
        records = [
            fix(START - 3000 + n, *(INSIDE if n // 7 % 2 else OUTSIDE), subject=f"s{n % 3}")
            for n in range(900)
        ]
        rig = await start()
        await rig.ingest.accept(records)
        await rig.settled()
        whole = [(row.id, row.record) for row in rig.ledger()]
        assert len(whole) > 300
        other = await Rig(rig.path.parent / "other.db").started()
        await asyncio.gather(
            *(other.ingest.accept(records[n : n + 11]) for n in range(0, len(records), 11))
        )
        await other.settled()
        assert [(row.id, row.record) for row in other.ledger()] == whole
        await other.stop()


class TestFencesAndSite:
    async def test_an_edit_is_in_force_when_it_returns(self, start: Start) -> None:
        rig = await start()
        (stall,) = fences(feature("stall", STREET[2]["geometry"], radius_m=25))
        await rig.ingest.edit_fences([stall])
        assert "stall" in rig.ingest.index
        await rig.ingest.accept([fix(START, -60, 0)])
        await rig.ingest.edit_fences([], ["stall", "never was"])
        await rig.settled()
        assert "stall" not in rig.ingest.index
        assert [one for one in rig.told() if one[1] == "stall"] == [
            ("enter", "stall"),
            ("exit", "stall"),
        ]
        # A row names the fences it is judged with: those of the edit before it.
        street, put, visit, removed = (row.version for row in rig.journal())
        assert street == removed != put == visit
        count = len(rig.journal())
        await rig.ingest.edit_fences([], ["never was"])
        assert len(rig.journal()) == count

    async def test_an_edit_of_many_lets_others_go_on(self, start: Start) -> None:
        rig = await start()
        many = fences(
            *(
                feature(f"stall {n}", {"type": "Point", "coordinates": [n / 100, 10]}, radius_m=9)
                for n in range(1000)
            )
        )
        edit = asyncio.create_task(rig.ingest.edit_fences(many))
        seen: set[int] = set()
        while not edit.done():
            await asyncio.sleep(0)
            seen.add(len(rig.ingest.index))
        await edit
        assert len(seen) > 5  # it was seen on its way, and the engine judges when all is done
        assert len(rig.ingest.index) == len(rig.ingest.fences) == 1000 + len(STREET)
        removal = [fence.id for fence in many]
        await rig.ingest.edit_fences([], removal)
        assert len(rig.ingest.index) == len(rig.ingest.fences) == len(STREET)
        first, _, last = (row.version for row in rig.journal())
        assert first == last
        assert rig.ingest._editing.ahead == {}

    async def test_what_a_file_says_is_changed_there(self, start: Start) -> None:
        rig = await start()
        with pytest.raises(FenceFixed, match="'cafe'"):
            await rig.ingest.edit_fences([], ["cafe"])
        assert "cafe" in rig.ingest.index

    async def test_files_are_compared_at_every_start(self, start: Start) -> None:
        rig = await start()
        (stall,) = fences(feature("stall", STREET[2]["geometry"], radius_m=25))
        await rig.ingest.edit_fences([stall])
        await rig.ingest.accept([fix(START, *INSIDE)])
        await rig.stop()
        moved: list[Fence] = fences(STREET[1], feature("kiosk", STREET[2]["geometry"], radius_m=9))
        rig = await rig.again(fences=moved)
        assert sorted(rig.ingest.fences) == ["bakery", "kiosk", "stall"]
        assert {fence.id for fence in rig.ingest.index} == {"bakery", "kiosk", "stall"}
        assert rig.told() == [("enter", "cafe"), ("exit", "cafe")]
        assert rig.ingest.fences["stall"].source == "http"
        count = len(rig.journal())
        await rig.stop()
        rig = await rig.again(fences=moved)
        assert len(rig.journal()) == count
        await rig.stop()

    async def test_a_site_is_read_and_replaced(self, start: Start, tmp_path: Path) -> None:
        path = tmp_path / "site.toml"
        path.write_text(SITE)
        rig = await start(site_file=path)
        (zone,) = fences(feature("cafe/bar", STREET[0]["geometry"]))
        with pytest.raises(FenceFixed, match="'cafe/bar' is named by the site"):
            await rig.ingest.edit_fences([zone])
        assert "cafe/bar" not in rig.ingest.index
        assert "gw-bar" in rig.ingest.site.gateways
        assert await rig.ingest.accept([heard(START, "gw-bar")]) == Receipt(accepted=1)
        await rig.settled()
        assert ("enter", "cafe/bar") in rig.told()
        await rig.stop()
        rig = await rig.again(site_file=None)
        assert rig.ingest.site.gateways == {}
        assert ("exit", "cafe/bar") in rig.told()
        await rig.stop()


class TestRecovery:
    async def test_after_a_crash_it_goes_on_where_it_was(self, start: Start) -> None:
        rig = await start()
        for second in range(20):
            spot = INSIDE if second % 4 < 2 else OUTSIDE
            await rig.ingest.accept([fix(START + second, *spot)])
            rig.clock.now += 1.0
        await rig.settled()
        state, told = rig.ingest.engine.snapshot(), rig.ledger()
        rig.crash()
        rig = await rig.again()
        assert rig.ingest.engine.snapshot() == state
        assert rig.ledger() == told
        assert (await rig.ingest.accept([fix(START + 19, *OUTSIDE)])).duplicate == 1
        await rig.stop()
        rig = await rig.again()
        assert rig.ingest.engine.snapshot() == state
        await rig.stop()

    async def test_what_was_acknowledged_but_not_applied_has_its_effect(self, start: Start) -> None:
        rig = await start()
        await rig.stop()
        position = rig.ingest._backlog.position + 1
        store = Store.open(rig.path)
        records = [msgspec.structs.replace(fix(START, *INSIDE), received_at=START)]
        row = journal.Row(
            position=position, kind="records", now=START, version="",
            payload=journal.encode_records(records),
        )  # fmt: skip
        store.write(lambda c: journal.append(c, row)).result()
        store.close()
        rig = await rig.again()
        assert rig.told() == [("enter", "cafe")]
        assert rig.store.read(queue.depth) == 1
        await rig.stop()

    async def test_repeated_outputs_are_written_once(self, start: Start) -> None:
        rig = await start()
        await rig.ingest.accept([fix(START, *INSIDE)])
        await rig.settled()
        told = rig.ledger()
        rig.crash()
        store = Store.open(rig.path)
        store.write(lambda c: journal.set_evaluated(c, 0)).result()
        store.close()
        rig = await rig.again()
        assert rig.ledger() == told
        assert rig.store.read(queue.depth) == 1
        await rig.stop()

    async def test_a_snapshot_that_cannot_be_read(self, start: Start) -> None:
        rig = await start()
        await rig.ingest.accept([fix(START, *INSIDE)])
        await rig.settled()
        await rig.save()
        await rig.ingest.accept([fix(START + 1, *OUTSIDE)])
        await rig.settled()
        await rig.save()
        state = rig.ingest.engine.snapshot()
        rig.crash()
        for damaged in (1, 2):
            store = Store.open(rig.path)
            for snapshot in store.read(lambda c: list(journal.snapshots(c)))[:damaged]:
                bad = msgspec.structs.replace(snapshot, state=b"?")
                store.write(lambda c, one=bad: journal.save_snapshot(c, one)).result()  # type: ignore[misc]
            store.close()
            rig = await rig.again()
            assert rig.ingest.engine.snapshot() == state
            assert len(rig.ledger()) == 2
            rig.crash()

    async def test_a_row_that_cannot_be_applied_stops_nothing(self, start: Start) -> None:
        rig = await start()
        await rig.stop()
        store = Store.open(rig.path)
        rows = [
            journal.Row(
                position=rig.ingest._backlog.position + number, kind=kind, now=START, version="",
                payload=b"\xc1",
            )
            for number, kind in enumerate(("records", "forget"), 1)
        ]  # fmt: skip
        for row in rows:
            store.write(lambda c, one=row: journal.append(c, one)).result()  # type: ignore[misc]
        store.close()
        rig = await rig.again()
        assert rig.ingest.counts["failed"] == 2
        assert (await rig.ingest.accept([fix(START, *INSIDE)])).accepted == 1
        await rig.stop()

    async def test_a_start_with_very_many_triggers(self, start: Start) -> None:
        known = [f"id {n}" for n in range(100_000)]
        rig = await start()
        assert rig.store.read(lambda c: ledger.decided(c, known)) == set()

    async def test_a_fault_ends_a_start(
        self, start: Start, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        rig = await start()
        await rig.ingest.accept([fix(START, *INSIDE)])
        await rig.settled()
        rig.crash()
        store = Store.open(rig.path)
        store.write(lambda c: journal.set_evaluated(c, 0)).result()
        store.close()

        def broken(*_: object) -> None:
            raise KeyError("canary")

        monkeypatch.setattr(ledger, "append", broken)
        again = Rig(rig.path, rig.clock)
        async with asyncio.timeout(60):
            with pytest.raises(KeyError):
                await again.ingest.start()
        assert isinstance(again.ingest.fault, KeyError)
        assert not again.ingest.ready
        again.crash()
        assert "ingest has stopped" in "".join(capsys.readouterr())

    async def test_a_fault_ends_what_waits_for_the_engine(
        self, start: Start, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rig = await start()
        await rig.ingest.accept([fix(START, *INSIDE)])
        await rig.settled()

        def broken(*_: object) -> None:
            raise KeyError("canary")

        monkeypatch.setattr(ledger, "append", broken)
        async with asyncio.timeout(30):
            await rig.ingest.forget(["s0"])  # applied; what came of it cannot be written
            await rig.wait_for(lambda: rig.ingest.fault is not None)
            with pytest.raises(StoreFailed, match="starting or stopping"):
                await rig.ingest.accept([fix(START + 1, *INSIDE)])
            await rig.stop()

    async def test_one_server_for_a_folder(self, start: Start) -> None:
        rig = await start()
        second = Rig(rig.path)
        with pytest.raises(StoreFailed, match="another server"):
            await second.ingest.start()
        second.store.close()

    async def test_stopped_or_not_started_takes_nothing(self, tmp_path: Path) -> None:
        rig = Rig(tmp_path / "engine.db")
        with pytest.raises(StoreFailed, match="starting or stopping"):
            await rig.ingest.accept([fix(START, *INSIDE)])
        await rig.ingest.stop()
        await rig.ingest.start()
        assert rig.ingest.ready
        await rig.ingest.stop()
        assert not rig.ingest.ready
        with pytest.raises(StoreFailed, match="starting or stopping"):
            await rig.ingest.edit_fences([])
        rig.store.close()


class TestTidying:
    async def test_traces_are_not_kept(self, start: Start) -> None:
        rig = await start()
        await rig.ingest.accept([fix(START, *INSIDE, subject="canary")])
        await rig.ingest.forget(["canary"])
        await rig.settled()
        rig.clock.now += 61.0
        await rig.tidy()
        assert len(rig.journal()) == 3  # fences, records, forget: late ones may still repeat them
        assert rig.store.read(lambda c: list(journal.snapshots(c)))[0].position == 3
        rig.clock.now += 3600.0
        await rig.tidy()
        assert rig.journal() == []
        state = rig.ingest.engine.snapshot()
        rig.crash()
        rig = await rig.again()
        assert rig.ingest.engine.snapshot() == state
        assert await rig.ingest.accept([fix(rig.clock.now, *INSIDE)]) == Receipt(accepted=1)
        await rig.stop()

    async def test_many_rows_bring_a_snapshot_of_their_own(
        self, start: Start, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(keeping, "SNAPSHOT_RECORDS", 5)
        rig = await start()
        for second in range(12):
            rig.clock.now += 1.0
            await rig.ingest.accept([fix(START + second, *INSIDE)])
            await rig.settled()
        await rig.wait_for(lambda: len(rig.store.read(lambda c: list(journal.snapshots(c)))) == 2)

    async def test_who_is_killed_again_and_again_has_no_more_to_fold_each_time(
        self, start: Start, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(keeping, "SNAPSHOT_RECORDS", 5)
        rig = await start()
        await rig.save()
        covered = rig.ingest._keeping.newest[0]
        for life in range(2):  # neither of them long enough for a snapshot
            for second in range(2):
                rig.clock.now += 1.0
                await rig.ingest.accept([fix(START + 10 * life + second, *INSIDE)])
                await rig.settled()
            assert rig.ingest._keeping.newest[0] == covered
            rig.crash()
            rig = await rig.again()
        rig.clock.now += 1.0
        await rig.ingest.accept([fix(START + 40, *INSIDE)])
        await rig.wait_for(lambda: rig.ingest._keeping.newest[0] > covered)
        await rig.stop()

    async def test_what_the_engine_has_not_had_yet_is_not_covered(
        self, start: Start, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rig = await start()
        await rig.ingest.accept([fix(START, *INSIDE, subject="gone")])
        await rig.settled()
        await rig.save()
        assert b"gone" in rig.store.read(lambda c: list(journal.snapshots(c)))[0].state
        apply, now = rig.ingest._apply, asyncio.Event()

        async def slowly(rows: Any) -> Any:
            await now.wait()
            return await apply(rows)

        monkeypatch.setattr(rig.ingest, "_apply", slowly)
        leaving = asyncio.create_task(rig.ingest.forget(["gone"]))
        await rig.wait_for(lambda: rig.journal()[-1].kind == "forget")
        covered = asyncio.create_task(rig.ingest.cover())
        await asyncio.sleep(0.2)
        now.set()
        await asyncio.gather(leaving, covered)
        assert b"gone" not in rig.store.read(lambda c: list(journal.snapshots(c)))[0].state
        await rig.stop()

    async def test_a_large_snapshot_is_written_less_often(
        self, start: Start, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(keeping, "SNAPSHOT_RECORDS", 5)
        rig = await start()
        await rig.ingest.accept([fix(START, *INSIDE, subject=f"s{n}") for n in range(20)])
        await rig.settled()
        await rig.save()
        size = len(rig.store.read(lambda c: list(journal.snapshots(c)))[0].state)
        monkeypatch.setattr(keeping, "SNAPSHOT_BYTES_S", size / 30.0)
        due = []
        for second in (1.0, 29.0, 31.0):
            rig.clock.now = START + second
            monkeypatch.setattr(rig.ingest._keeping, "records", 5)
            due.append(rig.ingest._keeping.snapshot_due(999, rig.clock.now))
        assert due == [False, False, True]
        await rig.stop()

    async def test_a_large_snapshot_is_written_in_pieces(
        self, start: Start, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(keeping, "PIECE", 500)
        rig = await start()
        pieces = schema.snapshot_pieces

        def kept(connection: Connection) -> list[int]:
            return list(connection.scalars(sa.select(pieces.c.position).distinct()))

        for number in range(4):
            await rig.ingest.accept([fix(START, *INSIDE, subject=f"s{n}") for n in range(20)])
            await rig.ingest.accept([fix(START + number, *OUTSIDE)])
            await rig.settled()
            await rig.save()
            newest = rig.store.read(lambda c: list(journal.snapshots(c)))[0]
            assert newest.state == rig.ingest.engine.snapshot()
            assert len(newest.state) > 1000
            rig.clock.now += 1.0
        both = sorted(one.position for one in rig.store.read(lambda c: list(journal.snapshots(c))))
        assert sorted(rig.store.read(kept)) == both
        # What one that was not finished leaves behind goes with the next.
        rig.store.write(partial(journal.save_piece, position=999, piece=b"loose")).result()
        state = rig.ingest.engine.snapshot()
        rig.crash()
        rig = await rig.again()
        assert rig.ingest.engine.snapshot() == state
        await rig.ingest.accept([fix(rig.clock.now, *OUTSIDE)])
        await rig.settled()
        await rig.save()
        assert 999 not in rig.store.read(kept)
        await rig.stop()

    async def test_what_comes_while_a_snapshot_is_saved(self, start: Start) -> None:
        rig = await start()
        await rig.save()
        await rig.ingest.accept([fix(START, *INSIDE)])
        await rig.settled()
        state = rig.ingest.engine.snapshot()
        saving = rig.ingest._keeping.begin(rig.ingest._fold, rig.clock.now)
        await rig.ingest.accept([fix(START + 1, *OUTSIDE), fix(START + 1, *INSIDE, subject="s1")])
        await rig.settled()
        await saving
        assert rig.store.read(lambda c: list(journal.snapshots(c)))[0].state == state
        state, told = rig.ingest.engine.snapshot(), rig.ledger()
        assert len(told) == 3
        rig.crash()
        rig = await rig.again()
        assert (rig.ingest.engine.snapshot(), rig.ledger()) == (state, told)
        await rig.stop()


class TestFailingDisk:
    async def test_full_is_told_and_over_by_itself(self, start: Start) -> None:
        rig = await start()
        # What a start tidies up is a commit as well, and not the one that is to fail.
        await rig.tidy()
        await rig.store.awrite(lambda _: None)
        rig.fail(sqlite3.SQLITE_FULL)
        record = fix(START, *INSIDE)
        with pytest.raises(StoreFull):
            await rig.ingest.accept([record])
        assert not rig.ingest.ready
        assert rig.ledger() == []
        # Nobody has to write for the server to find out that there is room again.
        await rig.wait_for(lambda: rig.ingest.ready)
        assert await rig.ingest.accept([record]) == Receipt(accepted=1)
        await rig.settled()
        assert rig.told() == [("enter", "cafe")]

    async def test_a_repeat_of_what_failed_is_not_acknowledged(self, start: Start) -> None:
        rig = await start()
        record, more = fix(START, *INSIDE), fix(START + 1, *INSIDE)
        gate, _ = occupy(rig.store)
        rig.fail(sqlite3.SQLITE_FULL, times=3)  # the commit that is kept waiting, and both rows
        batches = [[record], [record], [record, more]]
        tasks = [asyncio.create_task(rig.ingest.accept(batches[0]))]
        await rig.wait_for(lambda: rig.ingest.depth == 1)
        await asyncio.sleep(0.01)  # its row is being written; what comes now makes the next one
        tasks += [asyncio.create_task(rig.ingest.accept(batch)) for batch in batches[1:]]
        await rig.wait_for(lambda: rig.ingest.depth == 2)
        gate.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [isinstance(one, StoreFailed) for one in results] == [True, True, True]
        await rig.settled()
        assert await rig.ingest.accept([record, more]) == Receipt(accepted=2)

    async def test_outputs_wait_for_room(
        self, start: Start, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "_RETRY_S", 0.01)
        rig = await start()
        refused: list[bool] = []
        append = ledger.append

        def full(connection: Connection, entries: Any) -> list[LedgerRow]:
            if len(refused) < 3:
                refused.append(rig.ingest.ready)
                raise StoreFull("injected")
            return append(connection, entries)

        monkeypatch.setattr(ledger, "append", full)
        await rig.ingest.accept([fix(START, *INSIDE)])
        await rig.settled()
        assert refused == [True, False, False]
        assert rig.told() == [("enter", "cafe")]
        assert rig.ingest.ready

    async def test_after_a_failed_sync_nothing_more_is_taken(self, start: Start) -> None:
        rig = await start()
        await rig.ingest.accept([fix(START, *INSIDE)])
        await rig.settled()
        rig.fail(sqlite3.SQLITE_IOERR_FSYNC)
        for _ in range(2):
            with pytest.raises(StoreBroken):
                await rig.ingest.accept([fix(START + 1, *OUTSIDE)])
        assert not rig.ingest.ready
        assert rig.told() == [("enter", "cafe")]
        await rig.stop()
        rig = await rig.again()
        assert await rig.ingest.accept([fix(START + 1, *OUTSIDE)]) == Receipt(accepted=1)
        await rig.stop()
