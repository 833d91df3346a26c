"""From the formats that maps are kept in to GeoJSON fences, and back.

GeoJSON and CSV of circles need nothing more; KML, GPKG, Shapefile and FlatGeobuf are read and
written through geopandas (extra ``gis``). What comes out is checked as any fence file is.
"""

from __future__ import annotations

import csv
import io
import json
import math
import sys
import tempfile
import warnings
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geofences import geojson, properties, table
from geofences.model import GeofenceError, Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from geofences.geojson import Loaded
    from geofences.model import Fence

# Name's ending -> GDAL's driver, for what goes through geopandas.
DRIVERS = {
    ".kml": "LIBKML",
    ".gpkg": "GPKG",
    ".shp": "ESRI Shapefile",
    ".fgb": "FlatGeobuf",
}
PLAIN = (".geojson", ".json", ".csv")
# Columns that GDAL's KML driver makes up for every placemark.
KML_COLUMNS = {
    "timestamp", "begin", "end", "altitudeMode", "tessellate", "extrude", "visibility",
    "drawOrder", "icon", "snippet",
}  # fmt: skip
# A shapefile's column names end after ten characters, its texts after so many bytes.
SHAPEFILE_NAME = 10
SHAPEFILE_TEXT = 254
_RENAME = "rename it, or choose another format"


def read(path: str, *, radius_m: float | None = None, skip_bad: bool = False) -> Loaded:
    """Read the fences of a file whose name tells its format; ``-`` is GeoJSON on standard input.

    ``radius_m`` is given to points and lines that have none. Raises GeofenceError that lists
    every problem, OSError where the file cannot be read.
    """
    ending = _ending(path)
    text: bytes | str
    if ending == ".csv":
        return _read_circles(path, radius_m, skip_bad=skip_bad)
    if ending in DRIVERS:
        text = _collection(_read_layers(path))
    else:
        source = sys.stdin.buffer if path == "-" else Path(path).open("rb")  # noqa: SIM115
        with source:
            text = source.read(geojson.MAX_BYTES + 1)
    return geojson.loads(text, path, skip_bad=skip_bad, radius_m=radius_m)


def _read_circles(path: str, radius_m: float | None, *, skip_bad: bool) -> Loaded:
    """Read a table of circles; what is wrong with its rows and with its circles is told at once."""
    bad: list[Problem] = []
    with Path(path).open(encoding="utf-8-sig", newline="") as file:
        features = table.circles(file, path, radius_m, bad)
    text = _collection(features)
    try:
        loaded = geojson.loads(text, path, skip_bad=skip_bad)
    except GeofenceError as error:
        raise GeofenceError(*bad, *error.problems) from None
    if bad and not skip_bad:
        raise GeofenceError(*bad, *loaded.problems)
    return loaded._replace(problems=(*bad, *loaded.problems))


def write(fences: list[Fence], path: str, extra: Mapping[str, Any] | None = None) -> None:
    """Write fences in the format that the file's name tells; ``-`` is GeoJSON to standard output.

    ``extra`` are the collection's foreign members, which GeoJSON alone has a place for. Raises
    GeofenceError where the format cannot hold the fences or nothing can be written in that
    folder, OSError where the file cannot be written.
    """
    ending = _ending(path)
    if path != "-" and not Path(path).parent.is_dir():
        mend = "make the folder first, or name another"
        raise GeofenceError(
            Problem(path, None, "cannot be written (its folder is not there)", "", mend)
        )
    if ending in DRIVERS:
        _write_layer(fences, path, DRIVERS[ending])
        if not Path(path).exists():  # some of GDAL's drivers fail without a word
            mend = "check the name, the rights and the room on the disk"
            raise GeofenceError(Problem(path, None, "was not written", "", mend))
        return
    text = _as_csv(fences, path) if ending == ".csv" else geojson.dumps(fences, extra)
    if path == "-":
        sys.stdout.write(text)
        return
    try:
        Path(path).write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        error.filename = path  # a full disk does not say whose
        raise


