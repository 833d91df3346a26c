"""What is admitted, how exactly, and of whom nothing is, ever again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proximity.consent.objections import bury, lift
from proximity.consent.precision import blur
from proximity.engine.intake import Intake
from proximity.ingest.admission import Admission
from proximity.model import Beacon, Consent, Event, Fix, Person, Sighting
from proximity.people.people import People
from proximity.site.registry import Site
from proximity.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proximity.model import Record

NOW = 1_700_000_000.0
STORE = Store.open(":memory:")  # of the examples that are many; each begins with nobody in it
LON, LAT = 2.3512345678, 48.8567891234
BEACON = Beacon(
    format="ibeacon", uuid="f7826da6-4fa2-4e98-8024-bc5b71e0893e", major=1, minor=2
)  # fmt: skip


@pytest.fixture
def store() -> Iterator[Store]:
    opened = Store.open(":memory:")
    yield opened
    opened.close()


def admission(
    store: Store, *consents: Consent, consent: Literal["required", "assumed"] = "required"
) -> Admission:
    """Judge records of ann, who agreed to these."""
    people = People(store, clock=lambda: NOW)
    ann = Person(person="ann", subjects=("phone-a",), consents=consents)
    store.write(lambda c: people.put(c, ann)).result()
    people.reload()
    return Admission(people, Intake(), consent)


def fix(subject: str = "phone-a", at: float = NOW - 5.0, **fields: Any) -> Fix:
    return Fix(subject=subject, at=at, lon=LON, lat=LAT, accuracy_m=8.0, **fields)


def judged(door: Admission, *records: Record) -> tuple[list[Record], int, int]:
    taken, receipt = door.judge(records, None, Site(), NOW)
    return taken, receipt.accepted, receipt.unconsented


def test_a_fix_of_somebody_in_a_cell_is_kept_as_the_cell(store: Store) -> None:
    door = admission(store, Consent(purpose="location-background", precision="geohash-6"))
    first = fix(speed_mps=1.0, motion="still", altitude_m=35.0)
    taken, accepted, _ = judged(door, first, fix("stranger"))
    assert accepted == 1
    (kept,) = taken
    assert isinstance(kept, Fix)
    assert (kept.lon, kept.lat) == (blur(first).lon, blur(first).lat)
    assert (kept.received_at, kept.motion, kept.altitude_m) == (NOW, None, None)
    assert first.lon == LON, "the caller's own record stays as it is"
    _, receipt = door.judge([first], None, Site(), NOW)
    assert receipt.duplicate == 1, "the same again is a repeat, blurred or not"


def test_the_door_is_narrower_for_some_kinds_of_records(store: Store) -> None:
    sighting = Sighting(beacon=BEACON, at=NOW - 1, rssi_dbm=-60.0, subject="phone-a")
    event = Event(subject="phone-a", at=NOW - 1, name="purchase")
    for consents, kept in (
        ((Consent(purpose="service"),), {Fix, Event}),
        ((Consent(purpose="beacon"),), {Event}),
        ((Consent(purpose="location-precise", until=NOW - 9), Consent(purpose="service")), {Event}),
        ((Consent(purpose="location-precise", until=NOW - 9),), set()),
        ((), set()),
    ):
        fresh = Store.open(":memory:")
        taken, _, _ = judged(admission(fresh, *consents), fix(), event)
        assert {type(one) for one in taken} == kept
        fresh.close()
    # Sightings of beacons that nobody enrolled are nobody's, whoever heard them.
    taken, accepted, unconsented = judged(admission(store, Consent(purpose="beacon")), sighting)
    assert (taken, accepted, unconsented) == ([], 0, 1)


@pytest.mark.parametrize("consent", ["required", "assumed"])
def test_a_late_record_brings_nobody_back(
    store: Store, consent: Literal["required", "assumed"]
) -> None:
    door = admission(store, Consent(purpose="service"), consent=consent)
    assert judged(door, fix())[1:] == (1, 0)
    people = People(store)

    def erase(connection: Any) -> None:
        people.remove(connection, "ann")
        bury(connection, ["ann", "phone-a"], at=NOW, source="request")

    store.write(erase).result()
    door._people.reload()
    for late in (fix(at=NOW - 4), fix("ann", NOW - 3)):
        assert judged(door, late) == ([], 0, 1)
    other = judged(door, fix("phone-b"))[1:]
    assert other == ((1, 0) if consent == "assumed" else (0, 1))
    assert judged(door, fix(at=NOW - 2))[1:] == (0, 1)  # remembered, and the same answer


@pytest.mark.parametrize("consent", ["required", "assumed"])
def test_nothing_of_theirs_follows_while_they_leave(
    store: Store, consent: Literal["required", "assumed"]
) -> None:
    """A record that came in between would be journalled after the row that forgets them."""
    door = admission(store, Consent(purpose="service"), consent=consent)
    door.leaving.add("phone-a")
    assert judged(door, fix()) == ([], 0, 1)
    door.leaving.clear()
    assert judged(door, fix())[1:] == (1, 0)


def test_who_came_back_may_use_the_phone_they_had(store: Store) -> None:
    door = admission(store, consent="assumed")
    people = People(store, clock=lambda: NOW)

    def leave(connection: Any) -> None:
        people.remove(connection, "ann")
        bury(connection, ["ann", "phone-a"], at=NOW, source="request")

    def come_back(connection: Any) -> None:
        lift(connection, "ann", "erased")
        people.put(connection, Person(person="ann", subjects=("phone-a",)))

    store.write(leave).result()
    door._people.reload()
    assert judged(door, fix()) == ([], 0, 1)
    store.write(come_back).result()
    door._people.reload()
    assert judged(door, fix())[1:] == (1, 0)


PURPOSES = ["marketing", "service", "location-background", "location-precise", "beacon"]


@settings(deadline=None, max_examples=50)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["yes", "no"]),
            st.sampled_from([*PURPOSES, None]),
            st.sampled_from([None, "geohash-6", "venue"]),
        ),
        max_size=8,
    )
)
def test_random_histories_let_in_what_stands_and_nothing_else(
    history: list[tuple[str, str | None, Literal["geohash-6", "venue"] | None]],
) -> None:
    """Against a plain model: a set of purposes that stand, and how exact each of them is."""
    store = STORE
    people = People(store, clock=lambda: NOW)
    stands: dict[str, list[str | None]] = {}
    spoken: set[str] = set()

    def live(connection: Any) -> None:
        people.remove(connection, "ann")
        for number, (what, purpose, precision) in enumerate(history):
            at = NOW - 1000.0 + number
            if what == "no":
                people.withdraw(connection, "ann", purpose, at=at)
                for one in list(stands) if purpose is None else [purpose]:
                    stands.pop(one, None)
                spoken.update({purpose} if purpose is not None else ())
            elif purpose is not None:
                said = Consent(purpose=purpose, since=at, precision=precision)
                people.grant(connection, "ann", said, "test")
                stands.setdefault(purpose, []).append(precision)
                spoken.add(purpose)

    store.write(live).result()
    people.reload()
    taken, accepted, _ = judged(Admission(people, Intake(), "required"), fix("ann"))
    located = {"location-background", "location-precise", "beacon"}
    grades = [
        2 if one is None else {"geohash-6": 1, "venue": 0}[one]
        for purpose in ("location-background", "location-precise")
        for one in stands.get(purpose, ())
    ]
    if not stands:
        expected = None
    elif not spoken & located:
        expected = 2
    elif not grades or max(grades) == 0:
        expected = None
    elif "location-precise" in spoken and "location-precise" not in stands:
        expected = 1
    else:
        expected = max(grades)
    assert accepted == (expected is not None)
    if expected is not None:
        (kept,) = taken
        assert isinstance(kept, Fix)
        assert ((kept.lon, kept.lat) == (LON, LAT)) == (expected == 2)
