"""Real tracks over real fences: the engine in point mode against shapely and nothing else.

``python -m tests.scenarios.real_tracks DATA`` writes ``docs/real-tracks.md`` anew; a test compares
the page with a run. What should happen is computed below from the files themselves, with none of
the project's geometry: polygons by shapely, circles by the geodesic distance of pyproj.
"""

from __future__ import annotations

import csv
import json
import sys
import tempfile
import xml.etree.ElementTree as ET
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from io import StringIO
from math import atan2, degrees, hypot
from pathlib import Path
from typing import Any

import msgspec
import shapely
from pyproj import Geod

from proximity.model import Fix
from simulator.__main__ import main
from simulator.trace import TraceError, read_trace, write_record

PAGE = Path(__file__).resolve().parents[2] / "docs" / "real-tracks.md"
GEOD = Geod(ellps="WGS84")
PIECES = 200
START = 1_767_225_600.0  # the pieces' own times are arbitrary; these are shifted to 2026
STORE_M = 75.0
STORES = 400

ZONES = "nyc-taxi-zones/taxi_zones.geojson"
COUNTRIES = "natural-earth-110m/110m/cultural/ne_110m_admin_0_countries.json"
OPENINGS = "walmart-store-openings/1962_2006_walmart_store_openings.csv"

Place = tuple[float, float]
Inside = Callable[[float, float], set[str]]

HEAD = """\
# Real tracks over real fences

What `simulator replay --decide point` makes of recorded tracks, against an independent computation:
for polygons shapely's `intersects` on the GeoJSON as it stands, for circles the geodesic distance
of pyproj. None of the engine's geometry takes part in it, and every transition is compared: kind,
place, time and order. The page is generated: `python -m tests.scenarios.real_tracks DATA`, and a
test compares it with a run.

- **Tracks**: the phones' logs and the recorded walks and drives as they are, and shifted, metre for
  metre, to where the fences are dense; the pieces of delivery rounds have metres about an arbitrary
  centre and are shifted in any case. Files with way points or routes alone hold no track; tracks
  without times of use get a second for each point. Each is sorted by time: a late record re-judges
  history, in point mode too, and is written as `corrected`.
- **Fences**: New York's taxi zones, which share their edges; the world's countries, of which one
  crosses itself, is refused, and is left out by `--skip-bad`; and circles of 75 m round
  recorded store openings, many of which lie on top of each other.

| recordings | fences | tracks | fixes | enters | exits | differences |
| --- | --- | ---: | ---: | ---: | ---: | ---: |
"""


@dataclass(frozen=True)
class Row:
    """What came of one set of tracks over one set of fences."""

    tracks: str
    fences: str
    number: int
    fixes: int
    enters: int
    exits: int
    differences: int

    def __str__(self) -> str:
        counts = (self.number, self.fixes, self.enters, self.exits, self.differences)
        cells = [self.tracks, self.fences, *(f"{count:,}" for count in counts)]
        return f"| {' | '.join(cells)} |\n"


# Tracks ------------------------------------------------------------------------------------------


def recorded(folder: Path, pattern: str) -> dict[str, list[Fix]]:
    """Read every track of a folder, sorted by time."""
    found: dict[str, list[Fix]] = {}
    for path in sorted(folder.glob(pattern)):
        try:
            read = list(read_trace(path, on_bad=lambda _: None))
        except TraceError:
            read = list(timeless(path))
        fixes = [one for one in read if isinstance(one, Fix)]
        if fixes:
            named = (
                msgspec.structs.replace(fix, subject=f"{path.stem}/{fix.subject}") for fix in fixes
            )
            found[path.stem] = sorted(named, key=lambda fix: fix.at)
    return found


def timeless(path: Path) -> Iterator[Fix]:
    """Read the points of a GPX track that has no times of use: a second each."""
    points = [one for one in ET.parse(path).iter() if one.tag.rpartition("}")[2] == "trkpt"]
    for second, point in enumerate(points):
        lon, lat = float(point.attrib["lon"]), float(point.attrib["lat"])
        yield Fix(subject="timeless", at=START + second, lon=lon, lat=lat)


