"""The bar of a long run: on a terminal, after a while, and only then."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from proximity.model import Fix
from simulator import progress
from simulator.progress import Progress

FIXES = [Fix(subject="s", at=float(n), lon=0.0, lat=0.0) for n in range(10)]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def watched(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Stand a terminal in for standard error; in the test itself, where pytest's own is in place."""
    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(progress, "EVERY", 4)
    return screen


def test_no_bar_where_nobody_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setattr(progress, "EVERY", 1)
    monkeypatch.setattr(progress, "AFTER_S", 0.0)
    with Progress() as bar:
        assert list(bar.over(FIXES[n : n + 2] for n in range(0, 10, 2))) == FIXES
    assert bar.records == 10
    assert screen.getvalue() == ""


def test_no_bar_for_a_short_run(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = watched(monkeypatch)
    with Progress() as bar:
        assert list(bar.over(FIXES[n : n + 2] for n in range(0, 10, 2))) == FIXES
    assert terminal.getvalue() == ""


@pytest.mark.parametrize("sized", [True, False])
def test_a_bar_for_a_long_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, sized: bool
) -> None:
    terminal = watched(monkeypatch)
    monkeypatch.setattr(progress, "AFTER_S", 0.0)
    file = tmp_path / "t"
    file.write_bytes(b"x" * 100)
    with Progress() as bar, file.open("rb") as stream:
        if sized:
            bar.reads(stream)
        assert list(bar.over(FIXES[n : n + 2] for n in range(0, 10, 2))) == FIXES
    assert "8 records" in terminal.getvalue()
