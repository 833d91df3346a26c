"""The question: how are events handed to a subscriber, and are they there when that says so.

A signed POST, or lines that are on the disk. Each takes events in order and answers as a channel
does; what was not accepted whole may be handed over again. It must not know positions.
"""

from __future__ import annotations

import asyncio
import os
import re
import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from proximity.channels.channel import Reply
from proximity.channels.egress import Egress
from proximity.channels.envelope import BATCH, STRUCTURED, as_batch, as_binary, as_structured
from proximity.channels.signatures import sign, signer_of
from proximity.channels.webhook import post
from proximity.model import digest
from proximity.outbound.subscribers import FileSink, UrlSink

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from proximity.channels.envelope import Envelope

__all__ = ["Lines", "Posts", "Sink", "open_sink"]

_BLOCK = 64 * 1024
_MOST_POST = 256 * 1024
"""Bytes of one POST; what is more is posted by itself, for the receiver to judge."""


class Sink(Protocol):
    """Where a subscriber's events go."""

    @property
    def together(self) -> int:
        """How many events it takes at once."""

    async def take(self, events: Sequence[Envelope]) -> Reply:
        """Hand over events in order: all of them are accepted, or none is known to be."""

    async def close(self) -> None:
        """Let go of connections and files."""


def open_sink(to: UrlSink | FileSink, clock: Callable[[], float] = time.time) -> Sink:
    """Make what hands over to a subscriber. Raises ProximityError."""
    return Posts(to, clock) if isinstance(to, UrlSink) else Lines(to, clock)


class Posts:
    """Posts events to one URL, signed; ``webhook-id`` is the event's id, or made of all of them."""

    def __init__(self, to: UrlSink, clock: Callable[[], float] = time.time) -> None:
        self.together = to.batch
        self._to = to
        self._signers = [signer_of(secret) for secret in to.secrets]
        self._egress = Egress(to.allow)
        self._clock = clock

    async def take(self, events: Sequence[Envelope]) -> Reply:
        """Post one event, or several as a batch."""
        first = events[0]
        if self._to.batch > 1:
            key = f"batch-{digest(*(event.id for event in events))}"
            headers, body = {"content-type": BATCH}, as_batch(events)
        elif self._to.binary:
            key = first.id
            headers, body = as_binary(first)
        else:
            key = first.id
            headers, body = {"content-type": STRUCTURED}, as_structured(first)
        if len(body) > _MOST_POST and len(events) > 1:
            for half in (events[: len(events) // 2], events[len(events) // 2 :]):
                reply = await self.take(half)
                if reply.outcome != "accepted":
                    break
            return reply
        headers |= sign(self._signers, key, self._clock(), body)
        return await post(self._egress, self._to.url, headers, body)

    async def close(self) -> None:
        """Close the connections."""
        await self._egress.close()


class Lines:
    """Appends events to a file, a line of JSON each; they are synced before they count as taken.

    A file that is too large, or was last written in another period, is set aside under a name with
    its time. A line that a crash left half written is cut off: its event comes again.
    """

    together = 500

    def __init__(self, to: FileSink, clock: Callable[[], float] = time.time) -> None:
        self._to = to
        self._clock = clock
        self._file: int | None = None
        self._at_work = threading.Lock()
        self._closed = False

    async def take(self, events: Sequence[Envelope]) -> Reply:
        """Append the events' lines; a disk that refuses is tried again."""
        lines = b"".join(as_structured(event) + b"\n" for event in events)
        try:
            await asyncio.to_thread(self._append, lines)
        except OSError as error:
            said = {"error": os.strerror(error.errno or 0), "file": str(self._to.path)}
            return Reply(outcome="retry", reply=said)
        return Reply(outcome="accepted", reply={"bytes": len(lines)})

    async def close(self) -> None:
        """Close the file; where it is still being written, whoever writes it does."""
        self._closed = True
        # Closed under a thread that a cancelled task left behind, its number may be another file's.
        if self._at_work.acquire(blocking=False):
            try:
                self._let_go()
            finally:
                self._at_work.release()

    def _append(self, lines: bytes) -> None:
        with self._at_work:
            try:
                self._write(lines)
            finally:
                if self._closed:
                    self._let_go()

    def _let_go(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _write(self, lines: bytes) -> None:
        if self._file is not None and not _is_called(self._file, self._to.path):
            self._let_go()
        if self._file is None:
            self._file = _open_whole(self._to.path)
        found = os.fstat(self._file)
        period = self._to.rotate_s
        old = found.st_mtime // period != self._clock() // period
        if found.st_size and (old or found.st_size + len(lines) > self._to.rotate_bytes):
            self._let_go()
            self._set_aside(found.st_mtime)
            self._file = _open_whole(self._to.path)
            found = os.fstat(self._file)
        try:
            written = 0
            while written < len(lines):
                written += os.write(self._file, lines[written:])
            os.fsync(self._file)
        except OSError:
            # What is there by half would be there twice after the next attempt.
            os.ftruncate(self._file, found.st_size)
            raise

    def _set_aside(self, written_at: float) -> None:
        path = self._to.path
        stamp = datetime.fromtimestamp(written_at, UTC).strftime("%Y%m%dT%H%M%SZ")
        ours = re.compile(
            rf"{re.escape(path.stem)}-(\d{{8}}T\d{{6}}Z)-(\d{{6,}}){re.escape(path.suffix)}"
        )
        known = [found for one in path.parent.iterdir() if (found := ours.fullmatch(one.name))]
        # Above those of the same second, so that names stand in the order of what is in them.
        number = max((int(one[2]) for one in known if one[1] == stamp), default=0) + 1
        path.rename(path.with_name(f"{path.stem}-{stamp}-{number:06}{path.suffix}"))
        if self._to.keep:
            too_many = max(0, len(known) + 1 - self._to.keep)
            for name in sorted(one[0] for one in known)[:too_many]:
                path.with_name(name).unlink()
        _sync_folder(path.parent)


def _open_whole(path: Path) -> int:
    """Open a file to append to, its owner's alone, without a last line that is no whole one."""
    new = not path.exists()
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        if new:
            _sync_folder(path.parent)
        end = size = os.fstat(file).st_size
        while end:
            start = max(0, end - _BLOCK)
            cut = os.pread(file, end - start, start).rfind(b"\n")
            end = start + cut + 1 if cut >= 0 else start
            if cut >= 0:
                break
        if end < size:
            os.ftruncate(file, end)
    except OSError:
        os.close(file)
        raise
    return file


def _is_called(file: int, path: Path) -> bool:
    """Whether an open file is the one of that name: who takes lines out puts another there."""
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
