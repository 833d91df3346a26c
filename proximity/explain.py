"""Why did a person get an offer here, or why not? Reads the ledger and says it in order.

Knows the ledger's rows and what campaigns wait for; judges nothing anew: the evidence is what was
written when it was decided.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa

from proximity.campaigns import PlaceFacts, waited
from proximity.model import Transition, format_time, parse_time
from proximity.store.schema import ledger, subjects

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from sqlalchemy import Connection

    from proximity.campaigns import Campaigns

# Visits that began or changed within this long before the asked time belong to the same story:
# a shop, the mall around it, the entrance between them.
STORY_S = 3600.0
# A story longer than this is read in parts, by place and time.
MOST_VISITS = 20
MOST_ROWS = 500


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one subject at one time; ``says`` is the answer in one sentence."""

    subject: str
    place: str | None
    at: str | None
    person: str | None
    says: str
    visits: tuple[VisitExplanation, ...]


class VisitExplanation(msgspec.Struct, frozen=True, kw_only=True):
    """One visit: its transitions, decisions and deliveries as contract 6 writes them.

    ``unmet`` names each campaign that watches the place and why no decision of it stands here.
    """

    place: str
    visit: str
    says: str
    transitions: tuple[dict[str, Any], ...]
    decisions: tuple[dict[str, Any], ...]
    deliveries: tuple[dict[str, Any], ...]
    unmet: dict[str, str]


def explain(
    connection: Connection,
    *,
    subject: str,
    place: str | None = None,
    at: float | None = None,
    campaigns: Campaigns | None = None,
    facts: Callable[[str], PlaceFacts] | None = None,
) -> Explanation:
    """Explain what ``subject`` did or did not get at Unix second ``at`` (None: last).

    Without ``campaigns`` it cannot be said which of them waited for something else; ``facts``
    tells a place's tags, by which a campaign may also watch it.
    """
    person = connection.scalar(sa.select(subjects.c.person).where(subjects.c.subject == subject))
    visits = tuple(
        _explain_visit(connection, subject, visit, campaigns, facts)
        for visit in _story(connection, subject, place, at)
    )
    return Explanation(
        subject=subject,
        place=place,
        at=None if at is None else format_time(at),
        person=person,
        says=_overall(subject, place, visits),
        visits=visits,
    )


def _story(
    connection: Connection, subject: str, place: str | None, at: float | None
) -> list[tuple[str, str]]:
    """Find the visits in question, oldest first, as (place, visit)."""
    mine = [ledger.c.kind == "transition", ledger.c.subject == subject]
    if place is not None:
        mine.append(ledger.c.place == place)
    columns = sa.select(ledger.c.place, ledger.c.visit, ledger.c.at).where(*mine)
    before = columns.order_by(ledger.c.seq.desc()).limit(MOST_ROWS)
    if at is not None:
        before = before.where(ledger.c.at <= at)
    rows = list(connection.execute(before))
    if not rows and at is not None:
        # Asked a little too early: what came next is what was meant.
        rows = list(connection.execute(columns.order_by(ledger.c.seq).limit(1)))
    if not rows:
        return []
    newest = rows[0].at
    found: dict[tuple[str, str], None] = {}
    for row in rows:
        if row.at < newest - STORY_S or len(found) == (1 if place is not None else MOST_VISITS):
            break
        found.setdefault((row.place, row.visit))
    return list(reversed(found))


def _explain_visit(
    connection: Connection,
    subject: str,
    story: tuple[str, str],
    campaigns: Campaigns | None,
    facts: Callable[[str], PlaceFacts] | None,
) -> VisitExplanation:
    place, visit = story
    own = (
        sa.select(ledger.c.kind, ledger.c.record)
        .where(ledger.c.subject == subject, ledger.c.visit == visit)
        .order_by(ledger.c.seq)
        .limit(MOST_ROWS)
    )
    records: dict[str, list[dict[str, Any]]] = {"transition": [], "decision": [], "delivery": []}
    for kind, record in connection.execute(own):
        records[kind].append(msgspec.json.decode(record))
    decisions = {decision["id"] for decision in records["decision"]}
    if decisions:
        handed = (
            sa.select(ledger.c.record)
            .where(
                ledger.c.subject == subject,
                ledger.c.place == place,
                ledger.c.kind == "delivery",
            )
            .order_by(ledger.c.seq.desc())
            .limit(MOST_ROWS)
        )
        every = [msgspec.json.decode(record) for record in connection.scalars(handed)]
        records["delivery"] = [one for one in reversed(every) if one["key"] in decisions]
    unmet = _unmet(place, records, campaigns, facts)
    return VisitExplanation(
        place=place,
        visit=visit,
        says=_visit_says(place, records, unmet),
        transitions=tuple(records["transition"]),
        decisions=tuple(records["decision"]),
        deliveries=tuple(records["delivery"]),
        unmet=unmet,
    )


def _waited(record: dict[str, Any], place: PlaceFacts) -> bool:
    """Whether the record of a transition says that it had waited in a receiver."""
    if record.get("at") is None:
        return False
    at, decided_at = parse_time(record["at"]), parse_time(record["decided_at"])
    kind, because = record["kind"], record.get("because", {})
    return waited(Transition(kind, "", place.id, "", at, decided_at, because), place)


