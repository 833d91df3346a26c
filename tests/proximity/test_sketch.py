"""The drawing of a place shows what the fences say, to scale, wherever on earth and however odd."""

from __future__ import annotations

import json
import math
import re
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geofences import Fence, loads
from geofences.geodesy import metres_between
from proximity.content import sketch


def fence(geometry: dict[str, Any], **properties: Any) -> Fence:
    found = {"type": "Feature", "id": "f", "properties": properties, "geometry": geometry}
    collection = {"type": "FeatureCollection", "features": [found]}
    (made,) = loads(json.dumps(collection)).fences
    return made


def point(lon: float, lat: float, radius_m: float = 50.0, **properties: Any) -> Fence:
    return fence({"type": "Point", "coordinates": [lon, lat]}, radius_m=radius_m, **properties)


def square(lon: float, lat: float, side: float, **properties: Any) -> Fence:
    ring = [[lon + x * side, lat + y * side] for x, y in [(0, 0), (1, 0), (1, 1), (0, 1), (0, 0)]]
    return fence({"type": "Polygon", "coordinates": [ring]}, **properties)


def parts(text: str, kind: str) -> list[ET.Element]:
    found = ET.fromstring(text).iter()  # it is well-formed, whatever names are in it
    return [one for one in found if kind in one.get("class", "").split()]


def units_a_metre(text: str) -> float:
    """Read the scale as a person would: the bar, and what is written on it."""
    (bar,), (said,) = parts(text, "scale"), parts(text, "metres")
    length = float(re.search(r"h([\d.]+)v", bar.get("d", ""))[1])  # type: ignore[index]
    number, unit = str(said.text).split()
    return length / (float(number) * {"m": 1.0, "km": 1000.0}[unit])


@pytest.mark.parametrize("lat", [0.0, 48.85, -33.9, 69.6, 89.0])
@pytest.mark.parametrize("lon", [2.35, 179.9999, -180.0])
def test_a_circle_is_as_large_as_it_is(lon: float, lat: float) -> None:
    drawn = sketch.draw(point(lon, lat, 120.0, name="Shop"), None, (), "Map")
    (circle,) = parts(drawn, "place")
    assert float(circle.get("r", "")) == pytest.approx(120.0 * units_a_metre(drawn), rel=0.01)


@given(
    lon=st.floats(-180, 180), lat=st.floats(-85, 85), bearing=st.floats(0, 6.28),
    far=st.floats(1, 400),
)  # fmt: skip
def test_distances_and_directions_are_those_of_the_earth(
    lon: float, lat: float, bearing: float, far: float
) -> None:
    # A neighbour some metres off, in some direction, over any seam.
    east, north = far * math.sin(bearing), far * math.cos(bearing)
    other = (
        (lon + east / (111_320.0 * math.cos(math.radians(lat))) + 180.0) % 360.0 - 180.0,
        lat + north / 111_200.0,
    )
    here, there = point(lon, lat, 200.0), point(*other, 1.0)
    drawn = sketch.draw(here, None, [there], "Map")
    (place,), (near,) = parts(drawn, "place"), parts(drawn, "near")
    right = float(near.get("cx", "")) - float(place.get("cx", ""))
    down = float(near.get("cy", "")) - float(place.get("cy", ""))
    scale = units_a_metre(drawn)
    true = metres_between(*here.centre, *there.centre)
    assert math.hypot(right, down) / scale == pytest.approx(true, rel=0.02, abs=0.5)
    assert right / scale == pytest.approx(east, abs=0.02 * far + 0.5)
    assert -down / scale == pytest.approx(north, abs=0.02 * far + 0.5)


def test_the_venue_is_shown_whole_and_the_place_in_it() -> None:
    venue = square(11.573, 48.136, 0.004, name="Mall")
    drawn = sketch.draw(square(11.574, 48.137, 0.0005, name="Café"), venue, (), "Map: Café")
    (whole,) = parts(drawn, "venue")
    numbers = [float(one) for one in re.findall(r"-?[\d.]+", whole.get("d", ""))]
    assert all(0 < x < sketch.WIDTH for x in numbers[::2])
    assert all(0 < y < sketch.HEIGHT for y in numbers[1::2])
    assert [one.text for one in parts(drawn, "name")] == ["Café"]
    assert ET.fromstring(drawn).get("aria-label") == "Map: Café"


