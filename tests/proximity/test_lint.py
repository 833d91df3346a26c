"""What had better not be sent, rule by rule."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from proximity.campaigns.campaigns import After, Age, Cap, Contest, TriggerRule
from proximity.campaigns.form import parse_campaigns
from proximity.campaigns.lint import PLATFORMS, RULES, Finding, count_emoji, lint, sample_text
from proximity.content.prices import Price
from tests.proximity.given import COFFEE, LEAST, rules, windows

GOOD = replace(COFFEE, benefit="half price", text={"en": "Coffee at half price until eleven."})
CALM: dict[str, Any] = {
    "caps": (Cap(count=2, window_s=86400.0),), "quiet_hours": windows("22:00-07:00"),
    "age": Age(), "contest": Contest(), "link_hosts": frozenset({"example.test"}),
}  # fmt: skip


def found(*campaigns: Any, **changes: Any) -> list[Finding]:
    return lint(rules(*campaigns, **(CALM | changes)))


def says(text: str, language: str = "en", **changes: Any) -> list[tuple[str, str]]:
    made = replace(GOOD, text={language: text}, **changes)
    return [(one.rule, one.text) for one in found(made)]


def test_a_good_campaign_has_nothing_to_be_said_of_it() -> None:
    assert found(GOOD) == []


def test_a_campaign_for_all_alike_is_a_fault() -> None:
    batch = replace(GOOD, on="manual", places=frozenset())
    assert [(one.rule, one.level, one.campaign) for one in found(batch)] == [
        ("everyone", "fault", "coffee")
    ]
    # A trigger, or a text that says something of its reader, makes it somebody's.
    assert found(replace(batch, triggers=(TriggerRule(on="event", event="bought"),))) == []
    named = replace(
        batch, attributes=("name",), text={"en": "{{ person.name | default: 'Hello' }}, coffee?"}
    )
    assert found(named) == []


def test_what_presses_has_to_say_what_its_reader_gains() -> None:
    bare = replace(GOOD, benefit=None)
    assert [one.rule for one in found(bare)] == ["benefit"]
    assert found(replace(bare, purpose="service")) == []


def test_a_question_comes_after_value_was_shown() -> None:
    """Row 3: never at install."""
    question = replace(GOOD, purpose="opt-in", asks="marketing")
    assert [(one.rule, one.level) for one in found(question)] == [("after", "fault")]
    assert found(replace(question, after=After(visits=3))) == []


def test_what_is_asked_for_is_something_that_anything_goes_by() -> None:
    question = replace(GOOD, purpose="opt-in", asks="push-marketng", after=After(visits=3))
    (one,) = found(question)
    assert (one.rule, one.level) == ("asks", "advice")
    assert "did you mean 'push-marketing'?" in one.text


@pytest.mark.parametrize(
    ("length", "level", "where"),
    [
        (49, None, ""),
        (50, "advice", "text.en (50): Android lock screen shows 49 characters"),
        (81, "advice", "text.en (81): iOS banner shows 80"),
        (161, "fault", "iOS lock screen shows 160"),
    ],
)
def test_a_text_longer_than_a_platform_shows(length: int, level: str | None, where: str) -> None:
    told = found(replace(GOOD, text={"en": "a" * length}))
    assert [one.level for one in told] == ([] if level is None else [level])
    assert all(where in one.text for one in told)


def test_every_limit_names_its_source() -> None:
    assert all(platform.shows > 0 and platform.source for platform in PLATFORMS)
    shown = [platform.shows for platform in PLATFORMS]
    assert shown == sorted(shown, reverse=True)


def test_texts_that_are_cut_at_the_same_place_are_told_together() -> None:
    long = replace(GOOD, text={"en": "a" * 60, "fr": "b" * 70, "de": "c" * 170})
    told = [(one.level, one.text.partition(":")[0]) for one in found(long)]
    assert told == [("advice", "text.en (60), text.fr (70)"), ("fault", "text.de (170)")]


def test_a_text_that_fills_the_whole_message_is_a_fault() -> None:
    assert any("a push carries 4096" in text for _, text in says("\U0001d538" * 800))


def test_a_template_is_measured_as_it_will_be_read() -> None:
    counted = replace(
        GOOD, attributes=("name", "cups"), stock=("s",), price=Price(1.9, "EUR"),
        text={"en": "{{ person.name }} {{ stock | plural: one: 'one', other: '# cups' }} {{ place }}"
              " {{ price | money: currency }} {{ event.product | default: 'coffee' }}"},
    )  # fmt: skip
    assert sample_text(counted, "en") == "Alexandra 12 cups Station Road Store €1.90 Alexandra"
    numbers = replace(
        counted, text={"en": "{{ person.cups | plural: one: 'one', other: '# cups' }}"}
    )
    assert sample_text(numbers, "en") == "12 cups"
    assert sample_text(replace(counted, text={"en": "{{ nothing }}"}), "en") is None


@pytest.mark.parametrize(
    ("text", "shouts"),
    [
        ("FREE COFFEE for you today", True),
        ("Free COFFEE for you today in our shop", False),
        ("fReE cOfFeE", True),
        ("KAFFEE IST HEUTE GRATIS", True),
        ("Der Kaffee und das Brot sind heute im Angebot", False),
        ("NASA und ESA laden ein, heute und morgen", False),
        ("قهوة مجانية اليوم", False),
        ("コーヒー半額", False),
        ("OK, see HTTPS://EXAMPLE.TEST/ABC for more", False),
        ("БЕСПЛАТНЫЙ КОФЕ", True),
    ],
)
def test_shouting(text: str, shouts: bool) -> None:
    assert ("shouting" in dict(says(text))) is shouts


def test_exclamation_marks() -> None:
    assert says("Coffee!") == []
    assert says("Coffee! Now!") == [
        ("exclamation", "text.en has 2 exclamation marks, one is enough")
    ]
    assert "exclamation" in dict(says("咖啡\uff01\uff01", "zh"))


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("Coffee ☕", 1),
        ("☕🍰🥐", 3),
        ("👨‍👩‍👧", 1),
        ("🇫🇷🇩🇪", 2),
        ("20° © № ✓", 1),
        ("👍🏽", 1),
        ("plain", 0),
    ],
)
def test_emoji_are_counted_as_they_are_seen(text: str, count: int) -> None:
    assert count_emoji(text) == count
    assert ("emoji" in dict(says(text))) is (count > 2)


def test_each_language_of_the_file_is_wanted_of_every_campaign() -> None:
    both = replace(GOOD, id="both", text={"en": "Tea.", "fr": "Du thé."})
    third = replace(GOOD, id="third", text={"fr": "Du pain."})
    told = [(one.campaign, one.text) for one in found(GOOD, both, third)]
    assert told == [
        ("coffee", "text.fr is missing, and 2 others have it"),
        ("third", "text.en is missing, and 2 others have it"),
    ]


def test_plural_forms_that_a_language_has() -> None:
    text = "{{ stock | plural: one: '# kawa', other: '# kaw' }}"
    assert says(text, "pl", stock=("s",)) == [
        ("plurals", "text.pl: plural lacks few, many, which it needs")
    ]
    assert says(text.replace("kaw", "coffee"), "en", stock=("s",)) == []


def test_a_value_that_may_be_unknown_wants_a_default() -> None:
    told = found(replace(GOOD, attributes=("name",), text={"en": "{{ person.name }}, coffee?"}))
    assert [(one.rule, one.level) for one in told] == [("default", "advice")]
    assert "person.name | default" in told[0].text


def test_rivals_at_one_place_want_a_contest() -> None:
    tea = replace(GOOD, id="tea")
    elsewhere = replace(GOOD, id="bread", places=frozenset({"bakery"}))
    service = replace(GOOD, id="queue", purpose="service")
    told = found(GOOD, tea, elsewhere, service, contest=None)
    assert [(one.rule, one.level, one.campaign) for one in told] == [("contest", "advice", None)]
    assert told[0].text.startswith("coffee, tea wait for the same enter (place 'cafe-1')")
    assert found(GOOD, replace(tea, on="exit"), contest=None) == []


@pytest.mark.parametrize(
    ("channels", "costs", "told"),
    [
        (("web-push", "email", "inbox"), {}, None),
        (("inbox",), {}, None),
        (("mqtt", "webhook"), {}, None),
        # What lies in the inbox lies there whoever brought it: behind the console it loses nothing.
        (("console", "inbox"), {}, None),
        (("inbox", "email"), {}, ("inbox", "email", "write inbox last")),
        (("web-push", "console", "email", "mqtt"), {},
         ("console", "email, mqtt", "write console last")),
        # The order of trying is by cost, and not what the file says.
        (("web-push", "inbox"), {"web-push": 0.01},
         ("inbox", "web-push", ("inbox is tried first because it is cheaper: give [channel.inbox] "
                                "cost = 0.01, and write inbox last"))),
        (("web-push", "inbox"), {"web-push": 0.01, "inbox": 0.01}, None),
        (("inbox", "web-push"), {"inbox": 1}, None),
    ],
)  # fmt: skip
def test_a_channel_that_takes_everything_stands_last(
    channels: tuple[str, ...], costs: dict[str, float], told: tuple[str, str, str] | None
) -> None:
    written = f"channels = {list(channels)}".replace("'", '"')
    tables = "".join(f"[channel.{name}]\ncost = {cost}\n" for name, cost in costs.items())
    said = lint(parse_campaigns(LEAST.replace('channels = ["console"]', written) + tables))
    found = [(one.level, one.campaign, one.text) for one in said if one.rule == "order"]
    wanted = []
    if told is not None:
        first, behind, mend = told
        text = f"channels: {first} takes every offer, so that {behind} behind it is tried only"
        wanted = [("advice", "coffee", f"{text} for whom {first} is not allowed; {mend}")]
    assert found == wanted


def test_a_channel_of_one_s_own_is_of_its_kind() -> None:
    said = LEAST.replace('["console"]', '["shelf", "email"]')
    (one,) = [
        one for one in lint(parse_campaigns(said + '[channel.shelf]\nkind = "inbox"\n'))
        if one.rule == "order"
    ]  # fmt: skip
    assert "shelf takes every offer" in one.text


@pytest.mark.parametrize(
    ("without", "rule"),
    [({"age": None}, "age"), ({"caps": ()}, "pressure"), ({"quiet_hours": ()}, "pressure"),
     ({"link_hosts": frozenset()}, "hosts")],
)  # fmt: skip
def test_what_a_file_that_presses_had_better_say(without: dict[str, Any], rule: str) -> None:
    assert [(one.rule, one.level) for one in found(GOOD, **without)] == [(rule, "advice")]
    service = replace(GOOD, purpose="service", link=None)
    assert found(service, **without) == []


def test_a_finding_says_who_what_and_which_rule() -> None:
    assert Finding("age", "advice", None, "no age").to_line() == "advice: no age [age]"
    assert Finding("emoji", "fault", "tea", "many").to_line() == "campaign 'tea': many [emoji]"


def test_every_rule_has_a_name_of_its_own_and_a_question() -> None:
    assert len({rule.name for rule in RULES}) == len(RULES)
    assert all(rule.asks.endswith("?") for rule in RULES)


def test_what_is_no_template_is_left_to_the_check() -> None:
    """`campaign check` names what is wrong with it; lint says of the rest what it can."""
    assert all("endif" not in text for _, text in says("Coffee at half price {% if place %}"))
