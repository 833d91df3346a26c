"""The question: may this offer be made to this person now, and if not, why not.

``GATES`` is a table: each gate looks at a candidate and gives its verdict with the numbers it
judged by. All are always asked, so that a record explains itself whole; the first that fails gives
the reason. Pure: what a gate looks at (history, consents, zones) is gathered by ``dispatch``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from proximity.content import compose, link_host
from proximity.model import Decision, GateResult, Offer, Verdict, format_time
from proximity.windows import DAYS, load_zone, local, next_time, within

if TYPE_CHECKING:
    from collections.abc import Callable

    from proximity.campaigns import Campaign, Campaigns, PlaceFacts
    from proximity.model import Consent, Person, Trigger
    from proximity.windows import Window

__all__ = [
    "GATES", "Candidate", "Gate", "Send", "allows", "consented_channel", "decide", "make_offer",
    "quiet", "quiet_zone",
]  # fmt: skip

DWELL_EVIDENCE_S = 120.0
"""A dwell timer runs on silence: an offer on it needs evidence no older than this, or a last fix
known to be still (architecture, event time). Phones in a pocket report every one to two minutes."""

_MOST_IDS = 10
"""Ids of earlier sends that a record names; it also says how many there were."""


class Send(msgspec.Struct, frozen=True):
    """An earlier send that was reserved for a person; ``at`` Unix seconds."""

    decision: str
    campaign: str
    purpose: str
    at: float


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """All that the gates may look at, gathered for one trigger at Unix second ``now``.

    ``person`` holds the consents in force in the transaction that decides; ``sends`` are that
    person's earlier sends, far enough back for every cap and cooldown. ``deferred_at`` is when
    the trigger was first judged, if it was deferred then. ``assumed`` tells that consent is kept
    upstream.
    """

    trigger: Trigger
    campaign: Campaign
    rules: Campaigns
    place: PlaceFacts
    person: Person
    now: float
    sends: tuple[Send, ...] = ()
    deferred_at: float | None = None
    assumed: bool = False


class Gate(NamedTuple):
    """A row of ``GATES``: its name in records, its reason code, and its question."""

    name: str
    reason: str
    judge: Callable[[Candidate], tuple[bool, dict[str, Any]]]


def decide(candidate: Candidate) -> Decision:
    """Ask every gate and decide: send, defer, or suppress for the first gate that failed.

    A deferral is made once, where quiet hours alone stand in the way, the campaign asks for it,
    and they end while the campaign is still valid; ``until`` is the earliest instant they do.
    """
    results: list[GateResult] = []
    failed: list[Gate] = []
    for gate in GATES:
        passed, because = gate.judge(candidate)
        results.append(GateResult(gate.name, passed, because))
        if not passed:
            failed.append(gate)
    verdict, until = Verdict.SEND, None
    if failed:
        verdict = Verdict.SUPPRESS
        if [gate.name for gate in failed] == ["quiet_hours"]:
            until = _deferral(candidate)
            verdict = Verdict.SUPPRESS if until is None else Verdict.DEFER
    trigger = candidate.trigger
    return Decision(
        id=trigger.id,
        decision=verdict,
        reason=failed[0].reason if failed else None,
        campaign=candidate.campaign.id,
        version=candidate.campaign.version,
        subject=trigger.subject,
        person=trigger.person,
        place=trigger.place,
        visit=trigger.visit,
        at=candidate.now,
        until=until,
        gates=tuple(results),
    )


def make_offer(candidate: Candidate) -> Offer:
    """Write the offer of a candidate that every gate let pass; ``key`` is the decision's id.

    It is good until ``ttl_s`` after now, else for as long as the trigger is fresh (``max_age_s``,
    counted from now where the offer was deferred), and never into the campaign's end or the next
    quiet hours.
    """
    campaign, trigger, now = candidate.campaign, candidate.trigger, candidate.now
    content = compose(
        campaign, candidate.place, candidate.person.languages, candidate.rules.link_hosts
    )
    channel, _ = consented_channel(candidate)
    if channel is None or content.language is None or content.problem is not None:
        raise ValueError(f"decision {trigger.id}: an offer needs a decision to send it")
    if campaign.ttl_s is not None:
        ends = [now + campaign.ttl_s]
    else:
        ends = [(trigger.at if candidate.deferred_at is None else now) + campaign.max_age_s]
    if campaign.valid_until is not None:
        ends.append(campaign.valid_until)
    zone = load_zone(quiet_zone(candidate.person, candidate.place))
    if zone is not None and campaign.purpose == "marketing":
        starts = next_time(candidate.rules.quiet_hours, now, zone, inside=True)
        ends += [] if starts is None else [starts]
    return Offer(
        key=trigger.id,
        campaign=campaign.id,
        person=trigger.person,
        subject=trigger.subject,
        place=trigger.place,
        purpose=campaign.purpose,
        channel=channel,
        text=content.text,
        language=content.language,
        link=content.link,
        created_at=now,
        expires_at=min(ends),
    )


def _deferral(candidate: Candidate) -> float | None:
    campaign = candidate.campaign
    zone = load_zone(quiet_zone(candidate.person, candidate.place))
    if not campaign.defer or candidate.deferred_at is not None or zone is None:
        return None
    until = next_time(candidate.rules.quiet_hours, candidate.now, zone, inside=False)
    if until is not None and campaign.valid_until is not None and until >= campaign.valid_until:
        return None
    return until


def _stale(candidate: Candidate) -> tuple[bool, dict[str, Any]]:
    # A deferred trigger was fresh when it was put off; the wait is the campaign's own wish.
    trigger, campaign = candidate.trigger, candidate.campaign
    judged_at = candidate.now if candidate.deferred_at is None else candidate.deferred_at
    age_s = judged_at - trigger.at
    because: dict[str, Any] = {
        "at": format_time(trigger.at), "age_s": round(age_s, 3), "max_age_s": campaign.max_age_s,
    }  # fmt: skip
    passed = age_s <= campaign.max_age_s
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


def _active(candidate: Candidate) -> tuple[bool, dict[str, Any]]:
    campaign, now = candidate.campaign, candidate.now
    because: dict[str, Any] = {"active": campaign.active}
    if not campaign.listed:
        because["listed"] = False
    passed = campaign.active
    if campaign.valid_from is not None:
        because["valid_from"] = format_time(campaign.valid_from)
        passed = passed and campaign.valid_from <= now
    if campaign.valid_until is not None:
        because["valid_until"] = format_time(campaign.valid_until)
        passed = passed and now < campaign.valid_until
    return passed, because


def _place_hours(candidate: Candidate) -> tuple[bool, dict[str, Any]]:
    place = candidate.place
    return _open(place.active, place.timezone, candidate.now)


def _consent(candidate: Candidate) -> tuple[bool, dict[str, Any]]:
    channel, consent = consented_channel(candidate)
    because: dict[str, Any] = {"purpose": candidate.campaign.purpose, "channel": channel}
    if candidate.assumed:
        because["assumed"] = True
    elif consent is None:
        because["channels"] = list(candidate.campaign.channels)
    else:
        because["from"] = None if consent.since is None else format_time(consent.since)
        because["until"] = None if consent.until is None else format_time(consent.until)
    return channel is not None, because


def _schedule(candidate: Candidate) -> tuple[bool, dict[str, Any]]:
    return _open(candidate.campaign.hours, candidate.place.timezone, candidate.now)


def _caps(candidate: Candidate) -> tuple[bool, dict[str, Any]]:
    passed = True
    counted: list[dict[str, Any]] = []
    for cap in candidate.rules.caps:
        if cap.purpose not in {None, candidate.campaign.purpose}:
            continue
        ids = [
            send.decision
            for send in candidate.sends
            if cap.purpose in {None, send.purpose} and send.at > candidate.now - cap.window_s
        ]
        passed = passed and len(ids) < cap.count
        counted.append(
            {
                "purpose": cap.purpose, "count": cap.count, "window_s": cap.window_s,
                "sent": len(ids), "ids": sorted(ids)[:_MOST_IDS],
            }
        )  # fmt: skip
    return passed, {"caps": counted}


def _cooldown(candidate: Candidate) -> tuple[bool, dict[str, Any]]:
    campaign = candidate.campaign
    because: dict[str, Any] = {"cooldown_s": campaign.cooldown_s}
    own = [send for send in candidate.sends if send.campaign == campaign.id]
    if not own:
        return True, because
    last = max(own, key=lambda send: (send.at, send.decision))
    since_s = candidate.now - last.at
    because |= {"last": format_time(last.at), "since_s": round(since_s, 3), "id": last.decision}
    return since_s >= campaign.cooldown_s, because


def _quiet_hours(candidate: Candidate) -> tuple[bool, dict[str, Any]]:
    is_quiet, because = quiet(
        candidate.rules.quiet_hours,
        candidate.campaign.purpose,
        quiet_zone(candidate.person, candidate.place),
        candidate.now,
    )
    return not is_quiet, because


def _content(candidate: Candidate) -> tuple[bool, dict[str, Any]]:
    campaign, person = candidate.campaign, candidate.person
    content = compose(campaign, candidate.place, person.languages, candidate.rules.link_hosts)
    because: dict[str, Any] = {
        "wanted": list(person.languages[:_MOST_IDS]), "language": content.language,
        "characters": len(content.text),
    }  # fmt: skip
    if content.link is not None:
        because["link_host"] = link_host(content.link)
    if content.problem is not None:
        because["problem"] = content.problem
    return content.problem is None, because


GATES = (
    Gate("stale", "stale", _stale),
    Gate("active", "inactive", _active),
    Gate("place_hours", "place_closed", _place_hours),
    Gate("consent", "no_consent", _consent),
    Gate("schedule", "outside_hours", _schedule),
    Gate("caps", "capped", _caps),
    Gate("cooldown", "cooldown", _cooldown),
    Gate("quiet_hours", "quiet_hours", _quiet_hours),
    Gate("content", "no_content", _content),
)
"""Every gate, in the order in which records list them; a new gate is a new row."""


def consented_channel(candidate: Candidate) -> tuple[str | None, Consent | None]:
    """Find the first channel of the campaign that the person has agreed to, and the consent.

    A consent without a channel, or for ``*``, holds for all. Where consent is kept upstream it is
    the first channel.
    """
    channels = candidate.campaign.channels
    if candidate.assumed:
        return (channels[0] if channels else None), None
    for channel in channels:
        for consent in candidate.person.consents:
            if allows(consent, candidate.campaign.purpose, channel, candidate.now):
                return channel, consent
    return None, None


def allows(consent: Consent, purpose: str, channel: str, at: float) -> bool:
    """Whether one consent is a yes to this purpose on this channel at Unix second ``at``."""
    return (
        consent.purpose == purpose and consent.channel in {None, "*", channel} and consent.holds(at)
    )


def quiet(
    windows: tuple[Window, ...], purpose: str, timezone: str | None, now: float
) -> tuple[bool, dict[str, Any]]:
    """Whether a person in ``timezone`` wants quiet at Unix second ``now``, with the evidence.

    Quiet hours bind marketing alone. Where they are set and nobody knows the zone, it is quiet:
    better no offer than one at night.
    """
    if not windows or purpose != "marketing":
        return False, {"purpose": purpose, "windows": len(windows)}
    zone = load_zone(timezone)
    if zone is None:
        return True, {"purpose": purpose, "timezone": timezone, "known": False}
    because = {"purpose": purpose, **_local_evidence(windows, timezone, now)}
    return within(windows, now, zone), because


def quiet_zone(person: Person, place: PlaceFacts) -> str | None:
    """Give the person's zone, else the place's; one that is named but unknown stays unknown."""
    return person.timezone if person.timezone is not None else place.timezone


def _open(
    windows: tuple[Window, ...], timezone: str | None, now: float
) -> tuple[bool, dict[str, Any]]:
    """Whether now lies within the windows: always where there are none, never without a zone."""
    if not windows:
        return True, {"windows": []}
    zone = load_zone(timezone)
    if zone is None:
        return False, {"timezone": timezone, "known": False}
    return within(windows, now, zone), _local_evidence(windows, timezone, now)


def _local_evidence(
    windows: tuple[Window, ...], timezone: str | None, now: float
) -> dict[str, Any]:
    zone = load_zone(timezone)
    assert zone is not None
    moment = local(now, zone)
    return {
        "timezone": timezone,
        "local": f"{DAYS[moment.weekday()]} {moment:%Y-%m-%d %H:%M:%S%z}",
        "windows": [window.to_record() for window in windows],
    }
