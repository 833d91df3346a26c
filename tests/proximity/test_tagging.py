"""Which events are as agreed: the plan, what it refuses, and how it says so."""

from __future__ import annotations

from typing import Any

import pytest

from proximity.model import Event, ProximityError
from proximity.people.tagging import NO_PLAN, RESERVED, Plan, PropertyRule, parse_plan

PLAN = """
[[event]]
name = "saved"
about = "somebody keeps an item for later"
properties = { item = "text", count = "number", gift = "flag" }

[[event]]
name = "purchase"
extra = "keep"
[event.properties.product]
type = "text"
required = true
one_of = ["club", "meatballs"]
[event.properties.price]
type = "number"
least = 0
most = 1000
[event.properties.receipt]
type = "text"
longest = 6

[[event]]
name = "signup"
extra = "drop"
[event.properties.email]
type = "text"
pii = true
[event.properties.source]
type = "text"

[[attribute]]
name = "diet"
type = "text"
one_of = ["vegan", "any"]
ask = { en = "What do you eat?" }

[[attribute]]
name = "likes"
type = "texts"
one_of = ["tea", "coffee"]
editable = true

[[attribute]]
name = "age"
type = "number"
least = 0
"""


@pytest.fixture
def plan() -> Plan:
    return parse_plan(PLAN, "plan.toml")


def event(name: str, **properties: Any) -> Event:
    return Event(subject="s", at=0.0, name=name, properties=properties)


def test_what_fits_is_kept(plan: Plan) -> None:
    for good in (
        event("saved", item="shoe", count=2, gift=False),
        event("saved", item=None),
        event("purchase", product="club", price=4.5, till=7),
        event("signup", email="ada@example.test", source="door", other="x"),
    ):
        assert plan.problems(good) == []
    assert plan.kept(event("purchase", product="club", till=7)) == {"product": "club", "till": 7}


def test_what_is_personal_or_unnamed_is_left_out(plan: Plan) -> None:
    kept = plan.kept(event("signup", email="ada@example.test", source="door", other="x"))
    assert kept == {"source": "door"}


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (event("svaed", item="x"), "the plan has no event 'svaed'; did you mean 'saved'?"),
        (event("saved", itme="x"), "unknown property 'itme'; did you mean 'item'?"),
        (event("saved", item=3), "item must be text; it is a number"),
        (event("saved", count=True), "count must be a number; it is true or false"),
        (event("saved", gift="yes"), "gift must be true or false; it is text"),
        (event("purchase"), "product is missing"),
        (event("purchase", product="ham"), "product must be one of club, meatballs"),
        (event("purchase", product="club", price=-1), "price must be from 0 to 1000"),
        (event("purchase", product="club", receipt="1234567"), "receipt must have at most 6"),
        (event("saved", item="ada@example.test"), "'item' holds an e-mail address"),
        (event("saved", item="x" * 1025), "property 'item' is longer than 1024 characters"),
        (event("saved", **{f"p{n}": 1 for n in range(65)}), "65 properties are more than 64"),
        (event("message-sent", channel="email"), "system is missing"),
    ],
)
def test_what_does_not_is_refused_in_words(plan: Plan, bad: Event, said: str) -> None:
    found = plan.problems(bad)
    assert any(one.startswith(said) for one in found), found
    # What somebody typed is theirs: it is not repeated to whoever mends the plan.
    assert not any("ada" in one or "ham" in one for one in found)


def test_what_is_set_aside_keeps_no_address(plan: Plan) -> None:
    """To find the mistake by, its sender needs no one's e-mail."""
    for mistaken in (
        event("signup", email="ada@example.test", source=7),
        event("saved", item=" ada@example.test", gift="yes"),
        event("nosuch", who="ada@example.test", gift="yes"),
    ):
        assert plan.problems(mistaken)
        kept = plan.shown(mistaken)
        assert kept.keys() & {"source", "gift"}
        assert "ada@" not in str(kept)


def test_all_that_is_wrong_is_said_at_once(plan: Plan) -> None:
    assert len(plan.problems(event("purchase", price=-1, receipt="1234567"))) == 3


def test_without_a_plan_all_is_kept_but_what_the_engine_itself_understands() -> None:
    assert NO_PLAN.problems(event("anything", of="any kind", mail="ada@example.test")) == []
    assert NO_PLAN.kept(event("anything", b=1, a=2)) == {"a": 2, "b": 1}
    assert NO_PLAN.problems(event("purchase", quantity="two"))
    assert NO_PLAN.problems(event("optin-later"))
    assert NO_PLAN.problems(event("optin-later", purpose="marketing")) == []
    for rule in RESERVED.values():
        assert rule.name in RESERVED


def test_a_plan_narrows_what_is_reserved_and_never_widens_it(plan: Plan) -> None:
    assert plan.problems(event("purchase", product="club", quantity="two"))
    wide = parse_plan('[[event]]\nname="message-sent"\nextra="keep"\nproperties={note="text"}')
    assert wide.problems(event("message-sent", note="x"))
    assert wide.problems(event("message-sent", system="crm", note="x", id="m1")) == []
    assert wide.kept(event("message-sent", system="crm", id="m1")) == {"id": "m1", "system": "crm"}


