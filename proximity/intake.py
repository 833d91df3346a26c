"""Is this record new, and does it still count?

The first step of every record, before the journal or straight before the engine: repeats, records
from the future and records too far behind are told from the rest. Knows nothing of places. Pure:
time is what the records say.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Literal

import msgspec

from proximity.model import Fix, Record, Sighting

Refusal = Literal["duplicate", "future", "late"]

# Contract 1: an `at` more than this after its `received_at` is the clock's fault, not travel.
FUTURE_S = 60.0
_encode = msgspec.msgpack.Encoder().encode

# Fingerprints remembered at most, some 130 bytes each: an hour at 250 records a second. Above that
# repeats are told from new records for a shorter time; the engine's visits do not change by that.
MOST_MARKS = 1_000_000


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


Packed = tuple[
    float, float, float, list[tuple[int, float]], list[tuple[int, float]], list[tuple[str, float]]
]
"""What an intake packs itself into."""


class Intake:
    """Admits each record once: remembers what came for ``late_s`` seconds of the records' time.

    ``now`` is the greatest ``received_at``, else ``at``, of all records so far (Unix seconds).
    Memory: two generations of 64-bit fingerprints, at most MOST_MARKS of them, and the newest time
    of each subject heard of lately.
    """

    __slots__ = ("_newer", "_newest", "_older", "_turned", "late_s", "now")

    def __init__(self, late_s: float = 3600.0) -> None:
        self.late_s = late_s
        self.now = 0.0
        self._newer: dict[int, float] = {}
        self._older: dict[int, float] = {}
        self._turned = 0.0
        self._newest: dict[str, float] = {}

    def admit(self, record: Record, subject: str | None = None) -> Refusal | None:
        """Take a record, or say why not: ``duplicate``, ``future`` or ``late``.

        ``subject`` names whom a gateway's sighting speaks for, so that lateness is measured
        against that subject's newest record.
        """
        at, received_at = record.at, record.received_at
        if received_at is not None and at > received_at + FUTURE_S:
            return "future"
        whom = subject or sender(record)
        newest = self._newest.get(whom)
        if newest is not None and at < newest - self.late_s:
            return "late"
        arrived = at if received_at is None else received_at
        if arrived > self.now:
            self.now = arrived
            if arrived >= self._turned + self.late_s:
                self._turn(forget=arrived >= self._turned + 2.0 * self.late_s)
        mark = fingerprint(record)
        seen = self._newer.get(mark, self._older.get(mark))
        if seen is not None and self.now <= seen + self.late_s:
            return "duplicate"
        self._newer[mark] = self.now
        if len(self._newer) >= MOST_MARKS // 2:
            self._turn(forget=False)
        if newest is None or at > newest:
            self._newest[whom] = at
        return None

    def _turn(self, *, forget: bool) -> None:
        """Begin a generation: a fingerprint is kept for at least late_s, at most twice that."""
        self._older = {} if forget else self._newer
        self._newer = {}
        self._turned = self.now
        # A subject that was silent for so long is new when it comes again.
        old = self.now - 2.0 * self.late_s
        self._newest = {whom: at for whom, at in self._newest.items() if at >= old}

    def forget(self, record: Record) -> None:
        """Undo the admission of a record that could not be kept, so that it may come again."""
        mark = fingerprint(record)
        self._newer.pop(mark, None)
        self._older.pop(mark, None)

    def forget_subject(self, subject: str) -> None:
        """Drop what is known of one subject (its fingerprints name nobody and run out)."""
        self._newest.pop(subject, None)

    def pack(self) -> list[object]:
        """Give the whole state as plain values, for a snapshot."""
        return [
            self.late_s, self.now, self._turned, sorted(self._newer.items()),
            sorted(self._older.items()), sorted(self._newest.items()),
        ]  # fmt: skip

    @classmethod
    def unpack(cls, state: Packed, late_s: float | None = None) -> Intake:
        """Rebuild an intake from what ``pack`` gave, perhaps with another ``late_s``."""
        kept_late_s, now, turned, newer, older, newest = state
        intake = cls(kept_late_s if late_s is None else late_s)
        intake.now, intake._turned = now, turned
        intake._newer, intake._older, intake._newest = dict(newer), dict(older), dict(newest)
        return intake
