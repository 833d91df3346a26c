"""What is known of a person besides profile and consents: what they did, and where they were.

Values only, for gates and segments to look at; who reads them from the store is ``behaviour``'s.
"""

from __future__ import annotations

import msgspec

__all__ = ["NOTHING", "Happened", "Profile", "Stay"]


class Happened(msgspec.Struct, frozen=True, gc=False):
    """One event of a person: what, when (Unix seconds), and in which place if in any."""

    name: str
    at: float
    properties: dict[str, str | float | bool | None] = {}
    place: str | None = None
    id: str = ""


class Stay(msgspec.Struct, frozen=True, gc=False):
    """One visit of a person, Unix seconds; ``exit_at`` None while it lasts.

    ``tags`` are those of the place and its parents: they tell the category of the venue.
    """

    visit: str
    place: str
    enter_at: float
    exit_at: float | None = None
    tags: tuple[str, ...] = ()

    def dwell_s(self, now: float) -> float:
        """Tell how long it has lasted by Unix second ``now``."""
        return max(0.0, (now if self.exit_at is None else self.exit_at) - self.enter_at)


class Profile(msgspec.Struct, frozen=True):
    """A person's events and visits, each oldest first, back to Unix second ``since``."""

    events: tuple[Happened, ...] = ()
    visits: tuple[Stay, ...] = ()
    since: float = 0.0

    def answers(self) -> Profile:
        """Give what they answered to questions for a consent, and nothing else that they did."""
        return Profile(tuple(one for one in self.events if one.name.startswith("optin-")))


NOTHING = Profile()
"""Of whom nothing is known."""
