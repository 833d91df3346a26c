"""How far is a long run? A bar on standard error, where somebody watches."""

from __future__ import annotations

import os
import sys
import time
from itertools import chain
from typing import TYPE_CHECKING, BinaryIO, Self

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.progress import Progress as Bar
    from rich.progress import TaskID

    from proximity.model import Record
    from simulator.trace import Parts

__all__ = ["Progress"]

AFTER_S = 1.0
"""A run that is over sooner shows no bar: it would only flicker."""

EVERY = 2048
"""Records between two looks at the clock, at least."""


class Progress:
    """Counts records as they pass and, after a second on a terminal, shows a bar of bytes read."""

    def __init__(self) -> None:
        self.records = 0
        self._look_at = EVERY
        self._files: list[BinaryIO] = []
        self._bytes = 0
        self._began = time.monotonic()
        self._shown = sys.stderr.isatty()
        self._bar: Bar | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def reads(self, file: BinaryIO) -> None:
        """Take a file's size into the total; one without a size (a pipe) makes the end unknown."""
        if file.seekable():
            self._files.append(file)
            self._bytes += os.fstat(file.fileno()).st_size

    def over(self, parts: Parts) -> Iterator[Record]:
        """Give the records of ``parts`` one by one, counted as each part comes."""
        return chain.from_iterable(self._counted(parts))

    def _counted(self, parts: Parts) -> Parts:
        for part in parts:
            self.records += len(part)
            if self._shown and self.records >= self._look_at:
                self._look_at = self.records + EVERY
                self._show()
            yield part

    def _show(self) -> None:
        if self._bar is None:
            if time.monotonic() - self._began < AFTER_S:
                return
            from rich.console import Console
            from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            self._bar = Bar(
                TextColumn("{task.fields[records]:>12,} records"),
                BarColumn(),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._task = self._bar.add_task("", total=self._bytes or None, records=0)
            self._bar.start()
        assert self._task is not None
        done = sum(file.tell() for file in self._files if not file.closed)
        self._bar.update(self._task, completed=done, records=self.records)
