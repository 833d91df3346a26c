"""Every store keeps addresses while they live, and knows those that are dead."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import pytest
from msgspec.structs import replace

from proximity.model import Endpoint, Person
from proximity.people import endpoints, profiles
from proximity.people.endpoints import MOST_ENDPOINTS
from proximity.people.people import People
from proximity.store import schema

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from proximity.store import Store

T = TypeVar("T")
PHONE = Endpoint(channel="fcm", address="token-1", registered_at=5.0)
MAIL = Endpoint(channel="email", address="anna@example.test", registered_at=5.0)


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
