"""May somebody be asked for a consent now? Never at install, not twice in a row, never after a no.

The question itself is an offer like any other; what became of it comes back as events. Here is
only what those events mean. Pure: time is given, events are given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from proximity.people.facts import Profile

__all__ = ["ANSWERS", "EVENTS", "Answer", "Asked", "asked", "free_at"]

Answer = Literal["shown", "later", "accepted", "declined"]

ANSWERS: dict[Answer, str] = {
    "shown": "once",  # left without an answer: not now
    "later": "doubling",  # each "later" is twice as long as the one before
    "accepted": "never",
    "declined": "never",  # a no is a no: they can still say yes by themselves
}
"""What becomes of the question after each answer: asked again after ``back_off_s`` ``once``,
``doubling``, or ``never``."""

EVENTS: dict[str, Answer] = {f"optin-{answer}": answer for answer in ANSWERS}
"""The reserved names of events that tell of the question, each with the property ``purpose``."""

MOST_DOUBLINGS = 10
"""Of the wait after "later": a thousand times, which for a wait of a week is two decades."""


class Asked(msgspec.Struct, frozen=True):
    """What became of the question for one purpose so far.

    ``shown`` and ``later`` count; ``last`` is the newest thing that was said, at Unix second
    ``at``. Both are None where it was never asked.
    """

    shown: int = 0
    later: int = 0
    last: Answer | None = None
    at: float | None = None


def asked(profile: Profile, purpose: str) -> Asked:
    """Read from a person's events what became of the question for ``purpose``."""
    shown = later = 0
    last: Answer | None = None
    at: float | None = None
    for event in profile.events:  # oldest first
        answer = EVENTS.get(event.name)
        if answer is None or event.properties.get("purpose") != purpose:
            continue
        shown += answer == "shown"
        later += answer == "later"
        # A no or a yes stands, whatever screen was shown once more by an app that did not ask us.
        if last is None or ANSWERS[last] != "never" or ANSWERS[answer] == "never":
            last, at = answer, event.at
    return Asked(shown, later, last, at)


def free_at(so_far: Asked, most: int | None, back_off_s: float) -> float | None:
    """Tell from which Unix second on it may be asked (again): 0 at once, None never.

    ``most`` is how often it may be shown in all, None without end; ``back_off_s`` the wait after
    it was shown.
    """
    if most is not None and so_far.shown >= most:
        return None
    if so_far.last is None or so_far.at is None:
        return 0.0
    rule = ANSWERS[so_far.last]
    if rule == "never":
        return None
    doublings = min(max(so_far.later - 1, 0), MOST_DOUBLINGS) if rule == "doubling" else 0
    return so_far.at + back_off_s * 2.0**doublings
