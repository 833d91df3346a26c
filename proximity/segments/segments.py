"""The question: how is a segment written in a file, and what is wrong with it.

Reads ``[[segment]]`` tables and a campaign's ``audience`` (``docs/segments.md`` names every form),
bounded in depth and size, every problem at once. Pure; what a rule means is ``rules``'.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from beacon_gateway.model import check_id
from proximity.segments.conditions import MOST_NAME, OPERATORS, Condition, read_conditions
from proximity.segments.rules import (
    EVER,
    All,
    AnyOf,
    Attribute,
    Bucket,
    Events,
    Member,
    Not,
    Rule,
    Visits,
    Wish,
)
from proximity.tomltable import TomlTable, nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from proximity.segments.rules import Counted

__all__ = ["FORMS", "Rule", "parse", "read_audience", "read_rule", "read_segments"]

MOST_DEPTH = 20
"""Rules within rules, other segments' included: nobody reads a sentence that is nested deeper."""
MOST_RULES = 500
"""Rules of one segment, other segments' included: every candidate may have to pass them all."""
MOST_SEGMENTS = 1000
_MOST_PROPERTIES = 20
_MOST_COUNT = 1000
"""How often is counted: a profile holds the newest 2,000 events and visits of a person."""
_MOST_WITHIN_S = 10 * 366 * 86400.0


def parse(table: Mapping[str, Any], where: str) -> tuple[Rule | None, list[str]]:
    """Read one rule; ``where`` leads every problem. The rule is None where there are any."""
    item = TomlTable(table, where)
    rule = read_rule(item, {})
    item.finish()
    return (None if item.problems else rule), item.problems


def read_segments(top: TomlTable) -> dict[str, Rule]:
    """Read all ``[[segment]]`` tables of a file by id; they may name each other in any order."""
    items = top.children("segment")
    if len(items) > MOST_SEGMENTS:
        top.fault(f"{len(items)} segments are more than {MOST_SEGMENTS}; leave out the unused")
        return {}
    written: dict[str, TomlTable] = {}
    for item in items:
        name = item.identity("id")
        item.text("about")  # for people
        if name is None:
            if "id" not in item.table:
                item.fault("id is missing")
        elif name in written:
            item.fault("two segments have this id; give each its own")
        else:
            written[name] = item
    reading = _Reading(written, {})
    for name in written:
        reading.named(name)
    return {name: rule for name, rule in reading.known.items() if rule is not None}


def read_rule(item: TomlTable, segments: Mapping[str, Rule]) -> Rule | None:
    """Read the rule that a table is; None where it is at fault. Other keys are the caller's."""
    return _Reading({}, dict(segments)).whole(item)


def read_audience(item: TomlTable, segments: Mapping[str, Rule]) -> Rule | None:
    """Read a campaign's ``audience``: a segment's id, or a rule; None where it is not written."""
    if not item.has("audience"):
        return None
    if isinstance(item.table["audience"], str):
        # As if it were written { segment = "…" }: one way to name a segment, and to miss it.
        named = {"segment": item.table["audience"]}
        rule = read_rule(TomlTable(named, f"{item.where}: audience", item.problems), segments)
    else:
        inner = item.child("audience")
        rule = read_rule(inner, segments)
        inner.finish()
    return rule


