"""The index against GEOS, PROJ, itself and a fresh index."""

from __future__ import annotations

import json

import numpy as np
import pytest
import shapely
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import geofences
from geofences import geodesy
from geofences.shape import Shape

# A coarse grid makes shared corners, shared edges and points upon both the rule, not the chance.
coarse = st.integers(-8, 8).map(lambda n: n / 4)
fine = st.floats(-2.5, 2.5)
somewhere = st.tuples(st.one_of(coarse, fine), st.one_of(coarse, fine))
ids = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1, max_size=4)


@st.composite
def outlines(draw):
    """A sound polygon, perhaps with a hole, as GeoJSON coordinates."""
    corners = draw(st.lists(st.tuples(coarse, coarse), min_size=3, max_size=8, unique=True))
    kind = draw(st.sampled_from(["hull", "as drawn", "holed"]))
    if kind == "hull":
        shape = shapely.convex_hull(shapely.MultiPoint(corners))
    else:
        shape = shapely.Polygon(corners)
        if kind == "holed" and shape.is_valid and shape.area:
            shape = shape.difference(shape.centroid.buffer(0.1, 2))
    assume(shape.geom_type == "Polygon" and shape.is_valid and shape.area > 0)
    return json.loads(shapely.to_geojson(shape))


@st.composite
def drawn_fences(draw):
    geometry = draw(
        st.one_of(
            outlines(),
            somewhere.map(lambda xy: {"type": "Point", "coordinates": list(xy)}),
            st.lists(somewhere, min_size=2, max_size=4).map(
                lambda line: {"type": "LineString", "coordinates": [list(xy) for xy in line]}
            ),
        )
    )
    given_properties = draw(
        st.dictionaries(ids.map(lambda name: f"x-{name}"), st.one_of(ids, coarse, st.booleans()))
    )
    if geometry["type"] != "Polygon":
        given_properties["radius_m"] = draw(st.sampled_from([1.0, 5000.0, 30_000.0, 80_000.0]))
    return {
        "type": "Feature",
        "id": draw(ids),
        "properties": given_properties,
        "geometry": geometry,
    }


def read(*features):
    return geofences.loads(
        json.dumps({"type": "FeatureCollection", "features": list(features)})
    ).fences


fences = drawn_fences().map(lambda each: read(each)[0])
many_fences = st.lists(fences, max_size=6, unique_by=lambda fence: fence.id)


@given(st.lists(outlines(), min_size=1, max_size=5), st.lists(somewhere, min_size=1, max_size=20))
def test_locate_and_locate_many_are_what_geos_says(geometries, points):
    features = [
        {"type": "Feature", "id": n, "properties": {}, "geometry": each}
        for n, each in enumerate(geometries)
    ]
    index = geofences.FenceIndex(read(*features))
    points += [tuple(xy[:2]) for each in geometries for xy in each["coordinates"][0]]
    shapes = [shapely.geometry.shape(each) for each in geometries]
    expected = [
        sorted(str(n) for n, shape in enumerate(shapes) if shapely.intersects_xy(shape, *point))
        for point in points
    ]
    assert [index.locate(*point) for point in points] == expected
    which, slots = index.locate_many([x for x, _ in points], [y for _, y in points])
    found: list[list[str]] = [[] for _ in points]
    for point, slot in zip(which.tolist(), slots.tolist(), strict=True):
        found[point].append(index.ids[slot])
    assert found == expected


@settings(deadline=None, max_examples=40)
@given(many_fences, st.lists(somewhere, min_size=1, max_size=10))
def test_every_question_gets_the_same_answer(drawn, points):
    index = geofences.FenceIndex(drawn)
    which, slots = index.locate_many([x for x, _ in points], [y for _, y in points])
    batch = [
        sorted(index.ids[slot] for slot in slots[which == number].tolist())
        for number in range(len(points))
    ]
    for number, point in enumerate(points):
        located = index.locate(*point)
        assert located == batch[number]
        near = index.within(*point, 1e6)
        assert [fence_id for fence_id, metres in near if metres <= 0.0] == located
        assert len(near) == len(drawn)
        limited = index.within(*point, 20_000.0)
        assert limited == [pair for pair in near if pair[1] <= 20_000.0]


