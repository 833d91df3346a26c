"""The benchmarks run, compare the same answers, and can fail; nothing here looks at a time."""

from __future__ import annotations

import json
import math
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import msgspec
import numpy as np
import pytest
import shapely

import geofences
from benchmarks import containment, page, profiles, tile38, updates, workloads
from benchmarks.__main__ import PARTS
from benchmarks.load import Job, requests
from benchmarks.server import BACK_S
from benchmarks.timing import FULL, QUICK, Check, Cost, Found, Row, Scale, interleaved, ratios
from proximity import Fix

ROOT = Path(__file__).resolve().parent.parent
TINY = Scale(
    points=2_000,
    singles=200,
    rounds=2,
    zones=12,
    stores=300,
    sizes=(100, 400),
    million=500,
    subjects=30,
    steps=4,
    nowhere=2_000,
    load_s=0.2,
    replayed=400,
    limit_s=60.0,
)


SLOW = {"server", "starting", "replay", "gateways", "delivering"}
"""These start processes."""


@pytest.mark.parametrize(
    "part",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else [])
        for name in PARTS
        if name != "profiles"
    ],
)
def test_every_part_measures_something_and_every_answer_is_the_same(part: str) -> None:
    found = PARTS[part](TINY)
    assert found.rows
    for row in found.rows:
        assert all(math.isfinite(value) for value in row.values), row
        # Memory of so little may come out of what the process had free.
        assert row.unit == "B" or min(row.values) > 0.0, row
    assert [check for check in found.checks if check.differences or not check.answers] == []
    judged = {"city", "stores", "country", "updates", "backtest", "decisions", "delivering"}
    assert bool(found.checks) == (part in judged)
    assert bool(found.costs) == (part == "country")


@pytest.mark.slow
def test_the_profiles_name_functions_and_no_place_of_this_machine() -> None:
    found = profiles.profiles(TINY)
    assert len(found.profiles) == 7
    for profile in found.profiles:
        assert len(profile.lines) == profiles.LINES
        assert 0.0 < sum(share for _, _, share in profile.lines) <= 1.0
        assert not any(name.startswith("/") for name, _, _ in profile.lines)
    answering = str(found.profiles[-1])
    assert "_socket.socket" in answering or "aiohttp/" in answering, "not the thread that answers"


# -- the workloads are what they say --------------------------------------------------------


def test_zones_tile_the_city_and_are_sound() -> None:
    load = workloads.zones(40)
    assert shapely.is_valid(load.polygons).all()
    west, south, east, north = workloads.CITY
    area = (east - west) * (north - south)
    assert math.isclose(shapely.area(load.polygons).sum(), area, rel_tol=1e-3)
    assert 200 < shapely.get_num_coordinates(load.polygons).mean() < 500


def test_fences_are_as_if_loaded_from_a_file() -> None:
    for load in (workloads.zones(5), workloads.stores(20), workloads.shops(20)):
        features = [each.to_feature() for each in load.fences]
        text = json.dumps({"type": "FeatureCollection", "features": features})
        loaded = geofences.FenceIndex(geofences.loads(text).fences)
        made = geofences.FenceIndex(load.fences)
        asked = load.points(500, 3)
        assert [a.tolist() for a in loaded.locate_many(*asked)] == [
            a.tolist() for a in made.locate_many(*asked)
        ]


def test_the_same_seed_gives_the_same_points_and_another_others() -> None:
    points = workloads.stores(10).points
    assert np.array_equal(points(50, 1), points(50, 1))
    assert not np.array_equal(points(50, 1), points(50, 2))


def test_every_update_of_the_crossing_walk_crosses() -> None:
    load = workloads.shops(300)
    fixes = updates.crossing(load, 30, 5).fixes
    index = geofences.FenceIndex(load.fences)
    seen = {(t.subject, t.at) for t in updates.in_batches(index, fixes, "point")}
    # Where stores overlap, or noise carries somebody out of a small one, a hop may change nothing.
    assert len(seen) > 0.9 * len(fixes)


