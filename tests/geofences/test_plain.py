"""What is called plainly sound is sound, and nothing is advised on it: ring by ring, the same."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

import geofences
from geofences import advice, outline
from geofences.plain import MOST, could_be, plainly_sound

Floats = npt.NDArray[np.float64]


def nothing_to_say(ring: Floats) -> bool:
    """What the judges of single outlines say."""
    if outline.flaws([[ring]], outline.Budget()):
        return False
    return not list(advice.on_areas([[ring]], ""))


def closed(*corners: tuple[float, float]) -> Floats:
    return np.array([*corners, corners[0]], dtype=np.float64)


SHOP = closed((2.35, 48.85), (2.352, 48.85), (2.352, 48.852), (2.35, 48.852))


def test_a_shop_is_plain_and_what_is_not_is_left_to_others() -> None:
    rings = {
        "shop": SHOP,
        "the other way round": SHOP[::-1],
        "bow tie": closed((2.35, 48.85), (2.352, 48.852), (2.352, 48.85), (2.35, 48.852)),
        "flat": closed((2.35, 48.85), (2.352, 48.85), (2.354, 48.85)),
        "slanted line": closed((0.1, 0.1), (0.2, 0.2), (0.7, 0.7)),
        "small": closed((2.35, 48.85), (2.3501, 48.85), (2.3501, 48.8501)),
        "corner twice": closed((2.35, 48.85), (2.35, 48.85), (2.352, 48.85), (2.352, 48.852)),
        "spike": closed(
            (2.35, 48.85), (2.352, 48.85), (2.36, 48.85), (2.352, 48.85), (2.35, 48.86)
        ),
        "across the seam": closed((179.9, 1.0), (-179.9, 1.0), (-179.9, 2.0), (179.9, 2.0)),
        "at the seam": closed((179.9, 1.0), (180.0, 1.0), (180.0, 2.0), (179.9, 2.0)),
        "half the world": closed((-90.0, 1.0), (90.0, 1.0), (90.0, 2.0), (-90.0, 2.0)),
        "closed at the pole": np.array([[0.0, 90.0], [10.0, 80.0], [20.0, 80.0], [30.0, 90.0]]),
    }
    told = dict(zip(rings, plainly_sound(list(rings.values())).tolist(), strict=True))
    assert [name for name, sound in told.items() if sound] == [
        "shop", "the other way round", "at the seam",
    ]  # fmt: skip
    for name, ring in rings.items():
        assert told[name] <= nothing_to_say(ring), name
    assert plainly_sound([]).tolist() == []


def test_only_a_single_ring_of_few_positions_is_judged_here() -> None:
    assert could_be([SHOP])
    assert not could_be([SHOP, SHOP])
    long = np.zeros((MOST + 1, 2))
    assert not could_be([long])


corners = st.tuples(
    st.integers(-8, 8).map(lambda n: n / 4000), st.integers(-8, 8).map(lambda n: n / 4000)
)


@given(
    st.lists(st.lists(corners, min_size=3, max_size=9), max_size=6),
    st.sampled_from([(2.35, 48.85), (179.999, 10.0), (-180.0, -5.0), (0.0, 89.999), (0.0, 0.0)]),
)
def test_it_says_sound_of_nothing_that_is_not(shapes: Any, middle: tuple[float, float]) -> None:
    rings = [
        closed(
            *(
                (min(max(middle[0] + x, -180.0), 180.0), min(max(middle[1] + y, -90.0), 90.0))
                for x, y in shape
            )
        )
        for shape in shapes
    ]
    for ring, sound in zip(rings, plainly_sound(rings).tolist(), strict=True):
        assert not sound or nothing_to_say(ring)


def feature(name: str, ring: Floats) -> dict[str, Any]:
    geometry = {"type": "Polygon", "coordinates": [ring.tolist()]}
    return {"type": "Feature", "id": name, "properties": {}, "geometry": geometry}


def test_problems_stand_in_the_order_of_the_file() -> None:
    bow = closed((2.35, 48.85), (2.352, 48.852), (2.352, 48.85), (2.35, 48.852))
    small = closed((2.35, 48.85), (2.3501, 48.85), (2.3501, 48.8501))
    features = [
        feature("a", bow), {"type": "Nothing"}, feature("b", SHOP), feature("c", small),
        feature("d", bow), feature("b", SHOP),
    ]  # fmt: skip
    text = json.dumps({"type": "FeatureCollection", "features": features})
    with pytest.raises(geofences.GeofenceError) as caught:
        geofences.loads(text)
    assert [problem.feature for problem in caught.value.problems] == ["a", 1, "c", "d", "b"]
    loaded = geofences.loads(text.replace('"Nothing"', '"Feature"'), skip_bad=True)
    assert [fence.id for fence in loaded.fences] == ["c"]
