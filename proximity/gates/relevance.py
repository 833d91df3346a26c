"""The question: is it meant for this person, in these circumstances, and worth their while.

Gates on segment, confidence, context, affinity, value and asking: pure, each with the evidence it
judged by. It must not know how profiles are kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proximity.campaigns.campaigns import has_properties
from proximity.campaigns.recall import FEW, recall
from proximity.consent.optin import asked, free_at
from proximity.consent.purposes import PROFILING, refuses
from proximity.model import format_time
from proximity.people.affinity import affinities

if TYPE_CHECKING:
    from proximity.campaigns.campaigns import Circumstance
    from proximity.gates.candidates import Candidate
    from proximity.people.facts import Happened, Profile
    from proximity.segments.rules import Rule

__all__ = ["affinity", "ask", "confidence", "context", "least_value", "segment", "value", "worth"]


def segment(candidate: Candidate) -> tuple[bool, dict[str, Any]]:
    """Let pass whom the campaign's audience means."""
    rule = candidate.campaign.audience
    if rule is None:
        return True, {"rule": None}
    because = _said(rule)
    if refuses(candidate.person.consents, PROFILING, candidate.now) and not candidate.assumed:
        because = {**because, PROFILING: False}
    return rule.matches(candidate.person, candidate.profile, candidate.now), because


@recall
def _said(rule: Rule) -> dict[str, Any]:
    return {"rule": rule.sentence()}


def confidence(candidate: Candidate) -> tuple[bool, dict[str, Any]]:
    """Let pass what the engine was sure enough of; an event and a wish need no locating.

    A transition whose evidence has no number is not sure enough for whoever asks for one.
    """
    least, trigger = candidate.campaign.min_confidence, candidate.trigger
    if least is None:
        return True, {"min_confidence": None}
    because = {"confidence": trigger.confidence, "min_confidence": least}
    if trigger.source in {"event", "manual"}:
        return True, because
    return trigger.confidence is not None and trigger.confidence >= least, because


def context(candidate: Candidate) -> tuple[bool, dict[str, Any]]:
    """Let pass where all the circumstances are so: the kind of venue, and what was done lately."""
    found: list[dict[str, Any]] = []
    passed = True
    for one in candidate.campaign.context:
        met, because = _is_so(one, candidate)
        found.append({"met": met, **because})
        passed = passed and met
    return passed, {"context": found}


def _is_so(one: Circumstance, candidate: Candidate) -> tuple[bool, dict[str, Any]]:
    place = candidate.place
    because: dict[str, Any] = {}
    met = True
    if one.tags or one.not_tags:
        tags = {*place.tags, *place.venue_tags}
        because["venue"] = sorted(tags & (one.tags | one.not_tags))
        met = (not one.tags or not one.tags.isdisjoint(tags)) and one.not_tags.isdisjoint(tags)
    if one.event is not None:
        last = _last(one, candidate)
        because |= {
            "event": one.event, "within_s": one.within_s,
            "at": None if last is None else format_time(last.at),
        }  # fmt: skip
        met = met and last is not None
    return met, because


def _last(one: Circumstance, candidate: Candidate) -> Happened | None:
    """Find the newest event that a circumstance asks for; the trigger's own is one of them."""
    now, trigger = candidate.now, candidate.trigger
    events = candidate.profile.events
    if trigger.event is not None:
        events = (*events, trigger.event)
    fitting = [
        event
        for event in events
        if event.name == one.event
        and now - one.within_s <= event.at <= now
        and has_properties(event.properties, one.properties)
    ]
    return max(fitting, key=lambda event: event.at, default=None)


def affinity(candidate: Candidate) -> tuple[bool, dict[str, Any]]:
    """Let pass unless what the person buys speaks against it.

    It does where products contrary to the campaign's are a good part of what they bought, often
    enough to be no chance.
    """
    campaign = candidate.campaign
    if not campaign.contrary:
        return True, {"contrary": []}
    bought = _bought(candidate.profile)
    total = sum(bought.values())
    of_them = {name: bought[name] for name in campaign.contrary if name in bought}
    count = sum(of_them.values())
    share = count / total if total else 0.0
    against = count >= campaign.contrary_count and share >= campaign.contrary_share
    return not against, {
        "contrary": list(campaign.contrary), "count": count, "total": total,
        "share": round(share, 3), "leading": max(of_them, key=bought.__getitem__, default=None),
        "contrary_count": campaign.contrary_count, "contrary_share": campaign.contrary_share,
    }  # fmt: skip


