"""The question: which campaigns are there, and which transitions are they waiting for.

Reads the text of a campaigns file (``docs/campaigns.md`` names every key) and turns a transition
into triggers. Pure: reading the file itself is ``campaignfile``'s; whether an offer may be made is
``gates``'.
"""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from proximity.content import check_link, check_text
from proximity.model import ProximityError, Trigger, digest
from proximity.presence import UNHEARD_AFTER_S
from proximity.tomltable import TomlTable, nearest

if TYPE_CHECKING:
    from collections.abc import Collection

    from proximity.model import Transition
    from proximity.windows import Window

__all__ = ["Campaign", "Campaigns", "Cap", "PlaceFacts", "parse_campaigns", "waited"]

Purpose = Literal["marketing", "service"]
On = Literal["enter", "dwell", "exit", "pass"]

PURPOSES = ("marketing", "service")
KINDS = ("enter", "dwell", "exit", "pass")

DEFAULT_MAX_AGE_S = 3600.0
"""Age at which a trigger sends nothing where the campaign does not say. As long as a late record
may be (``--late``): whoever wants an hour-old arrival answered has to write so."""

WAITED_S = 120.0
"""What a receiver tells later than this had waited with it. Live sightings arrive within seconds,
and an offer on a dwell timer wants evidence no older than this."""

CHANNEL_NAMES = ("console", "webhook")
"""What campaigns may name as channels; ``channels.CHANNELS`` has the same rows."""

_MOST_CAMPAIGNS = 2000
_YEAR_S = 366 * 86400.0
_GONE_REASONS = frozenset({"fence-removed", "fence-expired", "erased"})


class PlaceFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What campaigns and gates may know of a place: no geometry, no radio.

    ``parents`` are nearest first; ``timezone`` is an IANA name or None where nobody knows it;
    ``active`` are its opening hours, local to it (none: always open); ``unheard_after_s`` the
    silence in seconds that ends a visit which receivers told of.
    """

    id: str
    name: str | None = None
    tags: tuple[str, ...] = ()
    parents: tuple[str, ...] = ()
    timezone: str | None = None
    active: tuple[Window, ...] = ()
    unheard_after_s: float = UNHEARD_AFTER_S


class Cap(msgspec.Struct, frozen=True, kw_only=True):
    """At most ``count`` sends to one person within any ``window_s`` seconds.

    ``purpose`` None counts sends of every purpose and holds for every campaign.
    """

    count: int
    window_s: float
    purpose: Purpose | None = None


class Campaign(msgspec.Struct, frozen=True, kw_only=True):
    """One campaign as written: when, to whom and what; seconds are ``_s``, times Unix seconds.

    ``listed`` is False for the stand-in of a campaign that has left the file while a trigger of
    it was waiting.
    """

    id: str
    on: On = "enter"
    purpose: Purpose = "marketing"
    channels: tuple[str, ...] = ()
    text: dict[str, str] = {}
    places: frozenset[str] = frozenset()
    tags: frozenset[str] = frozenset()
    hours: tuple[Window, ...] = ()
    max_age_s: float = DEFAULT_MAX_AGE_S
    ttl_s: float | None = None
    cooldown_s: float = 0.0
    link: str | None = None
    version: int = 1
    active: bool = True
    valid_from: float | None = None
    valid_until: float | None = None
    dwell_s: float | None = None
    defer: bool = False
    priority: float = 0.0
    listed: bool = True

    def meets(self, transition: Transition, place: PlaceFacts) -> bool:
        """Whether this campaign waits for this transition: its kind, its dwell, its place."""
        return (
            transition.kind == self.on
            and (self.dwell_s is None or self.dwell_s == transition.dwell_s)
            and (transition.place in self.places or not self.tags.isdisjoint(place.tags))
        )


class Campaigns(msgspec.Struct, frozen=True, kw_only=True):
    """All that a campaigns file says.

    ``quiet_hours`` are local to the person and bind marketing; ``link_hosts``, where there are
    any, are the only hosts that links may lead to; ``channel`` is each channel's own table;
    ``version`` is a hash of the whole text.
    """

    campaigns: dict[str, Campaign] = {}
    caps: tuple[Cap, ...] = ()
    quiet_hours: tuple[Window, ...] = ()
    link_hosts: frozenset[str] = frozenset()
    channel: dict[str, dict[str, Any]] = {}
    version: str = ""

    def get(self, campaign: str, version: int = 1) -> Campaign:
        """Find a campaign by id; one that is not in the file stands in as inactive."""
        return self.campaigns.get(campaign) or Campaign(
            id=campaign, version=version, active=False, listed=False
        )

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
        met.sort(key=lambda c: (-c.priority, c.id))
        because = transition.because
        return [
            Trigger(
                id=digest(person, c.id, transition.visit, transition.kind, transition.dwell_s),
                campaign=c.id,
                version=c.version,
                person=person,
                subject=transition.subject,
                place=transition.place,
                visit=transition.visit,
                kind=transition.kind,
                at=transition.at,
                decided_at=transition.decided_at,
                evidence_at=float(because.get("evidence_at", transition.decided_at)),
                still=bool(because.get("still", False)),
                dwell_s=transition.dwell_s,
                because=because,
            )
            for c in met
        ]


def waited(transition: Transition, place: PlaceFacts) -> bool:
    """Whether a gateway told it so late that it is evidence alone; what phones tell has max_age_s.

    A gateway tells what it hears within seconds, or else it was cut off.
    """
    if transition.at is None or "gateway" not in transition.because:
        return False
    silence_s = place.unheard_after_s if transition.kind == "exit" else 0.0
    return transition.decided_at - transition.at > WAITED_S + silence_s


def parse_campaigns(
    text: str, name: str = "campaigns", channels: Collection[str] = CHANNEL_NAMES
) -> Campaigns:
    """Read the text of a campaigns file; ``channels`` are the names a campaign may use.

    Raises ProximityError with every problem at once, each led by ``name`` and the campaign's id.
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ProximityError(f"{name}: this is no TOML: {error}") from None
    except RecursionError:
        raise ProximityError(f"{name}: this is nested too deeply") from None
    top = TomlTable(table, name)
    caps = tuple(_read_cap(item) for item in top.children("cap"))
    quiet_hours = top.windows("quiet_hours")
    link_hosts = frozenset(host.lower() for host in top.names("link_hosts"))
    channel = _read_channels(top.child("channel"), channels)
    campaigns: dict[str, Campaign] = {}
    for item in top.children("campaign"):
        campaign = _read_campaign(item, link_hosts, channels)
        if campaign.id in campaigns:
            item.fault("two campaigns have this id; give each its own")
        campaigns[campaign.id] = campaign
    if len(campaigns) > _MOST_CAMPAIGNS:
        top.fault(f"{len(campaigns)} campaigns are too many, at most {_MOST_CAMPAIGNS}")
    top.finish()
    if top.problems:
        raise ProximityError(*top.problems)
    return Campaigns(
        campaigns=campaigns,
        caps=caps,
        quiet_hours=quiet_hours,
        link_hosts=link_hosts,
        channel=channel,
        version=digest(text),
    )


