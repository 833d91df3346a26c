"""What is kept of a subject's recent records, and in how few bytes?

A plain fix, one that says when, where and how exactly and no more, is a **row** of 32 bytes. Rows
in order of time are a **trail**. Knows records; knows nothing of places or of judging.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from struct import Struct
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from proximity.model import Fix, Sighting

# Time, longitude, latitude and accuracy; NaN for an accuracy that is not stated. A NaN for the
# longitude, which no fix has, marks a row of another kind.
_ROW = Struct("<4d")
ROW_BYTES = _ROW.size
AT = Struct("<d")
_encode = msgspec.msgpack.Encoder().encode

Floats = npt.NDArray[np.float64]


def is_plain(fix: Fix) -> bool:
    """Whether a fix says no more than when, where and how exactly (its id apart)."""
    return (
        fix.altitude_m is None
        and fix.speed_mps is None
        and fix.course_deg is None
        and fix.floor is None
        and fix.motion is None
        and not fix.mock
    )


def row_of(fix: Fix) -> bytes | None:
    """Pack a plain fix; None where it says more than a row holds."""
    return spot_of(fix) if is_plain(fix) else None


def spot_of(fix: Fix) -> bytes:
    """Pack when, where and how exactly any fix was, as a row."""
    accuracy_m = fix.accuracy_m
    return _ROW.pack(fix.at, fix.lon, fix.lat, math.nan if accuracy_m is None else accuracy_m)


def point_of(row: bytes) -> tuple[float, ...]:
    """Read a row: Unix seconds, degrees, metres of accuracy (0: not stated)."""
    at, lon, lat, accuracy_m = _ROW.unpack(row)
    return at, lon, lat, 0.0 if math.isnan(accuracy_m) else accuracy_m


def newest_of(trail: bytes | bytearray | memoryview) -> float:
    """Give the time of a trail's last row, in Unix seconds."""
    at: float = AT.unpack_from(trail, len(trail) - ROW_BYTES)[0]
    return at


def pack_sign(at: float, sign: float) -> bytes:
    """Pack a row that is no fix: a number for a reader who knows what it stands for."""
    return _ROW.pack(at, math.nan, sign, math.nan)


def sign_of(trail: bytes | bytearray, first: int) -> float | None:
    """Read the number of a row that is no fix; None where it is a fix."""
    _, lon, sign, _ = _ROW.unpack_from(trail, first)
    return sign if math.isnan(lon) else None


class Columns(NamedTuple):
    """Fixes turned on their side: arrays by field, and each fix's row (None: not plain).

    ``ats`` and ``received`` are Unix seconds (NaN: not received by a clock), ``accuracies`` metres
    (NaN: not stated).
    """

    subjects: Sequence[str]
    ats: Floats
    lons: Floats
    lats: Floats
    accuracies: Floats
    received: Floats
    ids: Sequence[str | None]
    rows: Sequence[bytes | None]

    def arrivals(self) -> Floats:
        """Give when each came, in Unix seconds: when it was received, else its own time."""
        return np.where(np.isnan(self.received), self.ats, self.received)

    @classmethod
    def of(cls, fixes: Sequence[Fix]) -> Columns:
        """Take the fields of all fixes at once, a third of the price of one by one."""
        (subjects, ats, lons, lats, accuracies, *more, ids, received) = zip(
            *map(msgspec.structs.astuple, fixes), strict=True
        )
        table = np.empty((len(fixes), 4), "<f8")
        for column, values in enumerate((ats, lons, lats)):
            table[:, column] = values
        table[:, 3] = math.nan if _all_none(accuracies) else np.array(accuracies, float)
        mock = more.pop()
        rows: Sequence[Any]
        if all(map(_all_none, more)) and True not in mock:
            rows = table.view(f"V{ROW_BYTES}").ravel().tolist()
        else:
            rows = list(map(row_of, fixes))
        arrived = (
            np.full(len(fixes), math.nan) if _all_none(received) else np.array(received, float)
        )
        at, lon, lat, accuracy = table.T
        return cls(subjects, at, lon, lat, accuracy, arrived, ids, rows)


def _all_none(values: tuple[object, ...]) -> bool:
    # The first tells nearly always: to find that a number is not None takes 60 ns for each.
    return values[0] is None and values.count(None) == len(values)


class History(msgspec.Struct, array_like=True, gc=False):
    """The recent records of one subject in the order of ``order``: a trail, and what is no row.

    ``others`` are the records that say more than a row, by the number that stands in their row.
    """

    trail: bytearray = msgspec.field(default_factory=bytearray)
    others: dict[int, Fix | Sighting] = {}

    def __len__(self) -> int:
        return len(self.trail) // ROW_BYTES

    def append(self, record: Fix | Sighting) -> None:
        """Add the newest record; a plain fix's row may be added to ``trail`` as well."""
        self.trail += self._row(record)

    def insert(self, record: Fix | Sighting, subject: str) -> None:
        """Put a record in its place among the others."""
        numbers, at = range(len(self)), record.at
        low = bisect_left(numbers, at, key=self.at)
        high = bisect_right(numbers, at, key=self.at)
        own = order(record)
        while low < high and order(self.record(low, subject)) < own:
            low += 1
        self.trail[low * ROW_BYTES : low * ROW_BYTES] = self._row(record)

    def at(self, number: int) -> float:
        """Give the time of record ``number``, in Unix seconds."""
        at: float = AT.unpack_from(self.trail, number * ROW_BYTES)[0]
        return at

    def record(self, number: int, subject: str) -> Fix | Sighting:
        """Give record ``number`` as it came, but for its id and time of arrival."""
        at, lon, lat, accuracy_m = _ROW.unpack_from(self.trail, number * ROW_BYTES)
        if math.isnan(lon):
            return self.others[int(lat)]
        known = None if math.isnan(accuracy_m) else accuracy_m
        return Fix(subject=subject, at=at, lon=lon, lat=lat, accuracy_m=known)

    def drop(self, count: int) -> None:
        """Forget the first ``count`` records."""
        for number in self._others_in(self.trail[: count * ROW_BYTES]):
            del self.others[number]
        del self.trail[: count * ROW_BYTES]

    def _row(self, record: Fix | Sighting) -> bytes:
        row = row_of(record) if isinstance(record, Fix) else None
        if row is None:
            number = next(reversed(self.others), -1) + 1
            self.others[number] = record
            row = pack_sign(record.at, number)
        return row

    def _others_in(self, trail: bytearray) -> Iterator[int]:
        if self.others:
            for _, lon, number, _ in _ROW.iter_unpack(trail):
                if math.isnan(lon):
                    yield int(number)


def order(record: Fix | Sighting) -> tuple[float, bytes]:
    """Order records of one instant by their content, whichever came first."""
    return record.at, _encode(msgspec.structs.replace(record, id=None, received_at=None))
