"""The form of a campaigns file in full: what is read, what is refused, the schema and the page."""

from __future__ import annotations

import json
import re
import tomllib
from datetime import date
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proximity.campaigns import calendars
from proximity.campaigns import keys as campaignkeys
from proximity.campaigns import schema as campaignschema
from proximity.campaigns.calendars import Calendar, check_country
from proximity.campaigns.campaigns import (
    After,
    Age,
    Campaign,
    Campaigns,
    Cap,
    Circumstance,
    Contest,
    Daypart,
    Links,
    Stock,
    TriggerRule,
)
from proximity.campaigns.form import parse_campaigns
from proximity.campaigns.purposes import PURPOSES
from proximity.content.content import TEXT_PLACEHOLDERS
from proximity.content.prices import Price
from proximity.gates.gates import GATES
from proximity.model import ProximityError, Reason
from tests.conftest import ROOT
from tests.proximity.given import FULL, LEAST, windows

PAGE = (ROOT / "docs" / "campaigns.md").read_text(encoding="utf-8")

WHOLE = """
holidays = "DE-BY"
language = "de"
link_hosts = ["Example.test", "cafe-app://"]
location_consent = "required"
public_url = "https://offers.example.test"
quiet_hours = [
    { from = "22:00", to = "07:00" },
    { from = "00:00", to = "24:00", holidays = true },
]
[age]
least = 16
[contest]
winners = 2
least_value = 0.25
[[holiday]]
date = 2026-12-24
name = "Christmas Eve"
[[holiday]]
date = "2026-12-31"
[[stock]]
id = "coupons"
count = 10
window = "day"
[[stock]]
id = "cakes"
count = 5
[[segment]]
id = "gold"
attribute = "tier"
is = "gold"
[[cap]]
count = 3
per = "week"
purpose = "marketing"
channel = "console"
campaign = "whole"
place = "street"
foreign = false

[[campaign]]
id = "whole"
purpose = "marketing"
channels = ["console", "webhook"]
audience = "gold"
context = [{ tags = ["hotel"], not_tags = ["spa"] }, { event = "search", within_s = 60, properties = { n = 1 } }]
min_confidence = 0.7
hours = { from = "08:00", to = "20:00" }
dayparts = [{ days = ["mon"], from = "07:00", to = "11:00", holidays = false, clock = "person" }, { from = "15:00", to = "17:00" }]
place_cooldown_s = 60
once_per_visit = true
caps = [{ count = 1, window_s = 60 }]
topic = "food"
product = "club"
contrary = ["meatballs"]
contrary_share = 0.6
contrary_count = 4
value = 0.5
least_value = 0.1
stock = ["coupons", "cakes"]
attributes = ["tier"]
benefit = "half the price"
price = "1.90 EUR"
links = { app = "cafe-app://coffee", universal = "https://example.test/u", web = "https://example.test/w" }
[[campaign.trigger]]
on = "dwell"
tags = ["cafe"]
dwell_s = 300
[[campaign.trigger]]
on = "event"
event = "booking"
properties = { kind = "table", seats = 2, inside = true }
at_property = "starts_at"
before_s = 3600
[campaign.text]
en = "Coffee at {place}: {link}"

[[campaign]]
id = "ask"
purpose = "opt-in"
asks = "push-marketing"
after = { visits = 3, event = "purchase" }
most = 2
back_off_s = 60
on = "manual"
channels = ["console"]
text = { en = "May we?" }
"""


def problems(text: str) -> list[str]:
    with pytest.raises(ProximityError) as caught:
        parse_campaigns(text, "c.toml")
    return list(caught.value.problems)


def least(line: str = "", *, without: str = "", tail: str = "", top: str = "") -> str:
    kept = [one for one in LEAST.splitlines() if not (without and one.startswith(without + " "))]
    return (
        top + "\n" + "\n".join(kept).replace("[campaign.text]", f"{line}\n[campaign.text]") + tail
    )


