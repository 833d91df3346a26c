"""A copy is caught by what one radio cannot do; what one radio does is left alone."""

import msgspec
import pytest

from beacon_gateway.eid import EidKey, identity_at
from beacon_gateway.model import Beacon, Sighting
from geofences import FenceIndex
from proximity import Engine, Fix
from proximity.engine.layout import Layout
from proximity.engine.suspects import (
    CLEAR_AFTER_S,
    MOST_RECEIVERS,
    MOST_WATCHED,
    REASONS,
    Watch,
    Watched,
    Whereabouts,
    alarms,
    copied,
    judge,
    suspect,
)
from proximity.phones.covering import Circle
from proximity.site.registry import Enrolled, Gateway, Place, Site
from tests.street import at, box, feature, fences

UUID = "f7826da6-4fa2-4e98-8024-bc5b71e0893e"
T = 1767225600.0
PARIS, LYON = Circle(2.35, 48.85, 0.0), Circle(4.83, 45.76, 0.0)
WHO = f"ibeacon/{UUID}/1/7"


def beacon(minor=7, power_dbm=-59):
    return Beacon(format="ibeacon", uuid=UUID, major=1, minor=minor, power_dbm=power_dbm)


def heard(at, gateway="gw-1", rssi=-60.0, **more):
    return Sighting(beacon=beacon(**more), at=T + at, rssi_dbm=rssi, gateway=gateway)


def by_phone(at, rssi=-60.0, **more):
    return Sighting(beacon=beacon(**more), at=T + at, rssi_dbm=rssi, subject="phone")


def at_store(name, where=None):
    return Whereabouts(f"{name}/door", name, where)


def reasons(steps, watched=None):
    watched = {} if watched is None else watched
    return [judge(watched, sighting, where) for sighting, where in steps]


# --- two stores ------------------------------------------------------------------------------


def test_in_two_stores_at_once():
    steps = [
        (heard(0), at_store("paris", PARIS)),
        (heard(2, "gw-2"), at_store("lyon", LYON)),
        (heard(3), at_store("paris", PARIS)),
    ]
    watched: Watched = {}
    assert reasons(steps, watched) == [None, "two sites", "two sites"]
    (alarm,) = alarms("member-42", watched, T + 3)
    assert (alarm.identity, alarm.reason, alarm.subject) == (WHO, "two sites", "member-42")
    assert (alarm.since, alarm.last) == (T + 2, T + 3)
    assert alarm.because["site"] == "lyon"
    assert alarm.because["other_site"] == "paris"
    assert 390_000 < alarm.because["metres"] < 400_000
    assert alarm.because["seconds"] == 2.0


def test_faster_than_anyone_travels_and_not_faster():
    # 391 km less what both may hear: at 50 m/s that is some 7,800 s.
    for after, expected in ((3600, "impossible travel"), (7700, "impossible travel"), (8000, None)):
        steps = [
            (heard(0), at_store("paris", PARIS)),
            (heard(after, "gw-2"), at_store("lyon", LYON)),
        ]
        assert reasons(steps) == [None, expected]


@pytest.mark.parametrize("far_m", [0, 140, 390])
def test_stores_near_each_other_hear_the_same_tag(far_m):
    other = Circle(2.35 + far_m / 73_000, 48.85, 0.0)
    steps = [(heard(n, f"gw-{n % 2}"), at_store("ab"[n % 2], (PARIS, other)[n % 2])) for n in range(20)]  # fmt: skip
    assert reasons(steps) == [None] * 20


def test_a_wide_fence_may_reach_to_the_other():
    wide = Circle(2.35, 48.85, 4000.0)
    near = Circle(2.40, 48.85, 500.0)  # 3.7 km
    assert reasons([(heard(0), at_store("a", wide)), (heard(1, "gw-2"), at_store("b", near))]) == [None, None]  # fmt: skip


def test_one_chain_over_all_stores_is_no_excuse():
    here, there = Whereabouts("p", "chain", PARIS), Whereabouts("l", "chain", LYON)
    assert reasons([(heard(0), here), (heard(5, "gw-2"), there)]) == [None, "impossible travel"]


