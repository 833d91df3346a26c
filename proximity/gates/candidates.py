"""The question: what may the gates look at.

Values only, gathered by whoever decides: one trigger, and all that is known by then of its person,
place and campaign. It must not know how any gate judges.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from proximity.consent.purposes import PROFILING, refuses
from proximity.people.facts import NOTHING, Profile

if TYPE_CHECKING:
    from proximity.campaigns.campaigns import Campaign, Campaigns, PlaceFacts
    from proximity.model import Person, Trigger

__all__ = ["Candidate", "Rival", "Send"]


class Send(msgspec.Struct, frozen=True, gc=False):
    """An earlier send that was reserved for a person; ``at`` Unix seconds.

    ``system`` names the other system that sent it; None: it was this one. ``around`` are the places
    in which ``place`` lies, told where a cap asks.
    """

    decision: str
    campaign: str
    purpose: str
    at: float
    place: str = ""
    visit: str = ""
    channel: str | None = None
    system: str | None = None
    around: tuple[str, ...] = ()


class Rival(msgspec.Struct, frozen=True, order=True, gc=False):
    """Another campaign that the same moment would send; the lesser one ranks before the greater.

    ``rank`` is the priority with its sign turned, ``worth`` likewise what it is worth to the
    person: the higher come first, and of equal ones the first id.
    """

    rank: float
    worth: float
    campaign: str
    id: str


class Candidate(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """All that the gates may look at, gathered for one trigger at Unix second ``now``.

    ``person`` holds the consents in force in the transaction that decides; ``objected`` that they
    object to being sent anything of the kind. ``sends`` are that person's earlier sends, far enough
    back for every cap and cooldown (``Campaigns.back_s``); ``profile`` what they did and where they
    were, as far back as the campaign asks (``Campaign.needs_profile_s``) and as they agreed to be
    profiled. ``stock_left`` are the units of each stock of the campaign; ``rivals`` the others that
    this moment would send. ``deferred_at`` is when the trigger was first judged, if it was deferred
    then. ``assumed`` tells that consent is kept upstream.
    """

    trigger: Trigger
    campaign: Campaign
    rules: Campaigns
    place: PlaceFacts
    person: Person
    now: float
    sends: tuple[Send, ...] = ()
    profile: Profile = NOTHING
    objected: bool = False
    stock_left: Mapping[str, int] = {}
    rivals: tuple[Rival, ...] = ()
    deferred_at: float | None = None
    assumed: bool = False

    def __post_init__(self) -> None:
        if self.profile is NOTHING or self.assumed:
            return
        if refuses(self.person.consents, PROFILING, self.now):
            msgspec.structs.force_setattr(self, "profile", self.profile.answers())
