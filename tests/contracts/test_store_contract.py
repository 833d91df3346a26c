"""What every store keeps, whatever the database: one suite, run on each kind."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from proximity.dispatch import queue
from proximity.model import Decision, Delivery, Fix, Transition, Trigger, Verdict
from proximity.store import Store, StoreFailed, journal, ledger, schema
from tests.contracts.conftest import TARGETS


def transition(subject: str = "s", place: str = "p", at: float = 1000.0) -> Transition:
    return Transition(
        kind="enter", subject=subject, place=place, visit=f"v{at}", at=at, decided_at=at
    )


def trigger(number: int, at: float = 1000.0) -> Trigger:
    return Trigger(
        id=f"t{number:04}", campaign="c", version=1, person="p", subject="s", place="x",
        visit="v", kind="enter", at=at, decided_at=at, evidence_at=at,
    )  # fmt: skip


def decision(verdict: Verdict = Verdict.SEND, ident: str = "t0001") -> Decision:
    return Decision(
        id=ident, decision=verdict, reason=None, campaign="c", version=1, subject="s",
        person="p", place="x", visit="v", at=1000.0,
    )  # fmt: skip


def count(store: Store, table: sa.Table) -> int:
    return store.read(lambda c: c.scalar(sa.select(sa.func.count()).select_from(table))) or 0


def put(key: str, value: str = "x") -> Callable[[Connection], None]:
    return lambda c: journal.write_meta(c, key, value)


@pytest.mark.parametrize(
    "target", [one for one in TARGETS if one == "postgresql"], indirect=True
)  # a file has one writer at a time
def test_two_who_wait_for_each_other_are_both_done(store: Store, target: str) -> None:
    other = Store.open(target)
    store.write(put("a", "0")).result()
    store.write(put("b", "0")).result()
    both = threading.Barrier(2)
    runs: list[str] = []

    def crossing(first: str, second: str) -> Callable[[Connection], int]:
        def work(connection: Connection) -> int:
            runs.append(first)
            add(connection, first)
            if runs.count(first) == 1:
                both.wait(60)  # now each has what the other wants next
            add(connection, second)
            return runs.count(first)

        return work

    def add(connection: Connection, key: str) -> None:
        row = sa.select(schema.meta.c.value).where(schema.meta.c.key == key).with_for_update()
        journal.write_meta(connection, key, str(int(connection.scalar(row) or 0) + 1))

    done = [store.write(crossing("a", "b")), other.write(crossing("b", "a"))]
    assert max(one.result(60) for one in done) > 1, "the database undid one of them"
    assert [store.read(lambda c, k=key: journal.read_meta(c, k)) for key in "ab"] == ["2", "2"]  # type: ignore[misc]
    assert (store.failure, other.failure, store.refusing, other.refusing) == (None,) * 4
    other.close()


@pytest.mark.parametrize("target", [one for one in TARGETS if one == "postgresql"], indirect=True)
def test_two_who_are_both_the_first_to_write_a_fact_write_it(store: Store, target: str) -> None:
    other = Store.open(target)
    both = threading.Barrier(2)

    def first(connection: Connection) -> None:
        assert journal.read_meta(connection, "fact") is None
        both.wait(60)  # neither sees what the other writes now
        journal.write_meta(connection, "fact", "said")

    for done in [store.write(first), other.write(first)]:
        done.result(60)
    assert store.read(lambda c: journal.read_meta(c, "fact")) == "said"
    other.close()


class TestStore:
    def test_what_was_written_is_read_and_found_again(
        self, store: Store, reopen: Callable[[], Store]
    ) -> None:
        assert store.write(lambda _: 7).result() == 7
        store.write(put("a", "1")).result()
        store.write(put("a", "2")).result()
        assert store.read(lambda c: journal.read_meta(c, "a")) == "2"
        again = reopen()
        assert again.read(lambda c: journal.read_meta(c, "a")) == "2"
        again.close()

    def test_a_failing_work_is_undone_alone(self, store: Store) -> None:
        def fails(connection: Connection) -> None:
            journal.write_meta(connection, "half", "x")
            raise LookupError("no")

        def breaks(connection: Connection) -> None:
            journal.write_meta(connection, "double", "x")
            connection.execute(schema.meta.insert(), {"key": "double", "value": "y"})

        before, failing, breaking, after = (
            store.write(work) for work in (put("before"), fails, breaks, put("after"))
        )
        assert before.result() is None
        with pytest.raises(LookupError):
            failing.result()
        with pytest.raises(IntegrityError):
            breaking.result()
        assert after.result() is None
        with pytest.raises(LookupError):
            store.write(fails).result()  # with nobody beside it
        assert store.write(put("later")).result() is None
        assert count(store, schema.meta) == 3

    def test_works_run_in_the_order_of_the_calls(self, store: Store) -> None:
        seen: list[int] = []
        futures = [store.write(lambda _, n=n: seen.append(n)) for n in range(500)]  # type: ignore[misc]
        for future in futures:
            future.result()
        assert seen == list(range(500))

    def test_threads_write_and_read_at_once(self, store: Store) -> None:
        wrong: list[object] = []

        def write(which: int) -> None:
            for n in range(20):
                store.write(put(f"{which}/{n}")).result()
                found = store.read(lambda c, n=n: journal.read_meta(c, f"{which}/{n}"))  # type: ignore[misc]
                if found != "x":
                    wrong.append((which, n, found))

        threads = [threading.Thread(target=write, args=(which,)) for which in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []
        assert count(store, schema.meta) == 120

    async def test_from_an_event_loop(self, store: Store) -> None:
        await asyncio.gather(*(store.awrite(put(str(n))) for n in range(50)))
        assert await store.aread(lambda c: journal.read_meta(c, "49")) == "x"

    def test_a_second_owner_is_refused(self, target: str, store: Store) -> None:
        store.hold()
        store.hold()
        if target == ":memory:":
            return
        other = Store.open(target)
        with pytest.raises(StoreFailed, match="another server"):
            other.hold()
        store.close()
        other.hold()
        other.close()

    def test_after_closing_nothing_is_written(self, store: Store) -> None:
        store.close()
        store.close()
        with pytest.raises(StoreFailed, match="closed"):
            store.write(put("late")).result()

    def test_a_newer_schema_is_refused(self, target: str, store: Store) -> None:
        if target == ":memory:":
            return
        store.write(
            lambda c: c.execute(schema.version.update().values(version_num="9999"))
        ).result()
        store.close()
        with pytest.raises(StoreFailed, match="newer version"):
            Store.open(target)


class TestLedger:
    def test_the_same_is_written_once(self, store: Store) -> None:
        entries = [ledger.entry(transition(at=float(n)), "p") for n in range(3)]
        first = store.write(lambda c: ledger.append(c, entries[:2])).result()
        second = store.write(lambda c: ledger.append(c, entries)).result()
        assert [row.id for row in first] == [one.id for one in entries[:2]]
        assert [row.id for row in second] == [entries[2].id]
        assert first[0].seq < first[1].seq < second[0].seq
        rows, cursor = store.read(ledger.page)
        assert rows == first + second
        assert cursor == second[0].seq

    def test_what_is_there_in_the_midst_of_a_batch_is_passed_over(self, store: Store) -> None:
        entries = [ledger.entry(transition(at=float(n)), "p") for n in range(5)]
        store.write(lambda c: ledger.append(c, entries[1:3:2])).result()
        batch = [entries[0], entries[1], entries[2], entries[2], entries[3], entries[0], entries[4]]
        told = store.write(lambda c: ledger.append(c, batch)).result()
        assert [row.id for row in told] == [entries[n].id for n in (0, 2, 3, 4)]
        rows, _ = store.read(ledger.page)
        assert rows[1:] == told
        assert store.write(lambda c: ledger.append(c, batch)).result() == []

    def test_hundreds_are_written_in_their_order_and_with_all_they_say(self, store: Store) -> None:
        entries = [ledger.entry(transition(at=float(n)), f"p{n}") for n in range(130)]
        store.write(lambda c: ledger.append(c, entries[7:90:9])).result()
        told = store.write(lambda c: ledger.append(c, entries)).result()
        known = {one.id for one in entries[7:90:9]}
        assert [row.id for row in told] == [one.id for one in entries if one.id not in known]
        rows, _ = store.read(lambda c: ledger.page(c, limit=200))
        assert rows[len(known) :] == told
        assert [(row.person, row.at, row.record) for row in told] == [
            (one.person, one.at, one.record) for one in entries if one.id not in known
        ]

    def test_a_number_is_never_used_twice(self, store: Store) -> None:
        entries = [ledger.entry(transition(at=float(n)), "p") for n in range(4)]
        first = store.write(lambda c: ledger.append(c, entries[:3])).result()
        with pytest.raises(ZeroDivisionError):  # what is undone leaves nothing behind
            store.write(lambda c: ledger.append(c, entries[3:]) and 1 // 0).result()
        store.write(lambda c: c.execute(schema.ledger.delete())).result()
        again = store.write(lambda c: ledger.append(c, entries)).result()
        assert again[0].seq > first[-1].seq
        assert [row.seq for row in again] == sorted({row.seq for row in again})

    def test_pages(self, store: Store) -> None:
        items = [transition(f"s{n % 2}", f"p{n % 3}", float(n)) for n in range(12)]
        entries = [ledger.entry(item) for item in items]
        entries.append(ledger.entry(decision()))
        store.write(lambda c: ledger.append(c, entries)).result()
        first, cursor = store.read(lambda c: ledger.page(c, limit=5))
        second, end = store.read(lambda c: ledger.page(c, after=cursor, limit=50))
        assert [row.id for row in first + second] == [one.id for one in entries]
        assert store.read(lambda c: ledger.page(c, after=end)) == ([], end)
        some, _ = store.read(lambda c: ledger.page(c, "transition", subject="s1", place="p0"))
        assert [row.at for row in some] == [3.0, 9.0]
        assert [row.kind for row in store.read(lambda c: ledger.page(c, "decision"))[0]] == [
            "decision"
        ]

    def test_a_deferral_leaves_room_for_the_final_decision(self, store: Store) -> None:
        deferred, final = decision(Verdict.DEFER), decision(Verdict.SUPPRESS)
        delivery = Delivery(
            key="t0001", channel="console", attempt=1, outcome="accepted", at=1.0, campaign="c",
            person="p", subject="s", place="x",
        )  # fmt: skip

        def work(connection: Connection) -> set[str]:
            ledger.append(connection, [ledger.entry(deferred)])
            before = ledger.decided(connection, ["t0001", "t0002"])
            ledger.append(connection, [ledger.entry(final), ledger.entry(delivery)])
            return before

        assert store.write(work).result() == set()
        assert store.read(lambda c: ledger.decided(c, ["t0001", "t0002"])) == {"t0001"}
        assert len(store.read(ledger.page)[0]) == 3


class TestQueue:
    def test_claim_settle_and_fencing(self, store: Store) -> None:
        triggers = [trigger(n, at=1000.0 + n) for n in range(5)]
        assert store.write(lambda c: queue.append(c, triggers)).result() == 5
        assert store.write(lambda c: queue.append(c, triggers[:3])).result() == 0
        first = store.write(lambda c: queue.claim(c, "a", 1002.0, lease_s=30.0)).result()
        assert [claim.trigger for claim in first] == triggers[:3]
        assert store.write(lambda c: queue.claim(c, "b", 1002.0)).result() == []
        # The lease ends: another takes it over, and the first is fenced off.
        oldest = store.write(lambda c: queue.claim(c, "b", 1032.0, limit=1)).result()
        assert [claim.trigger for claim in oldest] == triggers[:1]
        second = oldest + store.write(lambda c: queue.claim(c, "b", 1032.0)).result()
        assert [claim.trigger for claim in second] == triggers
        assert [claim.attempts for claim in second] == [2, 2, 2, 1, 1]
        assert store.write(lambda c: queue.settle(c, first[0])).result() is False
        assert store.write(lambda c: queue.defer(c, first[1], 5000.0)).result() is False
        assert store.write(lambda c: queue.settle(c, second[0])).result() is True
        assert store.write(lambda c: queue.settle(c, second[0])).result() is False
        assert store.read(queue.depth) == 4

    def test_a_deferred_trigger_comes_back_when_due(self, store: Store) -> None:
        store.write(lambda c: queue.append(c, [trigger(1)], due_at=1010.0)).result()
        assert store.read(queue.next_due) == 1010.0
        assert store.write(lambda c: queue.claim(c, "a", 1009.0)).result() == []
        (claim,) = store.write(lambda c: queue.claim(c, "a", 1010.0, lease_s=5.0)).result()
        assert store.read(queue.next_due) == 1015.0
        assert store.write(lambda c: queue.defer(c, claim, 2000.0)).result() is True
        assert store.write(lambda c: queue.settle(c, claim)).result() is False
        assert store.read(queue.next_due) == 2000.0
        (claim,) = store.write(lambda c: queue.claim(c, "a", 2000.0)).result()
        assert store.write(lambda c: queue.settle(c, claim)).result() is True
        assert store.read(queue.next_due) is None

    def test_what_is_decided_never_returns(self, store: Store) -> None:
        store.write(lambda c: ledger.append(c, [ledger.entry(decision())])).result()
        assert store.write(lambda c: queue.append(c, [trigger(1), trigger(2)])).result() == 1
        assert store.write(lambda c: queue.append(c, [])).result() == 0


class TestJournal:
    def test_rows_in_order_by_kind_and_time(self, store: Store) -> None:
        rows = [
            journal.Row(
                position=n, kind="tick" if n % 3 else "records", now=1000.0 + n, version="v",
                payload=bytes([n % 256]),
            )
            for n in range(1, 450)
        ]  # fmt: skip

        def work(connection: Connection) -> None:
            for row in rows:
                journal.append(connection, row)

        store.write(work).result()
        assert store.read(lambda c: list(journal.rows_after(c, 0))) == rows
        assert store.read(lambda c: list(journal.rows_after(c, 440))) == rows[440:]
        only = store.read(lambda c: list(journal.rows_after(c, 100, kinds=["records"])))
        assert only == [row for row in rows[100:] if row.kind == "records"]
        assert store.read(journal.end) == (449, 1449.0)

    def test_a_snapshot_in_pieces(self, store: Store) -> None:
        def save(connection: Connection, position: int, *pieces: bytes) -> None:
            for piece in pieces:
                journal.save_piece(connection, position=position, piece=piece)
            journal.save_snapshot(connection, journal.Snapshot(position, 1.0, b"."))

        for position in (4, 6, 8):
            store.write(lambda c, at=position: save(c, at, b"a%d" % at, b"b")).result()  # type: ignore[misc]
        found = store.read(lambda c: list(journal.snapshots(c)))
        assert [(one.position, one.state) for one in found] == [(8, b"a8b."), (6, b"a6b.")]
        loose = store.read(journal.loose_pieces)
        assert len(loose) == 2
        assert len(store.read(lambda c: journal.loose_pieces(c, position=8))) == 4
        for number in loose:
            store.write(lambda c, n=number: journal.drop_piece(c, piece=n)).result()  # type: ignore[misc]
        assert store.read(journal.loose_pieces) == []
        assert store.read(lambda c: list(journal.snapshots(c))) == found

    def test_pruning_keeps_what_a_snapshot_needs(self, store: Store) -> None:
        def work(connection: Connection) -> None:
            for n in range(1, 11):
                row = journal.Row(position=n, kind="tick", now=n * 10.0, version="v", payload=b"")
                journal.append(connection, row)
            journal.prune(connection, before=1e9)  # nothing is covered yet
            for n in (4, 6, 8):
                journal.save_snapshot(connection, journal.Snapshot(n, n * 10.0, b"s"))

        def left(connection: Connection) -> tuple[list[int], list[int]]:
            rows = [row.position for row in journal.rows_after(connection, 0)]
            return rows, [one.position for one in journal.snapshots(connection)]

        store.write(work).result()
        assert store.read(left) == (list(range(1, 11)), [8, 6])
        store.write(lambda c: journal.prune(c, before=45.0)).result()
        assert store.read(left) == (list(range(5, 11)), [8, 6])
        store.write(lambda c: journal.prune(c, before=75.0)).result()
        assert store.read(left) == ([8, 9, 10], [8])
        store.write(lambda c: journal.prune(c, before=1e9)).result()
        assert store.read(left) == ([9, 10], [8])
        assert store.read(journal.end) == (10, 100.0)

    def test_fences_and_site_in_force(self, store: Store) -> None:
        one = journal.StoredFence('{"a":1}', "file")
        two = journal.StoredFence('{"b":2}', "http")
        changes = [journal.FenceChange("x", None, one), journal.FenceChange("y", None, two)]
        store.write(lambda c: journal.change_fences(c, changes)).result()
        assert store.read(journal.fences_in_force) == {"x": one, "y": two}
        changes = [journal.FenceChange("x", one, two), journal.FenceChange("y", two, None)]
        store.write(lambda c: journal.change_fences(c, changes)).result()
        assert store.read(journal.fences_in_force) == {"x": two}
        assert store.read(journal.site_in_force) is None
        site = journal.SiteText("site.toml", "timezone = 'Europe/Paris'", None)
        store.write(lambda c: journal.change_site(c, site)).result()
        assert store.read(journal.site_in_force) == site
        store.write(lambda c: journal.change_site(c, None)).result()
        assert store.read(journal.site_in_force) is None

    def test_records_come_back_equal(self) -> None:
        records = [
            Fix(subject="s", at=1.25, lon=2.0, lat=48.0, accuracy_m=5.5, received_at=9.0),
            Fix(subject="s", at=1.5, lon=-180.0, lat=90.0, id="i", mock=True),
        ]
        assert journal.decode_records(journal.encode_records(records)) == records
