"""The question: which people does a rule mean, and how is that said in a sentence.

A rule is a tree of frozen values. ``matches`` is compiled to closures once, since it is asked of
every candidate; ``sql`` asks the same of a whole store and gives the same answer. Pure: how
a rule is written in a file is ``segments``'.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec

from proximity.segments.conditions import NUL, Condition, quoted, searchable

if TYPE_CHECKING:
    from proximity.model import Person
    from proximity.people.facts import Profile, Stay

__all__ = [
    "All", "AnyOf", "Attribute", "Bucket", "Counted", "Events", "Member", "Not", "Rule", "Visits",
    "Wish", "bucket_edge", "bucket_hash",
]  # fmt: skip

Matches = Callable[["Person", "Profile", float], bool]

EVER = math.inf


class Rule(msgspec.Struct, frozen=True, dict=True):
    """Some people, told from all others. Make one with ``segments.parse``."""

    @cached_property
    def matches(self) -> Matches:
        """Whether it means a person: call it with person, profile and now (Unix seconds)."""
        return self.compiled()

    @cached_property
    def size(self) -> int:
        """How many rules it is made of, itself included."""
        return 1 + sum(part.size for part in self.parts())

    @cached_property
    def depth(self) -> int:
        """How many rules lie within each other, itself included."""
        return 1 + max((part.depth for part in self.parts()), default=0)

    def sentence(self) -> str:
        """Say whom it means, in English."""
        return f"People {self.phrase()}."

    def back_s(self) -> float | None:
        """Tell how many seconds of a person's profile it looks back on, or infinity.

        None: at nothing of it.
        """
        found = [back for part in self.parts() if (back := part.back_s()) is not None]
        return max(found, default=None)

    def explain(self, person: Person, profile: Profile, now: float) -> dict[str, Any]:
        """Say whether it means a person, and what was found, rule by rule; JSON-able."""
        record: dict[str, Any] = {
            "rule": self.phrase(),
            "holds": self.matches(person, profile, now),
            **self.found(person, profile, now),
        }
        parts = [part.explain(person, profile, now) for part in self.parts()]
        return record | {"of": parts} if parts else record

    def watched(self) -> tuple[frozenset[str], frozenset[str]]:
        """Give the places and the tags whose visits it looks at."""
        pairs = [part.watched() for part in self.parts()]
        return (
            frozenset[str]().union(*(places for places, _ in pairs)),
            frozenset[str]().union(*(tags for _, tags in pairs)),
        )

    def parts(self) -> tuple[Rule, ...]:
        """Give the rules that it is made of."""
        return ()

    def found(self, person: Person, profile: Profile, now: float) -> dict[str, Any]:  # noqa: ARG002 - of a rule of rules nothing is found
        """Give the numbers or texts that it judged by."""
        return {}

    def compiled(self) -> Matches:
        """Make the function that ``matches`` is."""
        raise AssertionError(f"{type(self).__name__} says nothing")

    def phrase(self) -> str:
        """Say whom it means, to follow "people"."""
        raise AssertionError(f"{type(self).__name__} says nothing")

    def negation(self) -> str:
        """Say whom it does not mean, to follow "people"."""
        return f"not ({self.phrase()})"


class All(Rule, frozen=True):
    """Those whom every one of the rules means."""

    rules: tuple[Rule, ...]

    def parts(self) -> tuple[Rule, ...]:
        """Give the rules that it is made of."""
        return self.rules

    def compiled(self) -> Matches:
        """Make a function that asks until one says no."""
        tests = tuple(rule.matches for rule in self.rules)

        def every(person: Person, profile: Profile, now: float) -> bool:
            for test in tests:  # noqa: SIM110 - a generator costs as much as the tests
                if not test(person, profile, now):
                    return False
            return True

        return every

    def phrase(self) -> str:
        """Join them by "and"."""
        return _joined(self.rules, " and ")


class AnyOf(Rule, frozen=True):
    """Those whom at least one of the rules means."""

    rules: tuple[Rule, ...]

    def parts(self) -> tuple[Rule, ...]:
        """Give the rules that it is made of."""
        return self.rules

    def compiled(self) -> Matches:
        """Make a function that asks until one says yes."""
        tests = tuple(rule.matches for rule in self.rules)

        def some(person: Person, profile: Profile, now: float) -> bool:
            for test in tests:  # noqa: SIM110 - a generator costs as much as the tests
                if test(person, profile, now):
                    return True
            return False

        return some

    def phrase(self) -> str:
        """Join them by "or"."""
        return _joined(self.rules, " or ")


def _joined(rules: tuple[Rule, ...], word: str) -> str:
    """Join phrases, each group of several in parentheses of its own."""
    grouped = (All, AnyOf)
    return word.join(
        f"({rule.phrase()})" if isinstance(rule, grouped) and len(rule.rules) > 1 else rule.phrase()
        for rule in rules
    )


class Not(Rule, frozen=True):
    """All others than those whom the rule means."""

    rule: Rule

    def parts(self) -> tuple[Rule, ...]:
        """Give the rule that it turns round."""
        return (self.rule,)

    def compiled(self) -> Matches:
        """Make a function that says the contrary."""
        test = self.rule.matches
        return lambda person, profile, now: not test(person, profile, now)

    def phrase(self) -> str:
        """Say whom the rule does not mean."""
        return self.rule.negation()

    def negation(self) -> str:
        """Say whom the rule means: two turns are none."""
        return self.rule.phrase()


class Member(Rule, frozen=True):
    """Those of another segment, by its id."""

    segment: str
    rule: Rule

    def parts(self) -> tuple[Rule, ...]:
        """Give that segment's rule."""
        return (self.rule,)

    def compiled(self) -> Matches:
        """Give that segment's own function."""
        return self.rule.matches

    def phrase(self) -> str:
        """Name the segment."""
        return f"in segment {quoted(self.segment)}"

    def negation(self) -> str:
        """Name the segment that they are not in."""
        return f"not in segment {quoted(self.segment)}"


