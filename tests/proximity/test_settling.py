"""What follows in the store from what came of a hand-over: what was seen is nobody else's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
from msgspec.structs import replace

from proximity.campaigns.campaigns import Stock
from proximity.channels import Reply
from proximity.dispatch import receipts
from proximity.inbox import look
from proximity.privacy import erasing, retention
from proximity.privacy.retention import DAY_S, keep_days
from proximity.store import Store, schema
from tests.contracts.test_delivery_contract import DEAD, FAR, LATER, Line, Lines
from tests.proximity.given import NOON, rules

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def store() -> Iterator[Store]:
    opened = Store.open(":memory:")
    yield opened
    opened.close()


@pytest.mark.parametrize("channels", [("web-push", "inbox"), ("web-push",)])
@pytest.mark.parametrize("reply", [DEAD, Reply(outcome="failed", reply={"status": 400})])
@pytest.mark.parametrize("outcome", ["opened", "converted"])
def test_what_its_reader_has_keeps_its_unit_of_stock(
    store: Store, channels: tuple[str, ...], reply: Reply, outcome: str
) -> None:
    scarce = replace(FAR, channels=channels, stock=("cups",))
    campaigns = rules(scarce, stocks={"cups": Stock(id="cups", count=1)})
    way = Lines(store, campaigns, Line("web-push", reply, reply)).decided()

    def see_it() -> None:
        store.write(lambda c: receipts.record(c, "t1", outcome, "inbox", NOON)).result()

    way.lines["web-push"].before = see_it
    way.send()
    assert way.rows(schema.outbox) == []
    assert way.state()[0] == outcome
    assert [row.used for row in way.rows(schema.stocks)] == [1], "its reader has it"


def unused(store: Store) -> bool:
    return store.read(lambda c: c.scalar(sa.select(schema.stocks.c.used))) == 0


@pytest.mark.parametrize("tried", [False, True])
@pytest.mark.parametrize("end", ["erased", "swept"])
def test_what_goes_without_a_word_gives_back_what_nobody_can_have(
    store: Store, end: str, *, tried: bool
) -> None:
    scarce = replace(FAR, stock=("cups",))
    campaigns = rules(scarce, stocks={"cups": Stock(id="cups", count=1)})
    way = Lines(store, campaigns, Line("web-push", LATER, LATER)).decided()
    if tried:
        way.send()
    if end == "erased":
        begun = store.write(lambda c: erasing.begin(c, way.people, "anna", now=NOON + 1.0))
        assert begun.result().names[0] == "anna"
    else:
        for _ in retention.sweep(store, NOON + 8 * DAY_S, keep_days()):
            pass
    assert way.rows(schema.outbox) == []
    assert unused(store) is not tried


def test_what_is_still_good_stays_in_its_inbox_however_short_decisions_are_kept(
    store: Store,
) -> None:
    long = replace(FAR, channels=("inbox",), ttl_s=3 * DAY_S)
    way = Lines(store, rules(long)).decided()
    way.send()

    def lies_there(at: float) -> bool:
        for _ in retention.sweep(store, at, keep_days({"decisions": 1.0})):
            pass
        looked = store.read(lambda c: look(c, way.dispatcher.world, "anna", at))
        return [row.key for row in looked.rows] == ["t1"]

    assert lies_there(NOON + 2 * DAY_S)
    assert not lies_there(NOON + 3 * DAY_S)
    assert way.rows(schema.offers) == []
