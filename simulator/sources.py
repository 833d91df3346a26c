"""Where do the records of a run come from, and when do they come?

Opens traces and small files, bounds them and names them; every problem is a ProximityError that
says which file, where in it and what would mend it. Knows no engine.
"""

from __future__ import annotations

import sys
from itertools import chain
from typing import TYPE_CHECKING, BinaryIO

from proximity.inputs import STANDARD, open_input
from proximity.model import ProximityError
from simulator.trace import Parts, TraceError, merge, read_parts

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterator
    from contextlib import ExitStack
    from pathlib import Path

    from proximity.model import Record

__all__ = ["arrival", "parts_of", "read_small", "records_of", "write_small"]

MAX_BYTES = 256 * 1024 * 1024
"""People and expectations larger than this are a mistake; traces may be of any size."""

MOST_SAID = 20
"""Bad records named one by one; the rest are in the summary's count."""


def arrival(record: Record) -> float:
    """When a record came, in Unix seconds: when it was received, else when it was made."""
    return record.at if record.received_at is None else record.received_at


def records_of(
    traces: tuple[Path, ...],
    stack: ExitStack,
    opened: Callable[[BinaryIO], None],
    counts: Counter[str],
    *,
    skip_bad: bool,
) -> Iterator[Record]:
    """Read traces record by record; the arguments are those of ``parts_of``."""
    return chain.from_iterable(parts_of(traces, stack, opened, counts, skip_bad=skip_bad))


def parts_of(
    traces: tuple[Path, ...],
    stack: ExitStack,
    opened: Callable[[BinaryIO], None],
    counts: Counter[str],
    *,
    skip_bad: bool,
) -> Parts:
    """Read traces, merged by their time; files stay open as long as ``stack``.

    ``opened`` is told each file, ``counts`` gains what ``read_trace`` counts. ``skip_bad`` leaves
    bad records out and says on standard error which, the first few of them.
    """

    def left_out(problem: TraceError) -> None:
        if counts["bad"] <= MOST_SAID:
            sys.stderr.write(f"left out: {problem}\n")

    streams: list[Parts] = []
    for path in traces:
        file: BinaryIO = sys.stdin.buffer
        if path != STANDARD:
            try:
                file = stack.enter_context(path.open("rb"))
            except OSError as error:
                raise ProximityError(f"{path}: cannot be read: {error.strerror}") from None
            opened(file)
        name = "standard input" if path == STANDARD else str(path)
        on_bad = left_out if skip_bad else None
        streams.append(read_parts(file, name, on_bad=on_bad, counts=counts))
    return merge(streams)


def read_small(path: Path) -> bytes:
    """Read a whole file of bounded size; ``-`` is standard input."""
    try:
        with open_input(path) as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ProximityError(f"{path}: cannot be read: {error.strerror}") from None
    if len(raw) > MAX_BYTES:
        raise ProximityError(f"{path}: larger than {MAX_BYTES} bytes: split it")
    return raw


def write_small(path: Path, content: bytes) -> None:
    """Write a whole file; ``-`` is standard output."""
    try:
        if path == STANDARD:
            sys.stdout.buffer.write(content)
        else:
            path.write_bytes(content)
    except OSError as error:
        raise ProximityError(f"{path}: cannot be written: {error.strerror}") from None
