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
"""Bad records named one by one; of those left out the rest are in the summary's count."""

BOM = b"\xef\xbb\xbf"
"""What some editors put before UTF-8 text."""


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
    bad records out and says on standard error which, the first few of them; else what comes before
    the first is given, and then ProximityError raised that names as many.
    """
    problems: list[TraceError] = []

    def left_out(problem: TraceError) -> None:
        if counts["bad"] <= MOST_SAID:
            sys.stderr.write(f"left out: {problem}\n")

    def refused(problem: TraceError) -> None:
        problems.append(problem)
        if len(problems) > MOST_SAID:
            raise problem

    streams: list[Parts] = []
    missing: list[str] = []
    for path in traces:
        try:
            file = sys.stdin.buffer if path == STANDARD else stack.enter_context(path.open("rb"))
        except OSError as error:
            missing.append(f"{path}: cannot be read: {error.strerror}: check the name")
            continue
        if path != STANDARD:
            opened(file)
        name = "standard input" if path == STANDARD else str(path)
        on_bad = left_out if skip_bad else refused
        streams.append(read_parts(file, name, on_bad=on_bad, counts=counts))
    if missing:
        raise ProximityError(*missing)
    return merge(streams) if skip_bad else _sound(merge(streams), problems)


def _sound(parts: Parts, problems: list[TraceError]) -> Parts:
    """Give what comes before the first bad record; then find what else is bad, and refuse all."""
    try:
        for part in parts:
            if not problems:
                yield part
    except ProximityError as error:
        if not problems:
            raise
        if error not in problems:
            raise ProximityError(*map(str, problems), *error.problems) from None
        more = "and there is more: mend these first, or leave out what is bad with --skip-bad"
        raise ProximityError(*map(str, problems[:MOST_SAID]), more) from None
    if problems:
        raise ProximityError(*map(str, problems))


def read_small(path: Path) -> bytes:
    """Read a whole file of bounded size, less a byte order mark; ``-`` is standard input."""
    try:
        with open_input(path) as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ProximityError(f"{path}: cannot be read: {error.strerror}: check the name") from None
    if len(raw) > MAX_BYTES:
        raise ProximityError(f"{path}: larger than {MAX_BYTES} bytes: split it")
    return raw.removeprefix(BOM)


def write_small(path: Path, content: bytes) -> None:
    """Write a whole file; ``-`` is standard output, whose trouble is the command's to tell."""
    if path == STANDARD:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
        return
    try:
        path.write_bytes(content)
    except OSError as error:
        raise ProximityError(
            f"{path}: cannot be written: {error.strerror}: name a file that can be"
        ) from None
