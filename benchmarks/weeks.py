"""A week of many people among some shops, lived once through the real engine; always the same."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence

import msgspec

import geofences
from proximity.campaigns.campaigns import Campaigns
from proximity.campaigns.form import parse_campaigns
from proximity.engine.engine import Engine
from proximity.model import Consent, Fix, Person, Transition
from proximity.people.people import People
from proximity.site.places import Places
from proximity.store import Store, ledger

MONDAY = 1_777_852_800.0  # 2026-05-04T00:00:00Z
DAY_S = 86400.0
SHOPS = 50
VISITS = 10
LIVED = 1000
LATER_S = 37.0
_AT_ONCE = 5000
# Metres to degrees where the shops stand; they are 1 km from each other.
NORTH_M, EAST_M = 111_200.0, 73_400.0

CAMPAIGNS = """
quiet_hours = [{ from = "22:00", to = "08:00" }]
[[cap]]
count = 2
window_s = 86400
purpose = "marketing"
[[cap]]
count = 6
per = "week"
[contest]
winners = 1
[[stock]]
id = "pastries"
count = 500
window = "day"
[[campaign]]
id = "coffee"
purpose = "marketing"
on = "enter"
tags = ["cafe"]
channels = ["console"]
cooldown_s = 86400
defer = true
text = { en = "Coffee, half price.", fr = "Café à moitié prix." }
[[campaign]]
id = "pastry"
purpose = "marketing"
on = "enter"
tags = ["cafe"]
channels = ["console"]
stock = ["pastries"]
priority = 1
audience = { tag = "cafe", within_s = 604800, at_least = 2 }
text = { en = "A pastry on us." }
[[campaign]]
id = "stay"
purpose = "marketing"
on = "dwell"
dwell_s = 300
tags = ["cafe", "shoes"]
channels = ["console"]
hours = [{ from = "09:00", to = "19:00" }]
text = { en = "Take your time." }
[[campaign]]
id = "thanks"
purpose = "service"
on = "exit"
tags = ["shoes"]
channels = ["console"]
text = { en = "Thank you." }
"""


def campaigns() -> Campaigns:
    return parse_campaigns(CAMPAIGNS)


def shops() -> geofences.FenceIndex:
    """Circles of 40 m on a grid, cafés and shoe shops by turns."""
    features = [
        {
            "type": "Feature",
            "id": f"shop-{number}",
            "properties": {
                "radius_m": 40,
                "dwell_s": 300,
                "tags": [("cafe", "shoes")[number % 2]],
                "timezone": "Europe/Paris",
            },
            "geometry": {"type": "Point", "coordinates": [*_spot(number)]},
        }
        for number in range(SHOPS)
    ]
    drawn = {"type": "FeatureCollection", "features": features}
    return geofences.FenceIndex(geofences.loads(json.dumps(drawn)).fences)


def _spot(number: int) -> tuple[float, float]:
    return 2.30 + number % 10 * 1000.0 / EAST_M, 48.80 + number // 10 * 1000.0 / NORTH_M


def persons(count: int) -> list[Person]:
    """Three in four agreed to marketing, all of them to service."""
    chance = random.Random(1)
    return [
        Person(
            person=f"p{number}",
            subjects=(f"phone-{number}",),
            consents=tuple(
                Consent(purpose=purpose, channel="console")
                for purpose, share in (("marketing", 0.75), ("service", 1.0))
                if chance.random() < share
            ),
            timezone="Europe/Paris",
            languages=("fr",) if number % 3 else ("en",),
        )
        for number in range(count)
    ]


def walks(count: int) -> list[Fix]:
    """Everybody goes to some shops of theirs, by day and by night, and stays for some minutes."""
    chance = random.Random(2)
    fixes = []
    for number in range(count):
        own = [chance.randrange(SHOPS) for _ in range(3)]
        times = sorted(chance.random() * 6.9 * DAY_S for _ in range(VISITS))
        for after_s in times:
            lon, lat = _spot(chance.choice(own))
            stay_s = chance.choice((120.0, 400.0, 900.0))
            for metres, then_s in ((300.0, 0.0), (5.0, 120.0), (5.0, 180.0), (5.0, 180.0 + stay_s),
                                   (300.0, 300.0 + stay_s), (320.0, 420.0 + stay_s)):  # fmt: skip
                fixes.append(
                    Fix(
                        subject=f"phone-{number}", at=MONDAY + round(after_s + then_s, 3), lon=lon,
                        lat=lat + metres / NORTH_M, accuracy_m=10.0,
                    )
                )  # fmt: skip
    fixes.sort(key=lambda fix: fix.at)
    return fixes


def lived(index: geofences.FenceIndex, fixes: Sequence[Fix]) -> Iterator[list[Transition]]:
    """Give the engine's transitions of a week, some at a time."""
    engine = Engine(index)
    for start in range(0, len(fixes), _AT_ONCE):
        yield engine.on_fixes(fixes[start : start + _AT_ONCE])
    yield engine.advance(MONDAY + 7 * DAY_S)


def fill(store: Store, index: geofences.FenceIndex, count: int) -> People:
    """Put a week of so many people into an empty store: who they are, and where they were.

    The first ``LIVED`` live it through the engine; the others are told of as one of these each,
    some seconds later.
    """
    people = People(store, clock=lambda: MONDAY)
    every = persons(count)
    for start in range(0, count, 1000):
        some = every[start : start + 1000]
        store.write(lambda conn, some=some: [people.put(conn, one) for one in some]).result()
    people.reload()
    whose = {one.subjects[0]: one.person for one in every}
    for told in lived(index, walks(min(count, LIVED))):
        every_one = [_after(one, turn) for one in told for turn in range(-(-count // LIVED))]
        every_one.sort(key=lambda one: one.decided_at)
        entries = [
            ledger.entry(one, whose[one.subject]) for one in every_one if one.subject in whose
        ]
        store.write(lambda conn, entries=entries: ledger.append(conn, entries)).result()
    return people


def _after(one: Transition, turn: int) -> Transition:
    """Tell of the same as another person's, so many turns later."""
    if turn == 0:
        return one
    number = int(one.subject.removeprefix("phone-")) + turn * LIVED
    later_s = turn * LATER_S
    return msgspec.structs.replace(
        one, subject=f"phone-{number}", visit=f"{one.visit}-{turn}",
        at=None if one.at is None else one.at + later_s, decided_at=one.decided_at + later_s,
        enter_at=None if one.enter_at is None else one.enter_at + later_s,
        exit_at=None if one.exit_at is None else one.exit_at + later_s,
    )  # fmt: skip


def places(index: geofences.FenceIndex) -> Places:
    return Places(index)
