"""News of an offer may come in any order, and any number of times: the end is the same."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proximity.dispatch import offers
from proximity.dispatch.states import RECEIPTS, SEEN, STATES, fold, furthest
from proximity.store import Store, schema
from tests.proximity.given import NOON, offer

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMES = list(STATES)
NEWS = st.lists(st.tuples(st.sampled_from(NAMES), st.integers(0, 9)), min_size=1, max_size=12)


@given(st.data(), st.lists(st.sampled_from(NAMES), max_size=12))
def test_any_order_of_news_folds_to_the_same_state(data: st.DataObject, news: list[str]) -> None:
    other = data.draw(
        st.permutations(news + data.draw(st.lists(st.sampled_from(news or NAMES[:1]))))
    )
    assert functools.reduce(fold, news, "queued") == functools.reduce(fold, other, "queued")


@given(st.sampled_from(NAMES), st.sampled_from(NAMES), st.sampled_from(NAMES))
def test_news_never_move_an_offer_down(one: str, two: str, three: str) -> None:
    assert STATES[fold(one, two)].rank == max(STATES[one].rank, STATES[two].rank)
    assert fold(fold(one, two), three) == fold(one, fold(two, three))


def test_the_table_is_one_ladder() -> None:
    assert [row.rank for row in STATES.values()] == [*range(len(STATES))]
    assert SEEN < RECEIPTS
    assert {"delivered"} == RECEIPTS - SEEN
    # Whatever a reader tells says more than whatever a channel told.
    assert min(STATES[one].rank for one in RECEIPTS) > STATES["accepted"].rank


def test_the_record_that_says_most_is_told() -> None:
    def of(*outcomes: str) -> str:
        records = [{"outcome": one, "number": n} for n, one in enumerate(outcomes)]
        found = furthest(records)
        return f"{found['outcome']} {found['number']}"

    assert of("retry", "retry") == "retry 1"
    assert of("failed", "accepted", "suppressed") == "accepted 1"
    assert of("accepted", "opened", "delivered", "suppressed") == "opened 1"
    with pytest.raises(KeyError):
        fold("queued", "lost")


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    opened = Store.open(":memory:")
    yield opened
    opened.close()


@given(data=st.data(), news=NEWS)
def test_the_row_is_the_same_too_and_its_number_rises(
    store: Store, data: st.DataObject, news: list[tuple[str, int]]
) -> None:
    """In the store: state, inbox and when it was first opened and used; one by one or together."""
    orders = [news, data.draw(st.permutations(news))]
    found = []
    for number, order in enumerate(orders):
        key = f"k{number}"
        store.write(lambda c: c.execute(schema.offers.delete())).result()
        store.write(lambda c, key=key: offers.put(c, [offer(key=key)])).result()  # type: ignore[misc]
        before = _row(store)["changed"]
        told = [offers.News(key, state, NOON + at, state == "accepted") for state, at in order]
        for some in [told] if number else [[one] for one in told]:
            store.write(lambda c, some=some: offers.move(c, some)).result()  # type: ignore[misc]
        row = _row(store)
        after = row.pop("changed")
        assert after > before if row["state"] != "queued" else after >= before
        found.append({name: row[name] for name in ("state", "in_inbox", "read_at", "redeemed_at")})
    assert found[0] == found[1]


def _row(store: Store) -> dict[str, Any]:
    (row,) = store.read(lambda c: c.execute(schema.offers.select()).mappings().all())
    return dict(row)
