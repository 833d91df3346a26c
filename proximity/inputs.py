"""The question: where is the file that a command was given, and what is it called.

A path, or ``-`` for standard input. It must not know what any file says.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["STANDARD", "called", "open_input"]

STANDARD = Path("-")
"""What stands for standard input wherever a command reads a file."""


@contextmanager
def open_input(path: Path) -> Iterator[BinaryIO]:
    """Open a file to read its bytes; standard input stays open. Raises OSError."""
    if path == STANDARD:
        yield sys.stdin.buffer
        return
    with path.open("rb") as file:
        yield file


def called(path: Path) -> str:
    """Give the name that problems of this file are led by."""
    return "standard input" if path == STANDARD else path.name