def test_the_whole_form() -> None:
    read = parse_campaigns(WHOLE)
    days = frozenset(date(2026, 12, day).toordinal() for day in (24, 31))
    assert read.holidays == Calendar("DE-BY", days)
    assert (read.language, read.location_consent) == ("de", "required")
    assert read.link_hosts == {"example.test", "cafe-app://"}
    assert read.public_url == "https://offers.example.test"
    assert [one.holidays for one in read.quiet_hours] == [None, True]
    assert (read.age, read.contest) == (Age(least=16), Contest(winners=2, least_value=0.25))
    assert read.stocks == {
        "coupons": Stock(id="coupons", count=10, window="day"), "cakes": Stock(id="cakes", count=5),
    }  # fmt: skip
    assert list(read.segments) == ["gold"]
    assert read.caps == (
        Cap(count=3, per="week", purpose="marketing", channel="console", campaign="whole",
            place="street", foreign=False),
    )  # fmt: skip
    whole = read.campaigns["whole"]
    assert whole.on == "dwell"
    assert whole.triggers == (
        TriggerRule(on="dwell", tags=frozenset({"cafe"}), dwell_s=300.0),
        TriggerRule(on="event", event="booking", at_property="starts_at", before_s=3600.0,
                    properties={"kind": "table", "seats": 2, "inside": True}),
    )  # fmt: skip
    assert whole.audience is not None
    assert whole.audience.sentence() == 'People in segment "gold".'
    assert whole.context == (
        Circumstance(tags=frozenset({"hotel"}), not_tags=frozenset({"spa"})),
        Circumstance(event="search", within_s=60.0, properties={"n": 1}),
    )
    monday = windows("07:00-11:00", days=["mon"])[0]
    assert [part.clock for part in whole.dayparts] == ["person", "both"]
    assert whole.dayparts[0].window.days == monday.days
    assert whole.dayparts[0].window.holidays is False
    assert whole.dayparts[1] == Daypart(windows("15:00-17:00")[0])
    assert (whole.min_confidence, whole.place_cooldown_s, whole.once_per_visit) == (0.7, 60.0, True)
    assert whole.caps == (Cap(count=1, window_s=60.0),)
    assert (whole.topic, whole.product, whole.contrary) == ("food", "club", ("meatballs",))
    assert (whole.contrary_share, whole.contrary_count) == (0.6, 4)
    assert (whole.value, whole.least_value, whole.stock) == (0.5, 0.1, ("coupons", "cakes"))
    assert (whole.benefit, whole.price) == ("half the price", Price(1.9, "EUR"))
    assert whole.links == Links(
        app="cafe-app://coffee", universal="https://example.test/u", web="https://example.test/w"
    )
    ask = read.campaigns["ask"]
    assert (ask.on, ask.asks, ask.after) == (
        "manual",
        "push-marketing",
        After(visits=3, event="purchase"),
    )
    assert (ask.most, ask.back_off_s) == (2, 60.0)


