"""Random people and random rules about them, small enough that they often fit each other."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import strategies as st
from sqlalchemy import Connection

from proximity.model import Person, Preference
from proximity.people import profiles
from proximity.people.facts import Happened, Profile, Stay
from proximity.person import Hours
from proximity.segments.conditions import OPERATORS
from proximity.store import schema

NOW = 1_700_000_000.0
TAGS = {"cafe-1": ("cafe",), "cafe-2": ("cafe", "bar"), "shop": ()}

# Texts that trip databases: case, quotes, wildcards, accents composed and not, the empty one, one
# that is too long to be searched, and what JSON must escape.
TEXTS = [
    "gold", "Gold", "GOLD", "", " ", "it's", '"q"', "100%", "a_b", "ä", "a\u0308", "Σ", "日本",
    "\\", "1", "true", "x" * 400, "x" * 401, "null", "\x01", "go\nld",
]  # fmt: skip
EVIL = ["\0", "go\0ld", "\\u0000"]
NUMBERS = [0.0, -0.0, 1.0, 2.0, 0.1, 1e300, -5.5, 3, 2**53 + 1, 10**400]
names = st.sampled_from(["tier", "age", "interests", "ä 1", "$.a", "it's"])
properties = st.sampled_from(["product", "price", "a.b", "$", "it's", "ä", "[0]", "0"])
texts = st.sampled_from(TEXTS)
scalars = texts | st.sampled_from(NUMBERS) | st.booleans()
values = (
    scalars
    | st.sampled_from(EVIL)
    | st.none()
    | st.lists(texts, max_size=3)
    | st.sampled_from([{}, {"a": 1}, [1, 2], ["gold", 1], ["gold"] * 1001, ["x"] * 1000 + ["gold"]])
)
moments = st.sampled_from([0.0, 1.0, 59.0, 60.0, 61.0, 3599.5, 3600.0, 86400.0, -1.0, -60.0]).map(
    lambda ago: NOW - ago
)
happenings = st.builds(
    Happened,
    name=st.sampled_from(["purchase", "view"]),
    at=moments,
    properties=st.dictionaries(
        properties | st.sampled_from(['"', "\\", "\0"]),
        texts
        | st.sampled_from([n for n in NUMBERS if abs(n) < 1e308]).map(float)
        | st.booleans()
        | st.none()
        | st.sampled_from(EVIL),
        max_size=3,
    ),
)


@st.composite
def stays(draw: st.DrawFn) -> Stay:
    """A visit that is over or not, of a place with tags or without."""
    place = draw(st.sampled_from([*TAGS]))
    enter_at = draw(moments)
    lasted = draw(st.none() | st.sampled_from([0.0, 0.5, 60.0, 3600.0]))
    return Stay(
        visit="",
        place=place,
        enter_at=enter_at,
        exit_at=None if lasted is None else enter_at + lasted,
        tags=TAGS[place],
    )


_about = {
    name: st.none() | st.sampled_from(some)
    for name, some in {"topic": ["shoes", "it's"], "channel": ["email"], "place": ["shop"]}.items()
}
wishes = st.builds(
    Preference,
    allow=st.booleans(),
    hours=st.sampled_from([None, None, (Hours(opens="08:00", closes="10:00"),)]),
    **_about,
)

people = st.lists(
    st.tuples(
        st.dictionaries(names, values, max_size=3),
        st.lists(happenings, max_size=5),
        st.lists(stays(), max_size=4),
        st.lists(wishes, max_size=4),
    ),
    min_size=1,
    max_size=6,
).map(lambda drawn: [_known(f"ä-{number}", *one) for number, one in enumerate(drawn)])


def _known(
    person: str,
    attributes: dict[str, Any],
    events: list[Happened],
    visits: list[Stay],
    preferences: list[Preference],
) -> tuple[Person, Profile]:
    return (
        Person(person=person, attributes=attributes, preferences=tuple(preferences)),
        Profile(
            events=tuple(sorted(events, key=lambda one: one.at)),
            visits=tuple(sorted(visits, key=lambda one: one.enter_at)),
        ),
    )


_askable = scalars.filter(lambda v: not (isinstance(v, int) and v > 2**60) and v != "x" * 401)
_WANTED = {
    "value": _askable,
    "values": st.lists(_askable, min_size=1, max_size=3),
    "number": st.sampled_from([n for n in NUMBERS if abs(n) < 1e15]),
    "text": texts.filter(lambda text: text.strip() and len(text) <= 400),
    "flag": st.booleans(),
}
comparisons = st.sampled_from([*OPERATORS]).flatmap(
    lambda name: _WANTED[OPERATORS[name].takes].map(lambda wanted: {name: wanted})
)


@st.composite
def _counts(draw: st.DrawFn) -> dict[str, Any]:
    """How often and since when."""
    found: dict[str, Any] = {}
    if draw(st.booleans()):
        found["within_s"] = draw(st.sampled_from([1, 60, 61, 3600, 86400 * 2]))
    least = draw(st.none() | st.integers(1, 3))
    if least is not None:
        found["at_least"] = least
    if draw(st.booleans()):
        found["at_most"] = (least or 0) + draw(st.integers(0, 2))
    return found


attribute_rules = st.builds(lambda name, said: {"attribute": name, **said}, names, comparisons)
event_rules = st.builds(
    lambda name, asked, counts: {"event": name, "properties": asked, **counts},
    st.sampled_from(["purchase", "view", "never"]),
    st.dictionaries(properties, comparisons | _askable, max_size=2),
    _counts(),
)
visit_rules = st.builds(
    lambda where, counts, dwell: {**where, **counts, **dwell},
    st.sampled_from([{"visited": "shop"}, {"visited": "cafe-1"}, {"tag": "cafe"}, {"tag": "gym"}]),
    _counts(),
    st.sampled_from([{}, {"dwell_s": 60}, {"dwell_s": 0.5}]),
)
wish_rules = st.fixed_dictionaries(
    {"preference": st.sampled_from(["yes", "no", "unsaid"])},
    optional={name: one.filter(lambda value: value is not None) for name, one in _about.items()},
)
bucket_rules = st.sampled_from(
    [
        {"bucket": {"seed": "s", "from": 0, "to": 0.5}},
        {"bucket": {"seed": "s", "from": 0.5, "to": 1}},
        {"bucket": {"seed": "ä", "from": 0.1, "to": 0.9}},
    ]
)
rules = st.recursive(
    attribute_rules | event_rules | visit_rules | wish_rules | bucket_rules,
    lambda inner: (
        st.lists(inner, min_size=1, max_size=3).map(lambda some: {"all": some})
        | st.lists(inner, min_size=1, max_size=3).map(lambda some: {"any": some})
        | inner.map(lambda one: {"not": one})
    ),
    max_leaves=6,
)


def tagged(tag: str) -> list[str]:
    """Give the places that have a tag."""
    return [place for place, tags in TAGS.items() if tag in tags]


def write(connection: Connection, known: list[tuple[Person, Profile]]) -> None:
    """Put people into an emptied store, as the engine keeps them."""
    for table in (schema.people, schema.attributes, schema.events, schema.visits):
        connection.execute(table.delete())
    number = 0
    for person, profile in known:
        profiles.write(connection, person)
        for one in profile.events:
            number += 1
            connection.execute(
                schema.events.insert(),
                {
                    "id": f"{number}",
                    "person": person.person,
                    "subject": person.person,
                    "name": one.name,
                    "at": one.at,
                    "properties": msgspec.json.encode(one.properties).decode(),
                },
            )
        for stay in profile.visits:
            number += 1
            connection.execute(
                schema.visits.insert(),
                {
                    "visit": f"{number}",
                    "person": person.person,
                    "subject": person.person,
                    "place": stay.place,
                    "enter_at": stay.enter_at,
                    "exit_at": stay.exit_at,
                },
            )