def test_the_stroll_is_one_that_robust_follows() -> None:
    load = workloads.shops(300)
    fixes = updates.strolling(load, 30, 12).fixes
    index = geofences.FenceIndex(load.fences)
    robust, point = (len(updates.in_batches(index, fixes, how)) for how in ("robust", "point"))
    # The first is told later, the last perhaps not any more.
    assert robust > 0.75 * point > 0.3 * len(fixes)


def test_a_wrong_answer_is_found() -> None:
    for load in (workloads.zones(12), workloads.stores(100)):
        index = geofences.FenceIndex(load.fences)
        asked = load.points(5_000, 1)
        assert containment.differences(load, index, *asked) == 0
        holder = index.ids[int(index.locate_many(*asked)[1][0])]
        index.remove(holder)
        assert containment.differences(load, index, *asked) > 0
    shops = workloads.shops(300)
    fixes = updates.crossing(shops, 30, 3).fixes
    index = geofences.FenceIndex(shops.fences)
    assert updates.differences(shops, index, fixes) == 0
    entered = updates.in_batches(index, fixes, "point")[0].place
    index.remove(entered)
    assert updates.differences(shops, index, fixes) > 0


def test_what_is_sent_can_be_read_and_repeats_nothing() -> None:
    since = time.time() - BACK_S
    job = Job(port=1, path="/v1/fixes", name="n", seconds=1, most=60_000, size=100, since=since)
    fixes = [
        fix
        for sent in requests(job)
        for fix in msgspec.json.decode(sent.data.partition(b"\r\n\r\n")[2], type=list[Fix])
    ]
    assert len({(fix.subject, fix.at) for fix in fixes}) == len(fixes) == 60_000
    assert max(fix.at for fix in fixes) < time.time()


# -- numbers to page ------------------------------------------------------------------------


def row(**fields: Any) -> Row:
    return Row(**{"what": "w", "against": "a", "unit": "x", "values": [4.0, 2.0, 3.0], **fields})


def test_a_row_is_held_to_its_goals_by_its_median() -> None:
    assert (row().median, row().worst, row(fewer=True).worst) == (3.0, 2.0, 4.0)
    assert row(least=2.0, aim=3.0).verdict == "aim"
    assert row(least=3.0, aim=4.0).verdict == "yes"
    assert row(least=3.1, aim=4.0).verdict == "**no**"
    assert row(least=3.1, fewer=True).verdict == "yes"
    assert row(least=2.9, fewer=True).verdict == "**no**"
    assert row(aim=4.0).verdict == "below aim"
    assert row().verdict == ""


def test_rounds_are_interleaved() -> None:
    order: list[str] = []
    sides = {name: lambda n, name=name: order.append(f"{name}{n}") for name in "ab"}
    taken = interleaved(TINY, sides)
    assert order == ["a0", "b0", "a1", "b1"]
    assert [len(each) for each in taken.values()] == [2, 2]
    assert ratios([1.0, 2.0], [3.0, 8.0]) == [3.0, 4.0]


def test_quick_is_smaller_in_everything_that_takes_time() -> None:
    for name in (
        "points",
        "singles",
        "rounds",
        "million",
        "steps",
        "nowhere",
        "load_s",
        "replayed",
    ):
        assert getattr(QUICK, name) < getattr(FULL, name)
    assert max(FULL.sizes) == FULL.million == 1_000_000
    assert (FULL.points, FULL.zones, FULL.stores) == (1_000_000, 263, 10_000)


def test_the_page_shows_goals_misses_and_differences() -> None:
    found = Found(
        rows=[row(what="quick one", least=3.1), row(unit="ms", fewer=True, aim=5.0)],
        costs=[Cost(line, n, 0.3 * n) for line in ("ours", "theirs") for n in (1, 10, 100)],
        checks=[Check("some points", 1000, 3)],
        notes=["a word"],
    )
    text = page.written(found, [("date", "today")], "python -m benchmarks", "speed.svg")
    assert "| quick one | a | ≥ 3.1 x |  | 3 x | 2 x | **no** |  |" in text
    assert "| some points | 1,000 | 3 |" in text
    assert "![Microseconds of a question by number of fences](speed.svg)" in text
    assert "- a word" in text
    drawing = ET.fromstring(page.drawn(found.costs))
    assert len(drawing.findall("{http://www.w3.org/2000/svg}polyline")) == 2
    assert len(drawing.findall("{http://www.w3.org/2000/svg}circle")) == 6


