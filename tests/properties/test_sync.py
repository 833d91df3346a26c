"""Stores that are kept alike come to the same people, whatever is lost, doubled or late; then rest.

Each store is real. A link reads the feed of one and writes it to another, in batches cut anywhere;
it may crash before it has noted how far it is, and a batch may come again much later.
"""

from __future__ import annotations

import random
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proximity.consent import objections
from proximity.model import Consent, Endpoint, Person, Preference
from proximity.people import endpoints, profiles
from proximity.people.people import People
from proximity.privacy import erasing
from proximity.privacy.notices import acknowledge
from proximity.store import Store
from proximity.sync import feed, peers
from proximity.sync.fields import DEFAULT_OWNERS
from proximity.sync.merge import Item
from proximity.sync.taking import erasures_in, take

START = 1_800_000_000.0
PEOPLE = ("ann", "bob")
SUBJECTS = ("s1", "s2", "s3")
OWNERS = {**DEFAULT_OWNERS, "attributes.tier": "a"}
YES = Consent(purpose="service")


class Side:
    """One store with a clock of its own, which may be wrong, and its name."""

    def __init__(self, name: str, others: list[str], skew_s: float) -> None:
        self.name = name
        self.now = START + skew_s
        self.store = Store.open(":memory:")
        self.people = People(self.store, lambda: self.now)
        for other in others:
            self.store.write(lambda c, o=other: peers.admit(c, o, self.now)).result()  # type: ignore[misc]

    def put(self, person: str, changes: dict[str, Any]) -> None:
        def write(conn: Any) -> None:
            before = self.people.read(conn, person)
            after = msgspec.structs.replace(before, consents=(YES,), **changes)
            self.people.put_all(conn, [after], source=self.name)

        self.store.write(write).result()

    def prefer(self, person: str, *topics: str) -> None:
        said = [Preference(allow=False, topic=one) for one in topics]

        def write(conn: Any) -> None:
            if self.people.read(conn, person).consents and not objections.erased(conn, person):
                self.people.prefer(conn, person, said)

        self.store.write(write).result()

    def reached(self, person: str, channel: str, address: str) -> None:
        one = Endpoint(channel=channel, address=address)

        def write(conn: Any) -> None:
            if any(c.holds(self.now) for c in self.people.read(conn, person).consents):
                self.people.moved(conn, endpoints.add(conn, person, one, self.now))

        self.store.write(write).result()

    def agree(self, person: str, purpose: str) -> None:
        def write(conn: Any) -> None:
            if not objections.erased(conn, person):
                one = Consent(purpose=purpose, since=self.now)
                self.people.grant(conn, person, one, self.name)

        self.store.write(write).result()

    def withdraw(self, person: str, purpose: str | None) -> None:
        self.store.write(
            lambda c: self.people.withdraw(c, person, purpose, at=self.now, source=self.name)
        ).result()

    def erase(self, person: str) -> None:
        def write(conn: Any) -> None:
            if not objections.erased(conn, person):
                erasing.begin(conn, self.people, person, now=self.now, source="request")

        self.store.write(write).result()

    def page(self, reader: str, after: int, limit: int) -> feed.Page:
        return self.store.read(lambda c: feed.page(c, self.people, after, limit, reader=reader))

    def take(self, sender: str, items: list[Item]) -> int:
        def write(conn: Any) -> int:
            count = 0
            for one in erasures_in(conn, items, sender):
                source = f"sync:{sender}"
                erasing.begin(conn, self.people, one.person, now=self.now, source=source)
                count += 1
            told = take(conn, self.people, items, sender=sender, now=self.now, owners=OWNERS)
            return told.changed + count

        return self.store.write(write).result()

    def acknowledge(self, reader: str, items: list[Item]) -> None:
        for one in items:
            name = one.id
            if one.erased_at is not None and name is not None:
                self._acknowledge(name, reader)

    def _acknowledge(self, name: str, reader: str) -> None:
        self.store.write(lambda c: acknowledge(c, name, reader, now=self.now)).result()

    def known(self) -> dict[str, Any]:
        """Everybody as a reader finds them at the end; of who agrees to nothing, no more than that.

        What one side knows of them from before their no is not told to another.
        """

        def read(conn: Any) -> dict[str, Any]:
            found = {}
            for name in PEOPLE:
                one = self.people.read(conn, name)
                record = profiles.read(conn, name)
                agreed = {c.purpose for c in one.consents if c.holds(START + 1e6)}
                found[name] = (
                    objections.erased(conn, name),
                    objections.objected(conn, name),
                    one.subjects,
                    None if not agreed or record == profiles.Known() else record,
                    agreed,
                )
            return found

        return self.store.read(read)


