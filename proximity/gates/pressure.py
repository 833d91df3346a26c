"""The question: has this person, this place or this stock had enough of it.

Gates on caps, cooldowns, stock and the contest of one moment: pure, each with what it counted. It
must not know where sends and stocks are kept.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any, NamedTuple

from proximity.campaigns.purposes import presses
from proximity.campaigns.recall import recall, recall_both
from proximity.gates.candidates import Rival
from proximity.gates.permission import consented_channel, own_zone
from proximity.gates.relevance import worth
from proximity.model import format_time
from proximity.windows import load_zone, period_start

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from proximity.campaigns.campaigns import Campaign, Cap, Contest
    from proximity.gates.candidates import Candidate, Send

__all__ = ["caps", "contest", "cooldown", "rival", "stock"]

_MOST_IDS = 10
"""Ids of earlier sends that a record names; it also says how many there were."""


class _Counting(NamedTuple):
    """A cap as it holds for one campaign: what of it is the same for every candidate.

    ``note`` is its evidence but for what was counted; ``scoped``: it counts sends of one campaign,
    channel or place, or our own alone.
    """

    cap: Cap
    campaign: str | None
    note: dict[str, Any]
    scoped: bool


def caps(candidate: Candidate) -> tuple[bool, dict[str, Any]]:
    """Let pass while no cap that holds for the candidate is reached, other systems' sends included.

    A calendar period is one of the person's own clock; where nobody knows it, the longest that such
    a period can last, counted back from now.
    """
    passed = True
    counted: list[dict[str, Any]] = []
    campaign = candidate.campaign
    every = _file_caps(campaign, candidate.rules.caps)
    if campaign.caps:
        every += _own_caps(campaign)
    for counting in every:
        if counting.scoped and not _holds_for(counting.cap, candidate):
            continue
        note = counting.note.copy()
        ids = _count(counting, candidate, note)
        note["sent"] = len(ids)
        note["ids"] = sorted(ids)[:_MOST_IDS] if len(ids) > 1 else ids
        counted.append(note)
        if len(ids) >= counting.cap.count:
            passed = False
    return passed, {"caps": counted}


@recall
def _own_caps(campaign: Campaign) -> tuple[_Counting, ...]:
    return tuple(
        _counting(cap, cap.campaign or campaign.id)
        for cap in campaign.caps
        if _is_about(cap, campaign)
    )


@recall_both
def _file_caps(campaign: Campaign, caps: tuple[Cap, ...]) -> tuple[_Counting, ...]:
    """Give the file's caps that a campaign comes under."""
    return tuple(_counting(cap, cap.campaign) for cap in caps if _is_about(cap, campaign))


def _is_about(cap: Cap, campaign: Campaign) -> bool:
    return (cap.purpose is None or _is(cap.purpose, campaign.purpose)) and (
        cap.campaign is None or cap.campaign == campaign.id
    )


def _counting(cap: Cap, campaign: str | None) -> _Counting:
    scope = {"channel": cap.channel, "campaign": campaign, "place": cap.place}
    said = {name: value for name, value in scope.items() if value is not None}
    span = {"window_s": cap.window_s} if cap.per is None else {"per": cap.per}
    note = {"purpose": cap.purpose, "count": cap.count, **span, **said}
    return _Counting(cap, campaign, note, bool(said) or not cap.foreign)


def _is(wanted: str, purpose: str) -> bool:
    """Whether a purpose counts as the wanted one: whatever presses counts as marketing."""
    return wanted == purpose or (wanted == "marketing" and presses(purpose))


def _holds_for(cap: Cap, candidate: Candidate) -> bool:
    place = candidate.place
    return (cap.place is None or cap.place == place.id or cap.place in place.parents) and (
        cap.channel is None or cap.channel == consented_channel(candidate)[0]
    )


