"""The server dies at its system call number N, for every N: nothing acknowledged is lost or doubled.

`strace` kills it on the way into the Nth write, sync or send of any of its threads: before the row,
between row and sync, between sync and answer, between a decision and its delivery. What a reader
can do without this test stands in ``docs/durability.md``.
"""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path

import pytest

from tests.edges.shop import Senders, Shop, attach, in_ci, nothing_lost, one_effect_each
from tests.servers import find

CALLS = "pwrite64,fdatasync,sendto,sendmsg"
POINTS = range(1, 301, in_ci(8, 1))
STARTING = range(1, 61, in_ci(30, 4))
"""Besides, those that are counted from the first call of a start, for what it does itself."""
RATE = 400.0
OF_ONE = 2


def strace(point: int) -> list[str]:
    return [
        find("strace"), "-f", "-qq", "-o", "/dev/null", "-e", f"trace={CALLS}",
        "-e", f"inject={CALLS}:signal=KILL:when={point}",
    ]  # fmt: skip


async def dies(shop: Shop, name: str) -> set[tuple[str, float]]:
    """Report to a server until it dies; what it had acknowledged."""
    senders = Senders(shop, RATE, name=name, of_one=OF_ONE)
    try:
        assert await shop.server.ended() == -signal.SIGKILL, shop.server.told()
        shop.up.clear()
        return senders.taken
    finally:
        await senders.close()


def consistent(shop: Shop, taken: set[tuple[str, float]]) -> None:
    shop.books.whole()
    nothing_lost(shop, taken)
    decided = Counter(one["subject"] for one in shop.books.ledger("decision"))
    assert {one: n for one, n in decided.items() if n != 1} == {}, "decided twice"


@pytest.mark.slow
async def test_dead_at_any_system_call(tmp_path: Path) -> None:
    shop = Shop(tmp_path / "shop")
    taken: set[tuple[str, float]] = set()
    died_starting = 0
    try:
        for point in STARTING:
            # A tracer that is not the parent: what we started is the server itself.
            if await shop.open([*strace(point)[:1], "-D", *strace(point)[1:]]):
                taken |= await dies(shop, f"a{point}-")
            else:
                assert await shop.server.ended() == -signal.SIGKILL, shop.server.told()
                died_starting += 1
            consistent(shop, taken)
        for point in POINTS:
            assert await shop.open(), shop.server.told()
            tracer = await attach(shop, *strace(point))
            taken |= await dies(shop, f"b{point}-")
            await tracer.wait()
            consistent(shop, taken)
        assert died_starting
        assert await shop.open()
        await one_effect_each(shop, {subject for subject, _ in taken})
        assert await shop.end(signal.SIGTERM) == 0
    finally:
        await shop.server.gone()
    print(  # noqa: T201 - shown with -s
        f"{len(POINTS) + len(STARTING)} crash points, {died_starting} of them while starting, "
        f"{len(taken)} acknowledged, 0 lost, 0 decided twice"
    )
    assert len(taken) > len(POINTS)
