from __future__ import annotations

import json

import numpy as np
import pytest

import geofences
from geofences import geojson, geometry
from tests.geofences.drawn import advice, box, circle, faults, feature, fences, line, polygon, text


def refused(whole):
    with pytest.raises(geofences.GeofenceError) as caught:
        geofences.loads(whole, "f.json")
    return [str(problem) for problem in caught.value.problems if not problem.advice]


SQUARE = [[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]
AREA = {"type": "Polygon", "coordinates": [SQUARE]}


def test_a_collection_a_feature_and_a_geometry_are_read():
    for whole in (
        {"type": "FeatureCollection", "features": [feature(AREA)]},
        feature(AREA),
        AREA,
        {"type": "GeometryCollection", "geometries": [AREA]},
    ):
        (fence,) = geofences.loads(json.dumps(whole)).fences
        assert geofences.FenceIndex([fence]).locate(0.5, 0.5) == [fence.id]
    (fence,) = geofences.loads(json.dumps(AREA)).fences
    assert fence.id == "0"
    (fence,) = geofences.loads("\ufeff".encode() + json.dumps(feature(AREA)).encode()).fences
    assert fence.id == "a"


def test_load_reads_a_file(tmp_path):
    path = tmp_path / "f.geojson"
    path.write_text(text(box(0, 0, 1, 1), box(0, 0, 1, float("nan"), "bad")))
    with pytest.raises(geofences.GeofenceError, match=r"f\.geojson: feature 'bad'"):
        geofences.load(path)
    assert [fence.id for fence in geofences.load(path, skip_bad=True)] == ["a"]


def test_skip_bad_says_what_it_left_out_but_never_a_whole_file():
    loaded = geofences.loads(
        text(box(0, 0, 1, 1), polygon(SQUARE[:3], fence_id="b")), skip_bad=True
    )
    assert [fence.id for fence in loaded.fences] == ["a"]
    assert [problem.feature for problem in loaded.problems] == ["b"]
    with pytest.raises(geofences.GeofenceError):
        geofences.loads("{", skip_bad=True)


def test_dumps_gives_back_what_was_read():
    drawn = [box(0, 0, 1, 1), circle(5, 5, 100, "b"), line([[0, 0], [1, 1]], 30, "c")]
    once = geofences.loads(text(*drawn)).fences
    again = geofences.loads(geofences.dumps(once)).fences
    assert again == once
    assert [fence.to_feature() for fence in again] == drawn
    assert geofences.loads(geofences.dumps([])).fences == []


WHOLE = {
    "not JSON": ("{", "is not JSON", "line 1, column 2"),
    "cut short": ('{"type": "Feature",\n"id"', "is not JSON", "line 2, column 5"),
    "not UTF-8": (b'{"type": "\xff"}', "is not UTF-8 text", "byte 10"),
    "too deep": ("[" * 100_000, "nests too deeply", ""),
    "too deep in objects": ('{"a":' * 100_000, "nests too deeply", ""),
    "an endless number": (f'{{"a": {"9" * 5000}}}', "thousands of digits", ""),
    "a list": ("[]", "is not a GeoJSON object", ""),
    "no type": ("{}", "has no GeoJSON type (None)", ""),
    "a type of another case": ('{"type": "featurecollection"}', "'featurecollection'", "type"),
    "a type that is a list": ('{"type": []}', "has no GeoJSON type", "type"),
    "no features": ('{"type": "FeatureCollection"}', "has no list of features", "features"),
    "a key twice": ('{"type": "Feature", "type": "FeatureCollection"}', "'type' twice", "the file"),
    "another projection": (
        '{"type": "FeatureCollection", "crs": {"properties": {"name": "EPSG:32632"}}}',
        "not WGS 84",
        "crs",
    ),
}


@pytest.mark.parametrize("name", WHOLE)
def test_what_is_wrong_with_a_whole_file(name):
    whole, what, where = WHOLE[name]
    found = refused(whole)
    assert what in found[0]
    assert where in found[0]
    assert found[0].startswith("f.json: ")


def test_a_file_that_is_too_large(monkeypatch):
    monkeypatch.setattr(geojson, "MAX_BYTES", 10)
    assert "is too large" in refused(json.dumps(feature(AREA)))[0]


def test_old_names_of_wgs_84_are_read():
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:OGC:1.3:CRS84"}}
    assert geofences.loads(json.dumps({**feature(AREA), "crs": crs})).fences


FEATURES = {
    "null": (None, "feature number 0: is not a Feature (None)"),
    "a geometry": (AREA, "is not a Feature"),
    "no properties": ({"type": "Feature", "id": "a", "geometry": AREA}, "no properties object"),
    "properties that are a list": ({**feature(AREA), "properties": []}, "no properties object"),
    "no geometry": (feature(None), "has no geometry"),
    "a geometry that is text": (feature("here"), "no GeoJSON geometry type ('here')"),
    "a geometry of no type": (feature({"coordinates": [1, 2]}), "geometry type (None)"),
    "a geometry of another type": (feature({"type": "Circle"}), "geometry type ('Circle')"),
    "a feature in a collection": (
        feature({"type": "GeometryCollection", "geometries": [feature(AREA)]}),
        "geometry, member 0",
    ),
    "an empty collection": (
        feature({"type": "GeometryCollection", "geometries": []}),
        "no geometry in its collection",
    ),
    "null in a collection": (
        feature({"type": "GeometryCollection", "geometries": [None]}),
        "geometry type (None), geometry, member 0",
    ),
    "no coordinates": (feature({"type": "Polygon"}), "coordinates that are no Polygon"),
    "empty coordinates": (feature({"type": "Polygon", "coordinates": []}), "has no coordinates"),
    "an empty part": (
        feature({"type": "MultiPolygon", "coordinates": [[[]], []]}),
        "has no coordinates",
    ),
    "an empty ring": (feature({"type": "Polygon", "coordinates": [[]]}), "fewer than three"),
    "no points": (feature({"type": "MultiPoint", "coordinates": []}, radius_m=9), "no coordinates"),
    "a line of nothing": (
        feature({"type": "LineString", "coordinates": []}, radius_m=9),
        "has a line of 0 positions",
    ),
    "a line of one": (
        feature({"type": "MultiLineString", "coordinates": [SQUARE, [[1, 2]]]}, radius_m=9),
        "has a line of 1 positions, geometry, ring or line 1",
    ),
    "a ring too shallow": (feature({"type": "Polygon", "coordinates": SQUARE}), "no Polygon"),
    "a ring too deep": (feature({"type": "Polygon", "coordinates": [[SQUARE]]}), "no Polygon"),
    "a point too deep": (
        feature({"type": "Point", "coordinates": [[1, 2]]}, radius_m=9),
        "no Point",
    ),
    "a point that is none": (feature({"type": "Point", "coordinates": 5}, radius_m=9), "no Point"),
    "numbers for parts": (feature({"type": "MultiPolygon", "coordinates": [1, 2]}), "MultiPolygon"),
    "text for a number": (
        feature({"type": "Point", "coordinates": ["1", 2]}, radius_m=9),
        "not two numbers (['1', 2])",
    ),
    "truth for a number": (
        feature({"type": "Point", "coordinates": [True, 2]}, radius_m=9),
        "not two numbers",
    ),
    "half a position": (
        polygon([[0, 0], [1], [1, 1], [0, 0]]),
        "not two numbers ([1]), geometry, position 1",
    ),
    "not closed": (polygon(SQUARE[:4]), "begins at [0.0, 0.0] and ends at [0.0, 1.0]"),
    "two corners": (polygon([[0, 0], [1, 1], [0, 0]]), "fewer than three different corners"),
    "two corners often": (polygon([[0, 0], [1, 1], [0, 0], [1, 1], [0, 0]]), "three different"),
    "no radius": (feature({"type": "Point", "coordinates": [1, 2]}), "is a Point without a radius"),
    "a bad hole": (polygon(SQUARE, [[0.2, 0.2]]), "ring or line 1"),
    "latitude beyond": (polygon([[0, 0], [1, 0], [1, 95], [0, 0]]), "swapped"),
    "metres": (polygon([[400000, 5e6], [400001, 5e6], [1, 1], [400000, 5e6]]), "projected metres"),
    "longitude beyond": (polygon([[190, 0], [191, 0], [191, 1], [190, 0]]), "write -170"),
    "a bbox of three": ({**feature(AREA), "bbox": [1, 2, 3]}, "bbox that is not 4 or 6 numbers"),
    "a bbox of text and numbers": (
        {**feature(AREA), "bbox": [1, "a", "b", 2]},
        "bbox that is not 4 or 6 numbers",
    ),
    "a bbox of texts": (
        feature({**AREA, "bbox": [1, 2, 3, "4"]}),
        "bbox that is not 4 or 6 numbers, geometry",
    ),
}


@pytest.mark.parametrize("name", FEATURES)
def test_what_is_wrong_with_a_feature(name):
    drawn, expected = FEATURES[name]
    found = faults(drawn)
    assert any(expected in each for each in found), found
    assert all(each.startswith("fences: feature") for each in found)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "9" * 400])