def test_the_command_prints_a_page() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick", "--part", "loading"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert "`geofences.loads`" in ended.stdout
    assert "Tile38 was not measured" in ended.stdout
    assert "python -m benchmarks --quick --part loading" in ended.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--tile38", "somewhere"], "HOST:PORT"),
        (["--out", "no/such/page.md"], "there is no folder"),
    ],
)
def test_a_wrong_option_is_one_clear_line(words: list[str], said: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "benchmarks", *words],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 2
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr


# -- a Tile38 that speaks RESP --------------------------------------------------------------


class Tile:
    """As much of Tile38 as the benchmark talks to, so that its side of the talk cannot rot."""

    def __init__(self) -> None:
        self.fences: dict[str, shapely.Polygon] = {}
        self.inside: dict[str, set[str]] = {}
        self.listeners: list[socket.socket] = []
        self.sets = 0
        self.listening = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.listening.getsockname()[1]}"

    def _accept(self) -> None:
        while True:
            try:
                one, _ = self.listening.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(one,), daemon=True).start()

    def _talk(self, one: socket.socket) -> None:
        with one, one.makefile("rb") as reader:
            while line := reader.readline():
                words = []
                for _ in range(int(line[1:])):
                    size = int(reader.readline()[1:])
                    words.append(reader.read(size + 2)[:-2].decode())
                one.sendall(self._answer(one, words))

    def _answer(self, one: socket.socket, words: list[str]) -> bytes:
        if words[0] == "SERVER":
            return b"*4\r\n$7\r\nversion\r\n$3\r\n0.0\r\n$3\r\npid\r\n$1\r\n1\r\n"
        if words[0] == "SETCHAN":
            assert words[2:8] == ["WITHIN", tile38.KEY, "FENCE", "DETECT", "enter,exit", "OBJECT"]
            self.fences[words[1]] = shapely.from_geojson(words[8])
            return b":1\r\n"
        if words[0] == "SET":
            self._set(words[2], float(words[5]), float(words[4]))
            return b"+OK\r\n"
        if words[0] == "PSUBSCRIBE":
            self.listeners.append(one)
            return tile38.command("psubscribe", words[1])[:-2].replace(b"*2", b"*3") + b"\r\n:1\r\n"
        if words[0] == "PDELCHAN":
            self.fences.clear()
            return b":1\r\n"
        return b":1\r\n" if words[0] == "DROP" else b"-ERR unknown command\r\n"

    def _set(self, subject: str, lon: float, lat: float) -> None:
        self.sets += 1
        now = {name for name, area in self.fences.items() if shapely.intersects_xy(area, lon, lat)}
        for name in now - self.inside.get(subject, set()):
            told = json.dumps({"detect": "enter", "id": subject})
            for listener in self.listeners:
                listener.sendall(tile38.command("pmessage", f"{tile38.KEY}:*", name, told))
        self.inside[subject] = now


@pytest.fixture
def tile() -> Iterator[Tile]:
    made = Tile()
    yield made
    made.listening.close()


def test_tile38_is_driven_and_left_as_it_was(tile: Tile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tile38, "PROBES", 5)
    scale = msgspec.structs.replace(TINY, stores=20)
    found = tile38.compare(scale, tile.address)
    assert tile.sets == 2 * scale.rounds * scale.subjects * scale.steps + 5
    assert tile.fences == {}, "what the benchmark put there is removed"
    assert len(found.rows) == 4
    assert found.notes == ["Tile38 0.0 at 127.0.0.1"]


def test_errors_of_tile38_are_its_words(tile: Tile) -> None:
    with (
        tile38.Connection(*tile.listening.getsockname()) as one,
        pytest.raises(tile38.Tile38Error, match="unknown command"),
    ):
        one.ask("NONSENSE")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(tile38.Tile38Error, match="no Tile38 at"):
        tile38.Connection("127.0.0.1", port)
