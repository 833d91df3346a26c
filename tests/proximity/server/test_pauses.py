"""The collector under a server: what stays is passed over, and no cycle of garbage stays for good."""

from __future__ import annotations

import asyncio
import gc
import sys
import weakref
from types import SimpleNamespace
from typing import Any, cast

import pytest

from proximity.server import pauses, rounds


class Loop:
    """Refers to itself, so that only the collector can free it."""

    def __init__(self) -> None:
        self.itself = self


def test_nothing_is_looked_for_while_a_program_is_loaded() -> None:
    with pauses.put_off():
        assert not gc.isenabled()
        with pauses.put_off():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()


def test_what_there_is_at_the_start_is_looked_at_no_more() -> None:
    before = sys.getswitchinterval(), gc.get_threshold()
    with pauses.kept_short():
        assert gc.get_freeze_count() > 10_000
        assert sys.getswitchinterval() == pytest.approx(pauses.TURN_S)
        assert gc.get_threshold() == (pauses.YOUNG, pauses.SURVIVORS, pauses.NEVER)
    assert (sys.getswitchinterval(), gc.get_threshold()) == before
    assert gc.get_freeze_count() == 0


def test_a_cycle_goes_at_the_next_turn_or_with_the_whole() -> None:
    with pauses.kept_short():
        young = weakref.ref(Loop())
        pauses.collect(whole=False)
        assert young() is None
        old = Loop()
        seen = weakref.ref(old)
        pauses.collect(whole=False)
        del old
        pauses.collect(whole=False)
        assert seen() is not None, "it died after it was put by"
        pauses.collect(whole=True)
        assert seen() is None


async def test_what_a_flood_leaves_is_not_left_for_a_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All of it at once would be a third of a second in which nobody is answered."""
    monkeypatch.setattr(rounds, "NEW_S", 0.01)
    collected: list[bool] = []
    monkeypatch.setattr(pauses, "collect", lambda *, whole: (gc.collect(), collected.append(whole)))
    parts = cast(
        "Any", SimpleNamespace(closing=asyncio.Event(), ingest=SimpleNamespace(position=1))
    )
    with pauses.kept_short():
        collecting = asyncio.create_task(rounds.collect_always(parts))
        await asyncio.sleep(0.1)
        assert collected == [], "there is next to nothing"
        kept = [[number] for number in range(2 * pauses.YOUNG * pauses.SURVIVORS)]
        await asyncio.sleep(0.1)
        parts.closing.set()
        await collecting
    assert collected == [False]
    assert len(kept) > 0
