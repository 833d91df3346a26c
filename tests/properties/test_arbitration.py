"""Radio evidence is judged by the records alone: not by when they come, nor by what was saved."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from beacon_gateway.model import Beacon, Sighting
from proximity.engine.arbitration import Ranging, Window, loudest
from proximity.model import Observation
from proximity.site.registry import Enrolled, Gateway, Place, Site

NOW = 1767225600.0
UUID = "f7826da6-4fa2-4e98-8024-bc5b71e0893e"
TAG = Beacon(format="ibeacon", uuid=UUID, major=1, minor=7, power_dbm=-59)
SITE = Site(
    places={"c": Place(id="c", near_dbm=-70.0), "b": Place(id="b", exit_after_s=10.0)},
    gateways={
        name: Gateway(id=name, place=name[0], offset_db=offset)
        for name, offset in {"a1": 0.0, "a2": 3.0, "b1": 0.0, "c1": -2.0}.items()
    },
    beacons=(Enrolled(key=("ibeacon", UUID, 1, 7), subject="member"),),
)

sightings = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.1, 0.5, 1.0, 7.0, 40.0]),
        st.floats(-125.0, 5.0, width=32),
        st.sampled_from(sorted(SITE.gateways)),
    ),
    max_size=60,
).map(
    lambda steps: [
        Sighting(
            beacon=TAG, at=NOW + sum(step[0] for step in steps[: n + 1]), rssi_dbm=z, gateway=g
        )
        for n, (_, z, g) in enumerate(steps)
    ]
)


def tell(ranging: Ranging, heard: list[Sighting]) -> list[Observation]:
    return [
        observation
        for sighting in heard
        for observation in ranging.hear(SITE, sighting, "member", str(sighting.gateway)[0])
    ]


@given(sightings, st.integers(0, 60))
def test_saved_and_loaded_anywhere_it_says_the_same(heard: list[Sighting], cut: int) -> None:
    through = Ranging()
    said = tell(through, heard)
    first = Ranging()
    before = tell(first, heard[:cut])
    packed = msgspec.msgpack.encode(first)
    copied, loaded = first.copy(), msgspec.msgpack.decode(packed, type=Ranging)
    assert before + tell(copied, heard[cut:]) == said
    assert before + tell(loaded, heard[cut:]) == said
    assert copied == loaded == through
    assert msgspec.msgpack.encode(first) == packed  # the copy's life is its own


@given(sightings)
def test_what_is_said_can_be_believed(heard: list[Sighting]) -> None:
    """A place that competes is left only for another, at one instant, and from inside."""
    ranging = Ranging()
    inside: str | None = None
    for sighting in heard:
        said = tell(ranging, [sighting])
        assert len(said) <= 2
        for observation in said:
            assert observation.at == sighting.at
            assert 0.0 <= observation.strength <= 1.0
            if observation.says == "outside":
                assert observation.place == inside
                assert said[1].says == "inside"
                assert said[1].place != inside
            elif observation.says == "inside" and observation.place != "c":
                inside = observation.place
                assert ranging.place == inside
            elif observation.says == "nothing":
                assert observation.strength == 0.0
        assert sighting.measured or not said


@given(
    st.lists(
        st.tuples(
            st.sampled_from([0.0, 1.0, 2.5, 5.0, 6.0]),
            st.integers(-90, -80).map(float),
            st.sampled_from("abc"),
        ),
        max_size=40,
    )
)
def test_the_window_of_point_mode_forgets_nothing_that_counts(
    steps: list[tuple[float, float, str]],
) -> None:
    at, records = 0.0, []
    window: Window = ()
    for passed, dbm, place in steps:
        at += passed
        records.append((at, dbm, place))
        window = loudest(window, at, dbm, place)
        lately = [record for record in records if at - record[0] <= 5.0]
        assert window[0][2] == min((-level, there) for _, level, there in lately)[1]
