"""Whatever the fences ask for and the phones say: batches, restarts and order change nothing.

Sites, walks and edits are drawn at random with every property that a fence or a place may have,
so that what no test thought of together meets.
"""

from __future__ import annotations

import json
import math
import random
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import geofences
from beacon_gateway.model import Beacon
from geofences import FenceIndex
from proximity import Engine, Site, Transition, parse_site
from proximity.engine import engine as engines
from proximity.engine import history, nowhere, quiet, rounds
from proximity.engine.robust import ROBUST
from proximity.ingest.fold import Fold, before
from proximity.model import Fix, Sighting
from proximity.store import journal
from proximity.store.journal import FenceChange, Row, SiteChange, SiteText, Snapshot, StoredFence
from tests.street import UUID, at, box, circle, feature, fold

START = 1_767_225_600.0
LONGEST_S = 20_000.0
Decide = Literal["robust", "point"]
Told = list[Transition]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make arrays of few fixes, and keep standings often, so that short walks meet everything."""
    monkeypatch.setattr(rounds, "LEAST_BATCH", 2)
    monkeypatch.setattr(engines, "LEAST_BATCH", 2)
    monkeypatch.setattr(quiet, "LEAST_TRACKS", 1)
    monkeypatch.setattr(history, "KEEP_EVERY", 6)
    monkeypatch.setattr(nowhere, "FADES", 64)
    monkeypatch.setitem(engines.DECIDE, "robust", ROBUST._replace(quiet=quiet.robust_quiet))


class Drawn(NamedTuple):
    """A site as marketers and shops write it: features, site file, and the gateways in that."""

    features: list[dict[str, Any]]
    site: str
    gateways: list[str]

    def engine(self, decide: Decide, late_s: float) -> Engine:
        return Engine(self.index(), self.read(), decide=decide, late_s=late_s)

    def index(self) -> FenceIndex:
        whole = {"type": "FeatureCollection", "features": self.features}
        return FenceIndex(geofences.loads(json.dumps(whole)).fences)

    def read(self) -> Site:
        return parse_site(self.site, "site.toml")


def when(second: float) -> str:
    return datetime.fromtimestamp(START + second, UTC).isoformat()


def properties(dice: random.Random, parents: list[str]) -> dict[str, Any]:
    """Draw a few of all that a fence may ask for."""
    begins = dice.choice([0, 300, 900])
    some: dict[str, tuple[float, Any]] = {
        "dwell_s": (0.3, dice.choice([20, [60, 300], [30]])),
        "venue": (0.35, dice.choice(parents)),
        "floor": (0.2, dice.choice([0, 1])),
        "min_altitude_m": (0.1, dice.choice([0, 10])),
        "max_altitude_m": (0.1, dice.choice([20, 30])),
        "exclude": (0.12, True),
        "on_foot": (0.15, True),
        "exit_after_s": (0.2, dice.choice([0, 20, 120])),
        "silent_after_s": (0.2, dice.choice([100, 600])),
        "exit_margin_m": (0.2, dice.choice([0, 10])),
        "min_confidence": (0.2, dice.choice([0.55, 0.9])),
        "valid_from": (0.15, when(begins)),
        "valid_until": (0.15, when(begins + dice.choice([200, 800, 2000]))),
    }
    return {name: value for name, (share, value) in some.items() if dice.random() < share}


def outline(dice: random.Random) -> tuple[dict[str, Any], dict[str, Any]]:
    """Draw a circle, a box, a corridor or two boxes; give the geometry, and its radius."""
    x, y = dice.uniform(-150, 150), dice.uniform(-150, 150)
    kind = dice.choices(["circle", "box", "corridor", "two"], [4, 4, 1, 1])[0]
    if kind == "circle":
        return circle(x, y), {"radius_m": dice.choice([10, 25, 50, 120])}
    if kind == "box":
        return box(x, y, x + dice.choice([15, 40, 90, 200]), y + dice.choice([15, 40, 90])), {}
    if kind == "corridor":
        ends = [list(at(x, y)), list(at(x + dice.uniform(-99, 99), y + dice.uniform(-99, 99)))]
        return {"type": "LineString", "coordinates": ends}, {"radius_m": dice.choice([8, 20])}
    boxes = [box(x, y, x + 40, y + 30), box(x + 60, y, x + 90, y + 30)]
    return {"type": "GeometryCollection", "geometries": boxes}, {}


def site_of(dice: random.Random) -> Drawn:
    features: list[dict[str, Any]] = []
    names: list[str] = []
    for number in range(dice.randint(2, 7)):
        geometry, radius = outline(dice)
        more = properties(dice, [*names, "mall"])
        features.append(feature(f"f{number}", geometry, **radius, **more))
        names.append(f"f{number}")
    lines = [f'first_inside = "{dice.choice(["quiet", "enter"])}"', '[[place]]\nid = "mall"']
    zones = [f"z{number}" for number in range(dice.randint(0, 3))]
    for zone in zones:
        lines.append(f'[[place]]\nid = "{zone}"')
        keys = (
            f'parent = "{dice.choice([*names, "mall"])}"',
            f"exit_after_s = {dice.choice([5, 20, 60])}",
            f"dwell_s = [{dice.choice([10, 30])}]",
            "near_dbm = -72",
        )
        lines += [key for key in keys if dice.random() < 0.4]
    gateways = [f"g{number}" for number in range(dice.randint(0, 4))]
    spots = names + zones
    lines += [f'[[gateway]]\nid = "{one}"\nplace = "{dice.choice(spots)}"' for one in gateways]
    lines += [
        f'[[beacon]]\nuuid = "{UUID}"\nmajor = 1\nminor = {n}\nsubject = "s{n}"' for n in (0, 1)
    ]
    lines.append(f'[[beacon]]\nuuid = "{UUID}"\nmajor = 9\nplace = "{dice.choice(spots)}"')
    return Drawn(features, "\n".join(lines), gateways)


def walk(dice: random.Random, who: str, span_s: float) -> list[Fix]:
    """Let somebody walk, stand, ride and be silent among the fences, with a phone that lies."""
    x, y, to_x, to_y = (dice.uniform(-150, 150) for _ in range(4))
    every_s, accuracy_m = dice.choice([5, 15, 60, 300]), dice.choice([5.0, 8.0, 15.0, 30.0])
    second, stands_s, off_x, off_y = dice.uniform(0, 60), 0.0, 0.0, 0.0
    found: list[Fix] = []
    while second < span_s and len(found) < 120:
        gap_s = every_s * dice.choice([0.5, 1, 1, 1, 2])
        if dice.random() < 0.03:
            gap_s = dice.uniform(100, 1500)
        second += gap_s
        far, reach = math.hypot(to_x - x, to_y - y), gap_s * dice.choice([1.3] * 9 + [12.0])
        if stands_s > 0:
            stands_s -= gap_s
        elif far <= reach:
            x, y, to_x, to_y = to_x, to_y, dice.uniform(-200, 200), dice.uniform(-200, 200)
            stands_s = dice.choice([0.0, 60.0, 300.0, 900.0])
        else:
            x, y = x + (to_x - x) / far * reach, y + (to_y - y) / far * reach
        keep, sigma = math.exp(-gap_s / 60), accuracy_m / 1.515
        fresh = sigma * math.sqrt(1 - keep * keep)
        off_x, off_y = keep * off_x + dice.gauss(0, fresh), keep * off_y + dice.gauss(0, fresh)
        jump = 250.0 if dice.random() < 0.02 else 0.0
        says: dict[str, tuple[float, Any]] = {
            "accuracy_m": (0.85, accuracy_m * dice.choice([0.5, 1, 1, 2])),
            "speed_mps": (0.1, dice.choice([0.0, 1.4, 15.0])),
            "motion": (0.08, dice.choice(["still", "walking", "driving", "cycling"])),
            "floor": (0.08, dice.choice([0, 1])),
            "altitude_m": (0.08, dice.choice([-5.0, 5.0, 15.0, 40.0])),
            "mock": (0.01, True),
            "id": (0.05, f"{who}-{len(found)}"),
        }
        said = {name: value for name, (share, value) in says.items() if dice.random() < share}
        again = found and dice.random() < 0.05
        moment = found[-1].at if again else round(START + second, 3)
        lon, lat = at(x + off_x + jump, y + off_y)
        found.append(Fix(subject=who, at=moment, lon=lon, lat=lat, **said))
    return found


def sightings(
    dice: random.Random, number: int, gateways: list[str], span_s: float
) -> list[Sighting]:
    """Let gateways hear somebody's card, and their phone a beacon that is fixed."""
    second = dice.uniform(0, 300)
    found: list[Sighting] = []
    while second < span_s and len(found) < 80:
        second += dice.choice([2.0, 2.0, 2.0, 5.0, 40.0, 400.0])
        moment, rssi = round(START + second, 3), dice.choice([-50.0, -60.0, -70.0, -90.0, 127.0])
        carried = bool(gateways) and number < 2 and dice.random() < 0.8
        beacon = Beacon(
            format="ibeacon", uuid=UUID, major=1 if carried else 9, minor=number, power_dbm=-59
        )
        by = {"gateway": dice.choice(gateways)} if carried else {"subject": f"s{number}"}
        found.append(Sighting(beacon=beacon, at=moment, rssi_dbm=rssi, **by))
    return found