def pieces(archive: Path) -> Iterator[tuple[str, list[tuple[float, float, float]]]]:
    """Read pieces of delivery rounds: seconds, metres east, metres north."""
    with zipfile.ZipFile(archive) as files:
        for name in sorted(files.namelist())[:PIECES]:
            rows = csv.DictReader(files.read(name).decode().splitlines())
            moments = [
                (datetime.fromisoformat(row["timestamp"][:26]), float(row["x"]), float(row["y"]))
                for row in rows
            ]
            first = moments[0][0]
            yield Path(name).stem, [((at - first).total_seconds(), x, y) for at, x, y in moments]


def laid(archive: Path, anchors: list[Place]) -> dict[str, list[Fix]]:
    """Lay the pieces on the ground, each on an anchor of its own."""
    found = {}
    for name, moments in pieces(archive):
        lon, lat = pick(anchors, name)
        fixes = []
        for seconds, x, y in moments:
            east, north, _ = GEOD.fwd(lon, lat, degrees(atan2(x, y)), hypot(x, y))
            fixes.append(Fix(subject=name, at=START + seconds, lon=east, lat=north))
        found[name] = sorted(fixes, key=lambda fix: fix.at)
    return found


def shifted(tracks: dict[str, list[Fix]], anchors: list[Place]) -> dict[str, list[Fix]]:
    """Move each track so that its middle fix lies on an anchor, keeping distances and bearings."""
    found = {}
    for name, fixes in tracks.items():
        middle = fixes[len(fixes) // 2]
        lon, lat = pick(anchors, name)
        moved = []
        for fix in fixes:
            azimuth, _, metres = GEOD.inv(middle.lon, middle.lat, fix.lon, fix.lat)
            east, north, _ = GEOD.fwd(lon, lat, azimuth, metres)
            moved.append(msgspec.structs.replace(fix, lon=east, lat=north))
        found[name] = moved
    return found


def pick(anchors: list[Place], name: str) -> Place:
    """Choose an anchor for a track by a hash of its name: the same on any machine."""
    number = int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "big")
    return anchors[number % len(anchors)]


# What should happen --------------------------------------------------------------------------------


def in_polygons(text: str, left_out: Iterable[str] = ()) -> tuple[Inside, list[Place]]:
    """Give a function that names the polygons that hold a point, and all their corners."""
    ids, shapes = [], []
    for number, feature in enumerate(json.loads(text)["features"]):
        name = identity(feature, number)
        if name not in left_out:
            ids.append(name)
            shapes.append(shapely.from_geojson(json.dumps(feature["geometry"])))
    shapely.prepare(shapes)

    def inside(lon: float, lat: float) -> set[str]:
        point = shapely.Point(lon, lat)
        return {name for name, shape in zip(ids, shapes, strict=True) if shape.intersects(point)}

    corners = [(float(x), float(y)) for x, y in shapely.get_coordinates(shapes)]
    return inside, corners


def in_circles(centres: dict[str, Place]) -> Inside:
    """Give a function that names the circles that hold a point."""

    def inside(lon: float, lat: float) -> set[str]:
        return {
            name
            for name, (x, y) in centres.items()
            if abs(y - lat) < 0.01 and GEOD.inv(x, y, lon, lat)[2] <= STORE_M
        }

    return inside


def identity(feature: dict[str, Any], number: int) -> str:
    """Name a feature as the contract does: id, else properties id, name, fid in any case, else number."""
    if "id" in feature:
        return str(feature["id"])
    properties = {key.lower(): value for key, value in feature["properties"].items()}
    for key in ("id", "name", "fid"):
        if properties.get(key) is not None:
            return str(properties[key])
    return str(number)


def expected(fixes: list[Fix], inside: Inside) -> list[tuple[str, str, float]]:
    """Compute a track's transitions: at each fix the exits, then the enters, by place."""
    before: set[str] = set()
    found = []
    for fix in fixes:
        now = inside(fix.lon, fix.lat)
        found += [("exit", place, round(fix.at, 3)) for place in sorted(before - now)]
        found += [("enter", place, round(fix.at, 3)) for place in sorted(now - before)]
        before = now
    return found


# What happens --------------------------------------------------------------------------------------


