"""The question: is this event one that we agreed to record, and is it well-formed.

A tagging plan (TOML, ``docs/people.md``) names the events that apps, tills and other systems may
send, each with its properties, and the attributes of people. What does not fit is set aside with
the reason, never dropped in silence. Pure: reading the file is the caller's; what an event leads
to is ``behaviour``'s.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from proximity.model import ProximityError, digest
from proximity.people.preferences import problems_of
from proximity.tomltable import TomlTable, nearest, parse_toml

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proximity.model import Event

__all__ = [
    "NO_PLAN",
    "RESERVED",
    "RESERVED_ATTRIBUTES",
    "AttributeRule",
    "EventRule",
    "Plan",
    "PropertyRule",
    "parse_plan",
]

Kind = Literal["text", "number", "flag", "texts"]
Value = str | float | bool | None

KINDS = ("text", "number", "flag")
ATTRIBUTE_KINDS = (*KINDS, "texts")
EXTRAS = ("refuse", "keep", "drop")
UNKNOWN = ("refuse", "keep")

MOST_PROPERTIES = 64
MOST_TEXT = 1024
"""Characters of one property: a product's name, a reason, a URL. What is longer is content, and
content is not what a person did."""
_MOST_RULES = 2000
_MOST_NUMBER = 1e15
_EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s.]+(\.[^@\s.]+)+")


class PropertyRule(msgspec.Struct, frozen=True, kw_only=True):
    """What one property may hold; ``kind`` None: any flat value.

    ``least`` and ``most`` bound numbers, ``longest`` the characters of text. ``pii`` marks what is
    looked at and then left out: it is never kept.
    """

    kind: Kind | None = None
    required: bool = False
    one_of: tuple[Value, ...] = ()
    least: float = -_MOST_NUMBER
    most: float = _MOST_NUMBER
    longest: int = MOST_TEXT
    pii: bool = False

    def problem(self, name: str, value: object) -> str | None:
        """Say what is wrong with a value, without repeating it; None where nothing is."""
        kind = _kind(value)
        if self.kind is not None and kind != self.kind:
            return f"{name} must be {_SAID[self.kind]}; it is {_SAID.get(kind or '', 'neither')}"
        if isinstance(value, float | int) and not self.least <= value <= self.most:
            return f"{name} must be {_bounds(self.least, self.most)}"
        texts = value if isinstance(value, list) else [value]
        if any(isinstance(one, str) and len(one) > self.longest for one in texts):
            return f"{name} must have at most {self.longest} characters"
        if self.one_of and any(one not in self.one_of for one in texts):
            return f"{name} must be one of {', '.join(map(str, self.one_of[:20]))}"
        return None


class EventRule(msgspec.Struct, frozen=True, kw_only=True):
    """An event that may be sent; ``extra`` says what becomes of properties it does not name."""

    name: str
    properties: dict[str, PropertyRule] = {}
    extra: Literal["refuse", "keep", "drop"] = "refuse"

    def problems(self, properties: Mapping[str, object]) -> list[str]:
        """Say all that is wrong with an event's properties."""
        found = [
            f"{name} is missing"
            for name, rule in self.properties.items()
            if rule.required and properties.get(name) is None
        ]
        for name, value in properties.items():
            rule = self.properties.get(name)
            if rule is None:
                if self.extra == "refuse":
                    found.append(f"unknown property {name!r:.60}; {nearest(name, self.properties)}")
                continue
            problem = None if value is None else rule.problem(name, value)
            if problem is not None:
                found.append(problem)
        return found