def test_holes_corridors_and_collections() -> None:
    ring = square(11.0, 48.0, 0.002).geometry.to_object()["coordinates"][0]
    hole = [[11.0005, 48.0005], [11.001, 48.0005], [11.001, 48.001], [11.0005, 48.0005]]
    holed = fence({"type": "Polygon", "coordinates": [ring, hole]}, name="Court")
    (path,) = parts(sketch.draw(holed, None, (), ""), "place")
    assert path.get("d", "").count("M") == 2
    assert path.get("fill-rule") == "evenodd"
    road = fence({"type": "LineString", "coordinates": [[11.0, 48.0], [11.002, 48.0]]}, radius_m=30)
    drawn = sketch.draw(road, None, (), "")
    (path,) = parts(drawn, "way")
    assert float(path.get("stroke-width", "")) == pytest.approx(60 * units_a_metre(drawn), rel=0.01)
    several = fence({"type": "MultiPoint", "coordinates": [[11.0, 48.0], [11.001, 48.0]]},
                    radius_m=20)  # fmt: skip
    assert len(parts(sketch.draw(several, None, (), ""), "place")) == 2


def test_names_are_text_and_stand_alone() -> None:
    hostile = '</text><script>alert(1)</script>"&'
    venue = square(11.573, 48.136, 0.004, name="Mall")
    twice = [square(11.5745, 48.1365, 0.002, name="Neighbour") for _ in range(2)]
    place = square(11.576, 48.139, 0.0004, name=hostile)
    drawn = sketch.draw(place, venue, twice, hostile)
    assert "<script" not in drawn
    assert len(parts(drawn, "near")) == 2
    assert [one.text for one in parts(drawn, "beside")] == ["Neighbour"]
    assert str(parts(drawn, "name")[0].text).startswith("</text><script>")


def test_an_outline_of_many_corners_stays_small() -> None:
    def ring(corners: int) -> list[list[float]]:
        turns = [2 * math.pi * n / corners for n in range(corners)]
        ragged = [
            [2.0 + (0.01 + n % 2 * 0.004) * math.cos(turn), 48.0 + 0.01 * math.sin(turn)]
            for n, turn in enumerate(turns)
        ]
        return [*ragged, ragged[0]]

    large = fence({"type": "Polygon", "coordinates": [ring(9000)]})
    assert len(sketch.draw(large, None, [large] * 200, "")) < 61 * 20_000


def test_no_more_neighbours_are_named_than_can_be_read() -> None:
    venue = square(11.57, 48.13, 0.02, name="Mall")
    around = [
        square(11.571 + 0.0037 * (n % 5), 48.1305 + 0.0048 * (n // 5), 0.0035, name="n")
        for n in range(20)
    ]
    drawn = sketch.draw(square(11.5898, 48.1498, 0.0001, name="S"), venue, around, "")
    assert len(parts(drawn, "near")) == 20
    assert len(parts(drawn, "beside")) == sketch.MOST_LABELS


def test_how_far_a_drawing_reaches_grows_with_what_it_shows() -> None:
    shop = point(11.58, 48.14, 20.0)
    alone = sketch.reach_m(shop, None)
    assert alone > 20.0
    assert sketch.reach_m(shop, square(11.57, 48.13, 0.02)) > alone


def test_neighbours_of_too_many_corners_are_left_out() -> None:
    turns = [2 * math.pi * n / 9000 for n in range(9000)]
    ring = [[11.58 + 0.01 * math.cos(t), 48.14 + 0.01 * math.sin(t)] for t in turns]
    large = fence({"type": "Polygon", "coordinates": [[*ring, ring[0]]]}, name="Large")
    drawn = sketch.draw(point(11.58, 48.14, 20.0, name="Shop"), None, [large] * 5, "")
    assert len(parts(drawn, "near")) == sketch.MOST_CORNERS // 9001
