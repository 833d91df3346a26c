"""The table at a terminal, from a trace in place of a radio."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from beacon_gateway.__main__ import main
from beacon_gateway.model import Beacon
from tests.beacon_gateway.test_calibrate import OTHER, TAG, heard, write


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    return write(tmp_path / "t.jsonl", heard("gw-1", -60.0), heard("gw-1", -80.0, tag=OTHER))


def listing(folder: Path, *beacons: Beacon) -> Path:
    document = {"gateway": "gw-1", "place": "shoes", "beacons": msgspec.to_builtins(beacons)}
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_bytes(msgspec.json.encode(document))
    return folder


def scan(*words: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, ["scan", *map(str, words)])
    return result.exit_code, result.stdout, result.stderr


def test_a_trace_without_a_list_is_its_own(trace: Path) -> None:
    status, out, _ = scan("--simulate", trace, "--speed", 300)
    head, first, second = out.splitlines()
    assert status == 0
    assert head.startswith("beacon")
    assert "/1/7" in first
    assert "/1/8" in second
    assert float(first.split()[1]) == pytest.approx(-60, abs=3)


def test_only_enrolled_beacons_are_shown_unless_all_are_asked_for(
    trace: Path, tmp_path: Path
) -> None:
    data = listing(tmp_path / "data", TAG)
    before = sorted(data.iterdir())
    _, out, _ = scan("--simulate", trace, "--speed", 300, "--data", data)
    assert "/1/7" in out
    assert "/1/8" not in out
    _, out, _ = scan("--simulate", trace, "--speed", 300, "--data", data, "--all")
    assert ["not enrolled" in line for line in out.splitlines()[1:]] == [False, True]
    assert sorted(data.iterdir()) == before


def test_of_a_trace_of_several_gateways_one_is_shown(tmp_path: Path) -> None:
    both = write(tmp_path / "both", heard("gw-1", -60.0), heard("gw-2", -90.0, seed=2))
    for gateway, level in (("gw-1", -60), ("gw-2", -90)):
        _, out, _ = scan("--simulate", both, "--speed", 300, "--gateway", gateway)
        assert float(out.splitlines()[1].split()[1]) == pytest.approx(level, abs=3)


def test_lines_of_json_each_second(trace: Path) -> None:
    status, out, _ = scan("--simulate", trace, "--speed", 30, "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert status == 0
    assert len(rows) > 20
    assert rows[-2]["beacon"]["minor"] == 7
    assert rows[-2]["level_dbm"] == pytest.approx(-60, abs=3)
    assert rows[-2]["per_s"] == pytest.approx(2, abs=0.3)
    assert {row["listed"] for row in rows} == {None}, "without a list nobody can tell"
    data = listing(trace.parent / "data", TAG)
    _, out, _ = scan(
        "--simulate", trace, "--speed", 300, "--json", "--data", data, "--all", "--gateway", "gw-1"
    )
    assert {json.loads(line)["listed"] for line in out.splitlines()} == {True, False}


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is no daemon to be missing")
def test_without_bluetooth_that_is_said_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/absent")
    for words in (["--all"], [], ["--data", tmp_path]):
        status, out, err = scan(*words)
        assert (status, out) == (1, ""), words
        (line,) = err.splitlines()
        assert "D-Bus" in line


def test_a_trace_of_nothing_for_this_gateway_and_what_is_no_trace(
    trace: Path, tmp_path: Path
) -> None:
    status, _, err = scan("--simulate", trace, "--speed", 300, "--gateway", "gw-9")
    assert status == 1
    assert f"{trace}: holds nothing that this gateway heard, in 120 lines" in err
    site = tmp_path / "site.toml"
    site.write_text('\n[[gateway]]\nid = "gw-1"\n')
    status, out, err = scan("--simulate", site)
    assert (status, out) == (2, "")
    assert f"{site}: line 2: is no record of a trace" in err


def test_what_is_missing_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As where there is a radio; without one, that is what is missing first.
    monkeypatch.setattr("beacon_gateway.scan.need_radio", lambda _: None)
    (tmp_path / "config.json").write_text("{")
    for words, says in (
        ([], "--all"),
        (["--data", tmp_path / "absent"], "--all"),
        (["--data", tmp_path], "config.json"),
        (["--simulate", tmp_path / "absent"], "cannot be read"),
        (["--simulate", tmp_path / "absent", "--speed", "0"], "--speed"),
        (["--config", tmp_path / "absent"], "cannot be read"),
    ):
        status, out, err = scan(*words)
        assert (status, out) == (2, ""), words
        assert says in err
        assert len(err.splitlines()) == 1


def test_a_terminal_is_drawn_anew(trace: Path) -> None:
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "beacon_gateway", "scan", "--simulate", str(trace)]
    with subprocess.Popen(
        [*command, "--speed", "20"], stdout=follower, stderr=subprocess.PIPE,
        env={**os.environ, "COLUMNS": "70", "LINES": "3"},
    ) as shown:  # fmt: skip
        os.close(follower)
        drawn = b""
        while True:
            try:
                part = os.read(leader, 65536)
            except OSError:
                break
            if not part:
                break
            drawn += part
    os.close(leader)
    assert shown.returncode == 0
    screens = drawn.decode().split("\x1b[H")[1:]
    assert len(screens) > 1
    lines = screens[-1].split("\r\n")
    assert lines[0].startswith("beacon")
    assert "... and 2 more" in lines[1]
    assert all(len(line) <= 80 for line in lines)