def test_an_audience_may_be_written_in_place() -> None:
    text = least('audience = { attribute = "tier", is = "gold" }')
    audience = parse_campaigns(text).campaigns["coffee"].audience
    assert audience is not None
    assert audience.sentence() == 'People whose tier is "gold".'


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        # what each key says
        (
            least(tail="\n[[stock]]\nid = 's'\ncount = 3\nwindow = 'day'\ntimezone = 'CEST5'"),
            "c.toml: stock 's': timezone: 'CEST5' is no time zone: write its IANA name",
        ),
        (least(top="holidays = 'XX'"), "c.toml: holidays: 'XX' is no country whose holidays are"),
        (least(top="holidays = 'DE-XX'"), "c.toml: holidays: DE has no part 'XX'"),
        (least(top="holidays = 3"), "c.toml: holidays must be a text"),
        (least(tail="\n[[holiday]]\nname = 'x'"), "c.toml: holiday number 1: date is missing"),
        (least(tail="\n[[holiday]]\ndate = 2026-13-24"), "c.toml: this is no TOML"),
        (least(tail="\n[[holiday]]\ndate = '2026-13-24'"), "c.toml: holiday number 1: date must be"),
        (least(tail="\n[[holiday]]\ndate = 2026-12-24T00:00:00Z"), "c.toml: holiday number 1: date"),
        (least(tail="\n[[holiday]]\ndate = 3"), "c.toml: holiday number 1: date must be a day"),
        (least(top="public_url = 'http://a.test'"), "c.toml: public_url: link 'http://a.test' is"),
        (least(top="inbox_origins = ['https://a.test/path']"),
         "c.toml: inbox_origins: 'https://a.test/path' is no origin: write https://host"),
        (least(top="inbox_origins = ['http://a.test']"), "c.toml: inbox_origins: link 'http://a.t"),
        (least(top="inbox_origins = ['*']"), "c.toml: inbox_origins: link '*' names no host"),
        (least("landing = true"), "c.toml: campaign 'coffee': landing needs public_url"),
        (least("landing_place = 'shop'"), "c.toml: campaign 'coffee': landing_place belongs to"),
        (least("redeem = 'code'"), "c.toml: campaign 'coffee': redeem needs a page"),
        (least("redeem = 'coupon'"), "c.toml: campaign 'coffee': redeem is 'coupon'; there is"),
        (least(top="location_consent = 'no'"), "c.toml: location_consent is 'no'; there is"),
        (least(top="quiet_hours = { from = '22:00', to = '07:00', holidays = 1 }"),
         "c.toml: quiet_hours: holidays must be true"),
        (least(top="quiet_hours = { from = '22:00', to = '07:00', holiday = true }"),
         "c.toml: quiet_hours: unknown key 'holiday'; a window has"),
        (least(tail="\n[contest]\nwinners = 0"), "c.toml: contest: winners must be a number from"),
        (least(tail="\n[contest]\nwinner = 1"), "c.toml: contest: unknown key 'winner'; did you"),
        (least(tail="\n[age]\nleast = 200"), "c.toml: age: least must be a number from 0 to 120"),
        (least(tail="\n[[stock]]\nid = 'a'"), "c.toml: stock 'a': count is missing"),
        (least(tail="\n[[stock]]\nid = 'a'\ncount = 1\nwindow = 'year'"), "c.toml: stock 'a': window"),
        (least("min_confidence = 2"), "c.toml: campaign 'coffee': min_confidence must be a number"),
        (least("price = '1,90'"), "c.toml: campaign 'coffee': price: '1,90' is no price"),
        (least("price = '1.90 QQQ'"), "c.toml: campaign 'coffee': price: QQQ is no currency"),
        (least("price = 3"), "c.toml: campaign 'coffee': price must be a text"),
        (least("dayparts = [{ from = '07:00', to = '11:00', clock = 'mine' }]"),
         "c.toml: campaign 'coffee': dayparts number 1: clock is 'mine'; there is both"),
        (least("dayparts = [{ from = '07:00' }]"),
         "c.toml: campaign 'coffee': dayparts number 1: to must be a time of day"),
        (least("dayparts = [" + "{ from = '07:00', to = '08:00' }," * 65 + "]"),
         "c.toml: campaign 'coffee': dayparts: 65 windows are too many"),
        (least("dayparts = 3"), "c.toml: campaign 'coffee': dayparts must be a list of tables"),
        (least("context = [{ }]"), "c.toml: campaign 'coffee': context number 1: it asks nothing"),
        (least("context = [{ tags = ['a'], within_s = 5 }]"),
         "c.toml: campaign 'coffee': context number 1: within_s and properties belong to an event"),
        (least("context = [{ event = 'a', properties = { b = [1] } }]"),
         "c.toml: campaign 'coffee': context number 1: properties: 'b' must be a text, a number"),
        (least('context = [{ event = "a", properties = { "\\u0007" = 1 } }]'),
         "c.toml: campaign 'coffee': context number 1: properties: a property's name"),
        (least("context = [{ event = 'a', properties = { " + ", ".join(f"p{n} = 1" for n in range(21)) + " } }]"),
         "c.toml: campaign 'coffee': context number 1: properties: 21 properties are too many"),
        (least("context = [" + "{ tags = ['a'] }," * 21 + "]"),
         "c.toml: campaign 'coffee': 21 tables of context are too many, at most 20"),
        (least("caps = [{ count = 1 }]"), "c.toml: campaign 'coffee': caps number 1: a cap needs"),
        (least("caps = [{ count = 1, window_s = 1, per = 'day' }]"),
         "c.toml: campaign 'coffee': caps number 1: a cap needs"),
        (least("audience = 'gold'"), "c.toml: campaign 'coffee': audience: "),
        (least("audience = { atribute = 'tier' }"), "c.toml: campaign 'coffee': audience: "),
        # what keys say against each other
        (least("trigger = [{ on = 'dwell' }]"),
         "c.toml: campaign 'coffee': trigger number 1: it says nowhere"),
        (least("trigger = [{ on = 'enter', tags = ['a'], dwell_s = 5 }]"),
         "c.toml: campaign 'coffee': trigger number 1: dwell_s belongs to on = \"dwell\""),
        (least("trigger = [{ on = 'event' }]"),
         "c.toml: campaign 'coffee': trigger number 1: on = \"event\" needs event"),
        (least("trigger = [{ on = 'event', event = 'a', before_s = 5 }]"),
         "c.toml: campaign 'coffee': trigger number 1: before_s needs at_property"),
        (least("trigger = [{ tags = ['a'] }]"),
         "c.toml: campaign 'coffee': trigger number 1: on is missing"),
        (least("event = 'search'"),
         "c.toml: campaign 'coffee': event belongs to on = \"event\"; this campaign is on = \"enter\""),
        (least("trigger = [{ on = 'enter', tags = ['a'] }]", without="on"),
         "c.toml: campaign 'coffee': places without on: write on, or put them into"),
        (least("stock = ['coupon']", tail="\n[[stock]]\nid = 'coupons'\ncount = 1"),
         "c.toml: campaign 'coffee': unknown stock 'coupon'; did you mean 'coupons'?"),
        (least(tail="\n[[stock]]\nid = 'a'\ncount = 1" * 2),
         "c.toml: two tables of stock have the id 'a'; give each its own"),
        (least("asks = 'beacon'"), "c.toml: campaign 'coffee': asks and purpose = \"opt-in\" belong"),
        (least().replace('"marketing"', '"opt-in"'), "c.toml: campaign 'coffee': asks and purpose ="),
        (least("after = { visits = 3 }"), "c.toml: campaign 'coffee': after belongs to asks"),
        (least("asks = 'beacon'\nafter = { }").replace('"marketing"', '"opt-in"'),
         "c.toml: campaign 'coffee': after: it asks nothing: write visits or event"),
        (least("contrary_count = 3"), "c.toml: campaign 'coffee': contrary_share and contrary_count"),
        (least("links = { web = 'https://a.test' }"),
         "c.toml: campaign 'coffee': link and links.web say the same"),
        (least("links = { site = 'https://a.test' }"),
         "c.toml: campaign 'coffee': links: unknown key 'site'; there is app, universal, web"),
        (least("links = { app = 'javascript://x' }"), "c.toml: campaign 'coffee': links.app"),
        (least("text = 'x'", without="en").replace("[campaign.text]", ""),
         "c.toml: campaign 'coffee': text must be a table"),
        (least(tail="\n[[cap]]\ncount = 1\nper = 'day'\ncampaign = 'coffe'"),
         "c.toml: a cap names campaign 'coffe'; did you mean 'coffee'?"),
        (least(tail="\n[[cap]]\ncount = 1\nper = 'day'\nchannel = 'consol'"),
         "c.toml: a cap names channel 'consol'; did you mean 'console'?"),
    ],
)  # fmt: skip
def test_every_problem_names_the_place_and_the_mend(text: str, problem: str) -> None:
    assert any(one.startswith(problem) for one in problems(text)), problems(text)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        # A line below a table's head is that table's, whatever its writer meant.
        ("cooldown_s = 60\n" + LEAST, "cooldown_s is a key of a campaign: write it below its [[campaign]]"),
        (least(tail="\n[title]\nen = 'x'"), "title is a key of a campaign: write [campaign.title]"),
        (least(tail="\n[[dayparts]]\nfrom = '07:00'\nto = '11:00'"),
         "dayparts is a key of a campaign: write [[campaign.dayparts]]"),
        (least(tail="\n[[caps]]\ncount = 1"), "unknown key 'caps'; did you mean 'cap'?"),
        (least("language = 'fr'"),
         "campaign 'coffee': language is a key of the file: write it above the first [[campaign]]"),
        (least("cap = []"), "campaign 'coffee': unknown key 'cap'; did you mean 'caps'?"),
        (least(tail="\nredeem = 'code'"),
         ("campaign 'coffee': text.'redeem' is no language tag such as en, fr or pt-BR; other keys "
         "of the campaign stand above [campaign.text]")),
        # What to write is said as it is written there.
        (least("dayparts = '08:00-11:00'"),
         "campaign 'coffee': dayparts must be a list of tables: write [[campaign.dayparts]]"),
        (least("links = 'https://a.test'", without="link"),
         "campaign 'coffee': links must be a table: write [campaign.links]"),
        (least("dayparts = [{ from = 07:00:00, to = '11:00' }]"),
         ("campaign 'coffee': dayparts number 1: from must be a time of day such as \"08:30\"; it is "
         "07:00:00")),
        (least("stock = ['cups']"), "campaign 'coffee': unknown stock 'cups'; write it as a [[stock]]"),
        (least(tail="\nfr = 'Du café, {first_name}'"),
         ("campaign 'coffee': text.fr: unknown placeholder {first_name}; there is campaign, link, "
         "place, {{ person.NAME }}")),
        (least("attributes = ['first_name']", tail="\nfr = '{{ first_name }}'"),
         "campaign 'coffee': text.fr: unknown name 'first_name'; did you mean 'person.first_name'?"),
        (least(tail="\nfr = 3"),
         "campaign 'coffee': text.fr must be a text, such as \"Coffee at {place}.\""),
        (least("caps = [{ count = 1, window_s = 5, per = 'day' }]"),
         ("campaign 'coffee': caps number 1: a cap needs count and window_s, or count and per, and "
         "not all three")),
    ],
)  # fmt: skip
def test_what_marketers_write_by_mistake_is_told_so_that_they_can_mend_it(
    text: str, problem: str
) -> None:
    assert problems(text) == [f"c.toml: {problem}"]


