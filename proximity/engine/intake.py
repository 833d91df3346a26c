"""Is this record new, and does it still count?

The first step of every record, before the journal or straight before the engine: repeats, records
from the future and records too far behind are told from the rest. Knows nothing of places. Pure:
time is what the records say.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Collection, Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Literal

import msgspec
import numpy as np

from proximity.engine.sorting import Sorting
from proximity.engine.trail import AT, ROW_BYTES, newest_of, row_of
from proximity.model import Fix, Record, Sighting

Refusal = Literal["duplicate", "future", "late"]

# Contract 1: an `at` more than this after its `received_at` is the clock's fault, not travel.
FUTURE_S = 60.0
_encode = msgspec.msgpack.Encoder().encode

# Records remembered at most: 32 bytes each for plain fixes, some 130 for others; an hour at a
# thousand a second. Above that repeats are told from new records for a shorter time; the engine's
# visits do not change by that.
MOST_MARKS = 4_000_000
# From here on a subject's rows grow in place, since copying them costs more than the room.
_GROWS = 64 * ROW_BYTES


def sender(record: Record) -> str:
    """Name who sent a record: the gateway of a sighting that has one, else the subject."""
    return (record.gateway if isinstance(record, Sighting) else None) or record.subject or ""


def fingerprint(record: Record) -> int:
    """Hash what makes a record the same as another: sender and id, else every field.

    64 bits of BLAKE2b, the same on every machine. ``received_at`` and the sender's own counters
    take no part: a record that is sent again keeps its content, not its time of arrival.
    """
    content: tuple[object, ...]
    if record.id is not None:
        content = (sender(record), record.id)
    elif isinstance(record, Fix):
        content = (
            record.subject, record.at, record.lon, record.lat, record.accuracy_m,
            record.altitude_m, record.floor, record.speed_mps, record.course_deg, record.motion,
            record.mock,
        )  # fmt: skip
    elif isinstance(record, Sighting):
        content = (record.gateway, record.subject, record.at, record.rssi_dbm, record.beacon)
    else:
        content = (record.subject, record.at, record.name, sorted(record.properties.items()))
    return int.from_bytes(blake2b(_encode(content), digest_size=8).digest())


Trails = list[tuple[str, bytes]]
Marks = list[tuple[int, float]]
Packed = tuple[float, float, float, Trails, Trails, Marks, Marks, list[tuple[str, float]]]
"""What an intake packs itself into."""


class Admitted(msgspec.Struct, array_like=True, frozen=True):
    """What an intake remembers of some records, to be written down until it is recalled.

    ``rows`` are those of plain fixes as they came, and ``subjects`` whose each is; ``marks`` are
    the fingerprints of all others, eight bytes each, and ``newest`` the newest of those by subject
    (Unix seconds).
    """

    subjects: list[str]
    rows: bytes
    marks: bytes
    newest: list[tuple[str, float]]

    def __post_init__(self) -> None:
        """Raise ValueError where a row or a mark is not whole, or nobody's."""
        if len(self.rows) != len(self.subjects) * ROW_BYTES or len(self.marks) % 8:
            raise ValueError("a row of 32 bytes for each subject, and marks of 8 are expected")

    @property
    def count(self) -> int:
        """How many records they are."""
        return len(self.subjects) + len(self.marks) // 8

    @classmethod
    def of(cls, records: Sequence[Record], subjects: Iterable[str | None]) -> Admitted:
        """Pack records that were admitted, in that order; ``subjects`` as ``admit_many`` has them.

        Lists as long as each other.
        """
        whose: list[str] = []
        rows: list[bytes] = []
        newest: dict[str, float] = {}
        marks: list[int] = []
        for record, subject in zip(records, subjects, strict=True):
            whom, row = subject or sender(record), _own_row(record)
            if row is None:
                marks.append(fingerprint(record))
                newest[whom] = max(record.at, newest.get(whom, record.at))
            else:
                whose.append(whom)
                rows.append(row)
        packed = struct.pack(f"<{len(marks)}Q", *marks)
        return cls(whose, b"".join(rows), packed, [*newest.items()])

    def without(self, names: Collection[str]) -> Admitted:
        """Give the same without what is known of some subjects; fingerprints name nobody."""
        kept = [one for one in zip(self.subjects, self.split(), strict=True) if one[0] not in names]
        newest = [one for one in self.newest if one[0] not in names]
        rows = b"".join(row for _, row in kept)
        return Admitted([whom for whom, _ in kept], rows, self.marks, newest)

    def split(self) -> list[bytes]:
        """Give the rows one by one."""
        if not self.rows:
            return []
        rows: list[bytes] = np.frombuffer(self.rows, f"V{ROW_BYTES}").tolist()
        return rows