def _count(counting: _Counting, candidate: Candidate, note: dict[str, Any]) -> list[str]:
    """Give the decisions of the sends that a cap counts, and note since when."""
    cap, wanted = counting.cap, counting.cap.purpose
    since = candidate.now - cap.back_s
    if cap.per is not None:
        zone = load_zone(own_zone(candidate.person, candidate.place))
        if zone is not None:
            since, note["since"] = _begun(cap.per, candidate.now, zone)
    sends = [
        send
        for send in candidate.sends
        if send.at > since
        and (wanted is None or wanted == send.purpose or _is(wanted, send.purpose))
    ]
    if counting.scoped:
        sends = [send for send in sends if _counts(counting, send)]
    return [send.decision for send in sends]


@functools.lru_cache(maxsize=4096)
def _begun(period: str, now: float, zone: ZoneInfo) -> tuple[float, str]:
    """Give the last instant before a calendar period, and when it began in words."""
    start = period_start(period, now, zone)
    return math.nextafter(start, 0.0), format_time(start)


def _counts(counting: _Counting, send: Send) -> bool:
    cap = counting.cap
    return (
        (counting.campaign is None or send.campaign == counting.campaign)
        and (cap.channel is None or send.channel == cap.channel)
        and (cap.place is None or cap.place == send.place or cap.place in send.around)
        and (cap.foreign or send.system is None)
    )


def cooldown(candidate: Candidate) -> tuple[bool, dict[str, Any]]:
    """Let pass once the campaign has rested: anywhere, at this place, and in this visit."""
    campaign, trigger, now = candidate.campaign, candidate.trigger, candidate.now
    because = _rest(campaign)
    own = [send for send in candidate.sends if send.campaign == campaign.id]
    if not own:
        return True, because
    last = max(own, key=_when)
    since_s = now - last.at
    because = because | {
        "last": format_time(last.at), "since_s": round(since_s, 3), "id": last.decision,
    }  # fmt: skip
    # A campaign that wants no rest has had it, though the clock that dated the send may be ahead.
    passed = not campaign.cooldown_s or since_s >= campaign.cooldown_s
    if campaign.place_cooldown_s:
        here = [send for send in own if send.place == trigger.place]
        if here:
            since_s = now - max(here, key=_when).at
            because["since_here_s"] = round(since_s, 3)
            passed = passed and since_s >= campaign.place_cooldown_s
    if campaign.once_per_visit and trigger.visit:
        because["in_visit"] = sum(send.visit == trigger.visit for send in own)
        passed = passed and not because["in_visit"]
    return passed, because


@recall
def _rest(campaign: Campaign) -> dict[str, Any]:
    """Say what rest a campaign wants."""
    because: dict[str, Any] = {"cooldown_s": campaign.cooldown_s}
    if campaign.place_cooldown_s:
        because["place_cooldown_s"] = campaign.place_cooldown_s
    if campaign.once_per_visit:
        because["once_per_visit"] = True
    return because


def _when(send: Send) -> tuple[float, str]:
    return send.at, send.decision


def stock(candidate: Candidate) -> tuple[bool, dict[str, Any]]:
    """Let pass while a unit of each of the campaign's stocks is left."""
    left = {name: candidate.stock_left.get(name, 0) for name in candidate.campaign.stock}
    return all(units > 0 for units in left.values()), {"left": left}


def rival(candidate: Candidate) -> Rival:
    """Give the candidate's standing in the contest of its moment: by priority, worth, then id."""
    campaign: Campaign = candidate.campaign
    return Rival(-campaign.priority, -worth(candidate)[0], campaign.id, candidate.trigger.id)


def contest(candidate: Candidate) -> tuple[bool, dict[str, Any]]:
    """Let pass whom fewer rivals outrank than there are winners; without a contest everybody."""
    rules = candidate.rules.contest
    if rules is None:
        return True, {"winners": None}
    if not candidate.rivals:
        return True, _alone(rules)
    own = rival(candidate)
    ahead = sorted(one for one in candidate.rivals if one.id != own.id and one < own)
    because = {
        "rivals": len(candidate.rivals), "winners": rules.winners, "rank": len(ahead) + 1,
        "priority": candidate.campaign.priority, "worth": -own.worth,
        "ahead": [one.campaign for one in ahead[:_MOST_IDS]],
    }  # fmt: skip
    return len(ahead) < rules.winners, because


@recall
def _alone(rules: Contest) -> dict[str, Any]:
    return {"rivals": 0, "winners": rules.winners}
