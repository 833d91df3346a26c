"""Truth: visits from the exact path, against what one works out by hand."""

from __future__ import annotations

import json
import math
from itertools import pairwise

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

import geofences
from geofences import FenceIndex
from proximity.site.registry import Site
from proximity.site.sitefile import parse_site
from simulator.truth import Truth, between, common, format_truth, joined, without
from simulator.walk import Ground, Stop, Track, Walker, walk
from tests.street import at, box, circle, feature

START = 1_767_225_600.0
NOBODY = np.empty(0)


def index(*features) -> FenceIndex:
    text = json.dumps({"type": "FeatureCollection", "features": list(features)})
    return FenceIndex(geofences.loads(text).fences)


def along(*points: tuple[float, ...], floors: list[float] | None = None) -> Track:
    """A track through (second, metres east, metres north)."""
    seconds, *_ = zip(*points, strict=True)
    lons, lats = zip(*(at(x, y) for _, x, y in points), strict=True)
    return Track(
        np.array(seconds, dtype=float), np.array(lons), np.array(lats),
        None if floors is None else np.array(floors),
    )  # fmt: skip


def truth(*features, site: str = "", areas: FenceIndex | None = None) -> Truth:
    return Truth(
        index(*features), areas or FenceIndex(), parse_site(site, "s") if site else Site(), START
    )


def told(found) -> list[tuple]:
    return [
        (one["kind"], one["place"], round(one["at"] - START, 2), one.get("dwell_s") or one.get("reason"))
        for one in sorted(found, key=lambda one: (one["at"], one["kind"], one["place"]))
    ]  # fmt: skip


def everything(judge: Truth, track: Track, seen: np.ndarray | None = None) -> list[tuple]:
    seen = np.arange(track.starts_s, track.ends_s, 5.0) if seen is None else seen
    return told(judge.transitions(track, "s", None, seen))


ACROSS = ((0.0, -100.0, 20.0), (200.0, 100.0, 20.0))  # 1 m/s to the east
SHOP = feature("shop", box(0, 10, 40, 40), dwell_s=[10, 30, 60])


def test_a_way_through_is_dated_to_the_millisecond() -> None:
    assert everything(truth(SHOP), along(*ACROSS)) == [
        ("enter", "shop", 100.0, None),
        ("dwell", "shop", 110.0, 10.0),
        ("dwell", "shop", 130.0, 30.0),
        ("exit", "shop", 140.0, "left"),
    ]


def test_whoever_begins_inside_enters_at_once_and_whoever_ends_inside_does_not_leave() -> None:
    assert everything(truth(SHOP), along((0.0, 5.0, 20.0), (5.0, 10.0, 20.0))) == [
        ("enter", "shop", 0.0, None)
    ]


def test_whoever_was_reported_nowhere_inside_passed() -> None:
    assert everything(truth(SHOP), along(*ACROSS), np.array([60.0, 99.0, 141.0])) == [
        ("pass", "shop", 100.0, None)
    ]
    assert everything(truth(SHOP), along(*ACROSS), np.array([60.0, 120.0]))[0][0] == "enter"
    (passed,) = format_truth(truth(SHOP).transitions(along(*ACROSS), "s", None, NOBODY))
    assert (passed["at"][-10:], passed["exit_at"][-10:]) == ("01:40.000Z", "02:20.000Z")
    # Two hours unseen are a visit that nobody saw, no pass.
    long = along(
        (0.0, -100.0, 20.0), (100.0, 20.0, 20.0), (7300.0, 20.0, 20.0), (7400.0, 120.0, 20.0)
    )
    kinds = [kind for kind, *_ in everything(truth(SHOP), long, NOBODY)]
    assert kinds == ["enter", "dwell", "dwell", "dwell", "exit"]


def test_a_concave_place_and_a_hole_are_left_and_entered_again() -> None:
    ring = box(0, 0, 60, 60)
    ring["coordinates"].append(
        [list(at(*p)) for p in ((20, 20), (40, 20), (40, 40), (20, 40), (20, 20))]
    )
    found = everything(truth(feature("yard", ring)), along((0.0, -10.0, 30.0), (80.0, 70.0, 30.0)))
    assert [(kind, when) for kind, _, when, _ in found] == [
        ("enter", 10.0), ("exit", 30.0), ("enter", 50.0), ("exit", 70.0),
    ]  # fmt: skip