def test_several_occasions_are_triggers() -> None:
    found = problems(LEAST.replace('"enter"', '["enter", "dwell"]'))
    mend = "on is one thing: for several write [[campaign.trigger]], each with its on"
    assert f"c.toml: campaign 'coffee': {mend}" in found


def test_a_fault_is_told_once() -> None:
    assert problems(least("chanel = 3")) == [
        "c.toml: campaign 'coffee': unknown key 'chanel'; did you mean 'channels'?"
    ]
    assert problems(least(without="en").replace("[campaign.text]", "")) == [
        "c.toml: campaign 'coffee': text is missing"
    ]


# -- holidays ------------------------------------------------------------------------------------


def test_public_holidays_are_the_country_s_and_the_part_s() -> None:
    epiphany, labour = date(2026, 1, 6), date(2026, 5, 1)
    assert not Calendar("DE").holds(epiphany)
    assert Calendar("DE-BY").holds(epiphany)
    assert Calendar("DE").holds(labour)
    assert not Calendar().holds(labour)
    assert Calendar(days=frozenset({labour.toordinal()})).holds(labour)
    assert (check_country("DE-BY"), check_country("FR")) == (None, None)


def test_without_the_library_the_problem_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "holidays", None)
    calendars._countries.cache_clear()
    (problem,) = problems(least(top="holidays = 'FR'"))
    calendars._countries.cache_clear()
    assert 'pip install "proximity-engine[engine]"' in problem


