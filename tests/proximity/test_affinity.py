"""What a person likes by what they did: figures that anyone can check by hand."""

from __future__ import annotations

import pytest

from proximity.people.affinity import affinities, by_category, by_venue, leaning
from proximity.people.facts import NOTHING, Happened, Profile, Stay

DAY = 86400.0


def bought(product: str, at: float = 0.0, **more: str | float | bool | None) -> Happened:
    return Happened("purchase", at, {"product": product, **more})


CLUB = Profile(
    events=(
        *(bought("club sandwich", day * DAY, price=8.0) for day in range(30)),
        bought("salad", 30 * DAY, quantity=2, price=6.5),
        bought("meatballs", 31 * DAY),
        Happened("opened", 32 * DAY, {"product": "meatballs"}),
        Happened("purchase", 33 * DAY, {"price": 1.0}),
    )
)
"""Somebody who always takes the club sandwich."""


def test_what_they_buy_is_ranked() -> None:
    found = affinities(CLUB)
    assert [one.name for one in found] == ["club sandwich", "salad", "meatballs"]
    club, salad, meatballs = found
    assert (club.count, club.purchases, club.spent, club.last_at) == (30, 30, 240.0, 29 * DAY)
    assert (salad.count, salad.purchases, salad.spent) == (2, 1, 13.0)
    assert club.share == pytest.approx(30 / 33)
    assert sum(one.share for one in found) == pytest.approx(1.0)
    assert meatballs.spent == 0.0


def test_how_far_they_lean_to_some_products() -> None:
    lean = leaning(CLUB, {"club sandwich", "salad"})
    assert (lean.count, lean.total, lean.leading) == (32, 33, "club sandwich")
    assert lean.share == pytest.approx(32 / 33)
    nothing = leaning(NOTHING, {"club sandwich"})
    assert (nothing.count, nothing.total, nothing.share, nothing.leading) == (0, 0, 0.0, None)


def test_by_another_property_and_with_numbers_that_slipped() -> None:
    profile = Profile(
        events=(
            bought("a", category="warm", quantity=-3),
            bought("b", category="warm", quantity=True, price="dear"),
            bought("c", category="cold", quantity=1e9),
            bought("d", category=""),
            bought("e", category=7.0),
        )
    )
    found = {one.name: one for one in affinities(profile, "category")}
    assert {name: one.count for name, one in found.items()} == {"warm": 1.0, "cold": 1000.0}
    assert found["warm"].spent == 0.0
    assert affinities(NOTHING) == []


STAYS = Profile(
    visits=(
        Stay("v1", "cafe-1", 0.0, 600.0, ("cafe",)),
        Stay("v2", "cafe-2", DAY, DAY + 1200.0, ("cafe", "mall")),
        Stay("v3", "cafe-1", 14 * DAY, None, ("cafe",)),
    )
)


def test_visits_by_venue() -> None:
    now = 14 * DAY + 300.0
    found = by_venue(STAYS, now)
    assert list(found) == ["cafe-1", "cafe-2"]
    first = found["cafe-1"]
    assert (first.visits, first.first_at, first.last_at, first.recency_s) == (2, 0.0, now, 0.0)
    assert (first.dwell_s, first.mean_dwell_s, first.longest_s) == (900.0, 450.0, 600.0)
    assert first.per_week == pytest.approx(2 / (now / (7 * DAY)))
    second = found["cafe-2"]
    assert (second.last_at, second.recency_s) == (DAY + 1200.0, now - DAY - 1200.0)


def test_visits_by_category_and_before_now() -> None:
    found = by_category(STAYS, 2 * DAY)
    assert {name: one.visits for name, one in found.items()} == {"cafe": 2, "mall": 1}
    assert found["cafe"].per_week == 2.0  # of a week at least
    assert by_venue(STAYS, DAY + 600.0)["cafe-2"].last_at == DAY + 600.0
    assert by_category(NOTHING, 0.0) == {}
