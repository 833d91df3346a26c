"""The question: which campaigns are there, and which transitions are they waiting for.

The values that a campaigns file says, and the triggers that transitions and events make of them.
Pure: how the file is written is ``form``'s; whether an offer may be made is ``gates``'.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec

from proximity.campaigns.calendars import NO_HOLIDAYS, Calendar
from proximity.campaigns.reach import PLAIN, Terms
from proximity.campaigns.sureness import sureness, told_by
from proximity.engine.presence import UNHEARD_AFTER_S
from proximity.model import Trigger, digest, parse_time
from proximity.people.facts import Happened

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proximity.content.prices import Price
    from proximity.model import Event, Transition
    from proximity.segments.segments import Rule
    from proximity.windows import Window

__all__ = [
    "NOWHERE", "After", "Age", "Campaign", "Campaigns", "Cap", "Circumstance",
    "Contest", "Daypart", "Links", "PlaceFacts", "Stock", "TriggerRule", "waited",
]  # fmt: skip

On = Literal["enter", "dwell", "exit", "pass", "event", "manual"]
Period = Literal["hour", "day", "week", "month"]
Clock = Literal["both", "place", "person"]

KINDS = ("enter", "dwell", "exit", "pass")

DEFAULT_MAX_AGE_S = 3600.0
"""Age at which a trigger sends nothing where the campaign does not say. As long as a late record
may be (``--late``): whoever wants an hour-old arrival answered has to write so."""

WAITED_S = 120.0
"""What a receiver tells later than this had waited with it. Live sightings arrive within seconds,
and an offer on a dwell timer wants evidence no older than this."""

PERIODS_S = {"hour": 7200.0, "day": 90_000.0, "week": 8 * 86400.0, "month": 32 * 86400.0}
"""The longest that a calendar period lasts, in seconds: once a year an hour comes twice."""

YEAR_S = 366 * 86400.0
"""As far back as behaviour and questions of long ago matter."""

_GONE_REASONS = frozenset({"fence-removed", "fence-expired", "erased"})


class PlaceFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What campaigns and gates may know of a place: no geometry, no radio.

    ``parents`` are nearest first; ``venue_tags`` the tags of the place and all of them, which tell
    what kind of venue it is; ``timezone`` is an IANA name or None where nobody knows it;
    ``languages`` what is spoken there; ``active`` are its opening hours, local to it (none: always
    open); ``unheard_after_s`` the silence in seconds that ends a visit which receivers told of.
    An empty ``id`` is nowhere.
    """

    id: str
    name: str | None = None
    tags: tuple[str, ...] = ()
    parents: tuple[str, ...] = ()
    venue_tags: tuple[str, ...] = ()
    timezone: str | None = None
    languages: tuple[str, ...] = ()
    active: tuple[Window, ...] = ()
    unheard_after_s: float = UNHEARD_AFTER_S


NOWHERE = PlaceFacts(id="")
"""What is known of the place where there is none."""


class Cap(msgspec.Struct, frozen=True, kw_only=True):
    """At most ``count`` sends to one person in any ``window_s`` seconds, or a calendar period.

    Only sends of ``purpose``, ``channel``, ``campaign`` and ``place`` count, where these are
    written, and it holds only for such; ``marketing`` counts whatever presses as marketing does.
    ``foreign``: what other systems sent counts as well.
    """

    count: int
    window_s: float | None = None
    per: Period | None = None
    purpose: str | None = None
    channel: str | None = None
    campaign: str | None = None
    place: str | None = None
    foreign: bool = True

    @property
    def back_s(self) -> float:
        """How far back it counts at most, in seconds."""
        return PERIODS_S[self.per] if self.per is not None else self.window_s or 0.0


class TriggerRule(msgspec.Struct, frozen=True, kw_only=True):
    """What a campaign waits for: a transition in such a place, an event, or a marketer's wish.

    ``event`` with ``properties`` belongs to ``on`` "event"; its trigger is due ``before_s`` seconds
    before the time in ``at_property``, where that is written, else at once.
    """

    on: On
    places: frozenset[str] = frozenset()
    tags: frozenset[str] = frozenset()
    dwell_s: float | None = None
    event: str | None = None
    properties: dict[str, Any] = {}
    at_property: str | None = None
    before_s: float = 0.0


