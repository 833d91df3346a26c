"""The question: may this offer be made to this person now, and if not, why not.

``GATES`` is a table: each gate looks at a candidate and gives its verdict with the numbers it
judged by. All are always asked, so that a record explains itself whole; the first that fails gives
the reason. Pure: what a gate looks at (history, consents, zones) is gathered by whoever decides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
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
    from proximity.campaigns.campaigns import Campaign, Campaigns

__all__ = [
    "ANEW", "GATES", "Candidate", "Gate", "Rival", "Send", "allows", "ask", "consented_channel",
    "decide", "make_offer", "quiet", "quiet_zone", "rival",
]  # fmt: skip


class Gate(NamedTuple):
    """A row of ``GATES``: its name in records, its reason code, and its question.

    ``fixed`` tells whether it says the same of all candidates of a campaign under these rules: then
    it is asked once.
    """

    name: str
    reason: Reason
    judge: Callable[[Candidate], tuple[bool, dict[str, Any]]]
    fixed: Callable[[Campaign, Campaigns], bool] = lambda _campaign, _rules: False


GATES = (
    Gate("stale", Reason.STALE, timing.stale),
    Gate(
        "active",
        Reason.INACTIVE,
        timing.active,
        lambda one, _: one.valid_from is None and one.valid_until is None,
    ),
    Gate("place_hours", Reason.PLACE_CLOSED, timing.place_hours),
    Gate("consent", Reason.NO_CONSENT, permission.consent),
    Gate("location", Reason.NO_LOCATION_CONSENT, permission.location),
    Gate("age", Reason.AGE, permission.age),
    Gate("objection", Reason.OBJECTION, permission.objection),
    Gate("preference", Reason.PREFERENCE, permission.preference),
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
    Gate("caps", Reason.CAPPED, pressure.caps, lambda one, rules: not (one.caps or rules.caps)),
    Gate("cooldown", Reason.COOLDOWN, pressure.cooldown),
    Gate("quiet_hours", Reason.QUIET_HOURS, timing.quiet_hours),
    Gate("content", Reason.NO_CONTENT, wording.content),
    Gate("stock", Reason.OUT_OF_STOCK, pressure.stock, lambda one, _: not one.stock),
    Gate("contest", Reason.OUTRANKED, pressure.contest, lambda _, rules: rules.contest is None),
)
"""Every gate, in the order in which records list them; a new gate is a new row."""


Steps = tuple[tuple[Gate, GateResult | None], ...]
"""Every gate, and what it says where it need not be asked again."""

ANEW: Steps = tuple((gate, None) for gate in GATES)

_kept: dict[int, tuple[Campaign, Campaigns, Steps]] = {}
_MOST_KEPT = 4096
"""Campaigns of which fixed answers are kept: two files of as many as one may have."""


def decide(candidate: Candidate) -> Decision:
    """Ask every gate and decide: send, defer, or suppress for the first gate that failed.

    A deferral is made once, where quiet hours alone stand in the way, the campaign asks for it,
    and they end while the campaign is still valid; ``until`` is the earliest instant they do.
    """
    campaign = candidate.campaign
    # By identity, as in ``recall``: what is kept holds on to its campaign and rules.
    kept = _kept.get(id(campaign))
    if kept is None or kept[1] is not candidate.rules:
        kept = _keep(candidate)
    return ask(candidate, kept[2])


def _keep(candidate: Candidate) -> tuple[Campaign, Campaigns, Steps]:
    """Ask the gates that say the same of all candidates of a campaign, for all of them."""
    campaign, rules = candidate.campaign, candidate.rules
    steps: list[tuple[Gate, GateResult | None]] = []
    for gate in GATES:
        found = None
        if gate.fixed(campaign, rules):
            found = GateResult(gate.name, *gate.judge(candidate))
        steps.append((gate, found if found is not None and found.passed else None))
    if len(_kept) >= _MOST_KEPT:
        _kept.clear()
    kept = _kept[id(campaign)] = campaign, rules, tuple(steps)
    return kept


def ask(candidate: Candidate, steps: Iterable[tuple[Gate, GateResult | None]] = ANEW) -> Decision:
    """Decide by these steps; ``ANEW`` asks every gate, and comes to the same as ``decide``."""
    results: list[GateResult] = []
    failed: list[Gate] = []
    for gate, known in steps:
        if known is not None:
            results.append(known)
            continue
        passed, because = gate.judge(candidate)
        results.append(GateResult(gate.name, passed, because))
        if not passed:
            failed.append(gate)
    verdict, until = Verdict.SEND, None
    if failed:
        verdict = Verdict.SUPPRESS
        if len(failed) == 1 and failed[0].name == "quiet_hours":
            until = timing.put_off_until(candidate)
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
