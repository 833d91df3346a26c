"""Trace files in and out: which format is this file in, and what records does it hold?

A file's content tells its format, never its name. What is also a wire format is read by the feeds'
own ``FORMATS``; GPX and CSV have a file each beside this one. Files are streamed: memory is bounded
by a block or a line, and only a JSON document of one piece is held whole.
"""

from __future__ import annotations

import contextlib
import heapq
import re
import sys
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate, chain
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from proximity.feeds import FORMATS, Decoded
from proximity.model import Event, Fix, Record, Sighting, format_time, parse_time
from simulator.reading import Reading, TraceError
from simulator.trace_csv import read_csv
from simulator.trace_gpx import read_gpx

__all__ = [
    "Parts", "TraceError", "merge", "read_parts", "read_trace", "write_record",
]  # fmt: skip

Parts = Iterator[Sequence[Record]]
"""A trace, as many records at a time as were read together: what is plain costs little more than
its decoding, and every order of records is the same as one by one."""

#: How much of a file is looked at to tell its format: a line of Overland's largest batch fits.
HEAD_BYTES = 1024 * 1024

#: A JSON document of one piece is held whole, so it is bounded; records a line are not.
DOCUMENT_BYTES = 32 * 1024 * 1024

#: Records of a JSON array decoded at once.
CHUNK = 10_000

BOM = b"\xef\xbb\xbf"

_OWNTRACKS_REC = re.compile(rb"\d{4}-\d\d-\d\dT[\d:.]+Z?\t[^\t]{1,64}\t")
_COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"PK": "zip",
    b"BZ": "bzip2",
    b"\xfd7": "xz",
    b"\x28\xb5": "zstd",
}
_KNOWN = "JSON lines, GPX, CSV with a header line, OwnTracks .rec and Overland batches are read"


def read_trace(
    source: str | Path | BinaryIO,
    name: str | None = None,
    *,
    on_bad: Callable[[TraceError], None] | None = None,
    counts: Counter[str] | None = None,
) -> Iterator[Record]:
    """Read a trace in any of the formats above, record by record in the order of the file.

    Arguments and errors are those of ``read_parts``.
    """
    return chain.from_iterable(read_parts(source, name, on_bad=on_bad, counts=counts))


def read_parts(
    source: str | Path | BinaryIO,
    name: str | None = None,
    *,
    on_bad: Callable[[TraceError], None] | None = None,
    counts: Counter[str] | None = None,
) -> Parts:
    """Read a trace in any of the formats above, as many records at a time as come together.

    ``source`` is a path, ``-`` for standard input, or a binary stream. A record that names no
    subject belongs to the file's stem. Raises TraceError, as soon as it comes to it, where the
    file or a record cannot be used; with ``on_bad`` a bad record goes there and is left out.
    ``counts`` gains ``read``, ``ignored`` and ``bad``.
    """
    with contextlib.ExitStack() as opened:
        if isinstance(source, str | Path):
            stream, given = _open(source, opened)
        else:
            stream, given = source, "trace"
        name = given if name is None else name
        yield from _records(Reading(stream, name, Path(name).stem[:128] or "trace", on_bad, counts))


