"""Why did a person get an offer here, or why not? Reads the ledger and says it in order.

Knows the ledger's rows, what campaigns wait for and how near a subject came; judges nothing anew:
the evidence is what was written when it was decided. How it reads to whom is ``readers``'.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import sqlalchemy as sa

from proximity.campaigns.campaigns import NOWHERE, PlaceFacts
from proximity.dispatch.states import furthest
from proximity.engine.nearmiss import MISSES
from proximity.explain.unmet import Unmet, unmet
from proximity.model import format_time
from proximity.store import ledger as rows
from proximity.store.schema import ledger, subjects

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from sqlalchemy import Connection

    from proximity.campaigns.campaigns import Campaigns
    from proximity.engine.nearmiss import NearMiss, Recent

__all__ = ["Explanation", "Near", "Seen", "VisitExplanation", "by_hand", "explain", "with_recent"]

# Visits that began or changed within this long before the asked time belong to the same story:
# a shop, the mall around it, the entrance between them.
STORY_S = 3600.0
# A story longer than this is read in parts, by place and time.
MOST_VISITS = 20
MOST_ROWS = 500
# Near misses in the one sentence; the rest stand below it.
MOST_SAID = 3
# Subjects of one person that are looked at: phones and tags of a household, and to spare.
MOST_SUBJECTS = 50
# A visit is read from so long before the story on, and what became of it for as long after: longer
# visits are told from there, and what was put off for longer is found when that time is asked for.
AROUND_S = 86400.0
# Rows are appended in the order of their time, but for what is decided while others are written.
OUT_OF_ORDER_S = 60.0
# Heard of so shortly before the asked time is heard of then: phones in pockets report so often.
LATELY_S = 120.0


class VisitExplanation(msgspec.Struct, frozen=True, kw_only=True):
    """One visit: its transitions, decisions and deliveries as contract 6 writes them.

    ``unmet`` names each campaign that watches the place and why no decision of it stands here;
    ``lacking`` is the same by code. ``name`` is the place's. What happened in no visit, an event on
    the way or a sending by hand, has an empty ``visit``.
    """

    place: str
    visit: str
    says: str
    transitions: tuple[dict[str, Any], ...]
    decisions: tuple[dict[str, Any], ...]
    deliveries: tuple[dict[str, Any], ...]
    unmet: dict[str, str]
    lacking: tuple[Unmet, ...] = ()
    subject: str = ""
    name: str | None = None


class Near(msgspec.Struct, frozen=True, kw_only=True):
    """A place that a subject came near to without a visit: ``code`` is a row of ``MISSES``."""

    subject: str
    place: str
    at: str
    code: str
    says: str
    because: dict[str, Any]
    name: str | None = None


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What is still kept of a subject's records; times are RFC 3339, None where there are none."""

    subject: str
    first_at: str | None
    newest_at: str | None
    fixes: int
    sightings: int
    mock: int
    jumps: int


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one subject, or of all of a person's, at one time.

    ``says`` is the answer in one sentence; ``near`` what almost happened; ``nothing`` why nothing
    did, where no visit is known: codes of ``NOTHING``.
    """

    subject: str | None
    place: str | None
    at: str | None
    person: str | None
    says: str
    visits: tuple[VisitExplanation, ...]
    subjects: tuple[str, ...] = ()
    near: tuple[Near, ...] = ()
    seen: tuple[Seen, ...] = ()
    nothing: tuple[str, ...] = ()


NOTHING = {
    "unconsented": "no consent to the processing was in force, so that nothing was kept",
    "unknown": "no record was ever accepted (no consent, not enrolled, none sent)",
    "not_kept": "no record of then is kept: none was sent, it came too late to count, or it is "
    "older than what is kept",
    "not_since": "it was last heard of at {newest_at}",
    "late": "{late} records came too late to count",
    "future": "{future} records were dated ahead of their arrival: the sender's clock is wrong",
    "mock": "{mock} fixes said that they were made up (mock)",
    "jumps": "{jumps} fixes were set aside: nobody travels like that",
    "far": "it was near no place that is known",
}
"""Why nothing happened, by code, in the words of an engineer."""


def explain(
    connection: Connection,
    *,
    subject: str | None = None,
    person: str | None = None,
    place: str | None = None,
    at: float | None = None,
    campaigns: Campaigns | None = None,
    facts: Callable[[str], PlaceFacts] | None = None,
) -> Explanation:
    """Explain what ``subject``, or a person, did or did not get at Unix second ``at`` (None: last).

    Without ``campaigns`` it cannot be said which of them waited for something else; ``facts``
    tells a place's tags, by which a campaign may also watch it. Raises ValueError where neither a
    subject nor a person is named.
    """
    whose = _subjects(connection, subject, person)
    if person is None and subject is not None:
        person = _person_of(connection, subject)
    named = _with_person(connection, whose, person)
    story = _story(connection, named, place, at)
    visits = tuple(_explain_visit(connection, part, campaigns, facts) for part in story)
    return Explanation(
        subject=subject,
        place=place,
        at=None if at is None else format_time(at),
        person=person,
        says=_overall(subject or person or "", place, visits),
        visits=visits,
        subjects=tuple(whose),
    )


def with_recent(
    found: Explanation,
    recent: Mapping[str, Recent],
    *,
    agreed: bool,
    at: float | None = None,
    facts: Callable[[str], PlaceFacts] | None = None,
    refused: Mapping[str, int] | None = None,
) -> Explanation:
    """Add to an explanation what is still kept of its subjects' records, and what it says.

    ``agreed``: whether processing was consented to at Unix second ``at``, the asked time (None:
    now); ``refused``: how many of their records were refused of late, by reason. Where nothing may
    be processed nothing is said of what was.
    """
    refused = {} if refused is None else refused
    if not agreed:
        recent = {}
    visited = {visit.place for visit in found.visits}
    near = [
        _near(subject, miss, facts)
        for subject, one in recent.items()
        for miss in one.misses
        if miss.place not in visited
        and found.place in {None, miss.place}
        and (at is None or miss.at > at - STORY_S)
    ]
    seen = tuple(_seen(subject, one) for subject, one in recent.items())
    nothing = () if found.visits else _nothing(found, recent, near, at, refused, agreed=agreed)
    says = found.says
    if not found.visits:
        says = _never(found.subject or found.person or "", found.place)
        words = [_why_nothing(code, recent, refused) for code in nothing]
        words += [one.says for one in near[:MOST_SAID]]
        says += f" Why: {'; '.join(words)}." if words else ""
    return msgspec.structs.replace(found, says=says, near=tuple(near), seen=seen, nothing=nothing)


# -- the story ------------------------------------------------------------------------------------


class _Part(NamedTuple):
    """A visit to be told, and the numbers of the ledger's rows between which it is."""

    subject: str
    place: str
    visit: str
    first: int
    last: int


