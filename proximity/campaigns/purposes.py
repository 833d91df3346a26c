"""The question: what kinds of messages are there, and which yes does each of them need.

One table. It must not know who agreed to what: ``permission`` asks that of a person.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["ASKING", "LOCATION_PURPOSES", "PUBLIC_CHANNELS", "PURPOSES", "Purpose", "presses"]

PUBLIC_CHANNELS = frozenset({"email"})
"""Channels that a consent to push marketing does not speak of."""

LOCATION_PURPOSES = {
    "fix": ("location-background", "location-precise"),
    "sighting": ("beacon",),
}
"""Purposes of the consent to being located, by the kind of record that locates."""

ASKING = "opt-in"


class Purpose(NamedTuple):
    """A row of ``PURPOSES``.

    ``presses``: it is pressed upon people as marketing is, so quiet hours, age, objections and
    the caps on marketing bind it. ``consents``: any of these purposes of consent allows it;
    none named: any consent in force does, for that is a yes to the processing.
    """

    presses: bool
    consents: tuple[str, ...]
    says: str


PURPOSES = {
    "marketing": Purpose(True, ("marketing", "push-marketing"), "offers and advertising"),
    "content": Purpose(True, ("content",), "news, stories, what a place has to show"),
    "social": Purpose(True, ("social",), "what friends and other visitors do"),
    "reminder": Purpose(False, ("reminder",), "of what the person booked or saved themselves"),
    "service": Purpose(False, ("service",), "what somebody needs to know who is being served"),
    ASKING: Purpose(True, (), "the question whether somebody agrees to something"),
}
"""Every purpose a campaign may have; a new one is a new row."""


def presses(purpose: str) -> bool:
    """Whether a message is pressed upon people; one of an unknown purpose is taken to be."""
    row = PURPOSES.get(purpose)
    return row is None or row.presses
