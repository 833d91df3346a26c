"""`proximity worker` beside a server: it decides and sends, keeps to the rules, and may be killed."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.edges.shop import (
    CAMPAIGN,
    PROXIMITY,
    Process,
    Senders,
    Shop,
    in_ci,
    nothing_lost,
    one_effect_each,
    until,
)
from tests.edges.test_postgresql import Elsewhere, name
from tests.servers.postgresql import PostgreSql

pytestmark = pytest.mark.slow

KILLS = in_ci(6, 30)


@pytest.fixture
def database() -> Iterator[PostgreSql]:
    server = PostgreSql()
    server.start()
    try:
        yield server
    finally:
        server.stop()
        server.remove()


def worker(shop: Shop, data: Path, rules: Path) -> Process:
    return Process(
        sys.executable, "-m", "proximity", "worker", "--data", data, "--campaigns", rules,
        log=shop.folder / "worker.log",
    )  # fmt: skip


async def refused(data: Path, *words: object) -> str:
    command = [str(word) for word in (*PROXIMITY, "worker", "--data", data, *words)]
    done = await asyncio.to_thread(
        subprocess.run, command, check=False, capture_output=True, text=True
    )
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    return line


async def test_workers_on_other_machines_do_all_there_is_to_do(
    tmp_path: Path, database: PostgreSql
) -> None:
    """The server decides and sends as well; what it has not yet taken, a worker takes."""
    shop = Elsewhere(tmp_path, database)
    elsewhere = tmp_path / "elsewhere"
    name(elsewhere, database)
    rules = tmp_path / "campaigns.toml"
    assert "no server has worked" in await refused(elsewhere, "--campaigns", rules)
    assert await shop.open()
    assert "another campaigns file" in await refused(elsewhere)
    (tmp_path / "other.toml").write_text(f"{CAMPAIGN}\n")
    assert "another campaigns file" in await refused(
        elsewhere, "--campaigns", tmp_path / "other.toml"
    )
    works = [worker(shop, elsewhere, rules) for _ in range(2)]
    senders = Senders(shop, 300.0)
    kills = 0
    try:
        for one in works:
            await one.start()
            assert await one.said("working") == ""
        while kills < KILLS:
            least = len(senders.taken) + 100
            await until(lambda least=least: len(senders.taken) >= least)
            # A server that is stopped decides nothing; a worker that is, nothing either.
            victim = works[kills % 2]
            assert await victim.end(signal.SIGKILL) == -signal.SIGKILL
            await victim.start()
            kills += 1
        await senders.stop()
        nothing_lost(shop, senders.taken)
        shop.server.signal(signal.SIGSTOP)
        try:
            # What the server had not leased is theirs, though it does nothing at all.
            await until(lambda: shop.books.ask("SELECT count(*) FROM triggers") == [(0,)])
        finally:
            shop.server.signal(signal.SIGCONT)
        for one in works:
            await until(lambda one=one: one.catches(signal.SIGTERM))
            assert await one.end(signal.SIGTERM) == 0, one.told()
        await one_effect_each(shop, senders.subjects)
        assert await shop.end(signal.SIGTERM) == 0
    finally:
        await senders.close()
        for one in (*works, shop.server):
            await one.gone()


async def test_a_worker_alone_decides_and_sends_what_is_left(tmp_path: Path) -> None:
    """On the same machine a worker takes the server's own folder; the server may be away."""
    shop = Shop(tmp_path)
    assert await shop.open()
    senders = Senders(shop, 300.0)
    work = worker(shop, shop.data, tmp_path / "campaigns.toml")
    try:
        await until(lambda: len(senders.taken) >= 200)
        assert await shop.end(signal.SIGKILL) == -signal.SIGKILL
        entered = {one["subject"] for one in shop.books.ledger("transition")}
        assert entered
        await work.start()
        assert await work.said("working") == ""
        await until(lambda: shop.books.ask("SELECT count(*) FROM triggers") == [(0,)], 120)
        decided = {one["subject"] for one in shop.books.ledger("decision")}
        assert decided == entered
        assert await work.end(signal.SIGTERM) == 0, work.told()
    finally:
        await senders.close()
        await work.gone()
        await shop.server.gone()


async def test_it_stops_where_the_rules_are_others_now(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    old = tmp_path / "old.toml"
    old.write_text(CAMPAIGN)
    assert await shop.open()
    work = worker(shop, shop.data, old)
    senders = Senders(shop, 100.0)
    try:
        await work.start()
        assert await work.said("working") == ""
        assert await shop.end(signal.SIGTERM) == 0
        (tmp_path / "campaigns.toml").write_text(CAMPAIGN.replace("Coffee.", "Tea."))
        assert await shop.open()
        assert await work.ended() == 1
        assert "goes by other rules now" in work.told()
        await until(lambda: len(senders.taken) >= 100)
        await senders.stop()
        await one_effect_each(shop, senders.subjects)
        assert await shop.end(signal.SIGTERM) == 0
    finally:
        await senders.close()
        await work.gone()
        await shop.server.gone()
