"""Real fences, against GEOS asked directly about the files as they are."""

from __future__ import annotations

import json

import numpy as np
import pytest
import shapely
from click.testing import CliRunner

import geofences
from geofences.__main__ import main
from tests.geofences import verdicts

COUNTRIES = "natural-earth-110m/110m/cultural/ne_110m_admin_0_countries.json"
ZONES = "nyc-taxi-zones/taxi_zones.geojson"


def plainly(path, skipped=()):
    """The file's shapes by fence id, read without this package's reader."""
    found = {}
    for number, each in enumerate(json.loads(path.read_text())["features"]):
        name = each["properties"].get("NAME", str(number))
        if name not in skipped:
            found[name] = shapely.geometry.shape(each["geometry"])
    return found


def questions(shapes, count):
    """Points all over, every vertex, and middles of edges: exact, or off by a rounding."""
    generator = np.random.default_rng(7)
    west, south, east, north = shapely.total_bounds(list(shapes.values()))
    spread = np.column_stack(
        (generator.uniform(west, east, count), generator.uniform(south, north, count))
    )
    corners = np.vstack([shapely.get_coordinates(each) for each in shapes.values()])
    corners = corners[generator.permutation(len(corners))[:count]]
    parts = shapely.get_parts(list(shapes.values()))
    rings = [shapely.get_coordinates(part.exterior) for part in parts]
    middles = np.vstack([(ring[:-1] + ring[1:]) / 2 for ring in rings])
    middles = middles[generator.permutation(len(middles))[:count]]
    points = np.vstack((spread, corners, middles))
    # On the seam and at the poles a point has several names there, to which GEOS is blind.
    return points[(np.abs(points[:, 0]) < 180.0) & (np.abs(points[:, 1]) < 90.0)]


def compare(fences, shapes, count):
    points = questions(shapes, count)
    index = geofences.FenceIndex(fences)
    which, slots = index.locate_many(points[:, 0], points[:, 1])
    ids = index.ids
    ours = {(point, ids[slot]) for point, slot in zip(which.tolist(), slots.tolist(), strict=True)}
    names = list(shapes)
    geos = set()
    for name, shape in shapes.items():
        shapely.prepare(shape)
        held = np.flatnonzero(shapely.intersects_xy(shape, points[:, 0], points[:, 1]))
        geos |= {(point, name) for point in held.tolist()}
    assert ours == geos
    assert len(ours) > len(points) / 10
    for point in range(0, len(points), 7):
        expected = sorted(name for name in names if (point, name) in geos)
        assert index.locate(*points[point].tolist()) == expected


def test_taxi_zones_equal_geos(shared_data):
    path = shared_data("nyc-taxi-zones").parent / ZONES
    fences = geofences.load(path)
    assert len(fences) == 263
    compare(fences, plainly(path), 4000)


def test_countries_equal_geos_but_sudan_is_refused(shared_data):
    path = shared_data("natural-earth-110m").parent / COUNTRIES
    with pytest.raises(geofences.GeofenceError) as caught:
        geofences.load(path)
    (problem,) = caught.value.problems
    assert problem.feature == "Sudan"
    assert problem.what == "the outline crosses itself"
    fences = geofences.load(path, skip_bad=True)
    assert len(fences) == 176
    compare(fences, plainly(path, skipped={"Sudan"}), 4000)


def test_countries_at_the_seam_and_the_pole(shared_data):
    index = geofences.FenceIndex(
        geofences.load(shared_data("natural-earth-110m").parent / COUNTRIES, skip_bad=True)
    )
    for lon in (-180.0, 180.0, 0.0, 77.0):
        assert index.locate(lon, -90.0) == ["Antarctica"]
    assert index.locate(180.0, 68.0) == index.locate(-180.0, 68.0) == ["Russia"]
    assert dict(index.within(180.0, 68.0, 0.0))["Russia"] < -50_000


def test_check_refuses_sudan_and_skip_bad_leaves_it_out(shared_data):
    path = str(shared_data("natural-earth-110m").parent / COUNTRIES)
    checked = CliRunner().invoke(main, ["check", path])
    assert checked.exit_code == 1
    assert "'Sudan'" in checked.stdout
    assert len(checked.stdout.splitlines()) == 1
    asked = CliRunner().invoke(
        main, ["locate", path, "-", "--skip-bad"], input="lon,lat\n30,15\n2.35,48.85\n"
    )
    assert (asked.exit_code, asked.stdout) == (0, "id,fence\n1,France\n")
    assert "Sudan" in asked.stderr


def test_stores_import_as_circles(shared_data, tmp_path):
    stores = shared_data("walmart-store-openings") / "1962_2006_walmart_store_openings.csv"
    out = tmp_path / "stores.geojson"
    done = CliRunner().invoke(main, ["convert", str(stores), str(out), "--radius", "150"])
    assert done.exit_code == 0
    fences = geofences.load(out)
    assert len(fences) == 2992
    assert len({fence.id for fence in fences}) == 2992
    assert {fence.radius_m for fence in fences} == {150.0}
    index = geofences.FenceIndex(fences)
    for fence in fences[::50]:
        assert fence.id in index.locate(*fence.centre)


def test_the_page_of_verdicts_is_current(shared_data):
    data = shared_data(verdicts.SETS[0]).parent
    shared_data(verdicts.SETS[1])
    assert verdicts.PAGE.read_text(encoding="utf-8") == verdicts.page(data)


def test_folders_of_faults_are_refused_but_for_what_the_page_explains(shared_data):
    faulty = shared_data(verdicts.SETS[0])
    for path in sorted((faulty / "invalid_structure").iterdir()):
        assert verdicts.verdict(path, path.name)[0] == "refused", path.name
    for path in sorted((faulty / "invalid_geometries").iterdir()):
        expected = "accepted" if path.name.endswith("cw.geojson") else "refused"
        assert verdicts.verdict(path, path.name)[0] == expected, path.name
    turf = shared_data(verdicts.SETS[1]) / "turf-boolean-valid" / "test" / "false"
    for path in turf.rglob("*.geojson"):
        assert verdicts.verdict(path, path.name)[0] == "refused", path.name
