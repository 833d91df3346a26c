from __future__ import annotations

import builtins
import json

import pytest

import geofences
from geofences import GeofenceError, convert
from geofences.model import DAYS
from tests.geofences.drawn import box, circle, feature, line, text

AREA = box(
    0, 0, 1, 1, "area", tags=["a", "b"], priority=2, active=[{"from": "09:00", "to": "18:00"}]
)
HOLED = feature(
    {
        "type": "MultiPolygon",
        "coordinates": [
            [
                [[10, 0], [19, 0], [19, 9], [10, 0]],
                [[15, 1], [16, 1], [16, 2], [15, 1]],
            ]
        ],
    },
    "holed",
    min_altitude_m=3,
    max_altitude_m=9.5,
)


def written(tmp_path, *features):
    path = tmp_path / "in.geojson"
    path.write_text(text(*features))
    return str(path)


@pytest.mark.parametrize("ending", ["kml", "gpkg", "shp", "fgb", "geojson", "json"])
def test_areas_survive_every_format(tmp_path, ending):
    source, middle = written(tmp_path, AREA, HOLED), str(tmp_path / f"out.{ending}")
    convert.write(convert.read(source).fences, middle)
    back = {fence.id: fence for fence in convert.read(middle).fences}
    assert set(back) == {"area", "holed"}
    assert back["area"].tags == ("a", "b")
    assert back["area"].priority == 2.0
    assert back["area"].active[0].opens == "09:00"
    assert (back["holed"].min_altitude_m, back["holed"].max_altitude_m) == (3.0, 9.5)
    index = geofences.FenceIndex(back.values())
    assert index.locate(0.5, 0.5) == ["area"]
    assert index.locate(18, 1) == ["holed"]
    assert index.locate(15.6, 1.3) == []


@pytest.mark.parametrize("ending", ["kml", "gpkg", "shp", "fgb", "geojson", "csv"])
def test_circles_survive_every_format(tmp_path, ending):
    drawn = [circle(2.35, 48.85, 75, "a"), circle(2.36, 48.86, 80.5, "ü")]
    source, middle = written(tmp_path, *drawn), str(tmp_path / f"out.{ending}")
    convert.write(convert.read(source).fences, middle)
    back = {fence.id: fence for fence in convert.read(middle).fences}
    assert {name: fence.radius_m for name, fence in back.items()} == {"a": 75.0, "ü": 80.5}
    assert back["a"].geometry.coords[0, :2].tolist() == [2.35, 48.85]


def test_csv_keeps_columns_and_gives_a_radius(tmp_path):
    path = tmp_path / "stores.csv"
    path.write_text("store,LAT,LON\nx,48,2\ny,49,3\n")
    with pytest.raises(GeofenceError, match="without a radius"):
        convert.read(str(path))
    loaded = convert.read(str(path), radius_m=75.0)
    assert [(f.id, f.radius_m, f.properties["store"]) for f in loaded.fences] == [
        ("0", 75.0, "x"),
        ("1", 75.0, "y"),
    ]
    out = tmp_path / "out.csv"
    convert.write(loaded.fences, str(out))
    assert out.read_text() == "id,lon,lat,radius_m,store\n0,2.0,48.0,75.0,x\n1,3.0,49.0,75.0,y\n"


def test_a_csv_holds_circles_only(tmp_path):
    fences = convert.read(written(tmp_path, AREA, circle(0, 0, 50, "b"))).fences
    with pytest.raises(GeofenceError, match="'area': is a Polygon, not a circle"):
        convert.write(fences, str(tmp_path / "out.csv"))


def test_csv_cells_hold_what_is_no_text_as_json(tmp_path):
    drawn = circle(0, 0, 50, "b")
    drawn["properties"].update(tags=["x"], exclude=True, note=None)
    out = str(tmp_path / "out.csv")
    convert.write(convert.read(written(tmp_path, drawn)).fences, out)
    (fence,) = convert.read(out).fences
    assert fence.tags == ("x",)
    assert fence.exclude


def test_a_radius_is_given_to_what_has_none(tmp_path):
    bare = feature({"type": "Point", "coordinates": [1, 2]}, "bare")
    source = written(tmp_path, bare, line([[0, 0], [1, 1]], 30, "line"), AREA)
    fences = {fence.id: fence for fence in convert.read(source, radius_m=99.0).fences}
    assert fences["bare"].radius_m == 99.0
    assert fences["line"].radius_m == 30.0
    assert fences["area"].radius_m is None
    odd = tmp_path / "odd.geojson"
    odd.write_text(json.dumps({"type": "FeatureCollection", "features": [None, feature(None)]}))
    with pytest.raises(GeofenceError, match="is not a Feature"):
        convert.read(str(odd), radius_m=99.0)
    odd.write_text("[]")
    with pytest.raises(GeofenceError, match="not a GeoJSON object"):
        convert.read(str(odd), radius_m=99.0)