class _Reading:
    """Reads rules; ``known`` are the segments read so far, None where they are at fault."""

    def __init__(self, written: Mapping[str, TomlTable], known: Mapping[str, Rule | None]) -> None:
        self.written = written
        self.known = dict(known)
        self._within: list[str] = []

    def named(self, name: str) -> Rule | None:
        """Read a segment with all that it names."""
        if name not in self.known:
            item = self.written[name]
            self._within.append(name)
            rule = self.whole(item)
            self._within.pop()
            item.finish()
            self.known[name] = rule
        return self.known[name]

    def whole(self, item: TomlTable) -> Rule | None:
        """Read a rule that stands by itself, and see that it is no larger than it may be."""
        rule = self.rule(item, 1)
        if rule is not None and rule.size > MOST_RULES:
            item.fault(f"it is made of {rule.size} rules, at most {MOST_RULES}: {_SPLIT}")
            return None
        if rule is not None and rule.depth > MOST_DEPTH:
            item.fault(f"its rules lie {rule.depth} deep, at most {MOST_DEPTH}: {_SPLIT}")
            return None
        return rule

    def rule(self, item: TomlTable, depth: int) -> Rule | None:
        """Read the rule that a table is, whichever form it has."""
        forms = [form for form in FORMS if item.has(form)]
        if depth > MOST_DEPTH:
            item.fault(f"rules lie more than {MOST_DEPTH} deep: {_SPLIT}")
            return None
        if len(forms) != 1:
            said = f"both {forms[0]} and {forms[1]}" if forms else "none of them"
            item.fault(f"a rule is one of {', '.join(FORMS)}; this has {said}")
            return None
        before = len(item.problems)
        rule = FORMS[forms[0]](self, item, depth)
        return rule if len(item.problems) == before else None

    def several(self, item: TomlTable, key: str, depth: int) -> tuple[Rule, ...]:
        """Read a list of rules."""
        items = item.children(key)
        if not items and item.table[key] == []:
            item.fault(f"{key} is empty: write at least one rule")
        if len(items) > MOST_RULES:
            item.fault(f"{key} has {len(items)} rules, at most {MOST_RULES}: {_SPLIT}")
            return ()
        return tuple(rule for one in items if (rule := self.inner(one, depth)) is not None)

    def inner(self, item: TomlTable, depth: int) -> Rule | None:
        """Read a rule within another one."""
        rule = self.rule(item, depth + 1)
        item.finish()
        return rule

    def all(self, item: TomlTable, depth: int) -> Rule | None:
        """Read ``{ all = [rule, …] }``."""
        return All(self.several(item, "all", depth))

    def any(self, item: TomlTable, depth: int) -> Rule | None:
        """Read ``{ any = [rule, …] }``."""
        return AnyOf(self.several(item, "any", depth))

    def no(self, item: TomlTable, depth: int) -> Rule | None:
        """Read ``{ not = rule }``."""
        rule = self.inner(item.child("not"), depth)
        return None if rule is None else Not(rule)

    def segment(self, item: TomlTable, _depth: int) -> Rule | None:
        """Read ``{ segment = "other" }``."""
        name = item.identity("segment")
        if name is None:
            return None
        if name in self._within:
            item.fault(f"segment {name!r:.60} is made of itself: {' > '.join(self._within)}")
        elif len(self._within) > MOST_DEPTH:
            item.fault(f"segments lie more than {MOST_DEPTH} deep in each other: {_SPLIT}")
        elif name not in self.written and name not in self.known:
            names = {*self.written, *self.known}
            item.fault(f"there is no segment {name!r:.60}; {nearest(name, names)}")
        else:
            rule = self.named(name)
            # Of one that is at fault its own problem tells.
            return None if rule is None else Member(name, rule)
        return None

    def attribute(self, item: TomlTable, _depth: int) -> Rule | None:
        """Read ``{ attribute = "tier", is = "gold" }``; several comparisons hold all."""
        name = _name(item, "attribute")
        rules = tuple(Attribute(name, one) for one in read_conditions(item))
        if not rules:
            item.fault(f"it compares with nothing: write one of {', '.join(OPERATORS)}")
            return None
        return rules[0] if len(rules) == 1 else All(rules)

    def preference(self, item: TomlTable, _depth: int) -> Rule | None:
        """Read ``{ preference = "yes", topic = "shoes" }``: ``yes``, ``no`` or ``unsaid``."""
        said = item.choice("preference", _SAID)
        about = {name: item.identity(name) for name in ("topic", "channel", "place")}
        return Wish(said=_SAID.get(said or ""), **about)

    def event(self, item: TomlTable, _depth: int) -> Rule | None:
        """Read ``{ event = "purchase", properties = { … }, within_s = …, at_least = … }``."""
        rule = Events(name=item.identity("event") or "", properties=_properties(item))
        return _counted(item, rule)

    def visited(self, item: TomlTable, _depth: int) -> Rule | None:
        """Read ``{ visited = "store-7", dwell_s = …, within_s = …, at_least = … }``."""
        place = item.identity("visited")
        return _counted(item, Visits(place=place, dwell_s=_seconds(item, "dwell_s", 0.0)))

    def tag(self, item: TomlTable, _depth: int) -> Rule | None:
        """Read the same of any place with a tag: ``{ tag = "cafe", … }``."""
        tag = item.identity("tag")
        return _counted(item, Visits(tag=tag, dwell_s=_seconds(item, "dwell_s", 0.0)))

    def bucket(self, item: TomlTable, _depth: int) -> Rule | None:
        """Read ``{ bucket = { seed = "autumn", from = 0, to = 0.1 } }``."""
        inner = item.child("bucket")
        seed = inner.identity("seed")
        if seed is None and "seed" not in inner.table:
            inner.fault("seed is missing: any text; the same one draws the same people")
        start = inner.number("from", 0.0, least=0.0, most=1.0)
        end = inner.number("to", 1.0, least=0.0, most=1.0)
        if not start < end:
            inner.fault(f"from {start:g} to {end:g} is nobody: from must be less than to")
        inner.finish()
        return Bucket(seed or "", start, end)


