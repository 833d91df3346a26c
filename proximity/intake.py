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


def sender(record: Record) -> str:
    """Name who sent a record: the gateway of a sighting that has one, else the subject."""
    if isinstance(record, Sighting) and record.gateway is not None:
        return record.gateway
    return record.subject or ""


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
        content = (sender(record), record.subject, record.at, record.rssi_dbm, record.beacon)
    else:
        content = (record.subject, record.at, record.name, sorted(record.properties.items()))
    return int.from_bytes(blake2b(_encode(content), digest_size=8).digest(), "big")


class Intake:
    """Admits each record once: remembers what came for ``late_s`` seconds of the records' time.

    ``now`` is the greatest ``received_at``, else ``at``, of all records so far (Unix seconds).
    Memory: two generations of 64-bit fingerprints, and the newest time of each subject.
    """

    __slots__ = ("_newer", "_newest", "_older", "_turned", "late_s", "now")

    def __init__(self, late_s: float = 3600.0) -> None:
        self.late_s = late_s
        self.now = 0.0
        self._newer: set[int] = set()
        self._older: set[int] = set()
        self._turned = 0.0
        self._newest: dict[str, float] = {}

    def admit(self, record: Record, subject: str | None = None) -> Refusal | None:
        """Take a record, or say why not: ``duplicate``, ``future`` or ``late``.

        ``subject`` names whom a gateway's sighting speaks for, so that lateness is measured
        against that subject's newest record.
        """
        if record.received_at is not None and record.at > record.received_at + FUTURE_S:
            return "future"
        whom = subject or record.subject or sender(record)
        newest = self._newest.get(whom, record.at)
        if record.at < newest - self.late_s:
            return "late"
        mark = fingerprint(record)
        if mark in self._newer or mark in self._older:
            return "duplicate"
        arrived = record.at if record.received_at is None else record.received_at
        if arrived > self.now:
            self.now = arrived
            # Two generations keep a fingerprint for at least late_s and at most twice that.
            if arrived >= self._turned + self.late_s:
                self._older = self._newer if arrived < self._turned + 2 * self.late_s else set()
                self._newer = set()
                self._turned = arrived
        self._newer.add(mark)
        if record.at >= newest:
            self._newest[whom] = record.at
        return None

    def forget(self, record: Record) -> None:
        """Undo the admission of a record that could not be kept, so that it may come again."""
        mark = fingerprint(record)
        self._newer.discard(mark)
        self._older.discard(mark)

    def forget_subject(self, subject: str) -> None:
        """Drop what is known of one subject (its fingerprints name nobody and run out)."""
        self._newest.pop(subject, None)

    def pack(self) -> list[object]:
        """Give the whole state as plain values, for a snapshot."""
        return [
            self.late_s, self.now, self._turned, sorted(self._newer), sorted(self._older),
            sorted(self._newest.items()),
        ]  # fmt: skip

    @classmethod
    def unpack(cls, state: list[object]) -> Intake:
        """Rebuild an intake from what ``pack`` gave."""
        late_s, now, turned, newer, older, newest = msgspec.convert(
            state, tuple[float, float, float, set[int], set[int], list[tuple[str, float]]]
        )
        intake = cls(late_s)
        intake.now, intake._turned = now, turned
        intake._newer, intake._older, intake._newest = newer, older, dict(newest)
        return intake
