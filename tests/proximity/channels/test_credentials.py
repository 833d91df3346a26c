"""A secret is read from where it is kept well, and from nowhere else."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from proximity.channels.credentials import read_credential
from proximity.tomltable import TomlTable

if TYPE_CHECKING:
    from pathlib import Path


def read(config: dict[str, Any], folder: Path) -> tuple[str | None, list[str]]:
    table = TomlTable(config, "channel.x")
    found = read_credential(table, folder, "key", "the key")
    table.finish()
    return found, table.problems


def write(file: Path, content: bytes = b"canary-key", mode: int = 0o600) -> Path:
    file.write_bytes(content)
    file.chmod(mode)
    return file


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o640])
def test_a_file_that_its_owner_and_group_can_read(tmp_path: Path, mode: int) -> None:
    write(tmp_path / "k", mode=mode)
    assert read({"key_file": "k"}, tmp_path) == ("canary-key", [])


def test_a_variable_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_KEY", "canary-key")
    assert read({"key_env": "THE_KEY"}, tmp_path) == ("canary-key", [])


def test_a_link_to_a_file_as_orchestrators_mount_them(tmp_path: Path) -> None:
    (tmp_path / "k").symlink_to(write(tmp_path / "real"))
    assert read({"key_file": "k"}, tmp_path)[0] == "canary-key"


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({}, "name either key_file or key_env: where the key is kept"),
        ({"key_file": "k", "key_env": "K"}, "name either key_file or key_env"),
        ({"key_file": "absent"}, "key_file 'absent' cannot be read: No such file"),
        ({"key_file": "a\0b"}, "key_file 'a\\x00b' cannot be read: the name is none"),
        ({"key_file": "open"}, "key_file 'open' can be read by everybody on this machine: chmod"),
        ({"key_file": "listed"}, "key_file 'listed' can be read by everybody"),
        ({"key_file": "."}, "key_file '.' is no plain file"),
        ({"key_file": "pipe"}, "key_file 'pipe' is no plain file"),
        ({"key_file": "empty"}, "key_file 'empty' is empty; put the key there"),
        ({"key_file": "long"}, "key_file 'long' is longer than 65536 bytes"),
        ({"key_file": "binary"}, "key_file 'binary' is no text"),
        ({"key_env": "NOT_SET"}, "key_env 'NOT_SET' is empty"),
        ({"key_file": 7}, "key_file must be a text"),
        ({"key": "canary-key"}, "unknown key 'key'"),
    ],
)  # fmt: skip
def test_what_is_not_kept_well_is_refused_with_a_mend(
    tmp_path: Path, config: dict[str, Any], problem: str
) -> None:
    write(tmp_path / "open", mode=0o644)
    write(tmp_path / "listed", mode=0o601)
    os.mkfifo(tmp_path / "pipe", 0o600)
    write(tmp_path / "empty", b" \n")
    write(tmp_path / "long", b"canary-key" * 7000)
    write(tmp_path / "binary", b"canary-key\xff")
    found, problems = read(config, tmp_path)
    assert found is None
    assert any(one.startswith(f"channel.x: {problem}") for one in problems), problems
    assert "canary" not in " ".join(problems)
