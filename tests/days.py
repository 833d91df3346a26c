"""Some days of some people in a small street, lived once through the real engine and dispatcher."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from geofences import FenceIndex
from proximity.campaigns.campaigns import Campaigns
from proximity.engine.engine import Engine
from proximity.model import Consent, Event, Fix, Person, digest, parse_time
from proximity.people.people import People
from proximity.site.places import Places
from proximity.store import Store, ledger
from simulator.offers import Offers
from simulator.replay import Replay
from tests import street

MONDAY = 1_777_852_800.0  # 2026-05-04T00:00:00Z
SPOTS = {"cafe": (20, 25), "bakery": (55, 25), "kiosk": (-60, 0), "mall/shoes": (-25, -60)}


def people(count: int, seed: int = 0) -> list[Person]:
    """People of many kinds: with and without consent, zone, attributes; some with two subjects."""
    chance = random.Random(seed)
    made = []
    for number in range(count):
        consents: list[Consent] = []
        if chance.random() < 0.9:
            consents.append(Consent(purpose="service"))
        if chance.random() < 0.8:
            until = MONDAY + chance.choice([20, 40, 400]) * 3600.0
            consents.append(Consent(purpose="marketing", channel="console", until=until))
        name = f"p{number}"
        subjects = (name, f"{name}-watch") if chance.random() < 0.2 else (name,)
        made.append(
            Person(
                person=name,
                subjects=subjects,
                consents=tuple(consents),
                timezone=chance.choice([None, "Europe/Paris", "Asia/Tokyo"]),
                languages=(chance.choice(["en", "fr"]),),
                attributes={"tier": chance.choice(["gold", "plain"])},
            )
        )
    return made


def walks(
    persons: list[Person], seed: int = 0, visits: int = 6, days: float = 2.0
) -> Iterator[Fix | Event]:
    """What these people's phones send: visits of some minutes, and what they do there, by time."""
    chance = random.Random(seed)
    records: list[Fix | Event] = []
    for person in persons:
        for subject in person.subjects:
            at = MONDAY + chance.random() * 6 * 3600.0
            for _ in range(visits):
                at += chance.random() * days * 2 * 86400.0 / visits
                east, north = SPOTS[chance.choice(sorted(SPOTS))]
                stay_s = chance.choice([0.0, 60.0, 200.0, 400.0])
                legs = [(-150.0, 400.0, 0.0), (east, north, 60.0), (east, north, 90.0)]
                legs += [(east, north, 90.0 + stay_s), (150.0, 400.0, stay_s + 200.0)]
                legs += [(200.0, 450.0, stay_s + 320.0), (220.0, 450.0, stay_s + 500.0)]
                for x, y, after_s in legs:
                    lon, lat = street.at(x, y)
                    records.append(
                        Fix(
                            subject=subject, at=round(at + after_s, 3), lon=lon, lat=lat,
                            accuracy_m=8.0,
                        )
                    )  # fmt: skip
                if chance.random() < 0.5:
                    records.append(
                        Event(
                            subject=subject, at=round(at + 95.5, 3),
                            name=chance.choice(["purchase", "search"]),
                            properties={"product": chance.choice(["tea", "bun"])},
                        )
                    )  # fmt: skip
                at += stay_s + 600.0
    return iter(sorted(records, key=lambda one: (one.at, one.subject or "")))


@dataclass
class Days:
    """What was lived: the store it left, who was there, and every decision in order."""

    store: Store
    people: People
    places: Places
    decisions: list[dict[str, Any]] = field(default_factory=list)
    transitions: list[dict[str, Any]] = field(default_factory=list)
    until: float = 0.0


@contextlib.contextmanager
def lived(
    campaigns: Campaigns, persons: list[Person], records: Iterator[Fix | Event]
) -> Iterator[Days]:
    """Live these days by the real engine, queue and dispatcher; the ledger has it all."""
    index = FenceIndex(street.fences(*street.STREET))
    places = Places(index)
    with contextlib.closing(Store.open(":memory:")) as store:
        known = People(store, clock=lambda: 0.0)
        store.write(lambda conn: [known.put(conn, one) for one in persons] and None).result()
        known.reload()
        days = Days(store, known, places)

        def write(output: str, record: dict[str, Any]) -> None:
            if output == "decisions":
                days.decisions.append(record)
            if output != "transitions":
                return
            days.transitions.append(record)
            text = msgspec.json.encode(record).decode()
            row = ledger.Entry(
                kind="transition", id=digest(text), subject=record["subject"],
                place=record["place"], person=known.person_of(record["subject"]),
                visit=record["visit"], campaign=None, at=parse_time(record["decided_at"]),
                record=text,
            )  # fmt: skip
            store.write(lambda conn: ledger.append(conn, [row])).result()

        offers = Offers(store, campaigns, known, places)
        replay = Replay(Engine(index), write, offers=offers, people=known)
        replay.feed(records)
        days.until = replay.finish(lambda last: last + 86400.0).ended or 0.0
        offers.close()
        yield days