def test_circles_are_left_at_their_radius() -> None:
    found = everything(
        truth(feature("kiosk", circle(0.0, 0.0), radius_m=25)),
        along((0.0, -50.0, 0.0), (100.0, 50.0, 0.0)),
    )
    assert [when for _, _, when, _ in found] == pytest.approx([25.0, 75.0], abs=0.05)


def test_floors_part_what_lies_one_above_the_other() -> None:
    upper, lower = (
        feature("up", box(0, 0, 40, 40), floor=1),
        feature("down", box(0, 0, 40, 40), floor=0),
    )
    track = along(
        (0.0, 20.0, 20.0),
        (50.0, 20.0, 20.0),
        (90.0, 20.0, 20.0),
        (99.0, 20.0, 20.0),
        floors=[0.0, 1.0, math.nan, math.nan],
    )
    assert everything(truth(upper, lower), track) == [
        ("enter", "down", 0.0, None),
        ("enter", "up", 50.0, None),
        ("exit", "down", 50.0, "left"),
        ("enter", "down", 90.0, None),
    ]


def test_a_place_that_expires_is_left_then() -> None:
    fence = feature("stall", box(0, 0, 40, 40), valid_until=START + 30.0)
    assert everything(truth(fence), along((0.0, 20.0, 20.0), (90.0, 20.0, 20.0))) == [
        ("enter", "stall", 0.0, None),
        ("exit", "stall", 30.0, "fence-expired"),
    ]
    early = feature("stall", box(0, 0, 40, 40), valid_from=START + 30.0)
    assert everything(truth(early), along((0.0, 20.0, 20.0), (90.0, 20.0, 20.0)))[0][2] == 30.0


def test_in_an_excluded_area_one_is_in_no_other_of_its_venue() -> None:
    features = (
        feature("mall", box(-200, 0, 200, 40)),
        feature("mall/shop", box(-50, 0, 50, 40), venue="mall"),
        feature("mall/depot", box(0, 0, 20, 40), venue="mall", exclude=True),
        feature("other", box(-50, 0, 50, 40)),
    )
    found = everything(truth(*features), along(*ACROSS))
    assert [(kind, place, when) for kind, place, when, _ in found if place != "other"] == [
        ("enter", "mall", 0.0), ("enter", "mall/shop", 50.0),
        ("enter", "mall/depot", 100.0), ("exit", "mall", 100.0), ("exit", "mall/shop", 100.0),
        ("enter", "mall", 120.0), ("enter", "mall/shop", 120.0), ("exit", "mall/depot", 120.0),
        ("exit", "mall/shop", 150.0),
    ]  # fmt: skip
    assert [when for _, place, when, _ in found if place == "other"] == [50.0, 150.0]


def test_being_in_a_zone_is_being_in_its_parent_over_shared_edges() -> None:
    areas = index(feature("a", box(0, 0, 20, 40)), feature("b", box(20, 0, 40, 40)))
    site = (
        '[[place]]\nid = "a"\nparent = "shop"\n[[place]]\nid = "b"\nparent = "shop"\ndwell_s = 5\n'
    )
    found = everything(truth(site=site, areas=areas), along(*ACROSS))
    assert found == [
        ("enter", "a", 100.0, None), ("enter", "shop", 100.0, None),
        ("enter", "b", 120.0, None), ("exit", "a", 120.0, "left"),
        ("dwell", "b", 125.0, 5.0),
        ("exit", "b", 140.0, "left"), ("exit", "shop", 140.0, "left"),
    ]  # fmt: skip