def replayed(
    tracks: dict[str, list[Fix]], fences: Path, folder: Path
) -> dict[str, list[tuple[str, str, float]]]:
    """Replay the tracks with the command, and give the transitions of each."""
    trace, out = folder / "trace.jsonl", folder / "out"
    fixes = sorted((fix for track in tracks.values() for fix in track), key=lambda fix: fix.at)
    trace.write_bytes(b"".join(map(write_record, fixes)))
    words = ["replay", str(trace), "--fences", str(fences), "--decide", "point", "--skip-bad"]
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()) as complaints:
        status = main([*words, "--out", str(out)])
    assert status == 0, complaints.getvalue()
    found: dict[str, list[tuple[str, str, float]]] = {}
    for line in (out / "transitions.jsonl").read_bytes().splitlines():
        record = msgspec.json.decode(line)
        at = datetime.fromisoformat(record["at"]).timestamp()
        found.setdefault(record["subject"], []).append(
            (record["kind"], record["place"], round(at, 3))
        )
    return found


def compare(
    title: str, fences_title: str, tracks: dict[str, list[Fix]], fences: Path, inside: Inside
) -> Row:
    """Replay tracks over fences and count every difference from what should happen."""
    kinds: Counter[str] = Counter()
    differences = 0
    by_subject: dict[str, list[Fix]] = {}
    for track in tracks.values():
        for fix in track:
            by_subject.setdefault(fix.subject, []).append(fix)
    with tempfile.TemporaryDirectory() as folder:
        found = replayed(tracks, fences, Path(folder))
    for subject, fixes in by_subject.items():
        wanted, got = Counter(expected(fixes, inside)), Counter(found.get(subject, []))
        in_order = expected(fixes, inside) == found.get(subject, [])
        differences += (
            (wanted - got).total() + (got - wanted).total() + (wanted == got and not in_order)
        )
        kinds.update(kind for kind, _, _ in found.get(subject, []))
    return Row(
        title, fences_title, len(by_subject), sum(map(len, by_subject.values())),
        kinds["enter"], kinds["exit"], differences,
    )  # fmt: skip


def rows(data: Path) -> list[Row]:
    """Compare every set of tracks over every set of fences."""
    walks = recorded(data / "gpx-variety", "*.gpx")
    phones = recorded(data / "phone-tracks-accuracy", "*.csv")
    archive = data / "goal-gps-onfoot-driving" / "trajectories.zip"
    found = []
    with tempfile.TemporaryDirectory() as folder:
        centres = openings(data / OPENINGS)
        stores = Path(folder) / "stores.geojson"
        stores.write_text(
            json.dumps(
                {"type": "FeatureCollection", "features": [circle(*one) for one in centres.items()]}
            )
        )
        zones_inside, zone_corners = in_polygons((data / ZONES).read_text())
        countries_inside, borders = in_polygons((data / COUNTRIES).read_text(), ["Sudan"])
        land = [place for place in borders if 5.0 < place[0] < 30.0 and 42.0 < place[1] < 52.0]
        for title, path, inside, anchors in (
            ("taxi zones", data / ZONES, zones_inside, zone_corners),
            ("countries", data / COUNTRIES, countries_inside, land),
            ("store circles", stores, in_circles(centres), list(centres.values())),
        ):
            for name, tracks in (("recorded walks and drives", walks), ("phones' logs", phones)):
                if title == "countries":
                    found.append(compare(f"{name}, where they were", title, tracks, path, inside))
                found.append(
                    compare(f"{name}, shifted", title, shifted(tracks, anchors), path, inside)
                )
            found.append(compare("delivery rounds", title, laid(archive, anchors), path, inside))
    return found


def openings(path: Path) -> dict[str, Place]:
    """Read the places of the first stores that were opened."""
    with path.open(newline="") as file:
        stores = list(csv.DictReader(file))[:STORES]
    return {f"store-{one['storenum']}": (float(one["LON"]), float(one["LAT"])) for one in stores}


def circle(name: str, place: Place) -> dict[str, Any]:
    """Draw one store as a circle."""
    geometry = {"type": "Point", "coordinates": list(place)}
    return {
        "type": "Feature",
        "id": name,
        "properties": {"radius_m": STORE_M},
        "geometry": geometry,
    }


def page(found: list[Row]) -> str:
    """Write the whole page."""
    total = sum(row.enters + row.exits for row in found)
    wrong = sum(row.differences for row in found)
    return (
        HEAD
        + "".join(map(str, found))
        + f"\n{total:,} transitions compared, {wrong} differences.\n"
    )


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m tests.scenarios.real_tracks DATA")
    PAGE.write_text(page(rows(Path(sys.argv[1]))))
