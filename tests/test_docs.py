"""What the documentation tells a reader to type works, in the order of the page.

A page is one sitting: its blocks run from top to bottom in one shell and one Python, in an empty
folder that holds a copy of ``examples/``. How a block is treated follows from what stands before it:

- three backticks and ``sh``: lines that begin with ``$ `` are commands and the lines under each are
  what it prints (``...`` stands for anything); without such lines the whole block is a script.
  A command that ends with a status other than 0 is a failure.
- ``python``: run as it stands; names of earlier blocks are there.
- ``toml``, ``json``, ``csv`` and so on after ``<!-- file: NAME -->``: written to NAME first.
- ``sh`` after ``<!-- left running: REASON -->``: one command, started beside the others (a reader's
  second terminal) until the page ends; the page goes on once it has printed what stands under it.
- anything after ``<!-- not run: REASON -->``: left alone, and the reader of the source sees why.
"""

from __future__ import annotations

import doctest
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path
from threading import Timer
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("**/*.md")])
FENCE = re.compile(
    r"(?:^<!-- (?P<mark>file|left running|not run): (?P<note>[^>]+?) -->\n\n?)?"
    r"^(?P<indent> *)```(?P<language>[a-z]*)[^\n]*\n(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
# The port that the pages use; a free one takes its place, so that a run never meets a real server.
PORT = "8080"
PAGE_LIMIT_S = 300.0
BESIDE_LIMIT_S = 30.0
SETTLE_LIMIT_S = 5.0


@dataclass(frozen=True)
class Block:
    page: Path
    line: int
    mark: str | None
    note: str
    language: str
    text: str

    @property
    def at(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> list[Block]:
    text = page.read_text()
    return [
        Block(
            page,
            text.count("\n", 0, found.start("language")) + 1,
            found["mark"],
            (found["note"] or "").strip(),
            found["language"],
            re.sub(f"^{found['indent']}", "", found["text"], flags=re.MULTILINE),
        )
        for found in FENCE.finditer(text)
    ]


class Sitting:
    """One shell and one Python in one folder, as a reader of a page has them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = str(free.getsockname()[1])
        commands = Path(sys.executable).parent
        self.shell = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=folder,
            env={**os.environ, "PATH": f"{commands}:{os.environ['PATH']}", "COLUMNS": "100"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.names: dict[str, object] = {"__name__": "__main__"}
        self.something_runs = False
        self.limit = Timer(PAGE_LIMIT_S, self.kill)
        self.limit.start()

    def type(self, command: str, *, script: bool = False) -> tuple[int, str]:
        """Give the shell a command; its status and what it printed."""
        assert self.shell.stdin is not None
        assert self.shell.stdout is not None
        mark = "--end-of-command--"
        command = command.replace(PORT, self.port)
        # The group takes the command's own input away: a command that reads would eat the next.
        # Of a script every command must end well; after `$ ` the last one, as in a terminal.
        self.shell.stdin.write(
            f"bad=0; trap 'bad=$?' ERR\n{{ {command}\n}} </dev/null\nlast=$?; trap - ERR\n"
            f"printf '%s %d\\n' '\n{mark}' ${'bad' if script else 'last'}\n"
        )
        self.shell.stdin.flush()
        printed: list[str] = []
        for line in self.shell.stdout:
            if line.startswith(mark):
                text = "".join(printed).replace(self.port, PORT)
                return int(line.split()[1]), text[: -len("\n")]
            printed.append(line)
        raise AssertionError(f"the shell ended, or {PAGE_LIMIT_S:g} s were over, at: {command}")

    def check(self, command: str, wanted: str | None, at: str) -> None:
        """Give the shell a command that must end well and print what the page says."""
        status, got = self.type(command, script=wanted is None)
        if wanted is not None and wanted.strip():
            # What runs beside answers before it has thought: ask again, as a reader would.
            rounds = int(SETTLE_LIMIT_S / 0.1) if self.something_runs else 0
            while not agrees(wanted, got) and rounds:
                time.sleep(0.1)
                status, got = self.type(command)
                rounds -= 1
            assert agrees(wanted, got), f"{at}: {command}\nprinted:\n{got}"
        assert status == 0, f"{at}: {command}\nended with status {status}:\n{got}"

    def leave_running(self, command: str, wanted: str, at: str) -> None:
        """Start a command beside the others and wait until it has printed what it should."""
        log = self.folder / ".beside.log"
        self.type(f"({command}) >{log.name} 2>{log.name}.err &")
        self.something_runs = True
        for _ in range(int(BESIDE_LIMIT_S / 0.05)):
            printed = log.read_text().replace(self.port, PORT) if log.exists() else ""
            if agrees(wanted, printed):
                return
            time.sleep(0.05)
        raise AssertionError(
            f"{at}: {command}\nhas not printed what the page says, but:\n{printed}"
        )

    def run(self, code: str, at: str) -> None:
        exec(compile(code.replace(PORT, self.port), at, "exec"), self.names)

    def kill(self) -> None:
        os.killpg(self.shell.pid, signal.SIGKILL)

    def close(self) -> None:
        self.limit.cancel()
        assert self.shell.stdin is not None
        assert self.shell.stdout is not None
        if self.shell.poll() is None:
            self.kill()
        self.shell.wait()
        self.shell.stdin.close()
        self.shell.stdout.close()


@pytest.fixture
def sitting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sitting]:
    if (ROOT / "examples").is_dir():
        shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    started = Sitting(tmp_path)
    yield started
    started.close()


def steps(text: str) -> Sequence[tuple[str, str | None]]:
    """Split a shell block into commands and what each is said to print; None for a script."""
    if not re.search(r"^\$ ", text, re.MULTILINE):
        return [(text, None)]
    found: list[tuple[str, str]] = []
    going_on = False
    for line in text.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], ""))
            going_on = line.endswith("\\")
        elif going_on:
            found[-1] = (f"{found[-1][0]}\n{line}", "")
            going_on = line.endswith("\\")
        elif found:
            found[-1] = (found[-1][0], f"{found[-1][1]}{line}\n")
    return found


def agrees(wanted: str, got: str) -> bool:
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    return doctest.OutputChecker().check_output(wanted, got, options)


@pytest.mark.parametrize(
    "page", [page for page in PAGES if blocks(page)], ids=lambda page: page.name
)
def test_what_a_page_tells_its_reader_to_type_works(page: Path, sitting: Sitting) -> None:
    for block in blocks(page):
        if block.mark == "not run":
            continue
        if block.mark == "file":
            target = sitting.folder / block.note
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(block.text)
        if block.language == "toml":
            tomllib.loads(block.text)
        elif block.language in {"json", "geojson"} and "…" not in block.text:
            json.loads(block.text)
        elif block.language == "python" and block.mark is None:
            sitting.run(block.text, block.at)
        elif block.mark == "left running":
            ((command, wanted),) = steps(block.text)
            sitting.leave_running(command, wanted or "", block.at)
        elif block.language in {"sh", "bash", "console", "shell"} and block.mark is None:
            for command, wanted in steps(block.text):
                sitting.check(command, wanted, block.at)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_between_pages_leads_somewhere(page: Path) -> None:
    text = FENCE.sub("", page.read_text())
    for target in LINK.findall(text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        leads_to = (page.parent / path).resolve() if path else page
        assert leads_to.exists(), f"{page.name}: {target}"
        if anchor:
            assert anchor in anchors(leads_to), f"{page.name}: {target}"


def anchors(page: Path) -> set[str]:
    """Spell the headings of a page as links spell them."""
    heads = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in heads}


def test_every_page_is_reachable_from_the_index() -> None:
    index = ROOT / "docs" / "index.md"
    linked = {(index.parent / target.partition("#")[0]).resolve() for target in links(index)}
    missing = [
        page.name for page in (ROOT / "docs").glob("**/*.md") if page not in {*linked, index}
    ]
    assert missing == []


def links(page: Path) -> list[str]:
    return [
        target
        for target in LINK.findall(page.read_text())
        if not target.startswith(("http:", "https:"))
    ]


def test_every_block_says_what_it_is_in() -> None:
    # A block without a language would be neither run nor marked: nobody would see that it is wrong.
    assert [block.at for page in PAGES for block in blocks(page) if not block.language] == []


def test_a_block_left_out_says_why() -> None:
    for page in PAGES:
        text = page.read_text()
        for reason in re.findall(r"<!-- not run:(.*?)-->", text, re.DOTALL):
            assert len(reason.split()) >= 3, (
                f"{page.name}: 'not run' wants a reason, not {reason!r}"
            )
        # A mark that is not directly above a block would switch nothing off, unseen.
        marks = len(re.findall(r"<!-- (?:file|left running|not run):", text))
        assert marks == sum(block.mark is not None for block in blocks(page)), page.name


@pytest.mark.parametrize(
    ("wanted", "got", "same"),
    [
        ("a\n...\nc\n", "a\nb\nc\n", True),
        ("a\n", "b\n", False),
        ("3 fences ...\n", "3 fences in 2 ms\n", True),
    ],
)
def test_the_comparison_can_fail(wanted: str, got: str, same: bool) -> None:
    assert agrees(wanted, got) is same


def test_a_shell_block_splits_into_commands_and_what_they_print() -> None:
    text = "$ one \\\n    --more\nprinted\n$ two\n"
    assert steps(text) == [("one \\\n    --more", "printed\n"), ("two", "")]
    assert steps("a\nb\n") == [("a\nb\n", None)]


def test_a_failing_command_fails_the_page(sitting: Sitting) -> None:
    assert sitting.type("echo out; echo err >&2; false") == (1, "out\nerr\n")
    assert sitting.type("false; true") == (0, "")
    assert sitting.type("false\ntrue", script=True) == (1, "")
    assert sitting.type("false || true", script=True) == (0, "")
    assert sitting.type("X=kept") == (0, "")
    assert sitting.type('echo "$X"') == (0, "kept\n")
