"""The question: who is sent a campaign because a marketer wants it, and what would become of it.

A manual send is a trigger for each person of an audience, in the same queue as those of places and
events: the same gates, the same caps and stock, the same ledger. Sending the same thing twice sends
it once. Writes nothing but triggers, and none of whoever agreed to nothing; a rehearsal writes
nothing, and plays whatever a campaign waits for.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Literal

import msgspec

from proximity.dispatch import queue, sends, weighing
from proximity.model import Decision, ProximityError, Trigger, digest
from proximity.people.behaviour import may_be_written
from proximity.segments.size import places_tagged
from proximity.segments.sql import find_people

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Connection

    from proximity.campaigns.campaigns import Campaign, Campaigns, TriggerRule
    from proximity.dispatch.weighing import World
    from proximity.segments.rules import Rule
    from proximity.site.places import Places
    from proximity.store import Store

__all__ = ["Queued", "Rehearsal", "Wish", "queue_all", "rehearse", "wish_for"]

AT_ONCE = 500
"""People in one transaction: other writers wait for it some hundredths of a second."""
MOST_SHOWN = 100
"""Decisions that a rehearsal gives whole; of the others it counts the reasons."""


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """To send ``campaign`` to a person, or to all whom ``audience`` means; once each ``occasion``.

    ``place`` is where it is sent for, empty for nowhere: the campaign's hours are on its clock.
    ``rule`` is what it would wait for, where a rehearsal plays that the person has just done it.
    """

    campaign: str
    version: int
    occasion: str
    place: str = ""
    person: str | None = None
    audience: Rule | None = None
    rule: TriggerRule | None = None


class Queued(msgspec.Struct, frozen=True):
    """How many people are meant, for how many of them it is new, and who agreed to nothing."""

    people: int
    new: int
    unconsented: int = 0


class Rehearsal(msgspec.Struct, frozen=True):
    """What would become of a wish now: how often each result, and the first decisions whole.

    ``texts`` are what those who would be sent it would read, by decision.
    """

    people: int
    results: dict[str, int]
    decisions: tuple[Decision, ...]
    texts: dict[str, str]


def wish_for(
    rules: Campaigns,
    campaign: str,
    *,
    person: str | None = None,
    audience: str | None = None,
    occasion: str | None = None,
    place: str | None = None,
    places: Places | None = None,
    rehearsal: bool = False,
) -> Wish:
    """Make the wish to send a campaign to ``person``, or to the segment ``audience``, else its own.

    ``occasion`` None is the campaign's version: each version goes to everybody once. A
    ``rehearsal`` may be of any campaign: where it is not sent by hand, as if what it waits for
    happened now. ``place`` must be one of ``places``, where these are known. Raises ProximityError
    with every reason why there is no such wish.
    """
    found = rules.campaigns.get(campaign)
    if found is None:
        raise ProximityError(f"there is no campaign {campaign!r:.80} in force")
    problems = []
    by_hand = any(rule.on == "manual" for rule in found.waits_for)
    if not by_hand and not rehearsal:
        problems.append(
            f'campaign {campaign!r}: it is sent by itself alone; give it on = "manual", or a '
            '[[campaign.trigger]] with on = "manual" beside what it waits for'
        )
    if person is not None and audience is not None:
        problems.append("name either a person or an audience: it is the one or the others")
    if audience is not None and audience not in rules.segments:
        problems.append(f"there is no segment {audience!r:.80}: write it as [[segment]]")
    rule = found.audience if audience is None else rules.segments.get(audience)
    if person is None and rule is None and not problems:
        problems.append(
            f"campaign {campaign!r}: it says nowhere whom it is for; name an audience or a person, "
            "or give it its own audience"
        )
    if place and places is not None and not places.known(place):
        problems.append(f"there is no place {place!r:.80}: name a fence or a zone that is in force")
    where = _only_place(found) if place is None else place
    played = None if by_hand else found.waits_for[0]
    if not problems and played is not None and played.on != "event" and not where:
        problems.append(
            f"campaign {campaign!r}: it waits for somebody at a place, and there are several; "
            "name the one to try"
        )
    if problems:
        raise ProximityError(*problems)
    return Wish(
        campaign=campaign,
        version=found.version,
        occasion=f"version {found.version}" if occasion is None else occasion,
        place=where,
        person=person,
        audience=None if person is not None else rule,
        rule=played,
    )


def queue_all(store: Store, world: World, wish: Wish, now: float) -> Queued:
    """Queue a trigger for everybody whom a wish means at Unix second ``now``; tell how many.

    In slices, each durable once it is queued; begun again after a fault it goes on with the rest.
    Raises StoreFailed.
    """

    def put(connection: Connection, some: Sequence[str]) -> tuple[int, int]:
        agreed = _agreed(connection, world, some, now)
        triggers = [_trigger(wish, one, now) for one in agreed]
        # What was decided is known for as long as decisions are kept, which is not for ever.
        sent = sends.known(connection, [one.id for one in triggers])
        new = [one for one in triggers if one.id not in sent]
        return queue.append(connection, new), len(agreed)

    people = new = agreed = 0
    for some in _slices(store, world, wish, now):
        added, asked = store.write(lambda c, some=some: put(c, some)).result()  # type: ignore[misc]
        people, new, agreed = people + len(some), new + added, agreed + asked
    return Queued(people, new, people - agreed)


def rehearse(store: Store, world: World, wish: Wish, now: float) -> Rehearsal:
    """Tell what would become of a wish at Unix second ``now``. Nothing is written.

    People are judged one after the other, so that what is scarce runs out as it would. Those who
    agree to nothing at all are counted as ``unconsented``: of them nothing would be decided.
    """
    results: Counter[str] = Counter()
    decisions: list[Decision] = []
    texts: dict[str, str] = {}
    left: dict[str, int] = {}
    people = 0

    def look(connection: Connection, some: Sequence[str]) -> tuple[list[Trigger], weighing.Known]:
        agreed = _agreed(connection, world, some, now)
        triggers = [_trigger(wish, one, now) for one in agreed]
        known = weighing.gather(connection, world, triggers, now, binding=False)
        known.final.update(sends.known(connection, [one.id for one in triggers]))
        return triggers, known

    for some in _slices(store, world, wish, now):
        triggers, known = store.read(lambda c, some=some: look(c, some))  # type: ignore[misc]
        people += len(some)
        results["unconsented"] += len(some) - len(triggers)
        known.stock_left.update(left)
        waiting = [one for one in triggers if one.id not in known.final]
        results["sent before"] += len(triggers) - len(waiting)
        for outcome in weighing.judge(world, known, waiting):
            decision = outcome.decision
            if decision is None:
                results["fault"] += 1
                continue
            results[str(decision.reason or decision.decision)] += 1
            if len(decisions) < MOST_SHOWN:
                decisions.append(decision)
                if outcome.offer is not None:
                    texts[decision.id] = outcome.offer.text
        left = known.stock_left
    counted = {result: count for result, count in sorted(results.items()) if count}
    return Rehearsal(people, counted, tuple(decisions), texts)


def _trigger(wish: Wish, person: str, now: float) -> Trigger:
    played = wish.rule
    return Trigger(
        id=digest(person, wish.campaign, wish.occasion, "manual", None),
        campaign=wish.campaign,
        version=wish.version,
        person=person,
        subject=person,
        place=wish.place,
        visit="",
        kind="manual" if played is None else played.on,
        at=now,
        decided_at=now,
        evidence_at=now,
        dwell_s=None if played is None else played.dwell_s,
        because={"occasion": wish.occasion},
        confidence=None if played is None else 1.0,
        source="manual" if played is None else "event" if played.on == "event" else "fix",
    )


def _agreed(connection: Connection, world: World, some: Sequence[str], now: float) -> Sequence[str]:
    """Give those of these people of whom anything may be written at all."""
    consent: Literal["required", "assumed"] = "assumed" if world.assumed else "required"
    agreed = may_be_written(connection, some, now, consent)
    return [person for person in some if person in agreed]


def _slices(store: Store, world: World, wish: Wish, now: float) -> Iterator[Sequence[str]]:
    """Give the people whom a wish means, some at a time, sorted."""
    meant = [wish.person] if wish.person is not None else _audience(store, world, wish, now)
    for start in range(0, len(meant), AT_ONCE):
        yield meant[start : start + AT_ONCE]


def _audience(store: Store, world: World, wish: Wish, now: float) -> Sequence[str]:
    """Find an audience at once: asked for slice by slice, its rule would be worked out each time.

    The ids of a million people take some 100 MB for as long as they are being queued.
    """
    rule = wish.audience
    assert rule is not None

    def find(connection: Connection) -> Sequence[str]:
        return find_people(connection, rule, now, places_tagged(connection, world.places.facts))

    return store.read(find)


def _only_place(campaign: Campaign) -> str:
    """Give the place that a campaign is about, where it is about one."""
    places = {place for rule in campaign.waits_for for place in rule.places}
    return next(iter(places)) if len(places) == 1 else ""