def test_without_a_map_two_stores_may_adjoin():
    stores = [at_store("a"), at_store("b")]
    assert set(reasons([(heard(n, f"gw-{n % 2}", -50.0), stores[n % 2]) for n in range(40)])) == {
        None
    }


def test_moving_on_to_the_next_store_once():
    steps = [(heard(n), at_store("a")) for n in range(5)]
    steps += [(heard(n, "gw-2"), at_store("b")) for n in range(5, 10)]
    assert reasons(steps) == [None] * 10


# --- power and level -------------------------------------------------------------------------


def test_the_calibrated_power_is_a_constant():
    where = at_store("a")
    assert reasons([(heard(0), where), (heard(1, power_dbm=-61), where)]) == [None, None]
    assert reasons([(heard(0), where), (heard(1, power_dbm=-65), where)]) == [None, "power"]
    assert reasons([(heard(0), where), (heard(1, power_dbm=None), where), (heard(2), where)]) == [None] * 3  # fmt: skip


def test_a_beacon_that_was_set_up_anew_counts_again():
    where = at_store("a")
    steps = [(heard(0), where), (heard(1, power_dbm=-77), where)]
    steps += [(heard(1 + n * 60, power_dbm=-77), where) for n in range(1, 16)]
    assert reasons(steps) == [None] + ["power"] * 15 + [None]
    assert CLEAR_AFTER_S <= 15 * 60


def test_as_long_as_both_are_heard_neither_counts():
    where = at_store("a")
    steps = [(heard(n * 300, power_dbm=(-59, -77)[n % 2]), where) for n in range(20)]
    assert reasons(steps) == [None] + ["power"] * 19


def levels(after, gateways=3, usual=-80.0, before=12):
    steps = [
        (heard(n, f"gw-{g}", usual), at_store("a")) for n in range(before) for g in range(gateways)
    ]
    return steps + [(heard(before + g * 0.1, f"gw-{g}", level), at_store("a")) for g, level in enumerate(after)]  # fmt: skip


def test_louder_at_every_receiver_at_once():
    assert reasons(levels([-55.0] * 3))[-3:] == [None, None, "level"]
    assert set(reasons(levels([-62.0] * 3))) == {None}  # out of a bag
    assert set(reasons(levels([-55.0, -55.0, -80.0]))) == {None}  # turned round
    assert set(reasons(levels([-55.0] * 2, gateways=2))) == {None}  # two are too few to tell
    assert set(reasons(levels([-55.0] * 3, before=5))) == {None}  # nothing usual yet


def test_what_was_usual_long_ago_is_forgotten():
    steps = levels([])
    steps += [(heard(2000, f"gw-{g}", -50.0), at_store("a")) for g in range(3)]
    assert set(reasons(steps)) == {None}


# --- a phone that hears fixed beacons --------------------------------------------------------


def test_a_phone_that_hears_a_beacon_of_another_store():
    watched: Watched = {}
    steps = [
        (by_phone(0, minor=1), at_store("paris", PARIS)),
        (by_phone(1, minor=2), at_store("lyon", LYON)),
    ]
    assert reasons(steps, watched) == [None, "two sites"]
    (alarm,) = alarms("phone", watched, T + 1)
    assert alarm.identity == f"ibeacon/{UUID}/1/2"
    # Its levels are its own affair: it is carried about.
    near = [(by_phone(n, -90.0), at_store("a")) for n in range(12)]
    assert set(reasons([*near, (by_phone(12, -40.0), at_store("a"))])) == {None}
    assert reasons([(by_phone(0), at_store("a")), (by_phone(1, power_dbm=-20), at_store("a"))])[1] == "power"  # fmt: skip


# --- bounds ----------------------------------------------------------------------------------


