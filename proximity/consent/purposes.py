"""To what can somebody agree, and is what stands in a consent one thing, said of a time? Pure.

Knows consents as they are written; knows no ledger and no campaign.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from proximity.consent.precision import LOCATION
from proximity.model import ProximityError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from proximity.model import Consent

__all__ = [
    "BOUNDING", "EVERYTHING", "PROFILING", "PURPOSES", "check_purpose", "consent_problems",
    "purpose_problem", "refuses", "unasked",
]  # fmt: skip

PURPOSES = {
    "marketing": "offers and advertising, on every channel that is named with it",
    "push-marketing": "offers and advertising on every channel but e-mail",
    "content": "news and stories",
    "social": "what friends and other visitors do",
    "reminder": "of what somebody booked or saved themselves",
    "service": "what somebody needs to know who is being served",
    "location-background": "where somebody is, while the app is not in front",
    "location-precise": "where somebody is, exactly",
    "beacon": "which beacons are near, or near which receivers their tag is",
    "profiling": "conclusions from what somebody did and where they were",
    "sharing": "with other companies",
}
"""The purposes that the engine itself asks after; others are taken, and mean what their askers
say. Each is a row of its own: a yes to one is none to another (GDPR recital 43)."""

EVERYTHING = frozenset({"all", "any", "everything", "*", "-"})
"""What people write who mean all at once."""


PROFILING = "profiling"
SHARING = "sharing"
"""To being told of to other companies."""

BOUNDING = frozenset({*LOCATION, PROFILING})
"""Purposes of which a no counts though no yes came before it: it bounds what is done otherwise."""


def refuses(consents: Iterable[Consent], purpose: str, at: float) -> bool:
    """Whether somebody has said something of a purpose, and no yes of it is in force at ``at``.

    Who never spoke of it is taken by their other consents, as with being located.
    """
    said = [one for one in consents if one.purpose == purpose]
    return bool(said) and not any(one.holds(at) for one in said)


def check_purpose(purpose: str) -> None:
    """Raise ProximityError where a purpose stands for several at once, or for none."""
    problem = purpose_problem(purpose)
    if problem is not None:
        raise ProximityError(problem)


def purpose_problem(purpose: str) -> str | None:
    """Say that a purpose stands for several at once, or for none; None where it is one."""
    if purpose and purpose.lower() not in EVERYTHING:
        return None
    return (
        f"purpose {purpose!r}: consent is given to one purpose at a time, a row each: name "
        f"one of {', '.join(PURPOSES)}, or one of your own"
    )


def consent_problems(consent: Consent, *, or_no: bool = False) -> Iterator[str]:
    """Say what is wrong with a consent that its shape alone does not show.

    ``or_no``: a word on what bounds may also be the no that an export wrote as a consent.
    """
    problem = purpose_problem(consent.purpose)
    if problem is not None:
        yield problem
    since, until = consent.since, consent.until
    begins = 0.0 if since is None else since
    no = or_no and since is not None and consent.purpose in BOUNDING
    if until is not None and (until < begins if no else until <= begins):
        yield "a consent must end after it begins; to withdraw, withdraw"


def unasked(purpose: str) -> str | None:
    """Say that the engine asks after no purpose of this name, and which was meant; else None.

    It is no fault: a purpose may be one of the operator's own.
    """
    if purpose in PURPOSES:
        return None
    near = difflib.get_close_matches(purpose, PURPOSES, n=1)
    meant = f"did you mean {near[0]!r}?" if near else f"it does after {', '.join(PURPOSES)}"
    return f"the engine asks after no purpose {purpose!r}, and keeps it as one of yours; {meant}"