class Attribute(Rule, frozen=True):
    """Those with such a value of an attribute."""

    name: str
    condition: Condition

    def compiled(self) -> Matches:
        """Make a function that looks at the one attribute."""
        name, test = self.name, self.condition.test()
        return lambda person, _profile, _now: test(person.attributes.get(name))

    def found(self, person: Person, profile: Profile, now: float) -> dict[str, Any]:  # noqa: ARG002 - the profile is others'
        """Give the values that the person has."""
        return {"values": list(searchable(person.attributes.get(self.name)))}

    def phrase(self) -> str:
        """Say the attribute and what it is."""
        return f"whose {self.name} {self.condition.phrase()}"


class Wish(Rule, frozen=True, kw_only=True):
    """Those who said of a topic, a channel or a place that they want it, or do not, or nothing.

    It is the last of their preferences that speaks of all that is set here, at any hour; one that
    names hours says nothing of the others. ``said`` None: none of theirs speaks of it.
    """

    said: bool | None
    topic: str | None = None
    channel: str | None = None
    place: str | None = None

    def compiled(self) -> Matches:
        """Make a function that looks from the newest backwards."""
        said = self.said
        return lambda person, _profile, _now: self._answer(person) is said

    def found(self, person: Person, profile: Profile, now: float) -> dict[str, Any]:  # noqa: ARG002 - the profile is others'
        """Give what they said."""
        return {"said": self._answer(person)}

    def phrase(self) -> str:
        """Say what they said, of what."""
        about = [
            f"{name} {quoted(value)}"
            for name, value in (
                ("topic", self.topic), ("channel", self.channel), ("place", self.place)
            )
            if value is not None
        ]  # fmt: skip
        said = {True: "who said yes to", False: "who said no to", None: "who said nothing of"}
        return f"{said[self.said]} {' and '.join(about) or 'messages as such'}"

    def _answer(self, person: Person) -> bool | None:
        places = () if self.place is None else (self.place,)
        for row in reversed(person.preferences):
            if row.hours is None and row.names(self.topic, self.channel, places):
                return row.allow
        return None


class Counted(Rule, frozen=True, kw_only=True):
    """Those of whom something happened so many times in the last ``within_s`` seconds.

    At least ``least`` times and at most ``most``, None: any number of times.
    """

    within_s: float = EVER
    least: int = 0
    most: int | None = None

    def back_s(self) -> float | None:
        """Tell how far back it looks."""
        return self.within_s

    def compiled(self) -> Matches:
        """Make a function that counts no further than it needs to."""
        count, least, most = self.counter(), self.least, self.most
        enough = least if most is None else most + 1

        def counted(_person: Person, profile: Profile, now: float) -> bool:
            times = count(profile, now, enough)
            return least <= times and (most is None or times <= most)

        return counted

    def counter(self) -> Callable[[Profile, float, float], int]:
        """Make the function that counts until there are enough."""
        raise AssertionError(f"{type(self).__name__} counts nothing")

    def found(self, person: Person, profile: Profile, now: float) -> dict[str, Any]:  # noqa: ARG002 - it is the profile that is counted in
        """Give the count."""
        return {"times": self.counter()(profile, now, math.inf)}

    def times(self) -> str:
        """Say how often, and since when."""
        if self.most is None:
            often = "" if self.least == 1 else f" at least {_times(self.least)}"
        elif self.least == 0:
            often = f" at most {_times(self.most)}"
        elif self.least == self.most:
            often = f" exactly {_times(self.least)}"
        else:
            often = f" {self.least} to {_times(self.most)}"
        return often + self.since()

    def since(self) -> str:
        """Say how far back."""
        return "" if self.within_s == EVER else f" in the last {_span(self.within_s)}"


