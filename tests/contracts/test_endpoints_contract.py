"""Every store keeps addresses while they live, a device's with one person, and knows the dead."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec
import pytest
import sqlalchemy as sa
from alembic import command
from msgspec.structs import replace

from proximity.model import Endpoint, Person
from proximity.people import endpoints, profiles
from proximity.people.endpoints import MOST_ENDPOINTS, MOVED
from proximity.people.people import People
from proximity.store import Store, migrations, schema
from proximity.sync import clocks

if TYPE_CHECKING:
    from sqlalchemy import Connection

T = TypeVar("T")
PHONE = Endpoint(channel="fcm", address="token-1", registered_at=5.0)
MAIL = Endpoint(channel="email", address="anna@example.test", registered_at=5.0)
GONE = sa.select(schema.gone_endpoints)


@pytest.fixture
def write(store: Store) -> Callable[[Callable[[Connection], T]], T]:
    return lambda act: store.write(act).result()


def left(store: Store) -> tuple[Endpoint, ...]:
    known = store.read(lambda c: profiles.read(c, "anna"))
    return () if known is None else known.endpoints


def test_an_address_is_kept_once_with_when_it_was_left(store: Store, write: Callable) -> None:
    plain = Endpoint(channel="fcm", address="token-1")
    write(lambda c: endpoints.add(c, "anna", plain, 7.0))
    assert left(store) == (replace(plain, registered_at=7.0),)
    write(lambda c: endpoints.add(c, "anna", plain, 9.0))
    assert left(store) == (replace(plain, registered_at=9.0),)


def test_a_dead_address_is_taken_out_and_its_like_does_not_come_back(
    store: Store, write: Callable
) -> None:
    write(lambda c: profiles.write(c, Person(person="anna", timezone="Europe/Paris")))
    for one in (PHONE, MAIL):
        write(lambda c, o=one: endpoints.add(c, "anna", o, 5.0))
    assert write(lambda c: endpoints.gone(c, "anna", PHONE, "UNREGISTERED", 8.0)) is True
    assert left(store) == (MAIL,)
    assert write(lambda c: endpoints.gone(c, "anna", PHONE, "UNREGISTERED", 9.0)) is False
    (dead,) = store.read(lambda c: endpoints.known_gone(c, "anna"))
    assert (dead.channel, dead.reason, dead.at) == ("fcm", "UNREGISTERED", 8.0)
    # A copy of old customers has it still: with its old date, or none.
    copied = (PHONE, replace(PHONE, registered_at=None), MAIL)
    assert store.read(lambda c: endpoints.living(c, "anna", copied)) == (MAIL,)
    assert store.read(lambda c: endpoints.living(c, "ben", copied)) == copied
    known = store.read(lambda c: profiles.read(c, "anna"))
    assert known is not None
    assert known.timezone == "Europe/Paris"
    # The address itself is nowhere: only a hash of it under the store's key.
    (row,) = store.read(lambda c: c.execute(schema.gone_endpoints.select()).all())
    assert "token-1" not in str(row)


def test_an_address_that_is_left_anew_lives(store: Store, write: Callable) -> None:
    write(lambda c: endpoints.add(c, "anna", PHONE, 5.0))
    write(lambda c: endpoints.gone(c, "anna", PHONE, "410", 8.0))
    anew = replace(PHONE, registered_at=10.0)
    assert store.read(lambda c: endpoints.living(c, "anna", (anew,))) == (anew,)
    write(lambda c: endpoints.add(c, "anna", anew, 10.0))
    assert left(store) == (anew,)
    assert store.read(lambda c: endpoints.known_gone(c, "anna")) == []
    # What a provider said of the one before says nothing of this one.
    assert write(lambda c: endpoints.gone(c, "anna", PHONE, "410", 11.0)) is False
    assert left(store) == (anew,)


def test_who_takes_an_address_back_is_not_reached_by_it(store: Store, write: Callable) -> None:
    write(lambda c: endpoints.add(c, "anna", PHONE, 5.0))
    assert write(lambda c: endpoints.remove(c, "anna", replace(PHONE, registered_at=None))) is True
    assert write(lambda c: endpoints.remove(c, "anna", PHONE)) is False
    assert write(lambda c: endpoints.remove(c, "nobody", PHONE)) is False
    assert write(lambda c: endpoints.gone(c, "nobody", PHONE, "410", 6.0)) is False
    assert left(store) == ()


def test_whoever_leaves_too_many_loses_the_first(store: Store, write: Callable) -> None:
    every = [Endpoint(channel="fcm", address=f"t-{n}") for n in range(MOST_ENDPOINTS + 2)]
    for number, one in enumerate(every):
        write(lambda c, o=one, n=number: endpoints.add(c, "anna", o, float(n)))
    assert [one.address for one in left(store)] == [one.address for one in every[2:]]


def test_a_copy_of_somebody_brings_what_lives_and_keeps_its_date(
    store: Store, write: Callable
) -> None:
    people = People(store, lambda: 20.0)
    undated = [replace(one, registered_at=None) for one in (PHONE, MAIL)]
    write(lambda c: people.put(c, Person(person="anna", endpoints=(PHONE,))))
    write(lambda c: people.put(c, Person(person="anna", endpoints=tuple(undated))))
    assert left(store) == (PHONE, replace(MAIL, registered_at=20.0))
    write(lambda c: endpoints.gone(c, "anna", PHONE, "410", 21.0))
    write(lambda c: people.put(c, Person(person="anna", endpoints=tuple(undated))))
    assert left(store) == (replace(MAIL, registered_at=20.0),)


def record_of(store: Store, person: str) -> tuple[Endpoint, ...]:
    known = store.read(lambda c: profiles.read(c, person))
    return () if known is None else known.endpoints


def holders(store: Store) -> list[str]:
    return list(store.read(lambda c: c.scalars(sa.select(schema.held_endpoints.c.person)).all()))


@pytest.mark.parametrize("channel", ["web-push", "fcm", "apns"])
def test_a_device_is_one_persons_at_a_time(store: Store, write: Callable, channel: str) -> None:
    phone = replace(PHONE, channel=channel)
    other = replace(phone, address="token-2")
    for one in (phone, other, MAIL):
        assert write(lambda c, o=one: endpoints.add(c, "anna", o, 5.0)) == {"anna"}
    lent = replace(phone, registered_at=9.0)
    assert write(lambda c: endpoints.add(c, "ben", lent, 9.0)) == {"anna", "ben"}
    assert left(store) == (other, MAIL)
    assert record_of(store, "ben") == (lent,)
    (dead,) = store.read(lambda c: endpoints.known_gone(c, "anna"))
    assert (dead.channel, dead.reason, dead.at) == (channel, MOVED, 9.0)
    # Old copies of both have it still: it stays where it was left last.
    people = People(store, lambda: 20.0)
    copies = [Person(person="anna", endpoints=(phone, other)), Person(person="ben")]
    write(lambda c: people.put_all(c, copies))
    assert (left(store), record_of(store, "ben")) == ((other,), (lent,))
    # Given back, it is theirs again, whatever stood there before.
    assert write(lambda c: endpoints.add(c, "anna", replace(phone, registered_at=None), 30.0)) == {
        "anna", "ben",
    }  # fmt: skip
    assert record_of(store, "ben") == ()
    assert sorted(one.address for one in left(store)) == ["token-1", "token-2"]
    assert [one.person for one in store.read(lambda c: c.execute(GONE).all())] == ["ben"]


def test_a_mailbox_may_be_a_familys(store: Store, write: Callable) -> None:
    for person in ("anna", "ben"):
        write(lambda c, p=person: endpoints.add(c, p, MAIL, 5.0))
    assert left(store) == record_of(store, "ben") == (MAIL,)
    assert holders(store) == []


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("first", ["anna", "ben"])
def test_of_two_copies_the_one_that_was_left_last_has_the_device(
    store: Store, write: Callable, first: str, *, together: bool
) -> None:
    clock = iter(range(20, 99))
    people = People(store, lambda: float(next(clock)))
    late = replace(PHONE, registered_at=8.0)
    copies = [Person(person="anna", endpoints=(PHONE,)), Person(person="ben", endpoints=(late,))]
    copies = copies if first == "anna" else copies[::-1]
    for _night in range(2):
        for some in [copies] if together else [[one] for one in copies]:
            write(lambda c, s=some: people.put_all(c, s))
        assert (left(store), record_of(store, "ben")) == ((), (late,))
        assert holders(store) == ["ben"]
        (dead,) = store.read(lambda c: endpoints.known_gone(c, "anna"))
        assert (dead.reason, dead.at) == (MOVED, 8.0)
    # Who had it before has it no more, though who has it now goes.
    write(lambda c: people.remove(c, "ben"))
    assert holders(store) == []
    write(lambda c: people.put_all(c, copies[:1] if first == "anna" else copies[1:]))
    assert left(store) == ()
    # Left anew by then, it is theirs.
    anew = replace(PHONE, registered_at=9.0)
    write(lambda c: people.put(c, Person(person="anna", endpoints=(anew,))))
    assert left(store) == (anew,)


def test_followers_are_told_who_lost_a_device(store: Store, write: Callable) -> None:
    people = People(store, lambda: 20.0)
    write(lambda c: people.put(c, Person(person="anna", endpoints=(PHONE,))))
    before = people.get("anna")
    assert before is not None
    assert before.endpoints == (PHONE,)
    number = store.read(clocks.latest)
    late = replace(PHONE, registered_at=8.0)
    write(lambda c: people.put(c, Person(person="ben", endpoints=(late,))))
    assert people.reload()
    after = people.get("anna")
    assert after is not None
    assert after.endpoints == ()
    changed = sa.select(schema.changes.c.person).where(schema.changes.c.seq > number)
    assert set(store.read(lambda c: c.scalars(changed).all())) == {"anna", "ben"}


def test_what_is_gone_or_taken_back_is_held_by_nobody(store: Store, write: Callable) -> None:
    people = People(store, lambda: 20.0)
    for end in (
        lambda c: endpoints.gone(c, "anna", PHONE, "410", 8.0),
        lambda c: endpoints.remove(c, "anna", PHONE),
        lambda c: people.put(c, Person(person="anna", endpoints=(MAIL,))),
        lambda c: people.remove(c, "anna"),
    ):
        write(lambda c: endpoints.add(c, "anna", PHONE, 5.0))
        assert holders(store) == ["anna"]
        write(end)
        assert holders(store) == []


def test_two_who_leave_one_device_at_once(target: str, store: Store) -> None:
    """Whoever comes last has it, and only they do, whichever process wrote it down."""
    stores = [store] if target == ":memory:" else [store, Store.open(target), Store.open(target)]
    names = ("anna", "ben", "cleo")

    def leave(number: int, turn: int) -> None:
        mine, person = stores[number % len(stores)], names[number]
        people = People(mine, lambda: 10.0 + turn)
        own = Endpoint(channel="fcm", address=f"{person}-{turn}")
        if turn % 3:
            act = lambda c: people.moved(c, endpoints.add(c, person, PHONE, 10.0 + turn))  # noqa: E731
        else:
            one = Person(person=person, endpoints=(PHONE, own))
            act = lambda c: people.put(c, one)  # noqa: E731
        mine.write(act).result()

    with ThreadPoolExecutor(len(names)) as pool:
        for turn in range(12):
            for done in [pool.submit(leave, number, turn) for number in range(len(names))]:
                done.result()
            having = [
                name for name in names
                if "token-1" in {one.address for one in record_of(store, name)}
            ]  # fmt: skip
            assert len(having) == 1
            devices = [name for name in names for _ in record_of(store, name)]
            assert sorted(holders(store)) == devices
    for one in stores[1:]:
        one.close()


def test_an_older_store_gives_each_device_to_who_left_it_last(target: str, tmp_path: Path) -> None:
    if target.startswith("postgresql"):
        url = sa.make_url(target).set(drivername="postgresql+psycopg")
    else:
        target = str(tmp_path / "older.db")
        url = sa.URL.create("sqlite", database=target)
    late, undated = replace(PHONE, registered_at=8.0), replace(PHONE, registered_at=None)
    of = {"anna": (PHONE, MAIL), "ben": (late, MAIL), "cleo": (undated,), "dan": (MAIL,), "eve": ()}
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        command.upgrade(migrations.configuration(connection), "0006")
        rows = [
            {
                "person": name,
                "record": msgspec.json.encode(
                    profiles.Known(timezone="Europe/Paris", endpoints=some)
                ).decode(),
            }
            for name, some in of.items()
        ]
        connection.execute(schema.people.insert(), [*rows, {"person": "fay", "record": "{"}])
    engine.dispose()
    store = Store.open(target)
    found = {name: record_of(store, name) for name in of}
    assert found == of | {"anna": (MAIL,), "cleo": ()}
    assert holders(store) == ["ben"]
    for name in ("anna", "cleo"):
        (dead,) = store.read(lambda c, n=name: endpoints.known_gone(c, n))
        assert (dead.channel, dead.reason, dead.at) == ("fcm", MOVED, 8.0)
    known = store.read(lambda c: profiles.read(c, "anna"))
    assert known is not None
    assert known.timezone == "Europe/Paris"
    # The hashes are those that are made from now on.
    store.write(lambda c: endpoints.add(c, "anna", PHONE, 9.0)).result()
    assert record_of(store, "ben") == (MAIL,)
    assert store.read(lambda c: endpoints.living(c, "cleo", (undated,))) == ()
    store.close()