def _unmet(
    place: str,
    records: Mapping[str, list[dict[str, Any]]],
    campaigns: Campaigns | None,
    facts: Callable[[str], PlaceFacts] | None,
) -> dict[str, str]:
    """Say for each campaign that watches this place why no decision of it stands here."""
    if campaigns is None:
        return {}
    known = PlaceFacts(id=place) if facts is None else facts(place)
    tags = set(known.tags)
    decided = {decision["campaign"] for decision in records["decision"]}
    kinds = {transition["kind"] for transition in records["transition"]}
    dwells = {transition.get("dwell_s") for transition in records["transition"]}
    late = any(transition.get("late") for transition in records["transition"])
    told_late = {one["kind"] for one in records["transition"] if _waited(one, known)}
    unmet: dict[str, str] = {}
    for campaign in campaigns.campaigns.values():
        if campaign.id in decided:
            continue
        if place not in campaign.places and tags.isdisjoint(campaign.tags):
            continue
        if campaign.on not in kinds:
            unmet[campaign.id] = f"waits for {campaign.on}, which did not happen in this visit"
        elif campaign.dwell_s is not None and campaign.dwell_s not in dwells:
            unmet[campaign.id] = (
                f"waits for a dwell of {campaign.dwell_s:g} s, which did not happen"
            )
        elif late:
            unmet[campaign.id] = "the visit was found late, which triggers nothing"
        elif campaign.on in told_late:
            unmet[campaign.id] = "what told of it had waited in a receiver, which triggers nothing"
        else:
            unmet[campaign.id] = "not decided yet, or not in force when it happened"
    return unmet


def _overall(subject: str, place: str | None, visits: tuple[VisitExplanation, ...]) -> str:
    if visits:
        return " ".join(visit.says for visit in visits)
    where = "" if place is None else f" at {place}"
    return (
        f"Nothing happened: no transition of {subject}{where} is known. Either no record of it "
        "was accepted (no consent, not enrolled, none sent), or none was evidence enough of being "
        "there."
    )


def _visit_says(
    place: str, records: Mapping[str, list[dict[str, Any]]], unmet: Mapping[str, str]
) -> str:
    kinds = ", ".join(_transition_word(one) for one in records["transition"])
    start = f"At {place}: {kinds}."
    if not records["decision"]:
        if unmet:
            return f"{start} No campaign met it: " + _listed(unmet.items()) + "."
        return f"{start} No campaign met it."
    outcomes = {one["key"]: one for one in records["delivery"]}
    parts = []
    for decision in records["decision"]:
        word = f"{decision['campaign']} was {_DECIDED[decision['decision']]}"
        if decision["reason"]:
            word += f" ({decision['reason']})"
        delivery = outcomes.get(decision["id"])
        if delivery is not None:
            word += f", {delivery['channel']}: {delivery['outcome']}"
        parts.append(word)
    return f"{start} " + "; ".join(parts) + "."


_DECIDED = {"send": "sent", "defer": "deferred", "suppress": "suppressed"}


def _listed(pairs: Iterable[tuple[str, str]]) -> str:
    return "; ".join(f"{name} {why}" for name, why in pairs)


def _transition_word(transition: Mapping[str, Any]) -> str:
    word = str(transition["kind"])
    if transition.get("dwell_s") is not None:
        word += f" of {transition['dwell_s']:g} s"
    if transition.get("reason") is not None:
        word += f" ({transition['reason']})"
    if transition.get("at") is not None:
        word += f" at {transition['at']}"
    return word


def render(found: Explanation) -> str:
    """Write an explanation for a person at a terminal."""
    lines = [f"{found.subject}" + (f" ({found.person})" if found.person else "")]
    if not found.visits:
        lines.append(f"  {found.says}")
    for visit in found.visits:
        lines += ["", f"{visit.place}   visit {visit.visit}"]
        lines += [f"  {line}" for line in _transition_lines(visit)]
        for decision in visit.decisions:
            lines += _decision_lines(decision, visit.deliveries)
        lines += [f"  {name}: {why}" for name, why in visit.unmet.items()]
        if not visit.decisions and not visit.unmet:
            lines.append("  no campaign met it")
    return "\n".join(lines)


def _transition_lines(visit: VisitExplanation) -> list[str]:
    return [
        f"{one.get('at') or one['decided_at']}  {_short(one):<18} {evidence(one['because'])}"
        for one in visit.transitions
    ]


def _short(transition: Mapping[str, Any]) -> str:
    word = str(transition["kind"])
    if transition.get("dwell_s") is not None:
        word += f" {transition['dwell_s']:g} s"
    if transition.get("reason") is not None:
        word += f" {transition['reason']}"
    return word


def _decision_lines(
    decision: Mapping[str, Any], deliveries: Iterable[Mapping[str, Any]]
) -> list[str]:
    reason = f" because of {decision['reason']}" if decision["reason"] else ""
    lines = [f"  {decision['campaign']}: {_DECIDED[decision['decision']]}{reason}"]
    if decision["until"]:
        lines.append(f"    until {decision['until']}")
    for gate in decision["gates"]:
        mark = "ok" if gate["passed"] else "NO"
        lines.append(f"    {mark}  {gate['gate']:<12} {evidence(gate['because'])}".rstrip())
    lines += [
        f"    {delivery['channel']}: {delivery['outcome']} at {delivery['at']}"
        for delivery in deliveries
        if delivery["key"] == decision["id"]
    ]
    return lines


def evidence(because: Mapping[str, Any]) -> str:
    """Write evidence as ``name=value`` pairs, numbers short."""
    return " ".join(f"{name}={_value(value)}" for name, value in because.items())


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.10g}"
    if isinstance(value, str):
        return value
    return msgspec.json.encode(value).decode()
