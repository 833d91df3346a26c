"""The engine's time never goes back, and a clock that does is told of."""

from __future__ import annotations

import pytest

from proximity.ingest.clock import MOST_BACK_S, ClockSetBack, Present


def test_time_stands_while_the_clock_is_behind() -> None:
    now = [1000.0]
    present = Present(lambda: now[0], latest=1001.0)
    assert present.tell() == 1001.0
    now[0] = 1002.0
    assert present.tell() == 1002.0
    now[0] -= MOST_BACK_S
    present.check()
    assert present.tell() == 1002.0
    now[0] -= 1.0
    assert not present.sound
    with pytest.raises(ClockSetBack, match="set back by 61 s"):
        present.check()
    now[0] = 1003.0
    assert present.sound