def _count_bought(profile: Profile) -> dict[str, float]:
    """Tell how much of each product somebody bought, most first."""
    return {one.name: one.count for one in affinities(profile)}


_bought = recall(_count_bought, FEW)


def worth(candidate: Candidate) -> tuple[float, dict[str, Any]]:
    """Tell what an offer is worth to the person, 0 to 1, and how that comes.

    It is the campaign's ``value``; where it names a product, times how that compares with what the
    person buys most: (n + 1) / (m + 1) of n and m bought. One more of each is counted, so that
    nothing known takes nothing away, and few purchases little.
    """
    campaign = candidate.campaign
    if campaign.product is None:
        return campaign.value, {"value": campaign.value}
    bought = _bought(candidate.profile)
    most = next(iter(bought.values()), 0.0)
    own = bought.get(campaign.product, 0.0)
    return round(campaign.value * (own + 1.0) / (most + 1.0), 6), {
        "value": campaign.value, "product": campaign.product, "bought": own, "most_bought": most,
    }  # fmt: skip


def least_value(candidate: Candidate) -> float:
    """Give what an offer must be worth at least: the campaign's own word, else the contest's."""
    if candidate.campaign.least_value is not None:
        return candidate.campaign.least_value
    contest = candidate.rules.contest
    return 0.0 if contest is None else contest.least_value


def value(candidate: Candidate) -> tuple[bool, dict[str, Any]]:
    """Let pass what is worth enough to the person; to send nothing is a good answer."""
    least = least_value(candidate)
    if least <= 0.0:
        return True, {"least_value": 0.0}
    is_worth, because = worth(candidate)
    return is_worth >= least, {"worth": is_worth, "least_value": least, **because}


def ask(candidate: Candidate) -> tuple[bool, dict[str, Any]]:
    """Let pass a question for a consent that is not given, after value, within its budget.

    Value are so many visits to the place of the trigger, this one included (to any place, where
    there is none), or an event. Each send of the campaign is a question asked; ``optin-…`` events
    say what became of it.
    """
    campaign, now = candidate.campaign, candidate.now
    if campaign.asks is None:
        return True, {"asks": None}
    agreed = any(
        one.purpose == campaign.asks and one.holds(now) for one in candidate.person.consents
    )
    because: dict[str, Any] = {"asks": campaign.asks, "agreed": agreed}
    shown, free = _may_ask(candidate)
    because |= {
        "asked": shown, "most": campaign.most,
        "free_at": None if free is None else format_time(free),
    }  # fmt: skip
    passed = not agreed and free is not None and now >= free
    after = campaign.after
    if after is not None and after.visits:
        place = candidate.trigger.place
        visits = sum(place in {"", stay.place} for stay in candidate.profile.visits)
        because |= {"visits": visits, "after_visits": after.visits}
        passed = passed and visits >= after.visits
    if after is not None and after.event is not None:
        events = [event.name for event in candidate.profile.events]
        if candidate.trigger.event is not None:
            events.append(candidate.trigger.event.name)
        because["after_event"] = after.event
        passed = passed and after.event in events
    return passed, because


def _may_ask(candidate: Candidate) -> tuple[int, float | None]:
    """Tell how often it was asked, and from when on it may be asked again (None: never)."""
    campaign = candidate.campaign
    assert campaign.asks is not None
    so_far = asked(candidate.profile, campaign.asks)
    sent = [send.at for send in candidate.sends if send.campaign == campaign.id]
    shown = max(so_far.shown, len(sent))
    free = free_at(so_far, campaign.most, campaign.back_off_s)
    if free is None or shown >= campaign.most:
        return shown, None
    return shown, max([free, *(at + campaign.back_off_s for at in sent)])
