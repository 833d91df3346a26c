"""Why did a campaign decide nothing about a visit that it might have met?

Knows what campaigns wait for and the transitions of one visit, as the ledger has them. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from proximity.campaigns.campaigns import waited
from proximity.model import Transition, parse_time

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from proximity.campaigns.campaigns import Campaign, Campaigns, PlaceFacts, TriggerRule

__all__ = ["Unmet", "unmet"]


class Unmet(msgspec.Struct, frozen=True, kw_only=True):
    """Why a campaign that watches a place has no decision about a visit to it.

    ``code`` is one of ``WORDS``; ``says`` the same in words; ``dwell_s`` seconds, where it waited
    for as long a stay.
    """

    campaign: str
    code: str
    says: str
    dwell_s: float | None = None


WORDS = {
    "enter": "waits for enter, which did not happen in this visit",
    "dwell": "waits for dwell, which did not happen in this visit",
    "dwell_s": "waits for a dwell of {dwell_s:g} s, which did not happen",
    "exit": "waits for exit, which did not happen in this visit",
    "pass": "waits for pass, which did not happen in this visit",
    "event": "waits for an event that did not happen in this visit",
    "manual": "is sent by hand, which nobody did in this visit",
    "late": "the visit was found late, which triggers nothing",
    "waited": "what told of it had waited in a receiver, which triggers nothing",
    "undecided": "not decided yet, or not in force when it happened",
}
"""Every reason, in the words of an engineer."""


def unmet(
    place: PlaceFacts,
    transitions: Sequence[Mapping[str, Any]],
    decided: set[str],
    campaigns: Campaigns,
) -> tuple[Unmet, ...]:
    """Say of each campaign that watches a place why it is not among those ``decided`` there.

    ``transitions`` are one visit's, as records of contract 6.
    """
    found = []
    for campaign in campaigns.campaigns.values():
        rules = _watching(campaign, place)
        if rules and campaign.id not in decided:
            found.append(_why(campaign.id, rules, place, transitions))
    return tuple(found)


def _watching(campaign: Campaign, place: PlaceFacts) -> list[TriggerRule]:
    """List what a campaign waits for in this place."""
    around = {place.id, *place.parents}
    tags = {*place.tags, *place.venue_tags}
    return [
        rule
        for rule in campaign.waits_for
        if place.id in rule.places
        or not rule.tags.isdisjoint(place.tags)
        or (rule.on == "event" and not rule.places.isdisjoint(around))
        or (rule.on == "event" and not rule.tags.isdisjoint(tags))
    ]


def _why(
    campaign: str,
    rules: Sequence[TriggerRule],
    place: PlaceFacts,
    transitions: Sequence[Mapping[str, Any]],
) -> Unmet:
    """Say why none of these rules was met: the one that came nearest to it speaks for all."""
    happened = [one for one in transitions if one["kind"] != "corrected"]
    for rule in rules:
        alike = [
            one
            for one in happened
            if one["kind"] == rule.on and rule.dwell_s in {None, one.get("dwell_s")}
        ]
        if alike and any(one.get("late") for one in happened):
            return _unmet(campaign, "late")
        if alike and all(_waited(one, place) for one in alike):
            return _unmet(campaign, "waited")
        if alike:
            return _unmet(campaign, "undecided")
    first = rules[0]
    if first.dwell_s is not None and any(one["kind"] == "dwell" for one in happened):
        return _unmet(campaign, "dwell_s", first.dwell_s)
    return _unmet(campaign, first.on, first.dwell_s)


def _unmet(campaign: str, code: str, dwell_s: float | None = None) -> Unmet:
    says = WORDS[code].format(dwell_s=dwell_s)
    return Unmet(campaign=campaign, code=code, says=says, dwell_s=dwell_s)


def _waited(record: Mapping[str, Any], place: PlaceFacts) -> bool:
    """Whether the record of a transition says that it had waited in a receiver."""
    at, decided_at = parse_time(record["at"]), parse_time(record["decided_at"])
    kind, because = record["kind"], record.get("because", {})
    return waited(Transition(kind, "", place.id, "", at, decided_at, because), place)