def _open(path: str | Path, opened: contextlib.ExitStack) -> tuple[BinaryIO, str]:
    if str(path) == "-":
        return sys.stdin.buffer, "standard input"
    try:
        return opened.enter_context(Path(path).open("rb")), str(path)
    except (OSError, ValueError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else None
        raise TraceError(
            str(path), None, f"cannot be opened ({reason or problem})", "give a readable file"
        ) from None


def _records(reading: Reading) -> Parts:
    try:
        yield from _reader(reading)(reading)
    except OSError as problem:
        raise reading.refusal(
            None, f"cannot be read ({problem.strerror or problem})", "give a readable file"
        ) from None


def _reader(reading: Reading) -> Callable[[Reading], Parts]:
    """Tell the format by how the file begins."""
    head = reading.head(HEAD_BYTES)
    for magic, packing in _COMPRESSED.items():
        if head.startswith(magic):
            raise reading.refusal(None, f"it is packed ({packing})", "unpack it first")
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        if b"<" in head[:4]:
            return read_gpx
        raise reading.refusal(None, "it is UTF-16 text", "save it as UTF-8")
    text = head.removeprefix(BOM).lstrip()
    if not text:
        return lambda _: iter(())
    if text.startswith(b"<"):
        return read_gpx
    if text.startswith(b"["):
        return _read_document
    first, ended, _ = text.partition(b"\n")
    if text.startswith(b"{"):
        try:
            fields = msgspec.json.decode(first)
        except (ValueError, RecursionError) as problem:
            whole = not ended or "truncated" in str(problem)
            return _read_document if whole else _read_lines
        _refuse_geojson(reading, fields)
        return _line_reader(_kind(fields))
    if _OWNTRACKS_REC.match(text):
        return _read_rec
    if b"\0" in head or not any(separator in first for separator in (b",", b";", b"\t", b"|")):
        raise reading.refusal(None, "its format is not known", _KNOWN)
    return read_csv


def _kind(fields: Any) -> str:
    """Name the wire format of a JSON object by the key that only it has."""
    for key, name in (
        ("_type", "owntracks"),
        ("locations", "overland"),
        ("geometry", "overland"),
        ("location", "transistor"),
        ("coords", "transistor"),
    ):
        if isinstance(fields, dict) and key in fields:
            return name
    return "fixes"


def _refuse_geojson(reading: Reading, fields: Any) -> None:
    if isinstance(fields, dict) and fields.get("type") == "FeatureCollection":
        raise reading.refusal(None, "it is GeoJSON, not a trace", "give fences with --fences")


def _line_reader(kind: str) -> Callable[[Reading], Parts]:
    if kind == "fixes":
        return _read_lines

    def read(reading: Reading) -> Parts:
        for number, line in reading.lines():
            yield from reading.deliver(FORMATS[kind].decode(reading.incoming(line)), number)

    return read


def _read_lines(reading: Reading) -> Parts:
    """Read the engine's own records, a line each, a block at a time."""
    before = 0
    for block in reading.line_blocks():
        yield from reading.deliver(_moved(_native(reading, block), before))
        before += block.count(b"\n")


def _native(reading: Reading, body: bytes) -> Decoded:
    return FORMATS["fixes"].decode(reading.incoming(body))


def _moved(decoded: Decoded, by: int) -> Decoded:
    """Count lines from the file's first instead of the part's; only refusals tell theirs."""
    if not by or not decoded.rejected:
        return decoded
    return msgspec.structs.replace(
        decoded,
        lines=tuple(line + by for line in decoded.lines),
        rejected=tuple(
            msgspec.structs.replace(bad, line=bad.line + by) for bad in decoded.rejected
        ),
    )


def _read_document(reading: Reading) -> Parts:
    """Read one JSON value that fills the file: an array, a batch, or a record on many lines."""
    parts, size = [], 0
    for block in reading.blocks():
        parts.append(block)
        size += len(block)
        if size > DOCUMENT_BYTES:
            raise reading.refusal(
                None,
                f"one piece of JSON of more than {DOCUMENT_BYTES} bytes",
                "write a record, or a batch, a line",
            )
    body = b"".join(parts).removeprefix(BOM)
    # Real records have more than eight bytes for each comma; nothing but commas would become
    # millions of objects.
    if body.count(b",") > len(body) // 8 + CHUNK:
        raise reading.refusal(None, "the JSON holds no records", "write a record a line")
    kind, items = _items(reading, body)
    if kind == "fixes":
        for start in range(0, len(items), CHUNK):
            chunk = b",".join(bytes(raw) for raw in items[start : start + CHUNK])
            yield from reading.deliver(_moved(_native(reading, b"[" + chunk + b"]"), start))
        return
    for number, raw in enumerate(items, 1):
        message = b"[" + bytes(raw) + b"]" if kind == "overland" else bytes(raw)
        yield from reading.deliver(FORMATS[kind].decode(reading.incoming(message)), number)


def _items(reading: Reading, body: bytes) -> tuple[str, list[msgspec.Raw]]:
    """Split a document into its records, and name their format."""
    try:
        if body.lstrip().startswith(b"["):
            items = msgspec.json.decode(body, type=list[msgspec.Raw])
            return _kind(msgspec.json.decode(items[0])) if items else "fixes", items
        fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        if "features" in fields:
            _refuse_geojson(reading, {"type": "FeatureCollection"})
        kind = _kind(fields)
        if "locations" in fields:
            return kind, msgspec.json.decode(fields["locations"], type=list[msgspec.Raw])
        return kind, [msgspec.Raw(body)]
    except (ValueError, RecursionError) as problem:
        raise reading.refusal(
            1, f"the JSON cannot be read ({problem})", "write a record a line"
        ) from None


def _read_rec(reading: Reading) -> Parts:
    """Read what the OwnTracks Recorder keeps: time, kind and message, parted by tabs."""
    for number, line in reading.lines():
        when, kind, message = [*line.split(b"\t", 2), b"", b""][:3]
        if kind.strip() != b"*" and not message.lstrip().startswith(b"{"):
            reading.counts["ignored"] += 1  # a plain word to another topic
            continue
        incoming = reading.incoming(message)
        with contextlib.suppress(ValueError):  # only for messages that lack their own time
            incoming = msgspec.structs.replace(incoming, now=parse_time(when.decode()))
        yield from reading.deliver(FORMATS["owntracks"].decode(incoming), number)


def merge(traces: Iterable[Parts]) -> Parts:
    """Merge traces by ``received_at``, else ``at``, then by the order of the arguments.

    The order within a trace is the order of arrival and stays: a record that comes late in its
    trace counts at the latest time before it, as the engine's clock does (contract 1). What one
    trace has before any other comes in one piece.
    """
    streams = list(traces)
    if len(streams) == 1:
        yield from streams[0]
        return
    open_traces = [_Clocked(stream) for stream in streams]
    waiting = [(one.times[0], number) for number, one in enumerate(open_traces) if one.more()]
    heapq.heapify(waiting)
    while waiting:
        _, number = heapq.heappop(waiting)
        trace = open_traces[number]
        yield trace.until(*waiting[0], number) if waiting else trace.rest()
        if trace.more():
            heapq.heappush(waiting, (trace.times[trace.taken], number))


class _Clocked:
    """A trace that is being merged: its next records, and the time at which each counts."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._part: Sequence[Record] = ()
        self.times: list[float] = []
        self.taken = 0
        self._latest = 0.0

    def more(self) -> bool:
        """Whether a record is left; reads on where all that was read is taken."""
        while self.taken == len(self._part):
            part = next(self._parts, None)
            if part is None:
                return False
            times = [one.at if one.received_at is None else one.received_at for one in part]
            self.times = list(accumulate(times, max, initial=self._latest))[1:]
            self._part, self.taken = part, 0
            self._latest = self.times[-1] if self.times else self._latest
        return True

    def until(self, at: float, other: int, number: int) -> Sequence[Record]:
        """Take what counts before ``at``, the next time of trace ``other``; ``number`` is ours."""
        cut = bisect_right if number < other else bisect_left
        return self._take(cut(self.times, at, self.taken))

    def rest(self) -> Sequence[Record]:
        """Take all that was read."""
        return self._take(len(self._part))

    def _take(self, end: int) -> Sequence[Record]:
        start, self.taken = self.taken, end
        return self._part[start:end]


def write_record(record: Fix | Sighting | Event) -> bytes:
    """Write a record as a line of a trace, times as RFC 3339 text (contract 3)."""
    fields = msgspec.to_builtins(record)
    for name in ("at", "received_at"):
        if name in fields:
            fields[name] = format_time(fields[name])
    return msgspec.json.encode(fields) + b"\n"
