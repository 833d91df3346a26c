"""Four dispatchers on one PostgreSQL, of which some sleep past their leases and wake up sending."""

from __future__ import annotations

import asyncio
import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from proximity.dispatch import outbox, queue
from proximity.model import Trigger
from proximity.store import Store, ledger, schema
from tests.contracts.conftest import database, postgresql  # noqa: F401 - fixtures
from tests.edges.shop import CAMPAIGN, Process, until
from tests.servers import find

WORKERS = 4
SPEED = 30.0
"""A lease of a minute is over after two seconds."""
ROUNDS = 5
TRIGGERS = 400
PAUSED_S = 1.3 * max(queue.LEASE_S, outbox.LEASE_S) / SPEED


def trigger(number: int, now: float) -> Trigger:
    return Trigger(
        id=f"t{number}", campaign="coffee", version=1, person=f"p{number}", subject=f"s{number}",
        place="cafe", visit=f"v{number}", kind="enter", at=now, decided_at=now, evidence_at=now,
    )  # fmt: skip


def sink(folder: Path) -> Counter[str]:
    """How often each key was handed over."""
    return Counter(line.split()[0] for line in (folder / "sink").read_text().splitlines())


@pytest.mark.slow
@pytest.mark.parametrize("repeats", ["at_least_once", "at_most_once"])
async def test_who_sleeps_past_a_lease_is_fenced_off(
    tmp_path: Path,
    postgresql: str,  # noqa: F811 - the fixture
    repeats: str,
) -> None:
    find("initdb")
    store = Store.open(postgresql)
    for table in schema.metadata.sorted_tables:
        store.write(lambda c, one=table: c.execute(one.delete())).result()
    rules = tmp_path / "rules.toml"
    rules.write_text(f'{CAMPAIGN}\n[channel.console]\nrepeats = "{repeats}"\n')
    (tmp_path / "sink").touch()
    epoch = time.time()
    workers = [
        Process(
            sys.executable, "-m", "tests.edges.dispatching", postgresql, tmp_path / "sink",
            f"w{number}", f"{SPEED}@{epoch}", rules, log=tmp_path / f"w{number}.log",
        )
        for number in range(WORKERS)
    ]  # fmt: skip
    dice, slept, number = random.Random(9), 0, 0
    try:
        for worker in workers:
            await worker.start()
        for worker in workers:
            await worker.said("working")
        for _ in range(ROUNDS):
            now = epoch + (time.time() - epoch) * SPEED
            batch = [trigger(number + n, now) for n in range(TRIGGERS // ROUNDS)]
            number += len(batch)
            store.write(lambda c, some=batch: queue.append(c, some)).result()
            # In the middle of whatever they do: some hold claims, some leases, some are sending.
            await asyncio.sleep(dice.uniform(0.02, 0.3))
            asleep = dice.sample(workers, 2)
            for worker in asleep:
                worker.signal(signal.SIGSTOP)
            await asyncio.sleep(PAUSED_S)
            for worker in asleep:
                worker.signal(signal.SIGCONT)
            slept += len(asleep)

        def waiting() -> int:
            return store.read(lambda c: queue.depth(c) + outbox.depth(c))

        await until(lambda: waiting() == 0, why="something waits for ever")
        await asyncio.sleep(0.5)  # whoever woke up late has said what it had to say
    finally:
        for worker in workers:
            await worker.gone()
    rows, _ = store.read(lambda c: ledger.page(c, "decision", 0, 10_000))
    assert sorted(row.id for row in rows) == sorted(f"t{n}" for n in range(number))
    handed = sink(tmp_path)
    told, _ = store.read(lambda c: ledger.page(c, "delivery", 0, 10_000))
    store.close()
    keys = {row.id for row in rows}
    assert handed.keys() <= keys
    twice = sum(1 for count in handed.values() if count > 1)
    if repeats == "at_most_once":
        assert twice == 0, "seen twice"
        # One that was under way when its sender fell asleep may have been seen, or not.
        assert len(handed) >= number - slept * 16
    else:
        assert handed.keys() == keys, "never handed over"
        accepted = {row.record for row in told if '"accepted"' in row.record}
        assert len(accepted) >= number
    print(  # noqa: T201 - shown with -s
        f"{repeats}: {number} keys, {slept} sleeps past a lease, {len(handed)} seen, {twice} twice"
    )