# -- JSON Schema ---------------------------------------------------------------------------------

SCHEMA = campaignschema.schema()
VALIDATOR = jsonschema_rs.validator_for(SCHEMA)


def plain(text: str) -> Any:
    """A TOML document as JSON has it: dates are text."""
    return json.loads(json.dumps(tomllib.loads(text), default=lambda value: value.isoformat()))


def test_the_schema_is_one_itself() -> None:
    jsonschema_rs.meta.validate(SCHEMA)


@pytest.mark.parametrize(
    "text",
    ["", LEAST, FULL, WHOLE, least('audience = { not = { any = [{ attribute = "a", is = 1 }] } }')],
)
def test_what_the_reader_takes_the_schema_takes(text: str) -> None:
    parse_campaigns(text)
    assert [error.message for error in VALIDATOR.iter_errors(plain(text))] == []


@pytest.mark.parametrize(
    "text",
    [
        "campaign = 3", "[[campain]]", least("max_age = 3"), least("defer = 'yes'"), least(without="id"),
        least(without="purpose"), least(without="on"), least(without="channels"),
        least("min_confidence = 2"), least("price = '1,90'"), least("version = 1.5"),
        least("places2 = []"), least("dayparts = [{ from = '7:00', to = '11:00' }]"),
        least("hours = [{ days = ['sunday'], from = '07:00', to = '11:00' }]").replace('hours = [{ days = ["mon', 'other = [{ days = ["mon'),
        least("caps = [{ count = -1, window_s = 60 }]"), least("audience = { }"),
        least("value = nan"), least(top="location_consent = 'no'"), least(tail="\n[age]\nyears = 3"),
    ],
)  # fmt: skip
def test_what_the_schema_refuses_the_reader_refuses(text: str) -> None:
    document = tomllib.loads(text)
    if "value = nan" not in text:
        assert not VALIDATOR.is_valid(plain(text)), document
    assert problems(text)


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 5), st.floats(-5, 5), st.text(max_size=5),
    st.sampled_from(["enter", "marketing", "day", "2026-01-01", "08:00", "both", "1.90 EUR", "console"]),
    st.lists(st.sampled_from(["a", "console", ""]), max_size=3),
    st.fixed_dictionaries({"from": st.just("08:00"), "to": st.sampled_from(["11:00", "8:00"])}),
    st.lists(st.fixed_dictionaries({"count": st.integers(-1, 2), "per": st.just("day")}), max_size=2),
)  # fmt: skip


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from([key.name for key in campaignkeys.CAMPAIGN]), VALUES, max_size=4
    ),
    st.dictionaries(st.sampled_from([key.name for key in campaignkeys.FILE]), VALUES, max_size=2),
)
def test_whatever_is_read_the_schema_takes_too(
    campaign: dict[str, Any], top: dict[str, Any]
) -> None:
    least_form = tomllib.loads(LEAST)
    document = {**least_form, **{k: v for k, v in top.items() if k != "campaign"}}
    document["campaign"] = [{**least_form["campaign"][0], **campaign}]
    text = as_toml(document)
    try:
        read = parse_campaigns(text)
    except ProximityError:
        return
    assert isinstance(read, Campaigns)
    assert [one.message for one in VALIDATOR.iter_errors(plain(text))] == []