_SAID = {"yes": True, "no": False, "unsaid": None}
_SPLIT = "make it simpler, or use attributes that say the same"

FORMS: dict[str, Callable[[_Reading, TomlTable, int], Rule | None]] = {
    "all": _Reading.all,
    "any": _Reading.any,
    "not": _Reading.no,
    "attribute": _Reading.attribute,
    "preference": _Reading.preference,
    "event": _Reading.event,
    "visited": _Reading.visited,
    "tag": _Reading.tag,
    "bucket": _Reading.bucket,
    "segment": _Reading.segment,
}
"""Every form of a rule, by the key that it is known by."""


def _counted(item: TomlTable, rule: Counted) -> Rule:
    """Read how often, and since when; once at least where nothing else is said."""
    most = item.whole("at_most", 0, least=0, most=_MOST_COUNT) if item.has("at_most") else None
    least = item.whole("at_least", 0 if most is not None else 1, least=0, most=_MOST_COUNT)
    if most is None and least == 0:
        item.fault("at_least = 0 holds for everybody: leave the rule out")
    if most is not None and least > most:
        item.fault(f"at_least {least} is more than at_most {most}: nobody fits")
    within_s = _seconds(item, "within_s", EVER)
    kept = {name: getattr(rule, name) for name in rule.__struct_fields__}
    return type(rule)(**(kept | {"within_s": within_s, "least": least, "most": most}))


def _seconds(item: TomlTable, key: str, default: float) -> float:
    if not item.has(key):
        return default
    return item.number(key, default, least=0.001, most=_MOST_WITHIN_S)


def _name(item: TomlTable, key: str) -> str:
    """Read the name of an attribute: any text that can be asked for."""
    name = item.text(key)
    if name is not None and (len(name) > MOST_NAME or "\0" in name):
        item.fault(f"{key}: no attribute of such a name can be asked for: {MOST_NAME} characters")
    return name or ""


def _properties(item: TomlTable) -> tuple[tuple[str, Condition], ...]:
    """Read what is asked of an event's properties: a value it is, or a table of comparisons."""
    inner = item.child("properties")
    if len(inner.table) > _MOST_PROPERTIES:
        inner.fault(f"{len(inner.table)} properties are more than {_MOST_PROPERTIES}")
        return ()
    found: list[tuple[str, Condition]] = []
    for name, said in inner.table.items():
        if _property_fault(name):
            inner.fault(f"{name!r:.60}: {_property_fault(name)}")
            continue
        written = said if isinstance(said, dict) else {"is": said}
        one = TomlTable(written, f"{inner.where}: {name}", inner.problems)
        conditions = read_conditions(one)
        one.finish()
        if not written:
            one.fault(f"it compares with nothing: write one of {', '.join(OPERATORS)}")
        found.extend((name, condition) for condition in conditions)
    return tuple(found)


def _property_fault(name: str) -> str | None:
    """Say why a property of this name cannot be asked for; None where it can."""
    try:
        check_id(name, "a property's name")
    except ValueError as error:
        return str(error)
    # SQLite finds a key within JSON by a path in which these two cannot be written.
    return "a name with a quote or a backslash cannot be asked for" if {*'"\\'} & {*name} else None