class Intake:
    """Admits each record once: remembers what came for ``late_s`` seconds of the records' time.

    ``now`` is the greatest ``received_at``, else ``at``, of all records so far (Unix seconds).
    Memory: two generations, at most MOST_MARKS records. A plain fix without an id is remembered by
    its row, so that one that is newer than all of its subject's needs no look; every other record
    by a 64-bit fingerprint.
    """

    __slots__ = (
        "_count", "_newer", "_newest", "_older", "_rows", "_rows_before", "_turned", "late_s",
        "now",
    )  # fmt: skip

    def __init__(self, late_s: float = 3600.0) -> None:
        self.late_s = late_s
        self.now = 0.0
        # A trail's last row is its newest.
        self._rows: dict[str, bytes | bytearray] = {}
        self._rows_before: dict[str, bytes | bytearray] = {}
        self._newer: dict[int, float] = {}
        self._older: dict[int, float] = {}
        # Of those records that have no row.
        self._newest: dict[str, float] = {}
        self._turned = 0.0
        self._count = 0

    def admit(self, record: Record, subject: str | None = None) -> Refusal | None:
        """Take a record, or say why not: ``duplicate``, ``future`` or ``late``.

        ``subject`` names whom a gateway's sighting speaks for, so that lateness is measured
        against that subject's newest record.
        """
        return self._admit(record, subject or sender(record), _own_row(record))

    def admit_many(
        self,
        records: Sequence[Record],
        subjects: Iterable[str | None] | None = None,
        rows: Iterable[bytes | None] | None = None,
    ) -> list[Refusal | None]:
        """Take records one after the other, each as ``admit`` does.

        ``rows`` are those of plain fixes without an id (None for all others), where the caller has
        them.
        """
        if rows is None:
            rows = map(_own_row, records)
        whose = map(sender, records) if subjects is None else subjects
        refusals: list[Refusal | None] = []
        # What nearly every record is, without a call: newer than all of its subject's. What it
        # needs to know stands at hand, and is looked up again where a record was another.
        time_at, trails = AT.unpack_from, self._rows
        turns, room, now = self._at_hand()
        for record, whom, row in zip(records, whose, rows, strict=True):
            subject = whom or sender(record)
            trail = trails.get(subject)
            at, arrived = record.at, record.received_at
            if arrived is None:
                arrived = at
            if (
                row is None
                or trail is None
                or room <= 0
                or self._newest  # of records that have no row: their times count, too
                or not time_at(trail, len(trail) - ROW_BYTES)[0] < at <= arrived + FUTURE_S
                or arrived >= turns
            ):
                self._put_back(room, now)
                refusals.append(self._admit(record, subject, row))
                trails = self._rows
                turns, room, now = self._at_hand()
                continue
            if arrived > now:  # noqa: PLR1730 - a call for each record
                now = arrived
            trail += row
            if len(trail) >= _GROWS and type(trail) is bytes:
                trail = bytearray(trail)
            trails[subject] = trail
            room -= 1
            refusals.append(None)
        self._put_back(room, now)
        return refusals

    def _at_hand(self) -> tuple[float, int, float]:
        """Give when the next generation begins, how many records it takes at most, and the time."""
        return self._turned + self.late_s, MOST_MARKS // 2 - 1 - self._count, self.now

    def _put_back(self, room: int, now: float) -> None:
        self._count, self.now = MOST_MARKS // 2 - 1 - room, now

    def _admit(self, record: Record, whom: str, row: bytes | None) -> Refusal | None:
        at, arrived = record.at, record.received_at
        if arrived is None:
            arrived = at
        elif at > arrived + FUTURE_S:
            return "future"
        trail = self._rows.get(whom)
        newest = self._newest_before(whom) if trail is None else newest_of(trail)
        if self._newest:
            newest = max(newest, self._newest.get(whom, newest))
        if at < newest - self.late_s:
            return "late"
        if arrived > self.now:
            self.now = arrived
            if arrived >= self._turned + self.late_s:
                self._turn(forget=arrived >= self._turned + 2.0 * self.late_s)
                trail = None
        if row is None:
            if not self._mark(fingerprint(record)):
                return "duplicate"
            if at > newest:
                self._newest[whom] = at
        elif at > newest:
            # Newer than all that is known of its subject: it cannot be a repeat.
            if trail is None:
                self._rows[whom] = row
            else:
                trail += row
                if len(trail) >= _GROWS and type(trail) is bytes:
                    trail = bytearray(trail)
                self._rows[whom] = trail
        elif _has(trail or b"", row) or _has(self._rows_before.get(whom, b""), row):
            return "duplicate"
        elif trail is None:
            self._rows[whom] = row
            self._newest[whom] = newest
        else:
            self._rows[whom] = row + trail
        self._count += 1
        if self._count >= MOST_MARKS // 2:
            self._turn(forget=False)
        return None

    def recall(self, pieces: Iterable[tuple[float, Admitted]]) -> None:
        """Remember what was admitted: pieces, the oldest first, each with its Unix second.

        For an intake that has admitted nothing yet.
        """
        waiting = Sorting()
        for now, some in pieces:
            self.now = max(self.now, now)
            waiting.add(some.subjects, some.rows)
            marks = struct.unpack(f"<{len(some.marks) // 8}Q", some.marks)
            self._newer.update(dict.fromkeys(marks, now))
            for whom, at in some.newest:
                self._newest[whom] = max(at, self._newest.get(whom, at))
            self._count += some.count
            if self._count >= MOST_MARKS // 2:
                self._join(waiting)
                self._turn(forget=False)
                waiting = Sorting()
        self._join(waiting)
        self._turned = self.now

    def _join(self, waiting: Sorting) -> None:
        """Remember the rows that were recalled."""
        for whom, trail in waiting.trails():
            before = self._newest_before(whom)
            if before > newest_of(trail):
                self._newest[whom] = max(before, self._newest.get(whom, before))
            self._rows[whom] = bytes(trail) if len(trail) < _GROWS else bytearray(trail)

    def _newest_before(self, whom: str) -> float:
        trail = self._rows_before.get(whom)
        return -math.inf if trail is None else newest_of(trail)

    def _mark(self, mark: int) -> bool:
        """Remember a fingerprint; False where it is that of a record that came before."""
        seen = self._newer.get(mark, self._older.get(mark))
        if seen is not None and self.now <= seen + self.late_s:
            return False
        self._newer[mark] = self.now
        return True

    def _turn(self, *, forget: bool) -> None:
        """Begin a generation: a record is remembered for at least late_s, at most twice that."""
        self._older = {} if forget else self._newer
        self._rows_before = {} if forget else self._rows
        self._newer, self._rows, self._count = {}, {}, 0
        self._turned = self.now
        # A subject that was silent for so long is new when it comes again.
        old = self.now - 2.0 * self.late_s
        self._newest = {whom: at for whom, at in self._newest.items() if at >= old}

    def forget(self, record: Record) -> None:
        """Undo the admission of a record that could not be kept, so that it may come again."""
        row, whom = _own_row(record), sender(record)
        if row is None:
            mark = fingerprint(record)
            self._newer.pop(mark, None)
            self._older.pop(mark, None)
            return
        for trails in (self._rows, self._rows_before):
            trail = trails.get(whom, b"")
            place = _find(trail, row)
            if place >= 0:
                kept = trail[:place] + trail[place + ROW_BYTES :]
                if kept:
                    trails[whom] = kept
                else:
                    del trails[whom]

    def forget_subject(self, subject: str) -> None:
        """Drop what is known of one subject (fingerprints name nobody and run out)."""
        self._newest.pop(subject, None)
        self._rows.pop(subject, None)
        self._rows_before.pop(subject, None)

    def pack(self) -> Packed:
        """Give the whole state as plain values, for a snapshot."""
        return (
            self.late_s, self.now, self._turned, _packed(self._rows),
            _packed(self._rows_before), sorted(self._newer.items()),
            sorted(self._older.items()), sorted(self._newest.items()),
        )  # fmt: skip

    @classmethod
    def unpack(cls, state: Packed, late_s: float | None = None) -> Intake:
        """Rebuild an intake from what ``pack`` gave, perhaps with another ``late_s``."""
        kept_late_s, now, turned, rows, rows_before, newer, older, newest = state
        intake = cls(kept_late_s if late_s is None else late_s)
        intake.now, intake._turned = now, turned
        intake._rows = {
            whom: trail if len(trail) < _GROWS else bytearray(trail) for whom, trail in rows
        }
        intake._rows_before = dict(rows_before)
        intake._newer, intake._older, intake._newest = dict(newer), dict(older), dict(newest)
        intake._count = len(newer) + sum(len(trail) for _, trail in rows) // ROW_BYTES
        return intake


def _packed(trails: Mapping[str, bytes | bytearray]) -> Trails:
    return sorted((whom, bytes(trail)) for whom, trail in trails.items())


def _own_row(record: Record) -> bytes | None:
    """Give the row that a record is remembered by; None for those that take a fingerprint."""
    return row_of(record) if type(record) is Fix and record.id is None else None


def _find(trail: bytes | bytearray, row: bytes) -> int:
    """Find a row in a trail; -1 where it is not there."""
    place = trail.find(row)
    while place % ROW_BYTES:
        if place < 0:
            break
        place = trail.find(row, place + 1)
    return place


def _has(trail: bytes | bytearray, row: bytes) -> bool:
    return _find(trail, row) >= 0
