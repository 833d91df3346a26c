"""The trial run, as a newcomer starts it: real processes, real HTTP, a real walk."""

from __future__ import annotations

import io
import os
import pty
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import proximity.demo
from proximity.commands.story import EXPECTED, Screen, Story
from proximity.model import ProximityError

COMMAND = [sys.executable, "-m", "proximity", "demo"]
# Generous: it bounds a hang, it measures nothing.
PATIENCE_S = 120


@pytest.mark.slow
def test_the_demo_tells_its_story_and_ends() -> None:
    done = subprocess.run(COMMAND, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    for said in (
        "10 times as fast",
        "ana   enters cafe",
        "ana   has been in cafe for 30 s",
        "ana   gets “Stay a little: the second cup is on us.”",
        "passed every gate: stale, active, place_hours, consent",
        "ben   enters cafe",
        "ben   has left cafe, at ",
        "ben   gets nothing\n                  second-cup waits for dwell",
        "cleo  gets no warm-bread\n                  no_consent: never agreed to marketing",
        "simulator replay street.jsonl",
    ):
        assert said in done.stdout
    steps = [done.stdout.index(f"ana   {step}") for step in ("enters", "has been", "is to", "gets")]
    assert steps == sorted(steps)
    assert not re.search("ben   (is to get|gets “)", done.stdout)
    assert "\x1b" not in done.stdout
    times = re.findall(r"^  (\d\d:\d\d:\d\d)  ", done.stdout, re.MULTILINE)
    assert len(times) >= 8
    assert times == sorted(times) or times[-1] < times[0]  # a walk may cross midnight


@pytest.mark.slow
def test_on_a_terminal_it_keeps_serving_until_ctrl_c() -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        # Whatever started the tests may ignore Ctrl-C (a job in the background), and that is passed on.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.execv(COMMAND[0], COMMAND)
    told, give_up, url = b"", time.monotonic() + PATIENCE_S, ""
    while time.monotonic() < give_up:
        ready, _, _ = select.select([terminal], [], [], 0.2)
        try:
            told += os.read(terminal, 65536) if ready else b""
        except OSError:  # the other end is closed: Linux says so with an error
            break
        if b"with Ctrl-C" in told and not url:
            url = re.search(rb"http://127.0.0.1:(\d+)", told)[1].decode()  # type: ignore[index]
            with socket.create_connection(("127.0.0.1", int(url)), timeout=5):
                pass  # it still listens
            folder = Path(re.search(rb"(/\S*)/admin.token", told)[1].decode())  # type: ignore[index]
            assert folder.is_dir()
            os.write(terminal, b"\x03")
    else:
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0, told.decode()
    assert url
    assert not folder.exists()
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", int(url)), timeout=5)


@pytest.mark.slow
def test_a_step_that_does_not_happen_is_no_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    street = tmp_path / "street"
    shutil.copytree(proximity.demo.street(), street)
    file = street / "walkers.toml"
    walkers = file.read_text("utf-8")
    head, *others = walkers.split("[[walker]]")
    # Ana stays at home, and all is over after a moment.
    path = "path = [[2.3800, 48.8700], [2.3801, 48.8700]]\n"
    file.write_text("[[walker]]".join([head, re.sub("path = .*\n", path, others[0])]), "utf-8")
    monkeypatch.setattr(proximity.demo, "street", lambda: street)
    monkeypatch.setattr(proximity.demo, "AFTER_WALK_S", 0.5)
    assert proximity.demo.main([]) == 1
    told = capfd.readouterr()
    assert "not as expected: ana enters the café; " in told.out
    assert "why ben gets nothing" in told.out


def test_a_port_that_is_taken_is_said(capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            [*COMMAND, "--port", str(port)],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
    assert done.returncode == 2
    assert "the server did not start" in done.stderr
    assert f"port {port} cannot be bound" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_missing_street_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(proximity.demo, "__file__", str(tmp_path / "proximity" / "demo.py"))
    with pytest.raises(ProximityError, match="install the package anew"):
        proximity.demo.street()
    (tmp_path / "proximity" / "street").mkdir(parents=True)
    assert proximity.demo.street() == tmp_path / "proximity" / "street"
    monkeypatch.chdir(tmp_path)
    assert proximity.demo.street() == Path("proximity/street")


def story() -> tuple[Story, io.StringIO]:
    screen, out = Screen(), io.StringIO()
    screen._console = Console(file=out, highlight=False, soft_wrap=True)
    return Story(screen), out


def record(**fields: Any) -> dict[str, Any]:
    at = "2026-05-01T10:00:00.000Z"
    return {
        "subject": "ana-phone",
        "place": "cafe",
        "at": at,
        "decided_at": at,
        "because": {},
    } | fields


def test_the_story_misses_what_was_not_told() -> None:
    told, _ = story()
    assert told.missing == [name for name, _ in EXPECTED] + ["why ben gets nothing"]
    told.take(record(kind="enter"))
    assert "ana enters the café" not in told.missing
    assert "ben enters the café" in told.missing


def test_an_offer_for_who_walks_by_is_wrong() -> None:
    told, _ = story()
    told.take(record(decision="send", person="ben", campaign="second-cup", gates=[]))
    assert "ben walks by and must get nothing" in told.missing


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"kind": "pass", "because": {"gap_s": 4.0}},
            "ana   passes cafe\n                  gap_s=4",
        ),
        ({"kind": "enter", "because": {"rssi_dbm": -60.0}}, "rssi_dbm=-60"),
        ({"kind": "exit", "because": {"distance_m": 14.5}}, "14.5 m outside the edge\n"),
        (
            {
                "decision": "suppress",
                "reason": "capped",
                "campaign": "x",
                "gates": [{"gate": "caps", "passed": False, "because": {"count": 2}}],
            },
            "gets no x\n                  capped: the gate caps saw count=2",
        ),
        (
            {"outcome": "expired", "channel": "webhook", "reason": "expired"},
            "is not reached by webhook: expired",
        ),
    ],
)
def test_words_for_what_else_may_happen(fields: dict[str, Any], words: str) -> None:
    told, out = story()
    told.take(record(**fields))
    assert words in out.getvalue()


@pytest.mark.parametrize("alphabet", ["ascii", "latin-1"])
def test_a_terminal_that_lacks_a_sign_gets_another(alphabet: str) -> None:
    code = "from proximity.commands.story import Screen; Screen().fact('ana', '“ж”')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        env=os.environ | {"PYTHONIOENCODING": alphabet},
        timeout=PATIENCE_S,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"  ana      ???\n", b"")


def test_what_has_no_words_is_passed_over() -> None:
    told, out = story()
    told.take(record(kind="corrected", at=None))
    assert out.getvalue() == ""
