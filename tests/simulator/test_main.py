"""The command and its streams: who reads no more, a disk that is full, what is closed."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from simulator.__main__ import main

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a scenario, and run it."""
    folder = tmp_path_factory.mktemp("made")
    assert main(["make", "walk-in", "--seed", "1", "--out", str(folder)]) == 0
    words = ["replay", "trace.jsonl", "--site", "site.toml", "--out", "run"]
    done = subprocess.run(
        [sys.executable, "-m", "simulator", *words], cwd=folder, check=False, capture_output=True
    )
    assert done.returncode == 0
    return folder


WORDS = [
    "--help",
    "make --list",
    "replay trace.jsonl --site site.toml",
    "replay trace.jsonl --site site.toml --expect expect.jsonl --junit -",
    "score run/transitions.jsonl truth.jsonl",
    "compare run run",
    "plot trace.jsonl --site site.toml --out -",
]


@pytest.mark.parametrize("words", WORDS)
def test_who_has_seen_enough_gets_no_status_and_no_word(made: Path, words: str) -> None:
    reads, writes = os.pipe()
    os.close(reads)
    command = [sys.executable, "-m", "simulator", *words.split()]
    done = subprocess.run(
        command, stdout=writes, stderr=subprocess.PIPE, cwd=made, text=True, check=False
    )
    os.close(writes)
    assert (done.returncode, done.stderr) == (0, "")


def shell(made: Path, line: str) -> subprocess.CompletedProcess[str]:
    """Run a line of shell in which `simulator` is the command, with buffered streams."""
    words = f'simulator() {{ "{sys.executable}" -m simulator "$@"; }}; {line}'
    given = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    return subprocess.run(
        ["bash", "-c", words], capture_output=True, text=True, check=False, env=given, cwd=made
    )


@pytest.mark.parametrize("words", WORDS)
def test_a_full_disk_is_one_line_that_says_so(made: Path, words: str) -> None:
    done = shell(made, f"simulator {words} > /dev/full")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("simulator: standard output: cannot be written: No space left on device")


def test_closed_streams_are_empty_ones(made: Path) -> None:
    for words in WORDS:
        done = shell(made, f"simulator {words} <&- >&-")
        assert (done.returncode, done.stderr) == (0, "")
    done = shell(made, "simulator replay - --site site.toml <&-")
    assert (done.returncode, done.stdout[:12]) == (0, "0 records of")


@pytest.mark.parametrize(
    "words", ["make walk-in --out -", "replay trace.jsonl --site site.toml --out -"]
)
def test_a_folder_is_not_standard_output(made: Path, words: str) -> None:
    done = shell(made, f"simulator {words}")
    assert done.returncode == 2
    assert "--out is a folder" in done.stderr
    assert not (made / "-").exists()


def test_a_server_that_is_no_url_is_named(made: Path) -> None:
    for server in ("ftp://x", "localhost:8080", ""):
        for words in ("replay trace.jsonl", "record --out new.jsonl"):
            done = shell(made, f"PROXIMITY_TOKEN=t simulator {words} --server '{server}'")
            assert done.returncode == 2
            assert "is no URL: write http://HOST:PORT" in done.stderr


def test_marks_of_byte_order_are_no_part_of_what_is_judged(made: Path) -> None:
    truth = (made / "truth.jsonl").read_text("utf-8")
    (made / "marked.jsonl").write_text(truth, "utf-8-sig")
    (made / "expected.jsonl").write_text((made / "expect.jsonl").read_text("utf-8"), "utf-8-sig")
    for words in (
        "score run/transitions.jsonl marked.jsonl",
        "replay trace.jsonl --site site.toml --expect expected.jsonl",
    ):
        assert shell(made, f"simulator {words}").returncode == 0