def test_truth_is_sorted_as_output_is_and_bounded_to_places() -> None:
    judge = truth(feature("a", box(0, 0, 20, 40)), feature("b", box(20, 0, 40, 40)))
    seen = np.arange(0.0, 200.0, 5.0)
    found = format_truth(judge.transitions(along(*ACROSS), "s", None, seen))
    assert [(one["kind"], one["place"]) for one in found] == [
        ("enter", "a"), ("exit", "a"), ("enter", "b"), ("exit", "b"),
    ]  # fmt: skip
    assert found[0]["at"] == "2026-01-01T00:01:40.000Z"
    assert {one["place"] for one in judge.transitions(along(*ACROSS), "s", {"b"}, seen)} == {"b"}
    assert set(found[0]) == {"kind", "subject", "place", "visit", "at"}
    assert set(found[1]) == {"kind", "subject", "place", "visit", "at", "reason"}
    assert found[0]["visit"] == found[1]["visit"] != found[2]["visit"]


@pytest.mark.parametrize("seed", range(6))
def test_spells_are_those_of_an_exact_intersection(seed: int) -> None:
    rng = np.random.default_rng(seed)
    corners = [
        at(*(rng.uniform(20, 90) * np.array([math.cos(a), math.sin(a)])))
        for a in np.sort(rng.uniform(0, 2 * math.pi, 9))
    ]
    ring = [*map(list, corners), list(corners[0])]
    fence = index(
        {
            "type": "Feature",
            "id": "f",
            "properties": {},
            "geometry": {"type": "Polygon", "coordinates": [ring]},
        }
    )
    path = tuple(Stop(*at(*rng.uniform(-110, 110, 2))) for _ in range(8))
    track = walk(Walker("s", path), rng)
    # Each leg against the outline, by shapely alone: the share of the leg inside is time inside.
    inside = 0.0
    polygon = shapely.Polygon(ring)
    for n in range(len(track.seconds) - 1):
        leg = shapely.LineString(
            [(track.lons[n], track.lats[n]), (track.lons[n + 1], track.lats[n + 1])]
        )
        inside += (
            (track.seconds[n + 1] - track.seconds[n])
            * leg.intersection(polygon).length
            / leg.length
        )
    spells = between(track, fence).get("f", [])
    # A corner cut by less than a metre may be missed: half a second each way.
    assert sum(ends - begins for begins, ends in spells) == pytest.approx(inside, abs=2.0)
    for begins, ends in spells:
        for second, wanted in (
            (begins + 0.01, True),
            (ends - 0.01, True),
            (begins - 0.01, False),
            (ends + 0.01, False),
        ):
            if track.starts_s < second < track.ends_s:
                assert (
                    bool(fence.locate(*(float(one[0]) for one in track.at(np.array([second])))))
                    is wanted
                )


def test_a_long_journey_is_looked_at_no_more_than_can_be() -> None:
    ground = Ground(2.35, 48.85)
    far = ground.degrees(90_000.0, 0.0)
    legs = tuple(Stop(*(far if n % 2 else (2.35, 48.85))) for n in range(60))
    track = walk(Walker("s", legs, speed_mps=200.0), np.random.default_rng(0))
    assert len(between(track, index(feature("shop", box(-500, -500, 500, 500))))["shop"]) >= 20


# Spells ------------------------------------------------------------------------------------------

spells = st.lists(
    st.tuples(st.integers(0, 60), st.integers(1, 20)).map(lambda one: (float(one[0]), float(one[0] + one[1]))),
    max_size=6,
)  # fmt: skip


def held(of, moment: float) -> bool:
    return any(begins <= moment < ends for begins, ends in of)


@given(spells, spells)
def test_spells_behave_as_sets_of_moments(one, other) -> None:
    for found, rule in (
        (joined(one, other), lambda a, b: a or b),
        (common(one, other), lambda a, b: a and b),
        (without(one, other), lambda a, b: a and not b),
    ):
        assert found == sorted(found)
        assert all(a[1] < b[0] for a, b in pairwise(found))
        for moment in np.arange(0.25, 82.0, 0.5):
            assert held(found, moment) is rule(held(one, moment), held(other, moment))


def test_spells_nearer_than_a_tolerance_are_one() -> None:
    assert joined([(0.0, 1.0)], [(1.5, 2.0)], 0.5) == [(0.0, 2.0)]
    assert joined([(0.0, 1.0)], [(1.6, 2.0)], 0.5) == [(0.0, 1.0), (1.6, 2.0)]