def _subjects(connection: Connection, subject: str | None, person: str | None) -> Sequence[str]:
    if subject is not None:
        return (subject,)
    if person is None:
        raise ValueError("name a subject or a person")
    of = sa.select(subjects.c.subject).where(subjects.c.person == person)
    carried = connection.scalars(of.order_by(subjects.c.subject).limit(MOST_SUBJECTS)).all()
    # Whoever carries one thing, and nobody said so, goes by its name.
    return carried or (person,)


def _person_of(connection: Connection, subject: str) -> str | None:
    of = sa.select(subjects.c.person).where(subjects.c.subject == subject)
    found: str | None = connection.scalar(of)
    return found


def _with_person(connection: Connection, whose: Sequence[str], person: str | None) -> Sequence[str]:
    """Add the person's own name, under which stands what is sent by hand: it is of no device.

    A name that is somebody else's subject is left out: what stands under it is about them.
    """
    if person is None or person in whose or _person_of(connection, person) not in {None, person}:
        return whose
    return (*whose, person)


def _story(
    connection: Connection, whose: Iterable[str], place: str | None, at: float | None
) -> list[_Part]:
    """Find the visits in question, oldest first."""
    found = _rows(connection, whose, place, at)
    if not found:
        return []
    newest = found[0].at
    first = rows.last_before(connection, found[-1].at - AROUND_S)
    end = rows.last_before(connection, newest + AROUND_S)
    parts: dict[tuple[str, str, str], _Part] = {}
    for row in found:
        if row.at < newest - STORY_S or len(parts) == (1 if place is not None else MOST_VISITS):
            break
        where, visit = row.place or "", row.visit or ""
        # What is in no visit has no name to be found by: only what is here belongs together.
        since = first if visit else row.seq
        until = end if visit else found[0].seq
        parts[row.subject, where, visit] = _Part(row.subject, where, visit, since, until)
    return list(reversed(parts.values()))


