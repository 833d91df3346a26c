"""The engine's own feed: fixes, sightings and events as the contract has them.

A body is NDJSON, a JSON array or one object. A clean body is decoded whole; only where something
is wrong is it taken apart line by line, so that one bad record costs itself alone.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec

from proximity.feeds.model import Answer, Decoded, Format, Incoming, Rejected, refused
from proximity.model import Event, Fix, Record, Sighting

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proximity.ingest.admission import Receipt

#: A usual fix is 130 to 170 bytes, so this many fill the 16 MiB that a body may have: only a batch
#: of junk meets this limit first. It bounds the reply's ``rejected`` and the time of one batch.
MOST_RECORDS = 100_000

#: A record of an array has some ten commas, and over eight bytes for each, so twenty times the
#: records is beyond what 16 MiB of real ones hold; likewise blank lines of NDJSON. Counting these
#: first keeps a body of nothing but separators from becoming millions of objects.
MOST_PARTS = 20

BOM = b"\xef\xbb\xbf"

_record: msgspec.json.Decoder[Record] = msgspec.json.Decoder(Fix | Sighting | Event)
_records: msgspec.json.Decoder[list[Record]] = msgspec.json.Decoder(list[Fix | Sighting | Event])
# A decoder of one type alone also takes records that leave their `type` to the path.
_TYPES: dict[str, type[Record]] = {"fix": Fix, "sighting": Sighting, "event": Event}
_record_of = {kind: msgspec.json.Decoder(type_) for kind, type_ in _TYPES.items()}
_records_of = {
    kind: msgspec.json.Decoder(list[type_])  # type: ignore[valid-type]
    for kind, type_ in _TYPES.items()
}
_raws: msgspec.json.Decoder[list[msgspec.Raw]] = msgspec.json.Decoder(list[msgspec.Raw])
_object: msgspec.json.Decoder[dict[str, Any]] = msgspec.json.Decoder(dict[str, Any])
_value: msgspec.json.Decoder[msgspec.Raw] = msgspec.json.Decoder(msgspec.Raw)

# msgspec's errors are ValueErrors, as are those of text that is no UTF-8; nesting beyond what
# its parser allows is a RecursionError.
_UNREADABLE = (ValueError, RecursionError)


def read_record(line: bytes, kind: str = "fix", subject: str | None = None) -> Record:
    """Read one record from its JSON text, forgiving what a whole-batch decode does not.

    A missing ``type`` is ``kind``; null means absent; ``subject`` is that of a fix or event which
    names none.
    Raises ValueError or RecursionError with the reason.
    """
    try:
        return _record.decode(line)
    except msgspec.ValidationError:
        pass  # JSON it is: what follows either mends it or says what is wrong
    fields = {key: value for key, value in _object.decode(line).items() if value is not None}
    fields.setdefault("type", kind)
    if subject is not None and fields["type"] != "sighting":
        fields.setdefault("subject", subject)
    record: Record = msgspec.convert(fields, Fix | Sighting | Event)
    return record


def decode_records(message: Incoming, kind: str) -> Decoded:
    """Read a body of records; ``kind`` is the type of those that do not say.

    Line numbers count from 1: lines of NDJSON (blank ones count but hold nothing), or places in
    an array. With a token that speaks for one id, records that claim another are refused.
    """
    body = message.body.removeprefix(BOM)
    whole = body.lstrip()[:1] == b"["
    parts = body.count(b"," if whole else b"\n")
    if parts > MOST_RECORDS * MOST_PARTS:
        return _too_many(parts)
    records = _decode_whole(body, kind, whole=whole)
    if records is None:
        return _apart(body, message, kind, whole=whole)
    if len(records) > MOST_RECORDS:
        return _too_many(len(records))
    lines = tuple(range(1, len(records) + 1))
    # A record begins each line, and there are as many lines: then each has exactly one.
    begun = body.count(b"\n{") + body.startswith(b"{")
    ends = body.count(b"\n") + (not body.endswith(b"\n"))
    if not whole and not len(records) == begun == ends:
        lines = tuple(n for n, text in enumerate(body.split(b"\n"), 1) if text.strip())
        if len(lines) != len(records):  # several values on a line, or one on several
            return _apart(body, message, kind, whole=whole)
    return _own(records, lines, (), message.speaks_for)


def _decode_whole(body: bytes, kind: str, *, whole: bool) -> list[Record] | None:
    """Decode a clean body in one go; None where it is not clean, or not JSON."""
    for one, many in ((_record_of[kind], _records_of[kind]), (_record, _records)):
        try:
            return many.decode(body) if whole else one.decode_lines(body)
        except _UNREADABLE:
            continue
    return None


def _apart(body: bytes, message: Incoming, kind: str, *, whole: bool) -> Decoded:
    """Take a body apart and keep what is good of it."""
    records: list[Record] = []
    lines: list[int] = []
    rejected: list[Rejected] = []
    try:
        parts = (
            [bytes(raw) for raw in _raws.decode(body)] if whole else [bytes(_value.decode(body))]
        )
    except _UNREADABLE as problem:
        if whole:
            return Decoded(rejected=(refused(1, problem),))
        parts = body.split(b"\n")
    filled = sum(1 for part in parts if part.strip())
    if filled > MOST_RECORDS:
        return _too_many(filled)
    for line, part in enumerate(parts, 1):
        if not part.strip():
            continue
        try:
            record = read_record(part, kind, message.speaks_for or message.otherwise)
        except _UNREADABLE as problem:
            rejected.append(refused(line, problem))
        else:
            records.append(record)
            lines.append(line)
    return _own(records, tuple(lines), tuple(rejected), message.speaks_for)


def _own(
    records: list[Record],
    lines: tuple[int, ...],
    rejected: tuple[Rejected, ...],
    speaks_for: str | None,
) -> Decoded:
    """Refuse the records whose sender is not the one that the token speaks for."""
    if speaks_for is not None:
        strange = [
            refused(line, f"this token speaks for {speaks_for!r} alone")
            for record, line in zip(records, lines, strict=True)
            if sender(record) != speaks_for
        ]
        if strange:
            out = {one.line for one in strange}
            kept = [pair for pair in zip(records, lines, strict=True) if pair[1] not in out]
            return Decoded(
                records=tuple(record for record, _ in kept),
                lines=tuple(line for _, line in kept),
                rejected=tuple(sorted((*rejected, *strange), key=lambda one: one.line)),
            )
    return Decoded(records=tuple(records), lines=lines, rejected=rejected)


def sender(record: Record) -> str | None:
    """Who speaks in a record: the gateway of a sighting that has one, else the subject."""
    if isinstance(record, Sighting) and record.gateway is not None:
        return record.gateway
    return record.subject


def _too_many(count: int) -> Decoded:
    reason = f"{count} records are more than the {MOST_RECORDS} of a batch: send them in parts"
    return Decoded(rejected=(refused(1, reason),), refusal=413)


def answer(decoded: Decoded, receipt: Receipt | None) -> Answer:
    """Write contract 7's reply: 202 with the counts, ``late`` and ``unlisted`` where not 0."""
    if decoded.refusal:
        problem = {
            "type": "about:blank",
            "title": "The batch is refused",
            "status": decoded.refusal,
            "detail": decoded.rejected[0].reason,
        }
        return Answer(decoded.refusal, msgspec.json.encode(problem), "application/problem+json")
    if receipt is None:
        return _counted(0, 0, 0, 0, 0, decoded.rejected)
    counts = (
        receipt.accepted,
        receipt.duplicate,
        receipt.unconsented,
        receipt.late,
        receipt.unlisted,
    )
    if not (decoded.rejected or receipt.rejected):
        return _clean(*counts)
    rejected = sorted((*decoded.rejected, *receipt.rejected), key=lambda one: one.line)
    return _counted(*counts, rejected)


@lru_cache(maxsize=1024)
def _clean(accepted: int, duplicate: int, unconsented: int, late: int, unlisted: int) -> Answer:
    """Write the reply where nothing was rejected: nearly all are alike."""
    return _counted(accepted, duplicate, unconsented, late, unlisted, ())


def _counted(
    accepted: int,
    duplicate: int,
    unconsented: int,
    late: int,
    unlisted: int,
    rejected: Sequence[Rejected],
) -> Answer:
    counts: dict[str, Any] = {
        "accepted": accepted,
        "duplicate": duplicate,
        "unconsented": unconsented,
    }
    if late:
        counts["late"] = late
    if unlisted:
        counts["unlisted"] = unlisted
    counts["rejected"] = rejected
    return Answer(202, msgspec.json.encode(counts), "application/json")


def _format(name: str, kind: str) -> Format:
    return Format(
        name=name,
        paths=(f"/v1/{name}",),
        methods=("POST",),
        decode=lambda message: decode_records(message, kind),
        answer=answer,
    )


FIXES = _format("fixes", "fix")
SIGHTINGS = _format("sightings", "sighting")
EVENTS = _format("events", "event")
