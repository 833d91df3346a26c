from __future__ import annotations

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from beacon_gateway.model import Beacon
from beacon_gateway.thinning import MAX_BEACONS, SLOT_S, Level, Thinning

UUID = "f7826da6-4fa2-4e98-8024-bc5b71e0893e"
WALL = 1_790_000_000.0


def level(minor: int, rssi_dbm: int, mono_s: float) -> Level:
    beacon = Beacon(format="ibeacon", uuid=UUID, major=1, minor=minor)
    return Level(beacon, rssi_dbm, WALL + mono_s, mono_s)


heard = st.lists(
    st.builds(level, st.integers(0, 3), st.integers(-100, -40), st.floats(0, 20)), max_size=80
).map(lambda levels: sorted(levels, key=lambda each: each.mono_s))


@given(heard)
def test_each_record_is_the_loudest_of_its_half_second_and_the_first_of_equals(
    levels: list[Level],
) -> None:
    thinning = Thinning()
    kept = [each for one in levels for each in thinning.take(one)] + thinning.rest()
    slots: dict[tuple[int, int | None], list[Level]] = defaultdict(list)
    for each in levels:
        slots[int(each.mono_s // SLOT_S), each.beacon.minor].append(each)
    wanted = [max(group, key=lambda each: each.rssi_dbm) for group in slots.values()]
    assert set(kept) == set(wanted)
    assert len(kept) == len(wanted)
    assert thinning.crowded == 0


@given(heard)
def test_no_beacon_has_more_than_two_records_in_a_second(levels: list[Level]) -> None:
    thinning = Thinning()
    kept = [each for one in levels for each in thinning.take(one)] + thinning.rest()
    seconds: dict[tuple[int, int | None], int] = defaultdict(int)
    for each in kept:
        seconds[int(each.mono_s), each.beacon.minor] += 1
    assert all(count <= 2 for count in seconds.values())


def test_time_alone_ends_a_slot() -> None:
    thinning = Thinning()
    one = level(1, -60, 10.1)
    assert thinning.take(one) == []
    assert thinning.due(10.49) == []
    assert thinning.due(10.5) == [one]
    assert thinning.due(11.5) == []
    assert thinning.rest() == []


def test_a_report_from_a_slot_that_is_over_counts_for_the_open_one() -> None:
    thinning = Thinning()
    thinning.take(level(1, -60, 10.6))
    assert thinning.take(level(1, -50, 10.49)) == []
    assert [each.rssi_dbm for each in thinning.due(11.0)] == [-50]


def test_a_flood_of_made_up_numbers_is_cut_off_and_counted() -> None:
    thinning = Thinning()
    for minor in range(MAX_BEACONS + 1000):
        thinning.take(level(minor, -60, 1.0))
    assert len(thinning.due(2.0)) == MAX_BEACONS
    assert thinning.crowded == 1000


def test_levels_come_out_in_order_of_time() -> None:
    thinning = Thinning()
    for minor, mono_s in ((1, 1.3), (2, 1.1), (3, 1.2)):
        thinning.take(level(minor, -60, mono_s))
    assert [each.beacon.minor for each in thinning.rest()] == [2, 3, 1]
