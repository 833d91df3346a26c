"""In which files does an export of a person lie? JSON, a folder of CSV, or that folder as a ZIP.

Reads and writes the same; a file from elsewhere is bounded in size and number whatever it claims.
It must not know tables or stores.
"""

from __future__ import annotations

import csv
import io
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from proximity.model import ProximityError
from proximity.privacy.exporting import FORMAT, Export

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from proximity.privacy.exporting import Rows, Value

__all__ = ["is_export", "read_export", "write_export"]

_MOST_BYTES = 256 * 2**20
_MOST_FILES = 40
_QUOTED = '"{[-0123456789=+@'
"""A cell that begins so is JSON: text that would read as something else is written as JSON text,
and so is what a spreadsheet would take for a formula."""


def write_export(export: Export, path: Path | None = None) -> bytes:
    """Write an export: JSON, or where ``path`` is a folder or ends in ``.zip``, CSV by table.

    Gives the JSON; a folder or a ZIP file is written where ``path`` says. Raises ProximityError
    where a folder holds what is none of this export.
    """
    if path is None or path.suffix.lower() == ".json":
        text = msgspec.json.format(msgspec.json.encode(export), indent=1)
        if path is not None:
            _only_ours(path).write_bytes(text)
        return text
    sheets = {f"{name}.csv": sheet for name, sheet in _sheets(export)}
    if path.suffix.lower() == ".zip":
        with zipfile.ZipFile(_only_ours(path), "w", zipfile.ZIP_DEFLATED) as archive:
            for name, sheet in sheets.items():
                archive.writestr(name, sheet)
    else:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        others = sorted({file.name for file in path.glob("*.csv")} - sheets.keys())
        if others:  # what is somebody else's would be handed over with it
            raise ProximityError(
                f"{path.name}: holds {others[0]!r:.80} already, which is none of this export: name "
                "a folder that is empty, or not there yet"
            )
        for name, sheet in sheets.items():
            _only_ours(path / name).write_text(sheet, encoding="utf-8", newline="")
    return b""


def _only_ours(path: Path) -> Path:
    """Make a file that nobody else may read: all of a person is to stand in it."""
    path.touch(mode=0o600)
    path.chmod(0o600)  # it may have been there
    return path


def is_export(path: Path) -> bool:
    """Whether a file or folder looks like an export of a person, and not like a list of people."""
    try:
        if path.is_dir() or zipfile.is_zipfile(path):
            return True
        with path.open("rb") as stream:
            return f'"{FORMAT}"'.encode() in stream.read(100)
    except OSError:
        return False


def read_export(path: Path) -> Export:
    """Read what ``write_export`` wrote: JSON, a folder of CSV, or a ZIP file.

    Raises ProximityError where it is none.
    """
    try:
        if path.is_dir():
            return _from_sheets(_in_folder(path), path.name)
        if path.stat().st_size > _MOST_BYTES:
            raise ProximityError(f"{path.name}: larger than {_MOST_BYTES} bytes: no export")
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                return _from_sheets(_unzipped(archive, path.name), path.name)
        return msgspec.json.decode(path.read_bytes(), type=Export)
    except OSError as error:
        raise ProximityError(f"{path.name}: cannot be read: {error.strerror}") from None
    except (
        msgspec.MsgspecError, UnicodeDecodeError, RecursionError, zipfile.BadZipFile, csv.Error,
    ) as error:  # fmt: skip
        raise ProximityError(f"{path.name}: is no export of a person: {error}") from None


def _sheets(export: Export) -> Iterator[tuple[str, str]]:
    """Write each table as CSV; what is no single value stands as JSON in its cell."""
    yield "export", _sheet(["format", "person"], [[export.format, export.person]])
    for name, rows in export.tables.items():
        heads = list(rows[0])
        yield name, _sheet(heads, ([_cell(row[head]) for head in heads] for row in rows))
    if export.records:
        lines = [[msgspec.json.encode(record).decode()] for record in export.records]
        yield "records", _sheet(["record"], lines)


def _sheet(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    out = io.StringIO()
    sheet = csv.writer(out, lineterminator="\r\n")
    sheet.writerow(heads)
    sheet.writerows(rows)
    return out.getvalue()


def _cell(value: Value) -> str:
    """Write a value so that its kind can be told again: text as it is, all else as JSON.

    Text that would read as JSON is written as JSON text; nothing is an empty cell.
    """
    if value is None:
        return ""
    if isinstance(value, str) and value and value[0] not in _QUOTED:
        return value
    return msgspec.json.encode(value).decode()


def _value(cell: str) -> Value:
    if cell == "":
        return None
    if cell[0] in _QUOTED:
        found: Value = msgspec.json.decode(cell)
        return found
    return cell


def _from_sheets(sheets: Mapping[str, str], name: str) -> Export:
    """Read tables of CSV as an export."""
    tables: Rows = {}
    said: dict[str, Value] = {}
    records: list[dict[str, Any]] = []
    for sheet, text in sheets.items():
        rows = _rows(text, f"{name}: {sheet}.csv")
        if sheet == "export":
            said = rows[0] if rows else {}
        elif sheet == "records":
            found = [row.get("record") for row in rows]
            records = [dict(record) for record in found if isinstance(record, dict)]
        else:
            tables[sheet] = rows
    if said.get("format") != FORMAT or not isinstance(said.get("person"), str):
        raise ProximityError(f"{name}: is no export of a person: export.csv is missing or strange")
    return Export(person=str(said["person"]), tables=tables, records=records)


def _rows(text: str, name: str) -> list[dict[str, Value]]:
    """Read the rows of a sheet, however long a cell: the sheets are bounded as a whole."""
    limit = csv.field_size_limit(_MOST_BYTES)
    try:
        rows = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
    finally:
        csv.field_size_limit(limit)
    if any(None in row for row in rows):  # it holds what stands beyond the last head
        raise ProximityError(f"{name} has a row of more cells than its header")
    return [{head: _value(cell or "") for head, cell in row.items()} for row in rows]


def _in_folder(folder: Path) -> dict[str, str]:
    """Read the files of a folder, of bounded number and size."""
    files = sorted(folder.glob("*.csv"))
    if len(files) > _MOST_FILES:
        raise ProximityError(f"{folder.name}: {len(files)} files: no export has so many")
    if sum(file.stat().st_size for file in files) > _MOST_BYTES:
        raise ProximityError(f"{folder.name}: larger than {_MOST_BYTES} bytes: no export")
    return {file.stem: file.read_text("utf-8") for file in files}


def _unzipped(archive: zipfile.ZipFile, name: str) -> dict[str, str]:
    """Read the files of a ZIP, of bounded number and size whatever it claims."""
    infos = [info for info in archive.infolist() if info.filename.endswith(".csv")]
    if len(infos) > _MOST_FILES:
        raise ProximityError(f"{name}: {len(infos)} files: no export has so many")
    left = _MOST_BYTES
    found: dict[str, str] = {}
    for info in infos:
        try:
            with archive.open(info) as stream:
                raw = stream.read(left + 1)
        except Exception as error:  # noqa: BLE001  each way of packing has errors of its own
            raise ProximityError(
                f"{name}: {info.filename!r:.80} cannot be unpacked ({type(error).__name__}): it "
                "is damaged, or under a password; unpack it by yourself and give the folder"
            ) from None
        left -= len(raw)
        if left < 0:
            raise ProximityError(f"{name}: larger than {_MOST_BYTES} bytes: no export")
        found[Path(info.filename).stem] = raw.decode("utf-8")
    return found
