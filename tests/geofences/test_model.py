from __future__ import annotations

import pytest

from geofences import GeofenceError, Problem
from tests.geofences.drawn import box, circle, feature, fences, line


def test_a_problem_is_a_line_that_names_file_feature_place_and_mend():
    whole = Problem("f.json", None, "is not JSON", "line 3, column 1", "mend the text there")
    assert str(whole) == "f.json: is not JSON, line 3, column 1; mend the text there"
    numbered = Problem("f.json", 2, "is not a Feature", "", "write one")
    assert str(numbered) == "f.json: feature number 2: is not a Feature; write one"
    advice = Problem("f.json", "Store 12", "is small", "", "widen it", advice=True)
    assert str(advice) == "f.json: feature 'Store 12': advice: is small; widen it"


def test_an_error_lists_every_problem_a_line_each():
    error = GeofenceError(*(Problem("f", n, "is bad", "", "mend it") for n in range(3)))
    assert len(str(error).splitlines()) == 3
    assert len(error.problems) == 3


@pytest.mark.parametrize(
    ("drawn", "lon", "lat"),
    [
        (circle(2.0, 48.0, 10), 2.0, 48.0),
        (box(10, 0, 20, 10), 15.0, 5.0),
        (box(170, 0, -170, 10), -180.0, 5.0),
        (line([[0, 0], [4, 2]], 10), 2.0, 1.0),
    ],
)
def test_a_centre_is_in_or_near_the_fence(drawn, lon, lat):
    (fence,) = fences(drawn)
    assert fence.centre == pytest.approx((lon, lat))


def test_fences_are_equal_where_all_that_was_drawn_is():
    one, same, other = fences(box(0, 0, 1, 1)), fences(box(0, 0, 1, 1)), fences(box(0, 0, 1, 2))
    assert one == same
    assert hash(one[0]) == hash(same[0])
    assert one != other
    assert one[0] != "a"
    assert repr(one[0]) == "Fence(id='a', geometry='Polygon')"


GEOMETRIES = [
    {"type": "Point", "coordinates": [1.0, 2.0, 3.0]},
    {"type": "MultiPoint", "coordinates": [[1.0, 2.0], [3.0, 4.0]]},
    {"type": "LineString", "coordinates": [[1.0, 2.0], [3.0, 4.0]], "note": "kept"},
    {"type": "MultiLineString", "coordinates": [[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0], [7.0, 8.0]]]},
    {"type": "Polygon", "coordinates": [[[0.0, 0.0], [9.0, 0.0], [9.0, 9.0], [0.0, 0.0]],
                                        [[5.0, 1.0], [6.0, 1.0], [6.0, 2.0], [5.0, 1.0]]]},
    {"type": "MultiPolygon", "coordinates": [[[[0.0, 0.0], [9.0, 0.0], [9.0, 9.0], [0.0, 0.0]]],
                                             [[[10.0, 0.0], [19.0, 0.0], [19.0, 9.0], [10.0, 0.0]]]]},
]  # fmt: skip


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=lambda each: each["type"])
def test_a_fence_gives_back_the_feature_that_it_was_read_from(geometry):
    collected = {"type": "GeometryCollection", "geometries": [geometry, geometry], "note": 1}
    for each in (geometry, collected):
        drawn = feature(each, radius_m=20, colour="red", nested={"a": [1, None]})
        drawn["bbox"] = [0, 0, 20, 20]
        (fence,) = fences(drawn)
        assert fence.to_feature() == drawn
