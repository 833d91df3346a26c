"""The question: which keys may a campaigns file have, and what does each of them say.

Tables, and the values that are made of them: the reader, the JSON Schema and the reference page
(``docs/campaigns.md``) all come from here. It must not know what keys say against each other
across tables: that is ``form``'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

from proximity.campaigns import forms
from proximity.campaigns.calendars import check_country
from proximity.campaigns.campaigns import (
    KINDS,
    YEAR_S,
    After,
    Age,
    Cap,
    Circumstance,
    Contest,
    Daypart,
    Links,
    On,
    Period,
    Stock,
    TriggerRule,
)
from proximity.campaigns.forms import Key, Shape
from proximity.campaigns.purposes import PURPOSES
from proximity.content.prices import read_price
from proximity.model import ProximityError
from proximity.windows import load_zone

if TYPE_CHECKING:
    from proximity.content.prices import Price
    from proximity.tomltable import TomlTable

__all__ = ["CAMPAIGN", "FILE", "TRIGGER_KEYS", "trigger_faults"]

_MOST_CAPS = 100
_MOST_TRIGGERS = 20
_MOST_CIRCUMSTANCES = 20
_PERIODS = get_args(Period)
_ONS = get_args(On)


def _cap(**fields: Any) -> Cap:
    """Make a cap of its keys. Raises ValueError where they contradict each other."""
    if ("window_s" in fields) == ("per" in fields):
        raise ValueError("a cap needs count and window_s, or count and per, and not all three")
    return Cap(**fields)


def _circumstance(**fields: Any) -> Circumstance:
    """Make a circumstance of its keys. Raises ValueError where they ask nothing or too much."""
    if not fields.keys() & {"tags", "not_tags", "event"}:
        raise ValueError("it asks nothing: write tags, not_tags or event")
    if "event" not in fields and fields.keys() & {"within_s", "properties"}:
        raise ValueError("within_s and properties belong to an event")
    for name in fields.keys() & {"tags", "not_tags"}:
        fields[name] = frozenset(fields[name])
    return Circumstance(**fields)


def _after(**fields: Any) -> After:
    """Make what must come before a question. Raises ValueError where it is nothing."""
    if not fields:
        raise ValueError("it asks nothing: write visits or event")
    return After(**fields)


def _trigger(**fields: Any) -> TriggerRule:
    """Make a trigger of its keys. Raises ValueError where they do not go together."""
    for name in fields.keys() & {"places", "tags"}:
        fields[name] = frozenset(fields[name])
    rule = TriggerRule(**fields)
    faults = trigger_faults(rule)
    if faults:
        raise ValueError("; ".join(faults))
    return rule


def trigger_faults(rule: TriggerRule) -> list[str]:
    """Say what is wrong with the keys of a trigger together."""
    faults = []
    if rule.on in KINDS and not (rule.places or rule.tags):
        faults.append("it says nowhere: name places or tags")
    if rule.dwell_s is not None and rule.on != "dwell":
        faults.append(f'dwell_s belongs to on = "dwell"; this campaign is on = "{rule.on}"')
    if rule.on == "event" and rule.event is None:
        faults.append('on = "event" needs event: the name of the event it waits for')
    if rule.on != "event":
        faults += [
            f'{name} belongs to on = "event"; this campaign is on = "{rule.on}"'
            for name in ("event", "properties", "at_property")
            if getattr(rule, name)
        ]
    if rule.before_s and rule.at_property is None:
        faults.append("before_s needs at_property: which property of the event is the time")
    return faults


_SECONDS = forms.number(0.0, YEAR_S)
_PURPOSE = forms.choice(PURPOSES)

CAP: forms.Form = (
    Key("count", forms.whole(0, 1_000_000), "how many sends to one person", needed=True),
    Key("window_s", forms.number(1.0, YEAR_S, 1.0), "within any so many seconds"),
    Key(
        "per",
        forms.choice(_PERIODS),
        "or per calendar `hour`, `day`, `week` or `month` of the person's clock",
    ),
    Key(
        "purpose",
        _PURPOSE,
        "sends of this purpose; `marketing` counts all that presses as marketing does",
        "every purpose",
    ),
    Key("channel", forms.identity(), "sends on this channel", "every channel"),
    Key("campaign", forms.identity(), "sends of this campaign", "every campaign"),
    Key(
        "place",
        forms.identity(),
        "sends triggered in this place or in what lies in it; holds for triggers there alone",
        "every place",
    ),
    Key("foreign", forms.flag(), "whether what other systems sent counts", "true"),
)

TRIGGER_KEYS: forms.Form = (
    Key(
        "places",
        forms.names(),
        "ids of places; a transition in exactly such a place counts. A parent's id stands for "
        "the parent alone, not for what is in it; an event counts in the place it happened in "
        "and in all around that",
        "see `tags`",
    ),
    Key(
        "tags",
        forms.names(),
        "places whose fence carries one of these tags; with `places`, either will do",
        "see `places`",
    ),
    Key(
        "dwell_s",
        forms.number(0.001, YEAR_S, 0.001),
        'which dwell, in seconds, with `on = "dwell"`',
        "every dwell of the place",
    ),
    Key("event", forms.identity(), 'the name of the event, with `on = "event"`'),
    Key(
        "properties",
        forms.properties(),
        "properties that the event must have, of just these values",
        "any",
    ),
    Key(
        "at_property",
        forms.identity(),
        "the event's property that holds a time: the trigger waits until then, and is worth "
        "nothing after it",
        "it is decided at once",
    ),
    Key("before_s", _SECONDS, "so many seconds before that time instead: a reminder", "0"),
)
_ON = (
    "`enter`, `dwell`, `exit` or `pass`; `event`, with `event`; or `manual`: nothing but "
    "`proximity campaign send` triggers it. An exit because a fence was taken away or a "
    "person erased triggers nothing, nor does anything found late"
)
TRIGGER: forms.Form = (Key("on", forms.choice(_ONS), _ON, needed=True), *TRIGGER_KEYS)

CONTEXT: forms.Form = (
    Key(
        "tags",
        forms.names(),
        "the venue (the place or what it lies in) carries one of these tags",
        "any venue",
    ),
    Key("not_tags", forms.names(), "and none of these", "any venue"),
    Key(
        "event",
        forms.identity(),
        "the person did this lately; the event that triggered counts",
        "whatever they did",
    ),
    Key("within_s", forms.number(1.0, YEAR_S, 1.0), "lately: within so many seconds", "3600"),
    Key("properties", forms.properties(), "with properties of just these values", "any"),
)

AFTER: forms.Form = (
    Key("visits", forms.whole(1, 1000), "so many visits to the place, this one included", "0"),
    Key("event", forms.identity(), "such an event, ever", "none"),
)

LINKS: forms.Form = (
    Key("app", forms.text(), "into an app, by its own scheme", "none"),
    Key("universal", forms.text(), "an https link that the installed app takes", "none"),
    Key("web", forms.text(), "the page that everybody can open", "`link`"),
)


def _read_set(item: TomlTable, key: str) -> frozenset[str]:
    return frozenset(item.names(key))


def _read_price(item: TomlTable, key: str) -> Price | None:
    written = item.text(key)
    if written is None:
        return None
    try:
        return read_price(written)
    except ValueError as error:
        item.fault(f"{key}: {error}")
        return None


_SET = Shape(_read_set, forms.names().schema)
_PRICE = Shape(_read_price, {"type": "string", "pattern": r"^[0-9]{1,12}(\.[0-9]{1,4})? [A-Z]{3}$"})
# Read apart, because it may name a segment of the file.
_AUDIENCE = Shape(
    lambda _item, _key: None,
    {"anyOf": [{"type": "string", "minLength": 1}, {"$ref": "#/$defs/rule"}]},
)

CAMPAIGN: forms.Form = (
    Key("id", forms.identity(), "its name in every record; unique in the file", needed=True),
    Key(
        "purpose",
        _PURPOSE,
        "which consent it needs, which caps count it, and whether quiet hours bind it: see "
        "[purposes](#purposes)",
        needed=True,
    ),
    Key("on", forms.choice(_ONS), _ON, "only `[[campaign.trigger]]`"),
    *(key._replace(shape=_SET) if key.name in {"places", "tags"} else key for key in TRIGGER_KEYS),
    Key(
        "trigger",
        forms.tables(TRIGGER, _trigger, _MOST_TRIGGERS),
        "`[[campaign.trigger]]`: more that it waits for, each with `on` and the keys that go "
        "with it",
        "`on` alone",
        field="triggers",
    ),
    Key(
        "channels",
        forms.names(),
        "in order of preference, cheaper ones first where the file says what they "
        "[cost](channels.md): an offer goes to the first one that its person has agreed to, "
        "wants and can be reached on, and on to the next where that fails; `inbox`, which takes "
        "every offer, last",
        needed=True,
    ),
    Key("text", forms.texts(), "a text for each language tag, see [below](#text)", needed=True),
    Key("title", forms.texts(), "a title for each language that has a text", "the place's name"),
    Key("terms", forms.texts(), "small print for each language that has a text", "none"),
    Key("audience", _AUDIENCE, "the id of a `[[segment]]`, or a [rule](segments.md)", "everybody"),
    Key(
        "context",
        forms.tables(CONTEXT, _circumstance, _MOST_CIRCUMSTANCES),
        "circumstances that must all be so, see [below](#context)",
        "any",
    ),
    Key(
        "min_confidence",
        forms.number(0.0, 1.0),
        "how sure the engine must be of the transition, 0 to 1",
        "as sure as it was",
    ),
    Key(
        "hours",
        forms.windows(),
        "when it may speak, on the place's own clock, see [below](#hours)",
        "always",
    ),
    Key(
        "dayparts",
        forms.dayparts(Daypart),
        'when the offer makes sense: windows as in `hours`, each with `clock = "place"`, '
        '`"person"` or `"both"`',
        "always; `both`",
    ),
    Key(
        "max_age_s",
        _SECONDS,
        "seconds after it happened, or was due, beyond which a trigger sends nothing",
        "3600",
    ),
    Key(
        "ttl_s",
        forms.number(1.0, YEAR_S, 1.0),
        "seconds for which an offer is good once it is decided",
        "what is left of `max_age_s`",
    ),
    Key(
        "cooldown_s",
        _SECONDS,
        "seconds of rest for one person after this campaign spoke, whatever the place and device",
        "0",
    ),
    Key("place_cooldown_s", _SECONDS, "the same for each place by itself", "0"),
    Key(
        "once_per_visit",
        forms.flag(),
        "true: not twice in one visit, whatever triggers it",
        "false",
    ),
    Key(
        "caps",
        forms.tables(CAP, _cap, _MOST_CAPS),
        "caps on this campaign alone, with the keys of `[[cap]]`",
        "none",
    ),
    Key("topic", forms.identity(), "what people's preferences call it", "none"),
    Key(
        "product",
        forms.identity(),
        "the product it offers, as `purchase` events name it: the more a person buys of it, "
        "the more the offer is worth",
        "none",
    ),
    Key("contrary", forms.names(), "products whose buyers do not want this one", "none"),
    Key(
        "contrary_share",
        forms.number(0.0, 1.0),
        "the share of what somebody bought that speaks against it",
        "0.5",
    ),
    Key("contrary_count", forms.whole(1, 1_000_000), "and how many at least", "3"),
    Key("value", forms.number(0.0, 1.0), "what the offer is worth to whom it fits, 0 to 1", "1"),
    Key(
        "least_value",
        forms.number(0.0, 1.0),
        "what it must be worth to be made",
        "that of `[contest]`",
    ),
    Key("stock", forms.names(), "ids of `[[stock]]`: each offer takes a unit of each", "none"),
    Key(
        "asks",
        forms.identity(),
        'the purpose of the consent that it asks for, with `purpose = "opt-in"`',
        "it asks nothing",
    ),
    Key(
        "after",
        forms.table(AFTER, _after),
        "the value to be shown before it asks: `visits`, `event` or both",
        "at once",
    ),
    Key("most", forms.whole(1, 1000), "how often it asks in all", "3"),
    Key("back_off_s", _SECONDS, "seconds after it asked in which it does not ask again", "30 days"),
    Key("attributes", forms.names(), "attributes of the person that its text may name", "none"),
    Key(
        "benefit",
        forms.text(),
        "what the person has of it, in a word: `campaign lint` asks for it",
        "none",
    ),
    Key("price", _PRICE, 'what it costs, such as `"1.90 EUR"`', "none"),
    Key(
        "link",
        forms.text(),
        "where the offer leads: https, or http to `localhost`, `127.0.0.1` or `[::1]` for "
        "trying out; `{place}` and `{campaign}` may stand after the host and are "
        "percent-encoded",
        "none",
    ),
    Key(
        "links",
        forms.table(LINKS, Links),
        "or several ways there: `app`, `universal`, `web` ([links](content.md))",
        "`link`",
    ),
    Key(
        "landing",
        forms.flag(),
        "true: its link opens a [page of this server's](landing.md), with a map, hours and terms, "
        "and from there leads on",
        "true where it has no link of its own",
    ),
    Key(
        "landing_place",
        forms.identity(),
        "the place that page shows, such as the shop, where somebody passing it triggers",
        "where it was triggered",
    ),
    Key(
        "redeem",
        forms.choice(("button", "code")),
        "its reader may redeem it where they read it: `button` notes that they did, `code` also "
        "shows a code that no other offer has",
        "it is not redeemed here",
    ),
    Key("version", forms.whole(0, 2**31), "a whole number that decisions carry", "1"),
    Key(
        "active",
        forms.flag(),
        "false: it is decided and recorded as `inactive`, and sends nothing",
        "true",
    ),
    Key(
        "valid_from",
        forms.moment(),
        "from this moment on: RFC 3339, as text or as a TOML date-time with zone",
        "always",
    ),
    Key("valid_until", forms.moment(), "until before that one", "always"),
    Key(
        "defer",
        forms.flag(),
        "true: what only quiet hours stop waits for their end instead of being dropped, see "
        "[below](#putting-off)",
        "false",
    ),
    Key(
        "priority",
        forms.number(-1e9, 1e9),
        "of several campaigns that one transition triggers, the higher is decided first, and "
        "so takes the last of a cap; then by id",
        "0",
    ),
)


def _read_zone(item: TomlTable, key: str) -> str | None:
    zone = item.text(key)
    if zone is not None and load_zone(zone) is None:
        item.fault(f"{key}: {zone!r:.60} is no time zone: write its IANA name, as Europe/Paris")
        return None
    return zone


_ZONE = Shape(_read_zone, {"type": "string", "pattern": r"\S"})

STOCK: forms.Form = (
    Key("id", forms.identity(), "its name", needed=True),
    Key("count", forms.whole(0, 1_000_000_000), "how many units there are", needed=True),
    Key(
        "window",
        forms.choice(_PERIODS),
        "as many anew each calendar `hour`, `day`, `week` or `month`",
        "for good",
    ),
    Key("timezone", _ZONE, "of this time zone, such as `Europe/Paris`", "UTC"),
)

CONTEST: forms.Form = (
    Key("winners", forms.whole(1, 100), "how many offers one moment may make", "1"),
    Key(
        "least_value", forms.number(0.0, 1.0), "what an offer must be worth to be made at all", "0"
    ),
)

AGE: forms.Form = (
    Key("least", forms.whole(0, 120), "years, whatever the country", "the country's own"),
)

HOLIDAY: forms.Form = (
    Key("date", forms.day(), "the day, such as `2026-12-24`", needed=True),
    Key("name", forms.text(), "what it is called", "nothing"),
)


def _read_country(item: TomlTable, key: str) -> str | None:
    country = item.text(key)
    if country is None:
        return None
    try:
        fault = check_country(country)
    except ProximityError as error:
        fault = str(error)
    if fault is not None:
        item.fault(f"{key}: {fault}")
        return None
    return country


_COUNTRY = Shape(_read_country, {"type": "string", "pattern": "^[A-Z]{2}(-[A-Za-z0-9]+)?$"})
# Read by themselves: what may stand in these is for others to say.
_APART = Shape(lambda _item, _key: None, {})
_SEGMENTS = Shape(_APART.read, {"type": "array", "items": {"type": "object"}})
_CHANNELS = Shape(_APART.read, {"type": "object", "additionalProperties": {"type": "object"}})
_CAMPAIGNS = Shape(_APART.read, {"type": "array", "items": {"$ref": "#/$defs/campaign"}})

FILE: forms.Form = (
    Key("campaign", _CAMPAIGNS, "`[[campaign]]`: the campaigns", "none"),
    Key(
        "quiet_hours",
        forms.windows(),
        "one window, or `quiet_hours = [...]` a list; on the clock of the person's zone, else "
        "the place's. Binds what presses as marketing does",
        "nobody is quiet",
    ),
    Key(
        "cap",
        forms.tables(CAP, _cap, _MOST_CAPS),
        "`[[cap]]`: at most so many sends to one person, over all their devices, see "
        "[below](#caps)",
        "no cap",
        field="caps",
    ),
    Key(
        "contest",
        forms.table(CONTEST, Contest),
        "of all that one moment would send, the best alone is sent: by priority, then worth, "
        "then id",
        "all are sent",
    ),
    Key(
        "stock",
        forms.tables(STOCK, Stock),
        "`[[stock]]`: budgets that offers draw on",
        "none",
        field="stocks",
    ),
    Key(
        "segment",
        _SEGMENTS,
        "`[[segment]]`: [rules](segments.md) that campaigns name as their audience",
        "none",
    ),
    Key(
        "age",
        forms.table(AGE, Age),
        "ages are asked for, see [below](#age-and-location)",
        "who is known to be too young gets nothing",
    ),
    Key(
        "location_consent",
        forms.choice(("implied", "required")),
        "`required`: whoever never said anything of being located is not taken by their other "
        "consents",
        "`implied`",
    ),
    Key(
        "holidays",
        _COUNTRY,
        "whose public holidays windows mean: `FR`, or a part such as `DE-BY`",
        "none",
    ),
    Key(
        "holiday",
        forms.tables(HOLIDAY, lambda **fields: fields["date"]),
        "`[[holiday]]`: further days, each with `date`",
        "none",
    ),
    Key("language", forms.language(), "the language for people of whom no other is known", "`en`"),
    Key("link_hosts", forms.names(), "the only hosts that links may lead to", "any host"),
    Key(
        "public_url",
        forms.text(),
        "where people reach this server, for links of its own",
        "none are made",
    ),
    Key(
        "inbox_origins",
        forms.names(),
        "websites, such as `https://shop.example`, whose pages may show people their "
        "[inbox](inbox.md)",
        "none",
    ),
    Key(
        "channel",
        _CHANNELS,
        "`[channel.NAME]`: settings of a [channel](channels.md)",
        "as it comes",
    ),
)