def _read_cap(item: TomlTable) -> Cap:
    if not (item.has("count") and item.has("window_s")):
        item.fault("a cap needs both count and window_s")
    cap = Cap(
        count=item.whole("count", 1, least=0, most=1_000_000),
        window_s=item.number("window_s", 1.0, least=1.0, most=_YEAR_S),
        purpose=item.choice("purpose", PURPOSES),  # type: ignore[arg-type]  # one of PURPOSES
    )
    item.finish()
    return cap


def _read_channels(item: TomlTable, channels: Collection[str]) -> dict[str, dict[str, Any]]:
    # What a channel's own table may hold is for that channel to say, when it is opened.
    tables = {name: dict(item.child(name).table) for name in channels}
    item.finish()
    return {name: table for name, table in tables.items() if table}


def _read_campaign(
    item: TomlTable, link_hosts: Collection[str], channels: Collection[str]
) -> Campaign:
    for key in ("id", "purpose", "on", "channels"):
        if not item.has(key):
            item.fault(f"{key} is missing")
    if not (item.has("places") or item.has("tags")):
        item.fault("it says nowhere: name places or tags")
    link = item.text("link")
    if link is not None:
        for fault in check_link(link, link_hosts):
            item.fault(fault)
    campaign = Campaign(
        id=item.identity("id") or "",
        on=item.choice("on", KINDS) or "enter",  # type: ignore[arg-type]  # one of KINDS
        purpose=item.choice("purpose", PURPOSES) or "marketing",  # type: ignore[arg-type]  # the same
        channels=item.names("channels"),
        text=_read_texts(item, link=link is not None),
        places=frozenset(item.names("places")),
        tags=frozenset(item.names("tags")),
        hours=item.windows("hours"),
        max_age_s=item.number("max_age_s", DEFAULT_MAX_AGE_S, most=_YEAR_S),
        ttl_s=item.number("ttl_s", 0.0, least=1.0, most=_YEAR_S) or None,
        cooldown_s=item.number("cooldown_s", 0.0, most=_YEAR_S),
        link=link,
        version=item.whole("version", 1, least=0, most=2**31),
        active=item.flag("active", default=True),
        valid_from=item.time("valid_from"),
        valid_until=item.time("valid_until"),
        dwell_s=item.number("dwell_s", 0.0, least=0.001, most=_YEAR_S) or None,
        defer=item.flag("defer", default=False),
        priority=item.number("priority", 0.0, least=-1e9, most=1e9),
    )
    if not campaign.text:
        item.fault("no text: write one for each language under [campaign.text]")
    for channel in campaign.channels:
        if channel not in channels:
            item.fault(f"unknown channel {channel!r:.60}; {nearest(channel, channels)}")
    start, end = campaign.valid_from, campaign.valid_until
    if start is not None and end is not None and end <= start:
        item.fault("valid_until is not after valid_from, so it is never valid")
    if campaign.dwell_s is not None and campaign.on != "dwell":
        item.fault(f'dwell_s belongs to on = "dwell"; this campaign is on = "{campaign.on}"')
    item.finish()
    return campaign


def _read_texts(item: TomlTable, *, link: bool) -> dict[str, str]:
    texts = item.child("text").table
    for language, text in texts.items():
        for fault in check_text(language, text, link=link):
            item.fault(fault)
    return {language: str(text) for language, text in texts.items()}