def test_unknown_events_may_be_kept() -> None:
    lax = parse_plan('unknown = "keep"\n[[event]]\nname = "a"\nproperties = {}')
    assert lax.problems(event("b", x=1)) == []
    assert lax.problems(event("b", x="ada@example.test"))  # nobody said that it would be there


@pytest.mark.parametrize(
    ("answer", "good"),
    [
        ({"attribute": "diet", "value": "vegan"}, True),
        ({"attribute": "diet", "value": None}, True),
        ({"attribute": "diet", "value": "ham"}, False),
        ({"attribute": "likes", "value": "tea, coffee"}, True),
        ({"attribute": "likes", "value": "tea, milk"}, False),
        ({"attribute": "age", "value": 12}, False),  # nobody may say so of themselves
        ({"attribute": "tier", "value": "gold"}, False),
        ({"topic": "food", "allow": False}, True),
        ({"allow": False, "from": "22:00", "to": "07:00", "days": "sat,sun"}, True),
        ({"allow": False, "from": "22:00"}, False),
        ({"allow": False, "from": "22:00", "to": "27:00"}, False),
        ({"allow": False}, False),
        ({"topic": "food"}, False),
        ({"topic": "food", "allow": False, "attribute": "diet"}, False),
        ({"topic": "food", "allow": False, "value": 1}, False),
        ({}, False),
    ],
)
def test_what_people_may_say_of_themselves(plan: Plan, answer: Any, good: bool) -> None:
    assert (plan.problems(event("preference-set", **answer)) == []) is good


def test_attributes(plan: Plan) -> None:
    assert plan.attribute_problem("shoe", [1, {}]) is None
    assert plan.attribute_problem("age", 4) is None
    assert plan.attribute_problem("age", "four") == "attribute age must be a number; it is text"
    assert plan.attribute_problem("age", float("nan")) is not None
    assert plan.attribute_problem("likes", ["tea"]) is None
    assert plan.attribute_problem("likes", ["milk"]) is not None
    assert plan.attribute_problem("likes", {"tea": 1}) is not None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[", "plan: this is no TOML"),
        ("a = " + "[" * 5000, "plan: this is"),
        ('unknown = "drop"', "plan: unknown is 'drop'"),
        ("[[event]]", "event number 1: name is missing"),
        ('[[event]]\nname = "a"\n[[event]]\nname = "a"', "two events have this name"),
        ('[[event]]\nname = "a"\nextra = "x"', "event 'a': extra is 'x'"),
        ('[[event]]\nname = "a"\nproperties = { p = "txt" }', "property 'p': type is 'txt'"),
        ('[[event]]\nname = "a"\nproperties = { p = {} }', "property 'p': type is missing"),
        ('[[event]]\nname = "a"\nproperties = { p = 3 }', "property 'p': type must be a text"),
        ('[[event]]\nname = "a"\nproprieties = {}', "unknown key 'proprieties'; did you mean"),
        (
            '[[event]]\nname = "a"\nproperties = { p = { type = "number", least = 2, most = 1 } }',
            "least is more than most",
        ),
        (
            '[[event]]\nname = "a"\nproperties = { p = { type = "number", one_of = ["x"] } }',
            "one_of must hold what its type says: a number",
        ),
        (
            '[[event]]\nname = "a"\nproperties = { p = { type = "text", one_of = [] } }',
            "one_of must be a list",
        ),
        ('[[attribute]]\nname = "a"', "attribute 'a': type is missing"),
        ('[[attribute]]\nname = "a"\ntype = "text"\nask = { en = "" }', "ask.en must be the"),
        (
            '[[attribute]]\nname = "a"\ntype = "text"\neditable = false\nask = { en = "?" }',
            "ask says that people are asked",
        ),
        ('[[attribute]]\nname="a"\ntype="flag"\n' * 2, "two attributes have this name"),
    ],
)
def test_a_plan_that_cannot_be_meant_is_refused(text: str, said: str) -> None:
    with pytest.raises(ProximityError) as refused:
        parse_plan(text)
    assert any(said in problem for problem in refused.value.problems), refused.value.problems


def test_plans_of_great_size_are_refused() -> None:
    many = "".join(f'[[event]]\nname = "e{n}"\n' for n in range(2001))
    with pytest.raises(ProximityError, match="2001 rules are too many"):
        parse_plan(many)
    wide = ", ".join(f'p{n} = "text"' for n in range(65))
    with pytest.raises(ProximityError, match="65 properties are too many"):
        parse_plan(f'[[event]]\nname = "a"\nproperties = {{ {wide} }}')


def test_a_number_out_of_its_bounds_is_told_the_bounds() -> None:
    assert PropertyRule(kind="number", most=5.0).problem("n", 6.0) == "n must be at most 5"
    assert PropertyRule(kind="number", least=5.0).problem("n", 4) == "n must be at least 5"
    both = PropertyRule(kind="number", least=1.0, most=5.0)
    assert both.problem("n", 6) == "n must be from 1 to 5"
    assert both.problem("n", 5) is None


def test_a_number_of_more_digits_than_can_be_read_is_a_problem_of_the_file() -> None:
    with pytest.raises(ProximityError, match=r"^plan\.toml: this is no TOML: "):
        parse_plan("x = " + "9" * 10_000, "plan.toml")
