"""The question: may this offer be made to this person now, and if not, why not.

``GATES`` is a table: each gate looks at a candidate and gives its verdict with the numbers it
judged by. All are always asked, so that a record explains itself whole; the first that fails gives
the reason. Pure: what a gate looks at (history, consents, zones) is gathered by whoever decides.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from proximity.gates import permission, pressure, relevance, timing, wording
from proximity.gates.candidates import Candidate, Rival, Send
from proximity.gates.permission import allows, consented_channel
from proximity.gates.permission import own_zone as quiet_zone
from proximity.gates.pressure import rival
from proximity.gates.timing import quiet
from proximity.gates.wording import make_offer
from proximity.model import Decision, GateResult, Reason, Verdict

if TYPE_CHECKING:
    from proximity.campaigns.campaigns import Campaign, Campaigns, PlaceFacts
    from proximity.model import Person

__all__ = [
    "GATES", "Candidate", "Gate", "Rival", "Send", "allows", "ask", "consented_channel",
    "decide", "make_offer", "quiet", "quiet_zone", "rival",
]  # fmt: skip


class Gate(NamedTuple):
    """A row of ``GATES``: its name in records, its reason code, and its question.

    ``fixed`` tells whether it says the same of all candidates of a campaign under these rules: then
    it is asked once. ``alike`` tells whether it says the same to a person in one moment for each
    campaign of the same purpose, channels, topic and max age: then it is asked once in a moment.
    """

    name: str
    reason: Reason
    judge: Callable[[Candidate], tuple[bool, dict[str, Any]]]
    fixed: Callable[[Campaign, Campaigns], bool] = lambda _campaign, _rules: False
    alike: Callable[[Campaign, Campaigns], bool] = lambda _campaign, _rules: False


def _always(_campaign: Campaign, _rules: Campaigns) -> bool:
    return True


def _has_only_common_caps(campaign: Campaign, rules: Campaigns) -> bool:
    return not campaign.caps and all(cap.campaign is None for cap in rules.caps)


GATES = (
    Gate("stale", Reason.STALE, timing.stale, alike=_always),
    Gate(
        "active",
        Reason.INACTIVE,
        timing.active,
        lambda one, _: one.valid_from is None and one.valid_until is None,
    ),
    Gate("place_hours", Reason.PLACE_CLOSED, timing.place_hours, alike=_always),
    Gate("consent", Reason.NO_CONSENT, permission.consent, alike=_always),
    Gate("location", Reason.NO_LOCATION_CONSENT, permission.location, alike=_always),
    Gate("age", Reason.AGE, permission.age, alike=_always),
    Gate("objection", Reason.OBJECTION, permission.objection, alike=_always),
    Gate("preference", Reason.PREFERENCE, permission.preference, alike=_always),
    Gate(
        "reach",
        Reason.UNREACHABLE,
        permission.reach,
        lambda one, rules: not permission.needs_address(one, rules),
        _always,
    ),
    Gate("segment", Reason.SEGMENT, relevance.segment, lambda one, _: one.audience is None),
    Gate(
        "confidence",
        Reason.CONFIDENCE,
        relevance.confidence,
        lambda one, _: one.min_confidence is None,
    ),
    Gate("context", Reason.CONTEXT, relevance.context, lambda one, _: not one.context),
    Gate("affinity", Reason.AFFINITY, relevance.affinity, lambda one, _: not one.contrary),
    Gate("value", Reason.BELOW_THRESHOLD, relevance.value, lambda one, _: one.product is None),
    Gate("ask", Reason.ASK, relevance.ask, lambda one, _: one.asks is None),
    Gate("schedule", Reason.OUTSIDE_HOURS, timing.schedule, lambda one, _: not one.hours),
    Gate("daypart", Reason.OFFER_WINDOW, timing.dayparts, lambda one, _: not one.dayparts),
    Gate(
        "caps",
        Reason.CAPPED,
        pressure.caps,
        lambda one, rules: not (one.caps or rules.caps),
        _has_only_common_caps,
    ),
    Gate("cooldown", Reason.COOLDOWN, pressure.cooldown),
    Gate("quiet_hours", Reason.QUIET_HOURS, timing.quiet_hours, alike=_always),
    Gate("content", Reason.NO_CONTENT, wording.content),
    Gate("stock", Reason.OUT_OF_STOCK, pressure.stock, lambda one, _: not one.stock),
    Gate("contest", Reason.OUTRANKED, pressure.contest, lambda _, rules: rules.contest is None),
)
"""Every gate, in the order in which records list them; a new gate is a new row."""


_Answers = list[GateResult | None]
"""What each gate says, in the order of ``GATES``; None where it is still to be asked."""
_Way = tuple[str, tuple[str, ...], str | None, float]
"""Purpose, channels, topic and max age of a campaign: of it ``alike`` gates see no more."""

_NONE: _Answers = [None] * len(GATES)


class _Steps(NamedTuple):
    """How the candidates of a campaign are judged: what is known of all, and what is asked of each.

    Of those to be asked each has its number in ``GATES``; ``alike`` are asked once in a moment.
    """

    campaign: Campaign
    rules: Campaigns
    way: _Way
    known: _Answers
    alike: tuple[tuple[int, Gate], ...]
    own: tuple[tuple[int, Gate], ...]


_kept: dict[int, _Steps] = {}
_MOST_KEPT = 4096
"""Campaigns of which fixed answers are kept: two files of as many as one may have."""


class _Moment(NamedTuple):
    """What candidates of one moment have in common, and what gates said of them.

    Only the newest is kept: those of one moment are decided one after another.
    """

    person: Person | None
    place: PlaceFacts | None
    rules: Campaigns | None
    rest: tuple[object, ...]
    answers: dict[_Way, _Answers]


_newest = [_Moment(None, None, None, (), {})]


def decide(candidate: Candidate) -> Decision:
    """Ask every gate and decide: send, defer, or suppress for the first gate that failed.

    A deferral is made once, where quiet hours alone stand in the way, the campaign asks for it,
    and they end while the campaign is still valid; ``until`` is the earliest instant they do.
    What a gate has just said of the same is not asked again: it comes to the same as ``ask``.
    """
    # By identity, as in ``recall``: what is kept holds on to its campaign and rules.
    steps = _kept.get(id(candidate.campaign))
    if steps is None or steps.rules is not candidate.rules:
        steps = _keep(candidate)
    results, failed = steps.known.copy(), []
    shared = _said(candidate, steps.way)
    for number, gate in steps.alike:
        result = shared[number]
        if result is None:
            passed, because = gate.judge(candidate)
            result = shared[number] = GateResult(gate.name, passed, because)
        if not result.passed:
            failed.append(number)
        results[number] = result
    for number, gate in steps.own:
        passed, because = gate.judge(candidate)
        results[number] = GateResult(gate.name, passed, because)
        if not passed:
            failed.append(number)
    return _conclude(candidate, results, failed)


def ask(candidate: Candidate) -> Decision:
    """Decide as ``decide`` does, with every gate asked anew."""
    results = [GateResult(gate.name, *gate.judge(candidate)) for gate in GATES]
    failed = [number for number, result in enumerate(results) if not result.passed]
    return _conclude(candidate, results, failed)


def _keep(candidate: Candidate) -> _Steps:
    """Ask the gates that say the same of all candidates of a campaign, for all of them.

    Only who passes is answered for others as well: what fails is asked anew.
    """
    campaign, rules = candidate.campaign, candidate.rules
    known = _NONE.copy()
    for number, gate in enumerate(GATES):
        if gate.fixed(campaign, rules):
            passed, because = gate.judge(candidate)
            if passed:
                known[number] = GateResult(gate.name, passed, because)
    asked = [(number, gate) for number, gate in enumerate(GATES) if known[number] is None]
    alike = tuple(step for step in asked if step[1].alike(campaign, rules))
    own = tuple(step for step in asked if step not in alike)
    way = campaign.purpose, campaign.channels, campaign.topic, campaign.max_age_s
    if len(_kept) >= _MOST_KEPT:
        _kept.clear()
    kept = _kept[id(campaign)] = _Steps(campaign, rules, way, known, alike, own)
    return kept


def _said(candidate: Candidate, way: _Way) -> _Answers:
    """Find what gates said in this moment of a campaign of this way; nothing where it is new."""
    person, place, rules, rest, answers = _newest[0]
    trigger = candidate.trigger
    now = (
        candidate.now, candidate.sends, candidate.objected, candidate.assumed,
        candidate.deferred_at, trigger.source, trigger.kind, trigger.at, trigger.due_at,
        trigger.until, trigger.evidence_at, trigger.still,
    )  # fmt: skip
    if (
        person is not candidate.person
        or place is not candidate.place
        or rules is not candidate.rules
        or rest != now
    ):
        answers = {}
        _newest[0] = _Moment(candidate.person, candidate.place, candidate.rules, now, answers)
    found = answers.get(way)
    if found is None:
        found = answers[way] = _NONE.copy()
    return found


def _conclude(
    candidate: Candidate, results: Sequence[GateResult | None], failed: list[int]
) -> Decision:
    """Write down what the gates said; ``failed`` are the numbers of those that did."""
    reason, verdict, until = None, Verdict.SEND, None
    if failed:
        first = GATES[min(failed)]
        reason, verdict = first.reason, Verdict.SUPPRESS
        if len(failed) == 1 and first.name == "quiet_hours":
            until = timing.put_off_until(candidate)
            verdict = Verdict.SUPPRESS if until is None else Verdict.DEFER
    trigger, campaign = candidate.trigger, candidate.campaign
    return Decision(
        id=trigger.id,
        decision=verdict,
        reason=reason,
        campaign=campaign.id,
        version=campaign.version,
        subject=trigger.subject,
        person=trigger.person,
        place=trigger.place,
        visit=trigger.visit,
        at=candidate.now,
        until=until,
        gates=tuple(results),  # type: ignore[arg-type]  # all have answered
    )
