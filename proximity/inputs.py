"""The question: where is the file that a command was given, and what is it called.

A path, or ``-`` for standard input. It must not know what any file says.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from proximity.model import ProximityError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

__all__ = [
    "BOM", "PARQUET", "STANDARD", "called", "open_input", "read_parquet", "read_table", "read_text",
]  # fmt: skip

STANDARD = Path("-")
"""What stands for standard input wherever a command reads a file."""
BOM = b"\xef\xbb\xbf"
"""What some editors put before UTF-8 text."""
PARQUET = b"PAR1"
"""How a Parquet file begins (Apache Parquet, "File Format")."""
NO_FILE = "it is no file of this kind"


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


def read_text(path: Path, most: int, mend: str = NO_FILE, name: str | None = None) -> str:
    """Read a text of at most ``most`` bytes, less a byte order mark.

    Raises ProximityError where it cannot be read; ``mend`` says what to do with a larger one.
    ``name`` leads the problem, where the path's own does not.
    """
    name = called(path) if name is None else name
    return _text(_bytes(path, most, mend, name), name)


def read_table(path: Path, most: int, own: Collection[str], kinds: Collection[str] = ()) -> str:
    """Read a table as CSV: a text of at most ``most`` bytes, or a Parquet file of as many.

    ``own`` and ``kinds`` are what ``parquet.as_csv`` needs to know of the columns. Raises
    ProximityError where it cannot be read.
    """
    raw = _bytes(path, most, NO_FILE, called(path))
    if not raw.startswith(PARQUET):
        return _text(raw, called(path))
    from proximity.parquet import as_csv

    return as_csv(raw, called(path), own, kinds)


def read_parquet(
    begun: bytes, stream: BinaryIO, most: int, name: str, own: Collection[str],
    kinds: Collection[str],
) -> str:  # fmt: skip
    """Read the rest of a Parquet file of at most ``most`` bytes, of which some were read, as CSV.

    Raises as ``read_table`` does.
    """
    from proximity.parquet import as_csv

    raw = begun + stream.read(most + 1)
    if len(raw) > most:
        raise ProximityError(f"{name}: larger than {most} bytes: split the table")
    return as_csv(raw, name, own, kinds)


def _bytes(path: Path, most: int, mend: str, name: str) -> bytes:
    try:
        with open_input(path) as stream:
            raw = stream.read(most + 1)
    except (OSError, ValueError) as error:  # a name may hold a NUL
        reason = error.strerror if isinstance(error, OSError) else error
        raise ProximityError(
            f"{name}: cannot be read: {reason}: check the name and the rights"
        ) from None
    if len(raw) > most:
        raise ProximityError(f"{name}: larger than {most} bytes: {mend}")
    return raw


def _text(raw: bytes, name: str) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ProximityError(f"{name}: line {line} is not UTF-8: save the file as UTF-8") from None