class AttributeRule(PropertyRule, frozen=True, kw_only=True):
    """What an attribute of people may hold.

    ``editable``: the person may set it; ``ask`` is the question by language tag that they are
    asked for it.
    """

    name: str
    editable: bool = False
    ask: dict[str, str] = {}


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What events and attributes there are; ``unknown`` says what becomes of other events.

    Attributes that it does not name may be set by those who keep people, as ever.
    """

    events: dict[str, EventRule] = {}
    attributes: dict[str, AttributeRule] = {}
    unknown: Literal["refuse", "keep"] = "keep"
    version: str = ""

    @property
    def answerable(self) -> dict[str, AttributeRule]:
        """Attributes of which people may say something: the engine's own, and the plan's."""
        return RESERVED_ATTRIBUTES | self.attributes

    def problems(self, event: Event) -> list[str]:
        """Say all that is wrong with an event; nothing where it is to be kept.

        What people typed stands in none of them: they may be shown to anyone who keeps the plan.
        """
        if len(event.properties) > MOST_PROPERTIES:
            return [f"{len(event.properties)} properties are more than {MOST_PROPERTIES}"]
        found = [
            f"property {name!r:.60} is longer than {MOST_TEXT} characters, name and text"
            for name, value in event.properties.items()
            if len(name) > MOST_TEXT or (isinstance(value, str) and len(value) > MOST_TEXT)
        ]
        if found:
            return found
        reserved = RESERVED.get(event.name)
        if reserved is not None:
            found += reserved.problems(event.properties)
        rule = self.events.get(event.name)
        if rule is not None:
            whole = msgspec.structs.replace(rule, properties=self._named(rule))
            found += [one for one in whole.problems(event.properties) if one not in found]
        elif reserved is None and self.unknown == "refuse":
            known_names = {*self.events, *RESERVED}
            return [f"the plan has no event {event.name!r:.60}; {nearest(event.name, known_names)}"]
        if event.name == "preference-set" and not found:
            found += problems_of(event.properties, self.answerable)
        if self.events:
            found += self._exposed(rule, event.properties)
        return found

    def kept(self, event: Event) -> dict[str, Value]:
        """Give the properties of an event that are kept of it, by name."""
        rule = self.events.get(event.name) or EventRule(name=event.name, extra="keep")
        named = self._named(rule)
        return {
            name: value
            for name, value in sorted(event.properties.items())
            if (rule.extra != "drop" if name not in named else not named[name].pii)
        }

    def shown(self, event: Event) -> dict[str, Value]:
        """Give what is kept of an event that is set aside: all but what is about somebody's person.

        That is to find a sender's mistake by, and an address that was sent by mistake is one.
        """
        named = self._named(self.events.get(event.name) or EventRule(name=event.name))
        return {
            name: value
            for name, value in sorted(event.properties.items())
            if not (name in named and named[name].pii) and not _is_address(value)
        }

    def attribute_problem(self, name: str, value: object) -> str | None:
        """Say what is wrong with an attribute's value; one that is not named may be anything."""
        rule = self.answerable.get(name)
        return None if rule is None else rule.problem(f"attribute {name}", value)

    def _named(self, rule: EventRule) -> dict[str, PropertyRule]:
        """Give the properties that a rule names, and those of the event itself where reserved."""
        reserved = RESERVED.get(rule.name)
        return rule.properties if reserved is None else {**reserved.properties, **rule.properties}

    def _exposed(self, rule: EventRule | None, properties: Mapping[str, object]) -> list[str]:
        """Name the properties that hold an e-mail address where nobody said that they would."""
        named = {} if rule is None else rule.properties
        return [
            f"{name!r:.60} holds an e-mail address: set pii = true for it, or do not send it"
            for name, value in properties.items()
            if _is_address(value) and not (name in named and named[name].pii)
        ]


def _is_address(value: object) -> bool:
    return isinstance(value, str) and _EMAIL.fullmatch(value.strip()) is not None


_SAID = {"text": "text", "number": "a number", "flag": "true or false", "texts": "a list of texts"}
_ID = PropertyRule(kind="text", longest=128)
_NEEDED = PropertyRule(kind="text", longest=128, required=True)
_FLAG = PropertyRule(kind="flag")
_ASKED = {"purpose": _NEEDED, "channel": _ID, "campaign": _ID}

RESERVED: dict[str, EventRule] = {
    rule.name: rule
    for rule in (
        # Another system sent something: it counts against the caps.
        EventRule(
            name="message-sent",
            properties={
                "system": _NEEDED,
                "channel": _ID,
                "purpose": _ID,
                "campaign": _ID,
                "id": _ID,
            },
            extra="keep",
        ),
        EventRule(
            name="purchase",
            properties={
                "product": _ID,
                "category": _ID,
                "quantity": PropertyRule(kind="number"),
                "price": PropertyRule(kind="number"),
            },
            extra="keep",
        ),
        EventRule(name="optin-shown", properties=_ASKED, extra="keep"),
        EventRule(name="optin-later", properties=_ASKED, extra="keep"),
        EventRule(name="optin-accepted", properties=_ASKED, extra="keep"),
        EventRule(name="optin-declined", properties=_ASKED, extra="keep"),
        # A person said what they want: an attribute and its value, or a row of preferences.
        EventRule(
            name="preference-set",
            properties={
                "attribute": _ID,
                "value": PropertyRule(),
                "topic": _ID,
                "channel": _ID,
                "place": _ID,
                "allow": _FLAG,
                "days": PropertyRule(kind="text", longest=40),
                "from": PropertyRule(kind="text", longest=5),
                "to": PropertyRule(kind="text", longest=5),
            },
        ),
    )
}
"""The events that the engine itself understands; a plan may say more of them, never less."""

RESERVED_ATTRIBUTES: dict[str, AttributeRule] = {
    rule.name: rule
    for rule in (
        AttributeRule(
            name="inbox_minutes",
            kind="number",
            one_of=(1, 5, 10, 30, 60),
            editable=True,
            ask={
                "en": "How often may your app look for offers? (minutes)",
                "fr": "À quel rythme votre appli peut-elle chercher des offres ? (minutes)",
                "de": "Wie oft darf Ihre App nach Angeboten sehen? (Minuten)",
                "es": "¿Cada cuánto puede su aplicación buscar ofertas? (minutos)",
            },
        ),
    )
}
"""Attributes that the engine itself goes by, and that people may set; a plan may say otherwise."""

NO_PLAN = Plan()
"""Where nobody agreed on anything, events are kept as they come."""


