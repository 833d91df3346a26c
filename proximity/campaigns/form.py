"""The question: what does the text of a campaigns file say, and what is wrong with it.

Reads by the keys of ``keys``, and looks at what they say against each other. All problems
are named at once. Pure: reading the file itself is ``file``'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proximity.campaigns import forms
from proximity.campaigns.calendars import Calendar
from proximity.campaigns.campaigns import Campaign, Campaigns, Stock
from proximity.campaigns.keys import CAMPAIGN, FILE, TRIGGER_KEYS, trigger_faults
from proximity.campaigns.purposes import ASKING
from proximity.campaigns.reach import CHANNEL, PLAIN, cheapest_first, read_terms
from proximity.content.content import check_link, check_text, check_words, links_of
from proximity.content.deeplinks import check_links, check_origin
from proximity.model import ProximityError, digest
from proximity.segments.segments import read_audience, read_segments
from proximity.tomltable import TomlTable, nearest, parse_toml

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proximity.campaigns.reach import Terms
    from proximity.segments.segments import Rule

__all__ = ["parse_campaigns"]

_OF_CAMPAIGNS = frozenset(key.name for key in CAMPAIGN) - {key.name for key in FILE} - {"caps"}
_OF_FILE = frozenset(key.name for key in FILE) - {key.name for key in CAMPAIGN} - {"cap"}
"""Keys that are easily written in the other of the two: to TOML a line is the last head's above it.
Each has its own word for caps, and whoever writes the other's means that."""
MOST_CAMPAIGNS = 2000
"""Campaigns of one file: a chain with more has a file for each region."""


def parse_campaigns(text: str, name: str = "campaigns") -> Campaigns:
    """Read the text of a campaigns file.

    Raises ProximityError with every problem at once, each led by ``name`` and the campaign's id.
    """
    top = TomlTable(parse_toml(text, name), name)
    values = forms.read(FILE, top)
    days = frozenset(day.toordinal() for day in values.pop("holiday", ()))
    values["holidays"] = Calendar(values.pop("holidays", None), days)
    values["link_hosts"] = frozenset(host.lower() for host in values.get("link_hosts", ()))
    values["inbox_origins"] = frozenset(values.get("inbox_origins", ()))
    values["stocks"] = _by_id(top, "stock", values.get("stocks", ()))
    segments = read_segments(top)
    channel, terms = _read_channels(top.child("channel"))
    values["channel_terms"] = terms
    campaigns: dict[str, Campaign] = {}
    for item in top.children("campaign"):
        campaign = _read_campaign(item, values, segments)
        if campaign.id in campaigns:
            item.fault("two campaigns have this id; give each its own")
        campaigns[campaign.id] = campaign
    _check_file(top, values, campaigns)
    for key in sorted(_OF_CAMPAIGNS & top.table.keys()):
        top.fault(f"{key} is a key of a campaign: {_below(key, top.table[key])}")
    top.finish(_OF_CAMPAIGNS)
    if top.problems:
        raise ProximityError(*top.problems)
    return Campaigns(
        campaigns=campaigns, segments=segments, channel=channel, version=digest(text), **values
    )


def _by_id(top: TomlTable, key: str, stocks: tuple[Stock, ...]) -> dict[str, Stock]:
    found: dict[str, Stock] = {}
    for one in stocks:
        if one.id in found:
            top.fault(f"two tables of {key} have the id {one.id!r:.80}; give each its own")
        found[one.id] = one
    return found


def _read_channels(item: TomlTable) -> tuple[dict[str, dict[str, Any]], dict[str, Terms]]:
    """Read what each channel's table says for that channel, and the terms that are common to all.

    What a channel's own keys may be is for that channel to say, when it is opened.
    """
    tables: dict[str, dict[str, Any]] = {}
    terms = dict(PLAIN)
    for name in item.table:
        one = item.child(name)
        found = read_terms(name, one)
        if found is None:
            continue
        terms[name] = found
        common = {key.name for key in CHANNEL if key.name != "kind"}
        own = {key: value for key, value in one.table.items() if key not in common}
        if own:
            tables[name] = own
    return tables, terms


def _check_file(
    top: TomlTable,
    values: Mapping[str, Any],
    campaigns: Mapping[str, Campaign],
) -> None:
    """Note what keys at the top of the file and campaigns say against each other."""
    channels = values["channel_terms"]
    if len(campaigns) > MOST_CAMPAIGNS:
        top.fault(f"{len(campaigns)} campaigns are too many, at most {MOST_CAMPAIGNS}")
    if "public_url" in values:
        for fault in check_link(values["public_url"], ()):
            top.fault(f"public_url: {fault}")
    for origin in sorted(values["inbox_origins"]):
        for fault in check_origin(origin):
            top.fault(f"inbox_origins: {fault}")
    for cap in values.get("caps", ()):
        if cap.campaign is not None and cap.campaign not in campaigns:
            top.fault(
                f"a cap names campaign {cap.campaign!r:.60}; {nearest(cap.campaign, campaigns)}"
            )
        if cap.channel is not None and cap.channel not in channels:
            top.fault(f"a cap names channel {cap.channel!r:.60}; {nearest(cap.channel, channels)}")


