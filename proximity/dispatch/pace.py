"""The question: how many offers may a channel be handed now, and how many of them again.

Two habits keep an outage from outlasting its cause. Retries draw on a budget that first sends fill:
a channel that fails is not asked more often than one that works. And a channel that fails again and
again is left alone but for a probe now and then, and taken up again step by step. What has to wait
meanwhile waits in the outbox, on disk; here is a handful of numbers for each channel. Pure: times
are given, in Unix seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from proximity.channels.channel import Outcome

__all__ = ["AT_ONCE", "Pace", "Room"]

AT_ONCE = 64
"""Hand-overs of a channel side by side: at a receiver's 30 ms they make 2,000 a second. A
withdrawal cannot call these back, so there are no more than that takes."""
RETRY_SHARE = 0.1
"""Retries for each first send. A channel that fails everything is asked a tenth oftener than one
that works, where twelve tries of each offer would be a twelvefold load; and an offer that is good
for two minutes seldom outlives more than its first retries anyway."""
MOST_TOKENS = 10.0
"""Retries in hand at most, and at the start: a quiet channel's offer gets all of its tries."""
TOKENS_A_SECOND = 0.1
"""A shop that sends one offer an hour earns no retries by its sends. One in ten seconds is a try of
its own for each doubling of the waits between tries, and nothing beside a busy channel's sends."""
TRIP_AFTER = 8
"""Failures in a row that mean the channel and not the offers: where one in ten fails by itself,
that comes about once in a hundred million sends. Where addresses are people's own, as many people:
what one phone's addresses answer, or do not, is that phone's to choose, and it bars nobody else."""
PROBE_S = 1.0
"""The first wait before a probe, doubled with each that fails."""
MOST_PROBE_S = 8.0
"""Once it works again a channel is found out within this, and back at its whole speed some round
trips later: within the half minute that an outage may be felt after its end. It costs a receiver
that is down for hours seven requests a minute."""
MOST_ASKED_S = 60.0
"""A receiver that is down may ask for a longer wait before the next probe, up to this."""

_DOWN = frozenset({"retry", "config_error"})
"""Outcomes that say something of the channel. The others mean that it works, whatever became of the
offer."""


class Room(NamedTuple):
    """What may begin now: so many offers in all, of them so many that were handed over before.

    ``barred``: none at all, because the channel fails; what can go another way should. ``probe``:
    one, to find out whether it still does.
    """

    total: int
    retries: int
    barred: bool = False
    probe: bool = False


class Pace:
    """How fast one channel is handed offers; ``now`` never falls from one call to the next."""

    def __init__(self, at_once: int = AT_ONCE) -> None:
        self._at_once = at_once
        self._limit = at_once  # of hand-overs side by side; 0: it is left alone
        self._flying = 0
        self._tokens = MOST_TOKENS
        self._filled_at: float | None = None
        self._failures = 0
        self._failed: set[str] = set()  # whose, of those failures; fewer than mean the channel
        self._probing = False
        self._probe_at = 0.0
        self._wait_s = PROBE_S

    @property
    def failing(self) -> bool:
        """Whether the channel is left alone but for probes."""
        return self._limit == 0

    def room(self, now: float) -> Room:
        """Tell what may begin at Unix second ``now``."""
        self._fill(now)
        if self._limit == 0:
            # What began before it was left alone comes back first, so that the answer is the
            # probe's own.
            free = self._flying == 0 and now >= self._probe_at
            return Room(1, 1, probe=True) if free else Room(0, 0, barred=True)
        free_now = max(0, self._limit - self._flying)
        return Room(free_now, min(free_now, int(self._tokens)))

    def begin(self, firsts: int, retries: int) -> None:
        """Count hand-overs that begin: so many of offers for the first time, so many again."""
        self._flying += firsts + retries
        earned = self._tokens + firsts * RETRY_SHARE - retries
        self._tokens = min(MOST_TOKENS, max(0.0, earned))
        self._probing = self._limit == 0 and firsts + retries > 0

    def end(
        self,
        outcome: Outcome | None,
        now: float,
        retry_after_s: float | None = None,
        *,
        retry: bool = False,
        whose: str | None = None,
    ) -> None:
        """Count a hand-over that ended at Unix second ``now``; None: it was not even tried.

        ``whose`` is the person whose own addresses it went to; None: it went where all go. That a
        ``retry`` fails says more of its offer, which failed before, than of the channel; and that
        somebody's addresses fail again, more of them.
        """
        self._flying = max(0, self._flying - 1)
        if outcome is None:
            self._probing = False
        elif outcome not in _DOWN:
            self._failures, self._probing, self._wait_s = 0, False, PROBE_S
            self._failed.clear()
            self._limit = min(self._at_once, self._limit + 1)
        elif self._limit == 0:
            if self._probing:
                self._wait_s = min(2.0 * self._wait_s, MOST_PROBE_S)
                self._leave_alone(now, retry_after_s)
        elif not retry and whose not in self._failed:
            self._failures += 1
            if whose is not None:
                self._failed.add(whose)
            if self._limit < self._at_once:
                self._limit = max(1, self._limit // 2)
            if self._failures >= TRIP_AFTER:
                self._leave_alone(now, retry_after_s)

    def free_at(self, at: float, *, retry: bool) -> float:
        """Tell when a first send, or a ``retry``, that is due at Unix second ``at`` may begin."""
        if self._limit == 0:
            return max(at, self._probe_at)
        if not retry or self._filled_at is None:
            return at
        return max(at, self._filled_at + (1.0 - self._tokens) / TOKENS_A_SECOND)

    def _leave_alone(self, now: float, retry_after_s: float | None) -> None:
        asked_s = min(retry_after_s or 0.0, MOST_ASKED_S)
        self._limit, self._failures, self._probing = 0, 0, False
        self._failed.clear()
        self._probe_at = now + max(self._wait_s, asked_s)

    def _fill(self, now: float) -> None:
        if self._filled_at is not None:
            since_s = max(0.0, now - self._filled_at)
            self._tokens = min(MOST_TOKENS, self._tokens + since_s * TOKENS_A_SECOND)
        self._filled_at = now if self._filled_at is None else max(now, self._filled_at)
