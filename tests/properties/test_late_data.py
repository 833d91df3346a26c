"""Records that come hours late, in no order and twice, change no visit and disturb nobody.

Through the real way in and the real dispatcher, in virtual time: the same day is lived twice, once
as it was and once as it arrived.
"""

from __future__ import annotations

import random
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest import mock

import msgspec
import pytest

from proximity.campaigns.form import parse_campaigns
from proximity.channels import Reply
from proximity.dispatch.dispatch import Dispatcher
from proximity.ingest import ingest as module
from proximity.ingest.ingest import Ingest
from proximity.model import Endpoint, Fix, Offer, parse_time
from proximity.people.people import People
from proximity.site.places import Places
from proximity.store import Store, ledger
from tests.properties.test_batches import START
from tests.simulation.disk import Disk
from tests.simulation.loop import Loop
from tests.street import STREET, fences, fix

if TYPE_CHECKING:
    from collections.abc import Iterator

HOUR_S, DAY_S = 3600.0, 86400.0
MAX_AGE_S = 120.0
STEP_S = 30.0
"""So often the server takes what has arrived since: a record is so much later at most."""
PEOPLE, TRIPS, FIXES, EVERY_S = 200, 5, 10, 30.0
RULES = f"""
[[campaign]]
id = "coffee"
purpose = "service"
on = "enter"
places = ["cafe", "bakery", "kiosk"]
max_age_s = {MAX_AGE_S:g}
channels = ["console"]
text = {{ en = "Coffee" }}
"""
INSIDE = {"cafe": (20.0, 25.0), "bakery": (55.0, 25.0), "kiosk": (-60.0, 0.0)}


class Came(NamedTuple):
    """A record, and when it arrived (Unix seconds)."""

    at: float
    record: Fix


class Day(NamedTuple):
    """What was seen of a day: visits, offers by person and time, and what became of records."""

    visits: list[tuple[Any, ...]]
    offers: set[tuple[str, str, float]]
    ages: list[float]
    counts: Counter[str]
    taken: list[Fix]


def day(dice: random.Random) -> list[tuple[list[Fix], bool]]:
    """Draw the trips of everybody: the fixes of each, and whether the phone had a network."""
    trips = []
    for who in range(PEOPLE):
        for number in range(TRIPS):
            start = START + number * DAY_S / TRIPS + dice.uniform(0.0, 600.0)
            spot = INSIDE[dice.choice(list(INSIDE))]
            path = [(0.0, 150.0)] * 2 + [spot] * (FIXES - 4) + [(0.0, 150.0)] * 2
            fixes = [
                fix(
                    start + place * EVERY_S,
                    east + dice.gauss(0.0, 2.0), north + dice.gauss(0.0, 2.0),
                    f"s{who}", id=f"s{who}-{number}-{place}",
                )
                for place, (east, north) in enumerate(path)
            ]  # fmt: skip
            trips.append((fixes, dice.random() < 0.5))
    return trips


def as_it_arrived(trips: list[tuple[list[Fix], bool]], dice: random.Random) -> list[Came]:
    """Let live trips come as they were, the others hours later and in no order; some come twice."""
    came = []
    for fixes, live in trips:
        for one in fixes:
            late_s = 0.0 if live else dice.uniform(2 * MAX_AGE_S + FIXES * EVERY_S, DAY_S)
            came.append(Came(one.at + late_s, one))
            if dice.random() < 0.3:
                came.append(Came(one.at + late_s + dice.uniform(0.0, HOUR_S), one))
    return sorted(came, key=lambda each: each.at)


class Console:
    """A channel that takes everything."""

    name, to_endpoints = "console", False

    async def send(self, offer: Offer, endpoint: Endpoint | None = None) -> Reply:
        del offer, endpoint
        return Reply(outcome="accepted")

    async def close(self) -> None:
        """Nothing is open."""


@contextmanager
def opened() -> Iterator[Store]:
    store = Store.open(":memory:")
    try:
        yield store
    finally:
        store.close()