def records_of(dice: random.Random, drawn: Drawn, span_s: float) -> list[Fix | Sighting]:
    """Draw what several people's phones and the gateways tell, in order."""
    found: list[Fix | Sighting] = []
    for number in range(dice.randint(1, 4)):
        found += walk(dice, f"s{number}", span_s)
        found += sightings(dice, number, drawn.gateways, span_s)
    return sorted(found, key=history.order)


def received(dice: random.Random, found: list[Fix | Sighting]) -> list[Fix | Sighting]:
    """Let records arrive: as they are, at once, in batches of eight minutes, or just anyhow."""
    how = dice.choice(["unknown", "live", "batches", "anyhow"])
    if how == "unknown":
        return found
    came = []
    for one in found:
        after = {
            "live": dice.uniform(0, 3),
            "batches": -(one.at - START) % 500.0 + dice.random(),
            "anyhow": dice.choice([0.0, 2.0, 400.0, 3000.0]),
        }[how]
        came.append(msgspec.structs.replace(one, received_at=one.at + after))
    return sorted(came, key=lambda one: one.received_at or 0.0)


def check_each_visit(told: Told) -> None:
    """Enters and exits take turns; a dwell lies between; nothing is told before it was."""
    there: dict[tuple[str, str], str] = {}
    for one in told:
        key = one.subject, one.place
        if one.kind == "corrected" or one.late:
            return
        assert one.at is not None
        assert one.at <= one.decided_at
        if one.kind == "enter":
            assert key not in there
            there[key] = one.visit
        elif one.kind == "exit":
            assert there.pop(key) == one.visit
        elif one.kind == "dwell":
            assert there[key] == one.visit