def test_what_is_remembered_is_bounded_and_plain():
    watched: Watched = {}
    for n in range(200):
        where = at_store(f"store-{n}")
        judge(watched, heard(n, f"gw-{n}", -90.0, minor=n % 100), where)
        judge(watched, heard(n, f"gw-{n}", -90.0, minor=101), where)
    assert len(watched) == MOST_WATCHED
    busy = watched[f"ibeacon/{UUID}/1/101"]
    assert len(busy.usual) == MOST_RECEIVERS
    judge(watched, heard(299, minor=101), at_store("paris", PARIS))
    packed = msgspec.msgpack.encode(watched)
    assert msgspec.msgpack.decode(packed, type=dict[str, Watch]) == watched
    other = copied(watched)
    judge(other, heard(300, power_dbm=-20, minor=101), at_store("elsewhere"))
    assert other != watched
    assert suspect(other)
    assert not suspect(watched)
    assert msgspec.msgpack.encode(watched) == packed


def test_an_identity_that_changes_is_watched_by_its_enrolment():
    watched: Watched = {}
    for n, power in enumerate((-59, -59, -80)):
        eid = Sighting(beacon=Beacon(format="eddystone-eid", eid=f"{n:016x}", power_dbm=power), at=T + n, rssi_dbm=-60, gateway="g")  # fmt: skip
        reason = judge(watched, eid, at_store("a"), "eddystone-eid/00")
    assert reason == "power"
    assert list(watched) == ["eddystone-eid/00"]


def test_every_reason_is_explained():
    assert all(REASONS.values())


# --- where a sighting puts what it heard -----------------------------------------------------


def test_whereabouts_by_gateway_then_by_the_nearest_fence_upwards():
    (store,) = fences(feature("store", box(0, 0, 60, 60)))
    site = Site(
        places={
            "store/shoes": Place(id="store/shoes", parent="store/first"),
            "store/first": Place(id="store/first", parent="store"),
        },
        gateways={
            "placed": Gateway(id="placed", place="store/shoes", lon=at(9, 9)[0], lat=at(9, 9)[1]),
            "loose": Gateway(id="loose", place="store/shoes"),
            "nowhere": Gateway(id="nowhere", place="attic"),
        },
    )
    layout = Layout(FenceIndex([store]), site)
    assert layout.where(heard(0, "placed"), "store/shoes") == Whereabouts("store/shoes", "store", Circle(*at(9, 9), 0.0))  # fmt: skip
    loose = layout.where(heard(0, "loose"), "store/shoes")
    assert loose.root == "store"
    assert loose.circle is not None
    assert 42 < loose.circle.radius_m < 44
    assert layout.where(heard(0, "nowhere"), "attic") == Whereabouts("attic", "attic")
    assert layout.where(by_phone(0), "store").circle == loose.circle


def test_parents_that_run_in_a_ring_end_somewhere():
    site = Site(
        places={"a": Place(id="a", parent="b"), "b": Place(id="b", parent="a")},
        gateways={"gw-1": Gateway(id="gw-1", place="a")},
    )
    assert Layout(FenceIndex([]), site).where(heard(0), "a").root in {"a", "b"}


def test_the_new_identity_of_a_rotating_beacon_is_the_same_beacon():
    key = EidKey(identity_key="11" * 16, exponent=4, epoch=T - 1e6)
    name = ("eddystone-eid", identity_at(key, key.epoch))
    site = Site(
        gateways={"gw-1": Gateway(id="gw-1", place="door")},
        beacons=(Enrolled(key=name, subject="member-42", eid=key),),
    )

    def said(at, power_dbm):
        eid = Beacon(format="eddystone-eid", eid=identity_at(key, T + at), power_dbm=power_dbm)
        return Sighting(beacon=eid, at=T + at, rssi_dbm=-60, gateway="gw-1")

    assert site.rotating(said(0, -59)) == site.rotating(said(64, -59)) is not None
    assert site.rotating(heard(0)) is None
    assert Site().rotating(said(0, -59)) is None
    stranger = Beacon(format="eddystone-eid", eid="00" * 8)
    assert site.rotating(Sighting(beacon=stranger, at=T, rssi_dbm=-60, gateway="gw-1")) is None
    core = Engine(FenceIndex([]), site)
    core.on_sightings([said(0, -59), said(64, -80)])
    (alarm,) = core.alarms()
    assert (alarm.reason, alarm.subject) == ("power", "member-42")


