"""The command as it is typed: a line out for each line in, and status 2 for what cannot be read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from beacon_gateway.__main__ import MAX_LINE, main

FRAME = "0201061aff4c0002154142434445464748494041424344454600010002f8"
BEACON = {
    "format": "ibeacon",
    "uuid": "41424344-4546-4748-4940-414243444546",
    "major": 1,
    "minor": 2,
    "power_dbm": -8,
}


def decode(text: bytes, *arguments: str) -> list[object]:
    result = CliRunner().invoke(main, ["decode", *arguments], input=text)
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_a_line_out_for_each_line_in(tmp_path: Path) -> None:
    text = f"{FRAME}\r\n\nnonsense\n{FRAME}".encode()
    answers = [BEACON, None, None, BEACON]
    assert decode(text) == answers
    assert decode(text, "-") == answers
    file = tmp_path / "lines.txt"
    file.write_bytes(text)
    assert decode(b"", str(file)) == answers


def test_nothing_in_nothing_out() -> None:
    assert decode(b"") == []


def test_hostile_lines_cost_one_null_each() -> None:
    long = b"a" * (3 * MAX_LINE)
    assert decode(b"\xff\xfe\x00\n" + long + b"\n" + FRAME.encode() + b"\n") == [
        None,
        None,
        BEACON,
    ]
    assert decode(long) == [None]
    assert decode(b"a" * MAX_LINE + b"\n" + FRAME.encode()) == [None, BEACON]


@pytest.mark.parametrize("name", ["absent.txt", ".", "nul\0byte"])
def test_a_file_that_cannot_be_read_is_named_in_one_line(tmp_path: Path, name: str) -> None:
    path = str(tmp_path / name)
    result = CliRunner().invoke(main, ["decode", path])
    assert result.exit_code == 2
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert path in result.stderr
    assert "check the name" in result.stderr


def test_help_lists_what_works() -> None:
    result = CliRunner().invoke(main, ["--help"])
    assert result.exit_code == 0
    assert "decode" in result.stdout


def test_it_starts_without_what_only_the_engine_needs() -> None:
    """A gateway installs neither numpy nor GEOS nor a database: none may even be tried."""
    code = (
        "import sys\n"
        "heavy = ['numpy', 'shapely', 'sqlalchemy', 'rtree', 'pyproj', 'pandas', 'aiohttp', 'bleak']\n"
        "sys.modules.update(dict.fromkeys(heavy))\n"  # importing any of them now fails
        "from beacon_gateway.__main__ import main\n"
        "main(['decode'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=FRAME, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == BEACON


def test_it_runs_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "beacon_gateway", "decode", "absent"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr


def test_a_reader_who_has_seen_enough_is_no_fault(tmp_path: Path) -> None:
    lines = tmp_path / "lines.txt"
    lines.write_text(f"{FRAME}\n" * 50_000)
    done = subprocess.run(
        f"{sys.executable} -m beacon_gateway decode {lines} | head -n 1",
        shell=True, executable="/bin/bash", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full disk to write to")
@pytest.mark.parametrize(
    "words", ["decode lines.txt", "scan --simulate trace --speed 1000", "--help"]
)
def test_output_that_cannot_be_written_is_one_line(tmp_path: Path, words: str) -> None:
    (tmp_path / "lines.txt").write_text(f"{FRAME}\n" * 3)
    record = {"type": "sighting", "beacon": BEACON, "gateway": "gw-1", "at": 1, "rssi_dbm": -60}
    (tmp_path / "trace").write_text(json.dumps(record))
    done = subprocess.run(
        f"{sys.executable} -m beacon_gateway {words} > /dev/full",
        shell=True, executable="/bin/bash", capture_output=True, text=True, check=False,
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("beacon-gateway: standard output cannot be written (No space left")


def test_a_fault_of_the_program_is_one_line_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_line: str) -> None:
        raise RuntimeError("with a name in it")

    monkeypatch.setattr("beacon_gateway.__main__.decode_line", fail)
    result = CliRunner().invoke(main, ["decode"], input="00\n")
    assert (result.exit_code, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith(
        "beacon-gateway: a fault of the program: RuntimeError in test_main.py, line "
    )
    assert "with a name" not in line


@pytest.mark.parametrize(
    "command", ["decode", "run", "scan", "doctor", "calibrate", "install-service"]
)
def test_each_command_says_what_it_does(command: str) -> None:
    result = CliRunner().invoke(main, [command, "--help"])
    assert (result.exit_code, result.stderr) == (0, "")
    assert "Usage: main" in result.stdout


def test_run_names_everything_that_is_missing() -> None:
    result = CliRunner().invoke(main, ["run", "--speed", "0"])
    assert (result.exit_code, result.stdout) == (2, "")
    speed, server, folder = result.stderr.splitlines()
    assert "--speed" in speed
    assert "server is not set" in server
    assert "data is not set" in folder


@pytest.mark.parametrize(
    "words",
    [
        ["run", "--server", "http://engine", "--data", ""],
        ["doctor", "--server", "http://engine", "--data", "d", "--token-file", ""],
        ["calibrate", "near", ""],
    ],
)
def test_an_empty_name_is_not_this_folder(words: list[str]) -> None:
    result = CliRunner().invoke(main, words)
    assert (result.exit_code, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    assert "is empty: give a name" in line


@pytest.mark.parametrize(
    "words", [["nonsense"], ["decode", "--nonsense"], ["decode", "a", "b"], []]
)
def test_bad_usage_is_one_line(words: list[str]) -> None:
    result = CliRunner().invoke(main, words)
    assert (result.exit_code, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith("beacon-gateway: ")


@pytest.mark.parametrize(
    "words", ["decode lines.txt", "scan --simulate trace --speed 1000 --json", "--help"]
)
def test_who_has_seen_enough_gets_no_status_and_no_word(tmp_path: Path, words: str) -> None:
    (tmp_path / "lines.txt").write_text(f"{FRAME}\n" * 3)
    record = {"type": "sighting", "beacon": BEACON, "gateway": "gw-1", "at": 1, "rssi_dbm": -60}
    (tmp_path / "trace").write_text(json.dumps(record))
    reads, writes = os.pipe()
    os.close(reads)
    done = subprocess.run(
        [sys.executable, "-m", "beacon_gateway", *words.split()],
        stdout=writes, stderr=subprocess.PIPE, cwd=tmp_path, text=True, check=False,
    )  # fmt: skip
    os.close(writes)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("words", ["decode", "decode lines.txt", "--help"])
def test_closed_streams_are_empty_ones(tmp_path: Path, words: str) -> None:
    (tmp_path / "lines.txt").write_text(f"{FRAME}\n" * 3)
    done = subprocess.run(
        f"{sys.executable} -m beacon_gateway {words} <&- >&-",
        shell=True, executable="/bin/bash", stderr=subprocess.PIPE, cwd=tmp_path, text=True,
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_a_byte_order_mark_is_no_part_of_the_first_line() -> None:
    assert decode(b"\xef\xbb\xbf" + FRAME.encode()) == [BEACON]


@pytest.mark.parametrize(
    "words",
    [
        "scan --simulate trace --seconds nan",
        "doctor --server http://127.0.0.1:1 --data d --seconds nan",
        "calibrate record --simulate trace --gateway gw-1 --out o --seconds nan",
        "calibrate near --simulate trace --gateway gw-1 --place p --seconds nan",
    ],
)
def test_seconds_are_a_number(words: str) -> None:
    result = CliRunner().invoke(main, words.split())
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert "nan is no number of seconds" in line