class Links:
    """Every way from one side to another, with how far each is and what it carried before."""

    def __init__(self, sides: list[Side]) -> None:
        self.sides = sides
        self.at = {(a.name, b.name): 0 for a in sides for b in sides if a is not b}
        self.sent: list[tuple[Side, str, list[Item]]] = []

    def carry(self, source: Side, target: Side, limit: int, *, crash: bool) -> int:
        key = source.name, target.name
        found = source.page(target.name, self.at[key], limit)
        items = list(found.items)
        changed = target.take(source.name, items)
        self.sent.append((target, source.name, items))
        if not crash:
            self.at[key] = int(found.cursor)
            source.acknowledge(target.name, items)
        return changed

    def again(self, number: int) -> None:
        """Deliver once more what was delivered at some time before."""
        if self.sent:
            target, sender, items = self.sent[number % len(self.sent)]
            target.take(sender, items)

    def rounds_until_quiet(self) -> int:
        for number in range(30):
            moved = 0
            for side in self.sides:
                side.now += 1.0
            for source in self.sides:
                for target in self.sides:
                    if source is not target:
                        key = source.name, target.name
                        before = self.at[key]
                        while True:
                            moved += self.carry(source, target, 2, crash=False)
                            if not source.page(target.name, self.at[key], 1).items:
                                break
                        moved += self.at[key] != before
            if not moved:
                return number
        raise AssertionError("they tell each other things for ever")


def step(links: Links, draw: random.Random) -> None:
    side = draw.choice(links.sides)
    passed = draw.choice((0.0, 0.0005, 1.0, 7.0))
    for one in links.sides:
        one.now += passed
    person = draw.choice(PEOPLE)
    what = draw.randrange(13)
    if what < 3:
        kept = side.store.read(lambda c: side.people.read(c, person)).attributes
        name = draw.choice(("tier", "age"))
        value = draw.choice(({name: draw.randrange(3)}, {name: draw.choice("xy")}, {}))
        side.put(person, {"attributes": {k: v for k, v in kept.items() if k != name} | value})
    elif what == 3:
        side.put(person, {"languages": tuple(draw.sample(("fr", "en"), draw.randrange(3)))})
    elif what == 4:
        side.put(person, {"subjects": tuple(draw.sample(SUBJECTS, draw.randrange(3)))})
    elif what == 5:
        side.prefer(person, *draw.sample(("music", "sport"), draw.randrange(3)))
    elif what == 6:
        side.agree(person, draw.choice(("marketing", "social")))
    elif what == 7:
        side.withdraw(person, draw.choice(("marketing", "social", None)))
    elif what == 8:
        if draw.randrange(6) == 0:
            side.erase(person)
    elif what == 12:
        side.reached(person, "email", draw.choice(("x@a.example", "y@a.example")))
    elif what == 9:
        links.again(draw.randrange(1000))
    else:
        target = draw.choice([one for one in links.sides if one is not side])
        links.carry(side, target, draw.randrange(1, 4), crash=draw.random() < 0.3)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 2**32), count=st.integers(2, 3), steps=st.integers(5, 60),
    skew=st.sampled_from((0.0, 5.0, 100.0)),
)  # fmt: skip
def test_stores_with_random_edits_come_to_the_same_people_and_rest(
    seed: int, count: int, steps: int, skew: float
) -> None:
    draw = random.Random(seed)
    names = ["a", "b", "c"][:count]
    sides = [
        Side(name, [one for one in names if one != name], skew * place)
        for place, name in enumerate(names)
    ]
    links = Links(sides)
    for _ in range(steps):
        step(links, draw)
    links.rounds_until_quiet()
    first, *others = [side.known() for side in sides]
    for other in others:
        assert other == first
    # And nothing that was delivered before changes anything any more.
    for number in range(len(links.sent)):
        links.again(number)
    links.rounds_until_quiet()
    assert [side.known() for side in sides] == [first] * count


def test_a_person_is_whom_both_sides_made_of_them() -> None:
    a, b = Side("a", ["b"], 0.0), Side("b", ["a"], 0.0)
    links = Links([a, b])
    a.put("ann", {"attributes": {"tier": "gold"}, "timezone": "Europe/Paris"})
    b.put("ann", {"attributes": {"age": 40}, "languages": ("fr",)})
    links.rounds_until_quiet()
    expected = Person(
        person="ann", consents=(YES,), timezone="Europe/Paris", languages=("fr",),
        attributes={"tier": "gold", "age": 40},
    )  # fmt: skip
    for side in (a, b):
        assert side.store.read(lambda c, s=side: s.people.read(c, "ann")) == expected  # type: ignore[misc]


def test_a_device_that_became_somebody_elses_is_theirs_on_every_side() -> None:
    a, b = Side("a", ["b"], 0.0), Side("b", ["a"], 0.0)
    links = Links([a, b])
    for person in ("ann", "bob"):
        a.agree(person, "marketing")
    a.reached("ann", "fcm", "phone")
    links.rounds_until_quiet()
    having = {side.name: _having(side) for side in (a, b)}
    assert having == {"a": ["ann"], "b": ["ann"]}
    b.now = a.now = a.now + 60.0
    b.reached("bob", "fcm", "phone")
    links.rounds_until_quiet()
    assert [_having(side) for side in (a, b)] == [["bob"], ["bob"]]
    # What a said of ann before comes once more, and changes nothing.
    for number in range(len(links.sent)):
        links.again(number)
    links.rounds_until_quiet()
    assert [_having(side) for side in (a, b)] == [["bob"], ["bob"]]


def _having(side: Side) -> list[str]:
    """Name whose record has a device's address, by one side's store."""
    found = side.store.read(lambda c: side.people.read_all(c, PEOPLE))
    return [name for name, person in found.items() if person.endpoints]
