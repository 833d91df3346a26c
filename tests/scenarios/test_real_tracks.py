"""Real tracks over real fences: zero differences from shapely, and the page that says so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from proximity.model import format_time
from simulator.__main__ import main
from tests.scenarios import real_tracks
from tests.scenarios.real_tracks import (
    COUNTRIES,
    PAGE,
    ZONES,
    expected,
    in_polygons,
    page,
    recorded,
    rows,
    shifted,
    write_record,
)

SETS = (
    "gpx-variety", "phone-tracks-accuracy", "goal-gps-onfoot-driving", "nyc-taxi-zones",
    "natural-earth-110m", "walmart-store-openings",
)  # fmt: skip


@pytest.fixture(scope="module")
def data(shared_data: Callable[[str], Path]) -> Path:
    folders = [shared_data(name) for name in SETS]
    return folders[0].parent


@pytest.mark.slow
def test_no_transition_differs_and_the_page_is_current(data: Path) -> None:
    found = rows(data)
    assert [row for row in found if row.differences] == []
    assert all(row.enters for row in found)
    assert sum(row.number for row in found if row.tracks == "delivery rounds") == 600
    assert page(found) == PAGE.read_text("utf-8"), "run python -m tests.scenarios.real_tracks DATA"


def test_the_comparison_can_fail(data: Path, tmp_path: Path) -> None:
    phones = recorded(data / "phone-tracks-accuracy", "*.csv")
    inside, corners = in_polygons((data / ZONES).read_text())
    tracks = shifted(phones, corners)
    moved = lambda lon, lat: inside(lon + 1e-4, lat)  # noqa: E731 - 8 m to the west
    assert real_tracks.compare("phones", "zones", tracks, data / ZONES, moved).differences > 0


def test_a_country_that_crosses_itself_is_refused_by_name(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = tmp_path / "t.jsonl"
    trace.write_text('{"type":"fix","subject":"s","at":0,"lon":30.0,"lat":15.0}\n')
    words = ["replay", str(trace), "--fences", str(data / COUNTRIES), "--decide", "point"]
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "Sudan" in line
    assert "cross" in line
    assert main([*words, "--skip-bad"]) == 0
    told = capsys.readouterr()
    assert "Sudan" in told.err
    assert "transitions        0" in told.out


def fold(records: list[dict[str, Any]]) -> Counter[tuple[str, str | None, str | None]]:
    """Fold transitions in order into visits: place, when entered, when left."""
    visits: dict[str, tuple[str, str | None, str | None]] = {}
    for one in records:
        if one["kind"] == "enter":
            visits[one["visit"]] = (one["place"], one["at"], None)
        elif one["kind"] == "exit":
            visits[one["visit"]] = (one["place"], visits[one["visit"]][1], one["at"])
        elif one["kind"] == "corrected":
            visits[one["visit"]] = (one["place"], one["enter_at"], one["exit_at"])
    return Counter(visit for visit in visits.values() if visit[1] is not None)


@pytest.mark.parametrize("log", ["google_trajectory", "posmo_trajectory"])
def test_a_log_that_runs_backwards_folds_to_the_same_visits(
    log: str, data: Path, tmp_path: Path
) -> None:
    phones = recorded(data / "phone-tracks-accuracy", "*.csv")
    inside, corners = in_polygons((data / ZONES).read_text())
    fixes = shifted(phones, corners)[log][-400:]
    (tmp_path / "t.jsonl").write_bytes(b"".join(map(write_record, reversed(fixes))))
    words = ["replay", str(tmp_path / "t.jsonl"), "--fences", str(data / ZONES)]
    words += ["--decide", "point", "--late", "1e9", "--out", str(tmp_path / "out")]
    assert main(words) == 0
    lines = (tmp_path / "out" / "transitions.jsonl").read_bytes().splitlines()
    found = fold([msgspec.json.decode(line) for line in lines])
    wanted: Counter[tuple[str, str | None, str | None]] = Counter()
    entered: dict[str, str] = {}
    for kind, place, at in expected(fixes, inside):
        time = format_time(at)
        if kind == "enter":
            entered[place] = time
        else:
            wanted[place, entered.pop(place), time] += 1
    wanted.update((place, time, None) for place, time in entered.items())
    assert found == wanted