@pytest.mark.parametrize(
    "whole",
    [
        '{"type":"Point","coordinates":[%s,1]}',
        '{"type":"Feature","properties":{"radius_m":%s},"geometry":{"type":"Point","coordinates":[1,1]}}',
        '{"type":"Polygon","coordinates":[[[0,0],[1,0],[1,%s],[0,0]]]}',
    ],
)
def test_numbers_that_are_none(number, whole):
    assert refused(whole % number)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_numbers_that_are_none_in_what_is_only_kept(number):
    area = json.dumps(AREA)
    for whole, where in (
        (f'{{"type":"Feature","properties":{{"x":[1,{number}]}},"geometry":{area}}}', "x[1]"),
        (f'{{"type":"Feature","y":{number},"properties":{{}},"geometry":{area}}}', "y"),
        (
            f'{{"type":"Feature","properties":{{}},"geometry":{area[:-1]},"z":{{"q":{number}}}}}}}',
            "z.q",
        ),
    ):
        assert where in refused(whole)[0]


def test_keys_that_come_twice():
    area = json.dumps(AREA)
    twice = f'{{"type":"Feature","properties":{{"a":1,"a":2}},"geometry":{area}}}'
    assert "has the property 'a' twice" in refused(twice)[0]
    twice = f'{{"type":"Feature","properties":{{}},"geometry":null,"geometry":{area}}}'
    assert "has the key 'geometry' twice, the feature" in refused(twice)[0]
    twice = f'{{"type":"Feature","properties":{{}},"geometry":{{"type":"Point",{area[1:]}}}'
    assert "has the key 'type' twice, geometry" in refused(twice)[0]


