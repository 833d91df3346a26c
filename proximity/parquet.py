"""The question: what does a Parquet file say, as the table of CSV that all else here reads?

A column's type says what CSV needs a colon for: a column ``age`` of numbers reads as
``age:number``. Knows no people and no events; which columns have a meaning of their own is told by
whoever asks. Needs the extra ``parquet``: pip install 'proximity-engine[parquet]'.
"""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa
from pyarrow import parquet as pq

from proximity.model import ProximityError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

__all__ = ["as_csv", "write_columns"]

_MOST_COLUMNS = 1000
_MOST_BYTES = 256 * 2**20
"""What a file may say that it holds, unpacked: a file of kilobytes may unpack to a machine's
memory."""
_MOST_TEXT = 64 * 2**20
"""Bytes of the table that comes of it, as of one in CSV: a million people in ten short columns."""
_AT_ONCE = 1000
"""Rows that are unpacked together."""


def _is_text(kind: Any) -> bool:
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


def _is_number(kind: Any) -> bool:
    return bool(
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    )


def _is_list(kind: Any) -> bool:
    return bool(
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )


_KINDS: tuple[tuple[Callable[[Any], bool], str], ...] = (
    (_is_text, "text"),
    (pa.types.is_null, "text"),
    (pa.types.is_boolean, "flag"),
    (_is_number, "number"),
    (pa.types.is_date, "text"),
    (pa.types.is_timestamp, "text"),
    (lambda kind: _is_list(kind) and _is_text(_plain(kind.value_type)), "texts"),
    (_is_list, "json"),
    (pa.types.is_struct, "json"),
)
"""What kind of cell a column's type amounts to; the first that fits."""


def as_csv(raw: bytes, name: str, own: Collection[str], kinds: Collection[str] = ()) -> str:
    """Write a Parquet file's bytes as the text of the CSV file that says the same.

    Columns named in ``own`` keep their name, and so do those that name one of ``kinds`` behind a
    colon; all others get the kind that their type amounts to, where there are ``kinds`` at all.
    Times are RFC 3339 in UTC, lists and records JSON; null and NaN are empty cells. Raises
    ProximityError with every column that cannot be read, or where this is no such file.
    """
    try:
        file = pq.ParquetFile(pa.BufferReader(raw))
        _refuse_large(file, name)
        schema = file.schema_arrow
        problems: list[str] = []
        header = [_head(field, own, kinds, problems) for field in schema]
        if problems:
            raise ProximityError(*(f"{name}: {problem}" for problem in problems))
        out = io.StringIO()
        table = csv.writer(out, lineterminator="\n")
        table.writerow(header)
        for batch in file.iter_batches(batch_size=_AT_ONCE):
            columns = [_cells(column) for column in batch.columns]
            table.writerows(zip(*columns, strict=True))
            if out.tell() > _MOST_TEXT:
                raise ProximityError(f"{name}: more than {_MOST_TEXT} bytes as text: split it")
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        if isinstance(error, ProximityError):
            raise
        told = str(error).splitlines() or ["it cannot be read"]
        raise ProximityError(f"{name}: this is no Parquet file ({told[0]:.200})") from None
    return out.getvalue()


def _refuse_large(file: Any, name: str) -> None:
    about = file.metadata
    if len(file.schema_arrow) > _MOST_COLUMNS:
        raise ProximityError(
            f"{name}: {len(file.schema_arrow)} columns are too many, at most {_MOST_COLUMNS}"
        )
    size = sum(about.row_group(one).total_byte_size for one in range(about.num_row_groups))
    if size > _MOST_BYTES:
        raise ProximityError(f"{name}: unpacks to more than {_MOST_BYTES} bytes: split it")


def _plain(kind: Any) -> Any:
    """Give the type of what a column holds, however it is kept."""
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _head(field: Any, own: Collection[str], kinds: Collection[str], problems: list[str]) -> str:
    """Give a column's name in CSV; what cannot be read is added to ``problems``."""
    head: str = field.name.strip()
    kind = _plain(field.type)
    said = next((name for fits, name in _KINDS if fits(kind)), None)
    if pa.types.is_timestamp(kind) and kind.tz is None:
        problems.append(f"column {head!r:.60}: times without a zone may be any: save them as UTC")
    elif said is None:
        problems.append(f"column {head!r:.60} holds {kind!s:.60}: save it as text")
    _, colon, suffix = head.rpartition(":")
    if head in own or not kinds or (colon and suffix in kinds):
        return head
    if said is not None and said not in kinds:
        problems.append(
            f"column {head!r:.60} holds {kind!s:.60}, of which only {', '.join(kinds)} are read"
        )
    return f"{head}:{said}"


def _cells(column: Any) -> list[str]:
    """Write a column's values as the text of cells."""
    kind = _plain(column.type)
    if pa.types.is_timestamp(kind):
        # A nanosecond is more than Python's own times can hold.
        column = column.cast(pa.timestamp("us", tz="UTC"), safe=False)
    return [_cell(value) for value in column.to_pylist()]


def _cell(value: Any) -> str:
    if value is None or value != value:  # noqa: PLR0124 - NaN, which tables have for "not known"
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, bool | float | list | dict):
        return msgspec.json.encode(_without_nothing(value)).decode()
    return str(value)


def _without_nothing(value: Any) -> Any:
    """Leave out of records what Parquet has to write for what is not there."""
    if isinstance(value, dict):
        return {name: _without_nothing(one) for name, one in value.items() if one is not None}
    if isinstance(value, list):
        return [_without_nothing(one) for one in value]
    return value


_TYPES: dict[str, Any] = {
    "text": pa.string(),
    "flag": pa.bool_(),
    "integer": pa.int64(),
    "number": pa.float64(),
    "texts": pa.list_(pa.string()),
}
"""The types that columns are written in, by their kind."""


def write_columns(columns: Mapping[str, tuple[str, Sequence[Any]]]) -> bytes:
    """Write columns, each of a kind (text, flag, integer, number, texts), as a Parquet file.

    All are as long as each other; None is null.
    """
    table = pa.table(
        {name: pa.array(values, _TYPES[kind]) for name, (kind, values) in columns.items()}
    )
    out = pa.BufferOutputStream()
    pq.write_table(table, out)
    written: bytes = out.getvalue().to_pybytes()
    return written
