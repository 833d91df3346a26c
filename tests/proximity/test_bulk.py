"""Many fixes in one pass where fences lie over one another: as one by one, and told in order."""

from __future__ import annotations

import pytest

from geofences import FenceIndex
from proximity import Engine
from proximity.engine import engine, rounds
from tests.street import box, feature, fences, fix

START = 1_767_225_600.0
MALL, SHOP = "mall", "shop"


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take few fixes as a batch, too."""
    monkeypatch.setattr(rounds, "LEAST_BATCH", 2)
    monkeypatch.setattr(engine, "LEAST_BATCH", 2)


def test_who_goes_into_a_shop_of_a_mall_stays_in_the_mall() -> None:
    index = FenceIndex(
        fences(feature(MALL, box(0, 0, 100, 100)), feature(SHOP, box(40, 40, 60, 60)))
    )
    way = [(-50, 50), (20, 50), (50, 50), (80, 50), (150, 50)]
    found = [
        fix(START + 10.0 * number, east, north, who)
        for number, (east, north) in enumerate(way)
        for who in ("ana", "ben")
    ]
    one, many = (Engine(index, decide="point") for _ in range(2))
    expected = [change for each in found for change in one.on_fixes([each])]
    out = [
        change
        for first in range(0, len(found), 2)
        for change in many.on_fixes(found[first : first + 2])
    ]
    assert out == expected
    assert many.snapshot() == one.snapshot()
    assert [(change.kind, change.place) for change in out if change.subject == "ana"] == [
        ("enter", MALL), ("enter", SHOP), ("exit", SHOP), ("exit", MALL),
    ]  # fmt: skip