def parse_plan(text: str, name: str = "plan") -> Plan:
    """Read the text of a tagging plan.

    Raises ProximityError with every problem at once, each led by ``name`` and the event's name.
    """
    top = TomlTable(parse_toml(text, name), name)
    unknown = top.choice("unknown", UNKNOWN) or "refuse"
    events: dict[str, EventRule] = {}
    for item in _named(top, "event"):
        rule = _read_event(item)
        if rule.name in events:
            item.fault("two events have this name; give each its own")
        events[rule.name] = rule
    attributes: dict[str, AttributeRule] = {}
    for item in _named(top, "attribute"):
        found = _read_attribute(item)
        if found.name in attributes:
            item.fault("two attributes have this name; give each its own")
        attributes[found.name] = found
    if len(events) + len(attributes) > _MOST_RULES:
        top.fault(f"{len(events) + len(attributes)} rules are too many, at most {_MOST_RULES}")
    top.finish()
    if top.problems:
        raise ProximityError(*top.problems)
    return Plan(
        events=events,
        attributes=attributes,
        unknown=unknown,  # type: ignore[arg-type]  # one of UNKNOWN
        version=digest(text),
    )


def _named(top: TomlTable, key: str) -> list[TomlTable]:
    """Read a list of tables that are told apart by their name."""
    items = top.children(key)
    for item in items:
        name = item.table.get("name")
        if isinstance(name, str) and name:
            item.where = f"{top.where}: {key} {name!r:.80}"
    return items


def _read_event(item: TomlTable) -> EventRule:
    name = _read_name(item)
    item.text("about")  # for people
    listed = item.child("properties")
    properties: dict[str, PropertyRule] = {}
    for one, said in listed.table.items():
        # `price = "number"` says all that most properties need.
        written = said if isinstance(said, dict) else {"type": said}
        rule = TomlTable(written, f"{item.where}: property {one!r:.60}", item.problems)
        rule.text("about")
        properties[one] = PropertyRule(
            required=rule.flag("required", default=False), **_read_rule(rule, KINDS)
        )
        rule.finish()
    if len(properties) > MOST_PROPERTIES:
        item.fault(f"{len(properties)} properties are too many, at most {MOST_PROPERTIES}")
    extra = item.choice("extra", EXTRAS) or "refuse"
    item.finish()
    return EventRule(
        name=name,
        properties=properties,
        extra=extra,  # type: ignore[arg-type]  # one of EXTRAS
    )


def _read_attribute(item: TomlTable) -> AttributeRule:
    name = _read_name(item)
    item.text("about")
    ask = item.child("ask").table
    for language, text in ask.items():
        if not isinstance(text, str) or not text.strip():
            item.fault(f"ask.{language!s:.35} must be the question in that language")
    rule = AttributeRule(
        name=name,
        editable=item.flag("editable", default=bool(ask)),
        ask={language: text for language, text in ask.items() if isinstance(text, str)},
        **_read_rule(item, ATTRIBUTE_KINDS),
    )
    if rule.ask and not rule.editable:
        item.fault("ask says that people are asked, and editable that they may not answer")
    item.finish()
    return rule


def _read_name(item: TomlTable) -> str:
    name = item.identity("name")
    if name is None and not item.table.get("name"):
        item.fault("name is missing")
    return name or ""


def _read_rule(item: TomlTable, kinds: tuple[str, ...]) -> dict[str, Any]:
    """Read what all rules of values have in common."""
    kind = item.choice("type", kinds)
    if kind is None and not item.has("type"):
        item.fault(f"type is missing: it is one of {', '.join(kinds)}")
    least = item.number("least", -_MOST_NUMBER, least=-_MOST_NUMBER, most=_MOST_NUMBER)
    most = item.number("most", _MOST_NUMBER, least=-_MOST_NUMBER, most=_MOST_NUMBER)
    if least > most:
        item.fault("least is more than most, so that no number fits")
    return {
        "kind": kind,
        "one_of": _read_choices(item, kind),
        "least": least,
        "most": most,
        "longest": item.whole("longest", MOST_TEXT, least=1, most=MOST_TEXT),
        "pii": item.flag("pii", default=False),
    }


def _read_choices(item: TomlTable, kind: str | None) -> tuple[Value, ...]:
    if not item.has("one_of"):
        return ()
    values = item.table["one_of"]
    wanted = "text" if kind == "texts" else kind
    if not isinstance(values, list) or not values or len(values) > _MOST_RULES:
        item.fault(f"one_of must be a list of 1 to {_MOST_RULES} values")
        return ()
    if any(_kind(one) != wanted for one in values):
        item.fault(f"one_of must hold what its type says: {_SAID.get(wanted or '', 'values')}")
        return ()
    return tuple(values)


def _kind(value: object) -> str | None:
    """Name the kind of a value; None where it is none of them."""
    if isinstance(value, str):
        return "text"
    if isinstance(value, bool):
        return "flag"
    if isinstance(value, int | float):
        # A whole number may be of thousands of digits, which no float holds.
        return "number" if abs(value) <= sys.float_info.max else None
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return "texts"
    return None


def _bounds(least: float, most: float) -> str:
    if least <= -_MOST_NUMBER:
        return f"at most {most:g}"
    return f"at least {least:g}" if most >= _MOST_NUMBER else f"from {least:g} to {most:g}"