class Events(Counted, frozen=True, kw_only=True):
    """Those who did something, with such properties, so often."""

    name: str
    properties: tuple[tuple[str, Condition], ...] = ()

    def counter(self) -> Callable[[Profile, float, float], int]:
        """Make a function that counts from the newest backwards."""
        wanted, within_s = self.name, self.within_s
        tests = tuple((name, condition.test()) for name, condition in self.properties)

        def fits(properties: dict[str, Any]) -> bool:
            for name, test in tests:
                if not test(properties.get(name)):
                    return False
            return _readable(properties)

        def count(profile: Profile, now: float, enough: float) -> int:
            start, times = now - within_s, 0
            for one in reversed(profile.events):
                if one.at <= start or times >= enough:
                    break
                if one.name == wanted and one.at <= now and (not tests or fits(one.properties)):
                    times += 1
            return times

        return count

    def phrase(self) -> str:
        """Say the event, its properties, and how often."""
        done = quoted(self.name) + self._with()
        if self.most == 0:
            return f"who never did {done}{self.since()}"
        return f"who did {done}{self.times()}"

    def negation(self) -> str:
        """Say that they never did it, where once would have been enough."""
        if self.least == 1 and self.most is None:
            return f"who never did {quoted(self.name)}{self._with()}{self.since()}"
        return super().negation()

    def _with(self) -> str:
        said = [f"whose {name} {condition.phrase()}" for name, condition in self.properties]
        return f" ({' and '.join(said)})" if said else ""


def _readable(properties: dict[str, Any]) -> bool:
    """Whether every database can look into these properties: none holds what JSON writes as NUL."""
    for name, value in properties.items():
        if "\0" in name or NUL in name:
            return False
        if value.__class__ is str and ("\0" in value or NUL in value):
            return False
    return True


class Visits(Counted, frozen=True, kw_only=True):
    """Those who came to a place, or to any with a tag, so often, and stayed ``dwell_s`` seconds.

    Just one of ``place`` and ``tag`` is set. A visit belongs to when it began; that which goes on
    counts, with as long as it has lasted.
    """

    place: str | None = None
    tag: str | None = None
    dwell_s: float = 0.0

    def watched(self) -> tuple[frozenset[str], frozenset[str]]:
        """Give its place or its tag."""
        if self.tag is not None:
            return frozenset(), frozenset({self.tag})
        return frozenset({self.place or ""}), frozenset()

    def counter(self) -> Callable[[Profile, float, float], int]:
        """Make a function that counts from the newest backwards."""
        within_s, dwell_s, place, tag = self.within_s, self.dwell_s, self.place, self.tag

        def there(stay: Stay) -> bool:
            return stay.place == place if tag is None else tag in stay.tags

        def count(profile: Profile, now: float, enough: float) -> int:
            start, times = now - within_s, 0
            for stay in reversed(profile.visits):
                if stay.enter_at <= start or times >= enough:
                    break
                if stay.enter_at <= now and there(stay) and stay.dwell_s(now) >= dwell_s:
                    times += 1
            return times

        return count

    def phrase(self) -> str:
        """Say where, how often and how long."""
        if self.most == 0:
            return f"who never visited {self._where()}{self.since()}"
        return f"who visited {self._where()}{self.times()}"

    def negation(self) -> str:
        """Say that they never came, where once would have been enough."""
        if self.least == 1 and self.most is None:
            return f"who never visited {self._where()}{self.since()}"
        return super().negation()

    def _where(self) -> str:
        where = f"a place tagged {quoted(self.tag)}" if self.tag is not None else quoted(self.place)
        return where + (f" for {_span(self.dwell_s)} or longer" if self.dwell_s else "")


class Bucket(Rule, frozen=True):
    """A share of everybody, drawn by a hash: the same people for the same ``seed``, for ever.

    ``start`` to ``end`` (itself not included) are shares from 0 to 1.
    """

    seed: str
    start: float
    end: float

    def compiled(self) -> Matches:
        """Make a function that hashes the person's id."""
        seed, low, high = self.seed, bucket_edge(self.start), bucket_edge(self.end)

        def drawn(person: Person, _profile: Profile, _now: float) -> bool:
            return low <= bucket_hash(seed, person.person) < high

        return drawn

    def found(self, person: Person, profile: Profile, now: float) -> dict[str, Any]:  # noqa: ARG002 - it is the id that is hashed
        """Give the share at which the person lies."""
        first = int.from_bytes(bucket_hash(self.seed, person.person)[:8])
        return {"share": round(first / 2**64, 6)}

    def phrase(self) -> str:
        """Say which share."""
        return (
            f"drawn by {quoted(self.seed)} from {100 * self.start:g} % to {100 * self.end:g} % "
            "of everybody"
        )


def bucket_hash(seed: str, person: str) -> bytes:
    """Hash a person's id (SHA-256); hashes lie evenly, and compare as bytes do."""
    return hashlib.sha256(f"{seed}\x1f{person}".encode()).digest()


def bucket_edge(share: float) -> bytes:
    """Write a share as the least hash from which it is reached; above all hashes for 1."""
    edge = int(share * 2**64)
    return edge.to_bytes(8) if edge < 2**64 else b"\xff" * 33


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


_SPANS = ((86400.0, "day"), (3600.0, "hour"), (60.0, "minute"), (1.0, "second"))


def _span(seconds: float) -> str:
    """Say a length of time in the largest unit of which it is a whole number."""
    for length, unit in _SPANS:
        count = seconds / length
        if count >= 1 and count == int(count):
            return unit if count == 1 else f"{count:g} {unit}s"
    return f"{seconds:g} seconds"
