"""Told to stop under load: what is under way is finished, and the next start is like any other."""

from __future__ import annotations

import re
import signal
import time
from pathlib import Path

import pytest

from tests.edges.shop import Senders, Shop, nothing_lost, one_effect_each, until

DRAIN_S = 10.0


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
async def test_a_stop_under_load(tmp_path: Path, how: signal.Signals) -> None:
    """Asked to or killed: what was acknowledged is there, and one way of starting finds it."""
    shop = Shop(tmp_path / "shop")
    assert await shop.open()
    senders = Senders(shop, 500.0)
    try:
        await until(lambda: len(senders.taken) >= 1000)
        began = time.monotonic()
        ended = await shop.end(how)
        took_s = time.monotonic() - began
        if how == signal.SIGKILL:
            assert ended == -signal.SIGKILL
        else:
            assert ended == 0, shop.server.told()
            assert took_s < DRAIN_S
        # Nothing was taken in after the stop, and nothing that was taken in is missing.
        nothing_lost(shop, senders.taken)
        assert await shop.open()
        await senders.stop()
        nothing_lost(shop, senders.taken)
        await one_effect_each(shop, senders.subjects)
        assert await shop.end(signal.SIGTERM) == 0
    finally:
        await senders.close()
        await shop.server.gone()
    told = re.findall(r'"event": "(\w+)"', (tmp_path / "shop" / "server.log").read_text())
    starts = [event for event in told if event in {"recovered", "listening"}]
    assert starts == ["recovered", "listening"] * 3, "one way to start, whatever came before"
    assert set(senders.refused) <= {503}
    print(f"{how.name}: ended after {took_s:.2f} s")  # noqa: T201 - shown with -s
