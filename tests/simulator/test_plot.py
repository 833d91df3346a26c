"""`simulator plot`: a picture that a browser can read, the same every time, with what was decided."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from proximity.model import Fix, Sighting
from simulator.__main__ import main
from simulator.drawing import Mark, Panel, Picture, draw
from simulator.trace import write_record

NOON = 1_777_636_800.0
SVG = "{http://www.w3.org/2000/svg}"
SHOP = {
    "type": "Feature",
    "id": "shop <7>",
    "properties": {"name": "Shop & Söhne"},
    "geometry": {
        "type": "Polygon",
        "coordinates": [
            [[2.35, 48.85], [2.3505, 48.85], [2.3505, 48.8503], [2.35, 48.8503], [2.35, 48.85]]
        ],
    },
}
ROUND = {
    "type": "Feature",
    "id": "kiosk",
    "properties": {"radius_m": 20},
    "geometry": {"type": "Point", "coordinates": [2.3512, 48.8502]},
}
WAY = {
    "type": "Feature",
    "id": "promenade",
    "properties": {"radius_m": 5},
    "geometry": {"type": "LineString", "coordinates": [[2.349, 48.8506], [2.352, 48.8506]]},
}


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Write a walk through the shop and the fences around it."""
    trace, fences = tmp_path / "t.jsonl", tmp_path / "f.geojson"
    steps = [2.3494 + 0.00004 * min(n, 20) for n in range(40)]
    steps += [2.3502 + 0.00004 * n for n in range(30)]
    fixes = [
        Fix(subject="ana", at=NOON + 5.0 * n, lon=lon, lat=48.85015, accuracy_m=6.0)
        for n, lon in enumerate(steps)
    ]
    trace.write_bytes(b"".join(map(write_record, fixes)))
    features = [SHOP, ROUND, WAY]
    fences.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return trace, fences


def plot(trace: Path, fences: Path, out: Path, *more: str) -> int:
    return main(["plot", str(trace), "--fences", str(fences), "--out", str(out), *more])


def words(svg: ET.Element) -> list[str]:
    return [text.text or "" for text in svg.iter(f"{SVG}text")]


def test_a_walk_is_drawn_with_what_was_decided(files: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "p.svg"
    assert plot(*files, out) == 0
    svg = ET.fromstring(out.read_text("utf-8"))
    said = words(svg)
    assert said[0] == "ana"
    assert "70 fixes" in said[1]
    assert "Shop & Söhne" in said
    assert "kiosk" in said
    assert "shop <7>: probability of being inside" in said
    assert {"enter", "exit", "N"} <= set(said)
    told = [title.text or "" for title in svg.iter(f"{SVG}title")]
    assert any(text.startswith("enter shop <7> at 2026-05-01T12:0") for text in told)
    assert any(text.startswith("exit shop <7> at 2026-05-01T12:0") for text in told)
    assert any(text.endswith(" m") for text in said)  # the scale bar
    again = tmp_path / "again.svg"
    assert plot(*files, again) == 0
    assert again.read_bytes() == out.read_bytes()


def test_a_run_s_own_transitions_are_drawn(files: tuple[Path, Path], tmp_path: Path) -> None:
    trace, fences = files
    run = tmp_path / "run"
    replay = ["replay", str(trace), "--fences", str(fences), "--decide", "point"]
    assert main([*replay, "--out", str(run)]) == 0
    out = tmp_path / "p.svg"
    assert plot(trace, fences, out, "--run", str(run)) == 0
    by_point = ET.fromstring(out.read_text("utf-8"))
    assert plot(trace, fences, out, "--decide", "point") == 0
    assert words(ET.fromstring(out.read_text("utf-8"))) == words(by_point)


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        (["--subject", "nobody"], "--subject nobody: the traces hold no record of this subject"),
        (["--run", "nowhere"], "nowhere: holds no transitions.jsonl"),
    ],
)
def test_what_cannot_be_drawn_is_said(
    files: tuple[Path, Path],
    tmp_path: Path,
    more: list[str],
    problem: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert plot(*files, tmp_path / "p.svg", *more) == 2
    assert problem in capsys.readouterr().err


def test_another_format_is_refused_and_two_subjects_are_named(
    files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace, fences = files
    assert plot(trace, fences, tmp_path / "p.png") == 2
    assert "the picture is SVG: name it " in capsys.readouterr().err
    other = Fix(subject="ben", at=NOON, lon=2.35, lat=48.85)
    trace.write_bytes(trace.read_bytes() + write_record(other))
    assert plot(trace, fences, tmp_path / "p.svg") == 2
    assert "2 subjects: name one with --subject: ana, ben" in capsys.readouterr().err
    assert plot(trace, fences, tmp_path / "p.svg", "--subject", "ben") == 0


def test_what_beacons_say_has_a_timeline_and_no_map(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site, trace, out = tmp_path / "site.toml", tmp_path / "t.jsonl", tmp_path / "p.svg"
    uuid = "f7826da6-4fa2-4e98-8024-bc5b71e0893e"
    site.write_text(
        '[[place]]\nid = "aisle"\nnear_dbm = -70\n'
        f'[[beacon]]\nuuid = "{uuid}"\nmajor = 1\nminor = 1\nplace = "aisle"\n'
    )
    beacon: Any = {"format": "ibeacon", "uuid": uuid, "major": 1, "minor": 1, "power_dbm": -59}
    heard = [
        Sighting(subject="ana", beacon=beacon, at=NOON + n, rssi_dbm=-60.0 - n % 7)
        for n in range(30)
    ]
    trace.write_bytes(b"".join(map(write_record, heard)))
    assert main(["plot", str(trace), "--site", str(site), "--out", str(out)]) == 0
    said = words(ET.fromstring(out.read_text("utf-8")))
    assert "aisle: level heard, dBm" in said
    assert "\u2212100" in said
    assert "N" not in said
    assert capsys.readouterr().err == ""


def test_a_drawing_is_legal_whatever_it_is_given() -> None:
    panel = Panel(
        "p", "a\x00b <&> \ud800", 0.0, 1.0, [(0.0, 0.5), (1e6, 2.0)], joined=True,
        bounds=[(0.7, "\x1b")], visits=[(0.0, 0.0)], marks=[Mark("corrected", "p", 0.0, 5.0)],
    )  # fmt: skip
    picture = Picture("t\x07", [], 0.0, 0.0, [], [(0.0, 180.0, -90.0)], [], [panel])
    svg = ET.fromstring(draw(picture))
    assert svg.tag == f"{SVG}svg"
    assert "nan" not in draw(picture)


def test_years_have_no_more_ticks_than_days(files: tuple[Path, Path], tmp_path: Path) -> None:
    trace, fences = files
    start = trace.read_bytes()
    for years, tick in ((1, ">2026-"), (8000, ">3")):
        late = Fix(subject="ana", at=NOON + years * 365.25 * 86400.0 * 0.9, lon=2.35, lat=48.85)
        trace.write_bytes(start + write_record(late))
        out = tmp_path / f"{years}.svg"
        assert plot(trace, fences, out) == 0
        assert out.stat().st_size < 200_000
        assert tick in out.read_text("utf-8")