# --- the engine ------------------------------------------------------------------------------


def engine():
    site = Site(
        places={name: Place(id=name, parent=name[:7]) for name in ("store-1/a", "store-2/a")},
        gateways={
            "gw-1": Gateway(id="gw-1", place="store-1/a", lon=2.35, lat=48.85),
            "gw-2": Gateway(id="gw-2", place="store-2/a", lon=4.83, lat=45.76),
        },
        beacons=(
            Enrolled(key=("ibeacon", UUID, 1, 7), subject="member-42"),
            Enrolled(key=("ibeacon", UUID, 1, 8), place="store-1/a"),
        ),
    )
    return Engine(FenceIndex([]), site), site


def test_a_copied_tag_is_in_neither_store_until_the_copy_is_gone():
    core, site = engine()
    told = core.on_sightings([heard(n) for n in range(20)])
    assert [one.kind for one in told] == ["enter", "enter"]
    told = core.on_sightings([heard(20 + n / 2, f"gw-{1 + n % 2}") for n in range(120)])
    told += core.advance(T + 200)
    assert {(one.kind, one.place) for one in told} == {("exit", "store-1/a"), ("exit", "store-1")}
    assert core.counts["quarantined"] == 119
    (alarm,) = core.alarms()
    assert (alarm.subject, alarm.reason, alarm.identity) == ("member-42", "two sites", WHO)
    core = Engine.restore(core.snapshot(), FenceIndex([]), site)
    assert core.alarms() == [alarm]
    told = core.on_sightings([heard(n) for n in range(80, 80 + int(CLEAR_AFTER_S), 5)])
    assert (told, len(core.alarms())) == ([], 1)
    told = core.on_sightings([heard(80 + CLEAR_AFTER_S + n) for n in range(20)])
    assert [one.kind for one in told] == ["enter", "enter"]
    assert core.alarms() == []


def test_the_order_of_arrival_changes_nothing():
    forth = [heard(n) for n in range(20)] + [heard(20 + n, f"gw-{1 + n % 2}") for n in range(40)]
    visits = []
    for order in (forth, forth[::-1], forth[1::2] + forth[::2]):
        core, _ = engine()
        told = core.on_sightings(order) + core.advance(T + 500)
        folded = {}
        for one in told:
            if one.kind == "corrected":
                folded[one.visit] = (one.place, one.enter_at, one.exit_at)
            elif one.kind == "enter":
                folded[one.visit] = (one.place, one.at, None)
            else:
                folded[one.visit] = (*folded[one.visit][:2], one.at)
        visits.append(sorted(visit for visit in folded.values() if visit[1] is not None))
    assert visits[0] == visits[1] == visits[2]
    assert visits[0]


def test_a_shared_fixed_beacon_is_an_alarm_and_decides_nothing():
    core, site = engine()
    for n in range(4):
        for phone, lon in (("p1", 2.35), ("p2", 2.40)):
            at = T + n * 60
            core.on_fixes([Fix(subject=phone, at=at, lon=lon, lat=48.85, accuracy_m=8.0)])
            core.on_sightings([Sighting(beacon=beacon(8), at=at + 1, rssi_dbm=-60, subject=phone)])
    (alarm,) = core.alarms()
    assert (alarm.identity, alarm.reason) == (f"ibeacon/{UUID}/1/8", "shared")
    assert core.counts["quarantined"] == 0
    assert Engine.restore(core.snapshot(), FenceIndex([]), site).alarms() == [alarm]


def test_an_erased_subject_raises_no_alarm():
    core, _ = engine()
    core.on_sightings([heard(0), heard(1, "gw-2")])
    assert core.alarms()
    core.forget("member-42", T + 2)
    assert core.alarms() == []