seeds = st.integers(0, 2**32).map(random.Random)
both = st.sampled_from(["robust", "robust", "robust", "point"])


@settings(max_examples=30, deadline=None)
@given(seeds, both, st.sampled_from([300.0, 3600.0]))
def test_batches_and_restarts_change_nothing(
    dice: random.Random, decide: Decide, late_s: float
) -> None:
    drawn = site_of(dice)
    came = received(dice, records_of(dice, drawn, dice.choice([1500.0, 4000.0])))
    one, many, killed = (drawn.engine(decide, late_s) for _ in range(3))
    told = [change for record in came for change in one.on_records([record])]
    check_each_visit(told)

    cuts = [0, *sorted(dice.sample(range(1, len(came)), min(12, len(came) - 1))), len(came)]
    assert [c for a, b in pairwise(cuts) for c in many.on_records(came[a:b])] == told
    assert many.snapshot() == one.snapshot()

    cut = dice.choice(cuts)
    first = killed.on_records(came[:cut])
    again = Engine.restore(killed.snapshot(), drawn.index(), drawn.read())
    assert again.next_due() == killed.next_due()
    assert first + again.on_records(came[cut:]) == told
    assert again.snapshot() == one.snapshot()
    ends = START + LONGEST_S
    assert again.advance(ends) == many.advance(ends) == one.advance(ends)


