"""What did two runs decide differently, and why?

Decisions are paired by id, or by the visit they are about; of each pair it is said how the second
differs from the first, with the numbers that each was judged by. Reads no clock and runs no
engine: all it knows is what the runs wrote.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from simulator.pairing import Row, Sort, apart, compare_visits, second_of, unlike, written

if TYPE_CHECKING:
    from simulator.outcome import DecisionLine, DeliveryLine, GateLine, Outcome

__all__ = ["Comparison", "compare_runs"]


@dataclass(frozen=True)
class Comparison:
    """How the run called ``second`` differs from the one called ``first``."""

    first: str
    second: str
    visits: Sort
    passes: Sort
    decisions: Sort
    deliveries: Sort

    @property
    def sorts(self) -> dict[str, Sort]:
        """All that was compared, by name, in the order of the flow."""
        return {
            "visits": self.visits,
            "passes": self.passes,
            "decisions": self.decisions,
            "deliveries": self.deliveries,
        }

    @property
    def alike(self) -> bool:
        """Whether both runs decided the same."""
        return not any(sort.differences for sort in self.sorts.values())

    def to_record(self) -> Row:
        """Give everything as one JSON object."""
        return {
            "first": self.first,
            "second": self.second,
            "alike": self.alike,
            **{
                name: {
                    "same": sort.same,
                    "differ": sort.differ,
                    "only_first": sort.only_first,
                    "only_second": sort.only_second,
                }
                for name, sort in self.sorts.items()
            },
        }


def compare_runs(first: Outcome, second: Outcome, tolerance_s: float = 0.0) -> Comparison:
    """Compare two runs; times at most ``tolerance_s`` seconds apart count as the same."""
    visits, paired = compare_visits(first.visits, second.visits, first, second, tolerance_s)
    passes, _ = compare_visits(first.passes, second.passes, first, second, tolerance_s)
    decisions, twins = _compare_decisions(first, second, paired, tolerance_s)
    deliveries = _compare_deliveries(first, second, twins)
    return Comparison(first.name, second.name, visits, passes, decisions, deliveries)


def _compare_decisions(
    first: Outcome, second: Outcome, visits: dict[str, str], tolerance_s: float
) -> tuple[Sort, dict[str, str]]:
    """Compare decisions; also give which id of the second run each of the first one's is."""
    found = Sort()
    twins = {name: name for name in first.decisions if name in second.decisions}
    # A visit that began at another instant has another id, and so have the decisions about it.
    waiting: defaultdict[tuple[str, ...], list[str]] = defaultdict(list)
    for name, lines in second.decisions.items():
        if name not in first.decisions:
            waiting[_about(lines[-1], lines[-1].visit)].append(name)
    for name, lines in first.decisions.items():
        if name not in twins and lines[-1].visit in visits:
            those = waiting[_about(lines[-1], visits[lines[-1].visit])]
            if those:
                twins[name] = those.pop(0)
    for name, lines in first.decisions.items():
        if name not in twins:
            found.only_first.append(_undecided(lines, second, visits.get(lines[-1].visit)))
            continue
        difference = _decision_changes(lines, second.decisions[twins[name]], tolerance_s)
        if difference:
            found.differ.append(difference)
        else:
            found.same += 1
    back = {theirs: ours for ours, theirs in visits.items()}
    reached = set(twins.values())
    for name, lines in second.decisions.items():
        if name not in reached:
            found.only_second.append(_undecided(lines, first, back.get(lines[-1].visit)))
    return found, twins


def _about(line: DecisionLine, visit: str) -> tuple[str, ...]:
    return line.person, line.campaign, line.place, visit


def _decided(lines: list[DecisionLine]) -> Row:
    """Give what was decided in the end, and until when it had been put off."""
    last = lines[-1]
    found = {"decision": last.decision, "reason": last.reason, "at": written(last.at)}
    if last.variant is not None:
        found["variant"] = last.variant
    until = next((line.until for line in reversed(lines) if line.until is not None), None)
    if until is not None:
        found["put_off_until"] = written(until)
    return found


