"""The queue under competition: every trigger is settled once, whoever dies."""

from __future__ import annotations

import random
from pathlib import Path

from proximity.dispatch import queue
from proximity.store import Store, schema
from tests.contracts.test_store_contract import trigger


def test_claimers_that_die_lose_nothing_and_settle_nothing_twice(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "engine.db")
    dice = random.Random(1)
    store.write(lambda c: queue.append(c, [trigger(n) for n in range(200)])).result()
    settled: list[str] = []
    late: list[queue.Claim] = []
    now = 1000.0
    while store.read(queue.depth):
        now += 10.0
        for owner in ("a", "b", "c"):
            claims = store.write(
                lambda c, o=owner, t=now: queue.claim(c, o, t, lease_s=15.0, limit=20)  # type: ignore[misc]
            ).result()
            for claim in claims:
                if dice.random() < 0.4:  # dies, or wakes up after its lease
                    late.append(claim)
                elif store.write(lambda c, one=claim: queue.settle(c, one)).result():  # type: ignore[misc]
                    settled.append(claim.trigger.id)
        while late and dice.random() < 0.5:
            claim = late.pop(0)
            if store.write(lambda c, one=claim: queue.settle(c, one)).result():  # type: ignore[misc]
                settled.append(claim.trigger.id)
    assert sorted(settled) == [f"t{n:04}" for n in range(200)]
    store.close()


def test_two_processes_claim_different_triggers(tmp_path: Path) -> None:
    one, two = (Store.open(tmp_path / "engine.db") for _ in range(2))
    one.write(lambda c: queue.append(c, [trigger(n) for n in range(10)])).result()
    first = one.write(lambda c: queue.claim(c, "a", 2000.0, limit=6)).result()
    second = two.write(lambda c: queue.claim(c, "b", 2000.0, limit=6)).result()
    assert len(first) == 6
    assert len(second) == 4
    assert not {c.trigger.id for c in first} & {c.trigger.id for c in second}
    one.close()
    two.close()


def test_a_trigger_comes_back_as_it_went() -> None:
    store = Store.open(":memory:")
    store.write(lambda c: queue.append(c, [trigger(7)])).result()
    (claim,) = store.write(lambda c: queue.claim(c, "a", 2000.0)).result()
    assert claim.trigger == trigger(7)
    assert (claim.token, claim.attempts) == (1, 1)
    store.close()


def test_one_that_cannot_be_read_stops_no_other() -> None:
    store = Store.open(":memory:")
    store.write(lambda c: queue.append(c, [trigger(n) for n in range(3)])).result()
    damaged = schema.triggers.update().where(schema.triggers.c.seq == 2).values(trigger=b"\xc1")
    store.write(lambda c: c.execute(damaged)).result()
    claims = store.write(lambda c: queue.claim(c, "a", 2000.0)).result()
    assert [claim.trigger for claim in claims] == [trigger(0), trigger(2)]
    assert store.read(queue.depth) == 2
    for claim in claims:
        assert store.write(lambda c, one=claim: queue.settle(c, one)).result()  # type: ignore[misc]
    assert store.read(queue.next_due) is None, "nobody waits for it"
    assert store.write(lambda c: queue.claim(c, "a", 1e9)).result() == []
    store.close()
