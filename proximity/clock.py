"""What time is it, for a program that runs for years and whose machine's clock may be set?"""

from __future__ import annotations

import time

__all__ = ["Clock"]


class Clock:
    """The wall clock, never going back: a step of the machine's clock stops time instead.

    ``wall`` tells what the machine says, set back or not.

    From its start on it runs ``speed`` times as fast, for rehearsals with traces sent faster than
    they were made.
    """

    def __init__(self, speed: float = 1.0) -> None:
        self._speed = speed
        self._start = time.time()
        self._latest = 0.0

    def __call__(self) -> float:
        """Tell Unix seconds."""
        self._latest = max(self._latest, self.wall())
        return self._latest

    def wall(self) -> float:
        """Tell Unix seconds as the machine does at this moment."""
        return self._start + (time.time() - self._start) * self._speed
