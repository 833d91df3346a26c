"""Whatever is drawn, wherever on the earth: its circle holds it."""

from __future__ import annotations

import json
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from geofences import FenceIndex, loads
from proximity.phones.covering import covering_circle

OFFSETS = st.floats(-0.4, 0.4)
LINES = st.tuples(
    st.floats(-180.0, 180.0),
    st.floats(-89.9, 89.9),
    st.lists(st.tuples(OFFSETS, OFFSETS), min_size=1, max_size=5),
)


def wrapped(lon: float) -> float:
    return (lon + 180.0) % 360.0 - 180.0


@settings(max_examples=200, deadline=None)
@given(LINES)
def test_all_of_a_corridor_lies_in_its_circle(line: tuple[float, float, list[tuple[float, float]]]) -> None:  # fmt: skip
    lon0, lat0, offsets = line
    drawn = [(lon0, lat0)]
    drawn += [(lon0 + east, max(-90.0, min(90.0, lat0 + north))) for east, north in offsets]
    geometry = {"type": "LineString", "coordinates": [[wrapped(x), y] for x, y in drawn]}
    feature = {"type": "Feature", "id": "c", "properties": {"radius_m": 1}, "geometry": geometry}
    found = loads(json.dumps(feature), skip_bad=True).fences
    if not found:  # no line at all: every position is one place
        return
    circle = covering_circle(found[0], 200_000.0)
    assert circle is not None
    middle = {"type": "Point", "coordinates": [circle.lon, circle.lat]}
    around = {**feature, "properties": {"radius_m": circle.radius_m}, "geometry": middle}
    index = FenceIndex(loads(json.dumps(around)).fences)
    for (x0, y0), (x1, y1) in pairwise(drawn):
        for share in (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0):
            lon, lat = wrapped(x0 + share * (x1 - x0)), y0 + share * (y1 - y0)
            # The corridor reaches one metre further; a micrometre is rounding.
            assert index.distance("c", lon, lat) <= 1e-6 - 1.0