def test_skip_bad_leaves_out(tmp_path):
    crossed = feature(
        {"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]]]}, "crossed"
    )
    loaded = convert.read(written(tmp_path, AREA, crossed), skip_bad=True)
    assert [fence.id for fence in loaded.fences] == ["area"]


def test_another_projection_becomes_wgs_84(tmp_path):
    import geopandas

    frame = geopandas.GeoDataFrame.from_features([circle(2.35, 48.85, 75)], crs=4326)
    path = str(tmp_path / "lambert.gpkg")
    frame.to_crs(2154).to_file(path)
    (fence,) = convert.read(path).fences
    assert fence.geometry.coords[0].tolist() == pytest.approx([2.35, 48.85], abs=1e-9)


def test_times_and_gaps_in_tables(tmp_path):
    import geopandas
    import pandas as pd

    drawn = [circle(2.35, 48.85, 75, "a"), circle(2.36, 48.86, 75, "b")]
    frame = geopandas.GeoDataFrame.from_features(drawn, crs=4326)
    frame["valid_from"] = pd.to_datetime(["2026-05-01T10:00:00Z", None])
    frame["floor"] = [1.0, float("nan")]
    path = str(tmp_path / "times.gpkg")
    frame.to_file(path)
    one, two = convert.read(path).fences
    assert (one.valid_from, one.floor) == (1777629600.0, 1.0)
    assert (two.valid_from, two.floor) == (None, None)


def test_a_table_without_a_map_is_passed_over(tmp_path):
    import geopandas
    import pandas as pd
    import pyogrio

    path = str(tmp_path / "two.gpkg")
    geopandas.GeoDataFrame.from_features([circle(2, 48, 75, "a")], crs=4326).to_file(
        path, layer="map"
    )
    pyogrio.write_dataframe(pd.DataFrame({"x": [1]}), path, layer="notes")
    assert len(convert.read(path).fences) == 1


def test_unknown_formats_and_broken_files(tmp_path, monkeypatch):
    with pytest.raises(GeofenceError, match="format that is not known"):
        convert.read("fences.dxf")
    broken = tmp_path / "broken.gpkg"
    broken.write_bytes(b"nonsense")
    with pytest.raises(GeofenceError, match="cannot be read"):
        convert.read(str(broken))
    with pytest.raises(FileNotFoundError):
        convert.read(str(tmp_path / "absent.kml"))
    fences = convert.read(written(tmp_path, AREA, circle(0, 0, 50, "b"))).fences
    with pytest.raises(GeofenceError, match="cannot be written"):
        convert.write(fences, str(tmp_path / "absent" / "x.gpkg"))
    monkeypatch.setattr(convert.geojson, "MAX_BYTES", 2)
    with pytest.raises(GeofenceError, match="too large"):
        convert.read(str(broken))


def test_kml_that_declares_entities_is_refused(tmp_path):
    path = tmp_path / "bomb.kml"
    path.write_text('<!-- fine --><!DOCTYPE x [<!ENTITY a "aaaa">]><kml></kml>')
    with pytest.raises(GeofenceError, match="declares a document type"):
        convert.read(str(path))
    path.write_bytes('<!DOCTYPE x [<!ENTITY a "aaaa">]><kml></kml>'.encode("utf-16"))
    with pytest.raises(GeofenceError, match="not UTF-8"):
        convert.read(str(path))


def test_without_geopandas_the_extra_is_named(tmp_path, monkeypatch):
    real = builtins.__import__

    def absent(name, *args, **kwargs):
        if name == "geopandas":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", absent)
    fences = convert.read(written(tmp_path, AREA)).fences
    with pytest.raises(GeofenceError, match=r"pip install 'proximity-engine\[gis\]'"):
        convert.write(fences, str(tmp_path / "out.gpkg"))


KML = """<kml xmlns="http://www.opengis.net/kml/2.2"><Document><Schema name="s" id="s">
<SimpleField type="int" name="floor"/><SimpleField type="double" name="min_altitude_m"/>
<SimpleField type="double" name="radius_m"/></Schema><Folder><name>shops</name><Placemark>
<name>Cellar</name><ExtendedData><SchemaData schemaUrl="#s"><SimpleData name="floor">-1</SimpleData>
<SimpleData name="min_altitude_m">-1</SimpleData><SimpleData name="radius_m">60</SimpleData>
</SchemaData></ExtendedData><Point><coordinates>2.35,48.85</coordinates></Point></Placemark>
</Folder></Document></kml>"""


def test_a_cellar_in_a_kml_stays_below_the_ground(tmp_path):
    path = tmp_path / "cellar.kml"
    path.write_text(KML)
    (fence,) = convert.read(str(path)).fences
    assert (fence.id, fence.name) == ("Cellar", "Cellar")
    assert (fence.floor, fence.min_altitude_m) == (-1.0, -1.0)


@pytest.mark.parametrize("ending", ["kml", "gpkg", "shp", "fgb", "csv"])
def test_names_and_floors_survive_every_format(tmp_path, ending):
    shops = [circle(2, 48, 50, "a"), circle(3, 48, 50, "b")]
    for shop, name in zip(shops, ("Café Sol", "Le Bar"), strict=True):
        shop["properties"] |= {"name": name, "floor": -1}
    out = str(tmp_path / f"out.{ending}")
    convert.write(convert.read(written(tmp_path, *shops)).fences, out)
    back = {fence.id: (fence.name, fence.floor) for fence in convert.read(out).fences}
    assert back == {"a": ("Café Sol", -1.0), "b": ("Le Bar", -1.0)}


def test_a_radius_is_given_wherever_there_is_none(tmp_path):
    point = {"type": "Point", "coordinates": [2, 48]}
    whole = {"type": "GeometryCollection", "geometries": [point]}
    features = [
        {"type": "Feature", "id": "null", "properties": None, "geometry": point},
        {"type": "Feature", "id": "unsaid", "properties": {"radius_m": None}, "geometry": point},
        {"type": "Feature", "id": "within", "properties": {}, "geometry": whole},
        {"type": "Feature", "id": "own", "properties": {"radius_m": 7}, "geometry": point},
    ]
    source = written(tmp_path, *features)
    found = {fence.id: fence.radius_m for fence in convert.read(source, radius_m=9.0).fences}
    assert found == {"null": 9.0, "unsaid": 9.0, "within": 9.0, "own": 7.0}
    with pytest.raises(GeofenceError):
        convert.read(source)


def test_a_radius_given_does_not_hide_a_key_that_comes_twice(tmp_path):
    path = tmp_path / "twice.geojson"
    path.write_text(
        '{"type":"Feature","properties":{"tags":["a"],"tags":["b"]},'
        '"geometry":{"type":"Point","coordinates":[1,2]}}'
    )
    with pytest.raises(GeofenceError, match="has the property 'tags' twice"):
        convert.read(str(path), radius_m=9.0)


def test_bad_rows_and_bad_circles_are_told_together_and_left_out(tmp_path):
    path = tmp_path / "shops.csv"
    path.write_text("lon,lat,id,radius_m\n1,2,a,5\n200,2,b,5\n1,2,c,0\n")
    with pytest.raises(GeofenceError) as caught:
        convert.read(str(path))
    assert "has lon '200', line 3" in str(caught.value)
    assert "feature 'c': property radius_m cannot be 0" in str(caught.value)
    loaded = convert.read(str(path), skip_bad=True)
    assert [fence.id for fence in loaded.fences] == ["a"]
    assert sum(not problem.advice for problem in loaded.problems) == 2


def test_a_format_that_cannot_hold_the_fences_leaves_no_file_and_an_earlier_one_alone(tmp_path):
    out = tmp_path / "out.shp"
    convert.write(convert.read(written(tmp_path, AREA)).fences, str(out))
    before = {path.name: path.read_bytes() for path in tmp_path.glob("out.*")}
    mixed = convert.read(written(tmp_path, AREA, circle(0, 0, 50, "b"))).fences
    for name in ("out.shp", "new.shp"):
        with pytest.raises(GeofenceError, match="cannot be written"):
            convert.write(mixed, str(tmp_path / name))
    assert {path.name: path.read_bytes() for path in tmp_path.glob("out.*")} == before
    assert sorted(path.name for path in tmp_path.glob("*")) == sorted([*before, "in.geojson"])


def test_what_a_shapefile_would_cut_short_is_refused(tmp_path):
    week = [{"days": [day], "from": "09:00", "to": "18:00"} for day in DAYS]
    shop = box(0, 0, 1, 1, "shop", active=week, note="é" * 128, other="x" * 254)
    fences = convert.read(written(tmp_path, shop)).fences
    with pytest.raises(GeofenceError) as caught:
        convert.write(fences, str(tmp_path / "out.shp"))
    assert [str(problem) for problem in caught.value.problems] == [
        f"{tmp_path / 'out.shp'}: feature 'shop': has a {name!r} of more than 254 bytes; "
        "shorten it, or choose another format"
        for name in ("active", "note")
    ]
    assert not (tmp_path / "out.shp").exists()
    convert.write(fences, str(tmp_path / "out.gpkg"))
    assert convert.read(str(tmp_path / "out.gpkg")).fences[0].active == fences[0].active


def test_what_a_kml_cannot_hold_is_named(tmp_path):
    shop = circle(2, 48, 50, "a")
    shop["properties"] |= {"begin": "1 May", "icon": 3, "manager": "Ann", "end": 90}
    fences = convert.read(written(tmp_path, shop)).fences
    out = tmp_path / "out.kml"
    with pytest.raises(GeofenceError) as caught:
        convert.write(fences, str(out))
    told = str(caught.value)
    for name in ("begin", "icon", "end"):
        assert f"feature 'a': has a property '{name}', which a KML cannot hold; rename it" in told
    assert "manager" not in told
    assert not out.exists()


@pytest.mark.parametrize("ending", ["kml", "gpkg", "shp"])
def test_names_that_differ_by_case_alone_are_refused(tmp_path, ending):
    shop = circle(2, 48, 50, "a")
    shop["properties"] |= {"Owner": "x", "owner": "y"}
    fences = convert.read(written(tmp_path, shop)).fences
    with pytest.raises(GeofenceError, match="has properties 'Owner' and 'owner', which"):
        convert.write(fences, str(tmp_path / f"out.{ending}"))