def _ending(path: str) -> str:
    if path == "-":
        return ".geojson"
    ending = Path(path).suffix.lower()
    if ending not in DRIVERS and ending not in PLAIN:
        known = ", ".join((*PLAIN, *DRIVERS))
        mend = f"name a file that ends in one of {known}"
        raise GeofenceError(Problem(path, None, "has a format that is not known", "", mend))
    return ending


def _collection(features: list[dict[str, Any]]) -> str:
    return json.dumps({"type": "FeatureCollection", "features": features})


def _as_csv(fences: list[Fence], path: str) -> str:
    """Write circles as a table; what is no circle has no row there."""
    others = [fence for fence in fences if fence.geometry.kind != "Point"]
    if others:
        mend = "a CSV holds circles only: choose another format"
        kind = "is a {}, not a circle"
        raise GeofenceError(
            *(Problem(path, each.id, kind.format(each.geometry.kind), "", mend) for each in others)
        )
    names = dict.fromkeys(name for fence in fences for name in fence.properties)
    columns = [name for name in names if name not in {"id", "lon", "lat", "radius_m"}]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["id", "lon", "lat", "radius_m", *columns])
    for fence in fences:
        lon, lat = fence.geometry.coords[0, :2].tolist()
        cells = [_cell(fence.properties.get(name)) for name in columns]
        writer.writerow([fence.id, repr(lon), repr(lat), _cell(fence.radius_m), *cells])
    return out.getvalue()


def _cell(value: Any) -> Any:
    """Write a property as a cell: text and numbers as such, all else as JSON."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value)


def _geopandas(path: str) -> Any:
    try:
        import geopandas
    except ImportError:
        mend = "pip install 'proximity-engine[gis]'"
        raise GeofenceError(
            Problem(path, None, "needs geopandas, which is not installed", "", mend)
        ) from None
    return geopandas


def _quietly(path: str, what: str, work: Callable[[], Any]) -> Any:
    """Run what GDAL does; its many kinds of failure become one, its warnings nothing."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return work()
    except (OSError, ValueError, RuntimeError, TypeError) as error:
        said = isinstance(error, OSError) and error.strerror
        reason = " ".join((said or str(error)).split())[:200]
        mend = "open it in a GIS to see, or choose another format"
        raise GeofenceError(Problem(path, None, f"{what} ({reason})", "", mend)) from None


def _read_layers(path: str) -> list[dict[str, Any]]:
    """Read every layer of a file as GeoJSON features in WGS 84."""
    size = Path(path).stat().st_size
    if size > geojson.MAX_BYTES:
        mend = f"split it into files below {geojson.MAX_BYTES // 2**20} MB"
        raise GeofenceError(Problem(path, None, "is too large", "", mend))
    if path.lower().endswith(".kml"):
        _refuse_entities(path)
    geopandas = _geopandas(path)
    import pyogrio

    features: list[dict[str, Any]] = []
    layers = _quietly(path, "cannot be read", lambda: pyogrio.list_layers(path))
    for name, kind in layers:
        if kind is None:  # a table without a map
            continue
        frame = _quietly(path, "cannot be read", partial(geopandas.read_file, path, layer=name))
        if frame.crs is not None:
            frame = _quietly(path, "has an unknown projection", partial(frame.to_crs, 4326))
        rows = frame.iterfeatures(na="drop", drop_id=True)
        features += [_plain(feature, path) for feature in rows]
    return features


def _refuse_entities(path: str) -> None:
    """Refuse a KML that declares a document type: its entities may swell to gigabytes."""
    text = Path(path).read_bytes()
    if b"\0" in text:  # UTF-16, in which the rest would go unseen
        raise GeofenceError(Problem(path, None, "is not UTF-8 text", "", "save it as UTF-8"))
    if b"<!DOCTYPE" in text:
        mend = "take <!DOCTYPE ...> out: no map needs one"
        raise GeofenceError(Problem(path, None, "declares a document type", "", mend))