def _rows(
    connection: Connection, whose: Iterable[str], place: str | None, at: float | None
) -> list[Any]:
    """Read the rows of one story, newest first: those up to a time, else the first after it."""
    last = None if at is None else rows.last_before(connection, at + OUT_OF_ORDER_S)
    columns = sa.select(
        ledger.c.seq, ledger.c.subject, ledger.c.place, ledger.c.visit, ledger.c.at
    ).where(ledger.c.kind != "delivery")
    if place is not None:
        columns = columns.where(ledger.c.place == place)
    before = columns.order_by(ledger.c.seq.desc())
    if at is not None:
        before = before.where(ledger.c.at <= at)
    if last is not None:
        before = before.where(ledger.c.seq <= last)
    newest: dict[str, Any] = {}
    next_: list[Any] = []
    for one in whose:
        mine = ledger.c.subject == one
        row = connection.execute(before.where(mine).limit(1)).first()
        if row is not None:
            newest[one] = row
        elif at is not None:
            # Asked a little too early: what came next is what was meant.
            next_ += connection.execute(columns.where(mine).order_by(ledger.c.seq).limit(1)).all()
    told = [*newest.values(), *next_]
    if not told:
        return []
    # Looked for once, not for each subject: what is older than the newest of all is not told.
    story = max(told, key=_number).at - STORY_S - OUT_OF_ORDER_S
    since = rows.last_before(connection, story)
    found = next_
    for one, row in newest.items():
        if row.seq > since:
            mine = ledger.c.subject == one
            recent = before.where(mine, ledger.c.seq > since).limit(MOST_ROWS)
            found += connection.execute(recent).all()
    found.sort(key=_number, reverse=True)
    return found


def _number(row: Any) -> int:
    return int(row.seq)


def _explain_visit(
    connection: Connection,
    part: _Part,
    campaigns: Campaigns | None,
    facts: Callable[[str], PlaceFacts] | None,
) -> VisitExplanation:
    own = sa.select(ledger.c.seq, ledger.c.kind, ledger.c.record).where(
        ledger.c.subject == part.subject,
        ledger.c.seq >= part.first,
        ledger.c.seq <= part.last,
        ledger.c.kind != "delivery",
    )
    if part.visit:
        own = own.where(ledger.c.visit == part.visit)
    else:
        empty = sa.func.coalesce(ledger.c.visit, "") == ""
        own = own.where(empty, sa.func.coalesce(ledger.c.place, "") == part.place)
    records: dict[str, list[dict[str, Any]]] = {"transition": [], "decision": [], "delivery": []}
    first = None
    for seq, kind, record in connection.execute(own.order_by(ledger.c.seq).limit(MOST_ROWS)):
        records[kind].append(msgspec.json.decode(record))
        first = seq if kind == "decision" and first is None else first
    if first is not None:
        records["delivery"] = _deliveries(connection, part.subject, first, records["decision"])
    known = _facts(part.place, facts)
    lacking: tuple[Unmet, ...] = ()
    if campaigns is not None and part.visit:
        decided = {decision["campaign"] for decision in records["decision"]}
        lacking = unmet(known, records["transition"], decided, campaigns)
    return VisitExplanation(
        place=part.place,
        visit=part.visit,
        says=_visit_says(part.place, records, lacking),
        transitions=tuple(records["transition"]),
        decisions=tuple(records["decision"]),
        deliveries=tuple(records["delivery"]),
        unmet={one.campaign: one.says for one in lacking},
        lacking=lacking,
        subject=part.subject,
        name=known.name,
    )