@settings(deadline=None, max_examples=40)
@given(
    many_fences,
    st.lists(st.tuples(st.sampled_from(["put", "remove"]), fences), max_size=8),
    st.lists(somewhere, min_size=1, max_size=5),
)
def test_a_history_of_edits_equals_a_fresh_index(drawn, edits, points):
    index = geofences.FenceIndex(drawn)
    plain = {fence.id: fence for fence in drawn}
    log = []
    for verb, fence in edits:
        if verb == "put":
            index.put(fence)
            plain[fence.id] = fence
        elif fence.id in plain:
            index.remove(fence.id)
            del plain[fence.id]
        else:
            with pytest.raises(KeyError):
                index.remove(fence.id)
            continue
        log.append(fence.id)
    fresh = geofences.FenceIndex(plain.values())
    assert {fence.id: fence for fence in index} == plain
    assert index.version == len(log)
    assert index.changes(0) == tuple(log)
    for point in points:
        assert index.locate(*point) == fresh.locate(*point)
        assert index.within(*point, 50_000.0) == fresh.within(*point, 50_000.0)
        assert index.crossings(*point, 0.1, 0.2) == fresh.crossings(*point, 0.1, 0.2)


@given(st.lists(drawn_fences(), max_size=5, unique_by=lambda each: each["id"]))
def test_what_is_read_is_given_back(features):
    once = read(*features)
    assert [fence.to_feature() for fence in once] == features
    assert geofences.loads(geofences.dumps(once)).fences == once


@given(
    st.one_of(st.floats(-180, 180), st.sampled_from([-180.0, 180.0, 179.9999])),
    st.one_of(st.floats(-90, 90), st.sampled_from([-90.0, 90.0, 89.9999])),
    st.floats(1.0, 1e6),
    st.floats(-180, 180),
    st.floats(-1.0, 1.0),
)
def test_a_circle_is_as_far_as_proj_says(lon, lat, radius, azimuth, off):
    fence = read(
        {
            "type": "Feature",
            "id": "a",
            "properties": {"radius_m": radius},
            "geometry": {"type": "Point", "coordinates": [lon, lat]},
        }
    )
    index = geofences.FenceIndex(fence)
    x, y, _ = geodesy.geod().fwd(lon, lat, azimuth, radius + off)
    exact = geodesy.geod().inv(lon, lat, x, y)[2] - radius
    ((_, metres),) = index.within(x, y, 10.0)
    assert metres == pytest.approx(exact, abs=1e-3)
    assert bool(index.locate(x, y)) == (exact <= 0.0)
    assert bool(len(index.locate_many([x], [y])[0])) == (exact <= 0.0)


@settings(deadline=None, max_examples=40)
@given(many_fences, somewhere, somewhere)
def test_crossings_agree_with_points_along_the_segment(drawn, start, stop):
    index = geofences.FenceIndex(drawn)
    crossed = {name: (a, b) for name, a, b in index.crossings(*start, *stop)}
    for first, last in crossed.values():
        assert 0.0 <= first < last <= 1.0
    for share in np.linspace(0.0, 1.0, 21).tolist():
        x = start[0] + share * (stop[0] - start[0])
        y = start[1] + share * (stop[1] - start[1])
        for name, metres in index.within(x, y, 0.0):
            if metres < -1000.0 and max(abs(stop[0] - start[0]), abs(stop[1] - start[1])) > 1e-6:
                first, last = crossed[name]
                assert first <= share <= last


