"""The reference page on fences names what there is, and its example is sound."""

from __future__ import annotations

import json
import re
from pathlib import Path

import geofences
from geofences import convert, geojson, geometry, outline, properties
from geofences.__main__ import main

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "fences.md").read_text(encoding="utf-8")


def test_every_property_shape_reason_format_and_command_is_explained():
    for name in properties.PROPERTIES:
        assert f"`{name}`" in PAGE
    for kind in geometry.GEOMETRIES:
        assert kind in PAGE
    for what, _ in outline.REASONS.values():
        assert what in PAGE
    for name, command in main.commands.items():
        usage = next(line for line in PAGE.splitlines() if line.startswith(f"| `geofences {name} "))
        for option in command.params:
            assert option.opts[0] in usage or option.metavar in usage
    for ending in convert.PLAIN[:2]:
        assert f"`{ending}`" in PAGE


def test_bounds_are_those_of_the_code():
    assert f"{geojson.MAX_BYTES // 2**20} MB" in PAGE
    for bound in (geometry.MAX_POSITIONS, geometry.MAX_PARTS, int(properties.MAX_RADIUS_M)):
        assert f"{bound:,}" in PAGE
    assert f"{geometry.MAX_NESTING} levels" in PAGE


def test_the_examples_hold(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (drawn,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    Path("fences.geojson").write_text(drawn)
    assert geofences.loads(json.dumps(json.loads(drawn))).problems == ()
    (program,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, object] = {}
    exec(
        compile(
            program.replace("index.remove", "found = index.locate(2.3522, 48.8566); index.remove"),
            "fences.md",
            "exec",
        ),
        names,
    )
    assert names["found"] == ["store-7"]