def _deliveries(
    connection: Connection, subject: str, first: int, decisions: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Read what became of decisions, the first of which is the ledger's row number ``first``."""
    handed = (
        sa.select(ledger.c.record)
        .where(ledger.c.subject == subject, ledger.c.kind == "delivery", ledger.c.seq > first)
        .order_by(ledger.c.seq)
        .limit(MOST_ROWS)
    )
    keys = {decision["id"] for decision in decisions}
    every = [msgspec.json.decode(record) for record in connection.scalars(handed)]
    return [one for one in every if one["key"] in keys]


def _facts(place: str, facts: Callable[[str], PlaceFacts] | None) -> PlaceFacts:
    if not place:
        return NOWHERE
    return PlaceFacts(id=place) if facts is None else facts(place)


# -- in words -------------------------------------------------------------------------------------


def _overall(whose: str, place: str | None, visits: tuple[VisitExplanation, ...]) -> str:
    if visits:
        return " ".join(visit.says for visit in visits)
    return (
        f"{_never(whose, place)} Either no record of it was accepted (no consent, not enrolled, "
        "none sent), or none was evidence enough of being there."
    )


def _never(whose: str, place: str | None) -> str:
    where = "" if place is None else f" at {place}"
    return f"Nothing happened: no transition of {whose}{where} is known."


def _visit_says(
    place: str, records: Mapping[str, list[dict[str, Any]]], lacking: Sequence[Unmet]
) -> str:
    kinds = ", ".join(_transition_word(one) for one in records["transition"])
    start = f"At {place}: {kinds}." if kinds else f"At {place}:" if place else "On the way:"
    if not place and any(by_hand(one) for one in records["decision"]):
        start = "Sent by hand:"
    if not records["decision"]:
        if lacking:
            listed = "; ".join(f"{one.campaign} {one.says}" for one in lacking)
            return f"{start} No campaign met it: {listed}."
        return f"{start} No campaign met it."
    told: dict[str, list[dict[str, Any]]] = {}
    for one in records["delivery"]:
        told.setdefault(one["key"], []).append(one)
    outcomes = {key: furthest(some) for key, some in told.items()}
    parts = []
    for decision in records["decision"]:
        word = f"{decision['campaign']} was {DECIDED[decision['decision']]}"
        if decision["reason"]:
            word += f" ({decision['reason']})"
        delivery = outcomes.get(decision["id"])
        if delivery is not None:
            word += f", {delivery['channel']}: {delivery['outcome']}"
        parts.append(word)
    return f"{start} " + "; ".join(parts) + "."


DECIDED = {"send": "sent", "defer": "deferred", "suppress": "suppressed"}


def by_hand(decision: Mapping[str, Any]) -> bool:
    """Tell whether a decision's record is of a sending by hand: its location gate notes so."""
    return any(
        gate["gate"] == "location" and gate["because"].get("source") == "manual"
        for gate in decision["gates"]
    )


def _transition_word(transition: Mapping[str, Any]) -> str:
    word = str(transition["kind"])
    if transition.get("dwell_s") is not None:
        word += f" of {transition['dwell_s']:g} s"
    if transition.get("reason") is not None:
        word += f" ({transition['reason']})"
    if transition.get("at") is not None:
        word += f" at {transition['at']}"
    return word


# -- what did not happen --------------------------------------------------------------------------


def _near(subject: str, miss: NearMiss, facts: Callable[[str], PlaceFacts] | None) -> Near:
    because, at = miss.because, format_time(miss.at)
    says = f"at {at} near {miss.place}: {MISSES[miss.code]}"
    if "distance_m" in because:
        metres, accuracy = because["distance_m"], because["accuracy_m"]
        side = "stood outside" if metres > 0.0 else "stood inside"
        good = "unknown" if accuracy is None else f"{accuracy:g} m"
        says = f"at {at} {side} {miss.place}, {abs(metres):g} m from the edge, accuracy {good}"
        if miss.code != "outside":
            says += f": {MISSES[miss.code]}"
    elif "level_dbm" in because:
        says += f", {because['level_dbm']:g} dBm"
        says += f" of {because['near_dbm']:g} dBm" if "near_dbm" in because else ""
    return Near(
        subject=subject,
        place=miss.place,
        at=at,
        code=miss.code,
        says=says,
        because=because,
        name=_facts(miss.place, facts).name,
    )


def _seen(subject: str, one: Recent) -> Seen:
    return Seen(
        subject=subject,
        first_at=None if one.first_at is None else format_time(one.first_at),
        newest_at=None if one.newest_at is None else format_time(one.newest_at),
        fixes=one.fixes,
        sightings=one.sightings,
        mock=one.mock,
        jumps=one.jumps,
    )


def _nothing(
    found: Explanation,
    recent: Mapping[str, Recent],
    near: Sequence[Near],
    at: float | None,
    refused: Mapping[str, int],
    *,
    agreed: bool,
) -> tuple[str, ...]:
    """Name every reason why there is no visit to tell of."""
    if not agreed:
        return ("unconsented",)
    newest = _newest(recent)
    codes = [code for code in ("late", "future") if refused.get(code)]
    if newest is None:
        return tuple(codes) or ("unknown" if found.person is None else "not_kept",)
    if at is None or newest < at - LATELY_S:
        codes.append("not_since")
    codes += [code for code in ("mock", "jumps") if any(getattr(r, code) for r in recent.values())]
    if not near:
        codes.append("far")
    return tuple(codes)


def _newest(recent: Mapping[str, Recent]) -> float | None:
    return max((r.newest_at for r in recent.values() if r.newest_at is not None), default=None)


def _why_nothing(code: str, recent: Mapping[str, Recent], refused: Mapping[str, int]) -> str:
    newest = _newest(recent)
    return NOTHING[code].format(
        newest_at="" if newest is None else format_time(newest),
        mock=sum(one.mock for one in recent.values()),
        jumps=sum(one.jumps for one in recent.values()),
        late=refused.get("late"),
        future=refused.get("future"),
    )
