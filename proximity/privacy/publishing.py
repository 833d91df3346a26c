"""May these campaigns be published? Not where places are sensitive and nobody vouches for them.

Brings together what is judged (``sensitive``) and who vouched (``approvals``). It must not know
HTTP, commands or where fences come from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proximity.privacy import sensitive

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from geofences import Fence
    from proximity.campaigns.campaigns import Campaigns
    from proximity.privacy.policy import Policy
    from proximity.site.registry import Site

__all__ = ["refused", "refused_fences"]


def refused(
    campaigns: Campaigns,
    fences: Iterable[Fence],
    site: Site,
    policy: Policy,
    vouched: Collection[str] = (),
) -> list[sensitive.Use]:
    """List each use of a sensitive place by a campaign for which not enough people vouch."""
    drawn = list(fences)
    tags = {fence.id: fence.tags for fence in drawn}
    wanted = sensitive.places_of(campaigns, tags)
    if not wanted:
        return []
    found = sensitive.find(drawn, site, policy.layer, policy.buffer_m, only=wanted)
    return [
        use for use in sensitive.uses(campaigns, found, tags) if use.finding.what not in vouched
    ]


def refused_fences(
    puts: Iterable[Fence],
    others: Iterable[Fence],
    campaigns: Campaigns,
    site: Site,
    policy: Policy,
    vouched: Collection[str] = (),
) -> list[str]:
    """Say why fences may not be drawn; ``others`` are what they lie in.

    One in an area that the operator listed may not, whoever uses it; one that is sensitive by its
    words or by where it lies may not be what a campaign waits at.
    """
    drawn = {fence.id: fence for fence in puts}
    tags = {fence.id: fence.tags for fence in drawn.values()}
    every = {fence.id: fence for fence in others} | drawn
    found = sensitive.find(every.values(), site, policy.layer, policy.buffer_m, only=drawn.keys())
    found = {
        place: one for place, one in found.items() if place in drawn and one.what not in vouched
    }
    problems = [use.problem() for use in sensitive.uses(campaigns, found, tags)]
    used = {use.finding.place for use in sensitive.uses(campaigns, found, tags)}
    return problems + [
        f"fence {place!r} is {one.rule} ({one.because}): draw it elsewhere, or have two people "
        f"vouch for it: `proximity privacy approve {one.what!r} --who NAME --reason …`"
        for place, one in found.items()
        if one.listed and place not in used
    ]
