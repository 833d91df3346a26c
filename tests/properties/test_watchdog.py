"""However the world flaps, the watchdog does not spin."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from beacon_gateway.watchdog import IDLE_S, Move, Watchdog

STARTS = {"start", "restart", "rebuild", "power", "reset"}
HAPPENINGS = st.tuples(
    st.floats(0.0, 20.0), st.sampled_from(["heard", "gone", "back", "off", "idle", "busy", "-"])
)


@given(st.lists(HAPPENINGS, max_size=200), st.lists(st.booleans(), min_size=1))
def test_nothing_makes_it_spin(happenings: list[tuple[float, str]], works: list[bool]) -> None:
    """However the world flaps, scans do not begin in quick succession."""
    watchdog = Watchdog(0.0)
    starts: list[float] = []
    now = 0.0

    def make(move: Move) -> None:
        if move in STARTS:
            starts.append(now)
            if works[len(starts) % len(works)]:
                watchdog.started(now)
            else:
                watchdog.tell("failed", now)

    for pause, happening in happenings:
        end = now + pause
        while (due := watchdog.due()) <= end:
            now = max(now, due)
            make(watchdog.look(now))
        now = end
        if happening == "heard":
            watchdog.heard(now)
        elif happening in {"idle", "busy"}:
            watchdog.idle(now, idle=happening == "idle")
        elif happening != "-":
            make(watchdog.tell(happening, now))  # type: ignore[arg-type]
    assert all(after - before >= IDLE_S - 1e-6 for before, after in pairwise(starts))
