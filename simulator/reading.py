"""What the readers of trace files share: the file being read, its lines, and how it is refused.

Knows no format; ``trace.py`` finds out which one a file is in.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO

from proximity.feeds import Decoded, Incoming
from proximity.model import ProximityError, Record

BLOCK_BYTES = 128 * 1024
"""How much is read and decoded at once: large enough that the decoder's own cost rules, small
enough that a block of the shortest lines stays below the feeds' bound on a batch."""

#: The longest line (a whole Overland batch is some 600 kB), and the longest stretch of XML without
#: an end of tag: what is longer is no trace, and would have to be held in memory.
LONGEST_LINE = 16 * 1024 * 1024


class TraceError(ProximityError):
    """A trace that cannot be read: file, line (from 1; None: the file as a whole), what, mend."""

    def __init__(self, file: str, line: int | None, what: str, mend: str) -> None:
        self.file, self.line, self.what, self.mend = file, line, what, mend
        place = file if line is None else f"{file}, line {line}"
        super().__init__(f"{place}: {what}: {mend}")


class Reading:
    """One trace file being read: its name, the subject it speaks of, and what is left out of it.

    ``counts`` tells at any time how many were ``read``, ``ignored`` (rightly no record: a visit, a
    waypoint, a row without position) and ``bad``. A bad record ends the reading with TraceError,
    unless ``on_bad`` takes it: then the rest is read.
    """

    def __init__(
        self,
        stream: BinaryIO,
        name: str,
        stem: str,
        on_bad: Callable[[TraceError], None] | None = None,
        counts: Counter[str] | None = None,
    ) -> None:
        self.stream = stream
        self.name = name
        self.stem = stem
        self.counts: Counter[str] = Counter() if counts is None else counts
        self._on_bad = on_bad
        self._head = b""
        self.line = 0  # the number of the line last given by lines()

    def head(self, size: int) -> bytes:
        """Look at the first bytes without consuming them."""
        while len(self._head) < size:
            more = self.stream.read(size - len(self._head))
            if not more:
                break
            self._head += more
        return self._head

    def blocks(self) -> Iterator[bytes]:
        """Give the whole file in blocks of bytes."""
        if self._head:
            yield self._head
        self._head = b""
        while block := self.stream.read(BLOCK_BYTES):
            yield block

    def line_blocks(self) -> Iterator[bytes]:
        """Give the whole file in blocks that end with a line, the last perhaps without its end."""
        rest: list[bytes] = []
        held, line = 0, 1
        for block in self.blocks():
            for start in range(0, len(block), BLOCK_BYTES):  # the head may be larger
                piece = block[start : start + BLOCK_BYTES]
                cut = piece.rfind(b"\n") + 1
                if cut:
                    whole = b"".join((*rest, piece[:cut]))
                    line += whole.count(b"\n")
                    yield whole
                    rest, held = [], 0
                if cut < len(piece):
                    rest.append(piece[cut:])
                    held += len(piece) - cut
                if held > LONGEST_LINE:
                    raise self.refusal(
                        line, f"the line is longer than {LONGEST_LINE} bytes", "is it a trace?"
                    )
        if rest:
            yield b"".join(rest)

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """Give the lines with their numbers from 1, blank ones left out."""
        for block in self.line_blocks():
            for line in block.split(b"\n")[: block.count(b"\n") + (not block.endswith(b"\n"))]:
                self.line += 1
                if line.strip():
                    yield self.line, line

    def incoming(self, body: bytes) -> Incoming:
        """Make the message that a part of this file would have been."""
        return Incoming(body=body, otherwise=self.stem, now=math.nan)

    def deliver(self, decoded: Decoded, line: int | None = None) -> Iterator[Sequence[Record]]:
        """Give the records of a part, in order, up to what is bad of it.

        ``line`` is the file's line that the part stands on; None: the part's own numbers count.
        """
        self.counts["ignored"] += decoded.ignored
        start = 0
        for bad in decoded.rejected:
            stop = start
            while stop < len(decoded.records) and decoded.lines[stop] < bad.line:
                stop += 1
            self.counts["read"] += stop - start
            yield decoded.records[start:stop]
            start = stop
            self.bad(bad.line if line is None else line, bad.reason)
        self.counts["read"] += len(decoded.records) - start
        yield decoded.records[start:] if start else decoded.records

    def keep(self, record: Record | None) -> Sequence[Record]:
        """Give one record, or count that there was rightly none."""
        self.counts["ignored" if record is None else "read"] += 1
        return () if record is None else (record,)

    def bad(self, line: int, what: str, mend: str = "mend or remove it") -> None:
        """Refuse one record: TraceError, or a note to whoever asked for the rest."""
        problem = self.refusal(line, what, mend)
        if self._on_bad is None:
            raise problem
        self.counts["bad"] += 1
        self._on_bad(problem)

    def refusal(self, line: int | None, what: str, mend: str) -> TraceError:
        """Make the error that names this file."""
        return TraceError(self.name, line, what, mend)
