"""What a running agent writes of itself, by the level that somebody asked for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog

from beacon_gateway.logs import LEVEL, log_to_stderr


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    yield
    structlog.reset_defaults()


@pytest.mark.parametrize(
    ("said", "least", "written"),
    [
        (None, "info", ["info", "warning"]),
        ("", "warning", ["warning"]),
        ("DEBUG", "info", ["debug", "info", "warning"]),
        ("error", "info", []),
    ],
)
def test_what_is_asked_for_is_written(
    said: str | None,
    least: str,
    written: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv(LEVEL, raising=False)
    if said is not None:
        monkeypatch.setenv(LEVEL, said)
    log_to_stderr(least)
    log = structlog.get_logger("t")
    for level in ("debug", "info", "warning"):
        getattr(log, level)("told")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == len(written)
    assert all(level in line for level, line in zip(written, lines, strict=True))


@pytest.mark.parametrize("said", ["verbose", "basic_format", "7"])
def test_a_level_that_is_none_is_told_and_ends_nothing(
    said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(LEVEL, said)
    log_to_stderr()
    structlog.get_logger("t").info("goes on")
    no_such, goes_on = capsys.readouterr().err.splitlines()
    assert LEVEL in no_such
    assert "goes on" in goes_on
