"""Segments as people write them: what they mean, how they read, and what is said against them."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from proximity.campaigns.form import parse_campaigns
from proximity.model import Person
from proximity.people.facts import NOTHING, Happened, Profile, Stay
from proximity.person import Hours, Preference
from proximity.privacy import sensitive
from proximity.segments.conditions import OPERATORS
from proximity.segments.rules import Rule, bucket_hash
from proximity.segments.segments import FORMS, parse, read_audience, read_segments
from proximity.tomltable import TomlTable

NOW = 1_700_000_000.0
DAY = 86400.0


def rule(**table: Any) -> Rule:
    found, problems = parse(table, "rule")
    assert problems == []
    assert found is not None
    return found


def problems(**table: Any) -> list[str]:
    found, said = parse(table, "rule")
    assert found is None
    return said


def person(**attributes: Any) -> Person:
    return Person(person="anna", attributes=attributes)


def did(name: str, *ago_s: float, **properties: Any) -> Profile:
    events = sorted(NOW - one for one in ago_s)
    return Profile(events=tuple(Happened(name, at, properties) for at in events))


def stayed(place: str, ago_s: float, for_s: float | None, *tags: str) -> Profile:
    enter_at = NOW - ago_s
    left = None if for_s is None else enter_at + for_s
    return Profile(visits=(Stay("v", place, enter_at, left, tags),))


@pytest.mark.parametrize(
    ("asked", "attributes", "holds"),
    [
        ({"is": "gold"}, {"tier": "gold"}, True),
        ({"is": "gold"}, {"tier": "Gold"}, False),
        ({"is": "gold"}, {}, False),
        ({"is_not": "gold"}, {}, True),
        ({"is_not": "gold"}, {"tier": "gold"}, False),
        ({"is": "ski"}, {"tier": ["golf", "ski"]}, True),
        ({"is_not": "ski"}, {"tier": ["golf", "ski"]}, False),
        ({"one_of": ["a", 2]}, {"tier": 2}, True),
        ({"one_of": ["a", 2]}, {"tier": "2"}, False),
        ({"at_least": 18, "less_than": 30}, {"tier": 18}, True),
        ({"at_least": 18, "less_than": 30}, {"tier": 30}, False),
        ({"more_than": 18}, {"tier": 18}, False),
        ({"at_most": 18}, {"tier": "17"}, False),
        ({"at_most": 18}, {}, False),
        ({"is": True}, {"tier": True}, True),
        ({"is": True}, {"tier": 1}, True),
        ({"is": False}, {}, False),
        ({"contains": "ki"}, {"tier": ["golf", "ski"]}, True),
        ({"contains": "KI"}, {"tier": "ski"}, False),
        ({"known": True}, {"tier": None}, False),
        ({"known": False}, {"tier": None}, True),
        ({"known": True}, {"tier": {"a": 1}}, False),
        ({"known": True}, {"tier": "x" * 401}, False),
        ({"known": True}, {"tier": []}, False),
        ({"known": True}, {"tier": 10**400}, False),
    ],
)
def test_an_attribute_fits_or_not(
    asked: dict[str, Any], attributes: dict[str, Any], holds: bool
) -> None:
    one = rule(attribute="tier", **asked)
    assert one.matches(person(**attributes), NOTHING, NOW) is holds
    assert rule(**{"not": {"attribute": "tier", **asked}}).matches(
        person(**attributes), NOTHING, NOW
    ) is (not holds)


def test_events_count_within_their_window_and_by_their_properties() -> None:
    thrice = rule(event="purchase", within_s=7 * DAY, at_least=3)
    assert thrice.matches(person(), did("purchase", 1, 2, 3), NOW)
    assert not thrice.matches(person(), did("purchase", 1, 2, 8 * DAY), NOW)
    assert not thrice.matches(person(), did("view", 1, 2, 3), NOW)
    assert not thrice.matches(person(), did("purchase", 1, 2, -5), NOW), "what is to come"
    assert not thrice.matches(person(), did("purchase", 1, 2, 7 * DAY), NOW), "a window is open"
    dear = rule(event="purchase", properties={"product": "coffee", "price": {"at_least": 3}})
    assert dear.matches(person(), did("purchase", 1, product="coffee", price=3.5), NOW)
    assert not dear.matches(person(), did("purchase", 1, product="coffee", price=2.5), NOW)
    assert not dear.matches(person(), did("purchase", 1, product="coffee"), NOW)
    seldom = rule(event="purchase", at_most=1)
    assert seldom.matches(person(), NOTHING, NOW)
    assert not seldom.matches(person(), did("purchase", 1, 2), NOW)
    between = rule(event="purchase", at_least=1, at_most=2)
    assert [between.matches(person(), did("purchase", *range(n)), NOW) for n in range(4)] == [
        False, True, True, False,
    ]  # fmt: skip


def test_what_people_say_they_want_can_be_asked_for() -> None:
    yes = rule(preference="yes", topic="shoes")
    no, unsaid = rule(preference="no", topic="shoes"), rule(preference="unsaid", topic="shoes")
    said: list[Preference] = []

    def answers() -> list[bool]:
        one = Person(person="p", preferences=tuple(said))
        return [each.matches(one, NOTHING, NOW) for each in (yes, no, unsaid)]

    assert answers() == [False, False, True]
    said.append(Preference(allow=True, topic="shoes"))
    assert answers() == [True, False, False]
    said.append(Preference(allow=False))  # speaks of every topic, and is newer
    assert answers() == [False, True, False]
    said.append(Preference(allow=True, topic="shoes", channel="email"))  # of mail alone
    said.append(
        Preference(allow=True, topic="shoes", hours=(Hours(opens="08:00", closes="09:00"),))
    )
    assert answers() == [False, True, False]
    mail = rule(preference="yes", topic="shoes", channel="email")
    one = Person(person="p", preferences=tuple(said))
    assert mail.matches(one, NOTHING, NOW)
    assert mail.explain(one, NOTHING, NOW)["said"] is True


def test_visits_count_by_place_or_tag_and_by_how_long_they_lasted() -> None:
    long = rule(visited="shop", dwell_s=600, within_s=DAY)
    assert long.matches(person(), stayed("shop", 700, 600), NOW)
    assert not long.matches(person(), stayed("shop", 700, 599), NOW)
    assert long.matches(person(), stayed("shop", 600, None), NOW), "one that goes on"
    assert not long.matches(person(), stayed("shop", 2 * DAY, None), NOW), "began before"
    assert not long.matches(person(), stayed("cafe", 700, 600), NOW)
    tagged = rule(tag="cafe")
    assert tagged.matches(person(), stayed("any", 5, 1, "bar", "cafe"), NOW)
    assert not tagged.matches(person(), stayed("cafe", 5, 1), NOW)


def test_a_bucket_draws_its_share_and_the_same_people_for_ever() -> None:
    everybody = [Person(person=f"p{number}") for number in range(2000)]

    def drawn(start: float, end: float, seed: str = "autumn") -> set[str]:
        one = rule(bucket={"seed": seed, "from": start, "to": end})
        return {who.person for who in everybody if one.matches(who, NOTHING, NOW)}

    tenth = drawn(0.0, 0.1)
    assert 150 < len(tenth) < 250
    assert tenth < drawn(0.0, 0.2)
    assert tenth.isdisjoint(drawn(0.1, 1.0))
    assert len(tenth | drawn(0.1, 1.0)) == 2000
    assert tenth != drawn(0.0, 0.1, "winter")
    # The draw is a promise to those who drew before: it never changes.
    assert bucket_hash("autumn", "p0").hex().startswith("c73e0f8a6c9be44d")


def test_a_segment_reads_as_a_sentence() -> None:
    one = rule(
        all=[
            {"attribute": "tier", "one_of": ["gold", "silver"]},
            {
                "any": [
                    {
                        "event": "purchase",
                        "properties": {"product": "coffee"},
                        "within_s": 30 * DAY,
                        "at_least": 3,
                    },
                    {"visited": "store-7", "dwell_s": 600, "within_s": DAY},
                ]
            },
            {"not": {"tag": "gym"}},
            {"bucket": {"seed": "autumn", "to": 0.25}},
        ]
    )
    assert one.sentence() == (
        'People whose tier is "gold" or "silver" and (who did "purchase" (whose product is '
        '"coffee") at least 3 times in the last 30 days or who visited "store-7" for 10 minutes or '
        'longer in the last day) and who never visited a place tagged "gym" and drawn by "autumn" '
        "from 0 % to 25 % of everybody."
    )
    assert one.back_s() == float("inf")
    assert rule(attribute="a", known=True).back_s() is None
    assert rule(event="a", within_s=60).back_s() == 60.0


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ({"event": "e", "at_most": 0, "within_s": 3600}, 'who never did "e" in the last hour'),
        ({"event": "e", "at_most": 2}, 'who did "e" at most 2 times'),
        ({"event": "e", "at_least": 2, "at_most": 2}, 'who did "e" exactly 2 times'),
        ({"event": "e", "at_least": 2, "at_most": 3}, 'who did "e" 2 to 3 times'),
        ({"event": "e", "within_s": 90}, 'who did "e" in the last 90 seconds'),
        ({"visited": "p", "at_most": 0}, 'who never visited "p"'),
        ({"not": {"event": "e"}}, 'who never did "e"'),
        ({"not": {"event": "e", "at_least": 2}}, 'not (who did "e" at least 2 times)'),
        ({"not": {"visited": "p", "at_least": 2}}, 'not (who visited "p" at least 2 times)'),
        ({"not": {"not": {"event": "e"}}}, 'who did "e"'),
        ({"not": {"attribute": "a", "is": 1.5}}, "not (whose a is 1.5)"),
        ({"attribute": "a", "known": False}, "whose a is not known"),
        ({"attribute": "a", "is": True}, "whose a is true"),
        ({"attribute": "a", "at_least": 1234567}, "whose a is at least 1234567"),
        ({"attribute": "a", "one_of": [1, 2, 3, 4, 5, 6, 7]},
         "whose a is 1, 2, 3, 4, 5 or one of 2 more"),
        ({"preference": "no"}, "who said no to messages as such"),
        (
            {"preference": "unsaid", "topic": "shoes", "place": "store-7"},
            'who said nothing of topic "shoes" and place "store-7"',
        ),
    ],
)  # fmt: skip
def test_every_rule_has_words(table: dict[str, Any], sentence: str) -> None:
    assert rule(**table).sentence() == f"People {sentence}."


def test_an_explanation_tells_what_was_found() -> None:
    one = rule(
        all=[
            {"attribute": "tier", "is": "gold"},
            {"event": "purchase", "at_least": 2},
            {"bucket": {"seed": "s", "to": 0.5}},
        ]
    )
    said = one.explain(person(tier=["silver"]), did("purchase", 1, 2, 3), NOW)
    assert said["holds"] is False
    assert [part["holds"] for part in said["of"][:2]] == [False, True]
    assert said["of"][0]["values"] == ["silver"]
    assert said["of"][1]["times"] == 3
    assert 0.0 <= said["of"][2]["share"] <= 1.0


# What is said against a rule ------------------------------------------------------------------


def test_all_problems_are_told_at_once() -> None:
    said = problems(
        all=[
            {"attribute": "a", "is": [1], "at_least": "b", "iss": 1},
            {"event": "e", "at_least": 3, "at_most": 2},
            {"bucket": {"from": 0.5, "to": 0.5}},
            {"segment": "other"},
        ],
    )
    assert said == [
        "rule: all number 1: is must be a text, a number, or true or false",
        "rule: all number 1: at_least must be a number from -1e+15 to 1e+15; it is 'b'",
        "rule: all number 1: unknown key 'iss'; did you mean 'is'?",
        "rule: all number 2: at_least 3 is more than at_most 2: nobody fits",
        "rule: all number 3: bucket: seed is missing: any text; the same one draws the same people",
        "rule: all number 3: bucket: from 0.5 to 0.5 is nobody: from must be less than to",
        "rule: all number 4: there is no segment 'other'; nothing can stand here",
    ]


@pytest.mark.parametrize(
    ("table", "part"),
    [
        ({}, "a rule is one of all, any, not"),
        ({"all": [], "any": []}, "this has both all and any"),
        ({"all": []}, "all is empty"),
        ({"all": 3}, "all must be a list of tables"),
        ({"not": [1]}, "not must be a table"),
        ({"attribute": "a"}, "it compares with nothing"),
        ({"attribute": "a" * 129, "is": 1}, "no attribute of such a name"),
        ({"attribute": 3, "is": 1}, "attribute must be a text"),
        ({"attribute": "a", "is": "x" * 401}, "more than 400 characters"),
        ({"attribute": "a", "is": "a\0"}, "with a NUL"),
        ({"attribute": "a", "is": float("nan")}, "a number must be finite"),
        ({"attribute": "a", "is": 10**400}, "a number must be finite"),
        ({"attribute": "a", "one_of": []}, "a list of 1 to 1000 values"),
        ({"attribute": "a", "one_of": ["a"] * 1001}, "a list of 1 to 1000 values"),
        ({"attribute": "a", "contains": " "}, "contains must be a text"),
        ({"attribute": "a", "contains": "\0"}, "with a NUL"),
        ({"attribute": "a", "known": 1}, "known must be true or false"),
        ({"event": "e", "at_least": 0}, "holds for everybody"),
        ({"event": "e", "at_least": 1001}, "from 0 to 1000"),
        ({"event": "e", "within_s": 0}, "within_s must be a number from 0.001"),
        ({"event": "e", "properties": {'a"b': 1}}, "with a quote or a backslash"),
        ({"event": "e", "properties": {"a": {}}}, "it compares with nothing"),
        ({"event": "e", "properties": {"a": [1]}}, "is must be a text"),
        ({"event": "e", "properties": {"": 1}}, "a property's name"),
        ({"event": "e", "properties": {f"a{n}": 1 for n in range(21)}}, "more than 20"),
        ({"event": "e", "dwell_s": 5}, "unknown key 'dwell_s'"),
        ({"segment": ""}, "segment must be a text that is not empty"),
        ({"visited": "p", "tag": "t"}, "this has both visited and tag"),
        ({"all": [{"event": "e"}] * 501}, "501 rules, at most 500"),
        ({"all": [{"any": [{"event": "e"}] * 251}] * 2}, "made of 505 rules"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(table: dict[str, Any], part: str) -> None:
    assert any(part in one for one in problems(**table)), problems(**table)


def test_rules_within_rules_have_an_end() -> None:
    table: dict[str, Any] = {"event": "e"}
    for _ in range(19):
        table = {"not": table}
    assert rule(**table).depth == 20
    for _ in range(500):
        table = {"not": table}
    assert ["rules lie more than 20 deep" in one for one in problems(**table)] == [True]


def segments(text: str) -> tuple[dict[str, Rule], list[str]]:
    top = TomlTable(tomllib.loads(text), "c.toml")
    return read_segments(top), top.problems


def test_segments_name_each_other_in_any_order() -> None:
    found, said = segments(
        """
        [[segment]]
        id = "both"
        about = "for people who read this"
        all = [{ segment = "near" }, { not = { segment = "gold" } }]
        [[segment]]
        id = "near"
        visited = "shop"
        [[segment]]
        id = "gold"
        attribute = "tier"
        is = "gold"
        """
    )
    assert said == []
    assert found["both"].sentence() == 'People in segment "near" and not in segment "gold".'
    assert found["both"].matches(person(), stayed("shop", 5, 1), NOW)
    assert not found["both"].matches(person(tier="gold"), stayed("shop", 5, 1), NOW)
    assert found["both"].size == 6


def test_segments_at_fault_are_named() -> None:
    _, said = segments(
        """
        [[segment]]
        id = "a"
        segment = "b"
        [[segment]]
        id = "b"
        segment = "a"
        [[segment]]
        id = "a"
        event = "e"
        [[segment]]
        event = "e"
        [[segment]]
        id = "c"
        segment = "bb"
        """
    )
    assert said == [
        "c.toml: segment 'a': two segments have this id; give each its own",
        "c.toml: segment number 4: id is missing",
        "c.toml: segment 'b': segment 'a' is made of itself: a > b",
        "c.toml: segment 'c': there is no segment 'bb'; did you mean 'b'?",
    ]


def test_segments_cannot_grow_beyond_bounds_by_naming_each_other() -> None:
    doubled = [
        {"id": f"s{n}", "all": [{"segment": f"s{n + 1}"}, {"segment": f"s{n + 1}"}]}
        for n in range(15)
    ]
    top = TomlTable({"segment": [*doubled, {"id": "s15", "event": "e"}]}, "c.toml")
    read_segments(top)
    assert any("rules, at most 500" in one for one in top.problems)
    chain = [{"id": f"s{n}", "segment": f"s{n + 1}"} for n in range(999)]
    top = TomlTable({"segment": [*chain, {"id": "s999", "event": "e"}]}, "c.toml")
    read_segments(top)
    assert any("segments lie more than 20 deep" in one for one in top.problems)
    inner: dict[str, Any] = {"event": "e"}
    outer: dict[str, Any] = {"segment": "inner"}
    for _ in range(15):
        inner, outer = {"not": inner}, {"not": outer}
    top = TomlTable({"segment": [{"id": "inner", **inner}, {"id": "outer", **outer}]}, "c.toml")
    assert list(read_segments(top)) == ["inner"]
    assert any("its rules lie 32 deep, at most 20" in one for one in top.problems)
    top = TomlTable({"segment": [{"id": 3, "event": "e"}]}, "c.toml")
    assert read_segments(top) == {}
    assert [part for part in top.problems if "id must be a text" in part]
    many = [{"id": f"s{n}", "event": "e"} for n in range(1001)]
    top = TomlTable({"segment": many}, "c.toml")
    assert read_segments(top) == {}
    assert top.problems == ["c.toml: 1001 segments are more than 1000; leave out the unused"]


def test_an_audience_is_a_segments_id_or_a_rule() -> None:
    found, _ = segments('[[segment]]\nid = "vip"\nattribute = "tier"\nis = "gold"\n')

    def audience(**table: Any) -> tuple[Rule | None, list[str]]:
        item = TomlTable(table, "campaign 'x'")
        return read_audience(item, found), item.problems

    named, said = audience(audience="vip")
    assert said == []
    assert named is not None
    assert named.sentence() == 'People in segment "vip".'
    inline, said = audience(audience={"not": {"segment": "vip"}})
    assert said == []
    assert inline is not None
    assert inline.sentence() == 'People not in segment "vip".'
    assert audience() == (None, [])
    assert audience(audience="vips") == (
        None,
        ["campaign 'x': audience: there is no segment 'vips'; did you mean 'vip'?"],
    )
    assert audience(audience=3) == (
        None,
        [
            "campaign 'x': audience must be a table: write [audience]",
            f"campaign 'x': audience: a rule is one of {', '.join(FORMS)}; this has none of them",
        ],
    )


def test_the_page_names_every_form_and_comparison() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "segments.md").read_text()
    for form in FORMS:
        assert f"`{{ {form} = " in page, form
    for operator in OPERATORS:
        assert f"`{operator}`" in page, operator


def test_a_campaign_whose_audience_was_in_a_sensitive_place_uses_it() -> None:
    campaigns = parse_campaigns(
        """
        [[segment]]
        id = "patients"
        any = [{ visited = "clinic" }, { tag = "worship" }]
        [[campaign]]
        id = "pills"
        purpose = "marketing"
        on = "enter"
        places = ["shop"]
        audience = { not = { segment = "patients" } }
        channels = ["console"]
        text = { en = "Pills" }
        """
    )
    tags = {"clinic": (), "church": ("worship",), "shop": (), "park": ()}
    assert sensitive.places_of(campaigns, tags) == {"clinic", "church", "shop"}
    finding = sensitive.Finding("sensitive/health", "clinic", "its name", "fence clinic")
    assert [use.campaign for use in sensitive.uses(campaigns, {"clinic": finding}, tags)] == [
        "pills"
    ]
