"""The question: does somebody look into an inbox far oftener than was agreed.

A bucket for each reader that leaks with time: a few quick looks are nobody's harm, a program that
asks without end is told when to come again. Bounded: of many readers the one not heard of for
longest is forgotten, and may look at once.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Pace"]

OFTENER = 4.0
"""Looks within the interval agreed on: three devices of one person, and one by hand."""
AT_ONCE = 60.0
"""Looks one after the other before anything is said: somebody who goes through the pages of a shop,
each of which shows the inbox."""
MOST_KNOWN = 10_000
"""Readers remembered, some 200 bytes each."""


class Pace:
    """How often each reader looked of late; ``elapsed`` gives seconds from any beginning."""

    def __init__(self, elapsed: Callable[[], float] = time.monotonic) -> None:
        self._elapsed = elapsed
        self._known: OrderedDict[str, tuple[float, float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def wait_s(self, reader: str, every_s: float) -> float:
        """Count one look; give the seconds for which the reader has to wait first, 0 for none.

        ``every_s`` is the interval where the reader's own is not known yet.
        """
        now = self._elapsed()
        level, at, every_s = self._known.pop(reader, (0.0, now, every_s))
        level = max(0.0, level - (now - at) * OFTENER / every_s)
        over = level + 1.0 - AT_ONCE
        self._known[reader] = (level if over > 0.0 else level + 1.0), now, every_s
        if len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)
        return max(0.0, over * every_s / OFTENER)

    def agreed(self, reader: str, every_s: float) -> None:
        """Remember a reader's own interval, in seconds."""
        level, at, _ = self._known.get(reader, (0.0, self._elapsed(), every_s))
        self._known[reader] = level, at, every_s