class Daypart(msgspec.Struct, frozen=True):
    """Hours in which an offer makes sense, on the place's clock, the person's, or both."""

    window: Window
    clock: Clock = "both"


class Circumstance(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that must be so: of the venue's tags, and of what the person did lately.

    The venue carries one of ``tags`` and none of ``not_tags``; within the last ``within_s`` seconds
    there was an ``event`` with these ``properties``. What is empty asks nothing.
    """

    tags: frozenset[str] = frozenset()
    not_tags: frozenset[str] = frozenset()
    event: str | None = None
    within_s: float = 3600.0
    properties: dict[str, Any] = {}


class After(msgspec.Struct, frozen=True, kw_only=True):
    """The value somebody was shown before they are asked: so many visits, or such an event."""

    visits: int = 0
    event: str | None = None


class Links(msgspec.Struct, frozen=True, kw_only=True):
    """Where an offer leads: into an app by its scheme, by a universal link, and on the web."""

    app: str | None = None
    universal: str | None = None
    web: str | None = None


class Stock(msgspec.Struct, frozen=True, kw_only=True):
    """A budget of ``count`` units, for good or anew in each calendar ``window``.

    ``timezone`` (an IANA name, None: UTC) is the one whose calendar that is.
    """

    id: str
    count: int
    window: Period | None = None
    timezone: str | None = None


class Contest(msgspec.Struct, frozen=True, kw_only=True):
    """Of all campaigns that one moment would send, at most ``winners`` do.

    An offer that is worth less than ``least_value`` (0 to 1) to the person is not made.
    """

    winners: int = 1
    least_value: float = 0.0


class Age(msgspec.Struct, frozen=True, kw_only=True):
    """Ages are asked for: who is not known to have ``least`` years, else their country's age."""

    least: int | None = None


class Campaign(msgspec.Struct, frozen=True, kw_only=True):
    """One campaign as written: when, to whom and what; seconds are ``_s``, times Unix seconds.

    ``listed`` is False for the stand-in of a campaign that has left the file while a trigger of
    it was waiting. ``docs/campaigns.md`` says what each field means.
    """

    id: str
    on: On = "enter"
    purpose: str = "marketing"
    channels: tuple[str, ...] = ()
    text: dict[str, str] = {}
    places: frozenset[str] = frozenset()
    tags: frozenset[str] = frozenset()
    dwell_s: float | None = None
    event: str | None = None
    properties: dict[str, Any] = {}
    at_property: str | None = None
    before_s: float = 0.0
    triggers: tuple[TriggerRule, ...] = ()
    audience: Rule | None = None
    context: tuple[Circumstance, ...] = ()
    min_confidence: float | None = None
    hours: tuple[Window, ...] = ()
    dayparts: tuple[Daypart, ...] = ()
    max_age_s: float = DEFAULT_MAX_AGE_S
    ttl_s: float | None = None
    cooldown_s: float = 0.0
    place_cooldown_s: float = 0.0
    once_per_visit: bool = False
    caps: tuple[Cap, ...] = ()
    topic: str | None = None
    product: str | None = None
    contrary: tuple[str, ...] = ()
    contrary_share: float = 0.5
    contrary_count: int = 3
    value: float = 1.0
    least_value: float | None = None
    stock: tuple[str, ...] = ()
    title: dict[str, str] = {}
    terms: dict[str, str] = {}
    asks: str | None = None
    after: After | None = None
    most: int = 3
    back_off_s: float = 30 * 86400.0
    attributes: tuple[str, ...] = ()
    benefit: str | None = None
    price: Price | None = None
    link: str | None = None
    links: Links = Links()
    landing: bool = False
    landing_place: str | None = None
    redeem: Literal["button", "code"] | None = None
    version: int = 1
    active: bool = True
    valid_from: float | None = None
    valid_until: float | None = None
    defer: bool = False
    priority: float = 0.0
    listed: bool = True

    @property
    def waits_for(self) -> tuple[TriggerRule, ...]:
        """All that it waits for: the campaign's own keys, then its ``triggers``."""
        own = TriggerRule(
            on=self.on,
            places=self.places,
            tags=self.tags,
            dwell_s=self.dwell_s,
            event=self.event,
            properties=self.properties,
            at_property=self.at_property,
            before_s=self.before_s,
        )
        return (own, *self.triggers)

    @property
    def needs_profile_s(self) -> float | None:
        """How far back it asks what the person did and where they were; None where it does not."""
        back_s = [one.within_s for one in self.context if one.event is not None]
        if self.audience is not None and (asked_s := self.audience.back_s()) is not None:
            back_s.append(asked_s)
        if self.product is not None or self.contrary or self.asks is not None:
            back_s.append(YEAR_S)
        return max(back_s, default=None)

    def meets(self, transition: Transition, place: PlaceFacts) -> bool:
        """Whether this campaign waits for this transition: its kind, its dwell, its place."""
        return any(
            transition.kind == rule.on
            and (rule.dwell_s is None or rule.dwell_s == transition.dwell_s)
            and (transition.place in rule.places or not rule.tags.isdisjoint(place.tags))
            for rule in self.waits_for
        )


class Campaigns(msgspec.Struct, frozen=True, kw_only=True):
    """All that a campaigns file says.

    ``quiet_hours`` are local to the person and bind marketing; ``holidays`` is the calendar of all
    windows; ``link_hosts``, where there are any, are the only hosts that links may lead to;
    ``language`` is the one for people of whom no other is known; ``public_url`` is where this
    server is reached from outside, ``inbox_origins`` the websites that may show an inbox;
    ``channel`` is each channel's own table and ``channel_terms``
    what is common to all (``reach``); ``version`` is a hash of the whole text.
    """

    campaigns: dict[str, Campaign] = {}
    segments: dict[str, Rule] = {}
    stocks: dict[str, Stock] = {}
    caps: tuple[Cap, ...] = ()
    quiet_hours: tuple[Window, ...] = ()
    holidays: Calendar = NO_HOLIDAYS
    contest: Contest | None = None
    age: Age | None = None
    location_consent: Literal["implied", "required"] = "implied"
    link_hosts: frozenset[str] = frozenset()
    language: str = "en"
    public_url: str | None = None
    inbox_origins: frozenset[str] = frozenset()
    channel: dict[str, dict[str, Any]] = {}
    channel_terms: dict[str, Terms] = msgspec.field(default_factory=PLAIN.copy)
    version: str = ""

    def get(self, campaign: str, version: int = 1) -> Campaign:
        """Find a campaign by id; one that is not in the file stands in as inactive."""
        return self.campaigns.get(campaign) or Campaign(
            id=campaign, version=version, active=False, listed=False
        )

    def back_s(self, campaign: Campaign) -> float:
        """How far back earlier sends matter to a campaign: its cooldowns, caps and asking."""
        spans = [cap.back_s for cap in (*self.caps, *campaign.caps)]
        spans += [campaign.cooldown_s, campaign.place_cooldown_s]
        if campaign.once_per_visit or campaign.asks is not None:
            spans.append(YEAR_S)
        return max(spans)

    @property
    def caps_places(self) -> bool:
        """Whether any cap counts the sends of one place, and so needs to know what lies in it."""
        every = (self.caps, *(one.caps for one in self.campaigns.values()))
        return any(cap.place is not None for caps in every for cap in caps)

    def triggers(self, transition: Transition, person: str, place: PlaceFacts) -> list[Trigger]:
        """Make a trigger for each campaign that waits for this transition, by priority, then id.

        What was found late or corrected, what had waited in a receiver's spool, and an exit because
        a fence was taken away or a subject erased, triggers nothing: nobody has come or gone now.
        """
        if transition.late or transition.at is None or transition.reason in _GONE_REASONS:
            return []
        if waited(transition, place):
            return []
        met = [c for c in self.campaigns.values() if c.meets(transition, place)]
        if not met:
            return []
        met.sort(key=lambda c: (-c.priority, c.id))
        because = transition.because
        kind, dwell_s = transition.kind, transition.dwell_s
        source, confidence = told_by(because), sureness(transition)
        moment = digest(person, transition.place, transition.visit, kind, dwell_s)
        return [
            Trigger(
                id=digest(person, c.id, transition.visit, kind, dwell_s),
                campaign=c.id,
                version=c.version,
                person=person,
                subject=transition.subject,
                place=transition.place,
                visit=transition.visit,
                kind=kind,
                at=transition.at,
                decided_at=transition.decided_at,
                evidence_at=float(because.get("evidence_at", transition.decided_at)),
                still=bool(because.get("still", False)),
                dwell_s=dwell_s,
                because=because,
                confidence=confidence,
                source=source,
                moment=moment,
            )
            for c in met
        ]

    def event_triggers(
        self, event: Event, person: str, place: PlaceFacts | None, visit: str | None
    ) -> list[Trigger]:
        """Make a trigger for each campaign that waits for this event, by priority, then id.

        ``place`` is the deepest in which the subject was by then, ``visit`` its visit. An event
        counts in its place and in all around it, and by the tags of any of these. A trigger that
        a campaign wants put off is due that much before the time that the event names, and worth
        nothing from that time on; without such a time there is none.
        """
        where = NOWHERE if place is None else place
        name = event.id or digest("event", event.subject, event.at, event.name, event.properties)
        moment = digest(person, name, "event")
        happened = Happened(event.name, event.at, event.properties, where.id or None, name)
        now = event.at if event.received_at is None else event.received_at
        made = []
        for c in sorted(self.campaigns.values(), key=lambda c: (-c.priority, c.id)):
            rule = next((r for r in c.waits_for if _meets_event(r, event, where)), None)
            if rule is None:
                continue
            due_at = until = None
            if rule.at_property is not None:
                until = _time_of(event.properties.get(rule.at_property))
                if until is None:
                    continue
                due_at = max(now, until - rule.before_s)  # told of too late: at once
            made.append(
                Trigger(
                    id=digest(person, c.id, name, "event", None),
                    campaign=c.id,
                    version=c.version,
                    person=person,
                    subject=event.subject,
                    place=where.id,
                    visit=visit or "",
                    kind="event",
                    at=event.at,
                    decided_at=now,
                    evidence_at=event.at,
                    source="event",
                    moment=moment,
                    due_at=due_at,
                    until=until,
                    event=happened,
                )
            )
        return made


def _meets_event(rule: TriggerRule, event: Event, place: PlaceFacts) -> bool:
    return (
        rule.on == "event"
        and rule.event == event.name
        and has_properties(event.properties, rule.properties)
        and (
            not (rule.places or rule.tags)
            or place.id in rule.places
            or not rule.places.isdisjoint(place.parents)
            or not rule.tags.isdisjoint((*place.tags, *place.venue_tags))
        )
    )


def has_properties(have: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether an event's properties hold every one that is wanted, of the same kind and value."""
    return all(
        have.get(name) == value and isinstance(have.get(name), bool) is isinstance(value, bool)
        for name, value in wanted.items()
    )


def _time_of(value: object) -> float | None:
    """Read what an event calls a time; None where it is none."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        return parse_time(value)
    except (ValueError, OverflowError):
        return None


def waited(transition: Transition, place: PlaceFacts) -> bool:
    """Whether a gateway told it so late that it is evidence alone; what phones tell has max_age_s.

    A gateway tells what it hears within seconds, or else it was cut off.
    """
    if transition.at is None or "gateway" not in transition.because:
        return False
    silence_s = place.unheard_after_s if transition.kind == "exit" else 0.0
    return transition.decided_at - transition.at > WAITED_S + silence_s