def test_long_values_are_cut_in_problems():
    (found,) = faults(feature({"type": list(range(100))}))
    assert "a list of 100" in found
    (found,) = faults(feature({"type": {str(n): n for n in range(100)}}))
    assert "an object of 100" in found
    assert all(len(each) < 300 for each in faults(feature({"type": "x" * 1000})))


def test_ids_that_come_twice():
    found = faults(box(0, 0, 1, 1, "7"), box(1, 0, 2, 1, 7), box(2, 0, 3, 1, "8"))
    assert len(found) == 1
    assert "feature '7': feature number 1 has the same id as feature number 0; give" in found[0]


def test_an_id_that_comes_twice_is_named_whatever_else_is_wrong():
    drawn = text(feature(None, "7"), box(1, 0, 2, 1, "7"), box(2, 0, 3, 1, "8"))
    assert [each.split(": ", 2)[2].split(";")[0] for each in refused(drawn)][-1] == (
        "feature number 1 has the same id as feature number 0"
    )
    assert len(refused(drawn)) == 2
    loaded = geofences.loads(drawn, skip_bad=True)
    assert [fence.id for fence in loaded.fences] == ["8"]
    both_sound = text(box(0, 0, 1, 1, "7"), box(1, 0, 2, 1, "7"), box(2, 0, 3, 1, "8"))
    assert [each.id for each in geofences.loads(both_sound, skip_bad=True).fences] == ["8"]


def test_foreign_members_of_the_collection_are_kept():
    whole = json.loads(text(box(0, 0, 1, 1)))
    whole |= {"name": "shops", "generator": {"by": ["é", 1.5, None]}}
    loaded = geofences.loads(json.dumps(whole))
    assert loaded.extra == {"name": "shops", "generator": {"by": ["é", 1.5, None]}}
    again = json.loads(geofences.dumps(loaded.fences, loaded.extra))
    assert {key: again[key] for key in loaded.extra} == dict(loaded.extra)
    (found,) = refused(json.dumps(whole | {"scale": float("nan")}))
    assert "a number that is not finite, scale" in found


def test_every_problem_comes_at_once():
    found = faults(
        polygon(SQUARE[:4], fence_id="open", floor="x"),
        feature(None, "empty"),
        box(0, 0, 1, 1, "good"),
        polygon([[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]], fence_id="crossed"),
    )
    assert len(found) == 4