def _decision_changes(
    ours: list[DecisionLine], theirs: list[DecisionLine], tolerance_s: float
) -> Row | None:
    one, two = ours[-1], theirs[-1]
    same = (
        (one.decision, one.reason, one.variant) == (two.decision, two.reason, two.variant)
        and [line.decision for line in ours] == [line.decision for line in theirs]
        and not apart(second_of(one.at), second_of(two.at), tolerance_s)
    )
    if same:
        return None
    return _subject_of(one) | {
        "first": _decided(ours),
        "second": _decided(theirs),
        "gate": _first_gate(one.gates, two.gates),
    }


def _first_gate(ours: tuple[GateLine, ...], theirs: tuple[GateLine, ...]) -> Row | None:
    """Find the first gate that answered differently, else the first that saw other numbers."""
    before = {gate.gate: gate for gate in ours}
    after = {gate.gate: gate for gate in theirs}
    names = list(dict.fromkeys([gate.gate for gate in (*ours, *theirs)]))
    answers = [name for name in names if _passed(before, name) != _passed(after, name)]
    numbers = [
        name
        for name in names
        if name in before and name in after and before[name].because != after[name].because
    ]
    for name in (*answers, *numbers):
        one, two = before.get(name), after.get(name)
        return {
            "gate": name,
            "first": _passed(before, name),
            "second": _passed(after, name),
            "because": unlike(one.because if one else {}, two.because if two else {}),
        }
    return None


def _passed(gates: dict[str, GateLine], name: str) -> bool | None:
    return gates[name].passed if name in gates else None


def _undecided(lines: list[DecisionLine], other: Outcome, visit: str | None) -> Row:
    """Describe a decision that only one run made, and say why the other made none."""
    line = lines[-1]
    campaigns = {those[-1].campaign for those in other.decisions.values()}
    if visit is None:
        why = "the other run has no such visit"
    elif line.campaign not in campaigns:
        why = "the other run has the visit and never decided anything for this campaign"
    else:
        why = "the other run has the visit; what the campaign waits for did not happen in it"
    return _subject_of(line) | _decided(lines) | {"why": why}


def _subject_of(line: DecisionLine) -> Row:
    return {
        "person": line.person,
        "campaign": line.campaign,
        "subject": line.subject,
        "place": line.place,
        "visit": line.visit,
    }


# -- deliveries ------------------------------------------------------------------------------


def _compare_deliveries(first: Outcome, second: Outcome, twins: dict[str, str]) -> Sort:
    """Compare what each channel was handed, and what came back.

    Deliveries pair by their decisions; one whose decision is the other run's not at all is its
    own run's alone.
    """
    found = Sort()
    for (key, channel), lines in first.deliveries.items():
        twin = twins.get(key)
        one = _delivered(lines)
        those = None if twin is None else second.deliveries.get((twin, channel))
        if those is None:
            found.only_first.append(_to_whom(lines) | one)
        elif changes := unlike(one, _delivered(those)):
            found.differ.append(_to_whom(lines) | {"changes": changes})
        else:
            found.same += 1
    ours = {theirs: name for name, theirs in twins.items()}
    for (key, channel), lines in second.deliveries.items():
        if key not in ours or (ours[key], channel) not in first.deliveries:
            found.only_second.append(_to_whom(lines) | _delivered(lines))
    return found


def _to_whom(lines: list[DeliveryLine]) -> Row:
    last = lines[-1]
    return {"person": last.person, "campaign": last.campaign, "channel": last.channel}


def _delivered(lines: list[DeliveryLine]) -> Row:
    """Give what came of it in the end and what was handed over; when is the decision's matter."""
    last = lines[-1]
    found: Row = {"outcome": last.outcome, "reason": last.reason, "attempts": len(lines)}
    return found | {key: last.handed.get(key) for key in ("text", "language", "link")}