def _read_campaign(
    item: TomlTable,
    file: Mapping[str, Any],
    segments: Mapping[str, Rule],
) -> Campaign:
    """Read one campaign; what its keys say against each other is noted after what each says."""
    if not item.has("on") and not item.has("trigger"):
        item.fault("on is missing")
    values = forms.read(CAMPAIGN, item)
    values["audience"] = read_audience(item, segments)
    values.setdefault("id", "")
    if "on" not in values and values.get("triggers"):
        values["on"] = values["triggers"][0].on
    channels = file["channel_terms"]
    values["channels"] = cheapest_first(values.get("channels", ()), channels)
    campaign = Campaign(**values)
    faults = _trigger_faults(item, campaign)
    faults += _content_faults(item, campaign, file["link_hosts"])
    faults += _landing_faults(campaign, reached="public_url" in file)
    faults += _asking_faults(item, campaign)
    for channel in campaign.channels:
        if channel not in channels:
            faults.append(f"unknown channel {channel!r:.60}; {nearest(channel, channels)}")
    for one in campaign.stock:
        if one not in file["stocks"]:
            mend = nearest(one, file["stocks"]) if file["stocks"] else "write it as a [[stock]]"
            faults.append(f"unknown stock {one!r:.60}; {mend}")
    start, end = campaign.valid_from, campaign.valid_until
    if start is not None and end is not None and end <= start:
        faults.append("valid_until is not after valid_from, so it is never valid")
    if item.table.get("max_age_s") == 0 and campaign.ttl_s is None:
        faults.append(
            "max_age_s = 0 leaves its offers no time: say with ttl_s how long they are good"
        )
    if isinstance(item.table.get("on"), list):
        faults.append("on is one thing: for several write [[campaign.trigger]], each with its on")
    for key in sorted(_OF_FILE & item.table.keys()):
        faults.append(f"{key} is a key of the file: write it above the first [[campaign]]")
    for fault in faults:
        item.fault(fault)
    item.finish(_OF_FILE)
    return campaign


def _below(key: str, value: object) -> str:
    """Say how a key that stands at the top of the file is written as a campaign's."""
    if isinstance(value, dict):
        return f"write [campaign.{key}]"
    if isinstance(value, list) and all(isinstance(one, dict) for one in value):
        return f"write [[campaign.{key}]]"
    return "write it below its [[campaign]]"


def _trigger_faults(item: TomlTable, campaign: Campaign) -> list[str]:
    if "on" in item.table or not campaign.triggers:
        return trigger_faults(campaign.waits_for[0])
    loose = [key.name for key in TRIGGER_KEYS if key.name in item.table]
    if loose:
        return [f"{', '.join(loose)} without on: write on, or put them into [[campaign.trigger]]"]
    return []


def _content_faults(item: TomlTable, campaign: Campaign, hosts: frozenset[str]) -> list[str]:
    faults = []
    links = {
        way: link for way in ("app", "universal", "web") if (link := getattr(campaign.links, way))
    }
    if campaign.link is not None:
        faults += check_link(campaign.link, hosts)
        if "web" in links:
            faults.append("link and links.web say the same: write one of them")
        links.setdefault("web", campaign.link)
    faults += [
        fault for fault in check_links(links, hosts)
        if campaign.link is None or not fault.startswith("links.web")
    ]  # fmt: skip
    if not campaign.text and "text" in item.table:
        faults.append("no text: write one for each language under [campaign.text]")
    for language, text in campaign.text.items():
        faults += check_text(
            language,
            text,
            link=bool(links),
            attributes=campaign.attributes,
            price=campaign.price is not None,
            stock=bool(campaign.stock),
        )
    for key in ("title", "terms"):
        texts = getattr(campaign, key)
        faults += [f"{key}.{tag:.40} has no text" for tag in texts if tag not in campaign.text]
        faults += check_words(key, texts)
    return faults


def _landing_faults(campaign: Campaign, *, reached: bool) -> list[str]:
    """Say what is missing for an offer to have its page; ``reached``: people reach this server."""
    faults = []
    has_page = reached and (campaign.landing or not links_of(campaign))
    if campaign.landing and not reached:
        faults.append("landing needs public_url: where people reach this server")
    if campaign.landing_place is not None and not (campaign.landing or has_page):
        faults.append("landing_place belongs to landing = true")
    shown = campaign.landing or has_page or "inbox" in campaign.channels
    if campaign.redeem is not None and not shown:
        faults.append('redeem needs a page (landing = true) or the channel "inbox"')
    return faults


def _asking_faults(item: TomlTable, campaign: Campaign) -> list[str]:
    faults = []
    if (campaign.asks is not None) != (campaign.purpose == ASKING):
        faults.append(f'asks and purpose = "{ASKING}" belong together: write both, or neither')
    if campaign.asks is None and campaign.after is not None:
        faults.append("after belongs to asks: the purpose of the consent that is asked for")
    if not campaign.contrary and item.table.keys() & {"contrary_share", "contrary_count"}:
        faults.append("contrary_share and contrary_count need contrary: which products")
    return faults