def test_what_is_odd_but_sound():
    clockwise = polygon(SQUARE[::-1])
    heights = polygon([[*each, 1.0, 1000.0, 7.0] for each in SQUARE])
    mixed = feature({"type": "MultiPoint", "coordinates": [[1, 2, 3], [1, 2]]}, radius_m=50)
    seam = polygon([[-180, -70], [-90, -70], [0, -70], [90, -70], [180, -70]])
    for each in (clockwise, heights, mixed, seam):
        assert not faults(each)
        assert not advice(each)
    assert fences(heights)[0].geometry.coords.shape == (5, 4)


ADVICE = {
    "a small circle": (circle(0, 0, 10), "too small to decide at 20 m accuracy"),
    "a small area": (box(0, 50, 0.0001, 50.0001), "too small to decide at 20 m accuracy"),
    "a large circle": (circle(0, 0, 250_000), "has a radius of 250 km"),
    "a radius on an area": (box(0, 0, 1, 1, radius_m=50), "has a radius_m that means nothing"),
    "a line without length": (line([[1, 2], [1, 2]], 50), "has a line without length"),
    "a corner twice": (
        polygon([[0, 0], [1, 0], [1, 0], [1, 1], [0, 0]]),
        "same corner twice in a row, near longitude 1.000000, latitude 0.000000",
    ),
    "an edge that runs the short way": (box(-100, 0, 100, 10), "runs the short way across ±180"),
    "a bbox that does not hold it": (
        {**box(0, 0, 1, 1), "bbox": [50, 13, 51, 14]},
        "has a bbox that does not hold it",
    ),
}


@pytest.mark.parametrize("name", ADVICE)
def test_advice_is_no_fault(name):
    drawn, expected = ADVICE[name]
    (found,) = advice(drawn)
    assert expected in found
    assert "advice: " in found
    assert not faults(drawn)


def test_a_bbox_that_holds_it_or_crosses_the_seam_needs_no_advice():
    assert not advice({**box(0, 0, 1, 1), "bbox": [0, 0, 1, 1]})
    assert not advice({**box(0, 0, 1, 1), "bbox": [0, 0, 5, 1, 1, 9]})
    assert not advice({**box(170, 0, -170, 1), "bbox": [170, 0, -170, 1]})


def test_a_file_without_features_gets_advice():
    loaded = geofences.loads('{"type": "FeatureCollection", "features": []}')
    assert loaded.fences == []
    assert "has no features" in str(loaded.problems[0])


def test_bounds_of_one_fence(monkeypatch):
    monkeypatch.setattr(geojson, "MAX_POSITIONS", 4)
    assert "has 5 positions in 1 parts" in faults(box(0, 0, 1, 1))[0]
    monkeypatch.setattr(geojson, "MAX_PARTS", 2)
    pair = {"type": "MultiPoint", "coordinates": [[0, 0], [1, 1]]}
    collected = {"type": "GeometryCollection", "geometries": [pair, pair]}
    assert "has 4 positions in 4 parts" in faults(feature(collected, radius_m=9))[0]
    monkeypatch.setattr(geometry, "MAX_PARTS", 2)
    many = {"type": "MultiPoint", "coordinates": [[0, 0], [1, 1], [2, 2]]}
    assert "has more than 2 parts" in faults(feature(many, radius_m=9))[0]
    collected = {"type": "GeometryCollection", "geometries": [AREA, AREA, AREA]}
    assert "too large or too deep a collection" in faults(feature(collected))[0]


def test_collections_nest_only_so_deep():
    nested = AREA
    for _ in range(geometry.MAX_NESTING):
        nested = {"type": "GeometryCollection", "geometries": [nested]}
    assert not faults(feature(nested))
    deeper = {"type": "GeometryCollection", "geometries": [nested]}
    assert "too deep a collection" in faults(feature(deeper))[0]


def test_a_ring_of_200_000_corners_is_read():
    angle = np.linspace(0, 2 * np.pi, 200_001)
    ring = np.column_stack((np.cos(angle), np.sin(angle)))
    ring[-1] = ring[0]
    (fence,) = fences(polygon(ring.tolist()))
    assert geofences.FenceIndex([fence]).locate(0.9, 0.0) == ["a"]


def test_faults_without_end_are_not_all_told():
    text = '{"type":"FeatureCollection","features":[' + ",".join(["1"] * 50_000) + "]}"
    with pytest.raises(geofences.GeofenceError) as caught:
        geojson.loads(text, skip_bad=True)
    assert len(caught.value.problems) == geojson.MAX_FAULTS + 1
    assert "has 10,000 faults and more; mend the first ones first" in str(caught.value)
