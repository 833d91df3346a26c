"""Where campaigns may not run: places that say too much of whoever is in them."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import geofences
from geofences import Fence
from proximity.campaigns.form import parse_campaigns
from proximity.model import ProximityError
from proximity.privacy import approvals, sensitive
from proximity.privacy.policy import Policy
from proximity.privacy.publishing import refused, refused_fences
from proximity.privacy.sensitive import CATEGORIES, Finding
from proximity.site.registry import Gateway, Place, Site
from proximity.store import Store

LON, LAT = 2.35, 48.85
METRE = 1 / 111_320  # degrees of latitude


def fence(name: str = "Shop", lon: float = LON, lat: float = LAT, **properties: Any) -> Fence:
    made = {
        "type": "Feature",
        "id": properties.pop("id", "f"),
        "properties": {"name": name, "radius_m": 30, **properties},
        "geometry": {"type": "Point", "coordinates": [lon, lat]},
    }

    return geofences.loads(json.dumps(made)).fences[0]


def square(side_m: float, lon: float = LON, lat: float = LAT, **fields: Any) -> Fence:

    half = side_m / 2 * METRE
    wide = half / math.cos(math.radians(lat))
    ring = [(-1, -1), (1, -1), (1, 1), (-1, 1), (-1, -1)]
    made = {
        "type": "Feature",
        "id": fields.pop("id", "f"),
        "properties": {"name": "Square", **fields},
        "geometry": {
            "type": "Polygon",
            "coordinates": [[[lon + x * wide, lat + y * half] for x, y in ring]],
        },
    }
    return geofences.loads(json.dumps(made)).fences[0]


def rules(
    *fences: Fence, site: Site | None = None, layer: tuple[Fence, ...] = ()
) -> dict[str, str]:
    found = sensitive.find(fences, site or Site(), layer)
    return {place: one.rule for place, one in found.items()}


@pytest.mark.parametrize("category", CATEGORIES)
def test_a_tag_of_every_category_marks_a_place(category: str) -> None:
    for tag in CATEGORIES[category].tags:
        found = rules(fence(tags=[tag.upper()]))
        assert found == {"f": f"sensitive/{category}"} or category not in found["f"]
        assert "f" in found


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("St Mary's Hospital", "health"),
        ("Clinique du Lac", "health"),
        ("Église Saint-Paul", "worship"),
        ("Grundschule Mitte", None),  # one word: the tag is what says it
        ("Church", "worship"),
        ("Church Street", None),
        ("Old Church Café", None),
        ("Coffee, half price", None),
        ("École primaire", "school"),
    ],
)
def test_a_name_marks_a_place_unless_it_is_only_called_after_one(
    name: str, rule: str | None
) -> None:
    assert rules(fence(name)) == ({} if rule is None else {"f": f"sensitive/{rule}"})


def test_what_stands_in_a_sensitive_place_is_sensitive() -> None:
    site = Site(
        places={"desk": Place(id="desk", parent="ward"), "ward": Place(id="ward", parent="f")},
        gateways={"gw": Gateway(id="gw", place="desk")},
    )
    assert set(rules(fence(tags=["hospital"]), fence(id="kiosk", venue="f"), site=site)) == {
        "f", "ward", "desk", "kiosk",
    }  # fmt: skip


CLINIC = fence("anything", id="clinic-1", category="health")


class TestLayer:
    @pytest.mark.parametrize(
        ("away_m", "near"), [(0, True), (300, True), (650, True), (660, True), (800, False)]
    )
    def test_what_is_within_the_buffer_is_near(self, away_m: float, near: bool) -> None:
        """The area reaches 30 m, the fence 30 m, the buffer 610 m: 670 m from centre to centre."""
        found = rules(fence(lat=LAT + away_m * METRE), layer=(CLINIC,))
        assert bool(found) is near

    def test_a_city_round_a_clinic_holds_it(self) -> None:
        assert rules(square(40_000), layer=(CLINIC,)) == {"f": "sensitive/health"}

    def test_a_long_edge_is_looked_at_between_its_ends(self) -> None:
        """A square of 6 km whose one side passes 400 m from the clinic; every corner is 3 km off."""
        away = square(6_000, lat=LAT + 3_400 * METRE)
        assert rules(away, layer=(CLINIC,)) == {"f": "sensitive/health"}
        assert rules(square(6_000, lat=LAT + 3_800 * METRE), layer=(CLINIC,)) == {}

    def test_a_zone_is_where_its_receivers_stand(self) -> None:
        near = Gateway(id="gw", place="zone", lon=LON, lat=LAT + 500 * METRE)
        far = Gateway(id="gw", place="zone", lon=LON, lat=LAT + 900 * METRE)
        assert set(rules(site=Site(gateways={"gw": near}), layer=(CLINIC,))) == {"zone"}
        assert rules(site=Site(gateways={"gw": far}), layer=(CLINIC,)) == {}

    @given(
        st.floats(0, 2 * math.pi), st.floats(0, 3000), st.floats(10, 2000),
        st.sampled_from([0.0, 48.85, -70.0]),
    )  # fmt: skip
    def test_nothing_within_the_buffer_is_missed(
        self, bearing: float, away_m: float, side_m: float, lat: float
    ) -> None:
        """Against the distance from the area's middle to a dense grid of the square."""
        wide = METRE / math.cos(math.radians(lat))
        dx, dy = away_m * math.sin(bearing), away_m * math.cos(bearing)
        spot = square(side_m, LON + dx * wide, lat + dy * METRE)
        clinic = fence(id="clinic", lat=lat, category="health", radius_m=1)
        half = side_m / 2
        x = max(abs(dx) - half, 0.0)
        y = max(abs(dy) - half, 0.0)
        true_m = math.hypot(x, y)
        found = sensitive.find([spot], Site(), (clinic,), 610.0)
        if true_m < 600:
            assert found
        elif true_m > 660:
            assert not found