@settings(max_examples=20, deadline=None)
@given(seeds, both)
def test_any_order_folds_to_the_same_visits(dice: random.Random, decide: Decide) -> None:
    drawn = site_of(dice)
    found = records_of(dice, drawn, 2000.0)
    shuffled = [*found, *dice.sample(found, len(found) // 4)]
    dice.shuffle(shuffled)
    runs = []
    for some in (found, shuffled):
        run = drawn.engine(decide, 90_000.0)
        runs.append(fold(run.on_records(some) + run.advance(START + LONGEST_S)))
    assert runs[0] == runs[1]


def edit(
    dice: random.Random, drawn: Drawn, inforce: dict[str, StoredFence], now: float
) -> FenceChange | None:
    """Redraw a fence, ask something else of it, put it back, or remove one that nothing needs."""
    old = dice.choice(drawn.features)
    name, was = old["id"], inforce.get(old["id"])
    needed = f'"{name}"' in drawn.site or any(
        one["properties"].get("venue") == name for one in drawn.features
    )
    if was is not None and not needed and dice.random() < 0.4:
        del inforce[name]
        return FenceChange(name, was, None)
    geometry, radius = outline(dice) if dice.random() < 0.2 else (old["geometry"], {})
    asked = {**old["properties"], **radius}
    soon = now - START
    asked |= dice.choice(
        [
            {"exit_after_s": dice.choice([0, 10, 300])},
            {"dwell_s": dice.choice([[10], [20, 500], [900]])},
            {"valid_until": when(soon + dice.choice([1, 30, 600])), "valid_from": when(soon - 1)},
            {"silent_after_s": dice.choice([20, 100, 1000])},
            {"floor": dice.choice([0, 1])},
        ]
    )
    if geometry["type"] in {"Polygon", "GeometryCollection"}:
        asked.pop("radius_m", None)
    old["geometry"], old["properties"] = geometry, asked
    inforce[name] = StoredFence(msgspec.json.encode(old).decode(), "http")
    return FenceChange(name, was, inforce[name])


def rows_of(
    dice: random.Random,
) -> tuple[list[Row], dict[str, StoredFence], SiteText]:
    """Write a journal with edits between the records; give what is in force at its end, too."""
    drawn = site_of(dice)
    came = received(dice, records_of(dice, drawn, 2500.0))
    site = SiteText("site.toml", drawn.site)
    inforce = {
        one["id"]: StoredFence(msgspec.json.encode(one).decode(), "http") for one in drawn.features
    }
    now = START
    rows: list[Row] = []

    def add(kind: journal.Kind, payload: bytes) -> None:
        rows.append(Row(position=len(rows) + 1, kind=kind, now=now, version="", payload=payload))

    first = [FenceChange(name, None, fence) for name, fence in inforce.items()]
    add("fences", msgspec.msgpack.encode(first))
    add("site", msgspec.msgpack.encode(SiteChange(None, site)))
    while came:
        size = dice.choice([1, 3, 20, 80])
        some, came = came[:size], came[size:]
        now = max(now, *(one.at if one.received_at is None else one.received_at for one in some))
        some = [msgspec.structs.replace(one, received_at=now) for one in some]
        add("records", journal.encode_records(some))
        what = dice.random()
        if what < 0.2:
            add("fences", msgspec.msgpack.encode([edit(dice, drawn, inforce, now)]))
        elif what < 0.3:
            now += dice.choice([0.0, 5.0, 61.0, 700.0])
            add("tick", b"")
        elif what < 0.33:
            add("forget", msgspec.msgpack.encode(journal.Forgetting([f"s{dice.randint(0, 3)}"])))
    return rows, inforce, site


def play(run: Fold, rows: list[Row]) -> Told:
    told: Told = []
    for row in rows:
        told += run.apply(row)
        assert run.fault is None
    return told


@settings(max_examples=40, deadline=None)
@given(seeds, both, st.sampled_from([300.0, 3600.0]))
def test_edits_among_batches_and_restarts(
    dice: random.Random, decide: Decide, late_s: float
) -> None:
    rows, fences, site = rows_of(dice)
    cut = dice.randint(2, len(rows))
    live = Fold({}, None, decide=decide, late_s=late_s)
    first = play(live, rows[:cut])
    snapshot = Snapshot(live.position, live.now, live.engine.snapshot())
    then = play(live, rows[cut:])
    check_each_visit(first + then)

    again = Fold(
        *before(rows[cut:], fences, site, {}), decide=decide, late_s=late_s, snapshot=snapshot
    )
    assert play(again, rows[cut:]) == then
    assert again.engine.snapshot() == live.engine.snapshot()

    singly: list[Row] = []
    for row in rows:
        payloads = [row.payload]
        if row.kind == "records":
            records = journal.decode_records(row.payload)
            payloads = [journal.encode_records([one]) for one in records]
        for payload in payloads:
            singly.append(msgspec.structs.replace(row, position=len(singly) + 1, payload=payload))
    split = Fold({}, None, decide=decide, late_s=late_s)
    assert play(split, singly) == first + then
    assert split.engine.snapshot() == live.engine.snapshot()