@settings(deadline=None, max_examples=200)
@given(
    st.one_of(st.floats(-180, 180), st.sampled_from([-180.0, 180.0, 179.9999])),
    st.one_of(st.floats(-89.9, 89.9), st.sampled_from([0.0, 79.99, -80.01])),
    st.floats(1.0, 3000.0),
    st.floats(-180, 180),
    st.floats(-3.0, 3.0),
    st.tuples(st.floats(-1800, 1800), st.floats(-1800, 1800)),
)
def test_a_way_beside_a_circle_is_what_the_circle_says(lon, lat, radius, azimuth, off, reach):
    """Past the rim and along it, on either side of what is looked at closely."""
    (fence,) = read(
        {
            "type": "Feature",
            "id": "a",
            "properties": {"radius_m": radius},
            "geometry": {"type": "Point", "coordinates": [lon, lat]},
        }
    )
    index = geofences.FenceIndex([fence])
    x, y, back = geodesy.geod().fwd(lon, lat, azimuth, radius + off)
    ends = [geodesy.geod().fwd(x, y, back + 90.0, metres)[:2] for metres in reach]
    way = [degrees for end in ends for degrees in end]
    span = Shape(fence).span(*way)
    assert index.crossings(*way) == ([("a", *span)] if span else [])
    turn = (way[2] - way[0] + 180.0) % 360.0 - 180.0
    for share in span or ():
        if 0.0 < share < 1.0:  # there it runs over the rim
            there = way[0] + share * turn, way[1] + share * (way[3] - way[1])
            metres = geodesy.metres_between(lon, lat, *there)
            assert metres == pytest.approx(radius, abs=1e-4)
    missed = [index.missed_many(*([each] for each in way), [but]) for but in ((), {"a": 1})]
    assert not (missed[0][0] and span)
    assert missed[1][0] or not missed[0][0]


@settings(deadline=None, max_examples=40)
@given(many_fences, st.lists(st.tuples(somewhere, somewhere), min_size=1, max_size=8), st.data())
def test_what_is_surely_missed_is_not_crossed(drawn, ways, data):
    index = geofences.FenceIndex(drawn)
    some = st.sets(st.sampled_from(index.ids)) if drawn else st.just(set())
    but = [data.draw(some) for _ in ways]
    columns = np.array(ways).reshape(-1, 4).T
    for missed, way, apart in zip(index.missed_many(*columns, but), ways, but, strict=True):
        (lon0, lat0), (lon1, lat1) = way
        if missed:
            assert index.crossings(lon0, lat0, lon1, lat1, apart) == []
    with pytest.raises(ValueError, match="one length"):
        index.missed_many(*columns, [*but, ()])


@settings(deadline=None, max_examples=40)
@given(outlines(), st.sampled_from([179.0, -179.5, 180.0]), st.lists(somewhere, max_size=10))
def test_a_fence_moved_to_the_seam_answers_as_it_did(geometry, by, points):
    """Quarter degrees are exact in binary, so corners stay corners wherever they are moved."""

    def moved(lon):
        return (lon + by + 180.0) % 360.0 - 180.0

    here = {"type": "Feature", "id": "a", "properties": {}, "geometry": geometry}
    rings = [[[moved(x), y] for x, y in ring] for ring in geometry["coordinates"]]
    assume(all(moved(x) != -180.0 for ring in geometry["coordinates"] for x, _ in ring))
    there = {**here, "geometry": {"type": "Polygon", "coordinates": rings}}
    try:
        indexes = [geofences.FenceIndex(read(each)) for each in (here, there)]
    except geofences.GeofenceError:
        # A hole's corners are not exact: moved, it may touch where it did not.
        assume(False)
    for x, y in [*points, *((x, y) for x, y in geometry["coordinates"][0])]:
        here_m, there_m = (
            dict(index.within(*point, 1e7))["a"]
            for index, point in zip(indexes, [(x, y), (moved(x), y)], strict=True)
        )
        assert there_m == pytest.approx(here_m, abs=1e-3)