CAMPAIGNS = parse_campaigns(
    """
[[campaign]]
id = "flu"
purpose = "marketing"
on = "enter"
places = ["f"]
channels = ["console"]
[campaign.text]
en = "Flu."
[[campaign]]
id = "tea"
purpose = "marketing"
on = "enter"
tags = ["cafe"]
channels = ["console"]
[campaign.text]
en = "Tea."
"""
)


class TestPublishing:
    def test_a_campaign_at_a_sensitive_place_is_refused_by_rule(self) -> None:
        fences = [fence(tags=["clinic"]), fence(id="g", tags=["clinic"])]
        (use,) = refused(CAMPAIGNS, fences, Site(), Policy())
        assert (use.campaign, use.finding.rule, use.finding.place) == (
            "flu",
            "sensitive/health",
            "f",
        )
        assert "proximity privacy approve" in use.problem()

    def test_by_a_tag_as_well(self) -> None:
        (use,) = refused(CAMPAIGNS, [fence(id="g", tags=["cafe", "church"])], Site(), Policy())
        assert (use.campaign, use.finding.place) == ("tea", "g")

    def test_whose_visits_count_is_asked_as_well(self) -> None:
        segment = parse_campaigns(
            """
[[campaign]]
id = "tea"
purpose = "marketing"
on = "enter"
places = ["shop"]
audience = { visited = "f", within_s = 86400 }
channels = ["console"]
[campaign.text]
en = "Tea."
"""
        )
        drawn = [fence(id="shop"), fence(tags=["clinic"], lat=LAT + 1)]
        (use,) = refused(segment, drawn, Site(), Policy())
        assert (use.campaign, use.finding.place) == ("tea", "f")

    def test_the_venue_that_circumstances_ask_for_is_asked_as_well(self) -> None:
        """An event happens anywhere; a transition only where it is waited for."""
        text = """
[[campaign]]
id = "pills"
purpose = "marketing"
on = "event"
event = "search"
context = [{ tags = ["clinic"], not_tags = ["church"] }]
channels = ["console"]
[campaign.text]
en = "Pills?"
"""
        drawn = [fence(tags=["clinic"]), fence(id="shop"), fence(id="g", tags=["church"])]
        (use,) = refused(parse_campaigns(text), drawn, Site(), Policy())
        assert (use.campaign, use.finding.place) == ("pills", "f")
        elsewhere = text.replace('"event"', '"enter"').replace(
            'event = "search"', 'places=["shop"]'
        )
        assert refused(parse_campaigns(elsewhere), drawn, Site(), Policy()) == []

    def test_two_who_vouch_are_enough_until_the_place_changes(self) -> None:
        drawn = [fence(tags=["clinic"])]
        (use,) = refused(CAMPAIGNS, drawn, Site(), Policy())
        what = {use.finding.what}
        assert refused(CAMPAIGNS, drawn, Site(), Policy(), what) == []
        moved = [fence(tags=["clinic"], lat=LAT + METRE)]
        assert len(refused(CAMPAIGNS, moved, Site(), Policy(), what)) == 1

    def test_a_fence_in_the_layer_is_refused_whoever_uses_it(self) -> None:
        policy = Policy(layer=(CLINIC,))
        problems = refused_fences([fence(id="new")], [], parse_campaigns(""), Site(), policy)
        assert len(problems) == 1
        assert "sensitive/health" in problems[0]
        by_words = refused_fences(
            [fence(id="new", tags=["clinic"])], [], parse_campaigns(""), Site(), Policy()
        )
        assert by_words == []

    def test_a_fence_is_refused_where_it_lies_in_what_a_campaign_must_not_use(self) -> None:
        venue = fence(id="hospital", tags=["hospital"])
        inside = fence(id="f", venue="hospital")
        assert len(refused_fences([inside], [venue], CAMPAIGNS, Site(), Policy())) == 1
        assert refused_fences([inside], [], CAMPAIGNS, Site(), Policy()) == []


