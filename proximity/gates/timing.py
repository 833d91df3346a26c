"""The question: is this the time for such a message, here and where the person is.

Gates on age of the trigger, validity, opening hours, the campaign's hours, day-parts and quiet
hours: pure, each with the evidence it judged by. It must not know consents or content.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from proximity.campaigns.purposes import presses
from proximity.campaigns.recall import recall
from proximity.gates.permission import own_zone, quiet_windows
from proximity.model import format_time
from proximity.windows import load_zone, local_text, next_time, wall, within

if TYPE_CHECKING:
    from collections.abc import Collection
    from zoneinfo import ZoneInfo

    from proximity.campaigns.calendars import Calendar
    from proximity.campaigns.campaigns import Campaign, Daypart
    from proximity.gates.candidates import Candidate
    from proximity.windows import Window

__all__ = [
    "DWELL_EVIDENCE_S", "active", "dayparts", "good_until", "place_hours", "put_off_until",
    "quiet", "quiet_hours", "schedule", "stale",
]  # fmt: skip

DWELL_EVIDENCE_S = 120.0
"""A dwell timer runs on silence: an offer on it needs evidence no older than this, or a last fix
known to be still (architecture, event time). Phones in a pocket report every one to two minutes."""


def stale(candidate: Candidate) -> tuple[bool, dict[str, Any]]:
    """Let pass what happened lately, or is due now, and is still good for something."""
    # A deferred trigger was fresh when it was put off; the wait is the campaign's own wish.
    trigger, campaign = candidate.trigger, candidate.campaign
    judged_at = candidate.now if candidate.deferred_at is None else candidate.deferred_at
    age_s = judged_at - (trigger.at if trigger.due_at is None else trigger.due_at)
    because: dict[str, Any] = {
        "at": _told(trigger.at), "age_s": round(age_s, 3), "max_age_s": campaign.max_age_s,
    }  # fmt: skip
    passed = age_s <= campaign.max_age_s
    if trigger.due_at is not None:
        because["due_at"] = format_time(trigger.due_at)
    if trigger.until is not None:
        because["until"] = format_time(trigger.until)
        passed = passed and candidate.now < trigger.until
    if candidate.deferred_at is not None:
        because["deferred_at"] = format_time(candidate.deferred_at)
    if trigger.kind == "dwell":
        evidence_s = judged_at - trigger.evidence_at
        because |= {
            "evidence_age_s": round(evidence_s, 3), "max_evidence_age_s": DWELL_EVIDENCE_S,
            "still": trigger.still,
        }  # fmt: skip
        passed = passed and (trigger.still or evidence_s <= DWELL_EVIDENCE_S)
    return passed, because


_told = functools.lru_cache(maxsize=1024)(format_time)
"""The time of a trigger in words: those of one moment have the same."""


def active(candidate: Candidate) -> tuple[bool, dict[str, Any]]:
    """Let pass a campaign that is switched on, in the file and valid now."""
    campaign, now = candidate.campaign, candidate.now
    passed = campaign.active
    if campaign.valid_from is not None:
        passed = passed and campaign.valid_from <= now
    if campaign.valid_until is not None:
        passed = passed and now < campaign.valid_until
    return passed, _validity(campaign)


@recall
def _validity(campaign: Campaign) -> dict[str, Any]:
    because: dict[str, Any] = {"active": campaign.active}
    if not campaign.listed:
        because["listed"] = False
    for name in ("valid_from", "valid_until"):
        at = getattr(campaign, name)
        if at is not None:
            because[name] = format_time(at)
    return because


def place_hours(candidate: Candidate) -> tuple[bool, dict[str, Any]]:
    """Let pass while the place is open."""
    place = candidate.place
    return _open(place.active, place.timezone, candidate.now, candidate.rules.holidays)


def schedule(candidate: Candidate) -> tuple[bool, dict[str, Any]]:
    """Let pass in the campaign's hours, on the place's clock."""
    hours, zone = candidate.campaign.hours, candidate.place.timezone
    return _open(hours, zone, candidate.now, candidate.rules.holidays)


def dayparts(candidate: Candidate) -> tuple[bool, dict[str, Any]]:
    """Let pass in one of the campaign's day-parts, on every clock that it names.

    Where there is no place there is the person's clock alone; a clock that nobody can read shows
    no hour in which an offer makes sense.
    """
    parts, place = candidate.campaign.dayparts, candidate.place
    if not parts:
        return True, {"dayparts": []}
    zones = {"person": load_zone(own_zone(candidate.person, place))}
    if place.id:
        zones["place"] = load_zone(place.timezone)
    now, calendar = candidate.now, candidate.rules.holidays
    walls = {name: wall(now, zone) for name, zone in zones.items() if zone is not None}
    passed = any(
        all(
            name in walls and part.window.holds(walls[name], calendar)
            for name in _clocks(part, zones)
        )
        for part in parts
    )
    shown = {name: None if zone is None else local_text(now, zone) for name, zone in zones.items()}
    return passed, {**shown, "dayparts": _part_records(parts)}


def _clocks(part: Daypart, zones: Collection[str]) -> Collection[str]:
    if part.clock == "both":
        return zones
    return (part.clock,) if part.clock in zones else ("person",)


@recall
def _part_records(parts: tuple[Daypart, ...]) -> list[dict[str, Any]]:
    return [part.window.to_record() | {"clock": part.clock} for part in parts]


def quiet_hours(candidate: Candidate) -> tuple[bool, dict[str, Any]]:
    """Let pass what may be said in quiet hours, and all else outside them."""
    is_quiet, because = quiet(
        quiet_windows(candidate.person, candidate.rules),
        candidate.campaign.purpose,
        own_zone(candidate.person, candidate.place),
        candidate.now,
        candidate.rules.holidays,
    )
    return not is_quiet, because


def quiet(
    windows: tuple[Window, ...],
    purpose: str,
    timezone: str | None,
    now: float,
    calendar: Calendar | None = None,
) -> tuple[bool, dict[str, Any]]:
    """Whether a person in ``timezone`` wants quiet at Unix second ``now``, with the evidence.

    Quiet hours bind what presses as marketing does. Where they are set and nobody knows the zone,
    it is quiet: better no offer than one at night.
    """
    if not windows or not presses(purpose):
        return False, {"purpose": purpose, "windows": len(windows)}
    zone = load_zone(timezone)
    if zone is None:
        return True, {"purpose": purpose, "timezone": timezone, "known": False}
    return _look(windows, zone, now, calendar, purpose)


def put_off_until(candidate: Candidate) -> float | None:
    """Give when a candidate that only quiet hours stop is to be judged again; None: never.

    That is the first instant that is not quiet, where the campaign asks for it, it was not put off
    before, and the campaign and what triggered it are worth something by then.
    """
    campaign, person, rules = candidate.campaign, candidate.person, candidate.rules
    zone = load_zone(own_zone(person, candidate.place))
    if not campaign.defer or candidate.deferred_at is not None or zone is None:
        return None
    windows = quiet_windows(person, rules)
    until = next_time(windows, candidate.now, zone, inside=False, calendar=rules.holidays)
    ends = [end for end in (campaign.valid_until, candidate.trigger.until) if end is not None]
    if until is not None and any(until >= end for end in ends):
        return None
    return until


def good_until(candidate: Candidate) -> float:
    """Give the Unix second at which an offer that is decided now ends.

    ``ttl_s`` after now, else as long as the trigger is fresh (``max_age_s``, counted from now where
    the offer was deferred); never beyond the campaign's end, what the trigger is worth, or the
    begin of the next quiet hours.
    """
    campaign, trigger, now = candidate.campaign, candidate.trigger, candidate.now
    if campaign.ttl_s is not None:
        end = now + campaign.ttl_s
    elif candidate.deferred_at is not None:
        end = now + campaign.max_age_s
    else:
        end = (trigger.at if trigger.due_at is None else trigger.due_at) + campaign.max_age_s
    for other in (campaign.valid_until, trigger.until):
        if other is not None:
            end = min(end, other)
    windows = quiet_windows(candidate.person, candidate.rules)
    zone = load_zone(own_zone(candidate.person, candidate.place))
    if not windows or zone is None or not presses(campaign.purpose):
        return end
    calendar = candidate.rules.holidays
    begin = next_time(windows, now, zone, inside=True, calendar=calendar, before=end)
    return end if begin is None else begin


def _open(
    windows: tuple[Window, ...], timezone: str | None, now: float, calendar: Calendar
) -> tuple[bool, dict[str, Any]]:
    """Whether now lies within the windows: always where there are none, never without a zone."""
    if not windows:
        return True, {"windows": []}
    zone = load_zone(timezone)
    if zone is None:
        return False, {"timezone": timezone, "known": False}
    return _look(windows, zone, now, calendar)


_Look = tuple[tuple["Window", ...], "Calendar | None", "ZoneInfo", tuple[bool, dict[str, Any]]]
_looks: dict[tuple[int, int, int, float, str | None], _Look] = {}
_MOST_LOOKS = 4096
"""Looks at a clock that are kept. What is due is decided in batches, all of a batch at one moment:
then whoever asks about the same windows in the same zone gets the same answer."""


def _look(
    windows: tuple[Window, ...],
    zone: ZoneInfo,
    now: float,
    calendar: Calendar | None,
    purpose: str | None = None,
) -> tuple[bool, dict[str, Any]]:
    """Look at the clock of a zone: whether now lies within windows, and what it shows.

    ``purpose``, where there is one, leads the evidence.
    """
    # By identity, as in ``recall``: windows, calendar and zone are kept with the answer.
    key = (id(windows), id(calendar), id(zone), now, purpose)
    kept = _looks.get(key)
    if kept is not None:
        return kept[3]
    because: dict[str, Any] = {} if purpose is None else {"purpose": purpose}
    because |= {
        "timezone": zone.key, "local": local_text(now, zone), "windows": _records(windows),
    }  # fmt: skip
    seen = within(windows, now, zone, calendar), because
    if len(_looks) >= _MOST_LOOKS:
        _looks.clear()
    _looks[key] = windows, calendar, zone, seen
    return seen


@recall
def _records(windows: tuple[Window, ...]) -> list[dict[str, Any]]:
    return [window.to_record() for window in windows]
