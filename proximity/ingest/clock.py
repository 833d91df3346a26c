"""What time is it for the engine, whose time never goes back, while the machine's clock may?

Knows one clock and the latest time told; a journal row, a tick and an answer all ask here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from proximity.store import StoreFailed

if TYPE_CHECKING:
    from collections.abc import Callable

log = structlog.get_logger(__name__)

# So far back a clock may be set and time merely stands still: what a machine that was a little
# ahead is corrected by. Beyond it every fix of the real present would count as late.
MOST_BACK_S = 60.0


class ClockSetBack(StoreFailed):
    """The clock stands far behind the time of what was taken already; nothing was taken."""


class Present:
    """The present in Unix seconds: what ``clock`` says, or ``latest`` where it was set back."""

    def __init__(self, clock: Callable[[], float], latest: float = 0.0) -> None:
        self._clock = clock
        self._latest = latest
        self._told = False

    @property
    def sound(self) -> bool:
        """Whether the clock is right, or as good as right."""
        return self._back_s() <= MOST_BACK_S

    def tell(self) -> float:
        """Give the time of the clock, or the latest time told where it was set back since."""
        self._latest = max(self._latest, self._clock())
        return self._latest

    def check(self) -> float:
        """Tell the time; raise ClockSetBack where it stands too far back to take records by."""
        now = self._clock()
        if now < self._latest - MOST_BACK_S:
            raise ClockSetBack(
                f"the server's clock was set back by {self._latest - now:.0f} s: set it right, or "
                "wait until it has caught up; nothing was taken, send it again then"
            )
        self._latest = max(self._latest, now)
        return self._latest

    def watch(self) -> None:
        """Log once that the clock was set back, and once that it is well again."""
        if self._told == self.sound:
            self._told = not self._told
            if self._told:
                log.error("the clock was set back: nothing is taken", seconds=round(self._back_s()))
            else:
                log.info("the clock has caught up")

    def _back_s(self) -> float:
        return self._latest - self._clock()