class TestApprovals:
    @pytest.fixture
    def store(self) -> Store:
        return Store.open(":memory:")

    def approve(self, store: Store, who: str, what: str = "f@1", reason: str = "ours") -> int:
        return store.write(lambda c: approvals.approve(c, what, who, reason, now=5.0)).result()

    def test_it_takes_two_different_people(self, store: Store) -> None:
        assert self.approve(store, "ann") == 1
        assert store.read(approvals.vouched) == frozenset()
        for same in (" ann ", "Ann", "ANN"):
            with pytest.raises(ProximityError, match="somebody else"):
                self.approve(store, same)
        assert self.approve(store, "bob") == 2
        assert self.approve(store, "ann", "g@1") == 1
        assert store.read(approvals.vouched) == {"f@1"}
        assert [(one.who, one.reason, one.at) for one in store.read(approvals.approvals)] == [
            (who, "ours", "1970-01-01T00:00:05.000Z") for who in ("ann", "bob", "ann")
        ]

    @pytest.mark.parametrize("part", ["who", "what", "reason"])
    def test_every_part_is_needed(self, store: Store, part: str) -> None:
        with pytest.raises(ProximityError, match=part):
            self.approve(store, **{"who": "ann", part: "  "})


def test_who_vouches_for_what_is_not_there_is_told_so() -> None:
    drawn = [fence(tags=["clinic"]), fence(id="shop")]
    found = sensitive.find(drawn, Site())
    known, what = {"f", "shop"}, found["f"].what
    assert sensitive.unmet(what, known, found) is None
    assert sensitive.unmet(f" {what} ", known) is None
    for wrong, told in (
        ("nonsense", "no refusal is called 'nonsense'"),
        ("f@123", "no refusal is called"),
        ("@" + what[-12:], "no refusal is called"),
        ("x@" + what[-12:], "no place 'x' is in force"),
        ("f@0123456789ab", f"what it takes now is {what!r}"),
        ("shop@0123456789ab", "nothing is sensitive about 'shop'"),
    ):
        assert told in str(sensitive.unmet(wrong, known, found))


def test_a_finding_says_why() -> None:
    (found,) = sensitive.find([fence(tags=["clinic"])], Site()).values()
    assert isinstance(found, Finding)
    assert found.because == "it is tagged 'clinic'"
