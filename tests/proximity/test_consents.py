"""What was said, what of it stands, and that importing a list brings nothing back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proximity.campaigns.purposes import LOCATION_PURPOSES
from proximity.campaigns.purposes import PURPOSES as MESSAGES
from proximity.consent.consents import (
    erase,
    grant,
    import_said,
    load_consents,
    rows_of,
    standing,
    withdraw,
)
from proximity.consent.objections import Erased, bury
from proximity.consent.precision import LOCATION
from proximity.consent.purposes import EVERYTHING, PURPOSES, unasked
from proximity.model import MOST_CONSENTS, Consent, Offer, ProximityError
from proximity.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Connection

NOW = 1_700_000_000.0
STORE = Store.open(":memory:")  # of the examples that are many; each begins with nobody in it


@pytest.fixture
def store() -> Iterator[Store]:
    opened = Store.open(":memory:")
    yield opened
    opened.close()


def write(store: Store, work: Callable[[Connection], Any]) -> Any:
    return store.write(work).result()


def say(store: Store, person: str = "anna", now: float = NOW, **fields: Any) -> None:
    write(store, lambda c: grant(c, person, Consent(**fields), source="till", now=now))


def no(store: Store, at: float, *what: str | None) -> None:
    write(store, lambda c: withdraw(c, "anna", *what, at=at, now=at, source="link"))


def stands(store: Store, person: str = "anna") -> list[tuple[Any, ...]]:
    found = store.read(lambda c: load_consents(c, person))
    return [(c.purpose, c.channel, c.since, c.until) for c in found]


def imported(store: Store, *consents: Consent, person: str = "anna") -> int:
    count: int = write(
        store, lambda c: import_said(c, [(person, consents)], source="crm", now=NOW + 99)
    )
    return count


def test_every_purpose_that_a_message_asks_for_can_be_agreed_to() -> None:
    assert {one for row in MESSAGES.values() for one in row.consents} <= set(PURPOSES)
    assert set(LOCATION) <= set(PURPOSES)
    assert set(LOCATION) == {one for some in LOCATION_PURPOSES.values() for one in some}


@pytest.mark.parametrize("purpose", [*sorted(EVERYTHING), "ALL", "Everything"])
def test_all_at_once_is_refused_with_the_list(store: Store, purpose: str) -> None:
    with pytest.raises(ProximityError, match=r"one purpose at a time.*location-precise"):
        say(store, purpose=purpose)
    with pytest.raises(ProximityError, match="one purpose at a time"):
        imported(store, Consent(purpose=purpose))
    assert stands(store) == []


@pytest.mark.parametrize("purpose", PURPOSES)
def test_a_slip_of_the_pen_is_told_with_what_was_meant(purpose: str) -> None:
    assert unasked(purpose) is None
    assert f"did you mean {purpose!r}?" in str(unasked(purpose[:-1]))
    assert "it does after marketing, " in str(unasked("wine-club"))


def test_a_row_each_is_withdrawn_one_by_one(store: Store) -> None:
    for purpose in ("marketing", "content", "sharing"):
        say(store, purpose=purpose)
    no(store, 50.0, "content")
    assert [until for *_, until in stands(store)] == [None, 50.0, None]
    no(store, 60.0)
    assert [until for *_, until in stands(store)] == [60.0, 50.0, 60.0]


def test_what_it_was_agreed_to_with_is_kept(store: Store) -> None:
    said = Consent(
        purpose="beacon", since=1.0, until=9e9, precision="venue", method="form", text="a" * 64
    )
    write(store, lambda c: grant(c, "anna", said, source="till", now=NOW))
    assert store.read(lambda c: load_consents(c, "anna")) == (said,)
    assert store.read(lambda c: standing(c, ["ben", "anna"])) == {"anna": (said,)}


def test_a_list_imported_again_brings_nothing_back(store: Store) -> None:
    marketing = Consent(purpose="marketing")
    assert imported(store, marketing) == 1
    no(store, NOW + 1)
    for older in (
        marketing,
        Consent(purpose="marketing", since=NOW),  # the same yes, dated by somebody else
        Consent(purpose="marketing", channel="push"),
        Consent(purpose="marketing", channel="push", until=9e9),
    ):
        assert imported(store, older) == 0
    assert stands(store) == [("marketing", None, None, NOW + 1)]
    # What was never withdrawn is news, and so is a yes said after the no.
    assert imported(store, Consent(purpose="marketing", since=NOW + 2)) == 1
    assert stands(store)[-1] == ("marketing", None, NOW + 2, None)


def test_a_no_to_one_purpose_stands_in_the_way_of_that_alone(store: Store) -> None:
    imported(store, Consent(purpose="marketing"))
    no(store, NOW + 1, "marketing", "email")
    assert imported(store, Consent(purpose="service")) == 1
    assert imported(store, Consent(purpose="marketing", channel="push")) == 1
    assert imported(store, Consent(purpose="marketing", channel="email")) == 0
    assert imported(store, Consent(purpose="marketing", since=5.0)) == 0  # every channel: in doubt


@settings(deadline=None, max_examples=50)
@given(
    history=st.lists(
        st.tuples(
            st.sampled_from(["yes", "no", "no to all", "import"]),
            st.sampled_from(["marketing", "service"]),
            st.sampled_from([None, "push", "email"]),
        ),
        max_size=12,
    )
)
def test_nothing_that_was_withdrawn_stands_until_it_is_said_anew(
    history: list[tuple[str, str, str | None]],
) -> None:
    """Random histories against a plain model: sets of (purpose, channel) that were said."""
    store = STORE
    write(store, lambda c: erase(c, "anna", NOW))
    said: set[tuple[str | None, str | None]] = set()
    noes: set[tuple[str, str | None]] = set()
    for at, (what, purpose, channel) in enumerate(history, start=1):
        key = (purpose, channel)
        if what == "yes":
            say(store, now=at, purpose=purpose, channel=channel, since=float(at))
            said.add(key)
        elif what == "import":  # an old list, of a time before any no
            imported(store, Consent(purpose=purpose, channel=channel, since=0.5))
            if not any(p in {None, purpose} and _hits(n, channel) for p, n in noes):
                said.add(key)
        else:
            which = None if what == "no to all" else purpose
            no(store, float(at), which, channel)
            noes.add((which, channel))
            said = {(p, c) for p, c in said if which not in {None, p} or not _hits(channel, c)}
    found = store.read(lambda c: load_consents(c, "anna"))
    now = float(len(history) + 1)
    assert {(one.purpose, one.channel) for one in found if one.holds(now)} == said


def _hits(channel: str | None, consented: str | None) -> bool:
    return channel is None or consented in {None, channel}


def test_a_no_to_location_is_remembered_without_any_yes(store: Store) -> None:
    say(store, purpose="marketing")
    no(store, 50.0, "location-precise")
    no(store, 60.0, "news")
    exported = store.read(lambda c: load_consents(c, "anna"))
    assert stands(store) == [
        ("marketing", None, None, None),
        ("location-precise", None, 50.0, 50.0),
    ]
    write(
        store,
        lambda c: import_said(c, [("eve", exported), ("eve", exported)], source="x", now=NOW),
    )
    assert stands(store, "eve") == stands(store)


def test_the_same_no_said_again_is_no_new_row(store: Store) -> None:
    say(store, purpose="marketing")
    for at in range(50, 60):
        no(store, float(at), "marketing", "*")
    no(store, 60.0)
    no(store, 61.0)
    assert len(store.read(lambda c: rows_of(c, "anna"))) == 3
    assert stands(store) == [("marketing", None, None, 50.0)]
    say(store, purpose="marketing", since=70.0)
    no(store, 80.0, "marketing")
    assert stands(store)[-1] == ("marketing", None, 70.0, 80.0)


def test_too_many_are_refused(store: Store) -> None:
    many = [Consent(purpose=f"p{number}") for number in range(MOST_CONSENTS)]
    assert imported(store, *many) == MOST_CONSENTS
    with pytest.raises(ProximityError, match="the most there may be"):
        say(store, purpose="one-more")
    with pytest.raises(ProximityError, match="more than 1000 consents"):
        imported(store, Consent(purpose="one-more"))
    assert len(stands(store)) == MOST_CONSENTS


def test_who_was_erased_is_not_written_again(store: Store) -> None:
    say(store, purpose="marketing")
    write(store, lambda c: erase(c, "anna", NOW))
    write(store, lambda c: bury(c, ["anna"], at=NOW, source="request"))
    with pytest.raises(Erased, match="proximity consent lift --erased"):
        say(store, purpose="marketing")
    no(store, NOW + 1)
    assert stands(store) == []


def offer(key: str, **fields: Any) -> Offer:
    said = {
        "campaign": "coffee", "person": "anna", "subject": "phone-a", "place": "store-7",
        "purpose": "marketing", "channel": "console", "text": "Coffee.", "language": "en",
        "link": None, "created_at": NOW, "expires_at": NOW + 60,
    }  # fmt: skip
    return Offer(key=key, **(said | fields))


def test_what_waits_is_taken_out_with_the_no(store: Store) -> None:
    from proximity.dispatch import outbox

    say(store, purpose="marketing")
    write(store, lambda c: outbox.append(c, [offer("k1"), offer("k2", purpose="service")]))
    write(store, lambda c: outbox.append(c, [offer("k3", person="ben")]))
    assert write(
        store, lambda c: withdraw(c, "anna", "marketing", at=NOW, now=NOW, source="x")
    ) == []  # fmt: skip
    assert store.read(outbox.depth) == 2