def as_toml(document: dict[str, Any]) -> str:
    """Write a document on one line a key; None is left out, as TOML has none."""
    return "\n".join(
        f"{key} = {_value(value)}" for key, value in document.items() if value is not None
    )


def _value(value: Any) -> str:
    if isinstance(value, dict):
        inner = ", ".join(
            f"{json.dumps(k)} = {_value(v)}" for k, v in value.items() if v is not None
        )
        return f"{{ {inner} }}"
    if isinstance(value, list):
        return f"[{', '.join(_value(one) for one in value)}]"
    return json.dumps(value).replace("\x7f", "\\u007f")


# -- the reference page --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "form",
    ["CAMPAIGN", "FILE", "CAP", "TRIGGER", "CONTEXT", "AFTER", "STOCK", "CONTEST"],
)
def test_the_reference_page_has_every_key_as_the_reader_has_it(form: str) -> None:
    assert [
        row for row in campaignschema.rows(getattr(campaignkeys, form)) if row not in PAGE
    ] == []


def test_the_reference_page_names_every_gate_reason_and_purpose_in_order() -> None:
    listed = re.findall(r"^\| `(\w+)` \| `(\w+)` \|", PAGE, re.MULTILINE)
    assert listed == [(gate.name, gate.reason) for gate in GATES]
    assert "`fault`" in PAGE
    assert {*Reason} == {gate.reason for gate in GATES} | {Reason.FAULT}
    purposes = re.findall(r"^\| `([\w-]+)` \| .* \| (yes|no) \|", PAGE, re.MULTILINE)
    assert purposes == [(name, "yes" if row.presses else "no") for name, row in PURPOSES.items()]
    assert [name for name in TEXT_PLACEHOLDERS if f"`{{{name}}}`" not in PAGE] == []


def test_every_field_of_a_campaign_has_a_key_and_every_key_a_field() -> None:
    for form, value, apart in [
        (campaignkeys.CAMPAIGN, Campaign, {"listed"}),
        (campaignkeys.CAP, Cap, set()),
        (campaignkeys.TRIGGER, TriggerRule, set()),
        (campaignkeys.CONTEXT, Circumstance, set()),
        (campaignkeys.FILE, Campaigns, {"version", "channel_terms"}),
    ]:
        fields = {key.field or key.name for key in form}
        if value is Campaigns:  # read apart, or into another
            fields = fields - {"campaign", "segment", "holiday"} | {"campaigns", "segments"}
        assert fields == set(value.__struct_fields__) - apart


def test_examples_of_the_page_can_be_read() -> None:
    blocks = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 7
    for block in blocks:
        if "chanels" not in block:  # the one that shows what is refused
            parse_campaigns(block)


def test_a_budget_of_units_has_a_zone_of_its_own() -> None:
    tail = "\n[[stock]]\nid = 's'\ncount = 3\nwindow = 'day'\ntimezone = 'Asia/Tokyo'"
    assert parse_campaigns(least(tail=tail), "c.toml").stocks["s"].timezone == "Asia/Tokyo"