def lived(came: list[Came], late_s: float) -> Day:
    """Live a day as its records came."""
    rules = parse_campaigns(RULES)
    counts: Counter[str] = Counter()
    taken: list[Any] = []
    with opened() as store, mock.patch.object(module, "_TICK_S", 30.0):
        loop = Loop(random.Random(0), START)  # type: ignore[abstract]
        server = loop.process("server")
        disk = Disk(store, loop, random.Random(0), lambda _: None)
        people, places = People(disk, lambda: loop.now), Places(None, None)

        async def work() -> None:
            more: dict[str, Any] = {"people": people, "places": places, "campaigns": lambda: rules}
            ingest = Ingest(
                disk, clock=lambda: loop.now, consent="assumed", late_s=late_s,
                fences=fences(*STREET), **more,
            )  # fmt: skip
            dispatcher = Dispatcher(
                disk, channels={"console": Console()}, consent="assumed",
                clock=lambda: loop.now, elapsed=loop.time, **more,
            )  # fmt: skip
            ingest.on_accepted.append(taken.extend)
            await ingest.start()
            waiting = list(reversed(came))
            while waiting or loop.now < came[-1].at + HOUR_S:
                # On the beat, so that what is live is received at one instant in either life.
                loop.now = START + STEP_S * (1 + (loop.now - START) // STEP_S)
                some = []
                while waiting and waiting[-1].at <= loop.now:
                    some.append(waiting.pop().record)
                if some:
                    receipt = await ingest.accept(some)
                    counts.update(late=receipt.late, duplicate=receipt.duplicate)
                    counts.update(accepted=receipt.accepted)
                await ingest._backlog.idle.wait()
                if ingest.triggers_added.is_set():
                    ingest.triggers_added.clear()
                    await dispatcher.adecide_due(loop.now)
                    await dispatcher.send_due(loop.now)
                if not waiting:
                    await ingest.look()
            await ingest.stop()
            assert ingest.fault is None
            counts.update({f"engine {name}": n for name, n in ingest.engine.counts.items()})

        done = loop.spawn(server, work())
        loop.run(done.done)
        done.result()
        rows = store.read(lambda c: ledger.page(c, limit=10**6))[0]
    return seen(rows, counts, taken)


def seen(rows: list[Any], counts: Counter[str], taken: list[Fix]) -> Day:
    visits: dict[str, tuple[Any, ...]] = {}
    entered: dict[str, float] = {}
    sent: dict[str, tuple[str, str]] = {}
    ages = []
    for row in rows:
        one = msgspec.json.decode(row.record)
        if row.kind == "decision":
            counts[one["decision"]] += 1
            if one["decision"] == "send":
                sent[one["visit"]] = one["person"], one["place"]
                ages.append(parse_time(one["at"]) - entered[one["visit"]])
        if row.kind != "transition":
            continue
        visit, where = one["visit"], (one["subject"], one["place"])
        if one["kind"] == "corrected":
            if one["enter_at"] is None:
                visits.pop(visit, None)
            else:
                visits[visit] = (*where, one["enter_at"], one["exit_at"])
        elif one["kind"] == "enter":
            visits[visit] = (*where, one["at"], None)
            entered[visit] = parse_time(one["at"])
        elif one["kind"] == "exit":
            visits[visit] = (*where, visits[visit][2], one["at"])
        elif one["kind"] == "pass":
            visits[visit] = (*where, one["at"], "pass")
    offers = {(*offer, parse_time(visits[visit][2])) for visit, offer in sent.items()}
    return Day(sorted(visits.values()), offers, ages, counts, taken)


@pytest.fixture(scope="module")
def trips() -> list[tuple[list[Fix], bool]]:
    return day(random.Random(1))


def test_within_the_bound_visits_are_as_lived_and_only_live_ones_are_offered(
    trips: list[tuple[list[Fix], bool]],
) -> None:
    clean = lived(sorted(Came(one.at, one) for fixes, _ in trips for one in fixes), 25 * HOUR_S)
    came = as_it_arrived(trips, random.Random(2))
    late = lived(came, 25 * HOUR_S)
    records = PEOPLE * TRIPS * FIXES
    assert records == 10_000
    assert late.counts["accepted"] == records
    assert late.counts["duplicate"] == len(came) - records > 2500
    assert len(clean.visits) >= PEOPLE * TRIPS * 0.9
    assert late.visits == clean.visits
    live = {(fixes[0].subject, fixes[0].at) for fixes, on in trips if on}
    in_time = {
        offer for offer in clean.offers
        if any(who == offer[0] and 0 <= offer[2] - at < FIXES * EVERY_S for who, at in live)
    }  # fmt: skip
    assert len(in_time) > 0.4 * PEOPLE * TRIPS * 0.9
    assert late.offers == in_time
    assert max(late.ages) <= MAX_AGE_S


def test_beyond_the_bound_records_are_counted_and_change_nothing(
    trips: list[tuple[list[Fix], bool]],
) -> None:
    came = as_it_arrived(trips, random.Random(3))
    late = lived(came, HOUR_S)
    # It is looked every STEP_S what has arrived: between the two bounds either may be.
    taken = {one.id for one in late.taken}
    assert taken >= {each.record.id for each in came if each.at - each.record.at < HOUR_S - STEP_S}
    assert taken <= {each.record.id for each in came if each.at - each.record.at < HOUR_S}
    refused = sum(each.at - each.record.at > HOUR_S for each in came)
    assert late.counts["late"] >= refused > 4000
    assert late.counts["accepted"] + late.counts["duplicate"] == len(came) - late.counts["late"]
    # Counted only: without them the day is the same, visits and offers.
    rest = [each for each in came if each.at - each.record.at < HOUR_S and each.record.id in taken]
    assert len(rest) < len(came) - refused + 1
    without = lived(rest, HOUR_S)
    assert late.visits == without.visits
    assert late.offers == without.offers
    assert len(late.offers) > 400
    assert max(late.ages) <= MAX_AGE_S
    # And what was taken is judged as if it had come at once and in order.
    sorted_ = [Came(one.at, one) for one in {each.id: each for each in late.taken}.values()]
    clean = lived(sorted(sorted_), HOUR_S)
    assert late.visits == clean.visits
    assert late.offers <= clean.offers