def _plain(feature: dict[str, Any], path: str) -> dict[str, Any]:
    """Turn a row of a data frame into a GeoJSON feature of plain values."""
    kml = path.lower().endswith(".kml")
    given = {}
    for column, cell in feature["properties"].items():
        name = _full_name(column) if path.lower().endswith(".shp") else column
        if kml and (column in KML_COLUMNS or cell == ""):
            continue
        if kml and name == "Name":  # what GDAL calls a placemark's <name>
            name = "name"
        found = cell.isoformat() if hasattr(cell, "isoformat") else cell
        found = found.item() if hasattr(found, "item") else found
        if isinstance(found, float) and not math.isfinite(found):
            continue
        given[name] = table.value(name, found) if isinstance(found, str) else found
    return {"type": "Feature", "properties": given, "geometry": feature["geometry"]}


def _full_name(column: str) -> str:
    """Give a property whose name a shapefile cut short its name again."""
    if len(column) == SHAPEFILE_NAME:
        for name in properties.PROPERTIES:
            if name.startswith(column):
                return name
    return column


def _refuse_long(features: list[dict[str, Any]], path: str) -> None:
    """Refuse texts that a shapefile would cut short without a word."""
    mend = "shorten it, or choose another format"
    problems = [
        Problem(
            path, feature["id"], f"has a {name!r} of more than {SHAPEFILE_TEXT} bytes", "", mend
        )
        for feature in features
        for name, value in feature["properties"].items()
        if isinstance(value, str) and len(value.encode()) > SHAPEFILE_TEXT
    ]
    if problems:
        raise GeofenceError(*problems)


def _refuse_lost(features: list[dict[str, Any]], part: str, path: str) -> None:
    """Refuse properties that a KML was given and has not: GDAL's driver keeps names for itself.

    Which, its version knows: ``begin``, ``icon`` and a dozen more.
    """
    kept = {one["properties"].get("id"): one["properties"] for one in _read_layers(part)}
    lost: dict[str, str] = {}
    for feature in features:
        back = kept.get(feature["id"], {})
        for name, value in feature["properties"].items():
            if name == "id" or value is None or value == "":
                continue
            if name not in back or (isinstance(value, str) and back[name] is None):
                lost.setdefault(name, feature["id"])
    if lost:
        raise GeofenceError(
            *(
                Problem(path, one, f"has a property {name!r}, which a KML cannot hold", "", _RENAME)
                for name, one in lost.items()
            )
        )


def _refuse_alike(features: list[dict[str, Any]], path: str) -> None:
    """Refuse properties whose names differ by case alone, which all but FlatGeobuf take for one."""
    names = dict.fromkeys(name for feature in features for name in feature["properties"])
    first: dict[str, str] = {}
    problems = []
    for name in names:
        other = first.setdefault(name.lower(), name)
        if other != name:
            what = f"has properties {other!r} and {name!r}, which this format takes for one"
            problems.append(Problem(path, None, what, "", _RENAME))
    if problems:
        raise GeofenceError(*problems)


def _write_layer(fences: list[Fence], path: str, driver: str) -> None:
    geopandas = _geopandas(path)
    features = []
    for fence in fences:
        feature = fence.to_feature()
        given = {
            name: value if isinstance(value, (str, int, float, type(None))) else json.dumps(value)
            for name, value in feature["properties"].items()
            if name.lower() not in {"id", "fid"}
        }
        features.append({**feature, "properties": {"id": fence.id, **given}})
    ending = _ending(path)
    if ending != ".fgb":
        _refuse_alike(features, path)
    if ending == ".shp":
        _refuse_long(features, path)
    frame = _quietly(
        path, "cannot be written", lambda: geopandas.GeoDataFrame.from_features(features, crs=4326)
    )
    # Aside first: what fails half-way leaves no file that looks whole, and an earlier one alone.
    folder = partial(tempfile.TemporaryDirectory, dir=Path(path).parent, prefix=".")
    with _quietly(path, "cannot be written", folder) as aside:
        part = Path(aside) / Path(path).name
        _quietly(
            path, "cannot be written", lambda: frame.to_file(part, driver=driver, engine="pyogrio")
        )
        if ending == ".kml" and part.stat().st_size <= geojson.MAX_BYTES:  # else nobody reads it
            _refuse_lost(features, str(part), path)
        for made in Path(aside).iterdir():  # a shapefile is several
            _quietly(
                path, "cannot be written", partial(made.replace, Path(path).parent / made.name)
            )
